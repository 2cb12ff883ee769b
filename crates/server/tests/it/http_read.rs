//! What devices read: bytes, caching, ranges.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use http_body_util::BodyExt;
use updraft_core::digest::Digest;
use updraft_core::layout::{self, Key};
use updraft_core::release::Notes;
use updraft_core::tree::stored::Encoding;
use updraft_core::trust::{MetadataFile, Role};
use updraft_server::http::Access;
use updraft_server::store::{READ_LEN, Store};
use updraft_testkit::{TreeFixture, noise};

use crate::http_scene::{Answer, LOCAL, Publisher, Scene, demo, over, sha256};

const IMMUTABLE: &str = "public, max-age=31536000, immutable";

/// A scene with one release: a small file, and one of several slices.
async fn scene() -> (Scene, TreeFixture) {
    let scene = Scene::empty().await;
    let files = TreeFixture::of(&[("small", "0123456789")]).with("large", noise(7, 3 * READ_LEN + 17));
    let mut publisher = Publisher::new(scene.depot.clone()).await;
    publisher.publish("1.0.0", &files, Notes::default()).await;
    (scene, files)
}

fn blob_path(files: &TreeFixture, path: &str) -> String {
    let digest = updraft_core::digest::Digest::of(files.content(path));
    format!("/{}", layout::blob(&demo(), digest, Encoding::Raw))
}

/// The parts of a `multipart/byteranges` answer: `Content-Range` and bytes.
fn parts(answer: &Answer) -> Vec<(String, Vec<u8>)> {
    let boundary = answer.header("content-type").strip_prefix("multipart/byteranges; boundary=").unwrap();
    let delimiter = format!("\r\n--{boundary}");
    let mut rest = &answer.body[..];
    let mut parts = Vec::new();
    loop {
        rest = rest.strip_prefix(delimiter.as_bytes()).unwrap();
        if rest == b"--\r\n" {
            return parts;
        }
        rest = rest.strip_prefix(b"\r\n").unwrap();
        let head_end = rest.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
        let head = std::str::from_utf8(&rest[..head_end]).unwrap();
        let range = head.lines().find_map(|line| line.strip_prefix("Content-Range: ")).unwrap().to_owned();
        let (first, last) = range.strip_prefix("bytes ").unwrap().split_once('/').unwrap().0.split_once('-').unwrap();
        let len = last.parse::<usize>().unwrap() - first.parse::<usize>().unwrap() + 1;
        let body = &rest[head_end + 4..];
        parts.push((range, body[..len].to_vec()));
        rest = &body[len..];
    }
}

#[tokio::test]
async fn a_head_is_asked_for_anew_and_costs_little_when_nothing_changed() {
    let (scene, files) = scene().await;
    let head = scene.get("/apps/demo/head").await;
    assert_eq!((head.status.as_u16(), head.header("cache-control")), (200, "no-cache"));
    assert_eq!(head.body, scene.depot.view(&demo()).unwrap().head_bytes);

    let tag = head.header("etag");
    let same = scene.get_with("/apps/demo/head", &[("if-none-match", tag)]).await;
    assert_eq!((same.status.as_u16(), same.header("etag"), same.body.len()), (304, tag, 0));
    let len: usize = same.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    assert!(len < 128, "{:?}", same.headers);

    let mut publisher = Publisher::of(&scene);
    publisher.publish("1.1.0", &files.clone().with("new", "x"), Notes::default()).await;
    let newer = scene.get_with("/apps/demo/head", &[("if-none-match", tag)]).await;
    assert_eq!(newer.status, 200);
    assert_ne!(newer.header("etag"), tag);
}

