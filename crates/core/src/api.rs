//! The bodies that travel between a publisher's tool and the server, under `/api/v1`.
//!
//! Metadata travels as text, exactly as it was signed. Nothing here is believed by either side because of where it came
//! from: the server verifies what it is given as a device would, and so does the tool.

mod channels;
mod health;
mod patches;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::channel::Channel;
use crate::digest::{Digest, Sha256};
use crate::key::PublicKey;
use crate::name::{AppName, ChannelName, Platform};
use crate::release::{Notes, ReleaseName, Terms, TreeRef};
use crate::version::Version;

pub use channels::{ChannelChange, ChannelChanged, ChannelStatus, StreamStatus};
pub use health::{AppHealth, AppState, Finding, Health, Level, Matter, Renewer, RoleHealth, span};
pub use patches::{Patch, PatchState, Patches};

/// `POST /api/v1/apps`: wants an app of this name. Creates its online keys; the app exists once its root is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewApp {
    /// Its name.
    pub name: AppName,
}

/// The answer: the key that the server will sign snapshot, timestamp and channels with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewAppKeys {
    /// The public half of the app's online key.
    pub online: PublicKey,
}

/// `POST /api/v1/apps/{app}/root`: the first root and the first targets, signed by the publisher. Creates the app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirstMetadata {
    /// Exact bytes of `1.root.json`.
    pub root: String,
    /// Exact bytes of `1.targets.json`, delegating `channels/*` to the online key.
    pub targets: String,
}

/// `POST /api/v1/apps/{app}/rotate`: the next root, and the targets that go with it. All of it appears at once or not at
/// all. A new online key is asked for with `POST /api/v1/apps/{app}/online-key`, which answers [`NewAppKeys`]: another one
/// each time, so that none that may have leaked is proposed again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NextRoot {
    /// The version of targets that this was made from; another one now means 409 and another try.
    pub base: u64,
    /// Exact bytes of the next `N.root.json`, signed by the thresholds of the root before and of itself.
    pub root: String,
    /// Exact bytes of new targets; none where those of now stay, and verify under the new root as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub targets: Option<String>,
}

/// An app, as `GET /api/v1/apps` and `GET /api/v1/apps/{app}` tell of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct App {
    /// Its name.
    pub name: AppName,
    /// SHA-256 of its first root: what a newcomer compares.
    pub root_sha256: Sha256,
    /// Version of its newest root.
    pub root_version: u64,
    /// Its channels.
    pub channels: BTreeMap<ChannelName, Channel>,
    /// Its live releases.
    pub releases: Vec<Release>,
    /// When each role's metadata expires, by role.
    pub expires: BTreeMap<String, Timestamp>,
}

/// A live release, as lists tell of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Its version.
    pub version: Version,
    /// What it runs on.
    pub platform: Platform,
    /// When it was made.
    pub date: Timestamp,
    /// What is new.
    pub notes: Notes,
    /// Its files.
    pub tree: TreeRef,
    /// What its publisher says of who may get it.
    #[serde(default, skip_serializing_if = "Terms::is_empty")]
    pub terms: Terms,
    /// Whether it is kept though no channel points at it.
    pub pinned: bool,
    /// The channels that point at it, and how.
    pub on: BTreeMap<ChannelName, Standing>,
}

/// How a channel points at a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It is fully out.
    Current,
    /// It was, before the current one.
    Previous,
    /// It is being rolled out.
    Candidate,
}

/// `POST /api/v1/apps/{app}/missing`: which of these does the server lack?
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Have {
    /// At most [`crate::limits::MISSING_BATCH_MAX`] blobs.
    pub blobs: Vec<Digest>,
}

/// The answer, for the blobs in the order of the question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// How each is stored; `null` where it is lacking.
    pub blobs: Vec<Option<BlobStored>>,
}

/// How a blob that the server has is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobStored {
    /// Bytes that it takes.
    pub size: u64,
    /// Whether it is a zstd frame.
    pub zstd: bool,
    /// Whether it lies there raw as well, for whoever downloads single files from the server.
    #[serde(default)]
    pub raw: bool,
}

/// `GET /api/v1/apps/{app}/uploads/{digest}[.zst]`: how far an upload has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadState {
    /// Bytes that the server has kept; the next ones begin here.
    pub offset: u64,
}

/// `POST /api/v1/apps/{app}/releases`: new targets, and what they need to be whole. All of it appears at once or not at all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewTargets {
    /// The version of targets that these were made from; another one now means 409 and another try.
    pub base: u64,
    /// Exact bytes of the new `N.targets.json`, signed by the publisher.
    pub targets: String,
    /// Exact bytes of the release documents that are new in it.
    pub documents: Vec<String>,
    /// The release to put on a channel in the same commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promote: Option<Promotion>,
}

/// `POST /api/v1/apps/{app}/promote`: lets a channel point at a live release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Promotion {
    /// The channel.
    pub channel: ChannelName,
    /// The release.
    pub release: ReleaseName,
}

/// The answer to whatever changed an app: what it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Committed {
    /// The generation of the head that carries it.
    #[serde(rename = "gen")]
    pub generation: u64,
    /// The version of targets.
    pub targets: u64,
}

/// `POST /api/v1/gc`: looks for what nothing needs any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GcRequest {
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// What a collection found and did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GcReport {
    /// Objects that something needs.
    pub kept: u64,
    /// Objects that were condemned just now; they are deleted when the grace is over.
    pub condemned: u64,
    /// Objects that were condemned earlier and still wait.
    pub waiting: u64,
    /// Objects that were condemned and are needed again.
    pub pardoned: u64,
    /// Objects that were deleted.
    pub deleted: u64,
    /// Bytes that deleting them gave back.
    pub deleted_bytes: u64,
}

/// What a check of the whole store found: `GET /api/v1/fsck`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FsckReport {
    /// Objects that were read and compared with their names.
    pub checked: u64,
    /// Bytes in them.
    pub checked_bytes: u64,
    /// What is wrong, one sentence each; at most 1,000.
    pub problems: Vec<String>,
}

/// The body of an error (RFC 9457, `application/problem+json`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// What kind of problem: a word that does not change, such as `conflict`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The same for people.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// The thing and the reason.
    pub detail: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}
