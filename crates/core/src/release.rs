//! A release: one version of an app on one platform, as its publisher signed it.
//!
//! The release *document* is a TUF target: `targets` lists its length and SHA-256, so a device believes it exactly as far
//! as it believes the publisher. It says everything that only the publisher may say; a channel can but narrow it.

mod terms;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use terms::{Live, Terms};

use crate::Timestamp;
use crate::digest::Digest;
use crate::json;
use crate::limits::{FROM_TREES_MAX, NOTES_LEN_MAX, NOTES_LOCALES_MAX, RELEASE_LEN_MAX, TREE_LEN_MAX};
use crate::name::{AppName, ChannelName, Platform};
use crate::version::Version;

/// Why some bytes are not a release document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("release document: {0}")]
pub struct Error(String);

/// Which release of an app: a version on a platform.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ReleaseName {
    /// What it runs on.
    pub platform: Platform,
    /// Its version.
    pub version: Version,
}

impl ReleaseName {
    /// Where its document lies among the TUF targets: `releases/{platform}/{version}.json`.
    pub fn target_path(&self) -> String {
        format!("releases/{}/{}.json", self.platform, self.version)
    }

    /// The release whose document lies at this target path, if that is what lies there.
    pub fn from_target_path(path: &str) -> Option<Self> {
        let (platform, file) = path.strip_prefix("releases/")?.split_once('/')?;
        let version: Version = file.strip_suffix(".json")?.parse().ok()?;
        let name = Self { platform: platform.parse().ok()?, version };
        (name.target_path() == path).then_some(name)
    }
}

impl fmt::Display for ReleaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.platform.is_any() {
            write!(f, "{}", self.version)
        } else {
            write!(f, "{} for {}", self.version, self.platform)
        }
    }
}

/// What is new, in Markdown: one text, or one for each locale.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Notes {
    /// For everybody.
    Text(String),
    /// By locale, such as `en` or `zh-CN`.
    Locales(BTreeMap<String, String>),
}

impl Default for Notes {
    fn default() -> Self {
        Self::Text(String::new())
    }
}

impl Notes {
    /// Whether there is nothing to read.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Text(text) => text.is_empty(),
            Self::Locales(locales) => locales.values().all(String::is_empty),
        }
    }

    /// The text for a reader who prefers these locales, best first.
    ///
    /// `zh-CN` is served by `zh` and the other way round; without any match English is taken, then the first there is.
    pub fn for_locales<'a>(&self, preferred: impl IntoIterator<Item = &'a str>) -> &str {
        let locales = match self {
            Self::Text(text) => return text,
            Self::Locales(locales) => locales,
        };
        let language = |locale: &str| locale.split(['-', '_']).next().unwrap_or(locale).to_ascii_lowercase();
        let same = |a: &str, b: &str| a.replace('_', "-").eq_ignore_ascii_case(&b.replace('_', "-"));
        let find = |wanted: &str| {
            let exact = locales.iter().find(|(have, _)| same(have, wanted));
            let related = || locales.iter().find(|(have, _)| language(have) == language(wanted));
            exact.or_else(related).map(|(_, text)| text.as_str())
        };
        preferred
            .into_iter()
            .find_map(find)
            .or_else(|| find("en"))
            .or_else(|| locales.values().next().map(String::as_str))
            .unwrap_or_default()
    }

    /// # Errors
    /// When there are too many locales, one is not a language tag, or a text is too long.
    pub fn check(&self) -> Result<(), Error> {
        let check_text = |text: &str, whose: &str| {
            if text.len() > NOTES_LEN_MAX {
                return Err(Error(format!("notes{whose} have {} bytes; {NOTES_LEN_MAX} are allowed", text.len())));
            }
            Ok(())
        };
        match self {
            Self::Text(text) => check_text(text, ""),
            Self::Locales(locales) => {
                if locales.len() > NOTES_LOCALES_MAX {
                    return Err(Error(format!("more than {NOTES_LOCALES_MAX} locales in the notes")));
                }
                locales.iter().try_for_each(|(locale, text)| {
                    let tag = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
                    if locale.is_empty() || locale.len() > 35 || !locale.bytes().all(tag) {
                        return Err(Error(format!("'{locale}' is not a locale such as en or zh-CN")));
                    }
                    check_text(text, &format!(" ({locale})"))
                })
            }
        }
    }
}

/// The tree of a release, as its document names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeRef {
    /// Digest of the canonical tree document.
    pub digest: Digest,
    /// Length of that document, in bytes.
    pub length: u64,
    /// Regular files in the tree.
    pub files: u64,
    /// Bytes in those files together.
    pub bytes: u64,
    /// Bytes that travel when the tree document and every blob are fetched as stored at the time of publishing.
    pub stored: u64,
}

/// What an update from a known tree costs.
///
/// A device that has exactly that tree learns from this what an update will fetch, without fetching a list of files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FromTree {
    /// Digest of the tree that a device has.
    pub tree: Digest,
    /// Bytes that travel: the new tree's document, and the blobs that the old tree lacks.
    pub bytes: u64,
}

