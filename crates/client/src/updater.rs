//! The updater of one installed directory.
//!
//! It holds the rooms together and decides nothing itself: [`check`] says what is new, [`download`] makes a [`Staged`] of
//! it, [`install`] switches to it. Nothing runs in the background, nothing is printed, and one process at a time may hold
//! an [`Updater`] for a directory.
//!
//! `getting`: which way a release gets here, and the ways themselves.

mod getting;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use updraft_core::Timestamp;
use updraft_core::digest::Sha256;
use updraft_core::name::{ChannelName, Platform};
use updraft_core::path::RelPath;
use updraft_core::plan::{self, Offers};
use updraft_core::tree::{Tree, stored};
use updraft_core::version::Version;

use crate::belief::{self, Kept, Pin, Place};
use crate::check::{self, Asker, Choice, Chooser, Downgrade, Price, Update, Verdict};
use crate::download;
use crate::error::Error;
use crate::fetch::authority::{Authority, Vouching};
use crate::fetch::clock::Clock;
use crate::fetch::{self, Cancel, Fetcher, Transport};
use crate::fetched;
use crate::home::{self, Access, Home, Settings};
use crate::install::{self, Applied, Confirmation, Recovered, Start, Verified};
use crate::progress::{Phase, Progress};
use crate::record::{self, Record};
use crate::source::{self, Source};
use crate::staged::Staged;
use crate::status::{self, Status};

/// Threads of a download, unless told otherwise: enough to hide the way to the server and back, few enough to be polite.
const JOBS: usize = 4;

/// How an updater talks to its source.
#[derive(Debug, Clone)]
pub struct OpenOptions {
    /// Ask this source instead of the one that was installed from. It must be of the same app.
    pub from: Option<Source>,
    /// Files to fetch at the same time; with 1, everything happens on the calling thread.
    pub jobs: usize,
    /// Fetch at most this many bytes per second, all threads together.
    pub bytes_per_sec: Option<u64>,
    /// Who vouches for the server's certificate, now and, once a check went well with it, later; unless told, who did before.
    pub ca: Option<Vouching>,
    /// What this program calls itself in requests.
    pub user_agent: String,
    /// Stops what runs.
    pub cancel: Cancel,
    /// Fetch through this, whatever the source is.
    pub transport: Option<Arc<dyn Transport>>,
    /// Wait by this clock.
    pub clock: Option<Arc<dyn Clock>>,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            from: None,
            jobs: JOBS,
            bytes_per_sec: None,
            ca: None,
            user_agent: concat!("updraft/", env!("CARGO_PKG_VERSION")).to_owned(),
            cancel: Cancel::default(),
            transport: None,
            clock: None,
        }
    }
}

impl OpenOptions {
    fn fetcher(&self, source: &Source, known: Option<&Authority>) -> Fetcher {
        let (jobs, authority) = (self.jobs.max(1), self.ca.as_ref().map_or(known, Vouching::own));
        let transport = self.transport.clone().unwrap_or_else(|| source.transport(&self.user_agent, jobs, authority));
        let fetcher = Fetcher::new(transport, self.cancel.clone()).with_limit(self.bytes_per_sec);
        match &self.clock {
            Some(clock) => fetcher.with_clock(Arc::clone(clock)),
            None => fetcher,
        }
    }
}

/// What to install, and whom to trust.
#[derive(Debug, Clone)]
pub struct InstallOptions {
    /// Where the app comes from, now and later.
    pub source: Source,
    /// How the publisher's first root is known.
    pub pin: Pin,
    /// The channel to follow.
    pub channel: ChannelName,
    /// What this device is.
    pub platform: Platform,
    /// Take over what lies in the directory already.
    pub adopt: bool,
    /// Change the directory file by file even where it could be exchanged whole.
    pub in_place: bool,
    /// How to talk to the source this time; `from` has no meaning here.
    pub open: OpenOptions,
}

