//! `updraft channel`: how a channel stands, and changing that.
//!
//! What cannot be is said before the server is told anything. The server decides anew, and only on the state that was seen
//! here: whoever was faster is not overruled.

pub(crate) mod args;

use serde_json::json;
use updraft_agent::ui::{Exit, printable, say, say_json};
use updraft_core::Timestamp;
use updraft_core::api::{App, ChannelChange, ChannelChanged, ChannelStatus};
use updraft_core::channel::{By, Channel, Moment, Salt, State, Verb};
use updraft_core::name::{AppName, ChannelName, Platform};
use updraft_core::release::{Live, ReleaseName};

use crate::args::ReleaseArgs;
use crate::remote;
use args::{Command, How, Promote, Stop, Which};

pub(crate) fn run(command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Show { channel, app, server, json } => {
            let shown = remote::show_app(&remote::connect(&server)?, &app)?;
            let found = find(&shown, &channel)?;
            let now = Timestamp::now();
            if json {
                say_json(&ChannelStatus::of(&channel, found, now))?
            } else {
                show(&channel, found, now)
            }
            Ok(Exit::Done)
        }
        other => change(&Order::of(other)),
    }
}

/// A change, as somebody ordered it.
struct Order {
    channel: ChannelName,
    app: AppName,
    verb: Verb,
    how: How,
}

impl Order {
    fn of(command: Command) -> Self {
        match command {
            Command::Show { .. } => unreachable!("showing changes nothing"),
            Command::Promote(Promote { channel, release, rollout, ramp, max_bandwidth, how }) => {
                let (app, release) = name_of(release);
                let max_bits_per_sec = max_bandwidth.map(|rate| rate.bits_per_sec);
                let verb = Verb::Promote { release, rollout: rollout.or(ramp), max_bits_per_sec };
                Self { channel, app, verb, how }
            }
            Command::Rollout { channel, rollout, which: Which { app, platform }, how } => {
                Self { channel, app, verb: Verb::Rollout { platform, rollout }, how }
            }
            Command::Pause(Stop { channel, which: Which { app, platform }, reason, how }) => {
                Self { channel, app, verb: Verb::Pause { platform, reason }, how }
            }
            Command::Halt(Stop { channel, which: Which { app, platform }, reason, how }) => {
                Self { channel, app, verb: Verb::Halt { platform, reason }, how }
            }
            Command::Resume { channel, which: Which { app, platform }, how } => {
                Self { channel, app, verb: Verb::Resume { platform }, how }
            }
            Command::Yank { channel, release, reason, how } => {
                let (app, release) = name_of(release);
                Self { channel, app, verb: Verb::Yank { release, reason }, how }
            }
        }
    }
}

fn name_of(release: ReleaseArgs) -> (AppName, ReleaseName) {
    (release.app, ReleaseName { platform: release.platform, version: release.version })
}

fn find<'a>(app: &'a App, channel: &ChannelName) -> anyhow::Result<&'a Channel> {
    app.channels.get(channel).ok_or_else(|| {
        let names: Vec<_> = app.channels.keys().map(|name| name.as_str()).collect();
        let there =
            if names.is_empty() { "it has none yet".to_owned() } else { format!("it has {}", names.join(", ")) };
        anyhow::anyhow!("app {} has no channel {channel}; {there}", app.name)
    })
}

/// How a change ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Done {
    DryRun,
    Nothing,
    Changed,
}

fn change(order: &Order) -> anyhow::Result<Exit> {
    let http = remote::connect(&order.how.server)?;
    let shown = remote::show_app(&http, &order.app)?;
    let now = Timestamp::now();
    let before = match order.verb {
        // The first promotion makes the channel.
        Verb::Promote { .. } => shown.channels.get(&order.channel).cloned().unwrap_or_default(),
        _ => find(&shown, &order.channel)?.clone(),
    };
    let planned = plan(&shown, order, &before, now)?;
    let (done, after) = if planned == before {
        (Done::Nothing, ChannelStatus::of(&order.channel, &before, now))
    } else if order.how.dry_run {
        (Done::DryRun, ChannelStatus::of(&order.channel, &planned, now))
    } else {
        let change = ChannelChange { base: Some(before.revision()), verb: order.verb.clone() };
        let path = format!("apps/{}/channels/{}", order.app, order.channel);
        let ChannelChanged { changed, now, .. } = http.post(&path, &change)?;
        (if changed { Done::Changed } else { Done::Nothing }, now)
    };
    tell(order, &before, &after, done)?;
    Ok(Exit::Done)
}

