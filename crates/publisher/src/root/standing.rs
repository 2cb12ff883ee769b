//! What a change of keys builds on: every root that there was, and the targets of now.
//!
//! Read from the server, it is verified as a device would, from the root that lies beside the keys and with the memory
//! there. When the online keys are lost or a thief's, what they signed is worth nothing, and the change that replaces them
//! must be possible all the same: then the roots are verified, and targets by the publisher's own signatures and versions.

use updraft_core::Timestamp;
use updraft_core::layout;
use updraft_core::limits::{METADATA_LEN_MAX, ROOT_LEN_MAX, ROOT_ROTATIONS_MAX, SNAPSHOT_LEN_MAX};
use updraft_core::name::AppName;
use updraft_core::signed::Envelope;
use updraft_core::trust::{self, Cache, MetadataFile, Role, Root, Snapshot, Targets, Trusted};

use super::signers::Signers;
use super::unfinished::forget_overtaken;
use crate::base::{self, Base};
use crate::keys::Keystore;
use crate::remote::{Remote, RemoteError};

/// What is to be thought of the online keys' signatures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Online {
    /// What they sign has to be there, believable and fresh.
    Believed,
    /// They are about to be replaced, or somebody only looks.
    Doubted,
}

/// The keys of an app, and what they signed, as it is right now.
#[derive(Debug, Clone)]
pub struct Standing {
    app: AppName,
    roots: Vec<Vec<u8>>,
    root: Root,
    targets_bytes: Vec<u8>,
    envelope: Envelope,
    targets: Targets,
    trouble: Option<String>,
}

impl Standing {
    /// What these bytes are worth by themselves: every root from the first, each signed as it must be, and targets that the
    /// last of them lets be signed so. Expired ones are taken.
    ///
    /// # Errors
    /// When they do not verify.
    pub(super) fn verify(app: AppName, roots: Vec<Vec<u8>>, targets_bytes: Vec<u8>) -> Result<Self, trust::Error> {
        let trusted = follow(&roots)?;
        let root = trusted.root().clone();
        let (envelope, targets) = verify_targets(&root, &targets_bytes)?;
        Ok(Self { app, roots, root, targets_bytes, envelope, targets, trouble: None })
    }

    /// Reads it from the server.
    ///
    /// # Errors
    /// When the server cannot be asked, does not have the app, or is not believed.
    pub fn read(
        remote: &dyn Remote,
        app: &AppName,
        keys: &Keystore,
        online: Online,
        now: Timestamp,
    ) -> Result<Self, base::Error> {
        let first =
            keys.first_root()?.ok_or_else(|| base::Error::NoRoot { dir: keys.dir().into(), app: app.clone() })?;
        let roots = read_roots(remote, app, first)?;
        let distrust = |source| base::Error::Trust { app: app.clone(), source };
        let root = follow(&roots).map_err(distrust)?.root().clone();
        check_memory(&roots, keys).map_err(distrust)?;
        forget_overtaken(keys, root.version)?;
        let (targets_bytes, trouble) = match Base::read(remote, app, keys, now) {
            Ok(base) if base.trusted().root().version != root.version => {
                let detail = format!("app {app}: its keys are being changed by somebody else right now");
                return Err(RemoteError::Conflict { detail, remedy: Some("try again in a moment".to_owned()) }.into());
            }
            Ok(base) => (base.trusted().bytes(&Role::Targets).unwrap_or_default().to_vec(), None),
            Err(error) if is_bearable(&error, online) => {
                (read_targets(remote, app, keys, &root)?, Some(error.to_string()))
            }
            Err(error) => return Err(error),
        };
        let mut standing = Self::verify(app.clone(), roots, targets_bytes).map_err(distrust)?;
        standing.trouble = trouble;
        Ok(standing)
    }

    /// The app.
    pub fn app(&self) -> &AppName {
        &self.app
    }

    /// Exact bytes of every root, the first one first.
    pub fn roots(&self) -> &[Vec<u8>] {
        &self.roots
    }

    /// The root that counts.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// The targets that count.
    pub fn targets(&self) -> &Targets {
        &self.targets
    }

    /// The same, with their signatures.
    pub(super) fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// Their exact bytes.
    pub(super) fn targets_bytes(&self) -> &[u8] {
        &self.targets_bytes
    }

    /// Why a device would not believe the app as it is; `None` when it would.
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// Who may sign for `role`, and how many must.
    pub fn signers(&self, role: &Role) -> Signers {
        Signers::of(&self.root, role)
    }

    /// Whether any root ever named a key of this fingerprint.
    pub(super) fn ever_named(&self, fingerprint: &str) -> bool {
        let root = |bytes: &Vec<u8>| Envelope::parse(bytes, ROOT_LEN_MAX).and_then(|e| e.content::<Root>()).ok();
        let mut keys = self.roots.iter().filter_map(root).flat_map(|root| root.keys.into_values());
        keys.any(|key| key.fingerprint() == fingerprint)
    }
}

