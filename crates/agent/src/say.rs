//! What the agent says, for people and as JSON.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use indicatif::ProgressBar;
use jiff::Timestamp;
use serde_json::{Value, json};
use updraft_client::check::{Chooser, Price, Verdict};
use updraft_client::fetched::{FellBack, Fetched};
use updraft_client::install::{Applied, Confirmation, Way};
use updraft_client::progress::{Phase, Progress};
use updraft_client::status::Status;

use updraft_core::channel::Passed;
use updraft_core::plan::Route;
use updraft_core::version::Version;

use crate::commands::{NOT_LIVE, held_text};
use crate::ui::{bar, count, printable, saving, say, say_json, size, warn};

/// The most paths that are named in one list; more are counted.
const NAMED_MAX: usize = 20;

/// Draws a bar on a terminal, and says what a download costs before it begins.
pub(crate) struct Watcher {
    bar: ProgressBar,
    planned: AtomicBool,
    chosen: Option<Version>,
}

impl Watcher {
    pub(crate) fn new() -> Self {
        Self { bar: bar(), planned: AtomicBool::new(false), chosen: None }
    }

    /// Of this release, which a person chose, the price is said on standard output, too.
    pub(crate) fn of_chosen(version: &Version) -> Self {
        Self { chosen: Some(version.clone()), ..Self::new() }
    }

    pub(crate) fn installing(&self) {
        self.phase(Phase::Installing);
    }

    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl Progress for Watcher {
    fn phase(&self, phase: Phase) {
        self.bar.set_message(match phase {
            Phase::Planning => "planning",
            Phase::Fetching => "fetching",
            Phase::Patching => "patching",
            Phase::Verifying => "verifying",
            Phase::Installing => "installing",
        });
    }

    fn planned(&self, price: &Price) {
        if self.planned.swap(true, Ordering::Relaxed) {
            return;
        }
        match &self.chosen {
            Some(version) => self.bar.suspend(|| say(offer_text(version, Chooser::Person, price))),
            None => self.bar.println(format!("fetching {}", price_text(price))),
        }
    }

    fn fell_back(&self, why: &FellBack) {
        self.bar.suspend(|| warn(format_args!("{}; fetching whole files instead", fell_back_text(why))));
        self.planned.store(false, Ordering::Relaxed);
    }

    fn bytes(&self, done: u64, total: u64) {
        self.bar.set_length(total.max(done));
        self.bar.set_position(done);
    }
}

fn price_text(price: &Price) -> String {
    let most = if price.exact { "" } else { "at most " };
    format!("{most}{}", by_text(price.route, price.fetch_bytes, price.full_bytes))
}

/// What travels, beside what a full download would take, and what it is where that is not whole files.
fn by_text(by: Route, bytes: u64, full_bytes: u64) -> String {
    let what = match by {
        Route::Patch => "a patch of ",
        Route::Bundle => "a bundle of ",
        Route::Blobs | Route::Full => "",
    };
    format!("{what}{}", saving(bytes, full_bytes))
}

/// Which way was left, and why.
fn fell_back_text(why: &FellBack) -> String {
    let what = match why.from {
        Route::Patch => "the patch was not used",
        Route::Bundle => "the bundle was not used",
        Route::Blobs | Route::Full => "whole files were not used",
    };
    format!("{what}: {}", printable(&why.reason))
}

/// Which release there is, and what it costs.
fn offer_text(version: &Version, chooser: Chooser, price: &Price) -> String {
    let how = match chooser {
        Chooser::Channel => "available",
        Chooser::Person => "live",
    };
    format!("{version} is {how}: {} to fetch", price_text(price))
}

/// A clock that has not come to the day on which a release was made.
pub(crate) fn clock(made: Timestamp, now: Timestamp) -> String {
    format!(
        "this device's clock says {now:.0}, and a release that it has was made at {made:.0}: the clock is behind; set it, for by \
         such a clock stale metadata passes for fresh"
    )
}

/// What a check found, of what the channel has or of what a person chose.
pub(crate) fn verdict(verdict: &Verdict, chooser: Chooser, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        return say_json(&verdict_json(verdict));
    }
    match verdict {
        Verdict::Available(update) => {
            say(offer_text(update.version(), update.chooser(), &update.price()));
            if let Some(toward) = update.toward() {
                say(format_args!("it has to come before {toward}; `update` again takes that"));
            }
            let language = std::env::var("LC_ALL").or_else(|_| std::env::var("LANG")).unwrap_or_default();
            let notes = update.notes().for_locales(language.split('.').next());
            if !notes.is_empty() {
                say(format_args!("\n{}", printable(notes).trim_end()));
            }
        }
        Verdict::Current { version, passed } => match chooser {
            Chooser::Channel => say(format_args!("{version} is the newest{}", passed_text(passed.as_deref()))),
            // Under its own spelling: 1.0.0+a is installed when 1.0.0+b is asked for.
            Chooser::Person => say(format_args!("{version} is installed already")),
        },
        Verdict::Ahead { version, channel, passed } => {
            let passed =
                passed.as_ref().map_or(String::new(), |passed| format!("; {}", printable(&passed.to_string())));
            say(format_args!("{version} is newer than {channel}, which the channel has; it stays{passed}"));
        }
        Verdict::NotForPlatform { platform, platforms } => {
            let there: Vec<_> = platforms.iter().take(NAMED_MAX).map(|platform| platform.as_str()).collect();
            let there = if there.is_empty() { "nothing".to_owned() } else { there.join(", ") };
            say(format_args!("the channel has nothing for {platform}; it has {there}"));
        }
    }
    Ok(())
}

