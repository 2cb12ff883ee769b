//! How a candidate reaches a channel: a fraction of its devices, or a ramp from one to another over a time.

use std::fmt;
use std::str::FromStr;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::fraction::{self, Fraction};
use crate::Timestamp;
use crate::limits::RAMP_SECS_MAX;

/// Why a text is not a rollout.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A part of it is no fraction.
    #[error(transparent)]
    Fraction(#[from] fraction::Error),
    /// It is no ramp.
    #[error("'{text}' is not a ramp: {reason} (ramps look like 5%..100%/24h)")]
    Ramp {
        /// What was written; its beginning, if that is long.
        text: String,
        /// What is wrong.
        reason: String,
    },
}

/// A ramp: from one fraction to another over a time. It only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ramp {
    from: Fraction,
    to: Fraction,
    over_secs: u64,
}

/// What a person asks for: "5%", or "5%..100%/24h".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Rollout {
    /// So many of the devices, until a person says otherwise.
    Fraction(Fraction),
    /// More and more of them.
    Ramp(Ramp),
}

impl Rollout {
    /// Whether everybody is meant, at once.
    pub fn is_full(&self) -> bool {
        self.first().is_full()
    }

    /// What it begins with.
    pub fn first(&self) -> Fraction {
        match self {
            Self::Fraction(fraction) => *fraction,
            Self::Ramp(ramp) => ramp.from,
        }
    }
}

impl fmt::Display for Rollout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fraction(fraction) => write!(f, "{fraction}"),
            Self::Ramp(Ramp { from, to, over_secs }) => write!(f, "{from}..{to}/{}", span(*over_secs)),
        }
    }
}

impl FromStr for Rollout {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let fail = |reason: &str| {
            let text = text.chars().take(40).collect();
            Err(Error::Ramp { text, reason: reason.to_owned() })
        };
        let Some((from, rest)) = text.split_once("..") else { return Ok(Self::Fraction(text.parse()?)) };
        let Some((to, over)) = rest.split_once('/') else { return fail("it does not say over how long") };
        let (from, to): (Fraction, Fraction) = (from.trim().parse()?, to.trim().parse()?);
        if to < from {
            return fail("a ramp only grows; to make a rollout smaller, give it a fraction");
        }
        match secs(over.trim()) {
            Some(0) | None => fail("the time is a number with d, h, m or s behind it, such as 24h"),
            Some(secs) if secs > RAMP_SECS_MAX => fail("it takes longer than a year"),
            Some(over_secs) => Ok(Self::Ramp(Ramp { from, to, over_secs })),
        }
    }
}

impl TryFrom<String> for Rollout {
    type Error = Error;
    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Rollout> for String {
    fn from(rollout: Rollout) -> String {
        rollout.to_string()
    }
}

const UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];

/// The seconds of a time such as `24h` or `1d12h`.
fn secs(text: &str) -> Option<u64> {
    let mut total: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let unit_at = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, tail) = rest.split_at(unit_at);
        let unit = tail.chars().next()?;
        let (_, unit_secs) = UNITS.iter().find(|(name, _)| *name == unit)?;
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(*unit_secs)?)?;
        rest = &tail[unit.len_utf8()..];
    }
    (!text.is_empty()).then_some(total)
}

/// A time as people write it: the largest unit that holds it exactly, and no days where hours are usual.
pub(super) fn span(secs: u64) -> String {
    let usual = UNITS.iter().filter(|(name, _)| *name != 'd' || secs > 86_400);
    let exact = usual.copied().find(|(_, unit)| secs.is_multiple_of(*unit)).unwrap_or(('s', 1));
    format!("{}{}", secs / exact.1, exact.0)
}

