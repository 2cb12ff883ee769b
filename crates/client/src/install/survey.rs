//! What is really in a directory, beside what was installed there.
//!
//! Every managed path is found as it was installed, edited, or missing; everything else is foreign. A file is taken as it
//! was installed when its stamp says so, and hashed when it does not. Nothing is changed here.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use updraft_core::digest::{Digest, Hasher};
use updraft_core::path::{RESERVED_DIR, RelPath};
use updraft_core::tree::{Kind, Tree, file_mode};
use updraft_files::{Dir, EntryKind, Stat};

use super::Error;
use crate::record::{Stamp, Stamps};

/// How often a file that changes while it is hashed is hashed again.
const TRIES: u32 = 3;

/// How a managed path was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// As it was installed.
    Same(Stat),
    /// With the right content and other permission bits.
    Mode(Stat),
    /// As something else that is no directory.
    Edited {
        /// What is there.
        stat: Stat,
        /// Its content, where it had to be hashed and is a file.
        digest: Option<Digest>,
    },
    /// Not at all, or under a directory that was put there.
    Missing,
}

impl Found {
    /// What is there.
    pub(super) fn stat(&self) -> Option<Stat> {
        match self {
            Self::Same(stat) | Self::Mode(stat) | Self::Edited { stat, .. } => Some(*stat),
            Self::Missing => None,
        }
    }
}

/// What is in a directory.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// Every path of the installed tree.
    pub(super) managed: BTreeMap<RelPath, Found>,
    /// Everything else; a directory comes before what it holds.
    pub(super) foreign: BTreeMap<PathBuf, Stat>,
}

/// How far foreign directories are looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// All the way down.
    Whole,
    /// Only where the new tree has a directory of the same name.
    InTheWay,
}

/// What to compare a directory with.
pub(super) struct Expected<'a> {
    /// What was installed.
    pub(super) tree: &'a Tree,
    /// The stamps that are believed.
    pub(super) stamps: &'a Stamps,
    /// What is to be installed: a file of the size that it wants is hashed though it was edited.
    pub(super) new: Option<&'a Tree>,
    /// Whether `.updraft` at the top is ours.
    pub(super) home_inside: bool,
    /// Is told of the bytes of a file that is being hashed, how many were read so far.
    pub(super) hashed: &'a dyn Fn(u64),
}

/// Nobody wants to know.
pub(super) const UNWATCHED: &dyn Fn(u64) = &|_| {};

/// Looks at all of `dir`.
pub(super) fn survey(dir: &Dir, expected: &Expected<'_>, depth: Depth) -> Result<Survey, Error> {
    let mut survey = Survey::default();
    walk(dir, expected, depth, &mut |open, seen| {
        match seen {
            Seen::Managed(path, kind, stat) => {
                let found = found(open, &path, kind, &stat, expected)?;
                survey.managed.insert(path, found);
            }
            Seen::Foreign(path, stat) => {
                survey.foreign.insert(path, stat);
            }
        }
        Ok(())
    })?;
    for (path, _) in expected.tree.iter() {
        survey.managed.entry(path.clone()).or_insert(Found::Missing);
    }
    Ok(survey)
}

/// Everything in `dir` that is not of `tree`, all the way down; a directory comes before what it holds.
pub(super) fn foreign(dir: &Dir, tree: &Tree, home_inside: bool) -> Result<BTreeMap<PathBuf, Stat>, Error> {
    let expected = Expected { tree, stamps: &Stamps::new(), new: None, home_inside, hashed: UNWATCHED };
    let mut foreign = BTreeMap::new();
    walk(dir, &expected, Depth::Whole, &mut |_, seen| {
        if let Seen::Foreign(path, stat) = seen {
            foreign.insert(path, stat);
        }
        Ok(())
    })?;
    Ok(foreign)
}

enum Seen<'a> {
    Managed(RelPath, &'a Kind, Stat),
    Foreign(PathBuf, Stat),
}

/// Shows every entry of `dir`, together with the open directory that holds it.
fn walk<'a>(
    dir: &Dir,
    expected: &Expected<'a>,
    depth: Depth,
    show: &mut dyn FnMut(&Dir, Seen<'a>) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut waiting = vec![PathBuf::new()];
    while let Some(at) = waiting.pop() {
        let open = match dir.open_dir(&at) {
            Err(error) if is_gone(&error) => continue,
            opened => opened?,
        };
        for entry in open.entries()? {
            let path = at.join(&entry.name);
            if expected.home_inside && path == Path::new(RESERVED_DIR) {
                continue;
            }
            let Some(stat) = open.stat(Path::new(&entry.name))? else { continue };
            let is_dir = stat.kind == EntryKind::Dir;
            let known = rel(&path);
            let managed = known.as_ref().and_then(|path| expected.tree.get(path));
            let wanted = known.as_ref().and_then(|path| expected.new?.get(path));
            let managed = managed.filter(|kind| is_dir == matches!(kind, Kind::Dir { .. }));
            let enter = managed.is_some() || depth == Depth::Whole || matches!(wanted, Some(Kind::Dir { .. }));
            if is_dir && enter {
                waiting.push(path.clone());
            }
            let seen = match (known, managed) {
                (Some(known), Some(kind)) => Seen::Managed(known, kind, stat),
                _ => Seen::Foreign(path, stat),
            };
            show(&open, seen)?;
        }
    }
    Ok(())
}

/// How the one managed `path` of `dir` is found.
pub(super) fn look(dir: &Dir, path: &RelPath, kind: &Kind, expected: &Expected<'_>) -> Result<Found, Error> {
    let at = Path::new(path.as_str());
    let Some(stat) = dir.stat(at)? else { return Ok(Found::Missing) };
    if (stat.kind == EntryKind::Dir) != matches!(kind, Kind::Dir { .. }) {
        return Ok(Found::Missing);
    }
    match at.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => found(&dir.open_dir(parent)?, path, kind, &stat, expected),
        None => found(dir, path, kind, &stat, expected),
    }
}

