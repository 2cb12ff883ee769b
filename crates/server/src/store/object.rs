//! An object that is open for reading, piece by piece.

use std::fs::{File, Metadata};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use bytes::Bytes;

use super::error::{Error, Kind};

/// How much to ask of [`Object::read_at`] at once, in bytes: large enough that the hop to a thread is cheap, small enough
/// that ten thousand readers fit in memory.
pub const READ_LEN: usize = 128 << 10;

/// An object that is open for reading; clones are cheap and read the same bytes, whatever becomes of its key.
#[derive(Debug, Clone)]
pub struct Object(Inner);

#[derive(Debug, Clone)]
enum Inner {
    Memory(Bytes, u128),
    File(Arc<OpenFile>),
}

#[derive(Debug)]
struct OpenFile {
    file: Arc<File>,
    len: u64,
    stamp: u128,
    /// For messages.
    path: PathBuf,
}

impl Object {
    pub(super) fn of_bytes(bytes: Bytes, stamp: u128) -> Self {
        Self(Inner::Memory(bytes, stamp))
    }

    pub(super) fn of_file(file: File, meta: &Metadata, path: PathBuf) -> Self {
        let written = meta.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
        let (len, stamp) = (meta.len(), written.as_nanos());
        Self(Inner::File(Arc::new(OpenFile { file: Arc::new(file), len, stamp, path })))
    }

    /// When it was written, or how often something had been by then: it tells these bytes from others that are at the same key
    /// at another time.
    pub fn stamp(&self) -> u128 {
        match &self.0 {
            Inner::Memory(_, stamp) => *stamp,
            Inner::File(open) => open.stamp,
        }
    }

    /// Its length in bytes.
    pub fn len(&self) -> u64 {
        match &self.0 {
            Inner::Memory(bytes, _) => bytes.len() as u64,
            Inner::File(open) => open.len,
        }
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The `len` bytes from `offset` on; fewer only where the object ends. Ask for [`READ_LEN`] at a time.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] if the file has become shorter than it was when it was opened.
    pub async fn read_at(&self, offset: u64, len: usize) -> Result<Bytes, Error> {
        let start = offset.min(self.len());
        let end = offset.saturating_add(len as u64).min(self.len());
        match &self.0 {
            Inner::Memory(bytes, _) => Ok(bytes.slice(start as usize..end as usize)),
            Inner::File(_) if start == end => Ok(Bytes::new()),
            Inner::File(open) => {
                let open = Arc::clone(open);
                // No longer than `len`, so it fits.
                let len = (end - start) as usize;
                super::blocking(move || open.read_exact_at(start, len)).await
            }
        }
    }

    /// The file behind it, for who can send it better than piece by piece; `None` where there is none.
    pub fn as_file(&self) -> Option<&Arc<File>> {
        match &self.0 {
            Inner::Memory(..) => None,
            Inner::File(open) => Some(&open.file),
        }
    }
}

impl OpenFile {
    fn read_exact_at(&self, offset: u64, len: usize) -> Result<Bytes, Error> {
        let mut bytes = vec![0; len];
        let mut filled = 0;
        while filled < len {
            match positioned_read(&self.file, &mut bytes[filled..], offset + filled as u64) {
                Ok(0) => {
                    let reason = format!("it had {} bytes when it was opened and is shorter now; run fsck", self.len);
                    return Err(Error::new(Kind::Corrupt, self.path.display().to_string(), reason));
                }
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::io(&self.path, error)),
            }
        }
        Ok(bytes.into())
    }
}

#[cfg(unix)]
fn positioned_read(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buffer, offset)
}

#[cfg(windows)]
fn positioned_read(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buffer, offset)
}