/// The release document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// 1.
    pub format: u32,
    /// The app it belongs to: a document of one app is never good for another.
    pub app: AppName,
    /// Its version.
    pub version: Version,
    /// What it runs on.
    pub platform: Platform,
    /// When it was made.
    pub date: Timestamp,
    /// What is new.
    #[serde(default, skip_serializing_if = "Notes::is_empty")]
    pub notes: Notes,
    /// Its files.
    pub tree: TreeRef,
    /// Who gets it.
    #[serde(flatten)]
    pub terms: Terms,
    /// What an update costs from the trees of releases that were live when this one was made; at most
    /// [`FROM_TREES_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<FromTree>,
}

impl Release {
    /// Which release this is.
    pub fn name(&self) -> ReleaseName {
        ReleaseName { platform: self.platform.clone(), version: self.version.clone() }
    }

    /// Whether `channel` may point at it.
    pub fn allows_channel(&self, channel: &ChannelName) -> bool {
        self.terms.allows_channel(channel)
    }

    /// The bytes of its document.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a release is plain JSON")
    }

    /// The release in `bytes`, which must be `name` of `app`.
    ///
    /// # Errors
    /// When the document is damaged, of a newer format, or of another release than the one asked for.
    pub fn decode(bytes: &[u8], app: &AppName, name: &ReleaseName) -> Result<Self, Error> {
        if bytes.len() as u64 > RELEASE_LEN_MAX {
            return Err(Error(format!("longer than {RELEASE_LEN_MAX} bytes")));
        }
        let value = json::parse(bytes).map_err(|e| Error(e.to_string()))?;
        match value.get("format").and_then(serde_json::Value::as_u64) {
            Some(1) => {}
            Some(n) => return Err(Error(format!("format {n} is newer than this program: update it"))),
            None => return Err(Error("it has no format".to_owned())),
        }
        let release: Self = serde_json::from_value(value).map_err(|e| Error(e.to_string()))?;
        if release.app != *app {
            return Err(Error(format!("it belongs to app {}, not {app}", release.app)));
        }
        if release.platform != name.platform || release.version.as_str() != name.version.as_str() {
            return Err(Error(format!("it is of {}, not of {name}", release.name())));
        }
        if release.tree.length > TREE_LEN_MAX {
            return Err(Error(format!(
                "its tree document has {} bytes; {TREE_LEN_MAX} are allowed",
                release.tree.length
            )));
        }
        if release.from.len() > FROM_TREES_MAX {
            return Err(Error(format!("it prices updates from more than {FROM_TREES_MAX} trees")));
        }
        release.terms.check(&release.version)?;
        release.notes.check()?;
        Ok(release)
    }
}

impl FromStr for Notes {
    type Err = Error;

    /// One text for everybody.
    fn from_str(text: &str) -> Result<Self, Error> {
        let notes = Self::Text(text.to_owned());
        notes.check()?;
        Ok(notes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release() -> Release {
        Release {
            format: 1,
            app: "demo".parse().unwrap(),
            version: "1.2.0".parse().unwrap(),
            platform: Platform::any(),
            date: "2026-01-02T03:04:05Z".parse().unwrap(),
            notes: Notes::Text("new".into()),
            tree: TreeRef { digest: Digest::of(b""), length: 15, files: 0, bytes: 0, stored: 0 },
            terms: Terms::default(),
            from: Vec::new(),
        }
    }

    #[test]
    fn a_document_is_good_for_one_release_only() {
        let release = release();
        let bytes = release.encode();
        assert_eq!(Release::decode(&bytes, &release.app, &release.name()).unwrap(), release);
        let other_app = "other".parse().unwrap();
        assert!(Release::decode(&bytes, &other_app, &release.name()).is_err());
        let other = ReleaseName { platform: Platform::any(), version: "1.2".parse().unwrap() };
        assert!(Release::decode(&bytes, &release.app, &other).is_err());
    }

    #[test]
    fn target_paths_go_both_ways() {
        let name = ReleaseName { platform: "linux-x86_64".parse().unwrap(), version: "1.0.0-rc.1+b".parse().unwrap() };
        assert_eq!(name.target_path(), "releases/linux-x86_64/1.0.0-rc.1+b.json");
        assert_eq!(ReleaseName::from_target_path(&name.target_path()), Some(name));
        for bad in [
            "releases/1.0.json",
            "channels/stable",
            "releases/any/x.json",
            "releases/any/v1.json",
            "releases/../1.json",
        ] {
            assert_eq!(ReleaseName::from_target_path(bad), None, "{bad}");
        }
    }

    #[test]
    fn notes_by_locale() {
        let notes = Notes::Locales(BTreeMap::from([("en".into(), "hello".into()), ("zh-CN".into(), "你好".into())]));
        assert_eq!(notes.for_locales(["zh"]), "你好");
        assert_eq!(notes.for_locales(["zh_cn"]), "你好");
        assert_eq!(notes.for_locales(["fr", "en-GB"]), "hello");
        assert_eq!(notes.for_locales(["fr"]), "hello");
        assert_eq!(Notes::Text("all".into()).for_locales(["fr"]), "all");
        assert!(Notes::Text("x".repeat(NOTES_LEN_MAX + 1)).check().is_err());
        assert!(Notes::Locales(BTreeMap::from([("no/path".into(), String::new())])).check().is_err());
    }

    #[test]
    fn a_newer_format_says_so() {
        let text = String::from_utf8(release().encode()).unwrap().replace("\"format\":1", "\"format\":2");
        let error = Release::decode(text.as_bytes(), &release().app, &release().name()).unwrap_err();
        assert!(error.to_string().contains("newer"), "{error}");
    }
}
