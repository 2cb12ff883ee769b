//! Whether some bytes may be the patch that they claim to be. It reads their header and the two trees, and applies nothing.

use std::io;

use bytes::Buf;
use tokio::runtime::Handle;
use updraft_core::digest::{Digest, Hasher};
use updraft_core::limits::TREE_LEN_MAX;
use updraft_core::tree::{Tree, codec, patch};
use updraft_delta::{Header, Patch, ReadAt};

use super::Pair;
use crate::store::{Object, READ_LEN};

/// Why `bytes` are not a patch of `pair`, the trees `old` and `new`, as a sentence.
pub(super) fn check(bytes: &dyn ReadAt, pair: Pair, old: &Tree, new: &Tree) -> Result<(), String> {
    let header = named(bytes, pair)?;
    let lens =
        |tree: &Tree| [codec::encode(tree).len() as u64].into_iter().chain(sizes(&patch::contents(tree))).collect();
    let old_lens: Vec<u64> = lens(old);
    for base in &header.bases {
        let there = usize::try_from(base.index).ok().and_then(|n| old_lens.get(n));
        if there != Some(&base.len) {
            return Err(format!("it reads {} bytes of file {}, which the old tree has not", base.len, base.index));
        }
    }
    let made = header.outputs.iter().map(|output| output.len);
    let lacking = patch::lacking(old, new);
    if header.outputs.first().is_none_or(|document| document.len > TREE_LEN_MAX) || !made.skip(1).eq(sizes(&lacking)) {
        return Err("it makes other files than the old tree lacks".to_owned());
    }
    Ok(())
}

fn sizes<'f>(files: &'f [updraft_core::tree::File<'_>]) -> impl Iterator<Item = u64> + use<'f> {
    files.iter().map(|file| file.size)
}

/// The header of a patch of `pair`.
fn named(bytes: &dyn ReadAt, pair: Pair) -> Result<Header, String> {
    let header = Patch::open(bytes).map_err(|e| e.to_string())?.header().clone();
    for (what, found, named) in [("from", header.from, pair.from), ("to", header.to, pair.to)] {
        let found = Digest::from_bytes(found);
        if found != named {
            return Err(format!("it is a patch {what} tree {found}"));
        }
    }
    Ok(header)
}

/// What is wrong with a patch in the store; its bytes are compared with `digest` where that is known. Blocks.
pub(in crate::depot) fn problem(
    object: Object,
    pair: Pair,
    digest: Option<Digest>,
    runtime: &Handle,
) -> Option<String> {
    let object = Pieces { object, runtime };
    if let Err(reason) = named(&object, pair) {
        return Some(reason);
    }
    let wanted = digest?;
    match digest_of(&object) {
        Ok(found) if found == wanted => None,
        Ok(found) => Some(format!("its bytes have the digest {found}, and had {wanted}")),
        Err(error) => Some(format!("it cannot be read: {error}")),
    }
}

/// The digest of all of `bytes`.
pub(super) fn digest_of(bytes: &dyn ReadAt) -> io::Result<Digest> {
    let (len, mut at) = (bytes.size()?, 0);
    let mut hasher = Hasher::new();
    let mut piece = vec![0; READ_LEN];
    while at < len {
        let piece = &mut piece[..(len - at).min(READ_LEN as u64) as usize];
        bytes.read_exact_at(piece, at)?;
        hasher.update(piece);
        at += piece.len() as u64;
    }
    Ok(hasher.finish())
}

/// An object, for a thread that may wait.
struct Pieces<'a> {
    object: Object,
    runtime: &'a Handle,
}

impl ReadAt for Pieces<'_> {
    fn size(&self) -> io::Result<u64> {
        Ok(self.object.len())
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let mut filled = 0;
        while filled < buf.len() {
            let len = (buf.len() - filled).min(READ_LEN);
            let read = self.object.read_at(offset + filled as u64, len);
            let mut piece = self.runtime.block_on(read).map_err(io::Error::other)?;
            if piece.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let len = piece.len();
            piece.copy_to_slice(&mut buf[filled..filled + len]);
            filled += len;
        }
        Ok(())
    }
}
