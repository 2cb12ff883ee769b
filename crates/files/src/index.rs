//! What was hashed before, so that it need not be hashed again.
//!
//! An [`Index`] is a cache: losing it, or an entry of it, costs time and nothing else. So a damaged one is refused whole,
//! and what may not be trusted is never put in.
//!
//! ```text
//! "updraft index 1\n"                16 bytes
//! BLAKE3 of everything behind it     32 bytes
//! number of entries                  8 bytes, all numbers little endian
//! for each, in the order of the paths' bytes:
//!   length of the path, the path     2 bytes, UTF-8
//!   size, mtime_ns, ctime_ns, inode  8 bytes each
//!   digest of the content            32 bytes
//! ```

use std::collections::BTreeMap;

use updraft_core::Timestamp;
use updraft_core::digest::Digest;
use updraft_core::limits::TREE_ENTRIES_MAX;
use updraft_core::path::RelPath;

use crate::dir::Stat;

const MAGIC: &[u8; 16] = b"updraft index 1\n";
const HEADER_LEN: usize = 16 + 32 + 8;
/// Of an entry without its path.
const ENTRY_LEN: usize = 2 + 4 * 8 + 32;

/// Largest encoded index, in bytes: a million entries with paths of 160 bytes, and some room.
pub const INDEX_LEN_MAX: u64 = 256 << 20;

/// How long before it was looked at a file must have been left alone for its stamp to be believed, in nanoseconds.
///
/// A stamp has the resolution of the file system's clock: one tick of the kernel (4 to 10 ms) on ext4 or XFS, one second
/// on ext3 and HFS+, two on FAT. A file that is hashed and then written again within the same tick, to the same length,
/// has the stamp of the old content and the bytes of the new. (Git knows this as the racy entry.) So a stamp counts only
/// when it was already old at the moment of the look: a later write must then show a later time. A clock of a file server
/// that differs from ours is covered as far as the margin goes, and a time in the future is never believed.
const MARGIN_NS: i64 = 2_100_000_000;

/// Why some bytes are not an index. The remedy is always the same: start with an empty one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an index of format 1, or a damaged one; files are hashed anew without it")]
pub struct Error;

/// What tells one state of a file from another without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) size: u64,
    mtime_ns: i64,
    ctime_ns: i64,
    inode: u64,
}

impl From<&Stat> for Stamp {
    fn from(stat: &Stat) -> Self {
        Self { size: stat.size, mtime_ns: stat.mtime_ns, ctime_ns: stat.ctime_ns, inode: stat.inode }
    }
}

/// Size, times, inode and digest of files when they were last hashed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Index {
    entries: BTreeMap<RelPath, (Stamp, Digest)>,
}

impl Index {
    /// An index that knows nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many files it knows.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it knows none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Notes that the file at `path` had the content `digest` when it had `stamp`, which was taken at `now` or later. A file
    /// that was written shortly before `now` is not noted: its stamp cannot be believed.
    pub(crate) fn insert(&mut self, path: &RelPath, stamp: Stamp, digest: Digest, now: Timestamp) {
        let now_ns = i64::try_from(now.as_nanosecond()).unwrap_or(i64::MIN);
        if stamp.mtime_ns < now_ns.saturating_sub(MARGIN_NS) {
            self.entries.insert(path.clone(), (stamp, digest));
        }
    }

    /// The content of the file at `path`, if it has not changed in any way since it was noted.
    pub(crate) fn get(&self, path: &RelPath, stamp: Stamp) -> Option<Digest> {
        self.entries.get(path).filter(|(known, _)| *known == stamp).map(|(_, digest)| *digest)
    }

    /// Its bytes, at most [`INDEX_LEN_MAX`]: entries that do not fit are left out, and will be hashed again.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(8 + self.entries.len() * (ENTRY_LEN + 64));
        body.extend_from_slice(&[0; 8]);
        let mut count = 0u64;
        for (path, (stamp, digest)) in self.entries.iter().take(TREE_ENTRIES_MAX) {
            let path = path.as_str().as_bytes();
            if (HEADER_LEN + body.len() + ENTRY_LEN + path.len()) as u64 > INDEX_LEN_MAX {
                break;
            }
            body.extend_from_slice(&u16::try_from(path.len()).expect("a path has at most 3,072 bytes").to_le_bytes());
            body.extend_from_slice(path);
            body.extend_from_slice(&stamp.size.to_le_bytes());
            body.extend_from_slice(&stamp.mtime_ns.to_le_bytes());
            body.extend_from_slice(&stamp.ctime_ns.to_le_bytes());
            body.extend_from_slice(&stamp.inode.to_le_bytes());
            body.extend_from_slice(digest.as_bytes());
            count += 1;
        }
        body[..8].copy_from_slice(&count.to_le_bytes());
        [&MAGIC[..], Digest::of(&body).as_bytes(), &body].concat()
    }

    /// The index that `bytes` encode.
    ///
    /// # Errors
    /// When they are not exactly what [`Index::encode`] made. Memory stays within a small multiple of their length.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() as u64 > INDEX_LEN_MAX {
            return Err(Error);
        }
        let (magic, rest) = bytes.split_first_chunk::<16>().ok_or(Error)?;
        let (digest, body) = rest.split_first_chunk::<32>().ok_or(Error)?;
        if magic != MAGIC || Digest::of(body).as_bytes() != digest {
            return Err(Error);
        }
        let mut rest = body;
        let count = u64::from_le_bytes(take(&mut rest)?);
        if count > (rest.len() / ENTRY_LEN) as u64 {
            return Err(Error);
        }
        let mut index = Self::new();
        for _ in 0..count {
            let (path, entry) = read_entry(&mut rest)?;
            if index.entries.last_key_value().is_some_and(|(last, _)| *last >= path) {
                return Err(Error);
            }
            index.entries.insert(path, entry);
        }
        if rest.is_empty() { Ok(index) } else { Err(Error) }
    }
}

