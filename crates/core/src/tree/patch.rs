//! What a patch between two trees speaks of, and by which numbers.
//!
//! A patch (`crates/delta`) knows files by numbers only. For trees the numbers are these, so that a patch names what it reads
//! without a digest for each, and carries the new tree document as a difference from the old one:
//!
//! - base 0 is the old tree's document; base 1, 2, ... are the distinct contents of its files ([`contents`]);
//! - output 0 is the new tree's document, masked ([`mask`]); output 1, 2, ... are the contents that the old tree lacks
//!   ([`lacking`]).
//!
//! Whatever is unchanged, renamed, moved or made executable is in the document and nowhere else.
//!
//! A *bundle* is the patch from [`nothing`]: it makes every content of the new tree, all of them compressed together. It is for who
//! has none of them yet.

mod masked;

pub use masked::{Error, Masked, mask, masked_len_max};

use std::collections::BTreeSet;

use super::{File, Tree};
use crate::digest::Digest;

/// How much a bundle has to save to be worth its place, one part in so many: it takes about as much as the release does.
const BUNDLE_SAVES: u64 = 10;

/// The tree without a file, which a bundle is made from.
pub fn nothing() -> Digest {
    Tree::default().digest()
}

/// How long a patch from the tree `from` may be at most to be kept, where so many bytes are fetched without it.
pub fn worth_len_max(from: Digest, instead: u64) -> u64 {
    let saves = if from == nothing() { instead / BUNDLE_SAVES } else { 0 };
    instead.saturating_sub(saves.max(1))
}

/// The first file with each distinct content of `tree`, in the order of their paths. Empty files have none.
pub fn contents(tree: &Tree) -> Vec<File<'_>> {
    let mut seen = BTreeSet::new();
    tree.files().filter(|file| file.size > 0 && seen.insert(file.digest)).collect()
}

/// Those of [`contents`] of `new` that no file of `old` has.
pub fn lacking<'n>(old: &Tree, new: &'n Tree) -> Vec<File<'n>> {
    let known = old.blobs();
    contents(new).into_iter().filter(|file| !known.contains_key(&file.digest)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::tree::Kind;

    pub(super) fn tree(files: &[(&str, &str)]) -> Tree {
        let file = |content: &str| Kind::File {
            mode: 0o644,
            size: content.len() as u64,
            digest: Digest::of(content.as_bytes()),
        };
        let entries: BTreeMap<_, _> =
            files.iter().map(|(path, content)| (path.parse().unwrap(), file(content))).collect();
        Tree::new(entries).unwrap()
    }

    fn paths(files: Vec<File<'_>>) -> Vec<&str> {
        files.into_iter().map(|file| file.path.as_str()).collect()
    }

    #[test]
    fn each_content_once_and_only_what_is_new() {
        let old = tree(&[("a", "1"), ("b", "2"), ("c", "1"), ("empty", "")]);
        let new = tree(&[("b", "1"), ("d", "3"), ("e", "3"), ("f", "2"), ("g", "4"), ("none", "")]);
        assert_eq!(paths(contents(&old)), ["a", "b"]);
        assert_eq!(paths(lacking(&old, &new)), ["d", "g"]);
    }

    #[test]
    fn a_bundle_makes_everything_and_has_to_save_a_tenth() {
        // It is part of where bundles lie, so it is what it is for ever.
        let name = "0bb8dc2317a27bce6b9c7034b57866ec7617cd48b95e7a9039ff092c597d8831";
        assert_eq!(nothing().to_string(), name);
        let new = tree(&[("a", "1"), ("b", "1"), ("c", "2"), ("empty", "")]);
        assert_eq!(lacking(&Tree::default(), &new), contents(&new));
        let old = Digest::of(b"a tree");
        assert_eq!([0, 1, 5, 1_000].map(|instead| worth_len_max(old, instead)), [0, 0, 4, 999]);
        assert_eq!([0, 1, 5, 1_000].map(|instead| worth_len_max(nothing(), instead)), [0, 0, 4, 900]);
    }
}
