//! What people do to the channels of an app: a verb of `core::channel`, applied to what is live, in one commit.
//!
//! The publisher's documents have the last word on which channels may point at a release. Of two people who decided on the
//! same state one is first, and the other is told how it stands now.

use std::collections::BTreeMap;
use std::sync::Arc;

use updraft_core::Timestamp;
use updraft_core::api;
use updraft_core::channel::{self, By, Channel, Moment, Salt, Verb};
use updraft_core::digest::Digest;
use updraft_core::limits::CHANNELS_MAX;
use updraft_core::name::{AppName, ChannelName};

use super::commit::{Change, Outcome, TRIES};
use super::slot::Slot;
use super::verify::Expiry;
use super::{Depot, Error, View, detached};

/// What somebody wants of a channel.
struct Wish {
    channel: ChannelName,
    /// The revision that they saw; none to take it as it is.
    base: Option<Digest>,
    verb: Verb,
    salt: Salt,
}

/// The verb that `promotion` is: for everybody, at once.
pub(super) fn verb_of(promotion: &api::Promotion) -> Verb {
    Verb::Promote { release: promotion.release.clone(), rollout: None, max_bits_per_sec: None }
}

/// The channels after `verb`; none where nothing is to change.
pub(super) fn apply(
    app: &AppName,
    channels: &BTreeMap<ChannelName, Channel>,
    verb: &Verb,
    at: &Moment<'_>,
) -> Result<Option<BTreeMap<ChannelName, Channel>>, Error> {
    let before = match (channels.get(at.channel), verb) {
        (Some(channel), _) => channel.clone(),
        (None, Verb::Promote { .. }) => Channel::default(),
        (None, _) => return Err(Error::no_channel(app, at.channel, channels.keys())),
    };
    if verb.is_done(&before) {
        return Ok(None);
    }
    let after = before.clone().apply(verb, at).map_err(|e| refused(app, &e))?;
    if after == before {
        return Ok(None);
    }
    let mut channels = channels.clone();
    channels.insert(at.channel.clone(), after);
    if channels.len() > CHANNELS_MAX {
        return Err(Error::Refused(format!("app {app}: it would have more than {CHANNELS_MAX} channels")));
    }
    Ok(Some(channels))
}

fn refused(app: &AppName, error: &channel::Error) -> Error {
    let reason = format!("app {app}: {error}");
    match error {
        channel::Error::NotNewer { .. } | channel::Error::NewerCandidate { .. } => Error::NotNewer(reason),
        channel::Error::NoRelease { .. } => Error::NotFound(reason),
        _ => Error::Refused(reason),
    }
}

impl Wish {
    fn at<'a>(&'a self, live: &'a updraft_core::release::Live, now: Timestamp) -> Moment<'a> {
        Moment { channel: &self.channel, live, now, by: By::Person, salt: self.salt }
    }

    /// # Errors
    /// When somebody has decided otherwise since.
    fn check_base(&self, view: &View, now: Timestamp) -> Result<(), Error> {
        let channel = view.channels.get(&self.channel).cloned().unwrap_or_default();
        if self.base.is_none_or(|base| base == channel.revision()) {
            return Ok(());
        }
        Err(Error::Conflict(format!(
            "app {}: channel {} was changed meanwhile: it has {} now; say it again if you still want that",
            view.name,
            self.channel,
            channel.sentence(now)
        )))
    }
}

/// What the channels of `view` are when every rollout that has reached everybody is over; none when that is what they are.
pub(super) fn settled(view: &View, now: Timestamp) -> Option<BTreeMap<ChannelName, Channel>> {
    let settle = |(name, channel): (&ChannelName, &Channel)| (name.clone(), channel.clone().settled(now));
    let channels: BTreeMap<_, _> = view.channels.iter().map(settle).collect();
    (channels != view.channels).then_some(channels)
}

impl Depot {
    /// How a channel stands.
    ///
    /// # Errors
    /// When there is no such app, or no such channel.
    pub fn channel(&self, app: &AppName, name: &ChannelName, now: Timestamp) -> Result<api::ChannelStatus, Error> {
        let view = self.slot(app)?.live()?;
        let channel = view.channels.get(name).ok_or_else(|| Error::no_channel(app, name, view.channels.keys()))?;
        Ok(api::ChannelStatus::of(name, channel, now))
    }

