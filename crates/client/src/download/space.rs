//! Whether a download fits on the disk, asked before it begins.
//!
//! It is a courtesy, not a promise: others write too. A disk that fills up meanwhile is an error like any other, and
//! leaves what was there as it was.

use updraft_core::plan::Fetch;
use updraft_files::Dir;

use super::{Error, SPACE_SLACK};

/// # Errors
/// When less is free where `downloads` lies than `lacking` needs.
pub(super) fn check(downloads: &Dir, lacking: &[Fetch]) -> Result<(), Error> {
    if lacking.is_empty() {
        return Ok(());
    }
    let needed = needed(lacking);
    match downloads.space().map(|space| space.available) {
        Some(available) if available < needed => {
            Err(Error::NoSpace { dir: downloads.path().display().to_string(), needed, available })
        }
        _ => Ok(()),
    }
}

/// The blobs as they are, and the largest once more as it travels: it lies beside its decoded self for a moment.
fn needed(lacking: &[Fetch]) -> u64 {
    let raw = lacking.iter().fold(SPACE_SLACK, |sum, fetch| sum.saturating_add(fetch.size));
    raw.saturating_add(lacking.iter().map(Fetch::cost).max().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use updraft_core::digest::Digest;

    use super::*;

    fn blob(name: &str, size: u64) -> Fetch {
        Fetch { digest: Digest::of(name.as_bytes()), size, stored: None }
    }

    #[test]
    fn a_download_that_cannot_fit_is_refused_with_both_numbers() {
        let folder = tempfile::tempdir().unwrap();
        let dir = Dir::open(folder.path()).unwrap();
        assert!(check(&dir, &[]).is_ok());
        assert!(check(&dir, &[blob("a", 1)]).is_ok());
        let huge = [blob("a", u64::MAX / 2), blob("b", u64::MAX / 2), blob("c", u64::MAX / 2)];
        match check(&dir, &huge) {
            Err(Error::NoSpace { needed, available, .. }) => assert!(needed == u64::MAX && available < needed),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_largest_counts_twice() {
        assert_eq!(needed(&[blob("a", 10), blob("b", 300)]), SPACE_SLACK + 310 + 300);
    }
}
