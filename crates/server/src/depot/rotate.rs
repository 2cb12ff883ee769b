//! Rotation: the next root, and with it other keys.

use std::collections::BTreeSet;

use updraft_core::Timestamp;
use updraft_core::api;
use updraft_core::key::PublicKey;
use updraft_core::layout;
use updraft_core::limits::ROOT_LEN_MAX;
use updraft_core::name::AppName;
use updraft_core::signed::Envelope;
use updraft_core::trust::{MetadataFile, Role, Root};

use super::{Depot, Error, View, blocking, detached};

impl Depot {
    /// Makes another online key for the app, or returns the one that waits for a root to name it.
    ///
    /// # Errors
    /// When there is no such app, or the key directory cannot be used.
    pub async fn next_online_key(&self, app: &AppName) -> Result<PublicKey, Error> {
        let (depot, slot) = (self.clone(), self.slot(app)?);
        detached(async move {
            let _turn = slot.turn.lock().await;
            let view = depot.newest_in_turn(&slot).await?;
            let (keys, name, used) = (depot.inner.keys.clone(), slot.name.clone(), online_keys(&view));
            Ok(blocking(move || keys.next_or_make(&name, &used)).await??.public())
        })
        .await
    }

    /// Commits the next root.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn rotate(&self, app: &AppName, next: &api::NextRoot, now: Timestamp) -> Result<api::Committed, Error> {
        let _ = (next, now);
        Err(Error::Refused(format!("app {app}: this server cannot follow a rotation yet")))
    }
}

/// The bytes of every key that any root of the app has named for timestamp or snapshot.
fn online_keys(view: &View) -> BTreeSet<Vec<u8>> {
    let mut all = BTreeSet::new();
    for version in 1..=view.head.root {
        let key = layout::metadata(&view.name, &MetadataFile::Root(version));
        let root = view.metadata.get(&key).and_then(|bytes| Envelope::parse(bytes, ROOT_LEN_MAX).ok());
        let Some(root) = root.and_then(|envelope| envelope.content::<Root>().ok()) else { continue };
        for role in [Role::Timestamp, Role::Snapshot] {
            let keyids = root.roles.get(role.name()).into_iter().flat_map(|keys| &keys.keyids);
            all.extend(keyids.filter_map(|id| root.keys.get(id)?.key_bytes()));
        }
    }
    all
}
