//! A private key as text: PKCS#8 in PEM, plain or behind a passphrase (PBES2: scrypt and AES-256-CBC).
//!
//! Pure: random bytes come in, text goes out. `openssl pkey` reads what is written here, and a key that OpenSSL made
//! (`openssl genpkey -algorithm ed25519`) is read too.

use pkcs8::der::asn1::OctetStringRef;
use pkcs8::der::zeroize::Zeroizing;
use pkcs8::der::{Decode, Encode};
use pkcs8::pkcs5::{self, pbes2, scrypt};
use pkcs8::{
    AlgorithmIdentifierRef, EncryptedPrivateKeyInfoRef, LineEnding, ObjectIdentifier, PrivateKeyInfoRef, SecretDocument,
};
use updraft_core::key::SigningKey;

const PLAIN: &str = "PRIVATE KEY";
const ENCRYPTED: &str = "ENCRYPTED PRIVATE KEY";
/// RFC 8410.
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// scrypt's N = 2^14, r = 8, p = 5: as costly to guess as N = 2^17, p = 1, and within the 32 MiB that OpenSSL allows.
const SCRYPT_LOG_N: u8 = 14;
const SCRYPT_R: u32 = 8;
const SCRYPT_P: u32 = 5;

/// The most memory that a key file of somebody else may make scrypt take, in bytes.
const SCRYPT_MEMORY_MAX: u64 = 1 << 30;
/// The most bytes that it may make scrypt go through, one after the other: some 20 seconds. Ours take 84 MB.
const SCRYPT_WORK_MAX: u64 = 8 << 30;
/// The most rounds of PBKDF2: what NIST SP 800-132 names for the most critical keys.
const PBKDF2_ROUNDS_MAX: u32 = 10_000_000;

/// Random bytes that [`encode`] needs: a salt and an initial vector.
pub(crate) const RANDOM_LEN: usize = 32;

/// Why a text does not give a key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Error {
    /// It is something else than an Ed25519 key in PKCS#8.
    Foreign(String),
    /// It is locked by another passphrase.
    WrongPassphrase,
}

/// The text of `key`, locked by `passphrase` if there is one.
pub(crate) fn encode(key: &SigningKey, passphrase: Option<&str>, random: [u8; RANDOM_LEN]) -> Zeroizing<String> {
    const CANNOT_FAIL: &str = "a key of 32 bytes has a PKCS#8 form";
    // RFC 8410, section 7: the seed is an OCTET STRING inside the OCTET STRING.
    let seed = OctetStringRef::new(key.seed()).expect(CANNOT_FAIL);
    let inner = Zeroizing::new(seed.to_der().expect(CANNOT_FAIL));
    let algorithm = AlgorithmIdentifierRef { oid: ED25519, parameters: None };
    let info = PrivateKeyInfoRef::new(algorithm, OctetStringRef::new(&inner).expect(CANNOT_FAIL));
    let (label, document) = match passphrase {
        None => (PLAIN, SecretDocument::encode_msg(&info).expect(CANNOT_FAIL)),
        Some(passphrase) => {
            let (salt, iv) = random.split_at(RANDOM_LEN / 2);
            let kdf = scrypt::Params::new(SCRYPT_LOG_N, SCRYPT_R, SCRYPT_P).expect("the parameters are allowed");
            let iv = iv.try_into().expect("half of 32 bytes is 16");
            let parameters = pbes2::Parameters::generate_scrypt_aes256cbc(kdf, salt, iv).expect(CANNOT_FAIL);
            (ENCRYPTED, info.encrypt_with_params(parameters, passphrase).expect(CANNOT_FAIL))
        }
    };
    document.to_pem(label, LineEnding::LF).expect(CANNOT_FAIL)
}

/// A key's text that was read and not opened yet.
pub(crate) struct Pem {
    encrypted: bool,
    document: SecretDocument,
}

impl Pem {
    /// Reads `text`.
    ///
    /// # Errors
    /// [`Error::Foreign`] when it is no private key in PKCS#8.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let foreign = |reason: &dyn std::fmt::Display| Error::Foreign(format!("it is no key in PEM: {reason}"));
        let (label, document) = SecretDocument::from_pem(text.trim_start()).map_err(|e| foreign(&e))?;
        let encrypted = match label {
            PLAIN => false,
            ENCRYPTED => true,
            other => return Err(Error::Foreign(format!("it holds a '{other}', not a 'PRIVATE KEY' (PKCS#8)"))),
        };
        Ok(Self { encrypted, document })
    }

    /// Whether a passphrase is needed.
    pub(crate) fn is_encrypted(&self) -> bool {
        self.encrypted
    }

    /// The key; `passphrase` is not looked at when none is needed.
    ///
    /// # Errors
    /// When the passphrase is another one, or this is a key of another kind.
    pub(crate) fn open(&self, passphrase: &str) -> Result<SigningKey, Error> {
        if !self.encrypted {
            return signing_key(self.document.as_bytes());
        }
        let damaged = |e| Error::Foreign(format!("it is damaged: {e}"));
        let info = EncryptedPrivateKeyInfoRef::from_der(self.document.as_bytes()).map_err(damaged)?;
        bearable(&info)?;
        let plain = info.decrypt(passphrase).map_err(|e| match e {
            // A wrong passphrase shows as bad padding or, once in 256 times, as noise that is no DER.
            pkcs8::Error::EncryptedPrivateKey(pkcs5::Error::DecryptFailed) | pkcs8::Error::Asn1(_) => {
                Error::WrongPassphrase
            }
            other => Error::Foreign(format!("it is encrypted in a way that is not known here: {other}")),
        })?;
        signing_key(plain.as_bytes())
    }
}

