//! Attacks on the trust of a device, one by one. Each is refused for the reason that its name says, and what the device
//! believed before still holds ([`Scene::refused`] sees to that).

use std::time::Duration;

use updraft_core::limits::ROOT_ROTATIONS_MAX;
use updraft_core::release::Release;
use updraft_core::signed;
use updraft_core::trust::{Error, MetadataFile, Role, TargetFile, Trusted};
use updraft_core::{Timestamp, layout};
use updraft_testkit::{SimDevice, SimRepo, TreeFixture, clock, keys};

use crate::scene::{Scene, is_unsigned, renewed_roles};

// --- arbitrary installation: metadata that the wrong key signed ---

#[track_caller]
fn signed_by_a_thief(role: &Role) {
    let mut scene = Scene::new();
    scene.repo.set_signers(role, &[keys::thief()]);
    scene.repo.tamper(role, |_| {});
    let error = scene.refused(role);
    assert!(is_unsigned(&error, role), "{error}");
}

#[test]
fn a_timestamp_by_a_thief() {
    signed_by_a_thief(&Role::Timestamp);
}

#[test]
fn a_snapshot_by_a_thief() {
    signed_by_a_thief(&Role::Snapshot);
}

#[test]
fn targets_by_a_thief() {
    signed_by_a_thief(&Role::Targets);
}

#[test]
fn channels_by_a_thief() {
    signed_by_a_thief(&Role::channels());
}

#[test]
fn the_server_cannot_sign_targets() {
    let mut scene = Scene::new();
    scene.repo.set_signers(&Role::Targets, &[keys::online()]);
    scene.repo.publish("6.6.6", "any", &TreeFixture::of(&[("app*", "evil")]));
    assert!(is_unsigned(&scene.refused(&Role::Targets), &Role::Targets));
}

#[test]
fn the_publisher_cannot_sign_what_is_the_servers() {
    for role in [Role::Timestamp, Role::Snapshot, Role::channels()] {
        let mut scene = Scene::new();
        scene.repo.set_signers(&role, &[keys::targets(), keys::root()]);
        scene.repo.tamper(&role, |_| {});
        assert!(is_unsigned(&scene.refused(&role), &role));
    }
}

#[test]
fn a_release_document_that_was_exchanged() {
    let mut scene = Scene::new();
    let refreshed = scene.device.refresh(&mut scene.repo).unwrap();
    let targets = &refreshed.trusted.targets(&Role::Targets).unwrap().targets;
    let (honest, other) = (&targets["releases/any/1.0.0.json"], &targets["releases/any/1.1.0.json"]);
    let document = |target: &TargetFile| {
        scene.repo.objects().values().find(|bytes| target.matches(bytes)).expect("the document is there").clone()
    };
    assert!(honest.matches(&document(honest)));
    assert!(!honest.matches(&document(other)));
    let mut longer = document(honest);
    longer.push(b' ');
    assert!(!honest.matches(&longer));
}

// --- roots: who may make the next one ---

#[test]
fn a_root_that_the_old_root_did_not_sign() {
    let mut scene = Scene::new();
    scene.repo.forge_root(&[keys::thief()], |root| {
        let thief = keys::thief().public();
        root["keys"][thief.id().as_str()] = serde_json::to_value(&thief).unwrap();
        root["roles"]["root"]["keyids"] = vec![thief.id().as_str()].into();
    });
    assert!(is_unsigned(&scene.refused(&Role::Root), &Role::Root));
}

#[test]
fn a_root_that_its_own_keys_did_not_sign() {
    let mut scene = Scene::new();
    scene.repo.forge_root(&[keys::root()], |root| {
        let other = keys::named("other").public();
        root["keys"][other.id().as_str()] = serde_json::to_value(&other).unwrap();
        root["roles"]["root"]["keyids"] = vec![other.id().as_str()].into();
    });
    assert!(is_unsigned(&scene.refused(&Role::Root), &Role::Root));
}

