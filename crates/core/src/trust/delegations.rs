//! Delegations: which role a targets role trusts with which of its targets (TUF 4.5 DELEGATIONS).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::Role;
use super::file::present;
use super::metadata::check_keys;
use crate::digest::Sha256;
use crate::json;
use crate::key::{KeyId, PublicKey};
use crate::signed::RoleKeys;

/// A role that is delegated to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DelegatedRole {
    /// Its name.
    pub name: String,
    /// Who signs for it.
    #[serde(flatten)]
    pub keys: RoleKeys,
    /// Which targets it may speak of, as patterns. Either these or the next are there, never both.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub paths: Option<Vec<String>>,
    /// Which targets it may speak of, as the first digits of the SHA-256 of their paths.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub path_hash_prefixes: Option<Vec<String>>,
    /// Whether the search for a target ends with it.
    pub terminating: bool,
}

impl DelegatedRole {
    /// Whether it may speak of the target at `path`.
    pub fn may_speak_of(&self, path: &str) -> bool {
        let by_pattern = || self.paths.iter().flatten().any(|pattern| matches_path(pattern, path));
        let by_hash = |prefixes: &[String]| {
            let digest = Sha256::of(path.as_bytes()).to_string();
            prefixes.iter().any(|prefix| digest.starts_with(prefix.as_str()))
        };
        self.path_hash_prefixes.as_deref().map_or_else(by_pattern, by_hash)
    }
}

/// Roles that are delegated to, and their keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delegations {
    /// The keys.
    pub keys: BTreeMap<KeyId, PublicKey>,
    /// The roles, in the order of their priority.
    pub roles: Vec<DelegatedRole>,
}

impl Delegations {
    /// The role of this name, if it is delegated to.
    pub fn role(&self, role: &Role) -> Option<&DelegatedRole> {
        self.roles.iter().find(|delegated| Role::from_name(&delegated.name) == *role)
    }

    /// What must hold of well-formed ones, signed or not.
    pub(super) fn check(&self) -> Result<(), String> {
        let mut names = BTreeSet::new();
        for role in &self.roles {
            let name = json::shown(&role.name);
            if !names.insert(&role.name) {
                return Err(format!("it delegates to '{name}' twice"));
            }
            if !matches!(Role::from_name(&role.name), Role::Delegated(_)) || role.name.is_empty() {
                return Err(format!("it delegates to '{name}', which is a top-level role"));
            }
            if role.paths.is_some() == role.path_hash_prefixes.is_some() {
                return Err(format!(
                    "it delegates to '{}' neither by paths alone nor by their hashes alone",
                    role.name
                ));
            }
            check_keys(&role.keys, &name)?;
        }
        Ok(())
    }
}

/// Whether a PATHPATTERN fits a target path: part by part, so that no wildcard reaches over a `/`.
fn matches_path(pattern: &str, path: &str) -> bool {
    let (patterns, parts): (Vec<_>, Vec<_>) = (pattern.split('/').collect(), path.split('/').collect());
    patterns.len() == parts.len() && patterns.iter().zip(parts).all(|(pattern, part)| matches_part(pattern, part))
}

/// One part of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Glob {
    /// `*`
    Any,
    /// `?`
    One,
    /// `[a-z]` or `[!a-z]`: ranges from first to last.
    Class { ranges: Vec<(char, char)>, negated: bool },
    /// Anything else stands for itself.
    Char(char),
}

impl Glob {
    fn fits(&self, c: char) -> bool {
        match self {
            Self::Any => false,
            Self::One => true,
            Self::Class { ranges, negated } => {
                ranges.iter().any(|(first, last)| (*first..=*last).contains(&c)) != *negated
            }
            Self::Char(own) => *own == c,
        }
    }
}

/// A pattern without `/`, as glob(7) reads it; a `[` that is never closed stands for itself.
fn parse_part(pattern: &str) -> Vec<Glob> {
    let chars: Vec<char> = pattern.chars().collect();
    let last_close = chars.iter().rposition(|c| *c == ']').unwrap_or_default();
    let (mut globs, mut at) = (Vec::new(), 0);
    while let Some(&c) = chars.get(at) {
        at += 1;
        globs.push(match c {
            '*' => Glob::Any,
            '?' => Glob::One,
            // Behind the last `]` none is looked for, so that all of this takes no longer than the pattern is.
            '[' if at < last_close => match parse_class(&chars[at..]) {
                Some((class, used)) => {
                    at += used;
                    class
                }
                None => Glob::Char('['),
            },
            c => Glob::Char(c),
        });
    }
    globs
}

