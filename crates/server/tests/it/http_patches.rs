//! Patches over HTTP: read as blobs are, missed as none, handed in and listed by whoever has the token.

use std::sync::Arc;

use serde_json::Value;
use updraft_core::Timestamp;
use updraft_core::layout;
use updraft_core::release::Notes;
use updraft_server::depot::{Depot, OnlineKeys, Options};
use updraft_server::http::Access;
use updraft_server::maker;
use updraft_server::store::Store;
use updraft_testkit::{TreeFixture, noise};

use super::http_scene::{Publisher, Scene};
use super::patches_support::{Bench, large, pair, patch, publish_files, until};

/// A scene with two large releases.
async fn scene() -> (Scene, TreeFixture, TreeFixture) {
    let options = Options { patch_releases: 1, ..Options::default() };
    let now = updraft_core::Timestamp::now();
    let depot = Depot::open(Store::memory(), OnlineKeys::memory(), options, now).await.unwrap();
    let mut publisher = Publisher::new(depot.clone()).await;
    let (old, new) = (large("1.0.0"), large("1.1.0"));
    for (version, files) in [("1.0.0", &old), ("1.1.0", &new)] {
        publisher.publish(version, files, Notes::Text("new".into())).await;
        // As the maker does whenever something is published.
        depot.patches(&"demo".parse().unwrap(), Timestamp::now()).await.unwrap();
    }
    (Scene::over(depot, Access::default(), None), old, new)
}

fn paths(from: &TreeFixture, to: &TreeFixture) -> (String, String) {
    let pair = pair(from, to);
    let public = format!("/apps/demo/patches/{}/{}", pair.from, pair.to);
    (public.clone(), format!("/api/v1{public}"))
}

async fn metric(scene: &Scene, name: &str) -> u64 {
    let page = scene.get("/metrics").await;
    let line = format!("{name}{{app=\"demo\"}} ");
    page.text().lines().find_map(|text| text.strip_prefix(&line)).unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_patch_is_read_whole_and_in_parts() {
    let (scene, old, new) = scene().await;
    let (public, api) = paths(&old, &new);
    let missed = scene.get(&public).await;
    assert_eq!((missed.status.as_u16(), missed.problem().as_str()), (404, "not-found"), "and `no-store`");
    assert_eq!(metric(&scene, "updraft_patch_misses_total").await, 1);

    let bytes = patch(&old, &new);
    assert_eq!(scene.admin("PUT", &api, bytes.clone()).await.status, 204);
    assert_eq!(scene.admin("PUT", &api, bytes.clone()).await.status, 204, "the same again is success");
    let whole = scene.get(&public).await;
    assert_eq!((whole.status.as_u16(), &whole.body[..]), (200, &bytes[..]));
    assert_eq!(whole.header("cache-control"), "public, max-age=3600", "it may be made anew");
    let part = scene.get_with(&public, &[("range", "bytes=0-19")]).await;
    assert_eq!((part.status.as_u16(), &part.body[..]), (206, &bytes[..20]));
    let tag = whole.header("etag").to_owned();
    let rest = scene.get_with(&public, &[("range", "bytes=20-"), ("if-range", &tag)]).await;
    assert_eq!((rest.status.as_u16(), &rest.body[..]), (206, &bytes[20..]));

    assert_eq!(scene.admin("DELETE", &api, "").await.status, 204);
    assert_eq!(scene.get(&public).await.status, 404);
    assert_eq!(scene.admin("DELETE", &api, "").await.status, 204, "it stays away");
    assert_eq!(scene.admin("POST", &format!("{api}/retry"), "").await.status, 204);
    let (_, unknown) = paths(&new, &TreeFixture::of(&[("other", "x")]));
    assert_eq!(scene.admin("DELETE", &unknown, "").await.status, 404);
    assert_eq!(scene.admin("POST", &format!("{unknown}/retry"), "").await.status, 404);

    // Another one of the same length is no continuation of the first.
    assert_eq!(scene.admin("PUT", &api, bytes.clone()).await.status, 204);
    let other = scene.get_with(&public, &[("range", "bytes=20-"), ("if-range", &tag)]).await;
    assert_eq!((other.status.as_u16(), &other.body[..]), (200, &bytes[..]));
    assert_ne!(other.header("etag"), tag);
}

#[tokio::test]
async fn patches_are_listed_for_whoever_has_the_token() {
    let (scene, old, new) = scene().await;
    let (_, api) = paths(&old, &new);
    let list = "/api/v1/apps/demo/patches";
    let only = async |scene: &Scene| -> Value { scene.admin("GET", list, "").await.json()["patches"][0].clone() };
    let waiting = only(&scene).await;
    assert_eq!((&waiting["state"], &waiting["from_release"]["version"]), (&"waiting".into(), &"1.0.0".into()));
    let bytes = patch(&old, &new);
    scene.admin("PUT", &api, bytes.clone()).await;
    let made = only(&scene).await;
    assert_eq!((&made["state"], &made["bytes"]), (&"made".into(), &bytes.len().into()));
    let retry = format!("{api}/retry");
    for (method, path) in [("GET", list), ("PUT", &api), ("DELETE", &api), ("POST", &retry)] {
        let answer = scene.ask(method, path, "127.0.0.1:40000", &[("host", "127.0.0.1:8080")], "").await;
        assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (401, "token-missing"), "{method} {path}");
    }
}

