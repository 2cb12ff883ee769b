//! The depot of this very process, as a publisher sees it: how a folder is published by the server that holds it.
//!
//! The publisher's code is blocking and the depot's is not, so every call waits on the runtime; it must be made from a
//! thread that may block.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use tokio::runtime::Handle;
use updraft_core::Timestamp;
use updraft_core::api::{BlobStored, Committed, FirstMetadata, NewTargets, NextRoot, Patches, Promotion};
use updraft_core::digest::Digest;
use updraft_core::head::Head;
use updraft_core::key::PublicKey;
use updraft_core::layout::{self, Key, Public};
use updraft_core::name::AppName;
use updraft_core::tree::stored::Encoding;
use updraft_publisher::{Remote, RemoteError};
use updraft_server::depot::{self, Depot, Pair};

/// How much of a blob is handed over at a time.
const PIECE_LEN: usize = 1 << 20;

/// A depot in this process.
pub(crate) struct InProcess {
    depot: Depot,
    runtime: Handle,
}

impl InProcess {
    /// `depot`, waited for on `runtime`.
    pub(crate) fn new(depot: Depot, runtime: Handle) -> Self {
        Self { depot, runtime }
    }

    /// Whether the depot does not have `app` yet.
    pub(crate) fn is_new(&self, app: &AppName) -> bool {
        self.depot.view(app).is_none() && !self.depot.broken().iter().any(|(broken, _)| broken == app)
    }

    async fn send(
        &self,
        app: &AppName,
        digest: Digest,
        encoding: Encoding,
        content: &mut File,
        progress: &dyn Fn(u64),
    ) -> Result<(), RemoteError> {
        let offset = self.depot.upload_offset(app, digest, encoding).await.map_err(refused)?;
        match self.send_from(offset, app, digest, encoding, content, progress).await {
            // What an earlier attempt left was another content, or was cut off by a power failure.
            Err(RemoteError::Refused { .. }) if offset > 0 => {
                self.send_from(0, app, digest, encoding, content, progress).await
            }
            sent => sent,
        }
    }

    async fn send_from(
        &self,
        mut offset: u64,
        app: &AppName,
        digest: Digest,
        encoding: Encoding,
        content: &mut File,
        progress: &dyn Fn(u64),
    ) -> Result<(), RemoteError> {
        let mut upload = self.depot.upload(app, digest, encoding, offset).await.map_err(refused)?;
        if upload.is_stored() {
            return Ok(());
        }
        let unreadable = |e: std::io::Error| RemoteError::Content(e.to_string());
        content.seek(SeekFrom::Start(offset)).map_err(unreadable)?;
        let mut piece = vec![0; PIECE_LEN];
        loop {
            let len = content.read(&mut piece).map_err(unreadable)?;
            if len == 0 {
                return upload.finish().await.map_err(refused);
            }
            upload.write(piece[..len].to_vec().into()).await.map_err(refused)?;
            offset += len as u64;
            progress(offset);
        }
    }
}

/// What the depot says, as a publisher understands it.
fn refused(error: depot::Error) -> RemoteError {
    use depot::Error as E;
    let detail = error.to_string();
    let remedy = None;
    match error {
        E::Exists(_) | E::Conflict(_) | E::Offset { .. } | E::Superseded(_) => RemoteError::Conflict { detail, remedy },
        E::NotFound(_) => RemoteError::NotFound { detail, remedy },
        E::Missing { .. } => RemoteError::Missing { detail, remedy },
        _ => RemoteError::Refused { kind: "refused".to_owned(), detail, remedy },
    }
}

impl Remote for InProcess {
    fn propose_app(&self, app: &AppName) -> Result<PublicKey, RemoteError> {
        self.runtime.block_on(self.depot.propose_app(app)).map_err(refused)
    }

    fn create_app(&self, app: &AppName, first: &FirstMetadata) -> Result<Committed, RemoteError> {
        self.runtime.block_on(self.depot.create_app(app, first, Timestamp::now())).map_err(refused)
    }

    fn missing(&self, app: &AppName, blobs: &[Digest]) -> Result<Vec<Option<BlobStored>>, RemoteError> {
        self.runtime.block_on(self.depot.missing(app, blobs)).map_err(refused)
    }

    fn put_blob(
        &self,
        app: &AppName,
        digest: Digest,
        encoding: Encoding,
        content: &mut File,
        _len: u64,
        progress: &dyn Fn(u64),
    ) -> Result<(), RemoteError> {
        self.runtime.block_on(self.send(app, digest, encoding, content, progress))
    }

    fn put_tree(&self, app: &AppName, digest: Digest, packed: &[u8]) -> Result<(), RemoteError> {
        self.runtime.block_on(self.depot.put_tree(app, digest, packed.to_vec().into())).map_err(refused)
    }

    fn submit(&self, app: &AppName, new: &NewTargets) -> Result<Committed, RemoteError> {
        self.runtime.block_on(self.depot.accept(app, new, Timestamp::now())).map_err(refused)
    }

    fn promote(&self, app: &AppName, promotion: &Promotion) -> Result<Committed, RemoteError> {
        self.runtime.block_on(self.depot.promote(app, promotion, Timestamp::now())).map_err(refused)
    }

    fn next_online_key(&self, app: &AppName) -> Result<PublicKey, RemoteError> {
        self.runtime.block_on(self.depot.next_online_key(app)).map_err(refused)
    }

    fn rotate(&self, app: &AppName, next: &NextRoot) -> Result<Committed, RemoteError> {
        self.runtime.block_on(self.depot.rotate(app, next, Timestamp::now())).map_err(refused)
    }

    fn patches(&self, app: &AppName) -> Result<Patches, RemoteError> {
        self.runtime.block_on(self.depot.patches(app, Timestamp::now())).map_err(refused)
    }

    fn put_patch(&self, app: &AppName, from: Digest, to: Digest, patch: &[u8]) -> Result<(), RemoteError> {
        let send = async {
            let mut upload = self.depot.upload_patch(app, Pair { to, from }).await?;
            upload.write(patch.to_vec().into()).await?;
            upload.finish(Timestamp::now()).await
        };
        self.runtime.block_on(send).map_err(refused)
    }

    fn head(&self, app: &AppName) -> Result<Option<Head>, RemoteError> {
        Ok(self.depot.view(app).map(|view| view.head.clone()))
    }

    fn read(&self, key: &Key, max: u64) -> Result<Option<Vec<u8>>, RemoteError> {
        match layout::public(key.as_str()) {
            Some(Public::Head(app)) => Ok(self.depot.view(&app).map(|view| view.head_bytes.to_vec())),
            Some(Public::FirstRoot(app)) => Ok(self.depot.view(&app).map(|view| view.first_root.to_vec())),
            Some(Public::Timestamp(app)) => Ok(self.depot.view(&app).map(|view| view.head.timestamp.clone())),
            Some(Public::Immutable(..)) => {
                let read = self.runtime.block_on(self.depot.store().read(key, max));
                let read = read.map_err(|e| refused(depot::Error::Store(e)))?;
                Ok(read.map(|(bytes, _)| bytes.to_vec()))
            }
            None => Ok(None),
        }
    }
}
