//! The next root, as a value. Pure: the root and the targets of now and a wish in, the next ones out.
//!
//! A mistake in a root can be one that nobody can undo: the root after it would have to be signed by keys that nobody has.
//! So what could never be met again is refused here, before anybody signs; and [`check`] refuses it once more in a
//! proposal that somebody else made.

use std::collections::BTreeMap;

use updraft_core::Timestamp;
use updraft_core::key::PublicKey;
use updraft_core::signed::{Envelope, RoleKeys};
use updraft_core::trust::{Expires, Role, Root, Targets};

use super::signers::{Signers, is_same};
use crate::sign::{ROOT_LIFE_DAYS, after_days, following};

/// Most keys of a role: enough for any committee, and far from what one file may have in signatures, of which a rotation
/// needs those of two roots.
pub const KEYS_MAX: usize = 16;

/// Fewest digits that name a key in a role.
const PREFIX_LEN_MIN: usize = 8;

/// The roles that a root names. Another one would be something that this program does not know.
const ROLES: [Role; 4] = [Role::Root, Role::Targets, Role::Snapshot, Role::Timestamp];

/// What is to be different for one role.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct RoleChange {
    /// Keys that may sign from now on.
    pub add: Vec<PublicKey>,
    /// Fingerprints of keys that may not any more; their first digits will do.
    pub revoke: Vec<String>,
    /// How many must sign from now on; as many as before, if it is not said.
    pub threshold: Option<u32>,
}

/// What is to be different in the next root. Nothing at all is a renewal: the same keys, and a later end.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Change {
    /// For those who sign roots.
    pub root: RoleChange,
    /// For those who sign releases.
    pub targets: RoleChange,
    /// The key that is to sign for the server, in all three of its roles.
    pub online: Option<PublicKey>,
    /// Whether targets are to get a later end as well.
    pub renew_targets: bool,
}

impl Change {
    /// Whether doing it twice comes to the same as doing it once: it names keys or thresholds. A renewal does not.
    pub(super) fn is_once_for_all(&self) -> bool {
        self.root != RoleChange::default() || self.targets != RoleChange::default()
    }
}

/// What is to be signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Next {
    /// The next root.
    pub root: Root,
    /// The targets that go with it; none where those of now stay.
    pub targets: Option<Targets>,
}

/// Why there is no such next root.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No key of that fingerprint is in the role.
    #[error("role {role} has no key {wanted}; it has {names}")]
    NoKey {
        /// The role.
        role: Role,
        /// What was asked for.
        wanted: String,
        /// What there is.
        names: String,
    },
    /// The key is in the role already, or was named twice.
    #[error("role {role}: key {fingerprint} would be there twice; each key counts once: add another one")]
    Twice {
        /// The role.
        role: Role,
        /// The key.
        fingerprint: String,
    },
    /// Nobody could verify what the key signs.
    #[error("role {role}: key {fingerprint} is of the scheme '{scheme}', which is not known here; use an ed25519 key")]
    Scheme {
        /// The role.
        role: Role,
        /// The key.
        fingerprint: String,
        /// Its scheme.
        scheme: String,
    },
    /// The server's key would sign for the publisher, or the other way round.
    #[error(
        "role {role}: key {fingerprint} is the server's online key, and whoever takes the server would have the role; \
         use a key that the server never sees"
    )]
    Online {
        /// The role.
        role: Role,
        /// The key.
        fingerprint: String,
    },
    /// Nobody could sign any more.
    #[error("role {role} would have no key left; add one in the same step")]
    NoKeys {
        /// The role.
        role: Role,
    },
    /// So many signatures could never be had.
    #[error(
        "role {role}: {threshold} signatures of {keys} keys could never be had, and no change could follow; \
         add a key, or set the threshold from 1 to {keys}"
    )]
    Threshold {
        /// The role.
        role: Role,
        /// How many would have to sign.
        threshold: u32,
        /// How many keys there would be.
        keys: usize,
    },
    /// Too many keys.
    #[error("role {role} would have {keys} keys; {KEYS_MAX} are allowed; revoke some")]
    TooMany {
        /// The role.
        role: Role,
        /// How many there would be.
        keys: usize,
    },
    /// Not the shape of a next root.
    #[error("{0}")]
    Shape(String),
}

fn shape<T>(reason: impl Into<String>) -> Result<T, Refused> {
    Err(Refused::Shape(reason.into()))
}

