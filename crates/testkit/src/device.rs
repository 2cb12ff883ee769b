//! A device, as far as trust is concerned: a pinned root and a memory.

use std::collections::BTreeMap;
use std::convert::Infallible;

use jiff::Timestamp;
use updraft_core::trust::{Cache, RefreshError, Refreshed, Role, Source, refresh};

use crate::{SimRepo, clock};

/// A [`Cache`] that lasts as long as it does. A test may look into it and damage it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemoryCache {
    /// What was kept, by role.
    pub files: BTreeMap<Role, Vec<u8>>,
}

impl Cache for MemoryCache {
    type Error = Infallible;

    fn load(&mut self, role: &Role) -> Option<Vec<u8>> {
        self.files.get(role).cloned()
    }

    fn store(&mut self, role: &Role, bytes: &[u8]) -> Result<(), Infallible> {
        self.files.insert(role.clone(), bytes.to_vec());
        Ok(())
    }

    fn forget(&mut self, role: &Role) -> Result<(), Infallible> {
        self.files.remove(role);
        Ok(())
    }
}

/// A device that believes what it can verify from its pinned root, and remembers it.
#[derive(Debug, Clone)]
pub struct SimDevice {
    /// The root that it was installed with.
    pub pinned: Vec<u8>,
    /// What it believed last.
    pub cache: MemoryCache,
    /// What its clock says.
    pub now: Timestamp,
}

impl SimDevice {
    /// A device that has just been given the first root of `repo`.
    pub fn of(repo: &SimRepo) -> Self {
        Self { pinned: repo.first_root().to_vec(), cache: MemoryCache::default(), now: clock::now() }
    }

    /// Brings what it believes up to date from `source`, beginning with the newest root that it knows.
    ///
    /// # Errors
    /// As [`refresh`].
    pub fn refresh<S: Source>(&mut self, source: &mut S) -> Result<Refreshed, RefreshError<S::Error, Infallible>> {
        let root = self.cache.load(&Role::Root).unwrap_or_else(|| self.pinned.clone());
        refresh(&root, self.now, source, &mut self.cache)
    }
}
