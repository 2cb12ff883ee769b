//! Rotation: the next root, and with it other keys, in one commit.
//!
//! [`plan`] decides, from what is live and what was handed in, whether a device would follow and whether it may; it touches
//! no store. The keys of the publisher's roles are the publisher's business. The server's own roles stay with one key
//! of this server, the one of now or one that was made for this, and which releases are live does not change on the way.
//!
//! Devices go over at different moments. So wherever the old keys are at hand, a state that holds under both roots comes
//! first: targets signed for both, the server's roles signed by the old online key and the new one. The rest is
//! [`super::handover`]'s.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use updraft_core::Timestamp;
use updraft_core::api;
use updraft_core::head::Head;
use updraft_core::key::{PublicKey, SigningKey};
use updraft_core::layout::{self, Key};
use updraft_core::limits::{METADATA_LEN_MAX, ROOT_LEN_MAX, ROOT_ROTATIONS_MAX};
use updraft_core::name::AppName;
use updraft_core::signed::Envelope;
use updraft_core::trust::{self, MetadataFile, Role, Root, Targets, Trusted};

use super::commit::{self, Change, Outcome, TRIES, swap_head};
use super::handover::Handover;
use super::sign::{File, Numbering, Signer, is_used_up};
use super::slot::Slot;
use super::verify::{self, Expiry};
use super::{Depot, Error, View, blocking, detached};
use crate::store::Store;

/// How often what was announced is tried to be completed before it is left to whoever comes next.
const COMPLETIONS: usize = 3;

/// What a rotation comes to.
#[derive(Debug)]
struct Plan {
    root: Bytes,
    targets: Option<File>,
    /// The online key of the next root.
    online: PublicKey,
    /// Whether targets are signed well enough for the root of now, too.
    holds_for_both: bool,
}

impl Depot {
    /// Makes another online key for the app, another one each time: it signs once a root names it.
    ///
    /// # Errors
    /// When there is no such app, or the key directory cannot be used.
    pub async fn next_online_key(&self, app: &AppName) -> Result<PublicKey, Error> {
        let (depot, slot) = (self.clone(), self.slot(app)?);
        detached(async move {
            let _turn = slot.turn.lock().await;
            // Nothing is made for an app that is gone or cannot be read.
            depot.newest_in_turn(&slot).await?;
            let (keys, name) = (depot.inner.keys.clone(), slot.name.clone());
            Ok(blocking(move || keys.make_next(&name)).await??.public())
        })
        .await
    }

    /// Lets the next root count, and the targets that were handed in with it: both at once or neither. What counts already
    /// is success.
    ///
    /// # Errors
    /// [`Error::Conflict`] when the base moved or another root was first; [`Error::Refused`] when a device would not follow,
    /// or it would change more than keys; [`Error::NoKey`] never: a lost online key is what a rotation replaces.
    pub async fn rotate(&self, app: &AppName, next: &api::NextRoot, now: Timestamp) -> Result<api::Committed, Error> {
        let (depot, slot, next) = (self.clone(), self.slot(app)?, next.clone());
        detached(async move {
            let _turn = slot.turn.lock().await;
            let _keep = slot.keep.read().await;
            depot.rotate_in_turn(&slot, &next, now).await
        })
        .await
    }

    async fn rotate_in_turn(&self, slot: &Slot, next: &api::NextRoot, now: Timestamp) -> Result<api::Committed, Error> {
        let mut view = self.newest_in_turn(slot).await?;
        for _ in 0..TRIES {
            if counts(&self.inner.store, &view, next).await? {
                return Ok(view.committed());
            }
            let plan = plan(&view, next, now)?;
            match self.hand_over(slot, &view, plan, now).await? {
                Outcome::Done(view) => return Ok(view.committed()),
                // Whether the base moved, or only the server's own part of the head, the next round finds out.
                Outcome::Lost => view = self.load_in_turn(slot).await?,
            }
        }
        Err(Error::Conflict(format!("app {}: it changes too fast to rotate its keys; try again", slot.name)))
    }

