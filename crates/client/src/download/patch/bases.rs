//! The old files that a patch reads, from the installed directory: each is hashed before it is used.
//!
//! A file that is edited after that gives another tree than the signed one, and so none at all; one that shrinks gives an
//! error. Neither gives a wrong file.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use updraft_core::digest::{Digest, Hasher};
use updraft_core::path::RelPath;
use updraft_core::tree::patch::contents;
use updraft_core::tree::{Tree, codec};
use updraft_delta::{Header, ReadAt};
use updraft_files::Dir;

use super::{Installed, Job, Refusal, Stop};

/// So many bases are open at a time: this lives inside a process that opens files of its own.
const OPEN_MAX: usize = 64;
const PIECE_LEN: usize = 256 << 10;

/// Every base that a patch names, in its order.
pub(super) struct Bases<'a>(Vec<Box<dyn ReadAt + 'a>>);

impl<'a> Bases<'a> {
    /// Those that `header` names, found and hashed.
    pub(super) fn find(job: &Job<'a>, header: &Header) -> Result<Self, Stop> {
        let Installed { tree, dir, .. } = job.old;
        let (recorded, paths) = (contents(tree), paths(tree));
        let opened = dir.as_ref().map(|dir| Rc::new(Opened { dir, files: RefCell::default() }));
        let mut bases: Vec<Box<dyn ReadAt + 'a>> = Vec::new();
        for base in &header.bases {
            let Some(index) = usize::try_from(base.index).ok().and_then(|index| index.checked_sub(1)) else {
                bases.push(Box::new(codec::encode(tree)));
                continue;
            };
            let (Some(file), Some(opened)) = (recorded.get(index), &opened) else {
                return Err(Refusal::bad("it reads files that there are not").into());
            };
            let found = paths[&file.digest].iter().try_fold(None, |found, path| match found {
                Some(found) => Ok(Some(found)),
                None => sound(job, opened.dir, path, file.size, file.digest),
            })?;
            let path = found.ok_or_else(|| Refusal::not_now(format!("'{}' was edited or removed here", file.path)))?;
            bases.push(Box::new(OnDemand { number: index, path, size: file.size, opened: Rc::clone(opened) }));
        }
        Ok(Self(bases))
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &(dyn ReadAt + 'a)> {
        self.0.iter().map(|base| &**base)
    }
}

/// Where each content of `tree` lies.
fn paths(tree: &Tree) -> HashMap<Digest, Vec<&RelPath>> {
    let mut paths: HashMap<Digest, Vec<&RelPath>> = HashMap::new();
    tree.files().for_each(|file| paths.entry(file.digest).or_default().push(file.path));
    paths
}

/// The path of a file, if it has this content.
fn sound(job: &Job<'_>, dir: &Dir, path: &RelPath, size: u64, digest: Digest) -> Result<Option<PathBuf>, Stop> {
    let path = Path::new(path.as_str());
    let Ok(file) = dir.open_file(path) else { return Ok(None) };
    if file.metadata().is_ok_and(|metadata| metadata.len() != size) {
        return Ok(None);
    }
    let (mut hasher, mut piece) = (Hasher::new(), vec![0; PIECE_LEN.min(usize::try_from(size).unwrap_or(PIECE_LEN))]);
    while hasher.len() < size {
        job.place.fetcher.cancel().check()?;
        let len = (size - hasher.len()).min(piece.len() as u64) as usize;
        if ReadAt::read_exact_at(&file, &mut piece[..len], hasher.len()).is_err() {
            return Ok(None);
        }
        hasher.update(&piece[..len]);
    }
    Ok((hasher.finish() == digest).then(|| path.to_owned()))
}

/// The bases that are open now.
struct Opened<'a> {
    dir: &'a Dir,
    files: RefCell<HashMap<usize, File>>,
}

/// A base that is opened when it is read.
struct OnDemand<'a> {
    number: usize,
    path: PathBuf,
    size: u64,
    opened: Rc<Opened<'a>>,
}

impl ReadAt for OnDemand<'_> {
    fn size(&self) -> io::Result<u64> {
        Ok(self.size)
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let mut files = self.opened.files.borrow_mut();
        if let Some(file) = files.get(&self.number) {
            return ReadAt::read_exact_at(file, buf, offset);
        }
        if files.len() >= OPEN_MAX {
            files.clear();
        }
        let file = self.opened.dir.open_file(&self.path).map_err(io::Error::other)?;
        ReadAt::read_exact_at(files.entry(self.number).or_insert(file), buf, offset)
    }
}
