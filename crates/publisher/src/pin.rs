//! A release that is to stay live though no channel points at it, and one that need not any more.

use updraft_core::Timestamp;
use updraft_core::api::Committed;
use updraft_core::name::AppName;
use updraft_core::release::ReleaseName;

use crate::progress::Phase;
use crate::publish::commit::Session;
use crate::publish::{Error, Publisher};
use crate::sign::Change;

/// Pins `release` of `app`, or lets it go; `None` when it was so already. A release that is let go, and that its
/// channels have left behind, is no longer live in the same step.
///
/// # Errors
/// When the release is not live, or the change cannot be handed in.
pub fn pin(
    publisher: &Publisher<'_>,
    app: &AppName,
    release: &ReleaseName,
    pinned: bool,
    now: Timestamp,
) -> Result<Option<Committed>, Error> {
    Session::new(publisher, app, now).rounds(|session, round| {
        let missing = || Error::NoRelease { app: app.clone(), release: Box::new(release.clone()) };
        let live = round.base.find(release).ok_or_else(missing)?;
        if live.is_pinned() == pinned {
            return Ok(None);
        }
        publisher.progress.begin(Phase::Commit, None);
        let change = Change::Pin { release: live.name, pinned };
        session.submit(round, &change, Vec::new(), None).map(Some)
    })
}
