//! Listing a directory store in the order of its keys.
//!
//! That is not the order of a plain walk: `a-b` comes before `a/b`, because `-` is less than `/`. So directories are
//! sorted with their slash.

use std::fs;
use std::path::Path;

use updraft_core::layout::Key;

use super::super::Meta;
use super::super::error::Error;
use super::{absent_is_none, meta_of};

/// No key is longer, so nothing deeper is ours.
const KEY_LEN_MAX: usize = 1_024;

/// See [`Backend::list`](super::Backend::list).
pub(super) fn list(root: &Path, prefix: &str, after: Option<&Key>, max: usize) -> Result<Vec<(Key, Meta)>, Error> {
    let mut walk = Walk { prefix, after: after.map_or("", Key::as_str), max, found: Vec::new() };
    for room in ["apps/", "private/"] {
        if walk.enters(room) {
            walk.directory(&root.join(room), room)?;
        }
    }
    Ok(walk.found)
}

struct Walk<'a> {
    prefix: &'a str,
    after: &'a str,
    max: usize,
    found: Vec<(Key, Meta)>,
}

impl Walk<'_> {
    /// Whether a directory, whose name ends with `/`, can hold something that is asked for.
    fn enters(&self, name: &str) -> bool {
        let in_prefix = name.starts_with(self.prefix) || self.prefix.starts_with(name);
        in_prefix && (name > self.after || self.after.starts_with(name)) && name.len() <= KEY_LEN_MAX
    }

    fn takes(&self, name: &str) -> bool {
        name.starts_with(self.prefix) && name > self.after
    }

    fn directory(&mut self, path: &Path, name: &str) -> Result<(), Error> {
        for name in sorted_names(path, name)? {
            if self.found.len() >= self.max {
                break;
            }
            let last = name.trim_end_matches('/').rsplit('/').next().expect("rsplit has a first piece");
            let path = path.join(last);
            if name.ends_with('/') {
                if self.enters(&name) {
                    self.directory(&path, &name)?;
                }
            } else if self.takes(&name) {
                self.file(&path, &name)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, name: &str) -> Result<(), Error> {
        let Some(key) = Key::parse(name) else { return Ok(()) };
        let meta = absent_is_none(fs::symlink_metadata(path)).map_err(|e| Error::io(path, e))?;
        if let Some(meta) = meta {
            self.found.push((key, meta_of(path, &meta)?));
        }
        Ok(())
    }
}

/// The names in a directory with `prefix` before each; those of directories end with `/`.
fn sorted_names(path: &Path, prefix: &str) -> Result<Vec<String>, Error> {
    let failed = |error| Error::io(path, error);
    let Some(entries) = absent_is_none(fs::read_dir(path)).map_err(failed)? else { return Ok(Vec::new()) };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let Some(kind) = absent_is_none(entry.file_type()).map_err(failed)? else { continue };
        let name = entry.file_name();
        // A name that is no text is in no key.
        let Some(name) = name.to_str() else { continue };
        if kind.is_dir() {
            names.push(format!("{prefix}{name}/"));
        } else if kind.is_file() {
            names.push(format!("{prefix}{name}"));
        }
    }
    names.sort_unstable();
    Ok(names)
}
