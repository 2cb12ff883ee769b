//! Where an old address went.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use super::layout::{Layout, Region, Space};
use super::rebuild::Copied;
use super::walk::Form;

/// Most corrections that are remembered.
const LEARNED_MAX: usize = 1 << 20;

/// Where old places went, by the copies.
#[derive(Debug)]
struct Moves {
    /// Parts of the old file that do not overlap, in order: where each begins and ends, and how far it moved.
    parts: Vec<(u64, u64, i64)>,
}

impl Moves {
    /// Where several copies have the same old bytes, the longest counts, of equal ones the first.
    fn new(copies: &[Copied]) -> Self {
        let mut starts: Vec<u32> = (0..copies.len() as u32).collect();
        starts.sort_by_key(|n| copies[*n as usize].old);
        let mut starts = starts.into_iter().map(|n| (n, &copies[n as usize])).peekable();
        // Those that begin at or before `at`, the longest on top.
        let mut open: BinaryHeap<(u64, Reverse<u32>)> = BinaryHeap::new();
        let mut parts: Vec<(u64, u64, i64)> = Vec::new();
        let mut at = 0;
        loop {
            while let Some((n, copy)) = starts.next_if(|(_, copy)| copy.old <= at) {
                open.push((copy.len, Reverse(n)));
            }
            let next_start = starts.peek().map_or(u64::MAX, |(_, copy)| copy.old);
            let Some((len, Reverse(n))) = open.peek().copied() else {
                if next_start == u64::MAX {
                    return Self { parts };
                }
                at = next_start;
                continue;
            };
            let copy = copies[n as usize];
            let end = copy.old + len;
            if end <= at {
                open.pop();
                continue;
            }
            let (until, by) = (end.min(next_start), copy.new as i64 - copy.old as i64);
            match parts.last_mut() {
                Some((_, last, same)) if *last == at && *same == by => *last = until,
                _ => parts.push((at, until, by)),
            }
            at = until;
        }
    }

    /// Where `place` went, or would have gone with what is nearest.
    fn moved(&self, place: u64) -> Option<u64> {
        let n = self.parts.partition_point(|(start, ..)| *start <= place);
        let before = n.checked_sub(1).map(|n| self.parts[n]);
        let behind = self.parts.get(n).copied();
        let by = match (before, behind) {
            (Some((_, end, by)), _) if place < end => by,
            (Some((_, end, by)), Some((start, _, next))) => {
                if start - place < place - end {
                    next
                } else {
                    by
                }
            }
            (Some((.., by)), None) | (None, Some((.., by))) => by,
            (None, None) => return None,
        };
        Some(place.saturating_add_signed(by))
    }
}

/// Computes what references become.
#[derive(Debug)]
pub struct Map<'a> {
    layout: &'a Layout,
    old: Space,
    new: Space,
    moves: Moves,
    /// What came out wrong, by the old address: so it costs once.
    learned: HashMap<u64, u64>,
}

/// A reference that can be predicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Predicted {
    /// The old target.
    target: u64,
    /// The value that it is expected to have.
    pub value: u64,
}

impl<'a> Map<'a> {
    /// `copies` are those from the layout's base, whose `old` are places in it.
    pub fn new(layout: &'a Layout, copies: &[Copied]) -> Self {
        Self {
            layout,
            old: Space::new(layout.regions.iter().map(|region| region.old)),
            new: Space::new(layout.regions.iter().map(|region| region.new)),
            moves: Moves::new(copies),
            learned: HashMap::new(),
        }
    }

    /// What a reference that was `value` at `old` becomes at `new`; `None` where it refers to nothing.
    pub fn predict(&self, form: Form, old: u64, value: u64, new: u64) -> Option<Predicted> {
        let target = target(form, &Origin::old(self, form, old, new)?, value);
        let went = self.went(target)?;
        let value = value_of(form, &Origin::new(self, form, new)?, value, went);
        Some(Predicted { target, value })
    }

    /// What the value of a reference at `new` counts from.
    pub fn origin(&self, form: Form, new: u64) -> Option<u64> {
        Some(Origin::new(self, form, new)?.from)
    }

    /// Takes note of what a reference became that was predicted otherwise.
    pub fn learn(&mut self, form: Form, predicted: Predicted, new: u64, value: u64) {
        if let Some(origin) = Origin::new(self, form, new) {
            self.correct(predicted.target, target(form, &origin, value));
        }
    }

    /// What a reference of the old file refers to: its address, and its place in the file if it has one there.
    pub fn refers_to(&self, form: Form, old: u64, value: u64) -> Option<(u64, Option<u64>)> {
        let target = target(form, &Origin::old(self, form, old, old)?, value);
        self.old.place_of(target).map(|(_, place)| (target, place))
    }

    /// The addresses of a place in the old file and of one in the new.
    pub fn addresses(&self, old: u64, new: u64) -> Option<(u64, u64)> {
        Some((self.old.address_of(old)?.0, self.new.address_of(new)?.0))
    }

    /// The address of a place in the new file.
    pub fn address(&self, new: u64) -> Option<u64> {
        Some(self.new.address_of(new)?.0)
    }

    /// The place in the old file of an address that something of it has; `Some(None)` where that has none.
    pub fn place_of(&self, target: u64) -> Option<Option<u64>> {
        self.old.place_of(target).map(|(_, place)| place)
    }

    /// Takes note of where an old address went.
    pub fn correct(&mut self, target: u64, went: u64) {
        if self.learned.len() < LEARNED_MAX || self.learned.contains_key(&target) {
            self.learned.insert(target, went);
        }
    }

