//! What programs do in the old directory while and after it is exchanged.

use super::fault::before;
use super::*;

/// Updates, and runs `act` right before the exchange.
fn update_while(device: &mut Device, version: &str, tree: &TreeFixture, act: impl FnMut() + 'static) -> Applied {
    let staged = device.stage(version, tree).unwrap();
    before("exchange", act, || apply(device.home(), staged, &Options::default())).unwrap()
}

#[test]
fn a_file_made_while_the_swap_runs_is_brought_over() {
    let (old, new) = pair();
    let mut device = Device::with(false, "1.0", &old);
    fs::write(device.path("replaced"), "before").unwrap();
    fs::write(device.path("appended"), "one").unwrap();
    let dir = device.dir();
    update_while(&mut device, "2.0", &new, move || {
        fs::create_dir_all(dir.join("made/there")).unwrap();
        fs::write(dir.join("made/there/file"), "late").unwrap();
        fs::write(dir.join("temp"), "after").unwrap();
        fs::rename(dir.join("temp"), dir.join("replaced")).unwrap();
        use std::io::Write;
        fs::File::options().append(true).open(dir.join("appended")).unwrap().write_all(b" two").unwrap();
    });
    device.assert_holds(&new, &[("made/there/file", "late"), ("replaced", "after"), ("appended", "one two")]);
}

#[test]
fn a_program_with_the_old_directory_open_still_writes_there() {
    let (old, new) = pair();
    let mut device = Device::with(false, "1.0", &old);
    fs::write(device.path("deleted"), "by the new program").unwrap();
    fs::write(device.path("both"), "at first").unwrap();
    let handle = fs::File::open(device.dir()).unwrap();
    device.apply("2.0", &new, &Options::default()).unwrap();
    // What /proc shows of the handle is where the directory is now: in the slot.
    let open = PathBuf::from(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&handle)));
    let replace = |at: PathBuf, content: &str| {
        let temp = at.with_extension("temp");
        fs::write(&temp, content).unwrap();
        fs::rename(temp, at).unwrap();
    };
    fs::write(open.join("log"), "line").unwrap();
    replace(open.join("both"), "old program");
    replace(device.path("both"), "new program");
    fs::remove_file(device.path("deleted")).unwrap();
    device.restart();
    device.assert_holds(&new, &[("log", "line"), ("both", "new program")]);
    assert_eq!(device.backups(), [("late/both".into(), "old program".into())]);

    // Nothing more to bring: and what the new program deletes stays deleted.
    fs::remove_file(device.path("log")).unwrap();
    device.restart();
    device.assert_holds(&new, &[("both", "new program")]);
    // Once more, right before the slot goes.
    fs::write(open.join("last words"), "bye").unwrap();
    let staged = device.stage("3.0", &old).unwrap();
    // Our own handle does not count, for the updater has such handles itself: so somebody else stands there.
    let mut other = std::process::Command::new("sleep").arg("1000").current_dir(&open).spawn().unwrap();
    apply(device.home(), staged, &Options::default()).unwrap();
    assert!(device.folder("trash").exists(), "nothing is removed under a process that lives there");
    fs::write(open.join("very last words"), "bye bye").unwrap();
    other.kill().unwrap();
    other.wait().unwrap();
    device.restart();
    let foreign = [("both", "new program"), ("last words", "bye"), ("very last words", "bye bye")];
    device.assert_holds(&old, &foreign);
}

#[test]
fn a_late_file_in_the_way_goes_to_the_backup() {
    let (old, new) = pair();
    let mut device = Device::with(false, "1.0", &old);
    let dir = device.dir();
    let applied = update_while(&mut device, "2.0", &new, move || fs::write(dir.join("twin-2"), "in the way").unwrap());
    device.assert_holds(&new, &[]);
    assert_eq!(applied.displaced, [PathBuf::from("twin-2")]);
    assert_eq!(device.backups(), [("1.0/twin-2".into(), "in the way".into())]);
    device.restart();
    assert_eq!(device.backups().len(), 1, "it is kept once");
}

#[test]
fn a_late_edit_of_a_file_that_leaves_goes_to_the_backup() {
    let (old, new) = pair();
    let mut device = Device::with(false, "1.0", &old);
    let dir = device.dir();
    let applied = update_while(&mut device, "2.0", &new, move || fs::write(dir.join("bin/app"), "late edit").unwrap());
    device.assert_holds(&new, &[]);
    assert_eq!(applied.edited, [PathBuf::from("bin/app")]);
    assert_eq!(device.backups(), [("1.0/bin/app".into(), "late edit".into())]);
}

