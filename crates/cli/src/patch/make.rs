//! `patch make OLD NEW -o PATCH`.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use serde::Serialize;
use updraft_agent::ui::{Exit, saving, say, say_json, size};
use updraft_differ::{IMAGE_LEN_MAX, Options, make};

use super::must_be_free;
use super::side::{Content, Side};

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

pub(super) fn run(old: &Path, new: &Path, output: &Path, json: bool) -> anyhow::Result<Exit> {
    must_be_free(output)?;
    let (old, new) = (must_fit(old)?, must_fit(new)?);
    let options = Options { from: *old.digest().as_bytes(), to: *new.digest().as_bytes(), ..Options::default() };
    let outputs = read(new.outputs(&old)?)?;
    let bases = read(old.bases())?;
    let old_files: Vec<&[u8]> = bases.iter().map(Vec::as_slice).collect();
    let new_files: Vec<&[u8]> = outputs.iter().map(Vec::as_slice).collect();
    let made = make(&old_files, &new_files, &options)?;
    fs::write(output, &made.patch).with_context(|| output.display().to_string())?;
    let report = Report {
        patch: made.patch.len() as u64,
        makes: new_files.iter().map(|file| file.len() as u64).sum(),
        bases: made.bases.len(),
        outputs: new_files.len(),
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
            old_files.len()
        ));
    }
    Ok(Exit::Done)
}

/// Reads one side, unless it is more than a patch can hold.
fn must_fit(path: &Path) -> anyhow::Result<Side> {
    let side = Side::read(path)?;
    let found = side.size()?;
    if found > IMAGE_LEN_MAX as u64 {
        bail!(
            "{}: has {}; one patch holds {} at most: make one for each part",
            path.display(),
            size(found),
            size(IMAGE_LEN_MAX as u64)
        );
    }
    Ok(side)
}

fn read(contents: Vec<Content>) -> anyhow::Result<Vec<Vec<u8>>> {
    contents.into_iter().map(Content::bytes).collect()
}
