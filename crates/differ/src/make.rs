//! From files to a patch, and the proof that it is one.

use std::io;

use updraft_delta::limits::IMAGE_LEN_MAX;
use updraft_delta::{Patch, ReadAt, Sink};

use crate::memory::{MEMORY_MIN, Memory};
use crate::parts;
use crate::suffix::TEXT_LEN_MAX;
use crate::together;

/// Why no patch was made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is more than fits.
    #[error("{what} of {found} bytes together; {max} is what one patch can hold")]
    TooLarge {
        /// Old or new files.
        what: &'static str,
        /// How large they are together.
        found: u64,
        /// How large they may be.
        max: u64,
    },
    /// Too little is alike.
    #[error("the new files are too unlike the old ones: there is memory for {max} bytes of what differs")]
    TooUnlike {
        /// How many bytes of differences there may be.
        max: u64,
    },
    /// An old file cannot be read.
    #[error("old file {number}: {source}")]
    Old {
        /// Its number.
        number: usize,
        /// Why.
        source: io::Error,
    },
    /// A new file cannot be read.
    #[error("new file {number}: {source}")]
    New {
        /// Its number.
        number: usize,
        /// Why.
        source: io::Error,
    },
    /// One of those that are compared cannot be read.
    #[error("new file {number}, or an old one that it is compared with: {source}")]
    Compared {
        /// The number of the new one.
        number: usize,
        /// Why.
        source: io::Error,
    },
    /// The patch does not make what it was made for: a defect, or files that change.
    #[error(
        "the patch was tried and does not make the new files: {0}; if none of the files has changed meanwhile, please report it"
    )]
    Unproven(String),
}

/// How a patch is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// What names the old files together.
    pub from: [u8; 32],
    /// What names the new ones.
    pub to: [u8; 32],
    /// About how much memory making it may take, in bytes; no less than [`MEMORY_MIN`].
    pub memory: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { from: [0; 32], to: [0; 32], memory: 4 << 30 }
    }
}

/// A patch that was made and proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// The patch.
    pub patch: Vec<u8>,
    /// The numbers of the old files that it reads.
    pub bases: Vec<usize>,
}

/// Whether files of so many bytes can be compared all at once in so much memory: then [`make`] finds the smallest patch, and otherwise
/// [`make_in_parts`] one that is a little larger.
pub fn fits(memory: u64, old_len: u64, new_len: u64) -> bool {
    Memory(memory).fits(old_len, new_len)
}

/// How many bytes that no old file has [`make_in_parts`] takes in this memory, at most.
pub fn new_bytes_max(memory: u64) -> u64 {
    Memory(memory.max(MEMORY_MIN)).for_streams() as u64
}

/// Makes the patch that turns `old` into `new`, and applies it to see that it does.
///
/// # Errors
/// When there is too much of either.
pub fn make(old: &[&[u8]], new: &[&[u8]], options: &Options) -> Result<Made, Error> {
    check_len("old files", old.iter().map(|file| file.len() as u64), TEXT_LEN_MAX as u64)?;
    check_len("new files", new.iter().map(|file| file.len() as u64), TEXT_LEN_MAX as u64)?;
    let made = together::made(old, new, options);
    prove(&made, &readers(old), &readers(new))?;
    Ok(made)
}

/// The same for files of any size, which are read in parts and more than once.
///
/// # Errors
/// When there is too much of either, or too little of them is alike; when a file cannot be read, or changed while it was read.
pub fn make_in_parts(old: &[&dyn ReadAt], new: &[&dyn ReadAt], options: &Options) -> Result<Made, Error> {
    let old_lens = lens(old, |number, source| Error::Old { number, source })?;
    let new_lens = lens(new, |number, source| Error::New { number, source })?;
    let max = IMAGE_LEN_MAX.min(isize::MAX as u64);
    check_len("old files", old_lens.iter().copied(), max)?;
    check_len("new files", new_lens.iter().copied(), max)?;
    let options = Options { memory: options.memory.max(MEMORY_MIN), ..*options };
    let made = parts::made((old, old_lens), (new, new_lens), &options)?;
    prove(&made, old, new)?;
    Ok(made)
}

fn lens(files: &[&dyn ReadAt], failed: impl Fn(usize, io::Error) -> Error) -> Result<Vec<u64>, Error> {
    files.iter().enumerate().map(|(number, file)| file.size().map_err(|e| failed(number, e))).collect()
}

fn check_len(what: &'static str, lens: impl Iterator<Item = u64>, max: u64) -> Result<(), Error> {
    let found = lens.fold(0_u64, u64::saturating_add);
    if found > max { Err(Error::TooLarge { what, found, max }) } else { Ok(()) }
}

fn readers<'f>(files: &'f [&'f [u8]]) -> Vec<&'f dyn ReadAt> {
    files.iter().map(|file| file as &dyn ReadAt).collect()
}

/// Applies the patch and compares.
fn prove(made: &Made, old: &[&dyn ReadAt], new: &[&dyn ReadAt]) -> Result<(), Error> {
    let unproven = |e: updraft_delta::Error| Error::Unproven(e.to_string());
    let patch = Patch::open(&made.patch).map_err(unproven)?;
    let bases: Vec<&dyn ReadAt> = made.bases.iter().map(|number| old[*number]).collect();
    let mut compare = Compare { new, made: 0, current: 0, at: 0, left: 0, piece: Vec::new() };
    patch.apply(&bases, &mut Vec::new(), &mut compare).map_err(unproven)?;
    if compare.left == 0 && compare.made == new.len() {
        return Ok(());
    }
    Err(Error::Unproven("something is missing".to_owned()))
}

/// A sink that only compares.
struct Compare<'a> {
    new: &'a [&'a dyn ReadAt],
    /// How many were begun.
    made: usize,
    /// The one that is being made: how much of it was, and how much was not.
    current: usize,
    at: u64,
    left: u64,
    piece: Vec<u8>,
}

impl Sink for Compare<'_> {
    fn begin(&mut self, index: usize, _len: u64) -> io::Result<()> {
        if self.left > 0 {
            return Err(io::Error::other("another file was to be made"));
        }
        let new = self.new.get(index).ok_or_else(|| io::Error::other("there is no such file"))?;
        (self.current, self.at, self.left) = (index, 0, new.size()?);
        self.made += 1;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let other = || io::Error::other("it has other bytes");
        self.left = self.left.checked_sub(bytes.len() as u64).ok_or_else(other)?;
        self.piece.resize(bytes.len(), 0);
        self.new[self.current].read_exact_at(&mut self.piece, self.at)?;
        self.at += bytes.len() as u64;
        if self.piece == bytes { Ok(()) } else { Err(other()) }
    }
}
