//! Who may change things: the admin token, and the way it comes.
//!
//! The server itself speaks plain HTTP. So the API answers only where nobody can listen: on the machine itself, by peer
//! *and* by `Host` (a web page that has rebound a name to 127.0.0.1 says the wrong one), without a trace of a proxy; and
//! behind the proxies that the operator trusts to speak TLS. The token is needed in either case.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use http::header::{AUTHORIZATION, FORWARDED, HOST, VIA};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, HeaderName};
use subtle::ConstantTimeEq;
use updraft_core::digest::Sha256;

use super::error::Error;

const PREFIX: &str = "upd_";
const SECRET_LEN: usize = 64;
const CHECK_LEN: usize = 8;

/// Why a text is not a token. It never repeats the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not the shape of a token.
    #[error("it is not a token: one begins with 'upd_' and has {} characters", PREFIX.len() + SECRET_LEN + CHECK_LEN)]
    Shape,
    /// The shape of a token, with a wrong checksum.
    #[error("it is a mistyped token: its checksum is wrong")]
    Checksum,
}

/// The admin token: `upd_`, 64 hexadecimal digits from the system's random source, and 8 that check those. It does not
/// print itself by accident; [`AdminToken::reveal`] does on purpose.
#[derive(Clone, PartialEq, Eq)]
pub struct AdminToken(String);

impl AdminToken {
    /// A new one.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut secret = [0; SECRET_LEN / 2];
        getrandom::fill(&mut secret)?;
        let secret = hex::encode(secret);
        Ok(Self(format!("{PREFIX}{secret}{}", checksum(&secret))))
    }

    /// The token itself, to be shown to its owner and to nobody else.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What a server keeps of it.
    pub fn digest(&self) -> Sha256 {
        Sha256::of(self.0.as_bytes())
    }
}

fn checksum(secret: &str) -> String {
    Sha256::of(format!("{PREFIX}{secret}").as_bytes()).to_string()[..CHECK_LEN].to_owned()
}

impl FromStr for AdminToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let rest = text.strip_prefix(PREFIX).ok_or(TokenError::Shape)?;
        let hexadecimal = rest.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if rest.len() != SECRET_LEN + CHECK_LEN || !hexadecimal {
            return Err(TokenError::Shape);
        }
        let (secret, check) = rest.split_at(SECRET_LEN);
        if check != checksum(secret) {
            return Err(TokenError::Checksum);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminToken(upd_...)")
    }
}

/// A network: an address and how many of its bits count. A plain address is a network of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix_len: u32,
}

/// Why a text is not a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not an address such as 10.0.0.7 or a network such as 10.0.0.0/8")]
pub struct NetworkError(String);

impl Network {
    /// Whether `address` lies in it. An IPv4 address inside IPv6 is the IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                same_bits(own.to_bits().into(), other.to_bits().into(), 32 - self.prefix_len)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => same_bits(own.to_bits(), other.to_bits(), 128 - self.prefix_len),
            _ => false,
        }
    }
}

fn same_bits(a: u128, b: u128, ignored: u32) -> bool {
    (a ^ b).checked_shr(ignored).unwrap_or(0) == 0
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let fail = || NetworkError(text.chars().take(80).collect());
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address = address.parse::<IpAddr>().map_err(|_| fail())?;
        let max = if address.is_ipv4() { 32 } else { 128 };
        let prefix_len = match prefix {
            None => max,
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().map_err(|_| fail())?,
            Some(_) => return Err(fail()),
        };
        if prefix_len > max {
            return Err(fail());
        }
        Ok(Self { address, prefix_len })
    }
}

/// What an operator may open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// Lets the API answer over plain HTTP from anywhere.
    pub allow_plain_admin: bool,
    /// Lets anybody have the folder scanned.
    pub open_generate: bool,
    /// Proxies that speak TLS with those who use them.
    pub trusted_proxies: Vec<Network>,
}

/// Whom a request came from, as the socket says. Put into a request's extensions by whoever accepted it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Peer(pub(super) SocketAddr);

/// Decides who may pass.
#[derive(Debug, Clone)]
pub(super) struct Gate {
    access: Access,
    token: Sha256,
}

impl Gate {
    /// A gate for the token with this digest.
    pub(super) fn new(access: Access, token: Sha256) -> Self {
        Self { access, token }
    }

    /// Lets an administrator pass.
    ///
    /// # Errors
    /// 403 when the way is not private, 401 when the token is missing or wrong.
    pub(super) fn admin(&self, request: &Parts) -> Result<(), Error> {
        self.private_way(request)?;
        self.token(&request.headers)
    }

    /// Lets whoever may have the folder scanned pass.
    ///
    /// # Errors
    /// 403 for strangers, 401 for a wrong token.
    pub(super) fn scan(&self, request: &Parts) -> Result<(), Error> {
        if self.access.open_generate {
            return Ok(());
        }
        // With proxies about, what comes from this machine may have come from anywhere.
        let here = self.access.trusted_proxies.is_empty() && is_local(request) && !from_another_site(&request.headers);
        if here {
            return Ok(());
        }
        if !request.headers.contains_key(AUTHORIZATION) {
            return Err(Error::scan_closed());
        }
        self.token(&request.headers)
    }

