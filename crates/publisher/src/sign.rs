//! What a publisher signs, and for how long. Pure: a base and a change in, new targets out.
//!
//! `targets` lists live releases only, so that a device's check costs the same after a thousand releases as after ten.
//! Live is what a channel names (current, previous, candidate), what is pinned, what was published and not promoted yet, and
//! the stepping stones of all these.

use std::collections::{BTreeMap, BTreeSet};

use updraft_core::Timestamp;
use updraft_core::channel::{self, Channel};
use updraft_core::name::{ChannelName, Platform};
use updraft_core::release::{ReleaseName, Terms};
use updraft_core::signed::Envelope;
use updraft_core::trust::{Expires, TargetFile, Targets};
use updraft_core::version::Version;

/// How long a root is good, in days: 10 years. It limits nothing that the timestamp (24 h) does not limit far better,
/// and once it has expired no device takes anything until its owner has found the offline keys.
pub const ROOT_LIFE_DAYS: i64 = 3_652;

/// How long targets are good, in days: 5 years from the last publish. They bound how long a server that was taken over,
/// online keys and all, can keep devices at an old release; and how long an app may rest and still be installed.
pub const TARGETS_LIFE_DAYS: i64 = 1_826;

/// What is to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// One more release.
    Add {
        /// Which.
        release: ReleaseName,
        /// What is signed of its document.
        file: TargetFile,
        /// The channel that will point at it in the same commit.
        promote: Option<ChannelName>,
    },
    /// A live release stays, whatever the channels do, or no longer does so.
    Pin {
        /// Which.
        release: ReleaseName,
        /// Whether it stays.
        pinned: bool,
    },
    /// Nothing but a later end.
    Renew,
}

/// What `targets` is to list after a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Next {
    /// By target path. What is no release stays as it is.
    pub targets: BTreeMap<String, TargetFile>,
    /// The releases that are no longer live.
    pub dropped: Vec<ReleaseName>,
}

/// What is live after `change`.
///
/// A release is dropped when some channel has left it behind, no channel names it after the change, it is not pinned, and
/// no release that stays needs it as a stepping stone; never because of its age.
///
/// # Errors
/// When the channel is at the new release already, or ahead.
pub fn next(
    live: &BTreeMap<String, TargetFile>,
    channels: &BTreeMap<ChannelName, Channel>,
    change: &Change,
) -> Result<Next, channel::Error> {
    let mut targets = live.clone();
    let mut channels = channels.clone();
    match change {
        Change::Add { release, file, promote } => {
            targets.insert(release.target_path(), file.clone());
            if let Some(name) = promote {
                let channel = channels.remove(name).unwrap_or_default();
                channels.insert(name.clone(), channel.promote(name, release)?);
            }
        }
        Change::Pin { release, pinned } => {
            if let Some(file) = targets.get_mut(&release.target_path()) {
                set_pinned(file, *pinned);
            }
        }
        Change::Renew => {}
    }
    let named: BTreeSet<ReleaseName> = channels.values().flat_map(Channel::releases).collect();
    let retired: BTreeSet<&ReleaseName> = channels.values().flat_map(|channel| &channel.retired).collect();
    let stays =
        |name: &ReleaseName, file: &TargetFile| is_pinned(file) || named.contains(name) || !retired.contains(name);
    // Also those that a channel has yanked: a server that was taken over yanks what it likes, and no stone goes by that.
    let stones = stones(&targets, stays);
    let mut dropped = Vec::new();
    targets.retain(|path, file| {
        let Some(name) = ReleaseName::from_target_path(path) else { return true };
        let keep = stays(&name, file) || stones.contains(&name);
        if !keep {
            dropped.push(name);
        }
        keep
    });
    Ok(Next { targets, dropped })
}

/// The stepping stones of the releases that stay. Each release lists all of its own, so there are no further ones.
fn stones(
    targets: &BTreeMap<String, TargetFile>,
    stays: impl Fn(&ReleaseName, &TargetFile) -> bool,
) -> BTreeSet<ReleaseName> {
    let mut stones = BTreeSet::new();
    for (path, file) in targets {
        let Some(name) = ReleaseName::from_target_path(path).filter(|name| stays(name, file)) else { continue };
        let terms = Terms::from_custom(file.custom.as_ref()).unwrap_or_default();
        for platform in [name.platform, Platform::any()] {
            let on = |version: &Version| ReleaseName { platform: platform.clone(), version: version.clone() };
            stones.extend(terms.stepping_stones.iter().map(on));
        }
    }
    stones
}

