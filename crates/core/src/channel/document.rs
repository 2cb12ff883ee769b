//! The document of a channel. What is not said is absent, so a channel without a rollout reads as it always did.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::bucket::Salt;
use super::fraction::Fraction;
use super::rollout::Wave;
use crate::Timestamp;
use crate::digest::Digest;
use crate::json;
use crate::limits::REASON_LEN_MAX;
use crate::name::{ChannelName, Platform};
use crate::release::ReleaseName;
use crate::version::Version;

/// The document of one channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channel {
    /// 1.
    pub format: u32,
    /// What each platform is to run.
    #[serde(default)]
    pub platforms: BTreeMap<Platform, Stream>,
    /// Releases that this channel has left behind. The next publish drops them from `targets`, and then from here.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub retired: BTreeSet<ReleaseName>,
    /// Releases that nobody is to get from this channel any more, the latest last; at most
    /// [`YANKED_MAX`](crate::limits::YANKED_MAX). They stay here, for the devices that have one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub yanked: Vec<Yanked>,
}

/// A channel on one platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stream {
    /// The release that is fully out.
    pub current: Version,
    /// The one before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Version>,
    /// The one that is being rolled out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidate: Option<Candidate>,
    /// How many bits per second the server gives to all downloads of the release that was promoted last; without this, as
    /// many as it can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bits_per_sec: Option<u64>,
}

/// A release on its way out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// Its version.
    pub version: Version,
    /// What its devices' buckets are made with.
    pub salt: Salt,
    /// When it was promoted. Devices that were first seen later do not count for it.
    pub promoted: Timestamp,
    /// Whom it has reached.
    pub wave: Wave,
    /// That it is offered to nobody at present, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<Stop>,
}

/// That a rollout is stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// In which way.
    pub how: How,
    /// By whom.
    pub by: By,
    /// When.
    pub at: Timestamp,
    /// How long the wave had run by then, in seconds: it goes on from there.
    #[serde(default)]
    pub ran_secs: u64,
    /// Why.
    #[serde(default, skip_serializing_if = "Reason::is_empty")]
    pub reason: Reason,
}

/// How a rollout is stopped. Nobody gets it either way; a word that is not known is the stricter one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// For a while: nothing is said against it.
    Paused,
    /// Because something is wrong with it.
    #[serde(other)]
    Halted,
}

/// Who stopped a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// What devices reported of it.
    Reports,
    /// A person.
    #[serde(other)]
    Person,
}

/// A release that nobody is to get any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Yanked {
    /// Which.
    #[serde(flatten)]
    pub release: ReleaseName,
    /// Since when.
    pub at: Timestamp,
    /// Why.
    #[serde(default, skip_serializing_if = "Reason::is_empty")]
    pub reason: Reason,
}

/// A sentence of somebody's, for people: one line of at most [`REASON_LEN_MAX`] characters, however it was given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Reason(String);

impl Reason {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether nothing was said.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<&str> for Reason {
    fn from(text: &str) -> Self {
        let plain = text.chars().take(REASON_LEN_MAX).map(|c| if c.is_control() { ' ' } else { c });
        Self(plain.collect::<String>().trim().to_owned())
    }
}

impl From<String> for Reason {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<Reason> for String {
    fn from(reason: Reason) -> String {
        reason.0
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// How a channel stands on one platform, in a word; the later ones are more serious.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// One release, for everybody.
    Full,
    /// A candidate has reached some.
    Ramping,
    /// The candidate waits.
    Paused,
    /// The candidate was found wanting.
    Halted,
}

impl State {
    /// The word, as it is written in JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Ramping => "ramping",
            Self::Paused => "paused",
            Self::Halted => "halted",
        }
    }
}

impl Default for Channel {
    fn default() -> Self {
        Self { format: 1, platforms: BTreeMap::new(), retired: BTreeSet::new(), yanked: Vec::new() }
    }
}

impl Channel {
    /// The TUF target that carries the document of the channel `name`.
    pub fn target_path(name: &ChannelName) -> String {
        format!("channels/{name}")
    }

    /// A name for all that people decide about it. It stays as long as nobody decides anything; what was left behind is the
    /// server's own business, and does not count.
    pub fn revision(&self) -> Digest {
        let decided = Self { retired: BTreeSet::new(), ..self.clone() };
        Digest::of(&json::canonical(&serde_json::to_value(decided).expect("a channel is plain JSON")))
    }

    /// Every release that it points at: current and previous ones, and candidates.
    pub fn releases(&self) -> impl Iterator<Item = ReleaseName> + '_ {
        self.platforms.iter().flat_map(|(platform, stream)| stream.releases(platform))
    }

    /// That `release` was yanked, if it was.
    pub fn yanked(&self, release: &ReleaseName) -> Option<&Yanked> {
        self.yanked.iter().rev().find(|yanked| yanked.release == *release)
    }

    /// The candidate that `release` is, if it is one.
    pub fn candidate(&self, release: &ReleaseName) -> Option<&Candidate> {
        let candidate = self.platforms.get(&release.platform)?.candidate.as_ref();
        candidate.filter(|candidate| candidate.version == release.version)
    }
}

impl Stream {
    /// A stream that has this release fully out, and nothing else.
    pub fn of(current: Version, previous: Option<Version>) -> Self {
        Self { current, previous, candidate: None, max_bits_per_sec: None }
    }

    /// How it stands at `now`.
    pub fn state(&self, now: Timestamp) -> State {
        match self.candidate.as_ref().map(|candidate| (candidate, &candidate.stopped)) {
            None => State::Full,
            Some((_, Some(Stop { how: How::Paused, .. }))) => State::Paused,
            Some((_, Some(Stop { how: How::Halted, .. }))) => State::Halted,
            Some((candidate, None)) if candidate.fraction_at(now).is_full() => State::Full,
            Some((_, None)) => State::Ramping,
        }
    }

    /// The releases that it names: the candidate, the current one, the previous one.
    fn releases(&self, platform: &Platform) -> impl Iterator<Item = ReleaseName> + '_ {
        let candidate = self.candidate.as_ref().map(|candidate| &candidate.version);
        let versions = [candidate, Some(&self.current), self.previous.as_ref()];
        let platform = platform.clone();
        versions
            .into_iter()
            .flatten()
            .map(move |version| ReleaseName { platform: platform.clone(), version: version.clone() })
    }
}

impl Candidate {
    /// Whom it has reached at `now`; of a stopped one, whom it had reached by then.
    pub fn fraction_at(&self, now: Timestamp) -> Fraction {
        match &self.stopped {
            Some(stop) => self.wave.fraction_after(stop.ran_secs),
            None => self.wave.fraction_at(now),
        }
    }

    /// When it will have reached everybody, if nobody does anything until then.
    pub fn full_at(&self) -> Option<Timestamp> {
        let grows_to_all = self.stopped.is_none() && self.wave.to_ppm.is_full();
        grows_to_all.then(|| self.wave.ends())
    }
}