/// A rollout under way, in the document of a channel: a fraction that depends on nothing but the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wave {
    /// What it begins with, in parts per million of the devices.
    pub from_ppm: Fraction,
    /// Where it ends; the same where it does not grow.
    pub to_ppm: Fraction,
    /// When it began.
    pub begun: Timestamp,
    /// How long it takes; 0 where it does not grow.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub over_secs: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Wave {
    /// The wave of `rollout`, begun at `begun`.
    pub fn begin(rollout: Rollout, begun: Timestamp) -> Self {
        let (from_ppm, to_ppm, over_secs) = match rollout {
            Rollout::Fraction(fraction) => (fraction, fraction, 0),
            Rollout::Ramp(ramp) => (ramp.from, ramp.to, ramp.over_secs),
        };
        Self { from_ppm, to_ppm, begun, over_secs }
    }

    /// How long it has run at `now`, in seconds: nothing before it began, and no longer than it takes.
    pub fn ran_secs(&self, now: Timestamp) -> u64 {
        let ran = now.as_second().saturating_sub(self.begun.as_second());
        u64::try_from(ran).unwrap_or(0).min(self.over_secs)
    }

    /// When it has come as far as it will.
    pub fn ends(&self) -> Timestamp {
        let over = SignedDuration::from_secs(i64::try_from(self.over_secs).unwrap_or(i64::MAX));
        self.begun.checked_add(over).unwrap_or(Timestamp::MAX)
    }

    /// How far it is at `now`. It never shrinks as time goes on.
    pub fn fraction_at(&self, now: Timestamp) -> Fraction {
        if now < self.begun {
            return self.from_ppm;
        }
        self.fraction_after(self.ran_secs(now))
    }

    /// How far it is when it has run for so many seconds.
    pub fn fraction_after(&self, ran_secs: u64) -> Fraction {
        self.from_ppm.toward(self.to_ppm, ran_secs, self.over_secs)
    }

    /// The same, going on at `now` from where it was after `ran_secs`.
    pub(super) fn going_on(self, ran_secs: u64, now: Timestamp) -> Self {
        let ran = SignedDuration::from_secs(i64::try_from(ran_secs).unwrap_or(i64::MAX));
        Self { begun: now.checked_sub(ran).unwrap_or(Timestamp::MIN), ..self }
    }

    /// What is left of it when it has come so far: "5% of devices", "5% to 100% of devices over 24h".
    pub fn describe(&self) -> String {
        if self.to_ppm <= self.from_ppm {
            format!("{} of devices", self.from_ppm)
        } else {
            format!("{} to {} of devices over {}", self.from_ppm, self.to_ppm, span(self.over_secs))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_people_write() {
        for (text, shown) in [
            ("5", "5%"),
            ("5%", "5%"),
            ("0", "0%"),
            ("5%..100%/24h", "5%..100%/24h"),
            ("5..100/24h", "5%..100%/24h"),
            ("0%..50% / 7d", "0%..50%/7d"),
            ("5%..5%/90s", "5%..5%/90s"),
            ("1%..2%/1d12h", "1%..2%/36h"),
            ("1%..2%/1h1s", "1%..2%/3601s"),
        ] {
            let rollout: Rollout = text.parse().unwrap();
            assert_eq!(rollout.to_string(), shown);
            assert_eq!(shown.parse::<Rollout>(), Ok(rollout));
        }
        for (text, hint) in [
            ("0.05", "say which is meant, 5% or 0.05%"),
            ("101", "100% is everybody"),
            ("0.05..1/24h", "say which is meant"),
            ("5%..100%", "over how long"),
            ("100%..5%/24h", "only grows"),
            ("5%..100%/", "such as 24h"),
            ("5%..100%/24", "such as 24h"),
            ("5%..100%/0h", "such as 24h"),
            ("5%..100%/h", "such as 24h"),
            ("5%..100%/24y", "such as 24h"),
            ("5%..100%/-1h", "such as 24h"),
            ("5%..100%/400d", "longer than a year"),
            ("5%..100%/99999999999999999999h", "such as 24h"),
            ("5%..101%/24h", "100% is everybody"),
        ] {
            let error = text.parse::<Rollout>().unwrap_err().to_string();
            assert!(error.contains(hint), "{text}: {error}");
        }
        assert!("100".parse::<Rollout>().unwrap().is_full());
        assert!(!"99.9999%".parse::<Rollout>().unwrap().is_full());
        assert!(!"0%..100%/1s".parse::<Rollout>().unwrap().is_full());
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_ramp_is_a_function_of_the_time() {
        let wave = Wave::begin("5%..100%/24h".parse().unwrap(), at(1_000_000));
        let percent = |second| wave.fraction_at(at(second)).to_string();
        assert_eq!(percent(0), "5%", "a clock that is behind");
        assert_eq!(percent(1_000_000), "5%");
        assert_eq!(percent(1_000_000 + 43_200), "52.5%");
        assert_eq!(percent(1_000_000 + 86_399), "99.9989%");
        assert_eq!(percent(1_000_000 + 86_400), "100%");
        assert_eq!(wave.fraction_at(Timestamp::MAX), Fraction::FULL);
        assert_eq!(wave.fraction_at(Timestamp::MIN).to_string(), "5%");
        assert_eq!(wave.describe(), "5% to 100% of devices over 24h");
        let fixed = Wave::begin("5".parse().unwrap(), at(7));
        assert_eq!((fixed.fraction_at(at(0)), fixed.fraction_at(at(99))), (Fraction::percent(5), Fraction::percent(5)));
        assert_eq!(fixed.describe(), "5% of devices");
    }

    proptest! {
        #[test]
        fn a_wave_only_grows(
            from in 0..=1_000_000_u32, to in 0..=1_000_000_u32, begun in -9_000_000_000_i64..9_000_000_000,
            over_secs in prop_oneof![Just(0), 0..100_000_u64, any::<u64>()],
            a in -9_000_000_000_i64..9_000_000_000, b in -9_000_000_000_i64..9_000_000_000, ran: u64,
        ) {
            let (from_ppm, to_ppm) = (from.try_into().unwrap(), to.try_into().unwrap());
            let wave = Wave { from_ppm, to_ppm, begun: at(begun), over_secs };
            let (early, late) = (wave.fraction_at(at(a.min(b))), wave.fraction_at(at(a.max(b))));
            prop_assert!(from_ppm <= early && early <= late && late <= to_ppm.max(from_ppm));
            // A pause changes nothing but the time.
            let ran = ran.min(wave.over_secs).min(1_000_000_000);
            let resumed = wave.going_on(ran, at(b));
            prop_assert_eq!(resumed.fraction_at(at(b)), wave.fraction_after(ran));
        }
    }
}
