//! Who signs what, where the private halves are, and how long it lasts.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context;
use serde::Serialize;
use updraft_agent::ui::{Exit, say, say_json, warn};
use updraft_core::Timestamp;
use updraft_core::digest::Sha256;
use updraft_core::key::PublicKey;
use updraft_core::limits::ROOT_ROTATIONS_MAX;
use updraft_core::name::AppName;
use updraft_core::trust::{Cache, Role, Root, Trusted};
use updraft_publisher::keys::{Held, KeyName, Keystore};
use updraft_publisher::root::{Online, Signers, Standing, online_ends, remembered_ends};

use super::args::At;
use crate::app::left;
use crate::{remote, secrets};

/// Days before the end of what a person must renew at which that is said, more and more often.
const WARN_DAYS: [i64; 3] = [7, 14, 30];

/// The root from which on it is said that they come to an end.
const ROOTS_WARN: u64 = 200;

#[derive(Serialize)]
struct View {
    app: AppName,
    first_root_sha256: Sha256,
    root_version: u64,
    /// Why a device would not believe the app as it is.
    trouble: Option<String>,
    /// No server was asked: this is what was believed here last.
    remembered: bool,
    roles: Vec<RoleView>,
    /// Private keys that are here and sign nothing, because no role names them (any more, or yet).
    unused: Vec<PathBuf>,
}

#[derive(Serialize)]
struct RoleView {
    role: String,
    threshold: u32,
    keys: Vec<KeyView>,
    expires: Option<Timestamp>,
    days_left: Option<i64>,
    /// 30, 14 or 7 when so many days are left at most, 0 when none is; only for what a person must renew.
    warning: Option<i64>,
}

#[derive(Serialize)]
struct KeyView {
    fingerprint: String,
    scheme: String,
    #[serde(flatten)]
    place: Place,
}

/// Where a private key is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "private", rename_all = "snake_case")]
pub(crate) enum Place {
    /// Here.
    Here { path: PathBuf, locked: bool },
    /// Probably here: nothing but its passphrase tells.
    Locked { path: PathBuf },
    /// With the server.
    Server,
    /// With somebody else.
    Elsewhere,
}

pub(super) fn run(at: &At, as_json: bool) -> anyhow::Result<Exit> {
    let now = Timestamp::now();
    let keystore = secrets::keystore(&at.keys, &at.app)?;
    let first = keystore.first_root()?.with_context(|| {
        let (dir, app) = (keystore.dir().display(), &at.app);
        format!(
            "{dir}: there is no root.json of app {app}; put a copy of its first root there, or name the directory that has \
             it with --keys"
        )
    })?;
    let is_named = at.server.server.is_some() || secrets::environment("UPDRAFT_SERVER").is_some();
    let (root, mut ends, trouble) = if is_named {
        let http = remote::connect(&at.server)?;
        let standing = Standing::read(&http, &at.app, &keystore, Online::Doubted, now)?;
        let mut ends = online_ends(&http, &at.app)?;
        ends.insert(Role::Targets, standing.targets().expires.at());
        (standing.root().clone(), ends, standing.trouble().map(str::to_owned))
    } else {
        (remembered(&keystore, &first, now)?, remembered_ends(&keystore), None)
    };
    ends.insert(Role::Root, root.expires.at());
    let held = keystore.held()?;
    let first_named = Trusted::new(&first, now)?.root().clone();
    let view = View {
        app: at.app.clone(),
        first_root_sha256: Sha256::of(&first),
        root_version: root.version,
        trouble,
        remembered: !is_named,
        roles: roles(&root, &first_named, &held, &ends, now),
        unused: unused(&root, &held),
    };
    if let Some(warning) = few_roots_left(&view.app, root.version) {
        warn(format_args!("warning: {warning}"));
    }
    if as_json {
        say_json(&view)?;
    } else {
        tell(&view, now);
    }
    for role in &view.roles {
        if let Some(warning) = warning(&view.app, role) {
            warn(format_args!("warning: {warning}"));
        }
    }
    Ok(Exit::Done)
}