    /// Makes `plan` true on top of `base`, all of it or nothing. The caller has the turn, and keeps the collector away.
    async fn hand_over(&self, slot: &Slot, base: &View, plan: Plan, now: Timestamp) -> Result<Outcome, Error> {
        let (app, store) = (&slot.name, &self.inner.store);
        let refused = |reason: String| Error::Refused(format!("app {app}: {reason}"));
        let root = layout::metadata(app, &MetadataFile::Root(base.root.version + 1));
        if store.read(&root, ROOT_LEN_MAX).await?.is_some_and(|(there, _)| there != plan.root) {
            return Err(refused(format!(
                "{root} is in the store already, though the head does not know it, and is another one; run `updraft fsck`"
            )));
        }
        let new = self.find_key(app, &plan.online).await?.ok_or_else(|| {
            refused(format!(
                "root: the key {} for timestamp and snapshot is not on this server; `updraft keys replace-online` asks it for \
                 one and lets the root name that",
                plan.online.fingerprint()
            ))
        })?;
        let (signer, holds_for_both) = self.signer(base, &plan, new, now).await?;
        let is_replaced = signer.numbering == Numbering::Anew;
        let change = Change {
            targets: plan.targets,
            channels: is_replaced.then(|| base.channels.clone()),
            ..Change::none(base, Expiry::Checked(now))
        };
        if signer.numbering == Numbering::Onward {
            commit::countable(base)?;
        }
        let files = self.write_files(base, &change, &signer).await?;

        // Whatever happens after this swap, the rotation takes place.
        let state = files.head(base, String::new());
        let handover = Handover::new(&plan.root, &state.timestamp, &state.snapshot);
        let (timestamp, snapshot) = if holds_for_both {
            (state.timestamp, state.snapshot)
        } else {
            (base.head.timestamp.clone(), base.head.snapshot.clone())
        };
        let mut announcing = Head { timestamp, snapshot, ..state };
        let mut metadata = commit::metadata(base, &files);
        let believed = |head: &Head, metadata: &_, expiry| {
            verify::as_device(app, &base.first_root, head, metadata, Some(base), expiry)
                .map_err(|reason| refused(format!("a device would refuse this: {reason}")))
        };
        if holds_for_both {
            // A root that has expired is a reason to rotate, not one against it.
            believed(&announcing, &metadata, Expiry::Ignored)?;
        }
        metadata.insert(root, plan.root);
        believed(&handover.head(&announcing), &metadata, Expiry::Checked(now))?;

        announcing.op_id = handover.put(store, app).await?;
        match swap_head(store, app, Some(&base.tag), &announcing).await {
            Ok(None) => Ok(Outcome::Lost),
            Ok(Some(_)) => self.complete_in_turn(slot).await.map(Outcome::Done),
            Err(error) => {
                // It may have come to be: devices are to see what the store says.
                if let Err(again) = self.load_in_turn(slot).await {
                    tracing::warn!(%app, error = %again, "after a rotation without an answer the app could not be read");
                }
                Err(error)
            }
        }
    }

    /// Who signs, and whether what is signed holds under the root of now as well.
    async fn signer(&self, base: &View, plan: &Plan, new: SigningKey, now: Timestamp) -> Result<(Signer, bool), Error> {
        let options = self.inner.options;
        let named = verify::online_key(&base.root);
        if named == Some(&plan.online) {
            let signer = Signer { keys: vec![new], numbering: Numbering::Onward, options, now };
            return Ok((signer, plan.holds_for_both));
        }
        let versions = [base.timestamp.version, base.snapshot.version, base.channels_role.version];
        let old = match named {
            // Devices under the root of now would not believe a version that is lower than the one before.
            Some(_) if versions.into_iter().any(is_used_up) => None,
            Some(named) => self.find_key(&base.name, named).await.unwrap_or_else(|error| {
                tracing::warn!(app = %base.name, %error, "the online key of before cannot be read: the next one signs alone");
                None
            }),
            None => None,
        };
        let holds_for_both = plan.holds_for_both && old.is_some();
        let keys = [Some(new), old.filter(|_| holds_for_both)].into_iter().flatten().collect();
        Ok((Signer { keys, numbering: Numbering::Anew, options, now }, holds_for_both))
    }

