//! From the first byte of a file to its last: which bytes are references.
//!
//! The walk sees the new file only, as it comes into being, and asks for nothing that lies further on. So the decoder can
//! take it while it writes the file, and finds the references in inserted code as well. What it finds in a given file
//! is part of format 1.

mod frames;
mod pe;

use pe::{InImage, Table};

use super::layout::{Layout, RangeKind, Space};
use super::x86;
use crate::stream::Lane;

/// What a reference says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Four bytes: the target's distance from the reference's own address.
    Relative,
    /// Four bytes of a call: the target's distance from their end.
    Call,
    /// Four bytes of a jump: the same.
    Jump,
    /// Four bytes of another instruction: the target's distance from its end.
    Operand {
        /// Bytes from the beginning of the reference to there.
        base: u8,
    },
    /// Eight bytes: the target's address.
    Pointer,
    /// Eight bytes, the lower 36 bits of which are the target's distance from the image's base; the others are something else.
    Chained,
    /// Four bytes: the target's address.
    Short,
    /// Four bytes: the target's distance from the beginning of its region.
    FromRegion,
    /// Four bytes: the target's distance from the image's base; 0 for none.
    FromImage,
    /// Four bytes: the same, and most often not far from another such distance.
    Step {
        /// That one.
        before: u32,
    },
    /// Four bytes of an instruction: the same.
    Based,
    /// Four bytes: the target's distance from the beginning of the region that has a place of the file.
    Name {
        /// That place.
        anchor: u64,
    },
    /// Four bytes: how far in front of the reference the target lies.
    Back,
    /// Four bytes: the target's distance from another place of the file.
    From {
        /// That place.
        anchor: u64,
    },
}

impl Form {
    /// Its length in bytes.
    pub fn width(self) -> usize {
        match self {
            Self::Pointer | Self::Chained => 8,
            _ => 4,
        }
    }

    /// Where its bytes are kept when it is not predicted.
    pub(crate) fn lane(self) -> Lane {
        match self {
            Self::Call | Self::Jump | Self::Operand { .. } | Self::Short | Self::Based => Lane::Operand,
            _ => Lane::Plain,
        }
    }
}

/// A file, taken from its beginning to its end.
pub trait Tape {
    /// Why it cannot be taken.
    type Error;

    /// Takes the next byte.
    ///
    /// # Errors
    /// When that cannot be had.
    fn byte(&mut self, lane: Lane) -> Result<u8, Self::Error>;

    /// Takes `len` bytes of data that nobody needs to look at.
    ///
    /// # Errors
    /// When they cannot be had.
    fn skip(&mut self, len: u64) -> Result<(), Self::Error>;

    /// Takes the `len` bytes of an operand that refers to nothing.
    ///
    /// # Errors
    /// When they cannot be had.
    fn operand(&mut self, len: u8) -> Result<(), Self::Error>;

    /// Takes the next four bytes, which are an instruction of arm64.
    ///
    /// # Errors
    /// When they cannot be had.
    fn word(&mut self) -> Result<(), Self::Error>;

    /// Takes the next four bytes, which are a reference if a table of the old file says so, and answers with them.
    ///
    /// # Errors
    /// When they cannot be had.
    fn named(&mut self) -> Result<u32, Self::Error>;

    /// Takes the next bytes, which are a reference, and answers with them as a number.
    ///
    /// # Errors
    /// When they cannot be had.
    fn reference(&mut self, form: Form) -> Result<u64, Self::Error>;
}

/// Takes a file of `len` bytes, the new one of a layout.
///
/// # Errors
/// Whatever the tape answers.
pub fn walk<T: Tape>(layout: &Layout, len: u64, tape: &mut T) -> Result<(), T::Error> {
    let space = Space::new(layout.regions.iter().map(|region| region.new));
    let mut done = 0;
    let strings = layout.ranges.iter().filter(|range| range.kind == RangeKind::Strings);
    let strings: Vec<u64> = strings.map(|range| range.offset).collect();
    for range in &layout.ranges {
        tape.skip(range.offset - done)?;
        let mut part = Part { tape, offset: range.offset, left: range.len };
        match range.kind {
            RangeKind::X86_64 => part.code(Code::Relative)?,
            RangeKind::X86_64Fixed => part.code(Code::Fixed)?,
            RangeKind::A64 => part.words()?,
            RangeKind::X86_64Based => {
                let image = InImage { space: &space, base: layout.image_base.1, begin: range.offset, end: range.end() };
                part.based_code(&image)?;
            }
            RangeKind::Rela64 => part.relocations()?,
            RangeKind::Sym64 => {
                let next = strings.partition_point(|strings| *strings <= range.offset);
                part.symbols(strings.get(next).copied())?;
            }
            RangeKind::EhFrame => part.frames()?,
            RangeKind::EhFrameHdr => part.frame_index()?,
            RangeKind::Guards => part.guards()?,
            RangeKind::Rva32 => part.row(Form::FromImage)?,
            RangeKind::Exceptions => part.exceptions()?,
            RangeKind::Unwind => part.unwind()?,
            RangeKind::Pointers | RangeKind::Relr64 => part.row(Form::Pointer)?,
            RangeKind::Chained => part.row(Form::Chained)?,
            RangeKind::Jumps => part.row(Form::From { anchor: range.offset })?,
            RangeKind::BaseReloc | RangeKind::Strings => {}
        }
        let rest = part.left;
        tape.skip(rest)?;
        done = range.end();
    }
    tape.skip(len - done)
}

