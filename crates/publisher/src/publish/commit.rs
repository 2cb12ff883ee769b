//! Handing in new targets, in rounds: read, decide, sign, submit; and again when another publisher was faster.

use std::cell::OnceCell;
use std::rc::Rc;

use updraft_core::Timestamp;
use updraft_core::api::{Committed, NewTargets, Promotion};
use updraft_core::key::SigningKey;
use updraft_core::name::{AppName, ChannelName};
use updraft_core::release::ReleaseName;
use updraft_core::signed::Envelope;
use updraft_core::trust::Role;

use super::{Error, Publisher, next_of};
use crate::base::Base;
use crate::keys::{self, KeyName, Ring};
use crate::remote::RemoteError;
use crate::rounds::{Over, Rounds};
use crate::sign::{Change, following, text_of};

/// Why a round ended without success.
pub(crate) enum Attempt {
    /// Another round may do: the base moved, something was collected meanwhile, or the answer was lost.
    Again(RemoteError),
    /// Another round would end the same.
    Final(Error),
}

impl<E: Into<Error>> From<E> for Attempt {
    fn from(error: E) -> Self {
        Self::Final(error.into())
    }
}

/// One round.
pub(crate) struct Round<'b> {
    /// The app, as it is at the beginning of this round.
    pub(crate) base: &'b Base,
    /// Versions of targets to leave out: a crash or a lost race can leave a number occupied by other bytes.
    skip: u64,
}

/// One change to one app.
pub(crate) struct Session<'a> {
    publisher: &'a Publisher<'a>,
    app: &'a AppName,
    now: Timestamp,
    keys: OnceCell<Vec<Rc<SigningKey>>>,
}

impl<'a> Session<'a> {
    pub(crate) fn new(publisher: &'a Publisher<'a>, app: &'a AppName, now: Timestamp) -> Self {
        Self { publisher, app, now, keys: OnceCell::new() }
    }

    /// Makes rounds until one succeeds, fails for good, or there were too many.
    pub(crate) fn rounds<T>(
        &self,
        mut attempt: impl FnMut(&Self, &Round<'_>) -> Result<T, Attempt>,
    ) -> Result<T, Error> {
        let mut rounds = Rounds::new(self.publisher.options.first_pause);
        loop {
            let base = Base::read(self.publisher.remote, self.app, self.publisher.keys, self.now)?;
            let skip = rounds.begin(base.targets().version);
            match attempt(self, &Round { base: &base, skip }) {
                Ok(done) => return Ok(done),
                Err(Attempt::Final(error)) => return Err(error),
                Err(Attempt::Again(error)) => rounds.again(error).map_err(|over| match over {
                    Over::Crowded { rounds, reason } => Error::Crowded { app: self.app.clone(), rounds, reason },
                    Over::Failed(error) => error.into(),
                })?,
            }
        }
    }

    /// The keys that sign releases, as many as must; opened once.
    pub(crate) fn keys(&self, base: &Base) -> Result<&[Rc<SigningKey>], Error> {
        if let Some(keys) = self.keys.get() {
            return Ok(keys);
        }
        let store = self.publisher.keys;
        let signers = base.signers(&Role::Targets);
        let needed = signers.threshold as usize;
        let found = Ring::new(store, self.publisher.passphrases).find(KeyName::Targets, &signers.keys, needed)?;
        if found.len() < needed {
            if store.held()?.iter().all(|held| held.name != KeyName::Targets) {
                return Err(keys::Error::Missing { path: store.key_path(KeyName::Targets) }.into());
            }
            return Err(Error::WrongKeys {
                dir: store.dir().to_owned(),
                app: self.app.clone(),
                found: found.len(),
                needed,
                names: signers.to_string(),
            });
        }
        Ok(self.keys.get_or_init(|| found))
    }

    /// Signs what is live after `change`, and hands it in.
    pub(crate) fn submit(
        &self,
        round: &Round<'_>,
        change: &Change,
        documents: Vec<String>,
        channel: Option<&ChannelName>,
    ) -> Result<Committed, Attempt> {
        let next = next_of(round.base, change)?;
        let base = round.base.targets();
        let targets = following(base, next.targets, round.skip, self.now);
        let keys = self.keys(round.base)?;
        let targets = text_of(&keys.iter().fold(Envelope::new(&targets), |signed, key| signed.sign(key)));
        let promotion = |(channel, release): (&ChannelName, &ReleaseName)| Promotion {
            channel: channel.clone(),
            release: release.clone(),
        };
        let promote = channel.zip(release(change)).map(promotion);
        let new = NewTargets { base: base.version, targets, documents, promote };
        self.publisher.remote.submit(self.app, &new).map_err(Attempt::Again)
    }
}

fn release(change: &Change) -> Option<&ReleaseName> {
    match change {
        Change::Add { release, .. } | Change::Pin { release, .. } => Some(release),
        Change::Renew => None,
    }
}
