//! Devices that update by patch from a real server: the patch as it should be, and everything that can be wrong with it
//! or with what it is made from. Whatever happens, the device ends at the new release, to the byte.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;
use updraft_testkit::noise;

use crate::support::{Server, agent, assert_same_tree, listing, run, updraft, write_tree};

/// A server with two releases, a device at the old one, and the patch between the two, which nobody serves yet.
struct Scene {
    home: tempfile::TempDir,
    server: Server,
    old: PathBuf,
    new: PathBuf,
    device: PathBuf,
    /// Where the patch lies in the store.
    object: PathBuf,
    patch: Vec<u8>,
    /// What `patch explain` says of it.
    explained: Value,
}

impl Scene {
    fn new(old: &Path, new: &Path) -> Self {
        let home = tempfile::tempdir().unwrap();
        let server = Server::start(home.path(), &[]);
        let root = server.create_app("app");
        server.publish("app", old, "1.0").ok();
        let device = home.path().join("device");
        server.install("app", &root, &device).ok();
        server.publish("app", new, "1.1").ok();
        let made = home.path().join("patch");
        make_patch(old, new, &made);
        let explained = run(updraft().args(["patch", "explain", "--json"]).arg(&made)).ok().json();
        let name = |field: &str| explained[field].as_str().unwrap().to_owned();
        let object = home.path().join("data/store/apps/app/patches").join(name("from")).join(name("to"));
        let patch = fs::read(&made).unwrap();
        Self { home, server, old: old.to_owned(), new: new.to_owned(), device, object, patch, explained }
    }

    /// Lets the server have this for a patch, or nothing.
    fn serve(&self, object: Option<&[u8]>) {
        let _ = fs::remove_file(&self.object);
        if let Some(bytes) = object {
            fs::create_dir_all(self.object.parent().unwrap()).unwrap();
            fs::write(&self.object, bytes).unwrap();
        }
    }

    /// Updates, and tells how the release got there; then goes back.
    fn taken(&self) -> Value {
        let said = agent("update", &self.device, &["--json"]).ok();
        assert_same_tree(&self.new, &self.device);
        agent("verify", &self.device, &[]).ok();
        let left = fs::read_dir(self.home.path().join("device.updraft/downloads")).unwrap().count();
        assert_eq!(left, 0, "nothing is left over");
        let status = agent("status", &self.device, &["--json"]).ok().json();
        let mut told = said.json()["fetched"].clone();
        for derived in ["saved_bytes", "saved_percent"] {
            told.as_object_mut().unwrap().remove(derived).unwrap();
        }
        assert_eq!(status["fetched"], told, "it is remembered");
        agent("rollback", &self.device, &[]).ok();
        assert_same_tree(&self.old, &self.device);
        told
    }

    /// Updates by whole files, because the patch was no good, for a reason with these words.
    fn falls_back(&self, reason: &str) {
        let told = self.taken();
        assert_eq!(told["by"], "blobs", "{told}");
        let found = told["fell_back"]["reason"].as_str().unwrap_or_else(|| panic!("{reason}: {told}"));
        assert!(found.contains(reason), "{reason}: {told}");
    }

    /// A file that is the same in both releases; one that the patch reads, or one that it does not.
    fn same_file(&self, is_read: bool) -> PathBuf {
        let bases: BTreeSet<u64> =
            self.explained["bases"].as_array().unwrap().iter().map(|base| base["number"].as_u64().unwrap()).collect();
        let (old, new) = (listing(&self.old), listing(&self.new));
        let mut seen = BTreeSet::new();
        let files = old.iter().filter(|(_, what)| !what.starts_with("dir") && !what.starts_with("->"));
        let contents = files.filter(|(_, what)| {
            let (size, digest) = what.split_once(' ').unwrap().1.split_once(' ').unwrap();
            size != "0" && seen.insert(digest.to_owned())
        });
        let twins = |what: &str| {
            let digest = what.rsplit(' ').next().unwrap();
            old.values().filter(|other| other.ends_with(digest)).count() > 1
        };
        let found = contents.zip(1..).find(|((name, what), number)| {
            bases.contains(number) == is_read && !twins(what) && (is_read || new.get(*name) == Some(what))
        });
        found.expect("there is one").0.0.into()
    }
}

fn make_patch(old: &Path, new: &Path, to: &Path) {
    run(updraft().args(["patch", "make"]).args([old, new]).arg("-o").arg(to)).ok();
}

/// A good patch, between two other trees.
fn anothers_patch(home: &Path) -> Vec<u8> {
    let [one, two, patch] = ["one", "two", "theirs"].map(|name| home.join(name));
    write_tree(&one, &[("app", "one of another app")]);
    write_tree(&two, &[("app", "two of another app")]);
    make_patch(&one, &two, &patch);
    fs::read(patch).unwrap()
}

