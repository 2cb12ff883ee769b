//! What people do to a channel, one verb at a time: what becomes of the document, and what is refused by name.

use std::collections::BTreeSet;

use updraft_core::channel::{By, Channel, Fraction, How, Salt, State, Stream, Verb};
use updraft_core::limits::{REASON_LEN_MAX, YANKED_MAX};
use updraft_core::name::{ChannelName, Platform};
use updraft_core::release::Terms;

use crate::channel_scene::*;

fn stream(app: &App) -> &Stream {
    &app.channel.platforms[&Platform::any()]
}

fn state(app: &App, second: i64) -> (&str, String) {
    let stream = stream(app);
    let fraction = stream.candidate.as_ref().map_or(Fraction::FULL, |candidate| candidate.fraction_at(at(second)));
    (stream.state(at(second)).word(), fraction.to_string())
}

/// What is fully out, before that, and on its way.
fn standing(app: &App) -> (&str, Option<&str>, Option<&str>) {
    let stream = stream(app);
    let candidate = stream.candidate.as_ref().map(|candidate| candidate.version.as_str());
    (stream.current.as_str(), stream.previous.as_ref().map(|version| version.as_str()), candidate)
}

fn refused(app: &App, verb: &Verb, sentence: &str) {
    let before = app.channel.clone();
    let mut app = app.clone();
    assert_eq!(app.tell(verb, 1_000).unwrap_err().to_string(), sentence);
    assert_eq!(app.channel, before);
}

/// 1.0 and 1.1 have been out; 1.2 is at 5%; 1.3 and 0.9 are published.
fn rolling() -> App {
    let mut app = App::new(&["1.0", "1.1", "1.2", "1.3", "0.9"]);
    app.promote("1.1", None, 0);
    app.promote("1.2", Some("5%"), 0);
    app
}

#[test]
fn without_a_rollout_a_channel_reads_as_it_always_did() {
    let stable = ChannelName::stable();
    let releases = ["1.0", "1.1", "1.2"].map(name);
    let promote = |channel: Channel, release| channel.promote(&stable, release).unwrap();
    let channel = releases.iter().fold(Channel::default(), promote);
    assert_eq!(
        serde_json::to_string(&channel).unwrap(),
        r#"{"format":1,"platforms":{"any":{"current":"1.2","previous":"1.1"}},"retired":[{"platform":"any","version":"1.0"}]}"#
    );
    for old in ["1.2", "1.2.0", "1.1"] {
        assert!(channel.clone().promote(&stable, &name(old)).is_err(), "{old}");
    }
}

#[test]
fn a_candidate_comes_beside_what_is_out_and_then_takes_its_place() {
    let mut app = rolling();
    assert_eq!(standing(&app), ("1.1", Some("1.0"), Some("1.2")));
    assert_eq!(state(&app, 0), ("ramping", "5%".to_owned()));
    let salt = stream(&app).candidate.as_ref().unwrap().salt;
    app.tell(&rollout("10%..100%/1h"), 60).unwrap();
    assert_eq!(state(&app, 60 + HOUR / 2), ("ramping", "55%".to_owned()));
    assert_eq!(stream(&app).candidate.as_ref().unwrap().salt, salt, "a wider wave holds the narrower one");
    assert_eq!(state(&app, 60 + HOUR), ("full", "100%".to_owned()));
    let early = app.channel.clone().settled(at(59 + HOUR));
    assert_eq!(early, app.channel);
    app.channel = app.channel.settled(at(60 + HOUR));
    assert_eq!(standing(&app), ("1.2", Some("1.1"), None));
    assert_eq!(app.channel.retired, BTreeSet::from([name("1.0")]));
    // The next one has buckets of its own.
    app.promote("1.3", Some("0"), 9_000);
    assert_ne!(stream(&app).candidate.as_ref().unwrap().salt, salt);
    assert_eq!(state(&app, 9_001), ("ramping", "0%".to_owned()));
    // By hand it goes to everybody at once.
    app.tell(&rollout("100"), 9_002).unwrap();
    assert_eq!((standing(&app), state(&app, 9_002).0), (("1.3", Some("1.2"), None), "full"));
}

