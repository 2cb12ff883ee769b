//! What only Linux has: `openat2`, `FICLONE`, mount points told by `statx`.

use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, StatxAttributes, StatxFlags};
use rustix::io::Errno;

use super::Dir;
use super::unix::{parent, stat, walk};

/// Opens a directory to pass through: no right to read it is needed.
pub(super) const PASSAGE: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Opens `at` below `root`. The kernel checks the whole path in one call; where it cannot, we go by one component after
/// the other, which is as safe and slower.
pub(super) fn open_beneath(root: BorrowedFd<'_>, at: &Path, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let opened = rustix::io::retry_on_intr(|| rustix::fs::openat2(root, at, flags | OFlags::NOFOLLOW, mode, resolve));
    match opened {
        // ENOSYS: before Linux 5.6. EPERM: a container's filter that does not know the call. ENAMETOOLONG: the path has
        // over 4,096 bytes, its components may be fine. EAGAIN: something on the way was renamed meanwhile.
        Err(Errno::NOSYS | Errno::PERM | Errno::NAMETOOLONG | Errno::AGAIN) => Ok(walk(root, at, flags, mode)?),
        opened => Ok(opened?),
    }
}

/// Makes `target` share the bytes of `source`.
pub(in crate::dir) fn reflink(source: &File, target: &File) -> io::Result<()> {
    Ok(rustix::fs::ioctl_ficlone(target, source)?)
}

pub(in crate::dir) fn is_mount(dir: &Dir, at: &Path) -> io::Result<bool> {
    let (parent, name) = parent(dir, at)?;
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    let told = StatxAttributes::MOUNT_ROOT;
    match rustix::fs::statx(&parent, name, flags, StatxFlags::TYPE) {
        Ok(statx) if statx.stx_attributes_mask.contains(told) => Ok(statx.stx_attributes.contains(told)),
        // Before Linux 5.8 only the number of the file system tells, and not for a part of the same one.
        Ok(_) | Err(Errno::NOSYS | Errno::PERM) => Ok(stat(dir, at)?.device != outside(dir, at)?),
        Err(errno) => Err(errno.into()),
    }
}

/// The number of the file system that holds the directory that holds `at`.
fn outside(dir: &Dir, at: &Path) -> io::Result<u64> {
    let (parent, _) = parent(dir, at)?;
    let above = if at == Path::new(".") { ".." } else { "." };
    Ok(rustix::fs::statat(&parent, above, AtFlags::empty())?.st_dev)
}
