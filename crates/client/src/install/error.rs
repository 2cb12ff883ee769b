//! Why a directory could not be switched to another release.

use std::io;
use std::path::PathBuf;

use updraft_core::path::RelPath;
use updraft_core::release::ReleaseName;

use crate::{home, record};

/// Why a directory could not be switched to another release. Whatever it is, the managed files are whole: those of the
/// release before, or those of the new one.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The first install found something there.
    #[error(
        "{}: it is not empty: choose an empty or missing directory, or take over what is there with --adopt",
        dir.display()
    )]
    NotEmpty {
        /// The directory.
        dir: PathBuf,
    },
    /// There is nothing to go back to.
    #[error("{}: there is no earlier release to go back to: the first update keeps one", dir.display())]
    NoSlot {
        /// The directory.
        dir: PathBuf,
    },
    /// What is kept to go back to is what was gone back from.
    #[error(
        "there is nothing earlier to go back to: {release} is kept, which was rolled back from; `update` takes it again"
    )]
    BackAlready {
        /// The release in the slot.
        release: ReleaseName,
    },
    /// Nothing is installed yet.
    #[error("{}: no release is installed yet: finish the first install", dir.display())]
    NothingInstalled {
        /// The directory.
        dir: PathBuf,
    },
    /// The installed release was not confirmed, so it is not known what to go back to after another update.
    #[error("{release} is installed and not confirmed yet: confirm it or roll back first")]
    Unconfirmed {
        /// The installed release.
        release: ReleaseName,
    },
    /// Content that was there when the download was planned is not there any more.
    #[error("'{first}'{} changed while the update was downloaded: run the update again", others_text(*count))]
    Lacking {
        /// One of the files.
        first: RelPath,
        /// How many there are.
        count: usize,
    },
    /// What was written is not what is read.
    #[error(
        "'{path}' was written and reads back with other content: the disk or the memory may be failing; run the update again"
    )]
    Mismatch {
        /// The file.
        path: RelPath,
    },
    /// What was copied to another file system reads back otherwise.
    #[error("'{}' was copied and reads back with other content: the disk may be failing; run the update again", path.display())]
    Unsound {
        /// The file, relative to the installed directory.
        path: PathBuf,
    },
    /// This process may not do what the update needs.
    #[error("'{}' {reason}: nothing was changed", path.display())]
    Denied {
        /// What may not be changed.
        path: PathBuf,
        /// Why, and what to do.
        reason: &'static str,
    },
    /// A mount is where the release has a file.
    #[error("'{}' is a mount point, and the release has a file there: unmount it and run the update again", path.display())]
    MountInTheWay {
        /// The mount, relative to the installed directory.
        path: PathBuf,
    },
    /// The home was opened to look only.
    #[error("{}: opened to look only: nothing can be changed", dir.display())]
    ReadOnly {
        /// The directory.
        dir: PathBuf,
    },
    /// The journal of an interrupted update cannot be used.
    #[error("{}: {reason}", file.display())]
    Journal {
        /// The journal.
        file: PathBuf,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// The disk is full, or a quota is.
    #[error("{source}; free some space and run the same command again: what is installed is whole")]
    Full {
        /// What could not be written.
        source: updraft_files::Error,
    },
    /// The file system said no.
    #[error(transparent)]
    Files(updraft_files::Error),
    /// A file could not be read.
    #[error("cannot read '{}': {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The record of a release cannot be used.
    #[error(transparent)]
    Record(#[from] record::Error),
    /// The home cannot be used.
    #[error(transparent)]
    Home(#[from] home::Error),
    /// A test wanted it so.
    #[cfg(test)]
    #[error("a test let this fail with error {0}")]
    Injected(i32),
}

fn others_text(count: usize) -> String {
    match count {
        0 | 1 => String::new(),
        n => format!(" and {} other files", n - 1),
    }
}

impl From<updraft_files::Error> for Error {
    fn from(source: updraft_files::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { source },
            _ => Self::Files(source),
        }
    }
}

impl Error {
    /// What kind of refusal it was, when the file system refused.
    pub(super) fn io_kind(&self) -> Option<io::ErrorKind> {
        match self {
            Self::Files(source) | Self::Full { source } => Some(source.kind()),
            Self::Read { source, .. } => Some(source.kind()),
            Self::Denied { .. } => Some(io::ErrorKind::PermissionDenied),
            #[cfg(test)]
            Self::Injected(number) => Some(io::Error::from_raw_os_error(*number).kind()),
            _ => None,
        }
    }

    /// Whether the file system cannot give a file a second name here, or swap two directories: the journal can do
    /// without.
    pub(super) fn is_unsupported(&self) -> bool {
        use io::ErrorKind::{CrossesDevices, InvalidInput, PermissionDenied, ResourceBusy, TooManyLinks, Unsupported};
        matches!(
            self.io_kind(),
            Some(CrossesDevices | InvalidInput | PermissionDenied | ResourceBusy | TooManyLinks | Unsupported)
        )
    }

    /// Whether what the file system cannot do now it will not do later either.
    pub(super) fn is_for_good(&self) -> bool {
        use io::ErrorKind::{CrossesDevices, InvalidInput, Unsupported};
        matches!(self.io_kind(), Some(CrossesDevices | InvalidInput | Unsupported))
    }

    /// Whether something that was just seen is not there any more.
    pub(super) fn is_gone(&self) -> bool {
        matches!(self.io_kind(), Some(io::ErrorKind::NotFound | io::ErrorKind::NotADirectory))
    }
}
