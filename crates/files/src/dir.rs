//! An open directory.
//!
//! A [`Dir`] is held by its handle, not by its name. Every operation takes a path relative to it, refuses absolute
//! paths and `..`, and follows no symbolic link on the way nor at the end, even when one is put there while the
//! operation runs. Names are whatever the file system holds; [`RelPath`](updraft_core::path::RelPath) is for those who
//! want names that exist everywhere.
//!
//! Linux is real. The code for macOS and Windows lies in one file each and is untested; what Windows cannot promise
//! is said there.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Component, Path, PathBuf};

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "macos")]
mod macos;
mod remove;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
use unix as sys;
#[cfg(windows)]
use windows as sys;

/// Most entries that one directory is read to: a directory with more is no part of an installed product, and its names
/// would not fit in the memory that an updater may use.
pub const ENTRIES_MAX: usize = 2_000_000;

/// What failed, at which path, and why.
#[derive(Debug, thiserror::Error)]
#[error("cannot {op} '{}': {}", shown(path), reason(cause))]
pub struct Error {
    op: &'static str,
    path: PathBuf,
    cause: io::Error,
}

impl Error {
    pub(crate) fn new(op: &'static str, path: impl Into<PathBuf>, cause: impl Into<io::Error>) -> Self {
        Self { op, path: path.into(), cause: cause.into() }
    }

    /// What was tried, as a verb that fits behind "cannot".
    pub fn op(&self) -> &'static str {
        self.op
    }

    /// Where it was tried; a name for people, not for another try.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The kind of the cause.
    pub fn kind(&self) -> io::ErrorKind {
        self.cause.kind()
    }

    /// The number that the operating system gave, if it was the one that failed.
    pub fn raw_os_error(&self) -> Option<i32> {
        self.cause.raw_os_error()
    }

    /// Whether there is nothing at the path: no name, no directory on the way, or a link where one should be.
    pub(crate) fn is_absent(&self) -> bool {
        is_absent(&self.cause)
    }
}

/// A path as people may see it: control characters in a foreign name must not reach a terminal.
pub(crate) fn shown(path: &Path) -> String {
    let mut text = String::new();
    for c in path.to_string_lossy().chars() {
        if c.is_control() { text.extend(c.escape_default()) } else { text.push(c) }
    }
    text
}

/// "Too many levels of symbolic links" is what the system says; here one is too many.
fn reason(cause: &io::Error) -> String {
    match sys::is_loop(cause) {
        true => "it is a symbolic link, or lies behind one, and none is followed here".to_owned(),
        false => cause.to_string(),
    }
}

/// What lies at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link, wherever it points.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A character or block device.
    Device,
    /// Something that this code has no word for.
    Unknown,
}

impl EntryKind {
    /// What it is, in words.
    pub fn as_str(self) -> &'static str {
        match self {
            EntryKind::File => "a file",
            EntryKind::Dir => "a directory",
            EntryKind::Symlink => "a symbolic link",
            EntryKind::Fifo => "a named pipe",
            EntryKind::Socket => "a socket",
            EntryKind::Device => "a device",
            EntryKind::Unknown => "of an unknown kind",
        }
    }
}

/// What the file system says of an entry itself, never of what a link points at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// What it is.
    pub kind: EntryKind,
    /// Its permission bits with set-user-id, set-group-id and sticky: the lowest 12.
    pub mode: u32,
    /// Its length in bytes.
    pub size: u64,
    /// When its content changed last, in nanoseconds since 1970; what lies beyond the years 1677 to 2262 is clamped.
    pub mtime_ns: i64,
    /// When content or attributes changed last, as `mtime_ns`.
    pub ctime_ns: i64,
    /// Its number on its file system.
    pub inode: u64,
    /// The number of its file system: good while that is mounted, not longer.
    pub device: u64,
    /// How many names it has.
    pub links: u64,
    /// The number of its owner.
    pub uid: u32,
    /// The number of its group.
    pub gid: u32,
}

/// An entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    /// Its name: one component, any bytes.
    pub name: OsString,
    /// What it was when the directory was read.
    pub kind: EntryKind,
}

/// How a rename treats what is at its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rename {
    Replace,
    New,
    Exchange,
}

/// An open directory.
#[derive(Debug)]
pub struct Dir {
    /// The directory itself.
    handle: File,
    /// The name it was opened by. On Unix for messages only.
    path: PathBuf,
}