/// What there is beside, and why it is not for this device.
fn passed_text(passed: Option<&Passed>) -> String {
    passed.map_or(String::new(), |passed| format!(" for this device; {}", printable(&passed.to_string())))
}

fn verdict_json(verdict: &Verdict) -> Value {
    match verdict {
        Verdict::Available(update) => {
            let price = update.price();
            json!({
                "verdict": "available",
                "version": update.version(),
                "platform": update.release().platform,
                "date": update.release().date,
                "notes": update.notes(),
                "fetch_bytes": price.fetch_bytes,
                "full_bytes": price.full_bytes,
                "exact": price.exact,
                "by": price.route,
                "saved_bytes": price.saved_bytes(),
                "saved_percent": price.saved_percent(),
                "rejected": update.is_rejected(),
                "toward": update.toward(),
            })
        }
        Verdict::Current { version, passed } => json!({"verdict": "current", "version": version, "passed": passed}),
        Verdict::Ahead { version, channel, passed } => {
            json!({"verdict": "ahead", "version": version, "channel": channel, "passed": passed})
        }
        Verdict::NotForPlatform { platform, platforms } => {
            json!({"verdict": "not_for_platform", "platform": platform, "platforms": platforms})
        }
    }
}

/// What a release that was taken did, and what of it travelled.
pub(crate) fn taken(verb: &str, applied: &Applied, fetched: &Fetched, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        let mut told = serde_json::to_value(applied)?;
        told["fetched"] = fetched_json(fetched);
        return say_json(&told);
    }
    self::applied(verb, applied, false)?;
    say(format_args!("fetched {}", by_text(fetched.by, fetched.fetch_bytes, fetched.full_bytes)));
    Ok(())
}

fn fetched_json(fetched: &Fetched) -> Value {
    json!({
        "by": fetched.by,
        "fetch_bytes": fetched.fetch_bytes,
        "full_bytes": fetched.full_bytes,
        "saved_bytes": fetched.saved_bytes(),
        "saved_percent": fetched.saved_percent(),
        "fell_back": fetched.fell_back,
    })
}

