//! The seed's routes: what its clients rely on, and what it got wrong.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use http_body_util::BodyExt;
use serde_json::json;
use updraft_core::release::Notes;
use updraft_server::http::Access;
use updraft_server::rescan::{BoxFuture, Outcome, Rescan};
use updraft_server::seed::{RESERVED, Seed};
use updraft_server::store::READ_LEN;
use updraft_testkit::{TreeFixture, noise};

use crate::http_scene::{Answer, LOCAL, Publisher, STRANGER, Scene, demo, memory};

fn files() -> TreeFixture {
    TreeFixture::of(&[
        ("hello.txt", "hello"),
        ("sub/deep/nested.txt", "nested"),
        ("名 前.txt", "name"),
        ("link@", "sub/deep"),
    ])
    .with("sub/latest@", "../hello.txt")
}

async fn scene() -> (Scene, Publisher) {
    Scene::folder(&files(), Access::default(), None).await
}

/// `{path: md5}` as `GET /listFile` says it in JSON.
async fn list(scene: &Scene) -> BTreeMap<String, String> {
    let answer = scene.get_with("/listFile", &[("accept", "application/json")]).await;
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, "application/json"));
    serde_json::from_slice(&answer.body).unwrap()
}

#[tokio::test]
async fn it_greets() {
    let (scene, _) = scene().await;
    let greeting = scene.get("/").await;
    assert_eq!(greeting.status, 200);
    assert!(greeting.text().contains("demo 0.0.1") && greeting.text().contains("/dashboard"), "{}", greeting.text());
    assert_eq!(Scene::empty().await.get("/").await.status, 200);
}

#[tokio::test]
async fn the_version_is_not_a_constant_and_the_notes_speak_the_readers_language() {
    let (scene, mut publisher) = scene().await;
    let first = scene.get("/checkUpdate").await;
    assert_eq!(first.json(), json!({ "Version": "0.0.1", "Msg": "first" }));
    let notes = BTreeMap::from([("en".to_owned(), "more".to_owned()), ("zh".to_owned(), "更多".to_owned())]);
    publisher.publish("0.0.2", &files().with("more", ""), Notes::Locales(notes)).await;
    for (language, message) in [("zh-CN,zh;q=0.9,en;q=0.8", "更多"), ("en;q=0.1, zh;q=0", "more"), ("fr", "more")] {
        let answer = scene.get_with("/checkUpdate", &[("accept-language", language)]).await;
        assert_eq!(answer.json(), json!({ "Version": "0.0.2", "Msg": message }), "{language}");
        assert_eq!((answer.header("cache-control"), answer.header("vary")), ("no-cache", "accept-language"));
    }
}

