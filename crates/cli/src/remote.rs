//! The server that a command talks to, and the token that opens it.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use updraft_client::fetch::authority::{Authority, Vouching};
use updraft_core::api;
use updraft_core::name::AppName;
use updraft_core::release::ReleaseName;
use updraft_publisher::http::{Http, Options};

use crate::args::{ReleaseArgs, Server};
use crate::secrets;

/// A command line that makes no sense; it ends with exit code 2, as one that cannot be parsed does.
#[derive(Debug)]
pub(crate) struct Usage(pub(crate) &'static str);

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Usage {}

/// The address of the server that the arguments or the environment name.
pub(crate) fn address(server: &Server) -> anyhow::Result<String> {
    let environment = || secrets::environment("UPDRAFT_SERVER").map(|url| url.to_string_lossy().into_owned());
    let url = server.server.clone().or_else(environment);
    Ok(url.ok_or(Usage("which server? name it with --server URL, or in UPDRAFT_SERVER"))?)
}

/// The server that the arguments name.
pub(crate) fn connect(server: &Server) -> anyhow::Result<Http> {
    let token = secrets::token(server.token.as_deref(), server.token_file.as_deref())?;
    Ok(Http::new(&address(server)?, Options { token, ..options(server)? })?)
}

/// How to talk to it, but for the token.
pub(crate) fn options(server: &Server) -> anyhow::Result<Options> {
    let file = server.ca.clone().or_else(|| secrets::environment("UPDRAFT_CA").map(PathBuf::from));
    let vouching = updraft_agent::authority(file.as_deref())?;
    let authority = vouching.as_ref().and_then(Vouching::own).map(Authority::der);
    Ok(Options { allow_http: server.allow_http, authority, ..Options::default() })
}

/// What the server says of an app.
pub(crate) fn show_app(http: &Http, app: &AppName) -> anyhow::Result<api::App> {
    Ok(http.get(&format!("apps/{app}"))?)
}

/// The live release that the arguments name.
pub(crate) fn find_release(app: &api::App, wanted: &ReleaseArgs) -> anyhow::Result<api::Release> {
    let same = |release: &&api::Release| release.version == wanted.version && release.platform == wanted.platform;
    if let Some(release) = app.releases.iter().find(same) {
        return Ok(release.clone());
    }
    let name = ReleaseName { platform: wanted.platform.clone(), version: wanted.version.clone() };
    let live: Vec<String> = app.releases.iter().map(|r| format!("{} ({})", r.version, r.platform)).collect();
    if live.is_empty() {
        bail!("{name} of {} is not live: nothing has been published yet", app.name);
    }
    bail!("{name} of {} is not live; these are: {}", app.name, live.join(", "));
}

/// Reads a small text file that a person named.
pub(crate) fn read_text(path: &Path, max: u64) -> anyhow::Result<String> {
    use std::io::Read;
    let file = std::fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut text = String::new();
    file.take(max + 1).read_to_string(&mut text).with_context(|| format!("cannot read {}", path.display()))?;
    if text.len() as u64 > max {
        bail!("{} has more than the {max} bytes that are allowed", path.display());
    }
    Ok(text)
}
