//! The collector: what it takes, what it leaves, and that no publish loses anything to it.

use updraft_core::api::GcReport;
use updraft_core::digest::Digest;
use updraft_core::layout;
use updraft_core::tree::stored::{Encoding, Hint, pack};
use updraft_server::depot::{Depot, Error, Options, Repair};
use updraft_server::store::Store;
use updraft_server::store::faulty::Fault;
use updraft_testkit::{TreeFixture, clock, keys};

use super::depot_support::*;

async fn depot() -> (Store, Depot) {
    let (store, online) = with_one_release().await;
    let depot = open(&store, &online, clock::now()).await;
    // What the first commits left behind is not what these tests are about.
    depot.gc(wet(), clock::now()).await.unwrap();
    depot.gc(wet(), clock::days(8)).await.unwrap();
    (store, depot)
}

async fn is_there(store: &Store, content: &[u8]) -> bool {
    store.stat(&layout::blob(&app(), Digest::of(content), Encoding::Raw)).await.unwrap().is_some()
}

#[tokio::test]
async fn garbage_is_condemned_waits_and_goes() {
    let (store, depot) = depot().await;
    let kept = depot.gc(wet(), clock::days(8)).await.unwrap().kept;
    upload(&depot, b"garbage").await.unwrap();
    let digest = [Digest::of(b"garbage")];
    assert!(depot.missing(&app(), &digest).await.unwrap()[0].is_some());

    let report = depot.gc(dry(), clock::days(9)).await.unwrap();
    assert_eq!(report, GcReport { kept, condemned: 1, ..GcReport::default() });
    assert!(depot.missing(&app(), &digest).await.unwrap()[0].is_some(), "a dry run changes nothing");
    assert_eq!(depot.gc(wet(), clock::days(9)).await.unwrap(), report);
    assert_eq!(depot.missing(&app(), &digest).await.unwrap(), [None], "condemned counts as missing");
    assert!(is_there(&store, b"garbage").await, "and is served until its grace is over");

    let report = depot.gc(wet(), clock::after(clock::days(16), -1)).await.unwrap();
    assert_eq!(report, GcReport { kept, waiting: 1, ..GcReport::default() });
    let gone = GcReport { kept, deleted: 1, deleted_bytes: 7, ..GcReport::default() };
    assert_eq!(depot.gc(dry(), clock::days(16)).await.unwrap(), gone);
    assert!(is_there(&store, b"garbage").await);
    assert_eq!(depot.gc(wet(), clock::days(16)).await.unwrap(), gone);
    assert!(!is_there(&store, b"garbage").await);
    assert_eq!(depot.gc(wet(), clock::days(17)).await.unwrap(), GcReport { kept, ..GcReport::default() });
    assert_eq!(store.list("private/", None, 10).await.unwrap(), [], "no mark is left");
    assert_sound(&depot).await;
}

#[tokio::test]
async fn what_is_uploaded_again_is_pardoned() {
    let (store, depot) = depot().await;
    upload(&depot, b"needed after all").await.unwrap();
    depot.gc(wet(), clock::days(9)).await.unwrap();
    upload(&depot, b"needed after all").await.unwrap();
    assert!(depot.missing(&app(), &[Digest::of(b"needed after all")]).await.unwrap()[0].is_some());
    // Its grace begins anew.
    let report = depot.gc(wet(), clock::days(17)).await.unwrap();
    assert_eq!((report.condemned, report.deleted), (1, 0));
    assert!(is_there(&store, b"needed after all").await);

    let tree = build("x");
    upload_tree(&depot, &tree).await.unwrap();
    depot.gc(wet(), clock::days(18)).await.unwrap();
    upload_tree(&depot, &tree).await.unwrap();
    assert_eq!(depot.gc(dry(), clock::days(25)).await.unwrap().deleted, 1, "only the old blob");
}

#[tokio::test]
async fn a_publish_that_asked_before_the_condemnation_is_told_and_loses_nothing() {
    let (store, depot) = depot().await;
    let release = document("1.1.0", "any", &build("1.1.0"));
    upload_tree(&depot, &build("1.1.0")).await.unwrap();
    let view = depot.view(&app()).unwrap();
    let new = submission(&view, 3, std::slice::from_ref(&release), Some(promotion("stable", &release.name())));

    depot.gc(wet(), clock::days(9)).await.unwrap();
    let told = depot.accept(&app(), &new, clock::days(9)).await.unwrap_err();
    assert!(matches!(told, Error::Missing { count: 1, .. }), "{told}");
    upload_tree(&depot, &build("1.1.0")).await.unwrap();
    depot.accept(&app(), &new, clock::days(9)).await.unwrap();

    let report = depot.gc(wet(), clock::days(30)).await.unwrap();
    assert_eq!(report.pardoned, 0, "uploading pardoned it");
    assert!(is_there(&store, build("1.1.0").content("bin/app")).await);
    assert_sound(&depot).await;
}

