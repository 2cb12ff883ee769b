//! From [`Staged`] to an installed directory, and back.
//!
//! Interrupt it anywhere: after [`recover`] the managed files are exactly the old release or exactly the new one. There
//! are two ways, and [`probe`] says which and why. *Exchange* builds the whole new directory in the home and swaps it with
//! `DIR` in one system call. *Journal* prepares every file, commits a list of renames, and then does them; after a crash
//! the list is done again. Nothing that people put into `DIR` is ever deleted: what was never installed by us is carried
//! over, and what stands in the way of a release is kept in `backup/`.
//!
//! - `survey`: what is really there; `change`: what to do about it, as a value; `switch`: the whole, in order;
//! - `maker`: the new files; `foreign`: everybody else's;
//! - `exchange`, `journal`: the two ways, up to the point of no return and over it; `intent`: that point, on disk;
//!   `allowed`: what is asked before it;
//! - `finish`: what the home does after that; `late`: edits that came between the look and the swap;
//! - `state`: whether the new release is good;
//! - `disk`: every change to the disk, by one gate.

mod allowed;
mod change;
mod disk;
mod error;
mod exchange;
mod finish;
mod foreign;
mod in_use;
mod intent;
mod journal;
mod late;
mod maker;
pub(crate) mod mounts;
mod state;
mod survey;
mod switch;

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use updraft_core::Timestamp;
use updraft_core::path::{RESERVED_DIR, RelPath};
use updraft_core::release::ReleaseName;
use updraft_core::tree::{Kind, Tree};
use updraft_files::Dir;

pub use self::error::Error;
pub use self::state::{Confirmation, State};

use self::exchange::STAGE;
use self::finish::{OLDER, SLOT};
use self::intent::{Intent, Rotate, Work};
use self::survey::{Depth, Expected, Found, Survey};
use self::switch::{Belief, Goal, Source, switch};
use crate::check::Chooser;
use crate::home::{Home, Place, RECORD};
use crate::progress::Progress;
use crate::record::{Record, Stamps};
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
    /// When [`confirm`] is called; the start after the first one rolls back if it never was.
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
    /// Files that a rollback could not restore to what the release says: the slot had them edited, or not at all.
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

/// What hashing every installed file found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Files of the release.
    pub files: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// What is there and is not as the release says: content, kind or permission bits.
    pub edited: Vec<PathBuf>,
    /// What is not there.
    pub missing: Vec<PathBuf>,
    /// What is really there, for planning a repair.
    #[serde(skip)]
    pub have: Tree,
}

impl Verified {
    /// Whether every file is as the release says.
    pub fn is_sound(&self) -> bool {
        self.edited.is_empty() && self.missing.is_empty()
    }
}

/// Which way `home` is updated, and why.
///
/// # Errors
/// When the file system does not say.
pub fn probe(home: &Home) -> Result<Way, Error> {
    let because = |reason: &str| Ok(Way::Journal(reason.to_owned()));
    if home.settings().in_place {
        return because("--in-place was asked for");
    }
    if mounts::is_one(home.dir()) {
        return because("the directory is a mount of its own");
    }
    if let Some(mount) = mounts::below(home.dir()).first() {
        return Ok(Way::Journal(format!("'{}' is mounted in the directory", mount.display())));
    }
    if home.place() == Place::Inside {
        return because("its parent directory could not be written when it was installed");
    }
    let devices = (home.folder().stat_self()?.device, Dir::open(home.dir()).and_then(|dir| dir.stat_self()));
    if matches!(&devices, (folder, Ok(dir)) if dir.device != *folder) {
        return because("the updater's folder lies on another file system");
    }
    // What only a try can tell was told by the last one.
    match State::read(home.folder())?.way {
        Some(Way::Journal(reason)) if reason.starts_with(REFUSED) => Ok(Way::Journal(reason)),
        _ => Ok(Way::Exchange),
    }
}

/// How the reason begins when the file system refused an exchange that looked possible.
const REFUSED: &str = "the file system refused the exchange: ";

