//! Places of old files that are found again in a new one.

use std::io;

use updraft_delta::ReadAt;

use super::blocks::{Blocks, common_ahead, common_back};
use crate::encode::Failed;
use crate::gear::{BITS_MIN, Gear, is_taken};
use crate::matcher::Copy;

/// Copies that are shorter are left to the windows.
pub(super) const COPY_MIN: usize = 256;

/// How many places with the same bytes in front of them are known: what repeats itself would fill the table.
const SAME_MAX: usize = 16;

/// Most bits of a hash that must be zero: one place in 4 GiB is taken.
const BITS_MAX: u32 = 32;

/// An anchor: what the bytes in front of it are, and where it is.
type Anchor = (u64, usize);

/// Anchors in the order of what the bytes in front of them are, then of their places.
pub(super) struct Table {
    anchors: Vec<Anchor>,
    /// One place of `2^bits` was looked at.
    bits: u32,
}

impl Table {
    /// About `count` anchors of `old`, spread evenly; twice as many at most.
    pub(super) fn of(old: &dyn ReadAt, count: usize) -> io::Result<Self> {
        let mut old = Blocks::new(old)?;
        let bits = (old.len / count.max(1)).next_power_of_two().trailing_zeros().clamp(BITS_MIN, BITS_MAX);
        let mut table = Self { anchors: Vec::new(), bits };
        let (mut gear, mut at) = (Gear::new(bits), 0);
        while at < old.len {
            let bytes = old.from(at)?;
            let Some((len, hash)) = gear.next(bytes) else {
                at += bytes.len();
                continue;
            };
            at += len;
            // In a row of equal bytes every place looks alike.
            if table.anchors.last().is_none_or(|(last, _)| *last != hash) && is_taken(hash, table.bits) {
                table.anchors.push((hash, at));
            }
            if table.anchors.len() >= count.max(1) * 2 {
                table.thin_out(count);
            }
        }
        table.sort();
        Ok(table)
    }

    fn sort(&mut self) {
        self.anchors.sort_unstable();
        let (mut last, mut same) = (None, 0);
        self.anchors.retain(|(hash, _)| {
            same = if last == Some(*hash) { same + 1 } else { 0 };
            last = Some(*hash);
            same < SAME_MAX
        });
    }

    /// Keeps `count` anchors at most.
    fn thin_out(&mut self, count: usize) {
        self.sort();
        while self.anchors.len() > count && self.bits < BITS_MAX {
            self.bits += 1;
            let bits = self.bits;
            self.anchors.retain(|(hash, _)| is_taken(*hash, bits));
        }
    }

    /// The anchor with these bytes in front of it that is nearest to old place `expected`.
    fn nearest(&self, hash: u64, expected: usize) -> Option<usize> {
        let after = self.anchors.partition_point(|anchor| *anchor < (hash, expected));
        let around = [after.checked_sub(1), Some(after)].into_iter().flatten().filter_map(|n| self.anchors.get(n));
        around.filter(|(own, _)| *own == hash).map(|(_, at)| *at).min_by_key(|at| at.abs_diff(expected))
    }

    /// All that is the same around anchors, where it is long enough, in the order of the new file; `max` copies at most.
    pub(super) fn copies(&self, old: &dyn ReadAt, new: &dyn ReadAt, max: usize) -> Result<Vec<Copy>, Failed> {
        let mut old = Blocks::new(old)?;
        let (mut scanned, mut new) = (Blocks::new(new)?, Blocks::new(new)?);
        let (mut gear, mut at) = (Gear::new(self.bits), 0);
        let mut copies: Vec<Copy> = Vec::new();
        while at < scanned.len {
            let bytes = scanned.from(at)?;
            let Some((len, hash)) = gear.next(bytes) else {
                at += bytes.len();
                continue;
            };
            at += len;
            let last = copies.last().copied().unwrap_or(Copy { new: 0, old: 0, len: 0 });
            let done = last.new + last.len;
            let Some(place) = self.nearest(hash, last.old + (at - last.new)) else { continue };
            let back = common_back((&mut old, place), (&mut new, at), at - done)?;
            let ahead = common_ahead((&mut old, place), (&mut new, at))?;
            if back + ahead >= COPY_MIN {
                copies.push(Copy { new: at - back, old: place - back, len: back + ahead });
                at += ahead;
                gear.restart();
            }
            if copies.len() > max {
                return Err(Failed::Full);
            }
        }
        Ok(copies)
    }
}
