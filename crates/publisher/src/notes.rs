//! What is new, as people write it down.
//!
//! ```text
//! notes.md                          one text for everybody
//! notes.en.md  notes.zh-CN.md       one for each locale
//! release.json                      {"version": "1.2.0", "notes": "..."}  or  {"notes": {"en": "...", "zh": "..."}}
//! ```
//!
//! All of it is bounded and checked here; whoever holds [`Notes`] can publish them. `.txt` does as well as `.md`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use updraft_core::json;
use updraft_core::limits::{NOTES_LEN_MAX, RELEASE_LEN_MAX};
use updraft_core::release::{self, Notes};
use updraft_core::version::Version;
use updraft_files::{Dir, whole};

/// The file that says which version a folder holds, and what is new in it.
pub const MANIFEST: &str = "release.json";

/// Why notes cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It looks like a file's name, and there is no such file.
    #[error("notes: there is no file '{0}'; check its name, or write the notes themselves")]
    NoFile(String),
    /// The file cannot be read.
    #[error("notes: {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The folder cannot be read.
    #[error("notes: {0}")]
    Files(#[from] updraft_files::Error),
    /// The file is too long.
    #[error("notes: {path} has more than {max} bytes; shorten it")]
    TooLong {
        /// The file.
        path: PathBuf,
        /// How many it may have.
        max: u64,
    },
    /// The file is not UTF-8.
    #[error("notes: {path} is not UTF-8 text; save it as UTF-8")]
    NotText {
        /// The file.
        path: PathBuf,
    },
    /// Two files are about the same.
    #[error(
        "notes: {first} and {second} say the same thing twice; keep one text for everybody, or one for each locale"
    )]
    Twice {
        /// One of them.
        first: String,
        /// The other.
        second: String,
    },
    /// `release.json` is not what it should be.
    #[error("{path}: {reason}; it looks like {{\"version\": \"1.2.0\", \"notes\": \"what is new\"}}")]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The notes are not allowed.
    #[error(transparent)]
    Notes(#[from] release::Error),
}

/// What `release.json` says.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The version that lies beside it.
    #[serde(default)]
    pub version: Option<Version>,
    /// What is new in it.
    #[serde(default)]
    pub notes: Option<Notes>,
}

impl Manifest {
    /// What `release.json` in `dir` says; `None` when there is none.
    ///
    /// # Errors
    /// When it is there and cannot be read or understood.
    pub fn read(dir: &Dir) -> Result<Option<Self>, Error> {
        let Some(text) = read_in(dir, MANIFEST, RELEASE_LEN_MAX)? else { return Ok(None) };
        Self::parse(&text, &dir.path().join(MANIFEST)).map(Some)
    }

    fn parse(text: &str, path: &Path) -> Result<Self, Error> {
        let bad = |reason: String| Error::Manifest { path: path.to_owned(), reason };
        let value = json::parse(text.as_bytes()).map_err(|e| bad(e.to_string()))?;
        if !value.is_object() {
            return Err(bad("it is no object".to_owned()));
        }
        let manifest: Self = serde_json::from_value(value).map_err(|e| bad(e.to_string()))?;
        if let Some(notes) = &manifest.notes {
            notes.check()?;
        }
        Ok(manifest)
    }
}

/// The notes that a person gave on the command line: the name of a file, of a directory with notes in it, or the text
/// itself.
///
/// # Errors
/// When it is a file that cannot be read or understood, or looks like one and is not there.
pub fn from_argument(argument: &str) -> Result<Notes, Error> {
    let path = Path::new(argument);
    let failed = |source| Error::Io { path: path.to_owned(), source };
    // A text with line breaks, or a long one, is no name; asking the system about it would be an error of its own.
    let is_name = argument.len() <= 4_096 && !argument.contains(['\n', '\0']) && !argument.trim().is_empty();
    let found = if is_name { std::fs::metadata(path) } else { Err(io::ErrorKind::NotFound.into()) };
    match found {
        Ok(meta) if meta.is_dir() => {
            let dir = Dir::open(path)?;
            in_dir(&dir)?.ok_or_else(|| Error::NoFile(path.join("notes.md").display().to_string()))
        }
        Ok(_) if has_extension(path, &["json"]) => {
            let text = read_file(path, RELEASE_LEN_MAX)?;
            let reason = || "it has no notes".to_owned();
            Manifest::parse(&text, path)?
                .notes
                .ok_or_else(|| Error::Manifest { path: path.to_owned(), reason: reason() })
        }
        Ok(_) => Ok(read_file(path, NOTES_LEN_MAX as u64)?.parse()?),
        Err(e) if e.kind() != io::ErrorKind::NotFound && looks_like_a_file(path) => Err(failed(e)),
        Err(_) if is_name && looks_like_a_file(path) => Err(Error::NoFile(argument.to_owned())),
        Err(_) => Ok(argument.parse()?),
    }
}

