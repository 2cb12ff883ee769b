//! Everything that a release lacks here, fetched and verified.
//!
//! What ends up in `downloads/` under a digest has that digest: it was hashed after the last byte was decoded, and synced
//! before it got the name. What broke off stays as a part and is gone on with, also by the next process. Hints about how
//! a blob is stored are not believed: a wrong one costs a request. What a patch makes (`patch`) ends up the same way.

mod blob;
mod meter;
pub(crate) mod patch;
mod space;

use std::collections::HashSet;
use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use updraft_core::digest::{Digest, Hasher};
use updraft_core::layout;
use updraft_core::limits::TREE_LEN_MAX;
use updraft_core::plan::{Fetch, Origin, Plan};
use updraft_core::release::TreeRef;
use updraft_core::tree::Tree;
use updraft_core::tree::stored::{self, Hint, unpack};
use updraft_files::whole::{read_bounded, write_atomic};
use updraft_files::{Dir, EntryKind};

use crate::belief::Place;
use crate::fetch;
use crate::offer::Offer;
use crate::progress::Progress;

use meter::Meter;

/// How often a body that is not what it should be is fetched from its start before the source is called broken.
const BODY_TRIES: u32 = 3;
/// What a body that is not the signed one may be.
const FORGED: &str = " (a forgery looks like this, and so does damage on the way)";
/// What `downloads/` holds is read by nobody but the updater.
const MODE: u32 = 0o600;
/// Room that is left for what else is written meanwhile: records, metadata, the journal.
const SPACE_SLACK: u64 = 1 << 20;
/// The packed tree that was looked at last.
const TREE: &str = "tree";

