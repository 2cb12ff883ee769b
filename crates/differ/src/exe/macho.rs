//! Reading Mach-O: sections, and what they hold.

use object::Endianness;
use object::macho::{self, MachHeader64};
use object::read::macho::{MachHeader, Section as _, Segment as _};
use updraft_delta::native::layout::REGIONS_MAX;
use updraft_delta::native::{Range, RangeKind, Span};

use super::{Exe, Machine, tidied};

/// The parts of a Mach-O file of 64 bits.
pub(super) fn recognise(bytes: &[u8]) -> Option<Exe> {
    let header = MachHeader64::<Endianness>::parse(bytes, 0).ok()?;
    let endian = header.endian().ok()?;
    let is_known = endian == Endianness::Little && header.cputype(endian) == macho::CPU_TYPE_ARM64;
    if !is_known {
        return None;
    }
    let file_len = bytes.len() as u64;
    let (mut parts, mut ranges, mut image_base) = (Vec::new(), Vec::new(), 0);
    let mut commands = header.load_commands(endian, bytes, 0).ok()?;
    while let Ok(Some(command)) = commands.next() {
        if let Ok(Some((segment, data))) = command.segment_64() {
            if segment.name() == b"__TEXT" {
                image_base = segment.vmaddr(endian);
            }
            for section in segment.sections(endian, data).ok()? {
                let (offset, len) = section.file_range(endian).unwrap_or_default();
                let (address, size) = (section.addr.get(endian), section.size.get(endian));
                let is_inside = offset.checked_add(len).is_some_and(|end| end <= file_len);
                if !is_inside || address >= 1 << 62 || size >= 1 << 62 || size < len {
                    continue;
                }
                let name = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                let name = format!("{},{}", name(section.segment_name()), name(section.name()));
                parts.push((name, Span { offset, len, address, size }));
                let is_code = section.flags.get(endian) & macho::S_ATTR_SOME_INSTRUCTIONS != 0;
                let is_data = section.segment_name().starts_with(b"__DATA");
                match (is_code, is_data) {
                    (true, _) => ranges.push(Range { kind: RangeKind::A64, offset, len }),
                    (false, true) => ranges.push(Range { kind: RangeKind::Chained, offset, len }),
                    (false, false) => {}
                }
            }
        }
    }
    parts.truncate(REGIONS_MAX / 2);
    let ranges = tidied(ranges, file_len);
    let is_good = !parts.is_empty() && !ranges.is_empty() && image_base < 1 << 62;
    is_good.then_some(Exe { machine: Machine::MachOA64, parts, ranges, tables: Vec::new(), image_base })
}
