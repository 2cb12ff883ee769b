//! What people and programs did to an installed directory, and what becomes of it.

use super::*;

#[test]
fn foreign_entries_are_carried_both_ways() {
    for in_place in WAYS {
        let (old, new) = pair();
        let mut device = Device::with(in_place, "1.0", &old);
        fs::create_dir_all(device.path("data/sub/empty")).unwrap();
        fs::write(device.path("data/sub/db"), "rows").unwrap();
        fs::write(device.path("bin/plugin"), "mine").unwrap();
        // In a directory that the new release does not have any more: it stays for this.
        fs::write(device.path("gone/with/me"), "stays").unwrap();
        std::os::unix::fs::symlink("/etc/hostname", device.path("out")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(device.path("socket")).unwrap();
        fs::set_permissions(device.path("data"), fs::Permissions::from_mode(0o2550)).unwrap();

        let check = |device: &Device| {
            let found = snapshot(&device.dir());
            let at = |path: &str| found.get(Path::new(path)).cloned();
            assert_eq!(at("data"), Some(Entry::Dir(0o2550)));
            assert_eq!(at("data/sub/db"), Some(Entry::File(0o644, b"rows".to_vec())));
            assert!(matches!(at("data/sub/empty"), Some(Entry::Dir(_))));
            assert_eq!(at("bin/plugin"), Some(Entry::File(0o644, b"mine".to_vec())));
            assert_eq!(at("gone/with/me"), Some(Entry::File(0o644, b"stays".to_vec())));
            assert_eq!(at("out"), Some(Entry::Link("/etc/hostname".into())));
            assert_eq!(at("socket"), Some(Entry::Other("socket".into())));
        };
        let applied = device.apply("2.0", &new, &Options::default()).unwrap();
        assert!(applied.displaced.is_empty() && applied.backup.is_none());
        check(&device);
        assert!(!device.path("gone/with/it").exists());
        fs::write(device.path("data/sub/db"), "more rows").unwrap();
        rollback(device.home(), &Options::default()).unwrap();
        assert_eq!(fs::read(device.path("data/sub/db")).unwrap(), b"more rows");
        fs::write(device.path("data/sub/db"), "rows").unwrap();
        check(&device);
        assert!(device.path("gone/with/it").exists());
    }
}

#[test]
fn names_that_no_tree_may_have_are_carried_too() {
    use std::os::unix::ffi::OsStrExt;
    for in_place in WAYS {
        let (old, new) = pair();
        let mut device = Device::with(in_place, "1.0", &old);
        let names: [&[u8]; 4] = [b"not \xff utf-8", b"a:b", b"line\nbreak", b"aux"];
        for name in names {
            fs::write(device.dir().join(OsStr::from_bytes(name)), name).unwrap();
        }
        device.apply("2.0", &new, &Options::default()).unwrap();
        for name in names {
            assert_eq!(fs::read(device.dir().join(OsStr::from_bytes(name))).unwrap(), name);
        }
    }
}

#[test]
fn an_edited_file_is_backed_up_and_a_deleted_one_comes_back() {
    for in_place in WAYS {
        let (old, new) = pair();
        let mut device = Device::with(in_place, "1.0", &old);
        fs::write(device.path("same"), "edited, and not changed by the release").unwrap();
        fs::write(device.path("bin/app"), "edited, and changed").unwrap();
        fs::write(device.path("gone/with/it"), "edited, and removed").unwrap();
        fs::remove_file(device.path("Case")).unwrap();
        fs::remove_file(device.path("twin")).unwrap();
        fs::remove_file(device.path("link")).unwrap();
        std::os::unix::fs::symlink("elsewhere", device.path("link")).unwrap();
        let mut applied = device.apply("2.0", &new, &Options::default()).unwrap();
        device.assert_holds(&new, &[]);
        applied.edited.sort();
        assert_eq!(applied.edited, ["bin/app", "gone/with/it", "link", "same"].map(PathBuf::from));
        assert_eq!(
            device.backups(),
            [
                ("1.0/bin/app".into(), "edited, and changed".into()),
                ("1.0/gone/with/it".into(), "edited, and removed".into()),
                ("1.0/same".into(), "edited, and not changed by the release".into()),
            ]
        );
        assert_eq!(fs::read_link(device.folder("backup/1.0/link")).unwrap(), Path::new("elsewhere"));
        assert_eq!(applied.backup.unwrap().file_name().unwrap(), "1.0");
    }
}

#[test]
fn an_edited_file_stays_when_that_is_wanted() {
    let keep = Options { keep_edited: true, ..Options::default() };
    for in_place in WAYS {
        let (old, new) = pair();
        let mut device = Device::with(in_place, "1.0", &old);
        fs::write(device.path("bin/app"), "edited").unwrap();
        fs::write(device.path("gone/with/it"), "edited too").unwrap();
        // The release has a directory there: no file can stay.
        fs::write(device.path("file-to-dir"), "edited as well").unwrap();
        let mut applied = device.apply("2.0", &new, &keep).unwrap();
        applied.kept.sort();
        assert_eq!(applied.kept, ["bin/app", "gone/with/it"].map(PathBuf::from));
        assert_eq!(applied.edited, [PathBuf::from("file-to-dir")]);
        assert_eq!(fs::read(device.path("bin/app")).unwrap(), b"edited");
        assert_eq!(fs::read(device.path("gone/with/it")).unwrap(), b"edited too");
        assert_eq!(device.backups(), [("1.0/file-to-dir".into(), "edited as well".into())]);
        assert_eq!(verify(device.home()).unwrap().edited, [PathBuf::from("bin/app")]);
        // The next update does not take the edited file for its own.
        device.apply("3.0", &old, &Options::default()).unwrap();
        assert_eq!(fs::read(device.path("bin/app")).unwrap(), b"app 1");
    }
}

#[test]
fn an_edit_that_is_what_the_release_says_is_no_edit() {
    for in_place in WAYS {
        let (old, new) = pair();
        let mut device = Device::with(in_place, "1.0", &old);
        fs::write(device.path("bin/app"), "app 2").unwrap();
        let staged = device.stage("2.0", &new).unwrap();
        let applied = apply(device.home(), staged, &Options::default()).unwrap();
        assert!(applied.edited.is_empty() && applied.backup.is_none());
        device.assert_holds(&new, &[]);
    }
}

#[test]
fn what_stands_in_the_way_of_a_release_is_backed_up() {
    for in_place in WAYS {
        let old = TreeFixture::of(&[("a", "1"), ("dir/x", "1")]);
        let new = TreeFixture::of(&[
            ("a", "2"),
            ("taken", "file"),
            ("taken-by-dir", "file"),
            ("sub/inner/file", "deep"),
            ("dir", "a file now"),
            ("merged/theirs", "t"),
        ]);
        let mut device = Device::with(in_place, "1.0", &old);
        fs::write(device.path("taken"), "mine").unwrap();
        fs::create_dir_all(device.path("taken-by-dir/deep")).unwrap();
        fs::write(device.path("taken-by-dir/deep/file"), "mine too").unwrap();
        fs::write(device.path("sub"), "a file where a directory comes").unwrap();
        fs::write(device.path("dir/foreign"), "in a directory that becomes a file").unwrap();
        fs::create_dir(device.path("merged")).unwrap();
        fs::write(device.path("merged/mine"), "m").unwrap();
        let applied = device.apply("2.0", &new, &Options::default()).unwrap();
        device.assert_holds(&new, &[("merged/mine", "m")]);
        assert!(applied.displaced.contains(&PathBuf::from("taken")), "{:?}", applied.displaced);
        assert_eq!(
            device.backups(),
            [
                ("1.0/dir/foreign".into(), "in a directory that becomes a file".into()),
                ("1.0/sub".into(), "a file where a directory comes".into()),
                ("1.0/taken".into(), "mine".into()),
                ("1.0/taken-by-dir/deep/file".into(), "mine too".into()),
            ]
        );
    }
}

#[test]
fn backups_never_replace_one_another() {
    for in_place in WAYS {
        let one = TreeFixture::of(&[("a", "1")]);
        let two = TreeFixture::of(&[("a", "2")]);
        let mut device = Device::with(in_place, "1.0", &one);
        for (edit, version, tree) in [("first", "2.0", &two), ("second", "1.0", &one), ("third", "2.0", &two)] {
            fs::write(device.path("a"), edit).unwrap();
            device.apply(version, tree, &Options::default()).unwrap();
        }
        let backups: Vec<String> = device.backups().into_iter().map(|(_, content)| content).collect();
        assert_eq!(backups, ["first", "third", "second"]); // 1.0/a, 1.0-2/a, 2.0/a, by name: "1.0" < "1.0-2" < "2.0"
    }
}

#[test]
fn a_slot_that_was_edited_says_so() {
    for in_place in WAYS {
        let (old, new) = pair();
        let mut device = Device::with(in_place, "1.0", &old);
        device.apply("2.0", &new, &Options::default()).unwrap();
        fs::write(device.folder("slot/tree/bin/app"), "edited in the slot").unwrap();
        // The same file in both releases: whoever edits it now edits it in the slot as well, or there is only one.
        fs::write(device.path("same"), "edited in place").unwrap();
        let mut back = rollback(device.home(), &Options::default()).unwrap();
        back.damaged.sort();
        assert_eq!(back.damaged, ["bin/app", "same"].map(PathBuf::from));
        assert!(back.edited.is_empty(), "{:?}", back.edited);
        assert_eq!(fs::read(device.path("bin/app")).unwrap(), b"edited in the slot");
        assert_eq!(fs::read(device.path("same")).unwrap(), b"edited in place");
        let mut edited = verify(device.home()).unwrap().edited;
        edited.sort();
        assert_eq!(edited, back.damaged, "so that a repair fetches them");
    }
}

#[test]
fn the_owner_comes_from_the_predecessor_else_from_the_directory() {
    use std::os::unix::fs::{MetadataExt, chown};
    if !rustix::process::geteuid().is_root() {
        return skipped("only root can give files away");
    }
    for in_place in WAYS {
        let (old, new) = pair();
        let mut device = Device::with(in_place, "1.0", &old);
        chown(device.dir(), Some(1_234), Some(1_235)).unwrap();
        chown(device.path("bin/app"), Some(2_345), Some(2_346)).unwrap();
        chown(device.path("bin"), Some(3_456), None).unwrap();
        fs::write(device.path("bin/foreign"), "f").unwrap();
        chown(device.path("bin/foreign"), Some(4_567), None).unwrap();
        device.apply("2.0", &new, &Options::default()).unwrap();
        device.assert_holds(&new, &[("bin/foreign", "f")]);
        let owner = |at: &str| fs::symlink_metadata(device.path(at)).unwrap();
        assert_eq!((owner("bin/app").uid(), owner("bin/app").gid()), (2_345, 2_346));
        assert_eq!((owner("fresh-twin-1").uid(), owner("fresh-twin-1").gid()), (1_234, 1_235));
        assert_eq!((owner("fresh-twin-2").uid(), owner("share").uid()), (1_234, 1_234));
        assert_eq!((owner("").uid(), owner("bin").uid(), owner("bin/foreign").uid()), (1_234, 3_456, 4_567));
    }
}

#[test]
fn only_a_changed_mode_is_put_right() {
    for in_place in WAYS {
        let (old, new) = pair();
        let mut device = Device::with(in_place, "1.0", &old);
        fs::set_permissions(device.path("same"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(device.path("bin"), fs::Permissions::from_mode(0o700)).unwrap();
        let applied = device.apply("2.0", &new, &Options::default()).unwrap();
        assert!(applied.edited.is_empty());
        device.assert_holds(&new, &[]);
    }
}

/// The story: an update that began without asking committed its journal, and was then refused its first change in a
/// directory of another user. It could go neither on nor back, and every start failed the same way.
#[test]
fn what_may_not_be_changed_is_refused_before_the_commit() {
    if !rustix::process::geteuid().is_root() {
        return skipped("only root can give a directory to another user");
    }
    let old = TreeFixture::of(&[("lib/a", "1"), ("lib/gone", "1"), ("x", "1")]);
    let new = TreeFixture::of(&[("lib/a", "2"), ("x", "2")]);
    let mut device = Device::with(true, "1.0", &old);
    give_all(device.temp.path(), NOBODY);
    std::os::unix::fs::chown(device.path("lib"), Some(0), Some(0)).unwrap();
    let staged = device.stage("2.0", &new).unwrap();
    let error = as_nobody(|| apply(device.home(), staged, &Options::default())).unwrap_err();
    assert!(matches!(&error, Error::Denied { path, .. } if *path == device.path("lib")), "{error}");
    device.assert_holds(&old, &[]);
    assert_eq!(device.restart(), Recovered::Nothing);
    std::os::unix::fs::chown(device.path("lib"), Some(NOBODY), Some(NOBODY)).unwrap();
    let staged = device.stage("2.0", &new).unwrap();
    as_nobody(|| apply(device.home(), staged, &Options::default())).unwrap();
    device.assert_holds(&new, &[]);
}

/// The story: the machine died after the commit, and before the next start somebody deleted a directory of the release, put
/// something else in its place, or deleted all of `DIR`. The journal wanted to rename into what was not there, for ever.
#[test]
fn a_directory_that_is_gone_after_the_commit_is_made_again() {
    let old = TreeFixture::of(&[("lib/deep/a", "1"), ("x", "1")]);
    let new = TreeFixture::of(&[("lib/deep/a", "2"), ("x", "2")]);
    for damage in ["lib", "lib as a link", ""] {
        let mut device = Device::with(true, "1.0", &old);
        let staged = device.stage("2.0", &new).unwrap();
        let _ = fault::with(fault::Fault::Die, 0, Some("rename"), || apply(device.home(), staged, &Options::default()));
        assert!(device.folder("journal").exists());
        fs::remove_dir_all(device.path(damage.split(' ').next().unwrap())).unwrap();
        if damage == "lib as a link" {
            std::os::unix::fs::symlink("elsewhere", device.path("lib")).unwrap();
        }
        assert!(matches!(device.restart(), Recovered::Forward(_)), "{damage}");
        device.assert_holds(&new, &[]);
    }
}

/// The story: somebody deleted the whole installed directory. What is foreign in the old one could not be brought to what
/// was not there, so every start failed, and neither an update nor a rollback could bring the files back.
#[test]
fn a_deleted_directory_comes_back_with_the_next_switch() {
    let (old, new) = pair();
    let mut device = Device::with(false, "1.0", &old);
    device.apply("2.0", &new, &Options::default()).unwrap();
    fs::remove_dir_all(device.dir()).unwrap();
    assert_eq!(device.restart(), Recovered::Nothing);
    device.apply("2.0", &new, &Options::default()).unwrap();
    device.assert_holds(&new, &[]);
    fs::remove_dir_all(device.dir()).unwrap();
    device.restart();
    rollback(device.home(), &Options::default()).unwrap();
    assert_eq!(device.version().as_deref(), Some("1.0"));

    // And right after the swap, before the home has followed.
    let mut device = Device::with(false, "1.0", &old);
    let staged = device.stage("2.0", &new).unwrap();
    let _ = fault::with(fault::Fault::Die, 0, Some("rename"), || apply(device.home(), staged, &Options::default()));
    assert!(device.folder("stage").exists());
    fs::remove_dir_all(device.dir()).unwrap();
    assert!(matches!(device.restart(), Recovered::Forward(_)));
    assert_eq!(device.version().as_deref(), Some("2.0"));
}

/// The story: a process without rights built the new directory, and the foreign directories in it became its own: a
/// service that keeps its data in one of them could not write there any more.
#[test]
fn foreign_directories_of_others_stay_theirs() {
    if !rustix::process::geteuid().is_root() {
        return skipped("only root can give a directory to another user");
    }
    let (old, new) = pair();
    let mut device = Device::with(false, "1.0", &old);
    fs::create_dir(device.path("data")).unwrap();
    give_all(device.temp.path(), NOBODY);
    std::os::unix::fs::chown(device.path("data"), Some(1), Some(1)).unwrap();
    let staged = device.stage("2.0", &new).unwrap();
    give_all(&device.folder("downloads"), NOBODY);
    let applied = as_nobody(|| apply(device.home(), staged, &Options::default())).unwrap();
    assert!(matches!(applied.way, Way::Journal(_)), "{:?}", applied.way);
    let meta = fs::metadata(device.path("data")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&meta), 1);
}

/// The same story with a file that an administrator had marked: not even root is let past that.
#[test]
fn an_immutable_file_is_refused_before_the_commit() {
    let old = TreeFixture::of(&[("a", "1"), ("b", "1"), ("gone", "1")]);
    let new = TreeFixture::of(&[("a", "2"), ("b", "2")]);
    let mut device = Device::with(true, "1.0", &old);
    let mark = |how: &str, at: PathBuf| {
        let done = std::process::Command::new("chattr").arg(how).arg(at).output();
        done.is_ok_and(|output| output.status.success())
    };
    if !mark("+i", device.path("b")) {
        return skipped("this process or file system cannot mark a file as immutable");
    }
    let tried = device.apply("2.0", &new, &Options::default());
    // First of all, or nobody could remove the test's directory.
    assert!(mark("-i", device.path("b")));
    let error = tried.unwrap_err();
    assert!(matches!(&error, Error::Denied { path, .. } if *path == device.path("b")), "{error}");
    device.assert_holds(&old, &[]);
    device.apply("2.0", &new, &Options::default()).unwrap();
    device.assert_holds(&new, &[]);
}
