//! A release that a person chooses for one device: which may be chosen, how long the choice lasts, and the way back.

use updraft_client::install::{Confirm, Options, Start};
use updraft_client::{Chooser, Class, Downgrade, Error, Updater, Verdict, check, install};
use updraft_core::release::Release;
use updraft_core::version::Version;
use updraft_testkit::{TreeFixture, clock};

use crate::support::{Device, Server, available, demo, publish};

fn tree(version: &str) -> TreeFixture {
    TreeFixture::of(&[("app*", version), ("data", "the same in all")])
}

/// `1.1.0` after `1.0.0` on `stable`, both live, and a device that has the newer one.
fn scene() -> (Server, Device) {
    let server = demo(&tree("1.0.0"));
    publish(&server, "1.1.0", &tree("1.1.0"));
    let device = Device::installed(&server);
    (server, device)
}

fn version(text: &str) -> Version {
    text.parse().unwrap()
}

fn choose(device: &Device, text: &str, downgrade: Downgrade) -> Result<Verdict, Error> {
    device.open().check_for(&version(text), downgrade, device.now)
}

fn take(device: &Device, text: &str) -> Updater {
    take_with(device, text, Confirm::Now)
}

fn take_with(device: &Device, text: &str, confirm: Confirm) -> Updater {
    let mut updater = device.open();
    let update = available(updater.check_for(&version(text), Downgrade::Allowed, device.now).unwrap());
    assert_eq!(update.chooser(), Chooser::Person);
    let staged = updater.download(&update, &()).unwrap();
    updater.apply(staged, &Options { confirm, ..Options::default() }, device.now).unwrap();
    updater
}

/// Version, whether it is held, and what can be gone back to.
fn stands(device: &Device) -> (String, bool, Option<String>) {
    let status = updraft_client::status(&device.dir(), device.now).unwrap();
    let previous = status.previous.map(|previous| previous.version.to_string());
    (status.version.unwrap().to_string(), status.held, previous)
}

#[test]
fn an_older_release_is_taken_when_a_person_says_so_twice() {
    let (server, device) = scene();
    let error = choose(&device, "1.0.0", Downgrade::Refused).unwrap_err();
    assert_eq!(error.class(), Class::Other);
    assert!(error.to_string().starts_with("1.0.0 is older than 1.1.0, which is installed"), "{error}");

    let mut updater = take(&device, "1.0.0");
    assert_eq!(device.tree(), tree("1.0.0"));
    assert_eq!(stands(&device), ("1.0.0".into(), true, Some("1.1.0".into())));

    // The channel has what it has; whoever takes it by hand follows it again.
    let update = available(updater.check(device.now).unwrap());
    assert_eq!((update.version().as_str(), update.chooser()), ("1.1.0", Chooser::Channel));
    drop(updater);
    device.update().unwrap();
    assert_eq!(stands(&device), ("1.1.0".into(), false, Some("1.0.0".into())));
    assert_eq!(server.repo(|repo| repo.version(&updraft_core::trust::Role::Targets)), 3, "nobody else noticed");
}

#[test]
fn going_back_takes_back_the_choice() {
    let (_server, device) = scene();
    let mut updater = take(&device, "1.0.0");
    updater.reject().unwrap();
    assert_eq!(device.tree(), tree("1.1.0"));
    assert_eq!(stands(&device), ("1.1.0".into(), false, Some("1.0.0".into())));
}

/// The price that a person is told is as true as for any other release.
#[test]
fn a_choice_has_a_price_and_fetches_what_is_lacking() {
    let (server, device) = scene();
    let update = available(choose(&device, "1.0.0", Downgrade::Allowed).unwrap());
    assert_eq!(update.price().fetch_bytes, update.release().tree.stored, "at most");
    let mut updater = device.open();
    server.take_asked();
    let staged = updater.download(&update, &()).unwrap();
    let fetched: u64 = server.take_asked().iter().map(|asked| asked.bytes).sum();
    assert_eq!(staged.price().fetch_bytes, fetched);
    assert!(staged.price().saved_bytes() > 0, "'data' is here already");
}

#[test]
fn a_live_release_may_be_taken_before_its_channel_has_it() {
    let (server, device) = scene();
    server.repo(|repo| repo.publish("1.2.0", "any", &tree("1.2.0")));
    assert!(matches!(device.check(), Ok(Verdict::Current { .. })));
    let update = available(choose(&device, "1.2", Downgrade::Refused).unwrap());
    assert_eq!(update.version().as_str(), "1.2.0", "versions are equal by their order, not by their spelling");
    let mut updater = take(&device, "1.2.0");
    assert!(matches!(updater.check(device.now), Ok(Verdict::Ahead { .. })));
    assert_eq!(stands(&device), ("1.2.0".into(), true, Some("1.1.0".into())));
    updater.follow().unwrap();
    assert_eq!(stands(&device), ("1.2.0".into(), false, Some("1.1.0".into())));
}

