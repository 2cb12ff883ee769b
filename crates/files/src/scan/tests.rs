//! What a scan finds, refuses, tells and does not hash twice.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use updraft_core::tree::{Kind, dir_mode, file_mode};

use super::*;
use crate::unprivileged::as_nobody;

fn path(text: &str) -> RelPath {
    text.parse().unwrap()
}

/// A temporary directory with these files, all last written long ago.
fn dir_with(files: &[(&str, &str)]) -> (tempfile::TempDir, Dir) {
    let temp = tempfile::tempdir().unwrap();
    for (at, content) in files {
        put(temp.path(), at, content);
        age(&temp.path().join(at));
    }
    let dir = Dir::open(temp.path()).unwrap();
    (temp, dir)
}

fn put(root: &Path, at: &str, content: &str) {
    let at = root.join(at);
    fs::create_dir_all(at.parent().unwrap()).unwrap();
    fs::write(at, content).unwrap();
}

/// Sets a file's modification time to the year 2001: long before any scan.
fn age(at: &Path) {
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    fs::File::open(at).unwrap().set_modified(then).unwrap();
}

fn scan_all(dir: &Dir) -> Result<Scan, Error> {
    scan(dir, &Options::default(), &Index::new(), &|_| ())
}

/// Scans with `known`, and tells how many bytes were hashed.
fn hashed(dir: &Dir, known: &Index) -> (Scan, u64) {
    let count = AtomicU64::new(0);
    let scan = scan(dir, &Options::default(), known, &|len| add(&count, len)).unwrap();
    (scan, count.into_inner())
}

fn add(count: &AtomicU64, len: u64) {
    count.fetch_add(len, Ordering::Relaxed);
}

/// As [`scan`], with `opened` called whenever a file was opened and is not read yet.
fn scan_while(dir: &Dir, opened: &(dyn Fn(&RelPath) + Sync)) -> Result<Scan, Error> {
    scan_hooked(dir, &Options::default(), &Index::new(), &Hooks { progress: &|_| (), opened })
}

fn digest_at(scan: &Scan, at: &str) -> Option<Digest> {
    match scan.tree.get(&path(at)) {
        Some(Kind::File { digest, .. }) => Some(*digest),
        _ => None,
    }
}

fn paths(scan: &Scan) -> Vec<&str> {
    scan.tree.iter().map(|(path, _)| path.as_str()).collect()
}

// ---- there and back -----------------------------------------------------------------------------------------------

#[derive(Debug, Clone)]
enum Thing {
    File(Vec<u8>, u32),
    Dir(u32),
    Link(String),
}

/// Any directory that can be released: names with spaces and letters of the world, any modes, links inside.
fn any_dir() -> impl Strategy<Value = BTreeMap<String, Thing>> {
    let name = || prop_oneof![4 => "[a-d]{1,2}", 1 => Just("é ü".to_owned()), 1 => Just(".名前".to_owned())];
    let at = proptest::collection::vec(name(), 1..4).prop_map(|names| names.join("/"));
    let thing = prop_oneof![
        5 => (proptest::collection::vec(any::<u8>(), 0..40), 0u32..0o1000).prop_map(|(bytes, mode)| Thing::File(bytes, mode)),
        2 => (0u32..0o1000).prop_map(Thing::Dir),
        1 => "[a-d]{1,2}(/[a-d])?".prop_map(Thing::Link),
    ];
    proptest::collection::btree_map(at, thing, 0..16).prop_map(|mut things| {
        // What lies inside something that is no directory goes.
        let is_dir = |thing: Option<&Thing>| matches!(thing, None | Some(Thing::Dir(_)));
        let all = things.clone();
        things.retain(|at, _| {
            let above = at.match_indices('/').map(|(end, _)| &at[..end]);
            above.into_iter().all(|above| is_dir(all.get(above)))
        });
        things
    })
}

