//! The life of an app: created, published to, promoted, renewed, opened again.

use updraft_core::api::FirstMetadata;
use updraft_core::digest::Digest;
use updraft_core::head::Head;
use updraft_core::layout::{self, Key};
use updraft_core::limits::HEAD_LEN_MAX;
use updraft_core::name::{ChannelName, Platform};
use updraft_core::signed::Envelope;
use updraft_core::tree::stored::{Encoding, Hint, pack};
use updraft_core::trust::{MetadataFile, Role, Root, Targets};
use updraft_server::depot::{Depot, Error, OnlineKeys, Options};
use updraft_server::store::Store;
use updraft_testkit::{clock, keys};

use super::depot_support::*;

#[tokio::test]
async fn a_device_gets_what_was_published() {
    let (store, online) = with_one_release().await;
    let depot = open(&store, &online, clock::now()).await;
    assert_eq!(depot.apps(), [app()]);
    let view = depot.view(&app()).unwrap();
    let current = view.current(&ChannelName::stable(), &Platform::this()).unwrap();
    assert_eq!(current.version.as_str(), "1.0.0");
    let tree = depot.tree(&app(), &current.name()).await.unwrap();
    assert_eq!(tree.tree, build("1.0.0").tree());

    let refreshed = Device::default().refresh(&store, clock::now()).await;
    let channels = refreshed.trusted.targets(&Role::channels()).unwrap();
    let custom = channels.targets["channels/stable"].custom.clone().unwrap();
    let channel: updraft_core::channel::Channel = serde_json::from_value(custom).unwrap();
    let (stable, platform) = (ChannelName::stable(), Platform::this());
    let device = updraft_core::channel::Device::new(&stable, &platform, None);
    let pick = updraft_core::channel::pick(&channel, &view.live(), &device, clock::now());
    assert_eq!(pick.take, Some(name("1.0.0", "any")));

    // The same document lies there for clients that fetch targets.
    let file = &channels.targets["channels/stable"];
    let key = layout::channel(&app(), &ChannelName::stable(), file.hashes.sha256.unwrap());
    let (bytes, _) = store.read(&key, 10_000).await.unwrap().unwrap();
    assert!(file.matches(&bytes));
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&bytes).unwrap(), *file.custom.as_ref().unwrap());
    assert_sound(&depot).await;
}

#[tokio::test]
async fn a_view_is_whole_and_describes_itself() {
    let (store, online) = with_one_release().await;
    let depot = open(&store, &online, clock::now()).await;
    publish(&depot, "1.1.0", "any", Some("stable"), clock::now()).await.unwrap();
    let view = depot.view(&app()).unwrap();
    for (key, bytes) in &view.metadata {
        let (there, _) = store.read(key, 1 << 20).await.unwrap().unwrap();
        assert_eq!(there, *bytes, "{key}");
    }
    let (head, _) = store.read(&layout::head(&app()), HEAD_LEN_MAX).await.unwrap().unwrap();
    assert_eq!((head.clone(), Head::decode(&head).unwrap()), (view.head_bytes.clone(), view.head.clone()));
    let described = view.describe();
    let standing: Vec<String> = described.releases.iter().map(|r| format!("{} {:?}", r.version, r.on)).collect();
    assert_eq!(standing, ["1.0.0 {ChannelName(\"stable\"): Previous}", "1.1.0 {ChannelName(\"stable\"): Current}"],);
    assert_eq!(described.expires["timestamp"], clock::days(1));
    // Releases that were not read again are the same as those that are.
    let again = open(&store, &online, clock::now()).await.view(&app()).unwrap();
    assert_eq!((again.releases.clone(), again.channels.clone()), (view.releases.clone(), view.channels.clone()));
}

