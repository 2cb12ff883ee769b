//! What this device believes of the publisher, and where that comes from.
//!
//! `Remote` asks a server (or a folder) for metadata and believes none of it; `Kept` holds on to what was believed,
//! byte for byte. The checking in between is [`updraft_core::trust`]'s alone.
//!
//! Nothing that lies on this disk is needed for good: what is missing or damaged is fetched and verified again, the first
//! root by its SHA-256, which the settings have.

mod kept;

use std::convert::Infallible;
use std::io::ErrorKind;

use updraft_core::Timestamp;
use updraft_core::digest::Sha256;
use updraft_core::head::{self, Head};
use updraft_core::layout;
use updraft_core::limits::{HEAD_LEN_MAX, ROOT_LEN_MAX};
use updraft_core::name::AppName;
use updraft_core::signed::{self, Envelope};
use updraft_core::trust::{self, Cache, MetadataFile, RefreshError, Role, Root, Source, Trusted};

pub(crate) use self::kept::Kept;
use self::kept::KeptHead;
use crate::fetch::{self, Fetcher, Got};

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
        "the publisher's word is out of date: {role} expired at {since}, and this device's clock says {now:.0} \
         (either the clock is wrong, or nobody looks after the server, or somebody holds newer metadata back, which is a \
         freeze attack); what is installed keeps running"
    )]
    Stale {
        /// The role that expired.
        role: Role,
        /// When it did.
        since: Timestamp,
        /// What this device's clock said.
        now: Timestamp,
    },
    /// What is to be the first root cannot be one.
    #[error("{what} is no root to begin with: {reason}")]
    NotARoot {
        /// What was to be the first root.
        what: String,
        /// Why it cannot be, and what to do.
        reason: String,
    },
    /// Nothing that comes is signed by the keys of the first root, and nothing ever was.
    #[error(
        "{source}; nothing of {at} is signed by the keys of the root that is trusted here, with SHA-256 {root}: either that is \
         the root of another app, or {at} is not its publisher's; compare it with the SHA-256 that the publisher tells you"
    )]
    OtherRoot {
        /// The source.
        at: String,
        /// The digest of the first root.
        root: Sha256,
        /// What is not believed.
        source: trust::Error,
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
        "the first root of {at} has SHA-256 {found}, and {expected} was to be trusted: it is another app's, or a forgery; \
         ask the publisher which one is right"
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
    #[error("every copy of the trusted root is damaged or gone: install again with --adopt and the root's SHA-256")]
    NoRoot,
    /// What is believed cannot be kept, so it must not be relied on: a device that forgets can be led back.
    #[error("cannot keep what is believed: {0}; {hint}; what is installed keeps running", hint = remedy(.0))]
    Keep(#[from] updraft_files::Error),
}

fn remedy(error: &updraft_files::Error) -> &'static str {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "free some space and try again",
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            "make that folder writable for this user and try again"
        }
        _ => "remove what is in the way and try again",
    }
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
    let (root, what) = match pin {
        Pin::RootFile(bytes) => (bytes.clone(), "the file that was given".to_owned()),
        Pin::Sha256(expected) => {
            let (expected, bytes) = (*expected, fetched()?);
            let found = Sha256::of(&bytes);
            if found != expected {
                return Err(Error::Pin { at: place.at.to_owned(), expected, found });
            }
            (bytes, format!("the first root of {}", place.at))
        }
        Pin::FirstUse => (fetched()?, format!("what {} shows", place.at)),
    };
    match begin_with(&root) {
        Ok(()) => Ok(root),
        Err(reason) => Err(Error::NotARoot { what, reason }),
    }
}

