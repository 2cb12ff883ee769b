//! The old image: what stands for each base, one behind the other.

use std::io::{self, Write};

use crate::container::{self, unpack};
use crate::error::Error;
use crate::header::{Base, Header, Image};
use crate::read_at::{ReadAt, Scratch};

/// What stands for each base, one behind the other.
pub(crate) struct OldImage<'a> {
    parts: Vec<Part<'a>>,
    /// How many bytes it has.
    pub(crate) len: u64,
}

/// What stands for a base.
struct Part<'a> {
    /// Where it begins in the old image.
    start: u64,
    /// The number of the base.
    index: u64,
    /// Where its bytes are read, and from which one on.
    bytes: &'a dyn ReadAt,
    from: u64,
}

/// Compares `bases` with what the header says of them.
pub(crate) fn check(header: &Header, bases: &[&dyn ReadAt]) -> Result<(), Error> {
    if bases.len() != header.bases.len() {
        return Err(Error::format(format!("it needs {} bases, {} were given", header.bases.len(), bases.len())));
    }
    for (base, bytes) in header.bases.iter().zip(bases) {
        let found = bytes.size().map_err(|source| Error::Old { index: base.index, source })?;
        if found != base.len {
            return Err(Error::Base { index: base.index, found, expected: base.len });
        }
    }
    Ok(())
}

/// Unpacks the bases that are taken as what is in them, and answers with where the image of each begins in `scratch`.
pub(crate) fn unpacked(
    header: &Header,
    bases: &[&dyn ReadAt],
    scratch: &mut dyn Scratch,
) -> Result<Vec<Option<u64>>, Error> {
    let mut at = scratch.size().map_err(Error::Scratch)?;
    let unpacked = header.bases.iter().zip(bases).map(|(base, bytes)| {
        let Some(image) = &base.image else { return Ok(None) };
        unpack_one(base, image, *bytes, scratch)?;
        at += image.len;
        Ok(Some(at - image.len))
    });
    unpacked.collect()
}

fn unpack_one(base: &Base, image: &Image, bytes: &dyn ReadAt, scratch: &mut dyn Scratch) -> Result<(), Error> {
    let failed = |source| match source {
        container::Error::Write(source) if source.kind() != io::ErrorKind::InvalidData => Error::Scratch(source),
        source => Error::Unpack { index: base.index, source },
    };
    let found = unpack(bytes, &image.params, image.len, &mut Append(scratch)).map_err(failed)?;
    if found.len == image.len {
        return Ok(());
    }
    Err(failed(container::Error::Shape("its image is shorter than the patch says")))
}

/// Writes at the end of scratch space.
struct Append<'s>(&'s mut dyn Scratch);

impl Write for Append<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.append(buf)?;
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> OldImage<'a> {
    /// `unpacked` tells where in `scratch` the images of bases begin.
    pub(crate) fn new(
        header: &Header,
        bases: &[&'a dyn ReadAt],
        unpacked: &[Option<u64>],
        scratch: &'a dyn ReadAt,
    ) -> Self {
        let mut len = 0;
        let parts = header.bases.iter().zip(bases).zip(unpacked).map(|((base, bytes), unpacked)| {
            let start = len;
            len += base.image_len();
            match unpacked {
                Some(from) => Part { start, index: base.index, bytes: scratch, from: *from },
                None => Part { start, index: base.index, bytes: *bytes, from: 0 },
            }
        });
        Self { parts: parts.collect(), len }
    }

    /// Fills `buf` from byte `from` on, over as many bases as it takes.
    pub(crate) fn read(&self, from: u64, buf: &mut [u8]) -> Result<(), Error> {
        let mut n = self.parts.partition_point(|part| part.start <= from).saturating_sub(1);
        let mut done = 0;
        while done < buf.len() {
            let part = &self.parts[n];
            let at = from + done as u64;
            let len = (self.end(n) - at).min((buf.len() - done) as u64) as usize;
            let read = part.bytes.read_exact_at(&mut buf[done..done + len], part.from + (at - part.start));
            read.map_err(|source| Error::Old { index: part.index, source })?;
            done += len;
            n += 1;
        }
        Ok(())
    }

    fn end(&self, n: usize) -> u64 {
        self.parts.get(n + 1).map_or(self.len, |next| next.start)
    }

    /// Where what stands for base `n` of the header's list begins, and its length.
    pub(crate) fn base(&self, n: usize) -> Option<(u64, u64)> {
        let part = self.parts.get(n)?;
        Some((part.start, self.end(n) - part.start))
    }
}
