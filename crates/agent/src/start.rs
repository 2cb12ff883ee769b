//! `run`: starts the app, and is the health window of a release that waits to be confirmed.

use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::Context;
use updraft_client::install::Start;
use updraft_client::updater::OpenOptions;

use crate::commands::open;
use crate::ui::{Exit, warn};
use crate::{args, say};

/// How often a starting app is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

pub(crate) fn run(args: &args::Run) -> anyhow::Result<Exit> {
    let start = open(&args.dir, OpenOptions::default())?.begin_start()?;
    if let Start::RolledBack(applied) = &start {
        warn("the last start was never confirmed");
        say::applied("rolled back to", applied, false)?;
    }
    let (program, rest) = args.command.split_first().context("name a command behind --")?;
    let mut child = Command::new(program)
        .args(rest)
        .current_dir(&args.dir)
        .spawn()
        .with_context(|| format!("cannot start {}", program.to_string_lossy()))?;
    let ended = if matches!(start, Start::Trial { .. }) {
        let ended = watch(&mut child, Duration::from_secs(args.healthy_after))?;
        if ended.is_none_or(|status| status.success()) {
            open(&args.dir, OpenOptions::default())?.confirm()?;
        } else {
            warn("it did not start well; the next start goes back to the release before");
        }
        ended
    } else {
        None
    };
    let status = match ended {
        Some(status) => status,
        None => child.wait()?,
    };
    Ok(if status.success() { Exit::Done } else { Exit::Error })
}

/// How the child ended within `time`; `None` when it still runs.
fn watch(child: &mut Child, time: Duration) -> anyhow::Result<Option<ExitStatus>> {
    let until = Instant::now() + time;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= until {
            return Ok(None);
        }
        std::thread::sleep(LOOK_EVERY);
    }
}
