//! What a publish is refused for, one attack or mistake at a time; after each nothing has changed.

use updraft_core::api::NewTargets;
use updraft_core::digest::Digest;
use updraft_core::layout;
use updraft_core::release::Release;
use updraft_core::signed::Envelope;
use updraft_core::tree::stored::{Encoding, Hint, pack};
use updraft_core::trust::{Role, TargetFile, Targets};
use updraft_server::depot::{Depot, Error, OnlineKeys, View};
use updraft_server::store::Store;
use updraft_testkit::{SimRepo, TreeFixture, clock, keys};

use super::depot_support::*;

/// A depot with 1.0.0 on stable, where everything that 1.1.0 needs has been uploaded.
async fn ready() -> (Depot, std::sync::Arc<View>, Release) {
    let (store, online) = with_one_release().await;
    let depot = open(&store, &online, clock::now()).await;
    upload_tree(&depot, &build("1.1.0")).await.unwrap();
    let view = depot.view(&app()).unwrap();
    (depot, view, document("1.1.0", "any", &build("1.1.0")))
}

/// The good submission, which `edit` spoils before it is signed.
fn spoilt(view: &View, release: &Release, edit: impl FnOnce(&mut Targets)) -> NewTargets {
    let targets = targets_of(view, view.targets.version + 1, |targets| {
        targets.targets.insert(release.name().target_path(), TargetFile::of(&release.encode()));
        edit(targets);
    });
    signed(view, &targets, std::slice::from_ref(release), None, &keys::targets())
}

/// Fails unless `new` is refused with `expected` in the sentence, and nothing came of it; then the good one still works.
async fn assert_refused(depot: &Depot, new: &NewTargets, expected: &str, is_kind: fn(&Error) -> bool) {
    let before = (words(&depot.view(&app()).unwrap()), dump(depot.store()).await);
    let error = depot.accept(&app(), new, clock::now()).await.expect_err(expected);
    assert!(is_kind(&error), "{expected}: {error:?}");
    assert!(error.to_string().contains(expected), "{expected}: {error}");
    assert!(!error.to_string().ends_with('.'), "{error}");
    assert_eq!(before, (words(&depot.view(&app()).unwrap()), dump(depot.store()).await), "{expected}");
}

const REFUSED: fn(&Error) -> bool = |error| matches!(error, Error::Refused(_));
const NOT_NEWER: fn(&Error) -> bool = |error| matches!(error, Error::NotNewer(_));
const CONFLICT: fn(&Error) -> bool = |error| matches!(error, Error::Conflict(_));
const MISSING: fn(&Error) -> bool = |error| matches!(error, Error::Missing { .. });

#[tokio::test]
async fn what_no_device_would_believe() {
    let (depot, view, release) = ready().await;
    let good = spoilt(&view, &release, |_| {});
    let targets = targets_of(&view, 3, |_| {});
    let by_thief = signed(&view, &targets, &[], None, &keys::thief());
    assert_refused(&depot, &by_thief, "0 of the 1 signatures", REFUSED).await;
    let altered = NewTargets { targets: good.targets.replace("\"version\":3", "\"version\":4"), ..good.clone() };
    assert_refused(&depot, &altered, "0 of the 1 signatures", REFUSED).await;
    for nonsense in ["", "{}", "[]", "{\"signatures\":[],\"signed\":{}}"] {
        let new = NewTargets { targets: nonsense.into(), ..good.clone() };
        assert_refused(&depot, &new, "targets", REFUSED).await;
    }
    let mut other_role: serde_json::Value =
        Envelope::parse(good.targets.as_bytes(), 100_000).unwrap().content().unwrap();
    other_role["_type"] = "snapshot".into();
    let new = NewTargets { targets: text(Envelope::new(&other_role).sign(&keys::targets())), ..good.clone() };
    assert_refused(&depot, &new, "another role", REFUSED).await;
    let expired = spoilt(&view, &release, |t| t.expires = updraft_core::trust::Expires::new(clock::now()));
    assert_refused(&depot, &expired, "expired", REFUSED).await;
    for edit in [
        (|t| t.delegations = None) as fn(&mut Targets),
        |t| *t = t.clone().with_channels_role(&keys::thief().public()),
        |t| t.delegations.as_mut().unwrap().roles[0].paths = Some(vec!["*".into()]),
    ] {
        assert_refused(&depot, &spoilt(&view, &release, edit), "delegates", REFUSED).await;
    }
    depot.accept(&app(), &good, clock::now()).await.unwrap();
}

