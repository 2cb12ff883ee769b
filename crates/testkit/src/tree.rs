//! A tree with its contents, in memory, and the way to a directory and back.
//!
//! The notation is that of `ls -F`: `bin/` is a directory, `app*` can be executed, `link@` points at what follows. The
//! directories above an entry need not be named.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use updraft_core::digest::Digest;
use updraft_core::path::RelPath;
use updraft_core::tree::{Kind, Tree, parents};

/// The files of a build: a [`Tree`] and what is in them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TreeFixture {
    entries: BTreeMap<RelPath, Kind>,
    contents: BTreeMap<Digest, Vec<u8>>,
}

impl TreeFixture {
    /// A tree of these entries: path in the notation of `ls -F`, and content (or target, for a link).
    ///
    /// # Panics
    /// When a path is not allowed.
    pub fn of(entries: &[(&str, &str)]) -> Self {
        entries.iter().fold(Self::default(), |tree, (path, content)| tree.with(path, content))
    }

    /// This tree with one more entry, or with another content for it.
    ///
    /// # Panics
    /// When the path is not allowed.
    #[must_use]
    pub fn with(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        let content = content.as_ref();
        match path.as_bytes().last() {
            Some(b'/') => self.entry(&path[..path.len() - 1], Kind::Dir { mode: 0o755 }),
            Some(b'@') => {
                let target = String::from_utf8(content.to_vec()).expect("a link's target is text");
                self.entry(&path[..path.len() - 1], Kind::Symlink { target })
            }
            Some(b'*') => self.with_mode(&path[..path.len() - 1], content, 0o755),
            _ => self.with_mode(path, content, 0o644),
        }
    }

    /// This tree with a file of this mode.
    ///
    /// # Panics
    /// When the path is not allowed.
    #[must_use]
    pub fn with_mode(mut self, path: &str, content: &[u8], mode: u32) -> Self {
        let digest = Digest::of(content);
        self.contents.insert(digest, content.to_vec());
        self.entry(path, Kind::File { mode, size: content.len() as u64, digest })
    }

    /// This tree without an entry and whatever lies below it.
    ///
    /// # Panics
    /// When there is no such entry.
    #[must_use]
    pub fn without(mut self, path: &str) -> Self {
        let path: RelPath = path.parse().expect("a fixture's path is allowed");
        assert!(self.entries.contains_key(&path), "the fixture has no {path} to leave out");
        self.entries.retain(|entry, _| !entry.starts_with(&path));
        self.forget_unused();
        self
    }

    fn forget_unused(&mut self) {
        let Self { entries, contents } = self;
        contents.retain(|digest, _| entries.values().any(|k| matches!(k, Kind::File { digest: d, .. } if d == digest)));
    }

    /// `count` files of up to `len_max` bytes that do not compress, the same ones for the same `seed`.
    pub fn random(seed: u64, count: u64, len_max: usize) -> Self {
        (0..count).fold(Self::default(), |tree, n| {
            let seed = seed.wrapping_mul(1_000_003).wrapping_add(n);
            let len = seed.wrapping_mul(7_919) as usize % (len_max + 1);
            tree.with(&format!("dir{}/file{n}", n % 10), noise(seed, len))
        })
    }

    fn entry(mut self, path: &str, kind: Kind) -> Self {
        let path: RelPath = path.parse().expect("a fixture's path is allowed");
        for parent in parents([&path]) {
            self.entries.entry(parent).or_insert(Kind::Dir { mode: 0o755 });
        }
        if self.entries.insert(path, kind).is_some() {
            self.forget_unused();
        }
        self
    }

    /// The tree.
    ///
    /// # Panics
    /// When the entries cannot exist side by side.
    pub fn tree(&self) -> Tree {
        Tree::new(self.entries.clone()).expect("a fixture is a valid tree")
    }

    /// The contents of its files, by digest.
    pub fn contents(&self) -> &BTreeMap<Digest, Vec<u8>> {
        &self.contents
    }

    /// The content of one file.
    ///
    /// # Panics
    /// When there is no such file.
    pub fn content(&self, path: &str) -> &[u8] {
        let path: RelPath = path.parse().expect("a fixture's path is allowed");
        match self.entries.get(&path) {
            Some(Kind::File { digest, .. }) => &self.contents[digest],
            other => panic!("the fixture has no file {path}: {other:?}"),
        }
    }

