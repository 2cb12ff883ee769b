//! What only PE files have: code that counts from the image's base, and what its functions need to be unwound.

use std::collections::BTreeMap;

use super::{Code, End, Form, Part, Tape};
use crate::native::layout::Space;

/// What instructions read jump targets from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Table {
    /// Targets.
    Offsets,
    /// Numbers of targets.
    Bytes,
}

impl Table {
    /// What an instruction that multiplies by `1 << scale` reads from.
    pub(super) fn of(scale: u8) -> Option<Self> {
        match scale {
            0 => Some(Self::Bytes),
            2 => Some(Self::Offsets),
            _ => None,
        }
    }
}

/// Most tables ahead that are remembered.
const TABLES_MAX: usize = 4_096;

/// Where a range lies in its image.
pub(super) struct InImage<'a> {
    pub(super) space: &'a Space,
    pub(super) base: u64,
    pub(super) begin: u64,
    pub(super) end: u64,
}

impl InImage<'_> {
    /// The place in the file of what is at an offset from the image's base, if the range has it.
    fn place(&self, offset: u32) -> Option<u64> {
        let place = self.space.place_of(self.base + u64::from(offset))?.1?;
        (self.begin..self.end).contains(&place).then_some(place)
    }
}

/// A part of a function of a PE file.
#[derive(Clone, Copy, Default)]
struct Function {
    begin: u32,
    end: u32,
    unwind: u32,
}

impl<T: Tape> Part<'_, T> {
    /// Where a part of a function begins and ends, and where its unwind information lies.
    pub(super) fn exceptions(&mut self) -> Result<(), T::Error> {
        let mut last = Function::default();
        while self.left >= 12 {
            let result = self.function(last.end, last.unwind).map(|function| last = function);
            Self::ended(result)?;
        }
        Ok(())
    }

    fn function(&mut self, begin: u32, unwind: u32) -> Result<Function, End<T::Error>> {
        let begin = self.reference(Form::Step { before: begin })? as u32;
        let end = self.reference(Form::Step { before: begin })? as u32;
        let unwind = self.reference(Form::Step { before: unwind })? as u32;
        Ok(Function { begin, end, unwind })
    }

    /// `UNWIND_INFO`, and what handlers know.
    pub(super) fn unwind(&mut self) -> Result<(), T::Error> {
        let mut last = Function::default();
        let mut handler = 0;
        while self.left >= 4 {
            let result = self.unwind_info(&mut last, &mut handler);
            Self::ended(result)?;
        }
        Ok(())
    }

    fn unwind_info(&mut self, last: &mut Function, handler: &mut u32) -> Result<(), End<T::Error>> {
        self.took(4);
        let [first, _, codes, _] = self.tape.named().map_err(End::Tape)?.to_le_bytes();
        let (version, flags) = (first & 7, first >> 3);
        if !(1..=2).contains(&version) || flags > 4 {
            return Ok(());
        }
        let codes = 2 * u64::from(codes).next_multiple_of(2);
        if codes > self.left {
            return Err(End::Range);
        }
        self.skip(codes).map_err(End::Tape)?;
        match flags {
            0 => {}
            4 => *last = self.function(last.begin, last.unwind)?,
            _ => *handler = self.reference(Form::Step { before: *handler })? as u32,
        }
        Ok(())
    }

    /// Offsets, with a byte behind each.
    pub(super) fn guards(&mut self) -> Result<(), T::Error> {
        while self.left >= 5 {
            let result = self.reference(Form::FromImage).and_then(|_| self.skip(1).map_err(End::Tape));
            Self::ended(result)?;
        }
        Ok(())
    }

    /// Code with the tables that it jumps by in between: where they begin is what instructions before them say.
    pub(super) fn based_code(&mut self, image: &InImage<'_>) -> Result<(), T::Error> {
        let mut ahead = BTreeMap::new();
        let mut targets = 0;
        while self.left > 0 {
            while let Some(first) = ahead.first_entry()
                && *first.key() < self.offset
            {
                first.remove();
            }
            let result = match ahead.remove(&self.offset) {
                Some(Table::Offsets) => self.jump_table(image, &ahead).map(|count| targets = count),
                Some(Table::Bytes) => self.byte_table(targets, &ahead),
                None => self.instruction(Code::Based).map(|table| {
                    let place = table.and_then(|(offset, table)| Some((image.place(offset)?, table)));
                    if let Some((place, table)) = place
                        && place > self.offset
                        && ahead.len() < TABLES_MAX
                    {
                        ahead.entry(place).or_insert(table);
                    }
                }),
            };
            Self::ended(result)?;
        }
        Ok(())
    }

    /// Offsets of code, up to and with the first that is none, or to where the next table begins.
    fn jump_table(&mut self, image: &InImage<'_>, ahead: &BTreeMap<u64, Table>) -> Result<u64, End<T::Error>> {
        let mut count = 0;
        loop {
            let offset = self.reference(Form::FromImage)? as u32;
            if image.place(offset).is_none() || ahead.contains_key(&self.offset) {
                return Ok(count);
            }
            count += 1;
        }
    }

    /// Numbers of entries of the table before, up to and with the first that is none, or to where the next table begins.
    fn byte_table(&mut self, targets: u64, ahead: &BTreeMap<u64, Table>) -> Result<(), End<T::Error>> {
        while u64::from(self.byte()?) < targets && !ahead.contains_key(&self.offset) {}
        Ok(())
    }
}
