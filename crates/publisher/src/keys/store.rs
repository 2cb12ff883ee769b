//! What lies in a key directory, and how it gets there.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use updraft_core::api::FirstMetadata;
use updraft_core::key::SigningKey;
use updraft_core::limits::{METADATA_LEN_MAX, ROOT_LEN_MAX};

use super::disk::{self, Place, make_private_dir, read_bounded, remove, write};
use super::{Error, Held, KeyName, Memory, Passphrases, Zeroizing};
use crate::pem::{self, Pem};

/// Largest key file that is read, in bytes: a locked Ed25519 key has about 400.
const KEY_FILE_LEN_MAX: u64 = 16 << 10;

const ROOT_JSON: &str = "root.json";
const PENDING_JSON: &str = "pending.json";
const ROTATION_JSON: &str = "rotation.json";
const TRUSTED: &str = "trusted";
const LOCK: &str = ".lock";

/// The private keys of a new app's publisher.
#[derive(Debug)]
pub struct Keys {
    /// Sign roots.
    pub root: Vec<SigningKey>,
    /// Signs which releases exist.
    pub targets: SigningKey,
}

/// The directory of one app's keys. Making this value makes nothing on disk.
#[derive(Debug, Clone)]
pub struct Keystore {
    dir: PathBuf,
}

/// Held while one process creates an app or brings what is believed up to date; given back when dropped.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "the lock lasts as long as the file is open")] File);

impl Keystore {
    /// The keys in `dir`, which need not exist yet.
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the key lies that was there first, or would lie.
    pub fn key_path(&self, name: KeyName) -> PathBuf {
        self.dir.join(name.plain_file())
    }

    /// Where the first root lies, or would lie.
    pub fn root_path(&self) -> PathBuf {
        self.dir.join(ROOT_JSON)
    }

    /// Whether an app was created with these keys.
    pub fn is_ready(&self) -> bool {
        self.dir.join(ROOT_JSON).is_file()
    }

    /// Waits until no other process holds these keys.
    ///
    /// # Errors
    /// When the directory cannot be made or written.
    pub fn lock(&self) -> Result<Lock, Error> {
        disk::open_lock(&self.dir, LOCK).map(Lock)
    }

    /// Every private key that lies here, by file name. None is opened that is locked.
    ///
    /// # Errors
    /// When the directory cannot be read, or a file with the name of a key holds none.
    pub fn held(&self) -> Result<Vec<Held>, Error> {
        let mut held = Vec::new();
        for file in disk::names_in(&self.dir)? {
            let Some((name, fingerprint)) = KeyName::of_file(&file) else { continue };
            let path = self.dir.join(&file);
            // Somebody may take it away meanwhile.
            let Some(pem) = read_pem(&path)? else { continue };
            let locked = pem.is_encrypted();
            let fingerprint = match fingerprint {
                None if !locked => Some(open_pem(&path, &pem, "")?.public().fingerprint()),
                known => known,
            };
            held.push(Held { name, path, fingerprint, locked });
        }
        Ok(held)
    }

    /// The keys of an app that is to be created, with so many root keys: those that are there are opened, those that are
    /// not are made.
    ///
    /// # Errors
    /// When one that is there cannot be opened, or one that is not cannot be kept, or there are more than `root_keys`.
    pub fn create_keys(&self, root_keys: usize, passphrases: &dyn Passphrases) -> Result<Keys, Error> {
        make_private_dir(&self.dir)?;
        let held = self.held()?;
        let of = |name| held.iter().filter(move |held| held.name == name);
        let found = of(KeyName::Root).count();
        if found > root_keys {
            return Err(Error::TooMany { dir: self.dir.clone(), found, wanted: root_keys });
        }
        // An interrupted creation left some: the others are locked as those are.
        let passphrase = match held.iter().find(|held| held.locked).or(held.first()) {
            Some(held) if held.locked => Some(self.recall(&held.path, passphrases)?),
            Some(_) => None,
            None => self.choose(passphrases)?,
        };
        let passphrase = passphrase.as_ref().map(|passphrase| passphrase.as_str());
        let open = |held: &Held| self.open_file(&held.path, passphrase.unwrap_or_default());
        let mut root = of(KeyName::Root).map(open).collect::<Result<Vec<_>, _>>()?;
        while root.len() < root_keys {
            let named = root_keys > 1;
            root.push(self.make_key(KeyName::Root, named, passphrase)?.1);
        }
        let targets = match of(KeyName::Targets).next() {
            Some(held) => open(held)?,
            None => self.make_key(KeyName::Targets, false, passphrase)?.1,
        };
        Ok(Keys { root, targets })
    }

