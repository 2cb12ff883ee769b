//! The streams of a group of outputs, while they are read.

use std::io::{self, Read};

use crate::error::Error;
use crate::header::Group;
use crate::limits::PIECE_LEN;
use crate::read_at::ReadAt;
use crate::stream::{Kind, Reader};
use crate::varint;
use crate::words::{WORD_LEN_MAX, Words};

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

/// The streams of a group, all of them open.
pub(crate) struct Streams<'a> {
    open: [Option<Reader<'a>>; Kind::ALL.len()],
    /// Whether differences are listed with the gaps between them.
    is_sparse: bool,
    /// How many bytes are as predicted before the next that is not, if there is one.
    gap: Option<u64>,
    /// How many references are as predicted before the next that is not, if there is one.
    reference_gap: Option<u64>,
    diff: Vec<u8>,
}

impl<'a> Streams<'a> {
    pub(crate) fn open(group: &Group, patch: &'a dyn ReadAt, start: u64) -> Result<Self, Error> {
        let mut open = [const { None }; Kind::ALL.len()];
        let mut at = start;
        for stream in &group.streams {
            open[stream.kind as usize] = Some(Reader::open(stream, patch, at)?);
            at += stream.coded;
        }
        let has = |kind: Kind| open[kind as usize].is_some();
        let is_sparse = has(Kind::DiffGap);
        if is_sparse != has(Kind::DiffByte) || is_sparse && has(Kind::Diff) {
            return Err(Error::format("its differences are given in two ways"));
        }
        let mut streams = Self { open, is_sparse, gap: None, reference_gap: None, diff: vec![0; PIECE_LEN] };
        streams.gap = streams.next_gap(Kind::DiffGap)?;
        streams.reference_gap = streams.next_gap(Kind::ReferenceGap)?;
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

    pub(crate) fn stream(&mut self, kind: Kind) -> Result<&mut Reader<'a>, Error> {
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
    pub(crate) fn add_to_word(&mut self, words: &mut Words, word: &mut [u8]) -> Result<(), Error> {
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
            self.gap = self.next_gap(Kind::DiffGap)?;
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
                self.gap = self.next_gap(Kind::DiffGap)?;
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

    fn next_gap(&mut self, kind: Kind) -> Result<Option<u64>, Error> {
        let has_more = self.open[kind as usize].as_ref().is_some_and(|stream| stream.left() > 0);
        has_more.then(|| self.number(kind)).transpose()
    }

    /// What a reference of `width` bytes is that was predicted as `predicted`.
    pub(crate) fn reference(&mut self, predicted: u64, width: usize) -> Result<u64, Error> {
        match self.reference_gap {
            None => return Ok(predicted),
            Some(0) => {}
            Some(gap) => {
                self.reference_gap = Some(gap - 1);
                return Ok(predicted);
            }
        }
        let diff = varint::unzigzag(self.number(Kind::ReferenceDiff)?);
        self.reference_gap = self.next_gap(Kind::ReferenceGap)?;
        let value = predicted.wrapping_add_signed(diff);
        Ok(if width == 4 { u64::from(value as u32) } else { value })
    }

    /// Whatever nobody needed should not be there.
    pub(crate) fn finish(self) -> Result<(), Error> {
        for (kind, stream) in Kind::ALL.into_iter().zip(self.open) {
            if stream.is_some_and(|stream| !stream.was_used_up()) {
                return Err(Error::format(format!("it has more {} than it needs", kind.name())));
            }
        }
        let is_over = self.gap.is_none() && self.reference_gap.is_none();
        is_over.then_some(()).ok_or_else(|| Error::format("its last difference is behind its end"))
    }
}

fn damaged(kind: Kind, error: &io::Error) -> Error {
    Error::format(format!("{}: {error}", kind.name()))
}
