//! A change of keys: the next root, and whoever must sign it.
//!
//! What is to change is a value ([`Change`]); [`next`] makes the next root of it, and refuses what nobody could undo: a
//! threshold that cannot be reached, a role without keys, the server's key in a publisher's role. A [`Proposal`] carries
//! that root, everything it can be verified from, and the signatures so far, so that the keys of one app need never be in
//! one place. [`Ceremony`] does it: from what the server has, verified as a device would, to a root that counts.

mod ceremony;
mod change;
mod difference;
mod ends;
mod proposal;
mod signers;
mod standing;
mod unfinished;

pub use ceremony::{Arrived, Ceremony, Done, Error, Outcome, Wish};
pub use change::{Change, KEYS_MAX, Next, Refused, RoleChange, next};
pub use ends::{online_ends, remembered_ends};
pub use proposal::{Error as ProposalError, Need, PROPOSAL_LEN_MAX, Pinned, Proposal, Signed};
pub use signers::Signers;
pub use standing::{Online, Standing};
pub(crate) use unfinished::forget_overtaken;
