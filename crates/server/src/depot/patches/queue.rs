//! Which patches are to be made, and in which order. Pure.
//!
//! To each live release, the newest first: from the last few releases of its platform, or of any, the newest first; after
//! all of those, from what devices asked for; at last the bundles, for who has nothing yet. A pair whose turn has come is not
//! made twice, and one that failed waits. Nothing is made from a release whose files the collector may take: which ones it
//! leaves is decided here, too.

use std::collections::{BTreeMap, BTreeSet};

use updraft_core::Timestamp;
use updraft_core::digest::Digest;
use updraft_core::name::Platform;
use updraft_core::tree::patch::nothing;

use super::book::{Book, Entry, Known, Pair};
use super::later;

/// How long the files of a release that is not live stay for the next patches after a device came from it, or since it was live,
/// in seconds: 90 days.
const IDLE_MAX_SECS: i64 = 90 * 24 * 60 * 60;

/// Why there is to be a patch. What matters most comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Why {
    /// It is from one of the last releases.
    Due,
    /// Devices asked for it.
    Asked,
    /// It is the bundle of what newcomers get.
    Bundle,
}

/// When the turn of a pair comes. In their order, also across apps, whatever devices ask for waits for what is due anyway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turn {
    pub(super) why: Why,
    /// Its place in the list of its app.
    pub(super) place: usize,
    pub(super) pair: Pair,
}

/// What patches there are to be of an app, by what is live and how this server is set.
pub(super) struct Aims {
    pub(super) live: Vec<Known>,
    /// From how many of the last releases a new one gets patches.
    pub(super) releases_max: usize,
    /// The trees that get a bundle.
    pub(super) bundled: BTreeSet<Digest>,
}

/// What is remembered of an app, and what there is to be: all that is decided here follows from it.
pub(super) struct Outlook<'a> {
    book: &'a Book,
    aims: &'a Aims,
    /// The trees that patches may be made from.
    kept: BTreeSet<Digest>,
}

impl<'a> Outlook<'a> {
    pub(super) fn new(book: &'a Book, aims: &'a Aims, now: Timestamp) -> Self {
        let live = aims.live.iter().map(|release| release.tree);
        Self { book, aims, kept: live.chain(sources(book, aims.releases_max, now)).collect() }
    }

    /// The pairs to make now.
    pub(super) fn due(&self, maker: &str, now: Timestamp) -> Vec<Turn> {
        let is_due = |pair: &Pair| {
            !self.book.making.contains_key(pair)
                && !self.book.skipped.contains_key(pair)
                && match self.book.pairs.get(pair) {
                    None | Some(Entry::Asked) => true,
                    Some(Entry::Failed { tries, at, maker: failed, .. }) => {
                        Entry::again(*tries, *at, failed, maker).is_some_and(|again| again <= now)
                    }
                    Some(Entry::Made { .. } | Entry::NotSmaller { .. } | Entry::Removed) => false,
                }
        };
        let mut turns = self.wanted();
        turns.retain(|turn| is_due(&turn.pair));
        turns
    }

    /// Every pair that is made, will be, or was tried, in that order.
    pub(super) fn wanted(&self) -> Vec<Turn> {
        let mut targets: Vec<&Known> = self.aims.live.iter().collect();
        targets.sort_by(|a, b| b.version.cmp(&a.version).then_with(|| a.platform.cmp(&b.platform)));
        let (mut turns, mut seen) = (Vec::new(), BTreeSet::new());
        let mut add = |why, pair| {
            if seen.insert(pair) {
                turns.push(Turn { why, place: turns.len(), pair });
            }
        };
        for target in &targets {
            self.last(target).into_iter().for_each(|from| add(Why::Due, Pair { to: target.tree, from }));
        }
        // What a device asked for stays on the list, whatever became of it.
        for target in &targets {
            let asked = self.book.to(target.tree).filter(|(pair, _)| pair.from != nothing());
            asked.for_each(|(pair, _)| add(Why::Asked, *pair));
        }
        for target in targets {
            let (to, pair) = (target.tree, Pair { to: target.tree, from: nothing() });
            if self.aims.bundled.contains(&to) || matches!(self.book.pairs.get(&pair), Some(Entry::Made { .. })) {
                add(Why::Bundle, pair);
            }
        }
        turns
    }

