//! A handle stays inside its directory, whatever happens to the names on the way.

use super::*;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

fn p(text: &str) -> &Path {
    Path::new(text)
}

struct Fixture {
    temp: tempfile::TempDir,
    dir: Dir,
}

/// An open directory `in` with a file, and beside it `out`, which nobody may reach through it.
fn fixture() -> Fixture {
    let temp = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(temp.path().join("in/sub/deep")).unwrap();
    std::fs::create_dir(temp.path().join("out")).unwrap();
    std::fs::write(temp.path().join("in/sub/deep/file"), "inside").unwrap();
    std::fs::write(temp.path().join("out/file"), "outside").unwrap();
    let dir = Dir::open(&temp.path().join("in")).unwrap();
    Fixture { temp, dir }
}

fn read(mut file: File) -> String {
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    text
}

/// Every operation that takes a path, tried on `at`; none may succeed. `other` is a file that exists.
fn all_refuse(dir: &Dir, at: &Path, other: &Path) {
    assert!(dir.open_file(at).is_err(), "open_file {at:?}");
    assert!(dir.open_rw(at).is_err(), "open_rw {at:?}");
    assert!(dir.create_file(at, 0o644).is_err(), "create_file {at:?}");
    assert!(dir.create_dir(at, 0o755).is_err(), "create_dir {at:?}");
    assert!(dir.symlink("x", at).is_err(), "symlink {at:?}");
    assert!(dir.read_link(at).is_err(), "read_link {at:?}");
    assert!(dir.rename(at, dir, p("new")).is_err(), "rename from {at:?}");
    assert!(dir.rename(other, dir, at).is_err(), "rename to {at:?}");
    assert!(dir.rename_new(other, dir, at).is_err(), "rename_new to {at:?}");
    assert!(dir.exchange(other, dir, at).is_err(), "exchange {at:?}");
    assert!(dir.link(at, dir, p("new")).is_err(), "link from {at:?}");
    assert!(dir.link(other, dir, at).is_err(), "link to {at:?}");
    assert!(dir.copy(at, dir, p("new"), 0o644).is_err(), "copy from {at:?}");
    assert!(dir.copy(other, dir, at, 0o644).is_err(), "copy to {at:?}");
    assert!(dir.remove_file(at).is_err(), "remove_file {at:?}");
    assert!(dir.remove_dir(at).is_err(), "remove_dir {at:?}");
    assert!(dir.set_mode(at, 0o600).is_err(), "set_mode {at:?}");
    assert!(dir.sync_at(at).is_err(), "sync_at {at:?}");
}

#[test]
fn paths_that_are_not_plain_are_refused_by_every_operation() {
    let Fixture { temp, dir } = fixture();
    let absolute = temp.path().join("out/file");
    for at in [p("../out/file"), p("sub/../../out/file"), p(".."), p("."), p("/"), absolute.as_path()] {
        all_refuse(&dir, at, p("sub/deep/file"));
        assert!(dir.open_dir(at).is_err(), "open_dir {at:?}");
        assert!(dir.stat(at).is_err(), "stat {at:?}");
        assert!(dir.is_mount(at).is_err(), "is_mount {at:?}");
        assert!(dir.remove_all(at).is_err(), "remove_all {at:?}");
    }
    all_refuse(&dir, p(""), p("sub/deep/file"));
    assert_eq!(std::fs::read(temp.path().join("out/file")).unwrap(), b"outside");
}

#[test]
fn no_operation_goes_through_a_link() {
    let Fixture { temp, dir } = fixture();
    symlink(temp.path().join("out"), temp.path().join("in/leak")).unwrap();
    symlink(temp.path().join("out"), temp.path().join("in/sub/leak")).unwrap();
    for at in [p("leak/file"), p("sub/leak/file")] {
        all_refuse(&dir, at, p("sub/deep/file"));
        assert_eq!(dir.stat(at).unwrap(), None);
        assert!(dir.remove_all(at).is_ok(), "nothing is there, as far as a directory handle can see");
    }
    for at in [p("leak/new"), p("sub/leak/new")] {
        all_refuse(&dir, at, p("sub/deep/file"));
    }
    assert!(dir.open_dir(p("leak")).is_err());
    assert!(dir.open_dir(p("sub/leak")).is_err());
    let message = dir.open_file(p("sub/leak/file")).unwrap_err().to_string();
    assert!(message.contains("symbolic link"), "{message}");
    assert_eq!(std::fs::read_dir(temp.path().join("out")).unwrap().count(), 1);
    assert_eq!(std::fs::read(temp.path().join("out/file")).unwrap(), b"outside");
}

