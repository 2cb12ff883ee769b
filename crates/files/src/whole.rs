//! Small files, read and replaced in one piece.
//!
//! A reader sees the old bytes or the new ones, and a crash leaves one of the two.

use std::io::{self, Read, Write};
use std::path::Path;

use crate::dir::{Dir, Error};
use crate::scratch::Scratch;

/// Makes `bytes` the whole content of the file at `at`, durable when this returns, with exactly the permission bits
/// `mode`. The directory that holds it must exist.
///
/// # Errors
/// When it cannot be written; the file is then as it was.
pub fn write_atomic(dir: &Dir, at: &Path, bytes: &[u8], mode: u32) -> Result<(), Error> {
    let opened;
    let (parent, name) = match (at.parent(), at.file_name()) {
        (Some(parent), Some(name)) if !parent.as_os_str().is_empty() => {
            opened = dir.open_dir(parent)?;
            (&opened, Path::new(name))
        }
        _ => (dir, at),
    };
    let mut scratch = Scratch::new(parent, mode)?;
    scratch.file().write_all(bytes).map_err(|cause| Error::new("write", dir.path().join(at), cause))?;
    scratch.finish(name)
}

/// The whole content of the regular file at `at`, or `None` when there is nothing.
///
/// # Errors
/// When it has more than `max` bytes ([`io::ErrorKind::FileTooLarge`]), is no regular file or cannot be read.
pub fn read_bounded(dir: &Dir, at: &Path, max: u64) -> Result<Option<Vec<u8>>, Error> {
    let file = match dir.open_file(at) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let failed = |cause| Error::new("read", dir.path().join(at), cause);
    let too_large = || failed(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {max} bytes")));
    // Refused by its length before anything is read, and by what is read in case it grows meanwhile.
    if file.metadata().map_err(failed)?.len() > max {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    file.take(max.saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > max { Err(too_large()) } else { Ok(Some(bytes)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_whole_and_reads_back() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open(temp.path()).unwrap();
        dir.create_dir(Path::new("sub"), 0o755).unwrap();
        let at = Path::new("sub/file");
        assert_eq!(read_bounded(&dir, at, 10).unwrap(), None);
        for bytes in [&b"longer text"[..], b"short"] {
            write_atomic(&dir, at, bytes, 0o640).unwrap();
            assert_eq!(read_bounded(&dir, at, 11).unwrap().unwrap(), bytes);
        }
        assert_eq!(dir.stat(at).unwrap().unwrap().mode, 0o640);
        assert_eq!(dir.open_dir(Path::new("sub")).unwrap().entries().unwrap().len(), 1);
    }

    #[test]
    fn one_byte_over_the_bound_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open(temp.path()).unwrap();
        write_atomic(&dir, Path::new("f"), b"12345", 0o644).unwrap();
        assert!(read_bounded(&dir, Path::new("f"), 5).is_ok());
        let error = read_bounded(&dir, Path::new("f"), 4).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open(temp.path()).unwrap();
        // A directory in the way makes the last step fail, for root too.
        dir.create_dir(Path::new("taken"), 0o755).unwrap();
        std::fs::write(temp.path().join("taken/old"), "old").unwrap();
        assert!(write_atomic(&dir, Path::new("taken"), b"new", 0o644).is_err());
        assert_eq!(std::fs::read(temp.path().join("taken/old")).unwrap(), b"old");
        assert_eq!(dir.entries().unwrap().len(), 1);
    }
}