/// Room on a file system, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// What this process may still fill.
    pub available: u64,
    /// All that there is.
    pub total: u64,
}

impl Dir {
    /// Opens the directory at `path`, following the symbolic links in `path` itself.
    ///
    /// # Errors
    /// When there is none, or it may not be read.
    pub fn open(path: &Path) -> Result<Dir, Error> {
        let handle = sys::open_root(path).map_err(|cause| Error::new("open directory", path, cause))?;
        Ok(Dir { handle, path: path.to_owned() })
    }

    /// Opens the directory at `path`, making it and its parents when they are missing.
    ///
    /// # Errors
    /// When it cannot be made or opened.
    pub fn create_all(path: &Path) -> Result<Dir, Error> {
        std::fs::create_dir_all(path).map_err(|cause| Error::new("create directory", path, cause))?;
        Dir::open(path)
    }

    /// The name it was opened by, for messages: it may lie elsewhere by now.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its handle, for what works on open files: [`crate::attrs`], locks.
    pub fn as_file(&self) -> &File {
        &self.handle
    }

    /// How much room the file system has that it lies on, for whoever asks before he writes; `None` where that is not
    /// known. It is no promise: others write too.
    pub fn space(&self) -> Option<Space> {
        sys::space(&self.handle)
    }

    /// A second handle on the same directory.
    ///
    /// # Errors
    /// When the process may have no more open files.
    pub fn try_clone(&self) -> Result<Dir, Error> {
        let handle = self.handle.try_clone().map_err(|cause| Error::new("open directory", &self.path, cause))?;
        Ok(Dir { handle, path: self.path.clone() })
    }

    /// Opens the directory at `at`; an empty path is this directory, opened anew.
    ///
    /// # Errors
    /// When there is no directory.
    pub fn open_dir(&self, at: &Path) -> Result<Dir, Error> {
        let handle = self.run_or_self("open directory", at, |at| sys::open_dir(self, at))?;
        Ok(Dir { handle, path: self.path.join(at) })
    }

    /// Opens the regular file at `at` for reading.
    ///
    /// # Errors
    /// When there is none; what is no regular file is refused with [`io::ErrorKind::InvalidInput`], without waiting for
    /// the other end of a named pipe.
    pub fn open_file(&self, at: &Path) -> Result<File, Error> {
        self.run("open", at, |at| regular(sys::open_file(self, at, false)?))
    }

    /// Opens the regular file at `at`, which must exist, for reading and writing.
    ///
    /// # Errors
    /// As [`Dir::open_file`].
    pub fn open_rw(&self, at: &Path) -> Result<File, Error> {
        self.run("open for writing", at, |at| regular(sys::open_file(self, at, true)?))
    }

    /// Makes a new, empty file for reading and writing, with exactly the permission bits `mode`, whatever the umask.
    ///
    /// # Errors
    /// When anything is at `at` already.
    pub fn create_file(&self, at: &Path, mode: u32) -> Result<File, Error> {
        self.run("create", at, |at| sys::create_file(self, at, mode))
    }

    /// Makes a new directory with exactly the permission bits `mode`, whatever the umask. A set-group-id bit that it
    /// has from its parent stays.
    ///
    /// # Errors
    /// When anything is at `at` already.
    pub fn create_dir(&self, at: &Path, mode: u32) -> Result<(), Error> {
        self.run("create directory", at, |at| sys::create_dir(self, at, mode))
    }

    /// Makes a symbolic link to `target`, which is not looked at.
    ///
    /// # Errors
    /// When anything is at `at` already.
    pub fn symlink(&self, target: impl AsRef<Path>, at: &Path) -> Result<(), Error> {
        self.run("create symbolic link", at, |at| sys::symlink(self, target.as_ref(), at))
    }

    /// Where the symbolic link at `at` points.
    ///
    /// # Errors
    /// When there is no link.
    pub fn read_link(&self, at: &Path) -> Result<PathBuf, Error> {
        self.run("read symbolic link", at, |at| sys::read_link(self, at))
    }

    /// What lies at `at`; an empty path is this directory. `None` when nothing does, which is also so when something on
    /// the way is no directory: a symbolic link is none.
    ///
    /// # Errors
    /// When the file system does not say.
    pub fn stat(&self, at: &Path) -> Result<Option<Stat>, Error> {
        if at.as_os_str().is_empty() {
            return self.stat_self().map(Some);
        }
        self.run("look at", at, |at| match sys::stat(self, at) {
            Ok(stat) => Ok(Some(stat)),
            Err(cause) if is_absent(&cause) => Ok(None),
            Err(cause) => Err(cause),
        })
    }

