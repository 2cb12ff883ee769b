//! What requests tell of patches: which were fetched, and which were missed.
//!
//! A request leaves word and goes on. Where nobody listens, or too much is told at once, it is dropped: the next device
//! tells the same.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use tokio::sync::{Notify, mpsc};
use updraft_core::Timestamp;
use updraft_core::layout::{self, Key};
use updraft_core::name::AppName;

use super::book::{ASKED_OF_TARGET_MAX, Book};
use super::queue::Turn;
use super::{Depot, Entry, Outlook, Pair, pair_of};
use crate::depot::{Error, View};

/// How much may wait to be heard.
const WORDS_MAX: usize = 1_024;

/// What a request tells.
#[derive(Debug)]
pub(super) enum Word {
    /// There was no patch.
    Missed(AppName, Pair),
    /// So many bytes of one went out.
    Served(AppName, Pair, u64),
}

/// Where requests leave word, and what wakes the maker.
pub(in crate::depot) struct Ear {
    mouth: mpsc::Sender<Word>,
    words: Mutex<Option<mpsc::Receiver<Word>>>,
    stirred: Notify,
    maker: OnceLock<String>,
}

impl Default for Ear {
    fn default() -> Self {
        let (mouth, words) = mpsc::channel(WORDS_MAX);
        Self { mouth, words: Mutex::new(Some(words)), stirred: Notify::new(), maker: OnceLock::new() }
    }
}

impl Ear {
    /// There may be something to make.
    pub(in crate::depot) fn stir(&self) {
        self.stirred.notify_one();
    }

    /// The program and the limits by which patches are made here, if they are.
    pub(super) fn maker(&self) -> Option<String> {
        self.maker.get().cloned()
    }
}

/// What was done about the patches of an app since the server was started.
#[derive(Debug, Default)]
pub struct Tally {
    /// Requests for a patch to a live release that was not there.
    pub asked: AtomicU64,
    /// Patches that were made here, or handed in.
    pub made: AtomicU64,
    /// Tries that failed.
    pub failed: AtomicU64,
    /// Pairs that were left out: too large, or no smaller than what they replace.
    pub skipped: AtomicU64,
    /// Pairs that wait for their turn now.
    pub waiting: AtomicU64,
    /// Bytes of patches that were answered.
    pub served_bytes: AtomicU64,
    /// Bytes that devices would have fetched more without them.
    pub saved_bytes: AtomicU64,
}

impl Tally {
    pub(super) fn add(counter: &AtomicU64, more: u64) {
        counter.fetch_add(more, Ordering::Relaxed);
    }
}

impl Depot {
    /// A device asked for what is at `key`, and there was nothing. Only for a patch to a live release is that news.
    pub(crate) fn patch_missed(&self, view: &View, key: &Key) {
        let Some(pair) = pair_of(&view.name, key).filter(|pair| pair.from != pair.to) else { return };
        if !view.releases.values().any(|release| release.tree.digest == pair.to) {
            return;
        }
        if let Some(slot) = self.inner.apps.load().get(&view.name) {
            Tally::add(&slot.tally.asked, 1);
        }
        let _ = self.inner.patches.mouth.try_send(Word::Missed(view.name.clone(), pair));
    }

    /// So many bytes of what is at `key` go out. Of a patch that is remembered.
    pub(crate) fn patch_served(&self, app: &AppName, key: &Key, bytes: u64) {
        if let Some(pair) = pair_of(app, key) {
            let _ = self.inner.patches.mouth.try_send(Word::Served(app.clone(), pair, bytes));
        }
    }

    /// Hands what was done about the patches of each app to `look`.
    pub fn patch_tallies(&self, mut look: impl FnMut(&AppName, &Tally)) {
        self.inner
            .apps
            .load()
            .values()
            .filter(|slot| slot.view().is_some())
            .for_each(|slot| look(&slot.name, &slot.tally));
    }

