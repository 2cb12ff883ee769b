//! `updraft doctor`: a page on which all is well, and pages on which it is not.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use updraft_core::Timestamp;

use crate::support::{Said, Server, run, updraft, write_tree};

/// A server with the app `demo`, whose keys are in `home/keys`, and one release.
fn scene(home: &Path) -> Server {
    let server = Server::start(home, &[]);
    server.create_app("demo");
    write_tree(&home.join("build"), &[("bin/app", "one")]);
    server.publish("demo", &home.join("build"), "1.0.0").ok();
    server
}

/// `updraft doctor` on the machine of `home`'s publisher.
fn doctor(home: &Path) -> Command {
    let mut command = updraft();
    command.arg("doctor").env("UPDRAFT_KEYS", home.join("keys"));
    command
}

fn of_data(home: &Path) -> Command {
    let mut command = doctor(home);
    command.arg("--data").arg(home.join("data"));
    command
}

fn of_server(server: &Server) -> Command {
    let mut command = server.publisher();
    command.arg("doctor");
    command
}

/// The one line about this thing of this section.
#[track_caller]
fn line<'a>(report: &'a Value, about: &str, thing: &str) -> &'a Value {
    let sections = report["sections"].as_array().unwrap().iter().filter(|section| section["about"] == about);
    let lines: Vec<&Value> = sections
        .flat_map(|section| section["lines"].as_array().unwrap())
        .filter(|line| line["thing"] == thing)
        .collect();
    assert_eq!(lines.len(), 1, "{about}, {thing}: {report:#}");
    lines[0]
}

#[track_caller]
fn says(line: &Value, level: &str, words: &[&str]) {
    assert_eq!(line["level"], level, "{line}");
    for word in words {
        assert!(line.to_string().contains(word), "'{word}' is not in {line}");
    }
}

#[track_caller]
fn page(said: &Said, lines: &[&str]) {
    for line in lines {
        assert!(said.out.lines().any(|found| found == *line), "'{line}' is not in:\n{}", said.out);
    }
}

#[test]
fn a_page_on_which_all_is_well() {
    let home = tempfile::tempdir().unwrap();
    let server = scene(home.path());
    let said = run(&mut of_server(&server)).ok();
    let version = format!("  ok       reachable     updraft {}, ready for devices", env!("CARGO_PKG_VERSION"));
    page(
        &said,
        &[
            &format!("server {}", server.url),
            &version,
            "  ok       clock         the same as here",
            "  ok       token         accepted",
            "app demo",
            "  ok       channels      89 days left, renewed by the server",
            "  ok       timestamp     23 hours left, renewed by the server",
            "  ok       online key    on the server",
            "  ok       trust         verified as a device does, up to root 1",
            "  ok       your keys     root and targets: here (no passphrase)",
            "all is well",
        ],
    );
    for (role, left) in [("root", "10 years"), ("targets", "5 years")] {
        let (start, command) =
            (format!("  ok       {role:13} {left} left"), format!("`updraft keys renew {role} --app demo`"));
        let found = said.out.lines().find(|line| line.starts_with(&start)).unwrap_or_else(|| panic!("{}", said.out));
        assert!(found.contains(&command), "{found}");
    }
    assert_eq!(said.err, "");

    // For a program: the same, and what the server says of itself.
    let report = run(of_server(&server).arg("--json")).ok().json();
    assert_eq!((&report["level"], &report["health"]["ready"]), (&"ok".into(), &true.into()));
    assert_eq!(report["health"]["apps"][0]["roles"].as_array().unwrap().len(), 5);

    // Its directory says the same of a server that runs, and more.
    let report = run(of_data(home.path()).arg("--json")).ok().json();
    says(line(&report, "server", "token"), "ok", &["accepted"]);
    for thing in ["key files", "admin token", "free space"] {
        says(line(&report, "data", thing), "ok", &[]);
    }

    let one = run(of_server(&server).args(["--app", "demo"])).ok();
    assert_eq!(one.out.matches("\napp ").count(), 1);
    let none = run(of_server(&server).args(["--app", "other"]));
    assert_eq!(none.code, 1);
    page(&none, &["app other", "1 thing needs somebody"]);
    assert!(none.out.contains("there is no such app on this server"), "{}", none.out);

    // Without keys and without a token there is less to say, and nothing wrong.
    let report = run(updraft().args(["doctor", "--json", "--server", &server.url, "--keys", "/nowhere"])).ok().json();
    says(line(&report, "server", "token"), "ok", &["none given"]);
    says(line(&report, "app", "your keys"), "ok", &["none on this machine", "/nowhere/demo"]);
    let wrong = run(of_server(&server).arg("--json").env("UPDRAFT_TOKEN", "upd_wrong")).json();
    says(line(&wrong, "server", "token"), "warning", &["admin-token"]);
    assert_eq!(wrong["health"]["ready"], true, "what anybody may know is known all the same");
}

