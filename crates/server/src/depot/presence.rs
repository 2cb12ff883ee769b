//! Which objects are here to stay. What the collector has condemned counts as missing, until somebody uploads it again.

use bytes::Bytes;
use updraft_core::api;
use updraft_core::digest::Digest;
use updraft_core::layout::{self, Key};
use updraft_core::limits::{MISSING_BATCH_MAX, TREE_LEN_MAX};
use updraft_core::name::AppName;
use updraft_core::release::Release;
use updraft_core::tree::stored::{self, Encoding};

use super::{Depot, Error, blocking, detached, parallel};
use crate::store::{Body, Meta, Store};

/// The room of the collector's marks.
const CONDEMNED: &str = "condemned";

/// Where the collector marks `key`. The name has the key's digest: the key itself may be longer than a file's name.
pub(super) fn mark(key: &Key) -> Key {
    let app = key.as_str().split('/').nth(1).unwrap_or_default();
    layout::private(CONDEMNED, &format!("{app} {}", Digest::of(key.as_str().as_bytes())))
}

/// What the names of all marks on objects of `app` begin with.
pub(super) fn marks(app: &AppName) -> Key {
    layout::private(CONDEMNED, &format!("{app} "))
}

/// Takes `key` off the collector's list. The caller keeps the collector away.
pub(super) async fn pardon(store: &Store, key: &Key) -> Result<(), Error> {
    Ok(store.delete(&mark(key)).await?)
}

/// Deletes the object at `key`, and its mark first: an object that a later upload makes anew must not find an old one. The
/// caller keeps the collector away.
pub(super) async fn remove(store: &Store, key: &Key) -> Result<(), Error> {
    pardon(store, key).await?;
    Ok(store.delete(key).await?)
}

/// The object at `key`, if it is there to stay.
pub(super) async fn stat(store: &Store, key: &Key) -> Result<Option<Meta>, Error> {
    let Some(meta) = store.stat(key).await? else { return Ok(None) };
    Ok(store.stat(&mark(key)).await?.is_none().then_some(meta))
}

/// How the blob is stored, if it is there to stay: the compressed object where there is one, for that is what travels.
pub(super) async fn blob(store: &Store, app: &AppName, digest: Digest) -> Result<Option<api::BlobStored>, Error> {
    let compressed = stat(store, &layout::blob(app, digest, Encoding::Zstd)).await?;
    let raw = stat(store, &layout::blob(app, digest, Encoding::Raw)).await?;
    let stored = |meta: Meta, zstd| api::BlobStored { size: meta.size, zstd, raw: raw.is_some() };
    Ok(compressed.map(|meta| stored(meta, true)).or(raw.map(|meta| stored(meta, false))))
}

impl Depot {
    /// How each of `blobs` is stored; `None` where it is lacking or condemned.
    ///
    /// # Errors
    /// When there is no such app, they are too many, or the store cannot answer.
    pub async fn missing(&self, app: &AppName, blobs: &[Digest]) -> Result<Vec<Option<api::BlobStored>>, Error> {
        self.slot(app)?;
        if blobs.len() > MISSING_BATCH_MAX {
            let reason = format!("{} blobs in one question; ask for at most {MISSING_BATCH_MAX}", blobs.len());
            return Err(Error::Refused(reason));
        }
        parallel::each(blobs.to_vec(), |digest| {
            let (store, app) = (self.inner.store.clone(), app.clone());
            async move { blob(&store, &app, digest).await }
        })
        .await
    }

    /// Stores a tree document, as [`updraft_core::tree::stored::pack`] made it.
    ///
    /// # Errors
    /// [`Error::Refused`] when it is not the tree that `digest` names.
    pub async fn put_tree(&self, app: &AppName, digest: Digest, packed: Bytes) -> Result<(), Error> {
        let slot = self.slot(app)?;
        let refused = |reason: &dyn std::fmt::Display| Error::Refused(format!("tree {digest}: {reason}"));
        if packed.len() as u64 > TREE_LEN_MAX {
            return Err(refused(&format_args!("{} bytes are over the limit of {TREE_LEN_MAX}", packed.len())));
        }
        let bytes = packed.clone();
        let unpacked = blocking(move || stored::unpack_by_digest(&bytes, digest).map(drop)).await?;
        unpacked.map_err(|e| refused(&e))?;
        let (store, key) = (self.inner.store.clone(), layout::tree(app, digest));
        detached(async move {
            let _keep = slot.keep.read().await;
            keep_checked(&store, &key, Body::Bytes(packed)).await
        })
        .await
    }

    /// What of `release` is not here to stay, each as `tree DIGEST` or `blob DIGEST`.
    ///
    /// # Errors
    /// [`Error::Refused`] when its tree is here and is not what its document says.
    pub(super) async fn missing_of(&self, app: &AppName, release: &Release) -> Result<Vec<String>, Error> {
        let (store, named) = (&self.inner.store, &release.tree);
        let refused = |reason: &dyn std::fmt::Display| Error::Refused(format!("release {}: {reason}", release.name()));
        let key = layout::tree(app, named.digest);
        if stat(store, &key).await?.is_none() {
            return Ok(vec![format!("tree {}", named.digest)]);
        }
        let Some((packed, _)) = store.read(&key, TREE_LEN_MAX).await? else {
            return Ok(vec![format!("tree {}", named.digest)]);
        };
        let (digest, length) = (named.digest, named.length);
        let (tree, _) = blocking(move || stored::unpack(&packed, digest, length)).await?.map_err(|e| refused(&e))?;
        if (tree.file_count(), tree.byte_count()) != (named.files, named.bytes) {
            return Err(refused(&format_args!(
                "its document says {} files with {} bytes, its tree has {} with {}",
                named.files,
                named.bytes,
                tree.file_count(),
                tree.byte_count()
            )));
        }
        let digests: Vec<_> = tree.blobs().into_keys().collect();
        let found = parallel::each(digests.clone(), |digest| {
            let (store, app) = (store.clone(), app.clone());
            async move { blob(&store, &app, digest).await }
        });
        let found = found.await?;
        let lacking = digests.iter().zip(found).filter(|(_, stored)| stored.is_none());
        Ok(lacking.map(|(digest, _)| format!("blob {digest}")).collect())
    }
}

/// Stores an object whose bytes were compared with its name, and takes it off the collector's list if it is there
/// already. The caller keeps the collector away.
pub(super) async fn keep_checked(store: &Store, key: &Key, body: Body) -> Result<(), Error> {
    match store.create(key, body).await? {
        crate::store::Created::New => Ok(()),
        crate::store::Created::Exists => pardon(store, key).await,
    }
}
