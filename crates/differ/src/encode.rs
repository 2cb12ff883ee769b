//! Instructions as streams, each compressed in the way that makes it smallest.

mod native;

use std::io::Write;

use lzma_rust2::{EncodeMode, LzmaOptions, LzmaWriter, MfType};
use updraft_delta::limits::{DICT_LOG_MAX, DICTIONARIES_LEN_MAX};
use updraft_delta::stream::{Coder, Kind, Lane, Stream};
use updraft_delta::words::{self, Words};
use updraft_delta::{Group, Method, varint};

use crate::file::File;
use crate::image::Image;
use crate::matcher::Copy;

/// Literal context bits, literal position bits and position bits that are tried: for most code and text, for operands and
/// numbers, for tables of words of four bytes, and for what lies at random.
const SHAPES: [(u32, u32, u32); 4] = [(4, 0, 0), (0, 0, 2), (2, 0, 2), (2, 2, 2)];

/// Differences are tried one by one, zeros included, where at least one in so many is none.
const DENSE_FROM: usize = 10;

/// Groups of outputs as streams that are not compressed.
#[derive(Debug, Default)]
pub(crate) struct Plain {
    /// The group of each output.
    pub(crate) group_of: Vec<usize>,
    groups: Vec<PlainGroup>,
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
    diff: Vec<u8>,
}

/// Streams as they lie in a patch.
pub(crate) struct Encoded {
    pub(crate) groups: Vec<Group>,
    pub(crate) bytes: Vec<u8>,
}

/// What `copies` of each of `news` and the rest of them come to. The old image is `bases`.
pub(crate) fn plain(bases: &[&File<'_>], news: &[File<'_>], copies: &[Vec<Copy>]) -> Plain {
    let old = Image::new(bases.iter().map(|file| file.image()).collect());
    let mut plain = Plain::default();
    for (new, copies) in news.iter().zip(copies) {
        let layouts = native::layouts(bases, &old, new, copies);
        let method = match layouts.as_slice() {
            [_, ..] => Method::Native,
            [] if new.is_text() => Method::Words,
            [] => Method::Same,
        };
        let group = plain.group(method);
        plain.group_of.push(group);
        let group = &mut plain.groups[group];
        group.instructions(new.image(), copies);
        match method {
            Method::Native => group.rebuilt(&old, &layouts, new.image(), copies),
            Method::Words | Method::Same => group.differences(&old, new.image(), copies),
        }
    }
    plain
}

/// About how many bytes the patch of `new` alone would take, if it is no executable. Copies may go over the borders of old files.
pub(crate) fn estimate(old: &Image<'_>, new: &File<'_>, copies: &[Copy]) -> usize {
    let parts: Vec<Copy> = copies.iter().flat_map(|copy| old.split(*copy)).map(|(_, part)| part).collect();
    let mut group = PlainGroup::default();
    group.instructions(new.image(), &parts);
    group.differences(old, new.image(), &parts);
    let [lane, ..] = &group.lanes;
    let (gaps, bytes) = sparse(&lane.diff);
    let all = [&group.insert_len, &group.copy_len, &group.seek, &lane.insert, &gaps, &bytes];
    all.into_iter().map(|plain| lzma(plain, &quick(plain.len())).1.len().min(plain.len())).sum()
}

impl Plain {
    /// The number of the group with this method, which is made if there is none.
    fn group(&mut self, method: Method) -> usize {
        let known = self.groups.iter().position(|group| group.method == method);
        known.unwrap_or_else(|| {
            self.groups.push(PlainGroup { method, ..PlainGroup::default() });
            self.groups.len() - 1
        })
    }

    /// The streams, as small as they get.
    pub(crate) fn encode(&self) -> Encoded {
        let mut encoded = Encoded { groups: Vec::new(), bytes: Vec::new() };
        for group in &self.groups {
            let parts = group.encode();
            encoded.bytes.extend(parts.iter().flat_map(|part| &part.bytes));
            let streams = parts.into_iter().map(|part| part.stream).collect();
            encoded.groups.push(Group { method: group.method, streams });
        }
        encoded
    }
}

