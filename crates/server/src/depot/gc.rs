//! The collector: it condemns what nothing needs, waits for the grace, then deletes.
//!
//! What is needed is marked from the newest head: its metadata and every root, the documents of releases and channels,
//! their trees, and the blobs of those trees; the trees from which the next patches are made, with theirs; and patches that
//! lead to what is live, from where devices may still come. Only rooms that are known here are judged; anything else is kept. Where the
//! tree of a live release is lost or damaged, every blob of its app may be needed and is kept, until the tree is back.
//!
//! A publish may run at the same time. It asks what is missing, uploads, and is accepted; at each of these moments a
//! condemned object counts as missing, and uploading it again pardons it. Whoever counts on objects staying (an upload
//! that ends, a publish from its last look to its swap) shares `Slot::keep`; the collector acts only while it holds that
//! alone and the head is still the one it marked from. So no object is condemned or deleted under a publish that has
//! seen it; one that saw it earlier is told [`Error::Missing`] and sends it again. That holds within one process: of
//! several replicas of one bucket only one may collect.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use updraft_core::Timestamp;
use updraft_core::api::{GcReport, GcRequest};
use updraft_core::digest::Digest;
use updraft_core::layout::{self, Key};
use updraft_core::limits::TREE_LEN_MAX;
use updraft_core::name::AppName;
use updraft_core::release::ReleaseName;
use updraft_core::tree::stored::{Encoding, unpack, unpack_by_digest};

use super::commit::TRIES;
use super::presence::{self, mark};
use super::slot::Slot;
use super::{Depot, Error, View, blocking, create, detached, handover, patches, sign};

/// How many objects one listing names.
const PAGE: usize = 1_000;

/// How many objects are acted upon before publishers may go on.
const BATCH: usize = 64;

/// Largest mark, in bytes.
const MARK_LEN_MAX: u64 = 2_048;

/// A mark on a condemned object.
#[derive(Debug, Serialize, Deserialize)]
struct Condemned {
    /// Its key, for people.
    object: String,
    since: Timestamp,
}

/// What is to be done about one object.
#[derive(Debug)]
enum Action {
    /// Nothing needs it: mark it.
    Condemn(Key),
    /// It is needed again: take the mark away.
    Pardon(Key),
    /// What carried this mark is gone: take the mark away.
    Forget(Key),
    /// Its grace is over.
    Delete(Key, u64),
}

#[derive(Debug, Default)]
struct Plan {
    kept: u64,
    waiting: u64,
    actions: Vec<Action>,
}

impl Depot {
    /// Condemns what nothing needs, and deletes what was condemned longer ago than the grace.
    ///
    /// # Errors
    /// When what is needed cannot be known for certain: then nothing more is condemned or deleted.
    pub async fn gc(&self, request: GcRequest, now: Timestamp) -> Result<GcReport, Error> {
        let depot = self.clone();
        detached(async move {
            let _one = depot.inner.collecting.lock().await;
            let slots: Vec<_> = depot.inner.apps.load().values().cloned().collect();
            if let Some((app, reason)) = depot.broken().into_iter().next() {
                return Err(Error::broken(&app, reason));
            }
            let mut report = GcReport::default();
            for slot in slots.iter().filter(|slot| slot.view().is_some()) {
                depot.collect(slot, request, now, &mut report).await?;
            }
            if !request.dry_run {
                depot.forget_records(create::RECORDS, Timestamp::MAX).await?;
                // Another process may be about to announce what it has just written down.
                depot.forget_records(handover::RECORDS, depot.grace_over(now)).await?;
                let store = depot.inner.store.clone();
                blocking(move || store.expire_partials(now)).await??;
            }
            Ok(report)
        })
        .await
    }

    /// Collects one app, beginning again when it changes meanwhile.
    async fn collect(
        &self,
        slot: &Slot,
        request: GcRequest,
        now: Timestamp,
        report: &mut GcReport,
    ) -> Result<(), Error> {
        for _ in 0..TRIES {
            let view = {
                let _turn = slot.turn.lock().await;
                self.newest_in_turn(slot).await?
            };
            let plan = self.survey(slot, &view, now).await?;
            let (kept, waiting) = (plan.kept, plan.waiting);
            let done = request.dry_run || self.carry_out(slot, &view, &plan.actions, now, report).await?;
            if done {
                if request.dry_run {
                    plan.actions.iter().for_each(|action| count(action, report));
                }
                report.kept += kept;
                report.waiting += waiting;
                return Ok(());
            }
        }
        Err(Error::Conflict(format!(
            "app {}: it changes too fast to collect; try again when less is published",
            slot.name
        )))
    }

