//! What GNU gzip and Info-ZIP's zip do when they deflate, to the byte.
//!
//! zlib came out of gzip, and writes something else: with it the number of symbols in a block decides how bytes are hashed, it
//! does not look whether a block should end early, and it moves its window at other places. So no parameters of zlib reproduce
//! what gzip packed. This is the older algorithm, written from what it does. It is part of format 1: what comes out of it
//! never changes. docs/format.md draws it.
//!
//! What gzip makes of a file depends on what it packed before in the same call, when that leaves bytes behind the end of a
//! later one. Here every stream is the first. `gzip --rsyncable`, and gzip before 1.5, write something else again.
//!
//! - `window`: the bytes, and where repeats are found in them;
//! - `block`: what was found, and how it is written; with `code` and `bits`.
//!
//! Memory is about 0.5 MiB for each stream, whatever is written.

mod bits;
mod block;
mod code;
mod window;

use std::io;

use bits::Bits;
use block::Block;
use window::{Effort, Repeat, Window};

/// A repeat of three bytes from farther than this costs more than it saves.
const FAR: usize = 4096;

/// Programs that share the algorithm, and come to the end of a file in two ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Program {
    /// GNU gzip, from 1.5 on.
    Gzip,
    /// Info-ZIP's zip 3.
    Zip,
}

/// Who packed, and at which level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Gnu {
    program: Program,
    level: u8,
}

impl Gnu {
    /// A program at a level from 1 to 9.
    ///
    /// # Panics
    /// For any other level.
    pub const fn new(program: Program, level: u8) -> Self {
        assert!(level >= 1 && level <= 9, "there are nine levels that compress");
        Self { program, level }
    }

    /// Which program.
    pub fn program(self) -> Program {
        self.program
    }

    /// From 1 to 9.
    pub fn level(self) -> u8 {
        self.level
    }

    fn setting(self) -> Setting {
        let (good_len, lazy_len, nice_len, places) = match self.level {
            1 => (4, 4, 8, 4),
            2 => (4, 5, 16, 8),
            3 => (4, 6, 32, 32),
            4 => (4, 4, 16, 16),
            5 => (8, 16, 32, 32),
            6 => (8, 16, 128, 128),
            7 => (8, 32, 128, 256),
            8 => (32, 128, 258, 1024),
            _ => (32, 258, 258, 4096),
        };
        Setting { effort: Effort { places, good_len, nice_len }, lazy_len }
    }

    fn is_lazy(self) -> bool {
        self.level > 3
    }

    fn has_short_blocks(self) -> bool {
        self.level > 2
    }
}

/// What a level means.
struct Setting {
    effort: Effort,
    /// Up to level 3: a repeat that is longer is not noted byte for byte. Above: with one that is as long no longer one is looked for.
    lazy_len: usize,
}

/// Packs bytes into raw deflate, as one of these programs does at one level.
#[derive(Debug)]
pub struct Deflate {
    parameters: Gnu,
    window: Window,
    block: Block,
    /// Where the block began, counted from the first byte of all.
    block_at: u64,
    /// What was found one byte ago, and whether that byte waits for what is found now.
    found: Repeat,
    is_waiting: bool,
    bits: Bits,
}

impl Deflate {
    /// A stream that nothing was written to.
    pub fn new(parameters: Gnu) -> Self {
        let (window, block) = (Window::new(parameters.program), Block::new(parameters.has_short_blocks()));
        Self { parameters, window, block, block_at: 0, found: Repeat::NONE, is_waiting: false, bits: Bits::default() }
    }

    /// Its parameters.
    pub fn parameters(&self) -> Gnu {
        self.parameters
    }

    /// Packs `bytes` as well, and tells `each` whatever is packed by then.
    ///
    /// # Errors
    /// What `each` answers.
    pub fn write(&mut self, mut bytes: &[u8], each: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        while !bytes.is_empty() {
            bytes = &bytes[self.window.fill(bytes)..];
            // However the bytes come, they are looked through a window at a time.
            if self.window.is_full() {
                self.run(each)?;
                self.window.slide();
            }
        }
        Ok(())
    }

    /// Tells `each` the rest. What is written afterwards begins a new stream.
    ///
    /// # Errors
    /// What `each` answers.
    pub fn finish(&mut self, each: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        self.run(each)?;
        self.window.slide();
        self.window.end();
        self.run(each)?;
        if self.is_waiting {
            self.block.literal(self.window.last_byte());
        }
        self.end_block(true);
        self.bits.align();
        self.tell(each)?;
        self.reset();
        Ok(())
    }

    /// Forgets whatever was written.
    pub fn reset(&mut self) {
        self.window.clear();
        self.block.clear();
        self.bits.clear();
        (self.block_at, self.found, self.is_waiting) = (0, Repeat::NONE, false);
    }

    fn tell(&mut self, each: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        each(self.bits.full())?;
        self.bits.clear_full();
        Ok(())
    }

    /// Looks through what is there.
    fn run(&mut self, each: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let setting = self.parameters.setting();
        if self.window.place() == 0 {
            self.window.begin_hash();
        }
        while !self.window.wants_more() && !self.window.is_done() {
            let is_over = if self.parameters.is_lazy() { self.lazy_step(&setting) } else { self.fast_step(&setting) };
            if is_over {
                self.tell(each)?;
            }
        }
        Ok(())
    }

    /// Takes the repeat that is here, or the byte. Whether a block was written.
    fn fast_step(&mut self, setting: &Setting) -> bool {
        let first = self.window.note();
        let Some(repeat) = self.look(first, Repeat::NONE, setting) else {
            self.block.literal(self.window.byte());
            let is_over = self.is_block_over();
            self.window.skip(1);
            return is_over && self.end_block(false);
        };
        self.block.repeat(repeat.len, repeat.from);
        let is_over = self.is_block_over();
        if repeat.len <= setting.lazy_len {
            self.window.pass(repeat.len);
        } else {
            self.window.skip(repeat.len);
            self.window.begin_hash();
        }
        is_over && self.end_block(false)
    }

