//! End to end on real software: ruff and code-server, as their makers released them.
//!
//! `scripts/test` fetches them and names the folder in `UPDRAFT_CORPUS`; a plain `cargo test` lists these as ignored.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::support::{Server, agent, assert_same_tree, run, updraft};

fn pair(name: &str) -> (PathBuf, PathBuf) {
    let corpus =
        std::env::var_os("UPDRAFT_CORPUS").expect("UPDRAFT_CORPUS names the fetched software: run scripts/test");
    let pair = Path::new(&corpus).join(name);
    (pair.join("old"), pair.join("new"))
}

struct Scene {
    home: tempfile::TempDir,
    server: Server,
    root: String,
    old: PathBuf,
    new: PathBuf,
}

impl Scene {
    /// A server that has the old release of `name`.
    fn new(name: &str) -> Scene {
        let home = tempfile::tempdir().unwrap();
        let server = Server::start(home.path(), &[]);
        let root = server.create_app("app");
        let (old, new) = pair(name);
        server.publish("app", &old, "1.0").ok();
        Scene { home, server, root, old, new }
    }

    fn device(&self) -> PathBuf {
        let device = self.home.path().join("device");
        self.server.install("app", &self.root, &device).ok();
        assert_same_tree(&self.old, &device);
        device
    }

    fn publish_new(&self) -> serde_json::Value {
        self.server.publish("app", &self.new, "1.1").ok().json()
    }
}

fn old_new_and_back(name: &str) {
    let scene = Scene::new(name);
    let device = scene.device();
    let published = scene.publish_new();
    assert_eq!(agent("check", &device, &[]).code, 10);
    agent("update", &device, &[]).ok();
    assert_same_tree(&scene.new, &device);
    agent("verify", &device, &[]).ok();
    agent("rollback", &device, &[]).ok();
    assert_same_tree(&scene.old, &device);
    agent("update", &device, &[]).ok();
    assert_same_tree(&scene.new, &device);
    let again = scene.server.publish("app", &scene.new, "1.2").ok().json();
    assert_eq!(again["uploaded"]["blobs"], 0, "{again}");
    let (sent, total) = (&published["uploaded"]["bytes"], &published["tree"]["bytes"]);
    assert!(sent.as_u64().unwrap() < total.as_u64().unwrap(), "only what changed, compressed: {published}");
}

#[test]
#[ignore = "needs real software: scripts/test"]
fn ruff() {
    old_new_and_back("ruff");
}

#[test]
#[ignore = "needs real software: scripts/test"]
fn code_server() {
    old_new_and_back("code-server");
}

/// A file that is the same in both releases, and one that differs, both in sub-directories.
fn same_and_changed(scene: &Scene) -> (PathBuf, PathBuf) {
    let (old, new) = (crate::support::listing(&scene.old), crate::support::listing(&scene.new));
    let file = |what: &str| !what.starts_with("->") && !what.starts_with("dir");
    let nested = |name: &str| name.matches('/').count() >= 2;
    let same = old.iter().find(|(n, what)| file(what) && nested(n) && new.get(*n) == Some(what)).unwrap();
    let changed =
        old.iter().find(|(n, what)| file(what) && nested(n) && new.get(*n).is_some_and(|w| w != *what)).unwrap();
    (same.0.into(), changed.0.into())
}

#[test]
#[ignore = "needs real software: scripts/test"]
fn a_device_that_people_worked_on() {
    let scene = Scene::new("code-server");
    let device = scene.device();
    scene.publish_new();
    let (same, changed) = same_and_changed(&scene);
    // renamed, edited, deleted, foreign
    let renamed = device.join("renamed by hand");
    fs::rename(device.join(&same), &renamed).unwrap();
    fs::write(device.join(&changed), "edited by hand").unwrap();
    fs::remove_file(device.join("package/package.json")).unwrap();
    fs::create_dir(device.join("plugins")).unwrap();
    fs::write(device.join("plugins/mine.js"), "foreign").unwrap();

    let said = agent("update", &device, &[]).ok();
    assert!(said.out.contains(changed.to_str().unwrap()), "the edited file is reported: {}", said.out);
    assert_eq!(fs::read(device.join("plugins/mine.js")).unwrap(), b"foreign");
    assert!(renamed.exists(), "what was renamed is foreign now, and stays");
    fs::remove_dir_all(device.join("plugins")).unwrap();
    fs::remove_file(&renamed).unwrap();
    assert_same_tree(&scene.new, &device);
    let backups = Command::new("grep")
        .args(["-rl", "edited by hand"])
        .arg(scene.home.path().join("device.updraft/backup"))
        .output()
        .unwrap();
    assert!(!backups.stdout.is_empty(), "the edited file is kept");
}

