//! Each thing that decides which release a device gets, one at a time, and what a person is told of it.

use std::collections::BTreeMap;

use updraft_core::channel::{By, Channel, Pick};
use updraft_core::name::ChannelName;
use updraft_core::release::Terms;

use crate::channel_scene::*;

fn check(pick: &Pick, gets: Option<&str>, reasons: &[&str], sentence: &str) {
    assert_eq!((taken(pick).as_deref(), &words(pick)[..]), (gets, reasons), "{pick}");
    assert_eq!(pick.to_string(), format!("this device {sentence}"));
}

#[test]
fn its_own_platform_or_any_whichever_is_newer() {
    let mut app = App::new(&["1.0", "1.1 for linux-x86_64", "0.9 for macos-aarch64"]);
    app.promote("1.1 for linux-x86_64", None, 0);
    app.promote("0.9 for macos-aarch64", None, 0);
    let of = |platform: &str, have: Option<&str>| {
        Copy { platform: platform.parse().unwrap(), version: have.map(version), ..Copy::fresh() }.pick(&app, 0)
    };
    check(
        &of("linux-x86_64", None),
        Some("1.1 for linux-x86_64"),
        &["current"],
        "gets 1.1 for linux-x86_64, the newest that is fully out",
    );
    check(&of("macos-aarch64", None), Some("1.0"), &["current"], "gets 1.0, the newest that is fully out");
    check(&of("windows-x86_64", Some("1.0.0")), None, &["up_to_date"], "has 1.0.0, the newest for it");
    check(
        &of("linux-x86_64", Some("2.0")),
        None,
        &["ahead"],
        "has 2.0, which is newer than 1.1 for linux-x86_64, what the channel has for it",
    );
}

#[test]
fn nothing_for_this_platform_is_an_answer() {
    let app = App::new(&["1.1 for macos-aarch64"]);
    check(
        &Copy::fresh().pick(&app, 0),
        None,
        &["not_for_platform"],
        "is linux-x86_64, and the channel has nothing for that, only for macos-aarch64",
    );
    let empty = App { channel: Channel::default(), ..app };
    check(
        &Copy::on("1.0").pick(&empty, 0),
        None,
        &["not_for_platform"],
        "is linux-x86_64, and the channel has nothing for that",
    );
}

/// Two devices: the first inside of a wave of 5%, the second outside.
fn pair(app: &App, have: &str) -> [Copy; 2] {
    let is_in = |number: &u128| taken(&Copy::on(have).numbered(*number).pick(app, 0)).as_deref() == Some("1.2");
    let inside = (0..).find(is_in).unwrap();
    let outside = (0..).find(|number| !is_in(number)).unwrap();
    [inside, outside].map(|number| Copy::on(have).numbered(number))
}

#[test]
fn those_outside_the_wave_get_what_is_fully_out() {
    let mut app = App::new(&["1.1", "1.2"]);
    app.promote("1.2", Some("5%"), 0);
    let [inside, outside] = pair(&app, "1.0");
    let sentence = inside.pick(&app, 0).to_string();
    assert!(
        sentence.starts_with("this device gets 1.2, which is being rolled out to 5% of devices, and it lies at "),
        "{sentence}"
    );
    let pick = outside.pick(&app, 0);
    assert_eq!((taken(&pick).as_deref(), &words(&pick)[..]), (Some("1.1"), &["current", "outside_wave"][..]));
    let sentence = pick.to_string();
    let beginning = "this device gets 1.1, the newest that is fully out; \
        not 1.2, which is being rolled out to 5% of devices, and it lies at ";
    assert!(sentence.starts_with(beginning), "{sentence}");
    // Whoever has that already has the newest for it; who has no id is outside.
    assert_eq!(words(&Copy { version: Some(version("1.1")), ..outside }.pick(&app, 0)), ["up_to_date", "outside_wave"]);
    check(
        &Copy::on("1.1").pick(&app, 0),
        None,
        &["up_to_date", "outside_wave"],
        "has 1.1, the newest for it; not 1.2, which is being rolled out to 5% of devices, and it has no id to be one of them",
    );
}

#[test]
fn a_ramp_reaches_everybody_in_the_end() {
    let mut app = App::new(&["1.1", "1.2"]);
    app.promote("1.2", Some("0%..100%/24h"), 0);
    let reached = |hour: i64| {
        let has = |number: &u128| taken(&Copy::on("1.0").numbered(*number).pick(&app, hour * HOUR)).unwrap() == "1.2";
        (0..1_000).filter(has).count()
    };
    assert_eq!((reached(-1), reached(0), reached(24), reached(1_000)), (0, 0, 1_000, 1_000));
    assert!((450..550).contains(&reached(12)), "{}", reached(12));
    check(
        &Copy::on("1.1").pick(&app, 24 * HOUR),
        Some("1.2"),
        &["candidate"],
        "gets 1.2, whose rollout has reached 100% of devices",
    );
}

