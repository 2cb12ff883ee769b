//! Edits of managed files that came between our looking at them and the exchange.
//!
//! What the survey saw is written beside the new directory, before the swap. After it, whatever stands in the old directory
//! otherwise, and is not the very file that is installed now, goes to the backup: by the same code after a crash.

use std::path::Path;

use updraft_core::path::RelPath;
use updraft_core::tree::{Kind, Tree};
use updraft_files::{Dir, EntryKind, read_bounded};

use super::exchange::{BACKUP, TREE};
use super::foreign::Backup;
use super::intent::Was;
use super::survey::{Found, Survey};
use super::{Error, disk};
use crate::home::Home;

const SEEN: &str = "seen";
/// A million files with long paths.
const SEEN_LEN_MAX: u64 = 512 << 20;

/// How each managed file or link was found; `None` when it was missing.
type Seen = Vec<(RelPath, Option<Was>)>;

/// Writes what `survey` saw of the files and links of `tree`.
pub(super) fn write_seen(stage: &Dir, tree: &Tree, survey: &Survey) -> Result<(), Error> {
    let files = tree.iter().filter(|(_, kind)| !matches!(kind, Kind::Dir { .. }));
    let seen = files.map(|(path, _)| {
        let stat = survey.managed.get(path).and_then(Found::stat);
        (path.clone(), stat.as_ref().map(Was::of))
    });
    let bytes = serde_json::to_vec(&seen.collect::<Seen>()).expect("what was seen is plain JSON");
    disk::write_atomic(stage, Path::new(SEEN), &bytes, 0o600)
}

/// Keeps what was edited in the old directory since, and adds it to `edited`; durable when this returns.
pub(super) fn keep_edits(home: &Home, stage: &Dir, edited: &mut Vec<String>) -> Result<(), Error> {
    let Some(bytes) = read_bounded(stage, Path::new(SEEN), SEEN_LEN_MAX)? else { return Ok(()) };
    // It was synced before the swap: a damaged one is a disk that fails, which must not keep the update from ending.
    let seen: Seen = serde_json::from_slice(&bytes).unwrap_or_default();
    let (old, new) = (stage.open_dir(Path::new(TREE))?, home.open_dir()?);
    let backup = Backup { dir: stage, at: BACKUP.into() };
    for (path, was) in seen {
        let at = Path::new(path.as_str());
        let Some(now) = old.stat(at)?.filter(|now| now.kind != EntryKind::Dir && Some(Was::of(now)) != was) else {
            continue;
        };
        if new.stat(at)?.is_some_and(|there| (there.device, there.inode) == (now.device, now.inode)) {
            continue;
        }
        backup.keep_somehow(&old, at, &now)?;
        if !edited.iter().any(|known| known == path.as_str()) {
            edited.push(path.to_string());
        }
    }
    backup.sync()?;
    disk::remove_file(stage, Path::new(SEEN))
}
