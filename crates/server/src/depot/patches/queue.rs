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
        let first = Pair { to: target.tree, from: Digest::from_bytes([0; 32]) };
        let of_target = book.pairs.range(first..).map(|(pair, _)| *pair).take_while(|pair| pair.to == target.tree);
        pairs.extend(of_target.filter(|pair| seen.insert(*pair)));
    }
    pairs
}

/// The trees of the last releases before `target` whose devices may get it.
fn last(book: &Book, target: &Known, releases_max: usize) -> Vec<Digest> {
    let mut trees = Vec::new();
    for release in &book.releases {
        let fits = release.platform == target.platform || release.platform.is_any();
        let is_new = release.tree != target.tree && !trees.contains(&release.tree);
        if fits && is_new && release.version < target.version && trees.len() < releases_max {
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