impl InstallOptions {
    /// The channel `stable` of the app at `source`, for the platform that this program was built for.
    pub fn new(source: Source, pin: Pin) -> Self {
        Self {
            source,
            pin,
            channel: ChannelName::stable(),
            platform: Platform::this(),
            adopt: false,
            in_place: false,
            open: OpenOptions::default(),
        }
    }
}

/// The updater of one installed directory.
#[derive(Debug)]
pub struct Updater {
    home: Home,
    source: String,
    fetcher: Fetcher,
    jobs: usize,
    adopt: bool,
    recovered: Recovered,
    /// Who is to be remembered as vouching for the server when it has shown to be the right one.
    new_ca: Option<Vouching>,
}

impl Updater {
    /// Prepares `dir` for its first release: the root is pinned, and nothing is laid into `dir` yet.
    ///
    /// # Errors
    /// When the source cannot be reached or shows another root than the pinned one, something is installed in `dir`
    /// already, or it holds files and is not to be adopted. An installation that lost its record, its settings or its
    /// root is none, if it is to be adopted. One that was interrupted after it took effect is finished: then
    /// [`Self::recovered`] says so, and a check may find nothing new.
    pub fn install(dir: &Path, options: InstallOptions) -> Result<Self, Error> {
        let InstallOptions { source, pin, channel, platform, adopt, in_place, open } = options;
        let (at, app) = (source.to_string(), source.app().clone());
        let fetcher = open.fetcher(&source, None);
        let root = belief::first_root(Place { app: &app, at: &at, fetcher: &fetcher }, &pin)?;
        let (device, sha256) = (random_name(), Sha256::of(&root));
        let settings = Settings {
            format: 1,
            app,
            source: at.clone(),
            channel,
            platform,
            root: Some(sha256),
            ca: open.ca.as_ref().and_then(Vouching::own).cloned(),
            device,
            in_place,
        };
        let mut home = Home::claim(dir, &settings)?;
        if adopt && matches!(home.record(), Err(home::Error::Record { source: record::Error::Damaged(_), .. })) {
            // Before anything needs it.
            home.set_aside()?;
        }
        // By the settings that it was begun with.
        let recovered = install::recover(&mut home)?;
        begin(&mut home, settings, &recovered, adopt)?;
        install::ready(&home, adopt)?;
        Kept::new(&home.trust()?, Some(sha256)).pin(&root).map_err(belief::Error::from)?;
        Ok(Self { home, source: at, fetcher, jobs: open.jobs.max(1), adopt, recovered, new_ca: None })
    }

    /// Opens what is installed in `dir`, to change it. An update that was interrupted is finished or taken back first.
    ///
    /// # Errors
    /// When nothing is installed there, another process changes it, or the source is of another app.
    pub fn open(dir: &Path, options: OpenOptions) -> Result<Self, Error> {
        let mut home = Home::open(dir, Access::Change)?;
        let recovered = install::recover(&mut home)?;
        let source = match &options.from {
            Some(source) => source.clone(),
            None => Source::from_settings(&home.settings().source)?,
        };
        let (found, expected) = (source.app().clone(), home.settings().app.clone());
        if found != expected {
            return Err(source::Error::OtherApp { at: source.to_string(), found, expected }.into());
        }
        let fetcher = options.fetcher(&source, home.settings().ca.as_ref());
        let jobs = options.jobs.max(1);
        let new_ca = options.ca.filter(|_| options.from.is_none());
        Ok(Self { home, source: source.to_string(), fetcher, jobs, adopt: false, recovered, new_ca })
    }

    /// What opening the directory found and did about an interrupted update.
    pub fn recovered(&self) -> &Recovered {
        &self.recovered
    }

    /// The installed directory and the updater's own folder.
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// Whether there is something new, and what it costs. Asks for at most a handful of small files, never for a list of files.
    ///
    /// # Errors
    /// When the source cannot be reached, is not believed, or has been silent for too long ([`Error::class`]).
    pub fn check(&mut self, now: Timestamp) -> Result<Verdict, Error> {
        self.check_with(now, check::check)
    }

