//! Every change that installing makes to a disk: one function each, on the calling thread, in an order that does not
//! depend on chance. So a test can stop before any of them, and see what a crash there leaves.

use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;
use std::time::SystemTime;

use updraft_files::{Dir, EntryKind, attrs};

use super::Error;

/// What a test does before a change; nothing outside of tests.
#[cfg(not(all(test, target_os = "linux")))]
#[inline(always)]
fn gate(_op: &'static str, _at: &Path) -> Result<(), Error> {
    Ok(())
}

#[cfg(all(test, target_os = "linux"))]
use super::tests::fault::gate;

pub(super) fn create_dir(dir: &Dir, at: &Path, mode: u32) -> Result<(), Error> {
    gate("mkdir", at)?;
    Ok(dir.create_dir(at, mode)?)
}

/// Makes the installed directory itself, if somebody deleted it.
pub(super) fn create_all(path: &Path) -> Result<(), Error> {
    if !path.is_dir() {
        gate("mkdir", path)?;
        Dir::create_all(path)?;
    }
    Ok(())
}

/// As [`create_dir`]; that the directory is there already is fine.
pub(super) fn ensure_dir(dir: &Dir, at: &Path, mode: u32) -> Result<(), Error> {
    match dir.stat(at)? {
        Some(_) => Ok(()),
        None => create_dir(dir, at, mode),
    }
}

/// Makes the directories that are to hold `at`, for the owner only.
pub(super) fn ensure_parents(dir: &Dir, at: &Path) -> Result<(), Error> {
    let mut missing = Vec::new();
    let mut next = at.parent();
    while let Some(parent) = next.filter(|parent| !parent.as_os_str().is_empty()) {
        if dir.stat(parent)?.is_some() {
            break;
        }
        missing.push(parent);
        next = parent.parent();
    }
    missing.into_iter().rev().try_for_each(|parent| create_dir(dir, parent, 0o700))
}

pub(super) fn create_file(dir: &Dir, at: &Path, mode: u32) -> Result<File, Error> {
    gate("create", at)?;
    Ok(dir.create_file(at, mode)?)
}

pub(super) fn symlink(dir: &Dir, target: &Path, at: &Path) -> Result<(), Error> {
    gate("symlink", at)?;
    Ok(dir.symlink(target, at)?)
}

pub(super) fn link(dir: &Dir, from: &Path, to_dir: &Dir, to: &Path) -> Result<(), Error> {
    gate("link", to)?;
    Ok(dir.link(from, to_dir, to)?)
}

pub(super) fn reflink(dir: &Dir, from: &Path, to_dir: &Dir, to: &Path, mode: u32) -> Result<bool, Error> {
    gate("reflink", to)?;
    Ok(dir.reflink(from, to_dir, to, mode)?)
}

pub(super) fn copy(dir: &Dir, from: &Path, to_dir: &Dir, to: &Path, mode: u32) -> Result<(), Error> {
    gate("copy", to)?;
    Ok(dir.copy(from, to_dir, to, mode)?)
}

pub(super) fn rename(dir: &Dir, from: &Path, to_dir: &Dir, to: &Path) -> Result<(), Error> {
    gate("rename", to)?;
    Ok(dir.rename(from, to_dir, to)?)
}

/// As [`rename`], when nothing is there.
pub(super) fn rename_new(dir: &Dir, from: &Path, to_dir: &Dir, to: &Path) -> Result<(), Error> {
    gate("rename", to)?;
    match dir.rename_new(from, to_dir, to) {
        // Not every file system can check and rename in one step; whoever asks saw a moment ago that the place was free.
        Err(error) if error.kind() == ErrorKind::InvalidInput => Ok(dir.rename(from, to_dir, to)?),
        renamed => Ok(renamed?),
    }
}

pub(super) fn exchange(dir: &Dir, a: &Path, other: &Dir, b: &Path) -> Result<(), Error> {
    gate("exchange", a)?;
    Ok(dir.exchange(a, other, b)?)
}

pub(super) fn remove_file(dir: &Dir, at: &Path) -> Result<(), Error> {
    gate("unlink", at)?;
    Ok(dir.remove_file(at)?)
}

pub(super) fn remove_dir(dir: &Dir, at: &Path) -> Result<(), Error> {
    gate("rmdir", at)?;
    Ok(dir.remove_dir(at)?)
}

pub(super) fn remove_all(dir: &Dir, at: &Path) -> Result<(), Error> {
    if dir.stat(at)?.is_none() {
        return Ok(());
    }
    gate("remove", at)?;
    Ok(dir.remove_all(at)?)
}

pub(super) fn set_mode(dir: &Dir, at: &Path, mode: u32) -> Result<(), Error> {
    gate("chmod", at)?;
    Ok(dir.set_mode(at, mode)?)
}

pub(super) fn inherit(from: &Dir, at: &Path, to: &File) -> Result<(), Error> {
    gate("inherit", at)?;
    Ok(attrs::inherit((from, at), to)?)
}

pub(super) fn sync(dir: &Dir) -> Result<(), Error> {
    gate("sync", dir.path())?;
    Ok(dir.sync()?)
}

pub(super) fn sync_at(dir: &Dir, at: &Path) -> Result<(), Error> {
    gate("sync", at)?;
    if at.as_os_str().is_empty() { Ok(dir.sync()?) } else { Ok(dir.sync_at(at)?) }
}

/// Makes the names in the directory at `at` durable, if it is still one.
pub(super) fn sync_if_dir(dir: &Dir, at: &Path) -> Result<(), Error> {
    match dir.stat(at)? {
        Some(stat) if stat.kind == EntryKind::Dir => sync_at(dir, at),
        _ => Ok(()),
    }
}

pub(super) fn write_atomic(dir: &Dir, at: &Path, bytes: &[u8], mode: u32) -> Result<(), Error> {
    gate("write", at)?;
    Ok(updraft_files::write_atomic(dir, at, bytes, mode)?)
}

/// For a file that is the same as another one: programs compare times.
pub(super) fn set_modified(dir: &Dir, at: &Path, time: SystemTime) -> Result<(), Error> {
    gate("utime", at)?;
    let file = dir.open_file(at)?;
    file.set_modified(time).map_err(|source| Error::Read { path: dir.path().join(at), source })
}

/// Removes what crashed writes left in `dir`.
pub(super) fn sweep_scratch(dir: &Dir) -> Result<(), Error> {
    gate("sweep", dir.path())?;
    Ok(updraft_files::scratch::sweep(dir)?)
}
