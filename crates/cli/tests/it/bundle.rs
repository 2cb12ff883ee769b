//! First installs by bundle, with the real binaries: made by the server, or by whoever publishes.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;
use updraft_core::tree::patch::nothing;
use updraft_testkit::noise;

use crate::support::{Server, assert_same_tree, get, run, updraft, write_tree};

/// Longer than anything here takes, on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(120);

/// A build whose files are alike, so that together they are smaller than one by one.
fn build(home: &Path) -> PathBuf {
    let dir = home.join("build");
    write_tree(&dir, &[("version", "1.0.0")]);
    for n in 0..3 {
        fs::write(dir.join(format!("program {n}")), [noise(n, 1_000), noise(7, 60_000)].concat()).unwrap();
    }
    dir
}

/// A server that wants bundles, with an app, and the SHA-256 of its root.
fn server(home: &Path, jobs: &str) -> (Server, String) {
    let with = |mut command: std::process::Command| {
        command.envs([("UPDRAFT_PATCH_JOBS", jobs), ("UPDRAFT_PATCH_BUNDLES", "true")]);
        command
    };
    let server = Server::try_start_with(home, &[], with).expect("the server starts");
    let root = server.create_app("demo");
    (server, root)
}

/// The release, as `release show --json` tells of it.
fn show(server: &Server) -> Value {
    run(server.publisher().args(["release", "show", "1.0.0", "--app", "demo", "--json"])).ok().json()
}

/// Installs, which has to go by the bundle.
fn assert_bundled(server: &Server, root: &str, build: &Path, device: &Path) {
    let url = format!("{}/apps/demo", server.url);
    let said = run(updraft().args(["agent", "install", "--url", &url, "--root-sha256", root]).arg(device)).ok().out;
    assert!(said.contains("fetched a bundle of ") && said.contains("less"), "{said}");
    let status = run(updraft().args(["agent", "status", "--json"]).arg(device)).ok().json();
    assert_eq!(status["fetched"]["by"], "bundle", "{status}");
    assert_same_tree(build, device);
}

#[test]
fn a_server_makes_the_bundle_and_a_first_install_takes_it() {
    let temp = tempfile::tempdir().unwrap();
    let home = temp.path().canonicalize().unwrap();
    let (server, root) = server(&home, "1");
    let build = build(&home);
    server.publish("demo", &build, "1.0.0").ok();
    let url =
        format!("{}/apps/demo/patches/{}/{}", server.url, nothing(), show(&server)["tree"]["digest"].as_str().unwrap());
    let deadline = Instant::now() + PATIENCE;
    while get(&url).unwrap().status != 200 {
        assert!(Instant::now() < deadline, "it was never made: {}", show(&server));
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_bundled(&server, &root, &build, &home.join("device"));
    let said = run(server.publisher().args(["release", "show", "1.0.0", "--app", "demo"])).ok().out;
    assert!(said.contains("patch from nothing, the bundle: "), "{said}");
    run(server.publisher().args(["fsck"])).ok();
    server.stop();
}

#[test]
fn a_publisher_makes_the_bundle_where_the_server_does_not() {
    let temp = tempfile::tempdir().unwrap();
    let home = temp.path().canonicalize().unwrap();
    let (server, root) = server(&home, "0");
    let build = build(&home);
    let mut publish = server.publisher();
    publish.arg("publish").arg(&build).args(["--app", "demo", "--version", "1.0.0", "--channel", "stable"]);
    let said = run(publish.args(["--no-passphrase", "--make-patches"])).ok().out;
    assert!(said.contains("patch from nothing, the bundle: ") && said.contains("less"), "{said}");
    assert_eq!(show(&server)["patches"][0]["state"], "made");
    assert_bundled(&server, &root, &build, &home.join("device"));
    server.stop();
}
