//! The few ways in which a store changes a disk, one function each.
//!
//! Each function is one *step*. A test can give a [`Probe`] that sees every step before it is done: to write down the
//! order, to forbid one (a full disk), or to forbid all from some step on (a crash). Nothing in `store` changes a file
//! past this one.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Something that is about to happen to the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// An empty file is made, where there must be none.
    NewFile(PathBuf),
    /// A file gets bytes at its end.
    Append(PathBuf),
    /// A file's bytes are made durable.
    SyncFile(PathBuf),
    /// A directory is made.
    NewDir(PathBuf),
    /// A directory's entries are made durable.
    SyncDir(PathBuf),
    /// A file gets a second name, where there must be none.
    Link(PathBuf, PathBuf),
    /// A file gets another name, in place of whatever has it.
    Rename(PathBuf, PathBuf),
    /// A name goes.
    Remove(PathBuf),
}

/// Sees every step before it is done; its error is answered instead of doing it.
pub type Probe = Arc<dyn Fn(&Step) -> io::Result<()> + Send + Sync>;

/// The disk; with a probe, as a test wants it to behave.
#[derive(Clone, Default)]
pub(super) struct Disk {
    probe: Option<Probe>,
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk").field("probed", &self.probe.is_some()).finish()
    }
}

/// Who may look into a new directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Whoever the umask lets.
    Shared,
    /// The owner only.
    Owner,
}

impl Disk {
    pub(super) fn probed(probe: Probe) -> Self {
        Self { probe: Some(probe) }
    }

    fn step(&self, step: impl FnOnce() -> Step) -> io::Result<()> {
        match &self.probe {
            Some(probe) => probe(&step()),
            None => Ok(()),
        }
    }

    /// A new file, open for writing.
    pub(super) fn new_file(&self, path: &Path) -> io::Result<File> {
        self.step(|| Step::NewFile(path.into()))?;
        OpenOptions::new().append(true).create_new(true).open(path)
    }

    pub(super) fn append(&self, path: &Path, file: &mut File, bytes: &[u8]) -> io::Result<usize> {
        self.step(|| Step::Append(path.into()))?;
        file.write(bytes)
    }

    pub(super) fn sync_file(&self, path: &Path, file: &File) -> io::Result<()> {
        self.step(|| Step::SyncFile(path.into()))?;
        file.sync_all()
    }

    /// Makes a directory; one that is there already is as good.
    pub(super) fn new_dir(&self, path: &Path, access: Access) -> io::Result<()> {
        self.step(|| Step::NewDir(path.into()))?;
        let mut builder = fs::DirBuilder::new();
        if access == Access::Owner {
            owner_only(&mut builder);
        }
        match builder.create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            other => other,
        }
    }

    pub(super) fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.step(|| Step::SyncDir(path.into()))?;
        sync_entries(path)
    }

    pub(super) fn link(&self, source: &Path, target: &Path) -> io::Result<()> {
        self.step(|| Step::Link(source.into(), target.into()))?;
        fs::hard_link(source, target)
    }

    pub(super) fn rename(&self, source: &Path, target: &Path) -> io::Result<()> {
        self.step(|| Step::Rename(source.into(), target.into()))?;
        fs::rename(source, target)
    }

    /// Removes a file; one that is not there is as good.
    pub(super) fn remove(&self, path: &Path) -> io::Result<()> {
        self.step(|| Step::Remove(path.into()))?;
        match fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }
}

#[cfg(unix)]
fn owner_only(builder: &mut fs::DirBuilder) {
    std::os::unix::fs::DirBuilderExt::mode(builder, 0o700);
}

#[cfg(not(unix))]
fn owner_only(_: &mut fs::DirBuilder) {}

#[cfg(unix)]
fn sync_entries(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Elsewhere a directory cannot be synced; NTFS writes its entries through its journal. Untested.
#[cfg(not(unix))]
fn sync_entries(_: &Path) -> io::Result<()> {
    Ok(())
}
