//! What metadata says of a file: its length and its hashes (TUF 4.4 METAFILES, 4.5 TARGETS).

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::{Error, Role};
use crate::digest::{self, Sha256, Sha512};

/// Reads a member that may be absent. One that is there has a value: readers disagree about `null`, which some take for
/// absent and some for damage.
pub(super) fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Hashes of a file, by algorithm. Of the algorithms that are known here every one that is listed has to fit, and at least
/// one has to be listed; those that are not known cannot be compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, String>")]
pub struct Hashes {
    /// SHA-256. Every file that we write has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Sha256>,
    /// SHA-512, which some foreign repositories list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha512: Option<Sha512>,
}

impl TryFrom<BTreeMap<String, String>> for Hashes {
    type Error = String;

    fn try_from(listed: BTreeMap<String, String>) -> Result<Self, String> {
        if listed.is_empty() {
            return Err("no hash is listed".to_owned());
        }
        let text = |e: digest::Error| e.to_string();
        Ok(Self {
            sha256: listed.get("sha256").map(|hex| hex.parse()).transpose().map_err(text)?,
            sha512: listed.get("sha512").map(|hex| hex.parse()).transpose().map_err(text)?,
        })
    }
}

impl Hashes {
    /// The hashes that we list of a file with these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self { sha256: Some(Sha256::of(bytes)), sha512: None }
    }

    /// Whether `bytes` are what these are the hashes of; `None` where no algorithm is known here.
    pub fn match_bytes(&self, bytes: &[u8]) -> Option<bool> {
        let sha256 = self.sha256.map(|sha256| sha256 == Sha256::of(bytes));
        let sha512 = self.sha512.map(|sha512| sha512 == Sha512::of(bytes));
        let known = [sha256, sha512].into_iter().flatten();
        known.reduce(|one, other| one && other)
    }

    /// One of them, in hexadecimal: what stands before the base name of a target's file where snapshots are consistent
    /// (TUF 6.2).
    pub fn file_prefix(&self) -> Option<String> {
        let sha256 = self.sha256.map(|sha256| sha256.to_string());
        sha256.or_else(|| self.sha512.map(|sha512| sha512.to_string()))
    }
}

/// What one metadata file says of another (TUF 4.4 METAFILES).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// Hashes of its bytes.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub hashes: Option<Hashes>,
    /// Its length in bytes.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
    /// Its version.
    pub version: u64,
}

impl Meta {
    /// What to say of a file with these bytes.
    pub fn of(bytes: &[u8], version: u64) -> Self {
        Self { hashes: Some(Hashes::of(bytes)), length: Some(bytes.len() as u64), version }
    }

    /// Whether `bytes` are the file that is meant.
    pub(super) fn check(&self, role: &Role, bytes: &[u8]) -> Result<(), Error> {
        let mismatch = |reason: String| Err(Error::Mismatch { role: role.clone(), reason });
        match self.length {
            Some(length) if length != bytes.len() as u64 => {
                return mismatch(format!("{} bytes where {length} are named", bytes.len()));
            }
            _ => {}
        }
        match self.hashes.as_ref().map(|hashes| hashes.match_bytes(bytes)) {
            None | Some(Some(true)) => Ok(()),
            Some(None) => mismatch("its hash is of no kind known here".to_owned()),
            Some(Some(false)) => mismatch("its hash is not the one named".to_owned()),
        }
    }
}

/// What `targets` says of a file (TUF 4.5 TARGETS).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetFile {
    /// Anything the signer wants to say of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom: Option<Value>,
    /// Hashes of its bytes.
    pub hashes: Hashes,
    /// Its length in bytes.
    pub length: u64,
}

impl TargetFile {
    /// What to say of a file with these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self { custom: None, hashes: Hashes::of(bytes), length: bytes.len() as u64 }
    }

    /// The same with `custom`.
    #[must_use]
    pub fn with_custom(mut self, custom: Value) -> Self {
        self.custom = Some(custom);
        self
    }

    /// Whether `bytes` are the file that is meant. Without a hash that is known here, nothing is.
    pub fn matches(&self, bytes: &[u8]) -> bool {
        self.length == bytes.len() as u64 && self.hashes.match_bytes(bytes) == Some(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_hash_has_to_fit() {
        let both = Hashes { sha256: Some(Sha256::of(b"a")), sha512: Some(Sha512::of(b"a")) };
        assert_eq!((both.match_bytes(b"a"), both.match_bytes(b"b")), (Some(true), Some(false)));
        let torn = Hashes { sha512: Some(Sha512::of(b"b")), ..both.clone() };
        assert_eq!((torn.match_bytes(b"a"), torn.match_bytes(b"b")), (Some(false), Some(false)));
        let unknown: Hashes = serde_json::from_str(r#"{"blake2b-256":"00"}"#).unwrap();
        assert_eq!((unknown.match_bytes(b"a"), unknown.file_prefix()), (None, None));
        assert!(!TargetFile { custom: None, hashes: unknown, length: 1 }.matches(b"a"));
        let only_512 = Hashes { sha256: None, ..both };
        assert_eq!(only_512.file_prefix().unwrap().len(), 128);
    }

    #[test]
    fn what_readers_disagree_about_is_no_hash_and_no_meta() {
        for bad in ["{}", r#"{"sha256":null}"#, r#"{"blake2b-256":7}"#, r#"{"sha256":"00"}"#] {
            assert!(serde_json::from_str::<Hashes>(bad).is_err(), "{bad}");
        }
        for bad in [r#"{"version":1,"length":null}"#, r#"{"version":1,"hashes":null}"#] {
            assert!(serde_json::from_str::<Meta>(bad).is_err(), "{bad}");
        }
        let meta: Meta = serde_json::from_str(r#"{"version":1}"#).unwrap();
        assert_eq!(meta, Meta { hashes: None, length: None, version: 1 });
    }
}
