//! A new executable from copies, differences and predicted references.
//!
//! Encoder and decoder both run this. They differ in their [`Side`]: one knows the new file and writes down what it
//! needs, the other reads that and learns the new file from it.

mod tape;

use tape::Rebuilt;

use super::layout::Layout;
use super::map::Map;
use super::sites::{Site, sites};
use super::walk::walk;
use crate::stream::{Kind, Lane};

/// A part of the new file that is copied from the old image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copied {
    /// Where it begins in the new file.
    pub new: u64,
    /// Where it begins in the old image.
    pub old: u64,
    /// How many bytes it has.
    pub len: u64,
}

/// Who rebuilds a file, and what for.
pub trait Side {
    /// Why it cannot go on.
    type Error;

    /// Fills `buf` from byte `at` of the old image on.
    ///
    /// # Errors
    /// When that cannot be read.
    fn old(&mut self, at: u64, buf: &mut [u8]) -> Result<(), Self::Error>;

    /// Fills `buf` with the next bytes of the new file, which are copied from nowhere.
    ///
    /// # Errors
    /// When they cannot be had.
    fn inserted(&mut self, lane: Lane, buf: &mut [u8]) -> Result<(), Self::Error>;

    /// Makes the next bytes of the new file of the old ones in `buf`.
    ///
    /// # Errors
    /// When they cannot be had.
    fn copied(&mut self, lane: Lane, buf: &mut [u8]) -> Result<(), Self::Error>;

    /// What the next reference, which is copied from nowhere, refers to: an address modulo 2^32. `kind` is the stream that
    /// tells it; the four bytes of the reference count from `from`.
    ///
    /// # Errors
    /// When it cannot be had.
    fn target(&mut self, kind: Kind, from: u32) -> Result<u32, Self::Error>;

    /// The next instruction of arm64, which is copied from nowhere, at `address`.
    ///
    /// # Errors
    /// When it cannot be had.
    fn new_word(&mut self, address: u64) -> Result<u32, Self::Error>;

    /// The next reference, of `width` bytes; `predicted` is what it is expected to be.
    ///
    /// # Errors
    /// When it cannot be had.
    fn reference(&mut self, predicted: u64, width: usize) -> Result<u64, Self::Error>;

    /// Takes the next bytes of the new file, now that they are known.
    ///
    /// # Errors
    /// When they cannot be written.
    fn write(&mut self, bytes: &[u8]) -> Result<(), Self::Error>;
}

/// Rebuilds an output, or image, of `len` bytes. `layouts` and `copies` are in its order and apart from each other; `start_of`
/// tells where a base begins in the old image.
///
/// # Errors
/// Whatever `side` answers.
pub fn rebuild<S: Side>(
    layouts: &[Layout],
    start_of: impl Fn(usize) -> u64,
    copies: &[Copied],
    len: u64,
    side: &mut S,
) -> Result<(), S::Error> {
    let mut done = 0;
    for layout in layouts {
        let (start, own_len) = layout.new;
        between(copies, done, start - done, side)?;
        executable(layout, start_of(layout.base) + layout.old.0, copies, side)?;
        done = start + own_len;
    }
    between(copies, done, len - done, side)
}

/// What is in no executable.
fn between<S: Side>(copies: &[Copied], start: u64, len: u64, side: &mut S) -> Result<(), S::Error> {
    let layout = Layout::default();
    let base = Base { start: 0, len: 0, sites: Vec::new() };
    let map = Map::new(&layout, &[]);
    part(&layout, map, &base, copies, (start, len), side)
}

/// An executable whose old one begins at `start` in the old image.
fn executable<S: Side>(layout: &Layout, start: u64, copies: &[Copied], side: &mut S) -> Result<(), S::Error> {
    let sites = sites(layout, |at, buf| side.old(start + at, buf))?;
    let base = Base { start, len: layout.old.1, sites };
    let (from, end) = (layout.new.0, layout.new.0 + layout.new.1);
    let first = copies.partition_point(|copy| copy.new + copy.len <= from);
    let inside = copies[first..].iter().take_while(|copy| copy.new < end);
    let own = inside.filter_map(|copy| copy.within(layout.new, start, layout.old.1));
    let map = Map::new(layout, &own.collect::<Vec<_>>());
    part(layout, map, &base, copies, layout.new, side)
}

fn part<S: Side>(
    layout: &Layout,
    map: Map<'_>,
    base: &Base,
    copies: &[Copied],
    (start, len): (u64, u64),
    side: &mut S,
) -> Result<(), S::Error> {
    let mut tape = Rebuilt::new(map, base, copies, start, side);
    walk(layout, len, &mut tape)?;
    tape.finish()
}

impl Copied {
    /// The part of it that lies in an executable and is copied from its old one, counted from where each begins.
    fn within(&self, (new, new_len): (u64, u64), old: u64, old_len: u64) -> Option<Self> {
        let skip = new.saturating_sub(self.new).max(old.saturating_sub(self.old));
        let len = self.len.checked_sub(skip)?;
        let (place, from) = ((self.new + skip).checked_sub(new)?, (self.old + skip).checked_sub(old)?);
        let len = len.min(new_len.checked_sub(place)?).min(old_len.checked_sub(from)?);
        (len > 0).then_some(Self { new: place, old: from, len })
    }
}

/// An old executable.
struct Base {
    /// Where it begins in the old image.
    start: u64,
    /// How many bytes it has.
    len: u64,
    /// The places of its pointers, in order.
    sites: Vec<Site>,
}
