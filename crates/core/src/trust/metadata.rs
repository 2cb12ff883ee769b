//! The shapes of TUF's metadata (TUF 4), for reading and for writing.
//!
//! Fields that are not known here are ignored when read, as the specification asks; signatures are verified over the
//! bytes as they came, so nothing is lost by that.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::delegations::{DelegatedRole, Delegations};
use super::file::{Meta, TargetFile, present};
use crate::Timestamp;
use crate::key::{KeyId, PublicKey};
use crate::limits::{CHANNELS_MAX, LIVE_RELEASES_MAX};
use crate::signed::RoleKeys;

/// The version of the specification that is written.
pub(super) const SPEC_VERSION: &str = "1.0.34";

/// A role of an app's repository.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Names the keys of the other roles.
    Root,
    /// Says which snapshot is the newest.
    Timestamp,
    /// Says which versions of the targets roles belong together.
    Snapshot,
    /// The publisher's: which release documents exist.
    Targets,
    /// A role that another targets role delegates to, such as `channels`.
    Delegated(String),
}

impl Role {
    /// `channels`, the delegated role that the server signs.
    pub fn channels() -> Self {
        Self::Delegated("channels".to_owned())
    }

    /// Its name in metadata.
    pub fn name(&self) -> &str {
        match self {
            Self::Root => "root",
            Self::Timestamp => "timestamp",
            Self::Snapshot => "snapshot",
            Self::Targets => "targets",
            Self::Delegated(name) => name,
        }
    }

    /// The role of this name.
    pub fn from_name(name: &str) -> Self {
        match name {
            "root" => Self::Root,
            "timestamp" => Self::Timestamp,
            "snapshot" => Self::Snapshot,
            "targets" => Self::Targets,
            other => Self::Delegated(other.to_owned()),
        }
    }

    /// Its name in a snapshot: `NAME.json`.
    pub fn file_name(&self) -> String {
        format!("{}.json", self.name())
    }

    /// The role that a snapshot means by `NAME.json`.
    pub fn from_file_name(name: &str) -> Self {
        Self::from_name(name.strip_suffix(".json").unwrap_or(name))
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// When a metadata file's time is over, to the second (TUF 4.2.1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Expires {
    at: Timestamp,
}

impl Expires {
    /// At this moment, rounded down to the second.
    pub fn new(at: Timestamp) -> Self {
        let at = Timestamp::from_second(at.as_second()).expect("a timestamp without its fraction is one");
        Self { at }
    }

    /// The moment.
    pub fn at(&self) -> Timestamp {
        self.at
    }
}

impl TryFrom<String> for Expires {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        // TUF 4.2.1: YYYY-MM-DDTHH:MM:SSZ, and nothing else: no leap second, no other spelling of the same moment.
        let at = text.parse().ok().filter(|at: &Timestamp| at.to_string() == text);
        at.map(|at| Self { at }).ok_or_else(|| format!("'{text}' is not a date such as 2026-11-22T00:00:00Z"))
    }
}

impl From<Expires> for String {
    fn from(expires: Expires) -> String {
        expires.at.to_string()
    }
}

/// What the four kinds of metadata have in common.
pub(super) trait Content {
    /// Its `_type`.
    const TYPE: &'static str;
    /// What must hold of a well-formed one, signed or not.
    fn check(&self) -> Result<(), String>;
}

fn check_version(version: u64) -> Result<(), String> {
    if version == 0 { Err("its version is 0".to_owned()) } else { Ok(()) }
}

/// TUF 4.3: a reader must know the specification that a file was written to; its major version decides.
fn check_spec(spec_version: &str) -> Result<(), String> {
    let numbers: Vec<&str> = spec_version.split('.').collect();
    let is_version = numbers.iter().all(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
    if !is_version || !(2..=3).contains(&numbers.len()) || numbers[0] != "1" {
        let found: String = spec_version.chars().take(20).collect();
        return Err(format!("it is written to version '{found}' of TUF; this program reads version 1"));
    }
    Ok(())
}

pub(super) fn check_keys(keys: &RoleKeys, name: &str) -> Result<(), String> {
    if keys.threshold == 0 {
        return Err(format!("the threshold of {name} is 0"));
    }
    let mut sorted = keys.keyids.clone();
    sorted.sort();
    sorted.dedup();
    if sorted.len() != keys.keyids.len() {
        return Err(format!("{name} names a key twice"));
    }
    Ok(())
}

/// `root.json` (TUF 4.3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    #[serde(rename = "_type")]
    role: String,
    /// Whether files are named by version and hash; always true here.
    pub consistent_snapshot: bool,
    /// When its time is over.
    pub expires: Expires,
    /// The keys that the roles name.
    pub keys: BTreeMap<KeyId, PublicKey>,
    /// Which keys may sign for which role.
    pub roles: BTreeMap<String, RoleKeys>,
    spec_version: String,
    /// Its version; the first is 1.
    pub version: u64,
}

impl Root {
    /// A root of this version, with no keys yet.
    pub fn new(version: u64, expires: Timestamp) -> Self {
        Self {
            role: Self::TYPE.to_owned(),
            consistent_snapshot: true,
            expires: Expires::new(expires),
            keys: BTreeMap::new(),
            roles: BTreeMap::new(),
            spec_version: SPEC_VERSION.to_owned(),
            version,
        }
    }

