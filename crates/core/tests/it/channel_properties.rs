//! What holds of every channel, every device and every moment.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use updraft_core::Timestamp;
use updraft_core::channel::{
    Bar, Bucket, By, Candidate, Channel, DeviceId, Fraction, How, Pick, Salt, Stop, Stream, Verb, Wave, Why, Yanked,
};
use updraft_core::name::{ChannelName, Platform};
use updraft_core::release::{Live, ReleaseName, Terms};
use updraft_core::version::Version;

use crate::channel_scene::*;

const PLATFORMS: [&str; 3] = ["any", "linux-x86_64", "macos-aarch64"];

fn any_version() -> impl Strategy<Value = Version> {
    (0..8_u8).prop_map(|n| version(&format!("{n}.0")))
}

fn any_platform() -> impl Strategy<Value = Platform> {
    (0..PLATFORMS.len()).prop_map(|n| PLATFORMS[n].parse().unwrap())
}

fn any_release() -> impl Strategy<Value = ReleaseName> {
    (any_platform(), any_version()).prop_map(|(platform, version)| ReleaseName { platform, version })
}

fn any_moment() -> impl Strategy<Value = Timestamp> {
    prop_oneof![8 => (0..200_i64).prop_map(at), 1 => Just(Timestamp::MIN), 1 => Just(Timestamp::MAX)]
}

fn any_fraction() -> impl Strategy<Value = Fraction> {
    prop_oneof![Just(0), Just(1_000_000), 0..=1_000_000_u32].prop_map(|ppm| ppm.try_into().unwrap())
}

fn any_stop() -> impl Strategy<Value = Stop> {
    let how = prop_oneof![Just(How::Paused), Just(How::Halted)];
    let by = prop_oneof![Just(By::Person), Just(By::Reports)];
    (how, by, any_moment(), any::<u64>()).prop_map(|(how, by, at, ran_secs)| Stop {
        how,
        by,
        at,
        ran_secs,
        reason: "why".into(),
    })
}

fn any_candidate() -> impl Strategy<Value = Candidate> {
    let over_secs = prop_oneof![0..200_u64, any::<u64>()];
    let wave = (any_fraction(), any_fraction(), any_moment(), over_secs)
        .prop_map(|(from_ppm, to_ppm, begun, over_secs)| Wave { from_ppm, to_ppm, begun, over_secs });
    (any_version(), 0..3_u8, any_moment(), wave, option::of(any_stop())).prop_map(
        |(version, salt, promoted, wave, stopped)| {
            let salt = Salt::from_bytes([salt; 16]);
            Candidate { version, salt, promoted, wave, stopped }
        },
    )
}

/// Whatever a document can say, however little sense it makes.
fn any_channel() -> impl Strategy<Value = Channel> {
    let stream = (any_version(), option::of(any_version()), option::of(any_candidate()))
        .prop_map(|(current, previous, candidate)| Stream { candidate, ..Stream::of(current, previous) });
    let yanked = (any_release(), any_moment()).prop_map(|(release, at)| Yanked { release, at, reason: "why".into() });
    (btree_map(any_platform(), stream, 0..4), vec(yanked, 0..3)).prop_map(|(platforms, yanked)| Channel {
        platforms,
        yanked,
        ..Channel::default()
    })
}

fn any_live() -> impl Strategy<Value = Live> {
    let channels =
        prop_oneof![4 => Just(None), 1 => vec(prop_oneof![Just("stable"), Just("beta")], 0..2).prop_map(Some)];
    let channels =
        channels.prop_map(|names| names.map(|names| names.iter().map(|name| name.parse().unwrap()).collect()));
    let min_os = btree_map(prop_oneof![Just("linux".to_owned()), Just("macos".to_owned())], any_version(), 0..2);
    let terms = (channels, min_os, vec(any_version(), 0..3), option::of(any_version())).prop_map(
        |(channels, min_os, stepping_stones, mandatory_since)| Terms {
            channels,
            min_os,
            stepping_stones,
            mandatory_since,
        },
    );
    btree_map(any_release(), terms, 0..14)
}

fn any_copy() -> impl Strategy<Value = Copy> {
    let of = (any_platform(), option::of(any_version()), option::of(0..50_u8), option::of(any_version()));
    let bars = (vec(any_version(), 0..2), vec(any_release(), 0..2));
    (of, option::weighted(0.1, any_version()), bars).prop_map(
        |((platform, version, id, os), pinned, (failed, unreadable))| {
            let id = id.map(|id| DeviceId::from_bytes([id; 16]));
            Copy { platform, version, id, os, pinned, failed, unreadable }
        },
    )
}

