//! What is mounted at or below a directory.
//!
//! A directory that is a mount cannot be renamed, and one that holds mounts would take them along into the slot. Linux
//! tells all of them in one file; elsewhere only the number of the file system tells, and only of the directory itself.

use std::path::{Path, PathBuf};

/// Mount points strictly below `dir`, which must be resolved, relative to it; outermost first.
pub(super) fn below(dir: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        sys::mount_points().iter().filter_map(|at| at.strip_prefix(dir).ok()).map(Path::to_owned).collect();
    found.retain(|at| !at.as_os_str().is_empty());
    found.sort();
    found.dedup();
    found
}

/// Whether `dir`, which must be resolved, is itself a mount point.
pub(super) fn is_one(dir: &Path) -> bool {
    sys::is_mount(dir)
}

/// Whether anything is mounted at `dir` or below it.
pub(crate) fn any_at_or_below(dir: &Path) -> bool {
    is_one(dir) || !below(dir).is_empty()
}

#[cfg(target_os = "linux")]
mod sys {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::path::{Path, PathBuf};

    use updraft_files::Dir;

    /// Every mount point that this process sees. None when `/proc` is not there: then a mount inside the directory shows
    /// when the first link into it fails, and the journal takes over.
    pub(super) fn mount_points() -> Vec<PathBuf> {
        std::fs::read("/proc/self/mountinfo").map(|table| parse(&table)).unwrap_or_default()
    }

    /// The fifth field of each line of proc(5)'s mountinfo, with `\040` and the like undone.
    pub(super) fn parse(table: &[u8]) -> Vec<PathBuf> {
        let point = |line: &[u8]| line.split(|b| *b == b' ').nth(4).map(|field| PathBuf::from(unescaped(field)));
        table.split(|b| *b == b'\n').filter_map(point).collect()
    }

    fn unescaped(field: &[u8]) -> std::ffi::OsString {
        let mut out = Vec::with_capacity(field.len());
        let mut rest = field;
        while let Some((first, tail)) = rest.split_first() {
            let octal = || std::str::from_utf8(tail.get(..3)?).ok().and_then(|o| u8::from_str_radix(o, 8).ok());
            match (first, octal()) {
                (b'\\', Some(byte)) => {
                    out.push(byte);
                    rest = &tail[3..];
                }
                _ => {
                    out.push(*first);
                    rest = tail;
                }
            }
        }
        OsStr::from_bytes(&out).to_owned()
    }

    pub(super) fn is_mount(dir: &Path) -> bool {
        let told = Dir::open(dir).and_then(|dir| dir.is_mount(Path::new("")));
        told.unwrap_or_else(|_| mount_points().iter().any(|at| at == dir))
    }
}

#[cfg(not(target_os = "linux"))]
mod sys {
    use std::path::{Path, PathBuf};

    use updraft_files::Dir;

    pub(super) fn mount_points() -> Vec<PathBuf> {
        Vec::new()
    }

    pub(super) fn is_mount(dir: &Path) -> bool {
        Dir::open(dir).and_then(|dir| dir.is_mount(Path::new(""))).unwrap_or(false)
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_read_with_its_escapes() {
        let table = b"22 1 0:20 / /proc rw,nosuid - proc proc rw\n\
            30 1 8:1 /x /srv/my\\040app/data\\134x rw shared:1 - ext4 /dev/sda1 rw\nbroken\n";
        let points = sys::parse(table);
        assert_eq!(points, [PathBuf::from("/proc"), PathBuf::from("/srv/my app/data\\x")]);
    }

    #[test]
    fn proc_is_a_mount_and_a_plain_directory_is_none() {
        let temp = tempfile::tempdir().unwrap();
        let plain = temp.path().canonicalize().unwrap();
        assert!(!any_at_or_below(&plain));
        assert!(is_one(Path::new("/proc")));
        assert!(below(Path::new("/")).contains(&PathBuf::from("proc")));
    }
}
