//! A file as a tape that makes itself: from copies, insertions, and references that are predicted.

use std::iter;

use super::super::a64::{self, Pages};
use super::super::map::Map;
use super::super::number;
use super::super::walk::{Form, Tape};
use super::{Base, Copied, Side};
use crate::stream::{Kind, Lane};

/// How many bytes are read, or written, at a time.
const PIECE_LEN: usize = 64 << 10;

/// A part of the old image that is in memory.
struct Window {
    at: u64,
    bytes: Vec<u8>,
}

/// A part of the new file that comes into being while it is walked.
pub(super) struct Rebuilt<'a, S> {
    side: &'a mut S,
    map: Map<'a>,
    base: &'a Base,
    copies: &'a [Copied],
    /// The first of `copies` that does not end before `at`.
    n: usize,
    /// Where this part begins.
    start: u64,
    /// How many bytes are rebuilt.
    at: u64,
    window: Window,
    /// Those of them that are not written.
    out: Vec<u8>,
    /// What registers hold at the end of the copy `pages_of`, in the old file.
    pages: Pages,
    pages_of: usize,
}

/// Where the next bytes come from, and how many.
enum Run {
    Insert(u64),
    Copy { old: u64, len: u64 },
}

impl<'a, S: Side> Rebuilt<'a, S> {
    /// The part that begins at `start`.
    pub(super) fn new(map: Map<'a>, base: &'a Base, copies: &'a [Copied], start: u64, side: &'a mut S) -> Self {
        Self {
            side,
            map,
            base,
            copies,
            n: copies.partition_point(|copy| copy.new + copy.len <= start),
            start,
            at: start,
            window: Window { at: 0, bytes: Vec::new() },
            out: Vec::with_capacity(PIECE_LEN * 2),
            pages: Pages::default(),
            pages_of: usize::MAX,
        }
    }

    /// Writes what was not written yet.
    pub(super) fn finish(self) -> Result<(), S::Error> {
        self.side.write(&self.out)
    }

    fn run(&mut self) -> Run {
        while let Some(copy) = self.copies.get(self.n) {
            let done = self.at.saturating_sub(copy.new);
            if self.at < copy.new {
                return Run::Insert(copy.new - self.at);
            }
            if done < copy.len {
                return Run::Copy { old: copy.old + done, len: copy.len - done };
            }
            self.n += 1;
        }
        Run::Insert(u64::MAX)
    }

    /// Where the old bytes from `old` on lie in the window: `wanted` of them, and more where the copy goes on.
    fn old(&mut self, old: u64, wanted: usize, run: u64) -> Result<usize, S::Error> {
        let Window { at, bytes } = &self.window;
        let is_there = *at <= old && old + wanted as u64 <= *at + bytes.len() as u64;
        if !is_there {
            self.window.bytes.resize(run.min(PIECE_LEN as u64) as usize, 0);
            self.window.at = old;
            let read = self.side.old(old, &mut self.window.bytes);
            if read.is_err() {
                self.window.bytes.clear();
            }
            read?;
        }
        Ok((old - self.window.at) as usize)
    }

    fn took(&mut self, len: usize) -> Result<(), S::Error> {
        self.at += len as u64;
        if self.out.len() >= PIECE_LEN {
            self.side.write(&self.out)?;
            self.out.clear();
        }
        Ok(())
    }

    fn insert(&mut self, lane: Lane, len: usize) -> Result<(), S::Error> {
        let from = self.out.len();
        self.out.extend(iter::repeat_n(0, len));
        self.side.inserted(lane, &mut self.out[from..])?;
        self.took(len)
    }

    fn copy(&mut self, lane: Lane, old: u64, len: usize, run: u64) -> Result<(), S::Error> {
        let from = self.out.len();
        let at = self.old(old, len, run)?;
        self.out.extend_from_slice(&self.window.bytes[at..at + len]);
        self.side.copied(lane, &mut self.out[from..])?;
        self.took(len)
    }

