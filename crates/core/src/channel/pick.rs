//! The decision which release a device gets: pure, total, and with its reasons.
//!
//! A device takes what is made for its own platform or for `any`; of the two the newer, and its own when they are equal. It
//! takes the newest release that nothing bars it from: a candidate when it lies in the wave, otherwise what is fully out,
//! and where that is not for it what was fully out before. It is never sent back, and never past a stepping stone.

use super::bucket::{Bucket, DeviceId};
use super::document::{Candidate, Channel, How, State, Stop, Yanked};
use super::fraction::Fraction;
use crate::Timestamp;
use crate::name::{ChannelName, Platform};
use crate::release::{Live, ReleaseName, Terms};
use crate::version::Version;

/// What a device says of itself when it asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Device<'a> {
    /// The channel that it follows.
    pub channel: &'a ChannelName,
    /// What it runs on.
    pub platform: &'a Platform,
    /// The version that it has, if it has one.
    pub version: Option<&'a Version>,
    /// Its random id. Without one it is outside of every wave that has not reached everybody.
    pub id: Option<&'a DeviceId>,
    /// The version of its operating system, if that is known.
    pub os: Option<&'a Version>,
    /// The version that its owner wants it to have and keep. Whoever names a version does not wait for its wave.
    pub pinned: Option<&'a Version>,
    /// Versions that it went back from. They are not for it; newer ones are.
    pub failed: &'a [Version],
    /// Listed releases whose terms its program is too old to understand. They are not for it, until it has a newer one.
    pub unreadable: &'a [ReleaseName],
}

impl<'a> Device<'a> {
    /// A device that says no more of itself than it must.
    pub fn new(channel: &'a ChannelName, platform: &'a Platform, version: Option<&'a Version>) -> Self {
        Self { channel, platform, version, id: None, os: None, pinned: None, failed: &[], unreadable: &[] }
    }
}

/// Which release a device gets, and why. It displays as a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pick {
    /// The release to install now: newer than what the device has. Nothing: it stays as it is.
    pub take: Option<ReleaseName>,
    /// Why that one, or why none.
    pub why: Why,
    /// Whether its publisher says that this device must update.
    pub mandatory: bool,
    /// Newer releases that are not for this device, or not yet; the newest first.
    pub passed: Vec<Passed>,
    /// That the release which the device has was yanked: it stays, and its owner should know.
    pub yanked: Option<Yanked>,
}

/// Why a device gets what it gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// It is the newest that is fully out.
    Current,
    /// It is being rolled out, and the device lies in the wave.
    Candidate {
        /// Where the device is; a wave that has reached everybody does not ask.
        bucket: Option<Bucket>,
        /// How far the wave has come.
        fraction: Fraction,
    },
    /// It was fully out before, and what is newer is not for this device.
    Previous,
    /// The device must pass through it on its way.
    SteppingStone {
        /// Where it is going.
        toward: ReleaseName,
    },
    /// The owner of the device wants this version, and no other.
    Pinned {
        /// Which.
        version: Version,
    },
    /// The device has the newest that is for it.
    UpToDate {
        /// Which.
        version: Version,
    },
    /// The device has something newer than the channel has for it; versions only go forward.
    Ahead {
        /// What the device has.
        version: Version,
        /// What the channel has.
        channel: ReleaseName,
    },
    /// The channel has nothing for its platform.
    NotForPlatform {
        /// What the device is.
        platform: Platform,
        /// What the channel has something for.
        platforms: Vec<Platform>,
    },
    /// There is nothing that it may have.
    Nothing,
}

/// A release that a device does not get, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passed {
    /// Which.
    pub release: ReleaseName,
    /// Why.
    pub bar: Bar,
}

