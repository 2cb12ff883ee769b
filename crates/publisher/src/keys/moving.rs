//! Taking keys from one directory into another, such as off a server.
//!
//! First they are copied and opened again where they are to be; only then does anybody take them away from where they
//! were. Interrupted anywhere, they are in one place or in both.

use std::path::PathBuf;

use updraft_core::trust::{Cache, Role};

use super::disk::{Place, keep_private, make_private_dir, remove};
use super::store::{open_pem, read_pem};
use super::{Error, KeyName, Keystore, Passphrases, Ring};

impl Keystore {
    /// Copies every key of `from`, and what is believed there, into this directory: locked as `passphrases` chooses, and
    /// opened again with that. A copy that lies here already, such as one that an interruption left, is opened too, and
    /// kept if it is locked; else it is locked now. Returns the key files.
    ///
    /// # Errors
    /// When `from` has no keys, one of them cannot be opened, or something else lies here under its name.
    pub fn copy_from(&self, from: &Ring<'_>, passphrases: &dyn Passphrases) -> Result<Vec<PathBuf>, Error> {
        let held = from.store().held()?;
        if held.is_empty() {
            return Err(Error::Missing { path: from.store().key_path(KeyName::Root) });
        }
        make_private_dir(self.dir())?;
        // Another app's directory is refused before a key lies in it.
        if let Some(root) = from.store().first_root()? {
            self.pin(&root)?;
        }
        let mut chosen = None;
        let mut copies = Vec::new();
        for held in &held {
            let key = from.open(held)?;
            let file = held.path.file_name().and_then(|name| name.to_str()).expect("a key file has a name");
            let path = self.dir().join(file);
            let there = read_pem(&path)?;
            if there.as_ref().is_none_or(|there| !there.is_encrypted()) {
                if let Some(there) = &there
                    && open_pem(&path, there, "")?.public() != key.public()
                {
                    return Err(Error::Exists { path });
                }
                if chosen.is_none() {
                    chosen = Some(self.choose(passphrases)?);
                }
                let passphrase = chosen.as_ref().and_then(|chosen| chosen.as_ref()).map(|chosen| chosen.as_str());
                match there {
                    None => self.write_key(file, &key, passphrase, Place::New)?,
                    // The same key: locked as was chosen, and for its owner alone, whatever it was before.
                    Some(_) => self.write_key(file, &key, passphrase, Place::Replace)?,
                }
            }
            keep_private(&path)?;
            copies.push((path, key));
        }
        // Opened anew, from the disk: what cannot be opened here must not be taken away there.
        let here = Ring::new(self, passphrases).knowing(chosen.flatten());
        for (path, key) in &copies {
            let held = self.held()?.into_iter().find(|held| held.path == *path);
            let held = held.ok_or_else(|| Error::Missing { path: path.clone() })?;
            if here.open(&held)?.public() != key.public() {
                return Err(Error::Exists { path: path.clone() });
            }
        }
        self.copy_beliefs(from.store())?;
        Ok(copies.into_iter().map(|(path, _)| path).collect())
    }

    fn copy_beliefs(&self, from: &Keystore) -> Result<(), Error> {
        let (mut there, mut here) = (from.memory(), self.memory());
        for role in [Role::Root, Role::Timestamp, Role::Snapshot, Role::Targets, Role::channels()] {
            // What is here may be newer.
            if let (Some(bytes), None) = (there.load(&role), here.load(&role)) {
                here.store(&role, &bytes)?;
            }
        }
        Ok(())
    }

    /// Removes every private key from this directory; what is public stays. To be called when they are elsewhere.
    ///
    /// # Errors
    /// When one cannot be removed.
    pub fn remove_keys(&self) -> Result<(), Error> {
        self.held()?.into_iter().try_for_each(|held| remove(held.path))
    }
}
