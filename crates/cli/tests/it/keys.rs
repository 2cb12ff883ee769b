//! Keys as people change them: alone, in company, after a loss, and off the server.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::{Said, Server, agent, assert_same_tree, run, updraft, write_tree};

const FILES: [(&str, &str); 2] = [("bin/app", "version one"), ("lib/a.txt", "same")];

struct Scene {
    home: tempfile::TempDir,
    server: Server,
}

impl Scene {
    fn new(args: &[&str]) -> Scene {
        let home = tempfile::tempdir().unwrap();
        let server = Server::start(home.path(), args);
        write_tree(&home.path().join("build"), &FILES);
        Scene { home, server }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn keys(&self) -> PathBuf {
        self.path("keys/demo")
    }

    /// `updraft keys ...` of the publisher, in the scene's folder.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.server.publisher();
        command.current_dir(self.home.path()).arg("keys").args(args);
        command
    }

    #[track_caller]
    fn run(&self, args: &[&str]) -> Said {
        run(&mut self.command(args))
    }

    /// Publishes a build that no version before had.
    #[track_caller]
    fn publish(&self, version: &str) -> Said {
        fs::write(self.path("build/version"), version).unwrap();
        self.server.publish("demo", &self.path("build"), version)
    }

    fn show(&self) -> Value {
        self.run(&["show", "--app", "demo", "--json"]).ok().json()
    }

    #[track_caller]
    fn device(&self, root: &str) -> PathBuf {
        let device = self.path("device");
        self.server.install("demo", root, &device).ok();
        device
    }

    /// The device takes what is published last; from the store itself, for a server that is started again has another port.
    #[track_caller]
    fn update(&self, device: &Path) {
        agent("update", device, &["--from", self.path("data/store").to_str().unwrap()]).ok();
        assert_same_tree(&self.path("build"), device);
    }

    fn restart(self, args: &[&str]) -> Scene {
        self.server.stop();
        let server = Server::start(self.home.path(), args);
        Scene { home: self.home, server }
    }
}

/// What `keys show` says of a role.
fn role<'a>(view: &'a Value, name: &str) -> &'a Value {
    view["roles"].as_array().unwrap().iter().find(|role| role["role"] == name).unwrap()
}

fn fingerprints(view: &Value, name: &str) -> Vec<String> {
    let keys = role(view, name)["keys"].as_array().unwrap();
    keys.iter().map(|key| key["fingerprint"].as_str().unwrap().to_owned()).collect()
}

fn names(dir: &Path, end: &str) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name.ends_with(end));
    names.sort();
    names
}

/// The fingerprint that a command says is to be compared.
fn fingerprint(said: &str) -> String {
    let group = |word: &&str| word.len() == 39 && word.split('-').count() == 8;
    said.split_whitespace().find(group).unwrap_or_else(|| panic!("no fingerprint in:\n{said}")).to_owned()
}

