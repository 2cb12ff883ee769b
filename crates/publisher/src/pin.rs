//! What a publisher signs anew though no release is: a release that is to stay live though no channel points at it, or
//! need not any more; and a later end for all that is live.

use updraft_core::Timestamp;
use updraft_core::api::Committed;
use updraft_core::name::AppName;
use updraft_core::release::ReleaseName;

use crate::base::Base;
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

/// Gives the app's targets a later end, with the keys of `targets` alone. Whatever the channels have left behind is no
/// longer live in the same step, as after every publish.
///
/// # Errors
/// When the change cannot be handed in.
pub fn renew(publisher: &Publisher<'_>, app: &AppName, now: Timestamp) -> Result<Committed, Error> {
    let committed = Session::new(publisher, app, now).rounds(|session, round| {
        publisher.progress.begin(Phase::Commit, None);
        session.submit(round, &Change::Renew, Vec::new(), None)
    })?;
    Base::read(publisher.remote, app, publisher.keys, now)?;
    Ok(committed)
}
