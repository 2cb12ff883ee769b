//! What lies between long copies, compared with what lies beside those in old files.

use std::io;
use std::ops::Range;

use updraft_delta::ReadAt;

use super::anchors::COPY_MIN;
use crate::encode::Failed;
use crate::image::Image;
use crate::matcher::{self, Copy, Costs};
use crate::suffix::Index;

/// How much of the copies around a gap is compared once more, so that the windows find how they go on.
const EDGE: usize = 64;
const _: () = assert!(COPY_MIN > 2 * EDGE, "something is left of each copy");

/// How far in old files is looked to both sides at least.
const MARGIN_MIN: usize = 16 << 10;

/// What instructions are thought to cost: as in files that may be anything.
const COSTS: Costs = Costs { instruction: 6, distance: 16, mismatch: 12 };

/// A part of the new file that is not copied yet.
#[derive(Debug)]
struct Gap {
    new: Range<usize>,
    /// Where in the old image it would begin, if it went on as what is before it.
    from_before: usize,
    /// Where it would end, if what is behind it began there.
    from_behind: Option<usize>,
}

/// A gap, or some of it, and the parts of the old image that it is compared with.
#[derive(Debug)]
struct Piece {
    new: Range<usize>,
    olds: Vec<Range<usize>>,
    /// Where its beginning is expected.
    near: usize,
}

/// `long` copies, with those that windows of `window_len` bytes of the old image find between them; `max` at most.
pub(super) fn filled(
    long: Vec<Copy>,
    old: &dyn ReadAt,
    new: &dyn ReadAt,
    window_len: usize,
    max: usize,
) -> Result<Vec<Copy>, Failed> {
    let (old_len, new_len) = (len(old)?, len(new)?);
    let (mut copies, gaps) = gaps(long, new_len);
    let pieces = gaps.iter().flat_map(|gap| gap.pieces(window_len / 8, old_len));
    let mut window = Window::default();
    for piece in pieces {
        if window.len() + piece.old_len() > window_len {
            window.compare(old, new, &mut copies)?;
            if copies.len() > max {
                return Err(Failed::Full);
            }
        }
        window.pieces.push(piece);
    }
    window.compare(old, new, &mut copies)?;
    copies.sort_unstable_by_key(|copy| copy.new);
    Ok(copies)
}

fn len(file: &dyn ReadAt) -> io::Result<usize> {
    usize::try_from(file.size()?).map_err(io::Error::other)
}

/// What is left of the copies, and what lies between them.
fn gaps(copies: Vec<Copy>, new_len: usize) -> (Vec<Copy>, Vec<Gap>) {
    let (mut kept, mut gaps) = (Vec::with_capacity(copies.len()), Vec::new());
    // Where the last copy ended, in both files, and how much of it is compared once more.
    let (mut done, mut from_before, mut edge) = (0, 0, 0);
    let next: Vec<usize> = copies.iter().skip(1).map(|copy| copy.new).chain([new_len]).collect();
    for (copy, next) in copies.into_iter().zip(next) {
        let end = copy.new + copy.len;
        let front = if copy.new > done { EDGE } else { 0 };
        if front > 0 {
            let (new, from_behind) = (done - edge..copy.new + front, Some(copy.old + front));
            gaps.push(Gap { new, from_before: from_before - edge, from_behind });
        }
        let back = if next > end { EDGE } else { 0 };
        kept.push(Copy { new: copy.new + front, old: copy.old + front, len: copy.len - front - back });
        (done, from_before, edge) = (end, copy.old + copy.len, back);
    }
    if done < new_len {
        gaps.push(Gap { new: done - edge..new_len, from_before: from_before - edge, from_behind: None });
    }
    (kept, gaps)
}

impl Gap {
    /// The gap in pieces of at most `max` bytes, each with what lies in an old image of `old_len` bytes where it would be.
    fn pieces(&self, max: usize, old_len: usize) -> impl Iterator<Item = Piece> {
        let max = max.max(1);
        self.new.clone().step_by(max).map(move |start| {
            let new = start..self.new.end.min(start + max);
            let margin = (new.len() / 2).max(MARGIN_MIN);
            let around = |begin: usize| {
                let begin = begin.min(old_len);
                begin.saturating_sub(margin)..(begin + new.len()).saturating_add(margin).min(old_len)
            };
            let near = self.from_before + (start - self.new.start);
            let behind = self.from_behind.map(|end| around(end.saturating_sub(self.new.end - start)));
            let olds = [Some(around(near)), behind].into_iter().flatten().collect();
            Piece { new, olds, near: near.min(old_len) }
        })
    }
}

impl Piece {
    fn old_len(&self) -> usize {
        self.olds.iter().map(ExactSizeIterator::len).sum()
    }
}

/// Pieces that are compared with the same parts of the old image.
#[derive(Debug, Default)]
struct Window {
    pieces: Vec<Piece>,
}

impl Window {
    fn len(&self) -> usize {
        self.pieces.iter().map(Piece::old_len).sum()
    }

    /// Adds what is found to `copies`, and empties the window.
    fn compare(&mut self, old: &dyn ReadAt, new: &dyn ReadAt, copies: &mut Vec<Copy>) -> io::Result<()> {
        let pieces = std::mem::take(&mut self.pieces);
        let olds = union(pieces.iter().flat_map(|piece| piece.olds.iter().cloned()).collect());
        let mut text = vec![0; olds.iter().map(ExactSizeIterator::len).sum()];
        let mut rest = text.as_mut_slice();
        for range in &olds {
            let (part, behind) = rest.split_at_mut(range.len());
            old.read_exact_at(part, range.start as u64)?;
            rest = behind;
        }
        let parts = Image::of(olds.iter().map(|range| (range.len(), &[][..])));
        let index = Index::new(&text);
        for piece in pieces {
            let mut bytes = vec![0; piece.new.len()];
            new.read_exact_at(&mut bytes, piece.new.start as u64)?;
            let n = olds.partition_point(|range| range.end < piece.near).min(olds.len().saturating_sub(1));
            let near = olds.get(n).map_or(0, |range| parts.span(n).0 + piece.near.saturating_sub(range.start));
            let found = matcher::copies(&index, &bytes, COSTS, near);
            let found = found.into_iter().flat_map(|copy| parts.split(copy).collect::<Vec<_>>());
            copies.extend(found.map(|(n, part)| Copy {
                new: piece.new.start + part.new,
                old: olds[n].start + (part.old - parts.span(n).0),
                len: part.len,
            }));
        }
        Ok(())
    }
}

/// The same ranges without overlaps, in order.
fn union(mut ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    ranges.sort_unstable_by_key(|range| range.start);
    let mut union: Vec<Range<usize>> = Vec::with_capacity(ranges.len());
    for range in ranges.into_iter().filter(|range| !range.is_empty()) {
        match union.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => union.push(range),
        }
    }
    union
}
