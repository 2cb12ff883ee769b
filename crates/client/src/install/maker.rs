//! Puts the entries of a new tree where they are wanted, and checks from disk what it wrote.
//!
//! An unchanged file is shared with the installed one (reflink, else hard link) and trusted; everything else is written,
//! synced and hashed again. Owner, access list and labels come from the file that was at the path, else from `DIR`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use updraft_core::digest::Digest;
use updraft_core::path::RelPath;
use updraft_core::tree::Kind;
use updraft_files::{Dir, EntryKind, Stat};

use super::change::Origin;
use super::{Error, disk, survey};
use crate::record::{Stamp, Stamps};

/// The permission bits of a file in the making: even a read-only one must take its attributes first.
const MAKING: u32 = 0o600;

/// Where one entry is put.
#[derive(Debug, Clone)]
pub(super) struct Placed {
    /// The path that it is for.
    pub(super) path: RelPath,
    /// Where it lies, relative to the directory it was put in.
    pub(super) at: PathBuf,
}

/// How a new entry has what an unchanged one has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shared {
    /// It is the same file.
    Name,
    /// It is a file of its own with the same bytes; to be synced.
    Bytes,
    /// As `Bytes`, but they may have changed since they were verified.
    Unsure,
}

/// Makes entries out of what is installed, downloaded, or in the slot.
pub(super) struct Maker<'a> {
    dir: &'a Dir,
    downloads: Dir,
    slot: Option<Dir>,
    /// Downloads that are some file already: one more of the same content is a copy, for nobody wants two files of an
    /// app to change together.
    used: BTreeSet<Digest>,
    /// Whether the file system has not said yet that it knows no reflinks.
    reflinks: bool,
}

impl<'a> Maker<'a> {
    pub(super) fn new(dir: &'a Dir, downloads: Dir, slot: Option<Dir>) -> Self {
        Self { dir, downloads, slot, used: BTreeSet::new(), reflinks: true }
    }

    /// Makes the directory `at`, as the release wants it.
    pub(super) fn make_dir(&self, path: &RelPath, mode: u32, to_dir: &Dir, at: &Path) -> Result<(), Error> {
        disk::create_dir(to_dir, at, mode)?;
        let source = self.predecessor(path, EntryKind::Dir)?;
        disk::inherit(self.dir, source, to_dir.open_dir(at)?.as_file())?;
        ensure_mode(to_dir, at, mode)
    }

    /// Gives the unchanged file or link at `path`, of which `stat` was said, a second name, or makes one that shares its
    /// bytes.
    pub(super) fn share(&mut self, path: &RelPath, stat: &Stat, to_dir: &Dir, at: &Path) -> Result<Shared, Error> {
        let from = Path::new(path.as_str());
        if self.reflinks && stat.kind == EntryKind::File && stat.size > 0 {
            self.reflinks = disk::reflink(self.dir, from, to_dir, at, MAKING)?;
            if self.reflinks {
                self.finish(path, stat.mode, to_dir, at)?;
                disk::set_modified(to_dir, at, time(stat.mtime_ns))?;
                // Edited since it was looked at, it may not be what was verified.
                let same = self.dir.stat(from)?.as_ref() == Some(stat);
                return Ok(if same { Shared::Bytes } else { Shared::Unsure });
            }
        }
        disk::link(self.dir, from, to_dir, at).map(|()| Shared::Name)
    }

    /// Makes the file or link for `path` that is not there yet. Not synced, not checked.
    pub(super) fn put(
        &mut self,
        path: &RelPath,
        kind: &Kind,
        origin: &Origin,
        to_dir: &Dir,
        at: &Path,
    ) -> Result<(), Error> {
        let (mode, digest) = match kind {
            Kind::Symlink { target } => return disk::symlink(to_dir, Path::new(target), at),
            Kind::File { mode, digest, .. } => (*mode, *digest),
            Kind::Dir { mode } => return self.make_dir(path, *mode, to_dir, at),
        };
        match origin {
            Origin::Make => drop(disk::create_file(to_dir, at, MAKING)?),
            Origin::Copy(from) => disk::copy(self.dir, Path::new(from.as_str()), to_dir, at, MAKING)?,
            Origin::Download => self.put_download(digest, to_dir, at)?,
            Origin::Slot | Origin::Damaged => return self.put_from_slot(path, mode, origin, to_dir, at),
            Origin::Same | Origin::Kept | Origin::Missing => unreachable!("nothing is made of {origin:?}"),
        }
        self.finish(path, mode, to_dir, at)
    }

