//! How long everything still lives: what a person must renew, what the server is late with, and what is missing.

use updraft_core::api::{AppHealth, AppState, Finding, Health, Level, Matter, RoleHealth};
use updraft_core::layout;
use updraft_server::depot::{Depot, OnlineKeys, Options, Round};
use updraft_server::store::Store;
use updraft_testkit::clock;

use super::depot_support::*;
use super::heard::Heard;

/// The end of targets in [`first`]; the root ends ten years after the start.
const TARGETS_END: i64 = 365;

fn only_app(health: &Health) -> &AppHealth {
    assert_eq!(health.apps.len(), 1, "{health:?}");
    &health.apps[0]
}

fn role<'a>(health: &'a Health, name: &str) -> &'a RoleHealth {
    only_app(health).roles.iter().find(|role| role.role == name).unwrap()
}

fn levels(health: &Health) -> Vec<(&str, Level)> {
    only_app(health).roles.iter().map(|role| (role.role.as_str(), role.level)).collect()
}

fn only_finding(health: &Health) -> &Finding {
    assert_eq!(health.findings.len(), 1, "{health:?}");
    &health.findings[0]
}

#[tokio::test]
async fn what_a_person_signs_has_every_level_in_its_time() {
    let (store, online) = with_one_release().await;
    let depot = open(&store, &online, clock::now()).await;
    let table = [
        (0, Level::Ok, AppState::Fresh),
        (TARGETS_END - 31, Level::Ok, AppState::Fresh),
        (TARGETS_END - 30, Level::Notice, AppState::Fresh),
        (TARGETS_END - 14, Level::Warning, AppState::Fresh),
        (TARGETS_END - 7, Level::Urgent, AppState::Fresh),
        (TARGETS_END, Level::Expired, AppState::Stale),
        (TARGETS_END + 10, Level::Expired, AppState::Stale),
    ];
    for (day, level, state) in table {
        let now = clock::days(day);
        depot.renew(now).await;
        let health = depot.health(now).await;
        // Another server would have no more: nobody is sent away for what a person has to do.
        assert_eq!((health.ready, health.level, health.at), (true, level, now), "day {day}");
        let told = only_app(&health);
        assert_eq!(
            (told.ready, told.state, told.level, told.online_key),
            (true, state, level, Some(true)),
            "day {day}"
        );
        let others = ["root", "channels", "snapshot", "timestamp"].map(|name| role(&health, name).level);
        assert_eq!(others, [Level::Ok; 4], "day {day}");
        let targets = role(&health, "targets");
        assert_eq!((targets.level, targets.seconds_left), (level, (TARGETS_END - day) * 86_400));
        assert_eq!(targets.expires, clock::days(TARGETS_END));
        if level == Level::Ok {
            assert_eq!(health.findings, []);
            continue;
        }
        let found = only_finding(&health);
        assert_eq!((found.level, found.kind, found.role.as_deref()), (level, Matter::Ends, Some("targets")));
        assert!(found.remedy.contains("`updraft keys renew targets --app demo`"), "{found:?}");
        // A publisher does not build on what has ended, so publishing is no remedy then.
        assert_eq!(found.remedy.contains("publish anything"), level != Level::Expired, "{found:?}");
    }
    let root = depot.health(clock::days(3_650 - 5)).await;
    let found = root.findings.iter().find(|found| found.role.as_deref() == Some("root")).unwrap();
    assert_eq!(found.level, Level::Urgent);
    assert_eq!(found.what, "root ends in 5 days, on 2035-12-30 00:00 UTC: after that devices take nothing new");
    assert_eq!(found.remedy, "run `updraft keys renew root --app demo`");
}