#[test]
#[ignore = "needs real software: scripts/test"]
fn foreign_files_made_while_the_swap_runs_survive() {
    let scene = Scene::new("code-server");
    let device = scene.device();
    scene.publish_new();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let made = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            // A program that keeps its directory open writes there all the while.
            let dir = fs::File::open(&device).unwrap();
            let mut n = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let flags = rustix::fs::OFlags::CREATE | rustix::fs::OFlags::WRONLY;
                let file = rustix::fs::openat(&dir, format!("journal-{n}"), flags, 0o644.into()).unwrap();
                rustix::io::write(&file, format!("entry {n}").as_bytes()).unwrap();
                n += 1;
                std::thread::sleep(Duration::from_millis(2));
            }
            n
        });
        let said = agent("update", &device, &[]);
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        said.ok();
        writer.join().unwrap()
    });
    assert!(made > 10, "{made} files were made meanwhile");
    // The agent's next run looks once more at what an open directory still received.
    agent("check", &device, &[]).ok();
    for n in 0..made {
        let file = device.join(format!("journal-{n}"));
        assert_eq!(fs::read_to_string(&file).unwrap_or_default(), format!("entry {n}"), "{}", file.display());
        fs::remove_file(file).unwrap();
    }
    assert_same_tree(&scene.new, &device);
}

#[test]
#[ignore = "needs real software: scripts/test"]
fn a_directory_on_a_mount_of_its_own() {
    let scene = Scene::new("code-server");
    let device = scene.home.path().join("device");
    fs::create_dir(&device).unwrap();
    let mounted =
        Command::new("mount").args(["-t", "tmpfs", "-o", "size=1g,mode=0755", "none"]).arg(&device).status().unwrap();
    assert!(mounted.success(), "mounting a tmpfs needs root, which the test machine has");
    let _unmount = Unmount(device.clone());
    scene.server.install("app", &scene.root, &device).ok();
    assert_same_tree(&scene.old, &device);
    let inode = fs::metadata(&device).unwrap().ino();
    scene.publish_new();
    agent("update", &device, &[]).ok();
    assert_same_tree(&scene.new, &device);
    assert_eq!(fs::metadata(&device).unwrap().ino(), inode, "a mount point cannot be exchanged");
    let status = agent("status", &device, &[]).ok();
    assert!(status.out.contains("mount"), "status says why: {}", status.out);
    agent("rollback", &device, &[]).ok();
    assert_same_tree(&scene.old, &device);
}

struct Unmount(PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
#[ignore = "needs real software: scripts/test"]
fn killed_and_restarted_at_random_points() {
    let scene = Scene::new("code-server");
    let device = scene.device();
    scene.publish_new();
    // Waits spread over the length of a whole update, by a fixed sequence: the same on every run.
    let mut seed = 0x5eed_u64;
    let mut kills = 0;
    for round in 0.. {
        let mut child =
            updraft().args(["agent", "update"]).arg(&device).stdout(std::process::Stdio::null()).spawn().unwrap();
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(Duration::from_millis((seed >> 33) % 400 + round * 25));
        match child.try_wait().unwrap() {
            Some(status) => {
                assert!(status.success(), "{status}");
                break;
            }
            None => {
                child.kill().unwrap();
                child.wait().unwrap();
                kills += 1;
                let recovered = agent("check", &device, &[]);
                assert!(recovered.code == 0 || recovered.code == 10, "{}", recovered.err);
                let status = agent("status", &device, &["--json"]).ok().json();
                let expected = if status["version"] == "1.1" { &scene.new } else { &scene.old };
                assert_same_tree(expected, &device);
            }
        }
    }
    assert!(kills >= 3, "only {kills} kills came in time");
    assert_same_tree(&scene.new, &device);
    run(scene.server.publisher().args(["fsck"])).ok();
}
