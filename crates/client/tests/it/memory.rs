//! What a device remembers of the publisher, damaged in every way that a disk has: it costs requests, never the verdict,
//! and nobody has to come and mend it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use updraft_client::{Class, Verdict, home};
use updraft_core::trust::Role;
use updraft_testkit::{SimRepo, TreeFixture, clock, keys};

use crate::support::{Device, Mount, Server, demo, files_below, publish};

fn tree() -> TreeFixture {
    TreeFixture::of(&[("app*", "one")])
}

/// An app with two rotations behind it, and a device that followed them and was told of `1.1.0`.
fn scene(server: Server, whose: &str) -> (Server, Device) {
    let device = Device::installed(&server);
    let key = |name: &str| keys::named(&format!("{whose} {name}"));
    server.repo(|repo| {
        repo.rotate(&[Role::Root, Role::Targets], &[key("second")], 1);
        repo.rotate(&[Role::Timestamp, Role::Snapshot, Role::channels()], &[key("third")], 1);
    });
    publish(&server, "1.1.0", &tree().with("more", whose));
    device.available();
    server.take_asked();
    (server, device)
}

/// The same of an app that is somebody else's.
fn stranger() -> Device {
    let [root, targets, online] = ["their root", "their targets", "their online"].map(keys::named);
    let mut repo = SimRepo::with_keys("demo", &[root], 1, &targets, &online);
    let release = repo.publish("1.0.0", "any", &tree());
    repo.promote("stable", &release);
    (0..20).for_each(|_| repo.renew());
    scene(Server::of(repo), "their").1
}

fn remembered(device: &Device) -> BTreeMap<PathBuf, Vec<u8>> {
    let trust = device.own("trust");
    let files = files_below(&trust).into_iter();
    files.map(|file| (file.strip_prefix(&trust).unwrap().to_owned(), fs::read(&file).unwrap())).collect()
}

#[track_caller]
fn is_whole_again(device: &Device, before: &BTreeMap<PathBuf, Vec<u8>>, story: &str) {
    let verdict = device.check().unwrap_or_else(|error| panic!("{story}: {error}"));
    assert!(matches!(verdict, Verdict::Available(_)), "{story}");
    let after = remembered(device);
    let differs = |name: &&PathBuf| after.get(*name) != Some(&before[*name]);
    let differing: Vec<_> = before.keys().filter(differs).collect();
    assert!(differing.is_empty() && after.len() == before.len(), "{story}: {differing:?}");
}

#[test]
fn any_file_of_it_may_be_damaged() {
    let ((_server, device), stranger) = (scene(demo(&tree()), "our"), stranger());
    let before = remembered(&device);
    let names: Vec<&str> = before.keys().map(|name| name.to_str().unwrap()).collect();
    let roots = ["1.root.json", "2.root.json", "3.root.json", "pinned.root.json"];
    let others = ["channels.json", "head", "release.json", "snapshot.json", "targets.json", "timestamp.json"];
    assert!(names.iter().copied().eq(roots.iter().chain(&others).copied().collect::<std::collections::BTreeSet<_>>()));

    for (name, good) in &before {
        let at = device.own("trust").join(name);
        let mut flipped = good.clone();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 1;
        let theirs = fs::read(stranger.own("trust").join(name)).unwrap();
        assert!(*good != theirs, "{} of two apps differ", name.display());
        let damages =
            [vec![], good[..middle].to_vec(), flipped, b"{}".to_vec(), vec![0xff; 1_000], vec![0; 5 << 20], theirs];
        for (n, damage) in damages.iter().enumerate() {
            fs::write(&at, damage).unwrap();
            is_whole_again(&device, &before, &format!("{}, damage {n}", name.display()));
        }
        fs::remove_file(&at).unwrap();
        is_whole_again(&device, &before, &format!("{} was removed", name.display()));
        fs::remove_file(&at).unwrap();
        fs::create_dir_all(at.join("in/it")).unwrap();
        is_whole_again(&device, &before, &format!("{} was a directory", name.display()));
        fs::remove_file(&at).unwrap();
        std::os::unix::fs::symlink("nowhere", &at).unwrap();
        is_whole_again(&device, &before, &format!("{} was a link", name.display()));
    }
}

#[test]
fn all_of_it_may_be_lost_or_replaced() {
    let ((_server, device), stranger) = (scene(demo(&tree()), "our"), stranger());
    let (before, trust) = (remembered(&device), device.own("trust"));
    let refill = |files: &BTreeMap<PathBuf, Vec<u8>>| {
        fs::remove_dir_all(&trust).unwrap();
        fs::create_dir(&trust).unwrap();
        files.iter().for_each(|(name, bytes)| fs::write(trust.join(name), bytes).unwrap());
    };
    refill(&BTreeMap::new());
    is_whole_again(&device, &before, "empty");
    fs::remove_dir_all(&trust).unwrap();
    is_whole_again(&device, &before, "gone");
    fs::remove_dir_all(&trust).unwrap();
    fs::write(&trust, "a file").unwrap();
    is_whole_again(&device, &before, "a file");
    refill(&before.keys().map(|name| (name.clone(), vec![7; 100])).collect());
    is_whole_again(&device, &before, "rubbish");
    refill(&remembered(&stranger));
    is_whole_again(&device, &before, "another app's");
}

