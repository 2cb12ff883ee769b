//! Homes inside, and directories that are mounts or hold some.

use std::process::Command;

use super::*;

/// A device whose home lies inside, as it is made where the parent cannot be written.
fn inside() -> Device {
    let mut device = Device { temp: scratch(), in_place: false, home: None };
    fs::create_dir_all(device.path(".updraft")).unwrap();
    fs::write(device.path(".updraft/settings.json"), serde_json::to_vec(&device.settings()).unwrap()).unwrap();
    let home = Home::create(&device.dir(), &device.settings()).unwrap();
    assert_eq!(home.place(), Place::Inside);
    device.home = Some(home);
    device
}

#[test]
fn a_home_inside_goes_by_the_journal_and_is_never_foreign() {
    let (old, new) = pair();
    let mut device = inside();
    assert!(matches!(probe(device.home()).unwrap(), Way::Journal(_)));
    device.apply("1.0", &old, &Options::default()).unwrap();
    fs::write(device.path("foreign"), "f").unwrap();
    fs::write(device.path("same"), "edited").unwrap();
    device.apply("2.0", &new, &Options::default()).unwrap();
    device.assert_holds(&new, &[("foreign", "f")]);
    assert_eq!(fs::read(device.path(".updraft/backup/1.0/same")).unwrap(), b"edited");
    device.restart();
    rollback(device.home(), &Options::default()).unwrap();
    device.restart();
    assert_eq!(verify(device.home()).unwrap().edited, Vec::<PathBuf>::new());
    assert!(!device.temp.path().join("app.updraft").exists());
}

#[test]
fn two_homes_are_refused() {
    let device = inside();
    let beside = device.temp.path().join("app.updraft");
    fs::create_dir(&beside).unwrap();
    fs::copy(device.path(".updraft/settings.json"), beside.join("settings.json")).unwrap();
    let error = Home::open(&device.dir(), Access::Read).unwrap_err();
    assert!(error.to_string().contains("two homes"), "{error}");
}

/// A mount that ends with the test.
struct Mount(PathBuf);

