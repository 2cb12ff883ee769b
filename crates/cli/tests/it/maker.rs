//! Patches that a server makes by itself, with the real binary: in a child process that does not outlive it, whatever
//! becomes of either.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;
use updraft_testkit::noise;

use crate::support::{Answer, Server, assert_same_tree, get, get_with, run, updraft, write_tree};

/// Longer than anything here takes, on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(120);

#[track_caller]
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "it never came to be: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A build of which little changes, and that takes `len` bytes.
fn build(home: &Path, version: &str, len: usize) -> PathBuf {
    let dir = home.join(format!("build-{version}"));
    write_tree(&dir, &[("lib/shared", "the same in every version"), ("version", version)]);
    let program = [noise(7, len / 2), format!("program {version}").into_bytes(), noise(8, len / 2)].concat();
    fs::write(dir.join("program"), program).unwrap();
    dir
}

/// A server whose maker works, under these settings.
fn server(home: &Path, settings: &[(&str, &str)]) -> Server {
    let with = |mut command: std::process::Command| {
        command.env("UPDRAFT_PATCH_JOBS", "1");
        command.envs(settings.iter().copied());
        command
    };
    Server::try_start_with(home, &[], with).expect("the server starts")
}

/// The release, as `release show --json` tells of it.
fn show(server: &Server, version: &str) -> Value {
    run(server.publisher().args(["release", "show", version, "--app", "demo", "--json"])).ok().json()
}

/// Two releases on stable, and the path of the patch between them.
fn publish_two(server: &Server, home: &Path, len: usize) -> String {
    server.create_app("demo");
    for version in ["1.0.0", "1.1.0"] {
        server.publish("demo", &build(home, version, len), version).ok();
    }
    let tree = |version| show(server, version)["tree"]["digest"].as_str().unwrap().to_owned();
    format!("apps/demo/patches/{}/{}", tree("1.0.0"), tree("1.1.0"))
}

/// The patch at `path`, once it is there.
fn wait_for(server: &Server, path: &str) -> Answer {
    let url = format!("{}/{path}", server.url);
    until("the patch", || get(&url).ok().filter(|answer| answer.status == 200))
}

/// The processes that make patches for this server: its children, by the store that they read.
fn makers(home: &Path) -> Vec<u32> {
    let store = home.join("data/store").canonicalize().unwrap();
    let is_maker = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<_> =
            line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        words.iter().any(|word| word == "make-patch") && words.iter().any(|word| Path::new(word) == store)
    };
    let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(is_maker).collect()
}

#[test]
fn a_patch_is_made_by_itself_and_makes_the_new_release() {
    let temp = tempfile::tempdir().unwrap();
    let home = temp.path().canonicalize().unwrap();
    let server = server(&home, &[]);
    let path = publish_two(&server, &home, 200_000);
    let answer = wait_for(&server, &path);
    assert_eq!(answer.header("cache-control"), Some("public, max-age=3600"));
    let part = get_with(&format!("{}/{path}", server.url), &[("range", "bytes=0-19")]).unwrap();
    assert_eq!((part.status, &part.body[..]), (206, &answer.body[..20]));

    fs::write(home.join("patch"), &answer.body).unwrap();
    let apply = ["patch", "apply", "build-1.0.0", "patch", "-o", "applied"];
    run(updraft().current_dir(&home).args(apply)).ok();
    assert_same_tree(&home.join("build-1.1.0"), &home.join("applied"));

    let shown = show(&server, "1.1.0");
    let patch = &shown["patches"][0];
    assert_eq!((&patch["state"], &patch["from_release"]["version"]), (&"made".into(), &"1.0.0".into()));
    assert_eq!(patch["bytes"], answer.body.len());
    let said = run(server.publisher().args(["release", "show", "1.1.0", "--app", "demo"])).ok().out;
    assert!(said.contains("patch from 1.0.0 for any: ") || said.contains("patch from 1.0.0"), "{said}");
    assert!(said.contains("less"), "{said}");
    run(server.publisher().args(["fsck"])).ok();
    server.stop();
}

