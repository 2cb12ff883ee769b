//! Install, update, go back, confirm: with nobody in the way.

use super::*;

#[test]
fn a_release_and_the_next_and_back_and_forth() {
    for in_place in WAYS {
        let (old, new) = pair();
        let mut device = Device::new(in_place);
        let first = device.apply("1.0", &old, &Options::default()).unwrap();
        assert_eq!((first.from, first.backup), (None, None));
        device.assert_holds(&old, &[]);
        assert!(slot(device.home()).unwrap().is_none());

        let update = device.apply("2.0", &new, &Options::default()).unwrap();
        device.assert_holds(&new, &[]);
        assert_eq!(update.way == Way::Exchange, !in_place);
        assert_eq!(update.from.unwrap().version.as_str(), "1.0");
        assert!(update.backup.is_none() && update.edited.is_empty() && update.displaced.is_empty());
        assert_eq!(slot(device.home()).unwrap().unwrap().version.as_str(), "1.0");

        for (version, tree) in [("1.0", &old), ("2.0", &new), ("1.0", &old)] {
            let back = rollback(device.home(), &Options::default()).unwrap();
            assert_eq!(back.to.version.as_str(), version);
            assert!(back.damaged.is_empty(), "{:?}", back.damaged);
            device.assert_holds(tree, &[]);
            assert_eq!(device.version().as_deref(), Some(version));
        }
        assert_eq!(device.restart(), Recovered::Nothing);
        assert!(verify(device.home()).unwrap().is_sound());
    }
}

#[test]
fn to_an_empty_tree_and_from_one() {
    for in_place in WAYS {
        let (old, _) = pair();
        let empty = TreeFixture::default();
        let mut device = Device::with(in_place, "1.0", &old);
        device.apply("2.0", &empty, &Options::default()).unwrap();
        device.assert_holds(&empty, &[]);
        device.apply("3.0", &old, &Options::default()).unwrap();
        device.assert_holds(&old, &[]);
        rollback(device.home(), &Options::default()).unwrap();
        device.assert_holds(&empty, &[]);
    }
}

#[test]
fn as_deep_as_a_tree_may_be() {
    let deep = vec!["d"; 127].join("/");
    let old = TreeFixture::of(&[(&format!("{deep}/leaf"), "1"), ("short", "s")]);
    let new = TreeFixture::of(&[(&format!("{deep}/leaf"), "2"), (&format!("{deep}/other"), "3")]);
    for in_place in WAYS {
        let mut device = Device::with(in_place, "1.0", &old);
        fs::write(device.path(&format!("{deep}/foreign")), "f").unwrap();
        device.apply("2.0", &new, &Options::default()).unwrap();
        device.assert_holds(&new, &[(&format!("{deep}/foreign"), "f")]);
        rollback(device.home(), &Options::default()).unwrap();
        device.assert_holds(&old, &[(&format!("{deep}/foreign"), "f")]);
    }
}

#[test]
fn on_a_real_disk() {
    for in_place in WAYS {
        let (old, new) = pair();
        let mut device = Device { temp: tempfile::tempdir().unwrap(), in_place, home: None };
        device.home = Some(Home::create(&device.dir(), &device.settings()).unwrap());
        device.apply("1.0", &old, &Options::default()).unwrap();
        device.apply("2.0", &new, &Options::default()).unwrap();
        device.assert_holds(&new, &[]);
        rollback(device.home(), &Options::default()).unwrap();
        device.assert_holds(&old, &[]);
    }
}

#[test]
fn nothing_to_go_back_to_is_said() {
    let mut device = Device::with(false, "1.0", &pair().0);
    let error = rollback(device.home(), &Options::default()).unwrap_err();
    assert!(matches!(error, Error::NoSlot { .. }), "{error}");
    let mut fresh = Device::new(false);
    assert!(matches!(rollback(fresh.home(), &Options::default()), Err(Error::NoSlot { .. })));
}

#[test]
fn unchanged_files_are_shared_and_no_two_files_of_a_release_are_one() {
    use std::os::unix::fs::MetadataExt;
    for in_place in WAYS {
        let (old, new) = pair();
        let mut device = Device::with(in_place, "1.0", &old);
        let inode = |device: &Device, at: &str| fs::metadata(device.path(at)).unwrap().ino();
        let before = inode(&device, "same");
        device.apply("2.0", &new, &Options::default()).unwrap();
        assert_eq!(inode(&device, "same"), before);
        assert_ne!(inode(&device, "twin"), inode(&device, "twin-2"));
        assert_ne!(inode(&device, "fresh-twin-1"), inode(&device, "fresh-twin-2"));
        // What is new has no second name either: whoever edits it edits nothing else.
        assert_eq!(fs::metadata(device.path("fresh-twin-1")).unwrap().nlink(), 1);
    }
}

