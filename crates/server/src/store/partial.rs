//! Uploads that stopped and may be continued: one file per app, digest and encoding.
//!
//! Who continues one gets the bytes that came before, unverified: whether they are the blob is found out when all of it
//! is here. One writer at a time; at most [`PARTIALS_MAX`] of them lie here, none longer than [`PARTIAL_AGE_MAX_SECS`]
//! after its last byte.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, MutexGuard, PoisonError};

use updraft_core::Timestamp;
use updraft_core::digest::Digest;
use updraft_core::name::AppName;
use updraft_core::tree::stored::Encoding;

use super::disk::Disk;
use super::error::{Error, Kind};
use super::scratch::{Scratch, Spool};

/// Most partial uploads at a time; the oldest makes room for the next.
pub const PARTIALS_MAX: usize = 1_000;

/// How long a partial upload waits to be continued, in seconds (7 days: a publisher may be on holiday).
pub const PARTIAL_AGE_MAX_SECS: i64 = 7 * 24 * 3_600;

/// The names of the partial uploads that somebody is writing.
pub(super) type Held = HashSet<String>;

/// An upload in the making, open at its end; dropped unfinished, it is kept for whoever continues it.
#[derive(Debug)]
pub struct Partial {
    file: File,
    path: PathBuf,
    len: u64,
    claim: Claim,
}

impl Partial {
    /// How many bytes are here: where to continue.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing is here yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends all of `bytes`.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.write_all(bytes).map_err(|e| Error::io(&self.path, e))
    }

    /// Opens it for reading, from its beginning.
    pub fn reader(&self) -> Result<File, Error> {
        File::open(&self.path).map_err(|e| Error::io(&self.path, e))
    }

    /// Makes its bytes durable and takes it out of the uploads that can be continued. Blocks until the disk has them.
    pub fn finish(self) -> Result<Spool, Error> {
        let scratch = Arc::clone(&self.claim.scratch);
        scratch.disk.sync_file(&self.path, &self.file).map_err(|e| Error::io(&self.path, e))?;
        let path = scratch.spool_path()?;
        scratch.disk.rename(&self.path, &path).map_err(|e| Error::io(&self.path, e))?;
        Ok(Spool::adopted(path, self.len, scratch))
    }

    /// Forgets the upload: what came is of no use.
    pub fn discard(self) -> Result<(), Error> {
        self.claim.scratch.disk.remove(&self.path).map_err(|e| Error::io(&self.path, e))
    }
}

impl Write for Partial {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.claim.scratch.disk.append(&self.path, &mut self.file, bytes)?;
        self.len += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The right to write one partial upload, given back when dropped.
#[derive(Debug)]
struct Claim {
    scratch: Arc<Scratch>,
    name: String,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.scratch.held().remove(&self.name);
    }
}

