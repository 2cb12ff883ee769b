//! What an update is about to do, written down and synced before it does it: the `journal` file.
//!
//! For an exchange it names the two directories by their inodes, so that recovery sees which one is installed. For the
//! journal way it *is* the commit: everything that the list needs lies ready, and from here it only goes forward.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use updraft_core::path::RelPath;
use updraft_core::release::ReleaseName;
use updraft_files::{Dir, Stat, read_bounded};

use super::state::{Confirmation, one_or_many};
use super::{Error, Way, disk};

const JOURNAL: &str = "journal";
/// A million operations of a few hundred bytes.
const JOURNAL_LEN_MAX: u64 = 512 << 20;

/// An update that is under way.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Intent {
    format: u32,
    /// What is done to the installed directory.
    pub(super) work: Work,
    /// What is done in the home after that.
    pub(super) ending: Ending,
}

/// What is done to the installed directory.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Work {
    /// `DIR` and `stage/tree` are swapped.
    Exchange {
        /// The inode of the directory that was installed.
        old: u64,
        /// The inode of the one that takes its place.
        new: u64,
    },
    /// These are done, in this order.
    Journal(Vec<Op>),
}

/// One step of the journal way. Each can be done again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Op {
    /// Moves what is at `path`, and has this inode, to the backup.
    Aside {
        /// Where it is.
        #[serde(with = "exact")]
        path: PathBuf,
        /// Which one is meant.
        inode: u64,
    },
    /// Removes a file or link that is still as it was.
    Remove {
        /// Where it is.
        path: RelPath,
        /// As it was.
        was: Was,
    },
    /// Removes a directory, unless something foreign is in it.
    RemoveDir {
        /// Where it is.
        path: RelPath,
    },
    /// Makes a directory, or gives it its mode.
    MakeDir {
        /// Where it is.
        path: RelPath,
        /// Its permission bits.
        mode: u32,
    },
    /// Renames a file or link that lies ready to its place.
    Place {
        /// Its number: it lies at `stage/new/N`.
        number: u64,
        /// Or in this mount of the installed directory, under a name with the number.
        #[serde(with = "exact_option", default, skip_serializing_if = "Option::is_none")]
        mount: Option<PathBuf>,
        /// Where it belongs.
        path: RelPath,
        /// What it replaces; anything else that is there goes to the backup.
        was: Option<Was>,
    },
}

impl Op {
    /// What it changes, relative to the installed directory.
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Aside { path, .. } => path,
            Self::Remove { path, .. } | Self::RemoveDir { path } => Path::new(path.as_str()),
            Self::MakeDir { path, .. } | Self::Place { path, .. } => Path::new(path.as_str()),
        }
    }
}

/// Enough of what `stat` says to know a file again, however many names it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Was {
    inode: u64,
    size: u64,
    mtime_ns: i64,
}

impl Was {
    pub(super) fn of(stat: &Stat) -> Self {
        Self { inode: stat.inode, size: stat.size, mtime_ns: stat.mtime_ns }
    }
}

/// What is done in the home when the installed directory is the new one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Ending {
    pub(super) from: Option<ReleaseName>,
    pub(super) to: ReleaseName,
    pub(super) way: Way,
    pub(super) rotate: Rotate,
    pub(super) confirmation: Confirmation,
    #[serde(deserialize_with = "one_or_many")]
    pub(super) rejected: Vec<ReleaseName>,
    #[serde(default)]
    pub(super) held: bool,
    /// Whether the release that is left was held: that goes with it into its slot.
    #[serde(default)]
    pub(super) left_held: bool,
    /// The name of this update's folder in `backup/`.
    pub(super) backup: String,
    pub(super) edited: Vec<String>,
    pub(super) kept: Vec<String>,
    pub(super) displaced: Vec<String>,
    pub(super) damaged: Vec<String>,
}

