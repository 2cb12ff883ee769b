//! From gzip to its image, and back.
//!
//! ```text
//!  0   1  2: gzip
//!         for each member that the parameters name:
//!   4       length of its header
//!           its header
//!           its content, as long as the parameters say
//!         the rest, as it is
//! ```
//!
//! What is behind a member, CRC-32 and length, follows.

use std::io::Write;

use super::member::{self, Deflate, Members};
use super::params::{Deflated, Params};
use super::{Error, Image};
use crate::read_at::ReadAt;
use crate::zlib::crc32;

/// How much is looked at first.
const HEADER_LEN_USUAL: usize = 512;

/// Longest header of a member, in bytes: an extra field as long as it gets, and a name and a comment within reason.
pub const HEADER_LEN_MAX: usize = 72 << 10;
/// Length of what is behind a member.
pub const TRAILER_LEN: u64 = 8;

const FIXED_LEN: usize = 10;
const HEADER_CRC: u8 = 2;
const EXTRA: u8 = 4;
const NAME: u8 = 8;
const COMMENT: u8 = 16;

/// Length of the header that `bytes` begin with.
fn header_len(bytes: &[u8]) -> Option<usize> {
    let fixed = bytes.first_chunk::<FIXED_LEN>().filter(|fixed| fixed.starts_with(&[0x1f, 0x8b, 8]))?;
    let flags = fixed[3];
    let mut at = FIXED_LEN;
    if flags & EXTRA != 0 {
        let [low, high] = *bytes.get(at..)?.first_chunk()?;
        at += 2 + usize::from(u16::from_le_bytes([low, high]));
    }
    for text in [NAME, COMMENT] {
        if flags & text != 0 {
            at += bytes.get(at..)?.iter().position(|byte| *byte == 0)? + 1;
        }
    }
    at += if flags & HEADER_CRC == 0 { 0 } else { 2 };
    (at <= bytes.len()).then_some(at)
}

/// The header of the member that begins at byte `at`; none when none does.
///
/// # Errors
/// When it cannot be read.
pub fn header(container: &dyn ReadAt, at: u64) -> Result<Option<Vec<u8>>, Error> {
    let size = container.size().map_err(Error::Read)?;
    // Most headers are short.
    for len_max in [HEADER_LEN_USUAL, HEADER_LEN_MAX] {
        let mut bytes = vec![0; size.saturating_sub(at).min(len_max as u64) as usize];
        container.read_exact_at(&mut bytes, at).map_err(Error::Read)?;
        if let Some(len) = header_len(&bytes) {
            bytes.truncate(len);
            return Ok(Some(bytes));
        }
        if !bytes.starts_with(&[0x1f, 0x8b]) {
            break;
        }
    }
    Ok(None)
}

/// What is behind a member.
pub fn trailer(crc: u32, len: u64) -> [u8; TRAILER_LEN as usize] {
    let [a, b, c, d] = crc.to_le_bytes();
    let [e, f, g, h] = (len as u32).to_le_bytes();
    [a, b, c, d, e, f, g, h]
}

pub(super) fn unpack(container: &dyn ReadAt, params: &Params, image: &mut Image<'_>) -> Result<(), Error> {
    let size = container.size().map_err(Error::Read)?;
    let mut members = Members::new()?;
    let mut at = 0;
    image.put(&[2])?;
    for (len, _) in &params.rows {
        let header = header(container, at)?.ok_or(Error::Shape("no gzip member is where one should be"))?;
        image.put(&(header.len() as u32).to_le_bytes())?;
        image.put(&header)?;
        image.expect(*len)?;
        image.content(*len);
        let begin = at + header.len() as u64;
        let mut put = |bytes: &[u8]| image.put(bytes).map_err(Error::into_io);
        let found = members.inflate(container, begin, size, *len, &mut put)?;
        let mut behind = [0; TRAILER_LEN as usize];
        container.read_exact_at(&mut behind, begin + found.packed).map_err(Error::Read)?;
        if found.len != *len || behind != trailer(found.crc, found.len) {
            return Err(Error::Shape("a gzip member is not what is said of it"));
        }
        at = begin + found.packed + TRAILER_LEN;
    }
    image.expect(size - at)?;
    let mut put = |bytes: &[u8]| image.put(bytes).map_err(Error::into_io);
    member::copy(container, at, size - at, &mut put).map(drop)
}

