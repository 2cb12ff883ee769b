//! Foreign entries: what is in an installed directory and was never installed by us.
//!
//! They are carried from the old directory to the new one by hard links, so both show the same file, and a program that
//! writes to it through either writes to both. What happens in the old directory after that is carried later: [`bring`]
//! is run until it finds nothing, right after the exchange, at every next run, and before an old directory is removed.
//!
//! It remembers what it brought by path and inode. So a file that was deleted in the new directory does not come back,
//! and one that was replaced on one side only is told from one that was replaced on both. Nothing foreign is ever
//! deleted: what has no place in the new directory is linked into the backup.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use updraft_core::tree::Tree;
use updraft_files::{Dir, EntryKind, Stat, read_bounded};

use super::change::in_the_way;
use super::{Error, disk, maker, survey};

const CARRIED: &str = "foreign";
const MAGIC: &[u8] = b"updraft foreign 1\n";
const CARRIED_LEN_MAX: u64 = 1 << 30;
/// A program that writes new files all the time must not keep an update from ending: the next run goes on.
const PASSES_MAX: u32 = 16;

/// What was brought from an old directory: path, and inode (0 for a directory, which is made anew).
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Carried(BTreeMap<PathBuf, u64>);

impl Carried {
    /// What was written beside the directory in `slot`; `None` when that was not left by an exchange.
    pub(super) fn read(slot: &Dir) -> Result<Option<Self>, Error> {
        let Some(bytes) = read_bounded(slot, Path::new(CARRIED), CARRIED_LEN_MAX)? else { return Ok(None) };
        // A damaged list is as good as none: what was deleted since comes back, and nothing is lost.
        Ok(Some(decode(&bytes).unwrap_or_default()))
    }

    pub(super) fn write(&self, slot: &Dir) -> Result<(), Error> {
        disk::write_atomic(slot, Path::new(CARRIED), &encode(self), 0o600)
    }
}

/// Takes from `slot` what says that an exchange left it.
pub(super) fn forget(slot: &Dir) -> Result<(), Error> {
    if slot.stat(Path::new(CARRIED))?.is_some() {
        disk::remove_file(slot, Path::new(CARRIED))?;
        disk::sync(slot)?;
    }
    Ok(())
}

/// `MAGIC`, then for each entry: inode (8 bytes, little-endian), length of the path (4 bytes), path.
fn encode(carried: &Carried) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    for (path, inode) in &carried.0 {
        let path = path.as_os_str().as_encoded_bytes();
        bytes.extend_from_slice(&inode.to_le_bytes());
        bytes.extend_from_slice(&u32::try_from(path.len()).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend_from_slice(path);
    }
    bytes
}

fn decode(bytes: &[u8]) -> Option<Carried> {
    let mut rest = bytes.strip_prefix(MAGIC)?;
    let mut carried = Carried::default();
    while !rest.is_empty() {
        let (inode, tail) = rest.split_first_chunk()?;
        let (len, tail) = tail.split_first_chunk()?;
        let (path, tail) = tail.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        carried.0.insert(os_path(path)?, u64::from_le_bytes(*inode));
        rest = tail;
    }
    Some(carried)
}

#[cfg(unix)]
fn os_path(bytes: &[u8]) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStrExt;
    Some(std::ffi::OsStr::from_bytes(bytes).into())
}

#[cfg(not(unix))]
fn os_path(bytes: &[u8]) -> Option<PathBuf> {
    std::str::from_utf8(bytes).ok().map(PathBuf::from)
}

/// Two directories, and what is known of them.
pub(super) struct Pair<'a> {
    /// Where foreign entries come from.
    pub(super) old: &'a Dir,
    /// Where they belong.
    pub(super) new: &'a Dir,
    /// What is managed in the old one.
    pub(super) old_tree: &'a Tree,
    /// What is managed in the new one.
    pub(super) new_tree: &'a Tree,
    /// Where what has no place in the new one is kept; made when it is needed.
    pub(super) backup: Backup<'a>,
    /// A folder of ours on the same file system.
    pub(super) scratch: &'a Dir,
    /// Whether `.updraft` at the top of the old one is ours.
    pub(super) home_inside: bool,
    /// Whether the new directory is in use already.
    pub(super) live: bool,
}

/// A folder in the home where people's files are kept.
pub(super) struct Backup<'a> {
    /// Where it lies.
    pub(super) dir: &'a Dir,
    /// Its path there.
    pub(super) at: PathBuf,
}