    /// Takes the repeat of one byte ago, unless the one that is here is longer. Whether a block was written.
    fn lazy_step(&mut self, setting: &Setting) -> bool {
        let last = std::mem::replace(&mut self.found, Repeat::NONE);
        let first = self.window.note();
        if last.len < setting.lazy_len {
            let near = |repeat: &Repeat| repeat.len > 3 || repeat.from <= FAR;
            self.found = self.look(first, last, setting).filter(near).unwrap_or(Repeat::NONE);
        }
        if last.is_some() && self.found.len <= last.len {
            self.block.repeat(last.len, last.from);
            let is_over = self.is_block_over();
            // Two of its bytes are noted already.
            self.window.pass(last.len - 1);
            (self.found, self.is_waiting) = (Repeat::NONE, false);
            return is_over && self.end_block(false);
        }
        let mut is_over = false;
        if self.is_waiting {
            self.block.literal(self.window.last_byte());
            is_over = self.is_block_over() && self.end_block(false);
        }
        self.is_waiting = true;
        self.window.skip(1);
        is_over
    }

    fn look(&self, first: u16, last: Repeat, setting: &Setting) -> Option<Repeat> {
        self.window.repeat(first, last.len, &setting.effort).filter(|repeat| repeat.is_some())
    }

    fn is_block_over(&self) -> bool {
        self.block.is_over(self.window.place() - self.block_at)
    }

    fn end_block(&mut self, is_last: bool) -> bool {
        let raw = self.window.since(self.block_at);
        self.block.write(raw, is_last, &mut self.bits);
        self.block_at = self.window.place();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::member::Members;
    use crate::zlib::{crc32, sample};
    use proptest::prelude::*;

    fn ways() -> impl Iterator<Item = Gnu> {
        [Program::Gzip, Program::Zip].into_iter().flat_map(|program| (1..=9).map(move |level| Gnu::new(program, level)))
    }

    fn packed(deflate: &mut Deflate, content: &[u8], piece_len: usize) -> Vec<u8> {
        let mut packed = Vec::new();
        let mut each = |bytes: &[u8]| {
            packed.extend_from_slice(bytes);
            Ok(())
        };
        content.chunks(piece_len).for_each(|bytes| deflate.write(bytes, &mut each).unwrap());
        deflate.finish(&mut each).unwrap();
        packed
    }

    /// What the sample is packed to, for ever: lengths and CRCs, by program and level.
    const SAMPLES: [[(usize, u32); 9]; 2] = [
        [
            (81105, 2_289_158_979),
            (79022, 1_613_510_909),
            (77448, 1_058_436_818),
            (73379, 3_190_046_426),
            (72453, 493_177_435),
            (72217, 2_054_499_070),
            (72185, 2_981_723_720),
            (72209, 3_012_770_756),
            (72209, 3_012_770_756),
        ],
        [
            (81105, 3_871_040_560),
            (79022, 3_622_306_072),
            (77448, 1_867_202_471),
            (73379, 1_672_568_892),
            (72454, 3_555_111_000),
            (72217, 1_925_207_229),
            (72186, 4_155_350_209),
            (72209, 916_278_144),
            (72209, 916_278_144),
        ],
    ];

    #[test]
    fn what_comes_out_never_changes() {
        // Few letters, so that levels differ in how long they look; and an end at which the programs do.
        let few: Vec<u8> = sample().iter().map(|byte| byte % 5).collect();
        let sample = [&sample(), &few[..40_000], b"wxyz\0\0\0wxyz.wxyz"].concat();
        let found: Vec<(usize, u32)> = ways()
            .map(|way| packed(&mut Deflate::new(way), &sample, 99_999))
            .map(|packed| (packed.len(), crc32(0, &packed)))
            .collect();
        assert_eq!(found, SAMPLES.concat());
    }

    proptest! {
        #[test]
        fn there_and_back_in_pieces_of_any_length(
            letters in 1..250_u8,
            bytes in proptest::collection::vec(any::<u8>(), 0..3_000),
            times in 1..90_usize,
            piece_len in 1..70_000_usize,
        ) {
            let content = bytes.iter().map(|byte| byte % letters).collect::<Vec<u8>>().repeat(times);
            for way in ways() {
                let mut deflate = Deflate::new(way);
                let whole = packed(&mut deflate, &content, content.len().max(1));
                prop_assert!(whole == packed(&mut deflate, &content, piece_len), "{:?}", way);
                let mut back = Vec::new();
                let mut each = |bytes: &[u8]| {
                    back.extend_from_slice(bytes);
                    Ok(())
                };
                let len = content.len() as u64;
                Members::new().unwrap().inflate(&whole, 0, whole.len() as u64, len, &mut each).unwrap();
                prop_assert!(back == content, "{:?}", way);
            }
        }
    }

    #[test]
    fn noise_is_stored_and_nothing_takes_two_bytes() {
        let mut state = 1_u32;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(0x0019_660d).wrapping_add(0x3c6e_f35f);
            (state >> 24) as u8
        })
        .take(70_000)
        .collect();
        for way in ways() {
            let mut deflate = Deflate::new(way);
            // Blocks of 32,767 literals, each with its length twice, and what does not fill a byte.
            assert_eq!(packed(&mut deflate, &noise, 70_000).len(), noise.len() + 3 * 5, "{way:?}");
            assert_eq!(packed(&mut deflate, b"", 1), [3, 0]);
        }
    }
}