#[tokio::test]
async fn before_the_first_release_it_says_so() {
    let depot = memory().await;
    let seed = Seed::new(demo(), depot.clone(), None);
    let scene = Scene::over(depot, Access::default(), Some(seed));
    for path in ["/checkUpdate", "/listFile", "/hello.txt", "/apps/demo/files/hello.txt"] {
        let answer = scene.get(path).await;
        assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (503, "not-ready"), "{path}");
        assert_eq!(answer.header("retry-after"), "5");
    }
    let without_folder = Scene::empty().await;
    for path in ["/checkUpdate", "/listFile", "/generateNewConfig", "/hello.txt"] {
        assert_eq!(without_folder.get(path).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn nested_files_download() {
    let (scene, _) = scene().await;
    for (path, content, disposition) in [
        ("/hello.txt", "hello", "attachment; filename=\"hello.txt\""),
        ("/sub/deep/nested.txt", "nested", "attachment; filename=\"nested.txt\""),
        ("/sub%2Fdeep/nested%2Etxt", "nested", "attachment; filename=\"nested.txt\""),
        (
            "/%E5%90%8D%20%E5%89%8D.txt",
            "name",
            "attachment; filename=\"_ _.txt\"; filename*=UTF-8''%E5%90%8D%20%E5%89%8D.txt",
        ),
        ("/sub/latest", "hello", "attachment; filename=\"hello.txt\""),
        ("/link/nested.txt", "nested", "attachment; filename=\"nested.txt\""),
        ("/apps/demo/files/sub/deep/nested.txt", "nested", "attachment; filename=\"nested.txt\""),
    ] {
        let answer = scene.get(path).await;
        assert_eq!((answer.status.as_u16(), answer.text()), (200, content), "{path}");
        assert_eq!(answer.header("content-disposition"), disposition, "{path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert!(answer.header("content-security-policy").contains("sandbox"));
        let tag = answer.header("etag");
        assert_eq!(scene.get_with(path, &[("if-none-match", tag)]).await.status, 304, "{path}");
        let part = scene.get_with(path, &[("range", "bytes=1-2")]).await;
        assert_eq!((part.status.as_u16(), part.text()), (206, &content[1..=2]), "{path}");
    }
    for path in [
        "/nothing",
        "/sub",
        "/sub/",
        "/link",
        "/hello.txt/",
        "/../hello.txt",
        "/sub/../hello.txt",
        "//hello.txt",
        "/HELLO.TXT",
    ] {
        let answer = scene.get(path).await;
        assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (404, "not-found"), "{path}");
    }
}

#[tokio::test]
async fn the_list_has_every_file_and_its_md5() {
    let (scene, _) = scene().await;
    let expected = BTreeMap::from(
        [
            ("hello.txt", "5d41402abc4b2a76b9719d911017c592"),
            ("sub/deep/nested.txt", "83d3784ea62518eafc60e98d84f877ad"),
            ("sub/latest", "5d41402abc4b2a76b9719d911017c592"),
            ("名 前.txt", "b068931cc450442b63f5b3d276ea4297"),
        ]
        .map(|(path, md5)| (path.to_owned(), md5.to_owned())),
    );
    assert_eq!(list(&scene).await, expected);
    let pickle = scene.get("/listFile").await;
    assert_eq!((pickle.header("content-type"), &pickle.body[..2]), ("application/octet-stream", &[0x80, 2][..]));
    assert_eq!(pickle.header("vary"), "accept");
    assert_eq!(scene.get_with("/listFile", &[("if-none-match", pickle.header("etag"))]).await.status, 304);
    assert_eq!(scene.get_with("/listFile", &[("accept", "text/html, */*;q=0.8")]).await.body, pickle.body);
}

#[tokio::test]
async fn deleted_files_leave_the_list_and_it_never_lists_itself() {
    let (scene, mut publisher) = scene().await;
    assert!(list(&scene).await.contains_key("hello.txt"));
    let next =
        files().without("sub").without("hello.txt").with("new", "new").with("listFile", "left by the old server");
    for version in ["0.0.2", "0.0.3"] {
        publisher.publish(version, &next.clone().with("version", version), Notes::default()).await;
        let list = list(&scene).await;
        let paths: Vec<&str> = list.keys().map(String::as_str).collect();
        assert_eq!(paths, ["new", "version", "名 前.txt"]);
    }
    assert_eq!(scene.get("/hello.txt").await.status, 404);
    assert_ne!(scene.get("/listFile").await.body, "left by the old server");
}

#[tokio::test]
async fn the_md5s_are_remembered_across_a_restart() {
    let (scene, _) = scene().await;
    let before = list(&scene).await;
    // Without the contents a list can only come from what was remembered.
    let raw: Vec<_> = scene.depot.store().list("apps/demo/blobs/", None, 100).await.unwrap();
    for (key, _) in raw {
        scene.depot.store().delete(&key).await.unwrap();
    }
    let seed = Seed::new(demo(), scene.depot.clone(), None);
    let again = Scene::over(scene.depot.clone(), Access::default(), Some(seed));
    assert_eq!(list(&again).await, before);
}

#[tokio::test]
async fn the_servers_own_names_are_served_elsewhere() {
    let hidden = RESERVED.iter().fold(files(), |files, name| files.with(&format!("{name}/x"), *name));
    let (scene, _) = Scene::folder(&hidden, Access::default(), None).await;
    assert_eq!(list(&scene).await.len(), 4);
    for name in RESERVED {
        assert_ne!(scene.get(&format!("/{name}/x")).await.text(), name);
        let answer = scene.get(&format!("/apps/demo/files/{name}/x")).await;
        assert_eq!((answer.status.as_u16(), answer.text()), (200, name));
    }
}

#[tokio::test]
async fn a_file_of_the_folder_goes_before_what_the_server_says_of_itself() {
    let own = files().with("healthz", "mine").with("version", "mine too").with("metrics", "mine as well");
    let (scene, _) = Scene::folder(&own, Access::default(), None).await;
    assert_eq!(scene.get("/healthz").await.text(), "mine");
    assert_eq!(scene.get("/version").await.text(), "mine too");
    assert_eq!(scene.get("/metrics").await.text(), "mine as well");
    assert_eq!(scene.get("/readyz").await.json()["ready"], true);
    assert!(scene.get("/api/v1/metrics").await.text().contains("updraft_ready 1\n"));
    assert_eq!(scene.get("/api/v1/healthz").await.text(), "ok\n");
}

#[tokio::test]
async fn a_file_that_is_replaced_while_it_is_downloaded_does_not_tear() {
    let (old, new) = (noise(1, 5 * READ_LEN), noise(2, 5 * READ_LEN));
    let (scene, mut publisher) =
        Scene::folder(&TreeFixture::default().with("big", &old), Access::default(), None).await;
    let request = http::Request::get("/big").body(http_body_util::Empty::<bytes::Bytes>::new()).unwrap();
    let mut body = scene.service.respond(LOCAL.parse().unwrap(), request).await.into_body();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(first.len() < old.len());
    publisher.publish("0.0.2", &TreeFixture::default().with("big", &new), Notes::default()).await;
    let rest = body.collect().await.unwrap().to_bytes();
    assert!([&first[..], &rest[..]].concat() == old, "the download is not the file that it began with");
    assert!(scene.get("/big").await.body == new);
}

/// Publishes what lies in it, and counts how often it is asked.
struct Folder {
    files: Mutex<TreeFixture>,
    publisher: tokio::sync::Mutex<Option<Publisher>>,
    scans: AtomicUsize,
}

impl Folder {
    fn new(files: TreeFixture) -> Arc<Self> {
        Arc::new(Self {
            files: Mutex::new(files),
            publisher: tokio::sync::Mutex::default(),
            scans: AtomicUsize::new(0),
        })
    }
}

impl Rescan for Folder {
    fn rescan(&self) -> BoxFuture<'_, Result<Outcome, String>> {
        Box::pin(async {
            let mut publisher = self.publisher.lock().await;
            let scan = self.scans.fetch_add(1, Ordering::SeqCst) + 1;
            let files = self.files.lock().unwrap().clone();
            if files.contents().values().any(|content| content == b"broken") {
                return Err("folder updateFiles: file x cannot be read".to_owned());
            }
            let release = publisher.as_mut().unwrap().publish(&format!("0.1.{scan}"), &files, Notes::default()).await;
            Ok(Outcome::Published(release.name()))
        })
    }
}

async fn scanned(access: Access) -> (Scene, Arc<Folder>) {
    let folder = Folder::new(files());
    let (scene, publisher) = Scene::folder(&files(), access, Some(Arc::clone(&folder) as Arc<dyn Rescan>)).await;
    *folder.publisher.lock().await = Some(publisher);
    (scene, folder)
}

async fn generate(scene: &Scene, peer: &str, headers: &[(&str, &str)]) -> Answer {
    scene.ask("GET", "/generateNewConfig", peer, headers, "").await
}

#[tokio::test]
async fn a_scan_publishes_what_is_in_the_folder() {
    let (scene, folder) = scanned(Access::default()).await;
    *folder.files.lock().unwrap() = files().with("added/later", "x");
    let answer = generate(&scene, LOCAL, &[("host", "localhost:8080")]).await;
    assert_eq!((answer.status.as_u16(), answer.json()), (200, json!({ "Statu": "success" })));
    assert!(list(&scene).await.contains_key("added/later"));
    assert_eq!(scene.get("/checkUpdate").await.json()["Version"], "0.1.1");

    *folder.files.lock().unwrap() = files().with("x", "broken");
    let answer = generate(&scene, LOCAL, &[("host", "localhost:8080")]).await;
    assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (500, "scan-failed"));
    assert!(answer.text().contains("file x cannot be read"));
    assert_eq!(scene.get("/checkUpdate").await.json()["Version"], "0.1.1", "the last release stays");
}