/// What is left of a range.
struct Part<'t, T> {
    tape: &'t mut T,
    offset: u64,
    left: u64,
}

/// Why a part of a file ends.
enum End<E> {
    /// The range does.
    Range,
    /// The tape said no.
    Tape(E),
}

impl<T: Tape> Part<'_, T> {
    fn byte(&mut self) -> Result<u8, End<T::Error>> {
        self.byte_of(Lane::Plain)
    }

    fn byte_of(&mut self, lane: Lane) -> Result<u8, End<T::Error>> {
        if self.left == 0 {
            return Err(End::Range);
        }
        self.took(1);
        self.tape.byte(lane).map_err(End::Tape)
    }

    fn operand(&mut self, len: u8) -> Result<(), End<T::Error>> {
        if self.left < u64::from(len) {
            return Err(End::Range);
        }
        self.took(len.into());
        self.tape.operand(len).map_err(End::Tape)
    }

    fn skip(&mut self, len: u64) -> Result<(), T::Error> {
        let len = len.min(self.left);
        self.took(len);
        self.tape.skip(len)
    }

    fn reference(&mut self, form: Form) -> Result<u64, End<T::Error>> {
        if self.left < form.width() as u64 {
            return Err(End::Range);
        }
        self.took(form.width() as u64);
        self.tape.reference(form).map_err(End::Tape)
    }

    fn took(&mut self, len: u64) {
        self.left -= len;
        self.offset += len;
    }

    fn number(&mut self, width: usize) -> Result<u64, End<T::Error>> {
        (0..width).try_fold(0, |number, n| Ok(number | u64::from(self.byte()?) << (8 * n)))
    }

    /// What ends with its range is no error.
    fn ended(result: Result<(), End<T::Error>>) -> Result<(), T::Error> {
        match result {
            Err(End::Tape(error)) => Err(error),
            Ok(()) | Err(End::Range) => Ok(()),
        }
    }

    fn row(&mut self, form: Form) -> Result<(), T::Error> {
        while self.left >= form.width() as u64 {
            Self::ended(self.reference(form).map(drop))?;
        }
        Ok(())
    }

    fn words(&mut self) -> Result<(), T::Error> {
        while self.left >= 4 {
            self.took(4);
            self.tape.word()?;
        }
        Ok(())
    }

    fn code(&mut self, code: Code) -> Result<(), T::Error> {
        while self.left > 0 {
            let result = self.instruction(code).map(drop);
            Self::ended(result)?;
        }
        Ok(())
    }

    /// Takes an instruction, and answers with the table that it reads from, if it says where that is.
    fn instruction(&mut self, code: Code) -> Result<Option<(u32, Table)>, End<T::Error>> {
        let operands = x86::measure(|| self.byte_of(Lane::Opcode))?;
        let mut table = None;
        if operands.is_branch {
            self.reference(if operands.is_call { Form::Call } else { Form::Jump })?;
            return Ok(None);
        }
        match (code, operands.scale) {
            _ if operands.is_relative => {
                self.reference(Form::Operand { base: 4 + operands.immediate })?;
            }
            (Code::Fixed, _) if operands.displacement == 4 => {
                self.reference(Form::Short)?;
            }
            (Code::Based, Some(scale)) if operands.displacement == 4 => {
                let offset = self.reference(Form::Based)? as u32;
                table = Table::of(scale).map(|table| (offset, table));
            }
            _ => self.operand(operands.displacement)?,
        }
        if code == Code::Fixed && operands.immediate == 4 {
            self.reference(Form::Short)?;
        } else {
            self.operand(operands.immediate)?;
        }
        Ok(table)
    }

    /// `r_offset`, `r_info`, `r_addend`: the last is an address where the type says so.
    fn relocations(&mut self) -> Result<(), T::Error> {
        const RELATIVE: [u32; 3] = [8, 37, 1_027];
        while self.left >= 24 {
            let result = self.reference(Form::Pointer).and_then(|_| {
                let kind = self.number(8)? as u32;
                if RELATIVE.contains(&kind) {
                    return self.reference(Form::Pointer).map(drop);
                }
                self.skip(8).map_err(End::Tape)
            });
            Self::ended(result)?;
        }
        Ok(())
    }

    /// `st_name`, `st_info`, `st_other`, `st_shndx`, `st_value`, `st_size`: the name is a place in `strings`, the value an
    /// address in a section.
    fn symbols(&mut self, strings: Option<u64>) -> Result<(), T::Error> {
        while self.left >= 24 {
            let name = match strings {
                Some(anchor) => self.reference(Form::Name { anchor }),
                None => self.number(4),
            };
            let result = name.and_then(|_| self.number(4)).and_then(|front| {
                let section = front >> 16;
                if section != 0 {
                    self.reference(Form::Pointer)?;
                    return self.skip(8).map_err(End::Tape);
                }
                self.skip(16).map_err(End::Tape)
            });
            Self::ended(result)?;
        }
        Ok(())
    }
}

/// How code says places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Code {
    /// By their distance only.
    Relative,
    /// By their addresses, too.
    Fixed,
    /// By their offsets from the image's base, too.
    Based,
}