/// With a stolen key one could take the last version that there is, and nobody could ever publish or rotate after it.
#[tokio::test]
async fn versions_of_targets_are_not_used_up_at_once() {
    let (depot, view, release) = ready().await;
    let last = updraft_core::limits::JSON_INT_MAX.unsigned_abs();
    for version in [view.targets.version + 1_000_001, last - 1, last] {
        let far = spoilt(&view, &release, |targets| targets.version = version);
        assert_refused(&depot, &far, &format!("version {version} leaves no room for later ones"), REFUSED).await;
    }
    let far = spoilt(&view, &release, |targets| targets.version += 999_999);
    depot.accept(&app(), &far, clock::now()).await.unwrap();
    publish(&depot, "1.2.0", "any", None, clock::now()).await.unwrap();
}

#[tokio::test]
async fn an_expired_root_stops_a_publish_before_anything_is_written() {
    let (depot, view, release) = ready().await;
    let before = dump(depot.store()).await;
    let far = clock::days(4_000);
    let targets = targets_of(&view, 3, |t| t.expires = updraft_core::trust::Expires::new(clock::days(5_000)));
    let new = signed(&view, &targets, &[release], None, &keys::targets());
    let error = depot.accept(&app(), &new, far).await.unwrap_err();
    assert!(error.to_string().contains("root: expired"), "{error}");
    assert_eq!(dump(depot.store()).await, before);
}

#[tokio::test]
async fn what_goes_back() {
    let (depot, view, release) = ready().await;
    for version in [1, 2] {
        let new = spoilt(&view, &release, |targets| targets.version = version);
        assert_refused(&depot, &new, "read it again", CONFLICT).await;
    }
    let stale = NewTargets { base: 1, ..spoilt(&view, &release, |_| {}) };
    assert_refused(&depot, &stale, "targets is at version 2", CONFLICT).await;

    for version in ["0.9", "1.0.0-rc.1"] {
        let older = document(version, "any", &build("1.1.0"));
        assert_refused(&depot, &spoilt(&view, &older, |_| {}), "is not newer than 1.0.0", NOT_NEWER).await;
    }
    for version in ["1.0", "1.0.0+build", "1"] {
        let same = document(version, "any", &build("1.1.0"));
        assert_refused(&depot, &spoilt(&view, &same, |_| {}), "exists already, as 1.0.0", NOT_NEWER).await;
    }
    let other_content = document("1.0.0", "any", &build("1.1.0"));
    assert_refused(&depot, &spoilt(&view, &other_content, |_| {}), "other content", NOT_NEWER).await;

    // A second platform of the same version, or of an older one, is neither a conflict nor older.
    let linux = document("1.0.0", "linux-x86_64", &build("1.1.0"));
    let new = submission(&view, 3, &[linux], None);
    depot.accept(&app(), &new, clock::now()).await.unwrap();
    let view = depot.view(&app()).unwrap();
    let mac = document("0.5.0", "macos-aarch64", &build("1.1.0"));
    depot.accept(&app(), &submission(&view, 4, &[mac], None), clock::now()).await.unwrap();
}

