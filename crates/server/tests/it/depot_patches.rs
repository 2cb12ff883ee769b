//! Patches: which are kept and which are refused; which are made, in which order, and how often one that fails is tried.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use updraft_core::Timestamp;
use updraft_core::api::{Level, Matter, PatchState};
use updraft_core::layout;
use updraft_server::depot::{Depot, Error, OnlineKeys, Options, Pair, Repair};
use updraft_server::store::Store;
use updraft_server::store::faulty::Fault;
use updraft_testkit::{TreeFixture, clock, noise};

use super::depot_support::*;
use super::patches_support::*;

const FIVE: Options = Options {
    timestamp_life_secs: 86_400,
    online_life_secs: 7_776_000,
    gc_grace_secs: 604_800,
    patch_releases: 5,
    patch_bundles: false,
};

async fn opened(store: &Store, online: &OnlineKeys) -> Depot {
    Depot::open(store.clone(), online.clone(), FIVE, clock::now()).await.unwrap()
}

/// A depot with these large releases, each on stable after the other.
async fn with_releases(store: &Store, versions: &[&str]) -> (OnlineKeys, Depot) {
    with_releases_until(store, versions, clock::now()).await
}

/// The same, and what is not live is so since `now`: the maker goes by the real clock.
async fn with_releases_until(store: &Store, versions: &[&str], now: Timestamp) -> (OnlineKeys, Depot) {
    let online = OnlineKeys::memory();
    let depot = opened(store, &online).await;
    create(&depot, clock::now()).await.unwrap();
    for version in versions {
        publish_large(&depot, version, clock::now()).await;
        // As the maker does whenever something is published.
        depot.patches(&app(), now).await.unwrap();
    }
    (online, depot)
}

fn is_made(state: Option<PatchState>) -> bool {
    matches!(state, Some(PatchState::Made { .. }))
}

#[tokio::test]
async fn a_patch_that_is_handed_in_is_kept_listed_and_removed() {
    let store = Store::memory();
    let (_, depot) = with_releases(&store, &["1.0.0", "1.1.0"]).await;
    let (old, new) = (large("1.0.0"), large("1.1.0"));
    let (pair, bytes) = (pair(&old, &new), patch(&old, &new));
    assert_eq!(state_of(&depot, pair).await, Some(PatchState::Waiting));
    hand_in(&depot, pair, &bytes, clock::now()).await.unwrap();
    let key = layout::patch(&app(), pair.from, pair.to);
    assert_eq!(store.read(&key, 1 << 20).await.unwrap().unwrap().0, bytes);
    let Some(PatchState::Made { bytes: len, instead }) = state_of(&depot, pair).await else { panic!("not made") };
    assert_eq!(len, bytes.len() as u64);
    assert!((120_000..130_000).contains(&instead), "the program and the tree: {instead}");
    assert_eq!(listed(&depot).await[0].from_release, Some(name("1.0.0", "any")));
    hand_in(&depot, pair, &bytes, clock::now()).await.expect("the same again is success");
    assert_sound(&depot).await;

    depot.remove_patch(&app(), pair, clock::now()).await.unwrap();
    assert!(store.stat(&key).await.unwrap().is_none());
    assert_eq!(state_of(&depot, pair).await, Some(PatchState::Removed));
    hand_in(&depot, pair, &bytes, clock::now()).await.expect("whoever hands it in wants it");
    assert!(is_made(state_of(&depot, pair).await));
    depot.retry_patch(&app(), pair, clock::now()).await.unwrap();
    assert!(store.stat(&key).await.unwrap().is_none());
    assert_eq!(state_of(&depot, pair).await, Some(PatchState::Waiting));
    let strange = Pair { from: pair.to, to: pair.from };
    assert!(matches!(depot.remove_patch(&app(), strange, clock::now()).await, Err(Error::NotFound(_))));
    assert!(matches!(depot.retry_patch(&app(), strange, clock::now()).await, Err(Error::NotFound(_))));
}

