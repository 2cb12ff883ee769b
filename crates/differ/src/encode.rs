//! Instructions as streams, each compressed in the way that makes it smallest.

use std::io::Write;

use lzma_rust2::{EncodeMode, LzmaOptions, LzmaWriter, MfType};
use updraft_delta::Prediction;
use updraft_delta::limits::DICT_LOG_MAX;
use updraft_delta::predict::{self, Words};
use updraft_delta::stream::{Coder, Kind, Stream};
use updraft_delta::varint;

use crate::matcher::Copy;

/// Literal context bits and position bits that are tried: the first is best for most code and text, the second for tables of
/// numbers.
const SHAPES: [(u32, u32); 2] = [(4, 0), (0, 2)];

/// Differences are tried one by one, zeros included, where at least one in so many is none.
const DENSE_FROM: usize = 10;

/// Instructions as streams that are not compressed.
#[derive(Debug, Default)]
pub(crate) struct Plain {
    /// How the copies of each output are predicted.
    pub(crate) predictions: Vec<Prediction>,
    insert_len: Vec<u8>,
    copy_len: Vec<u8>,
    seek: Vec<u8>,
    insert: Vec<u8>,
    diff: Vec<u8>,
}

/// Streams as they lie in a patch.
pub(crate) struct Encoded {
    pub(crate) streams: Vec<Stream>,
    pub(crate) bytes: Vec<u8>,
}

/// What `copies`, in the order of the new image, and the rest of `outputs` come to. `outputs` are the new image in parts.
pub(crate) fn plain(old: &[u8], outputs: &[&[u8]], copies: &[Copy]) -> Plain {
    let mut out = Plain::default();
    let mut words = Words::default();
    let (mut begin, mut at) = (0, 0);
    let mut rest = copies;
    for new in outputs {
        let own = rest.iter().take_while(|copy| copy.new < begin + new.len()).count();
        let (own, behind) = rest.split_at(own);
        rest = behind;
        let own: Vec<Copy> = own.iter().map(|copy| Copy { new: copy.new - begin, ..*copy }).collect();
        out.instructions(new, &own, &mut at);
        out.differences(old, new, &own, &mut words);
        begin += new.len();
    }
    out
}

impl Plain {
    fn instructions(&mut self, new: &[u8], copies: &[Copy], at: &mut usize) {
        let mut done = 0;
        for copy in copies {
            varint::write(&mut self.insert_len, (copy.new - done) as u64);
            varint::write(&mut self.copy_len, copy.len as u64);
            varint::write(&mut self.seek, varint::zigzag(copy.old as i64 - *at as i64));
            self.insert.extend_from_slice(&new[done..copy.new]);
            done = copy.new + copy.len;
            *at = copy.old + copy.len;
        }
        if done < new.len() {
            varint::write(&mut self.insert_len, (new.len() - done) as u64);
            varint::write(&mut self.copy_len, 0);
            self.insert.extend_from_slice(&new[done..]);
        }
    }

    /// Predicts the copies of one output in the way that leaves fewest differences.
    fn differences(&mut self, old: &[u8], new: &[u8], copies: &[Copy], words: &mut Words) {
        let pairs = || copies.iter().map(|copy| (&old[copy.old..][..copy.len], &new[copy.new..][..copy.len]));
        let begin = self.diff.len();
        pairs().for_each(|(old, new)| self.diff.extend(difference(old, new)));
        let differ = |diff: &[u8]| diff.iter().filter(|byte| **byte != 0).count();
        let same = differ(&self.diff[begin..]);
        self.predictions.push(Prediction::Same);
        if same == 0 {
            return;
        }
        let mut learned = words.clone();
        let mut by_words = Vec::with_capacity(self.diff.len() - begin);
        pairs().for_each(|(old, new)| word_differences(old, new, &mut learned, &mut by_words));
        if differ(&by_words) < same {
            self.diff.truncate(begin);
            self.diff.extend(by_words);
            *words = learned;
            *self.predictions.last_mut().expect("it was pushed") = Prediction::Words;
        }
    }

