//! `patch make OLD NEW -o PATCH`.

use std::fs;
use std::path::Path;

use anyhow::Context;
use serde::Serialize;
use updraft_agent::ui::{Exit, saving, say, say_json};
use updraft_delta::ReadAt;
use updraft_differ::{Made, Options, fits, make, make_in_parts};
use updraft_server::config::Amount;

use super::must_be_free;
use super::side::{Content, Side};
use crate::workshop::memory_max;

#[derive(Serialize)]
struct Report {
    /// Bytes of the patch.
    patch: u64,
    /// Bytes of everything that it makes.
    makes: u64,
    /// How many old files it reads.
    bases: usize,
    /// How many files it makes.
    outputs: usize,
}

pub(super) fn run(old: &Path, new: &Path, output: &Path, memory: Option<Amount>, json: bool) -> anyhow::Result<Exit> {
    must_be_free(output)?;
    let (old, new) = (Side::read(old)?, Side::read(new)?);
    let memory = memory.map_or_else(memory_max, |Amount(bytes)| bytes);
    let options = Options { from: *old.digest().as_bytes(), to: *new.digest().as_bytes(), memory };
    let (bases, outputs) = (old.bases(), new.outputs(&old)?);
    let made = made(&bases, &outputs, &options)?;
    fs::write(output, &made.patch).with_context(|| output.display().to_string())?;
    let report = Report {
        patch: made.patch.len() as u64,
        makes: len(&outputs),
        bases: made.bases.len(),
        outputs: outputs.len(),
    };
    if json {
        say_json(&report)?;
    } else {
        say(format_args!(
            "{}: {} ({} bytes), reads {} of {} old files",
            output.display(),
            saving(report.patch, report.makes),
            report.patch,
            report.bases,
            bases.len()
        ));
    }
    Ok(Exit::Done)
}

/// The patch: made at once where all files fit into memory together, else in parts.
fn made(bases: &[Content], outputs: &[Content], options: &Options) -> anyhow::Result<Made> {
    if fits(options.memory, len(bases), len(outputs)) {
        let read = |contents: &[Content]| contents.iter().map(Content::bytes).collect::<anyhow::Result<Vec<_>>>();
        let (bases, outputs) = (read(bases)?, read(outputs)?);
        let bases: Vec<&[u8]> = bases.iter().map(Vec::as_slice).collect();
        let outputs: Vec<&[u8]> = outputs.iter().map(Vec::as_slice).collect();
        return Ok(make(&bases, &outputs, options)?);
    }
    let readers = |contents| Iterator::collect::<Vec<&dyn ReadAt>>(<[Content]>::iter(contents).map(|file| file as _));
    let made = make_in_parts(&readers(bases), &readers(outputs), options)?;
    // What was read in parts may have changed between them.
    bases.iter().chain(outputs).try_for_each(Content::must_be_the_same)?;
    Ok(made)
}

fn len(contents: &[Content]) -> u64 {
    contents.iter().map(Content::len).sum()
}
