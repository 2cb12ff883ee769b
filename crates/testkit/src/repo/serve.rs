//! How a device gets at a [`SimRepo`]: it *is* the source, counts what it is asked for, and can fail.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use updraft_core::head::{self, Head};
use updraft_core::layout::{self, Key};
use updraft_core::limits::HEAD_LEN_MAX;
use updraft_core::trust::{MetadataFile, Source};

use super::SimRepo;

/// Why a [`SimRepo`] did not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SimError {
    /// The test said so: [`SimRepo::fail_after`].
    #[error("nobody answers")]
    Unreachable,
    /// The object is longer than it may be, and the transport noticed.
    #[error("{key} has {len} bytes, {max} are allowed")]
    TooLong {
        /// The object.
        key: Key,
        /// Its length.
        len: u64,
        /// How long it may be.
        max: u64,
    },
    /// The head cannot be read.
    #[error(transparent)]
    Head(#[from] head::Error),
}

/// One question that was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What for.
    pub key: Key,
    /// How many bytes were answered; `None` when there is no such object.
    pub bytes: Option<u64>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Service {
    without_head: bool,
    ignores_max: bool,
    fails_after: Option<usize>,
    requests: Vec<Request>,
}

impl SimRepo {
    /// Serves no head from now on, as a plain TUF repository: devices read `timestamp.json`.
    #[must_use]
    pub fn without_head(mut self) -> Self {
        self.service.without_head = true;
        self
    }

    /// Sends whole objects from now on, however few bytes were allowed: a transport that does not keep its promise.
    pub fn ignore_max(&mut self) {
        self.service.ignores_max = true;
    }

    /// Answers `requests` more requests, then none.
    pub fn fail_after(&mut self, requests: usize) {
        self.service.fails_after = Some(requests);
    }

    /// Answers again.
    pub fn recover(&mut self) {
        self.service.fails_after = None;
    }

    /// What was asked for since the last [`Self::forget_requests`], in order.
    pub fn requests(&self) -> &[Request] {
        &self.service.requests
    }

    /// How many bytes were answered since then.
    pub fn bytes_sent(&self) -> u64 {
        self.service.requests.iter().filter_map(|request| request.bytes).sum()
    }

    /// Begins to count anew.
    pub fn forget_requests(&mut self) {
        self.service.requests.clear();
    }

    /// Every public object: what a server of this app would serve, by key.
    pub fn objects(&self) -> &BTreeMap<Key, Vec<u8>> {
        &self.objects
    }

    /// Writes every object to `dir`, at its key: a static copy, as on a USB stick. Files that are there are replaced.
    ///
    /// # Panics
    /// When something cannot be written.
    pub fn write_to(&self, dir: &Path) {
        for (key, bytes) in &self.objects {
            let at = dir.join(key.as_str());
            fs::create_dir_all(at.parent().expect("a key has segments")).expect("a directory can be made");
            fs::write(at, bytes).expect("a file can be written");
        }
    }

    /// Asks for any object, as a device would: counted, bounded, and failing when it was told to.
    ///
    /// # Errors
    /// [`SimError::Unreachable`] when it was told to fail, [`SimError::TooLong`] when there are more than `max` bytes.
    pub fn get(&mut self, key: &Key, max: u64) -> Result<Option<Vec<u8>>, SimError> {
        match &mut self.service.fails_after {
            Some(0) => return Err(SimError::Unreachable),
            Some(left) => *left -= 1,
            None => {}
        }
        let bytes = self.objects.get(key).cloned();
        let len = bytes.as_ref().map(|bytes| bytes.len() as u64);
        self.service.requests.push(Request { key: key.clone(), bytes: len });
        match len {
            Some(len) if len > max && !self.service.ignores_max => {
                Err(SimError::TooLong { key: key.clone(), len, max })
            }
            _ => Ok(bytes),
        }
    }
}

impl Source for SimRepo {
    type Error = SimError;

    fn head(&mut self) -> Result<Option<Head>, SimError> {
        if self.service.without_head {
            return Ok(None);
        }
        let bytes = self.get(&layout::head(&self.app), HEAD_LEN_MAX)?;
        Ok(bytes.map(|bytes| Head::decode(&bytes)).transpose()?)
    }

    fn fetch(&mut self, file: &MetadataFile, max: u64) -> Result<Option<Vec<u8>>, SimError> {
        self.get(&layout::metadata(&self.app, file), max)
    }
}
