//! `updraft release`: what is live, and what is to stay.

use updraft_agent::ui::{Exit, printable, say, say_json, size};
use updraft_core::Timestamp;
use updraft_core::api::{Release as Live, Standing};
use updraft_core::release::ReleaseName;
use updraft_publisher::Silent;
use updraft_publisher::publish::{Options, Publisher};

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
            let app = remote::show_app(&remote::connect(&server)?, &release.app)?;
            let found = remote::find_release(&app, &release)?;
            if json {
                say_json(&found)?;
                return Ok(Exit::Done);
            }
            say(line(&found));
            say(format_args!("tree {}", found.tree.digest));
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
        "{:12} {:16} {date}  {} files, {} ({} to download)  {}",
        release.version,
        release.platform,
        tree.files,
        size(tree.bytes),
        size(tree.stored),
        marks.join(", ")
    )
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
