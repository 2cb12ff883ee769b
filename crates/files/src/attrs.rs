//! What a file hands on to its successor besides bytes and mode: owner, access list, labels.
//!
//! An administrator who gave an installed file to a group, or a label to a directory, must not lose that to an update.
//! What says something about the *bytes* is not handed on: signatures of the content, and capabilities, which like
//! set-user-id were granted to a program that somebody looked at.

use std::fs::File;
use std::path::Path;

use crate::dir::{Dir, Error};

/// Gives `to` the owner, the access list and the extended attributes of what is at `from` (an empty path is the directory
/// itself), as far as this process may. A file that inherits from a directory gets what a new file in that directory
/// would get: its owner, its label, its default access list.
///
/// The permission bits of `to` stay as they are, but for the group's right to write, which an access list needs as its
/// mask.
///
/// # Errors
/// When `from` is not there or the disk fails. What this process may not set, and what the file system does not have, is
/// no error: it is left out.
pub fn inherit(from: (&Dir, &Path), to: &File) -> Result<(), Error> {
    let (dir, at) = from;
    let source = dir.open_any(at)?;
    sys::inherit(&source, to).map_err(|cause| Error::new("hand on the attributes of", dir.path().join(at), cause))
}

#[cfg(unix)]
mod sys {
    use std::fs::File;
    use std::io;

    use rustix::fs::{Gid, Mode, Uid, XattrFlags};
    use rustix::io::Errno;

    use crate::dir::{EntryKind, Stat, stat_file};

    /// Most bytes of a list of names or of a value: Linux's own limit.
    const XATTR_LEN_MAX: usize = 64 << 10;

    const ACCESS_LIST: &str = "system.posix_acl_access";
    const DEFAULT_LIST: &str = "system.posix_acl_default";

    /// What speaks of the bytes, or is granted to them.
    const ABOUT_CONTENT: [&str; 5] =
        ["security.capability", "security.ima", "security.evm", "com.apple.ResourceFork", "com.apple.quarantine"];

    pub(super) fn inherit(source: &File, target: &File) -> io::Result<()> {
        let (from, to) = (stat_file(source)?, stat_file(target)?);
        own(&from, &to, target)?;
        let mut has_access_list = false;
        for name in names(source)? {
            let Some(as_name) = inherited_as(&name, from.kind, to.kind) else { continue };
            let Some(value) = value(source, &name)? else { continue };
            let set = may(rustix::fs::fsetxattr(target, as_name, &value, XattrFlags::empty()))?;
            has_access_list |= set && as_name == ACCESS_LIST;
        }
        // An access list brings permission bits of its own, and a new owner takes set-group-id away.
        let now = stat_file(target)?.mode;
        let mask = if has_access_list { now & 0o020 } else { 0 };
        if now != to.mode | mask {
            rustix::fs::fchmod(target, Mode::from_raw_mode((to.mode | mask) as _))?;
        }
        Ok(())
    }

    fn own(from: &Stat, to: &Stat, target: &File) -> io::Result<()> {
        if (from.uid, from.gid) == (to.uid, to.gid) {
            return Ok(());
        }
        let (owner, group) = (Some(Uid::from_raw(from.uid)), Some(Gid::from_raw(from.gid)));
        if !may(rustix::fs::fchown(target, owner, group))? {
            // Who is not root cannot give a file away, but to a group of theirs they can.
            may(rustix::fs::fchown(target, None, group))?;
        }
        Ok(())
    }

    /// The name under which an attribute is handed on, if it is.
    fn inherited_as(name: &str, from: EntryKind, to: EntryKind) -> Option<&str> {
        if ABOUT_CONTENT.contains(&name) {
            return None;
        }
        match (from, to) {
            (EntryKind::Dir, EntryKind::Dir) => Some(name),
            (EntryKind::Dir, _) if name == DEFAULT_LIST => Some(ACCESS_LIST),
            (EntryKind::Dir, _) if name == "security.selinux" => Some(name),
            (EntryKind::Dir, _) => None,
            (_, EntryKind::Dir) => None,
            _ => Some(name),
        }
    }