/// Makes the directory with nothing of ours.
fn make(root: &Path, things: &BTreeMap<String, Thing>) {
    for (at, thing) in things {
        let at = root.join(at);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        match thing {
            Thing::File(bytes, mode) => {
                fs::write(&at, bytes).unwrap();
                fs::set_permissions(&at, fs::Permissions::from_mode(mode | 0o400)).unwrap();
            }
            Thing::Dir(_) => fs::create_dir_all(&at).unwrap(),
            Thing::Link(target) => symlink(target, &at).unwrap(),
        }
    }
    for (at, thing) in things {
        if let Thing::Dir(mode) = thing {
            fs::set_permissions(root.join(at), fs::Permissions::from_mode(mode | 0o700)).unwrap();
        }
    }
}

/// Reads a directory with nothing of ours: path to kind, allowed mode, bytes or target.
fn describe(root: &Path, at: PathBuf, found: &mut BTreeMap<PathBuf, (char, u32, Vec<u8>)>) {
    for entry in fs::read_dir(root.join(&at)).unwrap() {
        let entry = entry.unwrap();
        let place = at.join(entry.file_name());
        let metadata = entry.metadata().unwrap();
        let mode = metadata.permissions().mode() & 0o7777;
        if metadata.is_dir() {
            found.insert(place.clone(), ('d', dir_mode(mode), Vec::new()));
            describe(root, place, found);
        } else if metadata.is_symlink() {
            let target = fs::read_link(root.join(&place)).unwrap();
            found.insert(place, ('l', 0, target.as_os_str().as_bytes().to_vec()));
        } else {
            let bytes = fs::read(root.join(&place)).unwrap();
            found.insert(place, ('f', file_mode(mode), bytes));
        }
    }
}

fn described(root: &Path) -> BTreeMap<PathBuf, (char, u32, Vec<u8>)> {
    let mut found = BTreeMap::new();
    describe(root, PathBuf::new(), &mut found);
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_scanned_directory_is_written_as_it_was(things in any_dir()) {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        make(one.path(), &things);
        let dir = Dir::open(one.path()).unwrap();
        let scanned = scan_all(&dir).unwrap();
        prop_assert!(scanned.skipped.is_empty());
        let contents: BTreeMap<Digest, Vec<u8>> = scanned.tree.files()
            .map(|file| (file.digest, fs::read(one.path().join(file.path.as_str())).unwrap()))
            .collect();
        let copy = Dir::open(two.path()).unwrap();
        let content = |digest: &Digest| Ok(Box::new(contents[digest].as_slice()) as Box<dyn Read>);
        crate::write::write(&copy, &scanned.tree, &content).unwrap();
        prop_assert_eq!(described(two.path()), described(one.path()));
        let again = scan_all(&copy).unwrap();
        prop_assert_eq!(again.tree, scanned.tree);
    }
}

// ---- what is not hashed -------------------------------------------------------------------------------------------

#[test]
fn what_did_not_change_is_not_hashed_again() {
    let (temp, dir) = dir_with(&[("a", "one"), ("sub/b", "three"), ("sub/c", "seven..")]);
    let (first, count) = hashed(&dir, &Index::new());
    assert_eq!(count, 3 + 5 + 7);
    assert_eq!(first.index.len(), 3);
    let (second, count) = hashed(&dir, &Index::decode(&first.index.encode()).unwrap());
    assert_eq!(count, 0);
    assert_eq!((&second.tree, &second.index), (&first.tree, &first.index));

    // The same length and the same modification time, and yet another file.
    put(temp.path(), "sub/b", "THREE");
    age(&temp.path().join("sub/b"));
    let (third, count) = hashed(&dir, &first.index);
    assert_eq!(count, 5);
    assert_eq!(digest_at(&third, "sub/b"), Some(Digest::of(b"THREE")));
}