/// A home that was made before the root's digest was written into its settings. It lives from its files alone.
#[test]
fn without_the_digest_the_copies_of_the_first_root_are_all_there_is() {
    let (_server, device) = scene(demo(&tree()), "our");
    let before = remembered(&device);
    let settings = fs::read_to_string(device.own("settings.json")).unwrap();
    let mut settings: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&settings).unwrap();
    assert!(settings.remove("root").is_some());
    fs::write(device.own("settings.json"), serde_json::to_vec(&settings).unwrap()).unwrap();
    for copy in ["pinned.root.json", "1.root.json"] {
        fs::write(device.own("trust").join(copy), "damaged").unwrap();
        is_whole_again(&device, &before, copy);
    }
    fs::remove_dir_all(device.own("trust")).unwrap();
    let error = device.check().unwrap_err();
    assert_eq!(error.class(), Class::Verification);
    assert!(error.to_string().contains("install again with --adopt"), "{error}");
}

/// Every root that was followed is kept, so that a root that was put there is not followed, and a lost one costs only
/// itself.
#[test]
fn roots_are_followed_and_remembered() {
    let (server, device) = scene(demo(&tree()), "our");
    let asked_roots = |device: &Device| {
        device.available();
        server.take_asked().iter().filter(|asked| asked.key.contains("root.json")).count()
    };
    assert_eq!(asked_roots(&device), 0);
    fs::write(device.own("trust/3.root.json"), "damaged").unwrap();
    assert_eq!(asked_roots(&device), 1);
    fs::write(device.own("trust/2.root.json"), "damaged").unwrap();
    assert_eq!(asked_roots(&device), 2);
    assert_eq!(asked_roots(&device), 0);
}

/// What was being written when the power went is cleared away.
#[test]
fn scratch_files_do_not_pile_up() {
    let (_server, device) = scene(demo(&tree()), "our");
    let before = remembered(&device);
    fs::write(device.own("trust/.updraft-tmp-1-1"), "half").unwrap();
    is_whole_again(&device, &before, "scratch");
}

/// A full or a read-only disk keeps a check from an answer, because what was not kept must not be relied on; and it keeps
/// nothing from running.
#[cfg(target_os = "linux")]
#[test]
fn a_memory_that_cannot_be_written() {
    let (server, mut device) = scene(demo(&tree()), "our");
    let trust = device.own("trust");
    let remembered = remembered(&device);
    for (options, remedy) in [("size=64k", "free some space and try again"), ("ro", "make that folder writable")] {
        server.repo(|repo| repo.renew());
        let Some(mount) = Mount::new(&trust) else { return };
        remembered.iter().for_each(|(name, bytes)| fs::write(trust.join(name), bytes).unwrap());
        mount.again(options);
        fs::write(trust.join("filler"), vec![0; 1 << 20]).expect_err("it is full, or may not be written");
        let error = device.check().unwrap_err();
        assert_eq!(error.class(), Class::Other, "{options}: {error}");
        assert!(error.to_string().contains(remedy) && error.to_string().contains("trust/"), "{options}: {error}");
        assert_eq!(device.tree(), tree());
        drop(mount);
        device.available();
    }
    // Of a home that may not be written at all, not even the lock can be had.
    device.now = clock::hours(1);
    let Some(mount) = Mount::of(&device.own("")) else { return };
    mount.again("ro");
    let error = updraft_client::Updater::open(&device.dir(), device.options()).unwrap_err();
    assert!(matches!(error, updraft_client::Error::Home(home::Error::Unwritable { .. })), "{error}");
    assert!(updraft_client::status(&device.dir(), device.now).is_ok());
}

/// A file in the trust folder that is not ours stays: it is in nobody's way.
#[test]
fn what_is_not_ours_is_left_alone() {
    let (_server, device) = scene(demo(&tree()), "our");
    let stray: &Path = &device.own("trust/notes.txt");
    fs::write(stray, "mine").unwrap();
    device.available();
    assert_eq!(fs::read(stray).unwrap(), b"mine");
}

/// A file or a link in the place of the folder kept `status` from saying anything, and `confirm` from saying that it was done.
#[test]
fn something_else_in_its_place_is_no_memory() {
    let (_server, device) = scene(demo(&tree()), "our");
    let trust = device.own("trust");
    let put: [fn(&Path); 3] = [
        |at| fs::write(at, "garbage").unwrap(),
        |at| std::os::unix::fs::symlink("nowhere", at).unwrap(),
        |at| std::os::unix::fs::symlink("trust", at).unwrap(),
    ];
    for put in put {
        fs::remove_dir_all(&trust).unwrap();
        put(&trust);
        let status = updraft_client::status(&device.dir(), device.now).unwrap();
        assert_eq!((status.fresh_until, status.stale_since), (None, None));
        device.open().confirm().unwrap();
        device.available();
        assert!(trust.is_dir(), "a check makes it anew");
        assert!(updraft_client::status(&device.dir(), device.now).unwrap().fresh_until.is_some());
    }
}
