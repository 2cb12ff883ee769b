//! How far a download has come, told by all its threads.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::progress::Progress;

/// The count of one download.
pub(super) struct Meter<'a> {
    progress: &'a dyn Progress,
    done: AtomicU64,
    total: u64,
    stopped: AtomicBool,
}

impl<'a> Meter<'a> {
    /// Of `total` bytes, `done` are there already.
    pub(super) fn new(progress: &'a dyn Progress, done: u64, total: u64) -> Self {
        progress.bytes(done, total);
        Self { progress, done: AtomicU64::new(done), total, stopped: AtomicBool::new(false) }
    }

    /// So many bytes more are there.
    pub(super) fn add(&self, bytes: u64) {
        let done = self.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.progress.bytes(done, self.total);
    }

    /// So many bytes were for nothing.
    pub(super) fn take_back(&self, bytes: u64) {
        let done = self.done.fetch_sub(bytes, Ordering::Relaxed) - bytes;
        self.progress.bytes(done, self.total);
    }

    /// One of the threads failed: the others need not go on.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Whether one did.
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Meter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meter").field("done", &self.done).field("total", &self.total).finish_non_exhaustive()
    }
}
