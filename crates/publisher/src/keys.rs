//! The directory that holds an app's private keys, and what was believed of the app last.
//!
//! ```text
//! root.pem       names the other keys; needed to create the app and to change keys (mode 0600)
//! targets.pem    signs releases (mode 0600)
//! root.json      the first root: what everything is verified from
//! pending.json   only while an app is being created: what was signed for it and may not have arrived
//! trusted/       what was believed last: the memory that notices a server that goes back in time
//! ```
//!
//! A key file is never overwritten, and nothing here is ever half written: files are finished under another name, and
//! take their place in one step. Passphrases come in through [`Passphrases`]; they are read from nowhere.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// A secret that is wiped from memory when it is dropped.
pub use pkcs8::der::zeroize::Zeroizing;
use tempfile::NamedTempFile;
use updraft_core::api::FirstMetadata;
use updraft_core::key::SigningKey;
use updraft_core::limits::{METADATA_LEN_MAX, ROOT_LEN_MAX};
use updraft_core::trust::{Cache, Role};

use crate::pem::{self, Pem};

/// Largest key file that is read, in bytes: a locked Ed25519 key has about 400.
const KEY_FILE_LEN_MAX: u64 = 16 << 10;

const ROOT_JSON: &str = "root.json";
const PENDING_JSON: &str = "pending.json";
const TRUSTED: &str = "trusted";
const LOCK: &str = ".lock";

/// Why keys, or what lies beside them, cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such key.
    #[error(
        "{path}: there is no key here; name the directory that holds the keys of this app, or create the app first"
    )]
    Missing {
        /// Where one was looked for.
        path: PathBuf,
    },
    /// There is a file already.
    #[error("{path}: is there already and is never overwritten; move it away, or use another key directory")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The file is not what it should be.
    #[error("{path}: {reason}; put the right file there, from a backup if need be")]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The passphrase is not the one that locks the key.
    #[error("{path}: wrong passphrase; try again")]
    WrongPassphrase {
        /// The key file.
        path: PathBuf,
    },
    /// A passphrase is needed and could not be had.
    #[error("{path}: a passphrase is needed: {reason}")]
    NoPassphrase {
        /// The key file, or the directory where keys are to be made.
        path: PathBuf,
        /// Why there is none.
        reason: String,
    },
    /// The system refused.
    #[error("{path}: {source}")]
    Io {
        /// What was being read or written.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

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

/// The private keys of an app's publisher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyName {
    /// Signs roots.
    Root,
    /// Signs which releases exist.
    Targets,
}

impl KeyName {
    fn file_name(self) -> &'static str {
        match self {
            Self::Root => "root.pem",
            Self::Targets => "targets.pem",
        }
    }
}

/// Both private keys of an app's publisher.
#[derive(Debug)]
pub struct Keys {
    /// Signs roots.
    pub root: SigningKey,
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

    /// Where a key lies.
    pub fn key_path(&self, name: KeyName) -> PathBuf {
        self.dir.join(name.file_name())
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
        make_private_dir(&self.dir)?;
        let path = self.dir.join(LOCK);
        let failed = |source| Error::Io { path: path.clone(), source };
        let file = File::options().create(true).append(true).open(&path).map_err(failed)?;
        file.lock().map_err(failed)?;
        Ok(Lock(file))
    }

    /// Both keys: those that are there are opened, those that are not are made.
    ///
    /// # Errors
    /// When one that is there cannot be opened, or one that is not cannot be kept.
    pub fn create_keys(&self, passphrases: &dyn Passphrases) -> Result<Keys, Error> {
        make_private_dir(&self.dir)?;
        let (root, targets) = (self.read_key(KeyName::Root)?, self.read_key(KeyName::Targets)?);
        // An interrupted creation left one: the other is locked as that one is.
        let found = [(KeyName::Root, &root), (KeyName::Targets, &targets)].into_iter().find(|(_, pem)| pem.is_some());
        let passphrase = match found {
            Some((name, Some(pem))) if pem.is_encrypted() => Some(self.recall(name, passphrases)?),
            Some(_) => None,
            None => {
                let refused = |e: io::Error| Error::NoPassphrase { path: self.dir.clone(), reason: e.to_string() };
                let chosen = passphrases.choose(&self.dir).map_err(refused)?;
                if chosen.as_ref().is_some_and(|passphrase| passphrase.is_empty()) {
                    return Err(refused(io::Error::other("an empty one protects nothing")));
                }
                chosen
            }
        };
        let passphrase = passphrase.as_ref().map(|passphrase| passphrase.as_str());
        let key = |name, pem: Option<Pem>| match pem {
            Some(pem) => self.open(name, &pem, passphrase.unwrap_or_default()),
            None => self.make_key(name, passphrase),
        };
        Ok(Keys { root: key(KeyName::Root, root)?, targets: key(KeyName::Targets, targets)? })
    }

