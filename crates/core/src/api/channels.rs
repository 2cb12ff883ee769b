//! How a channel stands, and changing that: `/api/v1/apps/{app}/channels/{channel}`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Committed;
use crate::Timestamp;
use crate::channel::{Channel, Fraction, Reason, State, Stream, Verb, Yanked};
use crate::digest::Digest;
use crate::name::{ChannelName, Platform};

/// `POST`: what is to be done, and what that was decided on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelChange {
    /// The revision that whoever decided had seen; another one now means 409, and another look. Without this, the channel is
    /// changed whatever it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Digest>,
    /// What is to be done.
    #[serde(flatten)]
    pub verb: Verb,
}

/// The answer: what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelChanged {
    /// What the app is now.
    #[serde(flatten)]
    pub committed: Committed,
    /// Whether there was anything to change: what holds already is success, too.
    pub changed: bool,
    /// How the channel stands now.
    pub now: ChannelStatus,
}

/// `GET`: how a channel stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelStatus {
    /// Its name.
    pub channel: ChannelName,
    /// A name for all that was decided about it: what the next change is based on.
    pub revision: Digest,
    /// The most serious state of its platforms.
    pub state: State,
    /// Why somebody stopped what is stopped; empty where nothing is, and where nobody said.
    pub reason: Reason,
    /// Each platform.
    pub platforms: BTreeMap<Platform, StreamStatus>,
    /// Releases that nobody is to get from it any more.
    pub yanked: Vec<Yanked>,
}

/// How a channel stands on one platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamStatus {
    /// In a word.
    pub state: State,
    /// Why somebody stopped it; as above.
    pub reason: Reason,
    /// Of a million devices, how many the newest release has reached; of a rollout that is stopped, how many it had.
    pub fraction_ppm: Fraction,
    /// What the channel's document says.
    #[serde(flatten)]
    pub stream: Stream,
}

impl ChannelStatus {
    /// How `channel` stands at `now`.
    pub fn of(name: &ChannelName, channel: &Channel, now: Timestamp) -> Self {
        let status = |stream: &Stream| StreamStatus::of(stream, now);
        let platforms: BTreeMap<_, _> =
            channel.platforms.iter().map(|(on, stream)| (on.clone(), status(stream))).collect();
        let state = platforms.values().map(|status| status.state).max().unwrap_or(State::Full);
        let reason = platforms.values().find(|status| status.state == state && !status.reason.is_empty());
        Self {
            channel: name.clone(),
            revision: channel.revision(),
            state,
            reason: reason.map(|status| status.reason.clone()).unwrap_or_default(),
            yanked: channel.yanked.clone(),
            platforms,
        }
    }
}

impl StreamStatus {
    fn of(stream: &Stream, now: Timestamp) -> Self {
        let candidate = stream.candidate.as_ref();
        let stop = candidate.and_then(|candidate| candidate.stopped.as_ref());
        Self {
            state: stream.state(now),
            reason: stop.map(|stop| stop.reason.clone()).unwrap_or_default(),
            fraction_ppm: candidate.map_or(Fraction::FULL, |candidate| candidate.fraction_at(now)),
            stream: stream.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::Rollout;
    use crate::release::ReleaseName;

    #[test]
    fn the_base_lies_beside_the_verb() {
        let release = ReleaseName { platform: Platform::any(), version: "1.2".parse().unwrap() };
        let rollout: Option<Rollout> = Some("5%..100%/24h".parse().unwrap());
        let verb = Verb::Promote { release, rollout, max_bits_per_sec: None };
        let change = ChannelChange { base: Some(Digest::of(b"seen")), verb };
        let text = serde_json::to_string(&change).unwrap();
        let expected = r#"","verb":"promote","release":{"platform":"any","version":"1.2"},"rollout":"5%..100%/24h"}"#;
        assert!(text.starts_with(r#"{"base":""#) && text.ends_with(expected), "{text}");
        assert_eq!(serde_json::from_str::<ChannelChange>(&text).unwrap(), change);

        let pause: ChannelChange = serde_json::from_str(r#"{"verb":"pause"}"#).unwrap();
        assert_eq!(
            pause,
            ChannelChange { base: None, verb: Verb::Pause { platform: None, reason: Reason::default() } }
        );
        for wrong in [
            r#"{"verb":"pause","resaon":"x"}"#,
            r#"{"verb":"stop"}"#,
            r#"{"base":null}"#,
            r#"{"verb":"rollout","rollout":"101%"}"#,
            r#"{"verb":"rollout","rollout":5}"#,
        ] {
            assert!(serde_json::from_str::<ChannelChange>(wrong).is_err(), "{wrong}");
        }
    }
}
