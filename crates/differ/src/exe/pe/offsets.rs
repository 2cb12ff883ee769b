//! Finding tables of offsets from the image's base: of imports and exports, of the types of C++, and whatever else is full of
//! them.

use updraft_delta::native::{Range, RangeKind};

use super::Image;

/// Fewer offsets than this are no table.
const OFFSETS_MIN: usize = 6;

/// At least one in so many words of a table is an offset.
const DENSITY_MIN: usize = 7;

/// What is smaller than this is no offset of anything but headers.
const HEADERS_LEN: u32 = 4_096;

/// What a word of four bytes may be.
#[derive(PartialEq, Eq)]
enum Word {
    Offset,
    /// A small number, as such tables have them, too.
    Number,
    Other,
}

/// The tables outside of `known` ranges.
pub(super) fn find(image: &Image<'_>, known: &[Range]) -> Vec<Range> {
    let mut found = Vec::new();
    for (_, part) in &image.parts[1..] {
        let mut from = part.offset;
        let mut taken: Vec<(u64, u64)> = known.iter().map(|range| (range.offset, range.end())).collect();
        taken.retain(|(begin, end)| *begin < part.offset + part.len && *end > part.offset);
        taken.sort_unstable();
        taken.push((part.offset + part.len, 0));
        for (begin, end) in taken {
            if from < begin {
                search(image, from, begin.min(image.bytes.len() as u64), &mut found);
            }
            from = from.max(end);
        }
    }
    found
}

/// Adds the tables between two places.
fn search(image: &Image<'_>, from: u64, to: u64, found: &mut Vec<Range>) {
    let from = from.next_multiple_of(4);
    let Some(bytes) = image.bytes.get(from as usize..to as usize) else { return };
    let mut run = Run::default();
    for (n, word) in bytes.chunks_exact(4).enumerate() {
        match word_of(image, u32::from_le_bytes(word.try_into().expect("four bytes"))) {
            Word::Offset => {
                run.first = Some(run.first.unwrap_or(n));
                run.last = n;
                run.offsets += 1;
            }
            // A table ends where no offset comes for long.
            Word::Number if run.first.is_none() || n - run.last < 2 * DENSITY_MIN => {}
            Word::Number | Word::Other => found.extend(std::mem::take(&mut run).range(from)),
        }
    }
    found.extend(run.range(from));
}

#[derive(Default)]
struct Run {
    first: Option<usize>,
    last: usize,
    offsets: usize,
}

impl Run {
    fn range(self, from: u64) -> Option<Range> {
        let first = self.first?;
        let words = self.last + 1 - first;
        let is_table = self.offsets >= OFFSETS_MIN && words <= self.offsets * DENSITY_MIN;
        is_table.then(|| Range { kind: RangeKind::Rva32, offset: from + first as u64 * 4, len: words as u64 * 4 })
    }
}

fn word_of(image: &Image<'_>, word: u32) -> Word {
    let is_text = |half: u32| (0x20..0x7f).contains(&half);
    if !(HEADERS_LEN..=u32::MAX - HEADERS_LEN).contains(&word) {
        return Word::Number;
    }
    // Two letters of UTF-16 look like an offset in a large image.
    if is_text(word & 0xffff) && is_text(word >> 16) {
        return Word::Other;
    }
    let address = image.image_base + u64::from(word);
    let is_inside = image.parts.iter().any(|(_, span)| address >= span.address && address - span.address < span.size);
    if is_inside { Word::Offset } else { Word::Other }
}
