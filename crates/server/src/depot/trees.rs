//! The decoded trees of live releases; the last few are remembered.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use updraft_core::digest::Digest;
use updraft_core::layout;
use updraft_core::limits::{TREE_ENTRIES_MAX, TREE_LEN_MAX};
use updraft_core::name::AppName;
use updraft_core::release::ReleaseName;
use updraft_core::tree::Tree;
use updraft_core::tree::stored::{Hint, unpack};

use super::{Depot, Error, blocking};

/// How many trees are remembered at most.
const REMEMBERED_MAX: usize = 16;

/// The tree of a release, decoded.
#[derive(Debug)]
pub struct ReleaseTree {
    /// The tree.
    pub tree: Tree,
    /// How its blobs were stored when it was published; a hint.
    pub hint: Hint,
}

/// Trees by digest, the last one asked for at the end.
#[derive(Default)]
pub(super) struct Remembered(Mutex<VecDeque<(Digest, Arc<ReleaseTree>)>>);

impl Remembered {
    fn get(&self, digest: Digest) -> Option<Arc<ReleaseTree>> {
        let mut trees = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = trees.iter().position(|(there, _)| *there == digest)?;
        let found = trees.remove(at)?;
        let tree = Arc::clone(&found.1);
        trees.push_back(found);
        Some(tree)
    }

    /// Together they have no more entries than one tree may have, or there is only one.
    fn remember(&self, digest: Digest, tree: &Arc<ReleaseTree>) {
        let mut trees = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        trees.retain(|(there, _)| *there != digest);
        trees.push_back((digest, Arc::clone(tree)));
        let entries =
            |trees: &VecDeque<(Digest, Arc<ReleaseTree>)>| trees.iter().map(|(_, t)| t.tree.len()).sum::<usize>();
        while trees.len() > REMEMBERED_MAX || (trees.len() > 1 && entries(&trees) > TREE_ENTRIES_MAX) {
            trees.pop_front();
        }
    }
}

impl Depot {
    /// The decoded tree of a live release; the last few are remembered.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the release is not live; [`Error::Broken`] when its tree is damaged or gone.
    pub async fn tree(&self, app: &AppName, release: &ReleaseName) -> Result<Arc<ReleaseTree>, Error> {
        let view = self.slot(app)?.live()?;
        let release = view
            .release(release)
            .ok_or_else(|| Error::NotFound(format!("app {app}: there is no live release {release}")))?;
        let (digest, length) = (release.tree.digest, release.tree.length);
        if let Some(tree) = self.inner.trees.get(digest) {
            return Ok(tree);
        }
        let key = layout::tree(app, digest);
        let Some((packed, _)) = self.inner.store.read(&key, TREE_LEN_MAX).await? else {
            return Err(Error::broken(app, format_args!("{key} is missing")));
        };
        let unpacked = blocking(move || unpack(&packed, digest, length)).await?;
        let (tree, hint) = unpacked.map_err(|e| Error::broken(app, format_args!("{key}: {e}")))?;
        let tree = Arc::new(ReleaseTree { tree, hint });
        self.inner.trees.remember(digest, &tree);
        Ok(tree)
    }
}
