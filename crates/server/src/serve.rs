//! Connections: taking them, limiting them, letting them end well.
//!
//! The listener and the signal to stop are handed in; so a test has its own, and the command line decides what a signal
//! is. Every wait for a client has an end (see [`Limits`]), so that whoever is slow on purpose costs little, and not for
//! long. The other tasks here keep what the server signs fresh, and remind people of what they have to.

mod fresh;
mod inbound;
mod patience;
mod stream;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use updraft_core::Timestamp;
use updraft_core::digest::Sha256;

use crate::config::Config;
use crate::depot::{Depot, Round};
use crate::http::{Body, Parts, Service};
use crate::maker::{self, Workshop};
use crate::rescan::Rescan;
use crate::seed::Seed;
use inbound::Inbound;
pub use patience::Measure;
use stream::{Ongoing, Progress, Stream};

/// How often to look whether the folder's app has a new release, so that its list is made before somebody asks.
const LIST_EVERY: Duration = Duration::from_secs(1);
/// How often to say in the log what a person has to do.
const REMIND_EVERY: Duration = Duration::from_secs(24 * 60 * 60);
/// How long to wait before taking connections again when the system has no more of them.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long to wait, and for how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most connections at once; further ones wait until one ends.
    pub connections_max: usize,
    /// Largest head of a request, in bytes.
    pub header_len_max: usize,
    /// Longest time for the whole head of a request, from its first byte; and for a new connection to send that.
    pub header_timeout: Duration,
    /// Longest time between two requests of a connection.
    pub idle_timeout: Duration,
    /// Patience with a client that sends the body of a request.
    pub reading: Measure,
    /// Patience with a client that takes an answer. The kernel takes some megabytes ahead and then nothing for as long as
    /// a slow client needs for a third of them, so this is longer than it seems to need to be.
    pub writing: Measure,
    /// How long answers that have begun may go on when the server stops.
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 8_192,
            header_len_max: 16 << 10,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(30),
            reading: Measure { full: Duration::from_secs(30), bytes_per_sec_min: 1 << 10 },
            writing: Measure { full: Duration::from_secs(120), bytes_per_sec_min: 1 << 10 },
            drain_timeout: Duration::from_secs(30),
        }
    }
}

/// Why there is nothing to listen on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {reason}")]
pub struct BindError {
    address: SocketAddr,
    reason: String,
    source: io::Error,
}

/// A listener on `address`; port 0 takes any that is free.
///
/// # Errors
/// When the address is in use, is not this machine's, or may not be used; the message says which, and what to do.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    TcpListener::bind(address).await.map_err(|source| {
        let reason = match source.kind() {
            io::ErrorKind::AddrInUse => {
                "another program uses this port: stop it, or choose another with --listen".to_owned()
            }
            io::ErrorKind::AddrNotAvailable => {
                "this machine does not have that address: choose another with --listen".to_owned()
            }
            io::ErrorKind::PermissionDenied => {
                "not permitted (ports below 1024 are for root): choose another with --listen".to_owned()
            }
            _ => source.to_string(),
        };
        BindError { address, reason, source }
    })
}

/// Runs a server as `config` says, until `shutdown`: answers requests, renews what is signed online, keeps the list of
/// the folder's files ready.
///
/// `admin` is the digest of the admin token; `rescan` scans the folder, where the configuration names one; `workshop` makes
/// patches.
pub async fn run(
    config: &Config,
    depot: Depot,
    admin: Sha256,
    rescan: Option<Arc<dyn Rescan>>,
    workshop: Arc<dyn Workshop>,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) {
    let seed = config.folder.as_ref().map(|folder| Seed::new(folder.app.clone(), depot.clone(), rescan));
    let mut tasks = JoinSet::new();
    tasks.spawn(fresh::keep(depot.clone()));
    tasks.spawn(keep_reminding(depot.clone()));
    if let Some(seed) = seed.clone() {
        tasks.spawn(keep_listed(seed));
    }
    let (mut patches, making) = (JoinSet::new(), depot.clone());
    patches.spawn(maker::run(depot.clone(), workshop, config.patches.jobs));
    let (access, public_url) = (config.access.clone(), config.public_url.clone());
    let service = Service::new(Parts { depot, seed, admin, access, public_url });
    let shutdown = async {
        shutdown.await;
        // Nobody waits for a patch: what is in the making ends at once, and is begun anew at the next start.
        patches.shutdown().await;
        making.end_patches().await;
    };
    serve(listener, service, Limits::default(), shutdown).await;
    // These tasks only do what the next start would do as well.
    tasks.shutdown().await;
}

/// Answers requests until `shutdown`; then takes no more, lets the answers that have begun end, and returns.
pub async fn serve(listener: TcpListener, service: Service, limits: Limits, shutdown: impl Future<Output = ()>) {
    let (stop, stopping) = watch::channel(());
    let places = Arc::new(Semaphore::new(limits.connections_max));
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        while connections.try_join_next().is_some() {}
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let (stream, peer, place) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // A connection that died while it waited, or no more file descriptors. Both pass.
                tracing::warn!(%error, "a connection was not taken");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let connection = connection(stream, peer, service.clone(), limits, stopping.clone());
        connections.spawn(async move {
            connection.await;
            drop(place);
        });
    }
    drop(listener);
    drop(stop);
    let ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(limits.drain_timeout, ended).await.is_err() {
        tracing::warn!(connections = connections.len(), "connections were cut off: they did not end in time");
    }
    connections.shutdown().await;
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, place))
}

/// Answers the requests of one connection, until it ends or `stopping`'s other end is gone.
async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    service: Service,
    limits: Limits,
    mut stopping: watch::Receiver<()>,
) {
    // Answers are written whole or in large slices, so there is nothing to gain by waiting for more.
    let _ = stream.set_nodelay(true);
    let progress = Arc::new(Progress::default());
    let stream = Stream::new(stream, &limits, Arc::clone(&progress));
    let answer = service_fn(move |request: Request<Incoming>| {
        let (ongoing, service) = (progress.begin(), service.clone());
        async move {
            let request = request.map(|body| Inbound::new(body, limits.reading));
            let response = service.respond(peer, request).await;
            Ok::<_, Infallible>(response.map(|body| Outbound { body, _ongoing: ongoing }))
        }
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // The stream has its own, which tell a quiet connection from a slow head.
        .header_read_timeout(None)
        .max_header_size(limits.header_len_max)
        .max_buf_size(limits.header_len_max.max(64 << 10));
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), answer));
    let result = tokio::select! {
        result = connection.as_mut() => result,
        _ = stopping.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%peer, %error, "a connection ended badly");
    }
}

/// The body of an answer; when it goes, the request is over.
struct Outbound {
    body: Body,
    _ongoing: Ongoing,
}

impl http_body::Body for Outbound {
    type Data = Bytes;
    type Error = <Body as http_body::Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Says in the log what a person has to do before something ends: now, and each day.
async fn keep_reminding(depot: Depot) {
    let mut round = Round::First;
    loop {
        depot.remind(Timestamp::now(), round).await;
        round = Round::Daily;
        tokio::time::sleep(REMIND_EVERY).await;
    }
}

/// Makes the list of the folder's files whenever there is a new release.
async fn keep_listed(seed: Seed) {
    let mut listed = None;
    loop {
        if let Ok(release) = seed.release() {
            let tree = release.tree.digest;
            if listed != Some(tree) {
                if let Err(error) = seed.list().await {
                    tracing::error!(%error, "the list of the folder's files was not made");
                }
                listed = Some(tree);
            }
        }
        tokio::time::sleep(LIST_EVERY).await;
    }
}
