//! Patches to a release that is out, made on this machine.
//!
//! The server says from which trees; what it says is a wish and no more. The old files come from the server, and each is
//! compared with the tree that names it; the new ones lie here. A patch that cannot be made keeps no other from being made,
//! and nothing of the release is in doubt: it is published already. A bundle needs nothing old.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{self, Write};
use std::path::Path;

use updraft_core::api::PatchState;
use updraft_core::digest::Digest;
use updraft_core::layout;
use updraft_core::limits::TREE_LEN_MAX;
use updraft_core::name::AppName;
use updraft_core::path::RelPath;
use updraft_core::release::ReleaseName;
use updraft_core::tree::patch::{contents, lacking, nothing, worth_len_max};
use updraft_core::tree::stored::{Encoding, Hint, unpack_by_digest};
use updraft_core::tree::{self, Tree};
use updraft_differ::Scratch;
use updraft_files::Dir;

use super::Publisher;
use crate::patch;
use crate::progress::Phase;
use crate::remote::RemoteError;

/// What a blob may have beyond its content, where its length in the store is not known: a frame around what does not
/// compress.
const FRAME_LEN_MAX: u64 = 64 << 10;

/// How many patches are made for one release, whatever a server wishes.
const PATCHES_MAX: usize = 16;

/// What became of one patch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patched {
    /// The tree that it is made from.
    pub from: Digest,
    /// A release that has that tree, as the server says.
    pub release: Option<ReleaseName>,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a patch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The server has it.
    Sent {
        /// Its length.
        bytes: u64,
        /// What devices fetch without it.
        instead: u64,
    },
    /// It is not worth it, or cannot be: why.
    LeftOut(String),
    /// It should have been made, and was not: why.
    Failed(String),
}

impl Publisher<'_> {
    /// Makes the patches that the server lacks to the live release with `tree`, whose files lie in `dir`, and hands them in:
    /// from the newest release first, sixteen at most. Each may take about `memory_max` bytes.
    ///
    /// # Errors
    /// When the server does not say which it lacks.
    pub fn make_patches(
        &self,
        app: &AppName,
        dir: &Dir,
        tree: &Tree,
        memory_max: u64,
    ) -> Result<Vec<Patched>, RemoteError> {
        let to = tree.digest();
        let is_lacking = |state: &PatchState| {
            use PatchState as S;
            matches!(state, S::Waiting | S::Making | S::Skipped { .. } | S::Failed { .. })
        };
        let patches = self.remote.patches(app)?.patches;
        let lacking = patches.into_iter().filter(|patch| patch.to == to && is_lacking(&patch.state));
        let stored = self.stored(app, to)?;
        let (hint, packed_len) = stored.map(|(_, hint, len)| (hint, len)).unwrap_or_default();
        let here = tree.files().map(|file| (file.digest, file.path)).collect();
        let job = Job { publisher: self, app, dir, new: tree, here, hint, packed_len, memory_max };
        let patched = lacking.take(PATCHES_MAX).map(|patch| {
            let outcome = job.run(patch.from).unwrap_or_else(Outcome::Failed);
            Patched { from: patch.from, release: patch.from_release, outcome }
        });
        Ok(patched.collect())
    }

    /// A tree of the server, and the length of its document as it is stored.
    fn stored(&self, app: &AppName, digest: Digest) -> Result<Option<(Tree, Hint, u64)>, RemoteError> {
        let key = layout::tree(app, digest);
        let Some(packed) = self.remote.read(&key, TREE_LEN_MAX)? else { return Ok(None) };
        let nonsense = |e: tree::stored::Error| RemoteError::Nonsense { what: key.to_string(), reason: e.to_string() };
        let (tree, hint) = unpack_by_digest(&packed, digest).map_err(nonsense)?;
        Ok(Some((tree, hint, packed.len() as u64)))
    }
}

/// Patches to one tree.
struct Job<'a> {
    publisher: &'a Publisher<'a>,
    app: &'a AppName,
    dir: &'a Dir,
    new: &'a Tree,
    /// A file of the directory with this content.
    here: HashMap<Digest, &'a RelPath>,
    hint: Hint,
    packed_len: u64,
    memory_max: u64,
}

