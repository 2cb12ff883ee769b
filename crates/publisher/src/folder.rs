//! A folder that publishes itself: whoever changes its files has published.
//!
//! The folder *is* the app's content. Its version comes from `release.json`, or grows by itself; its notes lie beside
//! the files. [`decide`] is the whole decision, pure; [`Folder`] scans, asks it, and publishes. A folder that changes
//! while it is read is read again; what cannot be published as it is leaves the last release as it was. The folder is
//! whatever its path names at that moment: one that is not there is an error, and one without files after a release that
//! had some is held back, because a disk that was not mounted looks just like it.

mod decide;

use std::io;
use std::path::{Path, PathBuf};

use updraft_core::Timestamp;
use updraft_core::digest::{Digest, Hasher};
use updraft_core::name::{AppName, ChannelName, Platform};
use updraft_core::path::RelPath;
use updraft_core::release::{Notes, Release, ReleaseName, Terms};
use updraft_core::tree::Tree;
use updraft_core::version::Version;
use updraft_files::Dir;
use updraft_files::index::Index;
use updraft_files::scan::{self, Ignore, Scan, scan};

use crate::base::{self, Base};
use crate::keys::Keystore;
use crate::notes::{self, MANIFEST, Manifest, is_notes};
use crate::progress::{Phase, Progress, Silent};
use crate::publish::{self, Encodings, Options, Published, Publisher, Wanted};
use crate::remote::Remote;
pub use decide::{Decision, Seen, Warning, decide};

/// What the old server left in its folder: a list that listed itself.
const OLD_LIST: &str = "listFile";

/// Names at the top of a folder whose short address belongs to the server.
const RESERVED: [&str; 8] =
    ["apps", "api", "blobs", "trees", "patches", "dashboard", "checkUpdate", "generateNewConfig"];

/// How often a folder that changes while it is published is read again.
const TRIES_MAX: u32 = 3;

