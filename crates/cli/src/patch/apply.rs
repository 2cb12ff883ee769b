//! `patch apply OLD PATCH -o NEW`: nothing is at NEW before all of it is right.
//!
//! A patch of a few bytes may say that it makes terabytes. So what it says is compared with the room on the disk before
//! anything is written, and for a tree with the document, which comes out first, before anything else does.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use updraft_agent::ui::{Exit, say, size};
use updraft_core::digest::Digest;
use updraft_core::limits::TREE_LEN_MAX;
use updraft_core::tree::Tree;
use updraft_core::tree::patch::Masked;
use updraft_delta::{Header, Patch, ReadAt};
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
    let (needed, space) = (header.new_len().saturating_add(header.scratch_len()), Dir::open(dir)?.space());
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
    let mut spool = Spool::new(parent, &|_| Ok(()))?;
    patch.apply(bases, &mut tempfile::tempfile_in(parent)?, &mut spool)?;
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
    let check = |document: &Part<'_>| masked(document, old, header).map(drop).map_err(io::Error::other);
    let mut spool = Spool::new(parent, &check)?;
    patch.apply(bases, &mut tempfile::tempfile_in(parent)?, &mut spool)?;
    let digests = spool.digests(header.outputs.len())?;
    let tree = masked(&spool.part(0)?, old, header)?.fill(&digests);
    must_be(tree.digest(), header)?;

    let kept: BTreeMap<Digest, PathBuf> = old.files().map(|file| (file.digest, dir.join(file.path.as_str()))).collect();
    let made: BTreeMap<Digest, usize> = digests.iter().copied().zip(1..).collect();
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

/// The tree that the first output is the masked document of.
fn masked(document: &Part<'_>, old: &Tree, header: &Header) -> anyhow::Result<Masked> {
    let mut bytes = Vec::new();
    document.reader().read_to_end(&mut bytes)?;
    let lens: Vec<u64> = header.outputs[1..].iter().map(|output| output.len).collect();
    Masked::parse(&bytes, old, &lens).context("the patch is damaged or lies; nothing was written")
}