impl Job<'_> {
    fn run(&self, from: Digest) -> Result<Outcome, String> {
        let stored = match from == nothing() {
            true => Some((Tree::default(), Hint::new(), 0)),
            false => self.publisher.stored(self.app, from).map_err(|e| e.to_string())?,
        };
        let Some((old, hint, _)) = stored else { return Err(format!("tree {from} is not on the server any more")) };
        let lens = patch::lens(&old, self.new);
        if let Some(reason) = patch::refused(lens, self.memory_max).or_else(|| self.too_much_to_fetch(&old)) {
            return Ok(Outcome::LeftOut(reason));
        }
        self.publisher.progress.begin(Phase::Patch, Some(lens.0.saturating_add(lens.1)));
        // A line that broke is told as such, and not as a file that is wrong.
        let broken = RefCell::new(None);
        let content: &mut patch::Content<'_> = &mut |file, out| {
            self.content(file, &hint, &broken, out)?;
            self.publisher.progress.advance(file.size);
            Ok(())
        };
        let mut scratch = |_| {
            let file = tempfile::tempfile_in(&self.publisher.options.scratch)?;
            Ok(Box::new(file) as Box<dyn Scratch>)
        };
        let room = patch::Room { memory: self.memory_max, scratch: &mut scratch };
        let made = patch::make(&old, self.new, content, room);
        if let Some(error) = broken.into_inner() {
            return Err(RemoteError::to_string(&error));
        }
        let made = made.map_err(|e| e.to_string())?;
        let (bytes, instead) = (made.len() as u64, self.instead(&old));
        if bytes > worth_len_max(from, instead) {
            return Ok(Outcome::LeftOut(format!("it has {bytes} bytes, and {instead} are fetched without it")));
        }
        let sent = self.publisher.remote.put_patch(self.app, from, self.new.digest(), &made);
        sent.map(|()| Outcome::Sent { bytes, instead }).map_err(|e| e.to_string())
    }

    /// Blobs are fetched whole.
    fn too_much_to_fetch(&self, old: &Tree) -> Option<String> {
        let largest = contents(old).into_iter().filter(|file| !self.here.contains_key(&file.digest));
        let largest = largest.max_by_key(|file| file.size)?;
        (largest.size > self.memory_max / 2).then(|| {
            let memory = self.memory_max;
            format!(
                "'{}' of {} bytes would be fetched for it, and it may take {memory} of memory",
                largest.path, largest.size
            )
        })
    }

    /// What a device with `old` fetches without a patch.
    fn instead(&self, old: &Tree) -> u64 {
        let stored = |file: &tree::File<'_>| self.hint.get(&file.digest).map_or(file.size, |blob| blob.size);
        lacking(old, self.new).iter().map(stored).fold(self.packed_len, u64::saturating_add)
    }

    /// Writes the bytes of a file of either tree: from the directory, where it has them, else from the server.
    fn content(
        &self,
        file: &tree::File<'_>,
        hint: &Hint,
        broken: &RefCell<Option<RemoteError>>,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        if let Some(path) = self.here.get(&file.digest) {
            let opened = self.dir.open_file(Path::new(path.as_str())).map_err(io::Error::other)?;
            return patch::decode(opened, Encoding::Raw, out);
        }
        let hinted = hint.get(&file.digest).map(|stored| stored.encoding);
        let encodings = match hinted {
            Some(Encoding::Raw) => [Encoding::Raw, Encoding::Zstd],
            _ => [Encoding::Zstd, Encoding::Raw],
        };
        for encoding in encodings {
            let key = layout::blob(self.app, file.digest, encoding);
            let read = self.publisher.remote.read(&key, file.size.saturating_add(FRAME_LEN_MAX));
            match read {
                Ok(Some(bytes)) => return patch::decode(&bytes[..], encoding, out),
                Ok(None) => {}
                Err(error) => {
                    *broken.borrow_mut() = Some(error);
                    return Err(io::ErrorKind::ConnectionAborted.into());
                }
            }
        }
        Err(io::Error::new(io::ErrorKind::NotFound, format!("blob {} is not on the server", file.digest)))
    }
}
