//! What is found in an `.eh_frame` and its index, made by hand.

use std::convert::Infallible;

use updraft_delta::native::{Form, Layout, Range, RangeKind, Tape, number, walk};
use updraft_delta::stream::Lane;

/// Notes where references lie.
struct Noted<'a> {
    bytes: &'a [u8],
    at: usize,
    found: Vec<(usize, Form)>,
}

impl Noted<'_> {
    fn take(&mut self, len: usize) -> u64 {
        self.at += len;
        number(&self.bytes[self.at - len..self.at])
    }
}

impl Tape for Noted<'_> {
    type Error = Infallible;

    fn byte(&mut self, _: Lane) -> Result<u8, Infallible> {
        Ok(self.take(1) as u8)
    }

    fn skip(&mut self, len: u64) -> Result<(), Infallible> {
        self.at += len as usize;
        Ok(())
    }

    fn operand(&mut self, len: u8) -> Result<(), Infallible> {
        self.skip(len.into())
    }

    fn word(&mut self) -> Result<(), Infallible> {
        self.skip(4)
    }

    fn named(&mut self) -> Result<u32, Infallible> {
        Ok(self.take(4) as u32)
    }

    fn reference(&mut self, form: Form) -> Result<u64, Infallible> {
        self.found.push((self.at, form));
        Ok(self.take(form.width()))
    }
}

fn found(kind: RangeKind, bytes: &[u8]) -> Vec<(usize, Form)> {
    let range = Range { kind, offset: 0, len: bytes.len() as u64 };
    let layout = Layout { ranges: vec![range], ..Layout::default() };
    let mut noted = Noted { bytes, at: 0, found: Vec::new() };
    let Ok(()) = walk(&layout, bytes.len() as u64, &mut noted);
    assert_eq!(noted.at, bytes.len(), "all of it is taken");
    noted.found
}

/// Appends an entry of `.eh_frame` with these bytes behind its length, and answers with where it begins.
fn entry(table: &mut Vec<u8>, body: &[u8]) -> usize {
    let start = table.len();
    table.extend((body.len() as u32).to_le_bytes());
    table.extend(body);
    start
}

/// A description that names the common entry at `common`.
fn description(table: &mut Vec<u8>, common: usize, behind: &[u8]) -> usize {
    let back = (table.len() + 4 - common) as u32;
    entry(table, &[&back.to_le_bytes()[..], behind].concat())
}

#[test]
fn functions_their_data_and_who_handles_them() {
    let mut table = Vec::new();
    // Version 1, "zPLR", three numbers, 7 bytes: personality relative, its place, data relative, functions relative.
    let common = entry(&mut table, b"\0\0\0\0\x01zPLR\0\x01\x78\x10\x07\x9bPPPP\x1b\x1b");
    let with_data = description(&mut table, common, b"FFFFLLLL\x04DDDDrest");
    let without = description(&mut table, common, b"FFFFLLLL\x00rest");
    // "zR" with addresses of eight bytes: they are left alone.
    let wide = entry(&mut table, b"\0\0\0\0\x01zR\0\x01\x78\x10\x01\x00");
    let left_alone = description(&mut table, wide, b"FFFFFFFFLLLLLLLL");
    let nobody = description(&mut table, common + 1, b"FFFFLLLL");
    table.extend(0_u32.to_le_bytes());
    table.extend(b"behind the end");

    let back = |at: usize| (at + 4, Form::Back);
    let expected = [
        back(common),
        (common + 19, Form::Relative),
        back(with_data),
        (with_data + 8, Form::Relative),
        (with_data + 17, Form::Relative),
        back(without),
        (without + 8, Form::Relative),
        back(wide),
        back(left_alone),
        back(nobody),
    ];
    assert_eq!(found(RangeKind::EhFrame, &table), expected);
}

#[test]
fn an_entry_that_says_too_much_ends_it() {
    let mut table = Vec::new();
    let common = entry(&mut table, b"\0\0\0\0\x01zR\0\x01\x78\x10\x01\x1b");
    for len in [2_u32, 1_000, u32::MAX] {
        let mut bad = table.clone();
        bad.extend(len.to_le_bytes());
        bad.extend(b"\x05\0\0\0FFFFLLLL");
        assert_eq!(found(RangeKind::EhFrame, &bad), [(common + 4, Form::Back)], "{len}");
    }
    // One that ends within its letters hurts nobody behind it.
    let cut = entry(&mut table, b"\0\0\0\0\x01zR");
    let good = description(&mut table, common, b"FFFFLLLL");
    let expected = [(4, Form::Back), (cut + 4, Form::Back), (good + 4, Form::Back), (good + 8, Form::Relative)];
    assert_eq!(found(RangeKind::EhFrame, &table), expected);
}

#[test]
fn the_index_has_two_offsets_for_each_function() {
    let table = b"\x01\x1b\x03\x3bEEEEnnnnAAAAaaaaBBBBbbbbrest"[..28 + 3].to_vec();
    let expected: Vec<_> =
        [(4, Form::Relative)].into_iter().chain((12..28).step_by(4).map(|at| (at, Form::FromRegion))).collect();
    assert_eq!(found(RangeKind::EhFrameHdr, &table), expected);
}