#[tokio::test]
async fn an_app_is_created_once() {
    let (store, online) = (Store::memory(), OnlineKeys::memory());
    let depot = open(&store, &online, clock::now()).await;
    let key = depot.propose_app(&app()).await.unwrap();
    assert_eq!(depot.propose_app(&app()).await.unwrap(), key, "the key waits");
    assert!(depot.apps().is_empty() && depot.view(&app()).is_none());
    let made = depot.create_app(&app(), &first(&key), clock::now()).await.unwrap();
    assert_eq!((made.generation, made.targets), (1, 1));

    // The same again, after a lost answer, is success; anything else is not.
    assert_eq!(depot.create_app(&app(), &first(&key), clock::now()).await.unwrap(), made);
    let other_root = Root::new(1, clock::days(10))
        .with_role(&Role::Root, &[keys::thief().public()], 1)
        .with_role(&Role::Targets, &[keys::thief().public()], 1)
        .with_role(&Role::Snapshot, std::slice::from_ref(&key), 1)
        .with_role(&Role::Timestamp, std::slice::from_ref(&key), 1);
    let other = FirstMetadata { root: text(Envelope::new(&other_root).sign(&keys::thief())), ..first(&key) };
    assert!(matches!(depot.create_app(&app(), &other, clock::now()).await, Err(Error::Exists(_))));
    assert!(matches!(depot.propose_app(&app()).await, Err(Error::Exists(_))));
    let records = store.list("private/", None, 10).await.unwrap();
    assert_eq!(records, [], "nothing waits any more");
}

#[tokio::test]
async fn a_first_root_that_no_device_should_trust_is_refused() {
    let depot = open(&Store::memory(), &OnlineKeys::memory(), clock::now()).await;
    let online = depot.propose_app(&app()).await.unwrap();
    let good = first(&online);
    let root_of = |version, online: &updraft_core::key::PublicKey, targets: &updraft_core::key::PublicKey| {
        Root::new(version, clock::days(10))
            .with_role(&Role::Root, &[keys::root().public()], 1)
            .with_role(&Role::Targets, std::slice::from_ref(targets), 1)
            .with_role(&Role::Snapshot, std::slice::from_ref(online), 1)
            .with_role(&Role::Timestamp, std::slice::from_ref(online), 1)
    };
    let by = |root: &Root| text(Envelope::new(root).sign(&keys::root()));
    let (thief, publisher) = (keys::thief().public(), keys::targets().public());
    let with_root = |root: String| FirstMetadata { root, ..good.clone() };
    let with_targets =
        |targets: &Targets, key| FirstMetadata { targets: text(Envelope::new(targets).sign(key)), ..good.clone() };
    let mut listing = Targets::new(1, clock::days(10)).with_channels_role(&online);
    listing.targets.insert("releases/any/1.json".into(), updraft_core::trust::TargetFile::of(b"x"));
    for (what, first) in [
        ("not signed", with_root(text(Envelope::new(&root_of(1, &online, &publisher)).sign(&keys::thief())))),
        ("version", with_root(by(&root_of(2, &online, &publisher)))),
        ("online key", with_root(by(&root_of(1, &thief, &publisher)))),
        ("may not be signed by the online key", with_root(by(&root_of(1, &online, &online)))),
        ("root", with_root("{}".into())),
        ("delegate", with_targets(&Targets::new(1, clock::days(10)), &keys::targets())),
        ("delegate", with_targets(&Targets::new(1, clock::days(10)).with_channels_role(&thief), &keys::targets())),
        ("list no release", with_targets(&listing, &keys::targets())),
        ("signatures", with_targets(&Targets::new(1, clock::days(9)).with_channels_role(&online), &keys::thief())),
        ("expired", with_targets(&Targets::new(1, clock::days(-1)).with_channels_role(&online), &keys::targets())),
    ] {
        let what = if what == "not signed" { "signatures" } else { what };
        match depot.create_app(&app(), &first, clock::now()).await {
            Err(Error::Refused(reason)) => assert!(reason.contains(what), "{what}: {reason}"),
            other => panic!("{what}: {other:?}"),
        }
    }
    assert!(dump(depot.store()).await.is_empty(), "nothing of it was written");
    depot.create_app(&app(), &good, clock::now()).await.unwrap();
}

#[tokio::test]
async fn an_app_without_its_online_key_is_read_only() {
    let (store, _) = with_one_release().await;
    let depot = open(&store, &OnlineKeys::memory(), clock::now()).await;
    assert!(depot.view(&app()).is_some());
    let refused = depot.promote(&app(), &promotion("beta", &name("1.0.0", "any")), clock::now()).await;
    assert!(matches!(refused, Err(Error::NoKey(_))), "{refused:?}");
}

