//! An installed directory, and the updater's own folder beside it.
//!
//! `DIR` is the app's own directory. What the updater keeps lies in its *home*: `DIR.updraft` beside it, on the same file
//! system, so that a whole directory can be exchanged in one step; or `DIR/.updraft` where the parent cannot be used
//! (`DIR` is a mount, holds mounts, or its parent may not be written).
//!
//! ```text
//! settings.json   what is followed: app, source, channel, platform; the last file of a new home, so it marks a whole one
//! lock            held by the one process that may change anything; names it by its pid
//! record          the installed release: document, tree, stamps            (record.rs)
//! state.json      whether that release is confirmed                        (install/state.rs)
//! fetched.json    how it got here, and which patches were no good          (fetched.rs)
//! trust/          trusted metadata                                         (updater.rs)
//! downloads/      verified blobs, raw, by digest; parts of others; a patch (download.rs)
//! stage/          the release in the making                                (install/)
//! slot/ older/    releases that were installed before: tree/, record, foreign
//! backup/NAME/    what people had edited or put in the way; never deleted
//! journal         an update that is under way
//! trash/          old directories that could not be removed yet: a process lives in them, or they are not ours to remove
//! ```
//!
//! A home refuses: a directory that is not resolved to a real place, two homes for one directory, a newer format, and a
//! second process that wants to change things while one does.

use std::fs::File;
use std::io::ErrorKind::{
    AlreadyExists, InvalidFilename, NotADirectory, NotFound, PermissionDenied, ReadOnlyFilesystem,
};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use updraft_core::digest::Sha256;
use updraft_core::name::{AppName, ChannelName, Platform};
use updraft_core::path::RESERVED_DIR;
use updraft_files::{Dir, EntryKind, read_bounded, write_atomic};

use crate::fetch::authority::Authority;
use crate::install::mounts;
use crate::record::{self, Record};

/// Largest `settings.json`, in bytes: a source's URL is most of it.
const SETTINGS_LEN_MAX: u64 = 64 << 10;
const SETTINGS: &str = "settings.json";
pub(crate) const RECORD: &str = "record";

/// Why a home cannot be made, opened or used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing of ours is there.
    #[error("{}: not installed by updraft: run 'updraft-agent install --url URL {}' first", dir.display(), dir.display())]
    NotInstalled {
        /// The directory.
        dir: PathBuf,
    },
    /// A release is installed there already.
    #[error("{}: {app} is installed there already: update it instead, or choose another directory", dir.display())]
    Installed {
        /// The directory.
        dir: PathBuf,
        /// The app that it follows.
        app: AppName,
    },
    /// The directory cannot be one that is updated.
    #[error("{}: {reason}", dir.display())]
    Unusable {
        /// The directory.
        dir: PathBuf,
        /// The reason, and what to do.
        reason: &'static str,
    },
    /// Another process changes this directory now.
    #[error("{}: another process{} is updating it: wait until it is done", dir.display(), pid_text(*pid))]
    InUse {
        /// The directory.
        dir: PathBuf,
        /// The other process, where it could be read.
        pid: Option<u32>,
    },
    /// A file of the home is not what this program writes.
    #[error("{}: {reason}", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// This process may only look.
    #[error(
        "{source}: run this as the user that {} was installed by, or make the folder writable; what is installed keeps running",
        dir.display()
    )]
    Unwritable {
        /// The directory.
        dir: PathBuf,
        /// What was refused.
        source: updraft_files::Error,
    },
    /// The file system knows no locks.
    #[error("{}: cannot be locked: {source}", file.display())]
    Lock {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The record of what is installed cannot be used.
    #[error("{}: {source}", file.display())]
    Record {
        /// The record.
        file: PathBuf,
        /// Why.
        source: record::Error,
    },
    /// The file system said no.
    #[error(transparent)]
    Files(#[from] updraft_files::Error),
}

fn pid_text(pid: Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" (pid {pid})"))
}

/// Whether a home is opened to look, or to change something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Only to look: takes no lock, writes nothing.
    Read,
    /// To change things: held by one process at a time.
    Change,
}