impl Backup<'_> {
    /// A free place for `path` in it, whose directories exist. `None` when this very file is there already.
    pub(super) fn place(&self, path: &Path, stat: &Stat) -> Result<Option<PathBuf>, Error> {
        let mut at = self.at.join(path);
        for number in 2.. {
            match self.dir.stat(&at)? {
                None => break,
                Some(there) if there.inode == stat.inode => return Ok(None),
                Some(_) => {
                    let mut name = path.file_name().unwrap_or_default().to_owned();
                    name.push(format!("~{number}"));
                    at = self.at.join(path).with_file_name(name);
                }
            }
        }
        disk::ensure_parents(self.dir, &at)?;
        Ok(Some(at))
    }

    /// Keeps what is at `path` of `from`, by one more name.
    pub(super) fn keep(&self, from: &Dir, path: &Path, stat: &Stat) -> Result<(), Error> {
        match self.place(path, stat)? {
            Some(at) => disk::link(from, path, self.dir, &at),
            None => Ok(()),
        }
    }

    /// As [`Self::keep`], after the swap, when there is no other way to go: by a copy when a second name is refused.
    pub(super) fn keep_somehow(&self, from: &Dir, path: &Path, stat: &Stat) -> Result<(), Error> {
        let Some(at) = self.place(path, stat)? else { return Ok(()) };
        match disk::link(from, path, self.dir, &at) {
            Err(error) if error.is_unsupported() && stat.kind == EntryKind::File => {
                disk::copy(from, path, self.dir, &at, stat.mode | 0o600)?;
                disk::sync_at(self.dir, &at)
            }
            kept => kept,
        }
    }

    /// Makes it durable.
    pub(super) fn sync(&self) -> Result<(), Error> {
        if self.dir.stat(&self.at)?.is_none() {
            return Ok(());
        }
        let mut waiting = vec![self.at.clone()];
        while let Some(at) = waiting.pop() {
            let open = self.dir.open_dir(&at)?;
            disk::sync(&open)?;
            let dirs = open.entries()?.into_iter().filter(|entry| entry.kind == EntryKind::Dir);
            waiting.extend(dirs.map(|entry| at.join(entry.name)));
        }
        Ok(())
    }
}

/// What one or more passes did.
#[derive(Debug, Default)]
pub(super) struct Brought {
    /// How many entries changed something.
    pub(super) changes: u64,
    /// What went to the backup.
    pub(super) displaced: BTreeSet<PathBuf>,
    /// Directories of the new side that have new names in them.
    touched: BTreeSet<PathBuf>,
    /// Directories that were made, and the modes that they get when they are filled.
    made: BTreeMap<PathBuf, u32>,
}

/// Brings over what is foreign until a pass finds nothing new; durable when this returns.
pub(super) fn bring(pair: &Pair<'_>, carried: &mut Carried) -> Result<Brought, Error> {
    let mut brought = Brought::default();
    for _ in 0..PASSES_MAX {
        let before = brought.changes;
        pass(pair, carried, &mut brought)?;
        if brought.changes == before {
            break;
        }
    }
    for (at, mode) in brought.made.iter().rev() {
        maker::ensure_mode(pair.new, at, *mode)?;
    }
    brought.touched.iter().try_for_each(|at| disk::sync_if_dir(pair.new, at))?;
    if !brought.displaced.is_empty() {
        pair.backup.sync()?;
    }
    Ok(brought)
}

fn pass(pair: &Pair<'_>, carried: &mut Carried, brought: &mut Brought) -> Result<(), Error> {
    let foreign = survey::foreign(pair.old, pair.old_tree, pair.home_inside)?;
    for (path, stat) in &foreign {
        let mark = if stat.kind == EntryKind::Dir { 0 } else { stat.inode };
        if carried.0.get(path) == Some(&mark) {
            continue;
        }
        match bring_one(pair, carried, path, stat, brought) {
            // Whoever made it took it away again.
            Err(error) if error.is_gone() && pair.old.stat(path)?.is_none() => continue,
            done => done?,
        }
        carried.0.insert(path.clone(), mark);
    }
    if !pair.live {
        // What has vanished from the old directory must not appear in the new one.
        let vanished: Vec<PathBuf> = carried.0.keys().filter(|path| !foreign.contains_key(*path)).cloned().collect();
        for path in vanished.iter().rev() {
            if !in_the_way_of(path, pair.new_tree) {
                disk::remove_all(pair.new, path)?;
            }
            carried.0.remove(path);
            brought.changes += 1;
        }
    }
    Ok(())
}

