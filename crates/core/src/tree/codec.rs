//! The canonical encoding of a tree: the bytes that its digest is taken over.
//!
//! ```text
//! "updraft tree 1\n"                                  15 bytes
//! number of entries                                   varint
//! for each entry, in the order of the paths' bytes:
//!   bytes shared with the path before                 varint   (as many as possible)
//!   length of the rest of the path                    varint
//!   the rest of the path                              UTF-8
//!   kind and mode                                     varint   (mode << 2 | 0 file, 1 directory, 2 symlink with mode 0)
//!   file:     size, digest                            varint, 32 bytes
//!   symlink:  length of target, target                varint, UTF-8
//! ```
//!
//! Varints are LEB128 in their shortest form. There is exactly one encoding of a tree: [`decode`] refuses any other.

use std::collections::BTreeMap;

use super::{Kind, Tree};
use crate::digest::Digest;
use crate::limits::{PATH_LEN_MAX, SYMLINK_LEN_MAX, TREE_ENTRIES_MAX, TREE_LEN_MAX};
use crate::path::RelPath;

const MAGIC: &[u8] = b"updraft tree 1\n";
/// The least that an entry takes: two lengths, one byte of path, kind.
const ENTRY_LEN_MIN: usize = 4;

/// Why some bytes are not an encoded tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// They do not begin as a tree of this format does.
    #[error("not a tree document of format 1")]
    Magic,
    /// They end early, or go on after the last entry, or are not the one encoding of what they say.
    #[error("tree document is damaged at byte {at}: {reason}")]
    Damaged {
        /// Where.
        at: usize,
        /// What is wrong there.
        reason: &'static str,
    },
    /// A path is not allowed.
    #[error("tree document: {0}")]
    Path(#[from] crate::path::Error),
    /// The entries are not a tree.
    #[error("tree document: {0}")]
    Tree(#[from] super::Error),
}

/// The one encoding of `tree`.
pub fn encode(tree: &Tree) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    put_varint(&mut out, tree.len() as u64);
    let mut before = "";
    for (path, kind) in tree.iter() {
        let path = path.as_str();
        let shared = shared_len(before, path);
        put_varint(&mut out, shared as u64);
        put_text(&mut out, &path.as_bytes()[shared..]);
        match kind {
            Kind::File { mode, size, digest } => {
                put_varint(&mut out, u64::from(*mode) << 2);
                put_varint(&mut out, *size);
                out.extend_from_slice(digest.as_bytes());
            }
            Kind::Dir { mode } => put_varint(&mut out, u64::from(*mode) << 2 | 1),
            Kind::Symlink { target } => {
                put_varint(&mut out, 2);
                put_text(&mut out, target.as_bytes());
            }
        }
        before = path;
    }
    out
}

/// The tree that `bytes` encode.
///
/// # Errors
/// When they are anything but the one encoding of a valid tree. Memory stays within a small multiple of the input's
/// length, whatever it claims.
pub fn decode(bytes: &[u8]) -> Result<Tree, Error> {
    if bytes.len() as u64 > TREE_LEN_MAX {
        return Err(Error::Magic);
    }
    let (tree, len) = decode_front(bytes)?;
    if len < bytes.len() {
        return Err(Error::Damaged { at: len, reason: "bytes behind the last entry" });
    }
    Ok(tree)
}

/// The tree that `bytes` begin with, and how many of them it takes.
///
/// # Errors
/// As [`decode`], but for what follows the last entry.
pub(super) fn decode_front(bytes: &[u8]) -> Result<(Tree, usize), Error> {
    let (entries, len) = entries_front(bytes)?;
    Ok((Tree::new(entries)?, len))
}

/// The entries that `bytes` begin with, whether they are a tree or not, and how many bytes they take.
///
/// # Errors
/// When they are not in the one encoding of what they say.
pub(super) fn entries_front(bytes: &[u8]) -> Result<(BTreeMap<RelPath, Kind>, usize), Error> {
    let mut reader = Reader::new(bytes);
    if reader.take(MAGIC.len()).ok() != Some(MAGIC) {
        return Err(Error::Magic);
    }
    let count = reader.varint_max(TREE_ENTRIES_MAX as u64, "too many entries")? as usize;
    if count > bytes.len() / ENTRY_LEN_MIN {
        return Err(reader.damaged("fewer bytes than its entries need"));
    }
    let mut entries = BTreeMap::new();
    let mut before = String::new();
    for _ in 0..count {
        let path = read_path(&mut reader, &before)?;
        if path.as_str() <= before.as_str() {
            return Err(reader.damaged("paths are out of order"));
        }
        before = path.as_str().to_owned();
        entries.insert(path, read_kind(&mut reader)?);
    }
    Ok((entries, reader.at))
}

