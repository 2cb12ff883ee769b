//! Finding jump tables in data: four-byte distances from a table's own start to code, which is where a `switch` goes.
//!
//! Code takes the address of such a table before it reads from it. So a table begins where a `lea` of the code points, and goes
//! on as long as its entries lead to code, at most to where the next one begins.

use updraft_delta::native::layout::{RANGES_MAX, Space};
use updraft_delta::native::{Form, Layout, Range, RangeKind, Region, Span};

use super::in_memory::{Reader, read};
use super::tidied;

/// A table of fewer entries costs more than it saves.
const ENTRIES_MIN: usize = 3;

/// `ranges` with the jump tables of a file in between, whose `parts` have addresses.
pub(super) fn with_tables(bytes: &[u8], parts: &[(String, Span)], image_base: u64, ranges: Vec<Range>) -> Vec<Range> {
    let is_code =
        |range: &&Range| matches!(range.kind, RangeKind::X86_64 | RangeKind::X86_64Fixed | RangeKind::X86_64Based);
    let code: Vec<Range> = ranges.iter().filter(is_code).copied().collect();
    let space = Space::new(parts.iter().map(|(_, span)| *span));
    let is_taken = |place: u64| {
        let n = ranges.partition_point(|range| range.offset <= place);
        let before = n.checked_sub(1).map(|n| ranges[n]);
        before.is_some_and(|range| place < range.end() && range.kind != RangeKind::Pointers)
    };
    let mut starts = addresses_taken(bytes, parts, image_base, &code, &space);
    starts.retain(|(_, place)| !is_taken(*place));
    let ends = starts.iter().skip(1).map(|(_, place)| *place).chain([u64::MAX]);
    let tables = starts.iter().zip(ends).filter_map(|((address, place), end)| {
        let end = end.min(bytes.len() as u64) as usize;
        let entries = bytes.get(*place as usize..end)?.chunks_exact(4).take_while(|entry| {
            let distance = i32::from_le_bytes((*entry).try_into().expect("four bytes"));
            let target = address.wrapping_add_signed(distance.into());
            let place = space.place_of(target).and_then(|(_, place)| place);
            place.is_some_and(|place| code.iter().any(|code| (code.offset..code.end()).contains(&place)))
        });
        let len = entries.count();
        (len >= ENTRIES_MIN).then_some(Range { kind: RangeKind::Jumps, offset: *place, len: len as u64 * 4 })
    });
    // Between two tables there may be a part of another range.
    let room = RANGES_MAX.saturating_sub(ranges.len()) / 2;
    let tables: Vec<Range> = tables.take(room).collect();
    between(ranges, &tables, bytes.len() as u64)
}

/// `ranges` and `tables`; ranges of pointers give way.
fn between(ranges: Vec<Range>, tables: &[Range], file_len: u64) -> Vec<Range> {
    let mut out = tables.to_vec();
    for range in ranges {
        if range.kind != RangeKind::Pointers {
            out.push(range);
            continue;
        }
        let mut from = range.offset;
        let first = tables.partition_point(|table| table.end() <= range.offset);
        for table in tables[first..].iter().take_while(|table| table.offset < range.end()) {
            out.push(Range { offset: from, len: table.offset.saturating_sub(from), ..range });
            // Pointers lie every eight bytes.
            from = range.offset + (table.end().saturating_sub(range.offset)).next_multiple_of(8);
        }
        out.push(Range { offset: from, len: range.end().saturating_sub(from), ..range });
    }
    tidied(out, file_len)
}

/// The addresses in data that code takes, with their places, in the order of the places.
fn addresses_taken(
    bytes: &[u8],
    parts: &[(String, Span)],
    image_base: u64,
    code: &[Range],
    space: &Space,
) -> Vec<(u64, u64)> {
    let regions = parts.iter().map(|(_, span)| Region { old: Span::default(), new: *span }).collect();
    let layout = Layout { regions, image_base: (0, image_base), ranges: code.to_vec(), ..Layout::default() };
    let mut taken = Taken { bytes, space, found: Vec::new() };
    read(bytes, &layout, &mut taken);
    let mut found = taken.found;
    let is_code = |place: u64| code.iter().any(|code| (code.offset..code.end()).contains(&place));
    found.retain(|(_, place)| place % 4 == 0 && !is_code(*place));
    found.sort_unstable_by_key(|(_, place)| *place);
    found.dedup();
    found
}

/// Notes which addresses code takes.
struct Taken<'a> {
    bytes: &'a [u8],
    space: &'a Space,
    found: Vec<(u64, u64)>,
}

impl Reader for Taken<'_> {
    fn reference(&mut self, at: usize, form: Form, value: u64) {
        const LEA: u8 = 0x8d;
        if let Form::Operand { base } = form
            && at >= 2
            && self.bytes[at - 2] == LEA
            && let Some((address, _)) = self.space.address_of(at as u64)
        {
            let target = address.wrapping_add(base.into()).wrapping_add_signed(i64::from(value as u32 as i32));
            if let Some((_, Some(place))) = self.space.place_of(target) {
                self.found.push((target, place));
            }
        }
    }
}
