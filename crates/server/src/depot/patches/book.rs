//! What is remembered of an app's patches: `private/patches/{app}`.
//!
//! The releases that were live here last, so that patches can be made from them when they are not live any more; what
//! devices asked for; what failed, and what is not worth it. The store has the last word on which patches there are. All of
//! it may be lost: then the history begins anew, and what failed is tried once more.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use updraft_core::Timestamp;
use updraft_core::digest::Digest;
use updraft_core::name::Platform;
use updraft_core::release::{Release, ReleaseName};
use updraft_core::version::Version;

/// Largest book that is read, in bytes: 200 or so for each of its pairs and releases, and 1,000 where a pair failed. To each of a
/// thousand live releases there may be 16 pairs and what devices asked for.
pub(super) const LEN_MAX: u64 = 32 << 20;
/// Most pairs that a book remembers: a thousand live releases, and what devices come from.
const PAIRS_MAX: usize = 8_000;
/// How many releases of a platform are remembered.
const RELEASES_MAX: usize = 16;
/// How many pairs wait at most because devices asked for them.
const ASKED_MAX: usize = 64;
/// How many patches to one tree there may be at most because devices asked for them.
pub(super) const ASKED_OF_TARGET_MAX: usize = 32;
/// Longest reason that is kept, in bytes.
const REASON_LEN_MAX: usize = 500;
/// Why a pair failed whose making never ended.
const CUT_SHORT: &str = "it was begun, and the server ended before it was done";
/// How often something is tried.
const TRIES_MAX: u32 = 3;
/// The pause before the second try, in seconds; each further one is six times as long.
const PAUSE_SECS: i64 = 10 * 60;
const DAY_SECS: i64 = 24 * 60 * 60;

/// The trees of a patch. Ordered by what it makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pair {
    /// The tree that it makes.
    pub to: Digest,
    /// The tree that it is made from.
    pub from: Digest,
}

/// A release that is live, or was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Known {
    pub(super) platform: Platform,
    pub(super) version: Version,
    pub(super) tree: Digest,
    /// Since when it is not live, or since when no device came from it that did after that, give or take a day; none while
    /// it is live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) idle_since: Option<Timestamp>,
}

impl Known {
    pub(super) fn of(release: &Release) -> Self {
        let (platform, version) = (release.platform.clone(), release.version.clone());
        Self { platform, version, tree: release.tree.digest, idle_since: None }
    }

    pub(super) fn name(&self) -> ReleaseName {
        ReleaseName { platform: self.platform.clone(), version: self.version.clone() }
    }
}

/// What became of a pair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub(super) enum Entry {
    /// There is a patch.
    Made {
        bytes: u64,
        /// What it replaces, in bytes; 0 where that is not known.
        instead: u64,
        /// Of its bytes; none when it was found in the store.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        digest: Option<Digest>,
        /// When it was made or asked for last, give or take a day.
        used: Timestamp,
    },
    /// A patch is no smaller than what it replaces.
    NotSmaller { bytes: u64, instead: u64 },
    /// It could not be made by a maker with this program and these limits.
    Failed { reason: String, tries: u32, at: Timestamp, maker: String },
    /// A device asked for it.
    Asked,
    /// An operator took it away, and it is not to be made.
    Removed,
}