/// Finishes or takes back what was interrupted, brings over foreign files that were written to an old directory, and
/// clears what is left over. To be called before anything else by whoever holds [`Access::Change`](crate::home::Access).
///
/// # Errors
/// When the disk says no; it can be called again.
pub fn recover(home: &mut Home) -> Result<Recovered, Error> {
    writable(home)?;
    let folder = home.folder();
    let recovered = match Intent::read(folder)? {
        Some(intent) => resume(home, intent)?,
        None if folder.stat(Path::new(STAGE))?.is_some() => {
            journal::sweep_mounts(home)?;
            finish::abandon(folder)?;
            Recovered::Back
        }
        None => Recovered::Nothing,
    };
    disk::sweep_scratch(folder)?;
    finish::bring_late(home)?;
    // What could not be brought anywhere stays.
    if State::read(folder)?.confirmation == Confirmation::Confirmed && !finish::is_deleted(home) {
        finish::discard(folder, OLDER)?;
    }
    finish::sweep(home);
    Ok(recovered)
}

/// Decides where an interrupted update stands, and goes the shorter way.
fn resume(home: &Home, intent: Intent) -> Result<Recovered, Error> {
    let folder = home.folder();
    match intent.work {
        Work::Exchange { old, new } if !exchange::is_swapped(home, old, new)? => {
            // The intent first: without it, what is in the stage is only left over.
            Intent::remove(folder)?;
            finish::abandon(folder)?;
            return Ok(Recovered::Back);
        }
        Work::Exchange { .. } => exchange::sync_swap(home)?,
        // The folder of new files goes first when all is done.
        Work::Journal(ops) if folder.stat(&Path::new(STAGE).join(journal::NEW))?.is_some() => {
            journal::forward(home, &ops)?;
        }
        Work::Journal(_) => {}
    }
    let applied = finish::finish(home, intent.ending)?;
    Ok(Recovered::Forward(Box::new(applied)))
}

/// Whether a first install may go into `DIR`: it is missing or empty, or is to be adopted.
pub(crate) fn ready(home: &Home, adopt: bool) -> Result<(), Error> {
    if adopt || home.record()?.is_some() {
        return Ok(());
    }
    let ours = |name: &std::ffi::OsStr| home.place() == Place::Inside && name == RESERVED_DIR;
    // What a file system puts into each of its mounts is nobody's.
    let nobodys = |name: &std::ffi::OsStr| name == "lost+found";
    // Somebody may have deleted it since its home was made.
    let Ok(dir) = Dir::open(home.dir()) else { return Ok(()) };
    match dir.entries()?.iter().any(|entry| !ours(&entry.name) && !nobodys(&entry.name)) {
        true => Err(Error::NotEmpty { dir: home.dir().to_owned() }),
        false => Ok(()),
    }
}

/// What is really there of the installed release (before the first one: of `want`), edited files as they are now.
pub(crate) fn have(home: &Home, want: &Tree) -> Result<Tree, Error> {
    let Ok(dir) = Dir::open(home.dir()) else { return Ok(Tree::default()) };
    let (tree, stamps) = match home.record()? {
        Some(record) => (record.tree, record.stamps),
        None => return Ok(survey::adopt(&dir, want)?.0),
    };
    let expected = expected(home, &tree, &stamps, Some(want));
    Ok(survey::as_tree(&tree, &survey::survey(&dir, &expected, Depth::InTheWay)?))
}

/// Hashes every installed file.
///
/// # Errors
/// When nothing is installed, or a file cannot be read.
pub fn verify(home: &Home) -> Result<Verified, Error> {
    verify_watched(home, &())
}

/// The same, with a word after each piece that was read.
pub(crate) fn verify_watched(home: &Home, progress: &dyn Progress) -> Result<Verified, Error> {
    let record = home.record()?.ok_or_else(|| Error::NothingInstalled { dir: home.dir().to_owned() })?;
    let tree = &record.tree;
    let mut found = Survey::default();
    if let Ok(dir) = Dir::open(home.dir()) {
        let stamps = Stamps::new();
        let (mut done, total) = (0, tree.byte_count());
        for (path, kind) in tree.iter() {
            let hashed = |read| progress.bytes(done + read, total);
            let expected = Expected { hashed: &hashed, ..expected(home, tree, &stamps, None) };
            found.managed.insert(path.clone(), survey::look(&dir, path, kind, &expected)?);
            if let Kind::File { size, .. } = kind {
                done += size;
                progress.bytes(done, total);
            }
        }
    }
    let named = |wanted: fn(&Found) -> bool| -> Vec<PathBuf> {
        tree.iter()
            .filter(|(path, _)| wanted(found.managed.get(*path).unwrap_or(&Found::Missing)))
            .map(as_path)
            .collect()
    };
    Ok(Verified {
        files: tree.file_count(),
        bytes: tree.byte_count(),
        edited: named(|found| matches!(found, Found::Edited { .. } | Found::Mode(_))),
        missing: named(|found| matches!(found, Found::Missing)),
        have: survey::as_tree(tree, &found),
    })
}

