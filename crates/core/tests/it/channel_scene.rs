//! An app on the channel `stable`, and devices that ask.

use updraft_core::Timestamp;
use updraft_core::channel::{By, Channel, Device, DeviceId, Error, Moment, Pick, Salt, Verb, pick};
use updraft_core::name::{ChannelName, Platform};
use updraft_core::release::{Live, ReleaseName, Terms};
use updraft_core::version::Version;

/// So many seconds after the beginning.
pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_767_323_045 + second).unwrap()
}

pub(crate) const HOUR: i64 = 3_600;

pub(crate) fn version(text: &str) -> Version {
    text.parse().unwrap()
}

/// A release for any platform, or `1.0 for linux-x86_64`.
pub(crate) fn name(text: &str) -> ReleaseName {
    let (number, platform) = text.split_once(" for ").unwrap_or((text, "any"));
    ReleaseName { platform: platform.parse().unwrap(), version: version(number) }
}

/// What a publisher listed and a channel says.
#[derive(Debug, Clone, Default)]
pub(crate) struct App {
    pub(crate) live: Live,
    pub(crate) channel: Channel,
}

impl App {
    /// These releases, the first fully out.
    pub(crate) fn new(releases: &[&str]) -> Self {
        let live = releases.iter().map(|text| (name(text), Terms::default())).collect();
        let mut app = Self { live, channel: Channel::default() };
        app.promote(releases[0], None, 0);
        app
    }

    /// Lists one more release, with what it takes over.
    pub(crate) fn publish(&mut self, release: &str, terms: Terms) {
        let release = name(release);
        let terms = terms.following(&release, &self.live);
        self.live.insert(release, terms);
    }

    pub(crate) fn promote(&mut self, release: &str, rollout: Option<&str>, second: i64) {
        self.tell(&promote(release, rollout), second).unwrap();
    }

    /// Does what a person says.
    pub(crate) fn tell(&mut self, verb: &Verb, second: i64) -> Result<(), Error> {
        self.say(verb, second, By::Person)
    }

    pub(crate) fn say(&mut self, verb: &Verb, second: i64, by: By) -> Result<(), Error> {
        let (channel, salt) = (ChannelName::stable(), Salt::from_bytes((second as i128).to_le_bytes()));
        let moment = Moment { channel: &channel, live: &self.live, now: at(second), by, salt };
        self.channel = self.channel.clone().apply(verb, &moment)?;
        Ok(())
    }
}

pub(crate) fn promote(release: &str, rollout: Option<&str>) -> Verb {
    let rollout = rollout.map(|text| text.parse().unwrap());
    Verb::Promote { release: name(release), rollout, max_bits_per_sec: None }
}

pub(crate) fn rollout(text: &str) -> Verb {
    Verb::Rollout { platform: None, rollout: text.parse().unwrap() }
}

pub(crate) fn pause(reason: &str) -> Verb {
    Verb::Pause { platform: None, reason: reason.into() }
}

pub(crate) fn halt(reason: &str) -> Verb {
    Verb::Halt { platform: None, reason: reason.into() }
}

pub(crate) fn resume() -> Verb {
    Verb::Resume { platform: None }
}

pub(crate) fn yank(release: &str, reason: &str) -> Verb {
    Verb::Yank { release: name(release), reason: reason.into() }
}

/// A device on `linux-x86_64` that follows `stable`.
#[derive(Debug, Clone)]
pub(crate) struct Copy {
    pub(crate) platform: Platform,
    pub(crate) version: Option<Version>,
    pub(crate) id: Option<DeviceId>,
    pub(crate) os: Option<Version>,
    pub(crate) pinned: Option<Version>,
    pub(crate) failed: Vec<Version>,
    pub(crate) unreadable: Vec<ReleaseName>,
}

impl Copy {
    /// One that has this version.
    pub(crate) fn on(text: &str) -> Self {
        Self { version: Some(version(text)), ..Self::fresh() }
    }

    /// One that has none.
    pub(crate) fn fresh() -> Self {
        let platform = "linux-x86_64".parse().unwrap();
        let (failed, unreadable) = (Vec::new(), Vec::new());
        Self { platform, version: None, id: None, os: None, pinned: None, failed, unreadable }
    }

    /// The same with an id; each number is another device.
    pub(crate) fn numbered(self, number: u128) -> Self {
        Self { id: Some(DeviceId::from_bytes(number.to_le_bytes())), ..self }
    }

    pub(crate) fn pick(&self, app: &App, second: i64) -> Pick {
        self.ask(&app.channel, &app.live, at(second))
    }

    pub(crate) fn ask(&self, channel: &Channel, live: &Live, now: Timestamp) -> Pick {
        let stable = ChannelName::stable();
        let device = Device {
            channel: &stable,
            platform: &self.platform,
            version: self.version.as_ref(),
            id: self.id.as_ref(),
            os: self.os.as_ref(),
            pinned: self.pinned.as_ref(),
            failed: &self.failed,
            unreadable: &self.unreadable,
        };
        pick(channel, live, &device, now)
    }
}

/// What a device gets, as text: `1.2`, or nothing.
pub(crate) fn taken(pick: &Pick) -> Option<String> {
    pick.take.as_ref().map(ToString::to_string)
}

/// The words of a pick: why, and what was passed.
pub(crate) fn words(pick: &Pick) -> Vec<&'static str> {
    let passed = pick.passed.iter().map(|passed| passed.bar.word());
    [pick.why.word()].into_iter().chain(passed).collect()
}
