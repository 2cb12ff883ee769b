//! A client written for the seed's Flask server works unchanged (and what the seed got wrong is right).

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::{Server, get, get_with, run, write_tree};

/// Runs the reader's client and returns what it did.
#[track_caller]
fn client(server: &Server, dir: &Path) -> serde_json::Value {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/seed_client.py");
    run(Command::new("python3").arg(script).arg(&server.url).arg(dir)).ok().json()
}

#[track_caller]
fn generate(server: &Server) {
    let answer = get(&format!("{}/generateNewConfig", server.url)).unwrap();
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(body, serde_json::json!({"Statu": "success"}));
}

fn folder(home: &Path) -> std::path::PathBuf {
    let folder = home.join("updateFiles");
    write_tree(
        &folder,
        &[("app.exe", "one"), ("data/level 1.bin", "two"), ("data/deep/名前.txt", "three"), ("readme.txt", "four")],
    );
    folder
}

#[test]
fn everything_then_nothing_then_exactly_the_differences() {
    let home = tempfile::tempdir().unwrap();
    let folder = folder(home.path());
    let server = Server::start(home.path(), &[folder.to_str().unwrap()]);
    let device = home.path().join("device");

    let first = client(&server, &device);
    assert_eq!(first["downloaded"].as_array().unwrap().len(), 4, "{first}");
    assert_eq!(first["version"], "0.0.1");
    let second = client(&server, &device);
    assert_eq!(second["downloaded"], serde_json::json!([]));

    fs::write(folder.join("app.exe"), "one, changed").unwrap();
    write_tree(&folder, &[("data/new/added.txt", "five")]);
    fs::remove_file(folder.join("readme.txt")).unwrap();
    generate(&server);
    let third = client(&server, &device);
    assert_eq!(third["downloaded"], serde_json::json!(["app.exe", "data/new/added.txt"]));
    assert_eq!(third["deleted"], serde_json::json!(["readme.txt"]));
    assert_eq!(third["version"], "0.0.2", "the version is not a constant");
    assert_eq!(fs::read(device.join("data/deep/名前.txt")).unwrap(), b"three");
    server.stop();
}

