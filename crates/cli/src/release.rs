//! `updraft release`: what is live, and what is to stay.

use updraft_agent::ui::{Exit, count, printable, saving, say, say_json, size};
use updraft_core::Timestamp;
use updraft_core::api::{Patch, PatchState, Release as Live, Standing};
use updraft_core::digest::Digest;
use updraft_core::release::ReleaseName;
use updraft_core::tree::patch::nothing;
use updraft_publisher::publish::{Options, Publisher};
use updraft_publisher::{Remote, RemoteError, Silent};

use crate::args::{Pin, Release};
use crate::{remote, secrets};

pub(crate) fn run(command: Release) -> anyhow::Result<Exit> {
    match command {
        Release::List { app, server, json } => {
            let mut releases = remote::show_app(&remote::connect(&server)?, &app)?.releases;
            releases.sort_by(|a, b| b.version.cmp(&a.version).then_with(|| a.platform.cmp(&b.platform)));
            if json {
                say_json(&releases)?;
                return Ok(Exit::Done);
            }
            if releases.is_empty() {
                say(format_args!("nothing of {app} has been published yet"));
            }
            for release in &releases {
                say(line(release));
            }
        }
        Release::Show { release, server, json } => {
            let http = remote::connect(&server)?;
            let app = remote::show_app(&http, &release.app)?;
            let found = remote::find_release(&app, &release)?;
            let mut patches = match http.patches(&release.app) {
                // A server that was there before patches were.
                Err(RemoteError::NotFound { .. }) => Vec::new(),
                patches => patches?.patches,
            };
            patches.retain(|patch| patch.to == found.tree.digest);
            if json {
                let mut report = serde_json::to_value(&found)?;
                report["patches"] = serde_json::to_value(&patches)?;
                say_json(&report)?;
                return Ok(Exit::Done);
            }
            say(line(&found));
            say(format_args!("tree {}", found.tree.digest));
            patches.iter().for_each(|patch| say(patch_line(patch)));
            let notes = found.notes.for_locales(["en"]);
            if !notes.is_empty() {
                say(format_args!("\n{}", printable(notes)));
            }
        }
        Release::Pin(args) => pin(&args, true)?,
        Release::Unpin(args) => pin(&args, false)?,
    }
    Ok(Exit::Done)
}

fn line(release: &Live) -> String {
    let standing = |standing: &Standing| match standing {
        Standing::Current => "current",
        Standing::Previous => "previous",
        Standing::Candidate => "candidate",
    };
    let mut marks: Vec<String> = release.on.iter().map(|(on, how)| format!("{on}: {}", standing(how))).collect();
    if release.pinned {
        marks.push("pinned".to_owned());
    }
    if marks.is_empty() {
        marks.push("on no channel".to_owned());
    }
    let tree = &release.tree;
    let date = release.date.strftime("%Y-%m-%d");
    format!(
        "{:12} {:16} {date}  {}, {} ({} to download)  {}",
        release.version,
        release.platform,
        count(tree.files, "file"),
        size(tree.bytes),
        size(tree.stored),
        marks.join(", ")
    )
}

/// A patch to a release, and what it saves, or why there is none.
fn patch_line(patch: &Patch) -> String {
    format!("patch from {}: {}", source(patch), became(patch))
}

/// What a patch is made from, as it is called.
pub(crate) fn source(patch: &Patch) -> String {
    tree_name(patch.from, patch.from_release.as_ref())
}

/// A tree as it is called: by a release that has it, if it is known.
pub(crate) fn tree_name(tree: Digest, release: Option<&ReleaseName>) -> String {
    match release {
        Some(release) => release.to_string(),
        None if tree == nothing() => "nothing, the bundle".to_owned(),
        None => format!("tree {tree}"),
    }
}

/// What became of a patch.
pub(crate) fn became(patch: &Patch) -> String {
    match &patch.state {
        PatchState::Made { bytes, instead: 0 } => size(*bytes),
        PatchState::Made { bytes, instead } => saving(*bytes, *instead),
        PatchState::Waiting => "waits to be made".to_owned(),
        PatchState::Making => "is being made".to_owned(),
        PatchState::NotSmaller { bytes, instead } => {
            format!("none: it would have {}, and {} are fetched without it", size(*bytes), size(*instead))
        }
        PatchState::Skipped { reason } => format!("none: {}", printable(reason)),
        PatchState::Failed { reason, again: Some(again), .. } => {
            format!("not made yet: {}; it is tried again after {again}", printable(reason))
        }
        PatchState::Failed { reason, tries, again: None } => {
            format!("given up after {tries} tries: {}", printable(reason))
        }
        PatchState::Removed => "removed, and not made again until `updraft patch retry`".to_owned(),
        PatchState::Other => "in a state that this version does not know".to_owned(),
    }
}

fn pin(args: &Pin, pinned: bool) -> anyhow::Result<()> {
    let http = remote::connect(&args.server)?;
    let keystore = secrets::keystore(&args.keys, &args.release.app)?;
    let passphrases = secrets::passphrases(&args.keys)?;
    let options = Options::default();
    let publisher =
        Publisher { remote: &http, keys: &keystore, passphrases: &*passphrases, progress: &Silent, options: &options };
    let name = ReleaseName { platform: args.release.platform.clone(), version: args.release.version.clone() };
    let changed = updraft_publisher::pin::pin(&publisher, &args.release.app, &name, pinned, Timestamp::now())?;
    let already = if changed.is_none() { " already" } else { "" };
    let verb = if pinned { "stays, whatever the channels do" } else { "stays only as long as a channel needs it" };
    say(format_args!("{name} of {} {verb}{already}", args.release.app));
    Ok(())
}
