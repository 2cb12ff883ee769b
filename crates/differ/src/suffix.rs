//! Every place of the old image in the order of what follows it, so that the longest match of some bytes is found by
//! halving.

use libsais::SuffixArrayConstruction;

/// Longest text, in bytes: places are kept as 31 bits.
pub(crate) const TEXT_LEN_MAX: usize = i32::MAX as usize;

/// From this length on, places are found by their first three bytes instead of two: the table takes 64 MiB.
const WIDE_FROM: usize = 48 << 20;

/// How many bytes of a match are looked at: what matches longer is followed byte by byte anyhow, and nobody should compare
/// megabytes at every place of a text that repeats itself.
const LOOKED_AT: usize = 1 << 10;

/// How many places that match as well are looked at, to each side.
const NEIGHBOURS: usize = 16;

/// A match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Match {
    /// Where in the text.
    pub(crate) at: usize,
    /// How many bytes.
    pub(crate) len: usize,
}

/// A text, and all its places in order.
pub(crate) struct Index<'t> {
    text: &'t [u8],
    places: Vec<i32>,
    /// For each beginning of `width` bytes: the first of `places` that has it, or a greater one.
    first: Vec<u32>,
    width: usize,
}

impl<'t> Index<'t> {
    /// Sorts the places of `text`; at most [`TEXT_LEN_MAX`] bytes.
    pub(crate) fn new(text: &'t [u8]) -> Self {
        assert!(text.len() <= TEXT_LEN_MAX, "the caller splits longer texts");
        let width = if text.len() < WIDE_FROM { 2 } else { 3 };
        let places = if text.is_empty() { Vec::new() } else { sorted(text) };
        let mut first = vec![0_u32; (1 << (8 * width)) + 1];
        (0..text.len()).for_each(|at| first[beginning(&text[at..], width) + 1] += 1);
        let mut sum = 0;
        for count in &mut first {
            sum += *count;
            *count = sum;
        }
        Self { text, places, first, width }
    }

    /// The text.
    pub(crate) fn text(&self) -> &'t [u8] {
        self.text
    }

    /// The longest match of the first 1,024 bytes of `wanted`, if it has as many bytes as the table looks at; of several,
    /// one that is near `expected`.
    pub(crate) fn longest(&self, wanted: &[u8], expected: usize) -> Option<Match> {
        let wanted = &wanted[..wanted.len().min(LOOKED_AT)];
        if wanted.len() < self.width {
            return None;
        }
        let key = beginning(wanted, self.width);
        let (low, high) = (self.first[key] as usize, self.first[key + 1] as usize);
        if low == high {
            return None;
        }
        let insert = self.insertion(wanted, low, high);
        let around = [insert.checked_sub(1).filter(|n| *n >= low), Some(insert).filter(|n| *n < high)];
        let matched = |n: usize| common(&self.text[self.places[n] as usize..], wanted);
        let (best, len) = around.into_iter().flatten().map(|n| (n, matched(n))).max_by_key(|(_, len)| *len)?;
        let before = (low..best).rev().take(NEIGHBOURS).take_while(|n| matched(*n) == len);
        let after = (best + 1..high).take(NEIGHBOURS).take_while(|n| matched(*n) == len);
        let all = before.chain(after).chain([best]).map(|n| self.places[n] as usize);
        let at = all.min_by_key(|at| at.abs_diff(expected))?;
        (len >= self.width).then_some(Match { at, len })
    }

    /// The first of `low..high` whose place is not before `wanted` in the order.
    fn insertion(&self, wanted: &[u8], mut low: usize, mut high: usize) -> usize {
        // What the neighbours on both sides have in common with `wanted`, everything between them has, too.
        let (mut low_common, mut high_common) = (self.width, self.width);
        while low < high {
            let middle = low + (high - low) / 2;
            let place = &self.text[self.places[middle] as usize..];
            let known = low_common.min(high_common).min(place.len());
            let len = known + common(&place[known..], &wanted[known..]);
            let is_before = match (place.get(len), wanted.get(len)) {
                (_, None) => false,
                (None, Some(_)) => true,
                (Some(there), Some(want)) => there < want,
            };
            if is_before {
                (low, low_common) = (middle + 1, len);
            } else {
                (high, high_common) = (middle, len);
            }
        }
        low
    }
}

fn sorted(text: &[u8]) -> Vec<i32> {
    let construction = SuffixArrayConstruction::for_text(text).in_owned_buffer32().single_threaded();
    construction.run().expect("a text of at most 31 bits can be sorted").into_vec()
}

/// The first `width` bytes as a number; what is not there counts as zero, which is where a shorter text is sorted.
fn beginning(text: &[u8], width: usize) -> usize {
    (0..width).fold(0, |key, n| key << 8 | usize::from(text.get(n).copied().unwrap_or_default()))
}

/// How many bytes two texts have in common at their beginnings.
pub(crate) fn common(one: &[u8], other: &[u8]) -> usize {
    let len = one.len().min(other.len());
    let (one, other) = (&one[..len], &other[..len]);
    let word = |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    let mut at = 0;
    while at + 8 <= len {
        let differ = word(one, at) ^ word(other, at);
        if differ != 0 {
            return at + (differ.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    at + one[at..].iter().zip(&other[at..]).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn longest_by_hand(text: &[u8], wanted: &[u8]) -> usize {
        (0..text.len()).map(|at| common(&text[at..], wanted)).max().unwrap_or_default()
    }

    proptest! {
        #[test]
        fn the_longest_match_is_found(
            text in proptest::collection::vec(0..4_u8, 0..200),
            wanted in proptest::collection::vec(0..4_u8, 0..20),
            expected in 0..200_usize,
        ) {
            let index = Index::new(&text);
            let by_hand = longest_by_hand(&text, &wanted);
            match index.longest(&wanted, expected) {
                Some(found) => {
                    prop_assert_eq!(found.len, by_hand);
                    prop_assert_eq!(common(&text[found.at..], &wanted), found.len);
                }
                None => prop_assert!(by_hand < 2),
            }
        }
    }

    #[test]
    fn of_equal_ones_the_nearest() {
        let text = b"abcd....abcd....abcd....";
        let index = Index::new(text);
        for (expected, at) in [(0, 0), (7, 8), (23, 16)] {
            assert_eq!(index.longest(b"abcdX", expected), Some(Match { at, len: 4 }));
        }
    }
}