    /// Reads the app anew, which completes what was announced.
    async fn complete_in_turn(&self, slot: &Slot) -> Result<Arc<View>, Error> {
        let mut tries = 1;
        loop {
            match self.load_in_turn(slot).await {
                Ok(view) => return Ok(view),
                Err(error) if tries == COMPLETIONS => return Err(error),
                Err(error) => {
                    tracing::warn!(app = %slot.name, %error, "the rotation is announced and not yet complete")
                }
            }
            tries += 1;
        }
    }
}

/// Whether this was committed already, by a try whose answer was lost.
async fn counts(store: &Store, view: &View, next: &api::NextRoot) -> Result<bool, Error> {
    let key = |file: MetadataFile| layout::metadata(&view.name, &file);
    let has = |file, text: &str| view.metadata.get(&key(file)).is_some_and(|bytes| bytes == text.as_bytes());
    if !(1..=view.root.version).any(|version| has(MetadataFile::Root(version), &next.root)) {
        return Ok(false);
    }
    // With the root came its targets; others may have followed those.
    let Some(targets) = &next.targets else { return Ok(true) };
    match version_of(targets, METADATA_LEN_MAX) {
        Ok(version) if version < view.targets.version => {
            let there = store.read(&key(MetadataFile::Versioned(Role::Targets, version)), METADATA_LEN_MAX).await?;
            Ok(there.is_some_and(|(bytes, _)| bytes == targets.as_bytes()))
        }
        _ => Ok(has(MetadataFile::Versioned(Role::Targets, view.targets.version), targets)),
    }
}

/// Decides what `next` comes to on top of `view`.
fn plan(view: &View, next: &api::NextRoot, now: Timestamp) -> Result<Plan, Error> {
    if next.base != view.targets.version {
        return Err(Error::Conflict(format!(
            "app {}: targets is at version {}, this was made from version {}; read it again and sign again",
            view.name, view.targets.version, next.base
        )));
    }
    let root = follow(view, &next.root, now)?;
    let online = server_key(view, &root)?;
    let (targets, holds_for_both) = targets(view, &root, &online, next.targets.as_deref(), now)?;
    Ok(Plan { root: Bytes::from(next.root.clone()), targets, online, holds_for_both })
}

/// The next root, if a device that has the one of now follows it.
fn follow(view: &View, text: &str, now: Timestamp) -> Result<Root, Error> {
    let refused = |reason: String| Error::Refused(format!("app {}: {reason}", view.name));
    let newest = view.root.version;
    let version = version_of(text, ROOT_LEN_MAX).map_err(|reason| refused(format!("root: {reason}")))?;
    if version <= newest {
        return Err(Error::Conflict(format!(
            "app {}: root is at version {newest} and this is another version {version}; read it again, and make version {} \
             from it",
            view.name,
            newest + 1
        )));
    }
    if version > ROOT_ROTATIONS_MAX {
        return Err(refused(format!(
            "root: version {version} is past the limit of {ROOT_ROTATIONS_MAX}, as far as a new device follows; create the \
             app anew under another name"
        )));
    }
    let would_refuse = |e: trust::Error| refused(format!("a device would refuse this: {e}"));
    let of_now = &view.metadata[&layout::metadata(&view.name, &MetadataFile::Root(newest))];
    let mut trusted = Trusted::new(of_now, now).map_err(would_refuse)?;
    trusted.update_root(text.as_bytes()).map_err(would_refuse)?;
    trusted.finish_root().map_err(would_refuse)?;
    Ok(trusted.root().clone())
}

/// The online key of the next root: the one of now, or one that no root has named yet.
fn server_key(view: &View, root: &Root) -> Result<PublicKey, Error> {
    let refused = |reason: String| Error::Refused(format!("app {}: {reason}", view.name));
    let used = online_keys(view);
    verify::check_offline_keys(root, &used).map_err(refused)?;
    let key = verify::online_key(root).ok_or_else(|| {
        refused(
            "root: roles timestamp and snapshot must be signed by one and the same online key of this server".into(),
        )
    })?;
    verify::check_root_keys(root, key).map_err(refused)?;
    let is_used = key.key_bytes().is_none_or(|bytes| used.contains(&bytes));
    if is_used && verify::online_key(&view.root) != Some(key) {
        return Err(refused(format!(
            "root: the online key {} was replaced by an earlier root, perhaps for a reason, and does not come back",
            key.fingerprint()
        )));
    }
    Ok(key.clone())
}

