//! The streams of a group of outputs, while they are read.

use std::io::{self, Read};

use crate::error::Error;
use crate::header::Group;
use crate::limits::PIECE_LEN;
use crate::read_at::ReadAt;
use crate::stream::{KINDS_END, Kind, Lane, Reader};
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
    open: [Option<Reader<'a>>; KINDS_END],
    differences: [Differences; Lane::ALL.len()],
    /// How many references are as predicted before the next that is not, if there is one.
    reference_gap: Option<u64>,
    diff: Vec<u8>,
}

/// How the differences of a lane are given.
#[derive(Debug, Clone, Copy)]
enum Differences {
    /// One by one.
    Dense,
    /// With the gaps between them: how many bytes are as predicted before the next that is not, if there is one.
    Sparse(Option<u64>),
}

impl<'a> Streams<'a> {
    pub(crate) fn open(group: &Group, patch: &'a dyn ReadAt, start: u64) -> Result<Self, Error> {
        let mut open = [const { None }; KINDS_END];
        let mut at = start;
        for stream in &group.streams {
            open[usize::from(stream.kind.number())] = Some(Reader::open(stream, patch, at)?);
            at += stream.coded;
        }
        let differences = [Differences::Dense; Lane::ALL.len()];
        let mut streams = Self { open, differences, reference_gap: None, diff: vec![0; PIECE_LEN] };
        for lane in Lane::ALL {
            let has = |kind: Kind| streams.open[usize::from(kind.number())].is_some();
            let is_dense = has(Kind::Diff(lane));
            if has(Kind::DiffGap(lane)) != has(Kind::DiffByte(lane)) || has(Kind::DiffGap(lane)) && is_dense {
                return Err(Error::format("its differences are given in two ways"));
            }
            if !is_dense {
                streams.next_difference(lane)?;
            }
        }
        streams.reference_gap = streams.next_gap(Kind::ReferenceGap)?;
        Ok(streams)
    }

    /// Finds out how many bytes of a sparse lane are as predicted before the next that is not.
    fn next_difference(&mut self, lane: Lane) -> Result<(), Error> {
        self.differences[lane as usize] = Differences::Sparse(self.next_gap(Kind::DiffGap(lane))?);
        Ok(())
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
        if buf.is_empty() {
            // A stream that nothing is in is not there.
            return Ok(());
        }
        self.stream(kind)?.read_exact(buf).map_err(|e| damaged(kind, &e))
    }

    pub(crate) fn stream(&mut self, kind: Kind) -> Result<&mut Reader<'a>, Error> {
        let stream = self.open[usize::from(kind.number())].as_mut();
        stream.ok_or_else(|| Error::format(format!("it has no {}", kind.name())))
    }

    /// Adds the differences to bytes that were copied.
    pub(crate) fn add(&mut self, lane: Lane, bytes: &mut [u8]) -> Result<(), Error> {
        match self.differences[lane as usize] {
            Differences::Sparse(gap) => self.add_sparse(lane, gap, bytes),
            Differences::Dense => {
                let mut diff = std::mem::take(&mut self.diff);
                let read = self.read(Kind::Diff(lane), &mut diff[..bytes.len()]);
                bytes.iter_mut().zip(&diff).for_each(|(byte, diff)| *byte = byte.wrapping_add(*diff));
                self.diff = diff;
                read
            }
        }
    }

    fn add_sparse(&mut self, lane: Lane, gap: Option<u64>, mut bytes: &mut [u8]) -> Result<(), Error> {
        let mut gap = gap;
        while let Some(same) = gap.filter(|gap| *gap < bytes.len() as u64) {
            let (byte, behind) = bytes[same as usize..].split_first_mut().expect("the gap is shorter");
            let mut diff = [0];
            self.read(Kind::DiffByte(lane), &mut diff)?;
            *byte = byte.wrapping_add(diff[0]);
            bytes = behind;
            gap = self.next_gap(Kind::DiffGap(lane))?;
        }
        self.differences[lane as usize] = Differences::Sparse(gap.map(|gap| gap - bytes.len() as u64));
        Ok(())
    }

    /// The same for a word, which is predicted before and remembered afterwards.
    pub(crate) fn add_to_word(&mut self, words: &mut Words, word: &mut [u8]) -> Result<(), Error> {
        let mut old = [0; WORD_LEN_MAX];
        let old = &mut old[..word.len()];
        old.copy_from_slice(word);
        word.copy_from_slice(words.predicted(old));
        self.add(Lane::Plain, word)?;
        words.learn(old, word);
        Ok(())
    }

    /// How many of the next `len` copied bytes are not as predicted; takes no longer than the streams are.
    pub(crate) fn differing(&mut self, len: u64, piece: &mut [u8]) -> Result<u64, Error> {
        const LANE: Lane = Lane::Plain;
        let mut count = 0;
        let Differences::Sparse(mut gap) = self.differences[LANE as usize] else {
            pieces(0, len, |_, len| {
                self.read(Kind::Diff(LANE), &mut piece[..len])?;
                count += piece[..len].iter().filter(|byte| **byte != 0).count() as u64;
                Ok(())
            })?;
            return Ok(count);
        };
        let mut at = 0;
        while let Some(same) = gap.filter(|gap| *gap < len - at) {
            self.read(Kind::DiffByte(LANE), &mut piece[..1])?;
            (at, count) = (at + same + 1, count + 1);
            gap = self.next_gap(Kind::DiffGap(LANE))?;
        }
        self.differences[LANE as usize] = Differences::Sparse(gap.map(|gap| gap - (len - at)));
        Ok(count)
    }

    fn next_gap(&mut self, kind: Kind) -> Result<Option<u64>, Error> {
        let has_more = self.open[usize::from(kind.number())].as_ref().is_some_and(|stream| stream.left() > 0);
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
        for (number, stream) in (0..).zip(self.open) {
            if stream.is_some_and(|stream| !stream.was_used_up()) {
                let name = Kind::of_number(number).map(Kind::name).unwrap_or_default();
                return Err(Error::format(format!("it has more {name} than it needs")));
            }
        }
        let is_over = |differences: &Differences| !matches!(differences, Differences::Sparse(Some(_)));
        let is_over = self.differences.iter().all(is_over) && self.reference_gap.is_none();
        is_over.then_some(()).ok_or_else(|| Error::format("its last difference is behind its end"))
    }
}

fn damaged(kind: Kind, error: &io::Error) -> Error {
    Error::format(format!("{}: {error}", kind.name()))
}
