//! From files to a patch: match, encode, and prove it by applying it.

use std::io;

use updraft_delta::{Base, Header, Output, Patch, ReadAt, Sink};

use crate::encode::{self, Encoded, Plain};
use crate::file::{File, Unpacked};
use crate::image::Image;
use crate::matcher::{self, Copy};
use crate::relevant::keep_relevant;
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

/// A base that less than this is copied from is not named: whoever lacks it could not use the patch.
const BASE_WORTH: usize = 64;

/// Makes the patch that turns `old` into `new`, and applies it to see that it does.
///
/// # Errors
/// When there is too much of either.
pub fn make(old: &[&[u8]], new: &[&[u8]], options: &Options) -> Result<Made, Error> {
    let unpacked = Unpacked::of(new);
    // What stays packed is like old ones that stay packed, what does not is not: where there is both, both is tried.
    let is_mixed = unpacked.is_any() && !unpacked.is_all();
    let made = tried(old, new, unpacked, options)?;
    let plain = is_mixed.then(|| tried(old, new, Unpacked::none(new), options)).transpose()?;
    let made = plain.filter(|plain| plain.patch.len() < made.patch.len()).unwrap_or(made);
    prove(&made, old, new)?;
    Ok(made)
}

fn tried(old: &[&[u8]], new: &[&[u8]], unpacked: Unpacked, options: &Options) -> Result<Made, Error> {
    let (mut olds, news) = unpacked.files(old, new);
    keep_relevant(&mut olds, &news);
    check_len("old files", olds.iter().map(File::image))?;
    check_len("new files", news.iter().map(File::image))?;
    let mut text = Vec::with_capacity(olds.iter().map(|file| file.image().len()).sum());
    olds.iter().for_each(|file| text.extend_from_slice(&file.matched()));
    let index = Index::new(&text);
    let copies = matched_copies(&index, &olds, &news);
    drop(index);
    let plan = Plan::new(&olds, &news, &copies);
    Ok(plan.write(&olds, &news, options))
}

fn check_len<'f>(what: &'static str, files: impl Iterator<Item = &'f [u8]>) -> Result<(), Error> {
    let found: usize = files.map(<[u8]>::len).sum();
    if found > TEXT_LEN_MAX { Err(Error::TooLarge { what, found: found as u64 }) } else { Ok(()) }
}

/// The copies of each output.
fn matched_copies(index: &Index<'_>, olds: &[File<'_>], news: &[File<'_>]) -> Vec<Vec<Copy>> {
    let image = Image::new(olds.iter().map(File::image).collect());
    let mut near = 0;
    let copies = news.iter().map(|new| {
        let matched = new.matched();
        let tried = new.costs().iter().map(|costs| matcher::copies(index, &matched, *costs, near));
        let mut tried: Vec<Vec<Copy>> = tried.collect();
        if let [.., cheap, dear] = tried.as_slice() {
            tried.push(matcher::mixed(cheap, dear, matched.len()));
        }
        let copies = match tried.len() {
            1 => tried.swap_remove(0),
            _ => tried.into_iter().min_by_key(|copies| encode::estimate(&image, new, copies)).unwrap_or_default(),
        };
        let copies = if new.has_words() { whole_words(copies) } else { copies };
        near = copies.last().map_or(near, |copy| copy.old + copy.len);
        copies
    });
    copies.collect()
}

/// Leaves out the ends of copies that are less than an instruction of four bytes.
fn whole_words(mut copies: Vec<Copy>) -> Vec<Copy> {
    for copy in &mut copies {
        let skip = (copy.new.next_multiple_of(4) - copy.new).min(copy.len);
        let len = (copy.len - skip) / 4 * 4;
        *copy = Copy { new: copy.new + skip, old: copy.old + skip, len };
    }
    copies.retain(|copy| copy.len > 0);
    copies
}

