//! Installing, seen from outside: what is in `DIR` before and after, both ways.

mod crash;
pub(super) mod fault;
mod late;
mod lifecycle;
mod people;
mod places;
mod random;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use updraft_core::name::{ChannelName, Platform};
use updraft_core::plan::{self, Offers};
use updraft_core::release::{Notes, Release, Terms, TreeRef};
use updraft_core::tree::{codec, stored};
use updraft_testkit::TreeFixture;

use super::*;
use crate::home::{Access, Settings};

/// Both ways, for tests that hold for each.
const WAYS: [bool; 2] = [false, true];

/// An installed directory in a directory of its own.
struct Device {
    temp: tempfile::TempDir,
    in_place: bool,
    home: Option<Home>,
}

impl Device {
    fn new(in_place: bool) -> Self {
        let mut device = Self { temp: scratch(), in_place, home: None };
        device.home = Some(Home::create(&device.dir(), &device.settings()).unwrap());
        device
    }

    /// With this release, confirmed.
    fn with(in_place: bool, version: &str, tree: &TreeFixture) -> Self {
        let mut device = Self::new(in_place);
        device.apply(version, tree, &Options::default()).unwrap();
        device
    }

    fn settings(&self) -> Settings {
        Settings {
            format: 1,
            app: "demo".parse().unwrap(),
            source: "https://updates.example/apps/demo".into(),
            channel: ChannelName::stable(),
            platform: Platform::any(),
            root: None,
            ca: None,
            device: "00".repeat(16),
            in_place: self.in_place,
        }
    }

    fn dir(&self) -> PathBuf {
        self.temp.path().join("app")
    }

    fn path(&self, at: &str) -> PathBuf {
        self.dir().join(at)
    }

    fn folder(&self, at: &str) -> PathBuf {
        match self.home.as_ref().map(Home::place) {
            Some(Place::Inside) => self.path(".updraft").join(at),
            _ => self.temp.path().join("app.updraft").join(at),
        }
    }

    fn home(&mut self) -> &mut Home {
        self.home.as_mut().unwrap()
    }

    /// As a new process would: opens and recovers.
    fn restart(&mut self) -> Recovered {
        self.home = None;
        let mut home = Home::open(&self.dir(), Access::Change).unwrap();
        let recovered = recover(&mut home).unwrap();
        self.home = Some(home);
        recovered
    }

    /// What a download would leave.
    fn stage(&self, version: &str, tree: &TreeFixture) -> Result<Staged, Error> {
        let home = self.home.as_ref().unwrap();
        let want = tree.tree();
        let release = release(version, &want);
        let plan = plan::plan(&have(home, &want)?, &want, &Offers::default());
        let downloads = home.downloads()?;
        for fetch in &plan.fetch {
            let at = downloads.path().join(fetch.digest.to_string());
            if !at.exists() {
                fs::write(&at, &tree.contents()[&fetch.digest]).unwrap();
                age(&at);
            }
        }
        Ok(Staged {
            document: release.encode(),
            packed_tree: stored::pack(&want, &stored::Hint::new()),
            release,
            tree: want,
            price: crate::check::Price::of(&plan, 0),
            plan,
            fell_back: None,
            chooser: Chooser::Channel,
        })
    }

    fn apply(&mut self, version: &str, tree: &TreeFixture, options: &Options) -> Result<Applied, Error> {
        let staged = self.stage(version, tree)?;
        apply(self.home(), staged, options)
    }

    /// Asserts that the directory holds this release and these foreign entries, and nothing else.
    #[track_caller]
    fn assert_holds(&self, tree: &TreeFixture, foreign: &[(&str, &str)]) {
        let mut expected = snapshot_of(tree);
        for (path, content) in foreign {
            let path = Path::new(path);
            for above in path.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()) {
                expected.entry(above.to_owned()).or_insert(Entry::Dir(0o755));
            }
            expected.insert(path.to_owned(), Entry::File(0o644, content.as_bytes().to_vec()));
        }
        assert_same(&snapshot(&self.dir()), &expected);
        self.assert_at_rest();
    }

    /// Asserts that no update is under way, and that the record tells the truth.
    #[track_caller]
    fn assert_at_rest(&self) {
        for left in ["stage", "journal", "trash", "stage/new"] {
            assert!(!self.folder(left).exists(), "{left} was left over");
        }
        let scratch = |name: &OsStr| name.to_string_lossy().starts_with(".updraft-");
        assert!(!fs::read_dir(self.folder("")).unwrap().any(|entry| scratch(&entry.unwrap().file_name())));
    }

    fn version(&self) -> Option<String> {
        let record = self.home.as_ref().unwrap().record().unwrap();
        record.map(|record| record.release.version.as_str().to_owned())
    }

    /// Every file under `backup/`, by its path in its folder there, with its content.
    fn backups(&self) -> Vec<(String, String)> {
        let mut found = Vec::new();
        for (path, entry) in snapshot(&self.folder("backup")) {
            if let Entry::File(_, content) = entry {
                found.push((path.display().to_string(), String::from_utf8_lossy(&content).into_owned()));
            }
        }
        found
    }
}

/// In memory where that can be had: these tests sync thousands of times, and no power fails in them.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn release(version: &str, tree: &Tree) -> Release {
    Release {
        format: 1,
        app: "demo".parse().unwrap(),
        version: version.parse().unwrap(),
        platform: Platform::any(),
        date: "2026-01-02T03:04:05Z".parse().unwrap(),
        notes: Notes::default(),
        tree: TreeRef {
            digest: tree.digest(),
            length: codec::encode(tree).len() as u64,
            files: tree.file_count(),
            bytes: tree.byte_count(),
            stored: tree.byte_count(),
        },
        terms: Terms::default(),
        from: Vec::new(),
    }
}

