//! The signed repository of one app, in memory: what a publisher and a server make together, without either.
//!
//! Honest verbs are here: publish, promote, renew, rotate. What an attacker does is in [`attack`], how a device gets
//! at it in [`serve`], a rotation that may be cut short in [`steps`]. A clone is an independent repository with the
//! same keys: publish to one of two clones, serve the other, and that is a rollback.

mod attack;
mod serve;
mod steps;

use std::collections::BTreeMap;

use jiff::Timestamp;
use updraft_core::channel::Channel;
use updraft_core::digest::Sha256;
use updraft_core::head::Head;
use updraft_core::key::{PublicKey, SigningKey};
use updraft_core::layout::{self, Key};
use updraft_core::name::{AppName, ChannelName};
use updraft_core::release::{Notes, Release, ReleaseName, Terms, TreeRef};
use updraft_core::signed::Envelope;
use updraft_core::tree::codec;
use updraft_core::tree::stored::{Encoding, Hint, Stored, pack};
use updraft_core::trust::{Meta, Role, Root, Snapshot, TargetFile, Targets, TimestampMeta};

pub use serve::{Request, SimError};
pub use steps::OldKey;

use crate::{TreeFixture, clock, keys};

/// An app's repository, with every key that signs for it.
///
/// It stores exactly what [`layout`] says: metadata, head, release documents, channel documents, trees and blobs.
#[derive(Debug)]
pub struct SimRepo {
    app: AppName,
    /// What the repository's own clock says: releases are dated by it, and expiries counted from it.
    pub now: Timestamp,
    root: Root,
    targets: Targets,
    channels: Targets,
    snapshot_version: u64,
    timestamp_version: u64,
    generation: u64,
    signers: BTreeMap<Role, Vec<SigningKey>>,
    /// What is named now: version and bytes of each role.
    current: BTreeMap<Role, (u64, Vec<u8>)>,
    objects: BTreeMap<Key, Vec<u8>>,
    /// Version of the newest root that is served, honest or not.
    head_root: u64,
    service: serve::Service,
}

impl Clone for SimRepo {
    fn clone(&self) -> Self {
        let signers = self.signers.iter().map(|(role, all)| (role.clone(), all.iter().map(keys::copy).collect()));
        Self {
            app: self.app.clone(),
            now: self.now,
            root: self.root.clone(),
            targets: self.targets.clone(),
            channels: self.channels.clone(),
            snapshot_version: self.snapshot_version,
            timestamp_version: self.timestamp_version,
            generation: self.generation,
            signers: signers.collect(),
            current: self.current.clone(),
            objects: self.objects.clone(),
            head_root: self.head_root,
            service: self.service.clone(),
        }
    }
}

impl SimRepo {
    /// An app without a release, signed by [`keys::root`], [`keys::targets`] and [`keys::online`], one key for each role.
    ///
    /// # Panics
    /// When `app` is not a name.
    pub fn new(app: &str) -> Self {
        Self::with_keys(app, &[keys::root()], 1, &keys::targets(), &keys::online())
    }

    /// An app without a release, signed by these keys; `threshold` of the `root` ones make a root.
    ///
    /// # Panics
    /// When `app` is not a name.
    pub fn with_keys(
        app: &str,
        root: &[SigningKey],
        threshold: u32,
        targets: &SigningKey,
        online: &SigningKey,
    ) -> Self {
        let now = clock::now();
        let public: Vec<PublicKey> = root.iter().map(SigningKey::public).collect();
        let online_roles = [Role::Timestamp, Role::Snapshot, Role::channels()];
        let mut signers = BTreeMap::from([
            (Role::Root, root.iter().map(keys::copy).collect::<Vec<_>>()),
            (Role::Targets, vec![keys::copy(targets)]),
        ]);
        signers.extend(online_roles.map(|role| (role, vec![keys::copy(online)])));
        let mut repo = Self {
            app: app.parse().expect("the name of an app"),
            now,
            root: Root::new(1, lifetime(now, &Role::Root))
                .with_role(&Role::Root, &public, threshold)
                .with_role(&Role::Targets, &[targets.public()], 1)
                .with_role(&Role::Snapshot, &[online.public()], 1)
                .with_role(&Role::Timestamp, &[online.public()], 1),
            targets: Targets::new(1, lifetime(now, &Role::Targets)).with_channels_role(&online.public()),
            channels: Targets::new(1, lifetime(now, &Role::channels())),
            snapshot_version: 0,
            timestamp_version: 0,
            generation: 0,
            signers,
            current: BTreeMap::new(),
            objects: BTreeMap::new(),
            head_root: 1,
            service: serve::Service::default(),
        };
        let first_root = repo.sign(&Role::Root, &Envelope::new(&repo.root));
        repo.objects.insert(layout::first_root(&repo.app), first_root.clone());
        repo.install(&Role::Root, 1, first_root);
        repo.install(&Role::Targets, 1, repo.sign(&Role::Targets, &Envelope::new(&repo.targets)));
        repo.install(&Role::channels(), 1, repo.sign(&Role::channels(), &Envelope::new(&repo.channels)));
        repo.seal();
        repo
    }