/// What is between a device and a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bar {
    /// The channel points at it, and its publisher does not list it. No honest server does that.
    Unlisted,
    /// The channel points at it, and its publisher does not allow that. No honest server does that.
    NotAllowed,
    /// Nobody is to get it any more.
    Yanked(Box<Yanked>),
    /// What its publisher says of it needs a newer program to be understood.
    NewerProgram,
    /// It needs a newer operating system.
    NotForOs {
        /// What it needs.
        needs: Box<Version>,
        /// What the device has, if that is known.
        has: Option<Box<Version>>,
    },
    /// This device had it and went back.
    Failed,
    /// Its rollout is stopped.
    Stopped(Box<Stop>),
    /// The wave has not reached this device.
    OutsideWave {
        /// Where the device is; one without an id is nowhere.
        bucket: Option<Bucket>,
        /// How far the wave has come.
        fraction: Fraction,
    },
    /// A release that has to come before it is not to be had.
    SteppingStone {
        /// Which.
        stone: Version,
        /// Why not.
        bar: Box<Bar>,
    },
    /// It is older than what the device has.
    Older,
}

/// Which of the `live` releases a device gets from `channel` at `now`.
pub fn pick(channel: &Channel, live: &Live, device: &Device<'_>, now: Timestamp) -> Pick {
    let scene = Scene { channel, live, device, now };
    let mut pick = match device.pinned {
        Some(version) => scene.pinned(version),
        None => scene.newest(),
    };
    pick.yanked = device.version.and_then(|version| scene.yanked(version)).cloned();
    pick
}

/// Everything that the decision hangs on.
struct Scene<'a> {
    channel: &'a Channel,
    live: &'a Live,
    device: &'a Device<'a>,
    now: Timestamp,
}

