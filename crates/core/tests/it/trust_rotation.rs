//! Rotations of the online keys: cut short on the server's side or on the device's, and after a thief who had them.

use std::convert::Infallible;

use updraft_core::limits::JSON_INT_MAX;
use updraft_core::signed;
use updraft_core::trust::{Cache, Error, RefreshError, Role, refresh};
use updraft_testkit::{MemoryCache, OldKey, SimDevice, SimRepo, keys};

use crate::scene::{Scene, is_unsigned};

const ONLINE: [Role; 2] = [Role::Timestamp, Role::Snapshot];

fn online_roles() -> [Role; 3] {
    [Role::Timestamp, Role::Snapshot, Role::channels()]
}

/// Two devices, one that has followed the app and one that is new.
fn devices(scene: &Scene) -> [SimDevice; 2] {
    [scene.device.clone(), SimDevice::of(&scene.repo)]
}

// --- cut short on the server's side ---

#[test]
fn a_rotation_cut_short_after_any_write_keeps_no_device_from_believing() {
    let mut scene = Scene::new();
    scene.device.refresh(&mut scene.repo).unwrap();
    let before = devices(&scene);
    let states = scene.repo.replace_online(&keys::named("new online"), OldKey::Signs);
    // Targets, channels, snapshot, head, timestamp.json; and all but targets and channels again with the new root.
    assert!(states.len() >= 8, "{}", states.len());
    for (n, state) in states.iter().enumerate() {
        for (mut device, mut served) in before
            .iter()
            .flat_map(|device| [state.clone(), state.clone().without_head()].map(|served| (device.clone(), served)))
        {
            device.refresh(&mut served).unwrap_or_else(|error| panic!("after write {n}: {error}"));
            let refreshed = device.refresh(&mut scene.repo).expect("the whole rotation is believed afterwards");
            assert_eq!(refreshed.trusted.root().version, 2);
        }
    }
}

#[test]
fn without_the_old_key_a_rotation_cut_short_holds_up_and_never_misleads() {
    let mut scene = Scene::new();
    scene.device.refresh(&mut scene.repo).unwrap();
    let before = devices(&scene);
    let states = scene.repo.replace_online(&keys::named("new online"), OldKey::Lost);
    let mut held_up = 0;
    for (n, state) in states.iter().enumerate() {
        for mut device in before.clone() {
            // Who asks for the head sees the old state or the new one.
            device.clone().refresh(&mut state.clone()).unwrap_or_else(|error| panic!("after write {n}: {error}"));
            // Who probes for roots sees the new one before anything that it vouches for.
            match device.refresh(&mut state.clone().without_head()) {
                Ok(_) => {}
                Err(RefreshError::Trust(error)) => {
                    held_up += 1;
                    assert!(is_unsigned(&error, &Role::Timestamp), "after write {n}: {error}");
                }
                Err(error) => panic!("after write {n}: {error}"),
            }
            let refreshed = device.refresh(&mut scene.repo).expect("the whole rotation is believed afterwards");
            assert_eq!(refreshed.trusted.root().version, 2);
        }
    }
    assert!(held_up > 0, "nothing was tried");
}

// --- cut short on the device's side ---

/// A memory that takes so many more changes, and then the power goes.
struct Dying {
    memory: MemoryCache,
    changes: usize,
}

#[derive(Debug)]
struct Died;

impl Dying {
    fn change(&mut self, change: impl FnOnce(&mut MemoryCache) -> Result<(), Infallible>) -> Result<(), Died> {
        self.changes = self.changes.checked_sub(1).ok_or(Died)?;
        change(&mut self.memory).map_err(|never| match never {})
    }
}

impl Cache for Dying {
    type Error = Died;

    fn load(&mut self, role: &Role) -> Option<Vec<u8>> {
        self.memory.load(role)
    }

    fn store(&mut self, role: &Role, bytes: &[u8]) -> Result<(), Died> {
        self.change(|memory| memory.store(role, bytes))
    }

    fn forget(&mut self, role: &Role) -> Result<(), Died> {
        self.change(|memory| memory.forget(role))
    }
}

/// A thief had the online key and drove the versions of all that it signs as high as they go.
fn after_a_thief() -> Scene {
    let mut scene = Scene::new();
    let honest = scene.repo.clone();
    for role in [Role::channels(), Role::Snapshot, Role::Timestamp] {
        scene.repo.tamper(&role, |signed| signed["version"] = JSON_INT_MAX.into());
    }
    scene.device.refresh(&mut scene.repo).expect("the thief has the key");
    scene.repo = honest;
    scene.repo.renew();
    let error = scene.distrusted();
    assert!(matches!(error, Error::Rollback { trusted, .. } if trusted == JSON_INT_MAX as u64), "{error}");
    scene
}

