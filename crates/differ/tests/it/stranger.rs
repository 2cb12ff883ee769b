//! Somebody else's decoder makes the same of every golden patch, and is as careful with a damaged one.
//!
//! `testdata/patches/stranger` is Python, written from docs/format.md: where it and the golden files differ, it, the document or
//! our decoder is wrong. It needs `python3`, and one with stock zlib; without, these tests fail and say so.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

fn dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../testdata/patches")
}

/// The names of all golden patches.
fn names() -> Vec<String> {
    let files = fs::read_dir(dir()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let names: Vec<String> = files.filter_map(|file| file.strip_suffix(".v1").map(str::to_owned)).collect();
    assert!(names.len() >= 8, "they are looked for where they are: {names:?}");
    names
}

/// What Python answers. It writes no `__pycache__` beside the golden files.
fn python(args: &[&str]) -> Output {
    let output = Command::new("python3").arg("-B").args(args).current_dir(dir()).output();
    output.expect("this test runs a decoder in Python: python3 must be installed")
}

#[test]
fn every_golden_patch_is_what_the_document_says() {
    for name in names() {
        let output = python(&["stranger", &format!("{name}.v1"), &format!("{name}.old")]);
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(
            output.stdout == fs::read(dir().join(format!("{name}.new"))).unwrap(),
            "{name}: another file comes out"
        );
    }
}

/// Damages the patches that it is told in every way below, and fails when one of them is neither refused nor makes as many bytes as it
/// says, or when all of them together take two minutes: alone they take 8 seconds.
const DAMAGE: &str = r#"
import faulthandler, sys
from pathlib import Path

faulthandler.dump_traceback_later(120, exit=True)
sys.path.insert(0, "stranger")
from patch import apply, read_header
from wire import Refused


def shortened(patch):
    for length in range(0, len(patch), 97):
        yield patch[:length]
        # The same, but it says so itself.
        yield patch[:12] + length.to_bytes(8, "little") + patch[20:max(20, length)]


def flipped(patch):
    for n in range(len(patch)):
        if n % 7 == len(patch) % 7:
            yield patch[:n] + bytes([patch[n] ^ 1 << n % 8]) + patch[n + 1 :]


counts = {"refused": 0, "made": 0}
for name in sys.argv[1:]:
    patch, old = (Path(f"{name}.{what}").read_bytes() for what in ("v1", "old"))
    for damage in (shortened, flipped):
        for damaged in damage(patch):
            try:
                outputs = apply(damaged, {0: old})
                lengths = [output.length for output in read_header(damaged)[0].outputs]
                assert [len(output) for output in outputs] == lengths, name
                assert damage is flipped, f"{name} is shorter and good"
                counts["made"] += 1
            except Refused:
                counts["refused"] += 1
print(counts["refused"], counts["made"])
"#;

#[test]
fn a_damaged_patch_is_refused_or_makes_what_it_says() {
    let names = names();
    let args: Vec<&str> = ["-c", DAMAGE].into_iter().chain(names.iter().map(String::as_str)).collect();
    let output = python(&args);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let counts = String::from_utf8(output.stdout).unwrap();
    let counts: Vec<u32> = counts.split_whitespace().map(|count| count.parse().unwrap()).collect();
    assert!(counts[0] > 500 && counts[1] > 20, "most are refused, not all, and some were tried: {counts:?}");
}

/// The rows of 16 letters of the tables that tell what follows an x86-64 opcode.
fn rows_of_opcodes(text: &str) -> Vec<&str> {
    let is_row = |word: &&str| word.len() == 16 && word.chars().all(|c| ".bwezvajmnopqr".contains(c));
    text.split([' ', '\n', '"']).filter(is_row).collect()
}

#[test]
fn the_document_has_the_opcodes_that_the_decoder_has() {
    let document = fs::read_to_string(dir().join("../../docs/format.md")).unwrap();
    let decoder = fs::read_to_string(dir().join("stranger/x86.py")).unwrap();
    let rows = rows_of_opcodes(&document);
    assert_eq!((rows.len(), rows), (32, rows_of_opcodes(&decoder)));
}
