//! A backend that fails on purpose, for crash tests.
//!
//! It counts *writes* (`create`, `swap`, `put`, `delete`), from 1, and breaks at one of them as told. A store that has
//! died stays dead, for reads too; the same [`Store`](super::Store) without the wrapper is what a restart finds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use updraft_core::layout::Key;

use super::{Backend, Body, Created, Error, Kind, Meta, Object, Swap, Tag};

/// How a [`Faulty`] backend breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Never; for counting.
    None,
    /// Dead before it does the write of this number.
    DiesBefore(u64),
    /// Dead once it has done the write of this number, which is answered by an error.
    DiesAfter(u64),
    /// The write of this number is done and answered by an error; then all is well again.
    LosesAnswer(u64),
    /// The write of this number fails in this way and nothing is done; then all is well again.
    Refuses(u64, Kind),
    /// From the write of the first number on, as many as the second fail in this way; then all is well again.
    RefusesMany(u64, u64, Kind),
}

/// See the module.
#[derive(Debug)]
pub struct Faulty {
    inner: Arc<dyn Backend>,
    fault: Fault,
    writes: Arc<AtomicU64>,
}

impl Faulty {
    /// `inner`, breaking as `fault` says.
    pub fn new(inner: Arc<dyn Backend>, fault: Fault) -> Self {
        Self { inner, fault, writes: Arc::default() }
    }

    /// The number of writes that were asked for, also after the backend has been given away.
    pub fn writes(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.writes)
    }

    fn alive(&self, key: &str) -> Result<(), Error> {
        let asked = self.writes.load(Ordering::SeqCst);
        match self.fault {
            Fault::DiesBefore(n) | Fault::DiesAfter(n) if asked >= n => Err(broken(Kind::Unavailable, key)),
            _ => Ok(()),
        }
    }

    async fn write<T>(&self, key: &Key, action: impl Future<Output = Result<T, Error>> + Send) -> Result<T, Error> {
        let number = self.writes.fetch_add(1, Ordering::SeqCst) + 1;
        match self.fault {
            Fault::DiesBefore(n) if number >= n => return Err(broken(Kind::Unavailable, key.as_str())),
            Fault::DiesAfter(n) if number > n => return Err(broken(Kind::Unavailable, key.as_str())),
            Fault::Refuses(n, kind) if number == n => return Err(broken(kind, key.as_str())),
            Fault::RefusesMany(n, many, kind) if (n..n + many).contains(&number) => {
                return Err(broken(kind, key.as_str()));
            }
            _ => {}
        }
        let answer = action.await?;
        match self.fault {
            Fault::DiesAfter(n) | Fault::LosesAnswer(n) if number == n => Err(broken(Kind::Unavailable, key.as_str())),
            _ => Ok(answer),
        }
    }
}

fn broken(kind: Kind, key: &str) -> Error {
    Error::new(kind, key, "broken on purpose, by a test")
}

#[async_trait]
impl Backend for Faulty {
    async fn read(&self, key: &Key, max: u64) -> Result<Option<(Bytes, Tag)>, Error> {
        self.alive(key.as_str())?;
        self.inner.read(key, max).await
    }

    async fn open(&self, key: &Key) -> Result<Option<Object>, Error> {
        self.alive(key.as_str())?;
        self.inner.open(key).await
    }

    async fn stat(&self, key: &Key) -> Result<Option<Meta>, Error> {
        self.alive(key.as_str())?;
        self.inner.stat(key).await
    }

    async fn create(&self, key: &Key, body: Body) -> Result<Created, Error> {
        self.write(key, self.inner.create(key, body)).await
    }

    async fn swap(&self, key: &Key, expected: Option<&Tag>, bytes: Bytes) -> Result<Swap, Error> {
        self.write(key, self.inner.swap(key, expected, bytes)).await
    }

    async fn put(&self, key: &Key, bytes: Bytes) -> Result<(), Error> {
        self.write(key, self.inner.put(key, bytes)).await
    }

    async fn delete(&self, key: &Key) -> Result<(), Error> {
        self.write(key, self.inner.delete(key)).await
    }

    async fn list(&self, prefix: &str, after: Option<&Key>, max: usize) -> Result<Vec<(Key, Meta)>, Error> {
        self.alive(prefix)?;
        self.inner.list(prefix, after, max).await
    }
}
