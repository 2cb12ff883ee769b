//! The private keys of a directory, found by the public halves that a root names, and opened as they are needed.
//!
//! A passphrase that opened one key is tried on the next before anybody is asked again: most people have one for all.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use updraft_core::key::{PublicKey, SigningKey};

use super::store::{open_pem, read_pem};
use super::{Error, Held, KeyName, Keystore, Passphrases, Zeroizing};

type Passphrase = Option<Zeroizing<String>>;

struct Opened {
    key: Rc<SigningKey>,
    passphrase: Passphrase,
}

/// The keys of one directory, for as long as one command runs.
pub struct Ring<'a> {
    store: &'a Keystore,
    passphrases: &'a dyn Passphrases,
    opened: RefCell<BTreeMap<PathBuf, Opened>>,
    said: RefCell<Vec<Zeroizing<String>>>,
    chosen: OnceCell<Passphrase>,
}

impl<'a> Ring<'a> {
    /// The keys of `store`; none is opened yet.
    pub fn new(store: &'a Keystore, passphrases: &'a dyn Passphrases) -> Self {
        Self { store, passphrases, opened: RefCell::default(), said: RefCell::default(), chosen: OnceCell::new() }
    }

    /// The same, with a passphrase that was said already.
    pub(super) fn knowing(self, passphrase: Option<Zeroizing<String>>) -> Self {
        self.said.borrow_mut().extend(passphrase);
        self
    }

    /// The directory.
    pub fn store(&self) -> &'a Keystore {
        self.store
    }

    /// Those of the keys `wanted` whose private halves are here, `most` at most. A file is found by the fingerprint in its
    /// name; one of the plain name is opened to see which key it holds, where others do not suffice.
    ///
    /// # Errors
    /// When a key that is here cannot be opened.
    pub fn find(&self, name: KeyName, wanted: &[PublicKey], most: usize) -> Result<Vec<Rc<SigningKey>>, Error> {
        let held = self.store.held()?;
        let is_wanted = |held: &&Held| {
            held.fingerprint.as_ref().is_some_and(|found| wanted.iter().any(|key| key.fingerprint() == *found))
        };
        let maybe = |held: &&Held| held.fingerprint.is_none() && held.name == name;
        let mut found: Vec<Rc<SigningKey>> = Vec::new();
        for held in held.iter().filter(is_wanted).chain(held.iter().filter(maybe)) {
            if found.len() >= most.min(wanted.len()) {
                break;
            }
            let key = self.open(held)?;
            let bytes = key.public().key_bytes();
            let is_new = !found.iter().any(|other| other.public().key_bytes() == bytes);
            if is_new && wanted.iter().any(|wanted| wanted.key_bytes() == bytes) {
                found.push(key);
            }
        }
        Ok(found)
    }

    /// Makes a key under its fingerprint; it is durable when this returns. It is locked as a key of the same kind that lies
    /// here is, or else as whoever knows the passphrases chooses.
    ///
    /// # Errors
    /// When it cannot be kept, or nobody says what to lock it with.
    pub fn make(&self, name: KeyName) -> Result<Rc<SigningKey>, Error> {
        let passphrase = self.passphrase_like(name)?;
        let text = passphrase.as_ref().map(|passphrase| passphrase.as_str());
        let (path, key) = self.store.make_key(name, true, text)?;
        let key = Rc::new(key);
        self.opened.borrow_mut().insert(path, Opened { key: Rc::clone(&key), passphrase });
        Ok(key)
    }

    /// The key in a file.
    ///
    /// # Errors
    /// When it is not there any more, or its passphrase is not to be had.
    pub fn open(&self, held: &Held) -> Result<Rc<SigningKey>, Error> {
        if let Some(opened) = self.opened.borrow().get(&held.path) {
            return Ok(Rc::clone(&opened.key));
        }
        let (key, passphrase) = self.open_file(&held.path)?;
        let key = Rc::new(key);
        let opened = Opened { key: Rc::clone(&key), passphrase };
        self.opened.borrow_mut().insert(held.path.clone(), opened);
        Ok(key)
    }

    fn open_file(&self, path: &Path) -> Result<(SigningKey, Passphrase), Error> {
        let pem = read_pem(path)?.ok_or_else(|| Error::Missing { path: path.to_owned() })?;
        if !pem.is_encrypted() {
            return Ok((open_pem(path, &pem, "")?, None));
        }
        for said in self.said.borrow().iter() {
            match open_pem(path, &pem, said) {
                Err(Error::WrongPassphrase { .. }) => {}
                other => return other.map(|key| (key, Some(said.clone()))),
            }
        }
        let passphrase = self.store.recall(path, self.passphrases)?;
        let key = open_pem(path, &pem, &passphrase)?;
        self.said.borrow_mut().push(passphrase.clone());
        Ok((key, Some(passphrase)))
    }

    fn passphrase_like(&self, name: KeyName) -> Result<Passphrase, Error> {
        let held = self.store.held()?;
        let opened = |held: &Held| self.opened.borrow().contains_key(&held.path);
        let alike = held.iter().filter(|held| held.locked && held.name == name);
        if let Some(held) = alike.max_by_key(|held| opened(held)) {
            self.open(held)?;
            let opened = self.opened.borrow();
            return Ok(opened.get(&held.path).and_then(|opened| opened.passphrase.clone()));
        }
        if let Some(chosen) = self.chosen.get() {
            return Ok(chosen.clone());
        }
        let chosen = self.store.choose(self.passphrases)?;
        Ok(self.chosen.get_or_init(|| chosen).clone())
    }
}
