//! The table of x86-64 against somebody else's decoder: how long an instruction is, and where its operands lie.

use std::path::Path;

use iced_x86::{Code, Decoder, DecoderOptions, Instruction, OpKind};
use updraft_delta::native::x86::{Operands, measure};

/// What is known of an instruction: its length, the place of a relative displacement, of a branch's target.
#[derive(Debug, PartialEq, Eq)]
struct Known {
    len: usize,
    displacement: Option<usize>,
    branch: Option<usize>,
}

/// What our table says. `None` where the bytes end too early.
fn ours(bytes: &[u8]) -> Option<Known> {
    let mut at = 0;
    let next = || {
        at += 1;
        bytes.get(at - 1).copied().ok_or(())
    };
    let Operands { displacement, is_relative, immediate, is_branch, .. } = measure(next).ok()?;
    let len = at + usize::from(displacement) + usize::from(immediate);
    Some(Known { len, displacement: is_relative.then_some(at), branch: is_branch.then_some(at) })
}

/// What iced says. `None` for what is no instruction.
fn theirs(bytes: &[u8]) -> Option<Known> {
    let mut decoder = Decoder::with_ip(64, bytes, 0, DecoderOptions::NONE);
    let mut instruction = Instruction::default();
    decoder.decode_out(&mut instruction);
    if instruction.is_invalid() {
        return None;
    }
    let places = decoder.get_constant_offsets(&instruction);
    let is_branch = instruction.op_count() > 0 && instruction.op0_kind() == OpKind::NearBranch64;
    let is_relative = instruction.is_ip_rel_memory_operand() && places.displacement_size() == 4;
    // XBEGIN says where an abort goes, which nothing that is compiled has.
    let is_told = is_branch && places.immediate_size() == 4 && instruction.code() != Code::Xbegin_rel32;
    Some(Known {
        len: instruction.len(),
        displacement: is_relative.then(|| places.displacement_offset()),
        branch: is_told.then(|| places.immediate_offset()),
    })
}

/// Compares instruction by instruction from the first byte on, as iced counts them. Answers with how many there are.
fn compare(code: &[u8]) -> usize {
    let (mut at, mut count) = (0, 0);
    while at + 15 <= code.len() {
        let bytes = &code[at..at + 15];
        let Some(known) = theirs(bytes) else {
            at += 1;
            continue;
        };
        assert_eq!(ours(bytes).as_ref(), Some(&known), "at {at}: {bytes:02x?}");
        at += known.len;
        count += 1;
    }
    count
}

/// The bytes of the `.text` of an ELF file for x86-64.
fn text(file: &[u8]) -> &[u8] {
    let number = |at: usize, len: usize| {
        file[at..at + len].iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte))
    };
    let (table, entry, count, names) = (number(40, 8), number(58, 2), number(60, 2), number(62, 2));
    let section = |n: usize| table + n * entry;
    let names = number(section(names) + 24, 8);
    let is_text = |n: &usize| file[names + number(section(*n), 4)..].starts_with(b".text\0");
    let found = section((0..count).find(is_text).expect("it has code"));
    &file[number(found + 24, 8)..][..number(found + 32, 8)]
}

/// This test is software for x86-64 itself, on Linux on such a machine.
#[test]
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn real_code_is_measured_right() {
    let file = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    let count = compare(text(&file));
    assert!(count > 100_000, "{count} instructions");
}

/// `scripts/test` fetches it and names the folder in `UPDRAFT_CORPUS`; a plain `cargo test` lists this as ignored.
#[test]
#[ignore = "needs real software: run scripts/test"]
fn fetched_code_is_measured_right() {
    let corpus =
        std::env::var_os("UPDRAFT_CORPUS").expect("UPDRAFT_CORPUS names the fetched software: run scripts/test");
    let mut todo = vec![Path::new(&corpus).join("ruff/new")];
    let mut count = 0;
    while let Some(folder) = todo.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                todo.push(path);
                continue;
            }
            let file = std::fs::read(&path).unwrap();
            if file.starts_with(b"\x7fELF") {
                count += compare(text(&file));
            }
        }
    }
    assert!(count > 1_000_000, "{count} instructions");
}

/// A row of numbers that look like chance and are always the same.
fn random(seed: u64) -> impl Iterator<Item = u8> {
    let mut state = seed;
    std::iter::repeat_with(move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    })
}

/// What is an instruction to iced, and measured otherwise by us: nothing that compilers make.
fn is_known(bytes: &[u8]) -> bool {
    const PREFIXES: [u8; 11] = [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3];
    let prefixes = bytes.iter().take_while(|byte| PREFIXES.contains(byte) || **byte & 0xf0 == 0x40).count();
    let is_small = bytes[..prefixes].contains(&0x66);
    let is_short_address = bytes[..prefixes].contains(&0x67);
    match bytes[prefixes..] {
        // XOP instructions of AMD, which no processor since 2017 has.
        [0x8f, modrm, ..] => modrm & 0x38 != 0,
        // XBEGIN.
        [0xc6 | 0xc7, 0xf8, ..] => true,
        // 3DNow!, and registers of debugging and control.
        [0x0f, 0x0f | 0x20..=0x23, ..] => true,
        // EXTRQ and INSERTQ have two bytes behind ModRM.
        [0x0f, 0x78, ..] => is_small || bytes[..prefixes].contains(&0xf2),
        // A displacement that is relative to EIP.
        _ => is_short_address,
    }
}

#[test]
fn whatever_is_an_instruction_is_measured_alike() {
    let bytes: Vec<u8> = random(4).take(2_000_000).collect();
    let mut count = 0;
    for window in bytes.windows(15) {
        let Some(known) = theirs(window).filter(|_| !is_known(window)) else { continue };
        assert_eq!(ours(window).as_ref(), Some(&known), "{window:02x?}");
        count += 1;
    }
    assert!(count > 1_000_000, "{count} instructions");
}