/// What the channel would be.
fn plan(app: &App, order: &Order, before: &Channel, now: Timestamp) -> anyhow::Result<Channel> {
    if order.verb.is_done(before) {
        return Ok(before.clone());
    }
    let name = |release: &updraft_core::api::Release| ReleaseName {
        platform: release.platform.clone(),
        version: release.version.clone(),
    };
    let live: Live = app.releases.iter().map(|release| (name(release), release.terms.clone())).collect();
    // The server draws the real salt.
    let salt = Salt::from_bytes([0; 16]);
    let at = Moment { channel: &order.channel, live: &live, now, by: By::Person, salt };
    Ok(before.clone().apply(&order.verb, &at)?)
}

fn show(name: &ChannelName, channel: &Channel, now: Timestamp) {
    for (platform, stream) in &channel.platforms {
        let previous = stream.previous.as_ref().map_or(String::new(), |v| format!(", previous {v}"));
        say(format_args!("{name}  {platform}  current {}{previous}", stream.current));
        if stream.candidate.is_some() {
            say(format_args!("  {}: {}", stream.state(now).word(), printable(&stream.sentence(now))));
        }
    }
    for yanked in &channel.yanked {
        let reason = if yanked.reason.is_empty() { String::new() } else { format!(": {}", yanked.reason) };
        say(format_args!("  {} was yanked at {}{}", yanked.release, yanked.at, printable(&reason)));
    }
}

fn tell(order: &Order, before: &Channel, after: &ChannelStatus, done: Done) -> anyhow::Result<()> {
    let Order { channel, app, verb, how } = order;
    if how.json {
        let word = match done {
            Done::DryRun => "dry_run",
            Done::Nothing => "nothing",
            Done::Changed => "changed",
        };
        return say_json(&json!({ "app": app, "done": word, "channel": after }));
    }
    let (is, has, points, end) = match done {
        Done::DryRun => ("would be", "would have", "would point", ""),
        Done::Nothing => ("is", "has", "points", " already"),
        Done::Changed => ("is", "has", "points", ""),
    };
    if let Some(release) = full_promotion(verb, after) {
        say(format_args!("channel {channel} of {app} {points} at {release}{end}"));
        return Ok(());
    }
    let is_yank = if let Verb::Yank { release, .. } = verb {
        say(format_args!("{release} {is} yanked from channel {channel} of {app}{end}"));
        true
    } else {
        false
    };
    let on = |platform: &Platform| if platform.is_any() { String::new() } else { format!(" on {platform}") };
    for (platform, status) in &after.platforms {
        let is_news = before.platforms.get(platform) != Some(&status.stream);
        if is_news || (done == Done::Nothing && !is_yank) {
            let sentence = status.stream.sentence(Timestamp::now());
            say(format_args!("channel {channel} of {app}{} {has}{end} {}", on(platform), printable(&sentence)));
        }
    }
    for platform in before.platforms.keys().filter(|platform| !after.platforms.contains_key(*platform)) {
        say(format_args!("channel {channel} of {app}{} {has} nothing for anybody", on(platform)));
    }
    Ok(())
}

/// The release that everybody gets at once, if that is what was ordered.
fn full_promotion<'a>(verb: &'a Verb, after: &ChannelStatus) -> Option<&'a ReleaseName> {
    let Verb::Promote { release, .. } = verb else { return None };
    let status = after.platforms.get(&release.platform)?;
    (status.state == State::Full && status.stream.candidate.is_none()).then_some(release)
}