#[test]
fn rotated_keys_publish_and_devices_follow() {
    let scene = Scene::new(&[]);
    let root = scene.server.create_app("demo");
    scene.publish("1.0.0").ok();
    let device = scene.device(&root);
    let before = scene.show();
    assert_eq!(
        (&before["root_version"], role(&before, "root")["keys"][0]["private"].as_str()),
        (&1.into(), Some("here"))
    );
    assert_eq!(role(&before, "channels")["keys"][0]["private"], "server");

    let dry = scene.run(&["rotate", "--app", "demo", "--dry-run"]).ok();
    assert!(dry.out.contains("a new key would take the place"), "{}", dry.out);
    // All but the days that are left, of which one may be over by now.
    let still = scene.show();
    for name in ["root", "targets", "timestamp"] {
        assert_eq!(fingerprints(&still, name), fingerprints(&before, name));
    }
    assert_eq!((&still["root_version"], names(&scene.keys(), ".pem").len()), (&1.into(), 2));

    // Nobody says whether the new ones are to be locked, and there is no terminal to ask on.
    scene.run(&["rotate", "--app", "demo"]).fails(1, "a passphrase is needed");
    let said = scene.run(&["rotate", "--app", "demo", "--no-passphrase"]).ok();
    assert!(said.out.contains("root 2 of demo counts now"), "{}", said.out);
    let after = scene.show();
    assert_eq!(after["root_version"], 2);
    for name in ["root", "targets"] {
        assert_ne!(fingerprints(&before, name), fingerprints(&after, name));
        assert_eq!(role(&after, name)["keys"][0]["private"], "here");
    }
    assert_eq!(fingerprints(&before, "timestamp"), fingerprints(&after, "timestamp"));
    assert_eq!(after["unused"].as_array().unwrap().len(), 2, "the old ones are kept, and sign nothing");
    assert!(!scene.keys().join("rotation.json").exists());

    scene.publish("1.1.0").ok();
    scene.update(&device);
    // A newcomer begins at the first root, and comes all the way; a later one would do as well.
    let said = scene.run(&["export-root", "--app", "demo"]).ok();
    assert!(said.out.contains(&root), "{}", said.out);
    scene.run(&["export-root", "--app", "demo", "--version", "2", "--out", "second.json"]).ok();
    for (file, dir) in [("demo.root.json", "first"), ("second.json", "second")] {
        let url = format!("{}/apps/demo", scene.server.url);
        let install = &mut updraft();
        install.args(["agent", "install", "--url", &url, "--root"]).arg(scene.path(file)).arg(scene.path(dir));
        run(install).ok();
        assert_same_tree(&scene.path("build"), &scene.path(dir));
    }
    scene.run(&["export-root", "--app", "demo", "--version", "9"]).fails(1, "has no root 9; it has 1 to 2");
    scene.run(&["export-root", "--app", "demo", "--version", "2"]).ok();
    scene.run(&["export-root", "--app", "demo", "--out", "second.json"]).fails(1, "is there already");

    // Without a server it says what was seen last.
    let mut offline = updraft();
    offline.env("UPDRAFT_KEYS", scene.path("keys")).args(["keys", "show", "--app", "demo", "--json"]);
    let remembered = run(&mut offline).ok().json();
    assert_eq!((&remembered["remembered"], &remembered["root_version"]), (&true.into(), &2.into()));
    let people = scene.run(&["show", "--app", "demo"]).ok();
    assert!(people.out.contains("1 of 1 must sign") && people.out.contains("signs nothing: "), "{}", people.out);

    // A later end for all that people sign, and for targets alone, without a root.
    // Both are new, so it is asked twice: an app has so many roots and no more.
    let said = scene.run(&["renew", "--app", "demo"]).ok();
    assert!(
        said.out.contains("nothing is renewed: neither root nor targets of demo ends within a year"),
        "{}",
        said.out
    );
    assert_eq!(scene.show()["root_version"], 2);
    scene.run(&["renew", "--app", "demo", "--force"]).ok();
    assert_eq!(scene.show()["root_version"], 3);
    for key in names(&scene.keys(), ".pem").iter().filter(|name| name.starts_with("root")) {
        fs::remove_file(scene.keys().join(key)).unwrap();
    }
    let said = scene
        .run(&["renew", "root", "--force", "--app", "demo", "--out", "others"])
        .fails(1, "do not suffice for root 4");
    let file = format!("demo.root-4.for-{}.json", fingerprints(&scene.show(), "root")[0]);
    assert_eq!(names(&scene.path("others"), ""), [file.as_str()]);
    assert!(said.out.contains(&file), "{}", said.out);
    let said = scene.run(&["renew", "targets", "--app", "demo"]).ok();
    assert!(said.out.contains("targets of demo are signed anew"), "{}", said.out);
    scene.publish("1.2.0").ok();
    scene.update(&device);
}

/// Somebody who has one root key of three, on a machine without a network.
struct Colleague<'a> {
    scene: &'a Scene,
    keys: PathBuf,
    fingerprint: String,
}

