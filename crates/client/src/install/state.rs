//! Whether the installed release is known to be good: `state.json`.

use std::path::Path;

use serde::{Deserialize, Serialize};
use updraft_core::Timestamp;
use updraft_core::release::ReleaseName;
use updraft_files::{Dir, read_bounded};

use super::{Error, Way, disk};

const STATE: &str = "state.json";
const STATE_LEN_MAX: u64 = 64 << 10;

/// Whether the installed release is known to be good.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum Confirmation {
    /// It is.
    #[default]
    Confirmed,
    /// It waits for [`confirm`](super::confirm).
    Awaited {
        /// When it was installed.
        since: Timestamp,
        /// How often the app was started since ([`begin_start`](super::begin_start)).
        starts: u32,
    },
}

/// What is known of the installed release beside its record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// 1.
    format: u32,
    /// Whether it is known to be good.
    pub confirmation: Confirmation,
    /// The release that was rolled back from because it was never confirmed: not to be installed again by itself.
    #[serde(default)]
    pub rejected: Option<ReleaseName>,
    /// How it was installed.
    #[serde(default)]
    pub way: Option<Way>,
}

impl State {
    pub(super) fn new(confirmation: Confirmation, rejected: Option<ReleaseName>, way: Option<Way>) -> Self {
        Self { format: 1, confirmation, rejected, way }
    }

    /// A state that is missing or damaged is that of a release that was confirmed long ago: losing this file must not
    /// roll anything back.
    pub(super) fn read(folder: &Dir) -> Result<Self, Error> {
        let bytes = read_bounded(folder, Path::new(STATE), STATE_LEN_MAX)?;
        let state = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Ok(state.unwrap_or_else(|| Self::new(Confirmation::Confirmed, None, None)))
    }

    pub(super) fn write(&self, folder: &Dir) -> Result<(), Error> {
        let bytes = serde_json::to_vec(self).expect("a state is plain JSON");
        disk::write_atomic(folder, Path::new(STATE), &bytes, 0o644)
    }
}
