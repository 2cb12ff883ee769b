//! Bytes that can be read anywhere, such as a file's.
//!
//! Never a memory map: a file that shrinks while it is read is an error here, and a signal there.

use std::io;

/// Bytes that can be read anywhere.
pub trait ReadAt {
    /// How many there are.
    ///
    /// # Errors
    /// When that cannot be found out.
    fn size(&self) -> io::Result<u64>;

    /// Fills `buf` from byte `offset` on.
    ///
    /// # Errors
    /// When they cannot be read, or there are fewer.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;
}

/// Room for the images of bases that are unpacked: it grows at its end and is read anywhere.
pub trait Scratch: ReadAt {
    /// Writes `bytes` at the end.
    ///
    /// # Errors
    /// When they cannot be kept.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
}

impl Scratch for Vec<u8> {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.extend_from_slice(bytes);
        Ok(())
    }
}

/// A file that is open for reading and writing, and empty at first.
impl Scratch for std::fs::File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        io::Write::write_all(self, bytes)
    }
}

impl ReadAt for [u8] {
    fn size(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let from = usize::try_from(offset).ok().and_then(|from| self.get(from..)?.get(..buf.len()));
        from.map(|bytes| buf.copy_from_slice(bytes)).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

impl ReadAt for &[u8] {
    fn size(&self) -> io::Result<u64> {
        (**self).size()
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        (**self).read_exact_at(buf, offset)
    }
}

impl ReadAt for Vec<u8> {
    fn size(&self) -> io::Result<u64> {
        self.as_slice().size()
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.as_slice().read_exact_at(buf, offset)
    }
}

#[cfg(unix)]
impl ReadAt for std::fs::File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(self, buf, offset)
    }
}

/// Untested, as everything for Windows.
#[cfg(windows)]
impl ReadAt for std::fs::File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_exact_at(&self, mut buf: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !buf.is_empty() {
            let read = std::os::windows::fs::FileExt::seek_read(self, buf, offset)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            buf = &mut buf[read..];
            offset += read as u64;
        }
        Ok(())
    }
}
