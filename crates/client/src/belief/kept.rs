//! The updater's `trust/` folder: what was believed, byte for byte, durable before anything relies on it.
//!
//! ```text
//! trust/pinned.root.json   the first root, as it was pinned
//! trust/{N}.root.json      the first root once more, and every one that followed it
//! trust/timestamp.json, snapshot.json, targets.json, channels.json
//! trust/head               {"format":1,"source":"...","etag":"..."}\n and the head that came with that tag
//! trust/release.json       the release document that was looked at last
//! ```
//!
//! Nothing here is believed for lying here. The newest root is the one to which the kept ones lead from the first, each
//! signed as TUF asks; so a root that was put there, or one that is damaged, leads nowhere.

use std::path::Path;

use serde::{Deserialize, Serialize};
use updraft_core::digest::Sha256;
use updraft_core::head::Head;
use updraft_core::limits::{
    HEAD_LEN_MAX, METADATA_LEN_MAX, RELEASE_LEN_MAX, ROOT_LEN_MAX, SNAPSHOT_LEN_MAX, TIMESTAMP_LEN_MAX,
};
use updraft_core::trust::{Cache, Role, TargetFile, Trusted};
use updraft_files::{Dir, EntryKind, Error, read_bounded, scratch, write_atomic};

use super::read_root;

const PINNED: &str = "pinned.root.json";
const HEAD: &str = "head";
const RELEASE: &str = "release.json";
/// What somebody runs is nobody else's business.
const MODE: u32 = 0o600;
/// Longest header line of [`HEAD`]: an address and a tag.
const HEAD_LINE_LEN_MAX: u64 = 16 << 10;

/// A head that came with a tag.
pub(super) struct KeptHead {
    pub(super) etag: String,
    pub(super) head: Head,
}

#[derive(Serialize, Deserialize)]
struct HeadLine {
    format: u32,
    source: String,
    etag: String,
}

/// The `trust/` folder of the updater's own directory.
#[derive(Debug)]
pub(crate) struct Kept<'a> {
    dir: &'a Dir,
    sha256: Option<Sha256>,
}

impl<'a> Kept<'a> {
    /// What is kept in `dir`, for an app whose first root has this digest.
    pub(crate) fn new(dir: &'a Dir, sha256: Option<Sha256>) -> Self {
        Self { dir, sha256 }
    }

    /// Keeps the first root. What was believed because of another one is forgotten.
    pub(crate) fn pin(&mut self, root: &[u8]) -> Result<(), Error> {
        if self.first().as_deref() != Some(root) {
            for entry in self.dir.entries()? {
                self.dir.remove_all(Path::new(&entry.name))?;
            }
        }
        self.keep_first(root)
    }

    /// Keeps the first root, in two copies, so that one may be damaged.
    pub(super) fn keep_first(&mut self, root: &[u8]) -> Result<(), Error> {
        if self.read(PINNED, ROOT_LEN_MAX).as_deref() != Some(root) {
            self.write(PINNED, root)?;
        }
        match root_name(root) {
            Some(copy) if self.read(&copy, ROOT_LEN_MAX).as_deref() != Some(root) => self.write(&copy, root),
            _ => Ok(()),
        }
    }

    /// Writes anew what is lost of the first root, if a copy of it is left.
    pub(super) fn mend(&mut self) -> Result<(), Error> {
        match self.first() {
            Some(first) => self.keep_first(&first),
            None => Ok(()),
        }
    }

    /// The digest of the first root, if it is known.
    pub(super) fn sha256(&self) -> Option<Sha256> {
        self.sha256
    }

    /// The first root, if a copy of it is left.
    pub(super) fn first(&self) -> Option<Vec<u8>> {
        let names =
            self.dir.entries().unwrap_or_default().into_iter().filter_map(|entry| entry.name.into_string().ok());
        let mut copies: Vec<(u64, String)> = names.filter_map(|name| Some((root_version(&name)?, name))).collect();
        copies.sort_unstable();
        let copies = copies.into_iter().map(|(_, name)| name);
        let readable = |name: String| self.read(&name, ROOT_LEN_MAX).filter(|bytes| read_root(bytes).is_ok());
        let is_it = |bytes: &Vec<u8>| self.sha256.is_none_or(|sha256| Sha256::of(bytes) == sha256);
        std::iter::once(PINNED.to_owned()).chain(copies).filter_map(readable).find(is_it)
    }

    /// Whether a root is left to believe with.
    pub(crate) fn has_root(&self) -> bool {
        self.first().is_some()
    }

