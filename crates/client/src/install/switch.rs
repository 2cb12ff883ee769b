//! One switch from a release to another, from looking at what is there to the point of no return.
//!
//! It looks, decides, and then goes the way that was probed. Both ways stop without having changed anything in `DIR`, or
//! leave an intent that [`recover`] finishes: so whatever fails here is taken back or completed by the same code that
//! runs after a crash.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use updraft_core::path::RelPath;
use updraft_core::release::ReleaseName;
use updraft_core::tree::{Kind, Tree};
use updraft_files::{Dir, EntryKind};

use super::change::{self, Change, Edited, Stock};
use super::exchange::{self, Stop, TREE};
use super::finish::{self, SLOT};
use super::intent::{Ending, Intent, Rotate, Work};
use super::state::Confirmation;
use super::survey::{self, Depth, Expected, Found, Survey};
use super::{Applied, Error, Options, REFUSED, Recovered, Way, disk, expected, journal, probe, recover};
use crate::home::Home;
use crate::record::{Record, Stamps};

/// Where a switch shall lead.
pub(super) struct Goal {
    /// The release, still without stamps.
    pub(super) record: Record,
    pub(super) source: Source,
    pub(super) rotate: Rotate,
    pub(super) confirmation: Confirmation,
    pub(super) rejected: Vec<ReleaseName>,
    pub(super) held: bool,
    pub(super) left_held: bool,
    pub(super) belief: Belief,
}

/// Where content comes from that is not in `DIR`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Downloads,
    Slot,
}

/// Whether a stamp is enough to take a file as unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Belief {
    Stamps,
    Nothing,
}

/// A switch that is being prepared: what both ways need.
pub(super) struct Switch<'a> {
    pub(super) dir: &'a Dir,
    pub(super) downloads: &'a Dir,
    slot: Option<&'a Dir>,
    pub(super) old_tree: Tree,
    pub(super) survey: Survey,
    pub(super) change: Change,
    /// What will be installed; the way that is gone fills in the stamps.
    pub(super) record: &'a mut Record,
}

impl Switch<'_> {
    pub(super) fn slot_dir(&self) -> Result<Option<Dir>, Error> {
        Ok(self.slot.map(Dir::try_clone).transpose()?)
    }
}

/// Switches; whatever fails on the way is taken back, or finished if it had taken effect.
pub(super) fn switch(home: &mut Home, old: Option<Record>, goal: Goal, options: &Options) -> Result<Applied, Error> {
    recover(home)?;
    match attempt(home, old, goal, options) {
        Ok(applied) => Ok(applied),
        Err(error) => match recover(home) {
            Ok(Recovered::Forward(applied)) => Ok(*applied),
            _ => Err(error),
        },
    }
}

fn attempt(home: &Home, old: Option<Record>, mut goal: Goal, options: &Options) -> Result<Applied, Error> {
    disk::create_all(home.dir())?;
    let (dir, downloads, slot) = (home.open_dir()?, home.downloads()?, open_slot(home)?);
    let way = probe(home)?;
    let from = old.as_ref().map(|old| old.release.name());
    let (old_tree, stamps) = match old {
        Some(old) => (old.tree, old.stamps),
        None => survey::adopt(&dir, &goal.record.tree)?,
    };
    let stamps = if goal.belief == Belief::Stamps { stamps } else { Stamps::new() };
    let (way, survey) = look(&dir, &expected(home, &old_tree, &stamps, Some(&goal.record.tree)), way)?;
    let stock = match goal.source {
        Source::Downloads => in_downloads(&downloads, &goal.record.tree)?,
        Source::Slot => in_slot(slot.as_ref(), &goal.record, &old_tree, &survey)?,
    };
    let edited = if options.keep_edited { Edited::Keep } else { Edited::BackUp };
    let change = change::decide(&old_tree, &goal.record.tree, &survey, &stock, edited);
    if let Some(first) = change.lacking.first() {
        return Err(Error::Lacking { first: first.clone(), count: change.lacking.len() });
    }
    let ending = ending(home, from, way, &goal, &change)?;
    let record = &mut goal.record;
    let (dir, slot) = (&dir, slot.as_ref());
    let mut switch = Switch { dir, downloads: &downloads, slot, old_tree, survey, change, record };
    let intent = go(home, &mut switch, ending)?;
    let applied = finish::finish(home, intent.ending)?;
    // It is over; what follows only saves time later.
    let _ = finish::clear_downloads(&downloads, &goal.record.tree);
    let _ = finish::stamp_again(home, goal.record);
    Ok(applied)
}