#[tokio::test]
async fn what_an_operator_removes_is_not_made_again_until_he_says_so() {
    let store = Store::memory();
    let (online, depot) = with_releases(&store, &["1.0.0", "1.1.0"]).await;
    let pair = pair(&large("1.0.0"), &large("1.1.0"));
    let key = layout::patch(&app(), pair.from, pair.to);
    let state = async |depot: &Depot| state_of(depot, pair).await;
    // In the making, or not begun: it is away in both cases.
    let bench = Arc::new(Bench { waits: Some(Arc::default()), ..Bench::default() });
    let making = Making::of(&depot, &bench);
    until("it is begun", async || state(&depot).await == Some(PatchState::Making)).await;
    depot.remove_patch(&app(), pair, clock::now()).await.unwrap();
    bench.waits.as_ref().unwrap().notify_one();
    // The next one can only be begun when this one has ended.
    publish_large(&depot, "1.2.0", clock::now()).await;
    until("the next is begun", async || bench.calls.load(Ordering::SeqCst) == 2).await;
    assert_eq!(state(&depot).await, Some(PatchState::Removed));
    assert!(store.stat(&key).await.unwrap().is_none());
    drop(making);

    let depot = opened(&store, &online).await;
    let bench = Arc::new(Bench::default());
    let making = Making::of(&depot, &bench);
    let next = super::patches_support::pair(&large("1.0.0"), &large("1.2.0"));
    until("all else is made", async || {
        is_made(state_of(&depot, next).await)
            && !listed(&depot).await.iter().any(|patch| matches!(patch.state, PatchState::Waiting | PatchState::Making))
    })
    .await;
    assert_eq!(state(&depot).await, Some(PatchState::Removed), "also after a restart");
    assert!(depot.health(clock::now()).await.findings.iter().all(|finding| finding.kind != Matter::Patches));
    depot.retry_patch(&app(), pair, clock::now()).await.unwrap();
    until("it is made", async || is_made(state(&depot).await)).await;
    drop(making);
    assert_sound(&depot).await;
}

#[tokio::test]
async fn what_is_no_such_patch_is_refused() {
    let store = Store::memory();
    let (_, depot) = with_releases(&store, &["1.0.0", "1.1.0", "1.2.0"]).await;
    let [first, second, third] = ["1.0.0", "1.1.0", "1.2.0"].map(large);
    let right = patch(&first, &third);
    let long = [&right[..], &noise(1, 200_000)].concat();
    let (mut other_format, mut flipped) = (right.clone(), right.clone());
    other_format[7] = 99;
    flipped[60] ^= 0xff;
    let wanted = pair(&first, &third);
    for (what, bytes, says) in [
        ("another pair's", patch(&second, &third), "it is a patch from tree"),
        ("cut", right[..right.len() - 1].to_vec(), "says that it has"),
        ("nothing", Vec::new(), "not a patch"),
        ("none", noise(2, 5_000), "does not begin as patches do"),
        ("of another format", other_format, "format 99"),
        ("longer than what it replaces", long, "no smaller than the"),
        ("named otherwise", flipped, "it is a patch"),
    ] {
        let said = hand_in(&depot, wanted, &bytes, clock::now()).await.unwrap_err();
        assert!(matches!(said, Error::Refused(_)), "{what}: {said}");
        assert!(said.to_string().contains(says), "{what}: {said}");
    }
    let nowhere = large("9.9.9");
    upload_tree(&depot, &nowhere).await.unwrap();
    let said = hand_in(&depot, pair(&first, &nowhere), &patch(&first, &nowhere), clock::now()).await.unwrap_err();
    assert!(said.to_string().contains("not that of a live release"), "{said}");
    let unknown = large("8.8.8");
    let said = hand_in(&depot, pair(&unknown, &third), &patch(&unknown, &third), clock::now()).await.unwrap_err();
    assert!(matches!(said, Error::NotFound(_)), "{said}");
    assert!(listed(&depot).await.iter().all(|patch| patch.state == PatchState::Waiting), "nothing was kept");
}

#[tokio::test]
async fn the_newest_release_comes_first_and_from_the_last_five() {
    let dir = tempfile::tempdir().unwrap();
    for store in [Store::memory(), Store::local(dir.path()).unwrap()] {
        let versions = ["1.0.0", "1.1.0", "1.2.0", "1.3.0", "1.4.0", "1.5.0", "1.6.0"];
        let (_, depot) = with_releases_until(&store, &versions, Timestamp::now()).await;
        let bench = Arc::new(Bench::default());
        let making = Making::of(&depot, &bench);
        let first = pair(&large("1.5.0"), &large("1.6.0"));
        let last = pair(&large("1.1.0"), &large("1.6.0"));
        until("the fifth back", async || is_made(state_of(&depot, last).await)).await;
        let asked = bench.asked.lock().unwrap().clone();
        let expected = ["1.5.0", "1.4.0", "1.3.0", "1.2.0", "1.1.0"].map(|from| pair(&large(from), &large("1.6.0")));
        assert_eq!(asked[..5], expected, "the newest first");
        assert!(is_made(state_of(&depot, first).await));
        assert!(state_of(&depot, pair(&large("1.0.0"), &large("1.6.0"))).await.is_none(), "the sixth is not made");
        drop(making);
        assert_sound(&depot).await;
    }
}