#[tokio::test]
async fn an_app_that_is_broken_does_not_stop_the_others() {
    let (store, online) = with_one_release().await;
    let depot = open(&store, &online, clock::now()).await;
    let release = depot.view(&app()).unwrap().targets.targets["releases/any/1.0.0.json"].hashes.sha256.unwrap();
    store.delete(&layout::release(&app(), &name("1.0.0", "any"), release)).await.unwrap();
    let other = Key::parse("apps/aaa/head").unwrap();
    store.put(&other, "no head".into()).await.unwrap();
    let second = "second".parse().unwrap();
    let key = depot.propose_app(&second).await.unwrap();
    depot.create_app(&second, &first(&key), clock::now()).await.unwrap();

    let depot = open(&store, &online, clock::now()).await;
    assert_eq!(depot.apps(), [second]);
    let broken: Vec<String> = depot.broken().into_iter().map(|(app, reason)| format!("{app}: {reason}")).collect();
    assert_eq!(broken.len(), 2);
    assert!(broken[1].contains("1.0.0.json is missing"), "{broken:?}");
    let error = depot.accept(&app(), &never(), clock::now()).await.unwrap_err();
    assert!(matches!(error, Error::Broken { .. }), "{error}");
}

fn never() -> updraft_core::api::NewTargets {
    updraft_core::api::NewTargets { base: 1, targets: String::new(), documents: vec![], promote: None }
}

#[tokio::test]
async fn what_is_not_there_is_said_to_be_not_there() {
    let depot = open(&Store::memory(), &OnlineKeys::memory(), clock::now()).await;
    let nothing = Digest::of(b"");
    assert!(matches!(depot.missing(&app(), &[nothing]).await, Err(Error::NotFound(_))));
    assert!(matches!(depot.accept(&app(), &never(), clock::now()).await, Err(Error::NotFound(_))));
    assert!(matches!(depot.tree(&app(), &name("1", "any")).await, Err(Error::NotFound(_))));
    assert!(matches!(depot.reload(&app()).await, Err(Error::NotFound(_))));
    assert!(depot.apps().is_empty() && depot.broken().is_empty());
}

#[tokio::test]
async fn channels_go_forward_and_only_to_what_is_live_and_allowed() {
    let (store, online) = with_one_release().await;
    let depot = open(&store, &online, clock::now()).await;
    let beta_only = {
        let files = build("1.1.0");
        upload_tree(&depot, &files).await.unwrap();
        let channels = Some(vec!["beta".parse().unwrap()]);
        let terms = updraft_core::release::Terms { channels, ..Default::default() };
        updraft_core::release::Release { terms, ..document("1.1.0", "any", &files) }
    };
    let view = depot.view(&app()).unwrap();
    let stable = Some(promotion("stable", &beta_only.name()));
    let new = submission(&view, 3, std::slice::from_ref(&beta_only), stable);
    assert!(matches!(depot.accept(&app(), &new, clock::now()).await, Err(Error::Refused(_))));
    let new = submission(&view, 3, std::slice::from_ref(&beta_only), Some(promotion("beta", &beta_only.name())));
    depot.accept(&app(), &new, clock::now()).await.unwrap();

    let promote =
        async |channel, version| depot.promote(&app(), &promotion(channel, &name(version, "any")), clock::now()).await;
    assert!(matches!(promote("stable", "1.1.0").await, Err(Error::Refused(_))));
    assert!(matches!(promote("stable", "9.9").await, Err(Error::NotFound(_))));
    assert!(matches!(promote("beta", "1.0.0").await, Err(Error::NotNewer(_))));
    let before = depot.view(&app()).unwrap().head.generation;
    assert_eq!(promote("beta", "1.1").await.unwrap().generation, before, "it is there already: nothing to do");
    assert_eq!(promote("new", "1.0").await.unwrap().generation, before + 1);
    let view = depot.view(&app()).unwrap();
    assert_eq!(view.channels["new"].platforms[&Platform::any()].current.as_str(), "1.0.0", "as it was published");
}

