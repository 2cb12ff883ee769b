//! What a change of keys changes, in words. It is made from the documents, never read from anywhere: who signs must see
//! what is signed.

use updraft_core::key::PublicKey;
use updraft_core::trust::{Expires, Role, Root, Targets};

use super::change::Next;
use super::signers::{Signers, is_same};

/// One line for each thing that changes.
pub(super) fn lines(root: &Root, targets: &Targets, next: &Next) -> Vec<String> {
    let end = ends(&root.expires, &next.root.expires);
    let mut lines = vec![format!("root: version {} follows {}, {end}", next.root.version, root.version)];
    for role in [Role::Root, Role::Targets] {
        lines.extend(of_role(&role, &Signers::of(root, &role), &Signers::of(&next.root, &role)));
    }
    let online = |root: &Root| Signers::of(root, &Role::Timestamp).keys.first().map(PublicKey::fingerprint);
    if let (Some(old), Some(new)) = (online(root), online(&next.root))
        && old != new
    {
        lines.push(format!("channels, snapshot, timestamp: the server signs with key {new} in the place of key {old}"));
    }
    if let Some(next) = &next.targets {
        let (old, new) = (targets.version, next.version);
        let (count, end) = (next.targets.len(), ends(&targets.expires, &next.expires));
        lines.push(format!("targets: version {new} follows {old}, with the same {count} targets, {end}"));
    }
    lines
}

/// Who may sign under `root`, a line for each role; the server's one key has three.
pub(super) fn signers(root: &Root) -> Vec<String> {
    let of = |name: &str, role: &Role| {
        let signers = Signers::of(root, role);
        let must = format!("{} of {} must sign", signers.threshold, signers.keys.len());
        format!("{name}: {must}: {signers}")
    };
    vec![
        of("root", &Role::Root),
        of("targets", &Role::Targets),
        of("channels, snapshot, timestamp (the server)", &Role::Timestamp),
    ]
}

fn ends(old: &Expires, new: &Expires) -> String {
    let day = |expires: &Expires| expires.at().strftime("%Y-%m-%d").to_string();
    let (old, new) = (day(old), day(new));
    if old == new { format!("and ends on {new}, as before") } else { format!("and ends on {new} (before: {old})") }
}

fn of_role(role: &Role, old: &Signers, new: &Signers) -> Vec<String> {
    let only_in = |here: &Signers, there: &Signers| -> Vec<PublicKey> {
        here.keys.iter().filter(|key| !there.keys.iter().any(|other| is_same(other, key))).cloned().collect()
    };
    let mut lines = Vec::new();
    for key in only_in(new, old) {
        lines.push(format!("{role}: key {} ({}) may sign from now on", key.fingerprint(), key.scheme()));
    }
    for key in only_in(old, new) {
        lines.push(format!("{role}: key {} ({}) may not sign any more", key.fingerprint(), key.scheme()));
    }
    let of = |signers: &Signers| format!("{} of {}", signers.threshold, signers.keys.len());
    if of(old) != of(new) {
        lines.push(format!("{role}: {} keys must sign (before: {})", of(new), of(old)));
    }
    lines
}
