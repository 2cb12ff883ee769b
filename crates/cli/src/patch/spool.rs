//! What a patch makes, one behind the other in a file that goes away with this.

use std::io::{self, Read, Write};
use std::path::Path;

use anyhow::Context;
use tempfile::NamedTempFile;
use updraft_delta::{ReadAt, Sink};

/// Asked before an output begins, with its number and the first one: whether it may.
type Check<'c> = dyn Fn(usize, &Part<'_>) -> io::Result<()> + 'c;

/// Where outputs go.
pub(super) struct Spool<'c> {
    file: NamedTempFile,
    /// Where each begins, and how long it is.
    parts: Vec<(u64, u64)>,
    end: u64,
    check: &'c Check<'c>,
}

impl<'c> Spool<'c> {
    pub(super) fn new(dir: &Path, check: &'c Check<'c>) -> anyhow::Result<Self> {
        let file = tempfile::Builder::new().prefix(".updraft-patch-").tempfile_in(dir);
        let file = file.with_context(|| format!("{}: what the patch makes cannot be written here", dir.display()))?;
        Ok(Self { file, parts: Vec::new(), end: 0, check })
    }

    /// An output that was made.
    pub(super) fn part(&self, index: usize) -> io::Result<Part<'_>> {
        let (begin, len) = *self.parts.get(index).ok_or(io::ErrorKind::NotFound)?;
        Ok(Part { file: &self.file, begin, len })
    }

    /// All of it as one file.
    pub(super) fn into_file(self) -> NamedTempFile {
        self.file
    }
}

impl Sink for Spool<'_> {
    fn begin(&mut self, index: usize, len: u64) -> io::Result<()> {
        if index > 0 {
            (self.check)(index, &self.part(0)?)?;
        }
        self.parts.push((self.end, len));
        self.end += len;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }
}

/// One output in the file.
pub(super) struct Part<'s> {
    file: &'s NamedTempFile,
    begin: u64,
    len: u64,
}

impl<'s> Part<'s> {
    /// Its bytes, from the first on.
    pub(super) fn reader(&self) -> impl Read + use<'s> {
        Reader { file: self.file, at: self.begin, end: self.begin + self.len }
    }
}

struct Reader<'s> {
    file: &'s NamedTempFile,
    at: u64,
    end: u64,
}

impl Read for Reader<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = (self.end - self.at).min(buf.len() as u64) as usize;
        ReadAt::read_exact_at(self.file.as_file(), &mut buf[..len], self.at)?;
        self.at += len as u64;
        Ok(len)
    }
}
