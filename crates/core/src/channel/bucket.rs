//! Which part of a fleet a device is in: its bucket, from its own random id and a salt of the candidate's.
//!
//! A device is in the wave of a candidate when its bucket lies below the fraction, so a wider wave always holds the narrower
//! one. Each candidate has a salt of its own: otherwise the same devices would be the first every time. It is random and
//! drawn when the candidate is promoted, so nobody can make up ids beforehand that lie in its first percent.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::fraction::{self, Fraction, WHOLE};

/// What is hashed in front of salt and id.
const CONTEXT: &[u8; 16] = b"updraft bucket 1";

/// Why a text is not 16 bytes in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not {what}: 32 lower-case hexadecimal digits are expected")]
pub struct Error {
    what: &'static str,
    text: String,
}

macro_rules! random_type {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name([u8; 16]);

        impl $name {
            /// The one with these bytes, which should be random.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// Its bytes.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = Error;
            fn from_str(text: &str) -> Result<Self, Error> {
                let mut bytes = [0; 16];
                let is_lower = !text.bytes().any(|b| b.is_ascii_uppercase());
                if !is_lower || hex::decode_to_slice(text, &mut bytes).is_err() {
                    return Err(Error { what: $what, text: text.chars().take(40).collect() });
                }
                Ok(Self(bytes))
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;
            fn try_from(text: String) -> Result<Self, Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(it: $name) -> String {
                it.to_string()
            }
        }
    };
}

random_type! {
    /// The id of a device: random, made by the device itself, never anything personal.
    DeviceId, "the id of a device"
}
random_type! {
    /// What makes the buckets of one candidate differ from those of every other.
    Salt, "a salt"
}

/// Where a device is in the fleet for one candidate: in the wave when the fraction reaches past it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Bucket(u32);

impl Bucket {
    /// The bucket of `device` for the candidate with this salt.
    pub fn of(salt: &Salt, device: &DeviceId) -> Self {
        let hash = blake3::Hasher::new().update(CONTEXT).update(&salt.0).update(&device.0).finalize();
        let first = u64::from_le_bytes(hash.as_bytes()[..8].try_into().expect("eight bytes are eight bytes"));
        // The high half of the product: each bucket has the same share of all 2^64 values, but for one in 10^13.
        let bucket = (u128::from(first) * u128::from(WHOLE)) >> 64;
        Self(u32::try_from(bucket).expect("it is less than a million"))
    }

    /// In parts per million of the fleet: 0 to 999,999.
    pub const fn ppm(self) -> u32 {
        self.0
    }

    /// Whether `fraction` reaches it.
    pub const fn is_in(self, fraction: Fraction) -> bool {
        self.0 < fraction.ppm()
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fraction::write_percent(f, self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers() {
        // The example of docs/format.md.
        let salt: Salt = "000102030405060708090a0b0c0d0e0f".parse().unwrap();
        let device: DeviceId = "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff".parse().unwrap();
        let bucket = Bucket::of(&salt, &device);
        assert_eq!((bucket.ppm(), bucket.to_string().as_str()), (173_539, "17.3539%"));
    }

    #[test]
    fn ids_are_text_in_one_way_only() {
        let id = DeviceId::from_bytes([0xab; 16]);
        assert_eq!(id.to_string().parse::<DeviceId>(), Ok(id));
        for bad in ["", "ab", &id.to_string().to_uppercase(), &format!("{id}0"), &format!("{id}00")] {
            assert!(bad.parse::<DeviceId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn nobody_is_in_nothing_and_everybody_in_everything() {
        let bucket = Bucket::of(&Salt::from_bytes([1; 16]), &DeviceId::from_bytes([2; 16]));
        assert!(!bucket.is_in(Fraction::NONE) && bucket.is_in(Fraction::FULL));
        assert!(Bucket(999_999).is_in(Fraction::FULL) && !Bucket(0).is_in(Fraction::NONE));
    }
}