    /// Listens to what requests tell, for as long as it runs. Only the first caller hears anything.
    pub(crate) async fn listen(&self) {
        let words = self.inner.patches.words.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut words) = words else { return };
        while let Some(word) = words.recv().await {
            if let Err(error) = self.heard(word).await {
                tracing::warn!(%error, "what a device told of patches is lost");
            }
        }
    }

    async fn heard(&self, word: Word) -> Result<(), Error> {
        match word {
            Word::Missed(app, pair) => self.missed(&app, pair).await?,
            Word::Served(app, pair, bytes) => {
                let slot = self.slot(&app)?;
                let used = self.with_book(&slot, |book| book.used(&pair, Timestamp::now())).await?;
                Tally::add(&slot.tally.served_bytes, bytes);
                if let Some((len @ 1.., instead)) = used {
                    let saved = u128::from(bytes) * u128::from(instead.saturating_sub(len)) / u128::from(len);
                    Tally::add(&slot.tally.saved_bytes, u64::try_from(saved).unwrap_or_default());
                }
            }
        }
        Ok(())
    }

    /// A device asked for a patch that is not there. Anybody can ask: only what some device may be due is made for it, and no
    /// more than a few to each release.
    async fn missed(&self, app: &AppName, pair: Pair) -> Result<(), Error> {
        let (slot, now) = (self.slot(app)?, Timestamp::now());
        let aims = self.aims(&*slot.live()?);
        let is_made = |book: &Book| matches!(book.pairs.get(&pair), Some(Entry::Made { .. }));
        if self.look_at_book(&slot, is_made).await? {
            return self.forget_lost_patch(&slot, pair).await;
        }
        let may_ask = self.with_book(&slot, |book| {
            let leads_on = Outlook::new(book, &aims, now).leads_on(&pair);
            if leads_on {
                book.came_from(pair.from, now);
            }
            leads_on && !book.pairs.contains_key(&pair)
        });
        // A release that is not live any more may have been collected.
        if !may_ask.await? || self.inner.store.stat(&layout::tree(app, pair.from)).await?.is_none() {
            return Ok(());
        }
        let asked = self.with_book(&slot, |book| {
            let there_are = Outlook::new(book, &aims, now).asked_for(pair.to);
            there_are < ASKED_OF_TARGET_MAX && book.ask(pair)
        });
        if asked.await? {
            self.inner.patches.stir();
        } else {
            tracing::debug!(%app, from = %pair.from, to = %pair.to, "a patch was asked for; there are too many already");
        }
        Ok(())
    }

    /// From here on patches are made, by this program with these limits.
    pub(crate) fn made_by(&self, maker: String) {
        let _ = self.inner.patches.maker.set(maker);
    }

    /// Waits until there may be something to make.
    pub(crate) async fn stirred(&self) {
        self.inner.patches.stirred.notified().await;
    }

    /// Notes what is live, and says which patches are to be made now, in order.
    pub(crate) async fn patches_due(&self, now: Timestamp) -> Vec<(AppName, Pair)> {
        let maker = self.inner.patches.maker().unwrap_or_default();
        let slots: Vec<_> = self.inner.apps.load().values().cloned().collect();
        let mut due: Vec<(Turn, AppName)> = Vec::new();
        for slot in slots {
            let Some(view) = slot.view() else { continue };
            let aims = self.aims(&view);
            let noted = self.with_book(&slot, |book| {
                book.note(&aims.live, now);
                book.is_changed |= std::mem::take(&mut book.is_stale);
                Outlook::new(book, &aims, now).due(&maker, now)
            });
            match noted.await {
                Ok(turns) => {
                    slot.tally.waiting.store(turns.len() as u64, Ordering::Relaxed);
                    due.extend(turns.into_iter().map(|turn| (turn, slot.name.clone())));
                }
                Err(error) => tracing::error!(app = %slot.name, %error, "no patches are made for this app now"),
            }
        }
        // No app waits for all of another's.
        due.sort();
        due.into_iter().map(|(turn, app)| (app, turn.pair)).collect()
    }
}