/// The root that was believed here last.
fn remembered(keystore: &Keystore, first: &[u8], now: Timestamp) -> anyhow::Result<Root> {
    let last = keystore.memory().load(&Role::Root).and_then(|bytes| Trusted::new(&bytes, now).ok());
    let trusted = last.map_or_else(|| Trusted::new(first, now), Ok)?;
    Ok(trusted.root().clone())
}

fn roles(root: &Root, first: &Root, held: &[Held], ends: &BTreeMap<Role, Timestamp>, now: Timestamp) -> Vec<RoleView> {
    let all = [Role::Root, Role::Targets, Role::channels(), Role::Snapshot, Role::Timestamp];
    let of = |role: Role| {
        let name = KeyName::ALL.into_iter().find(|name| name.role() == role);
        // The server's one key signs all of its roles.
        let signers = Signers::of(root, if name.is_some() { &role } else { &Role::Timestamp });
        let place = |key: &PublicKey| name.map_or(Place::Server, |name| place(key, name, held, first));
        let key = |key: &PublicKey| KeyView {
            fingerprint: key.fingerprint(),
            scheme: key.scheme().to_owned(),
            place: place(key),
        };
        let expires = ends.get(&role).copied();
        let days_left = expires.map(|expires| days_between(now, expires));
        let warning = days_left.filter(|_| name.is_some()).and_then(|days| match days {
            ..0 => Some(0),
            days => WARN_DAYS.into_iter().find(|limit| days <= *limit),
        });
        let keys = signers.keys.iter().map(key).collect();
        RoleView { role: role.to_string(), threshold: signers.threshold, keys, expires, days_left, warning }
    };
    all.into_iter().map(of).collect()
}

/// Whole days from `now` to `then`; below 0 once it is over.
fn days_between(now: Timestamp, then: Timestamp) -> i64 {
    (then.as_second() - now.as_second()).div_euclid(24 * 60 * 60)
}

/// Where the private half of `key` is, as far as the files say that are `held` here; `first` is the first root.
pub(crate) fn place(key: &PublicKey, name: KeyName, held: &[Held], first: &Root) -> Place {
    let fingerprint = key.fingerprint();
    if let Some(held) = held.iter().find(|held| held.fingerprint.as_ref() == Some(&fingerprint)) {
        return Place::Here { path: held.path.clone(), locked: held.locked };
    }
    // The key of the plain name is the one that the app was created with, unless somebody put another one there.
    let created_with = Signers::of(first, &name.role()).keys == [key.clone()];
    match held.iter().find(|held| held.name == name && held.fingerprint.is_none()) {
        Some(held) if created_with => Place::Locked { path: held.path.clone() },
        _ => Place::Elsewhere,
    }
}

fn unused(root: &Root, held: &[Held]) -> Vec<PathBuf> {
    let names: Vec<String> = root.keys.values().map(PublicKey::fingerprint).collect();
    let is_unused = |held: &&Held| held.fingerprint.as_ref().is_some_and(|found| !names.contains(found));
    held.iter().filter(is_unused).map(|held| held.path.clone()).collect()
}

/// Said from root 200 on: what is left is meant for emergencies.
fn few_roots_left(app: &AppName, version: u64) -> Option<String> {
    (version >= ROOTS_WARN).then(|| {
        format!(
            "{app} has had {version} roots, and {ROOT_ROTATIONS_MAX} are all that devices follow: change keys in one step \
             where you can, and begin a new app before the last"
        )
    })
}

fn warning(app: &AppName, role: &RoleView) -> Option<String> {
    let (days, name) = (role.days_left?, &role.role);
    match role.warning? {
        0 => Some(format!(
            "{name} of {app} is over, and devices take nothing new until it is renewed: `updraft keys renew --app {app}`"
        )),
        7 => Some(format!(
            "{name} of {app} ends in {days} days, and then no device updates: `updraft keys renew --app {app}`"
        )),
        _ => Some(format!("{name} of {app} ends in {days} days: `updraft keys renew --app {app}` renews it")),
    }
}

