//! What the targets share: a signed repository, a device that was installed from one, and a server.
//!
//! A target feeds bytes to one decoder and asserts what must hold of anything that it lets through; most often that it was
//! signed, or that writing it and reading it again changes nothing. `src/bin/seeds.rs` writes real values to begin with.
#![forbid(unsafe_code)]

pub mod device;
pub mod roles;
pub mod service;
