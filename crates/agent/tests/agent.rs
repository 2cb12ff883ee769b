//! The agent as a device starts it: its exit codes, and what it does about an update that was left unfinished.

#![allow(clippy::unwrap_used, reason = "a helper of a test may panic as the test may")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use jiff::Timestamp;
use tempfile::TempDir;
use updraft_client::install::{Confirm, Confirmation, Options};
use updraft_client::{InstallOptions, OpenOptions, Pin, Source, Updater, Verdict};
use updraft_core::trust::Role;
use updraft_testkit::{SimRepo, TreeFixture, clock, keys};

fn agent(verb: &str, dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_updraft-agent")).arg(verb).arg(dir).args(args).output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("{output:?}"))
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

/// A repository as of today, for an agent that asks the system for the time.
fn repo_of(now: Timestamp) -> SimRepo {
    let mut repo = SimRepo::new("demo");
    repo.now = now;
    repo.rotate(&[Role::Timestamp], &[keys::online()], 1);
    repo.renew_targets();
    repo
}

fn publish(repo: &mut SimRepo, version: &str, stick: &Path) {
    let release = repo.publish(version, "any", &TreeFixture::of(&[("version", version)]));
    repo.promote("stable", &release);
    repo.write_to(stick);
}

fn install(folder: &TempDir, repo: &SimRepo) -> (Output, PathBuf) {
    let (stick, dir) = (folder.path().join("stick"), folder.path().join("app"));
    let stick = stick.display().to_string();
    (agent("install", &dir, &["--from", &stick, "--root-sha256", &repo.root_sha256().to_string()]), dir)
}

/// A device whose 1.1.0, after 1.0.0, waits for its confirmation; its source is gone.
struct Device {
    folder: TempDir,
}

impl Device {
    fn awaiting() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let device = Self { folder };
        let stick = device.folder.path().join("stick");
        let mut repo = SimRepo::new("demo");
        let mut publish = |version: &str| {
            let release = repo.publish(version, "any", &TreeFixture::of(&[("version", version)]));
            repo.promote("stable", &release);
            let _ = std::fs::remove_dir_all(&stick);
            repo.write_to(&stick);
            Pin::Sha256(repo.root_sha256())
        };
        let pin = publish("1.0.0");
        let options = InstallOptions::new(Source::folder(&stick).unwrap(), pin);
        take(&mut Updater::install(&device.dir(), options).unwrap(), Confirm::Now);
        publish("1.1.0");
        let confirm = Confirm::Await { since: clock::now() };
        take(&mut Updater::open(&device.dir(), OpenOptions::default()).unwrap(), confirm);
        std::fs::remove_dir_all(&stick).unwrap();
        device
    }

    fn dir(&self) -> PathBuf {
        self.folder.path().join("app")
    }

    /// The version that is installed, and whether it is confirmed.
    fn stands(&self) -> (String, bool) {
        let status = updraft_client::status(&self.dir(), clock::now()).unwrap();
        let version = std::fs::read_to_string(self.dir().join("version")).unwrap();
        assert_eq!(status.version.unwrap().as_str(), version);
        (version, status.confirmation == Some(Confirmation::Confirmed))
    }
}

fn take(updater: &mut Updater, confirm: Confirm) {
    let Verdict::Available(update) = updater.check(clock::now()).unwrap() else { panic!("there is an update") };
    let staged = updater.download(&update, &()).unwrap();
    updater.apply(staged, &Options { confirm, ..Options::default() }, clock::now()).unwrap();
}

/// `watch` was killed while its health command ran: the next one took the release for current, never asked the command,
/// and never updated again. With `--checks` it said 0 although it reached nobody.
#[test]
fn watch_goes_on_with_the_health_command_that_it_was_stopped_in() {
    for (health, stands) in [("true", ("1.1.0", true)), ("false", ("1.0.0", true))] {
        let device = Device::awaiting();
        let output = agent("watch", &device.dir(), &["--checks", "1", "--health", health]);
        assert_eq!(device.stands(), (stands.0.to_owned(), stands.1), "{output:?}");
        assert_eq!(code(&output), 30, "the check that follows reaches nobody: {output:?}");
    }
    // Somebody else's trial is left alone.
    let device = Device::awaiting();
    let output = agent("watch", &device.dir(), &["--checks", "1"]);
    assert_eq!(device.stands(), ("1.1.0".to_owned(), false));
    assert!(String::from_utf8_lossy(&output.stderr).contains("waits for `confirm`"), "{output:?}");
}

