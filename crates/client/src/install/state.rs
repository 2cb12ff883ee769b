//! Whether the installed release is known to be good: `state.json`.

use std::io::ErrorKind;
use std::path::Path;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use updraft_core::Timestamp;
use updraft_core::release::ReleaseName;
use updraft_files::{Dir, read_bounded};

use super::{Error, Way, disk};

const STATE: &str = "state.json";
const STATE_LEN_MAX: u64 = 64 << 10;
/// Of the releases that were rolled back from, so many are remembered: a channel may fall back to one before the last.
const REJECTED_MAX: usize = 8;

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
    pub(super) format: u32,
    /// Whether it is known to be good.
    pub confirmation: Confirmation,
    /// The releases that were rolled back from, the last one first: not to be installed again by themselves.
    #[serde(default, deserialize_with = "one_or_many")]
    pub rejected: Vec<ReleaseName>,
    /// Whether a person chose the installed release: then nothing else is to be installed by itself.
    #[serde(default)]
    pub held: bool,
    /// How it was installed.
    #[serde(default)]
    pub way: Option<Way>,
    /// What is wrong with the file, if it is there and cannot be read.
    #[serde(skip)]
    pub damage: Option<String>,
}

/// That of a release that was confirmed long ago.
impl Default for State {
    fn default() -> Self {
        Self {
            format: 1,
            confirmation: Confirmation::Confirmed,
            rejected: Vec::new(),
            held: false,
            way: None,
            damage: None,
        }
    }
}

impl State {
    /// One that is missing is the default: losing this file must not roll anything back. One that is there and cannot be
    /// read may have said that a person chose the release, so it counts as held until a person says otherwise.
    pub(super) fn read(folder: &Dir) -> Result<Self, Error> {
        let parsed = match read_bounded(folder, Path::new(STATE), STATE_LEN_MAX) {
            Ok(None) => return Ok(Self::default()),
            Ok(Some(bytes)) => Self::parse(&bytes),
            Err(error) if error.kind() == ErrorKind::FileTooLarge => Err(error.to_string()),
            Err(error) => return Err(error.into()),
        };
        Ok(parsed.unwrap_or_else(|reason| Self { held: true, damage: Some(reason), ..Self::default() }))
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let damaged = |_| "it is damaged".to_owned();
        let value: Value = serde_json::from_slice(bytes).map_err(damaged)?;
        match value.get("format").and_then(Value::as_u64) {
            Some(n) if n > 1 => Err(format!("its format {n} is newer than this program")),
            _ => serde_json::from_value(value).map_err(damaged),
        }
    }

    pub(super) fn write(&self, folder: &Dir) -> Result<(), Error> {
        let bytes = serde_json::to_vec(self).expect("a state is plain JSON");
        disk::write_atomic(folder, Path::new(STATE), &bytes, 0o644)
    }
}

/// `rejected` without `installed`, for what is installed was taken again, and with `left` first, if that was rolled back
/// from.
pub(super) fn rejected_after(
    rejected: Vec<ReleaseName>,
    installed: &ReleaseName,
    left: Option<ReleaseName>,
) -> Vec<ReleaseName> {
    let others = rejected.into_iter().filter(|name| name != installed && Some(name) != left.as_ref());
    left.iter().cloned().chain(others).take(REJECTED_MAX).collect()
}

/// One release or `null` is what was written while only the last one was remembered.
pub(super) fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<ReleaseName>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        Many(Vec<ReleaseName>),
        One(Option<ReleaseName>),
    }
    Ok(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::Many(names) => names,
        OneOrMany::One(name) => name.into_iter().collect(),
    })
}
