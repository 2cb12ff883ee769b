//! The streams that a patch is made of: what each holds, and how it is compressed.
//!
//! What is alike lies together: lengths by lengths, differences by differences. Each stream is read once, forward.

use std::io::{self, BufRead, Read};

use lzma_rust2::LzmaReader;

use crate::error::Error;
use crate::limits::DICT_LOG_MAX;
use crate::parts::{byte, image_len, number};
use crate::read_at::ReadAt;
use crate::varint;

/// Bytes of the patch that a stream reads at a time.
const READ_LEN: usize = 16 << 10;

/// What bytes of a file are for. Those of executables are kept apart; of other files all are plain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Lane {
    /// Anything.
    Plain = 0,
    /// Prefixes, opcodes, and which registers.
    Opcode = 1,
    /// Displacements and immediates.
    Operand = 2,
    /// Those of four bytes, and instructions of four bytes.
    Wide = 3,
}

impl Lane {
    /// Every lane.
    pub const ALL: [Self; 4] = [Self::Plain, Self::Opcode, Self::Operand, Self::Wide];

    fn name(self) -> &'static str {
        match self {
            Self::Plain => "bytes",
            Self::Opcode => "opcodes",
            Self::Operand => "operands",
            Self::Wide => "wide operands",
        }
    }
}

/// What a stream holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// For each instruction: how many bytes are new, as a varint.
    InsertLen,
    /// For each instruction: how many bytes are copied behind them, as a varint.
    CopyLen,
    /// For each instruction that copies: how far its place in the old image is from the end of the copy before, as a
    /// zigzag varint.
    Seek,
    /// For each output: where code and tables lie in it and in its base ([`crate::native::Layout`]).
    Layout,
    /// How many references are as predicted before each that is not, as a varint.
    ReferenceGap,
    /// What is added to a reference that is not as predicted, as a zigzag varint.
    ReferenceDiff,
    /// Where new calls go, four bytes each, big-endian.
    Call,
    /// Where new jumps go, the same.
    Jump,
    /// Where else new code refers to, the same.
    Address,
    /// New offsets in tables of functions: how far each is from another one, the same.
    Step,
    /// The new bytes.
    Insert(Lane),
    /// For each byte that is copied: what is added to it.
    Diff(Lane),
    /// Instead of [`Kind::Diff`], where nearly all of it is zero: how many bytes are copied unchanged before each that is
    /// not, as a varint.
    DiffGap(Lane),
    /// With [`Kind::DiffGap`]: what is added to each byte that is not unchanged.
    DiffByte(Lane),
}

/// Kinds that have no lane.
const ALONE: [Kind; 10] = [
    Kind::InsertLen,
    Kind::CopyLen,
    Kind::Seek,
    Kind::Layout,
    Kind::ReferenceGap,
    Kind::ReferenceDiff,
    Kind::Call,
    Kind::Jump,
    Kind::Address,
    Kind::Step,
];
/// The number of the first kind that has one; each lane has four.
const FIRST_OF_LANES: u8 = 16;
/// A number that is above that of every kind.
pub(crate) const KINDS_END: usize = 32;

impl Kind {
    /// Its number; streams lie in a patch in this order.
    pub fn number(self) -> u8 {
        let of_lane = |n: u8, lane: Lane| FIRST_OF_LANES + 4 * (lane as u8) + n;
        match self {
            Self::Insert(lane) => of_lane(0, lane),
            Self::Diff(lane) => of_lane(1, lane),
            Self::DiffGap(lane) => of_lane(2, lane),
            Self::DiffByte(lane) => of_lane(3, lane),
            alone => ALONE.into_iter().position(|kind| kind == alone).expect("it is one of them") as u8,
        }
    }

