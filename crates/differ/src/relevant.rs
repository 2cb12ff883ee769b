//! Which old files have anything in common with new ones.
//!
//! Sorting every place of a large tree because one small file changed is a waste of time and memory. So both sides are sampled
//! first. An old file that has no sample of a new one is left out; so is one whose samples other old files have, too.

use std::cmp::Reverse;
use std::collections::HashMap;

use crate::file::File;
use crate::gear::{BITS_MIN, Gear};

/// Old files that are shorter are never left out: they hardly have samples.
const LEN_MIN: usize = 2 << 10;

/// Leaves out the `olds` that nothing of `news` can be copied from that is worth it.
pub(crate) fn keep_relevant(olds: &mut Vec<File<'_>>, news: &[File<'_>]) {
    let mut wanted: HashMap<u64, bool> = HashMap::new();
    for new in news {
        Gear::new(BITS_MIN).all(&new.matched(), |sample| {
            wanted.insert(sample, false);
        });
    }
    let mut shared: Vec<(usize, Vec<u64>)> = Vec::new();
    for (n, old) in olds.iter().enumerate().filter(|(_, old)| old.image().len() >= LEN_MIN) {
        let mut own = Vec::new();
        Gear::new(BITS_MIN).all(&old.matched(), |sample| own.extend(wanted.contains_key(&sample).then_some(sample)));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::noise;

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