/// What a patch is to say.
struct Plan {
    bases: Vec<usize>,
    plain: Plain,
}

impl Plan {
    fn new(olds: &[File<'_>], news: &[File<'_>], copies: &[Vec<Copy>]) -> Self {
        let (bases, copies) = only_what_is_read(olds, copies);
        let kept: Vec<&File<'_>> = bases.iter().map(|base| &olds[*base]).collect();
        let plain = encode::plain(&kept, news, &copies);
        Self { bases, plain }
    }

    fn write(self, olds: &[File<'_>], news: &[File<'_>], options: &Options) -> Made {
        let Encoded { groups, bytes } = self.plain.encode();
        let base = |n: &usize| {
            let old = &olds[*n];
            Base { index: old.number as u64, len: old.len() as u64, image: old.to_unpack() }
        };
        let output = |(file, group): (&File<'_>, &usize)| Output {
            group: *group,
            len: file.len() as u64,
            image: file.to_pack(),
        };
        let header = Header {
            from: options.from,
            to: options.to,
            bases: self.bases.iter().map(base).collect(),
            groups,
            outputs: news.iter().zip(&self.plain.group_of).map(output).collect(),
        };
        let mut patch = header.encode(encode::smallest);
        patch.extend(bytes);
        Made { patch, bases: self.bases.iter().map(|n| olds[*n].number).collect() }
    }
}

/// Leaves out the files that nothing worth it is copied from, and moves the copies to where the others are then.
fn only_what_is_read(olds: &[File<'_>], copies: &[Vec<Copy>]) -> (Vec<usize>, Vec<Vec<Copy>>) {
    let image = Image::new(olds.iter().map(File::image).collect());
    let mut read = vec![0; olds.len()];
    for copy in copies.iter().flatten() {
        image.split(*copy).for_each(|(file, part)| read[file] += part.len);
    }
    let bases: Vec<usize> = (0..olds.len()).filter(|file| read[*file] >= BASE_WORTH).collect();
    let mut len = 0;
    let mut moved = vec![None; olds.len()];
    for file in &bases {
        moved[*file] = Some(len);
        len += olds[*file].image().len();
    }
    let kept = copies.iter().map(|copies| {
        let parts = copies.iter().flat_map(|copy| image.split(*copy));
        let kept = parts.filter_map(|(file, part)| {
            let (start, _) = image.span(file);
            moved[file].map(|to| Copy { old: to + part.old - start, ..part })
        });
        kept.collect()
    });
    (bases, kept.collect())
}

/// Applies the patch and compares.
fn prove(made: &Made, old: &[&[u8]], new: &[&[u8]]) -> Result<(), Error> {
    let unproven = |e: updraft_delta::Error| Error::Unproven(e.to_string());
    let patch = Patch::open(&made.patch).map_err(unproven)?;
    let bases: Vec<&dyn ReadAt> = made.bases.iter().map(|n| &old[*n] as &dyn ReadAt).collect();
    let mut compare = Compare { new, made: 0, rest: &[] };
    patch.apply(&bases, &mut Vec::new(), &mut compare).map_err(unproven)?;
    if compare.rest.is_empty() && compare.made == new.len() {
        return Ok(());
    }
    Err(Error::Unproven("something is missing".to_owned()))
}

/// A sink that only compares.
struct Compare<'a> {
    new: &'a [&'a [u8]],
    /// How many were begun.
    made: usize,
    rest: &'a [u8],
}

impl Sink for Compare<'_> {
    fn begin(&mut self, index: usize, _len: u64) -> io::Result<()> {
        if !self.rest.is_empty() {
            return Err(io::Error::other("another file was to be made"));
        }
        self.rest = self.new.get(index).ok_or_else(|| io::Error::other("there is no such file"))?;
        self.made += 1;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.rest = self.rest.strip_prefix(bytes).ok_or_else(|| io::Error::other("it has other bytes"))?;
        Ok(())
    }
}
