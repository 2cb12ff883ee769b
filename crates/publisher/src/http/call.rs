//! One request and its answer: bounded, timed out, tried again where that is harmless.
//!
//! Every call of the API may be made twice: what was done already answers "conflict", and whoever asked reads again and
//! sees that it was done. So whatever may pass by itself (a broken connection, a server that restarts) is tried again
//! here, a few times, with a growing pause.

use std::cell::RefCell;
use std::io::{self, Read};
use std::time::Duration;

use serde::de::DeserializeOwned;
use updraft_core::api::Problem;
use ureq::http::{Method, Request, Response, header};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body, SendBody};

use super::Options;
use super::address::Address;
use crate::keys::Zeroizing;
use crate::remote::RemoteError;

/// How often a call is made before it is given up: with the first pause of a quarter of a second, after about 20 s.
const TRIES_MAX: u32 = 5;
/// Each pause is so many times as long as the one before.
const PAUSE_GROWTH: u32 = 4;
/// The longest pause, whatever the server asks for.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// The longest time to reach the server.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest time without a byte from the server: it may be verifying some gigabytes.
const READ_TIMEOUT: Duration = Duration::from_secs(120);
/// The longest time for an answer to somebody who only looks.
const LOOK_TIMEOUT: Duration = Duration::from_secs(20);
/// The longest time without the server taking a byte.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
/// Largest body of an error that is read, in bytes.
const PROBLEM_LEN_MAX: u64 = 64 << 10;

/// The body of a request.
pub(super) enum Payload<'a> {
    /// None.
    Empty,
    /// In memory, of this content type.
    Bytes(&'a [u8], &'static str),
    /// The rest of something long: `len` bytes, of which the server has `offset` more already.
    Stream { content: &'a mut dyn Read, offset: u64, len: u64 },
}

/// Whether the token goes along.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum As {
    Anybody,
    Publisher,
}

/// An answer of success.
pub(super) struct Answer {
    pub(super) bytes: Vec<u8>,
}

/// Why an attempt failed, and whether another one may do better.
pub(super) enum Failure {
    /// It will fail again.
    Final(RemoteError),
    /// It may pass; the server asked for this pause, or for none.
    Passing { error: RemoteError, pause: Option<Duration> },
    /// The server has kept this many bytes of the upload, not the number that was said.
    Offset(u64),
}

impl From<Failure> for RemoteError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Final(error) | Failure::Passing { error, .. } => error,
            Failure::Offset(offset) => {
                let detail = format!("the server expects the upload to go on at byte {offset}");
                RemoteError::Conflict { detail, remedy: None }
            }
        }
    }
}

/// The way to one server.
pub(super) struct Line {
    agent: Agent,
    pub(super) address: Address,
    token: Option<Zeroizing<String>>,
    first_pause: Duration,
}

impl Line {
    pub(super) fn new(address: Address, options: Options) -> Self {
        let Options { token, authority, first_pause, .. } = options;
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .user_agent(concat!("updraft/", env!("CARGO_PKG_VERSION")))
            // A redirect would take the token along, or lose the body: the person is told instead.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_per_read(Some(READ_TIMEOUT))
            .timeout_per_write(Some(WRITE_TIMEOUT));
        if let Some(authority) = authority {
            let roots = authority.iter().map(|der| Certificate::from_der(der).to_owned());
            config = config.tls_config(TlsConfig::builder().root_certs(RootCerts::from(roots)).build());
        }
        if address.is_loopback() {
            config = config.proxy(None);
        }
        Self { agent: config.build().new_agent(), address, token, first_pause }
    }

    /// Makes an attempt until it succeeds, fails for good, or has failed too often.
    pub(super) fn retrying<T>(&self, mut attempt: impl FnMut() -> Result<T, Failure>) -> Result<T, RemoteError> {
        let mut tries = 0;
        loop {
            match attempt() {
                Ok(done) => return Ok(done),
                Err(Failure::Passing { error, .. }) if tries + 1 >= TRIES_MAX => return Err(error),
                Err(Failure::Passing { pause, .. }) => self.pause(tries, pause),
                Err(failure) => return Err(failure.into()),
            }
            tries += 1;
        }
    }

