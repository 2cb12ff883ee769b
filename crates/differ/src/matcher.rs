//! Which parts of the new image are copied from where.
//!
//! The scan follows one *alignment*, a distance between new and old, for as long as it is the best one known, differing
//! bytes included: that is what makes patches of compiled code small (Percival, Naive differences of executable code,
//! 2003). It leaves for another when what that one matches is worth more than an instruction costs; and an instruction
//! that jumps far costs more than one that does not.

use crate::suffix::{Index, Match, common};

/// A part of the new image that is made from a part of the old one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Copy {
    /// Where in the new image.
    pub(crate) new: usize,
    /// Where in the old image.
    pub(crate) old: usize,
    /// How many bytes.
    pub(crate) len: usize,
}

/// What instructions are thought to cost, in bytes that match.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Costs {
    /// One that goes on where the last one ended.
    pub(crate) instruction: usize,
    /// More for each doubling of the distance, in sixteenths.
    pub(crate) distance: usize,
    /// What a byte that is copied and differs costs more than one that is inserted, in sixteenths.
    pub(crate) mismatch: isize,
}

/// While this many bytes match without a break, nothing else is looked for.
const RUN: usize = 32;

/// How far a new alignment is followed backwards. In what repeats itself every alignment matches everything before it, and many of
/// them would be followed all the way.
const BACK_MAX: usize = 64 << 10;

/// The copies that make the most of `index`, in the order of the new file, where they do not overlap. What lies near old place
/// `near` is cheapest at first.
pub(crate) fn copies(index: &Index<'_>, new: &[u8], costs: Costs, near: usize) -> Vec<Copy> {
    let scan = Scan { index, old: index.text(), new, costs };
    let mut copies = Vec::new();
    let mut last = Anchor { new: 0, old: near };
    let mut from = 0;
    loop {
        let next = scan.next_anchor(from, last);
        let (ahead, back, from_next) = match next {
            Some((anchor, len)) => {
                let (ahead, back) = scan.border(last, anchor);
                (ahead, back, anchor.new + len)
            }
            None => (scan.forward(last, new.len()), 0, new.len()),
        };
        if ahead > 0 {
            copies.push(Copy { new: last.new, old: last.old, len: ahead });
        }
        let Some((anchor, _)) = next else { return copies };
        last = Anchor { new: anchor.new - back, old: anchor.old - back };
        from = from_next;
    }
}

/// Bytes of the new file for which one of two sets of copies is chosen.
const WINDOW: usize = 8 << 10;

/// `dear` copies where `cheap` ones make less than half of the new bytes, `cheap` ones elsewhere: what is mostly new is compressed
/// better by itself than when it is cut into pieces.
pub(crate) fn mixed(cheap: &[Copy], dear: &[Copy], len: usize) -> Vec<Copy> {
    let mut copied = vec![0; len.div_ceil(WINDOW)];
    cheap.iter().flat_map(windows).for_each(|(window, part)| copied[window] += part.len);
    let is_new = |window: usize| copied[window] < WINDOW / 2;
    let chosen = cheap.iter().flat_map(windows).filter(|(window, _)| !is_new(*window));
    let chosen = chosen.chain(dear.iter().flat_map(windows).filter(|(window, _)| is_new(*window)));
    let mut parts: Vec<Copy> = chosen.map(|(_, part)| part).collect();
    parts.sort_by_key(|part| part.new);
    let mut joined: Vec<Copy> = Vec::with_capacity(parts.len());
    for part in parts {
        match joined.last_mut() {
            Some(last) if last.new + last.len == part.new && last.old + last.len == part.old => last.len += part.len,
            _ => joined.push(part),
        }
    }
    joined
}

/// A copy, cut where windows end, each part with its window.
fn windows(copy: &Copy) -> impl Iterator<Item = (usize, Copy)> {
    let mut rest = *copy;
    std::iter::from_fn(move || {
        let window = rest.new / WINDOW;
        let part = Copy { len: rest.len.min((window + 1) * WINDOW - rest.new), ..rest };
        rest = Copy { new: rest.new + part.len, old: rest.old + part.len, len: rest.len - part.len };
        (part.len > 0).then_some((window, part))
    })
}

