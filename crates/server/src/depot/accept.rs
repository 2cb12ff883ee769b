//! Publishing: new targets, with everything that they need, in one commit.
//!
//! [`plan`] decides, from what is live and what was submitted, without touching the store. It refuses whatever a device
//! would refuse, and whatever would let a release or a channel go backwards.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use updraft_core::Timestamp;
use updraft_core::api;
use updraft_core::channel::{By, Channel, Moment, Salt};
use updraft_core::digest::Sha256;
use updraft_core::layout::{self, Key};
use updraft_core::limits::{CHANNELS_MAX, LIVE_RELEASES_MAX, METADATA_LEN_MAX};
use updraft_core::name::{AppName, ChannelName};
use updraft_core::release::{self, Release, ReleaseName, Terms};
use updraft_core::signed::Envelope;
use updraft_core::trust::{MetadataFile, Role, Root, TargetFile, Targets};

use super::channel::{self, verb_of};
use super::commit::{Change, Outcome, TRIES};
use super::rotate;
use super::sign::File;
use super::slot::Slot;
use super::verify::{self, Expiry};
use super::{Depot, Error, View, detached};

/// What a submission comes to.
#[derive(Debug)]
struct Plan {
    change: Change,
    /// The releases whose trees and blobs have to be there.
    new: Vec<Release>,
}

impl Depot {
    /// Publishes: all of it appears at once, or none of it. What is live already is success.
    ///
    /// # Errors
    /// [`Error::Conflict`] when the base moved; [`Error::NotNewer`], [`Error::Refused`] or [`Error::Missing`] when it may
    /// not be published, or not yet.
    pub async fn accept(&self, app: &AppName, new: &api::NewTargets, now: Timestamp) -> Result<api::Committed, Error> {
        let (depot, slot, new) = (self.clone(), self.slot(app)?, new.clone());
        detached(async move {
            let _turn = slot.turn.lock().await;
            let _keep = slot.keep.read().await;
            depot.accept_in_turn(&slot, &new, now).await
        })
        .await
    }

    async fn accept_in_turn(
        &self,
        slot: &Slot,
        new: &api::NewTargets,
        now: Timestamp,
    ) -> Result<api::Committed, Error> {
        let mut view = self.newest_in_turn(slot).await?;
        for _ in 0..TRIES {
            if is_live(&view, new) {
                return match &new.promote {
                    None => Ok(view.committed()),
                    Some(promotion) => self.promote_in_turn(slot, promotion, now).await,
                };
            }
            let plan = plan(&view, new, now)?;
            let mut missing = Vec::new();
            for release in &plan.new {
                missing.extend(self.missing_of(&slot.name, release).await?);
            }
            if !missing.is_empty() {
                return Err(Error::missing(&missing));
            }
            match self.commit(slot, &view, plan.change, now).await? {
                Outcome::Done(view) => return Ok(view.committed()),
                // Whether the base moved, or only the server's own part of the head, the next round finds out.
                Outcome::Lost => view = self.load_in_turn(slot).await?,
            }
        }
        Err(Error::Conflict(format!("app {}: it changes too fast to publish to; try again", slot.name)))
    }
}

/// Whether these targets were committed already, by a try whose answer was lost.
fn is_live(view: &View, new: &api::NewTargets) -> bool {
    let key = layout::metadata(&view.name, &MetadataFile::Versioned(Role::Targets, view.targets.version));
    view.metadata.get(&key).is_some_and(|bytes| bytes == new.targets.as_bytes())
}

/// Decides what `new` comes to on top of `view`.
fn plan(view: &View, new: &api::NewTargets, now: Timestamp) -> Result<Plan, Error> {
    // First: whoever lost a race against a rotation is to read the app again, not to be told that its key is wrong.
    if new.base != view.targets.version {
        return Err(Error::Conflict(format!(
            "app {}: targets is at version {}, this was made from version {}; read it again and sign again",
            view.name, view.targets.version, new.base
        )));
    }
    let (targets, file) = believe(view, new, now)?;
    let (releases, documents) = releases(view, &targets, new)?;
    let channels = channels(view, &releases, new, now)?;
    let is_new = |(path, _): &(&String, &Release)| !view.releases.contains_key(*path);
    let new = releases.iter().filter(is_new).map(|(_, release)| release.clone()).collect();
    let expiry = Expiry::Checked(now);
    Ok(Plan { change: Change { targets: Some(file), releases, documents, channels, expiry }, new })
}

