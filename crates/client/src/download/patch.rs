//! A release by a patch: the patch is fetched, judged by its header, and applied to what is installed. A bundle is a patch
//! that needs nothing installed.
//!
//! ```text
//! downloads/PAIR.patch        the patch, as far as it is here: `PAIR` is the first digits of both trees and its length
//! downloads/patch.N.new       output N, whole or not; nothing has its own name before all of them are believed
//! downloads/patch.images.new  what is in the old archives that it reads
//! ```
//!
//! A patch is never believed. Its header is compared with what is here and with what was signed before anything is made;
//! what it makes is believed when the digest of the whole new tree, with the digests of all that was made in it, is the one
//! that was signed. Until then nothing is named after what it seems to be. A patch that is no good is [`Refusal`], not an
//! error: there is another way.

mod bases;
mod body;
mod outputs;
mod scratch;

use std::collections::BTreeSet;
use std::path::Path;

use updraft_core::digest::Digest;
use updraft_core::release::TreeRef;
use updraft_core::tree::patch::{contents, masked_len_max};
use updraft_core::tree::{Tree, codec};
use updraft_delta::{Header, Output, Patch, ReadAt};
use updraft_files::Dir;

use self::bases::Bases;
use self::outputs::Outputs;
use self::scratch::Scratch;
use super::{Error, SPACE_SLACK};
use crate::belief::Place;
use crate::fetch;
use crate::offer::Offer;
use crate::progress::{Phase, Progress};

pub(crate) use self::body::here_bytes;
pub(super) use self::body::name as part_name;

/// What is behind a patch that was not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blame {
    /// It is no good, and never will be.
    Patch,
    /// It could not be had, or something here is not as it was: another time it may do.
    Circumstances,
}

/// Why a patch was not used.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) blame: Blame,
    pub(crate) reason: String,
    /// Bytes of it that were fetched.
    pub(crate) fetched: u64,
}

impl Refusal {
    fn bad(reason: impl ToString) -> Self {
        Self { blame: Blame::Patch, reason: reason.to_string(), fetched: 0 }
    }

    pub(crate) fn not_now(reason: impl ToString) -> Self {
        Self { blame: Blame::Circumstances, reason: reason.to_string(), fetched: 0 }
    }
}

/// Why there is no tree.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The next way is to be tried.
    Refused(Refusal),
    /// There is no other way either: it was told to stop, or the disk says no.
    Failed(Error),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<fetch::Error> for Stop {
    fn from(error: fetch::Error) -> Self {
        Self::Failed(error.into())
    }
}

impl From<updraft_files::Error> for Stop {
    fn from(error: updraft_files::Error) -> Self {
        Self::Failed(error.into())
    }
}

/// What a patch may read. By default that is nothing, as for a bundle.
#[derive(Default)]
pub(crate) struct Installed {
    /// What is installed, as it was recorded.
    pub(crate) tree: Tree,
    /// What of it is really there.
    pub(crate) have: Tree,
    /// Where it is.
    pub(crate) dir: Option<Dir>,
}

/// What is to be done by a patch.
#[derive(Clone, Copy)]
pub(crate) struct Job<'a> {
    pub(crate) place: Place<'a>,
    pub(crate) offer: &'a Offer,
    pub(crate) old: &'a Installed,
    /// What was signed.
    pub(crate) signed: &'a TreeRef,
    pub(crate) downloads: &'a Dir,
    pub(crate) progress: &'a dyn Progress,
}

/// A tree that was made.
pub(crate) struct Made {
    pub(crate) tree: Tree,
    /// The contents that the patch made; they lie in `downloads/`, as if they had been fetched.
    pub(crate) contents: BTreeSet<Digest>,
}

/// Fetches the patch and makes of it what the new tree has and the old one lacks.
pub(crate) fn make(job: &Job<'_>) -> Result<Made, Stop> {
    outputs::sweep(job.downloads)?;
    let was_here = here_bytes(job.offer, job.downloads)?;
    match try_make(job) {
        // What an earlier process left may have been the beginning of another object.
        Err(Stop::Refused(Refusal { blame: Blame::Patch, fetched, .. })) if was_here > 0 => {
            try_make(job).map_err(|stop| match stop {
                Stop::Refused(again) => Stop::Refused(Refusal { fetched: fetched + again.fetched, ..again }),
                failed => failed,
            })
        }
        tried => tried,
    }
}

fn try_make(job: &Job<'_>) -> Result<Made, Stop> {
    let was_here = here_bytes(job.offer, job.downloads)?;
    let mut made = fetch_and_apply(job);
    if made.is_err() {
        // Whatever comes next needs the room, and the next try makes all of it anew. What happened is told before a file that
        // cannot be removed is.
        let _ = outputs::sweep(job.downloads);
    }
    if let Err(Stop::Refused(refusal)) = &mut made {
        refusal.fetched = here_bytes(job.offer, job.downloads)?.saturating_sub(was_here);
        if refusal.blame == Blame::Patch {
            job.downloads.remove_all(Path::new(&part_name(job.offer)))?;
        }
    }
    made
}

fn fetch_and_apply(job: &Job<'_>) -> Result<Made, Stop> {
    job.progress.phase(Phase::Fetching);
    let file = body::fetch(job, &|header, here| judge(job, header, here))?;
    job.progress.phase(Phase::Patching);
    let patch = Patch::open(&file).map_err(Refusal::bad)?;
    // It came from a disk now, where others may write, and in pieces that need not be of one object.
    judge(job, patch.header(), job.offer.bytes)?;
    let made = apply(job, &patch);
    if let Err(Stop::Refused(Refusal { blame: Blame::Patch, .. })) = &made {
        // A file that was edited while it was read spoils what is made from it. If one was, nobody knows whether the patch is any good.
        Bases::find(job, patch.header())?;
    }
    made
}