/// The root after `root`, with `change`; and new targets, where those of now (`targets`, which were verified) would not
/// hold under it. `skip` numbers of targets are left out: what a lost race left occupied.
///
/// # Errors
/// When the change makes no sense, or could not be undone.
pub fn next(root: &Root, targets: &Envelope, change: &Change, skip: u64, now: Timestamp) -> Result<Next, Refused> {
    let mut next = root.clone();
    next.version = root.version + 1;
    next.expires = Expires::new(after_days(now, ROOT_LIFE_DAYS).max(root.expires.at()));
    for (role, change) in [(Role::Root, &change.root), (Role::Targets, &change.targets)] {
        let signers = apply(Signers::of(root, &role), &role, change)?;
        set(&mut next, &role, signers);
    }
    if let Some(online) = &change.online {
        for role in [Role::Snapshot, Role::Timestamp] {
            set(&mut next, &role, Signers { keys: vec![online.clone()], threshold: 1 });
        }
    }
    let named: Vec<_> = next.roles.values().flat_map(|role| role.keyids.clone()).collect();
    next.keys.retain(|id, _| named.contains(id));

    let now_listed: Targets = targets.content().or_else(|e| shape(format!("targets: {e}")))?;
    let still_holds = next.roles.get(Role::Targets.name()).is_some_and(|role| targets.verify(&next.keys, role).is_ok());
    let next_targets = (change.renew_targets || change.online.is_some() || !still_holds).then(|| {
        let mut next_targets = following(&now_listed, now_listed.targets.clone(), skip, now);
        let later = next_targets.expires.at().max(now_listed.expires.at());
        next_targets.expires = Expires::new(later);
        match &change.online {
            Some(online) => next_targets.with_channels_role(online),
            None => next_targets,
        }
    });
    let next = Next { root: next, targets: next_targets };
    check(root, targets, &now_listed, &next)?;
    Ok(next)
}

fn apply(mut signers: Signers, role: &Role, change: &RoleChange) -> Result<Signers, Refused> {
    for wanted in &change.revoke {
        let fits = |key: &PublicKey| key.id().as_str().starts_with(wanted.as_str());
        let is_name = wanted.len() >= PREFIX_LEN_MIN;
        let found: Vec<_> = signers.keys.iter().filter(|key| is_name && fits(key)).cloned().collect();
        let [key] = found.as_slice() else {
            return Err(Refused::NoKey { role: role.clone(), wanted: wanted.clone(), names: signers.to_string() });
        };
        signers.keys.retain(|other| other != key);
    }
    for key in &change.add {
        if signers.has(key) {
            return Err(Refused::Twice { role: role.clone(), fingerprint: key.fingerprint() });
        }
        signers.keys.push(key.clone());
    }
    signers.threshold = change.threshold.unwrap_or(signers.threshold);
    Ok(signers)
}

fn set(root: &mut Root, role: &Role, signers: Signers) {
    let keyids = signers.keys.iter().map(PublicKey::id).collect();
    root.keys.extend(signers.keys.into_iter().map(|key| (key.id(), key)));
    root.roles.insert(role.name().to_owned(), RoleKeys { keyids, threshold: signers.threshold });
}

/// Whether `next` may follow `root` and the targets of now: what a person who signs relies on, whoever made it.
///
/// # Errors
/// What is wrong with it.
pub(super) fn check(root: &Root, envelope: &Envelope, targets: &Targets, next: &Next) -> Result<(), Refused> {
    let Next { root: next_root, targets: next_targets } = next;
    if next_root.version != root.version + 1 {
        return shape(format!("root {} cannot follow root {}", next_root.version, root.version));
    }
    if !next_root.consistent_snapshot || next_root.roles.len() != ROLES.len() {
        return shape("the next root is of another shape than this program makes; update the program");
    }
    let online = check_roles(next_root)?;
    let Some(next_targets) = next_targets else {
        let old = Signers::of(root, &Role::Timestamp).keys;
        if old != [online] {
            return shape("the online key changes, and no targets are there that delegate to the new one");
        }
        let holds = next_root.roles.get(Role::Targets.name()).map(|role| envelope.verify(&next_root.keys, role));
        return match holds {
            Some(Ok(())) => Ok(()),
            _ => shape("the targets of now would not hold under the next root, and no new ones are there"),
        };
    };
    if next_targets.version <= targets.version {
        return shape(format!("targets {} cannot follow targets {}", next_targets.version, targets.version));
    }
    if next_targets.targets != targets.targets {
        return shape("it also changes which releases are live, and a change of keys never does");
    }
    let wanted = Targets::new(1, Timestamp::UNIX_EPOCH).with_channels_role(&online).delegations;
    if next_targets.delegations != wanted {
        return shape("its targets delegate something else than channels/* to the online key");
    }
    Ok(())
}

