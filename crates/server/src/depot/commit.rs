//! The commit: every immutable object first, then one swap of the head (DESIGN 4).
//!
//! A metadata file is named by its version, so whoever crashed or lost a race may have left one where the next one goes.
//! The same bytes again are success; the server's own roles skip to a free number; for what the publisher signed the
//! publisher has to take another one.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use updraft_core::Timestamp;
use updraft_core::channel::Channel;
use updraft_core::head::Head;
use updraft_core::key::{PublicKey, SigningKey};
use updraft_core::layout::{self, Key};
use updraft_core::limits::{HEAD_LEN_MAX, JSON_INT_MAX};
use updraft_core::name::{AppName, ChannelName};
use updraft_core::release::Release;
use updraft_core::trust::{MetadataFile, Role, Root};

use super::sign::{self, File, Numbering, Signer};
use super::slot::Slot;
use super::verify::{self, Expiry};
use super::view::Live;
use super::{Depot, Error, View, blocking, presence};
use crate::store::{Created, Kind, Store, Swap, Tag};

/// How often a swap is asked for again when its answer was lost.
const SWAPS: usize = 3;

/// How many occupied versions are skipped. Each was left by one crash or lost race, and `gc` frees them.
const SKIPS_MAX: u64 = 1_000;

/// How often the server's own changes are tried against other writers.
pub(super) const TRIES: usize = 16;

/// What is to be different.
#[derive(Debug)]
pub(super) struct Change {
    /// New targets.
    pub(super) targets: Option<File>,
    /// The live releases after it, by target path.
    pub(super) releases: BTreeMap<String, Release>,
    /// Release documents that are new.
    pub(super) documents: Vec<(Key, Bytes)>,
    /// The channels after it, where they differ.
    pub(super) channels: Option<BTreeMap<ChannelName, Channel>>,
    /// What devices are to think of expired metadata.
    pub(super) expiry: Expiry,
}

impl Change {
    /// No change but signatures.
    pub(super) fn none(view: &View, expiry: Expiry) -> Self {
        Self { targets: None, releases: view.releases.clone(), documents: Vec::new(), channels: None, expiry }
    }
}

/// How a commit went.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It is the newest state now.
    Done(Arc<View>),
    /// Another process was first: read the app anew, decide anew.
    Lost,
}

/// The files of a commit, in the store but for the timestamp.
pub(super) struct Files {
    targets: File,
    channels: File,
    snapshot: File,
    timestamp: File,
}

impl Files {
    /// The head of these files that follows `base`, with the same root.
    pub(super) fn head(&self, base: &View, op_id: String) -> Head {
        Head {
            // It only has to differ from the one before: whoever could write the store may have left any number.
            generation: base.head.generation.wrapping_add(1),
            op_id,
            root: base.head.root,
            timestamp: self.timestamp.bytes.to_vec(),
            snapshot: self.snapshot.bytes.to_vec(),
        }
    }
}

impl Depot {
    /// The view to decide on: of the head that is in the store now. The caller has the turn.
    pub(super) async fn newest_in_turn(&self, slot: &Slot) -> Result<Arc<View>, Error> {
        let view = slot.live()?;
        match self.inner.store.read(&layout::head(&slot.name), HEAD_LEN_MAX).await? {
            Some((_, tag)) if tag == view.tag => Ok(view),
            _ => self.load_in_turn(slot).await,
        }
    }

    /// Makes `change` on top of `base`, all of it or nothing. The caller has the turn, and keeps the collector away.
    pub(super) async fn commit(
        &self,
        slot: &Slot,
        base: &View,
        change: Change,
        now: Timestamp,
    ) -> Result<Outcome, Error> {
        let app = &slot.name;
        countable(base)?;
        let keys = vec![self.signing_key(app, &base.root).await?];
        let signer = Signer { keys, numbering: Numbering::Onward, options: self.inner.options, now };
        let files = self.write_files(base, &change, &signer).await?;
        let head = files.head(base, random_id());
        let metadata = metadata(base, &files);
        let believed = verify::as_device(app, &base.first_root, &head, &metadata, Some(base), change.expiry)
            .map_err(|reason| Error::Refused(format!("app {app}: a device would refuse this: {reason}")))?;
        match swap_head(&self.inner.store, app, Some(&base.tag), &head).await {
            Ok(Some(tag)) => {
                let live = Live { app: app.clone(), metadata, releases: change.releases };
                let view = Arc::new(View::new(head, base.first_root.clone(), believed, live, tag));
                slot.show(Arc::clone(&view));
                self.inner.patches.stir();
                self.publish_timestamp(&view).await;
                Ok(Outcome::Done(view))
            }
            Ok(None) => Ok(Outcome::Lost),
            Err(error) => {
                // It may have come to be: devices are to see what the store says.
                if let Err(again) = self.load_in_turn(slot).await {
                    tracing::warn!(%app, error = %again, "after a commit without an answer the app could not be read");
                }
                Err(error)
            }
        }
    }

