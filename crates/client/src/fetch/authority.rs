//! Who vouches for a server's TLS certificate: the public authorities, or one of one's own.
//!
//! TLS only keeps what travels to itself; what is installed is believed for other reasons. So a private authority is
//! nothing to be afraid of, and one that is given counts alone.

use std::fmt;

use serde::{Deserialize, Serialize};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

/// Longest file of certificates, in bytes: some of one organisation, not all of the world. It is kept in the settings,
/// which have their own limit.
pub const AUTHORITY_LEN_MAX: u64 = 32 << 10;

/// Why a text names no certificate authority.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "it is no certificate of an authority: {0} (a file in PEM is expected, which begins with -----BEGIN CERTIFICATE-----)"
)]
pub struct AuthorityError(String);

/// Who is to vouch for a server's certificate from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Vouching {
    /// The public authorities.
    Public,
    /// This authority, and no other.
    Own(Authority),
}

impl Vouching {
    /// The authority of one's own, if it is one.
    pub fn own(&self) -> Option<&Authority> {
        match self {
            Self::Public => None,
            Self::Own(authority) => Some(authority),
        }
    }
}

/// The certificates of one's own authority, in PEM.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Authority {
    pem: String,
}

impl Authority {
    /// Reads certificates in PEM.
    ///
    /// # Errors
    /// When there is none, or something else, such as a private key.
    pub fn parse(pem: &[u8]) -> Result<Self, AuthorityError> {
        let fail = |reason: &str| Err(AuthorityError(reason.to_owned()));
        if pem.len() as u64 > AUTHORITY_LEN_MAX {
            return fail("it has more than 32 KiB");
        }
        let Ok(text) = std::str::from_utf8(pem) else {
            return fail("it is not text");
        };
        let authority = Self { pem: text.to_owned() };
        match authority.certificates() {
            Ok(certificates) if certificates.is_empty() => fail("there is no certificate in it"),
            Ok(_) => Ok(authority),
            Err(reason) => Err(AuthorityError(reason)),
        }
    }

    fn certificates(&self) -> Result<Vec<Certificate<'static>>, String> {
        let certificate = |item: Result<PemItem<'static>, ureq::Error>| match item {
            Ok(PemItem::Certificate(certificate)) => Ok(certificate),
            // What is private has no business in a file that is copied into the settings.
            Ok(_) => Err("there is something else than certificates in it".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        parse_pem(self.pem.as_bytes()).map(certificate).collect()
    }

    /// Its certificates, in DER: for who speaks TLS otherwise than by this library.
    pub fn der(&self) -> Vec<Vec<u8>> {
        self.certificates().unwrap_or_default().iter().map(|certificate| certificate.der().to_vec()).collect()
    }

    /// How to speak TLS with who is vouched for by this authority.
    pub(super) fn tls(&self) -> TlsConfig {
        let certificates = self.certificates().unwrap_or_default();
        TlsConfig::builder().root_certs(RootCerts::from(certificates)).build()
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authority({} bytes)", self.pem.len())
    }
}

impl TryFrom<String> for Authority {
    type Error = AuthorityError;
    fn try_from(pem: String) -> Result<Self, AuthorityError> {
        Self::parse(pem.as_bytes())
    }
}

impl From<Authority> for String {
    fn from(authority: Authority) -> String {
        authority.pem
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_certificates_are_taken() {
        let file = |name: &str| {
            std::fs::read(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tls").join(name)).unwrap()
        };
        let ca = Authority::parse(&file("ca.pem")).unwrap();
        let text = serde_json::to_string(&ca).unwrap();
        assert_eq!(serde_json::from_str::<Authority>(&text).unwrap(), ca);
        assert_eq!(
            Authority::parse(&[file("ca.pem"), file("server.pem")].concat()).unwrap().certificates().unwrap().len(),
            2
        );
        for bad in [vec![], b"text".to_vec(), vec![0xff], file("server.key.pem"), vec![b' '; 40_000]] {
            assert!(Authority::parse(&bad).is_err());
        }
        assert!(Authority::parse(&[file("ca.pem"), file("server.key.pem")].concat()).is_err());
    }
}