#[test]
fn a_server_that_is_not_there_ends_with_30() {
    let home = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let said = run(doctor(home.path()).args(["--server", &format!("http://127.0.0.1:{port}")]));
    assert_eq!(said.code, 30, "{}", said.out);
    assert!(said.out.contains("broken   reachable     it cannot be reached: "), "{}", said.out);
    // Somebody has the directory, and nobody listens.
    let server = Server::start(home.path(), &[]);
    fs::write(home.path().join("data/address"), format!("127.0.0.1:{port}\n")).unwrap();
    assert_eq!(run(&mut of_data(home.path())).code, 30);
    fs::remove_file(home.path().join("data/address")).unwrap();
    let said = run(&mut of_data(home.path()));
    assert_eq!(said.code, 30);
    assert!(said.out.contains(&format!("in use by process {}", server.pid())), "{}", said.out);

    run(doctor(home.path()).arg("--data").arg(home.path())).fails(1, "is not the data directory of a server");
    run(doctor(home.path()).env("XDG_DATA_HOME", home.path())).fails(2, "which server?");
}

#[test]
fn a_directory_is_looked_at_while_its_server_is_stopped() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(home.path(), &[home.path().join("files").to_str().unwrap()]);
    server.create_app("demo");
    let report = run(of_server(&server).arg("--json")).ok().json();
    assert_eq!(report["level"], "notice");
    says(line(&report, "app", "signing keys"), "notice", &["updraft keys move --app files --data DATA"]);
    // Not for anybody.
    let public = run(of_server(&server).arg("--json").env_remove("UPDRAFT_TOKEN")).ok();
    assert!(!public.out.contains("signing keys"), "{}", public.out);
    server.stop();

    let data = home.path().join("data");
    let report = run(of_data(home.path()).arg("--json")).ok().json();
    says(line(&report, "data", "server"), "notice", &["not running"]);
    let keys = data.join("keys");
    let hint = format!("updraft keys move --app files --data {}", data.display());
    says(line(&report, "app", "signing keys"), "notice", &[&hint]);
    // What is to be typed for the folder's app says where its keys are.
    let renew = format!("`updraft keys renew targets --app files --keys {}`", keys.display());
    let said = run(of_data(home.path()).args(["--app", "files"])).ok();
    assert!(said.out.contains(&renew), "{}", said.out);
    page(&said, &["  ok       your keys     root and targets: here (no passphrase)"]);

    let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    for (path, mode, good, thing) in [
        (data.join("admin-token"), 0o644, 0o600, "admin token"),
        (keys.join("demo/online.pem"), 0o640, 0o600, "key files"),
        (keys.clone(), 0o755, 0o700, "key files"),
    ] {
        set(&path, mode);
        let report = run(of_data(home.path()).arg("--json"));
        assert_eq!(report.code, 1);
        says(line(&report.json(), "data", thing), "warning", &[path.to_str().unwrap()]);
        set(&path, good);
    }
    run(&mut of_data(home.path())).ok();

    // A key directory that is lost is pressing before any device has noticed.
    fs::rename(keys.join("demo/online.pem"), data.join("away")).unwrap();
    let report = run(of_data(home.path()).args(["--app", "demo", "--json"]));
    assert_eq!(report.code, 1);
    says(
        line(&report.json(), "app", "online key"),
        "urgent",
        &["not on this server", "`updraft keys replace-online --app demo`", "backup"],
    );
}

/// A backup that was restored, or a thief: the publisher's own memory knows better than the server.
#[test]
fn a_server_that_went_back_is_not_believed() {
    let home = tempfile::tempdir().unwrap();
    let server = scene(home.path());
    let head = home.path().join("data/store/apps/demo/head");
    let old = fs::read(&head).unwrap();
    fs::write(home.path().join("build/bin/app"), "two").unwrap();
    server.publish("demo", &home.path().join("build"), "1.1.0").ok();
    server.stop();
    run(&mut of_data(home.path())).ok();
    fs::write(&head, old).unwrap();
    let said = run(of_data(home.path()).arg("--json"));
    assert_eq!(said.code, 1);
    says(line(&said.json(), "app", "trust"), "broken", &["rollback"]);
}

