//! Removing a directory with everything in it.
//!
//! Links are removed, not followed, and nothing behind a mount is touched. Directories are found again by their path and
//! not held by one handle per level, so that depth costs no open files.

use std::ffi::OsString;
use std::io;
use std::path::Path;

use super::{Dir, EntryKind, Error, sys};

/// How often we go back to a directory that somebody fills while it is removed.
const TRIES_MAX: u32 = 64;

impl Dir {
    /// Removes what is at `at` with everything in it; that nothing is there is fine. Links are removed, not followed, and
    /// a mount in it is refused before anything behind that mount is touched.
    ///
    /// # Errors
    /// At the first entry that cannot be removed, what was removed before it stays removed; when somebody fills it
    /// faster than it is emptied.
    pub fn remove_all(&self, at: &Path) -> Result<(), Error> {
        match self.stat(at)? {
            None => return Ok(()),
            Some(stat) if stat.kind != EntryKind::Dir => return absent_is_fine(self.remove_file(at)).map(drop),
            Some(_) => {}
        }
        let mut waiting = vec![(at.to_owned(), 0)];
        while let Some((next, visits)) = waiting.last_mut() {
            *visits += 1;
            let (next, last_try) = (next.clone(), *visits == TRIES_MAX);
            let inner = absent_is_fine(self.remove_files_of(&next))?.unwrap_or_default();
            if !inner.is_empty() && !last_try {
                waiting.extend(inner.into_iter().map(|name| (next.join(name), 0)));
                continue;
            }
            match absent_is_fine(self.remove_dir(&next)) {
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty && !last_try => {}
                done => {
                    done?;
                    waiting.pop();
                }
            }
        }
        Ok(())
    }

    /// Removes whatever is not a directory from the one at `at`; returns the names of those that are.
    fn remove_files_of(&self, at: &Path) -> Result<Vec<OsString>, Error> {
        if self.is_mount(at)? {
            let cause = io::Error::new(io::ErrorKind::CrossesDevices, "something is mounted there; unmount it first");
            return Err(Error::new("remove directory", self.path.join(at), cause));
        }
        let dir = self.open_dir(at)?;
        let entries = dir.entries()?;
        if !entries.is_empty() && dir.stat_self()?.mode & 0o300 != 0o300 {
            // A cache made read-only on purpose, say. When we may not change that, the removal will tell why.
            let _ = sys::let_owner_write(&dir.handle);
        }
        let (inner, files): (Vec<_>, Vec<_>) = entries.into_iter().partition(|entry| entry.kind == EntryKind::Dir);
        for file in files {
            absent_is_fine(dir.remove_file(Path::new(&file.name)))?;
        }
        Ok(inner.into_iter().map(|entry| entry.name).collect())
    }
}

fn absent_is_fine<T>(result: Result<T, Error>) -> Result<Option<T>, Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