fn in_the_way_of(path: &Path, tree: &Tree) -> bool {
    survey::rel(path).is_some_and(|path| tree.get(&path).is_some())
}

fn bring_one(pair: &Pair<'_>, carried: &Carried, path: &Path, stat: &Stat, brought: &mut Brought) -> Result<(), Error> {
    let displaced = in_the_way(path, stat, pair.new_tree);
    if stat.kind == EntryKind::Dir {
        if !displaced && pair.new.stat(path)?.is_none() && bring_parents(pair, path, brought)? {
            bring_dir(pair, path, stat, brought)?;
        }
        return Ok(());
    }
    let there = pair.new.stat(path)?;
    match there {
        _ if displaced => keep(pair, path, stat, brought),
        None => {
            if !bring_parents(pair, path, brought)? {
                return keep(pair, path, stat, brought);
            }
            touch(path, brought);
            match disk::link(pair.old, path, pair.new, path) {
                // A file without room for one more name, and the old directory is going away: its only name moves.
                Err(error) if pair.live && error.is_unsupported() => disk::rename_new(pair.old, path, pair.new, path),
                linked => linked,
            }
        }
        Some(there) if there.inode == stat.inode => Ok(()),
        // Replaced in the old directory, and still what was brought in the new one.
        Some(there) if carried.0.get(path) == Some(&there.inode) && there.kind != EntryKind::Dir => {
            touch(path, brought);
            if pair.live {
                // By its inode it is what was carried, but it may have been edited in place since: nothing else has that.
                pair.backup.keep_somehow(pair.new, path, &there)?;
                brought.displaced.insert(path.to_owned());
            }
            let temp = Path::new("carrying");
            disk::remove_all(pair.scratch, temp)?;
            disk::link(pair.old, path, pair.scratch, temp)?;
            disk::rename(pair.scratch, temp, pair.new, path)
        }
        // Replaced or made on both sides: the new directory is the one that counts.
        Some(_) => keep(pair, path, stat, brought),
    }
}

fn touch(path: &Path, brought: &mut Brought) {
    brought.changes += 1;
    brought.touched.insert(path.parent().map(Path::to_owned).unwrap_or_default());
}

fn keep(pair: &Pair<'_>, path: &Path, stat: &Stat, brought: &mut Brought) -> Result<(), Error> {
    brought.changes += 1;
    pair.backup.keep(pair.old, path, stat)?;
    brought.displaced.insert(path.to_owned());
    Ok(())
}

/// Makes the directories above `path` as they are in the old directory. `false` when something else is in the way.
fn bring_parents(pair: &Pair<'_>, path: &Path, brought: &mut Brought) -> Result<bool, Error> {
    let mut above: Vec<&Path> = path.ancestors().skip(1).filter(|at| !at.as_os_str().is_empty()).collect();
    above.reverse();
    for at in above {
        match pair.new.stat(at)? {
            Some(there) if there.kind == EntryKind::Dir => {}
            Some(_) => return Ok(false),
            None => {
                let Some(stat) = pair.old.stat(at)? else { return Ok(true) };
                bring_dir(pair, at, &stat, brought)?;
            }
        }
    }
    Ok(true)
}

fn bring_dir(pair: &Pair<'_>, at: &Path, stat: &Stat, brought: &mut Brought) -> Result<(), Error> {
    touch(at, brought);
    brought.touched.insert(at.to_owned());
    brought.made.insert(at.to_owned(), stat.mode);
    // Ours to fill first, even when its owner may not write in it.
    disk::create_dir(pair.new, at, stat.mode | 0o700)?;
    let made = pair.new.open_dir(at)?;
    disk::inherit(pair.old, at, made.as_file())?;
    let is = made.stat_self()?;
    match (is.uid, is.gid) == (stat.uid, stat.gid) {
        // After the swap it is better to have it with another owner than not at all.
        false if !pair.live => Err(Error::Denied {
            path: pair.old.path().join(at),
            reason: "is another user's, and this process may not make one like it: run the update as root",
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_survives_and_its_damage_is_noticed() {
        let carried = Carried([("a/b".into(), 7), ("a".into(), 0)].into());
        let bytes = encode(&carried);
        assert_eq!(decode(&bytes), Some(carried));
        assert_eq!(decode(&bytes[..bytes.len() - 1]), None);
    }
}