#[test]
fn nobody_gets_what_is_stopped() {
    let mut app = App::new(&["1.1", "1.2"]);
    app.promote("1.2", Some("5%"), 0);
    let [inside, _] = pair(&app, "1.1");
    app.tell(&pause("lunch"), 60).unwrap();
    check(
        &inside.pick(&app, 61),
        None,
        &["up_to_date", "paused"],
        "has 1.1, the newest for it; not 1.2, whose rollout is paused since 2026-01-02T03:05:05Z (lunch)",
    );
    app.say(&halt("3 of 40 failed"), 120, By::Reports).unwrap();
    check(
        &inside.pick(&app, 121),
        None,
        &["up_to_date", "halted"],
        "has 1.1, the newest for it; not 1.2, whose rollout is halted by reports since 2026-01-02T03:06:05Z (3 of 40 failed)",
    );
    // Whoever has it keeps it, and who is new gets the one before.
    assert_eq!(words(&Copy { version: Some(version("1.2")), ..inside.clone() }.pick(&app, 121)), ["up_to_date"]);
    assert_eq!(taken(&Copy { version: None, ..inside.clone() }.pick(&app, 121)).unwrap(), "1.1");
    app.tell(&resume(), 180).unwrap();
    assert_eq!(taken(&inside.pick(&app, 181)).unwrap(), "1.2");
}

#[test]
fn a_pinned_device_gets_that_version_and_no_other() {
    let app = App::new(&["2.0", "1.0", "1.5"]);
    let pinned = |have: &str, to: &str| Copy { pinned: Some(version(to)), ..Copy::on(have) }.pick(&app, 0);
    check(&pinned("1.0", "1.0"), None, &["pinned"], "is pinned to 1.0");
    check(&pinned("1.0", "1.5"), Some("1.5"), &["pinned"], "gets 1.5, to which it is pinned");
    check(
        &pinned("1.5", "1.0"),
        None,
        &["pinned", "older"],
        "is pinned to 1.0; not 1.0, which is older than what it has",
    );
    check(
        &pinned("1.5", "1.7"),
        None,
        &["pinned", "unlisted"],
        "is pinned to 1.7; not 1.7 for linux-x86_64, which its publisher does not list",
    );
}

#[test]
fn whoever_names_a_version_does_not_wait_for_its_wave() {
    let mut app = App::new(&["1.0", "2.0"]);
    app.promote("2.0", Some("0%"), 0);
    let pinned = Copy { pinned: Some(version("2.0")), ..Copy::on("1.0") };
    assert_eq!(taken(&pinned.pick(&app, 0)).as_deref(), Some("2.0"));
    app.tell(&halt("crashes"), 60).unwrap();
    assert_eq!(words(&pinned.pick(&app, 60)), ["pinned", "halted"], "but what is stopped reaches nobody");
}

/// It was taken for a release that no publisher lists, and the whole check failed as if a server had been stolen.
#[test]
fn what_an_older_program_does_not_understand_is_passed_over() {
    let mut app = App::new(&["1.0", "2.0"]);
    app.promote("2.0", None, 0);
    app.live.remove(&name("2.0"));
    let device = Copy { unreadable: vec![name("2.0")], ..Copy::on("0.9") };
    check(
        &device.pick(&app, 0),
        Some("1.0"),
        &["previous", "newer_program"],
        "gets 1.0, the newest fully out that is for it; not 2.0, which needs a newer updraft",
    );
    // As a stepping stone it is one that cannot be had.
    app.publish("3.0", Terms { stepping_stones: vec![version("2.0")], ..Terms::default() });
    app.promote("3.0", None, 60);
    let pick = Copy { version: Some(version("1.0")), ..device }.pick(&app, 60);
    assert!(pick.to_string().contains("not 3.0, before which it must have 2.0, which needs a newer updraft"), "{pick}");
}