    /// Waits before another try, and not in step with others who wait.
    pub(super) fn pause(&self, tries: u32, asked: Option<Duration>) {
        let grown = self.first_pause.saturating_mul(PAUSE_GROWTH.saturating_pow(tries));
        let mut random = [0; 1];
        // Without a random number everybody waits the same: worse, and no reason to give up.
        let _ = getrandom::fill(&mut random);
        let jitter = grown.mul_f64(f64::from(random[0]) / 512.0);
        std::thread::sleep(asked.unwrap_or(grown + jitter).min(PAUSE_MAX));
    }

    /// Whether one more try is allowed after `tries` that failed.
    pub(super) fn may_try_again(tries: u32) -> bool {
        tries + 1 < TRIES_MAX
    }

    /// One request: the body of its answer, `max` bytes at most.
    pub(super) fn once(
        &self,
        method: Method,
        path: &str,
        who: As,
        payload: Payload<'_>,
        max: u64,
    ) -> Result<Answer, Failure> {
        let what = || format!("{method} {}", self.address.url(path));
        let mut request = Request::builder().method(method.clone()).uri(self.address.url(path));
        if let (As::Publisher, Some(token)) = (who, &self.token) {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.as_str()));
        }
        let response = match payload {
            Payload::Empty => self.run(request.body(()), &what),
            Payload::Bytes(bytes, kind) => self.run(request.header(header::CONTENT_TYPE, kind).body(bytes), &what),
            Payload::Stream { content, offset, len } => {
                let mut content = Watched { content, left: len, failed: RefCell::new(None) };
                let request = request
                    .header(header::CONTENT_TYPE, "application/octet-stream")
                    .header(header::CONTENT_LENGTH, len)
                    .header("upload-offset", offset)
                    .body(SendBody::from_reader(&mut content));
                let response = self.run(request, &what);
                if let Some(reason) = content.failed.into_inner() {
                    return Err(Failure::Final(RemoteError::Content(reason)));
                }
                response
            }
        }?;
        self.answer(response, max, &what)
    }

    /// One question, with the token, of somebody who looks how a server is.
    pub(super) fn look<T: DeserializeOwned>(&self, path: &str, max: u64) -> Result<T, RemoteError> {
        let what = || format!("GET {}", self.address.url(path));
        let mut request = Request::builder().uri(self.address.url(path));
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.as_str()));
        }
        let in_time = |request| self.agent.configure_request(request).timeout_global(Some(LOOK_TIMEOUT)).build();
        let response = self.run(request.body(()).map(in_time), &what)?;
        if response.status().as_u16() != 503 {
            return decode(&self.answer(response, max, &what)?.bytes, &what());
        }
        let bytes = read(response.into_body(), max, &what)?;
        // Another 503 is that of a proxy.
        serde_json::from_slice(&bytes).map_err(|_| problem(503, None, &bytes, what()).into())
    }

    fn run(
        &self,
        request: ureq::http::Result<Request<impl ureq::AsSendBody>>,
        what: &dyn Fn() -> String,
    ) -> Result<Response<Body>, Failure> {
        let request = request.map_err(|e| {
            let detail = format!("{}: {e}", what());
            Failure::Final(RemoteError::Refused { kind: "request".to_owned(), detail, remedy: None })
        })?;
        self.agent.run(request).map_err(|e| failure_of(what(), e))
    }

    fn answer(&self, response: Response<Body>, max: u64, what: &dyn Fn() -> String) -> Result<Answer, Failure> {
        let status = response.status();
        if status.is_success() {
            return Ok(Answer { bytes: read(response.into_body(), max, what)? });
        }
        if status.is_redirection() {
            let target = response.headers().get(header::LOCATION).and_then(|v| v.to_str().ok()).unwrap_or("elsewhere");
            let detail = format!("{}: the server sends us to {target}", what());
            let remedy = Some("name the server by the address that it wants".to_owned());
            return Err(Failure::Final(RemoteError::Refused { kind: "redirect".to_owned(), detail, remedy }));
        }
        let pause = response.headers().get(header::RETRY_AFTER).and_then(|v| v.to_str().ok()?.parse().ok());
        let bytes = read(response.into_body(), PROBLEM_LEN_MAX, what).unwrap_or_default();
        Err(problem(status.as_u16(), pause.map(Duration::from_secs), &bytes, what()))
    }
}

/// The value in `bytes`, which a server that is one of ours would have sent.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8], what: &str) -> Result<T, RemoteError> {
    serde_json::from_slice(bytes).map_err(|e| RemoteError::Nonsense {
        what: what.to_owned(),
        reason: format!("what answered is not an Updraft server of this version: {e}"),
    })
}

