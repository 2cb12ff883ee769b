//! `watch`: checks from time to time, takes what is new, and goes back when it does not work.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use jiff::Timestamp;
use updraft_client::check::Verdict;
use updraft_client::install::{Confirm, Confirmation, Options};
use updraft_client::updater::Updater;
use updraft_core::version::Version;

use crate::commands::{NOT_LIVE, damage, is_held, open, open_options, take, tell_clock};
use crate::ui::{Exit, say, warn};
use crate::{args, say, tell_error};

pub(crate) fn run(args: &args::Watch) -> anyhow::Result<Exit> {
    let (mut round, mut told) = (0u64, Told::default());
    loop {
        // A check that fails is said and tried again: a device whose server is away keeps running what it has.
        let exit = once(args, &mut told).map_or_else(|error| tell_error(&error), |()| Exit::Done);
        round += 1;
        if args.checks.is_some_and(|checks| round >= checks) {
            return Ok(exit);
        }
        std::thread::sleep(pause(args.every));
    }
}

/// What was said in earlier rounds, and is not said again in each.
#[derive(Default)]
struct Told {
    /// The release that was last said to be left alone.
    left_alone: Option<Version>,
    /// Whether what is held was said to be no longer live.
    not_live: bool,
}

/// One round.
fn once(args: &args::Watch, told: &mut Told) -> anyhow::Result<()> {
    let now = Timestamp::now();
    let mut updater = open(&args.dir, open_options(None, Some(&args.fetching))?)?;
    // This program may have been stopped between an update and the end of its health command.
    if let Confirmation::Awaited { .. } = confirmation(&updater)? {
        match &args.health {
            Some(health) => settle(&mut updater, &args.dir, health)?,
            // Somebody else said `--await-confirm`, and `run` may be trying it at this moment: not ours to judge.
            None => warn("the installed release waits for `confirm` or `rollback`; nothing newer is taken before that"),
        }
    }
    let verdict = updater.check(now)?;
    tell_clock(&updater, &verdict, now)?;
    let not_live = is_held(&updater)? && updater.is_live(now)? == Some(false);
    if not_live && !told.not_live {
        warn(NOT_LIVE);
    }
    told.not_live = not_live;
    let Verdict::Available(update) = verdict else { return Ok(()) };
    if is_held(&updater)? {
        // The check was not for nothing: what was seen of the publisher's word cannot be taken back.
        if told.left_alone.replace(update.version().clone()).as_ref() != Some(update.version()) {
            match damage(&updater)? {
                None => say(format_args!(
                    "{} is available and not taken: what is installed was chosen with --to",
                    update.version()
                )),
                Some(reason) => warn(format_args!(
                    "{} is available and not taken: what is installed may have been chosen with --to, for state.json \
                     cannot be read ({reason}); `update` follows the channel again",
                    update.version()
                )),
            }
        }
        return Ok(());
    }
    if update.is_rejected() {
        // It was rolled back from here before: taking it again by itself would go round in circles.
        return Ok(());
    }
    let confirm = if args.health.is_some() { Confirm::Await { since: now } } else { Confirm::Now };
    let (applied, fetched) = take(&mut updater, &update, &Options { confirm, ..Options::default() })?;
    say::taken("updated to", &applied, &fetched, false)?;
    match &args.health {
        Some(health) => settle(&mut updater, &args.dir, health),
        None => Ok(()),
    }
}

fn confirmation(updater: &Updater) -> Result<Confirmation, updraft_client::Error> {
    Ok(updraft_client::install::confirmation(updater.home())?)
}

/// Asks the health command about the release that waits for its confirmation, and confirms or rejects it.
fn settle(updater: &mut Updater, dir: &Path, health: &str) -> anyhow::Result<()> {
    let status = Command::new("sh").arg("-c").arg(health).current_dir(dir).status()?;
    if status.success() {
        updater.confirm()?;
        say("the new release is healthy, and confirmed");
    } else {
        warn(format_args!("the health command ended with {status}: going back"));
        let back = updater.reject()?;
        say::applied("rolled back to", &back, false)?;
    }
    Ok(())
}

/// `every` seconds, give or take a tenth.
fn pause(every: u64) -> Duration {
    let mut random = [0u8; 2];
    // Without a random source every device pauses the same: worse for the server, fine for the device.
    let _ = getrandom::fill(&mut random);
    let share = f64::from(u16::from_le_bytes(random)) / f64::from(u16::MAX);
    Duration::from_secs_f64(every as f64 * (0.9 + 0.2 * share))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_within_a_tenth() {
        for _ in 0..100 {
            let pause = pause(3_600).as_secs_f64();
            assert!((3_240.0..=3_960.0).contains(&pause), "{pause}");
        }
    }
}
