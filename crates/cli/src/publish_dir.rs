//! `updraft publish`: a directory becomes a release.

use anyhow::Context;
use indicatif::ProgressBar;
use jiff::Timestamp;
use serde_json::json;
use updraft_agent::ui::{Exit, bar, count, printable, saving, say, say_json, size, warn};
use updraft_core::release::{Notes, ReleaseName};
use updraft_core::tree::Tree;
use updraft_files::Dir;
use updraft_files::index::Index;
use updraft_files::scan::{Ignore, Options as ScanOptions, scan};
use updraft_publisher::folder::refuse_overlap;
use updraft_publisher::notes::{self, Manifest};
use updraft_publisher::publish::{Options, Outcome, Patched, Plan, Publisher, Step, Wanted};
use updraft_publisher::{Phase, Progress};

use crate::args::Publish;
use crate::release::tree_name;
use crate::workshop::memory_max;
use crate::{remote, secrets};

pub(crate) fn run(args: Publish) -> anyhow::Result<Exit> {
    let http = remote::connect(&args.server)?;
    let keystore = secrets::keystore(&args.keys, &args.app)?;
    let passphrases = secrets::passphrases(&args.keys)?;
    let dir = Dir::open(&args.dir)?;
    // What is published can be read by everybody, for ever.
    refuse_overlap(&args.dir, &secrets::keys_root(args.keys.keys.as_deref())?)?;
    let wanted = wanted(&args, &dir)?;
    let watcher = Watcher(bar());
    let tree = read(&args, &dir, &watcher)?;
    let options = Options { threads: usize::from(args.jobs), ..Options::default() };
    let publisher =
        Publisher { remote: &http, keys: &keystore, passphrases: &*passphrases, progress: &watcher, options: &options };
    if args.dry_run {
        let plan = publisher.plan(&tree, &wanted, Timestamp::now())?;
        watcher.0.finish_and_clear();
        return tell(&args, &plan, None, None).map(|()| Exit::Done);
    }
    let published = publisher.publish(&dir, &tree, &wanted, Timestamp::now())?;
    let patched = args.make_patches.then(|| publisher.make_patches(&args.app, &dir, &tree, memory_max()));
    watcher.0.finish_and_clear();
    // Whatever became of patches: the release is out, and that is said first.
    let (patched, unasked) = match patched.transpose() {
        Ok(patched) => (patched, None),
        Err(error) => (None, Some(error)),
    };
    let sent = (published.sent_blobs, published.sent_bytes);
    tell(&args, &published.plan, Some(sent), patched.as_deref())?;
    if let Some(error) = unasked {
        return Err(
            anyhow::Error::new(error).context("it is published, and the server does not say which patches it lacks")
        );
    }
    let failed = patched.iter().flatten().any(|patched| matches!(patched.outcome, Outcome::Failed(_)));
    Ok(if failed { Exit::Error } else { Exit::Done })
}

/// What is to be published, from the arguments and from what lies in the directory.
fn wanted(args: &Publish, dir: &Dir) -> anyhow::Result<Wanted> {
    let version = match &args.version {
        Some(version) => version.clone(),
        None => Manifest::read(dir)?
            .and_then(|manifest| manifest.version)
            .context("say which version it is with --version, or in release.json in the directory")?,
    };
    let notes = match &args.notes {
        Some(argument) => notes::from_argument(argument)?,
        None if args.version.is_none() => notes::in_dir(dir)?.unwrap_or_default(),
        None => Notes::default(),
    };
    Ok(Wanted {
        app: args.app.clone(),
        terms: args.terms.of(&version),
        version,
        platform: args.platform.clone(),
        notes,
        channel: args.channel.clone(),
    })
}

/// The files to publish. Where `release.json` gives the version, it and the notes beside it are about the content, and no
/// part of it; otherwise everything in the directory is.
fn read(args: &Publish, dir: &Dir, watcher: &Watcher) -> anyhow::Result<Tree> {
    let about: fn(&str) -> bool = match args.version {
        Some(_) => |_| false,
        None => |name| name == notes::MANIFEST || notes::is_notes(name),
    };
    let options = ScanOptions { ignore: Ignore::read(dir)?, top_level_excluded: about };
    watcher.begin(Phase::Scan, None);
    let found = scan(dir, &options, &Index::new(), &|bytes| watcher.advance(bytes))?;
    for line in &found.skipped {
        warn(format_args!("warning: left out: {line}"));
    }
    Ok(found.tree)
}

