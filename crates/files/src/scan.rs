//! Reading a directory as a tree.
//!
//! [`scan`] is the publisher's question: everything in this directory, or all the reasons why it cannot be released. The
//! answer is one state of the directory, not a mixture: files are hashed, then looked at again, until nothing has
//! changed since it was hashed. Directories are read through [`Dir`], so no link is ever followed.

mod few;
mod hash;
mod ignored;
mod walk;

use std::collections::{BTreeMap, HashMap};

use updraft_core::Timestamp;
use updraft_core::digest::Digest;
use updraft_core::path::RelPath;
use updraft_core::tree::{self, Tree};

use crate::dir::{self, Dir};
use crate::index::{Index, Stamp};

pub use few::Few;
pub use ignored::{IGNORE_FILE, Ignore};

use hash::{Job, Outcome};
use walk::Walked;

/// How often files that change are hashed before it is said that they change.
const TRIES_MAX: u32 = 3;

/// How many problems are looked for; nobody repairs more by hand.
const PROBLEMS_MAX: usize = 10_000;

/// Why a directory is not a tree.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory itself cannot be read.
    #[error(transparent)]
    Dir(#[from] dir::Error),
    /// It holds what cannot be in a tree; all reasons at once.
    #[error(
        "'{dir}' cannot be released as it is; rename, remove or repair these, or name them in {IGNORE_FILE}:{problems}"
    )]
    Refused {
        /// The directory.
        dir: String,
        /// What is wrong, path by path.
        problems: Few,
    },
    /// Somebody writes in it while it is read.
    #[error("'{dir}' changes while it is read; try again when nothing writes there:{paths}")]
    Changing {
        /// The directory.
        dir: String,
        /// The files that did not keep still.
        paths: Few,
    },
    /// The list of what to ignore cannot be understood.
    #[error("{IGNORE_FILE}, line {line}: {reason}")]
    Ignore {
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
}

/// What a publisher leaves out of a scan.
#[derive(Debug, Clone)]
pub struct Options {
    /// What is ignored; with it, the file at the top that says so is left out too.
    pub ignore: Option<Ignore>,
    /// Which names directly in the directory are not content.
    pub top_level_excluded: fn(&str) -> bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { ignore: None, top_level_excluded: |_| false }
    }
}

/// A directory as it was at one moment.
#[derive(Debug, Clone, Default)]
pub struct Scan {
    /// What it holds.
    pub tree: Tree,
    /// What need not be hashed next time.
    pub index: Index,
    /// What was left out because it is nothing that a tree can hold (sockets, devices), each with its reason; a few, and
    /// how many more.
    pub skipped: Vec<String>,
}

/// Everything in `dir` but `.git`, the updater's own `.updraft` at the top, and what `options` leaves out. Files that
/// `known` knows unchanged are not read. `progress` is told, on this thread, how many bytes were hashed since it was told
/// last.
///
/// # Errors
/// When `dir` cannot be read; when it holds what cannot exist on every system, what may not be read, or links that leave
/// it; when files change all the time.
pub fn scan(dir: &Dir, options: &Options, known: &Index, progress: &dyn Fn(u64)) -> Result<Scan, Error> {
    scan_hooked(dir, options, known, &Hooks { progress, opened: &|_| () })
}

fn scan_hooked(dir: &Dir, options: &Options, known: &Index, hooks: &Hooks<'_>) -> Result<Scan, Error> {
    settle(dir, options, known, hooks)?.finish(dir)
}

/// Who is told what happens.
struct Hooks<'a> {
    progress: &'a dyn Fn(u64),
    /// Called when a file was opened and before it is read: where tests change files.
    opened: &'a (dyn Fn(&RelPath) + Sync),
}

/// A walk, and the digest of every file in it that has one.
struct Settled {
    walked: Walked,
    digests: HashMap<RelPath, (Stamp, Digest)>,
    /// Files that cannot be read.
    unreadable: BTreeMap<RelPath, dir::Error>,
    /// Files that changed whenever they were hashed.
    changing: Vec<RelPath>,
    /// Before anything was looked at.
    began: Timestamp,
}

/// Walks and hashes in turn until a walk finds nothing that is not hashed yet, or patience ends.
fn settle(dir: &Dir, options: &Options, known: &Index, hooks: &Hooks<'_>) -> Result<Settled, Error> {
    let began = Timestamp::now();
    let mut digests: HashMap<RelPath, (Stamp, Digest)> = HashMap::new();
    let mut unreadable = BTreeMap::new();
    for tries in 0.. {
        let walked = walk_checked(dir, options)?;
        let mut jobs = Vec::new();
        for (path, stamp) in walked.files() {
            let fresh = digests.get(path).is_some_and(|(hashed, _)| *hashed == stamp);
            if fresh || unreadable.contains_key(path) {
                continue;
            }
            match known.get(path, stamp) {
                Some(digest) => drop(digests.insert(path.clone(), (stamp, digest))),
                None => jobs.push(Job { path: path.clone(), stamp }),
            }
        }
        if jobs.is_empty() || tries == TRIES_MAX {
            let changing = jobs.into_iter().map(|job| job.path).collect();
            return Ok(Settled { walked, digests, unreadable, changing, began });
        }
        for (job, outcome) in hash::all(dir, jobs, hooks) {
            match outcome {
                Outcome::Hashed(digest) => drop(digests.insert(job.path, (job.stamp, digest))),
                Outcome::Changed => {}
                Outcome::Unreadable(error) => drop(unreadable.insert(job.path, error)),
            }
        }
    }
    unreachable!("the loop ends at TRIES_MAX")
}

/// What is there, when it could be a tree: bad names are told before a byte is hashed.
fn walk_checked(dir: &Dir, options: &Options) -> Result<Walked, Error> {
    let walked = walk::everything(dir, options)?;
    let mut problems = walked.problems.clone();
    problems.extend(tree::problems(&walked.unhashed(), PROBLEMS_MAX).iter().map(|problem| problem.to_string()));
    refuse(dir, problems)?;
    Ok(walked)
}

impl Settled {
    /// The tree, or why there is none.
    fn finish(self, dir: &Dir) -> Result<Scan, Error> {
        refuse(dir, self.unreadable.values().map(|error| error.to_string()).collect())?;
        if !self.changing.is_empty() {
            let paths = self.changing.iter().map(ToString::to_string).collect();
            return Err(Error::Changing { dir: dir::shown(dir.path()), paths });
        }
        let mut index = Index::new();
        for (path, stamp) in self.walked.files() {
            if let Some((_, digest)) = self.digests.get(path) {
                index.insert(path, stamp, *digest, self.began);
            }
        }
        let digest_of = |path: &RelPath, stamp| {
            self.digests.get(path).filter(|(hashed, _)| *hashed == stamp).map(|(_, digest)| *digest)
        };
        let tree = Tree::new(self.walked.kinds(digest_of)).expect("its problems were looked for before");
        Ok(Scan { tree, index, skipped: self.walked.skipped.into_lines() })
    }
}

fn refuse(dir: &Dir, problems: Few) -> Result<(), Error> {
    match problems.is_empty() {
        true => Ok(()),
        false => Err(Error::Refused { dir: dir::shown(dir.path()), problems }),
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests;
