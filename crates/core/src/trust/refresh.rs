//! The client workflow of TUF 5, over any source and any cache.
//!
//! The order of questions is the specification's, with one short cut: a source that has a head ([`crate::head`]) answers
//! root version, timestamp and snapshot at once, so that "nothing new" costs one request. Every byte is checked all the
//! same.

use super::{Error, Role, Trusted};
use crate::Timestamp;
use crate::head::Head;
use crate::limits::{METADATA_LEN_MAX, ROOT_LEN_MAX, ROOT_ROTATIONS_MAX, SNAPSHOT_LEN_MAX, TIMESTAMP_LEN_MAX};

/// A metadata file, as a source is asked for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MetadataFile {
    /// `{version}.root.json`.
    Root(u64),
    /// `timestamp.json`.
    Timestamp,
    /// `{version}.{role}.json`: a snapshot or a targets role.
    Versioned(Role, u64),
}

/// Where metadata comes from. What it says is not believed.
pub trait Source {
    /// Why it could not answer.
    type Error;

    /// The head, when this source has one. Called once, first.
    ///
    /// # Errors
    /// When the source cannot be reached.
    fn head(&mut self) -> Result<Option<Head>, Self::Error>;

    /// The file's bytes, `max` at most; `None` when the source says that there is no such file.
    ///
    /// # Errors
    /// When the source cannot be reached, or sends more than `max`.
    fn fetch(&mut self, file: &MetadataFile, max: u64) -> Result<Option<Vec<u8>>, Self::Error>;
}

/// Where a device keeps what it believed last. What it returns is verified again.
pub trait Cache {
    /// Why it could not keep something.
    type Error;

    /// What was stored for `role`; `None` when nothing was, or it cannot be read.
    fn load(&mut self, role: &Role) -> Option<Vec<u8>>;

    /// Keeps `bytes`, which are believed, exactly as they are.
    ///
    /// # Errors
    /// When they cannot be kept.
    fn store(&mut self, role: &Role, bytes: &[u8]) -> Result<(), Self::Error>;

    /// Drops what was kept for `role`. Unless it is overridden, nothing is kept in its place: no bytes are no metadata.
    ///
    /// # Errors
    /// When it cannot be dropped.
    fn forget(&mut self, role: &Role) -> Result<(), Self::Error> {
        self.store(role, b"")
    }
}

/// Why a refresh did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError<S, C> {
    /// The source could not answer.
    #[error(transparent)]
    Source(S),
    /// The cache could not keep what was learned.
    #[error(transparent)]
    Cache(C),
    /// What came is not believed.
    #[error(transparent)]
    Trust(#[from] Error),
    /// A file that must exist does not.
    #[error("{0} is named by the metadata, but the server does not have it")]
    Missing(String),
}

/// The repository as it is believed after a refresh.
#[derive(Debug)]
pub struct Refreshed {
    /// What is believed.
    pub trusted: Trusted,
    /// Whether the source had anything that the cache had not.
    pub changed: bool,
}

/// Brings what is believed up to date: root, timestamp, snapshot, targets and the role `channels` (TUF 5.3 to 5.6).
///
/// `root` is the trusted root to begin with: the pinned one, or the one the cache kept. Everything that is newly
/// believed goes to the cache at once, in the order of the specification, so that a device that dies in the middle has
/// a consistent past.
///
/// # Errors
/// When the source cannot be reached or is not believed, or the cache cannot keep something. What was believed before
/// still is.
pub fn refresh<S: Source, C: Cache>(
    root: &[u8],
    now: Timestamp,
    source: &mut S,
    cache: &mut C,
) -> Result<Refreshed, RefreshError<S::Error, C::Error>> {
    let mut trusted = Trusted::new(root, now)?;
    let mut driver = Driver { trusted: &mut trusted, source, cache, changed: false };
    let head = driver.source.head().map_err(RefreshError::Source)?;
    driver.roots(head.as_ref())?;
    driver.timestamp(head.as_ref())?;
    driver.snapshot(head.as_ref())?;
    driver.targets(&Role::Targets, None)?;
    let channels = Role::channels();
    let delegated = driver.trusted.targets(&Role::Targets).and_then(|targets| targets.delegations.as_ref());
    if delegated.is_some_and(|delegations| delegations.role(&channels).is_some()) {
        driver.targets(&channels, Some(&Role::Targets))?;
    }
    let changed = driver.changed;
    Ok(Refreshed { trusted, changed })
}

/// What is believed, where more comes from, and where it is kept.
pub(super) struct Driver<'a, S, C> {
    pub(super) trusted: &'a mut Trusted,
    pub(super) source: &'a mut S,
    pub(super) cache: &'a mut C,
    pub(super) changed: bool,
}

