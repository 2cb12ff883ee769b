//! The check of a whole store: every object is read and compared with its name, every reference of every head followed.
//!
//! It names each problem and goes on. Nothing that a device could use is ever removed: a repair writes derived files anew
//! and deletes what is damaged, so that the publisher's next upload can replace it.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, Read};

use bytes::{Buf, Bytes};
use tokio::runtime::Handle;
use updraft_core::api::FsckReport;
use updraft_core::digest::{Digest, Sha256};
use updraft_core::layout::{self, Key};
use updraft_core::limits::{METADATA_LEN_MAX, RELEASE_LEN_MAX, ROOT_LEN_MAX, SNAPSHOT_LEN_MAX};
use updraft_core::limits::{TIMESTAMP_LEN_MAX, TREE_LEN_MAX};
use updraft_core::name::AppName;
use updraft_core::path::RelPath;
use updraft_core::release::Release;
use updraft_core::signed::Envelope;
use updraft_core::tree::stored::{unpack, unpack_by_digest};
use updraft_core::trust::{MetadataFile, Role};

use super::gc::blob_of;
use super::{Depot, Error, View, blob, blocking, load, patches, presence};
use crate::store::{Meta, Object, READ_LEN};

/// How many objects one listing names.
const PAGE: usize = 1_000;

/// How many problems a report names; a store with more is not mended one by one.
const PROBLEMS_MAX: usize = 1_000;

/// Whether `fsck` may mend what it finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repair {
    /// Only say what is wrong.
    Nothing,
    /// Write derived files anew, and delete damaged blobs and trees, so that a publisher's next upload replaces them; and
    /// damaged patches, which are made again.
    WhatCanBe,
}

/// A check that is under way.
struct Check<'a> {
    depot: &'a Depot,
    repair: Repair,
    report: FsckReport,
}

impl Depot {
    /// Reads every object, compares it with its name, and follows every reference from every head. One check waits for
    /// another to end.
    ///
    /// # Errors
    /// When the store cannot be listed. Objects that cannot be read are problems in the report.
    pub async fn fsck(&self, repair: Repair) -> Result<FsckReport, Error> {
        let _one = self.inner.checking.lock().await;
        let mut check = Check { depot: self, repair, report: FsckReport::default() };
        for app in super::app_names(&self.inner.store).await? {
            check.app(&app).await?;
        }
        Ok(check.report)
    }
}

