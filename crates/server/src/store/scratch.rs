//! Where what is not finished lies: temporary files, and uploads that may be continued.
//!
//! Nothing here is visible to a reader of the store, and nothing in `spool/` outlives a process.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use tempfile::TempDir;

use super::disk::{Access, Disk};
use super::error::Error;
use super::local::Lock;
use super::partial::Held;

/// A scratch directory.
#[derive(Debug)]
pub(super) struct Scratch {
    pub(super) disk: Disk,
    place: Place,
    /// Keeps others out for as long as anybody has a file in here.
    _lock: Option<Lock>,
    next: AtomicU64,
    pub(super) held: Mutex<Held>,
}

#[derive(Debug)]
enum Place {
    Dir(PathBuf),
    /// Made when it is first needed, removed with the store.
    Temporary(OnceLock<TempDir>),
}

impl Scratch {
    /// The scratch directory at `dir`, made if it is missing, without the temporary files of whoever had it before;
    /// `lock` says that nobody else has it now.
    pub(super) fn open(dir: PathBuf, disk: Disk, lock: Lock) -> Result<Arc<Self>, Error> {
        let scratch = Self { _lock: Some(lock), ..Self::new(Place::Dir(dir), disk) };
        scratch.prepare(scratch.dir()?)?;
        scratch.sweep()?;
        Ok(Arc::new(scratch))
    }

    /// One in the system's temporary directory.
    pub(super) fn temporary() -> Self {
        Self::new(Place::Temporary(OnceLock::new()), Disk::default())
    }

    fn new(place: Place, disk: Disk) -> Self {
        Self { disk, place, _lock: None, next: AtomicU64::new(0), held: Mutex::default() }
    }

    fn dir(&self) -> Result<&Path, Error> {
        match &self.place {
            Place::Dir(dir) => Ok(dir),
            Place::Temporary(cell) => {
                if let Some(dir) = cell.get() {
                    return Ok(dir.path());
                }
                let made = TempDir::with_prefix("updraft-").map_err(|e| Error::io(&std::env::temp_dir(), e))?;
                self.prepare(made.path())?;
                // Of two threads that come here at once one wins, and the other's directory goes again.
                Ok(cell.get_or_init(|| made).path())
            }
        }
    }

    fn prepare(&self, dir: &Path) -> Result<(), Error> {
        for path in [dir.to_path_buf(), dir.join("spool"), dir.join("partial")] {
            self.disk.new_dir(&path, Access::Owner).map_err(|e| Error::io(&path, e))?;
        }
        Ok(())
    }

    fn sweep(&self) -> Result<(), Error> {
        let spool = self.dir()?.join("spool");
        for entry in fs::read_dir(&spool).map_err(|e| Error::io(&spool, e))? {
            let path = entry.map_err(|e| Error::io(&spool, e))?.path();
            // A directory is what was lent to another process.
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { self.disk.remove(&path) };
            removed.map_err(|e| Error::io(&path, e))?;
        }
        Ok(())
    }

    pub(super) fn partial_dir(&self) -> Result<PathBuf, Error> {
        Ok(self.dir()?.join("partial"))
    }

    /// A path in `spool/` that nobody else gets.
    pub(super) fn spool_path(&self) -> Result<PathBuf, Error> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        Ok(self.dir()?.join("spool").join(number.to_string()))
    }

    pub(super) fn spool(self: &Arc<Self>) -> Result<SpoolWriter, Error> {
        let path = self.spool_path()?;
        let file = self.disk.new_file(&path).map_err(|e| Error::io(&path, e))?;
        Ok(SpoolWriter { file, spool: Spool { path, len: 0, scratch: Arc::clone(self) } })
    }
}

/// A temporary file that is being written; dropped, it is gone.
#[derive(Debug)]
pub struct SpoolWriter {
    file: File,
    spool: Spool,
}

impl SpoolWriter {
    /// How many bytes it has.
    pub fn len(&self) -> u64 {
        self.spool.len
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.spool.len == 0
    }

    /// Appends all of `bytes`.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.write_all(bytes).map_err(|e| Error::io(&self.spool.path, e))
    }

    /// A handle by which another process may write it in our place, before [`Self::finish_lent`].
    pub fn lend(&self) -> Result<File, Error> {
        self.file.try_clone().map_err(|e| Error::io(&self.spool.path, e))
    }

    /// Makes durable what another process has written.
    pub fn finish_lent(mut self) -> Result<Spool, Error> {
        self.spool.len = self.file.metadata().map_err(|e| Error::io(&self.spool.path, e))?.len();
        self.finish()
    }

    /// Makes its bytes durable. Blocks until the disk has them.
    pub fn finish(self) -> Result<Spool, Error> {
        let Self { file, spool } = self;
        spool.scratch.disk.sync_file(&spool.path, &file).map_err(|e| Error::io(&spool.path, e))?;
        Ok(spool)
    }
}

impl Write for SpoolWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.spool.scratch.disk.append(&self.spool.path, &mut self.file, bytes)?;
        self.spool.len += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A finished temporary file, durable but for its name; dropped, it is gone.
#[derive(Debug)]
pub struct Spool {
    path: PathBuf,
    len: u64,
    scratch: Arc<Scratch>,
}

impl Spool {
    /// The file at `path` in `spool/`, of which `len` bytes are durable.
    pub(super) fn adopted(path: PathBuf, len: u64, scratch: Arc<Scratch>) -> Self {
        Self { path, len, scratch }
    }

    /// How many bytes it has.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Opens it for reading, from its beginning.
    pub fn reader(&self) -> Result<File, Error> {
        File::open(&self.path).map_err(|e| Error::io(&self.path, e))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        // What cannot be removed now is swept when the store is opened again.
        if let Err(error) = self.scratch.disk.remove(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "a temporary file stays until the next start");
        }
    }
}