    /// What it would be to install the release of this version that a person chose, wherever the channel points. The
    /// publisher has to list it, for this device's platform and channel. Installed, it is held: [`Status::held`].
    ///
    /// # Errors
    /// As [`Self::check`]; and when there is no such release for this device, or it is an older one and that is refused.
    pub fn check_for(&mut self, version: &Version, downgrade: Downgrade, now: Timestamp) -> Result<Verdict, Error> {
        let choice = Choice { version, downgrade };
        self.check_with(now, |place, asker, kept, now| check::check_for(place, asker, choice, kept, now))
    }

    fn check_with(
        &mut self,
        now: Timestamp,
        ask: impl FnOnce(Place<'_>, Asker<'_>, &mut Kept<'_>, Timestamp) -> Result<Verdict, check::Error>,
    ) -> Result<Verdict, Error> {
        let (trust, root) = (self.home.trust()?, self.home.settings().root);
        let record = self.home.record()?;
        let version = record.as_ref().map(|record| &record.release.version);
        let verdict = ask(self.place(), self.asker(version), &mut Kept::new(&trust, root), now)?;
        if let Some(ca) = self.new_ca.take() {
            self.home.set_settings(Settings { ca: ca.own().cloned(), ..self.home.settings().clone() })?;
        }
        let Verdict::Available(mut update) = verdict else {
            return Ok(verdict);
        };
        update.rejected = install::rejected(&self.home)?.contains(&update.release.name());
        self.price(&mut update, record.as_ref())?;
        Ok(Verdict::Available(update))
    }

    /// Fetches what `update` needs and is not here yet, and verifies it: by a patch where that is cheapest, and when the patch
    /// is no good, by the blobs that changed ([`Staged::fetched`]). What was fetched before an error, or before a
    /// cancellation, is not fetched again.
    ///
    /// # Errors
    /// When the source fails for good, sends something else than what was signed, or the disk is too small; and before
    /// anything is fetched, when the installed release still waits for [`Self::confirm`].
    pub fn download(&mut self, update: &Update, progress: &dyn Progress) -> Result<Staged, Error> {
        self.refuse_unconfirmed(update)?;
        self.fetch(update, progress)
    }

    /// Installing would refuse it as well, but only after everything was fetched.
    fn refuse_unconfirmed(&self, update: &Update) -> Result<(), Error> {
        let Some(record) = self.home.record()? else { return Ok(()) };
        let awaited = matches!(install::confirmation(&self.home)?, Confirmation::Awaited { .. });
        if awaited && record.document != update.document {
            return Err(install::Error::Unconfirmed { release: record.release.name() }.into());
        }
        Ok(())
    }

    /// Switches to what was downloaded; the release before is kept for [`Self::rollback`].
    ///
    /// Asks first, with one small request, whether the channel still offers it, or, of what a person chose, whether
    /// the publisher still lists it: a download may have taken days. When the source cannot be reached, what was
    /// believed last decides, while it is fresh.
    ///
    /// # Errors
    /// [`Error::Superseded`] when it is not offered any more; otherwise when it cannot be installed, and
    /// then what was installed still is.
    pub fn apply(&mut self, staged: Staged, options: &install::Options, now: Timestamp) -> Result<Applied, Error> {
        self.recheck(&staged, now)?;
        let options = install::Options { adopt: options.adopt || self.adopt, ..options.clone() };
        let (release, fetched) = (staged.release.name(), staged.fetched());
        let applied = install::apply(&mut self.home, staged, &options)?;
        fetched::keep(self.home.folder(), release, fetched);
        // The update is over. What cannot be cleared now is cleared by the next one.
        let _ = self.home.downloads().map(|downloads| download::clear(&downloads));
        Ok(applied)
    }

    fn recheck(&self, staged: &Staged, now: Timestamp) -> Result<(), Error> {
        let (trust, root) = (self.home.trust()?, self.home.settings().root);
        let mut kept = Kept::new(&trust, root);
        let trusted = match belief::refresh(self.place(), &mut kept, now) {
            Err(error @ belief::Error::Fetch(fetch::Error::Unreachable { .. } | fetch::Error::Status { .. })) => {
                belief::recall(&mut kept, now)?.ok_or(error)?
            }
            refreshed => refreshed?,
        };
        let record = self.home.record()?;
        let version = record.as_ref().map(|record| &record.release.version);
        let name = staged.release.name();
        let offered = match staged.chooser {
            Chooser::Channel => {
                let asker = self.asker(version);
                let mut listed = check::Listed::of(&trusted);
                listed.live.insert(name.clone(), staged.release.terms.clone());
                listed.pick(&check::read_channel(&trusted, asker)?, asker, now)?.take.as_ref() == Some(&name)
            }
            Chooser::Person => true,
        };
        if offered && check::lists(&trusted, &name, &staged.document) {
            return Ok(());
        }
        Err(Error::Superseded { staged: Box::new(name) })
    }

    /// The installed release is good: it is not rolled back at the next start.
    ///
    /// # Errors
    /// When the updater's own folder cannot be written.
    pub fn confirm(&mut self) -> Result<(), Error> {
        Ok(install::confirm(&mut self.home)?)
    }

    /// Holds the installed release: whoever heeds [`Status::held`] takes nothing else by itself.
    ///
    /// # Errors
    /// When the updater's own folder cannot be written.
    pub fn hold(&mut self) -> Result<(), Error> {
        Ok(install::set_held(&mut self.home, true)?)
    }

    /// Follows the channel again, after [`Self::hold`] or a release that a person chose.
    ///
    /// # Errors
    /// When the updater's own folder cannot be written.
    pub fn follow(&mut self) -> Result<(), Error> {
        Ok(install::set_held(&mut self.home, false)?)
    }

    /// Goes back to the release before.
    ///
    /// # Errors
    /// When there is none, or it cannot be switched to.
    pub fn rollback(&mut self, options: &install::Options) -> Result<Applied, Error> {
        Ok(install::rollback(&mut self.home, options)?)
    }

    /// Goes back to the release before, and remembers that the installed one is not to be taken again by itself
    /// ([`Update::is_rejected`]).
    ///
    /// # Errors
    /// As [`Self::rollback`].
    pub fn reject(&mut self) -> Result<Applied, Error> {
        Ok(install::reject(&mut self.home)?)
    }

    /// Reads every installed file again and compares it with what the publisher signed.
    ///
    /// # Errors
    /// When nothing is installed yet, or something cannot be read.
    pub fn verify(&self, progress: &dyn Progress) -> Result<Verified, Error> {
        progress.phase(Phase::Verifying);
        Ok(install::verify_watched(&self.home, progress)?)
    }

    /// Fetches again what is not as the publisher signed it, and puts it back. What had been edited goes to a backup.
    ///
    /// # Errors
    /// When nothing is installed yet, the source no longer has the release, or something cannot be written.
    pub fn repair(&mut self, progress: &dyn Progress) -> Result<Applied, Error> {
        let found = self.verify(progress)?;
        let record = self.home.record()?.ok_or(Error::NothingInstalled)?;
        let (tree, hint) = stored::unpack(&record.packed_tree, record.release.tree.digest, record.release.tree.length)
            .map_err(|source| download::Error::Tree { digest: record.release.tree.digest, source })?;
        let offers = Offers { blobs: hint, ..Offers::default() };
        let plan = plan::plan(&sound_part(&tree, &found), &tree, &offers);
        let price = Price::of(&plan, 0);
        progress.planned(&price);
        progress.phase(Phase::Fetching);
        download::blobs(self.place(), &plan, &self.home.downloads()?, self.jobs, progress)?;
        let Record { release, document, packed_tree, .. } = record;
        let chooser = Chooser::Channel;
        let staged = Staged { release, document, tree, packed_tree, plan, price, fell_back: None, chooser };
        progress.phase(Phase::Installing);
        Ok(install::repair(&mut self.home, staged)?)
    }

    /// The app is about to be started: begins the trial of a release that waits for [`Self::confirm`], or goes back to
    /// the one before when the last trial was never confirmed.
    ///
    /// # Errors
    /// When the updater's own folder cannot be written, or the release before cannot be switched to.
    pub fn begin_start(&mut self) -> Result<Start, Error> {
        Ok(install::begin_start(&mut self.home)?)
    }

    /// What is installed, from where, and how it stands.
    ///
    /// # Errors
    /// When the updater's own folder cannot be read.
    pub fn status(&self, now: Timestamp) -> Result<Status, Error> {
        status::status_of(&self.home, now)
    }

    /// Whether the publisher still lists the installed release ([`Status::live`]), by what is believed already: after a
    /// check, by what that found.
    ///
    /// # Errors
    /// When the updater's own folder cannot be read.
    pub fn is_live(&self, now: Timestamp) -> Result<Option<bool>, Error> {
        status::is_live(&self.home, now)
    }

    /// When the installed release was made, if a clock that says `now` has not come to that day: then the clock is wrong,
    /// and what is fresh by it may be stale.
    ///
    /// # Errors
    /// When the record of what is installed cannot be read.
    pub fn clock_behind(&self, now: Timestamp) -> Result<Option<Timestamp>, Error> {
        let record = self.home.record()?;
        Ok(record.and_then(|record| status::clock_behind(&record.release, now)))
    }

    fn place(&self) -> Place<'_> {
        Place { app: &self.home.settings().app, at: &self.source, fetcher: &self.fetcher }
    }

