//! The terms of a release: what only its publisher may say of who gets it.
//!
//! They are part of the release document, and the document has the last word. `targets` repeats them in the `custom` of
//! each release, so that a device decides among all live releases without asking for the documents of those that it passes
//! over. A channel can only narrow them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Error, ReleaseName};
use crate::limits::{CHANNELS_MAX, MIN_OS_MAX, NAME_LEN_MAX, STEPPING_STONES_MAX};
use crate::name::{ChannelName, Platform};
use crate::version::Version;

/// The releases that a publisher lists, each with its terms.
pub type Live = BTreeMap<ReleaseName, Terms>;

/// What a publisher says of who gets a release. Nothing said: everybody, from wherever they are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// The channels that may point at it; without this, any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<Vec<ChannelName>>,
    /// The oldest version of an operating system that it runs on, by the system's name as platforms begin with it (`linux`,
    /// `macos`, `windows`). A system that is not named is not limited.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub min_os: BTreeMap<String, Version>,
    /// Versions that nobody may jump over on the way to this one, itself perhaps among them: then it is one for those that
    /// follow, which take over this list.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stepping_stones: Vec<Version>,
    /// The newest version, this one or one before it, that every device must have: whoever is on an older one has to
    /// update, also when that release itself was skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mandatory_since: Option<Version>,
}

impl Terms {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether `channel` may point at it.
    pub fn allows_channel(&self, channel: &ChannelName) -> bool {
        self.channels.as_ref().is_none_or(|allowed| allowed.contains(channel))
    }

    /// The oldest version of its system that a device of `platform` needs, if there is one.
    pub fn min_os_for(&self, platform: &Platform) -> Option<&Version> {
        self.min_os.get(platform.os())
    }

    /// Whether a device that has `version` must update.
    pub fn is_mandatory_for(&self, version: &Version) -> bool {
        self.mandatory_since.as_ref().is_some_and(|since| version < since)
    }

    /// The first version that a device which has `have` must pass through on its way to `goal`.
    pub fn first_stone(&self, have: &Version, goal: &Version) -> Option<&Version> {
        self.stepping_stones.iter().filter(|stone| have < *stone && *stone < goal).min()
    }

    /// These terms for the release `name`, and what it takes over from the `live` ones before it: their stepping stones,
    /// and since when an update is mandatory.
    ///
    /// Before it are older ones that every device of its platform and its channels may have had: a stone that only `beta` may
    /// have is none for a release that `stable` may have, too. A stone that is not live any more is none for anybody.
    #[must_use]
    pub fn following(mut self, name: &ReleaseName, live: &Live) -> Self {
        let is_before = |other: &ReleaseName| {
            other.version < name.version && (other.platform == name.platform || other.platform.is_any())
        };
        let is_for_all = |terms: &Terms, mine: &Option<Vec<ChannelName>>| match mine {
            Some(mine) => mine.iter().all(|channel| terms.allows_channel(channel)),
            None => terms.channels.is_none(),
        };
        let is_mine = |(other, terms): &(&ReleaseName, &Self)| is_before(other) && is_for_all(terms, &self.channels);
        let before: Vec<_> = live.iter().filter(is_mine).map(|(_, terms)| terms).collect();
        let stones = before.iter().flat_map(|terms| &terms.stepping_stones);
        let stones: Vec<_> = stones.filter(|stone| self.can_pass(stone, &name.platform, live)).cloned().collect();
        self.stepping_stones.extend(stones);
        let since = before.iter().map(|terms| terms.mandatory_since.clone()).max().flatten();
        self.mandatory_since = self.mandatory_since.max(since);
        self.stepping_stones.sort();
        self.stepping_stones.dedup();
        let surplus = self.stepping_stones.len().saturating_sub(STEPPING_STONES_MAX);
        // The oldest go first: whoever is still before all of them has the longest way anyhow.
        self.stepping_stones.drain(..surplus);
        self
    }

    /// The terms in the `custom` of a release's target. None are listed: none are known.
    ///
    /// # Errors
    /// When they cannot be understood. What this program does not know beside them is ignored.
    pub fn from_custom(custom: Option<&Value>) -> Result<Self, Error> {
        let Some(terms) = custom.and_then(|custom| custom.get("terms")) else { return Ok(Self::default()) };
        serde_json::from_value(terms.clone()).map_err(|e| Error(format!("its terms in targets: {e}")))
    }

    /// The `custom` of a release's target that lists these terms; nothing where nothing is said.
    pub fn to_custom(&self) -> Option<Value> {
        (!self.is_empty()).then(|| serde_json::json!({ "terms": self }))
    }

    /// Whether all that `other` says is said here, too.
    pub fn include(&self, other: &Self) -> bool {
        let set = |channels: &Option<Vec<ChannelName>>| channels.clone().map(BTreeSet::from_iter);
        (other.channels.is_none() || set(&self.channels) == set(&other.channels))
            && other.min_os.iter().all(|(os, version)| self.min_os.get(os) == Some(version))
            && other.stepping_stones.iter().all(|stone| self.stepping_stones.contains(stone))
            && other.mandatory_since <= self.mandatory_since
    }

