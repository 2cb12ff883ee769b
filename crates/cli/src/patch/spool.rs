//! What a patch makes, one behind the other in a file that goes away with this.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::Path;

use anyhow::Context;
use tempfile::NamedTempFile;
use updraft_core::digest::{Digest, Hasher};
use updraft_delta::{ReadAt, Sink};

/// Asked when output 0 is whole, and before anything else is written: whether it may be.
type Check<'c> = dyn Fn(&Part<'_>) -> io::Result<()> + 'c;

/// Where outputs go.
pub(super) struct Spool<'c> {
    file: NamedTempFile,
    /// Where each begins, and how long it is.
    parts: BTreeMap<usize, (u64, u64)>,
    end: u64,
    /// The one that is being written, and its bytes so far.
    current: Option<(usize, Hasher)>,
    digests: BTreeMap<usize, Digest>,
    check: &'c Check<'c>,
}

impl<'c> Spool<'c> {
    pub(super) fn new(dir: &Path, check: &'c Check<'c>) -> anyhow::Result<Self> {
        let file = tempfile::Builder::new().prefix(".updraft-patch-").tempfile_in(dir);
        let file = file.with_context(|| format!("{}: what the patch makes cannot be written here", dir.display()))?;
        let (parts, digests) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self { file, parts, end: 0, current: None, digests, check })
    }

    /// An output that was made.
    pub(super) fn part(&self, index: usize) -> io::Result<Part<'_>> {
        let (begin, len) = *self.parts.get(&index).ok_or(io::ErrorKind::NotFound)?;
        Ok(Part { file: &self.file, begin, len })
    }

    /// The digests of all outputs but the first, when `count` of them were made.
    pub(super) fn digests(&mut self, count: usize) -> io::Result<Vec<Digest>> {
        self.finish_current()?;
        (1..count).map(|index| self.digests.get(&index).copied().ok_or(io::ErrorKind::NotFound.into())).collect()
    }

    fn finish_current(&mut self) -> io::Result<()> {
        let Some((index, hasher)) = self.current.take() else { return Ok(()) };
        self.digests.insert(index, hasher.finish());
        if index == 0 { (self.check)(&self.part(0)?) } else { Ok(()) }
    }

    /// All of it as one file.
    pub(super) fn into_file(self) -> NamedTempFile {
        self.file
    }
}

impl Sink for Spool<'_> {
    fn begin(&mut self, index: usize, len: u64) -> io::Result<()> {
        self.finish_current()?;
        self.parts.insert(index, (self.end, len));
        self.end += len;
        self.current = Some((index, Hasher::new()));
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some((_, hasher)) = &mut self.current {
            hasher.update(bytes);
        }
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