/// The new targets, if there are any, and whether those that will be live are signed for the root of now as well.
fn targets(
    view: &View,
    root: &Root,
    online: &PublicKey,
    text: Option<&str>,
    now: Timestamp,
) -> Result<(Option<File>, bool), Error> {
    let refused = |reason: String| Error::Refused(format!("app {}: targets: {reason}", view.name));
    let of_now = layout::metadata(&view.name, &MetadataFile::Versioned(Role::Targets, view.targets.version));
    let bytes = text.map_or_else(|| view.metadata[&of_now].clone(), |text| Bytes::from(text.to_owned()));
    let envelope = Envelope::parse(&bytes, METADATA_LEN_MAX).map_err(|e| refused(e.to_string()))?;
    let is_signed_for = |root: &Root| verify::check_signatures(&envelope, root, &Role::Targets);
    let remedy = match text {
        Some(_) => "sign it with the keys that the new root names",
        None => "hand in new targets, signed by the keys that the new root names",
    };
    is_signed_for(root).map_err(|reason| refused(format!("{reason}; {remedy}")))?;
    let holds_for_both = is_signed_for(&view.root).is_ok();
    if text.is_none() {
        verify::check_delegation(&view.targets, online).map_err(|_| {
            refused(format!("hand in new ones that delegate channels/* to the new online key {}", online.fingerprint()))
        })?;
        return Ok((None, holds_for_both));
    }
    if envelope.role_type() != Some("targets") {
        return Err(refused("it is metadata of another role".into()));
    }
    let targets: Targets = envelope.content().map_err(|e| refused(e.to_string()))?;
    if targets.expires.at() <= now {
        return Err(refused(format!("expired at {}; sign it for longer", targets.expires.at())));
    }
    verify::check_delegation(&targets, online).map_err(|e| Error::Refused(format!("app {}: {e}", view.name)))?;
    if targets.targets != view.targets.targets {
        return Err(refused(
            "other releases are live in it than before; a rotation changes keys only: publish before it or after it"
                .into(),
        ));
    }
    if targets.version <= view.targets.version {
        return Err(Error::Conflict(format!(
            "app {}: targets is at version {}; version {} is not newer, read it again and sign again",
            view.name, view.targets.version, targets.version
        )));
    }
    verify::check_step(view.targets.version, targets.version)
        .map_err(|e| Error::Refused(format!("app {}: {e}", view.name)))?;
    Ok((Some(File { version: targets.version, bytes }), holds_for_both))
}

/// The version that a document claims to have.
fn version_of(text: &str, max: u64) -> Result<u64, String> {
    let content = Envelope::parse(text.as_bytes(), max).and_then(|envelope| envelope.content::<serde_json::Value>());
    let content = content.map_err(|e| e.to_string())?;
    content.get("version").and_then(serde_json::Value::as_u64).ok_or_else(|| "it has no version".to_owned())
}

/// The bytes of every key that any root of the app has named for timestamp or snapshot.
fn online_keys(view: &View) -> BTreeSet<Vec<u8>> {
    let mut all = BTreeSet::new();
    for root in roots(view) {
        for role in [Role::Timestamp, Role::Snapshot] {
            let keyids = root.roles.get(role.name()).into_iter().flat_map(|keys| &keys.keyids);
            all.extend(keyids.filter_map(|id| root.keys.get(id)?.key_bytes()));
        }
    }
    all
}

/// Every root of the app, the newest first.
pub(super) fn roots(view: &View) -> impl Iterator<Item = Root> + '_ {
    let read = |key: &Key| Envelope::parse(view.metadata.get(key)?, ROOT_LEN_MAX).ok()?.content::<Root>().ok();
    (1..=view.root.version).rev().filter_map(move |n| read(&layout::metadata(&view.name, &MetadataFile::Root(n))))
}
