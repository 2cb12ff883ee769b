//! `watch`: checks from time to time, takes what is new, and goes back when it does not work.

use std::process::Command;
use std::time::Duration;

use jiff::Timestamp;
use updraft_client::check::Verdict;
use updraft_client::install::{Confirm, Options};

use crate::commands::{open, open_options, take};
use crate::ui::{Exit, say, warn};
use crate::{args, say};

pub(crate) fn run(args: &args::Watch) -> anyhow::Result<Exit> {
    let mut round = 0u64;
    loop {
        // A check that fails is said and tried again: a device whose server is away keeps running what it has.
        if let Err(error) = once(args) {
            warn(format_args!("error: {error:#}"));
        }
        round += 1;
        if args.checks.is_some_and(|checks| round >= checks) {
            return Ok(Exit::Done);
        }
        std::thread::sleep(pause(args.every));
    }
}

fn once(args: &args::Watch) -> anyhow::Result<()> {
    let now = Timestamp::now();
    let mut updater = open(&args.dir, open_options(None, Some(&args.fetching))?)?;
    let Verdict::Available(update) = updater.check(now)? else { return Ok(()) };
    if update.is_rejected() {
        // It was rolled back from here before: taking it again by itself would go round in circles.
        return Ok(());
    }
    let confirm = if args.health.is_some() { Confirm::Await { since: now } } else { Confirm::Now };
    let applied = take(&mut updater, &update, &Options { confirm, ..Options::default() })?;
    say::applied("updated to", &applied, false)?;
    let Some(health) = &args.health else { return Ok(()) };
    let status = Command::new("sh").arg("-c").arg(health).current_dir(&args.dir).status()?;
    if status.success() {
        updater.confirm()?;
        say(format_args!("{} is confirmed", applied.to));
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
