//! The updater that lives inside other people's applications.
//!
//! It is blocking, prints nothing, starts no thread that outlives a call, and brings no async runtime. Three verbs do the
//! work: check, download, apply; every byte is verified before it can be installed, and the release before is kept.
//!
//! ```no_run
//! use updraft_client::{Error, OpenOptions, Updater, Verdict, install};
//! use updraft_core::Timestamp;
//!
//! fn update(dir: &std::path::Path) -> Result<(), Error> {
//!     let now = Timestamp::now();
//!     let mut updater = Updater::open(dir, OpenOptions::default())?;
//!     let Verdict::Available(update) = updater.check(now)? else { return Ok(()) }; // verified, chosen for this device
//!     let staged = updater.download(&update, &())?; // every byte checked
//!     updater.apply(staged, &install::Options::default(), now)?; // switched; the release before is kept
//!     Ok(()) // and `updater.rollback` goes back to it
//! }
//! ```
//!
//! The rooms, in the order in which an update passes through them:
//!
//! - [`source`], [`fetch`]: where an app comes from, and how its bytes get here;
//! - [`belief`], [`check`]: what the publisher signed, and whether there is something new;
//! - [`download`], [`staged`], [`progress`]: what is lacking here, fetched and verified, by a patch where that is cheapest;
//!   [`fetched`]: how it got here;
//! - [`home`], [`record`], [`install`]: what is installed, and how it is switched;
//! - [`updater`], [`status`](mod@status), [`error`]: the door to all of it.
#![forbid(unsafe_code)]

pub mod belief;
pub mod check;
pub mod download;
pub mod error;
pub mod fetch;
pub mod fetched;
pub mod home;
pub mod install;
mod offer;
pub mod progress;
pub mod record;
pub mod source;
pub mod staged;
pub mod status;
pub mod updater;

pub use belief::Pin;
pub use check::{Chooser, Downgrade, Price, Update, Verdict};
pub use error::{Class, Error};
pub use fetch::Cancel;
pub use fetched::{FellBack, Fetched};
pub use install::Applied;
pub use progress::{Phase, Progress};
pub use source::Source;
pub use staged::Staged;
pub use status::{Status, status};
pub use updater::{InstallOptions, OpenOptions, Updater};
pub use updraft_core::plan::Route;
