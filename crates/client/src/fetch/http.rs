//! Objects from an HTTP server.
//!
//! One call is one request, over connections that are kept. Nothing is believed: an answer that does not say what it is
//! is an error, and no time-out is missing. Proxies come from the environment (`https_proxy`, `no_proxy`, ...);
//! a server on the loopback is never behind one.

use std::io::Read;
use std::net::IpAddr;
use std::time::Duration;

use updraft_core::layout::Key;
use updraft_core::name::AppName;
use ureq::http::{HeaderMap, Response, Uri, header};
use ureq::{Agent, Body};

use super::authority::Authority;
use super::{Answer, Error, Request, Sink, Transport};

/// A server that does not finish a handshake within this is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// The longest silence inside an answer.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// The whole head of an answer.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// Headers that are longer are no answer to a question of ours.
const HEADERS_LEN_MAX: usize = 16 << 10;
/// Bytes that are read at once; also the finest grain of the bandwidth limit.
const PIECE_LEN: usize = 32 << 10;
/// The most of an error's body that is read, so that the connection can be used again.
const ERROR_BODY_LEN_MAX: u64 = 16 << 10;

/// Why a text is not the address of an app.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{url}' is not the address of an app: {reason} (an address looks like https://example.com/apps/NAME)")]
pub struct UrlError {
    url: String,
    reason: &'static str,
}

/// The address of an app, `http(s)://HOST[/FOLDER]/apps/NAME`, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppUrl {
    /// What keys are appended to: everything before `/apps/NAME`.
    pub base: String,
    /// The app.
    pub app: AppName,
}

impl AppUrl {
    /// Reads an address as a person writes it.
    ///
    /// # Errors
    /// When it is no such address, or carries a password, a query or a fragment.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let fail = |reason| Err(UrlError { url: text.chars().take(200).collect(), reason });
        let url = text.trim().trim_end_matches('/');
        let Ok(uri) = url.parse::<Uri>() else {
            return fail("it is not a URL");
        };
        if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none_or(str::is_empty) {
            return fail("it does not begin with http:// or https:// and a host");
        }
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return fail("a user name or password in it would be kept in plain text");
        }
        if uri.query().is_some() || url.contains('#') {
            return fail("'?' and '#' have no meaning here");
        }
        let Some((rest, name)) = url.rsplit_once('/') else {
            return fail("it does not end with /apps/NAME");
        };
        match (rest.strip_suffix("/apps"), name.parse()) {
            (Some(base), Ok(app)) => Ok(Self { base: base.to_owned(), app }),
            _ => fail("it does not end with /apps/NAME"),
        }
    }
}

/// Objects below a base URL.
#[derive(Debug)]
pub struct Http {
    agent: Agent,
    base: String,
    /// Whether only an authority of one's own is believed.
    own_authority: bool,
}

impl Http {
    /// Objects below `base`, such as `https://example.com`, for `connections` threads at a time.
    ///
    /// A base of `https` is never left for plain `http`, whatever a redirect says.
    /// Its certificate has to be vouched for by `authority`, or by a public one when there is none.
    pub fn new(base: &str, user_agent: &str, connections: usize, authority: Option<&Authority>) -> Self {
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .https_only(base.starts_with("https:"))
            .user_agent(user_agent)
            .accept("*/*")
            .max_redirects(5)
            .max_response_header_size(HEADERS_LEN_MAX)
            .max_idle_connections(connections)
            .max_idle_connections_per_host(connections)
            .timeout_resolve(Some(CONNECT_TIMEOUT))
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_send_request(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(HEAD_TIMEOUT))
            .timeout_per_read(Some(READ_TIMEOUT));
        if let Some(authority) = authority {
            config = config.tls_config(authority.tls());
        }
        if is_loopback(base) {
            // A proxy's own loopback is not ours.
            config = config.proxy(None);
        }
        let base = base.trim_end_matches('/').to_owned();
        Self { agent: config.build().into(), base, own_authority: authority.is_some() }
    }

    fn url(&self, key: &Key) -> String {
        // The only character of a key that means something else in a URL.
        format!("{}/{}", self.base, key.as_str().replace('%', "%25"))
    }

    fn ask(&self, url: &str, request: &Request<'_>) -> Result<Response<Body>, Error> {
        let mut builder = self.agent.get(url);
        if request.from > 0 || request.len.is_some() {
            let last = request.len.map(|len| request.from.saturating_add(len.max(1) - 1));
            let last = last.map_or(String::new(), |last| last.to_string());
            builder = builder.header(header::RANGE, format!("bytes={}-{last}", request.from));
            if let Some(etag) = request.if_range {
                builder = builder.header(header::IF_RANGE, etag);
            }
        }
        if let Some(etag) = request.if_none_match {
            builder = builder.header(header::IF_NONE_MATCH, etag);
        }
        builder.call().map_err(|error| {
            let reason = error.to_string();
            unreachable(url, format!("{reason}{}", tls_remedy(&reason, self.own_authority)))
        })
    }
}

