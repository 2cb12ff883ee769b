//! `updraft keys`: who signs what, and every way in which that changes.
//!
//! The commands only ask and tell. What a change comes to is decided by `publisher::root`, what lies in a key directory by
//! `publisher::keys`.

pub(crate) mod args;
mod ceremony;
mod change;
mod export;
mod relocate;
mod show;

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, bail};
use updraft_agent::ui::{Exit, say};
use updraft_core::key::PublicKey;
use updraft_core::name::AppName;
use updraft_publisher::keys::{KeyName, Keystore, PUBLIC_LEN_MAX, Ring, public_from_text, public_text};

use crate::args::Keys;
use crate::remote::read_text;
use crate::secrets::{self, shell_word};
use args::Command;
pub(crate) use show::{Place, place};

pub(crate) fn run(command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Show { at, json } => show::run(&at, json),
        Command::New { role, app, out, keys } => make(role.into(), &app, out.as_deref(), &keys),
        Command::Rotate { roles, changing } => change::rotate(&roles, &changing),
        Command::Add { role, file, threshold, changing } => change::add(role, &file, threshold, &changing),
        Command::Revoke { fingerprint, role, threshold, changing } => {
            change::revoke(&fingerprint, role, threshold, &changing)
        }
        Command::Renew { roles, force, changing } => change::renew(&roles, force, &changing),
        Command::ReplaceOnline { changing } => change::replace_online(&changing),
        Command::ExportRoot { version, out, at } => export::run(version, out.as_deref(), &at),
        Command::Move { app, data, dry_run, keys } => relocate::run(&app, &data, dry_run, &keys),
        Command::Root(command) => ceremony::run(command),
    }
}

/// Makes a key pair, and writes down its public half.
fn make(name: KeyName, app: &AppName, out: Option<&Path>, keys: &Keys) -> anyhow::Result<Exit> {
    let keystore = secrets::keystore(keys, app)?;
    let passphrases = secrets::passphrases(keys)?;
    let public = Ring::new(&keystore, &*passphrases).make(name)?.public();
    let fingerprint = public.fingerprint();
    let file = out.map_or_else(|| format!("{app}-{name}-{fingerprint}.public.json").into(), Path::to_owned);
    write_new(&file, public_text(&public).as_bytes())?;
    say(format_args!("made a key for {name} of {app}: {fingerprint}"));
    say(format_args!("its private half is {}", private_file(&keystore, name, &fingerprint)?));
    let file = shell_word(&file);
    say(format_args!("its public half is {file}: it signs nothing before somebody who may change keys lets it, with"));
    say(format_args!("  updraft keys add {name} {file} --app {app}"));
    Ok(Exit::Done)
}

fn private_file(keystore: &Keystore, name: KeyName, fingerprint: &str) -> anyhow::Result<String> {
    let dir = std::path::absolute(keystore.dir())?;
    Ok(dir.join(format!("{name}-{fingerprint}.pem")).display().to_string())
}

/// The public key in a file that somebody handed over.
fn read_public(file: &Path) -> anyhow::Result<PublicKey> {
    let text = read_text(file, PUBLIC_LEN_MAX)?;
    public_from_text(&text).map_err(|reason| anyhow::anyhow!("{}: {reason}", file.display()))
}

/// Writes a file that must not be there yet; the same content is no other file.
fn write_new(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let cannot = || format!("cannot write {}", path.display());
    match File::options().write(true).create_new(true).open(path) {
        Ok(mut file) => file.write_all(bytes).and_then(|()| file.sync_all()).with_context(cannot),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            let is_as_long = std::fs::metadata(path).is_ok_and(|there| there.len() == bytes.len() as u64);
            if is_as_long && std::fs::read(path).is_ok_and(|there| there == bytes) {
                return Ok(());
            }
            bail!("{} is there already and is something else; move it away, or name another with --out", path.display())
        }
        Err(e) => Err(e).with_context(cannot),
    }
}
