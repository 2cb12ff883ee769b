//! Whether there is something new, and what it would cost.
//!
//! A check asks for metadata and one release document, never for a tree: what it costs does not grow with the number of
//! files or of past releases. The price it names is that of a patch from the tree that is here, or of the bundle where hardly
//! anything is, which a small request each tells; or of the blobs that changed, which the publisher signed for the tree that
//! is here; otherwise it is a bound ("at most") until the tree is at hand.

use updraft_core::Timestamp;
use updraft_core::channel::{self, Bar, Channel, Device, Passed, Pick, Why};
use updraft_core::digest::Digest;
use updraft_core::layout;
use updraft_core::limits::RELEASE_LEN_MAX;
use updraft_core::name::{ChannelName, Platform};
use updraft_core::plan::{Plan, Route};
use updraft_core::release::{Live, Notes, Release, ReleaseName, Terms};
use updraft_core::trust::{Role, Trusted};
use updraft_core::version::Version;

use crate::belief::{self, Kept, Place};
use crate::offer::Offer;
use crate::status;

/// How a channel comes to point where its publisher never let it.
const STOLEN: &str = " (a stolen server looks like this)";

/// The most live releases that an error names.
const LIVE_NAMED_MAX: usize = 20;

/// The most channels that an error names.
const CHANNELS_NAMED_MAX: usize = 10;

/// The longest reason that an error gives, in characters: part of it may be a stranger's text.
const REASON_LEN_MAX: usize = 300;

/// Why a check came to no verdict.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The publisher's word could not be had, or is not believed.
    #[error(transparent)]
    Belief(#[from] belief::Error),
    /// There is no such channel.
    #[error("there is no channel {channel}; {}", known(.channels))]
    NoChannel {
        /// The channel that this device follows.
        channel: ChannelName,
        /// The channels that there are; at most ten.
        channels: Vec<String>,
    },
    /// The channel says what it may not say.
    #[error("channel {channel}: {reason}")]
    Channel {
        /// The channel that this device follows.
        channel: ChannelName,
        /// What is wrong.
        reason: String,
    },
    /// The channel has something for devices of this platform, and nothing for this one.
    #[error("channel {channel}: {reason}")]
    Nothing {
        /// The channel that this device follows.
        channel: ChannelName,
        /// Why it gets nothing.
        reason: String,
    },
    /// The release document is not what was signed.
    #[error("release {name}: {reason}")]
    Release {
        /// The release.
        name: ReleaseName,
        /// What is wrong.
        reason: String,
    },
    /// A person named a version that the publisher does not list for this device.
    #[error("version {version} is not live{}", what_is(.live))]
    NotLive {
        /// The version.
        version: Version,
        /// The releases that are, for this device's platform; the newest first.
        live: Vec<ReleaseName>,
    },
    /// A person named a release that its publisher keeps to other channels.
    #[error("release {name} is for channel {} only, and this device follows {channel}", .allowed.join(" and "))]
    OtherChannel {
        /// The release.
        name: Box<ReleaseName>,
        /// The channels that it is for; at most ten.
        allowed: Vec<String>,
        /// The channel that this device follows.
        channel: ChannelName,
    },
    /// A person named a release that is not for this device.
    #[error("this device cannot have {}, {}", .0.release, shortened(&.0.bar.to_string()))]
    Barred(Box<Passed>),
    /// A person named an older release and did not say that it may be one.
    #[error("{name} is older than {installed}, which is installed; to go back to it say --allow-downgrade, too")]
    Older {
        /// The release.
        name: Box<ReleaseName>,
        /// The version that is installed.
        installed: Version,
    },
}

fn what_is(live: &[ReleaseName]) -> String {
    let names: Vec<_> = live.iter().take(LIVE_NAMED_MAX).map(ToString::to_string).collect();
    match live.len() {
        0 => ": the publisher lists no release for this platform".to_owned(),
        len if len > names.len() => format!("; live are {}, and {} more", names.join(", "), len - names.len()),
        _ => format!("; live: {}", names.join(", ")),
    }
}

fn shortened(reason: &str) -> String {
    match reason.char_indices().nth(REASON_LEN_MAX) {
        Some((at, _)) => format!("{}...", &reason[..at]),
        None => reason.to_owned(),
    }
}

fn known(channels: &[String]) -> String {
    if channels.is_empty() {
        "nothing has been put on any channel yet".to_owned()
    } else {
        format!("there are: {}", channels.join(", "))
    }
}

