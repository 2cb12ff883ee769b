//! What this device believes of the publisher, and where that comes from.
//!
//! `Remote` asks a server (or a folder) for metadata and believes none of it; `Kept` holds on to what was believed,
//! byte for byte, in the updater's `trust/` folder. The checking in between is [`updraft_core::trust`]'s alone.
//!
//! ```text
//! trust/pinned.root.json   the first root, as it was pinned; written once
//! trust/root.json          the newest root that is believed; until there is another one, the first once more
//! trust/timestamp.json, snapshot.json, targets.json, channels.json
//! trust/head               {"format":1,"source":"...","etag":"..."}\n and the head that came with that tag
//! trust/release.json       the release document that was looked at last
//! ```
//!
//! A file that is missing or damaged costs a request, no more: it is fetched and verified again. Only without *both*
//! roots there is nothing left to believe with.

use std::convert::Infallible;
use std::path::Path;

use serde::{Deserialize, Serialize};
use updraft_core::Timestamp;
use updraft_core::digest::Sha256;
use updraft_core::head::{self, Head};
use updraft_core::layout;
use updraft_core::limits::{
    HEAD_LEN_MAX, METADATA_LEN_MAX, RELEASE_LEN_MAX, ROOT_LEN_MAX, SNAPSHOT_LEN_MAX, TIMESTAMP_LEN_MAX,
};
use updraft_core::name::AppName;
use updraft_core::trust::{self, Cache, MetadataFile, RefreshError, Role, Source, TargetFile, Trusted};
use updraft_files::{Dir, read_bounded, write_atomic};

use crate::fetch::{self, Fetcher, Got};

const PINNED: &str = "pinned.root.json";
const HEAD: &str = "head";
const RELEASE: &str = "release.json";
/// What somebody runs is nobody else's business.
const MODE: u32 = 0o600;
/// Longest header line of [`HEAD`]: an address and a tag.
const HEAD_LINE_LEN_MAX: u64 = 16 << 10;
/// Longest tag that is kept; whoever sends a longer one is asked without it.
const ETAG_LEN_MAX: usize = 256;

/// Why the publisher's word could not be had, or is not believed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The source could not answer.
    #[error(transparent)]
    Fetch(#[from] fetch::Error),
    /// What came is not believed.
    #[error(transparent)]
    Trust(trust::Error),
    /// What came is not a head.
    #[error(transparent)]
    Head(#[from] head::Error),
    /// What is believed is out of date, and nobody signed anything newer.
    #[error(
        "the publisher's word is out of date: {role} expired at {since} \
         (either nobody looks after the server, or somebody holds it back, or this clock is wrong)"
    )]
    Stale {
        /// The role that expired.
        role: Role,
        /// When it did.
        since: Timestamp,
    },
    /// The source does not know the app.
    #[error("{at} has no app {app}: compare the address with the one that the server prints")]
    NoApp {
        /// The source.
        at: String,
        /// The app.
        app: AppName,
    },
    /// A file that the metadata names is not there.
    #[error("{at} lacks {what}, which its metadata names: it is a copy that is not whole, or still being made")]
    Incomplete {
        /// The source.
        at: String,
        /// The file.
        what: String,
    },
    /// The first root is not the one that was pinned.
    #[error(
        "the first root of {at} has SHA-256 {found}, and {expected} was to be trusted: it is another app, or a forgery"
    )]
    Pin {
        /// The source.
        at: String,
        /// The digest that was pinned.
        expected: Sha256,
        /// The digest of what came.
        found: Sha256,
    },
    /// Nothing is left to believe with.
    #[error("both copies of the trusted root are damaged or gone: install again with --adopt and the root's SHA-256")]
    NoRoot,
    /// What is believed cannot be kept.
    #[error("cannot keep what is believed: {0}")]
    Keep(#[from] updraft_files::Error),
}

/// How a newcomer knows the publisher's first root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pin {
    /// It came with the app: the bytes of `root.json`.
    RootFile(Vec<u8>),
    /// Its SHA-256 came with the app, or a person compared it.
    Sha256(Sha256),
    /// Whatever the source shows first is believed: whoever owns the network at that moment owns the device.
    FirstUse,
}

/// Where to ask, and for what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    /// The app.
    pub(crate) app: &'a AppName,
    /// The source, as a person knows it: an address or a folder.
    pub(crate) at: &'a str,
    /// What asks it.
    pub(crate) fetcher: &'a Fetcher,
}

