//! The bytes in front of a patch: what it is made from, what comes out, what it costs.
//!
//! ```text
//!  0   8  8D 55 50 44 50 0D 0A 01     a byte that no text has, "UPDP", a line end that text modes spoil, the format: 1
//!  8   4  length of the header behind these 20 bytes, little endian
//! 12   8  length of the whole patch, little endian
//! 20      32 bytes that name the bases together, 32 that name the outputs together
//!         number of bases; for each: how many numbers are left out before it, its length
//!         number of outputs; for each: its length, and one byte: how its copies are predicted
//!         number of streams; for each: kind, coder, length decoded, length coded
//! ```
//!
//! All numbers behind the names are varints ([`crate::varint`]). The coded streams follow in the order of the list.

use crate::error::Error;
use crate::limits::{BASES_MAX, HEADER_LEN_MAX, IMAGE_LEN_MAX, OUTPUTS_MAX, STREAMS_MAX};
use crate::parts::{byte, image_len, list, name, number};
use crate::predict::Prediction;
use crate::read_at::ReadAt;
use crate::stream::Stream;
use crate::varint;

/// The first bytes of every patch, but for the format behind them.
const MAGIC: [u8; 7] = *b"\x8dUPDP\r\n";
/// The format that is written and read here.
const FORMAT: u8 = 1;
/// Bytes in front of the header proper.
pub const PREFIX_LEN: usize = 20;

/// A file that a patch reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Base {
    /// Its number among the files that `from` names.
    pub index: u64,
    /// Its length in bytes.
    pub len: u64,
}

/// A file that a patch makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Output {
    /// Its length in bytes.
    pub len: u64,
    /// How its copies are predicted.
    pub prediction: Prediction,
}

/// What a patch is made from, what comes out, and what it is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Names the files that bases are numbered among; what it means is the caller's business.
    pub from: [u8; 32],
    /// Names what comes out.
    pub to: [u8; 32],
    /// The files that are read, in growing order of their numbers. Together they are the *old image*.
    pub bases: Vec<Base>,
    /// The files that come out, in order.
    pub outputs: Vec<Output>,
    /// The streams, in the order in which they lie behind the header.
    pub streams: Vec<Stream>,
}

impl Header {
    /// The bytes in front of the streams.
    ///
    /// # Panics
    /// When the bases are not in order.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = [self.from, self.to].concat();
        varint::write(&mut body, self.bases.len() as u64);
        let mut next = 0;
        for base in &self.bases {
            varint::write(&mut body, base.index.checked_sub(next).expect("bases are in order"));
            varint::write(&mut body, base.len);
            next = base.index + 1;
        }
        varint::write(&mut body, self.outputs.len() as u64);
        for output in &self.outputs {
            varint::write(&mut body, output.len);
            body.push(output.prediction as u8);
        }
        varint::write(&mut body, self.streams.len() as u64);
        self.streams.iter().for_each(|stream| stream.encode(&mut body));

