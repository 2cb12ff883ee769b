//! What the server says of itself to load balancers, to monitors and to its operator.

use std::collections::{BTreeMap, BTreeSet};

use updraft_core::Timestamp;
use updraft_core::api::{Health, Level, Matter};
use updraft_core::layout::Key;
use updraft_server::depot::{Depot, OnlineKeys, Options};
use updraft_server::http::Access;
use updraft_server::seed::Seed;
use updraft_server::store::Store;
use updraft_testkit::TreeFixture;

use crate::http_scene::{Answer, Publisher, STRANGER, Scene, demo, memory, over};

fn in_days(days: i64) -> Timestamp {
    Timestamp::now().checked_add(jiff::SignedDuration::from_hours(24 * days)).unwrap()
}

/// A service with an app whose root and targets end in so many days, and whose online key is in `keys`.
async fn ending(root: i64, targets: i64, keys: &OnlineKeys) -> Scene {
    let store = Store::memory();
    let depot = Depot::open(store.clone(), OnlineKeys::memory(), Options::default(), Timestamp::now()).await.unwrap();
    let online = depot.propose_app(&demo()).await.unwrap();
    let (first, _) = Publisher::first_metadata_until(&online, in_days(root), in_days(targets));
    depot.create_app(&demo(), &first, Timestamp::now()).await.unwrap();
    let depot = Depot::open(store, keys.clone(), Options::default(), Timestamp::now()).await.unwrap();
    Scene::over(depot, Access::default(), None)
}

fn health(answer: &Answer) -> Health {
    assert_eq!(answer.header("cache-control"), "no-store");
    serde_json::from_slice(&answer.body).unwrap_or_else(|e| panic!("{e}: {}", answer.text()))
}

#[tokio::test]
async fn readiness_tells_anybody_how_long_everything_lives() {
    let scene = ending(10, 20, &OnlineKeys::memory()).await;
    let answer = scene.ask("GET", "/readyz", STRANGER, &[("host", "updates.example.com")], "").await;
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, "application/json"));
    let told = health(&answer);
    assert_eq!((told.ready, told.level, told.apps[0].online_key), (true, Level::Urgent, Some(false)));
    let roles: Vec<_> = told.apps[0].roles.iter().map(|role| (role.role.as_str(), role.level)).collect();
    let fresh = |name| (name, Level::Ok);
    let people = [("root", Level::Warning), ("targets", Level::Notice)];
    assert_eq!(roles, [&people[..], &["channels", "snapshot", "timestamp"].map(fresh)].concat());
    let kinds: Vec<_> = told.findings.iter().map(|found| (found.kind, found.level)).collect();
    assert_eq!(
        kinds,
        [(Matter::OnlineKey, Level::Urgent), (Matter::Ends, Level::Warning), (Matter::Ends, Level::Notice)]
    );
    assert!(answer.body.len() < 2_500, "{} bytes", answer.body.len());
}

/// What a person has not renewed in time is no reason to send devices elsewhere, where they would get the same.
#[tokio::test]
async fn what_devices_refuse_is_stale_and_named() {
    let depot = memory().await;
    let online = depot.propose_app(&demo()).await.unwrap();
    let long_ago = in_days(-3);
    let (first, _) = Publisher::first_metadata_until(&online, in_days(300), in_days(-1));
    depot.create_app(&demo(), &first, long_ago).await.unwrap();
    assert!(depot.renew(Timestamp::now()).await.failed.is_empty());
    let scene = Scene::over(depot, Access::default(), None);
    let answer = scene.get("/api/v1/readyz").await;
    let json = answer.json();
    assert_eq!((answer.status.as_u16(), &json["ready"], &json["level"]), (200, &true.into(), &"expired".into()));
    assert_eq!((&json["apps"][0]["state"], &json["findings"][0]["role"]), (&"stale".into(), &"targets".into()));
    assert!(scene.get("/metrics").await.text().contains("updraft_app_stale{app=\"demo\"} 1\n"));
}