#[test]
fn a_file_written_just_now_is_hashed_again_next_time() {
    let (temp, dir) = dir_with(&[("old", "old")]);
    put(temp.path(), "new", "new");
    let (scan, _) = hashed(&dir, &Index::new());
    assert_eq!(scan.index.len(), 1, "a write within the same tick would go unseen");
    // The trap itself: other bytes, same length, same stamp as far as the clock of the file system can tell.
    let (scan, count) = hashed(&dir, &scan.index);
    assert_eq!(count, 3);
    age(&temp.path().join("new"));
    let (scan, _) = hashed(&dir, &scan.index);
    assert_eq!(hashed(&dir, &scan.index).1, 0);
}

#[test]
fn a_file_from_the_future_is_never_believed() {
    let (temp, dir) = dir_with(&[]);
    put(temp.path(), "new", "new");
    let file = fs::File::open(temp.path().join("new")).unwrap();
    file.set_modified(SystemTime::now() + Duration::from_secs(3_600)).unwrap();
    assert!(scan_all(&dir).unwrap().index.is_empty());
}

#[test]
fn progress_adds_up_to_every_byte() {
    let large = "x".repeat(5 << 20);
    let many: Vec<String> = (0..50).map(|n| format!("many/{n}")).collect();
    let mut files: Vec<(&str, &str)> = many.iter().map(|at| (at.as_str(), "12345")).collect();
    files.extend([("large", large.as_str()), ("empty", "")]);
    let (_temp, dir) = dir_with(&files);
    let (scan, count) = hashed(&dir, &Index::new());
    assert_eq!(count, (5 << 20) + 50 * 5);
    assert_eq!(scan.tree.byte_count(), count);
    assert_eq!(digest_at(&scan, "large"), Some(Digest::of(large.as_bytes())));
}

// ---- what moves ---------------------------------------------------------------------------------------------------

#[test]
fn a_file_that_changes_once_is_read_again() {
    let (temp, dir) = dir_with(&[("a", "before"), ("b", "still")]);
    let once = AtomicU32::new(0);
    let scan = scan_while(&dir, &|path| {
        if path.as_str() == "a" && once.fetch_add(1, Ordering::Relaxed) == 0 {
            put(temp.path(), "a", "after it");
            put(temp.path(), "new", "appeared");
        }
    });
    let scan = scan.unwrap();
    assert_eq!(digest_at(&scan, "a"), Some(Digest::of(b"after it")));
    assert_eq!(digest_at(&scan, "b"), Some(Digest::of(b"still")));
    assert_eq!(digest_at(&scan, "new"), Some(Digest::of(b"appeared")), "one moment, not a mixture");
}

#[test]
fn a_file_that_changes_after_it_was_hashed_is_noticed() {
    let (temp, dir) = dir_with(&[("a", "before")]);
    let seen = Mutex::new(Vec::new());
    put(temp.path(), "z", "z");
    age(&temp.path().join("z"));
    let scan = scan_while(&dir, &|path| {
        let mut seen = seen.lock().unwrap();
        // When the second file is opened the first may have been hashed already.
        if seen.len() == 1 {
            let first: &RelPath = &seen[0];
            put(temp.path(), first.as_str(), "changed");
        }
        seen.push(path.clone());
    });
    let scan = scan.unwrap();
    let first = seen.lock().unwrap()[0].clone();
    assert_eq!(digest_at(&scan, first.as_str()), Some(Digest::of(b"changed")));
}

#[test]
fn a_file_that_never_keeps_still_is_named() {
    let (temp, dir) = dir_with(&[("quiet", "quiet"), ("logs/busy", "0")]);
    let count = AtomicU32::new(0);
    let busy = |path: &RelPath| {
        if path.as_str() == "logs/busy" {
            let longer = "x".repeat(2 + count.fetch_add(1, Ordering::Relaxed) as usize);
            put(temp.path(), "logs/busy", &longer);
        }
    };
    let error = scan_while(&dir, &busy).unwrap_err();
    assert!(matches!(&error, Error::Changing { paths, .. } if paths.len() == 1), "{error}");
    assert!(error.to_string().contains("logs/busy"), "{error}");
    assert_eq!(count.load(Ordering::Relaxed), TRIES_MAX);
}