    /// What the file system says of this directory.
    ///
    /// # Errors
    /// When it does not say.
    pub fn stat_self(&self) -> Result<Stat, Error> {
        stat_file(&self.handle).map_err(|cause| Error::new("look at", &self.path, cause))
    }

    /// Whether another file system, or another part of this one, is mounted at `at`; an empty path is this directory.
    ///
    /// # Errors
    /// When nothing is there.
    pub fn is_mount(&self, at: &Path) -> Result<bool, Error> {
        self.run_or_self("look at", at, |at| sys::is_mount(self, at))
    }

    /// Renames `from` to `to` in `to_dir`, replacing what is there in one step.
    ///
    /// # Errors
    /// Whatever the file system refuses: another file system ([`io::ErrorKind::CrossesDevices`]), a directory in the way.
    pub fn rename(&self, from: &Path, to_dir: &Dir, to: &Path) -> Result<(), Error> {
        self.rename_how("rename", from, to_dir, to, Rename::Replace)
    }

    /// Renames `from` to `to` in `to_dir` when nothing is there.
    ///
    /// # Errors
    /// As [`Dir::rename`]; [`io::ErrorKind::AlreadyExists`] when something is there; [`io::ErrorKind::InvalidInput`]
    /// when the file system cannot check and rename in one step.
    pub fn rename_new(&self, from: &Path, to_dir: &Dir, to: &Path) -> Result<(), Error> {
        self.rename_how("rename", from, to_dir, to, Rename::New)
    }

    /// Swaps `a` with `b` in `other` in one step; both must exist.
    ///
    /// # Errors
    /// When the file system cannot (`EINVAL`, `ENOSYS`), when they lie on two file systems or one is a mount (`EXDEV`,
    /// `EBUSY`).
    pub fn exchange(&self, a: &Path, other: &Dir, b: &Path) -> Result<(), Error> {
        self.rename_how("exchange", a, other, b, Rename::Exchange)
    }

    fn rename_how(&self, op: &'static str, from: &Path, to_dir: &Dir, to: &Path, how: Rename) -> Result<(), Error> {
        self.run(op, from, |from| sys::rename(self, from, to_dir, checked(to)?, how))
    }

    /// Gives the file at `from` a second name, `to` in `to_dir`. A symbolic link gets one itself.
    ///
    /// # Errors
    /// When anything is at `to` already, and for all the reasons a file system has: `EXDEV`, `EMLINK`, `EPERM`.
    pub fn link(&self, from: &Path, to_dir: &Dir, to: &Path) -> Result<(), Error> {
        self.run("link", from, |from| sys::link(self, from, to_dir, checked(to)?))
    }

    /// Makes `to` in `to_dir` a new file with the permission bits `mode` that shares the bytes of the file at `from`
    /// until one of them is written. `false`, and nothing at `to`, when the file system has no such thing.
    ///
    /// # Errors
    /// When `from` is no regular file or anything is at `to` already.
    pub fn reflink(&self, from: &Path, to_dir: &Dir, to: &Path, mode: u32) -> Result<bool, Error> {
        let source = self.open_file(from)?;
        let target = to_dir.create_file(to, mode)?;
        match sys::reflink(&source, &target) {
            Ok(()) => Ok(true),
            Err(cause) => {
                to_dir.remove_file(to)?;
                if sys::is_unsupported(&cause) {
                    Ok(false)
                } else {
                    Err(Error::new("copy", self.path.join(from), cause))
                }
            }
        }
    }

    /// Makes `to` in `to_dir` a new file with the bytes of the file at `from` and the permission bits `mode`, sharing
    /// the bytes where the file system can. Nothing is synced; when it fails, nothing is at `to`.
    ///
    /// # Errors
    /// When `from` is no regular file, anything is at `to` already, or the disk is full.
    pub fn copy(&self, from: &Path, to_dir: &Dir, to: &Path, mode: u32) -> Result<(), Error> {
        let mut source = self.open_file(from)?;
        let mut target = to_dir.create_file(to, mode)?;
        // On Linux `io::copy` between two files is copy_file_range(2).
        let copied = sys::reflink(&source, &target).or_else(|_| io::copy(&mut source, &mut target).map(drop));
        copied.map_err(|cause| {
            let _ = to_dir.remove_file(to); // the first error is the one to tell
            Error::new("copy", self.path.join(from), cause)
        })
    }

