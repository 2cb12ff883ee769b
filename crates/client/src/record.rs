//! What is installed: the exact release document, its tree, and the stamps of its files.
//!
//! A *stamp* is what `stat` said of a file when its content was last verified. As long as it says the same, the content is
//! taken as verified; when anything differs the file is hashed again. A record is replaced whole, never changed.
//!
//! ```text
//! one line of JSON: {"format":1,"app","platform","version","document":LEN,"tree":LEN,"digest":BLAKE3}
//! the release document                                              exact bytes
//! the tree as it was stored                                         core::tree::stored
//! for each file of the tree, in order: inode, mtime, ctime          3 x 8 bytes, little-endian, ns; zeros: no stamp
//! ```
//!
//! `digest` is over everything behind the line, so a damaged record is found when it is read.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use updraft_core::digest::Digest;
use updraft_core::limits::{RELEASE_LEN_MAX, TREE_ENTRIES_MAX, TREE_LEN_MAX};
use updraft_core::name::{AppName, Platform};
use updraft_core::path::RelPath;
use updraft_core::release::{Release, ReleaseName};
use updraft_core::tree::Tree;
use updraft_core::tree::stored;
use updraft_core::version::Version;
use updraft_files::{Dir, Stat, read_bounded};

const HEADER_LEN_MAX: usize = 4 << 10;
const STAMP_LEN: usize = 24;
const RECORD_LEN_MAX: u64 =
    HEADER_LEN_MAX as u64 + RELEASE_LEN_MAX + TREE_LEN_MAX + (TREE_ENTRIES_MAX * STAMP_LEN) as u64;
/// A file whose content was changed this shortly before its record was written may have been changed once more in the
/// same tick of the file system's clock, which `stat` cannot tell: such a stamp is not believed. (A young ctime is no
/// such sign: every edit moves the mtime as well, and giving a file another name does not.)
const TICK_NS: i64 = 20_000_000;

/// Why some bytes are not a record.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error(transparent)]
    Files(#[from] updraft_files::Error),
    /// They are damaged.
    #[error("the record of what is installed is damaged ({0}): install again with --adopt")]
    Damaged(String),
    /// They were written by a newer program.
    #[error("the record of what is installed has format {0}, which is newer than this program: update updraft-agent")]
    Newer(u64),
}

/// What `stat` said of a file when its content was verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    inode: u64,
    mtime_ns: i64,
    ctime_ns: i64,
}

impl Stamp {
    /// The stamp of a file that was verified, and is as `stat` says.
    pub(crate) fn of(stat: &Stat) -> Self {
        Self { inode: stat.inode, mtime_ns: stat.mtime_ns, ctime_ns: stat.ctime_ns }
    }

    /// Whether a file of which this is said now is still the same but for its number of names: making or removing a hard
    /// link changes the ctime and nothing else that is kept here.
    pub(crate) fn differs_by_ctime(&self, stat: &Stat) -> bool {
        self.inode == stat.inode && self.mtime_ns == stat.mtime_ns && self.ctime_ns != stat.ctime_ns
    }
}

/// The stamps of a tree's files; a file without one is hashed.
pub(crate) type Stamps = BTreeMap<RelPath, Stamp>;

/// An installed release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The release.
    pub release: Release,
    /// Its document, exactly as it was signed.
    pub document: Vec<u8>,
    /// Its files.
    pub tree: Tree,
    /// The tree as it was stored (see `core::tree::stored`).
    pub packed_tree: Vec<u8>,
    pub(crate) stamps: Stamps,
}

#[derive(Serialize, Deserialize)]
struct Header {
    format: u64,
    app: AppName,
    platform: Platform,
    version: Version,
    document: usize,
    tree: usize,
    digest: Digest,
}