/// Refuses what would take more memory or time than anybody's key needs: the file says how much, and is not ours to trust.
fn bearable(info: &EncryptedPrivateKeyInfoRef<'_>) -> Result<(), Error> {
    let kdf = info.encryption_algorithm.pbes2().map(|parameters| &parameters.kdf);
    if let Some(scrypt) = kdf.and_then(|kdf| kdf.scrypt()) {
        let memory = scrypt.cost_parameter.saturating_mul(u64::from(scrypt.block_size) * 128);
        if memory > SCRYPT_MEMORY_MAX {
            return Err(Error::Foreign(format!("opening it would take {memory} bytes of memory")));
        }
        if memory.saturating_mul(u64::from(scrypt.parallelization)) > SCRYPT_WORK_MAX {
            return Err(Error::Foreign("opening it would take minutes".to_owned()));
        }
    }
    if kdf.and_then(|kdf| kdf.pbkdf2()).is_some_and(|pbkdf2| pbkdf2.iteration_count > PBKDF2_ROUNDS_MAX) {
        return Err(Error::Foreign("opening it would take minutes".to_owned()));
    }
    Ok(())
}

fn signing_key(der: &[u8]) -> Result<SigningKey, Error> {
    let damaged = |e| Error::Foreign(format!("it is damaged: {e}"));
    let info = PrivateKeyInfoRef::from_der(der).map_err(damaged)?;
    if info.algorithm.oid != ED25519 {
        return Err(Error::Foreign(format!("it is a key of the kind {}, not Ed25519", info.algorithm.oid)));
    }
    let inner = <&OctetStringRef>::from_der(info.private_key.as_bytes()).map_err(damaged)?;
    let seed = inner.as_bytes().try_into().map_err(|_| Error::Foreign("its seed has not 32 bytes".to_owned()))?;
    Ok(SigningKey::from_seed(seed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let key = SigningKey::from_seed([7; 32]);
        let plain = Pem::parse(&encode(&key, None, [1; RANDOM_LEN])).unwrap();
        assert!(!plain.is_encrypted());
        assert_eq!(plain.open("").unwrap().seed(), key.seed());

        let locked = Pem::parse(&encode(&key, Some("correct horse"), [1; RANDOM_LEN])).unwrap();
        assert!(locked.is_encrypted());
        assert_eq!(locked.open("correct horse").unwrap().seed(), key.seed());
        assert_eq!(locked.open("correct horsf").unwrap_err(), Error::WrongPassphrase);
    }

    /// One wrong passphrase in 256 leaves well-formed padding and noise before it: number 64, found by trying. It is no
    /// damaged file.
    #[test]
    fn a_wrong_passphrase_that_pads_well_is_still_wrong() {
        let key = SigningKey::from_seed([7; 32]);
        let pem = Pem::parse(&encode(&key, Some("right"), [3; RANDOM_LEN])).unwrap();
        assert_eq!(pem.open("wrong 64").unwrap_err(), Error::WrongPassphrase);
    }

    #[test]
    fn a_key_that_would_take_minutes_to_open_is_refused_at_once() {
        let key = OctetStringRef::new(&[7; 32]).unwrap().to_der().unwrap();
        let algorithm = AlgorithmIdentifierRef { oid: ED25519, parameters: None };
        let info = PrivateKeyInfoRef::new(algorithm, OctetStringRef::new(&key).unwrap());
        let cheap = scrypt::Params::new(4, 1, 1).unwrap();
        let scrypt = pbes2::Parameters::generate_scrypt_aes256cbc(cheap, &[1; 16], [2; 16]).unwrap();
        let pbkdf2 = pbes2::Parameters::generate_pbkdf2_sha256_aes256cbc(1, &[1; 16], [2; 16]).unwrap();
        for parameters in [scrypt, pbkdf2] {
            let cheap = info.encrypt_with_params(parameters, "x").unwrap();
            assert!(Pem::parse(&cheap.to_pem(ENCRYPTED, LineEnding::LF).unwrap()).unwrap().open("x").is_ok());
            let mut dear = EncryptedPrivateKeyInfoRef::from_der(cheap.as_bytes()).unwrap();
            let pkcs5::EncryptionScheme::Pbes2(parameters) = &mut dear.encryption_algorithm else {
                panic!("it is PBES2")
            };
            match &mut parameters.kdf {
                pbes2::Kdf::Scrypt(scrypt) => (scrypt.cost_parameter, scrypt.parallelization) = (1 << 20, u16::MAX),
                pbes2::Kdf::Pbkdf2(pbkdf2) => pbkdf2.iteration_count = u32::MAX,
                other => panic!("{other:?}"),
            }
            let dear = SecretDocument::encode_msg(&dear).unwrap().to_pem(ENCRYPTED, LineEnding::LF).unwrap();
            let error = Pem::parse(&dear).unwrap().open("x").unwrap_err();
            assert_eq!(error, Error::Foreign("opening it would take minutes".to_owned()));
        }
    }

    #[test]
    fn what_is_no_key_says_so() {
        for text in ["", "hello", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
            let error = Pem::parse(text).and_then(|pem| pem.open("").map(|_| ())).unwrap_err();
            assert!(matches!(error, Error::Foreign(_)), "{text:?}: {error:?}");
        }
        // An X25519 key: the right shape, another kind.
        let ed25519 = encode(&SigningKey::from_seed([7; 32]), None, [0; RANDOM_LEN]);
        let other = ed25519.replace("MC4CAQAwBQYDK2VwBCIE", "MC4CAQAwBQYDK2VuBCIE");
        assert_ne!(other, *ed25519);
        assert!(matches!(Pem::parse(&other).unwrap().open(""), Err(Error::Foreign(_))));
    }
}
