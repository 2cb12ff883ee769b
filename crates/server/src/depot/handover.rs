//! From one root to the next, so that nobody can be stopped half way.
//!
//! A new root counts for every client that finds its file, and a head cannot be swapped in the same moment in which that
//! file is made. So the head goes first, as it does when an app is created: a swap that exactly one writer wins *announces*
//! the rotation. From then on it takes place. What is left to do waits in a private record, and needs no key and no
//! clock: whoever reads the announcement, this process, another one or the next start, does it, and may do it twice.
//!
//! 1. `timestamp.json` is what the announcing head says, which holds under both roots where that can be had.
//! 2. `{N+1}.root.json` is created: a client that looks for roots follows it from here on.
//! 3. The head is swapped for one with the new root, and `timestamp.json` follows.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use updraft_core::head::Head;
use updraft_core::layout::{self, Key};
use updraft_core::limits::{API_BODY_LEN_MAX, HEAD_LEN_MAX};
use updraft_core::name::AppName;
use updraft_core::trust::MetadataFile;

use super::Error;
use super::commit::{Kept, keep, random_id, swap_head};
use super::load::copy_timestamp;
use crate::store::{Store, Tag};

/// The room of the records.
pub(super) const RECORDS: &str = "rotations";

/// How the name of the writer begins in a head that announces a rotation. What follows names the record.
const ANNOUNCES: &str = "rotate-";

/// What is to come after an announcement.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Handover {
    /// The name of the writer in the head that completes it: the same, whoever writes it.
    op_id: String,
    root: String,
    timestamp: String,
    snapshot: String,
}

impl Handover {
    /// The next root, and the newest timestamp and snapshot under it.
    pub(super) fn new(root: &[u8], timestamp: &[u8], snapshot: &[u8]) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("JSON is text");
        Self { op_id: random_id(), root: text(root), timestamp: text(timestamp), snapshot: text(snapshot) }
    }

    /// The head that completes what `announcing` announces.
    pub(super) fn head(&self, announcing: &Head) -> Head {
        Head {
            generation: announcing.generation.wrapping_add(1),
            op_id: self.op_id.clone(),
            root: announcing.root + 1,
            timestamp: self.timestamp.clone().into(),
            snapshot: self.snapshot.clone().into(),
        }
    }

    /// Writes the record, which is to be there before its announcement. The announcement's name.
    pub(super) async fn put(&self, store: &Store, app: &AppName) -> Result<String, Error> {
        let id = random_id();
        let bytes = serde_json::to_vec(self).expect("metadata is text");
        store.put(&record_key(app, &id), bytes.into()).await?;
        Ok(format!("{ANNOUNCES}{id}"))
    }
}

/// The name of the record, if `head` announces a rotation.
pub(super) fn announced(head: &Head) -> Option<&str> {
    head.op_id.strip_prefix(ANNOUNCES)
}

fn record_key(app: &AppName, id: &str) -> Key {
    layout::private(RECORDS, &format!("{app} {id}"))
}

/// Does what `announcing`, the head that is in the store under `tag`, says that is to come. That another process did it
/// meanwhile is fine: the caller reads the head again.
pub(super) async fn complete(
    store: &Store,
    app: &AppName,
    id: &str,
    announcing: &Head,
    tag: &Tag,
) -> Result<(), Error> {
    let key = record_key(app, id);
    let Some((bytes, _)) = store.read(&key, API_BODY_LEN_MAX as u64).await? else {
        let there = store.read(&layout::head(app), HEAD_LEN_MAX).await?;
        if there.is_some_and(|(_, there)| there != *tag) {
            return Ok(());
        }
        return Err(Error::broken(app, format_args!("{key}, the rotation that its head announces, is missing")));
    };
    let record: Handover =
        serde_json::from_slice(&bytes).map_err(|e| Error::broken(app, format_args!("{key}: {e}")))?;

    copy_timestamp(store, app, announcing, tag).await?;
    let root = layout::metadata(app, &MetadataFile::Root(announcing.root + 1));
    let bytes = Bytes::from(record.root.clone());
    if keep(store, &root, &bytes).await? == Kept::Other {
        return Err(Error::broken(app, format_args!("{root} is another one than {key} says")));
    }
    let head = record.head(announcing);
    let Some(tag) = swap_head(store, app, Some(tag), &head).await? else { return Ok(()) };
    // It is done. What fails now is mended by the next commit or the next start.
    if let Err(error) = copy_timestamp(store, app, &head, &tag).await {
        tracing::warn!(%app, %error, "timestamp.json could not be written after a rotation");
    }
    if let Err(error) = store.delete(&key).await {
        tracing::warn!(%app, %error, "a record that is of no use any more stays until a later gc");
    }
    Ok(())
}