    /// Whether a device may have the one tree of `pair` and be due the other: both are of known releases, the second one is
    /// live, and the first is older and of its platform or of any.
    pub(super) fn leads_on(&self, pair: &Pair) -> bool {
        self.targets(pair.to).any(|target| {
            let mut known = self.book.releases.iter().chain(&self.aims.live);
            known.any(|release| release.tree == pair.from && is_before(release, target))
        })
    }

    /// Why `pair` is on the list.
    pub(super) fn why(&self, pair: &Pair) -> Why {
        match pair.from {
            from if self.targets(pair.to).any(|target| self.last(target).contains(&from)) => Why::Due,
            from if from == nothing() => Why::Bundle,
            _ => Why::Asked,
        }
    }

    /// How many patches there are to the tree `to`, or will be, because devices asked for them.
    pub(super) fn asked_for(&self, to: Digest) -> usize {
        let costs = |entry: &Entry| !matches!(entry, Entry::NotSmaller { .. } | Entry::Removed);
        self.book.to(to).filter(|(pair, entry)| costs(entry) && self.why(pair) == Why::Asked).count()
    }

    fn targets(&self, to: Digest) -> impl Iterator<Item = &'a Known> {
        self.aims.live.iter().filter(move |target| target.tree == to)
    }

    /// The trees of the last releases before `target` whose devices may get it, of those that are kept.
    fn last(&self, target: &Known) -> Vec<Digest> {
        let mut trees = Vec::new();
        for release in self.book.releases.iter().filter(|release| self.kept.contains(&release.tree)) {
            let is_new = release.tree != target.tree && !trees.contains(&release.tree);
            if is_new && is_before(release, target) && trees.len() < self.aims.releases_max {
                trees.push(release.tree);
            }
        }
        trees
    }
}

/// Whether devices with `release` may get `target`.
fn is_before(release: &Known, target: &Known) -> bool {
    (release.platform == target.platform || release.platform.is_any()) && release.version < target.version
}

