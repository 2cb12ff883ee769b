//! `updraft patch`: a patch between two files or two directories, made, applied and explained by hand; and those of a server.
//!
//! Between directories it is the patch that a server would make of two releases: unchanged and moved files cost nothing.
//! Between files it is the same thing with one base and one output.

mod apply;
mod bases;
mod explain;
mod make;
mod served;
mod side;
mod spool;

use std::fs::File;
use std::path::Path;

use anyhow::{Context, bail};
use updraft_agent::ui::Exit;

use crate::args::Patch;
pub(crate) use served::Side;
use served::Then;

pub(crate) fn run(command: &Patch) -> anyhow::Result<Exit> {
    match command {
        Patch::Make { old, new, output, memory, json } => make::run(old, new, output, *memory, *json),
        Patch::Apply { old, patch, output } => apply::run(old, patch, output),
        Patch::Explain { patch, json } => explain::run(patch, *json),
        Patch::List { app, server, json } => served::list(app, server, *json),
        Patch::Remove(pair) => served::take_away(pair, Then::StaysAway),
        Patch::Retry(pair) => served::take_away(pair, Then::IsMadeAnew),
    }
}

/// The patch in a file.
fn open(path: &Path) -> anyhow::Result<File> {
    File::open(path).with_context(|| path.display().to_string())
}

/// Refuses to write where something is.
fn must_be_free(path: &Path) -> anyhow::Result<()> {
    if path.symlink_metadata().is_ok() {
        bail!("{}: is there already; name another output, or remove it", path.display());
    }
    Ok(())
}
