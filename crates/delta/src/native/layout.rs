//! Where what lies in an old and a new executable, as a patch says it.

use std::io::Read;

use crate::error::Error;
use crate::varint;

/// Longest executable that is predicted, in bytes: places in it are kept as 32 bits.
pub const LEN_MAX: u64 = 2 << 30;

/// Most bytes that tables of the old executable may have, for a new one of `new_len` bytes: they are read whatever comes of it.
pub fn tables_len_max(new_len: u64) -> u64 {
    new_len.saturating_mul(4)
}

/// Most executables in one output.
pub const LAYOUTS_MAX: usize = 1_024;

/// Most regions of an executable.
pub const REGIONS_MAX: usize = 256;

/// Most ranges of one.
pub const RANGES_MAX: usize = 65_536;

/// A part of a file, and where it lies in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// Where it begins in the file.
    pub offset: u64,
    /// How many bytes of it are in the file.
    pub len: u64,
    /// Its first address.
    pub address: u64,
    /// How many bytes it takes in memory.
    pub size: u64,
}

impl Span {
    fn end(&self) -> u64 {
        self.address + self.size.max(self.len)
    }
}

/// A part of the old file and the part of the new one that it became. Either may be empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Region {
    /// In the old file.
    pub old: Span,
    /// In the new one.
    pub new: Span,
}

/// What a range of a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum RangeKind {
    /// Instructions of x86-64.
    X86_64 = 0,
    /// The same at fixed addresses: four bytes of displacement or immediate may be one.
    X86_64Fixed = 1,
    /// `Elf64_Rela` entries.
    Rela64 = 2,
    /// `Elf64_Sym` entries.
    Sym64 = 3,
    /// The `.eh_frame` of an ELF file of 64 bits.
    EhFrame = 4,
    /// Its `.eh_frame_hdr`.
    EhFrameHdr = 5,
    /// `Elf64_Relr` entries.
    Relr64 = 6,
    /// Offsets of four bytes from the image's base: tables of a PE file.
    Rva32 = 7,
    /// The `.reloc` of a PE file.
    BaseReloc = 8,
    /// A table of four-byte distances from its own start: what a `switch` jumps by.
    Jumps = 9,
    /// Eight-byte words, each of which may be an address.
    Pointers = 10,
    /// Instructions of arm64.
    A64 = 11,
    /// Eight-byte words of a Mach-O file, each of which may be a chained pointer.
    Chained = 12,
    /// Instructions of x86-64 in a PE file, which also say places as offsets from the image's base, and jump tables.
    X86_64Based = 13,
    /// The `.pdata` of a PE file.
    Exceptions = 14,
    /// Offsets of four bytes from the image's base, with a byte behind each: tables of control flow guard.
    Guards = 15,
    /// Unwind information of a PE file, one behind the other.
    Unwind = 16,
    /// The names of the symbols in the tables before it.
    Strings = 17,
}

impl RangeKind {
    /// Every kind.
    pub const ALL: [Self; 18] = [
        Self::X86_64,
        Self::X86_64Fixed,
        Self::Rela64,
        Self::Sym64,
        Self::EhFrame,
        Self::EhFrameHdr,
        Self::Relr64,
        Self::Rva32,
        Self::BaseReloc,
        Self::Jumps,
        Self::Pointers,
        Self::A64,
        Self::Chained,
        Self::X86_64Based,
        Self::Exceptions,
        Self::Guards,
        Self::Unwind,
        Self::Strings,
    ];
}

/// A range of a file that holds references.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// What it holds.
    pub kind: RangeKind,
    /// Where it begins in the file.
    pub offset: u64,
    /// How many bytes it has.
    pub len: u64,
}

impl Range {
    /// Where it ends.
    pub fn end(&self) -> u64 {
        self.offset + self.len
    }
}

/// Where what lies in an old and a new executable.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Layout {
    /// Where the executable begins in the output, or its image, and its length.
    pub new: (u64, u64),
    /// The base that its copies are predicted from: its place in the header's list.
    pub base: usize,
    /// Where the old executable begins in the base, or its image, and its length.
    pub old: (u64, u64),
    /// The parts of both files that have addresses.
    pub regions: Vec<Region>,
    /// The address that offsets of four bytes count from (`ImageBase` of a PE file), old and new.
    pub image_base: (u64, u64),
    /// Tables of the old file that name pointers in it.
    pub old_tables: Vec<Range>,
    /// What holds references in the new file, in order and apart from each other.
    pub ranges: Vec<Range>,
}

