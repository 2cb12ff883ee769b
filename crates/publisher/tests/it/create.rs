//! A new app, interrupted anywhere.

use updraft_core::digest::Sha256;
use updraft_core::trust::{Role, Trusted};
use updraft_publisher::create::{Error, RootKeys, create};
use updraft_publisher::keys::{KeyName, Keystore, Known, Unlocked};
use updraft_testkit::{clock, keys};

use crate::server::{Fault, Server};
use crate::{Desk, app};

#[test]
fn an_app_is_made_once() {
    let server = Server::new("demo");
    let desk = Desk::new();
    let secret = Known::new("secret");
    let made = create(&server, &app(), &desk.keys, RootKeys::default(), &secret, clock::now()).unwrap();
    assert!(!made.existed);
    let root = desk.keys.first_root().unwrap().unwrap();
    assert_eq!(made.root_sha256, Sha256::of(&root));

    // What it signed is what the design says: root and targets ours, the rest the server's; long lives.
    let trusted = Trusted::new(&root, clock::now()).unwrap();
    let signers = |role: &Role| trusted.root().roles[role.name()].keyids.clone();
    let ours = |name| desk.keys.open_key(name, &secret).unwrap().public().id();
    assert_eq!(signers(&Role::Root), [ours(KeyName::Root)]);
    assert_eq!(signers(&Role::Targets), [ours(KeyName::Targets)]);
    assert_eq!(signers(&Role::Snapshot), [keys::online().public().id()]);
    assert_eq!(signers(&Role::Timestamp), [keys::online().public().id()]);
    assert!(trusted.root().expires.at() > clock::days(9 * 365));

    // Again is success and changes nothing.
    let again = create(&server, &app(), &desk.keys, RootKeys::default(), &Unlocked, clock::now()).unwrap();
    assert_eq!((again.existed, again.root_sha256), (true, made.root_sha256));
}

/// Somebody pulls the plug during every call, before and after it had its effect. Doing it again finishes it with the
/// same keys; nobody ever needs to know at which point it stopped.
#[test]
fn an_interrupted_creation_is_finished_by_doing_it_again() {
    let whole = {
        let server = Server::new("demo");
        Desk::with_app(&server);
        server.calls()
    };
    assert!(whole >= 4, "propose, create, first root, and a refresh: {whole}");
    for nth in 0..whole {
        for fault in [Fault::Before, Fault::After] {
            let server = Server::new("demo");
            let desk = Desk::new();
            server.fail_at(nth, fault);
            create(&server, &app(), &desk.keys, RootKeys::default(), &Unlocked, clock::now()).unwrap_err();
            let keys_before = std::fs::read(desk.keys.key_path(KeyName::Root)).ok();
            server.heal();
            let made = create(&server, &app(), &desk.keys, RootKeys::default(), &Unlocked, clock::hours(1)).unwrap();
            let keys_after = std::fs::read(desk.keys.key_path(KeyName::Root)).ok();
            assert!(keys_before.is_none() || keys_before == keys_after, "call {nth}, {fault:?}: keys are kept");
            assert_eq!(Sha256::of(&desk.keys.first_root().unwrap().unwrap()), made.root_sha256);
            assert!(!desk.keys.dir().join("pending.json").exists());
        }
    }
}

#[test]
fn a_name_that_is_taken_says_so_and_leaves_no_keys() {
    let server = Server::new("demo");
    let first = Desk::with_app(&server);
    let second = Desk::new();
    let error = create(&server, &app(), &second.keys, RootKeys::default(), &Unlocked, clock::now()).unwrap_err();
    assert!(matches!(error, Error::Exists { .. }), "{error}");
    assert!(!second.keys.key_path(KeyName::Root).exists());
    assert!(first.keys.is_ready() && !second.keys.is_ready());
}

#[test]
fn a_server_that_lost_its_data_before_the_app_existed_gets_a_new_root() {
    let desk = Desk::new();
    let lost = Server::new("demo");
    lost.fail_at(1, Fault::Before);
    create(&lost, &app(), &desk.keys, RootKeys::default(), &Unlocked, clock::now()).unwrap_err();
    let root_key = std::fs::read(desk.keys.key_path(KeyName::Root)).unwrap();

    let fresh = Server::with_online("demo", keys::named("another online key"));
    let made = create(&fresh, &app(), &desk.keys, RootKeys::default(), &Unlocked, clock::now()).unwrap();
    assert!(!made.existed);
    assert_eq!(std::fs::read(desk.keys.key_path(KeyName::Root)).unwrap(), root_key);
}

