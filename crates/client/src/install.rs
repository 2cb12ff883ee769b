//! From [`Staged`](crate::staged::Staged) to an installed directory, and back.
//!
//! Interrupt it anywhere: after [`recover`] the managed files are exactly the old release or exactly the new one. There
//! are two ways, and [`probe`] says which and why. *Exchange* builds the whole new directory in the home and swaps it with
//! `DIR` in one system call. *Journal* prepares every file, commits a list of renames, and then does them; after a crash
//! the list is done again. Nothing that people put into `DIR` is ever deleted: what was never installed by us is carried
//! over, and what stands in the way of a release is kept in `backup/`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use updraft_core::Timestamp;
use updraft_core::path::RelPath;
use updraft_core::release::ReleaseName;
use updraft_core::tree::Tree;

use crate::home::Home;
use crate::staged::Staged;

/// How a directory is updated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "way", content = "reason")]
pub enum Way {
    /// The whole directory is exchanged in one step.
    Exchange,
    /// File by file, by a journal that is redone after a crash; and why.
    Journal(String),
}

/// How an update is to be done.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Take over what is in `DIR` already, at the first install.
    pub adopt: bool,
    /// Keep locally edited files in place instead of in a backup.
    pub keep_edited: bool,
    /// Whether the new release is good at once, or waits for [`confirm`].
    pub confirm: Confirm,
}

/// When a release counts as good.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Confirm {
    /// As soon as it is installed and verified.
    #[default]
    Now,
    /// When [`confirm`] is called; without that, the start after the next one rolls back.
    Await {
        /// Now.
        since: Timestamp,
    },
}

/// What a switch to another release did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// The release that was installed before, if any.
    pub from: Option<ReleaseName>,
    /// The release that is installed now.
    pub to: ReleaseName,
    /// How it was done.
    pub way: Way,
    /// Where what people had edited or put in the way is kept, if there was any.
    pub backup: Option<PathBuf>,
    /// Managed files that were edited locally and are in the backup now.
    pub edited: Vec<PathBuf>,
    /// Managed files that were edited locally and were left in place.
    pub kept: Vec<PathBuf>,
    /// Foreign files that stood in the way and are in the backup now.
    pub displaced: Vec<PathBuf>,
    /// Files that could not be restored to what the release says, in a rollback: the slot had them edited or not at all.
    pub damaged: Vec<PathBuf>,
}

/// What [`recover`] found and did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recovered {
    /// Nothing was interrupted.
    Nothing,
    /// An update was interrupted before it took effect; it is as if it had not begun.
    Back,
    /// An update was interrupted after it took effect; it is complete now.
    Forward(Box<Applied>),
}

/// Whether the installed release is known to be good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum Confirmation {
    /// It is.
    Confirmed,
    /// It was installed then, and waits for [`confirm`].
    Awaited {
        /// When it was installed.
        since: Timestamp,
        /// How often the app was started since ([`begin_start`]).
        starts: u32,
    },
}

/// What [`begin_start`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// The installed release is confirmed.
    Confirmed,
    /// This is the first start of a release that waits for [`confirm`].
    Trial {
        /// When it was installed.
        since: Timestamp,
    },
    /// The last start was never confirmed, so the release before is back.
    RolledBack(Box<Applied>),
}

/// Which way `home` is updated.
pub fn probe(home: &Home) -> Result<Way, Error>;
/// Finishes or takes back what was interrupted, picks up foreign files that were written to an old directory, and clears
/// what is left over. To be called before anything else by whoever holds [`Access::Change`](crate::home::Access::Change).
pub fn recover(home: &mut Home) -> Result<Recovered, Error>;
/// Whether a first install may go into `DIR`: it is missing or empty, or is to be adopted.
pub(crate) fn ready(home: &Home, adopt: bool) -> Result<(), Error>;
/// What is really there of the installed release (before the first one: of `want`): edited files as they are now.
pub(crate) fn have(home: &Home, want: &Tree) -> Result<Tree, Error>;
/// Installs `staged`.
pub(crate) fn apply(home: &mut Home, staged: Staged, options: &Options) -> Result<Applied, Error>;
/// Goes back to the release in the slot; the one that is left becomes the slot.
pub fn rollback(home: &mut Home, options: &Options) -> Result<Applied, Error>;
/// The release that [`rollback`] would go to.
pub fn slot(home: &Home) -> Result<Option<ReleaseName>, Error>;
/// The installed release is good; the one before the slot is let go.
pub fn confirm(home: &mut Home) -> Result<(), Error>;
/// Whether the installed release is confirmed, what was rolled back from, ...
pub fn confirmation(home: &Home) -> Result<Confirmation, Error>;
/// The release that an unconfirmed start was rolled back from: not to be installed again by itself.
pub fn rejected(home: &Home) -> Result<Option<ReleaseName>, Error>;
/// The app is about to start: opens the health window, or rolls back when the start before was never confirmed.
pub fn begin_start(home: &mut Home) -> Result<Start, Error>;
/// Hashes everything: which managed files are edited or missing.
pub fn verify(home: &Home) -> Result<Verified, Error>;
/// Lays the installed release's own files over what is damaged, from downloads.
pub(crate) fn repair(home: &mut Home, staged: Staged) -> Result<Applied, Error>;
