//! Instructions as streams, each compressed in the way that makes it smallest.

mod diff;
mod native;

use std::io::{self, Write};

use lzma_rust2::{EncodeMode, LzmaOptions, LzmaWriter, MfType};
use updraft_delta::limits::{DICT_LOG_MAX, DICTIONARIES_LEN_MAX, PIECE_LEN};
use updraft_delta::stream::{Coder, Kind, Lane, Stream};
use updraft_delta::words::Words;
use updraft_delta::{Group, Method, ReadAt, varint};

use diff::Differences;

use crate::file::File;
use crate::image::Image;
use crate::matcher::Copy;

/// Literal context bits, literal position bits and position bits that are tried: for most code and text, for operands and
/// numbers, for tables of words of four bytes, and for what lies at random.
const SHAPES: [(u32, u32, u32); 4] = [(4, 0, 0), (0, 0, 2), (2, 0, 2), (2, 2, 2)];

/// A stream that is longer than this is compressed in the way that is best for so many of its first bytes.
const SAMPLE_LEN: usize = 32 << 20;

/// Groups of outputs as streams that are not compressed.
#[derive(Debug)]
pub(crate) struct Plain {
    /// The group of each output.
    pub(crate) group_of: Vec<usize>,
    groups: Vec<PlainGroup>,
    /// How many bytes the streams may have together.
    max: usize,
}

/// Why an output cannot be added.
#[derive(Debug)]
pub(crate) enum Failed {
    /// A file cannot be read.
    Read(io::Error),
    /// There is no room for its streams.
    Full,
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Read(error)
    }
}

/// Streams that are not compressed.
#[derive(Debug, Default)]
struct PlainGroup {
    method: Method,
    /// Where the last copy ended in the old image.
    at: usize,
    words: Option<Box<Words>>,
    insert_len: Vec<u8>,
    copy_len: Vec<u8>,
    seek: Vec<u8>,
    layout: Vec<u8>,
    references: native::References,
    lanes: [PlainLane; Lane::ALL.len()],
}

/// The bytes of a lane: new ones, and what is added to copied ones.
#[derive(Debug, Default)]
struct PlainLane {
    insert: Vec<u8>,
    diff: Differences,
}

/// Streams as they lie in a patch.
pub(crate) struct Encoded {
    pub(crate) groups: Vec<Group>,
    pub(crate) bytes: Vec<u8>,
}

/// About how many bytes the patch of `new` alone would take, if it is no executable. Copies may go over the borders of old files.
pub(crate) fn estimate(old: &Image<'_>, new: &File<'_>, copies: &[Copy]) -> usize {
    let parts: Vec<Copy> = copies.iter().flat_map(|copy| old.split(*copy)).map(|(_, part)| part).collect();
    let mut group = PlainGroup::default();
    group.instructions(new.image().len(), &parts);
    group.differences(old, new.image(), &parts);
    let [PlainLane { insert, diff }, ..] = &group.lanes;
    let all = [&group.insert_len, &group.copy_len, &group.seek, insert, &diff.gaps, &diff.bytes];
    all.into_iter().map(|plain| lzma(plain, &quick(plain.len())).1.len().min(plain.len())).sum()
}

impl Plain {
    /// Nothing yet, with room for streams of `max` bytes.
    pub(crate) fn new(max: usize) -> Self {
        Self { group_of: Vec::new(), groups: Vec::new(), max }
    }

    /// Whether the streams have no more bytes than they may.
    pub(crate) fn fits(&self) -> bool {
        self.groups.iter().map(PlainGroup::taken).sum::<usize>() <= self.max
    }

