//! Our client against repositories that python-tuf wrote: it fetches every target that can be found, and no other.
//!
//! The client is the example `tuf-conformance-client`, which is thin over the code that devices run. The other way round,
//! python-tuf's client against our server, is among the tests of `cli`.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde::Deserialize;
use updraft_core::digest::Sha256;

use crate::python;

/// What `python/write.py` says of a repository.
#[derive(Debug, Deserialize)]
struct Repository {
    /// SHA-256 of the content, by target path.
    contents: BTreeMap<String, String>,
    /// Target paths that no role may speak of, and why.
    absent: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
struct Told {
    port: u16,
    repositories: BTreeMap<String, Repository>,
}

/// Repositories by python-tuf, served by Python.
struct World {
    dir: tempfile::TempDir,
    writer: Child,
    told: Told,
}

impl World {
    fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new(python());
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/python/write.py")).arg(dir.path());
        let mut writer = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(writer.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let told = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: '{line}'"));
        World { dir, writer, told }
    }

    /// The files of a repository.
    fn dir(&self, repository: &str) -> PathBuf {
        self.dir.path().join(repository)
    }

    /// A client that has just been given the first root of a repository.
    fn client(&self, repository: &str, name: &str) -> Client {
        let dir = self.dir.path().join("clients").join(name);
        let client = Client { url: format!("http://127.0.0.1:{}/{repository}", self.told.port), dir };
        fs::create_dir_all(client.metadata()).unwrap();
        fs::create_dir_all(client.targets()).unwrap();
        let root = self.dir(repository).join("metadata/1.root.json");
        client.run(&["init", root.to_str().unwrap()]).succeeds();
        client
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.writer.kill();
        let _ = self.writer.wait();
    }
}

struct Client {
    url: String,
    dir: PathBuf,
}

impl Client {
    fn metadata(&self) -> PathBuf {
        self.dir.join("metadata")
    }

    fn targets(&self) -> PathBuf {
        self.dir.join("targets")
    }

    fn run(&self, args: &[&str]) -> Said {
        let tests = std::env::current_exe().unwrap();
        let program = tests.parent().unwrap().parent().unwrap().join("examples/tuf-conformance-client");
        assert!(program.exists(), "build the client first: cargo build -p updraft-testkit --examples");
        let mut command = Command::new(program);
        command.arg("--metadata-dir").arg(self.metadata()).args(["--metadata-url", &format!("{}/metadata", self.url)]);
        Said(command.args(args).output().unwrap())
    }

    fn download<'a>(&self, paths: impl IntoIterator<Item = &'a String>) -> Said {
        let (dir, url) = (self.targets(), format!("{}/targets", self.url));
        let mut args = vec!["--target-dir", dir.to_str().unwrap(), "--target-base-url", &url];
        args.extend(paths.into_iter().flat_map(|path| ["--target-name", path.as_str()]));
        args.push("download");
        self.run(&args)
    }

    /// SHA-256 of every file that it has fetched, sorted.
    fn fetched(&self) -> Vec<String> {
        digests(&self.targets())
    }
}

struct Said(Output);

impl Said {
    #[track_caller]
    fn succeeds(self) {
        assert_eq!(self.0.status.code(), Some(0), "{}", String::from_utf8_lossy(&self.0.stderr));
    }

    #[track_caller]
    fn fails(self, text: &str) {
        let said = String::from_utf8_lossy(&self.0.stderr);
        assert_eq!(self.0.status.code(), Some(1), "{said}");
        assert!(said.contains(text), "'{text}' is not in: {said}");
    }
}

fn digests(dir: &Path) -> Vec<String> {
    let file = |entry: std::io::Result<fs::DirEntry>| fs::read(entry.unwrap().path()).unwrap();
    let mut found: Vec<_> = fs::read_dir(dir).unwrap().map(|e| Sha256::of(&file(e)).to_string()).collect();
    found.sort();
    found
}

fn sorted<'a>(digests: impl IntoIterator<Item = &'a String>) -> Vec<String> {
    let mut sorted: Vec<_> = digests.into_iter().cloned().collect();
    sorted.sort();
    sorted
}

/// Flips one bit in the middle of a file.
fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// The one file below `dir` whose name ends in `end`.
fn only(dir: &Path, end: &str) -> PathBuf {
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let found: Vec<_> = files.filter(|path| path.to_str().unwrap().ends_with(end)).collect();
    assert_eq!(found.len(), 1, "{end}: {found:?}");
    found.into_iter().next().unwrap()
}

#[test]
#[ignore = "needs python-tuf: scripts/test"]
fn our_client_fetches_every_target_that_python_tuf_wrote() {
    let world = World::new();
    let sizes: Vec<_> =
        world.told.repositories.iter().map(|(name, told)| (name.as_str(), told.contents.len())).collect();
    assert_eq!(sizes, [("delegations", 23), ("flat", 6), ("keys", 1)]);
    for (name, repository) in &world.told.repositories {
        let client = world.client(name, name);
        client.run(&["refresh"]).succeeds();
        client.download(repository.contents.keys()).succeeds();
        assert_eq!(client.fetched(), sorted(repository.contents.values()), "{name}");
        for (path, why) in &repository.absent {
            client.download([path]).fails(&format!("nobody who may speak of target '{path}' does"));
            assert_eq!(client.fetched().len(), repository.contents.len(), "{path} was fetched: {why}");
        }

        // What it keeps is byte for byte what was served.
        let served = digests(&world.dir(name).join("metadata"));
        let kept = digests(&client.metadata());
        assert!(kept.iter().all(|digest| served.contains(digest)), "{name}");
        assert!(kept.len() >= 4, "{name}: {kept:?}");

        // Nothing is asked for again: the files can go.
        fs::remove_dir_all(world.dir(name).join("targets")).unwrap();
        client.download(repository.contents.keys()).succeeds();
    }
}

#[test]
#[ignore = "needs python-tuf: scripts/test"]
fn our_client_refuses_what_was_altered() {
    let world = World::new();
    let [flat, delegations] = ["flat", "delegations"].map(|name| world.dir(name));
    let altered = [
        ("flat", only(&flat.join("targets"), ".a.txt"), "a.txt", "what came is not what was signed"),
        ("flat", flat.join("metadata/timestamp.json"), "a.txt", "timestamp:"),
        ("flat", flat.join("metadata/3.snapshot.json"), "a.txt", "snapshot:"),
        ("flat", flat.join("metadata/1.targets.json"), "a.txt", "targets:"),
        ("delegations", delegations.join("metadata/1.by-path.json"), "docs/guide.md", "by-path:"),
        ("delegations", only(&delegations.join("metadata"), "p%20er.json"), "docs/deep.md", "p er:"),
        ("delegations", delegations.join("metadata/1.bin-low.json"), "bins/0", "bin-low:"),
    ];
    for (n, (repository, file, path, error)) in altered.iter().enumerate() {
        let client = world.client(repository, &n.to_string());
        let path = (*path).to_owned();
        flip(file);
        client.download([&path]).fails(error);
        assert!(client.fetched().is_empty(), "{path}");
        flip(file);
        client.download([&path]).succeeds();
    }
}
