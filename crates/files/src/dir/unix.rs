//! What Linux and macOS share: `*at` system calls on a handle of the parent directory.
//!
//! A path is taken apart once: the directories on the way are opened by [`beneath`], which follows no link, and the
//! call itself works on one plain name in the directory that this gave.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawMode, RenameFlags};
use rustix::io::Errno;

#[cfg(target_os = "linux")]
use super::linux as os;
#[cfg(target_os = "macos")]
use super::macos as os;
use super::{Dir, DirEntry, ENTRIES_MAX, EntryKind, Rename, Space, Stat};

pub(super) use os::{is_mount, reflink};

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// Never follow a link, never wait for the other end of a pipe, never become the owner of a terminal.
const CAREFUL: OFlags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

pub(super) fn open_root(path: &Path) -> io::Result<File> {
    Ok(rustix::fs::open(path, DIRECTORY, Mode::empty())?.into())
}

pub(super) fn space(dir: &File) -> Option<Space> {
    let stat = rustix::fs::fstatvfs(dir).ok()?;
    let of = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    Some(Space { available: of(stat.f_bavail), total: of(stat.f_blocks) })
}

pub(super) fn open_dir(dir: &Dir, at: &Path) -> io::Result<File> {
    beneath(dir, at, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())
}

pub(super) fn open_file(dir: &Dir, at: &Path, writing: bool) -> io::Result<File> {
    let access = if writing { OFlags::RDWR } else { OFlags::RDONLY };
    let opened = beneath(dir, at, access | CAREFUL, Mode::empty());
    // A socket, or a device without a driver: the kernel has no better word than "no such device".
    let no_file = |cause: &io::Error| Errno::from_io_error(cause) == Some(Errno::NXIO);
    opened.map_err(|cause| match no_file(&cause) {
        true => io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"),
        false => cause,
    })
}

pub(super) fn open_any(dir: &Dir, at: &Path) -> io::Result<File> {
    beneath(dir, at, OFlags::RDONLY | CAREFUL, Mode::empty())
}

pub(super) fn create_file(dir: &Dir, at: &Path, mode: u32) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = beneath(dir, at, flags, bits(mode))?;
    set_mode(&file, mode)?;
    Ok(file)
}

pub(super) fn create_dir(dir: &Dir, at: &Path, mode: u32) -> io::Result<()> {
    let (parent, name) = parent(dir, at)?;
    rustix::fs::mkdirat(&parent, name, bits(mode))?;
    let have = stat_of(&rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)?).mode;
    let want = mode & 0o7777 | have & 0o2000;
    if have != want {
        let made = rustix::fs::openat(&parent, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?;
        rustix::fs::fchmod(made, bits(want))?;
    }
    Ok(())
}

pub(super) fn symlink(dir: &Dir, target: &Path, at: &Path) -> io::Result<()> {
    let (parent, name) = parent(dir, at)?;
    Ok(rustix::fs::symlinkat(target, &parent, name)?)
}

pub(super) fn read_link(dir: &Dir, at: &Path) -> io::Result<PathBuf> {
    let (parent, name) = parent(dir, at)?;
    let target = rustix::fs::readlinkat(&parent, name, Vec::new())?;
    Ok(OsString::from_vec(target.into_bytes()).into())
}

pub(super) fn stat(dir: &Dir, at: &Path) -> io::Result<Stat> {
    let (parent, name) = parent(dir, at)?;
    Ok(stat_of(&rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)?))
}

pub(super) fn stat_file(file: &File) -> io::Result<Stat> {
    Ok(stat_of(&rustix::fs::fstat(file)?))
}

pub(super) fn rename(dir: &Dir, from: &Path, to_dir: &Dir, to: &Path, how: Rename) -> io::Result<()> {
    let (from_parent, from) = parent(dir, from)?;
    let (to_parent, to) = parent(to_dir, to)?;
    let flags = match how {
        Rename::Replace => return Ok(rustix::fs::renameat(&from_parent, from, &to_parent, to)?),
        Rename::New => RenameFlags::NOREPLACE,
        Rename::Exchange => RenameFlags::EXCHANGE,
    };
    Ok(rustix::fs::renameat_with(&from_parent, from, &to_parent, to, flags)?)
}

pub(super) fn link(dir: &Dir, from: &Path, to_dir: &Dir, to: &Path) -> io::Result<()> {
    let (from_parent, from) = parent(dir, from)?;
    let (to_parent, to) = parent(to_dir, to)?;
    Ok(rustix::fs::linkat(&from_parent, from, &to_parent, to, AtFlags::empty())?)
}

pub(super) fn remove_file(dir: &Dir, at: &Path) -> io::Result<()> {
    let (parent, name) = parent(dir, at)?;
    Ok(rustix::fs::unlinkat(&parent, name, AtFlags::empty())?)
}

pub(super) fn remove_dir(dir: &Dir, at: &Path) -> io::Result<()> {
    let (parent, name) = parent(dir, at)?;
    Ok(rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR)?)
}

pub(super) fn set_mode(file: &File, mode: u32) -> io::Result<()> {
    Ok(rustix::fs::fchmod(file, bits(mode))?)
}