    fn private_way(&self, request: &Parts) -> Result<(), Error> {
        if self.access.allow_plain_admin || is_local(request) {
            return Ok(());
        }
        let peer = peer(request).map(|peer| peer.ip());
        if !peer.is_some_and(|peer| self.access.trusted_proxies.iter().any(|network| network.contains(peer))) {
            return Err(Error::plain_http("over plain HTTP the API answers this machine and trusted proxies only"));
        }
        if proxy_says_plain(&request.headers) {
            return Err(Error::plain_http("the proxy says that this came to it over plain HTTP"));
        }
        Ok(())
    }

    fn token(&self, headers: &HeaderMap) -> Result<(), Error> {
        let header = headers.get(AUTHORIZATION).ok_or_else(Error::token_missing)?;
        let (scheme, token) = header.to_str().ok().and_then(|text| text.split_once(' ')).unwrap_or_default();
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Error::token_missing());
        }
        let token: AdminToken = token.trim().parse().map_err(|e: TokenError| Error::token_wrong(e.to_string()))?;
        // Of the digests, so that the time it takes says nothing about the token.
        match token.digest().as_bytes().ct_eq(self.token.as_bytes()).into() {
            true => Ok(()),
            false => Err(Error::token_wrong("it is not the token of this server")),
        }
    }
}

fn peer(request: &Parts) -> Option<SocketAddr> {
    request.extensions.get::<Peer>().map(|peer| peer.0)
}

/// Whether a request was made on this machine, by all that can be known of it.
fn is_local(request: &Parts) -> bool {
    peer(request).is_some_and(|peer| peer.ip().to_canonical().is_loopback())
        && host_is_local(request)
        && !request.headers.keys().any(is_forwarding)
}

fn host_is_local(request: &Parts) -> bool {
    let mut hosts = request.headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let Ok(host) = Authority::try_from(host.as_bytes()) else { return false };
    // A request line may name a host as well (RFC 9112, 3.2.2).
    is_local_name(&host) && request.uri.authority().is_none_or(is_local_name)
}

fn is_local_name(authority: &Authority) -> bool {
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let address = host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback());
    !authority.as_str().contains('@') && (address || host.eq_ignore_ascii_case("localhost"))
}

/// What proxies add beside `Forwarded`, `Via` and all that begins with `X-Forwarded-`.
const FORWARDING: [&str; 7] = [
    "cf-connecting-ip",
    "true-client-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-forwarded",
    "x-original-forwarded-for",
    "x-real-ip",
];

/// Whether a header is one that proxies add.
fn is_forwarding(name: &HeaderName) -> bool {
    let text = name.as_str();
    *name == FORWARDED || *name == VIA || text.starts_with("x-forwarded-") || FORWARDING.contains(&text)
}

/// Whether a browser says that a page of another site made it ask.
fn from_another_site(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none")
}

fn proxy_says_plain(headers: &HeaderMap) -> bool {
    let plain = |text: &str| text.split(',').any(|word| word.trim().eq_ignore_ascii_case("http"));
    let forwarded = |text: &str| {
        text.split([',', ';']).any(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or_default();
            name.trim().eq_ignore_ascii_case("proto") && plain(value.trim_matches([' ', '"']))
        })
    };
    let any = |name: &str, says: &dyn Fn(&str) -> bool| {
        headers.get_all(name).iter().any(|value| value.to_str().is_ok_and(says))
    };
    any("x-forwarded-proto", &plain) || any("forwarded", &forwarded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_knows_when_it_was_mistyped() {
        let token = AdminToken::generate().unwrap();
        assert_eq!(token.reveal().parse::<AdminToken>(), Ok(token.clone()));
        assert!(!format!("{token:?}").contains(&token.reveal()[4..]));
        let mut typed = token.reveal().to_owned();
        let last = if typed.ends_with('0') { "1" } else { "0" };
        typed.replace_range(typed.len() - 1.., last);
        assert_eq!(typed.parse::<AdminToken>(), Err(TokenError::Checksum));
        for bad in ["", "upd_", "upd_00", &token.reveal()[1..], &format!("{}0", token.reveal())] {
            assert_eq!(bad.parse::<AdminToken>(), Err(TokenError::Shape), "{bad}");
        }
    }

    #[test]
    fn networks() {
        let contains =
            |network: &str, address: &str| network.parse::<Network>().unwrap().contains(address.parse().unwrap());
        assert!(contains("10.0.0.7", "10.0.0.7"));
        assert!(!contains("10.0.0.7", "10.0.0.8"));
        assert!(contains("10.0.0.0/8", "10.255.1.2"));
        assert!(contains("10.0.0.0/8", "::ffff:10.1.2.3"));
        assert!(!contains("10.0.0.0/8", "11.0.0.0"));
        assert!(contains("0.0.0.0/0", "1.2.3.4"));
        assert!(contains("::/0", "fe80::1"));
        assert!(!contains("::/0", "1.2.3.4"));
        assert!(contains("fd00::/8", "fd12::1"));
        for bad in ["", "x", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+8", "::/129", "10.0.0/8"] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
    }
}