#[test]
fn everybody_at_once_is_no_candidate() {
    for whole in [None, Some("100"), Some("100%"), Some("100%..100%/1h")] {
        let mut app = rolling();
        app.promote("1.2", whole, 60);
        assert_eq!(standing(&app), ("1.2", Some("1.1"), None), "{whole:?}");
        assert!(!app.channel.retired.contains(&name("1.2")));
    }
    let mut app = rolling();
    let verb = Verb::Promote { release: name("1.3"), rollout: None, max_bits_per_sec: Some(200_000_000) };
    app.tell(&verb, 60).unwrap();
    assert_eq!((standing(&app), stream(&app).max_bits_per_sec), (("1.3", Some("1.1"), None), Some(200_000_000)));
    assert_eq!(app.channel.retired, BTreeSet::from([name("1.0"), name("1.2")]), "the candidate before is left behind");
}

#[test]
fn a_newer_candidate_takes_the_place_of_one_that_is_no_good() {
    let mut app = rolling();
    app.tell(&halt("crashes"), 60).unwrap();
    app.promote("1.3", Some("1%"), 120);
    assert_eq!(standing(&app), ("1.1", Some("1.0"), Some("1.3")));
    assert_eq!(state(&app, 121), ("ramping", "1%".to_owned()));
    assert!(app.channel.retired.contains(&name("1.2")));
}

#[test]
fn a_pause_holds_the_ramp_where_it_is() {
    let mut app = rolling();
    app.tell(&rollout("0%..100%/10h"), 0).unwrap();
    app.tell(&pause("night"), 2 * HOUR).unwrap();
    assert_eq!(state(&app, 9 * HOUR), ("paused", "20%".to_owned()));
    assert_eq!(app.channel.clone().settled(at(99 * HOUR)), app.channel, "time does nothing to it");
    // Said twice is said once; and a halt is more than a pause.
    let paused = app.channel.clone();
    app.tell(&pause("again"), 3 * HOUR).unwrap();
    assert_eq!(app.channel, paused);
    app.say(&halt("failures"), 4 * HOUR, By::Reports).unwrap();
    assert_eq!(state(&app, 9 * HOUR), ("halted", "20%".to_owned()));
    let halted = app.channel.clone();
    app.tell(&pause("no"), 5 * HOUR).unwrap();
    app.tell(&halt("mine"), 5 * HOUR).unwrap();
    assert_eq!(app.channel, halted, "the first reason stays");
    let stop = stream(&app).candidate.as_ref().unwrap().stopped.as_ref().unwrap();
    assert_eq!(
        (stop.how, stop.by, stop.at, stop.reason.as_str()),
        (How::Halted, By::Reports, at(4 * HOUR), "failures")
    );
    app.tell(&resume(), 10 * HOUR).unwrap();
    assert_eq!(state(&app, 10 * HOUR), ("ramping", "20%".to_owned()));
    assert_eq!(state(&app, 11 * HOUR), ("ramping", "30%".to_owned()));
    let resumed = app.channel.clone();
    app.tell(&resume(), 12 * HOUR).unwrap();
    assert_eq!(app.channel, resumed);
}

#[test]
fn another_rollout_does_not_start_what_is_stopped() {
    let mut app = rolling();
    app.tell(&halt("crashes"), 60).unwrap();
    app.tell(&rollout("1%..50%/1h"), 120).unwrap();
    assert_eq!(state(&app, 99 * HOUR), ("halted", "1%".to_owned()));
    app.tell(&resume(), 99 * HOUR).unwrap();
    assert_eq!(state(&app, 99 * HOUR), ("ramping", "1%".to_owned()));
    assert_eq!(state(&app, 100 * HOUR), ("ramping", "50%".to_owned()));
}