pub(super) fn let_owner_write(dir: &File) -> io::Result<()> {
    set_mode(dir, stat_file(dir)?.mode | 0o700)
}

pub(super) fn sync_dir(dir: &File) -> io::Result<()> {
    dir.sync_all()
}

pub(super) fn entries(dir: &Dir) -> io::Result<Vec<DirEntry>> {
    let mut entries = Vec::new();
    for entry in rustix::fs::Dir::read_from(&dir.handle)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name == "." || name == ".." {
            continue;
        }
        if entries.len() == ENTRIES_MAX {
            return Err(io::Error::other(format!("it has more than {ENTRIES_MAX} entries")));
        }
        let kind = match kind_of(entry.file_type()) {
            EntryKind::Unknown => match stat(dir, Path::new(name)) {
                Ok(stat) => stat.kind,
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => continue,
                Err(cause) => return Err(cause),
            },
            kind => kind,
        };
        entries.push(DirEntry { name: name.to_owned(), kind });
    }
    Ok(entries)
}

pub(super) fn is_loop(cause: &io::Error) -> bool {
    Errno::from_io_error(cause) == Some(Errno::LOOP)
}

/// Whether a file system said that it cannot share bytes between these two files.
pub(super) fn is_unsupported(cause: &io::Error) -> bool {
    let errno = Errno::from_io_error(cause);
    [Errno::OPNOTSUPP, Errno::NOTSUP, Errno::NOTTY, Errno::NOSYS, Errno::XDEV, Errno::INVAL, Errno::PERM]
        .iter()
        .any(|unsupported| errno == Some(*unsupported))
}

/// The directory that holds the last component of a path: the one that we have, or one opened for this call.
pub(super) enum Parent<'a> {
    Itself(BorrowedFd<'a>),
    Opened(OwnedFd),
}

impl AsFd for Parent<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Parent::Itself(fd) => *fd,
            Parent::Opened(fd) => fd.as_fd(),
        }
    }
}

/// The directory that holds `at`, and the last component of `at`.
pub(super) fn parent<'a>(dir: &'a Dir, at: &'a Path) -> io::Result<(Parent<'a>, &'a OsStr)> {
    let name = at.file_name().unwrap_or(at.as_os_str());
    match at.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => {
            let fd = os::open_beneath(dir.handle.as_fd(), parent, os::PASSAGE, Mode::empty())?;
            Ok((Parent::Opened(fd), name))
        }
        _ => Ok((Parent::Itself(dir.handle.as_fd()), name)),
    }
}

fn beneath(dir: &Dir, at: &Path, flags: OFlags, mode: Mode) -> io::Result<File> {
    let root = dir.handle.as_fd();
    let fd = match at.components().nth(1) {
        None => rustix::io::retry_on_intr(|| rustix::fs::openat(root, at, flags, mode))?,
        Some(_) => os::open_beneath(root, at, flags, mode)?,
    };
    Ok(fd.into())
}

/// Opens `at` one component after the other, following no link.
pub(super) fn walk(root: BorrowedFd<'_>, at: &Path, flags: OFlags, mode: Mode) -> rustix::io::Result<OwnedFd> {
    let mut names: Vec<&OsStr> = at.components().map(|component| component.as_os_str()).collect();
    let last = names.pop().ok_or(Errno::INVAL)?;
    let mut passed: Option<OwnedFd> = None;
    for name in names {
        let next = rustix::fs::openat(passed.as_ref().map_or(root, AsFd::as_fd), name, os::PASSAGE, Mode::empty())?;
        passed = Some(next);
    }
    rustix::fs::openat(passed.as_ref().map_or(root, AsFd::as_fd), last, flags | OFlags::NOFOLLOW, mode)
}

fn bits(mode: u32) -> Mode {
    Mode::from_raw_mode((mode & 0o7777) as RawMode)
}

fn kind_of(kind: FileType) -> EntryKind {
    match kind {
        FileType::RegularFile => EntryKind::File,
        FileType::Directory => EntryKind::Dir,
        FileType::Symlink => EntryKind::Symlink,
        FileType::Fifo => EntryKind::Fifo,
        FileType::Socket => EntryKind::Socket,
        FileType::CharacterDevice | FileType::BlockDevice => EntryKind::Device,
        _ => EntryKind::Unknown,
    }
}

// The widths of these fields differ from system to system.
#[allow(clippy::unnecessary_cast)]
fn stat_of(stat: &rustix::fs::Stat) -> Stat {
    let nanoseconds = |secs: i64, nanos: i64| secs.saturating_mul(1_000_000_000).saturating_add(nanos);
    Stat {
        kind: kind_of(FileType::from_raw_mode(stat.st_mode as RawMode)),
        mode: stat.st_mode as u32 & 0o7777,
        size: stat.st_size as u64,
        mtime_ns: nanoseconds(stat.st_mtime as i64, stat.st_mtime_nsec as i64),
        ctime_ns: nanoseconds(stat.st_ctime as i64, stat.st_ctime_nsec as i64),
        inode: stat.st_ino as u64,
        device: stat.st_dev as u64,
        links: stat.st_nlink as u64,
        uid: stat.st_uid as u32,
        gid: stat.st_gid as u32,
    }
}
