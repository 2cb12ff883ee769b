//! What to do about a folder. Pure: what was seen in, a decision out.
//!
//! It refuses to go back, to change what has a name already, and to take an empty folder for a wish.

use std::fmt;

use updraft_core::digest::Digest;
use updraft_core::release::ReleaseName;
use updraft_core::version::Version;

use crate::notes::MANIFEST;

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
}
