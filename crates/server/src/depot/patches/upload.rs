//! A patch on its way in, from whoever made it: checked, then stored.

use std::fmt;

use bytes::Bytes;
use updraft_core::Timestamp;
use updraft_core::layout;
use updraft_core::name::AppName;
use updraft_core::tree::Tree;
use updraft_core::tree::patch::worth_len_max;

use super::check::{check, digest_of};
use super::ear::Tally;
use super::{Book, Depot, Entry, Pair};
use crate::depot::{Error, blocking, detached, presence};
use crate::store::{Body, Spool, SpoolWriter};

/// What became of a patch that was handed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    /// It is there now, or one was already; so many bytes, instead of so many.
    There(u64, u64),
    /// It is not worth it: no smaller than what it replaces, or hardly.
    NotSmaller(u64, u64),
    /// An operator removed it while it was made.
    Removed,
}

/// What a patch has to be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Worth {
    /// What devices fetch without it, in bytes.
    instead: u64,
    /// The longest that is kept.
    len_max: u64,
    /// Whether it is kept though an operator removed one of its pair.
    comes_back: bool,
}

impl Worth {
    /// A person hands it in, so it is wanted; it has to be smaller than what it replaces.
    pub(super) fn handed_in(pair: Pair, instead: u64) -> Self {
        Self { comes_back: true, ..Self::due(pair, instead) }
    }

    /// It is due to every release, and has to be smaller than what it replaces; a bundle by a tenth.
    pub(super) fn due(pair: Pair, instead: u64) -> Self {
        Self { instead, len_max: worth_len_max(pair.from, instead), comes_back: false }
    }

    /// Anybody can have asked for it, and it takes room: it has to save a quarter of what it replaces.
    pub(super) fn asked_for(pair: Pair, instead: u64) -> Self {
        Self { len_max: instead / 4 * 3, ..Self::due(pair, instead) }
    }
}

/// A patch on its way in. Dropped without [`PatchUpload::finish`], it is gone.
pub struct PatchUpload {
    depot: Depot,
    app: AppName,
    pair: Pair,
    trees: (Tree, Tree),
    worth: Worth,
    spool: SpoolWriter,
}

impl fmt::Debug for PatchUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PatchUpload").field("pair", &self.pair).finish_non_exhaustive()
    }
}

impl Depot {
    /// Begins to take a patch.
    ///
    /// # Errors
    /// [`Error::NotFound`] when one of its trees is not here; [`Error::Refused`] when the second is not that of a live release.
    pub async fn upload_patch(&self, app: &AppName, pair: Pair) -> Result<PatchUpload, Error> {
        let view = self.slot(app)?.live()?;
        if !view.releases.values().any(|release| release.tree.digest == pair.to) {
            return Err(Error::Refused(format!(
                "app {app}: tree {} is not that of a live release; publish it first",
                pair.to
            )));
        }
        let (from, to) = (self.stored_tree(app, pair.from).await?, self.stored_tree(app, pair.to).await?);
        let store = self.inner.store.clone();
        let begun = blocking(move || {
            let worth = Worth::handed_in(pair, to.instead_of_patch(&from.tree));
            Ok::<_, Error>(((from.tree, to.tree), worth, store.spool()?))
        });
        let (trees, worth, spool) = begun.await??;
        Ok(PatchUpload { depot: self.clone(), app: app.clone(), pair, trees, worth, spool })
    }

    /// Checks a patch and stores it, if it is worth it.
    pub(super) async fn keep_patch(
        &self,
        app: &AppName,
        pair: Pair,
        spool: Spool,
        (old, new): (Tree, Tree),
        Worth { instead, len_max, comes_back }: Worth,
        now: Timestamp,
    ) -> Result<Kept, Error> {
        let slot = self.slot(app)?;
        let bytes = spool.len();
        if bytes > len_max {
            self.with_book(&slot, |book| match book.pairs.get(&pair) {
                Some(Entry::Made { .. } | Entry::Removed) => {}
                _ => book.set(pair, Entry::NotSmaller { bytes, instead }),
            })
            .await?;
            Tally::add(&slot.tally.skipped, 1);
            return Ok(Kept::NotSmaller(bytes, instead));
        }
        let refused = |reason: String| Error::Refused(format!("patch from {} to {}: {reason}", pair.from, pair.to));
        let checked = blocking(move || {
            let file = spool.reader().map_err(Error::Store)?;
            let checked = check(&file, pair, &old, &new).and_then(|()| digest_of(&file).map_err(|e| e.to_string()));
            Ok::<_, Error>((spool, checked))
        });
        let (spool, checked) = checked.await??;
        let digest = checked.map_err(refused)?;
        let (depot, key) = (self.clone(), layout::patch(app, pair.from, pair.to));
        detached(async move {
            let _keep = slot.keep.read().await;
            let store = &depot.inner.store;
            let is_removed = |book: &Book| matches!(book.pairs.get(&pair), Some(Entry::Removed));
            if !comes_back && depot.look_at_book(&slot, is_removed).await? {
                return Ok(Kept::Removed);
            }
            let before = store.stat(&key).await?.map(|there| there.size);
            presence::keep_checked(store, &key, Body::File(spool)).await?;
            depot
                .with_book(&slot, |book| {
                    // Another maker was first, and both are right; what is known of his stays.
                    let known = match book.pairs.get(&pair) {
                        Some(Entry::Made { bytes, instead: 1.., .. }) => Some(*bytes),
                        _ => None,
                    };
                    match before {
                        Some(len) if known == Some(len) => {}
                        Some(len) => book.set(pair, Entry::Made { bytes: len, instead, digest: None, used: now }),
                        None => book.set(pair, Entry::Made { bytes, instead, digest: Some(digest), used: now }),
                    }
                })
                .await?;
            if before.is_none() {
                Tally::add(&slot.tally.made, 1);
            }
            Ok(Kept::There(bytes, instead))
        })
        .await
    }
}

impl PatchUpload {
    /// Keeps the next piece.
    ///
    /// # Errors
    /// [`Error::Refused`] when it is as long as what it replaces; [`Error::Store`] when the disk is full.
    pub async fn write(&mut self, piece: Bytes) -> Result<(), Error> {
        if self.spool.len() + piece.len() as u64 > self.worth.len_max {
            return Err(self.not_smaller());
        }
        // One piece of a request; the kernel takes it at once.
        Ok(self.spool.append(&piece)?)
    }

    /// Checks the whole and stores it. One that is there already is success.
    ///
    /// # Errors
    /// [`Error::Refused`] when it is not the patch that it was announced to be.
    pub async fn finish(self, now: Timestamp) -> Result<(), Error> {
        let not_smaller = self.not_smaller();
        let Self { depot, app, pair, trees, worth, spool } = self;
        let spool = blocking(move || spool.finish()).await??;
        match depot.keep_patch(&app, pair, spool, trees, worth, now).await? {
            Kept::There(..) | Kept::Removed => Ok(()),
            Kept::NotSmaller(..) => Err(not_smaller),
        }
    }

    fn not_smaller(&self) -> Error {
        let (Pair { to, from }, Worth { instead, len_max, .. }) = (self.pair, self.worth);
        let how = if len_max.saturating_add(1) < instead { "hardly" } else { "no" };
        Error::Refused(format!(
            "patch from {from} to {to}: it is {how} smaller than the {instead} bytes that are fetched without it; leave it out"
        ))
    }
}