#[test]
fn a_root_that_skips_a_version() {
    let mut scene = Scene::new();
    scene.repo.forge_root(&[keys::root()], |root| root["version"] = 3.into());
    assert!(matches!(scene.refused(&Role::Root), Error::Format { role: Role::Root, .. }));
}

#[test]
fn an_old_root_served_as_the_next() {
    let mut scene = Scene::new();
    scene.repo.forge_root(&[keys::root()], |root| root["version"] = 1.into());
    assert!(matches!(scene.refused(&Role::Root), Error::Rollback { role: Role::Root, found: 1, trusted: 1 }));
}

#[test]
fn one_stolen_key_of_three_makes_no_root() {
    let root_keys = ["a", "b", "c"].map(keys::named);
    let mut scene = Scene::of(SimRepo::with_keys("demo", &root_keys, 2, &keys::targets(), &keys::online()));
    scene.repo.forge_root(&[keys::named("a"), keys::thief()], |_| {});
    let error = scene.refused(&Role::Root);
    let threshold = signed::Error::Threshold { found: 1, threshold: 2 };
    assert_eq!(error, Error::Signed { role: Role::Root, source: threshold });
}

#[test]
fn two_keys_of_three_do_make_a_root() {
    let root_keys = ["a", "b", "c"].map(keys::named);
    let mut scene = Scene::of(SimRepo::with_keys("demo", &root_keys, 2, &keys::targets(), &keys::online()));
    scene.repo.forge_root(&[keys::named("a"), keys::named("c")], |_| {});
    assert_eq!(scene.device.refresh(&mut scene.repo).unwrap().trusted.root().version, 2);
}

#[test]
fn a_key_that_has_two_ids_counts_once() {
    let root_keys = ["a", "b"].map(keys::named);
    let mut scene = Scene::of(SimRepo::with_keys("demo", &root_keys, 2, &keys::targets(), &keys::online()));
    // Two honest signers wrote one key down twice; then one of them signs a timestamp with it, twice.
    scene.repo.forge_root(&root_keys, |root| {
        root["keys"]["twin"] = serde_json::to_value(keys::online().public()).unwrap();
        root["roles"]["timestamp"]["keyids"] = vec![keys::online().public().id().as_str(), "twin"].into();
        root["roles"]["timestamp"]["threshold"] = 2.into();
    });
    let mut document: serde_json::Value = serde_json::from_slice(scene.repo.current(&Role::Timestamp)).unwrap();
    let mut twin = document["signatures"][0].clone();
    twin["keyid"] = "twin".into();
    document["signatures"].as_array_mut().unwrap().push(twin);
    scene.repo.replace(&Role::Timestamp, serde_json::to_vec(&document).unwrap());
    let error = scene.distrusted();
    let threshold = signed::Error::Threshold { found: 1, threshold: 2 };
    assert_eq!(error, Error::Signed { role: Role::Timestamp, source: threshold });
}

#[test]
fn a_threshold_of_zero() {
    let mut scene = Scene::new();
    scene.repo.forge_root(&[keys::root()], |root| root["roles"]["targets"]["threshold"] = 0.into());
    assert!(matches!(scene.refused(&Role::Root), Error::Format { role: Role::Root, .. }));
}

#[test]
fn a_root_that_forgets_a_role() {
    let mut scene = Scene::new();
    scene.repo.forge_root(&[keys::root()], |root| {
        root["roles"].as_object_mut().unwrap().remove("snapshot");
    });
    assert!(matches!(scene.refused(&Role::Root), Error::Format { role: Role::Root, .. }));
}

#[test]
fn a_root_without_consistent_snapshots() {
    let mut scene = Scene::new();
    scene.repo.forge_root(&[keys::root()], |root| root["consistent_snapshot"] = false.into());
    assert!(matches!(scene.refused(&Role::Root), Error::Format { role: Role::Root, .. }));
}