#[tokio::test]
async fn two_scans_at_once_are_one_scan() {
    let (scene, folder) = scanned(Access::default()).await;
    let host = [("host", "localhost")];
    let (first, second) = tokio::join!(generate(&scene, LOCAL, &host), generate(&scene, LOCAL, &host));
    assert_eq!((first.status.as_u16(), second.status.as_u16()), (200, 200));
    assert_eq!(folder.scans.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn the_scan_is_for_this_machine_and_for_the_token() {
    let (scene, folder) = scanned(Access::default()).await;
    let local = ("host", "127.0.0.1:8080");
    let wrong = format!("Bearer {}", updraft_server::http::AdminToken::generate().unwrap().reveal());
    let right = format!("Bearer {}", scene.token.reveal());
    for (peer, headers, status) in [
        (STRANGER, vec![local], 403),
        (LOCAL, vec![("host", "updates.example.com")], 403),
        (LOCAL, vec![], 403),
        (LOCAL, vec![local, ("x-forwarded-for", "127.0.0.1")], 403),
        (LOCAL, vec![local, ("forwarded", "for=127.0.0.1")], 403),
        (LOCAL, vec![local, ("sec-fetch-site", "cross-site")], 403),
        (STRANGER, vec![local, ("authorization", wrong.as_str())], 401),
    ] {
        assert_eq!(generate(&scene, peer, &headers).await.status, status, "{peer} {headers:?}");
    }
    assert_eq!(folder.scans.load(Ordering::SeqCst), 0);
    let stranger = [("host", "updates.example.com"), ("authorization", right.as_str())];
    assert_eq!(generate(&scene, STRANGER, &stranger).await.status, 200);
    assert_eq!(generate(&scene, LOCAL, &[local, ("sec-fetch-site", "none")]).await.status, 200);

    let (open, _) = scanned(Access { open_generate: true, ..Access::default() }).await;
    assert_eq!(generate(&open, STRANGER, &[]).await.status, 200);
    let trusted_proxies = vec!["10.0.0.0/8".parse().unwrap()];
    let (proxied, _) = scanned(Access { trusted_proxies, ..Access::default() }).await;
    assert_eq!(generate(&proxied, LOCAL, &[local]).await.status, 403, "behind proxies nobody is surely here");
}