fn as_path((path, _): (&RelPath, &Kind)) -> PathBuf {
    path.as_str().into()
}

/// Installs `staged`.
pub(crate) fn apply(home: &mut Home, staged: Staged, options: &Options) -> Result<Applied, Error> {
    install(home, staged, options, Belief::Stamps)
}

/// Lays the files of `staged`, the installed release, over what [`verify`] found damaged. The slot stays as it is.
pub(crate) fn repair(home: &mut Home, staged: Staged) -> Result<Applied, Error> {
    install(home, staged, &Options::default(), Belief::Nothing)
}

fn install(home: &mut Home, staged: Staged, options: &Options, belief: Belief) -> Result<Applied, Error> {
    writable(home)?;
    ready(home, options.adopt)?;
    let state = State::read(home.folder())?;
    let old = home.record()?;
    let again = old.as_ref().is_some_and(|old| old.tree == staged.tree && old.document == staged.document);
    if let (Some(old), Confirmation::Awaited { .. }, false) = (&old, &state.confirmation, again) {
        return Err(Error::Unconfirmed { release: old.release.name() });
    }
    // Laying the same release over itself is no reason to forget what a person said of it.
    let held = again && state.held || staged.chooser == Chooser::Person;
    let left_held = state.held;
    let (rotate, confirmation) = match (&old, options.confirm) {
        // The same release once more: nothing new to confirm, and nothing that is worth going back to.
        (Some(_), _) if again => (Rotate::Drop, state.confirmation),
        (Some(_), Confirm::Now) => (Rotate::Slot, Confirmation::Confirmed),
        (Some(_), Confirm::Await { since }) => (Rotate::Hold, Confirmation::Awaited { since, starts: 0 }),
        (None, _) => (Rotate::Drop, Confirmation::Confirmed),
    };
    let Staged { release, document, tree, packed_tree, .. } = staged;
    let rejected = match again {
        true => state.rejected,
        false => state::rejected_after(state.rejected, &release.name(), None),
    };
    let record = Record { release, document, tree, packed_tree, stamps: Stamps::new() };
    let source = Source::Downloads;
    let goal = Goal { record, source, rotate, confirmation, rejected, held, left_held, belief };
    switch(home, old, goal, options)
}

/// Goes back to the release in the slot. The one that is left becomes the slot, unless it was never confirmed.
///
/// # Errors
/// When there is nothing to go back to, or the disk says no.
pub fn rollback(home: &mut Home, options: &Options) -> Result<Applied, Error> {
    go_back(home, options, Verdict::Neutral)
}

/// As [`rollback`], and remembers that the release that is left is not to be installed again by itself ([`rejected`]).
///
/// # Errors
/// As [`rollback`]; and when the release in the slot is the one that was rejected, for going back twice goes forward.
pub fn reject(home: &mut Home) -> Result<Applied, Error> {
    go_back(home, &Options::default(), Verdict::Bad)
}

/// What is thought of the release that is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Neutral,
    Bad,
}

fn go_back(home: &mut Home, options: &Options, verdict: Verdict) -> Result<Applied, Error> {
    writable(home)?;
    let folder = home.folder();
    let no_slot = || Error::NoSlot { dir: home.dir().to_owned() };
    let record = Record::read(folder, &Path::new(SLOT).join(RECORD))?.ok_or_else(no_slot)?;
    let old = home.record()?.ok_or_else(no_slot)?;
    let state = State::read(folder)?;
    if verdict == Verdict::Bad && state.rejected.contains(&record.release.name()) {
        return Err(Error::BackAlready { release: record.release.name() });
    }
    let (rotate, verdict) = match state.confirmation {
        Confirmation::Confirmed => (Rotate::Slot, verdict),
        Confirmation::Awaited { .. } => (Rotate::Undo, Verdict::Bad),
    };
    let left = (verdict == Verdict::Bad).then(|| old.release.name());
    let rejected = state::rejected_after(state.rejected, &record.release.name(), left);
    let (source, confirmation, belief) = (Source::Slot, Confirmation::Confirmed, Belief::Stamps);
    // Going back takes back the choice of what is left, and brings back that of what comes: it stands as it stood.
    let (held, left_held) = (finish::slot_held(folder)?, state.held);
    let goal = Goal { record, source, rotate, confirmation, rejected, held, left_held, belief };
    switch(home, Some(old), goal, options)
}

