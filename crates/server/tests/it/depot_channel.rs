//! What people do to a channel, from the first percent to a yank, and what becomes of it by itself.

use updraft_core::api::{ChannelChange, ChannelChanged, ChannelStatus};
use updraft_core::channel::{Fraction, State, Verb};
use updraft_core::digest::Digest;
use updraft_core::name::{ChannelName, Platform};
use updraft_core::release::{Release, Terms};
use updraft_core::{Timestamp, channel};
use updraft_server::depot::{Depot, Error};
use updraft_testkit::clock;

use super::depot_support::*;

/// A depot whose stable has 1.0.0; 1.1.0 and 1.2.0 are published, too.
async fn three_releases() -> Depot {
    let (store, online) = with_one_release().await;
    let depot = open(&store, &online, clock::now()).await;
    for version in ["1.1.0", "1.2.0"] {
        publish(&depot, version, "any", None, clock::now()).await.unwrap();
    }
    depot
}

pub(crate) fn promote(version: &str, rollout: &str) -> Verb {
    let rollout = Some(rollout.parse().unwrap());
    Verb::Promote { release: name(version, "any"), rollout, max_bits_per_sec: None }
}

fn rollout(rollout: &str) -> Verb {
    Verb::Rollout { platform: None, rollout: rollout.parse().unwrap() }
}

pub(crate) async fn change(
    depot: &Depot,
    base: Option<Digest>,
    verb: Verb,
    now: Timestamp,
) -> Result<ChannelChanged, Error> {
    depot.change_channel(&app(), &ChannelName::stable(), &ChannelChange { base, verb }, now).await
}

pub(crate) fn status(depot: &Depot, now: Timestamp) -> ChannelStatus {
    depot.channel(&app(), &ChannelName::stable(), now).unwrap()
}

/// The state, how far the rollout has come, and what everybody else gets.
fn brief(depot: &Depot, now: Timestamp) -> (State, String, String) {
    let status = status(depot, now);
    let stream = &status.platforms[&Platform::any()];
    assert_eq!(status.state, stream.state, "there is one platform");
    (status.state, stream.fraction_ppm.to_string(), stream.stream.current.to_string())
}

fn is(state: State, fraction: &str, current: &str) -> (State, String, String) {
    (state, fraction.to_owned(), current.to_owned())
}

#[tokio::test]
async fn from_nobody_to_everybody() {
    let depot = three_releases().await;
    let done = change(&depot, None, promote("1.1.0", "0%"), clock::now()).await.unwrap();
    assert!(done.changed);
    assert_eq!(done.now, status(&depot, clock::now()));
    assert_eq!(brief(&depot, clock::now()), is(State::Ramping, "0%", "1.0.0"));
    let first = done.now.platforms[&Platform::any()].stream.candidate.clone().unwrap();

    change(&depot, None, rollout("5%..100%/10h"), clock::now()).await.unwrap();
    assert_eq!(brief(&depot, clock::hours(4)), is(State::Ramping, "43%", "1.0.0"));
    let reason: channel::Reason = "slow to start".into();
    let pause = Verb::Pause { platform: None, reason: reason.clone() };
    let paused = change(&depot, None, pause.clone(), clock::hours(4)).await.unwrap();
    assert_eq!((paused.now.state, &paused.now.reason), (State::Paused, &reason));
    let again = change(&depot, Some(Digest::of(b"long ago")), pause, clock::hours(5)).await.unwrap();
    assert_eq!((again.changed, again.committed), (false, paused.committed), "what holds already is success");
    assert_eq!(brief(&depot, clock::hours(9)), is(State::Paused, "43%", "1.0.0"), "a pause stops the clock");

    change(&depot, None, Verb::Resume { platform: None }, clock::hours(9)).await.unwrap();
    assert_eq!(brief(&depot, clock::hours(9)), is(State::Ramping, "43%", "1.0.0"));
    let stream = status(&depot, clock::hours(9)).platforms[&Platform::any()].stream.clone();
    let candidate = stream.candidate.unwrap();
    assert_eq!((candidate.salt, candidate.promoted), (first.salt, clock::now()), "the same devices are the first");
    assert_eq!(candidate.full_at(), Some(clock::hours(15)));

    // What has reached everybody ends by itself.
    assert_eq!(brief(&depot, clock::hours(15)), is(State::Full, "100%", "1.0.0"));
    depot.renew(clock::hours(14)).await;
    assert_eq!(depot.next_renewal(), Some(clock::hours(15)), "before any signature is due");
    assert_eq!(depot.renew(clock::hours(15)).await.apps, []);
    let later = clock::hours(15).checked_add(jiff::SignedDuration::from_secs(1)).unwrap();
    assert_eq!(depot.renew(later).await.apps, [app()]);
    assert_eq!(brief(&depot, later), is(State::Full, "100%", "1.1.0"));
    assert_eq!(status(&depot, later).platforms[&Platform::any()].stream.previous, Some("1.0.0".parse().unwrap()));
    assert_eq!(depot.renew(later).await.apps, [], "and that is all");
    assert_sound(&depot).await;
}

