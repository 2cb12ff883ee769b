//! A server in memory that believes nothing: whatever is submitted, it verifies as a device would before it is live.
//!
//! A test can let it fail at its N-th call, before or after the effect, and let somebody else be faster.

mod believe;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::sync::{Mutex, MutexGuard};

use updraft_core::api::{BlobStored, Committed, FirstMetadata, NewTargets, NextRoot, Patches, Promotion};
use updraft_core::channel::Channel;
use updraft_core::digest::Digest;
use updraft_core::head::Head;
use updraft_core::key::{PublicKey, SigningKey};
use updraft_core::layout::{self, Key};
use updraft_core::limits::{METADATA_LEN_MAX, ROOT_LEN_MAX, TREE_LEN_MAX, ZSTD_WINDOW_LOG_MAX};
use updraft_core::name::{AppName, ChannelName};
use updraft_core::release::{Release, ReleaseName};
use updraft_core::signed::Envelope;
use updraft_core::tree::Tree;
use updraft_core::tree::stored::{Encoding, unpack};
use updraft_core::trust::{Meta, MetadataFile, Role, Root, Snapshot, TargetFile, Targets, TimestampMeta};
use updraft_publisher::{Remote, RemoteError};
use updraft_testkit::{MemoryCache, clock, keys};

use believe::believe;

/// When a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Before anything happened.
    Before,
    /// After it was done: the answer was lost.
    After,
}

type Hook = Box<dyn FnOnce(&Server) + Send>;

/// The server.
pub(crate) struct Server {
    app: AppName,
    /// Every online key that it has; it signs with the one that the newest root names.
    online: Mutex<Vec<SigningKey>>,
    state: Mutex<State>,
    before_submit: Mutex<Vec<Hook>>,
}

#[derive(Default)]
struct State {
    live: Live,
    blobs: BTreeMap<(Digest, Encoding2), Vec<u8>>,
    uploads: Vec<(Digest, Encoding)>,
    calls: usize,
    fails: Option<(usize, Fault)>,
    promoted: usize,
    wanted: Patches,
    patches: BTreeMap<(Digest, Digest), Vec<u8>>,
}

/// `Encoding` with an order.
type Encoding2 = bool;

/// What is live, and what a device that followed from the beginning believes of it.
#[derive(Default, Clone)]
struct Live {
    objects: BTreeMap<Key, Vec<u8>>,
    head: Option<Head>,
    root: u64,
    targets: u64,
    channels: BTreeMap<ChannelName, Channel>,
    device: MemoryCache,
}

impl Server {
    pub(crate) fn new(app: &str) -> Self {
        Self::with_online(app, keys::online())
    }

    /// A server whose online key is this one.
    pub(crate) fn with_online(app: &str, online: SigningKey) -> Self {
        let online = Mutex::new(vec![online]);
        Self { app: app.parse().unwrap(), online, state: Mutex::default(), before_submit: Mutex::default() }
    }

    /// Its key directory is gone: it can sign nothing until a root names a key that it makes now.
    pub(crate) fn lose_online_keys(&self) {
        self.online.lock().unwrap().clear();
    }

    /// The online key that the newest root of `live` names.
    fn online_key(&self, live: &Live) -> Result<SigningKey, RemoteError> {
        let root = root_of(&self.app, live).map_err(refused)?;
        let online = self.online.lock().unwrap();
        let key = online.iter().find(|key| is_online(&root, &key.public()));
        key.map(keys::copy).ok_or_else(|| refused("the app is read-only: its online key is not on this server"))
    }

    /// From now on, the `nth` call (from 0) and every one after it fails.
    pub(crate) fn fail_at(&self, nth: usize, fault: Fault) {
        let mut state = self.state();
        state.fails = Some((state.calls + nth, fault));
    }

    /// Nothing fails any more.
    pub(crate) fn heal(&self) {
        self.state().fails = None;
    }

    /// How many calls there were.
    pub(crate) fn calls(&self) -> usize {
        self.state().calls
    }

    /// How many calls there were to promote alone.
    pub(crate) fn promotions(&self) -> usize {
        self.state().promoted
    }

    /// Every blob that was uploaded, in order.
    pub(crate) fn uploads(&self) -> Vec<(Digest, Encoding)> {
        self.state().uploads.clone()
    }

