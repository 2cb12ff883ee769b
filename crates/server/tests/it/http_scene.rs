//! A service over a depot in memory, a publisher for it, and a way to ask it without a socket.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use serde_json::Value;
use updraft_core::channel::Channel;
use updraft_core::digest::Sha256;
use updraft_core::key::PublicKey;
use updraft_core::name::AppName;
use updraft_core::release::{Notes, Release, ReleaseName, Terms, TreeRef};
use updraft_core::signed::Envelope;
use updraft_core::tree::codec;
use updraft_core::tree::stored::{Encoding, Hint, pack};
use updraft_core::trust::{Role, Root, TargetFile, Targets};
use updraft_core::{Timestamp, api};
use updraft_server::depot::{Depot, OnlineKeys, Options};
use updraft_server::http::{Access, AdminToken, Parts, Service};
use updraft_server::rescan::Rescan;
use updraft_server::seed::Seed;
use updraft_server::store::Store;
use updraft_testkit::{TreeFixture, keys};

/// Somebody on this machine.
pub(crate) const LOCAL: &str = "127.0.0.1:40000";
/// Somebody else.
pub(crate) const STRANGER: &str = "203.0.113.9:40000";

/// The name of the app in every scene.
pub(crate) fn demo() -> AppName {
    "demo".parse().unwrap()
}

/// When this publisher's signatures expire.
fn next_year() -> Timestamp {
    Timestamp::now().checked_add(jiff::SignedDuration::from_hours(24 * 365)).unwrap()
}

/// Signs for the app `demo`, and hands in to a depot directly.
#[derive(Clone)]
pub(crate) struct Publisher {
    pub(crate) depot: Depot,
    targets: Targets,
}

impl Publisher {
    /// What creates the app, for a server whose online key is `online`.
    pub(crate) fn first_metadata(online: &PublicKey) -> (api::FirstMetadata, Targets) {
        Self::first_metadata_until(online, next_year(), next_year())
    }

    /// The same, with these ends of root and targets.
    pub(crate) fn first_metadata_until(
        online: &PublicKey,
        root_end: Timestamp,
        targets_end: Timestamp,
    ) -> (api::FirstMetadata, Targets) {
        let root = Root::new(1, root_end)
            .with_role(&Role::Root, &[keys::root().public()], 1)
            .with_role(&Role::Targets, &[keys::targets().public()], 1)
            .with_role(&Role::Snapshot, std::slice::from_ref(online), 1)
            .with_role(&Role::Timestamp, std::slice::from_ref(online), 1);
        let targets = Targets::new(1, targets_end).with_channels_role(online);
        let sign = |envelope: Envelope, key| String::from_utf8(envelope.sign(key).to_bytes()).unwrap();
        let first = api::FirstMetadata {
            root: sign(Envelope::new(&root), &keys::root()),
            targets: sign(Envelope::new(&targets), &keys::targets()),
        };
        (first, targets)
    }

    /// Creates the app.
    pub(crate) async fn new(depot: Depot) -> Self {
        let online = depot.propose_app(&demo()).await.unwrap();
        let (first, targets) = Self::first_metadata(&online);
        depot.create_app(&demo(), &first, Timestamp::now()).await.unwrap();
        Self { depot, targets }
    }

    /// The publisher of the app that the scene has already.
    pub(crate) fn of(scene: &Scene) -> Self {
        let targets = scene.depot.view(&demo()).unwrap().targets.clone();
        Self { depot: scene.depot.clone(), targets }
    }

    /// A release of `files`, its document and the next targets that name it.
    pub(crate) fn prepare(&self, version: &str, files: &TreeFixture, notes: Notes) -> (Release, api::NewTargets) {
        let tree = files.tree();
        let release = Release {
            format: 1,
            app: demo(),
            version: version.parse().unwrap(),
            platform: "any".parse().unwrap(),
            date: Timestamp::now(),
            notes,
            tree: TreeRef {
                digest: tree.digest(),
                length: codec::encode(&tree).len() as u64,
                files: tree.file_count(),
                bytes: tree.byte_count(),
                stored: tree.byte_count(),
            },
            terms: Terms::default(),
            from: Vec::new(),
        };
        let document = release.encode();
        let mut targets = self.targets.clone();
        targets.version += 1;
        // As a publisher does: what the channels have left behind is dropped.
        let view = self.depot.view(&demo());
        let retired = |channels: &BTreeMap<_, Channel>| -> Vec<ReleaseName> {
            channels.values().flat_map(|channel| channel.retired.iter().cloned()).collect()
        };
        for name in view.iter().flat_map(|view| retired(&view.channels)) {
            targets.targets.remove(&name.target_path());
        }
        targets.targets.insert(release.name().target_path(), TargetFile::of(&document));
        let new = api::NewTargets {
            base: self.targets.version,
            targets: String::from_utf8(Envelope::new(&targets).sign(&keys::targets()).to_bytes()).unwrap(),
            documents: vec![String::from_utf8(document).unwrap()],
            promote: Some(api::Promotion { channel: "stable".parse().unwrap(), release: release.name() }),
        };
        (release, new)
    }

