//! `updraft internal make-patch`: the child's side.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use updraft_agent::ui::Exit;
use updraft_core::digest::Digest;
use updraft_core::layout::{self, Key};
use updraft_core::limits::TREE_LEN_MAX;
use updraft_core::name::AppName;
use updraft_core::tree::patch::nothing;
use updraft_core::tree::stored::{Encoding, unpack_by_digest};
use updraft_core::tree::{self, Tree};
use updraft_delta::Scratch;
use updraft_files::Dir;
use updraft_publisher::patch::{self, Room};

/// What to make.
#[derive(Debug, clap::Args)]
pub(crate) struct MakePatch {
    /// A directory with the objects at their keys
    #[arg(long)]
    root: PathBuf,
    /// The app
    #[arg(long)]
    app: AppName,
    /// The tree to make it from
    #[arg(long)]
    from: Digest,
    /// The tree that it makes
    #[arg(long)]
    to: Digest,
    /// How much memory this process may take, in bytes
    #[arg(long)]
    memory: u64,
}

/// Makes the patch, to standard output.
pub(crate) fn run(args: &MakePatch) -> anyhow::Result<Exit> {
    live_no_longer_than_the_server()?;
    step_back(args.memory)?;
    let (old, new) = (args.tree(args.from)?, args.tree(args.to)?);
    let mut scratch = |len| scratch_in(&args.root, len);
    let room = Room { memory: args.memory, scratch: &mut scratch };
    let patch = patch::make(&old, &new, &mut |file, out| args.content(file, out), room)?;
    let mut out = io::stdout().lock();
    out.write_all(&patch).and_then(|()| out.flush()).context("the patch cannot be written")?;
    Ok(Exit::Done)
}

/// What the store keeps of its disk: it has to take what is published meanwhile.
const KEPT_FREE: u64 = 1 << 30;

/// A file of no name for `len` bytes, if the disk of the store has room for it.
fn scratch_in(root: &Path, len: u64) -> io::Result<Box<dyn Scratch>> {
    let free = Dir::open(root).ok().and_then(|dir| dir.space()).map(|space| space.available);
    if let Some(free) = free.filter(|free| *free < len.saturating_add(KEPT_FREE)) {
        let reason = format!("it takes {len} bytes beside {KEPT_FREE} that are kept free, and {free} are free");
        return Err(io::Error::new(io::ErrorKind::StorageFull, reason));
    }
    Ok(Box::new(tempfile::tempfile_in(root)?))
}

/// Ends this process when its standard input ends.
fn live_no_longer_than_the_server() -> io::Result<()> {
    let watch = || {
        let mut byte = [0];
        while matches!(io::stdin().read(&mut byte), Ok(1..)) {}
        std::process::exit(1);
    };
    std::thread::Builder::new().name("lifeline".to_owned()).stack_size(64 << 10).spawn(watch).map(drop)
}

/// Takes what nobody else wants of the processor and the disk, no more memory than `memory`, and offers itself where the
/// system has to kill somebody.
#[cfg(unix)]
fn step_back(memory: u64) -> anyhow::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setpriority_process, setrlimit};

    // On Linux the priority for the disk follows, as long as nobody sets another.
    let _ = setpriority_process(None, 19);
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    let current = getrlimit(Resource::As).maximum.unwrap_or(u64::MAX).min(memory);
    setrlimit(Resource::As, Rlimit { current: Some(current), maximum: Some(current) })
        .context("the limit on memory cannot be set")?;
    // A crash is told of, and not kept.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    Ok(())
}

#[cfg(not(unix))]
fn step_back(_: u64) -> anyhow::Result<()> {
    Ok(())
}

impl MakePatch {
    fn path(&self, key: &Key) -> PathBuf {
        self.root.join(key.as_str())
    }

    fn tree(&self, digest: Digest) -> anyhow::Result<Tree> {
        if digest == nothing() {
            return Ok(Tree::default());
        }
        let path = self.path(&layout::tree(&self.app, digest));
        let mut packed = Vec::new();
        let read = File::open(&path).and_then(|file| file.take(TREE_LEN_MAX + 1).read_to_end(&mut packed));
        read.with_context(|| format!("tree {digest} cannot be read"))?;
        if packed.len() as u64 > TREE_LEN_MAX {
            bail!("tree {digest}: it is over the limit of {TREE_LEN_MAX} bytes");
        }
        Ok(unpack_by_digest(&packed, digest)?.0)
    }

    fn content(&self, file: &tree::File<'_>, out: &mut dyn Write) -> io::Result<()> {
        let open = |encoding| open(&self.path(&layout::blob(&self.app, file.digest, encoding)));
        if let Some(stored) = open(Encoding::Zstd)? {
            return patch::decode(stored, Encoding::Zstd, out);
        }
        match open(Encoding::Raw)? {
            Some(stored) => patch::decode(stored, Encoding::Raw, out),
            None => Err(io::Error::new(io::ErrorKind::NotFound, format!("blob {} is not on the server", file.digest))),
        }
    }
}

fn open(path: &Path) -> io::Result<Option<BufReader<File>>> {
    match File::open(path) {
        Ok(file) => Ok(Some(BufReader::new(file))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