#[tokio::test]
async fn what_is_no_patch_is_refused_and_no_more_is_read_than_it_may_have() {
    let (scene, old, new) = scene().await;
    let (_, api) = paths(&old, &new);
    for (body, says) in [
        (patch(&new, &old), "it is a patch from tree"),
        (b"hello".to_vec(), "not a patch"),
        (noise(5, 1 << 20), "no smaller than the"),
    ] {
        let answer = scene.admin("PUT", &api, body).await;
        assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (422, "refused"));
        assert!(answer.json()["detail"].as_str().unwrap().contains(says), "{}", answer.text());
    }
    let (_, backwards) = paths(&new, &TreeFixture::of(&[("other", "x")]));
    assert_eq!(scene.admin("PUT", &backwards, "x").await.problem(), "refused");
    assert_eq!(scene.admin("PUT", "/api/v1/apps/demo/patches/x/y", "x").await.problem(), "bad-request");
}

#[tokio::test]
async fn what_a_device_asks_for_in_vain_is_made_and_what_a_stranger_invents_is_not() {
    let (scene, old, new) = scene().await;
    let app = "demo".parse().unwrap();
    // Live no more, and not among the last.
    let mut publisher = Publisher::of(&scene);
    for version in ["1.2.0", "1.3.0", "1.4.0"] {
        publisher.publish(version, &large(version), Notes::Text("new".into())).await;
        scene.depot.patches(&app, Timestamp::now()).await.unwrap();
    }
    let newest = large("1.4.0");
    let bench = Arc::new(Bench::default());
    let making = tokio::spawn(maker::run(scene.depot.clone(), bench.clone(), 1));
    let (invented, live) = (TreeFixture::of(&[("invented", "x")]), pair(&large("1.3.0"), &newest));
    for (from, to) in [(&invented, &newest), (&newest, &newest), (&old, &new), (&newest, &invented)] {
        assert_eq!(scene.get(&paths(from, to).0).await.status, 404);
    }
    let wanted = pair(&old, &newest);
    for _ in 0..3 {
        assert_eq!(scene.get(&paths(&old, &newest).0).await.status, 404);
    }
    let path = paths(&old, &newest).0;
    until("what was asked for", async || scene.get_with(&path, &[("range", "bytes=0-0")]).await.status == 206).await;
    let asked = bench.asked.lock().unwrap().clone();
    assert_eq!(asked.iter().filter(|pair| **pair == wanted).count(), 1, "once");
    assert!(asked.contains(&live));
    assert!(asked.iter().all(|pair| pair.from != invented.tree().digest() && pair.from != pair.to), "{asked:?}");
    assert!(asked.iter().all(|pair| pair.to != new.tree().digest()), "what is not live needs no patch: {asked:?}");

    let whole = scene.get(&path).await;
    let saved = async || metric(&scene, "updraft_patch_saved_bytes_total").await;
    until("it is counted", async || saved().await > 100_000).await;
    assert!(metric(&scene, "updraft_patch_served_bytes_total").await >= whole.body.len() as u64);
    assert!(metric(&scene, "updraft_patches_made_total").await >= 2);
    making.abort();
}