    /// The kind with this number, if there is one.
    pub fn of_number(number: u8) -> Option<Self> {
        let Some(n) = number.checked_sub(FIRST_OF_LANES) else { return ALONE.get(usize::from(number)).copied() };
        let lane = *Lane::ALL.get(usize::from(n / 4))?;
        let kinds = [Self::Insert(lane), Self::Diff(lane), Self::DiffGap(lane), Self::DiffByte(lane)];
        Some(kinds[usize::from(n % 4)])
    }

    pub(crate) fn decode(rest: &mut &[u8]) -> Result<Self, Error> {
        let byte = byte(rest)?;
        let known = Self::of_number(byte);
        known.ok_or_else(|| Error::format(format!("it has a stream of kind {byte}, which this program does not know")))
    }

    /// Its name, for people.
    pub fn name(self) -> String {
        let alone = match self {
            Self::InsertLen => "insert lengths",
            Self::CopyLen => "copy lengths",
            Self::Seek => "seeks",
            Self::Layout => "layouts",
            Self::ReferenceGap => "gaps between references",
            Self::ReferenceDiff => "differing references",
            Self::Call => "inserted calls",
            Self::Jump => "inserted jumps",
            Self::Address => "inserted addresses",
            Self::Step => "inserted steps",
            Self::Insert(lane) => return format!("inserted {}", lane.name()),
            Self::Diff(lane) => return format!("differences, {}", lane.name()),
            Self::DiffGap(lane) => return format!("gaps, {}", lane.name()),
            Self::DiffByte(lane) => return format!("differing {}", lane.name()),
        };
        alone.to_owned()
    }
}

/// How a stream is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coder {
    /// Not at all.
    Raw,
    /// A bare LZMA stream, without an end mark.
    Lzma {
        /// Its properties byte: `(pb * 5 + lp) * 9 + lc`, with `lc + lp` at most 4.
        props: u8,
        /// Its dictionary, as a power of two; 23 at most.
        dict_log: u8,
    },
}

impl Coder {
    pub(crate) fn encode(self, out: &mut Vec<u8>) {
        match self {
            Self::Raw => out.push(0),
            Self::Lzma { props, dict_log } => out.extend([1, props, dict_log]),
        }
    }

    pub(crate) fn decode(rest: &mut &[u8]) -> Result<Self, Error> {
        match byte(rest)? {
            0 => Ok(Self::Raw),
            1 => {
                let (props, dict_log) = (byte(rest)?, byte(rest)?);
                let (lc, lp) = (props % 9, props / 9 % 5);
                if props >= 225 || lc + lp > 4 {
                    return Err(Error::format("a stream has properties that LZMA does not allow here"));
                }
                if dict_log > DICT_LOG_MAX {
                    let (found, max) = (u64::from(dict_log), u64::from(DICT_LOG_MAX));
                    return Err(Error::Limit { what: "a dictionary as a power of two", found, max });
                }
                Ok(Self::Lzma { props, dict_log })
            }
            other => {
                Err(Error::format(format!("a stream is compressed in way {other}, which this program does not know")))
            }
        }
    }
}

/// One stream of a patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stream {
    /// What it holds.
    pub kind: Kind,
    /// How it is compressed.
    pub coder: Coder,
    /// Its length, in bytes.
    pub len: u64,
    /// Its length as it lies in the patch, in bytes.
    pub coded: u64,
}

impl Stream {
    /// How much of its dictionary is ever used, in bytes.
    pub fn dictionary_len(&self) -> u64 {
        match self.coder {
            Coder::Raw => 0,
            Coder::Lzma { dict_log, .. } => self.len.min(1 << dict_log),
        }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.kind.number());
        self.coder.encode(out);
        varint::write(out, self.len);
        varint::write(out, self.coded);
    }

    pub(crate) fn decode(rest: &mut &[u8]) -> Result<Self, Error> {
        let kind = Kind::decode(rest)?;
        let coder = Coder::decode(rest)?;
        let (len, coded) = (image_len(rest)?, number(rest)?);
        if len == 0 || coded == 0 {
            return Err(Error::format("it lists a stream that is empty"));
        }
        if matches!(coder, Coder::Raw) && len != coded {
            return Err(Error::format("a stream that is not compressed has two lengths"));
        }
        Ok(Self { kind, coder, len, coded })
    }
}

