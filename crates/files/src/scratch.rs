//! Files that are not finished yet.
//!
//! A [`Scratch`] lies in the directory where it will be needed, under a name of its own, and gets its real name in one
//! step when it is whole and durable. Dropped before that it is gone; after a crash [`sweep`] finds it by its name.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::dir::{Dir, EntryKind, Error};

/// How the name of every scratch file begins.
pub const PREFIX: &str = ".updraft-tmp-";

/// How many names are tried. A process numbers its files, so only what a crashed process with the same number left
/// (in a container, every one) is in the way.
const NAMES_MAX: u32 = 100_000;

static NEXT: AtomicU64 = AtomicU64::new(0);

/// A file in the making.
#[derive(Debug)]
pub struct Scratch<'a> {
    dir: &'a Dir,
    name: PathBuf,
    file: File,
    kept: bool,
}

impl<'a> Scratch<'a> {
    /// A new, empty file in `dir` with exactly the permission bits `mode`.
    ///
    /// # Errors
    /// When `dir` takes no new file.
    pub fn new(dir: &'a Dir, mode: u32) -> Result<Self, Error> {
        for _ in 0..NAMES_MAX {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let name = PathBuf::from(format!("{PREFIX}{}-{number}", std::process::id()));
            match dir.create_file(&name, mode) {
                Ok(file) => return Ok(Self { dir, name, file, kept: false }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        let reason = format!("too many files named {PREFIX}*; no running updater needs them");
        Err(Error::new("create a temporary file in", dir.path(), io::Error::new(io::ErrorKind::AlreadyExists, reason)))
    }

    /// The file, for writing what it shall hold.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Its present name in its directory.
    pub fn name(&self) -> &Path {
        &self.name
    }

    /// Makes it durable and gives it the name `name` in its directory, replacing what is there in one step. After this
    /// returns, a crash of the machine does not undo it.
    ///
    /// # Errors
    /// When the disk is full or says that it could not; then what was at `name` is as it was, or is this file.
    pub fn finish(mut self, name: &Path) -> Result<(), Error> {
        self.file.sync_all().map_err(|cause| Error::new("write", self.dir.path().join(name), cause))?;
        self.dir.rename(&self.name, self.dir, name)?;
        self.kept = true;
        self.dir.sync()
    }
}

impl Drop for Scratch<'_> {
    fn drop(&mut self) {
        if !self.kept {
            let _ = self.dir.remove_file(&self.name); // `sweep` will find it
        }
    }
}

/// Removes the scratch files that crashes left in `dir`. Only for whoever holds the lock on `dir`: those of a running
/// process look no different.
///
/// # Errors
/// When `dir` cannot be read or a file cannot be removed.
pub fn sweep(dir: &Dir) -> Result<(), Error> {
    for entry in dir.entries()? {
        if entry.kind == EntryKind::File && entry.name.as_encoded_bytes().starts_with(PREFIX.as_bytes()) {
            dir.remove_file(Path::new(&entry.name))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn names(dir: &Dir) -> Vec<String> {
        dir.entries().unwrap().into_iter().map(|entry| entry.name.into_string().unwrap()).collect()
    }

    #[test]
    fn what_is_not_finished_leaves_nothing() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open(temp.path()).unwrap();
        let mut scratch = Scratch::new(&dir, 0o600).unwrap();
        scratch.file().write_all(b"half").unwrap();
        assert_eq!(names(&dir).len(), 1);
        drop(scratch);
        assert!(names(&dir).is_empty());
    }

    #[test]
    fn finished_it_has_its_name_and_nothing_else_is_there() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open(temp.path()).unwrap();
        let mut scratch = Scratch::new(&dir, 0o600).unwrap();
        scratch.file().write_all(b"whole").unwrap();
        scratch.finish(Path::new("it")).unwrap();
        assert_eq!(names(&dir), ["it"]);
        assert_eq!(std::fs::read(temp.path().join("it")).unwrap(), b"whole");
    }

    #[test]
    fn names_that_a_crash_left_are_stepped_over_and_swept() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open(temp.path()).unwrap();
        for number in 0..1_000 {
            let left = format!("{PREFIX}{}-{number}", std::process::id());
            std::fs::write(temp.path().join(left), "left").unwrap();
        }
        std::fs::write(temp.path().join("mine"), "").unwrap();
        Scratch::new(&dir, 0o600).unwrap().finish(Path::new("it")).unwrap();
        sweep(&dir).unwrap();
        assert_eq!(names(&dir), ["it", "mine"]);
    }
}
