//! A store in a directory, for one process.
//!
//! ```text
//! ROOT/format            "updraft store 1": which layout this is
//! ROOT/lock              held while a process has the store open; its process id
//! ROOT/scratch/spool/    temporary files, swept at every start
//! ROOT/scratch/partial/  uploads that may be continued
//! ROOT/apps/...          the objects, each at its key
//! ROOT/private/...       the same, for the owner's eyes only
//! ```
//!
//! An object comes into being as a temporary file that is written and synced before it gets its name, and the directory
//! of that name is synced before anybody hears of it. So a name always leads to whole bytes, and a crash leaves nothing
//! but temporary files. A tag is the digest of the bytes.

mod lock;
mod walk;

use std::collections::HashSet;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use updraft_core::Timestamp;
use updraft_core::digest::{Digest, Hasher};
use updraft_core::layout::Key;

pub(super) use lock::Lock;

use super::disk::{Access, Disk};
use super::error::{Error, Kind};
use super::object::Object;
use super::scratch::{Scratch, Spool};
use super::{Backend, Body, Created, Meta, Swap, Tag, blocking};

/// The layout that this code writes, and the newest that it reads.
const FORMAT: u32 = 1;

/// Locks for keys: enough that two apps rarely wait for each other.
const SHARDS: usize = 64;

/// How many directories to remember as durable; past that they are synced once more, which only takes time.
const DURABLE_MAX: usize = 10_000;

/// See the module.
#[derive(Debug)]
pub(super) struct Local(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    disk: Disk,
    /// Holds the lock on `root` too: a temporary file that is still in somebody's hands keeps the next process out.
    scratch: Arc<Scratch>,
    /// Of each key, whose name changes under its lock only.
    shards: [Mutex<()>; SHARDS],
    /// Directories that survive a loss of power, as far as this process knows.
    durable: Mutex<HashSet<PathBuf>>,
}

impl Local {
    pub(super) fn open(root: &Path, disk: Disk) -> Result<Self, Error> {
        make_root(root, &disk)?;
        let lock = Lock::take(root)?;
        check_format(root, &disk)?;
        let scratch = Scratch::open(root.join("scratch"), disk.clone(), lock)?;
        let shards = std::array::from_fn(|_| Mutex::new(()));
        Ok(Self(Arc::new(Inner { root: root.into(), disk, scratch, shards, durable: Mutex::default() })))
    }

    pub(super) fn scratch(&self) -> &Arc<Scratch> {
        &self.0.scratch
    }

    /// Does `action` on a thread that may block, and names `key` in its error.
    async fn on<T: Send + 'static>(
        &self,
        key: &Key,
        action: impl FnOnce(&Inner, &Key) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (inner, key) = (Arc::clone(&self.0), key.clone());
        blocking(move || action(&inner, &key).map_err(|error| error.at(&key))).await
    }
}

#[async_trait]
impl Backend for Local {
    async fn read(&self, key: &Key, max: u64) -> Result<Option<(Bytes, Tag)>, Error> {
        self.on(key, move |inner, key| inner.read(key, max)).await
    }

    async fn open(&self, key: &Key) -> Result<Option<Object>, Error> {
        self.on(key, |inner, key| {
            let path = inner.path(key);
            Ok(open_file(&path)?.map(|(file, meta)| Object::of_file(file, &meta, path)))
        })
        .await
    }

    async fn stat(&self, key: &Key) -> Result<Option<Meta>, Error> {
        self.on(key, |inner, key| {
            let path = inner.path(key);
            match absent_is_none(fs::symlink_metadata(&path)).map_err(|e| Error::io(&path, e))? {
                Some(meta) if meta.is_file() => Ok(Some(meta_of(&path, &meta)?)),
                _ => Ok(None),
            }
        })
        .await
    }

    async fn create(&self, key: &Key, body: Body) -> Result<Created, Error> {
        self.on(key, move |inner, key| inner.create(key, body)).await
    }