impl Record {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut body = [&self.document[..], &self.packed_tree[..]].concat();
        for file in self.tree.files() {
            let stamp = self.stamps.get(file.path).copied().unwrap_or(Stamp { inode: 0, mtime_ns: 0, ctime_ns: 0 });
            body.extend_from_slice(&stamp.inode.to_le_bytes());
            body.extend_from_slice(&stamp.mtime_ns.to_le_bytes());
            body.extend_from_slice(&stamp.ctime_ns.to_le_bytes());
        }
        let header = Header {
            format: 1,
            app: self.release.app.clone(),
            platform: self.release.platform.clone(),
            version: self.release.version.clone(),
            document: self.document.len(),
            tree: self.packed_tree.len(),
            digest: Digest::of(&body),
        };
        let mut bytes = serde_json::to_vec(&header).expect("a header is plain JSON");
        bytes.push(b'\n');
        bytes.extend(body);
        bytes
    }

    /// The record that `bytes` encode. A stamp of content that was younger than a tick at `written_ns` is left out.
    fn decode(bytes: &[u8], written_ns: i64) -> Result<Self, Error> {
        let damaged = |reason: &str| Error::Damaged(reason.to_owned());
        let line_len =
            bytes.iter().take(HEADER_LEN_MAX).position(|b| *b == b'\n').ok_or(damaged("it has no header"))?;
        let (line, body) = (&bytes[..line_len], &bytes[line_len + 1..]);
        let value: serde_json::Value = serde_json::from_slice(line).map_err(|e| Error::Damaged(e.to_string()))?;
        match value.get("format").and_then(serde_json::Value::as_u64) {
            Some(n) if n > 1 => return Err(Error::Newer(n)),
            _ => {}
        }
        let header: Header = serde_json::from_value(value).map_err(|e| Error::Damaged(e.to_string()))?;
        if Digest::of(body) != header.digest {
            return Err(damaged("its digest is another one"));
        }
        let (document, rest) = body.split_at_checked(header.document).ok_or(damaged("it ends in the document"))?;
        let (packed, stamps) = rest.split_at_checked(header.tree).ok_or(damaged("it ends in the tree"))?;
        let name = ReleaseName { platform: header.platform, version: header.version };
        let release =
            Release::decode(document, &header.app, &name).map_err(|error| Error::Damaged(error.to_string()))?;
        let (tree, _) = stored::unpack(packed, release.tree.digest, release.tree.length)
            .map_err(|error| Error::Damaged(error.to_string()))?;
        let stamps = read_stamps(stamps, &tree, written_ns).ok_or(damaged("it has stamps of another tree"))?;
        Ok(Self { release, document: document.to_vec(), tree, packed_tree: packed.to_vec(), stamps })
    }

    /// The record at `at`, if there is one.
    pub(crate) fn read(dir: &Dir, at: &Path) -> Result<Option<Self>, Error> {
        let Some(stat) = dir.stat(at)? else { return Ok(None) };
        match read_bounded(dir, at, RECORD_LEN_MAX)? {
            Some(bytes) => Self::decode(&bytes, stat.mtime_ns).map(Some),
            None => Ok(None),
        }
    }
}

fn read_stamps(bytes: &[u8], tree: &Tree, written_ns: i64) -> Option<Stamps> {
    let mut stamps = Stamps::new();
    let mut words = bytes.chunks_exact(8).map(|word| word.try_into().expect("a word has 8 bytes"));
    for file in tree.files() {
        let stamp = Stamp {
            inode: u64::from_le_bytes(words.next()?),
            mtime_ns: i64::from_le_bytes(words.next()?),
            ctime_ns: i64::from_le_bytes(words.next()?),
        };
        let settled = stamp.mtime_ns.saturating_add(TICK_NS) <= written_ns;
        if stamp.inode != 0 && settled {
            stamps.insert(file.path.clone(), stamp);
        }
    }
    (bytes.len().is_multiple_of(8) && words.next().is_none()).then_some(stamps)
}

#[cfg(test)]
mod tests {
    use super::*;
    use updraft_core::release::{Notes, Terms, TreeRef};
    use updraft_core::tree::{Kind, codec};

    fn record() -> Record {
        let file = |content: &[u8]| Kind::File { mode: 0o644, size: content.len() as u64, digest: Digest::of(content) };
        let entries = [("a".parse().unwrap(), file(b"1")), ("b".parse().unwrap(), file(b"22"))];
        let tree = Tree::new(entries.into()).unwrap();
        let release = Release {
            format: 1,
            app: "demo".parse().unwrap(),
            version: "1.0".parse().unwrap(),
            platform: Platform::any(),
            date: "2026-01-02T03:04:05Z".parse().unwrap(),
            notes: Notes::default(),
            tree: TreeRef {
                digest: tree.digest(),
                length: codec::encode(&tree).len() as u64,
                files: 2,
                bytes: 3,
                stored: 3,
            },
            terms: Terms::default(),
            from: Vec::new(),
        };
        let stamp = |inode, mtime_ns| Stamp { inode, mtime_ns, ctime_ns: -5 };
        Record {
            document: release.encode(),
            packed_tree: stored::pack(&tree, &stored::Hint::new()),
            stamps: Stamps::from([("a".parse().unwrap(), stamp(7, 1_000)), ("b".parse().unwrap(), stamp(8, 2_000))]),
            release,
            tree,
        }
    }

    #[test]
    fn there_and_back() {
        let record = record();
        assert_eq!(Record::decode(&record.encode(), 2_000 + TICK_NS).unwrap(), record);
        let mut bare = record.clone();
        bare.stamps.remove("a");
        assert_eq!(Record::decode(&bare.encode(), i64::MAX).unwrap(), bare);
    }

    #[test]
    fn a_stamp_within_the_tick_of_its_record_is_not_believed() {
        let stamps = Record::decode(&record().encode(), 1_999 + TICK_NS).unwrap().stamps;
        assert_eq!(stamps.len(), 1);
        assert!(stamps.contains_key("a"));
    }

    #[test]
    fn damage_anywhere_is_found() {
        let bytes = record().encode();
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            assert!(Record::decode(&bad, 0).map_or(true, |other| other.tree == record().tree), "byte {at}");
            assert!(Record::decode(&bytes[..at], 0).is_err(), "cut at {at}");
        }
        let newer = [&b"{\"format\":2}\n"[..], &bytes].concat();
        assert!(matches!(Record::decode(&newer, 0), Err(Error::Newer(2))));
    }
}