#[test]
fn the_slow_way_down_follows_no_link_either() {
    use std::os::fd::AsFd;
    let Fixture { temp, dir } = fixture();
    symlink(temp.path().join("out"), temp.path().join("in/sub/leak")).unwrap();
    symlink(temp.path().join("out/file"), temp.path().join("in/sub/link")).unwrap();
    let flags = rustix::fs::OFlags::RDONLY;
    let walk = |at: &str| unix::walk(dir.handle.as_fd(), p(at), flags, rustix::fs::Mode::empty()).map(File::from);
    assert_eq!(read(walk("sub/deep/file").unwrap()), "inside");
    assert!(walk("sub/leak/file").is_err());
    assert!(walk("sub/link").is_err());
}

#[test]
fn a_path_longer_than_the_kernel_takes_at_once_works() {
    let Fixture { temp: _temp, dir } = fixture();
    let mut at = PathBuf::new();
    for _ in 0..30 {
        at.push("d".repeat(200));
        dir.create_dir(&at, 0o755).unwrap();
    }
    let file = at.join("file");
    dir.create_file(&file, 0o644).unwrap().write_all(b"deep").unwrap();
    assert_eq!(read(dir.open_file(&file).unwrap()), "deep");
    dir.remove_all(p(&"d".repeat(200))).unwrap();
    assert_eq!(dir.entries().unwrap().len(), 1);
}

/// A directory that becomes a link to the outside and back, all the time, while everything is done below it.
#[test]
fn a_race_against_a_link_never_leads_outside() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let Fixture { temp, dir } = fixture();
    let (real, link) = (temp.path().join("in/sub"), temp.path().join("link"));
    symlink(temp.path().join("out"), &link).unwrap();
    let stop = AtomicBool::new(false);
    let swapper = Dir::open(temp.path()).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                swapper.exchange(p("in/sub"), &swapper, p("link")).unwrap();
            }
        });
        let (mut inside, mut refused) = (0, 0);
        for n in 0..20_000 {
            if let Ok(file) = dir.open_file(p("sub/file")) {
                assert_ne!(read(file), "outside");
            }
            match dir.create_file(p("sub/new"), 0o644) {
                Ok(_) => inside += 1,
                Err(_) => refused += 1,
            }
            let _ = dir.remove_file(p("sub/new"));
            let _ = dir.remove_file(p("sub/file"));
            let _ = dir.rename(p("sub/deep/file"), &dir, p("sub/file"));
            let _ = dir.rename(p("sub/file"), &dir, p("sub/deep/file"));
            if n > 2_000 && inside > 0 && refused > 0 {
                break;
            }
        }
        stop.store(true, Ordering::Relaxed);
        assert!(inside > 0 && refused > 0, "both sides were seen: {inside} inside, {refused} refused");
    });
    assert!(real.symlink_metadata().is_ok());
    assert_eq!(std::fs::read_dir(temp.path().join("out")).unwrap().count(), 1);
    assert_eq!(std::fs::read(temp.path().join("out/file")).unwrap(), b"outside");
}

#[test]
fn modes_are_exact() {
    let Fixture { temp, dir } = fixture();
    for (n, mode) in [0o400u32, 0o644, 0o755, 0o666, 0o777, 0o000].into_iter().enumerate() {
        let (file, folder) = (format!("f{n}"), format!("d{n}"));
        dir.create_file(p(&file), mode).unwrap();
        dir.create_dir(p(&folder), mode).unwrap();
        for name in [&file, &folder] {
            let metadata = std::fs::metadata(temp.path().join("in").join(name)).unwrap();
            assert_eq!(metadata.permissions().mode() & 0o7777, mode, "{name}");
        }
    }
    dir.set_mode(p("f1"), 0o750).unwrap();
    assert_eq!(dir.stat(p("f1")).unwrap().unwrap().mode, 0o750);
}