/// What became of the patches.
fn tell_patches(patched: &[Patched]) {
    for Patched { from, release, outcome } in patched {
        let from = tree_name(*from, release.as_ref());
        match outcome {
            Outcome::Sent { bytes, instead } => say(format_args!("patch from {from}: {}", saving(*bytes, *instead))),
            Outcome::LeftOut(reason) => say(format_args!("no patch from {from}: {}", printable(reason))),
            Outcome::Failed(reason) => warn(format_args!("error: no patch from {from}: {}", printable(reason))),
        }
    }
}

fn patches_json(patched: &[Patched]) -> serde_json::Value {
    let one = |Patched { from, release, outcome }: &Patched| match outcome {
        Outcome::Sent { bytes, instead } => {
            json!({"from": from, "release": release, "done": "sent", "bytes": bytes, "instead": instead})
        }
        Outcome::LeftOut(reason) => json!({"from": from, "release": release, "done": "left_out", "reason": reason}),
        Outcome::Failed(reason) => json!({"from": from, "release": release, "done": "failed", "reason": reason}),
    };
    patched.iter().map(one).collect()
}

fn tell(args: &Publish, plan: &Plan, sent: Option<(u64, u64)>, patched: Option<&[Patched]>) -> anyhow::Result<()> {
    let ReleaseName { platform, version } = &plan.release;
    if args.json {
        let (blobs, bytes) = sent.unwrap_or_default();
        let mut report = json!({
            "app": args.app,
            "version": version,
            "platform": platform,
            "done": match (&plan.step, sent) {
                (_, None) => "dry_run",
                (Step::Nothing, _) => "nothing",
                (Step::Promote(_), _) => "promoted",
                (Step::Publish, _) => "published",
            },
            "tree": {"digest": plan.tree, "files": plan.files, "bytes": plan.bytes},
            "missing": {"blobs": plan.missing.len(), "bytes": plan.missing_bytes()},
            "uploaded": {"blobs": blobs, "bytes": bytes},
            "channel": plan.promote,
            "dropped": plan.dropped,
        });
        if let Some(patched) = patched {
            report["patches"] = patches_json(patched);
        }
        return say_json(&report);
    }
    let release = format!("{} of {}", plan.release, args.app);
    let on = plan.promote.as_ref().map_or(String::new(), |channel| format!(" on channel {channel}"));
    let content = format!("{}, {}", count(plan.files, "file"), size(plan.bytes));
    match (&plan.step, sent) {
        (Step::Nothing, _) => say(format_args!("{release} is published already, with this very content")),
        (Step::Promote(_), Some(_)) => say(format_args!("{release} was published already, and is{on} now")),
        (Step::Promote(_), None) => say(format_args!("{release} is published already, and would be{on}")),
        (Step::Publish, None) => {
            let lacking = format!("{} of {}", count(plan.missing.len() as u64, "file"), size(plan.missing_bytes()));
            say(format_args!("{release} would be published{on}: {content}"));
            say(format_args!("the server lacks {lacking}, before compression"));
        }
        (Step::Publish, Some((blobs, bytes))) => {
            say(format_args!("published {release}{on}: {content}"));
            say(format_args!("uploaded {}, {}", count(blobs, "file"), size(bytes)));
        }
    }
    if let (Step::Nothing | Step::Promote(_), Some((blobs @ 1.., bytes))) = (&plan.step, sent) {
        say(format_args!("the server had lost some of it: sent {} again, {}", count(blobs, "file"), size(bytes)));
    }
    for release in &plan.dropped {
        say(format_args!("no longer live: {release}"));
    }
    tell_patches(patched.unwrap_or_default());
    Ok(())
}

/// A bar on a terminal.
struct Watcher(ProgressBar);

impl Progress for Watcher {
    fn begin(&self, phase: Phase, total: Option<u64>) {
        self.0.reset();
        self.0.set_length(total.unwrap_or(0));
        self.0.set_message(match phase {
            Phase::Scan => "reading",
            Phase::Upload => "uploading",
            Phase::Commit => "signing",
            Phase::Patch => "making a patch",
        });
    }

    fn advance(&self, bytes: u64) {
        self.0.inc(bytes);
    }
}