#[test]
fn roots_without_end() {
    let mut scene = Scene::new();
    let asked = ROOT_ROTATIONS_MAX + 10;
    (0..asked).for_each(|_| scene.repo.rotate(&[Role::Timestamp], &[keys::online()], 1));
    scene.repo.forget_requests();
    let refreshed = scene.device.refresh(&mut scene.repo).unwrap();
    assert_eq!(refreshed.trusted.root().version, 1 + ROOT_ROTATIONS_MAX, "it stops, and goes on the next time");
    assert_eq!(scene.device.refresh(&mut scene.repo).unwrap().trusted.root().version, 1 + asked);
}

// --- rollback ---

#[test]
fn an_older_timestamp() {
    let mut scene = Scene::new();
    let older = scene.repo.clone();
    scene.repo.renew();
    scene.device.refresh(&mut scene.repo).unwrap();
    scene.repo = older;
    assert!(matches!(scene.refused(&Role::Timestamp), Error::Rollback { role: Role::Timestamp, .. }));
}

#[test]
fn an_older_timestamp_without_a_head() {
    let mut scene = Scene::of(SimRepo::new("demo").without_head());
    let older = scene.repo.clone();
    scene.repo.renew();
    scene.device.refresh(&mut scene.repo).unwrap();
    scene.repo = older;
    assert!(matches!(scene.refused(&Role::Timestamp), Error::Rollback { role: Role::Timestamp, .. }));
}

#[test]
fn a_newer_timestamp_that_names_an_older_snapshot() {
    let mut scene = Scene::new();
    let older = scene.repo.current(&Role::Snapshot).to_vec();
    scene.repo.renew();
    scene.device.refresh(&mut scene.repo).unwrap();
    scene.repo.replace(&Role::Snapshot, older);
    assert!(matches!(scene.refused(&Role::Timestamp), Error::Rollback { role: Role::Snapshot, .. }));
}

#[track_caller]
fn a_newer_snapshot_that_names_older(role: &Role) {
    let mut scene = Scene::new();
    let older = scene.repo.current(role).to_vec();
    let third = scene.repo.publish("1.2.0", "any", &TreeFixture::of(&[("app*", "three")]));
    scene.repo.promote("stable", &third);
    scene.device.refresh(&mut scene.repo).unwrap();
    let honest = scene.repo.clone();
    scene.repo.replace(role, older);
    scene.honest_is(honest);
    let error = scene.refused(&Role::Snapshot);
    assert!(matches!(&error, Error::Rollback { role: found, .. } if found == role), "{error}");
}

#[test]
fn a_newer_snapshot_that_names_older_targets() {
    a_newer_snapshot_that_names_older(&Role::Targets);
}

#[test]
fn a_newer_snapshot_that_names_older_channels() {
    a_newer_snapshot_that_names_older(&Role::channels());
}

#[test]
fn another_timestamp_of_the_same_version_is_not_looked_at() {
    let mut scene = Scene::new();
    scene.device.refresh(&mut scene.repo).unwrap();
    let believed = scene.device.cache.clone();
    let version = scene.repo.version(&Role::Timestamp);
    let older = scene.repo.clone();
    scene.repo.renew();
    scene.repo.tamper(&Role::Timestamp, |timestamp| timestamp["version"] = version.into());
    scene.device.refresh(&mut scene.repo).unwrap();
    assert_eq!(scene.device.cache, believed, "TUF 5.4.3.1: the one that is believed stays");
    scene.repo = older;
    scene.device.refresh(&mut scene.repo).unwrap();
}

#[test]
fn an_older_snapshot_when_only_the_timestamp_was_lost() {
    let mut scene = Scene::new();
    let older = scene.repo.clone();
    // The newer one names the same targets and channels, so that nothing but its own version tells.
    scene.repo.tamper(&Role::Snapshot, |snapshot| snapshot["version"] = 20.into());
    scene.device.refresh(&mut scene.repo).unwrap();
    scene.device.cache.files.remove(&Role::Timestamp);
    scene.repo = older;
    assert!(matches!(scene.refused(&Role::Snapshot), Error::Rollback { role: Role::Snapshot, trusted: 20, .. }));
}