/// Where the updater's own folder lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// `DIR.updraft`.
    Beside,
    /// `DIR/.updraft`.
    Inside,
}

/// What is followed, and how: `settings.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// 1.
    pub format: u32,
    /// The app.
    pub app: AppName,
    /// Where it comes from: the URL of the app on a server, or a folder.
    pub source: String,
    /// The channel.
    pub channel: ChannelName,
    /// The platform, so that a device keeps what it was installed as.
    pub platform: Platform,
    /// SHA-256 of the publisher's first root: who is believed. Homes that were made before it was written down lack it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<Sha256>,
    /// Who vouches for the server's certificate, where that is no public authority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<Authority>,
    /// Random name of this installation, lower-case hexadecimal; never personal.
    pub device: String,
    /// Update file by file even where the whole directory could be exchanged.
    #[serde(default)]
    pub in_place: bool,
}

/// An installed directory and its home.
#[derive(Debug)]
pub struct Home {
    dir: PathBuf,
    folder: Dir,
    place: Place,
    settings: Settings,
    lock: Option<File>,
}

impl Home {
    /// Makes the home of a first install, or takes up one whose first install was not finished. The directory itself may
    /// be missing; it is made.
    ///
    /// # Errors
    /// When a release is installed there already, the directory cannot be one that is updated, another process is at
    /// it, or the disk says no.
    pub fn create(dir: &Path, settings: &Settings) -> Result<Self, Error> {
        let mut home = Self::claim(dir, settings)?;
        if home.folder.stat(Path::new(RECORD))?.is_some() {
            return Err(Error::Installed { app: home.settings.app, dir: home.dir });
        }
        home.set_settings(settings.clone())?;
        Ok(home)
    }

    /// Locks the home of `dir`, whatever is in it, and makes it when there is none. It keeps the settings that it has, so
    /// that what was interrupted can be finished by them; without any, it goes by `settings` and writes none.
    pub(crate) fn claim(dir: &Path, settings: &Settings) -> Result<Self, Error> {
        Dir::create_all(dir)?;
        let dir = resolve(dir)?;
        let (place, folder, settings) = match find(&dir)? {
            Some(found) => found,
            None => {
                let (place, folder) = make(&dir)?;
                (place, folder, settings.clone())
            }
        };
        Self::at(dir, place, folder, settings, Access::Change)
    }

    /// Whether the home is a whole one: its settings were written.
    pub(crate) fn has_settings(&self) -> Result<bool, Error> {
        Ok(self.folder.stat(Path::new(SETTINGS))?.is_some())
    }

    /// Puts what is known of the installed release, and the releases before it, into the backup: an installation that
    /// cannot be gone on with makes room for a new one, and nothing of it is lost.
    pub(crate) fn set_aside(&self) -> Result<(), Error> {
        let backup = self.room("backup")?;
        let mut name = PathBuf::from("lost");
        for number in 2.. {
            if backup.stat(&name)?.is_none() {
                break;
            }
            name = format!("lost-{number}").into();
        }
        backup.create_dir(&name, 0o700)?;
        let lost = backup.open_dir(&name)?;
        // The record last: an interrupted run is told by it, and begins again.
        for part in ["older", "slot", "state.json", RECORD].map(Path::new) {
            if self.folder.stat(part)?.is_some() {
                self.folder.rename(part, &lost, part)?;
            }
        }
        lost.sync()?;
        backup.sync()?;
        Ok(self.folder.sync()?)
    }

    /// Opens what was installed. Whoever wants to change anything calls [`crate::install::recover`] next.
    ///
    /// # Errors
    /// When nothing of ours is there, or what is there cannot be used.
    pub fn open(dir: &Path, access: Access) -> Result<Self, Error> {
        let dir = resolve(dir)?;
        match find(&dir)? {
            Some((place, folder, settings)) => Self::at(dir, place, folder, settings, access),
            None => Err(Error::NotInstalled { dir }),
        }
    }

    fn at(dir: PathBuf, place: Place, folder: Dir, settings: Settings, access: Access) -> Result<Self, Error> {
        let lock = match access {
            Access::Read => None,
            Access::Change => Some(lock(&dir, &folder)?),
        };
        Ok(Self { dir, folder, place, settings, lock })
    }