    /// Writes what the next head names. The caller keeps the collector away.
    pub(super) async fn write_files(&self, base: &View, change: &Change, signer: &Signer) -> Result<Files, Error> {
        let app = &base.name;
        let life_secs = signer.options.online_life_secs;
        for (key, bytes) in &change.documents {
            self.keep_document(app, key, bytes).await?;
        }
        let targets = match &change.targets {
            Some(file) => {
                self.keep_targets(app, file).await?;
                file.clone()
            }
            None => file_of(base, &Role::Targets, base.targets.version),
        };
        let is_due = sign::due_at(&base.channels_role.expires, life_secs) < signer.now;
        let (version, channels) = (base.channels_role.version, change.channels.as_ref());
        let channels = if channels.is_some() || is_due {
            let channels = channels.unwrap_or(&base.channels);
            for (name, channel) in channels {
                let (_, bytes) = sign::document(channel);
                let key = layout::channel(app, name, updraft_core::digest::Sha256::of(&bytes));
                self.keep_document(app, &key, &bytes).await?;
            }
            let first = signer.after(version);
            self.place(app, &Role::channels(), first, |version| signer.channels(version, channels)).await?
        } else {
            file_of(base, &Role::channels(), version)
        };
        let is_due = sign::due_at(&base.snapshot.expires, life_secs) < signer.now;
        let is_new = targets.version != base.targets.version || channels.version != base.channels_role.version;
        let version = base.snapshot.version;
        let snapshot = if is_new || is_due {
            let sign = |version| signer.snapshot(version, &targets, &channels);
            self.place(app, &Role::Snapshot, signer.after(version), sign).await?
        } else {
            File { version, bytes: base.head.snapshot.clone().into() }
        };
        let timestamp = signer.timestamp(signer.after(base.timestamp.version), &snapshot);
        Ok(Files { targets, channels, snapshot, timestamp })
    }

    /// Writes a file of one of the server's roles under the first free version from `first` on.
    async fn place(
        &self,
        app: &AppName,
        role: &Role,
        first: u64,
        sign: impl Fn(u64) -> File + Send + Sync,
    ) -> Result<File, Error> {
        for version in first..first + SKIPS_MAX {
            let file = sign(version);
            let key = layout::metadata(app, &MetadataFile::Versioned(role.clone(), version));
            if keep(&self.inner.store, &key, &file.bytes).await? == Kept::Same {
                return Ok(file);
            }
        }
        Err(Error::Conflict(format!(
            "app {app}: {SKIPS_MAX} versions of {role} from {first} on are left over from writers that did not finish; \
             run `updraft gc`"
        )))
    }

    async fn keep_targets(&self, app: &AppName, file: &File) -> Result<(), Error> {
        let key = layout::metadata(app, &MetadataFile::Versioned(Role::Targets, file.version));
        match keep(&self.inner.store, &key, &file.bytes).await? {
            Kept::Same => Ok(()),
            Kept::Other => Err(Error::Conflict(format!(
                "app {app}: version {} of targets is taken by a publish that did not come to its end; sign it as a later \
                 version",
                file.version
            ))),
        }
    }

    /// Writes an object that is named by its digest.
    async fn keep_document(&self, app: &AppName, key: &Key, bytes: &Bytes) -> Result<(), Error> {
        match keep(&self.inner.store, key, bytes).await? {
            Kept::Same => Ok(()),
            Kept::Other => Err(Error::broken(app, format_args!("{key} is damaged"))),
        }
    }

    /// The app's online key, as `root` names it.
    pub(super) async fn signing_key(&self, app: &AppName, root: &Root) -> Result<SigningKey, Error> {
        let key = match verify::online_key(root) {
            Some(named) => self.find_key(app, named).await?,
            None => None,
        };
        key.ok_or_else(|| Error::NoKey(app.clone()))
    }

