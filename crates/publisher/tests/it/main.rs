//! The publisher against a server in memory that verifies like a device, and against a scripted one over HTTP.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "the helpers of tests are tests, and say what they skip")]

mod create;
mod folder;
mod http;
mod keys;
mod notes;
mod patches;
mod publish;
mod root;
mod server;
mod tls;

use std::path::Path;

use tempfile::TempDir;
use updraft_core::name::{AppName, Platform};
use updraft_core::release::{Notes, Terms};
use updraft_core::tree::Tree;
use updraft_files::Dir;
use updraft_files::index::Index;
use updraft_files::scan::{self, scan};
use updraft_publisher::Silent;
use updraft_publisher::create::{RootKeys, create};
use updraft_publisher::keys::{Keystore, Unlocked};
use updraft_publisher::publish::{Error, Options, Published, Publisher, Wanted};
use updraft_testkit::{TreeFixture, clock};

use crate::server::Server;

/// A publisher with keys of its own and a directory to publish.
struct Desk {
    temp: TempDir,
    keys: Keystore,
    options: Options,
}

impl Desk {
    /// A desk whose app exists on `server`.
    fn with_app(server: &Server) -> Self {
        let desk = Self::new();
        create(server, &app(), &desk.keys, RootKeys::default(), &Unlocked, clock::now()).unwrap();
        desk
    }

    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let keys = Keystore::at(temp.path().join("keys"));
        let options = Options { first_pause: std::time::Duration::ZERO, ..Options::default() };
        Self { temp, keys, options }
    }

    /// Another person with the same keys: a copy, with a memory of its own.
    fn colleague(&self) -> Self {
        let other = Self::new();
        std::fs::create_dir_all(other.keys.dir()).unwrap();
        for name in ["root.pem", "targets.pem", "root.json"] {
            std::fs::copy(self.keys.dir().join(name), other.keys.dir().join(name)).unwrap();
        }
        other
    }

    fn publisher<'a>(&'a self, server: &'a Server) -> Publisher<'a> {
        Publisher {
            remote: server,
            keys: &self.keys,
            passphrases: &Unlocked,
            progress: &Silent,
            options: &self.options,
        }
    }

    /// Makes the directory hold exactly `files`.
    fn lay(&self, files: &TreeFixture) -> (Dir, Tree) {
        let build = self.temp.path().join("build");
        let _ = std::fs::remove_dir_all(&build);
        files.write_to(&build);
        self.look(&build)
    }

    fn look(&self, build: &Path) -> (Dir, Tree) {
        let dir = Dir::open(build).unwrap();
        let tree = scan(&dir, &scan::Options::default(), &Index::new(), &|_| ()).unwrap().tree;
        (dir, tree)
    }

    fn publish(&self, server: &Server, files: &TreeFixture, wanted: &Wanted) -> Result<Published, Error> {
        let (dir, tree) = self.lay(files);
        self.publisher(server).publish(&dir, &tree, wanted, clock::now())
    }
}

fn app() -> AppName {
    "demo".parse().unwrap()
}

/// `version` for everybody, on `channel` if that is not empty.
fn wanted(version: &str, channel: &str) -> Wanted {
    Wanted {
        app: app(),
        version: version.parse().unwrap(),
        platform: Platform::any(),
        notes: Notes::Text(format!("what is new in {version}")),
        channel: (!channel.is_empty()).then(|| channel.parse().unwrap()),
        terms: Terms::default(),
    }
}