#[tokio::test]
async fn a_newcomer_gets_what_is_fully_out() {
    let depot = three_releases().await;
    let newcomer = || {
        let view = depot.view(&app()).unwrap();
        view.current(&ChannelName::stable(), &Platform::any()).unwrap().version.to_string()
    };
    change(&depot, None, promote("1.1.0", "99%"), clock::now()).await.unwrap();
    assert_eq!(newcomer(), "1.0.0");
    change(&depot, None, rollout("100%"), clock::now()).await.unwrap();
    assert_eq!(newcomer(), "1.1.0");
    assert_eq!(brief(&depot, clock::now()), is(State::Full, "100%", "1.1.0"));
}

#[tokio::test]
async fn a_halt_keeps_its_reason_and_a_yank_takes_away() {
    let depot = three_releases().await;
    change(&depot, None, promote("1.1.0", "100%"), clock::now()).await.unwrap();
    change(&depot, None, promote("1.2.0", "50%"), clock::now()).await.unwrap();
    let halt = |reason: &str| Verb::Halt { platform: None, reason: reason.into() };
    change(&depot, None, halt("eats files"), clock::now()).await.unwrap();
    let pause = Verb::Pause { platform: None, reason: "lunch".into() };
    assert!(!change(&depot, None, pause, clock::now()).await.unwrap().changed, "a halt is never softened");
    let halted = status(&depot, clock::now());
    assert_eq!((halted.state, halted.reason.as_str()), (State::Halted, "eats files"));

    let stopped = change(&depot, None, promote("1.2.0", "100%"), clock::now()).await;
    let Err(Error::Refused(reason)) = stopped else { panic!("{stopped:?}") };
    assert!(reason.contains("1.2.0") && reason.contains("eats files") && reason.contains("resume"), "{reason}");

    let yank = |version: &str| Verb::Yank { release: name(version, "any"), reason: "eats files".into() };
    let yanked = change(&depot, None, yank("1.2.0"), clock::now()).await.unwrap().now;
    assert_eq!((yanked.state, yanked.yanked.len()), (State::Full, 1));
    assert_eq!(brief(&depot, clock::now()), is(State::Full, "100%", "1.1.0"));
    // What was fully out goes back to what was so before; devices that have it stay on it.
    change(&depot, None, yank("1.1.0"), clock::now()).await.unwrap();
    assert_eq!(brief(&depot, clock::now()), is(State::Full, "100%", "1.0.0"));
    let again = change(&depot, None, promote("1.1.0", "5%"), clock::now()).await;
    assert!(matches!(&again, Err(Error::Refused(reason)) if reason.contains("was yanked")), "{again:?}");
    assert_sound(&depot).await;
}