    /// Does to a channel what a person says. What holds already is success.
    ///
    /// # Errors
    /// [`Error::Conflict`] when the channel is not any more what it was based on; [`Error::NotFound`] when the release is not
    /// live; [`Error::NotNewer`] when the channel is ahead; [`Error::Refused`] when it may not be.
    pub async fn change_channel(
        &self,
        app: &AppName,
        name: &ChannelName,
        change: &api::ChannelChange,
        now: Timestamp,
    ) -> Result<api::ChannelChanged, Error> {
        let api::ChannelChange { base, verb } = change.clone();
        let wish = Wish { channel: name.clone(), base, verb, salt: random_salt() };
        let (view, changed) = self.grant(app, wish, now).await?;
        let channel = view.channels.get(name).cloned().unwrap_or_default();
        let status = api::ChannelStatus::of(name, &channel, now);
        Ok(api::ChannelChanged { committed: view.committed(), changed, now: status })
    }

    /// Lets a channel point at a live release. A channel that does so already is success.
    ///
    /// # Errors
    /// As [`Self::change_channel`].
    pub async fn promote(
        &self,
        app: &AppName,
        promotion: &api::Promotion,
        now: Timestamp,
    ) -> Result<api::Committed, Error> {
        let (view, _) = self.grant(app, wish_of(promotion), now).await?;
        Ok(view.committed())
    }

    /// The same; the caller has the turn, and keeps the collector away.
    pub(super) async fn promote_in_turn(
        &self,
        slot: &Slot,
        promotion: &api::Promotion,
        now: Timestamp,
    ) -> Result<api::Committed, Error> {
        let (view, _) = self.grant_in_turn(slot, &wish_of(promotion), now).await?;
        Ok(view.committed())
    }

    async fn grant(&self, app: &AppName, wish: Wish, now: Timestamp) -> Result<(Arc<View>, bool), Error> {
        let (depot, slot) = (self.clone(), self.slot(app)?);
        detached(async move {
            let _turn = slot.turn.lock().await;
            let _keep = slot.keep.read().await;
            depot.grant_in_turn(&slot, &wish, now).await
        })
        .await
    }

    /// The view with what was wished for, and whether that is new.
    async fn grant_in_turn(&self, slot: &Slot, wish: &Wish, now: Timestamp) -> Result<(Arc<View>, bool), Error> {
        let mut view = self.newest_in_turn(slot).await?;
        for _ in 0..TRIES {
            let next = apply(&slot.name, &view.channels, &wish.verb, &wish.at(&view.live(), now));
            if !matches!(next, Ok(None)) {
                wish.check_base(&view, now)?;
            }
            let Some(channels) = next? else { return Ok((view, false)) };
            check_believed(&view, now)?;
            let change = Change { channels: Some(channels), ..Change::none(&view, Expiry::Checked(now)) };
            match self.commit(slot, &view, change, now).await? {
                Outcome::Done(view) => return Ok((view, true)),
                Outcome::Lost => view = self.load_in_turn(slot).await?,
            }
        }
        Err(Error::Conflict(format!("app {}: it changes too fast to change a channel; try again", slot.name)))
    }
}

/// # Errors
/// When no device would believe a change, because the publisher's part has expired.
fn check_believed(view: &View, now: Timestamp) -> Result<(), Error> {
    for (role, expires) in [("root", view.root.expires.at()), ("targets", view.targets.expires.at())] {
        if expires <= now {
            return Err(Error::Refused(format!(
                "app {}: {role} expired at {expires}, devices no longer believe it; the publisher signs a new one",
                view.name
            )));
        }
    }
    Ok(())
}

fn wish_of(promotion: &api::Promotion) -> Wish {
    let channel = promotion.channel.clone();
    Wish { channel, base: None, verb: verb_of(promotion), salt: random_salt() }
}

fn random_salt() -> Salt {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the system has random bytes");
    Salt::from_bytes(bytes)
}
