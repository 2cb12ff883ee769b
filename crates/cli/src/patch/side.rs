//! One side of a patch: a file or a directory, and the contents that it has.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use updraft_core::digest::{Digest, Hasher};
use updraft_core::tree::{Tree, codec, patch};
use updraft_files::scan::{Options, scan};
use updraft_files::{Dir, Index};

/// What a person named.
pub(super) enum Side {
    /// A file, and its digest.
    File { path: PathBuf, digest: Digest },
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
        Ok(Self::File { path: path.to_owned(), digest: digest_of(path)?.0 })
    }

    /// Bytes of all its files.
    pub(super) fn size(&self) -> anyhow::Result<u64> {
        match self {
            Self::File { path, .. } => Ok(fs::metadata(path).with_context(|| path.display().to_string())?.len()),
            Self::Tree { tree, .. } => Ok(patch::contents(tree).iter().map(|file| file.size).sum()),
        }
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
            Self::File { path, digest } => vec![Content::File(path.clone(), *digest)],
            Self::Tree { dir, tree } => {
                let document = Content::Bytes(codec::encode(tree));
                let files = patch::contents(tree).into_iter();
                let files = files.map(|file| Content::File(dir.join(file.path.as_str()), file.digest));
                [document].into_iter().chain(files).collect()
            }
        }
    }

    /// What a patch from `old` to it has to make.
    pub(super) fn outputs(&self, old: &Self) -> anyhow::Result<Vec<Content>> {
        match (old, self) {
            (Self::File { .. }, Self::File { path, digest }) => Ok(vec![Content::File(path.clone(), *digest)]),
            (Self::Tree { tree: old, .. }, Self::Tree { dir, tree }) => {
                let document = Content::Bytes(patch::mask(old, tree));
                let files = patch::lacking(old, tree).into_iter();
                let files = files.map(|file| Content::File(dir.join(file.path.as_str()), file.digest));
                Ok([document].into_iter().chain(files).collect())
            }
            _ => bail!("one side is a file and the other a directory; name two of a kind"),
        }
    }
}

/// Some bytes that a patch reads or makes.
pub(super) enum Content {
    /// A file's, with its digest.
    File(PathBuf, Digest),
    /// A document's.
    Bytes(Vec<u8>),
}

impl Content {
    /// All of them, if they still are what they were.
    pub(super) fn bytes(self) -> anyhow::Result<Vec<u8>> {
        match self {
            Self::File(path, digest) => {
                let bytes = fs::read(&path).with_context(|| path.display().to_string())?;
                if Digest::of(&bytes) != digest {
                    bail!("{}: changed while it was read; try again when nothing writes there", path.display());
                }
                Ok(bytes)
            }
            Self::Bytes(bytes) => Ok(bytes),
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
