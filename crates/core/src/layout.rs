//! Where things lie: the same path in the store, in a URL and on a USB stick (DESIGN 4).
//!
//! A [`Key`] can only be made here, so no key leaves its app and none begins with `/` or holds `..`. Everything below
//! `apps/` is public and, but for three small files, immutable; everything below `private/` is nobody's URL.

use std::fmt;

use crate::digest::{Digest, Sha256};
use crate::name::{AppName, ChannelName};
use crate::release::ReleaseName;
use crate::tree::stored::Encoding;
use crate::trust::{MetadataFile, Role};

/// The name of one object in a store.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(String);

impl Key {
    /// The key as text: segments of letters, digits and `. _ - ~ + % @`, separated by `/`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key behind `text`, for listing a store.
    ///
    /// Returns `None` for what no function of this module would make: empty or dotted segments, other characters.
    pub fn parse(text: &str) -> Option<Self> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-~+%@".contains(&b);
        let segment = |s: &str| !s.is_empty() && s != "." && s != ".." && s.bytes().all(allowed);
        let rooted = text.starts_with("apps/") || text.starts_with("private/");
        (rooted && text.len() <= 1_024 && text.split('/').all(segment)).then(|| Self(text.to_owned()))
    }

    fn of_app(app: &AppName, rest: fmt::Arguments<'_>) -> Self {
        Self(format!("apps/{app}/{rest}"))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The one mutable object of an app.
pub fn head(app: &AppName) -> Key {
    Key::of_app(app, format_args!("head"))
}

/// The first root, under a name that does not change: what a newcomer compares and pins.
pub fn first_root(app: &AppName) -> Key {
    Key::of_app(app, format_args!("root.json"))
}

/// A metadata file.
pub fn metadata(app: &AppName, file: &MetadataFile) -> Key {
    match file {
        MetadataFile::Root(version) => Key::of_app(app, format_args!("tuf/{version}.root.json")),
        MetadataFile::Timestamp => Key::of_app(app, format_args!("tuf/timestamp.json")),
        MetadataFile::Versioned(role, version) => {
            Key::of_app(app, format_args!("tuf/{version}.{}", role_file_name(role)))
        }
    }
}

/// The document of a release: a TUF target, its hash before the base name (consistent snapshots, TUF 6.2).
pub fn release(app: &AppName, release: &ReleaseName, sha256: Sha256) -> Key {
    Key::of_app(app, format_args!("targets/releases/{}/{sha256}.{}.json", release.platform, release.version))
}

/// The document of a channel, for clients that fetch targets.
pub fn channel(app: &AppName, channel: &ChannelName, sha256: Sha256) -> Key {
    Key::of_app(app, format_args!("targets/channels/{sha256}.{channel}"))
}

/// A tree document.
pub fn tree(app: &AppName, digest: Digest) -> Key {
    Key::of_app(app, format_args!("trees/{digest}"))
}

/// The patch that turns one tree into another; from [`nothing`](crate::tree::patch::nothing), the bundle of the other.
pub fn patch(app: &AppName, from: Digest, to: Digest) -> Key {
    Key::of_app(app, format_args!("patches/{from}/{to}"))
}

/// The two trees of the patch that lies at `key`, from which and to which; `None` for whatever else lies there.
pub fn trees_of_patch(app: &AppName, key: &Key) -> Option<(Digest, Digest)> {
    let (from, to) =
        key.as_str().strip_prefix("apps/")?.strip_prefix(app.as_str())?.strip_prefix("/patches/")?.split_once('/')?;
    Some((from.parse().ok()?, to.parse().ok()?))
}

/// Every patch of one app, for listing.
pub fn patches_prefix(app: &AppName) -> String {
    format!("apps/{app}/patches/")
}

/// A blob.
pub fn blob(app: &AppName, digest: Digest, encoding: Encoding) -> Key {
    let suffix = match encoding {
        Encoding::Raw => "",
        Encoding::Zstd => ".zst",
    };
    Key::of_app(app, format_args!("blobs/{}/{digest}{suffix}", digest.shard()))
}

/// Everything of one app, for listing.
pub fn app_prefix(app: &AppName) -> String {
    format!("apps/{app}/")
}

/// Something that is nobody's URL: `private/{room}/{name}`. Both are encoded, so any text will do.
pub fn private(room: &str, name: &str) -> Key {
    Key(format!("private/{}/{}", encoded(room), encoded(name)))
}

/// What a private key's name was before it was encoded.
pub fn private_name(key: &Key, room: &str) -> Option<String> {
    let encoded_name = key.as_str().strip_prefix(&format!("private/{}/", encoded(room)))?;
    let mut bytes = Vec::new();
    let mut rest = encoded_name.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                bytes.extend(hex::decode(digits).ok()?);
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8(bytes).ok()
}

/// The file of a role without its version, `NAME.json`, as a device keeps it and as a URL spells it: whatever is not
/// unreserved there (RFC 3986, 2.3) is percent-encoded, so that no name of a role is a path.
pub fn role_file_name(role: &Role) -> String {
    format!("{}.json", percent_encoded(role.name(), |_, byte| byte == b'.' || byte == b'~'))
}

/// Percent-encodes whatever could be more than a plain word in a path, a leading dot included.
fn encoded(text: &str) -> String {
    percent_encoded(text, |at, byte| byte == b'.' && at > 0)
}

/// Percent-encodes all but letters, digits, `_`, `-`, and the bytes that are `plain` where they are.
fn percent_encoded(text: &str, plain: impl Fn(usize, u8) -> bool) -> String {
    let mut out = String::new();
    for (at, byte) in text.bytes().enumerate() {
        if byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-' || plain(at, byte) {
            out.push(byte as char);
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// What a public path holds, as far as serving it needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Public {
    /// `apps/{app}/head`: always asked for anew.
    Head(AppName),
    /// `apps/{app}/root.json`.
    FirstRoot(AppName),
    /// `apps/{app}/tuf/timestamp.json`, which is derived from the head.
    Timestamp(AppName),
    /// Anything that never changes once it is there.
    Immutable(AppName, Key),
}

/// What lies at a URL path (without its leading `/`, percent-decoded), if it is a public place of the store.
pub fn public(path: &str) -> Option<Public> {
    let (app, rest) = path.strip_prefix("apps/")?.split_once('/')?;
    let app: AppName = app.parse().ok()?;
    match rest {
        "head" => Some(Public::Head(app)),
        "root.json" => Some(Public::FirstRoot(app)),
        "tuf/timestamp.json" => Some(Public::Timestamp(app)),
        _ => {
            let room = rest.split_once('/')?.0;
            let key = Key::parse(path)?;
            matches!(room, "tuf" | "targets" | "trees" | "blobs" | "patches").then_some(Public::Immutable(app, key))
        }
    }
}

/// The role in a snapshot's `NAME.json`, for finding the key of its file.
pub fn role_file(role: &Role, version: u64) -> MetadataFile {
    match role {
        Role::Root => MetadataFile::Root(version),
        Role::Timestamp => MetadataFile::Timestamp,
        _ => MetadataFile::Versioned(role.clone(), version),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app() -> AppName {
        "demo".parse().unwrap()
    }

    #[test]
    fn every_public_key_is_found_again_by_its_path() {
        let name = ReleaseName { platform: "any".parse().unwrap(), version: "1.0+b".parse().unwrap() };
        let digest = Digest::of(b"x");
        for key in [
            metadata(&app(), &MetadataFile::Root(3)),
            metadata(&app(), &MetadataFile::Versioned(Role::channels(), 2)),
            release(&app(), &name, Sha256::of(b"x")),
            channel(&app(), &ChannelName::stable(), Sha256::of(b"x")),
            tree(&app(), digest),
            blob(&app(), digest, Encoding::Raw),
            blob(&app(), digest, Encoding::Zstd),
            patch(&app(), digest, Digest::of(b"y")),
        ] {
            assert_eq!(Key::parse(key.as_str()), Some(key.clone()));
            assert_eq!(public(key.as_str()), Some(Public::Immutable(app(), key)));
        }
        assert_eq!(public(head(&app()).as_str()), Some(Public::Head(app())));
        assert_eq!(public(first_root(&app()).as_str()), Some(Public::FirstRoot(app())));
        let timestamp = metadata(&app(), &MetadataFile::Timestamp);
        assert_eq!(public(timestamp.as_str()), Some(Public::Timestamp(app())));
    }

    #[test]
    fn a_patch_is_known_by_its_trees() {
        let (from, to) = (Digest::of(b"old"), Digest::of(b"new"));
        let key = patch(&app(), from, to);
        assert_eq!(trees_of_patch(&app(), &key), Some((from, to)));
        assert!(key.as_str().starts_with(&patches_prefix(&app())));
        assert_eq!(trees_of_patch(&"dem".parse().unwrap(), &key), None);
        assert_eq!(trees_of_patch(&app(), &tree(&app(), to)), None);
        let odd = Key::parse(&format!("apps/demo/patches/{from}/{to}/x")).unwrap();
        assert_eq!(trees_of_patch(&app(), &odd), None);
    }

    #[test]
    fn nothing_private_or_outside_is_public() {
        for path in [
            "private/keys/x",
            "apps/demo",
            "apps/demo/",
            "apps/demo/heads",
            "apps/demo/secret/x",
            "apps/../private/x/y",
            "apps/demo/blobs/../head",
            "apps/demo/tuf//x",
            "apps/demo/blobs/",
            "apps/.demo/head",
            "",
            "head",
        ] {
            assert_eq!(public(path), None, "{path}");
        }
    }

    #[test]
    fn a_role_name_cannot_be_a_path() {
        let role = Role::Delegated("../../etc/passwd".into());
        let key = metadata(&app(), &MetadataFile::Versioned(role, 1));
        assert_eq!(key.as_str(), "apps/demo/tuf/1...%2F..%2Fetc%2Fpasswd.json");
        assert!(Key::parse(key.as_str()).is_some());
    }

    #[test]
    fn private_names_survive() {
        let key = private("condemned", "apps/demo/blobs/aa/x.zst");
        assert_eq!(private_name(&key, "condemned").as_deref(), Some("apps/demo/blobs/aa/x.zst"));
        assert!(Key::parse(key.as_str()).is_some());
    }
}