/// Checks who may sign; returns the online key.
fn check_roles(root: &Root) -> Result<PublicKey, Refused> {
    for role in &ROLES {
        let named = root.roles.get(role.name()).map_or(&[][..], |named| &named.keyids);
        let signers = Signers::of(root, role);
        if signers.keys.len() != named.len() {
            return shape(format!("role {role} names a key that is not there"));
        }
        check_signers(role, &signers)?;
    }
    let (snapshot, timestamp) = (Signers::of(root, &Role::Snapshot), Signers::of(root, &Role::Timestamp));
    if snapshot != timestamp || timestamp.keys.len() != 1 {
        return shape("snapshot and timestamp must be signed by one key, the same for both");
    }
    let online = timestamp.keys.into_iter().next().expect("there is one");
    for role in [Role::Root, Role::Targets] {
        if Signers::of(root, &role).has(&online) {
            return Err(Refused::Online { role, fingerprint: online.fingerprint() });
        }
    }
    Ok(online)
}

fn check_signers(role: &Role, signers: &Signers) -> Result<(), Refused> {
    let role = || role.clone();
    let (keys, threshold) = (signers.keys.len(), signers.threshold);
    for (n, key) in signers.keys.iter().enumerate() {
        let fingerprint = key.fingerprint();
        if key.key_bytes().is_none() {
            return Err(Refused::Scheme { role: role(), fingerprint, scheme: key.scheme().to_owned() });
        }
        if signers.keys[..n].iter().any(|other| is_same(other, key)) {
            return Err(Refused::Twice { role: role(), fingerprint });
        }
    }
    match keys {
        0 => Err(Refused::NoKeys { role: role() }),
        _ if keys > KEYS_MAX => Err(Refused::TooMany { role: role(), keys }),
        _ if threshold == 0 || threshold as usize > keys => Err(Refused::Threshold { role: role(), threshold, keys }),
        _ => Ok(()),
    }
}

/// The keys of both roots, by id.
pub(super) fn all_keys(old: &Root, new: &Root) -> BTreeMap<updraft_core::key::KeyId, PublicKey> {
    let mut keys = old.keys.clone();
    keys.extend(new.keys.iter().map(|(id, key)| (id.clone(), key.clone())));
    keys
}

#[cfg(test)]
mod tests {
    use super::super::standing::Standing;
    use super::*;
    use proptest::prelude::*;
    use updraft_core::key::SigningKey;

    fn key(n: u8) -> SigningKey {
        SigningKey::from_seed([n; 32])
    }

    fn now() -> Timestamp {
        "2026-01-01T00:00:00Z".parse().unwrap()
    }

    /// The keys that a test has: 1 to 8 are people's, 9 and more the server's.
    fn all() -> impl Iterator<Item = SigningKey> {
        (1..=12).map(key)
    }

    fn signed_by_all(content: &impl serde::Serialize) -> Envelope {
        all().fold(Envelope::new(content), |envelope, key| envelope.sign(&key))
    }

    /// An app whose root key is 1, whose targets key is 2 and whose online key is 9.
    fn first() -> Standing {
        let online = key(9).public();
        let root = Root::new(1, now())
            .with_role(&Role::Root, &[key(1).public()], 1)
            .with_role(&Role::Targets, &[key(2).public()], 1)
            .with_role(&Role::Snapshot, std::slice::from_ref(&online), 1)
            .with_role(&Role::Timestamp, std::slice::from_ref(&online), 1);
        let targets = Targets::new(1, now()).with_channels_role(&online);
        let targets = Envelope::new(&targets).sign(&key(2)).to_bytes();
        let root = Envelope::new(&root).sign(&key(1)).to_bytes();
        Standing::verify("demo".parse().unwrap(), vec![root], targets).unwrap()
    }

    fn follow(standing: &Standing, change: &Change) -> Result<(Next, Standing), Refused> {
        let next = next(standing.root(), standing.envelope(), change, 0, now())?;
        let mut roots = standing.roots().to_vec();
        roots.push(signed_by_all(&next.root).to_bytes());
        let targets = match &next.targets {
            Some(targets) => signed_by_all(targets).to_bytes(),
            None => standing.targets_bytes().to_vec(),
        };
        Ok((next, Standing::verify("demo".parse().unwrap(), roots, targets).expect("what is not refused verifies")))
    }

    fn for_root(change: RoleChange) -> Change {
        Change { root: change, ..Change::default() }
    }

