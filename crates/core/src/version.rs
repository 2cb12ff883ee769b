//! Versions, read loosely and ordered number by number.
//!
//! SemVer is the rule; two-part (`1.4`), four-part (`10.0.19045.3`) and date versions (`2026.11.22`) are read by the same
//! rule with more or fewer numbers. The order:
//!
//! 1. the numbers before `-` or `+`, from the left, a missing one counting as 0: `1.4 = 1.4.0 < 1.4.0.1 < 1.10`;
//! 2. with equal numbers, a pre-release (`-beta.2`) is less than the version without one, and two pre-releases compare
//!    identifier by identifier as SemVer 2.0 section 11 says: numbers as numbers, numbers before words, fewer before more;
//! 3. what follows `+` (build metadata) does not count.
//!
//! Versions that this order holds equal *are* equal, also for `==` and as a map key, though the text of each is kept.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::limits::{VERSION_LEN_MAX, VERSION_NUMBERS_MAX};

/// Why a text is not a version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a version: {reason} (versions look like 1.4.2, 2026.11.22 or 2.0.0-beta.1)")]
pub struct Error {
    text: String,
    reason: &'static str,
}

/// The version of a release. A leading `v` is dropped; the rest is kept as it was written.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version {
    text: String,
    /// Without zeros at the end, so that equal versions have equal numbers.
    numbers: Vec<u64>,
    pre: Vec<Identifier>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Identifier {
    Number(u64),
    Word(String),
}

impl Version {
    /// The version as it was written, without a leading `v`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether this is a pre-release, such as `2.0.0-beta.1`.
    pub fn is_prerelease(&self) -> bool {
        !self.pre.is_empty()
    }

    /// The version whose last number is one greater: `0.0.1` becomes `0.0.2`. Pre-release and build are dropped.
    ///
    /// # Panics
    /// Never for versions that people write: the last number would have to be 2^64 - 1.
    pub fn next(&self) -> Version {
        let numbers = self.text.split(['-', '+']).next().unwrap_or(&self.text);
        let (front, last) = numbers.rsplit_once('.').map_or(("", numbers), |(front, last)| (front, last));
        let last: u64 = last.parse().expect("a parsed version ends with a number");
        let last = last.checked_add(1).expect("a version's number stays below 2^64");
        let text = if front.is_empty() { last.to_string() } else { format!("{front}.{last}") };
        text.parse().expect("a version with one number changed is a version")
    }
}

impl FromStr for Version {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let fail = |reason| Err(Error { text: text.chars().take(2 * VERSION_LEN_MAX).collect(), reason });
        let bare = text.strip_prefix(['v', 'V']).unwrap_or(text);
        if bare.is_empty() || bare.len() > VERSION_LEN_MAX {
            return fail("1 to 64 characters are allowed");
        }
        let (rest, build) = bare.split_once('+').map_or((bare, None), |(rest, build)| (rest, Some(build)));
        let (numbers, pre) = rest.split_once('-').map_or((rest, None), |(numbers, pre)| (numbers, Some(pre)));

        let identifier = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if ![pre, build].into_iter().flatten().all(|list| list.split('.').all(identifier)) {
            return fail("after '-' or '+' come letters, digits and '-', in parts separated by dots");
        }
        if numbers.split('.').count() > VERSION_NUMBERS_MAX {
            return fail("at most 8 numbers are allowed");
        }
        let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        let parsed: Option<Vec<u64>> =
            numbers.split('.').map(|part| digits(part).then(|| part.parse().ok()).flatten()).collect();
        let Some(mut numbers) = parsed else {
            return fail("it begins with numbers separated by dots");
        };
        while numbers.len() > 1 && numbers.last() == Some(&0) {
            numbers.pop();
        }
        let pre = pre.map_or_else(Vec::new, |list| {
            let part = |part: &str| {
                let number = digits(part).then(|| part.parse().ok()).flatten();
                number.map_or_else(|| Identifier::Word(part.to_owned()), Identifier::Number)
            };
            list.split('.').map(part).collect()
        });
        Ok(Self { text: bare.to_owned(), numbers, pre })
    }
}

impl TryFrom<String> for Version {
    type Error = Error;
    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> String {
        version.text
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        let pre = || match (self.pre.is_empty(), other.pre.is_empty()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => self.pre.cmp(&other.pre),
        };
        self.numbers.cmp(&other.numbers).then_with(pre)
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Version {}

impl Hash for Version {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.numbers.hash(state);
        self.pre.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[test]
    fn the_documented_order() {
        let ascending = [
            "0.0.1",
            "0.9",
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-alpha.beta",
            "1.0.0-beta",
            "1.0.0-beta.2",
            "1.0.0-beta.11",
            "1.0.0-rc.1",
            "1",
            "1.4",
            "1.4.0.1",
            "1.10",
            "10.0.19045.3",
            "2026.1.5",
            "2026.11.22",
            "20261122",
        ];
        for pair in ascending.windows(2) {
            assert!(version(pair[0]) < version(pair[1]), "{} < {}", pair[0], pair[1]);
        }
        assert_eq!(version("1.4"), version("v1.4.0"));
        assert_eq!(version("1.0.0+linux"), version("1.0.0+mac"));
        assert_eq!(version("2026.01.05"), version("2026.1.5"));
    }

    #[test]
    fn what_is_not_a_version() {
        for bad in [
            "",
            "v",
            "latest",
            "1..2",
            "1.x",
            ".1",
            "1.",
            "1.0-",
            "1.0+",
            "1.0-a..b",
            "1 .0",
            "1/2",
            "-1",
            "1.2.3.4.5.6.7.8.9",
            "99999999999999999999",
            "1.0-é",
        ] {
            assert!(bad.parse::<Version>().is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn the_next_version() {
        assert_eq!(version("0.0.1").next().as_str(), "0.0.2");
        assert_eq!(version("1.9").next().as_str(), "1.10");
        assert_eq!(version("7").next().as_str(), "8");
        assert_eq!(version("2.0.0-beta.1").next().as_str(), "2.0.1");
        assert_eq!(version("1.0.0").next().as_str(), "1.0.1");
    }

    proptest! {
        #[test]
        fn next_is_greater(text in "[0-9]{1,5}(\\.[0-9]{1,5}){0,4}(-[a-z]{1,3})?") {
            let version = version(&text);
            prop_assert!(version.next() > version);
        }

        #[test]
        fn text_survives(text in "[0-9a-z.+-]{1,20}") {
            if let Ok(version) = text.parse::<Version>() {
                prop_assert_eq!(version.as_str().parse::<Version>().unwrap(), version.clone());
                prop_assert!(!version.as_str().contains('/'));
            }
        }
    }
}