    fn asker<'a>(&'a self, version: Option<&'a Version>) -> Asker<'a> {
        let settings = self.home.settings();
        Asker { channel: &settings.channel, platform: &settings.platform, version, chosen: None }
    }
}

/// Makes `home` one that follows `settings`, unless something sound is installed there.
fn begin(home: &mut Home, mut settings: Settings, recovered: &Recovered, adopt: bool) -> Result<(), Error> {
    if let Some(record) = home.record()? {
        let app = record.release.app;
        let lost = if !home.has_settings()? {
            Some("settings.json")
        } else if !Kept::new(&home.trust()?, home.settings().root).has_root() {
            Some("trust")
        } else {
            None
        };
        match lost {
            // The very install that is asked for, which a crash kept from saying so.
            None if matches!(recovered, Recovered::Forward(_)) && app == settings.app => {
                settings.device.clone_from(&home.settings().device);
            }
            None => return Err(home::Error::Installed { dir: home.dir().to_owned(), app }.into()),
            Some(_) if adopt => home.set_aside()?,
            Some(name) => {
                let reason = format!("it is lost, and {app} is installed there: install again with --adopt");
                return Err(home::Error::Damaged { file: home.file(name), reason }.into());
            }
        }
    }
    Ok(home.set_settings(settings)?)
}

/// What of `tree` was found as it should be.
fn sound_part(tree: &Tree, found: &Verified) -> Tree {
    let damaged: BTreeSet<&Path> = found.edited.iter().chain(&found.missing).map(PathBuf::as_path).collect();
    let sound = |path: &RelPath| Path::new(path.as_str()).ancestors().all(|at| !damaged.contains(at));
    let entries = tree.iter().filter(|(path, _)| sound(path)).map(|(path, kind)| (path.clone(), kind.clone()));
    Tree::new(entries.collect()).expect("a tree without some of its branches is a tree")
}

/// A name for this installation: 128 random bits, tied to nothing.
fn random_name() -> String {
    let mut bytes = [0; 16];
    // Without a random source the name stays empty of meaning; it only tells installations apart in statistics.
    let _ = getrandom::fill(&mut bytes);
    hex::encode(bytes)
}