/// Every root from the first on.
fn follow(roots: &[Vec<u8>]) -> Result<Trusted, trust::Error> {
    let no_root = || trust::Error::Format { role: Role::Root, reason: "there is none".to_owned() };
    let (first, rest) = roots.split_first().ok_or_else(no_root)?;
    // The time plays no part: roots may be expired while newer ones follow, and the last one is about to be replaced.
    let mut trusted = Trusted::new(first, Timestamp::UNIX_EPOCH)?;
    if trusted.root().version != 1 {
        let reason = format!("version {} is not the first", trusted.root().version);
        return Err(trust::Error::Format { role: Role::Root, reason });
    }
    rest.iter().try_for_each(|root| trusted.update_root(root))?;
    Ok(trusted)
}

fn read_roots(remote: &dyn Remote, app: &AppName, first: Vec<u8>) -> Result<Vec<Vec<u8>>, base::Error> {
    let mut roots = vec![first];
    for version in 2..=ROOT_ROTATIONS_MAX + 1 {
        let key = layout::metadata(app, &MetadataFile::Root(version));
        let Some(bytes) = remote.read(&key, ROOT_LEN_MAX)? else { break };
        roots.push(bytes);
    }
    Ok(roots)
}

/// Refuses roots that end before the one that was believed last, or that are another history.
pub(super) fn check_memory(roots: &[Vec<u8>], keys: &Keystore) -> Result<(), trust::Error> {
    let Some(remembered) = keys.memory().load(&Role::Root) else { return Ok(()) };
    let Ok(trusted) = Trusted::new(&remembered, Timestamp::UNIX_EPOCH).map(|t| t.root().version) else { return Ok(()) };
    match usize::try_from(trusted).ok().and_then(|version| roots.get(version - 1)) {
        Some(same) if *same == remembered => Ok(()),
        Some(_) => {
            let reason = format!("version {trusted} is another than the one that was believed here");
            Err(trust::Error::Mismatch { role: Role::Root, reason })
        }
        None => Err(trust::Error::Rollback { role: Role::Root, found: roots.len() as u64, trusted }),
    }
}

fn is_bearable(error: &base::Error, online: Online) -> bool {
    match error {
        // A new root and new targets are what helps.
        base::Error::Trust { source: trust::Error::Expired { role: Role::Root | Role::Targets, .. }, .. } => true,
        base::Error::Trust { .. } | base::Error::Hole { .. } | base::Error::Document { .. } => {
            online == Online::Doubted
        }
        _ => false,
    }
}

/// The targets that the server names, whoever signed the names.
fn read_targets(remote: &dyn Remote, app: &AppName, keys: &Keystore, root: &Root) -> Result<Vec<u8>, base::Error> {
    let distrust = |source| base::Error::Trust { app: app.clone(), source };
    let hole = |what: &str| base::Error::Hole { app: app.clone(), what: what.to_owned() };
    let head = remote.head(app)?.ok_or_else(|| base::Error::NoApp { app: app.clone() })?;
    let snapshot = Envelope::parse(&head.snapshot, SNAPSHOT_LEN_MAX).and_then(|e| e.content::<Snapshot>());
    let signed = |source| distrust(trust::Error::Signed { role: Role::Snapshot, source });
    let snapshot = snapshot.map_err(signed)?;
    let meta = snapshot.meta.get(&Role::Targets.file_name()).ok_or_else(|| hole("targets.json"))?;
    let found = meta.version;
    let key = layout::metadata(app, &MetadataFile::Versioned(Role::Targets, found));
    let bytes = remote.read(&key, METADATA_LEN_MAX)?.ok_or_else(|| hole(&format!("{found}.targets.json")))?;
    let (_, targets) = verify_targets(root, &bytes).map_err(distrust)?;
    if targets.version != found {
        let reason = format!("version {} under the name of version {found}", targets.version);
        return Err(distrust(trust::Error::Mismatch { role: Role::Targets, reason }));
    }
    // The memory here is all that notices targets of last year, signed as well as ever.
    let remembered = keys.memory().load(&Role::Targets).and_then(|bytes| verify_targets(root, &bytes).ok());
    match remembered.map(|(_, remembered)| remembered.version) {
        Some(trusted) if found < trusted => {
            Err(distrust(trust::Error::Rollback { role: Role::Targets, found, trusted }))
        }
        _ => Ok(bytes),
    }
}

fn verify_targets(root: &Root, bytes: &[u8]) -> Result<(Envelope, Targets), trust::Error> {
    let role = Role::Targets;
    let signed = |source| trust::Error::Signed { role: Role::Targets, source };
    let envelope = Envelope::parse(bytes, METADATA_LEN_MAX).map_err(signed)?;
    if envelope.role_type() != Some(role.name()) {
        return Err(trust::Error::Format { role, reason: "it is no targets metadata".to_owned() });
    }
    let unnamed = || trust::Error::Unnamed { role: Role::Targets, by: Role::Root };
    let keys = root.roles.get(role.name()).ok_or_else(unnamed)?;
    envelope.verify(&root.keys, keys).map_err(signed)?;
    let targets = envelope.content().map_err(signed)?;
    Ok((envelope, targets))
}
