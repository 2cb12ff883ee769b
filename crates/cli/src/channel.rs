//! `updraft channel`: what a channel points at, and pointing it elsewhere.

use updraft_agent::ui::{Exit, say, say_json};
use updraft_core::api::{Committed, Promotion};
use updraft_core::release::ReleaseName;
use updraft_publisher::Remote;

use crate::args::Channel;
use crate::remote;

pub(crate) fn run(command: Channel) -> anyhow::Result<Exit> {
    match command {
        Channel::Show { channel, app, server, json } => {
            let shown = remote::show_app(&remote::connect(&server)?, &app)?;
            let Some(found) = shown.channels.get(&channel) else {
                let names: Vec<_> = shown.channels.keys().map(|name| name.as_str()).collect();
                let there = if names.is_empty() {
                    "it has none yet".to_owned()
                } else {
                    format!("it has {}", names.join(", "))
                };
                anyhow::bail!("app {app} has no channel {channel}; {there}");
            };
            if json {
                say_json(found)?;
                return Ok(Exit::Done);
            }
            for (platform, stream) in &found.platforms {
                let previous = stream.previous.as_ref().map_or(String::new(), |v| format!(", previous {v}"));
                say(format_args!("{channel}  {platform}  current {}{previous}", stream.current));
            }
        }
        Channel::Promote { channel, release, server, dry_run } => {
            let http = remote::connect(&server)?;
            let shown = remote::show_app(&http, &release.app)?;
            let found = remote::find_release(&shown, &release)?;
            let name = ReleaseName { platform: found.platform, version: found.version };
            let there = shown.channels.get(&channel).and_then(|document| document.platforms.get(&name.platform));
            if there.is_some_and(|stream| stream.current == name.version) {
                say(format_args!("channel {channel} of {} points at {name} already", release.app));
                return Ok(Exit::Done);
            }
            // The server decides anew; this says the same before anything changes.
            shown.channels.get(&channel).cloned().unwrap_or_default().promote(&channel, &name)?;
            if dry_run {
                say(format_args!("channel {channel} of {} would point at {name}", release.app));
                return Ok(Exit::Done);
            }
            let _: Committed =
                http.promote(&release.app, &Promotion { channel: channel.clone(), release: name.clone() })?;
            say(format_args!("channel {channel} of {} points at {name}", release.app));
        }
    }
    Ok(Exit::Done)
}