#[tokio::test]
async fn terms_are_listed_as_they_are_and_their_stones_exist() {
    let (store, online) = with_one_release().await;
    let depot = open(&store, &online, clock::now()).await;
    let files = build("1.1.0");
    upload_tree(&depot, &files).await.unwrap();
    let with = |stones: &[&str]| {
        let stepping_stones = stones.iter().map(|text| text.parse().unwrap()).collect();
        let terms = updraft_core::release::Terms { stepping_stones, ..Default::default() };
        updraft_core::release::Release { terms, ..document("1.1.0", "any", &files) }
    };
    let view = depot.view(&app()).unwrap();
    let accept = async |new| depot.accept(&app(), &new, clock::now()).await.map_err(|e| e.to_string());

    let nowhere = with(&["0.9"]);
    let error = accept(submission(&view, 3, std::slice::from_ref(&nowhere), None)).await.unwrap_err();
    assert!(error.contains("there is no live release 0.9"), "{error}");
    let good = with(&["1.0", "1.1.0"]);
    let targets = targets_of(&view, 3, |targets| {
        let file = updraft_core::trust::TargetFile::of(&good.encode());
        targets.targets.insert("releases/any/1.1.0.json".into(), file);
    });
    let hidden = signed(&view, &targets, std::slice::from_ref(&good), None, &keys::targets());
    let error = accept(hidden).await.unwrap_err();
    assert!(error.contains("listed with other terms"), "{error}");
    accept(submission(&view, 3, std::slice::from_ref(&good), None)).await.unwrap();
    assert_eq!(depot.view(&app()).unwrap().live()[&good.name()], good.terms);
}

#[tokio::test]
async fn a_release_that_no_channel_needs_leaves_with_the_next_publish() {
    let (store, online) = with_one_release().await;
    let depot = open(&store, &online, clock::now()).await;
    for version in ["1.1.0", "1.2.0"] {
        publish(&depot, version, "any", Some("stable"), clock::now()).await.unwrap();
    }
    let view = depot.view(&app()).unwrap();
    assert_eq!(view.channels["stable"].retired.iter().map(ToString::to_string).collect::<Vec<_>>(), ["1.0.0"]);
    let mut targets = targets_of(&view, view.targets.version + 1, |_| {});
    targets.targets.remove("releases/any/1.0.0.json").unwrap();
    depot.accept(&app(), &signed(&view, &targets, &[], None, &keys::targets()), clock::now()).await.unwrap();
    let view = depot.view(&app()).unwrap();
    assert!(view.channels["stable"].retired.is_empty());
    assert_eq!(view.releases.len(), 2);

    // One that a channel still names does not.
    targets.version += 1;
    targets.targets.remove("releases/any/1.1.0.json").unwrap();
    let dropped = depot.accept(&app(), &signed(&view, &targets, &[], None, &keys::targets()), clock::now()).await;
    assert!(matches!(&dropped, Err(Error::Conflict(reason)) if reason.contains("1.1.0")), "{dropped:?}");
}

#[tokio::test]
async fn a_pin_is_the_publishers_word() {
    let (store, online) = with_one_release().await;
    let depot = open(&store, &online, clock::now()).await;
    let view = depot.view(&app()).unwrap();
    assert!(!view.is_pinned(&name("1.0.0", "any")));
    let targets = targets_of(&view, 3, |targets| {
        let file = targets.targets.get_mut("releases/any/1.0.0.json").unwrap();
        file.custom = Some(serde_json::json!({"pinned": true}));
    });
    depot.accept(&app(), &signed(&view, &targets, &[], None, &keys::targets()), clock::now()).await.unwrap();
    assert!(depot.view(&app()).unwrap().is_pinned(&name("1.0.0", "any")));
    assert!(depot.view(&app()).unwrap().describe().releases[0].pinned);
}

#[tokio::test]
async fn online_roles_are_renewed_when_half_of_their_life_is_over() {
    let (store, online) = with_one_release().await;
    let depot = open(&store, &online, clock::now()).await;
    let generation = || depot.view(&app()).unwrap().head.generation;
    let before = generation();
    assert_eq!(depot.next_renewal(), Some(clock::hours(12)));
    assert!(depot.renew(clock::hours(12)).await.apps.is_empty());
    assert_eq!(generation(), before);
    assert_eq!(depot.renew(clock::hours(13)).await.apps, [app()]);
    assert_eq!(generation(), before + 1);
    let view = depot.view(&app()).unwrap();
    assert_eq!(view.expires()["timestamp"], clock::hours(37));
    assert_eq!(view.expires()["snapshot"], clock::days(90), "the long ones are left alone");
    assert_eq!(timestamp_version(&store).await, 3);

    // The long ones come with it when they are due.
    assert_eq!(depot.renew(clock::days(46)).await.apps, [app()]);
    let expires = depot.view(&app()).unwrap().expires();
    assert_eq!((expires["snapshot"], expires["channels"]), (clock::days(136), clock::days(136)));
    Device::default().refresh(&store, clock::days(46)).await;
}

