//! What publishing a tree would do.
//!
//! Everything that can be refused is refused here, before a byte is sent.

use std::collections::BTreeMap;

use updraft_core::api::{BlobStored, Promotion};
use updraft_core::channel::Channel;
use updraft_core::digest::Digest;
use updraft_core::layout;
use updraft_core::limits::{MISSING_BATCH_MAX, TREE_LEN_MAX};
use updraft_core::name::ChannelName;
use updraft_core::path::RelPath;
use updraft_core::release::ReleaseName;
use updraft_core::tree::Tree;
use updraft_core::tree::stored::{Encoding, Hint, Stored};
use updraft_core::trust::TargetFile;

use super::{Encodings, Error, Wanted, next_of};
use crate::base::Base;
use crate::remote::{Remote, RemoteError};
use crate::sign::Change;

/// What there is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing: it is published, and where it should be. What the server has lost of it is sent nevertheless.
    Nothing,
    /// It is published; a channel is to point at it.
    Promote(Promotion),
    /// It is new.
    Publish,
}

/// A blob that the server lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Its name.
    pub digest: Digest,
    /// Its length in bytes, as it lies on this disk; at most that many will travel.
    pub size: u64,
    /// One of the files that hold it.
    pub path: RelPath,
}

/// What publishing a tree would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The release.
    pub release: ReleaseName,
    /// What there is to do.
    pub step: Step,
    /// Digest of the tree.
    pub tree: Digest,
    /// Regular files in it.
    pub files: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// What the server lacks, the largest first. Of a release that is live, what was lost since.
    pub missing: Vec<Missing>,
    /// Whether the tree's document is to be sent: the release is new, or the server has lost it.
    pub sends_tree: bool,
    /// What the server has of the tree, and how it is stored.
    pub present: Hint,
    /// The channel that will point at it, if that is new.
    pub promote: Option<ChannelName>,
    /// Releases that will no longer be live: channels have left them behind, and nothing names them any more.
    pub dropped: Vec<ReleaseName>,
}

impl Plan {
    /// Bytes that the server lacks, as they lie on this disk: at most so many will travel.
    pub fn missing_bytes(&self) -> u64 {
        self.missing.iter().map(|blob| blob.size).sum()
    }
}

/// What publishing `tree` as `wanted` on top of `base` would do.
///
/// What the server has is compared even when the release is live: a check of its store may have taken away what was
/// damaged, and only whoever has the files can bring it back.
pub(super) fn make(
    remote: &dyn Remote,
    base: &Base,
    tree: &Tree,
    wanted: &Wanted,
    encodings: Encodings,
) -> Result<Plan, Error> {
    let digest = tree.digest();
    let step = step(remote, base, digest, wanted)?;
    let (present, missing) = compare(remote, tree, wanted, encodings)?;
    let sends_tree = step == Step::Publish || remote.read(&layout::tree(&wanted.app, digest), TREE_LEN_MAX)?.is_none();
    let mut plan = Plan {
        release: wanted.name(),
        step,
        tree: digest,
        files: tree.file_count(),
        bytes: tree.byte_count(),
        missing,
        sends_tree,
        present,
        promote: None,
        dropped: Vec::new(),
    };
    match &plan.step {
        Step::Nothing => {}
        Step::Promote(promotion) => plan.promote = Some(promotion.channel.clone()),
        Step::Publish => {
            plan.promote.clone_from(&wanted.channel);
            // What is dropped does not depend on what will be signed of the new release.
            let file = TargetFile::of(b"");
            let change = Change::Add { release: wanted.name(), file, promote: wanted.channel.clone() };
            plan.dropped = next_of(base, &change)?.dropped;
        }
    }
    Ok(plan)
}