/// To choose what is installed is to stay with it.
#[test]
fn what_is_installed_can_be_held() {
    let (server, device) = scene();
    let verdict = choose(&device, "1.1.0", Downgrade::Refused).unwrap();
    assert_eq!(verdict, Verdict::Current { version: version("1.1.0"), passed: None });
    assert!(!stands(&device).1, "to ask changes nothing");
    device.open().hold().unwrap();
    publish(&server, "1.2.0", &tree("1.2.0"));
    device.available();
    assert_eq!(stands(&device), ("1.1.0".into(), true, None));
    // What is laid over itself stays what a person said of it.
    std::fs::write(device.dir().join("app"), "damaged").unwrap();
    device.open().repair(&()).unwrap();
    assert_eq!(stands(&device), ("1.1.0".into(), true, None));
}

#[test]
fn only_what_its_publisher_lists_for_this_device_can_be_chosen() {
    let (server, device) = scene();
    server.repo(|repo| {
        repo.publish("2.0.0", "freebsd-riscv64", &tree("2.0.0"));
        repo.publish_with("3.0.0", "any", &tree("3.0.0"), |release| {
            release.terms.channels = Some(vec!["beta".parse().unwrap(), "nightly".parse().unwrap()]);
        });
    });
    let refused = [
        ("9.9.9", "version 9.9.9 is not live; live: 3.0.0, 1.1.0, 1.0.0"),
        ("2.0.0", "version 2.0.0 is not live; live: 3.0.0, 1.1.0, 1.0.0"),
        ("3.0.0", "release 3.0.0 is for channel beta and nightly only, and this device follows stable"),
    ];
    for (text, says) in refused {
        let error = choose(&device, text, Downgrade::Allowed).unwrap_err();
        assert_eq!((error.to_string().as_str(), error.class()), (says, Class::Other));
    }
    // What left `targets` is not live any more, whatever still lies on the server.
    publish(&server, "1.2.0", &tree("1.2.0"));
    server.repo(|repo| repo.drop_retired("stable"));
    let error = choose(&device, "1.0.0", Downgrade::Allowed).unwrap_err();
    assert!(matches!(error, Error::Check(check::Error::NotLive { .. })), "{error}");
    assert_eq!(stands(&device), ("1.1.0".into(), false, None));
}

/// A version that a person named jumped over stepping stones, and was installed on systems that it does not run on.
#[test]
fn what_a_publisher_says_of_the_way_holds_for_a_choice_too() {
    let (server, device) = scene();
    let stone = |release: &mut Release| release.terms.stepping_stones = vec![version("1.5.0")];
    server.repo(|repo| {
        repo.publish_with("1.5.0", "any", &tree("1.5.0"), stone);
        repo.publish_with("2.0.0", "any", &tree("2.0.0"), stone);
        repo.publish_with("3.0.0", "any", &tree("3.0.0"), |release| {
            release.terms.min_os.insert("linux".into(), version("99"));
        });
    });
    let update = available(choose(&device, "2.0.0", Downgrade::Refused).unwrap());
    assert_eq!((update.version().as_str(), update.chooser()), ("1.5.0", Chooser::Person));
    assert_eq!(update.toward().unwrap().to_string(), "2.0.0");
    drop(take(&device, "2.0.0"));
    assert_eq!(device.tree(), tree("1.5.0"));
    let update = available(choose(&device, "2.0.0", Downgrade::Refused).unwrap());
    assert_eq!((update.version().as_str(), update.toward()), ("2.0.0", None));

    let error = choose(&device, "3.0.0", Downgrade::Refused).unwrap_err();
    let says = "this device cannot have 3.0.0, which needs version 99 of its operating system, and nobody knows what that is at";
    assert_eq!((error.to_string().as_str(), error.class()), (says, Class::Other));
}

/// A device takes its own platform's release before the one for all.
#[test]
fn of_two_releases_of_one_version_the_own_platforms_is_taken() {
    let (server, device) = scene();
    server.repo(|repo| repo.publish("1.2.0", "any", &tree("any")));
    server.repo(|repo| repo.publish("1.2.0", "linux-x86_64", &tree("own")));
    drop(take(&device, "1.2.0"));
    assert_eq!(device.tree(), tree("own"));
}

/// A download may take days; what the publisher took back meanwhile is not installed, whoever chose it.
#[test]
fn what_is_no_longer_live_when_it_is_downloaded_is_not_installed() {
    let (server, device) = scene();
    let mut updater = device.open();
    let update = available(updater.check_for(&version("1.0.0"), Downgrade::Allowed, device.now).unwrap());
    let staged = updater.download(&update, &()).unwrap();
    publish(&server, "1.2.0", &tree("1.2.0"));
    server.repo(|repo| repo.drop_retired("stable"));
    let error = updater.apply(staged, &install::Options::default(), device.now).unwrap_err();
    assert!(matches!(error, Error::Superseded { .. }), "{error}");
    assert_eq!(device.tree(), tree("1.1.0"));
}