/// Why a folder was not published. The release before it is still out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be opened.
    #[error(transparent)]
    Files(#[from] updraft_files::Error),
    /// It cannot be read as a tree.
    #[error(transparent)]
    Scan(#[from] scan::Error),
    /// What is said of it cannot be read.
    #[error(transparent)]
    Notes(#[from] notes::Error),
    /// The app cannot be built on.
    #[error(transparent)]
    Base(#[from] base::Error),
    /// It cannot be published.
    #[error(transparent)]
    Publish(#[from] publish::Error),
    /// What is private would be published, or what is published would be in the way.
    #[error("{folder} and {other} lie inside one another; what is in the folder is public: move one of them")]
    Overlap {
        /// The folder.
        folder: PathBuf,
        /// The keys, or whatever else must not be in it.
        other: PathBuf,
    },
    /// The system does not say where something lies.
    #[error("{path}: {source}")]
    Place {
        /// What was looked for.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// What a look at the folder came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// What it holds is out already, and whole, or may not go out yet: see the warnings.
    Unchanged,
    /// It had changed; this is out now.
    Published(Box<Published>),
}

/// What a look at the folder came to, and what its keeper should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// What it came to.
    pub outcome: Outcome,
    /// The release that is out now, if there is one.
    pub current: Option<ReleaseName>,
    /// What its keeper should know.
    pub warnings: Vec<Warning>,
}

/// A folder that is an app's content.
///
/// It is opened anew for every look: whoever replaces a folder by another of its name means the other one.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// What must not lie in it; its path may lead elsewhere than it did when it was opened first.
    keys: PathBuf,
    app: AppName,
    channel: ChannelName,
    /// What need not be hashed again.
    index: Index,
}

/// What a folder holds.
struct Content {
    /// The folder that was read, and no other that has its name since.
    dir: Dir,
    tree: Tree,
    version: Option<Version>,
    notes: Notes,
    warnings: Vec<Warning>,
}

impl Folder {
    /// The folder at `path`, whose content is to go out on `channel` of `app`.
    ///
    /// # Errors
    /// When it cannot be opened, or it and the keys lie inside one another.
    pub fn open(path: &Path, app: AppName, channel: ChannelName, keys: &Keystore) -> Result<Self, Error> {
        let (path, keys) = (path.to_owned(), keys.dir().to_owned());
        let folder = Self { path, keys, app, channel, index: Index::new() };
        folder.dir()?;
        Ok(folder)
    }

    /// The folder that has the path now.
    fn dir(&self) -> Result<Dir, Error> {
        refuse_overlap(&self.path, &self.keys)?;
        Ok(Dir::open(&self.path)?)
    }

    /// The app.
    pub fn app(&self) -> &AppName {
        &self.app
    }

    /// A digest of everything that [`Self::publish`] would look at: it changes when the folder does. Files that did not
    /// change since the last look are not read.
    ///
    /// # Errors
    /// When the folder cannot be read now; while somebody writes there, that is usual.
    pub fn look(&mut self) -> Result<Digest, Error> {
        let content = self.read(&Silent)?;
        let said = (content.version.as_ref().map(Version::as_str), &content.notes);
        let mut hasher = Hasher::new();
        hasher.update(content.tree.digest().as_bytes());
        hasher.update(&serde_json::to_vec(&said).expect("a version and notes are plain JSON"));
        Ok(hasher.finish())
    }

    /// Looks at the folder, and publishes it when it should be. `publisher.options` decides everything but how blobs are
    /// stored: whoever downloads single files from the server needs them as they are.
    ///
    /// # Errors
    /// When it cannot be read, or not be published. What was out before still is.
    pub fn publish(&mut self, publisher: &Publisher<'_>, now: Timestamp) -> Result<Report, Error> {
        let options = Options { encodings: Encodings::RawAndSmaller, ..publisher.options.clone() };
        let publisher = Publisher { options: &options, ..*publisher };
        let mut tries = 1;
        loop {
            match self.publish_once(&publisher, now) {
                // Somebody writes there; what is true now?
                Err(Error::Publish(publish::Error::Changed { .. })) if tries < TRIES_MAX => tries += 1,
                done => return done,
            }
        }
    }

    fn publish_once(&mut self, publisher: &Publisher<'_>, now: Timestamp) -> Result<Report, Error> {
        let mut content = self.read(publisher.progress)?;
        let base = Base::read(publisher.remote, &self.app, publisher.keys, now)?;
        let out = self.current(publisher.remote, &base)?;
        let current = out
            .as_ref()
            .map(|release| (&release.version, Seen { tree: release.tree.digest, files: release.tree.files }));
        let platform = Platform::any();
        let is_taken = |version: &Version| {
            base.find(&ReleaseName { platform: platform.clone(), version: version.clone() }).is_some()
        };
        let seen = Seen { tree: content.tree.digest(), files: content.tree.file_count() };
        let decision = decide(seen, content.version.as_ref(), current, &is_taken);
        let version = match (decision, &out) {
            (Decision::Publish(version), _) => version,
            // Out, and perhaps not whole any more.
            (Decision::Unchanged, Some(out)) => out.version.clone(),
            (Decision::Unchanged, None) => return Ok(report(out, content.warnings)),
            (Decision::Held(warning), _) => {
                content.warnings.insert(0, warning);
                return Ok(report(out, content.warnings));
            }
        };
        let wanted = Wanted {
            app: self.app.clone(),
            version,
            platform,
            notes: content.notes,
            channel: Some(self.channel.clone()),
            terms: Terms::default(),
        };
        let published = publisher.publish(&content.dir, &content.tree, &wanted, now)?;
        if published.committed.is_none() {
            let Published { plan, sent_blobs: blobs, .. } = published;
            if blobs > 0 || plan.sends_tree {
                content.warnings.push(Warning::Mended { current: plan.release, blobs });
            }
            return Ok(report(out, content.warnings));
        }
        let current = Some(published.plan.release.clone());
        Ok(Report { outcome: Outcome::Published(Box::new(published)), current, warnings: content.warnings })
    }

    fn read(&mut self, progress: &dyn Progress) -> Result<Content, Error> {
        progress.begin(Phase::Scan, None);
        let dir = self.dir()?;
        let options = scan::Options { ignore: Ignore::read(&dir)?, top_level_excluded: is_no_content };
        let Scan { tree, index, skipped } = scan(&dir, &options, &self.index, &|bytes| progress.advance(bytes))?;
        self.index = index;
        let manifest = Manifest::read(&dir)?.unwrap_or_default();
        let notes = notes::in_dir(&dir)?.unwrap_or_default();
        let mut warnings = Vec::new();
        let is_there = |name: &&&str| name.parse::<RelPath>().is_ok_and(|path| tree.get(&path).is_some());
        let reserved: Vec<String> = RESERVED.iter().filter(is_there).map(|name| (*name).to_owned()).collect();
        if !reserved.is_empty() {
            warnings.push(Warning::Reserved(reserved));
        }
        if !skipped.is_empty() {
            warnings.push(Warning::Skipped(skipped));
        }
        Ok(Content { dir, tree, version: manifest.version, notes, warnings })
    }

    /// The release that the channel has for everybody.
    fn current(&self, remote: &dyn Remote, base: &Base) -> Result<Option<Release>, Error> {
        let platform = Platform::any();
        let stream = base.channels().get(&self.channel).and_then(|channel| channel.platforms.get(&platform));
        let Some(stream) = stream else { return Ok(None) };
        let name = ReleaseName { platform, version: stream.current.clone() };
        let live = base.find(&name).ok_or_else(|| base::Error::Hole {
            app: self.app.clone(),
            what: format!("release {name}, which channel {} has,", self.channel),
        })?;
        Ok(Some(base.document(remote, &live)?))
    }
}

/// Nothing new went out.
fn report(current: Option<Release>, warnings: Vec<Warning>) -> Report {
    Report { outcome: Outcome::Unchanged, current: current.map(|release| release.name()), warnings }
}

/// What at the top of a folder is about the release, and not in it.
fn is_no_content(name: &str) -> bool {
    name == MANIFEST || name == OLD_LIST || is_notes(name)
}

/// Refuses a folder that holds `other`, or lies in it: what is in the folder is public. Neither need exist.
///
/// # Errors
/// [`Error::Overlap`]; or when the system does not say where they lie.
pub fn refuse_overlap(folder: &Path, other: &Path) -> Result<(), Error> {
    let place = |path: &Path| place_of(path).map_err(|source| Error::Place { path: path.to_owned(), source });
    let (a, b) = (place(folder)?, place(other)?);
    if a.starts_with(&b) || b.starts_with(&a) {
        return Err(Error::Overlap { folder: folder.to_owned(), other: other.to_owned() });
    }
    Ok(())
}

/// Where `path` lies, or would lie once it is made, links resolved.
fn place_of(path: &Path) -> io::Result<PathBuf> {
    let absolute = std::path::absolute(path)?;
    let mut missing = Vec::new();
    let mut there = absolute.as_path();
    loop {
        match there.canonicalize() {
            Ok(place) => return Ok(missing.iter().rev().fold(place, |place, name| place.join(name))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let (Some(parent), Some(name)) = (there.parent(), there.file_name()) else { return Err(e) };
                missing.push(name);
                there = parent;
            }
            Err(e) => return Err(e),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_about_the_release_is_left_out() {
        for name in ["release.json", "listFile", "notes.md", "notes.txt", "notes.en.md", "notes.zh-CN.md"] {
            assert!(is_no_content(name), "{name}");
        }
        for name in ["notes", "notes.exe", "notesapp.md", "notes.db", "notes.a.b.md", "README.md", "Release.json"] {
            assert!(!is_no_content(name), "{name}");
        }
    }

    #[test]
    fn keys_are_never_in_a_public_folder() {
        let temp = tempfile::tempdir().unwrap();
        let at = |name: &str| temp.path().join(name);
        std::fs::create_dir_all(at("folder/sub")).unwrap();
        for (folder, other) in [("folder", "folder"), ("folder", "folder/sub/keys/not/there"), ("folder/sub", "folder")]
        {
            assert!(matches!(refuse_overlap(&at(folder), &at(other)), Err(Error::Overlap { .. })), "{folder} {other}");
        }
        assert!(refuse_overlap(&at("folder"), &at("folder.keys")).is_ok());
        assert!(refuse_overlap(&at("folder/sub"), &at("folder/other")).is_ok());
    }

    #[cfg(unix)]
    #[test]
    fn a_link_does_not_hide_that_keys_lie_in_the_folder() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir(temp.path().join("folder")).unwrap();
        std::os::unix::fs::symlink("folder", temp.path().join("link")).unwrap();
        let keys = temp.path().join("link/keys");
        assert!(matches!(refuse_overlap(&temp.path().join("folder"), &keys), Err(Error::Overlap { .. })));
    }
}