impl Entry {
    /// When a failed pair is tried again by `maker`; none when it was given up. A maker that is another than the one that
    /// failed tries at once.
    pub(super) fn again(tries: u32, at: Timestamp, failed: &str, maker: &str) -> Option<Timestamp> {
        if failed != maker || tries == 0 {
            return Some(at);
        }
        let pause = PAUSE_SECS.saturating_mul(6_i64.saturating_pow(tries.saturating_sub(1)));
        (tries < TRIES_MAX).then(|| super::later(at, pause))
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(in crate::depot) struct Book {
    /// The newest of each platform, the newest first.
    pub(super) releases: Vec<Known>,
    pub(super) pairs: BTreeMap<Pair, Entry>,
    /// Pairs that are being made, and what was remembered of them before; not written down.
    pub(super) making: BTreeMap<Pair, Option<Entry>>,
    /// Pairs that this server cannot make as it is set, and why; not written down.
    pub(super) skipped: BTreeMap<Pair, String>,
    /// Whether it has to be written down before anything else happens.
    pub(super) is_changed: bool,
    /// Whether it is to be written down some time.
    pub(super) is_stale: bool,
}

/// How it is written down.
#[derive(Serialize, Deserialize)]
struct Written {
    format: u32,
    releases: Vec<Known>,
    pairs: Vec<WrittenPair>,
}

#[derive(Serialize, Deserialize)]
struct WrittenPair {
    from: Digest,
    to: Digest,
    #[serde(flatten)]
    entry: Entry,
}

impl Book {
    pub(super) fn encode(&self) -> Vec<u8> {
        let pair = |(pair, entry): (&Pair, &Entry)| WrittenPair { from: pair.from, to: pair.to, entry: entry.clone() };
        let pairs = self.pairs.iter().map(pair).collect();
        let written = Written { format: 1, releases: self.releases.clone(), pairs };
        serde_json::to_vec(&written).expect("digests, numbers and texts are plain JSON")
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let written: Written = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        if written.format != 1 {
            return Err(format!("it has format {}, and this version of updraft knows format 1", written.format));
        }
        let pairs = written.pairs.into_iter().map(|pair| (Pair { to: pair.to, from: pair.from }, pair.entry));
        Ok(Self { releases: written.releases, pairs: pairs.collect(), ..Self::default() })
    }

    /// Makes it agree with the patches that are in the store, each with its length and its age.
    pub(super) fn reconcile(&mut self, found: BTreeMap<Pair, (u64, Timestamp)>) {
        let before = self.pairs.len();
        self.pairs.retain(|pair, entry| !matches!(entry, Entry::Made { .. }) || found.contains_key(pair));
        self.is_changed |= self.pairs.len() != before;
        for (pair, (size, modified)) in found {
            if !matches!(self.pairs.get(&pair), Some(Entry::Made { bytes, .. }) if *bytes == size) {
                let entry = Entry::Made { bytes: size, instead: 0, digest: None, used: modified };
                self.set(pair, entry);
            }
        }
    }

    pub(super) fn set(&mut self, pair: Pair, entry: Entry) {
        let is_news = self.pairs.insert(pair, entry.clone()) != Some(entry);
        self.is_changed |= is_news;
    }

    /// There is to be no patch of this pair, also if one is in the making.
    pub(super) fn remove(&mut self, pair: Pair) {
        self.skipped.remove(&pair);
        self.set(pair, Entry::Removed);
    }

    pub(super) fn forget(&mut self, pair: &Pair) {
        self.is_changed |= self.pairs.remove(pair).is_some();
        self.skipped.remove(pair);
    }

    /// Whether anything is remembered of `pair`.
    pub(super) fn knows(&self, pair: &Pair) -> bool {
        self.pairs.contains_key(pair) || self.skipped.contains_key(pair)
    }

    /// Remembers what is live, and forgets what no patch can lead to any more.
    pub(super) fn note(&mut self, live: &[Known], now: Timestamp) {
        let before = self.releases.clone();
        for gone in self.releases.iter_mut().filter(|release| release.idle_since.is_none()) {
            gone.idle_since = Some(now);
        }
        for release in live {
            if let Some(there) = self.releases.iter_mut().find(|there| there.name() == release.name()) {
                *there = release.clone();
            } else {
                self.releases.push(release.clone());
            }
        }
        self.releases.sort_by(|a, b| b.version.cmp(&a.version).then_with(|| a.platform.cmp(&b.platform)));
        let mut counts: BTreeMap<Platform, usize> = BTreeMap::new();
        self.releases.retain(|release| {
            let count = counts.entry(release.platform.clone()).or_default();
            *count += 1;
            *count <= RELEASES_MAX
        });
        self.is_changed |= self.releases != before;
        let targets: BTreeSet<Digest> = live.iter().map(|release| release.tree).collect();
        let before = self.pairs.len();
        // What there is a patch of is the collector's.
        self.pairs.retain(|pair, entry| matches!(entry, Entry::Made { .. }) || targets.contains(&pair.to));
        self.is_changed |= self.pairs.len() != before;
        self.skipped.retain(|pair, _| targets.contains(&pair.to));
    }

    /// What is remembered of patches that make the tree `to`.
    pub(super) fn to(&self, to: Digest) -> impl Iterator<Item = (&Pair, &Entry)> {
        let first = Pair { to, from: Digest::from_bytes([0; 32]) };
        self.pairs.range(first..).take_while(move |(pair, _)| pair.to == to)
    }

    /// A device wants this pair. Whether there is room for it. What this server cannot make takes none.
    pub(super) fn ask(&mut self, pair: Pair) -> bool {
        if self.knows(&pair) {
            return true;
        }
        let waits = |(pair, entry): &(&Pair, &Entry)| matches!(entry, Entry::Asked) && !self.skipped.contains_key(pair);
        let waiting = self.pairs.iter().filter(waits).count();
        if waiting >= ASKED_MAX || self.pairs.len() >= PAIRS_MAX {
            return false;
        }
        self.set(pair, Entry::Asked);
        true
    }

    /// A device has the tree `from` and is on its way to another.
    pub(super) fn came_from(&mut self, from: Digest, now: Timestamp) {
        for release in self.releases.iter_mut().filter(|release| release.tree == from) {
            if let Some(since) = &mut release.idle_since
                && now.duration_since(*since).as_secs() >= DAY_SECS
            {
                *since = now;
                self.is_stale = true;
            }
        }
    }

    /// A device fetched this patch: what it replaces, where that is known.
    pub(super) fn used(&mut self, pair: &Pair, now: Timestamp) -> Option<(u64, u64)> {
        self.came_from(pair.from, now);
        let Some(Entry::Made { bytes, instead, used, .. }) = self.pairs.get_mut(pair) else { return None };
        if now.duration_since(*used).as_secs() >= DAY_SECS {
            *used = now;
            self.is_stale = true;
        }
        Some((*bytes, *instead))
    }

    /// The making of a pair begins. Until it ends it counts as failed, and that is written down: what takes the whole server
    /// along is not begun anew at each start. The first time does not count: machines lose power.
    pub(super) fn begin(&mut self, pair: Pair, maker: &str, now: Timestamp) {
        let before = self.pairs.get(&pair).cloned();
        self.failed(pair, CUT_SHORT, maker, now);
        if let (Some(Entry::Failed { tries, .. }), None | Some(Entry::Asked)) = (self.pairs.get_mut(&pair), &before) {
            *tries = 0;
        }
        self.making.insert(pair, before);
    }

    /// The making of a pair ends. Where nothing else became of it, what was remembered before is so again.
    pub(super) fn end(&mut self, pair: &Pair) {
        let Some(before) = self.making.remove(pair) else { return };
        if !matches!(self.pairs.get(pair), Some(Entry::Failed { reason, .. }) if reason == CUT_SHORT) {
            return;
        }
        match before {
            Some(entry) => self.set(*pair, entry),
            None => self.is_changed |= self.pairs.remove(pair).is_some(),
        }
    }

    pub(super) fn failed(&mut self, pair: Pair, reason: &str, maker: &str, now: Timestamp) {
        let before = match self.pairs.get(&pair) {
            Some(Entry::Removed) => return,
            Some(Entry::Failed { tries, maker: failed, .. }) if failed == maker => *tries,
            _ => 0,
        };
        let mut end = reason.len().min(REASON_LEN_MAX);
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        let reason = reason[..end].to_owned();
        self.set(pair, Entry::Failed { reason, tries: before + 1, at: now, maker: maker.to_owned() });
    }
}
