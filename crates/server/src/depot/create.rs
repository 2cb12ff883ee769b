//! How an app comes to be.
//!
//! The first commit goes the other way round. A root may not skip a version, so a root that a crash left behind would
//! occupy the name of the app for ever. But nobody reads an app before its publisher was told that it exists; so the
//! head goes first, by a swap that exactly one creator wins, and only the winner writes the files that it names. They
//! wait in a private record; whoever finds the head without them finishes the work.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use updraft_core::Timestamp;
use updraft_core::api;
use updraft_core::head::Head;
use updraft_core::key::PublicKey;
use updraft_core::layout::{self, Key};
use updraft_core::limits::{API_BODY_LEN_MAX, METADATA_LEN_MAX, ROOT_LEN_MAX, SNAPSHOT_LEN_MAX};
use updraft_core::name::AppName;
use updraft_core::signed::Envelope;
use updraft_core::trust::{Meta, MetadataFile, Role, Root, Snapshot, Targets, Trusted};

use super::commit::{random_id, swap_head};
use super::sign::{File, Numbering, Signer};
use super::slot::Slot;
use super::verify::{self, Expiry};
use super::{Depot, Error, View, blocking, detached};
use crate::store::{Created, Store};

/// What waits between the first head and the files that it names.
#[derive(Debug, Serialize, Deserialize)]
struct First {
    root: String,
    targets: String,
    channels: String,
}

impl Depot {
    /// Makes the online key of an app that is to be created, or returns the one that waits for it.
    ///
    /// # Errors
    /// [`Error::Exists`] when the app is there already.
    pub async fn propose_app(&self, app: &AppName) -> Result<PublicKey, Error> {
        let slot = self.slot_or_new(app);
        let _turn = slot.turn.lock().await;
        match self.load_in_turn(&slot).await {
            Ok(_) => return Err(Error::Exists(app.clone())),
            Err(Error::NotFound(_)) => {}
            Err(error) => return Err(error),
        }
        let (keys, name) = (self.inner.keys.clone(), app.clone());
        Ok(blocking(move || keys.get_or_make(&name)).await??.public())
    }

    /// Creates an app. The same root again is success.
    ///
    /// # Errors
    /// [`Error::Exists`] when it exists with another root; [`Error::Refused`] when a device would not believe it.
    pub async fn create_app(
        &self,
        app: &AppName,
        first: &api::FirstMetadata,
        now: Timestamp,
    ) -> Result<api::Committed, Error> {
        let (depot, app, first) = (self.clone(), app.clone(), first.clone());
        detached(async move {
            let slot = depot.slot_or_new(&app);
            let _turn = slot.turn.lock().await;
            depot.create_in_turn(&slot, &first, now).await
        })
        .await
    }

    async fn create_in_turn(
        &self,
        slot: &Slot,
        first: &api::FirstMetadata,
        now: Timestamp,
    ) -> Result<api::Committed, Error> {
        let app = &slot.name;
        match self.load_in_turn(slot).await {
            Ok(view) => return same_root(&view, first),
            Err(Error::NotFound(_)) => {}
            Err(error) => return Err(error),
        }
        let (keys, name) = (self.inner.keys.clone(), app.clone());
        let key = blocking(move || keys.get(&name)).await??.ok_or_else(|| {
            Error::Refused(format!("app {app}: ask for its online key first, and sign a root that names it"))
        })?;
        let targets = check(app, first, &key.public(), now)?;
        let signer = Signer { keys: vec![key], numbering: Numbering::Onward, options: self.inner.options, now };
        let (head, record) = seal(first, targets, &signer);
        check_whole(app, &head, &record, now)?;

        let store = &self.inner.store;
        let record = serde_json::to_vec(&record).expect("metadata is text");
        store.put(&record_key(app, &head), record.into()).await?;
        // Whether it was this head or another one that came to be: what is there now decides.
        swap_head(&self.inner.store, app, None, &head).await?;
        let view = match self.load_in_turn(slot).await {
            // The app is there; a second try at the files that its head names may spare the publisher a puzzle.
            Err(Error::Store(_)) => self.load_in_turn(slot).await?,
            other => other?,
        };
        self.publish_timestamp(&view).await;
        same_root(&view, first)
    }
}

/// Success for whoever has the same root, whichever of their tries it was.
fn same_root(view: &View, first: &api::FirstMetadata) -> Result<api::Committed, Error> {
    if view.first_root == first.root.as_bytes() { Ok(view.committed()) } else { Err(Error::Exists(view.name.clone())) }
}

