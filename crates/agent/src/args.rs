//! The command line of `updraft-agent`, which is also that of `updraft agent`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use updraft_client::Source;
use updraft_core::digest::Sha256;
use updraft_core::name::{ChannelName, Platform};
use updraft_core::version::Version;

use crate::ui::EXIT_CODES;

/// Installs an app into a directory and keeps it up to date.
#[derive(Debug, Parser)]
#[command(name = "updraft-agent", version, about, after_help = EXIT_CODES, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What an agent can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Install the current release of an app into DIR
    Install(Install),
    /// Say what is new, and what it would cost; exit code 10 when there is an update
    Check(Check),
    /// Take the newest release
    Update(Update),
    /// Go back to the previous release; `watch` leaves the one that was left alone, `update` takes it again
    Rollback(Dir),
    /// Say that the new release works: the previous one may go
    Confirm(Dir),
    /// Say what is installed, from where, and what can be gone back to
    Status(Read),
    /// Read every file again and compare it with what the publisher signed
    Verify(Verify),
    /// Check from time to time and take what is new
    Watch(Watch),
    /// Start CMD in DIR; roll back if an unconfirmed release does not start well
    Run(Run),
}

/// An installed directory.
#[derive(Debug, Args)]
pub struct Dir {
    /// The installed directory
    pub dir: PathBuf,
}

/// A question about an installed directory.
#[derive(Debug, Args)]
pub struct Read {
    /// The installed directory
    pub dir: PathBuf,
    /// Answer as JSON
    #[arg(long)]
    pub json: bool,
}

/// `check`.
#[derive(Debug, Args)]
pub struct Check {
    /// The installed directory
    pub dir: PathBuf,
    /// Ask this folder (a USB stick with the store's files of the app) instead of the server
    #[arg(long, value_name = "FOLDER")]
    pub from: Option<PathBuf>,
    /// Trust this certificate authority (a file in PEM), and no other, for HTTPS; it is remembered until 'public' is said
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Ask for this live release instead of the channel's
    #[arg(long, value_name = "VERSION")]
    pub to: Option<Version>,
    /// Answer as JSON
    #[arg(long)]
    pub json: bool,
}

/// How to fetch.
#[derive(Debug, Args)]
pub struct Fetching {
    /// Fetch at most this much per second, such as 500k, 2M (bytes) or 20mbit
    #[arg(long, value_name = "RATE", value_parser = parse_rate)]
    pub limit_rate: Option<u64>,
    /// Files to fetch at the same time
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=32))]
    pub jobs: u8,
}

/// `install`.
#[derive(Debug, Args)]
pub struct Install {
    /// Where to install; created when missing
    pub dir: PathBuf,
    /// The app: http(s)://HOST/apps/NAME
    #[arg(long, value_name = "URL", required_unless_present = "from", conflicts_with = "from", value_parser = Source::url)]
    pub url: Option<Source>,
    /// The app's files in a folder instead, such as a USB stick: FOLDER/apps/NAME
    #[arg(long, value_name = "FOLDER")]
    pub from: Option<PathBuf>,
    /// Trust this certificate authority (a file in PEM), and no other, for HTTPS; it is remembered until 'public' is said
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// How the publisher's first root is known.
    #[command(flatten)]
    pub pin: Pin,
    /// The channel to follow
    #[arg(long, default_value = "stable")]
    pub channel: ChannelName,
    /// What this device is [default: what this program was built for]
    #[arg(long)]
    pub platform: Option<Platform>,
    /// Take over what lies in DIR already: equal files stay, others go to a backup
    #[arg(long)]
    pub adopt: bool,
    /// Change DIR file by file instead of exchanging it whole
    #[arg(long)]
    pub in_place: bool,
    /// How to fetch.
    #[command(flatten)]
    pub fetching: Fetching,
    /// Answer as JSON
    #[arg(long)]
    pub json: bool,
}

/// How the publisher's first root is known.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Pin {
    /// Trust this root.json
    #[arg(long, value_name = "FILE")]
    pub root: Option<PathBuf>,
    /// Trust the root with this SHA-256; the server and `app create` print it
    #[arg(long, value_name = "HEX")]
    pub root_sha256: Option<Sha256>,
    /// Trust whatever root the server shows first
    #[arg(long)]
    pub trust_on_first_use: bool,
}