/// Whether `pick` may give what it gives, by each rule by itself.
fn is_allowed(channel: &Channel, live: &Live, copy: &Copy, pick: &Pick, now: Timestamp) -> Result<(), TestCaseError> {
    prop_assert!(!pick.why.word().is_empty() && pick.to_string().starts_with("this device "));
    prop_assert!(pick.passed.iter().all(|passed| copy.version.as_ref() < Some(&passed.release.version)
        || matches!(passed.bar, Bar::Older | Bar::Unlisted)));
    prop_assert!(pick.take.is_some() || !pick.mandatory);
    let Some(take) = &pick.take else {
        return Ok(());
    };
    let (version, have) = (&take.version, copy.version.as_ref());
    prop_assert!(have.is_none_or(|have| version > have), "never back");
    prop_assert!(take.platform == copy.platform || take.platform.is_any(), "never for another platform");
    prop_assert!(!copy.failed.contains(version), "never again what failed");
    prop_assert!(channel.yanked(take).is_none(), "never what was yanked");
    prop_assert!(!copy.unreadable.contains(take), "never what it does not understand");
    prop_assert!(copy.pinned.as_ref().is_none_or(|pinned| version <= pinned), "never past a pin");
    let terms = live.get(take);
    prop_assert!(terms.is_some(), "never what is not listed");
    let terms = terms.unwrap();
    prop_assert!(terms.allows_channel(&ChannelName::stable()), "never what is not allowed here");
    let needs = terms.min_os_for(&copy.platform);
    prop_assert!(needs.is_none_or(|needs| copy.os.as_ref().is_some_and(|os| os >= needs)), "never for another system");
    // What lies ahead says through what the way leads.
    let goal = if let Why::SteppingStone { toward } = &pick.why { &live[toward] } else { terms };
    let between = |stone: &&Version| have.is_some_and(|have| have < *stone) && *stone < version;
    prop_assert!(goal.stepping_stones.iter().find(between).is_none(), "never past a stone");
    if let Some(candidate) = channel.candidate(take) {
        prop_assert!(candidate.stopped.is_none(), "never what is stopped");
        let fraction = candidate.fraction_at(now);
        let is_in = copy.id.as_ref().is_some_and(|id| Bucket::of(&candidate.salt, id).is_in(fraction));
        let is_chosen = copy.pinned.as_ref() == Some(version);
        prop_assert!(is_in || fraction.is_full() || is_chosen, "never outside of the wave");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100_000))]

    #[test]
    fn whatever_the_documents_say(
        channel in any_channel(), live in any_live(), copy in any_copy(), now in any_moment(),
    ) {
        let pick = copy.ask(&channel, &live, now);
        is_allowed(&channel, &live, &copy, &pick, now)?;
        let settled = channel.clone().settled(now);
        prop_assert_eq!(&copy.ask(&settled, &live, now).take, &pick.take, "settling changes nothing for anybody");
        // A device has the document as JSON and the terms from the list; a server has them as they are.
        let text = serde_json::to_string(&channel).unwrap();
        let signed: Channel = serde_json::from_str(&text).unwrap();
        let listed = |(name, terms): (&ReleaseName, &Terms)| {
            (name.clone(), Terms::from_custom(terms.to_custom().as_ref()).unwrap())
        };
        let listed: Live = live.iter().map(listed).collect();
        prop_assert_eq!(copy.ask(&signed, &listed, now), pick, "device and server decide alike");
    }
}

/// What people do in the life of an app.
#[derive(Debug, Clone)]
enum Step {
    Publish(bool),
    Tell(Verb, By),
}

fn any_step() -> impl Strategy<Value = Step> {
    let rollout = || {
        let text =
            prop_oneof![Just("0"), Just("5%"), Just("50%"), Just("100%"), Just("1%..100%/60s"), Just("5%..50%/1h")];
        text.prop_map(|text| text.parse().unwrap())
    };
    let release = || (0..12_u8).prop_map(|n| name(&format!("{n}.0")));
    let verb = prop_oneof![
        4 => (release(), option::weighted(0.7, rollout())).prop_map(|(release, rollout)| {
            Verb::Promote { release, rollout, max_bits_per_sec: None }
        }),
        2 => rollout().prop_map(|rollout| Verb::Rollout { platform: None, rollout }),
        1 => Just(pause("")),
        1 => Just(halt("")),
        2 => Just(resume()),
        1 => release().prop_map(|release| Verb::Yank { release, reason: "".into() }),
    ];
    let by = prop_oneof![Just(By::Person), Just(By::Reports)];
    prop_oneof![1 => any::<bool>().prop_map(Step::Publish), 3 => (verb, by).prop_map(|(verb, by)| Step::Tell(verb, by))]
}