/// A timestamp never has a day: what counts is whether the server did in time what it does by itself.
#[tokio::test]
async fn what_the_server_signs_is_judged_by_whether_it_is_late() {
    let (store, online) = with_one_release().await;
    let depot = open(&store, &online, clock::now()).await;
    let after =
        |hours: i64, minutes: i64| clock::hours(hours).checked_add(jiff::SignedDuration::from_mins(minutes)).unwrap();
    let table = [
        (after(0, 0), Level::Ok, true),
        (after(12, 10), Level::Ok, true),
        (after(12, 11), Level::Warning, true),
        (after(18, 0), Level::Warning, true),
        (after(18, 1), Level::Urgent, true),
        (after(24, 0), Level::Expired, false),
    ];
    for (now, level, ready) in table {
        let health = depot.health(now).await;
        assert_eq!((role(&health, "timestamp").level, health.level), (level, level), "{now}");
        assert_eq!((health.ready, only_app(&health).ready), (ready, ready), "{now}");
        let state = if ready { AppState::Fresh } else { AppState::Stale };
        assert_eq!(only_app(&health).state, state, "{now}");
        assert!(health.findings.iter().all(|found| found.kind == Matter::Late), "{health:?}");
    }
    // The long ones are due after 45 days, and late ten minutes after that.
    let health = depot.health(clock::days(46)).await;
    assert_eq!(levels(&health)[2..4], [("channels", Level::Warning), ("snapshot", Level::Warning)]);
    depot.renew(clock::days(46)).await;
    assert_eq!(depot.health(clock::days(46)).await.level, Level::Ok);
}

/// Nothing is renewed by looking; the next start does it, however long the server was off.
#[tokio::test]
async fn a_server_that_was_off_for_a_month_is_looked_at_and_then_started() {
    let (store, online) = with_one_release().await;
    let month = clock::days(31);
    let before = dump(&store).await;
    let looked = Depot::look(store.clone(), online.clone(), Options::default()).await.unwrap();
    let health = looked.health(month).await;
    assert_eq!((health.ready, role(&health, "timestamp").level), (false, Level::Expired));
    assert_eq!(role(&health, "timestamp").seconds_left, -30 * 86_400);
    assert_eq!(dump(&store).await, before);

    let started = open(&store, &online, month).await.health(month).await;
    assert_eq!((started.ready, started.level), (true, Level::Ok));
    assert_eq!(levels(&started).len(), 5);
}

#[tokio::test]
async fn a_key_that_is_lost_is_pressing_before_anything_has_ended() {
    let (store, _) = with_one_release().await;
    let depot = open(&store, &OnlineKeys::memory(), clock::now()).await;
    let health = depot.health(clock::now()).await;
    assert_eq!((health.ready, health.level), (true, Level::Urgent));
    assert_eq!((only_app(&health).online_key, only_app(&health).renewal_failures), (Some(false), 0));
    let found = only_finding(&health);
    assert_eq!(found.kind, Matter::OnlineKey);
    assert!(found.remedy.contains("backup") && found.remedy.contains("`updraft keys replace-online --app demo`"));

    for _ in 0..2 {
        assert_eq!(depot.renew(clock::hours(13)).await.failed.len(), 1);
    }
    let health = depot.health(clock::hours(13)).await;
    assert_eq!(only_app(&health).renewal_failures, 2);
    let late = health.findings.iter().find(|found| found.kind == Matter::Late).unwrap();
    assert!(late.detail.as_ref().unwrap().contains("online key"), "{late:?}");
    assert!(health.for_anybody().findings.iter().all(|found| found.detail.is_none()));
}

#[tokio::test]
async fn a_key_that_comes_back_is_seen_within_a_minute() {
    let (store, dir) = (Store::memory(), tempfile::tempdir().unwrap());
    let keys = OnlineKeys::directory(dir.path());
    let depot = open(&store, &keys, clock::now()).await;
    create(&depot, clock::now()).await.unwrap();
    let file = dir.path().join("demo/online.pem");
    let text = std::fs::read(&file).unwrap();
    let second = |n: i64| clock::now().checked_add(jiff::SignedDuration::from_secs(n)).unwrap();
    assert_eq!(depot.health(second(0)).await.level, Level::Ok);
    std::fs::write(&file, "rubbish").unwrap();
    assert_eq!(depot.health(second(59)).await.level, Level::Ok, "not each question reads the disk");
    let damaged = depot.health(second(60)).await;
    assert!(only_finding(&damaged).detail.as_ref().unwrap().contains("online.pem"), "{damaged:?}");
    std::fs::write(&file, text).unwrap();
    std::fs::write(dir.path().join("demo/targets.pem"), "").unwrap();
    let health = depot.health(second(120)).await;
    assert_eq!((only_finding(&health).kind, health.level), (Matter::PublisherKeys, Level::Notice));
    assert_eq!(only_app(&health).level, Level::Ok, "somebody wanted it so");
    assert_eq!(health.for_anybody().level, Level::Ok);
}