/// The story: an operator set a shorter lifetime, so that nobody could keep devices from news for long. The timestamp
/// of before was far from due by the new measure, and lived on.
#[tokio::test]
async fn a_shorter_lifetime_holds_from_the_next_start() {
    let (store, online) = (Store::memory(), OnlineKeys::memory());
    let life = |hours: i64| Options { timestamp_life_secs: hours * 3_600, ..Options::default() };
    let depot = Depot::open(store.clone(), online.clone(), life(90 * 24), clock::now()).await.unwrap();
    create(&depot, clock::now()).await.unwrap();
    assert_eq!(depot.view(&app()).unwrap().expires()["timestamp"], clock::days(90));
    let depot = Depot::open(store, online, life(1), clock::hours(2)).await.unwrap();
    assert_eq!(depot.view(&app()).unwrap().expires()["timestamp"], clock::hours(3));
    assert!(depot.renew(clock::hours(2)).await.apps.is_empty(), "once is enough");
}

/// The story: a defect made one app's renewal panic. The task that renews every app ended with it, nobody saw it, and a
/// day later no device believed the server any more.
#[tokio::test]
async fn a_panic_in_one_app_keeps_no_other_from_being_renewed() {
    let (store, online) = with_one_release().await;
    let depot = open(&store, &online, clock::now()).await;
    let second = "second".parse().unwrap();
    let key = depot.propose_app(&second).await.unwrap();
    depot.create_app(&second, &first(&key), clock::now()).await.unwrap();
    let depot = open(&panicking(&store, "swap", "apps/demo/head"), &online, clock::now()).await;
    let renewed = depot.renew(clock::hours(13)).await;
    assert_eq!(renewed.apps, [second]);
    assert!(matches!(&renewed.failed[..], [(failed, Error::Defect(_))] if *failed == app()), "{renewed:?}");
    let without = std::collections::BTreeSet::from([app()]);
    assert_eq!(depot.next_renewal_without(&without), Some(clock::hours(25)), "the one that fails hurries nobody");
}

#[tokio::test]
async fn a_server_that_slept_renews_when_it_wakes() {
    let (store, online) = with_one_release().await;
    let mut device = Device::default();
    device.refresh(&store, clock::now()).await;
    for days in [31, 200] {
        let depot = open(&store, &online, clock::days(days)).await;
        device.refresh(&store, clock::days(days)).await;
        assert_sound(&depot).await;
    }
}

#[tokio::test]
async fn the_servers_part_is_renewed_also_when_the_publishers_has_expired() {
    let (store, online) = with_one_release().await;
    let depot = open(&store, &online, clock::days(400)).await;
    let view = depot.view(&app()).unwrap();
    assert_eq!(view.expires()["timestamp"], clock::days(401));
    let refused = depot.promote(&app(), &promotion("beta", &name("1.0.0", "any")), clock::days(400)).await;
    assert!(matches!(&refused, Err(Error::Refused(reason)) if reason.contains("targets expired")), "{refused:?}");
    // A publish brings new targets, and all is well.
    let release = document("1.1.0", "any", &build("1.1.0"));
    upload_tree(&depot, &build("1.1.0")).await.unwrap();
    let mut targets = targets_of(&view, 3, |_| {});
    targets.expires = updraft_core::trust::Expires::new(clock::days(800));
    let file = updraft_core::trust::TargetFile::of(&release.encode());
    targets.targets.insert(release.name().target_path(), file);
    let new = signed(&view, &targets, &[release], None, &keys::targets());
    depot.accept(&app(), &new, clock::days(400)).await.unwrap();
    Device::default().refresh(&store, clock::days(400)).await;
}

