//! Changes of keys in one command, where the keys that are here suffice; else a file for each who must sign.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use updraft_agent::ui::{Exit, say, warn};
use updraft_core::Timestamp;
use updraft_core::limits::ROOT_ROTATIONS_MAX;
use updraft_core::name::AppName;
use updraft_core::trust::Role;
use updraft_publisher::keys::{KeyName, Keystore, Passphrases};
use updraft_publisher::pin;
use updraft_publisher::publish::{Options, Publisher};
use updraft_publisher::root::{Arrived, Ceremony, Change, Done, Online, Outcome, Proposal, RoleChange, Standing, Wish};
use updraft_publisher::{Remote, Silent};

use super::args::{At, Changing, RoleName};
use super::{read_public, write_new};
use crate::secrets::{self, shell_word};
use crate::{remote, secrets::this_program};

/// The first pause after somebody else was faster.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// An end that is further away than this needs no renewal yet, in seconds: a year.
const NEAR_SECS: i64 = 365 * 24 * 60 * 60;

pub(super) fn rotate(roles: &[RoleName], changing: &Changing) -> anyhow::Result<Exit> {
    let names = names(roles);
    let rotated = carry_out(changing, &Wish::Rotate(names))?;
    if rotated == Exit::Done && !changing.dry_run {
        let dir = std::path::absolute(secrets::keystore(&changing.at.keys, &changing.at.app)?.dir())?;
        say(format_args!(
            "keep a copy of {} offline, with the new keys; the old ones sign nothing any more",
            dir.display()
        ));
    }
    Ok(rotated)
}

pub(super) fn add(role: RoleName, file: &Path, threshold: Option<u32>, changing: &Changing) -> anyhow::Result<Exit> {
    let change = RoleChange { add: vec![read_public(file)?], revoke: Vec::new(), threshold };
    carry_out(changing, &Wish::Change(for_role(role, change)))
}

pub(super) fn revoke(
    fingerprint: &str,
    role: Option<RoleName>,
    threshold: Option<u32>,
    changing: &Changing,
) -> anyhow::Result<Exit> {
    let fingerprint = fingerprint.to_ascii_lowercase();
    let role = match role {
        Some(role) => role,
        None => role_of(&fingerprint, &changing.at)?,
    };
    let change = RoleChange { add: Vec::new(), revoke: vec![fingerprint], threshold };
    carry_out(changing, &Wish::Change(for_role(role, change)))
}

pub(super) fn renew(roles: &[RoleName], force: bool, changing: &Changing) -> anyhow::Result<Exit> {
    // Targets alone cost no root.
    if roles != [RoleName::Targets] && !force && !is_near(roles, &changing.at)? {
        let app = &changing.at.app;
        say(format_args!(
            "nothing is renewed: {} of {app} ends within a year, and each renewal is a root, of which an app has \
             {ROOT_ROTATIONS_MAX} in its life; --force renews all the same",
            if roles == [RoleName::Root] { "no root" } else { "neither root nor targets" }
        ));
        return Ok(Exit::Done);
    }
    match roles {
        [RoleName::Targets] => renew_targets(changing),
        [RoleName::Root] => carry_out(changing, &Wish::Change(Change::default())),
        _ => carry_out(changing, &Wish::Change(Change { renew_targets: true, ..Change::default() })),
    }
}

pub(super) fn replace_online(changing: &Changing) -> anyhow::Result<Exit> {
    carry_out(changing, &Wish::ReplaceOnline)
}

/// Whether one of the roles ends within a year.
fn is_near(roles: &[RoleName], at: &At) -> anyhow::Result<bool> {
    let now = Timestamp::now();
    let http = remote::connect(&at.server)?;
    let keystore = secrets::keystore(&at.keys, &at.app)?;
    let standing = Standing::read(&http, &at.app, &keystore, Online::Doubted, now)?;
    let end = |name: KeyName| match name {
        KeyName::Root => standing.root().expires.at(),
        KeyName::Targets => standing.targets().expires.at(),
    };
    Ok(names(roles).into_iter().any(|name| end(name).as_second() - now.as_second() < NEAR_SECS))
}

/// Without root keys: what publishing does, and no release.
fn renew_targets(changing: &Changing) -> anyhow::Result<Exit> {
    let At { app, keys, server } = &changing.at;
    if changing.dry_run {
        say(format_args!("targets of {app} would be signed anew, with a later end; no root is needed for that"));
        return Ok(Exit::Done);
    }
    let (http, keystore) = (remote::connect(server)?, secrets::keystore(keys, app)?);
    let (passphrases, options) = (secrets::passphrases(keys)?, Options::default());
    let publisher =
        Publisher { remote: &http, keys: &keystore, passphrases: &*passphrases, progress: &Silent, options: &options };
    let committed = pin::renew(&publisher, app, Timestamp::now())?;
    say(format_args!("targets of {app} are signed anew: version {}", committed.targets));
    Ok(Exit::Done)
}

fn names(roles: &[RoleName]) -> Vec<KeyName> {
    let is_wanted = |name: &KeyName| roles.is_empty() || roles.iter().any(|role| KeyName::from(*role) == *name);
    KeyName::ALL.into_iter().filter(is_wanted).collect()
}

