//! TUF: bytes in, belief out.
//!
//! [`Trusted`] is the state of one update: it takes metadata files as bytes, in the order of TUF 1.0.34 section 5, checks
//! each against what it believes already, and keeps exact copies of those that it came to believe. It opens nothing and
//! asks nobody for the time: `now` is fixed when it begins (TUF 5.1). [`refresh()`] drives it over any source and cache,
//! for a device and for a publisher's tool alike; [`find_target`] goes on through any tree of delegations.
//!
//! Beyond the specification: thresholds count distinct key bytes ([`crate::signed`]); duplicate keys, floats and integers
//! over 53 bits are refused ([`crate::json`]); role and file names are never taken from metadata without being encoded
//! ([`crate::layout`]); a delegated role is verified against each role that leads to it. Short of it: repositories
//! without consistent snapshots are refused, for nobody who writes to one can be read safely.

mod delegations;
mod file;
mod metadata;
mod refresh;
mod search;

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;

pub use delegations::{DelegatedRole, Delegations};
pub use file::{Hashes, Meta, TargetFile};
pub use metadata::{Expires, Role, Root, Snapshot, Targets, TimestampMeta};
pub use refresh::{Cache, MetadataFile, RefreshError, Refreshed, Source, refresh};
pub use search::find_target;

use crate::Timestamp;
use crate::json;
use crate::limits::{METADATA_LEN_MAX, ROOT_LEN_MAX, SNAPSHOT_LEN_MAX, TIMESTAMP_LEN_MAX};
use crate::signed::{self, Envelope};

/// Why a metadata file is not believed. Each variant is what an attack would look like.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not signed by enough of the keys that may sign it, too long, or no metadata at all.
    #[error("{role}: {source}")]
    Signed {
        /// The role.
        role: Role,
        /// What is wrong.
        source: signed::Error,
    },
    /// It is well signed and not what it should be.
    #[error("{role}: {reason}")]
    Format {
        /// The role.
        role: Role,
        /// What is wrong.
        reason: String,
    },
    /// Older than what is believed already: a rollback attack, or a mirror that was restored from a backup.
    #[error("{role}: version {found} is older than {trusted}, already trusted (a rollback attack looks like this)")]
    Rollback {
        /// The role.
        role: Role,
        /// The version in the file.
        found: u64,
        /// The version that is believed.
        trusted: u64,
    },
    /// Its time is over: a freeze attack, or a server that nobody looks after, or a wrong clock.
    #[error("{role}: expired at {expired} (a freeze attack looks like this, and so does a wrong clock)")]
    Expired {
        /// The role.
        role: Role,
        /// When it did.
        expired: Timestamp,
    },
    /// It is not the file that the metadata above it names: mix and match, or damage on the way.
    #[error("{role}: {reason} (a mix-and-match attack looks like this, and so does a damaged file)")]
    Mismatch {
        /// The role.
        role: Role,
        /// What differs.
        reason: String,
    },
    /// The metadata above does not name this role.
    #[error("{role} is not named by {by} (a mix-and-match attack looks like this)")]
    Unnamed {
        /// The role.
        role: Role,
        /// Who should name it.
        by: Role,
    },
}

/// A metadata file that is believed, with the exact bytes it came as.
#[derive(Debug, Clone)]
struct Believed<T> {
    bytes: Vec<u8>,
    content: T,
}

/// What is believed, at one moment, of one app's repository.
#[derive(Debug, Clone)]
pub struct Trusted {
    now: Timestamp,
    root: Believed<Root>,
    timestamp: Option<Believed<TimestampMeta>>,
    snapshot: Option<Believed<Snapshot>>,
    /// `targets` and every delegated role.
    targets: BTreeMap<Role, Believed<Targets>>,
}

impl Trusted {
    /// Begins with a root that is believed for reasons of its own: it came with the app, or a person compared its digest.
    ///
    /// # Errors
    /// When it is no root, or is not signed by its own keys. An expired one is taken: a newer root may follow it.
    pub fn new(root: &[u8], now: Timestamp) -> Result<Self, Error> {
        let (envelope, content) = read::<Root>(root, Role::Root, ROOT_LEN_MAX)?;
        verify_with_root(&envelope, &content, Role::Root)?;
        let root = Believed { bytes: root.to_vec(), content };
        Ok(Self { now, root, timestamp: None, snapshot: None, targets: BTreeMap::new() })
    }

