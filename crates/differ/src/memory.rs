//! How much may be compared at a time.

use crate::suffix::TEXT_LEN_MAX;

/// Least memory that a patch can be made in, in bytes.
pub const MEMORY_MIN: u64 = 256 << 20;

/// What it takes whatever is made, in bytes: the program, its tables, an encoder with its dictionary.
const BASE_LEN: u64 = 160 << 20;

/// How many bytes a byte of an old file takes: itself, as it is compared, four for its place in the order; executables a little more.
const OLD_TIMES: u64 = 9;

/// The same of a new one: itself, as it is compared, and in the end as streams.
const NEW_TIMES: u64 = 4;

/// How much memory may be taken, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory(pub(crate) u64);

impl Memory {
    /// What is there for files.
    fn for_files(self) -> u64 {
        self.0.saturating_sub(BASE_LEN)
    }

    /// What is left beside old and new files of so many bytes, if they can be compared at once.
    fn left(self, old_len: u64, new_len: u64) -> Option<u64> {
        let can_be_sorted = old_len.max(new_len) <= TEXT_LEN_MAX as u64;
        let taken = old_len.saturating_mul(OLD_TIMES).saturating_add(new_len.saturating_mul(NEW_TIMES));
        self.for_files().checked_sub(taken).filter(|_| can_be_sorted)
    }

    /// Whether old and new files of so many bytes can be compared at once.
    pub(crate) fn fits(self, old_len: u64, new_len: u64) -> bool {
        self.left(old_len, new_len).is_some()
    }

    /// How many bytes the images of containers may have on each side beyond those of files of so many bytes.
    pub(crate) fn for_images(self, old_len: u64, new_len: u64) -> usize {
        let left = self.left(old_len, new_len).unwrap_or_default() / (OLD_TIMES + NEW_TIMES);
        (left as usize).min(TEXT_LEN_MAX - (old_len.max(new_len) as usize).min(TEXT_LEN_MAX))
    }

    /// How many bytes of old files a window has at most; it has half as many of a new one.
    pub(crate) fn for_window(self) -> usize {
        (self.for_files() / 16).min(64 << 20) as usize
    }

    /// How many anchors are known, and about how many samples.
    pub(crate) fn for_anchors(self) -> usize {
        (self.0 / 512) as usize
    }

    /// How many bytes of streams may come together: they are kept, in buffers that may be twice as long, and compressed in several ways.
    pub(crate) fn for_streams(self) -> usize {
        (self.for_files() / 6) as usize
    }

    /// How many copies may be known at a time, with where each comes from.
    pub(crate) fn for_copies(self) -> usize {
        (self.for_files() / 256) as usize
    }
}