#[tokio::test]
async fn why_it_is_not_ready_is_a_problem_with_the_facts_in_it() {
    let store = Store::memory();
    store.put(&Key::parse("apps/demo/head").unwrap(), "no head".into()).await.unwrap();
    let scene = Scene::over(over(store).await, Access::default(), None);
    let answer = scene.get("/readyz").await;
    assert_eq!(
        (answer.status.as_u16(), answer.problem().as_str(), answer.header("retry-after")),
        (503, "not-ready", "5")
    );
    let json = answer.json();
    assert_eq!(json["detail"], "app demo: it cannot be served");
    assert!(json["remedy"].as_str().unwrap().contains("updraft fsck"));
    let told = health(&answer);
    assert_eq!((told.ready, told.level, told.findings[0].kind), (false, Level::Broken, Matter::Broken));
    // What is wrong inside is for the operator.
    assert_eq!(told.findings[0].detail, None);
    let inside = scene.admin("GET", "/api/v1/health", "").await;
    assert_eq!(inside.status, 200, "to say how unwell it is, it is well enough");
    assert!(health(&inside).findings[0].detail.as_ref().is_some_and(|detail| !detail.is_empty()));
    let local = [("host", "127.0.0.1")];
    assert_eq!(scene.get_with("/api/v1/health", &local).await.status, 401);
    assert_eq!(scene.ask("GET", "/api/v1/health", STRANGER, &local, "").await.status, 403);
}

#[tokio::test]
async fn a_folder_that_is_not_published_is_no_app_that_is_well() {
    let depot = memory().await;
    let scene = Scene::over(depot.clone(), Access::default(), Some(Seed::new(demo(), depot.clone(), None)));
    let told = health(&scene.get("/readyz").await);
    assert_eq!((told.ready, told.level, told.findings[0].kind), (false, Level::Broken, Matter::Unpublished));
    assert!(scene.get("/metrics").await.text().contains("updraft_ready 0\n"));
    let mut publisher = Publisher::new(depot).await;
    publisher.publish("0.0.1", &TreeFixture::of(&[("a", "x")]), updraft_core::release::Notes::default()).await;
    assert_eq!(health(&scene.get("/readyz").await).level, Level::Ok);
}

/// One app that could not be read once kept devices of all others away.
#[tokio::test]
async fn the_server_is_ready_as_long_as_it_serves_any_app() {
    let store = Store::memory();
    let depot = over(store.clone()).await;
    Publisher::new(depot).await;
    store.put(&Key::parse("apps/other/head").unwrap(), "no head".into()).await.unwrap();
    let depot = over(store).await;
    let scene = Scene::over(depot.clone(), Access::default(), None);
    let answer = scene.get("/readyz").await;
    let told = health(&answer);
    assert_eq!((answer.status.as_u16(), told.ready, told.level), (200, true, Level::Broken));
    let metrics = scene.get("/metrics").await.text().to_owned();
    for line in ["updraft_ready 1\n", "updraft_app_ready{app=\"demo\"} 1\n", "updraft_app_ready{app=\"other\"} 0\n"] {
        assert!(metrics.contains(line), "{line}");
    }
    // Nothing of the folder is out, and that is the only app that could be served.
    let scene = Scene::over(depot.clone(), Access::default(), Some(Seed::new(demo(), depot, None)));
    let answer = scene.get("/readyz").await;
    let told = health(&answer);
    assert_eq!((answer.status.as_u16(), told.ready, told.apps[0].ready), (503, false, false));
}

/// A page as a monitor reads it: by metric, what kind it is and the value of each set of labels.
type Metrics = BTreeMap<String, (String, BTreeMap<BTreeMap<String, String>, f64>)>;

/// Reads the text format of Prometheus, version 0.0.4, and panics where a monitor would complain.
fn parse(text: &str) -> Metrics {
    assert!(text.ends_with('\n'), "the last line ends too");
    let name_is_good = |name: &str| {
        let good = |c: char| c.is_ascii_alphanumeric() || c == '_';
        !name.is_empty() && name.chars().all(good) && !name.starts_with(|c: char| c.is_ascii_digit())
    };
    let (mut metrics, mut helped, mut current) = (Metrics::new(), BTreeSet::new(), String::new());
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').unwrap();
            assert!(name_is_good(name) && !help.is_empty(), "{line}");
            assert!(helped.insert(name.to_owned()), "a metric is in one place: {line}");
            current = name.to_owned();
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert_eq!(name, current, "the help comes first: {line}");
            assert!(["gauge", "counter"].contains(&kind), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            assert!(metrics.insert(name.to_owned(), (kind.to_owned(), BTreeMap::new())).is_none(), "{line}");
        } else {
            let (name, labels, value) = sample(line);
            assert_eq!(name, current, "samples follow their type: {line}");
            assert!(labels.keys().all(|label| name_is_good(label)), "{line}");
            let samples = &mut metrics.get_mut(&name).unwrap().1;
            assert!(samples.insert(labels, value).is_none(), "twice the same: {line}");
        }
    }
    metrics
}