#[test]
fn a_directory_keeps_the_group_of_its_parent() {
    let Fixture { temp, dir } = fixture();
    std::fs::set_permissions(temp.path().join("in/sub"), std::fs::Permissions::from_mode(0o2775)).unwrap();
    dir.create_dir(p("sub/new"), 0o755).unwrap();
    assert_eq!(dir.stat(p("sub/new")).unwrap().unwrap().mode, 0o2755);
}

#[test]
fn stat_says_what_the_system_says() {
    let Fixture { temp, dir } = fixture();
    let stat = dir.stat(p("sub/deep/file")).unwrap().unwrap();
    let real = std::fs::metadata(temp.path().join("in/sub/deep/file")).unwrap();
    assert_eq!((stat.kind, stat.size, stat.links), (EntryKind::File, 6, 1));
    assert_eq!((stat.inode, stat.device), (real.ino(), real.dev()));
    assert_eq!((stat.uid, stat.gid), (real.uid(), real.gid()));
    assert_eq!(stat.mtime_ns, real.mtime() * 1_000_000_000 + real.mtime_nsec());
    assert_eq!(stat.ctime_ns, real.ctime() * 1_000_000_000 + real.ctime_nsec());
    assert_eq!(dir.stat(p("nothing")).unwrap(), None);
    assert_eq!(dir.stat(p("sub/deep/file/below")).unwrap(), None);
    assert_eq!(dir.stat(p("")).unwrap(), Some(dir.stat_self().unwrap()));
}

#[test]
fn only_regular_files_are_opened_and_nothing_waits() {
    let Fixture { temp: _temp, dir } = fixture();
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mkfifoat(&dir.handle, "fifo", mode).unwrap();
    std::os::unix::net::UnixListener::bind(dir.path.join("socket")).unwrap();
    dir.symlink("sub/deep/file", p("link")).unwrap();
    for at in ["fifo", "socket", "sub", "link"] {
        assert!(dir.open_file(p(at)).is_err(), "{at}");
        assert!(dir.open_rw(p(at)).is_err(), "{at}");
    }
    assert_eq!(dir.read_link(p("link")).unwrap(), p("sub/deep/file"));
    let kinds: Vec<_> = dir.entries().unwrap().into_iter().map(|entry| entry.kind).collect();
    assert_eq!(kinds, [EntryKind::Fifo, EntryKind::Symlink, EntryKind::Socket, EntryKind::Dir]);
}

#[test]
fn entries_are_sorted_by_bytes_whatever_the_bytes() {
    use std::os::unix::ffi::OsStrExt;
    let Fixture { temp: _temp, dir } = fixture();
    let odd = std::ffi::OsStr::from_bytes(b"\xff\xfe");
    for name in [odd, "b".as_ref(), "B".as_ref(), "é".as_ref()] {
        dir.create_file(Path::new(name), 0o644).unwrap();
    }
    let names: Vec<_> = dir.entries().unwrap().into_iter().map(|entry| entry.name).collect();
    assert_eq!(names, ["B".as_ref(), "b".as_ref(), "sub".as_ref(), "é".as_ref(), odd]);
}

#[test]
fn rename_link_exchange() {
    let Fixture { temp: _temp, dir } = fixture();
    let sub = dir.open_dir(p("sub")).unwrap();
    dir.create_file(p("a"), 0o644).unwrap().write_all(b"a").unwrap();
    dir.exchange(p("a"), &sub, p("deep/file")).unwrap();
    assert_eq!(read(dir.open_file(p("a")).unwrap()), "inside");
    assert_eq!(read(sub.open_file(p("deep/file")).unwrap()), "a");
    let taken = dir.rename_new(p("a"), &sub, p("deep/file")).unwrap_err();
    assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
    dir.rename_new(p("a"), &sub, p("b")).unwrap();
    sub.rename(p("b"), &sub, p("deep/file")).unwrap();
    assert_eq!(read(sub.open_file(p("deep/file")).unwrap()), "inside");
    sub.link(p("deep/file"), &dir, p("second")).unwrap();
    assert_eq!(dir.stat(p("second")).unwrap().unwrap().links, 2);
    let taken = sub.link(p("deep/file"), &dir, p("second")).unwrap_err();
    assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
}

