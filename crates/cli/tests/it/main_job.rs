//! The main job on small trees: publish, install, check, update, roll back, and the errors on the way.

use std::fs;
use std::path::Path;

use crate::support::{Server, agent, assert_same_tree, get, run, updraft, write_tree};

struct Scene {
    home: tempfile::TempDir,
    server: Server,
    root: String,
}

impl Scene {
    fn new() -> Scene {
        let home = tempfile::tempdir().unwrap();
        let server = Server::start(home.path(), &[]);
        let root = server.create_app("demo");
        let scene = Scene { home, server, root };
        write_tree(
            &scene.path("v1"),
            &[("bin/app", "version one"), ("lib/a.txt", "same"), ("lib/old name.txt", "moves")],
        );
        write_tree(
            &scene.path("v2"),
            &[("bin/app", "version two!"), ("lib/a.txt", "same"), ("lib/new name.txt", "moves")],
        );
        scene
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.home.path().join(name)
    }

    fn device(&self) -> std::path::PathBuf {
        let device = self.path("device");
        self.server.publish("demo", &self.path("v1"), "1.0.0").ok();
        self.server.install("demo", &self.root, &device).ok();
        assert_same_tree(&self.path("v1"), &device);
        device
    }
}

#[test]
fn publish_install_check_update_rollback() {
    let scene = Scene::new();
    let device = scene.device();
    assert_eq!(agent("check", &device, &[]).ok().out.lines().count(), 1);

    fs::write(scene.path("notes.md"), "# New\n\nFaster.").unwrap();
    let notes = scene.path("notes.md");
    run(scene
        .server
        .publisher()
        .arg("publish")
        .arg(scene.path("v2"))
        .args(["--app", "demo", "--version", "1.1.0", "--channel", "stable", "--no-passphrase", "--notes"])
        .arg(notes))
    .ok();
    let check = agent("check", &device, &["--json"]);
    assert_eq!(check.code, 10, "{}", check.err);
    let news = check.json();
    assert_eq!((&news["version"], &news["notes"]), (&"1.1.0".into(), &"# New\n\nFaster.".into()));

    // The publisher signed what an update from this very tree costs, so it is known before a list of files is fetched.
    assert_eq!(news["exact"], true);
    let (fetch, full) = (news["fetch_bytes"].as_u64().unwrap(), news["full_bytes"].as_u64().unwrap());
    assert!(fetch < full, "{news}");
    fs::write(device.join("lib/a.txt"), "edited").unwrap();
    assert_eq!(agent("check", &device, &["--json"]).json()["exact"], false, "an edited tree costs more: at most");
    fs::write(device.join("lib/a.txt"), "same").unwrap();

    agent("update", &device, &[]).ok();
    assert_same_tree(&scene.path("v2"), &device);
    agent("verify", &device, &[]).ok();
    assert_eq!(agent("status", &device, &["--json"]).ok().json()["version"], "1.1.0");

    agent("rollback", &device, &[]).ok();
    assert_same_tree(&scene.path("v1"), &device);
    assert_eq!(agent("status", &device, &["--json"]).ok().json()["version"], "1.0.0");
    agent("update", &device, &[]).ok();
    assert_same_tree(&scene.path("v2"), &device);
}

#[test]
fn a_second_publish_of_the_same_tree_uploads_nothing() {
    let scene = Scene::new();
    let first = scene.server.publish("demo", &scene.path("v1"), "1.0.0").ok().json();
    assert_eq!(first["uploaded"]["blobs"], 3, "{first}");
    let again = scene.server.publish("demo", &scene.path("v1"), "1.0.1").ok().json();
    assert_eq!(again["uploaded"]["blobs"], 0, "{again}");
    let next = scene.server.publish("demo", &scene.path("v2"), "1.1.0").ok().json();
    assert_eq!(next["uploaded"]["blobs"], 1, "only the file that changed: {next}");
}

#[test]
fn without_a_channel_a_release_waits_until_it_is_promoted() {
    let scene = Scene::new();
    let device = scene.device();
    let command = &mut scene.server.publisher();
    command.arg("publish").arg(scene.path("v2")).args(["--app", "demo", "--version", "1.1.0", "--no-passphrase"]);
    run(command).ok();
    agent("check", &device, &[]).ok();
    run(scene.server.publisher().args(["channel", "promote", "stable", "1.1.0", "--app", "demo"])).ok();
    assert_eq!(agent("check", &device, &[]).code, 10);
    let shown =
        run(scene.server.publisher().args(["channel", "show", "stable", "--app", "demo", "--json"])).ok().json();
    assert_eq!(shown["platforms"]["any"]["current"], "1.1.0");
}

