//! `updraft`: everything for people, in one binary.
//!
//! The commands only ask and tell: what they do is done by `publisher`, by the server's `depot`, or by the agent.

mod app;
mod args;
mod channel;
mod folder;
mod in_process;
mod maintain;
mod publish_dir;
mod release;
mod remote;
mod secrets;
mod serve;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use updraft_agent::ui::{Exit, warn};
use updraft_core::trust;
use updraft_publisher::{RemoteError, base, create, publish};

use args::{Cli, Command};

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Agent(command) => return updraft_agent::run(command).into(),
        Command::Serve(args) => serve::run(args),
        Command::App(command) => app::run(command),
        Command::Publish(args) => publish_dir::run(args),
        Command::Release(command) => release::run(command),
        Command::Channel(command) => channel::run(command),
        Command::Gc(args) => maintain::gc(&args),
        Command::Fsck(args) => maintain::fsck(&args),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "updraft", &mut std::io::stdout());
            Ok(Exit::Done)
        }
    };
    match outcome {
        Ok(exit) => exit.into(),
        Err(error) => {
            warn(format_args!("error: {error:#}"));
            exit_of(&error).into()
        }
    }
}

/// The exit code that an error stands for.
fn exit_of(error: &anyhow::Error) -> Exit {
    if error.is::<remote::Usage>() {
        return Exit::Usage;
    }
    // The publisher's errors show their cause's words as their own, so the cause is looked for by type.
    let base = match error.downcast_ref::<publish::Error>() {
        Some(publish::Error::Base(base)) => Some(base),
        Some(publish::Error::Remote(remote)) => return of_remote(remote),
        _ => match error.downcast_ref::<create::Error>() {
            Some(create::Error::Base(base)) => Some(base),
            Some(create::Error::Remote(remote)) => return of_remote(remote),
            _ => error.downcast_ref::<base::Error>(),
        },
    };
    match (base, error.downcast_ref::<RemoteError>()) {
        (Some(base::Error::Remote(remote)), _) | (None, Some(remote)) => of_remote(remote),
        (Some(base::Error::Trust { source: trust::Error::Expired { .. }, .. }), _) => Exit::Stale,
        (Some(base::Error::Trust { .. }), _) => Exit::Verification,
        _ => Exit::Error,
    }
}

fn of_remote(error: &RemoteError) -> Exit {
    if matches!(error, RemoteError::Unreachable { .. }) { Exit::Unreachable } else { Exit::Error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
