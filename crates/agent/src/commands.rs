//! The verbs of the agent, one function each: ask the client library, tell the person.

use std::path::Path;

use anyhow::Context;
use jiff::Timestamp;
use serde_json::json;
use updraft_client::Error;
use updraft_client::belief::{self, Pin};
use updraft_client::check::{Chooser, Downgrade, Update, Verdict};
use updraft_client::fetch::authority::{AUTHORITY_LEN_MAX, Authority, Vouching};
use updraft_client::fetched::Fetched;
use updraft_client::install::{self, Applied, Confirm, Options, Recovered};
use updraft_client::source::Source;
use updraft_client::updater::{InstallOptions, OpenOptions, Updater};
use updraft_core::version::Version;

use crate::args;
use crate::say;
use crate::ui::{Exit, say, say_json, warn};

/// How often an update begins anew because the channel moved on meanwhile.
const TRIES_MAX: u32 = 3;

/// Largest file that is read as a root, in bytes; what is in it is checked by the library.
const ROOT_FILE_LEN_MAX: u64 = 512_000;

pub(crate) fn install(args: args::Install) -> anyhow::Result<Exit> {
    let source = match (args.url, &args.from) {
        (Some(url), _) => url,
        (None, Some(folder)) => from_folder(folder)?,
        (None, None) => anyhow::bail!("name the app with --url, or a folder that holds it with --from"),
    };
    let mut options = InstallOptions::new(source, pin(&args.pin)?);
    options.channel = args.channel;
    options.platform = args.platform.unwrap_or(options.platform);
    options.adopt = args.adopt;
    options.in_place = args.in_place;
    options.open = open_options(None, Some(&args.fetching))?;
    options.open.ca = authority(args.ca.as_deref())?;
    let installed = Updater::install(&args.dir, options);
    // The library was given bytes and knows no name for them.
    let mut updater = match (installed, &args.pin.root) {
        (Err(error @ Error::Belief(belief::Error::NotARoot { .. })), Some(path)) => {
            return Err(anyhow::Error::from(error).context(path.display().to_string()));
        }
        (installed, _) => installed?,
    };
    tell_recovered(&updater);
    let now = Timestamp::now();
    let verdict = updater.check(now)?;
    tell_clock(&updater, &verdict, now)?;
    let update = match verdict {
        Verdict::Available(update) => update,
        // The same install was interrupted after it took effect, and opening it has finished it.
        Verdict::Current { .. } | Verdict::Ahead { .. } => {
            say::verdict(&verdict, Chooser::Channel, args.json)?;
            return Ok(Exit::Done);
        }
        Verdict::NotForPlatform { .. } => {
            say::verdict(&verdict, Chooser::Channel, args.json)?;
            anyhow::bail!("there is nothing to install");
        }
    };
    let (applied, fetched) = take(&mut updater, &update, &Options { adopt: args.adopt, ..Options::default() })?;
    say::taken("installed", &applied, &fetched, args.json)?;
    if !args.json {
        say(format_args!("into {}", args.dir.display()));
    }
    Ok(Exit::Done)
}

/// The library's own error, which has a class and so an exit code: a stick that is pulled out is unreachable.
fn from_folder(folder: &Path) -> Result<Source, updraft_client::Error> {
    Ok(Source::folder(folder)?)
}

fn pin(args: &args::Pin) -> anyhow::Result<Pin> {
    if let Some(path) = &args.root {
        return Ok(Pin::RootFile(read_bounded(path, ROOT_FILE_LEN_MAX)?));
    }
    Ok(args.root_sha256.map_or(Pin::FirstUse, Pin::Sha256))
}

/// The certificate authority in a file that a person named, or the public ones. (A file of that name is `./public`.)
///
/// # Errors
/// When the file cannot be read, or has something else in it.
pub fn authority(path: Option<&Path>) -> anyhow::Result<Option<Vouching>> {
    let Some(path) = path else { return Ok(None) };
    if path == Path::new("public") {
        return Ok(Some(Vouching::Public));
    }
    let parsed = Authority::parse(&read_bounded(path, AUTHORITY_LEN_MAX)?);
    Ok(Some(Vouching::Own(parsed.with_context(|| path.display().to_string())?)))
}

fn read_bounded(path: &Path, max: u64) -> anyhow::Result<Vec<u8>> {
    use std::io::Read;
    let cannot = || format!("cannot read {}", path.display());
    let file = std::fs::File::open(path).with_context(cannot)?;
    let mut bytes = Vec::new();
    file.take(max + 1).read_to_end(&mut bytes).with_context(cannot)?;
    anyhow::ensure!(bytes.len() as u64 <= max, "{} has more than the {max} bytes that it may have", path.display());
    Ok(bytes)
}

