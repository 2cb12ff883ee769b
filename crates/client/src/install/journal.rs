//! The second way: file by file, where the whole directory cannot be exchanged.
//!
//! First everything is prepared, and nothing in `DIR` changes: new files lie verified in `stage/new`, the old versions of
//! what changes in `stage/tree`. Then the list of operations is written and synced: that is the commit. [`forward`] does
//! them, now or after a crash; each can be done again, and needs no room on the disk but for names.
//!
//! A file that belongs into another mount inside `DIR` cannot be renamed there from the home, so it lies ready at the top
//! of that mount, under a name of ours.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use updraft_core::path::RelPath;
use updraft_core::tree::Kind;
use updraft_files::{Dir, EntryKind, Stat};

use super::change::Origin;
use super::exchange::{BACKUP, STAGE, TREE};
use super::foreign::Backup;
use super::intent::{Ending, Intent, Op, Rotate, Was, Work};
use super::maker::{self, Maker, Placed};
use super::survey::{self, Found};
use super::switch::Switch;
use super::{Error, disk, finish, mounts};
use crate::home::Home;

pub(super) const NEW: &str = "new";
/// How the name of a file begins that lies ready in a mount inside `DIR`.
const READY: &str = ".updraft-new-";

/// Prepares the switch and commits it. When it fails, nothing has happened but in `stage/` and under our own names.
pub(super) fn run(home: &Home, switch: &mut Switch<'_>, mut ending: Ending) -> Result<Intent, Error> {
    let folder = home.folder();
    disk::create_dir(folder, Path::new(STAGE), 0o700)?;
    let stage = folder.open_dir(Path::new(STAGE))?;
    for name in [NEW, TREE] {
        disk::create_dir(&stage, Path::new(name), 0o700)?;
    }
    let mounted = mounts::below(home.dir());
    let mut ops = clearing(switch, &mounted)?;
    prepare_backup(&ops, &stage)?;
    ops.extend(making(switch, &stage, &mounted)?);
    if matches!(ending.rotate, Rotate::Slot | Rotate::Hold) {
        save_old(switch, &stage)?;
    }
    ending.displaced = switch.change.displaced.keys().map(|path| path.display().to_string()).collect();
    finish::write_new_record(&stage, switch.record)?;
    disk::sync(&stage)?;
    disk::sync(folder)?;

    let intent = Intent::new(Work::Journal(ops), ending);
    intent.write(folder)?;
    let Work::Journal(ops) = &intent.work else { unreachable!("it was just made of a list") };
    forward(home, ops)?;
    Ok(intent)
}

/// What has to go before anything new can come.
fn clearing(switch: &Switch<'_>, mounted: &[PathBuf]) -> Result<Vec<Op>, Error> {
    let change = &switch.change;
    let mut ops = Vec::new();
    for (path, stat) in &change.displaced {
        let moves_with_parent = path.ancestors().skip(1).any(|above| change.displaced.contains_key(above));
        if !moves_with_parent {
            refuse_mount(path, mounted)?;
            ops.push(Op::Aside { path: path.clone(), inode: stat.inode });
        }
    }
    for path in &change.edited {
        ops.push(Op::Aside { path: path.as_str().into(), inode: change.leaving[path].inode });
    }
    let stays_kind = |path: &RelPath| change.entries.get(path).map(|(kind, _)| matches!(kind, Kind::Dir { .. }));
    for (path, stat) in change.leaving.iter().rev() {
        let op = match (stat.kind == EntryKind::Dir, stays_kind(path)) {
            // A file in the place of a file replaces it in one step.
            (false, Some(false)) => continue,
            (false, _) if change.edited.contains(path) => continue,
            (false, _) => Op::Remove { path: path.clone(), was: Was::of(stat) },
            (true, _) => {
                if stays_kind(path) == Some(false) {
                    refuse_mount(Path::new(path.as_str()), mounted)?;
                }
                Op::RemoveDir { path: path.clone() }
            }
        };
        ops.push(op);
    }
    Ok(ops)
}

fn refuse_mount(path: &Path, mounted: &[PathBuf]) -> Result<(), Error> {
    match mounted.iter().find(|at| at.starts_with(path)) {
        Some(at) => Err(Error::MountInTheWay { path: at.clone() }),
        None => Ok(()),
    }
}

/// Makes the directories that set-aside files will move into, so that moving them needs no room.
fn prepare_backup(ops: &[Op], stage: &Dir) -> Result<(), Error> {
    for op in ops {
        if let Op::Aside { path, .. } = op {
            disk::ensure_parents(stage, &Path::new(BACKUP).join(path))?;
        }
    }
    Backup { dir: stage, at: BACKUP.into() }.sync()
}

