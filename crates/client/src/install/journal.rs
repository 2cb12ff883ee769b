//! The second way: file by file, where the whole directory cannot be exchanged.
//!
//! First everything is prepared, and nothing in `DIR` changes: new files lie verified in `stage/new`, the old versions of
//! what changes in `stage/tree`. Then the list of operations is written and synced: that is the commit. [`forward`] does
//! them, now or after a crash; each can be done again, and needs no room on the disk but for names.
//!
//! A file that belongs into another mount cannot be renamed there from the home, so it lies ready at the top of that mount
//! (inside `DIR`, or `DIR` itself), under a name of ours.

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
use super::{Error, allowed, disk, finish, mounts};
use crate::home::{Home, Place};
use crate::record::Stamp;

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
    let mounted = apart(home)?;
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

    // From the commit on it only goes forward: what will be refused then must be refused now.
    allowed::check(switch.dir, &ops)?;
    let intent = Intent::new(Work::Journal(ops), ending);
    intent.write(folder)?;
    let Work::Journal(ops) = &intent.work else { unreachable!("it was just made of a list") };
    forward(home, ops)?;
    Ok(intent)
}

/// Where a file cannot be renamed to from the home, outermost first: the mounts inside `DIR`, and all of it (the empty
/// path) when it is a mount that its home is not in, or they lie on two file systems for any other reason.
fn apart(home: &Home) -> Result<Vec<PathBuf>, Error> {
    let mut found = mounts::below(home.dir());
    let folder = home.folder();
    let alone = home.place() == Place::Beside && mounts::is_one(home.dir());
    let installed = match Dir::open(home.dir()) {
        Ok(dir) => Some(dir.stat_self()?.device),
        Err(_) => None,
    };
    let elsewhere = installed.is_some_and(|device| folder.stat_self().is_ok_and(|stat| stat.device != device));
    if alone || elsewhere || mounts::is_one(folder.path()) {
        found.insert(0, PathBuf::new());
    }
    Ok(found)
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
        if *origin == Origin::Damaged {
            maker::sync_unchecked(&[at], to_dir)?;
        } else {
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
    // As it was when it was verified: whoever edited it since has given it another stamp.
    for path in switch.change.entries.iter().filter(|(_, (_, origin))| *origin == Origin::Same).map(|(path, _)| path) {
        let stat = switch.survey.managed.get(path).and_then(Found::stat);
        if let Some(stat) = stat.filter(|stat| stat.kind == EntryKind::File) {
            switch.record.stamps.insert(path.clone(), Stamp::of(&stat));
        }
    }
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
    copy_like(dir, at, stat, slot, at).map(|copied| !copied)
}

/// Copies a file with all its attributes, or makes the same link again; whether there are bytes to sync then. A socket or
/// the like in the place of a file goes to the backup, and is no part of a release.
fn copy_like(dir: &Dir, at: &Path, stat: &Stat, to_dir: &Dir, to: &Path) -> Result<bool, Error> {
    match stat.kind {
        EntryKind::File => {
            disk::copy(dir, at, to_dir, to, stat.mode | 0o600)?;
            disk::inherit(dir, at, &to_dir.open_file(to)?)?;
            maker::ensure_mode(to_dir, to, stat.mode)?;
            Ok(true)
        }
        EntryKind::Symlink => disk::symlink(to_dir, &dir.read_link(at)?, to).map(|()| false),
        _ => Ok(false),
    }
}

/// Does the operations; all that they did is durable when this returns. May be called again after a crash.
pub(super) fn forward(home: &Home, ops: &[Op]) -> Result<(), Error> {
    // Somebody may have deleted it since the commit.
    disk::create_all(home.dir())?;
    let dir = home.open_dir()?;
    let stage = home.folder().open_dir(Path::new(STAGE))?;
    let new = stage.open_dir(Path::new(NEW))?;
    let hands = Hands { dir: &dir, new: &new, backup: Backup { dir: &stage, at: BACKUP.into() } };
    let mut touched = BTreeSet::new();
    for op in ops {
        hands.do_one(op)?;
        touched.insert(op.path().parent().map(Path::to_owned).unwrap_or_default());
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
        self.make_parents(at)?;
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
        self.make_parents(at)?;
        match disk::rename(from_dir, from, self.dir, at) {
            Err(error) if error.io_kind() == Some(ErrorKind::CrossesDevices) => self.copy_over(from_dir, from, at),
            placed => placed,
        }
    }

    /// Puts the file at `from` to `at` on another file system: what was mounted after the commit, and what no table of
    /// mounts shows. It takes the place of what is there in one step, as a renamed one would.
    fn copy_over(&self, from_dir: &Dir, from: &Path, at: &Path) -> Result<(), Error> {
        let Some(stat) = from_dir.stat(from)? else { return Ok(()) };
        let temp = at.with_file_name(format!("{READY}copy"));
        disk::remove_all(self.dir, &temp)?;
        if copy_like(from_dir, from, &stat, self.dir, &temp)? {
            disk::sync_at(self.dir, &temp)?;
            let content = |dir, at| Ok::<_, Error>(survey::hash(dir, at)?.map(|(content, _)| content));
            if content(from_dir, from)? != content(self.dir, &temp)? {
                return Err(Error::Unsound { path: at.to_owned() });
            }
        }
        disk::rename(self.dir, &temp, self.dir, at)?;
        disk::sync_if_dir(self.dir, at.parent().unwrap_or(Path::new("")))?;
        disk::remove_file(from_dir, from)
    }

    /// Makes the directories above `at` that somebody removed since the commit, and moves what took their place out of
    /// the way: otherwise an update that is committed could never end.
    fn make_parents(&self, at: &Path) -> Result<(), Error> {
        let parent = at.parent().unwrap_or(Path::new(""));
        if self.dir.stat(parent)?.is_some_and(|stat| stat.kind == EntryKind::Dir) {
            return Ok(());
        }
        let release = finish::read_new_record(self.backup.dir)?;
        let mut above: Vec<&Path> = parent.ancestors().filter(|at| !at.as_os_str().is_empty()).collect();
        above.reverse();
        for at in above {
            match self.dir.stat(at)? {
                Some(stat) if stat.kind == EntryKind::Dir => continue,
                Some(stat) => self.set_aside(at, &stat)?,
                None => {}
            }
            let wanted = survey::rel(at).and_then(|at| release.as_ref()?.tree.get(&at).cloned());
            let mode = if let Some(Kind::Dir { mode }) = wanted { mode } else { 0o755 };
            disk::create_dir(self.dir, at, mode)?;
            disk::inherit(self.dir, Path::new(""), self.dir.open_dir(at)?.as_file())?;
            maker::ensure_mode(self.dir, at, mode)?;
            disk::sync_if_dir(self.dir, at.parent().unwrap_or(Path::new("")))?;
        }
        Ok(())
    }

    /// Moves what nobody expected there to the backup; from another mount, out of the way beside itself.
    fn set_aside(&self, at: &Path, stat: &Stat) -> Result<(), Error> {
        let Some(place) = self.backup.place(at, stat)? else { return Ok(()) };
        match disk::rename_new(self.dir, at, self.backup.dir, &place) {
            Err(error) if error.io_kind() == Some(ErrorKind::CrossesDevices) => {}
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
    for mount in apart(home)? {
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
