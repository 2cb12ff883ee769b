//! What people do to a channel: a document in, a document out, or an error that names what is wrong.
//!
//! What holds already is no error and changes nothing, so a verb whose answer was lost can be said again. Nothing here makes
//! a channel go back: a yank takes away what was wrong, and what was fully out before it is so again.

use serde::{Deserialize, Serialize};

use super::bucket::Salt;
use super::document::{By, Candidate, Channel, How, Reason, Stop, Stream, Yanked};
use super::rollout::{Rollout, Wave};
use crate::Timestamp;
use crate::limits::YANKED_MAX;
use crate::name::{ChannelName, Platform};
use crate::release::{Live, ReleaseName};
use crate::version::Version;

/// The most names that an error lists.
const NAMED_MAX: usize = 10;

/// Why a channel cannot be changed as it was told to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is there already, or ahead.
    #[error("channel {channel} is at {current} already; {wanted} is not newer")]
    NotNewer {
        /// The channel.
        channel: ChannelName,
        /// What it has on that platform.
        current: Box<ReleaseName>,
        /// What was asked for.
        wanted: Box<ReleaseName>,
    },
    /// It is rolling out something newer.
    #[error(
        "channel {channel} is rolling out {candidate}; {wanted} is not newer; yank {candidate} first if it is no good"
    )]
    NewerCandidate {
        /// The channel.
        channel: ChannelName,
        /// What it is rolling out on that platform.
        candidate: Box<ReleaseName>,
        /// What was asked for.
        wanted: Box<ReleaseName>,
    },
    /// Nobody is to get it any more.
    #[error("release {} was yanked from channel {channel} at {}{}; promote a newer one", .yanked.release, .yanked.at, why(&.yanked.reason))]
    Yanked {
        /// The channel.
        channel: ChannelName,
        /// What was asked for.
        yanked: Box<Yanked>,
    },
    /// Its publisher keeps it to other channels.
    #[error("release {wanted} is for channel {} only, not for {channel}; its publisher has the last word", named(.allowed))]
    NotAllowed {
        /// The channel.
        channel: ChannelName,
        /// What was asked for.
        wanted: Box<ReleaseName>,
        /// The channels that it is for.
        allowed: Vec<ChannelName>,
    },
    /// Nothing of that name is live.
    #[error("there is no live release {wanted}; {}", there_are(.live))]
    NoRelease {
        /// What was asked for.
        wanted: Box<ReleaseName>,
        /// What is live on that platform, the newest first.
        live: Vec<Version>,
    },
    /// There is no rollout to change.
    #[error("channel {channel} is rolling out nothing{}", .platform.as_ref().map_or(String::new(), |p| format!(" for {p}")))]
    NoCandidate {
        /// The channel.
        channel: ChannelName,
        /// The platform that was named, if one was.
        platform: Option<Platform>,
    },
    /// It was stopped, and going on would undo that silently.
    #[error("the rollout of {candidate} on channel {channel} is {stop}; resume it first, or promote a newer release")]
    Stopped {
        /// The channel.
        channel: ChannelName,
        /// What it is rolling out.
        candidate: Box<ReleaseName>,
        /// How it was stopped.
        stop: Box<Stop>,
    },
    /// Those outside the wave would get nothing.
    #[error("channel {channel} has nothing fully out{} but {wanted}: {remedy}", on(.wanted))]
    NothingElse {
        /// The channel.
        channel: ChannelName,
        /// What was asked for.
        wanted: Box<ReleaseName>,
        /// What to do instead.
        remedy: &'static str,
    },
}

fn why(reason: &Reason) -> String {
    if reason.is_empty() { String::new() } else { format!(" ({reason})") }
}

fn on(wanted: &ReleaseName) -> String {
    if wanted.platform.is_any() { String::new() } else { format!(" for {}", wanted.platform) }
}

fn named(allowed: &[ChannelName]) -> String {
    let names: Vec<_> = allowed.iter().take(NAMED_MAX).map(ChannelName::as_str).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(" and ") }
}

fn there_are(live: &[Version]) -> String {
    let names: Vec<_> = live.iter().take(NAMED_MAX).map(Version::as_str).collect();
    match live.len() {
        0 => "none is live on that platform; publish it first".to_owned(),
        len if len > names.len() => format!("live are {}, and {} more", names.join(", "), len - names.len()),
        _ => format!("live: {}", names.join(", ")),
    }
}

