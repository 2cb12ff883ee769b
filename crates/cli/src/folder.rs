//! A folder that is an app: its keys, its publishing, and watching it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use tokio::runtime::Handle;
use updraft_core::Timestamp;
use updraft_core::digest::{Digest, Sha256};
use updraft_core::name::{AppName, ChannelName};
use updraft_publisher::create::{RootKeys, create};
use updraft_publisher::folder::{self, Folder, Report, refuse_overlap};
use updraft_publisher::keys::{KeyName, Keystore, Unlocked};
use updraft_publisher::publish::{Options, Publisher};
use updraft_publisher::{Remote, Silent};
use updraft_server::config;
use updraft_server::depot::Depot;
use updraft_server::rescan::{BoxFuture, Coalesced, Outcome, Rescan};

use crate::in_process::InProcess;
use crate::secrets;

/// How often a watched folder is looked at. It is published when two looks in a row see the same change.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The longest pause after a folder could not be published.
const PAUSE_MAX: Duration = Duration::from_secs(5 * 60);

/// What a new folder holds, so that there is something to install.
const HELLO: &str =
    "Hello from Updraft!\n\nThis file was made because the folder was missing. Put your build here instead.\n";

/// Refuses a folder that holds what is private, or lies in it: all that is in it can be read by everybody. To be called
/// before anything is written anywhere.
pub(crate) fn refuse_private(folder: &Path, data: &Path, config: Option<&Path>) -> anyhow::Result<()> {
    refuse_overlap(folder, data)?;
    let keys = secrets::keys_root(None).ok();
    for private in keys.iter().map(PathBuf::as_path).chain(config) {
        refuse_overlap(folder, private)?;
    }
    Ok(())
}

/// The folder's app, and how it is published.
pub(crate) struct FolderApp {
    app: AppName,
    folder: Mutex<Folder>,
    keys: Keystore,
    remote: InProcess,
}

impl FolderApp {
    /// Opens the folder and, the first time, makes its keys and its app. To be called where blocking is allowed.
    ///
    /// Returns the digest of the app's first root with it.
    pub(crate) fn open(
        config: &config::Folder,
        data: &Path,
        depot: Depot,
        runtime: Handle,
    ) -> anyhow::Result<(Self, Sha256)> {
        let keys = Keystore::at(data.join("keys").join(config.app.as_str()));
        let remote = InProcess::new(depot, runtime);
        // Only for a new app: an old one whose folder is not there (a volume that is not mounted) must not lose its files.
        if !config.path.exists() && remote.is_new(&config.app) {
            std::fs::create_dir_all(&config.path).with_context(|| format!("cannot make {}", config.path.display()))?;
            std::fs::write(config.path.join("hello.txt"), HELLO)?;
        }
        let created = create(&remote, &config.app, &keys, RootKeys::default(), &Unlocked, Timestamp::now())?;
        let folder = Folder::open(&config.path, config.app.clone(), ChannelName::stable(), &keys)?;
        Ok((Self { app: config.app.clone(), folder: Mutex::new(folder), keys, remote }, created.root_sha256))
    }

    /// Whether the keys that sign its releases are on this server, or were taken off it by `updraft keys move`.
    pub(crate) fn can_sign(&self) -> bool {
        // What cannot be read is left to the publishing to say.
        self.keys.held().map_or(true, |held| held.iter().any(|held| held.name == KeyName::Targets))
    }

    /// Why nothing is published from here, when the keys were taken off the server.
    pub(crate) fn moved(app: &AppName) -> String {
        format!(
            "the keys of app {app} are not on this server any more, so its folder is served as it was published last; \
             publish with `updraft publish DIR --app {app}` from where the keys are"
        )
    }

    fn publish(&self) -> Result<Report, folder::Error> {
        let remote: &dyn Remote = &self.remote;
        let options = Options::default();
        let publisher =
            Publisher { remote, keys: &self.keys, passphrases: &Unlocked, progress: &Silent, options: &options };
        // A scan that panicked left nothing but what need not be hashed again.
        let mut folder = self.folder.lock().unwrap_or_else(PoisonError::into_inner);
        folder.publish(&publisher, Timestamp::now())
    }
}

/// Publishes the folder whenever the server is asked to.
pub(crate) struct FolderRescan(pub(crate) Arc<FolderApp>);

impl Rescan for FolderRescan {
    fn rescan(&self) -> BoxFuture<'_, Result<Outcome, String>> {
        let folder = Arc::clone(&self.0);
        Box::pin(async move {
            let app = folder.app.clone();
            if !folder.can_sign() {
                return Err(FolderApp::moved(&app));
            }
            let report = tokio::task::spawn_blocking(move || folder.publish()).await.map_err(|e| e.to_string())?;
            let report = report.map_err(|e| e.to_string())?;
            for warning in &report.warnings {
                tracing::warn!(%app, "{warning}");
            }
            match report.outcome {
                folder::Outcome::Unchanged => Ok(Outcome::Unchanged),
                folder::Outcome::Published(published) => {
                    let (files, bytes) = (published.plan.files, published.plan.bytes);
                    tracing::info!(%app, release = %published.plan.release, files, bytes, "published the folder");
                    Ok(Outcome::Published(published.plan.release))
                }
            }
        })
    }
}

/// Asks for a scan whenever the folder has changed and been quiet since the last look. Never returns.
pub(crate) async fn watch(mut folder: Folder, rescan: Coalesced) {
    let mut published: Option<Digest> = None;
    let mut seen: Option<Digest> = None;
    let mut said: Option<String> = None;
    let mut pause = LOOK_EVERY;
    loop {
        let looked = tokio::task::spawn_blocking(move || {
            let looked = folder.look();
            (folder, looked)
        });
        let Ok((again, looked)) = looked.await else { return };
        folder = again;
        // A folder that cannot be read is usually one that somebody is writing to; if it stays so, it is said once.
        let now = match looked {
            Ok(now) => Some(now),
            Err(reason) => {
                let reason = reason.to_string();
                if said.as_ref() != Some(&reason) {
                    tracing::warn!("the folder cannot be read now: {reason}");
                    said = Some(reason);
                }
                None
            }
        };
        let quiet = now.is_some() && now == seen;
        seen = now;
        if quiet && now != published {
            match rescan.rescan().await {
                Ok(_) => (published, pause) = (now, LOOK_EVERY),
                Err(reason) => {
                    // What passes by itself (a full disk) is tried again, less and less often.
                    tracing::error!("the folder was not published: {reason}");
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
        tokio::time::sleep(pause).await;
    }
}
