//! Objects as files, for another process, which knows no store.
//!
//! A store in a directory lends the directory itself: its objects are files at their keys, and they never change. From any
//! other store what is asked for is copied to the scratch directory, and gone when the loan ends.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use updraft_core::layout::Key;

use super::error::Error;
#[cfg(doc)]
use super::error::Kind;
use super::scratch::Scratch;
use super::{READ_LEN, Store, blocking};

/// A directory in which objects lie at their keys.
#[derive(Debug)]
pub struct Lent {
    root: PathBuf,
    /// Whether it is ours to remove.
    is_copy: bool,
}

impl Lent {
    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // What cannot be removed now is swept when the store is opened again.
        if self.is_copy
            && let Err(error) = fs::remove_dir_all(&self.root)
        {
            tracing::debug!(path = %self.root.display(), %error, "a scratch directory stays until the next start");
        }
    }
}

impl Store {
    /// A directory with the objects at `keys`, those that are there. They have `len_max` bytes together at most, unless the
    /// store is such a directory itself.
    ///
    /// # Errors
    /// [`Kind::TooLarge`] when they have more; and when they cannot be read, or copied.
    pub async fn lend(&self, keys: impl IntoIterator<Item = Key>, len_max: u64) -> Result<Lent, Error> {
        if let Some(root) = self.backend.root() {
            return Ok(Lent { root: root.to_owned(), is_copy: false });
        }
        let scratch = Arc::clone(&self.scratch);
        let lent = blocking(move || made(&scratch)).await?;
        let mut len = 0;
        for key in keys {
            let Some(object) = self.open(&key).await? else { continue };
            len += object.len();
            if len > len_max {
                return Err(Error::too_large(len, len_max).at(&key));
            }
            let path = lent.root.join(key.as_str());
            let mut file = {
                let path = path.clone();
                blocking(move || create(&path)).await?
            };
            let mut at = 0;
            while at < object.len() {
                let piece = object.read_at(at, READ_LEN).await?;
                at += piece.len() as u64;
                let path = path.clone();
                file = blocking(move || {
                    file.write_all(&piece).map_err(|e| Error::io(&path, e))?;
                    Ok(file)
                })
                .await?;
            }
        }
        Ok(lent)
    }
}

fn made(scratch: &Scratch) -> Result<Lent, Error> {
    let root = scratch.spool_path()?;
    fs::create_dir(&root).map_err(|e| Error::io(&root, e))?;
    Ok(Lent { root, is_copy: true })
}

fn create(path: &Path) -> Result<File, Error> {
    let made = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| File::create_new(path));
    made.map_err(|e| Error::io(path, e))
}
