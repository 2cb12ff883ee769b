//! The service's tests, as one binary.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

mod store_contract;
mod store_local;
mod store_partial;