/// A place of the new image and one of the old: where an alignment begins.
#[derive(Debug, Clone, Copy)]
struct Anchor {
    new: usize,
    old: usize,
}

impl Anchor {
    /// The old place that this alignment gives to a new one, if there is one.
    fn old_of(self, new: usize) -> Option<usize> {
        (self.old + new).checked_sub(self.new)
    }
}

struct Scan<'a> {
    index: &'a Index<'a>,
    old: &'a [u8],
    new: &'a [u8],
    costs: Costs,
}

impl Scan<'_> {
    /// The next place, from `from` on, where another alignment than `last`'s is worth an instruction, and how many bytes match
    /// there.
    fn next_anchor(&self, from: usize, last: Anchor) -> Option<(Anchor, usize)> {
        let mut at = from;
        // How many of the bytes in `at..counted` match under the alignment of now.
        let (mut score, mut counted) = (0, from);
        while at < self.new.len() {
            let expected = last.old_of(at);
            let run =
                expected.filter(|old| *old < self.old.len()).map_or(0, |old| common(&self.old[old..], &self.new[at..]));
            if run >= RUN {
                at += run;
                (score, counted) = (0, at);
                continue;
            }
            let near = expected.unwrap_or_default();
            let found = self.index.longest(&self.new[at..], near);
            let Match { at: old, len } = found.unwrap_or(Match { at: 0, len: 0 });
            while counted < at + len {
                score += usize::from(self.is_same(last, counted));
                counted += 1;
            }
            if len > 0 && len == score {
                at += len;
                (score, counted) = (0, at);
                continue;
            }
            if len > score + self.cost(old.abs_diff(near)) {
                return Some((Anchor { new: at, old }, len));
            }
            if counted > at {
                score -= usize::from(self.is_same(last, at));
            }
            at += 1;
            counted = counted.max(at);
        }
        None
    }

    fn cost(&self, distance: usize) -> usize {
        let doublings = (usize::BITS - distance.leading_zeros()) as usize;
        self.costs.instruction + doublings * self.costs.distance / 16
    }

    fn is_same(&self, alignment: Anchor, new: usize) -> bool {
        alignment.old_of(new).and_then(|old| self.old.get(old)) == Some(&self.new[new])
    }

    /// How far `last` is worth following towards `end`: as long as more bytes match than not.
    fn forward(&self, last: Anchor, end: usize) -> usize {
        let len = (end - last.new).min(self.old.len() - last.old);
        let (old, new) = (&self.old[last.old..][..len], &self.new[last.new..][..len]);
        self.best_prefix(old.iter().zip(new).map(|(old, new)| old == new))
    }

    /// The same from `next` backwards, at most to `begin`.
    fn backward(&self, next: Anchor, begin: usize) -> usize {
        let len = (next.new - begin).min(next.old).min(BACK_MAX);
        let (old, new) = (&self.old[next.old - len..next.old], &self.new[next.new - len..next.new]);
        self.best_prefix(old.iter().rev().zip(new.iter().rev()).map(|(old, new)| old == new))
    }

    /// The length of the beginning that is worth most.
    fn best_prefix(&self, matches: impl Iterator<Item = bool>) -> usize {
        let (mut score, mut best, mut len) = (0_isize, 0, 0);
        for (n, is_match) in matches.enumerate() {
            score += if is_match { 16 } else { -self.costs.mismatch };
            if score > best {
                (best, len) = (score, n + 1);
            }
        }
        len
    }

    /// How far `last` is followed, and how far `next` reaches back. Where they meet, the border is where most bytes match.
    fn border(&self, last: Anchor, next: Anchor) -> (usize, usize) {
        let ahead = self.forward(last, next.new);
        let back = self.backward(next, last.new);
        let overlap = (last.new + ahead + back).saturating_sub(next.new);
        if overlap == 0 {
            return (ahead, back);
        }
        let begin = next.new - back;
        let (mut score, mut best, mut keep) = (0_isize, 0, 0);
        for n in 0..overlap {
            score += isize::from(self.is_same(last, begin + n)) - isize::from(self.is_same(next, begin + n));
            if score > best {
                (best, keep) = (score, n + 1);
            }
        }
        (ahead - overlap + keep, back - keep)
    }
}
