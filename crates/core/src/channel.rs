//! Channels, and the decision which release a device gets.
//!
//! A channel is a named stream that points, for each platform, at the release that is fully out, and perhaps at a candidate
//! that is being rolled out. Its document lies in the `custom` of the target `channels/NAME`, signed by the online role
//! `channels`; it can only choose among releases that the publisher signed, and only narrow what those allow.
//!
//! - [`Channel`] is the document; [`Verb`]s change it, each a pure function with an error that names what is wrong;
//! - [`Rollout`] is what a person asks for ("5%", "5%..100%/24h"), [`Wave`] what becomes of it in the document;
//! - [`pick`] is the whole decision, pure and total; every [`Pick`] says why, to a person and to a program.

mod bucket;
mod document;
mod fraction;
mod pick;
mod rollout;
mod say;
mod verbs;

pub use bucket::{Bucket, DeviceId, Salt};
pub use document::{By, Candidate, Channel, How, Reason, State, Stop, Stream, Yanked};
pub use fraction::Fraction;
pub use pick::{Bar, Device, Passed, Pick, Why, pick};
pub use rollout::{Ramp, Rollout, Wave};
pub use verbs::{Error, Moment, Verb};
