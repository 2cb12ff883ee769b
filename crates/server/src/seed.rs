//! A folder as an app, as the readers of the seed's server know it: a version, a list of MD5s, and files by their paths.
//!
//! All of it is derived from the app's current release on `stable`, so it is never torn and never half new, whatever
//! happens in the folder meanwhile. MD5 is what those readers compare; nothing else here believes it, and every list can
//! be thrown away and made again.

mod list;
mod md5s;
mod walk;

use std::sync::Arc;

use updraft_core::digest::Digest;
use updraft_core::name::{AppName, ChannelName, Platform};
use updraft_core::release::Release;
use updraft_core::tree::stored::Encoding;
use updraft_core::{layout, tree};

pub use list::List;

use crate::depot::{self, Depot, ReleaseTree, View};
use crate::rescan::{Coalesced, Outcome, Rescan};
use crate::store::{self, Object};

/// Names that the server needs for itself: at the top of the folder, a file or directory of such a name is served at
/// `/apps/{app}/files/...` only, and is not in the list.
pub const RESERVED: [&str; 9] =
    ["api", "apps", "blobs", "checkUpdate", "dashboard", "generateNewConfig", "listFile", "patches", "trees"];

/// Whether the first component of `path` is one of the [`RESERVED`] names.
pub fn is_reserved(path: &str) -> bool {
    let first = path.split('/').next().unwrap_or(path);
    RESERVED.contains(&first)
}

/// Why the folder's app cannot answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The first scan is not over, or failed.
    #[error("app {0} has no release yet: the folder is still being read, or could not be; the server's log says which")]
    NotPublished(AppName),
    /// The content of a file is not there as it is.
    #[error("blob {0} of the current release is not in the store as it is: have the folder scanned again")]
    NotRaw(Digest),
    /// The depot could not answer.
    #[error(transparent)]
    Depot(#[from] depot::Error),
    /// The store could not answer.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The making of a list broke off.
    #[error("the list of files could not be made: {0}")]
    Stopped(String),
}

/// The folder's app. Clones are the same.
#[derive(Debug, Clone)]
pub struct Seed {
    app: AppName,
    depot: Depot,
    rescan: Option<Coalesced>,
    lists: Arc<md5s::Lists>,
}

/// A file of the current release.
#[derive(Debug)]
pub struct File {
    /// What it contains.
    pub digest: Digest,
    /// Its last component.
    pub name: String,
    /// Its content, as it is.
    pub object: Object,
}

impl Seed {
    /// The app `app` of `depot`, scanned by `rescan`; without it, nobody can ask for a scan.
    pub fn new(app: AppName, depot: Depot, rescan: Option<Arc<dyn Rescan>>) -> Self {
        let rescan = rescan.map(Coalesced::new);
        Self { app, depot, rescan, lists: Arc::default() }
    }

    /// Its name.
    pub fn app(&self) -> &AppName {
        &self.app
    }

    /// What is live of it now.
    pub(crate) fn view(&self) -> Option<Arc<View>> {
        self.depot.view(&self.app)
    }

    /// The release that is fully out.
    ///
    /// # Errors
    /// [`Error::NotPublished`] before the first one is.
    pub fn release(&self) -> Result<Release, Error> {
        let view = self.view();
        let release = view.as_ref().and_then(|view| view.current(&ChannelName::stable(), &Platform::any()));
        release.cloned().ok_or_else(|| Error::NotPublished(self.app.clone()))
    }

    /// The file at `path`, nested or behind symlinks that stay in the tree; `None` where there is none.
    ///
    /// # Errors
    /// When nothing is published yet, or the store cannot answer.
    pub async fn file(&self, path: &str) -> Result<Option<File>, Error> {
        let (_, release_tree) = self.tree().await?;
        let Some((path, digest)) = walk::resolve(&release_tree.tree, path) else { return Ok(None) };
        let object = open_raw(&self.depot, &self.app, digest).await?;
        Ok(Some(File { digest, name: path.file_name().to_owned(), object }))
    }

    /// The list of the current release. Made when the release is new; then whoever asks waits for it, for a list of
    /// another release than the files would be worse than none.
    ///
    /// # Errors
    /// When nothing is published yet, or a file cannot be read.
    pub async fn list(&self) -> Result<Arc<List>, Error> {
        let release = self.release()?;
        if let Some(list) = self.lists.ready(release.tree.digest) {
            return Ok(list);
        }
        let seed = self.clone();
        // In a task of its own: whoever goes away while it is made leaves the others with what is done.
        let task = tokio::spawn(async move { md5s::make(&seed.lists, &seed, &release).await });
        task.await.unwrap_or_else(|e| Err(Error::Stopped(e.to_string())))
    }

    /// Has the folder scanned, and what changed published; `None` where the server has no folder to scan.
    ///
    /// # Errors
    /// What the scan says.
    pub async fn rescan(&self) -> Option<Result<Outcome, String>> {
        Some(self.rescan.as_ref()?.rescan().await)
    }

    async fn tree(&self) -> Result<(Release, Arc<ReleaseTree>), Error> {
        let release = self.release()?;
        match self.depot.tree(&self.app, &release.name()).await {
            Ok(release_tree) => Ok((release, release_tree)),
            // It was current a moment ago and is not even live now: whatever is current is there.
            Err(depot::Error::NotFound(_)) => {
                let release = self.release()?;
                let release_tree = self.depot.tree(&self.app, &release.name()).await?;
                Ok((release, release_tree))
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// The content of a blob as it is.
async fn open_raw(depot: &Depot, app: &AppName, digest: Digest) -> Result<Object, Error> {
    let key = layout::blob(app, digest, Encoding::Raw);
    depot.store().open(&key).await?.ok_or(Error::NotRaw(digest))
}

/// The files of a tree under the names that the seed's readers know them by: links to files count as the files.
fn listed(tree: &tree::Tree) -> impl Iterator<Item = (&str, Digest)> {
    tree.iter()
        .filter(|(path, kind)| !is_reserved(path.as_str()) && !matches!(kind, tree::Kind::Dir { .. }))
        .filter_map(|(path, _)| {
            let (_, digest) = walk::resolve(tree, path.as_str())?;
            Some((path.as_str(), digest))
        })
}