/// Checks what the publisher signed, and returns its targets.
fn check(app: &AppName, first: &api::FirstMetadata, online: &PublicKey, now: Timestamp) -> Result<File, Error> {
    let refused = |reason: String| Error::Refused(format!("app {app}: {reason}"));
    let trusted = Trusted::new(first.root.as_bytes(), now).map_err(|e| refused(e.to_string()))?;
    trusted.finish_root().map_err(|e| refused(e.to_string()))?;
    let root: &Root = trusted.root();
    if root.version != 1 {
        return Err(refused(format!("root: the first one has version 1, not {}", root.version)));
    }
    verify::check_root_keys(root, online).map_err(refused)?;
    let targets: Targets = Envelope::parse(first.targets.as_bytes(), METADATA_LEN_MAX)
        .and_then(|envelope| envelope.content())
        .map_err(|e| refused(format!("targets: {e}")))?;
    verify::check_delegation(&targets, online).map_err(refused)?;
    if !targets.targets.is_empty() {
        return Err(refused("targets: the first ones list no release yet; publish when the app exists".to_owned()));
    }
    Ok(File { version: targets.version, bytes: first.targets.clone().into() })
}

/// The first head, and the files that it names.
fn seal(first: &api::FirstMetadata, targets: File, signer: &Signer) -> (Head, First) {
    let channels = signer.channels(1, &Default::default());
    let snapshot = signer.snapshot(1, &targets, &channels);
    let timestamp = signer.timestamp(1, &snapshot);
    let head = Head {
        generation: 1,
        op_id: random_id(),
        root: 1,
        timestamp: timestamp.bytes.to_vec(),
        snapshot: snapshot.bytes.to_vec(),
    };
    let channels = String::from_utf8(channels.bytes.to_vec()).expect("JSON is text");
    (head, First { root: first.root.clone(), targets: first.targets.clone(), channels })
}

/// Shows the whole to a device, before anything of it is written.
fn check_whole(app: &AppName, head: &Head, record: &First, now: Timestamp) -> Result<(), Error> {
    let files = files(app, head, record)?;
    let metadata = files.into_iter().collect();
    verify::as_device(app, record.root.as_bytes(), head, &metadata, None, Expiry::Checked(now))
        .map(drop)
        .map_err(|reason| Error::Refused(format!("app {app}: a device would refuse this: {reason}")))
}

/// The files that the first head names; the one that says that all are there comes last.
fn files(app: &AppName, head: &Head, record: &First) -> Result<Vec<(Key, Bytes)>, Error> {
    let snapshot: Snapshot = Envelope::parse(&head.snapshot, SNAPSHOT_LEN_MAX)
        .and_then(|envelope| envelope.content())
        .map_err(|e| Error::broken(app, e))?;
    let version = |role: &Role| snapshot.meta.get(&role.file_name()).map_or(1, |meta: &Meta| meta.version);
    let of = |role: Role, version: u64| layout::metadata(app, &MetadataFile::Versioned(role, version));
    Ok(vec![
        (layout::metadata(app, &MetadataFile::Root(1)), record.root.clone().into()),
        (of(Role::Targets, version(&Role::Targets)), record.targets.clone().into()),
        (of(Role::channels(), version(&Role::channels())), record.channels.clone().into()),
        (of(Role::Snapshot, snapshot.version), head.snapshot.clone().into()),
        (layout::first_root(app), record.root.clone().into()),
    ])
}

/// Where the files of the first head wait.
fn record_key(app: &AppName, head: &Head) -> Key {
    layout::private(RECORDS, &format!("{app} {}", head.op_id))
}

/// The room of the records, and what they are named by.
pub(super) const RECORDS: &str = "first";

/// Writes the files of a first head that is in the store without them, and returns the root.
pub(super) async fn roll_forward(store: &Store, app: &AppName, head: &Head) -> Result<Bytes, Error> {
    let key = record_key(app, head);
    let Some((bytes, _)) = store.read(&key, API_BODY_LEN_MAX as u64).await? else {
        // Somebody else may have written the files since, and removed the record.
        let root = store.read(&layout::first_root(app), ROOT_LEN_MAX).await?;
        let missing = || Error::broken(app, format_args!("{} is missing", layout::first_root(app)));
        return root.map(|(root, _)| root).ok_or_else(missing);
    };
    let record: First = serde_json::from_slice(&bytes).map_err(|e| Error::broken(app, e))?;
    for (key, bytes) in files(app, head, &record)? {
        if store.create(&key, bytes.clone()).await? == Created::Exists {
            let there = store.read(&key, bytes.len() as u64).await?;
            if there.is_none_or(|(there, _)| there != bytes) {
                return Err(Error::broken(app, format_args!("{key} is of another app that was here before")));
            }
        }
    }
    if let Err(error) = store.delete(&key).await {
        tracing::warn!(%app, %error, "a record that is of no use any more stays until the next gc");
    }
    Ok(record.root.into())
}
