//! Rotations: what is refused, what follows, and how an app comes back from stolen and lost keys.

use updraft_core::api::{NewTargets, NextRoot};
use updraft_core::head::Head;
use updraft_core::key::PublicKey;
use updraft_core::layout;
use updraft_core::limits::{JSON_INT_MAX, ROOT_ROTATIONS_MAX};
use updraft_core::trust::{MetadataFile, Role, Targets};
use updraft_server::depot::{Depot, Error, OnlineKeys, Options, View};
use updraft_testkit::{clock, keys};

use super::depot_rotate_support::*;
use super::depot_support::*;

/// A depot whose 1.0.0 is on stable, whose 1.1.0 is live, and that has another online key to offer.
async fn scene() -> (Depot, std::sync::Arc<View>, PublicKey) {
    let (store, online) = with_two_releases().await;
    let depot = open(&store, &online, clock::now()).await;
    let key = depot.next_online_key(&app()).await.unwrap();
    let view = depot.view(&app()).unwrap();
    (depot, view, key)
}

/// The draft, altered before it is signed.
fn edited(mut draft: Draft, edit: impl FnOnce(&mut Draft)) -> NextRoot {
    edit(&mut draft);
    draft.signed()
}

#[tokio::test]
async fn what_a_device_would_not_follow_is_refused() {
    let (depot, view, online) = scene().await;
    let stranger = keys::thief().public();
    let root = || root_rotation(&view);
    let of_targets = |draft: &mut Draft, edit: fn(&mut Targets)| edit(draft.targets.as_mut().unwrap());
    let both = || targets_rotation(&view, vec![keys::targets(), new_targets()]);
    let replace = || Draft::of(&view).with_online(&view, &online);
    let server = verify_key(&view);
    let refused = [
        ("signatures", edited(root(), |draft| draft.root_signers = vec![new_root()])),
        ("signatures", edited(root(), |draft| draft.root_signers = vec![keys::root()])),
        ("signatures", edited(root(), |draft| draft.root_signers = vec![keys::thief()])),
        ("follows 1", edited(root(), |draft| draft.root.version = 3)),
        ("past the limit", edited(root(), |draft| draft.root.version = ROOT_ROTATIONS_MAX + 1)),
        ("expired", edited(root(), |draft| draft.root.expires = updraft_core::trust::Expires::new(clock::days(-1)))),
        ("threshold", edited(root(), |draft| draft.root.roles.get_mut("root").unwrap().threshold = 0)),
        ("signatures", edited(root(), |draft| draft.root.roles.get_mut("root").unwrap().threshold = 2)),
        ("not a signed document", NextRoot { root: "{}".into(), ..root().signed() }),
        ("not 'root'", edited_root(&view, signed_by_targets(Targets::new(2, clock::days(9))))),
        // Who may sign for the server's roles, and who may not.
        ("one and the same", root().with_key(&Role::Timestamp, &stranger).signed()),
        ("not on this server", Draft::of(&view).with_online(&view, &stranger).signed()),
        ("one and the same", Draft::of(&view).with_key(&Role::Snapshot, &online).signed()),
        ("one and the same", edited(root(), |d| d.root.roles.get_mut("timestamp").unwrap().threshold = 2)),
        ("which is the server's", root().with_key(&Role::Targets, &server).signed()),
        ("which is the server's", replace().with_key(&Role::Targets, &online).signed()),
        (
            "which is the server's",
            edited(replace(), |draft| {
                draft.root = draft.root.clone().with_role(&Role::Root, &[keys::root().public(), online.clone()], 1);
            }),
        ),
        // What goes with it.
        ("hand in new targets", targets_without(&view)),
        ("hand in new ones that delegate", edited(replace(), |draft| draft.targets = None)),
        ("signatures", edited(both(), |draft| draft.targets_signers = vec![keys::targets()])),
        ("signatures", edited(both(), |draft| draft.targets_signers = vec![keys::thief()])),
        ("must delegate", edited(replace(), |draft| draft.targets = Some(next_targets(&view)))),
        ("must delegate", edited(both(), |draft| of_targets(draft, |targets| targets.delegations = None))),
        (
            "expired",
            edited(both(), |draft| {
                of_targets(draft, |targets| targets.expires = updraft_core::trust::Expires::new(clock::days(-1)));
            }),
        ),
        (
            "other releases",
            edited(both(), |draft| {
                of_targets(draft, |targets| drop(targets.targets.pop_first()));
            }),
        ),
        (
            "other releases",
            edited(both(), |draft| {
                let pin = |targets: &mut Targets| {
                    targets
                        .targets
                        .values_mut()
                        .for_each(|file| file.custom = Some(serde_json::json!({ "pinned": true })));
                };
                of_targets(draft, pin);
            }),
        ),
        ("leaves no room", edited(both(), |draft| of_targets(draft, |targets| targets.version += 1_000_000))),
        ("leaves no room", edited(both(), |draft| of_targets(draft, |t| t.version = JSON_INT_MAX.unsigned_abs()))),
        ("not a signed document", NextRoot { targets: Some("{}".into()), ..root().signed() }),
        ("another role", NextRoot { targets: Some(signed_by_targets(root().root)), ..root().signed() }),
    ];
    let before = dump(depot.store()).await;
    for (n, (what, next)) in refused.into_iter().enumerate() {
        match depot.rotate(&app(), &next, clock::now()).await {
            Err(Error::Refused(reason)) => assert!(reason.contains(what), "{n}, {what}: {reason}"),
            other => panic!("{n}, {what}: {other:?}"),
        }
    }
    let conflicts = [
        edited(root(), |draft| draft.base -= 1),
        edited(root(), |draft| draft.root.version = 1),
        edited(both(), |draft| of_targets(draft, |targets| targets.version -= 1)),
    ];
    for (n, next) in conflicts.into_iter().enumerate() {
        let error = depot.rotate(&app(), &next, clock::now()).await.unwrap_err();
        assert!(matches!(error, Error::Conflict(_)), "{n}: {error}");
    }
    assert!(dump(depot.store()).await == before, "nothing of it was written");
    depot.rotate(&app(), &replace().signed(), clock::now()).await.unwrap();
}