    /// Somebody is faster: `hook` runs when the next submission or rotation arrives, before it is looked at.
    pub(crate) fn before_next_submit(&self, hook: impl FnOnce(&Server) + Send + 'static) {
        self.before_submit.lock().unwrap().push(Box::new(hook));
    }

    /// A blob is gone, as a collection would take it.
    pub(crate) fn collect(&self, digest: Digest) {
        self.state().blobs.retain(|(have, _), _| *have != digest);
    }

    /// A tree's document is gone: it was damaged, and deleted.
    pub(crate) fn lose_tree(&self, digest: Digest) {
        self.state().live.objects.remove(&layout::tree(&self.app, digest)).unwrap();
    }

    /// Lets somebody else be faster. One for each submission; those that a hook makes itself are not in the count.
    fn run_hook(&self) {
        let hooks = std::mem::take(&mut *self.before_submit.lock().unwrap());
        let mut hooks = hooks.into_iter();
        if let Some(hook) = hooks.next() {
            hook(self);
            self.before_submit.lock().unwrap().extend(hooks);
        }
    }

    /// Other bytes lie at this key: the server was broken into.
    pub(crate) fn replace(&self, key: &Key, bytes: Vec<u8>) {
        self.state().live.objects.insert(key.clone(), bytes).unwrap();
    }

    /// From now on it says this of its patches.
    pub(crate) fn want(&self, patches: Patches) {
        self.state().wanted = patches;
    }

    /// The patches that were handed in, by their trees.
    pub(crate) fn patches(&self) -> BTreeMap<(Digest, Digest), Vec<u8>> {
        self.state().patches.clone()
    }

    /// Goes back to what it was when `at` was taken: a backup was restored.
    pub(crate) fn restore(&self, at: Backup) {
        self.state().live = at.0;
    }

    /// What it is now.
    pub(crate) fn backup(&self) -> Backup {
        Backup(self.state().live.clone())
    }

    /// Signs another version of a channel: it was broken into, online key and all.
    pub(crate) fn tamper(&self, channel: &str, edit: impl FnOnce(&mut Channel)) {
        edit(self.state().live.channels.get_mut(&channel.parse::<ChannelName>().unwrap()).unwrap());
        self.renew();
    }

    /// Signs its own part anew: the numbers of snapshot and timestamp grow, and nothing else does.
    pub(crate) fn renew(&self) {
        let mut state = self.state();
        let file = MetadataFile::Versioned(Role::Targets, state.live.targets);
        let targets = String::from_utf8(state.live.objects[&layout::metadata(&self.app, &file)].clone()).unwrap();
        let next = self.commit(&state.live, &targets, state.live.channels.clone(), &state.blobs).unwrap();
        state.live = next;
    }

    /// The next `count` metadata files were left behind by writers that died.
    pub(crate) fn occupy_next_targets(&self, count: u64) {
        let mut state = self.state();
        for n in 1..=count {
            let file = MetadataFile::Versioned(Role::Targets, state.live.targets + n);
            state.live.objects.insert(layout::metadata(&self.app, &file), b"left behind".to_vec());
        }
    }

    /// Overwrites an object.
    pub(crate) fn damage(&self, key: &Key, bytes: &[u8]) {
        self.state().live.objects.insert(key.clone(), bytes.to_vec());
    }

    /// The live releases, by target path, as a device believes them now.
    pub(crate) fn targets(&self) -> BTreeMap<String, TargetFile> {
        let live = self.state().live.clone();
        let trusted = believe(&self.app, &live, clock::now()).unwrap().0;
        trusted.targets(&Role::Targets).unwrap().targets.clone()
    }

    /// The newest root.
    pub(crate) fn root(&self) -> Root {
        root_of(&self.app, &self.state().live).unwrap()
    }

    /// The versions of the live releases, in the order of their texts.
    pub(crate) fn versions(&self) -> Vec<String> {
        let name = |path: &String| ReleaseName::from_target_path(path).unwrap().version.as_str().to_owned();
        let mut versions: Vec<String> = self.targets().keys().map(name).collect();
        versions.sort();
        versions
    }