#[tokio::test]
async fn a_patch_that_somebody_deleted_is_made_again_when_it_is_missed() {
    let (scene, old, new) = scene().await;
    let making = tokio::spawn(maker::run(scene.depot.clone(), Arc::new(Bench::default()), 1));
    let (path, pair) = (paths(&old, &new).0, pair(&old, &new));
    until("it is made", async || scene.get(&path).await.status == 200).await;
    let key = layout::patch(&"demo".parse().unwrap(), pair.from, pair.to);
    scene.depot.store().delete(&key).await.unwrap();
    assert_eq!(scene.get(&path).await.status, 404);
    until("it is made again", async || scene.depot.store().stat(&key).await.unwrap().is_some()).await;
    making.abort();
}

#[tokio::test]
async fn nobody_can_order_what_no_device_is_due() {
    let (scene, old, new) = scene().await;
    let app = "demo".parse().unwrap();
    let (windows, linux) = (large("windows"), large("linux"));
    for (version, platform, files) in [("1.2.0", "windows-x86_64", &windows), ("1.3.0", "linux-x86_64", &linux)] {
        publish_files(&scene.depot, version, platform, Some("stable"), files, Timestamp::now()).await.unwrap();
        scene.depot.patches(&app, Timestamp::now()).await.unwrap();
    }
    let noting = tokio::spawn(maker::run(scene.depot.clone(), Arc::new(Bench::default()), 0));
    let before = scene.depot.patches(&app, Timestamp::now()).await.unwrap().patches.len();
    // Another platform's, back to an older one, and from what has no device: each is in the store, and live.
    for (from, to) in [(&windows, &linux), (&linux, &windows), (&linux, &new), (&new, &old), (&windows, &old)] {
        assert_eq!(scene.get(&paths(from, to).0).await.status, 404);
    }
    // The words are heard in order: this one last.
    assert_eq!(scene.get(&paths(&old, &linux).0).await.status, 404);
    let asked = async || scene.depot.patches(&app, Timestamp::now()).await.unwrap().patches.len();
    until("the last was heard", async || asked().await > before).await;
    assert_eq!(asked().await, before + 1);
    noting.abort();
}

#[tokio::test]
async fn a_flood_of_questions_costs_a_bounded_queue() {
    let (scene, ..) = scene().await;
    let mut publisher = Publisher::of(&scene);
    let app = "demo".parse().unwrap();
    // Nobody makes anything here: everything that is asked for waits.
    let noting = tokio::spawn(maker::run(scene.depot.clone(), Arc::new(Bench::default()), 0));
    for n in 0..70 {
        let files = TreeFixture::of(&[("n", &n.to_string())]);
        publisher.publish(&format!("2.{n}.0"), &files, Notes::Text("new".into())).await;
        scene.depot.patches(&app, Timestamp::now()).await.unwrap();
    }
    let newest = TreeFixture::of(&[("n", "69")]);
    for n in 0..69 {
        scene.get(&paths(&TreeFixture::of(&[("n", &n.to_string())]), &newest).0).await;
    }
    let waiting = async || {
        let patches = scene.depot.patches(&app, Timestamp::now()).await.unwrap().patches;
        patches.iter().filter(|patch| patch.to == newest.tree().digest()).count()
    };
    until("all were heard", async || waiting().await >= 15).await;
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(waiting().await, 15, "sixteen releases are remembered, with the newest one");
    noting.abort();
}
