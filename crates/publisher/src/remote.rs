//! The server, as a publisher sees it.
//!
//! [`Remote`] is what the rest of this crate talks to: over HTTP ([`crate::http`]), or in process over a depot, which is
//! how a folder is published by the server that holds it. Whatever a remote says is checked by whoever asked: metadata
//! by `core::trust`, blobs by the server itself, which stores nothing whose digest is not right.

use std::fs::File;

use updraft_core::api::{BlobStored, Committed, FirstMetadata, NewTargets, NextRoot, Patches, Promotion};
use updraft_core::digest::Digest;
use updraft_core::head::Head;
use updraft_core::key::PublicKey;
use updraft_core::layout::Key;
use updraft_core::name::AppName;
use updraft_core::tree::stored::Encoding;

/// Why the server did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RemoteError {
    /// Something is there already, or has moved since it was read: read again, decide again.
    #[error("{detail}{}", remedy_text(.remedy))]
    Conflict {
        /// The thing and the reason.
        detail: String,
        /// What to do about it.
        remedy: Option<String>,
    },
    /// The token is missing, wrong, or not allowed to do this.
    #[error("{detail}{}", remedy_text(.remedy))]
    Denied {
        /// The thing and the reason.
        detail: String,
        /// What to do about it.
        remedy: Option<String>,
    },
    /// There is no such app, or no such service at this address.
    #[error("{detail}{}", remedy_text(.remedy))]
    NotFound {
        /// The thing and the reason.
        detail: String,
        /// What to do about it.
        remedy: Option<String>,
    },
    /// Blobs, trees or documents that a release needs are not there (any more): ask what is missing and send it.
    #[error("{detail}{}", remedy_text(.remedy))]
    Missing {
        /// The thing and the reason.
        detail: String,
        /// What to do about it.
        remedy: Option<String>,
    },
    /// The server understood, and says no; asking again changes nothing.
    #[error("{detail}{}", remedy_text(.remedy))]
    Refused {
        /// The word for this kind of problem, such as `too-large`.
        kind: String,
        /// The thing and the reason.
        detail: String,
        /// What to do about it.
        remedy: Option<String>,
    },
    /// It cannot be reached, or the connection broke, or it is unwell: the same may work later. Whether a change was made
    /// is not known.
    #[error("{what}: {reason}")]
    Unreachable {
        /// What was asked for.
        what: String,
        /// What happened.
        reason: String,
    },
    /// It answered something that is no answer: too long, of another shape, or not from such a server at all.
    #[error("{what}: {reason}")]
    Nonsense {
        /// What was asked for.
        what: String,
        /// What came instead.
        reason: String,
    },
    /// A file of ours could not be read while it was being sent.
    #[error("reading what was to be sent: {0}")]
    Content(String),
}

fn remedy_text(remedy: &Option<String>) -> String {
    remedy.as_ref().map_or_else(String::new, |remedy| format!("; {remedy}"))
}

/// The server. Every call may be made by several threads at once.
pub trait Remote: Sync {
    /// Wants an app of this name: the public half of its online key, the same one each time until the app exists.
    ///
    /// # Errors
    /// [`RemoteError::Conflict`] when the app exists.
    fn propose_app(&self, app: &AppName) -> Result<PublicKey, RemoteError>;

    /// Creates the app from its first root and targets.
    ///
    /// # Errors
    /// [`RemoteError::Conflict`] when the app exists; [`RemoteError::Refused`] when the metadata does not verify.
    fn create_app(&self, app: &AppName, first: &FirstMetadata) -> Result<Committed, RemoteError>;

    /// How the server stores each of these blobs, in the order of the question; `None` for what it lacks. At most
    /// [`updraft_core::limits::MISSING_BATCH_MAX`] at once.
    ///
    /// # Errors
    /// When the app does not exist or the server cannot be asked.
    fn missing(&self, app: &AppName, blobs: &[Digest]) -> Result<Vec<Option<BlobStored>>, RemoteError>;

    /// Sends a blob: `content` from its beginning, `len` bytes of it, encoded as `encoding` says. Resumes what an earlier
    /// attempt left. `progress` hears how many of the `len` bytes the server was sent so far.
    ///
    /// # Errors
    /// [`RemoteError::Refused`] when the content is not what `digest` names.
    fn put_blob(
        &self,
        app: &AppName,
        digest: Digest,
        encoding: Encoding,
        content: &mut File,
        len: u64,
        progress: &dyn Fn(u64),
    ) -> Result<(), RemoteError>;

    /// Sends a tree as `core::tree::stored::pack` made it.
    ///
    /// # Errors
    /// [`RemoteError::Refused`] when it is not what `digest` names.
    fn put_tree(&self, app: &AppName, digest: Digest, packed: &[u8]) -> Result<(), RemoteError>;

    /// Hands in new targets: all that they say appears at once, or nothing does.
    ///
    /// # Errors
    /// [`RemoteError::Conflict`] when the base moved, [`RemoteError::Missing`] when something that they need is not there.
    fn submit(&self, app: &AppName, new: &NewTargets) -> Result<Committed, RemoteError>;

    /// Lets a channel point at a live release.
    ///
    /// # Errors
    /// [`RemoteError::Conflict`] when the channel is there already, or ahead.
    fn promote(&self, app: &AppName, promotion: &Promotion) -> Result<Committed, RemoteError>;

    /// Wants another online key for the app: its public half, another one each time. The server goes on signing with the
    /// one that the newest root names.
    ///
    /// # Errors
    /// When the app does not exist or the server cannot make a key.
    fn next_online_key(&self, app: &AppName) -> Result<PublicKey, RemoteError>;

    /// Hands in the next root and the targets that go with it: both count at once, or neither does. The same again is
    /// success.
    ///
    /// # Errors
    /// [`RemoteError::Conflict`] when the base moved or there is another root already; [`RemoteError::Refused`] when a
    /// device would not follow it.
    fn rotate(&self, app: &AppName, next: &NextRoot) -> Result<Committed, RemoteError>;

    /// Which patches to live releases the server has, and which it lacks.
    ///
    /// # Errors
    /// When the app does not exist or the server cannot be asked.
    fn patches(&self, app: &AppName) -> Result<Patches, RemoteError>;

    /// Sends the patch between two trees. One that is there already is success.
    ///
    /// # Errors
    /// [`RemoteError::Refused`] when it is none between them, or no smaller than what it replaces.
    fn put_patch(&self, app: &AppName, from: Digest, to: Digest, patch: &[u8]) -> Result<(), RemoteError>;

    /// The app's head; `None` when there is no such app.
    ///
    /// # Errors
    /// When the server cannot be asked, or answers something else than a head.
    fn head(&self, app: &AppName) -> Result<Option<Head>, RemoteError>;

    /// A public object, `max` bytes at most; `None` when there is no such object.
    ///
    /// # Errors
    /// When the server cannot be asked, or the object is longer.
    fn read(&self, key: &Key, max: u64) -> Result<Option<Vec<u8>>, RemoteError>;
}
