//! The first way: the whole new directory is built in `stage/tree` and swapped with `DIR` in one system call.
//!
//! Which of the two is installed after a crash is told by their inodes, which the intent names. Before the swap nothing
//! in `DIR` has changed; what is foreign is in both.

use std::path::{Path, PathBuf};

use updraft_core::path::RelPath;
use updraft_core::tree::{Kind, Tree};
use updraft_files::{Dir, EntryKind};

use super::change::{Change, Origin};
use super::foreign::{self, Backup, Carried, Pair};
use super::intent::{Ending, Intent, Work};
use super::maker::{self, Maker, Placed, Shared};
use super::survey::Found;
use super::switch::Switch;
use super::{Error, disk, finish, late};
use crate::home::Home;
use crate::record::{Stamp, Stamps};

pub(super) const STAGE: &str = "stage";
pub(super) const TREE: &str = "tree";
pub(super) const BACKUP: &str = "backup";

/// Why the exchange did not happen.
pub(super) enum Stop {
    /// The file system refused to give some file a second name: the journal can do without.
    Link(Error),
    /// The file system refused the exchange itself, and will again.
    Exchange(Error),
    /// Something failed.
    Failed(Error),
}

impl<E: Into<Error>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// Does the switch. When it stops before the intent is written, nothing has happened but in `stage/`.
pub(super) fn run(home: &Home, switch: &mut Switch<'_>, mut ending: Ending) -> Result<Intent, Stop> {
    let folder = home.folder();
    disk::create_dir(folder, Path::new(STAGE), 0o700)?;
    let stage = folder.open_dir(Path::new(STAGE))?;
    let (tree, dirs) = build(switch, &stage).map_err(linking)?;
    let mut carried = Carried::default();
    {
        let backup = Backup { dir: &stage, at: BACKUP.into() };
        for path in &switch.change.edited {
            let at = Path::new(path.as_str());
            backup.keep(switch.dir, at, &switch.change.leaving[path]).map_err(linking)?;
        }
        backup.sync()?;
        let old_tree = without(&switch.old_tree, &switch.change);
        let pair = Pair {
            old: switch.dir,
            new: &tree,
            old_tree: &old_tree,
            new_tree: &switch.record.tree,
            backup,
            scratch: &stage,
            home_inside: false,
            live: false,
        };
        let brought = foreign::bring(&pair, &mut carried).map_err(linking)?;
        ending.displaced = brought.displaced.iter().map(|path| path.display().to_string()).collect();
    }
    // Innermost last is as good as first: nothing is visible yet.
    for at in dirs {
        disk::sync_at(&tree, &at)?;
    }
    carried.write(&stage)?;
    late::write_seen(&stage, &switch.old_tree, &switch.survey)?;
    finish::write_new_record(&stage, switch.record)?;
    disk::sync(&stage)?;
    disk::sync(folder)?;

    let work = Work::Exchange { old: switch.dir.stat_self()?.inode, new: tree.stat_self()?.inode };
    let intent = Intent::new(work, ending);
    intent.write(folder)?;
    swap(home, &stage).map_err(exchanging)?;
    sync_swap(home)?;
    Ok(intent)
}

/// Swaps `DIR` with `stage/tree`. Not durable yet.
fn swap(home: &Home, stage: &Dir) -> Result<(), Error> {
    let name = home.dir().file_name().expect("a home's directory has a name");
    disk::exchange(&parent(home)?, Path::new(name), stage, Path::new(TREE))
}

fn parent(home: &Home) -> Result<Dir, Error> {
    Ok(Dir::open(home.dir().parent().expect("a home's directory has a parent"))?)
}

/// Makes the swap durable: nothing of the old release may go before that.
pub(super) fn sync_swap(home: &Home) -> Result<(), Error> {
    disk::sync(&parent(home)?)?;
    match home.folder().open_dir(Path::new(STAGE)) {
        Ok(stage) => disk::sync(&stage),
        Err(_) => Ok(()), // it is the slot already
    }
}