    /// Publishes `files` on `stable`, every blob as it is.
    pub(crate) async fn publish(&mut self, version: &str, files: &TreeFixture, notes: Notes) -> Release {
        self.publish_on("stable", version, files, notes).await
    }

    /// The same on another channel.
    pub(crate) async fn publish_on(
        &mut self,
        channel: &str,
        version: &str,
        files: &TreeFixture,
        notes: Notes,
    ) -> Release {
        let (release, mut new) = self.prepare(version, files, notes);
        new.promote = Some(api::Promotion { channel: channel.parse().unwrap(), release: release.name() });
        for (digest, content) in files.contents() {
            let mut upload = self.depot.upload(&demo(), *digest, Encoding::Raw, 0).await.unwrap();
            if !upload.is_stored() {
                upload.write(content.clone().into()).await.unwrap();
                upload.finish().await.unwrap();
            }
        }
        let tree = files.tree();
        self.depot.put_tree(&demo(), tree.digest(), pack(&tree, &Hint::new()).into()).await.unwrap();
        self.depot.accept(&demo(), &new, Timestamp::now()).await.unwrap();
        self.targets = Envelope::parse(new.targets.as_bytes(), 4 << 20).unwrap().content().unwrap();
        release
    }
}

/// A service and who runs it.
pub(crate) struct Scene {
    pub(crate) depot: Depot,
    pub(crate) service: Service,
    pub(crate) token: AdminToken,
}

impl Scene {
    /// A service without apps and without a folder.
    pub(crate) async fn empty() -> Self {
        Self::over(memory().await, Access::default(), None)
    }

    pub(crate) fn over(depot: Depot, access: Access, seed: Option<Seed>) -> Self {
        let token = AdminToken::generate().unwrap();
        let parts = Parts { depot: depot.clone(), seed, admin: token.digest(), access, public_url: None };
        Self { depot, service: Service::new(parts), token }
    }

    /// A service whose app `demo` is a folder; what is in it was published, and `rescan` scans it.
    pub(crate) async fn folder(
        files: &TreeFixture,
        access: Access,
        rescan: Option<Arc<dyn Rescan>>,
    ) -> (Self, Publisher) {
        let depot = memory().await;
        let mut publisher = Publisher::new(depot.clone()).await;
        publisher.publish("0.0.1", files, Notes::Text("first".into())).await;
        let seed = Seed::new(demo(), depot.clone(), rescan);
        (Self::over(depot, access, Some(seed)), publisher)
    }

    /// Asks as somebody on this machine who has no token.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.get_with(path, &[]).await
    }

    pub(crate) async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.ask("GET", path, LOCAL, headers, "").await
    }

    /// Asks as the administrator, on this machine.
    pub(crate) async fn admin(&self, method: &str, path: &str, body: impl Into<Bytes>) -> Answer {
        let authorization = format!("Bearer {}", self.token.reveal());
        let headers = [("host", "127.0.0.1:8080"), ("authorization", authorization.as_str())];
        self.ask(method, path, LOCAL, &headers, body).await
    }

    pub(crate) async fn ask(
        &self,
        method: &str,
        path: &str,
        peer: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let request = Request::builder().method(method).uri(path);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let peer: SocketAddr = peer.parse().unwrap();
        let response = self.service.respond(peer, request.body(Full::new(body.into())).unwrap()).await;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer { status: parts.status, headers: parts.headers, body }
    }
}

pub(crate) async fn memory() -> Depot {
    over(Store::memory()).await
}

pub(crate) async fn over(store: Store) -> Depot {
    Depot::open(store, OnlineKeys::memory(), Options::default(), Timestamp::now()).await.unwrap()
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    /// A header; empty when there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {:?}", self.body))
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The word for the problem that this answer is.
    pub(crate) fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(self.header("cache-control"), "no-store");
        let problem: api::Problem = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(problem.status, self.status.as_u16());
        problem.kind
    }
}

/// What of `bytes` a device would name them by, in TUF's words.
pub(crate) fn sha256(bytes: &[u8]) -> Sha256 {
    Sha256::of(bytes)
}