    #[test]
    fn what_could_not_be_undone_is_refused() {
        let standing = first();
        let fingerprint = |n| key(n).public().fingerprint();
        let add = |n: u8| RoleChange { add: vec![key(n).public()], ..RoleChange::default() };
        let revoke = |n: u8| RoleChange { revoke: vec![fingerprint(n)], ..RoleChange::default() };
        let unknown: PublicKey =
            serde_json::from_str(r#"{"keytype":"x","scheme":"x448","keyval":{"public":"00"}}"#).unwrap();
        let unknown = RoleChange { add: vec![unknown], ..RoleChange::default() };
        let cases = [
            (
                for_root(RoleChange { threshold: Some(2), ..RoleChange::default() }),
                "2 signatures of 1 keys could never",
            ),
            (
                for_root(RoleChange { threshold: Some(0), ..RoleChange::default() }),
                "0 signatures of 1 keys could never",
            ),
            (for_root(revoke(1)), "no key left"),
            (for_root(revoke(2)), "has no key"),
            (for_root(RoleChange { revoke: vec![String::new()], ..RoleChange::default() }), "has no key"),
            (for_root(add(1)), "twice"),
            (for_root(RoleChange { add: vec![key(3).public(), key(3).public()], ..RoleChange::default() }), "twice"),
            (for_root(add(9)), "online key"),
            (Change { targets: add(9), ..Change::default() }, "online key"),
            (Change { online: Some(key(1).public()), ..Change::default() }, "online key"),
            (for_root(unknown), "'x448', which is not known"),
            (
                for_root(RoleChange { add: (20..40).map(|n| key(n).public()).collect(), ..RoleChange::default() }),
                "21 keys; 16 are allowed",
            ),
        ];
        for (change, reason) in cases {
            let error = next(standing.root(), standing.envelope(), &change, 0, now()).unwrap_err().to_string();
            assert!(error.contains(reason), "{change:?}: {error}");
        }
    }

    #[test]
    fn targets_are_signed_anew_only_where_they_must() {
        let standing = first();
        let needs = |change: Change| follow(&standing, &change).unwrap().0.targets.is_some();
        assert!(!needs(Change::default()), "a renewal of the root");
        assert!(!needs(for_root(RoleChange { add: vec![key(3).public()], ..RoleChange::default() })));
        let targets = |change| Change { targets: change, ..Change::default() };
        let another = vec![key(3).public()];
        assert!(!needs(targets(RoleChange { add: another.clone(), ..RoleChange::default() })));
        assert!(needs(targets(RoleChange { add: another.clone(), threshold: Some(2), revoke: vec![] })));
        assert!(needs(targets(RoleChange {
            add: another,
            revoke: vec![key(2).public().fingerprint()],
            threshold: None
        })));
        assert!(needs(Change { online: Some(key(10).public()), ..Change::default() }));
        assert!(needs(Change { renew_targets: true, ..Change::default() }));
    }

    #[test]
    fn a_renewal_changes_nothing_but_the_end() {
        let standing = first();
        let (next, _) = follow(&standing, &Change { renew_targets: true, ..Change::default() }).unwrap();
        assert_eq!((&next.root.keys, &next.root.roles), (&standing.root().keys, &standing.root().roles));
        assert_eq!(next.root.expires.at().to_string(), "2036-01-01T00:00:00Z");
        // Later, and never sooner: a clock that is years behind does not cut a life short.
        let behind = "2016-01-01T00:00:00Z".parse().unwrap();
        let again = super::next(&next.root, standing.envelope(), &Change::default(), 0, behind).unwrap();
        assert_eq!(again.root.expires, next.root.expires);
    }

    fn any_role() -> impl Strategy<Value = RoleChange> {
        let some = |n| proptest::collection::vec(1..=10_u8, 0..n);
        (some(3), some(3), proptest::option::of(0..4_u32)).prop_map(|(add, revoke, threshold)| RoleChange {
            add: add.into_iter().map(|n| key(n).public()).collect(),
            revoke: revoke.into_iter().map(|n| key(n).public().fingerprint()).collect(),
            threshold,
        })
    }

    fn any_change() -> impl Strategy<Value = Change> {
        let online = proptest::option::of((1..=12_u8).prop_map(|n| key(n).public()));
        (any_role(), any_role(), online, any::<bool>()).prop_map(|(root, targets, online, renew_targets)| Change {
            root,
            targets,
            online,
            renew_targets,
        })
    }

    proptest! {
        /// Whatever people ask for, one after the other: it is refused, or the next root verifies and can be followed.
        #[test]
        fn there_is_always_a_way_on(changes in proptest::collection::vec(any_change(), 0..12)) {
            let mut standing = first();
            for change in &changes {
                let Ok((next, after)) = follow(&standing, change) else { continue };
                prop_assert_eq!(next.root.version, standing.root().version + 1);
                for role in [Role::Root, Role::Targets] {
                    let signers = after.signers(&role);
                    prop_assert!((1..=signers.keys.len()).contains(&(signers.threshold as usize)));
                    prop_assert!(!signers.has(&after.signers(&Role::Timestamp).keys[0]));
                }
                let named: usize = after.root().roles.values().map(|role| role.keyids.len()).sum();
                prop_assert!(after.root().keys.len() <= named, "no key lingers that nobody names");
                standing = after;
            }
            let (_, after) = follow(&standing, &Change::default()).expect("a renewal is always possible");
            prop_assert_eq!(after.root().roles.clone(), standing.root().roles.clone());
        }
    }
}
