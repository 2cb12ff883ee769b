//! Dies at every system call that changes something, and gets ENOSPC and EIO from each: the agent, and the server during a
//! publish. Nothing torn, nothing that does not recover, nothing acknowledged lost, nothing half visible.
//!
//! The faults are strace's, on the real binary: first one run is recorded, then it is run again with one fault at each of
//! its state-changing calls in turn.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use updraft_testkit::noise;

use crate::support::{Server, agent, listing, run, updraft, write_tree};

/// What changes something on disk. `openat` counts only where it creates.
const CALLS: &[&str] = &[
    "openat",
    "write",
    "pwrite64",
    "writev",
    "copy_file_range",
    "ftruncate",
    "fallocate",
    "fsync",
    "fdatasync",
    "rename",
    "renameat",
    "renameat2",
    "link",
    "linkat",
    "unlink",
    "unlinkat",
    "mkdir",
    "mkdirat",
    "rmdir",
    "symlink",
    "symlinkat",
    "chmod",
    "fchmod",
    "fchmodat",
    "fchown",
    "fchownat",
    "utimensat",
    "setxattr",
    "fsetxattr",
];

const FAULTS: &[&str] = &["signal=KILL", "error=ENOSPC", "error=EIO"];

/// `command` under strace, with these options.
fn strace(options: &[String], command: &Command) -> Command {
    let mut traced = Command::new("strace");
    traced
        .args(["-f", "-qq", "--signal=none"])
        .args(options)
        .arg("--")
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => traced.env(name, value),
            None => traced.env_remove(name),
        };
    }
    traced.stdin(Stdio::null());
    traced
}

/// The faults to try: (system call, the how-manieth of a thread).
fn points(log: &Path) -> Vec<(String, usize)> {
    let text = fs::read_to_string(log).unwrap();
    let mut seen: BTreeMap<(String, String), usize> = BTreeMap::new();
    let mut points = std::collections::BTreeSet::new();
    for line in text.lines() {
        let (thread, rest) = line.split_once(' ').unwrap();
        let Some(name) = rest.trim_start().split('(').next().filter(|name| CALLS.contains(name)) else { continue };
        let nth = seen.entry((thread.to_owned(), name.to_owned())).or_default();
        *nth += 1;
        let harmless = name == "openat" && !line.contains("O_CREAT")
            || name == "write" && (line.contains("write(1,") || line.contains("write(2,"));
        if !harmless {
            points.insert((name.to_owned(), *nth));
        }
    }
    assert!(points.len() > 20, "only {} state-changing calls were seen:\n{text}", points.len());
    points.into_iter().collect()
}

fn record(log: &Path) -> Vec<String> {
    vec!["-o".into(), log.display().to_string(), "-e".into(), format!("trace={}", CALLS.join(","))]
}

fn inject(call: &str, fault: &str, nth: usize) -> Vec<String> {
    let trace = format!("trace={call}");
    vec!["-o".into(), "/dev/null".into(), "-e".into(), trace, "-e".into(), format!("inject={call}:{fault}:when={nth}")]
}

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    run(Command::new("cp").arg("-a").arg(from).arg(to)).ok();
}

struct Releases {
    home: tempfile::TempDir,
    stick: PathBuf,
    old: BTreeMap<String, String>,
    new: BTreeMap<String, String>,
}

/// More than a device fetches without asking for a patch, and little of it changes.
fn large(version: &str) -> String {
    let text: String = noise(5, 10_000).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{text} {version}, {text}")
}

fn v1(home: &Path) -> PathBuf {
    let v1 = home.join("v1");
    let files = [
        ("same", "same"),
        ("changed", "one"),
        ("removed/gone", "x"),
        ("moved", "m"),
        ("lib/a", "a1"),
        ("turns", "file"),
    ];
    write_tree(&v1, &files);
    write_tree(&v1, &[("large", &large("one"))]);
    std::os::unix::fs::symlink("changed", v1.join("link")).unwrap();
    v1
}

fn v2(home: &Path) -> PathBuf {
    let v2 = home.join("v2");
    let files = [
        ("same", "same"),
        ("changed", "two!"),
        ("moved to/here", "m"),
        ("lib/a", "a2"),
        ("turns/dir", "d"),
        ("fresh", "f"),
    ];
    write_tree(&v2, &files);
    write_tree(&v2, &[("large", &large("two"))]);
    std::os::unix::fs::symlink("fresh", v2.join("link")).unwrap();
    v2
}

