//! What an output's instructions make, packed on its way to the sink where it is the image of a container.

use std::io;

use super::Sink;
use crate::container::{self, Packer};
use crate::error::Error;
use crate::header::Output;

/// An output on its way to the sink.
pub(super) struct Packed<'s> {
    index: usize,
    sink: Counted<'s>,
    packer: Option<Packer>,
    len: u64,
}

/// A sink, and how much it was given.
struct Counted<'s> {
    sink: &'s mut dyn Sink,
    written: u64,
    max: u64,
}

impl io::Write for Counted<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.written += buf.len() as u64;
        if self.written > self.max {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it becomes longer than the patch says"));
        }
        self.sink.write(buf)?;
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'s> Packed<'s> {
    pub(super) fn new(index: usize, output: &Output, sink: &'s mut dyn Sink) -> Result<Self, Error> {
        let packer = output.image.as_ref().map(|image| Packer::new(&image.params)).transpose();
        let packer = packer.map_err(|source| Error::Pack { index, source })?;
        Ok(Self { index, sink: Counted { sink, written: 0, max: output.len }, packer, len: output.len })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let index = self.index;
        match &mut self.packer {
            None => io::Write::write_all(&mut self.sink, bytes).map_err(|source| Error::Output { index, source }),
            Some(packer) => packer.write(bytes, &mut self.sink).map_err(|source| match source {
                container::Error::Write(source) if source.kind() != io::ErrorKind::InvalidData => {
                    Error::Output { index, source }
                }
                source => Error::Pack { index, source },
            }),
        }
    }

    pub(super) fn finish(self) -> Result<(), Error> {
        let index = self.index;
        if let Some(packer) = self.packer {
            packer.finish().map_err(|source| Error::Pack { index, source })?;
        }
        let is_whole = self.sink.written == self.len;
        is_whole.then_some(()).ok_or_else(|| Error::format(format!("output {index} is not as long as it says")))
    }
}
