//! Dies before every single change to the disk, and lets every single one fail: afterwards it is the old release or the
//! new one, with everything foreign, and the next update works.

use super::fault::{Fault, with};
use super::*;

const EIO: i32 = 5;
const ENOSPC: i32 = 28;
const FOREIGN: [(&str, &str); 3] = [("data/db", "rows"), ("bin/plugin", "mine"), ("gone/with/me", "stays")];

fn since() -> Timestamp {
    "2026-11-22T00:00:00Z".parse().unwrap()
}

/// A switch to try: how to come to where it begins, and the switch itself.
struct Case {
    name: &'static str,
    begin: fn(bool) -> Device,
    go: fn(&mut Device) -> Result<Applied, Error>,
    /// What the directory holds before and after.
    before: fn() -> Option<TreeFixture>,
    after: fn() -> TreeFixture,
}

fn third() -> TreeFixture {
    pair().1.with("bin/app*", "app 3").with("third/file", "3").without("twin")
}

fn people(device: &Device) {
    for (path, content) in FOREIGN {
        fs::create_dir_all(device.path(path).parent().unwrap()).unwrap();
        fs::write(device.path(path), content).unwrap();
    }
}

const CASES: [Case; 5] = [
    Case {
        name: "first install",
        begin: Device::new,
        go: |device| device.apply("1.0", &pair().0, &Options::default()),
        before: || None,
        after: || pair().0,
    },
    Case {
        name: "update",
        begin: |in_place| {
            let device = Device::with(in_place, "1.0", &pair().0);
            people(&device);
            fs::write(device.path("same"), "edited").unwrap();
            fs::write(device.path("twin-2"), "in the way").unwrap();
            device
        },
        go: |device| device.apply("2.0", &pair().1, &Options::default()),
        before: || Some(pair().0.with("same", "edited")),
        after: || pair().1,
    },
    Case {
        name: "update with a slot, awaiting",
        begin: |in_place| {
            let mut device = Device::with(in_place, "1.0", &pair().0);
            people(&device);
            device.apply("2.0", &pair().1, &Options::default()).unwrap();
            device
        },
        go: |device| {
            device.apply("3.0", &third(), &Options { confirm: Confirm::Await { since: since() }, ..Options::default() })
        },
        before: || Some(pair().1),
        after: third,
    },
    Case {
        name: "rollback",
        begin: |in_place| {
            let mut device = Device::with(in_place, "1.0", &pair().0);
            people(&device);
            device.apply("2.0", &pair().1, &Options::default()).unwrap();
            device
        },
        go: |device| rollback(device.home(), &Options::default()),
        before: || Some(pair().1),
        after: || pair().0,
    },
    Case {
        name: "rollback of what was never confirmed",
        begin: |in_place| {
            let mut device = Device::with(in_place, "1.0", &pair().0);
            people(&device);
            device.apply("2.0", &pair().1, &Options::default()).unwrap();
            let awaiting = Options { confirm: Confirm::Await { since: since() }, ..Options::default() };
            device.apply("3.0", &third(), &awaiting).unwrap();
            device
        },
        go: |device| rollback(device.home(), &Options::default()),
        before: || Some(third()),
        after: || pair().1,
    },
];

/// Asserts that it is the one or the other; whether it is the other.
#[track_caller]
fn assert_either(device: &Device, case: &Case, context: &str) -> bool {
    let found = snapshot(&device.dir());
    let holds = |tree: &TreeFixture| snapshot_of(tree).iter().all(|(path, entry)| found.get(path) == Some(entry));
    let (before, after) = ((case.before)(), (case.after)());
    let is_after = holds(&after);
    let is_before = before.as_ref().map_or_else(|| found.is_empty(), holds);
    assert!(is_after || is_before, "{context}: neither the one nor the other: {:?}", found.keys());
    // Nothing managed of the one is left in the other, and everything foreign is there.
    let (managed, other) = match (is_after, &before) {
        (true, before) => (&after, before.clone().unwrap_or_default()),
        (false, Some(before)) => (before, after.clone()),
        (false, None) => return false,
    };
    let edited_or_moved = |path: &Path| path == Path::new("twin-2");
    for path in snapshot_of(&other).keys().filter(|path| !snapshot_of(managed).contains_key(*path)) {
        let holds_foreign = FOREIGN.iter().any(|(foreign, _)| Path::new(foreign).starts_with(path));
        assert!(
            !found.contains_key(path) || holds_foreign || edited_or_moved(path),
            "{context}: {} is left over",
            path.display()
        );
    }
    let version = device.version();
    let is_recorded = device.home.as_ref().unwrap().record().unwrap().is_some_and(|record| record.tree == after.tree());
    assert_eq!(is_recorded, is_after, "{context}: the record says {version:?}");
    is_after
}

