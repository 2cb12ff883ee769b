//! Windows, by path. UNTESTED, and weaker than the rest: every component is looked at before an operation, so a link
//! that lies there is refused, but one that is put there between the look and the operation is followed. Modes, owners
//! and inode numbers do not exist; a directory cannot be synced or exchanged.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::windows::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::{Dir, DirEntry, ENTRIES_MAX, EntryKind, Rename, Space, Stat};

/// `FILE_FLAG_BACKUP_SEMANTICS`: without it no directory is opened.
const BACKUP_SEMANTICS: u32 = 0x0200_0000;
/// `FILE_FLAG_OPEN_REPARSE_POINT`: open the link, not what it points at.
const OPEN_REPARSE_POINT: u32 = 0x0020_0000;
/// Between 1601 and 1970, in the 100 ns steps of Windows.
const EPOCH_STEPS: i64 = 116_444_736_000_000_000;

pub(super) fn open_root(path: &Path) -> io::Result<File> {
    let dir = OpenOptions::new().read(true).custom_flags(BACKUP_SEMANTICS).open(path)?;
    if dir.metadata()?.is_dir() { Ok(dir) } else { Err(io::ErrorKind::NotADirectory.into()) }
}

/// Not known here: the disk says so itself when it is full.
pub(super) fn space(_: &File) -> Option<Space> {
    None
}

pub(super) fn open_dir(dir: &Dir, at: &Path) -> io::Result<File> {
    let path = whole(dir, at)?;
    let opened = open(OpenOptions::new().read(true), &path)?;
    if opened.metadata()?.is_dir() { Ok(opened) } else { Err(io::ErrorKind::NotADirectory.into()) }
}

pub(super) fn open_file(dir: &Dir, at: &Path, writing: bool) -> io::Result<File> {
    open(OpenOptions::new().read(true).write(writing), &whole(dir, at)?)
}

pub(super) fn open_any(dir: &Dir, at: &Path) -> io::Result<File> {
    open(OpenOptions::new().read(true), &whole(dir, at)?)
}

pub(super) fn create_file(dir: &Dir, at: &Path, _mode: u32) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).open(whole(dir, at)?)
}

pub(super) fn create_dir(dir: &Dir, at: &Path, _mode: u32) -> io::Result<()> {
    std::fs::create_dir(whole(dir, at)?)
}

pub(super) fn symlink(dir: &Dir, target: &Path, at: &Path) -> io::Result<()> {
    let path = whole(dir, at)?;
    let leads_to_dir = path.parent().is_some_and(|parent| parent.join(target).is_dir());
    match leads_to_dir {
        true => std::os::windows::fs::symlink_dir(target, path),
        false => std::os::windows::fs::symlink_file(target, path),
    }
}

pub(super) fn read_link(dir: &Dir, at: &Path) -> io::Result<PathBuf> {
    std::fs::read_link(whole(dir, at)?)
}

pub(super) fn stat(dir: &Dir, at: &Path) -> io::Result<Stat> {
    Ok(stat_of(&std::fs::symlink_metadata(whole(dir, at)?)?))
}

pub(super) fn stat_file(file: &File) -> io::Result<Stat> {
    Ok(stat_of(&file.metadata()?))
}

pub(super) fn is_mount(dir: &Dir, at: &Path) -> io::Result<bool> {
    whole(dir, at)?; // a volume mounted in a directory is a reparse point, which this refuses
    Ok(false)
}

pub(super) fn rename(dir: &Dir, from: &Path, to_dir: &Dir, to: &Path, how: Rename) -> io::Result<()> {
    match how {
        Rename::Replace => std::fs::rename(whole(dir, from)?, whole(to_dir, to)?),
        Rename::New | Rename::Exchange => Err(io::ErrorKind::InvalidInput.into()),
    }
}

pub(super) fn link(dir: &Dir, from: &Path, to_dir: &Dir, to: &Path) -> io::Result<()> {
    std::fs::hard_link(whole(dir, from)?, whole(to_dir, to)?)
}

pub(super) fn reflink(_source: &File, _target: &File) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(super) fn remove_file(dir: &Dir, at: &Path) -> io::Result<()> {
    let path = whole(dir, at)?;
    let kind = std::fs::symlink_metadata(&path)?.file_type();
    if kind.is_symlink_dir() { std::fs::remove_dir(path) } else { std::fs::remove_file(path) }
}

pub(super) fn remove_dir(dir: &Dir, at: &Path) -> io::Result<()> {
    std::fs::remove_dir(whole(dir, at)?)
}

pub(super) fn set_mode(_file: &File, _mode: u32) -> io::Result<()> {
    Ok(())
}

pub(super) fn let_owner_write(_dir: &File) -> io::Result<()> {
    Ok(())
}

pub(super) fn sync_dir(_dir: &File) -> io::Result<()> {
    Ok(())
}

pub(super) fn entries(dir: &Dir) -> io::Result<Vec<DirEntry>> {
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(&dir.path)? {
        let entry = entry?;
        if entries.len() == ENTRIES_MAX {
            return Err(io::Error::other(format!("it has more than {ENTRIES_MAX} entries")));
        }
        entries.push(DirEntry { name: entry.file_name(), kind: kind_of(&entry.metadata()?) });
    }
    Ok(entries)
}

pub(super) fn is_loop(_cause: &io::Error) -> bool {
    false
}

pub(super) fn is_unsupported(cause: &io::Error) -> bool {
    cause.kind() == io::ErrorKind::Unsupported
}

/// The path of `at`, when no directory on the way is a link.
fn whole(dir: &Dir, at: &Path) -> io::Result<PathBuf> {
    let mut path = dir.path.clone();
    for component in at.parent().into_iter().flat_map(Path::components) {
        path.push(component);
        if !std::fs::symlink_metadata(&path)?.file_type().is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
    }
    path.extend(at.file_name());
    Ok(path)
}

fn open(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let file = options.custom_flags(BACKUP_SEMANTICS | OPEN_REPARSE_POINT).open(path)?;
    match file.metadata()?.file_type().is_symlink() {
        true => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is a link, and none is followed here")),
        false => Ok(file),
    }
}

fn kind_of(metadata: &Metadata) -> EntryKind {
    match metadata.file_type() {
        kind if kind.is_symlink() => EntryKind::Symlink,
        kind if kind.is_dir() => EntryKind::Dir,
        kind if kind.is_file() => EntryKind::File,
        _ => EntryKind::Unknown,
    }
}

fn stat_of(metadata: &Metadata) -> Stat {
    let nanoseconds = |steps: u64| (steps as i64).saturating_sub(EPOCH_STEPS).saturating_mul(100);
    Stat {
        kind: kind_of(metadata),
        mode: if metadata.is_dir() { 0o755 } else { 0o644 },
        size: metadata.file_size(),
        mtime_ns: nanoseconds(metadata.last_write_time()),
        ctime_ns: nanoseconds(metadata.creation_time()),
        inode: 0,
        device: 0,
        links: 1,
        uid: 0,
        gid: 0,
    }
}