/// Two releases in a folder that a device updates from, and a device at the old one as `template/DIR`.
fn releases(install: &[&str]) -> Releases {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(home.path(), &[]);
    let root = server.create_app("demo");
    let (v1, v2) = (v1(home.path()), v2(home.path()));
    server.publish("demo", &v1, "1.0").ok();
    fs::create_dir(home.path().join("template")).unwrap();
    let device = home.path().join("template/dir");
    let url = format!("{}/apps/demo", server.url);
    run(updraft().args(["agent", "install", "--url", &url, "--root-sha256", &root]).args(install).arg(&device)).ok();
    fs::write(device.join("foreign"), "mine").unwrap();
    server.publish("demo", &v2, "1.1").ok();
    let stick = home.path().join("stick");
    copy(&home.path().join("data/store"), &stick);
    server.stop();
    let with_foreign = |tree: &Path| {
        let mut all = listing(tree);
        let foreign = listing(&device).remove("foreign").unwrap();
        all.insert("foreign".into(), foreign);
        all
    };
    let (old, new) = (with_foreign(&v1), with_foreign(&v2));
    assert_eq!(listing(&device), old);
    Releases { home, stick, old, new }
}

/// Lets the stick have the patch between the two releases.
fn offer_patch(releases: &Releases) {
    let [v1, v2, patch] = ["v1", "v2", "patch"].map(|name| releases.home.path().join(name));
    run(updraft().args(["patch", "make"]).args([v1, v2]).arg("-o").arg(&patch)).ok();
    let explained = run(updraft().args(["patch", "explain", "--json"]).arg(&patch)).ok().json();
    let name = |field: &str| explained[field].as_str().unwrap().to_owned();
    let folder = releases.stick.join("apps/demo/patches").join(name("from"));
    fs::create_dir_all(&folder).unwrap();
    fs::copy(patch, folder.join(name("to"))).unwrap();
}

/// Runs `verb` with one fault at each state-changing call, recovers, checks, and goes on.
fn every_point(releases: &Releases, template: &Path, verb: &[&str], goes_on: &dyn Fn(&Path)) {
    let case = releases.home.path().join("case");
    let device = case.join("dir");
    let command = || {
        let mut command = updraft();
        command.args(["agent", verb[0]]).arg(&device).args(&verb[1..]);
        command
    };
    let log = releases.home.path().join("strace.log");
    copy(template, &case);
    run(&mut strace(&record(&log), &command())).ok();
    let points = points(&log);
    let mut reached = 0;
    for (call, nth) in &points {
        for fault in FAULTS {
            let what = format!("{} {fault} at {call} number {nth}", verb[0]);
            copy(template, &case);
            let said = run(&mut strace(&inject(call, fault, *nth), &command()));
            reached += usize::from(said.code != 0);
            // Any command that changes something recovers first.
            let recovered = agent("check", &device, &["--from", releases.stick.to_str().unwrap()]);
            let fine = recovered.code == 0 || recovered.code == 10;
            assert!(fine, "{what}: does not recover: {}\nfirst: {}", recovered.err, said.err);
            let status = agent("status", &device, &["--json"]).ok();
            let (found, version) = (listing(&device), status.json()["version"].clone());
            let expected = if version == "1.1" { &releases.new } else { &releases.old };
            assert_eq!(&found, expected, "{what}: torn at version {version}\nfirst: {}", said.err);
            if said.code == 0 && verb[0] == "update" {
                assert_eq!(version, "1.1", "{what}: said done, and is not");
            }
            goes_on(&device);
        }
    }
    eprintln!("{}: {} points x {} faults, {reached} ended in an error or a kill", verb[0], points.len(), FAULTS.len());
    assert!(reached > points.len(), "most faults must be felt");
}

fn updates_and_rollbacks(install: &[&str]) {
    let releases = releases(install);
    let from = releases.stick.to_str().unwrap();
    let update = ["update", "--jobs", "1", "--from", from];
    let template = releases.home.path().join("template");
    every_point(&releases, &template, &update, &|device| {
        agent("update", device, &update[1..]).ok();
        assert_eq!(listing(device), releases.new);
    });
    agent("update", &template.join("dir"), &update[1..]).ok();
    every_point(&releases, &template, &["rollback"], &|device| {
        agent("update", device, &update[1..]).ok();
        assert_eq!(listing(device), releases.new);
    });
}

#[test]
#[ignore = "takes minutes, needs strace: scripts/test"]
fn the_agent_exchanging_at_every_system_call() {
    updates_and_rollbacks(&[]);
}

