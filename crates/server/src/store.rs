//! Blobs never change, heads swap: where everything that outlives a process lies (DESIGN 4).
//!
//! [`Backend`] is the promise that `local` and `memory` keep and that an S3 bucket can keep too: it asks for no more than
//! conditional writes. One contract suite runs on every backend. A [`Store`] is a backend and a scratch directory for
//! what is not finished: a [`Spool`] is a file that came in whole, a [`Partial`] one that may be continued later.
//!
//! This room knows keys and bytes. It refuses to overwrite what was created, to change anything without the tag of what
//! it replaces, and to read more than it was told it may. What a digest, an app or a release is, it does not know.
//!
//! A call whose future is dropped may still take effect, like one whose answer is lost on the way: who must know reads
//! again.

mod disk;
mod error;
#[doc(hidden)]
pub mod faulty;
mod lend;
mod local;
mod memory;
mod object;
mod partial;
mod scratch;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use updraft_core::Timestamp;
use updraft_core::digest::Digest;
use updraft_core::layout::Key;
use updraft_core::name::AppName;
use updraft_core::tree::stored::Encoding;

#[doc(hidden)]
pub use disk::{Probe, Step};
pub use error::{Error, Kind};
pub use lend::Lent;
pub use object::{Object, READ_LEN};
pub use partial::{PARTIAL_AGE_MAX_SECS, PARTIALS_MAX, Partial};
pub use scratch::{Spool, SpoolWriter};

/// What a store must be able to do.
///
/// Everything that answers `Ok` has happened and survives a loss of power. After an `Err` a write may or may not have
/// happened, but never by half; creating or swapping again and reading again are both safe.
#[async_trait]
pub trait Backend: Send + Sync + fmt::Debug + 'static {
    /// A small object whole, and the tag to swap it by; `None` when there is none.
    ///
    /// # Errors
    /// [`Kind::TooLarge`] for an object of more than `max` bytes, before they are read.
    async fn read(&self, key: &Key, max: u64) -> Result<Option<(Bytes, Tag)>, Error>;

    /// An object to read pieces of. It stays readable after the key is deleted or swapped.
    async fn open(&self, key: &Key) -> Result<Option<Object>, Error>;

    /// Size and age of an object.
    async fn stat(&self, key: &Key) -> Result<Option<Meta>, Error>;

    /// Makes an object, whole or not at all, and never overwrites: of any number of creators exactly one hears
    /// [`Created::New`]. After [`Created::Exists`] the object that was there is as durable as one's own would be.
    async fn create(&self, key: &Key, body: Body) -> Result<Created, Error>;

    /// Compare-and-swap: `bytes` replace the object that has the tag `expected`, or make it where `None` is expected.
    async fn swap(&self, key: &Key, expected: Option<&Tag>, bytes: Bytes) -> Result<Swap, Error>;

    /// Writes an object, whatever is there: the last writer wins. For derived files and for private records that have
    /// one writer; everything else has [`create`](Self::create) and [`swap`](Self::swap).
    async fn put(&self, key: &Key, bytes: Bytes) -> Result<(), Error>;

    /// Removes an object; it is fine if there is none.
    async fn delete(&self, key: &Key) -> Result<(), Error>;

    /// At most `max` objects whose keys begin with `prefix` and come after `after`, in the byte order of their keys.
    /// Fewer than `max` means that there are no more. It may take long: never on the way to an answer for a device.
    async fn list(&self, prefix: &str, after: Option<&Key>, max: usize) -> Result<Vec<(Key, Meta)>, Error>;

    /// The directory in which every object is a file at its key, where it is so.
    fn root(&self) -> Option<&Path> {
        None
    }
}

/// Which state of an object somebody has seen. Opaque: a backend's own word, to be compared by that backend only.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tag(String);

impl Tag {
    fn new(text: String) -> Self {
        Self(text)
    }
}

/// What a listing says of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    /// Its length in bytes.
    pub size: u64,
    /// When it was written, by the clock of the store.
    pub modified: Timestamp,
}

/// What [`Backend::create`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    /// Nothing: the object is there now.
    New,
    /// An object, which is untouched.
    Exists,
}

/// How a [`Backend::swap`] went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Swap {
    /// The bytes are there, under this tag.
    Done(Tag),
    /// Something else was there than was expected; nothing changed.
    Conflict,
}

/// What an object is made of.
#[derive(Debug)]
pub enum Body {
    /// Bytes in memory, for what is small.
    Bytes(Bytes),
    /// A finished temporary file of the same store.
    File(Spool),
}

impl Body {
    /// How many bytes it has.
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(spool) => spool.len(),
        }
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes.into())
    }
}

impl From<Spool> for Body {
    fn from(spool: Spool) -> Self {
        Self::File(spool)
    }
}

/// A backend and its scratch directory; clones are the same store.
///
/// The async functions delegate to the [`Backend`] and promise what it promises. The others are short blocking calls.
#[derive(Debug, Clone)]
pub struct Store {
    backend: Arc<dyn Backend>,
    scratch: Arc<scratch::Scratch>,
}