fn edited_root(view: &View, root: String) -> NextRoot {
    NextRoot { root, ..root_rotation(view).signed() }
}

/// Another targets key, and no targets that it has signed.
fn targets_without(view: &View) -> NextRoot {
    Draft { targets: None, ..targets_rotation(view, Vec::new()) }.signed()
}

fn signed_by_targets(content: impl serde::Serialize) -> String {
    text(updraft_core::signed::Envelope::new(&content).sign(&keys::targets()))
}

/// The online key that the root of `view` names.
fn verify_key(view: &View) -> PublicKey {
    view.root.keys[&view.root.roles["timestamp"].keyids[0]].clone()
}

#[tokio::test]
async fn everything_can_be_rotated_at_once_and_again() {
    let (depot, view, online) = scene().await;
    let mut device = Device::default();
    device.refresh(depot.store(), clock::now()).await;
    let mut draft = root_rotation(&view).with_key(&Role::Targets, &new_targets().public()).with_online(&view, &online);
    draft.targets_signers = vec![keys::targets(), new_targets()];
    let next = draft.signed();
    let committed = depot.rotate(&app(), &next, clock::now()).await.unwrap();
    let view = depot.view(&app()).unwrap();
    assert_eq!((view.root.version, committed.targets, committed.generation), (2, 4, view.head.generation));
    assert_eq!(verify_key(&view), online);
    device.refresh(depot.store(), clock::now()).await;
    assert_sound(&depot).await;

    // The answer was lost: the same again is success, also when others came after it.
    publish_with(&depot, "2.0.0", &new_targets(), clock::now()).await.unwrap();
    assert_eq!(depot.rotate(&app(), &NextRoot { base: 3, ..next.clone() }, clock::now()).await.unwrap().targets, 5);
    // But not with other targets than those that came with it, however low their version is.
    for version in [3, 4] {
        let mut other = next_targets(&view);
        other.version = version;
        let other = NextRoot { targets: Some(signed_by_targets(other)), ..next.clone() };
        let error = depot.rotate(&app(), &other, clock::now()).await.unwrap_err();
        assert!(matches!(error, Error::Conflict(_)), "{version}: {error}");
    }
    let view = depot.view(&app()).unwrap();
    // The next one: only the root key again, without targets.
    let third = Draft { root_signers: vec![new_root(), keys::root()], ..Draft::of(&view) };
    depot.rotate(&app(), &third.with_key(&Role::Root, &keys::root().public()).signed(), clock::now()).await.unwrap();
    assert_eq!(depot.rotate(&app(), &next, clock::now()).await.unwrap().targets, 5, "it counts since long ago");
    // And a key that was replaced does not come back.
    let view = depot.view(&app()).unwrap();
    let old = verify_key_of_first(&view);
    let mut back = Draft::of(&view).with_online(&view, &old);
    back.targets_signers = vec![new_targets()];
    let error = depot.rotate(&app(), &back.signed(), clock::now()).await.unwrap_err().to_string();
    assert!(error.contains("was replaced by an earlier root"), "{error}");
    device.refresh(depot.store(), clock::now()).await;
    Device::default().refresh(depot.store(), clock::now()).await;
    assert_sound(&depot).await;
}