#[test]
#[ignore = "takes minutes, needs strace: scripts/test"]
fn the_agent_updating_by_a_patch_at_every_system_call() {
    let releases = releases(&[]);
    offer_patch(&releases);
    let update = ["update", "--jobs", "1", "--json", "--from", releases.stick.to_str().unwrap()];
    let template = releases.home.path().join("template");
    every_point(&releases, &template, &update, &|device| {
        agent("update", device, &update[1..]).ok();
        assert_eq!(listing(device), releases.new);
    });
    let said = agent("update", &template.join("dir"), &update[1..]).ok().json();
    assert_eq!((&said["fetched"]["by"], &said["fetched"]["fell_back"]), (&"patch".into(), &serde_json::Value::Null));
}

#[test]
#[ignore = "takes minutes, needs strace: scripts/test"]
fn the_agent_in_place_at_every_system_call() {
    updates_and_rollbacks(&["--in-place"]);
}

/// A server on `home/data`, under strace with `options`; `None` when it does not come up.
fn traced_server(home: &Path, options: &[String]) -> Option<Server> {
    Server::try_start_with(home, &[], |command| {
        let mut traced = strace(options, &command);
        // Few threads, so that the n-th call of a thread is the n-th call.
        traced.env("TOKIO_WORKER_THREADS", "1");
        traced
    })
}

#[test]
#[ignore = "takes minutes, needs strace: scripts/test"]
fn a_publish_at_every_system_call_of_the_server() {
    let releases = releases(&[]);
    let home = releases.home.path();
    let template = home.join("data-template");
    // Back to a store that holds only 1.0: publish into a fresh one.
    fs::remove_dir_all(home.join("data")).unwrap();
    fs::remove_dir_all(home.join("keys")).unwrap();
    let server = Server::start(home, &[]);
    let root = server.create_app("demo");
    server.publish("demo", &home.join("v1"), "1.0").ok();
    server.stop();
    copy(&home.join("data"), &template);
    copy(&home.join("keys"), &home.join("keys-template"));
    let reset = || {
        copy(&template, &home.join("data"));
        copy(&home.join("keys-template"), &home.join("keys"));
    };

    let log = home.join("strace.log");
    reset();
    let mut server = traced_server(home, &record(&log)).expect("without a fault it starts");
    assert!(server.publish_while_up("demo", &home.join("v2"), "1.1"));
    server.stop();
    let points = points(&log);

    let (mut acknowledged, mut refused, mut did_not_start) = (0, 0, 0);
    // The runtime wakes itself by a write to a descriptor that no disk is behind; an error from that one ends the process
    // in ways that no real fault does. So errors from `write` are for the long run, kills at it are for every run.
    let long = std::env::var_os("UPDRAFT_LONG").is_some();
    for (call, nth) in &points {
        for fault in FAULTS {
            if call == "write" && fault.starts_with("error") && !long {
                continue;
            }
            let what = format!("publish, {fault} at {call} number {nth}");
            reset();
            let said_done = match traced_server(home, &inject(call, fault, *nth)) {
                Some(mut server) => {
                    let done = server.publish_while_up("demo", &home.join("v2"), "1.1");
                    server.stop();
                    if done {
                        acknowledged += 1
                    } else {
                        refused += 1
                    }
                    done
                }
                None => {
                    did_not_start += 1;
                    false
                }
            };
            check(home, &root, &releases, &what, said_done);
        }
    }
    eprintln!(
        "publish: {} points x {} faults: {acknowledged} acknowledged, {refused} not, {did_not_start} hit the start",
        points.len(),
        FAULTS.len()
    );
    assert!(refused > 10 && acknowledged > 10);
}

/// After a fault: the server starts, has 1.0 or 1.1 whole, 1.1 if it said so, and publishes on.
fn check(home: &Path, root: &str, releases: &Releases, what: &str, acknowledged: bool) {
    let server = Server::start(home, &[]);
    let device = home.join("fresh");
    for leftover in [device.clone(), home.join("fresh.updraft")] {
        let _ = fs::remove_dir_all(leftover);
    }
    let said = server.install("demo", root, &device);
    assert_eq!(said.code, 0, "{what}: {}", said.err);
    let mut found = listing(&device);
    found.insert("foreign".into(), releases.old["foreign"].clone());
    let is_new = found == releases.new;
    assert!(is_new || found == releases.old, "{what}: half visible");
    assert!(is_new || !acknowledged, "{what}: it was acknowledged, and is lost");
    let again = server.publish("demo", &home.join("v2"), "1.1");
    assert_eq!(again.code, 0, "{what}: wedged: {}", again.err);
    let fsck = run(server.publisher().args(["fsck", "--json"]));
    assert_eq!(fsck.code, 0, "{what}: {} {}", fsck.out, fsck.err);
    server.stop();
}