impl<'a> Colleague<'a> {
    /// Carries a key off the publisher's machine.
    fn carry(scene: &'a Scene, name: &str, fingerprint: &str) -> Self {
        let keys = scene.path(name);
        fs::create_dir_all(keys.join("demo")).unwrap();
        let file = format!("root-{fingerprint}.pem");
        fs::rename(scene.keys().join(&file), keys.join("demo").join(&file)).unwrap();
        fs::copy(scene.keys().join("root.json"), keys.join("demo/root.json")).unwrap();
        Self { scene, keys, fingerprint: fingerprint.to_owned() }
    }

    fn sign(&self, file: &str, args: &[&str]) -> Said {
        let mut command = updraft();
        command.current_dir(self.scene.home.path()).env("UPDRAFT_KEYS", &self.keys);
        run(command.args(["keys", "root", "sign", file]).args(args))
    }

    fn file(&self, version: u64) -> String {
        format!("demo.root-{version}.for-{}.json", self.fingerprint)
    }
}

fn committee(scene: &Scene) -> (String, Vec<String>) {
    let args = ["app", "create", "demo", "--root-keys", "3", "--threshold", "2", "--no-passphrase"];
    let made = run(scene.server.publisher().args(args).arg("--json")).ok().json();
    let keys = made["root"]["keys"].as_array().unwrap().iter().map(|key| key.as_str().unwrap().to_owned()).collect();
    assert_eq!(made["root"]["threshold"], 2);
    let again = run(scene.server.publisher().args(args)).ok();
    assert!(again.out.contains("exists already"), "{}", again.out);
    (made["root_sha256"].as_str().unwrap().to_owned(), keys)
}

#[test]
fn two_of_three_change_keys_with_one_file_each_way() {
    let scene = Scene::new(&[]);
    let (root, keys) = committee(&scene);
    let bob = Colleague::carry(&scene, "bob", &keys[1]);
    let carol = Colleague::carry(&scene, "carol", &keys[2]);
    scene.publish("1.0.0").ok();
    let device = scene.device(&root);
    let places: Vec<_> = role(&scene.show(), "root")["keys"].as_array().unwrap().clone();
    assert_eq!(places.iter().filter(|key| key["private"] == "elsewhere").count(), 2);

    let said =
        scene.run(&["rotate", "targets", "--app", "demo", "--no-passphrase"]).fails(1, "nothing has changed yet");
    assert_eq!(scene.show()["root_version"], 1);
    for colleague in [&bob, &carol] {
        assert!(said.out.contains(&colleague.file(2)), "{}", said.out);
    }
    let compared = fingerprint(&said.out);
    // Again writes the same files: the key that was made is the one that goes in.
    let again = scene.run(&["rotate", "targets", "--app", "demo", "--no-passphrase"]);
    assert_eq!((again.code, names(&scene.keys(), ".pem").len()), (1, 3));

    bob.sign(&bob.file(2), &[]).fails(2, "no terminal to ask on");
    let other = "0000-".repeat(7) + "0000";
    bob.sign(&bob.file(2), &["--fingerprint", &other]).fails(1, "not the fingerprint that you were told");
    let said = bob.sign(&bob.file(2), &["--fingerprint", &compared]).ok();
    assert!(said.out.contains("signed root with key") && said.out.contains("it is complete"), "{}", said.out);
    assert!(said.out.contains("it was verified from"), "{}", said.out);
    let again = bob.sign(&bob.file(2), &["--yes"]).ok();
    assert!(again.out.contains("had signed it before"), "{}", again.out);

    scene.run(&["root", "accept", &carol.file(2)]).fails(1, "signatures are lacking");
    let dry = scene.run(&["root", "accept", &bob.file(2), "--dry-run"]).ok();
    assert!(dry.out.contains("may not sign any more"), "{}", dry.out);
    let said = scene.run(&["root", "accept", &bob.file(2), &carol.file(2)]).ok();
    assert!(said.out.contains("root 2 of demo counts now"), "{}", said.out);
    let twice = scene.run(&["root", "accept", &bob.file(2)]).ok();
    assert!(twice.out.contains("it had arrived before"), "{}", twice.out);
    scene.publish("1.1.0").ok();
    scene.update(&device);

    // Carol loses her key, and makes another. The other two let it in and hers out, in one root.
    let mut new = updraft();
    new.current_dir(scene.home.path()).env("UPDRAFT_KEYS", &carol.keys);
    run(new.args(["keys", "new", "root", "--app", "demo", "--out", "carol.json", "--no-passphrase"])).ok();
    let args = ["--add-key", "carol.json", "--revoke", &keys[2][..8], "--app", "demo", "--out", "to-sign.json"];
    let said = scene.run(&[&["root", "propose"][..], &args].concat()).ok();
    let compared = fingerprint(&said.out);
    scene.run(&["root", "sign", "to-sign.json", "--fingerprint", &compared]).ok();
    scene.run(&["root", "accept", "to-sign.json"]).fails(1, "1 more on root");
    fs::copy(scene.path("to-sign.json"), scene.path("for-bob.json")).unwrap();
    bob.sign("for-bob.json", &["--yes"]).ok();
    scene.run(&["root", "accept", "for-bob.json"]).ok();
    let now = fingerprints(&scene.show(), "root");
    assert_eq!(now.len(), 3);
    assert!(!now.contains(&keys[2]) && now.contains(&keys[0]) && now.contains(&keys[1]), "{now:?}");
    scene.update(&device);

    // Nothing that nobody could undo.
    for (args, reason) in [
        (&["revoke", &keys[0], "--app", "demo", "--threshold", "3"][..], "3 signatures of 2 keys could never be had"),
        (&["revoke", "0123456789", "--app", "demo"], "no key 0123456789 signs for demo"),
        (&["add", "root", "carol.json", "--app", "demo"], "would be there twice"),
        (&["add", "root", "build/lib/a.txt", "--app", "demo"], "it is no public key"),
    ] {
        scene.run(args).fails(1, reason);
    }
    let online = fingerprints(&scene.show(), "timestamp").remove(0);
    scene.run(&["revoke", &online, "--app", "demo"]).fails(1, "is the server's; `keys replace-online");
    assert_eq!(scene.show()["root_version"], 3);
}