        let coded: u64 = self.streams.iter().map(|stream| stream.coded).sum();
        let total = (PREFIX_LEN + body.len()) as u64 + coded;
        let mut out = MAGIC.to_vec();
        out.push(FORMAT);
        out.extend((body.len() as u32).to_le_bytes());
        out.extend(total.to_le_bytes());
        out.extend(body);
        out
    }

    /// The header of `patch`, and where the first stream begins.
    ///
    /// # Errors
    /// When it is no patch, claims more than the limits allow, or is not as long as it says.
    pub fn read(patch: &dyn ReadAt) -> Result<(Self, u64), Error> {
        let found = patch.size().map_err(Error::Patch)?;
        let mut prefix = [0; PREFIX_LEN];
        if found < PREFIX_LEN as u64 {
            return Err(Error::format("it ends within its first bytes"));
        }
        patch.read_exact_at(&mut prefix, 0).map_err(Error::Patch)?;
        let (len, total) = parse_prefix(&prefix)?;
        if total != found {
            return Err(Error::format(format!("it has {found} bytes and says that it has {total}")));
        }
        if len > found - PREFIX_LEN as u64 {
            return Err(Error::format("it ends within its header"));
        }
        let mut body = vec![0; len as usize];
        patch.read_exact_at(&mut body, PREFIX_LEN as u64).map_err(Error::Patch)?;
        let header = Self::decode(&body)?;
        let start = PREFIX_LEN as u64 + len;
        let coded = sum(header.streams.iter().map(|stream| stream.coded)).and_then(|coded| coded.checked_add(start));
        if coded != Some(total) {
            return Err(Error::format("its streams do not fill it exactly"));
        }
        Ok((header, start))
    }

    fn decode(body: &[u8]) -> Result<Self, Error> {
        let mut rest = body;
        let (from, to) = (name(&mut rest)?, name(&mut rest)?);
        let mut next = 0_u64;
        let bases = list(&mut rest, "bases", BASES_MAX, |rest| {
            let index = next.checked_add(number(rest)?).filter(|index| *index < u64::MAX);
            let index = index.ok_or_else(|| Error::format("a base's number is too large"))?;
            next = index + 1;
            Ok(Base { index, len: image_len(rest)? })
        })?;
        let outputs = list(&mut rest, "outputs", OUTPUTS_MAX, |rest| {
            Ok(Output { len: image_len(rest)?, prediction: prediction(rest)? })
        })?;
        let streams = list(&mut rest, "streams", STREAMS_MAX, Stream::decode)?;
        if !rest.is_empty() {
            return Err(Error::format("something follows its header"));
        }
        let header = Self { from, to, bases, outputs, streams };
        for (what, len) in [("bytes in all bases", header.old_len()), ("bytes in all outputs", header.new_len())] {
            if len > IMAGE_LEN_MAX {
                return Err(Error::Limit { what, found: len, max: IMAGE_LEN_MAX });
            }
        }
        if !header.streams.is_sorted_by(|one, next| one.kind < next.kind) {
            return Err(Error::format("its streams are not in order"));
        }
        Ok(header)
    }

    /// Length of the old image.
    pub fn old_len(&self) -> u64 {
        self.bases.iter().fold(0, |sum, base| sum.saturating_add(base.len))
    }

    /// Length of all outputs together.
    pub fn new_len(&self) -> u64 {
        self.outputs.iter().fold(0, |sum, output| sum.saturating_add(output.len))
    }
}

/// What the first 20 bytes say: the length of the header behind them, and of the whole patch.
///
/// # Errors
/// When they are not the first bytes of a patch, or the header is too long.
pub fn parse_prefix(prefix: &[u8; PREFIX_LEN]) -> Result<(u64, u64), Error> {
    if prefix[..7] != MAGIC {
        return Err(Error::format("it does not begin as patches do"));
    }
    if prefix[7] != FORMAT {
        return Err(Error::Newer(prefix[7]));
    }
    let len = u32::from_le_bytes([prefix[8], prefix[9], prefix[10], prefix[11]]).into();
    if len > HEADER_LEN_MAX {
        return Err(Error::Limit { what: "header bytes", found: len, max: HEADER_LEN_MAX });
    }
    let (_, total) = prefix.split_at(12);
    Ok((len, u64::from_le_bytes(total.try_into().expect("8 of 20 bytes"))))
}

fn prediction(rest: &mut &[u8]) -> Result<Prediction, Error> {
    let byte = byte(rest)?;
    let known = Prediction::ALL.into_iter().find(|prediction| *prediction as u8 == byte);
    known.ok_or_else(|| Error::format(format!("it predicts copies in way {byte}, which this program does not know")))
}

fn sum(mut numbers: impl Iterator<Item = u64>) -> Option<u64> {
    numbers.try_fold(0_u64, u64::checked_add)
}