impl Transport for Http {
    fn get(&self, request: &Request<'_>, sink: &mut dyn Sink) -> Result<Answer, Error> {
        let url = self.url(request.key);
        let mut response = self.ask(&url, request)?;
        let status = response.status().as_u16();
        match status {
            200 => receive(&url, response, 0, sink),
            206 => match range_start(response.headers()) {
                Some(at) => receive(&url, response, at, sink),
                None => Err(unreachable(&url, "a partial answer does not say which part it is")),
            },
            304 if request.if_none_match.is_some() => Ok(Answer::NotModified),
            404 | 410 | 416 => {
                // Read to its end, a refused request costs no new connection.
                let _ =
                    std::io::copy(&mut response.body_mut().as_reader().take(ERROR_BODY_LEN_MAX), &mut std::io::sink());
                Ok(if status == 416 { Answer::PastEnd } else { Answer::Missing })
            }
            _ => {
                let retry_after = retry_after(response.headers());
                Err(Error::Status { what: url, status, retry_after })
            }
        }
    }
}

fn is_loopback(base: &str) -> bool {
    let uri = base.parse::<Uri>().ok();
    let host = uri.as_ref().and_then(Uri::host).unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn receive(url: &str, mut response: Response<Body>, at: u64, sink: &mut dyn Sink) -> Result<Answer, Error> {
    let etag = response.headers().get(header::ETAG).and_then(|tag| tag.to_str().ok()).map(str::to_owned);
    sink.begin(at, etag.as_deref())?;
    let mut reader = response.body_mut().as_reader();
    let mut piece = vec![0; PIECE_LEN];
    loop {
        match reader.read(&mut piece) {
            Ok(0) => return Ok(Answer::Body { etag }),
            Ok(len) => sink.write(&piece[..len])?,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(unreachable(url, error)),
        }
    }
}

fn unreachable(url: &str, reason: impl ToString) -> Error {
    Error::Unreachable { what: url.to_owned(), reason: reason.to_string() }
}

/// What to do about a certificate that is not taken. The library has its reasons as text only.
fn tls_remedy(reason: &str, own_authority: bool) -> &'static str {
    if reason.contains("UnknownIssuer") && own_authority {
        "; this device believes only the authority that was given with --ca: name the one that made it with --ca FILE, or \
         believe the public ones again with --ca public"
    } else if reason.contains("UnknownIssuer") {
        "; if an authority of your own made it, name that one's certificate with --ca FILE"
    } else if reason.contains("certificate expired") || reason.contains("certificate not valid yet") {
        "; either that certificate is out of date, or this device's clock is wrong"
    } else {
        ""
    }
}

/// The first byte of `Content-Range: bytes 100-199/200`.
fn range_start(headers: &HeaderMap) -> Option<u64> {
    let range = headers.get(header::CONTENT_RANGE)?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split_once('-')?.0.trim().parse().ok()
}

/// Seconds of `Retry-After`. Its other form, a date, needs a clock that is right; such a server is asked again at our pace.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_apps() {
        let parsed = |text: &str| AppUrl::parse(text).map(|url| (url.base, url.app.to_string()));
        let is = |base: &str, app: &str| Ok((base.to_owned(), app.to_owned()));
        assert_eq!(parsed("http://localhost:8080/apps/demo"), is("http://localhost:8080", "demo"));
        assert_eq!(parsed(" https://example.com/x/apps/demo/ "), is("https://example.com/x", "demo"));
        assert_eq!(parsed("http://[::1]:80/apps/apps"), is("http://[::1]:80", "apps"));
        for bad in [
            "",
            "example.com/apps/demo",
            "ftp://example.com/apps/demo",
            "https:///apps/demo",
            "https://example.com",
            "https://example.com/demo",
            "https://example.com/apps/",
            "https://example.com/apps/a b",
            "https://example.com/apps/..",
            "https://me:secret@example.com/apps/demo",
            "https://example.com/apps/demo?x=1",
            "https://example.com/apps/demo#x",
        ] {
            assert!(AppUrl::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn loopback_is_never_behind_a_proxy() {
        for base in ["http://localhost:1", "http://127.0.0.1:80", "https://127.8.8.8", "http://[::1]:8080"] {
            assert!(is_loopback(base), "{base}");
        }
        for base in ["http://localhost.example.com", "http://10.0.0.1", "http://[::2]", "nonsense"] {
            assert!(!is_loopback(base), "{base}");
        }
    }

    #[test]
    fn headers_are_read_strictly() {
        let with = |name, value: &str| HeaderMap::from_iter([(name, value.parse().unwrap())]);
        let start = |value| range_start(&with(header::CONTENT_RANGE, value));
        assert_eq!(start("bytes 100-199/200"), Some(100));
        assert_eq!(start("bytes 100-199/*"), Some(100));
        for bad in ["100-199/200", "bytes */200", "bytes -5/200", "bytes x-199/200", ""] {
            assert_eq!(start(bad), None, "{bad}");
        }
        let after = |value| retry_after(&with(header::RETRY_AFTER, value));
        assert_eq!(after(" 7 "), Some(Duration::from_secs(7)));
        assert_eq!(after("Wed, 21 Oct 2026 07:28:00 GMT"), None);
        assert_eq!(after("-1"), None);
    }
}
