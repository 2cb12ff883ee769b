//! Which bytes to fetch, and which to reuse.
//!
//! [`routes`] says which way to try first, by what each is said to cost; [`plan`] says what is to be done about each file. They
//! never fail and never touch a disk: at worst the answer is "fetch everything". Offers are hints from an untrusted server; a
//! lying offer costs a retry by the next way, never a wrong file.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::path::RelPath;
use crate::tree::stored::{Hint, Stored};
use crate::tree::{Kind, Tree};

/// How the files of a tree get here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Route {
    /// By whole blobs of those that changed.
    Blobs,
    /// By all blobs: nothing of it is here.
    Full,
    /// By a patch from exactly the tree that is here.
    Patch,
    /// By one bundle of all its files: a patch from nothing.
    Bundle,
}

impl Route {
    /// Whether it needs nothing but what the release itself names, so that there is no other way behind it.
    fn is_last(self) -> bool {
        matches!(self, Self::Blobs | Self::Full)
    }
}

/// A way that is offered, with the bytes that it is said to take. Neither is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer {
    /// The way.
    pub route: Route,
    /// What travels.
    pub bytes: u64,
}

/// The ways to try, in this order: each when the one before came to nothing. The cheapest is first, and of two that cost the
/// same the one that is less work; behind whole blobs there is nothing left to try.
pub fn routes(offers: impl IntoIterator<Item = Offer>) -> Vec<Offer> {
    let mut offers: Vec<Offer> = offers.into_iter().collect();
    offers.sort_by_key(|offer| (offer.bytes, !offer.route.is_last()));
    let last = offers.iter().position(|offer| offer.route.is_last());
    offers.truncate(last.map_or(offers.len(), |last| last + 1));
    offers
}

/// Whether a bundle of a release may cost less than `blobs` bytes of its blobs, where all of them have `full`: whether it is worth a
/// request to ask. On real releases it was half to four fifths of the blobs; a quarter is far from that.
pub fn is_bundle_likely(blobs: u64, full: u64) -> bool {
    blobs >= full / 4
}

/// What is there of a tree, or can be had, beside what is installed. Nothing in here is believed.
#[derive(Debug, Clone, Default)]
pub struct Offers {
    /// How each blob is stored, as far as it is known.
    pub blobs: Hint,
    /// What a patch has made.
    pub made: BTreeSet<Digest>,
}

/// Where the content of one file comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The same path has it, with the same mode: nothing to do.
    Keep,
    /// Another path, or the same one under another mode, has the content.
    Copy {
        /// The path in the old tree.
        from: RelPath,
    },
    /// It is fetched as a blob.
    Fetch(Digest),
    /// A patch has made it.
    Made(Digest),
    /// It is empty.
    Empty,
}

/// A blob to fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fetch {
    /// Its name.
    pub digest: Digest,
    /// Bytes in it.
    pub size: u64,
    /// How it is said to be stored.
    pub stored: Option<Stored>,
}

impl Fetch {
    /// How many bytes travel for it: what is offered, and never more than the blob itself.
    pub fn cost(&self) -> u64 {
        self.stored.map_or(self.size, |stored| stored.size.min(self.size))
    }
}

/// What to do to get from one tree to another.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// For each regular file of the new tree, where its content comes from.
    pub files: BTreeMap<RelPath, Origin>,
    /// The blobs to fetch, each once, in the order of their digests.
    pub fetch: Vec<Fetch>,
    /// Bytes that a download of everything would take.
    pub full_bytes: u64,
}

impl Plan {
    /// Bytes that this plan fetches.
    pub fn fetch_bytes(&self) -> u64 {
        self.fetch.iter().map(Fetch::cost).sum()
    }

    /// Whether [`Self::fetch_bytes`] is what will travel, not just the most that can.
    pub fn is_exact(&self) -> bool {
        self.fetch.iter().all(|fetch| fetch.stored.is_some())
    }

    /// By which way it fetches blobs.
    pub fn route(&self) -> Route {
        if self.fetch_bytes() < self.full_bytes { Route::Blobs } else { Route::Full }
    }

