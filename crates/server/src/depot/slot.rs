//! The place of one app in the depot: its view of now, and who may change it when.
//!
//! Two locks, always taken in this order. `turn`: one change of an app at a time in this process (other processes are
//! held off by the swap of the head). `keep`: shared by whoever counts on objects staying where they are, held alone by
//! the collector while it condemns and deletes.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use updraft_core::name::AppName;

use super::health::Vitals;
use super::patches::{Book, Tally};
use super::{Error, View};

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) name: AppName,
    pub(super) turn: tokio::sync::Mutex<()>,
    pub(super) keep: tokio::sync::RwLock<()>,
    pub(super) vitals: Vitals,
    /// Taken after the other locks, and for a moment.
    pub(super) book: tokio::sync::Mutex<Option<Book>>,
    pub(super) tally: Tally,
    view: ArcSwapOption<View>,
    trouble: Mutex<Option<String>>,
    owed: Mutex<Option<String>>,
}

impl Slot {
    pub(super) fn new(name: AppName) -> Self {
        Self {
            name,
            turn: tokio::sync::Mutex::default(),
            keep: tokio::sync::RwLock::default(),
            vitals: Vitals::default(),
            book: tokio::sync::Mutex::default(),
            tally: Tally::default(),
            view: ArcSwapOption::empty(),
            trouble: Mutex::default(),
            owed: Mutex::default(),
        }
    }

    pub(super) fn view(&self) -> Option<Arc<View>> {
        self.view.load_full()
    }

    /// The view, or why there is none.
    pub(super) fn live(&self) -> Result<Arc<View>, Error> {
        self.view().ok_or_else(|| match self.trouble() {
            Some(reason) => Error::broken(&self.name, reason),
            None => Error::no_app(&self.name),
        })
    }

    /// Lets everybody see `view`. The caller has the turn.
    pub(super) fn show(&self, view: Arc<View>) {
        self.view.store(Some(view));
        self.set_trouble(None);
        *self.owed.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Why a rotation that was announced is not complete, if there is one.
    pub(super) fn owed(&self) -> Option<String> {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Remembers why an announced rotation is not complete, until the app could be read again. Whether that is news.
    pub(super) fn owe(&self, reason: String) -> bool {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner).replace(reason).is_none()
    }

    /// Why the app cannot be served, if it cannot.
    pub(super) fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_trouble(&self, trouble: Option<String>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }
}
