//! A folder that publishes itself: whoever changes its files has published.
//!
//! The folder *is* the app's content. Its version comes from `release.json`, or grows by itself; its notes lie beside
//! the files. [`decide`] is the whole decision, pure; [`Folder`] scans, asks it, and publishes. A folder that changes
//! while it is read is read again; what cannot be published as it is leaves the last release as it was. The folder is
//! whatever its path names at that moment: one that is not there is an error, and one without files after a release that
//! had some is held back, because a disk that was not mounted looks just like it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use updraft_core::Timestamp;
use updraft_core::digest::{Digest, Hasher};
use updraft_core::name::{AppName, ChannelName, Platform};
use updraft_core::path::RelPath;
use updraft_core::release::{Notes, Release, ReleaseName};
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

/// Something that whoever keeps the folder should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// The content changed, and `release.json` names the version that is out already.
    SameVersion(Version),
    /// `release.json` names a version that is older than the one that is out.
    OlderVersion {
        /// What it names.
        named: Version,
        /// What is out.
        current: Version,
    },
    /// There are no files any more, and the release that is out has some.
    Empty {
        /// What is out.
        current: Version,
    },
    /// Files whose short address belongs to the server.
    Reserved(Vec<String>),
    /// What is in the folder and cannot be in a release, with the reason.
    Skipped(Vec<String>),
    /// The server lacked some of the release that is out. It has been sent again.
    Mended {
        /// What is out.
        current: ReleaseName,
        /// How many blobs were sent; none when only the list of its files was gone.
        blobs: u64,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SameVersion(version) => write!(
                f,
                "the folder changed, but {MANIFEST} still says version {version}, which is out already; \
                 raise the version to publish the change"
            ),
            Self::OlderVersion { named, current } => write!(
                f,
                "{MANIFEST} says version {named}, but {current} is out already, and versions only go forward; \
                 raise the version to publish"
            ),
            Self::Empty { current } => write!(
                f,
                "the folder has no files, and {current}, which is out, has some; put them back, or, if devices are to \
                 delete theirs, name a version greater than {current} in {MANIFEST}"
            ),
            Self::Reserved(names) => write!(
                f,
                "{}: the server's own addresses have such names; these are served below /apps/APP/files/ only",
                names.join(", ")
            ),
            Self::Mended { current, blobs } => {
                write!(f, "the server lacked some of release {current}; it was sent again ({blobs} blobs)")
            }
            Self::Skipped(lines) => write!(f, "left out: {}", lines.join("; ")),
        }
    }
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

/// What to do about a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It is out as it is.
    Unchanged,
    /// It goes out as this version.
    Publish(Version),
    /// It differs from what is out, and may not go out as it is.
    Held(Warning),
}

/// What a decision needs to know of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Its digest.
    pub tree: Digest,
    /// Regular files in it.
    pub files: u64,
}

