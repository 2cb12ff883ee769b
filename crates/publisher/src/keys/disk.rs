//! Files of a key directory: for their owner only, whole or not there, and there to stay once they are.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::{Error, Zeroizing};

/// Most names of a key directory that are looked at. It holds a handful.
const NAMES_MAX: usize = 1_000;

/// Whether a file may take the place of another.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    New,
    Replace,
}

/// Writes a file of mode 0600 that is there whole or not at all, and survives a power cut once this returns.
pub(super) fn write(dir: &Path, name: &str, bytes: &[u8], place: Place) -> Result<(), Error> {
    let path = dir.join(name);
    let failed = |cause| Error::Io { path: path.clone(), cause };
    let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(dir).map_err(failed)?;
    file.write_all(bytes).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
    persist(file, &path, place)?;
    sync_dir(dir).map_err(failed)
}

fn persist(file: NamedTempFile, path: &Path, place: Place) -> Result<(), Error> {
    let persisted = match place {
        Place::New => file.persist_noclobber(path),
        Place::Replace => file.persist(path),
    };
    persisted.map(drop).map_err(|e| match e.error.kind() {
        io::ErrorKind::AlreadyExists => Error::Exists { path: path.to_owned() },
        _ => Error::Io { path: path.to_owned(), cause: e.error },
    })
}

/// Sees to it that only its owner reads a file that somebody else may have put there.
pub(super) fn keep_private(path: &Path) -> Result<(), Error> {
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(path, mode).map_err(|cause| Error::Io { path: path.to_owned(), cause })?;
    }
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

/// Removes a file that need not be there; once this returns, it stays away.
pub(super) fn remove(path: PathBuf) -> Result<(), Error> {
    let removed = match fs::remove_file(&path) {
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(source),
        Ok(()) => path.parent().map_or(Ok(()), sync_dir),
    };
    removed.map_err(|cause| Error::Io { path, cause })
}

/// A rename survives a power cut only when its directory was synced; Windows has no such call and needs none.
fn sync_dir(dir: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(dir)?.sync_all() } else { Ok(()) }
}

pub(super) fn make_private_dir(dir: &Path) -> Result<(), Error> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir).map_err(|cause| Error::Io { path: dir.to_owned(), cause })
}

/// The content of a file that need not be there.
pub(super) fn read_bounded(path: &Path, max: u64) -> Result<Option<Vec<u8>>, Error> {
    let failed = |cause| Error::Io { path: path.to_owned(), cause };
    let file = match File::open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(failed)?,
    };
    let mut bytes = Vec::new();
    file.take(max + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > max {
        return Err(Error::Foreign { path: path.to_owned(), reason: format!("it has more than {max} bytes") });
    }
    Ok(Some(bytes))
}

/// The names in a directory that need not be there, sorted.
pub(super) fn names_in(dir: &Path) -> Result<Vec<String>, Error> {
    let failed = |cause| Error::Io { path: dir.to_owned(), cause };
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(failed)?,
    };
    let mut names = Vec::new();
    for entry in entries.take(NAMES_MAX) {
        names.extend(entry.map_err(failed)?.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

/// The open file that a lock is taken on.
pub(super) fn open_lock(dir: &Path, name: &str) -> Result<File, Error> {
    make_private_dir(dir)?;
    let path = dir.join(name);
    let failed = |cause| Error::Io { path: path.clone(), cause };
    let file = File::options().create(true).append(true).open(&path).map_err(failed)?;
    file.lock().map_err(failed)?;
    Ok(file)
}

pub(super) fn random(path: &Path) -> Result<Zeroizing<[u8; 32]>, Error> {
    let mut bytes = Zeroizing::new([0; 32]);
    let failed = |e: getrandom::Error| Error::Io { path: path.to_owned(), cause: io::Error::other(e) };
    getrandom::fill(&mut *bytes).map_err(failed)?;
    Ok(bytes)
}