impl Scene<'_> {
    /// The newest release that nothing bars the device from.
    fn newest(&self) -> Pick {
        let offered = self.offered();
        let mut passed = Vec::new();
        for name in offered.iter().filter(|name| self.is_newer(&name.version)) {
            match self.way_to(name) {
                Ok(step) => return self.take(name, step, passed),
                Err(bar) => passed.push(Passed { release: name.clone(), bar }),
            }
        }
        Pick { take: None, why: self.why_nothing(&offered), mandatory: false, passed, yanked: None }
    }

    /// Why the device stays as it is, when nothing that is `offered` is newer and for it.
    fn why_nothing(&self, offered: &[ReleaseName]) -> Why {
        if offered.is_empty() {
            let platforms = self.channel.platforms.keys().cloned().collect();
            return Why::NotForPlatform { platform: self.device.platform.clone(), platforms };
        }
        let Some(have) = self.device.version else {
            return Why::Nothing;
        };
        let is_reached = |name: &&ReleaseName| name.version <= *have && self.channel.yanked(name).is_none();
        match offered.iter().find(is_reached) {
            Some(name) if name.version == *have => Why::UpToDate { version: have.clone() },
            Some(name) => Why::Ahead { version: have.clone(), channel: name.clone() },
            None => Why::Nothing,
        }
    }

    /// What the owner wants: this version if it is not here yet, and then nothing else.
    fn pinned(&self, version: &Version) -> Pick {
        let why = Why::Pinned { version: version.clone() };
        let stay = |passed| Pick { take: None, why: why.clone(), mandatory: false, passed, yanked: None };
        if self.device.version == Some(version) {
            return stay(Vec::new());
        }
        let found = self.find(version);
        let wanted = found.unwrap_or_else(|| self.names(version)[0].clone());
        let way = if self.is_newer(version) { self.way_to(&wanted) } else { Err(Bar::Older) };
        match way {
            Ok(step) => {
                let why = if step == wanted { why } else { Why::SteppingStone { toward: wanted.clone() } };
                Pick { why, ..self.take(&wanted, step, Vec::new()) }
            }
            Err(bar) => stay(vec![Passed { release: wanted, bar }]),
        }
    }

    /// Takes `step` on the way to `goal`.
    fn take(&self, goal: &ReleaseName, step: ReleaseName, passed: Vec<Passed>) -> Pick {
        let why = if step == *goal { self.why(goal) } else { Why::SteppingStone { toward: goal.clone() } };
        let is_mandatory = |name: &ReleaseName| {
            let terms = self.live.get(name).zip(self.device.version);
            terms.is_some_and(|(terms, have)| terms.is_mandatory_for(have))
        };
        let mandatory = is_mandatory(goal) || is_mandatory(&step);
        Pick { take: Some(step), why, mandatory, passed, yanked: None }
    }

    fn why(&self, name: &ReleaseName) -> Why {
        if let Some(candidate) = self.channel.candidate(name) {
            let fraction = candidate.fraction_at(self.now);
            let bucket = self.device.id.map(|id| Bucket::of(&candidate.salt, id));
            return Why::Candidate { bucket: bucket.filter(|_| !fraction.is_full()), fraction };
        }
        let stream = self.channel.platforms.get(&name.platform);
        if stream.is_some_and(|stream| stream.current == name.version) { Why::Current } else { Why::Previous }
    }

    /// The next release on the way to `goal`: that itself, or the first stepping stone before it.
    ///
    /// Only the goal is asked for stones: each release lists all of its own. Were a stone asked as well, one that its
    /// publisher has dropped since, or for which the list has no room any more, would hold old devices for ever.
    fn way_to(&self, goal: &ReleaseName) -> Result<ReleaseName, Bar> {
        let goal = self.passable(goal)?;
        let Some(stone) = self.stone_before(&goal) else {
            return Ok(goal);
        };
        let found = self.stone(stone).ok_or(Bar::Unlisted);
        let step = found.and_then(|found| self.passable(&found));
        step.map_err(|bar| Bar::SteppingStone { stone: stone.clone(), bar: Box::new(bar) })
    }

    /// The first stepping stone that lies between the device and `goal`.
    fn stone_before(&self, goal: &ReleaseName) -> Option<&Version> {
        let have = self.device.version?;
        let is_between = |stone: &&Version| have < *stone && **stone < goal.version;
        let listed = self.live.get(goal)?.first_stone(have, &goal.version);
        self.own_stones(goal).filter(is_between).chain(listed).min()
    }

    /// The stones that the device's own platform alone has on the way to `goal`. What is for `any` lists none of them: only
    /// that platform's own releases tell.
    fn own_stones(&self, goal: &ReleaseName) -> impl Iterator<Item = &Version> {
        let platform = self.device.platform;
        let asked = goal.platform.is_any() && !platform.is_any();
        let is_before = move |(name, terms): &(&ReleaseName, &Terms)| {
            asked
                && name.platform == *platform
                && name.version < goal.version
                && terms.allows_channel(self.device.channel)
        };
        let named = self.live.iter().filter(is_before).flat_map(|(_, terms)| &terms.stepping_stones);
        named.filter(|stone| self.live.contains_key(&self.names(stone)[0]))
    }

    /// `name` as its publisher spelt it, if nothing is between it and the device.
    fn passable(&self, name: &ReleaseName) -> Result<ReleaseName, Bar> {
        if let Some(yanked) = self.channel.yanked(name) {
            return Err(Bar::Yanked(Box::new(yanked.clone())));
        }
        if self.device.unreadable.contains(name) {
            return Err(Bar::NewerProgram);
        }
        let (name, terms) = self.live.get_key_value(name).ok_or(Bar::Unlisted)?;
        self.check_terms(terms)?;
        if self.device.failed.contains(&name.version) {
            return Err(Bar::Failed);
        }
        self.check_wave(name)?;
        Ok(name.clone())
    }

    fn check_terms(&self, terms: &Terms) -> Result<(), Bar> {
        if !terms.allows_channel(self.device.channel) {
            return Err(Bar::NotAllowed);
        }
        match (terms.min_os_for(self.device.platform), self.device.os) {
            (Some(needs), has) if has.is_none_or(|has| has < needs) => {
                Err(Bar::NotForOs { needs: Box::new(needs.clone()), has: has.cloned().map(Box::new) })
            }
            _ => Ok(()),
        }
    }

    fn check_wave(&self, name: &ReleaseName) -> Result<(), Bar> {
        let Some(candidate) = self.channel.candidate(name) else {
            return Ok(());
        };
        if let Some(stop) = &candidate.stopped {
            return Err(Bar::Stopped(Box::new(stop.clone())));
        }
        let fraction = candidate.fraction_at(self.now);
        let bucket = self.device.id.map(|id| Bucket::of(&candidate.salt, id));
        let is_chosen = self.device.pinned == Some(&name.version);
        if is_chosen || fraction.is_full() || bucket.is_some_and(|bucket| bucket.is_in(fraction)) {
            return Ok(());
        }
        Err(Bar::OutsideWave { bucket, fraction })
    }

    /// What the channel names for this device, yanked releases too: the newest first, its own platform before `any`.
    fn offered(&self) -> Vec<ReleaseName> {
        let is_mine = |platform: &Platform| platform == self.device.platform || platform.is_any();
        let named = self.channel.releases().filter(|name| !self.is_left_behind(name));
        let yanked = self.channel.yanked.iter().map(|yanked| yanked.release.clone());
        let mut names: Vec<_> = named.chain(yanked).filter(|name| is_mine(&name.platform)).collect();
        names.sort_by(|a, b| b.version.cmp(&a.version).then(a.platform.is_any().cmp(&b.platform.is_any())));
        names.dedup();
        names
    }

    /// Whether a candidate that has reached everybody pushes `name` out of the channel. The server notes that later
    /// ([`Channel::settled`]); a device is not to notice when.
    fn is_left_behind(&self, name: &ReleaseName) -> bool {
        let Some(stream) = self.channel.platforms.get(&name.platform) else {
            return false;
        };
        let is_named = |version: &Version| *version == name.version;
        let reached = stream.candidate.as_ref().filter(|_| stream.state(self.now) == State::Full);
        let stays = |candidate: &Candidate| is_named(&candidate.version) || is_named(&stream.current);
        reached.is_some_and(|candidate| !stays(candidate))
    }

    fn names(&self, version: &Version) -> [ReleaseName; 2] {
        [self.device.platform.clone(), Platform::any()]
            .map(|platform| ReleaseName { platform, version: version.clone() })
    }

    /// The live release of this version for the device: its own platform's before that for `any`.
    fn find(&self, version: &Version) -> Option<ReleaseName> {
        let names = self.names(version);
        let listed = |name: &ReleaseName| self.live.get_key_value(name).map(|(name, _)| name.clone());
        let unreadable = |name: &&ReleaseName| self.device.unreadable.contains(name);
        names.iter().find_map(listed).or_else(|| names.iter().find(unreadable).cloned())
    }

    /// The same of a stepping stone: one that this channel may have before one that it may not.
    fn stone(&self, version: &Version) -> Option<ReleaseName> {
        let is_allowed =
            |name: &&ReleaseName| self.live.get(name).is_some_and(|terms| terms.allows_channel(self.device.channel));
        let allowed = self.names(version).iter().find(is_allowed).cloned();
        allowed.or_else(|| self.find(version))
    }

    fn yanked(&self, version: &Version) -> Option<&Yanked> {
        self.names(version).iter().find_map(|name| self.channel.yanked(name))
    }

    fn is_newer(&self, version: &Version) -> bool {
        self.device.version.is_none_or(|have| version > have)
    }
}

impl Why {
    /// The reason as a word that does not change.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Candidate { .. } => "candidate",
            Self::Previous => "previous",
            Self::SteppingStone { .. } => "stepping_stone",
            Self::Pinned { .. } => "pinned",
            Self::UpToDate { .. } => "up_to_date",
            Self::Ahead { .. } => "ahead",
            Self::NotForPlatform { .. } => "not_for_platform",
            Self::Nothing => "nothing",
        }
    }
}

impl Bar {
    /// The reason as a word that does not change.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Unlisted => "unlisted",
            Self::NotAllowed => "not_allowed",
            Self::Yanked(_) => "yanked",
            Self::NewerProgram => "newer_program",
            Self::NotForOs { .. } => "not_for_os",
            Self::Failed => "failed",
            Self::Stopped(stop) => match stop.how {
                How::Paused => "paused",
                How::Halted => "halted",
            },
            Self::OutsideWave { .. } => "outside_wave",
            Self::SteppingStone { .. } => "stepping_stone",
            Self::Older => "older",
        }
    }
}
