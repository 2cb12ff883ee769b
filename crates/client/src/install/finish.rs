//! What comes after the installed directory is the new one: the home follows, in steps that can each be done again.
//!
//! The records change places, foreign entries that were written meanwhile are brought over, the backup gets its name, the
//! slots move up, the state is written, and then the intent is removed. Only after that the update is over.

use std::path::{Path, PathBuf};

use updraft_core::tree::{Kind, Tree};
use updraft_files::Dir;

use super::exchange::{BACKUP, STAGE, TREE};
use super::foreign::{self, Backup, Carried, Pair};
use super::in_use::is_in_use;
use super::intent::{Ending, Intent, Rotate};
use super::journal::NEW;
use super::state::State;
use super::{Applied, Error, disk, late};
use crate::home::{Home, Place, RECORD};
use crate::record::{Record, Stamp};

pub(super) const SLOT: &str = "slot";
pub(super) const OLDER: &str = "older";
const TRASH: &str = "trash";
const TRASH_MAX: u32 = 1_000;
const RECORD_NEW: &str = "record.new";
/// In a slot: the release in it was held. Empty.
const HELD: &str = "held";

/// Writes the record that the installed directory will have.
pub(super) fn write_new_record(stage: &Dir, record: &Record) -> Result<(), Error> {
    disk::write_atomic(stage, Path::new(RECORD_NEW), &record.encode(), 0o644)
}

/// The record that the installed directory will have; `None` when it is the home's already.
pub(super) fn read_new_record(stage: &Dir) -> Result<Option<Record>, Error> {
    Ok(Record::read(stage, Path::new(RECORD_NEW))?)
}

/// Whether the release in the slot was held when it was left.
pub(super) fn slot_held(folder: &Dir) -> Result<bool, Error> {
    Ok(folder.stat(&Path::new(SLOT).join(HELD))?.is_some())
}

/// Makes the home follow.
pub(super) fn finish(home: &Home, mut ending: Ending) -> Result<Applied, Error> {
    let folder = home.folder();
    // Somebody may have deleted it: what is in the home must still come to an end.
    disk::create_all(home.dir())?;
    if folder.stat(Path::new(STAGE))?.is_some() {
        let stage = folder.open_dir(Path::new(STAGE))?;
        disk::remove_all(&stage, Path::new(NEW))?;
        swap_records(folder, &stage)?;
        let brought = bring_from(home, Path::new(STAGE), BACKUP.into(), &stage)?;
        ending.displaced.extend(brought);
        late::keep_edits(home, &stage, &mut ending.edited)?;
        ending.backup = name_backup(folder, &stage, ending.backup)?;
        if ending.left_held {
            disk::write_atomic(&stage, Path::new(HELD), &[], 0o644)?;
        }
    }
    rotate(folder, ending.rotate)?;
    let state = State {
        confirmation: ending.confirmation.clone(),
        rejected: ending.rejected.clone(),
        held: ending.held,
        way: Some(ending.way.clone()),
        ..State::default()
    };
    state.write(folder)?;
    Intent::remove(folder)?;
    sweep(home);
    let backup = PathBuf::from(BACKUP).join(&ending.backup);
    let backup = folder.stat(&backup)?.map(|_| home.file(BACKUP).join(&ending.backup));
    let paths = |names: Vec<String>| names.into_iter().map(PathBuf::from).collect();
    Ok(Applied {
        from: ending.from,
        to: ending.to,
        way: ending.way,
        backup,
        edited: paths(ending.edited),
        kept: paths(ending.kept),
        displaced: paths(ending.displaced),
        damaged: paths(ending.damaged),
    })
}

/// The new record becomes the home's, and that of the old release goes with its tree.
fn swap_records(folder: &Dir, stage: &Dir) -> Result<(), Error> {
    let (new, record) = (Path::new(RECORD_NEW), Path::new(RECORD));
    if stage.stat(new)?.is_none() {
        return Ok(());
    }
    if folder.stat(record)?.is_some() && stage.stat(record)?.is_none() {
        match disk::link(folder, record, stage, record) {
            Err(error) if error.is_unsupported() => {
                // A copy under its final name could be torn by a crash, and then be taken for whole.
                let temp = Path::new("record.copy");
                disk::remove_all(stage, temp)?;
                disk::copy(folder, record, stage, temp, 0o644)?;
                disk::sync_at(stage, temp)?;
                disk::rename(stage, temp, stage, record)?;
            }
            linked => linked?,
        }
        disk::sync(stage)?;
    }
    disk::rename(stage, new, folder, record)?;
    disk::sync(folder)
}

