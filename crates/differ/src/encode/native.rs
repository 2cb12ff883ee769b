//! Executables as streams: the side that knows the new file.

use std::convert::Infallible;

use updraft_delta::limits::NATIVE_INSTRUCTIONS_MAX;
use updraft_delta::native::layout::{LAYOUTS_MAX, RANGES_MAX, tables_len_max};
use updraft_delta::native::{Copied, Layout, Side, a64, number, rebuild};
use updraft_delta::stream::{Kind, Lane};
use updraft_delta::varint;

use super::PlainGroup;
use crate::file::{File, Part};
use crate::image::Image;
use crate::matcher::Copy;

/// References, as streams.
#[derive(Debug, Default)]
pub(super) struct References {
    /// What new calls, jumps and other instructions refer to.
    pub(super) calls: Vec<u8>,
    pub(super) jumps: Vec<u8>,
    pub(super) addresses: Vec<u8>,
    /// How far new offsets in tables of functions are apart.
    pub(super) steps: Vec<u8>,
    /// How many are as predicted before each that is not.
    pub(super) gaps: Vec<u8>,
    /// What is added to those.
    pub(super) diffs: Vec<u8>,
    /// How many were as predicted since.
    gap: u64,
}

impl References {
    fn targets(&mut self, kind: Kind) -> &mut Vec<u8> {
        match kind {
            Kind::Call => &mut self.calls,
            Kind::Jump => &mut self.jumps,
            Kind::Step => &mut self.steps,
            _ => &mut self.addresses,
        }
    }
}

/// How to predict the executables of `new`: each from the one that most of it is copied from.
pub(super) fn layouts(bases: &[(usize, &File<'_>)], old: &Image<'_>, new: &File<'_>, copies: &[Copy]) -> Vec<Layout> {
    if copies.len() >= NATIVE_INSTRUCTIONS_MAX {
        return Vec::new();
    }
    let known: Vec<(usize, &Part)> =
        bases.iter().flat_map(|(base, file)| file.exes.iter().map(move |exe| (*base, exe))).collect();
    let layout = |part: &Part| {
        let copied = |base: usize, from: &Part| -> usize {
            let (start, _) = old.span(base);
            let from = start + from.range.start..start + from.range.end;
            let first = copies.partition_point(|copy| copy.new + copy.len <= part.range.start);
            let own = copies[first..].iter().take_while(|copy| copy.new < part.range.end);
            own.filter(|copy| from.contains(&copy.old)).map(|copy| copy.len).sum()
        };
        let like = known.iter().filter(|(_, old)| part.exe.is_like(&old.exe));
        let (copied, base, from) =
            like.map(|(base, from)| (copied(*base, from), *base, from)).max_by_key(|(n, ..)| *n)?;
        (copied > 0).then(|| part.exe.layout_from(&from.exe, part.range.clone(), base, from.range.clone()))
    };
    let mut room = RANGES_MAX;
    let fits = |mut layout: Layout| {
        if layout.old_tables.iter().map(|table| table.len).sum::<u64>() > tables_len_max(layout.new.1) {
            layout.old_tables.clear();
        }
        room = room.checked_sub(layout.ranges.len() + layout.old_tables.len())?;
        Some(layout)
    };
    new.exes.iter().filter_map(layout).map_while(fits).take(LAYOUTS_MAX).collect()
}

impl PlainGroup {
    pub(super) fn rebuilt(&mut self, old: &Image<'_>, layouts: &[Layout], new: &[u8], copies: &[Copy]) {
        self.layout.extend(Layout::encode_all(layouts));
        let copied = |copy: &Copy| Copied { new: copy.new as u64, old: copy.old as u64, len: copy.len as u64 };
        let copies: Vec<Copied> = copies.iter().map(copied).collect();
        let start_of = |base| old.span(base).0 as u64;
        let mut encoder = Encoder { group: self, old, new, at: 0 };
        let Ok(()) = rebuild(layouts, start_of, &copies, new.len() as u64, &mut encoder);
    }
}

/// The side that knows the new file and writes down what the other needs.
struct Encoder<'e> {
    group: &'e mut PlainGroup,
    old: &'e Image<'e>,
    new: &'e [u8],
    at: usize,
}

impl Encoder<'_> {
    fn next(&mut self, len: usize) -> &[u8] {
        self.at += len;
        &self.new[self.at - len..self.at]
    }
}

impl Side for Encoder<'_> {
    type Error = Infallible;

    fn old(&mut self, at: u64, buf: &mut [u8]) -> Result<(), Infallible> {
        buf.copy_from_slice(self.old.bytes(at as usize, buf.len()));
        Ok(())
    }

    fn inserted(&mut self, lane: Lane, buf: &mut [u8]) -> Result<(), Infallible> {
        buf.copy_from_slice(self.next(buf.len()));
        self.group.lanes[lane as usize].insert.extend_from_slice(buf);
        Ok(())
    }

    fn copied(&mut self, lane: Lane, buf: &mut [u8]) -> Result<(), Infallible> {
        let new = &self.new[self.at..self.at + buf.len()];
        self.at += buf.len();
        self.group.lanes[lane as usize].diff.add(buf, new);
        buf.copy_from_slice(new);
        Ok(())
    }

    fn target(&mut self, kind: Kind, from: u32) -> Result<u32, Infallible> {
        let value = number(self.next(4)) as u32;
        let target = value.wrapping_add(from);
        self.group.references.targets(kind).extend(target.to_be_bytes());
        Ok(target)
    }

    fn new_word(&mut self, address: u64) -> Result<u32, Infallible> {
        let word = number(self.next(4)) as u32;
        let sent = a64::absolute(word, address).to_le_bytes();
        self.group.lanes[Lane::Wide as usize].insert.extend_from_slice(&sent);
        Ok(word)
    }

    fn reference(&mut self, predicted: u64, width: usize) -> Result<u64, Infallible> {
        let value = number(self.next(width));
        let references = &mut self.group.references;
        if value == predicted {
            references.gap += 1;
            return Ok(value);
        }
        let diff = value.wrapping_sub(predicted);
        let diff = if width == 4 { i64::from(diff as u32 as i32) } else { diff as i64 };
        varint::write(&mut references.gaps, std::mem::take(&mut references.gap));
        varint::write(&mut references.diffs, varint::zigzag(diff));
        Ok(value)
    }

    fn write(&mut self, _bytes: &[u8]) -> Result<(), Infallible> {
        Ok(())
    }
}