/// Why a release could not be downloaded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The source could not answer.
    #[error(transparent)]
    Fetch(#[from] fetch::Error),
    /// The list of files is not the one that was signed.
    #[error("tree {digest}: {source}; tried {BODY_TRIES} times{FORGED}")]
    Tree {
        /// The signed digest.
        digest: Digest,
        /// What is wrong with what came.
        source: stored::Error,
    },
    /// A blob is not what was signed.
    #[error("blob {digest}: {reason}; tried {BODY_TRIES} times{FORGED}")]
    Blob {
        /// The signed digest.
        digest: Digest,
        /// What is wrong with what came.
        reason: String,
    },
    /// The source lacks something that the release needs.
    #[error("{at} lacks {what}, which the release needs: it is a copy that is not whole, or the release was withdrawn")]
    Missing {
        /// The source.
        at: String,
        /// What it lacks.
        what: String,
    },
    /// It would not fit.
    #[error("{dir}: {needed} bytes are needed and {available} are free: make room and try again; nothing was changed")]
    NoSpace {
        /// Where.
        dir: String,
        /// Bytes that must be free.
        needed: u64,
        /// Bytes that are.
        available: u64,
    },
    /// The file system said no.
    #[error(transparent)]
    Files(#[from] updraft_files::Error),
}

/// The tree document, the hint behind it, and both as they travelled.
pub(crate) struct FetchedTree {
    pub(crate) tree: Tree,
    pub(crate) hint: Hint,
    pub(crate) packed: Vec<u8>,
}

/// The tree of a release if an earlier download left it here; asks nobody.
pub(crate) fn kept_tree(signed: &TreeRef, downloads: &Dir) -> Option<FetchedTree> {
    let packed = read_bounded(downloads, Path::new(TREE), packed_len_max(signed)).ok().flatten()?;
    let (tree, hint) = unpack(&packed, signed.digest, signed.length).ok()?;
    Some(FetchedTree { tree, hint, packed })
}

/// The tree of a release, as its document names it.
pub(crate) fn tree(place: Place<'_>, signed: &TreeRef, downloads: &Dir) -> Result<FetchedTree, Error> {
    if let Some(kept) = kept_tree(signed, downloads) {
        return Ok(kept);
    }
    let key = layout::tree(place.app, signed.digest);
    let mut tries = 1;
    loop {
        let found = place.fetcher.get(&key, packed_len_max(signed))?;
        let packed = found.ok_or_else(|| Error::Missing { at: place.at.to_owned(), what: key.to_string() })?;
        match unpack(&packed, signed.digest, signed.length) {
            Ok((tree, hint)) => {
                write_atomic(downloads, Path::new(TREE), &packed, MODE)?;
                return Ok(FetchedTree { tree, hint, packed });
            }
            Err(source) if tries == BODY_TRIES => return Err(Error::Tree { digest: signed.digest, source }),
            Err(_) => tries += 1,
        }
    }
}

/// The longest that a packed tree can be that holds what was signed, and a hint of ten bytes for each file.
fn packed_len_max(signed: &TreeRef) -> u64 {
    let len = signed.length.saturating_add(signed.files.saturating_mul(10)).min(TREE_LEN_MAX);
    compressed_len_max(len)
}

/// The longest that a zstd frame of `len` bytes has any reason to be: it falls back to raw blocks of 128 KiB, and each
/// costs a few bytes more.
fn compressed_len_max(len: u64) -> u64 {
    len.saturating_add(len >> 8).saturating_add(1_024)
}

/// Fetches what `plan` needs into `downloads`. Afterwards every blob of it lies there, raw, verified and synced.
pub(crate) fn blobs(
    place: Place<'_>,
    plan: &Plan,
    downloads: &Dir,
    jobs: usize,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let mut lacking = Vec::new();
    let mut there = 0;
    for fetch in &plan.fetch {
        place.fetcher.cancel().check()?;
        if is_whole(downloads, fetch)? { there += fetch.cost() } else { lacking.push(*fetch) }
    }
    // The longest first: with several threads the end then comes soonest.
    lacking.sort_by_key(|fetch| (std::cmp::Reverse(fetch.cost()), fetch.digest));
    let lacking = lacking.as_slice();
    space::check(downloads, lacking)?;
    let meter = Meter::new(progress, there, plan.fetch_bytes());
    let work = blob::Work { place, downloads, meter: &meter };
    fetch_all(&work, lacking, jobs)?;
    Ok(downloads.sync()?)
}

/// Bytes that `plan` fetches and that lie here already, by what their lengths say.
pub(crate) fn here_bytes(plan: &Plan, downloads: &Dir) -> Result<u64, Error> {
    let len = |name: &str| downloads.stat(Path::new(name)).map(|stat| stat.map(|stat| stat.size));
    let mut here = 0;
    for fetch in &plan.fetch {
        if len(&fetch.digest.to_string())? == Some(fetch.size) {
            here += fetch.cost();
            continue;
        }
        for part in blob::part_names(fetch.digest) {
            here += len(&part)?.map_or(0, |len| len.min(fetch.cost()));
        }
    }
    Ok(here.min(plan.fetch_bytes()))
}

/// Removes what this plan has no use for: parts and blobs of another release, and the part of any patch but `patch`.
pub(crate) fn sweep(plan: &Plan, patch: Option<&Offer>, downloads: &Dir) -> Result<(), Error> {
    let mut wanted = HashSet::from([TREE.to_owned()]);
    wanted.extend(patch.map(patch::part_name));
    wanted.extend(plan.files.values().filter_map(|origin| match origin {
        Origin::Made(digest) => Some(digest.to_string()),
        _ => None,
    }));
    for fetch in &plan.fetch {
        wanted.insert(fetch.digest.to_string());
        wanted.extend(blob::part_names(fetch.digest));
    }
    for entry in downloads.entries()? {
        if !entry.name.to_str().is_some_and(|name| wanted.contains(name)) {
            downloads.remove_all(Path::new(&entry.name))?;
        }
    }
    Ok(())
}

/// Removes everything: what was downloaded is installed now.
pub(crate) fn clear(downloads: &Dir) -> Result<(), Error> {
    for entry in downloads.entries()? {
        downloads.remove_all(Path::new(&entry.name))?;
    }
    Ok(())
}

/// Whether the whole blob lies there. A file of its name that is something else is removed.
fn is_whole(downloads: &Dir, fetch: &Fetch) -> Result<bool, Error> {
    let name = fetch.digest.to_string();
    let at = Path::new(&name);
    let Some(stat) = downloads.stat(at)? else {
        return Ok(false);
    };
    if stat.kind == EntryKind::File && stat.size == fetch.size && hash(downloads, at)? == fetch.digest {
        return Ok(true);
    }
    downloads.remove_all(at)?;
    Ok(false)
}

fn hash(downloads: &Dir, at: &Path) -> Result<Digest, Error> {
    let mut file = downloads.open_file(at)?;
    let mut hasher = Hasher::new();
    let mut piece = vec![0; 256 << 10];
    loop {
        match file.read(&mut piece) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(len) => hasher.update(&piece[..len]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(source) => return Err(blob::keep(at.display(), source)),
        }
    }
}

/// Shares the blobs out among `jobs` threads; with one, nothing leaves the calling thread.
fn fetch_all(work: &blob::Work<'_>, lacking: &[Fetch], jobs: usize) -> Result<(), Error> {
    let next = AtomicUsize::new(0);
    let failed: Mutex<Option<Error>> = Mutex::new(None);
    let run = || {
        while let Some(fetch) = lacking.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(error) = work.fetch(fetch) {
                // The first error is the one to tell; the others end because of it.
                failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                work.meter.stop();
            }
            if work.meter.is_stopped() {
                return;
            }
        }
    };
    match jobs.min(lacking.len()) {
        0 | 1 => run(),
        jobs => std::thread::scope(|scope| {
            for _ in 0..jobs {
                scope.spawn(run);
            }
        }),
    }
    failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}
