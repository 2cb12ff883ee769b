//! `patch apply OLD PATCH -o NEW`: nothing is at NEW before all of it is right.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use updraft_agent::ui::{Exit, say, size};
use updraft_core::digest::Digest;
use updraft_core::limits::TREE_LEN_MAX;
use updraft_core::tree::{Tree, codec, patch};
use updraft_delta::{Header, Patch, ReadAt, Sink};
use updraft_files::{Dir, write};

use super::side::{Content, Side, digest_of};
use super::{must_be_free, open};

pub(super) fn run(old: &Path, patch: &Path, output: &Path) -> anyhow::Result<Exit> {
    must_be_free(output)?;
    let file = open(patch)?;
    let patch = Patch::open(&file).with_context(|| patch.display().to_string())?;
    let side = Side::read(old)?;
    let (found, expected) = (side.digest(), Digest::from_bytes(patch.header().from));
    if found != expected {
        bail!(
            "{}: is {found}, and the patch was made from {expected}; find the one that it was made from",
            old.display()
        );
    }
    let bases = opened(&side, patch.header())?;
    let bases: Vec<&dyn ReadAt> = bases.iter().map(|base| &**base).collect();
    let made = match &side {
        Side::File { .. } => to_file(&patch, &bases, output)?,
        Side::Tree { dir, tree } => to_dir(&patch, &bases, (dir, tree), output)?,
    };
    say(format_args!(
        "{}: {}, as the patch says: {}",
        output.display(),
        size(made),
        Digest::from_bytes(patch.header().to)
    ));
    Ok(Exit::Done)
}

/// The bases that the patch names, open.
fn opened(side: &Side, header: &Header) -> anyhow::Result<Vec<Box<dyn ReadAt>>> {
    let mut contents: Vec<Option<Content>> = side.bases().into_iter().map(Some).collect();
    let mut opened: Vec<Box<dyn ReadAt>> = Vec::new();
    for base in &header.bases {
        let content = usize::try_from(base.index).ok().and_then(|n| contents.get_mut(n)?.take());
        opened.push(match content {
            Some(Content::Bytes(bytes)) => Box::new(bytes),
            Some(Content::File(path, _)) => Box::new(File::open(&path).with_context(|| path.display().to_string())?),
            None => bail!("the patch reads file {}, and there is none of that number: it is damaged", base.index),
        });
    }
    Ok(opened)
}

/// One output, into a file that gets its name when it is right.
fn to_file(patch: &Patch<'_>, bases: &[&dyn ReadAt], output: &Path) -> anyhow::Result<u64> {
    let dir = output.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut spool = Spool::new(dir)?;
    patch.apply(bases, &mut spool)?;
    let (count, file) = (spool.files.len(), spool.files.pop());
    let Some(file) = file.filter(|_| count == 1) else {
        bail!("the patch makes {count} files; apply it to a directory")
    };
    let (digest, len) = digest_of(file.path())?;
    must_be(digest, patch)?;
    file.as_file().sync_all()?;
    file.persist_noclobber(output).with_context(|| output.display().to_string())?;
    Ok(len)
}

fn must_be(found: Digest, patch: &Patch<'_>) -> anyhow::Result<()> {
    let expected = Digest::from_bytes(patch.header().to);
    if found != expected {
        bail!("what came out is {found}, not {expected}: the patch is damaged or lies; nothing was written");
    }
    Ok(())
}

/// The tree document and what the old tree lacks, into a directory that gets its name when it is right.
fn to_dir(patch: &Patch<'_>, bases: &[&dyn ReadAt], old: (&Path, &Tree), output: &Path) -> anyhow::Result<u64> {
    let parent = output.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut spool = Spool::new(parent)?;
    patch.apply(bases, &mut spool)?;
    let tree = spool.tree(patch)?;
    let contents = spool.contents(old, &tree)?;
    let staged = tempfile::Builder::new().prefix(".updraft-patch-").tempdir_in(parent)?;
    let content = |digest: &Digest| -> io::Result<Box<dyn Read>> {
        match contents.get(digest) {
            Some(path) => Ok(Box::new(File::open(path)?)),
            // Whatever else there is, it is empty: patches do not speak of those.
            None => Ok(Box::new(io::empty())),
        }
    };
    write::write(&Dir::open(staged.path())?, &tree, &content)?;
    fs::rename(staged.path(), output).with_context(|| output.display().to_string())?;
    let _ = staged.keep();
    Ok(tree.byte_count())
}

/// Outputs, each in a file of its own that goes away with this.
struct Spool {
    dir: tempfile::TempDir,
    files: Vec<tempfile::NamedTempFile>,
}

impl Spool {
    fn new(dir: &Path) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix(".updraft-patch-").tempdir_in(dir);
        Ok(Self { dir: dir.context("there is no room for what the patch makes")?, files: Vec::new() })
    }

    /// The tree that the first output is the document of.
    fn tree(&self, patch: &Patch<'_>) -> anyhow::Result<Tree> {
        let first = patch.header().outputs.first().filter(|output| output.len <= TREE_LEN_MAX);
        if first.is_none() {
            bail!("the patch carries no tree document; apply it to a file");
        }
        let bytes = fs::read(self.files[0].path())?;
        must_be(Digest::of(&bytes), patch)?;
        Ok(codec::decode(&bytes)?)
    }

    /// Where each content of `new` is: among the outputs, or in the old directory.
    fn contents(&self, (dir, old): (&Path, &Tree), new: &Tree) -> anyhow::Result<BTreeMap<Digest, PathBuf>> {
        let lacking = patch::lacking(old, new);
        if lacking.len() + 1 != self.files.len() {
            bail!("the patch makes {} files, the tree lacks {}: it is damaged", self.files.len() - 1, lacking.len());
        }
        let made = lacking.iter().zip(&self.files[1..]);
        let made = made.map(|(file, made)| (file.digest, made.path().to_owned()));
        let kept = old.files().map(|file| (file.digest, dir.join(file.path.as_str())));
        Ok(kept.chain(made).collect())
    }
}

impl Sink for Spool {
    fn begin(&mut self, _index: usize, _len: u64) -> io::Result<()> {
        self.files.push(tempfile::NamedTempFile::new_in(self.dir.path())?);
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.files.last_mut().expect("an output began").write_all(bytes)
    }
}
