//! Why a request failed, as HTTP says it. The only place that turns an error into a status.
//!
//! Every error is `application/problem+json` (RFC 9457) and names the thing, the reason and, where there is one, the
//! remedy. What went wrong inside is told to whoever holds the admin token and to the log, never to the public.

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use serde::Serialize;
use updraft_core::api::{Health, Matter, Problem, UploadState};

use super::body::Body;
use crate::depot;
use crate::seed;
use crate::store;

/// A request that failed.
#[derive(Debug)]
pub(super) struct Error(Box<Failure>);

#[derive(Debug)]
struct Failure {
    status: StatusCode,
    kind: &'static str,
    detail: String,
    remedy: Option<String>,
    header: Option<(HeaderName, HeaderValue)>,
    upload: Option<UploadState>,
    health: Option<Box<Health>>,
}

/// The body: a problem and, when an upload was at another byte than its sender thought, where it is; when the server is not
/// ready, all that is to be said of that.
#[derive(Serialize)]
struct Document {
    #[serde(flatten)]
    problem: Problem,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    upload: Option<UploadState>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    health: Option<Box<Health>>,
}

impl Error {
    fn new(status: StatusCode, kind: &'static str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self(Box::new(Failure { status, kind, detail, remedy: None, header: None, upload: None, health: None }))
    }

    fn remedy(mut self, remedy: &str) -> Self {
        self.0.remedy = Some(remedy.to_owned());
        self
    }

    fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.header = Some((name, value));
        self
    }

    pub(super) fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", format!("there is nothing at {what}"))
    }

    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", detail)
    }

    pub(super) fn too_large(max: usize) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", format!("the body has more than {max} bytes"))
    }

    pub(super) fn method_not_allowed(allowed: &'static str) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", format!("only {allowed} are answered here"))
            .header(ALLOW, HeaderValue::from_static(allowed))
    }

    /// The router adds the header `Allow`, which says what would be.
    pub(super) fn method_not_here() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "this path does not answer that method")
    }

    pub(super) fn precondition_failed() -> Self {
        Self::new(StatusCode::PRECONDITION_FAILED, "precondition-failed", "what is here has another entity tag")
    }

    pub(super) fn range_not_satisfiable(len: u64) -> Self {
        let value = HeaderValue::from_str(&format!("bytes */{len}")).expect("a number is a header value");
        let detail = format!("it has {len} bytes, and none of those that were asked for");
        Self::new(StatusCode::RANGE_NOT_SATISFIABLE, "range-not-satisfiable", detail).header(CONTENT_RANGE, value)
    }

    pub(super) fn token_missing() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "token-missing", "this needs the admin token")
            .remedy(
                "send 'Authorization: Bearer TOKEN' (--token or UPDRAFT_TOKEN); the file admin-token in the server's \
                 data directory has it",
            )
            .header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"updraft\""))
    }

    pub(super) fn token_wrong(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "token-wrong", reason)
            .remedy("copy it again from the file admin-token in the server's data directory")
            .header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"updraft\", error=\"invalid_token\""))
    }

    pub(super) fn plain_http(detail: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "plain-http", detail).remedy(
            "use it on the server itself (http://127.0.0.1:PORT), through ssh -L, or through a proxy with TLS that trusted_proxies names; \
             or start the server with --allow-plain-admin",
        )
    }

    pub(super) fn scan_closed() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "scan-closed",
            "the folder is scanned for this machine and for the admin token only",
        )
        .remedy("ask from the server itself, send the admin token, or start the server with --open-generate")
    }

    /// The caller sent its body too slowly, or went away while it did.
    pub(super) fn body(reason: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "body", format!("the body did not come whole: {reason}"))
            .remedy("send it again; what came of an upload is kept")
    }

    pub(super) fn not_ready(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "not-ready", reason)
            .header(RETRY_AFTER, HeaderValue::from_static("5"))
    }

    /// Not ready, and why: what anybody may know of it.
    pub(super) fn unwell(health: Health) -> Self {
        // What a person has not signed in time is not what makes it unready, nor is a patch that is not there.
        let first = health.findings.iter().find(|finding| !matches!(finding.kind, Matter::Ends | Matter::Patches));
        let app = first.and_then(|finding| finding.app.as_ref()).map_or(String::new(), |app| format!("app {app}: "));
        let mut error = Self::not_ready(first.map_or(String::new(), |finding| format!("{app}{}", finding.what)));
        error.0.remedy = first.map(|finding| finding.remedy.clone());
        error.0.health = Some(Box::new(health));
        error
    }

    pub(super) fn scan_failed(reason: String) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "scan-failed", reason)
    }

    /// Something inside broke; the log says what.
    pub(super) fn internal(error: &dyn std::error::Error) -> Self {
        tracing::error!(error = %Chain(error), "a request failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the server could not do it; its log says why")
    }

    /// The store did not answer somebody who has no token.
    pub(super) fn store(error: &store::Error) -> Self {
        tracing::error!(%error, "the store did not answer");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "store", "the server could not read it; its log says why")
            .header(RETRY_AFTER, HeaderValue::from_static("5"))
    }

    /// The answer to a request that had no body, or whose body may be left unread.
    pub(super) fn response(self) -> Response<Body> {
        let Failure { status, kind, detail, remedy, header, upload, health } = *self.0;
        let title = status.canonical_reason().unwrap_or("Error").to_owned();
        let problem = Problem { kind: kind.to_owned(), title, status: status.as_u16(), detail, remedy };
        let document = serde_json::to_vec(&Document { problem, upload, health }).expect("a problem is plain JSON");
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(document.len()));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some((name, value)) = header {
            headers.insert(name, value);
        }
        *response.body_mut() = Body::memory(document.into());
        response
    }
}

