//! One patch in the making: what it takes, and what became of it.

use std::fs::File;

use updraft_core::Timestamp;
use updraft_core::layout::{self, Key};
use updraft_core::name::AppName;
use updraft_core::tree::stored::Encoding;
use updraft_core::tree::{Tree, codec, patch};

use super::ear::Tally;
use super::queue::Why;
use super::upload::{Kept, Worth};
use super::{Depot, Entry, Outlook, Pair, StoredTree};
use crate::depot::{Error, blocking};
use crate::maker::Workshop;
use crate::store::{Lent, SpoolWriter};

/// Most bytes that are copied for one patch, where the store is no directory: as much as two images can have.
const COPIED_LEN_MAX: u64 = 4 << 30;

/// What is known before anything is made.
pub(crate) enum Prepared {
    /// Everything is there.
    Ready(Work),
    /// It is left out, for this reason.
    Skipped(String),
}

/// A patch in the making.
pub(crate) struct Work {
    pub(crate) app: AppName,
    pub(crate) pair: Pair,
    lent: Lent,
    spool: SpoolWriter,
    old: Tree,
    new: Tree,
    instead: u64,
}

impl Work {
    /// The directory that has both trees and their blobs at their keys.
    pub(crate) fn root(&self) -> &std::path::Path {
        self.lent.root()
    }

    /// Where the patch is to be written.
    pub(crate) fn output(&self) -> Result<File, Error> {
        Ok(self.spool.lend()?)
    }
}

/// Two trees, and what they weigh in bytes.
struct Weighed {
    old: Tree,
    new: Tree,
    /// All old files, and the document.
    old_len: u64,
    /// The new files that the old tree lacks, and the document.
    new_len: u64,
    instead: u64,
}

impl Weighed {
    fn of(from: StoredTree, to: StoredTree) -> Self {
        let lens = |tree: &Tree, files: Vec<updraft_core::tree::File<'_>>| {
            let document = codec::encode(tree).len() as u64;
            files.iter().fold(document, |sum, file| sum.saturating_add(file.size))
        };
        let old_len = lens(&from.tree, patch::contents(&from.tree));
        let new_len = lens(&to.tree, patch::lacking(&from.tree, &to.tree));
        let instead = to.instead_of_patch(&from.tree);
        Self { old: from.tree, new: to.tree, old_len, new_len, instead }
    }
}

impl Depot {
    /// Makes everything ready for a patch whose turn has come. Nobody else makes it until [`Self::finish_patch`].
    pub(crate) async fn prepare_patch(
        &self,
        app: &AppName,
        pair: Pair,
        workshop: &dyn Workshop,
    ) -> Result<Prepared, Error> {
        let from = match self.stored_tree(app, pair.from).await {
            // A device asked for it, and since then the collector has taken what it would be made from.
            Err(Error::NotFound(reason)) => return self.skip_patch(app, pair, reason).await,
            from => from?,
        };
        let to = self.stored_tree(app, pair.to).await?;
        let weighed = blocking(move || Weighed::of(from, to)).await?;
        if let Some(reason) = workshop.refuses(weighed.old_len, weighed.new_len) {
            return self.skip_patch(app, pair, reason).await;
        }
        let Weighed { old, new, instead, .. } = weighed;
        let lent = self.inner.store.lend(needed(app, pair, &old, &new), COPIED_LEN_MAX).await?;
        let store = self.inner.store.clone();
        let spool = blocking(move || store.spool()).await??;
        Ok(Prepared::Ready(Work { app: app.clone(), pair, lent, spool, old, new, instead }))
    }

    /// A pair is left out while this server runs as it does.
    async fn skip_patch(&self, app: &AppName, pair: Pair, reason: String) -> Result<Prepared, Error> {
        let slot = self.slot(app)?;
        self.with_book(&slot, |book| book.skipped.insert(pair, reason.clone())).await?;
        Tally::add(&slot.tally.skipped, 1);
        Ok(Prepared::Skipped(reason))
    }

