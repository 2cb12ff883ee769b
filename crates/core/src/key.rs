//! Keys and the signatures they make.
//!
//! Key ids are names, nothing more: a threshold is counted over distinct *key bytes* (see [`crate::signed`]), so one key
//! listed under two ids signs once.

use std::fmt;

use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

use crate::digest::Sha256;
use crate::json;

/// The name of a key inside one metadata file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyId(String);

impl KeyId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A public key in TUF's form (TUF 4.2).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PublicKey {
    keytype: String,
    scheme: String,
    keyval: KeyVal,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct KeyVal {
    public: String,
}

impl PublicKey {
    /// The id that TUF suggests for it: the SHA-256 of its canonical form.
    pub fn id(&self) -> KeyId {
        let value = serde_json::to_value(self).expect("a key is plain JSON");
        KeyId(Sha256::of(&json::canonical(&value)).to_string())
    }

    /// A short form for people to compare: the first 16 digits of its id.
    pub fn fingerprint(&self) -> String {
        self.id().0[..16].to_owned()
    }

    /// The bytes that make this key this key, for counting distinct ones; `None` for a scheme that is not known here.
    pub fn key_bytes(&self) -> Option<Vec<u8>> {
        match (self.keytype.as_str(), self.scheme.as_str()) {
            ("ed25519", "ed25519") => hex::decode(&self.keyval.public).ok().filter(|bytes| bytes.len() == 32),
            _ => None,
        }
    }

    /// Whether `signature` (hexadecimal) over `message` is by this key. A key of an unknown scheme signs nothing.
    pub fn verifies(&self, message: &[u8], signature: &str) -> bool {
        match (self.key_bytes(), hex::decode(signature)) {
            (Some(key), Ok(signature)) => UnparsedPublicKey::new(&ED25519, key).verify(message, &signature).is_ok(),
            _ => false,
        }
    }
}

/// A private Ed25519 key. It never prints itself.
pub struct SigningKey {
    seed: [u8; 32],
    pair: Ed25519KeyPair,
}

impl SigningKey {
    /// The key that grows from `seed`: 32 bytes from the system's random source (or fixed ones, in a test).
    pub fn from_seed(seed: [u8; 32]) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).expect("any 32 bytes are an Ed25519 seed");
        Self { seed, pair }
    }

    /// The seed, for whoever writes the key down.
    pub fn seed(&self) -> &[u8; 32] {
        &self.seed
    }

    /// Its public half.
    pub fn public(&self) -> PublicKey {
        PublicKey {
            keytype: "ed25519".to_owned(),
            scheme: "ed25519".to_owned(),
            keyval: KeyVal { public: hex::encode(self.pair.public_key().as_ref()) },
        }
    }

    /// The signature over `message`, in hexadecimal.
    pub fn sign(&self, message: &[u8]) -> String {
        hex::encode(self.pair.sign(message).as_ref())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public().fingerprint())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_8032_vector_2() {
        let seed = hex::decode("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb").unwrap();
        let key = SigningKey::from_seed(seed.try_into().unwrap());
        let public = key.public();
        assert_eq!(public.keyval.public, "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
        let signature = key.sign(&[0x72]);
        assert!(signature.starts_with("92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"));
        assert!(public.verifies(&[0x72], &signature));
        assert!(!public.verifies(&[0x73], &signature));
        assert!(!public.verifies(&[0x72], "zz"));
        assert!(!public.verifies(&[0x72], &signature[2..]));
    }

    #[test]
    fn the_id_is_the_digest_of_the_canonical_key() {
        let key = SigningKey::from_seed([1; 32]).public();
        let text =
            format!(r#"{{"keytype":"ed25519","keyval":{{"public":"{}"}},"scheme":"ed25519"}}"#, key.keyval.public);
        assert_eq!(key.id().as_str(), Sha256::of(text.as_bytes()).to_string());
    }

    #[test]
    fn a_private_key_does_not_print_itself() {
        let key = SigningKey::from_seed([7; 32]);
        assert!(!format!("{key:?}").contains(&hex::encode([7; 32])));
    }
}
