//! Where a server is, and whether a token may go there.

use std::fmt;
use std::net::IpAddr;

use ureq::http::Uri;

/// Why a server cannot be used as it was given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is not the address of a web server.
    #[error("'{url}' is not the address of a server: {reason} (addresses look like https://updates.example.org)")]
    Address {
        /// What was given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The token would be readable on the way.
    #[error(
        "{server}: the token would travel unencrypted, for everybody on the way to read; \
         use https://, or allow it with --allow-http where the network is trusted"
    )]
    PlainHttp {
        /// The server.
        server: String,
    },
    /// The token is no token.
    #[error("the token holds characters that a token cannot have (white space, or a broken line?)")]
    Token,
}

/// The address of a server: scheme, host, port, and the path below which it lives, without a `/` at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    text: String,
    plain: bool,
    loopback: bool,
}

impl Address {
    /// Reads what a person typed.
    ///
    /// # Errors
    /// When it is not `http://` or `https://`, has no host, or has more than a path behind it.
    pub(super) fn parse(url: &str) -> Result<Self, Error> {
        let fail = |reason: &str| Error::Address { url: url.chars().take(200).collect(), reason: reason.to_owned() };
        let uri: Uri = url.parse().map_err(|e| fail(&format!("{e}")))?;
        let plain = match uri.scheme_str() {
            Some("http") => true,
            Some("https") => false,
            _ => return Err(fail("it begins with neither https:// nor http://")),
        };
        let authority = uri.authority().ok_or_else(|| fail("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(fail("names and passwords do not belong in it"));
        }
        if uri.query().is_some() {
            return Err(fail("nothing may follow the path"));
        }
        let scheme = if plain { "http" } else { "https" };
        let text = format!("{scheme}://{authority}{}", uri.path().trim_end_matches('/'));
        Ok(Self { text, plain, loopback: is_loopback(authority.host()) })
    }

    /// Whether whoever listens on the network can read what is sent.
    pub(super) fn is_readable_on_the_way(&self) -> bool {
        self.plain && !self.loopback
    }

    /// Whether it is this machine.
    pub(super) fn is_loopback(&self) -> bool {
        self.loopback
    }

    /// The URL of something on this server.
    pub(super) fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.text)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_an_address() {
        for (url, text) in [
            ("https://updates.example.org", "https://updates.example.org"),
            ("https://example.org:8443/", "https://example.org:8443"),
            ("http://[::1]:8080/below/here/", "http://[::1]:8080/below/here"),
        ] {
            assert_eq!(Address::parse(url).unwrap().to_string(), text);
        }
        for bad in
            ["", "example.org", "ftp://example.org", "https://", "https://me:secret@example.org", "https://a/?b", "/a"]
        {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_this_machine_hears_plain_http() {
        let readable = |url: &str| Address::parse(url).unwrap().is_readable_on_the_way();
        for private in
            ["https://example.org", "http://127.0.0.1:8080", "http://127.9.9.9", "http://[::1]/", "http://localhost:1"]
        {
            assert!(!readable(private), "{private}");
        }
        for public in [
            "http://example.org",
            "http://192.168.1.2",
            "http://localhost.example.org",
            "http://0.0.0.0",
            "http://[::]",
        ] {
            assert!(readable(public), "{public}");
        }
    }
}