    /// The installed directory, resolved: no component is a symbolic link.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the updater's own folder lies.
    pub fn place(&self) -> Place {
        self.place
    }

    /// What is followed.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Follows something else from now on.
    ///
    /// # Errors
    /// When they cannot be written; then it is as before.
    pub fn set_settings(&mut self, settings: Settings) -> Result<(), Error> {
        self.write_settings(&settings)?;
        self.settings = settings;
        Ok(())
    }

    fn write_settings(&self, settings: &Settings) -> Result<(), Error> {
        let bytes = serde_json::to_vec_pretty(settings).expect("settings are plain JSON");
        Ok(write_atomic(&self.folder, Path::new(SETTINGS), &bytes, 0o644)?)
    }

    /// The updater's own folder.
    pub fn folder(&self) -> &Dir {
        &self.folder
    }

    /// `trust/` for whoever only looks; `None` when it is missing, is no directory, or is nothing for this user's eyes.
    pub(crate) fn trust_to_read(&self) -> Result<Option<Dir>, Error> {
        let at = Path::new("trust");
        // Whoever changes something makes it anew; to whoever looks, something else there is no memory.
        if self.folder.stat(at)?.is_none_or(|stat| stat.kind != EntryKind::Dir) {
            return Ok(None);
        }
        match self.folder.open_dir(at) {
            Ok(trust) => Ok(Some(trust)),
            Err(error) if matches!(error.kind(), NotFound | PermissionDenied) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// `trust/`, made when it is missing.
    ///
    /// # Errors
    /// When it cannot be made or opened.
    pub fn trust(&self) -> Result<Dir, Error> {
        self.room("trust")
    }

    /// `downloads/`, made when it is missing. A whole blob lies in it raw, under its digest.
    ///
    /// # Errors
    /// When it cannot be made or opened.
    pub fn downloads(&self) -> Result<Dir, Error> {
        self.room("downloads")
    }

    fn room(&self, name: &str) -> Result<Dir, Error> {
        let at = Path::new(name);
        let found = self.folder.stat(at)?.map(|stat| stat.kind);
        if found != Some(EntryKind::Dir) {
            // Something else that got there is not ours, and in the way.
            self.folder.remove_all(at)?;
            self.folder.create_dir(at, 0o700)?;
        }
        Ok(self.folder.open_dir(at)?)
    }

    /// What is installed; `None` until the first install is complete.
    ///
    /// # Errors
    /// When the record is damaged, or was written by a newer program.
    pub fn record(&self) -> Result<Option<Record>, Error> {
        Record::read(&self.folder, Path::new(RECORD))
            .map_err(|source| Error::Record { file: self.file(RECORD), source })
    }

    /// Whether this process may change anything here.
    pub(crate) fn is_locked(&self) -> bool {
        self.lock.is_some()
    }

    /// The installed directory, opened now: an update puts another directory at its place.
    pub(crate) fn open_dir(&self) -> Result<Dir, Error> {
        Ok(Dir::open(&self.dir)?)
    }

    /// A file of the home by its name, for messages.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// Where `dir` really is. It may be missing itself; its parent may not.
fn resolve(dir: &Path) -> Result<PathBuf, Error> {
    let unusable = |reason| Error::Unusable { dir: dir.to_owned(), reason };
    let found = match std::fs::canonicalize(dir) {
        Ok(found) => found,
        Err(_) if std::fs::symlink_metadata(dir).is_ok() => {
            return Err(unusable("it is a symbolic link to nowhere: remove it, or make what it points at"));
        }
        Err(_) => {
            // Somebody deleted the whole directory; its home may still be there.
            let parent = match dir.parent() {
                Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
                Some(parent) => parent,
                None => return Err(unusable("it names no directory")),
            };
            let name = dir.file_name().ok_or_else(|| unusable("it names no directory"))?;
            match std::fs::canonicalize(parent) {
                Ok(parent) => parent.join(name),
                Err(_) => return Err(Error::NotInstalled { dir: dir.to_owned() }),
            }
        }
    };
    if found.file_name().is_none() {
        return Err(unusable("a whole file system cannot be an app's own directory: choose a directory in it"));
    }
    if found.exists() && !found.is_dir() {
        return Err(unusable("it is not a directory: choose another one"));
    }
    Ok(found)
}

/// `DIR.updraft`.
fn beside(dir: &Path) -> PathBuf {
    let mut name = dir.file_name().unwrap_or_default().to_owned();
    name.push(RESERVED_DIR);
    dir.with_file_name(name)
}

/// The home of `dir`, if it has one.
fn find(dir: &Path) -> Result<Option<(Place, Dir, Settings)>, Error> {
    let at = |place: Place, path: PathBuf| -> Result<_, Error> {
        let folder = match Dir::open(&path) {
            Ok(folder) => folder,
            // Not a directory: somebody else's. A name that is too long: nobody's.
            Err(error) if matches!(error.kind(), NotFound | NotADirectory | InvalidFilename) => return Ok(None),
            // A home may be there: to take it for missing would have a second one made.
            Err(error) => return Err(error.into()),
        };
        // A directory without settings is no home.
        Ok(read_settings(&folder)?.map(|settings| (place, folder, settings)))
    };
    match (at(Place::Beside, beside(dir))?, at(Place::Inside, dir.join(RESERVED_DIR))?) {
        (Some(_), Some(_)) => Err(Error::Unusable {
            dir: dir.to_owned(),
            reason: "it has two homes, DIR.updraft and DIR/.updraft: remove the one that does not belong to it",
        }),
        (beside, inside) => Ok(beside.or(inside)),
    }
}

fn read_settings(folder: &Dir) -> Result<Option<Settings>, Error> {
    let Some(bytes) = read_bounded(folder, Path::new(SETTINGS), SETTINGS_LEN_MAX)? else { return Ok(None) };
    let damaged = |reason: String| Error::Damaged { file: folder.path().join(SETTINGS), reason };
    let value: serde_json::Value = serde_json::from_slice(&bytes)
        .map_err(|error| damaged(format!("it is damaged ({error}): remove it and install again with --adopt")))?;
    match value.get("format").and_then(serde_json::Value::as_u64) {
        Some(n) if n > 1 => Err(damaged(format!("format {n} is newer than this program: update updraft-agent"))),
        _ => serde_json::from_value(value)
            .map(Some)
            .map_err(|error| damaged(format!("it is damaged ({error}): remove it and install again with --adopt"))),
    }
}

/// Makes the folder of a home where it serves best.
fn make(dir: &Path) -> Result<(Place, Dir), Error> {
    let mode = Dir::open(dir)?.stat_self()?.mode & 0o755 | 0o700;
    if !mounts::any_at_or_below(dir) {
        let path = beside(dir);
        let (parent, name) = (path.parent().expect("a resolved directory has a parent"), path.file_name());
        let name = Path::new(name.expect("it was given a name"));
        match make_beside(parent, name, mode) {
            Ok(folder) => return Ok((Place::Beside, folder)),
            // The parent may not be read or written, or the longer name is too long for the file system.
            Err(error) if matches!(error.kind(), PermissionDenied | ReadOnlyFilesystem | InvalidFilename) => {}
            Err(error) => return Err(error.into()),
        }
    }
    inside(dir, mode)
}

fn make_beside(parent: &Path, name: &Path, mode: u32) -> Result<Dir, updraft_files::Error> {
    let parent = Dir::open(parent)?;
    match parent.create_dir(name, mode) {
        Ok(()) => parent.sync()?,
        Err(error) if error.kind() == AlreadyExists => {}
        Err(error) => return Err(error),
    }
    parent.open_dir(name)
}

fn inside(dir: &Path, mode: u32) -> Result<(Place, Dir), Error> {
    let dir = Dir::open(dir)?;
    let at = Path::new(RESERVED_DIR);
    match dir.create_dir(at, mode) {
        Ok(()) => dir.sync()?,
        Err(error) if error.kind() == AlreadyExists => {}
        Err(error) => return Err(error.into()),
    }
    Ok((Place::Inside, dir.open_dir(at)?))
}

/// Takes the lock, which lasts as long as the file that is returned is open.
fn lock(dir: &Path, folder: &Dir) -> Result<File, Error> {
    let at = Path::new("lock");
    let opened = match folder.create_file(at, 0o644) {
        Err(error) if error.kind() == AlreadyExists => folder.open_rw(at),
        created => created,
    };
    let mut file = opened.map_err(|source| match source.kind() {
        PermissionDenied | ReadOnlyFilesystem => Error::Unwritable { dir: dir.to_owned(), source },
        _ => source.into(),
    })?;
    match file.try_lock() {
        Ok(()) => {}
        Err(std::fs::TryLockError::WouldBlock) => {
            let mut text = String::new();
            let read = file.take(20).read_to_string(&mut text);
            let pid = read.ok().and_then(|_| text.trim().parse().ok());
            return Err(Error::InUse { dir: dir.to_owned(), pid });
        }
        Err(std::fs::TryLockError::Error(source)) => {
            return Err(Error::Lock { file: folder.path().join("lock"), source });
        }
    }
    // For a message only: a process that cannot write it still holds the lock.
    let _ = file.set_len(0).and_then(|()| file.write_all(std::process::id().to_string().as_bytes()));
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings {
            format: 1,
            app: "demo".parse().unwrap(),
            source: "https://updates.example/apps/demo".into(),
            channel: ChannelName::stable(),
            platform: Platform::any(),
            root: None,
            ca: None,
            device: "00".repeat(16),
            in_place: false,
        }
    }

    #[test]
    fn a_home_lies_beside_and_is_found_again() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("parent/app");
        let home = Home::create(&dir, &settings()).unwrap();
        assert_eq!(home.place(), Place::Beside);
        assert!(temp.path().join("parent/app.updraft/settings.json").is_file());
        drop(home);
        let home = Home::open(&dir, Access::Change).unwrap();
        assert_eq!(*home.settings(), settings());
        assert!(home.record().unwrap().is_none());
    }

    #[test]
    fn a_symlinked_directory_is_resolved() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir(temp.path().join("real")).unwrap();
        std::os::unix::fs::symlink("real", temp.path().join("link")).unwrap();
        let home = Home::create(&temp.path().join("link"), &settings()).unwrap();
        assert!(home.dir().ends_with("real"));
        assert!(temp.path().join("real.updraft").is_dir());
        drop(home);
        assert!(Home::open(&temp.path().join("real"), Access::Read).is_ok());
    }

