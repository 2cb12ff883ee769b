//! The files of an installed directory: path, kind, mode, size, digest.
//!
//! A [`Tree`] is a value with one canonical encoding ([`codec`]), so its digest names its content: two publishers who
//! release the same files release the same tree. Whatever cannot exist on another operating system, or would leave the
//! directory, is refused when the tree is made, by scanner and decoder alike.

pub mod codec;
pub mod patch;
pub mod stored;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::digest::Digest;
use crate::limits::{FILE_LEN_MAX, SYMLINK_LEN_MAX, TREE_ENTRIES_MAX};
use crate::path::RelPath;

/// Why some entries are not a tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Two paths are one on a file system that ignores case or normalises Unicode.
    #[error(
        "'{first}' and '{second}' are the same name where case or Unicode form does not count (Windows, macOS): rename one"
    )]
    Collision {
        /// The one that sorts first.
        first: RelPath,
        /// The other.
        second: RelPath,
    },
    /// A path lies inside something that is not a directory of the tree.
    #[error("'{path}' lies inside '{parent}', which is not a directory of the tree")]
    NoParent {
        /// The path.
        path: RelPath,
        /// What should be a directory.
        parent: RelPath,
    },
    /// A symlink points out of the tree, or to nowhere that can be said.
    #[error("symlink '{path}' -> '{target}': {reason}")]
    Symlink {
        /// The link.
        path: RelPath,
        /// Where it points, as text.
        target: String,
        /// The rule it breaks.
        reason: &'static str,
    },
    /// A mode that is not on the allow-list.
    #[error("'{path}': mode {mode:o} is not allowed")]
    Mode {
        /// The file or directory.
        path: RelPath,
        /// Its mode.
        mode: u32,
    },
    /// Larger than the limits allow.
    #[error("{what} is over the limit of {max}")]
    TooLarge {
        /// What is too large.
        what: String,
        /// How much there may be.
        max: u64,
    },
}

/// What lies at a path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A regular file.
    File {
        /// Permission bits; see [`file_mode`].
        mode: u32,
        /// Length in bytes.
        size: u64,
        /// What it contains.
        digest: Digest,
    },
    /// A directory; every one is listed, empty or not.
    Dir {
        /// Permission bits; see [`dir_mode`].
        mode: u32,
    },
    /// A symbolic link.
    Symlink {
        /// Where it points, relative to the directory that holds it.
        target: String,
    },
}

/// The nearest allowed mode of a file: read and execute for anybody, write for the owner only, no special bits; the
/// owner can always read it.
pub fn file_mode(mode: u32) -> u32 {
    mode & 0o755 | 0o400
}

/// The nearest allowed mode of a directory: as for files, and the owner has it whole, for an updater must work in it.
pub fn dir_mode(mode: u32) -> u32 {
    mode & 0o755 | 0o700
}

/// The files of an installed directory, by path.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tree {
    entries: BTreeMap<RelPath, Kind>,
}

impl Tree {
    /// The tree of these entries.
    ///
    /// # Errors
    /// When they cannot exist side by side, here or on another operating system: see [`Error`].
    pub fn new(entries: BTreeMap<RelPath, Kind>) -> Result<Self, Error> {
        match problems(&entries, 1).pop() {
            Some(problem) => Err(problem),
            None => Ok(Self { entries }),
        }
    }

    /// What lies at `path`, if anything does.
    pub fn get(&self, path: &RelPath) -> Option<&Kind> {
        self.entries.get(path)
    }

    /// Every entry, in the order of the paths' bytes; a directory comes before what it holds.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&RelPath, &Kind)> + ExactSizeIterator {
        self.entries.iter()
    }

    /// Every regular file: path, mode, size, digest.
    pub fn files(&self) -> impl Iterator<Item = File<'_>> {
        self.entries.iter().filter_map(|(path, kind)| match kind {
            Kind::File { mode, size, digest } => Some(File { path, mode: *mode, size: *size, digest: *digest }),
            _ => None,
        })
    }

    /// The distinct contents of its files, with their sizes, in the order of their digests.
    pub fn blobs(&self) -> BTreeMap<Digest, u64> {
        self.files().map(|file| (file.digest, file.size)).collect()
    }

    /// How many regular files it has.
    pub fn file_count(&self) -> u64 {
        self.files().count() as u64
    }

    /// How many bytes its files have together.
    pub fn byte_count(&self) -> u64 {
        self.files().map(|file| file.size).sum()
    }

    /// How many entries it has, directories and links included.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The digest of its canonical encoding: its name.
    pub fn digest(&self) -> Digest {
        Digest::of(&codec::encode(self))
    }
}