    /// How many files have each kind of origin: kept, copied, fetched, made, empty.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for origin in self.files.values() {
            *match origin {
                Origin::Keep => &mut counts.kept,
                Origin::Copy { .. } => &mut counts.copied,
                Origin::Fetch(_) => &mut counts.fetched,
                Origin::Made(_) => &mut counts.made,
                Origin::Empty => &mut counts.empty,
            } += 1;
        }
        counts
    }
}

/// How many files come from where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Stay as they are.
    pub kept: u64,
    /// Are copied from another path.
    pub copied: u64,
    /// Are fetched.
    pub fetched: u64,
    /// Are made by a patch.
    pub made: u64,
    /// Are empty.
    pub empty: u64,
}

/// The cheapest way from `have` to `want`.
///
/// `have` is what is really there: a file that was edited or is missing must not be in it, or be in it as it is now.
pub fn plan(have: &Tree, want: &Tree, offers: &Offers) -> Plan {
    let mut where_is: HashMap<Digest, &RelPath> = HashMap::new();
    for file in have.files() {
        where_is.entry(file.digest).or_insert(file.path);
    }
    let stored = |digest: Digest, size: u64| Fetch { digest, size, stored: offers.blobs.get(&digest).copied() };
    let files: BTreeMap<RelPath, Origin> = want
        .files()
        .map(|file| {
            let same = Kind::File { mode: file.mode, size: file.size, digest: file.digest };
            let origin = if have.get(file.path) == Some(&same) {
                Origin::Keep
            } else if file.size == 0 {
                Origin::Empty
            } else if let Some(Kind::File { digest, .. }) = have.get(file.path)
                && *digest == file.digest
            {
                Origin::Copy { from: file.path.clone() }
            } else if let Some(from) = where_is.get(&file.digest) {
                Origin::Copy { from: (*from).clone() }
            } else if offers.made.contains(&file.digest) {
                Origin::Made(file.digest)
            } else {
                Origin::Fetch(file.digest)
            };
            (file.path.clone(), origin)
        })
        .collect();
    let blobs = want.blobs();
    let mut fetch: Vec<Digest> = files
        .values()
        .filter_map(|origin| match origin {
            Origin::Fetch(digest) => Some(*digest),
            _ => None,
        })
        .collect();
    fetch.sort_unstable();
    fetch.dedup();
    Plan {
        files,
        fetch: fetch.into_iter().map(|digest| stored(digest, blobs[&digest])).collect(),
        full_bytes: blobs.iter().map(|(digest, size)| stored(*digest, *size).cost()).sum(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::patch;
    use crate::tree::stored::Encoding;
    use crate::tree::tests::any_tree;
    use proptest::prelude::*;

    /// Does what the plan says, on a model: content is named by its digest.
    fn execute(plan: &Plan, have: &Tree, want: &Tree) -> BTreeMap<RelPath, Digest> {
        let content = |path: &RelPath| match have.get(path) {
            Some(Kind::File { digest, .. }) => *digest,
            other => panic!("{path} was to be reused and is {other:?}"),
        };
        want.files()
            .map(|file| {
                let digest = match &plan.files[file.path] {
                    Origin::Keep => content(file.path),
                    Origin::Copy { from } => content(from),
                    Origin::Fetch(digest) => {
                        assert!(plan.fetch.iter().any(|fetch| fetch.digest == *digest));
                        *digest
                    }
                    Origin::Made(digest) => panic!("{digest} was not made"),
                    Origin::Empty => Digest::of(b""),
                };
                (file.path.clone(), digest)
            })
            .collect()
    }

    proptest! {
        #[test]
        fn any_plan_yields_exactly_what_is_wanted(have in any_tree(), want in any_tree()) {
            let plan = plan(&have, &want, &Offers::default());
            let expected: BTreeMap<_, _> = want.files().map(|f| (f.path.clone(), f.digest)).collect();
            prop_assert_eq!(execute(&plan, &have, &want), expected);
            prop_assert!(plan.fetch_bytes() <= plan.full_bytes);
        }

        #[test]
        fn the_same_tree_costs_nothing(tree in any_tree()) {
            let plan = plan(&tree, &tree, &Offers::default());
            prop_assert_eq!(plan.fetch_bytes(), 0);
            prop_assert!(plan.files.values().all(|origin| *origin == Origin::Keep));
        }

        #[test]
        fn a_lying_offer_never_costs_more_than_the_blobs(have in any_tree(), want in any_tree(), size: u64) {
            let stored = Stored { encoding: Encoding::Zstd, size };
            let blobs = want.blobs().keys().map(|digest| (*digest, stored)).collect();
            let offers = Offers { blobs, ..Offers::default() };
            let lied = plan(&have, &want, &offers);
            prop_assert!(lied.fetch_bytes() <= plan(&have, &want, &Offers::default()).fetch_bytes());
        }

        #[test]
        fn what_a_patch_makes_is_not_fetched(have in any_tree(), want in any_tree(), nth in any::<prop::sample::Index>()) {
            let lacking: Vec<Digest> = patch::lacking(&have, &want).iter().map(|file| file.digest).collect();
            let made = if lacking.is_empty() { BTreeSet::new() } else { BTreeSet::from([*nth.get(&lacking)]) };
            let plan = plan(&have, &want, &Offers { made: made.clone(), ..Offers::default() });
            let fetched: BTreeSet<Digest> = plan.fetch.iter().map(|fetch| fetch.digest).collect();
            prop_assert!(made.is_disjoint(&fetched));
            prop_assert_eq!(fetched.union(&made).copied().collect::<BTreeSet<_>>(), lacking.into_iter().collect());
        }

        #[test]
        fn no_route_costs_more_than_whole_blobs(
            patch in prop::option::of(0..100_u64), bundle in prop::option::of(0..100_u64), blobs in 0..100_u64, full in 0..100_u64,
        ) {
            let may_fail = [(Route::Patch, patch), (Route::Bundle, bundle)];
            let may_fail = may_fail.into_iter().filter_map(|(route, bytes)| Some(Offer { route, bytes: bytes? }));
            let last = [(Route::Blobs, blobs), (Route::Full, full)].map(|(route, bytes)| Offer { route, bytes });
            let routes = routes(may_fail.clone().chain(last));
            prop_assert!(routes.is_sorted_by_key(|offer| offer.bytes));
            prop_assert_eq!(routes.last().unwrap().bytes, blobs.min(full), "there is always a way that cannot be refused");
            let cheaper = may_fail.filter(|offer| offer.bytes < blobs.min(full));
            prop_assert_eq!(routes.len() - 1, cheaper.count(), "and every cheaper one comes before it");
        }
    }

    fn tree(entries: &[(&str, &[u8], u32)]) -> Tree {
        let entry = |(path, content, mode): &(&str, &[u8], u32)| {
            let kind = Kind::File { mode: *mode, size: content.len() as u64, digest: Digest::of(content) };
            (path.parse().unwrap(), kind)
        };
        Tree::new(entries.iter().map(entry).collect()).unwrap()
    }

    #[test]
    fn moves_are_free_and_twins_are_fetched_once() {
        let have = tree(&[("old", b"moved", 0o644), ("x", b"same", 0o644)]);
        let want =
            tree(&[("a", b"twin", 0o644), ("b", b"twin", 0o644), ("new", b"moved", 0o644), ("x", b"same", 0o755)]);
        let plan = plan(&have, &want, &Offers::default());
        let path = |text: &str| text.parse::<RelPath>().unwrap();
        assert_eq!(plan.files[&path("new")], Origin::Copy { from: path("old") });
        assert_eq!(plan.files[&path("x")], Origin::Copy { from: path("x") }, "another mode needs a file of its own");
        assert_eq!((plan.fetch.len(), plan.fetch_bytes()), (1, 4));
        assert_eq!(plan.counts(), Counts { copied: 2, fetched: 2, ..Counts::default() });
        assert!(!plan.is_exact());
    }
}
