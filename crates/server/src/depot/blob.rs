//! Whether some bytes are the blob that they claim to be. Memory stays within a constant, whatever they decode to.

use std::io::{self, BufRead, BufReader, Read};

use updraft_core::digest::{Digest, Hasher};
use updraft_core::limits::{FILE_LEN_MAX, ZSTD_WINDOW_LOG_MAX};
use updraft_core::tree::stored::Encoding;

const PIECE_LEN: usize = 128 << 10;

/// What keeps the bytes of `source` from being the blob `digest`, as a sentence; `None` when they are that blob.
///
/// # Errors
/// When `source` cannot be read.
pub(super) fn problem(source: impl Read, encoding: Encoding, digest: Digest) -> io::Result<Option<String>> {
    let mut source = Watched { inner: source, failed: None };
    let found = match encoding {
        Encoding::Raw => digest_of(&mut source),
        Encoding::Zstd => digest_of_frame(&mut source),
    };
    if let Some(error) = source.failed {
        return Err(error);
    }
    Ok(match found {
        Ok(found) if found == digest => None,
        Ok(found) => Some(format!("its bytes have the digest {found}")),
        Err(error) => Some(error.to_string()),
    })
}

fn digest_of_frame(source: &mut impl Read) -> io::Result<Digest> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(BufReader::new(source))?.single_frame();
    decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
    let digest = digest_of(&mut decoder)?;
    if decoder.finish().fill_buf()?.is_empty() {
        Ok(digest)
    } else {
        Err(io::Error::other("bytes follow its zstd frame"))
    }
}

fn digest_of(source: &mut impl Read) -> io::Result<Digest> {
    let mut piece = vec![0; PIECE_LEN];
    let mut hasher = Hasher::new();
    loop {
        match source.read(&mut piece) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(n) => hasher.update(&piece[..n]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if hasher.len() > FILE_LEN_MAX {
            return Err(io::Error::other(format!("it has more than {FILE_LEN_MAX} bytes")));
        }
    }
}

/// Tells a source that fails from bytes that are wrong.
struct Watched<R> {
    inner: R,
    failed: Option<io::Error>,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer).map_err(|error| {
            let kind = error.kind();
            if kind != io::ErrorKind::Interrupted {
                self.failed = Some(error);
            }
            kind.into()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_blob(bytes: &[u8], encoding: Encoding, content: &[u8]) -> bool {
        problem(bytes, encoding, Digest::of(content)).unwrap().is_none()
    }

    #[test]
    fn exactly_the_content_is_the_blob() {
        let content = b"hello hello hello hello".repeat(1000);
        let frame = zstd::bulk::compress(&content, 3).unwrap();
        assert!(is_blob(&content, Encoding::Raw, &content));
        assert!(is_blob(&frame, Encoding::Zstd, &content));
        assert!(is_blob(b"", Encoding::Raw, b""));
        for (bytes, encoding) in [
            (&content[1..], Encoding::Raw),
            (&frame[..], Encoding::Raw),
            (&content[..], Encoding::Zstd),
            (&frame[..frame.len() - 1], Encoding::Zstd),
            (&[&frame[..], b"x"].concat(), Encoding::Zstd),
            (&[&frame[..], &zstd::bulk::compress(b"", 3).unwrap()].concat(), Encoding::Zstd),
            (b"", Encoding::Zstd),
        ] {
            assert!(!is_blob(bytes, encoding, &content), "{} bytes, {encoding:?}", bytes.len());
        }
    }

    #[test]
    fn a_window_that_no_device_would_allow_is_refused() {
        let content = vec![7; 1 << 20];
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
        encoder.window_log(ZSTD_WINDOW_LOG_MAX + 1).unwrap();
        io::Write::write_all(&mut encoder, &content).unwrap();
        let frame = encoder.finish().unwrap();
        assert!(!is_blob(&frame, Encoding::Zstd, &content));
    }

    #[test]
    fn a_source_that_fails_is_not_a_wrong_blob() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("disk on fire"))
            }
        }
        for encoding in [Encoding::Raw, Encoding::Zstd] {
            assert!(problem(Broken, encoding, Digest::of(b"")).is_err());
        }
    }
}