impl Store {
    /// The store in the directory `root`, which is made if it is missing; for this process alone.
    ///
    /// Removes what a crash has left in its scratch directory.
    ///
    /// # Errors
    /// [`Kind::InUse`] while another process has it open, [`Kind::NewerFormat`] if a later Updraft has written it,
    /// [`Kind::Corrupt`] if it has objects and does not say in which format.
    pub fn local(root: &Path) -> Result<Self, Error> {
        Self::local_on(root, disk::Disk::default())
    }

    /// [`local`](Self::local) with every changing step shown first to `probe`, which may forbid it. For tests.
    #[doc(hidden)]
    pub fn local_probed(root: &Path, probe: Probe) -> Result<Self, Error> {
        Self::local_on(root, disk::Disk::probed(probe))
    }

    fn local_on(root: &Path, disk: disk::Disk) -> Result<Self, Error> {
        let backend = local::Local::open(root, disk)?;
        let scratch = Arc::clone(backend.scratch());
        Ok(Self { backend: Arc::new(backend), scratch })
    }

    /// A store that is gone with its last clone. Spools and partial uploads use the system's temporary directory.
    pub fn memory() -> Self {
        Self { backend: Arc::new(memory::Memory::default()), scratch: Arc::new(scratch::Scratch::temporary()) }
    }

    /// The same store with `wrap` around its backend. For tests.
    #[doc(hidden)]
    #[must_use]
    pub fn wrapped<B: Backend>(&self, wrap: impl FnOnce(Arc<dyn Backend>) -> B) -> Self {
        Self { backend: Arc::new(wrap(Arc::clone(&self.backend))), scratch: Arc::clone(&self.scratch) }
    }

    /// See [`Backend::read`].
    pub async fn read(&self, key: &Key, max: u64) -> Result<Option<(Bytes, Tag)>, Error> {
        self.backend.read(key, max).await
    }

    /// See [`Backend::open`].
    pub async fn open(&self, key: &Key) -> Result<Option<Object>, Error> {
        self.backend.open(key).await
    }

    /// See [`Backend::stat`].
    pub async fn stat(&self, key: &Key) -> Result<Option<Meta>, Error> {
        self.backend.stat(key).await
    }

    /// See [`Backend::create`].
    pub async fn create(&self, key: &Key, body: impl Into<Body> + Send) -> Result<Created, Error> {
        self.backend.create(key, body.into()).await
    }

    /// See [`Backend::swap`].
    pub async fn swap(&self, key: &Key, expected: Option<&Tag>, bytes: Bytes) -> Result<Swap, Error> {
        self.backend.swap(key, expected, bytes).await
    }

    /// See [`Backend::put`].
    pub async fn put(&self, key: &Key, bytes: Bytes) -> Result<(), Error> {
        self.backend.put(key, bytes).await
    }

    /// See [`Backend::delete`].
    pub async fn delete(&self, key: &Key) -> Result<(), Error> {
        self.backend.delete(key).await
    }

    /// See [`Backend::list`].
    pub async fn list(&self, prefix: &str, after: Option<&Key>, max: usize) -> Result<Vec<(Key, Meta)>, Error> {
        self.backend.list(prefix, after, max).await
    }

    /// A new temporary file. Writing and finishing it block, as files do.
    pub fn spool(&self) -> Result<SpoolWriter, Error> {
        self.scratch.spool()
    }

    /// How many bytes of an upload are here already; 0 when nothing is.
    pub fn partial_len(&self, app: &AppName, digest: Digest, encoding: Encoding) -> Result<u64, Error> {
        self.scratch.partial_len(app, digest, encoding)
    }

    /// The upload of a blob, continued where it stopped or begun. Dropped unfinished, it is kept for later.
    ///
    /// # Errors
    /// [`Kind::InUse`] while somebody else holds the same one, or [`PARTIALS_MAX`] others are held.
    pub fn partial(&self, app: &AppName, digest: Digest, encoding: Encoding) -> Result<Partial, Error> {
        self.scratch.partial(app, digest, encoding)
    }

    /// Removes the partial uploads that nobody has touched for [`PARTIAL_AGE_MAX_SECS`], and says how many.
    pub fn expire_partials(&self, now: Timestamp) -> Result<usize, Error> {
        self.scratch.expire_partials(now)
    }
}

/// Does `action` on a thread that may block. It is done even if nobody waits for it any more.
///
/// # Errors
/// Those of `action`; and [`Kind::Unavailable`] when it was not begun, because the runtime is being shut down.
async fn blocking<T: Send + 'static>(action: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    match tokio::task::spawn_blocking(action).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Whoever waits may be a thread that the process waits for in turn: it must hear of it.
            Err(_) => Err(Error::new(Kind::Unavailable, "store", "the server is stopping; ask again when it is back")),
        },
    }
}
