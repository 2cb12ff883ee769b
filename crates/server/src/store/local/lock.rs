//! One process per directory: a lock of the operating system, which a crash gives back.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use super::super::error::{Error, Kind};

/// Held while it lives.
#[derive(Debug)]
pub(in crate::store) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the directory `root` for this process.
    ///
    /// # Errors
    /// [`Kind::InUse`], with the process that has it.
    pub(super) fn take(root: &Path) -> Result<Self, Error> {
        let path = root.join("lock");
        let failed = |error| Error::io(&path, error);
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(in_use(root, &mut file)),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let write = |file: &mut File| {
            file.set_len(0)?;
            file.seek(SeekFrom::Start(0))?;
            writeln!(file, "{}", std::process::id())
        };
        write(&mut file).map_err(failed)?;
        Ok(Self { _file: file })
    }
}

fn in_use(root: &Path, file: &mut File) -> Error {
    let mut text = String::new();
    // Only for the message: it is empty for a moment after the other has taken the lock.
    let read = file.take(20).read_to_string(&mut text);
    let holder = match (read, text.trim().parse::<u32>()) {
        (Ok(_), Ok(pid)) => format!("process {pid}"),
        _ => "another process".to_owned(),
    };
    let reason = format!("in use by {holder}; stop it first, or choose another data directory");
    Error::new(Kind::InUse, root.display().to_string(), reason)
}