/// Answers what a server would that is a day and an hour ahead, has an app with every level, and is not to be trusted
/// with the terminal.
fn far_away() -> String {
    let at = Timestamp::now().checked_add(jiff::SignedDuration::from_hours(25)).unwrap();
    let left = 5 * 86_400;
    let role = |name: &str, by: &str, level: &str| {
        let value = json!({ "role": name, "renewed_by": by, "expires": at, "seconds_left": left, "level": level });
        value
    };
    let finding = |level: &str, kind: &str, app: &str, role: Value, what: &str| {
        let remedy = format!("mend {kind}");
        json!({ "level": level, "kind": kind, "app": app, "role": role, "what": what, "remedy": remedy })
    };
    let health = json!({
        "type": "not-ready", "title": "x", "status": 503, "detail": "x",
        "ready": false, "level": "broken", "at": at,
        "apps": [
            { "app": "gone", "state": "broken", "ready": false, "level": "broken", "online_key": null,
              "renewal_failures": 0, "roles": [] },
            { "app": "late", "state": "stale", "ready": false, "level": "expired", "online_key": true,
              "renewal_failures": 7, "roles": [
                role("root", "person", "notice"), role("targets", "person", "urgent"),
                role("channels", "server", "ok"), role("snapshot", "server", "warning"),
                role("timestamp", "server", "expired") ] },
        ],
        "findings": [
            finding("broken", "broken", "gone", Value::Null, "it cannot be served\u{1b}[2J"),
            finding("expired", "late", "late", json!("timestamp"), "timestamp ended 2 hours ago"),
            finding("urgent", "ends", "late", json!("targets"), "targets ends in 5 days"),
            finding("warning", "late", "late", json!("snapshot"), "snapshot is late"),
            finding("notice", "ends", "late", json!("root"), "root ends in 20 days"),
            finding("warning", "comet", "late", Value::Null, "something of a later version"),
        ],
    });
    answering(move |path| match path {
        "/api/v1/version" => ("200 OK", json!({ "name": "updraft", "version": "9.9.9" }).to_string()),
        "/api/v1/readyz" => ("503 Service Unavailable", health.to_string()),
        _ => ("404 Not Found", String::new()),
    })
}

/// A server that answers each path as `answer` says, until the test is over.
fn answering(answer: impl Fn(&str) -> (&'static str, String) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
            let (status, body) = answer(head[0].split(' ').nth(1).unwrap());
            let length = body.len();
            let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
            stream.write_all((head + &body).as_bytes()).unwrap();
        }
    });
    url
}

#[test]
fn every_level_has_its_line() {
    let home = tempfile::tempdir().unwrap();
    let url = far_away();
    let said = run(doctor(home.path()).args(["--server", &url]));
    assert_eq!(said.code, 1, "{}", said.err);
    page(
        &said,
        &[
            "  broken   reachable     updraft 9.9.9, not ready for devices; see what is said of the apps",
            "  broken   state         it cannot be served\u{fffd}[2J; mend broken",
            "  notice   root          ends in 20 days; mend ends",
            "  urgent   targets       ends in 5 days; mend ends",
            "  ok       channels      5 days left, renewed by the server",
            "  warning  snapshot      is late; mend late",
            "  expired  timestamp     ended 2 hours ago; mend late",
            "  ok       online key    on the server; 7 renewals failed since it was started",
            "  warning  server        something of a later version; mend comet",
            "7 things need somebody",
        ],
    );
    assert!(
        said.out.contains("  broken   clock         24 hours ahead of this machine's; set the one"),
        "{}",
        said.out
    );
    let lonely = run(doctor(home.path()).args(["--server", &url, "--app", "late", "--json"]));
    assert_eq!(lonely.json()["health"]["apps"].as_array().unwrap().len(), 1);
}

#[test]
fn what_answers_and_is_no_such_server_is_named() {
    let home = tempfile::tempdir().unwrap();
    let ask = |url: &str| run(doctor(home.path()).args(["--server", url]));
    // A proxy, whose server is gone.
    let said = ask(&answering(|_| ("503 Service Unavailable", "<html>nobody home</html>".to_owned())));
    assert_eq!(said.code, 30, "{}", said.out);
    for (status, body) in [("200 OK", "<html>hello</html>"), ("404 Not Found", ""), ("302 Found", "")] {
        let said = ask(&answering(move |_| (status, body.to_owned())));
        assert_eq!(said.code, 1, "{}", said.out);
        assert!(said.out.contains("it does not answer as a server of this version"), "{}", said.out);
    }
    // A server of before `doctor`: what it says of its readiness is a word.
    let old = |path: &str| match path {
        "/api/v1/version" => ("200 OK", json!({ "name": "updraft", "version": "0.0.9" }).to_string()),
        _ => ("200 OK", "ready\n".to_owned()),
    };
    assert_eq!(ask(&answering(old)).code, 1);
}