    /// The key that was there first.
    ///
    /// # Errors
    /// When it is not there, is something else, or its passphrase is not to be had.
    pub fn open_key(&self, name: KeyName, passphrases: &dyn Passphrases) -> Result<SigningKey, Error> {
        let path = self.key_path(name);
        let pem = read_pem(&path)?.ok_or_else(|| Error::Missing { path: path.clone() })?;
        match pem.is_encrypted() {
            true => open_pem(&path, &pem, &self.recall(&path, passphrases)?),
            false => open_pem(&path, &pem, ""),
        }
    }

    /// The first root of the app; `None` when no app was created with these keys yet.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn first_root(&self) -> Result<Option<Vec<u8>>, Error> {
        read_bounded(&self.dir.join(ROOT_JSON), ROOT_LEN_MAX)
    }

    /// What was signed for an app whose creation was interrupted.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub(crate) fn pending(&self) -> Result<Option<FirstMetadata>, Error> {
        let path = self.pending_path();
        let Some(bytes) = read_bounded(&path, 4 * (ROOT_LEN_MAX + METADATA_LEN_MAX))? else { return Ok(None) };
        let foreign = |e: serde_json::Error| Error::Foreign { path: path.clone(), reason: e.to_string() };
        serde_json::from_slice(&bytes).map(Some).map_err(foreign)
    }

    /// Where that lies.
    pub(crate) fn pending_path(&self) -> PathBuf {
        self.dir.join(PENDING_JSON)
    }

    /// Keeps what is about to be sent to create the app, so that an interrupted creation sends the same again.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn set_pending(&self, first: &FirstMetadata) -> Result<(), Error> {
        let bytes = serde_json::to_vec(first).expect("metadata is plain JSON");
        write(&self.dir, PENDING_JSON, &bytes, Place::Replace)
    }

    /// The app exists: its first root stays for ever, and nothing is pending any more.
    ///
    /// # Errors
    /// When it cannot be written, or another app's root is there.
    pub(crate) fn settle(&self, root: &[u8]) -> Result<(), Error> {
        self.pin(root)?;
        remove(self.dir.join(PENDING_JSON))
    }

    /// Keeps the first root; the same one may be there already.
    ///
    /// # Errors
    /// When it cannot be written, or another app's root is there.
    pub(crate) fn pin(&self, root: &[u8]) -> Result<(), Error> {
        match write(&self.dir, ROOT_JSON, root, Place::New) {
            Err(Error::Exists { .. }) if self.first_root()?.as_deref() == Some(root) => Ok(()),
            other => other,
        }
    }

    /// The change of keys that was sent and not acknowledged, as [`Self::set_rotation`] kept it.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub(crate) fn rotation(&self) -> Result<Option<Vec<u8>>, Error> {
        read_bounded(&self.dir.join(ROTATION_JSON), 4 * ROOT_LEN_MAX)
    }

    /// Keeps what is about to be sent to change keys, so that an interrupted change is known again.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn set_rotation(&self, bytes: &[u8]) -> Result<(), Error> {
        write(&self.dir, ROTATION_JSON, bytes, Place::Replace)
    }

    /// Nothing is pending any more.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub(crate) fn clear_rotation(&self) -> Result<(), Error> {
        remove(self.dir.join(ROTATION_JSON))
    }

    /// What was believed last.
    pub fn memory(&self) -> Memory {
        Memory { dir: self.dir.join(TRUSTED) }
    }

    fn open_file(&self, path: &Path, passphrase: &str) -> Result<SigningKey, Error> {
        let pem = read_pem(path)?.ok_or_else(|| Error::Missing { path: path.to_owned() })?;
        open_pem(path, &pem, passphrase)
    }

    pub(super) fn recall(&self, path: &Path, passphrases: &dyn Passphrases) -> Result<Zeroizing<String>, Error> {
        let refused = |e: io::Error| Error::NoPassphrase { path: path.to_owned(), reason: e.to_string() };
        passphrases.recall(path).map_err(refused)
    }

    /// The passphrase for new keys.
    pub(super) fn choose(&self, passphrases: &dyn Passphrases) -> Result<Option<Zeroizing<String>>, Error> {
        let refused = |e: io::Error| Error::NoPassphrase { path: self.dir.clone(), reason: e.to_string() };
        let chosen = passphrases.choose(&self.dir).map_err(refused)?;
        if chosen.as_ref().is_some_and(|passphrase| passphrase.is_empty()) {
            return Err(refused(io::Error::other("an empty one protects nothing")));
        }
        Ok(chosen)
    }

    /// Makes a key, durably, under its fingerprint (`named`) or under the plain name.
    pub(super) fn make_key(
        &self,
        name: KeyName,
        named: bool,
        passphrase: Option<&str>,
    ) -> Result<(PathBuf, SigningKey), Error> {
        make_private_dir(&self.dir)?;
        let key = SigningKey::from_seed(*disk::random(&self.dir)?);
        let file = if named { name.named_file(&key.public().fingerprint()) } else { name.plain_file() };
        self.write_key(&file, &key, passphrase, Place::New)?;
        Ok((self.dir.join(file), key))
    }

    /// Writes a key file: a new one, or the same key locked in another way.
    pub(super) fn write_key(
        &self,
        file: &str,
        key: &SigningKey,
        passphrase: Option<&str>,
        place: Place,
    ) -> Result<(), Error> {
        let text = pem::encode(key, passphrase, *disk::random(&self.dir)?);
        write(&self.dir, file, text.as_bytes(), place)
    }
}

