//! Fixtures for tests: fixed keys, a fixed clock, trees in memory, a signed repository in memory.
//!
//! Everything here is the same on every run and on every machine. Nothing here is ever part of a program that somebody
//! installs: the crate is a dev-dependency only, and its mistakes panic with a sentence.
//!
//! ```
//! use updraft_testkit::{SimDevice, SimRepo, TreeFixture};
//!
//! let mut repo = SimRepo::new("demo");
//! let release = repo.publish("1.0.0", "any", &TreeFixture::of(&[("bin/app*", "hello"), ("latest@", "bin/app")]));
//! repo.promote("stable", &release);
//!
//! let mut device = SimDevice::of(&repo);
//! let refreshed = device.refresh(&mut repo).expect("an honest repository is believed");
//! assert!(refreshed.changed);
//! assert_eq!(repo.requests().len(), 3, "head, targets, channels");
//! ```
#![forbid(unsafe_code)]

pub mod clock;
mod device;
pub mod keys;
mod repo;
mod tree;

pub use device::{MemoryCache, SimDevice};
pub use repo::{OldKey, Request, SimError, SimRepo};
pub use tree::{TreeFixture, noise};