    /// Looks at every object of the app, and decides.
    async fn survey(&self, slot: &Slot, view: &View, now: Timestamp) -> Result<Plan, Error> {
        let (store, app) = (&self.inner.store, &view.name);
        let needed = self.needed(view, self.kept_patches(slot, view, now).await?).await?;
        let grace_over = self.grace_over(now);
        let mut marked = self.marked(app).await?;
        let mut plan = Plan::default();
        let (prefix, mut after) = (layout::app_prefix(app), None);
        loop {
            let page = store.list(&prefix, after.as_ref(), PAGE).await?;
            for (key, meta) in &page {
                let is_marked = marked.remove(&mark(key));
                if needed.has(app, key) {
                    plan.kept += 1;
                    plan.actions.extend(is_marked.then(|| Action::Pardon(key.clone())));
                } else if !is_marked {
                    plan.actions.push(Action::Condemn(key.clone()));
                } else {
                    match self.condemned_since(key).await? {
                        Some(since) if since <= grace_over => plan.actions.push(Action::Delete(key.clone(), meta.size)),
                        Some(_) => plan.waiting += 1,
                        None => plan.actions.push(Action::Condemn(key.clone())),
                    }
                }
            }
            match page.last() {
                Some((last, _)) if page.len() == PAGE => after = Some(last.clone()),
                _ => break,
            }
        }
        plan.actions.extend(marked.into_iter().map(Action::Forget));
        Ok(plan)
    }

    /// The marks on objects of `app`.
    async fn marked(&self, app: &AppName) -> Result<BTreeSet<Key>, Error> {
        let (prefix, mut after) = (presence::marks(app), None);
        let mut marked = BTreeSet::new();
        loop {
            let page = self.inner.store.list(prefix.as_str(), after.as_ref(), PAGE).await?;
            let is_last = page.len() < PAGE;
            marked.extend(page.into_iter().map(|(key, _)| key));
            if is_last {
                return Ok(marked);
            }
            after = marked.last().cloned();
        }
    }

    async fn condemned_since(&self, key: &Key) -> Result<Option<Timestamp>, Error> {
        let mark = self.inner.store.read(&mark(key), MARK_LEN_MAX).await?;
        let condemned = mark.and_then(|(bytes, _)| serde_json::from_slice::<Condemned>(&bytes).ok());
        Ok(condemned.map(|condemned| condemned.since))
    }

    /// Does what was decided from `view`, as long as that is the newest; whether all of it was done.
    async fn carry_out(
        &self,
        slot: &Slot,
        view: &Arc<View>,
        actions: &[Action],
        now: Timestamp,
        report: &mut GcReport,
    ) -> Result<bool, Error> {
        for batch in actions.chunks(BATCH) {
            let _alone = slot.keep.write().await;
            if slot.view().is_none_or(|newest| newest.head.generation != view.head.generation) {
                return Ok(false);
            }
            for action in batch {
                if self.act(action, now).await? {
                    count(action, report);
                    if let Action::Delete(key, _) = action
                        && let Some(pair) = patches::pair_of(&slot.name, key)
                    {
                        self.forget_patch(slot, pair).await?;
                    }
                }
            }
        }
        Ok(true)
    }

    /// When what is to be deleted at `now` was condemned, at the latest.
    fn grace_over(&self, now: Timestamp) -> Timestamp {
        sign::later(now, -self.inner.options.gc_grace_secs)
    }

    /// Does one thing, unless it need not be done any more; whether it was done.
    async fn act(&self, action: &Action, now: Timestamp) -> Result<bool, Error> {
        let store = &self.inner.store;
        match action {
            Action::Condemn(key) => {
                let condemned = Condemned { object: key.to_string(), since: now };
                let bytes = serde_json::to_vec(&condemned).expect("a key and a date are plain JSON");
                store.put(&mark(key), bytes.into()).await?;
            }
            Action::Pardon(key) => store.delete(&mark(key)).await?,
            Action::Forget(mark) => store.delete(mark).await?,
            Action::Delete(key, _) => {
                if self.condemned_since(key).await?.is_none_or(|since| since > self.grace_over(now)) {
                    // Somebody has uploaded it again since it was looked at.
                    return Ok(false);
                }
                presence::remove(store, key).await?;
            }
        }
        Ok(true)
    }

