//! Taking a folder app's keys off the server: copied, locked, opened again, and only then removed there.

use std::path::Path;

use anyhow::{Context, bail};
use updraft_agent::ui::{Exit, say};
use updraft_core::name::AppName;
use updraft_publisher::keys::{Keystore, Ring, Unlocked};
use updraft_server::store::Store;

use crate::args::Keys;
use crate::secrets::{self, shell_word, this_program};

pub(super) fn run(app: &AppName, data: &Path, dry_run: bool, keys: &Keys) -> anyhow::Result<Exit> {
    anyhow::ensure!(data.join("store").is_dir(), "{} is not the data directory of a server", data.display());
    let there = Keystore::at(data.join("keys").join(app.as_str()));
    let here = secrets::keystore(keys, app)?;
    refuse_inside(here.dir(), data)?;
    // A running server has this lock, and would go on signing with the keys in its memory.
    let _lock = Store::local(&data.join("store"))?;
    let held = there.held()?;
    if held.is_empty() {
        if here.is_ready() && !here.held()?.is_empty() {
            let (here, there) = (here.dir().display(), there.dir().display());
            say(format_args!("the keys of {app} are in {here} already, and not in {there}"));
            return Ok(Exit::Done);
        }
        bail!(
            "{}: no publisher's keys of {app} are here; only the app of a folder (`updraft serve FOLDER`) has them on the server",
            there.dir().display()
        );
    }
    let dir = std::path::absolute(here.dir())?;
    if dry_run {
        for held in &held {
            say(format_args!("would move {} to {}", held.path.display(), dir.display()));
        }
        return Ok(Exit::Done);
    }
    let passphrases = secrets::passphrases(keys)?;
    here.copy_from(&Ring::new(&there, &Unlocked), &*passphrases)?;
    there.remove_keys()?;
    say(format_args!("the keys of {app} are in {}, and no longer in {}", dir.display(), there.dir().display()));
    say("they were on the server till now: whoever copied them can still sign. This makes them worthless:");
    let program = shell_word(&this_program());
    let named = keys.keys.as_ref().map(|dir| format!(" --keys {}", shell_word(dir))).unwrap_or_default();
    say(format_args!("  {program} keys rotate --app {app}{named}"));
    say("the server keeps serving the last release of the folder, and publishes it no more. Publish with");
    say(format_args!("  {program} publish DIR --app {app} --version V --channel stable{named}"));
    Ok(Exit::Done)
}

/// Keys that are to leave the server may not end up in its own directory.
fn refuse_inside(keys: &Path, data: &Path) -> anyhow::Result<()> {
    let data = data.canonicalize().with_context(|| format!("cannot find {}", data.display()))?;
    let keys = std::path::absolute(keys)?;
    let place = keys.ancestors().find_map(|dir| dir.canonicalize().ok()).unwrap_or_else(|| keys.clone());
    if place.starts_with(&data) {
        bail!("{} is in the server's own directory {}; name another with --keys", keys.display(), data.display());
    }
    Ok(())
}