/// What to do about a folder that holds `seen`, and whose `release.json` names `named`, when `current` is out (version
/// and tree) and the versions that `is_taken` says exist already.
///
/// A named version goes out when it is greater than what is out. Without one, the last number of the version grows by one
/// whenever the content changed; the first is 0.0.1. No files after a release with some go out by name only: somebody who
/// wrote `release.json` with a greater version meant it, and a folder that somebody lost has none.
pub fn decide(
    seen: Seen,
    named: Option<&Version>,
    current: Option<(&Version, Seen)>,
    is_taken: &dyn Fn(&Version) -> bool,
) -> Decision {
    let free = |mut version: Version| {
        while is_taken(&version) {
            version = version.next();
        }
        Decision::Publish(version)
    };
    match (named, current) {
        (Some(named), None) => Decision::Publish(named.clone()),
        (Some(named), Some((current, _))) if named > current => Decision::Publish(named.clone()),
        (Some(named), Some((current, _))) if named < current => {
            Decision::Held(Warning::OlderVersion { named: named.clone(), current: current.clone() })
        }
        (_, Some((_, out))) if out.tree == seen.tree => Decision::Unchanged,
        (_, Some((current, out))) if seen.files == 0 && out.files > 0 => {
            Decision::Held(Warning::Empty { current: current.clone() })
        }
        (Some(named), Some(_)) => Decision::Held(Warning::SameVersion(named.clone())),
        (None, Some((current, _))) => free(current.next()),
        (None, None) => free("0.0.1".parse().expect("0.0.1 is a version")),
    }
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
            allowed: None,
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
    use proptest::prelude::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    fn tree(n: u8) -> Seen {
        Seen { tree: Digest::of(&[n]), files: 1 }
    }

    #[test]
    fn without_a_version_the_last_number_grows_when_the_content_changed() {
        let free = |_: &Version| false;
        assert_eq!(decide(tree(1), None, None, &free), Decision::Publish(version("0.0.1")));
        let out = version("1.9");
        assert_eq!(decide(tree(1), None, Some((&out, tree(1))), &free), Decision::Unchanged);
        let Decision::Publish(next) = decide(tree(2), None, Some((&out, tree(1))), &free) else { panic!() };
        assert_eq!(next.as_str(), "1.10");
        let taken = |v: &Version| *v == version("1.10");
        assert_eq!(decide(tree(2), None, Some((&out, tree(1))), &taken), Decision::Publish(version("1.11")));
    }

    #[test]
    fn with_a_version_only_a_greater_one_goes_out() {
        let free = |_: &Version| false;
        let out = version("1.2.0");
        let of = |named: &str, content| decide(tree(content), Some(&version(named)), Some((&out, tree(1))), &free);
        assert_eq!(of("1.3", 2), Decision::Publish(version("1.3")));
        // Greater with the same content: its keeper wants a release.
        assert_eq!(of("1.3", 1), Decision::Publish(version("1.3")));
        assert_eq!(of("1.2", 1), Decision::Unchanged);
        assert_eq!(of("1.2", 2), Decision::Held(Warning::SameVersion(version("1.2"))));
        let older = Warning::OlderVersion { named: version("1.1"), current: out.clone() };
        assert_eq!(of("1.1", 2), Decision::Held(older));
        assert_eq!(decide(tree(1), Some(&out), None, &free), Decision::Publish(out.clone()));
    }

    #[test]
    fn no_files_after_some_go_out_by_name_only() {
        let free = |_: &Version| false;
        let (out, empty) = (version("1.0"), Seen { files: 0, ..tree(0) });
        let held = Decision::Held(Warning::Empty { current: out.clone() });
        assert_eq!(decide(empty, None, Some((&out, tree(1))), &free), held);
        assert_eq!(decide(empty, Some(&out), Some((&out, tree(1))), &free), held);
        let newer = version("1.1");
        assert_eq!(decide(empty, Some(&newer), Some((&out, tree(1))), &free), Decision::Publish(newer.clone()));
        // Nothing is lost where nothing was.
        let other = Seen { files: 0, ..tree(1) };
        assert_eq!(decide(empty, None, Some((&out, other)), &free), Decision::Publish(newer));
        assert_eq!(decide(empty, None, None, &free), Decision::Publish(version("0.0.1")));
    }

    proptest! {
        #[test]
        fn what_goes_out_is_always_newer(
            named in proptest::option::of("[0-9]{1,2}(\\.[0-9]{1,2}){0,2}"), out in "[0-9]{1,2}(\\.[0-9]{1,2}){0,2}",
            content in 0..3_u8, taken in proptest::collection::vec("[0-9]{1,2}\\.[0-9]{1,2}", 0..4),
        ) {
            let (named, out) = (named.map(|text| version(&text)), version(&out));
            let taken: Vec<Version> = taken.iter().map(|text| version(text)).collect();
            let decision = decide(tree(content), named.as_ref(), Some((&out, tree(0))), &|v| taken.contains(v));
            if let Decision::Publish(version) = decision {
                prop_assert!(version > out);
                prop_assert!(named.is_some() || !taken.contains(&version));
            }
        }
    }

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
