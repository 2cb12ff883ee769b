//! What is installed: the exact release document, its tree, and the stamps of its files.
//!
//! A *stamp* is what `stat` said of a file when its content was last verified. As long as it says the same, the content is
//! taken as verified; when anything differs the file is hashed again. A record is replaced whole, never changed.
//!
//! ```text
//! one line of JSON: {"format":1,"app","platform","version","document":LEN,"tree":LEN,"stamps":LEN,"digest":BLAKE3}
//! the release document        exact bytes
//! the tree as it was stored   core::tree::stored
//! for each file of the tree, in order: 1, inode, mtime, ctime (u64, i64, i64 little-endian, ns)   or 0 and zeros
//! ```
//!
//! `digest` is over everything behind the line, so a damaged record is found when it is read.

use std::collections::BTreeMap;

use updraft_core::path::RelPath;
use updraft_core::release::Release;
use updraft_core::tree::Tree;
use updraft_files::Stat;

/// Why some bytes are not a record.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// They are damaged.
    #[error("the record of what is installed is damaged ({0}): install again with --adopt")]
    Damaged(String),
    /// They were written by a newer program.
    #[error("the record of what is installed has format {0}, which is newer than this program: update updraft-agent")]
    Newer(u64),
}

/// What `stat` said of a file when its content was verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Its inode.
    pub(crate) inode: u64,
    /// When its content was changed, in nanoseconds since 1970.
    pub(crate) mtime_ns: i64,
    /// When its inode was changed, in nanoseconds since 1970.
    pub(crate) ctime_ns: i64,
}

/// An installed release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The release.
    pub release: Release,
    /// Its document, exactly as it was signed.
    pub document: Vec<u8>,
    /// Its files.
    pub tree: Tree,
    /// The tree as it was stored (see `core::tree::stored`).
    pub packed_tree: Vec<u8>,
    pub(crate) stamps: BTreeMap<RelPath, Stamp>,
}
