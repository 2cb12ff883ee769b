//! Paths inside a tree.
//!
//! A [`RelPath`] exists on every operating system: whatever is not a plain path of plain names is refused here, once,
//! for the publisher as for the device (DESIGN 7). Collisions are a property of a whole tree: see [`crate::tree`].

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;

use crate::limits::{COMPONENT_LEN_MAX, PATH_DEPTH_MAX, PATH_LEN_MAX};

/// The folder at the top of an installed directory that is the updater's own, never part of a tree.
pub const RESERVED_DIR: &str = ".updraft";

/// Why a text is not a path inside a tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("path '{path}': {reason}")]
pub struct Error {
    path: String,
    reason: &'static str,
}

/// A relative path with `/` between its components, valid on every operating system.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RelPath(String);

impl RelPath {
    /// The path as text, components separated by `/`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its components, first to last; there is at least one.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/')
    }

    /// The path of the directory that holds it; `None` at the top of the tree.
    pub fn parent(&self) -> Option<RelPath> {
        self.0.rsplit_once('/').map(|(parent, _)| RelPath(parent.to_owned()))
    }

    /// Its last component.
    pub fn file_name(&self) -> &str {
        self.0.rsplit_once('/').map_or(self.0.as_str(), |(_, name)| name)
    }

    /// The path of `name` inside this directory.
    ///
    /// # Errors
    /// When the name is not a plain component, or the whole grows too long or too deep.
    pub fn join(&self, name: &str) -> Result<RelPath, Error> {
        format!("{}/{name}", self.0).parse()
    }

    /// Whether `self` is `ancestor` or lies below it.
    pub fn starts_with(&self, ancestor: &RelPath) -> bool {
        self.0.strip_prefix(ancestor.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The key under which two paths collide on a file system that ignores case or normalises Unicode.
    ///
    /// Compatibility decomposition is not applied: no file system does that.
    pub fn collision_key(&self) -> String {
        self.0.nfd().flat_map(char::to_lowercase).nfc().collect()
    }
}

impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Borrow<str> for RelPath {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl FromStr for RelPath {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        Self::try_from(text.to_owned())
    }
}

impl From<RelPath> for String {
    fn from(path: RelPath) -> String {
        path.0
    }
}

impl TryFrom<String> for RelPath {
    type Error = Error;
    fn try_from(path: String) -> Result<Self, Error> {
        match problem(&path) {
            None => Ok(Self(path)),
            Some(reason) => Err(Error { path: path.chars().take(200).collect(), reason }),
        }
    }
}

/// The first rule that `path` breaks.
fn problem(path: &str) -> Option<&'static str> {
    if path.is_empty() {
        return Some("an empty path names nothing");
    }
    if path.len() > PATH_LEN_MAX {
        return Some("longer than 3,072 bytes");
    }
    if path.starts_with('/') {
        return Some("absolute paths are not allowed");
    }
    if path.split('/').count() > PATH_DEPTH_MAX {
        return Some("deeper than 128 directories");
    }
    if path.split('/').next() == Some(RESERVED_DIR) {
        return Some("'.updraft' at the top is the updater's own folder");
    }
    path.split('/').find_map(component_problem)
}

/// The first rule that one component breaks: those of Windows are the strictest, so they are everybody's.
fn component_problem(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        return Some("has an empty component ('//' or a '/' at the end)");
    }
    if name == "." || name == ".." {
        return Some("'.' and '..' are not allowed");
    }
    if name.len() > COMPONENT_LEN_MAX {
        return Some("a component is longer than 255 bytes");
    }
    if name.contains('\0') {
        return Some("contains a NUL");
    }
    if name.contains('\\') {
        return Some("contains a backslash, which separates directories on Windows");
    }
    if name.contains(':') {
        return Some("contains ':', which names a drive or a stream on Windows");
    }
    if name.chars().any(|c| c.is_control() || matches!(c, '<' | '>' | '"' | '|' | '?' | '*')) {
        return Some("contains a character that Windows does not allow (control, < > \" | ? *)");
    }
    if name.ends_with('.') || name.ends_with(' ') {
        return Some("a component ends with a dot or a space, which Windows drops");
    }
    dos_device(name).then_some("a component is the name of a DOS device (CON, PRN, AUX, NUL, COM1, LPT1, ...)")
}

/// Whether Windows opens a device for this name, with any extension behind it.
fn dos_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or(name).trim_end_matches(' ').to_ascii_uppercase();
    let numbered = |prefix: &str| {
        stem.strip_prefix(prefix).is_some_and(|rest| {
            matches!(rest, "0" | "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9" | "¹" | "²" | "³")
        })
    };
    matches!(stem.as_str(), "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$") || numbered("COM") || numbered("LPT")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn refuses_what_does_not_exist_everywhere() {
        let long = "a".repeat(256);
        let deep = vec!["d"; 129].join("/");
        for bad in [
            "",
            "/",
            "/etc/passwd",
            "a//b",
            "a/",
            "./a",
            "a/../b",
            "..",
            "a\\b",
            "C:",
            "c:/x",
            "a:b",
            "a\0b",
            "a.",
            "a /b",
            "con",
            "a/NUL.txt",
            "com1.log",
            "LPT¹",
            "a\nb",
            "what?",
            ".updraft",
            ".updraft/x",
            &long,
            &deep,
        ] {
            assert!(bad.parse::<RelPath>().is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn accepts_ordinary_names() {
        for good in
            ["a", ".hidden", "lib/x.so.1", "sub/.updraft", "résumé/名前.txt", "console", "a b/c", "com10", "@x+y~"]
        {
            assert!(good.parse::<RelPath>().is_ok(), "{good:?} was refused");
        }
    }

    #[test]
    fn collisions_ignore_case_and_normal_form() {
        let key = |text: &str| text.parse::<RelPath>().unwrap().collision_key();
        assert_eq!(key("Readme"), key("README"));
        assert_eq!(key("caf\u{e9}"), key("cafe\u{301}"));
        assert_eq!(key("CAF\u{c9}"), key("cafe\u{301}"));
        assert_ne!(key("a"), key("b"));
    }

    #[test]
    fn below_means_below_a_directory() {
        let path = |text: &str| text.parse::<RelPath>().unwrap();
        assert!(path("a/b").starts_with(&path("a")));
        assert!(path("a").starts_with(&path("a")));
        assert!(!path("ab").starts_with(&path("a")));
    }

    proptest! {
        #[test]
        fn a_parsed_path_never_leaves_its_tree(text in "[a./\\\\ :]{0,12}") {
            if let Ok(path) = text.parse::<RelPath>() {
                prop_assert!(path.components().all(|c| !c.is_empty() && c != "." && c != ".."));
                prop_assert_eq!(path.as_str(), text);
            }
        }
    }
}