/// How many bytes a release costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Price {
    /// Bytes to fetch.
    pub fetch_bytes: u64,
    /// Bytes that a download of everything would fetch.
    pub full_bytes: u64,
    /// Whether `fetch_bytes` is what will travel; otherwise it is the most that can.
    pub exact: bool,
    /// By which way.
    pub route: Route,
}

impl Price {
    /// The most that `release` can cost.
    pub fn at_most(release: &Release) -> Self {
        let stored = release.tree.stored;
        Self { fetch_bytes: stored, full_bytes: stored, exact: false, route: Route::Full }
    }

    /// Bytes that need not be fetched.
    pub fn saved_bytes(&self) -> u64 {
        self.full_bytes.saturating_sub(self.fetch_bytes)
    }

    /// The same in percent of the full download, rounded down: 100 is said only when nothing is fetched at all.
    pub fn saved_percent(&self) -> u8 {
        if self.full_bytes == 0 {
            return if self.fetch_bytes == 0 { 100 } else { 0 };
        }
        let percent = u128::from(self.saved_bytes()) * 100 / u128::from(self.full_bytes);
        u8::try_from(percent).expect("a part of a whole is at most 100 percent")
    }
}

impl Price {
    /// What `plan` costs, the tree's document of `tree_len` bytes included.
    pub(crate) fn of(plan: &Plan, tree_len: u64) -> Self {
        Self {
            fetch_bytes: plan.fetch_bytes() + tree_len,
            full_bytes: plan.full_bytes + tree_len,
            exact: plan.is_exact(),
            route: plan.route(),
        }
    }

    /// What `release` costs a device that has exactly the tree `have`, if its publisher said.
    pub(crate) fn said(release: &Release, have: Digest) -> Option<Self> {
        let from = release.from.iter().find(|from| from.tree == have)?;
        let full_bytes = release.tree.stored.max(from.bytes);
        let route = if from.bytes < full_bytes { Route::Blobs } else { Route::Full };
        Some(Self { fetch_bytes: from.bytes, full_bytes, exact: true, route })
    }

    /// What `release` costs by a patch, and by so many bytes of whole blobs that the patch does not make.
    pub(crate) fn by_patch(release: &Release, patch: &Offer, blobs: u64, exact: bool) -> Self {
        let fetch_bytes = patch.bytes.saturating_add(blobs);
        Self { fetch_bytes, full_bytes: release.tree.stored.max(fetch_bytes), exact, route: patch.route() }
    }
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// There is a release for this device.
    Available(Update),
    /// This device has the newest release for it.
    Current {
        /// The version that it has.
        version: Version,
        /// The newest release that is not for it, or not yet, and why.
        passed: Option<Box<Passed>>,
    },
    /// This device has something newer than its channel, and stays there: versions only go forward.
    Ahead {
        /// The version that it has.
        version: Version,
        /// What the channel has.
        channel: ReleaseName,
        /// The newest release that is not for it, or not yet, and why.
        passed: Option<Box<Passed>>,
    },
    /// The channel has nothing for this platform.
    NotForPlatform {
        /// What this device is.
        platform: Platform,
        /// What the channel has something for.
        platforms: Vec<Platform>,
    },
}

/// Who chose a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chooser {
    /// The channel that this device follows.
    Channel,
    /// A person who looks after this device: [`Updater::check_for`](crate::Updater::check_for).
    Person,
}

/// Whether a person may choose a release that is older than the installed one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Downgrade {
    /// No.
    Refused,
    /// Yes: what was mended since is broken again.
    Allowed,
}

/// A release for this device: verified, chosen, not yet fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    pub(crate) release: Box<Release>,
    /// The exact bytes of the release document.
    pub(crate) document: Vec<u8>,
    pub(crate) price: Price,
    /// The patch that it is to be fetched by, or the bundle, if that is the cheapest way.
    pub(crate) patch: Option<Box<Offer>>,
    pub(crate) rejected: bool,
    pub(crate) chooser: Chooser,
    /// The release that this one has to come before.
    pub(crate) toward: Option<Box<ReleaseName>>,
}

impl Update {
    fn new(release: Release, document: Vec<u8>, chooser: Chooser, why: Option<&Why>) -> Self {
        let price = Price::at_most(&release);
        let toward = match why {
            Some(Why::SteppingStone { toward }) => Some(Box::new(toward.clone())),
            _ => None,
        };
        Self { release: Box::new(release), document, price, patch: None, rejected: false, chooser, toward }
    }

    /// Everything that its publisher says of it.
    pub fn release(&self) -> &Release {
        &self.release
    }

    /// Its version.
    pub fn version(&self) -> &Version {
        &self.release.version
    }