    /// The document of a live release.
    pub(crate) fn release(&self, version: &str) -> Release {
        let name = ReleaseName { platform: "any".parse().unwrap(), version: version.parse().unwrap() };
        let file = self.targets()[&name.target_path()].clone();
        let key = layout::release(&self.app, &name, file.hashes.sha256.unwrap());
        Release::decode(&self.state().live.objects[&key], &self.app, &name).unwrap()
    }

    /// What a channel has on `any`.
    pub(crate) fn current(&self, channel: &str) -> Option<String> {
        let state = self.state();
        let channel = state.live.channels.get(&channel.parse::<ChannelName>().unwrap())?;
        Some(channel.platforms.get("any")?.current.as_str().to_owned())
    }

    /// The tree of a release with the content of each of its files, as a device would fetch it.
    pub(crate) fn fetch(&self, version: &str) -> (Tree, BTreeMap<Digest, Vec<u8>>) {
        let release = self.release(version);
        let state = self.state();
        let packed = &state.live.objects[&layout::tree(&self.app, release.tree.digest)];
        let (tree, hint) = unpack(packed, release.tree.digest, release.tree.length).unwrap();
        let travel: u64 = tree.blobs().keys().map(|digest| hint.get(digest).map_or(0, |stored| stored.size)).sum();
        assert_eq!(release.tree.stored, travel + packed.len() as u64, "the signed price and the hint agree");
        let blob = |digest: &Digest| match hint.get(digest).map(|stored| stored.encoding) {
            Some(Encoding::Zstd) => unzstd(&state.blobs[&(*digest, true)]).unwrap(),
            _ => state.blobs[&(*digest, false)].clone(),
        };
        let contents = tree.blobs().keys().map(|digest| (*digest, blob(digest))).collect();
        (tree, contents)
    }