/// What becomes of the release that was installed, and of the slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Rotate {
    /// It becomes the slot; the slot before goes.
    Slot,
    /// It becomes the slot; the slot before waits in `older/` until the new release is confirmed.
    Hold,
    /// It goes: it was never confirmed. `older/` is the slot again.
    Undo,
    /// It goes, the slot stays: there was none, or it was the same release.
    Drop,
}

impl Intent {
    pub(super) fn new(work: Work, ending: Ending) -> Self {
        Self { format: 1, work, ending }
    }

    /// Writes it down; durable when this returns.
    pub(super) fn write(&self, folder: &Dir) -> Result<(), Error> {
        let bytes = serde_json::to_vec(self).expect("an intent is plain JSON");
        disk::write_atomic(folder, Path::new(JOURNAL), &bytes, 0o600)
    }

    pub(super) fn read(folder: &Dir) -> Result<Option<Self>, Error> {
        let Some(bytes) = read_bounded(folder, Path::new(JOURNAL), JOURNAL_LEN_MAX)? else { return Ok(None) };
        let damaged = |reason: String| Error::Journal { file: folder.path().join(JOURNAL), reason };
        let intent: Self = serde_json::from_slice(&bytes).map_err(|error| {
            damaged(format!(
                "it is damaged, or of another version of updraft-agent ({error}): \
                 use that version, or remove the file and run 'updraft-agent verify --repair'"
            ))
        })?;
        match intent.format {
            1 => Ok(Some(intent)),
            n => Err(damaged(format!("format {n} is newer than this program: update updraft-agent"))),
        }
    }

    /// Removes it; durable when this returns.
    pub(super) fn remove(folder: &Dir) -> Result<(), Error> {
        match disk::remove_file(folder, Path::new(JOURNAL)) {
            Err(error) if !error.is_gone() => Err(error),
            _ => disk::sync(folder),
        }
    }
}

/// Paths of foreign entries, byte for byte, though JSON knows only text: what is not UTF-8 is escaped as `%XX`.
mod exact {
    use std::path::{Path, PathBuf};

    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    #[cfg(unix)]
    pub(super) fn encode(path: &Path) -> String {
        use std::os::unix::ffi::OsStrExt;
        let mut out = String::new();
        for piece in path.as_os_str().as_bytes().utf8_chunks() {
            out.push_str(&piece.valid().replace('%', "%25"));
            piece.invalid().iter().for_each(|byte| out.push_str(&format!("%{byte:02X}")));
        }
        out
    }

    #[cfg(unix)]
    pub(super) fn decode(text: &str) -> Option<PathBuf> {
        use std::os::unix::ffi::OsStringExt;
        let mut bytes = Vec::new();
        let mut rest = text.bytes();
        while let Some(byte) = rest.next() {
            match byte {
                b'%' => bytes.extend(hex::decode([rest.next()?, rest.next()?]).ok()?),
                plain => bytes.push(plain),
            }
        }
        Some(std::ffi::OsString::from_vec(bytes).into())
    }

    #[cfg(not(unix))]
    pub(super) fn encode(path: &Path) -> String {
        path.to_string_lossy().into_owned()
    }

    #[cfg(not(unix))]
    pub(super) fn decode(text: &str) -> Option<PathBuf> {
        Some(text.into())
    }

    pub(super) fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&encode(path))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
        decode(&String::deserialize(deserializer)?).ok_or_else(|| D::Error::custom("not an escaped path"))
    }
}

mod exact_option {
    use std::path::PathBuf;

    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::exact;

    pub(super) fn serialize<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
        path.as_deref().map(exact::encode).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
        let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
        exact::decode(&text).map(Some).ok_or_else(|| D::Error::custom("not an escaped path"))
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::ffi::OsStringExt;

    proptest! {
        #[test]
        fn any_foreign_name_survives(bytes in proptest::collection::vec(1u8.., 1..40)) {
            let path = PathBuf::from(std::ffi::OsString::from_vec(bytes));
            prop_assert_eq!(exact::decode(&exact::encode(&path)), Some(path));
        }
    }
}
