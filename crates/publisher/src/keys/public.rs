//! The public half of a key as a text to hand over: TUF's own form, in JSON.
//!
//! A public key in PEM, as `openssl pkey -pubout` writes one, is read too, where it is Ed25519.

use pkcs8::der::Decode;
use pkcs8::spki::SubjectPublicKeyInfoRef;
use pkcs8::{Document, ObjectIdentifier};
use updraft_core::json;
use updraft_core::key::PublicKey;

/// Largest public key that is read, in bytes: an RSA key of 8,192 bits in PEM has about 1,500.
pub const PUBLIC_LEN_MAX: u64 = 16 << 10;

/// RFC 8410.
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// The text to hand over.
pub fn public_text(key: &PublicKey) -> String {
    let mut text = serde_json::to_string_pretty(key).expect("a key is plain JSON");
    text.push('\n');
    text
}

/// The public key that `text` holds, in the one form in which this program writes it, whatever form it came in: another
/// spelling would be another id, and the private half would never be found by it.
///
/// # Errors
/// What is wrong with it, as the end of a sentence. A key that no command here could sign with is refused too, though
/// devices may know its scheme.
pub fn public_from_text(text: &str) -> Result<PublicKey, String> {
    let text = text.trim();
    if text.contains("PRIVATE KEY") {
        return Err("it holds a private key, which is not for handing over; hand over its public half".to_owned());
    }
    if text.starts_with("-----BEGIN") {
        return from_pem(text);
    }
    let value = json::parse(text.as_bytes()).map_err(|e| format!("it is no public key: {e}"))?;
    let key: PublicKey = serde_json::from_value(value).map_err(|e| format!("it is no public key: {e}"))?;
    if key.scheme() != "ed25519" {
        return Err(format!(
            "it is a key of the scheme '{}', and nothing here signs with one; make an ed25519 key with `keys new`",
            key.scheme()
        ));
    }
    let bytes = key.key_bytes().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    bytes.map(|bytes| PublicKey::ed25519(&bytes)).ok_or_else(|| "it is damaged".to_owned())
}

fn from_pem(text: &str) -> Result<PublicKey, String> {
    let foreign = |e: &dyn std::fmt::Display| format!("it is no public key in PEM: {e}");
    let (label, document) = Document::from_pem(text).map_err(|e| foreign(&e))?;
    if label != "PUBLIC KEY" {
        return Err(format!("it holds a '{label}', not a 'PUBLIC KEY'"));
    }
    let info = SubjectPublicKeyInfoRef::from_der(document.as_bytes()).map_err(|e| foreign(&e))?;
    if info.algorithm.oid != ED25519 {
        return Err(format!("it is a key of the kind {}, not Ed25519", info.algorithm.oid));
    }
    let bytes = info.subject_public_key.as_bytes().and_then(|bytes| bytes.try_into().ok()).ok_or("it is damaged")?;
    Ok(PublicKey::ed25519(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use updraft_core::key::SigningKey;

    /// The key of RFC 8032, 7.1, test 2, as OpenSSL writes its public half.
    const PEM: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAPUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw=\n\
        -----END PUBLIC KEY-----\n";

    #[test]
    fn there_and_back() {
        let key = SigningKey::from_seed([7; 32]).public();
        assert_eq!(public_from_text(&public_text(&key)).unwrap(), key);
    }

    /// Another spelling was another id, and the key let in under it could sign nothing.
    #[test]
    fn every_spelling_is_the_same_key() {
        let key = SigningKey::from_seed([7; 32]).public();
        let text = public_text(&key);
        let digits = hex::encode(key.key_bytes().unwrap());
        let upper = text.replace(&digits, &digits.to_uppercase());
        assert_ne!(upper, text);
        match public_from_text(&upper) {
            Ok(read) => assert_eq!((read.id(), read.fingerprint()), (key.id(), key.fingerprint())),
            // A reader may be stricter than this.
            Err(reason) => assert!(reason.contains("no public key"), "{reason}"),
        }
    }

    #[test]
    fn a_key_of_openssl_is_read() {
        let key = public_from_text(PEM).unwrap();
        let bytes = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
        assert_eq!(hex::encode(key.key_bytes().unwrap()), bytes);
    }

    #[test]
    fn what_is_no_public_key_says_so() {
        let unknown = r#"{"keytype":"x","scheme":"x448","keyval":{"public":"00"}}"#;
        let ecdsa = unknown.replace("\"x\"", "\"ecdsa\"").replace("x448", "ecdsa-sha2-nistp256");
        let short = unknown.replace("\"x\"", "\"ed25519\"").replace("x448", "ed25519");
        let private = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        // X25519: the right shape, another kind.
        let other = PEM.replace("MCowBQYDK2VwAyEA", "MCowBQYDK2VuAyEA");
        assert_ne!(other, PEM);
        for (text, reason) in [
            ("", "no public key"),
            ("{}", "no public key"),
            (unknown, "'x448', and nothing here signs"),
            (&ecdsa, "'ecdsa-sha2-nistp256', and nothing here signs"),
            (&short, "it is damaged"),
            (private, "private key"),
            ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "no public key in PEM"),
            (&other, "not Ed25519"),
            (&"[".repeat(2_000), "no public key"),
        ] {
            let error = public_from_text(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
