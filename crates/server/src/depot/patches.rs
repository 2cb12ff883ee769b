//! Patches: kept, listed, removed; and which are to be made next.
//!
//! A patch is one more immutable object. Nobody needs it: whatever is wrong with it, a device fetches blobs instead. So
//! what is checked here is what is cheap, and what would waste a device's time: that it is a patch, between these two trees
//! of this app, of which the second is live (the first may be nothing: then it is a bundle), with the files that are lacking;
//! and that it is smaller than they are. Whoever made it has applied it; whoever gets it compares what comes out with signed
//! digests.
//!
//! What is remembered beside the objects themselves is in a [`Book`] for each app. The way of a device's request never
//! waits for it: what requests tell goes into a [queue](ear) that may overflow.

mod book;
mod check;
mod ear;
mod queue;
mod upload;
mod work;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use updraft_core::Timestamp;
use updraft_core::api;
use updraft_core::digest::Digest;
use updraft_core::layout::{self, Key};
use updraft_core::limits::TREE_LEN_MAX;
use updraft_core::name::AppName;
use updraft_core::release::ReleaseName;
use updraft_core::tree::stored::{Hint, unpack_by_digest};
use updraft_core::tree::{Tree, patch};

pub(super) use book::Book;
pub use book::Pair;
use book::{Entry, Known};
pub(super) use check::problem;
pub(super) use ear::Ear;
pub use ear::Tally;
use queue::{Aims, Outlook};
pub(crate) use upload::Kept;
pub use upload::PatchUpload;
pub(crate) use work::Prepared;

use super::sign::later;
use super::slot::Slot;
use super::{Depot, Error, View, blocking, presence};

/// How many objects one listing names.
const PAGE: usize = 1_000;

/// How long a patch from a release that is not live any more stays after it was used, in seconds: 30 days.
const USED_LATELY_SECS: i64 = 30 * 24 * 60 * 60;

/// A tree of the store, and what is fetched for it where nothing is known.
struct StoredTree {
    tree: Tree,
    hint: Hint,
    /// Length of its document, as it is stored.
    packed_len: u64,
}

impl StoredTree {
    /// What a device with `old` fetches without a patch: the document, and the blobs that it lacks.
    fn instead_of_patch(&self, old: &Tree) -> u64 {
        let stored =
            |file: &updraft_core::tree::File<'_>| self.hint.get(&file.digest).map_or(file.size, |blob| blob.size);
        patch::lacking(old, &self.tree).iter().map(stored).fold(self.packed_len, u64::saturating_add)
    }
}

impl Depot {
    /// What there is of patches to the live releases of `app`, the newest first.
    ///
    /// # Errors
    /// When there is no such app, or the store does not answer.
    pub async fn patches(&self, app: &AppName, now: Timestamp) -> Result<api::Patches, Error> {
        let slot = self.slot(app)?;
        let (aims, maker) = (self.aims(&*slot.live()?), self.inner.patches.maker());
        self.with_book(&slot, |book| {
            book.note(&aims.live, now);
            let describe = |pair: Pair| api::Patch {
                from: pair.from,
                from_release: book.releases.iter().find(|known| known.tree == pair.from).map(Known::name),
                to: pair.to,
                state: state(book, &pair, maker.as_deref()),
            };
            let wanted = Outlook::new(book, &aims, now).wanted().into_iter();
            api::Patches { patches: wanted.map(|turn| describe(turn.pair)).collect() }
        })
        .await
    }

    /// Removes a patch, and keeps it away: it is not made again until [`Self::retry_patch`], and only whoever hands it in brings
    /// it back. One that is in the making is dropped when it is done.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none, and none is to be made.
    pub async fn remove_patch(&self, app: &AppName, pair: Pair, now: Timestamp) -> Result<(), Error> {
        self.drop_patch(app, pair, now, |book| book.remove(pair)).await
    }

    /// Removes a patch, or what is remembered of why there is none, so that it is made anew.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none, and none is to be made.
    pub async fn retry_patch(&self, app: &AppName, pair: Pair, now: Timestamp) -> Result<(), Error> {
        self.drop_patch(app, pair, now, |book| book.forget(&pair)).await?;
        self.inner.patches.stir();
        Ok(())
    }

    async fn drop_patch(
        &self,
        app: &AppName,
        pair: Pair,
        now: Timestamp,
        note: impl FnOnce(&mut Book),
    ) -> Result<(), Error> {
        let slot = self.slot(app)?;
        let key = layout::patch(app, pair.from, pair.to);
        let aims = self.aims(&*slot.live()?);
        let is_known = self.look_at_book(&slot, |book| {
            let is_it = |turn: &queue::Turn| turn.pair == pair;
            book.knows(&pair) || Outlook::new(book, &aims, now).wanted().iter().any(is_it)
        });
        if !is_known.await? && self.inner.store.stat(&key).await?.is_none() {
            return Err(Error::NotFound(format!(
                "app {app}: there is no patch from tree {} to {}",
                pair.from, pair.to
            )));
        }
        // Alone, so that nobody who has just seen it there counts on it. The book first: whoever makes it looks there.
        let _alone = slot.keep.write().await;
        self.with_book(&slot, note).await?;
        presence::remove(&self.inner.store, &key).await
    }

