//! What the depot's tests have in common: a publisher with fixed keys, devices that look at a store, and a backend that
//! yields before every call, so that two writers interleave in as many ways as there are seeds.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Notify;
use updraft_core::Timestamp;
use updraft_core::api::{self, Committed, FirstMetadata, NewTargets, Promotion};
use updraft_core::digest::Digest;
use updraft_core::head::Head;
use updraft_core::key::{PublicKey, SigningKey};
use updraft_core::layout::{self, Key};
use updraft_core::limits::METADATA_LEN_MAX;
use updraft_core::name::AppName;
use updraft_core::release::{Notes, Release, ReleaseName, Terms, TreeRef};
use updraft_core::signed::Envelope;
use updraft_core::tree::codec;
use updraft_core::tree::stored::{Encoding, Hint, pack};
use updraft_core::trust::{MetadataFile, Refreshed, Role, Root, Source, TargetFile, Targets, refresh};
use updraft_server::depot::{Depot, Error, OnlineKeys, Options, View};
use updraft_server::store::faulty::{Fault, Faulty};
use updraft_server::store::{Backend, Body, Created, Meta, Object, Store, Swap, Tag};
use updraft_testkit::{MemoryCache, TreeFixture, clock, keys};

pub(crate) fn app() -> AppName {
    "demo".parse().unwrap()
}

pub(crate) fn name(version: &str, platform: &str) -> ReleaseName {
    ReleaseName { platform: platform.parse().unwrap(), version: version.parse().unwrap() }
}

pub(crate) fn promotion(channel: &str, release: &ReleaseName) -> Promotion {
    Promotion { channel: channel.parse().unwrap(), release: release.clone() }
}

/// The build of a version: one file that all versions share, one that each has for itself.
pub(crate) fn build(version: &str) -> TreeFixture {
    TreeFixture::of(&[("bin/app*", &format!("program {version}")), ("lib/shared", "the same in every version")])
}

pub(crate) async fn open(store: &Store, online: &OnlineKeys, now: Timestamp) -> Depot {
    Depot::open(store.clone(), online.clone(), Options::default(), now).await.unwrap()
}

/// A store with one app, whose release 1.0.0 is on stable.
pub(crate) async fn with_one_release() -> (Store, OnlineKeys) {
    let (store, online) = (Store::memory(), OnlineKeys::memory());
    let depot = open(&store, &online, clock::now()).await;
    create(&depot, clock::now()).await.unwrap();
    publish(&depot, "1.0.0", "any", Some("stable"), clock::now()).await.unwrap();
    (store, online)
}

/// What the publisher signs before the app exists.
pub(crate) fn first(online: &PublicKey) -> FirstMetadata {
    let root = Root::new(1, clock::days(3650))
        .with_role(&Role::Root, &[keys::root().public()], 1)
        .with_role(&Role::Targets, &[keys::targets().public()], 1)
        .with_role(&Role::Snapshot, std::slice::from_ref(online), 1)
        .with_role(&Role::Timestamp, std::slice::from_ref(online), 1);
    let targets = Targets::new(1, clock::days(365)).with_channels_role(online);
    FirstMetadata {
        root: text(Envelope::new(&root).sign(&keys::root())),
        targets: text(Envelope::new(&targets).sign(&keys::targets())),
    }
}

pub(crate) fn text(envelope: Envelope) -> String {
    String::from_utf8(envelope.to_bytes()).unwrap()
}

pub(crate) async fn create(depot: &Depot, now: Timestamp) -> Result<Committed, Error> {
    let online = depot.propose_app(&app()).await?;
    depot.create_app(&app(), &first(&online), now).await
}

/// The document of a release of these files.
pub(crate) fn document(version: &str, platform: &str, files: &TreeFixture) -> Release {
    let tree = files.tree();
    let ReleaseName { platform, version } = name(version, platform);
    Release {
        format: 1,
        app: app(),
        version,
        platform,
        date: clock::now(),
        notes: Notes::Text("new".into()),
        tree: TreeRef {
            digest: tree.digest(),
            length: codec::encode(&tree).len() as u64,
            files: tree.file_count(),
            bytes: tree.byte_count(),
            stored: tree.byte_count(),
        },
        terms: Terms::default(),
        from: Vec::new(),
    }
}

/// Uploads one blob whole.
pub(crate) async fn upload(depot: &Depot, content: &[u8]) -> Result<(), Error> {
    let mut upload = depot.upload(&app(), Digest::of(content), Encoding::Raw, 0).await?;
    upload.write(Bytes::copy_from_slice(content)).await?;
    upload.finish().await
}

