//! A rollout from the command line to a device: promote, widen, pause, halt, resume, yank; and what people get wrong.
//!
//! The agents of this version have no id of their own yet, and who has none is outside of every wave that has not reached
//! everybody. So a device sees two states here: a rollout is for others, or it is over.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::{Said, Server, agent, get, run, write_tree};

struct Scene {
    home: tempfile::TempDir,
    server: Server,
    root: String,
}

impl Scene {
    /// A server whose app demo has 1.0.0 on stable; 1.1.0 and 1.2.0 are published and promoted nowhere.
    fn new() -> Scene {
        let home = tempfile::tempdir().unwrap();
        let server = Server::start(home.path(), &[]);
        let root = server.create_app("demo");
        let scene = Scene { home, server, root };
        scene.publish("1.0.0", &["--channel", "stable"]).ok();
        scene.publish("1.1.0", &[]).ok();
        scene.publish("1.2.0", &[]).ok();
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn publish(&self, version: &str, args: &[&str]) -> Said {
        let dir = self.path(version);
        write_tree(&dir, &[("app", version), ("data", "the same in all")]);
        let mut command = self.server.publisher();
        command.arg("publish").arg(dir).args(["--app", "demo", "--version", version, "--no-passphrase"]);
        run(command.args(args))
    }

    /// `updraft channel`, with these arguments.
    fn channel(&self, args: &[&str]) -> Said {
        run(self.server.publisher().arg("channel").args(args).args(["--app", "demo"]))
    }

    fn stable(&self) -> Value {
        self.channel(&["show", "stable", "--json"]).ok().json()
    }

    fn device(&self) -> PathBuf {
        let device = self.path("device");
        self.server.install("demo", &self.root, &device).ok();
        device
    }
}

/// What this device would get; what it has, if it would get nothing.
fn offered(device: &std::path::Path) -> (i32, String) {
    let check = agent("check", device, &["--json"]);
    (check.code, check.json()["version"].as_str().unwrap().to_owned())
}

#[test]
fn a_release_day() {
    let scene = Scene::new();
    let device = scene.device();
    let have = |version: &str| assert_eq!(offered(&device), (0, version.to_owned()));
    let gets = |version: &str| assert_eq!(offered(&device), (10, version.to_owned()));

    let said = scene.channel(&["promote", "stable", "1.1.0", "--rollout", "0"]).ok();
    assert_eq!(said.out, "channel stable of demo has 1.1.0 for 0% of devices; 1.0.0 for the others\n");
    let shown = scene.stable();
    assert_eq!((&shown["state"], &shown["reason"]), (&json!("ramping"), &json!("")));
    assert_eq!(shown["platforms"]["any"]["fraction_ppm"], 0);
    assert_eq!(shown["platforms"]["any"]["candidate"]["version"], "1.1.0");
    have("1.0.0");

    let said = scene.channel(&["rollout", "stable", "5"]).ok();
    assert!(said.out.contains("for 5% of devices"), "5 is percent, and is said so: {}", said.out);
    scene.channel(&["rollout", "stable", "99%"]).ok();
    have("1.0.0");
    // Somebody who is new gets what is fully out, not nothing.
    let newcomer = scene.path("newcomer");
    scene.server.install("demo", &scene.root, &newcomer).ok();
    assert_eq!(fs::read_to_string(newcomer.join("app")).unwrap(), "1.0.0");

    let said = scene.channel(&["rollout", "stable", "100%"]).ok();
    assert_eq!(said.out, "channel stable of demo has 1.1.0 for everybody\n");
    gets("1.1.0");
    agent("update", &device, &[]).ok();

    // The next one goes wrong.
    let said =
        scene.channel(&["promote", "stable", "1.2.0", "--ramp", "5%..100%/24h", "--max-bandwidth", "200mbit"]).ok();
    assert!(said.out.contains("has 1.2.0 for 5") && said.out.contains("growing to 100% until 20"), "{}", said.out);
    assert_eq!(scene.stable()["platforms"]["any"]["max_bits_per_sec"], 200_000_000);
    scene.channel(&["pause", "stable"]).ok();
    assert_eq!(scene.stable()["state"], "paused");
    let said = scene.channel(&["pause", "stable"]).ok();
    assert!(said.out.contains("has already 1.1.0 for everybody; the rollout of 1.2.0"), "{}", said.out);
    scene.channel(&["halt", "stable", "--reason", "eats files"]).ok();
    let shown = scene.stable();
    assert_eq!((&shown["state"], &shown["reason"]), (&json!("halted"), &json!("eats files")));
    let said = scene.channel(&["show", "stable"]).ok().out;
    assert!(said.contains("current 1.1.0, previous 1.0.0\n  halted: ") && said.contains("(eats files)"), "{said}");
    have("1.1.0");
    scene.channel(&["promote", "stable", "1.2.0"]).fails(1, "resume it first");
    scene.channel(&["rollout", "stable", "100%"]).fails(1, "resume it first");
    let resumed = scene.channel(&["resume", "stable", "--json"]).ok().json();
    assert_eq!((&resumed["done"], &resumed["channel"]["state"]), (&json!("changed"), &json!("ramping")));
    scene.channel(&["rollout", "stable", "100"]).ok();
    gets("1.2.0");
    agent("update", &device, &[]).ok();

    // Who has it keeps it; nobody else gets it.
    let said = scene.channel(&["yank", "stable", "1.2.0", "--reason", "eats files"]).ok();
    assert_eq!(
        said.out,
        "1.2.0 is yanked from channel stable of demo\nchannel stable of demo has 1.1.0 for everybody\n"
    );
    assert_eq!(
        scene.channel(&["yank", "stable", "1.2.0"]).ok().out,
        "1.2.0 is yanked from channel stable of demo already\n"
    );
    assert_eq!(scene.stable()["yanked"][0]["reason"], "eats files");
    have("1.2.0");
    assert_eq!(offered(&newcomer), (10, "1.1.0".to_owned()));
    assert!(scene.channel(&["show", "stable"]).ok().out.contains("1.2.0 was yanked at "));
    scene.channel(&["promote", "stable", "1.2.0"]).fails(1, "was yanked");
    let published = scene.publish("1.2.1", &["--channel", "stable"]).ok();
    assert!(published.out.contains("no longer live: 1.2.0"), "{}", published.out);
    gets("1.2.1");
}

#[test]
fn what_people_get_wrong_about_rollouts() {
    let scene = Scene::new();
    scene.channel(&["promote", "stable", "1.1.0"]).ok();
    let before = scene.stable();
    let promote = |args: &[&str]| scene.channel(&[&["promote", "stable", "1.2.0"], args].concat());
    for (rollout, hint) in [
        ("0.05", "say which is meant, 5% or 0.05%"),
        ("101", "100% is everybody"),
        ("101%", "100% is everybody"),
        ("five", "such as 5%"),
        ("100%..5%/24h", "a ramp only grows"),
    ] {
        promote(&["--rollout", rollout]).fails(2, hint);
    }
    promote(&["--rollout=-5%"]).fails(2, "such as 5%");
    promote(&["--ramp", "5%..100%"]).fails(2, "over how long");
    promote(&["--ramp", "5%"]).fails(2, "does not grow");
    promote(&["--ramp", "5%..100%/24h", "--rollout", "5%"]).fails(2, "cannot be used with");
    promote(&["--rollout", "5%", "--max-bandwidth", "200"]).fails(2, "such as 200mbit");

    scene.channel(&["promote", "stable", "9.9", "--rollout", "5%"]).fails(1, "live: 1.2.0, 1.1.0, 1.0.0");
    scene.channel(&["promote", "stable", "1.0.0"]).fails(1, "is at 1.1.0 already; 1.0.0 is not newer");
    scene.channel(&["promote", "stable", "1.1.0", "--rollout", "5%"]).fails(1, "is at 1.1.0 already");
    assert!(scene.channel(&["promote", "stable", "1.1.0"]).ok().out.ends_with("points at 1.1.0 already\n"));
    scene.channel(&["promote", "stable", "1.2.0", "--platform", "linux-x86_64"]).fails(1, "for linux-x86_64");
    scene.channel(&["promote", "beta", "1.2.0", "--rollout", "5%"]).fails(1, "nothing fully out but 1.2.0");
    scene.channel(&["rollout", "stable", "5%"]).fails(1, "rolling out nothing");
    scene.channel(&["resume", "stable", "--platform", "linux-x86_64"]).fails(1, "rolling out nothing for linux-x86_64");
    scene.channel(&["halt", "beta"]).fails(1, "app demo has no channel beta; it has stable");
    scene.channel(&["yank", "stable", "9.9"]).fails(1, "9.9");
    let would = promote(&["--rollout", "5%", "--dry-run"]).ok();
    assert_eq!(would.out, "channel stable of demo would have 1.2.0 for 5% of devices; 1.1.0 for the others\n");
    assert!(promote(&["--dry-run"]).ok().out.ends_with("would point at 1.2.0\n"));
    assert_eq!(promote(&["--rollout", "5%", "--dry-run", "--json"]).ok().json()["done"], "dry_run");
    assert_eq!(scene.stable(), before, "nothing of it changed anything");
}

#[test]
fn somebody_who_was_faster_is_not_overruled() {
    let scene = Scene::new();
    let url = format!("{}/api/v1/apps/demo/channels/stable", scene.server.url);
    let seen = scene.stable()["revision"].clone();
    scene.channel(&["promote", "stable", "1.2.0", "--rollout", "5%"]).ok();
    let late = json!({
        "base": seen, "verb": "promote", "release": { "platform": "any", "version": "1.1.0" }
    });
    let token = format!("Bearer {}", scene.server.token());
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let mut answer = agent.post(&url).header("Authorization", &token).send(late.to_string()).unwrap();
    assert_eq!(answer.status().as_u16(), 409);
    let problem = answer.body_mut().read_to_string().unwrap();
    assert!(problem.contains("1.2.0 for 5% of devices; 1.0.0 for the others now"), "{problem}");
    assert_eq!(get(&url).unwrap().status, 401, "and nobody without a token");
}

#[test]
fn what_only_the_publisher_says() {
    let scene = Scene::new();
    let device = scene.device();
    scene.publish("2.0.0", &["--stepping-stone", "1.5", "--channel", "stable"]).fails(1, "no live release 1.5");
    scene.publish("2.0.0", &["--stepping-stone", "2.5"]).fails(1, "newer than 2.0.0 itself");
    scene.publish("2.0.0", &["--min-os", "mac=12"]).fails(2, "linux, macos, windows");
    scene.publish("2.0.0", &["--stepping-stone", "--mandatory", "--channel", "stable"]).ok();
    scene.publish("2.0.0", &["--allow-channel", "beta"]).fails(1, "give this one a greater version");
    scene.publish("3.0.0", &["--allow-channel", "stable", "--channel", "stable"]).ok();
    scene.channel(&["promote", "beta", "3.0.0"]).fails(1, "is for channel stable only, not for beta");

    // On its way to 3.0.0 a device passes through 2.0.0.
    assert_eq!(offered(&device), (10, "2.0.0".to_owned()));
    agent("update", &device, &[]).ok();
    assert_eq!(offered(&device), (10, "3.0.0".to_owned()));
    let shown = run(scene.server.publisher().args(["release", "show", "3.0.0", "--app", "demo", "--json"])).ok().json();
    assert_eq!(shown["terms"]["mandatory_since"], "2.0.0", "whoever skips a mandatory release must update as well");
    assert_eq!(
        (&shown["terms"]["channels"], &shown["terms"]["stepping_stones"]),
        (&json!(["stable"]), &json!(["2.0.0"]))
    );
}
