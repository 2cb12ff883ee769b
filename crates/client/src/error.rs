//! Why the updater could not do what it was asked, and what kind of trouble that is.
//!
//! Each room has errors of its own; this is only their sum at the library's door. [`Error::class`] sorts them into the
//! few kinds that a caller treats differently.

use updraft_core::Timestamp;
use updraft_core::release::ReleaseName;

use crate::{belief, check, download, fetch, home, install, source};

/// What a caller can do about an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// What the publisher signed is out of date. What is installed keeps running; tell somebody, and since when.
    Stale,
    /// The source cannot be reached, or lacks something. Try again later.
    Unreachable,
    /// Something is not what its publisher signed. Nothing of it was used.
    Verification,
    /// Anything else: the message says what to do.
    Other,
}

/// Why the updater could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Where the app should come from makes no sense.
    #[error(transparent)]
    Source(#[from] source::Error),
    /// The publisher's word could not be had, or is not believed.
    #[error(transparent)]
    Belief(#[from] belief::Error),
    /// A check came to no verdict.
    #[error(transparent)]
    Check(#[from] check::Error),
    /// A release could not be downloaded.
    #[error(transparent)]
    Download(#[from] download::Error),
    /// The updater's own folder cannot be used.
    #[error(transparent)]
    Home(#[from] home::Error),
    /// A release could not be installed.
    #[error(transparent)]
    Install(#[from] install::Error),
    /// What was downloaded is no longer what this device should install.
    #[error("{staged} was downloaded, but it is no longer offered: check again")]
    Superseded {
        /// What was downloaded.
        staged: Box<ReleaseName>,
    },
    /// Nothing is installed yet.
    #[error("nothing is installed yet: update first")]
    NothingInstalled,
}

impl Error {
    /// What kind of trouble it is.
    pub fn class(&self) -> Class {
        match self {
            Self::Belief(error) | Self::Check(check::Error::Belief(error)) => of_belief(error),
            // What a person asked for that there is not, or that was not meant.
            Self::Check(
                check::Error::NoChannel { .. }
                | check::Error::Nothing { .. }
                | check::Error::NotLive { .. }
                | check::Error::OtherChannel { .. }
                | check::Error::Barred(_)
                | check::Error::Older { .. },
            ) => Class::Other,
            Self::Check(check::Error::Channel { .. } | check::Error::Release { .. }) => Class::Verification,
            Self::Download(error) => of_download(error),
            Self::Source(source::Error::Dir(_)) => Class::Unreachable,
            Self::Source(_) | Self::Home(_) | Self::Install(_) | Self::Superseded { .. } | Self::NothingInstalled => {
                Class::Other
            }
        }
    }

    /// Since when the publisher's word is out of date, if that is the trouble.
    pub fn stale_since(&self) -> Option<Timestamp> {
        match self {
            Self::Belief(belief::Error::Stale { since, .. })
            | Self::Check(check::Error::Belief(belief::Error::Stale { since, .. })) => Some(*since),
            _ => None,
        }
    }

    /// Whether it was told to stop.
    pub fn is_cancelled(&self) -> bool {
        matches!(
            self,
            Self::Belief(belief::Error::Fetch(fetch::Error::Cancelled))
                | Self::Check(check::Error::Belief(belief::Error::Fetch(fetch::Error::Cancelled)))
                | Self::Download(download::Error::Fetch(fetch::Error::Cancelled))
        )
    }
}

fn of_belief(error: &belief::Error) -> Class {
    match error {
        belief::Error::Stale { .. } => Class::Stale,
        belief::Error::Fetch(error) => of_fetch(error),
        belief::Error::Incomplete { .. } => Class::Unreachable,
        belief::Error::Trust(_)
        | belief::Error::Head(_)
        | belief::Error::NotARoot { .. }
        | belief::Error::OtherRoot { .. }
        | belief::Error::Pin { .. }
        | belief::Error::NoRoot => Class::Verification,
        // Somebody answered: to ask again changes nothing.
        belief::Error::NoApp { .. } | belief::Error::Keep(_) => Class::Other,
    }
}

fn of_download(error: &download::Error) -> Class {
    match error {
        download::Error::Fetch(error) => of_fetch(error),
        download::Error::Missing { .. } => Class::Unreachable,
        download::Error::Tree { .. } | download::Error::Blob { .. } => Class::Verification,
        download::Error::NoSpace { .. } | download::Error::Files(_) => Class::Other,
    }
}

fn of_fetch(error: &fetch::Error) -> Class {
    match error {
        fetch::Error::Unreachable { .. } | fetch::Error::Status { .. } => Class::Unreachable,
        // Endless data is an attack like another (TUF 1.5.2).
        fetch::Error::TooLong { .. } => Class::Verification,
        fetch::Error::Keep { .. } | fetch::Error::Cancelled => Class::Other,
    }
}