/// Whether the new directory is installed, after whatever happened.
pub(super) fn is_swapped(home: &Home, old: u64, new: u64) -> Result<bool, Error> {
    let installed = match Dir::open(home.dir()) {
        Ok(dir) => Some(dir.stat_self()?.inode),
        Err(_) => None,
    };
    let staged = home.folder().stat(&Path::new(STAGE).join(TREE))?.map(|stat| stat.inode);
    // Either sign is enough: somebody may have put another directory in the place of one of them.
    Ok(installed == Some(new) || (installed != Some(old) && staged == Some(old)))
}

/// Builds the new directory; returns it, and every directory in it, outermost first.
fn build(switch: &mut Switch<'_>, stage: &Dir) -> Result<(Dir, Vec<PathBuf>), Error> {
    let root = switch.dir.stat_self()?;
    disk::create_dir(stage, Path::new(TREE), root.mode | 0o700)?;
    let tree = stage.open_dir(Path::new(TREE))?;
    disk::inherit(switch.dir, Path::new(""), tree.as_file())?;
    maker::ensure_mode(stage, Path::new(TREE), root.mode | 0o700)?;

    let mut maker = Maker::new(switch.dir, switch.downloads.try_clone()?, switch.slot_dir()?);
    let (mut dirs, mut written) = (vec![PathBuf::new()], Vec::new());
    let (mut made, mut unchecked, mut stamps) = (Vec::new(), Vec::new(), Stamps::new());
    for (path, (kind, origin)) in &switch.change.entries {
        let at = PathBuf::from(path.as_str());
        match (kind, origin) {
            (Kind::Dir { mode }, _) => {
                maker.make_dir(path, *mode, &tree, &at)?;
                dirs.push(at);
            }
            (_, Origin::Missing) => {}
            (_, Origin::Same | Origin::Kept) => {
                let stat = switch.survey.managed.get(path).and_then(Found::stat).expect("what is kept was found");
                match maker.share(path, &stat, &tree, &at) {
                    Ok(Shared::Bytes) => made.push(Placed { path: path.clone(), at }),
                    Ok(Shared::Unsure) => unchecked.push(at),
                    // One more name changes the ctime only; when all is done the stamps are taken once more.
                    Ok(Shared::Name) if stat.kind == EntryKind::File && *origin == Origin::Same => {
                        stamps.insert(path.clone(), Stamp::of(&stat));
                    }
                    Ok(Shared::Name) => {}
                    Err(error) if error.is_gone() => return Err(Error::Lacking { first: path.clone(), count: 1 }),
                    Err(error) => return Err(error),
                }
            }
            _ => {
                maker.put(path, kind, origin, &tree, &at)?;
                match origin {
                    Origin::Damaged => unchecked.push(at),
                    _ => written.push((Placed { path: path.clone(), at }, kind.clone())),
                }
            }
        }
    }
    made.iter().try_for_each(|placed| disk::sync_at(&tree, &placed.at))?;
    maker::sync_unchecked(&unchecked, &tree)?;
    maker::sync_and_check(&written, &tree)?;
    let edited = |path: &RelPath| switch.change.entries.get(path).is_some_and(|(_, origin)| *origin == Origin::Kept);
    let good = made.into_iter().filter(|placed| !edited(&placed.path));
    stamps.extend(maker::stamps(good.chain(written.into_iter().map(|(placed, _)| placed)), &tree)?);
    switch.record.stamps = stamps;
    Ok((tree, dirs))
}

/// The installed tree without the edited files that stay: those go along as foreign ones do.
fn without(tree: &Tree, change: &Change) -> Tree {
    let stays = |path: &RelPath| change.kept.contains(path) && !change.entries.contains_key(path);
    let entries = tree.iter().filter(|(path, _)| !stays(path)).map(|(path, kind)| (path.clone(), kind.clone()));
    Tree::new(entries.collect()).expect("a tree without some files is a tree")
}

fn linking(error: Error) -> Stop {
    if error.is_unsupported() { Stop::Link(error) } else { Stop::Failed(error) }
}

fn exchanging(error: Error) -> Stop {
    if error.is_unsupported() { Stop::Exchange(error) } else { Stop::Failed(error) }
}
