//! `updraft-agent`: installs an app into a directory and keeps it up to date.

use std::process::ExitCode;

use clap::Parser;
use updraft_agent::args::Cli;

fn main() -> ExitCode {
    updraft_agent::run(Cli::parse().command).into()
}