#[test]
fn run_confirms_what_starts_well_and_goes_back_from_what_does_not() {
    let device = Device::awaiting();
    assert_eq!(code(&agent("run", &device.dir(), &["--", "true"])), 0);
    assert_eq!(device.stands(), ("1.1.0".to_owned(), true));

    let device = Device::awaiting();
    assert_eq!(code(&agent("run", &device.dir(), &["--", "false"])), 1);
    assert_eq!(device.stands(), ("1.1.0".to_owned(), false));
    let output = agent("run", &device.dir(), &["--", "sh", "-c", "grep -q 1.0.0 version"]);
    assert_eq!(code(&output), 0, "{output:?}");
    assert_eq!(device.stands(), ("1.0.0".to_owned(), true));
}

/// Another process held the lock (a check of an hour's timer, say) while the app was to be confirmed: the app was left
/// without anybody who waits for it, and the next start went back from a release that worked.
#[cfg(target_os = "linux")]
#[test]
fn run_waits_for_the_lock_to_confirm_a_healthy_app() {
    let device = Device::awaiting();
    // The app takes the lock for two seconds, from within its health window to well behind it.
    let app = "flock ../app.updraft/lock sleep 2";
    let output = agent("run", &device.dir(), &["--healthy-after", "1", "--", "sh", "-c", app]);
    assert_eq!(code(&output), 0, "{output:?}");
    assert_eq!(device.stands(), ("1.1.0".to_owned(), true), "{output:?}");
}

