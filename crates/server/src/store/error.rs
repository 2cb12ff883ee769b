//! What can go wrong with a store, sorted by what an operator can do about it.
//!
//! A store's failure is about a key, a path or both; the message names them, the reason and the remedy. "Not there",
//! "there already" and "conflict" are answers, not errors.

use std::io;
use std::path::Path;

use updraft_core::layout::Key;

/// What an operator can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// The process may not: grant it, or mount the file system for writing.
    NotPermitted,
    /// No space or no quota left: make some.
    Full,
    /// What is stored is not what was stored: run `fsck`, restore.
    Corrupt,
    /// An object is larger than the reader's bound.
    TooLarge,
    /// Somebody else has it open: stop them, or wait.
    InUse,
    /// A later version wrote it: use that one.
    NewerFormat,
    /// Anything else that may be better next time; the source says what.
    Unavailable,
}

/// A failure of a store.
#[derive(Debug, thiserror::Error)]
#[error("{thing}: {reason}")]
pub struct Error {
    kind: Kind,
    key: Option<Key>,
    thing: String,
    reason: String,
    source: Option<io::Error>,
}

impl Error {
    /// What an operator can do about it.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The object that it is about, if it is about one.
    pub fn key(&self) -> Option<&Key> {
        self.key.as_ref()
    }

    pub(super) fn new(kind: Kind, thing: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { kind, key: None, thing: thing.into(), reason: reason.into(), source: None }
    }

    /// A system call on `path` failed.
    pub(super) fn io(path: &Path, source: io::Error) -> Self {
        let (kind, reason) = match source.kind() {
            io::ErrorKind::StorageFull => (
                Kind::Full,
                "no space left on its file system; free some, or move the data directory to a larger one".to_owned(),
            ),
            io::ErrorKind::QuotaExceeded => {
                (Kind::Full, "the disk quota is used up; raise it, or free some space".to_owned())
            }
            io::ErrorKind::PermissionDenied => {
                (Kind::NotPermitted, "permission denied; give it to the user that runs updraft".to_owned())
            }
            io::ErrorKind::ReadOnlyFilesystem => {
                (Kind::NotPermitted, "its file system is read-only; mount it for writing".to_owned())
            }
            io::ErrorKind::CrossesDevices => (
                Kind::NotPermitted,
                "it lies on another file system than the rest of the store; keep the whole data directory on one"
                    .to_owned(),
            ),
            _ => (Kind::Unavailable, source.to_string()),
        };
        Self { source: Some(source), ..Self::new(kind, path.display().to_string(), reason) }
    }

    pub(super) fn too_large(size: u64, max: u64) -> Self {
        Self::new(Kind::TooLarge, "", format!("it has {size} bytes, and no more than {max} are expected there"))
    }

    /// The same failure, about `key`.
    #[must_use]
    pub(super) fn at(mut self, key: &Key) -> Self {
        self.thing = match self.thing.as_str() {
            "" => key.to_string(),
            path => format!("{key} ({path})"),
        };
        self.key = Some(key.clone());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_names_the_key_the_path_and_the_remedy() {
        let key = Key::parse("apps/demo/head").unwrap();
        let error = Error::io(Path::new("/data/scratch/1"), io::ErrorKind::StorageFull.into()).at(&key);
        assert_eq!(error.kind(), Kind::Full);
        assert_eq!(error.key(), Some(&key));
        assert_eq!(
            error.to_string(),
            "apps/demo/head (/data/scratch/1): no space left on its file system; free some, or move the data directory to \
             a larger one"
        );
    }

    #[cfg(unix)]
    #[test]
    fn errno_decides_the_kind() {
        use rustix::io::Errno;
        for (errno, kind) in [
            (Errno::NOSPC, Kind::Full),
            (Errno::DQUOT, Kind::Full),
            (Errno::ACCESS, Kind::NotPermitted),
            (Errno::PERM, Kind::NotPermitted),
            (Errno::ROFS, Kind::NotPermitted),
            (Errno::XDEV, Kind::NotPermitted),
            (Errno::IO, Kind::Unavailable),
            (Errno::MFILE, Kind::Unavailable),
        ] {
            let error = io::Error::from_raw_os_error(errno.raw_os_error());
            assert_eq!(Error::io(Path::new("x"), error).kind(), kind, "{errno}");
        }
    }
}
