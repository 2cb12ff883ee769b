//! The publisher's API, door by door.

use serde_json::{Value, json};
use updraft_core::digest::Digest;
use updraft_core::release::Notes;
use updraft_core::tree::stored::{Hint, pack};
use updraft_server::http::Access;
use updraft_testkit::{TreeFixture, noise};

use crate::http_scene::{Publisher, Scene, demo};

fn files() -> TreeFixture {
    TreeFixture::of(&[("bin/app*", "#!/bin/sh\n")]).with("data", noise(3, 300_000))
}

/// A scene with the app, made through the API.
async fn created() -> Scene {
    let scene = Scene::empty().await;
    let proposed = scene.admin("POST", "/api/v1/apps", json!({ "name": "demo" }).to_string()).await;
    assert_eq!(proposed.status, 200, "{proposed:?}");
    let online = serde_json::from_value(proposed.json()["online"].clone()).unwrap();
    let (first, _) = Publisher::first_metadata(&online);
    let first = serde_json::to_string(&first).unwrap();
    let created = scene.admin("POST", "/api/v1/apps/demo/root", first).await;
    assert_eq!(created.status, 200, "{created:?}");
    scene
}

async fn upload(scene: &Scene, content: &[u8]) {
    let path = format!("/api/v1/apps/demo/blobs/{}", Digest::of(content));
    let answer = scene.admin("PUT", &path, content.to_vec()).await;
    assert_eq!((answer.status.as_u16(), answer.body.len()), (204, 0), "{answer:?}");
}

#[tokio::test]
async fn from_nothing_to_a_release() {
    let (scene, files) = (created().await, files());
    let (release, new) = Publisher::of(&scene).prepare("1.0.0", &files, Notes::Text("new".into()));
    let new = serde_json::to_string(&new).unwrap();

    let early = scene.admin("POST", "/api/v1/apps/demo/releases", new.clone()).await;
    assert_eq!((early.status.as_u16(), early.problem().as_str()), (422, "missing"));

    let digests: Vec<Digest> = files.contents().keys().copied().collect();
    let have = json!({ "blobs": digests }).to_string();
    let lacking = scene.admin("POST", "/api/v1/apps/demo/missing", have.clone()).await.json();
    assert_eq!(lacking["blobs"], json!([null, null]));
    for content in files.contents().values() {
        upload(&scene, content).await;
    }
    let lacking = scene.admin("POST", "/api/v1/apps/demo/missing", have).await.json();
    assert!(lacking["blobs"].as_array().unwrap().iter().all(|blob| blob["zstd"] == false), "{lacking}");

    let tree = files.tree();
    let path = format!("/api/v1/apps/demo/trees/{}", tree.digest());
    assert_eq!(scene.admin("PUT", &path, pack(&tree, &Hint::new())).await.status, 204);

    let committed = scene.admin("POST", "/api/v1/apps/demo/releases", new).await;
    assert_eq!(committed.status, 200, "{committed:?}");
    assert_eq!(committed.json()["targets"], 2);

    let app = scene.admin("GET", "/api/v1/apps/demo", "").await.json();
    assert_eq!(app["releases"][0]["version"], release.version.as_str());
    assert_eq!(app["releases"][0]["on"]["stable"], "current");
    assert_eq!(scene.admin("GET", "/api/v1/apps", "").await.json(), Value::Array(vec![app]));
}

#[tokio::test]
async fn what_is_out_of_date_or_wrong_is_said_so() {
    let (scene, files) = (created().await, files());
    let mut publisher = Publisher::of(&scene);
    let (_, stale) = publisher.prepare("1.1.0", &files, Notes::default());
    publisher.publish("1.0.0", &files, Notes::default()).await;

    let answer = scene.admin("POST", "/api/v1/apps/demo/releases", serde_json::to_string(&stale).unwrap()).await;
    assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (409, "conflict"));
    let answer = scene.admin("POST", "/api/v1/apps", json!({ "name": "demo" }).to_string()).await;
    assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (409, "exists"));

    let promote = |version: &str| {
        let release = json!({ "platform": "any", "version": version });
        json!({ "channel": "beta", "release": release }).to_string()
    };
    let answer = scene.admin("POST", "/api/v1/apps/demo/promote", promote("9.9")).await;
    assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (404, "not-found"));
    assert_eq!(scene.admin("POST", "/api/v1/apps/demo/promote", promote("1.0.0")).await.status, 200);
    assert_eq!(scene.admin("GET", "/api/v1/apps/other", "").await.problem(), "not-found");
}