/// An app in whose life these steps were tried, one every 20 seconds, the last at the time that comes with it.
fn app_after(steps: &[Step]) -> (App, i64) {
    let mut app = App::default();
    let mut second = 0;
    for step in steps {
        second += 20;
        match step {
            Step::Publish(is_stone) => {
                let text = format!("{}.0", app.live.len());
                let stepping_stones = if *is_stone { vec![version(&text)] } else { Vec::new() };
                app.publish(&text, Terms { stepping_stones, ..Terms::default() });
            }
            // What is refused changes nothing.
            Step::Tell(verb, by) => drop(app.say(verb, second, *by)),
        }
    }
    (app, second)
}

/// The versions that a device has one after the other, until there is nothing more for it.
fn way(copy: &Copy, app: &App, second: i64) -> Vec<Version> {
    let mut copy = copy.clone();
    let mut way = Vec::new();
    while let Some(take) = copy.pick(app, second).take {
        copy.version = Some(take.version.clone());
        way.push(take.version);
    }
    way
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_life_of_a_channel(steps in vec(any_step(), 0..40)) {
        let (app, second) = app_after(&steps);
        let named: BTreeSet<_> = app.channel.releases().collect();
        prop_assert!(named.is_disjoint(&app.channel.retired), "what is named is not left behind");
        prop_assert!(named.iter().all(|name| app.live.contains_key(name) && app.channel.yanked(name).is_none()));
        for stream in app.channel.platforms.values() {
            let candidate = stream.candidate.as_ref().map(|candidate| &candidate.version);
            prop_assert!(stream.previous.as_ref().is_none_or(|previous| *previous < stream.current));
            prop_assert!(candidate.is_none_or(|candidate| *candidate > stream.current));
        }
        let text = serde_json::to_string(&app.channel).unwrap();
        prop_assert_eq!(&serde_json::from_str::<Channel>(&text).unwrap(), &app.channel);
        let settled = App { channel: app.channel.clone().settled(at(second)), live: app.live.clone() };
        for have in [None, Some(0_u32), Some(3), Some(7), Some(20)] {
            for number in 0..5 {
                let have = have.map(|n| version(&format!("{n}.0")));
                let copy = Copy { version: have.clone(), ..Copy::fresh() }.numbered(number);
                let pick = copy.pick(&app, second);
                is_allowed(&app.channel, &app.live, &copy, &pick, at(second))?;
                // Whoever is outside the wave gets what is fully out, never nothing.
                let current = app.channel.platforms.get(&Platform::any()).map(|stream| &stream.current);
                let is_behind = current.is_some_and(|current| have.as_ref().is_none_or(|have| have < current));
                let yanked_stone = |bar: &Bar| matches!(bar, Bar::SteppingStone { .. });
                let is_held = pick.passed.iter().any(|passed| yanked_stone(&passed.bar));
                prop_assert!(!is_behind || pick.take.is_some() || is_held, "{pick}");
                prop_assert_eq!(copy.pick(&settled, second).take, pick.take, "settling changes nothing for anybody");
                // Along the whole way no stone between the beginning and the end is left out.
                let way = way(&copy, &app, second);
                if let (Some(have), Some(last)) = (&have, way.last()) {
                    let stones = &app.live[&name(last.as_str())].stepping_stones;
                    prop_assert!(stones.iter().filter(|stone| *stone > have).all(|stone| way.contains(stone)), "{way:?}");
                }
            }
        }
    }

    #[test]
    fn widening_takes_nothing_away(
        narrow in any_fraction(), wide in any_fraction(), number: u128, early in 0..200_i64, late in 0..200_i64,
    ) {
        let (narrow, wide) = (narrow.min(wide), narrow.max(wide));
        let (early, late) = (early.min(late), early.max(late));
        let mut app = App::new(&["1.0", "2.0"]);
        let mut gets = |verb: &Verb, second, later| {
            app.tell(verb, second).unwrap();
            taken(&Copy::on("1.0").numbered(number).pick(&app, later)).is_some()
        };
        let first = gets(&promote("2.0", Some(&narrow.to_string())), 0, 0);
        prop_assume!(!narrow.is_full());
        let second = gets(&rollout(&format!("{narrow}..{wide}/100s")), 0, early);
        let third = gets(&rollout(&format!("{narrow}..{wide}/100s")), 0, late);
        let fourth = gets(&rollout(&wide.to_string()), 200, 200);
        prop_assert!(first <= second && second <= third && third <= fourth);
    }

    #[test]
    fn what_is_stopped_reaches_nobody(steps in vec(any_step(), 0..20), numbers in vec(any::<u128>(), 20), later in 0..10_000_i64) {
        let (mut app, second) = app_after(&steps);
        let stop = [halt("bad"), pause("wait")];
        for verb in stop {
            if app.tell(&verb, second).is_err() {
                continue;
            }
            let candidate = app.channel.platforms[&Platform::any()].candidate.as_ref().unwrap().version.clone();
            for number in &numbers {
                let copy = Copy::fresh().numbered(*number);
                for copy in [copy.clone(), Copy { version: Some(version("0.0.1")), ..copy }] {
                    prop_assert_ne!(copy.pick(&app, second + later).take.map(|take| take.version), Some(candidate.clone()));
                }
            }
        }
    }
}