/// Whether a release is kept though no channel points at it.
pub fn is_pinned(file: &TargetFile) -> bool {
    file.custom.as_ref().and_then(|custom| custom.get("pinned")).is_some_and(|pinned| pinned == true)
}

fn set_pinned(file: &mut TargetFile, pinned: bool) {
    let mut custom = match file.custom.take() {
        Some(serde_json::Value::Object(map)) => map,
        _ => serde_json::Map::new(),
    };
    if pinned {
        custom.insert("pinned".to_owned(), true.into());
    } else {
        custom.remove("pinned");
    }
    file.custom = (!custom.is_empty()).then_some(serde_json::Value::Object(custom));
}

/// The next version of `base`, listing `targets`, unsigned. `skip` numbers are left out: what a lost race left occupied.
pub(crate) fn following(base: &Targets, targets: BTreeMap<String, TargetFile>, skip: u64, now: Timestamp) -> Targets {
    let mut next = base.clone();
    next.version = base.version + 1 + skip;
    next.expires = Expires::new(after_days(now, TARGETS_LIFE_DAYS));
    next.targets = targets;
    next
}

/// `now` and so many days, without daylight saving or leap seconds.
pub(crate) fn after_days(now: Timestamp, days: i64) -> Timestamp {
    now.checked_add(jiff::SignedDuration::from_hours(days * 24)).expect("a few years from now is a date")
}

