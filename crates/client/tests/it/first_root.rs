//! The root that a device begins with: which are taken, what is said of the others, and that nothing is spoilt by trying.

use updraft_client::{Class, Error, Pin, Updater, belief};
use updraft_core::digest::Sha256;
use updraft_core::layout;
use updraft_core::trust::{MetadataFile, Role};
use updraft_testkit::{SimRepo, TreeFixture, clock, keys};

use crate::support::{Device, Server, available, demo};

fn small() -> TreeFixture {
    TreeFixture::of(&[("app*", "one")])
}

fn begin(device: &Device, pin: Pin) -> Result<Updater, Error> {
    let mut options = device.install_options();
    options.pin = pin;
    Updater::install(&device.dir(), options)
}

/// The first release can be installed with the right root, whatever was tried before.
#[track_caller]
fn begins_well(device: &Device) {
    let pin = Pin::Sha256(device.server.repo(|repo| repo.root_sha256()));
    let mut updater = begin(device, pin).unwrap();
    let update = available(updater.check(device.now).unwrap());
    let staged = updater.download(&update, &()).unwrap();
    updater.apply(staged, &updraft_client::install::Options::default(), device.now).unwrap();
    assert_eq!(device.tree(), small());
}

#[test]
fn the_first_root_is_the_pinned_one_or_nothing_is_made() {
    let server = demo(&small());
    let device = Device::new(&server);
    let mut options = device.install_options();
    options.pin = Pin::Sha256(Sha256::of(b"another"));
    let error = Updater::install(&device.dir(), options.clone()).unwrap_err();
    assert_eq!(error.class(), Class::Verification);
    assert!(!device.dir().exists() && !device.own("").exists());

    options.pin = Pin::RootFile(b"no root".to_vec());
    assert_eq!(Updater::install(&device.dir(), options.clone()).unwrap_err().class(), Class::Verification);
    assert!(!device.dir().exists() && !device.own("").exists());

    server.take_asked();
    options.pin = Pin::RootFile(server.repo(|repo| repo.first_root().to_vec()));
    drop(Updater::install(&device.dir(), options).unwrap());
    assert_eq!(server.take_asked(), [], "a root that is at hand is not asked for");
    device.available();

    let newcomer = Device::new(&server);
    let mut options = newcomer.install_options();
    options.pin = Pin::FirstUse;
    available(Updater::install(&newcomer.dir(), options).unwrap().check(newcomer.now).unwrap());
}

/// Roots that nobody can begin with, and what is said of each.
#[test]
fn a_file_that_is_no_root_is_named_with_the_reason() {
    let root_of = |edit: fn(&mut serde_json::Value)| {
        let mut repo = SimRepo::new("demo");
        repo.forge_root(&[keys::root()], edit);
        repo.objects()[&layout::metadata(repo.app(), &MetadataFile::Root(2))].clone()
    };
    let whole = SimRepo::new("demo").first_root().to_vec();
    let mut forged = SimRepo::new("demo");
    forged.set_signers(&Role::Root, &[keys::thief()]);
    forged.tamper(&Role::Root, |_| {});
    let files: [(&str, Vec<u8>, &str); 9] = [
        ("empty", vec![], "not a signed document"),
        ("text", b"-----BEGIN CERTIFICATE-----".to_vec(), "hands out a file root.json"),
        ("a web page", b"<!doctype html><title>Sign in</title>".to_vec(), "not a signed document"),
        ("torn", whole[..whole.len() / 2].to_vec(), "not a signed document"),
        ("too long", vec![b' '; 600_000], "over the limit"),
        ("targets", SimRepo::new("demo").current(&Role::Targets).to_vec(), "it is 'targets' and not 'root'"),
        ("signed by a stranger", forged.current(&Role::Root).to_vec(), "0 of the 1 signatures"),
        (
            "a threshold of root that cannot be reached",
            root_of(|root| root["roles"]["root"]["threshold"] = 3.into()),
            "it wants 3 signatures for root and has 1 of the keys, so nobody can ever sign that",
        ),
        (
            "a threshold of timestamp that cannot be reached",
            root_of(|root| root["roles"]["timestamp"]["threshold"] = 2.into()),
            "it wants 2 signatures for timestamp and has 1 of the keys",
        ),
    ];
    let server = demo(&small());
    let device = Device::new(&server);
    for (what, bytes, says) in files {
        let error = begin(&device, Pin::RootFile(bytes)).unwrap_err();
        assert!(matches!(error, Error::Belief(belief::Error::NotARoot { .. })), "{what}: {error}");
        assert_eq!(error.class(), Class::Verification, "{what}");
        assert!(error.to_string().contains(says), "{what}: {error}");
        assert!(!device.dir().exists() && !device.own("").exists(), "{what}");
    }
    begins_well(&device);
}

#[test]
fn the_root_of_another_app_is_told_from_a_forgery_by_whoever_reads() {
    let server = demo(&small());
    let device = Device::new(&server);
    let [root, targets, online] = ["r", "t", "o"].map(keys::named);
    let other = SimRepo::with_keys("other", &[root], 1, &targets, &online);
    let mut updater = begin(&device, Pin::RootFile(other.first_root().to_vec())).unwrap();
    let error = updater.check(device.now).unwrap_err();
    assert_eq!(error.class(), Class::Verification);
    let says = format!("with SHA-256 {}: either that is the root of another app", other.root_sha256());
    assert!(error.to_string().contains(&says), "{error}");
    drop(updater);
    begins_well(&device);
    // Somebody who tries that on what is installed is told so, and it goes on as before.
    let error = begin(&device, Pin::RootFile(other.first_root().to_vec())).unwrap_err();
    assert!(error.to_string().contains("is installed there already"), "{error}");
    device.check().unwrap();
}

/// An old root is no obstacle while newer ones follow it; when none does, what is told is since when.
#[test]
fn a_root_that_has_expired() {
    let mut repo = SimRepo::new("demo");
    let release = repo.publish("1.0.0", "any", &small());
    repo.promote("stable", &release);
    let now = clock::days(400);
    repo.now = now;
    repo.renew_targets();
    let server = Server::of(repo);
    let mut device = Device::new(&server);
    device.now = now;
    let mut updater = device.install().unwrap();
    let error = updater.check(now).unwrap_err();
    assert_eq!((error.class(), error.stale_since()), (Class::Stale, Some(clock::days(365))));
    assert!(error.to_string().contains("root expired at 2027-01-01T00:00:00Z"), "{error}");
    server.repo(|repo| repo.rotate(&[Role::Timestamp], &[keys::online()], 1));
    available(updater.check(now).unwrap());
}

#[test]
fn another_sha256_than_the_one_that_is_there() {
    let server = demo(&small());
    let device = Device::new(&server);
    let error = begin(&device, Pin::Sha256(Sha256::of(b"another"))).unwrap_err();
    assert!(matches!(error, Error::Belief(belief::Error::Pin { .. })), "{error}");
    let text = error.to_string();
    let found = server.repo(|repo| repo.root_sha256()).to_string();
    assert!(text.contains(&found) && text.contains(&Sha256::of(b"another").to_string()), "{text}");
    assert!(text.ends_with("ask the publisher which one is right"), "{text}");
    begins_well(&device);
}
