//! Channels, and the decision which release a device gets.
//!
//! A channel is a named stream that points, for each platform, at the release that is fully out. Its document lies in the
//! `custom` of the target `channels/NAME`, signed by the online role `channels`; it can only choose among releases that
//! the publisher signed. [`pick`] is the whole decision, pure and total.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

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
}

/// A channel on one platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stream {
    /// The release that is fully out.
    pub current: Version,
    /// The one before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Version>,
}

/// Why a channel cannot point where it was told to.
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
}

impl Default for Channel {
    fn default() -> Self {
        Self { format: 1, platforms: BTreeMap::new(), retired: BTreeSet::new() }
    }
}

impl Channel {
    /// The TUF target that carries the document of the channel `name`.
    pub fn target_path(name: &ChannelName) -> String {
        format!("channels/{name}")
    }

    /// This channel with `release` as the current one of its platform.
    ///
    /// # Errors
    /// When it has that release or a newer one already: versions only go forward.
    pub fn promote(mut self, channel: &ChannelName, release: &ReleaseName) -> Result<Self, Error> {
        let ReleaseName { platform, version } = release.clone();
        let previous = match self.platforms.remove(&platform) {
            Some(stream) if stream.current >= version => {
                let current = Box::new(ReleaseName { platform, version: stream.current });
                return Err(Error::NotNewer { channel: channel.clone(), current, wanted: Box::new(release.clone()) });
            }
            Some(stream) => {
                let left = stream.previous.map(|version| ReleaseName { platform: platform.clone(), version });
                self.retired.extend(left);
                Some(stream.current)
            }
            None => None,
        };
        self.retired.remove(release);
        self.platforms.insert(platform, Stream { current: version, previous });
        Ok(self)
    }

    /// Every release that it points at: current and previous ones.
    pub fn releases(&self) -> impl Iterator<Item = ReleaseName> + '_ {
        self.platforms.iter().flat_map(|(platform, stream)| {
            [Some(&stream.current), stream.previous.as_ref()]
                .into_iter()
                .flatten()
                .map(|version| ReleaseName { platform: platform.clone(), version: version.clone() })
        })
    }
}

/// What a device says of itself when it asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device<'a> {
    /// What it runs on.
    pub platform: &'a Platform,
    /// The version that it has, if it has one.
    pub version: Option<&'a Version>,
}

/// Which release a device gets, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pick {
    /// This one: it is newer than what the device has, or the device has nothing.
    Release(ReleaseName),
    /// The device has the newest one for it.
    Current,
    /// The device has something newer than the channel; it stays there, for versions only go forward.
    Ahead {
        /// What the channel has.
        channel: ReleaseName,
    },
    /// The channel has nothing for this platform.
    NotForPlatform {
        /// The platforms that it has something for.
        platforms: Vec<Platform>,
    },
}

/// Which release of `channel` `device` gets.
///
/// A device takes what is made for its own platform, or for `any`; of the two the newer, and its own when they are equal.
pub fn pick(channel: &Channel, device: &Device<'_>) -> Pick {
    let any = Platform::any();
    let of = |platform: &Platform| {
        let stream = channel.platforms.get(platform)?;
        Some(ReleaseName { platform: platform.clone(), version: stream.current.clone() })
    };
    let best = match (of(device.platform), of(&any)) {
        (Some(own), Some(any)) if any.version > own.version => any,
        (Some(own), _) => own,
        (None, Some(any)) => any,
        (None, None) => return Pick::NotForPlatform { platforms: channel.platforms.keys().cloned().collect() },
    };
    match device.version {
        Some(have) if *have == best.version => Pick::Current,
        Some(have) if *have > best.version => Pick::Ahead { channel: best },
        _ => Pick::Release(best),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn release(platform: &str, version: &str) -> ReleaseName {
        ReleaseName { platform: platform.parse().unwrap(), version: version.parse().unwrap() }
    }

    fn channel(releases: &[(&str, &str)]) -> Channel {
        let stable = ChannelName::stable();
        releases.iter().fold(Channel::default(), |channel, (p, v)| channel.promote(&stable, &release(p, v)).unwrap())
    }

    fn pick_for(channel: &Channel, platform: &str, have: Option<&str>) -> Pick {
        let platform = platform.parse().unwrap();
        let version = have.map(|text| text.parse().unwrap());
        pick(channel, &Device { platform: &platform, version: version.as_ref() })
    }

    #[test]
    fn own_platform_or_any_whichever_is_newer() {
        let channel = channel(&[("any", "1.0"), ("linux-x86_64", "1.1"), ("macos-aarch64", "0.9")]);
        assert_eq!(pick_for(&channel, "linux-x86_64", None), Pick::Release(release("linux-x86_64", "1.1")));
        assert_eq!(pick_for(&channel, "macos-aarch64", None), Pick::Release(release("any", "1.0")));
        assert_eq!(pick_for(&channel, "windows-x86_64", Some("1.0.0")), Pick::Current);
        assert_eq!(
            pick_for(&channel, "linux-x86_64", Some("2.0")),
            Pick::Ahead { channel: release("linux-x86_64", "1.1") }
        );
    }

    #[test]
    fn nothing_for_this_platform_is_a_value() {
        let channel = channel(&[("linux-x86_64", "1.1")]);
        let platforms = vec!["linux-x86_64".parse().unwrap()];
        assert_eq!(pick_for(&channel, "windows-x86_64", None), Pick::NotForPlatform { platforms });
    }

    #[test]
    fn promoting_goes_forward_and_leaves_one_previous() {
        let stable = ChannelName::stable();
        let channel = channel(&[("any", "1.0"), ("any", "1.1"), ("any", "1.2")]);
        let stream = &channel.platforms[&Platform::any()];
        assert_eq!((stream.current.as_str(), stream.previous.as_ref().unwrap().as_str()), ("1.2", "1.1"));
        assert_eq!(channel.retired, BTreeSet::from([release("any", "1.0")]));
        for old in ["1.2", "1.2.0", "1.1"] {
            assert!(channel.clone().promote(&stable, &release("any", old)).is_err(), "{old}");
        }
    }

    proptest! {
        #[test]
        fn a_pick_is_never_older_than_what_the_device_has(
            versions in proptest::collection::btree_set(0u8..20, 1..5), have in proptest::option::of(0u8..20),
        ) {
            let texts: Vec<String> = versions.iter().map(|v| format!("1.{v}")).collect();
            let channel = channel(&texts.iter().map(|t| ("any", t.as_str())).collect::<Vec<_>>());
            let have = have.map(|v| format!("1.{v}").parse::<Version>().unwrap());
            let platform = Platform::this();
            let device = Device { platform: &platform, version: have.as_ref() };
            if let Pick::Release(picked) = pick(&channel, &device) {
                prop_assert!(have.is_none_or(|have| picked.version > have));
            }
        }
    }
}
