//! What a publisher builds on: the app as it is right now, believed for the reasons that a device has.
//!
//! The server is not trusted. Its metadata is verified from the root that lies beside the keys, and compared with what
//! was believed last, so that a server that was taken over, or restored from an old backup, cannot make a publisher sign
//! a step back.

use std::collections::BTreeMap;

use updraft_core::Timestamp;
use updraft_core::channel::Channel;
use updraft_core::head::Head;
use updraft_core::layout;
use updraft_core::limits::RELEASE_LEN_MAX;
use updraft_core::name::{AppName, ChannelName};
use updraft_core::release::{self, Release, ReleaseName, Terms};
use updraft_core::trust::{
    self, Cache, MetadataFile, RefreshError, Role, Source, TargetFile, Targets, Trusted, refresh,
};

use crate::keys::{self, Keystore};
use crate::remote::{Remote, RemoteError};
use crate::root::{Signers, forget_overtaken};

/// Why the app as it is cannot be built on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No app was created with these keys.
    #[error(
        "{dir}: there is no root.json of app {app}; put a copy of its first root there, name the directory that has it \
         with --keys, or create the app"
    )]
    NoRoot {
        /// The key directory.
        dir: std::path::PathBuf,
        /// The app.
        app: AppName,
    },
    /// The server does not have the app.
    #[error("app {app} is not on the server; create it, or check the name and the address of the server")]
    NoApp {
        /// The app.
        app: AppName,
    },
    /// The keys cannot be used.
    #[error(transparent)]
    Keys(#[from] keys::Error),
    /// The server cannot be asked.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// What the server says is not believed.
    #[error("app {app}: what the server has is not believed: {source}; nothing was published")]
    Trust {
        /// The app.
        app: AppName,
        /// Why.
        source: trust::Error,
    },
    /// The server lacks something that its own metadata names.
    #[error("app {app}: {what} is named by the metadata, but the server does not have it; run fsck on the server")]
    Hole {
        /// The app.
        app: AppName,
        /// What is missing.
        what: String,
    },
    /// A document is signed and cannot be read.
    #[error("app {app}: {what}: {reason}")]
    Document {
        /// The app.
        app: AppName,
        /// Which.
        what: String,
        /// Why.
        reason: String,
    },
}

/// A live release, as `targets` lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Live {
    /// Which one.
    pub name: ReleaseName,
    /// What is signed of its document.
    pub file: TargetFile,
}

impl Live {
    /// Whether it is kept though no channel points at it.
    pub fn is_pinned(&self) -> bool {
        crate::sign::is_pinned(&self.file)
    }
}

/// An app as it is right now.
#[derive(Debug)]
pub struct Base {
    app: AppName,
    trusted: Trusted,
    channels: BTreeMap<ChannelName, Channel>,
}

impl Base {
    /// Reads the app and verifies all of it. What is newly believed is remembered beside the keys.
    ///
    /// # Errors
    /// When the server cannot be asked, does not have the app, or is not believed.
    pub fn read(remote: &dyn Remote, app: &AppName, keys: &Keystore, now: Timestamp) -> Result<Self, Error> {
        let first = keys.first_root()?.ok_or_else(|| Error::NoRoot { dir: keys.dir().to_owned(), app: app.clone() })?;
        let _lock = keys.lock()?;
        let mut memory = keys.memory();
        let remembered = memory.load(&Role::Root).filter(|bytes| Trusted::new(bytes, now).is_ok());
        let mut source = Metadata { remote, app, found: false };
        let refreshed = refresh(&remembered.unwrap_or(first), now, &mut source, &mut memory);
        let found = source.found;
        let trusted = match refreshed {
            Ok(refreshed) => refreshed.trusted,
            Err(RefreshError::Source(RemoteError::NotFound { .. }) | RefreshError::Missing(_)) if !found => {
                return Err(Error::NoApp { app: app.clone() });
            }
            Err(RefreshError::Source(error)) => return Err(error.into()),
            Err(RefreshError::Cache(error)) => return Err(error.into()),
            Err(RefreshError::Trust(source)) => return Err(Error::Trust { app: app.clone(), source }),
            Err(RefreshError::Missing(what)) => return Err(Error::Hole { app: app.clone(), what }),
        };
        forget_overtaken(keys, trusted.root().version)?;
        let channels = read_channels(app, trusted.targets(&Role::channels()))?;
        Ok(Self { app: app.clone(), trusted, channels })
    }

