//! `updraft serve`: opens the data directory, publishes the folder, listens, and says how to go on.

use std::io::IsTerminal;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tracing_subscriber::EnvFilter;
use updraft_agent::ui::{Exit, say};
use updraft_core::Timestamp;
use updraft_core::digest::Sha256;
use updraft_core::name::ChannelName;
use updraft_publisher::folder::Folder;
use updraft_publisher::keys::Keystore;
use updraft_server::config::{Config, operator};
use updraft_server::depot::{Depot, OnlineKeys};
use updraft_server::rescan::{Coalesced, Outcome, Rescan};
use updraft_server::serve;
use updraft_server::store::Store;

use crate::app::install_line;
use crate::args::Serve;
use crate::folder::{FolderApp, FolderRescan, refuse_private, watch};
use crate::secrets::{shell_word, this_program};
use crate::workshop::Workbench;

/// How long a stopping server waits for work that cannot be interrupted.
const SHUTDOWN_MAX: Duration = Duration::from_secs(2);

pub(crate) fn run(args: Serve) -> anyhow::Result<Exit> {
    log_to_stderr();
    let default_data = dirs::data_dir().map_or_else(|| "updraft-data".into(), |dir| dir.join("updraft"));
    let config_file = args.config.clone().map(PathBuf::from);
    let config = Config::load(flags(args), std::env::vars_os(), &default_data)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ended = runtime.block_on(serve(config, config_file.as_deref()));
    // A scan that has begun cannot be stopped; nobody waits for it.
    runtime.shutdown_timeout(SHUTDOWN_MAX);
    ended.map(|()| Exit::Done)
}

/// The flags as settings: what they say is checked in one place, wherever it comes from.
fn flags(args: Serve) -> Vec<(String, String)> {
    let Serve {
        folder,
        data,
        listen,
        config,
        app,
        watch,
        open_generate,
        allow_plain_admin,
        trusted_proxies,
        public_url,
    } = args;
    let values = [
        ("folder", folder),
        ("data", data),
        ("listen", listen),
        ("config", config),
        ("app", app),
        ("public-url", public_url),
        ("trusted-proxies", (!trusted_proxies.is_empty()).then(|| trusted_proxies.join(","))),
    ];
    let switches = [("watch", watch), ("open-generate", open_generate), ("allow-plain-admin", allow_plain_admin)];
    let given = values.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    let raised =
        switches.into_iter().filter(|(_, raised)| *raised).map(|(name, _)| (name.to_owned(), "true".to_owned()));
    given.chain(raised).collect()
}

fn log_to_stderr() {
    let filter = EnvFilter::try_from_env("UPDRAFT_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colours)
        .with_target(false)
        .init();
}

async fn serve(config: Config, config_file: Option<&Path>) -> anyhow::Result<()> {
    let data = &config.data;
    if let Some(folder) = &config.folder {
        refuse_private(&folder.path, data, config_file)?;
    }
    make_private(data)?;
    let listener = serve::bind(config.listen).await?;
    let store = Store::local(&data.join("store"))?;
    let admin = operator::admin_token(&store, data, config.admin_token.as_ref()).await?;
    let keys = OnlineKeys::directory(&data.join("keys"));
    let depot = Depot::open(store, keys, config.depot_options(), Timestamp::now()).await?;
    for (app, reason) in depot.broken() {
        tracing::error!(%app, "not served: {reason}");
    }
    let folder = open_folder(&config, &depot).await?;
    // One for all who ask, so that the watcher's scan and anybody else's are never two at once.
    let rescan = folder.as_ref().map(|(folder, _)| Coalesced::new(Arc::new(FolderRescan(Arc::clone(folder)))));

    let address = listener.local_addr()?;
    let stop = shutdown()?;
    operator::write_address(data, address)?;
    let can_sign = folder.as_ref().is_some_and(|(folder, _)| folder.can_sign());
    greet(&config, address, &admin, folder.as_ref().map(|(_, root)| root), can_sign);
    if let (Some(folder), false) = (&config.folder, can_sign) {
        tracing::warn!("{}", FolderApp::moved(&folder.app));
    }
    let publishing = rescan.clone().filter(|_| can_sign).map(|rescan| tokio::spawn(publish(rescan, config.clone())));
    let rescan = rescan.map(|rescan| Arc::new(rescan) as Arc<dyn Rescan>);
    let workshop = Arc::new(Workbench::new(&config.patches)?);
    serve::run(&config, depot, admin.digest, rescan, workshop, listener, stop).await;
    if let Some(publishing) = publishing {
        publishing.abort();
    }
    let _ = std::fs::remove_file(data.join(operator::ADDRESS_FILE));
    Ok(())
}

/// Makes the data directory, for its owner only.
fn make_private(data: &Path) -> anyhow::Result<()> {
    let cannot = || format!("cannot make the data directory {}; name another with --data", data.display());
    if data.is_dir() {
        return Ok(());
    }
    std::fs::create_dir_all(data).with_context(cannot)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(data, std::fs::Permissions::from_mode(0o700)).with_context(cannot)?;
    }
    Ok(())
}

