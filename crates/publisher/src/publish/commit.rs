//! Handing in new targets, in rounds: read, decide, sign, submit; and again when another publisher was faster.

use std::cell::OnceCell;

use updraft_core::Timestamp;
use updraft_core::api::{Committed, NewTargets, Promotion};
use updraft_core::key::SigningKey;
use updraft_core::name::{AppName, ChannelName};
use updraft_core::release::ReleaseName;
use updraft_core::signed::Envelope;

use super::{Error, Publisher, next_of};
use crate::base::Base;
use crate::keys::KeyName;
use crate::remote::RemoteError;
use crate::sign::{Change, following, text_of};

/// How often it is tried. Each round that is lost was won by somebody: this is how many may publish at the same time.
const ROUNDS_MAX: u32 = 10;

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
    key: OnceCell<SigningKey>,
}

impl<'a> Session<'a> {
    pub(crate) fn new(publisher: &'a Publisher<'a>, app: &'a AppName, now: Timestamp) -> Self {
        Self { publisher, app, now, key: OnceCell::new() }
    }

    /// Makes rounds until one succeeds, fails for good, or there were too many.
    pub(crate) fn rounds<T>(
        &self,
        mut attempt: impl FnMut(&Self, &Round<'_>) -> Result<T, Attempt>,
    ) -> Result<T, Error> {
        let mut before = None;
        let mut skip = 0;
        let mut reason = String::new();
        for n in 0..ROUNDS_MAX {
            let base = Base::read(self.publisher.remote, self.app, self.publisher.keys, self.now)?;
            let version = base.targets().version;
            skip = if before == Some(version) { skip } else { 0 };
            before = Some(version);
            match attempt(self, &Round { base: &base, skip }) {
                Ok(done) => return Ok(done),
                Err(Attempt::Final(error)) => return Err(error),
                // Where the base did not move, the number must have been the obstacle. Each further one is skipped twice
                // as far, so that the rounds suffice for hundreds of them.
                Err(Attempt::Again(RemoteError::Conflict { detail, .. })) => {
                    skip = (skip * 2).max(1);
                    reason = detail;
                }
                Err(Attempt::Again(RemoteError::Missing { .. } | RemoteError::Unreachable { .. }))
                    if n + 1 < ROUNDS_MAX => {}
                Err(Attempt::Again(error)) => return Err(error.into()),
            }
            self.pause(n);
        }
        Err(Error::Crowded { app: self.app.clone(), rounds: ROUNDS_MAX, reason })
    }

    /// The key that signs releases; opened once.
    pub(crate) fn key(&self, base: &Base) -> Result<&SigningKey, Error> {
        if let Some(key) = self.key.get() {
            return Ok(key);
        }
        let keys = self.publisher.keys;
        let key = keys.open_key(KeyName::Targets, self.publisher.passphrases)?;
        if !base.may_sign_targets(&key.public()) {
            return Err(Error::WrongKey { path: keys.key_path(KeyName::Targets), app: self.app.clone() });
        }
        Ok(self.key.get_or_init(|| key))
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
        let targets = text_of(&Envelope::new(&targets).sign(self.key(round.base)?));
        let promotion =
            |channel: &ChannelName| Promotion { channel: channel.clone(), release: release(change).clone() };
        let promote = channel.map(promotion);
        let new = NewTargets { base: base.version, targets, documents, promote };
        self.publisher.remote.submit(self.app, &new).map_err(Attempt::Again)
    }

    /// Waits, so that two who are in each other's way do not stay in step.
    fn pause(&self, round: u32) {
        let mut random = [0; 1];
        // Without a random number everybody waits the same: worse, and no reason to give up.
        let _ = getrandom::fill(&mut random);
        let longest = self.publisher.options.first_pause.saturating_mul(1 << round.min(6));
        std::thread::sleep(longest.mul_f64(f64::from(random[0]) / 255.0));
    }
}

fn release(change: &Change) -> &ReleaseName {
    match change {
        Change::Add { release, .. } | Change::Pin { release, .. } => release,
    }
}