#[test]
fn by_the_journal_late_files_and_edits_survive_too() {
    let (old, new) = pair();
    let mut device = Device::with(true, "1.0", &old);
    let dir = device.dir();
    let staged = device.stage("2.0", &new).unwrap();
    let act = move || {
        // Once, right before the first rename into the directory.
        if !dir.join("late").exists() {
            fs::write(dir.join("late"), "foreign").unwrap();
            fs::write(dir.join("twin-2"), "in the way").unwrap();
            fs::write(dir.join("gone/late"), "in a directory that goes").unwrap();
            fs::write(dir.join("bin/app"), "late edit of a file that changes").unwrap();
        }
    };
    before("unlink", act, || apply(device.home(), staged, &Options::default())).unwrap();
    device.assert_holds(&new, &[("late", "foreign"), ("gone/late", "in a directory that goes")]);
    assert_eq!(
        device.backups(),
        [("1.0/bin/app".into(), "late edit of a file that changes".into()), ("1.0/twin-2".into(), "in the way".into()),]
    );
}

#[test]
fn a_file_that_vanishes_while_it_is_carried_is_no_error() {
    let (old, new) = pair();
    let mut device = Device::with(false, "1.0", &old);
    fs::create_dir(device.path("cache")).unwrap();
    for n in 0..20 {
        fs::write(device.path(&format!("cache/{n}")), "c").unwrap();
    }
    let dir = device.dir();
    let staged = device.stage("2.0", &new).unwrap();
    let mut calls = 0;
    let act = move || {
        calls += 1;
        // A program that clears its cache, one file at each link of ours.
        let _ = fs::remove_file(dir.join(format!("cache/{}", calls % 20)));
    };
    before("link", act, || apply(device.home(), staged, &Options::default())).unwrap();
    let found = snapshot(&device.dir());
    for (path, entry) in snapshot_of(&new) {
        assert_eq!(found.get(&path), Some(&entry));
    }
    device.assert_at_rest();
}

/// The story: an old program saves its state by a rename, in the old directory, while the new one edits the file that was
/// carried over in place. By its inode that was still what had been carried, so it was taken as untouched and replaced:
/// its content was in no other place.
#[test]
fn what_was_edited_in_place_on_the_new_side_is_not_lost_to_the_old_one() {
    let (old, new) = pair();
    let mut device = Device::with(false, "1.0", &old);
    fs::write(device.path("state"), "at first").unwrap();
    let handle = fs::File::open(device.dir()).unwrap();
    device.apply("2.0", &new, &Options::default()).unwrap();
    let open = PathBuf::from(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&handle)));
    fs::write(open.join("temp"), "old program").unwrap();
    fs::rename(open.join("temp"), open.join("state")).unwrap();
    fs::write(device.path("state"), "new program").unwrap();
    device.restart();
    device.assert_holds(&new, &[("state", "old program")]);
    assert_eq!(device.backups(), [("late/state".into(), "new program".into())]);
}

/// The story: an editor saved a file that is the same in both releases, by a rename, after the new directory had taken a
/// link to it and before the swap. Only files that leave were looked at again, so the edit was gone with the old directory,
/// and nobody was told. After a crash right behind the swap not even those were looked at.
#[test]
fn a_late_edit_of_a_file_that_stays_goes_to_the_backup_even_after_a_crash() {
    for crash in [false, true] {
        let (old, new) = pair();
        let mut device = Device::with(false, "1.0", &old);
        fs::remove_file(device.path("mode")).unwrap();
        let dir = device.dir();
        let act = move || {
            fs::write(dir.join("temp"), "late edit").unwrap();
            fs::rename(dir.join("temp"), dir.join("same")).unwrap();
            fs::write(dir.join("bin/app"), "late edit of a file that leaves").unwrap();
            fs::write(dir.join("mode"), "made again").unwrap();
        };
        let applied = if crash {
            let staged = device.stage("2.0", &new).unwrap();
            // The first rename of ours is the one of the records, right after the swap.
            let _ = before("exchange", act, || {
                fault::with(fault::Fault::Die, 0, Some("rename"), || {
                    apply(device.home(), staged, &Options::default()).unwrap_err()
                })
            });
            match device.restart() {
                Recovered::Forward(applied) => *applied,
                other => panic!("{other:?}"),
            }
        } else {
            update_while(&mut device, "2.0", &new, act)
        };
        device.assert_holds(&new, &[]);
        assert_eq!(applied.edited, ["bin/app", "mode", "same"].map(PathBuf::from));
        let kept = |path: &str, content: &str| (format!("1.0/{path}"), content.to_owned());
        assert_eq!(
            device.backups(),
            [kept("bin/app", "late edit of a file that leaves"), kept("mode", "made again"), kept("same", "late edit")]
        );
    }
}