#[test]
fn a_patch_is_taken_away_and_made_anew_by_hand() {
    let temp = tempfile::tempdir().unwrap();
    let home = temp.path().canonicalize().unwrap();
    let server = server(&home, &[]);
    let path = publish_two(&server, &home, 200_000);
    wait_for(&server, &path);
    let trees: Vec<&str> = path.split('/').skip(3).collect();
    let patch = |words: &[&str]| run(server.publisher().arg("patch").args(words).args(["--app", "demo"]));
    let listed = || patch(&["list"]).ok().out;
    assert!(listed().starts_with("to 1.1.0 from 1.0.0: ") && listed().contains("less"), "{}", listed());
    let all = patch(&["list", "--json"]).ok().json();
    assert_eq!((&all[0]["from"], &all[0]["state"]), (&trees[0].into(), &"made".into()));

    let said = patch(&["remove", "1.0.0", "1.1.0", "--dry-run"]).ok().out;
    assert_eq!(said, "patch to 1.1.0 from 1.0.0: it would be removed\n");
    wait_for(&server, &path);
    for sides in [["1.0.0", "1.1.0"], [trees[0], trees[1]]] {
        patch(&["remove", sides[0], sides[1], "--platform", "any"]).ok();
        assert_eq!(get(&format!("{}/{path}", server.url)).unwrap().status, 404);
        assert!(listed().contains(": removed, "), "{}", listed());
    }
    patch(&["retry", "1.0.0", trees[1]]).ok();
    wait_for(&server, &path);

    for (sides, says) in [(["1.1.0", "1.0.0"], "no such patch of demo"), (["1.0.0", "9.9.9"], "no such patch of demo")]
    {
        let said = patch(&["remove", sides[0], sides[1]]);
        assert_eq!(said.code, 1);
        assert!(said.err.contains(says), "{}", said.err);
    }
    assert_eq!(patch(&["remove", "1.0.0", "!"]).code, 2);
    server.stop();
}

#[test]
fn a_folder_gets_patches_as_well() {
    let temp = tempfile::tempdir().unwrap();
    let home = temp.path().canonicalize().unwrap();
    let folder = build(&home, "1", 200_000);
    let start = |home: &Path| {
        let folder = folder.to_str().unwrap();
        let with = |mut command: std::process::Command| {
            command.env("UPDRAFT_PATCH_JOBS", "1");
            command
        };
        Server::try_start_with(home, &[folder, "--app", "demo"], with).expect("the server starts")
    };
    let tree = |server: &Server| {
        let app = run(server.publisher().args(["release", "list", "--app", "demo", "--json"])).ok().json();
        app[0]["tree"]["digest"].as_str().unwrap().to_owned()
    };
    let server = start(&home);
    let old = tree(&server);
    fs::write(folder.join("version"), "2").unwrap();
    assert_eq!(get(&format!("{}/generateNewConfig", server.url)).unwrap().status, 200);
    let new = until("the second release", || Some(tree(&server)).filter(|tree| *tree != old));
    wait_for(&server, &format!("apps/demo/patches/{old}/{new}"));
    server.stop();
}

#[test]
fn a_killed_server_leaves_no_child_and_the_next_one_makes_the_patch() {
    let temp = tempfile::tempdir().unwrap();
    let home = temp.path().canonicalize().unwrap();
    let server_one = server(&home, &[]);
    // Long enough to be caught in the middle of it.
    let path = publish_two(&server_one, &home, 24_000_000);
    let child = until("a child that works", || makers(&home).first().copied());
    let niceness = || {
        let stat = fs::read_to_string(format!("/proc/{child}/stat")).ok()?;
        stat.rsplit(')').next()?.split_whitespace().nth(16).map(str::to_owned)
    };
    until("it steps back", || niceness().filter(|nice| nice == "19"));
    server_one.kill();
    until("the child is gone", || makers(&home).is_empty().then_some(()));
    assert!(!home.join("data/store").join(&path).exists(), "it was killed in the middle");

    let server_two = server(&home, &[]);
    let left: Vec<_> = fs::read_dir(home.join("data/store/scratch/spool")).unwrap().collect();
    assert!(left.len() <= 1, "nothing of the first try: {left:?}");
    wait_for(&server_two, &path);
    until("nothing is in the making", || makers(&home).is_empty().then_some(()));
    run(server_two.publisher().args(["fsck"])).ok();
    server_two.stop();
    assert_eq!(fs::read_dir(home.join("data/store/scratch/spool")).unwrap().count(), 0);
}

