//! Looking at a directory without reading a file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use updraft_core::digest::Digest;
use updraft_core::limits::TREE_ENTRIES_MAX;
use updraft_core::path::{RESERVED_DIR, RelPath};
use updraft_core::tree::{Kind, dir_mode, file_mode};

use super::{Error, Few, IGNORE_FILE, Options};
use crate::dir::{self, Dir, EntryKind, Stat};
use crate::index::Stamp;

/// What lies at a path, without its content.
#[derive(Debug, Clone)]
pub(super) enum Seen {
    File { mode: u32, stamp: Stamp },
    Dir { mode: u32 },
    Symlink { target: String },
}

/// What a walk found.
#[derive(Debug, Default)]
pub(super) struct Walked {
    entries: BTreeMap<RelPath, Seen>,
    /// Why this cannot be a tree.
    pub(super) problems: Few,
    /// What was left out, and why.
    pub(super) skipped: Few,
}

impl Walked {
    /// Its regular files.
    pub(super) fn files(&self) -> impl Iterator<Item = (&RelPath, Stamp)> {
        self.entries.iter().filter_map(|(path, seen)| match seen {
            Seen::File { stamp, .. } => Some((path, *stamp)),
            _ => None,
        })
    }

    /// Its entries with the digests that `digest_of` knows; a file without one is left out.
    pub(super) fn kinds(&self, digest_of: impl Fn(&RelPath, Stamp) -> Option<Digest>) -> BTreeMap<RelPath, Kind> {
        let kind = |path: &RelPath, seen: &Seen| {
            Some(match seen {
                Seen::Dir { mode } => Kind::Dir { mode: *mode },
                Seen::Symlink { target } => Kind::Symlink { target: target.clone() },
                Seen::File { mode, stamp } => {
                    Kind::File { mode: *mode, size: stamp.size, digest: digest_of(path, *stamp)? }
                }
            })
        };
        self.entries.iter().filter_map(|(path, seen)| Some((path.clone(), kind(path, seen)?))).collect()
    }

    /// Its entries, as if every file had the same content: for the rules that ask for no content.
    pub(super) fn unhashed(&self) -> BTreeMap<RelPath, Kind> {
        self.kinds(|_, _| Some(Digest::from_bytes([0; 32])))
    }
}

/// Why an entry is not one of a tree.
enum Unfit {
    /// It went away meanwhile.
    Gone,
    /// It is nothing that a tree holds.
    Skipped(String),
    /// It could be, but for this.
    Problem(String),
}

/// What `stat` says about `path`, in the words of a tree.
fn see(path: &RelPath, stat: &Stat, target: impl FnOnce() -> Result<PathBuf, dir::Error>) -> Result<Seen, Unfit> {
    match stat.kind {
        EntryKind::File => Ok(Seen::File { mode: file_mode(stat.mode), stamp: Stamp::from(stat) }),
        EntryKind::Dir => Ok(Seen::Dir { mode: dir_mode(stat.mode) }),
        EntryKind::Symlink => match target().map(|target| target.into_os_string().into_string()) {
            Ok(Ok(target)) => Ok(Seen::Symlink { target }),
            Ok(Err(_)) => Err(Unfit::Problem(format!("symlink '{path}': its target is not UTF-8"))),
            Err(error) if error.is_absent() => Err(Unfit::Gone),
            Err(error) => Err(Unfit::Problem(error.to_string())),
        },
        other => Err(Unfit::Skipped(format!("'{path}' is {}", other.as_str()))),
    }
}

/// Everything in `dir` that `options` does not leave out.
pub(super) fn everything(dir: &Dir, options: &Options) -> Result<Walked, Error> {
    let mut walked = Walked::default();
    let mut waiting = read_dir(dir, Path::new(""), options, &mut walked)?;
    while let Some(path) = waiting.pop() {
        if walked.entries.len() > TREE_ENTRIES_MAX {
            break; // `tree::problems` will say so
        }
        match read_dir(dir, Path::new(path.as_str()), options, &mut walked) {
            Ok(inner) => waiting.extend(inner),
            Err(error) if error.is_absent() => {}
            Err(error) => walked.problems.push(error.to_string()),
        }
    }
    Ok(walked)
}

/// Takes in what the directory at `at` holds; returns the directories in it, last first.
fn read_dir(dir: &Dir, at: &Path, options: &Options, walked: &mut Walked) -> Result<Vec<RelPath>, dir::Error> {
    let open = dir.open_dir(at)?;
    let mut inner = Vec::new();
    for entry in open.entries()? {
        let (place, name) = (at.join(&entry.name), Path::new(&entry.name));
        if left_out(&place, entry.kind == EntryKind::Dir, options, &mut walked.skipped) {
            continue;
        }
        let path = match rel_path(&place) {
            Ok(path) => path,
            Err(problem) => {
                walked.problems.push(problem);
                continue;
            }
        };
        let Some(stat) = open.stat(name)? else { continue };
        match see(&path, &stat, || open.read_link(name)) {
            Ok(seen) => {
                if matches!(seen, Seen::Dir { .. }) {
                    inner.push(path.clone());
                }
                walked.entries.insert(path, seen);
            }
            Err(Unfit::Gone) => {}
            Err(Unfit::Skipped(reason)) => walked.skipped.push(reason),
            Err(Unfit::Problem(reason)) => walked.problems.push(reason),
        }
    }
    inner.reverse();
    Ok(inner)
}

/// Whether `place` is no content of a release.
fn left_out(place: &Path, is_dir: bool, options: &Options, skipped: &mut Few) -> bool {
    if place.file_name().is_some_and(|name| name == ".git") {
        return true;
    }
    if place == Path::new(RESERVED_DIR) {
        skipped.push(format!("'{RESERVED_DIR}' is the updater's own folder"));
        return true;
    }
    let at_top = place.components().count() == 1;
    if at_top && place.to_str().is_some_and(options.top_level_excluded) {
        return true;
    }
    match &options.ignore {
        Some(ignore) => ignore.matches(place, is_dir) || place == Path::new(IGNORE_FILE),
        None => false,
    }
}

fn rel_path(place: &Path) -> Result<RelPath, String> {
    let text = place.to_str().ok_or_else(|| format!("path '{}': its name is not UTF-8", dir::shown(place)))?;
    text.parse().map_err(|error: updraft_core::path::Error| dir::shown(Path::new(&error.to_string())))
}
