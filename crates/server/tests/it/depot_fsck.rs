//! The check of a store: whatever is damaged or lost is named, and what can be mended is.

use bytes::Bytes;
use updraft_core::api::GcRequest;
use updraft_core::digest::Digest;
use updraft_core::layout;
use updraft_core::tree::stored::Encoding;
use updraft_core::trust::{MetadataFile, Role};
use updraft_server::depot::Repair;
use updraft_server::store::Kind;
use updraft_server::store::faulty::Fault;
use updraft_testkit::clock;

use super::depot_support::*;

#[tokio::test]
async fn every_damage_and_every_loss_is_named() {
    let (store, online) = with_one_release().await;
    let depot = open(&store, &online, clock::now()).await;
    publish(&depot, "1.1.0", "any", Some("stable"), clock::now()).await.unwrap();
    // One blob as a zstd frame.
    let view = depot.view(&app()).unwrap();
    for days in [1, 10] {
        depot.gc(GcRequest { dry_run: false }, clock::days(days)).await.unwrap();
    }
    assert_sound(&depot).await;
    let all = dump(&store).await;
    assert!(all.len() > 12);
    for (key, good) in &all {
        let mut flipped = good.to_vec();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 1;
        for (what, bytes) in [("flipped", Some(flipped)), ("cut", Some(good[..middle].to_vec())), ("lost", None)] {
            match bytes {
                Some(bytes) => store.put(key, Bytes::from(bytes)).await.unwrap(),
                None => store.delete(key).await.unwrap(),
            }
            let report = depot.fsck(Repair::Nothing).await.unwrap();
            let is_head = *key == layout::head(&app());
            if !(is_head && what == "lost") {
                assert!(!report.problems.is_empty(), "{key}: {what}");
                let app_or_key = |p: &String| p.contains("app demo") || p.contains(key.as_str());
                assert!(report.problems.iter().all(app_or_key), "{key}: {what}: {:?}", report.problems);
                let digest = key.as_str().rsplit('/').next().unwrap().trim_end_matches(".zst");
                if key.as_str().contains("/blobs/") {
                    assert!(report.problems.iter().any(|p| p.contains(digest) && p.contains("file '")), "{report:?}");
                }
            }
            assert!(depot.view(&app()).is_some_and(|now| now.head == view.head), "devices are served all the same");
            store.put(key, good.clone()).await.unwrap();
        }
    }
    let checked = depot.fsck(Repair::Nothing).await.unwrap().checked;
    assert_eq!(checked as usize + 2, all.len(), "all but the head and root.json, which have no name to compare with");
}

#[tokio::test]
async fn a_damaged_blob_is_replaced_by_the_next_upload() {
    let (store, online) = with_one_release().await;
    let depot = open(&store, &online, clock::now()).await;
    let content = b"program 1.0.0";
    let key = layout::blob(&app(), Digest::of(content), Encoding::Raw);
    let tree = layout::tree(&app(), build("1.0.0").tree().digest());
    store.put(&key, "programme".into()).await.unwrap();
    store.put(&tree, "tree".into()).await.unwrap();
    let found = depot.fsck(Repair::Nothing).await.unwrap().problems;
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(store.stat(&key).await.unwrap().is_some(), "only said");
    depot.fsck(Repair::WhatCanBe).await.unwrap();
    assert_eq!(depot.missing(&app(), &[Digest::of(content)]).await.unwrap(), [None]);
    assert_eq!(depot.fsck(Repair::Nothing).await.unwrap().problems.len(), 1, "the tree is missing");
    upload_tree(&depot, &build("1.0.0")).await.unwrap();
    assert_sound(&depot).await;
}

#[tokio::test]
async fn derived_files_are_written_anew() {
    let (store, online) = with_one_release().await;
    let depot = open(&store, &online, clock::now()).await;
    let timestamp = layout::metadata(&app(), &MetadataFile::Timestamp);
    store.put(&timestamp, "{}".into()).await.unwrap();
    let file = MetadataFile::Versioned(Role::Snapshot, 2);
    store.put(&layout::metadata(&app(), &file), "{}".into()).await.unwrap();
    let channels = store.list("apps/demo/targets/channels/", None, 10).await.unwrap();
    for (key, _) in &channels {
        store.delete(key).await.unwrap();
    }
    let report = depot.fsck(Repair::WhatCanBe).await.unwrap();
    assert_eq!(report.problems.len(), 4, "the snapshot twice, as an object and as a copy: {report:?}");
    assert_sound(&depot).await;
    Device::default().refresh(&store, clock::now()).await;
}

/// The story: the file was deleted first, and a disk that was full then left none; the report said that all was well.
#[tokio::test]
async fn a_timestamp_that_cannot_be_written_stays_and_is_not_called_mended() {
    let (store, online) = with_one_release().await;
    let full = with_fault(&store, Fault::Refuses(1, Kind::Full));
    let depot = open(&full, &online, clock::now()).await;
    let timestamp = layout::metadata(&app(), &MetadataFile::Timestamp);
    store.put(&timestamp, "{}".into()).await.unwrap();
    for (expected, left) in [("could not be written anew: ", true), ("it was written anew", false)] {
        let report = depot.fsck(Repair::WhatCanBe).await.unwrap();
        let said = |p: &String| p.contains("timestamp.json") && p.contains(expected);
        assert!(matches!(&report.problems[..], [one] if said(one)), "{expected}: {report:?}");
        let there = store.read(&timestamp, 1 << 20).await.unwrap().expect("at no moment there is none").0;
        assert_eq!(there == "{}", left, "{expected}");
    }
    // Longer than anybody reads.
    store.put(&timestamp, vec![b' '; 1 << 20].into()).await.unwrap();
    depot.fsck(Repair::WhatCanBe).await.unwrap();
    assert_sound(&depot).await;
}

/// The story: an impatient operator asked for a check again and again. Each asking read the whole store, all at once.
#[tokio::test]
async fn one_check_waits_for_another() {
    let (store, online) = with_one_release().await;
    let (gated, gate) = Gate::on(&store, "list", "apps/demo/");
    let depot = open(&gated, &online, clock::now()).await;
    let check = || {
        let depot = depot.clone();
        tokio::spawn(async move { depot.fsck(Repair::Nothing).await.unwrap().problems })
    };
    let first = check();
    gate.reached().await;
    let second = check();
    assert!(!ends_by_itself(&second).await, "the first one reads");
    gate.open();
    assert_eq!(first.await.unwrap(), Vec::<String>::new());
    assert_eq!(second.await.unwrap(), Vec::<String>::new());
}