/// The list once named pairs whose old files the collector had taken: each was tried three times in vain, and then the operator
/// was told that it was given up.
#[tokio::test]
async fn a_patch_is_made_only_from_what_the_collector_leaves() {
    let store = Store::memory();
    let versions = ["1.0.0", "1.1.0", "1.2.0", "1.3.0", "1.4.0", "1.5.0", "1.6.0"];
    let (_, depot) = with_releases_until(&store, &versions, Timestamp::now()).await;
    for days in [1, 9] {
        depot.gc(wet(), clock::days(days)).await.unwrap();
    }
    let _making = Making::of(&depot, &Arc::new(Bench::default()));
    let is_open = |state: &PatchState| matches!(state, PatchState::Waiting | PatchState::Making);
    until("all", async || !listed(&depot).await.iter().any(|patch| is_open(&patch.state))).await;
    let patches = listed(&depot).await;
    assert!(patches.iter().all(|patch| is_made(Some(patch.state.clone()))), "{patches:?}");
    for from in ["1.5.0", "1.4.0", "1.3.0", "1.2.0", "1.1.0"] {
        assert!(is_made(state_of(&depot, pair(&large(from), &large("1.6.0"))).await), "{from}");
    }
}

#[tokio::test]
async fn a_platform_has_its_own_past_and_that_of_any() {
    let store = Store::memory();
    let (_, depot) = with_releases(&store, &["1.0.0"]).await;
    let build = |n: u64| large("other").with("more", noise(n, 1_000));
    for (n, (version, platform)) in
        [("1.1.0", "linux-x86_64"), ("1.2.0", "windows-x86_64"), ("1.3.0", "linux-x86_64")].iter().enumerate()
    {
        publish_files(&depot, version, platform, Some("stable"), &build(n as u64), clock::now()).await.unwrap();
    }
    let to = build(2).tree().digest();
    let froms: Vec<_> =
        listed(&depot).await.into_iter().filter(|patch| patch.to == to).map(|patch| patch.from).collect();
    assert_eq!(froms, [build(0).tree().digest(), large("1.0.0").tree().digest()]);
}

#[tokio::test]
async fn what_was_made_or_is_not_worth_it_is_not_made_again() {
    let store = Store::memory();
    let (online, depot) = with_releases(&store, &["1.0.0", "1.1.0"]).await;
    // Nothing is in common, and the whole is in the new files.
    let strange = TreeFixture::of(&[]).with("bin/app", noise(99, 50_000));
    publish_files(&depot, "1.2.0", "any", Some("stable"), &strange, clock::now()).await.unwrap();
    let bench = Arc::new(Bench::default());
    let making = Making::of(&depot, &bench);
    let useless = pair(&large("1.1.0"), &strange);
    let useful = pair(&large("1.0.0"), &large("1.1.0"));
    until("both", async || {
        let not_smaller = matches!(state_of(&depot, useless).await, Some(PatchState::NotSmaller { .. }));
        not_smaller && is_made(state_of(&depot, useful).await)
    })
    .await;
    drop(making);
    let calls = bench.calls.load(Ordering::SeqCst);
    assert!(store.stat(&layout::patch(&app(), useless.from, useless.to)).await.unwrap().is_none());

    let depot = opened(&store, &online).await;
    let making = Making::of(&depot, &bench);
    publish_large(&depot, "1.3.0", clock::now()).await;
    let next = pair(&large("1.1.0"), &large("1.3.0"));
    until("the next", async || is_made(state_of(&depot, next).await)).await;
    let again = bench.asked.lock().unwrap()[calls..].to_vec();
    assert!(!again.contains(&useless) && !again.contains(&useful), "{again:?}");
    drop(making);
    depot.retry_patch(&app(), useless, clock::now()).await.expect("whoever says so has it tried again");
    assert_eq!(state_of(&depot, useless).await, Some(PatchState::Waiting));
}