    /// The place in the base that the next `width` bytes are copied from, if all of them are.
    fn copied_from_base(&mut self, width: usize) -> Option<(u64, u64)> {
        let Run::Copy { old, len } = self.run() else { return None };
        let place = old.checked_sub(self.base.start)?;
        (len >= width as u64 && place + width as u64 <= self.base.len).then_some((old, len))
    }

    /// Whether all the next `len` bytes are new, or copied by one instruction.
    fn is_whole(&mut self, len: u64) -> bool {
        matches!(self.run(), Run::Insert(run) | Run::Copy { len: run, .. } if run >= len)
    }

    /// The next reference, if it can be predicted.
    fn predicted(&mut self, form: Form) -> Result<Option<u64>, S::Error> {
        let width = form.width();
        let Some((old, run)) = self.copied_from_base(width) else { return Ok(None) };
        let at = self.old(old, width, run)?;
        let before = number(&self.window.bytes[at..at + width]);
        let (new, place) = (self.at - self.start, old - self.base.start);
        let Some(predicted) = self.map.predict(form, place, before, new) else { return Ok(None) };
        let value = self.side.reference(predicted.value, width)?;
        if value != predicted.value {
            self.map.learn(form, predicted, new, value);
        }
        self.out.extend_from_slice(&value.to_le_bytes()[..width]);
        self.took(width)?;
        Ok(Some(value))
    }

    /// Whether a place of the old image lies in the layout's base.
    fn is_of_base(&self, old: u64) -> bool {
        (self.base.start..self.base.start + self.base.len).contains(&old)
    }

    /// The next reference, if it is new code's, or copied from another file.
    fn new_reference(&mut self, form: Form) -> Result<Option<u64>, S::Error> {
        let kind = match form {
            Form::Call => Kind::Call,
            Form::Jump => Kind::Jump,
            Form::Operand { .. } => Kind::Address,
            Form::Step { .. } => Kind::Step,
            _ => return Ok(None),
        };
        let is_told = match self.run() {
            Run::Insert(len) => len >= 4,
            // Nobody knows where things of another file went.
            Run::Copy { old, len } => len >= 4 && !self.is_of_base(old),
        };
        if !is_told {
            return Ok(None);
        }
        let from = match form {
            Form::Step { before } => u64::from(before.wrapping_neg()),
            _ => {
                let Some(from) = self.map.origin(form, self.at - self.start) else { return Ok(None) };
                from
            }
        };
        let value = self.side.target(kind, from as u32)?.wrapping_sub(from as u32);
        self.out.extend_from_slice(&value.to_le_bytes());
        self.took(4)?;
        Ok(Some(value.into()))
    }

    /// The next instruction of arm64, if it is copied and refers to something.
    fn predicted_word(&mut self) -> Result<Option<()>, S::Error> {
        let Some((old, run)) = self.copied_from_base(4) else { return Ok(None) };
        let ahead = run.min(4 + a64::REACH) as usize;
        let at = self.old(old, ahead, run)?;
        let (word, behind) = self.window.bytes[at..at + ahead].split_at(4);
        let word = number(word) as u32;
        let Some((from, to)) = self.map.addresses(old - self.base.start, self.at - self.start) else { return Ok(None) };
        if self.pages_of != self.n {
            (self.pages, self.pages_of) = (Pages::default(), self.n);
        }
        let target = a64::target(word, from, &self.pages, behind);
        self.pages.note(word, from);
        let Some(target) = target else { return Ok(None) };
        let Some(went) = self.map.went(target) else { return Ok(None) };
        let predicted = a64::aimed(word, to, went);
        let value = self.side.reference(predicted.into(), 4)? as u32;
        if value != predicted && a64::is_same(word, value) {
            self.map.correct(target, a64::corrected(value, to, went));
        }
        self.out.extend_from_slice(&value.to_le_bytes());
        self.took(4)?;
        Ok(Some(()))
    }

    /// The next instruction of arm64, if it is copied from nowhere.
    fn inserted_word(&mut self) -> Result<Option<()>, S::Error> {
        let Run::Insert(4..) = self.run() else { return Ok(None) };
        let Some(address) = self.map.address(self.at - self.start) else { return Ok(None) };
        let word = self.side.new_word(address)?;
        self.out.extend_from_slice(&word.to_le_bytes());
        self.took(4)?;
        Ok(Some(()))
    }