#[test]
fn after_an_update_no_unchanged_file_has_to_be_hashed() {
    for in_place in WAYS {
        let (old, new) = pair();
        let mut device = Device::new(in_place);
        // Each switch ends with removing names of files, which changes their ctime: the stamps must say so.
        for (version, tree) in [("1.0", &old), ("2.0", &new), ("3.0", &old), ("4.0", &new)] {
            device.apply(version, tree, &Options::default()).unwrap();
            for file in tree.tree().files() {
                age(&device.path(file.path.as_str()));
            }
            // Ageing was an edit of the times, so the next update hashes; afterwards everything is old and stamped.
        }
        let staged = device.stage("5.0", &old).unwrap();
        apply(device.home(), staged, &Options::default()).unwrap();
        let record = device.home().record().unwrap().unwrap();
        let dir = Dir::open(&device.dir()).unwrap();
        let is_stamped = |path: &str| {
            let stat = dir.stat(Path::new(path)).unwrap().unwrap();
            record.stamps.get(path) == Some(&crate::record::Stamp::of(&stat))
        };
        // Unchanged, changed, read-only; all but what was made of another file a moment ago.
        for path in ["same", "twin", "bin/app", "read-only", "Case", "d/e/e/p/leaf"] {
            assert!(is_stamped(path), "{path}, in place: {in_place}");
        }
    }
}

#[test]
fn an_unconfirmed_release_goes_back_at_the_second_start() {
    let since = "2026-11-22T00:00:00Z".parse().unwrap();
    for in_place in WAYS {
        let (old, new) = pair();
        let third = new.clone().with("bin/app*", "app 3");
        let mut device = Device::with(in_place, "1.0", &old);
        device.apply("2.0", &new, &Options::default()).unwrap();
        assert_eq!(begin_start(device.home()).unwrap(), Start::Confirmed);

        let awaiting = Options { confirm: Confirm::Await { since }, ..Options::default() };
        device.apply("3.0", &third, &awaiting).unwrap();
        assert_eq!(confirmation(device.home()).unwrap(), Confirmation::Awaited { since, starts: 0 });
        let refused = device.apply("4.0", &old, &Options::default()).unwrap_err();
        assert!(matches!(refused, Error::Unconfirmed { .. }), "{refused}");
        assert!(device.folder("older").exists(), "the slot before is kept until the new release is confirmed");

        device.restart();
        assert_eq!(begin_start(device.home()).unwrap(), Start::Trial { since });
        device.assert_holds(&third, &[]);
        device.restart();
        let Start::RolledBack(back) = begin_start(device.home()).unwrap() else { panic!("it was never confirmed") };
        assert_eq!((back.from.unwrap().version.as_str(), back.to.version.as_str()), ("3.0", "2.0"));
        device.assert_holds(&new, &[]);
        assert_eq!(rejected(device.home()).unwrap()[0].version.as_str(), "3.0");
        // As if 3.0 had never been: the slot is the one before.
        assert_eq!(slot(device.home()).unwrap().unwrap().version.as_str(), "1.0");
        assert!(!device.folder("older").exists());
        assert_eq!(begin_start(device.home()).unwrap(), Start::Confirmed);
        rollback(device.home(), &Options::default()).unwrap();
        device.assert_holds(&old, &[]);
    }
}

#[test]
fn a_confirmed_release_stays() {
    let since = "2026-11-22T00:00:00Z".parse().unwrap();
    let (old, new) = pair();
    let mut device = Device::with(false, "1.0", &old);
    device.apply("2.0", &new, &Options { confirm: Confirm::Await { since }, ..Options::default() }).unwrap();
    begin_start(device.home()).unwrap();
    confirm(device.home()).unwrap();
    device.restart();
    assert_eq!(begin_start(device.home()).unwrap(), Start::Confirmed);
    assert_eq!(slot(device.home()).unwrap().unwrap().version.as_str(), "1.0");
    device.assert_holds(&new, &[]);
}