#[tokio::test]
async fn what_fails_is_tried_three_times_and_then_given_up_until_the_maker_is_another() {
    let store = Store::memory();
    let (online, _) = with_releases(&store, &["1.0.0", "1.1.0"]).await;
    let pair = pair(&large("1.0.0"), &large("1.1.0"));
    let bench = || Arc::new(Bench { name: "one", fails: Some("it broke"), ..Bench::default() });
    for tries in 1..=3 {
        let depot = opened(&store, &online).await;
        let bench = bench();
        let making = Making::of(&depot, &bench);
        let failed =
            async || matches!(state_of(&depot, pair).await, Some(PatchState::Failed { tries: n, .. }) if n == tries);
        until("a failure", failed).await;
        let Some(PatchState::Failed { reason, again, .. }) = state_of(&depot, pair).await else { panic!() };
        assert_eq!((reason.as_str(), again.is_none()), ("it broke", tries == 3));
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
        assert_eq!(bench.calls.load(Ordering::SeqCst), 1, "it waits for its time");
        drop(making);
        let findings = depot.health(clock::now()).await.findings;
        let finding = findings.iter().find(|finding| finding.kind == Matter::Patches);
        assert_eq!(finding.is_some(), tries == 3);
        if let Some(finding) = finding {
            assert_eq!((finding.level, finding.detail.as_deref()), (Level::Notice, Some("it broke")));
        }
        // The pause is over.
        rewind_failures(&store).await;
    }
    let given_up = opened(&store, &online).await;
    let idle = bench();
    let making = Making::of(&given_up, &idle);
    until("a look", async || given_up.patches(&app(), clock::now()).await.is_ok()).await;
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
    assert_eq!(idle.calls.load(Ordering::SeqCst), 0);
    drop(making);

    let depot = opened(&store, &online).await;
    let other = Arc::new(Bench { name: "two", ..Bench::default() });
    let _making = Making::of(&depot, &other);
    until("made by another", async || is_made(state_of(&depot, pair).await)).await;
    assert!(depot.health(clock::now()).await.findings.iter().all(|finding| finding.kind != Matter::Patches));
}

#[tokio::test]
async fn what_never_ends_because_the_server_does_counts_as_a_try() {
    let store = Store::memory();
    let (online, _) = with_releases(&store, &["1.0.0", "1.1.0"]).await;
    let pair = pair(&large("1.0.0"), &large("1.1.0"));
    let bench = Arc::new(Bench { hangs: true, ..Bench::default() });
    // Once may have been chance.
    for calls in 1..=2 {
        let depot = opened(&store, &online).await;
        let making = Making::of(&depot, &bench);
        until("it is begun", async || bench.calls.load(Ordering::SeqCst) == calls).await;
        assert_eq!(state_of(&depot, pair).await, Some(PatchState::Making));
        drop(making);
    }
    let depot = opened(&store, &online).await;
    let Some(PatchState::Failed { reason, tries, .. }) = state_of(&depot, pair).await else { panic!("no try") };
    assert!(tries == 1 && reason.contains("the server ended"), "{tries}: {reason}");
    let making = Making::of(&depot, &bench);
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
    assert_eq!(bench.calls.load(Ordering::SeqCst), 2, "not at each start");
    drop(making);

    // The pause is over; made at last, nothing is left of it.
    rewind_failures(&store).await;
    let depot = opened(&store, &online).await;
    let _making = Making::of(&depot, &Arc::new(Bench::default()));
    until("it is made", async || is_made(state_of(&depot, pair).await)).await;
}

#[tokio::test]
async fn trouble_with_the_place_is_no_failure_of_the_pair() {
    let store = Store::memory();
    let (_, depot) = with_releases(&store, &["1.0.0", "1.1.0"]).await;
    let pair = pair(&large("1.0.0"), &large("1.1.0"));
    let bench = Arc::new(Bench { troubles: 1.into(), ..Bench::default() });
    let making = Making::of(&depot, &bench);
    until("it is begun", async || bench.calls.load(Ordering::SeqCst) == 1).await;
    until("it has ended", async || state_of(&depot, pair).await != Some(PatchState::Making)).await;
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
    assert_eq!(state_of(&depot, pair).await, Some(PatchState::Waiting), "it was no try");
    assert_eq!(bench.calls.load(Ordering::SeqCst), 1, "it rests");
    drop(making);
    let _making = Making::of(&depot, &bench);
    until("it is made", async || is_made(state_of(&depot, pair).await)).await;
}

#[tokio::test]
async fn a_pair_that_breaks_the_maker_is_not_in_the_making_for_ever() {
    let store = Store::memory();
    let (_, depot) = with_releases(&store, &["1.0.0", "1.1.0"]).await;
    let pair = pair(&large("1.0.0"), &large("1.1.0"));
    let _making = Making::of(&depot, &Arc::new(Bench { panics: true, ..Bench::default() }));
    let failed = async || match state_of(&depot, pair).await {
        Some(PatchState::Failed { reason, tries, .. }) => tries == 1 && reason.contains("a defect"),
        _ => false,
    };
    until("a failure", failed).await;
}