#[test]
fn a_yank_goes_back_to_what_was_out_before() {
    let mut app = rolling();
    app.tell(&yank("1.2", "crashes"), 60).unwrap();
    assert_eq!(standing(&app), ("1.1", Some("1.0"), None));
    app.tell(&yank("1.1", "crashes, too"), 120).unwrap();
    assert_eq!(standing(&app), ("1.0", None, None));
    let yanked: Vec<_> = app.channel.yanked.iter().map(|yanked| yanked.release.to_string()).collect();
    assert_eq!(yanked, ["1.2", "1.1"]);
    assert_eq!(app.channel.retired, BTreeSet::from([name("1.1"), name("1.2")]), "they leave with the next publish");
    let before = app.channel.clone();
    app.tell(&yank("1.1", "again"), 180).unwrap();
    assert_eq!(app.channel, before);
    refused(
        &app,
        &promote("1.1", None),
        "release 1.1 was yanked from channel stable at 2026-01-02T03:06:05Z (crashes, too); promote a newer one",
    );
    app.promote("1.3", Some("5%"), 240);
    refused(
        &app,
        &yank("1.0", ""),
        "channel stable has nothing fully out but 1.0: those outside the wave would get nothing; \
         promote the candidate to everybody first, or yank it",
    );
    // What is on no channel can be yanked as well: somebody may be on its way to it.
    app.tell(&yank("0.9", ""), 300).unwrap();
    assert!(app.channel.yanked(&name("0.9")).is_some());
}

#[test]
fn what_goes_back_or_does_not_exist_is_refused_by_name() {
    let mut app = rolling();
    refused(&app, &promote("1.1", None), "channel stable is at 1.1 already; 1.1 is not newer");
    refused(&app, &promote("0.9", Some("5%")), "channel stable is at 1.1 already; 0.9 is not newer");
    refused(&app, &promote("9.9", None), "there is no live release 9.9; live: 1.3, 1.2, 1.1, 1.0, 0.9");
    refused(&app, &yank("9.9", ""), "there is no live release 9.9; live: 1.3, 1.2, 1.1, 1.0, 0.9");
    refused(
        &app,
        &promote("1.0 for linux-x86_64", None),
        "there is no live release 1.0 for linux-x86_64; none is live on that platform; publish it first",
    );
    app.publish("1.1.5", Terms::default());
    refused(
        &app,
        &promote("1.1.5", None),
        "channel stable is rolling out 1.2; 1.1.5 is not newer; yank 1.2 first if it is no good",
    );
    let channels = Some(vec!["beta".parse().unwrap(), "nightly".parse().unwrap()]);
    app.publish("2.0", Terms { channels, ..Terms::default() });
    refused(
        &app,
        &promote("2.0", None),
        "release 2.0 is for channel beta and nightly only, not for stable; its publisher has the last word",
    );
    app.publish("1.0 for linux-x86_64", Terms::default());
    refused(
        &app,
        &promote("1.0 for linux-x86_64", Some("5%")),
        "channel stable has nothing fully out for linux-x86_64 but 1.0 for linux-x86_64: \
         those outside the wave would get nothing; promote it to everybody",
    );
    app.tell(&halt("crashes"), 60).unwrap();
    for verb in [promote("1.2", None), promote("1.2", Some("9%")), rollout("100%")] {
        refused(
            &app,
            &verb,
            "the rollout of 1.2 on channel stable is halted since 2026-01-02T03:05:05Z (crashes); \
             resume it first, or promote a newer release",
        );
    }
    app.tell(&yank("1.2", ""), 60).unwrap();
    for verb in [rollout("5%"), pause(""), halt(""), resume()] {
        refused(&app, &verb, "channel stable is rolling out nothing");
    }
    let verb = Verb::Resume { platform: Some("linux-x86_64".parse().unwrap()) };
    refused(&app, &verb, "channel stable is rolling out nothing for linux-x86_64");
}

#[test]
fn a_verb_without_a_platform_means_all_of_them() {
    let mut app = App::new(&["1.0", "1.0 for linux-x86_64", "1.1", "1.1 for linux-x86_64"]);
    app.promote("1.0 for linux-x86_64", None, 0);
    app.promote("1.1", Some("5%"), 0);
    app.promote("1.1 for linux-x86_64", Some("5%"), 0);
    let linux: Platform = "linux-x86_64".parse().unwrap();
    let states = |app: &App| [&Platform::any(), &linux].map(|platform| app.channel.platforms[platform].state(at(9)));
    app.tell(&Verb::Halt { platform: Some(linux.clone()), reason: "".into() }, 1).unwrap();
    assert_eq!(states(&app), [State::Ramping, State::Halted]);
    app.tell(&pause(""), 2).unwrap();
    assert_eq!(states(&app), [State::Paused, State::Halted]);
    app.tell(&resume(), 3).unwrap();
    assert_eq!(states(&app), [State::Ramping, State::Ramping]);
}

