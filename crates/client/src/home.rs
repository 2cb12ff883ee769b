//! An installed directory, and the updater's own folder beside it.
//!
//! `DIR` is the app's own directory. What the updater keeps lies in its *home*: `DIR.updraft` beside it, on the same file
//! system, so that a whole directory can be exchanged in one step; or `DIR/.updraft` where the parent cannot be used
//! (`DIR` is a mount, holds mounts, or its parent may not be written).
//!
//! ```text
//! settings.json   what is followed: app, source, channel, platform; the last file of a new home, so it marks a whole one
//! lock            held by the one process that may change anything; names it by its pid
//! record          the installed release: document, tree, stamps            (record.rs)
//! state.json      whether that release is confirmed                        (install/state.rs)
//! trust/          trusted metadata                                         (updater.rs)
//! downloads/      verified blobs, raw, by digest; parts of others          (download.rs)
//! stage/          the release in the making                                (install/)
//! slot/ older/    releases that were installed before: tree/, record, foreign
//! backup/NAME/    what people had edited or put in the way; never deleted
//! journal         an update that is under way
//! trash/          what is about to be deleted
//! ```
//!
//! A home refuses: a directory that is not resolved to a real place, two homes for one directory, a newer format, and a
//! second process that wants to change things while one does.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use updraft_core::name::{AppName, ChannelName, Platform};
use updraft_core::path::RESERVED_DIR;
use updraft_files::{Dir, read_bounded, write_atomic};

use crate::record::{self, Record};

/// Largest `settings.json`, in bytes: a source's URL is most of it.
const SETTINGS_LEN_MAX: u64 = 64 << 10;

/// Why a home cannot be made, opened or used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing of ours is there.
    #[error("{}: not installed by updraft: run 'updraft-agent install --url URL {}' first", dir.display(), dir.display())]
    NotInstalled {
        /// The directory.
        dir: PathBuf,
    },
    /// A release is installed there already.
    #[error("{}: {app} is installed there already: update it instead, or choose another directory", dir.display())]
    Installed {
        /// The directory.
        dir: PathBuf,
        /// The app that it follows.
        app: AppName,
    },
    /// The directory cannot be one that is updated.
    #[error("{}: {reason}", dir.display())]
    Unusable {
        /// The directory.
        dir: PathBuf,
        /// The reason, and what to do.
        reason: &'static str,
    },
    /// Another process changes this directory now.
    #[error("{}: another process{} is updating it: wait until it is done", dir.display(), match pid { Some(pid) => format!(" (pid {pid})"), None => String::new() })]
    InUse {
        /// The directory.
        dir: PathBuf,
        /// The other process, where it could be read.
        pid: Option<u32>,
    },
    /// A file of the home is not what this program writes.
    #[error("{}: {reason}", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// The record of what is installed cannot be used.
    #[error("{}: {source}", file.display())]
    Record {
        /// The record.
        file: PathBuf,
        /// Why.
        source: record::Error,
    },
    /// The file system said no.
    #[error(transparent)]
    Files(#[from] updraft_files::Error),
}

/// Whether a home is opened to look, or to change something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Only to look: takes no lock, writes nothing.
    Read,
    /// To change things: held by one process at a time.
    Change,
}

/// Where the updater's own folder lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// `DIR.updraft`.
    Beside,
    /// `DIR/.updraft`.
    Inside,
}

/// What is followed, and how: `settings.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// 1.
    pub format: u32,
    /// The app.
    pub app: AppName,
    /// Where it comes from: the URL of the app on a server, or a folder.
    pub source: String,
    /// The channel.
    pub channel: ChannelName,
    /// The platform, so that a device keeps what it was installed as.
    pub platform: Platform,
    /// Random name of this installation, lower-case hexadecimal; never personal.
    pub device: String,
    /// Update file by file even where the whole directory could be exchanged.
    #[serde(default)]
    pub in_place: bool,
}

/// An installed directory and its home.
#[derive(Debug)]
pub struct Home {
    dir: PathBuf,
    parent: Dir,
    name: OsString,
    folder: Dir,
    place: Place,
    settings: Settings,
    lock: Option<File>,
}
// SIGNATURES (bodies follow within the hour):
impl Home {
    /// Makes the home of a first install, or takes up one that was begun. `DIR` may be missing; see install::ready for what it may hold.
    pub fn create(dir: &Path, settings: Settings) -> Result<Home, Error>;
    /// Opens what was installed. With Access::Change, call install::recover next.
    pub fn open(dir: &Path, access: Access) -> Result<Home, Error>;
    /// `DIR`, resolved.
    pub fn dir(&self) -> &Path;
    pub fn place(&self) -> Place;
    pub fn settings(&self) -> &Settings;
    pub fn set_settings(&mut self, settings: Settings) -> Result<(), Error>;
    /// The updater's own folder.
    pub fn folder(&self) -> &Dir;
    /// `trust/`, made when it is missing.
    pub fn trust(&self) -> Result<Dir, Error>;
    /// `downloads/`, made when it is missing: whole blobs lie in it RAW under their digest.
    pub fn downloads(&self) -> Result<Dir, Error>;
    /// What is installed; None before the first install is complete.
    pub fn record(&self) -> Result<Option<Record>, Error>;
}
