//! What an update *is*: the vocabulary, the formats and the decisions of Updraft, without any IO.
//!
//! Nothing here opens a file or a socket, reads a clock, starts a thread or draws a random number: bytes and the
//! present time come in, values go out. So the same code decides on a device, in a publisher's tool and in the server,
//! and a test needs nothing but memory.
//!
//! The rooms, from the ground up:
//!
//! - [`limits`], [`digest`], [`name`], [`path`], [`version`]: the words everything else is made of;
//! - [`tree`], [`release`], [`channel`]: what exists, and [`channel::pick`], which decides;
//! - [`json`], [`key`], [`signed`], [`head`], [`trust`]: bytes in, belief out;
//! - [`plan`]: what to fetch and what to reuse;
//! - [`layout`], [`api`]: where things lie, and the bodies on the wire.
#![forbid(unsafe_code)]

pub mod api;
pub mod channel;
pub mod digest;
pub mod head;
pub mod json;
pub mod key;
pub mod layout;
pub mod limits;
pub mod name;
pub mod path;
pub mod plan;
pub mod release;
pub mod signed;
pub mod tree;
pub mod trust;
pub mod version;

/// A point in time. `core` never asks what time it is: `now` is a parameter.
pub use jiff::Timestamp;