#[tokio::test]
async fn what_is_not_whole() {
    let (depot, view, release) = ready().await;
    let nowhere = build("9.9");
    let new = spoilt(&view, &document("1.1.0", "any", &nowhere), |_| {});
    assert_refused(&depot, &new, &format!("tree {}", nowhere.tree().digest()), MISSING).await;
    depot.put_tree(&app(), nowhere.tree().digest(), pack(&nowhere.tree(), &Hint::new()).into()).await.unwrap();
    let lacking = Digest::of(nowhere.content("bin/app"));
    assert_refused(&depot, &new, &format!("1 object of this release is not on the server (blob {lacking})"), MISSING)
        .await;

    let no_document = NewTargets { documents: vec![], ..spoilt(&view, &release, |_| {}) };
    assert_refused(&depot, &no_document, "document of release 1.1.0 was not submitted", REFUSED).await;
    let path = release.name().target_path();
    let longer = spoilt(&view, &release, |t| t.targets.get_mut(&path).unwrap().length += 1);
    assert_refused(&depot, &longer, "another length", REFUSED).await;
    let unhashed = spoilt(&view, &release, |t| t.targets.get_mut(&path).unwrap().hashes.sha256 = None);
    assert_refused(&depot, &unhashed, "no hash is listed", REFUSED).await;

    let foreign = Release { app: "other".parse().unwrap(), ..release.clone() };
    assert_refused(&depot, &spoilt(&view, &foreign, |_| {}), "belongs to app other", REFUSED).await;
    let renamed = spoilt(&view, &release, |targets| {
        let file = targets.targets.remove(&path).unwrap();
        targets.targets.insert(name("1.2.0", "any").target_path(), file);
    });
    assert_refused(&depot, &renamed, "not of 1.2.0", REFUSED).await;
    for elsewhere in ["channels/stable", "releases/any/v1.2.json", "app.exe"] {
        let new = spoilt(&view, &release, |t| drop(t.targets.insert(elsewhere.into(), TargetFile::of(b"x"))));
        assert_refused(&depot, &new, "is not where a release lies", REFUSED).await;
    }
    let twice = document("1.1", "any", &build("1.1.0"));
    let new = submission(&view, 3, &[release.clone(), twice], None);
    assert_refused(&depot, &new, "listed twice", REFUSED).await;
    for edit in [
        (|r| r.tree.files += 1) as fn(&mut Release),
        |r| r.tree.bytes -= 1,
        |r| r.tree.length += 1,
        |r| r.tree.length = 3,
    ] {
        let mut lying = release.clone();
        edit(&mut lying);
        assert_refused(&depot, &spoilt(&view, &lying, |_| {}), "release 1.1.0: ", REFUSED).await;
    }
    let nobody = promotion("stable", &name("3.0", "any"));
    let new = submission(&view, 3, std::slice::from_ref(&release), Some(nobody));
    assert_refused(&depot, &new, "no live release 3.0", |error| matches!(error, Error::NotFound(_))).await;
    depot.accept(&app(), &spoilt(&view, &release, |_| {}), clock::now()).await.unwrap();
    assert_sound(&depot).await;
}

#[tokio::test]
async fn the_same_submission_again_is_success() {
    let (depot, view, release) = ready().await;
    let new = submission(&view, 3, std::slice::from_ref(&release), Some(promotion("stable", &release.name())));
    let first = depot.accept(&app(), &new, clock::now()).await.unwrap();
    assert_eq!(depot.accept(&app(), &new, clock::hours(1)).await.unwrap(), first);
    // With another promotion it is that promotion.
    let beta = NewTargets { promote: Some(promotion("beta", &release.name())), ..new };
    assert_eq!(depot.accept(&app(), &beta, clock::now()).await.unwrap().generation, first.generation + 1);
}

#[tokio::test]
async fn a_version_that_a_crash_left_occupied_is_skipped() {
    let (depot, view, release) = ready().await;
    let store = depot.store();
    let occupy = async |file: &str| {
        let key = layout::Key::parse(&format!("apps/demo/tuf/{file}")).unwrap();
        store.create(&key, Vec::from(*b"{}")).await.unwrap();
    };
    for file in ["3.channels.json", "4.channels.json", "4.snapshot.json", "3.targets.json"] {
        occupy(file).await;
    }
    let promote = Some(promotion("stable", &release.name()));
    let new = submission(&view, 3, std::slice::from_ref(&release), promote.clone());
    assert!(matches!(&depot.accept(&app(), &new, clock::now()).await, Err(Error::Conflict(r)) if r.contains("later")));
    let new = submission(&view, 4, std::slice::from_ref(&release), promote);
    depot.accept(&app(), &new, clock::now()).await.unwrap();
    let refreshed = Device::default().refresh(store, clock::now()).await;
    let versions = refreshed.trusted.snapshot().unwrap().meta.values().map(|meta| meta.version).collect::<Vec<_>>();
    assert_eq!(versions, [5, 4], "channels, targets");
}