#[test]
fn a_server_that_is_stopped_takes_its_child_along() {
    let temp = tempfile::tempdir().unwrap();
    let home = temp.path().canonicalize().unwrap();
    let server = server(&home, &[]);
    publish_two(&server, &home, 24_000_000);
    until("a child that works", || makers(&home).first().copied());
    server.stop();
    until("the child is gone", || makers(&home).is_empty().then_some(()));
}

#[test]
fn a_child_that_wants_too_much_memory_or_time_is_told_of_and_others_go_on() {
    let temp = tempfile::tempdir().unwrap();
    let home = temp.path().canonicalize().unwrap();
    let server_one = server(&home, &[("UPDRAFT_PATCH_MEMORY", "64MiB")]);
    let path = publish_two(&server_one, &home, 1_000_000);
    let patch = until("it is left out", || {
        let patch = show(&server_one, "1.1.0")["patches"][0].clone();
        (patch["state"] == "skipped").then_some(patch)
    });
    let reason = patch["reason"].as_str().unwrap();
    assert!(reason.contains("64 MiB are allowed for it (patch_memory)"), "{patch}");
    assert_eq!(get(&format!("{}/{path}", server_one.url)).unwrap().header("cache-control"), Some("no-store"));
    // One that is begun all the same comes to its end, and to nothing.
    let (from, to) = path.trim_start_matches("apps/demo/patches/").split_once('/').unwrap();
    let child = |memory: &str| {
        let mut command = updraft();
        command.args([
            "internal",
            "make-patch",
            "--app",
            "demo",
            "--from",
            from,
            "--to",
            to,
            "--memory",
            memory,
            "--root",
        ]);
        let mut child = command.arg(home.join("data/store"));
        child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = child.spawn().unwrap();
        let lifeline = child.stdin.take();
        let output = child.wait_with_output().unwrap();
        drop(lifeline);
        output
    };
    let poor = child("10000000");
    assert!(!poor.status.success() && poor.stdout.is_empty(), "{poor:?}");
    assert!(child("4000000000").status.success());
    server_one.stop();

    // What was left out for want of memory is made, for now there is more.
    let server_two = server(&home, &[]);
    wait_for(&server_two, &path);
    server_two.stop();

    let server_three = server(&home, &[("UPDRAFT_PATCH_TIMEOUT", "1s")]);
    let big = build(&home, "1.2.0", 48_000_000);
    server_three.publish("demo", &big, "1.2.0").ok();
    server_three.publish("demo", &build(&home, "1.3.0", 48_000_000), "1.3.0").ok();
    until("a child that took too long", || {
        let patches = show(&server_three, "1.3.0")["patches"].clone();
        let is_it = |patch: &&Value| patch["reason"].as_str().is_some_and(|reason| reason.contains("patch_timeout"));
        patches.as_array()?.iter().find(is_it).map(|patch| assert_eq!(patch["state"], "failed", "{patch}"))
    });
    until("no child is left", || makers(&home).is_empty().then_some(()));
    server_three.stop();
}

#[test]
fn a_publisher_makes_them_where_the_server_does_not() {
    let temp = tempfile::tempdir().unwrap();
    let home = temp.path().canonicalize().unwrap();
    let server = Server::start(&home, &[]);
    let path = publish_two(&server, &home, 200_000);
    assert_eq!(show(&server, "1.1.0")["patches"][0]["state"], "waiting");
    let publish = |args: &[&str]| {
        let mut command = server.publisher();
        command.arg("publish").arg(home.join("build-1.1.0")).args(["--app", "demo", "--version", "1.1.0"]);
        run(command.args(["--channel", "stable", "--no-passphrase", "--make-patches"]).args(args)).ok()
    };
    let report = publish(&["--json"]).json();
    assert_eq!((&report["done"], &report["patches"][0]["done"]), (&"nothing".into(), &"sent".into()));
    assert_eq!(report["patches"][0]["release"]["version"], "1.0.0");
    let answer = wait_for(&server, &path);
    assert_eq!(report["patches"][0]["bytes"], answer.body.len());
    fs::write(home.join("patch"), &answer.body).unwrap();
    let apply = ["patch", "apply", "build-1.0.0", "patch", "-o", "applied"];
    run(updraft().current_dir(&home).args(apply)).ok();
    assert_same_tree(&home.join("build-1.1.0"), &home.join("applied"));
    assert_eq!(publish(&["--json"]).json()["patches"], serde_json::json!([]), "they are there");
    server.stop();
}