impl Scratch {
    fn held(&self) -> MutexGuard<'_, Held> {
        // A set of names is whole whenever its lock is free.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn partial_len(&self, app: &AppName, digest: Digest, encoding: Encoding) -> Result<u64, Error> {
        let path = self.partial_dir()?.join(name(app, digest, encoding));
        match fs::symlink_metadata(&path) {
            Ok(meta) if is_ours_alone(&meta) => Ok(meta.len()),
            Ok(_) => Ok(0),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(Error::io(&path, error)),
        }
    }

    pub(super) fn partial(
        self: &Arc<Self>,
        app: &AppName,
        digest: Digest,
        encoding: Encoding,
    ) -> Result<Partial, Error> {
        let dir = self.partial_dir()?;
        let claim = self.claim(name(app, digest, encoding))?;
        let path = dir.join(&claim.name);
        let (file, len) = open_at_end(&self.disk, &path).map_err(|e| Error::io(&path, e))?;
        if len == 0 {
            self.make_room(&dir)?;
        }
        Ok(Partial { file, path, len, claim })
    }

    fn claim(self: &Arc<Self>, name: String) -> Result<Claim, Error> {
        let mut held = self.held();
        if held.len() >= PARTIALS_MAX {
            let reason =
                format!("{PARTIALS_MAX} uploads are under way, which is the limit; try again when some are done");
            return Err(Error::new(Kind::InUse, name, reason));
        }
        if !held.insert(name.clone()) {
            let reason = "somebody else is uploading it; ask again for what is here when they are done";
            return Err(Error::new(Kind::InUse, name, reason));
        }
        drop(held);
        Ok(Claim { scratch: Arc::clone(self), name })
    }

    /// Removes the oldest idle partial uploads until there are no more than [`PARTIALS_MAX`].
    fn make_room(&self, dir: &Path) -> Result<(), Error> {
        // Counting is cheap, and nearly always enough.
        if fs::read_dir(dir).map_err(|e| Error::io(dir, e))?.count() <= PARTIALS_MAX {
            return Ok(());
        }
        let mut all = partials(dir)?;
        all.sort();
        let surplus = all.len().saturating_sub(PARTIALS_MAX);
        self.remove_idle(dir, all.into_iter().map(|(_, name)| name), surplus).map(drop)
    }

    pub(super) fn expire_partials(&self, now: Timestamp) -> Result<usize, Error> {
        let dir = self.partial_dir()?;
        let oldest = now.as_second().saturating_sub(PARTIAL_AGE_MAX_SECS);
        let all = partials(&dir)?;
        self.remove_idle(&dir, all.into_iter().filter(|(at, _)| *at < oldest).map(|(_, name)| name), usize::MAX)
    }

    /// Removes those of `names` that nobody writes, at most `max` of them, and says how many those were.
    fn remove_idle(&self, dir: &Path, names: impl Iterator<Item = String>, max: usize) -> Result<usize, Error> {
        let mut removed = 0;
        for name in names {
            if removed == max {
                break;
            }
            // The lock is held while one file goes, so that nobody claims it in between.
            let held = self.held();
            if !held.contains(&name) {
                let path = dir.join(&name);
                self.disk.remove(&path).map_err(|e| Error::io(&path, e))?;
                removed += 1;
            }
        }
        Ok(removed)
    }
}

/// Digest and encoding have no `@`, and an app's name has none either.
fn name(app: &AppName, digest: Digest, encoding: Encoding) -> String {
    let suffix = match encoding {
        Encoding::Raw => "",
        Encoding::Zstd => ".zst",
    };
    format!("{app}@{digest}{suffix}")
}

/// The partial uploads with the second in which each was last written.
fn partials(dir: &Path) -> Result<Vec<(i64, String)>, Error> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(|e| Error::io(dir, e))? {
        let entry = entry.map_err(|e| Error::io(dir, e))?;
        let modified = match entry.metadata().and_then(|meta| meta.modified()) {
            Ok(modified) => modified,
            // Finished or discarded since the directory was read.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(Error::io(&entry.path(), error)),
        };
        let second = Timestamp::try_from(modified).map_or(0, |at| at.as_second());
        found.push((second, entry.file_name().to_string_lossy().into_owned()));
    }
    Ok(found)
}

fn open_at_end(disk: &Disk, path: &Path) -> io::Result<(File, u64)> {
    match OpenOptions::new().append(true).open(path) {
        Ok(file) => {
            let meta = file.metadata()?;
            if is_ours_alone(&meta) {
                return Ok((file, meta.len()));
            }
            disk.remove(path)?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    Ok((disk.new_file(path)?, 0))
}

/// A power cut may bring back the name of an upload that was finished and linked into the store: appending to such a file
/// would change a blob.
#[cfg(unix)]
fn is_ours_alone(meta: &fs::Metadata) -> bool {
    meta.is_file() && std::os::unix::fs::MetadataExt::nlink(meta) == 1
}

#[cfg(not(unix))]
fn is_ours_alone(meta: &fs::Metadata) -> bool {
    meta.is_file()
}