impl Check<'_> {
    fn problem(&mut self, sentence: String) {
        if self.report.problems.len() < PROBLEMS_MAX {
            self.report.problems.push(sentence);
        }
    }

    async fn app(&mut self, app: &AppName) -> Result<(), Error> {
        // What is published after this is not looked for.
        let view = match load::load(&self.depot.inner.store, app, None).await {
            Ok(view) => Some(view),
            // Left by a creation that never came as far as its head.
            Err(Error::NotFound(_)) => None,
            Err(Error::Broken { reason, .. }) => {
                self.problem(format!("app {app} cannot be served: {reason}"));
                None
            }
            Err(error) => {
                self.problem(format!("app {app} cannot be read: {error}"));
                None
            }
        };
        let blobs = self.objects(app).await?;
        if let Some(view) = view {
            self.derived(&view).await?;
            for release in view.releases.values() {
                self.release(&view, release, &blobs).await?;
            }
        }
        Ok(())
    }

    /// Reads every object of the app, and returns the blobs that are sound.
    async fn objects(&mut self, app: &AppName) -> Result<HashSet<Digest>, Error> {
        let (prefix, mut after) = (layout::app_prefix(app), None);
        let mut blobs = HashSet::new();
        loop {
            let page = self.depot.inner.store.list(&prefix, after.as_ref(), PAGE).await?;
            for (key, meta) in &page {
                match self.object(app, key, meta).await {
                    Ok(None) => blobs.extend(blob_of(app, key).map(|(digest, _)| digest)),
                    Ok(Some(reason)) => self.damaged(app, key, &reason).await?,
                    Err(error) => self.problem(format!("{key} cannot be read: {error}")),
                }
            }
            match page.last() {
                Some((last, _)) if page.len() == PAGE => after = Some(last.clone()),
                _ => return Ok(blobs),
            }
        }
    }

    async fn damaged(&mut self, app: &AppName, key: &Key, reason: &str) -> Result<(), Error> {
        let room = key.as_str().split('/').nth(2).unwrap_or_default();
        if self.repair == Repair::WhatCanBe && room == "patches" {
            self.delete(app, key).await?;
            if let Some(pair) = patches::pair_of(app, key) {
                self.depot.forget_patch(&self.depot.slot_or_new(app), pair).await?;
            }
            self.problem(format!(
                "{key} is damaged: {reason}; it was deleted, and is made again while its releases live"
            ));
        } else if self.repair == Repair::WhatCanBe && matches!(room, "blobs" | "trees") {
            self.delete(app, key).await?;
            self.problem(format!(
                "{key} is damaged: {reason}; it was deleted, publish its release again to replace it"
            ));
        } else {
            self.problem(format!("{key} is damaged: {reason}"));
        }
        Ok(())
    }

    /// Deletes an object while nobody counts on it.
    async fn delete(&self, app: &AppName, key: &Key) -> Result<(), Error> {
        let slot = self.depot.slot_or_new(app);
        let _alone = slot.keep.write().await;
        presence::remove(&self.depot.inner.store, key).await
    }

    /// What is wrong with one object, by its name.
    async fn object(&mut self, app: &AppName, key: &Key, meta: &Meta) -> Result<Option<String>, Error> {
        let rest = key.as_str().strip_prefix(&layout::app_prefix(app)).unwrap_or_default();
        let Some((room, file)) = rest.split_once('/') else { return Ok(None) };
        let store = &self.depot.inner.store;
        self.report.checked += 1;
        self.report.checked_bytes += meta.size;
        let name = file.rsplit('/').next().unwrap_or(file);
        match room {
            "blobs" => {
                let Some((digest, encoding)) = blob_of(app, key) else {
                    return Ok(Some("no blob has such a name".into()));
                };
                let Some(object) = store.open(key).await? else { return Ok(None) };
                let source = Reader { object, at: 0, piece: Bytes::new(), runtime: Handle::current() };
                let problem = blocking(move || blob::problem(source, encoding, digest)).await?;
                Ok(problem.unwrap_or_else(|error| Some(format!("it cannot be read: {error}"))))
            }
            "trees" => {
                let Ok(digest) = name.parse() else { return Ok(Some("no tree has such a name".into())) };
                let Some((packed, _)) = store.read(key, TREE_LEN_MAX).await? else { return Ok(None) };
                Ok(blocking(move || unpack_by_digest(&packed, digest).err().map(|e| e.to_string())).await?)
            }
            "patches" => {
                let Some(pair) = patches::pair_of(app, key) else { return Ok(Some("no patch has such a name".into())) };
                let Some(object) = store.open(key).await? else { return Ok(None) };
                let digest = self.depot.patch_digest(app, pair).await?;
                Ok(blocking(move || patches::problem(object, pair, digest, &Handle::current())).await?)
            }
            "targets" => {
                let Some((bytes, _)) = store.read(key, RELEASE_LEN_MAX).await? else { return Ok(None) };
                let found = Sha256::of(&bytes);
                let named = name.split('.').next().and_then(|text| text.parse().ok());
                Ok((named != Some(found)).then(|| format!("its bytes have the SHA-256 {found}")))
            }
            "tuf" if name != "timestamp.json" => {
                let Some((bytes, _)) = store.read(key, METADATA_LEN_MAX).await? else { return Ok(None) };
                Ok(metadata_problem(name, &bytes))
            }
            _ => Ok(None),
        }
    }

    /// The files that are derived from others.
    async fn derived(&mut self, view: &View) -> Result<(), Error> {
        let app = &view.name;
        self.timestamp(app).await?;
        self.snapshot(view).await?;
        self.next_root(view).await?;
        let first = layout::metadata(app, &MetadataFile::Root(1));
        let there = self.depot.inner.store.read(&first, ROOT_LEN_MAX).await?;
        if there.is_some_and(|(bytes, _)| bytes != view.first_root) {
            self.problem(format!("{first} is another root than {}", layout::first_root(app)));
        }
        for (name, channel) in &view.channels {
            let (_, bytes) = super::sign::document(channel);
            let key = layout::channel(app, name, Sha256::of(&bytes));
            if self.depot.inner.store.stat(&key).await?.is_none() {
                let mended = if self.repair == Repair::WhatCanBe {
                    self.depot.inner.store.create(&key, bytes).await?;
                    "; it was written anew"
                } else {
                    ""
                };
                self.problem(format!("{key}, the document of channel {name}, is missing{mended}"));
            }
        }
        Ok(())
    }

    /// `timestamp.json`, which is a copy of what is in the head.
    async fn timestamp(&mut self, app: &AppName) -> Result<(), Error> {
        let slot = self.depot.slot_or_new(app);
        let _turn = slot.turn.lock().await;
        let Ok(view) = self.depot.newest_in_turn(&slot).await else { return Ok(()) };
        let (store, key) = (&self.depot.inner.store, layout::metadata(app, &MetadataFile::Timestamp));
        let read = async || store.read(&key, TIMESTAMP_LEN_MAX).await;
        let is_it = |(bytes, _): (Bytes, _)| bytes == view.head.timestamp;
        let there = read().await;
        let is_unreadable = there.is_err();
        if there.is_ok_and(|there| there.is_some_and(is_it)) {
            return Ok(());
        }
        let mended = if self.repair == Repair::WhatCanBe {
            let write = async {
                // What can be read is swapped out, so that at no moment there is none.
                if is_unreadable {
                    store.delete(&key).await?;
                }
                load::copy_timestamp(store, app, &view.head, &view.tag).await?;
                Ok::<_, Error>(read().await?.is_some_and(is_it))
            };
            match write.await {
                Ok(true) => "; it was written anew".to_owned(),
                Ok(false) => "; another process changes the app at this moment, check again".to_owned(),
                Err(error) => format!("; it could not be written anew: {error}"),
            }
        } else {
            "; `updraft fsck --repair` writes it anew".to_owned()
        };
        self.problem(format!("{key} is not the timestamp of the head{mended}"));
        Ok(())
    }

    /// `N.snapshot.json`, which is a copy too.
    async fn snapshot(&mut self, view: &View) -> Result<(), Error> {
        let file = MetadataFile::Versioned(Role::Snapshot, view.snapshot.version);
        let (store, key) = (&self.depot.inner.store, layout::metadata(&view.name, &file));
        let there = store.read(&key, SNAPSHOT_LEN_MAX).await.ok().flatten();
        if there.is_some_and(|(bytes, _)| bytes == view.head.snapshot) {
            return Ok(());
        }
        let mended = if self.repair == Repair::WhatCanBe {
            // At no moment there is none: what the head names has to be there for foreign clients.
            store.put(&key, view.head.snapshot.clone().into()).await?;
            "; it was written anew"
        } else {
            "; `updraft fsck --repair` writes it anew"
        };
        self.problem(format!("{key} is not the snapshot of the head{mended}"));
        Ok(())
    }

    /// A root that no head names, which clients that look for roots follow all the same.
    async fn next_root(&mut self, view: &View) -> Result<(), Error> {
        let (store, app) = (&self.depot.inner.store, &view.name);
        let key = layout::metadata(app, &MetadataFile::Root(view.root.version + 1));
        // A rotation may have come to its end since the head was read.
        if store.stat(&key).await?.is_some()
            && let Ok(newest) = load::load(store, app, Some(view)).await
            && newest.root.version == view.root.version
        {
            self.problem(format!(
                "{key} is in the store, and the head of the app stops at root {}: the head is older than the rest; restore it \
                 from the same backup, or hand the same root in again",
                view.root.version
            ));
        }
        Ok(())
    }

    /// Follows what a release names.
    async fn release(&mut self, view: &View, release: &Release, blobs: &HashSet<Digest>) -> Result<(), Error> {
        let (digest, length) = (release.tree.digest, release.tree.length);
        let key = layout::tree(&view.name, digest);
        let Some((packed, _)) = self.depot.inner.store.read(&key, TREE_LEN_MAX).await? else {
            self.problem(format!("{key}, the tree of release {}, is missing", release.name()));
            return Ok(());
        };
        // A damaged one was named when it was read.
        let Ok((tree, _)) = blocking(move || unpack(&packed, digest, length)).await? else { return Ok(()) };
        let files: BTreeMap<Digest, &RelPath> = tree.files().map(|file| (file.digest, file.path)).collect();
        for (digest, path) in files.into_iter().filter(|(digest, _)| !blobs.contains(digest)) {
            self.problem(format!(
                "app {}: blob {digest}, the file '{path}' of release {}, is missing or damaged",
                view.name,
                release.name()
            ));
        }
        Ok(())
    }
}

/// What is wrong with a metadata file, by its name alone; what is current was verified with its signatures.
fn metadata_problem(name: &str, bytes: &Bytes) -> Option<String> {
    let envelope = match Envelope::parse(bytes, METADATA_LEN_MAX) {
        Ok(envelope) => envelope,
        Err(error) => return Some(error.to_string()),
    };
    let named: Option<u64> = name.split('.').next().and_then(|text| text.parse().ok());
    let found = envelope.content::<serde_json::Value>().ok()?.get("version")?.as_u64();
    (named != found).then(|| "it is of another version than its name says".to_owned())
}

/// An object as a blocking reader, for a thread that may wait.
struct Reader {
    object: Object,
    at: u64,
    piece: Bytes,
    runtime: Handle,
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.piece.is_empty() {
            let read = self.object.read_at(self.at, READ_LEN);
            self.piece = self.runtime.block_on(read).map_err(io::Error::other)?;
            self.at += self.piece.len() as u64;
        }
        let len = buffer.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut buffer[..len]);
        Ok(len)
    }
}