fn step(remote: &dyn Remote, base: &Base, tree: Digest, wanted: &Wanted) -> Result<Step, Error> {
    let not_allowed = |channel: &ChannelName, release: ReleaseName| {
        Err(Error::ChannelNotAllowed { release: Box::new(release), channel: channel.clone() })
    };
    let Some(live) = base.find(&wanted.name()) else {
        if let Some(channel) = wanted.channel.as_ref().filter(|channel| !wanted.terms.allows_channel(channel)) {
            return not_allowed(channel, wanted.name());
        }
        check_terms(base, wanted)?;
        return match in_the_way(base.channels(), wanted) {
            Some((channel, current)) => Err(not_newer(wanted.name(), channel, current)),
            None => Ok(Step::Publish),
        };
    };
    let release = base.document(remote, &live)?;
    if release.tree.digest != tree {
        return Err(Error::OtherContent { release: Box::new(live.name) });
    }
    if !release.terms.include(&wanted.terms) {
        return Err(Error::OtherTerms { release: Box::new(live.name) });
    }
    let Some(channel) = &wanted.channel else { return Ok(Step::Nothing) };
    if !release.allows_channel(channel) {
        return not_allowed(channel, live.name);
    }
    match current(base.channels().get(channel), &live.name) {
        Some(current) if current == live.name => Ok(Step::Nothing),
        Some(current) if current.version > live.name.version => Err(not_newer(live.name, channel.clone(), current)),
        _ => Ok(Step::Promote(Promotion { channel: channel.clone(), release: live.name })),
    }
}

/// Refuses terms that no release can have, or that would lead devices over a stepping stone that is not there.
fn check_terms(base: &Base, wanted: &Wanted) -> Result<(), Error> {
    let terms = wanted.terms(base);
    terms.check(&wanted.version).map_err(Error::Terms)?;
    terms.check_stones(&wanted.name(), &base.terms()).map_err(Error::Terms)
}

fn not_newer(wanted: ReleaseName, channel: ChannelName, current: ReleaseName) -> Error {
    Error::NotNewer { wanted: Box::new(wanted), channel, current: Box::new(current) }
}

fn current(channel: Option<&Channel>, like: &ReleaseName) -> Option<ReleaseName> {
    let stream = channel?.platforms.get(&like.platform)?;
    Some(ReleaseName { platform: like.platform.clone(), version: stream.current.clone() })
}

/// The release that is in the way of a new one, if one is: what its channel has. A release for no channel yet must be
/// newer than what at least one channel has on its platform, or it could never be promoted.
fn in_the_way(channels: &BTreeMap<ChannelName, Channel>, wanted: &Wanted) -> Option<(ChannelName, ReleaseName)> {
    let name = wanted.name();
    let candidates = channels.iter().filter(|(channel, _)| wanted.channel.as_ref().is_none_or(|c| c == *channel));
    let least = candidates
        .filter_map(|(channel, document)| Some((channel.clone(), current(Some(document), &name)?)))
        .min_by(|(_, a), (_, b)| a.version.cmp(&b.version))?;
    (least.1.version >= name.version).then_some(least)
}

/// What the server has of `tree`, and what it lacks. What lies there and not as `encodings` wants it is lacking: a device
/// could do with it, and whoever downloads that single file could not.
fn compare(
    remote: &dyn Remote,
    tree: &Tree,
    wanted: &Wanted,
    encodings: Encodings,
) -> Result<(Hint, Vec<Missing>), Error> {
    let will_do = |stored: &BlobStored| match encodings {
        Encodings::Smaller => true,
        // What is no frame is raw, also for a server that does not say so.
        Encodings::RawAndSmaller => stored.raw || !stored.zstd,
    };
    let paths: BTreeMap<Digest, &RelPath> = tree.files().map(|file| (file.digest, file.path)).collect();
    let blobs: Vec<(Digest, u64)> = tree.blobs().into_iter().collect();
    let (mut present, mut missing) = (Hint::new(), Vec::new());
    for batch in blobs.chunks(MISSING_BATCH_MAX) {
        let digests: Vec<Digest> = batch.iter().map(|(digest, _)| *digest).collect();
        let answer = remote.missing(&wanted.app, &digests)?;
        if answer.len() != batch.len() {
            let reason = format!("{} were asked for and {} answered", batch.len(), answer.len());
            return Err(RemoteError::Nonsense { what: "which blobs are missing".to_owned(), reason }.into());
        }
        for ((digest, size), stored) in batch.iter().zip(answer) {
            match stored.filter(will_do) {
                Some(stored) => {
                    let encoding = if stored.zstd { Encoding::Zstd } else { Encoding::Raw };
                    present.insert(*digest, Stored { encoding, size: stored.size });
                }
                None => missing.push(Missing { digest: *digest, size: *size, path: paths[digest].clone() }),
            }
        }
    }
    missing.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.path.cmp(&b.path)));
    Ok((present, missing))
}