    /// # Errors
    /// When there is more than fits, or a release of `version` cannot say this.
    pub fn check(&self, version: &Version) -> Result<(), Error> {
        let fail = |reason: String| Err(Error(reason));
        if self.channels.as_ref().is_some_and(|allowed| allowed.len() > CHANNELS_MAX) {
            return fail(format!("it allows more than {CHANNELS_MAX} channels"));
        }
        if self.min_os.len() > MIN_OS_MAX || self.min_os.keys().any(|os| os.is_empty() || os.len() > NAME_LEN_MAX) {
            return fail(format!("it limits more than {MIN_OS_MAX} systems, or one whose name is too long"));
        }
        if self.stepping_stones.len() > STEPPING_STONES_MAX {
            return fail(format!("it names more than {STEPPING_STONES_MAX} stepping stones"));
        }
        if let Some(stone) = self.stepping_stones.iter().find(|stone| *stone > version) {
            return fail(format!("its stepping stone {stone} is newer than {version} itself"));
        }
        match &self.mandatory_since {
            Some(since) if since > version => {
                fail(format!("it says that {since} is mandatory, which is newer than {version} itself"))
            }
            _ => Ok(()),
        }
    }

    /// # Errors
    /// When somebody who may have the release `name` could not pass through one of its stepping stones: it is no `live`
    /// release, or not for all channels that `name` is for.
    pub fn check_stones(&self, name: &ReleaseName, live: &Live) -> Result<(), Error> {
        let is_other = |stone: &&Version| **stone != name.version;
        let can_pass = |stone: &&Version| self.can_pass(stone, &name.platform, live);
        let Some(stone) = self.stepping_stones.iter().filter(is_other).find(|stone| !can_pass(stone)) else {
            return Ok(());
        };
        Err(Error(match stones_at(stone, &name.platform, live).next() {
            None => format!(
                "{name}: there is no live release {stone} for {} to be its stepping stone; publish that first, or name another",
                name.platform
            ),
            Some(_) => format!(
                "{name}: its stepping stone {stone} is not for every channel that it is for itself, so devices there could never \
                 have it; allow both the same channels, or name another"
            ),
        }))
    }

    /// Whether every device of `platform` that may have a release of these terms may have `stone`.
    fn can_pass(&self, stone: &Version, platform: &Platform, live: &Live) -> bool {
        match &self.channels {
            None => stones_at(stone, platform, live).any(|terms| terms.channels.is_none()),
            Some(mine) => {
                mine.iter().all(|mine| stones_at(stone, platform, live).any(|terms| terms.allows_channel(mine)))
            }
        }
    }
}

