//! Keys and the signatures they make.
//!
//! We sign with Ed25519 only. What others sign with is verified too: ECDSA on P-256 and RSA-PSS, the two other schemes that
//! TUF 4.2 documents. The arithmetic is a library's.
//!
//! Key ids are names, nothing more: a threshold is counted over distinct *key bytes* (see [`crate::signed`]), so one key
//! listed under two ids signs once.

use std::fmt;

use ring::signature::{self, Ed25519KeyPair, KeyPair, UnparsedPublicKey, VerificationAlgorithm};
use serde::{Deserialize, Serialize};
use spki::der::Decode;
use spki::der::asn1::AnyRef;
use spki::{Document, ObjectIdentifier, SubjectPublicKeyInfoRef};

use crate::digest::Sha256;
use crate::json;

/// An elliptic curve key (RFC 5480, 2.1.1).
const EC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
/// The curve P-256 (RFC 5480, 2.1.1.1).
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
/// An RSA key (RFC 3279, 2.3.1).
const RSA_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

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
    /// The Ed25519 key with these bytes, in the one way in which we write it down.
    pub fn ed25519(bytes: &[u8; 32]) -> Self {
        let keyval = KeyVal { public: hex::encode(bytes) };
        Self { keytype: "ed25519".to_owned(), scheme: "ed25519".to_owned(), keyval }
    }

    /// The id that TUF suggests for it: the SHA-256 of its canonical form.
    pub fn id(&self) -> KeyId {
        let value = serde_json::to_value(self).expect("a key is plain JSON");
        KeyId(Sha256::of(&json::canonical(&value)).to_string())
    }

    /// A short form for people to compare: the first 16 digits of its id.
    pub fn fingerprint(&self) -> String {
        self.id().0[..16].to_owned()
    }

    /// What kind of key it is, in a word for people: its scheme, such as `ed25519`.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// The bytes that make this key this key, for counting distinct ones; `None` for a key that can sign nothing here:
    /// its scheme is unknown, or it is none.
    pub fn key_bytes(&self) -> Option<Vec<u8>> {
        self.verifier().map(|(_, bytes)| bytes)
    }

    /// Whether `signature` (hexadecimal) over `message` is by this key. A key of an unknown scheme signs nothing.
    pub fn verifies(&self, message: &[u8], signature: &str) -> bool {
        match (self.verifier(), hex::decode(signature)) {
            (Some((algorithm, key)), Ok(signature)) => {
                UnparsedPublicKey::new(algorithm, key).verify(message, &signature).is_ok()
            }
            _ => false,
        }
    }

    /// Its algorithm, and the key as that one wants it (TUF 4.2: three key types with one scheme each).
    fn verifier(&self) -> Option<(&'static dyn VerificationAlgorithm, Vec<u8>)> {
        let public = &self.keyval.public;
        match (self.keytype.as_str(), self.scheme.as_str()) {
            ("ed25519", "ed25519") => {
                let bytes = hex::decode(public).ok().filter(|bytes| bytes.len() == 32)?;
                Some((&signature::ED25519, bytes))
            }
            // The first is the key type of the specification; older repositories wrote the second.
            ("ecdsa" | "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256") => {
                let bytes = inside_pem(public, EC_KEY, Some(P256)).filter(|point| point.len() == 65)?;
                Some((&signature::ECDSA_P256_SHA256_ASN1, bytes))
            }
            ("rsa", "rsassa-pss-sha256") => {
                Some((&signature::RSA_PSS_2048_8192_SHA256, inside_pem(public, RSA_KEY, None)?))
            }
            _ => None,
        }
    }
}

/// The key inside a PEM block `PUBLIC KEY` (RFC 7468, 13), if it is of this algorithm, and on this curve where one is named.
fn inside_pem(text: &str, algorithm: ObjectIdentifier, curve: Option<ObjectIdentifier>) -> Option<Vec<u8>> {
    let (label, document) = Document::from_pem(text.trim()).ok()?;
    let info = SubjectPublicKeyInfoRef::from_der(document.as_bytes()).ok()?;
    // RFC 3279, 2.3.1: where there is no curve to name, NULL stands in its place.
    let on_curve = match curve {
        Some(curve) => info.algorithm.parameters_oid() == Ok(curve),
        None => info.algorithm.parameters == Some(AnyRef::NULL),
    };
    let fits = label == "PUBLIC KEY" && info.algorithm.oid == algorithm && on_curve;
    info.subject_public_key.as_bytes().filter(|_| fits).map(<[u8]>::to_vec)
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
        PublicKey::ed25519(self.pair.public_key().as_ref().try_into().expect("an Ed25519 key has 32 bytes"))
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

    /// Made with OpenSSL, the signatures too.
    const FOREIGN: [(&str, &str, &str); 2] = [
        ("ecdsa", "ecdsa-sha2-nistp256", include_str!("../tests/data/p256.txt")),
        ("rsa", "rsassa-pss-sha256", include_str!("../tests/data/rsa-pss.txt")),
    ];

    fn foreign(keytype: &str, scheme: &str, file: &str) -> (PublicKey, String) {
        let (pem, signature) = file.trim().rsplit_once('\n').unwrap();
        let keyval = KeyVal { public: pem.to_owned() };
        (PublicKey { keytype: keytype.to_owned(), scheme: scheme.to_owned(), keyval }, signature.to_owned())
    }

    #[test]
    fn keys_of_others_verify() {
        for (keytype, scheme, file) in FOREIGN {
            let (key, signature) = foreign(keytype, scheme, file);
            assert!(key.verifies(b"hello", &signature), "{scheme}");
            assert!(!key.verifies(b"hallo", &signature), "{scheme}");
            assert!(!key.verifies(b"hello", &signature[2..]), "{scheme}");
            // How the PEM is laid out does not make it another key.
            let spaced = PublicKey { keyval: KeyVal { public: format!("\n{}\n\n", key.keyval.public) }, ..key.clone() };
            assert_eq!(spaced.key_bytes(), key.key_bytes());
            assert!(key.key_bytes().is_some());
        }
    }

    /// Found by comparing with python-tuf: an empty BIT STRING in the place of NULL was taken for a key all the same.
    #[test]
    fn an_rsa_key_has_null_where_others_have_a_curve() {
        let (key, signature) = foreign("rsa", "rsassa-pss-sha256", FOREIGN[1].2);
        let altered = key.keyval.public.replace("AQEFAAOCAQ8A", "AQEDAAOCAQ8A");
        assert_ne!(altered, key.keyval.public);
        let key = PublicKey { keyval: KeyVal { public: altered }, ..key };
        assert!(key.key_bytes().is_none() && !key.verifies(b"hello", &signature));
    }

    #[test]
    fn a_key_of_another_scheme_than_it_says_signs_nothing() {
        for (_, _, file) in FOREIGN {
            for (keytype, scheme) in [("ed25519", "ed25519"), ("rsa", "rsa-pkcs1v15-sha256"), ("rsa", "ed25519")] {
                let (key, signature) = foreign(keytype, scheme, file);
                assert!(key.key_bytes().is_none() && !key.verifies(b"hello", &signature));
            }
        }
        let (p256, rsa) =
            (foreign("rsa", "rsassa-pss-sha256", FOREIGN[0].2), foreign("ecdsa", FOREIGN[0].1, FOREIGN[1].2));
        assert!(p256.0.key_bytes().is_none() && rsa.0.key_bytes().is_none());
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