#[tokio::test]
async fn what_never_changes_is_kept_for_ever_and_never_run() {
    let (scene, files) = scene().await;
    let view = scene.depot.view(&demo()).unwrap();
    let tree = layout::tree(&demo(), files.tree().digest());
    let release = view.releases.values().next().unwrap();
    let document = layout::release(&demo(), &release.name(), sha256(&release.encode()));
    let metadata = view.metadata.keys().filter(|key| !key.as_str().ends_with("/timestamp.json"));
    let paths: Vec<String> = metadata.chain([&tree, &document]).map(|key| format!("/{key}")).collect();
    assert!(paths.len() >= 6, "{paths:?}");
    for path in paths.iter().chain([&blob_path(&files, "small")]) {
        let answer = scene.get(&path.replace('%', "%25")).await;
        assert_eq!((answer.status.as_u16(), answer.header("cache-control")), (200, IMMUTABLE), "{path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert!(answer.header("content-security-policy").contains("sandbox"));
        assert_eq!(answer.header("content-length"), answer.body.len().to_string());
        let stored = scene.depot.store().read(&Key::parse(&path[1..]).unwrap(), 4 << 20).await.unwrap().unwrap().0;
        assert_eq!(answer.body, stored, "{path}");
        // Metadata may come back under a name with other bytes of the same length, after a restore from a backup: what
        // lies in memory anyway is tagged by its bytes.
        if path.contains("/tuf/") {
            assert_eq!(answer.header("etag"), format!("\"{}\"", &Digest::of(&stored).to_string()[..32]), "{path}");
        }
    }
}

#[tokio::test]
async fn root_and_timestamp_are_served_under_their_lasting_names() {
    let (scene, _) = scene().await;
    let view = scene.depot.view(&demo()).unwrap();
    let root = scene.get("/apps/demo/root.json").await;
    assert_eq!((root.body, sha256(&view.first_root)), (view.first_root.clone(), view.root_sha256));
    let timestamp = scene.get("/apps/demo/tuf/timestamp.json").await;
    assert_eq!(timestamp.header("cache-control"), "no-cache");
    assert_eq!(timestamp.body, view.head.timestamp);
}

#[tokio::test]
async fn metadata_that_is_not_in_memory_is_looked_up_before_it_is_denied() {
    let (scene, _) = scene().await;
    let key = layout::metadata(&demo(), &MetadataFile::Versioned(Role::Targets, 99));
    let path = format!("/{key}");
    let missing = scene.get(&path).await;
    assert_eq!((missing.status.as_u16(), missing.problem().as_str()), (404, "not-found"));
    scene.depot.store().create(&key, Bytes::from_static(b"{}")).await.unwrap();
    let found = scene.get(&path).await;
    assert_eq!((found.status.as_u16(), &found.body[..], found.header("cache-control")), (200, &b"{}"[..], IMMUTABLE));
}

#[tokio::test]
async fn nothing_else_is_there() {
    let (scene, files) = scene().await;
    scene.depot.store().put(&layout::private("tokens", "x"), Bytes::from_static(b"secret")).await.unwrap();
    let blob = blob_path(&files, "small");
    for path in [
        "/apps/other/head",
        "/apps/demo",
        "/apps/demo/",
        "/apps/demo/heads",
        "/apps/demo/private/tokens/x",
        "/private/tokens/x",
        "/apps/../private/tokens/x",
        "/apps/demo/..%2f..%2fprivate/tokens/x",
        "/apps/demo/blobs/%2e%2e/head",
        "/apps//demo/head",
        "/apps/demo/files/small",
        &format!("{blob}.zst"),
        &blob.replace("blobs", "trees"),
    ] {
        let answer = scene.get(path).await;
        assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (404, "not-found"), "{path}");
    }
    for path in ["/%zz", "/apps/demo/%ff", "/%00"] {
        assert_eq!(scene.get(path).await.status, 400, "{path}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let answer = scene.ask(method, "/apps/demo/head", LOCAL, &[], "").await;
        assert_eq!((answer.status.as_u16(), answer.header("allow")), (405, "GET, HEAD"));
    }
}

#[tokio::test]
async fn head_requests_say_the_same_without_the_bytes() {
    let (scene, files) = scene().await;
    for path in ["/apps/demo/head", &blob_path(&files, "large")] {
        let (get, head) = (scene.get(path).await, scene.ask("HEAD", path, LOCAL, &[], "").await);
        assert_eq!((head.status, head.body.len()), (get.status, 0));
        assert_eq!(head.headers, get.headers, "{path}");
    }
}

#[tokio::test]
async fn one_range() {
    let (scene, files) = scene().await;
    let path = blob_path(&files, "large");
    let content = files.content("large");
    let (len, slice) = (content.len(), READ_LEN);
    let end = len - 1;
    for (header, first, last) in [
        ("bytes=0-0".to_owned(), 0, 0),
        ("bytes=0-".to_owned(), 0, end),
        ("bytes=-1".to_owned(), end, end),
        (format!("bytes={}-{}", slice - 1, slice), slice - 1, slice),
        (format!("bytes={}-{}", 1, 3 * slice), 1, 3 * slice),
        (format!("bytes={end}-{}", len + 10), end, end),
        (format!("bytes=5-6,{len}-"), 5, 6),
    ] {
        let answer = scene.get_with(&path, &[("range", &header)]).await;
        assert_eq!(answer.status, 206, "{header}");
        assert_eq!(answer.header("content-range"), format!("bytes {first}-{last}/{len}"), "{header}");
        assert_eq!(answer.header("content-length"), (last - first + 1).to_string());
        assert!(answer.body == content[first..=last], "{header}");
    }
}

#[tokio::test]
async fn several_ranges() {
    let (scene, files) = scene().await;
    let content = files.content("large");
    let len = content.len();
    let header = format!("bytes=0-1, -2, {}-{}", READ_LEN - 3, READ_LEN + 3);
    let answer = scene.get_with(&blob_path(&files, "large"), &[("range", &header)]).await;
    assert_eq!(answer.status, 206);
    assert_eq!(answer.header("content-length"), answer.body.len().to_string());
    assert_eq!(answer.header("content-range"), "");
    let expected = [(0, 1), (len - 2, len - 1), (READ_LEN - 3, READ_LEN + 3)]
        .map(|(first, last)| (format!("bytes {first}-{last}/{len}"), content[first..=last].to_vec()));
    assert_eq!(parts(&answer), expected);

    // The same from memory.
    let head = scene.get("/apps/demo/head").await.body;
    let answer = scene.get_with("/apps/demo/head", &[("range", "bytes=2-3,0-0")]).await;
    let total = head.len();
    assert_eq!(
        parts(&answer),
        [(format!("bytes 2-3/{total}"), head[2..4].to_vec()), (format!("bytes 0-0/{total}"), head[..1].to_vec())]
    );
}

#[tokio::test]
async fn hostile_ranges_cost_no_more_than_the_whole() {
    let (scene, files) = scene().await;
    let path = blob_path(&files, "large");
    let len = files.content("large").len();
    let many = format!("bytes={}", ["0-0"; 1_000].join(","));
    let overlapping = format!("bytes={}", ["0-"; 10].join(","));
    for header in [many.as_str(), &overlapping, "bytes=9-1", "bytes=a-b", "pages=1-2", "bytes=0-0,x"] {
        let answer = scene.get_with(&path, &[("range", header)]).await;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (200, len), "{header}");
    }
    for header in [format!("bytes={len}-"), "bytes=-0".to_owned(), "bytes=18446744073709551615-".to_owned()] {
        let answer = scene.get_with(&path, &[("range", &header)]).await;
        assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (416, "range-not-satisfiable"), "{header}");
        assert_eq!(answer.header("content-range"), format!("bytes */{len}"));
    }
}

