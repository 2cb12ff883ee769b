//! Patches: how one is written down, and how it is applied.
//!
//! A patch turns *bases*, files that somebody has, into *outputs*, files that he wants. It knows nothing of trees, releases or
//! networks: bases are numbered by whoever applies it, and named together by 32 bytes that mean something to him.
//!
//! This crate ships inside other people's apps, so it is small, and it opens nothing itself: bases are read through
//! [`ReadAt`], archives are unpacked into a [`Scratch`], outputs go to a [`Sink`]. It never trusts a patch. What a patch claims
//! is bounded before anything is allocated ([`limits`]), and what comes out is whatever the patch said: the caller
//! compares it with a digest that he trusts.
//!
//! - [`header`]: the bytes in front, which tell bases, outputs and price;
//! - [`stream`]: the compressed streams behind it;
//! - [`words`] and [`native`]: what a copied byte of a text, or of an executable, is likely to have become;
//! - [`container`]: archives, unpacked and packed again;
//! - [`mod@apply`]: from bases and streams to outputs; [`survey`]: what each is made of.
//!
//! `docs/format.md` draws the format.
#![deny(unsafe_code)]

pub mod apply;
pub mod container;
pub mod error;
pub mod header;
pub mod limits;
pub mod native;
mod old_image;
mod parts;
pub mod read_at;
pub mod stream;
mod streams;
pub mod survey;
pub mod varint;
pub mod words;
pub mod zlib;

pub use apply::{Patch, Sink};
pub use error::Error;
pub use header::{Base, Group, Header, Image, Method, Output};
pub use read_at::{ReadAt, Scratch};
pub use survey::Survey;
