//! A new app: keys, the first root, the first targets.
//!
//! The private keys are made here and stay here; the server makes the app's online key and tells its public half. What
//! was signed is kept before it is sent, so that a creation that was interrupted anywhere is finished by doing it again:
//! the same keys, and the same root.

use updraft_core::Timestamp;
use updraft_core::api::FirstMetadata;
use updraft_core::digest::Sha256;
use updraft_core::key::{PublicKey, SigningKey};
use updraft_core::layout;
use updraft_core::limits::ROOT_LEN_MAX;
use updraft_core::name::AppName;
use updraft_core::signed::Envelope;
use updraft_core::trust::{Role, Root, Targets};

use crate::base::{self, Base};
use crate::keys::{self, KeyName, Keys, Keystore, Passphrases, Ring};
use crate::remote::{Remote, RemoteError};
use crate::root::{KEYS_MAX, Signers};
use crate::sign::{ROOT_LIFE_DAYS, TARGETS_LIFE_DAYS, after_days, text_of};

/// Why an app was not created.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name is taken.
    #[error(
        "app {app} exists on the server, and was not created with the keys in {dir}; \
         choose another name, or use the directory with its own keys"
    )]
    Exists {
        /// The app.
        app: AppName,
        /// The key directory.
        dir: std::path::PathBuf,
    },
    /// The keys made an app that this server does not have.
    #[error(
        "{dir}: these keys made an app already, which this server does not have; \
         restore the server's data, or use another key directory for a new app"
    )]
    KeysInUse {
        /// The key directory.
        dir: std::path::PathBuf,
    },
    /// There cannot be so many root keys, or so many of them cannot sign.
    #[error("{threshold} of {count} root keys: from 1 to {KEYS_MAX} keys, and no more signatures than keys")]
    Threshold {
        /// How many keys.
        count: usize,
        /// How many signatures.
        threshold: u32,
    },
    /// An earlier attempt arrived, and its keys are gone.
    #[error(
        "app {app} was created by an attempt that was interrupted here, and {dir} does not have all of its {name} keys \
         ({names}); put them there, or choose another name"
    )]
    KeysGone {
        /// The app.
        app: AppName,
        /// The key directory.
        dir: std::path::PathBuf,
        /// What they are for.
        name: KeyName,
        /// Those that its root names.
        names: Signers,
    },
    /// An earlier attempt arrived, and it asked for something else.
    #[error(
        "app {app} was created by an attempt that was interrupted here, with {threshold} of {count} root keys; \
         ask for these, and change them afterwards with `keys add` and `keys revoke`"
    )]
    OtherRootKeys {
        /// The app.
        app: AppName,
        /// How many keys it has.
        count: usize,
        /// How many of them must sign.
        threshold: u32,
    },
    /// The keys cannot be made or used.
    #[error(transparent)]
    Keys(#[from] keys::Error),
    /// The server cannot be asked, or says no.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// The app was created, and what the server has of it is not believed.
    #[error(transparent)]
    Base(#[from] base::Error),
}

/// How many keys sign roots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RootKeys {
    /// How many there are.
    pub count: usize,
    /// How many of them must sign.
    pub threshold: u32,
}

impl Default for RootKeys {
    /// One, which signs alone.
    fn default() -> Self {
        Self { count: 1, threshold: 1 }
    }
}

/// An app that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// Its name.
    pub app: AppName,
    /// SHA-256 of its first root: what its devices are told to compare.
    pub root_sha256: Sha256,
    /// Whether it existed already, created with these keys.
    pub existed: bool,
    /// Who signs its roots.
    pub root: Signers,
}

/// Creates `app` with so many root keys, or finishes what an interrupted creation began. An app that these keys created before is success.
///
/// # Errors
/// When the name is taken, the keys cannot be kept, or the server says no.
pub fn create(
    remote: &dyn Remote,
    app: &AppName,
    keystore: &Keystore,
    root_keys: RootKeys,
    passphrases: &dyn Passphrases,
    now: Timestamp,
) -> Result<Created, Error> {
    check_root_keys(root_keys)?;
    let lock = keystore.lock()?;
    let known = keystore.first_root()?;
    let existed = known.is_some();
    let root = match known {
        Some(root) => found_again(remote, app, keystore, root)?,
        None => make(remote, app, keystore, root_keys, passphrases, now)?,
    };
    drop(lock);
    // The server said that it has it; believe that as a device would.
    let base = Base::read(remote, app, keystore, now)?;
    let signers = base.signers(&Role::Root);
    Ok(Created { app: app.clone(), root_sha256: Sha256::of(&root), existed, root: signers })
}

fn check_root_keys(RootKeys { count, threshold }: RootKeys) -> Result<(), Error> {
    let is_possible = (1..=KEYS_MAX).contains(&count) && (1..=count).contains(&(threshold as usize));
    if is_possible { Ok(()) } else { Err(Error::Threshold { count, threshold }) }
}

/// The root of an app that these keys created, if the server has that app.
fn found_again(remote: &dyn Remote, app: &AppName, keystore: &Keystore, root: Vec<u8>) -> Result<Vec<u8>, Error> {
    match first_root(remote, app)? {
        Some(theirs) if theirs == root => Ok(root),
        Some(_) => Err(Error::Exists { app: app.clone(), dir: keystore.dir().to_owned() }),
        None => Err(Error::KeysInUse { dir: keystore.dir().to_owned() }),
    }
}