    fn names(source: &File) -> io::Result<Vec<String>> {
        let mut list = vec![0; XATTR_LEN_MAX];
        let len = match rustix::fs::flistxattr(source, &mut list[..]) {
            Ok(len) => len,
            Err(errno) if is_left_out(errno) => return Ok(Vec::new()),
            Err(errno) => return Err(errno.into()),
        };
        // A name that is not UTF-8 is nobody's that we know.
        let names = list[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty());
        Ok(names.filter_map(|name| String::from_utf8(name.to_vec()).ok()).collect())
    }

    fn value(source: &File, name: &str) -> io::Result<Option<Vec<u8>>> {
        let mut value = vec![0; XATTR_LEN_MAX];
        match rustix::fs::fgetxattr(source, name, &mut value[..]) {
            Ok(len) => {
                value.truncate(len);
                Ok(Some(value))
            }
            Err(errno) if is_left_out(errno) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Whether it was done; that it may not be done is no error.
    fn may(result: rustix::io::Result<()>) -> io::Result<bool> {
        match result {
            Ok(()) => Ok(true),
            Err(errno) if is_left_out(errno) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Not allowed, not there (any more), not known to this file system, an owner that this container does not have.
    fn is_left_out(errno: Errno) -> bool {
        [
            Errno::PERM,
            Errno::ACCESS,
            Errno::OPNOTSUPP,
            Errno::NOTSUP,
            Errno::NOSYS,
            Errno::INVAL,
            Errno::RANGE,
            Errno::TOOBIG,
            NO_ATTRIBUTE,
        ]
        .contains(&errno)
    }

    #[cfg(target_os = "macos")]
    const NO_ATTRIBUTE: Errno = Errno::NOATTR;
    #[cfg(not(target_os = "macos"))]
    const NO_ATTRIBUTE: Errno = Errno::NODATA;
}

/// Windows hands on what the directory says, by itself.
#[cfg(windows)]
mod sys {
    use std::fs::File;
    use std::io;

    pub(super) fn inherit(_source: &File, _target: &File) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;
    use rustix::fs::{Gid, Uid, XattrFlags, fgetxattr, fsetxattr};

    fn p(text: &str) -> &Path {
        Path::new(text)
    }

    fn fixture() -> (tempfile::TempDir, Dir) {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open(temp.path()).unwrap();
        (temp, dir)
    }

    fn get(file: &File, name: &str) -> Option<Vec<u8>> {
        let mut value = vec![0; 1_024];
        let len = fgetxattr(file, name, &mut value[..]).ok()?;
        Some(value[..len].to_vec())
    }

    /// POSIX access list, version 2: entries of tag, permissions, id. Here owner, user 12345, group, mask, others.
    fn access_list(user: u16, mask: u16) -> Vec<u8> {
        let entry =
            |tag: u16, bits: u16, id: u32| [&tag.to_le_bytes()[..], &bits.to_le_bytes(), &id.to_le_bytes()].concat();
        let none = u32::MAX;
        let entries =
            [entry(1, 6, none), entry(2, user, 12_345), entry(4, 4, none), entry(16, mask, none), entry(32, 4, none)];
        [&2u32.to_le_bytes()[..], &entries.concat()].concat()
    }

    #[test]
    fn the_owner_is_handed_on_by_who_may() {
        let (_temp, dir) = fixture();
        let old = dir.create_file(p("old"), 0o644).unwrap();
        let new = dir.create_file(p("new"), 0o755).unwrap();
        if rustix::process::geteuid().is_root() {
            rustix::fs::fchown(&old, Some(Uid::from_raw(1_234)), Some(Gid::from_raw(4_321))).unwrap();
        }
        inherit((&dir, p("old")), &new).unwrap();
        let (old, new) = (dir.stat(p("old")).unwrap().unwrap(), dir.stat(p("new")).unwrap().unwrap());
        assert_eq!((old.uid, old.gid), (new.uid, new.gid));
        assert_eq!(new.mode, 0o755);
    }

    #[test]
    fn who_may_not_give_a_file_away_leaves_it_and_goes_on() {
        let (temp, dir) = fixture();
        std::fs::set_permissions(temp.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        let (old, new) = crate::unprivileged::as_nobody(|| {
            // A file of root's when the tests are, otherwise one of somebody else's that everybody can read.
            let theirs = Dir::open(p("/etc")).unwrap();
            let new = dir.create_file(p("new"), 0o640).unwrap();
            inherit((&theirs, p("passwd")), &new).unwrap();
            (theirs.stat(p("passwd")).unwrap().unwrap(), dir.stat(p("new")).unwrap().unwrap())
        });
        assert_ne!(old.uid, new.uid, "nobody gave a file to root");
        assert_eq!(new.mode, 0o640);
    }

    #[test]
    fn attributes_are_handed_on_but_for_what_speaks_of_the_bytes() {
        let (_temp, dir) = fixture();
        let old = dir.create_file(p("old"), 0o644).unwrap();
        let new = dir.create_file(p("new"), 0o755).unwrap();
        fsetxattr(&old, "user.origin", b"here", XattrFlags::empty()).unwrap();
        // cap_net_bind_service; only root may grant it.
        let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let granted = fsetxattr(&old, "security.capability", &capability, XattrFlags::empty()).is_ok();
        assert_eq!(granted, rustix::process::geteuid().is_root());
        inherit((&dir, p("old")), &new).unwrap();
        assert_eq!(get(&new, "user.origin").unwrap(), b"here");
        assert_eq!(get(&new, "security.capability"), None);
    }

    #[test]
    fn an_access_list_is_handed_on_and_the_mode_is_the_new_one() {
        let (_temp, dir) = fixture();
        let old = dir.create_file(p("old"), 0o644).unwrap();
        let new = dir.create_file(p("new"), 0o755).unwrap();
        fsetxattr(&old, "system.posix_acl_access", &access_list(6, 6), XattrFlags::empty()).unwrap();
        inherit((&dir, p("old")), &new).unwrap();
        // The mask may write, so that user 12345 still may; everything else is as the new release says.
        assert_eq!(dir.stat(p("new")).unwrap().unwrap().mode, 0o775);
        let list = get(&new, "system.posix_acl_access").unwrap();
        assert_eq!(&list[12..20], &access_list(6, 6)[12..20], "user 12345");
    }

    #[test]
    fn a_file_inherits_from_a_directory_as_if_it_were_made_there() {
        let (_temp, dir) = fixture();
        dir.create_dir(p("d"), 0o750).unwrap();
        let old = dir.open_dir(p("d")).unwrap();
        fsetxattr(old.as_file(), "user.origin", b"here", XattrFlags::empty()).unwrap();
        fsetxattr(old.as_file(), "system.posix_acl_default", &access_list(4, 4), XattrFlags::empty()).unwrap();
        let new = dir.create_file(p("new"), 0o600).unwrap();
        inherit((&dir, p("d")), &new).unwrap();
        inherit((&old, p("")), &new).unwrap();
        assert_eq!(get(&new, "user.origin"), None);
        assert!(get(&new, "system.posix_acl_access").is_some());
        assert_eq!(dir.stat(p("new")).unwrap().unwrap().mode, 0o600);
        // A directory gets all of it.
        dir.create_dir(p("e"), 0o755).unwrap();
        let new = dir.open_dir(p("e")).unwrap();
        inherit((&dir, p("d")), new.as_file()).unwrap();
        assert_eq!(get(new.as_file(), "user.origin").unwrap(), b"here");
        assert_eq!(get(new.as_file(), "system.posix_acl_default").unwrap(), access_list(4, 4));
    }
}