#[track_caller]
fn check(mut device: Device, case: &Case, context: &str) {
    let is_after = assert_either(&device, case, context);
    device.assert_at_rest();
    if (case.before)().is_some() {
        for (path, content) in FOREIGN {
            assert_eq!(fs::read(device.path(path)).ok().as_deref(), Some(content.as_bytes()), "{context}: {path}");
        }
    }
    if case.name == "update" {
        let everywhere = [snapshot(&device.dir()), snapshot(&device.folder("backup"))];
        let content = |wanted: &[u8]| {
            everywhere.iter().flat_map(|map| map.values()).any(|e| matches!(e, Entry::File(_, c) if c == wanted))
        };
        assert!(content(b"edited") && content(b"in the way"), "{context}: somebody's file is lost");
    }
    // And on it goes: whatever it is now, the next release can be installed, and gone back from.
    if confirmation(device.home()).unwrap() != Confirmation::Confirmed {
        confirm(device.home()).unwrap();
    }
    let last = TreeFixture::of(&[("bin/app*", "last"), ("last", "one")]);
    let had = if is_after { Some((case.after)()) } else { (case.before)() };
    device.apply("9.0", &last, &Options::default()).unwrap_or_else(|error| panic!("{context}: {error}"));
    assert!(snapshot_of(&last).iter().all(|(path, entry)| snapshot(&device.dir()).get(path) == Some(entry)));
    if let Some(had) = had.filter(|had| !had.contents().values().any(|content| content == b"edited")) {
        rollback(device.home(), &Options::default()).unwrap_or_else(|error| panic!("{context}: {error}"));
        let found = snapshot(&device.dir());
        assert!(snapshot_of(&had).iter().all(|(path, entry)| found.get(path) == Some(entry)), "{context}: going back");
    }
}

fn changes(case: &Case, in_place: bool) -> u64 {
    let mut device = (case.begin)(in_place);
    let (result, changes, _) = with(Fault::None, 0, None, || (case.go)(&mut device));
    result.unwrap();
    changes
}

fn each_point(in_place: bool, fault: Fault) {
    for case in &CASES {
        let changes = changes(case, in_place);
        let (mut befores, mut afters) = (0, 0);
        for at in 0..changes {
            let mut device = (case.begin)(in_place);
            let (result, _, what) = with(fault, at, None, || (case.go)(&mut device));
            let context = format!("{}, in place: {in_place}, {fault:?} at {at} of {changes} ({what})", case.name);
            if fault == Fault::Die {
                // What it said does not count: a dead process says nothing.
                device.restart();
            } else if result.is_err() {
                device.restart();
            }
            match assert_either(&device, case, &context) {
                true => afters += 1,
                false => befores += 1,
            }
            check(device, case, &context);
        }
        assert!(befores > 0 && afters > 0, "{}: {befores} before, {afters} after", case.name);
    }
}

#[test]
fn killed_anywhere_exchange() {
    each_point(false, Fault::Die);
}

#[test]
fn killed_anywhere_journal() {
    each_point(true, Fault::Die);
}

#[test]
fn an_error_anywhere_exchange() {
    each_point(false, Fault::Fail(ENOSPC));
}

#[test]
fn an_error_anywhere_journal() {
    each_point(true, Fault::Fail(EIO));
}

/// Recovery may be killed as well, as often as it likes.
#[test]
fn killed_while_it_recovers() {
    for in_place in WAYS {
        let case = &CASES[1];
        let changes = changes(case, in_place);
        for at in (0..changes).step_by(3) {
            let mut device = (case.begin)(in_place);
            let _ = with(Fault::Die, at, None, || (case.go)(&mut device));
            for step in 0.. {
                device.home = None;
                let mut home = Home::open(&device.dir(), Access::Change).unwrap();
                let (recovered, ..) = with(Fault::Die, step, None, || recover(&mut home));
                device.home = Some(home);
                if recovered.is_ok() {
                    break;
                }
            }
            check(device, case, &format!("in place: {in_place}, died at {at} and while recovering"));
        }
    }
}

#[test]
fn a_full_disk_is_named_with_its_remedy() {
    let full = updraft_files::Dir::open(Path::new("/nowhere/at/all")).unwrap_err();
    let text = Error::Full { source: full }.to_string();
    assert!(text.contains("/nowhere/at/all") && text.contains("free some space"), "{text}");
}