#[test]
fn verify_finds_and_repairs_damage() {
    let scene = Scene::new();
    let device = scene.device();
    fs::write(device.join("bin/app"), "version 0ne").unwrap();
    fs::remove_file(device.join("lib/a.txt")).unwrap();
    let said = agent("verify", &device, &[]);
    assert_eq!(said.code, 40, "{} {}", said.out, said.err);
    let all = format!("{}{}", said.out, said.err);
    assert!(all.contains("bin/app") && all.contains("lib/a.txt"), "{all}");
    agent("verify", &device, &["--repair"]).ok();
    assert_same_tree(&scene.path("v1"), &device);
}

#[test]
fn an_update_from_a_folder_needs_no_server() {
    let scene = Scene::new();
    let device = scene.device();
    scene.server.publish("demo", &scene.path("v2"), "1.1.0").ok();
    let stick = scene.path("stick");
    run(std::process::Command::new("cp").arg("-a").arg(scene.path("data/store")).arg(&stick)).ok();
    let Scene { home, server, .. } = scene;
    server.stop();
    agent("check", &device, &[]).fails(30, "");
    agent("update", &device, &["--from", stick.to_str().unwrap()]).ok();
    assert_same_tree(&home.path().join("v2"), &device);
}

#[test]
fn adopting_what_lies_there_already() {
    let scene = Scene::new();
    scene.server.publish("demo", &scene.path("v1"), "1.0.0").ok();
    let device = scene.path("device");
    write_tree(&device, &[("bin/app", "version one"), ("lib/a.txt", "not the same"), ("mine.cfg", "foreign")]);
    scene.server.install("demo", &scene.root, &device).fails(1, "--adopt");
    let url = format!("{}/apps/demo", scene.server.url);
    run(updraft().args(["agent", "install", "--adopt", "--url", &url, "--root-sha256", &scene.root]).arg(&device)).ok();
    assert_eq!(fs::read(device.join("mine.cfg")).unwrap(), b"foreign");
    fs::remove_file(device.join("mine.cfg")).unwrap();
    assert_same_tree(&scene.path("v1"), &device);
}

#[test]
fn what_people_get_wrong_is_said_and_loses_nothing() {
    let scene = Scene::new();
    let device = scene.device();
    let publish = |dir: &Path, version: &str| scene.server.publish("demo", dir, version);

    publish(&scene.path("nowhere"), "1.2").fails(1, "nowhere");
    publish(&scene.path("v2"), "1.0.0").fails(1, "1.0.0");
    publish(&scene.path("v2"), "0.9").fails(1, "0.9");
    publish(&scene.path("v1"), "1.0.0").ok();

    let bad = scene.path("bad");
    write_tree(&bad, &[("a:b", ""), ("ok", ""), ("sub/CON.txt", "")]);
    let said = publish(&bad, "1.2").fails(1, "a:b");
    assert!(said.err.contains("CON.txt"), "every bad name at once: {}", said.err);
    fs::remove_dir_all(&bad).unwrap();
    fs::create_dir(&bad).unwrap();
    std::os::unix::fs::symlink("../../etc/passwd", bad.join("link")).unwrap();
    publish(&bad, "1.2").fails(1, "link");

    let said = run(scene.server.publisher().args(["app", "create", "demo", "--no-passphrase"])).ok();
    assert!(said.out.contains("exists already"), "{}", said.out);
    let other_keys = scene.path("other keys");
    run(scene.server.publisher().env("UPDRAFT_KEYS", other_keys).args(["app", "create", "demo", "--no-passphrase"]))
        .fails(1, "exists");
    let wrong = run(scene.server.publisher().env("UPDRAFT_TOKEN", "upd_wrong").args([
        "app",
        "create",
        "other",
        "--no-passphrase",
    ]));
    wrong.fails(1, "token");
    run(scene.server.publisher().args(["channel", "promote", "stable", "7.0", "--app", "demo"])).fails(1, "7.0");

    let other = scene.path("other");
    let stranger = "0".repeat(64);
    scene.server.install("demo", &stranger, &other).fails(40, "root");
    assert!(!other.join("bin").exists(), "nothing unverified is written");
    assert_same_tree(&scene.path("v1"), &device);
}

#[test]
fn a_data_directory_has_one_master() {
    let scene = Scene::new();
    let mut second = updraft();
    second.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(scene.path("data"));
    let said = run(&mut second).fails(1, "in use");
    assert!(said.err.contains(&scene.server.pid().to_string()), "it names the process: {}", said.err);

    let port = scene.server.url.rsplit_once(':').unwrap().1;
    let mut third = updraft();
    third.args(["serve", "--listen", &format!("127.0.0.1:{port}"), "--data"]).arg(scene.path("data3"));
    run(&mut third).fails(1, port);
}