    /// Copies some of the data up to `end`, of which `run` bytes lie at `old`: a reference that a table names, or what is before
    /// the next one.
    fn copy_data(&mut self, old: u64, run: u64, end: u64) -> Result<(), S::Error> {
        let left = end - self.at;
        let len = match self.next_site(old) {
            Some((0, form)) => {
                let width = form.width() as u64;
                if left >= width && self.predicted(form)?.is_some() {
                    return Ok(());
                }
                width
            }
            Some((before, _)) => before,
            None => PIECE_LEN as u64,
        };
        let len = len.min(run).min(left).min(PIECE_LEN as u64);
        self.copy(Lane::Plain, old, len as usize, run)
    }

    /// The next reference of the base that its tables name: how far behind `old` it is, and its form.
    fn next_site(&self, old: u64) -> Option<(u64, Form)> {
        let place = old.saturating_sub(self.base.start);
        let n = self.base.sites.partition_point(|site| site.place() < place);
        let site = self.base.sites.get(n)?;
        Some(((self.base.start + site.place()).checked_sub(old)?, site.form()))
    }
}

impl<S: Side> Tape for Rebuilt<'_, S> {
    type Error = S::Error;

    fn byte(&mut self, lane: Lane) -> Result<u8, S::Error> {
        let mut byte = [0];
        match self.run() {
            Run::Insert(_) => self.side.inserted(lane, &mut byte)?,
            Run::Copy { old, len } => {
                let at = self.old(old, 1, len)?;
                byte = [self.window.bytes[at]];
                self.side.copied(lane, &mut byte)?;
            }
        }
        self.out.extend_from_slice(&byte);
        self.took(1)?;
        Ok(byte[0])
    }

    fn operand(&mut self, len: u8) -> Result<(), S::Error> {
        if len == 0 {
            return Ok(());
        }
        let is_whole = self.is_whole(len.into());
        let lane = if len == 4 && is_whole { Lane::Wide } else { Lane::Operand };
        match self.run() {
            Run::Insert(_) if is_whole => self.insert(lane, len.into()),
            Run::Copy { old, len: run } if is_whole => self.copy(lane, old, len.into(), run),
            _ => (0..len).try_for_each(|_| self.byte(lane).map(drop)),
        }
    }

    fn word(&mut self) -> Result<(), S::Error> {
        if self.predicted_word()?.is_some() || self.inserted_word()?.is_some() {
            return Ok(());
        }
        self.operand(4)
    }

    fn skip(&mut self, len: u64) -> Result<(), S::Error> {
        let end = self.at + len;
        while self.at < end {
            match self.run() {
                Run::Insert(run) => {
                    let len = run.min(end - self.at).min(PIECE_LEN as u64);
                    self.insert(Lane::Plain, len as usize)?;
                }
                Run::Copy { old, len } => self.copy_data(old, len, end)?,
            }
        }
        Ok(())
    }

    fn named(&mut self) -> Result<u32, S::Error> {
        if let Run::Copy { old, .. } = self.run()
            && let Some((0, form @ Form::FromImage)) = self.next_site(old)
            && let Some(value) = self.predicted(form)?
        {
            return Ok(value as u32);
        }
        (0..4).try_fold(0, |value, n| Ok(value | u32::from(self.byte(Lane::Plain)?) << (8 * n)))
    }

    fn reference(&mut self, form: Form) -> Result<u64, S::Error> {
        if let Some(value) = self.predicted(form)? {
            return Ok(value);
        }
        if let Some(value) = self.new_reference(form)? {
            return Ok(value);
        }
        let lane = match form {
            Form::Short | Form::Based if self.is_whole(4) => Lane::Wide,
            _ => form.lane(),
        };
        (0..form.width()).try_fold(0, |value, n| Ok(value | u64::from(self.byte(lane)?) << (8 * n)))
    }
}