/// The key file at `path`, not opened; `None` when there is none.
pub(super) fn read_pem(path: &Path) -> Result<Option<Pem>, Error> {
    let Some(bytes) = read_bounded(path, KEY_FILE_LEN_MAX)?.map(Zeroizing::new) else { return Ok(None) };
    let foreign = |reason: String| Error::Foreign { path: path.to_owned(), reason };
    let text = std::str::from_utf8(&bytes).map_err(|_| foreign("it is not text".to_owned()))?;
    Pem::parse(text).map(Some).map_err(|e| explain(path, e))
}

/// Opens it, and compares it with its name: a key that has another fingerprint than its file says would sign what nobody
/// expects.
pub(super) fn open_pem(path: &Path, pem: &Pem, passphrase: &str) -> Result<SigningKey, Error> {
    let key = pem.open(passphrase).map_err(|e| explain(path, e))?;
    let file = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let found = key.public().fingerprint();
    match KeyName::of_file(file).and_then(|(_, fingerprint)| fingerprint) {
        Some(named) if named != found => {
            let reason = format!("it holds key {found}, which is not the one that its name says");
            Err(Error::Foreign { path: path.to_owned(), reason })
        }
        _ => Ok(key),
    }
}

fn explain(path: &Path, error: pem::Error) -> Error {
    let path = path.to_owned();
    match error {
        pem::Error::Foreign(reason) => Error::Foreign { path, reason },
        pem::Error::WrongPassphrase => Error::WrongPassphrase { path },
    }
}
