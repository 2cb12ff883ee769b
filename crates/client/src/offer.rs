//! A patch that the source offers, and what it is said to cost.
//!
//! The first bytes of a patch tell how long it is; they are asked for with one small request, and nothing of them is
//! believed. What is not told, or not understood, is as good as no patch: there is always another way.

use updraft_core::digest::Digest;
use updraft_core::layout;
use updraft_core::plan::Route;
use updraft_core::tree::patch::nothing;
use updraft_delta::header::{PREFIX_LEN, parse_prefix};

use crate::belief::Place;
use crate::fetch::{Error, Got};

/// Longest tag of a patch that is remembered, in bytes; a longer one is as good as none.
const TAG_LEN_MAX: usize = 256;

/// A patch from one tree to another, or from nothing: a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Offer {
    /// The tree that it is made from.
    pub(crate) from: Digest,
    /// The tree that it makes.
    pub(crate) to: Digest,
    /// Its length.
    pub(crate) bytes: u64,
    /// Its tag, where the source has tags.
    pub(crate) tag: Option<String>,
}

impl Offer {
    /// Whether it reads nothing that is here.
    pub(crate) fn is_bundle(&self) -> bool {
        self.from == nothing()
    }

    /// Which way it is.
    pub(crate) fn route(&self) -> Route {
        if self.is_bundle() { Route::Bundle } else { Route::Patch }
    }
}

/// Asks `place` for a patch from one tree to another.
///
/// # Errors
/// When it was told to stop. A source that gives no answer has no patch.
pub(crate) fn ask(place: Place<'_>, from: Digest, to: Digest) -> Result<Option<Offer>, Error> {
    let (front, tag) = match place.fetcher.front(&layout::patch(place.app, from, to), PREFIX_LEN) {
        Ok(Got::Found(front, tag)) => (front, tag),
        Err(Error::Cancelled) => return Err(Error::Cancelled),
        Ok(Got::Missing | Got::NotModified) | Err(_) => return Ok(None),
    };
    let prefix: Option<[u8; PREFIX_LEN]> = front.try_into().ok();
    let told = prefix.and_then(|prefix| parse_prefix(&prefix).ok());
    let tag = tag.filter(|tag| tag.len() <= TAG_LEN_MAX);
    Ok(told.map(|(_, bytes)| Offer { from, to, bytes, tag }))
}