/// The targets that were submitted, if a device would believe them next.
fn believe(view: &View, new: &api::NewTargets, now: Timestamp) -> Result<(Targets, File), Error> {
    let refused = |reason: String| Error::Refused(format!("app {}: {reason}", view.name));
    let bytes = Bytes::from(new.targets.clone());
    let envelope = Envelope::parse(&bytes, METADATA_LEN_MAX).map_err(|e| refused(format!("targets: {e}")))?;
    let is_signed_for = |root: &Root| verify::check_signatures(&envelope, root, &Role::Targets);
    is_signed_for(&view.root).map_err(|e| {
        let newest = view.root.version;
        refused(match rotate::roots(view).skip(1).find(|root| is_signed_for(root).is_ok()) {
            Some(root) => format!(
                "targets: the keys have changed: it is signed as root {} says, and root {newest} counts now ({e}); sign with the \
                 keys that root {newest} names",
                root.version
            ),
            None => format!("targets: {e}; sign with the key that root {newest} names for targets"),
        })
    })?;
    if envelope.role_type() != Some("targets") {
        return Err(refused("targets: it is metadata of another role".into()));
    }
    let targets: Targets = envelope.content().map_err(|e| refused(format!("targets: {e}")))?;
    for (role, expires) in [("root", view.root.expires.at()), ("targets", targets.expires.at())] {
        if expires <= now {
            return Err(refused(format!("{role}: expired at {expires}; devices no longer believe it, sign a new one")));
        }
    }
    if targets.delegations != view.targets.delegations {
        return Err(refused("targets: it delegates to other keys than before; a publish may not change that".into()));
    }
    let file = File { version: targets.version, bytes };
    if targets.version <= view.targets.version {
        return Err(Error::Conflict(format!(
            "app {}: targets is at version {}; version {} is not newer, read it again and sign again",
            view.name, view.targets.version, targets.version
        )));
    }
    verify::check_step(view.targets.version, targets.version).map_err(refused)?;
    Ok((targets, file))
}

/// The live releases after it by target path, and the documents that are new.
type Releases = (BTreeMap<String, Release>, Vec<(Key, Bytes)>);

fn releases(view: &View, targets: &Targets, new: &api::NewTargets) -> Result<Releases, Error> {
    let refused = |reason: String| Error::Refused(format!("app {}: {reason}", view.name));
    if targets.targets.len() > LIVE_RELEASES_MAX {
        return Err(refused(format!(
            "targets: {} live releases; {LIVE_RELEASES_MAX} are allowed",
            targets.targets.len()
        )));
    }
    let mut submitted: BTreeMap<Sha256, &str> =
        new.documents.iter().map(|text| (Sha256::of(text.as_bytes()), text.as_str())).collect();
    let (mut releases, mut documents, mut names) = (BTreeMap::new(), Vec::new(), BTreeSet::new());
    for (path, file) in &targets.targets {
        let name = ReleaseName::from_target_path(path)
            .ok_or_else(|| refused(format!("targets: '{path}' is not where a release lies")))?;
        let is_twice = !names.insert(name.clone());
        if let Some(release) = unchanged(view, path, file, &name)? {
            // How it was listed before is no fault of this publish: older publishers listed no terms.
            if terms_in(file) != view.targets.targets.get(path).and_then(terms_in) {
                lists_its_terms(view, file, &release)?;
            }
            releases.insert(path.clone(), release);
            continue;
        }
        newer(view, &name)?;
        if is_twice {
            return Err(refused(format!("targets: {name} is listed twice, written in two ways")));
        }
        let sha256 = file.hashes.sha256.ok_or_else(|| refused(format!("targets: '{path}' has no SHA-256")))?;
        let text = submitted
            .remove(&sha256)
            .ok_or_else(|| refused(format!("the document of release {name} was not submitted with it")))?;
        if !file.matches(text.as_bytes()) {
            return Err(refused(format!("release {name}: its document has another length than targets says")));
        }
        let release = Release::decode(text.as_bytes(), &view.name, &name).map_err(|e| refused(e.to_string()))?;
        lists_its_terms(view, file, &release)?;
        documents.push((layout::release(&view.name, &name, sha256), Bytes::from(text.to_owned())));
        releases.insert(path.clone(), release);
    }
    let live = live(&releases);
    for (path, release) in releases.iter().filter(|(path, _)| !view.releases.contains_key(*path)) {
        release.terms.check_stones(&release.name(), &live).map_err(|e| refused(format!("'{path}': {e}")))?;
    }
    Ok((releases, documents))
}