    /// The moment at which this update began (TUF 5.1).
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// The root that is believed.
    pub fn root(&self) -> &Root {
        &self.root.content
    }

    /// The timestamp, once it is believed.
    pub fn timestamp(&self) -> Option<&TimestampMeta> {
        self.timestamp.as_ref().map(|believed| &believed.content)
    }

    /// The snapshot, once it is believed.
    pub fn snapshot(&self) -> Option<&Snapshot> {
        self.snapshot.as_ref().map(|believed| &believed.content)
    }

    /// The top-level or a delegated targets role, once it is believed.
    pub fn targets(&self, role: &Role) -> Option<&Targets> {
        self.targets.get(role).map(|believed| &believed.content)
    }

    /// The exact bytes of a role that is believed.
    pub fn bytes(&self, role: &Role) -> Option<&[u8]> {
        match role {
            Role::Root => Some(&self.root.bytes),
            Role::Timestamp => self.timestamp.as_ref().map(|b| b.bytes.as_slice()),
            Role::Snapshot => self.snapshot.as_ref().map(|b| b.bytes.as_slice()),
            Role::Targets | Role::Delegated(_) => self.targets.get(role).map(|b| b.bytes.as_slice()),
        }
    }

    /// Takes the next root (TUF 5.3.4 to 5.3.8): exactly one version on, signed by the thresholds of both roots.
    ///
    /// # Errors
    /// When it is not the next root.
    pub fn update_root(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let (envelope, content) = read::<Root>(bytes, Role::Root, ROOT_LEN_MAX)?;
        // TUF 5.3.4: signed by a threshold of the old keys and of the new ones.
        verify_with_root(&envelope, &self.root.content, Role::Root)?;
        verify_with_root(&envelope, &content, Role::Root)?;
        // TUF 5.3.5: the version grows by exactly one.
        let (found, trusted) = (content.version, self.root.content.version);
        if found <= trusted {
            return Err(Error::Rollback { role: Role::Root, found, trusted });
        }
        if found != trusted + 1 {
            let reason = format!("version {found} follows {trusted}; roots go one by one");
            return Err(Error::Format { role: Role::Root, reason });
        }
        self.root = Believed { bytes: bytes.to_vec(), content };
        // TUF 5.3 comes before 5.4: what was believed under the old root has to be shown anew.
        self.timestamp = None;
        self.snapshot = None;
        self.targets.clear();
        Ok(())
    }

    /// Ends the root phase (TUF 5.3.10).
    ///
    /// # Errors
    /// When the newest root has expired.
    pub fn finish_root(&self) -> Result<(), Error> {
        self.fresh(Role::Root, &self.root.content.expires)
    }

    /// Takes a timestamp (TUF 5.4). One of the version that is believed already is nothing new: the believed one stays,
    /// whatever the other says.
    ///
    /// # Errors
    /// When it is not believed, or is expired; an expired one is kept to compare with, and grants nothing.
    pub fn update_timestamp(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let role = Role::Timestamp;
        let (envelope, content) = read::<TimestampMeta>(bytes, role.clone(), TIMESTAMP_LEN_MAX)?;
        // TUF 5.4.2: signed by the keys that root names.
        verify_with_root(&envelope, &self.root.content, role.clone())?;
        if let Some(old) = self.timestamp.as_ref().map(|believed| &believed.content) {
            // TUF 5.4.3.1: never an older timestamp, and an equal one is not looked at.
            not_older(role.clone(), content.version, old.version)?;
            if content.version == old.version {
                return self.fresh(role, &old.expires);
            }
            // TUF 5.4.3.2: nor one that names an older snapshot.
            not_older(Role::Snapshot, content.snapshot().version, old.snapshot().version)?;
        }
        let expires = content.expires.clone();
        self.timestamp = Some(Believed { bytes: bytes.to_vec(), content });
        // TUF 5.4.4: not expired.
        self.fresh(role, &expires)
    }