/// A regular file of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct File<'a> {
    /// Where it lies.
    pub path: &'a RelPath,
    /// Permission bits.
    pub mode: u32,
    /// Length in bytes.
    pub size: u64,
    /// What it contains.
    pub digest: Digest,
}

/// The rules that `entries` break, the first `max` of them; none when they are a tree. For whoever wants to tell a person
/// all at once; [`Tree::new`] stops at the first.
pub fn problems(entries: &BTreeMap<RelPath, Kind>, max: usize) -> Vec<Error> {
    let mut problems = Vec::new();
    if entries.len() > TREE_ENTRIES_MAX {
        problems.push(Error::TooLarge { what: "the number of files".into(), max: TREE_ENTRIES_MAX as u64 });
    }
    let mut seen: HashMap<String, &RelPath> = HashMap::with_capacity(entries.len());
    for (path, kind) in entries {
        if problems.len() >= max {
            break;
        }
        problems.extend(check_parent(entries, path).err());
        problems.extend(check_kind(path, kind).err());
        if let Some(first) = seen.insert(path.collision_key(), path) {
            problems.push(Error::Collision { first: first.clone(), second: path.clone() });
        }
    }
    problems.truncate(max);
    problems
}

fn check_parent(entries: &BTreeMap<RelPath, Kind>, path: &RelPath) -> Result<(), Error> {
    match path.parent() {
        Some(parent) if !matches!(entries.get(&parent), Some(Kind::Dir { .. })) => {
            Err(Error::NoParent { path: path.clone(), parent })
        }
        _ => Ok(()),
    }
}

fn check_kind(path: &RelPath, kind: &Kind) -> Result<(), Error> {
    match kind {
        Kind::File { mode, .. } if *mode != file_mode(*mode) => Err(Error::Mode { path: path.clone(), mode: *mode }),
        Kind::Dir { mode } if *mode != dir_mode(*mode) => Err(Error::Mode { path: path.clone(), mode: *mode }),
        Kind::File { size, .. } if *size > FILE_LEN_MAX => {
            Err(Error::TooLarge { what: format!("the size of '{path}'"), max: FILE_LEN_MAX })
        }
        Kind::Symlink { target } => match symlink_problem(path, target) {
            Some(reason) => Err(Error::Symlink { path: path.clone(), target: target.clone(), reason }),
            None => Ok(()),
        },
        _ => Ok(()),
    }
}

/// The first rule that a symlink breaks. It may point anywhere *inside* the tree, also to what does not exist.
fn symlink_problem(path: &RelPath, target: &str) -> Option<&'static str> {
    if target.is_empty() || target.len() > SYMLINK_LEN_MAX || target.contains('\0') {
        return Some("a target has 1 to 1,024 bytes and no NUL");
    }
    if target.starts_with('/') || target.contains('\\') || target.contains(':') {
        return Some("only relative targets with '/' are allowed");
    }
    let mut depth = path.components().count() - 1;
    for component in target.split('/') {
        match component {
            "" | "." => {}
            ".." if depth == 0 => return Some("it leaves the tree"),
            ".." => depth -= 1,
            _ => depth += 1,
        }
    }
    None
}

