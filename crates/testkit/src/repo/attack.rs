//! What an attacker does to a [`SimRepo`]: with a role's keys in hand, or only with hands on the wire.
//!
//! [`SimRepo::tamper`] and [`SimRepo::replace`] name the result in the metadata above, so that what is tested is the one
//! rule that is broken and not a hash that gives it away first. [`SimRepo::damage`] and [`SimRepo::put`] do not.

use serde_json::Value;
use updraft_core::key::SigningKey;
use updraft_core::layout::{self, Key};
use updraft_core::signed::Envelope;
use updraft_core::trust::Role;

use super::SimRepo;
use crate::{clock, keys};

impl SimRepo {
    /// Lets these keys sign for `role` from now on, whether or not anybody trusts them.
    pub fn set_signers(&mut self, role: &Role, keys: &[SigningKey]) {
        self.signers.insert(role.clone(), keys.iter().map(keys::copy).collect());
    }

    /// Exact bytes of a role's metadata as it is named now.
    pub fn current(&self, role: &Role) -> &[u8] {
        &self.current[role].1
    }

    /// Edits the signed part of a role's metadata, signs it with the role's keys, and names it in what is above.
    ///
    /// The next honest verb writes the role as if this had not happened.
    ///
    /// # Panics
    /// When the role's current metadata is not JSON.
    pub fn tamper(&mut self, role: &Role, edit: impl FnOnce(&mut Value)) {
        let mut signed = signed_part(self.current(role));
        edit(&mut signed);
        let bytes = self.sign(role, &Envelope::new(&signed));
        self.replace(role, bytes);
    }

    /// Puts any bytes in the place of a role's metadata, and names them in what is above: with the version that they say
    /// they have, or the next one when they say none.
    pub fn replace(&mut self, role: &Role, bytes: Vec<u8>) {
        let said = serde_json::from_slice::<Value>(&bytes).ok().and_then(|value| value["signed"]["version"].as_u64());
        self.replace_as(role, said.unwrap_or(self.version(role) + 1), bytes);
    }

    /// The same, named with any version.
    pub fn replace_as(&mut self, role: &Role, version: u64, bytes: Vec<u8>) {
        self.install(role, version, bytes);
        match role {
            Role::Targets | Role::Delegated(_) => self.seal(),
            Role::Snapshot => self.stamp(),
            Role::Timestamp => {
                self.write_head(self.current(&Role::Timestamp).to_vec(), self.current(&Role::Snapshot).to_vec());
            }
            Role::Root => {}
        }
    }

    /// Lets a role's metadata expire an hour before [`clock::now`].
    pub fn expire(&mut self, role: &Role) {
        self.tamper(role, |signed| signed["expires"] = clock::hours(-1).to_string().into());
    }

    /// Edits the bytes of a role's metadata as they lie there, and tells nobody: damage, or a thief on the wire.
    pub fn damage(&mut self, role: &Role, edit: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = self.current(role).to_vec();
        edit(&mut bytes);
        self.objects.insert(self.key_of(role), bytes.clone());
        match role {
            Role::Timestamp => self.write_head(bytes, self.current(&Role::Snapshot).to_vec()),
            Role::Snapshot => self.write_head(self.current(&Role::Timestamp).to_vec(), bytes),
            _ => {}
        }
    }

    /// The next root: the current one edited, with its version one on, signed by `signers` and by nobody else.
    ///
    /// It is served, and the honest verbs know nothing of it.
    pub fn forge_root(&mut self, signers: &[SigningKey], edit: impl FnOnce(&mut Value)) {
        let mut signed = signed_part(self.current(&Role::Root));
        let next = self.root.version + 1;
        signed["version"] = next.into();
        edit(&mut signed);
        let bytes = signers.iter().fold(Envelope::new(&signed), Envelope::sign).to_bytes();
        self.put(layout::metadata(&self.app, &layout::role_file(&Role::Root, next)), bytes);
        self.head_root = next;
        self.write_head(self.current(&Role::Timestamp).to_vec(), self.current(&Role::Snapshot).to_vec());
    }

    /// Stores any object, whatever is there.
    pub fn put(&mut self, key: Key, bytes: Vec<u8>) {
        self.objects.insert(key, bytes);
    }

    /// Takes an object away.
    ///
    /// # Panics
    /// When there is none: a test that takes away nothing tests nothing.
    pub fn remove(&mut self, key: &Key) {
        assert!(self.objects.remove(key).is_some(), "there is no {key} to take away");
    }

    /// Where a role's current metadata lies.
    pub fn key_of(&self, role: &Role) -> Key {
        layout::metadata(&self.app, &layout::role_file(role, self.version(role)))
    }
}

fn signed_part(bytes: &[u8]) -> Value {
    let mut value: Value = serde_json::from_slice(bytes).expect("a role that is to be tampered with is JSON");
    value["signed"].take()
}
