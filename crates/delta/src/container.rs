//! Containers, unpacked and packed again: archives whose members are deflated.
//!
//! A change of one byte inside a deflated member changes all of it. So the containers that are bases are *unpacked* to an
//! image in which every deflated member lies inflated, the patch makes the image of a new container from those, and that is
//! *packed* to the very bytes that the publisher had. Encoder and decoder run this same code, which is therefore part of
//! the format.
//!
//! Nothing is assumed. What a container looks like follows from its own bytes and from [`Params`], which whoever made the
//! patch found out and tried. Numbers that follow from others (checksums, lengths, places) are not in the image: there is
//! their difference from what follows, which is 0 unless somebody lied. So whatever is read can be written again.
//!
//! - [`params`]: how the members were packed;
//! - [`zip`]: where the members of a zip lie; to its image and back go `unzip` and `rezip`, by `record` and `columns`;
//! - [`gzip`]: the same for gzip, which needs less;
//! - [`member`]: how one of them is inflated, and deflated by zlib or as [`gnu`] does.

mod columns;
pub mod gnu;
pub mod gzip;
pub mod member;
pub mod params;
mod record;
mod rezip;
mod unzip;
pub mod zip;

use std::io::{self, Write};
use std::ops::Range;

pub use params::{Deflated, Kind, Method, Params, Zlib};

use crate::read_at::ReadAt;
use crate::zlib;

/// Why a container is not unpacked or packed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not laid out as its parameters say, or as nothing that is known here.
    #[error("not a container that can be unpacked: {0}")]
    Shape(&'static str),
    /// There is more of something than is allowed.
    #[error("a container with {what} of {found}; {max} is the limit")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// How much.
        found: u64,
        /// How much is allowed.
        max: u64,
    },
    /// The zlib in this program is not the one that containers are proven with.
    #[error("this program was built with another zlib than stock 1.3.2, so it cannot re-pack archives")]
    NotStock,
    /// It could not be read.
    #[error("the container cannot be read: {0}")]
    Read(#[source] io::Error),
    /// What it became could not be written.
    #[error("what the container became cannot be written: {0}")]
    Write(#[source] io::Error),
    /// zlib failed, most likely because there is no memory.
    #[error("{0}")]
    Zlib(#[source] io::Error),
}

impl Error {
    /// As what a closure that writes can answer with; [`old_image`](crate::apply) tells a limit from a disk by its kind.
    fn into_io(self) -> io::Error {
        match self {
            Self::Write(error) => error,
            other => io::Error::new(io::ErrorKind::InvalidData, other),
        }
    }
}

/// What an image turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpacked {
    /// How long it is, in bytes.
    pub len: u64,
    /// Where the contents of the members lie in it, in order.
    pub contents: Vec<Range<u64>>,
}

/// Writes the image of `container`, of at most `len_max` bytes. Memory is bounded: pieces, and
/// the directory of a zip.
///
/// # Errors
/// When the container is not as `params` and its own directory say, there is too much of something, or something cannot be
/// read or written. What was written before is worth nothing then.
pub fn unpack(container: &dyn ReadAt, params: &Params, len_max: u64, out: &mut dyn Write) -> Result<Unpacked, Error> {
    if !zlib::is_stock() {
        return Err(Error::NotStock);
    }
    let mut image = Image { len: 0, len_max, contents: Vec::new(), out };
    match params.kind {
        Kind::Zip => unzip::Unzip::open(container, params)?.run(&mut image)?,
        Kind::Gzip => gzip::unpack(container, params, &mut image)?,
    }
    Ok(Unpacked { len: image.len, contents: image.contents })
}

/// An image that comes into being, and does not grow beyond what was allowed.
struct Image<'a> {
    len: u64,
    len_max: u64,
    contents: Vec<Range<u64>>,
    out: &'a mut dyn Write,
}

impl Image<'_> {
    /// Refuses an image that would be longer by so much than is allowed.
    fn expect(&self, more: u64) -> Result<(), Error> {
        let found = self.len.saturating_add(more);
        let limit = Error::Limit { what: "an image", found, max: self.len_max };
        if found > self.len_max { Err(limit) } else { Ok(()) }
    }

    /// A content of so many bytes begins.
    fn content(&mut self, len: u64) {
        self.contents.push(self.len..self.len + len);
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.expect(bytes.len() as u64)?;
        self.len += bytes.len() as u64;
        self.out.write_all(bytes).map_err(Error::Write)
    }
}

/// Packs an image that comes in pieces, in order.
#[derive(Debug)]
pub struct Packer {
    inner: Packing,
}

#[derive(Debug)]
enum Packing {
    Zip(Box<rezip::Rezip>),
    Gzip(Box<gzip::Regzip>),
}

impl Packer {
    /// A packer that was given nothing yet.
    ///
    /// # Errors
    /// When the zlib in this program is another one.
    pub fn new(params: &Params) -> Result<Self, Error> {
        if !zlib::is_stock() {
            return Err(Error::NotStock);
        }
        let inner = match params.kind {
            Kind::Zip => Packing::Zip(Box::new(rezip::Rezip::new(params))),
            Kind::Gzip => Packing::Gzip(Box::new(gzip::Regzip::new(params))),
        };
        Ok(Self { inner })
    }

    /// Takes the next bytes of the image, and writes what of the container is known by then. Memory is bounded: a few MiB, and
    /// the directory of a zip.
    ///
    /// # Errors
    /// When that is no image, or something cannot be written.
    pub fn write(&mut self, bytes: &[u8], out: &mut dyn Write) -> Result<(), Error> {
        match &mut self.inner {
            Packing::Zip(zip) => zip.write(bytes, out),
            Packing::Gzip(gzip) => gzip.write(bytes, out),
        }
    }

    /// The image is over.
    ///
    /// # Errors
    /// When it should not be.
    pub fn finish(self) -> Result<(), Error> {
        let is_whole = match &self.inner {
            Packing::Zip(zip) => zip.is_whole(),
            Packing::Gzip(gzip) => gzip.is_whole(),
        };
        if is_whole { Ok(()) } else { Err(Error::Shape("its image ends too early")) }
    }
}