/// Looks at `dir` as far as the way needs it. Who cannot read all that is foreign cannot carry it over, and need not by
/// the journal.
fn look(dir: &Dir, expected: &Expected<'_>, way: Way) -> Result<(Way, Survey), Error> {
    let way = match way {
        Way::Journal(_) => way,
        Way::Exchange => match survey::survey(dir, expected, Depth::Whole) {
            Err(error) if error.is_unsupported() => Way::Journal(format!("not everything may be read ({error})")),
            surveyed => return surveyed.map(|survey| (way, survey)),
        },
    };
    Ok((way, survey::survey(dir, expected, Depth::InTheWay)?))
}

/// What the home does after the switch.
fn ending(home: &Home, from: Option<ReleaseName>, way: Way, goal: &Goal, change: &Change) -> Result<Ending, Error> {
    let backup = from.as_ref().map_or("adopted", |from| from.version.as_str());
    let backup = finish::free_backup_name(home.folder(), backup)?;
    let names = |paths: &BTreeSet<RelPath>| paths.iter().map(ToString::to_string).collect();
    Ok(Ending {
        from,
        to: goal.record.release.name(),
        way,
        rotate: goal.rotate,
        confirmation: goal.confirmation.clone(),
        rejected: goal.rejected.clone(),
        held: goal.held,
        left_held: goal.left_held,
        backup,
        edited: names(&change.edited),
        kept: names(&change.kept),
        displaced: Vec::new(),
        damaged: names(&change.damaged),
    })
}

/// Does the switch by the way that was probed, or by the journal when the file system refuses the exchange after all.
fn go(home: &Home, switch: &mut Switch<'_>, mut ending: Ending) -> Result<Intent, Error> {
    if ending.way == Way::Exchange {
        let reason = match exchange::run(home, switch, ending.clone()) {
            Ok(intent) => return Ok(intent),
            Err(Stop::Failed(error)) => return Err(error),
            Err(Stop::Link(error)) => format!("a file could not get a second name ({error})"),
            Err(Stop::Exchange(error)) => {
                // Whoever says no has not done it; but what a disk says is not believed where a look can tell.
                if is_done(home)? {
                    return Err(error);
                }
                Intent::remove(home.folder())?;
                match error.is_for_good() {
                    true => format!("{REFUSED}{error}"),
                    false => format!("the exchange was refused this time: {error}"),
                }
            }
        };
        finish::abandon(home.folder())?;
        ending.way = Way::Journal(reason);
    }
    journal::run(home, switch, ending)
}

/// Whether the exchange that the journal tells of has happened.
fn is_done(home: &Home) -> Result<bool, Error> {
    match Intent::read(home.folder())?.map(|intent| intent.work) {
        Some(Work::Exchange { old, new }) => exchange::is_swapped(home, old, new),
        _ => Ok(false),
    }
}

fn open_slot(home: &Home) -> Result<Option<Dir>, Error> {
    let at = Path::new(SLOT).join(TREE);
    match home.folder().stat(&at)? {
        Some(_) => Ok(Some(home.folder().open_dir(&at)?)),
        None => Ok(None),
    }
}

/// Which of the blobs of `tree` were downloaded.
fn in_downloads(downloads: &Dir, tree: &Tree) -> Result<Stock, Error> {
    let mut there = BTreeSet::new();
    for (digest, size) in tree.blobs() {
        let stat = downloads.stat(Path::new(&digest.to_string()))?;
        if stat.is_some_and(|stat| stat.kind == EntryKind::File && stat.size == size) {
            there.insert(digest);
        }
    }
    Ok(Stock::Downloads(there))
}

/// How the slot has what `DIR` does not have as the release in the slot says.
fn in_slot(slot: Option<&Dir>, record: &Record, old: &Tree, survey: &Survey) -> Result<Stock, Error> {
    let mut found = BTreeMap::new();
    let Some(slot) = slot else { return Ok(Stock::Slot(found)) };
    // Not by its stamps: what rotted in the slot is to be found now, and not when it is too late for another source.
    let stamps = Stamps::new();
    let hashed = survey::UNWATCHED;
    let expected = Expected { tree: &record.tree, stamps: &stamps, new: None, home_inside: false, hashed };
    for (path, kind) in record.tree.iter().filter(|(_, kind)| matches!(kind, Kind::File { .. })) {
        let is_there = old.get(path) == Some(kind) && matches!(survey.managed.get(path), Some(Found::Same(_)));
        if !is_there {
            found.insert(path.clone(), survey::look(slot, path, kind, &expected)?);
        }
    }
    Ok(Stock::Slot(found))
}