/// How to open an installed directory: asking `from` where that is given, fetching as the arguments say.
pub(crate) fn open_options(from: Option<&Path>, fetching: Option<&args::Fetching>) -> anyhow::Result<OpenOptions> {
    let mut options = OpenOptions { from: from.map(from_folder).transpose()?, ..OpenOptions::default() };
    if let Some(fetching) = fetching {
        options.jobs = usize::from(fetching.jobs);
        options.bytes_per_sec = fetching.limit_rate;
    }
    Ok(options)
}

/// Opens an installed directory and says what became of an update that was interrupted.
pub(crate) fn open(dir: &Path, options: OpenOptions) -> anyhow::Result<Updater> {
    let updater = Updater::open(dir, options)?;
    tell_recovered(&updater);
    Ok(updater)
}

fn tell_recovered(updater: &Updater) {
    match updater.recovered() {
        Recovered::Nothing => {}
        Recovered::Back => warn("an update was interrupted before it took effect; the release before is untouched"),
        Recovered::Forward(applied) => {
            warn(format_args!("an update was interrupted after it took effect; {} is complete now", applied.to));
        }
    }
}

/// Downloads and applies, with a progress bar; tells what was fetched.
pub(crate) fn take(updater: &mut Updater, update: &Update, options: &Options) -> anyhow::Result<(Applied, Fetched)> {
    take_watched(updater, update, options, &say::Watcher::new())
}

fn take_watched(
    updater: &mut Updater,
    update: &Update,
    options: &Options,
    watcher: &say::Watcher,
) -> anyhow::Result<(Applied, Fetched)> {
    let staged = updater.download(update, watcher)?;
    let fetched = staged.fetched();
    watcher.installing();
    let applied = updater.apply(staged, options, Timestamp::now())?;
    watcher.finish();
    Ok((applied, fetched))
}

pub(crate) fn check(args: &args::Check) -> anyhow::Result<Exit> {
    let ca = authority(args.ca.as_deref())?;
    let mut updater = open(&args.dir, OpenOptions { ca, ..open_options(args.from.as_deref(), None)? })?;
    let now = Timestamp::now();
    let verdict = match &args.to {
        Some(version) => updater.check_for(version, Downgrade::Allowed, now)?,
        None => updater.check(now)?,
    };
    tell_clock(&updater, &verdict, now)?;
    if is_held(&updater)? && updater.is_live(now)? == Some(false) {
        warn(NOT_LIVE);
    }
    say::verdict(&verdict, chooser(args.to.as_ref()), args.json)?;
    if matches!(verdict, Verdict::Available(_)) && args.to.is_none() && !args.json && is_held(&updater)? {
        say(format_args!("\n{}", held_text(damage(&updater)?.as_deref())));
    }
    Ok(if matches!(verdict, Verdict::Available(_)) { Exit::Available } else { Exit::Done })
}

pub(crate) fn update(args: &args::Update) -> anyhow::Result<Exit> {
    let ca = authority(args.ca.as_deref())?;
    let options = OpenOptions { ca, ..open_options(args.from.as_deref(), Some(&args.fetching))? };
    let mut updater = open(&args.dir, options)?;
    let (was_held, mut tries) = (is_held(&updater)?, 1);
    let (applied, fetched) = loop {
        let now = Timestamp::now();
        let downgrade = if args.allow_downgrade { Downgrade::Allowed } else { Downgrade::Refused };
        let verdict = match &args.to {
            Some(version) => updater.check_for(version, downgrade, now)?,
            None => updater.check(now)?,
        };
        tell_clock(&updater, &verdict, now)?;
        let Verdict::Available(update) = &verdict else {
            say::verdict(&verdict, chooser(args.to.as_ref()), args.json)?;
            if args.to.is_some() {
                updater.hold()?
            } else {
                updater.follow()?
            }
            let held = match &verdict {
                Verdict::Current { version, .. } if args.to.is_some() => Some(version),
                _ => None,
            };
            tell_choice(was_held, held, args);
            return Ok(Exit::Done);
        };
        let confirm = if args.await_confirm { Confirm::Await { since: now } } else { Confirm::Now };
        let options = Options { keep_edited: args.keep_edited, confirm, ..Options::default() };
        let watcher = match &args.to {
            Some(_) if !args.json => say::Watcher::of_chosen(update.version()),
            _ => say::Watcher::new(),
        };
        match take_watched(&mut updater, update, &options, &watcher) {
            Err(error) if tries < TRIES_MAX && is_superseded(&error) => tries += 1,
            taken => break taken?,
        }
    };
    let is_older = applied.from.as_ref().is_some_and(|from| from.version > applied.to.version);
    say::taken(if is_older { "went back to" } else { "updated to" }, &applied, &fetched, args.json)?;
    if args.await_confirm && !args.json {
        say("it waits for `confirm`; without that, the start after the next one goes back");
    }
    tell_choice(was_held, args.to.is_some().then_some(&applied.to.version), args);
    Ok(Exit::Done)
}