#[test]
fn a_bad_proposal_is_named_and_nothing_is_lost() {
    let scene = Scene::new(&[]);
    let (root, keys) = committee(&scene);
    let bob = Colleague::carry(&scene, "bob", &keys[1]);
    scene.run(&["root", "propose", "--app", "demo", "--out", "good.json"]).ok();
    let good = fs::read(scene.path("good.json")).unwrap();

    fs::write(scene.path("cut.json"), &good[..good.len() / 2]).unwrap();
    bob.sign("cut.json", &["--yes"]).fails(1, "cut.json: it is no whole proposal");
    bob.sign("missing.json", &["--yes"]).fails(1, "missing.json");

    // Signed by somebody else's key.
    let stranger = Colleague { scene: &scene, keys: scene.path("stranger"), fingerprint: String::new() };
    let mut new = updraft();
    new.current_dir(scene.home.path()).env("UPDRAFT_KEYS", &stranger.keys);
    run(new.args(["keys", "new", "root", "--app", "demo", "--no-passphrase"])).ok();
    let first = ["--yes", "--root-sha256", &root];
    stranger.sign("good.json", &first).fails(1, "none of the keys here may sign it");
    assert!(!scene.path("stranger/demo/root.json").exists());
    assert_eq!(fs::read(scene.path("good.json")).unwrap(), good);

    // Of another app: the first root is another.
    let args = ["app", "create", "other", "--no-passphrase"];
    run(scene.server.publisher().args(args)).ok();
    scene.run(&["root", "propose", "--app", "other", "--out", "other.json"]).ok();
    let text = fs::read_to_string(scene.path("other.json")).unwrap();
    fs::write(scene.path("other.json"), text.replace("\"app\": \"other\"", "\"app\": \"demo\"")).unwrap();
    bob.sign("other.json", &["--yes"]).fails(40, "so it is for another app");
    scene.run(&["root", "accept", "good.json", "other.json"]).fails(1, "another proposal");

    // A fresh machine has nothing to verify it from: what the file begins with is its maker's choice, and no yes helps.
    let pinned = bob.keys.join("demo/root.json");
    let first_root = fs::read(&pinned).unwrap();
    fs::remove_file(&pinned).unwrap();
    bob.sign("good.json", &["--yes"]).fails(2, "give the SHA-256 of the app's first root with --root-sha256");
    bob.sign("good.json", &["--yes", "--root-sha256", &"0".repeat(64)]).fails(40, "do not sign it");
    assert_eq!(fs::read(scene.path("good.json")).unwrap(), good);
    let said = bob.sign("good.json", &first).ok();
    assert!(
        said.out.contains("root: 2 of 3 must sign: ") && keys.iter().all(|key| said.out.contains(key)),
        "{}",
        said.out
    );
    assert_eq!(fs::read(&pinned).unwrap(), first_root);
    bob.sign("good.json", &["--yes"]).ok();
}