fn make(
    remote: &dyn Remote,
    app: &AppName,
    keystore: &Keystore,
    root_keys: RootKeys,
    passphrases: &dyn Passphrases,
    now: Timestamp,
) -> Result<Vec<u8>, Error> {
    let pending = keystore.pending()?;
    let ring = Ring::new(keystore, passphrases);
    let first = match remote.propose_app(app) {
        Ok(online) => match pending.filter(|first| is_for(first, &online)) {
            // What was signed by keys that are gone, or is not what is wanted now, is signed anew while nothing has arrived.
            Some(first) if check_pending(&first, app, &ring, root_keys)?.is_ok() => first,
            _ => {
                let keys = keystore.create_keys(root_keys.count, passphrases)?;
                let first = first_metadata(&keys, root_keys.threshold, &online, now);
                keystore.set_pending(&first)?;
                first
            }
        },
        // It exists. Was that us, before we were interrupted?
        Err(RemoteError::Conflict { .. }) => return settle(remote, app, &ring, root_keys, pending),
        Err(error) => return Err(error.into()),
    };
    match remote.create_app(app, &first) {
        // The answer to an attempt that succeeded may have been lost.
        Ok(_) | Err(RemoteError::Conflict { .. }) => settle(remote, app, &ring, root_keys, Some(first)),
        Err(error) => Err(error.into()),
    }
}

/// The app exists: if its root is the one that was pending here, it is ours.
fn settle(
    remote: &dyn Remote,
    app: &AppName,
    ring: &Ring<'_>,
    root_keys: RootKeys,
    pending: Option<FirstMetadata>,
) -> Result<Vec<u8>, Error> {
    let keystore = ring.store();
    match (pending, first_root(remote, app)?) {
        (Some(ours), Some(theirs)) if ours.root.as_bytes() == theirs => {
            check_pending(&ours, app, ring, root_keys)??;
            keystore.settle(&theirs)?;
            Ok(theirs)
        }
        _ => Err(Error::Exists { app: app.clone(), dir: keystore.dir().to_owned() }),
    }
}

fn first_root(remote: &dyn Remote, app: &AppName) -> Result<Option<Vec<u8>>, RemoteError> {
    remote.read(&layout::first_root(app), ROOT_LEN_MAX)
}

/// Whether what was signed earlier is what is wanted now, and every key that it names is here and opens: an app whose keys
/// are gone would look created, and could never change or publish anything.
///
/// The outer error is that nobody can tell, such as for a wrong passphrase.
fn check_pending(
    first: &FirstMetadata,
    app: &AppName,
    ring: &Ring<'_>,
    RootKeys { count, threshold }: RootKeys,
) -> Result<Result<(), Error>, keys::Error> {
    let Some(root) = root_of(first) else {
        let path = ring.store().pending_path();
        return Err(keys::Error::Foreign { path, reason: "it holds no root".to_owned() });
    };
    let app = || app.clone();
    for name in KeyName::ALL {
        let signers = Signers::of(&root, &name.role());
        if ring.find(name, &signers.keys, usize::MAX)?.len() < signers.keys.len() {
            let dir = ring.store().dir().to_owned();
            return Ok(Err(Error::KeysGone { app: app(), dir, name, names: signers }));
        }
    }
    let signers = Signers::of(&root, &Role::Root);
    if (signers.keys.len(), signers.threshold) != (count, threshold) {
        let (count, threshold) = (signers.keys.len(), signers.threshold);
        return Ok(Err(Error::OtherRootKeys { app: app(), count, threshold }));
    }
    Ok(Ok(()))
}

fn root_of(first: &FirstMetadata) -> Option<Root> {
    Envelope::parse(first.root.as_bytes(), ROOT_LEN_MAX).and_then(|envelope| envelope.content()).ok()
}

/// Whether what was signed earlier names this online key: a server that lost its data proposes another one.
fn is_for(first: &FirstMetadata, online: &PublicKey) -> bool {
    root_of(first).is_some_and(|root| root.roles.get("timestamp").is_some_and(|role| role.keyids == [online.id()]))
}

/// The first root and the first targets of an app, signed.
pub(crate) fn first_metadata(keys: &Keys, threshold: u32, online: &PublicKey, now: Timestamp) -> FirstMetadata {
    let root_keys: Vec<PublicKey> = keys.root.iter().map(SigningKey::public).collect();
    let online_only = std::slice::from_ref(online);
    let root = Root::new(1, after_days(now, ROOT_LIFE_DAYS))
        .with_role(&Role::Root, &root_keys, threshold)
        .with_role(&Role::Targets, &[keys.targets.public()], 1)
        .with_role(&Role::Snapshot, online_only, 1)
        .with_role(&Role::Timestamp, online_only, 1);
    let targets = Targets::new(1, after_days(now, TARGETS_LIFE_DAYS)).with_channels_role(online);
    FirstMetadata {
        // All of them sign, though fewer would do: it shows that each of them can.
        root: text_of(&keys.root.iter().fold(Envelope::new(&root), |signed, key| signed.sign(key))),
        targets: text_of(&Envelope::new(&targets).sign(&keys.targets)),
    }
}