impl Layout {
    /// The bytes of the layouts of one output, which are in order.
    pub fn encode_all(layouts: &[Self]) -> Vec<u8> {
        let mut out = Vec::new();
        varint::write(&mut out, layouts.len() as u64);
        let mut done = 0;
        for layout in layouts {
            let (start, len) = layout.new;
            varint::write(&mut out, start - done);
            done = start + len;
            out.extend(layout.encode());
        }
        out
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for number in [self.new.1, self.base as u64, self.old.0, self.old.1] {
            varint::write(&mut out, number);
        }
        varint::write(&mut out, self.image_base.0);
        varint::write(&mut out, self.image_base.1);
        varint::write(&mut out, self.regions.len() as u64);
        let mut last = Region::default();
        for region in &self.regions {
            put_span(&mut out, last.old, region.old);
            put_span(&mut out, last.new, region.new);
            last = *region;
        }
        put_ranges(&mut out, &self.old_tables);
        put_ranges(&mut out, &self.ranges);
        out
    }

    /// Reads the layouts of an output, or image, of `new_len` bytes. `base_len` tells the length of a base, or its image.
    ///
    /// # Errors
    /// When they claim more than the limits allow, or something lies outside of its file or address space.
    pub fn read_all(
        input: &mut impl Read,
        new_len: u64,
        base_len: impl Fn(usize) -> Option<u64>,
    ) -> Result<Vec<Self>, Error> {
        let mut done = 0_u64;
        let mut ranges = RANGES_MAX;
        list(input, "layouts", LAYOUTS_MAX, |input| {
            let start = done.checked_add(number(input)?).ok_or_else(outside)?;
            let len = number(input)?;
            done = start.checked_add(len).filter(|end| len > 0 && *end <= new_len).ok_or_else(outside)?;
            let layout = Self::read(input, (start, len), &base_len)?;
            // All of them together have no more than one may have.
            ranges = ranges.checked_sub(layout.ranges.len() + layout.old_tables.len()).ok_or_else(outside)?;
            Ok(layout)
        })
    }

    fn read(input: &mut impl Read, new: (u64, u64), base_len: impl Fn(usize) -> Option<u64>) -> Result<Self, Error> {
        let base = usize::try_from(number(input)?).map_err(|_| outside())?;
        let base_len = base_len(base).ok_or_else(|| Error::format("a layout speaks of a base that there is not"))?;
        let old = (number(input)?, number(input)?);
        let is_inside = old.0.checked_add(old.1).is_some_and(|end| end <= base_len);
        let (new_len, old_len) = if is_inside { (new.1, old.1) } else { return Err(outside()) };
        if old_len.max(new_len) > LEN_MAX {
            let found = old_len.max(new_len);
            return Err(Error::Limit { what: "bytes in one executable", found, max: LEN_MAX });
        }
        let image_base = (address(number(input)?)?, address(number(input)?)?);
        let mut last = Region::default();
        let regions = list(input, "regions in a layout", REGIONS_MAX, |input| {
            last = Region { old: span(input, last.old, old_len)?, new: span(input, last.new, new_len)? };
            Ok(last)
        })?;
        let old_tables = ranges(input, old_len)?;
        let ranges = ranges(input, new_len)?;
        let found = old_tables.iter().map(|table| table.len).sum();
        let max = tables_len_max(new_len);
        if found > max {
            return Err(Error::Limit { what: "bytes in the tables of an executable", found, max });
        }
        Ok(Self { new, base, old, regions, image_base, old_tables, ranges })
    }
}

fn put_span(out: &mut Vec<u8>, last: Span, span: Span) {
    varint::write(out, varint::zigzag(span.offset.wrapping_sub(last.offset + last.len) as i64));
    varint::write(out, span.len);
    varint::write(out, varint::zigzag(span.address.wrapping_sub(last.address + last.size) as i64));
    varint::write(out, varint::zigzag(span.size.wrapping_sub(span.len) as i64));
}

