//! The three verbs together: install, update, and what comes between.

use updraft_client::{Class, Error, Pin, Source, Updater, Verdict, home, install};
use updraft_testkit::{SimRepo, TreeFixture, clock};

use crate::support::{Device, Server, available, demo, publish};

fn first() -> TreeFixture {
    TreeFixture::of(&[("bin/app*", "one"), ("data/a", "alpha"), ("data/b", "beta"), ("latest@", "bin/app")])
}

/// One file changed, one moved, one new, one gone.
fn second() -> TreeFixture {
    TreeFixture::of(&[
        ("bin/app*", "two"),
        ("data/a", "alpha"),
        ("moved/b", "beta"),
        ("new", "new"),
        ("latest@", "new"),
    ])
}

#[test]
fn a_device_is_installed_and_updated_and_fetches_only_what_it_lacks() {
    let server = demo(&first());
    let device = Device::new(&server);
    let mut updater = device.install().unwrap();
    let update = available(updater.check(device.now).unwrap());
    let staged = updater.download(&update, &()).unwrap();
    assert_eq!(staged.price().saved_bytes(), 0);
    let applied = updater.apply(staged, &install::Options::default(), device.now).unwrap();
    assert_eq!((applied.from, applied.to.version.as_str()), (None, "1.0.0"));
    assert_eq!(device.tree(), first());
    assert!(matches!(updater.check(device.now), Ok(Verdict::Current { .. })));
    drop(updater);

    publish(&server, "1.1.0", &second());
    server.take_asked();
    let staged = device.download().unwrap();
    let blobs = server.take_asked().iter().filter(|asked| asked.key.contains("/blobs/")).count();
    assert_eq!(blobs, 2, "the changed file and the new one; a move is free");
    assert!(staged.price().fetch_bytes < staged.price().full_bytes);
    let applied = device.update().unwrap();
    assert_eq!(applied.from.unwrap().version.as_str(), "1.0.0");
    assert_eq!(device.tree(), second());
    assert_eq!(crate::support::files_below(&device.own("downloads")), Vec::<std::path::PathBuf>::new());
}

#[test]
fn status_says_what_is_installed() {
    let server = demo(&first());
    let device = Device::new(&server);
    drop(device.install().unwrap());
    let status = updraft_client::status(&device.dir(), device.now).unwrap();
    assert_eq!((status.version, status.confirmation, status.fresh_until), (None, None, None));
    device.update().unwrap();
    let updater = device.open();
    let status =
        updraft_client::status(&device.dir(), device.now).expect("it can be read while another process updates");
    assert_eq!(status, updater.status(device.now).unwrap());
    assert_eq!(status.version.unwrap().as_str(), "1.0.0");
    assert_eq!(status.source, "https://example.com/apps/demo");
    assert_eq!((status.previous, status.rejected.as_slice(), status.stale_since), (None, &[][..], None));
    assert_eq!(status.fresh_until, Some(clock::days(1)));
    assert_eq!(status.device.len(), 32);
}

/// A download may take days. What the channel took back meanwhile is not installed.
#[test]
fn what_was_taken_back_since_it_was_downloaded_is_not_installed() {
    let server = demo(&first());
    let device = Device::installed(&server);
    publish(&server, "1.1.0", &second());
    let mut updater = device.open();
    let update = available(updater.check(device.now).unwrap());
    let staged = updater.download(&update, &()).unwrap();
    publish(&server, "1.1.1", &first().with("fixed", "yes"));
    let error = updater.apply(staged, &install::Options::default(), device.now).unwrap_err();
    assert!(matches!(error, Error::Superseded { .. }), "{error}");
    assert_eq!(device.tree(), first());
    drop(updater);
    assert_eq!(device.update().unwrap().to.version.as_str(), "1.1.1");
}

#[test]
fn what_was_downloaded_is_installed_without_a_network_while_the_word_is_fresh() {
    let server = demo(&first());
    let device = Device::installed(&server);
    publish(&server, "1.1.0", &second());
    let mut updater = device.open();
    let update = available(updater.check(device.now).unwrap());
    let staged = updater.download(&update, &()).unwrap();
    server.take_asked();
    server.set_down(true);
    let late = updater.download(&update, &()).expect("everything is here");
    assert_eq!(server.take_asked(), []);
    let error = updater.apply(late, &install::Options::default(), clock::days(2)).unwrap_err();
    assert_eq!((error.class(), error.stale_since()), (Class::Stale, Some(clock::days(1))));
    assert_eq!(device.tree(), first());
    updater.apply(staged, &install::Options::default(), device.now).unwrap();
    assert_eq!(device.tree(), second());
}

