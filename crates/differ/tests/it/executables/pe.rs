//! A small PE file for x86-64.

use super::{functions, put};

const IMAGE_BASE: u64 = 0x1_8000_0000;

/// With code, unwind information, `.pdata`, and pointers that `.reloc` names.
pub(crate) fn build(lens: &[usize]) -> Vec<u8> {
    const HEADERS: usize = 0x400;
    let (starts, code) = functions(lens, 0x1000);
    let (mut infos, mut exceptions, mut pointers, mut relocations) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    const INFOS: u32 = 0x1_0000;
    const POINTERS: u32 = 0x2_0000;
    relocations.extend(POINTERS.to_le_bytes());
    relocations.extend((8 + 2 * lens.len() as u32).to_le_bytes());
    for (n, pair) in starts.windows(2).enumerate() {
        let info = INFOS + infos.len() as u32;
        for word in [pair[0], pair[1], info] {
            exceptions.extend(word.to_le_bytes());
        }
        // Every third is chained to the first, every fifth has a handler of C with one scope.
        infos.extend([
            if n % 3 == 1 {
                0x21
            } else if n % 5 == 2 {
                0x09
            } else {
                0x01
            },
            4,
            1,
            0,
            4,
            0x42,
            0,
            0,
        ]);
        let more: &[u32] = match n {
            n if n % 3 == 1 => &[starts[0], starts[1], INFOS],
            n if n % 5 == 2 => &[starts[2], 1, pair[0] + 1, pair[0] + 7, starts[3], pair[0] + 9],
            _ => &[],
        };
        infos.extend(more.iter().flat_map(|word| word.to_le_bytes()));
        pointers.extend((IMAGE_BASE + u64::from(pair[0])).to_le_bytes());
        relocations.extend((0xa000 | (n as u16 * 8)).to_le_bytes());
    }
    let sections: [(&[u8; 8], u32, u32, &[u8]); 5] = [
        (b".text\0\0\0", 0x6000_0020, 0x1000, &code),
        (b".rdata\0\0", 0x4000_0040, INFOS, &infos),
        (b".data\0\0\0", 0xc000_0040, POINTERS, &pointers),
        (b".pdata\0\0", 0x4000_0040, 0x3_0000, &exceptions),
        (b".reloc\0\0", 0x4200_0040, 0x4_0000, &relocations),
    ];
    let mut file = vec![0; HEADERS];
    file[..2].copy_from_slice(b"MZ");
    put(&mut file, 0x3c, 0x40);
    file[0x40..0x44].copy_from_slice(b"PE\0\0");
    put(&mut file, 0x44, 0x8664 | (sections.len() as u32) << 16);
    put(&mut file, 0x54, 0x2022_00f0);
    const OPTIONAL: usize = 0x58;
    put(&mut file, OPTIONAL, 0x20b);
    put(&mut file, OPTIONAL + 24, IMAGE_BASE as u32);
    put(&mut file, OPTIONAL + 28, (IMAGE_BASE >> 32) as u32);
    for (at, value) in [(32, 0x1000), (36, 0x200), (56, 0x5_0000), (60, HEADERS as u32), (108, 16)] {
        put(&mut file, OPTIONAL + at, value);
    }
    for (directory, section) in [(3, 3), (5, 4)] {
        put(&mut file, OPTIONAL + 112 + 8 * directory, sections[section].2);
        put(&mut file, OPTIONAL + 116 + 8 * directory, sections[section].3.len() as u32);
    }
    for (n, (name, flags, address, bytes)) in sections.into_iter().enumerate() {
        let (at, begin) = (OPTIONAL + 240 + 40 * n, file.len());
        file.extend(bytes);
        file.resize(file.len().next_multiple_of(0x200), 0);
        file[at..at + 8].copy_from_slice(name);
        let raw = file.len() - begin;
        for (field, value) in
            [(8, bytes.len() as u32), (12, address), (16, raw as u32), (20, begin as u32), (36, flags)]
        {
            put(&mut file, at + field, value);
        }
    }
    file
}
