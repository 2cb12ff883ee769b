//! A part of a fleet, exactly: parts per million, so that no signed document and no decision knows a float.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Parts of a whole.
pub(super) const WHOLE: u32 = 1_000_000;

/// Parts of one percent.
const PERCENT: u32 = WHOLE / 100;

/// Digits behind the point of a percentage that a part per million can show.
const DIGITS: usize = 4;

/// Why a text is not a fraction.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a part of the devices: {reason}")]
pub struct Error {
    text: String,
    reason: String,
}

/// How much of a fleet: 0 % to 100 %, in steps of 0.0001 %.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Fraction(u32);

impl Fraction {
    /// Nobody.
    pub const NONE: Self = Self(0);

    /// Everybody.
    pub const FULL: Self = Self(WHOLE);

    /// So many percent; everybody where that is over 100.
    pub const fn percent(percent: u32) -> Self {
        if percent >= 100 { Self::FULL } else { Self(percent * PERCENT) }
    }

    /// In parts per million.
    pub const fn ppm(self) -> u32 {
        self.0
    }

    /// Whether this is everybody.
    pub const fn is_full(self) -> bool {
        self.0 == WHOLE
    }

    /// As far from here to `to` as `part` is of `whole`, rounded down; all the way where there is no whole.
    pub(super) fn toward(self, to: Self, part: u64, whole: u64) -> Self {
        if part >= whole {
            return to.max(self);
        }
        let way = u128::from(to.0.saturating_sub(self.0)) * u128::from(part) / u128::from(whole);
        Self(self.0 + u32::try_from(way).expect("a part of a fraction is no more than the fraction"))
    }
}

/// Percent with as many digits as it needs.
pub(super) fn write_percent(f: &mut fmt::Formatter<'_>, ppm: u32) -> fmt::Result {
    let (whole, rest) = (ppm / PERCENT, ppm % PERCENT);
    if rest == 0 {
        return write!(f, "{whole}%");
    }
    let digits = format!("{rest:0DIGITS$}");
    write!(f, "{whole}.{}%", digits.trim_end_matches('0'))
}

impl fmt::Display for Fraction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_percent(f, self.0)
    }
}

impl FromStr for Fraction {
    type Err = Error;

    /// "5" and "5%" are five percent. A number with a point and no sign is refused: 0.05 may be meant as a twentieth.
    fn from_str(text: &str) -> Result<Self, Error> {
        let fail = |reason: String| Err(Error { text: text.chars().take(40).collect(), reason });
        let (number, signed) = match text.strip_suffix('%') {
            Some(number) => (number.trim_end(), true),
            None => (text, false),
        };
        let (whole, rest) = number.split_once('.').map_or((number, None), |(whole, rest)| (whole, Some(rest)));
        let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        if !is_number(whole) || !rest.is_none_or(is_number) {
            return fail("say it in percent, from 0% to 100%, such as 5%".to_owned());
        }
        if !signed && rest.is_some() {
            let meant = share(whole, rest.unwrap_or_default()).map(|meant| format!("{meant} or ")).unwrap_or_default();
            return fail(format!("rollouts are in percent and this has no '%'; say which is meant, {meant}{number}%"));
        }
        match percent(whole, rest.unwrap_or_default()) {
            Some(ppm) if ppm <= WHOLE => Ok(Self(ppm)),
            Some(_) => fail("100% is everybody".to_owned()),
            None if whole.len() > 9 => fail("100% is everybody".to_owned()),
            None => fail("it is finer than 0.0001%, one device in a million".to_owned()),
        }
    }
}

/// Parts per million of `whole`.`rest` percent, if they are exact.
fn percent(whole: &str, rest: &str) -> Option<u32> {
    let rest = rest.trim_end_matches('0');
    if rest.len() > DIGITS {
        return None;
    }
    let parts: u32 = format!("{rest:0<DIGITS$}").parse().ok()?;
    let whole = whole.parse::<u32>().ok()?;
    // Anything over 100 is as good as any other.
    Some(whole.min(101) * PERCENT + parts)
}

/// What `whole`.`rest` is as a share of one: 0.05 is 5%.
fn share(whole: &str, rest: &str) -> Option<Fraction> {
    let rest = rest.trim_end_matches('0');
    let ppm: u32 = format!("{rest:0<6}").parse().ok().filter(|_| rest.len() <= 6)?;
    let whole: u32 = whole.parse().ok().filter(|whole| *whole <= 1)?;
    (whole * WHOLE + ppm).try_into().ok()
}

impl TryFrom<u32> for Fraction {
    type Error = Error;

    fn try_from(ppm: u32) -> Result<Self, Error> {
        if ppm > WHOLE {
            let reason = format!("{WHOLE} parts per million are everybody");
            return Err(Error { text: ppm.to_string(), reason });
        }
        Ok(Self(ppm))
    }
}

impl From<Fraction> for u32 {
    fn from(fraction: Fraction) -> u32 {
        fraction.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_people_write() {
        for (text, ppm) in [
            ("0", 0),
            ("0%", 0),
            ("1", 10_000),
            ("5", 50_000),
            ("5%", 50_000),
            ("5 %", 50_000),
            ("0.05%", 500),
            ("0.0001%", 1),
            ("12.50%", 125_000),
            ("100", WHOLE),
            ("100%", WHOLE),
            ("100.0%", WHOLE),
        ] {
            assert_eq!(text.parse::<Fraction>().map(Fraction::ppm), Ok(ppm), "{text}");
        }
        for (text, hint) in [
            ("0.05", "say which is meant, 5% or 0.05%"),
            ("1.0", "say which is meant, 100% or 1.0%"),
            ("5.5", "say which is meant, 5.5%"),
            ("101", "100% is everybody"),
            ("101%", "100% is everybody"),
            ("100.1%", "100% is everybody"),
            ("99999999999999999999", "100% is everybody"),
            ("0.00001%", "finer than"),
            ("", "in percent"),
            ("%", "in percent"),
            ("-5%", "in percent"),
            (".5%", "in percent"),
            ("5.%", "in percent"),
            ("five", "in percent"),
            ("1e2%", "in percent"),
        ] {
            let error = text.parse::<Fraction>().unwrap_err().to_string();
            assert!(error.contains(hint), "{text}: {error}");
        }
    }

    #[test]
    fn a_document_with_more_than_everybody_is_refused() {
        assert!(serde_json::from_str::<Fraction>("1000001").is_err());
        assert!(serde_json::from_str::<Fraction>("0.5").is_err());
        assert_eq!(serde_json::from_str::<Fraction>("1000000").unwrap(), Fraction::FULL);
    }

    proptest! {
        #[test]
        fn text_goes_both_ways(ppm in 0..=WHOLE) {
            let fraction = Fraction(ppm);
            prop_assert_eq!(fraction.to_string().parse::<Fraction>(), Ok(fraction));
        }

        #[test]
        fn a_way_only_grows(from in 0..=WHOLE, to in 0..=WHOLE, whole: u64, a: u64, b: u64) {
            let (from, to) = (Fraction(from), Fraction(to));
            let (near, far) = (from.toward(to, a.min(b), whole), from.toward(to, a.max(b), whole));
            prop_assert!(from <= near && near <= far && far <= to.max(from));
        }
    }
}