#[test]
fn replacing_the_online_keys_ends_what_a_thief_did_at_the_next_check() {
    for without_head in [false, true] {
        let mut scene = after_a_thief();
        scene.repo.replace_online(&keys::named("new online"), OldKey::Lost);
        let mut served = if without_head { scene.repo.clone().without_head() } else { scene.repo.clone() };
        let refreshed = scene.device.refresh(&mut served).expect("one check is enough");
        assert_eq!(refreshed.trusted.bytes(&Role::channels()), Some(scene.repo.current(&Role::channels())));
        // And what the thief signed is worth nothing from then on.
        for role in online_roles() {
            let mut thiefs = scene.repo.clone();
            thiefs.set_signers(&role, &[keys::online()]);
            thiefs.tamper(&role, |_| {});
            match scene.device.clone().refresh(&mut thiefs).map(|_| ()) {
                Err(RefreshError::Trust(error)) => assert!(is_unsigned(&error, &role), "{error}"),
                other => panic!("{role}: {other:?}"),
            }
        }
    }
}

#[test]
fn a_device_that_dies_between_any_two_writes_of_the_recovery_gets_there_later() {
    let mut scene = after_a_thief();
    scene.repo.replace_online(&keys::named("new online"), OldKey::Lost);
    let whole = 6; // two are forgotten, four and more are kept
    let mut died = 0;
    for changes in 0.. {
        let mut device = scene.device.clone();
        let mut dying = Dying { memory: device.cache.clone(), changes };
        let root = device.cache.files.get(&Role::Root).unwrap_or(&device.pinned).clone();
        let outcome = refresh(&root, device.now, &mut scene.repo.clone(), &mut dying);
        device.cache = dying.memory;
        let refreshed = device.refresh(&mut scene.repo).unwrap_or_else(|error| panic!("after {changes}: {error}"));
        assert_eq!(refreshed.trusted.bytes(&Role::Timestamp), Some(scene.repo.current(&Role::Timestamp)));
        match outcome {
            Ok(_) => break,
            Err(RefreshError::Cache(Died)) => died += 1,
            Err(error) => panic!("after {changes}: {error:?}"),
        }
    }
    assert!(died >= whole, "it died {died} times");
}

// --- `channels` alone ---

/// Of the three online keys that of `channels` is not named by root. Replaced alone it is good for what it is meant for...
#[test]
fn the_key_of_channels_can_be_replaced_alone() {
    let mut scene = Scene::new();
    scene.repo.rotate(&[Role::channels()], &[keys::named("new channels")], 1);
    let refreshed = scene.device.refresh(&mut scene.repo).unwrap();
    assert_eq!(refreshed.trusted.bytes(&Role::channels()), Some(scene.repo.current(&Role::channels())));
    scene.repo.set_signers(&Role::channels(), &[keys::online()]);
    scene.repo.tamper(&Role::channels(), |_| {});
    assert!(is_unsigned(&scene.distrusted(), &Role::channels()));
}

/// ... and does not help against a thief, who signs the other two as well: versions are remembered with the snapshot.
#[test]
fn the_key_of_channels_alone_is_not_enough_after_a_thief() {
    let mut scene = after_a_thief();
    scene.repo.rotate(&[Role::channels()], &[keys::named("new channels")], 1);
    assert!(matches!(scene.distrusted(), Error::Rollback { .. }));
    scene.repo.rotate(&ONLINE, &[keys::named("new online")], 1);
    scene.device.refresh(&mut scene.repo).expect("all three are replaced now");
}

/// The other way round: the two that root names are new, and a thief has the key of `channels` still.
#[test]
fn a_key_of_channels_that_was_left_behind_still_signs_channels() {
    let mut scene = Scene::new();
    scene.repo.rotate(&ONLINE, &[keys::named("new online")], 1);
    scene.device.refresh(&mut scene.repo).unwrap();
    scene.repo.tamper(&Role::channels(), |_| {});
    scene.device.refresh(&mut scene.repo).expect("which is why all three are replaced in one commit");
}

// --- a snapshot that promises what there is not ---

/// Whoever has the key of the snapshot can name versions of targets that nobody signed. Nothing is believed of them, but
/// the device remembers their names; the rotation makes it forget.
#[test]
fn versions_that_a_thief_only_named_are_forgotten_too() {
    let mut scene = Scene::new();
    let honest = scene.repo.clone();
    scene.repo.tamper(&Role::Snapshot, |snapshot| {
        snapshot["meta"]["targets.json"] = serde_json::json!({"version": JSON_INT_MAX});
    });
    let error = scene.device.refresh(&mut scene.repo).map(|_| ()).unwrap_err();
    assert!(matches!(error, RefreshError::Missing(_)), "{error}");
    scene.repo = honest;
    (0..3).for_each(|_| scene.repo.renew());
    assert!(matches!(scene.distrusted(), Error::Rollback { role: Role::Targets, .. }));
    scene.repo.replace_online(&keys::named("new online"), OldKey::Lost);
    scene.device.refresh(&mut scene.repo).expect("TUF 5.3.11");
}

// --- thresholds below root ---

#[test]
fn one_stolen_key_of_two_lists_no_release() {
    let both = ["a", "b"].map(keys::named);
    let mut repo = SimRepo::new("demo");
    repo.rotate(&[Role::Targets], &both, 2);
    let mut scene = Scene::of(repo);
    scene.repo.set_signers(&Role::Targets, &[keys::named("a"), keys::thief()]);
    scene.repo.publish("6.6.6", "any", &updraft_testkit::TreeFixture::of(&[("app*", "evil")]));
    let threshold = signed::Error::Threshold { found: 1, threshold: 2 };
    assert_eq!(scene.refused(&Role::Targets), Error::Signed { role: Role::Targets, source: threshold });
}