#[tokio::test]
async fn a_broken_app_is_named_and_hides_no_other() {
    let (store, online) = with_one_release().await;
    let other = layout::head(&"other".parse().unwrap());
    store.put(&other, "no head".into()).await.unwrap();
    let depot = open(&store, &online, clock::now()).await;
    let health = depot.health(clock::now()).await;
    assert_eq!((health.ready, health.level), (true, Level::Broken), "the other one is served");
    let states: Vec<_> = health.apps.iter().map(|app| (app.app.as_str(), app.state, app.ready)).collect();
    assert_eq!(states, [("demo", AppState::Fresh, true), ("other", AppState::Broken, false)]);
    let found = only_finding(&health);
    assert_eq!((found.kind, found.app.as_ref().unwrap().as_str()), (Matter::Broken, "other"));
    assert!(found.detail.is_some() && found.remedy.contains("`updraft fsck`"), "{found:?}");
}

#[tokio::test]
async fn a_failure_is_counted_and_no_longer_the_reason_once_it_has_passed() {
    let (store, dir) = (Store::memory(), tempfile::tempdir().unwrap());
    let depot = open(&store, &OnlineKeys::directory(dir.path()), clock::now()).await;
    create(&depot, clock::now()).await.unwrap();
    let (file, away) = (dir.path().join("demo/online.pem"), dir.path().join("away.pem"));
    std::fs::rename(&file, &away).unwrap();
    assert_eq!(depot.renew(clock::hours(13)).await.failed.len(), 1);
    std::fs::rename(&away, &file).unwrap();
    let late = depot.health(clock::hours(13)).await;
    assert!(only_finding(&late).detail.as_ref().unwrap().contains("demo is read-only"), "{late:?}");
    assert_eq!(depot.renew(clock::hours(13)).await.apps, [app()]);
    let health = depot.health(clock::hours(13)).await;
    assert_eq!((health.level, only_app(&health).renewal_failures), (Level::Ok, 1));
    // Late again, for another reason that nobody knows yet.
    let late = depot.health(clock::hours(26)).await;
    assert_eq!((only_finding(&late).kind, &only_finding(&late).detail), (Matter::Late, &None));
}

#[tokio::test]
async fn the_log_hears_what_a_person_must_do() {
    let (store, online) = with_one_release().await;
    let depot = open(&store, &online, clock::now()).await;
    let keyless = open(&store, &OnlineKeys::memory(), clock::now()).await;
    let said = async |depot: &Depot, day, round| {
        let heard = Heard::default();
        let listening = tracing::dispatcher::set_default(&tracing::Dispatch::new(heard.clone()));
        depot.remind(clock::days(day), round).await;
        drop(listening);
        heard.all()
    };
    assert_eq!(said(&depot, 0, Round::First).await, []);
    for (left, level, word) in [
        (30, tracing::Level::INFO, "notice"),
        (14, tracing::Level::WARN, "warning"),
        (7, tracing::Level::ERROR, "urgent"),
    ] {
        let day = TARGETS_END - left;
        depot.renew(clock::days(day)).await;
        for round in [Round::First, Round::Daily] {
            let events = said(&depot, day, round).await;
            let [(at, line)] = &events[..] else { panic!("{events:?}") };
            assert_eq!(*at, level, "{line}");
            let level = format!("level=\"{word}\"");
            let left = format!("ends in {left} days");
            for field in ["app=demo", "role=targets", "remedy=publish anything", level.as_str(), left.as_str()] {
                assert!(line.contains(field), "{field}: {line}");
            }
        }
    }
    // Opening it has said so already.
    assert_eq!(said(&keyless, 0, Round::First).await, []);
    let events = said(&keyless, 0, Round::Daily).await;
    assert!(matches!(&events[..], [(tracing::Level::ERROR, line)] if line.contains("replace-online")), "{events:?}");
}
