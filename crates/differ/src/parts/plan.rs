//! Which files are compared with which, in what parts.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::ops::Range;

use updraft_delta::ReadAt;

use super::Sides;
use crate::gear::{BITS_MIN, Gear};
use crate::make::Error;

/// Files that are compared with each other.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Files that fit into memory together; old ones by their numbers, growing.
    Files { olds: Vec<usize>, news: Range<usize> },
    /// New files each of which does not fit together with the old one that it has most in common with.
    Large { olds: Vec<usize>, news: Range<usize> },
}

/// Most samples of a file, as a power of two, that are kept however many there are of all files.
const FILE_SAMPLES_LOG: u32 = 4;

/// Of more new files that have the same sample, so many are taken: those that are about where the old file is among its own.
const SAME_MAX: usize = 16;

/// How much is read at a time, in bytes.
const PIECE_LEN: u64 = 1 << 20;

/// For each new file, the old files that have something in common with it, that with the most first.
pub(super) fn related(sides: &Sides<'_>) -> Result<Vec<Vec<usize>>, Error> {
    let (total, count) = (sides.new_lens.iter().sum::<u64>(), sides.memory.for_anchors());
    let bits_max = (total / count as u64).next_power_of_two().trailing_zeros().max(BITS_MIN);
    // Each file has some, unless there are very many files.
    let least = (count / sides.new.len().max(1)).max(1).ilog2().min(FILE_SAMPLES_LOG);
    let mut samples: Vec<(u64, usize)> = Vec::new();
    for (number, (file, len)) in sides.new.iter().zip(&sides.new_lens).enumerate() {
        let bits = len.max(&1).ilog2().saturating_sub(least).clamp(BITS_MIN, bits_max);
        let read = each_sample(*file, *len, bits, |hash| samples.push((hash, number)));
        read.map_err(|source| Error::New { number, source })?;
    }
    samples.sort_unstable();
    samples.dedup();
    let mut related: Vec<Vec<(Reverse<u32>, usize)>> = vec![Vec::new(); sides.new.len()];
    for (number, (file, len)) in sides.old.iter().zip(&sides.old_lens).enumerate() {
        let mut shared: HashMap<usize, u32> = HashMap::new();
        let read = each_sample(*file, *len, BITS_MIN, |hash| {
            let first = samples.partition_point(|(own, _)| *own < hash);
            let same = samples[first..].partition_point(|(own, _)| *own == hash);
            // Both sides are in the order of their paths, more or less.
            let skip =
                (number * same / sides.old.len()).saturating_sub(SAME_MAX / 2).min(same.saturating_sub(SAME_MAX));
            let near = samples[first..first + same].iter().skip(skip).take(SAME_MAX);
            near.for_each(|(_, new)| *shared.entry(*new).or_default() += 1);
        });
        read.map_err(|source| Error::Old { number, source })?;
        shared.into_iter().for_each(|(new, count)| related[new].push((Reverse(count), number)));
    }
    let sorted = related.into_iter().map(|mut olds| {
        olds.sort_unstable();
        olds.into_iter().map(|(_, number)| number).collect()
    });
    Ok(sorted.collect())
}

fn each_sample(file: &dyn ReadAt, len: u64, bits: u32, mut each: impl FnMut(u64)) -> io::Result<()> {
    let mut gear = Gear::new(bits);
    let mut piece = Vec::new();
    for at in (0..len).step_by(PIECE_LEN as usize) {
        piece.resize(PIECE_LEN.min(len - at) as usize, 0);
        file.read_exact_at(&mut piece, at)?;
        gear.all(&piece, &mut each);
    }
    Ok(())
}

/// The parts, in the order of the new files.
pub(super) fn parts(sides: &Sides<'_>, related: &[Vec<usize>]) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut open: Option<Open> = None;
    for (new, olds) in related.iter().enumerate() {
        if let Some(part) = &mut open
            && part.took(sides, new, olds)
        {
            continue;
        }
        parts.extend(open.take().map(Open::closed));
        match Open::with(sides, new, olds) {
            Some(part) => open = Some(part),
            None => match parts.last_mut() {
                // The old files are read once for all of them.
                Some(Part::Large { olds: same, news }) if *same == sorted(olds) && news.end == new => news.end += 1,
                _ => parts.push(Part::Large { olds: sorted(olds), news: new..new + 1 }),
            },
        }
    }
    parts.extend(open.map(Open::closed));
    parts
}

fn sorted(olds: &[usize]) -> Vec<usize> {
    let mut olds = olds.to_vec();
    olds.sort_unstable();
    olds
}

/// A part that may still grow.
struct Open {
    olds: BTreeSet<usize>,
    news: Range<usize>,
    old_len: u64,
    new_len: u64,
}

impl Open {
    /// A part with one new file, and as many old ones as there is room for, if there is any for the most useful.
    fn with(sides: &Sides<'_>, new: usize, olds: &[usize]) -> Option<Self> {
        let new_len = sides.new_lens[new];
        let mut part = Self { olds: BTreeSet::new(), news: new..new + 1, old_len: 0, new_len };
        for old in olds {
            let old_len = part.old_len + sides.old_lens[*old];
            if sides.memory.fits(old_len, new_len) {
                part.olds.insert(*old);
                part.old_len = old_len;
            }
        }
        let has_best = olds.first().is_none_or(|best| part.olds.contains(best));
        (has_best && sides.memory.fits(part.old_len, new_len)).then_some(part)
    }

    /// Takes the next new file with all its old ones, if they fit.
    fn took(&mut self, sides: &Sides<'_>, new: usize, olds: &[usize]) -> bool {
        let more: Vec<usize> = olds.iter().copied().filter(|old| !self.olds.contains(old)).collect();
        let old_len = self.old_len + more.iter().map(|old| sides.old_lens[*old]).sum::<u64>();
        let new_len = self.new_len + sides.new_lens[new];
        let fits = sides.memory.fits(old_len, new_len);
        if fits {
            self.olds.extend(more);
            (self.news.end, self.old_len, self.new_len) = (new + 1, old_len, new_len);
        }
        fits
    }

    fn closed(self) -> Part {
        Part::Files { olds: self.olds.into_iter().collect(), news: self.news }
    }
}
