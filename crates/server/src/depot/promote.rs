//! Promotions: which live release a channel points at. The publisher's document has the last word on which channels.

use std::collections::BTreeMap;

use updraft_core::Timestamp;
use updraft_core::api;
use updraft_core::channel::{self, Channel};
use updraft_core::limits::CHANNELS_MAX;
use updraft_core::name::{AppName, ChannelName};
use updraft_core::release::Release;

use super::commit::{Change, Outcome, TRIES};
use super::slot::Slot;
use super::verify::Expiry;
use super::{Depot, Error, detached};

/// What a promotion comes to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Promoted {
    /// The channel points there already.
    Already,
    /// These are the channels after it.
    To(BTreeMap<ChannelName, Channel>),
}

/// Decides what `promotion` comes to.
pub(super) fn apply(
    app: &AppName,
    channels: &BTreeMap<ChannelName, Channel>,
    releases: &BTreeMap<String, Release>,
    promotion: &api::Promotion,
) -> Result<Promoted, Error> {
    let api::Promotion { channel: name, release: wanted } = promotion;
    let release = releases.values().find(|release| release.name() == *wanted).ok_or_else(|| {
        Error::NotFound(format!(
            "app {app}: there is no live release {wanted}; `updraft release list` shows those there are"
        ))
    })?;
    if !release.allows_channel(name) {
        return Err(Error::Refused(format!(
            "app {app}: the publisher does not allow release {wanted} on channel {name}"
        )));
    }
    let channel = channels.get(name).cloned().unwrap_or_default();
    if channel.platforms.get(&release.platform).is_some_and(|stream| stream.current == release.version) {
        return Ok(Promoted::Already);
    }
    let mut channels = channels.clone();
    let channel = channel.promote(name, &release.name()).map_err(|e| refused(app, &e))?;
    channels.insert(name.clone(), channel);
    if channels.len() > CHANNELS_MAX {
        return Err(Error::Refused(format!("app {app}: it would have more than {CHANNELS_MAX} channels")));
    }
    Ok(Promoted::To(channels))
}

fn refused(app: &AppName, error: &channel::Error) -> Error {
    let reason = format!("app {app}: {error}");
    match error {
        channel::Error::NotNewer { .. } | channel::Error::NewerCandidate { .. } => Error::NotNewer(reason),
        channel::Error::NoRelease { .. } => Error::NotFound(reason),
        _ => Error::Refused(reason),
    }
}

impl Depot {
    /// Lets a channel point at a live release. A channel that does so already is success.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the release is not live; [`Error::NotNewer`] when the channel is ahead;
    /// [`Error::Refused`] when the publisher does not allow it on this channel.
    pub async fn promote(
        &self,
        app: &AppName,
        promotion: &api::Promotion,
        now: Timestamp,
    ) -> Result<api::Committed, Error> {
        let (depot, slot, promotion) = (self.clone(), self.slot(app)?, promotion.clone());
        detached(async move {
            let _turn = slot.turn.lock().await;
            let _keep = slot.keep.read().await;
            depot.promote_in_turn(&slot, &promotion, now).await
        })
        .await
    }

    /// The caller has the turn, and keeps the collector away.
    pub(super) async fn promote_in_turn(
        &self,
        slot: &Slot,
        promotion: &api::Promotion,
        now: Timestamp,
    ) -> Result<api::Committed, Error> {
        let mut view = self.newest_in_turn(slot).await?;
        for _ in 0..TRIES {
            let channels = match apply(&slot.name, &view.channels, &view.releases, promotion)? {
                Promoted::Already => return Ok(view.committed()),
                Promoted::To(channels) => channels,
            };
            for (role, expires) in [("root", view.root.expires.at()), ("targets", view.targets.expires.at())] {
                if expires <= now {
                    return Err(Error::Refused(format!(
                        "app {}: {role} expired at {expires}, devices no longer believe it; the publisher signs a new one",
                        slot.name
                    )));
                }
            }
            let change = Change { channels: Some(channels), ..Change::none(&view, Expiry::Checked(now)) };
            match self.commit(slot, &view, change, now).await? {
                Outcome::Done(view) => return Ok(view.committed()),
                Outcome::Lost => view = self.load_in_turn(slot).await?,
            }
        }
        Err(Error::Conflict(format!("app {}: it changes too fast to promote in; try again", slot.name)))
    }
}
