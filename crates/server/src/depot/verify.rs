//! What a device would believe: `core::trust`, run over metadata that is in memory.
//!
//! The server has no opinion of its own on signatures, versions and expiry. It shows what it has, or is about to have, to
//! the very code that runs on devices, and goes by the answer.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use bytes::Bytes;
use updraft_core::Timestamp;
use updraft_core::channel::Channel;
use updraft_core::head::Head;
use updraft_core::key::PublicKey;
use updraft_core::layout::{self, Key};
use updraft_core::name::{AppName, ChannelName};
use updraft_core::signed::Envelope;
use updraft_core::trust::{
    Cache, MetadataFile, RefreshError, Role, Root, Snapshot, Source, Targets, TimestampMeta, refresh,
};

use super::View;

/// Whether metadata whose time is over may be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expiry {
    /// No: this is the time.
    Checked(Timestamp),
    /// Yes: for what was believed once, and for renewing the server's part while the publisher's has expired.
    Ignored,
}

/// The content of metadata that was believed.
#[derive(Debug)]
pub(super) struct Believed {
    pub(super) root: Root,
    pub(super) timestamp: TimestampMeta,
    pub(super) snapshot: Snapshot,
    pub(super) targets: Targets,
    pub(super) channels_role: Targets,
    pub(super) channels: BTreeMap<ChannelName, Channel>,
}

/// Shows `head` and `metadata` to a device that pinned `first_root` and last saw `before`.
///
/// # Errors
/// Why the device does not believe them, as a sentence.
pub(super) fn as_device(
    app: &AppName,
    first_root: &[u8],
    head: &Head,
    metadata: &BTreeMap<Key, Bytes>,
    before: Option<&View>,
    expiry: Expiry,
) -> Result<Believed, String> {
    let now = match expiry {
        Expiry::Checked(now) => now,
        // Before this moment nothing had expired yet.
        Expiry::Ignored => Timestamp::MIN,
    };
    let mut source = InMemory { app, head, metadata };
    let refreshed = match refresh(first_root, now, &mut source, &mut Remembered::of(before)) {
        Ok(refreshed) => refreshed,
        Err(RefreshError::Trust(error)) => return Err(error.to_string()),
        Err(error @ RefreshError::Missing(_)) => return Err(error.to_string()),
        Err(RefreshError::Source(never) | RefreshError::Cache(never)) => match never {},
    };
    let trusted = refreshed.trusted;
    let (Some(timestamp), Some(snapshot), Some(targets)) =
        (trusted.timestamp(), trusted.snapshot(), trusted.targets(&Role::Targets))
    else {
        return Err("a role is missing".to_owned());
    };
    let Some(channels_role) = trusted.targets(&Role::channels()) else {
        return Err("targets does not delegate to the role channels".to_owned());
    };
    if trusted.root().version != head.root {
        return Err(format!("the newest root is version {}, the head names {}", trusted.root().version, head.root));
    }
    Ok(Believed {
        root: trusted.root().clone(),
        timestamp: timestamp.clone(),
        snapshot: snapshot.clone(),
        targets: targets.clone(),
        channels: channels_of(channels_role)?,
        channels_role: channels_role.clone(),
    })
}

/// The channel documents that the role `channels` carries.
fn channels_of(role: &Targets) -> Result<BTreeMap<ChannelName, Channel>, String> {
    let mut channels = BTreeMap::new();
    for (path, file) in &role.targets {
        let fail = |reason: &dyn std::fmt::Display| format!("target '{path}' of channels: {reason}");
        let name = path.strip_prefix("channels/").ok_or_else(|| fail(&"it is no channel"))?;
        let name: ChannelName = name.parse().map_err(|e| fail(&e))?;
        let custom = file.custom.clone().ok_or_else(|| fail(&"it carries no channel document"))?;
        let channel: Channel = serde_json::from_value(custom).map_err(|e| fail(&e))?;
        if channel.format != 1 {
            return Err(fail(&format_args!("format {} is newer than this program: update it", channel.format)));
        }
        channels.insert(name, channel);
    }
    Ok(channels)
}

/// The key that `root` names for the server's roles: one, the same for timestamp and snapshot, and alone sufficient.
pub(super) fn online_key(root: &Root) -> Option<&PublicKey> {
    let named = |role: Role| {
        let keys = root.roles.get(role.name()).filter(|keys| keys.threshold == 1)?;
        let [id] = &keys.keyids[..] else { return None };
        root.keys.get(id)
    };
    named(Role::Timestamp).filter(|key| named(Role::Snapshot) == Some(key))
}