    async fn swap(&self, key: &Key, expected: Option<&Tag>, bytes: Bytes) -> Result<Swap, Error> {
        let expected = expected.cloned();
        self.on(key, move |inner, key| inner.swap(key, expected.as_ref(), &bytes)).await
    }

    async fn put(&self, key: &Key, bytes: Bytes) -> Result<(), Error> {
        self.on(key, move |inner, key| {
            let spool = inner.spooled(&bytes)?;
            let _mine = inner.shard(key);
            inner.replace(&spool, &inner.path(key))
        })
        .await
    }

    async fn delete(&self, key: &Key) -> Result<(), Error> {
        self.on(key, |inner, key| inner.delete(key)).await
    }

    async fn list(&self, prefix: &str, after: Option<&Key>, max: usize) -> Result<Vec<(Key, Meta)>, Error> {
        let (inner, prefix, after) = (Arc::clone(&self.0), prefix.to_owned(), after.cloned());
        blocking(move || walk::list(&inner.root, &prefix, after.as_ref(), max)).await
    }

    fn root(&self) -> Option<&Path> {
        Some(&self.0.root)
    }
}

impl Inner {
    /// Where a key lies: its characters are all harmless in a path, and no segment of it is `.` or `..`.
    fn path(&self, key: &Key) -> PathBuf {
        self.root.join(key.as_str())
    }

