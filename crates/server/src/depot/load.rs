//! Reading an app from the store: the head, the metadata it names, the documents of the live releases.
//!
//! Nothing is believed because the store has it: signatures and digests are checked as a device checks them. Only time is
//! not: a server that slept for a month reads what it left, and then renews it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use updraft_core::head::Head;
use updraft_core::layout::{self, Key};
use updraft_core::limits::{HEAD_LEN_MAX, METADATA_LEN_MAX, RELEASE_LEN_MAX, ROOT_LEN_MAX, ROOT_ROTATIONS_MAX};
use updraft_core::limits::{SNAPSHOT_LEN_MAX, TIMESTAMP_LEN_MAX};
use updraft_core::name::AppName;
use updraft_core::release::{Release, ReleaseName};
use updraft_core::signed::Envelope;
use updraft_core::trust::{MetadataFile, Role, Snapshot, TargetFile, Targets};

use super::slot::Slot;
use super::verify::{self, Expiry};
use super::view::Live;
use super::{Depot, Error, View, create, handover, parallel};
use crate::store::{Store, Swap, Tag};

/// How often something is tried against other writers, before a derived file is left to the next start.
const TRIES: usize = 8;

impl Depot {
    /// Reads the app anew and shows what is there. The caller has the turn.
    pub(super) async fn load_in_turn(&self, slot: &Slot) -> Result<Arc<View>, Error> {
        let before = slot.view();
        match load(&self.inner.store, &slot.name, before.as_deref()).await {
            Ok(view) => {
                let view = Arc::new(view);
                slot.show(Arc::clone(&view));
                Ok(view)
            }
            Err(error) => {
                if let Error::Announced { reason, .. } = &error
                    && slot.owe(reason.to_string())
                {
                    self.inner.owing.notify_one();
                }
                if before.is_none() && !matches!(error, Error::NotFound(_)) {
                    let reason = match &error {
                        Error::Broken { reason, .. } => reason.clone(),
                        other => other.to_string(),
                    };
                    slot.set_trouble(Some(reason));
                }
                Err(error)
            }
        }
    }

    /// Writes `timestamp.json` for clients that do not read heads. The commit is the head: when this fails, the next start
    /// repairs it.
    pub(super) async fn publish_timestamp(&self, view: &View) {
        if let Err(error) = copy_timestamp(&self.inner.store, &view.name, &view.head, &view.tag).await {
            tracing::warn!(app = %view.name, %error, "timestamp.json could not be written; it is repaired at the next start");
        }
    }
}

/// Copies the timestamp of `head`, which is in the store under `tag`, to `timestamp.json`; unless it is not the head any
/// more, for then whoever swapped it does the same with the new one. So that file never goes back before the head, and
/// it may go to a lower version where the head did: under new keys.
pub(super) async fn copy_timestamp(store: &Store, app: &AppName, head: &Head, tag: &Tag) -> Result<(), Error> {
    let key = layout::metadata(app, &MetadataFile::Timestamp);
    let bytes = Bytes::from(head.timestamp.clone());
    for _ in 0..TRIES {
        let there = store.read(&key, TIMESTAMP_LEN_MAX).await?;
        if there.as_ref().is_some_and(|(there, _)| *there == bytes) {
            return Ok(());
        }
        // In this order: what is swapped out below was there before the head was looked at.
        let newest = store.read(&layout::head(app), HEAD_LEN_MAX).await?;
        if newest.is_none_or(|(_, newest)| newest != *tag) {
            return Ok(());
        }
        let there = there.map(|(_, tag)| tag);
        if let Swap::Done(_) = store.swap(&key, there.as_ref(), bytes.clone()).await? {
            return Ok(());
        }
    }
    Ok(())
}

/// Reads the app anew; releases that `before` has are not read again.
pub(super) async fn load(store: &Store, app: &AppName, before: Option<&View>) -> Result<View, Error> {
    let (head, tag) = newest_head(store, app).await?;
    let first_root = match store.read(&layout::first_root(app), ROOT_LEN_MAX).await? {
        Some((bytes, _)) => bytes,
        None => create::roll_forward(store, app, &head).await?,
    };
    let metadata = read_metadata(store, app, &head).await?;
    let believed = verify::as_device(app, &first_root, &head, &metadata, None, Expiry::Ignored)
        .map_err(|reason| Error::broken(app, reason))?;
    let releases = read_releases(store, app, &believed.targets, before).await?;
    let live = Live { app: app.clone(), metadata, releases };
    Ok(View::new(head, first_root, believed, live, tag))
}