/// The server went forward to a release that had been rolled back from, without a word, when `rollback` was said twice.
#[test]
fn going_back_twice_does_not_go_forward() {
    let (_server, device) = scene();
    drop(take(&device, "1.0.0"));
    device.update().unwrap();
    let mut updater = device.open();
    updater.reject().unwrap();
    let error = updater.reject().unwrap_err();
    assert!(matches!(error, Error::Install(install::Error::BackAlready { .. })), "{error}");
    assert!(error.to_string().contains("1.1.0 is kept, which was rolled back from"), "{error}");
    assert_eq!(device.tree(), tree("1.0.0"));
    // A repair is no reason to take it again by itself.
    std::fs::write(device.dir().join("app"), "damaged").unwrap();
    updater.repair(&()).unwrap();
    assert!(available(updater.check(device.now).unwrap()).is_rejected());
}

/// An update that never came up took the operator's hold with it, and `watch` then undid the downgrade.
#[test]
fn a_rollback_brings_back_the_choice_before() {
    let (server, device) = scene();
    server.repo(|repo| repo.publish("1.2.0", "any", &tree("1.2.0")));
    drop(take(&device, "1.0.0"));
    let mut updater = take_with(&device, "1.2.0", Confirm::Await { since: clock::now() });
    assert!(matches!(updater.begin_start(), Ok(Start::Trial { .. })));
    assert!(matches!(updater.begin_start(), Ok(Start::RolledBack(_))));
    assert_eq!(stands(&device), ("1.0.0".into(), true, Some("1.1.0".into())));
    // So does one by hand; and what was not held comes back as it was.
    drop(updater);
    drop(take(&device, "1.2.0"));
    device.open().reject().unwrap();
    assert_eq!(stands(&device), ("1.0.0".into(), true, Some("1.2.0".into())));
    device.update().unwrap();
    assert_eq!(stands(&device), ("1.1.0".into(), false, Some("1.0.0".into())));
    drop(take(&device, "1.2.0"));
    device.open().reject().unwrap();
    assert_eq!(stands(&device), ("1.1.0".into(), false, Some("1.2.0".into())));
}

/// Going back from a second release had the first one forgotten, and `watch` took that again.
#[test]
fn who_goes_back_twice_avoids_both() {
    let server = demo(&tree("1.0.0"));
    let device = Device::installed(&server);
    server.repo(|repo| repo.publish("1.1.0", "any", &tree("1.1.0")));
    publish(&server, "2.0.0", &tree("2.0.0"));
    device.update().unwrap();
    device.open().reject().unwrap();
    drop(take(&device, "1.1.0"));
    device.open().reject().unwrap();
    let status = updraft_client::status(&device.dir(), device.now).unwrap();
    let avoided: Vec<_> = status.rejected.iter().map(|name| name.version.as_str()).collect();
    assert_eq!(avoided, ["1.1.0", "2.0.0"]);
    assert!(device.available().is_rejected());
    // Whoever takes it by hand has changed their mind.
    device.update().unwrap();
    let status = updraft_client::status(&device.dir(), device.now).unwrap();
    assert_eq!(status.rejected.len(), 1);
}

/// A damaged `state.json` ended the operator's hold without a word.
#[test]
fn a_state_that_cannot_be_read_holds_until_a_person_says_otherwise() {
    let (_server, device) = scene();
    drop(take(&device, "1.0.0"));
    let state = device.own("state.json");
    let newer =
        std::fs::read_to_string(&state).unwrap().replace("\"format\":1", "\"format\":2").replace("true", "false");
    let long = " ".repeat(70_000);
    for (text, says) in [("rubbish", "damaged"), (&newer, "format 2 is newer than this program"), (&long, "bytes")] {
        std::fs::write(&state, text).unwrap();
        let status = updraft_client::status(&device.dir(), device.now).unwrap();
        assert!(status.held && status.damage.as_ref().is_some_and(|damage| damage.contains(says)), "{status:?}");
        assert_eq!(status.confirmation, Some(install::Confirmation::Confirmed), "nothing is rolled back for it");
        device.open().follow().unwrap();
        let status = updraft_client::status(&device.dir(), device.now).unwrap();
        assert_eq!((status.held, status.damage), (false, None));
    }
    // One that is not there at all says nothing.
    std::fs::remove_file(&state).unwrap();
    assert!(!stands(&device).1);
    std::fs::write(&state, "rubbish").unwrap();
    device.update().unwrap();
    assert_eq!(stands(&device), ("1.1.0".into(), false, Some("1.0.0".into())));
}

/// A release with a hole was taken back, and whoever was held on it never heard of it.
#[test]
fn who_is_held_learns_that_the_release_is_no_longer_live() {
    let (server, device) = scene();
    let mut updater = take(&device, "1.0.0");
    let live = |updater: &Updater| updater.is_live(device.now).unwrap();
    assert_eq!(live(&updater), Some(true));
    publish(&server, "1.2.0", &tree("1.2.0"));
    server.repo(|repo| repo.drop_retired("stable"));
    updater.check(device.now).unwrap();
    assert_eq!(live(&updater), Some(false));
    assert_eq!(updater.status(device.now).unwrap().live, Some(false));
    assert_eq!(updater.status(clock::hours(100_000)).unwrap().live, None, "what is out of date says nothing");
    drop(updater);
    device.update().unwrap();
    assert_eq!(live(&device.open()), Some(true));
}