/// The first root, as `pin` allows it.
pub(crate) fn first_root(place: Place<'_>, pin: &Pin) -> Result<Vec<u8>, Error> {
    let fetched = || {
        let found = place.fetcher.get(&layout::first_root(place.app), ROOT_LEN_MAX)?;
        found.ok_or_else(|| Error::NoApp { at: place.at.to_owned(), app: place.app.clone() })
    };
    let root = match pin {
        Pin::RootFile(bytes) => bytes.clone(),
        Pin::Sha256(expected) => {
            let (expected, bytes) = (*expected, fetched()?);
            let found = Sha256::of(&bytes);
            if found != expected {
                return Err(Error::Pin { at: place.at.to_owned(), expected, found });
            }
            bytes
        }
        Pin::FirstUse => fetched()?,
    };
    read_root(&root).map_err(Error::Trust)?;
    Ok(root)
}

/// Whether some bytes are a root that its own keys signed. Its expiry does not matter: a newer root may follow it.
fn read_root(bytes: &[u8]) -> Result<Trusted, trust::Error> {
    Trusted::new(bytes, Timestamp::UNIX_EPOCH)
}

/// Brings what is believed up to date, and keeps it.
pub(crate) fn refresh(place: Place<'_>, kept: &mut Kept<'_>, now: Timestamp) -> Result<Trusted, Error> {
    let root = kept.root().ok_or(Error::NoRoot)?;
    let mut remote = Remote { place, kept: kept.head(place.at), fresh: None };
    let refreshed = trust::refresh(&root, now, &mut remote, kept).map_err(|error| explain(error, place))?;
    // Two copies of a root, so that one may be damaged.
    if let Some(root) =
        refreshed.trusted.bytes(&Role::Root).filter(|root| kept.load(&Role::Root).as_deref() != Some(root))
    {
        kept.store(&Role::Root, root)?;
    }
    // Only now, when all that it says is believed: a bad head must be asked for again.
    if let Some((etag, bytes)) = remote.fresh {
        kept.keep_head(place.at, &etag, &bytes)?;
    }
    Ok(refreshed.trusted)
}

/// What is believed already, asking nobody; `None` when too little of it is kept.
///
/// # Errors
/// [`Error::Stale`] when its time is over.
pub(crate) fn recall(kept: &mut Kept<'_>, now: Timestamp) -> Result<Option<Trusted>, Error> {
    /// Hands out what was kept as if it had been fetched.
    struct Replay(Option<Vec<u8>>);
    impl Source for Replay {
        type Error = Infallible;
        fn head(&mut self) -> Result<Option<Head>, Infallible> {
            Ok(None)
        }
        fn fetch(&mut self, file: &MetadataFile, _: u64) -> Result<Option<Vec<u8>>, Infallible> {
            Ok(if *file == MetadataFile::Timestamp { self.0.take() } else { None })
        }
    }
    let Some(root) = kept.root() else {
        return Ok(None);
    };
    let mut replay = Replay(kept.load(&Role::Timestamp));
    match trust::refresh(&root, now, &mut replay, kept) {
        Ok(refreshed) => Ok(Some(refreshed.trusted)),
        Err(RefreshError::Trust(trust::Error::Expired { role, expired })) => Err(Error::Stale { role, since: expired }),
        Err(_) => Ok(None),
    }
}

fn explain(error: RefreshError<Error, updraft_files::Error>, place: Place<'_>) -> Error {
    match error {
        RefreshError::Source(error) => error,
        RefreshError::Cache(error) => Error::Keep(error),
        RefreshError::Trust(trust::Error::Expired { role, expired }) => Error::Stale { role, since: expired },
        RefreshError::Trust(error) => Error::Trust(error),
        RefreshError::Missing(what) if what == "timestamp.json" => {
            Error::NoApp { at: place.at.to_owned(), app: place.app.clone() }
        }
        RefreshError::Missing(what) => Error::Incomplete { at: place.at.to_owned(), what },
    }
}

/// Metadata from a source. Nothing of it is believed here.
struct Remote<'a> {
    place: Place<'a>,
    kept: Option<KeptHead>,
    /// A head that is new, with its tag.
    fresh: Option<(String, Vec<u8>)>,
}

impl Source for Remote<'_> {
    type Error = Error;

    fn head(&mut self) -> Result<Option<Head>, Error> {
        let etag = self.kept.as_ref().map(|kept| kept.etag.as_str());
        match self.place.fetcher.get_if_changed(&layout::head(self.place.app), etag, HEAD_LEN_MAX)? {
            Got::Found(bytes, etag) => {
                let head = Head::decode(&bytes)?;
                self.fresh = etag.filter(|etag| etag.len() <= ETAG_LEN_MAX).map(|etag| (etag, bytes));
                Ok(Some(head))
            }
            Got::NotModified => Ok(self.kept.take().map(|kept| kept.head)),
            // A plain TUF repository has none.
            Got::Missing => Ok(None),
        }
    }

    fn fetch(&mut self, file: &MetadataFile, max: u64) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.place.fetcher.get(&layout::metadata(self.place.app, file), max)?)
    }
}

