//! Which old files have anything in common with new ones.
//!
//! Sorting every place of a large tree because one small file changed is a waste of time and memory. So both sides are sampled
//! first: about one place in 64 is taken, by what the 64 bytes before it are, so that the same bytes are sampled alike wherever
//! they lie. An old file that has no sample of a new one is left out; so is one whose samples other old files have, too.

use std::cmp::Reverse;
use std::collections::HashMap;

use crate::file::File;

/// Old files that are shorter are never left out: they hardly have samples.
const LEN_MIN: usize = 2 << 10;

/// A place is taken where these bits of its hash are zero.
const TAKEN_MASK: u64 = 0x3f << 58;

/// Leaves out the `olds` that nothing of `news` can be copied from that is worth it.
pub(crate) fn keep_relevant(olds: &mut Vec<File<'_>>, news: &[File<'_>]) {
    let mut wanted: HashMap<u64, bool> = HashMap::new();
    for new in news {
        samples(&new.matched(), |sample| {
            wanted.insert(sample, false);
        });
    }
    let mut shared: Vec<(usize, Vec<u64>)> = Vec::new();
    for (n, old) in olds.iter().enumerate().filter(|(_, old)| old.image().len() >= LEN_MIN) {
        let mut own = Vec::new();
        samples(&old.matched(), |sample| own.extend(wanted.contains_key(&sample).then_some(sample)));
        shared.push((n, own));
    }
    // The most useful first, so that what is left over for the others is what only they have.
    shared.sort_by_key(|(n, own)| (Reverse(own.len()), *n));
    let mut is_kept: Vec<bool> = olds.iter().map(|old| old.image().len() < LEN_MIN).collect();
    for (n, own) in shared {
        for sample in own {
            if let Some(is_taken) = wanted.get_mut(&sample)
                && !std::mem::replace(is_taken, true)
            {
                is_kept[n] = true;
            }
        }
    }
    let mut is_kept = is_kept.into_iter();
    olds.retain(|_| is_kept.next().unwrap_or_default());
}

/// Calls `each` with the hash of the 64 bytes in front of every place that is taken (a gear hash: Xia and others, Ddelta, 2014).
fn samples(bytes: &[u8], mut each: impl FnMut(u64)) {
    let mut hash = 0_u64;
    for (n, byte) in bytes.iter().enumerate() {
        hash = (hash << 1).wrapping_add(GEAR[usize::from(*byte)]);
        if hash & TAKEN_MASK == 0 && n >= 64 {
            each(hash);
        }
    }
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

    fn noise(seed: u64, len: usize) -> Vec<u8> {
        let mut state = seed;
        let mut next = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        (0..len).map(|_| next()).collect()
    }

    #[test]
    fn what_has_something_in_common_is_kept_and_the_rest_is_not() {
        let shared = noise(1, 20_000);
        let olds = [
            noise(2, 50_000),
            [&noise(3, 9_000)[..], &shared[..10_000]].concat(),
            [&shared[10_000..], &noise(4, 9_000)[..]].concat(),
            shared[12_000..19_000].to_vec(),
            noise(5, 100),
        ];
        let new = [&noise(6, 5_000)[..], &shared[..]].concat();
        let mut olds: Vec<File<'_>> = olds.iter().enumerate().map(|(n, bytes)| File::new(n, bytes, None)).collect();
        keep_relevant(&mut olds, &[File::new(0, &new, None)]);
        let kept: Vec<usize> = olds.iter().map(|old| old.number).collect();
        assert_eq!(kept, [1, 2, 4], "0 has nothing in common, 3 nothing of its own, 4 is short");
    }
}
