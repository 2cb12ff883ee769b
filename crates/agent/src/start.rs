//! `run`: starts the app, and is the health window of a release that waits to be confirmed.
//!
//! The app comes first: whatever keeps the updater from its work is said, and then what is there is started. Once it is
//! started it is waited for, whatever else happens.

use std::io;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::Context;
use updraft_client::home;
use updraft_client::install::Start;
use updraft_client::updater::{OpenOptions, Updater};

use crate::commands::open;
use crate::ui::{Exit, warn};
use crate::{args, say, text_of};

/// How often a starting app is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long another process that changes the directory is waited for while the app does not run.
const LOCK_WAIT: Duration = Duration::from_secs(30);
/// How often its lock is tried.
const LOCK_EVERY: Duration = Duration::from_millis(500);

pub(crate) fn run(args: &args::Run) -> anyhow::Result<Exit> {
    let is_trial = begin(&args.dir).unwrap_or_else(|error| {
        warn(format_args!("{}; what is there is started as it is", text_of(&error)));
        false
    });
    let (program, rest) = args.command.split_first().context("name a command behind --")?;
    let mut child = Command::new(program)
        .args(rest)
        .current_dir(&args.dir)
        .spawn()
        .with_context(|| format!("cannot start {}", program.to_string_lossy()))?;
    if is_trial {
        let ended = watch(&mut child, Duration::from_secs(args.healthy_after))?;
        if ended.is_none_or(|status| status.success()) {
            confirm(&args.dir, &mut child);
        } else {
            warn("it did not start well; the next start goes back to the release before");
        }
    }
    Ok(if child.wait()?.success() { Exit::Done } else { Exit::Error })
}

/// Gets the directory ready for a start; returns whether it is the trial of a new release.
fn begin(dir: &Path) -> anyhow::Result<bool> {
    let until = Instant::now() + LOCK_WAIT;
    let start = open_patiently(dir, || Ok(Instant::now() < until))?.begin_start()?;
    if let Start::RolledBack(applied) = &start {
        warn("the last start was never confirmed");
        say::applied("rolled back to", applied, false)?;
    }
    Ok(matches!(start, Start::Trial { .. }))
}

/// Confirms the release that runs well. Another process that changes the directory is waited for as long as the app runs.
fn confirm(dir: &Path, child: &mut Child) {
    let until = Instant::now() + LOCK_WAIT;
    let confirmed = open_patiently(dir, || Ok(child.try_wait()?.is_none() || Instant::now() < until))
        .and_then(|mut updater| Ok(updater.confirm()?));
    if let Err(error) = confirmed {
        warn(format_args!(
            "it started well, and that could not be written down: {}; run `confirm`, or the next start goes back",
            text_of(&error)
        ));
    }
}

/// Opens `dir`; while another process changes it and `may_wait` says so, tries again.
fn open_patiently(dir: &Path, mut may_wait: impl FnMut() -> io::Result<bool>) -> anyhow::Result<Updater> {
    loop {
        match open(dir, OpenOptions::default()) {
            Err(error) if is_in_use(&error) && may_wait()? => std::thread::sleep(LOCK_EVERY),
            opened => return opened,
        }
    }
}

fn is_in_use(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(updraft_client::Error::Home(home::Error::InUse { .. })))
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