/// Says why a test did not run: past the runner, which shows nothing of a test that passes.
fn skipped(reason: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "skipped: {reason}");
}

const NOBODY: u32 = 65_534;

/// Runs `run` on a thread that is nobody, when the tests run as root: rights belong to a thread.
fn as_nobody<T: Send>(run: impl FnOnce() -> T + Send) -> T {
    use rustix::fs::{Gid, Uid};
    use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
    let nobody = || {
        let (user, group) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
        set_thread_groups(&[]).unwrap();
        set_thread_res_gid(group, group, group).unwrap();
        set_thread_res_uid(user, user, user).unwrap();
        run()
    };
    std::thread::scope(|scope| scope.spawn(nobody).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Gives `at` and everything in it to a user.
fn give_all(at: &Path, user: u32) {
    std::os::unix::fs::lchown(at, Some(user), Some(user)).unwrap();
    if at.symlink_metadata().unwrap().is_dir() {
        fs::read_dir(at).unwrap().for_each(|entry| give_all(&entry.unwrap().path(), user));
    }
}

/// Lets a file be older than the tick of the file system's clock.
fn age(at: &Path) {
    let file = fs::File::open(at).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(3_600)).unwrap();
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    File(u32, Vec<u8>),
    Dir(u32),
    Link(PathBuf),
    Other(String),
}

/// Everything in a directory but a home inside it; nothing if it is missing.
fn snapshot(dir: &Path) -> BTreeMap<PathBuf, Entry> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![PathBuf::new()];
    while let Some(at) = waiting.pop() {
        let Ok(entries) = fs::read_dir(dir.join(&at)) else { continue };
        for entry in entries {
            let entry = entry.unwrap();
            let path = at.join(entry.file_name());
            if path == Path::new(".updraft") {
                continue;
            }
            let meta = entry.metadata().unwrap();
            let mode = meta.permissions().mode() & 0o7777;
            let kind = match meta.file_type() {
                kind if kind.is_dir() => {
                    waiting.push(path.clone());
                    Entry::Dir(mode)
                }
                kind if kind.is_symlink() => Entry::Link(fs::read_link(entry.path()).unwrap()),
                kind if kind.is_file() => Entry::File(mode, fs::read(entry.path()).unwrap()),
                kind if kind.is_socket() => Entry::Other("socket".into()),
                kind => Entry::Other(format!("{kind:?}")),
            };
            found.insert(path, kind);
        }
    }
    found
}

fn snapshot_of(tree: &TreeFixture) -> BTreeMap<PathBuf, Entry> {
    let entry = |kind: &Kind| match kind {
        Kind::File { mode, digest, .. } => Entry::File(*mode, tree.contents()[digest].clone()),
        Kind::Dir { mode } => Entry::Dir(*mode),
        Kind::Symlink { target } => Entry::Link(target.into()),
    };
    tree.tree().iter().map(|(path, kind)| (path.as_str().into(), entry(kind))).collect()
}

#[track_caller]
fn assert_same(found: &BTreeMap<PathBuf, Entry>, expected: &BTreeMap<PathBuf, Entry>) {
    for (path, entry) in expected {
        assert_eq!(found.get(path), Some(entry), "{} is not as expected", path.display());
    }
    let more: Vec<_> = found.keys().filter(|path| !expected.contains_key(*path)).collect();
    assert!(more.is_empty(), "there is more than expected: {more:?}");
}

/// Two releases that differ in every way that two releases can.
fn pair() -> (TreeFixture, TreeFixture) {
    let deep = "d/e/e/p";
    let old = TreeFixture::of(&[
        ("bin/app*", "app 1"),
        ("same", "the same in both"),
        ("lib/moved-from", "moved"),
        ("twin", "one of a kind"),
        ("gone/with/it", "removed"),
        ("file-to-dir", "a file"),
        ("dir-to-file/inner", "inside"),
        ("file-to-link", "a file"),
        ("link-to-file@", "same"),
        ("link-to-dir@", "lib"),
        ("dir-to-link/x", "x"),
        ("link@", "same"),
        ("Case", "case"),
        ("mode", "mode"),
        ("empty", ""),
        ("kept-dir/", ""),
        (&format!("{deep}/leaf"), "deep 1"),
    ])
    .with_mode("read-only", b"read only 1", 0o444);
    let new = TreeFixture::of(&[
        ("bin/app*", "app 2"),
        ("same", "the same in both"),
        ("share/moved-to", "moved"),
        ("twin", "one of a kind"),
        ("twin-2", "one of a kind"),
        ("fresh-twin-1", "fresh"),
        ("fresh-twin-2", "fresh"),
        ("file-to-dir/inner", "inside"),
        ("dir-to-file", "a file"),
        ("file-to-link@", "same"),
        ("link-to-file", "a file now"),
        ("link-to-dir/x", "in a directory"),
        ("dir-to-link@", "share"),
        ("link@", "twin"),
        ("CASE", "case 2"),
        ("mode*", "mode"),
        ("empty", "not any more"),
        ("empty-now", ""),
        (&format!("{deep}/leaf"), "deep 2"),
    ])
    .with_mode("read-only", b"read only 2", 0o444);
    (old, new)
}