/// The head, after whatever rotation it announces was brought to its end.
async fn newest_head(store: &Store, app: &AppName) -> Result<(Head, Tag), Error> {
    for _ in 0..TRIES {
        let head = store.read(&layout::head(app), HEAD_LEN_MAX).await?;
        let (bytes, tag) = head.ok_or_else(|| Error::no_app(app))?;
        let head = Head::decode(&bytes).map_err(|e| Error::broken(app, e))?;
        match handover::announced(&head) {
            Some(id) => handover::complete(store, app, id, &head, &tag).await.map_err(|error| match error {
                Error::Store(reason) => Error::Announced { app: app.clone(), reason },
                other => other,
            })?,
            None => return Ok((head, tag)),
        }
    }
    Err(Error::Conflict(format!("app {app}: it changes too fast to be read; try again")))
}

/// Every metadata file that the head leads to, unverified.
async fn read_metadata(store: &Store, app: &AppName, head: &Head) -> Result<BTreeMap<Key, Bytes>, Error> {
    let snapshot: Snapshot = Envelope::parse(&head.snapshot, SNAPSHOT_LEN_MAX)
        .and_then(|envelope| envelope.content())
        .map_err(|e| Error::broken(app, e))?;
    if head.root > ROOT_ROTATIONS_MAX {
        return Err(Error::broken(app, format_args!("root {} is past the limit of {ROOT_ROTATIONS_MAX}", head.root)));
    }
    let roots = (1..=head.root).map(MetadataFile::Root);
    let roles = snapshot.meta.iter().map(|(name, meta)| layout::role_file(&Role::from_file_name(name), meta.version));
    let files: Vec<_> = roots.chain(roles).map(|file| layout::metadata(app, &file)).collect();
    let read = parallel::each(files, |key| {
        let (store, app) = (store.clone(), app.clone());
        async move { Ok((key.clone(), must_read(&store, &app, &key, METADATA_LEN_MAX).await?)) }
    });
    let mut metadata: BTreeMap<_, _> = read.await?.into_iter().collect();
    metadata.insert(layout::metadata(app, &MetadataFile::Timestamp), head.timestamp.clone().into());
    let file = MetadataFile::Versioned(Role::Snapshot, snapshot.version);
    metadata.insert(layout::metadata(app, &file), head.snapshot.clone().into());
    Ok(metadata)
}

/// The documents of the releases that `targets` lists.
async fn read_releases(
    store: &Store,
    app: &AppName,
    targets: &Targets,
    before: Option<&View>,
) -> Result<BTreeMap<String, Release>, Error> {
    let mut releases = BTreeMap::new();
    let mut unread = Vec::new();
    for (path, file) in &targets.targets {
        let same = before.filter(|view| view.targets.targets.get(path).is_some_and(|old| old.hashes == file.hashes));
        match same.and_then(|view| view.releases.get(path)) {
            Some(release) => drop(releases.insert(path.clone(), release.clone())),
            None => unread.push((path.clone(), file.clone())),
        }
    }
    let read = parallel::each(unread, |(path, file)| {
        let (store, app) = (store.clone(), app.clone());
        async move {
            let release = read_release(&store, &app, &path, &file).await?;
            Ok((path, release))
        }
    });
    releases.extend(read.await?);
    Ok(releases)
}

async fn read_release(store: &Store, app: &AppName, path: &str, file: &TargetFile) -> Result<Release, Error> {
    let fail = |reason: &dyn std::fmt::Display| Error::broken(app, format_args!("target '{path}': {reason}"));
    let name = ReleaseName::from_target_path(path).ok_or_else(|| fail(&"it is no release"))?;
    let sha256 = file.hashes.sha256.ok_or_else(|| fail(&"it has no SHA-256"))?;
    let bytes = must_read(store, app, &layout::release(app, &name, sha256), RELEASE_LEN_MAX).await?;
    if !file.matches(&bytes) {
        return Err(fail(&"its document is damaged"));
    }
    Release::decode(&bytes, app, &name).map_err(|e| fail(&e))
}

/// The bytes of an object that the head leads to.
async fn must_read(store: &Store, app: &AppName, key: &Key, max: u64) -> Result<Bytes, Error> {
    match store.read(key, max).await? {
        Some((bytes, _)) => Ok(bytes),
        None => Err(Error::broken(app, format_args!("{key} is missing"))),
    }
}