fn verify_key_of_first(view: &View) -> PublicKey {
    let first: updraft_core::trust::Root =
        updraft_core::signed::Envelope::parse(&view.first_root, 1 << 20).unwrap().content().unwrap();
    first.keys[&first.roles["timestamp"].keyids[0]].clone()
}

#[tokio::test]
async fn an_online_key_is_proposed_once_and_counts_when_a_root_names_it() {
    let (depot, view, key) = scene().await;
    assert_ne!(key, verify_key(&view));
    assert_ne!(depot.next_online_key(&app()).await.unwrap(), key, "the first may have leaked by now");
    depot.rotate(&app(), &root_rotation(&view).signed(), clock::now()).await.unwrap();
    let view = depot.view(&app()).unwrap();
    let mut draft = Draft::of(&view).with_online(&view, &key);
    draft.root_signers = vec![new_root()];
    depot.rotate(&app(), &draft.signed(), clock::now()).await.unwrap();
    let after = depot.next_online_key(&app()).await.unwrap();
    assert!(after != key && after != verify_key(&view));
    let nobody = depot.next_online_key(&"nobody".parse().unwrap()).await;
    assert!(matches!(nobody, Err(Error::NotFound(_))), "{nobody:?}");
}

#[tokio::test]
async fn a_publish_that_comes_too_late_hears_why() {
    let (depot, view, _) = scene().await;
    let release = document("1.2.0", "any", &build("1.2.0"));
    upload_tree(&depot, &build("1.2.0")).await.unwrap();
    let late: NewTargets = submission(&view, view.targets.version + 1, std::slice::from_ref(&release), None);
    let next = targets_rotation(&view, vec![new_targets()]).signed();
    depot.rotate(&app(), &next, clock::now()).await.unwrap();

    let error = depot.accept(&app(), &late, clock::now()).await.unwrap_err();
    assert!(matches!(error, Error::Conflict(_)), "it was made before, and is to be made again: {error}");
    let error = publish_with(&depot, "1.2.0", &keys::targets(), clock::now()).await.unwrap_err().to_string();
    assert!(error.contains("the keys have changed: it is signed as root 1 says, and root 2 counts now"), "{error}");
    let error = publish_with(&depot, "1.2.0", &keys::thief(), clock::now()).await.unwrap_err().to_string();
    assert!(!error.contains("changed") && error.contains("root 2 names"), "{error}");
    publish_with(&depot, "1.2.0", &new_targets(), clock::now()).await.unwrap();
}

#[tokio::test]
async fn a_root_that_expired_is_replaced() {
    let (store, online) = with_two_releases().await;
    // The first root lives ten years.
    let late = clock::days(3651);
    let depot = open(&store, &online, late).await;
    let view = depot.view(&app()).unwrap();
    let mut draft = root_rotation(&view);
    draft.root.expires = updraft_core::trust::Expires::new(clock::days(7300));
    let mut targets = next_targets(&view);
    targets.expires = updraft_core::trust::Expires::new(clock::days(4000));
    draft.targets = Some(targets);
    depot.rotate(&app(), &draft.signed(), late).await.unwrap();
    Device::default().refresh(&store, late).await;
}

/// What a thief signs who has the online key: the state of `view` under the highest versions that there are.
async fn steal_the_future(depot: &Depot, online: &OnlineKeys) -> Head {
    use updraft_core::signed::Envelope;
    use updraft_core::trust::{Meta, Snapshot, TimestampMeta};
    let view = depot.view(&app()).unwrap();
    let key = online.get(&app()).unwrap().unwrap();
    let (last, later) = (JSON_INT_MAX.unsigned_abs(), clock::days(80));
    let sign = |envelope: Envelope| envelope.sign(&key).to_bytes();
    let file = |role: Role, version| layout::metadata(&app(), &MetadataFile::Versioned(role, version));
    let targets = view.metadata[&file(Role::Targets, view.targets.version)].clone();
    let current = view.metadata.keys().find(|key| key.as_str().ends_with(".channels.json")).unwrap();
    let mut role: Targets = Envelope::parse(&view.metadata[current], 1 << 20).unwrap().content().unwrap();
    role.version = last;
    let role = sign(Envelope::new(&role));
    let roles = [(Role::Targets, Meta::of(&targets, view.targets.version)), (Role::channels(), Meta::of(&role, last))];
    let snapshot = sign(Envelope::new(&Snapshot::new(last, later, roles)));
    let timestamp = sign(Envelope::new(&TimestampMeta::new(last, later, Meta::of(&snapshot, last))));

    let store = depot.store();
    store.create(&file(Role::channels(), last), role).await.unwrap();
    store.create(&file(Role::Snapshot, last), snapshot.clone()).await.unwrap();
    let head = Head { generation: u64::MAX, op_id: "thief".into(), root: 1, timestamp: timestamp.clone(), snapshot };
    store.put(&layout::head(&app()), head.encode().into()).await.unwrap();
    store.put(&layout::metadata(&app(), &MetadataFile::Timestamp), timestamp.into()).await.unwrap();
    head
}