    /// About how large it will be, in bytes.
    pub(crate) fn estimate(&self) -> usize {
        let (gaps, bytes) = sparse(&self.diff);
        let all = [&self.insert_len, &self.copy_len, &self.seek, &self.insert, &gaps, &bytes];
        all.into_iter().map(|plain| lzma(plain, &quick(plain.len())).1.len()).sum()
    }

    /// The streams, as small as they get.
    pub(crate) fn encode(&self) -> Encoded {
        let mut parts = vec![
            compress(Kind::InsertLen, &self.insert_len),
            compress(Kind::CopyLen, &self.copy_len),
            compress(Kind::Seek, &self.seek),
            compress(Kind::Insert, &self.insert),
        ];
        parts.extend(compress_differences(&self.diff));
        parts.retain(|part| part.stream.len > 0);
        let bytes = parts.iter().flat_map(|part| &part.bytes).copied().collect();
        Encoded { streams: parts.into_iter().map(|part| part.stream).collect(), bytes }
    }
}

fn difference(from: &[u8], to: &[u8]) -> impl Iterator<Item = u8> {
    to.iter().zip(from).map(|(to, from)| to.wrapping_sub(*from))
}

/// What is added to a copy that is predicted word by word.
fn word_differences(old: &[u8], new: &[u8], words: &mut Words, out: &mut Vec<u8>) {
    let mut at = 0;
    while at < old.len() {
        let len = predict::next_len(&old[at..]);
        let (from, to) = (&old[at..at + len], &new[at..at + len]);
        if predict::is_word(from[0]) {
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

fn compress_differences(diff: &[u8]) -> Vec<Part> {
    let (gaps, bytes) = sparse(diff);
    let sparse = vec![compress(Kind::DiffGap, &gaps), compress(Kind::DiffByte, &bytes)];
    if bytes.len() < diff.len() / DENSE_FROM || bytes.is_empty() {
        return sparse;
    }
    let dense = compress(Kind::Diff, diff);
    let len: usize = sparse.iter().map(|part| part.bytes.len()).sum();
    if dense.bytes.len() < len { vec![dense] } else { sparse }
}

fn compress(kind: Kind, plain: &[u8]) -> Part {
    let len = plain.len() as u64;
    let part = |coder, bytes: Vec<u8>| Part { stream: Stream { kind, coder, len, coded: bytes.len() as u64 }, bytes };
    let mut best = part(Coder::Raw, plain.to_vec());
    if plain.is_empty() {
        return best;
    }
    for (lc, pb) in SHAPES {
        let (coder, bytes) = lzma(plain, &thorough(plain.len(), lc, pb));
        if bytes.len() < best.bytes.len() {
            best = part(coder, bytes);
        }
    }
    best
}

fn thorough(len: usize, lc: u32, pb: u32) -> LzmaOptions {
    LzmaOptions {
        dict_size: 1 << dict_log(len),
        lc,
        lp: 0,
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
    LzmaOptions { mode: EncodeMode::Fast, nice_len: 64, mf: MfType::Hc4, depth_limit: 16, ..thorough(len, 4, 0) }
}

fn dict_log(len: usize) -> u8 {
    len.next_power_of_two().trailing_zeros().clamp(12, DICT_LOG_MAX.into()) as u8
}

fn lzma(plain: &[u8], options: &LzmaOptions) -> (Coder, Vec<u8>) {
    const CANNOT_FAIL: &str = "memory can be written";
    let mut writer = LzmaWriter::new_no_header(Vec::new(), options, false).expect(CANNOT_FAIL);
    writer.write_all(plain).expect(CANNOT_FAIL);
    let coder = Coder::Lzma { props: writer.props(), dict_log: dict_log(plain.len()) };
    (coder, writer.finish().expect(CANNOT_FAIL))
}