#[test]
fn without_anything_to_go_back_to_the_trial_goes_on() {
    let since = "2026-11-22T00:00:00Z".parse().unwrap();
    let (old, new) = pair();
    let mut device = Device::with(false, "1.0", &old);
    device.apply("2.0", &new, &Options { confirm: Confirm::Await { since }, ..Options::default() }).unwrap();
    fs::remove_dir_all(device.folder("slot")).unwrap();
    for _ in 0..3 {
        assert_eq!(begin_start(device.home()).unwrap(), Start::Trial { since });
    }
    device.assert_holds(&new, &[]);
}

#[test]
fn a_rejected_release_is_remembered_until_it_is_taken_again() {
    let (old, new) = pair();
    let mut device = Device::with(false, "1.0", &old);
    device.apply("2.0", &new, &Options::default()).unwrap();
    reject(device.home()).unwrap();
    device.assert_holds(&old, &[]);
    let rejected = |device: &mut Device| -> Vec<String> {
        rejected(device.home()).unwrap().iter().map(ToString::to_string).collect()
    };
    assert_eq!(rejected(&mut device), ["2.0"]);
    device.apply("3.0", &new, &Options::default()).unwrap();
    reject(device.home()).unwrap();
    assert_eq!(rejected(&mut device), ["3.0", "2.0"]);
    device.apply("2.0", &new, &Options::default()).unwrap();
    assert_eq!(rejected(&mut device), ["3.0"]);
    // Not for ever: who rolled back nine times has long been elsewhere.
    for minor in 1..=9 {
        device.apply(&format!("2.{minor}"), &new, &Options::default()).unwrap();
        reject(device.home()).unwrap();
    }
    assert_eq!(rejected(&mut device), ["2.9", "2.8", "2.7", "2.6", "2.5", "2.4", "2.3", "2.2"]);
}

#[test]
fn a_directory_that_is_not_empty_is_refused_or_adopted() {
    for in_place in WAYS {
        let (tree, _) = pair();
        let mut device = Device::new(in_place);
        tree.write_to(&device.dir());
        fs::write(device.path("bin/app"), "somebody's own").unwrap();
        fs::write(device.path("settings.ini"), "mine").unwrap();
        fs::set_permissions(device.path("mode"), fs::Permissions::from_mode(0o700)).unwrap();
        let refused = device.apply("1.0", &tree, &Options::default()).unwrap_err();
        assert!(matches!(refused, Error::NotEmpty { .. }), "{refused}");

        let staged = device.stage("1.0", &tree).unwrap();
        assert_eq!(staged.plan.fetch.len(), 1, "what is there already is not fetched");
        let applied = apply(device.home(), staged, &Options { adopt: true, ..Options::default() }).unwrap();
        device.assert_holds(&tree, &[("settings.ini", "mine")]);
        assert_eq!(applied.displaced, [PathBuf::from("bin/app")]);
        assert_eq!(device.backups(), [("adopted/bin/app".into(), "somebody's own".into())]);
        assert!(slot(device.home()).unwrap().is_none());
    }
}

#[test]
fn a_deleted_directory_comes_back() {
    for in_place in WAYS {
        let (old, new) = pair();
        let mut device = Device::with(in_place, "1.0", &old);
        device.home = None;
        fs::remove_dir_all(device.dir()).unwrap();
        device.restart();
        device.apply("2.0", &new, &Options::default()).unwrap();
        device.assert_holds(&new, &[]);
    }
}

#[test]
fn content_that_vanished_since_the_download_stops_before_anything_happens() {
    for in_place in WAYS {
        let (old, new) = pair();
        let mut device = Device::with(in_place, "1.0", &old);
        let staged = device.stage("2.0", &new).unwrap();
        fs::write(device.path("same"), "edited while it was downloaded").unwrap();
        let error = apply(device.home(), staged, &Options::default()).unwrap_err();
        assert!(matches!(&error, Error::Lacking { first, count: 1 } if first.as_str() == "same"), "{error}");
        device.assert_holds(&old.with("same", "edited while it was downloaded"), &[]);
    }
}

#[test]
fn a_download_that_rotted_on_the_disk_never_gets_in() {
    for in_place in WAYS {
        let (old, new) = pair();
        let mut device = Device::with(in_place, "1.0", &old);
        let staged = device.stage("2.0", &new).unwrap();
        let rotten = updraft_core::digest::Digest::of(b"app 2").to_string();
        fs::write(device.folder("downloads").join(rotten), "aqq 2").unwrap();
        let error = apply(device.home(), staged, &Options::default()).unwrap_err();
        assert!(matches!(error, Error::Mismatch { .. }), "{error}");
        device.assert_holds(&old, &[]);
    }
}

