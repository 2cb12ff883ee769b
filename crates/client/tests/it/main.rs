//! The client from outside: one binary, so that it is linked once.

#![allow(clippy::unwrap_used, reason = "a helper of a test may panic as the test may")]

mod attacks;
mod bundle;
mod check;
mod choice;
mod download;
mod first_root;
mod http;
mod memory;
mod patch;
mod support;
mod tls;
mod updater;
