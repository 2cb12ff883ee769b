//! The same in words: what a person reads of a pick, a bar, a stop, a channel.

use std::fmt;

use serde::ser::{Serialize, SerializeStruct, Serializer};

use super::document::{By, Candidate, Channel, How, Stop, Stream, Yanked};
use super::pick::{Bar, Passed, Pick, Why};
use crate::Timestamp;
use crate::name::Platform;

/// The most passed releases that a sentence names.
const PASSED_NAMED_MAX: usize = 3;

/// The most platforms that a sentence names.
const PLATFORMS_NAMED_MAX: usize = 10;

impl fmt::Display for Pick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this device ")?;
        match (&self.take, &self.why) {
            (Some(release), Why::Pinned { .. }) => write!(f, "gets {release}, to which it is pinned")?,
            (Some(release), why) => write!(f, "gets {release}, {why}")?,
            (None, why) => write!(f, "{why}")?,
        }
        if self.mandatory {
            f.write_str("; its publisher says that it must update")?;
        }
        for passed in self.passed.iter().take(PASSED_NAMED_MAX) {
            write!(f, "; {passed}")?;
        }
        match self.passed.len().checked_sub(PASSED_NAMED_MAX) {
            None | Some(0) => {}
            Some(more) => write!(f, "; and {more} more are not for it")?,
        }
        match &self.yanked {
            Some(Yanked { release, at, reason }) if reason.is_empty() => {
                write!(f, "; {release}, which it has, was yanked at {at}")
            }
            Some(Yanked { release, at, reason }) => {
                write!(f, "; {release}, which it has, was yanked at {at}: {reason}")
            }
            None => Ok(()),
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Current => f.write_str("the newest that is fully out"),
            Self::Candidate { bucket: Some(bucket), fraction } => {
                write!(f, "which is being rolled out to {fraction} of devices, and it lies at {bucket}")
            }
            Self::Candidate { bucket: None, fraction } => write!(f, "whose rollout has reached {fraction} of devices"),
            Self::Previous => f.write_str("the newest fully out that is for it"),
            Self::SteppingStone { toward } => write!(f, "which it must have before {toward}"),
            Self::Pinned { version } => write!(f, "is pinned to {version}"),
            Self::UpToDate { version } => write!(f, "has {version}, the newest for it"),
            Self::Ahead { version, channel } => {
                write!(f, "has {version}, which is newer than {channel}, what the channel has for it")
            }
            Self::NotForPlatform { platform, platforms } => {
                write!(f, "is {platform}, and the channel has nothing for that")?;
                let names: Vec<_> = platforms.iter().take(PLATFORMS_NAMED_MAX).map(Platform::as_str).collect();
                if names.is_empty() { Ok(()) } else { write!(f, ", only for {}", names.join(", ")) }
            }
            Self::Nothing => f.write_str("gets nothing"),
        }
    }
}

impl fmt::Display for Passed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { release, bar } = self;
        write!(f, "not {release}, {bar}")
    }
}

/// As JSON: which release, the word for why not, and the sentence.
impl Serialize for Passed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut passed = serializer.serialize_struct("Passed", 3)?;
        passed.serialize_field("release", &self.release)?;
        passed.serialize_field("why", self.bar.word())?;
        passed.serialize_field("says", &self.bar.to_string())?;
        passed.end()
    }
}

impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unlisted => f.write_str("which its publisher does not list"),
            Self::NotAllowed => f.write_str("which its publisher does not allow on this channel"),
            Self::Yanked(yanked) if yanked.reason.is_empty() => {
                write!(f, "which was yanked at {}", yanked.at)
            }
            Self::Yanked(yanked) => {
                write!(f, "which was yanked at {}: {}", yanked.at, yanked.reason)
            }
            Self::NewerProgram => f.write_str("which needs a newer updraft"),
            Self::NotForOs { needs, has: Some(has) } => {
                write!(f, "which needs version {needs} of its operating system, and that is at {has}")
            }
            Self::NotForOs { needs, has: None } => {
                write!(f, "which needs version {needs} of its operating system, and nobody knows what that is at")
            }
            Self::Failed => f.write_str("which failed here before"),
            Self::Stopped(stop) => write!(f, "whose rollout is {stop}"),
            Self::OutsideWave { bucket: Some(bucket), fraction } => {
                write!(f, "which is being rolled out to {fraction} of devices, and it lies at {bucket}")
            }
            Self::OutsideWave { bucket: None, fraction } => {
                write!(f, "which is being rolled out to {fraction} of devices, and it has no id to be one of them")
            }
            Self::SteppingStone { stone, bar } => {
                write!(f, "before which it must have {stone}, {bar}")
            }
            Self::Older => f.write_str("which is older than what it has"),
        }
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = match self.how {
            How::Paused => "paused",
            How::Halted => "halted",
        };
        let by = match self.by {
            By::Person => "",
            By::Reports => " by reports",
        };
        write!(f, "{how}{by} since {}", self.at)?;
        if self.reason.is_empty() { Ok(()) } else { write!(f, " ({})", self.reason) }
    }
}

impl Channel {
    /// Who gets what from it at `now`, in a sentence.
    pub fn sentence(&self, now: Timestamp) -> String {
        let of = |(platform, stream): (&Platform, &Stream)| match platform.is_any() {
            true => stream.sentence(now),
            false => format!("on {platform} {}", stream.sentence(now)),
        };
        let all: Vec<_> = self.platforms.iter().take(PLATFORMS_NAMED_MAX).map(of).collect();
        if all.is_empty() { "nothing for anybody".to_owned() } else { all.join("; ") }
    }
}

impl Stream {
    /// Who gets what from it at `now`, in a sentence.
    pub fn sentence(&self, now: Timestamp) -> String {
        let current = &self.current;
        let Some(candidate) = &self.candidate else {
            return format!("{current} for everybody");
        };
        let Candidate { version, wave, stopped, .. } = candidate;
        let reached = candidate.fraction_at(now);
        match stopped {
            Some(stop) => {
                format!("{current} for everybody; the rollout of {version} to {reached} of devices is {stop}")
            }
            None if reached.is_full() => format!("{version} for everybody"),
            None if wave.to_ppm > reached => {
                let (to, end) = (wave.to_ppm, wave.ends());
                format!("{version} for {reached} of devices, growing to {to} until {end}; {current} for the others")
            }
            None => format!("{version} for {reached} of devices; {current} for the others"),
        }
    }
}
