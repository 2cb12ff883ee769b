//! Applying a patch: from bases and streams to outputs.
//!
//! Each output is a row of instructions: so many new bytes, then so many bytes copied from a place of the old image, which is
//! all bases one behind the other. A copied byte is predicted ([`crate::predict`]), and something is added to the
//! prediction.

use std::io::{self, Read};

use crate::error::Error;
use crate::header::{Header, Output};
use crate::limits::PIECE_LEN;
use crate::predict::{self, Prediction, WORD_LEN_MAX, Words};
use crate::read_at::ReadAt;
use crate::stream::{Kind, Reader};
use crate::varint;

/// Where outputs go, one after the other.
pub trait Sink {
    /// The next output begins; it will have `len` bytes.
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

    pub(crate) fn streams(&self) -> Result<Streams<'a>, Error> {
        Streams::open(&self.header, self.patch, self.start)
    }

    /// Makes the outputs from `bases`, which are those that the header names, in its order.
    ///
    /// Memory is bounded by constants: a dictionary for each stream, and a piece of each.
    ///
    /// # Errors
    /// When a base is not as long as the one that the patch was made from, something cannot be read or written, or the patch
    /// is damaged. A base of the right length and other content is not noticed here: compare what came out.
    pub fn apply(&self, bases: &[&dyn ReadAt], sink: &mut dyn Sink) -> Result<(), Error> {
        let mut job = Job {
            old: OldImage::new(&self.header, bases)?,
            streams: self.streams()?,
            words: None,
            at: 0,
            piece: vec![0; PIECE_LEN],
        };
        for (index, output) in self.header.outputs.iter().enumerate() {
            sink.begin(index, output.len).map_err(|source| Error::Output { index, source })?;
            job.output(output, &mut |bytes| sink.write(bytes).map_err(|source| Error::Output { index, source }))?;
        }
        job.streams.finish()
    }
}

/// Where the bytes of one output go.
type Write<'a> = dyn FnMut(&[u8]) -> Result<(), Error> + 'a;

/// What applying a patch carries from one instruction to the next.
struct Job<'a> {
    old: OldImage<'a>,
    streams: Streams<'a>,
    /// Made when the first output wants it.
    words: Option<Box<Words>>,
    /// Where the last copy ended in the old image.
    at: u64,
    piece: Vec<u8>,
}