/// What comes next in the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Kind,
    HeaderLen,
    Header,
    Content,
    Rest,
}

/// Packs the image of a gzip file.
#[derive(Debug)]
pub(super) struct Regzip {
    next: Next,
    /// How many bytes of it are still to come.
    left: u64,
    kept: Vec<u8>,
    /// The members that are left, the next one last.
    members: Vec<(u64, Option<Deflated>)>,
    deflate: Option<Deflate>,
    crc: u32,
    len: u64,
}

impl Regzip {
    pub(super) fn new(params: &Params) -> Self {
        let members = params.rows.iter().rev().copied().collect();
        Self { next: Next::Kind, left: 1, kept: Vec::new(), members, deflate: None, crc: 0, len: 0 }
    }

    pub(super) fn is_whole(&self) -> bool {
        self.next == Next::Rest
    }

    pub(super) fn write(&mut self, mut bytes: &[u8], out: &mut dyn Write) -> Result<(), Error> {
        while !bytes.is_empty() {
            let now = self.left.min(bytes.len() as u64) as usize;
            let (part, behind) = bytes.split_at(now);
            (bytes, self.left) = (behind, self.left - now as u64);
            match (self.next, &mut self.deflate) {
                (Next::Content, Some(deflate)) => {
                    self.crc = crc32(self.crc, part);
                    deflate.write(part, &mut |packed| out.write_all(packed)).map_err(Error::Write)?;
                }
                (Next::Header | Next::Rest, _) => out.write_all(part).map_err(Error::Write)?,
                _ => self.kept.extend_from_slice(part),
            }
            while self.left == 0 {
                self.turn(out)?;
            }
        }
        Ok(())
    }

    fn expect(&mut self, next: Next, len: u64) {
        (self.next, self.left) = (next, len);
        self.kept.clear();
    }

    /// What was to come has come.
    fn turn(&mut self, out: &mut dyn Write) -> Result<(), Error> {
        match self.next {
            Next::Kind if self.kept != [2] => return Err(Error::Shape("its image does not begin as one")),
            Next::Kind => self.next_member(),
            Next::HeaderLen => {
                let len = u32::from_le_bytes(*self.kept.first_chunk().expect("so many were waited for"));
                self.expect(Next::Header, len.into());
            }
            Next::Header => {
                let (len, method) = self.members.pop().expect("a member is being packed");
                if let Some(parameters) = method {
                    self.use_deflate(parameters)?;
                }
                (self.crc, self.len) = (0, len);
                self.expect(Next::Content, len);
            }
            Next::Content => {
                let deflate = self.deflate.as_mut().expect("every member is deflated");
                deflate.finish(&mut |packed| out.write_all(packed)).map_err(Error::Write)?;
                out.write_all(&trailer(self.crc, self.len)).map_err(Error::Write)?;
                self.next_member();
            }
            Next::Rest => return Err(Error::Shape("its image does not end")),
        }
        Ok(())
    }

    fn use_deflate(&mut self, parameters: Deflated) -> Result<(), Error> {
        if self.deflate.as_ref().is_none_or(|deflate| deflate.parameters() != parameters) {
            self.deflate = Some(Deflate::new(parameters).map_err(Error::Zlib)?);
        }
        Ok(())
    }

    fn next_member(&mut self) {
        match self.members.is_empty() {
            true => self.expect(Next::Rest, u64::MAX),
            false => self.expect(Next::HeaderLen, 4),
        }
    }
}
