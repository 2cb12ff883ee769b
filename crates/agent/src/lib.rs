//! The agent: what a device runs, by hand or from a timer, to install an app and keep it up to date.
//!
//! It only asks [`updraft_client`] and tells people what came of it. `updraft-agent` and `updraft agent` are both this.
#![forbid(unsafe_code)]

pub mod args;
mod commands;
mod say;
mod start;
pub mod ui;
mod watch;

use updraft_client::error::{Class, Error};

use args::Command;
use ui::{Exit, warn};

/// Does what the command line says and tells how it ended.
pub fn run(command: Command) -> Exit {
    let outcome = match command {
        Command::Install(args) => commands::install(args),
        Command::Check(args) => commands::check(&args),
        Command::Update(args) => commands::update(&args),
        Command::Rollback(args) => commands::rollback(&args),
        Command::Confirm(args) => commands::confirm(&args),
        Command::Status(args) => commands::status(&args),
        Command::Verify(args) => commands::verify(&args),
        Command::Watch(args) => watch::run(&args),
        Command::Run(args) => start::run(&args),
    };
    outcome.unwrap_or_else(|error| {
        warn(format_args!("error: {error:#}"));
        exit_of(&error)
    })
}

/// The exit code that an error stands for.
fn exit_of(error: &anyhow::Error) -> Exit {
    match error.chain().find_map(|cause| cause.downcast_ref::<Error>()).map(Error::class) {
        Some(Class::Stale) => Exit::Stale,
        Some(Class::Unreachable) => Exit::Unreachable,
        Some(Class::Verification) => Exit::Verification,
        Some(Class::Other) | None => Exit::Error,
    }
}
