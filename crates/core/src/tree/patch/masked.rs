//! The new tree's document without what a patch tells anyway.
//!
//! Digests are 32 bytes that nothing compresses, and a file that the patch makes need not be told its own: whoever makes it
//! can compute it. Its size is in the patch's list of outputs. So both are *masked*: what the old tree has at the same path
//! stands in for them, so that this part of the document is a copy of the old one.
//!
//! ```text
//! the new tree's document (codec), but each file that the patch makes has size and digest of the old file at the same path,
//!     or neither where there is none: then it is written as a directory of its mode
//! for each of those files, in the order of their paths:
//!     entries left out since the one before << 1 | is a twin     varint
//!     of a twin: the output that it has its content from         varint
//! ```
//!
//! A file that is no twin has its content from the next output. Nothing in here is believed: the tree is, once its digest,
//! with everything filled in, is the one that was signed.

use std::collections::{BTreeMap, HashMap};

use super::lacking;
use crate::digest::Digest;
use crate::limits::TREE_LEN_MAX;
use crate::path::RelPath;
use crate::tree::codec::{self, Reader, put_varint};
use crate::tree::{Kind, Tree};

/// The digest of what is not made yet.
const UNKNOWN: Digest = Digest::from_bytes([0; 32]);

/// What one masked file takes at most beyond what it takes in the document: seven bytes for a size of one, and a number of
/// a million each for what is left out and for the output.
const MASK_LEN_MAX: u64 = 6 + 3 + 3;

/// Why a masked document cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is none.
    #[error(transparent)]
    Codec(#[from] codec::Error),
    /// It and the patch that carries it are not about the same files.
    #[error("tree document: {0}")]
    Outputs(&'static str),
}

/// The longest that a masked document may be of a tree whose document has `document_len` bytes and `files` files.
pub fn masked_len_max(document_len: u64, files: u64) -> u64 {
    document_len.saturating_add(files.saturating_mul(MASK_LEN_MAX)).min(TREE_LEN_MAX)
}

/// The document of `new` for a patch from `old`: its output 0.
pub fn mask(old: &Tree, new: &Tree) -> Vec<u8> {
    let outputs: HashMap<Digest, u64> = lacking(old, new).iter().map(|file| file.digest).zip(1..).collect();
    let (mut entries, mut tail) = (new.entries.clone(), Vec::new());
    let (mut left_out, mut next) = (0, 1);
    for (path, kind) in &mut entries {
        let made = match kind {
            Kind::File { mode, size: 1.., digest } => outputs.get(digest).map(|output| (*mode, *output)),
            _ => None,
        };
        let Some((mode, output)) = made else {
            left_out += 1;
            continue;
        };
        let is_twin = output != next;
        put_varint(&mut tail, left_out << 1 | u64::from(is_twin));
        match is_twin {
            true => put_varint(&mut tail, output),
            false => next += 1,
        }
        left_out = 0;
        *kind = match old.get(path) {
            Some(Kind::File { size, digest, .. }) => Kind::File { mode, size: *size, digest: *digest },
            _ => Kind::Dir { mode },
        };
    }
    let mut document = codec::encode(&Tree { entries });
    document.extend(tail);
    document
}

/// A tree of which the sizes are known, and the digests of what is made are not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Masked {
    tree: Tree,
    /// The files that are made, each with its output.
    made: BTreeMap<RelPath, usize>,
    outputs: usize,
}