    /// Everything that the head of `view` leads to, and what patches are made from.
    async fn needed(&self, view: &View, patches: patches::Needed) -> Result<Needed, Error> {
        let app = &view.name;
        let keys = view.metadata.keys().cloned().collect();
        let mut needed = Needed { keys, blobs: HashSet::new(), every_blob: false, patches };
        needed.keys.extend([layout::head(app), layout::first_root(app)]);
        for (path, file) in &view.targets.targets {
            let name = ReleaseName::from_target_path(path).zip(file.hashes.sha256);
            needed.keys.extend(name.map(|(name, sha256)| layout::release(app, &name, sha256)));
        }
        for (name, channel) in &view.channels {
            let (_, bytes) = sign::document(channel);
            needed.keys.insert(layout::channel(app, name, updraft_core::digest::Sha256::of(&bytes)));
        }
        for release in view.releases.values() {
            let (digest, length) = (release.tree.digest, release.tree.length);
            let key = layout::tree(app, digest);
            if !needed.keys.insert(key.clone()) {
                continue;
            }
            let tree = match self.inner.store.read(&key, TREE_LEN_MAX).await? {
                Some((packed, _)) => {
                    blocking(move || unpack(&packed, digest, length)).await?.map_err(|e| e.to_string())
                }
                None => Err("it is missing".to_owned()),
            };
            match tree {
                Ok((tree, _)) => needed.blobs.extend(tree.blobs().into_keys()),
                Err(reason) => {
                    tracing::error!(
                        %app, release = %release.name(), tree = %key, %reason,
                        "this release is damaged: no blob of its app is collected until it is published again"
                    );
                    needed.every_blob = true;
                }
            }
        }
        for digest in needed.patches.sources.clone() {
            let key = layout::tree(app, digest);
            if needed.keys.contains(&key) {
                continue;
            }
            let Some((packed, _)) = self.inner.store.read(&key, TREE_LEN_MAX).await? else { continue };
            // No release needs it: where it is damaged, there will be no patch from it, and that is all.
            if let Ok((tree, _)) = blocking(move || unpack_by_digest(&packed, digest)).await? {
                needed.keys.insert(key);
                needed.blobs.extend(tree.blobs().into_keys());
            }
        }
        Ok(needed)
    }

    /// Removes the records in this room, of creations or rotations, that nobody needs any more: written before `until`,
    /// and of an app that can be read, for to read it is to finish what its head began.
    async fn forget_records(&self, room: &str, until: Timestamp) -> Result<(), Error> {
        let prefix = layout::private(room, "");
        for (key, meta) in self.inner.store.list(prefix.as_str(), None, PAGE).await? {
            let name = layout::private_name(&key, room).unwrap_or_default();
            let Ok(app) = name.split(' ').next().unwrap_or_default().parse::<AppName>() else { continue };
            if meta.modified > until {
                continue;
            }
            let slot = self.slot_or_new(&app);
            // Nobody in this process creates or changes this app now.
            let _turn = slot.turn.lock().await;
            if let Ok(_) | Err(Error::NotFound(_)) = self.load_in_turn(&slot).await {
                self.inner.store.delete(&key).await?;
            }
        }
        Ok(())
    }
}

fn count(action: &Action, report: &mut GcReport) {
    match action {
        Action::Condemn(_) => report.condemned += 1,
        Action::Pardon(_) => report.pardoned += 1,
        Action::Forget(_) => {}
        Action::Delete(_, size) => {
            report.deleted += 1;
            report.deleted_bytes += size;
        }
    }
}

/// What the newest head leads to.
struct Needed {
    keys: BTreeSet<Key>,
    blobs: HashSet<Digest>,
    /// A live tree cannot be read, so any blob may be one of its own.
    every_blob: bool,
    patches: patches::Needed,
}

impl Needed {
    /// Whether the object at `key` has to stay.
    fn has(&self, app: &AppName, key: &Key) -> bool {
        if self.keys.contains(key) {
            return true;
        }
        let rest = key.as_str().strip_prefix(&layout::app_prefix(app)).unwrap_or_default();
        match rest.split_once('/') {
            Some(("blobs", _)) => {
                self.every_blob || blob_of(app, key).is_none_or(|(digest, _)| self.blobs.contains(&digest))
            }
            // Devices walk the roots one by one, however old the one is that they pinned.
            Some(("tuf", file)) => file.ends_with(".root.json"),
            Some(("patches", _)) => patches::pair_of(app, key).is_none_or(|pair| self.patches.has(&pair)),
            Some(("targets" | "trees", _)) => false,
            _ => true,
        }
    }
}

/// The blob that lies at `key`, if one does.
pub(super) fn blob_of(app: &AppName, key: &Key) -> Option<(Digest, Encoding)> {
    let file = key.as_str().rsplit('/').next()?;
    let (text, encoding) = match file.strip_suffix(".zst") {
        Some(text) => (text, Encoding::Zstd),
        None => (file, Encoding::Raw),
    };
    let digest = text.parse().ok()?;
    (layout::blob(app, digest, encoding) == *key).then_some((digest, encoding))
}
