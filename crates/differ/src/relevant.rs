//! Which old files have anything in common with new ones.
//!
//! Sorting every place of a large tree because one small file changed is a waste of time and memory. So both sides are sampled
//! first, twice: as they lie, so that nobody looks into files that have nothing to do with new ones; and then as they are compared.
//! An old file that has no sample of a new one is left out; so is one whose samples other old files have, too.

use std::borrow::Cow;
use std::cmp::Reverse;

use crate::container;
use crate::file::File;
use crate::gear::{BITS_MIN, Gear, Samples};

/// Old files that are shorter are never left out: they hardly have samples.
const LEN_MIN: usize = 2 << 10;

/// Which of `old` may have something in common with any of `new`, as they lie. Containers always may: what is alike in them is packed.
pub(crate) fn plausible(old: &[&[u8]], new: &[&[u8]]) -> Vec<bool> {
    let is_useful = useful(old.iter().map(|old| Cow::Borrowed(*old)), new.iter().map(|new| Cow::Borrowed(*new)));
    is_useful.into_iter().zip(old).map(|(is_useful, old)| is_useful || container::kind(old).is_some()).collect()
}

/// Leaves out the `olds` that nothing of `news` can be copied from that is worth it.
pub(crate) fn keep_relevant(olds: &mut Vec<File<'_>>, news: &[File<'_>]) {
    let mut is_useful = useful(olds.iter().map(File::matched), news.iter().map(File::matched)).into_iter();
    olds.retain(|_| is_useful.next().unwrap_or_default());
}

/// Which of `olds` have something in common with `news` that no other has that has more.
fn useful<'a>(olds: impl Iterator<Item = Cow<'a, [u8]>>, news: impl Iterator<Item = Cow<'a, [u8]>>) -> Vec<bool> {
    // Whether an old file has it that is kept.
    let mut wanted: Samples<bool> = Samples::default();
    for new in news {
        Gear::new(BITS_MIN).all(&new, |sample| {
            wanted.insert(sample, false);
        });
    }
    let mut is_kept = Vec::new();
    let mut shared: Vec<(usize, Vec<u64>)> = Vec::new();
    for (n, old) in olds.enumerate() {
        is_kept.push(old.len() < LEN_MIN);
        let mut own = Vec::new();
        Gear::new(BITS_MIN).all(&old, |sample| own.extend(wanted.contains_key(&sample).then_some(sample)));
        shared.push((n, own));
    }
    // The most useful first, so that what is left over for the others is what only they have.
    shared.sort_by_key(|(n, own)| (Reverse(own.len()), *n));
    for (n, own) in shared.into_iter().filter(|(_, own)| !own.is_empty()) {
        for sample in own {
            if let Some(is_taken) = wanted.get_mut(&sample)
                && !std::mem::replace(is_taken, true)
            {
                is_kept[n] = true;
            }
        }
    }
    is_kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::noise;

    #[test]
    fn what_is_nothing_alike_is_not_looked_into() {
        let (shared, other) = (noise(1, 5_000), noise(2, 5_000));
        let archive = [&b"\x1f\x8b\x08"[..], &noise(3, 5_000)].concat();
        let olds: [&[u8]; 5] = [&other, &shared[1_000..4_000], &archive, &other[..100], &shared[500..]];
        assert_eq!(plausible(&olds, &[&shared]), [false, false, true, true, true]);
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
