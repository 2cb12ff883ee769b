//! What is installed, from where, and how it stands.
//!
//! It can be asked while another process updates, and by who may only look: it takes no lock and writes nothing.

use std::io::ErrorKind;
use std::path::Path;

use jiff::SignedDuration;
use serde::Serialize;
use updraft_core::Timestamp;
use updraft_core::channel::Passed;
use updraft_core::name::{AppName, ChannelName, Platform};
use updraft_core::release::{Release, ReleaseName};
use updraft_core::trust::{Role, Trusted};
use updraft_core::version::Version;

use crate::belief::{self, Kept};
use crate::check::{self, Asker, Listed};
use crate::error::Error;
use crate::fetched::{self, Fetched};
use crate::home::{Access, Home};
use crate::install::{self, Confirmation, Way};
use crate::record::{self, Record};

/// How far ahead of this device's clock a release may be dated before the clock is called wrong: those of two machines
/// differ, by most of a day where one of them is set to local time.
const CLOCK_SLACK: SignedDuration = SignedDuration::from_hours(24);

/// What is installed, from where, and how it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// The app.
    pub app: AppName,
    /// The version that is installed; `None` before the first download is complete.
    pub version: Option<Version>,
    /// How that version got here; `None` before there is one, and where it is not known.
    pub fetched: Option<Fetched>,
    /// What this device is.
    pub platform: Platform,
    /// The channel that is followed.
    pub channel: ChannelName,
    /// Where it comes from.
    pub source: String,
    /// The random name of this installation.
    pub device: String,
    /// How the directory is updated, and why.
    pub way: Way,
    /// The release that can be gone back to.
    pub previous: Option<ReleaseName>,
    /// Whether the installed release is known to be good; `None` before there is one.
    pub confirmation: Option<Confirmation>,
    /// The releases that were rolled back from, by [`Updater::reject`](crate::Updater::reject) or because they were never
    /// confirmed; the last one first.
    pub rejected: Vec<ReleaseName>,
    /// Whether a person chose the installed release, so that nothing else is taken by itself
    /// ([`Updater::check_for`](crate::Updater::check_for)).
    pub held: bool,
    /// What is wrong with `state.json`, if it cannot be read: then the installed release counts as held.
    pub damage: Option<String>,
    /// Whether the publisher still lists the installed release, by what was believed last. `None` before there is one, and
    /// where what was believed is out of date or cannot be had. Who follows a channel moves on; one that is held may stay
    /// on what its publisher took back.
    pub live: Option<bool>,
    /// The newest release that this device does not get, and why, by what was believed last; `None` where there is something
    /// to take, or nothing newer.
    pub passed: Option<Passed>,
    /// Since when the publisher's word is out of date; `None` while it is fresh, or was never had.
    pub stale_since: Option<Timestamp>,
    /// Until when the publisher's word is fresh; `None` as well where this user may not read it.
    pub fresh_until: Option<Timestamp>,
    /// When the installed release was made, if this device's clock has not come to that day: then the clock is wrong, and
    /// what is fresh by it may be stale.
    pub clock_behind: Option<Timestamp>,
}

/// What is installed in `dir`, from where, and how it stands. Changes nothing, and works while another process updates.
///
/// # Errors
/// When nothing is installed there, or the updater's own folder cannot be read.
pub fn status(dir: &Path, now: Timestamp) -> Result<Status, Error> {
    status_of(&Home::open(dir, Access::Read)?, now)
}

pub(crate) fn status_of(home: &Home, now: Timestamp) -> Result<Status, Error> {
    let record = home.record()?;
    let (stale_since, trusted) = believed(home, now)?;
    let settings = home.settings();
    Ok(Status {
        app: settings.app.clone(),
        fetched: record.as_ref().and_then(|record| fetched::last(home.folder(), &record.release.name())),
        platform: settings.platform.clone(),
        channel: settings.channel.clone(),
        source: settings.source.clone(),
        device: settings.device.clone(),
        way: install::probe(home)?,
        previous: readable(install::slot(home))?.flatten(),
        confirmation: record.as_ref().map(|_| install::confirmation(home)).transpose()?,
        rejected: install::rejected(home)?,
        held: install::held(home)?,
        damage: install::damage(home)?,
        clock_behind: record.as_ref().and_then(|record| clock_behind(&record.release, now)),
        live: trusted.as_ref().zip(record.as_ref()).map(|(trusted, record)| is_listed(trusted, record)),
        passed: trusted.as_ref().zip(record.as_ref()).and_then(|(trusted, record)| passed(home, trusted, record, now)),
        version: record.map(|record| record.release.version),
        stale_since,
        fresh_until: trusted.as_ref().and_then(fresh_until),
    })
}

/// Whether the publisher still lists what is installed; `None` where nobody knows.
pub(crate) fn is_live(home: &Home, now: Timestamp) -> Result<Option<bool>, Error> {
    let (_, trusted) = believed(home, now)?;
    Ok(trusted.zip(home.record()?).map(|(trusted, record)| is_listed(&trusted, &record)))
}

/// The newest release that is newer than the installed one and not for this device, if there is nothing for it.
fn passed(home: &Home, trusted: &Trusted, record: &Record, now: Timestamp) -> Option<Passed> {
    let settings = home.settings();
    let (channel, platform, version) = (&settings.channel, &settings.platform, Some(&record.release.version));
    let asker = Asker { channel, platform, version, chosen: None };
    let channel = check::read_channel(trusted, asker).ok()?;
    let pick = Listed::of(trusted).pick(&channel, asker, now).ok()?;
    pick.passed.into_iter().next().filter(|_| pick.take.is_none())
}

fn is_listed(trusted: &Trusted, record: &Record) -> bool {
    check::lists(trusted, &record.release.name(), &record.document)
}

/// Since when what is kept is out of date, or what it says while it is fresh.
fn believed(home: &Home, now: Timestamp) -> Result<(Option<Timestamp>, Option<Trusted>), Error> {
    let Some(trust) = home.trust_to_read()? else { return Ok((None, None)) };
    match belief::recall(&mut Kept::new(&trust, home.settings().root), now) {
        Ok(trusted) => Ok((None, trusted)),
        Err(belief::Error::Stale { since, .. }) => Ok((Some(since), None)),
        Err(error) => Err(error.into()),
    }
}

/// What another user may not read is unknown, and no reason to say nothing at all.
fn readable<T>(read: Result<T, install::Error>) -> Result<Option<T>, install::Error> {
    match read {
        Err(install::Error::Files(error) | install::Error::Record(record::Error::Files(error)))
            if error.kind() == ErrorKind::PermissionDenied =>
        {
            Ok(None)
        }
        read => read.map(Some),
    }
}

/// When the first of the documents that a check needs expires.
fn fresh_until(trusted: &Trusted) -> Option<Timestamp> {
    let targets = [Role::Targets, Role::channels()];
    let targets = targets.iter().filter_map(|role| trusted.targets(role)).map(|targets| targets.expires.at());
    let snapshot = trusted.snapshot().map(|snapshot| snapshot.expires.at());
    let timestamp = trusted.timestamp().map(|timestamp| timestamp.expires.at());
    [snapshot, timestamp].into_iter().flatten().chain(targets).chain([trusted.root().expires.at()]).min()
}

/// When `release` was made, if a clock that says `now` has not come to that day.
pub(crate) fn clock_behind(release: &Release, now: Timestamp) -> Option<Timestamp> {
    let latest = now.checked_add(CLOCK_SLACK).unwrap_or(Timestamp::MAX);
    (release.date > latest).then_some(release.date)
}