/// `update`.
#[derive(Debug, Args)]
pub struct Update {
    /// The installed directory
    pub dir: PathBuf,
    /// Take it from this folder (a USB stick with the store's files of the app) instead of the server
    #[arg(long, value_name = "FOLDER")]
    pub from: Option<PathBuf>,
    /// Trust this certificate authority (a file in PEM), and no other, for HTTPS; it is remembered until 'public' is said
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Take this live release instead of the channel's; `watch` stays on it until `update` is run without --to
    #[arg(long, value_name = "VERSION")]
    pub to: Option<Version>,
    /// Let --to name an older release than the installed one
    #[arg(long, requires = "to")]
    pub allow_downgrade: bool,
    /// Leave the new release unconfirmed: without `confirm` the next start rolls back
    #[arg(long)]
    pub await_confirm: bool,
    /// Keep files that were edited here as they are, instead of moving them to a backup
    #[arg(long)]
    pub keep_edited: bool,
    /// How to fetch.
    #[command(flatten)]
    pub fetching: Fetching,
    /// Answer as JSON
    #[arg(long)]
    pub json: bool,
}

/// `verify`.
#[derive(Debug, Args)]
pub struct Verify {
    /// The installed directory
    pub dir: PathBuf,
    /// Fetch again what is damaged or missing, and put it back
    #[arg(long)]
    pub repair: bool,
    /// Answer as JSON
    #[arg(long)]
    pub json: bool,
}

/// `watch`.
#[derive(Debug, Args)]
pub struct Watch {
    /// The installed directory
    pub dir: PathBuf,
    /// Seconds between checks, give or take a tenth so that a fleet does not ask at once
    #[arg(long, value_name = "SECONDS", default_value_t = 3_600, value_parser = clap::value_parser!(u64).range(10..))]
    pub every: u64,
    /// After an update run this in a shell; if it fails, roll back
    #[arg(long, value_name = "COMMAND")]
    pub health: Option<String>,
    /// Stop after this many checks
    #[arg(long, value_name = "N")]
    pub checks: Option<u64>,
    /// How to fetch.
    #[command(flatten)]
    pub fetching: Fetching,
}

/// `run`.
#[derive(Debug, Args)]
pub struct Run {
    /// The installed directory
    pub dir: PathBuf,
    /// Seconds that CMD must run, or exit with 0 within, to count as healthy
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    pub healthy_after: u64,
    /// What to start; it runs inside DIR
    #[arg(last = true, required = true, value_name = "CMD")]
    pub command: Vec<std::ffi::OsString>,
}

/// Bytes per second: a number with k, M, G (bytes) or kbit, mbit, gbit (bits).
fn parse_rate(text: &str) -> Result<u64, String> {
    let remedy = || format!("'{text}' is not a rate such as 500k, 2M or 20mbit");
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number: u64 = text[..digits].parse().map_err(|_| remedy())?;
    let (factor, divisor) = match text[digits..].to_ascii_lowercase().as_str() {
        "" | "b" => (1, 1),
        "k" | "kb" => (1_000, 1),
        "m" | "mb" => (1_000_000, 1),
        "g" | "gb" => (1_000_000_000, 1),
        "kbit" => (1_000, 8),
        "mbit" => (1_000_000, 8),
        "gbit" => (1_000_000_000, 8),
        _ => return Err(remedy()),
    };
    let rate = number.checked_mul(factor).ok_or_else(remedy)? / divisor;
    if rate < 1_000 { Err(format!("'{text}' is under 1,000 bytes per second")) } else { Ok(rate) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn rates() {
        assert_eq!(parse_rate("500k"), Ok(500_000));
        assert_eq!(parse_rate("20mbit"), Ok(2_500_000));
        assert_eq!(parse_rate("1000"), Ok(1_000));
        for bad in ["", "fast", "1", "-5", "5x", "99999999999999999999", "18446744073709551615g"] {
            assert!(parse_rate(bad).is_err(), "{bad}");
        }
    }
}