fn span(input: &mut impl Read, last: Span, file_len: u64) -> Result<Span, Error> {
    let mut signed = || number(input).map(varint::unzigzag);
    let offset = (last.offset + last.len).checked_add_signed(signed()?).ok_or_else(outside)?;
    let len = number(input)?;
    let mut signed = || number(input).map(varint::unzigzag);
    let start = (last.address + last.size).checked_add_signed(signed()?).ok_or_else(outside)?;
    let size = len.checked_add_signed(signed()?).ok_or_else(outside)?;
    let span = Span { offset, len, address: address(start)?, size: address(size)? };
    let is_inside = offset.checked_add(len).is_some_and(|end| end <= file_len);
    if is_inside { Ok(span) } else { Err(outside()) }
}

fn put_ranges(out: &mut Vec<u8>, ranges: &[Range]) {
    varint::write(out, ranges.len() as u64);
    let mut done = 0;
    for range in ranges {
        out.push(range.kind as u8);
        varint::write(out, range.offset - done);
        varint::write(out, range.len);
        done = range.end();
    }
}

fn ranges(input: &mut impl Read, file_len: u64) -> Result<Vec<Range>, Error> {
    let mut done = 0_u64;
    list(input, "ranges in a layout", RANGES_MAX, |input| {
        let mut kind = [0];
        input.read_exact(&mut kind).map_err(damaged)?;
        let known = RangeKind::ALL.into_iter().find(|known| *known as u8 == kind[0]);
        let kind = known.ok_or_else(|| Error::format(format!("a layout has a range of unknown kind {}", kind[0])))?;
        let (gap, len) = (number(input)?, number(input)?);
        let offset = done.checked_add(gap).ok_or_else(outside)?;
        done = offset.checked_add(len).filter(|end| len > 0 && *end <= file_len).ok_or_else(outside)?;
        Ok(Range { kind, offset, len })
    })
}

fn list<R: Read, T>(
    input: &mut R,
    what: &'static str,
    max: usize,
    mut item: impl FnMut(&mut R) -> Result<T, Error>,
) -> Result<Vec<T>, Error> {
    let found = number(input)?;
    if found > max as u64 {
        return Err(Error::Limit { what, found, max: max as u64 });
    }
    (0..found).map(|_| item(input)).collect()
}

/// Addresses are kept below 2^62, so that the distance of any two, and a little more, fits into an `i64`.
fn address(value: u64) -> Result<u64, Error> {
    if value < 1 << 62 { Ok(value) } else { Err(outside()) }
}

fn number(input: &mut impl Read) -> Result<u64, Error> {
    varint::read(input).map_err(damaged)
}

fn damaged(error: std::io::Error) -> Error {
    Error::format(format!("a layout: {error}"))
}

fn outside() -> Error {
    Error::format("a layout speaks of what is outside of its file")
}

/// Addresses and places of one side of a layout.
#[derive(Debug, Clone)]
pub struct Space {
    /// The spans that have bytes in the file, by their offsets; with the number of the region.
    by_offset: Vec<(Span, usize)>,
    /// All spans, by their addresses; with the number of the region.
    by_address: Vec<(Span, usize)>,
}

impl Space {
    /// The space of these spans, in the order of their regions.
    pub fn new(spans: impl Iterator<Item = Span>) -> Self {
        let all: Vec<(Span, usize)> = spans.enumerate().map(|(region, span)| (span, region)).collect();
        let mut by_offset: Vec<_> = all.iter().filter(|(span, _)| span.len > 0).copied().collect();
        by_offset.sort_by_key(|(span, region)| (span.offset, *region));
        let mut by_address: Vec<_> = all.into_iter().filter(|(span, _)| span.end() > span.address).collect();
        by_address.sort_by_key(|(span, region)| (span.address, *region));
        Self { by_offset, by_address }
    }

    /// The address of a place in the file, and its region.
    pub fn address_of(&self, offset: u64) -> Option<(u64, usize)> {
        let n = self.by_offset.partition_point(|(span, _)| span.offset <= offset);
        let (span, region) = self.by_offset.get(n.checked_sub(1)?)?;
        (offset - span.offset < span.len).then(|| (span.address + (offset - span.offset), *region))
    }

    /// The region that has an address, and its place in the file if it has one there.
    pub fn place_of(&self, address: u64) -> Option<(usize, Option<u64>)> {
        let n = self.by_address.partition_point(|(span, _)| span.address <= address);
        let (span, region) = self.by_address.get(n.checked_sub(1)?)?;
        let distance = address - span.address;
        // The end of a region is an address of it, too, as `__bss_start` and the like are.
        let is_inside = address <= span.end();
        is_inside.then(|| (*region, (distance < span.len).then_some(span.offset + distance)))
    }
}