impl Job<'_> {
    fn output(&mut self, output: &Output, write: &mut Write<'_>) -> Result<(), Error> {
        let mut todo = output.len;
        while todo > 0 {
            let (insert, copy) = self.streams.instruction(&mut todo)?;
            self.insert(insert, write)?;
            if copy > 0 {
                let from = self.seek(copy)?;
                match output.prediction {
                    Prediction::Same => self.copy(from, copy, write)?,
                    Prediction::Words => self.copy_words(from, copy, write)?,
                }
            }
        }
        Ok(())
    }

    fn insert(&mut self, len: u64, write: &mut Write<'_>) -> Result<(), Error> {
        pieces(0, len, |_, len| {
            self.streams.read(Kind::Insert, &mut self.piece[..len])?;
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
            self.streams.add(piece)?;
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
                let next = predict::next_len(&piece[done..]);
                let part = &mut piece[done..done + next];
                if !predict::is_word(part[0]) {
                    self.streams.add(part)?;
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

/// Calls `each` with the place and length of every piece of `len` bytes from `from` on.
pub(crate) fn pieces(from: u64, len: u64, mut each: impl FnMut(u64, usize) -> Result<(), Error>) -> Result<(), Error> {
    let mut done = 0;
    while done < len {
        let piece = (len - done).min(PIECE_LEN as u64);
        each(from + done, piece as usize)?;
        done += piece;
    }
    Ok(())
}

/// The bases, one behind the other.
struct OldImage<'a> {
    /// Where each begins, its number, and its bytes.
    bases: Vec<(u64, u64, &'a dyn ReadAt)>,
    len: u64,
}

impl<'a> OldImage<'a> {
    fn new(header: &Header, bases: &[&'a dyn ReadAt]) -> Result<Self, Error> {
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
    fn read(&self, from: u64, buf: &mut [u8]) -> Result<(), Error> {
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
}

/// The streams of a patch, all of them open.
pub(crate) struct Streams<'a> {
    open: [Option<Reader<'a>>; Kind::ALL.len()],
    /// Whether differences are listed with the gaps between them.
    is_sparse: bool,
    /// How many bytes are as predicted before the next that is not, if there is one.
    gap: Option<u64>,
    diff: Vec<u8>,
}

impl<'a> Streams<'a> {
    fn open(header: &Header, patch: &'a dyn ReadAt, start: u64) -> Result<Self, Error> {
        let mut open = [const { None }; Kind::ALL.len()];
        let mut at = start;
        for stream in &header.streams {
            open[stream.kind as usize] = Some(Reader::open(stream, patch, at)?);
            at += stream.coded;
        }
        let has = |kind: Kind| open[kind as usize].is_some();
        let is_sparse = has(Kind::DiffGap);
        if is_sparse != has(Kind::DiffByte) || is_sparse && has(Kind::Diff) {
            return Err(Error::format("its differences are given in two ways"));
        }
        let mut streams = Self { open, is_sparse, gap: None, diff: vec![0; PIECE_LEN] };
        streams.next_gap()?;
        Ok(streams)
    }

    /// How many bytes the next instruction inserts, and how many it copies behind them, of the `todo` that are left.
    pub(crate) fn instruction(&mut self, todo: &mut u64) -> Result<(u64, u64), Error> {
        let (insert, copy) = (self.number(Kind::InsertLen)?, self.number(Kind::CopyLen)?);
        let len = insert.checked_add(copy).filter(|len| (1..=*todo).contains(len));
        *todo -= len.ok_or_else(|| Error::format("an instruction makes nothing, or more than there is to make"))?;
        Ok((insert, copy))
    }

    pub(crate) fn number(&mut self, kind: Kind) -> Result<u64, Error> {
        varint::read(&mut self.stream(kind)?).map_err(|e| damaged(kind, &e))
    }

    pub(crate) fn read(&mut self, kind: Kind, buf: &mut [u8]) -> Result<(), Error> {
        self.stream(kind)?.read_exact(buf).map_err(|e| damaged(kind, &e))
    }

    fn stream(&mut self, kind: Kind) -> Result<&mut Reader<'a>, Error> {
        let stream = self.open[kind as usize].as_mut();
        stream.ok_or_else(|| Error::format(format!("it has no {}", kind.name())))
    }

    /// Adds the differences to bytes that were copied.
    pub(crate) fn add(&mut self, bytes: &mut [u8]) -> Result<(), Error> {
        if self.is_sparse {
            return self.add_sparse(bytes);
        }
        if self.open[Kind::Diff as usize].is_none() {
            return Ok(());
        }
        let mut diff = std::mem::take(&mut self.diff);
        let read = self.read(Kind::Diff, &mut diff[..bytes.len()]);
        bytes.iter_mut().zip(&diff).for_each(|(byte, diff)| *byte = byte.wrapping_add(*diff));
        self.diff = diff;
        read
    }

    /// The same for a word, which is predicted before and remembered afterwards.
    fn add_to_word(&mut self, words: &mut Words, word: &mut [u8]) -> Result<(), Error> {
        let mut old = [0; WORD_LEN_MAX];
        let old = &mut old[..word.len()];
        old.copy_from_slice(word);
        word.copy_from_slice(words.predicted(old));
        self.add(word)?;
        words.learn(old, word);
        Ok(())
    }

    fn add_sparse(&mut self, bytes: &mut [u8]) -> Result<(), Error> {
        let mut at = 0;
        while let Some(gap) = self.gap.filter(|gap| *gap < (bytes.len() - at) as u64) {
            at += gap as usize;
            let mut diff = [0];
            self.read(Kind::DiffByte, &mut diff)?;
            bytes[at] = bytes[at].wrapping_add(diff[0]);
            at += 1;
            self.next_gap()?;
        }
        self.gap = self.gap.map(|gap| gap - (bytes.len() - at) as u64);
        Ok(())
    }

    /// How many of the next `len` copied bytes are not as predicted; takes no longer than the streams are.
    pub(crate) fn differing(&mut self, len: u64, piece: &mut [u8]) -> Result<u64, Error> {
        let mut count = 0;
        if self.is_sparse {
            let mut at = 0;
            while let Some(gap) = self.gap.filter(|gap| *gap < len - at) {
                self.read(Kind::DiffByte, &mut piece[..1])?;
                (at, count) = (at + gap + 1, count + 1);
                self.next_gap()?;
            }
            self.gap = self.gap.map(|gap| gap - (len - at));
        } else if self.open[Kind::Diff as usize].is_some() {
            pieces(0, len, |_, len| {
                self.read(Kind::Diff, &mut piece[..len])?;
                count += piece[..len].iter().filter(|byte| **byte != 0).count() as u64;
                Ok(())
            })?;
        }
        Ok(count)
    }

    fn next_gap(&mut self) -> Result<(), Error> {
        let has_more = self.open[Kind::DiffGap as usize].as_ref().is_some_and(|stream| stream.left() > 0);
        self.gap = if has_more { Some(self.number(Kind::DiffGap)?) } else { None };
        Ok(())
    }

    /// Whatever nobody needed should not be there.
    pub(crate) fn finish(self) -> Result<(), Error> {
        for (kind, stream) in Kind::ALL.into_iter().zip(self.open) {
            if stream.is_some_and(|stream| !stream.was_used_up()) {
                return Err(Error::format(format!("it has more {} than it needs", kind.name())));
            }
        }
        let is_over = self.gap.is_none();
        is_over.then_some(()).ok_or_else(|| Error::format("its last difference is behind its end"))
    }
}

fn damaged(kind: Kind, error: &io::Error) -> Error {
    Error::format(format!("{}: {error}", kind.name()))
}
