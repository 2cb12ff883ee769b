//! `patch explain PATCH`: where its bytes go.

use std::path::Path;

use anyhow::Context;
use serde::Serialize;
use updraft_agent::ui::{Exit, say, say_json};
use updraft_core::digest::Digest;
use updraft_delta::stream::{Coder, Stream};
use updraft_delta::{Header, Patch, Prediction, Survey};

use super::open;

/// Most outputs that a person is shown.
const SHOWN_MAX: usize = 20;

#[derive(Serialize)]
struct Report {
    from: Digest,
    to: Digest,
    /// Bytes of the whole patch.
    bytes: u64,
    /// Bytes in front of the streams.
    header: u64,
    bases: Vec<BaseReport>,
    streams: Vec<StreamReport>,
    outputs: Vec<OutputReport>,
}

#[derive(Serialize)]
struct BaseReport {
    number: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct StreamReport {
    holds: &'static str,
    coder: &'static str,
    bytes: u64,
    coded: u64,
}

#[derive(Serialize)]
struct OutputReport {
    number: usize,
    bytes: u64,
    predicted: &'static str,
    instructions: u64,
    inserted: u64,
    copied: u64,
    differing: u64,
    /// Its share of the coded streams, which are not divided by outputs: by how much each uses of them.
    about: u64,
}

pub(super) fn run(path: &Path, json: bool) -> anyhow::Result<Exit> {
    let file = open(path)?;
    let named = || path.display().to_string();
    let patch = Patch::open(&file).with_context(named)?;
    let report = Report::new(patch.header(), &patch.survey().with_context(named)?);
    if json {
        say_json(&report)?;
    } else {
        report.say();
    }
    Ok(Exit::Done)
}

impl Report {
    fn new(header: &Header, surveys: &[Survey]) -> Self {
        let coded: u64 = header.streams.iter().map(|stream| stream.coded).sum();
        let front = header.encode().len() as u64;
        let shares = Shares::new(header, surveys);
        let outputs = header.outputs.iter().zip(surveys).enumerate().map(|(number, (output, survey))| OutputReport {
            number,
            bytes: output.len,
            predicted: match output.prediction {
                Prediction::Same => "same",
                Prediction::Words => "words",
            },
            instructions: survey.instructions,
            inserted: survey.inserted,
            copied: survey.copied,
            differing: survey.differing,
            about: shares.of(survey),
        });
        Self {
            from: Digest::from_bytes(header.from),
            to: Digest::from_bytes(header.to),
            bytes: front + coded,
            header: front,
            bases: header.bases.iter().map(|base| BaseReport { number: base.index, bytes: base.len }).collect(),
            streams: header.streams.iter().map(stream_report).collect(),
            outputs: outputs.collect(),
        }
    }

    fn say(&self) {
        say(format_args!("from {}\nto   {}", self.from, self.to));
        let old: u64 = self.bases.iter().map(|base| base.bytes).sum();
        let new: u64 = self.outputs.iter().map(|output| output.bytes).sum();
        let (bases, outputs) = (self.bases.len(), self.outputs.len());
        say(format_args!("reads {bases} old files ({old} bytes), makes {outputs} ({new} bytes)\n"));
        say(format_args!("{:28}{:>12}{:>12}  coder", "stream", "bytes", "in patch"));
        say(format_args!("{:28}{:>12}{:>12}", "header", self.header, self.header));
        for StreamReport { holds, coder, bytes, coded } in &self.streams {
            say(format_args!("{holds:28}{bytes:>12}{coded:>12}  {coder}"));
        }
        say(format_args!("{:28}{:>12}{:>12}\n", "together", "", self.bytes));
        say(format_args!(
            "{:8}{:>12}{:>12}{:>14}{:>12}{:>12}{:>12}  predicted",
            "output", "bytes", "in patch", "instructions", "inserted", "copied", "differing"
        ));
        let mut outputs: Vec<&OutputReport> = self.outputs.iter().collect();
        outputs.sort_by_key(|output| std::cmp::Reverse(output.about));
        for output in outputs.iter().take(SHOWN_MAX) {
            let OutputReport { number, bytes, predicted, instructions, inserted, copied, differing, about } = output;
            say(format_args!(
                "{number:<8}{bytes:>12}{about:>12}{instructions:>14}{inserted:>12}{copied:>12}{differing:>12}  {predicted}"
            ));
        }
        if outputs.len() > SHOWN_MAX {
            say(format_args!("... and {} smaller ones; --json lists them all", outputs.len() - SHOWN_MAX));
        }
    }
}

fn stream_report(stream: &Stream) -> StreamReport {
    let coder = match stream.coder {
        Coder::Raw => "raw",
        Coder::Lzma { .. } => "lzma",
    };
    StreamReport { holds: stream.kind.name(), coder, bytes: stream.len, coded: stream.coded }
}

/// What one of each thing costs in this patch, on average.
struct Shares {
    instruction: f64,
    inserted: f64,
    differing: f64,
}

impl Shares {
    fn new(header: &Header, surveys: &[Survey]) -> Self {
        use updraft_delta::stream::Kind::{CopyLen, Diff, DiffByte, DiffGap, Insert, InsertLen, Seek};
        let coded = |kinds: &[_]| -> u64 {
            header.streams.iter().filter(|stream| kinds.contains(&stream.kind)).map(|stream| stream.coded).sum()
        };
        let per = |kinds: &[_], count: fn(&Survey) -> u64| {
            let count: u64 = surveys.iter().map(count).sum();
            coded(kinds) as f64 / count.max(1) as f64
        };
        Self {
            instruction: per(&[InsertLen, CopyLen, Seek], |survey| survey.instructions),
            inserted: per(&[Insert], |survey| survey.inserted),
            differing: per(&[Diff, DiffGap, DiffByte], |survey| survey.differing),
        }
    }

    fn of(&self, survey: &Survey) -> u64 {
        let parts = [
            self.instruction * survey.instructions as f64,
            self.inserted * survey.inserted as f64,
            self.differing * survey.differing as f64,
        ];
        parts.iter().sum::<f64>().round() as u64
    }
}
