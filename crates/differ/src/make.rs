//! From files to a patch: match, encode, and prove it by applying it.

use std::io;

use updraft_delta::{Base, Header, Output, Patch, ReadAt, Sink};

use crate::encode::{self, Encoded, Plain};
use crate::matcher::{self, Copy, Costs};
use crate::suffix::{Index, TEXT_LEN_MAX};

/// Why no patch was made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is more than fits.
    #[error("{what} of {found} bytes together; {TEXT_LEN_MAX} is what one patch can hold")]
    TooLarge {
        /// Old or new files.
        what: &'static str,
        /// How large they are together.
        found: u64,
    },
    /// The patch does not make what it was made for: a defect.
    #[error("the patch was tried and does not make the new files: {0}; this is a defect, please report it")]
    Unproven(String),
}

/// How a patch is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// What names the old files together.
    pub from: [u8; 32],
    /// What names the new ones.
    pub to: [u8; 32],
}

/// A patch that was made and proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// The patch.
    pub patch: Vec<u8>,
    /// The numbers of the old files that it reads.
    pub bases: Vec<usize>,
}

/// What is tried; the smallest patch wins. Of the sets that were measured, the first is best for compiled code and the second
/// for scripts.
const TRIED: [Costs; 2] =
    [Costs { instruction: 8, distance: 8, mismatch: 12 }, Costs { instruction: 6, distance: 16, mismatch: 12 }];

/// A base that less than this is copied from is not named: whoever lacks it could not use the patch.
const BASE_WORTH: usize = 64;

/// Makes the patch that turns `old` into `new`, and applies it to see that it does.
///
/// # Errors
/// When there is too much of either.
pub fn make(old: &[&[u8]], new: &[&[u8]], options: &Options) -> Result<Made, Error> {
    let (old_image, new_image) = (joined("old files", old)?, joined("new files", new)?);
    let lens: Vec<usize> = old.iter().map(|file| file.len()).collect();
    let index = Index::new(&old_image);
    let mut best: Option<(usize, Plan)> = None;
    for costs in TRIED {
        let copies = matcher::copies(&index, &new_image, costs);
        let plan = Plan::new(&old_image, &lens, new, &copies);
        let size = plan.plain.estimate();
        if best.as_ref().is_none_or(|(smallest, _)| size < *smallest) {
            best = Some((size, plan));
        }
    }
    drop(index);
    let (_, plan) = best.expect("something is tried");
    let made = plan.write(&lens, new, options);
    prove(&made, old, new)?;
    Ok(made)
}

fn joined(what: &'static str, files: &[&[u8]]) -> Result<Vec<u8>, Error> {
    let found: usize = files.iter().map(|file| file.len()).sum();
    if found > TEXT_LEN_MAX {
        return Err(Error::TooLarge { what, found: found as u64 });
    }
    Ok(files.concat())
}

/// What a patch is to say.
struct Plan {
    bases: Vec<usize>,
    plain: Plain,
}

impl Plan {
    fn new(old_image: &[u8], lens: &[usize], new: &[&[u8]], copies: &[Copy]) -> Self {
        let (bases, old_image, copies) = only_what_is_read(old_image, lens, copies);
        let plain = encode::plain(&old_image, new, &split_at_borders(new, copies));
        Self { bases, plain }
    }

    fn write(self, lens: &[usize], new: &[&[u8]], options: &Options) -> Made {
        let Encoded { streams, bytes } = self.plain.encode();
        let outputs = new.iter().zip(&self.plain.predictions);
        let header = Header {
            from: options.from,
            to: options.to,
            bases: self.bases.iter().map(|n| Base { index: *n as u64, len: lens[*n] as u64 }).collect(),
            outputs: outputs
                .map(|(file, prediction)| Output { len: file.len() as u64, prediction: *prediction })
                .collect(),
            streams,
        };
        let mut patch = header.encode();
        patch.extend(bytes);
        Made { patch, bases: self.bases }
    }
}

