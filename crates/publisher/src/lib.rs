//! The publisher's side: keys, signing, compressing, uploading.
//!
//! A publisher scans a directory, asks the server what it lacks, sends that and nothing else, signs what is new, and
//! hands it in: the release appears at once or not at all. The private keys never leave this crate, and passphrases and
//! tokens only come in as parameters.
//!
//! - [`keys`]: key files, and the directory that holds an app's keys and what was believed last;
//! - [`remote`], [`http`]: the server, as a publisher sees it;
//! - [`base`]: the app as it is, verified; [`sign`]: what is signed on top of it;
//! - [`create`]: a new app; [`publish`]: a new release; [`pin`]: a release that is to stay;
//! - [`patch`]: what turns one tree into another;
//! - [`root`]: a change of keys, and the file that travels to those who must sign it;
//! - [`notes`]: what is new, as people write it down;
//! - [`folder`]: a folder that publishes itself.
#![forbid(unsafe_code)]

pub mod base;
pub mod create;
pub mod folder;
pub mod http;
pub mod keys;
pub mod notes;
pub mod patch;
mod pem;
pub mod pin;
pub mod progress;
pub mod publish;
pub mod remote;
pub mod root;
mod rounds;
pub mod sign;

pub use progress::{Phase, Progress, Silent};
pub use remote::{Remote, RemoteError};