impl<S: Source, C: Cache> Driver<'_, S, C> {
    /// TUF 5.3: every newer root, one by one.
    fn roots(&mut self, head: Option<&Head>) -> Result<(), RefreshError<S::Error, C::Error>> {
        // TUF 5.3.3: bounded.
        for _ in 0..ROOT_ROTATIONS_MAX {
            let next = self.trusted.root().version + 1;
            // A head that hides a rotation withholds what a server can withhold anyway: it can only freeze.
            if head.is_some_and(|head| head.root < next) {
                break;
            }
            let file = MetadataFile::Root(next);
            let Some(bytes) = self.source.fetch(&file, ROOT_LEN_MAX).map_err(RefreshError::Source)? else {
                break;
            };
            let kept = [Role::Timestamp, Role::Snapshot].map(|role| (self.cache.load(&role).unwrap_or_default(), role));
            let signed = |trusted: &Trusted| kept.each_ref().map(|(bytes, role)| trusted.is_signed(role, bytes));
            let before = signed(self.trusted);
            self.trusted.update_root(&bytes)?;
            let after = signed(self.trusted);
            // TUF 5.3.11: the keys of timestamp or snapshot were replaced. Whoever had the old ones may have set both
            // versions so high that nothing honest is ever newer, so both are forgotten; and before this root is kept,
            // because afterwards nobody could tell.
            if (0..kept.len()).any(|n| before[n] && !after[n]) {
                self.cache.forget(&Role::Timestamp).map_err(RefreshError::Cache)?;
                self.cache.forget(&Role::Snapshot).map_err(RefreshError::Cache)?;
            }
            self.keep(&Role::Root, &bytes)?;
        }
        Ok(self.trusted.finish_root()?)
    }

    /// TUF 5.4, comparing with the last one that was believed under the keys of today (TUF 5.3.11).
    fn timestamp(&mut self, head: Option<&Head>) -> Result<(), RefreshError<S::Error, C::Error>> {
        let cached = self.cache.load(&Role::Timestamp);
        if let Some(bytes) = &cached {
            // An old one that is expired or no longer verifies only means that there is less to compare with.
            let _ = self.trusted.update_timestamp(bytes);
        }
        let bytes = match head {
            Some(head) => head.timestamp.clone(),
            None => self.fetch(&MetadataFile::Timestamp, TIMESTAMP_LEN_MAX)?,
        };
        self.trusted.update_timestamp(&bytes)?;
        let is_new = self.trusted.bytes(&Role::Timestamp) == Some(&bytes) && cached.as_deref() != Some(&bytes);
        if is_new { self.keep(&Role::Timestamp, &bytes) } else { Ok(()) }
    }

    /// TUF 5.5.
    fn snapshot(&mut self, head: Option<&Head>) -> Result<(), RefreshError<S::Error, C::Error>> {
        let cached = self.cache.load(&Role::Snapshot);
        if let Some(bytes) = &cached {
            let _ = self.trusted.remember_snapshot(bytes);
            if self.trusted.bytes(&Role::Snapshot).is_some() && self.trusted.update_snapshot(bytes).is_ok() {
                return Ok(());
            }
        }
        let meta = self.trusted.named_snapshot()?;
        let bytes = match head {
            Some(head) => head.snapshot.clone(),
            None => {
                let max = meta.length.unwrap_or(SNAPSHOT_LEN_MAX).min(SNAPSHOT_LEN_MAX);
                self.fetch(&MetadataFile::Versioned(Role::Snapshot, meta.version), max)?
            }
        };
        self.trusted.update_snapshot(&bytes)?;
        self.keep(&Role::Snapshot, &bytes)
    }

    /// TUF 5.6.1 to 5.6.6: `targets`, or a role that `delegator` leads to. One that is believed already is verified on
    /// this delegator's word, too.
    pub(super) fn targets(
        &mut self,
        role: &Role,
        delegator: Option<&Role>,
    ) -> Result<(), RefreshError<S::Error, C::Error>> {
        if let Some(delegator) = delegator.filter(|_| self.trusted.targets(role).is_some()) {
            return Ok(self.trusted.verify_again(role, delegator)?);
        }
        let meta = self.trusted.named_targets(role)?;
        if let Some(bytes) = self.cache.load(role) {
            match self.trusted.update_targets(role, delegator, &bytes) {
                Ok(()) => return Ok(()),
                // It is the file that the snapshot names, and its time is over: asking for it again changes nothing.
                Err(error @ Error::Expired { .. }) => return Err(error.into()),
                Err(_) => {}
            }
        }
        let max = meta.length.unwrap_or(METADATA_LEN_MAX).min(METADATA_LEN_MAX);
        let bytes = self.fetch(&MetadataFile::Versioned(role.clone(), meta.version), max)?;
        self.trusted.update_targets(role, delegator, &bytes)?;
        self.keep(role, &bytes)
    }

    fn fetch(&mut self, file: &MetadataFile, max: u64) -> Result<Vec<u8>, RefreshError<S::Error, C::Error>> {
        let name = || match file {
            MetadataFile::Root(version) => format!("{version}.root.json"),
            MetadataFile::Timestamp => "timestamp.json".to_owned(),
            MetadataFile::Versioned(role, version) => format!("{version}.{role}.json"),
        };
        self.source.fetch(file, max).map_err(RefreshError::Source)?.ok_or_else(|| RefreshError::Missing(name()))
    }

    fn keep(&mut self, role: &Role, bytes: &[u8]) -> Result<(), RefreshError<S::Error, C::Error>> {
        self.changed = true;
        self.cache.store(role, bytes).map_err(RefreshError::Cache)
    }
}