/// Uploads what the server lacks of these files, and their tree.
pub(crate) async fn upload_tree(depot: &Depot, files: &TreeFixture) -> Result<(), Error> {
    let digests: Vec<Digest> = files.contents().keys().copied().collect();
    for (digest, stored) in digests.iter().zip(depot.missing(&app(), &digests).await?) {
        if stored.is_none() {
            upload(depot, &files.contents()[digest]).await?;
        }
    }
    depot.put_tree(&app(), files.tree().digest(), pack(&files.tree(), &Hint::new()).into()).await
}

/// New targets on top of `view`, as `edit` makes them, signed as version `version`.
pub(crate) fn targets_of(view: &View, version: u64, edit: impl FnOnce(&mut Targets)) -> Targets {
    let mut targets = view.targets.clone();
    targets.version = version;
    edit(&mut targets);
    targets
}

/// What is submitted to publish these releases on top of `view`.
pub(crate) fn submission(view: &View, version: u64, new: &[Release], promote: Option<Promotion>) -> NewTargets {
    let targets = targets_of(view, version, |targets| {
        let file =
            |release: &Release| TargetFile { custom: release.terms.to_custom(), ..TargetFile::of(&release.encode()) };
        let listed = new.iter().map(|release| (release.name().target_path(), file(release)));
        targets.targets.extend(listed);
    });
    signed(view, &targets, new, promote, &keys::targets())
}

pub(crate) fn signed(
    view: &View,
    targets: &Targets,
    new: &[Release],
    promote: Option<Promotion>,
    key: &SigningKey,
) -> NewTargets {
    NewTargets {
        base: view.targets.version,
        targets: text(Envelope::new(targets).sign(key)),
        documents: new.iter().map(|release| String::from_utf8(release.encode()).unwrap()).collect(),
        promote,
    }
}

/// Publishes as a publisher's tool does: uploads what is missing, and when somebody was first reads and signs again.
pub(crate) async fn publish(
    depot: &Depot,
    version: &str,
    platform: &str,
    channel: Option<&str>,
    now: Timestamp,
) -> Result<Committed, Error> {
    let release = document(version, platform, &build(version));
    let promote = channel.map(|channel| promotion(channel, &release.name()));
    let mut last = None;
    for attempt in 1..=10 {
        upload_tree(depot, &build(version)).await?;
        let view = depot.view(&app()).ok_or_else(|| Error::NotFound("no app".into()))?;
        let new = submission(&view, view.targets.version + attempt, std::slice::from_ref(&release), promote.clone());
        match depot.accept(&app(), &new, now).await {
            Err(error @ (Error::Conflict(_) | Error::Missing { .. })) => last = Some(error),
            other => return other,
        }
    }
    Err(last.unwrap())
}

/// Everything in a store.
pub(crate) async fn dump(store: &Store) -> BTreeMap<Key, Bytes> {
    let mut all = BTreeMap::new();
    for (key, meta) in store.list("", None, usize::MAX).await.unwrap() {
        if let Some((bytes, _)) = store.read(&key, meta.size).await.unwrap() {
            all.insert(key, bytes);
        }
    }
    all
}

/// A device that remembers what it believed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Device {
    cache: MemoryCache,
}

/// How a device reads a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// As ours do: the head first.
    Head,
    /// As a TUF client that knows of no heads: the plain files.
    Plain,
}

impl Device {
    /// Brings the device up to date from `store`, with the head and, on a copy of it, as a TUF client that knows of none.
    pub(crate) async fn refresh(&mut self, store: &Store, now: Timestamp) -> Refreshed {
        let foreign = self.clone().try_refresh(store, now, Way::Plain).await;
        foreign.expect("a TUF client that knows no head believes it");
        self.try_refresh(store, now, Way::Head).await.expect("a device believes the head")
    }

    /// Brings the device up to date from `store`, or says why it does not believe it.
    pub(crate) async fn try_refresh(&mut self, store: &Store, now: Timestamp, way: Way) -> Result<Refreshed, String> {
        let all = dump(store).await;
        let head = (way == Way::Head).then(|| Head::decode(&all[&layout::head(&app())]).unwrap());
        self.look(&mut Shelf { all: &all, head }, now)
    }

    /// Brings the device up to date from one head, whatever the newest is.
    pub(crate) fn refresh_from(&mut self, all: &BTreeMap<Key, Bytes>, head: Head, now: Timestamp) -> Refreshed {
        self.look(&mut Shelf { all, head: Some(head) }, now).expect("a device believes the head")
    }

