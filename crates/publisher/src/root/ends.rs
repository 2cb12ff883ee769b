//! When the time of each role is over, as the metadata says that is at hand: to be shown, and for nothing else.

use std::collections::BTreeMap;

use serde::Deserialize;
use updraft_core::Timestamp;
use updraft_core::layout;
use updraft_core::limits::METADATA_LEN_MAX;
use updraft_core::name::AppName;
use updraft_core::signed::Envelope;
use updraft_core::trust::{Cache, Expires, MetadataFile, Role, Snapshot};

use crate::keys::Keystore;
use crate::remote::{Remote, RemoteError};

#[derive(Deserialize)]
struct Ending {
    expires: Expires,
}

/// When the roles end that the server signs. It says so itself, and is not asked for proof; what cannot be read is left out.
///
/// # Errors
/// When the server cannot be asked.
pub fn online_ends(remote: &dyn Remote, app: &AppName) -> Result<BTreeMap<Role, Timestamp>, RemoteError> {
    let mut ends = BTreeMap::new();
    let Some(head) = remote.head(app)? else { return Ok(ends) };
    add(&mut ends, Role::Timestamp, &head.timestamp);
    add(&mut ends, Role::Snapshot, &head.snapshot);
    let snapshot = Envelope::parse(&head.snapshot, METADATA_LEN_MAX).and_then(|e| e.content::<Snapshot>()).ok();
    if let Some(meta) = snapshot.as_ref().and_then(|snapshot| snapshot.meta.get(&Role::channels().file_name())) {
        let key = layout::metadata(app, &MetadataFile::Versioned(Role::channels(), meta.version));
        let bytes = remote.read(&key, METADATA_LEN_MAX)?.unwrap_or_default();
        add(&mut ends, Role::channels(), &bytes);
    }
    Ok(ends)
}

/// When each role ends, as it was believed last here.
pub fn remembered_ends(keys: &Keystore) -> BTreeMap<Role, Timestamp> {
    let (mut ends, mut memory) = (BTreeMap::new(), keys.memory());
    for role in [Role::Root, Role::Targets, Role::channels(), Role::Snapshot, Role::Timestamp] {
        let bytes = memory.load(&role).unwrap_or_default();
        add(&mut ends, role, &bytes);
    }
    ends
}

fn add(ends: &mut BTreeMap<Role, Timestamp>, role: Role, bytes: &[u8]) {
    let ending = Envelope::parse(bytes, METADATA_LEN_MAX).and_then(|envelope| envelope.content::<Ending>());
    ends.extend(ending.ok().map(|ending| (role, ending.expires.at())));
}
