//! Bundles: made of what newcomers get, after everything else; kept while they get it.

use std::sync::Arc;

use updraft_core::api::PatchState;
use updraft_core::layout;
use updraft_server::depot::{Depot, Error, OnlineKeys, Options, Pair};
use updraft_server::store::Store;
use updraft_testkit::{TreeFixture, clock, noise};

use super::depot_support::*;
use super::patches_support::*;

/// Files that are alike, so that together they are smaller than one by one.
fn alike(version: &str) -> TreeFixture {
    let file = |n: u64| [noise(n, 1_000), noise(7, 40_000), version.as_bytes().to_vec()].concat();
    (1..4).fold(TreeFixture::of(&[]), |files, n| files.with(&format!("lib/{n}"), file(n)))
}

fn bundle_of(files: &TreeFixture) -> Pair {
    pair(&TreeFixture::of(&[]), files)
}

/// A depot with two releases on stable: of the newest there is to be a bundle.
async fn with_two(store: &Store) -> Depot {
    let options = Options { patch_releases: 1, patch_bundles: true, ..Options::default() };
    let depot = Depot::open(store.clone(), OnlineKeys::memory(), options, clock::now()).await.unwrap();
    create(&depot, clock::now()).await.unwrap();
    for version in ["1.0.0", "1.1.0"] {
        publish(&depot, version).await;
    }
    depot
}

async fn publish(depot: &Depot, version: &str) {
    publish_files(depot, version, "any", Some("stable"), &alike(version), clock::now()).await.unwrap();
    // As the maker does whenever something is published.
    listed(depot).await;
}

async fn is_made(depot: &Depot, pair: Pair) -> bool {
    matches!(state_of(depot, pair).await, Some(PatchState::Made { .. }))
}

#[tokio::test]
async fn the_bundle_is_made_last_and_of_what_newcomers_get_only() {
    let dir = tempfile::tempdir().unwrap();
    for store in [Store::memory(), Store::local(dir.path()).unwrap()] {
        let depot = with_two(&store).await;
        let bundle = bundle_of(&alike("1.1.0"));
        let bench = Arc::new(Bench::default());
        let _making = Making::of(&depot, &bench);
        until("the bundle", async || is_made(&depot, bundle).await).await;
        let asked = bench.asked.lock().unwrap().clone();
        assert_eq!(asked, [pair(&alike("1.0.0"), &alike("1.1.0")), bundle]);
        let Some(PatchState::Made { bytes, instead }) = state_of(&depot, bundle).await else { panic!("not made") };
        assert!((40_000..60_000).contains(&bytes) && instead > 120_000, "{bytes} instead of {instead}");
        assert!(store.stat(&layout::patch(&app(), bundle.from, bundle.to)).await.unwrap().is_some());
        assert_sound(&depot).await;
    }
}

#[tokio::test]
async fn a_bundle_goes_when_newcomers_get_something_else() {
    let store = Store::memory();
    let depot = with_two(&store).await;
    let bundles = ["1.1.0", "1.2.0"].map(|version| bundle_of(&alike(version)));
    let bytes = |version| patch(&TreeFixture::of(&[]), &alike(version));
    hand_in(&depot, bundles[0], &bytes("1.1.0"), clock::now()).await.unwrap();
    let there = async |pair: Pair| {
        let key = layout::patch(&app(), pair.from, pair.to);
        for days in [1, 9, 17] {
            depot.gc(wet(), clock::days(days)).await.unwrap();
        }
        store.stat(&key).await.unwrap().is_some()
    };
    assert!(there(bundles[0]).await);
    publish(&depot, "1.2.0").await;
    hand_in(&depot, bundles[1], &bytes("1.2.0"), clock::now()).await.unwrap();
    assert_eq!((there(bundles[0]).await, there(bundles[1]).await), (false, true));
    assert_eq!(state_of(&depot, bundles[0]).await, None, "it is not on the list any more");
}

#[tokio::test]
async fn a_bundle_that_hardly_saves_is_not_kept() {
    let store = Store::memory();
    let depot = with_two(&store).await;
    // Together they are as long as one by one, but for one byte in twenty.
    let files = TreeFixture::of(&[("text", &"a".repeat(6_000))]).with("noise", noise(3, 100_000));
    publish_files(&depot, "1.3.0", "any", Some("stable"), &files, clock::now()).await.unwrap();
    let bundle = bundle_of(&files);
    let bytes = patch(&TreeFixture::of(&[]), &files);
    assert!((100_000..106_000).contains(&bytes.len()), "{}", bytes.len());
    let said = hand_in(&depot, bundle, &bytes, clock::now()).await.unwrap_err();
    assert!(matches!(&said, Error::Refused(reason) if reason.contains("hardly smaller than the")), "{said}");
    let _making = Making::of(&depot, &Arc::new(Bench::default()));
    let is_left = async || matches!(state_of(&depot, bundle).await, Some(PatchState::NotSmaller { .. }));
    until("it was tried", is_left).await;
}

#[tokio::test]
async fn whoever_wants_none_gets_none() {
    let store = Store::memory();
    let (online, two) = (OnlineKeys::memory(), alike("1.1.0"));
    let options = Options { patch_releases: 1, patch_bundles: false, ..Options::default() };
    let depot = Depot::open(store.clone(), online, options, clock::now()).await.unwrap();
    create(&depot, clock::now()).await.unwrap();
    publish(&depot, "1.0.0").await;
    publish(&depot, "1.1.0").await;
    let pairs: Vec<_> = listed(&depot).await.into_iter().map(|patch| (patch.from, patch.to)).collect();
    assert_eq!(pairs, [(alike("1.0.0").tree().digest(), two.tree().digest())]);
    // One that somebody else made stays all the same.
    let bundle = bundle_of(&two);
    hand_in(&depot, bundle, &patch(&TreeFixture::of(&[]), &two), clock::now()).await.unwrap();
    for days in [1, 9, 17] {
        depot.gc(wet(), clock::days(days)).await.unwrap();
    }
    assert!(store.stat(&layout::patch(&app(), bundle.from, bundle.to)).await.unwrap().is_some());
}