#[test]
fn a_newer_data_directory_and_an_unknown_key_are_refused() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("updraft.toml"), "listten = \"127.0.0.1:0\"\n").unwrap();
    let mut command = updraft();
    command
        .arg("serve")
        .arg("--config")
        .arg(home.path().join("updraft.toml"))
        .arg("--data")
        .arg(home.path().join("data"));
    run(&mut command).fails(1, "listen");

    Server::start(home.path(), &[]).stop();
    let format = home.path().join("data/store/format");
    assert!(format.exists(), "the store says which format it has");
    fs::write(&format, "updraft store 99\n").unwrap();
    let mut command = updraft();
    command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(home.path().join("data"));
    run(&mut command).fails(1, "format 99");
}

#[test]
fn what_was_published_survives_a_killed_server() {
    let scene = Scene::new();
    let device = scene.device();
    scene.server.publish("demo", &scene.path("v2"), "1.1.0").ok();
    let Scene { home, server, root } = scene;
    server.kill();
    let server = Server::start(home.path(), &[]);
    assert_eq!(get(&format!("{}/readyz", server.url)).unwrap().status, 200);
    let fresh = home.path().join("fresh");
    server.install("demo", &root, &fresh).ok();
    assert_same_tree(&home.path().join("v2"), &fresh);
    drop(device);
    run(server.publisher().args(["fsck", "--json"])).ok();
    let gc = run(server.publisher().args(["gc", "--json"])).ok().json();
    assert_eq!(gc["deleted"], 0, "nothing goes before its grace is over: {gc}");
}

#[test]
fn a_folder_is_served_watched_and_refuses_to_overlap() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("updates");
    let server = Server::start(home.path(), &[folder.to_str().unwrap(), "--watch"]);
    assert!(folder.read_dir().unwrap().next().is_some(), "a missing folder is made, with a hello file");
    let log = fs::read_to_string(home.path().join("server.log")).unwrap();
    let sha =
        log.split("--root-sha256 ").nth(1).and_then(|rest| rest.split_whitespace().next()).expect("the install line");
    assert!(log.contains("agent install") && log.contains("/dashboard"), "{log}");
    let device = home.path().join("device");
    server.install("updates", sha, &device).ok();
    assert_same_tree(&folder, &device);

    fs::write(folder.join("more.txt"), "more").unwrap();
    fs::write(folder.join(".updraftignore"), "*.tmp\n").unwrap();
    fs::write(folder.join("x.tmp"), "ignored").unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while agent("check", &device, &[]).code != 10 {
        assert!(std::time::Instant::now() < deadline, "the change was not published");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    agent("update", &device, &[]).ok();
    assert!(device.join("more.txt").exists() && !device.join("x.tmp").exists());
    server.stop();

    let mut inside = updraft();
    inside
        .args(["serve", "--app", "x", "--listen", "127.0.0.1:0"])
        .arg(home.path())
        .arg("--data")
        .arg(home.path().join("data"));
    run(&mut inside).fails(1, "inside one another");
}

#[test]
fn what_is_private_is_never_published() {
    // The story: `publish . --keys ./keys` once published root.pem and targets.pem, for everybody and for ever.
    let scene = Scene::new();
    let keys = scene.home.path().join("keys");
    scene.server.publish("demo", scene.home.path(), "1.0").fails(1, "inside one another");
    scene.server.publish("demo", &keys, "1.0").fails(1, "inside one another");

    // And `serve . --data ./data` left a token in the folder before it refused.
    let folder = scene.path("v1");
    let mut inside = updraft();
    inside.args(["serve", "--listen", "127.0.0.1:0", "--app", "x", "--data"]).arg(folder.join("data")).arg(&folder);
    run(&mut inside).fails(1, "inside one another");
    assert!(!folder.join("data").exists(), "nothing is written before it is refused");
}

#[test]
fn flags_win_over_the_environment() {
    // The story: with the variables set that `serve` itself tells to set, `gc --data` and `--token` were usage errors.
    let scene = Scene::new();
    let Scene { home, server, .. } = scene;
    let (url, token) = (server.url.clone(), server.token());
    let in_this_environment = || {
        let mut command = updraft();
        command.env("UPDRAFT_SERVER", &url).env("UPDRAFT_TOKEN_FILE", home.path().join("data/no such file"));
        command
    };
    run(in_this_environment().args(["app", "list", "--token", &token])).ok();
    server.stop();
    run(in_this_environment().arg("gc").arg("--data").arg(home.path().join("data"))).ok();
    run(in_this_environment().args(["fsck", "--repair", "--data"]).arg(home.path().join("data"))).ok();
    let mut nowhere = updraft();
    run(nowhere.args(["app", "list"])).fails(2, "--server");
    run(in_this_environment().args(["app", "list", "--token", "x"])).fails(30, "");
}