/// Whether a device can begin with these bytes: a root that its own keys signed, and that names enough keys for each role.
/// Its expiry does not matter: a newer root may follow it.
fn begin_with(bytes: &[u8]) -> Result<(), String> {
    const HINT: &str = "the publisher hands out a file root.json, which is also at URL/apps/NAME/root.json";
    let envelope = Envelope::parse(bytes, ROOT_LEN_MAX).map_err(|error| format!("{error} ({HINT})"))?;
    if envelope.role_type() != Some("root") {
        return Err(format!("it is '{}' and not 'root' ({HINT})", envelope.role_type().unwrap_or_default()));
    }
    let root: Root = envelope.content().map_err(|error| format!("{error} ({HINT})"))?;
    for (role, keys) in &root.roles {
        let known = keys.keyids.iter().filter(|id| root.keys.contains_key(id)).count();
        if known < keys.threshold as usize {
            return Err(format!(
                "it wants {} signatures for {role} and has {known} of the keys, so nobody can ever sign that: ask the publisher for \
                 another root",
                keys.threshold
            ));
        }
    }
    read_root(bytes).map(|_| ()).map_err(|error| error.to_string())
}

/// A root that its own keys signed. Its expiry does not matter: a newer root may follow it.
fn read_root(bytes: &[u8]) -> Result<Trusted, trust::Error> {
    Trusted::new(bytes, Timestamp::UNIX_EPOCH)
}

/// Brings what is believed up to date, and keeps it.
pub(crate) fn refresh(place: Place<'_>, kept: &mut Kept<'_>, now: Timestamp) -> Result<Trusted, Error> {
    kept.sweep();
    let root = match kept.root() {
        Some(root) => root,
        None => fetch_first(place, kept)?,
    };
    let is_new = kept.load(&Role::Timestamp).is_none();
    let mut remote = Remote { place, kept: kept.head(place.at), unchanged: false, fresh: None };
    let mut outcome = trust::refresh(&root, now, &mut remote, kept);
    if matches!(outcome, Err(RefreshError::Trust(_))) && remote.unchanged {
        // The head that is kept here has the tag of the source's, and is not what the source has: it was damaged.
        kept.forget_head()?;
        remote = Remote { place, kept: None, unchanged: false, fresh: None };
        outcome = trust::refresh(&kept.root().unwrap_or(root), now, &mut remote, kept);
    }
    let refreshed = outcome.map_err(|error| match (explain(error, place, now), kept.first()) {
        (Error::Trust(source), Some(first)) if is_new && is_unsigned(&source) => {
            Error::OtherRoot { at: place.at.to_owned(), root: Sha256::of(&first), source }
        }
        (error, _) => error,
    })?;
    kept.mend()?;
    // Only now, when all that it says is believed: a bad head must be asked for again.
    if let Some((etag, bytes)) = remote.fresh {
        kept.keep_head(place.at, &etag, &bytes)?;
    }
    Ok(refreshed.trusted)
}

/// The first root once more, when no copy of it is left here.
fn fetch_first(place: Place<'_>, kept: &mut Kept<'_>) -> Result<Vec<u8>, Error> {
    let sha256 = kept.sha256().ok_or(Error::NoRoot)?;
    let root = first_root(place, &Pin::Sha256(sha256))?;
    kept.keep_first(&root)?;
    Ok(kept.root().unwrap_or(root))
}

fn is_unsigned(error: &trust::Error) -> bool {
    matches!(error, trust::Error::Signed { source: signed::Error::Threshold { .. }, .. })
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
        Err(RefreshError::Trust(trust::Error::Expired { role, expired })) => {
            Err(Error::Stale { role, since: expired, now })
        }
        Err(_) => Ok(None),
    }
}

fn explain(error: RefreshError<Error, updraft_files::Error>, place: Place<'_>, now: Timestamp) -> Error {
    match error {
        RefreshError::Source(error) => error,
        RefreshError::Cache(error) => Error::Keep(error),
        RefreshError::Trust(trust::Error::Expired { role, expired }) => Error::Stale { role, since: expired, now },
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
    /// Whether the source says that it has the head that is kept.
    unchanged: bool,
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
            Got::NotModified => {
                self.unchanged = true;
                Ok(self.kept.take().map(|kept| kept.head))
            }
            // A plain TUF repository has none.
            Got::Missing => Ok(None),
        }
    }

    fn fetch(&mut self, file: &MetadataFile, max: u64) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.place.fetcher.get(&layout::metadata(self.place.app, file), max)?)
    }
}