    /// The app's name.
    pub fn app(&self) -> &AppName {
        &self.app
    }

    /// Exact bytes of the first root: what a device is installed with.
    ///
    /// # Panics
    /// When a test has taken it away.
    pub fn first_root(&self) -> &[u8] {
        &self.objects[&layout::first_root(&self.app)]
    }

    /// SHA-256 of the first root: what a newcomer compares.
    pub fn root_sha256(&self) -> Sha256 {
        Sha256::of(self.first_root())
    }

    /// The version of a role's metadata as it is named now.
    pub fn version(&self, role: &Role) -> u64 {
        self.current[role].0
    }

    /// The content of a channel; one that nothing was promoted to is empty.
    pub fn channel(&self, name: &str) -> Channel {
        let target = self.channels.targets.get(&format!("channels/{name}"));
        let document = target.and_then(|target| target.custom.clone());
        document.map_or_else(Channel::default, |d| serde_json::from_value(d).expect("a channel was written as one"))
    }

    /// Publishes a release that is on no channel yet.
    ///
    /// # Panics
    /// When the names are not names.
    pub fn publish(&mut self, version: &str, platform: &str, files: &TreeFixture) -> ReleaseName {
        self.publish_with(version, platform, files, |_| {})
    }

    /// Publishes a release whose document `edit` may change before it is signed.
    ///
    /// # Panics
    /// When the names are not names.
    pub fn publish_with(
        &mut self,
        version: &str,
        platform: &str,
        files: &TreeFixture,
        edit: impl FnOnce(&mut Release),
    ) -> ReleaseName {
        let mut release = Release {
            format: 1,
            app: self.app.clone(),
            version: version.parse().expect("a version"),
            platform: platform.parse().expect("a platform"),
            date: self.now,
            notes: Notes::Text(format!("Release {version}")),
            tree: self.put_files(files),
            terms: Terms::default(),
            from: Vec::new(),
        };
        edit(&mut release);
        let (name, document) = (release.name(), release.encode());
        self.objects.insert(layout::release(&self.app, &name, Sha256::of(&document)), document.clone());
        let custom = release.terms.to_custom();
        self.targets.targets.insert(name.target_path(), TargetFile { custom, ..TargetFile::of(&document) });
        self.write_targets();
        self.seal();
        name
    }

    /// Lets a channel point at a release.
    ///
    /// # Panics
    /// When the channel is at that release already, or ahead.
    pub fn promote(&mut self, channel: &str, release: &ReleaseName) {
        let name: ChannelName = channel.parse().expect("the name of a channel");
        let document = self.channel(channel).promote(&name, release).expect("a channel goes forward");
        self.set_channel(&name, &document);
    }

    /// Gives a channel this document, whatever it says.
    pub fn set_channel(&mut self, name: &ChannelName, document: &Channel) {
        let custom = serde_json::to_value(document).expect("a channel is plain JSON");
        let bytes = serde_json::to_vec(&custom).expect("a channel is plain JSON");
        self.objects.insert(layout::channel(&self.app, name, Sha256::of(&bytes)), bytes.clone());
        self.channels.targets.insert(Channel::target_path(name), TargetFile::of(&bytes).with_custom(custom));
        self.write_channels();
        self.seal();
    }

    /// Drops what a channel has left behind, as a publisher and then the server do with every publish.
    pub fn drop_retired(&mut self, channel: &str) {
        let mut document = self.channel(channel);
        for release in std::mem::take(&mut document.retired) {
            self.targets.targets.remove(&release.target_path());
        }
        self.write_targets();
        self.set_channel(&channel.parse().expect("the name of a channel"), &document);
    }

    /// Signs timestamp, snapshot and channels anew, as a server does in time.
    pub fn renew(&mut self) {
        self.write_channels();
        self.seal();
    }

    /// Signs targets anew, as a publisher does in time, and what is above.
    pub fn renew_targets(&mut self) {
        self.write_targets();
        self.seal();
    }

    /// Makes the next root, in which `keys` sign for `roles`, `threshold` of them at least, and signs what they sign anew.
    ///
    /// The root is signed by the old root keys and by the new ones.
    pub fn rotate(&mut self, roles: &[Role], keys: &[SigningKey], threshold: u32) {
        let public: Vec<PublicKey> = keys.iter().map(SigningKey::public).collect();
        self.root.version += 1;
        self.root.expires = Root::new(1, lifetime(self.now, &Role::Root)).expires;
        let mut root_signers: Vec<SigningKey> = self.signers[&Role::Root].iter().map(keys::copy).collect();
        for role in roles {
            if let Role::Delegated(_) = role {
                self.targets = self.targets.clone().with_channels_role(&public[0]);
            } else {
                self.root = self.root.clone().with_role(role, &public, threshold);
            }
            if *role == Role::Root {
                root_signers.extend(keys.iter().map(keys::copy));
            }
            self.signers.insert(role.clone(), keys.iter().map(keys::copy).collect());
        }
        let root = root_signers.iter().fold(Envelope::new(&self.root), Envelope::sign).to_bytes();
        self.head_root = self.root.version;
        self.install(&Role::Root, self.root.version, root);
        if roles.contains(&Role::Targets) || roles.contains(&Role::channels()) {
            self.write_targets();
        }
        self.renew();
    }