impl Masked {
    /// Reads a masked document of a patch from `old`, whose outputs 1, 2, ... have these `lens`.
    ///
    /// # Errors
    /// When it is damaged, or speaks of other outputs than there are, or wants something that is neither in `old` nor made.
    /// Memory stays within a small multiple of the document's length.
    pub fn parse(document: &[u8], old: &Tree, lens: &[u64]) -> Result<Self, Error> {
        if document.len() as u64 > TREE_LEN_MAX {
            return Err(codec::Error::Magic.into());
        }
        let (mut entries, len) = codec::entries_front(document)?;
        let mut tail = Tail { reader: Reader::new(&document[len..]), next: 1, left_out: None };
        let (known, empty, mut made) = (old.blobs(), Digest::of(b""), BTreeMap::new());
        tail.advance()?;
        for (path, kind) in &mut entries {
            match (tail.entry()?, &kind) {
                (Some(output), Kind::File { mode, .. } | Kind::Dir { mode }) => {
                    let size = lens.get(output - 1).copied().filter(|size| *size > 0);
                    let size =
                        size.ok_or(Error::Outputs("it has a file from an output that is empty, or not there"))?;
                    *kind = Kind::File { mode: *mode, size, digest: UNKNOWN };
                    made.insert(path.clone(), output);
                }
                (Some(_), Kind::Symlink { .. }) => return Err(Error::Outputs("it has a link that is made")),
                (None, Kind::File { size: 0, digest, .. }) if *digest == empty => {}
                (None, Kind::File { size, digest, .. }) if known.get(digest) != Some(size) => {
                    return Err(Error::Outputs("it has a file that is neither made nor in the old tree"));
                }
                (None, _) => {}
            }
        }
        let tree = Tree::new(entries).map_err(codec::Error::from)?;
        if tail.left_out.is_some() || tail.next != lens.len() + 1 {
            return Err(Error::Outputs("it has no use for some of the outputs"));
        }
        Ok(Self { tree, made, outputs: lens.len() })
    }

    /// How many regular files it has.
    pub fn file_count(&self) -> u64 {
        self.tree.file_count()
    }

    /// How many bytes its files have together.
    pub fn byte_count(&self) -> u64 {
        self.tree.byte_count()
    }

    /// The tree, when output 1, 2, ... turned out to have these digests. What it is worth is said by its own digest.
    ///
    /// # Panics
    /// When there are fewer digests than outputs.
    pub fn fill(self, digests: &[Digest]) -> Tree {
        assert!(digests.len() >= self.outputs, "every output has a digest");
        let mut tree = self.tree;
        for (path, output) in self.made {
            if let Some(Kind::File { digest, .. }) = tree.entries.get_mut(&path) {
                *digest = digests[output - 1];
            }
        }
        tree
    }
}

/// What follows the document: which files are made.
struct Tail<'a> {
    reader: Reader<'a>,
    /// The output that a file which is no twin has its content from.
    next: usize,
    /// How many entries come before the next that is made, and whether that is a twin; none when no more are.
    left_out: Option<(u64, bool)>,
}