    fn shard(&self, key: &Key) -> MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let shard = &self.shards[hasher.finish() as usize % SHARDS];
        // The lock guards the disk, which is whole after every step.
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, key: &Key, max: u64) -> Result<Option<(Bytes, Tag)>, Error> {
        let path = self.path(key);
        let Some((file, meta)) = open_file(&path)? else { return Ok(None) };
        if meta.len() > max {
            return Err(Error::too_large(meta.len(), max));
        }
        let mut bytes = Vec::with_capacity(meta.len() as usize);
        file.take(max.saturating_add(1)).read_to_end(&mut bytes).map_err(|e| Error::io(&path, e))?;
        if bytes.len() as u64 > max {
            return Err(Error::too_large(bytes.len() as u64, max));
        }
        let tag = tag_of(Digest::of(&bytes));
        Ok(Some((bytes.into(), tag)))
    }

    fn create(&self, key: &Key, body: Body) -> Result<Created, Error> {
        let path = self.path(key);
        let dir = parent(&path);
        // Most of what is created twice is found here, before it is written.
        if absent_is_none(fs::symlink_metadata(&path)).map_err(|e| Error::io(&path, e))?.is_some_and(|m| m.is_file()) {
            self.sync_dir(dir)?;
            return Ok(Created::Exists);
        }
        let spool = match body {
            Body::Bytes(bytes) => self.spooled(&bytes)?,
            Body::File(spool) => spool,
        };
        let created = self.name(&spool, key, &path)?;
        // Also when it exists: whoever made it may not have come this far yet.
        self.sync_dir(dir)?;
        Ok(created)
    }

    fn swap(&self, key: &Key, expected: Option<&Tag>, bytes: &[u8]) -> Result<Swap, Error> {
        let path = self.path(key);
        let Some(expected) = expected else {
            let created = self.create(key, Body::Bytes(Bytes::copy_from_slice(bytes)))?;
            return Ok(match created {
                Created::New => Swap::Done(tag_of(Digest::of(bytes))),
                Created::Exists => Swap::Conflict,
            });
        };
        let _mine = self.shard(key);
        if current_tag(&path)?.as_ref() != Some(expected) {
            return Ok(Swap::Conflict);
        }
        let spool = self.spooled(bytes)?;
        self.replace(&spool, &path)?;
        Ok(Swap::Done(tag_of(Digest::of(bytes))))
    }

    fn delete(&self, key: &Key) -> Result<(), Error> {
        let path = self.path(key);
        let _mine = self.shard(key);
        if absent_is_none(fs::symlink_metadata(&path)).map_err(|e| Error::io(&path, e))?.is_none() {
            return Ok(());
        }
        self.disk.remove(&path).map_err(|e| Error::io(&path, e))?;
        self.sync_dir(parent(&path))
    }

    fn spooled(&self, bytes: &[u8]) -> Result<Spool, Error> {
        let mut writer = self.scratch.spool()?;
        writer.append(bytes)?;
        writer.finish()
    }

    /// Gives a spool its name, unless something has it.
    fn name(&self, spool: &Spool, key: &Key, path: &Path) -> Result<Created, Error> {
        let _mine = self.shard(key);
        let linked = self.in_dir(path, || self.disk.link(spool.path(), path))?;
        match linked {
            Ok(()) => Ok(Created::New),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match fs::symlink_metadata(path) {
                Ok(meta) if !meta.is_file() => Err(Error::new(
                    Kind::Corrupt,
                    path.display().to_string(),
                    "something that is no object has this name; move it out of the data directory",
                )),
                _ => Ok(Created::Exists),
            },
            Err(error) if has_no_links(&error) => self.name_by_rename(spool, path),
            Err(error) => Err(Error::io(path, error)),
        }
    }

    /// The same where the file system has no hard links. It would overwrite, but for the key's lock, which the caller
    /// holds, and the lock on the whole store.
    fn name_by_rename(&self, spool: &Spool, path: &Path) -> Result<Created, Error> {
        if absent_is_none(fs::symlink_metadata(path)).map_err(|e| Error::io(path, e))?.is_some() {
            return Ok(Created::Exists);
        }
        self.disk.rename(spool.path(), path).map_err(|e| Error::io(path, e))?;
        Ok(Created::New)
    }

    /// Gives a spool its name, whatever has it. The caller holds the key's lock.
    fn replace(&self, spool: &Spool, path: &Path) -> Result<(), Error> {
        let renamed = self.in_dir(path, || self.disk.rename(spool.path(), path))?;
        renamed.map_err(|e| Error::io(path, e))?;
        self.sync_dir(parent(path))
    }

    /// Does `action`, which makes the name `path`, in a directory that is there and durable.
    fn in_dir(&self, path: &Path, action: impl Fn() -> io::Result<()>) -> Result<io::Result<()>, Error> {
        self.make_dirs(parent(path))?;
        match action() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Somebody has removed the directory since we made it.
                self.durable().clear();
                self.make_dirs(parent(path))?;
                Ok(action())
            }
            done => Ok(done),
        }
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), Error> {
        self.disk.sync_dir(dir).map_err(|e| Error::io(dir, e))
    }

    fn durable(&self) -> MutexGuard<'_, HashSet<PathBuf>> {
        // A set of paths is whole whenever its lock is free.
        self.durable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes `dir` and the directories above it up to the root, and sees to it that they survive a loss of power: one that
    /// is there already may have been made a moment ago by somebody who has not synced it yet.
    fn make_dirs(&self, dir: &Path) -> Result<(), Error> {
        if dir == self.root || self.durable().contains(dir) {
            return Ok(());
        }
        let above = parent(dir);
        self.make_dirs(above)?;
        let access = if dir == self.root.join("private") { Access::Owner } else { Access::Shared };
        self.disk.new_dir(dir, access).map_err(|e| Error::io(dir, e))?;
        self.sync_dir(above)?;
        let mut durable = self.durable();
        if durable.len() >= DURABLE_MAX {
            durable.clear();
        }
        durable.insert(dir.to_path_buf());
        Ok(())
    }
}