/// Lets every failure be of long ago.
async fn rewind_failures(store: &Store) {
    let key = layout::private("patches", "demo");
    let (bytes, _) = store.read(&key, 1 << 20).await.unwrap().unwrap();
    let mut book: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    for pair in book["pairs"].as_array_mut().unwrap() {
        if pair["state"] == "failed" {
            pair["at"] = "2020-01-01T00:00:00Z".into();
        }
    }
    store.put(&key, serde_json::to_vec(&book).unwrap().into()).await.unwrap();
}

#[tokio::test]
async fn a_pair_that_is_too_large_is_left_out_with_a_reason() {
    let store = Store::memory();
    let (_, depot) = with_releases(&store, &["1.0.0", "1.1.0"]).await;
    let bench = Arc::new(Bench { old_len_max: Some(1_000), ..Bench::default() });
    let _making = Making::of(&depot, &bench);
    let pair = pair(&large("1.0.0"), &large("1.1.0"));
    let skipped = Some(PatchState::Skipped { reason: "more than 1000 bytes".to_owned() });
    until("skipped", async || state_of(&depot, pair).await == skipped).await;
    assert_eq!(bench.calls.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn what_is_remembered_may_be_lost_or_damaged() {
    let store = Store::memory();
    let (online, depot) = with_releases(&store, &["1.0.0", "1.1.0"]).await;
    let (old, new) = (large("1.0.0"), large("1.1.0"));
    let pair = pair(&old, &new);
    hand_in(&depot, pair, &patch(&old, &new), clock::now()).await.unwrap();
    let key = layout::private("patches", "demo");
    for book in [None, Some("{"), Some(r#"{"format":2,"releases":[],"pairs":[]}"#)] {
        match book {
            None => store.delete(&key).await.unwrap(),
            Some(text) => store.put(&key, text.into()).await.unwrap(),
        }
        let depot = opened(&store, &online).await;
        assert!(is_made(state_of(&depot, pair).await), "the store has the last word: {book:?}");
        assert_sound(&depot).await;
    }
    store.delete(&layout::patch(&app(), pair.from, pair.to)).await.unwrap();
    assert_eq!(state_of(&opened(&store, &online).await, pair).await, Some(PatchState::Waiting));
}

#[tokio::test]
async fn a_crash_while_a_patch_is_handed_in_loses_nothing_but_the_patch() {
    let (old, new) = (large("1.0.0"), large("1.1.0"));
    let (pair, bytes) = (pair(&old, &new), patch(&old, &new));
    let mut whole = 0;
    for number in 1..12 {
        for fault in [Fault::DiesBefore(number), Fault::DiesAfter(number), Fault::LosesAnswer(number)] {
            let store = Store::memory();
            let (online, depot) = with_releases(&store, &["1.0.0", "1.1.0"]).await;
            drop(depot);
            let acknowledged = match Depot::open(with_fault(&store, fault), online.clone(), FIVE, clock::now()).await {
                Ok(depot) => hand_in(&depot, pair, &bytes, clock::now()).await.is_ok(),
                Err(_) => false,
            };
            let depot = opened(&store, &online).await;
            let state = state_of(&depot, pair).await;
            let there = store.stat(&layout::patch(&app(), pair.from, pair.to)).await.unwrap().is_some();
            assert_eq!(is_made(state), there, "{fault:?}");
            assert!(there || !acknowledged, "{fault:?}: acknowledged and lost");
            whole += u32::from(acknowledged);
            hand_in(&depot, pair, &bytes, clock::now()).await.unwrap();
            assert_sound(&depot).await;
        }
    }
    assert!(whole > 0, "the faults went past its end");
}

#[tokio::test]
async fn the_check_names_a_damaged_patch_and_the_repair_makes_room_for_it() {
    let store = Store::memory();
    let (_, depot) = with_releases(&store, &["1.0.0", "1.1.0"]).await;
    let (old, new) = (large("1.0.0"), large("1.1.0"));
    let (pair, bytes) = (pair(&old, &new), patch(&old, &new));
    hand_in(&depot, pair, &bytes, clock::now()).await.unwrap();
    let key = layout::patch(&app(), pair.from, pair.to);
    let mut last = bytes.clone();
    *last.last_mut().unwrap() ^= 1;
    for damaged in [last, bytes[..bytes.len() - 1].to_vec(), patch(&new, &old), Vec::new()] {
        store.put(&key, damaged.into()).await.unwrap();
        let problems = depot.fsck(Repair::Nothing).await.unwrap().problems;
        assert!(matches!(problems.as_slice(), [one] if one.contains(key.as_str())), "{problems:?}");
    }
    let problems = depot.fsck(Repair::WhatCanBe).await.unwrap().problems;
    assert!(problems[0].contains("it was deleted"), "{problems:?}");
    assert_sound(&depot).await;
    assert_eq!(state_of(&depot, pair).await, Some(PatchState::Waiting));
    store.put(&layout::Key::parse("apps/demo/patches/odd").unwrap(), "x".into()).await.unwrap();
    assert!(depot.fsck(Repair::Nothing).await.unwrap().problems[0].contains("no patch has such a name"));
}

#[tokio::test]
async fn the_collector_keeps_what_patches_are_made_from_and_lets_old_patches_go() {
    let store = Store::memory();
    let versions = ["1.0.0", "1.1.0", "1.2.0", "1.3.0", "1.4.0", "1.5.0", "1.6.0"];
    let (_, depot) = with_releases(&store, &versions).await;
    let newest = large("1.6.0");
    let from = |version: &str| pair(&large(version), &newest);
    for version in ["1.5.0", "1.3.0", "1.0.0"] {
        hand_in(&depot, from(version), &patch(&large(version), &newest), clock::now()).await.unwrap();
    }
    let there = async |pair: Pair| store.stat(&layout::patch(&app(), pair.from, pair.to)).await.unwrap().is_some();
    for days in [1, 9] {
        depot.gc(wet(), clock::days(days)).await.unwrap();
    }
    let tree = |version: &str| layout::tree(&app(), large(version).tree().digest());
    assert!(store.stat(&tree("1.1.0")).await.unwrap().is_some(), "among the last five before the newest");
    assert!(store.stat(&tree("1.0.0")).await.unwrap().is_none(), "the sixth is not");
    assert!(there(from("1.0.0")).await, "it was made lately");
    assert_sound(&depot).await;
    for days in [31, 39] {
        depot.gc(wet(), clock::days(days)).await.unwrap();
    }
    assert!(!there(from("1.0.0")).await, "nobody has used it for a month");
    assert!(there(from("1.3.0")).await, "its release is among the last five");
    assert!(state_of(&depot, from("1.0.0")).await.is_none());

    // Three more, and 1.6.0 is not live any more.
    for version in ["1.7.0", "1.8.0", "1.9.0"] {
        publish_large(&depot, version, clock::days(40)).await;
        listed(&depot).await;
    }
    for days in [41, 49] {
        depot.gc(wet(), clock::days(days)).await.unwrap();
    }
    assert!(!there(from("1.5.0")).await, "nothing leads to what is not live");
    assert_sound(&depot).await;
}

/// The files of the last releases once stayed for ever, also of a platform that was given up long ago.
#[tokio::test]
async fn what_is_not_live_is_garbage_when_no_device_has_come_from_it_for_long() {
    let store = Store::memory();
    let (_, depot) = with_releases(&store, &["1.0.0", "1.1.0", "1.2.0", "1.3.0", "1.4.0"]).await;
    let there = async |version: &str| {
        let (tree, mut blobs) = (large(version).tree(), 0);
        for digest in tree.blobs().keys() {
            blobs += usize::from(depot.missing(&app(), &[*digest]).await.unwrap()[0].is_some());
        }
        let is_there = store.stat(&layout::tree(&app(), tree.digest())).await.unwrap().is_some();
        (is_there, blobs)
    };
    for days in [80, 89] {
        depot.gc(wet(), clock::days(days)).await.unwrap();
    }
    assert_eq!(there("1.0.0").await, (true, 2), "among the last five");
    for days in [90, 98] {
        depot.gc(wet(), clock::days(days)).await.unwrap();
    }
    assert_eq!(there("1.0.0").await, (false, 1), "what others share stays");
    assert_eq!(there("1.4.0").await, (true, 2));
    assert_sound(&depot).await;
    let patches = depot.patches(&app(), clock::days(98)).await.unwrap().patches;
    let froms: Vec<_> = patches.into_iter().map(|patch| patch.from).collect();
    assert!(froms.contains(&large("1.3.0").tree().digest()) && !froms.contains(&large("1.0.0").tree().digest()));
}