    /// A key that is there.
    ///
    /// # Errors
    /// When it is not there, is something else, or its passphrase is not to be had.
    pub fn open_key(&self, name: KeyName, passphrases: &dyn Passphrases) -> Result<SigningKey, Error> {
        let pem = self.read_key(name)?.ok_or_else(|| Error::Missing { path: self.key_path(name) })?;
        match pem.is_encrypted() {
            true => self.open(name, &pem, &self.recall(name, passphrases)?),
            false => self.open(name, &pem, ""),
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
        let path = self.dir.join(PENDING_JSON);
        let Some(bytes) = read_bounded(&path, 4 * (ROOT_LEN_MAX + METADATA_LEN_MAX))? else { return Ok(None) };
        let foreign = |e: serde_json::Error| Error::Foreign { path: path.clone(), reason: e.to_string() };
        serde_json::from_slice(&bytes).map(Some).map_err(foreign)
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
        match write(&self.dir, ROOT_JSON, root, Place::New) {
            Err(Error::Exists { .. }) if self.first_root()?.as_deref() == Some(root) => {}
            other => other?,
        }
        remove(self.dir.join(PENDING_JSON))
    }

    /// What was believed last.
    pub fn memory(&self) -> Memory {
        Memory { dir: self.dir.join(TRUSTED) }
    }

    fn read_key(&self, name: KeyName) -> Result<Option<Pem>, Error> {
        let path = self.key_path(name);
        let Some(bytes) = read_bounded(&path, KEY_FILE_LEN_MAX)?.map(Zeroizing::new) else { return Ok(None) };
        let foreign = |reason: String| Error::Foreign { path: path.clone(), reason };
        let text = std::str::from_utf8(&bytes).map_err(|_| foreign("it is not text".to_owned()))?;
        Pem::parse(text).map(Some).map_err(|e| self.explain(name, e))
    }

    fn open(&self, name: KeyName, pem: &Pem, passphrase: &str) -> Result<SigningKey, Error> {
        pem.open(passphrase).map_err(|e| self.explain(name, e))
    }

    fn explain(&self, name: KeyName, error: pem::Error) -> Error {
        let path = self.key_path(name);
        match error {
            pem::Error::Foreign(reason) => Error::Foreign { path, reason },
            pem::Error::WrongPassphrase => Error::WrongPassphrase { path },
        }
    }

    fn recall(&self, name: KeyName, passphrases: &dyn Passphrases) -> Result<Zeroizing<String>, Error> {
        let path = self.key_path(name);
        passphrases.recall(&path).map_err(|e| Error::NoPassphrase { path, reason: e.to_string() })
    }

    fn make_key(&self, name: KeyName, passphrase: Option<&str>) -> Result<SigningKey, Error> {
        let path = self.key_path(name);
        let key = SigningKey::from_seed(*random(&path)?);
        let text = pem::encode(&key, passphrase, *random(&path)?);
        write(&self.dir, name.file_name(), text.as_bytes(), Place::New)?;
        Ok(key)
    }
}

/// What was believed of the app last, in `trusted/`: each role's bytes as they came.
///
/// What it returns is verified again. A damaged file counts as none, so that a bad disk costs memory and not the app.
#[derive(Debug)]
pub struct Memory {
    dir: PathBuf,
}

impl Memory {
    fn file_name(role: &Role) -> String {
        match role {
            Role::Delegated(name) if name != Role::channels().name() => format!("role-{}.json", hex::encode(name)),
            known => known.file_name(),
        }
    }
}

impl Cache for Memory {
    type Error = Error;

    fn load(&mut self, role: &Role) -> Option<Vec<u8>> {
        read_bounded(&self.dir.join(Self::file_name(role)), METADATA_LEN_MAX).ok().flatten()
    }

    fn store(&mut self, role: &Role, bytes: &[u8]) -> Result<(), Error> {
        make_private_dir(&self.dir)?;
        write(&self.dir, &Self::file_name(role), bytes, Place::Replace)
    }

    fn forget(&mut self, role: &Role) -> Result<(), Error> {
        remove(self.dir.join(Self::file_name(role)))
    }
}

/// Whether a file may take the place of another.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    New,
    Replace,
}

/// Writes a file of mode 0600 that is there whole or not at all, and survives a power cut once this returns.
fn write(dir: &Path, name: &str, bytes: &[u8], place: Place) -> Result<(), Error> {
    let path = dir.join(name);
    let failed = |source| Error::Io { path: path.clone(), source };
    let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(dir).map_err(failed)?;
    file.write_all(bytes).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
    persist(file, &path, place)?;
    sync_dir(dir).map_err(failed)
}

fn persist(file: NamedTempFile, path: &Path, place: Place) -> Result<(), Error> {
    let persisted = match place {
        Place::New => file.persist_noclobber(path),
        Place::Replace => file.persist(path),
    };
    persisted.map(drop).map_err(|e| match e.error.kind() {
        io::ErrorKind::AlreadyExists => Error::Exists { path: path.to_owned() },
        _ => Error::Io { path: path.to_owned(), source: e.error },
    })
}

/// Removes a file that need not be there.
fn remove(path: PathBuf) -> Result<(), Error> {
    match fs::remove_file(&path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(Error::Io { path, source }),
        _ => Ok(()),
    }
}

/// A rename survives a power cut only when its directory was synced; Windows has no such call and needs none.
fn sync_dir(dir: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(dir)?.sync_all() } else { Ok(()) }
}

fn make_private_dir(dir: &Path) -> Result<(), Error> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir).map_err(|source| Error::Io { path: dir.to_owned(), source })
}

fn read_bounded(path: &Path, max: u64) -> Result<Option<Vec<u8>>, Error> {
    let failed = |source| Error::Io { path: path.to_owned(), source };
    let file = match File::open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(failed)?,
    };
    let mut bytes = Vec::new();
    file.take(max + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > max {
        return Err(Error::Foreign { path: path.to_owned(), reason: format!("it has more than {max} bytes") });
    }
    Ok(Some(bytes))
}

fn random(path: &Path) -> Result<Zeroizing<[u8; 32]>, Error> {
    let mut bytes = Zeroizing::new([0; 32]);
    let failed = |e: getrandom::Error| Error::Io { path: path.to_owned(), source: io::Error::other(e) };
    getrandom::fill(&mut *bytes).map_err(failed)?;
    Ok(bytes)
}
