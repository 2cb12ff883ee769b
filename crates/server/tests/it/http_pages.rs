//! The status page and what the server says of itself.

use updraft_core::Timestamp;
use updraft_core::layout::Key;
use updraft_core::release::Notes;
use updraft_server::depot::{Depot, OnlineKeys, Options};
use updraft_server::http::Access;
use updraft_server::seed::Seed;
use updraft_server::store::Store;
use updraft_testkit::TreeFixture;

use crate::http_scene::{Publisher, Scene, demo, memory, over};

#[tokio::test]
async fn the_status_page_tells_what_is_out_and_how_to_get_it() {
    let (scene, mut publisher) = Scene::folder(&TreeFixture::of(&[("a", "x")]), Access::default(), None).await;
    let notes = "<script>alert(1)</script>\nsecond line & more";
    publisher.publish("0.0.2", &TreeFixture::of(&[("a", "y")]), Notes::Text(notes.into())).await;
    let page = scene.get_with("/dashboard", &[("host", "updates.example.com:8080")]).await;
    assert_eq!((page.status.as_u16(), page.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(page.header("content-security-policy").starts_with("default-src 'none'"));
    let root = scene.depot.view(&demo()).unwrap().root_sha256;
    let line = format!(
        "updraft-agent install --url http://updates.example.com:8080/apps/demo --root-sha256 {root} ./demo-installed"
    );
    for text in [line.as_str(), "stable", "<b>0.0.2</b>", "0.0.1", "timestamp", "fresh", "&lt;script&gt;", "&amp; more"]
    {
        assert!(page.text().contains(text), "{text}");
    }
    assert!(!page.text().contains("<script"));
}

#[tokio::test]
async fn a_host_that_is_none_is_not_shown() {
    let (scene, _) = Scene::folder(&TreeFixture::of(&[("a", "x")]), Access::default(), None).await;
    for host in ["\"><script>", "a b", ""] {
        let page = scene.get_with("/dashboard", &[("host", host)]).await;
        assert!(page.text().contains("--url http://HOST:8080/apps/demo"), "{host}");
    }
    assert!(Scene::empty().await.get("/dashboard").await.text().contains("updraft app create"));
}

#[tokio::test]
async fn alive_is_not_ready() {
    let depot = memory().await;
    let seed = Seed::new(demo(), depot.clone(), None);
    let scene = Scene::over(depot.clone(), Access::default(), Some(seed));
    for prefix in ["", "/api/v1"] {
        assert_eq!(scene.get(&format!("{prefix}/healthz")).await.status, 200);
        let ready = scene.get(&format!("{prefix}/readyz")).await;
        assert_eq!((ready.status.as_u16(), ready.problem().as_str()), (503, "not-ready"));
        assert_eq!(scene.get(&format!("{prefix}/version")).await.json()["name"], "updraft");
    }
    let mut publisher = Publisher::new(depot).await;
    assert_eq!(scene.get("/readyz").await.status, 503, "the app is there, and no release");
    publisher.publish("0.0.1", &TreeFixture::of(&[("a", "x")]), Notes::default()).await;
    assert_eq!(scene.get("/readyz").await.status, 200);
    assert_eq!(Scene::empty().await.get("/readyz").await.status, 200, "a server without a folder is ready at once");
}

/// The story: a disk lost one file of an app. Devices heard 404, as if the app had never been; and the load balancer,
/// which asked whether the server was ready, went on sending them.
#[tokio::test]
async fn a_broken_app_is_not_an_app_that_never_was() {
    let store = Store::memory();
    store.put(&Key::parse("apps/demo/head").unwrap(), "no head".into()).await.unwrap();
    let scene = Scene::over(over(store).await, Access::default(), None);
    for path in ["/apps/demo/head", "/apps/demo/root.json", "/apps/demo/tuf/timestamp.json", "/readyz"] {
        let answer = scene.get(path).await;
        assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (503, "not-ready"), "{path}");
        assert_eq!(answer.header("retry-after"), "5", "{path}");
    }
    assert_eq!(scene.get("/apps/other/head").await.status, 404);
    assert_eq!(scene.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn a_server_whose_signatures_are_stale_is_not_ready() {
    let options = Options { timestamp_life_secs: 1, ..Options::default() };
    let long_ago = Timestamp::now().checked_sub(jiff::SignedDuration::from_hours(1)).unwrap();
    let depot = Depot::open(Store::memory(), OnlineKeys::memory(), options, long_ago).await.unwrap();
    let online = depot.propose_app(&demo()).await.unwrap();
    let (first, _) = Publisher::first_metadata(&online);
    depot.create_app(&demo(), &first, long_ago).await.unwrap();
    let scene = Scene::over(depot.clone(), Access::default(), None);
    let stale = scene.get("/readyz").await;
    assert_eq!(stale.status, 503);
    assert!(stale.text().contains("timestamp"), "{}", stale.text());
    let ahead = Timestamp::now().checked_add(jiff::SignedDuration::from_hours(1)).unwrap();
    depot.renew(ahead).await;
    assert_eq!(scene.get("/readyz").await.status, 200);
}