/// The release that [`rollback`] would go to.
///
/// # Errors
/// When its record cannot be read.
pub fn slot(home: &Home) -> Result<Option<ReleaseName>, Error> {
    let record = Record::read(home.folder(), &Path::new(SLOT).join(RECORD))?;
    Ok(record.map(|record| record.release.name()))
}

/// The installed release is good: from now on nothing rolls it back by itself.
///
/// # Errors
/// When the state cannot be written; then it is as before.
pub fn confirm(home: &mut Home) -> Result<(), Error> {
    writable(home)?;
    let state = State::read(home.folder())?;
    if state.confirmation == Confirmation::Confirmed {
        return Ok(());
    }
    finish::bring_late(home)?;
    State { confirmation: Confirmation::Confirmed, ..state }.write(home.folder())?;
    finish::discard(home.folder(), OLDER)
}

/// Whether the installed release is known to be good.
///
/// # Errors
/// When the state cannot be read.
pub fn confirmation(home: &Home) -> Result<Confirmation, Error> {
    Ok(State::read(home.folder())?.confirmation)
}

/// The releases that were rolled back from, the last one first: not to be installed again by themselves. Taking one again
/// has it forgotten here.
///
/// # Errors
/// When the state cannot be read.
pub fn rejected(home: &Home) -> Result<Vec<ReleaseName>, Error> {
    Ok(State::read(home.folder())?.rejected)
}

/// Whether a person chose the installed release, so that nothing else is to be installed by itself.
///
/// # Errors
/// When the state cannot be read.
pub fn held(home: &Home) -> Result<bool, Error> {
    Ok(State::read(home.folder())?.held)
}

/// What is wrong with `state.json`, if it is there and cannot be read: then the installed release counts as [`held`].
///
/// # Errors
/// When the disk says no.
pub fn damage(home: &Home) -> Result<Option<String>, Error> {
    Ok(State::read(home.folder())?.damage)
}

/// Holds the installed release, or lets it go.
pub(crate) fn set_held(home: &mut Home, held: bool) -> Result<(), Error> {
    writable(home)?;
    let state = State::read(home.folder())?;
    if state.held == held && state.damage.is_none() { Ok(()) } else { State { held, ..state }.write(home.folder()) }
}

/// The app is about to start: begins the trial of a release that waits for [`confirm`], or goes back to the one before
/// when the last trial was never confirmed.
///
/// # Errors
/// When the state cannot be written, or the release before cannot be switched to.
pub fn begin_start(home: &mut Home) -> Result<Start, Error> {
    writable(home)?;
    let state = State::read(home.folder())?;
    match state.confirmation {
        Confirmation::Confirmed => Ok(Start::Confirmed),
        // Without a release to go back to, an app that may be bad is better than none.
        Confirmation::Awaited { since, starts } if starts == 0 || slot(home)?.is_none() => {
            let confirmation = Confirmation::Awaited { since, starts: starts.saturating_add(1) };
            State { confirmation, ..state }.write(home.folder())?;
            Ok(Start::Trial { since })
        }
        Confirmation::Awaited { .. } => Ok(Start::RolledBack(Box::new(rollback(home, &Options::default())?))),
    }
}

fn writable(home: &Home) -> Result<(), Error> {
    match home.is_locked() {
        true => Ok(()),
        false => Err(Error::ReadOnly { dir: home.dir().to_owned() }),
    }
}

fn expected<'a>(home: &Home, tree: &'a Tree, stamps: &'a Stamps, new: Option<&'a Tree>) -> Expected<'a> {
    Expected { tree, stamps, new, home_inside: home.place() == Place::Inside, hashed: survey::UNWATCHED }
}
