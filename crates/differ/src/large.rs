//! Files that are too large to be compared at once.
//!
//! Two steps. First, *anchors*: about one place in so many of the old files is remembered, and wherever the new file has the same 64 bytes,
//! as much as is the same around it is copied. What is left, usually little, is compared in *windows*: each part of the new file that is
//! not copied yet, with what lies in the old files beside the copies around it, in the way that small files are compared.

mod anchors;
mod blocks;
mod windows;

use std::io;

use updraft_delta::ReadAt;

use crate::encode::Failed;
use crate::image::Image;
use crate::matcher::Copy;
use crate::memory::Memory;
use anchors::Table;

/// Files one behind the other, that are read as one.
pub(crate) struct Joined<'f> {
    files: Vec<&'f dyn ReadAt>,
    /// Where each lies; none of their bytes are at hand.
    places: Image<'static>,
    len: u64,
}

impl<'f> Joined<'f> {
    /// Files, with their lengths.
    pub(crate) fn new(files: impl Iterator<Item = (&'f dyn ReadAt, u64)>) -> Self {
        let (files, lens): (Vec<_>, Vec<u64>) = files.unzip();
        let places = Image::of(lens.iter().map(|len| (*len as usize, &[][..])));
        Self { files, places, len: lens.iter().sum() }
    }

    /// A copy from them, split where one ends, each part with the number of its file, and its place there.
    pub(crate) fn split(&self, copy: Copy) -> impl Iterator<Item = (usize, Copy)> {
        self.places.split(copy).map(|(n, part)| (n, Copy { old: part.old - self.places.span(n).0, ..part }))
    }
}

impl ReadAt for Joined<'_> {
    fn size(&self) -> io::Result<u64> {
        Ok(self.len)
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        if offset + buf.len() as u64 > self.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let all = Copy { new: 0, old: offset as usize, len: buf.len() };
        self.split(all).try_for_each(|(n, part)| {
            self.files[n].read_exact_at(&mut buf[part.new..part.new + part.len], part.old as u64)
        })
    }
}

/// What new files are copied from in old ones.
pub(crate) struct Large<'f> {
    old: &'f dyn ReadAt,
    anchors: Table,
    memory: Memory,
}

impl<'f> Large<'f> {
    /// Reads all of `old`.
    pub(crate) fn new(old: &'f dyn ReadAt, memory: Memory) -> io::Result<Self> {
        Ok(Self { old, anchors: Table::of(old, memory.for_anchors())?, memory })
    }

    /// What `new` is copied from, in its order.
    pub(crate) fn copies(&self, new: &dyn ReadAt) -> Result<Vec<Copy>, Failed> {
        let max = self.memory.for_copies();
        let long = self.anchors.copies(self.old, new, max)?;
        let copies = windows::filled(long, self.old, new, self.memory.for_window(), max)?;
        Ok(joined(copies))
    }
}

/// The same copies, those that go on in both files as one.
fn joined(copies: Vec<Copy>) -> Vec<Copy> {
    let mut joined: Vec<Copy> = Vec::with_capacity(copies.len());
    for copy in copies {
        match joined.last_mut() {
            Some(last) if last.new + last.len == copy.new && last.old + last.len == copy.old => last.len += copy.len,
            _ => joined.push(copy),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MEMORY_MIN;
    use crate::testing::noise;

    /// Bytes of `new` that no copy makes, after a look at every byte that one does.
    fn left(old: &[u8], new: &[u8]) -> (usize, usize) {
        let copies = Large::new(&old, Memory(MEMORY_MIN)).unwrap().copies(&new).unwrap();
        let (mut done, mut left, mut differ) = (0, 0, 0);
        for copy in &copies {
            assert!(copy.new >= done && copy.len > 0, "{copies:?}");
            left += copy.new - done;
            done = copy.new + copy.len;
            let (from, to) = (&old[copy.old..copy.old + copy.len], &new[copy.new..done]);
            differ += from.iter().zip(to).filter(|(from, to)| from != to).count();
        }
        (left + new.len() - done, differ)
    }

    #[test]
    fn scattered_edits_cost_themselves() {
        let old = noise(1, 3 << 20);
        let mut new = old.clone();
        // Changed in place, taken out, put in.
        new[100_000..100_020].copy_from_slice(&noise(2, 20));
        new[700_000] ^= 1;
        new.drain(1_000_000..1_000_500);
        let fresh = noise(3, 300);
        new.splice(2_000_000..2_000_000, fresh);
        let (left, differ) = left(&old, &new);
        assert!((300..340).contains(&left) && differ <= 21, "{left} {differ}");
    }

    #[test]
    fn what_moved_is_found_and_what_moved_a_little_too() {
        let old = noise(1, 2 << 20);
        let parts = [&old[1_500_000..], &old[..700_000], &noise(4, 10_000), &old[700_100..1_500_000]];
        let (left, differ) = left(&old, &parts.concat());
        // A new byte may be what an old one is by chance.
        assert!((9_900..10_100).contains(&left) && differ < 10, "{left} {differ}");
    }

    #[test]
    fn a_part_with_changes_everywhere_is_compared_in_windows() {
        let old = noise(1, 1 << 20);
        let mut new = old.clone();
        // No anchor survives here: there are never 64 bytes that are the same.
        (400_000..600_000).step_by(40).for_each(|at| new[at] ^= 0x55);
        let (left, differ) = left(&old, &new);
        assert_eq!((left, differ), (0, 5_000));
    }

    #[test]
    fn what_repeats_itself_does_not_take_long() {
        let page = noise(1, 4_096);
        let old = page.repeat(2_000);
        let new = [&page.repeat(500)[..], b"and then", &page.repeat(1_700), &[0; 1 << 20]].concat();
        let (left, _) = left(&old, &new);
        assert!(left <= (1 << 20) + 8, "{left}");
        assert_eq!(self::left(&[0; 1 << 20], &[0; 1 << 21]).1, 0);
    }

    #[test]
    fn files_that_are_nothing() {
        let bytes = noise(1, 5_000);
        assert_eq!(left(&[], &bytes), (5_000, 0));
        assert_eq!(left(&bytes, &[]), (0, 0));
        assert_eq!(left(&bytes, &bytes), (0, 0));
        assert_eq!(left(&bytes[..10], &bytes[..11]), (1, 0));
    }
}
