//! A number of bytes, as people write it.

use std::str::FromStr;

/// A number of bytes: a whole number and its unit, `MiB` or `GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Amount(pub u64);

/// What is no [`Amount`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a whole number of MiB or GiB is expected, such as 512MiB or 2GiB")]
pub struct NoAmount;

impl FromStr for Amount {
    type Err = NoAmount;

    fn from_str(text: &str) -> Result<Self, NoAmount> {
        let units = [("MiB", 20), ("GiB", 30)];
        let (number, log) =
            units.iter().find_map(|(unit, log)| Some((text.strip_suffix(unit)?, *log))).ok_or(NoAmount)?;
        let number: u64 = number.trim_end().parse().map_err(|_| NoAmount)?;
        number.checked_mul(1 << log).map(Self).ok_or(NoAmount)
    }
}