/// The trees that patches are made from, whatever the channels say: of each platform the newest release, and as many before it
/// as there are patches to it. What has been idle for long is left out, and makes room for an older one that is not.
pub(super) fn sources(book: &Book, releases_max: usize, now: Timestamp) -> BTreeSet<Digest> {
    let mut by_platform: BTreeMap<&Platform, Vec<Digest>> = BTreeMap::new();
    for release in &book.releases {
        if release.idle_since.is_none_or(|since| later(since, IDLE_MAX_SECS) > now) {
            by_platform.entry(&release.platform).or_default().push(release.tree);
        }
    }
    let many = if releases_max > 0 { releases_max + 1 } else { 0 };
    by_platform.into_values().flat_map(|newest_first| newest_first.into_iter().take(many)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(platform: &str, version: &str) -> Known {
        let tree = Digest::of(format!("{platform} {version}").as_bytes());
        Known { platform: platform.parse().unwrap(), version: version.parse().unwrap(), tree, idle_since: None }
    }

    #[test]
    fn what_is_asked_for_waits_for_what_is_due_to_every_release() {
        let [a1, a2, a3] = ["1.0.0", "2.0.0", "3.0.0"].map(|version| release("linux-x86_64", version));
        let [b1, b2] = ["1.0.0", "2.0.0"].map(|version| release("windows-x86_64", version));
        let mut book = Book::default();
        let live = [a1.clone(), a2.clone(), a3.clone(), b1.clone(), b2.clone()];
        let now = Timestamp::UNIX_EPOCH;
        book.note(&live, now);
        let pair = |from: &Known, to: &Known| Pair { from: from.tree, to: to.tree };
        assert!(book.ask(pair(&a1, &a3)));
        let bundled = BTreeSet::from([a2.tree, b2.tree]);
        let aims = [1, 2].map(|releases_max| Aims { live: live.to_vec(), releases_max, bundled: bundled.clone() });
        let outlook = |last: usize| Outlook::new(&book, &aims[last - 1], now);
        let turns = outlook(1).due("maker", now);
        let bundle = |to: &Known| Pair { from: nothing(), to: to.tree };
        let expected = [
            (Why::Due, pair(&a2, &a3)),
            (Why::Due, pair(&a1, &a2)),
            (Why::Due, pair(&b1, &b2)),
            (Why::Asked, pair(&a1, &a3)),
            (Why::Bundle, bundle(&a2)),
            (Why::Bundle, bundle(&b2)),
        ];
        assert_eq!(turns.iter().map(|turn| (turn.why, turn.pair)).collect::<Vec<_>>(), expected);
        assert!(turns.is_sorted());
        assert!(turns.iter().all(|turn| outlook(1).why(&turn.pair) == turn.why));
        assert_eq!([1, 2].map(|last| outlook(last).asked_for(a3.tree)), [1, 0]);
        for (from, to, leads) in [(&a1, &a3, true), (&a3, &a1, false), (&a1, &b2, false), (&a3, &a3, false)] {
            assert_eq!(outlook(1).leads_on(&pair(from, to)), leads, "{from:?} {to:?}");
        }
    }

    #[test]
    fn what_is_not_live_is_a_source_while_it_is_among_the_last_and_devices_come_from_it() {
        let day = |n: i64| later(Timestamp::UNIX_EPOCH, n * 24 * 60 * 60);
        let [a1, a2, a3] = ["1.0.0", "2.0.0", "3.0.0"].map(|version| release("linux-x86_64", version));
        let gone = release("windows-x86_64", "1.0.0");
        let mut book = Book::default();
        book.note(&[a1.clone(), a2.clone(), gone.clone()], day(0));
        // The newest is withdrawn, and so is a whole platform.
        book.note(&[a1.clone(), a2.clone(), a3.clone()], day(1));
        book.note(&[a1.clone(), a2.clone()], day(2));
        let trees = |of: &[&Known]| of.iter().map(|release| release.tree).collect::<BTreeSet<_>>();
        assert_eq!(sources(&book, 2, day(90)), trees(&[&a1, &a2, &a3, &gone]));
        assert_eq!(sources(&book, 2, day(91)), trees(&[&a1, &a2, &a3]));
        assert_eq!(sources(&book, 2, day(92)), trees(&[&a1, &a2]));
        assert_eq!(sources(&book, 1, day(90)), trees(&[&a2, &a3, &gone]), "the newest, and one before it");
        assert_eq!(sources(&book, 1, day(92)), trees(&[&a1, &a2]), "what is idle makes room");
        assert_eq!(sources(&book, 0, day(2)), BTreeSet::new());

        book.came_from(a3.tree, day(50));
        assert!(book.is_stale, "it is to be written down");
        assert_eq!(sources(&book, 2, day(139)), trees(&[&a1, &a2, &a3]), "a device came from it");
        book.note(std::slice::from_ref(&a3), day(200));
        assert!(sources(&book, 2, day(2_000)).contains(&a3.tree), "what is live again is not idle");
        assert!(sources(&book, 2, day(289)).contains(&a2.tree), "it was live until now");
    }

    #[test]
    fn a_bundle_takes_no_place_of_what_is_asked_for_and_is_listed_while_it_is_there() {
        let a1 = release("linux-x86_64", "1.0.0");
        let (mut book, now) = (Book::default(), Timestamp::UNIX_EPOCH);
        let aims = Aims { live: vec![a1.clone()], releases_max: 1, bundled: BTreeSet::new() };
        book.note(&aims.live, now);
        let bundle = Pair { from: nothing(), to: a1.tree };
        book.failed(bundle, "too little memory", "maker", now);
        assert_eq!(Outlook::new(&book, &aims, now).wanted(), [], "nobody is to get it any more");
        book.set(bundle, Entry::Made { bytes: 7, instead: 70, digest: None, used: now });
        let outlook = Outlook::new(&book, &aims, now);
        assert_eq!(outlook.wanted(), [Turn { why: Why::Bundle, place: 0, pair: bundle }]);
        assert_eq!((outlook.asked_for(a1.tree), outlook.leads_on(&bundle)), (0, false), "nobody orders one");
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
