//! A store in memory, for tests and for trying things out.
//!
//! Its tags count writes, so that two states with the same bytes have different tags: who leans on equal bytes having
//! equal tags finds out here.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read as _;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use updraft_core::Timestamp;
use updraft_core::layout::Key;

use super::error::Error;
use super::object::Object;
use super::{Backend, Body, Created, Meta, Swap, Tag, blocking};

/// See the module.
#[derive(Default)]
pub(super) struct Memory {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<Key, Held>,
    writes: u64,
}

#[derive(Clone)]
struct Held {
    bytes: Bytes,
    modified: Timestamp,
    write: u64,
}

impl Held {
    fn tag(&self) -> Tag {
        Tag::new(self.write.to_string())
    }

    fn meta(&self) -> Meta {
        Meta { size: self.bytes.len() as u64, modified: self.modified }
    }
}

impl State {
    fn write(&mut self, key: &Key, bytes: Bytes) -> Tag {
        self.writes += 1;
        let held = Held { bytes, modified: Timestamp::now(), write: self.writes };
        let tag = held.tag();
        self.objects.insert(key.clone(), held);
        tag
    }
}

impl Memory {
    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is one insertion or removal, whole whenever the lock is free.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("objects", &self.state().objects.len()).finish()
    }
}

#[async_trait]
impl Backend for Memory {
    async fn read(&self, key: &Key, max: u64) -> Result<Option<(Bytes, Tag)>, Error> {
        let Some(held) = self.state().objects.get(key).cloned() else { return Ok(None) };
        let size = held.bytes.len() as u64;
        if size > max {
            return Err(Error::too_large(size, max).at(key));
        }
        let tag = held.tag();
        Ok(Some((held.bytes, tag)))
    }

    async fn open(&self, key: &Key) -> Result<Option<Object>, Error> {
        Ok(self.state().objects.get(key).map(|held| Object::of_bytes(held.bytes.clone(), held.write.into())))
    }

    async fn stat(&self, key: &Key) -> Result<Option<Meta>, Error> {
        Ok(self.state().objects.get(key).map(Held::meta))
    }

    async fn create(&self, key: &Key, body: Body) -> Result<Created, Error> {
        let bytes = match body {
            Body::Bytes(bytes) => bytes,
            Body::File(spool) => blocking(move || {
                let mut bytes = Vec::new();
                spool.reader()?.read_to_end(&mut bytes).map_err(|e| Error::io(spool.path(), e))?;
                Ok(bytes.into())
            })
            .await
            .map_err(|e: Error| e.at(key))?,
        };
        let mut state = self.state();
        if state.objects.contains_key(key) {
            return Ok(Created::Exists);
        }
        state.write(key, bytes);
        Ok(Created::New)
    }

    async fn swap(&self, key: &Key, expected: Option<&Tag>, bytes: Bytes) -> Result<Swap, Error> {
        let mut state = self.state();
        if state.objects.get(key).map(Held::tag).as_ref() != expected {
            return Ok(Swap::Conflict);
        }
        Ok(Swap::Done(state.write(key, bytes)))
    }

    async fn put(&self, key: &Key, bytes: Bytes) -> Result<(), Error> {
        self.state().write(key, bytes);
        Ok(())
    }

    async fn delete(&self, key: &Key) -> Result<(), Error> {
        self.state().objects.remove(key);
        Ok(())
    }

    async fn list(&self, prefix: &str, after: Option<&Key>, max: usize) -> Result<Vec<(Key, Meta)>, Error> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let state = self.state();
        let later = state.objects.range::<Key, _>((from, Bound::Unbounded));
        let matching = later.filter(|(key, _)| key.as_str().starts_with(prefix));
        Ok(matching.take(max).map(|(key, held)| (key.clone(), held.meta())).collect())
    }
}
