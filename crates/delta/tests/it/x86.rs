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
    // XBEGIN says where to go on after an abort; it is measured, but told as no branch.
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

/// What is an instruction to iced, and measured otherwise by us: what only processors of AMD had, and no longer have.
fn is_known(bytes: &[u8]) -> bool {
    let prefixes = bytes.iter().take_while(|byte| PREFIXES.contains(byte) || **byte & 0xf0 == 0x40).count();
    match bytes[prefixes..] {
        // XOP; with a map below 8 it is POP, which we measure.
        [0x8f, map, ..] => map & 0x1f >= 8,
        // EXTRQ and INSERTQ, which have two bytes behind ModRM.
        [0x0f, 0x78, ..] => bytes[..prefixes].iter().any(|byte| [0x66, 0xf2].contains(byte)),
        _ => false,
    }
}

const PREFIXES: [u8; 11] = [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3];

/// Bytes by chance, with more prefixes and escapes than chance has.
fn any_bytes(random: &mut impl Iterator<Item = u8>) -> [u8; 15] {
    const ESCAPES: [u8; 5] = [0x0f, 0xc4, 0xc5, 0x62, 0x8f];
    let mut next = || random.next().expect("it never ends");
    let mut bytes = std::array::from_fn(|_| next());
    let mut at = 0;
    while at < 3 && next() < 0x60 {
        let n = usize::from(next());
        bytes[at] = if n < 0x80 { PREFIXES[n % PREFIXES.len()] } else { 0x40 | n as u8 & 0x0f };
        at += 1;
    }
    if next() < 0x60 {
        bytes[at] = ESCAPES[usize::from(next()) % ESCAPES.len()];
    }
    if next() < 0x20 {
        bytes[at + 1] = if next() < 0x80 { 0x38 } else { 0x3a };
    }
    bytes
}

#[test]
fn whatever_is_an_instruction_is_measured_alike() {
    let mut random = random(4);
    let mut count = 0;
    for _ in 0..2_000_000 {
        let bytes = any_bytes(&mut random);
        let Some(known) = theirs(&bytes) else { continue };
        if !is_known(&bytes) {
            assert_eq!(ours(&bytes).as_ref(), Some(&known), "{bytes:02x?}");
            count += 1;
        }
    }
    assert!(count > 1_000_000, "{count} instructions");
}