    /// Takes the snapshot that the timestamp names (TUF 5.5).
    ///
    /// # Errors
    /// When there is no fresh timestamp, or it is not the snapshot that was named, or expired.
    pub fn update_snapshot(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let role = Role::Snapshot;
        let meta = self.named_snapshot()?;
        // TUF 5.5.2: the hashes and the length that the timestamp names.
        meta.check(&role, bytes)?;
        let (envelope, content) = read::<Snapshot>(bytes, role.clone(), SNAPSHOT_LEN_MAX)?;
        // TUF 5.5.3
        verify_with_root(&envelope, &self.root.content, role.clone())?;
        // TUF 5.5.4: the version that the timestamp names.
        if content.version != meta.version {
            let reason = format!("version {} where timestamp names {}", content.version, meta.version);
            return Err(Error::Mismatch { role, reason });
        }
        if let Some(old) = self.snapshot.as_ref().map(|believed| &believed.content) {
            // Beyond TUF, which leaves this to the timestamp: a device may have lost that one and not this one.
            not_older(role.clone(), content.version, old.version)?;
            // TUF 5.5.5: no role disappears, none goes back.
            for (name, old_meta) in &old.meta {
                let role = Role::from_file_name(name);
                let Some(new_meta) = content.meta.get(name) else {
                    return Err(Error::Unnamed { role, by: Role::Snapshot });
                };
                not_older(role, new_meta.version, old_meta.version)?;
            }
        }
        let expires = content.expires.clone();
        // Targets that this snapshot does not name are not believed on account of an earlier one.
        self.targets.retain(|role, believed| {
            let meta = content.meta.get(&role.file_name());
            meta.is_some_and(|meta| {
                meta.check(role, &believed.bytes).is_ok() && meta.version == believed.content.version
            })
        });
        self.snapshot = Some(Believed { bytes: bytes.to_vec(), content });
        // TUF 5.5.6
        self.fresh(role, &expires)
    }

    /// Takes a snapshot from the cache of an earlier update, to compare newer ones with. It grants nothing: what it names
    /// is used only after [`Self::update_snapshot`] took the one that the timestamp names.
    ///
    /// # Errors
    /// When it was not signed by the keys that root names *now*: after their rotation, what a thief may have signed no
    /// longer holds anybody back (TUF 5.3.11).
    pub fn remember_snapshot(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let (envelope, content) = read::<Snapshot>(bytes, Role::Snapshot, SNAPSHOT_LEN_MAX)?;
        verify_with_root(&envelope, &self.root.content, Role::Snapshot)?;
        self.snapshot = Some(Believed { bytes: bytes.to_vec(), content });
        Ok(())
    }

    /// Takes the top-level targets (TUF 5.6), or a role that `delegator` delegates to.
    ///
    /// # Errors
    /// When it is not what the snapshot names, is not signed by who may sign it, or expired.
    pub fn update_targets(&mut self, role: &Role, delegator: Option<&Role>, bytes: &[u8]) -> Result<(), Error> {
        let meta = self.named_targets(role)?;
        // TUF 5.6.2
        meta.check(role, bytes)?;
        let max = meta.length.unwrap_or(METADATA_LEN_MAX).min(METADATA_LEN_MAX);
        let (envelope, content) = read::<Targets>(bytes, role.clone(), max)?;
        // TUF 5.6.3: signed as root says, or as the delegating role says.
        self.verify_targets(&envelope, role, delegator)?;
        // TUF 5.6.4
        if content.version != meta.version {
            let reason = format!("version {} where snapshot names {}", content.version, meta.version);
            return Err(Error::Mismatch { role: role.clone(), reason });
        }
        // TUF 5.6.5
        self.fresh(role.clone(), &content.expires)?;
        if *role == Role::Targets && self.bytes(role) != Some(bytes) {
            // It may delegate to other keys now.
            self.targets.clear();
        }
        self.targets.insert(role.clone(), Believed { bytes: bytes.to_vec(), content });
        Ok(())
    }

    /// What the timestamp says of the snapshot.
    ///
    /// # Errors
    /// When there is no timestamp, or it has expired.
    pub fn named_snapshot(&self) -> Result<Meta, Error> {
        let unnamed = || Error::Unnamed { role: Role::Snapshot, by: Role::Timestamp };
        let timestamp = self.timestamp().ok_or_else(unnamed)?;
        self.fresh(Role::Timestamp, &timestamp.expires)?;
        Ok(timestamp.snapshot().clone())
    }