fn live(releases: &BTreeMap<String, Release>) -> release::Live {
    releases.values().map(|release| (release.name(), release.terms.clone())).collect()
}

/// Devices go by the terms in the list before they see a document: both say the same, or devices would be led in vain.
fn lists_its_terms(view: &View, file: &TargetFile, release: &Release) -> Result<(), Error> {
    let listed = Terms::from_custom(file.custom.as_ref());
    if listed.as_ref().is_ok_and(|listed| *listed == release.terms) {
        return Ok(());
    }
    Err(Error::Refused(format!(
        "app {}: targets: release {} is listed with other terms than its document has; publish with a newer updraft",
        view.name,
        release.name()
    )))
}

fn terms_in(file: &TargetFile) -> Option<&serde_json::Value> {
    file.custom.as_ref()?.get("terms")
}

/// The release at `path`, if it is live already with the same content.
fn unchanged(view: &View, path: &str, file: &TargetFile, name: &ReleaseName) -> Result<Option<Release>, Error> {
    let (Some(old), Some(release)) = (view.targets.targets.get(path), view.releases.get(path)) else { return Ok(None) };
    if (old.length, &old.hashes) == (file.length, &file.hashes) {
        return Ok(Some(release.clone()));
    }
    Err(Error::NotNewer(format!(
        "app {}: release {name} exists already with other content; publish it under a newer version",
        view.name
    )))
}

/// Refuses a version that exists already, or that no channel could ever be promoted to: one that is not newer than what
/// every channel has on its platform. (A hotfix of the stable line may well be older than the beta.)
fn newer(view: &View, name: &ReleaseName) -> Result<(), Error> {
    let fail =
        |reason: String| Err(Error::NotNewer(format!("app {}: {reason}; publish it under a newer version", view.name)));
    if let Some(there) = view.release(name) {
        return fail(format!("release {name} exists already, as {}", there.version));
    }
    let current =
        |(channel, document): (_, &Channel)| Some((channel, document.platforms.get(&name.platform)?.current.clone()));
    match view.channels.iter().filter_map(current).min_by(|a, b| a.1.cmp(&b.1)) {
        Some((channel, current)) if current >= name.version => {
            fail(format!("release {name} is not newer than {current}, which channel {channel} has"))
        }
        _ => Ok(()),
    }
}

/// The channels after it, where they differ from those of now.
fn channels(
    view: &View,
    releases: &BTreeMap<String, Release>,
    new: &api::NewTargets,
    now: Timestamp,
) -> Result<Option<BTreeMap<ChannelName, Channel>>, Error> {
    let live = live(releases);
    let mut channels = view.channels.clone();
    if let Some(promotion) = &new.promote {
        // What everybody gets at once has no buckets, and needs no salt.
        let salt = Salt::from_bytes([0; 16]);
        let at = Moment { channel: &promotion.channel, live: &live, now, by: By::Person, salt };
        channels = channel::apply(&view.name, &channels, &verb_of(promotion), &at)?.unwrap_or(channels);
    }
    for (name, channel) in &mut channels {
        channel.retired.retain(|release| live.contains_key(release));
        if let Some(dropped) = channel.releases().find(|release| !live.contains_key(release)) {
            return Err(Error::Conflict(format!(
                "app {}: channel {name} names release {dropped}, which the new targets drop; read it again and sign again",
                view.name
            )));
        }
    }
    if channels.len() > CHANNELS_MAX {
        return Err(Error::Refused(format!("app {}: it would have more than {CHANNELS_MAX} channels", view.name)));
    }
    Ok((channels != view.channels).then_some(channels))
}
