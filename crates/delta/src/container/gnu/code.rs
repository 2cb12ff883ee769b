//! Prefix codes: how long the word of each symbol is, and which word it is.
//!
//! Several codes are as short as can be, and which of them somebody chose shows in every byte. So the order in which
//! equals are joined, and how a code is made to fit that would have too long words, are part of the format.

use super::bits::Bits;

/// Longest word, in bits.
pub(super) const WORD_LEN_MAX: usize = 15;

/// A prefix code for `N` symbols.
#[derive(Debug, Clone)]
pub(super) struct Code<const N: usize> {
    lens: [u8; N],
    words: [u16; N],
}

impl<const N: usize> Code<N> {
    /// The code whose words have these lengths (RFC 1951, 3.2.2).
    pub(super) fn of_lens(lens: [u8; N]) -> Self {
        let mut counts = [0_u16; WORD_LEN_MAX + 1];
        lens.iter().filter(|len| **len > 0).for_each(|len| counts[usize::from(*len)] += 1);
        let mut next = [0_u16; WORD_LEN_MAX + 2];
        for len in 1..=WORD_LEN_MAX {
            next[len + 1] = (next[len] + counts[len]) << 1;
        }
        let words = lens.map(|len| {
            let word = next[usize::from(len)];
            next[usize::from(len)] += u16::from(len > 0);
            // A word is written with its highest bit first.
            if len == 0 { 0 } else { word.reverse_bits() >> (16 - u32::from(len)) }
        });
        Self { lens, words }
    }

    /// The code for symbols that are as frequent as this, without words of more than `len_max` bits.
    pub(super) fn of_frequencies(frequencies: &[u32; N], len_max: usize) -> Self {
        let Joined { order, parents } = join(frequencies);
        Self::of_lens(lens(&order, &parents, len_max))
    }

    /// The lengths of all words up to the last symbol that has one.
    pub(super) fn lens(&self) -> &[u8] {
        let len = self.lens.iter().rposition(|len| *len > 0).map_or(0, |last| last + 1);
        &self.lens[..len]
    }

    /// The lengths of all words, 0 for symbols that have none.
    pub(super) fn all_lens(&self) -> &[u8; N] {
        &self.lens
    }

    /// How many bits symbols take that are as frequent as this, and have so many bits behind each.
    pub(super) fn cost(&self, frequencies: &[u32; N], extra_len: impl Fn(usize) -> u32) -> u32 {
        let each = frequencies.iter().zip(&self.lens).enumerate();
        each.map(|(symbol, (frequency, len))| frequency * (u32::from(*len) + extra_len(symbol))).sum()
    }

    /// Writes a symbol.
    pub(super) fn put(&self, symbol: usize, bits: &mut Bits) {
        bits.put(self.words[symbol].into(), self.lens[symbol].into());
    }
}

/// Symbols, and nodes that stand for two of either.
struct Joined {
    /// All of them in the order in which they were joined; the root is the last.
    order: Vec<usize>,
    /// For each of them the node that it went into.
    parents: Vec<usize>,
}

/// Joins the two that are the least frequent, until one is left.
fn join<const N: usize>(frequencies: &[u32; N]) -> Joined {
    let mut heap = Heap { items: Vec::with_capacity(N), frequencies: frequencies.to_vec(), depths: vec![0; N] };
    heap.items.extend((0..N).filter(|symbol| frequencies[*symbol] > 0));
    // A code has two words at least: a symbol that does not occur has one, which is 0 or 1 if no larger one occurs, else 0.
    while heap.items.len() < 2 {
        let symbol = match heap.items.last() {
            None => 0,
            Some(last) if *last < 2 => last + 1,
            Some(_) => 0,
        };
        heap.frequencies[symbol] = 1;
        heap.items.push(symbol);
    }
    (0..heap.items.len() / 2).rev().for_each(|at| heap.sink(at));
    let mut joined = Joined { order: Vec::with_capacity(2 * N), parents: vec![0; 2 * N] };
    while heap.items.len() > 1 {
        let one = heap.items.swap_remove(0);
        heap.sink(0);
        let two = heap.items[0];
        let node = heap.frequencies.len();
        heap.frequencies.push(heap.frequencies[one] + heap.frequencies[two]);
        heap.depths.push(heap.depths[one].max(heap.depths[two]) + 1);
        (joined.parents[one], joined.parents[two]) = (node, node);
        joined.order.extend([one, two]);
        heap.items[0] = node;
        heap.sink(0);
    }
    joined.order.push(heap.items[0]);
    joined
}