fn sample(line: &str) -> (String, BTreeMap<String, String>, f64) {
    let (before, value) = line.rsplit_once(' ').unwrap();
    let (name, pairs) = match before.split_once('{') {
        None => (before, ""),
        Some((name, pairs)) => (name, pairs.strip_suffix('}').unwrap()),
    };
    let (mut labels, mut rest) = (BTreeMap::new(), pairs);
    while !rest.is_empty() {
        let (label, quoted) = rest.split_once("=\"").unwrap();
        let (mut text, mut end, mut escaped) = (String::new(), None, false);
        for (at, c) in quoted.char_indices() {
            match (escaped, c) {
                (false, '\\') => escaped = true,
                (false, '"') => {
                    end = Some(at);
                    break;
                }
                (true, 'n') => (text, escaped) = (text + "\n", false),
                (_, c) => (text, escaped) = (format!("{text}{c}"), false),
            }
        }
        assert!(labels.insert(label.to_owned(), text).is_none(), "{line}");
        let after = &quoted[end.unwrap() + 1..];
        rest = after.strip_prefix(',').unwrap_or(after);
    }
    (name.to_owned(), labels, value.parse().unwrap())
}

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

#[tokio::test]
async fn a_monitor_reads_the_same_facts() {
    let scene = ending(10, 20, &OnlineKeys::memory()).await;
    let failed = scene.depot.renew(in_days(5)).await.failed.len();
    assert_eq!(failed, 1);
    for prefix in ["", "/api/v1"] {
        let answer = scene.ask("GET", &format!("{prefix}/metrics"), STRANGER, &[], "").await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
        let metrics = parse(answer.text());
        let value = |name: &str, pairs: &[(&str, &str)]| metrics[name].1[&labels(pairs)];
        let app = [("app", "demo")];
        assert_eq!(value("updraft_build_info", &[("version", env!("CARGO_PKG_VERSION"))]), 1.0);
        assert_eq!((value("updraft_ready", &[]), value("updraft_app_ready", &app)), (1.0, 1.0));
        assert_eq!((value("updraft_app_stale", &app), value("updraft_app_online_key", &app)), (0.0, 0.0));
        assert_eq!(value("updraft_renewal_failures_total", &app), 1.0);
        let view = scene.depot.view(&demo()).unwrap();
        let ends = &metrics["updraft_role_expires_timestamp_seconds"].1;
        assert_eq!(ends.len(), 5);
        for (role, at) in view.expires() {
            assert_eq!(ends[&labels(&[("app", "demo"), ("role", &role)])], at.as_second() as f64, "{role}");
        }
    }
    // However much is asked for, there is no new label.
    scene.get("/apps/nobody/head").await;
    assert!(!scene.get("/metrics").await.text().contains("nobody"));
    assert_eq!(scene.ask("HEAD", "/metrics", STRANGER, &[], "").await.body.len(), 0);
}

#[tokio::test]
async fn a_broken_app_has_only_what_can_be_known() {
    let store = Store::memory();
    store.put(&Key::parse("apps/demo/head").unwrap(), "no head".into()).await.unwrap();
    let metrics = parse(Scene::over(over(store).await, Access::default(), None).get("/metrics").await.text());
    assert_eq!(metrics["updraft_app_ready"].1[&labels(&[("app", "demo")])], 0.0);
    for name in ["updraft_app_stale", "updraft_app_online_key", "updraft_role_expires_timestamp_seconds"] {
        assert!(metrics[name].1.is_empty(), "{name}");
    }
}
