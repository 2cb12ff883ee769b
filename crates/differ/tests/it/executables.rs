//! Executables that were changed in every way, also ones that no linker makes: what a patch makes of them is always equal.

pub(crate) mod elf;
pub(crate) mod pe;

use proptest::prelude::*;
use updraft_delta::{Header, Method};

use crate::support::{applied, made};

/// What somebody did to an executable.
#[derive(Debug, Clone)]
enum Harm {
    /// Four bytes of the first ones are something else.
    Header(usize, u32),
    /// Four bytes anywhere.
    Word(usize, u32),
    Insert(usize, usize),
    Delete(usize, usize),
    /// Bytes lie elsewhere.
    Move(usize, usize, usize),
    Truncate(usize),
}

fn any_harm() -> impl Strategy<Value = Harm> {
    let word = prop_oneof![any::<u32>(), 0..0x6000_u32, Just(u32::MAX), Just(0)];
    prop_oneof![
        (any::<usize>(), word.clone()).prop_map(|(at, word)| Harm::Header(at, word)),
        (any::<usize>(), word).prop_map(|(at, word)| Harm::Word(at, word)),
        (any::<usize>(), 0..100_usize).prop_map(|(at, len)| Harm::Insert(at, len)),
        (any::<usize>(), 0..100_usize).prop_map(|(at, len)| Harm::Delete(at, len)),
        (any::<usize>(), any::<usize>(), 0..500_usize).prop_map(|(from, to, len)| Harm::Move(from, to, len)),
        any::<usize>().prop_map(Harm::Truncate),
    ]
}

/// Bytes that hold every header of the executables here.
const HEADERS_LEN: usize = 1_024;

fn harmed(mut file: Vec<u8>, harms: &[Harm]) -> Vec<u8> {
    for harm in harms {
        let len = file.len();
        if len < HEADERS_LEN {
            break;
        }
        match *harm {
            Harm::Header(at, word) => put(&mut file, at % (HEADERS_LEN / 4) * 4, word),
            Harm::Word(at, word) => put(&mut file, at % (len - 4), word),
            Harm::Insert(at, more) => drop(file.splice(at % len..at % len, std::iter::repeat_n(0x90, more))),
            Harm::Delete(at, less) => drop(file.drain(at % len..(at % len + less).min(len))),
            Harm::Move(from, to, part) => {
                let part: Vec<u8> = file.drain(from % len..(from % len + part).min(len)).collect();
                let to = to % (file.len() + 1);
                file.splice(to..to, part);
            }
            Harm::Truncate(at) => file.truncate(at % len),
        }
    }
    file
}

fn put(file: &mut [u8], at: usize, word: u32) {
    file[at..at + 4].copy_from_slice(&word.to_le_bytes());
}

/// Functions that call each other: `lens` says how long each is. Where each begins, and their bytes.
fn functions(lens: &[usize], at: u32) -> (Vec<u32>, Vec<u8>) {
    let mut starts = vec![at];
    for len in lens {
        starts.push(starts[starts.len() - 1] + *len as u32 * 8 + 16);
    }
    let mut code = Vec::new();
    for (n, len) in lens.iter().enumerate() {
        for step in 0..*len {
            let callee = starts[(n * 7 + step * 3) % lens.len()];
            let next = at + code.len() as u32 + 5;
            code.push(0xe8);
            code.extend(callee.wrapping_sub(next).to_le_bytes());
            code.extend([0x48, 0x89, (n * 31 + step * 17) as u8 | 0xc0]);
        }
        code.extend([0xc3; 1]);
        code.extend([0xcc; 15]);
    }
    (starts, code)
}

fn is_native(patch: &[u8]) -> bool {
    let (header, _) = Header::read(&patch).unwrap();
    header.groups[header.outputs[0].group].method == Method::Native
}

fn check(old: Vec<u8>, new: Vec<u8>) -> Vec<u8> {
    let (old, new) = (vec![old], vec![new]);
    let made = made(&old, &new);
    assert!(applied(&made.patch, &old, &made.bases).unwrap() == new);
    made.patch
}

/// How long functions are; one more makes all behind it move.
fn lens(more: usize) -> Vec<usize> {
    (0..60).map(|n| 5 + n * 11 % 23 + if n == 3 { more } else { 0 }).collect()
}

#[test]
fn what_only_moved_costs_next_to_nothing() {
    for build in [elf::build, pe::build] {
        let patch = check(build(&lens(0)), build(&lens(4)));
        assert!(is_native(&patch));
        assert!(patch.len() < 700, "{}", patch.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn whatever_was_done_to_an_executable_comes_out(
        is_elf in any::<bool>(),
        more in 0..9_usize,
        old in proptest::collection::vec(any_harm(), 0..4),
        new in proptest::collection::vec(any_harm(), 0..4),
    ) {
        let build = if is_elf { elf::build } else { pe::build };
        check(harmed(build(&lens(0)), &old), harmed(build(&lens(more)), &new));
    }
}
