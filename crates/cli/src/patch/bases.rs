//! The bases of a patch, as files of which one is open at a time: a tree may have more than a process may open.

use std::cell::RefCell;
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::rc::Rc;

use anyhow::{Context, bail};
use updraft_delta::{Header, ReadAt};

use super::side::{Content, Side};

/// Every base that a patch names, in its order.
pub(super) struct Bases(Vec<Box<dyn ReadAt>>);

impl Bases {
    /// Those of `side` that `header` names.
    pub(super) fn of(side: &Side, header: &Header) -> anyhow::Result<Self> {
        let mut contents: Vec<Option<Content>> = side.bases().into_iter().map(Some).collect();
        let open = Rc::default();
        let mut bases: Vec<Box<dyn ReadAt>> = Vec::new();
        for base in &header.bases {
            let content = usize::try_from(base.index).ok().and_then(|n| contents.get_mut(n)?.take());
            bases.push(match content {
                Some(Content::Bytes(bytes)) => Box::new(bytes),
                Some(Content::File(path, ..)) => {
                    let size = fs::metadata(&path).with_context(|| path.display().to_string())?.len();
                    Box::new(OnDemand { path, size, open: Rc::clone(&open) })
                }
                None => bail!("the patch reads file {}, and there is none of that number: it is damaged", base.index),
            });
        }
        Ok(Self(bases))
    }

    pub(super) fn files(&self) -> impl Iterator<Item = &dyn ReadAt> {
        self.0.iter().map(|base| &**base)
    }
}

/// A file that is opened when it is read, and stays open until another one is.
struct OnDemand {
    path: PathBuf,
    size: u64,
    open: Rc<RefCell<Option<(PathBuf, File)>>>,
}

impl ReadAt for OnDemand {
    fn size(&self) -> io::Result<u64> {
        Ok(self.size)
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let mut open = self.open.borrow_mut();
        match &*open {
            Some((path, file)) if *path == self.path => ReadAt::read_exact_at(file, buf, offset),
            _ => {
                let file = File::open(&self.path)?;
                let read = ReadAt::read_exact_at(&file, buf, offset);
                *open = Some((self.path.clone(), file));
                read
            }
        }
    }
}
