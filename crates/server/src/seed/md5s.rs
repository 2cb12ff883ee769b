//! The making of lists: each content is read once, and its MD5 remembered by digest as long as the release lasts.
//!
//! What is remembered is also written down in `private/md5/{app}`, so that a restart does not read every file again. It is
//! a cache: what cannot be read there is made anew.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{BufMut, Bytes, BytesMut};
use md5::{Digest as _, Md5 as Hasher};
use updraft_core::digest::Digest;
use updraft_core::layout::{self, Key};
use updraft_core::limits::TREE_ENTRIES_MAX;
use updraft_core::name::AppName;
use updraft_core::release::Release;

use super::list::{List, Md5};
use super::{Error, Seed, listed, open_raw};
use crate::store::{Object, READ_LEN, Store};

/// The first bytes of the cache file.
const MAGIC: &[u8] = b"updraft md5 1\n";
const RECORD_LEN: usize = 32 + 16;
const CACHE_LEN_MAX: u64 = (MAGIC.len() + RECORD_LEN * TREE_ENTRIES_MAX) as u64;

/// The list that is ready, and what is known for the next one.
#[derive(Debug, Default)]
pub(super) struct Lists {
    ready: Mutex<Option<(Digest, Arc<List>)>>,
    /// Held while a list is made: one at a time. `None` until the cache was read.
    known: tokio::sync::Mutex<Option<Known>>,
}

type Known = HashMap<Digest, Md5>;

impl Lists {
    /// The list of the tree with this digest, if it is made.
    pub(super) fn ready(&self, tree: Digest) -> Option<Arc<List>> {
        let ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        ready.as_ref().filter(|(made_of, _)| *made_of == tree).map(|(_, list)| Arc::clone(list))
    }

    fn set_ready(&self, tree: Digest, list: &Arc<List>) {
        *self.ready.lock().unwrap_or_else(PoisonError::into_inner) = Some((tree, Arc::clone(list)));
    }
}

/// Makes the list of `release`, or finds that somebody else just did.
pub(super) async fn make(lists: &Lists, seed: &Seed, release: &Release) -> Result<Arc<List>, Error> {
    let mut guard = lists.known.lock().await;
    if let Some(list) = lists.ready(release.tree.digest) {
        return Ok(list);
    }
    let store = seed.depot.store();
    let known = match guard.take() {
        Some(known) => known,
        None => read_cache(store, &seed.app).await,
    };
    let release_tree = seed.depot.tree(&seed.app, &release.name()).await?;
    let mut fresh = Known::with_capacity(known.len());
    let mut files = BTreeMap::new();
    for (path, digest) in listed(&release_tree.tree) {
        let md5 = match fresh.get(&digest).or_else(|| known.get(&digest)) {
            Some(md5) => *md5,
            None => md5_of(&open_raw(&seed.depot, &seed.app, digest).await?).await?,
        };
        fresh.insert(digest, md5);
        files.insert(path.to_owned(), md5);
    }
    let list = Arc::new(List::new(&files));
    lists.set_ready(release.tree.digest, &list);
    let changed = fresh.len() != known.len() || fresh.keys().any(|digest| !known.contains_key(digest));
    if changed {
        write_cache(store, &seed.app, &fresh).await;
    }
    *guard = Some(fresh);
    Ok(list)
}

async fn md5_of(object: &Object) -> Result<Md5, Error> {
    let mut hasher = Hasher::new();
    let mut offset = 0;
    while offset < object.len() {
        let piece = object.read_at(offset, READ_LEN).await?;
        // A slice takes a fifth of a millisecond, so others wait no longer for this thread than for any request.
        hasher.update(&piece);
        offset += piece.len() as u64;
    }
    Ok(Md5(hasher.finalize().into()))
}

fn cache_key(app: &AppName) -> Key {
    layout::private("md5", app.as_str())
}

async fn read_cache(store: &Store, app: &AppName) -> Known {
    match store.read(&cache_key(app), CACHE_LEN_MAX).await {
        Ok(Some((bytes, _))) => decode(&bytes).unwrap_or_default(),
        Ok(None) => Known::new(),
        Err(error) => {
            tracing::warn!(%error, "remembered MD5s cannot be read and are made anew");
            Known::new()
        }
    }
}

async fn write_cache(store: &Store, app: &AppName, known: &Known) {
    if let Err(error) = store.put(&cache_key(app), encode(known)).await {
        tracing::warn!(%error, "MD5s cannot be remembered and are made anew after a restart");
    }
}

fn encode(known: &Known) -> Bytes {
    let mut bytes = BytesMut::with_capacity(MAGIC.len() + RECORD_LEN * known.len());
    bytes.put_slice(MAGIC);
    for (digest, md5) in known {
        bytes.put_slice(digest.as_bytes());
        bytes.put_slice(&md5.0);
    }
    bytes.freeze()
}

/// `None` for what [`encode`] did not write.
fn decode(bytes: &[u8]) -> Option<Known> {
    let records = bytes.strip_prefix(MAGIC)?.chunks_exact(RECORD_LEN);
    if !records.remainder().is_empty() {
        return None;
    }
    records
        .map(|record| {
            let (digest, md5) = record.split_at(32);
            Some((Digest::from_bytes(digest.try_into().ok()?), Md5(md5.try_into().ok()?)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_read_as_it_was_written_or_not_at_all() {
        let known = Known::from([(Digest::of(b"a"), Md5([1; 16])), (Digest::of(b"b"), Md5([2; 16]))]);
        let bytes = encode(&known);
        assert_eq!(decode(&bytes), Some(known));
        assert_eq!(decode(&bytes[1..]), None);
        assert_eq!(decode(&bytes[..bytes.len() - 1]), None);
        assert_eq!(decode(b""), None);
    }
}
