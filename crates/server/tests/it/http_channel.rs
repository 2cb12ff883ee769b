//! Channels over HTTP: what is said, and what is answered.

use serde_json::{Value, json};
use updraft_core::release::Notes;
use updraft_server::http::Access;
use updraft_testkit::TreeFixture;

use crate::http_scene::{Publisher, STRANGER, Scene};

const STABLE: &str = "/api/v1/apps/demo/channels/stable";

/// A scene with 0.0.1, 0.0.2 and 0.0.3, of which stable has the first and beta the last.
async fn scene() -> Scene {
    let files = TreeFixture::of(&[("hello.txt", "Hello.")]);
    let (scene, mut publisher): (Scene, Publisher) = Scene::folder(&files, Access::default(), None).await;
    for version in ["0.0.2", "0.0.3"] {
        publisher.publish_on("beta", version, &files, Notes::default()).await;
    }
    scene
}

async fn say(scene: &Scene, body: Value) -> (u16, Value) {
    let answer = scene.admin("POST", STABLE, body.to_string()).await;
    (answer.status.as_u16(), answer.json())
}

fn promote(version: &str, rollout: &str) -> Value {
    json!({ "verb": "promote", "release": { "platform": "any", "version": version }, "rollout": rollout })
}

#[tokio::test]
async fn a_rollout_over_http() {
    let scene = scene().await;
    let shown = scene.admin("GET", STABLE, "").await.json();
    assert_eq!((&shown["channel"], &shown["state"], &shown["reason"]), (&json!("stable"), &json!("full"), &json!("")));
    assert_eq!(shown["platforms"]["any"]["current"], "0.0.1");
    assert_eq!(shown["platforms"]["any"]["fraction_ppm"], 1_000_000);

    let mut ramp = promote("0.0.2", "5%..100%/24h");
    ramp["base"] = shown["revision"].clone();
    ramp["max_bits_per_sec"] = json!(200_000_000);
    let (status, answer) = say(&scene, ramp.clone()).await;
    assert_eq!((status, &answer["changed"]), (200, &json!(true)), "{answer}");
    assert!(answer["gen"].is_u64() && answer["targets"].is_u64(), "{answer}");
    let any = &answer["now"]["platforms"]["any"];
    assert_eq!((&any["state"], &any["fraction_ppm"]), (&json!("ramping"), &json!(50_000)));
    assert_eq!((&any["current"], &any["candidate"]["version"]), (&json!("0.0.1"), &json!("0.0.2")));
    assert_eq!(any["max_bits_per_sec"], 200_000_000);

    // The same base once more, and something else: somebody was faster.
    ramp["rollout"] = json!("6%");
    let late = scene.admin("POST", STABLE, ramp.to_string()).await;
    assert_eq!((late.status.as_u16(), late.problem().as_str()), (409, "conflict"));
    let detail = late.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("0.0.2 for 5"), "{detail}");

    let (status, answer) = say(&scene, json!({ "verb": "halt", "reason": "it\ncrashes" })).await;
    assert_eq!((status, &answer["now"]["state"]), (200, &json!("halted")), "{answer}");
    let shown = scene.admin("GET", STABLE, "").await.json();
    assert_eq!((&shown["state"], &shown["reason"]), (&json!("halted"), &json!("it crashes")));
    assert_eq!(shown["revision"], answer["now"]["revision"]);
    assert_eq!(say(&scene, json!({ "verb": "resume" })).await.1["now"]["state"], "ramping");
    let yank = json!({ "verb": "yank", "release": { "platform": "any", "version": "0.0.2" } });
    let (status, answer) = say(&scene, yank).await;
    assert_eq!((status, &answer["now"]["state"]), (200, &json!("full")), "{answer}");
    assert_eq!(answer["now"]["yanked"][0]["version"], "0.0.2");
}

#[tokio::test]
async fn what_is_wrong_has_a_status_and_a_reason() {
    let scene = scene().await;
    for (body, status, kind, word) in [
        (promote("9.9", "5%"), 404, "not-found", "live: 0.0.3, 0.0.2, 0.0.1"),
        (promote("0.0.1", "5%"), 422, "not-newer", "0.0.1"),
        (promote("0.0.2", "0.05"), 400, "bad-request", "5% or 0.05%"),
        (promote("0.0.2", "101%"), 400, "bad-request", "100% is everybody"),
        (promote("0.0.2", "5%..100%"), 400, "bad-request", "over how long"),
        (json!({ "verb": "rollout", "rollout": "5%" }), 422, "refused", "rolling out nothing"),
        (json!({ "verb": "explode" }), 400, "bad-request", "explode"),
        (json!({ "verb": "pause", "why": "x" }), 400, "bad-request", "why"),
        (json!([]), 400, "bad-request", ""),
    ] {
        let answer = scene.admin("POST", STABLE, body.to_string()).await;
        assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (status, kind), "{body}");
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(word), "{body}: {detail}");
    }
    let nowhere = scene.admin("GET", "/api/v1/apps/demo/channels/nightly", "").await;
    assert_eq!((nowhere.status.as_u16(), nowhere.problem().as_str()), (404, "not-found"));
    assert_eq!(nowhere.json()["remedy"], "it has beta, stable");
    assert_eq!(scene.admin("GET", "/api/v1/apps/demo/channels/a%20b", "").await.status, 400);
    assert_eq!(scene.admin("GET", "/api/v1/apps/other/channels/stable", "").await.status, 404);
    assert_eq!(scene.admin("PUT", STABLE, "").await.status, 405);
    let stranger = scene.ask("POST", STABLE, STRANGER, &[("host", "localhost")], r#"{"verb":"halt"}"#).await;
    assert_eq!(stranger.status, 403);
    assert_eq!(scene.admin("GET", STABLE, "").await.json()["state"], "full", "nothing of it changed anything");
}
