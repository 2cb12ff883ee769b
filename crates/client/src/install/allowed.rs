//! Whether this process may do what the journal is about to commit to.
//!
//! After the commit it only goes forward, so a directory of another user, a mark against changes, or a mount that can only
//! be read has to be found before it. Linux tells; elsewhere nothing is known, and the first refusal is met on the way.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use updraft_files::{Dir, EntryKind, Stat};

use super::intent::Op;
use super::{Error, survey};

/// Refuses the first of `ops` that would be refused, and names what stands against it.
pub(super) fn check(dir: &Dir, ops: &[Op]) -> Result<(), Error> {
    let mut writable = BTreeSet::new();
    for op in ops {
        let at = op.path();
        let (parent, parent_stat) = nearest(dir, at)?;
        if writable.insert(parent.clone()) {
            sys::may_write(dir, &parent)?;
        }
        let Some(stat) = dir.stat(at)? else { continue };
        sys::may_leave(dir, at, &stat, &parent_stat)?;
        match op {
            Op::MakeDir { mode, .. } if stat.kind == EntryKind::Dir && !survey::same_mode(&stat, *mode) => {
                sys::may_chmod(dir, at, &stat)?;
                // What follows finds it with its new mode.
                writable.insert(at.to_owned());
            }
            // A directory that moves gets another parent, which is written into it.
            Op::Aside { .. } if stat.kind == EntryKind::Dir => sys::may_write(dir, at)?,
            _ => {}
        }
    }
    Ok(())
}

/// The innermost directory above `at` that is there now: what is missing is made in it.
fn nearest(dir: &Dir, at: &Path) -> Result<(PathBuf, Stat), Error> {
    for above in at.ancestors().skip(1) {
        match dir.stat(above)? {
            Some(stat) if stat.kind == EntryKind::Dir => return Ok((above.to_owned(), stat)),
            _ => {}
        }
    }
    Ok((PathBuf::new(), dir.stat_self()?))
}

#[cfg(target_os = "linux")]
mod sys {
    use std::path::Path;

    use rustix::fs::{Access, AtFlags, StatxAttributes, StatxFlags, accessat, statx};
    use rustix::io::Errno;
    use rustix::process::geteuid;
    use updraft_files::{Dir, Stat};

    use super::Error;

    const STICKY: u32 = 0o1000;

    fn denied(dir: &Dir, at: &Path, reason: &'static str) -> Error {
        Error::Denied {
            path: if at.as_os_str().is_empty() { dir.path().to_owned() } else { dir.path().join(at) },
            reason,
        }
    }

    /// Whether names in the directory `at` may be changed.
    pub(super) fn may_write(dir: &Dir, at: &Path) -> Result<(), Error> {
        let here = if at.as_os_str().is_empty() { Path::new(".") } else { at };
        match accessat(dir.as_file(), here, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS) {
            Err(Errno::ACCESS) => Err(denied(dir, at, "may not be written by this user: run the update as its owner")),
            Err(Errno::ROFS) => Err(denied(dir, at, "lies on what is mounted read-only: mount it writable")),
            Err(Errno::PERM) => Err(denied(dir, at, "is marked against changes: take the mark away with chattr -i -a")),
            // Anything else is not an answer.
            _ => is_unmarked(dir, at),
        }
    }

    /// Whether the entry `at`, of which `stat` is said, may be renamed, replaced or removed where it is.
    pub(super) fn may_leave(dir: &Dir, at: &Path, stat: &Stat, parent: &Stat) -> Result<(), Error> {
        let user = geteuid();
        let is_mine = user.is_root() || [stat.uid, parent.uid].contains(&user.as_raw());
        if parent.mode & STICKY != 0 && !is_mine {
            return Err(denied(dir, at, "is another user's in a sticky directory: run the update as its owner"));
        }
        is_unmarked(dir, at)
    }

    /// Whether the mode of `at`, of which `stat` is said, may be changed.
    pub(super) fn may_chmod(dir: &Dir, at: &Path, stat: &Stat) -> Result<(), Error> {
        let user = geteuid();
        match user.is_root() || stat.uid == user.as_raw() {
            true => Ok(()),
            false => Err(denied(dir, at, "has another mode, and another owner: run the update as its owner")),
        }
    }

    fn is_unmarked(dir: &Dir, at: &Path) -> Result<(), Error> {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
        let marks = StatxAttributes::IMMUTABLE | StatxAttributes::APPEND;
        match statx(dir.as_file(), at, flags, StatxFlags::TYPE) {
            Ok(told) if told.stx_attributes.intersects(marks) => {
                Err(denied(dir, at, "is immutable or append-only: take the mark away with chattr -i -a"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod sys {
    use std::path::Path;

    use updraft_files::{Dir, Stat};

    use super::Error;

    pub(super) fn may_write(_dir: &Dir, _at: &Path) -> Result<(), Error> {
        Ok(())
    }

    pub(super) fn may_leave(_dir: &Dir, _at: &Path, _stat: &Stat, _parent: &Stat) -> Result<(), Error> {
        Ok(())
    }

    pub(super) fn may_chmod(_dir: &Dir, _at: &Path, _stat: &Stat) -> Result<(), Error> {
        Ok(())
    }
}
