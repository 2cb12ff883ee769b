//! Applying a patch: from bases and streams to outputs.
//!
//! Each output is a row of instructions: so many new bytes, then so many bytes copied from a place of the old image, which is
//! all bases one behind the other. A copied byte is predicted, as its group says ([`Method`]), and something is added to the
//! prediction.

mod native;
mod packed;

use std::io;

use crate::error::Error;
use crate::header::{Header, Method, Output};
use crate::limits::PIECE_LEN;
use crate::old_image::{self, OldImage};
use crate::read_at::{ReadAt, Scratch};
use crate::stream::{Kind, Lane};
use crate::streams::{Streams, pieces};
use crate::varint;
use crate::words::{self, WORD_LEN_MAX, Words};
use packed::Packed;

/// Where outputs go, one after the other.
pub trait Sink {
    /// Output `index` begins; it will have `len` bytes. The first to begin is 0, the others come group by group.
    ///
    /// # Errors
    /// When it cannot be taken.
    fn begin(&mut self, index: usize, len: u64) -> io::Result<()>;

    /// The next bytes of it.
    ///
    /// # Errors
    /// When they cannot be kept.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;
}

/// A patch whose header was read.
pub struct Patch<'a> {
    header: Header,
    start: u64,
    patch: &'a dyn ReadAt,
}

impl<'a> Patch<'a> {
    /// Reads the header of `patch`.
    ///
    /// # Errors
    /// When it is no patch, or claims more than the limits allow.
    pub fn open(patch: &'a dyn ReadAt) -> Result<Self, Error> {
        let (header, start) = Header::read(patch)?;
        Ok(Self { header, start, patch })
    }

    /// What it is made from, and what comes out.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Each group in order: its number, and its streams.
    pub(crate) fn groups(&self) -> impl Iterator<Item = Result<(usize, Streams<'a>), Error>> {
        let mut start = self.start;
        self.header.groups.iter().enumerate().map(move |(number, group)| {
            let streams = Streams::open(group, self.patch, start)?;
            start += group.streams.iter().map(|stream| stream.coded).sum::<u64>();
            Ok((number, streams))
        })
    }

    /// The outputs of a group, with their numbers.
    pub(crate) fn outputs_of(&self, group: usize) -> impl Iterator<Item = (usize, &Output)> {
        self.header.outputs.iter().enumerate().filter(move |(_, output)| output.group == group)
    }

    /// Makes the outputs from `bases`, which are those that the header names, in its order. Archives among them are unpacked to the
    /// end of `scratch`: [`Header::scratch_len`] bytes.
    ///
    /// Memory is bounded by constants: a dictionary for each stream of a group, and a piece of each; for executables also their
    /// instructions and what is known of their references.
    ///
    /// # Errors
    /// When a base is not as long as the one that the patch was made from, something cannot be read or written, or the patch
    /// is damaged. A base of the right length and other content is not noticed here: compare what came out.
    pub fn apply(&self, bases: &[&dyn ReadAt], scratch: &mut dyn Scratch, sink: &mut dyn Sink) -> Result<(), Error> {
        old_image::check(&self.header, bases)?;
        let unpacked = old_image::unpacked(&self.header, bases, scratch)?;
        let scratch: &dyn ReadAt = scratch;
        let old = OldImage::new(&self.header, bases, &unpacked, scratch);
        for group in self.groups() {
            let (number, streams) = group?;
            let mut job = Job { old: &old, streams, words: None, at: 0, piece: vec![0; PIECE_LEN] };
            let method = self.header.groups[number].method;
            for (index, output) in self.outputs_of(number) {
                sink.begin(index, output.len).map_err(|source| Error::Output { index, source })?;
                let mut packed = Packed::new(index, output, sink)?;
                job.make(method, output.image_len(), &mut |bytes| packed.write(bytes))?;
                packed.finish()?;
            }
            job.streams.finish()?;
        }
        Ok(())
    }
}

/// Where the bytes of one output go.
type Write<'a> = dyn FnMut(&[u8]) -> Result<(), Error> + 'a;

/// What applying a group carries from one instruction to the next.
struct Job<'a> {
    old: &'a OldImage<'a>,
    streams: Streams<'a>,
    /// Made when the first output wants it.
    words: Option<Box<Words>>,
    /// Where the last copy ended in the old image.
    at: u64,
    piece: Vec<u8>,
}

impl Job<'_> {
    fn make(&mut self, method: Method, len: u64, write: &mut Write<'_>) -> Result<(), Error> {
        match method {
            Method::Native => self.native(len, write),
            Method::Same | Method::Words => self.output(method, len, write),
        }
    }

    fn output(&mut self, method: Method, mut todo: u64, write: &mut Write<'_>) -> Result<(), Error> {
        while todo > 0 {
            let (insert, copy) = self.streams.instruction(&mut todo)?;
            self.insert(insert, write)?;
            if copy > 0 {
                let from = self.seek(copy)?;
                match method {
                    Method::Words => self.copy_words(from, copy, write)?,
                    Method::Same | Method::Native => self.copy(from, copy, write)?,
                }
            }
        }
        Ok(())
    }

    fn insert(&mut self, len: u64, write: &mut Write<'_>) -> Result<(), Error> {
        pieces(0, len, |_, len| {
            self.streams.read(Kind::Insert(Lane::Plain), &mut self.piece[..len])?;
            write(&self.piece[..len])
        })
    }

    /// Where `len` bytes are copied from.
    fn seek(&mut self, len: u64) -> Result<u64, Error> {
        let seek = varint::unzigzag(self.streams.number(Kind::Seek)?);
        let from = self
            .at
            .checked_add_signed(seek)
            .filter(|from| from.checked_add(len).is_some_and(|end| end <= self.old.len));
        let from = from.ok_or_else(|| Error::format("an instruction copies what no base has"))?;
        self.at = from + len;
        Ok(from)
    }

    fn copy(&mut self, from: u64, len: u64, write: &mut Write<'_>) -> Result<(), Error> {
        pieces(from, len, |from, len| {
            let piece = &mut self.piece[..len];
            self.old.read(from, piece)?;
            self.streams.add(Lane::Plain, piece)?;
            write(piece)
        })
    }

    fn copy_words(&mut self, mut from: u64, len: u64, write: &mut Write<'_>) -> Result<(), Error> {
        let words = self.words.get_or_insert_default();
        let end = from + len;
        while from < end {
            let len = (end - from).min(PIECE_LEN as u64) as usize;
            let is_last = from + len as u64 == end;
            let piece = &mut self.piece[..len];
            self.old.read(from, piece)?;
            let mut done = 0;
            while done < len {
                let next = words::next_len(&piece[done..]);
                let part = &mut piece[done..done + next];
                if !words::is_word(part[0]) {
                    self.streams.add(Lane::Plain, part)?;
                } else if done + next == len && next < WORD_LEN_MAX && !is_last {
                    // It may go on behind this piece.
                    break;
                } else {
                    self.streams.add_to_word(words, part)?;
                }
                done += next;
            }
            write(&piece[..done])?;
            from += done as u64;
        }
        Ok(())
    }
}