#[test]
fn a_file_that_goes_away_is_not_there() {
    let (temp, dir) = dir_with(&[("a", "a"), ("sub/gone", "gone")]);
    let scan = scan_while(&dir, &|path| {
        if path.as_str() == "a" {
            let _ = fs::remove_dir_all(temp.path().join("sub"));
        }
    });
    assert_eq!(paths(&scan.unwrap()), ["a"]);
}

#[test]
fn a_directory_that_becomes_a_link_leads_nowhere() {
    let become_link = |root: &Path, target: &Path| {
        let sub = root.join("sub");
        if sub.symlink_metadata().is_ok_and(|sub| sub.is_dir()) {
            fs::remove_dir_all(&sub).unwrap();
            symlink(target, &sub).unwrap();
        }
    };
    // Within the tree it is a link like any other, and what lies behind it is listed where it is, once.
    let (temp, dir) = dir_with(&[("a", "a"), ("real/secret", "real"), ("sub/secret", "ours")]);
    let replaced = Mutex::new(false);
    let scan = scan_while(&dir, &|_| {
        let mut replaced = replaced.lock().unwrap();
        if !std::mem::replace(&mut *replaced, true) {
            become_link(temp.path(), Path::new("real"));
        }
    });
    assert_eq!(paths(&scan.unwrap()), ["a", "real", "real/secret", "sub"]);

    let outside = tempfile::tempdir().unwrap();
    put(outside.path(), "secret", "not ours");
    let (temp, dir) = dir_with(&[("sub/secret", "ours")]);
    let error = scan_while(&dir, &|_| become_link(temp.path(), outside.path())).unwrap_err();
    assert!(matches!(&error, Error::Refused { .. }) && error.to_string().contains("symlink 'sub'"), "{error}");
}

// ---- what is refused ----------------------------------------------------------------------------------------------

#[test]
fn everything_that_cannot_be_released_is_told_in_one_message() {
    let (temp, dir) = dir_with(&[
        ("fine", ""),
        ("con.txt", ""),
        ("sub/what?", ""),
        ("sub/ends.", ""),
        ("Readme", ""),
        ("README", ""),
        ("caf\u{e9}", ""),
        ("cafe\u{301}", ""),
        ("bad:/inside", ""),
    ]);
    fs::write(temp.path().join(std::ffi::OsStr::from_bytes(b"latin\xe9")), "").unwrap();
    symlink("../outside", temp.path().join("leaves")).unwrap();
    symlink("/etc/passwd", temp.path().join("sub/absolute")).unwrap();
    symlink("../fine", temp.path().join("sub/stays")).unwrap();
    let error = scan_all(&dir).unwrap_err();
    let Error::Refused { problems, .. } = &error else { panic!("{error}") };
    assert_eq!(problems.len(), 9, "{error}");
    let message = error.to_string();
    for name in ["con.txt", "sub/what?", "sub/ends.", "README", "caf\u{e9}", "bad:", "latin", "leaves", "sub/absolute"]
    {
        assert!(message.contains(name), "{name} is missing in: {message}");
    }
    assert!(!message.contains("stays") && !message.contains("inside"), "{message}");
}

#[test]
fn a_thousand_problems_are_a_short_message() {
    let (temp, dir) = dir_with(&[]);
    for n in 0..1_000 {
        fs::write(temp.path().join(format!("aux.{n}")), "").unwrap();
    }
    let error = scan_all(&dir).unwrap_err();
    assert!(matches!(&error, Error::Refused { problems, .. } if problems.len() == 1_000));
    let message = error.to_string();
    assert!(message.ends_with("and 980 more") && message.lines().count() == 22, "{message}");
}

