//! The names that people give: of an app, a channel, a platform.
//!
//! A name is a path segment in the store and in URLs, so it is checked once, here, and trusted everywhere after.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::limits::NAME_LEN_MAX;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{kind} name '{text}' is not allowed: use 1 to {NAME_LEN_MAX} letters, digits, '.', '_' or '-', \
     beginning with a letter, a digit or '_' and not ending with '.'"
)]
pub struct Error {
    kind: &'static str,
    text: String,
}

fn allowed(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    text.len() <= NAME_LEN_MAX
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|b| word(b) || b == b'.' || b == b'-')
        && !text.ends_with('.')
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = Error;
            fn from_str(text: &str) -> Result<Self, Error> {
                Self::try_from(text.to_owned())
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;
            fn try_from(text: String) -> Result<Self, Error> {
                if allowed(&text) {
                    Ok(Self(text))
                } else {
                    Err(Error { kind: $kind, text: text.chars().take(2 * NAME_LEN_MAX).collect() })
                }
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }
    };
}

name_type! {
    /// The name of an app: one product, one TUF repository, one set of keys.
    AppName, "app"
}
name_type! {
    /// The name of a channel, such as `stable`.
    ChannelName, "channel"
}
name_type! {
    /// What a build runs on: `linux-x86_64`, `windows-x86_64`, `macos-aarch64`, ..., or `any`.
    Platform, "platform"
}

impl ChannelName {
    /// `stable`, the channel that is meant where none is named.
    pub fn stable() -> Self {
        Self("stable".to_owned())
    }
}

impl Platform {
    /// `any`: a release that runs everywhere.
    pub fn any() -> Self {
        Self("any".to_owned())
    }

    /// Whether this is `any`.
    pub fn is_any(&self) -> bool {
        self.0 == "any"
    }

    /// The operating system that it begins with: `linux` of `linux-x86_64`.
    pub fn os(&self) -> &str {
        self.0.split('-').next().unwrap_or(&self.0)
    }

    /// The platform that this program was built for, such as `linux-x86_64`.
    pub fn this() -> Self {
        Self(format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_path_segments_and_nothing_else() {
        for good in ["a", "my-app", "My_App.2", "_x", "0", &"a".repeat(64)] {
            assert!(good.parse::<AppName>().is_ok(), "{good}");
        }
        for bad in ["", ".", "..", ".git", "-x", "a/b", "a\\b", "a b", "é", "a.", "a\0", &"a".repeat(65)] {
            assert!(bad.parse::<AppName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn this_platform_is_a_name() {
        assert_eq!(Platform::this().as_str().parse::<Platform>().unwrap(), Platform::this());
    }
}
