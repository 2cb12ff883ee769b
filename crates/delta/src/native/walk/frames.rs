//! What an ELF file needs to unwind its functions: `.eh_frame` and the index of it (Linux Standard Base 5.0, core, 10.6).

use super::{End, Form, Part, Tape};

/// `DW_EH_PE_absptr`.
const ABSOLUTE: u8 = 0;
/// `DW_EH_PE_pcrel | DW_EH_PE_sdata4`.
const RELATIVE_4: u8 = 0x1b;
/// Most common entries that are remembered.
const COMMONS_MAX: usize = 4_096;

/// How an entry of `.eh_frame` and those that name it write addresses.
#[derive(Clone, Copy)]
struct Encoding {
    start: u64,
    target: u8,
    data: Option<u8>,
}

#[derive(Default)]
struct Frames {
    commons: Vec<Encoding>,
    is_over: bool,
}

impl Frames {
    fn encoding_of(&self, start: u64) -> Option<Encoding> {
        self.commons.binary_search_by_key(&start, |common| common.start).ok().map(|n| self.commons[n])
    }
}

impl<T: Tape> Part<'_, T> {
    /// Four bytes of encodings, the place of `.eh_frame`, the number of entries, and two offsets for each.
    pub(super) fn frame_index(&mut self) -> Result<(), T::Error> {
        let result = self.number(4).and_then(|_| {
            self.reference(Form::Relative)?;
            self.number(4)
        });
        Self::ended(result.map(drop))?;
        self.row(Form::FromRegion)
    }

    pub(super) fn frames(&mut self) -> Result<(), T::Error> {
        let mut frames = Frames::default();
        while self.left >= 8 {
            let result = self.frame(&mut frames);
            Self::ended(result)?;
            if frames.is_over {
                break;
            }
        }
        Ok(())
    }

    /// One entry of `.eh_frame` (Linux Standard Base 5.0, core, 10.6.1).
    fn frame(&mut self, frames: &mut Frames) -> Result<(), End<T::Error>> {
        let start = self.offset;
        let len = self.number(4)?;
        if len == 0 || len == 0xffff_ffff || len > self.left || len < 4 {
            frames.is_over = true;
            return Ok(());
        }
        let behind = self.left - len;
        let id_at = self.offset;
        let id = self.reference(Form::Back)?;
        let mut entry = Part { tape: &mut *self.tape, offset: self.offset, left: self.left - behind };
        let result = if id == 0 {
            entry.common(start, frames)
        } else {
            let common = id_at.checked_sub(id).and_then(|at| frames.encoding_of(at));
            common.map_or(Ok(()), |encoding| entry.description(encoding))
        };
        let rest = entry.left;
        match result {
            Err(End::Tape(error)) => return Err(End::Tape(error)),
            Ok(()) | Err(End::Range) => entry.skip(rest).map_err(End::Tape)?,
        }
        self.took(self.left - behind);
        Ok(())
    }

    /// What all descriptions that name it have in common: how they write addresses.
    fn common(&mut self, start: u64, frames: &mut Frames) -> Result<(), End<T::Error>> {
        self.byte()?;
        let mut letters = [0; 8];
        let mut count = 0;
        loop {
            match self.byte()? {
                0 => break,
                letter if count < letters.len() => letters[count] = letter,
                _ => return Ok(()),
            }
            count += 1;
        }
        for _ in 0..3 {
            self.leb()?;
        }
        let mut encoding = Encoding { start, target: ABSOLUTE, data: None };
        if letters[0] == b'z' {
            self.leb()?;
            for letter in &letters[1..count] {
                match letter {
                    b'R' => encoding.target = self.byte()?,
                    b'L' => encoding.data = Some(self.byte()?),
                    b'P' => {
                        let how = self.byte()?;
                        if how & 0x0f == 0x0b && how & 0x70 == 0x10 {
                            self.reference(Form::Relative)?;
                        } else {
                            break;
                        }
                    }
                    b'S' | b'B' | b'G' => {}
                    _ => break,
                }
            }
        }
        if frames.commons.len() < COMMONS_MAX {
            frames.commons.push(encoding);
        }
        Ok(())
    }

    /// Where a function begins, how long it is, and what to know of it when it is unwound.
    fn description(&mut self, encoding: Encoding) -> Result<(), End<T::Error>> {
        if encoding.target != RELATIVE_4 {
            return Ok(());
        }
        self.reference(Form::Relative)?;
        self.number(4)?;
        if encoding.data == Some(RELATIVE_4) && self.byte()? == 4 {
            self.reference(Form::Relative)?;
        }
        Ok(())
    }

    /// Takes a number whose bytes say which is its last.
    fn leb(&mut self) -> Result<(), End<T::Error>> {
        while self.byte()? & 0x80 != 0 {}
        Ok(())
    }
}