/// Lays ready what is new, and says where it goes.
fn making(switch: &mut Switch<'_>, stage: &Dir, mounted: &[PathBuf]) -> Result<Vec<Op>, Error> {
    let new = stage.open_dir(Path::new(NEW))?;
    let mut maker = Maker::new(switch.dir, switch.downloads.try_clone()?, switch.slot_dir()?);
    let (mut ops, mut here, mut apart, mut number) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for (path, (kind, origin)) in &switch.change.entries {
        let managed = switch.survey.managed.get(path);
        if let Kind::Dir { mode } = kind {
            let is_right = |stat: &Stat| stat.kind == EntryKind::Dir && survey::same_mode(stat, *mode);
            let as_it_is = matches!(managed, Some(Found::Same(stat)) if is_right(stat));
            if !as_it_is {
                ops.push(Op::MakeDir { path: path.clone(), mode: *mode });
            }
            continue;
        }
        if matches!(origin, Origin::Same | Origin::Kept | Origin::Missing) {
            continue;
        }
        if let Some(at) = mounted.iter().find(|at| *at == Path::new(path.as_str())) {
            refuse_mount(at, mounted)?;
        }
        number += 1;
        let mount = mounted.iter().rfind(|at| Path::new(path.as_str()).starts_with(at)).cloned();
        let at = ready(number, mount.as_deref());
        let to_dir = if mount.is_some() { switch.dir } else { &new };
        maker.put(path, kind, origin, to_dir, &at)?;
        if *origin != Origin::Damaged {
            let list = if mount.is_some() { &mut apart } else { &mut here };
            list.push((Placed { path: path.clone(), at }, kind.clone()));
        }
        let replaces = switch.change.leaving.get(path).filter(|_| !switch.change.edited.contains(path));
        let was = replaces.filter(|stat| stat.kind != EntryKind::Dir).map(Was::of);
        ops.push(Op::Place { number, mount, path: path.clone(), was });
    }
    maker::sync_and_check(&here, &new)?;
    maker::sync_and_check(&apart, switch.dir)?;
    let used: BTreeSet<&Path> = apart.iter().filter_map(|(placed, _)| placed.at.parent()).collect();
    used.iter().try_for_each(|at| disk::sync_at(switch.dir, at))?;
    disk::sync(&new)?;
    switch.record.stamps = maker::stamps(here.into_iter().map(|(placed, _)| placed), &new)?;
    switch.record.stamps.extend(maker::stamps(apart.into_iter().map(|(placed, _)| placed), switch.dir)?);
    let same = switch.change.entries.iter().filter(|(_, (_, origin))| *origin == Origin::Same);
    let same = same.map(|(path, _)| Placed { path: path.clone(), at: path.as_str().into() });
    switch.record.stamps.extend(maker::stamps(same, switch.dir)?);
    Ok(ops)
}

/// Where file `number` lies ready: in `stage/new`, or in a mount.
fn ready(number: u64, mount: Option<&Path>) -> PathBuf {
    match mount {
        None => number.to_string().into(),
        Some(mount) => mount.join(format!("{READY}{number}")),
    }
}

/// Keeps the old versions of what changes, for going back. What stays the same is found in `DIR` then.
fn save_old(switch: &Switch<'_>, stage: &Dir) -> Result<(), Error> {
    let slot = stage.open_dir(Path::new(TREE))?;
    let mut dirs = BTreeSet::from([PathBuf::new()]);
    let mut copies = Vec::new();
    for (path, stat) in switch.change.leaving.iter().filter(|(_, stat)| stat.kind != EntryKind::Dir) {
        let at = Path::new(path.as_str());
        disk::ensure_parents(&slot, at)?;
        dirs.extend(at.ancestors().skip(1).map(Path::to_owned));
        if !save(switch.dir, at, stat, &slot)? {
            copies.push(at);
        }
    }
    copies.iter().try_for_each(|at| disk::sync_at(&slot, at))?;
    dirs.iter().try_for_each(|at| disk::sync_at(&slot, at))
}

/// Gives a file one more name in the slot, or copies it there; whether it was the first.
fn save(dir: &Dir, at: &Path, stat: &Stat, slot: &Dir) -> Result<bool, Error> {
    match disk::link(dir, at, slot, at) {
        Ok(()) => return Ok(true),
        Err(error) if !error.is_unsupported() => return Err(error),
        Err(_) => {}
    }
    match stat.kind {
        EntryKind::File => {
            disk::copy(dir, at, slot, at, stat.mode | 0o600)?;
            disk::inherit(dir, at, &slot.open_file(at)?)?;
            maker::ensure_mode(slot, at, stat.mode)?;
            Ok(false)
        }
        EntryKind::Symlink => disk::symlink(slot, &dir.read_link(at)?, at).map(|()| true),
        // A socket or the like in the place of a file: it goes to the backup, and is no part of a release.
        _ => Ok(true),
    }
}

