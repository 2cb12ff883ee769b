//! `patch apply OLD PATCH -o NEW`: nothing is at NEW before all of it is right.
//!
//! A patch of a few bytes may say that it makes terabytes. So what it says is compared with the room on the disk before
//! anything is written, and for a tree with the tree document, which comes out first, before anything else does.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use updraft_agent::ui::{Exit, say, size};
use updraft_core::digest::Digest;
use updraft_core::limits::TREE_LEN_MAX;
use updraft_core::tree::{Tree, codec, patch};
use updraft_delta::{Header, Output, Patch, ReadAt};
use updraft_files::{Dir, write};

use super::bases::Bases;
use super::side::{Side, digest_of};
use super::spool::{Part, Spool};
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
    let parent = output.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    must_fit(patch.header(), parent)?;
    let bases = Bases::of(&side, patch.header())?;
    let bases: Vec<&dyn ReadAt> = bases.files().collect();
    let made = match &side {
        Side::File { path, .. } => to_file(&patch, &bases, path, (parent, output))?,
        Side::Tree { dir, tree } => to_dir(&patch, &bases, (dir, tree), (parent, output))?,
    };
    let digest = Digest::from_bytes(patch.header().to);
    say(format_args!("{}: {}, as the patch says: {digest}", output.display(), size(made)));
    Ok(Exit::Done)
}

fn must_fit(header: &Header, dir: &Path) -> anyhow::Result<()> {
    let (needed, space) = (header.new_len(), Dir::open(dir)?.space());
    match space {
        Some(space) if space.available < needed => bail!(
            "{}: the patch makes {}, and {} are free; make room, or name an output elsewhere",
            dir.display(),
            size(needed),
            size(space.available)
        ),
        _ => Ok(()),
    }
}

fn must_be(found: Digest, header: &Header) -> anyhow::Result<()> {
    let expected = Digest::from_bytes(header.to);
    if found != expected {
        bail!("what came out is {found}, not {expected}: the patch is damaged or lies; nothing was written");
    }
    Ok(())
}

/// One output, into a file that gets its name when it is right. Who may read it is as with the old one.
fn to_file(patch: &Patch<'_>, bases: &[&dyn ReadAt], old: &Path, to: (&Path, &Path)) -> anyhow::Result<u64> {
    let ((parent, output), count) = (to, patch.header().outputs.len());
    if count != 1 {
        bail!("the patch makes {count} files; apply it to a directory");
    }
    let mut spool = Spool::new(parent, &|_, _| Ok(()))?;
    patch.apply(bases, &mut spool)?;
    let file = spool.into_file();
    let (digest, len) = digest_of(file.path())?;
    must_be(digest, patch.header())?;
    file.as_file().set_permissions(fs::metadata(old)?.permissions())?;
    file.as_file().sync_all()?;
    file.persist_noclobber(output).with_context(|| output.display().to_string())?;
    Ok(len)
}

/// The tree document and what the old tree lacks, into a directory that gets its name when it is right.
fn to_dir(
    patch: &Patch<'_>,
    bases: &[&dyn ReadAt],
    (dir, old): (&Path, &Tree),
    (parent, output): (&Path, &Path),
) -> anyhow::Result<u64> {
    let header = patch.header();
    if header.outputs.first().is_none_or(|document| document.len > TREE_LEN_MAX) {
        bail!("the patch carries no tree document; apply it to a file");
    }
    let check = |index: usize, document: &Part<'_>| match index {
        1 => {
            tree_of(document, header).and_then(|tree| must_lack(&tree, old, &header.outputs)).map_err(io::Error::other)
        }
        _ => Ok(()),
    };
    let mut spool = Spool::new(parent, &check)?;
    patch.apply(bases, &mut spool)?;
    let tree = tree_of(&spool.part(0)?, header)?;
    must_lack(&tree, old, &header.outputs)?;

    let kept: BTreeMap<Digest, PathBuf> = old.files().map(|file| (file.digest, dir.join(file.path.as_str()))).collect();
    let made: BTreeMap<Digest, usize> =
        patch::lacking(old, &tree).into_iter().zip(1..).map(|(file, index)| (file.digest, index)).collect();
    let content = |digest: &Digest| -> io::Result<Box<dyn Read>> {
        match (made.get(digest), kept.get(digest)) {
            (Some(index), _) => Ok(Box::new(spool.part(*index)?.reader())),
            (None, Some(path)) => Ok(Box::new(File::open(path)?)),
            // Whatever else there is, it is empty: patches do not speak of those.
            (None, None) => Ok(Box::new(io::empty())),
        }
    };
    // A directory in it, which gets the modes that directories get here.
    let staged = tempfile::Builder::new().prefix(".updraft-patch-").tempdir_in(parent)?;
    let new = staged.path().join("new");
    fs::create_dir(&new)?;
    write::write(&Dir::open(&new)?, &tree, &content)?;
    fs::rename(&new, output).with_context(|| output.display().to_string())?;
    Ok(tree.byte_count())
}

/// The tree that the first output is the document of.
fn tree_of(document: &Part<'_>, header: &Header) -> anyhow::Result<Tree> {
    let mut bytes = Vec::new();
    document.reader().read_to_end(&mut bytes)?;
    must_be(Digest::of(&bytes), header)?;
    Ok(codec::decode(&bytes)?)
}

/// The other outputs are what `tree` has and `old` has not, one by one.
fn must_lack(tree: &Tree, old: &Tree, outputs: &[Output]) -> anyhow::Result<()> {
    let lacking = patch::lacking(old, tree).into_iter().map(|file| file.size);
    if !lacking.eq(outputs[1..].iter().map(|output| output.len)) {
        bail!("the patch makes other files than the tree lacks: it is damaged or lies; nothing was written");
    }
    Ok(())
}
