//! The publisher's keys on this machine, and whether what the server has follows from the root beside them.

use std::path::Path;

use updraft_core::Timestamp;
use updraft_core::api::{AppHealth, AppState, Level};
use updraft_core::name::AppName;
use updraft_core::trust::{Root, Trusted};
use updraft_publisher::Remote;
use updraft_publisher::base;
use updraft_publisher::keys::{Held, KeyName, Keystore};
use updraft_publisher::root::{Online, Signers, Standing};

use super::disk;
use super::page::Line;
use crate::keys::{Place, place};
use crate::secrets;

const THING: &str = "your keys";

/// What there is to say of the keys of an app below `given`, or where keys are otherwise.
pub(super) fn lines(remote: &dyn Remote, health: &AppHealth, given: Option<&Path>, now: Timestamp) -> Vec<Line> {
    let app = &health.app;
    let keystore = match secrets::keys_root(given) {
        Ok(root) => Keystore::at(root.join(app.as_str())),
        Err(error) => return vec![Line::new(Level::Ok, THING, error.to_string())],
    };
    let dir = keystore.dir().display();
    let unusable = |error: &dyn std::fmt::Display| vec![Line::new(Level::Warning, THING, error.to_string())];
    let (first, held) = match keystore.first_root().and_then(|first| Ok((first, keystore.held()?))) {
        Ok(found) => found,
        Err(error) => return unusable(&error),
    };
    let Some(first) = first else {
        let (level, state) = match held.is_empty() {
            true => (Level::Ok, format!("none on this machine, in {dir}")),
            false => (Level::Notice, format!("no app was created yet with those in {dir}")),
        };
        return vec![Line::new(level, THING, state)];
    };
    let standing = match Standing::read(remote, app, &keystore, Online::Doubted, now) {
        Ok(standing) => standing,
        Err(error) => return vec![of_distrust(&error)],
    };
    let mut lines = vec![of_trust(&standing, health.state)];
    match Trusted::new(&first, now) {
        Ok(first) => lines.push(of_held(app, standing.root(), first.root(), &held)),
        Err(error) => lines.extend(unusable(&error)),
    }
    let private = disk::keys(THING, keystore.dir(), None);
    lines.extend(Some(private).filter(|line| line.level != Level::Ok));
    lines
}

fn of_distrust(error: &base::Error) -> Line {
    let reason = match error {
        base::Error::Trust { source, .. } => format!("a device does not believe the server: {source}"),
        other => other.to_string(),
    };
    Line::new(Level::Broken, "trust", reason)
        .remedy("find out who changed what is on the server: a restored backup looks like this, and so does a thief")
}

fn of_trust(standing: &Standing, state: AppState) -> Line {
    let verified = format!("verified as a device does, up to root {}", standing.root().version);
    match standing.trouble() {
        None => Line::new(Level::Ok, "trust", verified),
        // That is said of the roles already.
        Some(trouble) if state == AppState::Stale && trouble.contains(": expired at ") => {
            Line::new(Level::Ok, "trust", format!("{verified}, but for what has ended"))
        }
        Some(trouble) => Line::new(Level::Broken, "trust", format!("devices take nothing new: {trouble}"))
            .remedy("compare the clocks, and run `updraft fsck`"),
    }
}

/// Which of the keys that count are here.
fn of_held(app: &AppName, root: &Root, first: &Root, held: &[Held]) -> Line {
    let of = |name: KeyName| {
        let signers = Signers::of(root, &name.role());
        let here: Vec<bool> = signers.keys.iter().filter_map(|key| is_locked(&place(key, name, held, first))).collect();
        let lock = match (here.iter().any(|locked| *locked), here.iter().all(|locked| *locked)) {
            (false, _) => "no passphrase",
            (true, true) => "locked",
            (true, false) => "some locked",
        };
        let state = match (here.len(), signers.keys.len(), signers.threshold) {
            (0, 1, _) => "not here".to_owned(),
            (1, 1, _) => format!("here ({lock})"),
            (0, all, needed) => format!("none of {all} here, {needed} must sign"),
            (some, all, needed) => format!("{some} of {all} here ({lock}), {needed} must sign"),
        };
        (here.len(), state)
    };
    let ((roots, root_state), (targets, targets_state)) = (of(KeyName::Root), of(KeyName::Targets));
    let state = if root_state == targets_state {
        format!("root and targets: {root_state}")
    } else {
        format!("root: {root_state}; targets: {targets_state}")
    };
    if roots + targets == 0 && !held.is_empty() {
        return Line::new(Level::Warning, THING, format!("root {} names none of those that are here", root.version))
            .remedy(format!(
                "`updraft keys show --app {app}` says whose sign; let one of them `updraft keys add` yours"
            ));
    }
    Line::new(Level::Ok, THING, state)
}

/// Whether a key is locked; none when it is not here.
fn is_locked(place: &Place) -> Option<bool> {
    match place {
        Place::Here { locked, .. } => Some(*locked),
        Place::Locked { .. } => Some(true),
        Place::Server | Place::Elsewhere => None,
    }
}

#[cfg(test)]
mod tests {
    use updraft_core::key::SigningKey;
    use updraft_core::trust::Role;

    use super::*;

    fn key(n: u8) -> SigningKey {
        SigningKey::from_seed([n; 32])
    }

    fn root(version: u64, roots: &[u8], targets: u8) -> Root {
        let publics = |keys: &[u8]| keys.iter().map(|n| key(*n).public()).collect::<Vec<_>>();
        Root::new(version, Timestamp::MAX).with_role(&Role::Root, &publics(roots), roots.len() as u32).with_role(
            &Role::Targets,
            &publics(&[targets]),
            1,
        )
    }

    fn held(name: KeyName, fingerprint: Option<u8>, locked: bool) -> Held {
        let fingerprint = fingerprint.map(|n| key(n).public().fingerprint());
        Held { name, path: format!("{name}.pem").into(), fingerprint, locked }
    }

    #[test]
    fn which_keys_are_here() {
        let (app, first) = ("demo".parse().unwrap(), root(1, &[1], 2));
        let (root_key, targets_key) = (KeyName::Root, KeyName::Targets);
        let said = |root: &Root, all: &[Held]| of_held(&app, root, &first, all);
        let both = [held(root_key, Some(1), false), held(targets_key, None, true)];
        let line = said(&first, &both);
        assert_eq!(
            (line.level, line.state.as_str()),
            (Level::Ok, "root: here (no passphrase); targets: here (locked)")
        );
        assert_eq!(said(&first, &both[1..]).state, "root: not here; targets: here (locked)");
        assert_eq!(said(&first, &[]).state, "root and targets: not here");
        let several = [held(root_key, Some(1), false), held(root_key, Some(3), true)];
        assert_eq!(
            said(&root(2, &[1, 3, 4], 5), &several).state,
            "root: 2 of 3 here (some locked), 3 must sign; targets: not here"
        );
        let line = said(&root(3, &[7], 8), &both);
        assert_eq!((line.level, line.state.as_str()), (Level::Warning, "root 3 names none of those that are here"));
    }
}
