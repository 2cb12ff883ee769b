//! Changing keys: read, decide, sign, hand in; and again when somebody else was faster.
//!
//! A new key is durable before any root names it, and what is sent is kept until it is known to have arrived: a change that
//! was interrupted anywhere is finished by asking for it again. Whoever asks for new keys gets new ones: an earlier attempt
//! that has arrived unheard is mentioned, and takes nothing from that. Where signatures are lacking, nothing is sent, and the
//! proposal goes to those who can give them.

use std::rc::Rc;
use std::time::Duration;

use serde::Serialize;
use updraft_core::Timestamp;
use updraft_core::key::{PublicKey, SigningKey};
use updraft_core::name::AppName;
use updraft_core::trust::Role;

use super::change::{Change, Refused, RoleChange, next};
use super::proposal::{self, Proposal};
use super::standing::{Online, Standing};
use super::unfinished::Unfinished;
use crate::base::{self, Base};
use crate::keys::{self, KeyName, Keystore, Passphrases, Ring};
use crate::remote::{Remote, RemoteError};
use crate::rounds::{Over, Rounds};

/// Why keys were not changed. What was there before still is.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The app as it is cannot be built on.
    #[error(transparent)]
    Base(#[from] base::Error),
    /// The keys cannot be used.
    #[error(transparent)]
    Keys(#[from] keys::Error),
    /// The server cannot be asked, or says no.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// The change makes no sense, or could not be undone.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// A proposal cannot be used.
    #[error(transparent)]
    Proposal(#[from] proposal::Error),
    /// There is no key of the role here.
    #[error(
        "{dir}: no key that signs {name} of app {app} is here; its root names {names}: \
         use the directory that has one of them, or change the other role alone"
    )]
    NoKey {
        /// The key directory.
        dir: std::path::PathBuf,
        /// What it would be for.
        name: KeyName,
        /// The app.
        app: AppName,
        /// Those that the root names.
        names: String,
    },
    /// Signatures are lacking.
    #[error("signatures are lacking: {0}; have the others sign, and accept all copies together")]
    Lacking(String),
    /// The app has moved on since it was proposed.
    #[error("app {app} has changed since this was proposed ({reason}); propose it again")]
    Moved {
        /// The app.
        app: AppName,
        /// What changed.
        reason: String,
    },
    /// Others were faster each time.
    #[error("app {app}: it changed in between {rounds} times ({reason}); try again in a while")]
    Crowded {
        /// The app.
        app: AppName,
        /// How often it was tried.
        rounds: u32,
        /// What the server said at last.
        reason: String,
    },
}

/// What somebody wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Wish {
    /// Exactly this.
    Change(Change),
    /// A new key in the place of each key of these roles that is here.
    Rotate(Vec<KeyName>),
    /// A new online key, in all three of its roles.
    ReplaceOnline,
}

impl Wish {
    fn online(&self) -> Online {
        match self {
            Self::ReplaceOnline => Online::Doubted,
            Self::Change(_) | Self::Rotate(_) => Online::Believed,
        }
    }

    /// Whether doing it twice comes to the same as doing it once.
    fn is_once_for_all(&self) -> bool {
        matches!(self, Self::Change(change) if change.is_once_for_all())
    }
}

/// A change that counts now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// The version of the root.
    pub version: u64,
    /// What changed.
    pub lines: Vec<String>,
    /// Whether it had arrived before: an earlier attempt was interrupted when its answer was on the way.
    pub earlier: bool,
}

/// An earlier attempt at the same, which arrived though its answer was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrived {
    /// The version of its root.
    pub version: u64,
    /// When it was begun.
    pub begun: Timestamp,
}

/// What a change came to.
#[derive(Debug)]
pub enum Outcome {
    /// It counts.
    Done(Done),
    /// Signatures are lacking; nothing was sent.
    Wanting(Box<Proposal>),
}

/// Who changes keys, and where.
#[derive(Clone, Copy)]
pub struct Ceremony<'a> {
    /// The server.
    pub remote: &'a dyn Remote,
    /// The keys that are here.
    pub keys: &'a Keystore,
    /// Whoever knows their passphrases.
    pub passphrases: &'a dyn Passphrases,
    /// The first pause after somebody else was faster; it doubles.
    pub first_pause: Duration,
    /// Whoever is told of an earlier attempt that had arrived, before all is done anew.
    pub arrived: &'a dyn Fn(&Arrived),
}

