//! How the installed release got here, and which patches were no good: `fetched.json`.
//!
//! ```text
//! {"format":1,"last":{"release":{...},"by":"patch","fetch_bytes":...,"full_bytes":...},
//!  "bad":[{"from":"...","to":"...","bytes":...,"tag":"...","program":"...","reason":"..."}]}
//! ```
//!
//! Nothing hangs on this file: without it a person is told less, and a bad patch is fetched once more.

use std::path::Path;

use serde::{Deserialize, Serialize};
use updraft_core::digest::Digest;
use updraft_core::plan::Route;
use updraft_core::release::ReleaseName;
use updraft_files::{Dir, read_bounded, write_atomic};

use crate::check::Price;
use crate::offer::Offer;

const FILE: &str = "fetched.json";
const FILE_LEN_MAX: u64 = 64 << 10;
/// So many bad patches are remembered: a device meets one when it follows a release, and there are few sources.
const BAD_MAX: usize = 8;
/// The version of this program.
const PROGRAM: &str = env!("CARGO_PKG_VERSION");

/// Why the cheapest way was left for the next one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FellBack {
    /// The way that was left.
    pub from: Route,
    /// Why.
    pub reason: String,
    /// What had been fetched by it, for nothing.
    pub bytes: u64,
}

/// How a release got here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetched {
    /// By which way.
    pub by: Route,
    /// Bytes that travelled for it.
    pub fetch_bytes: u64,
    /// Bytes that a download of everything would have taken.
    pub full_bytes: u64,
    /// The way that was tried before, and why it was left.
    pub fell_back: Option<FellBack>,
}

impl Fetched {
    /// Bytes that did not travel.
    pub fn saved_bytes(&self) -> u64 {
        self.price().saved_bytes()
    }

    /// The same in percent of the full download, rounded down.
    pub fn saved_percent(&self) -> u8 {
        self.price().saved_percent()
    }

    fn price(&self) -> Price {
        Price { fetch_bytes: self.fetch_bytes, full_bytes: self.full_bytes, exact: true, route: self.by }
    }

    pub(crate) fn new(price: Price, fell_back: Option<FellBack>) -> Self {
        Self { by: price.route, fetch_bytes: price.fetch_bytes, full_bytes: price.full_bytes, fell_back }
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Notebook {
    format: u32,
    #[serde(default)]
    last: Option<Last>,
    #[serde(default)]
    bad: Vec<Bad>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Last {
    release: ReleaseName,
    #[serde(flatten)]
    fetched: Fetched,
}

/// A patch that was no good. Another object in its place is worth another try, and so is another program: this one may not have
/// known what the patch needs.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Bad {
    from: Digest,
    to: Digest,
    bytes: u64,
    tag: Option<String>,
    /// The version of the program that tried it; one that did not write it down is another.
    #[serde(default)]
    program: String,
    reason: String,
}

impl Bad {
    fn is(&self, offer: &Offer) -> bool {
        let Self { from, to, bytes, tag, program, .. } = self;
        (*from, *to, *bytes) == (offer.from, offer.to, offer.bytes) && *tag == offer.tag && program == PROGRAM
    }
}

impl Notebook {
    fn read(folder: &Dir) -> Self {
        let bytes = read_bounded(folder, Path::new(FILE), FILE_LEN_MAX).ok().flatten();
        let notebook: Option<Self> = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        notebook.filter(|notebook| notebook.format == 1).unwrap_or_default()
    }

    /// What cannot be written down is not worth an error.
    fn write(self, folder: &Dir) {
        let bytes = serde_json::to_vec(&Self { format: 1, ..self }).expect("a notebook is plain JSON");
        let _ = write_atomic(folder, Path::new(FILE), &bytes, 0o644);
    }
}

/// How `installed` got here, where that is known.
pub(crate) fn last(folder: &Dir, installed: &ReleaseName) -> Option<Fetched> {
    let last = Notebook::read(folder).last?;
    (last.release == *installed).then_some(last.fetched)
}

/// Writes down how `release` got here.
pub(crate) fn keep(folder: &Dir, release: ReleaseName, fetched: Fetched) {
    Notebook { last: Some(Last { release, fetched }), ..Notebook::read(folder) }.write(folder);
}

/// Whether this very patch was tried and was no good.
pub(crate) fn is_bad(folder: &Dir, offer: &Offer) -> bool {
    Notebook::read(folder).bad.iter().any(|bad| bad.is(offer))
}

/// Writes down that a patch was no good.
pub(crate) fn shun(folder: &Dir, offer: &Offer, reason: &str) {
    let mut notebook = Notebook::read(folder);
    let Offer { from, to, bytes, tag } = offer.clone();
    notebook.bad.retain(|bad| !bad.is(offer));
    notebook.bad.insert(0, Bad { from, to, bytes, tag, program: PROGRAM.to_owned(), reason: reason.to_owned() });
    notebook.bad.truncate(BAD_MAX);
    notebook.write(folder);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(n: u64) -> Offer {
        Offer { from: Digest::of(b"old"), to: Digest::of(b"new"), bytes: n, tag: None }
    }

    #[test]
    fn bad_patches_are_remembered_and_the_oldest_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let dir = Dir::open(folder.path()).unwrap();
        assert!(!is_bad(&dir, &offer(0)));
        for n in 0..=BAD_MAX as u64 {
            shun(&dir, &offer(n), "it lies");
            shun(&dir, &offer(n), "it lies still");
        }
        let is_bad = |offer| is_bad(&dir, &offer);
        assert!(!is_bad(offer(0)), "there is an end to it");
        assert!((1..=BAD_MAX as u64).all(|n| is_bad(offer(n))));
        assert!(!is_bad(Offer { tag: Some("another".into()), ..offer(1) }), "another object");
        assert!(!is_bad(Offer { to: Digest::of(b"newer"), ..offer(1) }), "another pair");
    }

    #[test]
    fn another_program_may_know_more() {
        let folder = tempfile::tempdir().unwrap();
        let dir = Dir::open(folder.path()).unwrap();
        shun(&dir, &offer(1), "a stream is compressed in way 2, which this program does not know");
        let file = folder.path().join(FILE);
        let mine = std::fs::read_to_string(&file).unwrap();
        let (field, other) = (format!("\"program\":\"{PROGRAM}\","), "\"program\":\"0.0.9\",");
        for by in [other, ""] {
            std::fs::write(&file, mine.replace(&field, by)).unwrap();
            assert_eq!((Notebook::read(&dir).bad.len(), is_bad(&dir, &offer(1))), (1, false), "{by}");
        }
        std::fs::write(&file, mine).unwrap();
        assert!(is_bad(&dir, &offer(1)));
    }

    #[test]
    fn only_what_is_installed_is_told_of_and_damage_is_as_good_as_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let dir = Dir::open(folder.path()).unwrap();
        let name = |version: &str| ReleaseName { platform: "any".parse().unwrap(), version: version.parse().unwrap() };
        let fetched = Fetched { by: Route::Patch, fetch_bytes: 5, full_bytes: 50, fell_back: None };
        shun(&dir, &offer(1), "it lies");
        keep(&dir, name("1.1"), fetched.clone());
        assert_eq!((last(&dir, &name("1.1")), last(&dir, &name("1.0"))), (Some(fetched), None));
        assert!(is_bad(&dir, &offer(1)), "one note does not wipe out the other");
        for damage in ["", "{", "{\"format\":2,\"last\":null}", "{\"format\":1,\"bad\":7}"] {
            std::fs::write(folder.path().join(FILE), damage).unwrap();
            assert_eq!(last(&dir, &name("1.1")), None, "{damage}");
        }
    }
}
