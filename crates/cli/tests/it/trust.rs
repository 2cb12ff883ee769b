//! Trust as a device has it, with the real programs: bad roots, sticks of yesterday, a thief with the online key, and an
//! operator who goes back.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use updraft_core::head::Head;
use updraft_core::key::SigningKey;
use updraft_core::layout;
use updraft_core::limits::JSON_INT_MAX;
use updraft_core::signed::Envelope;
use updraft_core::trust::{Meta, Role};
use updraft_publisher::keys::{KeyName, Keystore, Unlocked};

use crate::support::{Said, Server, agent, assert_same_tree, listing, run, updraft, write_tree};

struct Scene {
    home: tempfile::TempDir,
    server: Server,
    root: String,
}

impl Scene {
    /// `demo` with one release.
    fn new() -> Scene {
        let home = tempfile::tempdir().unwrap();
        let server = Server::start(home.path(), &[]);
        let root = server.create_app("demo");
        let scene = Scene { home, server, root };
        scene.publish("1.0.0");
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn publish(&self, version: &str) {
        let build = self.path("build");
        write_tree(&build, &[("bin/app", "the same in all"), ("version", version)]);
        self.server.publish("demo", &build, version).ok();
    }

    fn url(&self) -> String {
        format!("{}/apps/demo", self.server.url)
    }

    #[track_caller]
    fn device(&self) -> PathBuf {
        let device = self.path("device");
        self.server.install("demo", &self.root, &device).ok();
        device
    }

    /// What a mirror has that was made now.
    fn stick(&self, name: &str) -> PathBuf {
        let stick = self.path(name);
        for (at, what) in listing(&self.path("data/store/apps/demo")) {
            let (from, to) = (self.path("data/store/apps/demo").join(&at), stick.join("apps/demo").join(&at));
            if what.starts_with("dir ") {
                fs::create_dir_all(to).unwrap();
            } else {
                fs::create_dir_all(to.parent().unwrap()).unwrap();
                fs::copy(from, to).unwrap();
            }
        }
        stick
    }
}

fn from(stick: &Path) -> [&str; 2] {
    ["--from", stick.to_str().unwrap()]
}

#[track_caller]
fn has(device: &Path, version: &str) {
    assert_eq!(fs::read_to_string(device.join("version")).unwrap(), version);
    agent("verify", device, &[]).ok();
}

#[test]
fn a_root_that_is_none_or_not_this_apps_is_named_and_nothing_is_spoilt() {
    let scene = Scene::new();
    let other = scene.server.create_app("other");
    let device = scene.path("device");
    let install = |root: &[&str]| -> Said {
        run(updraft().args(["agent", "install", "--url", &scene.url()]).args(root).arg(&device))
    };
    let file = |name: &str, content: &[u8]| {
        fs::write(scene.path(name), content).unwrap();
        scene.path(name).display().to_string()
    };
    let root = fs::read(scene.path("keys/demo/root.json")).unwrap();
    let edited = |edit: fn(&mut Value)| {
        let mut value: Value = serde_json::from_slice(&root).unwrap();
        edit(&mut value["signed"]);
        serde_json::to_vec(&value).unwrap()
    };
    let bad = [
        (file("text", b"not a root"), "not a signed document"),
        (file("torn", &root[..root.len() / 2]), "not a signed document"),
        (file("long", &vec![b' '; 600_000]), "has more than the 512000 bytes that it may have"),
        (file("forged", &edited(|root| root["version"] = 7.into())), "0 of the 1 signatures that are needed"),
        (
            file("threshold", &edited(|root| root["roles"]["timestamp"]["threshold"] = 2.into())),
            "it wants 2 signatures for timestamp and has 1 of the keys, so nobody can ever sign that",
        ),
        (scene.path("nowhere").display().to_string(), "cannot read"),
    ];
    for (path, says) in &bad {
        let said = install(&["--root", path]);
        let code = if says.contains("cannot") || says.contains("more than") { 1 } else { 40 };
        let said = said.fails(code, says);
        assert!(said.err.contains(path.as_str()), "{}", said.err);
        assert!(!device.exists(), "{path}");
    }
    install(&["--root-sha256", &other]).fails(40, "ask the publisher which one is right");
    let others = scene.path("keys/other/root.json").display().to_string();
    install(&["--root", &others]).fails(40, "either that is the root of another app");
    assert!(!device.join("version").exists());

    let own = scene.path("keys/demo/root.json").display().to_string();
    install(&["--root", &own]).ok();
    has(&device, "1.0.0");
    install(&["--root", &others]).fails(1, "is installed there already");
    has(&device, "1.0.0");
    // Somebody answered: it makes no sense to try again later.
    let nothing = format!("{}/apps/nothing", scene.server.url);
    let elsewhere = scene.path("elsewhere");
    run(updraft().args(["agent", "install", "--url", &nothing, "--trust-on-first-use"]).arg(&elsewhere))
        .fails(1, "has no app nothing");
}

#[test]
fn a_stick_of_yesterday_is_refused_once_today_was_seen() {
    let scene = Scene::new();
    let device = scene.device();
    let yesterday = scene.stick("yesterday");
    agent("check", &device, &from(&yesterday)).ok();
    scene.publish("1.1.0");
    agent("update", &device, &[]).ok();
    for verb in ["check", "update"] {
        agent(verb, &device, &from(&yesterday)).fails(40, "a rollback attack looks like this");
    }
    has(&device, "1.1.0");
    agent("check", &device, &[]).ok();
}

/// `DIR.updraft/trust` may be lost or full of rubbish: the next check mends it.
#[test]
fn a_damaged_memory_mends_itself() {
    let scene = Scene::new();
    let device = scene.device();
    let trust = scene.path("device.updraft/trust");
    // Whoever has the newest release needs no release document.
    fs::remove_file(trust.join("release.json")).unwrap();
    let good = listing(&trust);
    assert!(good.len() >= 7, "{good:?}");
    for file in good.keys() {
        fs::write(trust.join(file), "rubbish").unwrap();
        agent("check", &device, &[]).ok();
        assert_eq!(listing(&trust), good, "{file}");
        fs::remove_file(trust.join(file)).unwrap();
        fs::create_dir(trust.join(file)).unwrap();
        agent("status", &device, &[]).ok();
        agent("check", &device, &[]).ok();
        assert_eq!(listing(&trust), good, "{file}");
    }
    fs::remove_dir_all(&trust).unwrap();
    agent("status", &device, &[]).ok();
    agent("check", &device, &[]).ok();
    scene.publish("1.1.0");
    agent("update", &device, &[]).ok();
    has(&device, "1.1.0");
}

/// The online key of the server, as a thief finds it.
fn stolen(scene: &Scene) -> SigningKey {
    let folder = tempfile::tempdir().unwrap();
    let store = Keystore::at(folder.path());
    fs::copy(scene.path("data/keys/demo/online.pem"), store.key_path(KeyName::Targets)).unwrap();
    store.open_key(KeyName::Targets, &Unlocked).unwrap()
}

/// Drives the versions of all that the online key signs as high as they go.
fn drive_up(stick: &Path, key: &SigningKey) {
    let app = "demo".parse().unwrap();
    let at = |role: &Role, version: u64| stick.join(layout::metadata(&app, &layout::role_file(role, version)).as_str());
    let sign = |bytes: &[u8], edit: &dyn Fn(&mut Value)| {
        let mut signed = serde_json::from_slice::<Value>(bytes).unwrap()["signed"].take();
        signed["version"] = JSON_INT_MAX.into();
        edit(&mut signed);
        Envelope::new(&signed).sign(key).to_bytes()
    };
    let highest = JSON_INT_MAX as u64;
    let head = stick.join(layout::head(&app).as_str());
    let mut state = Head::decode(&fs::read(&head).unwrap()).unwrap();
    let snapshot: Value = serde_json::from_slice(&state.snapshot).unwrap();
    let version = snapshot["signed"]["meta"]["channels.json"]["version"].as_u64().unwrap();
    let channels = sign(&fs::read(at(&Role::channels(), version)).unwrap(), &|_| {});
    fs::write(at(&Role::channels(), highest), &channels).unwrap();
    state.snapshot =
        sign(&state.snapshot, &|signed| signed["meta"]["channels.json"] = json!(Meta::of(&channels, highest)));
    fs::write(at(&Role::Snapshot, highest), &state.snapshot).unwrap();
    let named = json!(Meta::of(&state.snapshot, highest));
    state.timestamp = sign(&state.timestamp, &|signed| signed["meta"]["snapshot.json"] = named.clone());
    fs::write(at(&Role::Timestamp, highest), &state.timestamp).unwrap();
    fs::write(&head, state.encode()).unwrap();
}

/// A thief of the online key shows a device versions that nothing honest ever reaches. The publisher replaces the key in one
/// command, and the device recovers at its next check.
#[test]
fn a_device_that_a_thief_led_far_ahead_recovers_when_the_online_keys_are_replaced() {
    let scene = Scene::new();
    let device = scene.device();
    let stick = scene.stick("thief");
    drive_up(&stick, &stolen(&scene));
    agent("check", &device, &from(&stick)).ok();
    agent("check", &device, &[]).fails(40, "a rollback attack looks like this");
    has(&device, "1.0.0");

    run(scene.server.publisher().args(["keys", "replace-online", "--app", "demo"])).ok();
    agent("check", &device, &[]).ok();
    scene.publish("1.1.0");
    agent("update", &device, &[]).ok();
    has(&device, "1.1.0");
    assert_same_tree(&scene.path("build"), &device);
    // What the thief has is good for nothing any more, for those who were there and for newcomers.
    agent("check", &device, &from(&stick)).fails(40, "a forgery looks like this");
    let again = scene.stick("again");
    drive_up(&again, &stolen(&scene));
    agent("check", &device, &from(&again)).fails(40, "a forgery looks like this");
    has(&device, "1.1.0");
}

#[test]
fn an_operator_goes_back_to_what_is_live_and_to_nothing_else() {
    let scene = Scene::new();
    let device = scene.device();
    scene.publish("1.1.0");
    agent("update", &device, &[]).ok();
    agent("update", &device, &["--to", "1.0.0", "--allow-downgrade"]).ok();
    has(&device, "1.0.0");
    let status = agent("status", &device, &["--json"]).ok().json();
    assert_eq!(
        (&status["version"], &status["held"], &status["previous"]["version"]),
        (&json!("1.0.0"), &json!(true), &json!("1.1.0"))
    );
    agent("rollback", &device, &[]).ok();
    has(&device, "1.1.0");
    // The release before the last two is not live any more, whoever asks for it.
    scene.publish("1.2.0");
    scene.publish("1.3.0");
    agent("update", &device, &["--to", "1.0.0", "--allow-downgrade"])
        .fails(1, "version 1.0.0 is not live; live: 1.3.0, 1.2.0");
    has(&device, "1.1.0");
    agent("update", &device, &["--to", "1.2.0"]).ok();
    has(&device, "1.2.0");
}