    /// What is new, in Markdown.
    pub fn notes(&self) -> &Notes {
        &self.release.notes
    }

    /// What it costs this device.
    pub fn price(&self) -> Price {
        self.price
    }

    /// Whether this device had it before and went back because it was never confirmed: a person may want it again, a
    /// program should wait for the next one.
    pub fn is_rejected(&self) -> bool {
        self.rejected
    }

    /// When it was made, if a clock that says `now` has not come to that day: then the clock is wrong, and what is fresh by
    /// it may be stale.
    pub fn clock_behind(&self, now: Timestamp) -> Option<Timestamp> {
        status::clock_behind(&self.release, now)
    }

    /// Who chose it.
    pub fn chooser(&self) -> Chooser {
        self.chooser
    }

    /// The release that this device is on its way to, if this one only has to come before it.
    pub fn toward(&self) -> Option<&ReleaseName> {
        self.toward.as_deref()
    }
}

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asker<'a> {
    pub(crate) channel: &'a ChannelName,
    pub(crate) platform: &'a Platform,
    pub(crate) version: Option<&'a Version>,
    /// The version that a person named.
    pub(crate) chosen: Option<&'a Version>,
}

/// Asks `place` what it has for `asker`.
pub(crate) fn check(place: Place<'_>, asker: Asker<'_>, kept: &mut Kept<'_>, now: Timestamp) -> Result<Verdict, Error> {
    let trusted = belief::refresh(place, kept, now)?;
    let channel = read_channel(&trusted, asker)?;
    let (pick, found) = find(&trusted, &channel, asker, place, kept, now)?;
    let Some((release, document)) = found else { return stay(asker, pick) };
    Ok(Verdict::Available(Update::new(release, document, Chooser::Channel, Some(&pick.why))))
}

/// A release, and the exact bytes that say so.
type Document = (Release, Vec<u8>);

/// What the channel has for `asker`, and the document of what there is to take.
fn find(
    trusted: &Trusted,
    channel: &Channel,
    asker: Asker<'_>,
    place: Place<'_>,
    kept: &mut Kept<'_>,
    now: Timestamp,
) -> Result<(Pick, Option<Document>), Error> {
    let mut listed = Listed::of(trusted);
    loop {
        let pick = listed.pick(channel, asker, now)?;
        let Some(name) = &pick.take else { return Ok((pick, None)) };
        let (release, document) = read_release(trusted, name, place, kept)?;
        // The document has the last word on its terms. Each turn but the last corrects those of one more release.
        if listed.live.get(name) == Some(&release.terms) {
            return Ok((pick, Some((release, document))));
        }
        listed.live.insert(name.clone(), release.terms);
    }
}

/// What a device is told that has nothing to take.
fn stay(asker: Asker<'_>, pick: Pick) -> Result<Verdict, Error> {
    let passed = pick.passed.first().cloned().map(Box::new);
    match (pick.why, asker.version) {
        (Why::Ahead { version, channel }, _) => Ok(Verdict::Ahead { version, channel, passed }),
        (Why::NotForPlatform { platform, platforms }, _) => Ok(Verdict::NotForPlatform { platform, platforms }),
        (_, Some(version)) => Ok(Verdict::Current { version: version.clone(), passed }),
        (why, None) => {
            let reason = Pick { why, ..pick }.to_string();
            Err(Error::Nothing { channel: asker.channel.clone(), reason: shortened(&reason) })
        }
    }
}

/// What a person chose for a device: any release that the publisher lists for its platform and its channel, wherever
/// channels point; an older one only when that was said.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Choice<'a> {
    pub(crate) version: &'a Version,
    pub(crate) downgrade: Downgrade,
}

/// Asks `place` for the release that a person chose for `asker`.
pub(crate) fn check_for(
    place: Place<'_>,
    asker: Asker<'_>,
    choice: Choice<'_>,
    kept: &mut Kept<'_>,
    now: Timestamp,
) -> Result<Verdict, Error> {
    let trusted = belief::refresh(place, kept, now)?;
    let name = find_live(&trusted, asker.platform, choice.version)?;
    match asker.version {
        Some(have) if *have == name.version => Ok(Verdict::Current { version: have.clone(), passed: None }),
        Some(have) if *have > name.version && choice.downgrade == Downgrade::Refused => {
            Err(Error::Older { name: Box::new(name), installed: have.clone() })
        }
        Some(have) if *have > name.version => {
            let (release, document) = read_release(&trusted, &name, place, kept)?;
            if !release.terms.allows_channel(asker.channel) {
                return Err(other_channel(&name, &release.terms, asker));
            }
            Ok(Verdict::Available(Update::new(release, document, Chooser::Person, None)))
        }
        _ => forward(&trusted, &name, asker, place, kept, now),
    }
}