    /// Lets `keys` sign for `role`, `threshold` of them at least.
    #[must_use]
    pub fn with_role(mut self, role: &Role, keys: &[PublicKey], threshold: u32) -> Self {
        let keyids = keys.iter().map(PublicKey::id).collect();
        self.keys.extend(keys.iter().map(|key| (key.id(), key.clone())));
        self.roles.insert(role.name().to_owned(), RoleKeys { keyids, threshold });
        self
    }
}

impl Content for Root {
    const TYPE: &'static str = "root";
    fn check(&self) -> Result<(), String> {
        check_spec(&self.spec_version)?;
        check_version(self.version)?;
        if !self.consistent_snapshot {
            return Err("it does not use consistent snapshots".to_owned());
        }
        for name in ["root", "timestamp", "snapshot", "targets"] {
            let keys = self.roles.get(name).ok_or_else(|| format!("it names no keys for {name}"))?;
            check_keys(keys, name)?;
        }
        Ok(())
    }
}

/// `timestamp.json` (TUF 4.6).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimestampMeta {
    #[serde(rename = "_type")]
    role: String,
    /// When its time is over.
    pub expires: Expires,
    meta: BTreeMap<String, Meta>,
    spec_version: String,
    /// Its version.
    pub version: u64,
}

impl TimestampMeta {
    /// A timestamp of this version that names `snapshot`.
    pub fn new(version: u64, expires: Timestamp, snapshot: Meta) -> Self {
        Self {
            role: Self::TYPE.to_owned(),
            expires: Expires::new(expires),
            meta: BTreeMap::from([(Role::Snapshot.file_name(), snapshot)]),
            spec_version: SPEC_VERSION.to_owned(),
            version,
        }
    }

    /// What it says of the snapshot.
    pub fn snapshot(&self) -> &Meta {
        &self.meta["snapshot.json"]
    }
}

impl Content for TimestampMeta {
    const TYPE: &'static str = "timestamp";
    fn check(&self) -> Result<(), String> {
        check_spec(&self.spec_version)?;
        check_version(self.version)?;
        match self.meta.get("snapshot.json") {
            Some(meta) if self.meta.len() == 1 => check_version(meta.version),
            _ => Err("it names something else than one snapshot".to_owned()),
        }
    }
}

/// `snapshot.json` (TUF 4.4).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    #[serde(rename = "_type")]
    role: String,
    /// When its time is over.
    pub expires: Expires,
    /// The targets roles, by `NAME.json`.
    pub meta: BTreeMap<String, Meta>,
    spec_version: String,
    /// Its version.
    pub version: u64,
}

impl Snapshot {
    /// A snapshot of this version that names these roles.
    pub fn new(version: u64, expires: Timestamp, roles: impl IntoIterator<Item = (Role, Meta)>) -> Self {
        Self {
            role: Self::TYPE.to_owned(),
            expires: Expires::new(expires),
            meta: roles.into_iter().map(|(role, meta)| (role.file_name(), meta)).collect(),
            spec_version: SPEC_VERSION.to_owned(),
            version,
        }
    }
}

impl Content for Snapshot {
    const TYPE: &'static str = "snapshot";
    fn check(&self) -> Result<(), String> {
        check_spec(&self.spec_version)?;
        check_version(self.version)?;
        self.meta.values().try_for_each(|meta| check_version(meta.version))
    }
}

/// `targets.json`, or a delegated role's file (TUF 4.5).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Targets {
    #[serde(rename = "_type")]
    role: String,
    /// The roles that it delegates to.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub delegations: Option<Delegations>,
    /// When its time is over.
    pub expires: Expires,
    spec_version: String,
    /// The files that it vouches for, by target path.
    pub targets: BTreeMap<String, TargetFile>,
    /// Its version.
    pub version: u64,
}

impl Targets {
    /// Targets of this version that vouch for nothing yet.
    pub fn new(version: u64, expires: Timestamp) -> Self {
        Self {
            role: Self::TYPE.to_owned(),
            delegations: None,
            expires: Expires::new(expires),
            spec_version: SPEC_VERSION.to_owned(),
            targets: BTreeMap::new(),
            version,
        }
    }

    /// The same, delegating `channels/*` to `key`: the server's part (DESIGN 5).
    #[must_use]
    pub fn with_channels_role(mut self, key: &PublicKey) -> Self {
        let role = DelegatedRole {
            name: Role::channels().name().to_owned(),
            keys: RoleKeys { keyids: vec![key.id()], threshold: 1 },
            paths: Some(vec!["channels/*".to_owned()]),
            path_hash_prefixes: None,
            terminating: true,
        };
        let keys = BTreeMap::from([(key.id(), key.clone())]);
        self.delegations = Some(Delegations { keys, roles: vec![role] });
        self
    }
}

impl Content for Targets {
    const TYPE: &'static str = "targets";
    fn check(&self) -> Result<(), String> {
        check_spec(&self.spec_version)?;
        check_version(self.version)?;
        let max = LIVE_RELEASES_MAX + CHANNELS_MAX;
        if self.targets.len() > max {
            return Err(format!("it lists {} targets; {max} are allowed", self.targets.len()));
        }
        self.delegations.as_ref().map_or(Ok(()), Delegations::check)
    }
}