pub(super) fn for_role(role: RoleName, change: RoleChange) -> Change {
    match role {
        RoleName::Root => Change { root: change, ..Change::default() },
        RoleName::Targets => Change { targets: change, ..Change::default() },
    }
}

/// The one role that has a key of this fingerprint.
fn role_of(fingerprint: &str, at: &At) -> anyhow::Result<RoleName> {
    let http = remote::connect(&at.server)?;
    let keystore = secrets::keystore(&at.keys, &at.app)?;
    let standing = Standing::read(&http, &at.app, &keystore, Online::Doubted, Timestamp::now())?;
    let has = |role: &Role| standing.signers(role).keys.iter().any(|key| key.fingerprint().starts_with(fingerprint));
    match (has(&Role::Root), has(&Role::Targets)) {
        (true, false) => Ok(RoleName::Root),
        (false, true) => Ok(RoleName::Targets),
        (true, true) => bail!("key {fingerprint} may sign root and targets; say which with --role"),
        (false, false) if has(&Role::Timestamp) => {
            bail!("key {fingerprint} is the server's; `keys replace-online --app {}` replaces it", at.app)
        }
        (false, false) => {
            bail!("no key {fingerprint} signs for {}; `keys show --app {}` names those that do", at.app, at.app)
        }
    }
}

/// Whoever changes keys with these.
pub(super) fn ceremony<'a>(
    remote: &'a dyn Remote,
    keys: &'a Keystore,
    passphrases: &'a dyn Passphrases,
) -> Ceremony<'a> {
    Ceremony { remote, keys, passphrases, first_pause: FIRST_PAUSE, arrived: &say_arrived }
}

fn say_arrived(Arrived { version, begun }: &Arrived) {
    let begun = begun.strftime("%Y-%m-%d %H:%M");
    warn(format_args!("the attempt of {begun} UTC had arrived, as root {version}; going on"));
}

fn carry_out(changing: &Changing, wish: &Wish) -> anyhow::Result<Exit> {
    let At { app, keys, server } = &changing.at;
    let http = remote::connect(server)?;
    let keystore = secrets::keystore(keys, app)?;
    let passphrases = secrets::passphrases(keys)?;
    let ceremony = ceremony(&http, &keystore, &*passphrases);
    let now = Timestamp::now();
    if changing.dry_run {
        say(format_args!("the keys of {app} would change:"));
        indent(&ceremony.foresee(app, wish, now)?);
        return Ok(Exit::Done);
    }
    match ceremony.carry_out(app, wish, now)? {
        Outcome::Done(done) => {
            tell(app, &done);
            Ok(Exit::Done)
        }
        Outcome::Wanting(proposal) => {
            hand_out(&proposal, changing.out.as_deref(), &keystore)?;
            Ok(Exit::Error)
        }
    }
}

/// Says what counts now.
pub(super) fn tell(app: &AppName, done: &Done) {
    if done.earlier {
        say(format_args!("root {} of {app} counts already: it had arrived before", done.version));
    } else {
        say(format_args!("root {} of {app} counts now:", done.version));
    }
    indent(&done.lines);
}

pub(super) fn indent(lines: &[String]) {
    lines.iter().for_each(|line| say(format_args!("  {line}")));
}

/// Writes the proposal once for each who could sign what is lacking, and says who that is.
fn hand_out(proposal: &Proposal, out: Option<&Path>, keystore: &Keystore) -> anyhow::Result<()> {
    let (app, bytes) = (proposal.app(), proposal.encode());
    let dir = out.unwrap_or(Path::new("."));
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let named = |fingerprint: &str| dir.join(format!("{app}.root-{}.for-{fingerprint}.json", proposal.version()));
    warn(format_args!(
        "the keys in {} do not suffice for root {} of {app}; nothing has changed yet",
        keystore.dir().display(),
        proposal.version()
    ));
    say("it would change this:");
    indent(&proposal.lines());
    say(format_args!("its fingerprint, to compare over the phone: {}", proposal.fingerprint()));
    lacking(proposal);
    say("a file for each of them:");
    for (fingerprint, _) in proposal.missing_signers() {
        let file = named(&fingerprint);
        write_new(&file, &bytes)?;
        say(format_args!("  {}  for whoever has key {fingerprint}", file.display()));
    }
    say("each signs theirs with `updraft keys root sign FILE` and sends it back; then hand all of them in with");
    say(format_args!(
        "  {} keys root accept {}",
        shell_word(&this_program()),
        shell_word(&named("")).replace(".json", "*.json")
    ));
    Ok(())
}

/// Says which signatures are lacking.
pub(super) fn lacking(proposal: &Proposal) {
    for need in proposal.needs() {
        if need.lacking() > 0 {
            let others: Vec<String> = need.others().map(|key| key.fingerprint()).collect();
            let by = if need.by_next { "as the next root asks" } else { "as the root of now asks" };
            say(format_args!("lacking on {}, {by}: {} more, of {}", need.document, need.lacking(), others.join(", ")));
        }
    }
}