/// What a switch did, and what it found that people had changed.
pub(crate) fn applied(verb: &str, applied: &Applied, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        return say_json(applied);
    }
    let from =
        applied.from.as_ref().filter(|from| **from != applied.to).map_or(String::new(), |f| format!(" (was {f})"));
    say(format_args!("{verb} {}{from}", applied.to));
    let backup =
        applied.backup.as_ref().map_or(String::new(), |path| format!("; the edited ones are in {}", path.display()));
    list(&format!("edited here and replaced{backup}"), &applied.edited);
    list("edited here and left as they are", &applied.kept);
    let displaced = applied.backup.as_ref().map_or(String::new(), |path| format!("; they are in {}", path.display()));
    list(&format!("in the way of the release and moved aside{displaced}"), &applied.displaced);
    list("damaged in the previous release's slot; `verify --repair` fetches them again", &applied.damaged);
    Ok(())
}

fn list(title: &str, paths: &[PathBuf]) {
    if paths.is_empty() {
        return;
    }
    say(format_args!("{title}:"));
    for path in paths.iter().take(NAMED_MAX) {
        say(format_args!("  {}", printable(&path.display().to_string())));
    }
    if paths.len() > NAMED_MAX {
        say(format_args!("  and {} more", paths.len() - NAMED_MAX));
    }
}

/// What is installed, from where, and how it stands.
pub(crate) fn status(dir: &Path, status: &Status, now: Timestamp) {
    let version = status.version.as_ref().map_or_else(|| "nothing yet".to_owned(), ToString::to_string);
    say(format_args!("{:10} {} {version}", "installed", status.app));
    say(format_args!("{:10} {}", "into", dir.display()));
    if let Some(fetched) = &status.fetched {
        let text = by_text(fetched.by, fetched.fetch_bytes, fetched.full_bytes);
        let why = fetched.fell_back.as_ref().map_or(String::new(), |why| format!(" ({})", fell_back_text(why)));
        say(format_args!("{:10} {text}{why}", "fetched"));
    }
    say(format_args!("{:10} {} on channel {}, as {}", "from", status.source, status.channel, status.platform));
    let way = match &status.way {
        Way::Exchange => "the whole directory in one exchange".to_owned(),
        Way::Journal(reason) => format!("file by file: {reason}"),
    };
    say(format_args!("{:10} {way}", "switches"));
    let previous = status.previous.as_ref().map_or_else(|| "nothing".to_owned(), ToString::to_string);
    say(format_args!("{:10} {previous}", "back to"));
    if let Some(Confirmation::Awaited { since, starts }) = &status.confirmation {
        let starts = count(u64::from(*starts), "time");
        say(format_args!("{:10} unconfirmed since {since}, started {starts}", "health"));
    }
    if !status.rejected.is_empty() {
        let names: Vec<_> = status.rejected.iter().map(ToString::to_string).collect();
        let rest = "rolled back from; `update` takes what the channel has all the same";
        say(format_args!("{:10} {}: {rest}", "avoids", names.join(", ")));
    }
    if status.held {
        say(format_args!("{:10} {}", "held", held_text(status.damage.as_deref())));
    }
    if status.held && status.live == Some(false) {
        say(format_args!("{:10} {NOT_LIVE}", "beware"));
    }
    if let Some(passed) = &status.passed {
        say(format_args!("{:10} {}", "newer", printable(&passed.to_string())));
    }
    if let Some(made) = status.clock_behind {
        say(format_args!("{:10} {}", "clock", clock(made, now)));
    }
    match (&status.stale_since, &status.fresh_until) {
        (Some(since), _) => say(format_args!(
            "{:10} stale since {since}, and this device's clock says {now:.0}: what is installed keeps running",
            "metadata"
        )),
        (None, Some(until)) => say(format_args!("{:10} fresh until {until}", "metadata")),
        (None, None) => say(format_args!("{:10} never had", "metadata")),
    }
}

/// What reading every file again found.
pub(crate) fn verified(found: &updraft_client::install::Verified, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        return say_json(found);
    }
    if found.is_sound() {
        let how = if found.files == 1 { "as its publisher signed it" } else { "all as their publisher signed them" };
        say(format_args!("{}, {}: {how}", count(found.files, "file"), size(found.bytes)));
    } else {
        list("not as their publisher signed them", &found.edited);
        list("missing", &found.missing);
        say("`verify --repair` fetches them again");
    }
    Ok(())
}