/// Brings over what is foreign in the old directory of `slot`; returns what went to the backup at `backup` in `backup_dir`.
fn bring_from(home: &Home, slot: &Path, backup: PathBuf, backup_dir: &Dir) -> Result<Vec<String>, Error> {
    if is_deleted(home) {
        return Ok(Vec::new());
    }
    let slot = home.folder().open_dir(slot)?;
    let Some(mut carried) = Carried::read(&slot)? else { return Ok(Vec::new()) };
    if slot.stat(Path::new(TREE))?.is_none() {
        return Ok(Vec::new());
    }
    let Some(record) = home.record()? else { return Ok(Vec::new()) };
    // A first install had an empty tree before, or one that was adopted: then what was taken over is in both.
    let old_tree = match Record::read(&slot, Path::new(RECORD))? {
        Some(old) => old.tree,
        None => record.tree.clone(),
    };
    let pair = Pair {
        old: &slot.open_dir(Path::new(TREE))?,
        new: &home.open_dir()?,
        old_tree: &old_tree,
        new_tree: &record.tree,
        backup: Backup { dir: backup_dir, at: backup },
        scratch: &slot,
        home_inside: home.place() == Place::Inside,
        live: true,
    };
    let brought = foreign::bring(&pair, &mut carried)?;
    if brought.changes > 0 {
        carried.write(&slot)?;
    }
    Ok(brought.displaced.iter().map(|path| path.display().to_string()).collect())
}

/// Whether somebody deleted the installed directory: then there is nothing to bring anything to, until an update or a
/// rollback makes it again.
pub(super) fn is_deleted(home: &Home) -> bool {
    matches!(Dir::open(home.dir()), Err(error) if error.kind() == std::io::ErrorKind::NotFound)
}

/// Brings over what was written to old directories since. Part of every run that may change anything.
pub(super) fn bring_late(home: &Home) -> Result<(), Error> {
    [SLOT, OLDER].iter().try_for_each(|slot| bring_late_from(home, Path::new(slot)))
}

fn bring_late_from(home: &Home, slot: &Path) -> Result<(), Error> {
    if home.folder().stat(slot)?.is_some() {
        let name = free_backup_name(home.folder(), "late")?;
        bring_from(home, slot, Path::new(BACKUP).join(name), home.folder())?;
    }
    Ok(())
}

/// A name that nothing in `backup/` has.
pub(super) fn free_backup_name(folder: &Dir, wanted: &str) -> Result<String, Error> {
    let mut name = wanted.to_owned();
    let mut number = 1;
    while folder.stat(&Path::new(BACKUP).join(&name))?.is_some() {
        number += 1;
        name = format!("{wanted}-{number}");
    }
    Ok(name)
}

/// Moves the backup of this update to its place, and returns its name there: another one when this runs again after a crash
/// and more came together since.
fn name_backup(folder: &Dir, stage: &Dir, wanted: String) -> Result<String, Error> {
    let from = Path::new(BACKUP);
    if stage.stat(from)?.is_none() || !has_files(stage, from)? {
        return Ok(wanted);
    }
    disk::ensure_dir(folder, from, 0o700)?;
    let name = free_backup_name(folder, &wanted)?;
    disk::rename(stage, from, folder, &from.join(&name))?;
    disk::sync_at(folder, from)?;
    disk::sync(folder)?;
    Ok(name)
}

/// Whether anything but directories is in `at`: places are made ready for files that then may not come.
fn has_files(dir: &Dir, at: &Path) -> Result<bool, Error> {
    let mut waiting = vec![at.to_owned()];
    while let Some(at) = waiting.pop() {
        for entry in dir.open_dir(&at)?.entries()? {
            if entry.kind != updraft_files::EntryKind::Dir {
                return Ok(true);
            }
            waiting.push(at.join(entry.name));
        }
    }
    Ok(false)
}

