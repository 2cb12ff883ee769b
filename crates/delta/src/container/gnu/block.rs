//! A block: what was found so far, when that is enough, and how it is written (RFC 1951, 3.2.3 to 3.2.7).

use super::bits::Bits;
use super::code::{Code, WORD_LEN_MAX};

/// A block is over with so many symbols.
const SYMBOLS_MAX: usize = 0x7fff;
/// At every so many it may be over as well.
const LOOK_EVERY: usize = 0x1000;

/// Literals, the end of a block, lengths; and two that do not occur, but have words in the fixed code.
const LITERALS: usize = 288;
const DISTANCES: usize = 30;
/// The symbols in which lengths of words are told.
const LENS: usize = 19;
const LEN_WORD_LEN_MAX: usize = 7;
const END: usize = 256;

/// The order in which the lengths of *their* words are told.
const LENS_ORDER: [usize; LENS] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/// A literal, or a repeat when there is a distance.
#[derive(Debug, Clone, Copy)]
struct Symbol {
    distance: u16,
    /// The literal, or the length less 3.
    byte: u8,
}

/// A number as a symbol and bits behind it.
struct Number {
    symbol: usize,
    extra: u32,
    extra_len: u32,
}

/// A length less 3.
fn length(byte: u8) -> Number {
    match u32::from(byte) {
        255 => Number { symbol: END + 29, extra: 0, extra_len: 0 },
        low @ 0..8 => Number { symbol: END + 1 + low as usize, extra: 0, extra_len: 0 },
        length => {
            let extra_len = length.ilog2() - 2;
            let symbol = 4 * extra_len + (length >> extra_len);
            Number { symbol: END + 1 + symbol as usize, extra: length & ((1 << extra_len) - 1), extra_len }
        }
    }
}

/// A distance.
fn distance(distance: u16) -> Number {
    match u32::from(distance) - 1 {
        low @ 0..4 => Number { symbol: low as usize, extra: 0, extra_len: 0 },
        distance => {
            let extra_len = distance.ilog2() - 1;
            let symbol = 2 * extra_len + (distance >> extra_len);
            Number { symbol: symbol as usize, extra: distance & ((1 << extra_len) - 1), extra_len }
        }
    }
}

/// How many bits are behind a literal or a length.
fn length_extra_len(symbol: usize) -> u32 {
    match symbol.checked_sub(END + 1) {
        Some(length @ 8..28) => length as u32 / 4 - 1,
        _ => 0,
    }
}

/// How many bits are behind a distance.
fn distance_extra_len(symbol: usize) -> u32 {
    (symbol as u32 / 2).saturating_sub(1)
}

/// The block that is being filled.
#[derive(Debug)]
pub(super) struct Block {
    symbols: Vec<Symbol>,
    repeats: usize,
    literals: [u32; LITERALS],
    distances: [u32; DISTANCES],
    fixed: (Code<LITERALS>, Code<DISTANCES>),
    may_be_short: bool,
}

impl Block {
    /// An empty one; whether any of them may be over before it is full.
    pub(super) fn new(may_be_short: bool) -> Self {
        let literals = std::array::from_fn(|symbol| match symbol {
            0..144 | 280.. => 8,
            144..256 => 9,
            256..280 => 7,
        });
        let fixed = (Code::of_lens(literals), Code::of_lens([5; DISTANCES]));
        let symbols = Vec::with_capacity(SYMBOLS_MAX);
        let mut block =
            Self { symbols, repeats: 0, literals: [0; LITERALS], distances: [0; DISTANCES], fixed, may_be_short };
        block.clear();
        block
    }

    /// Forgets what was found.
    pub(super) fn clear(&mut self) {
        self.symbols.clear();
        self.repeats = 0;
        self.literals.fill(0);
        self.distances.fill(0);
        self.literals[END] = 1;
    }

    /// Takes a literal.
    pub(super) fn literal(&mut self, byte: u8) {
        self.literals[usize::from(byte)] += 1;
        self.symbols.push(Symbol { distance: 0, byte });
    }

    /// Takes a repeat of 3 to 258 bytes from 1 to 32,768 before.
    pub(super) fn repeat(&mut self, len: usize, from: usize) {
        let (byte, from) = ((len - 3) as u8, from as u16);
        self.repeats += 1;
        self.literals[length(byte).symbol] += 1;
        self.distances[distance(from).symbol] += 1;
        self.symbols.push(Symbol { distance: from, byte });
    }

    /// Whether it is over, after a symbol up to which it covers so many bytes.
    pub(super) fn is_over(&self, covered: u64) -> bool {
        let is_full = self.symbols.len() == SYMBOLS_MAX;
        is_full || self.may_be_short && self.symbols.len().is_multiple_of(LOOK_EVERY) && self.is_worth_it(covered)
    }

    /// Whether it packs well, and mostly by something else than repeats: what comes next may want other codes.
    fn is_worth_it(&self, covered: u64) -> bool {
        let each = self.distances.iter().enumerate();
        let distances: u32 = each.map(|(symbol, frequency)| frequency * (5 + distance_extra_len(symbol))).sum();
        let about = u64::from(self.symbols.len() as u32 * 8 + distances) / 8;
        self.repeats < self.symbols.len() / 2 && about < covered / 2
    }