#[test]
fn a_folder_serves_as_well_as_a_server() {
    let mut repo = SimRepo::new("demo");
    let release = repo.publish("1.0.0", "any", &first());
    repo.promote("stable", &release);
    let stick = tempfile::tempdir().unwrap();
    repo.write_to(stick.path());
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("app");

    let pin = Pin::Sha256(repo.root_sha256());
    let options = updraft_client::InstallOptions::new(Source::folder(stick.path()).unwrap(), pin);
    let mut updater = Updater::install(&dir, options).unwrap();
    let update = available(updater.check(clock::now()).unwrap());
    let staged = updater.download(&update, &()).unwrap();
    updater.apply(staged, &install::Options::default(), clock::now()).unwrap();
    assert_eq!(TreeFixture::read_from(&dir), first());
    drop(updater);

    // The stick is pulled out: unreachable, and what is installed can still be asked about.
    stick.close().unwrap();
    let clock = std::sync::Arc::new(crate::support::TestClock::default());
    let options = updraft_client::OpenOptions { clock: Some(clock), ..Default::default() };
    let open = || Updater::open(&dir, options.clone()).unwrap();
    assert_eq!(open().check(clock::now()).unwrap_err().class(), Class::Unreachable);
    assert_eq!(open().status(clock::now()).unwrap().version.unwrap().as_str(), "1.0.0");
}

/// `--from`: a device of a server takes an update from a stick, and from nothing but a copy of its own app.
#[test]
fn an_update_can_come_from_elsewhere() {
    let server = demo(&first());
    let device = Device::installed(&server);
    publish(&server, "1.1.0", &second());
    server.set_down(true);
    let stick = tempfile::tempdir().unwrap();
    server.repo(|repo| repo.write_to(stick.path()));
    let mut options = device.options();
    options.transport = None;
    options.from = Some(Source::folder(stick.path()).unwrap());
    let mut updater = Updater::open(&device.dir(), options.clone()).unwrap();
    let update = available(updater.check(device.now).unwrap());
    let staged = updater.download(&update, &()).unwrap();
    updater.apply(staged, &install::Options::default(), device.now).unwrap();
    assert_eq!(device.tree(), second());
    drop(updater);

    let other = tempfile::tempdir().unwrap();
    SimRepo::new("other").write_to(other.path());
    options.from = Some(Source::folder(other.path()).unwrap());
    let error = Updater::open(&device.dir(), options).unwrap_err();
    assert!(error.to_string().contains("is app other, and demo is installed here"), "{error}");

    // A forgery of the same name is another thing: nothing of it is believed.
    let server = Server::of(SimRepo::with_keys(
        "demo",
        &[updraft_testkit::keys::thief()],
        1,
        &updraft_testkit::keys::thief(),
        &updraft_testkit::keys::thief(),
    ));
    publish(&server, "6.6.6", &TreeFixture::of(&[("evil*", "x")]));
    let forged = tempfile::tempdir().unwrap();
    server.repo(|repo| repo.write_to(forged.path()));
    let mut options = device.options();
    options.transport = None;
    options.from = Some(Source::folder(forged.path()).unwrap());
    let error = Updater::open(&device.dir(), options).unwrap().check(device.now).unwrap_err();
    assert_eq!(error.class(), Class::Verification);
}

/// What was said of the bytes that were done.
#[derive(Default)]
struct Seen(std::sync::Mutex<Vec<(u64, u64)>>);

impl updraft_client::Progress for Seen {
    fn bytes(&self, done: u64, total: u64) {
        self.0.lock().unwrap().push((done, total));
    }
}

#[test]
fn what_is_damaged_is_found_and_fetched_again() {
    let server = demo(&first());
    let device = Device::installed(&server);
    let mut updater = device.open();
    let seen = Seen::default();
    assert!(updater.verify(&seen).unwrap().is_sound());
    let seen = seen.0.into_inner().unwrap();
    let total = seen.last().unwrap().1;
    assert!(seen.is_sorted() && seen.iter().all(|(_, of)| *of == total), "{seen:?}");
    assert_eq!(seen.last().unwrap().0, first().tree().byte_count(), "all of it was read");
    std::fs::write(device.dir().join("data/a"), "ALPHA").unwrap();
    std::fs::remove_file(device.dir().join("data/b")).unwrap();
    std::fs::remove_file(device.dir().join("latest")).unwrap();
    let found = updater.verify(&()).unwrap();
    assert!(!found.is_sound());
    assert_eq!(found.edited, [std::path::PathBuf::from("data/a")]);
    assert_eq!(found.missing, ["data/b", "latest"].map(std::path::PathBuf::from));

    server.take_asked();
    updater.repair(&()).unwrap();
    assert_eq!(device.tree(), first());
    assert!(updater.verify(&()).unwrap().is_sound());
    let blobs = server.take_asked().iter().filter(|asked| asked.key.contains("/blobs/")).count();
    assert_eq!(blobs, 2, "only what is damaged is fetched");
}

/// Options that leave a release to be confirmed.
fn awaiting(device: &Device) -> install::Options {
    install::Options { confirm: install::Confirm::Await { since: device.now }, ..Default::default() }
}