/// Said of a release that is held and was taken back, or that its publisher let go.
pub(crate) const NOT_LIVE: &str =
    "what is held is no longer live: its publisher does not list it any more; `update` follows the channel again";

/// Said of a release that is held, wherever somebody could wonder; `damage` is what is wrong with `state.json`.
pub(crate) fn held_text(damage: Option<&str>) -> String {
    let why = match damage {
        None => "it was chosen with --to".to_owned(),
        Some(reason) => format!("it may have been chosen with --to, for state.json cannot be read ({reason})"),
    };
    format!("{why}: `watch` stays on it, and `update` follows the channel again")
}

pub(crate) fn damage(updater: &Updater) -> Result<Option<String>, Error> {
    Ok(install::damage(updater.home())?)
}

pub(crate) fn is_held(updater: &Updater) -> Result<bool, Error> {
    Ok(install::held(updater.home())?)
}

/// Who chooses the release, where `--to` names one or not.
fn chooser(to: Option<&Version>) -> Chooser {
    to.map_or(Chooser::Channel, |_| Chooser::Person)
}

fn tell_choice(was_held: bool, held: Option<&Version>, args: &args::Update) {
    if args.json {
        return;
    }
    match held {
        Some(version) => say(format_args!("{version} is held: `watch` stays on it until `update` is run without --to")),
        None if was_held => say("the channel is followed again"),
        None => {}
    }
}

/// A clock that is behind does not keep anything from being verified, but who looks after the device has to know.
pub(crate) fn tell_clock(updater: &Updater, verdict: &Verdict, now: Timestamp) -> Result<(), Error> {
    let of_update = match verdict {
        Verdict::Available(update) => update.clock_behind(now),
        _ => None,
    };
    if let Some(made) = of_update.max(updater.clock_behind(now)?) {
        warn(say::clock(made, now));
    }
    Ok(())
}

/// Whether the channel moved on while a release was being downloaded: what both have in common is here already.
fn is_superseded(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(updraft_client::Error::Superseded { .. }))
}

pub(crate) fn rollback(args: &args::Dir) -> anyhow::Result<Exit> {
    let mut updater = open(&args.dir, OpenOptions::default())?;
    let was_held = is_held(&updater)?;
    // A person who goes back has a reason: `watch` must not undo it within the hour.
    let applied = updater.reject()?;
    say::applied("rolled back to", &applied, false)?;
    match (was_held, is_held(&updater)?) {
        (_, true) => say(held_text(damage(&updater)?.as_deref())),
        (true, false) => say("the channel is followed again"),
        (false, false) => {}
    }
    Ok(Exit::Done)
}

pub(crate) fn confirm(args: &args::Dir) -> anyhow::Result<Exit> {
    let mut updater = open(&args.dir, OpenOptions::default())?;
    updater.confirm()?;
    // It is done: trouble with the name of what was confirmed must not make a failure of it.
    match updater.home().record() {
        Ok(Some(record)) => say(format_args!("{} is confirmed", record.release.version)),
        Ok(None) => say("nothing is confirmed"),
        Err(_) => say("the installed release is confirmed"),
    }
    Ok(Exit::Done)
}

pub(crate) fn status(args: &args::Read) -> anyhow::Result<Exit> {
    let now = Timestamp::now();
    let status = updraft_client::status(&args.dir, now)?;
    if args.json {
        say_json(&status)?;
    } else {
        say::status(&args.dir, &status, now);
    }
    Ok(Exit::Done)
}

pub(crate) fn verify(args: &args::Verify) -> anyhow::Result<Exit> {
    let mut updater = open(&args.dir, OpenOptions::default())?;
    let watcher = say::Watcher::new();
    let found = updater.verify(&watcher)?;
    watcher.finish();
    let sound = found.is_sound();
    if sound || !args.repair {
        say::verified(&found, args.json)?;
        return Ok(if sound { Exit::Done } else { Exit::Verification });
    }
    let watcher = say::Watcher::new();
    let repaired = updater.repair(&watcher)?;
    watcher.finish();
    if args.json {
        say_json(&json!({"damaged": found, "repaired": repaired}))?;
    } else {
        say::verified(&found, false)?;
        say::applied("repaired", &repaired, false)?;
    }
    Ok(Exit::Done)
}