/// Checks that `root` gives the online key its roles, and no more than those.
///
/// # Errors
/// What is wrong, as a sentence.
pub(super) fn check_root_keys(root: &Root, online: &PublicKey) -> Result<(), String> {
    if online_key(root) != Some(online) {
        return Err(format!(
            "root: roles timestamp and snapshot must be signed by this app's online key {}, and by no other",
            online.fingerprint()
        ));
    }
    check_offline_keys(root, &online.key_bytes().into_iter().collect())
}

/// Checks that `root` lets none of the server's keys, given by their bytes, sign for the publisher's roles.
///
/// # Errors
/// What is wrong, as a sentence.
pub(super) fn check_offline_keys(root: &Root, servers: &BTreeSet<Vec<u8>>) -> Result<(), String> {
    for role in [Role::Root, Role::Targets] {
        let keys = root.roles.get(role.name()).into_iter().flat_map(|role| &role.keyids);
        let is_servers = |key: &&PublicKey| key.key_bytes().is_some_and(|bytes| servers.contains(&bytes));
        if let Some(key) = keys.filter_map(|id| root.keys.get(id)).find(is_servers) {
            return Err(format!(
                "root: role {role} may not be signed by the online key {}, which is the server's",
                key.fingerprint()
            ));
        }
    }
    Ok(())
}

/// Whether enough of the keys that `root` names for `role` signed this.
///
/// # Errors
/// Why not, as half a sentence.
pub(super) fn check_signatures(envelope: &Envelope, root: &Root, role: &Role) -> Result<(), String> {
    let signers = root.roles.get(role.name()).ok_or_else(|| format!("root {} names no keys for it", root.version))?;
    envelope.verify(&root.keys, signers).map_err(|e| e.to_string())
}

/// Checks that `targets` delegates `channels/*` to the online key, and nothing to anybody else.
///
/// # Errors
/// What is wrong, as a sentence.
pub(super) fn check_delegation(targets: &Targets, online: &PublicKey) -> Result<(), String> {
    let wanted = Targets::new(1, Timestamp::UNIX_EPOCH).with_channels_role(online).delegations;
    if targets.delegations == wanted {
        return Ok(());
    }
    Err(format!(
        "targets: it must delegate channels/* to this app's online key {}, terminating, and nothing else to anybody",
        online.fingerprint()
    ))
}

/// How far the version of targets may be from the one before. Publishers skip those that a publish left which did not
/// come to its end: a few at most. Whoever stole their key would jump to the last version that there is.
pub(super) const TARGETS_STEP_MAX: u64 = 1_000_000;

/// Checks that after `version` of targets, which follows `before`, there is room for all that are to come.
///
/// # Errors
/// What is wrong, as a sentence.
pub(super) fn check_step(before: u64, version: u64) -> Result<(), String> {
    if version.saturating_sub(before) <= TARGETS_STEP_MAX {
        return Ok(());
    }
    Err(format!(
        "targets: version {version} leaves no room for later ones; sign it as the next version, {}",
        before + 1
    ))
}

struct InMemory<'a> {
    app: &'a AppName,
    head: &'a Head,
    metadata: &'a BTreeMap<Key, Bytes>,
}

impl Source for InMemory<'_> {
    type Error = Infallible;

    fn head(&mut self) -> Result<Option<Head>, Infallible> {
        Ok(Some(self.head.clone()))
    }

    fn fetch(&mut self, file: &MetadataFile, _max: u64) -> Result<Option<Vec<u8>>, Infallible> {
        // Lengths are checked by whoever believes.
        Ok(self.metadata.get(&layout::metadata(self.app, file)).map(|bytes| bytes.to_vec()))
    }
}

/// What a device remembers that last saw this view.
struct Remembered<'a> {
    before: Option<&'a View>,
    /// What it was told to forget: keys were replaced (TUF 5.3.11).
    forgotten: BTreeSet<Role>,
}

impl<'a> Remembered<'a> {
    fn of(before: Option<&'a View>) -> Self {
        Self { before, forgotten: BTreeSet::new() }
    }
}

impl Cache for Remembered<'_> {
    type Error = Infallible;

    fn load(&mut self, role: &Role) -> Option<Vec<u8>> {
        let view = self.before.filter(|_| !self.forgotten.contains(role))?;
        match role {
            Role::Timestamp => Some(view.head.timestamp.clone()),
            Role::Snapshot => Some(view.head.snapshot.clone()),
            _ => None,
        }
    }

    fn store(&mut self, _role: &Role, _bytes: &[u8]) -> Result<(), Infallible> {
        Ok(())
    }

    fn forget(&mut self, role: &Role) -> Result<(), Infallible> {
        self.forgotten.insert(role.clone());
        Ok(())
    }
}