impl PlainGroup {
    fn instructions(&mut self, new: &[u8], copies: &[Copy]) {
        let mut done = 0;
        for copy in copies {
            varint::write(&mut self.insert_len, (copy.new - done) as u64);
            varint::write(&mut self.copy_len, copy.len as u64);
            varint::write(&mut self.seek, varint::zigzag(copy.old as i64 - self.at as i64));
            done = copy.new + copy.len;
            self.at = copy.old + copy.len;
        }
        if done < new.len() {
            varint::write(&mut self.insert_len, (new.len() - done) as u64);
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
                Method::Words => word_differences(from, to, self.words.get_or_insert_default(), &mut lane.diff),
                Method::Same | Method::Native => lane.diff.extend(difference(from, to)),
            }
        }
        lane.insert.extend_from_slice(&new[done..]);
    }

    /// The streams, with dictionaries that fit into memory together.
    fn encode(&self) -> Vec<Part> {
        let fit =
            |parts: &[Part]| parts.iter().map(|part| part.stream.dictionary_len()).sum::<u64>() <= DICTIONARIES_LEN_MAX;
        let mut dict_log = DICT_LOG_MAX;
        loop {
            let parts = self.encode_with(dict_log);
            if fit(&parts) {
                return parts;
            }
            dict_log -= 1;
        }
    }

    fn encode_with(&self, dict_log_max: u8) -> Vec<Part> {
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
            parts.extend(compress_differences(lane, &plain.diff, dict_log_max));
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

fn difference(from: &[u8], to: &[u8]) -> impl Iterator<Item = u8> {
    to.iter().zip(from).map(|(to, from)| to.wrapping_sub(*from))
}

/// What is added to a copy that is predicted word by word.
fn word_differences(old: &[u8], new: &[u8], words: &mut Words, out: &mut Vec<u8>) {
    let mut at = 0;
    while at < old.len() {
        let len = words::next_len(&old[at..]);
        let (from, to) = (&old[at..at + len], &new[at..at + len]);
        if words::is_word(from[0]) {
            out.extend(difference(words.predicted(from), to));
            words.learn(from, to);
        } else {
            out.extend(difference(from, to));
        }
        at += len;
    }
}

/// Differences as the gaps between them, and as themselves.
fn sparse(diff: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (mut gaps, mut bytes, mut gap) = (Vec::new(), Vec::new(), 0);
    for byte in diff {
        if *byte == 0 {
            gap += 1;
        } else {
            varint::write(&mut gaps, gap);
            bytes.push(*byte);
            gap = 0;
        }
    }
    (gaps, bytes)
}

struct Part {
    stream: Stream,
    bytes: Vec<u8>,
}

fn compress_differences(lane: Lane, diff: &[u8], dict_log_max: u8) -> Vec<Part> {
    let compress = |kind: Kind, plain: &[u8]| compress(kind, plain, dict_log_max);
    let (gaps, bytes) = sparse(diff);
    let sparse = vec![compress(Kind::DiffGap(lane), &gaps), compress(Kind::DiffByte(lane), &bytes)];
    if bytes.len() < diff.len() / DENSE_FROM || bytes.is_empty() {
        return sparse;
    }
    let dense = compress(Kind::Diff(lane), diff);
    let len: usize = sparse.iter().map(|part| part.bytes.len()).sum();
    if dense.bytes.len() < len { vec![dense] } else { sparse }
}

fn compress(kind: Kind, plain: &[u8], dict_log_max: u8) -> Part {
    let len = plain.len() as u64;
    let part = |coder, bytes: Vec<u8>| Part { stream: Stream { kind, coder, len, coded: bytes.len() as u64 }, bytes };
    let mut best = part(Coder::Raw, plain.to_vec());
    if plain.is_empty() {
        return best;
    }
    for shape in SHAPES {
        let (coder, bytes) = lzma(plain, &thorough(dict_log(plain.len()).min(dict_log_max), shape));
        if bytes.len() < best.bytes.len() {
            best = part(coder, bytes);
        }
    }
    best
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
