//! HTTP: doors to the depot. The only place that names axum or a status code.
//!
//! What devices read does not go through the router: [`Service::respond`] answers it from memory or from the store, in a
//! few steps and without a lock. The router has the rest: the publisher's API, the seed's routes, the status page.
//!
//! Nothing is decided here. It refuses what is no request, and whoever may not.

mod auth;
mod body;
mod content;
mod dashboard;
mod error;
mod health;
mod metrics;
mod path;
mod range;
mod read;
mod seed;
mod write;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use http::{Method, Request, Response};
use tower::ServiceExt;
use updraft_core::digest::Sha256;
use updraft_core::layout;

pub use auth::{Access, AdminToken, Network, NetworkError, TokenError};
pub use body::Body;

use crate::depot::Depot;
use crate::seed::Seed;
use auth::{Gate, Peer};
use error::Error;

/// What the service is made of.
#[derive(Debug, Clone)]
pub struct Parts {
    /// What is served.
    pub depot: Depot,
    /// The folder's app, where there is a folder.
    pub seed: Option<Seed>,
    /// Digest of the admin token.
    pub admin: Sha256,
    /// What the operator has opened.
    pub access: Access,
    /// The address that people use, such as `https://updates.example.com`; without it, the one that a request names.
    pub public_url: Option<String>,
}

/// Everything that answers requests. Clones are the same service.
#[derive(Clone)]
pub struct Service {
    shared: Shared,
    router: Router,
}

/// What the handlers share.
#[derive(Clone)]
struct Shared(Arc<Inner>);

struct Inner {
    depot: Depot,
    seed: Option<Seed>,
    gate: Gate,
    public_url: Option<String>,
}

impl std::ops::Deref for Shared {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").finish_non_exhaustive()
    }
}

/// What the server says of itself at the top, where a file of the folder goes first.
const HEALTH: [&str; 4] = ["healthz", "metrics", "readyz", "version"];

impl Service {
    /// The service over these parts.
    pub fn new(parts: Parts) -> Self {
        let Parts { depot, seed, admin, access, public_url } = parts;
        let shared = Shared(Arc::new(Inner { depot, seed, gate: Gate::new(access, admin), public_url }));
        Self { router: router(&shared), shared }
    }

    /// The answer to a request that came from `peer`. It never fails: an error is an answer too.
    pub async fn respond<B>(&self, peer: SocketAddr, request: Request<B>) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        match self.read(&request).await {
            Ok(Some(response)) => response,
            Ok(None) => self.route(peer, request).await,
            Err(error) => error.response(),
        }
    }

    /// The answer to a request for stored bytes; `None` for any other.
    async fn read<B>(&self, request: &Request<B>) -> Result<Option<Response<Body>>, Error> {
        let (method, headers) = (request.method(), request.headers());
        let path = path::decode(request.uri().path());
        let path = path.ok_or_else(|| Error::bad_request("the path is not percent-encoded UTF-8"))?;
        let is_read = method == Method::GET || method == Method::HEAD;
        if let Some(below) = path.strip_prefix("apps/") {
            if !is_read {
                return Err(Error::method_not_allowed("GET, HEAD"));
            }
            if let Some(place) = layout::public(&path) {
                return read::read(&self.shared.depot, &place, method, headers).await.map(Some);
            }
            return match self.folder_file(below).await? {
                Some(file) => seed::download(file, method, headers).map(Some),
                None => Err(Error::not_found(&path)),
            };
        }
        let Some(folder) = self.shared.seed.as_ref().filter(|_| is_read) else { return Ok(None) };
        if path.is_empty() || crate::seed::is_reserved(&path) {
            return Ok(None);
        }
        match folder.file(&path).await {
            Ok(Some(file)) => seed::download(file, method, headers).map(Some),
            // An app that cannot be read must not look like a server that is dead.
            Err(_) if HEALTH.contains(&path.as_str()) => Ok(None),
            Ok(None) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The file at `{app}/files/{path}`, where every file of the folder is.
    async fn folder_file(&self, below: &str) -> Result<Option<crate::seed::File>, Error> {
        let Some((app, path)) = below.split_once("/files/") else { return Ok(None) };
        match self.shared.seed.as_ref().filter(|seed| seed.app().as_str() == app) {
            Some(seed) => Ok(seed.file(path).await?),
            None => Ok(None),
        }
    }

    async fn route<B>(&self, peer: SocketAddr, request: Request<B>) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let mut request = request.map(axum::body::Body::new);
        request.extensions_mut().insert(Peer(peer));
        match self.router.clone().oneshot(request).await {
            Ok(response) => response.map(Body::router),
            Err(never) => match never {},
        }
    }
}

fn router(shared: &Shared) -> Router {
    let health = Router::new()
        .route("/healthz", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(metrics::show))
        .route("/version", get(health::version));
    Router::new()
        .route("/", get(seed::greet))
        .route("/checkUpdate", get(seed::check_update))
        .route("/generateNewConfig", get(seed::generate))
        .route("/listFile", get(seed::list_file))
        .route("/dashboard", get(dashboard::show))
        .merge(health.clone())
        .nest("/api/v1", health.merge(write::routes(shared)))
        .fallback(write::nowhere)
        .method_not_allowed_fallback(|| async { Error::method_not_here() })
        .with_state(shared.clone())
}