    /// The private half of an online key, if this server has it.
    pub(super) async fn find_key(&self, app: &AppName, public: &PublicKey) -> Result<Option<SigningKey>, Error> {
        let (keys, name, public) = (self.inner.keys.clone(), app.clone(), public.clone());
        Ok(blocking(move || keys.find(&name, &public)).await??)
    }
}

/// Swaps the head for `new`: its tag, or `None` when another writer was first.
pub(super) async fn swap_head(
    store: &Store,
    app: &AppName,
    expected: Option<&Tag>,
    new: &Head,
) -> Result<Option<Tag>, Error> {
    let (key, bytes) = (layout::head(app), Bytes::from(new.encode()));
    let mut swaps = 0;
    loop {
        swaps += 1;
        let lost_answer = match store.swap(&key, expected, bytes.clone()).await {
            Ok(Swap::Done(tag)) => return Ok(Some(tag)),
            Ok(Swap::Conflict) => None,
            Err(error) => Some(error),
        };
        // The swap may have been done all the same, now or by an earlier round: the head says by whom it was.
        let there = store.read(&key, HEAD_LEN_MAX).await?;
        if let Some((there, tag)) = &there
            && Head::decode(there).is_ok_and(|head| head.op_id == new.op_id)
        {
            return Ok(Some(tag.clone()));
        }
        match lost_answer {
            None => return Ok(None),
            Some(_) if there.as_ref().map(|(_, tag)| tag) != expected => return Ok(None),
            Some(error) if swaps == SWAPS => return Err(error.into()),
            Some(_) => {}
        }
    }
}

/// Refuses to go on from versions after which there are none: numbers in metadata have 53 bits.
pub(super) fn countable(base: &View) -> Result<(), Error> {
    let roles = [
        (Role::Timestamp, base.timestamp.version),
        (Role::Snapshot, base.snapshot.version),
        (Role::channels(), base.channels_role.version),
    ];
    match roles.into_iter().find(|(_, version)| version + SKIPS_MAX >= JSON_INT_MAX.unsigned_abs()) {
        None => Ok(()),
        Some((role, version)) => Err(Error::Refused(format!(
            "app {}: no version of {role} can follow {version}; somebody who had the online key saw to that: replace it \
             with `updraft keys replace-online`, and the versions begin anew",
            base.name
        ))),
    }
}

/// What is under the name of an immutable object that was written.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// These bytes are there.
    Same,
    /// Other bytes are.
    Other,
}

/// Writes an immutable object, and takes it from the collector's list if it was there already.
pub(super) async fn keep(store: &Store, key: &Key, bytes: &Bytes) -> Result<Kept, Error> {
    if store.create(key, bytes.clone()).await? == Created::New {
        return Ok(Kept::Same);
    }
    match store.read(key, bytes.len() as u64).await {
        Ok(Some((there, _))) if there == *bytes => {
            presence::pardon(store, key).await?;
            Ok(Kept::Same)
        }
        Ok(_) => Ok(Kept::Other),
        Err(error) if error.kind() == Kind::TooLarge => Ok(Kept::Other),
        Err(error) => Err(error.into()),
    }
}

/// A name for one try at a swap that nobody else uses.
pub(super) fn random_id() -> String {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the system has random bytes");
    hex::encode(bytes)
}

/// A role's current file.
fn file_of(view: &View, role: &Role, version: u64) -> File {
    let key = layout::metadata(&view.name, &MetadataFile::Versioned(role.clone(), version));
    let bytes = view.metadata.get(&key).cloned().expect("a view has the files that it was made of");
    File { version, bytes }
}

/// What is current once `files` are.
pub(super) fn metadata(base: &View, files: &Files) -> BTreeMap<Key, Bytes> {
    let app = &base.name;
    let versioned =
        |role, file: &File| (layout::metadata(app, &MetadataFile::Versioned(role, file.version)), file.bytes.clone());
    let roots = (1..=base.head.root).map(|version| layout::metadata(app, &MetadataFile::Root(version)));
    let mut all: BTreeMap<_, _> =
        roots.filter_map(|key| base.metadata.get(&key).map(|bytes| (key.clone(), bytes.clone()))).collect();
    all.extend([
        versioned(Role::Targets, &files.targets),
        versioned(Role::channels(), &files.channels),
        versioned(Role::Snapshot, &files.snapshot),
        (layout::metadata(app, &MetadataFile::Timestamp), files.timestamp.bytes.clone()),
    ]);
    all
}