/// The live releases of this version that a device of `platform` may have on its way, its own before that for `any`.
fn stones_at<'a>(stone: &Version, platform: &Platform, live: &'a Live) -> impl Iterator<Item = &'a Terms> {
    let names = [platform.clone(), Platform::any()].map(|platform| ReleaseName { platform, version: stone.clone() });
    names.into_iter().filter_map(|name| live.get(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    fn name(platform: &str, text: &str) -> ReleaseName {
        ReleaseName { platform: platform.parse().unwrap(), version: version(text) }
    }

    fn stones(list: &[&str]) -> Terms {
        Terms { stepping_stones: list.iter().map(|text| version(text)).collect(), ..Terms::default() }
    }

    #[test]
    fn later_releases_take_over_what_binds_them() {
        let beta = Some(vec!["beta".parse().unwrap()]);
        let live = Live::from([
            (name("any", "1.0"), Terms::default()),
            (name("any", "2.0"), Terms { mandatory_since: Some(version("1.5")), ..stones(&["0.5", "1.0", "2.0"]) }),
            (name("linux-x86_64", "2.5"), Terms { mandatory_since: Some(version("2.5")), ..stones(&["2.5"]) }),
            (name("any", "2.9"), Terms { channels: beta.clone(), ..stones(&["2.9"]) }),
            (name("any", "4.0"), stones(&["4.0"])),
        ]);
        let any = Terms::default().following(&name("any", "3.0"), &live);
        assert_eq!(any, Terms { mandatory_since: Some(version("1.5")), ..stones(&["1.0", "2.0"]) });
        let linux = stones(&["3.0"]).following(&name("linux-x86_64", "3.0"), &live);
        assert_eq!(linux, Terms { mandatory_since: Some(version("2.5")), ..stones(&["1.0", "2.0", "2.5", "3.0"]) });
        let for_beta = Terms { channels: beta, ..Terms::default() }.following(&name("any", "3.0"), &live);
        assert_eq!(for_beta.stepping_stones, stones(&["1.0", "2.0", "2.9"]).stepping_stones);
    }

    #[test]
    fn the_list_in_targets_says_the_same() {
        let terms = Terms {
            channels: Some(vec![ChannelName::stable()]),
            min_os: BTreeMap::from([("macos".to_owned(), version("12"))]),
            mandatory_since: Some(version("1.9")),
            ..stones(&["2.0"])
        };
        let custom = terms.to_custom().unwrap();
        assert_eq!(Terms::from_custom(Some(&custom)).unwrap(), terms);
        assert_eq!(Terms::default().to_custom(), None);
        assert_eq!(Terms::from_custom(None).unwrap(), Terms::default());
        let unknown = serde_json::json!({"pinned": true, "terms": {"min_ram": 3}});
        assert_eq!(Terms::from_custom(Some(&unknown)).unwrap(), Terms::default());
        assert!(Terms::from_custom(Some(&serde_json::json!({"terms": {"min_os": 12}}))).is_err());
        assert_eq!(terms.min_os_for(&"macos-aarch64".parse().unwrap()), Some(&version("12")));
        assert_eq!(terms.min_os_for(&"linux-x86_64".parse().unwrap()), None);
    }

    #[test]
    fn what_was_said_can_be_compared() {
        let beta: ChannelName = "beta".parse().unwrap();
        let channels = |names: &[&ChannelName]| Terms {
            channels: Some(names.iter().copied().cloned().collect()),
            ..Terms::default()
        };
        let stable = ChannelName::stable();
        assert!(channels(&[&beta, &stable]).include(&channels(&[&stable, &beta])));
        assert!(channels(&[&beta]).include(&Terms::default()) && !Terms::default().include(&channels(&[&beta])));
        assert!(stones(&["1.0", "2.0"]).include(&stones(&["2.0"])) && !stones(&["1.0"]).include(&stones(&["2.0"])));
        let since = |text: &str| Terms { mandatory_since: Some(version(text)), ..Terms::default() };
        assert!(since("2.0").include(&since("1.0")) && !since("1.0").include(&since("2.0")));
        assert!(!Terms::default().include(&since("1.0")));
        let os =
            |text: &str| Terms { min_os: BTreeMap::from([("macos".to_owned(), version(text))]), ..Terms::default() };
        assert!(os("12").include(&os("12.0")) && !os("12").include(&os("13")) && !Terms::default().include(&os("12")));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_name() {
        let said = |terms: &Terms| terms.check(&version("2.0")).map_err(|e| e.to_string());
        assert_eq!(said(&stones(&["1.0", "2.0"])), Ok(()));
        assert!(said(&stones(&["2.1"])).unwrap_err().contains("stepping stone 2.1 is newer than 2.0"));
        let since = Terms { mandatory_since: Some(version("3.0")), ..Terms::default() };
        assert!(said(&since).unwrap_err().contains("3.0 is mandatory"));
        let many = Terms { stepping_stones: vec![version("1.0"); STEPPING_STONES_MAX + 1], ..Terms::default() };
        assert!(said(&many).is_err());

        let live = Live::from([(name("any", "2.0"), Terms::default())]);
        let goal = name("linux-x86_64", "3.0");
        assert!(stones(&["2.0", "3.0"]).check_stones(&goal, &live).is_ok());
        let error = stones(&["1.5"]).check_stones(&goal, &live).unwrap_err().to_string();
        assert!(error.contains("no live release 1.5 for linux-x86_64"), "{error}");
    }

    /// A device on a channel that the stone was not for could never have it, and nothing behind it.
    #[test]
    fn a_stone_is_for_every_channel_that_the_release_is_for() {
        let on = |names: &[&str]| Some(names.iter().map(|name| name.parse().unwrap()).collect());
        let mut live = Live::from([(name("any", "2.0"), Terms { channels: on(&["beta"]), ..Terms::default() })]);
        let check = |channels: Option<Vec<ChannelName>>, live: &Live| {
            let terms = Terms { channels, ..stones(&["2.0", "3.0"]) };
            terms.check_stones(&name("linux-x86_64", "3.0"), live).map_err(|e| e.to_string())
        };
        assert_eq!(check(on(&["beta"]), &live), Ok(()));
        for channels in [None, on(&["beta", "stable"])] {
            let error = check(channels, &live).unwrap_err();
            assert!(error.contains("stepping stone 2.0 is not for every channel"), "{error}");
        }
        // Where the device's own platform has one, that may do.
        live.insert(name("linux-x86_64", "2.0"), Terms { channels: on(&["stable"]), ..Terms::default() });
        assert_eq!(check(on(&["beta", "stable"]), &live), Ok(()));
        assert!(check(None, &live).is_err());
        // What nobody could pass through is not taken over either.
        live.insert(name("any", "2.5"), stones(&["2.0", "2.5"]));
        assert_eq!(Terms::default().following(&name("any", "3.0"), &live), stones(&["2.5"]));
    }
}