    fn put_download(&mut self, digest: Digest, to_dir: &Dir, at: &Path) -> Result<(), Error> {
        let name = PathBuf::from(digest.to_string());
        if self.used.insert(digest) {
            match disk::link(&self.downloads, &name, to_dir, at) {
                Err(error) if error.is_unsupported() => {}
                linked => return linked,
            }
        }
        disk::copy(&self.downloads, &name, to_dir, at, MAKING)
    }

    fn put_from_slot(&self, path: &RelPath, mode: u32, origin: &Origin, to_dir: &Dir, at: &Path) -> Result<(), Error> {
        let slot = self.slot.as_ref().expect("an origin in the slot has a slot");
        let from = Path::new(path.as_str());
        let stat = slot.stat(from)?;
        if *origin == Origin::Slot && stat.is_some_and(|stat| stat.mode == mode) {
            match disk::link(slot, from, to_dir, at) {
                Err(error) if error.is_unsupported() => {}
                linked => return linked,
            }
        }
        if stat.is_some_and(|stat| stat.kind == EntryKind::Symlink) {
            return disk::symlink(to_dir, &slot.read_link(from)?, at);
        }
        // What is damaged may be damaged because it is edited in place somewhere else: a copy keeps the two apart.
        disk::copy(slot, from, to_dir, at, MAKING)?;
        disk::inherit(slot, from, &to_dir.open_file(at)?)?;
        ensure_mode(to_dir, at, mode)
    }

    fn finish(&self, path: &RelPath, mode: u32, to_dir: &Dir, at: &Path) -> Result<(), Error> {
        let source = self.predecessor(path, EntryKind::File)?;
        disk::inherit(self.dir, source, &to_dir.open_file(at)?)?;
        ensure_mode(to_dir, at, mode)
    }

    /// The entry to take owner and labels from: what is installed at `path`, or `DIR` itself.
    fn predecessor<'p>(&self, path: &'p RelPath, kind: EntryKind) -> Result<&'p Path, Error> {
        let at = Path::new(path.as_str());
        let is_there = self.dir.stat(at)?.is_some_and(|stat| stat.kind == kind);
        Ok(if is_there { at } else { Path::new("") })
    }
}

/// Syncs what was written, then reads it back: what is not as the release says never gets to the installed directory.
pub(super) fn sync_and_check(written: &[(Placed, Kind)], dir: &Dir) -> Result<(), Error> {
    let files = || written.iter().filter(|(_, kind)| matches!(kind, Kind::File { .. }));
    // All syncs together: the first one makes the file system write nearly everything, the others have little to do.
    files().try_for_each(|(placed, _)| disk::sync_at(dir, &placed.at))?;
    for (placed, kind) in files() {
        let Kind::File { size, digest, .. } = kind else { continue };
        let read = survey::hash(dir, &placed.at)?;
        if !read.is_some_and(|(content, stat)| content == *digest && stat.size == *size) {
            return Err(Error::Mismatch { path: placed.path.clone() });
        }
    }
    Ok(())
}

/// Syncs what was written and cannot be checked: what a rollback found damaged.
pub(super) fn sync_unchecked(written: &[PathBuf], dir: &Dir) -> Result<(), Error> {
    for at in written {
        if dir.stat(at)?.is_some_and(|stat| stat.kind == EntryKind::File) {
            disk::sync_at(dir, at)?;
        }
    }
    Ok(())
}

/// The stamps of files that were just found to be what they shall be.
pub(super) fn stamps(placed: impl IntoIterator<Item = Placed>, dir: &Dir) -> Result<Stamps, Error> {
    let mut stamps = Stamps::new();
    for Placed { path, at } in placed {
        if let Some(stat) = dir.stat(&at)?.filter(|stat| stat.kind == EntryKind::File) {
            stamps.insert(path, Stamp::of(&stat));
        }
    }
    Ok(stamps)
}

/// An access list that was handed on may have changed the mode.
pub(super) fn ensure_mode(dir: &Dir, at: &Path, mode: u32) -> Result<(), Error> {
    // A directory may have the set-group-id bit from the one that it lies in, and the group's right to write is the mask
    // of an access list.
    const INHERITED: u32 = 0o2020;
    match dir.stat(at)? {
        Some(stat) if stat.mode & !INHERITED != mode & !INHERITED => {
            disk::set_mode(dir, at, mode | stat.mode & INHERITED)
        }
        _ => Ok(()),
    }
}

fn time(ns: i64) -> SystemTime {
    let part = Duration::from_nanos(ns.unsigned_abs());
    if ns < 0 { SystemTime::UNIX_EPOCH - part } else { SystemTime::UNIX_EPOCH + part }
}