/// Symbols and nodes, the least frequent at the top.
struct Heap {
    items: Vec<usize>,
    frequencies: Vec<u32>,
    /// How many nodes are below each at most.
    depths: Vec<u8>,
}

impl Heap {
    /// Of two that are as frequent, the one that is less deep comes first; of two that are as deep too, either.
    fn is_first(&self, one: usize, two: usize) -> bool {
        let rank = |item: usize| (self.frequencies[item], self.depths[item]);
        rank(one) <= rank(two)
    }

    /// Lets what is at `at` sink to where it belongs.
    fn sink(&mut self, mut at: usize) {
        let item = self.items[at];
        loop {
            let mut child = 2 * at + 1;
            if child + 1 < self.items.len() && self.is_first(self.items[child + 1], self.items[child]) {
                child += 1;
            }
            if child >= self.items.len() || self.is_first(item, self.items[child]) {
                break;
            }
            self.items[at] = self.items[child];
            at = child;
        }
        self.items[at] = item;
    }
}

/// The lengths of the words of all symbols.
fn lens<const N: usize>(order: &[usize], parents: &[usize], len_max: usize) -> [u8; N] {
    let mut depths = vec![0; 2 * N];
    let mut counts = [0_u32; WORD_LEN_MAX + 1];
    let mut too_long = 0;
    for item in order.iter().rev().skip(1) {
        let depth = depths[parents[*item]] + 1;
        too_long += i32::from(depth > len_max);
        depths[*item] = depth.min(len_max);
        if *item < N {
            counts[depths[*item]] += 1;
        }
    }
    if too_long == 0 {
        return std::array::from_fn(|symbol| depths[symbol] as u8);
    }
    // A word that is too long takes the place of the longest one that is shorter, which goes one bit deeper with it.
    while too_long > 0 {
        let len = (1..len_max).rev().find(|len| counts[*len] > 0).expect("a shorter word is there, or all would fit");
        counts[len] -= 1;
        counts[len + 1] += 2;
        counts[len_max] -= 1;
        too_long -= 2;
    }
    // What was joined first is the least frequent, and has the longest words.
    let mut lens = [0; N];
    let mut symbols = order.iter().filter(|item| **item < N);
    for len in (1..=len_max).rev() {
        for symbol in symbols.by_ref().take(counts[len] as usize) {
            lens[*symbol] = len as u8;
        }
    }
    lens
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sum over all words is 1 in a code that leaves nothing out, in units of the longest one.
    fn is_full(lens: &[u8]) -> bool {
        lens.iter().filter(|len| **len > 0).map(|len| 1 << (WORD_LEN_MAX - usize::from(*len))).sum::<u32>()
            == 1 << WORD_LEN_MAX
    }

    #[test]
    fn words_that_would_be_too_long_are_cut() {
        let mut frequencies = [0; 24];
        let (mut one, mut two) = (1, 1);
        for frequency in &mut frequencies {
            *frequency = one;
            (one, two) = (two, one + two);
        }
        for len_max in [7, 15] {
            let code = Code::of_frequencies(&frequencies, len_max);
            assert_eq!(code.lens.iter().max(), Some(&(len_max as u8)));
            assert!(is_full(&code.lens) && code.lens.is_sorted_by(|one, two| one >= two), "{:?}", code.lens);
        }
    }

    #[test]
    fn there_are_two_words_at_least() {
        let code = |symbols: &[usize]| {
            let mut frequencies = [0; 30];
            symbols.iter().for_each(|symbol| frequencies[*symbol] = 9);
            let code = Code::of_frequencies(&frequencies, WORD_LEN_MAX);
            (0..30).filter(|symbol| code.lens[*symbol] == 1).collect::<Vec<usize>>()
        };
        assert_eq!(
            [code(&[]), code(&[0]), code(&[1]), code(&[2]), code(&[29])],
            [[0, 1], [0, 1], [1, 2], [0, 2], [0, 29]]
        );
    }
}