#[test]
fn a_device_passes_through_every_stepping_stone() {
    let mut app = App::new(&["1.0"]);
    let stone = |text: &str| Terms { stepping_stones: vec![version(text)], ..Terms::default() };
    app.publish("1.5", stone("1.5"));
    app.publish("2.0", stone("2.0"));
    app.publish("3.0", Terms::default());
    app.promote("3.0", None, 0);
    let gets = |have: &str| taken(&Copy::on(have).pick(&app, 0));
    check(&Copy::on("1.0").pick(&app, 0), Some("1.5"), &["stepping_stone"], "gets 1.5, which it must have before 3.0");
    assert_eq!(gets("1.4.9").as_deref(), Some("1.5"));
    assert_eq!(gets("1.5").as_deref(), Some("2.0"));
    assert_eq!(gets("1.9").as_deref(), Some("2.0"));
    assert_eq!(gets("2.0").as_deref(), Some("3.0"));
    assert_eq!(taken(&Copy::fresh().pick(&app, 0)).as_deref(), Some("3.0"), "who begins with 3.0 has nothing to pass");

    // A stone that is not to be had holds those before it, whatever lies behind.
    let failed = Copy { failed: vec![version("2.0")], ..Copy::on("1.5") };
    check(
        &failed.pick(&app, 0),
        None,
        &["ahead", "stepping_stone"],
        "has 1.5, which is newer than 1.0, what the channel has for it; \
         not 3.0, before which it must have 2.0, which failed here before",
    );
    app.tell(&yank("2.0", "loses settings"), 60).unwrap();
    check(
        &Copy::on("1.5").pick(&app, 60),
        None,
        &["ahead", "stepping_stone", "yanked"],
        "has 1.5, which is newer than 1.0, what the channel has for it; \
         not 3.0, before which it must have 2.0, which was yanked at 2026-01-02T03:05:05Z: loses settings; \
         not 2.0, which was yanked at 2026-01-02T03:05:05Z: loses settings",
    );
}

/// A stone that its publisher had dropped held those before it all the same: the stone after it still named it.
#[test]
fn only_the_goal_says_what_a_device_must_pass_through() {
    let mut app = App::new(&["1.0"]);
    let stones =
        |list: &[&str]| Terms { stepping_stones: list.iter().map(|text| version(text)).collect(), ..Terms::default() };
    app.publish("2.0", stones(&["2.0"]));
    app.publish("2.5", stones(&["2.5"]));
    app.live.insert(name("3.0"), stones(&["2.5"]));
    app.promote("3.0", None, 0);
    app.tell(&yank("2.0", "loses settings"), 60).unwrap();
    assert_eq!(taken(&Copy::on("1.0").pick(&app, 60)).as_deref(), Some("2.5"));
    // Nor does one that is not listed any more, as the oldest of more than a list has room for.
    app.live.remove(&name("2.0"));
    assert_eq!(taken(&Copy::on("1.0").pick(&app, 60)).as_deref(), Some("2.5"));
}

/// A release for `any` does not list the stones of one platform, and devices of that platform jumped over them.
#[test]
fn a_platforms_own_stone_comes_before_what_is_for_any() {
    let mut app = App::new(&["1.0"]);
    let stone = |text: &str| Terms { stepping_stones: vec![version(text)], ..Terms::default() };
    app.publish("1.5", stone("1.5"));
    app.publish("2.0 for linux-x86_64", stone("2.0"));
    let for_beta = Terms { channels: Some(vec!["beta".parse().unwrap()]), ..stone("2.2") };
    app.publish("2.2 for linux-x86_64", for_beta);
    app.publish("3.0", Terms::default());
    app.promote("3.0", None, 0);
    let gets = |have: &str| taken(&Copy::on(have).pick(&app, 0));
    assert_eq!(gets("1.0").as_deref(), Some("1.5"));
    check(
        &Copy::on("1.5").pick(&app, 0),
        Some("2.0 for linux-x86_64"),
        &["stepping_stone"],
        "gets 2.0 for linux-x86_64, which it must have before 3.0",
    );
    assert_eq!(gets("2.0").as_deref(), Some("3.0"), "what only beta has is none for stable");
    let mac = Copy { platform: "macos-aarch64".parse().unwrap(), ..Copy::on("1.5") };
    assert_eq!(taken(&mac.pick(&app, 0)).as_deref(), Some("3.0"));
}

#[test]
fn what_a_publisher_calls_mandatory_stays_so_when_it_is_skipped() {
    let mut app = App::new(&["1.0"]);
    app.publish("1.1", Terms { mandatory_since: Some(version("1.1")), ..Terms::default() });
    app.publish("1.2", Terms::default());
    app.promote("1.2", None, 0);
    check(
        &Copy::on("1.0").pick(&app, 0),
        Some("1.2"),
        &["current"],
        "gets 1.2, the newest that is fully out; its publisher says that it must update",
    );
    assert!(!Copy::on("1.1").pick(&app, 0).mandatory);
    assert!(!Copy::fresh().pick(&app, 0).mandatory);
}

