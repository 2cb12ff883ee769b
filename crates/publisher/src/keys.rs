//! The directory that holds an app's private keys, and what was believed of the app last.
//!
//! ```text
//! root.pem                    names the other keys; needed to create the app and to change keys (mode 0600)
//! targets.pem                 signs releases (mode 0600)
//! root-{fingerprint}.pem      further keys, each under the fingerprint of its public half
//! targets-{fingerprint}.pem
//! root.json                   the first root: what everything is verified from
//! pending.json                only while an app is being created: what was signed for it and may not have arrived
//! rotation.json               only while keys are being changed: which were made for it, and the next root
//! trusted/                    what was believed last: the memory that notices a server that goes back in time
//! ```
//!
//! A key file is never overwritten, except that [`Keystore::copy_from`] locks one that holds the same key. Nothing here is
//! ever half written: files are finished under another name, and take their place in one step. Which of the keys count is
//! nobody's word but the root's, so what lies here may be more than what signs, or less. Passphrases come in through
//! [`Passphrases`]; they are read from nowhere.

mod disk;
mod held;
mod memory;
mod moving;
mod passphrase;
mod public;
mod ring;
mod store;

use std::io;
use std::path::PathBuf;

/// A secret that is wiped from memory when it is dropped.
pub use pkcs8::der::zeroize::Zeroizing;

pub use held::{Held, KeyName};
pub use memory::Memory;
pub use passphrase::{Known, Passphrases, Unlocked};
pub use public::{PUBLIC_LEN_MAX, public_from_text, public_text};
pub use ring::Ring;
pub use store::{Keys, Keystore, Lock};

/// Why keys, or what lies beside them, cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such key.
    #[error(
        "{path}: there is no key here; name the directory that holds the keys of this app, or create the app first"
    )]
    Missing {
        /// Where one was looked for.
        path: PathBuf,
    },
    /// There is a file already.
    #[error("{path}: is there already and is never overwritten; move it away, or use another key directory")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The file is not what it should be.
    #[error("{path}: {reason}; put the right file there, from a backup if need be")]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// There are more keys here than an app was to have.
    #[error("{dir}: {found} root keys are here, and {wanted} were asked for; move some away, or ask for {found}")]
    TooMany {
        /// The key directory.
        dir: PathBuf,
        /// Root keys in it.
        found: usize,
        /// How many there should be.
        wanted: usize,
    },
    /// The passphrase is not the one that locks the key.
    #[error("{path}: wrong passphrase; try again")]
    WrongPassphrase {
        /// The key file.
        path: PathBuf,
    },
    /// A passphrase is needed and could not be had.
    #[error("{path}: a passphrase is needed: {reason}")]
    NoPassphrase {
        /// The key file, or the directory where keys are to be made.
        path: PathBuf,
        /// Why there is none.
        reason: String,
    },
    /// The system refused.
    #[error("{path}: {cause}")]
    Io {
        /// What was being read or written.
        path: PathBuf,
        /// What the system said; no `source`, for then it would be printed twice.
        cause: io::Error,
    },
}
