//! A file that is in memory as a tape: whoever walks it is shown what it refers to.

use std::convert::Infallible;

use updraft_delta::native::{Form, Layout, Tape, number, walk};
use updraft_delta::stream::Lane;

/// Who is shown what a file refers to.
pub(super) trait Reader {
    /// The reference at place `at` says `value`.
    fn reference(&mut self, at: usize, form: Form, value: u64);

    /// An instruction of arm64 lies at place `at`.
    fn word(&mut self, _at: usize) {}
}

/// Shows `reader` what the ranges of `layout` have in `bytes`, the new file of it.
pub(super) fn read(bytes: &[u8], layout: &Layout, reader: &mut impl Reader) {
    let Ok(()) = walk(layout, bytes.len() as u64, &mut InMemory { bytes, at: 0, reader });
}

struct InMemory<'a, R> {
    bytes: &'a [u8],
    at: usize,
    reader: &'a mut R,
}

impl<R> InMemory<'_, R> {
    fn take(&mut self, len: usize) -> u64 {
        self.at += len;
        number(&self.bytes[self.at - len..self.at])
    }
}

impl<R: Reader> Tape for InMemory<'_, R> {
    type Error = Infallible;

    fn byte(&mut self, _lane: Lane) -> Result<u8, Infallible> {
        Ok(self.take(1) as u8)
    }

    fn skip(&mut self, len: u64) -> Result<(), Infallible> {
        self.at += len as usize;
        Ok(())
    }

    fn operand(&mut self, len: u8) -> Result<(), Infallible> {
        self.skip(len.into())
    }

    fn word(&mut self) -> Result<(), Infallible> {
        self.reader.word(self.at);
        self.skip(4)
    }

    fn named(&mut self) -> Result<u32, Infallible> {
        Ok(self.take(4) as u32)
    }

    fn reference(&mut self, form: Form) -> Result<u64, Infallible> {
        let at = self.at;
        let value = self.take(form.width());
        self.reader.reference(at, form, value);
        Ok(value)
    }
}
