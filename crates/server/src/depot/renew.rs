//! Renewal: the server signs its own roles anew long before they expire, whether anything else happens or not. Rollouts that
//! have reached everybody end on the same occasion.

use std::collections::BTreeSet;
use std::sync::Arc;

use updraft_core::Timestamp;
use updraft_core::name::AppName;

use super::channel::settled;
use super::commit::{Change, Outcome, TRIES};
use super::sign::{due_at, later};
use super::slot::Slot;
use super::verify::Expiry;
use super::{Depot, Error, Options, View};

/// What a round of renewals did.
#[derive(Debug, Default)]
pub struct Renewed {
    /// Apps whose online roles were signed anew.
    pub apps: Vec<AppName>,
    /// Apps for which that failed, and why.
    pub failed: Vec<(AppName, Error)>,
}

impl Depot {
    /// Signs anew every online role, of every app, of which less than half of the life is left, and ends every rollout that
    /// has reached everybody. An app that could not be
    /// read before is tried again, and so is a rotation that was announced and could not be completed.
    pub async fn renew(&self, now: Timestamp) -> Renewed {
        let mut renewed = Renewed::default();
        let slots: Vec<_> = self.inner.apps.load().values().cloned().collect();
        for slot in slots {
            if slot.view().is_none() && slot.trouble().is_none() {
                continue;
            }
            let (depot, app, noted) = (self.clone(), slot.name.clone(), Arc::clone(&slot));
            // In a task of its own: it ends well when the caller goes away, and a panic ends nothing but it.
            let done = tokio::spawn(async move {
                let _turn = slot.turn.lock().await;
                let _keep = slot.keep.read().await;
                depot.renew_in_turn(&slot, now).await
            });
            let done = match done.await {
                Ok(done) => done,
                Err(stopped) if stopped.is_panic() => Err(Error::Defect(app.clone())),
                Err(_) => Err(Error::Stopping),
            };
            noted.vitals.note(&done);
            match done {
                Ok(true) => renewed.apps.push(app),
                Ok(false) => {}
                Err(error) => renewed.failed.push((app, error)),
            }
        }
        renewed
    }

    /// Waits until a rotation could not be completed that was announced. [`Self::renew`] tries again.
    pub async fn owes(&self) {
        self.inner.owing.notified().await;
    }

    /// When the next role is due, or the next rollout ends; `None` without apps.
    pub fn next_renewal(&self) -> Option<Timestamp> {
        self.next_renewal_without(&BTreeSet::new())
    }

    /// When the next role of any app but these is due; `None` without others.
    pub fn next_renewal_without(&self, left_out: &BTreeSet<AppName>) -> Option<Timestamp> {
        let apps = self.inner.apps.load();
        let views = apps.values().filter(|slot| !left_out.contains(&slot.name)).filter_map(|slot| slot.view());
        views.map(|view| first_due(&view, self.inner.options)).min()
    }

    async fn renew_in_turn(&self, slot: &Slot, now: Timestamp) -> Result<bool, Error> {
        let mut view: Arc<View> = match slot.view() {
            Some(view) if slot.owed().is_none() => view,
            // Reading it completes what was announced.
            _ => self.load_in_turn(slot).await?,
        };
        for _ in 0..TRIES {
            if first_due(&view, self.inner.options) >= now && !outlives(&view, self.inner.options, now) {
                return Ok(false);
            }
            // The publisher's part may have expired: devices then say so, and the server's part is not to blame.
            let change = Change { channels: settled(&view, now), ..Change::none(&view, Expiry::Ignored) };
            match self.commit(slot, &view, change, now).await? {
                Outcome::Done(_) => return Ok(true),
                Outcome::Lost => view = self.load_in_turn(slot).await?,
            }
        }
        Err(Error::Conflict(format!("app {}: it changes too fast to renew", slot.name)))
    }
}

/// Whether the timestamp is good for longer than one that is signed now: the operator has shortened their lives.
fn outlives(view: &View, options: Options, now: Timestamp) -> bool {
    view.timestamp.expires.at() > later(now, options.timestamp_life_secs)
}

/// When the first of the online roles is due, or a rollout has reached everybody.
fn first_due(view: &View, options: Options) -> Timestamp {
    let timestamp = due_at(&view.timestamp.expires, options.timestamp_life_secs);
    let snapshot = due_at(&view.snapshot.expires, options.online_life_secs);
    let channels = due_at(&view.channels_role.expires, options.online_life_secs);
    let streams = view.channels.values().flat_map(|channel| channel.platforms.values());
    let full = streams.filter_map(|stream| stream.candidate.as_ref()?.full_at()).min();
    timestamp.min(snapshot).min(channels).min(full.unwrap_or(Timestamp::MAX))
}