/// Makes `root` and what is missing above it, durably as far as those directories let us.
fn make_root(root: &Path, disk: &Disk) -> Result<(), Error> {
    if root.is_dir() {
        return Ok(());
    }
    let above = match root.parent() {
        Some(above) if above.as_os_str().is_empty() => Path::new("."),
        Some(above) => above,
        None => return Ok(()),
    };
    make_root(above, disk)?;
    disk.new_dir(root, Access::Owner).map_err(|e| Error::io(root, e))?;
    match disk.sync_dir(above) {
        // A directory that we may write to and not read, like some home folders' parents.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        other => other.map_err(|e| Error::io(above, e)),
    }
}

/// Refuses a layout that we do not know; writes down ours where there is none yet.
fn check_format(root: &Path, disk: &Disk) -> Result<(), Error> {
    let path = root.join("format");
    let name = path.display().to_string();
    let Some((file, _)) = open_file(&path)? else {
        if root.join("apps").exists() || root.join("private").exists() {
            let reason = "missing, though there are objects beside it; restore it, or choose another data directory";
            return Err(Error::new(Kind::Corrupt, name, reason));
        }
        return write_format(root, &path, disk);
    };
    let mut text = String::new();
    file.take(64).read_to_string(&mut text).map_err(|e| Error::io(&path, e))?;
    match text.strip_prefix("updraft store ").and_then(|rest| rest.trim_end().parse::<u32>().ok()) {
        Some(1..=FORMAT) => Ok(()),
        Some(newer @ 2..) => {
            let reason = format!(
                "this data directory has format {newer}, and this version of updraft knows formats up to {FORMAT}; \
                 run the version that wrote it, or a later one"
            );
            Err(Error::new(Kind::NewerFormat, name, reason))
        }
        _ => {
            let reason = "it does not say which format this data directory has; restore it, or choose another one";
            Err(Error::new(Kind::Corrupt, name, reason))
        }
    }
}

fn write_format(root: &Path, path: &Path, disk: &Disk) -> Result<(), Error> {
    let temporary = root.join("format.new");
    let write = || {
        disk.remove(&temporary)?;
        let mut file = disk.new_file(&temporary)?;
        disk.append(&temporary, &mut file, format!("updraft store {FORMAT}\n").as_bytes())?;
        disk.sync_file(&temporary, &file)?;
        disk.rename(&temporary, path)?;
        disk.sync_dir(root)
    };
    write().map_err(|e| Error::io(path, e))
}

fn parent(path: &Path) -> &Path {
    path.parent().expect("a key has at least two segments, and a root in front of them")
}

/// Opens a regular file; anything else is not an object.
fn open_file(path: &Path) -> Result<Option<(File, fs::Metadata)>, Error> {
    let open = || {
        let file = File::open(path)?;
        let meta = file.metadata()?;
        Ok((file, meta))
    };
    let opened = absent_is_none(open()).map_err(|e| Error::io(path, e))?;
    Ok(opened.filter(|(_, meta)| meta.is_file()))
}

fn absent_is_none<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        // Where a file or a directory that we never make is in the way, or no file could have such a name, there is none.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::InvalidFilename
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Whether a link failed because there are none on this file system, or no more to this file.
fn has_no_links(error: &io::Error) -> bool {
    let kinds = [io::ErrorKind::Unsupported, io::ErrorKind::TooManyLinks, io::ErrorKind::PermissionDenied];
    kinds.contains(&error.kind())
}

fn meta_of(path: &Path, meta: &fs::Metadata) -> Result<Meta, Error> {
    let modified = meta.modified().map_err(|e| Error::io(path, e))?;
    Ok(Meta { size: meta.len(), modified: Timestamp::try_from(modified).unwrap_or(Timestamp::UNIX_EPOCH) })
}

fn tag_of(digest: Digest) -> Tag {
    Tag::new(digest.to_string())
}

/// The tag of what lies at `path`, in constant memory.
fn current_tag(path: &Path) -> Result<Option<Tag>, Error> {
    let Some((mut file, _)) = open_file(path)? else { return Ok(None) };
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(Some(tag_of(hasher.finish()))),
            Ok(n) => hasher.update(&buffer[..n]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::io(path, error)),
        }
    }
}
