//! One side of a patch: a file or a directory, and the contents that it has.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use updraft_core::digest::{Digest, Hasher};
use updraft_core::tree::{Tree, codec, patch};
use updraft_delta::ReadAt;
use updraft_files::scan::{Options, scan};
use updraft_files::{Dir, Index};

/// What a person named.
pub(super) enum Side {
    /// A file, its digest, and its length.
    File { path: PathBuf, digest: Digest, len: u64 },
    /// A directory, and what is in it.
    Tree { dir: PathBuf, tree: Tree },
}

impl Side {
    /// Reads what is at `path`.
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let metadata = fs::metadata(path).with_context(|| path.display().to_string())?;
        if metadata.is_dir() {
            let tree = scan(&Dir::open(path)?, &Options::default(), &Index::default(), &|_| ())?.tree;
            return Ok(Self::Tree { dir: path.to_owned(), tree });
        }
        if !metadata.is_file() {
            bail!("{}: is neither a file nor a directory", path.display());
        }
        let (digest, len) = digest_of(path)?;
        Ok(Self::File { path: path.to_owned(), digest, len })
    }

    /// The digest that names it.
    pub(super) fn digest(&self) -> Digest {
        match self {
            Self::File { digest, .. } => *digest,
            Self::Tree { tree, .. } => tree.digest(),
        }
    }

    /// What a patch from it may read, in the order of their numbers.
    pub(super) fn bases(&self) -> Vec<Content> {
        match self {
            Self::File { path, digest, len } => vec![Content::File(path.clone(), *digest, *len)],
            Self::Tree { dir, tree } => {
                let document = Content::Bytes(codec::encode(tree));
                let files = patch::contents(tree).into_iter();
                let files = files.map(|file| Content::File(dir.join(file.path.as_str()), file.digest, file.size));
                [document].into_iter().chain(files).collect()
            }
        }
    }

    /// What a patch from `old` to it has to make.
    pub(super) fn outputs(&self, old: &Self) -> anyhow::Result<Vec<Content>> {
        match (old, self) {
            (Self::File { .. }, Self::File { path, digest, len }) => {
                Ok(vec![Content::File(path.clone(), *digest, *len)])
            }
            (Self::Tree { tree: old, .. }, Self::Tree { dir, tree }) => {
                let document = Content::Bytes(patch::mask(old, tree));
                let files = patch::lacking(old, tree).into_iter();
                let files = files.map(|file| Content::File(dir.join(file.path.as_str()), file.digest, file.size));
                Ok([document].into_iter().chain(files).collect())
            }
            _ => bail!("one side is a file and the other a directory; name two of a kind"),
        }
    }
}

/// Some bytes that a patch reads or makes.
pub(super) enum Content {
    /// A file's, with its digest and its length.
    File(PathBuf, Digest, u64),
    /// A document's.
    Bytes(Vec<u8>),
}

impl Content {
    /// How many they are.
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::File(_, _, len) => *len,
            Self::Bytes(bytes) => bytes.len() as u64,
        }
    }

    /// All of them, if they still are what they were.
    pub(super) fn bytes(&self) -> anyhow::Result<Vec<u8>> {
        match self {
            Self::File(path, digest, _) => {
                let bytes = fs::read(path).with_context(|| path.display().to_string())?;
                must_be(path, *digest, Digest::of(&bytes))?;
                Ok(bytes)
            }
            Self::Bytes(bytes) => Ok(bytes.clone()),
        }
    }

    /// Refuses if they are not any more what they were.
    pub(super) fn must_be_the_same(&self) -> anyhow::Result<()> {
        match self {
            Self::File(path, digest, _) => must_be(path, *digest, digest_of(path)?.0),
            Self::Bytes(_) => Ok(()),
        }
    }
}

fn must_be(path: &Path, expected: Digest, found: Digest) -> anyhow::Result<()> {
    if found != expected {
        bail!("{}: changed while it was read; try again when nothing writes there", path.display());
    }
    Ok(())
}

/// A file is opened for each piece that is read: there may be more of them than a process may have open.
impl ReadAt for Content {
    fn size(&self) -> io::Result<u64> {
        Ok(self.len())
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        match self {
            Self::File(path, ..) => {
                let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
                File::open(path).and_then(|file| file.read_exact_at(buf, offset)).map_err(named)
            }
            Self::Bytes(bytes) => bytes.read_exact_at(buf, offset),
        }
    }
}

/// The digest of a file, and its length.
pub(super) fn digest_of(path: &Path) -> anyhow::Result<(Digest, u64)> {
    let failed = || path.display().to_string();
    let mut file = File::open(path).with_context(failed)?;
    let mut hasher = Hasher::new();
    let mut piece = vec![0; 256 << 10];
    loop {
        match std::io::Read::read(&mut file, &mut piece).with_context(failed)? {
            0 => break,
            len => hasher.update(&piece[..len]),
        }
    }
    let len = hasher.len();
    Ok((hasher.finish(), len))
}