/// The notes in `dir`: those in `release.json`, else `notes.md` or `notes.LOCALE.md`; `None` when there are none.
///
/// # Errors
/// When they are there and cannot be read, understood, or told apart.
pub fn in_dir(dir: &Dir) -> Result<Option<Notes>, Error> {
    if let Some(Manifest { notes: Some(notes), .. }) = Manifest::read(dir)? {
        return Ok(Some(notes));
    }
    let mut found: BTreeMap<Option<String>, (String, String)> = BTreeMap::new();
    for entry in dir.entries()? {
        let Some((name, locale)) = entry.name.to_str().and_then(|name| Some((name, locale_of(name)?))) else {
            continue;
        };
        let Some(text) = read_in(dir, name, NOTES_LEN_MAX as u64)? else { continue };
        if let Some((first, _)) = found.insert(locale.map(str::to_owned), (name.to_owned(), text)) {
            return Err(Error::Twice { first, second: name.to_owned() });
        }
    }
    let Some((for_all, text)) = found.remove(&None) else {
        let locales = found.into_iter().filter_map(|(locale, (_, text))| Some((locale?, text)));
        let notes = Notes::Locales(locales.collect());
        notes.check()?;
        return Ok(Some(notes).filter(|notes| !matches!(notes, Notes::Locales(all) if all.is_empty())));
    };
    match found.into_values().next() {
        Some((second, _)) => Err(Error::Twice { first: for_all, second }),
        None => Ok(Some(text.parse()?)),
    }
}

/// Whether a file of this name, at the top of a folder, holds notes and is no content.
pub fn is_notes(name: &str) -> bool {
    locale_of(name).is_some()
}

/// The locale in `notes.LOCALE.md`; `Some(None)` for `notes.md`, `None` for any other name.
fn locale_of(name: &str) -> Option<Option<&str>> {
    let rest = name.strip_prefix("notes")?;
    let rest = rest.strip_suffix(".md").or_else(|| rest.strip_suffix(".txt"))?;
    if rest.is_empty() {
        return Some(None);
    }
    let locale = rest.strip_prefix('.')?;
    let tag = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    (!locale.is_empty() && locale.bytes().all(tag)).then_some(Some(locale))
}

fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|have| extensions.iter().any(|one| have.eq_ignore_ascii_case(one)))
}

/// Whether somebody who wrote this meant a file: `notes.md`, not "faster, and see notes.md".
fn looks_like_a_file(path: &Path) -> bool {
    has_extension(path, &["md", "markdown", "txt", "json"]) && !path.to_string_lossy().contains(char::is_whitespace)
}

fn read_in(dir: &Dir, name: &str, max: u64) -> Result<Option<String>, Error> {
    let path = || dir.path().join(name);
    match whole::read_bounded(dir, Path::new(name), max) {
        Ok(bytes) => bytes.map(|bytes| text(bytes, &path())).transpose(),
        Err(e) if e.kind() == io::ErrorKind::FileTooLarge => Err(Error::TooLong { path: path(), max }),
        Err(e) => Err(e.into()),
    }
}

fn read_file(path: &Path, max: u64) -> Result<String, Error> {
    let failed = |source| Error::Io { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    File::open(path).map_err(failed)?.take(max + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > max {
        return Err(Error::TooLong { path: path.to_owned(), max });
    }
    text(bytes, path)
}

/// The text in `bytes`, without the mark that Windows puts in front.
fn text(bytes: Vec<u8>, path: &Path) -> Result<String, Error> {
    let mut text = String::from_utf8(bytes).map_err(|_| Error::NotText { path: path.to_owned() })?;
    if text.starts_with('\u{feff}') {
        text.remove(0);
    }
    Ok(text)
}
