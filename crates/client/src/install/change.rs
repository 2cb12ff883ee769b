//! What a switch to another release will do, as a value.
//!
//! [`decide`] looks at nothing but its arguments: what was installed, what is to be, what is really there, and what is in
//! stock. So what happens to an edited file or to a foreign one in the way is decided here and nowhere else.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use updraft_core::digest::Digest;
use updraft_core::path::RelPath;
use updraft_core::tree::{Kind, Tree};
use updraft_files::{EntryKind, Stat};

use super::survey::{Found, Survey, rel, same_mode};

/// Where the content of a new entry comes from, if it is not in the installed directory.
#[derive(Debug)]
pub(super) enum Stock {
    /// Verified blobs in `downloads/`.
    Downloads(BTreeSet<Digest>),
    /// The slot: how each file that is needed was found in it.
    Slot(BTreeMap<RelPath, Found>),
}

/// Where one entry of the new tree comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    /// It is there already, as it shall be.
    Same,
    /// It was edited and stays as it is.
    Kept,
    /// Another file of the installed directory has the content, or the same one under another mode.
    Copy(RelPath),
    /// `downloads/`.
    Download,
    /// It needs no content: a directory, a link, an empty file.
    Make,
    /// The slot has it as it was installed.
    Slot,
    /// The slot has it, but edited.
    Damaged,
    /// Nothing has it.
    Missing,
}

/// What a switch will do.
#[derive(Debug, Default)]
pub(super) struct Change {
    /// Every entry of the new tree, and where it comes from; a directory comes before what it holds.
    pub(super) entries: BTreeMap<RelPath, (Kind, Origin)>,
    /// What was installed, is not in the new tree as it was, and is still there: each path with what is there now.
    pub(super) leaving: BTreeMap<RelPath, Stat>,
    /// Of these, what was edited and belongs in the backup.
    pub(super) edited: BTreeSet<RelPath>,
    /// Edited files that stay in place.
    pub(super) kept: BTreeSet<RelPath>,
    /// Foreign entries in the way of the new tree.
    pub(super) displaced: BTreeMap<PathBuf, Stat>,
    /// Files whose content could not be had, in a rollback.
    pub(super) damaged: BTreeSet<RelPath>,
    /// Files whose content was expected and is not there.
    pub(super) lacking: Vec<RelPath>,
}

/// What to do with edited files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Edited {
    /// The release's own file takes their place, and they go to the backup.
    BackUp,
    /// They stay.
    Keep,
}

/// What it takes to get from `old`, found as `survey` says, to `new`.
pub(super) fn decide(old: &Tree, new: &Tree, survey: &Survey, stock: &Stock, edited: Edited) -> Change {
    let mut change = Change::default();
    let verified = verified_contents(old, survey);
    for (path, kind) in new.iter() {
        let found = survey.managed.get(path).copied().unwrap_or(Found::Missing);
        let origin = match (old.get(path), found) {
            (Some(was), Found::Same(_)) if was == kind => Origin::Same,
            (_, Found::Edited { stat, digest: Some(digest) }) if is_now(kind, &stat, digest) => Origin::Same,
            (_, Found::Edited { .. }) if edited == Edited::Keep && !matches!(kind, Kind::Dir { .. }) => Origin::Kept,
            (_, found) => content(path, kind, found, &verified, stock, &mut change),
        };
        if origin == Origin::Kept && !change.damaged.contains(path) {
            change.kept.insert(path.clone());
        }
        change.entries.insert(path.clone(), (kind.clone(), origin));
    }
    for (path, kind) in old.iter() {
        leave(path, kind, new, survey, edited, &mut change);
    }
    for (path, stat) in &survey.foreign {
        if in_the_way(path, stat, new) {
            change.displaced.insert(path.clone(), *stat);
        }
    }
    change
}

/// Where each content is in the installed directory that is known to be what it was.
fn verified_contents<'a>(old: &'a Tree, survey: &'a Survey) -> HashMap<Digest, &'a RelPath> {
    let mut verified = HashMap::new();
    for (path, found) in &survey.managed {
        let digest = match (found, old.get(path)) {
            (Found::Same(_) | Found::Mode(_), Some(Kind::File { digest, .. })) => *digest,
            (Found::Edited { digest: Some(digest), .. }, _) => *digest,
            _ => continue,
        };
        verified.entry(digest).or_insert(path);
    }
    verified
}

/// Whether what was edited is by chance what is wanted.
fn is_now(kind: &Kind, stat: &Stat, content: Digest) -> bool {
    matches!(kind, Kind::File { mode, size, digest } if same_mode(stat, *mode) && *size == stat.size && *digest == content)
}

fn content(
    path: &RelPath,
    kind: &Kind,
    found: Found,
    verified: &HashMap<Digest, &RelPath>,
    stock: &Stock,
    change: &mut Change,
) -> Origin {
    let Kind::File { size, digest, .. } = kind else { return Origin::Make };
    let copy = || verified.get(digest).map(|from| Origin::Copy((*from).clone()));
    match stock {
        _ if *size == 0 => Origin::Make,
        Stock::Downloads(blobs) if blobs.contains(digest) => Origin::Download,
        Stock::Downloads(_) => copy().unwrap_or_else(|| {
            change.lacking.push(path.clone());
            Origin::Missing
        }),
        Stock::Slot(slot) => match slot.get(path) {
            Some(Found::Same(_) | Found::Mode(_)) => Origin::Slot,
            in_slot => copy().unwrap_or_else(|| {
                change.damaged.insert(path.clone());
                match (found, in_slot) {
                    // Better the file that somebody edited in place than none at all.
                    (Found::Edited { .. }, _) => Origin::Kept,
                    (_, Some(Found::Edited { stat, .. }))
                        if matches!(stat.kind, EntryKind::File | EntryKind::Symlink) =>
                    {
                        Origin::Damaged
                    }
                    _ => Origin::Missing,
                }
            }),
        },
    }
}

/// What becomes of an installed entry that is there and does not stay as it is.
fn leave(path: &RelPath, kind: &Kind, new: &Tree, survey: &Survey, edited: Edited, change: &mut Change) {
    let Some(found) = survey.managed.get(path) else { return };
    let Some(stat) = found.stat() else { return };
    let is_edited = matches!(found, Found::Edited { .. });
    match change.entries.get(path) {
        Some((_, Origin::Same | Origin::Kept)) => return,
        Some((Kind::Dir { .. }, _)) if matches!(kind, Kind::Dir { .. }) => return,
        None if is_edited && edited == Edited::Keep && !blocked(Path::new(path.as_str()), new) => {
            change.kept.insert(path.clone());
            return;
        }
        _ => {}
    }
    if is_edited {
        change.edited.insert(path.clone());
    }
    change.leaving.insert(path.clone(), stat);
}

/// Whether a foreign entry at `path` cannot be beside the new tree.
pub(super) fn in_the_way(path: &Path, stat: &Stat, new: &Tree) -> bool {
    let at_it = rel(path).and_then(|path| new.get(&path).cloned());
    let both_dirs = stat.kind == EntryKind::Dir && matches!(at_it, Some(Kind::Dir { .. }));
    (at_it.is_some() && !both_dirs) || blocked(path, new)
}

/// Whether the new tree has something that is no directory above `path`.
fn blocked(path: &Path, new: &Tree) -> bool {
    let above = path.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty());
    above.filter_map(rel).any(|above| matches!(new.get(&above), Some(Kind::File { .. } | Kind::Symlink { .. })))
}
