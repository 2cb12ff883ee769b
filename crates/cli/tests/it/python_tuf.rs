//! python-tuf's own client (PyPI `tuf`) against what we serve: it fetches every live target, and refuses what was altered.
//!
//! The other way round, our client against what python-tuf wrote, is in `testkit`. Both need `scripts/python-env`, which
//! fails loudly where there is no Python; a plain `cargo test` lists them as ignored.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use updraft_core::digest::Sha256;
use updraft_core::trust::Role;
use updraft_testkit::{SimRepo, TreeFixture, keys};

use crate::support::{Said, Server, get, run, write_tree};

/// A Python that has python-tuf.
fn python() -> PathBuf {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/python-env");
    PathBuf::from(run(&mut Command::new(script)).ok().out.trim())
}

/// One installation of python-tuf's client, with its memory, for the app `demo` of the store that is served at `url`.
struct Foreigner {
    dir: PathBuf,
    root: PathBuf,
    url: String,
}

/// What it believes, and the SHA-256 of what it fetched.
#[derive(Debug, serde::Deserialize)]
struct Fetched {
    versions: BTreeMap<String, u64>,
    targets: BTreeMap<String, String>,
}

impl Foreigner {
    /// A fresh one, which is told the first root.
    fn new(dir: &Path, url: &str) -> Foreigner {
        let (dir, root) = (dir.to_owned(), dir.with_extension("root.json"));
        fs::write(&root, get(&format!("{url}/apps/demo/root.json")).unwrap().body).unwrap();
        Foreigner { dir, root, url: url.to_owned() }
    }

    fn run(&self, more: &[&str]) -> Said {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/python/fetch.py");
        let place = |name: &str| format!("{}/apps/demo/{name}/", self.url);
        let mut command = Command::new(python());
        command.arg(script).args([place("tuf"), place("targets")]).args([&self.root, &self.dir]);
        run(command.args(more))
    }

    #[track_caller]
    fn fetch(&self) -> Fetched {
        serde_json::from_value(self.run(&[]).ok().json()).unwrap()
    }

    /// The name of the error with which it refuses the repository.
    #[track_caller]
    fn refuses(&self, more: &[&str]) -> String {
        let said = self.run(more);
        assert_eq!(said.code, 3, "{more:?}: {}\n{}", said.out, said.err);
        said.json()["refused"].as_str().unwrap().to_owned()
    }
}

/// A server with an app that has four live releases on two platforms and two channels, and one that is not live any more.
fn server(home: &Path) -> Server {
    let server = Server::start(home, &[]);
    server.create_app("demo");
    let build = home.join("build");
    let publish = |version: &str, more: &[&str]| {
        write_tree(&build, &[("app", version), ("data/same", "the same in each")]);
        let mut command = server.publisher();
        command.arg("publish").arg(&build).args(["--app", "demo", "--no-passphrase", "--version", version]);
        run(command.args(more)).ok();
    };
    publish("0.9.0", &["--channel", "stable"]);
    publish("1.0.0", &["--channel", "stable"]);
    publish("1.1.0", &["--channel", "stable", "--notes", "Faster. 更快。"]);
    publish("1.2.0-beta.1+7", &["--channel", "beta", "--platform", "linux-x86_64"]);
    publish("1.3.0", &[]);
    server
}

/// The target paths of what the server says is live, and of its channels.
fn live(server: &Server) -> BTreeSet<String> {
    let app = run(server.publisher().args(["app", "show", "demo", "--json"])).ok().json();
    let release = |release: &serde_json::Value| {
        let text = |name: &str| release[name].as_str().unwrap().to_owned();
        format!("releases/{}/{}.json", text("platform"), text("version"))
    };
    let releases = app["releases"].as_array().unwrap().iter().map(release);
    let channels = app["channels"].as_object().unwrap().keys().map(|name| format!("channels/{name}"));
    releases.chain(channels).collect()
}

