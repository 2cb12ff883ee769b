//! A release that is downloaded whole: the only thing that can be installed.

use updraft_core::plan::{Counts, Plan};
use updraft_core::release::Release;
use updraft_core::tree::Tree;

use crate::check::{Chooser, Price};
use crate::fetched::{FellBack, Fetched};

/// A verified release of which nothing is lacking here. Only a download makes one, and installing takes nothing else.
///
/// Every blob that its plan fetches, or has a patch make, lies in the home's `downloads/` under its digest: raw, hashed and synced.
#[derive(Debug)]
pub struct Staged {
    pub(crate) release: Release,
    /// The exact bytes of the release document.
    pub(crate) document: Vec<u8>,
    pub(crate) tree: Tree,
    /// The tree as the store has it.
    pub(crate) packed_tree: Vec<u8>,
    pub(crate) plan: Plan,
    pub(crate) price: Price,
    pub(crate) fell_back: Option<FellBack>,
    pub(crate) chooser: Chooser,
}

impl Staged {
    /// Everything that its publisher says of it.
    pub fn release(&self) -> &Release {
        &self.release
    }

    /// Its files.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// What was fetched for it, beside what a full download would have been.
    pub fn price(&self) -> Price {
        self.price
    }

    /// How it got here.
    pub fn fetched(&self) -> Fetched {
        Fetched::new(self.price, self.fell_back.clone())
    }

    /// How many files were kept, copied, fetched, and made by a patch.
    pub fn counts(&self) -> Counts {
        self.plan.counts()
    }
}