async fn open_folder(config: &Config, depot: &Depot) -> anyhow::Result<Option<(Arc<FolderApp>, Sha256)>> {
    let Some(folder) = config.folder.clone() else { return Ok(None) };
    let (data, depot, runtime) = (config.data.clone(), depot.clone(), tokio::runtime::Handle::current());
    let opened = tokio::task::spawn_blocking(move || FolderApp::open(&folder, &data, depot, runtime)).await??;
    Ok(Some((Arc::new(opened.0), opened.1)))
}

/// Publishes the folder once, and then, with `--watch`, whenever it changes.
async fn publish(rescan: Coalesced, config: Config) {
    match rescan.rescan().await {
        Ok(Outcome::Published(_)) => {}
        Ok(Outcome::Unchanged) => tracing::info!("the folder is published as it is"),
        Err(reason) => tracing::error!("the folder was not published: {reason}"),
    }
    let Some(folder) = config.folder.filter(|folder| folder.watch) else { return };
    let keys = Keystore::at(config.data.join("keys").join(folder.app.as_str()));
    match Folder::open(&folder.path, folder.app, ChannelName::stable(), &keys) {
        Ok(folder) => watch(folder, rescan).await,
        Err(reason) => tracing::error!("the folder cannot be watched: {reason}"),
    }
}

/// Ends at the first signal that asks this process to stop.
fn shutdown() -> anyhow::Result<impl Future<Output = ()>> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        Ok(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            tracing::info!("stopping: no new connections, what has begun may end");
        })
    }
    #[cfg(not(unix))]
    Ok(async {
        let _ = tokio::signal::ctrl_c().await;
    })
}

/// What somebody who starts a server wants to know next.
fn greet(config: &Config, address: SocketAddr, admin: &operator::Admin, root: Option<&Sha256>, can_sign: bool) {
    let local = SocketAddr::new(
        if address.ip().is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { address.ip() },
        address.port(),
    );
    let url = config.public_url.clone().unwrap_or_else(|| format!("http://{local}"));
    say(format_args!("Updraft {} at {url}", env!("CARGO_PKG_VERSION")));
    say(format_args!("  status page   {url}/dashboard"));
    say(format_args!("  data          {}", config.data.display()));
    if let Some(token) = &admin.fresh {
        let copy = config.data.join(operator::TOKEN_FILE);
        // For a person to read once; a log file must not keep it.
        if std::io::stdout().is_terminal() {
            say(format_args!("  admin token   {} (shown once; a copy is in {})", token.reveal(), copy.display()));
        } else {
            say(format_args!("  admin token   in {}", copy.display()));
        }
    }
    let program = shell_word(&this_program());
    match (&config.folder, root) {
        (Some(folder), Some(root)) => {
            say(format_args!("  folder        {}, which is app {}", folder.path.display(), folder.app));
            if can_sign {
                say(format_args!(
                    "  its keys      in {}: fine to begin with, but whoever owns this machine can sign",
                    config.data.join("keys").display()
                ));
                say(format_args!("                releases; `{program} keys move` takes them off it"));
            } else {
                say("  its keys      not on this server: the folder is served as it was published last, and no more");
                say(format_args!(
                    "                published from here; `{program} publish` does that, where the keys are"
                ));
            }
            say("");
            say("Install it on a device with");
            say(format_args!("  {}", install_line(&url, &folder.app, &root.to_string())));
        }
        _ => {
            say("");
            say("Make an app, and publish to it, with");
            say(format_args!(
                "  export UPDRAFT_SERVER={url} UPDRAFT_TOKEN_FILE={}",
                shell_word(&absolute(&config.data.join(operator::TOKEN_FILE)))
            ));
            say(format_args!("  {program} app create NAME"));
            say(format_args!("  {program} publish DIR --app NAME --version 1.0.0 --channel stable"));
        }
    }
}

/// A path that means the same from wherever it is pasted.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