    /// Writes it into `dir`, which is made when it is missing. What is there already and is not in the way stays.
    ///
    /// # Panics
    /// When something cannot be written.
    pub fn write_to(&self, dir: &Path) {
        fs::create_dir_all(dir).expect("the directory can be made");
        for (path, kind) in &self.entries {
            let at = dir.join(path.as_str());
            match kind {
                Kind::Dir { .. } => fs::create_dir_all(&at).expect("a directory can be made"),
                Kind::File { digest, mode, .. } => {
                    fs::write(&at, &self.contents[digest]).expect("a file can be written");
                    set_mode(&at, *mode);
                }
                Kind::Symlink { target } => symlink(target, &at),
            }
        }
        // Modes of directories last: one that nobody may write to must be filled first.
        for (path, kind) in self.entries.iter().rev() {
            if let Kind::Dir { mode } = kind {
                set_mode(&dir.join(path.as_str()), *mode);
            }
        }
    }

    /// Reads `dir`, whatever is in it, without any of the scanner's rules: what a test compares with.
    ///
    /// # Panics
    /// When something cannot be read, or is neither file, directory nor link.
    pub fn read_from(dir: &Path) -> Self {
        let mut tree = Self::default();
        tree.read_dir(dir, "");
        tree
    }

    fn read_dir(&mut self, dir: &Path, below: &str) {
        for entry in fs::read_dir(dir).expect("a directory can be read") {
            let entry = entry.expect("an entry can be read");
            let name = entry.file_name().into_string().expect("a name is text");
            let path = format!("{below}{name}");
            let meta = entry.metadata().expect("an entry has metadata");
            let key: RelPath = path.parse().expect("a path in a directory is allowed");
            if meta.is_dir() {
                self.entries.insert(key, Kind::Dir { mode: mode(&meta) });
                self.read_dir(&entry.path(), &format!("{path}/"));
            } else if meta.is_symlink() {
                let target = fs::read_link(entry.path()).expect("a link can be read");
                let target = target.into_os_string().into_string().expect("a target is text");
                self.entries.insert(key, Kind::Symlink { target });
            } else {
                assert!(meta.is_file(), "{path} is neither file, directory nor link");
                let content = fs::read(entry.path()).expect("a file can be read");
                let digest = Digest::of(&content);
                self.entries.insert(key, Kind::File { mode: mode(&meta), size: content.len() as u64, digest });
                self.contents.insert(digest, content);
            }
        }
    }
}

/// `len` bytes that do not compress, the same ones for the same `seed`.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    // SplitMix64: every seed is a stream of its own.
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)).to_le_bytes()
    };
    let mut bytes: Vec<u8> = std::iter::repeat_with(&mut next).take(len.div_ceil(8)).flatten().collect();
    bytes.truncate(len);
    bytes
}

#[cfg(unix)]
fn set_mode(at: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(at, fs::Permissions::from_mode(mode)).expect("a mode can be set");
}

#[cfg(unix)]
fn mode(meta: &fs::Metadata) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    meta.permissions().mode() & 0o7777
}

#[cfg(unix)]
fn symlink(target: &str, at: &Path) {
    let _ = fs::remove_file(at);
    std::os::unix::fs::symlink(target, at).expect("a link can be made");
}

#[cfg(not(unix))]
fn set_mode(_: &Path, _: u32) {}

#[cfg(not(unix))]
fn mode(meta: &fs::Metadata) -> u32 {
    if meta.is_dir() { 0o755 } else { 0o644 }
}

#[cfg(not(unix))]
fn symlink(_: &str, at: &Path) {
    panic!("links are not supported by this fixture here: {}", at.display());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn to_a_directory_and_back() {
        let dir = tempfile::tempdir().unwrap();
        let tree = TreeFixture::of(&[("bin/app*", "hello"), ("latest@", "bin/app"), ("empty/", ""), ("a/b/c", "")]);
        tree.write_to(dir.path());
        assert_eq!(TreeFixture::read_from(dir.path()), tree);
        assert_eq!(tree.tree().len(), 7);
        assert_eq!(tree.content("bin/app"), b"hello");
        let less = tree.without("a");
        assert_eq!((less.tree().len(), less.contents().len()), (4, 1));
    }

    #[test]
    fn noise_is_fixed_and_does_not_compress() {
        assert_eq!(noise(1, 1000), noise(1, 1000));
        assert_ne!(noise(1, 1000), noise(2, 1000));
        assert!(zstd::bulk::compress(&noise(1, 1000), 3).unwrap().len() >= 1000);
    }
}