/// Does the operations; all that they did is durable when this returns. May be called again after a crash.
pub(super) fn forward(home: &Home, ops: &[Op]) -> Result<(), Error> {
    let dir = home.open_dir()?;
    let stage = home.folder().open_dir(Path::new(STAGE))?;
    let new = stage.open_dir(Path::new(NEW))?;
    let hands = Hands { dir: &dir, new: &new, backup: Backup { dir: &stage, at: BACKUP.into() } };
    let mut touched = BTreeSet::new();
    for op in ops {
        hands.do_one(op)?;
        let path = match op {
            Op::Aside { path, .. } => path.as_path(),
            Op::Remove { path, .. } | Op::RemoveDir { path } | Op::MakeDir { path, .. } | Op::Place { path, .. } => {
                Path::new(path.as_str())
            }
        };
        touched.insert(path.parent().map(Path::to_owned).unwrap_or_default());
    }
    touched.iter().try_for_each(|at| disk::sync_if_dir(&dir, at))?;
    hands.backup.sync()?;
    disk::sync(&new)
}

struct Hands<'a> {
    dir: &'a Dir,
    new: &'a Dir,
    backup: Backup<'a>,
}

impl Hands<'_> {
    fn do_one(&self, op: &Op) -> Result<(), Error> {
        match op {
            Op::Aside { path, inode } => match self.dir.stat(path)? {
                Some(stat) if stat.inode == *inode => self.set_aside(path, &stat),
                _ => Ok(()),
            },
            Op::Remove { path, was } => {
                let at = Path::new(path.as_str());
                match self.dir.stat(at)? {
                    Some(stat) if Was::of(&stat) == *was => disk::remove_file(self.dir, at),
                    _ => Ok(()),
                }
            }
            Op::RemoveDir { path } => self.remove_dir(Path::new(path.as_str())),
            Op::MakeDir { path, mode } => self.make_dir(Path::new(path.as_str()), *mode),
            Op::Place { number, mount, path, was } => {
                self.place(&ready(*number, mount.as_deref()), mount.is_some(), Path::new(path.as_str()), *was)
            }
        }
    }

    fn remove_dir(&self, at: &Path) -> Result<(), Error> {
        match self.dir.stat(at)? {
            Some(stat) if stat.kind == EntryKind::Dir => match disk::remove_dir(self.dir, at) {
                // What is foreign in it keeps it; a mount keeps itself.
                Err(error)
                    if matches!(error.io_kind(), Some(ErrorKind::DirectoryNotEmpty | ErrorKind::ResourceBusy)) =>
                {
                    Ok(())
                }
                removed => removed,
            },
            _ => Ok(()),
        }
    }

    fn make_dir(&self, at: &Path, mode: u32) -> Result<(), Error> {
        match self.dir.stat(at)? {
            Some(stat) if stat.kind == EntryKind::Dir && survey::same_mode(&stat, mode) => return Ok(()),
            Some(stat) if stat.kind == EntryKind::Dir => {
                return disk::set_mode(self.dir, at, mode | stat.mode & 0o2000);
            }
            Some(stat) => self.set_aside(at, &stat)?,
            None => {}
        }
        disk::create_dir(self.dir, at, mode)?;
        disk::inherit(self.dir, Path::new(""), self.dir.open_dir(at)?.as_file())?;
        maker::ensure_mode(self.dir, at, mode)
    }

    fn place(&self, from: &Path, in_mount: bool, at: &Path, was: Option<Was>) -> Result<(), Error> {
        let from_dir = if in_mount { self.dir } else { self.new };
        if from_dir.stat(from)?.is_none() {
            return Ok(()); // it is in its place already
        }
        match self.dir.stat(at)? {
            Some(stat) if was != Some(Was::of(&stat)) => self.set_aside(at, &stat)?,
            _ => {}
        }
        disk::rename(from_dir, from, self.dir, at)
    }

    /// Moves what nobody expected there to the backup; from another mount, out of the way beside itself.
    fn set_aside(&self, at: &Path, stat: &Stat) -> Result<(), Error> {
        let Some(place) = self.backup.place(at, stat)? else { return Ok(()) };
        match disk::rename_new(self.dir, at, self.backup.dir, &place) {
            Err(error) if error.io_kind() == Some(ErrorKind::CrossesDevices) => {}
            // Not every file system can check and rename in one step; the place was free a moment ago.
            Err(error) if error.io_kind() == Some(ErrorKind::InvalidInput) => {
                return disk::rename(self.dir, at, self.backup.dir, &place);
            }
            moved => return moved,
        }
        let mut beside = at.as_os_str().to_owned();
        beside.push(".updraft-backup");
        let mut number = 1;
        while self.dir.stat(Path::new(&beside))?.is_some() {
            number += 1;
            beside = at.as_os_str().to_owned();
            beside.push(format!(".updraft-backup-{number}"));
        }
        disk::rename(self.dir, at, self.dir, Path::new(&beside))
    }
}

/// Removes what lies ready in mounts for an update that will not be.
pub(super) fn sweep_mounts(home: &Home) -> Result<(), Error> {
    for mount in mounts::below(home.dir()) {
        let open = match home.open_dir()?.open_dir(&mount) {
            Ok(open) => open,
            // A mount of another user, or one that is gone again: nothing of ours is in it.
            Err(_) => continue,
        };
        for entry in open.entries()?.iter().filter(|entry| entry.name.to_string_lossy().starts_with(READY)) {
            disk::remove_file(&open, Path::new(&entry.name))?;
        }
    }
    Ok(())
}
