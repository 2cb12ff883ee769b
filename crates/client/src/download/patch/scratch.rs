//! Where old archives are unpacked to, as long as nobody says stop.

use std::fs::File;
use std::io;

use updraft_delta::ReadAt;
use updraft_files::Dir;

use super::super::MODE;
use super::{Job, Stop};
use crate::fetch::Cancel;

/// Swept as the outputs are.
pub(super) const NAME: &str = "patch.images.new";

/// A file for what is in old archives. It goes with the next sweep, and when the patch is done.
pub(super) struct Scratch {
    file: File,
    cancel: Cancel,
}

impl Scratch {
    pub(super) fn new(job: &Job<'_>) -> Result<Self, Stop> {
        Self::at(job.downloads, job.place.fetcher.cancel())
    }

    fn at(downloads: &Dir, cancel: &Cancel) -> Result<Self, Stop> {
        downloads.create_file(NAME.as_ref(), MODE)?;
        Ok(Self { file: downloads.open_rw(NAME.as_ref())?, cancel: cancel.clone() })
    }
}

impl ReadAt for Scratch {
    fn size(&self) -> io::Result<u64> {
        ReadAt::size(&self.file)
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        ReadAt::read_exact_at(&self.file, buf, offset)
    }
}

impl updraft_delta::Scratch for Scratch {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        // Before the first output there may be gigabytes to unpack, and nobody else asks meanwhile.
        self.cancel.check().map_err(io::Error::other)?;
        updraft_delta::Scratch::append(&mut self.file, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unpacking_ends_when_it_is_told_to() {
        use updraft_delta::Scratch as _;
        let folder = tempfile::tempdir().unwrap();
        let cancel = Cancel::default();
        let mut scratch = Scratch::at(&Dir::open(folder.path()).unwrap(), &cancel).unwrap();
        scratch.append(b"what is in").unwrap();
        scratch.append(b" an archive").unwrap();
        let mut read = [0; 10];
        scratch.read_exact_at(&mut read, 8).unwrap();
        assert_eq!((&read, scratch.size().unwrap()), (b"in an arch", 21));
        cancel.cancel();
        assert_eq!(scratch.append(b"more").unwrap_err().to_string(), "cancelled");
        assert_eq!(scratch.size().unwrap(), 21);
    }
}