#[tokio::test]
async fn a_tree_is_checked_before_it_is_kept() {
    let (depot, ..) = ready().await;
    let files = TreeFixture::of(&[("a", "b")]);
    let (digest, packed) = (files.tree().digest(), pack(&files.tree(), &Hint::new()));
    let bomb = zstd::bulk::compress(&vec![0; 200 << 20], 3).unwrap();
    for bad in [Vec::new(), b"rubbish".to_vec(), packed[1..].to_vec(), pack(&build("x").tree(), &Hint::new()), bomb] {
        let refused = depot.put_tree(&app(), digest, bad.into()).await;
        assert!(matches!(refused, Err(Error::Refused(_))), "{refused:?}");
    }
    assert!(depot.store().stat(&layout::tree(&app(), digest)).await.unwrap().is_none());
    depot.put_tree(&app(), digest, packed.clone().into()).await.unwrap();
    depot.put_tree(&app(), digest, packed.into()).await.unwrap();
}

#[tokio::test]
async fn both_encodings_of_a_blob_count() {
    let (depot, ..) = ready().await;
    let content = b"zeros ".repeat(10_000);
    let frame = zstd::bulk::compress(&content, 12).unwrap();
    let digest = Digest::of(&content);
    assert_eq!(depot.missing(&app(), &[digest]).await.unwrap(), [None]);
    let mut compressed = depot.upload(&app(), digest, Encoding::Zstd, 0).await.unwrap();
    compressed.write(frame.clone().into()).await.unwrap();
    compressed.finish().await.unwrap();
    let stored = |raw| updraft_core::api::BlobStored { size: frame.len() as u64, zstd: true, raw };
    assert_eq!(depot.missing(&app(), &[digest, Digest::of(b"?")]).await.unwrap(), [Some(stored(false)), None]);

    // The story: a folder's app got one release from a publisher who sent zstd only. The folder's scan asked what was
    // missing, heard "nothing", and the seed's routes, which need the file raw, failed for ever.
    upload(&depot, &content).await.unwrap();
    assert_eq!(depot.missing(&app(), &[digest]).await.unwrap(), [Some(stored(true))]);
}

/// An app with a release for one channel, published before terms were listed, could never publish again: each publish
/// carries the old listing over.
#[tokio::test]
async fn what_an_older_publisher_listed_without_terms_stays() {
    let (store, online) = (Store::memory(), OnlineKeys::memory());
    let key = online.get_or_make(&app()).unwrap();
    let mut repo = SimRepo::with_keys(app().as_str(), &[keys::root()], 1, &keys::targets(), &key);
    let only_beta = |release: &mut Release| release.terms.channels = Some(vec!["beta".parse().unwrap()]);
    let old = repo.publish_with("1.0.0", "any", &build("1.0.0"), only_beta);
    repo.promote("beta", &old);
    let path = old.target_path();
    repo.tamper(&Role::Targets, |targets| drop(targets["targets"][&path].as_object_mut().unwrap().remove("custom")));
    for (key, bytes) in repo.objects() {
        store.put(key, bytes.clone().into()).await.unwrap();
    }
    let depot = open(&store, &online, clock::now()).await;
    assert_eq!(depot.view(&app()).unwrap().targets.targets[&path].custom, None);
    publish(&depot, "1.1.0", "any", Some("stable"), clock::now()).await.unwrap();

    // What it says now has to be true.
    let view = depot.view(&app()).unwrap();
    let list = |custom: serde_json::Value| {
        let targets = targets_of(&view, view.targets.version + 1, |targets| {
            targets.targets.get_mut(&path).unwrap().custom = Some(custom);
        });
        signed(&view, &targets, &[], None, &keys::targets())
    };
    let wrong = list(serde_json::json!({"terms": {"channels": ["stable"]}}));
    let error = depot.accept(&app(), &wrong, clock::now()).await.unwrap_err().to_string();
    assert!(error.contains("listed with other terms"), "{error}");
    depot.accept(&app(), &list(serde_json::json!({"pinned": true})), clock::now()).await.unwrap();
}