/// Decoded bytes of a stream that are kept at hand, so that taking one is cheap.
const AHEAD_LEN: usize = 4 << 10;

/// A stream that is being read. It ends where the header says that it ends.
pub(crate) struct Reader<'a> {
    inner: Inner<'a>,
    /// How many bytes the decoder still has.
    left: u64,
    ahead: Vec<u8>,
    at: usize,
}

enum Inner<'a> {
    Raw(Section<'a>),
    Lzma(Box<LzmaReader<Section<'a>>>),
}

impl<'a> Reader<'a> {
    /// The stream that begins at byte `start` of `patch`.
    pub(crate) fn open(stream: &Stream, patch: &'a dyn ReadAt, start: u64) -> Result<Self, Error> {
        let section = Section { patch, at: start, end: start + stream.coded, buffer: Vec::new(), read: 0 };
        let inner = match stream.coder {
            Coder::Raw => Inner::Raw(section),
            Coder::Lzma { props, dict_log } => {
                let reader = LzmaReader::new_with_props(section, stream.len, props, 1 << dict_log, None);
                let mut reader = reader.map_err(|e| Error::format(format!("{}: {e}", stream.kind.name())))?;
                reader.set_relaxed_end_condition(false);
                Inner::Lzma(Box::new(reader))
            }
        };
        Ok(Self { inner, left: stream.len, ahead: Vec::new(), at: 0 })
    }

    /// How many bytes it still has, decoded.
    pub(crate) fn left(&self) -> u64 {
        self.left + (self.ahead.len() - self.at) as u64
    }
}

impl Reader<'_> {
    /// Whether all of it was read, decoded and coded.
    pub(crate) fn was_used_up(self) -> bool {
        let left = self.left();
        let (section, unread) = match self.inner {
            Inner::Raw(section) => (section, Vec::new()),
            Inner::Lzma(reader) => reader.into_parts(),
        };
        let is_read = section.at == section.end && section.read == section.buffer.len();
        left == 0 && is_read && unread.is_empty()
    }

    /// Decodes the next bytes into `ahead`.
    fn refill(&mut self) -> io::Result<()> {
        let len = self.left.min(AHEAD_LEN as u64) as usize;
        self.ahead.resize(len, 0);
        self.at = 0;
        let read = match &mut self.inner {
            Inner::Raw(section) => section.read_exact(&mut self.ahead),
            Inner::Lzma(reader) => reader.read_exact(&mut self.ahead),
        };
        if read.is_err() {
            self.ahead.clear();
        }
        read?;
        self.left -= len as u64;
        Ok(())
    }
}

impl Read for Reader<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.at == self.ahead.len() {
            self.refill()?;
        }
        let there = &self.ahead[self.at..];
        let len = there.len().min(buf.len());
        buf[..len].copy_from_slice(&there[..len]);
        self.at += len;
        Ok(len)
    }
}

/// The bytes of a patch from `at` to `end`, read in pieces.
struct Section<'a> {
    patch: &'a dyn ReadAt,
    at: u64,
    end: u64,
    buffer: Vec<u8>,
    read: usize,
}

impl BufRead for Section<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.read == self.buffer.len() {
            let len = (self.end - self.at).min(READ_LEN as u64) as usize;
            self.buffer.resize(len, 0);
            self.patch.read_exact_at(&mut self.buffer, self.at)?;
            self.at += len as u64;
            self.read = 0;
        }
        Ok(&self.buffer[self.read..])
    }

    fn consume(&mut self, amount: usize) {
        self.read += amount;
    }
}

impl Read for Section<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let len = available.len().min(buf.len());
        buf[..len].copy_from_slice(&available[..len]);
        self.consume(len);
        Ok(len)
    }
}