#[test]
fn release_json_gives_version_and_notes_by_language() {
    let home = tempfile::tempdir().unwrap();
    let folder = folder(home.path());
    let release = |version: &str| format!(r#"{{"version": "{version}", "notes": {{"en": "hello", "zh": "你好"}}}}"#);
    fs::write(folder.join("release.json"), release("2.5.0")).unwrap();
    let server = Server::start(home.path(), &[folder.to_str().unwrap()]);
    let check = |language: &str| -> serde_json::Value {
        let answer = get_with(&format!("{}/checkUpdate", server.url), &[("Accept-Language", language)]).unwrap();
        serde_json::from_slice(&answer.body).unwrap()
    };
    assert_eq!(check("zh-CN,zh;q=0.9,en;q=0.5"), serde_json::json!({"Version": "2.5.0", "Msg": "你好"}));
    assert_eq!(check("fr, en;q=0.2")["Msg"], "hello");

    // Without a greater version nothing is published, whatever changed.
    fs::write(folder.join("app.exe"), "changed").unwrap();
    generate(&server);
    assert_eq!(check("en")["Version"], "2.5.0");
    assert_eq!(get(&format!("{}/app.exe", server.url)).unwrap().body, b"one");
    fs::write(folder.join("release.json"), release("2.6.0")).unwrap();
    generate(&server);
    assert_eq!(check("en")["Version"], "2.6.0");
    assert_eq!(get(&format!("{}/app.exe", server.url)).unwrap().body, b"changed");
}

#[test]
fn the_list_is_json_when_asked_and_never_lists_itself() {
    let home = tempfile::tempdir().unwrap();
    let folder = folder(home.path());
    write_tree(&folder, &[("listFile", "left by the old server"), ("notes.md", "not content")]);
    let server = Server::start(home.path(), &[folder.to_str().unwrap()]);
    generate(&server);
    generate(&server);
    let answer = get_with(&format!("{}/listFile", server.url), &[("Accept", "application/json")]).unwrap();
    let list: std::collections::BTreeMap<String, String> = serde_json::from_slice(&answer.body).unwrap();
    let names: Vec<_> = list.keys().map(String::as_str).collect();
    assert_eq!(names, ["app.exe", "data/deep/名前.txt", "data/level 1.bin", "readme.txt"]);
    assert_eq!(list["app.exe"], "f97c5d29941bfb1b2fdab0874906ab82", "md5 of 'one'");
}

#[test]
fn a_download_is_an_attachment_with_etag_and_ranges() {
    let home = tempfile::tempdir().unwrap();
    let folder = folder(home.path());
    let server = Server::start(home.path(), &[folder.to_str().unwrap()]);
    let url = format!("{}/data/level%201.bin", server.url);
    let whole = get(&url).unwrap();
    assert_eq!((whole.status, whole.body.as_slice()), (200, &b"two"[..]));
    assert!(whole.header("content-disposition").unwrap().starts_with("attachment"), "{:?}", whole.headers);
    assert_eq!(whole.header("x-content-type-options"), Some("nosniff"));
    let etag = whole.header("etag").unwrap();
    assert_eq!(get_with(&url, &[("If-None-Match", etag)]).unwrap().status, 304);
    let part = get_with(&url, &[("Range", "bytes=1-1")]).unwrap();
    assert_eq!((part.status, part.body.as_slice()), (206, &b"w"[..]));
    assert_eq!(get(&format!("{}/data/../../etc/passwd", server.url)).unwrap().status, 404);
    assert_eq!(get(&format!("{}/missing", server.url)).unwrap().status, 404);
    assert_eq!(get(&server.url).unwrap().status, 200);
}

#[test]
fn a_file_replaced_during_its_download_does_not_tear_it() {
    use std::io::{Read, Write};
    let home = tempfile::tempdir().unwrap();
    let folder = folder(home.path());
    let big = vec![b'a'; 24 << 20];
    fs::write(folder.join("big.bin"), &big).unwrap();
    let server = Server::start(home.path(), &[folder.to_str().unwrap()]);
    let mut socket = std::net::TcpStream::connect(server.url.strip_prefix("http://").unwrap()).unwrap();
    socket.write_all(b"GET /big.bin HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut received = vec![0; 1 << 20];
    socket.read_exact(&mut received).unwrap();
    // Far more is under way than the socket buffers hold; now the file changes, and is published.
    fs::write(folder.join("big.bin"), vec![b'b'; 24 << 20]).unwrap();
    generate(&server);
    socket.read_to_end(&mut received).unwrap();
    let body = received.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
    assert!(received[body..] == big, "the download is torn");
    assert!(get(&format!("{}/big.bin", server.url)).unwrap().body == vec![b'b'; 24 << 20]);
}

#[test]
fn scans_at_once_are_one_scan_and_strangers_start_none() {
    let home = tempfile::tempdir().unwrap();
    let folder = folder(home.path());
    let server = Server::start(home.path(), &[folder.to_str().unwrap()]);
    fs::write(folder.join("app.exe"), "changed").unwrap();
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| generate(&server));
        }
    });
    let answer = get(&format!("{}/checkUpdate", server.url)).unwrap();
    let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(body["Version"], "0.0.2", "16 scans of one change are one release");

    let url = format!("{}/generateNewConfig", server.url);
    for header in
        [("Host", "updates.example.com"), ("X-Forwarded-For", "203.0.113.9"), ("Forwarded", "for=203.0.113.9")]
    {
        assert_eq!(get_with(&url, &[header]).unwrap().status, 403, "{header:?}");
    }
    let token = format!("Bearer {}", server.token());
    let allowed = get_with(&url, &[("Host", "updates.example.com"), ("Authorization", &token)]).unwrap();
    assert_eq!(allowed.status, 200, "the admin token opens it");
}
