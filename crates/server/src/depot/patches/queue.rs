//! Which patches are to be made, and in which order. Pure.
//!
//! To each live release, the newest first: from the last few releases of its platform, or of any, the newest first; after
//! all of those, from what devices asked for. A pair whose turn has come is not made twice, and one that failed waits.

use std::collections::BTreeSet;

use updraft_core::Timestamp;
use updraft_core::digest::Digest;

use super::book::{Book, Entry, Known, Pair};

/// When the turn of a pair comes. In their order, also across apps, whatever devices ask for waits for what is due anyway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turn {
    /// Only because devices asked for it.
    pub(super) is_asked: bool,
    /// Its place in the list of its app.
    pub(super) place: usize,
    pub(super) pair: Pair,
}

/// The pairs to make now.
pub(super) fn due(book: &Book, live: &[Known], releases_max: usize, maker: &str, now: Timestamp) -> Vec<Turn> {
    let is_due = |pair: &Pair| {
        !book.making.contains_key(pair)
            && !book.skipped.contains_key(pair)
            && match book.pairs.get(pair) {
                None | Some(Entry::Asked) => true,
                Some(Entry::Failed { tries, at, maker: failed, .. }) => {
                    Entry::again(*tries, *at, failed, maker).is_some_and(|again| again <= now)
                }
                Some(Entry::Made { .. } | Entry::NotSmaller { .. }) => false,
            }
    };
    let mut turns = wanted(book, live, releases_max);
    turns.retain(|turn| is_due(&turn.pair));
    turns
}

/// Every pair that is made, will be, or was tried, in that order.
pub(super) fn wanted(book: &Book, live: &[Known], releases_max: usize) -> Vec<Turn> {
    let mut targets: Vec<&Known> = live.iter().collect();
    targets.sort_by(|a, b| b.version.cmp(&a.version).then_with(|| a.platform.cmp(&b.platform)));
    let (mut turns, mut seen) = (Vec::new(), BTreeSet::new());
    let mut add = |is_asked, pair| {
        if seen.insert(pair) {
            turns.push(Turn { is_asked, place: turns.len(), pair });
        }
    };
    for target in &targets {
        last(book, target, releases_max).into_iter().for_each(|from| add(false, Pair { to: target.tree, from }));
    }
    // What a device asked for stays on the list, whatever became of it.
    for target in &targets {
        book.to(target.tree).for_each(|(pair, _)| add(true, *pair));
    }
    turns
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

#[cfg(test)]
mod tests {
    use super::*;

    fn release(platform: &str, version: &str) -> Known {
        let tree = Digest::of(format!("{platform} {version}").as_bytes());
        Known { platform: platform.parse().unwrap(), version: version.parse().unwrap(), tree }
    }

    #[test]
    fn what_is_asked_for_waits_for_what_is_due_to_every_release() {
        let [a1, a2, a3] = ["1.0.0", "2.0.0", "3.0.0"].map(|version| release("linux-x86_64", version));
        let [b1, b2] = ["1.0.0", "2.0.0"].map(|version| release("windows-x86_64", version));
        let mut book = Book::default();
        let live = [a1.clone(), a2.clone(), a3.clone(), b1.clone(), b2.clone()];
        book.note(&live);
        let pair = |from: &Known, to: &Known| Pair { from: from.tree, to: to.tree };
        assert!(book.ask(pair(&a1, &a3)));
        let turns = due(&book, &live, 1, "maker", Timestamp::UNIX_EPOCH);
        let expected =
            [(false, pair(&a2, &a3)), (false, pair(&a1, &a2)), (false, pair(&b1, &b2)), (true, pair(&a1, &a3))];
        assert_eq!(turns.iter().map(|turn| (turn.is_asked, turn.pair)).collect::<Vec<_>>(), expected);
        assert!(turns.is_sorted());
        assert_eq!([1, 2].map(|last| asked_for(&book, &live, last, a3.tree)), [1, 0]);
        for (from, to, leads) in [(&a1, &a3, true), (&a3, &a1, false), (&a1, &b2, false), (&a3, &a3, false)] {
            assert_eq!(leads_on(&book, &live, &pair(from, to)), leads, "{from:?} {to:?}");
        }
    }

    #[test]
    fn what_is_left_out_holds_no_place_of_what_is_asked_for() {
        let mut book = Book::default();
        let pair = |n: u64| Pair { from: Digest::of(&n.to_be_bytes()), to: Digest::of(b"to") };
        let asked = (0..1_000).take_while(|n| book.ask(pair(*n))).count() as u64;
        assert!((1..1_000).contains(&asked));
        book.skipped.insert(pair(0), "too large".to_owned());
        assert!(book.ask(pair(asked)), "the place is free");
        assert!(!book.ask(pair(asked + 1)));
    }
}