    /// Forgets a patch that is remembered, if it is not in the store any more: somebody else deleted it.
    async fn forget_lost_patch(&self, slot: &Slot, pair: Pair) -> Result<(), Error> {
        let _alone = slot.keep.write().await;
        let key = layout::patch(&slot.name, pair.from, pair.to);
        if self.inner.store.stat(&key).await?.is_some() {
            return Ok(());
        }
        tracing::warn!(app = %slot.name, %key, "a patch is not in the store any more, and may be made anew");
        self.forget_patch(slot, pair).await
    }

    /// A patch is not in the store any more.
    pub(super) async fn forget_patch(&self, slot: &Slot, pair: Pair) -> Result<(), Error> {
        self.with_book(slot, |book| book.forget(&pair)).await?;
        self.inner.patches.stir();
        Ok(())
    }

    /// The digest of the patch of `pair`, as it was when it came; none where that is not known.
    pub(super) async fn patch_digest(&self, app: &AppName, pair: Pair) -> Result<Option<Digest>, Error> {
        let slot = self.slot_or_new(app);
        self.look_at_book(&slot, |book| match book.pairs.get(&pair) {
            Some(Entry::Made { digest, .. }) => *digest,
            _ => None,
        })
        .await
    }

    /// Runs `act` on the book of an app, which is read first where nobody has, and writes down what it changed.
    async fn with_book<T>(&self, slot: &Slot, act: impl FnOnce(&mut Book) -> T) -> Result<T, Error> {
        let mut held = slot.book.lock().await;
        if held.is_none() {
            *held = Some(self.read_book(&slot.name).await?);
        }
        let book = held.as_mut().expect("it was read just now");
        let done = act(book);
        if book.is_changed {
            self.inner.store.put(&book_key(&slot.name), Bytes::from(book.encode())).await?;
            (book.is_changed, book.is_stale) = (false, false);
        }
        Ok(done)
    }

    /// The same for who only looks: nothing is written.
    pub(super) async fn look_at_book<T>(&self, slot: &Slot, look: impl FnOnce(&Book) -> T) -> Result<T, Error> {
        let mut held = slot.book.lock().await;
        if held.is_none() {
            *held = Some(self.read_book(&slot.name).await?);
        }
        Ok(look(held.as_ref().expect("it was read just now")))
    }

    async fn read_book(&self, app: &AppName) -> Result<Book, Error> {
        let read = self.inner.store.read(&book_key(app), book::LEN_MAX).await;
        let mut book = match read {
            Ok(None) => Book::default(),
            Ok(Some((bytes, _))) => Book::decode(&bytes).unwrap_or_else(|reason| {
                tracing::warn!(%app, %reason, "what was remembered of patches cannot be read, and begins anew");
                Book::default()
            }),
            Err(error) if error.kind() == crate::store::Kind::TooLarge => {
                tracing::warn!(%app, reason = %error, "what was remembered of patches is not read, and begins anew");
                Book::default()
            }
            Err(error) => return Err(error.into()),
        };
        book.reconcile(self.stored_patches(app).await?);
        Ok(book)
    }

    /// Every patch that is in the store, with its length and when it was written.
    async fn stored_patches(&self, app: &AppName) -> Result<BTreeMap<Pair, (u64, Timestamp)>, Error> {
        let (prefix, mut after) = (layout::patches_prefix(app), None);
        let mut found = BTreeMap::new();
        loop {
            let page = self.inner.store.list(&prefix, after.as_ref(), PAGE).await?;
            let is_last = page.len() < PAGE;
            after = page.last().map(|(key, _)| key.clone());
            let pairs = page.into_iter().filter_map(|(key, meta)| {
                let pair = pair_of(app, &key)?;
                Some((pair, (meta.size, meta.modified)))
            });
            found.extend(pairs);
            if is_last {
                return Ok(found);
            }
        }
    }

    /// What patches there are to be to the releases of `view`.
    fn aims(&self, view: &View) -> Aims {
        let options = &self.inner.options;
        Aims {
            live: view.releases.values().map(Known::of).collect(),
            releases_max: options.patch_releases,
            bundled: if options.patch_bundles { for_newcomers(view) } else { BTreeSet::new() },
        }
    }

