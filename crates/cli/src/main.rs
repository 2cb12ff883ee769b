//! `updraft`: everything for people, in one binary.
//!
//! The commands only ask and tell: what they do is done by `publisher`, by the server's `depot`, or by the agent.

mod app;
mod args;
mod channel;
mod doctor;
mod folder;
mod in_process;
mod keys;
mod maintain;
mod patch;
mod publish_dir;
mod release;
mod remote;
mod secrets;
mod serve;
mod terms;
mod workshop;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use updraft_agent::ui::{Exit, warn};
use updraft_core::trust;
use updraft_publisher::{RemoteError, base, create, publish, root};

use args::{Cli, Command, Internal};

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Agent(command) => return updraft_agent::run(command).into(),
        Command::Serve(args) => serve::run(args),
        Command::App(command) => app::run(command),
        Command::Publish(args) => publish_dir::run(args),
        Command::Keys(command) => keys::run(command),
        Command::Release(command) => release::run(command),
        Command::Channel(command) => channel::run(command),
        Command::Patch(command) => patch::run(&command),
        Command::Gc(args) => maintain::gc(&args),
        Command::Fsck(args) => maintain::fsck(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Internal(Internal::MakePatch(args)) => workshop::child::run(&args),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "updraft", &mut std::io::stdout());
            Ok(Exit::Done)
        }
    };
    match outcome {
        Ok(exit) => exit.into(),
        Err(error) => {
            warn(format_args!("error: {}", updraft_agent::text_of(&error)));
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
    if let Some(error) = error.downcast_ref::<publish::Error>() {
        return match error {
            publish::Error::Base(base) => of_base(base),
            publish::Error::Remote(remote) => of_remote(remote),
            _ => Exit::Error,
        };
    }
    if let Some(error) = error.downcast_ref::<create::Error>() {
        return match error {
            create::Error::Base(base) => of_base(base),
            create::Error::Remote(remote) => of_remote(remote),
            _ => Exit::Error,
        };
    }
    if let Some(error) = error.downcast_ref::<root::Error>() {
        return match error {
            root::Error::Base(base) => of_base(base),
            root::Error::Remote(remote) => of_remote(remote),
            root::Error::Proposal(proposal) => of_proposal(proposal),
            _ => Exit::Error,
        };
    }
    let base = error.downcast_ref::<base::Error>().map(of_base);
    let remote = || error.downcast_ref::<RemoteError>().map(of_remote);
    let proposal = || error.downcast_ref::<root::ProposalError>().map(of_proposal);
    base.or_else(remote).or_else(proposal).unwrap_or(Exit::Error)
}

fn of_base(error: &base::Error) -> Exit {
    match error {
        base::Error::Remote(remote) => of_remote(remote),
        base::Error::Trust { source: trust::Error::Expired { .. }, .. } => Exit::Stale,
        base::Error::Trust { .. } => Exit::Verification,
        _ => Exit::Error,
    }
}

fn of_proposal(error: &root::ProposalError) -> Exit {
    use root::ProposalError as E;
    match error {
        E::Base(_)
        | E::Stranger { .. }
        | E::Damaged { .. }
        | E::Outdated(_)
        | E::OtherApp { .. }
        | E::OtherRoot { .. } => Exit::Verification,
        E::Unpinned { .. } => Exit::Usage,
        E::Expired { .. } => Exit::Stale,
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