/// The path as one that a tree may have.
pub(super) fn rel(path: &Path) -> Option<RelPath> {
    path.to_str()?.parse().ok()
}

fn found(parent: &Dir, path: &RelPath, kind: &Kind, stat: &Stat, expected: &Expected<'_>) -> Result<Found, Error> {
    let name = Path::new(path.file_name());
    let edited = Found::Edited { stat: *stat, digest: None };
    match (kind, stat.kind) {
        (Kind::Dir { .. }, _) => Ok(Found::Same(*stat)),
        (Kind::Symlink { target }, EntryKind::Symlink) => {
            let same = parent.read_link(name)?.to_str() == Some(target);
            Ok(if same { Found::Same(*stat) } else { edited })
        }
        (Kind::File { mode, size, digest }, EntryKind::File) => {
            let unchanged = *size == stat.size && expected.stamps.get(path) == Some(&Stamp::of(stat));
            let wanted = matches!(expected.new.and_then(|new| new.get(path)),
                Some(Kind::File { size, .. }) if *size == stat.size);
            let content = match unchanged {
                true => Some((*digest, *stat)),
                false if *size == stat.size || wanted => hash_watched(parent, name, expected.hashed)?,
                false => None,
            };
            Ok(match content {
                Some((content, stat)) if content == *digest && same_mode(&stat, *mode) => Found::Same(stat),
                Some((content, stat)) if content == *digest => Found::Mode(stat),
                Some((content, stat)) => Found::Edited { stat, digest: Some(content) },
                None => edited,
            })
        }
        _ => Ok(edited),
    }
}

/// Whether a file or directory has the mode that a release says. The right to write of the group may be the mask of an
/// access list, which a release says nothing about, and a directory may have set-group-id from the one that it lies in.
pub(super) fn same_mode(stat: &Stat, mode: u32) -> bool {
    let inherited = if stat.kind == EntryKind::Dir { 0o2020 } else { 0o020 };
    stat.mode & !inherited == mode
}

/// The digest of a file, and what was said of it while it was read. `None` when it is gone, or never stays the same.
pub(super) fn hash(dir: &Dir, at: &Path) -> Result<Option<(Digest, Stat)>, Error> {
    hash_watched(dir, at, UNWATCHED)
}

fn hash_watched(dir: &Dir, at: &Path, hashed: &dyn Fn(u64)) -> Result<Option<(Digest, Stat)>, Error> {
    for _ in 0..TRIES {
        let Some(before) = dir.stat(at)? else { return Ok(None) };
        let mut file = match dir.open_file(at) {
            Ok(file) => file,
            Err(error) if is_gone(&error) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let digest = hash_all(&mut file, hashed).map_err(|source| Error::Read { path: dir.path().join(at), source })?;
        if dir.stat(at)? == Some(before) {
            return Ok(Some((digest, before)));
        }
    }
    Ok(None)
}

fn hash_all(file: &mut impl Read, hashed: &dyn Fn(u64)) -> std::io::Result<Digest> {
    let (mut hasher, mut read) = (Hasher::new(), 0);
    let mut piece = vec![0; 1 << 18];
    loop {
        match file.read(&mut piece) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(len) => {
                hasher.update(&piece[..len]);
                read += len as u64;
                hashed(read);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The part of `want` that `dir` has already, and its stamps: what adopting takes as it is.
pub(super) fn adopt(dir: &Dir, want: &Tree) -> Result<(Tree, Stamps), Error> {
    let (mut have, mut stamps) = (BTreeMap::new(), Stamps::new());
    for (path, kind) in want.iter() {
        let at = Path::new(path.as_str());
        let Some(stat) = dir.stat(at)? else { continue };
        match (kind, stat.kind) {
            (Kind::Dir { .. }, EntryKind::Dir) => {}
            (Kind::Symlink { target }, EntryKind::Symlink) if dir.read_link(at)?.to_str() == Some(target) => {}
            (Kind::File { size, digest, .. }, EntryKind::File) if *size == stat.size => match hash(dir, at)? {
                Some((content, stat)) if content == *digest => {
                    stamps.insert(path.clone(), Stamp::of(&stat));
                }
                _ => continue,
            },
            _ => continue,
        }
        have.insert(path.clone(), kind.clone());
    }
    Ok((Tree::new(have).expect("parents come first, and a part of a tree is one"), stamps))
}

/// What is there now, as a tree to plan with: edited files as they are, where their content is known.
pub(super) fn as_tree(installed: &Tree, survey: &Survey) -> Tree {
    let mut have = BTreeMap::new();
    for (path, kind) in installed.iter() {
        let in_dir = path.parent().is_none_or(|parent| matches!(have.get(&parent), Some(Kind::Dir { .. })));
        let now = match survey.managed.get(path) {
            Some(Found::Same(_)) => kind.clone(),
            Some(Found::Mode(stat)) => match kind {
                Kind::File { size, digest, .. } => {
                    Kind::File { mode: file_mode(stat.mode), size: *size, digest: *digest }
                }
                other => other.clone(),
            },
            Some(Found::Edited { stat, digest: Some(digest) }) => {
                Kind::File { mode: file_mode(stat.mode), size: stat.size, digest: *digest }
            }
            _ => continue,
        };
        if in_dir {
            have.insert(path.clone(), now);
        }
    }
    Tree::new(have).expect("what is left out of a tree leaves a tree")
}

/// Whether something that was just seen is not there any more.
pub(super) fn is_gone(error: &updraft_files::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}
