//! Why the depot did not do what it was asked: few kinds, each one that a caller can act on.

use updraft_core::digest::Digest;
use updraft_core::name::{AppName, ChannelName};

use super::keys;
use crate::store;

/// How many of the things that are missing a message names.
const NAMED_MAX: usize = 3;

/// Why something was not done. Nothing was changed, except where [`Error::Store`] says that it cannot be known.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// There is no such channel.
    #[error("app {app} has no channel {channel}")]
    NoChannel {
        /// The app.
        app: AppName,
        /// What was asked for.
        channel: ChannelName,
        /// Those that there are, as a sentence goes on.
        there: String,
    },
    /// The app is there already, with another root.
    #[error("app {0} exists already: choose another name, or publish to it with its own keys")]
    Exists(AppName),
    /// Somebody else was first: read the app anew, sign anew, try again.
    #[error("{0}")]
    Conflict(String),
    /// The version exists with other content, or is not newer. Trying again will not help.
    #[error("{0}")]
    NotNewer(String),
    /// What was submitted is not what a device would believe, or not what the app allows: what and why.
    #[error("{0}")]
    Refused(String),
    /// Objects that the submission needs are not here, or are condemned: upload them and submit again.
    #[error("{}", missing_sentence(*.count, .first))]
    Missing {
        /// How many.
        count: u64,
        /// The first few: `tree DIGEST` or `blob DIGEST`.
        first: Vec<String>,
    },
    /// An upload does not begin where the bytes that are here end.
    #[error("the upload is at byte {have}, not at {asked}: go on from there")]
    Offset {
        /// Bytes that the server has kept.
        have: u64,
        /// Where the caller wanted to begin.
        asked: u64,
    },
    /// A newer upload of the same object has taken over.
    #[error("another upload of blob {0} has taken over: ask how far it is, and go on from there")]
    Superseded(Digest),
    /// The online key of the app is not on this server: it can be read, and nothing else.
    #[error(
        "app {0} is read-only: the online key that its root names is not in the key directory of this server; restore \
         the directory from a backup, or let `updraft keys replace-online` name a new key"
    )]
    NoKey(AppName),
    /// What the store has of the app does not verify.
    #[error("app {app} cannot be served: {reason}; run `updraft fsck`, and restore what it names from a backup")]
    Broken {
        /// The app.
        app: AppName,
        /// What is wrong.
        reason: String,
    },
    /// The store could not answer. After a write it is not known whether the write came to be.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A rotation was announced and could not be completed yet: it takes place all the same.
    #[error(
        "app {app}: the next root is announced and will take place; the server goes on trying to complete it: {reason}"
    )]
    Announced {
        /// The app.
        app: AppName,
        /// What was in the way.
        reason: store::Error,
    },
    /// The key directory could not be used.
    #[error(transparent)]
    Keys(#[from] keys::Error),
    /// The server is not as it should be. Nobody but its authors can mend that.
    #[error("app {0}: a defect of the server stopped this; its log has the panic: please report it")]
    Defect(AppName),
    /// The server is being stopped.
    #[error("the server is stopping: whether this was done is not known; ask again when it is back")]
    Stopping,
}

impl Error {
    pub(super) fn no_app(app: &AppName) -> Self {
        Self::NotFound(format!("there is no app {app} here: `updraft app list` shows those that are"))
    }

    pub(super) fn no_channel<'a>(
        app: &AppName,
        channel: &ChannelName,
        there: impl Iterator<Item = &'a ChannelName>,
    ) -> Self {
        let there: Vec<_> = there.map(ChannelName::as_str).collect();
        let there =
            if there.is_empty() { "it has none yet".to_owned() } else { format!("it has {}", there.join(", ")) };
        Self::NoChannel { app: app.clone(), channel: channel.clone(), there }
    }

    pub(super) fn missing(all: &[String]) -> Self {
        Self::Missing { count: all.len() as u64, first: all.iter().take(NAMED_MAX).cloned().collect() }
    }

    pub(super) fn broken(app: &AppName, reason: impl std::fmt::Display) -> Self {
        Self::Broken { app: app.clone(), reason: reason.to_string() }
    }
}

fn missing_sentence(count: u64, first: &[String]) -> String {
    let more = if count > first.len() as u64 { ", ..." } else { "" };
    let (noun, verb) = if count == 1 { ("object", "is") } else { ("objects", "are") };
    format!(
        "{count} {noun} of this release {verb} not on the server ({}{more}): upload and submit again",
        first.join(", ")
    )
}