/// The file of a target in the store of `home`.
fn stored(home: &Path, path: &str, sha256: &str) -> PathBuf {
    let (folder, name) = path.rsplit_once('/').unwrap();
    home.join("data/store/apps/demo/targets").join(folder).join(format!("{sha256}.{name}"))
}

#[test]
#[ignore = "needs python-tuf: scripts/test"]
fn it_fetches_every_live_target() {
    let home = tempfile::tempdir().unwrap();
    let server = server(home.path());
    let foreigner = Foreigner::new(&home.path().join("foreign"), &server.url);
    let fetched = foreigner.fetch();

    let found: BTreeSet<String> = fetched.targets.keys().cloned().collect();
    assert_eq!(found, live(&server));
    assert_eq!(found.len(), 6, "four releases, two channels: {found:?}");
    for (path, sha256) in &fetched.targets {
        let bytes = fs::read(stored(home.path(), path, sha256)).unwrap();
        assert_eq!(Sha256::of(&bytes).to_string(), *sha256);
        let document: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        match path.as_str() {
            "channels/stable" => assert_eq!(document["platforms"]["any"]["current"], "1.1.0"),
            "channels/beta" => assert_eq!(document["platforms"]["linux-x86_64"]["current"], "1.2.0-beta.1+7"),
            release => assert_eq!(
                format!("{}.json", document["version"].as_str().unwrap()),
                release.rsplit('/').next().unwrap()
            ),
        }
    }
    assert_eq!(fetched.versions["root"], 1);

    // It goes on from what it believes: another publish, and a server that was away.
    run(server.publisher().args(["channel", "promote", "stable", "1.3.0", "--app", "demo"])).ok();
    server.stop();
    let server = Server::start(home.path(), &[]);
    let foreigner = Foreigner { url: server.url.clone(), ..foreigner };
    let next = foreigner.fetch();
    assert_ne!(next.targets["channels/stable"], fetched.targets["channels/stable"]);
    assert!(next.versions["timestamp"] > fetched.versions["timestamp"], "{next:?}");
}

#[test]
#[ignore = "needs python-tuf: scripts/test"]
fn it_refuses_every_part_that_was_altered_on_the_way() {
    let home = tempfile::tempdir().unwrap();
    let server = server(home.path());
    let of_metadata = ["timestamp.json", ".snapshot.json", ".targets.json", ".channels.json"];
    let of_targets = ["/targets/releases/any/", "/targets/releases/linux-x86_64/", "/targets/channels/"];
    for (n, part) in of_metadata.iter().chain(&of_targets).enumerate() {
        let foreigner = Foreigner::new(&home.path().join(format!("foreign-{n}")), &server.url);
        foreigner.refuses(&["--tamper", part]);
        foreigner.fetch();
    }
}

#[test]
#[ignore = "needs python-tuf: scripts/test"]
fn it_refuses_a_release_that_was_altered_in_the_store() {
    let home = tempfile::tempdir().unwrap();
    let server = server(home.path());
    let foreigner = Foreigner::new(&home.path().join("foreign"), &server.url);
    let releases = fs::read_dir(home.path().join("data/store/apps/demo/targets/releases/any")).unwrap();
    let mut files = releases.map(|entry| entry.unwrap().path());
    let file = files.find(|file| file.to_str().unwrap().ends_with(".1.1.0.json")).unwrap();
    let honest = fs::read(&file).unwrap();

    // Behind the back of a server that runs; one that starts would find it.
    let mut bytes = honest.clone();
    let at = bytes.windows(6).position(|part| part == b"Faster").unwrap();
    bytes[at] = b'f';
    fs::write(&file, bytes).unwrap();
    assert_eq!(foreigner.refuses(&[]), "LengthOrHashMismatchError");
    fs::write(&file, honest).unwrap();
    foreigner.fetch();
}