impl Mount {
    /// Another file system at `at`, or nothing where that is not allowed.
    fn new(at: PathBuf) -> Option<Self> {
        fs::create_dir_all(&at).unwrap();
        let done = Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(&at).output();
        let done = done.is_ok_and(|output| output.status.success());
        if !done {
            skipped("this process may not mount");
        }
        done.then(|| Self(at))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_directory_that_is_a_mount() {
    let mut device = Device { temp: tempfile::tempdir().unwrap(), in_place: false, home: None };
    let Some(_mount) = Mount::new(device.dir()) else { return };
    device.home = Some(Home::create(&device.dir(), &device.settings()).unwrap());
    assert_eq!(device.home().place(), Place::Inside);
    assert_eq!(probe(device.home()).unwrap(), Way::Journal("the directory is a mount of its own".into()));
    let (old, new) = pair();
    device.apply("1.0", &old, &Options::default()).unwrap();
    fs::write(device.path("foreign"), "f").unwrap();
    device.apply("2.0", &new, &Options::default()).unwrap();
    device.assert_holds(&new, &[("foreign", "f")]);
    rollback(device.home(), &Options::default()).unwrap();
    device.assert_holds(&old, &[("foreign", "f")]);
    device.home = None;
}

#[test]
fn a_mount_inside_that_the_release_has_files_in() {
    let old =
        TreeFixture::of(&[("data/a", "1"), ("data/gone", "g"), ("data/sub/b", "1"), ("x", "1"), ("to-data", "m")]);
    let new = TreeFixture::of(&[("data/a", "2"), ("data/new/c", "2"), ("data/moved", "m"), ("x", "2")]);
    // Installed before it was mounted, as a container does it: the home lies beside.
    for crash in [false, true] {
        let mut device = Device { temp: tempfile::tempdir().unwrap(), in_place: false, home: None };
        device.home = Some(Home::create(&device.dir(), &device.settings()).unwrap());
        let Some(_mount) = Mount::new(device.path("data")) else { return };
        assert!(matches!(probe(device.home()).unwrap(), Way::Journal(reason) if reason.contains("'data' is mounted")));
        device.apply("1.0", &old, &Options { adopt: true, ..Options::default() }).unwrap();
        device.assert_holds(&old, &[]);
        fs::write(device.path("data/foreign"), "f").unwrap();
        let foreign = [("data/foreign", "f")];
        if crash {
            let staged = device.stage("2.0", &new).unwrap();
            let (_, changes, _) = fault::with(fault::Fault::Die, u64::MAX, None, || {
                apply(device.home(), staged, &Options::default()).unwrap()
            });
            rollback(device.home(), &Options::default()).unwrap();
            for at in (0..changes).step_by(2) {
                let staged = device.stage("2.0", &new).unwrap();
                let _ = fault::with(fault::Fault::Die, at, None, || apply(device.home(), staged, &Options::default()));
                device.restart();
                match device.version().as_deref() {
                    Some("1.0") => device.assert_holds(&old, &foreign),
                    _ => {
                        device.assert_holds(&new, &foreign);
                        rollback(device.home(), &Options::default()).unwrap();
                    }
                }
            }
        }
        device.apply("2.0", &new, &Options::default()).unwrap();
        device.assert_holds(&new, &foreign);
        rollback(device.home(), &Options::default()).unwrap();
        device.assert_holds(&old, &foreign);
        let in_the_way = TreeFixture::of(&[("data", "a file")]);
        let error = device.apply("3.0", &in_the_way, &Options::default()).unwrap_err();
        assert!(matches!(&error, Error::MountInTheWay { path } if path == Path::new("data")), "{error}");
        device.assert_holds(&old, &foreign);
        device.home = None;
    }
}

/// The story: installed with the home beside it, and only then a volume was mounted on `DIR`. Only mounts *below* `DIR` had
/// their files laid ready in them, so everything waited in the home, on the other file system: the journal was committed,
/// files that leave were removed, and then the first rename was refused, at every start again.
#[test]
fn a_volume_that_is_mounted_on_the_directory_later() {
    let (old, new) = pair();
    let mut device = Device { temp: tempfile::tempdir().unwrap(), in_place: false, home: None };
    device.home = Some(Home::create(&device.dir(), &device.settings()).unwrap());
    let Some(_mount) = Mount::new(device.dir()) else { return };
    assert_eq!(device.home().place(), Place::Beside);
    device.apply("1.0", &old, &Options::default()).unwrap();
    device.assert_holds(&old, &[]);
    fs::write(device.path("foreign"), "f").unwrap();
    let foreign = [("foreign", "f")];
    for at in (0..).step_by(9) {
        let staged = device.stage("2.0", &new).unwrap();
        let (applied, ..) =
            fault::with(fault::Fault::Die, at, None, || apply(device.home(), staged, &Options::default()));
        device.restart();
        match device.version().as_deref() {
            Some("1.0") => device.assert_holds(&old, &foreign),
            _ => {
                device.assert_holds(&new, &foreign);
                rollback(device.home(), &Options::default()).unwrap();
                device.assert_holds(&old, &foreign);
            }
        }
        if applied.is_ok() {
            break;
        }
    }
    device.home = None;
}

/// The same story, but the volume comes between the commit and the crash that interrupts what follows it.
#[test]
fn a_volume_that_is_mounted_after_the_commit() {
    let old = TreeFixture::of(&[("data/a", "1"), ("x", "1")]);
    let new = TreeFixture::of(&[("data/a", "2"), ("data/link@", "a"), ("x", "2")]);
    let mut device = Device { temp: tempfile::tempdir().unwrap(), in_place: true, home: None };
    device.home = Some(Home::create(&device.dir(), &device.settings()).unwrap());
    device.apply("1.0", &old, &Options::default()).unwrap();
    let staged = device.stage("2.0", &new).unwrap();
    let _ = fault::with(fault::Fault::Die, 0, Some("rename"), || apply(device.home(), staged, &Options::default()));
    assert!(device.folder("journal").exists());
    let Some(_mount) = Mount::new(device.path("data")) else { return };
    fs::set_permissions(device.path("data"), fs::Permissions::from_mode(0o755)).unwrap();
    assert!(matches!(device.restart(), Recovered::Forward(_)));
    device.assert_holds(&new, &[]);
    device.home = None;
}