#[test]
fn a_control_character_in_a_name_does_not_reach_a_terminal() {
    let (_temp, dir) = dir_with(&[("red\u{1b}[31m", ""), ("line\nbreak", "")]);
    let message = scan_all(&dir).unwrap_err().to_string();
    assert!(!message.contains('\u{1b}') && message.lines().count() == 3, "{message:?}");
}

#[test]
fn a_missing_directory_and_a_file_in_its_place_are_errors() {
    let (temp, dir) = dir_with(&[("file", "")]);
    for at in ["missing", "file"] {
        let error = Dir::open(&temp.path().join(at)).unwrap_err().to_string();
        assert!(error.contains(at), "{error}");
    }
    fs::remove_dir_all(temp.path()).unwrap();
    assert!(
        scan_all(&dir).map(|scan| scan.tree.is_empty()).unwrap_or(true),
        "a directory that was removed holds nothing"
    );
}

#[test]
fn what_may_not_be_read_is_named_all_at_once() {
    let (temp, dir) = dir_with(&[("fine", "fine"), ("secret", "s"), ("closed/inside", "i"), ("other", "o")]);
    fs::set_permissions(temp.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for (at, mode) in [("secret", 0o200), ("other", 0o000), ("closed", 0o000)] {
        fs::set_permissions(temp.path().join(at), fs::Permissions::from_mode(mode)).unwrap();
    }
    let error = as_nobody(|| scan_all(&dir).unwrap_err());
    let message = error.to_string();
    assert!(matches!(&error, Error::Refused { .. }) && message.contains("closed"), "{message}");
    fs::set_permissions(temp.path().join("closed"), fs::Permissions::from_mode(0o755)).unwrap();
    let message = as_nobody(|| scan_all(&dir).unwrap_err()).to_string();
    assert!(message.contains("secret") && message.contains("other"), "{message}");
}

// ---- what is left out ---------------------------------------------------------------------------------------------

#[test]
fn pipes_and_sockets_are_skipped_with_a_reason() {
    let (temp, dir) = dir_with(&[("a", "a")]);
    rustix::fs::mkfifoat(dir.as_file(), "pipe", rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(temp.path().join("socket")).unwrap();
    let scan = scan_all(&dir).unwrap();
    assert_eq!(paths(&scan), ["a"]);
    assert_eq!(scan.skipped, ["'pipe' is a named pipe", "'socket' is a socket"]);
}

#[test]
fn git_and_the_ignored_and_the_updaters_own_are_left_out() {
    let (_temp, dir) = dir_with(&[
        (".git/config", ""),
        ("sub/.git", "gitdir: elsewhere"),
        (".gitignore", "kept"),
        ("kept", "k"),
        (".hidden", "h"),
        (".updraft/home", ""),
        ("sub/.updraft/x", "content"),
        ("build/out", ""),
        ("aux.log", "a bad name, but ignored"),
        (IGNORE_FILE, "build/\n*.log\n"),
        ("release.json", ""),
        ("sub/release.json", ""),
    ]);
    let ignore = Ignore::read(&dir).unwrap();
    let options = Options { ignore, top_level_excluded: |name| name == "release.json" };
    let scan = scan(&dir, &options, &Index::new(), &|_| ()).unwrap();
    let expected = [".gitignore", ".hidden", "kept", "sub", "sub/.updraft", "sub/.updraft/x", "sub/release.json"];
    assert_eq!(paths(&scan), expected);
    assert_eq!(scan.skipped, ["'.updraft' is the updater's own folder"]);
}

#[test]
fn no_ignore_file_is_no_ignore_and_a_link_is_none() {
    let (temp, dir) = dir_with(&[("other", "*")]);
    assert!(Ignore::read(&dir).unwrap().is_none());
    symlink("other", temp.path().join(IGNORE_FILE)).unwrap();
    assert!(matches!(Ignore::read(&dir), Err(Error::Dir(_))));
}
