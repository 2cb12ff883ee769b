//! Uploads: a blob comes in pieces, and is stored once its digest is checked.
//!
//! What came so far is kept when the connection breaks; the next upload of the same blob goes on from there. It takes
//! over from an older one that does not know yet that its connection is dead.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use updraft_core::digest::Digest;
use updraft_core::layout;
use updraft_core::limits::FILE_LEN_MAX;
use updraft_core::name::AppName;
use updraft_core::tree::stored::Encoding;

use super::slot::Slot;
use super::{Depot, Error, blob, blocking, detached, presence};
use crate::store::{self, Body, Partial};

/// How much is gathered before it goes to the disk, in bytes.
const GATHER_LEN: usize = 256 << 10;

type Id = (AppName, Digest, Encoding);

/// The one file of an upload, in the hand of whoever may write it.
type Hand = Arc<tokio::sync::Mutex<Option<Partial>>>;

/// The uploads that are running.
#[derive(Default)]
pub(super) struct Running(Mutex<HashMap<Id, Hand>>);

impl Running {
    fn all(&self) -> MutexGuard<'_, HashMap<Id, Hand>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A blob on its way in. Dropped without [`Upload::finish`], what came is kept for the next one.
pub struct Upload {
    depot: Depot,
    slot: Arc<Slot>,
    id: Id,
    hand: Hand,
    is_stored: bool,
    len: u64,
    gathered: BytesMut,
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload").field("blob", &self.id.1).field("len", &self.len).finish_non_exhaustive()
    }
}

impl Depot {
    /// How many bytes of an upload are here.
    ///
    /// # Errors
    /// When there is no such app or the scratch space cannot be read.
    pub async fn upload_offset(&self, app: &AppName, digest: Digest, encoding: Encoding) -> Result<u64, Error> {
        self.slot(app)?;
        let (store, app) = (self.inner.store.clone(), app.clone());
        Ok(blocking(move || store.partial_len(&app, digest, encoding)).await??)
    }

    /// Begins an upload, or goes on with one, at byte `offset`.
    ///
    /// # Errors
    /// [`Error::Offset`] when the bytes that are here do not end at `offset`.
    pub async fn upload(
        &self,
        app: &AppName,
        digest: Digest,
        encoding: Encoding,
        offset: u64,
    ) -> Result<Upload, Error> {
        let slot = self.slot(app)?;
        let id = (app.clone(), digest, encoding);
        let hand = Hand::default();
        let mut mine = Arc::clone(&hand).lock_owned().await;
        let older = self.inner.uploads.all().insert(id.clone(), Arc::clone(&hand));
        let gathered = BytesMut::new();
        let mut upload = Upload { depot: self.clone(), slot, id, hand, is_stored: false, len: offset, gathered };
        if let Some(older) = older {
            // One that is being checked is waited for; one that waits for more bytes lets go.
            drop(older.lock().await.take());
        }
        if presence::stat(&self.inner.store, &layout::blob(app, digest, encoding)).await?.is_some() {
            upload.is_stored = true;
            return Ok(upload);
        }
        let (store, app) = (self.inner.store.clone(), app.clone());
        let partial = blocking(move || store.partial(&app, digest, encoding)).await??;
        if partial.len() != offset {
            return Err(Error::Offset { have: partial.len(), asked: offset });
        }
        *mine = Some(partial);
        Ok(upload)
    }
}

impl Upload {
    /// Whether the blob is here already: the caller may answer at once, without reading on.
    pub fn is_stored(&self) -> bool {
        self.is_stored
    }

    /// Keeps the next piece.
    ///
    /// # Errors
    /// [`Error::Superseded`] when another upload of the blob has begun meanwhile; [`Error::Refused`] when it grows over
    /// the limits; [`Error::Store`] when the disk is full.
    pub async fn write(&mut self, piece: Bytes) -> Result<(), Error> {
        self.len = self.len.saturating_add(piece.len() as u64);
        if self.len > FILE_LEN_MAX {
            return Err(Error::Refused(format!("blob {}: more than {FILE_LEN_MAX} bytes", self.id.1)));
        }
        if self.is_stored {
            return Ok(());
        }
        self.gathered.extend_from_slice(&piece);
        if self.gathered.len() < GATHER_LEN { Ok(()) } else { self.flush().await }
    }

    async fn flush(&mut self) -> Result<(), Error> {
        let bytes = self.gathered.split().freeze();
        let mut held = self.hand.lock().await;
        let mut partial = held.take().ok_or(Error::Superseded(self.id.1))?;
        let (partial, written) = blocking(move || {
            let written = partial.append(&bytes);
            (partial, written)
        })
        .await?;
        *held = Some(partial);
        Ok(written?)
    }

    /// Checks the whole and stores it.
    ///
    /// # Errors
    /// [`Error::Refused`] when the bytes are not the blob: they are thrown away, and the next upload begins anew.
    pub async fn finish(self) -> Result<(), Error> {
        if self.is_stored { Ok(()) } else { detached(self.check_and_store()).await }
    }

    async fn check_and_store(mut self) -> Result<(), Error> {
        self.flush().await?;
        let (app, digest, encoding) = self.id.clone();
        // Held to the end, so that the next upload of this blob finds it stored.
        let mut held = self.hand.lock().await;
        let partial = held.take().ok_or(Error::Superseded(digest))?;
        let spool = blocking(move || check(partial, encoding, digest)).await??;
        let _keep = self.slot.keep.read().await;
        let key = layout::blob(&app, digest, encoding);
        presence::keep_checked(&self.depot.inner.store, &key, Body::File(spool)).await
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Ok(mut held) = self.hand.try_lock()
            && let Some(partial) = held.as_mut()
            && let Err(error) = partial.append(&self.gathered)
        {
            tracing::debug!(blob = %self.id.1, %error, "the end of a broken upload was not kept");
        }
        let mut all = self.depot.inner.uploads.all();
        if all.get(&self.id).is_some_and(|there| Arc::ptr_eq(there, &self.hand)) {
            all.remove(&self.id);
        }
    }
}

/// The finished file, if it is the blob; else it is thrown away.
fn check(partial: Partial, encoding: Encoding, digest: Digest) -> Result<store::Spool, Error> {
    let problem = blob::problem(partial.reader()?, encoding, digest);
    let reason = match problem {
        Ok(None) => return Ok(partial.finish()?),
        Ok(Some(reason)) => reason,
        // Not the sender's fault: what came stays.
        Err(error) => return Err(Error::Refused(format!("blob {digest} could not be read back: {error}; try again"))),
    };
    partial.discard()?;
    Err(Error::Refused(format!(
        "blob {digest}: {reason}; what was sent is thrown away, send it again from its beginning"
    )))
}
