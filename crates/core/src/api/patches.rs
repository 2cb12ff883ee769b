//! What there is of patches to the live releases of an app: `GET /api/v1/apps/{app}/patches`.

use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::digest::Digest;
use crate::release::ReleaseName;

/// The patches of an app that lead to a live release, and those that are to be made: the newest releases first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Patches {
    /// One for each pair of trees.
    pub patches: Vec<Patch>,
}

/// What there is of the patch between two trees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Patch {
    /// The tree that it is made from.
    pub from: Digest,
    /// The newest release that has that tree, where the server still knows one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_release: Option<ReleaseName>,
    /// The tree that it makes, which is that of a live release.
    pub to: Digest,
    /// What became of it.
    #[serde(flatten)]
    pub state: PatchState,
}

/// What became of a patch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum PatchState {
    /// It is there.
    Made {
        /// Its length.
        bytes: u64,
        /// What is fetched without it: the tree document and the blobs that the old tree lacks, as they are stored. 0
        /// where that is not known.
        instead: u64,
    },
    /// It is to be made.
    Waiting,
    /// It is being made.
    Making,
    /// It was made, and not kept: it is no smaller than what it would replace.
    NotSmaller {
        /// How long it was.
        bytes: u64,
        /// What is fetched without it.
        instead: u64,
    },
    /// It is not made, because the pair is too large for the server's settings.
    Skipped {
        /// What is too large.
        reason: String,
    },
    /// It could not be made.
    Failed {
        /// Why, the last time.
        reason: String,
        /// How often it was tried.
        tries: u32,
        /// When it is tried again; none when it was given up.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        again: Option<Timestamp>,
    },
    /// An operator removed it. It is not made again until he says so.
    Removed,
    /// Something that this version does not know.
    #[serde(other)]
    Other,
}