/// Toward the newer release `name` that a person chose: stepping stones, and what it says of systems, hold for it, too.
fn forward(
    trusted: &Trusted,
    name: &ReleaseName,
    asker: Asker<'_>,
    place: Place<'_>,
    kept: &mut Kept<'_>,
    now: Timestamp,
) -> Result<Verdict, Error> {
    let asker = Asker { chosen: Some(&name.version), ..asker };
    let channel = match read_channel(trusted, asker) {
        Err(Error::NoChannel { .. }) => Channel::default(),
        channel => channel?,
    };
    let (pick, found) = find(trusted, &channel, asker, place, kept, now)?;
    if let Some((release, document)) = found {
        return Ok(Verdict::Available(Update::new(release, document, Chooser::Person, Some(&pick.why))));
    }
    match pick.passed.first() {
        Some(Passed { release, bar: Bar::NotAllowed }) => {
            let (found, _) = read_release(trusted, release, place, kept)?;
            Err(other_channel(release, &found.terms, asker))
        }
        Some(passed) => Err(Error::Barred(Box::new(passed.clone()))),
        None => stay(asker, pick),
    }
}

fn other_channel(name: &ReleaseName, terms: &Terms, asker: Asker<'_>) -> Error {
    let allowed = terms.channels.iter().flatten().take(CHANNELS_NAMED_MAX).map(ToString::to_string).collect();
    Error::OtherChannel { name: Box::new(name.clone()), allowed, channel: asker.channel.clone() }
}

/// The live release of this version for a device of this platform: its own before `any`, and of several spellings of one
/// version the one that was asked for.
fn find_live(trusted: &Trusted, platform: &Platform, version: &Version) -> Result<ReleaseName, Error> {
    let targets = trusted.targets(&Role::Targets).map(|targets| &targets.targets);
    let names = targets.into_iter().flat_map(|targets| targets.keys());
    let names = names.filter_map(|path| ReleaseName::from_target_path(path));
    let mut live: Vec<_> = names.filter(|name| name.platform == *platform || name.platform.is_any()).collect();
    live.sort_by(|a, b| b.version.cmp(&a.version).then(a.platform.is_any().cmp(&b.platform.is_any())));
    let fits = |name: &&ReleaseName| name.version == *version;
    let spelt = |name: &&ReleaseName| name.version.as_str() == version.as_str();
    match live.iter().find(spelt).or_else(|| live.iter().find(fits)) {
        Some(name) => Ok(name.clone()),
        None => Err(Error::NotLive { version: version.clone(), live }),
    }
}

/// Whether the publisher lists the release with this document.
pub(crate) fn lists(trusted: &Trusted, name: &ReleaseName, document: &[u8]) -> bool {
    let targets = trusted.targets(&Role::Targets).map(|targets| &targets.targets);
    targets.and_then(|targets| targets.get(&name.target_path())).is_some_and(|target| target.matches(document))
}

/// The releases that the publisher lists.
#[derive(Debug)]
pub(crate) struct Listed {
    /// Those that this program understands, with the terms that they are listed with.
    pub(crate) live: Live,
    /// Those whose terms it is too old to understand.
    unreadable: Vec<ReleaseName>,
}

impl Listed {
    pub(crate) fn of(trusted: &Trusted) -> Self {
        let targets = trusted.targets(&Role::Targets).map(|targets| &targets.targets);
        let mut listed = Self { live: Live::new(), unreadable: Vec::new() };
        for (path, target) in targets.into_iter().flatten() {
            let Some(name) = ReleaseName::from_target_path(path) else { continue };
            match Terms::from_custom(target.custom.as_ref()) {
                Ok(terms) => drop(listed.live.insert(name, terms)),
                Err(_) => listed.unreadable.push(name),
            }
        }
        listed
    }

    /// What `channel` has for `asker` among them.
    pub(crate) fn pick(&self, channel: &Channel, asker: Asker<'_>, now: Timestamp) -> Result<Pick, Error> {
        let device = Device {
            pinned: asker.chosen,
            unreadable: &self.unreadable,
            ..Device::new(asker.channel, asker.platform, asker.version)
        };
        let pick = channel::pick(channel, &self.live, &device, now);
        if asker.chosen.is_none() {
            refuse_stolen(asker, &pick.passed)?;
        }
        Ok(pick)
    }
}