#[test]
fn a_wrong_passphrase_changes_nothing() {
    let scene = Scene::new(&[]);
    fs::write(scene.path("secret"), "correct horse\n").unwrap();
    fs::write(scene.path("wrong"), "battery staple\n").unwrap();
    let create = ["app", "create", "demo", "--passphrase-file"];
    run(scene.server.publisher().args(create).arg(scene.path("secret"))).ok();
    let before = names(&scene.keys(), "");
    scene.run(&["rotate", "--app", "demo", "--passphrase-file", "wrong"]).fails(1, "wrong passphrase; try again");
    assert_eq!(names(&scene.keys(), ""), before);
    scene.run(&["rotate", "--app", "demo", "--passphrase-file", "secret"]).ok();
    let view = scene.show();
    assert!(role(&view, "root")["keys"][0]["locked"] == true, "{view}");
    scene.run(&["rotate", "--app", "demo", "--passphrase-file", "wrong"]).fails(1, "wrong passphrase");
    assert_eq!(scene.show()["root_version"], 2);
}

#[test]
fn lost_online_keys_are_replaced_in_one_command() {
    let scene = Scene::new(&[]);
    let root = scene.server.create_app("demo");
    scene.publish("1.0.0").ok();
    let device = scene.device(&root);
    let before = scene.show();
    let online = scene.path("data/keys/demo/online.pem");
    fs::remove_file(&online).unwrap();
    let scene = scene.restart(&[]);
    assert_ne!(scene.publish("1.1.0").code, 0);

    let dry = scene.run(&["replace-online", "--app", "demo", "--dry-run"]).ok();
    assert!(dry.out.contains("a new key of the server"), "{}", dry.out);
    assert!(names(&scene.path("data/keys/demo"), ".pem").is_empty());
    let said = scene.run(&["replace-online", "--app", "demo"]).ok();
    assert!(said.out.contains("in the place of key"), "{}", said.out);
    let after = scene.show();
    for name in ["timestamp", "snapshot", "channels"] {
        assert_ne!(fingerprints(&before, name), fingerprints(&after, name));
    }
    scene.publish("1.1.0").ok();
    scene.update(&device);
    // The server goes on with the new one after a restart.
    let scene = scene.restart(&[]);
    scene.publish("1.2.0").ok();
    scene.update(&device);
}