/// The directories that must exist for `paths`, outermost first.
pub fn parents<'a>(paths: impl IntoIterator<Item = &'a RelPath>) -> BTreeSet<RelPath> {
    let mut parents = BTreeSet::new();
    for path in paths {
        let mut next = path.parent();
        while let Some(parent) = next {
            next = parent.parent();
            if !parents.insert(parent) {
                break;
            }
        }
    }
    parents
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn path(text: &str) -> RelPath {
        text.parse().unwrap()
    }

    fn file(content: &[u8]) -> Kind {
        Kind::File { mode: 0o644, size: content.len() as u64, digest: Digest::of(content) }
    }

    fn tree(entries: &[(&str, Kind)]) -> Result<Tree, Error> {
        Tree::new(entries.iter().map(|(p, kind)| (path(p), kind.clone())).collect())
    }

    /// Any valid tree of a few files, links and directories.
    pub(crate) fn any_tree() -> impl Strategy<Value = Tree> {
        let name = "[a-c]{1,2}(/[a-c]{1,2}){0,2}";
        let kind = prop_oneof![
            4 => (proptest::collection::vec(0..4u8, 0..4), prop_oneof![Just(0o644), Just(0o755), Just(0o400)])
                .prop_map(|(content, mode)| Kind::File { mode, size: content.len() as u64, digest: Digest::of(&content) }),
            1 => Just(Kind::Dir { mode: 0o755 }),
            1 => "[a-c]{1,3}".prop_map(|target| Kind::Symlink { target }),
        ];
        proptest::collection::btree_map(name, kind, 0..12).prop_map(|map| {
            let mut entries = BTreeMap::new();
            for (text, kind) in map {
                let path = path(&text);
                for parent in parents([&path]) {
                    entries.insert(parent, Kind::Dir { mode: 0o755 });
                }
                entries.entry(path).or_insert(kind);
            }
            Tree::new(entries).unwrap()
        })
    }

    #[test]
    fn every_parent_is_a_directory() {
        assert!(matches!(tree(&[("a/b", file(b""))]), Err(Error::NoParent { .. })));
        assert!(matches!(tree(&[("a", file(b"")), ("a/b", file(b""))]), Err(Error::NoParent { .. })));
        let link = Kind::Symlink { target: "elsewhere".into() };
        assert!(matches!(tree(&[("a", link), ("a/b", file(b""))]), Err(Error::NoParent { .. })));
        assert!(tree(&[("a", Kind::Dir { mode: 0o755 }), ("a/b", file(b""))]).is_ok());
    }

    #[test]
    fn names_that_are_one_elsewhere_collide() {
        assert!(matches!(tree(&[("a", file(b"")), ("A", file(b""))]), Err(Error::Collision { .. })));
        assert!(matches!(tree(&[("\u{e9}", file(b"")), ("e\u{301}", file(b""))]), Err(Error::Collision { .. })));
    }

    #[test]
    fn symlinks_stay_inside() {
        let dir = || ("d", Kind::Dir { mode: 0o755 });
        let link = |at: &'static str, target: &str| (at, Kind::Symlink { target: target.into() });
        for target in ["x", "../x", "./x/../y", "..", "missing/../../x"] {
            assert!(tree(&[dir(), link("d/l", target)]).is_ok(), "{target}");
        }
        for target in ["../../x", "/etc/passwd", "", "a\\b", "C:x", "../d/../../x"] {
            assert!(matches!(tree(&[dir(), link("d/l", target)]), Err(Error::Symlink { .. })), "{target}");
        }
    }

    #[test]
    fn modes_come_from_the_allow_list() {
        for mode in [0o4755, 0o666, 0o1644, 0o044] {
            let kind = Kind::File { mode, size: 0, digest: Digest::of(b"") };
            assert!(matches!(tree(&[("a", kind)]), Err(Error::Mode { .. })), "{mode:o}");
        }
        assert!(matches!(tree(&[("a", Kind::Dir { mode: 0o555 })]), Err(Error::Mode { .. })));
        assert_eq!(file_mode(0o4777), 0o755);
        assert_eq!(file_mode(0o664), 0o644);
        assert_eq!(dir_mode(0o2555), 0o755);
    }

    #[test]
    fn problems_are_told_up_to_a_number() {
        let entries = BTreeMap::from([
            (path("A"), file(b"")),
            (path("a"), file(b"")),
            (path("l"), Kind::Symlink { target: "/etc".into() }),
            (path("x/y"), file(b"")),
        ]);
        assert_eq!(problems(&entries, 10).len(), 3);
        assert_eq!(problems(&entries, 2), problems(&entries, 10)[..2]);
        assert_eq!(Tree::new(entries.clone()).unwrap_err(), problems(&entries, 1)[0]);
    }

    #[test]
    fn sums() {
        let tree = tree(&[("a", file(b"xy")), ("b", file(b"xy")), ("c", file(b"z"))]).unwrap();
        assert_eq!((tree.file_count(), tree.byte_count(), tree.blobs().len()), (3, 5, 2));
    }
}
