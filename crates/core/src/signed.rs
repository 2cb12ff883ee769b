//! A signed document: some JSON and the signatures over its canonical form (TUF 4.2.1).
//!
//! [`Envelope::parse`] reads one without believing it; [`Envelope::verify`] asks whether enough distinct keys signed it.
//! What is then done with the content is [`crate::trust`]'s business.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::json;
use crate::key::{KeyId, PublicKey, SigningKey};
use crate::limits::SIGNATURES_MAX;

/// Why a document is not signed well enough.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not a signed document at all.
    #[error("not a signed document: {0}")]
    Format(String),
    /// Longer than it may be.
    #[error("{len} bytes are over the limit of {max} (endless data looks like this)")]
    TooLong {
        /// Its length.
        len: u64,
        /// How long it may be.
        max: u64,
    },
    /// Too few of the keys that may sign it did.
    #[error(
        "{found} of the {threshold} signatures that are needed (a forgery looks like this, and so does metadata of another app)"
    )]
    Threshold {
        /// Distinct keys that signed.
        found: usize,
        /// How many must.
        threshold: u32,
    },
}

/// Which keys may sign for a role, and how many of them must.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleKeys {
    /// The ids of the keys that may.
    pub keyids: Vec<KeyId>,
    /// How many distinct ones must; at least 1.
    pub threshold: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Signature {
    keyid: KeyId,
    sig: String,
}

#[derive(Serialize, Deserialize)]
struct Wire {
    signatures: Vec<Signature>,
    signed: Value,
}

/// A document that was read and is not yet believed.
#[derive(Debug, Clone, PartialEq)]
pub struct Envelope {
    signatures: Vec<Signature>,
    signed: Value,
}

impl Envelope {
    /// Reads the document in `bytes`, which may have `max` of them.
    ///
    /// # Errors
    /// When it is too long, not strict JSON, or has no place for signatures.
    pub fn parse(bytes: &[u8], max: u64) -> Result<Self, Error> {
        if bytes.len() as u64 > max {
            return Err(Error::TooLong { len: bytes.len() as u64, max });
        }
        let value = json::parse(bytes).map_err(|e| Error::Format(e.to_string()))?;
        let wire: Wire = serde_json::from_value(value).map_err(|e| Error::Format(e.to_string()))?;
        if wire.signatures.len() > SIGNATURES_MAX {
            return Err(Error::Format(format!("more than {SIGNATURES_MAX} signatures")));
        }
        // TUF 4.2.1: a key id is unique among the signatures.
        let ids: BTreeSet<_> = wire.signatures.iter().map(|signature| &signature.keyid).collect();
        if ids.len() != wire.signatures.len() {
            return Err(Error::Format("two signatures under one key id".to_owned()));
        }
        Ok(Self { signatures: wire.signatures, signed: wire.signed })
    }

    /// A document of `content`, signed by nobody yet.
    pub fn new(content: &impl Serialize) -> Self {
        let signed = serde_json::to_value(content).expect("metadata is plain JSON");
        Self { signatures: Vec::new(), signed }
    }

    /// Adds the signature of `key`; one that it made before is replaced.
    #[must_use]
    pub fn sign(mut self, key: &SigningKey) -> Self {
        let keyid = key.public().id();
        self.signatures.retain(|signature| signature.keyid != keyid);
        self.signatures.push(Signature { keyid, sig: key.sign(&json::canonical(&self.signed)) });
        self
    }

    /// The ids of the keys whose signatures are on it, whether or not these verify.
    pub fn signers(&self) -> impl Iterator<Item = &KeyId> {
        self.signatures.iter().map(|signature| &signature.keyid)
    }

    /// The same document with the signatures of `other` too; `None` when that is another document. Where both have one
    /// under the same key id, this one's stays.
    #[must_use]
    pub fn merge(mut self, other: &Self) -> Option<Self> {
        if self.signed != other.signed {
            return None;
        }
        for signature in &other.signatures {
            if self.signers().all(|keyid| *keyid != signature.keyid) {
                self.signatures.push(signature.clone());
            }
        }
        Some(self)
    }

    /// The bytes to write: compact JSON.
    pub fn to_bytes(&self) -> Vec<u8> {
        let wire = Wire { signatures: self.signatures.clone(), signed: self.signed.clone() };
        serde_json::to_vec(&wire).expect("metadata is plain JSON")
    }

    /// Its content as a `T`, unverified.
    ///
    /// # Errors
    /// When it is not a `T`.
    pub fn content<T: DeserializeOwned>(&self) -> Result<T, Error> {
        T::deserialize(&self.signed).map_err(|e| Error::Format(json::shown(&e.to_string())))
    }

    /// The role it says it is for (`_type`), unverified.
    pub fn role_type(&self) -> Option<&str> {
        self.signed.get("_type")?.as_str()
    }