impl Ceremony<'_> {
    /// What `wish` would do, a line for each thing. Nothing is changed or made, and no key is opened.
    ///
    /// # Errors
    /// When it would fail before anything is signed.
    pub fn foresee(&self, app: &AppName, wish: &Wish, now: Timestamp) -> Result<Vec<String>, Error> {
        let standing = Standing::read(self.remote, app, self.keys, wish.online(), now)?;
        match wish {
            Wish::Change(change) => {
                let next = next(standing.root(), standing.envelope(), change, 0, now)?;
                Ok(Proposal::new(standing, next).lines())
            }
            Wish::Rotate(names) => {
                let line = |name: &KeyName| {
                    let signers = standing.signers(&name.role());
                    format!("{name}: a new key would take the place of each of these that is here: {signers}")
                };
                Ok(names.iter().map(line).collect())
            }
            Wish::ReplaceOnline => {
                let old = standing.signers(&Role::Timestamp);
                Ok(vec![format!(
                    "channels, snapshot, timestamp: a new key of the server would take the place of key {old}"
                )])
            }
        }
    }

    /// A proposal of `wish`, signed by nobody yet.
    ///
    /// # Errors
    /// When the app cannot be built on, or the change makes no sense.
    pub fn propose(&self, app: &AppName, wish: &Wish, now: Timestamp) -> Result<Proposal, Error> {
        let standing = Standing::read(self.remote, app, self.keys, wish.online(), now)?;
        self.build(standing, wish, &self.ring(), &mut Unfinished::begin(wish, now), 0, now)
    }

    /// Does what `wish` says, if the keys that are here suffice.
    ///
    /// # Errors
    /// When it cannot be done; then nothing has changed, but for keys that were made and are named nowhere.
    pub fn carry_out(&self, app: &AppName, wish: &Wish, now: Timestamp) -> Result<Outcome, Error> {
        let ring = self.ring();
        let mut rounds = Rounds::new(self.first_pause);
        let mut attempt = Unfinished::begin(wish, now);
        // Before the app is read: what has arrived is forgotten by whoever sees it there.
        let mut earlier = Unfinished::read(self.keys)?;
        loop {
            let standing = Standing::read(self.remote, app, self.keys, wish.online(), now)?;
            if let Some(earlier) = earlier.take() {
                match earlier.arrived_in(standing.roots()) {
                    Some(version) if earlier.is_for_the_same(&attempt) => {
                        if wish.is_once_for_all() && version == standing.root().version {
                            return Ok(Outcome::Done(Done { version, lines: Vec::new(), earlier: true }));
                        }
                        (self.arrived)(&Arrived { version, begun: earlier.begun() });
                    }
                    None if earlier.is_taken_up_by(&attempt) => attempt = earlier.unsent(),
                    _ => {}
                }
            }
            let skip = rounds.begin(standing.targets().version);
            let mut proposal = self.build(standing, wish, &ring, &mut attempt, skip, now)?;
            match proposal.sign(&ring) {
                // Others may have the keys.
                Ok(_) | Err(proposal::Error::NoPart { .. }) => {}
                Err(error) => return Err(error.into()),
            }
            if !proposal.is_complete() {
                return Ok(Outcome::Wanting(Box::new(proposal)));
            }
            attempt.sends(proposal.root_text(), self.keys)?;
            match self.remote.rotate(app, &proposal.next_root(proposal.standing().targets().version)) {
                Ok(_) => return self.finish(&proposal, now).map(Outcome::Done),
                Err(error) => rounds.again(error).map_err(|over| match over {
                    Over::Crowded { rounds, reason } => Error::Crowded { app: app.clone(), rounds, reason },
                    Over::Failed(error) => error.into(),
                })?,
            }
        }
    }

    /// Hands in a proposal that was signed elsewhere. One that has arrived before is success.
    ///
    /// # Errors
    /// When signatures are lacking, or the app has moved on.
    pub fn accept(&self, proposal: &Proposal, now: Timestamp) -> Result<Done, Error> {
        proposal.check_pinned(self.keys, None).or_else(|error| match error {
            // What was believed last may be the very root that is proposed; and without a first root nothing is read below.
            proposal::Error::Outdated(_) | proposal::Error::Unpinned { .. } => Ok(proposal::Pinned::Here),
            other => Err(other),
        })?;
        let app = proposal.app();
        let standing = Standing::read(self.remote, app, self.keys, Online::Doubted, now)?;
        let at = usize::try_from(proposal.version() - 1).unwrap_or(usize::MAX);
        if standing.roots().get(at).is_some_and(|root| proposal.proposes(root)) {
            return Ok(Done { version: proposal.version(), lines: proposal.lines(), earlier: true });
        }
        let moved = |reason: String| Error::Moved { app: app.clone(), reason };
        if standing.roots() != proposal.standing().roots() {
            return Err(moved(format!("its root is version {} now", standing.root().version)));
        }
        if !proposal.is_complete() {
            return Err(Error::Lacking(lacking(proposal)));
        }
        let (base, proposed) = (standing.targets().version, proposal.standing().targets().version);
        if base != proposed && proposal.next_root(base).targets.is_some() {
            return Err(moved(format!("its targets are version {base} now, and {proposed} were built on")));
        }
        match self.remote.rotate(app, &proposal.next_root(base)) {
            Ok(_) => self.finish(proposal, now),
            Err(RemoteError::Conflict { detail, .. }) => Err(moved(detail)),
            Err(error) => Err(error.into()),
        }
    }

    fn ring(&self) -> Ring<'_> {
        Ring::new(self.keys, self.passphrases)
    }

    fn build(
        &self,
        standing: Standing,
        wish: &Wish,
        ring: &Ring<'_>,
        attempt: &mut Unfinished,
        skip: u64,
        now: Timestamp,
    ) -> Result<Proposal, Error> {
        let change = match wish {
            Wish::Change(change) => change.clone(),
            Wish::ReplaceOnline => {
                let online = Some(self.remote.next_online_key(standing.app())?);
                Change { online, ..Change::default() }
            }
            Wish::Rotate(names) => {
                let mut change = Change::default();
                for name in names {
                    let rotated = self.rotated(&standing, *name, ring, attempt)?;
                    match name {
                        KeyName::Root => change.root = rotated,
                        KeyName::Targets => change.targets = rotated,
                    }
                }
                change
            }
        };
        let next = next(standing.root(), standing.envelope(), &change, skip, now)?;
        Ok(Proposal::new(standing, next))
    }

    /// A new key for each of the role's keys that is here.
    fn rotated(
        &self,
        standing: &Standing,
        name: KeyName,
        ring: &Ring<'_>,
        attempt: &mut Unfinished,
    ) -> Result<RoleChange, Error> {
        let signers = standing.signers(&name.role());
        let old = ring.find(name, &signers.keys, usize::MAX)?;
        if old.is_empty() {
            let (dir, app, names) = (self.keys.dir().to_owned(), standing.app().clone(), signers.to_string());
            return Err(Error::NoKey { dir, name, app, names });
        }
        let mut new = self.made_before(standing, name, ring, attempt)?;
        new.truncate(old.len());
        while new.len() < old.len() {
            let key = ring.make(name)?;
            attempt.made(key.public().fingerprint(), self.keys)?;
            new.push(key);
        }
        let public = |key: &Rc<SigningKey>| key.public();
        let revoke = old.iter().map(|key| key.public().fingerprint()).collect();
        Ok(RoleChange { add: new.iter().map(public).collect::<Vec<PublicKey>>(), revoke, threshold: None })
    }

    /// Keys that were made for this very attempt and that no root ever named.
    fn made_before(
        &self,
        standing: &Standing,
        name: KeyName,
        ring: &Ring<'_>,
        attempt: &Unfinished,
    ) -> Result<Vec<Rc<SigningKey>>, Error> {
        let held = self.keys.held()?;
        let is_fit = |fingerprint: &String| attempt.has_made(fingerprint) && !standing.ever_named(fingerprint);
        let is_made = |held: &&keys::Held| held.name == name && held.fingerprint.as_ref().is_some_and(is_fit);
        held.iter().filter(is_made).map(|held| Ok(ring.open(held)?)).collect()
    }

    fn finish(&self, proposal: &Proposal, now: Timestamp) -> Result<Done, Error> {
        // Known to have arrived only when it was seen.
        self.look(proposal.app(), now)?;
        self.keys.clear_rotation()?;
        Ok(Done { version: proposal.version(), lines: proposal.lines(), earlier: false })
    }

    /// Sees the app as a device does, and remembers it: from here on the server cannot go back behind it.
    fn look(&self, app: &AppName, now: Timestamp) -> Result<(), Error> {
        Base::read(self.remote, app, self.keys, now)?;
        Ok(())
    }
}

/// What is lacking, in words.
fn lacking(proposal: &Proposal) -> String {
    let needs = proposal.needs();
    let needs = needs.iter().filter(|need| need.lacking() > 0).map(|need| {
        let others: Vec<String> = need.others().map(PublicKey::fingerprint).collect();
        let by = if need.by_next { "the next root" } else { "the root of now" };
        format!("{} more on {} as {by} asks, of {}", need.lacking(), need.document, others.join(", "))
    });
    needs.collect::<Vec<_>>().join("; ")
}
