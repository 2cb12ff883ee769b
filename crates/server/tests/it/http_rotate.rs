//! The routes that rotate keys, and what a client that reads plain files is given while somebody does.

use serde_json::json;
use updraft_core::key::PublicKey;
use updraft_core::layout;
use updraft_core::release::Notes;
use updraft_core::signed::Envelope;
use updraft_core::trust::{MetadataFile, Role};
use updraft_core::{Timestamp, api};
use updraft_server::depot::{Depot, OnlineKeys, Options};
use updraft_server::http::Access;
use updraft_server::store::Store;
use updraft_testkit::{TreeFixture, keys};

use crate::http_scene::{LOCAL, Publisher, Scene, demo, memory, over};

/// Another root that names `online`, and targets that delegate to it.
fn next_root(scene: &Scene, online: &PublicKey) -> api::NextRoot {
    let view = scene.depot.view(&demo()).unwrap();
    let mut root = view.root.clone();
    root.version += 1;
    let root = root.with_role(&Role::Timestamp, std::slice::from_ref(online), 1).with_role(
        &Role::Snapshot,
        std::slice::from_ref(online),
        1,
    );
    let mut targets = view.targets.clone().with_channels_role(online);
    targets.version += 1;
    let text = |envelope: Envelope, key| String::from_utf8(envelope.sign(key).to_bytes()).unwrap();
    api::NextRoot {
        base: view.targets.version,
        root: text(Envelope::new(&root), &keys::root()),
        targets: Some(text(Envelope::new(&targets), &keys::targets())),
    }
}

#[tokio::test]
async fn a_rotation_through_its_doors() {
    let scene = Scene::empty().await;
    let unknown = scene.admin("POST", "/api/v1/apps/demo/online-key", "").await;
    assert_eq!((unknown.status.as_u16(), unknown.problem().as_str()), (404, "not-found"));
    Publisher::new(scene.depot.clone()).await;

    let key = scene.admin("POST", "/api/v1/apps/demo/online-key", "").await;
    assert_eq!(key.status, 200, "{key:?}");
    let again = scene.admin("POST", "/api/v1/apps/demo/online-key", "{}").await;
    assert_eq!(again.status, 200, "{again:?}");
    assert_ne!(key.json(), again.json(), "another one each time");
    let api::NewAppKeys { online } = serde_json::from_value(key.json()).unwrap();

    let next = next_root(&scene, &online);
    let rotate = async |next: &api::NextRoot| {
        scene.admin("POST", "/api/v1/apps/demo/rotate", serde_json::to_string(next).unwrap()).await
    };
    let conflict = rotate(&api::NextRoot { base: 7, ..next.clone() }).await;
    assert_eq!((conflict.status.as_u16(), conflict.problem().as_str()), (409, "conflict"));
    let refused = rotate(&api::NextRoot { targets: None, ..next.clone() }).await;
    assert_eq!((refused.status.as_u16(), refused.problem().as_str()), (422, "refused"));
    let nonsense = scene.admin("POST", "/api/v1/apps/demo/rotate", json!({ "root": "" }).to_string()).await;
    assert_eq!((nonsense.status.as_u16(), nonsense.problem().as_str()), (400, "bad-request"));

    let done = rotate(&next).await;
    assert_eq!(done.status, 200, "{done:?}");
    assert_eq!(done.json()["targets"], 2);
    assert_eq!(rotate(&next).await.json(), done.json(), "the same again is success");
    assert_eq!(scene.get("/apps/demo/tuf/2.root.json").await.body, next.root.as_bytes());
    assert_eq!(scene.admin("GET", "/api/v1/apps/demo", "").await.json()["root_version"], 2);
    for path in ["/api/v1/apps/demo/online-key", "/api/v1/apps/demo/rotate"] {
        let nobody = scene.ask("POST", path, LOCAL, &[("host", "localhost")], Vec::new()).await;
        assert_eq!(nobody.status, 401, "{path}");
    }
}

#[tokio::test]
async fn without_the_online_key_the_api_names_the_remedy() {
    let depot = memory().await;
    let files = TreeFixture::of(&[("a", "a")]);
    Publisher::new(depot.clone()).await.publish("1.0.0", &files, Notes::default()).await;
    let lost = Scene::over(over(depot.store().clone()).await, Access::default(), None);
    let beta = json!({ "channel": "beta", "release": { "platform": "any", "version": "1.0.0" } }).to_string();
    let stuck = lost.admin("POST", "/api/v1/apps/demo/promote", beta).await;
    assert_eq!((stuck.status.as_u16(), stuck.problem().as_str()), (500, "read-only"));
    assert!(stuck.text().contains("updraft keys replace-online"), "{}", stuck.text());
}

#[tokio::test]
async fn a_newer_root_is_given_with_what_goes_with_it_or_not_at_all() {
    let (store, keys) = (Store::memory(), OnlineKeys::memory());
    let open = async || Depot::open(store.clone(), keys.clone(), Options::default(), Timestamp::now()).await.unwrap();
    let scene = Scene::over(open().await, Access::default(), None);
    Publisher::new(scene.depot.clone()).await;
    let online = scene.depot.next_online_key(&demo()).await.unwrap();
    let next = next_root(&scene, &online);
    let old = scene.get("/apps/demo/tuf/timestamp.json").await.body;

    // The head does not know it: a backup of which only a part was restored.
    let root = layout::metadata(&demo(), &MetadataFile::Root(2));
    store.create(&root, next.root.clone().into_bytes()).await.unwrap();
    assert_eq!(scene.get("/apps/demo/tuf/2.root.json").await.status, 404);
    store.delete(&root).await.unwrap();

    // Another replica rotates: whoever is given the root finds the new timestamp behind it.
    let replica = open().await;
    replica.rotate(&demo(), &next, Timestamp::now()).await.unwrap();
    assert_eq!(scene.get("/apps/demo/tuf/timestamp.json").await.body, old, "nobody has asked yet");
    assert_eq!(scene.get("/apps/demo/tuf/2.root.json").await.body, next.root.as_bytes());
    let new = scene.get("/apps/demo/tuf/timestamp.json").await.body;
    assert_eq!(new, replica.view(&demo()).unwrap().head.timestamp);
    assert_ne!(new, old);
}
