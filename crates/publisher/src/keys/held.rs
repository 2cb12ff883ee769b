//! A private key as a file: what its name says.

use std::fmt;
use std::path::PathBuf;

use updraft_core::trust::Role;

/// Digits of a fingerprint, hexadecimal.
const FINGERPRINT_LEN: usize = 16;

/// What the private keys of an app's publisher are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyName {
    /// Signs roots.
    Root,
    /// Signs which releases exist.
    Targets,
}

impl KeyName {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Root, Self::Targets];

    /// The role that it is for.
    pub fn role(self) -> Role {
        match self {
            Self::Root => Role::Root,
            Self::Targets => Role::Targets,
        }
    }

    /// The file of the key that was there first.
    pub(super) fn plain_file(self) -> String {
        format!("{self}.pem")
    }

    /// The file of the key with this fingerprint.
    pub(super) fn named_file(self, fingerprint: &str) -> String {
        format!("{self}-{fingerprint}.pem")
    }

    /// What a file name says: what the key is for, and its fingerprint unless it is the plain one.
    pub(super) fn of_file(file_name: &str) -> Option<(Self, Option<String>)> {
        let stem = file_name.strip_suffix(".pem")?;
        let is_fingerprint = |text: &str| {
            text.len() == FINGERPRINT_LEN && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        };
        Self::ALL.into_iter().find_map(|name| {
            let rest = stem.strip_prefix(name.role().name())?;
            match rest.strip_prefix('-') {
                None => rest.is_empty().then_some((name, None)),
                Some(fingerprint) => is_fingerprint(fingerprint).then(|| (name, Some(fingerprint.to_owned()))),
            }
        })
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.role().name())
    }
}

/// A private key that lies in a key directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// What it was made for.
    pub name: KeyName,
    /// Its file.
    pub path: PathBuf,
    /// Its fingerprint; `None` for a locked one of the plain name, which says so only when it is opened.
    pub fingerprint: Option<String>,
    /// Whether a passphrase locks it.
    pub locked: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_says_what_the_key_is_for() {
        let fingerprint = "0123456789abcdef";
        for name in KeyName::ALL {
            assert_eq!(KeyName::of_file(&name.plain_file()), Some((name, None)));
            let named = name.named_file(fingerprint);
            assert_eq!(KeyName::of_file(&named), Some((name, Some(fingerprint.to_owned()))));
        }
        for other in
            ["root.json", "online.pem", "root-.pem", "root-0123456789ABCDEF.pem", "rooted.pem", "root.pem.new", ".pem"]
        {
            assert_eq!(KeyName::of_file(other), None, "{other}");
        }
    }
}