/// Instructions do not go on from one output to the next.
fn split_at_borders(new: &[&[u8]], copies: Vec<Copy>) -> Vec<Copy> {
    let mut ends = new.iter().scan(0, |end, file| {
        *end += file.len();
        Some(*end)
    });
    let mut end = ends.next().unwrap_or_default();
    let mut split = Vec::with_capacity(copies.len() + new.len());
    for mut copy in copies {
        while copy.len > 0 {
            while end <= copy.new {
                end = ends.next().expect("copies are within the new image");
            }
            let len = copy.len.min(end - copy.new);
            split.push(Copy { len, ..copy });
            copy = Copy { new: copy.new + len, old: copy.old + len, len: copy.len - len };
        }
    }
    split
}

/// Leaves out the files that nothing worth it is copied from, and moves the copies to where the others are then.
fn only_what_is_read(old_image: &[u8], lens: &[usize], copies: &[Copy]) -> (Vec<usize>, Vec<u8>, Vec<Copy>) {
    let starts: Vec<usize> = lens.iter().scan(0, |sum, len| Some(std::mem::replace(sum, *sum + len))).collect();
    let mut read = vec![0; lens.len()];
    for copy in copies {
        parts(&starts, lens, copy).for_each(|(file, part)| read[file] += part.len);
    }
    let bases: Vec<usize> = (0..lens.len()).filter(|file| read[*file] >= BASE_WORTH).collect();
    let mut image = Vec::new();
    let mut moved = vec![None; lens.len()];
    for file in &bases {
        moved[*file] = Some(image.len());
        image.extend_from_slice(&old_image[starts[*file]..][..lens[*file]]);
    }
    let mut kept: Vec<Copy> = Vec::new();
    for copy in copies {
        for (file, part) in parts(&starts, lens, copy) {
            let Some(to) = moved[file] else { continue };
            let part = Copy { old: to + part.old - starts[file], ..part };
            match kept.last_mut() {
                Some(last) if last.new + last.len == part.new && last.old + last.len == part.old => {
                    last.len += part.len
                }
                _ => kept.push(part),
            }
        }
    }
    (bases, image, kept)
}

/// A copy, split at the borders of files, each part with its file.
fn parts(starts: &[usize], lens: &[usize], copy: &Copy) -> impl Iterator<Item = (usize, Copy)> {
    let first = starts.partition_point(|start| *start <= copy.old).saturating_sub(1);
    (first..starts.len()).take_while(|file| starts[*file] < copy.old + copy.len).filter_map(move |file| {
        let (begin, end) = (starts[file].max(copy.old), (starts[file] + lens[file]).min(copy.old + copy.len));
        (begin < end).then(|| (file, Copy { new: copy.new + begin - copy.old, old: begin, len: end - begin }))
    })
}

/// Applies the patch and compares.
fn prove(made: &Made, old: &[&[u8]], new: &[&[u8]]) -> Result<(), Error> {
    let unproven = |e: updraft_delta::Error| Error::Unproven(e.to_string());
    let patch = Patch::open(&made.patch).map_err(unproven)?;
    let bases: Vec<&dyn ReadAt> = made.bases.iter().map(|n| &old[*n] as &dyn ReadAt).collect();
    let mut compare = Compare { new, index: 0, rest: &[] };
    patch.apply(&bases, &mut compare).map_err(unproven)?;
    if compare.rest.is_empty() && compare.index == new.len() {
        return Ok(());
    }
    Err(Error::Unproven("something is missing".to_owned()))
}

/// A sink that only compares.
struct Compare<'a> {
    new: &'a [&'a [u8]],
    index: usize,
    rest: &'a [u8],
}

impl Sink for Compare<'_> {
    fn begin(&mut self, index: usize, _len: u64) -> io::Result<()> {
        let wrong = || io::Error::other("another file was to be made");
        if index != self.index || !self.rest.is_empty() {
            return Err(wrong());
        }
        self.rest = self.new.get(index).ok_or_else(wrong)?;
        self.index += 1;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.rest = self.rest.strip_prefix(bytes).ok_or_else(|| io::Error::other("it has other bytes"))?;
        Ok(())
    }
}
