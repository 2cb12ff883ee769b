//! `patch explain PATCH`: where its bytes go.

use std::path::Path;

use anyhow::Context;
use serde::Serialize;
use updraft_agent::ui::{Exit, say, say_json};
use updraft_core::digest::Digest;
use updraft_delta::stream::{Coder, Stream};
use updraft_delta::{Group, Header, Method, Patch, ReadAt, Survey};

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
    groups: Vec<GroupReport>,
    outputs: Vec<OutputReport>,
}

#[derive(Serialize)]
struct BaseReport {
    number: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct GroupReport {
    predicted: &'static str,
    streams: Vec<StreamReport>,
}

#[derive(Serialize)]
struct StreamReport {
    holds: String,
    coder: &'static str,
    bytes: u64,
    coded: u64,
}

#[derive(Serialize)]
struct OutputReport {
    number: usize,
    group: usize,
    bytes: u64,
    instructions: u64,
    inserted: u64,
    copied: u64,
    /// Copied bytes that are not as predicted; not known of executables.
    differing: Option<u64>,
    /// Its share of the coded streams of its group, which are not divided by outputs: by how much each uses of them.
    about: u64,
}

pub(super) fn run(path: &Path, json: bool) -> anyhow::Result<Exit> {
    let file = open(path)?;
    let named = || path.display().to_string();
    let patch = Patch::open(&file).with_context(named)?;
    let report = Report::new(patch.header(), file.size()?, &patch.survey().with_context(named)?);
    if json {
        say_json(&report)?;
    } else {
        report.say();
    }
    Ok(Exit::Done)
}

impl Report {
    fn new(header: &Header, total: u64, surveys: &[Survey]) -> Self {
        let coded = header.coded_len();
        let front = total - coded;
        let shares: Vec<Shares> = (0..header.groups.len()).map(|group| Shares::new(header, surveys, group)).collect();
        let outputs = header.outputs.iter().zip(surveys).enumerate().map(|(number, (output, survey))| OutputReport {
            number,
            group: output.group,
            bytes: output.len,
            instructions: survey.instructions,
            inserted: survey.inserted,
            copied: survey.copied,
            differing: survey.differing,
            about: shares[output.group].of(survey),
        });
        let group = |group: &Group| GroupReport {
            predicted: group.method.name(),
            streams: group.streams.iter().map(stream_report).collect(),
        };
        Self {
            from: Digest::from_bytes(header.from),
            to: Digest::from_bytes(header.to),
            bytes: total,
            header: front,
            bases: header.bases.iter().map(|base| BaseReport { number: base.index, bytes: base.len }).collect(),
            groups: header.groups.iter().map(group).collect(),
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
        for (number, group) in self.groups.iter().enumerate() {
            say(format_args!("group {number}, predicted: {}", group.predicted));
            for StreamReport { holds, coder, bytes, coded } in &group.streams {
                say(format_args!("  {holds:26}{bytes:>12}{coded:>12}  {coder}"));
            }
        }
        say(format_args!("{:28}{:>12}{:>12}\n", "together", "", self.bytes));
        say(format_args!(
            "{:8}{:>6}{:>12}{:>12}{:>14}{:>12}{:>12}{:>12}",
            "output", "group", "bytes", "in patch", "instructions", "inserted", "copied", "differing"
        ));
        let mut outputs: Vec<&OutputReport> = self.outputs.iter().collect();
        outputs.sort_by_key(|output| std::cmp::Reverse(output.about));
        for output in outputs.iter().take(SHOWN_MAX) {
            let OutputReport { number, group, bytes, instructions, inserted, copied, differing, about } = output;
            let differing = differing.map_or_else(|| "-".to_owned(), |differing| differing.to_string());
            say(format_args!(
                "{number:<8}{group:>6}{bytes:>12}{about:>12}{instructions:>14}{inserted:>12}{copied:>12}{differing:>12}"
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
    /// A byte that is not as predicted; where that is not known, a copied byte.
    differing: f64,
    is_native: bool,
}

impl Shares {
    fn new(header: &Header, surveys: &[Survey], group: usize) -> Self {
        use updraft_delta::stream::Kind::{CopyLen, Insert, InsertLen, Seek};
        let streams = &header.groups[group].streams;
        let coded = |is_meant: &dyn Fn(&Stream) -> bool| -> u64 {
            streams.iter().filter(|stream| is_meant(stream)).map(|stream| stream.coded).sum()
        };
        let per = |is_meant: &dyn Fn(&Stream) -> bool, count: fn(&Survey) -> u64| {
            let own = header.outputs.iter().zip(surveys).filter(|(output, _)| output.group == group);
            let count: u64 = own.map(|(_, survey)| count(survey)).sum();
            coded(is_meant) as f64 / count.max(1) as f64
        };
        let is_instruction = |stream: &Stream| [InsertLen, CopyLen, Seek].contains(&stream.kind);
        let is_insert = |stream: &Stream| matches!(stream.kind, Insert(_));
        let is_native = header.groups[group].method == Method::Native;
        Self {
            instruction: per(&is_instruction, |survey| survey.instructions),
            inserted: per(&is_insert, |survey| survey.inserted),
            differing: per(
                &|stream| !is_instruction(stream) && !is_insert(stream),
                if is_native { |survey| survey.copied } else { |survey| survey.differing.unwrap_or_default() },
            ),
            is_native,
        }
    }

    fn of(&self, survey: &Survey) -> u64 {
        let parts = [
            self.instruction * survey.instructions as f64,
            self.inserted * survey.inserted as f64,
            self.differing * if self.is_native { survey.copied } else { survey.differing.unwrap_or_default() } as f64,
        ];
        parts.iter().sum::<f64>().round() as u64
    }
}