    #[test]
    fn one_process_changes_and_others_look() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("app");
        let home = Home::create(&dir, &settings()).unwrap();
        match Home::open(&dir, Access::Change).unwrap_err() {
            Error::InUse { pid, .. } => assert_eq!(pid, Some(std::process::id())),
            other => panic!("{other}"),
        }
        assert!(Home::open(&dir, Access::Read).is_ok());
        drop(home);
        assert!(Home::open(&dir, Access::Change).is_ok());
    }

    #[test]
    fn what_cannot_be_a_home_says_why() {
        let temp = tempfile::tempdir().unwrap();
        let missing = Home::open(&temp.path().join("nothing"), Access::Read).unwrap_err();
        assert!(matches!(missing, Error::NotInstalled { .. }), "{missing}");
        std::fs::write(temp.path().join("file"), "").unwrap();
        assert!(matches!(Home::open(&temp.path().join("file"), Access::Read), Err(Error::Unusable { .. })));
        assert!(matches!(Home::open(Path::new("/"), Access::Read), Err(Error::Unusable { .. })));
        std::os::unix::fs::symlink("nowhere", temp.path().join("dangling")).unwrap();
        assert!(matches!(Home::open(&temp.path().join("dangling"), Access::Read), Err(Error::Unusable { .. })));

        let dir = temp.path().join("app");
        drop(Home::create(&dir, &settings()).unwrap());
        let newer = serde_json::to_string(&settings()).unwrap().replace("\"format\":1", "\"format\":2");
        std::fs::write(temp.path().join("app.updraft/settings.json"), newer).unwrap();
        let newer = Home::open(&dir, Access::Read).unwrap_err();
        assert!(newer.to_string().contains("newer"), "{newer}");
    }
}