    fn put_files(&mut self, files: &TreeFixture) -> TreeRef {
        let tree = files.tree();
        let mut hint = Hint::new();
        for digest in tree.blobs().keys() {
            let raw = &files.contents()[digest];
            let packed = zstd::bulk::compress(raw, 12).expect("compressing memory into memory cannot fail");
            let (encoding, bytes) =
                if packed.len() < raw.len() { (Encoding::Zstd, packed) } else { (Encoding::Raw, raw.clone()) };
            hint.insert(*digest, Stored { encoding, size: bytes.len() as u64 });
            self.objects.insert(layout::blob(&self.app, *digest, encoding), bytes);
        }
        self.objects.insert(layout::tree(&self.app, tree.digest()), pack(&tree, &hint));
        TreeRef {
            digest: tree.digest(),
            length: codec::encode(&tree).len() as u64,
            files: tree.file_count(),
            bytes: tree.byte_count(),
            stored: hint.values().map(|stored| stored.size).sum(),
        }
    }

    fn write_targets(&mut self) {
        self.targets.version += 1;
        self.targets.expires = Targets::new(1, lifetime(self.now, &Role::Targets)).expires;
        let bytes = self.sign(&Role::Targets, &Envelope::new(&self.targets));
        self.install(&Role::Targets, self.targets.version, bytes);
    }

    fn write_channels(&mut self) {
        self.channels.version += 1;
        self.channels.expires = Targets::new(1, lifetime(self.now, &Role::channels())).expires;
        let bytes = self.sign(&Role::channels(), &Envelope::new(&self.channels));
        self.install(&Role::channels(), self.channels.version, bytes);
    }

    /// Makes a snapshot of what is current, and a timestamp and a head over it.
    fn seal(&mut self) {
        self.snapshot_version += 1;
        let meta = |role: Role| {
            let (version, bytes) = &self.current[&role];
            (role, Meta::of(bytes, *version))
        };
        let roles = [meta(Role::Targets), meta(Role::channels())];
        let snapshot = Snapshot::new(self.snapshot_version, lifetime(self.now, &Role::Snapshot), roles);
        let bytes = self.sign(&Role::Snapshot, &Envelope::new(&snapshot));
        self.install(&Role::Snapshot, self.snapshot_version, bytes);
        self.stamp();
    }

    /// Makes a timestamp of the snapshot that is current, and a head.
    fn stamp(&mut self) {
        self.timestamp_version += 1;
        let (version, snapshot) = &self.current[&Role::Snapshot];
        let meta = Meta::of(snapshot, *version);
        let timestamp = TimestampMeta::new(self.timestamp_version, lifetime(self.now, &Role::Timestamp), meta);
        let bytes = self.sign(&Role::Timestamp, &Envelope::new(&timestamp));
        self.install(&Role::Timestamp, self.timestamp_version, bytes);
        self.write_head(self.current(&Role::Timestamp).to_vec(), self.current(&Role::Snapshot).to_vec());
    }

    fn write_head(&mut self, timestamp: Vec<u8>, snapshot: Vec<u8>) {
        self.generation += 1;
        let head = Head {
            generation: self.generation,
            op_id: format!("{:016x}", self.generation),
            root: self.head_root,
            timestamp,
            snapshot,
        };
        self.objects.insert(layout::head(&self.app), head.encode());
    }

    /// The bytes of `envelope` with the signatures of every key of `role`.
    fn sign(&self, role: &Role, envelope: &Envelope) -> Vec<u8> {
        self.signers[role].iter().fold(envelope.clone(), Envelope::sign).to_bytes()
    }

    /// Makes `bytes` the current metadata of `role`, and stores them under this version.
    fn install(&mut self, role: &Role, version: u64, bytes: Vec<u8>) {
        self.objects.insert(layout::metadata(&self.app, &layout::role_file(role, version)), bytes.clone());
        self.current.insert(role.clone(), (version, bytes));
    }
}

/// When metadata of `role` that is signed at `now` expires.
fn lifetime(now: Timestamp, role: &Role) -> Timestamp {
    let days = match role {
        Role::Timestamp => 1,
        Role::Snapshot | Role::Delegated(_) => 7,
        Role::Root | Role::Targets => 365,
    };
    clock::after(now, days * 24)
}
