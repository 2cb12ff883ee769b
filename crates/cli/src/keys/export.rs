//! A root as a file, for a device that is installed from it.

use std::path::Path;

use anyhow::bail;
use updraft_agent::ui::{Exit, say};
use updraft_core::Timestamp;
use updraft_core::digest::Sha256;
use updraft_publisher::root::{Online, Standing};

use super::args::At;
use super::write_new;
use crate::secrets::shell_word;
use crate::{remote, secrets};

pub(super) fn run(version: u64, out: Option<&Path>, at: &At) -> anyhow::Result<Exit> {
    let app = &at.app;
    let keystore = secrets::keystore(&at.keys, app)?;
    // The first one lies here; later ones are asked for, and verified from it.
    let root = match (version, keystore.first_root()?) {
        (1, Some(first)) => first,
        _ => {
            let http = remote::connect(&at.server)?;
            let standing = Standing::read(&http, app, &keystore, Online::Doubted, Timestamp::now())?;
            let index = usize::try_from(version).ok().and_then(|version| version.checked_sub(1));
            match index.and_then(|index| standing.roots().get(index)) {
                Some(root) => root.clone(),
                None => bail!("{app} has no root {version}; it has 1 to {}", standing.roots().len()),
            }
        }
    };
    let default = || match version {
        1 => format!("{app}.root.json").into(),
        _ => format!("{app}.{version}.root.json").into(),
    };
    let file = out.map_or_else(default, Path::to_owned);
    write_new(&file, &root)?;
    say(format_args!("root {version} of {app} is in {}", shell_word(&file)));
    say(format_args!("SHA-256 {}", Sha256::of(&root)));
    Ok(Exit::Done)
}