/// Every way in which an update by patch can go, one after the other on one device.
fn every_way(scene: &Scene) {
    let Scene { device, patch, .. } = scene;
    scene.serve(Some(patch));
    let price = agent("check", device, &["--json"]).json();
    assert_eq!((&price["by"], &price["fetch_bytes"]), (&"patch".into(), &patch.len().into()), "{price}");
    let said = agent("check", device, &[]).out;
    assert!(said.contains("1.1 is available: a patch of ") && said.contains("% less to fetch"), "{said}");
    let told = scene.taken();
    assert_eq!((&told["by"], &told["fell_back"]), (&"patch".into(), &Value::Null), "{told}");
    assert_eq!(told["fetch_bytes"], patch.len(), "{told}");

    // A file that nobody reads was edited: it alone is fetched besides.
    let edited = device.join(scene.same_file(false));
    fs::write(&edited, "edited by hand").unwrap();
    let said = agent("update", device, &["--json"]).ok().json();
    assert_eq!((&said["fetched"]["by"], &said["fetched"]["fell_back"]), (&"patch".into(), &Value::Null), "{said}");
    assert!(said["fetched"]["fetch_bytes"].as_u64().unwrap() > patch.len() as u64, "{said}");
    assert_same_tree(&scene.new, device);
    agent("rollback", device, &[]).ok();

    // One that the patch reads.
    let name = scene.same_file(true);
    let base = device.join(&name);
    let was = fs::read(&base).unwrap();
    fs::write(&base, "edited by hand").unwrap();
    let said = agent("update", device, &[]).ok();
    let warned = format!("the patch was not used: '{}' was edited or removed here", name.display());
    assert!(said.err.contains(&warned), "{}", said.err);
    assert_same_tree(&scene.new, device);
    agent("rollback", device, &[]).ok();
    fs::write(&base, was).unwrap();

    scene.serve(None);
    let told = scene.taken();
    assert_eq!((&told["by"], &told["fell_back"]), (&"blobs".into(), &Value::Null), "{told}");
    scene.serve(Some(&patch[..patch.len() - patch.len() / 3]));
    scene.falls_back("it ends after");
    scene.serve(Some(&anothers_patch(scene.home.path())));
    scene.falls_back("it is a patch between two other trees");
    let mut hostile = patch.clone();
    let middle = hostile.len() / 2;
    hostile[middle..].iter_mut().for_each(|byte| *byte = byte.wrapping_mul(31).wrapping_add(7));
    scene.serve(Some(&hostile));
    scene.falls_back("");
    // It is not fetched again, nor even spoken of.
    assert_eq!(scene.taken()["fell_back"], Value::Null);
    run(scene.server.publisher().args(["app", "show", "app"])).ok();
}

#[test]
fn a_small_app() {
    let home = tempfile::tempdir().unwrap();
    let (old, new) = (home.path().join("old"), home.path().join("new"));
    let program = |version: &str| {
        let words: String = noise(version.len() as u64, 60_000).iter().map(|byte| format!("word {byte} ")).collect();
        words.replacen("word 7 ", &format!("version {version} "), 3)
    };
    write_tree(
        &old,
        &[("bin/app", &program("1")), ("lib/same", &program("of its own")), ("lib/gone", "x"), ("sub/a", "1")],
    );
    write_tree(
        &new,
        &[("bin/app", &program("2")), ("lib/same", &program("of its own")), ("sub/b", "1"), ("twin", &program("2"))],
    );
    every_way(&Scene::new(&old, &new));
}

fn corpus(name: &str) -> Scene {
    let corpus =
        std::env::var_os("UPDRAFT_CORPUS").expect("UPDRAFT_CORPUS names the fetched software: run scripts/test");
    let pair = Path::new(&corpus).join(name);
    Scene::new(&pair.join("old"), &pair.join("new"))
}

#[test]
#[ignore = "needs real software: scripts/test"]
fn ruff() {
    every_way(&corpus("ruff"));
}

#[test]
#[ignore = "needs real software: scripts/test"]
fn code_server() {
    let scene = corpus("code-server");
    every_way(&scene);
    killed_while_files_are_made(&scene);
}

/// Kills the agent when it has made some of the files, again and again, each time a little later.
fn killed_while_files_are_made(scene: &Scene) {
    let Scene { device, patch, home, .. } = scene;
    scene.serve(None);
    agent("check", device, &[]);
    // The one that was damaged is remembered; this one is as long, and another.
    let _ = fs::remove_file(home.path().join("device.updraft/fetched.json"));
    scene.serve(Some(patch));
    let downloads = home.path().join("device.updraft/downloads");
    let deadline = Instant::now() + Duration::from_secs(120);
    for output in [1, 40, 150] {
        let mut child = updraft().args(["agent", "update"]).arg(device).stdout(Stdio::null()).spawn().unwrap();
        while !downloads.join(format!("patch.{output}.new")).exists() {
            assert!(child.try_wait().unwrap().is_none(), "it ended before it made output {output}");
            assert!(Instant::now() < deadline, "output {output} never came to be");
            std::thread::sleep(Duration::from_micros(200));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(agent("check", device, &[]).code, 10);
        assert_same_tree(&scene.old, device);
    }
    let told = scene.taken();
    assert_eq!((&told["by"], &told["fell_back"]), (&"patch".into(), &Value::Null), "{told}");
}
