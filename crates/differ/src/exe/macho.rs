//! Reading Mach-O: sections, and what they hold.

use object::Endianness;
use object::macho::{self, MachHeader64, Section64};
use object::read::macho::{MachHeader, Section as _, Segment as _};
use updraft_delta::native::layout::REGIONS_MAX;
use updraft_delta::native::{Range, RangeKind, Span};

use super::{Exe, Machine, tidied};

/// A section, as far as it matters here.
struct Section {
    name: String,
    span: Span,
    is_code: bool,
    is_data: bool,
}

/// The parts of a Mach-O file of 64 bits.
pub(super) fn recognise(bytes: &[u8]) -> Option<Exe> {
    let header = MachHeader64::<Endianness>::parse(bytes, 0).ok()?;
    let endian = header.endian().ok()?;
    let is_known = endian == Endianness::Little && header.cputype(endian) == macho::CPU_TYPE_ARM64;
    if !is_known {
        return None;
    }
    let file_len = bytes.len() as u64;
    let (mut sections, mut image_base) = (Vec::new(), 0);
    let mut commands = header.load_commands(endian, bytes, 0).ok()?;
    while let Ok(Some(command)) = commands.next() {
        let Ok(Some((segment, data))) = command.segment_64() else { continue };
        if segment.name() == b"__TEXT" {
            image_base = segment.vmaddr(endian);
        }
        let own = segment.sections(endian, data).ok()?.iter();
        sections.extend(own.filter_map(|section| Section::new(section, endian, file_len)));
    }
    let ranges = tidied(sections.iter().filter_map(Section::range).collect(), file_len);
    let parts: Vec<_> =
        sections.into_iter().take(REGIONS_MAX / 2).map(|section| (section.name, section.span)).collect();
    let is_good = !parts.is_empty() && !ranges.is_empty() && image_base < 1 << 62;
    is_good.then_some(Exe { machine: Machine::MachOA64, parts, ranges, tables: Vec::new(), image_base })
}

impl Section {
    /// None for one that lies outside of the file.
    fn new(section: &Section64<Endianness>, endian: Endianness, file_len: u64) -> Option<Self> {
        let (offset, len) = section.file_range(endian).unwrap_or_default();
        let (address, size) = (section.addr.get(endian), section.size.get(endian));
        let is_inside = offset.checked_add(len).is_some_and(|end| end <= file_len);
        let is_good = is_inside && address < 1 << 62 && size < 1 << 62 && size >= len;
        let name = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        is_good.then(|| Self {
            name: format!("{},{}", name(section.segment_name()), name(section.name())),
            span: Span { offset, len, address, size },
            is_code: section.flags.get(endian) & macho::S_ATTR_SOME_INSTRUCTIONS != 0,
            is_data: section.segment_name().starts_with(b"__DATA"),
        })
    }

    fn range(&self) -> Option<Range> {
        let kind = match (self.is_code, self.is_data) {
            (true, _) => RangeKind::A64,
            (false, true) => RangeKind::Chained,
            (false, false) => return None,
        };
        Some(Range { kind, offset: self.span.offset, len: self.span.len })
    }
}