/// Moves the releases one place on. That `stage/` is gone means that it was done.
fn rotate(folder: &Dir, rotate: Rotate) -> Result<(), Error> {
    let (stage, slot, older) = (Path::new(STAGE), Path::new(SLOT), Path::new(OLDER));
    if folder.stat(stage)?.is_some() {
        match rotate {
            Rotate::Slot | Rotate::Undo => discard(folder, SLOT)?,
            Rotate::Hold if folder.stat(slot)?.is_some() => disk::rename(folder, slot, folder, older)?,
            Rotate::Hold | Rotate::Drop => {}
        }
        match rotate {
            Rotate::Slot | Rotate::Hold => disk::rename(folder, stage, folder, slot)?,
            Rotate::Undo | Rotate::Drop => discard(folder, STAGE)?,
        }
    }
    if rotate == Rotate::Undo && folder.stat(older)?.is_some() {
        disk::rename(folder, older, folder, slot)?;
    }
    disk::sync(folder)
}

/// Removes a folder of the home. What some process still lives in, and what cannot be removed now (a directory of another
/// user, a mount), must not keep an update from ending: it goes to the trash.
pub(super) fn discard(folder: &Dir, name: &str) -> Result<(), Error> {
    let at = Path::new(name);
    if folder.stat(at)?.is_none() {
        return Ok(());
    }
    let mut refused = None;
    if !is_in_use(&folder.path().join(at)) {
        match disk::remove_all(folder, at) {
            Ok(()) => return Ok(()),
            Err(error) => refused = Some(error),
        }
    }
    disk::ensure_dir(folder, Path::new(TRASH), 0o700)?;
    for number in 0..TRASH_MAX {
        let place = Path::new(TRASH).join(number.to_string());
        if folder.stat(&place)?.is_none() {
            return disk::rename(folder, at, folder, &place);
        }
    }
    // So many are left that something else is wrong.
    match refused {
        Some(error) => Err(error),
        None => disk::remove_all(folder, at),
    }
}

/// Removes a stage that never became anything. It is no old directory: nothing in it is to be brought anywhere.
pub(super) fn abandon(folder: &Dir) -> Result<(), Error> {
    if folder.stat(Path::new(STAGE))?.is_some() {
        foreign::forget(&folder.open_dir(Path::new(STAGE))?)?;
    }
    discard(folder, STAGE)
}

/// Tries to empty the trash, once more bringing over what is foreign in it; what stays is tried the next time.
pub(super) fn sweep(home: &Home) {
    let folder = home.folder();
    let Ok(trash) = folder.open_dir(Path::new(TRASH)) else { return };
    if is_deleted(home) {
        return;
    }
    for entry in trash.entries().unwrap_or_default() {
        let at = Path::new(TRASH).join(&entry.name);
        let brought = bring_late_from(home, &at);
        if brought.is_ok() && !is_in_use(&folder.path().join(&at)) {
            let _ = disk::remove_all(folder, &at);
        }
    }
    let _ = disk::remove_dir(folder, Path::new(TRASH));
}

/// Removes the downloads that are files of the installed release now.
pub(super) fn clear_downloads(downloads: &Dir, tree: &Tree) -> Result<(), Error> {
    for digest in tree.blobs().keys() {
        let name = PathBuf::from(digest.to_string());
        if downloads.stat(&name)?.is_some() {
            disk::remove_file(downloads, &name)?;
        }
    }
    Ok(())
}

/// Writes the stamps of `record` anew: adding and removing names of a file changes its ctime, which would have every
/// file hashed again at the next update. Only for files that this run has verified.
pub(super) fn stamp_again(home: &Home, mut record: Record) -> Result<(), Error> {
    let dir = home.open_dir()?;
    let mut changed = false;
    for (path, stamp) in &mut record.stamps {
        let size = match record.tree.get(path) {
            Some(Kind::File { size, .. }) => *size,
            _ => continue,
        };
        if let Some(stat) = dir.stat(Path::new(path.as_str()))?
            && stat.size == size
            && stamp.differs_by_ctime(&stat)
        {
            *stamp = Stamp::of(&stat);
            changed = true;
        }
    }
    if changed {
        disk::write_atomic(home.folder(), Path::new(RECORD), &record.encode(), 0o644)?;
    }
    Ok(())
}