#[tokio::test]
async fn a_condemned_raw_object_does_not_count_beside_a_compressed_one() {
    let (store, depot) = depot().await;
    let content = b"nothing names this yet".repeat(100);
    let digest = Digest::of(&content);
    upload(&depot, &content).await.unwrap();
    depot.gc(wet(), clock::days(1)).await.unwrap();
    let frame = zstd::bulk::compress(&content, 3).unwrap();
    let mut compressed = depot.upload(&app(), digest, Encoding::Zstd, 0).await.unwrap();
    compressed.write(frame.clone().into()).await.unwrap();
    compressed.finish().await.unwrap();
    assert!(is_there(&store, &content).await, "condemned, not deleted");
    let stored = updraft_core::api::BlobStored { size: frame.len() as u64, zstd: true, raw: false };
    assert_eq!(depot.missing(&app(), &[digest]).await.unwrap(), [Some(stored)]);
}

#[tokio::test]
async fn a_mark_on_what_is_live_is_taken_away() {
    let (store, depot) = depot().await;
    let blob = layout::blob(&app(), Digest::of(b"program 1.0.0"), Encoding::Raw);
    // As another process leaves it whose look at the head was older than a publish; and one on what is not there.
    for object in [blob.as_str(), "apps/demo/trees/gone"] {
        let mark = layout::private("condemned", &format!("demo {}", Digest::of(object.as_bytes())));
        store.put(&mark, r#"{"object":"","since":"2025-01-01T00:00:00Z"}"#.into()).await.unwrap();
    }
    assert_eq!(depot.missing(&app(), &[Digest::of(b"program 1.0.0")]).await.unwrap(), [None]);
    let report = depot.gc(wet(), clock::days(9)).await.unwrap();
    assert_eq!((report.pardoned, report.deleted), (1, 0));
    assert!(store.stat(&blob).await.unwrap().is_some());
    assert_eq!(store.list("private/", None, 10).await.unwrap(), []);
}

#[tokio::test]
async fn what_a_dropped_release_had_for_itself_goes_and_what_others_share_stays() {
    let (store, depot) = depot().await;
    let now = clock::days(9);
    for version in ["1.1.0", "1.2.0"] {
        publish(&depot, version, "any", Some("stable"), now).await.unwrap();
    }
    let mut device = Device::default();
    device.refresh(&store, now).await;
    let view = depot.view(&app()).unwrap();
    let targets = targets_of(&view, view.targets.version + 1, |targets| {
        targets.targets.remove("releases/any/1.0.0.json").unwrap();
    });
    depot.accept(&app(), &signed(&view, &targets, &[], None, &keys::targets()), now).await.unwrap();
    depot.gc(wet(), now).await.unwrap();
    depot.renew(clock::days(20)).await;
    let report = depot.gc(wet(), clock::days(20)).await.unwrap();
    assert!(report.deleted >= 3, "document, tree, blob: {report:?}");
    assert!(!is_there(&store, b"program 1.0.0").await);
    for content in [&b"program 1.1.0"[..], b"program 1.2.0", b"the same in every version"] {
        assert!(is_there(&store, content).await);
    }
    assert!(store.stat(&layout::tree(&app(), build("1.0.0").tree().digest())).await.unwrap().is_none());
    // Everybody still finds the way: who was here before, and who begins with the first root.
    device.refresh(&store, clock::days(20)).await;
    Device::default().refresh(&store, clock::days(20)).await;
    assert_sound(&depot).await;
    let tuf = store.list("apps/demo/tuf/", None, 100).await.unwrap();
    let old = tuf.iter().filter(|(key, _)| !depot.view(&app()).unwrap().metadata.contains_key(key)).count();
    assert_eq!(old, 0, "superseded metadata is gone: {tuf:?}");
}

#[tokio::test]
async fn what_is_not_known_here_is_left_alone() {
    let (store, depot) = depot().await;
    let keys = ["apps/demo/patches/a/b", "apps/demo/blobs/xx/nonsense", "apps/demo/later/x", "apps/zzz/blobs/aa/b"];
    for key in keys {
        store.put(&layout::Key::parse(key).unwrap(), "?".into()).await.unwrap();
    }
    for days in [9, 30, 60] {
        depot.gc(wet(), clock::days(days)).await.unwrap();
    }
    for key in keys {
        assert!(store.stat(&layout::Key::parse(key).unwrap()).await.unwrap().is_some(), "{key}");
    }
}

/// The story: `fsck --repair` deleted a damaged tree. From then on every collection failed, and nothing was ever freed.
#[tokio::test]
async fn while_a_tree_is_lost_no_blob_is_taken_and_all_else_is_collected() {
    let (store, depot) = depot().await;
    let sound = depot.gc(dry(), clock::days(8)).await.unwrap();
    let (good, _) = store.read(&live_tree(), 10_000).await.unwrap().unwrap();
    upload(&depot, b"garbage").await.unwrap();
    depot.gc(wet(), clock::days(9)).await.unwrap();
    let files = TreeFixture::of(&[("a", "garbage")]);
    let garbage = layout::tree(&app(), files.tree().digest());
    depot.put_tree(&app(), files.tree().digest(), pack(&files.tree(), &Hint::new()).into()).await.unwrap();
    for (damage, days) in [(Some("rubbish"), 20), (None, 30)] {
        match damage {
            Some(bytes) => store.put(&live_tree(), bytes.into()).await.unwrap(),
            None => store.delete(&live_tree()).await.unwrap(),
        }
        depot.gc(wet(), clock::days(days)).await.unwrap();
        assert!(is_there(&store, b"garbage").await, "it may be a blob of the tree");
        let problems = depot.fsck(Repair::Nothing).await.unwrap().problems;
        assert!(problems.iter().any(|problem| problem.contains(live_tree().as_str())), "{problems:?}");
    }
    assert!(store.stat(&garbage).await.unwrap().is_none(), "no release has such a tree");
    store.put(&live_tree(), good).await.unwrap();
    assert_eq!(depot.gc(wet(), clock::days(31)).await.unwrap().condemned, 1, "the garbage");
    depot.gc(wet(), clock::days(40)).await.unwrap();
    assert_eq!(depot.gc(wet(), clock::days(41)).await.unwrap(), sound);
    assert!(!is_there(&store, b"garbage").await);
}

fn live_tree() -> layout::Key {
    layout::tree(&app(), build("1.0.0").tree().digest())
}

#[tokio::test]
async fn a_publisher_and_a_collector() {
    let mut told = 0;
    for seed in 0..60 {
        let (plain, online) = with_one_release().await;
        let early = open(&plain, &online, clock::now()).await;
        // What 1.1.0 needs was uploaded long ago and condemned; its grace is over, or nearly, or it is not condemned yet.
        upload_tree(&early, &build("1.1.0")).await.unwrap();
        if seed % 3 > 0 {
            early.gc(wet(), clock::days(seed as i64 % 3)).await.unwrap();
        }
        drop(early);
        let (store, heads) = yielding(&plain, seed);
        let depot = open(&store, &online, clock::days(8)).await;
        let publisher = publish(&depot, "1.1.0", "any", Some("stable"), clock::days(8));
        let (published, collected) = tokio::join!(publisher, depot.gc(wet(), clock::days(8)));
        published.unwrap();
        told += u64::from(collected.unwrap().deleted > 0);
        assert_sound(&depot).await;
        for days in [16, 30] {
            depot.gc(wet(), clock::days(days)).await.unwrap();
            assert_sound(&depot).await;
        }
        let mut device = Device::default();
        let all = dump(&plain).await;
        let newest = heads.lock().unwrap().last().unwrap().clone();
        device.refresh_from(&all, newest, clock::days(8));
    }
    assert!(told > 0, "in some of the orders the collector is first");
}

/// A store in which what 1.1.0 needs was uploaded and condemned so long ago that it may be deleted.
async fn overdue() -> (Store, updraft_server::depot::OnlineKeys) {
    let (store, online) = with_one_release().await;
    let depot = open(&store, &online, clock::now()).await;
    upload_tree(&depot, &build("1.1.0")).await.unwrap();
    depot.gc(wet(), clock::now()).await.unwrap();
    (store, online)
}

#[tokio::test]
async fn an_upload_waits_for_the_deletion_of_what_it_brings() {
    let (store, online) = overdue().await;
    let blob = Digest::of(build("1.1.0").content("bin/app")).to_string();
    let (gated, gate) = Gate::on(&store, "delete", &blob);
    let depot = open(&gated, &online, clock::days(8)).await;
    let collector = depot.clone();
    let collecting = tokio::spawn(async move { collector.gc(wet(), clock::days(8)).await });
    // The mark is gone, the blob is not yet: now the publisher comes.
    gate.reached().await;
    let publisher = depot.clone();
    let publishing =
        tokio::spawn(async move { publish(&publisher, "1.1.0", "any", Some("stable"), clock::days(8)).await });
    assert!(!ends_by_itself(&publishing).await, "it may not count on what is being deleted");
    gate.open();
    assert!(collecting.await.unwrap().unwrap().deleted > 0);
    publishing.await.unwrap().unwrap();
    assert_sound(&depot).await;
}

#[tokio::test]
async fn what_was_pardoned_since_it_was_looked_at_stays() {
    let (store, online) = overdue().await;
    let content = build("1.1.0").content("bin/app").to_vec();
    // The collector has decided about the blob, and looks at the mark of what comes after it: the tree.
    let tree = layout::tree(&app(), build("1.1.0").tree().digest());
    let (gated, gate) = Gate::on(&store, "read", &Digest::of(tree.as_str().as_bytes()).to_string());
    let depot = open(&gated, &online, clock::days(8)).await;
    let (collector, blob) = (depot.clone(), content.clone());
    let collecting = tokio::spawn(async move { collector.gc(wet(), clock::days(8)).await });
    gate.reached().await;
    upload(&depot, &blob).await.unwrap();
    gate.open();
    assert!(collecting.await.unwrap().unwrap().deleted > 0, "the tree");
    assert!(depot.missing(&app(), &[Digest::of(&content)]).await.unwrap()[0].is_some());
    assert!(is_there(&store, &content).await);
}

#[tokio::test]
async fn metadata_that_is_taken_up_again_is_not_deleted_under_its_publisher() {
    // A publish died when its targets were written. Eight days later the same bytes are submitted again, while the
    // collector is about to free their number.
    let (store, online) = with_one_release().await;
    let release = document("1.1.0", "any", &build("1.1.0"));
    let depot = open(&store, &online, clock::now()).await;
    let new = submission(&depot.view(&app()).unwrap(), 3, std::slice::from_ref(&release), None);
    let targets = layout::Key::parse("apps/demo/tuf/3.targets.json").unwrap();
    store.create(&targets, new.targets.clone().into_bytes()).await.unwrap();
    depot.gc(wet(), clock::now()).await.unwrap();

    let (gated, gate) = Gate::on(&store, "delete", targets.as_str());
    let depot = open(&gated, &online, clock::days(8)).await;
    upload_tree(&depot, &build("1.1.0")).await.unwrap();
    let (collector, publisher) = (depot.clone(), depot.clone());
    let collecting = tokio::spawn(async move { collector.gc(wet(), clock::days(8)).await });
    gate.reached().await;
    let publishing = tokio::spawn(async move { publisher.accept(&app(), &new, clock::days(8)).await });
    assert!(!ends_by_itself(&publishing).await);
    gate.open();
    collecting.await.unwrap().unwrap();
    if publishing.await.unwrap().is_err() {
        publish(&depot, "1.1.0", "any", None, clock::days(8)).await.unwrap();
    }
    assert_sound(&depot).await;
    Device::default().refresh(&store, clock::days(8)).await;
}

#[tokio::test]
async fn what_is_published_during_a_collection_is_not_condemned() {
    let (store, online) = with_one_release().await;
    let (gated, gate) = Gate::on(&store, "list", "private/condemned");
    let depot = open(&gated, &online, clock::now()).await;
    upload_tree(&depot, &build("1.1.0")).await.unwrap();
    let collector = depot.clone();
    let collecting = tokio::spawn(async move { collector.gc(wet(), clock::now()).await });
    // What is needed has been marked; now something else is needed too.
    gate.reached().await;
    publish(&depot, "1.1.0", "any", Some("stable"), clock::now()).await.unwrap();
    gate.open();
    collecting.await.unwrap().unwrap();
    let blob = Digest::of(build("1.1.0").content("bin/app"));
    assert!(depot.missing(&app(), &[blob]).await.unwrap()[0].is_some());
}

#[tokio::test]
async fn a_crash_in_the_middle_of_a_collection() {
    for number in 1..40 {
        let (store, online) = with_one_release().await;
        let depot = open(&store, &online, clock::now()).await;
        for garbage in [&b"one"[..], b"two", b"three"] {
            upload(&depot, garbage).await.unwrap();
        }
        let at = |days| {
            let faulty = with_fault(&store, Fault::DiesAfter(number));
            let online = online.clone();
            async move {
                let depot = Depot::open(faulty, online, Options::default(), clock::now()).await;
                if let Ok(depot) = depot {
                    drop(depot.gc(wet(), clock::days(days)).await)
                }
            }
        };
        at(1).await;
        at(9).await;
        let depot = open(&store, &online, clock::days(9)).await;
        assert_sound(&depot).await;
        publish(&depot, "1.1.0", "any", Some("stable"), clock::days(9)).await.unwrap();
        upload(&depot, b"two").await.unwrap();
        assert!(depot.missing(&app(), &[Digest::of(b"two")]).await.unwrap()[0].is_some(), "{number}");
        assert_sound(&depot).await;
        for days in [10, 18] {
            depot.gc(wet(), clock::days(days)).await.unwrap();
        }
        assert_sound(&depot).await;
        assert_eq!(store.list("private/", None, 10).await.unwrap().len(), 0, "{number}");
    }
}