/// The channel that `asker` follows.
pub(crate) fn read_channel(trusted: &Trusted, asker: Asker<'_>) -> Result<Channel, Error> {
    let targets = trusted.targets(&Role::channels()).map(|targets| &targets.targets);
    let path = Channel::target_path(asker.channel);
    let target = targets.and_then(|targets| targets.get(&path));
    let fail = |reason: String| Error::Channel { channel: asker.channel.clone(), reason: shortened(&reason) };
    // TUF 4.5: what a delegated role says of other targets than those that it was trusted with does not count.
    let delegations = trusted.targets(&Role::Targets).and_then(|targets| targets.delegations.as_ref());
    let delegated = delegations.and_then(|delegations| delegations.role(&Role::channels()));
    if target.is_some() && !delegated.is_some_and(|role| role.may_speak_of(&path)) {
        return Err(fail(format!("its publisher does not let the server speak of it{STOLEN}")));
    }
    let Some(custom) = target.and_then(|target| target.custom.clone()) else {
        let names = targets.into_iter().flat_map(|targets| targets.keys());
        let names = names.filter_map(|path| path.strip_prefix("channels/")?.parse::<ChannelName>().ok());
        let channels = names.take(CHANNELS_NAMED_MAX).map(String::from).collect();
        return Err(Error::NoChannel { channel: asker.channel.clone(), channels });
    };
    let document: Channel = serde_json::from_value(custom).map_err(|error| fail(error.to_string()))?;
    if document.format != 1 {
        return Err(fail(format!("format {} is newer than this program: update it", document.format)));
    }
    Ok(document)
}

/// A channel that points where its publisher never let it is not followed to anything else that it says.
fn refuse_stolen(asker: Asker<'_>, passed: &[Passed]) -> Result<(), Error> {
    for Passed { release, bar } in passed {
        let reason = match bar {
            Bar::Unlisted => format!("the channel points at it, but the publisher does not list it{STOLEN}"),
            Bar::NotAllowed => format!("its publisher does not allow it on channel {}{STOLEN}", asker.channel),
            _ => continue,
        };
        return Err(Error::Release { name: release.clone(), reason });
    }
    Ok(())
}

/// The document of the release `name`: what targets say of it is compared with every byte.
fn read_release(
    trusted: &Trusted,
    name: &ReleaseName,
    place: Place<'_>,
    kept: &mut Kept<'_>,
) -> Result<Document, Error> {
    let fail = |reason: &str| Error::Release { name: name.clone(), reason: shortened(reason) };
    let targets = trusted.targets(&Role::Targets).map(|targets| &targets.targets);
    let target = targets.and_then(|targets| targets.get(&name.target_path()));
    // Only the publisher says what exists.
    let target = target.ok_or_else(|| fail("its publisher does not list it"))?;
    let document = match kept.release(target) {
        Some(document) => document,
        None => {
            let sha256 = target.hashes.sha256.ok_or_else(|| fail("it is listed without a SHA-256"))?;
            if target.length > RELEASE_LEN_MAX {
                return Err(fail("its document is listed as longer than 1 MiB"));
            }
            let key = layout::release(place.app, name, sha256);
            let found = place.fetcher.get(&key, target.length).map_err(belief::Error::from)?;
            let incomplete = || belief::Error::Incomplete { at: place.at.to_owned(), what: key.to_string() };
            let document = found.ok_or_else(incomplete)?;
            if !target.matches(&document) {
                return Err(fail("its document is not the one that was signed (a forgery looks like this)"));
            }
            kept.keep_release(&document).map_err(belief::Error::from)?;
            document
        }
    };
    let release = Release::decode(&document, place.app, name).map_err(|error| fail(&error.to_string()))?;
    Ok((release, document))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strangers_text_is_cut() {
        assert_eq!(shortened("short"), "short");
        let cut = shortened(&"\u{fc}".repeat(10_000));
        assert_eq!(cut.chars().count(), REASON_LEN_MAX + 3);
    }

    #[test]
    fn savings_are_never_overstated() {
        let price = |fetch_bytes, full_bytes| Price { fetch_bytes, full_bytes, exact: true, route: Route::Blobs };
        assert_eq!(price(2_000_000, 28_000_000).saved_percent(), 92);
        assert_eq!(price(1, u64::MAX).saved_percent(), 99);
        assert_eq!((price(5, 4).saved_bytes(), price(5, 4).saved_percent()), (0, 0));
        assert_eq!((price(0, 0).saved_percent(), price(0, 9).saved_percent()), (100, 100));
    }
}
