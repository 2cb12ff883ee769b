//! `updraft app`: creating one, and looking at those that are.

use std::path::Path;

use jiff::{SpanRound, Timestamp, Unit};
use serde_json::json;
use updraft_agent::ui::{Exit, say, say_json};
use updraft_core::api;
use updraft_core::key::PublicKey;
use updraft_core::name::AppName;
use updraft_publisher::create::{Created, RootKeys, create};
use updraft_publisher::keys::Keystore;
use updraft_publisher::root::Signers;

use crate::args::{App, Keys, Server};
use crate::remote;
use crate::secrets::{self, shell_word, this_program};

pub(crate) fn run(command: App) -> anyhow::Result<Exit> {
    match command {
        App::Create { name, root_keys: count, threshold, keys, server, json } => {
            make(&name, RootKeys { count, threshold }, &keys, &server, json)?;
        }
        App::List { server, json } => {
            let apps: Vec<api::App> = remote::connect(&server)?.get("apps")?;
            if json {
                say_json(&apps)?;
                return Ok(Exit::Done);
            }
            if apps.is_empty() {
                say("there is no app yet: `updraft app create NAME` makes one");
            }
            for app in &apps {
                let channels: Vec<_> = app.channels.keys().map(|name| name.as_str()).collect();
                let channels = if channels.is_empty() { "no channel yet".to_owned() } else { channels.join(", ") };
                say(format_args!("{:20} {} live releases  {channels}", app.name, app.releases.len()));
            }
        }
        App::Show { name, server, json } => {
            let app = remote::show_app(&remote::connect(&server)?, &name)?;
            if json {
                say_json(&app)?;
            } else {
                show(&app, &remote::address(&server)?);
            }
        }
    }
    Ok(Exit::Done)
}

fn make(name: &AppName, root_keys: RootKeys, keys: &Keys, server: &Server, as_json: bool) -> anyhow::Result<()> {
    let http = remote::connect(server)?;
    let keystore = secrets::keystore(keys, name)?;
    let passphrases = secrets::passphrases(keys)?;
    let created = create(&http, name, &keystore, root_keys, &*passphrases, Timestamp::now())?;
    let dir = std::path::absolute(keystore.dir())?;
    if as_json {
        return say_json(&json!({
            "app": created.app,
            "root_sha256": created.root_sha256,
            "keys": dir,
            "existed": created.existed,
            "root": {
                "threshold": created.root.threshold,
                "keys": created.root.keys.iter().map(PublicKey::fingerprint).collect::<Vec<_>>(),
            },
        }));
    }
    if created.existed {
        say(format_args!("app {name} exists already, made with the keys in {}", dir.display()));
    } else {
        say(format_args!("app {name} is made; its keys are in {}", dir.display()));
        match created.root.keys.as_slice() {
            [_] => say("keep a copy of that folder offline: without it nothing can be published any more"),
            _ => carry_apart(&created, &keystore, &dir),
        }
    }
    say("");
    let address = remote::address(server)?;
    let url = address.trim_end_matches('/');
    say("publish with");
    say(format_args!("  {} publish DIR --app {name} --version 1.0.0 --channel stable", shell_word(&this_program())));
    say("install on a device with");
    say(format_args!("  {}", install_line(url, name, &created.root_sha256.to_string())));
    Ok(())
}

/// What to do with several root keys: together in one place they are worth no more than one.
fn carry_apart(created: &Created, keystore: &Keystore, dir: &Path) {
    let Signers { keys, threshold } = &created.root;
    say(format_args!(
        "{threshold} of these {} keys must sign whenever keys change; they are not needed to publish:",
        keys.len()
    ));
    for key in keys {
        let file = format!("root-{}.pem", key.fingerprint());
        say(format_args!("  {}", dir.join(file).display()));
    }
    say(format_args!(
        "carry all but one to other people or places, each with a copy of {}, and delete them here;",
        keystore.root_path().file_name().unwrap_or_default().to_string_lossy()
    ));
    say("keep a copy of the rest of that folder offline: without targets.pem nothing can be published");
}

/// What to type on a device.
pub(crate) fn install_line(url: &str, app: &AppName, root_sha256: &str) -> String {
    let program = shell_word(&this_program());
    format!("{program} agent install --url {url}/apps/{app} --root-sha256 {root_sha256} ./{app}-installed")
}

fn show(app: &api::App, url: &str) {
    say(format_args!("{:14} {}", "app", app.name));
    say(format_args!("{:14} {} (version {} now)", "first root", app.root_sha256, app.root_version));
    for (name, channel) in &app.channels {
        for (platform, stream) in &channel.platforms {
            let previous = stream.previous.as_ref().map_or(String::new(), |version| format!(", previous {version}"));
            say(format_args!("{:14} {platform}: {}{previous}", format!("channel {name}"), stream.current));
        }
    }
    say(format_args!("{:14} {}", "live releases", app.releases.len()));
    let now = Timestamp::now();
    for (role, expires) in &app.expires {
        say(format_args!("{:14} expires {expires} ({})", role, left(now, *expires)));
    }
    say(format_args!(
        "{:14} {}",
        "install",
        install_line(url.trim_end_matches('/'), &app.name, &app.root_sha256.to_string())
    ));
}

/// How long it is from `now` to `then`.
pub(crate) fn left(now: Timestamp, then: Timestamp) -> String {
    if then <= now {
        return "over".to_owned();
    }
    let round = SpanRound::new().largest(Unit::Hour).smallest(Unit::Hour);
    let hours = (then - now).round(round).map_or(0, |span| span.get_hours());
    if hours < 72 { format!("in {hours} hours") } else { format!("in {} days", hours / 24) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let at = |text: &str| left(now, text.parse().unwrap());
        assert_eq!(at("2026-01-02T00:00:00Z"), "in 24 hours");
        assert_eq!(at("2026-04-01T00:00:00Z"), "in 90 days");
        assert_eq!(at("2026-01-01T00:00:00Z"), "over");
    }
}
