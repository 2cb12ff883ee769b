//! Bytes of a file that is read in blocks.

use std::io;

use updraft_delta::ReadAt;

use crate::suffix::common;

/// How much is read at a time, in bytes.
const BLOCK_LEN: usize = 64 << 10;

/// A file, and the block of it that was read last.
pub(super) struct Blocks<'f> {
    file: &'f dyn ReadAt,
    /// How many bytes the file has.
    pub(super) len: usize,
    /// Where the block begins.
    start: usize,
    block: Vec<u8>,
}

impl<'f> Blocks<'f> {
    pub(super) fn new(file: &'f dyn ReadAt) -> io::Result<Self> {
        let len = usize::try_from(file.size()?).map_err(io::Error::other)?;
        Ok(Self { file, len, start: 0, block: Vec::new() })
    }

    /// Some bytes from `at` on: none only where the file ends.
    pub(super) fn from(&mut self, at: usize) -> io::Result<&[u8]> {
        if at >= self.len {
            return Ok(&[]);
        }
        self.load(at)?;
        Ok(&self.block[at - self.start..])
    }

    /// Some bytes in front of `end`: none only where the file begins.
    fn until(&mut self, end: usize) -> io::Result<&[u8]> {
        let Some(last) = end.checked_sub(1) else { return Ok(&[]) };
        self.load(last)?;
        Ok(&self.block[..end - self.start])
    }

    /// Reads the block that has byte `at`.
    fn load(&mut self, at: usize) -> io::Result<()> {
        if (self.start..self.start + self.block.len()).contains(&at) {
            return Ok(());
        }
        self.start = at / BLOCK_LEN * BLOCK_LEN;
        self.block.resize(BLOCK_LEN.min(self.len - self.start), 0);
        let read = self.file.read_exact_at(&mut self.block, self.start as u64);
        if read.is_err() {
            self.block.clear();
        }
        read
    }
}

/// How many bytes are the same from these places on.
pub(super) fn common_ahead(
    (old, mut at): (&mut Blocks<'_>, usize),
    (new, mut from): (&mut Blocks<'_>, usize),
) -> io::Result<usize> {
    let mut sum = 0;
    loop {
        let (one, other) = (old.from(at)?, new.from(from)?);
        let len = common(one, other);
        sum += len;
        if len < one.len().min(other.len()) || len == 0 {
            return Ok(sum);
        }
        (at, from) = (at + len, from + len);
    }
}

/// How many bytes are the same in front of these places, `max` at most.
pub(super) fn common_back(
    (old, mut at): (&mut Blocks<'_>, usize),
    (new, mut from): (&mut Blocks<'_>, usize),
    max: usize,
) -> io::Result<usize> {
    let mut sum = 0;
    loop {
        let (one, other) = (old.until(at)?, new.until(from)?);
        let most = one.len().min(other.len()).min(max - sum);
        let pairs = one.iter().rev().zip(other.iter().rev()).take(most);
        let len = pairs.take_while(|(one, other)| one == other).count();
        sum += len;
        if len < most || len == 0 {
            return Ok(sum);
        }
        (at, from) = (at - len, from - len);
    }
}