fn read_path(reader: &mut Reader<'_>, before: &str) -> Result<RelPath, Error> {
    let shared = reader.varint_max(before.len() as u64, "shares more than there is")? as usize;
    let rest = reader.text(PATH_LEN_MAX, "a path is too long")?;
    let front = before.get(..shared).ok_or_else(|| reader.damaged("a path is cut inside a character"))?;
    let path = format!("{front}{rest}");
    if shared_len(before, &path) != shared {
        return Err(reader.damaged("a path shares less than it could"));
    }
    Ok(path.parse()?)
}

fn read_kind(reader: &mut Reader<'_>) -> Result<Kind, Error> {
    let word = reader.varint_max(0o7777 << 2 | 3, "unknown kind")?;
    let mode = (word >> 2) as u32;
    match word & 3 {
        0 => {
            let size = reader.varint()?;
            let digest = reader.take(32)?.try_into().expect("32 bytes were taken");
            Ok(Kind::File { mode, size, digest: Digest::from_bytes(digest) })
        }
        1 => Ok(Kind::Dir { mode }),
        2 if mode == 0 => {
            Ok(Kind::Symlink { target: reader.text(SYMLINK_LEN_MAX, "a target is too long")?.to_owned() })
        }
        _ => Err(reader.damaged("unknown kind")),
    }
}

/// How many bytes two paths share at their start, never splitting a character.
fn shared_len(a: &str, b: &str) -> usize {
    let mut shared = a.bytes().zip(b.bytes()).take_while(|(x, y)| x == y).count();
    while !b.is_char_boundary(shared) {
        shared -= 1;
    }
    shared
}

pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    put_varint(out, text.len() as u64);
    out.extend_from_slice(text);
}

/// Reads forward through bytes that nobody vouches for.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn damaged(&self, reason: &'static str) -> Error {
        Error::Damaged { at: self.at, reason }
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Error> {
        let rest = &self.bytes[self.at..];
        let taken = rest.get(..len).ok_or_else(|| self.damaged("it ends too early"))?;
        self.at += len;
        Ok(taken)
    }

    pub(super) fn varint(&mut self) -> Result<u64, Error> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            let part = u64::from(byte & 0x7f);
            if part << shift >> shift != part {
                return Err(self.damaged("a number is over 64 bits"));
            }
            value |= part << shift;
            if byte < 0x80 {
                if byte == 0 && shift > 0 {
                    return Err(self.damaged("a number is longer than it needs to be"));
                }
                return Ok(value);
            }
        }
        Err(self.damaged("a number is over 64 bits"))
    }

    fn varint_max(&mut self, max: u64, reason: &'static str) -> Result<u64, Error> {
        let value = self.varint()?;
        if value > max { Err(self.damaged(reason)) } else { Ok(value) }
    }

    fn text(&mut self, max: usize, reason: &'static str) -> Result<&'a str, Error> {
        let len = self.varint_max(max as u64, reason)? as usize;
        let bytes = self.take(len)?;
        std::str::from_utf8(bytes).map_err(|_| self.damaged("text is not UTF-8"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::any_tree;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn there_and_back(tree in any_tree()) {
            let bytes = encode(&tree);
            prop_assert_eq!(decode(&bytes).unwrap(), tree);
        }

        #[test]
        fn one_encoding_only(tree in any_tree(), at in any::<prop::sample::Index>(), byte: u8) {
            let mut bytes = encode(&tree);
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Ok(other) = decode(&bytes) {
                prop_assert_eq!(encode(&other), bytes);
            }
        }

        #[test]
        fn any_prefix_is_refused(tree in any_tree(), at in any::<prop::sample::Index>()) {
            let bytes = encode(&tree);
            prop_assert!(decode(&bytes[..at.index(bytes.len())]).is_err());
        }
    }

    #[test]
    fn a_huge_claim_allocates_nothing() {
        let mut bytes = MAGIC.to_vec();
        put_varint(&mut bytes, TREE_ENTRIES_MAX as u64);
        assert!(matches!(decode(&bytes), Err(Error::Damaged { .. })));
    }

    #[test]
    fn the_encoding_is_frozen() {
        // Golden bytes of format 1: a change here is a new format.
        let file = Kind::File { mode: 0o755, size: 300, digest: Digest::of(b"x") };
        let tree = Tree::new(BTreeMap::from([
            ("bin".parse().unwrap(), Kind::Dir { mode: 0o755 }),
            ("bin/app".parse().unwrap(), file),
            ("link".parse().unwrap(), Kind::Symlink { target: "bin/app".into() }),
        ]))
        .unwrap();
        let expected = format!(
            "{}03{}{}{}{}",
            hex::encode(MAGIC),
            "000362696eb50f",
            "03042f617070b40fac02",
            Digest::of(b"x"),
            "00046c696e6b020762696e2f617070"
        );
        assert_eq!(hex::encode(encode(&tree)), expected);
    }
}
