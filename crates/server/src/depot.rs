//! The depot: the service without a network. Every verb of the domain lives here; HTTP, the dashboard and the command
//! line are doors to this one room.
//!
//! What devices read comes from [`View`]s, which are in memory and change all at once. What changes an app goes one
//! way: verify as a device would, write every immutable object, then swap the head once. A crash before the swap leaves
//! garbage that `gc` finds; a crash after it leaves nothing undone that the next start does not do.
//!
//! It refuses what a device would refuse, and whatever would let a release, a channel or metadata go backwards.

mod error;
mod keys;
mod upload;
mod view;

use std::sync::Arc;

use bytes::Bytes;
use updraft_core::Timestamp;
use updraft_core::api;
use updraft_core::digest::Digest;
use updraft_core::key::PublicKey;
use updraft_core::name::AppName;
use updraft_core::release::ReleaseName;
use updraft_core::tree::Tree;
use updraft_core::tree::stored::{Encoding, Hint};

pub use error::Error;
pub use keys::{Error as KeysError, OnlineKeys};
pub use upload::Upload;
pub use view::View;

use crate::store::Store;

/// What an operator may set.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How long a timestamp lives, in seconds: how long a device can be kept from news. 24 hours by default.
    pub timestamp_life_secs: i64,
    /// How long snapshots and channels live, in seconds. 90 days by default.
    pub online_life_secs: i64,
    /// How long `gc` waits between condemning an object and deleting it, in seconds. 7 days by default.
    pub gc_grace_secs: i64,
}

impl Default for Options {
    fn default() -> Self {
        const DAY: i64 = 24 * 60 * 60;
        Self { timestamp_life_secs: DAY, online_life_secs: 90 * DAY, gc_grace_secs: 7 * DAY }
    }
}

/// The tree of a release, decoded.
#[derive(Debug)]
pub struct ReleaseTree {
    /// The tree.
    pub tree: Tree,
    /// How its blobs were stored when it was published; a hint.
    pub hint: Hint,
}

/// Whether `fsck` may mend what it finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repair {
    /// Only say what is wrong.
    Nothing,
    /// Write derived files anew, and delete damaged blobs and trees, so that a publisher's next upload replaces them.
    WhatCanBe,
}

/// What a round of renewals did.
#[derive(Debug, Default)]
pub struct Renewed {
    /// Apps whose online roles were signed anew.
    pub apps: Vec<AppName>,
    /// Apps for which that failed, and why.
    pub failed: Vec<(AppName, Error)>,
}

struct Inner {
    store: Store,
}

/// Every app of a store. Clones are handles to the same depot.
#[derive(Clone)]
pub struct Depot {
    inner: Arc<Inner>,
}

impl Depot {
    /// Opens every app of `store`: finishes what a crash left, and renews what is due.
    ///
    /// An app that does not verify does not keep the others from opening; [`Self::broken`] names it.
    ///
    /// # Errors
    /// When the store cannot be listed.
    pub async fn open(store: Store, _keys: OnlineKeys, _options: Options, _now: Timestamp) -> Result<Self, Error> {
        Ok(Self { inner: Arc::new(Inner { store }) })
    }

    /// The store behind it.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// Every app that can be served, by name.
    pub fn apps(&self) -> Vec<AppName> {
        Vec::new()
    }

    /// Apps that are in the store and cannot be served, and why.
    pub fn broken(&self) -> Vec<(AppName, String)> {
        Vec::new()
    }

    /// What is live of `app` now. Never waits, never touches the store.
    pub fn view(&self, _app: &AppName) -> Option<Arc<View>> {
        None
    }

    /// Makes the online key of an app that is to be created, or returns the one that waits for it.
    ///
    /// # Errors
    /// [`Error::Exists`] when the app is there already.
    pub async fn propose_app(&self, app: &AppName) -> Result<PublicKey, Error> {
        Err(Error::no_app(app))
    }

