//! What the parts of `core` do together: beliefs against a signed repository in memory, decisions about any channel.
#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]

mod channel_pick;
mod channel_properties;
mod channel_scene;
mod channel_verbs;
mod scene;
mod trust_attacks;
mod trust_damage;
mod trust_delegations;
mod trust_properties;
mod trust_recovery;
mod trust_rotation;
