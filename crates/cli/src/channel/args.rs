//! The command line of `updraft channel`.

use std::str::FromStr;

use clap::{Args, Subcommand};
use updraft_core::channel::{Reason, Rollout};
use updraft_core::name::{AppName, ChannelName, Platform};

use crate::args::{ReleaseArgs, Server};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show what a channel points at, and how its rollouts stand
    Show {
        /// The channel
        channel: ChannelName,
        /// The app
        #[arg(long, value_name = "NAME")]
        app: AppName,
        #[command(flatten)]
        server: Server,
        /// Answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// Point a channel at a live release: for everybody, or for a part of the devices first
    Promote(Promote),
    /// Give a rollout another fraction or ramp, from now on
    Rollout {
        /// The channel
        channel: ChannelName,
        /// A fraction such as 20% (20 means the same), or a ramp such as 20%..100%/12h
        rollout: Rollout,
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        how: How,
    },
    /// Stop a rollout for a while: nobody new gets the release
    Pause(Stop),
    /// Let a rollout that was stopped go on from where it was
    Resume {
        /// The channel
        channel: ChannelName,
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        how: How,
    },
    /// Stop a rollout because something is wrong with it
    Halt(Stop),
    /// Take a release away: nobody gets it from this channel any more, and what was fully out before it is so again
    Yank {
        /// The channel
        channel: ChannelName,
        #[command(flatten)]
        release: ReleaseArgs,
        /// Why, in a sentence that everybody can read
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        reason: Reason,
        #[command(flatten)]
        how: How,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Promote {
    /// The channel
    pub(crate) channel: ChannelName,
    #[command(flatten)]
    pub(crate) release: ReleaseArgs,
    /// To how many of the devices first, such as 5% (5 means the same); the others keep to what is fully out
    #[arg(long, value_name = "PERCENT")]
    pub(crate) rollout: Option<Rollout>,
    /// To ever more of them, over a time: 5%..100%/24h
    #[arg(long, value_name = "RAMP", value_parser = ramp, conflicts_with = "rollout")]
    pub(crate) ramp: Option<Rollout>,
    /// How much all downloads of it together may take, such as 200mbit: it is written down, and no server of this version
    /// keeps to it yet
    #[arg(long, value_name = "RATE")]
    pub(crate) max_bandwidth: Option<Bandwidth>,
    #[command(flatten)]
    pub(crate) how: How,
}

#[derive(Debug, Args)]
pub(crate) struct Stop {
    /// The channel
    pub(crate) channel: ChannelName,
    #[command(flatten)]
    pub(crate) which: Which,
    /// Why, in a sentence that everybody can read
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(crate) reason: Reason,
    #[command(flatten)]
    pub(crate) how: How,
}

/// Which rollouts of which app.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// The app
    #[arg(long, value_name = "NAME")]
    pub(crate) app: AppName,
    /// Only the rollout for this platform [default: all that the channel has]
    #[arg(long, value_name = "P")]
    pub(crate) platform: Option<Platform>,
}

/// Where it is done, and how it is told.
#[derive(Debug, Args)]
pub(crate) struct How {
    #[command(flatten)]
    pub(crate) server: Server,
    /// Only say what would change
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Answer as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

fn ramp(text: &str) -> Result<Rollout, String> {
    match text.parse::<Rollout>() {
        Ok(Rollout::Fraction(_)) => {
            Err("it does not grow: ramps look like 5%..100%/24h; a fraction is --rollout".into())
        }
        Ok(ramp) => Ok(ramp),
        Err(error) => Err(error.to_string()),
    }
}

/// So many bits in a second, as networks are sold: powers of 1,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bandwidth {
    pub(crate) bits_per_sec: u64,
}

impl FromStr for Bandwidth {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const UNITS: [(&str, u64); 4] = [("kbit", 1_000), ("mbit", 1_000_000), ("gbit", 1_000_000_000), ("bit", 1)];
        let lower = text.to_ascii_lowercase();
        let found = UNITS.iter().find_map(|(name, unit)| Some((lower.strip_suffix(name)?.trim_end(), unit)));
        let bits = found.and_then(|(number, unit)| number.parse::<u64>().ok()?.checked_mul(*unit));
        match bits {
            Some(bits_per_sec @ 1..) => Ok(Self { bits_per_sec }),
            _ => {
                Err("it is a whole number of bits per second with kbit, mbit or gbit behind it, such as 200mbit".into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bandwidths_are_in_bits_and_say_so() {
        let bits = |text: &str| text.parse::<Bandwidth>().map(|it| it.bits_per_sec).ok();
        assert_eq!(bits("200mbit"), Some(200_000_000));
        assert_eq!(bits("1 Gbit"), Some(1_000_000_000));
        assert_eq!(bits("64kbit"), Some(64_000));
        assert_eq!(bits("8bit"), Some(8));
        for wrong in ["200", "200MB", "0mbit", "-1mbit", "1.5gbit", "mbit", "", "99999999999gbit"] {
            assert_eq!(bits(wrong), None, "{wrong}");
        }
    }
}