fn read(body: Body, max: u64, what: &dyn Fn() -> String) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = body.into_reader().take(max + 1).read_to_end(&mut bytes);
    if bytes.len() as u64 > max {
        let reason = format!("the answer has more than the {max} bytes that it may have");
        return Err(Failure::Final(RemoteError::Nonsense { what: what(), reason }));
    }
    match read {
        Ok(_) => Ok(bytes),
        Err(e) => Err(failure_of(what(), ureq::Error::Io(e))),
    }
}

/// What an attempt that brought no answer means.
fn failure_of(what: String, error: ureq::Error) -> Failure {
    let reason = match &error {
        ureq::Error::Io(e) => e.to_string(),
        ureq::Error::HostNotFound => "there is no server of this name".to_owned(),
        other => other.to_string(),
    };
    // The library has it as text only.
    if reason.contains("invalid peer certificate") {
        let remedy = match reason.contains("UnknownIssuer") {
            true => "; if an authority of your own made that certificate, name the authority's with --ca FILE",
            false => "",
        };
        return Failure::Final(RemoteError::Unreachable { what, reason: reason + remedy });
    }
    match error {
        // Another try meets the same certificate, the same proxy and the same protocol.
        ureq::Error::Tls(_) | ureq::Error::Rustls(_) | ureq::Error::InvalidProxyUrl | ureq::Error::BadUri(_) => {
            Failure::Final(RemoteError::Unreachable { what, reason })
        }
        ureq::Error::Protocol(_) | ureq::Error::LargeResponseHeader(..) => {
            Failure::Final(RemoteError::Nonsense { what, reason })
        }
        _ => Failure::Passing { error: RemoteError::Unreachable { what, reason }, pause: None },
    }
}

/// What an error status means. The body is a hint: where it is none of ours, the status speaks alone.
fn problem(status: u16, pause: Option<Duration>, bytes: &[u8], what: String) -> Failure {
    #[derive(serde::Deserialize)]
    struct Elsewhere {
        offset: u64,
    }
    if status == 409
        && let Ok(Elsewhere { offset }) = serde_json::from_slice(bytes)
    {
        return Failure::Offset(offset);
    }
    let (kind, detail, remedy) = match serde_json::from_slice::<Problem>(bytes) {
        Ok(problem) => (problem.kind, problem.detail, problem.remedy),
        Err(_) => (String::new(), format!("{what}: the answer is status {status}, without a reason"), None),
    };
    let or = |remedy: Option<String>, otherwise: &str| Some(remedy.unwrap_or_else(|| otherwise.to_owned()));
    Failure::Final(match status {
        401 | 403 => RemoteError::Denied { detail, remedy: or(remedy, "give a token that this server accepts") },
        404 => RemoteError::NotFound { detail, remedy: or(remedy, "check the address of the server and the name") },
        408 | 429 | 502..=504 => {
            return Failure::Passing { error: RemoteError::Unreachable { what, reason: detail }, pause };
        }
        // Two of our own connections, of which the server still holds the older one.
        409 if kind == "superseded" => {
            return Failure::Passing { error: RemoteError::Unreachable { what, reason: detail }, pause };
        }
        409 if matches!(kind.as_str(), "conflict" | "exists" | "") => RemoteError::Conflict { detail, remedy },
        413 if kind.is_empty() => {
            let remedy = "a proxy in between may limit the length of a request: raise its limit".to_owned();
            RemoteError::Refused { kind: "too-large".to_owned(), detail, remedy: Some(remedy) }
        }
        _ if kind == MISSING => RemoteError::Missing { detail, remedy },
        _ => RemoteError::Refused { kind, detail, remedy },
    })
}

/// The word in a problem for what a release needs and the server lacks.
const MISSING: &str = "missing";

/// Remembers that it was the reading that failed, not the sending. A file that ends early is a failure, for the server
/// would wait for the rest.
struct Watched<'a> {
    content: &'a mut dyn Read,
    left: u64,
    failed: RefCell<Option<String>>,
}

impl Read for Watched<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = match self.content.read(into) {
            Ok(0) if self.left > 0 && !into.is_empty() => Err(io::Error::other("the file has become shorter")),
            read => read,
        };
        match &read {
            Ok(n) => self.left = self.left.saturating_sub(*n as u64),
            Err(e) => *self.failed.borrow_mut() = Some(e.to_string()),
        }
        read
    }
}
