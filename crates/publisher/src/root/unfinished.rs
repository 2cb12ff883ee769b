//! What an interrupted change of keys left behind: `rotation.json`.
//!
//! It says what was wanted and when, which keys were made for that, and which root was sent, if one was. A key that only
//! lies in the directory is not taken for a leftover: it could be a thief's, or one that was given up. So a change takes up no
//! keys but those that are written down here, for the same wish, within a day: older ones may have got about since.

use serde::{Deserialize, Serialize};
use updraft_core::Timestamp;
use updraft_core::limits::ROOT_LEN_MAX;
use updraft_core::signed::Envelope;
use updraft_core::trust::Root;

use super::ceremony::Wish;
use crate::keys::{self, Keystore};

/// How long keys are taken up that were made for a change and never used, in seconds.
const TAKEN_UP_SECS: i64 = 24 * 60 * 60;

/// A change of keys that was begun.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Unfinished {
    wish: serde_json::Value,
    begun: Timestamp,
    /// Fingerprints of the keys that were made for it.
    made: Vec<String>,
    /// The root that was sent, exactly.
    root: Option<String>,
}

impl Unfinished {
    pub(super) fn begin(wish: &Wish, now: Timestamp) -> Self {
        let wish = serde_json::to_value(wish).expect("a wish is plain JSON");
        Self { wish, begun: now, made: Vec::new(), root: None }
    }

    /// What was begun here and not finished. What cannot be read tells nothing; the worst is one key more than was needed.
    pub(super) fn read(keys: &Keystore) -> Result<Option<Self>, keys::Error> {
        Ok(keys.rotation()?.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    fn store(&self, keys: &Keystore) -> Result<(), keys::Error> {
        keys.set_rotation(&serde_json::to_vec(self).expect("texts are plain JSON"))
    }

    pub(super) fn begun(&self) -> Timestamp {
        self.begun
    }

    /// Whether `other` is another attempt at the same, not long ago.
    pub(super) fn is_taken_up_by(&self, other: &Self) -> bool {
        let age = other.begun.as_second() - self.begun.as_second();
        self.is_for_the_same(other) && (0..TAKEN_UP_SECS).contains(&age)
    }

    pub(super) fn is_for_the_same(&self, other: &Self) -> bool {
        self.wish == other.wish
    }

    /// The version under which what was sent is among `roots`, which begin with the first.
    pub(super) fn arrived_in(&self, roots: &[Vec<u8>]) -> Option<u64> {
        let root = self.root.as_ref()?.as_bytes();
        roots.iter().position(|known| known == root).map(|at| at as u64 + 1)
    }

    pub(super) fn has_made(&self, fingerprint: &str) -> bool {
        self.made.iter().any(|made| made == fingerprint)
    }

    /// Writes down that a key was made; to be called before anything names it.
    pub(super) fn made(&mut self, fingerprint: String, keys: &Keystore) -> Result<(), keys::Error> {
        self.made.push(fingerprint);
        self.store(keys)
    }

    /// Writes down what is about to be sent.
    pub(super) fn sends(&mut self, root: String, keys: &Keystore) -> Result<(), keys::Error> {
        self.root = Some(root);
        self.store(keys)
    }

    /// The same, of which nothing was sent.
    pub(super) fn unsent(self) -> Self {
        Self { root: None, ..self }
    }
}

/// Forgets a change that was sent as a root which can come no more, because the app has one of that version: it has
/// arrived, or somebody else was faster.
pub(crate) fn forget_overtaken(keys: &Keystore, version: u64) -> Result<(), keys::Error> {
    let sent = Unfinished::read(keys)?.and_then(|unfinished| unfinished.root);
    let root = |text: String| Envelope::parse(text.as_bytes(), ROOT_LEN_MAX).and_then(|e| e.content::<Root>()).ok();
    match sent.and_then(root) {
        Some(root) if root.version <= version => keys.clear_rotation(),
        _ => Ok(()),
    }
}