/// The exact text of a signed document.
pub(crate) fn text_of(envelope: &Envelope) -> String {
    String::from_utf8(envelope.to_bytes()).expect("JSON is text")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn release(n: u64) -> ReleaseName {
        ReleaseName { platform: "any".parse().unwrap(), version: format!("1.{n}").parse().unwrap() }
    }

    fn file(n: u64) -> TargetFile {
        TargetFile::of(n.to_string().as_bytes())
    }

    /// A step in the life of an app, as a person would make it.
    #[derive(Debug, Clone)]
    enum Step {
        Publish(Option<&'static str>),
        Promote(u64, &'static str),
        Pin(u64, bool),
    }

    fn any_step() -> impl Strategy<Value = Step> {
        let channel = || prop_oneof![Just("stable"), Just("beta")];
        prop_oneof![
            3 => proptest::option::of(channel()).prop_map(Step::Publish),
            2 => (0..12_u64, channel()).prop_map(|(n, channel)| Step::Promote(n, channel)),
            1 => (0..12_u64, any::<bool>()).prop_map(|(n, pinned)| Step::Pin(n, pinned)),
        ]
    }

    /// An app as server and publisher change it together.
    #[derive(Default)]
    struct Model {
        count: u64,
        targets: BTreeMap<String, TargetFile>,
        channels: BTreeMap<ChannelName, Channel>,
        ever_on: BTreeSet<ReleaseName>,
    }

    impl Model {
        fn promote(&mut self, n: u64, channel: &str) {
            let name: ChannelName = channel.parse().unwrap();
            let before = self.channels.get(&name).cloned().unwrap_or_default();
            if let Ok(after) = before.promote(&name, &release(n)) {
                self.ever_on.insert(release(n));
                self.channels.insert(name, after);
            }
        }

        /// What the server does with a commit: it forgets retired releases that are gone.
        fn commit(&mut self, next: Next) {
            self.targets = next.targets;
            for channel in self.channels.values_mut() {
                channel.retired.retain(|name| self.targets.contains_key(&name.target_path()));
            }
        }

        fn step(&mut self, step: &Step) {
            match step {
                Step::Publish(channel) => {
                    let n = self.count;
                    self.count += 1;
                    let promote = channel.map(|name| name.parse().unwrap());
                    let change = Change::Add { release: release(n), file: file(n), promote };
                    let next = next(&self.targets, &self.channels, &change).unwrap();
                    if let Some(channel) = channel {
                        self.promote(n, channel);
                    }
                    self.commit(next);
                }
                Step::Promote(n, channel) if self.targets.contains_key(&release(*n).target_path()) => {
                    self.promote(*n, channel);
                }
                Step::Pin(n, pinned) => {
                    let change = Change::Pin { release: release(*n), pinned: *pinned };
                    let next = next(&self.targets, &self.channels, &change).unwrap();
                    self.commit(next);
                }
                Step::Promote(..) => {}
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_live(steps in proptest::collection::vec(any_step(), 0..40)) {
            let mut model = Model::default();
            for step in &steps {
                model.step(step);
                let live = |name: &ReleaseName| model.targets.contains_key(&name.target_path());
                let named: BTreeSet<_> = model.channels.values().flat_map(Channel::releases).collect();
                // What a channel names is live.
                prop_assert!(named.iter().all(live));
                // What no channel ever had stays.
                for n in (0..model.count).map(release).filter(|name| !model.ever_on.contains(name)) {
                    prop_assert!(live(&n), "{n} was dropped before it was promoted");
                }
            }
            // One more commit, and nothing is live without a reason.
            model.step(&Step::Publish(None));
            let named: BTreeSet<_> = model.channels.values().flat_map(Channel::releases).collect();
            for (path, file) in &model.targets {
                let name = ReleaseName::from_target_path(path).unwrap();
                let reason = named.contains(&name) || is_pinned(file) || !model.ever_on.contains(&name);
                prop_assert!(reason, "{name} is live for no reason");
            }
        }
    }

    #[test]
    fn pinning_keeps_what_else_was_said() {
        let mut file = TargetFile::of(b"x").with_custom(json!({"stepping_stone": true}));
        set_pinned(&mut file, true);
        assert!(is_pinned(&file));
        assert_eq!(file.custom, Some(json!({"pinned": true, "stepping_stone": true})));
        set_pinned(&mut file, false);
        assert_eq!(file.custom, Some(json!({"stepping_stone": true})));
        let mut plain = TargetFile::of(b"x");
        set_pinned(&mut plain, true);
        set_pinned(&mut plain, false);
        assert_eq!(plain, TargetFile::of(b"x"));
    }

    #[test]
    fn a_stepping_stone_stays_as_long_as_somebody_needs_it() {
        let stable = ChannelName::stable();
        let stones = |stones: &[u64]| {
            let stepping_stones = stones.iter().map(|n| release(*n).version).collect();
            TargetFile { custom: Terms { stepping_stones, ..Terms::default() }.to_custom(), ..file(0) }
        };
        let live =
            (0..5).map(|n| (release(n).target_path(), if n < 3 { stones(&[0, 1]) } else { stones(&[1]) })).collect();
        let promote = |channel: Channel, n| channel.promote(&stable, &release(n)).unwrap();
        let left = |channel: &Channel| {
            let channels = BTreeMap::from([(stable.clone(), channel.clone())]);
            next(&live, &channels, &Change::Renew).unwrap().dropped
        };
        // Current is 3, previous is 2: that still needs 0, and all need 1.
        let channel = (0..4).fold(Channel::default(), promote);
        assert_eq!(left(&channel), []);
        let mut channel = promote(channel, 4);
        assert_eq!(left(&channel), [release(0), release(2)]);
        // One that was yanked stays: the online key took a stone away for ever, with one word in a channel.
        let at = Timestamp::UNIX_EPOCH;
        channel.yanked.push(channel::Yanked { release: release(1), at, reason: "".into() });
        assert_eq!(left(&channel), [release(0), release(2)]);
    }

    #[test]
    fn what_is_no_release_is_left_alone() {
        let live = BTreeMap::from([("logo.png".to_owned(), file(0))]);
        let change = Change::Pin { release: release(0), pinned: true };
        assert_eq!(next(&live, &BTreeMap::new(), &change).unwrap(), Next { targets: live, dropped: vec![] });
    }

    #[test]
    fn the_next_version_keeps_the_delegation() {
        let key = updraft_core::key::SigningKey::from_seed([1; 32]).public();
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let base = Targets::new(4, now).with_channels_role(&key);
        let next = following(&base, BTreeMap::from([("a".to_owned(), file(1))]), 2, now);
        assert_eq!((next.version, &next.delegations), (7, &base.delegations));
        assert_eq!(next.expires.at().to_string(), "2031-01-01T00:00:00Z");
    }
}
