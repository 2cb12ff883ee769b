//! The old image: all bases, one behind the other.

use crate::error::Error;
use crate::header::Header;
use crate::read_at::ReadAt;

/// The bases, one behind the other.
pub(crate) struct OldImage<'a> {
    /// Where each begins, its number, and its bytes.
    bases: Vec<(u64, u64, &'a dyn ReadAt)>,
    /// How many bytes it has.
    pub(crate) len: u64,
}

impl<'a> OldImage<'a> {
    pub(crate) fn new(header: &Header, bases: &[&'a dyn ReadAt]) -> Result<Self, Error> {
        if bases.len() != header.bases.len() {
            return Err(Error::format(format!("it needs {} bases, {} were given", header.bases.len(), bases.len())));
        }
        let mut len = 0;
        let mut placed = Vec::with_capacity(bases.len());
        for (base, bytes) in header.bases.iter().zip(bases) {
            let found = bytes.size().map_err(|source| Error::Old { index: base.index, source })?;
            if found != base.len {
                return Err(Error::Base { index: base.index, found, expected: base.len });
            }
            placed.push((len, base.index, *bytes));
            len += base.len;
        }
        Ok(Self { bases: placed, len })
    }

    /// Fills `buf` from byte `from` on, over as many bases as it takes.
    pub(crate) fn read(&self, from: u64, buf: &mut [u8]) -> Result<(), Error> {
        let mut n = self.bases.partition_point(|(start, ..)| *start <= from).saturating_sub(1);
        let mut done = 0;
        while done < buf.len() {
            let (start, index, bytes) = self.bases[n];
            let end = self.bases.get(n + 1).map_or(self.len, |(next, ..)| *next);
            let at = from + done as u64;
            let len = (end - at).min((buf.len() - done) as u64) as usize;
            let part = &mut buf[done..done + len];
            bytes.read_exact_at(part, at - start).map_err(|source| Error::Old { index, source })?;
            done += len;
            n += 1;
        }
        Ok(())
    }

    /// Where base `n` of the header's list begins, and its length.
    pub(crate) fn base(&self, n: usize) -> Option<(u64, u64)> {
        let (start, ..) = self.bases.get(n)?;
        let end = self.bases.get(n + 1).map_or(self.len, |(next, ..)| *next);
        Some((*start, end - start))
    }
}