    /// What the snapshot says of a targets role.
    ///
    /// # Errors
    /// When there is no snapshot, it is not the one that the timestamp names, it has expired, or it does not name the role.
    pub fn named_targets(&self, role: &Role) -> Result<Meta, Error> {
        let unnamed = || Error::Unnamed { role: role.clone(), by: Role::Snapshot };
        let Some(Believed { bytes, content: snapshot }) = &self.snapshot else { return Err(unnamed()) };
        self.fresh(Role::Snapshot, &snapshot.expires)?;
        let named = self.named_snapshot()?;
        named.check(&Role::Snapshot, bytes)?;
        if snapshot.version != named.version {
            let reason = format!("version {} is at hand, {} is named by timestamp", snapshot.version, named.version);
            return Err(Error::Mismatch { role: Role::Snapshot, reason });
        }
        snapshot.meta.get(&role.file_name()).cloned().ok_or_else(unnamed)
    }

    /// Whether these bytes, of a timestamp or a snapshot, are signed by the keys that root names for it.
    fn is_signed(&self, role: &Role, bytes: &[u8]) -> bool {
        let envelope = Envelope::parse(bytes, SNAPSHOT_LEN_MAX).ok();
        envelope.is_some_and(|envelope| verify_with_root(&envelope, &self.root.content, role.clone()).is_ok())
    }

    /// Whether a delegated role that is believed already would also be believed on the word of `delegator`, which may name
    /// other keys for it.
    ///
    /// # Errors
    /// When it would not, or is not believed yet.
    pub fn verify_again(&self, role: &Role, delegator: &Role) -> Result<(), Error> {
        let unnamed = || Error::Unnamed { role: role.clone(), by: delegator.clone() };
        let bytes = self.bytes(role).ok_or_else(unnamed)?;
        let signed = |source| Error::Signed { role: role.clone(), source };
        let envelope = Envelope::parse(bytes, METADATA_LEN_MAX).map_err(signed)?;
        self.verify_targets(&envelope, role, Some(delegator))
    }

    fn verify_targets(&self, envelope: &Envelope, role: &Role, delegator: Option<&Role>) -> Result<(), Error> {
        let Some(delegator) = delegator else {
            return verify_with_root(envelope, &self.root.content, role.clone());
        };
        let unnamed = || Error::Unnamed { role: role.clone(), by: delegator.clone() };
        let delegations = self.targets(delegator).and_then(|t| t.delegations.as_ref()).ok_or_else(unnamed)?;
        let delegated = delegations.role(role).ok_or_else(unnamed)?;
        envelope
            .verify(&delegations.keys, &delegated.keys)
            .map_err(|source| Error::Signed { role: role.clone(), source })
    }

    fn fresh(&self, role: Role, expires: &Expires) -> Result<(), Error> {
        let expired = expires.at();
        if expired <= self.now { Err(Error::Expired { role, expired }) } else { Ok(()) }
    }
}

fn not_older(role: Role, found: u64, trusted: u64) -> Result<(), Error> {
    if found < trusted { Err(Error::Rollback { role, found, trusted }) } else { Ok(()) }
}

/// Reads a metadata file of `role`, verifying nothing.
fn read<T: DeserializeOwned + metadata::Content>(bytes: &[u8], role: Role, max: u64) -> Result<(Envelope, T), Error> {
    let signed = |source| Error::Signed { role: role.clone(), source };
    let envelope = Envelope::parse(bytes, max).map_err(signed)?;
    if envelope.role_type() != Some(T::TYPE) {
        let found = json::shown(envelope.role_type().unwrap_or_default());
        let reason = format!("its _type is '{found}', not '{}'", T::TYPE);
        return Err(Error::Format { role, reason });
    }
    let content: T = envelope.content().map_err(signed)?;
    content.check().map_err(|reason| Error::Format { role, reason })?;
    Ok((envelope, content))
}

fn verify_with_root(envelope: &Envelope, root: &Root, role: Role) -> Result<(), Error> {
    let keys = root.roles.get(role.name()).ok_or_else(|| Error::Unnamed { role: role.clone(), by: Role::Root })?;
    envelope.verify(&root.keys, keys).map_err(|source| Error::Signed { role, source })
}
