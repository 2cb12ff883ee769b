//! A rotation of the online keys, write by write: what devices may find when it is cut short.

use updraft_core::key::SigningKey;
use updraft_core::layout::{self, Key};
use updraft_core::trust::{MetadataFile, Role};

use super::SimRepo;
use crate::keys;

/// What became of the online key that is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OldKey {
    /// It still signs: there is a state that holds under both roots.
    Signs,
    /// It is lost: from the new root on, nothing that it signed counts.
    Lost,
}

impl SimRepo {
    /// Lets `new` sign for timestamp, snapshot and channels from now on. Returns the repository as it is served after each
    /// single write, in the order in which a server writes: what never changes first, then the head, then the root, which
    /// *is* the rotation, then the head that tells of it; `timestamp.json` after each head.
    pub fn replace_online(&mut self, new: &SigningKey, old: OldKey) -> Vec<SimRepo> {
        let roles = [Role::Timestamp, Role::Snapshot, Role::channels()];
        let (mut served, mut states) = (self.clone(), Vec::new());
        if old == OldKey::Signs {
            for role in &roles {
                self.signers.get_mut(role).expect("every role has signers").push(keys::copy(new));
            }
            self.targets = self.targets.clone().with_channels_role(&new.public());
            self.renew_targets();
            self.renew();
            write_over(&mut served, self, &mut states);
        }
        self.rotate(&roles, &[keys::copy(new)], 1);
        write_over(&mut served, self, &mut states);
        states
    }
}

/// Writes what `wanted` has and `served` has not, one object after the other.
fn write_over(served: &mut SimRepo, wanted: &SimRepo, states: &mut Vec<SimRepo>) {
    let is_new = |(key, bytes): &(&Key, &Vec<u8>)| served.objects.get(key) != Some(bytes);
    let mut writes: Vec<(Key, Vec<u8>)> =
        wanted.objects.iter().filter(is_new).map(|(key, bytes)| (key.clone(), bytes.clone())).collect();
    let root = layout::metadata(&wanted.app, &MetadataFile::Root(wanted.root.version));
    let last = [root, layout::head(&wanted.app), layout::metadata(&wanted.app, &MetadataFile::Timestamp)];
    writes.sort_by_key(|(key, _)| last.iter().position(|at| at == key).map_or(0, |at| at + 1));
    for (key, bytes) in writes {
        served.objects.insert(key, bytes);
        states.push(served.clone());
    }
}
