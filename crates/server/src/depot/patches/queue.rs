//! Which patches are to be made, and in which order. Pure.
//!
//! To each live release, the newest first: from the last few releases of its platform, or of any, the newest first; then
//! from what devices asked for. A pair whose turn has come is not made twice, and one that failed waits.

use std::collections::BTreeSet;

use updraft_core::Timestamp;
use updraft_core::digest::Digest;

use super::book::{Book, Entry, Known, Pair};

/// The pairs to make now.
pub(super) fn due(book: &Book, live: &[Known], releases_max: usize, maker: &str, now: Timestamp) -> Vec<Pair> {
    let is_due = |pair: &Pair| {
        !book.making.contains(pair)
            && !book.skipped.contains_key(pair)
            && match book.pairs.get(pair) {
                None | Some(Entry::Asked) => true,
                Some(Entry::Failed { tries, at, maker: failed, .. }) => {
                    Entry::again(*tries, *at, failed, maker).is_some_and(|again| again <= now)
                }
                Some(Entry::Made { .. } | Entry::NotSmaller { .. }) => false,
            }
    };
    let mut pairs = wanted(book, live, releases_max);
    pairs.retain(is_due);
    pairs
}

/// Every pair that is made, will be, or was tried, in that order.
pub(super) fn wanted(book: &Book, live: &[Known], releases_max: usize) -> Vec<Pair> {
    let mut targets: Vec<&Known> = live.iter().collect();
    targets.sort_by(|a, b| b.version.cmp(&a.version).then_with(|| a.platform.cmp(&b.platform)));
    let (mut pairs, mut seen) = (Vec::new(), BTreeSet::new());
    for target in targets {
        let last = last(book, target, releases_max).into_iter().map(|from| Pair { to: target.tree, from });
        pairs.extend(last.filter(|pair| seen.insert(*pair)));
        // What a device asked for stays on the list, whatever became of it.
        let of_target = book.to(target.tree).map(|(pair, _)| *pair);
        pairs.extend(of_target.filter(|pair| seen.insert(*pair)));
    }
    pairs
}

/// Whether a device may have the one tree of `pair` and be due the other: both are of known releases, the second one is live,
/// and the first is older and of its platform or of any.
pub(super) fn leads_on(book: &Book, live: &[Known], pair: &Pair) -> bool {
    let mut targets = live.iter().filter(|target| target.tree == pair.to);
    targets.any(|target| {
        let mut known = book.releases.iter().chain(live);
        known.any(|release| release.tree == pair.from && is_before(release, target))
    })
}

/// Whether `pair` is on the list only because devices asked for it.
pub(super) fn is_asked(book: &Book, live: &[Known], releases_max: usize, pair: &Pair) -> bool {
    let mut targets = live.iter().filter(|target| target.tree == pair.to);
    !targets.any(|target| last(book, target, releases_max).contains(&pair.from))
}

/// How many patches there are to the tree `to`, or will be, because devices asked for them.
pub(super) fn asked_for(book: &Book, live: &[Known], releases_max: usize, to: Digest) -> usize {
    let targets = live.iter().filter(|target| target.tree == to);
    let last: BTreeSet<Digest> = targets.flat_map(|target| last(book, target, releases_max)).collect();
    let costs = |entry: &Entry| !matches!(entry, Entry::NotSmaller { .. });
    book.to(to).filter(|(pair, entry)| costs(entry) && !last.contains(&pair.from)).count()
}

/// Whether devices with `release` may get `target`.
fn is_before(release: &Known, target: &Known) -> bool {
    (release.platform == target.platform || release.platform.is_any()) && release.version < target.version
}

/// The trees of the last releases before `target` whose devices may get it.
fn last(book: &Book, target: &Known, releases_max: usize) -> Vec<Digest> {
    let mut trees = Vec::new();
    for release in &book.releases {
        let is_new = release.tree != target.tree && !trees.contains(&release.tree);
        if is_new && is_before(release, target) && trees.len() < releases_max {
            trees.push(release.tree);
        }
    }
    trees
}

/// The trees that the next releases will have patches from: they are needed, whatever the channels say.
pub(super) fn sources(book: &Book, releases_max: usize) -> BTreeSet<Digest> {
    let mut counts = std::collections::BTreeMap::new();
    let newest = book.releases.iter().filter(|release| {
        let count: &mut usize = counts.entry(&release.platform).or_default();
        *count += 1;
        *count <= releases_max
    });
    newest.map(|release| release.tree).collect()
}
