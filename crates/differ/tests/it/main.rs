//! Patches are made, applied and compared; and damaged, and applied all the same.
#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]

mod container;
mod executables;
mod golden;
mod hostile;
mod parts;
mod round_trip;
mod stranger;
mod support;
