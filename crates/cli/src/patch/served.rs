//! `patch list|remove|retry`: the patches that a server has, or should have.
//!
//! A patch goes from one tree to another. People name trees by the releases that have them; where that could mean several,
//! they are told which, and nothing is done.

use std::str::FromStr;

use anyhow::bail;
use updraft_agent::ui::{Exit, printable, say, say_json};
use updraft_core::api::{Patch, Release};
use updraft_core::digest::Digest;
use updraft_core::name::AppName;
use updraft_core::release::ReleaseName;
use updraft_core::version::Version;
use updraft_publisher::Remote;

use crate::args::{PatchPair, Server};
use crate::{release, remote};

/// One side of a patch, as a person names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Side {
    Tree(Digest),
    Version(Version),
}

impl FromStr for Side {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(tree) = text.parse() {
            return Ok(Self::Tree(tree));
        }
        text.parse().map(Self::Version).map_err(|e| format!("{e}, and it is no tree either: that has 64 digits"))
    }
}

impl Side {
    fn is(&self, tree: Digest, releases: &[ReleaseName]) -> bool {
        match self {
            Self::Tree(digest) => *digest == tree,
            Self::Version(version) => releases.iter().any(|release| release.version == *version),
        }
    }
}

/// What becomes of a patch.
#[derive(Debug, Clone, Copy)]
pub(super) enum Then {
    StaysAway,
    IsMadeAnew,
}

pub(super) fn list(app: &AppName, server: &Server, json: bool) -> anyhow::Result<Exit> {
    let http = remote::connect(server)?;
    let patches = http.patches(app)?.patches;
    if json {
        say_json(&patches)?;
        return Ok(Exit::Done);
    }
    let live = remote::show_app(&http, app)?.releases;
    if patches.is_empty() {
        say(format_args!("there are no patches of {app}, and none is to be made"));
    }
    patches.iter().for_each(|patch| say(line(patch, &live)));
    Ok(Exit::Done)
}

pub(super) fn take_away(args: &PatchPair, then: Then) -> anyhow::Result<Exit> {
    let http = remote::connect(&args.server)?;
    let (patches, live) = (http.patches(&args.app)?.patches, remote::show_app(&http, &args.app)?.releases);
    let is_meant = |patch: &&Patch| {
        let to = names(patch.to, &live);
        let is_on = args.platform.as_ref().is_none_or(|platform| to.iter().any(|name| name.platform == *platform));
        let from: Vec<_> = patch.from_release.iter().cloned().collect();
        is_on && args.from.is(patch.from, &from) && args.to.is(patch.to, &to)
    };
    let found: Vec<&Patch> = patches.iter().filter(is_meant).collect();
    let patch = match found[..] {
        [patch] => patch,
        [] => {
            bail!("there is no such patch of {0}; `updraft patch list --app {0}` names those that there are", args.app)
        }
        _ => {
            let lines: Vec<_> =
                found.iter().map(|patch| format!("\n  from tree {} to {}", patch.from, patch.to)).collect();
            bail!("that may be one of several; say --platform, or name the trees:{}", lines.concat());
        }
    };
    let what = format!("patch to {} from {}", target(patch, &live), release::source(patch));
    let (would, done) = match then {
        Then::StaysAway => ("would be removed", "is removed, and not made again"),
        Then::IsMadeAnew => ("would be made anew", "is forgotten, and will be made anew"),
    };
    if args.dry_run {
        say(format_args!("{what}: it {would}"));
        return Ok(Exit::Done);
    }
    match then {
        Then::StaysAway => http.remove_patch(&args.app, patch.from, patch.to)?,
        Then::IsMadeAnew => http.retry_patch(&args.app, patch.from, patch.to)?,
    }
    say(format_args!("{what}: it {done}"));
    Ok(Exit::Done)
}

/// The live releases with this tree.
fn names(tree: Digest, live: &[Release]) -> Vec<ReleaseName> {
    let of = live.iter().filter(|release| release.tree.digest == tree);
    of.map(|release| ReleaseName { platform: release.platform.clone(), version: release.version.clone() }).collect()
}

fn target(patch: &Patch, live: &[Release]) -> String {
    let names = names(patch.to, live);
    if names.is_empty() {
        // It was let go between two questions.
        return format!("tree {}", patch.to);
    }
    names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ")
}

fn line(patch: &Patch, live: &[Release]) -> String {
    printable(&format!("to {} from {}: {}", target(patch, live), release::source(patch), release::became(patch)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_side_is_a_version_or_a_tree() {
        let tree = Digest::of(b"x");
        assert_eq!(tree.to_string().parse(), Ok(Side::Tree(tree)));
        assert_eq!("1.2.0".parse(), Ok(Side::Version("1.2.0".parse().unwrap())));
        assert!("".parse::<Side>().unwrap_err().contains("64 digits"));
    }
}