    /// How a blob lies there: raw, zstd.
    pub(crate) fn encodings(&self, digest: Digest) -> (bool, bool) {
        let state = self.state();
        (state.blobs.contains_key(&(digest, false)), state.blobs.contains_key(&(digest, true)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// One call, which fails when it is its turn.
    fn call<T>(&self, what: &str, work: impl FnOnce(&mut State) -> Result<T, RemoteError>) -> Result<T, RemoteError> {
        let lost = || RemoteError::Unreachable { what: what.to_owned(), reason: "the line is dead".to_owned() };
        let mut state = self.state();
        let nth = state.calls;
        state.calls += 1;
        match state.fails {
            Some((from, Fault::Before)) if nth >= from => Err(lost()),
            Some((from, Fault::After)) if nth > from => Err(lost()),
            Some((from, Fault::After)) if nth == from => work(&mut state).and_then(|_| Err(lost())),
            _ => work(&mut state),
        }
    }

    /// Makes these targets and channels live, if a device would believe it.
    fn commit(
        &self,
        live: &Live,
        targets: &str,
        channels: BTreeMap<ChannelName, Channel>,
        blobs: &BTreeMap<(Digest, Encoding2), Vec<u8>>,
    ) -> Result<Live, RemoteError> {
        let mut next = live.clone();
        let now = clock::now();
        let generation = live.head.as_ref().map_or(0, |head| head.generation) + 1;
        let later = clock::after(now, 24);
        let version_of_targets = Envelope::parse(targets.as_bytes(), METADATA_LEN_MAX)
            .and_then(|envelope| envelope.content::<Targets>())
            .map_err(|e| refused(e.to_string()))?
            .version;

        let mut role = Targets::new(generation, later);
        for (name, channel) in &channels {
            let bytes = serde_json::to_vec(channel).unwrap();
            let file = TargetFile::of(&bytes).with_custom(serde_json::to_value(channel).unwrap());
            role.targets.insert(Channel::target_path(name), file);
        }
        let online = self.online_key(live)?;
        let role = Envelope::new(&role).sign(&online).to_bytes();
        let meta = |version, bytes: &[u8]| Meta {
            hashes: Some(TargetFile::of(bytes).hashes),
            length: Some(bytes.len() as u64),
            version,
        };
        let roles = [
            (Role::Targets, meta(version_of_targets, targets.as_bytes())),
            (Role::channels(), meta(generation, &role)),
        ];
        let snapshot = Envelope::new(&Snapshot::new(generation, later, roles)).sign(&online).to_bytes();
        let timestamp = TimestampMeta::new(generation, later, meta(generation, &snapshot));
        let timestamp = Envelope::new(&timestamp).sign(&online).to_bytes();

        for (role, version, bytes) in [
            (Role::Targets, version_of_targets, targets.as_bytes()),
            (Role::channels(), generation, &role),
            (Role::Snapshot, generation, &snapshot),
        ] {
            let key = layout::metadata(&self.app, &MetadataFile::Versioned(role, version));
            match next.objects.insert(key, bytes.to_vec()) {
                Some(other) if other != bytes => return Err(conflict("a file of that version exists")),
                _ => {}
            }
        }
        next.head = Some(Head { generation, op_id: String::new(), root: live.root, timestamp, snapshot });
        next.targets = version_of_targets;
        next.channels = channels;

        let (trusted, device) = believe(&self.app, &next, now).map_err(refused)?;
        next.device = device;
        self.check_whole(&next, trusted.targets(&Role::Targets).unwrap(), blobs)?;
        Ok(next)
    }

    /// Every document, tree and blob of what is live is there, and every channel points at something live.
    fn check_whole(
        &self,
        live: &Live,
        targets: &Targets,
        blobs: &BTreeMap<(Digest, Encoding2), Vec<u8>>,
    ) -> Result<(), RemoteError> {
        for (path, file) in &targets.targets {
            let name = ReleaseName::from_target_path(path).ok_or_else(|| refused(format!("{path} is no release")))?;
            let key = layout::release(&self.app, &name, file.hashes.sha256.unwrap());
            let bytes = live.objects.get(&key).ok_or_else(|| missing(path))?;
            assert!(file.matches(bytes));
            let release = Release::decode(bytes, &self.app, &name).map_err(|e| refused(e.to_string()))?;
            let packed =
                live.objects.get(&layout::tree(&self.app, release.tree.digest)).ok_or_else(|| missing("tree"))?;
            let (tree, _) =
                unpack(packed, release.tree.digest, release.tree.length).map_err(|e| refused(e.to_string()))?;
            for digest in tree.blobs().into_keys() {
                if !blobs.contains_key(&(digest, true)) && !blobs.contains_key(&(digest, false)) {
                    return Err(missing(&format!("blob {digest}")));
                }
            }
        }
        for name in live.channels.values().flat_map(Channel::releases) {
            if !targets.targets.contains_key(&name.target_path()) {
                return Err(conflict(&format!("a channel names {name}")));
            }
        }
        Ok(())
    }
}

/// The newest root.
fn root_of(app: &AppName, live: &Live) -> Result<Root, String> {
    let bytes = &live.objects[&layout::metadata(app, &MetadataFile::Root(live.root))];
    let envelope = Envelope::parse(bytes, ROOT_LEN_MAX).map_err(|e| e.to_string())?;
    envelope.content().map_err(|e| e.to_string())
}

/// Whether `root` lets this key sign timestamps.
fn is_online(root: &Root, key: &PublicKey) -> bool {
    let keyids = root.roles.get(Role::Timestamp.name()).map_or(&[][..], |role| &role.keyids);
    keyids.iter().filter_map(|id| root.keys.get(id)).any(|named| named == key)
}

/// What is in a frame, decoded with the memory that a device has for it.
fn unzstd(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut decoder = zstd::Decoder::new(bytes)?;
    decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
    let mut raw = Vec::new();
    decoder.read_to_end(&mut raw)?;
    Ok(raw)
}

/// What a server was at some moment.
pub(crate) struct Backup(Live);

fn refused(detail: impl Into<String>) -> RemoteError {
    RemoteError::Refused { kind: "refused".to_owned(), detail: detail.into(), remedy: None }
}

fn conflict(detail: &str) -> RemoteError {
    RemoteError::Conflict { detail: detail.to_owned(), remedy: None }
}

fn missing(what: &str) -> RemoteError {
    RemoteError::Missing { detail: format!("{what} is missing"), remedy: None }
}

impl Remote for Server {
    fn propose_app(&self, app: &AppName) -> Result<PublicKey, RemoteError> {
        assert_eq!(*app, self.app);
        self.call("propose", |state| match state.live.head {
            Some(_) => Err(conflict("the app exists")),
            None => Ok(self.online.lock().unwrap()[0].public()),
        })
    }

    fn create_app(&self, app: &AppName, first: &FirstMetadata) -> Result<Committed, RemoteError> {
        self.call("create", |state| {
            if state.live.head.is_some() {
                return Err(conflict("the app exists"));
            }
            let mut live = Live { root: 1, ..Live::default() };
            live.objects.insert(layout::first_root(app), first.root.clone().into_bytes());
            live.objects.insert(layout::metadata(app, &MetadataFile::Root(1)), first.root.clone().into_bytes());
            state.live = self.commit(&live, &first.targets, BTreeMap::new(), &state.blobs)?;
            Ok(Committed { generation: 1, targets: 1 })
        })
    }

    fn missing(&self, _: &AppName, blobs: &[Digest]) -> Result<Vec<Option<BlobStored>>, RemoteError> {
        self.call("missing", |state| {
            let stored = |digest: &Digest, zstd: bool| {
                let bytes = state.blobs.get(&(*digest, zstd))?;
                let raw = state.blobs.contains_key(&(*digest, false));
                Some(BlobStored { size: bytes.len() as u64, zstd, raw })
            };
            Ok(blobs.iter().map(|digest| stored(digest, true).or_else(|| stored(digest, false))).collect())
        })
    }

    fn put_blob(
        &self,
        _: &AppName,
        digest: Digest,
        encoding: Encoding,
        content: &mut File,
        len: u64,
        progress: &dyn Fn(u64),
    ) -> Result<(), RemoteError> {
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes).map_err(|e| RemoteError::Content(e.to_string()))?;
        self.call("put blob", |state| {
            let raw = match encoding {
                Encoding::Raw => bytes.clone(),
                Encoding::Zstd => unzstd(&bytes).map_err(|e| refused(e.to_string()))?,
            };
            if bytes.len() as u64 != len || Digest::of(&raw) != digest {
                return Err(refused(format!("blob {digest}: it has another digest")));
            }
            progress(len / 2);
            progress(len);
            state.blobs.insert((digest, encoding == Encoding::Zstd), bytes);
            state.uploads.push((digest, encoding));
            Ok(())
        })
    }

    fn put_tree(&self, app: &AppName, digest: Digest, packed: &[u8]) -> Result<(), RemoteError> {
        self.call("put tree", |state| {
            state.live.objects.entry(layout::tree(app, digest)).or_insert_with(|| packed.to_vec());
            Ok(())
        })
    }

    fn submit(&self, app: &AppName, new: &NewTargets) -> Result<Committed, RemoteError> {
        self.run_hook();
        self.call("submit", |state| {
            if new.base != state.live.targets {
                return Err(conflict("the base moved"));
            }
            let mut live = state.live.clone();
            let envelope =
                Envelope::parse(new.targets.as_bytes(), METADATA_LEN_MAX).map_err(|e| refused(e.to_string()))?;
            let targets: Targets = envelope.content().map_err(|e| refused(e.to_string()))?;
            for document in &new.documents {
                let file = TargetFile::of(document.as_bytes());
                let path = targets.targets.iter().find(|(_, listed)| listed.hashes == file.hashes);
                let path = path.ok_or_else(|| refused("a document that is not listed"))?.0;
                let name = ReleaseName::from_target_path(path).unwrap();
                let key = layout::release(app, &name, file.hashes.sha256.unwrap());
                live.objects.insert(key, document.clone().into_bytes());
            }
            let mut channels = live.channels.clone();
            if let Some(Promotion { channel, release }) = &new.promote {
                let document = channels.remove(channel).unwrap_or_default();
                let document = document.promote(channel, release).map_err(|e| refused(e.to_string()))?;
                channels.insert(channel.clone(), document);
            }
            for channel in channels.values_mut() {
                channel.retired.retain(|name| targets.targets.contains_key(&name.target_path()));
            }
            state.live = self.commit(&live, &new.targets, channels, &state.blobs)?;
            Ok(Committed { generation: state.live.head.as_ref().unwrap().generation, targets: targets.version })
        })
    }

    fn promote(&self, app: &AppName, promotion: &Promotion) -> Result<Committed, RemoteError> {
        self.call("promote", |state| {
            state.promoted += 1;
            let mut channels = state.live.channels.clone();
            let document = channels.remove(&promotion.channel).unwrap_or_default();
            let document =
                document.promote(&promotion.channel, &promotion.release).map_err(|e| refused(e.to_string()))?;
            channels.insert(promotion.channel.clone(), document);
            let file = MetadataFile::Versioned(Role::Targets, state.live.targets);
            let targets = state.live.objects[&layout::metadata(app, &file)].clone();
            let live = state.live.clone();
            state.live = self.commit(&live, &String::from_utf8(targets).unwrap(), channels, &state.blobs)?;
            Ok(Committed { generation: state.live.head.as_ref().unwrap().generation, targets: state.live.targets })
        })
    }

    fn next_online_key(&self, app: &AppName) -> Result<PublicKey, RemoteError> {
        self.call("next online key", |state| {
            let root = root_of(app, &state.live).map_err(refused)?;
            let mut online = self.online.lock().unwrap();
            let key = keys::named(&format!("online key {} after root {}", online.len(), root.version));
            let public = key.public();
            online.push(key);
            Ok(public)
        })
    }

    fn rotate(&self, app: &AppName, next: &NextRoot) -> Result<Committed, RemoteError> {
        self.run_hook();
        self.call("rotate", |state| {
            let mut live = state.live.clone();
            let generation = |live: &Live| live.head.as_ref().map_or(0, |head| head.generation);
            let newest = layout::metadata(app, &MetadataFile::Root(live.root));
            if live.objects.get(&newest).is_some_and(|there| there == next.root.as_bytes()) {
                return Ok(Committed { generation: generation(&live), targets: live.targets });
            }
            if next.base != live.targets {
                return Err(conflict("the base moved"));
            }
            let file = MetadataFile::Versioned(Role::Targets, live.targets);
            let now = String::from_utf8(live.objects[&layout::metadata(app, &file)].clone()).unwrap();
            let targets = next.targets.as_ref().unwrap_or(&now);
            live.root += 1;
            let file = layout::metadata(app, &MetadataFile::Root(live.root));
            live.objects.insert(file, next.root.clone().into_bytes());
            let root = root_of(app, &live).map_err(refused)?;
            let read = |text: &str| -> Result<Targets, RemoteError> {
                let envelope =
                    Envelope::parse(text.as_bytes(), METADATA_LEN_MAX).map_err(|e| refused(e.to_string()))?;
                envelope.content().map_err(|e| refused(e.to_string()))
            };
            let (old, new) = (read(&now)?, read(targets)?);
            if old.targets != new.targets {
                return Err(refused("a rotation may not change which releases are live"));
            }
            let key = self.online_key(&live)?.public();
            if root.version != live.root
                || new.delegations != Targets::new(1, clock::now()).with_channels_role(&key).delegations
            {
                return Err(refused("targets must delegate channels to the online key of the next root"));
            }
            state.live = self.commit(&live, targets, live.channels.clone(), &state.blobs)?;
            Ok(Committed { generation: generation(&state.live), targets: state.live.targets })
        })
    }

    fn patches(&self, _: &AppName) -> Result<Patches, RemoteError> {
        self.call("patches", |state| Ok(state.wanted.clone()))
    }

    fn put_patch(&self, _: &AppName, from: Digest, to: Digest, patch: &[u8]) -> Result<(), RemoteError> {
        self.call("put patch", |state| {
            state.patches.insert((from, to), patch.to_vec());
            Ok(())
        })
    }

    fn head(&self, _: &AppName) -> Result<Option<Head>, RemoteError> {
        self.call("head", |state| Ok(state.live.head.clone()))
    }

    fn read(&self, key: &Key, max: u64) -> Result<Option<Vec<u8>>, RemoteError> {
        assert!(max <= TREE_LEN_MAX, "what is read is bounded");
        self.call("read", |state| {
            let blob = |((digest, zstd), bytes): (&(Digest, bool), &Vec<u8>)| {
                let encoding = if *zstd { Encoding::Zstd } else { Encoding::Raw };
                (layout::blob(&self.app, *digest, encoding) == *key).then(|| bytes.clone())
            };
            Ok(state.live.objects.get(key).cloned().or_else(|| state.blobs.iter().find_map(blob)))
        })
    }
}