    /// The publisher's targets.
    pub fn targets(&self) -> &Targets {
        self.trusted.targets(&Role::Targets).expect("a refresh ends with targets")
    }

    /// Who may sign for `role`, and how many must.
    pub fn signers(&self, role: &Role) -> Signers {
        Signers::of(self.trusted.root(), role)
    }

    /// What is believed of its metadata.
    pub(crate) fn trusted(&self) -> &Trusted {
        &self.trusted
    }

    /// Its channels, by name.
    pub fn channels(&self) -> &BTreeMap<ChannelName, Channel> {
        &self.channels
    }

    /// Its live releases. Targets that are no releases are not among them.
    pub fn live(&self) -> impl Iterator<Item = Live> + '_ {
        self.targets()
            .targets
            .iter()
            .filter_map(|(path, file)| Some(Live { name: ReleaseName::from_target_path(path)?, file: file.clone() }))
    }

    /// Its live releases with their terms: what a new release takes over from. What channels say of them does not count, for a
    /// server that was taken over writes channels: whatever the publisher signed stays until the publisher says otherwise.
    pub(crate) fn terms(&self) -> release::Live {
        let terms = |live: Live| Some((live.name, Terms::from_custom(live.file.custom.as_ref()).ok()?));
        self.live().filter_map(terms).collect()
    }

    /// The live release of this name; versions that the order holds equal are the same.
    pub fn find(&self, name: &ReleaseName) -> Option<Live> {
        self.live().find(|live| live.name == *name)
    }

    /// The document of a live release, verified.
    ///
    /// # Errors
    /// When the server cannot be asked, or does not give the document that was signed.
    pub fn document(&self, remote: &dyn Remote, live: &Live) -> Result<Release, Error> {
        let what = || format!("release {}", live.name);
        let document = |reason: String| Error::Document { app: self.app.clone(), what: what(), reason };
        let sha256 = live.file.hashes.sha256.ok_or_else(|| document("its hash is of no kind known here".to_owned()))?;
        let key = layout::release(&self.app, &live.name, sha256);
        let max = live.file.length.min(RELEASE_LEN_MAX);
        let bytes = remote.read(&key, max)?.ok_or_else(|| Error::Hole { app: self.app.clone(), what: what() })?;
        if !live.file.matches(&bytes) {
            return Err(document("what the server has is not what was signed; run fsck on the server".to_owned()));
        }
        Release::decode(&bytes, &self.app, &live.name).map_err(|e: release::Error| document(e.to_string()))
    }
}

fn read_channels(app: &AppName, role: Option<&Targets>) -> Result<BTreeMap<ChannelName, Channel>, Error> {
    let mut channels = BTreeMap::new();
    for (path, file) in role.iter().flat_map(|role| &role.targets) {
        let bad = |reason: String| Error::Document { app: app.clone(), what: path.clone(), reason };
        let Some(name) = path.strip_prefix("channels/") else { continue };
        let name: ChannelName = name.parse().map_err(|e| bad(format!("{e}")))?;
        let custom = file.custom.clone().ok_or_else(|| bad("it holds no channel".to_owned()))?;
        let channel: Channel = serde_json::from_value(custom).map_err(|e| bad(e.to_string()))?;
        if channel.format != 1 {
            return Err(bad(format!("format {} is newer than this program: update it", channel.format)));
        }
        channels.insert(name, channel);
    }
    Ok(channels)
}

/// The server's metadata, for `core::trust`.
struct Metadata<'a> {
    remote: &'a dyn Remote,
    app: &'a AppName,
    found: bool,
}

impl Source for Metadata<'_> {
    type Error = RemoteError;

    fn head(&mut self) -> Result<Option<Head>, RemoteError> {
        let head = self.remote.head(self.app)?;
        self.found = head.is_some();
        Ok(head)
    }

    fn fetch(&mut self, file: &MetadataFile, max: u64) -> Result<Option<Vec<u8>>, RemoteError> {
        let bytes = self.remote.read(&layout::metadata(self.app, file), max)?;
        self.found |= bytes.is_some();
        Ok(bytes)
    }
}