    async fn stored_tree(&self, app: &AppName, digest: Digest) -> Result<StoredTree, Error> {
        if digest == patch::nothing() {
            return Ok(StoredTree { tree: Tree::default(), hint: Hint::new(), packed_len: 0 });
        }
        let key = layout::tree(app, digest);
        let Some((packed, _)) = self.inner.store.read(&key, TREE_LEN_MAX).await? else {
            return Err(Error::NotFound(format!("app {app}: tree {digest} is not on the server")));
        };
        let packed_len = packed.len() as u64;
        let unpacked = blocking(move || unpack_by_digest(&packed, digest)).await?;
        let (tree, hint) = unpacked.map_err(|e| Error::broken(app, format_args!("{key}: {e}")))?;
        Ok(StoredTree { tree, hint, packed_len })
    }

    /// The patches to live releases that were given up.
    pub(super) async fn given_up_patches(&self, slot: &Slot, view: &View, now: Timestamp) -> Result<GivenUp, Error> {
        let (aims, maker) = (self.aims(view), self.inner.patches.maker());
        self.look_at_book(slot, |book| {
            let mut given_up = GivenUp::default();
            for turn in Outlook::new(book, &aims, now).wanted() {
                if let api::PatchState::Failed { reason, again: None, .. } = state(book, &turn.pair, maker.as_deref()) {
                    given_up.count += 1;
                    given_up.last_reason.get_or_insert(reason);
                }
            }
            given_up
        })
        .await
    }

    /// What of patches the collector is to leave alone: those that it is asked about, and the trees from which the next
    /// ones are made.
    pub(super) async fn kept_patches(&self, slot: &Slot, view: &View, now: Timestamp) -> Result<Needed, Error> {
        let Aims { live, releases_max, .. } = self.aims(view);
        // Also one that was handed in, where this server makes none.
        let bundled = for_newcomers(view);
        let live = live.into_iter().map(|release| release.tree).collect();
        self.look_at_book(slot, |book| {
            let sources = queue::sources(book, releases_max, now);
            let is_used = |entry: &Entry| match entry {
                Entry::Made { used, .. } => later(*used, USED_LATELY_SECS) > now,
                _ => false,
            };
            let used = book.pairs.iter().filter(|(_, entry)| is_used(entry)).map(|(pair, _)| *pair).collect();
            Needed { live, sources, bundled, used }
        })
        .await
    }
}

/// The trees that newcomers get: those of what is fully out on a channel.
fn for_newcomers(view: &View) -> BTreeSet<Digest> {
    let current = view.channels.values().flat_map(|channel| &channel.platforms).filter_map(|(platform, stream)| {
        view.release(&ReleaseName { platform: platform.clone(), version: stream.current.clone() })
    });
    current.map(|release| release.tree.digest).collect()
}

/// Patches that could not be made.
#[derive(Debug, Default)]
pub(super) struct GivenUp {
    pub(super) count: usize,
    /// Why the newest of them was not made.
    pub(super) last_reason: Option<String>,
}

/// See [`Depot::kept_patches`].
pub(super) struct Needed {
    live: BTreeSet<Digest>,
    pub(super) sources: BTreeSet<Digest>,
    bundled: BTreeSet<Digest>,
    used: BTreeSet<Pair>,
}

impl Needed {
    /// Whether the patch of `pair` stays: it leads to what is live, from what is live, or will be a base again, or was used
    /// lately. A bundle stays while newcomers get what it makes.
    pub(super) fn has(&self, pair: &Pair) -> bool {
        if pair.from == patch::nothing() {
            return self.bundled.contains(&pair.to);
        }
        let is_from_here = self.live.contains(&pair.from) || self.sources.contains(&pair.from);
        self.live.contains(&pair.to) && (is_from_here || self.used.contains(pair))
    }
}

fn state(book: &Book, pair: &Pair, maker: Option<&str>) -> api::PatchState {
    use api::PatchState as S;
    if let Some(Entry::Removed) = book.pairs.get(pair) {
        return S::Removed;
    }
    if book.making.contains_key(pair) {
        return S::Making;
    }
    if let Some(reason) = book.skipped.get(pair) {
        return S::Skipped { reason: reason.clone() };
    }
    match book.pairs.get(pair) {
        None | Some(Entry::Asked) => S::Waiting,
        Some(Entry::Removed) => S::Removed,
        Some(Entry::Made { bytes, instead, .. }) => S::Made { bytes: *bytes, instead: *instead },
        Some(Entry::NotSmaller { bytes, instead }) => S::NotSmaller { bytes: *bytes, instead: *instead },
        Some(Entry::Failed { reason, tries, at, maker: failed }) => {
            let again = Entry::again(*tries, *at, failed, maker.unwrap_or(failed));
            S::Failed { reason: reason.clone(), tries: *tries, again }
        }
    }
}

/// The pair whose patch lies at `key`, if one does.
pub(super) fn pair_of(app: &AppName, key: &Key) -> Option<Pair> {
    layout::trees_of_patch(app, key).map(|(from, to)| Pair { to, from })
}

/// Where the book of an app is.
fn book_key(app: &AppName) -> Key {
    layout::private("patches", app.as_str())
}