#[tokio::test]
async fn timestamp_json_is_repaired_at_open_and_never_goes_back() {
    let (store, online) = with_one_release().await;
    let key = layout::metadata(&app(), &MetadataFile::Timestamp);
    let (good, _) = store.read(&key, 100_000).await.unwrap().unwrap();
    for bad in ["", "{}", "rubbish"] {
        store.put(&key, bad.into()).await.unwrap();
        open(&store, &online, clock::now()).await;
        assert_eq!(store.read(&key, 100_000).await.unwrap().unwrap().0, good);
    }
    store.delete(&key).await.unwrap();
    let depot = open(&store, &online, clock::now()).await;
    assert_eq!(store.read(&key, 100_000).await.unwrap().unwrap().0, good);

    // A process that is behind does not put an old one over a new one.
    let ahead = open(&store, &online, clock::now()).await;
    publish(&ahead, "1.1.0", "any", Some("stable"), clock::now()).await.unwrap();
    let newest = timestamp_version(&store).await;
    drop(depot);
    assert_eq!(timestamp_version(&store).await, newest);
}

#[tokio::test]
async fn a_second_process_sees_what_the_first_did() {
    let (store, online) = with_one_release().await;
    let (one, two) = (open(&store, &online, clock::now()).await, open(&store, &online, clock::now()).await);
    publish(&one, "1.1.0", "any", None, clock::now()).await.unwrap();
    assert_eq!(two.view(&app()).unwrap().releases.len(), 1);
    // A promotion of what only the other one knows works at once: it looks at the store first.
    two.promote(&app(), &promotion("stable", &name("1.1.0", "any")), clock::now()).await.unwrap();
    one.reload(&app()).await.unwrap();
    assert_eq!(words(&one.view(&app()).unwrap()), words(&two.view(&app()).unwrap()));
}

#[tokio::test]
async fn apps_are_found_without_a_list_of_them() {
    let (store, online) = (Store::memory(), OnlineKeys::memory());
    let depot = open(&store, &online, clock::now()).await;
    let names = ["a", "a-b", "a.b", "a0", "ab", "B", "_x"];
    for text in names {
        let app = text.parse().unwrap();
        let key = depot.propose_app(&app).await.unwrap();
        depot.create_app(&app, &first(&key), clock::now()).await.unwrap();
    }
    let again = Depot::open(store, online, Options::default(), clock::now()).await.unwrap();
    assert_eq!(again.apps(), depot.apps());
    assert_eq!(again.apps().len(), names.len());
}

#[tokio::test]
async fn a_directory_does_what_memory_does() {
    let dir = tempfile::tempdir().unwrap();
    let online = OnlineKeys::directory(&dir.path().join("keys"));
    let names = "n".repeat(64);
    // As long as names may be: their objects' names still fit into a directory.
    let app: updraft_core::name::AppName = names.parse().unwrap();
    let version = format!("1.0.0+{}", "x".repeat(58));
    let files = build("1");
    let release = updraft_core::release::Release { app: app.clone(), ..document(&version, &names, &files) };
    {
        let depot = open(&Store::local(&dir.path().join("data")).unwrap(), &online, clock::now()).await;
        let key = depot.propose_app(&app).await.unwrap();
        depot.create_app(&app, &first(&key), clock::now()).await.unwrap();
        for content in files.contents().values() {
            let mut upload = depot.upload(&app, Digest::of(content), Encoding::Raw, 0).await.unwrap();
            upload.write(content.clone().into()).await.unwrap();
            upload.finish().await.unwrap();
        }
        let packed = pack(&files.tree(), &Hint::new());
        depot.put_tree(&app, files.tree().digest(), packed.into()).await.unwrap();
        let view = depot.view(&app).unwrap();
        let new = submission(&view, 2, std::slice::from_ref(&release), Some(promotion(&names, &release.name())));
        depot.accept(&app, &new, clock::now()).await.unwrap();
        assert_sound(&depot).await;
        let view = depot.view(&app).unwrap();
        let channel_less = targets_of(&view, 3, |_| {});
        depot.accept(&app, &signed(&view, &channel_less, &[], None, &keys::targets()), clock::now()).await.unwrap();
    }
    let depot = open(&Store::local(&dir.path().join("data")).unwrap(), &online, clock::days(40)).await;
    assert_eq!(depot.view(&app).unwrap().releases.len(), 1);
    let report = depot.gc(wet(), clock::days(40)).await.unwrap();
    assert!(report.condemned > 0, "{report:?}");
    assert_eq!(depot.gc(wet(), clock::days(47)).await.unwrap().deleted, report.condemned);
    assert_sound(&depot).await;
}
