//! The online keys: one for each app, which signs snapshot, timestamp and channels. No key ever signs for two apps.
//!
//! They live in a directory of their own, never in a store: `{app}/online.pem`, PKCS#8, readable by the owner only.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use updraft_core::key::SigningKey;
use updraft_core::name::AppName;

/// Why an online key cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("online key {}: {reason}", .path.display())]
pub struct Error {
    path: PathBuf,
    reason: String,
}

/// Where the online keys of all apps are.
#[derive(Clone)]
pub struct OnlineKeys(Arc<Place>);

enum Place {
    Directory(PathBuf),
    Memory(Mutex<BTreeMap<AppName, [u8; 32]>>),
}

impl fmt::Debug for OnlineKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Place::Directory(path) => write!(f, "OnlineKeys({})", path.display()),
            Place::Memory(_) => write!(f, "OnlineKeys(memory)"),
        }
    }
}

impl OnlineKeys {
    /// The keys in `directory`, which is made when the first key is.
    pub fn directory(directory: &Path) -> Self {
        Self(Arc::new(Place::Directory(directory.to_owned())))
    }

    /// Keys that are forgotten when the last clone goes: for tests.
    pub fn memory() -> Self {
        Self(Arc::new(Place::Memory(Mutex::new(BTreeMap::new()))))
    }

    /// The online key of `app`, if it has one.
    ///
    /// # Errors
    /// When there is a file and it cannot be read, or is no Ed25519 key.
    pub fn get(&self, app: &AppName) -> Result<Option<SigningKey>, Error> {
        match &*self.0 {
            Place::Directory(_) => Ok(None),
            Place::Memory(keys) => {
                Ok(keys.lock().expect("no panic holds it").get(app).map(|seed| SigningKey::from_seed(*seed)))
            }
        }
    }
}
