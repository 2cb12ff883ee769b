//! Files that do not fit into memory together, in parts that do.
//!
//! Each part has new files that follow each other, and the old files that have something in common with them; a new file that does not fit
//! even by itself is a part of its own ([`crate::large`]). Parts are read twice: to find what is copied, and, when all of that is known, to
//! write it down. Nothing is unpacked here.

mod plan;

use std::io;
use std::ops::Range;

use updraft_delta::ReadAt;

use crate::compose::{self, Bases, Listed, Parts};
use crate::encode::{Failed, Plain};
use crate::file::File;
use crate::large::{Joined, Large};
use crate::make::{Error, Made, Options};
use crate::memory::Memory;
use crate::together;
use plan::Part;

/// The files of both sides, and what may be taken to compare them.
struct Sides<'f> {
    old: &'f [&'f dyn ReadAt],
    new: &'f [&'f dyn ReadAt],
    old_lens: Vec<u64>,
    new_lens: Vec<u64>,
    memory: Memory,
}

/// A patch from `old` to `new`, made part by part.
pub(crate) fn made(
    (old, old_lens): (&[&dyn ReadAt], Vec<u64>),
    (new, new_lens): (&[&dyn ReadAt], Vec<u64>),
    options: &Options,
) -> Result<Made, Error> {
    let sides = Sides { old, new, old_lens, new_lens, memory: Memory(options.memory) };
    let related = plan::related(&sides)?;
    let parts = plan::parts(&sides, &related);
    let mut outputs: Vec<Parts> = Vec::with_capacity(new.len());
    for part in &parts {
        outputs.extend(sides.compared(part)?);
        sides.check(&outputs)?;
    }
    let bases = Bases::of(&outputs, old.len(), |number| sides.old_lens[number] as usize);
    let mut plain = Plain::new(sides.memory.for_streams());
    let mut outputs = outputs.iter();
    for part in &parts {
        sides.write(part, &bases, &mut outputs, &mut plain)?;
    }
    let listed = |number: usize, lens: &[u64]| Listed { number, len: lens[number], image: None };
    let listed_bases = bases.numbers.iter().map(|number| listed(*number, &sides.old_lens)).collect();
    let listed_outputs = (0..new.len()).map(|number| listed(number, &sides.new_lens)).collect();
    Ok(Made { patch: compose::patch(options, listed_bases, listed_outputs, &plain), bases: bases.numbers })
}

impl Sides<'_> {
    /// What the outputs of a part are copied from.
    fn compared(&self, part: &Part) -> Result<Vec<Parts>, Error> {
        match part {
            Part::Files { olds, news } => {
                let (old, new) = (self.read_old(olds)?, self.read_new(news.clone())?);
                let (olds, news) = files(&old, &new);
                Ok(together::compared(&olds, &news))
            }
            Part::Large { olds, news } => {
                let old = Joined::new(olds.iter().map(|n| (self.old[*n], self.old_lens[*n])));
                let large = Large::new(&old, self.memory).map_err(|e| self.failed(news.start, Failed::Read(e)))?;
                let outputs = news.clone().map(|new| {
                    let copies = large.copies(self.new[new]).map_err(|failed| self.failed(new, failed))?;
                    let parts = copies.into_iter().flat_map(|copy| old.split(copy));
                    Ok(parts.map(|(n, part)| (olds[n], part)).collect())
                });
                outputs.collect()
            }
        }
    }

    fn failed(&self, number: usize, failed: Failed) -> Error {
        match failed {
            Failed::Read(source) => Error::Compared { number, source },
            Failed::Full => Error::TooUnlike { max: self.memory.for_streams() as u64 },
        }
    }

    /// Adds the outputs of a part to `plain`.
    fn write<'p>(
        &self,
        part: &Part,
        bases: &Bases,
        outputs: &mut impl Iterator<Item = &'p Parts>,
        plain: &mut Plain,
    ) -> Result<(), Error> {
        match part {
            Part::Files { olds, news } => {
                let olds: Vec<usize> = olds.iter().copied().filter(|n| bases.place(*n).is_some()).collect();
                let (old, new) = (self.read_old(&olds)?, self.read_new(news.clone())?);
                let (olds, news) = files(&old, &new);
                let known = |number| {
                    let n = olds.binary_search_by_key(&number, |old| old.number).ok()?;
                    Some(olds[n].image())
                };
                let image = bases.image(known);
                let placed = olds.iter().filter_map(|old| Some((bases.place(old.number)?, old)));
                let placed: Vec<(usize, &File<'_>)> = placed.collect();
                for (new, parts) in news.iter().zip(outputs) {
                    plain.add(&placed, &image, new, &bases.copies(parts));
                }
                if plain.fits() { Ok(()) } else { Err(self.failed(0, Failed::Full)) }
            }
            Part::Large { news, .. } => {
                let old = Joined::new(bases.numbers.iter().map(|n| (self.old[*n], self.old_lens[*n])));
                for (new, parts) in news.clone().zip(outputs) {
                    let added = plain.add_large(&old, self.new[new], &bases.copies(parts));
                    added.map_err(|failed| self.failed(new, failed))?;
                }
                Ok(())
            }
        }
    }

    /// Copies and new bytes that no old file has are kept in memory, so there may be too many.
    fn check(&self, outputs: &[Parts]) -> Result<(), Error> {
        let copied: u64 = outputs.iter().flatten().map(|(_, part)| part.len as u64).sum();
        let new_bytes = self.new_lens[..outputs.len()].iter().sum::<u64>() - copied;
        let copies: usize = outputs.iter().map(Vec::len).sum();
        let max = self.memory.for_streams() as u64;
        let fits = new_bytes <= max && copies <= self.memory.for_copies();
        if fits { Ok(()) } else { Err(Error::TooUnlike { max }) }
    }

    fn read_old(&self, numbers: &[usize]) -> Result<Vec<(usize, Vec<u8>)>, Error> {
        let read = |number: &usize| Ok((*number, bytes(self.old[*number], self.old_lens[*number])?));
        numbers.iter().map(|number| read(number).map_err(|source| Error::Old { number: *number, source })).collect()
    }

    fn read_new(&self, numbers: Range<usize>) -> Result<Vec<(usize, Vec<u8>)>, Error> {
        let read = |number: usize| Ok((number, bytes(self.new[number], self.new_lens[number])?));
        numbers.map(|number| read(number).map_err(|source| Error::New { number, source })).collect()
    }
}

/// The files of one part, as they lie.
fn files<'a>(old: &'a [(usize, Vec<u8>)], new: &'a [(usize, Vec<u8>)]) -> (Vec<File<'a>>, Vec<File<'a>>) {
    let all = |side: &'a [(usize, Vec<u8>)]| {
        side.iter().map(|(number, bytes)| File::new(*number, bytes, None)).collect::<Vec<_>>()
    };
    (all(old), all(new))
}

/// All bytes of a file of `len`.
fn bytes(file: &dyn ReadAt, len: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(len).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}
