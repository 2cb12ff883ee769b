//! Objects from a folder that is laid out as the store's public paths: a USB stick, a network drive, a static copy.
//!
//! The folder is as untrusted as a server. It is read with ordinary opens, symlinks included: whoever can write there
//! gains nothing by one, for what is read is verified.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use updraft_core::name::AppName;

use super::{Answer, Error, Request, Sink, Transport};

const PIECE_LEN: usize = 64 << 10;

/// Why a folder is not one that an app can be read from.
#[derive(Debug, thiserror::Error)]
pub enum DirError {
    /// There is nothing of an app in it.
    #[error("'{path}' holds no app: a folder 'apps/NAME' is expected in it, as the server's store has it")]
    NoApp {
        /// The folder.
        path: PathBuf,
    },
    /// There is more than one.
    #[error("'{path}' holds several apps ({names}): name one, as in '{path}/apps/NAME'")]
    SeveralApps {
        /// The folder.
        path: PathBuf,
        /// Their names.
        names: String,
    },
    /// It cannot be read.
    #[error("'{path}' cannot be read: {source}")]
    Unreadable {
        /// The folder.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

/// A folder that holds an app, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppDir {
    /// The folder that holds `apps/`.
    pub base: PathBuf,
    /// The app.
    pub app: AppName,
}

impl AppDir {
    /// Finds the app in `path`: either `.../apps/NAME`, or a folder whose `apps/` holds one app only.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn find(path: &Path) -> Result<Self, DirError> {
        let unreadable = |source| DirError::Unreadable { path: path.to_owned(), source };
        let full = path.canonicalize().map_err(unreadable)?;
        if let Some(found) = Self::named(&full) {
            return Ok(found);
        }
        let entries = match std::fs::read_dir(full.join("apps")) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(DirError::NoApp { path: path.to_owned() });
            }
            Err(error) => return Err(unreadable(error)),
        };
        let mut apps = Vec::new();
        for entry in entries {
            let name = entry.map_err(unreadable)?.file_name();
            let app = name.to_str().and_then(|name| name.parse::<AppName>().ok());
            // A stray file of the system that wrote the stick is no app.
            apps.extend(app.filter(|app| full.join("apps").join(app.as_str()).is_dir()));
        }
        apps.sort_unstable();
        match apps.as_slice() {
            [] => Err(DirError::NoApp { path: path.to_owned() }),
            [app] => Ok(Self { base: full, app: app.clone() }),
            several => {
                let names: Vec<&str> = several.iter().take(10).map(AppName::as_str).collect();
                Err(DirError::SeveralApps { path: path.to_owned(), names: names.join(", ") })
            }
        }
    }

    /// The app that a path of the form `.../apps/NAME` names. Nothing is looked at.
    pub(crate) fn named(full: &Path) -> Option<Self> {
        let app = full.file_name()?.to_str()?.parse().ok()?;
        let apps = full.parent()?;
        (apps.file_name()? == "apps").then_some(Self { base: apps.parent()?.to_owned(), app })
    }
}

/// Objects below a folder.
#[derive(Debug)]
pub struct Dir {
    base: PathBuf,
}

impl Dir {
    /// Objects below `base`, which holds `apps/`.
    pub fn new(base: &Path) -> Self {
        Self { base: base.to_owned() }
    }
}

impl Transport for Dir {
    fn get(&self, request: &Request<'_>, sink: &mut dyn Sink) -> Result<Answer, Error> {
        let path = self.base.join(request.key.as_str());
        let fail = |reason: std::io::Error| Error::Unreachable {
            what: path.display().to_string(),
            reason: reason.to_string(),
        };
        let mut file = match File::open(&path) {
            Ok(file) => file,
            // A missing object means something else than a stick that was pulled out.
            Err(error) if error.kind() == ErrorKind::NotFound && self.base.join("apps").is_dir() => {
                return Ok(Answer::Missing);
            }
            Err(error) => return Err(fail(error)),
        };
        let meta = file.metadata().map_err(fail)?;
        if !meta.is_file() {
            return Ok(Answer::Missing);
        }
        if request.from > 0 && request.from >= meta.len() {
            return Ok(Answer::PastEnd);
        }
        file.seek(SeekFrom::Start(request.from)).map_err(fail)?;
        sink.begin(request.from, None)?;
        let mut body = file.take(request.len.unwrap_or(u64::MAX));
        let mut piece = vec![0; PIECE_LEN];
        loop {
            match body.read(&mut piece) {
                Ok(0) => return Ok(Answer::Body { etag: None }),
                Ok(len) => sink.write(&piece[..len])?,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(fail(error)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_is_found_by_its_folder_or_as_the_only_one() {
        let stick = tempfile::tempdir().unwrap();
        let base = stick.path().canonicalize().unwrap();
        assert!(matches!(AppDir::find(&base), Err(DirError::NoApp { .. })));
        std::fs::create_dir_all(base.join("apps/demo/tuf")).unwrap();
        std::fs::write(base.join("apps/readme"), "no app").unwrap();
        let demo = AppDir { base: base.clone(), app: "demo".parse().unwrap() };
        assert_eq!(AppDir::find(&base).unwrap(), demo);
        assert_eq!(AppDir::find(&base.join("apps/demo")).unwrap(), demo);
        std::fs::create_dir(base.join("apps/other")).unwrap();
        assert!(matches!(AppDir::find(&base), Err(DirError::SeveralApps { names, .. }) if names == "demo, other"));
        assert_eq!(AppDir::find(&base.join("apps/demo")).unwrap(), demo);
        assert!(matches!(AppDir::find(&base.join("nowhere")), Err(DirError::Unreadable { .. })));
    }

    #[test]
    fn a_missing_object_is_not_a_missing_stick() {
        let stick = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(stick.path().join("apps/demo")).unwrap();
        std::fs::write(stick.path().join("apps/demo/head"), "0123456789").unwrap();
        let source = Dir::new(stick.path());
        let key = updraft_core::layout::head(&"demo".parse().unwrap());
        let get_part = |from, len| {
            let mut bytes = Vec::new();
            let request = Request { key: &key, from, len, if_range: None, if_none_match: None };
            source.get(&request, &mut bytes).map(|answer| (answer, bytes))
        };
        let get = |from| get_part(from, None);
        assert_eq!(get(0).unwrap(), (Answer::Body { etag: None }, b"0123456789".to_vec()));
        assert_eq!(get_part(2, Some(3)).unwrap().1, b"234");
        assert_eq!(get_part(8, Some(3)).unwrap().1, b"89");
        assert_eq!(get(10).unwrap().0, Answer::PastEnd);
        std::fs::remove_file(stick.path().join("apps/demo/head")).unwrap();
        assert_eq!(get(0).unwrap().0, Answer::Missing);
        std::fs::remove_dir_all(stick.path().join("apps")).unwrap();
        assert!(matches!(get(0), Err(Error::Unreachable { .. })));
    }
}