    /// Writes it in the way that takes the fewest bytes, and begins the next. `raw` is what it covers, if that is still there.
    pub(super) fn write(&mut self, raw: Option<&[u8]>, is_last: bool, bits: &mut Bits) {
        let literals = Code::of_frequencies(&self.literals, WORD_LEN_MAX);
        let distances = Code::of_frequencies(&self.distances, WORD_LEN_MAX);
        let lens = Lens::new(&literals, &distances);
        let own = bytes(lens.cost() + self.cost(&literals, &distances));
        let fixed = bytes(self.cost(&self.fixed.0, &self.fixed.1));
        let best = own.min(fixed) as usize;
        let last = u32::from(is_last);
        match raw.filter(|raw| raw.len() + 4 <= best) {
            Some(raw) => {
                bits.put(last, 3);
                bits.align();
                let len = raw.len() as u16;
                bits.put_bytes(&[len.to_le_bytes(), (!len).to_le_bytes()].concat());
                bits.put_bytes(raw);
            }
            None if fixed <= own => {
                bits.put(last | 1 << 1, 3);
                self.put_symbols(&self.fixed.0, &self.fixed.1, bits);
            }
            None => {
                bits.put(last | 2 << 1, 3);
                lens.put(bits);
                self.put_symbols(&literals, &distances, bits);
            }
        }
        self.clear();
    }

    fn cost(&self, literals: &Code<LITERALS>, distances: &Code<DISTANCES>) -> u32 {
        literals.cost(&self.literals, length_extra_len) + distances.cost(&self.distances, distance_extra_len)
    }

    fn put_symbols(&self, literals: &Code<LITERALS>, distances: &Code<DISTANCES>, bits: &mut Bits) {
        for Symbol { distance: from, byte } in &self.symbols {
            if *from == 0 {
                literals.put((*byte).into(), bits);
                continue;
            }
            let (length, distance) = (length(*byte), distance(*from));
            literals.put(length.symbol, bits);
            bits.put(length.extra, length.extra_len);
            distances.put(distance.symbol, bits);
            bits.put(distance.extra, distance.extra_len);
        }
        literals.put(END, bits);
    }
}

/// How many bytes a block takes, with the three bits in front of it.
fn bytes(bits: u32) -> u32 {
    (bits + 3).div_ceil(8)
}

/// How the two codes of a block are told.
struct Lens {
    counts: [usize; 2],
    /// Symbols, and what is behind each.
    told: Vec<(usize, u32)>,
    frequencies: [u32; LENS],
    code: Code<LENS>,
    /// The lengths of its own words, in the order in which they are told.
    first: Vec<u8>,
}

/// How many bits are behind a symbol: how often one is repeated.
fn told_extra_len(symbol: usize) -> u32 {
    match symbol {
        16 => 2,
        17 => 3,
        18 => 7,
        _ => 0,
    }
}

impl Lens {
    fn new(literals: &Code<LITERALS>, distances: &Code<DISTANCES>) -> Self {
        let lens = [literals.lens(), distances.lens()];
        // The second code is told as if nothing was in front of it.
        let told: Vec<(usize, u32)> = lens.iter().flat_map(|lens| runs(lens)).collect();
        let mut frequencies = [0; LENS];
        told.iter().for_each(|(symbol, _)| frequencies[*symbol] += 1);
        let code = Code::of_frequencies(&frequencies, LEN_WORD_LEN_MAX);
        let all = code.all_lens();
        let mut first: Vec<u8> = LENS_ORDER.iter().map(|symbol| all[*symbol]).collect();
        while first.len() > 4 && first.last() == Some(&0) {
            first.pop();
        }
        Self { counts: lens.map(<[u8]>::len), told, frequencies, code, first }
    }

    /// In bits.
    fn cost(&self) -> u32 {
        5 + 5 + 4 + 3 * self.first.len() as u32 + self.code.cost(&self.frequencies, told_extra_len)
    }

    fn put(&self, bits: &mut Bits) {
        let [literals, distances] = self.counts;
        bits.put((literals - 257) as u32, 5);
        bits.put((distances - 1) as u32, 5);
        bits.put((self.first.len() - 4) as u32, 4);
        self.first.iter().for_each(|len| bits.put((*len).into(), 3));
        for (symbol, extra) in &self.told {
            self.code.put(*symbol, bits);
            bits.put(*extra, told_extra_len(*symbol));
        }
    }
}

/// Lengths of words as symbols: runs of the same are shortened.
fn runs(lens: &[u8]) -> Vec<(usize, u32)> {
    let mut told = Vec::new();
    for run in lens.chunk_by(|one, two| one == two) {
        let (symbol, mut left) = (usize::from(run[0]), run.len());
        let mut is_told = false;
        while left > 0 {
            let most = match (symbol, is_told) {
                (0, _) => 138,
                (_, true) => 6,
                // The first of them is told by itself.
                (_, false) => 7,
            };
            let mut now = left.min(most);
            left -= now;
            let least = if symbol > 0 && !is_told { 4 } else { 3 };
            if now < least {
                told.extend(std::iter::repeat_n((symbol, 0), now));
                is_told = true;
                continue;
            }
            if symbol > 0 && !is_told {
                told.push((symbol, 0));
                now -= 1;
            }
            is_told = true;
            told.push(match (symbol, now) {
                (0, ..=10) => (17, now as u32 - 3),
                (0, _) => (18, now as u32 - 11),
                _ => (16, now as u32 - 3),
            });
        }
    }
    told
}