#[test]
fn copies_have_the_bytes_and_the_mode_and_never_half() {
    let Fixture { temp: _temp, dir } = fixture();
    let bytes = vec![7; 3 << 20];
    dir.create_file(p("large"), 0o600).unwrap().write_all(&bytes).unwrap();
    dir.copy(p("large"), &dir, p("sub/copy"), 0o755).unwrap();
    assert_eq!(std::fs::read(dir.path.join("sub/copy")).unwrap(), bytes);
    assert_eq!(dir.stat(p("sub/copy")).unwrap().unwrap().mode, 0o755);
    assert!(dir.copy(p("large"), &dir, p("sub/copy"), 0o755).is_err(), "nothing is overwritten");
    // Whether this file system can share or not: the answer and the disk agree.
    let shared = dir.reflink(p("large"), &dir, p("clone"), 0o644).unwrap();
    assert_eq!(dir.stat(p("clone")).unwrap().is_some(), shared);
}

#[test]
fn remove_all_removes_links_and_not_what_they_point_at() {
    let Fixture { temp, dir } = fixture();
    symlink(temp.path().join("out"), temp.path().join("in/sub/deep/leak")).unwrap();
    std::fs::set_permissions(temp.path().join("in/sub/deep"), std::fs::Permissions::from_mode(0o500)).unwrap();
    dir.remove_all(p("sub")).unwrap();
    dir.remove_all(p("sub")).unwrap();
    assert!(dir.entries().unwrap().is_empty());
    assert_eq!(std::fs::read(temp.path().join("out/file")).unwrap(), b"outside");
}

#[test]
#[cfg(target_os = "linux")]
fn remove_all_removes_what_its_owner_made_read_only() {
    let Fixture { temp, dir } = fixture();
    std::fs::set_permissions(temp.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::set_permissions(temp.path().join("in"), std::fs::Permissions::from_mode(0o777)).unwrap();
    crate::unprivileged::as_nobody(|| {
        for (at, mode) in [("cache", 0o755), ("cache/only", 0o755), ("cache/only/dirs", 0o755), ("cache/files", 0o755)]
        {
            dir.create_dir(p(at), mode).unwrap();
        }
        dir.create_file(p("cache/files/f"), 0o444).unwrap();
        for at in ["cache/files", "cache/only", "cache"] {
            dir.set_mode(p(at), 0o555).unwrap();
        }
        dir.remove_all(p("cache")).unwrap();
        assert_eq!(dir.stat(p("cache")).unwrap(), None);
    });
}

#[test]
fn remove_all_gives_up_on_a_directory_that_is_filled_faster() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let Fixture { temp: _temp, dir } = fixture();
    let (stop, filler) = (AtomicBool::new(false), dir.try_clone().unwrap());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let _ = filler.create_dir(p("sub/more"), 0o755);
                let _ = filler.create_dir(p("sub/more/and more"), 0o755);
            }
        });
        let removed = dir.remove_all(p("sub"));
        stop.store(true, Ordering::Relaxed);
        match removed {
            Ok(()) => assert_eq!(dir.stat(p("sub")).unwrap(), None),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::DirectoryNotEmpty, "{error}"),
        }
    });
    dir.remove_all(p("sub")).unwrap();
    assert!(dir.entries().unwrap().is_empty());
}

#[test]
fn a_mount_is_told_from_a_directory() {
    // The one mount that every Linux process can see.
    let root = Dir::open(p("/")).unwrap();
    assert!(root.is_mount(p("proc")).unwrap());
    assert!(root.is_mount(p("")).unwrap());
    assert!(root.open_dir(p("proc")).unwrap().is_mount(p("")).unwrap());
    assert!(!root.is_mount(p("proc/sys")).unwrap());
    let Fixture { temp: _temp, dir } = fixture();
    assert!(!dir.is_mount(p("sub")).unwrap());
    assert!(!dir.is_mount(p("")).unwrap());
}

#[test]
fn an_error_names_the_thing_and_no_control_character_reaches_a_terminal() {
    let Fixture { temp: _temp, dir } = fixture();
    let error = dir.open_file(p("no\u{1b}[2Jthing")).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    assert_eq!(error.raw_os_error(), Some(2));
    let message = error.to_string();
    assert!(message.starts_with("cannot open '") && message.contains("no\\u{1b}[2Jthing"), "{message}");
}