    /// Adds an output: what `copies` of it and the rest come to. `bases` are those that it may be predicted from, with their places
    /// in `old`.
    pub(crate) fn add(&mut self, bases: &[(usize, &File<'_>)], old: &Image<'_>, new: &File<'_>, copies: &[Copy]) {
        let layouts = native::layouts(bases, old, new, copies);
        let method = match layouts.as_slice() {
            [_, ..] => Method::Native,
            [] if new.is_text() => Method::Words,
            [] => Method::Same,
        };
        let group = self.group(method);
        group.instructions(new.image().len(), copies);
        match method {
            Method::Native => group.rebuilt(old, &layouts, new.image(), copies),
            Method::Words | Method::Same => group.differences(old, new.image(), copies),
        }
    }

    /// Adds an output that is too large for memory, as other than an executable or text.
    ///
    /// # Errors
    /// When a file cannot be read, or there is no room.
    pub(crate) fn add_large(&mut self, old: &dyn ReadAt, new: &dyn ReadAt, copies: &[Copy]) -> Result<(), Failed> {
        let len = usize::try_from(new.size()?).map_err(io::Error::other)?;
        let max = self.max;
        let group = self.group(Method::Same);
        group.instructions(len, copies);
        let inserted = len - copies.iter().map(|copy| copy.len).sum::<usize>();
        let room = max.checked_sub(group.taken() + inserted).ok_or(Failed::Full)?;
        let [lane, ..] = &mut group.lanes;
        let full = lane.diff.taken() + room;
        let (mut from, mut to) = (vec![0; PIECE_LEN], vec![0; PIECE_LEN]);
        let mut done = 0;
        for copy in copies.iter().copied().chain([Copy { new: len, old: 0, len: 0 }]) {
            let start = lane.insert.len();
            lane.insert.resize(start + copy.new - done, 0);
            new.read_exact_at(&mut lane.insert[start..], done as u64)?;
            done = copy.new + copy.len;
            for at in (0..copy.len).step_by(PIECE_LEN) {
                let len = PIECE_LEN.min(copy.len - at);
                let (from, to) = (&mut from[..len], &mut to[..len]);
                old.read_exact_at(from, (copy.old + at) as u64)?;
                new.read_exact_at(to, (copy.new + at) as u64)?;
                lane.diff.add(from, to);
                if lane.diff.taken() > full {
                    return Err(Failed::Full);
                }
            }
        }
        Ok(())
    }

    /// The group with this method, which is made if there is none, for one more output.
    fn group(&mut self, method: Method) -> &mut PlainGroup {
        let known = self.groups.iter().position(|group| group.method == method);
        let number = known.unwrap_or_else(|| {
            self.groups.push(PlainGroup { method, ..PlainGroup::default() });
            self.groups.len() - 1
        });
        self.group_of.push(number);
        &mut self.groups[number]
    }

    /// The streams, as small as they get.
    pub(crate) fn encode(&self) -> Encoded {
        let mut encoded = Encoded { groups: Vec::new(), bytes: Vec::new() };
        for group in &self.groups {
            let parts = group.encode(self.max);
            encoded.bytes.extend(parts.iter().flat_map(|part| &part.bytes));
            let streams = parts.into_iter().map(|part| part.stream).collect();
            encoded.groups.push(Group { method: group.method, streams });
        }
        encoded
    }
}

impl PlainGroup {
    fn instructions(&mut self, new_len: usize, copies: &[Copy]) {
        let mut done = 0;
        for copy in copies {
            varint::write(&mut self.insert_len, (copy.new - done) as u64);
            varint::write(&mut self.copy_len, copy.len as u64);
            varint::write(&mut self.seek, varint::zigzag(copy.old as i64 - self.at as i64));
            done = copy.new + copy.len;
            self.at = copy.old + copy.len;
        }
        if done < new_len {
            varint::write(&mut self.insert_len, (new_len - done) as u64);
            varint::write(&mut self.copy_len, 0);
        }
    }

    /// New bytes, and what is added to copied ones.
    fn differences(&mut self, old: &Image<'_>, new: &[u8], copies: &[Copy]) {
        let [lane, ..] = &mut self.lanes;
        let mut done = 0;
        for copy in copies {
            lane.insert.extend_from_slice(&new[done..copy.new]);
            done = copy.new + copy.len;
            let (from, to) = (old.bytes(copy.old, copy.len), &new[copy.new..done]);
            match self.method {
                Method::Words => lane.diff.add_words(from, to, self.words.get_or_insert_default()),
                Method::Same | Method::Native => lane.diff.add(from, to),
            }
        }
        lane.insert.extend_from_slice(&new[done..]);
    }

    /// How many bytes the streams have that may have many.
    fn taken(&self) -> usize {
        let instructions = self.insert_len.len() + self.copy_len.len() + self.seek.len();
        instructions + self.lanes.iter().map(|lane| lane.insert.len() + lane.diff.taken()).sum::<usize>()
    }

    /// The streams, with dictionaries that fit into memory together. None is tried that has more than `max` bytes.
    fn encode(&self, max: usize) -> Vec<Part> {
        let fit =
            |parts: &[Part]| parts.iter().map(|part| part.stream.dictionary_len()).sum::<u64>() <= DICTIONARIES_LEN_MAX;
        let mut dict_log = DICT_LOG_MAX;
        loop {
            let parts = self.encode_with(dict_log, max);
            if fit(&parts) {
                return parts;
            }
            dict_log -= 1;
        }
    }

    fn encode_with(&self, dict_log_max: u8, max: usize) -> Vec<Part> {
        let compress = |kind: Kind, plain: &[u8]| compress(kind, plain, dict_log_max);
        let native::References { calls, jumps, addresses, steps, gaps, diffs, .. } = &self.references;
        let mut parts = vec![
            compress(Kind::InsertLen, &self.insert_len),
            compress(Kind::CopyLen, &self.copy_len),
            compress(Kind::Seek, &self.seek),
            compress(Kind::Layout, &self.layout),
            compress(Kind::ReferenceGap, gaps),
            compress(Kind::ReferenceDiff, diffs),
            compress(Kind::Call, calls),
            compress(Kind::Jump, jumps),
            compress(Kind::Address, addresses),
            compress(Kind::Step, steps),
        ];
        for (lane, plain) in Lane::ALL.into_iter().zip(&self.lanes) {
            parts.push(compress(Kind::Insert(lane), &plain.insert));
            parts.extend(compress_differences(lane, &plain.diff, dict_log_max, max));
        }
        parts.retain(|part| part.stream.len > 0);
        parts
    }
}

/// `plain` in the way that is smallest.
pub(crate) fn smallest(plain: &[u8]) -> (Coder, Vec<u8>) {
    let Part { stream, bytes } = compress(Kind::Layout, plain, DICT_LOG_MAX);
    (stream.coder, bytes)
}

struct Part {
    stream: Stream,
    bytes: Vec<u8>,
}

fn compress_differences(lane: Lane, diff: &Differences, dict_log_max: u8, max: usize) -> Vec<Part> {
    let compress = |kind: Kind, plain: &[u8]| compress(kind, plain, dict_log_max);
    let sparse = vec![compress(Kind::DiffGap(lane), &diff.gaps), compress(Kind::DiffByte(lane), &diff.bytes)];
    let Some(dense) = diff.dense(max) else { return sparse };
    let dense = compress(Kind::Diff(lane), &dense);
    let len: usize = sparse.iter().map(|part| part.bytes.len()).sum();
    if dense.bytes.len() < len { vec![dense] } else { sparse }
}

fn compress(kind: Kind, plain: &[u8], dict_log_max: u8) -> Part {
    let part = |coder, len: usize, bytes: Vec<u8>| Part {
        stream: Stream { kind, coder, len: len as u64, coded: bytes.len() as u64 },
        bytes,
    };
    let tried = |plain: &[u8], shape| {
        let (coder, bytes) = lzma(plain, &thorough(dict_log(plain.len()).min(dict_log_max), shape));
        part(coder, plain.len(), bytes)
    };
    let shapes = match plain.len() {
        0 => vec![],
        1..=SAMPLE_LEN => SHAPES.to_vec(),
        _ => {
            SHAPES.into_iter().min_by_key(|shape| tried(&plain[..SAMPLE_LEN], *shape).bytes.len()).into_iter().collect()
        }
    };
    // One at a time is in memory beside the best.
    let smaller = |best: Option<Part>, shape| {
        let part = tried(plain, shape);
        Some(best.filter(|best| best.bytes.len() <= part.bytes.len()).unwrap_or(part))
    };
    let best = shapes.into_iter().fold(None, smaller).filter(|best| best.bytes.len() < plain.len());
    best.unwrap_or_else(|| part(Coder::Raw, plain.len(), plain.to_vec()))
}

fn thorough(dict_log: u8, (lc, lp, pb): (u32, u32, u32)) -> LzmaOptions {
    LzmaOptions {
        dict_size: 1 << dict_log,
        lc,
        lp,
        pb,
        mode: EncodeMode::Normal,
        nice_len: 273,
        mf: MfType::Bt4,
        depth_limit: 0,
        preset_dict: None,
    }
}

/// Some percent larger, and ten times as fast.
fn quick(len: usize) -> LzmaOptions {
    LzmaOptions {
        mode: EncodeMode::Fast,
        nice_len: 64,
        mf: MfType::Hc4,
        depth_limit: 16,
        ..thorough(dict_log(len), SHAPES[0])
    }
}

fn dict_log(len: usize) -> u8 {
    len.next_power_of_two().trailing_zeros().clamp(12, DICT_LOG_MAX.into()) as u8
}

fn lzma(plain: &[u8], options: &LzmaOptions) -> (Coder, Vec<u8>) {
    const CANNOT_FAIL: &str = "memory can be written";
    let mut writer = LzmaWriter::new_no_header(Vec::new(), options, false).expect(CANNOT_FAIL);
    writer.write_all(plain).expect(CANNOT_FAIL);
    let dict_log = options.dict_size.trailing_zeros() as u8;
    let coder = Coder::Lzma { props: writer.props(), dict_log };
    (coder, writer.finish().expect(CANNOT_FAIL))
}
