//! Writing a tree into a directory: the reverse of [`crate::scan`].
//!
//! It refuses to overwrite anything and to write bytes that are not what the tree says. It syncs nothing and is no
//! installation: there is no way back from half of it but [`Dir::remove_all`].

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use updraft_core::digest::{Digest, Hasher};
use updraft_core::path::RelPath;
use updraft_core::tree::{Kind, Tree};

use crate::dir::{self, Dir};

/// How much is read and written at once.
const PIECE_LEN: usize = 256 << 10;

/// Why a tree could not be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory would not take it.
    #[error(transparent)]
    Dir(#[from] dir::Error),
    /// There is no content for a file.
    #[error("content of '{path}' ({digest}): {cause}")]
    Content {
        /// The file.
        path: RelPath,
        /// What it shall contain.
        digest: Digest,
        /// Why that could not be had.
        cause: io::Error,
    },
    /// The content is not what the tree says.
    #[error("content of '{path}' is not {size} bytes with the digest {digest}; the source is damaged")]
    Mismatch {
        /// The file.
        path: RelPath,
        /// How long it shall be.
        size: u64,
        /// What it shall contain.
        digest: Digest,
    },
}

/// Writes every entry of `tree` into `dir`, with the modes of the tree. `content` opens the bytes with a digest; they are
/// checked, and no more of them is read than the tree says.
///
/// # Errors
/// At the first entry whose place is taken, whose content is missing or wrong, or that the disk refuses; what was written
/// before it stays.
pub fn write<'a>(
    dir: &Dir,
    tree: &Tree,
    content: &dyn Fn(&Digest) -> io::Result<Box<dyn Read + 'a>>,
) -> Result<(), Error> {
    let mut piece = vec![0; PIECE_LEN];
    for (path, kind) in tree.iter() {
        let at = Path::new(path.as_str());
        match kind {
            Kind::Dir { mode } => dir.create_dir(at, *mode)?,
            Kind::Symlink { target } => dir.symlink(target, at)?,
            Kind::File { mode, size, digest } => {
                let mut source =
                    content(digest).map_err(|cause| Error::Content { path: path.clone(), digest: *digest, cause })?;
                let mut target = dir.create_file(at, *mode)?;
                fill(dir, &mut target, &mut source, path, (*size, *digest), &mut piece)?;
            }
        }
    }
    Ok(())
}

fn fill(
    dir: &Dir,
    target: &mut File,
    source: &mut dyn Read,
    path: &RelPath,
    (size, digest): (u64, Digest),
    piece: &mut [u8],
) -> Result<(), Error> {
    let mut hasher = Hasher::new();
    while hasher.len() <= size {
        match source.read(piece) {
            Ok(0) => break,
            Ok(len) => {
                hasher.update(&piece[..len]);
                let written = target.write_all(&piece[..len]);
                written.map_err(|cause| dir::Error::new("write", dir.path().join(path.as_str()), cause))?;
            }
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            Err(cause) => return Err(Error::Content { path: path.clone(), digest, cause }),
        }
    }
    match hasher.len() == size && hasher.finish() == digest {
        true => Ok(()),
        false => Err(Error::Mismatch { path: path.clone(), size, digest }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn tree(content: &[u8]) -> Tree {
        let kind = Kind::File { mode: 0o644, size: content.len() as u64, digest: Digest::of(content) };
        Tree::new(BTreeMap::from([("file".parse().unwrap(), kind)])).unwrap()
    }

    fn write_from(content: &[u8], tree: &Tree) -> Result<(), Error> {
        let temp = tempfile::tempdir().unwrap();
        write(&Dir::open(temp.path()).unwrap(), tree, &|_| Ok(Box::new(content)))
    }

    #[test]
    fn content_that_is_not_what_the_tree_says_is_refused() {
        let want = tree(b"right");
        assert!(write_from(b"right", &want).is_ok());
        for wrong in [&b"wrong"[..], b"righ", b"right!", b""] {
            assert!(matches!(write_from(wrong, &want), Err(Error::Mismatch { .. })), "{wrong:?}");
        }
    }

    #[test]
    fn content_without_end_is_read_no_further_than_it_should_be() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open(temp.path()).unwrap();
        let endless = write(&dir, &tree(b"right"), &|_| Ok(Box::new(io::repeat(b'r'))));
        assert!(matches!(endless, Err(Error::Mismatch { .. })));
        assert!(std::fs::metadata(temp.path().join("file")).unwrap().len() <= PIECE_LEN as u64);
    }

    #[test]
    fn nothing_is_overwritten() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::write(temp.path().join("file"), "mine").unwrap();
        let written = write(&Dir::open(temp.path()).unwrap(), &tree(b"new"), &|_| Ok(Box::new(&b"new"[..])));
        assert!(matches!(written, Err(Error::Dir(error)) if error.kind() == io::ErrorKind::AlreadyExists));
        assert_eq!(std::fs::read(temp.path().join("file")).unwrap(), b"mine");
    }

    #[test]
    fn missing_content_is_named() {
        let temp = tempfile::tempdir().unwrap();
        let error = write(&Dir::open(temp.path()).unwrap(), &tree(b"x"), &|_| Err(io::ErrorKind::NotFound.into()));
        assert!(error.unwrap_err().to_string().contains("'file'"));
    }
}
