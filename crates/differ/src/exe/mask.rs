//! An executable without its references: in place of each stands what is at its target.
//!
//! Two builds call the same function at different addresses. With the address replaced by a hash of the function's first
//! bytes both calls look alike, so code matches although everything moved.

use std::convert::Infallible;

use updraft_delta::native::a64::{self, Pages};
use updraft_delta::native::map::Map;
use updraft_delta::native::sites::sites;
use updraft_delta::native::{Form, number};

use super::Exe;
use super::in_memory::{self, Reader};

/// How many bytes of a target stand for it.
const LABEL_LEN: usize = 24;

/// `bytes` with every reference replaced by a label of what it refers to.
pub(crate) fn masked(bytes: &[u8], exe: &Exe) -> Vec<u8> {
    let layout = exe.layout_from(exe, 0..bytes.len(), 0, 0..bytes.len());
    let map = Map::new(&layout, &[]);
    let mut record = Record { bytes, map: &map, found: Vec::new(), pages: Pages::default() };
    in_memory::read(bytes, &layout, &mut record);
    let mut found = record.found;
    let read = |at: u64, buf: &mut [u8]| {
        buf.copy_from_slice(&bytes[at as usize..][..buf.len()]);
        Ok::<(), Infallible>(())
    };
    let Ok(sites) = sites(&layout, read);
    found.extend(sites.into_iter().filter_map(|site| {
        let (at, form) = (site.place() as usize, site.form());
        let value = number(bytes.get(at..at + form.width())?);
        let (_, place) = map.refers_to(form, at as u64, value)?;
        Some(Reference::new(at, form.width(), u32::MAX, place))
    }));
    labelled(bytes, &found)
}

/// A reference that was found; there are millions, so it is small. Executables are shorter than 4 GiB.
struct Reference {
    at: u32,
    /// Where in the file its target lies; [`NOWHERE`] for one that has only an address.
    place: u32,
    /// Which bits of it say what it refers to; all of one of eight bytes.
    bits: u32,
    is_wide: bool,
}

/// No place of an executable.
const NOWHERE: u32 = u32::MAX;

fn labelled(bytes: &[u8], found: &[Reference]) -> Vec<u8> {
    let mut blank = bytes.to_vec();
    found.iter().for_each(|reference| reference.replace(&mut blank, 0));
    let mut out = blank.clone();
    for reference in found {
        let from = (reference.place as usize).min(blank.len());
        let label = match reference.place {
            NOWHERE => LABEL_OF_NOTHING,
            _ => hash(&blank[from..(from + LABEL_LEN).min(blank.len())]),
        };
        reference.replace(&mut out, label);
    }
    out
}

impl Reference {
    fn new(at: usize, width: usize, bits: u32, place: Option<u64>) -> Self {
        let place = place.map_or(NOWHERE, |place| place as u32);
        Self { at: at as u32, place, bits, is_wide: width == 8 }
    }

    /// Puts `label` into its bits.
    fn replace(&self, bytes: &mut [u8], label: u64) {
        let at = self.at as usize;
        if self.is_wide {
            bytes[at..at + 8].copy_from_slice(&label.to_le_bytes());
            return;
        }
        let bytes = &mut bytes[at..at + 4];
        let is = number(bytes) as u32 & !self.bits | label as u32 & self.bits;
        bytes.copy_from_slice(&is.to_le_bytes());
    }
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

/// Notes what a file refers to.
struct Record<'a> {
    bytes: &'a [u8],
    map: &'a Map<'a>,
    found: Vec<Reference>,
    pages: Pages,
}

impl Reader for Record<'_> {
    fn reference(&mut self, at: usize, form: Form, value: u64) {
        if let Some((_, place)) = self.map.refers_to(form, at as u64, value) {
            self.found.push(Reference::new(at, form.width(), u32::MAX, place));
        }
    }

    fn word(&mut self, at: usize) {
        let Some(address) = self.map.address(at as u64) else { return };
        let (word, behind) = self.bytes[at..].split_at(4);
        let word = number(word) as u32;
        let behind = &behind[..behind.len().min(a64::REACH as usize)];
        let target = a64::target(word, address, &self.pages, behind);
        self.pages.note(word, address);
        if let Some(place) = target.and_then(|target| self.map.place_of(target)) {
            self.found.push(Reference::new(at, 4, a64::bits(word), place));
        }
    }
}