    fn look(&mut self, shelf: &mut Shelf<'_>, now: Timestamp) -> Result<Refreshed, String> {
        let pinned = shelf.all[&layout::first_root(&app())].to_vec();
        let root = self.cache.files.get(&Role::Root).cloned().unwrap_or(pinned);
        refresh(&root, now, shelf, &mut self.cache).map_err(|e| e.to_string())
    }
}

struct Shelf<'a> {
    all: &'a BTreeMap<Key, Bytes>,
    head: Option<Head>,
}

impl Source for Shelf<'_> {
    type Error = Infallible;

    fn head(&mut self) -> Result<Option<Head>, Infallible> {
        Ok(self.head.clone())
    }

    fn fetch(&mut self, file: &MetadataFile, _max: u64) -> Result<Option<Vec<u8>>, Infallible> {
        Ok(self.all.get(&layout::metadata(&app(), file)).map(|bytes| bytes.to_vec()))
    }
}

/// What is live, in a few words: two views with the same words are the same to a device.
pub(crate) fn words(view: &View) -> String {
    let channels: Vec<String> = view.channels.iter().map(|(name, channel)| format!("{name}: {channel:?}")).collect();
    let releases: Vec<&String> = view.releases.keys().collect();
    format!("targets {} {releases:?} {channels:?}", view.targets.version)
}

/// Fails when anything in the store is not as it should be.
pub(crate) async fn assert_sound(depot: &Depot) {
    let report = depot.fsck(updraft_server::depot::Repair::Nothing).await.unwrap();
    assert_eq!(report.problems, Vec::<String>::new());
}

pub(crate) fn with_fault(store: &Store, fault: Fault) -> Store {
    store.wrapped(|backend| Faulty::new(backend, fault))
}

/// A backend that lets others run before and after every call, more or less often as a seed says; and remembers every
/// head that came to be.
#[derive(Debug)]
pub(crate) struct Yielding {
    inner: Arc<dyn Backend>,
    state: Arc<AtomicU64>,
    heads: Arc<Mutex<Vec<Head>>>,
}

/// The heads that came to be, oldest first.
pub(crate) type Heads = Arc<Mutex<Vec<Head>>>;

pub(crate) fn yielding(store: &Store, seed: u64) -> (Store, Heads) {
    let (state, heads) = (Arc::new(AtomicU64::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)), Heads::default());
    let kept = Arc::clone(&heads);
    (store.wrapped(|inner| Yielding { inner, state, heads }), kept)
}

impl Yielding {
    async fn pause(&self) {
        // xorshift: the seeds differ, the run for each is as repeatable as the threads below it.
        let step = |mut x: u64| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^ (x << 17)
        };
        let before = self.state.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |x| Some(step(x))).unwrap();
        for _ in 0..before % 5 {
            tokio::task::yield_now().await;
        }
    }
}

type Result_<T> = Result<T, updraft_server::store::Error>;

#[async_trait]
impl Backend for Yielding {
    async fn read(&self, key: &Key, max: u64) -> Result_<Option<(Bytes, Tag)>> {
        self.pause().await;
        self.inner.read(key, max).await
    }

    async fn open(&self, key: &Key) -> Result_<Option<Object>> {
        self.pause().await;
        self.inner.open(key).await
    }

    async fn stat(&self, key: &Key) -> Result_<Option<Meta>> {
        self.pause().await;
        self.inner.stat(key).await
    }

    async fn create(&self, key: &Key, body: Body) -> Result_<Created> {
        self.pause().await;
        let created = self.inner.create(key, body).await;
        self.pause().await;
        created
    }

    async fn swap(&self, key: &Key, expected: Option<&Tag>, bytes: Bytes) -> Result_<Swap> {
        self.pause().await;
        let swap = self.inner.swap(key, expected, bytes.clone()).await?;
        if matches!(swap, Swap::Done(_)) && *key == layout::head(&app()) {
            self.heads.lock().unwrap().push(Head::decode(&bytes).unwrap());
        }
        self.pause().await;
        Ok(swap)
    }

    async fn put(&self, key: &Key, bytes: Bytes) -> Result_<()> {
        self.pause().await;
        self.inner.put(key, bytes).await
    }

    async fn delete(&self, key: &Key) -> Result_<()> {
        self.pause().await;
        self.inner.delete(key).await
    }

    async fn list(&self, prefix: &str, after: Option<&Key>, max: usize) -> Result_<Vec<(Key, Meta)>> {
        self.pause().await;
        self.inner.list(prefix, after, max).await
    }
}

