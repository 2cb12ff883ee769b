//! The ways back: from a thief's version numbers, from a damaged memory, from an update that was cut short.

use updraft_core::limits::JSON_INT_MAX;
use updraft_core::trust::{Error, Role};
use updraft_testkit::{SimDevice, SimRepo, keys};

use crate::scene::{Scene, renewed_roles, roles};

/// A thief with the online key, who wants that nothing honest is ever newer again.
fn fast_forward(scene: &mut Scene, role: &Role) {
    let honest = scene.repo.clone();
    scene.repo.tamper(role, |signed| signed["version"] = JSON_INT_MAX.into());
    scene.device.refresh(&mut scene.repo).expect("the thief has the keys");
    scene.repo = honest;
    (0..3).for_each(|_| scene.repo.renew());
}

#[track_caller]
fn is_held_back(scene: &mut Scene) {
    let error = scene.distrusted();
    assert!(matches!(error, Error::Rollback { .. }), "{error}");
}

#[test]
fn replacing_the_timestamp_key_ends_a_fast_forward_of_the_timestamp() {
    let mut scene = Scene::new();
    fast_forward(&mut scene, &Role::Timestamp);
    is_held_back(&mut scene);
    scene.repo.rotate(&[Role::Timestamp], &[keys::named("new online")], 1);
    scene.device.refresh(&mut scene.repo).expect("TUF 5.3.11");
}

#[test]
fn replacing_the_snapshot_key_ends_a_fast_forward_of_the_snapshot() {
    // Only the cached *timestamp* holds the device back here, and its key stays: both files have to be forgotten.
    let mut scene = Scene::new();
    fast_forward(&mut scene, &Role::Snapshot);
    is_held_back(&mut scene);
    scene.repo.rotate(&[Role::Snapshot], &[keys::named("new online")], 1);
    scene.device.refresh(&mut scene.repo).expect("TUF 5.3.11");
}

#[test]
fn replacing_the_timestamp_key_alone_ends_a_fast_forward_of_the_snapshot_too() {
    let mut scene = Scene::new();
    fast_forward(&mut scene, &Role::Snapshot);
    scene.repo.rotate(&[Role::Timestamp], &[keys::named("new online")], 1);
    scene.device.refresh(&mut scene.repo).expect("TUF 5.3.11");
}

#[test]
fn replacing_the_snapshot_key_ends_a_fast_forward_of_targets_or_channels() {
    for role in [Role::Targets, Role::channels()] {
        let mut scene = Scene::new();
        fast_forward(&mut scene, &role);
        is_held_back(&mut scene);
        scene.repo.rotate(&[Role::Snapshot], &[keys::named("new online")], 1);
        scene.device.refresh(&mut scene.repo).expect("TUF 5.3.11");
    }
}

#[test]
fn a_device_that_dies_between_two_files_of_the_recovery_gets_there_later() {
    // Root, timestamp, snapshot, ...: cut off after each of the requests in turn.
    for requests in 1..8 {
        let mut scene = Scene::new();
        fast_forward(&mut scene, &Role::Snapshot);
        scene.repo.rotate(&[Role::Snapshot], &[keys::named("new online")], 1);
        scene.repo.fail_after(requests);
        let _ = scene.device.refresh(&mut scene.repo);
        scene.repo.recover();
        scene.device.refresh(&mut scene.repo).expect("the rotation is not forgotten");
    }
}

#[test]
fn a_rotation_that_replaces_no_key_forgets_nothing() {
    let mut scene = Scene::new();
    let older = scene.repo.clone();
    (0..5).for_each(|_| scene.repo.renew());
    scene.device.refresh(&mut scene.repo).unwrap();
    // The next root keeps the online keys and adds one: what was believed under the old ones still counts.
    let both = [keys::online(), keys::named("second online")];
    scene.repo = older;
    scene.repo.rotate(&[Role::Timestamp, Role::Snapshot], &both, 1);
    is_held_back(&mut scene);
}

#[test]
fn every_key_can_be_replaced() {
    for role in roles() {
        let mut scene = Scene::new();
        scene.repo.rotate(std::slice::from_ref(&role), &[keys::named("new")], 1);
        let refreshed = scene.device.refresh(&mut scene.repo).unwrap();
        assert_eq!(refreshed.trusted.root().version, 2, "{role}");
        // And the old key is good for nothing from then on.
        if role != Role::Root {
            let old_keys = if role == Role::Targets { keys::targets() } else { keys::online() };
            scene.repo.set_signers(&role, &[old_keys]);
            scene.repo.tamper(&role, |_| {});
            let error = scene.distrusted();
            assert!(matches!(error, Error::Signed { .. }), "{role}: {error}");
        }
    }
}

#[test]
fn a_damaged_memory_costs_requests_and_nothing_else() {
    for role in renewed_roles() {
        for garbage in [&b""[..], b"{}", b"null", &[0xff; 1000]] {
            let mut scene = Scene::new();
            scene.device.refresh(&mut scene.repo).unwrap();
            let whole = scene.device.cache.clone();
            scene.device.cache.files.insert(role.clone(), garbage.to_vec());
            scene.device.refresh(&mut scene.repo).unwrap();
            assert_eq!(scene.device.cache, whole, "{role} is there again");
        }
    }
}

#[test]
fn a_memory_of_another_app_is_no_memory() {
    let mut other = SimRepo::with_keys("other", &[keys::named("r")], 1, &keys::named("t"), &keys::named("o"));
    (0..20).for_each(|_| other.renew());
    let mut stranger = SimDevice::of(&other);
    stranger.refresh(&mut other).unwrap();
    let mut scene = Scene::new();
    for role in renewed_roles() {
        scene.device.cache.files.insert(role.clone(), stranger.cache.files[&role].clone());
    }
    scene.device.refresh(&mut scene.repo).unwrap();
}

#[test]
fn nothing_new_costs_one_request() {
    let mut scene = Scene::new();
    scene.device.refresh(&mut scene.repo).unwrap();
    scene.repo.forget_requests();
    assert!(!scene.device.refresh(&mut scene.repo).unwrap().changed);
    assert_eq!(scene.repo.requests().len(), 1, "{:?}", scene.repo.requests());
}

#[test]
fn a_plain_repository_without_a_head_is_believed_just_the_same() {
    let mut with = Scene::new();
    let mut without = Scene::of(SimRepo::new("demo").without_head());
    with.device.refresh(&mut with.repo).unwrap();
    without.device.refresh(&mut without.repo).unwrap();
    assert_eq!(with.device.cache, without.device.cache);
    without.repo.forget_requests();
    without.device.refresh(&mut without.repo).unwrap();
    let asked: Vec<&str> = without.repo.requests().iter().map(|request| request.key.as_str()).collect();
    assert_eq!(asked, ["apps/demo/tuf/2.root.json", "apps/demo/tuf/timestamp.json"]);
}
