//! A server in memory, with one app, and requests that the fuzzer makes up.

use std::net::SocketAddr;
use std::sync::OnceLock;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use updraft_core::Timestamp;
use updraft_core::api::FirstMetadata;
use updraft_core::name::AppName;
use updraft_core::signed::Envelope;
use updraft_core::trust::{Role, Root, Targets};
use updraft_server::depot::{Depot, OnlineKeys, Options};
use updraft_server::http::{Access, AdminToken, Parts, Service};
use updraft_server::seed::Seed;
use updraft_server::store::Store;
use updraft_testkit::keys;

/// One request, and from whom.
#[derive(Debug, Arbitrary)]
pub struct Request {
    method: Method,
    target: String,
    headers: Vec<(Header, String)>,
    body: Vec<u8>,
    from_here: bool,
    with_token: bool,
}

#[derive(Debug, Arbitrary)]
enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
}

#[derive(Debug, Arbitrary)]
enum Header {
    Range,
    IfRange,
    IfNoneMatch,
    IfModifiedSince,
    Host,
    Forwarded,
    XForwardedFor,
    XForwardedProto,
    Authorization,
    ContentType,
    ContentLength,
    UploadOffset,
    Accept,
    AcceptEncoding,
    AcceptLanguage,
}

impl Header {
    fn name(&self) -> String {
        let mut name = String::new();
        for c in format!("{self:?}").chars() {
            if c.is_ascii_uppercase() && !name.is_empty() {
                name.push('-');
            }
            name.push(c.to_ascii_lowercase());
        }
        name
    }
}

fn token() -> &'static AdminToken {
    static TOKEN: OnceLock<AdminToken> = OnceLock::new();
    TOKEN.get_or_init(|| AdminToken::generate().expect("the system has random bytes"))
}

fn runtime() -> &'static tokio::runtime::Runtime {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime"))
}

/// A service over a depot in memory that has the app `demo`, which is the old clients' app as well.
async fn service() -> Service {
    let app: AppName = "demo".parse().expect("the name of an app");
    let now = Timestamp::now();
    let depot = Depot::open(Store::memory(), OnlineKeys::memory(), Options::default(), now).await.expect("it opens");
    let online = depot.propose_app(&app).await.expect("there is no such app yet");
    let expires = now.checked_add(jiff::SignedDuration::from_hours(24 * 365)).expect("a date");
    let root = Root::new(1, expires)
        .with_role(&Role::Root, &[keys::root().public()], 1)
        .with_role(&Role::Targets, &[keys::targets().public()], 1)
        .with_role(&Role::Snapshot, std::slice::from_ref(&online), 1)
        .with_role(&Role::Timestamp, std::slice::from_ref(&online), 1);
    let targets = Targets::new(1, expires).with_channels_role(&online);
    let text = |envelope: Envelope, key| String::from_utf8(envelope.sign(key).to_bytes()).expect("JSON is text");
    let first = FirstMetadata {
        root: text(Envelope::new(&root), &keys::root()),
        targets: text(Envelope::new(&targets), &keys::targets()),
    };
    depot.create_app(&app, &first, now).await.expect("the app can be made");
    let seed = Seed::new(app, depot.clone(), None);
    let access = Access { allow_plain_admin: false, open_generate: false, trusted_proxies: Vec::new() };
    Service::new(Parts { depot, seed: Some(seed), admin: token().digest(), access, public_url: None })
}

/// Answers a request, and asserts that the answer is one: no defect of ours, no secret in it.
pub fn answer(request: &Request) {
    let mut made = http::Request::builder().method(format!("{:?}", request.method).to_uppercase().as_str());
    made = made.uri(format!("/{}", request.target.trim_start_matches('/')));
    for (header, value) in &request.headers {
        made = made.header(header.name(), value);
    }
    if request.with_token {
        made = made.header("authorization", format!("Bearer {}", token().reveal()));
    }
    let Ok(made) = made.body(Full::new(Bytes::from(request.body.clone()))) else { return };
    let peer: SocketAddr =
        if request.from_here { "127.0.0.1:4000" } else { "203.0.113.9:4000" }.parse().expect("an address");
    runtime().block_on(async {
        let response = service().await.respond(peer, made).await;
        let status = response.status().as_u16();
        // A service without a release has nothing to say to old clients: 503. Everything else is not the server's fault.
        assert!(status < 500 || status == 503, "{status} to {request:?}");
        let body = response.into_body().collect().await.map(|body| body.to_bytes());
        let body = body.unwrap_or_else(|e| panic!("an answer from memory breaks off: {e}"));
        let secret = token().reveal().as_bytes();
        assert!(!body.windows(secret.len()).any(|part| part == secret), "the token is told");
    });
}