// --- freeze ---

#[track_caller]
fn frozen(role: &Role) {
    let mut scene = Scene::new();
    scene.repo.expire(role);
    let error = scene.refused(role);
    assert!(matches!(&error, Error::Expired { role: found, .. } if found == role), "{error}");
}

#[test]
fn an_expired_timestamp() {
    frozen(&Role::Timestamp);
}

#[test]
fn an_expired_snapshot() {
    frozen(&Role::Snapshot);
}

#[test]
fn expired_targets() {
    frozen(&Role::Targets);
}

#[test]
fn expired_channels() {
    frozen(&Role::channels());
}

#[test]
fn an_expired_root() {
    let mut scene = Scene::new();
    scene.repo.forge_root(&[keys::root()], |root| root["expires"] = clock::hours(-1).to_string().into());
    let error = scene.distrusted();
    assert!(matches!(error, Error::Expired { role: Role::Root, .. }));
}

#[test]
fn a_server_that_stands_still() {
    let mut scene = Scene::new();
    scene.device.refresh(&mut scene.repo).unwrap();
    let believed = scene.device.cache.clone();
    scene.device.now = clock::hours(24);
    let error = scene.distrusted();
    assert_eq!(error, Error::Expired { role: Role::Timestamp, expired: clock::hours(24) }, "the very second counts");
    assert_eq!(scene.device.cache, believed);
    scene.device.now = clock::hours(24).checked_sub(Duration::from_secs(1)).unwrap();
    scene.device.refresh(&mut scene.repo).unwrap();
}

#[test]
fn an_expired_root_on_the_way_to_a_fresh_one_is_no_obstacle() {
    let mut scene = Scene::new();
    scene.device.now = clock::days(400);
    scene.repo.now = clock::days(400);
    scene.repo.rotate(&[Role::Targets], &[keys::targets()], 1);
    assert_eq!(scene.device.refresh(&mut scene.repo).unwrap().trusted.root().version, 2);
}

// --- mix and match ---

#[test]
fn other_bytes_than_the_ones_that_are_named() {
    for role in [Role::Snapshot, Role::Targets, Role::channels()] {
        let mut scene = Scene::new();
        let other = scene.repo.clone();
        scene.repo.tamper(&role, |signed| signed["expires"] = clock::days(300).to_string().into());
        let forged = scene.repo.current(&role).to_vec();
        scene.repo = other;
        scene.repo.damage(&role, |bytes| *bytes = forged);
        let error = scene.refused(&role);
        assert!(matches!(&error, Error::Mismatch { role: found, .. } if *found == role), "{error}");
    }
}

#[test]
fn a_head_that_pairs_a_timestamp_with_another_snapshot() {
    let mut scene = Scene::new();
    let older = scene.repo.current(&Role::Snapshot).to_vec();
    scene.repo.renew();
    scene.repo.damage(&Role::Snapshot, |bytes| *bytes = older);
    assert!(matches!(scene.refused(&Role::Snapshot), Error::Mismatch { role: Role::Snapshot, .. }));
}

#[test]
fn a_file_of_another_version_than_its_name_says() {
    for role in [Role::Targets, Role::channels()] {
        let mut scene = Scene::new();
        let (bytes, version) = (scene.repo.current(&role).to_vec(), scene.repo.version(&role) + 1);
        let file = MetadataFile::Versioned(role.clone(), version);
        scene.repo.put(layout::metadata(&"demo".parse().unwrap(), &file), bytes);
        scene.repo.tamper(&Role::Snapshot, |snapshot| snapshot["meta"][role.file_name()]["version"] = version.into());
        let error = scene.distrusted();
        assert!(matches!(&error, Error::Mismatch { role: found, .. } if *found == role), "{error}");
    }
}

