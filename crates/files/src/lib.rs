//! A directory on a disk, and the tree that it holds.
//!
//! - [`Dir`] is an open directory. Every operation is relative to it and follows no symbolic link, so nobody who can
//!   write inside the directory can lead us outside of it.
//! - [`whole`] reads and replaces small files in one piece; [`scratch`] holds what is not finished yet.
//! - [`scan`] reads a directory as a [`Tree`](updraft_core::tree::Tree); [`mod@write`] does the reverse; [`index`] remembers
//!   what was hashed, so that it need not be hashed again.
//! - [`attrs`] hands owner, access list and labels on from a file to its successor.
//!
//! This is the only room that walks a directory. It knows no network, no signature and no release.
#![forbid(unsafe_code)]

pub mod attrs;
pub mod dir;
pub mod index;
pub mod scan;
pub mod scratch;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod unprivileged;
pub mod whole;
pub mod write;

pub use dir::{Dir, DirEntry, EntryKind, Error, Space, Stat};
pub use index::Index;
pub use whole::{read_bounded, write_atomic};