#[tokio::test]
async fn what_a_thief_of_the_online_key_drove_to_the_end_begins_anew() {
    for has_old_key in [true, false] {
        let (store, online) = with_two_releases().await;
        let depot = open(&store, &online, clock::now()).await;
        let mut device = Device::default();
        steal_the_future(&depot, &online).await;
        device.refresh(&store, clock::now()).await;

        let online = if has_old_key { online } else { OnlineKeys::memory() };
        let depot = open(&store, &online, clock::now()).await;
        assert!(depot.broken().is_empty(), "{:?}", depot.broken());
        let stuck = depot.promote(&app(), &promotion("beta", &name("1.1.0", "any")), clock::now()).await;
        match stuck {
            Err(error @ (Error::Refused(_) | Error::NoKey(_))) => {
                assert!(error.to_string().contains("updraft keys replace-online"), "{error}");
            }
            other => panic!("{other:?}"),
        }
        if has_old_key {
            // Nor by a rotation that keeps the key.
            let keeps = root_rotation(&depot.view(&app()).unwrap()).signed();
            let error = depot.rotate(&app(), &keeps, clock::now()).await.unwrap_err();
            assert!(matches!(error, Error::Refused(_)) && error.to_string().contains("replace-online"), "{error}");
        }

        let next = online_rotation(&depot).await.signed();
        depot.rotate(&app(), &next, clock::now()).await.unwrap();
        device.refresh(&store, clock::now()).await;
        Device::default().refresh(&store, clock::now()).await;
        assert_eq!(timestamp_version(&store).await, clock::now().as_second().unsigned_abs());

        // It goes on by itself.
        depot.promote(&app(), &promotion("beta", &name("1.1.0", "any")), clock::now()).await.unwrap();
        publish(&depot, "2.0.0", "any", Some("stable"), clock::now()).await.unwrap();
        assert_eq!(depot.renew(clock::hours(20)).await.apps, [app()]);
        device.refresh(&store, clock::hours(20)).await;
        assert_sound(&depot).await;
    }
}

#[tokio::test]
async fn a_thief_who_reached_devices_only_is_forgotten_by_them() {
    let (store, online) = with_two_releases().await;
    // The thief's own server, with a copy of ours.
    let copy = restored(&dump(&store).await).await;
    let elsewhere = open(&copy, &online, clock::now()).await;
    let mut device = Device::default();
    steal_the_future(&elsewhere, &online).await;
    device.refresh(&copy, clock::now()).await;

    let depot = open(&store, &online, clock::now()).await;
    for way in [Way::Head, Way::Plain] {
        let reason = device.clone().try_refresh(&store, clock::now(), way).await.unwrap_err();
        assert!(reason.contains("rollback"), "{reason}");
    }
    depot.rotate(&app(), &online_rotation(&depot).await.signed(), clock::now()).await.unwrap();
    device.refresh(&store, clock::now()).await;
}

/// A store with these objects.
async fn restored(objects: &std::collections::BTreeMap<layout::Key, bytes::Bytes>) -> updraft_server::store::Store {
    let store = updraft_server::store::Store::memory();
    for (key, bytes) in objects {
        store.put(key, bytes.clone()).await.unwrap();
    }
    store
}

#[tokio::test]
async fn devices_that_are_ahead_of_a_restored_backup_come_back_with_new_online_keys() {
    let (store, online) = with_two_releases().await;
    let backup = dump(&store).await;
    let depot = open(&store, &online, clock::now()).await;
    for n in 2..8 {
        publish(&depot, &format!("{n}.0.0"), "any", Some("stable"), clock::now()).await.unwrap();
    }
    let mut device = Device::default();
    device.refresh(&store, clock::now()).await;

    let store = restored(&backup).await;
    let depot = open(&store, &online, clock::now()).await;
    let reason = device.clone().try_refresh(&store, clock::now(), Way::Head).await.unwrap_err();
    assert!(reason.contains("rollback"), "{reason}");
    depot.rotate(&app(), &online_rotation(&depot).await.signed(), clock::now()).await.unwrap();
    device.refresh(&store, clock::now()).await;
    // No file has a name under which a cache between may have another one.
    let names = |files: Vec<&layout::Key>| -> Vec<String> { files.iter().map(|key| key.to_string()).collect() };
    let view = depot.view(&app()).unwrap();
    let signed_now = names(view.metadata.keys().filter(|key| key.as_str().contains(&clock_version())).collect());
    assert_eq!(signed_now.len(), 2, "channels and snapshot: {signed_now:?}");
}