impl Tail<'_> {
    fn advance(&mut self) -> Result<(), Error> {
        self.left_out = match self.reader.is_at_end() {
            true => None,
            false => self.reader.varint().map(|word| Some((word >> 1, word & 1 == 1)))?,
        };
        Ok(())
    }

    /// The output that the next entry has its content from, if it is made.
    fn entry(&mut self) -> Result<Option<usize>, Error> {
        let output = match &mut self.left_out {
            None => return Ok(None),
            Some((left_out, _)) if *left_out > 0 => {
                *left_out -= 1;
                return Ok(None);
            }
            Some((_, true)) => {
                let output = self.reader.varint()?;
                let seen = usize::try_from(output).ok().filter(|output| (1..self.next).contains(output));
                seen.ok_or(Error::Outputs("it has a twin of nothing before it"))?
            }
            Some((_, false)) => {
                self.next += 1;
                self.next - 1
            }
        };
        self.advance()?;
        Ok(Some(output))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::tree;
    use super::*;
    use crate::tree::tests::{any_tree, path};

    fn lens(old: &Tree, new: &Tree) -> Vec<u64> {
        lacking(old, new).iter().map(|file| file.size).collect()
    }

    fn digests(old: &Tree, new: &Tree) -> Vec<Digest> {
        lacking(old, new).iter().map(|file| file.digest).collect()
    }

    proptest! {
        /// Twins, renamed, moved, mode changed, emptied: the names and contents of these trees are few.
        #[test]
        fn there_and_back(old in any_tree(), new in any_tree()) {
            let document = mask(&old, &new);
            let max = masked_len_max(codec::encode(&new).len() as u64, new.file_count());
            prop_assert!(document.len() as u64 <= max, "{} of {max}", document.len());
            let masked = Masked::parse(&document, &old, &lens(&old, &new)).unwrap();
            prop_assert_eq!((masked.file_count(), masked.byte_count()), (new.file_count(), new.byte_count()));
            prop_assert_eq!(masked.fill(&digests(&old, &new)), new);
        }

        /// Whatever is damaged: it is refused, or what comes out has another digest, unless it is the very tree.
        #[test]
        fn damage_never_passes_for_the_tree(
            old in any_tree(), new in any_tree(), at in any::<prop::sample::Index>(), byte: u8, cut: bool,
        ) {
            let mut document = mask(&old, &new);
            let at = at.index(document.len());
            if cut { document.truncate(at) } else { document[at] = byte }
            if let Ok(masked) = Masked::parse(&document, &old, &lens(&old, &new)) {
                let other = masked.fill(&digests(&old, &new));
                prop_assert_eq!(other.digest() == new.digest(), other == new);
            }
        }

        #[test]
        fn other_outputs_are_refused(old in any_tree(), new in any_tree(), len in 1..9u64) {
            let document = mask(&old, &new);
            let more = [&lens(&old, &new)[..], &[len]].concat();
            prop_assert!(Masked::parse(&document, &old, &more).is_err());
            if let [_, fewer @ ..] = &more[..more.len() - 1] {
                prop_assert!(Masked::parse(&document, &old, fewer).is_err());
            }
        }
    }

    #[test]
    fn what_the_old_tree_has_is_not_told_again() {
        let old = tree(&[("a", "one"), ("b", "two"), ("c", "three")]);
        let new = tree(&[("a", "ONE!"), ("b", "two"), ("c", "ONE!"), ("d", "new"), ("e", "three")]);
        let document = mask(&old, &new);
        // `a` and `c` are as they were, `d` has a mode and nothing more. Made are `a` as output 1, `c` as its twin, `d` as output 2.
        let mut stand_in = tree(&[("a", "one"), ("b", "two"), ("c", "three"), ("e", "three")]);
        stand_in.entries.insert(path("d"), Kind::Dir { mode: 0o644 });
        let expected = [codec::encode(&stand_in), vec![0, 1 << 1 | 1, 1, 0]].concat();
        assert_eq!(hex::encode(&document), hex::encode(expected));
        assert_eq!(Masked::parse(&document, &old, &[4, 3]).unwrap().fill(&digests(&old, &new)), new);
    }

    #[test]
    fn what_is_neither_made_nor_there_is_refused() {
        let old = tree(&[("a", "one")]);
        let new = tree(&[("a", "one"), ("b", "two")]);
        let refused = |document: &[u8], lens: &[u64]| Masked::parse(document, &old, lens).unwrap_err().to_string();
        assert!(refused(&codec::encode(&new), &[]).contains("neither made nor in the old tree"));
        let document = mask(&old, &new);
        assert!(refused(&document, &[0]).contains("empty"));
        assert!(refused(&document, &[u64::MAX]).contains("over the limit"));
        let twin = [&document[..document.len() - 1], &[1 << 1 | 1, 1]].concat();
        assert!(refused(&twin, &[3]).contains("twin of nothing"));
        let far = [&document[..], &[0]].concat();
        assert!(refused(&far, &[3]).contains("no use for some of the outputs"));
        // The content is there, under another size.
        let mut lie = new.clone();
        lie.entries.insert(path("b"), Kind::File { mode: 0o644, size: 9, digest: Digest::of(b"one") });
        assert!(refused(&codec::encode(&lie), &[]).contains("neither made"));
    }
}
