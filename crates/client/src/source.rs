//! Where an app comes from: a server, or a folder that is laid out like one.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use updraft_core::name::AppName;

use crate::fetch::Transport;
use crate::fetch::authority::Authority;
use crate::fetch::dir::{AppDir, Dir, DirError};
use crate::fetch::http::{AppUrl, Http, UrlError};

/// Why a text does not say where an app comes from.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is no address of an app.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// It is no folder that holds one.
    #[error(transparent)]
    Dir(#[from] DirError),
    /// The folder's name could not be written down.
    #[error("'{0}' is not valid Unicode: rename the folder, or mount it elsewhere")]
    NotText(String),
    /// It is another app's.
    #[error("{at} is app {found}, and {expected} is installed here")]
    OtherApp {
        /// The source.
        at: String,
        /// The app that it is of.
        found: AppName,
        /// The app that is followed.
        expected: AppName,
    },
}

/// Where an app comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A server.
    Http(AppUrl),
    /// A folder: a USB stick, a network drive.
    Dir(AppDir),
}

impl Source {
    /// The app at an address such as `https://example.com/apps/NAME`. Nothing is asked.
    ///
    /// # Errors
    /// When it is no such address.
    pub fn url(text: &str) -> Result<Self, Error> {
        Ok(Self::Http(AppUrl::parse(text)?))
    }

    /// The app in a folder: `FOLDER/apps/NAME`, or a folder whose `apps/` holds one app only.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn folder(path: &Path) -> Result<Self, Error> {
        let found = AppDir::find(path)?;
        match found.base.to_str() {
            Some(_) => Ok(Self::Dir(found)),
            None => Err(Error::NotText(found.base.display().to_string())),
        }
    }

    /// The source that [`fmt::Display`] wrote. A folder need not be there now.
    ///
    /// # Errors
    /// When the text was written by nobody of ours.
    pub(crate) fn from_settings(text: &str) -> Result<Self, Error> {
        if text.starts_with("http://") || text.starts_with("https://") {
            return Self::url(text);
        }
        let path = Path::new(text);
        match AppDir::named(path) {
            Some(found) => Ok(Self::Dir(found)),
            None => Err(DirError::NoApp { path: path.to_owned() }.into()),
        }
    }

    /// The app.
    pub fn app(&self) -> &AppName {
        match self {
            Self::Http(url) => &url.app,
            Self::Dir(dir) => &dir.app,
        }
    }

    /// What reads from it, for `connections` threads at a time; a server that `authority` vouches for.
    pub(crate) fn transport(
        &self,
        user_agent: &str,
        connections: usize,
        authority: Option<&Authority>,
    ) -> Arc<dyn Transport> {
        match self {
            Self::Http(url) => Arc::new(Http::new(&url.base, user_agent, connections, authority)),
            Self::Dir(dir) => Arc::new(Dir::new(&dir.base)),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(url) => write!(f, "{}/apps/{}", url.base, url.app),
            Self::Dir(dir) => write!(f, "{}", dir.base.join("apps").join(dir.app.as_str()).display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_into_settings_is_read_back_even_when_the_stick_is_gone() {
        let stick = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(stick.path().join("apps/demo")).unwrap();
        let folder = Source::folder(stick.path()).unwrap();
        drop(stick);
        assert_eq!(Source::from_settings(&folder.to_string()).unwrap(), folder);
        let url = Source::url("https://example.com/apps/demo/").unwrap();
        assert_eq!(Source::from_settings(&url.to_string()).unwrap(), url);
        assert!(Source::from_settings("elsewhere").is_err());
    }
}
