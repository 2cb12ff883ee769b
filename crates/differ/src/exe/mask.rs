//! An executable without its references: in place of each stands what is at its target.
//!
//! Two builds call the same function at different addresses. With the address replaced by a hash of the function's first
//! bytes both calls look alike, so code matches although everything moved.

use std::convert::Infallible;

use updraft_delta::native::map::Map;
use updraft_delta::native::sites::sites;
use updraft_delta::native::{Form, Tape, walk};
use updraft_delta::stream::Lane;

use super::Exe;

/// How many bytes of a target stand for it.
const LABEL_LEN: usize = 24;

/// `bytes` with every reference replaced by a label of what it refers to.
pub(crate) fn masked(bytes: &[u8], exe: &Exe) -> Vec<u8> {
    let layout = exe.layout_from(exe, 0);
    let map = Map::new(&layout, &[]);
    let mut record = Record { bytes, at: 0, map: &map, found: Vec::new() };
    let Ok(()) = walk(&exe.ranges, bytes.len() as u64, &mut record);
    let mut found = record.found;
    let read = |at: u64, buf: &mut [u8]| {
        buf.copy_from_slice(&bytes[at as usize..][..buf.len()]);
        Ok::<(), Infallible>(())
    };
    let Ok(sites) = sites(&layout, read);
    found.extend(sites.into_iter().filter_map(|site| {
        let at = site as usize;
        let value = u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?);
        let (_, place) = map.refers_to(Form::Pointer, at as u64, value)?;
        Some(Reference { at, width: 8, place })
    }));
    labelled(bytes, &found)
}

struct Reference {
    at: usize,
    width: usize,
    /// Where in the file its target lies.
    place: Option<u64>,
}

fn labelled(bytes: &[u8], found: &[Reference]) -> Vec<u8> {
    let mut blank = bytes.to_vec();
    found.iter().for_each(|reference| blank[reference.at..][..reference.width].fill(0));
    let mut out = blank.clone();
    for Reference { at, width, place } in found {
        let label = place.map_or(LABEL_OF_NOTHING, |place| {
            let from = (place as usize).min(blank.len());
            hash(&blank[from..(from + LABEL_LEN).min(blank.len())])
        });
        out[*at..at + width].copy_from_slice(&label.to_le_bytes()[..*width]);
    }
    out
}

/// Stands for what has an address and no bytes.
const LABEL_OF_NOTHING: u64 = 0x55;

fn hash(bytes: &[u8]) -> u64 {
    bytes.chunks(8).fold(0x9e37_79b9_7f4a_7c15, |hash: u64, chunk| {
        let word = chunk.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
        let mixed = (hash ^ word).wrapping_mul(0xff51_afd7_ed55_8ccd);
        mixed ^ mixed >> 32
    })
}

/// Takes the file and notes its references.
struct Record<'a> {
    bytes: &'a [u8],
    at: usize,
    map: &'a Map<'a>,
    found: Vec<Reference>,
}

impl Tape for Record<'_> {
    type Error = Infallible;

    fn byte(&mut self, _lane: Lane) -> Result<u8, Infallible> {
        self.at += 1;
        Ok(self.bytes[self.at - 1])
    }

    fn skip(&mut self, len: u64) -> Result<(), Infallible> {
        self.at += len as usize;
        Ok(())
    }

    fn operand(&mut self, len: u8) -> Result<(), Infallible> {
        self.skip(len.into())
    }

    fn reference(&mut self, form: Form) -> Result<u64, Infallible> {
        let (at, width) = (self.at, form.width());
        let value = self.bytes[at..at + width].iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte));
        if let Some((_, place)) = self.map.refers_to(form, at as u64, value) {
            self.found.push(Reference { at, width, place });
        }
        self.at += width;
        Ok(value)
    }
}