fn apply(job: &Job<'_>, patch: &Patch<'_>) -> Result<Made, Stop> {
    let bases = Bases::find(job, patch.header())?;
    let bases: Vec<&dyn ReadAt> = bases.all().collect();
    let mut outputs = Outputs::new(job, patch.header());
    let mut scratch = Scratch::new(job)?;
    match patch.apply(&bases, &mut scratch, &mut outputs) {
        Ok(()) => outputs.finish(),
        Err(error) => Err(outputs.stopped_by(error)),
    }
}

/// Compares what the header of a patch claims with what is installed and what was signed. `here` bytes of the patch have come.
fn judge(job: &Job<'_>, header: &Header, here: u64) -> Result<(), Refusal> {
    let Job { offer, signed, .. } = job;
    if header.from != *offer.from.as_bytes() || header.to != *offer.to.as_bytes() {
        return Err(Refusal::bad("it is a patch between two other trees"));
    }
    let made = judge_outputs(signed, header)?;
    judge_bases(job, header)?;
    let to_come = offer.bytes.saturating_sub(here);
    let needed = made.saturating_add(header.scratch_len()).saturating_add(to_come).saturating_add(SPACE_SLACK);
    match job.downloads.space().map(|space| space.available) {
        // Whether another way needs less room is for that one to say.
        Some(available) if available < needed => {
            Err(Refusal::not_now(format!("it needs {needed} bytes of room, and {available} are free")))
        }
        _ => Ok(()),
    }
}

/// What it makes is no more than what was signed. Answers with the bytes of all files that it makes.
fn judge_outputs(signed: &TreeRef, header: &Header) -> Result<u64, Refusal> {
    let Some((document, files)) = header.outputs.split_first() else {
        return Err(Refusal::bad("it makes nothing"));
    };
    let sum = |len: fn(&Output) -> u64| files.iter().fold(0_u64, |sum, output| sum.saturating_add(len(output)));
    let made = sum(|output| output.len);
    if document.len > masked_len_max(signed.length, signed.files) || files.len() as u64 > signed.files {
        return Err(Refusal::bad("it makes more than the list of files that was signed has"));
    }
    if made > signed.bytes {
        return Err(Refusal::bad(format!("it makes {made} bytes, and the release has {}", signed.bytes)));
    }
    let (images, max) = (sum(Output::image_len).saturating_add(document.image_len()), images_len_max(signed.bytes));
    if images > max {
        return Err(Refusal::bad(format!("it packs {images} bytes, and {max} are worth it for this release")));
    }
    Ok(made)
}

/// How much what is in new archives may be: it takes time to make, and nothing of it is seen before it is packed. The format's
/// own limit is for one archive that holds little else than zeros; a whole release does not.
fn images_len_max(release_len: u64) -> u64 {
    release_len.saturating_mul(16).saturating_add(64 << 20)
}

/// The bases that it names are what is recorded here, and were not edited since.
fn judge_bases(job: &Job<'_>, header: &Header) -> Result<(), Refusal> {
    let (recorded, here) = (contents(&job.old.tree), job.old.have.blobs());
    for base in &header.bases {
        let file = match usize::try_from(base.index) {
            Ok(0) if base.len == codec::encode(&job.old.tree).len() as u64 => continue,
            Ok(index) => index.checked_sub(1).and_then(|index| recorded.get(index)),
            Err(_) => None,
        };
        match file {
            Some(file) if file.size != base.len => {
                return Err(Refusal::bad(format!("it was made from another '{}'", file.path)));
            }
            None => return Err(Refusal::bad("it was made from files that are not installed here")),
            Some(file) if !here.contains_key(&file.digest) => {
                return Err(Refusal::not_now(format!("'{}' was edited or removed here", file.path)));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use updraft_core::digest::Digest;
    use updraft_delta::container::Params;
    use updraft_delta::{Group, Image};

    use super::*;

    fn header(outputs: &[(u64, u64)]) -> Header {
        let params = Params::of_zip([]);
        let output =
            |&(len, image)| Output { group: 0, len, image: Some(Image { params: params.clone(), len: image }) };
        let outputs = outputs.iter().map(output).collect();
        Header { from: [0; 32], to: [0; 32], bases: Vec::new(), groups: vec![Group::default()], outputs }
    }

    #[test]
    fn what_is_packed_is_in_proportion_to_the_release() {
        let signed = TreeRef { digest: Digest::of(b"tree"), length: 1_000, files: 3, bytes: 10 << 20, stored: 1 << 20 };
        let judged =
            |outputs: &[(u64, u64)]| judge_outputs(&signed, &header(outputs)).map_err(|refusal| refusal.reason);
        let most = (160 + 64) << 20;
        assert_eq!(judged(&[(100, 0), (5 << 20, most / 2), (7, most / 2)]), Ok((5 << 20) + 7));
        let refused = judged(&[(100, 0), (5 << 20, most / 2), (7, most / 2 + 1)]).unwrap_err();
        assert_eq!(refused, "it packs 234881025 bytes, and 234881024 are worth it for this release");
        assert!(judged(&[(100, most + 1), (7, 7)]).is_err(), "the list of files is an output as any other");
        assert!(judged(&[(100, u64::MAX), (7, u64::MAX)]).is_err());
    }
}
