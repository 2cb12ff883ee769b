//! What is added to copied bytes.

use updraft_delta::varint;
use updraft_delta::words::{self, Words};

use crate::suffix::common;

/// Differences are tried one by one, zeros included, where at least one in so many is none.
const DENSE_FROM: usize = 10;

/// Differences of copied bytes, as the gaps between those that are not zero, and as themselves. Their number may be far beyond what
/// fits into memory, if few of them are not zero.
#[derive(Debug, Default)]
pub(super) struct Differences {
    /// How many are zero before each that is not, as varints.
    pub(super) gaps: Vec<u8>,
    /// Those that are not zero.
    pub(super) bytes: Vec<u8>,
    /// How many were zero since.
    gap: u64,
    /// How many there are together.
    len: usize,
}

impl Differences {
    /// Adds what makes `to` of `from`.
    pub(super) fn add(&mut self, from: &[u8], to: &[u8]) {
        self.len += to.len();
        let mut at = 0;
        loop {
            let same = common(&from[at..], &to[at..]);
            at += same;
            self.gap += same as u64;
            let (Some(from), Some(to)) = (from.get(at), to.get(at)) else { return };
            varint::write(&mut self.gaps, std::mem::take(&mut self.gap));
            self.bytes.push(to.wrapping_sub(*from));
            at += 1;
        }
    }

    /// Adds what makes `to` of `from`, predicted word by word.
    pub(super) fn add_words(&mut self, from: &[u8], to: &[u8], words: &mut Words) {
        let mut at = 0;
        while at < from.len() {
            let len = words::next_len(&from[at..]);
            let (from, to) = (&from[at..at + len], &to[at..at + len]);
            if words::is_word(from[0]) {
                self.add(words.predicted(from), to);
                words.learn(from, to);
            } else {
                self.add(from, to);
            }
            at += len;
        }
    }

    /// How many bytes they take.
    pub(super) fn taken(&self) -> usize {
        self.gaps.len() + self.bytes.len()
    }

    /// All of them one by one, if enough of them are not zero that this may be smaller, and there are `max` at most.
    pub(super) fn dense(&self, max: usize) -> Option<Vec<u8>> {
        if self.bytes.is_empty() || self.bytes.len() < self.len / DENSE_FROM || self.len > max {
            return None;
        }
        let mut dense = Vec::with_capacity(self.len);
        let mut gaps = self.gaps.as_slice();
        for byte in &self.bytes {
            let gap = varint::read(&mut gaps).expect("a gap was written for each");
            dense.resize(dense.len() + gap as usize, 0);
            dense.push(*byte);
        }
        dense.resize(self.len, 0);
        Some(dense)
    }
}
