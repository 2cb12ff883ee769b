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
pub use commands::authority;
use ui::{Exit, printable, warn};

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
    outcome.unwrap_or_else(|error| tell_error(&error))
}

/// Says what went wrong; returns the exit code for it.
fn tell_error(error: &anyhow::Error) -> Exit {
    warn(format_args!("error: {}", text_of(error)));
    exit_of(error)
}

/// An error and what caused it, each said once: many errors of the library say their cause themselves. Part of the text
/// may come from a server or a file name.
pub fn text_of(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    printable(&text)
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

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    /// A damaged record was told twice, for its error says its cause and has it as its source, too.
    #[test]
    fn a_cause_is_said_once() {
        let source = updraft_client::record::Error::Damaged("torn".to_owned());
        let said_twice = updraft_client::home::Error::Record { file: "r".into(), source };
        let text = text_of(&updraft_client::Error::from(said_twice).into());
        assert_eq!(text.matches("torn").count(), 1, "{text}");
        let error = Err::<(), _>(std::io::Error::other("no\u{1b}[2J")).context("cannot start x").unwrap_err();
        assert_eq!(text_of(&error), "cannot start x: no\u{fffd}[2J");
    }
}
