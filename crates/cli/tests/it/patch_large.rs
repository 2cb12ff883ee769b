//! `updraft patch` of files that are larger than memory: 4 GB and 1,000 edits in the long test, a tenth of a GB otherwise.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::process::Command;

use crate::support::{Said, run, updraft};

/// Numbers that look random, the same every time.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 16
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        let words = (0..len.div_ceil(4)).flat_map(|_| (self.next() as u32).to_le_bytes());
        words.take(len).collect()
    }
}

/// Noise, and every third MiB a line that repeats itself.
fn write_old(path: &Path, mibs: usize) {
    let mut file = BufWriter::new(File::create(path).unwrap());
    let mut numbers = Numbers(1);
    for mib in 0..mibs {
        let bytes = match mib % 3 {
            0 => {
                format!("{mib:08} a line of a log, and all of them are the same\n").into_bytes().repeat((1 << 20) / 60)
            }
            _ => numbers.bytes(1 << 20),
        };
        file.write_all(&bytes).unwrap();
    }
    file.into_inner().unwrap();
}

/// `old` with `edits`: each takes up to 200 bytes out and puts up to 200 in. Answers with how many it put in.
fn write_new(old: &Path, new: &Path, edits: u64) -> u64 {
    let every = fs::metadata(old).unwrap().len() / edits;
    let (mut from, mut to) = (BufReader::new(File::open(old).unwrap()), BufWriter::new(File::create(new).unwrap()));
    let (mut numbers, mut come) = (Numbers(2), 0);
    for _ in 0..edits {
        let keep = every - 200 - numbers.next() % 5_000;
        std::io::copy(&mut (&mut from).take(keep), &mut to).unwrap();
        std::io::copy(&mut (&mut from).take(numbers.next() % 200), &mut std::io::sink()).unwrap();
        let put = numbers.next() % 200;
        to.write_all(&numbers.bytes(put as usize)).unwrap();
        come += put;
    }
    std::io::copy(&mut from, &mut to).unwrap();
    to.into_inner().unwrap();
    come
}

/// Runs `updraft` where it may have so many MiB of addresses.
fn within(mib: u32, dir: &Path, args: &str) -> Said {
    let program = updraft();
    let program = program.get_program().to_str().unwrap();
    let limited = format!("ulimit -v {} && exec '{program}' {args}", mib << 10);
    run(Command::new("sh").current_dir(dir).args(["-c", &limited]))
}

#[test]
fn a_file_that_is_larger_than_memory() {
    let is_long = std::env::var_os("UPDRAFT_LONG").is_some();
    let (mibs, edits, memory, most) = if is_long { (4_000, 1_000, "2GiB", 2_048) } else { (100, 50, "256MiB", 400) };
    let scene = tempfile::tempdir().unwrap();
    let dir = scene.path();
    write_old(&dir.join("old"), mibs);
    let come = write_new(&dir.join("old"), &dir.join("new"), edits);
    let report = within(most, dir, &format!("patch make old new -o p --memory {memory} --json")).ok().json();
    let bytes = report["patch"].as_u64().unwrap();
    assert!(bytes < come + 20 * edits + 500, "{report}, and {come} bytes are new");
    within(256, dir, "patch apply old p -o out").ok();
    let same = Command::new("cmp").current_dir(dir).args(["new", "out"]).status().unwrap();
    assert!(same.success());
}

#[test]
fn an_amount_of_memory_has_a_unit() {
    let scene = tempfile::tempdir().unwrap();
    fs::write(scene.path().join("a"), "a").unwrap();
    let said = run(updraft().current_dir(scene.path()).args(["patch", "make", "a", "a", "-o", "p", "--memory", "2G"]));
    assert!(said.err.contains("such as 512MiB or 2GiB"), "{said:?}");
}
