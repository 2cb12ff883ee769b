//! Who may sign for a role.

use std::fmt;

use updraft_core::key::PublicKey;
use updraft_core::trust::{Role, Root};

/// Who may sign for a role, and how many of them must.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signers {
    /// Those who may.
    pub keys: Vec<PublicKey>,
    /// How many must.
    pub threshold: u32,
}

impl Signers {
    /// What `root` says of `role`.
    pub fn of(root: &Root, role: &Role) -> Self {
        let Some(named) = root.roles.get(role.name()) else { return Self { keys: Vec::new(), threshold: 0 } };
        let keys = named.keyids.iter().filter_map(|id| root.keys.get(id)).cloned().collect();
        Self { keys, threshold: named.threshold }
    }

    /// Whether `key` is among them, whatever it is called.
    pub fn has(&self, key: &PublicKey) -> bool {
        self.keys.iter().any(|known| is_same(known, key))
    }
}

/// Whether two public keys are one and the same key: ids are names, the bytes decide.
pub(super) fn is_same(a: &PublicKey, b: &PublicKey) -> bool {
    a == b || (a.key_bytes().is_some() && a.key_bytes() == b.key_bytes())
}

impl fmt::Display for Signers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.keys.iter().map(PublicKey::fingerprint).collect();
        f.write_str(&names.join(", "))
    }
}