/// What is to be done to a channel. Without a platform, all of its rollouts are meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case", deny_unknown_fields)]
pub enum Verb {
    /// Points it at a release: at once for everybody, or as a candidate that is rolled out.
    Promote {
        /// Which.
        release: ReleaseName,
        /// To whom first; without this to everybody.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rollout: Option<Rollout>,
        /// How many bits per second all downloads of it may take.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max_bits_per_sec: Option<u64>,
    },
    /// Gives a candidate another fraction or ramp, from now on. A smaller one takes the offer from some who had it.
    Rollout {
        /// Of which platform.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        platform: Option<Platform>,
        /// The new one.
        rollout: Rollout,
    },
    /// Stops a rollout for a while.
    Pause {
        /// Of which platform.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        platform: Option<Platform>,
        /// Why.
        #[serde(default, skip_serializing_if = "Reason::is_empty")]
        reason: Reason,
    },
    /// Stops a rollout because something is wrong with it.
    Halt {
        /// Of which platform.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        platform: Option<Platform>,
        /// Why.
        #[serde(default, skip_serializing_if = "Reason::is_empty")]
        reason: Reason,
    },
    /// Lets a stopped rollout go on from where it was.
    Resume {
        /// Of which platform.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        platform: Option<Platform>,
    },
    /// Takes a release away: nobody gets it from this channel any more. Those who have it are told and stay on it.
    Yank {
        /// Which.
        release: ReleaseName,
        /// Why.
        #[serde(default, skip_serializing_if = "Reason::is_empty")]
        reason: Reason,
    },
}

impl Verb {
    /// Whether `channel` gives everybody already what this promotes: then it was said before, and its answer was lost.
    pub fn is_done(&self, channel: &Channel) -> bool {
        let Self::Promote { release, rollout, max_bits_per_sec: None } = self else { return false };
        let stream = channel.platforms.get(&release.platform);
        rollout.is_none_or(|rollout| rollout.is_full())
            && stream.is_some_and(|stream| stream.current == release.version)
    }
}

/// What a verb needs to know: where, of what, when, by whom.
#[derive(Debug, Clone, Copy)]
pub struct Moment<'a> {
    /// The name of the channel.
    pub channel: &'a ChannelName,
    /// The releases that the publisher lists.
    pub live: &'a Live,
    /// When it is done.
    pub now: Timestamp,
    /// Who does it.
    pub by: By,
    /// 16 random bytes, drawn for this verb. A candidate that is new takes them.
    pub salt: Salt,
}

impl Moment<'_> {
    /// The live release `wanted`, as its publisher spelt it, if this channel may point at it.
    fn find(&self, wanted: &ReleaseName) -> Result<ReleaseName, Error> {
        let Some((name, terms)) = self.live.get_key_value(wanted) else { return Err(self.no_release(wanted)) };
        if !terms.allows_channel(self.channel) {
            let allowed = terms.channels.clone().unwrap_or_default();
            return Err(Error::NotAllowed { channel: self.channel.clone(), wanted: Box::new(name.clone()), allowed });
        }
        Ok(name.clone())
    }

    fn no_release(&self, wanted: &ReleaseName) -> Error {
        let on_platform = self.live.keys().filter(|name| name.platform == wanted.platform);
        let mut live: Vec<_> = on_platform.map(|name| name.version.clone()).collect();
        live.sort_by(|a, b| b.cmp(a));
        Error::NoRelease { wanted: Box::new(wanted.clone()), live }
    }

    /// Now, in whole seconds: a document shows no others.
    fn second(&self) -> Timestamp {
        Timestamp::from_second(self.now.as_second()).unwrap_or(self.now)
    }
}

impl Channel {
    /// This channel after `verb`.
    ///
    /// # Errors
    /// When it cannot be done, or should not. What holds already is success, but for a release that is current already.
    pub fn apply(self, verb: &Verb, at: &Moment<'_>) -> Result<Self, Error> {
        match verb {
            Verb::Promote { release, rollout, max_bits_per_sec } => {
                let release = at.find(release)?;
                let mut next = match rollout.filter(|rollout| !rollout.is_full()) {
                    None => self.promote(at.channel, &release)?,
                    Some(rollout) => self.roll_out(&release, rollout, at)?,
                };
                if let Some(stream) = next.platforms.get_mut(&release.platform) {
                    stream.max_bits_per_sec = *max_bits_per_sec;
                }
                Ok(next)
            }
            Verb::Rollout { platform, rollout } => self.change_rollout(platform.as_ref(), *rollout, at),
            Verb::Pause { platform, reason } => self.stop(platform.as_ref(), How::Paused, reason, at),
            Verb::Halt { platform, reason } => self.stop(platform.as_ref(), How::Halted, reason, at),
            Verb::Resume { platform } => self.resume(platform.as_ref(), at),
            Verb::Yank { release, reason } => self.yank(release, reason, at),
        }
    }