struct KeptHead {
    etag: String,
    head: Head,
}

#[derive(Serialize, Deserialize)]
struct HeadLine {
    format: u32,
    source: String,
    etag: String,
}

/// The `trust/` folder of the updater's own directory.
#[derive(Debug)]
pub(crate) struct Kept<'a> {
    dir: &'a Dir,
}

impl<'a> Kept<'a> {
    /// What is kept in `dir`.
    pub(crate) fn new(dir: &'a Dir) -> Self {
        Self { dir }
    }

    /// Keeps the first root. What was believed because of another one is forgotten.
    pub(crate) fn pin(&mut self, root: &[u8]) -> Result<(), updraft_files::Error> {
        if self.pinned().as_deref() == Some(root) {
            return Ok(());
        }
        for entry in self.dir.entries()? {
            self.dir.remove_all(Path::new(&entry.name))?;
        }
        self.write(PINNED, root)?;
        self.store(&Role::Root, root)
    }

    /// The first root, if it is readable; for telling what was pinned.
    pub(crate) fn pinned(&self) -> Option<Vec<u8>> {
        self.read(PINNED, ROOT_LEN_MAX)
    }

    /// Whether a root is left to believe with.
    pub(crate) fn has_root(&self) -> bool {
        self.root().is_some()
    }

    /// The newest root that can be read, else the pinned one, from which the way to the newest is found again.
    fn root(&self) -> Option<Vec<u8>> {
        let newest = self.read(file_name(&Role::Root)?, ROOT_LEN_MAX);
        [newest, self.pinned()].into_iter().flatten().find(|bytes| read_root(bytes).is_ok())
    }

    /// The release document that was looked at last, if it is the one that `target` names.
    pub(crate) fn release(&self, target: &TargetFile) -> Option<Vec<u8>> {
        self.read(RELEASE, RELEASE_LEN_MAX).filter(|bytes| target.matches(bytes))
    }

    /// Keeps a release document.
    pub(crate) fn keep_release(&mut self, document: &[u8]) -> Result<(), updraft_files::Error> {
        self.write(RELEASE, document)
    }

    fn head(&self, source: &str) -> Option<KeptHead> {
        let bytes = self.read(HEAD, HEAD_LINE_LEN_MAX + HEAD_LEN_MAX)?;
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let line: HeadLine = serde_json::from_slice(&bytes[..end]).ok()?;
        let head = Head::decode(&bytes[end + 1..]).ok()?;
        (line.format == 1 && line.source == source).then_some(KeptHead { etag: line.etag, head })
    }

    fn keep_head(&mut self, source: &str, etag: &str, head: &[u8]) -> Result<(), updraft_files::Error> {
        let line = HeadLine { format: 1, source: source.to_owned(), etag: etag.to_owned() };
        let mut bytes = serde_json::to_vec(&line).expect("two texts are plain JSON");
        bytes.push(b'\n');
        bytes.extend_from_slice(head);
        self.write(HEAD, &bytes)
    }

    fn read(&self, name: &str, max: u64) -> Option<Vec<u8>> {
        read_bounded(self.dir, Path::new(name), max).ok().flatten()
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), updraft_files::Error> {
        write_atomic(self.dir, Path::new(name), bytes, MODE)
    }
}

impl Cache for Kept<'_> {
    type Error = updraft_files::Error;

    fn load(&mut self, role: &Role) -> Option<Vec<u8>> {
        let max = match role {
            Role::Root => ROOT_LEN_MAX,
            Role::Timestamp => TIMESTAMP_LEN_MAX,
            Role::Snapshot => SNAPSHOT_LEN_MAX,
            Role::Targets | Role::Delegated(_) => METADATA_LEN_MAX,
        };
        self.read(file_name(role)?, max)
    }

    fn store(&mut self, role: &Role, bytes: &[u8]) -> Result<(), updraft_files::Error> {
        match file_name(role) {
            Some(name) => self.write(name, bytes),
            None => Ok(()),
        }
    }

    fn forget(&mut self, role: &Role) -> Result<(), updraft_files::Error> {
        let Some(name) = file_name(role) else { return Ok(()) };
        self.dir.remove_all(Path::new(name))?;
        // Gone for good before anything is kept that relies on it.
        self.dir.sync()
    }
}

/// Where a role is kept. Other delegated roles are not: their names come from metadata, and nothing here asks for them.
fn file_name(role: &Role) -> Option<&'static str> {
    match role {
        Role::Root => Some("root.json"),
        Role::Timestamp => Some("timestamp.json"),
        Role::Snapshot => Some("snapshot.json"),
        Role::Targets => Some("targets.json"),
        Role::Delegated(name) if name == "channels" => Some("channels.json"),
        Role::Delegated(_) => None,
    }
}
