//! Making an executable: its instructions are read first, because they tell where everything went.

use super::{Job, Write};
use crate::error::Error;
use crate::limits::NATIVE_INSTRUCTIONS_MAX;
use crate::native::{Copied, Layout, Side, a64, rebuild};
use crate::old_image::OldImage;
use crate::stream::{Kind, Lane};
use crate::streams::Streams;

impl Job<'_> {
    pub(super) fn native(&mut self, len: u64, write: &mut Write<'_>) -> Result<(), Error> {
        let old = self.old;
        let base_len = |base| old.base(base).map(|(_, len)| len);
        let layouts = Layout::read_all(self.streams.stream(Kind::Layout)?, len, base_len)?;
        let copies = self.copies(len)?;
        let start_of = |base| old.base(base).map(|(start, _)| start).expect("the layouts were read with it");
        rebuild(&layouts, start_of, &copies, len, &mut Decoder { old, streams: &mut self.streams, write })
    }

    /// All instructions of an output of `todo` bytes.
    fn copies(&mut self, mut todo: u64) -> Result<Vec<Copied>, Error> {
        let mut copies = Vec::new();
        let mut new = 0;
        while todo > 0 {
            let (insert, len) = self.streams.instruction(&mut todo)?;
            new += insert;
            if len > 0 {
                if copies.len() == NATIVE_INSTRUCTIONS_MAX {
                    let (found, max) = (copies.len() as u64 + 1, NATIVE_INSTRUCTIONS_MAX as u64);
                    return Err(Error::Limit { what: "instructions for an executable", found, max });
                }
                copies.push(Copied { new, old: self.seek(len)?, len });
            }
            new += len;
        }
        Ok(copies)
    }
}

/// The side that learns the new file from the patch.
struct Decoder<'j, 'a, 'w> {
    old: &'a OldImage<'a>,
    streams: &'j mut Streams<'a>,
    write: &'j mut Write<'w>,
}

impl Side for Decoder<'_, '_, '_> {
    type Error = Error;

    fn old(&mut self, at: u64, buf: &mut [u8]) -> Result<(), Error> {
        self.old.read(at, buf)
    }

    fn inserted(&mut self, lane: Lane, buf: &mut [u8]) -> Result<(), Error> {
        self.streams.read(Kind::Insert(lane), buf)
    }

    fn copied(&mut self, lane: Lane, buf: &mut [u8]) -> Result<(), Error> {
        self.streams.add(lane, buf)
    }

    fn target(&mut self, kind: Kind, _from: u32) -> Result<u32, Error> {
        let mut target = [0; 4];
        self.streams.read(kind, &mut target)?;
        Ok(u32::from_be_bytes(target))
    }

    fn new_word(&mut self, address: u64) -> Result<u32, Error> {
        let mut word = [0; 4];
        self.streams.read(Kind::Insert(Lane::Wide), &mut word)?;
        Ok(a64::relative(u32::from_le_bytes(word), address))
    }

    fn reference(&mut self, predicted: u64, width: usize) -> Result<u64, Error> {
        self.streams.reference(predicted, width)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        (self.write)(bytes)
    }
}
