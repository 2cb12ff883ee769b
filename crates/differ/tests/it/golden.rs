//! Patches of format 1 that were made once and are applied for ever: whoever has one must be able to use it.
//!
//! `testdata/patches/` has `NAME.old`, `NAME.new` and `NAME.v1`. None of them is ever changed; what the format learns gets files of
//! its own. `UPDRAFT_NEW_GOLDEN=1` writes those that are not there yet.

use std::fs;
use std::path::PathBuf;

use updraft_delta::container::Kind;
use updraft_delta::{Header, Method};

use crate::executables::{elf, pe};
use crate::support::{applied, made};

fn dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../testdata/patches")
}

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/");

/// Minified names that were renamed alike, and a new paragraph.
fn text(new: bool) -> Vec<u8> {
    let mut text = String::new();
    for n in 0..400_u32 {
        let name = ["e", "t", "n", "r"][((n * 7 + u32::from(new)) % 4) as usize];
        text.push_str(&format!("{name}.render({n},state[{}]);", n * n % 97));
        if new && n == 200 {
            text.push_str("function added(first,second){return first+second}");
        }
    }
    text.into_bytes()
}

/// An ELF file for arm64: functions that call each other and take addresses of data.
fn a64(lens: &[usize]) -> Vec<u8> {
    const CODE: usize = 0x1000;
    let mut file = elf::build(lens);
    file[18] = 183;
    let starts: Vec<usize> = lens
        .iter()
        .scan(0, |end, len| {
            *end += len * 8 + 16;
            Some(*end - (len * 8 + 16))
        })
        .collect();
    let len: usize = lens.iter().map(|len| len * 8 + 16).sum();
    for at in (0..len).step_by(4) {
        let n = (at / 4) as u32;
        let callee = starts[n as usize * 7 % starts.len()];
        let word = match n % 5 {
            0 => 0x9400_0000 | ((callee as i64 - at as i64) >> 2) as u32 & 0x03ff_ffff,
            1 => 0xb000_0000 | (n % 8),
            2 => 0x9100_0000 | (callee as u32 & 0xfff) << 10 | ((n - 1) % 8) << 5,
            3 => 0x5400_0000 | (n % 11) << 5,
            _ => 0xaa00_03e0 | (n % 30) << 16,
        };
        file[CODE + at..CODE + at + 4].copy_from_slice(&word.to_le_bytes());
    }
    file
}

/// What each pair is good for: its name, the old file, the new one.
fn pairs() -> Vec<(&'static str, Vec<u8>, Vec<u8>)> {
    let data = |name: &str| fs::read(format!("{DATA}{name}")).unwrap();
    let lens: Vec<usize> = (0..40).map(|n| 6 + n * n % 19).collect();
    let grown: Vec<usize> = lens.iter().enumerate().map(|(n, len)| len + if n % 7 == 3 { 3 } else { 0 }).collect();
    let tables = |by: u32| (0..2_000_u32).flat_map(|n| (n * 12 + by).to_le_bytes()).collect();
    vec![
        ("words", text(false), text(true)),
        ("tables", tables(0), tables(40)),
        ("elf-x86-64", elf::build(&lens), elf::build(&grown)),
        ("pe-x86-64", pe::build(&lens), pe::build(&grown)),
        ("elf-arm64", a64(&lens), a64(&grown)),
        ("zip", data("streamed.zip"), data("python.zip")),
        ("gzip", data("python.gz"), data("python.gz")),
        ("gnu-gzip", data("lines-old.gz"), data("lines-new.gz")),
        ("info-zip", data("lines-old.zip"), data("lines-new.zip")),
        ("nothing", Vec::new(), Vec::new()),
    ]
}

#[test]
fn patches_of_format_1_are_applied() {
    let read = |name: &str, what: &str| {
        let path = dir().join(format!("{name}.{what}"));
        fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    };
    for (name, old, new) in pairs() {
        if std::env::var_os("UPDRAFT_NEW_GOLDEN").is_some() && !dir().join(format!("{name}.v1")).exists() {
            let patch = made(std::slice::from_ref(&old), std::slice::from_ref(&new)).patch;
            for (what, bytes) in [("old", &old), ("new", &new), ("v1", &patch)] {
                fs::write(dir().join(format!("{name}.{what}")), bytes).unwrap();
            }
        }
        let patch = read(name, "v1");
        let (header, _) = Header::read(&patch).unwrap();
        let bases: Vec<usize> = header.bases.iter().map(|base| base.index as usize).collect();
        let made = applied(&patch, &[read(name, "old")], &bases).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(made == [read(name, "new")], "{name}: another file comes out");
    }
}

#[test]
fn every_way_is_among_them() {
    let headers: Vec<Header> = pairs()
        .iter()
        .map(|(name, ..)| Header::read(&fs::read(dir().join(format!("{name}.v1"))).unwrap()).unwrap().0)
        .collect();
    for method in Method::ALL {
        assert!(headers.iter().flat_map(|header| &header.groups).any(|group| group.method == method), "{method:?}");
    }
    for kind in [Kind::Zip, Kind::Gzip] {
        let is_there = |header: &Header| {
            let images = header.outputs.iter().filter_map(|output| output.image.as_ref());
            images.into_iter().any(|image| image.params.kind() == kind)
        };
        assert!(headers.iter().any(is_there), "{kind:?}");
    }
    let params = headers.iter().flat_map(|header| &header.outputs).filter_map(|output| output.image.as_ref());
    let ends: Vec<Vec<u8>> = params.map(|image| image.params.encode()).collect();
    // gzip -6 and zip -9, as docs/format.md numbers them.
    for method in [2841_u16, 2853].map(|number| [number as u8 | 0x80, (number >> 7) as u8]) {
        assert!(ends.iter().any(|params| params.ends_with(&method)), "{method:?}");
    }
}
