//! What the parts of `core` do together, against a signed repository in memory.
#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]

mod scene;
mod trust_attacks;
mod trust_damage;
mod trust_delegations;
mod trust_properties;
mod trust_recovery;
mod trust_rotation;