/// `watch --health` was killed during the health command. The release that nobody had confirmed was "current", and the
/// one after it was downloaded whole before it was refused, at every round.
#[test]
fn nothing_is_downloaded_while_a_release_waits_for_its_confirmation() {
    let server = demo(&first());
    let device = Device::installed(&server);
    publish(&server, "1.1.0", &second());
    let mut updater = device.open();
    let update = available(updater.check(device.now).unwrap());
    let staged = updater.download(&update, &()).unwrap();
    updater.apply(staged, &awaiting(&device), device.now).unwrap();
    publish(&server, "1.2.0", &second().with("late", "x"));
    let update = available(updater.check(device.now).unwrap());
    server.take_asked();
    let error = updater.download(&update, &()).unwrap_err();
    assert!(matches!(error, Error::Install(install::Error::Unconfirmed { .. })), "{error}");
    assert_eq!(server.take_asked(), []);
    updater.confirm().unwrap();
    drop(updater);
    assert_eq!(device.update().unwrap().to.version.as_str(), "1.2.0");
}

/// Installs once more, over what is there.
fn install_again(device: &Device, adopt: bool) -> Result<Updater, Error> {
    let options = updraft_client::InstallOptions { adopt, ..device.install_options() };
    Updater::install(&device.dir(), options)
}

/// Takes something from an installation.
type Damage = fn(&Device);

/// Three errors said "install again with --adopt", and `install` answered "is installed there already".
#[test]
fn an_installation_that_lost_its_papers_is_adopted() {
    let damage: [(&str, Damage); 5] = [
        ("record", |device| std::fs::write(device.own("record"), "rubbish").unwrap()),
        ("settings", |device| std::fs::remove_file(device.own("settings.json")).unwrap()),
        ("roots", |device| std::fs::remove_dir_all(device.own("trust")).unwrap()),
        ("record and settings", |device| {
            std::fs::write(device.own("record"), "rubbish").unwrap();
            std::fs::remove_file(device.own("settings.json")).unwrap();
        }),
        ("record, with a release in the slot", |device| {
            publish(&device.server, "1.1.0", &second());
            device.update().unwrap();
            std::fs::write(device.own("record"), "rubbish").unwrap();
        }),
    ];
    for (what, damage) in damage {
        let server = demo(&first());
        let device = Device::installed(&server);
        damage(&device);
        let error = install_again(&device, false).expect_err(what);
        assert!(error.to_string().contains("install again with --adopt"), "{what}: {error}");
        server.take_asked();
        let mut updater = install_again(&device, true).unwrap_or_else(|error| panic!("{what}: {error}"));
        let update = available(updater.check(device.now).unwrap());
        let staged = updater.download(&update, &()).unwrap();
        updater.apply(staged, &install::Options::default(), device.now).unwrap();
        assert!(updater.verify(&()).unwrap().is_sound(), "{what}");
        let blobs = server.take_asked().iter().filter(|asked| asked.key.contains("/blobs/")).count();
        assert_eq!(blobs, 0, "{what}: every file is here already");
        assert!(device.own("backup/lost/record").is_file(), "{what}");
    }
}

#[test]
fn what_is_sound_is_not_installed_over() {
    let server = demo(&first());
    let device = Device::installed(&server);
    for adopt in [false, true] {
        let error = install_again(&device, adopt).unwrap_err();
        assert!(matches!(error, Error::Home(home::Error::Installed { .. })), "{error}");
    }
    assert_eq!(device.open().status(device.now).unwrap().version.unwrap().as_str(), "1.0.0");
}

/// `status` made the folders that it looked into, and failed for every user who could not.
#[test]
fn who_only_looks_makes_nothing() {
    let server = demo(&first());
    let device = Device::installed(&server);
    std::fs::remove_dir_all(device.own("trust")).unwrap();
    let status = updraft_client::status(&device.dir(), device.now).unwrap();
    assert_eq!((status.version.unwrap().as_str(), status.fresh_until), ("1.0.0", None));
    assert!(!device.own("trust").exists());
}

/// A parent directory without the right to read it, and a name that leaves no room for the suffix, ended in a bare
/// message of the system, though the home could lie inside.
#[test]
fn a_home_that_cannot_lie_beside_lies_inside() {
    let server = demo(&first());
    let device = Device::new(&server);
    let dir = device.dir().with_file_name("n".repeat(250));
    let mut updater = Updater::install(&dir, device.install_options()).unwrap();
    let update = available(updater.check(device.now).unwrap());
    let staged = updater.download(&update, &()).unwrap();
    updater.apply(staged, &install::Options::default(), device.now).unwrap();
    assert_eq!(updater.home().place(), home::Place::Inside);
    drop(updater);
    assert!(Updater::open(&dir, device.options()).unwrap().verify(&()).unwrap().is_sound());
}