fn tell(view: &View, now: Timestamp) {
    let View { app, root_version, .. } = view;
    let asked = if view.remembered { " when it was seen last; no server was named" } else { "" };
    say(format_args!("{app}, root {root_version}{asked}"));
    say(format_args!("first root {}", view.first_root_sha256));
    if let Some(trouble) = &view.trouble {
        say(format_args!("devices do not believe it as it is: {trouble}"));
    }
    for role in &view.roles {
        let end = match role.expires {
            Some(expires) if expires > now => format!("ends {} ({})", expires.strftime("%Y-%m-%d"), left(now, expires)),
            Some(expires) => format!("OVER since {}", expires.strftime("%Y-%m-%d")),
            None => "its end is not known".to_owned(),
        };
        say(format_args!("{:10} {} of {} must sign, {end}", role.role, role.threshold, role.keys.len()));
        for key in &role.keys {
            let place = match &key.place {
                Place::Here { path, locked: false } => format!("here: {}", path.display()),
                Place::Here { path, locked: true } => format!("here, locked: {}", path.display()),
                Place::Locked { path } => format!("here, locked, by its name: {}", path.display()),
                Place::Server => "the server's".to_owned(),
                Place::Elsewhere => "not here".to_owned(),
            };
            say(format_args!("  {} {} {place}", key.fingerprint, key.scheme));
        }
    }
    for path in &view.unused {
        say(format_args!("signs nothing: {}", path.display()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use updraft_core::key::SigningKey;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn root(expires: &str) -> Root {
        let key = |n| SigningKey::from_seed([n; 32]).public();
        Root::new(1, at(expires))
            .with_role(&Role::Root, &[key(1)], 1)
            .with_role(&Role::Targets, &[key(2)], 1)
            .with_role(&Role::Snapshot, &[key(3)], 1)
            .with_role(&Role::Timestamp, &[key(3)], 1)
    }

    #[test]
    fn what_a_person_must_renew_is_said_in_time() {
        let now = at("2026-01-01T00:00:00Z");
        let cases = [
            ("2036-01-01T00:00:00Z", None),
            ("2026-02-02T00:00:00Z", None),
            ("2026-01-31T00:00:00Z", Some(30)),
            ("2026-01-15T00:00:00Z", Some(14)),
            ("2026-01-08T00:00:00Z", Some(7)),
            ("2026-01-01T01:00:00Z", Some(7)),
            ("2025-12-31T23:00:00Z", Some(0)),
        ];
        for (expires, expected) in cases {
            let root = root(expires);
            let ends = [(Role::Root, at(expires)), (Role::Timestamp, at(expires))].into();
            let roles = roles(&root, &root, &[], &ends, now);
            assert_eq!(roles[0].warning, expected, "{expires}");
            assert_eq!(warning(&"demo".parse().unwrap(), &roles[0]).is_some(), expected.is_some());
            // The server renews its own by itself, and nobody knows when the others end.
            assert!(roles[1..].iter().all(|role| role.warning.is_none()), "{expires}");
        }
    }

    #[test]
    fn the_end_of_all_roots_is_said_in_time() {
        let app = "demo".parse().unwrap();
        assert_eq!(few_roots_left(&app, 199), None);
        assert!(few_roots_left(&app, 200).unwrap().contains("256 are all"));
    }

    #[test]
    fn where_a_private_key_is() {
        let root = root("2036-01-01T00:00:00Z");
        let key = |n| SigningKey::from_seed([n; 32]).public();
        let held = |file: &str, fingerprint: Option<String>, locked| Held {
            name: KeyName::Root,
            path: file.into(),
            fingerprint,
            locked,
        };
        let path = || PathBuf::from("root.pem");
        let open = held("root.pem", Some(key(1).fingerprint()), false);
        assert_eq!(place(&key(1), KeyName::Root, &[open], &root), Place::Here { path: path(), locked: false });
        let locked = held("root.pem", None, true);
        assert_eq!(place(&key(1), KeyName::Root, std::slice::from_ref(&locked), &root), Place::Locked { path: path() });
        // A later key is not in the file of the first.
        assert_eq!(place(&key(4), KeyName::Root, std::slice::from_ref(&locked), &root), Place::Elsewhere);
        assert_eq!(place(&key(2), KeyName::Targets, &[locked], &root), Place::Elsewhere);
    }
}
