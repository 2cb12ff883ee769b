//! Executables: where code and tables lie in them, and what they look like without their references.
//!
//! Nothing of this is frozen. What is found here is written into the patch, and whatever is overlooked costs bytes, never a
//! wrong file.

mod elf;
mod in_memory;
mod jumps;
mod macho;
mod mask;
mod pe;

use updraft_delta::native::{Layout, Range, Region, Span};

pub(crate) use mask::masked;

/// Where something lies in a file.
type Place = std::ops::Range<usize>;

/// What is compiled for what: only the same goes with the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Machine {
    /// ELF, x86-64.
    ElfX86_64,
    /// ELF, arm64.
    ElfA64,
    /// Mach-O, arm64.
    MachOA64,
    /// PE, x86-64.
    PeX86_64,
}

/// An executable.
#[derive(Debug)]
pub(crate) struct Exe {
    machine: Machine,
    /// Its parts that have addresses, by name.
    parts: Vec<(String, Span)>,
    /// What holds references, in order and apart from each other.
    ranges: Vec<Range>,
    /// Tables that name pointers.
    tables: Vec<Range>,
    /// What offsets from the image's base count from.
    image_base: u64,
}

/// What `bytes` are, if they are an executable of a kind that is known.
pub(crate) fn recognise(bytes: &[u8]) -> Option<Exe> {
    let exe = elf::recognise(bytes).or_else(|| pe::recognise(bytes)).or_else(|| macho::recognise(bytes))?;
    (bytes.len() as u64 <= updraft_delta::native::layout::LEN_MAX).then_some(exe)
}

impl Exe {
    /// Whether `self` can be predicted from `old`.
    pub(crate) fn is_like(&self, old: &Self) -> bool {
        self.machine == old.machine
    }

    /// Whether its instructions have four bytes each.
    pub(crate) fn has_words(&self) -> bool {
        matches!(self.machine, Machine::ElfA64 | Machine::MachOA64)
    }

    /// Where what lies in `old` and in `self`, parts of one name paired.
    pub(crate) fn layout_from(&self, old: &Self, new_range: Place, base: usize, old_range: Place) -> Layout {
        let mut news: Vec<Option<&(String, Span)>> = self.parts.iter().map(Some).collect();
        let mut regions = Vec::new();
        for (name, span) in &old.parts {
            let twin = news.iter_mut().find(|new| new.is_some_and(|(new, _)| new == name)).and_then(Option::take);
            regions.push(Region { old: *span, new: twin.map(|(_, span)| *span).unwrap_or_default() });
        }
        regions.extend(news.into_iter().flatten().map(|(_, span)| Region { old: Span::default(), new: *span }));
        let span = |range: Place| (range.start as u64, range.len() as u64);
        Layout {
            new: span(new_range),
            base,
            old: span(old_range),
            regions,
            image_base: (old.image_base, self.image_base),
            old_tables: old.tables.clone(),
            ranges: self.ranges.clone(),
        }
    }
}

/// Leaves out what is empty, overlaps what begins earlier, or reaches beyond the file.
fn tidied(mut ranges: Vec<Range>, file_len: u64) -> Vec<Range> {
    ranges.sort_by_key(|range| (range.offset, range.len));
    let mut done = 0;
    ranges.retain(|range| {
        let end = range.offset.checked_add(range.len);
        let is_good = range.len > 0 && range.offset >= done && end.is_some_and(|end| end <= file_len);
        if is_good {
            done = range.offset + range.len;
        }
        is_good
    });
    ranges
}