/// The class behind a `[`, and how many characters it takes, its `]` included.
fn parse_class(chars: &[char]) -> Option<(Glob, usize)> {
    let negated = chars.first() == Some(&'!');
    let begin = usize::from(negated);
    // A `]` that comes first is a member.
    let end = begin + 1 + chars.get(begin + 1..)?.iter().position(|c| *c == ']')?;
    let (mut ranges, mut at) = (Vec::new(), begin);
    while at < end {
        if at + 2 < end && chars[at + 1] == '-' {
            ranges.push((chars[at], chars[at + 2]));
            at += 3;
        } else {
            ranges.push((chars[at], chars[at]));
            at += 1;
        }
    }
    Some((Glob::Class { ranges, negated }, end + 1))
}

/// Whether a pattern without `/` fits all of `text`. Each `*` is widened only when what follows it does not fit, so that no
/// pattern takes longer than its length times the text's.
fn matches_part(pattern: &str, text: &str) -> bool {
    let (globs, text) = (parse_part(pattern), text.chars().collect::<Vec<_>>());
    let (mut glob, mut at) = (0, 0);
    let mut star = None;
    while at < text.len() {
        match globs.get(glob) {
            Some(Glob::Any) => {
                star = Some((glob, at));
                glob += 1;
            }
            Some(one) if one.fits(text[at]) => {
                glob += 1;
                at += 1;
            }
            _ => {
                let Some((of, from)) = star else { return false };
                star = Some((of, from + 1));
                (glob, at) = (of + 1, from + 1);
            }
        }
    }
    globs[glob..].iter().all(|glob| *glob == Glob::Any)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(paths: Option<&[&str]>, prefixes: Option<&[&str]>) -> DelegatedRole {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        DelegatedRole {
            name: "r".to_owned(),
            keys: RoleKeys { keyids: vec![], threshold: 1 },
            paths: paths.map(owned),
            path_hash_prefixes: prefixes.map(owned),
            terminating: false,
        }
    }

    #[test]
    fn patterns() {
        for (pattern, path, fits) in [
            ("targets/*.tgz", "targets/foo.tgz", true),
            ("targets/*.tgz", "targets/foo.txt", false),
            ("targets/*.tgz", "targets/a/foo.tgz", false),
            ("foo-version-?.tgz", "foo-version-2.tgz", true),
            ("foo-version-?.tgz", "foo-version-alpha.tgz", false),
            ("*", "a", true),
            ("*", "", true),
            ("*", "a/b", false),
            ("*/*", "a/b", true),
            ("*a*b", "xaxxab", true),
            ("*a*b", "xaxxabc", false),
            ("", "", true),
            ("?", "\u{e9}", true),
            ("README.md", "README.MD", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[]x]", "]", true),
            ("[ab", "[ab", true),
            ("[-a]", "-", true),
        ] {
            assert_eq!(matches_path(pattern, path), fits, "{pattern} on {path}");
        }
    }

    #[test]
    fn a_pattern_of_many_stars_ends() {
        let pattern = "*a".repeat(2_000);
        assert!(!matches_part(&pattern, &"a".repeat(1_999)));
        assert!(!matches_part(&"[".repeat(1_000_000), "a"));
    }

    #[test]
    fn hash_prefixes() {
        let digest = Sha256::of(b"releases/x").to_string();
        let bin = role(None, Some(&["00zz", &digest[..3]]));
        assert!(bin.may_speak_of("releases/x"));
        assert!(!role(None, Some(&[])).may_speak_of("releases/x"));
        assert!(!role(None, Some(&["zz"])).may_speak_of("releases/x"));
        assert!(role(Some(&["x", "releases/*"]), None).may_speak_of("releases/x"));
    }

    #[test]
    fn exactly_one_way_to_name_targets() {
        let check = |role| Delegations { keys: BTreeMap::new(), roles: vec![role] }.check();
        assert!(check(role(None, None)).is_err() && check(role(Some(&[]), Some(&[]))).is_err());
        assert!(check(role(Some(&[]), None)).is_ok() && check(role(None, Some(&[]))).is_ok());
    }
}
