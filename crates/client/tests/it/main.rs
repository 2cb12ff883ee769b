//! The client from outside: one binary, so that it is linked once.

#![allow(clippy::unwrap_used, reason = "a helper of a test may panic as the test may")]

mod check;
mod download;
mod http;
mod support;
mod updater;
