//! What a long task says while it runs.
//!
//! The library prints nothing and keeps no log. Whoever starts a task may watch it; watching never changes it.

use crate::check::Price;
use crate::fetched::FellBack;

/// What a task is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Finding out what is there and what is lacking.
    Planning,
    /// Fetching what is lacking.
    Fetching,
    /// Making files of a patch, and of old ones.
    Patching,
    /// Hashing files.
    Verifying,
    /// Building the new tree and switching to it.
    Installing,
}

/// Watches a task. `()` does not look. Called from several threads at once.
pub trait Progress: Sync {
    /// A phase begins.
    fn phase(&self, phase: Phase) {
        let _ = phase;
    }

    /// What the download will cost, before any of it is fetched; and once more when it goes on in another way.
    fn planned(&self, price: &Price) {
        let _ = price;
    }

    /// The cheapest way came to nothing, and the next one is taken.
    fn fell_back(&self, why: &FellBack) {
        let _ = why;
    }

    /// Of `total` bytes, `done` are done. What has to be done again counts as not done, so `done` may go back; and what
    /// turns out larger than it was said to be may take it past `total`.
    fn bytes(&self, done: u64, total: u64) {
        let _ = (done, total);
    }
}

impl Progress for () {}
