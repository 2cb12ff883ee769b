//! One deflated member, inflated or deflated piece by piece.

use std::io;

use super::params::Deflated;
use super::{Error, gnu};
use crate::limits::PIECE_LEN;
use crate::read_at::ReadAt;
use crate::zlib::{self, Inflate, crc32};

/// What a member turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// How many bytes its deflated stream takes.
    pub packed: u64,
    /// How many it is inflated.
    pub len: u64,
    /// The CRC-32 of those.
    pub crc: u32,
}

/// Inflates one member after the other.
#[derive(Debug)]
pub struct Members {
    inflate: Inflate,
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Members {
    /// Ready for the first.
    ///
    /// # Errors
    /// When zlib has no memory.
    pub fn new() -> Result<Self, Error> {
        let inflate = Inflate::new().map_err(Error::Zlib)?;
        Ok(Self { inflate, input: vec![0; PIECE_LEN], output: vec![0; PIECE_LEN] })
    }

    /// Inflates what begins at byte `at` and ends before `end`, and tells `each` every piece of it.
    ///
    /// # Errors
    /// When it is damaged, does not end, is longer than `len_max`, or `each` says so.
    pub fn inflate(
        &mut self,
        container: &dyn ReadAt,
        at: u64,
        end: u64,
        len_max: u64,
        each: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<Found, Error> {
        self.inflate.reset().map_err(Error::Zlib)?;
        let mut found = Found { packed: 0, len: 0, crc: 0 };
        let (mut next, mut input) = (at, 0..0);
        loop {
            if input.is_empty() {
                let len = end.saturating_sub(next).min(PIECE_LEN as u64) as usize;
                container.read_exact_at(&mut self.input[..len], next).map_err(Error::Read)?;
                (next, input) = (next + len as u64, 0..len);
            }
            let step = self.inflate.step(&self.input[input.clone()], &mut self.output).map_err(|e| match e.kind() {
                io::ErrorKind::InvalidData => Error::Shape("a deflated member is damaged"),
                _ => Error::Zlib(e),
            })?;
            input.start += step.read;
            let piece = &self.output[..step.written];
            found.len += piece.len() as u64;
            if found.len > len_max {
                return Err(Error::Shape("a member is longer than it says"));
            }
            found.crc = crc32(found.crc, piece);
            found.packed += step.read as u64;
            each(piece).map_err(Error::Write)?;
            if step.is_over {
                return Ok(found);
            }
            if step.read == 0 && step.written == 0 && next >= end && input.is_empty() {
                return Err(Error::Shape("a deflated member does not end"));
            }
        }
    }
}

/// Deflates one member after the other, as somebody did.
#[derive(Debug)]
pub enum Deflate {
    /// As zlib does.
    Zlib(zlib::Deflate),
    /// As gzip and zip do.
    Gnu(Box<gnu::Deflate>),
}

impl Deflate {
    /// Ready for the first.
    ///
    /// # Errors
    /// When zlib has no memory.
    pub fn new(parameters: Deflated) -> io::Result<Self> {
        Ok(match parameters {
            Deflated::Zlib(zlib) => Self::Zlib(zlib::Deflate::new(zlib)?),
            Deflated::Gnu(gnu) => Self::Gnu(Box::new(gnu::Deflate::new(gnu))),
        })
    }

    /// Its parameters.
    pub fn parameters(&self) -> Deflated {
        match self {
            Self::Zlib(zlib) => Deflated::Zlib(zlib.parameters()),
            Self::Gnu(gnu) => Deflated::Gnu(gnu.parameters()),
        }
    }

    /// Packs `bytes` as well, and tells `each` whatever is packed by then.
    ///
    /// # Errors
    /// What `each` answers.
    pub fn write(&mut self, bytes: &[u8], each: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        match self {
            Self::Zlib(zlib) => zlib.write(bytes, each),
            Self::Gnu(gnu) => gnu.write(bytes, each),
        }
    }

    /// Tells `each` the rest. What is written afterwards begins a new member.
    ///
    /// # Errors
    /// What `each` answers.
    pub fn finish(&mut self, each: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        match self {
            Self::Zlib(zlib) => zlib.finish(each),
            Self::Gnu(gnu) => gnu.finish(each),
        }
    }

    /// Forgets whatever was written.
    ///
    /// # Errors
    /// Never, unless zlib is broken.
    pub fn reset(&mut self) -> io::Result<()> {
        match self {
            Self::Zlib(zlib) => zlib.reset(),
            Self::Gnu(gnu) => {
                gnu.reset();
                Ok(())
            }
        }
    }
}

/// Copies `len` bytes from byte `at` on, and answers their CRC-32.
pub(super) fn copy(
    container: &dyn ReadAt,
    at: u64,
    len: u64,
    each: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> Result<u32, Error> {
    let mut piece = vec![0; len.min(PIECE_LEN as u64) as usize];
    let (mut done, mut crc) = (0, 0);
    while done < len {
        let now = (len - done).min(PIECE_LEN as u64) as usize;
        container.read_exact_at(&mut piece[..now], at + done).map_err(Error::Read)?;
        crc = crc32(crc, &piece[..now]);
        each(&piece[..now]).map_err(Error::Write)?;
        done += now as u64;
    }
    Ok(crc)
}