/// Stops one call in its tracks until the test lets it go on.
#[derive(Debug)]
pub(crate) struct Gate {
    verb: &'static str,
    about: String,
    is_shut: AtomicBool,
    /// Whether who comes to it falls over instead of waiting.
    panics: bool,
    reached: Notify,
    opened: Notify,
}

impl Gate {
    /// A store whose next call of `verb` about a key (or prefix) that contains `about` waits at the gate.
    pub(crate) fn on(store: &Store, verb: &'static str, about: &str) -> (Store, Arc<Gate>) {
        Self::made(store, verb, about, false)
    }

    fn made(store: &Store, verb: &'static str, about: &str, panics: bool) -> (Store, Arc<Gate>) {
        let (about, is_shut) = (about.to_owned(), AtomicBool::new(true));
        let gate = Gate { verb, about, is_shut, panics, reached: Notify::new(), opened: Notify::new() };
        let gate = Arc::new(gate);
        let kept = Arc::clone(&gate);
        (store.wrapped(|inner| Gated { inner, gate }), kept)
    }

    /// Waits until somebody waits at the gate.
    pub(crate) async fn reached(&self) {
        self.reached.notified().await;
    }

    pub(crate) fn open(&self) {
        self.opened.notify_one();
    }

    async fn pass(&self, verb: &str, about: &str) {
        if self.verb == verb && about.contains(&self.about) && self.is_shut.swap(false, Ordering::SeqCst) {
            assert!(!self.panics, "{verb} {about}: on purpose, by a test");
            self.reached.notify_one();
            self.opened.notified().await;
        }
    }
}

/// A store whose next call of `verb` about a key that contains `about` panics.
pub(crate) fn panicking(store: &Store, verb: &'static str, about: &str) -> Store {
    Gate::made(store, verb, about, true).0
}

/// Gives `task` every chance to end, as long as it can go on by itself; whether it did.
pub(crate) async fn ends_by_itself<T>(task: &tokio::task::JoinHandle<T>) -> bool {
    for _ in 0..20_000 {
        if task.is_finished() {
            return true;
        }
        std::thread::yield_now();
        tokio::task::yield_now().await;
    }
    false
}

#[derive(Debug)]
struct Gated {
    inner: Arc<dyn Backend>,
    gate: Arc<Gate>,
}

#[async_trait]
impl Backend for Gated {
    async fn read(&self, key: &Key, max: u64) -> Result_<Option<(Bytes, Tag)>> {
        self.gate.pass("read", key.as_str()).await;
        self.inner.read(key, max).await
    }

    async fn open(&self, key: &Key) -> Result_<Option<Object>> {
        self.inner.open(key).await
    }

    async fn stat(&self, key: &Key) -> Result_<Option<Meta>> {
        self.inner.stat(key).await
    }

    async fn create(&self, key: &Key, body: Body) -> Result_<Created> {
        self.inner.create(key, body).await
    }

    async fn swap(&self, key: &Key, expected: Option<&Tag>, bytes: Bytes) -> Result_<Swap> {
        self.gate.pass("swap", key.as_str()).await;
        self.inner.swap(key, expected, bytes).await
    }

    async fn put(&self, key: &Key, bytes: Bytes) -> Result_<()> {
        self.inner.put(key, bytes).await
    }

    async fn delete(&self, key: &Key) -> Result_<()> {
        self.gate.pass("delete", key.as_str()).await;
        self.inner.delete(key).await
    }

    async fn list(&self, prefix: &str, after: Option<&Key>, max: usize) -> Result_<Vec<(Key, Meta)>> {
        self.gate.pass("list", prefix).await;
        self.inner.list(prefix, after, max).await
    }
}

/// The newest timestamp of a plain TUF client: the version in `timestamp.json`.
pub(crate) async fn timestamp_version(store: &Store) -> u64 {
    let key = layout::metadata(&app(), &MetadataFile::Timestamp);
    let (bytes, _) = store.read(&key, METADATA_LEN_MAX).await.unwrap().unwrap();
    let content: serde_json::Value = Envelope::parse(&bytes, METADATA_LEN_MAX).unwrap().content().unwrap();
    content["version"].as_u64().unwrap()
}

/// How a report looks when nothing was done.
pub(crate) fn dry() -> api::GcRequest {
    api::GcRequest { dry_run: true }
}

pub(crate) fn wet() -> api::GcRequest {
    api::GcRequest { dry_run: false }
}
