//! The two files of the data directory that are for people and scripts: the address, and the operator's copy of the token.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use updraft_core::digest::Sha256;
use updraft_core::layout::{self, Key};

use crate::http::AdminToken;
use crate::store::{self, Store};

/// Where a running server can be reached: `DATA/address`.
pub const ADDRESS_FILE: &str = "address";
/// The operator's copy of the admin token: `DATA/admin-token`.
pub const TOKEN_FILE: &str = "admin-token";
/// Nothing here is longer, in bytes.
const LEN_MAX: u64 = 1_024;

/// Why one of the files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read or written.
    #[error("{}: {reason}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// The admin token as a server knows it.
#[derive(Debug)]
pub struct Admin {
    /// What it is recognised by.
    pub digest: Sha256,
    /// The token itself, when it was made just now: to be shown once.
    pub fresh: Option<AdminToken>,
}

/// Writes `DATA/address`: where the server listens, and nothing else but a newline.
///
/// # Errors
/// When it cannot be written.
pub fn write_address(data: &Path, address: SocketAddr) -> Result<(), Error> {
    write(&data.join(ADDRESS_FILE), &format!("{address}\n"), 0o644)
}

/// The admin token: the one that the operator brings along, else the one of the last start, else a new one, of which
/// `DATA/admin-token` is the operator's copy, for its owner's eyes only. The server keeps a digest.
///
/// Whoever removes the copy gets a new token at the next start, and the old one is worth nothing: that is how a token
/// that leaked is replaced.
///
/// # Errors
/// When store or directory cannot be used, or the file there holds something else than a token.
pub async fn admin_token(store: &Store, data: &Path, brought: Option<&AdminToken>) -> Result<Admin, Error> {
    if let Some(token) = brought {
        return Ok(Admin { digest: token.digest(), fresh: None });
    }
    let (key, path) = (token_key(), data.join(TOKEN_FILE));
    let kept = store.read(&key, LEN_MAX).await?;
    let copy = read(&path)?;
    if let (Some((bytes, _)), Some(_)) = (&kept, &copy) {
        let digest = std::str::from_utf8(bytes).ok().and_then(|text| text.trim().parse().ok());
        let damaged =
            || file_error(Path::new(key.as_str()), "is not the digest of a token: remove it, and a new token is made");
        return Ok(Admin { digest: digest.ok_or_else(damaged)?, fresh: None });
    }
    let token = match copy {
        // A crash came between the file and the digest. The file is first, so no token is ever lost.
        Some(text) => {
            text.trim().parse::<AdminToken>().map_err(|e| file_error(&path, &format!("{e}; remove the file")))?
        }
        None => {
            // The old one goes first: from here on nothing but a new one can come of it, whenever a crash comes.
            store.delete(&key).await?;
            let token = AdminToken::generate().map_err(|e| file_error(&path, &format!("no random numbers: {e}")))?;
            write(&path, &format!("{}\n", token.reveal()), 0o600)?;
            token
        }
    };
    store.put(&key, Bytes::from(format!("{}\n", token.digest()))).await?;
    if kept.is_some() {
        tracing::warn!(copy = %path.display(), "the admin token was replaced: its copy was missing; the old one is worth nothing now");
    }
    Ok(Admin { digest: token.digest(), fresh: Some(token) })
}

fn token_key() -> Key {
    layout::private("tokens", "admin")
}

fn file_error(path: &Path, reason: &str) -> Error {
    Error::File { path: path.to_owned(), reason: reason.to_owned() }
}

fn read(path: &Path) -> Result<Option<String>, Error> {
    use std::io::Read;
    let file = match std::fs::File::open(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(file_error(path, &e.to_string())),
        Ok(file) => file,
    };
    let mut text = String::new();
    file.take(LEN_MAX).read_to_string(&mut text).map_err(|e| file_error(path, &e.to_string()))?;
    Ok(Some(text))
}

/// Replaces the file whole: whoever waits for it never reads half of it. Until it is in place it is its owner's only.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), Error> {
    let fail = |e: std::io::Error| file_error(path, &e.to_string());
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(dir).map_err(fail)?;
    file.write_all(text.as_bytes()).map_err(fail)?;
    permit(file.as_file(), mode).map_err(fail)?;
    file.as_file().sync_all().map_err(fail)?;
    file.persist(path).map_err(|e| fail(e.error))?;
    Ok(())
}

#[cfg(unix)]
fn permit(file: &std::fs::File, mode: u32) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(std::fs::Permissions::from_mode(mode))
}

#[cfg(not(unix))]
fn permit(_: &std::fs::File, _: u32) -> std::io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_token_is_made_once_and_shown_once() {
        let (store, data) = (Store::memory(), tempfile::tempdir().unwrap());
        let first = admin_token(&store, data.path(), None).await.unwrap();
        let token = first.fresh.unwrap();
        let path = data.path().join(TOKEN_FILE);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{}\n", token.reveal()));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        let second = admin_token(&store, data.path(), None).await.unwrap();
        assert_eq!((second.digest, second.fresh), (token.digest(), None));
        let (kept, _) = store.read(&token_key(), LEN_MAX).await.unwrap().unwrap();
        assert!(!String::from_utf8_lossy(&kept).contains(token.reveal()));
    }

    /// The story: a token had leaked, and its owner did what they had read: removed the file and started anew. No new
    /// file came, and the leaked token went on opening every door.
    #[tokio::test]
    async fn a_token_whose_copy_was_removed_is_replaced() {
        let (store, data) = (Store::memory(), tempfile::tempdir().unwrap());
        let leaked = admin_token(&store, data.path(), None).await.unwrap();
        let path = data.path().join(TOKEN_FILE);
        std::fs::remove_file(&path).unwrap();
        let new = admin_token(&store, data.path(), None).await.unwrap();
        assert_ne!(new.digest, leaked.digest);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(new.fresh.map(|token| format!("{}\n", token.reveal())), Some(text));
        let third = admin_token(&store, data.path(), None).await.unwrap();
        assert_eq!((third.digest, third.fresh), (new.digest, None));
    }

    #[tokio::test]
    async fn a_crash_between_the_copy_and_the_digest_loses_no_token() {
        let data = tempfile::tempdir().unwrap();
        let first = admin_token(&Store::memory(), data.path(), None).await.unwrap();
        let again = admin_token(&Store::memory(), data.path(), None).await.unwrap();
        assert_eq!(first.digest, again.digest);
    }

    #[tokio::test]
    async fn a_token_that_is_brought_along_counts() {
        let (store, data) = (Store::memory(), tempfile::tempdir().unwrap());
        let brought = AdminToken::generate().unwrap();
        let admin = admin_token(&store, data.path(), Some(&brought)).await.unwrap();
        assert_eq!((admin.digest, admin.fresh), (brought.digest(), None));
        assert!(!data.path().join(TOKEN_FILE).exists());
    }

    #[test]
    fn the_address_is_one_line() {
        let data = tempfile::tempdir().unwrap();
        for port in [1, 65_535] {
            write_address(data.path(), SocketAddr::from(([127, 0, 0, 1], port))).unwrap();
            let text = std::fs::read_to_string(data.path().join(ADDRESS_FILE)).unwrap();
            assert_eq!(text, format!("127.0.0.1:{port}\n"));
        }
        assert_eq!(std::fs::read_dir(data.path()).unwrap().count(), 1);
    }
}