    /// Where an old address went; `None` for what is none.
    pub fn went(&self, target: u64) -> Option<u64> {
        let (region, place) = self.old.place_of(target)?;
        if let Some(learned) = self.learned.get(&target) {
            return Some(*learned);
        }
        let Region { old, new } = self.layout.regions[region];
        let beside = new.address.wrapping_add(target.wrapping_sub(old.address));
        let Some(place) = place else { return Some(beside) };
        let moved = self.moves.moved(place)?;
        let address = self.new.address_of(moved).map(|(address, _)| address);
        Some(address.unwrap_or_else(|| new.address.wrapping_add(moved.wrapping_sub(new.offset))))
    }
}

/// What the value of a reference counts from.
struct Origin {
    from: u64,
}

impl Origin {
    fn old(map: &Map<'_>, form: Form, old: u64, new: u64) -> Option<Self> {
        let anchor = |anchor: u64| old.checked_sub(new.checked_sub(anchor)?);
        Self::of(form, &map.old, &map.new, old, anchor, map.layout.image_base.0, |region| {
            map.layout.regions[region].old.address
        })
    }

    fn new(map: &Map<'_>, form: Form, new: u64) -> Option<Self> {
        Self::of(form, &map.new, &map.new, new, Some, map.layout.image_base.1, |region| {
            map.layout.regions[region].new.address
        })
    }

    fn of(
        form: Form,
        space: &Space,
        names: &Space,
        place: u64,
        anchor: impl FnOnce(u64) -> Option<u64>,
        image_base: u64,
        region: impl FnOnce(usize) -> u64,
    ) -> Option<Self> {
        let from = match form {
            Form::Relative | Form::Back => space.address_of(place)?.0,
            Form::Call | Form::Jump => space.address_of(place)?.0 + 4,
            Form::Operand { base } => space.address_of(place)?.0 + u64::from(base),
            Form::FromRegion => region(space.address_of(place)?.1),
            Form::FromImage | Form::Step { .. } | Form::Based | Form::Chained => image_base,
            Form::Name { anchor } => region(names.address_of(anchor)?.1),
            Form::From { anchor: at } => space.address_of(anchor(at)?)?.0,
            Form::Pointer | Form::Short => 0,
        };
        Some(Self { from })
    }
}

/// The address that a value refers to.
fn target(form: Form, origin: &Origin, value: u64) -> u64 {
    let signed = i64::from(value as u32 as i32) as u64;
    match form {
        Form::Relative | Form::Call | Form::Jump | Form::Operand { .. } | Form::FromRegion | Form::From { .. } => {
            origin.from.wrapping_add(signed)
        }
        Form::FromImage | Form::Name { .. } | Form::Step { .. } | Form::Based => {
            origin.from.wrapping_add(u64::from(value as u32))
        }
        Form::Back => origin.from.wrapping_sub(u64::from(value as u32)),
        Form::Short => u64::from(value as u32),
        Form::Chained => origin.from.wrapping_add(value & CHAINED_MASK),
        Form::Pointer => value,
    }
}

/// The bits of a chained pointer that say what it refers to.
const CHAINED_MASK: u64 = (1 << 36) - 1;

/// The value that refers to an address, and was `value` when it referred to another.
fn value_of(form: Form, origin: &Origin, value: u64, target: u64) -> u64 {
    match form {
        Form::Chained => value & !CHAINED_MASK | target.wrapping_sub(origin.from) & CHAINED_MASK,
        Form::Back => u64::from(origin.from.wrapping_sub(target) as u32),
        Form::Pointer => target,
        _ => u64::from(target.wrapping_sub(origin.from) as u32),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The distance that the longest copy with a place says, of equal ones the first.
    fn by_hand(copies: &[Copied], place: u64) -> Option<i64> {
        let with_it = copies.iter().filter(|copy| (copy.old..copy.old + copy.len).contains(&place));
        // `max_by_key` takes the last of equal ones.
        with_it.rev().max_by_key(|copy| copy.len).map(|copy| copy.new as i64 - copy.old as i64)
    }

    proptest! {
        #[test]
        fn the_longest_copy_says_where_a_place_went(
            copies in proptest::collection::vec((0..40_u64, 0..60_u64, 1..15_u64), 0..20),
        ) {
            let mut end = 0;
            let copies: Vec<Copied> = copies
                .into_iter()
                .map(|(gap, old, len)| {
                    let new = end + gap;
                    end = new + len;
                    Copied { new, old, len }
                })
                .collect();
            let moves = Moves::new(&copies);
            prop_assert!(moves.parts.is_sorted_by(|one, next| one.1 <= next.0));
            for place in 0..80 {
                let part = moves.parts.iter().find(|(start, end, _)| (*start..*end).contains(&place));
                prop_assert_eq!(part.map(|(.., by)| *by), by_hand(&copies, place), "at {}", place);
            }
        }
    }

    #[test]
    fn what_is_in_no_copy_goes_with_the_nearer_one() {
        let moves = Moves::new(&[Copied { new: 110, old: 10, len: 10 }, Copied { new: 240, old: 40, len: 10 }]);
        // Between the two, 20 to 39: as far from both means with the one before.
        let at = |place| moves.moved(place);
        assert_eq!((at(0), at(15), at(20), at(30)), (Some(100), Some(115), Some(120), Some(130)));
        assert_eq!((at(31), at(39), at(45), at(60)), (Some(231), Some(239), Some(245), Some(260)));
        assert_eq!(Moves::new(&[]).moved(5), None);
    }
}