#[tokio::test]
async fn an_upload_goes_on_where_it_stopped() {
    let scene = created().await;
    let content = noise(9, 300_000);
    let digest = Digest::of(&content);
    let (blob, state) = (format!("/api/v1/apps/demo/blobs/{digest}"), format!("/api/v1/apps/demo/uploads/{digest}"));
    assert_eq!(scene.admin("GET", &state, "").await.json(), json!({ "offset": 0 }));

    let mut broken = scene.depot.upload(&demo(), digest, updraft_core::tree::stored::Encoding::Raw, 0).await.unwrap();
    broken.write(content[..100_000].to_vec().into()).await.unwrap();
    drop(broken);

    let authorization = format!("Bearer {}", scene.token.reveal());
    let put = async |offset: &str, body: &[u8]| {
        let headers = [("host", "localhost"), ("authorization", authorization.as_str()), ("upload-offset", offset)];
        scene.ask("PUT", &blob, "127.0.0.1:1", &headers, body.to_vec()).await
    };
    let kept = scene.admin("GET", &state, "").await.json()["offset"].as_u64().unwrap();
    assert_eq!(kept, 100_000);
    let wrong = put("7", &content[7..]).await;
    assert_eq!((wrong.status.as_u16(), wrong.problem().as_str()), (409, "offset"));
    assert_eq!(wrong.json()["offset"], kept);
    for offset in ["-1", "x", "+1", "18446744073709551616", ""] {
        assert_eq!(put(offset, b"").await.status, 400, "{offset}");
    }
    assert_eq!(put("100000", &content[100_000..]).await.status, 204);
    assert_eq!(put("0", &content).await.status, 204, "what is there already is success");
}

#[tokio::test]
async fn bytes_that_are_not_the_blob_are_refused() {
    let scene = created().await;
    let digest = Digest::of(b"something else");
    for name in [digest.to_string(), format!("{digest}.zst")] {
        let answer = scene.admin("PUT", &format!("/api/v1/apps/demo/blobs/{name}"), "not it").await;
        assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (422, "refused"), "{name}");
    }
    let answer = scene.admin("PUT", &format!("/api/v1/apps/demo/trees/{digest}"), "not it").await;
    assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (422, "refused"));
}

#[tokio::test]
async fn what_is_no_request_is_refused_before_it_is_read_further() {
    let scene = created().await;
    let many = json!({ "blobs": vec![Digest::of(b""); 10_001] }).to_string();
    for (method, path, body, status) in [
        ("POST", "/apps", "{", 400),
        ("POST", "/apps", r#"{"name":"../x"}"#, 400),
        ("POST", "/apps", r#"{"name":"x","admin":true}"#, 400),
        ("POST", "/apps/demo/missing", &many, 400),
        ("POST", "/apps/demo/missing", r#"{"blobs":["xyz"]}"#, 400),
        ("POST", "/apps/.demo/missing", r#"{"blobs":[]}"#, 400),
        ("PUT", "/apps/demo/blobs/abc", "", 400),
        ("PUT", "/apps/demo/trees/abc", "", 400),
        ("GET", "/apps/demo/uploads/abc.gz", "", 400),
        ("POST", "/fsck?repair=maybe", "", 400),
        ("POST", "/apps", &" ".repeat((16 << 20) + 1), 413),
        ("DELETE", "/apps", "", 405),
        ("GET", "/nothing", "", 404),
    ] {
        let answer = scene.admin(method, &format!("/api/v1{path}"), body.to_owned()).await;
        assert_eq!(answer.status, status, "{method} {path}");
        assert!(!answer.problem().is_empty());
    }
    assert!(scene.admin("DELETE", "/api/v1/apps", "").await.header("allow").contains("GET"));
}

#[tokio::test]
async fn collecting_and_checking() {
    let (scene, _) = Scene::folder(&files(), Access::default(), None).await;
    let gc = scene.admin("POST", "/api/v1/gc", r#"{"dry_run":true}"#).await;
    assert_eq!((gc.status.as_u16(), gc.json()["deleted"].as_u64()), (200, Some(0)), "{gc:?}");
    let fsck = scene.admin("POST", "/api/v1/fsck", "").await;
    assert_eq!(fsck.status, 200);
    assert_eq!(fsck.json()["problems"], json!([]));
    assert!(fsck.json()["checked"].as_u64().unwrap() >= 7, "{}", fsck.text());
}
