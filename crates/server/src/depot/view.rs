//! A view: everything that is live of one app at one moment, verified and in memory.
//!
//! Views are immutable. Whoever holds one sees one head and what belongs to it, however often the app changes meanwhile;
//! the requests of devices are answered from views alone.

use std::collections::BTreeMap;

use bytes::Bytes;
use updraft_core::Timestamp;
use updraft_core::api;
use updraft_core::channel::{Channel, Device, pick};
use updraft_core::digest::Sha256;
use updraft_core::head::Head;
use updraft_core::layout::Key;
use updraft_core::name::{AppName, ChannelName, Platform};
use updraft_core::release::{self, Release, ReleaseName};
use updraft_core::trust::{Root, Snapshot, Targets, TimestampMeta};

use super::verify::Believed;
use crate::store::Tag;

/// The state of one app at one moment.
#[derive(Debug)]
pub struct View {
    /// The app.
    pub name: AppName,
    /// Its head.
    pub head: Head,
    /// The exact bytes of the head.
    pub head_bytes: Bytes,
    /// The exact bytes of the first root: what a newcomer compares and pins.
    pub first_root: Bytes,
    /// SHA-256 of the first root.
    pub root_sha256: Sha256,
    /// The newest root.
    pub root: Root,
    /// The publisher's targets.
    pub targets: Targets,
    /// The channels, as the online role signed them.
    pub channels: BTreeMap<ChannelName, Channel>,
    /// The live releases, by target path.
    pub releases: BTreeMap<String, Release>,
    /// The exact bytes of every metadata file that is current: all roots, timestamp, snapshot, targets, channels.
    pub metadata: BTreeMap<Key, Bytes>,
    pub(super) tag: Tag,
    pub(super) timestamp: TimestampMeta,
    pub(super) snapshot: Snapshot,
    pub(super) channels_role: Targets,
}

/// The documents of a view.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) app: AppName,
    pub(super) metadata: BTreeMap<Key, Bytes>,
    pub(super) releases: BTreeMap<String, Release>,
}

impl View {
    /// The view of a head that is in the store under `tag`, and of what was believed on its account.
    pub(super) fn new(head: Head, first_root: Bytes, believed: Believed, live: Live, tag: Tag) -> Self {
        Self {
            name: live.app,
            head_bytes: head.encode().into(),
            head,
            root_sha256: Sha256::of(&first_root),
            first_root,
            root: believed.root,
            targets: believed.targets,
            channels: believed.channels,
            releases: live.releases,
            metadata: live.metadata,
            tag,
            timestamp: believed.timestamp,
            snapshot: believed.snapshot,
            channels_role: believed.channels_role,
        }
    }

    /// The release that a device of `platform` without the app gets from `channel`.
    pub fn current(&self, channel: &ChannelName, platform: &Platform) -> Option<&Release> {
        let device = Device::new(channel, platform, None);
        // Who has no id gets a candidate when it is settled. Until then it is not fully out, whatever the time is.
        let picked = pick(self.channels.get(channel)?, &self.live(), &device, Timestamp::MIN);
        self.release(&picked.take?)
    }

    /// The live releases with their terms, as [`pick`] wants them.
    pub fn live(&self) -> release::Live {
        self.releases.values().map(|release| (release.name(), release.terms.clone())).collect()
    }

    /// The live release of this name, if there is one. Versions that the order holds equal are the same.
    pub fn release(&self, name: &ReleaseName) -> Option<&Release> {
        let exact = self.releases.get(&name.target_path());
        exact.or_else(|| self.releases.values().find(|release| release.name() == *name))
    }

    /// Whether the publisher keeps this release though no channel points at it.
    pub fn is_pinned(&self, name: &ReleaseName) -> bool {
        let custom = self.targets.targets.get(&name.target_path()).and_then(|file| file.custom.as_ref());
        custom.and_then(|custom| custom.get("pinned")).is_some_and(|pinned| pinned == true)
    }

    /// When the metadata of each role expires, by role.
    pub fn expires(&self) -> BTreeMap<String, Timestamp> {
        let roles = [
            ("root", &self.root.expires),
            ("timestamp", &self.timestamp.expires),
            ("snapshot", &self.snapshot.expires),
            ("targets", &self.targets.expires),
            ("channels", &self.channels_role.expires),
        ];
        roles.into_iter().map(|(role, expires)| (role.to_owned(), expires.at())).collect()
    }

    /// The app, as lists tell of it.
    pub fn describe(&self) -> api::App {
        api::App {
            name: self.name.clone(),
            root_sha256: self.root_sha256,
            root_version: self.root.version,
            channels: self.channels.clone(),
            releases: self.releases.values().map(|release| self.describe_release(release)).collect(),
            expires: self.expires(),
        }
    }

    fn describe_release(&self, release: &Release) -> api::Release {
        let name = release.name();
        let standing = |channel: &Channel| {
            let stream = channel.platforms.get(&name.platform)?;
            if stream.current == name.version {
                Some(api::Standing::Current)
            } else if channel.candidate(&name).is_some() {
                Some(api::Standing::Candidate)
            } else {
                (stream.previous.as_ref() == Some(&name.version)).then_some(api::Standing::Previous)
            }
        };
        let on = self.channels.iter().filter_map(|(at, channel)| Some((at.clone(), standing(channel)?))).collect();
        api::Release {
            version: release.version.clone(),
            platform: release.platform.clone(),
            date: release.date,
            notes: release.notes.clone(),
            tree: release.tree.clone(),
            terms: release.terms.clone(),
            pinned: self.is_pinned(&name),
            on,
        }
    }

    /// What a caller whose change is in this view is told.
    pub(super) fn committed(&self) -> api::Committed {
        api::Committed { generation: self.head.generation, targets: self.targets.version }
    }
}