    /// Creates an app. The same metadata again is success.
    ///
    /// # Errors
    /// [`Error::Exists`] when it exists with another root; [`Error::Refused`] when a device would not believe it.
    pub async fn create_app(
        &self,
        app: &AppName,
        _first: &api::FirstMetadata,
        _now: Timestamp,
    ) -> Result<api::Committed, Error> {
        Err(Error::no_app(app))
    }

    /// How each of `blobs` is stored; `None` where it is lacking or condemned.
    ///
    /// # Errors
    /// When there is no such app or the store cannot answer.
    pub async fn missing(&self, app: &AppName, _blobs: &[Digest]) -> Result<Vec<Option<api::BlobStored>>, Error> {
        Err(Error::no_app(app))
    }

    /// How many bytes of an upload are here.
    ///
    /// # Errors
    /// When there is no such app or the scratch space cannot be read.
    pub async fn upload_offset(&self, app: &AppName, _digest: Digest, _encoding: Encoding) -> Result<u64, Error> {
        Err(Error::no_app(app))
    }

    /// Begins an upload, or goes on with one, at byte `offset`.
    ///
    /// # Errors
    /// [`Error::Offset`] when the bytes that are here do not end at `offset`.
    pub async fn upload(
        &self,
        app: &AppName,
        _digest: Digest,
        _encoding: Encoding,
        _offset: u64,
    ) -> Result<Upload, Error> {
        Err(Error::no_app(app))
    }

    /// Stores a tree document, as [`updraft_core::tree::stored::pack`] made it.
    ///
    /// # Errors
    /// [`Error::Refused`] when it is not the tree that `digest` names.
    pub async fn put_tree(&self, app: &AppName, _digest: Digest, _packed: Bytes) -> Result<(), Error> {
        Err(Error::no_app(app))
    }

    /// Publishes: all of it appears at once, or none of it. What is live already is success.
    ///
    /// # Errors
    /// [`Error::Conflict`] when the base moved; [`Error::NotNewer`], [`Error::Refused`] or [`Error::Missing`] when it may
    /// not be published, or not yet.
    pub async fn accept(
        &self,
        app: &AppName,
        _new: &api::NewTargets,
        _now: Timestamp,
    ) -> Result<api::Committed, Error> {
        Err(Error::no_app(app))
    }

    /// Lets a channel point at a live release. A channel that does so already is success.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the release is not live; [`Error::NotNewer`] when the channel is ahead;
    /// [`Error::Refused`] when the publisher does not allow it on this channel.
    pub async fn promote(
        &self,
        app: &AppName,
        _promotion: &api::Promotion,
        _now: Timestamp,
    ) -> Result<api::Committed, Error> {
        Err(Error::no_app(app))
    }

    /// Signs anew every online role, of every app, of which less than half of the life is left.
    pub async fn renew(&self, _now: Timestamp) -> Renewed {
        Renewed::default()
    }

    /// When the next role is due; `None` without apps.
    pub fn next_renewal(&self) -> Option<Timestamp> {
        None
    }

    /// Reads the app anew: another process may have changed it.
    ///
    /// # Errors
    /// When it is not there, or does not verify; the view of before stays.
    pub async fn reload(&self, app: &AppName) -> Result<(), Error> {
        Err(Error::no_app(app))
    }

    /// The decoded tree of a live release; the last few are remembered.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the release is not live; [`Error::Broken`] when its tree is damaged.
    pub async fn tree(&self, app: &AppName, _release: &ReleaseName) -> Result<Arc<ReleaseTree>, Error> {
        Err(Error::no_app(app))
    }

    /// Condemns what nothing needs, and deletes what was condemned longer ago than the grace.
    ///
    /// # Errors
    /// When what is needed cannot be known for certain: then nothing is condemned or deleted.
    pub async fn gc(&self, _request: api::GcRequest, _now: Timestamp) -> Result<api::GcReport, Error> {
        Ok(api::GcReport::default())
    }

    /// Reads every object, compares it with its name, and follows every reference from every head.
    ///
    /// # Errors
    /// When the store cannot be listed. Objects that cannot be read are problems in the report.
    pub async fn fsck(&self, _repair: Repair) -> Result<api::FsckReport, Error> {
        Ok(api::FsckReport::default())
    }
}