#[test]
fn the_keys_of_a_folder_leave_the_server() {
    let home = tempfile::tempdir().unwrap();
    let (folder, data) = (home.path().join("demo"), home.path().join("data"));
    write_tree(&folder, &FILES);
    fs::write(home.path().join("secret"), "correct horse").unwrap();
    let text = |path: &Path| path.display().to_string();
    let serve = [text(&folder)];
    let serve: Vec<&str> = serve.iter().map(String::as_str).collect();
    let server = Server::start(home.path(), &serve);
    let log = || fs::read_to_string(home.path().join("server.log")).unwrap();
    let root = log().split("--root-sha256 ").nth(1).unwrap()[..64].to_owned();
    let scene = Scene { home, server };
    let device = scene.device(&root);
    assert_same_tree(&folder, &device);

    let data_text = text(&data);
    let secret = text(&scene.path("secret"));
    let take = ["move", "--app", "demo", "--data", &data_text, "--passphrase-file", &secret];
    scene.run(&take).fails(1, "in use by process");
    let url = scene.server.url.clone();
    scene.server.stop();
    let offline = |args: &[&str]| {
        let mut command = updraft();
        run(command.env("UPDRAFT_KEYS", scene.home.path().join("keys")).arg("keys").args(args))
    };
    let dry = offline(&[&take[..], &["--dry-run"]].concat()).ok();
    assert!(dry.out.contains("would move"), "{}", dry.out);
    let inside = text(&data.join("keys2"));
    offline(&[&take[..], &["--keys", &inside]].concat()).fails(1, "in the server's own directory");
    let on_server = data.join("keys/demo");
    assert_eq!(names(&on_server, ".pem"), ["online.pem", "root.pem", "targets.pem"]);
    // Interrupted after the first copy, one key is in both places; that one is kept, if it opens.
    let keys = scene.home.path().join("keys/demo");
    fs::create_dir_all(&keys).unwrap();
    fs::write(keys.join("root.pem"), include_str!("../../../publisher/tests/it/golden/targets.pem")).unwrap();
    offline(&take).fails(1, "root.pem: wrong passphrase");
    assert_eq!(names(&on_server, ".pem").len(), 3, "nothing leaves before all of it is safe");
    fs::copy(on_server.join("root.pem"), keys.join("root.pem")).unwrap();
    let _ = fs::remove_file(keys.join("targets.pem"));
    // Another app's directory gets no key.
    let first_root = fs::read(on_server.join("root.json")).unwrap();
    fs::write(keys.join("root.json"), "another app's").unwrap();
    offline(&take).fails(1, "root.json: is there already");
    assert_eq!(names(&keys, ".pem"), ["root.pem"]);
    fs::write(keys.join("root.json"), first_root).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(keys.join("root.pem"), fs::Permissions::from_mode(0o644)).unwrap();
    }
    let keys_root = text(&scene.home.path().join("keys"));
    let said = offline(&[&take[..], &["--keys", &keys_root]].concat()).ok();
    assert!(said.out.contains("whoever copied them can still sign"), "{}", said.out);
    assert!(said.out.contains(&format!("keys rotate --app demo --keys {keys_root}")), "{}", said.out);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(keys.join("root.pem")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    assert!(fs::read_to_string(keys.join("root.pem")).unwrap().contains("ENCRYPTED"), "what lay here is locked, too");
    assert_eq!(names(&on_server, ".pem"), ["online.pem"]);
    assert_eq!(names(&keys, ".pem"), ["root.pem", "targets.pem"]);
    assert!(fs::read_to_string(keys.join("targets.pem")).unwrap().contains("ENCRYPTED"));
    let again = offline(&take).ok();
    assert!(again.out.contains("already"), "{}", again.out);
    offline(&["move", "--app", "nobody", "--data", &data_text]).fails(1, "no publisher's keys of nobody are here");

    // The folder is served as it was, and what changes in it waits for its publisher.
    fs::write(folder.join("more.txt"), "more").unwrap();
    let scene = Scene { server: Server::start(scene.home.path(), &serve), home: scene.home };
    assert_ne!(scene.server.url, url);
    assert!(log_of(&scene).contains("not on this server any more"), "{}", log_of(&scene));
    let scan = crate::support::get(&format!("{}/generateNewConfig", scene.server.url)).unwrap();
    assert_ne!(scan.status, 200);
    assert!(String::from_utf8_lossy(&scan.body).contains("updraft publish DIR --app demo"));
    let list = crate::support::get(&format!("{}/bin/app", scene.server.url)).unwrap();
    assert_eq!((list.status, list.body.as_slice()), (200, b"version one".as_slice()));

    scene.run(&["rotate", "--app", "demo", "--passphrase-file", &secret]).ok();
    let publish = ["--app", "demo", "--version", "1.0.0", "--channel", "stable", "--passphrase-file", &secret];
    run(scene.server.publisher().arg("publish").arg(&folder).args(publish)).ok();
    agent("update", &device, &["--from", data.join("store").to_str().unwrap()]).ok();
    assert_same_tree(&folder, &device);
}

fn log_of(scene: &Scene) -> String {
    fs::read_to_string(scene.path("server.log")).unwrap()
}