    /// This channel with `release` as the current one of its platform, for everybody at once. Whether it is live and
    /// allowed here the caller knows; [`apply`](Self::apply) looks.
    ///
    /// # Errors
    /// When the channel has that release or a newer one already: versions only go forward. When the release was yanked, or
    /// its own rollout is stopped.
    pub fn promote(mut self, channel: &ChannelName, release: &ReleaseName) -> Result<Self, Error> {
        self.check_forward(channel, release)?;
        let ReleaseName { platform, version } = release.clone();
        let previous = self.platforms.remove(&platform).map(|stream| {
            let left = [stream.previous, stream.candidate.map(|candidate| candidate.version)];
            self.retire(&platform, left.into_iter().flatten());
            stream.current
        });
        self.retired.remove(release);
        self.platforms.insert(platform, Stream::of(version, previous));
        Ok(self)
    }

    /// This channel where every candidate that has reached everybody is current. The server does this from time to time;
    /// [`pick`](super::pick()) gives everybody the same before and after.
    #[must_use]
    pub fn settled(mut self, now: Timestamp) -> Self {
        let is_done = |candidate: &Candidate| candidate.stopped.is_none() && candidate.fraction_at(now).is_full();
        for (platform, stream) in &mut self.platforms {
            let Some(candidate) = stream.candidate.take_if(|candidate| is_done(candidate)) else { continue };
            let current = std::mem::replace(&mut stream.current, candidate.version);
            let left = stream.previous.replace(current);
            self.retired.extend(left.map(|version| ReleaseName { platform: platform.clone(), version }));
        }
        self
    }

    /// Refuses what is no step forward, and what a person or the reports stopped.
    fn check_forward(&self, channel: &ChannelName, release: &ReleaseName) -> Result<(), Error> {
        let (channel, wanted) = (channel.clone(), Box::new(release.clone()));
        let boxed =
            |version: &Version| Box::new(ReleaseName { platform: release.platform.clone(), version: version.clone() });
        if let Some(yanked) = self.yanked(release) {
            return Err(Error::Yanked { channel, yanked: Box::new(yanked.clone()) });
        }
        let Some(stream) = self.platforms.get(&release.platform) else { return Ok(()) };
        if stream.current >= release.version {
            return Err(Error::NotNewer { channel, current: boxed(&stream.current), wanted });
        }
        match &stream.candidate {
            Some(candidate) if candidate.version > release.version => {
                Err(Error::NewerCandidate { channel, candidate: boxed(&candidate.version), wanted })
            }
            Some(Candidate { version, stopped: Some(stop), .. }) if *version == release.version => {
                Err(Error::Stopped { channel, candidate: boxed(version), stop: Box::new(stop.clone()) })
            }
            _ => Ok(()),
        }
    }

    /// `release` as the candidate of its platform. One that is so already keeps its salt, and gets another wave.
    fn roll_out(mut self, release: &ReleaseName, rollout: Rollout, at: &Moment<'_>) -> Result<Self, Error> {
        self.check_forward(at.channel, release)?;
        let Some(stream) = self.platforms.get_mut(&release.platform) else {
            let remedy = "those outside the wave would get nothing; promote it to everybody";
            return Err(Error::NothingElse { channel: at.channel.clone(), wanted: Box::new(release.clone()), remedy });
        };
        let now = at.second();
        let wave = Wave::begin(rollout, now);
        let new = Candidate { version: release.version.clone(), salt: at.salt, promoted: now, wave, stopped: None };
        match stream.candidate.replace(new) {
            Some(before) if before.version == release.version => stream.candidate = Some(Candidate { wave, ..before }),
            left => self.retire(&release.platform, left.map(|candidate| candidate.version)),
        }
        self.retired.remove(release);
        Ok(self)
    }

