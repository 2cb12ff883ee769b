//! Old and new files as they come in life, and a sink that keeps what it is given.

use std::io;

use proptest::prelude::*;
use updraft_delta::{Error, Patch, ReadAt, Sink};
use updraft_differ::{Made, Options, make};

/// Keeps every output.
pub(crate) struct Kept {
    files: Vec<Option<Vec<u8>>>,
    now: usize,
}

impl Sink for Kept {
    fn begin(&mut self, index: usize, _len: u64) -> io::Result<()> {
        assert!(self.files[index].is_none(), "{index} is made twice");
        self.files[index] = Some(Vec::new());
        self.now = index;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.files[self.now].as_mut().unwrap().extend_from_slice(bytes);
        Ok(())
    }
}

/// The patch between these files.
pub(crate) fn made(old: &[Vec<u8>], new: &[Vec<u8>]) -> Made {
    let old: Vec<&[u8]> = old.iter().map(Vec::as_slice).collect();
    let new: Vec<&[u8]> = new.iter().map(Vec::as_slice).collect();
    make(&old, &new, &Options { from: [1; 32], to: [2; 32], ..Options::default() }).unwrap()
}

/// What `patch` makes of the files of `old` with these numbers.
pub(crate) fn applied(patch: &[u8], old: &[Vec<u8>], bases: &[usize]) -> Result<Vec<Vec<u8>>, Error> {
    let patch = Patch::open(&patch)?;
    let bases: Vec<&dyn ReadAt> = bases.iter().map(|n| &old[*n] as &dyn ReadAt).collect();
    let mut kept = Kept { files: vec![None; patch.header().outputs.len()], now: 0 };
    patch.apply(&bases, &mut Vec::new(), &mut kept)?;
    Ok(kept.files.into_iter().map(Option::unwrap).collect())
}

/// What somebody did to a file.
#[derive(Debug, Clone)]
enum Edit {
    Insert(usize, Vec<u8>),
    Delete(usize, usize),
    Change(usize, u8),
    Move(usize, usize, usize),
    Rename(u8, u8),
}

fn any_edit() -> impl Strategy<Value = Edit> {
    let bytes = proptest::collection::vec(any::<u8>(), 0..200);
    prop_oneof![
        (any::<usize>(), bytes).prop_map(|(at, bytes)| Edit::Insert(at, bytes)),
        (any::<usize>(), 0..300_usize).prop_map(|(at, len)| Edit::Delete(at, len)),
        (any::<usize>(), any::<u8>()).prop_map(|(at, by)| Edit::Change(at, by)),
        (any::<usize>(), 0..300_usize, any::<usize>()).prop_map(|(from, len, to)| Edit::Move(from, len, to)),
        (b'a'..=b'e', b'a'..=b'z').prop_map(|(from, to)| Edit::Rename(from, to)),
    ]
}

fn edited(mut file: Vec<u8>, edits: &[Edit]) -> Vec<u8> {
    for edit in edits {
        let len = file.len();
        match edit {
            Edit::Insert(at, bytes) => drop(file.splice(at % (len + 1)..at % (len + 1), bytes.iter().copied())),
            Edit::Delete(at, count) => drop(file.drain(at % (len + 1)..(at % (len + 1) + count).min(len))),
            Edit::Change(at, by) if len > 0 => file[at % len] = file[at % len].wrapping_add(*by),
            Edit::Change(..) => {}
            Edit::Move(from, count, to) => {
                let from = from % (len + 1);
                let part: Vec<u8> = file.drain(from..(from + count).min(len)).collect();
                let to = to % (file.len() + 1);
                file.splice(to..to, part);
            }
            // As a minifier does: a name of one letter, everywhere.
            Edit::Rename(old, new) => {
                let word = |file: &[u8], n: usize| file.get(n).is_some_and(|b| b.is_ascii_alphanumeric());
                let alone: Vec<usize> = (0..len)
                    .filter(|n| file[*n] == *old && !word(&file, n + 1) && (*n == 0 || !word(&file, n - 1)))
                    .collect();
                alone.into_iter().for_each(|n| file[n] = *new);
            }
        }
    }
    file
}

fn any_file() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..2_000),
        "([a-e]{1,2}[(.,;=]){0,400}".prop_map(String::into_bytes),
        (any::<u8>(), 0..5_000_usize).prop_map(|(byte, len)| vec![byte; len]),
    ]
}

/// Old files, and what became of them: some are edited, some are new.
pub(crate) fn any_pair() -> impl Strategy<Value = (Vec<Vec<u8>>, Vec<Vec<u8>>)> {
    let edits = proptest::collection::vec(any_edit(), 0..8);
    let edited_file = (any_file(), edits).prop_map(|(old, edits)| (old.clone(), edited(old, &edits)));
    (proptest::collection::vec(edited_file, 0..4), proptest::collection::vec(any_file(), 0..2)).prop_map(
        |(pairs, more)| {
            let (old, mut new): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
            new.extend(more);
            (old, new)
        },
    )
}
