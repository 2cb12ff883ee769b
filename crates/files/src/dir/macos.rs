//! What only macOS has: `fclonefileat` does not fit an open target, so there is no sharing yet. UNTESTED.

use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::Dir;
use super::unix::{parent, stat, walk};

/// Opens a directory to pass through.
pub(super) const PASSAGE: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Opens `at` below `root`, one component after the other.
pub(super) fn open_beneath(root: BorrowedFd<'_>, at: &Path, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
    Ok(walk(root, at, flags, mode)?)
}

pub(in crate::dir) fn reflink(_source: &File, _target: &File) -> io::Result<()> {
    Err(Errno::NOTSUP.into())
}

pub(in crate::dir) fn is_mount(dir: &Dir, at: &Path) -> io::Result<bool> {
    let (parent, _) = parent(dir, at)?;
    let above = if at == Path::new(".") { ".." } else { "." };
    let outside = rustix::fs::statat(&parent, above, AtFlags::empty())?;
    Ok(stat(dir, at)?.device != outside.st_dev as u64)
}