#[test]
#[ignore = "needs python-tuf: scripts/test"]
fn it_follows_ten_rotations_of_a_server() {
    let home = tempfile::tempdir().unwrap();
    let server = server(home.path());
    let old = Foreigner::new(&home.path().join("old"), &server.url);
    assert_eq!(old.fetch().versions["root"], 1);

    let ways: [&[&str]; 4] = [&["rotate"], &["replace-online"], &["rotate", "targets"], &["rotate", "root"]];
    for way in ways.iter().cycle().take(10) {
        run(server.publisher().arg("keys").args(*way).args(["--app", "demo", "--no-passphrase"])).ok();
    }
    server.publish("demo", &home.path().join("build"), "2.0.0").ok();
    let live = live(&server);
    assert!(live.contains("releases/any/2.0.0.json"), "{live:?}");
    for foreigner in [&old, &Foreigner::new(&home.path().join("new"), &server.url)] {
        let fetched = foreigner.fetch();
        assert_eq!(fetched.versions["root"], 11);
        assert_eq!(fetched.targets.keys().cloned().collect::<BTreeSet<_>>(), live);
    }
    for part in ["/6.root.json", ".targets.json", "/targets/releases/any/"] {
        let newcomer = Foreigner::new(&home.path().join(part.replace('/', "without ")), &server.url);
        newcomer.refuses(&["--tamper", part]);
    }
}

/// Serves a folder, with Python's own server.
struct Folder {
    child: Child,
    url: String,
}

impl Folder {
    fn serve(dir: &Path) -> Folder {
        let mut command = Command::new(python());
        command.args(["-u", "-m", "http.server", "--bind", "127.0.0.1", "0", "--directory"]).arg(dir);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.split(' ').skip_while(|word| *word != "port").nth(1).unwrap_or_else(|| panic!("{line}"));
        Folder { url: format!("http://127.0.0.1:{port}"), child }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
#[ignore = "needs python-tuf: scripts/test"]
fn it_follows_ten_roots_of_changing_keys_and_thresholds() {
    let home = tempfile::tempdir().unwrap();
    let root_keys = |n: u64| ["a", "b", "c"].map(|name| keys::named(&format!("root {name} {n}")));
    let mut repo = SimRepo::with_keys("demo", &root_keys(1), 2, &keys::targets(), &keys::online());
    // Foreigners have a clock of their own.
    repo.now = jiff::Timestamp::now();
    let release = repo.publish("1.0.0", "any", &TreeFixture::of(&[("app*", "one")]));
    repo.promote("stable", &release);
    repo.write_to(home.path());
    let folder = Folder::serve(home.path());
    let old = Foreigner::new(&home.path().join("old"), &folder.url);
    let before = old.fetch();
    assert_eq!(before.versions["root"], 1);

    let online = [Role::Timestamp, Role::Snapshot, Role::channels()];
    for n in 2..=11 {
        match n % 4 {
            0 => repo.rotate(&[Role::Targets], &[keys::named(&format!("targets {n}"))], 1),
            1 => repo.rotate(&online, &[keys::named(&format!("online {n}"))], 1),
            _ => repo.rotate(&[Role::Root], &root_keys(n), if n % 4 == 2 { 3 } else { 2 }),
        }
    }
    let release = repo.publish("1.1.0", "any", &TreeFixture::of(&[("app*", "two")]));
    repo.promote("stable", &release);
    repo.write_to(home.path());
    for foreigner in [&old, &Foreigner::new(&home.path().join("new"), &folder.url)] {
        let fetched = foreigner.fetch();
        assert_eq!(fetched.versions["root"], 11);
        let paths: Vec<_> = fetched.targets.keys().map(String::as_str).collect();
        assert_eq!(paths, ["channels/stable", "releases/any/1.0.0.json", "releases/any/1.1.0.json"]);
        assert_ne!(fetched.targets["channels/stable"], before.targets["channels/stable"]);
    }
    for part in ["/7.root.json", "/11.root.json"] {
        let newcomer = Foreigner::new(&home.path().join(part.replace('/', "without ")), &folder.url);
        newcomer.refuses(&["--tamper", part]);
    }
}