    /// The newest root: as far as the kept ones lead from the first.
    pub(super) fn root(&self) -> Option<Vec<u8>> {
        let mut trusted = read_root(&self.first()?).ok()?;
        while let Some(next) = self.read(&file_of_root(trusted.root().version + 1), ROOT_LEN_MAX)
            && trusted.update_root(&next).is_ok()
        {}
        trusted.bytes(&Role::Root).map(<[u8]>::to_vec)
    }

    /// The release document that was looked at last, if it is the one that `target` names.
    pub(crate) fn release(&self, target: &TargetFile) -> Option<Vec<u8>> {
        self.read(RELEASE, RELEASE_LEN_MAX).filter(|bytes| target.matches(bytes))
    }

    /// Keeps a release document.
    pub(crate) fn keep_release(&mut self, document: &[u8]) -> Result<(), Error> {
        self.write(RELEASE, document)
    }

    pub(super) fn head(&self, source: &str) -> Option<KeptHead> {
        let bytes = self.read(HEAD, HEAD_LINE_LEN_MAX + HEAD_LEN_MAX)?;
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let line: HeadLine = serde_json::from_slice(&bytes[..end]).ok()?;
        let head = Head::decode(&bytes[end + 1..]).ok()?;
        (line.format == 1 && line.source == source).then_some(KeptHead { etag: line.etag, head })
    }

    pub(super) fn keep_head(&mut self, source: &str, etag: &str, head: &[u8]) -> Result<(), Error> {
        let line = HeadLine { format: 1, source: source.to_owned(), etag: etag.to_owned() };
        let mut bytes = serde_json::to_vec(&line).expect("two texts are plain JSON");
        bytes.push(b'\n');
        bytes.extend_from_slice(head);
        self.write(HEAD, &bytes)
    }

    pub(super) fn forget_head(&mut self) -> Result<(), Error> {
        self.dir.remove_all(Path::new(HEAD))
    }

    /// Removes what was being written when a run was cut short. What cannot be removed now is in nobody's way.
    pub(super) fn sweep(&self) {
        let _ = scratch::sweep(self.dir);
    }

    fn read(&self, name: &str, max: u64) -> Option<Vec<u8>> {
        read_bounded(self.dir, Path::new(name), max).ok().flatten()
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let at = Path::new(name);
        // A file takes the place of anything in one step, but not that of a directory.
        if self.dir.stat(at)?.is_some_and(|stat| stat.kind == EntryKind::Dir) {
            self.dir.remove_all(at)?;
        }
        write_atomic(self.dir, at, bytes, MODE)
    }
}

impl Cache for Kept<'_> {
    type Error = Error;

    fn load(&mut self, role: &Role) -> Option<Vec<u8>> {
        let max = match role {
            Role::Root => return self.root(),
            Role::Timestamp => TIMESTAMP_LEN_MAX,
            Role::Snapshot => SNAPSHOT_LEN_MAX,
            Role::Targets | Role::Delegated(_) => METADATA_LEN_MAX,
        };
        self.read(&file_name(role, &[])?, max)
    }

    fn store(&mut self, role: &Role, bytes: &[u8]) -> Result<(), Error> {
        match file_name(role, bytes) {
            Some(name) => self.write(&name, bytes),
            None => Ok(()),
        }
    }

    fn forget(&mut self, role: &Role) -> Result<(), Error> {
        let Some(name) = file_name(role, &[]) else { return Ok(()) };
        self.dir.remove_all(Path::new(&name))?;
        // Gone for good before anything is kept that relies on it.
        self.dir.sync()
    }
}

/// Where `bytes` of a role are kept. Other delegated roles are not: their names come from metadata, and nothing here asks
/// for them.
fn file_name(role: &Role, bytes: &[u8]) -> Option<String> {
    match role {
        Role::Root => root_name(bytes),
        Role::Timestamp | Role::Snapshot | Role::Targets => Some(role.file_name()),
        Role::Delegated(name) if name == "channels" => Some(role.file_name()),
        Role::Delegated(_) => None,
    }
}

/// Where this root is kept, beside the pinned copy of the first.
fn root_name(bytes: &[u8]) -> Option<String> {
    read_root(bytes).ok().map(|trusted: Trusted| file_of_root(trusted.root().version))
}

fn file_of_root(version: u64) -> String {
    format!("{version}.root.json")
}

fn root_version(name: &str) -> Option<u64> {
    name.strip_suffix(".root.json")?.parse().ok()
}