    fn change_rollout(mut self, platform: Option<&Platform>, rollout: Rollout, at: &Moment<'_>) -> Result<Self, Error> {
        let wave = Wave::begin(rollout, at.second());
        for (platform, candidate) in self.candidates(platform, at)? {
            if let (true, Some(stop)) = (rollout.is_full(), &candidate.stopped) {
                let candidate = Box::new(ReleaseName { platform, version: candidate.version.clone() });
                return Err(Error::Stopped { channel: at.channel.clone(), candidate, stop: Box::new(stop.clone()) });
            }
            candidate.wave = wave;
            // A stopped one goes on with the new wave from its beginning.
            candidate.stopped.iter_mut().for_each(|stop| stop.ran_secs = 0);
        }
        Ok(if rollout.is_full() { self.settled(at.now) } else { self })
    }

    fn stop(mut self, platform: Option<&Platform>, how: How, reason: &Reason, at: &Moment<'_>) -> Result<Self, Error> {
        for (_, candidate) in self.candidates(platform, at)? {
            // A halt is never softened to a pause, and keeps the first reason.
            if candidate.stopped.as_ref().is_some_and(|stop| stop.how >= how) {
                continue;
            }
            let ran_secs = candidate.stopped.as_ref().map_or(candidate.wave.ran_secs(at.now), |stop| stop.ran_secs);
            let stop = Stop { how, by: at.by, at: at.second(), ran_secs, reason: reason.clone() };
            candidate.stopped = Some(stop);
        }
        Ok(self)
    }

    fn resume(mut self, platform: Option<&Platform>, at: &Moment<'_>) -> Result<Self, Error> {
        for (_, candidate) in self.candidates(platform, at)? {
            if let Some(stop) = candidate.stopped.take() {
                candidate.wave = candidate.wave.going_on(stop.ran_secs, at.second());
            }
        }
        Ok(self)
    }

    fn yank(mut self, release: &ReleaseName, reason: &Reason, at: &Moment<'_>) -> Result<Self, Error> {
        if self.yanked(release).is_some() {
            return Ok(self);
        }
        let known = at.live.get_key_value(release).map(|(name, _)| name.clone());
        let Some(release) = known.or_else(|| self.releases().find(|name| name == release)) else {
            return Err(at.no_release(release));
        };
        self.withdraw(&release, at.channel)?;
        self.retired.insert(release.clone());
        self.yanked.push(Yanked { release, at: at.second(), reason: reason.clone() });
        let surplus = self.yanked.len().saturating_sub(YANKED_MAX);
        self.yanked.drain(..surplus);
        Ok(self)
    }

    /// Points nowhere at `release` any more. What was fully out before it is so again.
    fn withdraw(&mut self, release: &ReleaseName, channel: &ChannelName) -> Result<(), Error> {
        let Some(stream) = self.platforms.get_mut(&release.platform) else { return Ok(()) };
        stream.candidate.take_if(|candidate| candidate.version == release.version);
        if stream.current == release.version {
            match stream.previous.take() {
                Some(previous) => stream.current = previous,
                None if stream.candidate.is_some() => {
                    let remedy = "those outside the wave would get nothing; promote the candidate to everybody first, or yank it";
                    let wanted = Box::new(release.clone());
                    return Err(Error::NothingElse { channel: channel.clone(), wanted, remedy });
                }
                None => drop(self.platforms.remove(&release.platform)),
            }
        } else if stream.previous.as_ref() == Some(&release.version) {
            stream.previous = None;
        }
        Ok(())
    }

    /// The candidates of one platform, or of all.
    fn candidates<'a>(
        &'a mut self,
        platform: Option<&Platform>,
        at: &Moment<'_>,
    ) -> Result<Vec<(Platform, &'a mut Candidate)>, Error> {
        let streams = self.platforms.iter_mut().filter(|(on, _)| platform.is_none_or(|platform| platform == *on));
        let found: Vec<_> = streams.filter_map(|(on, stream)| Some((on.clone(), stream.candidate.as_mut()?))).collect();
        if found.is_empty() {
            return Err(Error::NoCandidate { channel: at.channel.clone(), platform: platform.cloned() });
        }
        Ok(found)
    }

    fn retire(&mut self, platform: &Platform, left: impl IntoIterator<Item = Version>) {
        let left = left.into_iter().map(|version| ReleaseName { platform: platform.clone(), version });
        self.retired.extend(left);
    }
}
