//! Places that are found again: about one in so many is taken, by what the 64 bytes before it are, so that the same bytes are sampled
//! alike wherever they lie (a gear hash: Xia and others, Ddelta, 2014).

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// How many bytes tell whether the place behind them is taken.
pub(crate) const SEEN: usize = 64;

/// Least bits of a hash that must be zero: one place in 64 is taken.
pub(crate) const BITS_MIN: u32 = 6;

/// A map from what is in front of places that are taken. Their hashes are as good as random, so they are not hashed again.
pub(crate) type Samples<T> = HashMap<u64, T, BuildHasherDefault<AsItIs>>;

/// What a [`Samples`] hashes with: the lower bits of a place that is taken are as good as any.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        // The map looks at the upper bits, too, and those are zero.
        self.0 ^ self.0 << 32
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0 << 8 | u64::from(*byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// A reader of bytes that looks for places to take.
#[derive(Debug, Clone)]
pub(crate) struct Gear {
    hash: u64,
    /// How many bytes it has seen, as far as that matters.
    seen: usize,
    /// Which bits of the hash of a place are zero where it is taken.
    mask: u64,
}

impl Gear {
    /// One that takes a place of `2^bits`.
    pub(crate) fn new(bits: u32) -> Self {
        Self { hash: 0, seen: 0, mask: mask(bits) }
    }

    /// Forgets what it has seen: the next bytes lie elsewhere.
    pub(crate) fn restart(&mut self) {
        (self.hash, self.seen) = (0, 0);
    }

    /// The first place that is taken: how many of `bytes` lie before it, and the hash of those. None of them are left unseen without one.
    pub(crate) fn next(&mut self, bytes: &[u8]) -> Option<(usize, u64)> {
        for (n, byte) in bytes.iter().enumerate() {
            self.hash = (self.hash << 1).wrapping_add(GEAR[usize::from(*byte)]);
            self.seen += 1;
            if self.hash & self.mask == 0 && self.seen >= SEEN {
                return Some((n + 1, self.hash));
            }
        }
        None
    }

    /// Calls `each` with the hash of every place of `bytes` that is taken.
    pub(crate) fn all(&mut self, mut bytes: &[u8], mut each: impl FnMut(u64)) {
        while let Some((len, hash)) = self.next(bytes) {
            each(hash);
            bytes = &bytes[len..];
        }
    }
}

/// Whether a place with this hash is taken where `2^bits` are one.
pub(crate) fn is_taken(hash: u64, bits: u32) -> bool {
    hash & mask(bits) == 0
}

/// The upper bits depend on the most bytes.
fn mask(bits: u32) -> u64 {
    u64::MAX.checked_shl(u64::BITS - bits).unwrap_or_default()
}

/// A number for each byte, as good as random.
const GEAR: [u64; 256] = {
    let mut gear = [0; 256];
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut n = 0;
    while n < 256 {
        // xorshift64* (Vigna, 2016).
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        gear[n] = state.wrapping_mul(0x2545_f491_4f6c_dd1d);
        n += 1;
    }
    gear
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::noise;

    #[test]
    fn the_same_bytes_are_sampled_alike_wherever_they_lie() {
        let shared = noise(1, 20_000);
        let samples = |bytes: &[u8], bits| {
            let mut all = Vec::new();
            Gear::new(bits).all(bytes, |hash| all.push(hash));
            all
        };
        let own = samples(&shared, BITS_MIN);
        assert!((200..450).contains(&own.len()), "{}", own.len());
        let elsewhere = samples(&[&noise(2, 777)[..], &shared].concat(), BITS_MIN);
        assert!(elsewhere.ends_with(&own));
        let fewer: Vec<u64> = own.into_iter().filter(|hash| is_taken(*hash, 9)).collect();
        assert_eq!(samples(&shared, 9), fewer);
    }

    #[test]
    fn bytes_in_pieces_are_bytes() {
        let bytes = noise(3, 5_000);
        let (mut whole, mut pieces) = (Vec::new(), Vec::new());
        Gear::new(BITS_MIN).all(&bytes, |hash| whole.push(hash));
        let mut gear = Gear::new(BITS_MIN);
        bytes.chunks(7).for_each(|piece| gear.all(piece, |hash| pieces.push(hash)));
        assert_eq!(whole, pieces);
    }
}
