//! Reading PE: sections, and what they hold.

mod offsets;

use object::LittleEndian as LE;
use object::pe::{self, ImageNtHeaders64};
use object::read::pe::{ImageNtHeaders, ImageOptionalHeader, PeFile64};
use updraft_delta::native::layout::REGIONS_MAX;
use updraft_delta::native::{Range, RangeKind, Span};

use super::{Exe, Machine, jumps, tidied};

/// The parts of a PE file.
pub(super) fn recognise(bytes: &[u8]) -> Option<Exe> {
    let file = PeFile64::parse(bytes).ok()?;
    let headers: &ImageNtHeaders64 = file.nt_headers();
    let is_like = headers.file_header().machine.get(LE) == pe::IMAGE_FILE_MACHINE_AMD64;
    let image_base = headers.optional_header().image_base();
    if !is_like || image_base >= 1 << 61 {
        return None;
    }
    let parts = parts(&file, image_base, bytes.len() as u64);
    if parts.len() < 2 {
        return None;
    }
    let image = Image { bytes, image_base, parts: &parts };
    let mut ranges = Vec::new();
    for (section, (_, span)) in file.section_table().iter().zip(&parts[1..]) {
        if section.characteristics.get(LE) & pe::IMAGE_SCN_MEM_EXECUTE != 0 {
            ranges.push(Range { kind: RangeKind::X86_64Based, offset: span.offset, len: span.len.min(span.size) });
        }
    }
    let directory = |id| Some(file.data_directory(id)?.address_range());
    let whole = |id, kind| {
        let (address, len) = directory(id)?;
        image.range(address, len.into(), kind)
    };
    ranges.extend(whole(pe::IMAGE_DIRECTORY_ENTRY_EXCEPTION, RangeKind::Exceptions));
    ranges.extend(whole(pe::IMAGE_DIRECTORY_ENTRY_BASERELOC, RangeKind::BaseReloc));
    let exceptions = ranges.iter().find(|range| range.kind == RangeKind::Exceptions).copied();
    ranges.extend(exceptions.and_then(|range| image.unwound(range)));
    if let Some((address, _)) = directory(pe::IMAGE_DIRECTORY_ENTRY_LOAD_CONFIG) {
        ranges.extend(image.guards(address));
    }
    let ranges = tidied(ranges, bytes.len() as u64);
    let tables: Vec<Range> = ranges.iter().filter(|range| is_table(range)).copied().collect();
    let ranges = jumps::with_tables(bytes, &parts, image_base, ranges);
    let found = offsets::find(&image, &ranges);
    let ranges = tidied(ranges.into_iter().chain(found).collect(), bytes.len() as u64);
    Some(Exe { machine: Machine::PeX86_64, parts, ranges, tables, image_base })
}

fn is_table(range: &Range) -> bool {
    matches!(range.kind, RangeKind::BaseReloc | RangeKind::Exceptions)
}

/// The headers and the sections. What lies outside of the file has no bytes in it.
fn parts(file: &PeFile64<'_>, image_base: u64, file_len: u64) -> Vec<(String, Span)> {
    let headers = u64::from(file.nt_headers().optional_header().size_of_headers()).min(file_len);
    let mut parts = vec![(String::new(), Span { offset: 0, len: headers, address: image_base, size: headers })];
    for section in file.section_table().iter().take(REGIONS_MAX / 2 - 1) {
        let (offset, len) = (section.pointer_to_raw_data.get(LE).into(), u64::from(section.size_of_raw_data.get(LE)));
        let address = image_base + u64::from(section.virtual_address.get(LE));
        let size = u64::from(section.virtual_size.get(LE));
        let is_inside = offset <= file_len && len <= file_len - offset;
        let (offset, len) = if is_inside { (offset, len) } else { (0, 0) };
        let name = String::from_utf8_lossy(section.raw_name()).into_owned();
        parts.push((name, Span { offset, len, address, size }));
    }
    parts
}

/// Where addresses lie in a file.
struct Image<'a> {
    bytes: &'a [u8],
    image_base: u64,
    parts: &'a [(String, Span)],
}

impl Image<'_> {
    /// The place of what is at an offset from the image's base, and how many bytes of its part are in the file from there.
    fn place(&self, offset: u32) -> Option<(u64, u64)> {
        let address = self.image_base + u64::from(offset);
        self.parts.iter().find_map(|(_, span)| {
            let distance = address.checked_sub(span.address)?;
            (distance < span.len).then(|| (span.offset + distance, span.len - distance))
        })
    }

    fn range(&self, offset: u32, len: u64, kind: RangeKind) -> Option<Range> {
        let (offset, left) = self.place(offset)?;
        (len <= left).then_some(Range { kind, offset, len })
    }

    /// The number in eight bytes `at` bytes behind an offset from the image's base.
    fn number(&self, offset: u32, at: u32) -> Option<u64> {
        let (place, left) = self.place(offset.checked_add(at)?)?;
        let bytes = self.bytes.get(place as usize..)?.first_chunk::<8>()?;
        (left >= 8).then(|| u64::from_le_bytes(*bytes))
    }

    /// From the first to the last unwind information that `.pdata` names, if it lies together.
    fn unwound(&self, exceptions: Range) -> Option<Range> {
        /// Bytes of unwind information that one function has, on average, at most.
        const LEN_MAX: u64 = 128;
        let table = self.bytes.get(exceptions.offset as usize..exceptions.end() as usize)?;
        let infos = table.chunks_exact(12).map(|entry| u32::from_le_bytes([entry[8], entry[9], entry[10], entry[11]]));
        let infos = infos.filter(|info| *info != 0);
        let (first, last) = (infos.clone().min()?, infos.max()?);
        let (offset, left) = self.place(first)?;
        let (last, left_of_last) = self.place(last)?;
        let is_one = last + left_of_last == offset + left;
        let is_dense = last - offset <= exceptions.len / 12 * LEN_MAX;
        // The last one has a few bytes, too.
        let len = (last - offset + 16).min(left);
        (is_one && is_dense).then_some(Range { kind: RangeKind::Unwind, offset, len })
    }

    /// The tables of control flow guard that the load configuration names: each entry has four bytes, and as many more as
    /// the flags say.
    fn guards(&self, config: u32) -> Vec<Range> {
        const FLAGS: u32 = 0x90;
        const TABLES: [u32; 4] = [0x80, 0xa0, 0xb0, 0x108];
        let extra = self.number(config, FLAGS).unwrap_or_default() as u32 >> 28;
        let len = self.number(config, 0).unwrap_or_default() as u32;
        let kind = match extra {
            0 => RangeKind::Rva32,
            1 => RangeKind::Guards,
            _ => return Vec::new(),
        };
        let table = |at: u32| {
            let (address, count) = (self.number(config, at)?, self.number(config, at + 8)?);
            let offset = u32::try_from(address.checked_sub(self.image_base)?).ok()?;
            self.range(offset, count.checked_mul(4 + u64::from(extra))?, kind)
        };
        TABLES.into_iter().filter(|at| at + 16 <= len).filter_map(table).collect()
    }
}
