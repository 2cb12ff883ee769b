//! Who knows the passphrases.

use std::io;
use std::path::Path;

use super::Zeroizing;

/// Whoever knows the passphrases: a person at a terminal, or the environment.
pub trait Passphrases: Sync {
    /// The passphrase for keys that are about to be made in `dir`; `None` to leave them unlocked.
    ///
    /// # Errors
    /// When nobody can be asked.
    fn choose(&self, dir: &Path) -> io::Result<Option<Zeroizing<String>>>;

    /// The passphrase that locks the key in `file`.
    ///
    /// # Errors
    /// When nobody can be asked.
    fn recall(&self, file: &Path) -> io::Result<Zeroizing<String>>;
}

/// The same passphrase for every key.
#[derive(Clone)]
pub struct Known(Zeroizing<String>);

impl Known {
    /// This one.
    pub fn new(passphrase: impl Into<String>) -> Self {
        Self(Zeroizing::new(passphrase.into()))
    }
}

impl Passphrases for Known {
    fn choose(&self, _: &Path) -> io::Result<Option<Zeroizing<String>>> {
        Ok(Some(self.0.clone()))
    }

    fn recall(&self, _: &Path) -> io::Result<Zeroizing<String>> {
        Ok(self.0.clone())
    }
}

/// No passphrase: new keys are left unlocked, and a locked one cannot be opened. The caller was told to.
#[derive(Debug, Clone, Copy)]
pub struct Unlocked;

impl Passphrases for Unlocked {
    fn choose(&self, _: &Path) -> io::Result<Option<Zeroizing<String>>> {
        Ok(None)
    }

    fn recall(&self, _: &Path) -> io::Result<Zeroizing<String>> {
        Err(io::Error::other("the key is locked, and none was given"))
    }
}