impl axum::response::IntoResponse for Error {
    fn into_response(self) -> axum::response::Response {
        self.response().map(axum::body::Body::new)
    }
}

impl From<depot::Error> for Error {
    fn from(error: depot::Error) -> Self {
        use depot::Error as E;
        let detail = error.to_string();
        let (status, kind) = match &error {
            E::NotFound(_) | E::NoChannel { .. } => (StatusCode::NOT_FOUND, "not-found"),
            E::Exists(_) => (StatusCode::CONFLICT, "exists"),
            E::Conflict(_) => (StatusCode::CONFLICT, "conflict"),
            E::NotNewer(_) => (StatusCode::UNPROCESSABLE_ENTITY, "not-newer"),
            E::Refused(_) => (StatusCode::UNPROCESSABLE_ENTITY, "refused"),
            E::Missing { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "missing"),
            E::Offset { .. } => (StatusCode::CONFLICT, "offset"),
            E::Superseded(_) => (StatusCode::CONFLICT, "superseded"),
            E::NoKey(_) => (StatusCode::INTERNAL_SERVER_ERROR, "read-only"),
            E::Broken { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "broken"),
            E::Store(error) | E::Announced { reason: error, .. } => of_store(error.kind()),
            E::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
            E::Keys(_) | E::Defect(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        if status.is_server_error() {
            tracing::error!(error = %Chain(&error), "a request failed");
        }
        let mut failed = Self::new(status, kind, detail);
        match error {
            E::Offset { have, .. } => failed.0.upload = Some(UploadState { offset: have }),
            E::NoChannel { there, .. } => failed.0.remedy = Some(there),
            _ => {}
        }
        failed
    }
}

const FULL: (StatusCode, &str) = (StatusCode::INSUFFICIENT_STORAGE, "full");

fn of_store(kind: store::Kind) -> (StatusCode, &'static str) {
    match kind {
        store::Kind::Full => FULL,
        store::Kind::InUse => (StatusCode::SERVICE_UNAVAILABLE, "in-use"),
        store::Kind::TooLarge | store::Kind::Corrupt => (StatusCode::INTERNAL_SERVER_ERROR, "broken"),
        store::Kind::NotPermitted | store::Kind::NewerFormat => (StatusCode::INTERNAL_SERVER_ERROR, "store"),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "store"),
    }
}

impl From<seed::Error> for Error {
    fn from(error: seed::Error) -> Self {
        match error {
            seed::Error::NotPublished(_) => Self::not_ready(error.to_string()),
            seed::Error::Depot(inner) => Self::internal(&inner),
            other => Self::internal(&other),
        }
    }
}

/// An error and what caused it, in one line.
struct Chain<'a>(&'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut next = self.0.source();
        while let Some(error) = next {
            let text = error.to_string();
            // A transparent error repeats what it wraps.
            if text != self.0.to_string() {
                write!(f, ": {text}")?;
            }
            next = error.source();
        }
        Ok(())
    }
}