    /// Removes what is at `at`, which must not be a directory.
    ///
    /// # Errors
    /// When nothing is there, or a directory is.
    pub fn remove_file(&self, at: &Path) -> Result<(), Error> {
        self.run("remove", at, |at| sys::remove_file(self, at))
    }

    /// Removes the empty directory at `at`.
    ///
    /// # Errors
    /// When it is not empty ([`io::ErrorKind::DirectoryNotEmpty`]), or there is none.
    pub fn remove_dir(&self, at: &Path) -> Result<(), Error> {
        self.run("remove directory", at, |at| sys::remove_dir(self, at))
    }

    /// Sets the permission bits of the file or directory at `at` to exactly `mode`.
    ///
    /// # Errors
    /// When it is neither, is not ours, or is a file that its owner may not read.
    pub fn set_mode(&self, at: &Path, mode: u32) -> Result<(), Error> {
        self.run("set the mode of", at, |at| sys::set_mode(&sys::open_any(self, at)?, mode))
    }

    /// Makes the names in this directory durable (fsync).
    ///
    /// # Errors
    /// When the disk says that it could not.
    pub fn sync(&self) -> Result<(), Error> {
        sys::sync_dir(&self.handle).map_err(|cause| Error::new("sync", &self.path, cause))
    }

    /// Makes the file at `at` durable, or the names in the directory at `at`.
    ///
    /// # Errors
    /// When it is neither, or the disk says that it could not.
    pub fn sync_at(&self, at: &Path) -> Result<(), Error> {
        self.run("sync", at, |at| {
            let file = sys::open_any(self, at)?;
            if file.metadata()?.is_dir() { sys::sync_dir(&file) } else { file.sync_all() }
        })
    }

    /// Opens the file or directory at `at`, for its attributes.
    pub(crate) fn open_any(&self, at: &Path) -> Result<File, Error> {
        self.run_or_self("open", at, |at| sys::open_any(self, at))
    }

    /// Its entries, sorted by the bytes of their names, without `.` and `..`.
    ///
    /// # Errors
    /// When it cannot be read, or has more than [`ENTRIES_MAX`] of them.
    pub fn entries(&self) -> Result<Vec<DirEntry>, Error> {
        let mut entries = sys::entries(self).map_err(|cause| Error::new("read directory", &self.path, cause))?;
        entries.sort_unstable_by(|a, b| a.name.as_encoded_bytes().cmp(b.name.as_encoded_bytes()));
        Ok(entries)
    }

    /// Runs an operation on a path that was checked, and tells where it failed.
    fn run<T>(&self, op: &'static str, at: &Path, run: impl FnOnce(&Path) -> io::Result<T>) -> Result<T, Error> {
        checked(at).and_then(run).map_err(|cause| Error::new(op, self.path.join(at), cause))
    }

    /// As `run`, where an empty path is allowed and means this directory.
    fn run_or_self<T>(
        &self,
        op: &'static str,
        at: &Path,
        run: impl FnOnce(&Path) -> io::Result<T>,
    ) -> Result<T, Error> {
        match at.as_os_str().is_empty() {
            true => run(Path::new(".")).map_err(|cause| Error::new(op, &self.path, cause)),
            false => self.run(op, at, run),
        }
    }
}

/// What the file system says of an open file.
pub(crate) fn stat_file(file: &File) -> io::Result<Stat> {
    sys::stat_file(file)
}

/// `at`, when it is one or more plain names.
fn checked(at: &Path) -> io::Result<&Path> {
    let plain = at.components().all(|component| matches!(component, Component::Normal(_)));
    if plain && at.file_name().is_some() {
        return Ok(at);
    }
    let reason = "only plain names below the directory are allowed: not absolute, not empty, no '.' or '..'";
    Err(io::Error::new(io::ErrorKind::InvalidInput, reason))
}

fn regular(file: File) -> io::Result<File> {
    let kind = stat_file(&file)?.kind;
    if kind == EntryKind::File {
        return Ok(file);
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, format!("it is {}, not a regular file", kind.as_str())))
}

fn is_absent(cause: &io::Error) -> bool {
    matches!(cause.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) || sys::is_loop(cause)
}

#[cfg(test)]
#[cfg(unix)]
mod tests;