#[test]
fn a_damaged_file_is_found_and_repaired_and_the_slot_stays() {
    for in_place in WAYS {
        let (old, new) = pair();
        let mut device = Device::with(in_place, "1.0", &old);
        device.apply("2.0", &new, &Options::default()).unwrap();
        // Rot: other bytes, and every time and length as before.
        let rotten = device.path("bin/app");
        let times = fs::metadata(&rotten).unwrap().modified().unwrap();
        fs::write(&rotten, "aqp 2").unwrap();
        fs::File::options().write(true).open(&rotten).unwrap().set_modified(times).unwrap();
        fs::remove_file(device.path("twin")).unwrap();
        let found = verify(device.home()).unwrap();
        assert_eq!(found.edited, [PathBuf::from("bin/app")]);
        assert_eq!(found.missing, [PathBuf::from("twin")]);

        let mut staged = device.stage("2.0", &new).unwrap();
        let downloads = device.folder("downloads");
        for digest in new.contents().keys() {
            fs::write(downloads.join(digest.to_string()), &new.contents()[digest]).unwrap();
        }
        staged.plan = plan::plan(&found.have, &new.tree(), &Offers::default());
        repair(device.home(), staged).unwrap();
        device.assert_holds(&new, &[]);
        assert!(verify(device.home()).unwrap().is_sound());
        rollback(device.home(), &Options::default()).unwrap();
        device.assert_holds(&old, &[]);
    }
}

#[test]
fn who_only_looks_changes_nothing() {
    let mut device = Device::with(false, "1.0", &pair().0);
    device.home = None;
    let mut home = Home::open(&device.dir(), Access::Read).unwrap();
    assert!(matches!(recover(&mut home), Err(Error::ReadOnly { .. })));
    assert!(matches!(rollback(&mut home, &Options::default()), Err(Error::ReadOnly { .. })));
    assert_eq!(probe(&home).unwrap(), Way::Exchange);
}

#[test]
fn the_way_is_told_with_its_reason() {
    let device = Device::with(true, "1.0", &pair().0);
    assert_eq!(probe(device.home.as_ref().unwrap()).unwrap(), Way::Journal("--in-place was asked for".into()));
}

#[test]
fn what_the_file_system_refuses_goes_by_the_journal() {
    const EPERM: i32 = 1;
    const EXDEV: i32 = 18;
    const EMLINK: i32 = 31;
    for (errno, op) in [(EPERM, "link"), (EMLINK, "link"), (EXDEV, "link"), (EXDEV, "exchange"), (EPERM, "exchange")] {
        let (old, new) = pair();
        let mut device = Device::with(false, "1.0", &old);
        fs::write(device.path("foreign"), "f").unwrap();
        let staged = device.stage("2.0", &new).unwrap();
        let last = match op {
            // The links of downloads come first, and a copy does for those: the last one is a foreign file's.
            "link" => {
                let probe = Device::with(false, "1.0", &old);
                fs::write(probe.path("foreign"), "f").unwrap();
                let mut probe = probe;
                let staged = probe.stage("2.0", &new).unwrap();
                let (_, links, _) = fault::with(fault::Fault::None, 0, Some("link"), || {
                    apply(probe.home(), staged, &Options::default())
                });
                links - 2 // the very last one is that of the record
            }
            _ => 0,
        };
        let (applied, ..) = fault::with(fault::Fault::Fail(errno), last, Some(op), || {
            apply(device.home(), staged, &Options::default())
        });
        let applied = applied.unwrap();
        assert!(matches!(&applied.way, Way::Journal(_)), "{op}: {:?}", applied.way);
        device.assert_holds(&new, &[("foreign", "f")]);
        // What the file system cannot do for the directory it cannot do again; what was refused for one file, or by a right
        // that may be given, may not be.
        let next = if (op, errno) == ("exchange", EXDEV) { applied.way } else { Way::Exchange };
        assert_eq!(probe(device.home()).unwrap(), next, "{op}");
        rollback(device.home(), &Options::default()).unwrap();
        device.assert_holds(&old, &[("foreign", "f")]);
    }
}