#[test]
fn a_snapshot_without_channels_or_without_targets() {
    for role in [Role::Targets, Role::channels()] {
        let mut scene = Scene::new();
        scene.repo.tamper(&Role::Snapshot, |snapshot| {
            snapshot["meta"].as_object_mut().unwrap().remove(&role.file_name());
        });
        assert_eq!(scene.refused(&Role::Snapshot), Error::Unnamed { role, by: Role::Snapshot });
    }
}

#[test]
fn a_newcomer_misses_a_role_that_was_never_named() {
    let mut scene = Scene::new();
    scene.device = SimDevice::of(&scene.repo);
    scene.repo.tamper(&Role::Snapshot, |snapshot| {
        snapshot["meta"].as_object_mut().unwrap().remove("channels.json");
    });
    assert_eq!(scene.refused(&Role::channels()), Error::Unnamed { role: Role::channels(), by: Role::Snapshot });
}

#[test]
fn a_hash_of_a_kind_that_is_not_known() {
    let mut scene = Scene::new();
    scene.repo.tamper(&Role::Snapshot, |snapshot| {
        snapshot["meta"]["targets.json"]["hashes"] = serde_json::json!({"md5": "00"});
    });
    assert!(matches!(scene.refused(&Role::Targets), Error::Mismatch { role: Role::Targets, .. }));
}

// --- another app's ---

fn another_app() -> SimRepo {
    let [root, targets, online] = ["other root", "other targets", "other online"].map(keys::named);
    let mut other = SimRepo::with_keys("other", &[root], 1, &targets, &online);
    let release = other.publish("9.0.0", "any", &TreeFixture::of(&[("app*", "other")]));
    other.promote("stable", &release);
    (0..9).for_each(|_| other.renew());
    other
}

#[test]
fn another_apps_metadata() {
    for role in renewed_roles() {
        let mut scene = Scene::new();
        scene.repo.replace(&role, another_app().current(&role).to_vec());
        let error = scene.refused(&role);
        assert!(is_unsigned(&error, &role), "{error}");
    }
}

#[test]
fn another_apps_root_is_not_the_next_one() {
    let mut scene = Scene::new();
    let mut other = another_app();
    other.rotate(&[Role::Targets], &[keys::targets()], 1);
    let key = layout::metadata(&"demo".parse().unwrap(), &MetadataFile::Root(2));
    scene.repo.forge_root(&[keys::thief()], |_| {});
    scene.repo.put(key, other.current(&Role::Root).to_vec());
    assert!(is_unsigned(&scene.refused(&Role::Root), &Role::Root));
}

#[test]
fn another_apps_release_document_though_the_same_publisher_signed_it() {
    let mut scene = Scene::new();
    let stray = "other".parse().unwrap();
    let name = scene.repo.publish_with("2.0.0", "any", &TreeFixture::of(&[]), |release| release.app = stray);
    let refreshed = scene.device.refresh(&mut scene.repo).unwrap();
    let target = &refreshed.trusted.targets(&Role::Targets).unwrap().targets[&name.target_path()];
    let document = scene.repo.objects().values().find(|bytes| target.matches(bytes)).unwrap();
    let error = Release::decode(document, scene.repo.app(), &name).unwrap_err();
    assert!(error.to_string().contains("belongs to app other"), "{error}");
}

// --- a newcomer ---

#[test]
fn a_pinned_root_that_is_not_one() {
    let repo = SimRepo::new("demo");
    let now: Timestamp = clock::now();
    let mut altered = repo.first_root().to_vec();
    altered.truncate(altered.len() - 1);
    assert!(Trusted::new(&altered, now).is_err());
    assert!(Trusted::new(repo.current(&Role::Targets), now).is_err());
    let mut forged = SimRepo::new("demo");
    forged.set_signers(&Role::Root, &[keys::thief()]);
    forged.tamper(&Role::Root, |_| {});
    assert!(is_unsigned(&Trusted::new(forged.current(&Role::Root), now).unwrap_err(), &Role::Root));
}