/// The updater's trouble kept an app from starting that was there and whole.
#[test]
fn run_starts_the_app_whatever_became_of_the_updaters_folder() {
    let device = Device::awaiting();
    std::fs::write(device.folder.path().join("app.updraft/settings.json"), "rubbish").unwrap();
    let output = agent("run", &device.dir(), &["--", "test", "-f", "version"]);
    assert_eq!(code(&output), 0, "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("started as it is"), "{output:?}");
}

/// A rollback by hand lasted until the next round of `watch`.
#[test]
fn what_a_person_rolled_back_from_is_remembered() {
    let device = Device::awaiting();
    // Confirmed it is, whatever became of the updater's memory.
    let trust = device.folder.path().join("app.updraft/trust");
    std::fs::remove_dir_all(&trust).unwrap();
    std::fs::write(&trust, "garbage").unwrap();
    let output = agent("confirm", &device.dir(), &[]);
    assert_eq!((code(&output), said(&output).as_str()), (0, "1.1.0 is confirmed\n"));
    assert_eq!(code(&agent("rollback", &device.dir(), &[])), 0);
    let status = updraft_client::status(&device.dir(), clock::now()).unwrap();
    assert_eq!(status.rejected[0].version.as_str(), "1.1.0");
}

/// A stick that is not there was "an error", which no script can tell from any other; and so was an odd address.
#[test]
fn a_source_that_is_not_there_and_one_that_makes_no_sense_have_codes_of_their_own() {
    let device = Device::awaiting();
    assert_eq!(code(&agent("check", &device.dir(), &["--from", "/nonexistent/stick"])), 30);
    let fresh = device.folder.path().join("fresh");
    let trust = "--trust-on-first-use";
    assert_eq!(code(&agent("install", &fresh, &["--from", "/nonexistent/stick", trust])), 30);
    assert_eq!(code(&agent("install", &fresh, &["--url", "gopher:demo", trust])), 2);
    assert!(!fresh.exists());
}

/// The operator's choice, from the price to the way back; and `watch`, which leaves it alone until `update` is asked by hand.
#[test]
fn an_operator_goes_back_to_a_live_release_and_stays_there() {
    let folder = tempfile::tempdir().unwrap();
    let stick = folder.path().join("stick");
    let mut repo = repo_of(Timestamp::now());
    publish(&mut repo, "1.0.0", &stick);
    publish(&mut repo, "1.1.0", &stick);
    let (output, dir) = install(&folder, &repo);
    assert_eq!(code(&output), 0, "{output:?}");
    let version = || std::fs::read_to_string(dir.join("version")).unwrap();

    assert_eq!(code(&agent("update", &dir, &["--allow-downgrade"])), 2, "it says nothing without --to");
    let output = agent("update", &dir, &["--to", "1.0.0"]);
    assert_eq!((code(&output), version().as_str()), (1, "1.1.0"));
    assert!(said(&output).contains("1.0.0 is older than 1.1.0, which is installed"), "{output:?}");
    let output = agent("update", &dir, &["--to", "0.9.0", "--allow-downgrade"]);
    assert_eq!(code(&output), 1);
    assert!(said(&output).contains("version 0.9.0 is not live; live: 1.1.0, 1.0.0"), "{output:?}");
    let output = agent("check", &dir, &["--to", "1.0.0"]);
    assert_eq!((code(&output), version().as_str()), (10, "1.1.0"));
    assert!(said(&output).contains("1.0.0 is live: at most"), "{output:?}");

    let output = agent("update", &dir, &["--to", "1.0.0", "--allow-downgrade"]);
    assert_eq!((code(&output), version().as_str()), (0, "1.0.0"), "{output:?}");
    let lines: Vec<String> = said(&output).lines().map(str::to_owned).collect();
    assert!(lines[0].starts_with("1.0.0 is live: ") && lines[0].ends_with(" to fetch"), "{lines:?}");
    assert_eq!(lines[1], "went back to 1.0.0 (was 1.1.0)");
    assert!(lines[3].starts_with("1.0.0 is held"), "{lines:?}");
    // It is not the newest; and its name is the one that it was installed under.
    assert_eq!(said(&agent("check", &dir, &["--to", "1.0"])), "1.0.0 is installed already\n");
    let output = agent("update", &dir, &["--to", "1.0"]);
    let held = "1.0.0 is installed already\n1.0.0 is held: `watch` stays on it until `update` is run without --to\n";
    assert_eq!((code(&output), said(&output).as_str()), (0, held));

    let output = agent("watch", &dir, &["--checks", "1"]);
    assert_eq!((code(&output), version().as_str()), (0, "1.0.0"));
    assert!(!said(&output).contains("no longer live"), "{output:?}");
    assert!(said(&output).contains("1.1.0 is available and not taken"), "{output:?}");
    let output = agent("check", &dir, &[]);
    assert_eq!(code(&output), 10);
    assert!(said(&output).contains("`watch` stays on it"), "{output:?}");
    let output = agent("status", &dir, &[]);
    assert!(said(&output).contains("back to    1.1.0") && said(&output).contains("held       "), "{output:?}");

    // The slot is there as after any update, and going back undoes the choice.
    let output = agent("rollback", &dir, &[]);
    assert_eq!((code(&output), version().as_str()), (0, "1.1.0"), "{output:?}");
    assert!(said(&output).contains("the channel is followed again"), "{output:?}");
    let output = agent("rollback", &dir, &[]);
    assert_eq!((code(&output), version().as_str()), (1, "1.1.0"), "{output:?}");
    assert!(said(&output).contains("there is nothing earlier to go back to"), "{output:?}");

    assert_eq!(code(&agent("update", &dir, &["--to", "1.0.0", "--allow-downgrade"])), 0);
    let output = agent("update", &dir, &[]);
    assert_eq!((code(&output), version().as_str()), (0, "1.1.0"), "{output:?}");
    assert!(said(&output).ends_with("the channel is followed again\n"), "{output:?}");
    // To choose what is installed is to stay with it.
    let output = agent("update", &dir, &["--to", "1.1"]);
    assert_eq!(code(&output), 0, "{output:?}");
    // A channel keeps the one before its last; with the second, the held one goes.
    publish(&mut repo, "1.2.0", &stick);
    publish(&mut repo, "1.3.0", &stick);
    repo.drop_retired("stable");
    repo.write_to(&stick);
    for (verb, args) in [("watch", &["--checks", "1"][..]), ("check", &[]), ("status", &[])] {
        let output = agent(verb, &dir, args);
        assert!(said(&output).contains("what is held is no longer live"), "{output:?}");
    }
    assert_eq!(version(), "1.1.0");
    assert_eq!(code(&agent("update", &dir, &[])), 0);
    assert_eq!(version(), "1.3.0");
}

/// Ten years off, one way and the other: what is said names the clock, and what is installed keeps running.
#[test]
fn a_clock_that_is_wrong_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let stick = folder.path().join("stick");
    let year = Timestamp::now().strftime("%Y-").to_string();
    // This device's clock is ten years behind.
    let mut repo = repo_of(clock::after(Timestamp::now(), 87_660));
    publish(&mut repo, "1.0.0", &stick);
    let (output, dir) = install(&folder, &repo);
    assert_eq!(code(&output), 0, "{output:?}");
    assert!(said(&output).contains(&format!("this device's clock says {year}")), "{output:?}");
    for verb in ["check", "update", "status"] {
        let output = agent(verb, &dir, &[]);
        assert_eq!(code(&output), 0, "{output:?}");
        assert!(said(&output).contains("the clock is behind; set it"), "{output:?}");
    }
    let output = agent("watch", &dir, &["--checks", "1"]);
    assert!(said(&output).contains("the clock is behind; set it"), "{output:?}");

    // It is ten years ahead.
    let folder = tempfile::tempdir().unwrap();
    let stick = folder.path().join("stick");
    let mut repo = repo_of(clock::after(Timestamp::now(), -87_660));
    publish(&mut repo, "1.0.0", &stick);
    let (output, dir) = install(&folder, &repo);
    assert_eq!(code(&output), 20, "{output:?}");
    assert!(said(&output).contains("root expired at 20"), "{output:?}");
    assert!(said(&output).contains(&format!("this device's clock says {year}")), "{output:?}");
    assert!(said(&output).contains("the clock is wrong"), "{output:?}");
    assert!(!dir.join("version").exists());
}
