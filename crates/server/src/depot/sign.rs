//! The server's part of the metadata: channels, snapshot and timestamp, signed by the app's online key.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::Value;
use updraft_core::Timestamp;
use updraft_core::channel::Channel;
use updraft_core::json;
use updraft_core::key::SigningKey;
use updraft_core::name::ChannelName;
use updraft_core::signed::Envelope;
use updraft_core::trust::{Expires, Meta, Role, Snapshot, TargetFile, Targets, TimestampMeta};

use super::Options;

/// A metadata file: its version and its exact bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct File {
    pub(super) version: u64,
    pub(super) bytes: Bytes,
}

/// From this version on a role is used up: nobody comes there by counting, only somebody who wants to be the last.
const USED_UP: u64 = 1 << 52;

/// Signs at one moment.
pub(super) struct Signer {
    /// One key; two while devices go over from one to the other.
    pub(super) keys: Vec<SigningKey>,
    pub(super) numbering: Numbering,
    pub(super) options: Options,
    pub(super) now: Timestamp,
}

/// How the versions of the server's roles go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Numbering {
    /// One by one.
    Onward,
    /// From the date as a number of seconds, or onward where that is more. For new keys: devices compare nothing with what
    /// the old ones signed (TUF 5.3.11), and a file name that nobody can have used, before a backup was restored or in
    /// the name of a thief, is in no cache on the way with other bytes.
    Anew,
}

impl Signer {
    /// The first version to try after `version`.
    pub(super) fn after(&self, version: u64) -> u64 {
        match self.numbering {
            Numbering::Onward => version + 1,
            Numbering::Anew => {
                let date = self.now.as_second().max(1).unsigned_abs();
                if is_used_up(version) { date } else { date.max(version + 1) }
            }
        }
    }

    pub(super) fn channels(&self, version: u64, channels: &BTreeMap<ChannelName, Channel>) -> File {
        let mut role = Targets::new(version, later(self.now, self.options.online_life_secs));
        for (name, channel) in channels {
            let (value, bytes) = document(channel);
            role.targets.insert(Channel::target_path(name), TargetFile::of(&bytes).with_custom(value));
        }
        self.file(version, &Envelope::new(&role))
    }

    pub(super) fn snapshot(&self, version: u64, targets: &File, channels: &File) -> File {
        let roles = [(Role::Targets, targets), (Role::channels(), channels)];
        let roles = roles.map(|(role, file)| (role, Meta::of(&file.bytes, file.version)));
        let expires = later(self.now, self.options.online_life_secs);
        self.file(version, &Envelope::new(&Snapshot::new(version, expires, roles)))
    }

    pub(super) fn timestamp(&self, version: u64, snapshot: &File) -> File {
        let expires = later(self.now, self.options.timestamp_life_secs);
        let meta = Meta::of(&snapshot.bytes, snapshot.version);
        self.file(version, &Envelope::new(&TimestampMeta::new(version, expires, meta)))
    }

    fn file(&self, version: u64, envelope: &Envelope) -> File {
        let signed = self.keys.iter().fold(envelope.clone(), |envelope, key| envelope.sign(key));
        File { version, bytes: signed.to_bytes().into() }
    }
}

/// Whether no more versions are to be expected after this one.
pub(super) fn is_used_up(version: u64) -> bool {
    version >= USED_UP
}

/// A channel document: the value that the role `channels` carries, and the same as the bytes of a target file.
pub(super) fn document(channel: &Channel) -> (Value, Bytes) {
    let value = serde_json::to_value(channel).expect("a channel is plain JSON");
    let bytes = json::canonical(&value).into();
    (value, bytes)
}

/// When metadata that lives `life_secs` and ends at `expires` is to be signed anew: when half of its life is over.
pub(super) fn due_at(expires: &Expires, life_secs: i64) -> Timestamp {
    later(expires.at(), -life_secs / 2)
}

/// `moment` and so many seconds, as far as there are dates.
pub(super) fn later(moment: Timestamp, secs: i64) -> Timestamp {
    let end = if secs < 0 { Timestamp::MIN } else { Timestamp::MAX };
    moment.checked_add(jiff::SignedDuration::from_secs(secs)).unwrap_or(end)
}