#[tokio::test]
async fn what_cannot_be_is_said() {
    let depot = three_releases().await;
    change(&depot, None, promote("1.1.0", "100%"), clock::now()).await.unwrap();
    let said = async |verb| match change(&depot, None, verb, clock::now()).await {
        Err(error) => error,
        Ok(done) => panic!("{done:?}"),
    };
    let not_live = said(promote("9.9", "5%")).await;
    assert!(matches!(&not_live, Error::NotFound(reason) if reason.contains("1.2.0, 1.1.0, 1.0.0")), "{not_live}");
    assert!(matches!(said(promote("1.0.0", "5%")).await, Error::NotNewer(_)));
    assert!(matches!(said(promote("1.1.0", "5%")).await, Error::NotNewer(_)), "everybody has it: no wave");
    assert!(!change(&depot, None, promote("1.1.0", "100%"), clock::now()).await.unwrap().changed);
    let nothing = said(rollout("20%")).await;
    assert!(nothing.to_string().contains("rolling out nothing"), "{nothing}");

    let beta: ChannelName = "beta".parse().unwrap();
    let on_beta = async |verb| {
        let error = depot.change_channel(&app(), &beta, &ChannelChange { base: None, verb }, clock::now()).await;
        error.unwrap_err().to_string()
    };
    assert_eq!(on_beta(rollout("20%")).await, "app demo has no channel beta");
    let first = on_beta(promote("1.1.0", "20%")).await;
    assert!(first.contains("nothing fully out but 1.1.0"), "{first}");
    assert!(matches!(depot.channel(&app(), &beta, clock::now()), Err(Error::NoChannel { .. })), "nothing came of it");

    let expired = change(&depot, None, promote("1.2.0", "5%"), clock::days(400)).await;
    assert!(matches!(&expired, Err(Error::Refused(reason)) if reason.contains("expired")), "{expired:?}");
}

#[tokio::test]
async fn a_rollout_keeps_to_what_its_publisher_allows() {
    let depot = three_releases().await;
    let files = build("1.3.0");
    upload_tree(&depot, &files).await.unwrap();
    let terms = Terms { channels: Some(vec!["beta".parse().unwrap()]), ..Terms::default() };
    let release = Release { terms, ..document("1.3.0", "any", &files) };
    let view = depot.view(&app()).unwrap();
    let new = submission(&view, view.targets.version + 1, std::slice::from_ref(&release), None);
    depot.accept(&app(), &new, clock::now()).await.unwrap();
    let refused = change(&depot, None, promote("1.3.0", "1%"), clock::now()).await;
    assert!(matches!(&refused, Err(Error::Refused(reason)) if reason.contains("beta only")), "{refused:?}");
}

#[tokio::test]
async fn whoever_decided_on_an_older_state_is_told_how_it_stands_now() {
    let depot = three_releases().await;
    let seen = status(&depot, clock::now()).revision;
    change(&depot, Some(seen), promote("1.2.0", "5%"), clock::now()).await.unwrap();
    let late = change(&depot, Some(seen), promote("1.1.0", "100%"), clock::now()).await;
    let Err(Error::Conflict(reason)) = late else { panic!("{late:?}") };
    assert!(reason.contains("it has 1.2.0 for 5% of devices; 1.0.0 for the others now"), "{reason}");
    // A publish, and a renewal, decide nothing about a channel.
    let seen = status(&depot, clock::now()).revision;
    publish(&depot, "1.3.0", "any", None, clock::now()).await.unwrap();
    depot.renew(clock::hours(13)).await;
    assert_eq!(status(&depot, clock::hours(13)).revision, seen);
    change(&depot, Some(seen), rollout("6%"), clock::hours(13)).await.unwrap();
    let fraction = status(&depot, clock::hours(13)).platforms[&Platform::any()].fraction_ppm;
    assert_eq!(fraction, Fraction::percent(6));
}