    /// The making of `pair` begins: nobody else begins it, and if the server does not live to see its end, it counts as a try.
    pub(crate) async fn begin_patch(&self, app: &AppName, pair: Pair, now: Timestamp) -> Result<(), Error> {
        let slot = self.slot(app)?;
        let maker = self.inner.patches.maker().unwrap_or_default();
        self.with_book(&slot, |book| book.begin(pair, &maker, now)).await
    }

    /// The making of `pair` has ended, in whatever way. It is not being made any more, also where that cannot be written down.
    pub(crate) async fn end_patch(&self, app: &AppName, pair: Pair) {
        let Ok(slot) = self.slot(app) else { return };
        if let Err(error) = self.with_book(&slot, |book| book.end(&pair)).await {
            tracing::error!(%app, from = %pair.from, to = %pair.to, %error, "what became of a patch was not written down");
        }
    }

    /// The server stops as it was told to: what is in the making was no failure.
    pub(crate) async fn end_patches(&self) {
        let slots: Vec<_> = self.inner.apps.load().values().cloned().collect();
        for slot in slots {
            let making = self.look_at_book(&slot, |book| book.making.keys().copied().collect::<Vec<_>>()).await;
            for pair in making.unwrap_or_default() {
                self.end_patch(&slot.name, pair).await;
            }
        }
    }

    /// Keeps what was made, if it is worth it, and says whether it was.
    ///
    /// # Errors
    /// When it is no such patch: that is a defect of whatever made it; or when it cannot be stored.
    pub(crate) async fn finish_patch(&self, work: Work, now: Timestamp) -> Result<Kept, Error> {
        let Work { app, pair, lent, spool, old, new, instead } = work;
        drop(lent);
        let spool = blocking(move || spool.finish_lent()).await??;
        let slot = self.slot(&app)?;
        let aims = self.aims(&*slot.live()?);
        let worth = match self.look_at_book(&slot, |book| Outlook::new(book, &aims, now).why(&pair)).await? {
            Why::Due | Why::Bundle => Worth::due(pair, instead),
            Why::Asked => Worth::asked_for(pair, instead),
        };
        self.keep_patch(&app, pair, spool, (old, new), worth, now).await
    }

    /// Remembers why a patch was not made.
    pub(crate) async fn patch_failed(&self, app: &AppName, pair: Pair, reason: &str, now: Timestamp) {
        let Ok(slot) = self.slot(app) else { return };
        Tally::add(&slot.tally.failed, 1);
        let maker = self.inner.patches.maker().unwrap_or_default();
        let again = self.with_book(&slot, |book| {
            book.end(&pair);
            book.failed(pair, reason, &maker, now);
            match book.pairs.get(&pair) {
                Some(Entry::Failed { tries, at, maker: failed, .. }) => Entry::again(*tries, *at, failed, &maker),
                _ => None,
            }
        });
        let (from, to) = (pair.from, pair.to);
        match again.await {
            Ok(Some(again)) => tracing::warn!(%app, %from, %to, %reason, %again, "a patch was not made"),
            Ok(None) => tracing::error!(%app, %from, %to, %reason, "a patch was not made, and is given up"),
            Err(error) => {
                tracing::error!(%app, %from, %to, %reason, %error, "a patch was not made, nor was that noted")
            }
        }
    }
}

/// The objects that a patch is made of, each in whatever encoding there may be.
fn needed(app: &AppName, pair: Pair, old: &Tree, new: &Tree) -> Vec<Key> {
    let files = patch::contents(old).into_iter().chain(patch::lacking(old, new));
    let blobs =
        files.flat_map(|file| [Encoding::Zstd, Encoding::Raw].map(|encoding| layout::blob(app, file.digest, encoding)));
    let trees = [pair.from, pair.to].into_iter().filter(|tree| *tree != patch::nothing());
    trees.map(|tree| layout::tree(app, tree)).chain(blobs).collect()
}