#[tokio::test]
async fn conditions() {
    let (scene, files) = scene().await;
    let path = blob_path(&files, "small");
    let tag = scene.get(&path).await.header("etag").to_owned();
    assert!(tag.starts_with('"') && tag.ends_with('"'), "a strong tag: {tag}");
    let weak = format!("W/{tag}");
    let listed = format!("\"other\", {tag}");
    let other = "\"other\"";
    let range = ("range", "bytes=0-1");
    let table: &[(&[(&str, &str)], u16)] = &[
        (&[("if-none-match", &tag)], 304),
        (&[("if-none-match", &weak)], 304),
        (&[("if-none-match", &listed)], 304),
        (&[("if-none-match", "*")], 304),
        (&[("if-none-match", other)], 200),
        (&[("if-none-match", &tag), range], 304),
        (&[("if-match", &tag)], 200),
        (&[("if-match", "*")], 200),
        (&[("if-match", other)], 412),
        (&[("if-match", &weak)], 412),
        (&[range, ("if-range", &tag)], 206),
        (&[range, ("if-range", other)], 200),
        (&[range, ("if-range", &weak)], 200),
        (&[range, ("if-range", "Sat, 01 Jan 2028 00:00:00 GMT")], 200),
    ];
    for (headers, status) in table {
        assert_eq!(scene.get_with(&path, headers).await.status, *status, "{headers:?}");
    }
    let head = scene.ask("HEAD", &path, LOCAL, &[range], "").await;
    assert_eq!((head.status.as_u16(), head.header("content-length")), (200, "10"));
}

#[tokio::test]
async fn an_empty_file_is_a_file() {
    let scene = Scene::empty().await;
    let files = TreeFixture::of(&[("empty", "")]);
    Publisher::new(scene.depot.clone()).await.publish("1.0.0", &files, Notes::default()).await;
    let path = blob_path(&files, "empty");
    let answer = scene.get(&path).await;
    assert_eq!((answer.status.as_u16(), answer.header("content-length"), answer.body.len()), (200, "0", 0));
    assert_eq!(scene.get_with(&path, &[("range", "bytes=0-")]).await.status, 416);
}

/// The file of the blob `name`, wherever the store keeps it.
fn find(dir: &Path, name: &str) -> Option<PathBuf> {
    std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).find_map(|path| match path.is_dir() {
        true => find(&path, name),
        false => path.ends_with(name).then_some(path),
    })
}

#[tokio::test]
async fn a_file_that_shrinks_on_the_disk_breaks_the_answer_off() {
    let dir = tempfile::tempdir().unwrap();
    let depot = over(Store::local(dir.path()).unwrap()).await;
    let scene = Scene::over(depot.clone(), Access::default(), None);
    let content = noise(7, 3 * READ_LEN);
    let files = TreeFixture::default().with("large", &content);
    Publisher::new(depot).await.publish("1.0.0", &files, Notes::default()).await;
    let path = blob_path(&files, "large");
    assert!(scene.get(&path).await.body == content);

    let file = find(dir.path(), path.rsplit('/').next().unwrap()).unwrap();
    let request = http::Request::get(&path).body(http_body_util::Empty::<Bytes>::new()).unwrap();
    let mut body = scene.service.respond(LOCAL.parse().unwrap(), request).await.into_body();
    body.frame().await.unwrap().unwrap();
    let mut permissions = std::fs::metadata(&file).unwrap().permissions();
    permissions.set_mode(0o644);
    std::fs::set_permissions(&file, permissions).unwrap();
    std::fs::File::options().write(true).open(&file).unwrap().set_len(READ_LEN as u64 + 1).unwrap();
    assert!(body.collect().await.is_err(), "half a slice was passed off as the rest");
}