fn read_entry(rest: &mut &[u8]) -> Result<(RelPath, (Stamp, Digest)), Error> {
    let path_len = usize::from(u16::from_le_bytes(take(rest)?));
    let (path, behind) = rest.split_at_checked(path_len).ok_or(Error)?;
    *rest = behind;
    let path = std::str::from_utf8(path).map_err(|_| Error)?.parse().map_err(|_| Error)?;
    let stamp = Stamp {
        size: u64::from_le_bytes(take(rest)?),
        mtime_ns: i64::from_le_bytes(take(rest)?),
        ctime_ns: i64::from_le_bytes(take(rest)?),
        inode: u64::from_le_bytes(take(rest)?),
    };
    Ok((path, (stamp, Digest::from_bytes(take(rest)?))))
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Error> {
    let (taken, behind) = rest.split_first_chunk::<N>().ok_or(Error)?;
    *rest = behind;
    Ok(*taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn path(text: &str) -> RelPath {
        text.parse().unwrap()
    }

    fn stamp(size: u64, mtime_ns: i64) -> Stamp {
        Stamp { size, mtime_ns, ctime_ns: 3, inode: 4 }
    }

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_second(secs).unwrap()
    }

    fn any_index() -> impl Strategy<Value = Index> {
        let entry = ("[a-c]{1,3}(/[a-c]{1,3})?", any::<(u64, i64, i64, u64)>(), any::<[u8; 32]>());
        proptest::collection::vec(entry, 0..8).prop_map(|entries| {
            let entries = entries.into_iter().map(|(text, (size, mtime_ns, ctime_ns, inode), digest)| {
                (path(&text), (Stamp { size, mtime_ns, ctime_ns, inode }, Digest::from_bytes(digest)))
            });
            Index { entries: entries.collect() }
        })
    }

    proptest! {
        #[test]
        fn there_and_back(index in any_index()) {
            prop_assert_eq!(Index::decode(&index.encode()).unwrap(), index);
        }

        #[test]
        fn any_damage_is_refused(index in any_index(), at in any::<prop::sample::Index>(), bit in 0u8..8) {
            let mut bytes = index.encode();
            let at = at.index(bytes.len());
            prop_assert!(Index::decode(&bytes[..at]).is_err());
            bytes[at] ^= 1 << bit;
            prop_assert!(Index::decode(&bytes).is_err());
        }
    }

    #[test]
    fn a_body_that_lies_is_refused_although_its_digest_is_right() {
        let sealed = |body: &[u8]| [&MAGIC[..], Digest::of(body).as_bytes(), body].concat();
        assert_eq!(Index::decode(&sealed(&0u64.to_le_bytes())).unwrap(), Index::new());
        assert_eq!(Index::decode(&sealed(&u64::MAX.to_le_bytes())), Err(Error));
        let mut index = Index::new();
        index.insert(&path("a"), stamp(1, 0), Digest::of(b"x"), at(1_000));
        let one = index.encode()[HEADER_LEN..].to_vec();
        let twice = [&2u64.to_le_bytes()[..], &one, &one].concat();
        assert_eq!(Index::decode(&sealed(&twice)), Err(Error), "a path twice");
        let climbs = [&1u64.to_le_bytes()[..], &3u16.to_le_bytes(), b"../", &one[3..]].concat();
        assert_eq!(Index::decode(&sealed(&climbs)), Err(Error), "a path that climbs");
    }

    #[test]
    fn the_encoding_is_frozen() {
        // Golden bytes of format 1: a change here is a new format.
        let mut index = Index::new();
        index.insert(&path("bin/app"), stamp(258, 2), Digest::of(b"x"), at(1_000));
        let bytes = index.encode();
        assert_eq!(&bytes[..16], MAGIC);
        assert_eq!(bytes[16..48], *Digest::of(&bytes[48..]).as_bytes());
        let numbers = [&b"\x07\0bin/app\x02\x01\0\0\0\0\0\0"[..], &[2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0]];
        let expected = [&[1, 0, 0, 0, 0, 0, 0, 0][..], &numbers.concat(), &[4, 0, 0, 0, 0, 0, 0, 0]].concat();
        assert_eq!(bytes[48..bytes.len() - 32], expected);
        assert_eq!(bytes[bytes.len() - 32..], *Digest::of(b"x").as_bytes());
    }

    #[test]
    fn a_stamp_of_just_now_is_not_believed() {
        let digest = Digest::of(b"x");
        let second = 1_000_000_000;
        for (mtime_ns, believed) in [(90, true), (97, true), (98, false), (100, false), (101, false), (9_999, false)] {
            let mut index = Index::new();
            let stamp = stamp(1, mtime_ns * second);
            index.insert(&path("a"), stamp, digest, at(100));
            assert_eq!(index.get(&path("a"), stamp).is_some(), believed, "written at {mtime_ns}");
        }
    }

    #[test]
    fn any_difference_is_a_change() {
        let mut index = Index::new();
        let noted = stamp(1, 2);
        index.insert(&path("a"), noted, Digest::of(b"x"), at(100));
        assert_eq!(index.get(&path("a"), noted), Some(Digest::of(b"x")));
        assert_eq!(index.get(&path("b"), noted), None);
        for other in [
            Stamp { size: 2, ..noted },
            Stamp { mtime_ns: 3, ..noted },
            Stamp { ctime_ns: 4, ..noted },
            Stamp { inode: 5, ..noted },
        ] {
            assert_eq!(index.get(&path("a"), other), None, "{other:?}");
        }
    }
}
