//! Why a patch cannot be read or applied.

use std::io;

use crate::container;

/// Why a patch cannot be read or applied. Whatever was written to the sink before is worth nothing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not a patch, or a damaged one.
    #[error("not a patch that can be used: {0}")]
    Format(String),
    /// It is written to a later format than this program knows.
    #[error("the patch is of format {0}, which this program does not know: update it, or fetch the files whole")]
    Newer(u8),
    /// It asks for more than is allowed.
    #[error("the patch has {what} of {found}; {max} is the limit")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// How much it claims.
        found: u64,
        /// How much is allowed.
        max: u64,
    },
    /// A base is not the one that the patch was made from.
    #[error("base {index} has {found} bytes; the patch was made from one of {expected}")]
    Base {
        /// Its number.
        index: u64,
        /// How long it is.
        found: u64,
        /// How long it must be.
        expected: u64,
    },
    /// The patch itself could not be read.
    #[error("the patch cannot be read: {0}")]
    Patch(#[source] io::Error),
    /// A base could not be read.
    #[error("base {index} cannot be read: {source}")]
    Old {
        /// Its number.
        index: u64,
        /// What the system said.
        source: io::Error,
    },
    /// A base could not be unpacked.
    #[error("base {index} cannot be unpacked: {source}")]
    Unpack {
        /// Its number.
        index: u64,
        /// Why.
        source: container::Error,
    },
    /// An output could not be packed.
    #[error("output {index} cannot be packed: {source}")]
    Pack {
        /// Its number.
        index: usize,
        /// Why.
        source: container::Error,
    },
    /// What bases are unpacked to could not be kept.
    #[error("scratch space cannot be used: {0}")]
    Scratch(#[source] io::Error),
    /// An output could not be written.
    #[error("output {index} cannot be written: {source}")]
    Output {
        /// Its number.
        index: usize,
        /// What the system said.
        source: io::Error,
    },
}

impl Error {
    pub(crate) fn format(reason: impl Into<String>) -> Self {
        Self::Format(reason.into())
    }
}
