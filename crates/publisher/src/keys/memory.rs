//! What was believed of the app last, in `trusted/`: each role's bytes as they came.
//!
//! What it returns is verified again. A damaged file counts as none, so that a bad disk costs memory and not the app.

use std::path::PathBuf;

use updraft_core::limits::METADATA_LEN_MAX;
use updraft_core::trust::{Cache, Role};

use super::Error;
use super::disk::{Place, make_private_dir, read_bounded, remove, write};

/// What was believed of an app last.
#[derive(Debug)]
pub struct Memory {
    pub(super) dir: PathBuf,
}

impl Memory {
    fn file_name(role: &Role) -> String {
        match role {
            Role::Delegated(name) if name != Role::channels().name() => format!("role-{}.json", hex::encode(name)),
            known => known.file_name(),
        }
    }
}

impl Cache for Memory {
    type Error = Error;

    fn load(&mut self, role: &Role) -> Option<Vec<u8>> {
        read_bounded(&self.dir.join(Self::file_name(role)), METADATA_LEN_MAX).ok().flatten()
    }

    fn store(&mut self, role: &Role, bytes: &[u8]) -> Result<(), Error> {
        make_private_dir(&self.dir)?;
        write(&self.dir, &Self::file_name(role), bytes, Place::Replace)
    }

    fn forget(&mut self, role: &Role) -> Result<(), Error> {
        remove(self.dir.join(Self::file_name(role)))
    }
}
