//! A device that was installed from a folder: its directory, and the updater's own files beside it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use updraft_client::{InstallOptions, OpenOptions, Pin, Source, Updater, Verdict, install};
use updraft_testkit::{SimRepo, TreeFixture, clock};

/// The files of a home that a target may replace; the first [`RECOVERING`] of them can be had again, or do without.
pub const FILES: &[&str] = &[
    "trust/timestamp.json",
    "trust/snapshot.json",
    "trust/targets.json",
    "trust/channels.json",
    "trust/head",
    "trust/release.json",
    "downloads/tree",
    "state.json",
    "fetched.json",
    "settings.json",
    "record",
    "trust/root.json",
    "trust/pinned.root.json",
    "slot/record",
    "slot/foreign",
];
/// How many of [`FILES`] a device recovers from by itself, whatever is in them.
pub const RECOVERING: usize = 9;

/// A store to update from, and a device at its release before the newest.
pub struct Scene {
    dir: PathBuf,
}

/// What is installed at first.
const OLD: &[(&str, &str)] = &[("bin/app*", "one"), ("data/same", "same"), ("gone", "gone"), ("link@", "bin/app")];
/// What is newest.
const NEW: &[(&str, &str)] = &[("bin/app*", "two"), ("data/same", "same"), ("new/file", "new"), ("link@", "data/same")];

/// The one scene of this process. In memory, where the system has a place for that.
pub fn scene() -> &'static Scene {
    static SCENE: OnceLock<Scene> = OnceLock::new();
    SCENE.get_or_init(|| {
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        sweep(&parent);
        let scene = Scene { dir: parent.join(format!("{PREFIX}{}", std::process::id())) };
        fs::create_dir(&scene.dir).expect("a folder can be made");
        scene.build();
        scene
    })
}

/// How the folder of a scene is called, before the process id: a fuzzer is killed and tidies nothing away.
const PREFIX: &str = "updraft-fuzz-";

/// Removes what earlier processes left behind.
fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).expect("a folder can be read").flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

impl Scene {
    fn build(&self) {
        fs::create_dir(self.dir.join("around")).expect("a folder can be made");
        fs::write(self.sentinel(), "untouched").expect("a file can be written");
        let mut repo = SimRepo::new("demo");
        let mut publish = |version: &str, files: &[(&str, &str)]| {
            let release = repo.publish(version, "any", &TreeFixture::of(files));
            repo.promote("stable", &release);
            repo.write_to(&self.store());
        };
        publish("1.0.0", NEW);
        let source = Source::folder(&self.store().join("apps/demo")).expect("the store is a source");
        let root = fs::read(self.store().join("apps/demo/root.json")).expect("an app has a root");
        let options = InstallOptions { in_place: true, ..InstallOptions::new(source, Pin::RootFile(root)) };
        let mut updater = Updater::install(&self.installed(), options).expect("it can be installed");
        self.update(&mut updater);
        publish("1.1.0", OLD);
        self.update(&mut updater);
        drop(updater);
        copy(&self.home(), &self.dir.join("pristine home"));
        copy(&self.installed(), &self.dir.join("pristine"));
        publish("1.2.0", NEW);
    }

    fn update(&self, updater: &mut Updater) {
        let Verdict::Available(update) = updater.check(clock::now()).expect("an honest store is believed") else {
            panic!("there is an update");
        };
        let staged = updater.download(&update, &()).expect("it can be downloaded");
        updater.apply(staged, &install::Options::default(), clock::now()).expect("it can be applied");
    }

    fn store(&self) -> PathBuf {
        self.dir.join("store")
    }

    /// The installed directory.
    pub fn installed(&self) -> PathBuf {
        self.dir.join("around/app")
    }

    /// The updater's own files.
    pub fn home(&self) -> PathBuf {
        self.dir.join("around/app.updraft")
    }

    fn sentinel(&self) -> PathBuf {
        self.dir.join("around/sentinel")
    }

    /// Puts everything back as it was after the install.
    pub fn restore(&self) {
        for (place, pristine) in [(self.home(), "pristine home"), (self.installed(), "pristine")] {
            fs::remove_dir_all(&place).expect("a folder can be removed");
            copy(&self.dir.join(pristine), &place);
        }
    }

    /// What the updater says of a directory whose home holds `bytes` in the place of `file`. Nothing that is there may make
    /// it panic.
    pub fn open(&self) -> Result<Updater, updraft_client::Error> {
        let _ = updraft_client::status(&self.installed(), clock::now());
        Updater::open(&self.installed(), OpenOptions { jobs: 1, ..OpenOptions::default() })
    }

    /// Asserts that nothing around the installed directory was touched.
    pub fn assert_untouched(&self) {
        let mut names: Vec<_> = fs::read_dir(self.dir.join("around"))
            .expect("a folder can be read")
            .map(|entry| entry.expect("an entry can be read").file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["app", "app.updraft", "sentinel"]);
        assert_eq!(fs::read(self.sentinel()).expect("it is there"), b"untouched");
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).expect("a folder can be made");
    for entry in fs::read_dir(from).expect("a folder can be read") {
        let from = entry.expect("an entry can be read").path();
        let to = to.join(from.file_name().expect("an entry has a name"));
        let meta = from.symlink_metadata().expect("an entry can be looked at");
        if meta.is_dir() {
            copy(&from, &to);
        } else if meta.is_symlink() {
            symlink(fs::read_link(&from).expect("a link can be read"), &to).expect("a link can be made");
        } else {
            fs::copy(&from, &to).expect("a file can be copied");
        }
    }
}