#[test]
fn an_old_system_gets_what_still_runs_on_it() {
    let mut app = App::new(&["1.0"]);
    app.publish("2.0", Terms { min_os: BTreeMap::from([("linux".to_owned(), version("5.10"))]), ..Terms::default() });
    app.promote("2.0", None, 0);
    let on = |os: Option<&str>| Copy { os: os.map(version), ..Copy::on("0.9") };
    assert_eq!(taken(&on(Some("5.10")).pick(&app, 0)).as_deref(), Some("2.0"));
    check(
        &on(Some("4.19")).pick(&app, 0),
        Some("1.0"),
        &["previous", "not_for_os"],
        "gets 1.0, the newest fully out that is for it; \
         not 2.0, which needs version 5.10 of its operating system, and that is at 4.19",
    );
    assert_eq!(words(&on(None).pick(&app, 0)), ["previous", "not_for_os"]);
    let mac = Copy { platform: "macos-aarch64".parse().unwrap(), ..on(None) };
    assert_eq!(taken(&mac.pick(&app, 0)).as_deref(), Some("2.0"), "that system is not limited");
}

/// It got the one before the last until the server had settled the channel, and nothing from then on.
#[test]
fn an_old_system_gets_the_same_before_and_after_a_rollout_is_settled() {
    let mut app = App::new(&["1.0", "2.0", "3.0"]);
    app.promote("2.0", None, 0);
    app.promote("3.0", Some("1%..100%/1h"), 0);
    for new in ["2.0", "3.0"] {
        let min_os = BTreeMap::from([("linux".to_owned(), version("5.10"))]);
        app.live.insert(name(new), Terms { min_os, ..Terms::default() });
    }
    let gets = |app: &App, second| taken(&Copy::on("0.9").pick(app, second));
    assert_eq!(gets(&app, HOUR - 1).as_deref(), Some("1.0"));
    assert_eq!(gets(&app, HOUR), None);
    app.channel = app.channel.settled(at(HOUR));
    assert_eq!(gets(&app, HOUR), None);
}

#[test]
fn a_channel_cannot_give_what_its_publisher_did_not_allow() {
    let mut app = App::new(&["1.0", "2.0"]);
    app.promote("2.0", None, 0);
    let beta = Some(vec!["beta".parse().unwrap()]);
    app.live.insert(name("2.0"), Terms { channels: beta, ..Terms::default() });
    check(
        &Copy::on("0.9").pick(&app, 0),
        Some("1.0"),
        &["previous", "not_allowed"],
        "gets 1.0, the newest fully out that is for it; not 2.0, which its publisher does not allow on this channel",
    );
    app.live.remove(&name("2.0"));
    assert_eq!(words(&Copy::on("0.9").pick(&app, 0)), ["previous", "unlisted"]);
}

#[test]
fn what_failed_here_is_not_tried_again() {
    let mut app = App::new(&["1.0", "1.1", "1.2"]);
    app.promote("1.1", None, 0);
    let device = Copy { failed: vec![version("1.1.0")], ..Copy::on("1.0") };
    check(
        &device.pick(&app, 0),
        None,
        &["up_to_date", "failed"],
        "has 1.0, the newest for it; not 1.1, which failed here before",
    );
    app.promote("1.2", None, 0);
    assert_eq!(taken(&device.pick(&app, 0)).as_deref(), Some("1.2"));
}

#[test]
fn a_device_on_a_yanked_release_is_told_and_stays() {
    let mut app = App::new(&["1.0", "1.1"]);
    app.promote("1.1", None, 0);
    app.tell(&yank("1.1", "eats files"), 60).unwrap();
    check(
        &Copy::on("1.1").pick(&app, 60),
        None,
        &["ahead"],
        "has 1.1, which is newer than 1.0, what the channel has for it; \
         1.1, which it has, was yanked at 2026-01-02T03:05:05Z: eats files",
    );
    check(
        &Copy::on("0.9").pick(&app, 60),
        Some("1.0"),
        &["current", "yanked"],
        "gets 1.0, the newest that is fully out; not 1.1, which was yanked at 2026-01-02T03:05:05Z: eats files",
    );
    // With nothing before it, there is nothing to get.
    app.tell(&yank("1.0", ""), 120).unwrap();
    assert!(app.channel.platforms.is_empty());
    assert_eq!(words(&Copy::fresh().pick(&app, 120)), ["nothing", "yanked", "yanked"]);
    assert_eq!(words(&Copy::on("1.1").pick(&app, 120)), ["nothing"]);
}

#[test]
fn the_release_is_named_as_its_publisher_spelt_it() {
    let mut app = App::new(&["1.0.0"]);
    app.channel = app.channel.promote(&ChannelName::stable(), &name("1.1")).unwrap();
    app.live.insert(name("1.1.0"), Terms::default());
    assert_eq!(taken(&Copy::on("1").pick(&app, 0)).as_deref(), Some("1.1.0"));
}