#[test]
fn a_fraction_of_a_hundred_thousand_devices() {
    const DEVICES: u32 = 100_000;
    for (salt, percent) in [(0, 0), (1, 1), (2, 5), (3, 10), (4, 33), (5, 50), (6, 90), (7, 99), (8, 100)] {
        let mut app = App::new(&["1.0", "2.0"]);
        app.promote("2.0", Some("0%"), salt);
        if percent < 100 {
            app.tell(&rollout(&percent.to_string()), salt).unwrap();
        } else {
            app.tell(&rollout("0..100/1s"), salt).unwrap();
        }
        let gets = |number: &u32| Copy::on("1.0").numbered(u128::from(*number)).pick(&app, salt + 1).take.is_some();
        let reached = u32::try_from((0..DEVICES).filter(gets).count()).unwrap();
        let wanted = DEVICES / 100 * percent;
        assert!(reached.abs_diff(wanted) <= DEVICES / 100, "{percent}%: {reached} of {DEVICES}");
        if [0, 100].contains(&percent) {
            assert_eq!(reached, wanted);
        }
    }
}

#[test]
fn the_first_of_one_release_are_not_the_first_of_the_next() {
    let first = |salt: u8| -> BTreeSet<u32> {
        let salt = Salt::from_bytes([salt; 16]);
        let is_in = |n: &u32| {
            Bucket::of(&salt, &DeviceId::from_bytes(u128::from(*n).to_le_bytes())).is_in(Fraction::percent(10))
        };
        (0..10_000).filter(is_in).collect()
    };
    let both = first(1).intersection(&first(2)).count();
    assert!((50..150).contains(&both), "a tenth of a tenth of 10,000 devices: {both}");
}

#[test]
fn every_reason_is_reached() {
    // A property that no state can test is none: all words appear among the states above.
    let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let states = (any_channel(), any_live(), any_copy(), any_moment());
    for _ in 0..20_000 {
        let (channel, live, copy, now) = states.new_tree(&mut runner).unwrap().current();
        let pick = copy.ask(&channel, &live, now);
        let why = if pick.take.is_some() { "take" } else { "stay" };
        *seen.entry(why).or_default() += 1;
        *seen.entry(pick.why.word()).or_default() += 1;
        let fully = matches!(pick.why, Why::Candidate { bucket: None, .. });
        *seen.entry(if fully { "candidate of everybody" } else { "other" }).or_default() += 1;
        pick.passed.iter().for_each(|passed| *seen.entry(passed.bar.word()).or_default() += 1);
    }
    for word in [
        "take",
        "stay",
        "current",
        "candidate",
        "candidate of everybody",
        "previous",
        "stepping_stone",
        "pinned",
        "up_to_date",
        "ahead",
        "not_for_platform",
        "nothing",
        "unlisted",
        "not_allowed",
        "yanked",
        "newer_program",
        "not_for_os",
        "failed",
        "paused",
        "halted",
        "outside_wave",
        "older",
    ] {
        assert!(seen.get(word).is_some_and(|count| *count >= 10), "{word}: {seen:?}");
    }
}