/// The first version that a new key signs at this moment.
fn clock_version() -> String {
    clock::now().as_second().to_string()
}

#[tokio::test]
async fn a_lost_key_directory_is_said_at_the_start_and_replaced() {
    let (store, online) = with_two_releases().await;
    let lost = OnlineKeys::memory();
    let heard = super::heard::Heard::default();
    let depot = {
        let _listening = tracing::dispatcher::set_default(&tracing::Dispatch::new(heard.clone()));
        open(&store, &online, clock::now()).await;
        assert_eq!(heard.errors(), Vec::<String>::new(), "with its key there is nothing to say");
        open(&store, &lost, clock::now()).await
    };
    let errors = heard.errors();
    let [said] = &errors[..] else { panic!("{errors:?}") };
    let expires = clock::hours(24).to_string();
    for word in ["app=demo", &expires, "stale", "restore", "updraft keys replace-online"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    assert!(matches!(depot.can_sign(&app()).await, Err(Error::NoKey(_))));

    // A month later, when devices have called it stale for long.
    let late = clock::days(30);
    depot.rotate(&app(), &online_rotation(&depot).await.signed(), late).await.unwrap();
    depot.can_sign(&app()).await.unwrap();
    Device::default().refresh(&store, late).await;
    publish(&depot, "2.0.0", "any", Some("stable"), late).await.unwrap();
}

#[tokio::test]
async fn keys_in_a_directory_are_found_by_what_the_root_names() {
    let dir = tempfile::tempdir().unwrap();
    let keys = || OnlineKeys::directory(dir.path());
    let store = updraft_server::store::Store::memory();
    let depot = open(&store, &keys(), clock::now()).await;
    create(&depot, clock::now()).await.unwrap();
    depot.rotate(&app(), &online_rotation(&depot).await.signed(), clock::now()).await.unwrap();
    let forgotten = depot.next_online_key(&app()).await.unwrap();
    let mut names: Vec<String> = std::fs::read_dir(dir.path().join("demo"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let newest = verify_key(&depot.view(&app()).unwrap());
    let mut wanted = vec!["online.pem".to_owned()];
    wanted.extend([&newest, &forgotten].map(|key| format!("online-{}.pem", key.fingerprint())));
    wanted.sort();
    assert_eq!(names, wanted);

    // The others do not matter, not even as rubbish.
    std::fs::write(dir.path().join("demo/online.pem"), "rubbish").unwrap();
    std::fs::write(dir.path().join("demo/online-aaaa.pem"), "rubbish").unwrap();
    let again = Depot::open(store.clone(), keys(), Options::default(), clock::now()).await.unwrap();
    again.can_sign(&app()).await.unwrap();
    again.rotate(&app(), &online_rotation(&again).await.signed(), clock::now()).await.unwrap();
    let replaced = verify_key(&again.view(&app()).unwrap());
    assert!(![&newest, &forgotten].contains(&&replaced), "what lay there is not proposed again");
    Device::default().refresh(&store, clock::now()).await;
}

#[tokio::test]
async fn a_root_without_its_head_is_named_by_fsck_and_taken_when_it_is_handed_in_again() {
    let (depot, view, _) = scene().await;
    let store = depot.store().clone();
    let next = root_rotation(&view).signed();
    let root = layout::metadata(&app(), &MetadataFile::Root(2));
    store.create(&root, next.root.clone().into_bytes()).await.unwrap();
    let report = depot.fsck(updraft_server::depot::Repair::Nothing).await.unwrap();
    assert!(
        matches!(&report.problems[..], [one] if one.contains(root.as_str()) && one.contains("stops at root 1")),
        "{report:?}"
    );

    let another = edited(root_rotation(&view), |draft| {
        draft.root.expires = updraft_core::trust::Expires::new(clock::days(9));
    });
    let error = depot.rotate(&app(), &another, clock::now()).await.unwrap_err().to_string();
    assert!(error.contains("in the store already"), "{error}");
    depot.rotate(&app(), &next, clock::now()).await.unwrap();
    Device::default().refresh(&store, clock::now()).await;
    assert_sound(&depot).await;
}