#[test]
fn keys_of_an_app_that_exists_elsewhere_are_not_used_for_another() {
    let desk = Desk::with_app(&Server::new("demo"));
    let other = Server::with_online("demo", keys::named("another online key"));
    let error = create(&other, &app(), &desk.keys, RootKeys::default(), &Unlocked, clock::now()).unwrap_err();
    assert!(matches!(error, Error::KeysInUse { .. }), "{error}");

    // And the other way round: the name is there, with somebody else's keys.
    Desk::with_app(&other);
    let error = create(&other, &app(), &desk.keys, RootKeys::default(), &Unlocked, clock::now()).unwrap_err();
    assert!(matches!(error, Error::Exists { .. }), "{error}");
}

#[test]
fn a_threshold_that_cannot_be_reached_makes_nothing() {
    let server = Server::new("demo");
    let desk = Desk::new();
    for (count, threshold) in [(3, 4), (3, 0), (0, 0), (17, 1)] {
        let error = create(&server, &app(), &desk.keys, RootKeys { count, threshold }, &Unlocked, clock::now());
        assert!(matches!(error, Err(Error::Threshold { .. })), "{error:?}");
    }
    assert!(!desk.keys.dir().exists());
}

#[test]
fn two_at_once_make_one_app() {
    let server = Server::new("demo");
    let desk = Desk::new();
    let one = || {
        let keys = Keystore::at(desk.keys.dir());
        create(&server, &app(), &keys, RootKeys::default(), &Unlocked, clock::now()).unwrap().root_sha256
    };
    let (a, b) = std::thread::scope(|scope| {
        let other = scope.spawn(one);
        (one(), other.join().unwrap())
    });
    assert_eq!(a, b);
}

/// An interrupted creation was finished with what had been signed, though the key that signed it was gone: the app existed,
/// and nobody could ever change or publish anything.
#[test]
fn what_was_signed_by_a_key_that_is_gone_makes_no_app() {
    let interrupted = |fault| {
        let (server, desk) = (Server::new("demo"), Desk::new());
        server.fail_at(1, fault);
        create(&server, &app(), &desk.keys, RootKeys::default(), &Unlocked, clock::now()).unwrap_err();
        server.heal();
        (server, desk)
    };
    let again = |server: &Server, desk: &Desk, root_keys| {
        create(server, &app(), &desk.keys, root_keys, &Unlocked, clock::hours(1))
    };
    let two = RootKeys { count: 2, threshold: 2 };
    for name in KeyName::ALL {
        // Nothing has arrived: new keys, and new metadata.
        let (server, desk) = interrupted(Fault::Before);
        std::fs::remove_file(desk.keys.key_path(name)).unwrap();
        again(&server, &desk, RootKeys::default()).unwrap();
        let here = desk.keys.open_key(name, &Unlocked).unwrap().public().id();
        assert_eq!(server.root().roles[name.role().name()].keyids, [here]);

        // It has: only the key that signed it helps.
        let (server, desk) = interrupted(Fault::After);
        let key = std::fs::read(desk.keys.key_path(name)).unwrap();
        std::fs::remove_file(desk.keys.key_path(name)).unwrap();
        let error = again(&server, &desk, RootKeys::default()).unwrap_err();
        assert!(matches!(error, Error::KeysGone { name: gone, .. } if gone == name), "{error}");
        assert!(!desk.keys.is_ready());
        std::fs::write(desk.keys.key_path(name), key).unwrap();
        assert!(matches!(again(&server, &desk, two), Err(Error::OtherRootKeys { count: 1, threshold: 1, .. })));
        again(&server, &desk, RootKeys::default()).unwrap();
    }
    let (server, desk) = interrupted(Fault::Before);
    let made = again(&server, &desk, two).unwrap();
    assert_eq!((made.root.keys.len(), made.root.threshold), (2, 2));
}
