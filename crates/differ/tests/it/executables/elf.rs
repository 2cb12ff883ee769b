//! A small ELF file for x86-64.

use super::functions;

type Section<'a> = (u32, u32, u64, u64, &'a [u8], u64);

/// With code, pointers that relocations name, and symbols.
pub(crate) fn build(lens: &[usize]) -> Vec<u8> {
    const CODE: u64 = 0x1000;
    let (starts, code) = functions(lens, CODE as u32);
    let after = |at: u64, len: usize| (at + len as u64).next_multiple_of(16);
    let pointers_at = after(CODE, code.len());
    let pointers: Vec<u8> = starts.iter().flat_map(|start| u64::from(*start).to_le_bytes()).collect();
    let rela_at = after(pointers_at, pointers.len());
    let mut rela = Vec::new();
    for (n, start) in starts.iter().enumerate() {
        for word in [pointers_at + n as u64 * 8, 8, u64::from(*start)] {
            rela.extend(word.to_le_bytes());
        }
    }
    let mut strings = b"\0".to_vec();
    let mut symbols = vec![0; 24];
    for (n, (start, len)) in starts.iter().zip(lens).enumerate() {
        symbols.extend((strings.len() as u32).to_le_bytes());
        symbols.extend([0x12, 0, 1, 0]);
        symbols.extend(u64::from(*start).to_le_bytes());
        symbols.extend((*len as u64).to_le_bytes());
        strings.extend(format!("function_{n}_of_{len}\0").bytes());
    }
    let symbols_at = after(rela_at, rela.len());
    let strings_at = after(symbols_at, symbols.len());
    let names = b"\0.text\0.data\0.rela.dyn\0.symtab\0.strtab\0.shstrtab\0";
    let names_at = after(strings_at, strings.len());
    let table_at = after(names_at, names.len());

    // Name, type, flags, place, bytes, entry.
    let sections: [Section<'_>; 6] = [
        (1, 1, 6, CODE, &code, 0),
        (7, 1, 3, pointers_at, &pointers, 0),
        (13, 4, 2, rela_at, &rela, 24),
        (23, 2, 0, symbols_at, &symbols, 24),
        (31, 3, 0, strings_at, &strings, 0),
        (39, 3, 0, names_at, names, 0),
    ];
    let mut file = vec![0; table_at as usize + 64];
    file[..16].copy_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    let mut put = |at: usize, value: u64, len: usize| file[at..at + len].copy_from_slice(&value.to_le_bytes()[..len]);
    for (at, value, len) in [(16, 3, 2), (18, 62, 2), (20, 1, 4), (40, table_at, 8), (52, 64, 2), (58, 64, 2)] {
        put(at, value, len);
    }
    put(60, 1 + sections.len() as u64, 2);
    put(62, sections.len() as u64, 2);
    for (name, kind, flags, at, bytes, entry) in sections {
        file[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
        file.extend(name.to_le_bytes());
        file.extend(kind.to_le_bytes());
        let address = if flags & 2 == 0 { 0 } else { at };
        for word in [flags, address, at, bytes.len() as u64, 5, 16, entry] {
            file.extend(word.to_le_bytes());
        }
    }
    file
}