    /// Whether `role`'s threshold of distinct keys signed this.
    ///
    /// # Errors
    /// [`Error::Threshold`] when not. Signatures by keys that are not the role's, or that do not verify, do not count and
    /// do not harm.
    pub fn verify(&self, keys: &BTreeMap<KeyId, PublicKey>, role: &RoleKeys) -> Result<(), Error> {
        let message = json::canonical(&self.signed);
        let mut signers = BTreeSet::new();
        for signature in &self.signatures {
            if !role.keyids.contains(&signature.keyid) {
                continue;
            }
            let Some(key) = keys.get(&signature.keyid) else { continue };
            if key.verifies(&message, &signature.sig) {
                signers.extend(key.key_bytes());
            }
        }
        if role.threshold == 0 || signers.len() < role.threshold as usize {
            return Err(Error::Threshold { found: signers.len(), threshold: role.threshold });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> SigningKey {
        SigningKey::from_seed([n; 32])
    }

    fn role(keys: &[&SigningKey], threshold: u32) -> (BTreeMap<KeyId, PublicKey>, RoleKeys) {
        let all: BTreeMap<_, _> = keys.iter().map(|key| (key.public().id(), key.public())).collect();
        let keyids = all.keys().cloned().collect();
        (all, RoleKeys { keyids, threshold })
    }

    #[test]
    fn there_and_back() {
        let content = serde_json::json!({"_type": "x", "text": "line\nline"});
        let bytes = Envelope::new(&content).sign(&key(1)).to_bytes();
        let read = Envelope::parse(&bytes, 1000).unwrap();
        let (keys, role) = role(&[&key(1)], 1);
        read.verify(&keys, &role).unwrap();
        assert_eq!(read.role_type(), Some("x"));
        assert_eq!(read.to_bytes(), bytes);
    }

    #[test]
    fn thresholds_count_distinct_keys() {
        let (a, b) = (key(1), key(2));
        let (mut keys, mut pair) = role(&[&a, &b], 2);
        let envelope = Envelope::new(&serde_json::json!({"n": 1}));
        let one = envelope.clone().sign(&a).sign(&a);
        assert_eq!(one.verify(&keys, &pair), Err(Error::Threshold { found: 1, threshold: 2 }));
        envelope.clone().sign(&a).sign(&b).verify(&keys, &pair).unwrap();

        // The same key under a second id still counts once.
        let twin: KeyId = serde_json::from_str("\"twin\"").unwrap();
        keys.insert(twin.clone(), a.public());
        pair.keyids.push(twin.clone());
        let mut doubled = envelope.sign(&a);
        let again = Signature { keyid: twin, sig: doubled.signatures[0].sig.clone() };
        doubled.signatures.push(again);
        assert_eq!(doubled.verify(&keys, &pair), Err(Error::Threshold { found: 1, threshold: 2 }));
    }

    #[test]
    fn copies_that_were_signed_apart_come_together() {
        let (a, b) = (key(1), key(2));
        let envelope = Envelope::new(&serde_json::json!({"n": 1}));
        let (left, right) = (envelope.clone().sign(&a), envelope.sign(&a).sign(&b));
        let merged = left.merge(&right).unwrap();
        assert_eq!(merged, right);
        let (keys, pair) = role(&[&a, &b], 2);
        merged.clone().verify(&keys, &pair).unwrap();
        let other = Envelope::new(&serde_json::json!({"n": 2})).sign(&b);
        assert_eq!(merged.merge(&other), None);
    }

    #[test]
    fn a_threshold_of_zero_is_never_met() {
        let (keys, role) = role(&[&key(1)], 0);
        assert!(Envelope::new(&serde_json::json!({})).sign(&key(1)).verify(&keys, &role).is_err());
    }

    #[test]
    fn two_signatures_under_one_key_id_are_refused() {
        let mut envelope = Envelope::new(&serde_json::json!({"n": 1})).sign(&key(1));
        envelope.signatures.push(envelope.signatures[0].clone());
        let error = Envelope::parse(&envelope.to_bytes(), 1_000).unwrap_err();
        assert_eq!(error, Error::Format("two signatures under one key id".to_owned()));
    }

    #[test]
    fn an_altered_document_is_not_signed() {
        let bytes = Envelope::new(&serde_json::json!({"version": 1})).sign(&key(1)).to_bytes();
        let text = String::from_utf8(bytes).unwrap().replace("\"version\":1", "\"version\":2");
        let (keys, role) = role(&[&key(1)], 1);
        let read = Envelope::parse(text.as_bytes(), 1000).unwrap();
        assert_eq!(read.verify(&keys, &role), Err(Error::Threshold { found: 0, threshold: 1 }));
    }

    #[test]
    fn length_is_checked_before_anything_else() {
        assert_eq!(Envelope::parse(b"not json", 3), Err(Error::TooLong { len: 8, max: 3 }));
    }
}
