//! Reading ELF: sections, and what they hold.

use object::elf;
use object::read::elf::{FileHeader, SectionHeader};
use object::{Endianness, elf::FileHeader64};
use updraft_delta::native::layout::REGIONS_MAX;
use updraft_delta::native::{Range, RangeKind, Span};

use super::{Exe, Machine, jumps, tidied};

/// The names of all symbols. They have no address, but what symbols say of them is predicted as if they had one.
const STRINGS: &str = ".strtab";

/// Where those addresses begin: above all that there are.
const STRINGS_AT: u64 = 1 << 61;

/// A section, as far as it matters here.
struct Section<'a> {
    name: &'a str,
    kind: u32,
    flags: u64,
    span: Span,
}

/// The parts of an ELF file.
pub(super) fn recognise(bytes: &[u8]) -> Option<Exe> {
    let header = FileHeader64::<Endianness>::parse(bytes).ok()?;
    let endian = header.endian().ok()?;
    if endian != Endianness::Little {
        return None;
    }
    let is_fixed = header.e_type(endian) == elf::ET_EXEC;
    let (machine, code) = match header.e_machine(endian) {
        elf::EM_X86_64 if is_fixed => (Machine::ElfX86_64, RangeKind::X86_64Fixed),
        elf::EM_X86_64 => (Machine::ElfX86_64, RangeKind::X86_64),
        elf::EM_AARCH64 => (Machine::ElfA64, RangeKind::A64),
        _ => return None,
    };
    let table = header.sections(endian, bytes).ok()?;
    let sections: Vec<Section<'_>> = table
        .iter()
        .filter_map(|section| {
            let kind = section.sh_type(endian);
            let (offset, len) = section.file_range(endian).unwrap_or_default();
            let is_inside = offset.checked_add(len).is_some_and(|end| end <= bytes.len() as u64);
            let name = std::str::from_utf8(table.section_name(endian, section).ok()?).ok()?;
            let size = section.sh_size(endian).max(len);
            let address = match section.sh_addr(endian) {
                0 if kind == elf::SHT_STRTAB && name == STRINGS => STRINGS_AT + offset,
                address => address,
            };
            let span = Span { offset, len, address, size };
            let is_good = is_inside && address < 1 << 62 && (address < STRINGS_AT || name == STRINGS) && size < 1 << 62;
            is_good.then_some(Section { name, kind, flags: section.sh_flags(endian), span })
        })
        .collect();
    let parts = sections.iter().filter(|section| section.is_in_memory()).take(REGIONS_MAX / 2);
    let parts: Vec<_> = parts.map(|section| (section.name.to_owned(), section.span)).collect();
    if parts.is_empty() {
        return None;
    }
    let range = |section: &Section<'_>| {
        let kind = section.holds(code, is_fixed)?;
        Some(Range { kind, offset: section.span.offset, len: section.span.len })
    };
    let ranges = tidied(sections.iter().filter_map(range).collect(), bytes.len() as u64);
    let ranges = jumps::with_tables(bytes, &parts, 0, ranges);
    let is_table = |range: &&Range| matches!(range.kind, RangeKind::Rela64 | RangeKind::Relr64);
    let tables = ranges.iter().filter(is_table).copied().collect();
    Some(Exe { machine, parts, ranges, tables, image_base: 0 })
}

impl Section<'_> {
    fn is_in_memory(&self) -> bool {
        let is_threads_own = self.flags & u64::from(elf::SHF_TLS) != 0 && self.kind == elf::SHT_NOBITS;
        let is_of_program = self.flags & u64::from(elf::SHF_ALLOC) != 0 || self.span.address >= STRINGS_AT;
        is_of_program && self.span.address != 0 && !is_threads_own
    }

    fn holds(&self, code: RangeKind, is_fixed: bool) -> Option<RangeKind> {
        let is_code = self.flags & u64::from(elf::SHF_EXECINSTR) != 0;
        match (self.kind, self.name) {
            (elf::SHT_NOBITS, _) => None,
            (elf::SHT_RELA, _) => Some(RangeKind::Rela64),
            (elf::SHT_RELR, _) => Some(RangeKind::Relr64),
            (elf::SHT_SYMTAB | elf::SHT_DYNSYM, _) => Some(RangeKind::Sym64),
            (elf::SHT_STRTAB, STRINGS | ".dynstr") => Some(RangeKind::Strings),
            (_, ".eh_frame") => Some(RangeKind::EhFrame),
            (_, ".eh_frame_hdr") => Some(RangeKind::EhFrameHdr),
            _ if is_code => Some(code),
            (elf::SHT_INIT_ARRAY | elf::SHT_FINI_ARRAY, _) => Some(RangeKind::Pointers),
            (elf::SHT_PROGBITS, name) if is_fixed && may_hold_pointers(name) => Some(RangeKind::Pointers),
            _ => None,
        }
    }
}

fn may_hold_pointers(name: &str) -> bool {
    const NAMES: [&str; 7] = [".rodata", ".got", ".got.plt", ".itablink", ".typelink", ".noptrdata", ".go.buildinfo"];
    NAMES.contains(&name) || name.starts_with(".data")
}