#[test]
fn what_people_write_into_a_document_is_bounded() {
    let mut app = rolling();
    app.tell(&pause(&format!("a\nb\u{7}{}", "x".repeat(10_000))), 60).unwrap();
    let stop = stream(&app).candidate.as_ref().unwrap().stopped.clone().unwrap();
    assert!(stop.reason.as_str().starts_with("a b x"), "{}", stop.reason);
    assert_eq!(stop.reason.as_str().chars().count(), REASON_LEN_MAX);
    for n in 0..2 * YANKED_MAX {
        let text = format!("0.1.{n}");
        app.publish(&text, Terms::default());
        app.tell(&yank(&text, ""), 60).unwrap();
    }
    assert_eq!(app.channel.yanked.len(), YANKED_MAX);
    assert_eq!(app.channel.yanked.last().unwrap().release, name(&format!("0.1.{}", 2 * YANKED_MAX - 1)));
}

#[test]
fn a_document_with_everything_in_it() {
    let mut app = rolling();
    app.tell(&rollout("5%..100%/24h"), 0).unwrap();
    app.say(&halt("3 of 40 failed"), HOUR, By::Reports).unwrap();
    app.tell(&yank("1.0", "eats files"), 0).unwrap();
    let text = serde_json::to_string(&app.channel).unwrap();
    assert_eq!(
        text,
        concat!(
            r#"{"format":1,"platforms":{"any":{"current":"1.1","candidate":{"version":"1.2","#,
            r#""salt":"00000000000000000000000000000000","promoted":"2026-01-02T03:04:05Z","#,
            r#""wave":{"from_ppm":50000,"to_ppm":1000000,"begun":"2026-01-02T03:04:05Z","over_secs":86400},"#,
            r#""stopped":{"how":"halted","by":"reports","at":"2026-01-02T04:04:05Z","ran_secs":3600,"#,
            r#""reason":"3 of 40 failed"}}}},"retired":[{"platform":"any","version":"1.0"}],"#,
            r#""yanked":[{"platform":"any","version":"1.0","at":"2026-01-02T03:04:05Z","reason":"eats files"}]}"#
        )
    );
    assert_eq!(serde_json::from_str::<Channel>(&text).unwrap(), app.channel);
    // What a newer server says beside that is ignored; a stop of a kind that is not known is a halt.
    let newer = text.replace(r#""how":"halted""#, r#""how":"frozen","since_when":[1]"#);
    let newer = newer.replace(r#""current":"#, r#""mood":{"good":true},"current":"#);
    assert_eq!(serde_json::from_str::<Channel>(&newer).unwrap(), app.channel);
    assert_eq!(stream(&app).candidate.as_ref().unwrap().salt, Salt::from_bytes([0; 16]));
}

#[test]
fn verbs_travel_as_json() {
    let verb: Verb = serde_json::from_str(
        r#"{"verb":"promote","release":{"platform":"any","version":"1.2"},"rollout":"5%..100%/24h"}"#,
    )
    .unwrap();
    assert_eq!(verb, promote("1.2", Some("5%..100%/24h")));
    for verb in [verb, rollout("5%"), pause("lunch"), halt(""), resume(), yank("1.2", "")] {
        let text = serde_json::to_string(&verb).unwrap();
        assert_eq!(serde_json::from_str::<Verb>(&text).unwrap(), verb, "{text}");
    }
    for bad in [r#"{"verb":"rollout","rollout":"0.05"}"#, r#"{"verb":"resume","platfrom":"any"}"#, r#"{"verb":"go"}"#] {
        assert!(serde_json::from_str::<Verb>(bad).is_err(), "{bad}");
    }
}
