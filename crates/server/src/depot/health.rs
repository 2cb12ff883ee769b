//! Whether all is well with every app, and how long everything still lives.
//!
//! What a person signs (root, targets) is judged by the days that are left; what the server signs (channels, snapshot,
//! timestamp) by whether it is late, because a timestamp never has many days. Nothing here changes anything.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use jiff::SignedDuration;
use tracing::field::display;
use updraft_core::Timestamp;
use updraft_core::api::{AppHealth, AppState, Finding, Health, Level, Matter, Renewer, RoleHealth, span};
use updraft_core::name::AppName;
use updraft_core::trust::Role;

use super::patches::GivenUp;
use super::sign::later;
use super::slot::Slot;
use super::{Depot, Error, OnlineKeys, Options, View, app_names, blocking};
use crate::store::Store;

/// How late a renewal may be. The server looks at least every minute once something is due, and tries again after one.
const LATE_SECS: i64 = 10 * 60;
/// How long it is believed that a key is where it was seen: everybody may ask, and each look reads a file.
const KEY_SEEN_SECS: i64 = 60;

/// When the log is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Round {
    /// At the start: what opening the depot has said is not said again.
    First,
    /// Each day after it.
    Daily,
}

/// What a slot remembers of how its app fares.
#[derive(Debug, Default)]
pub(super) struct Vitals {
    failures: AtomicU64,
    /// Why the last renewal failed; none once one has not.
    last_failure: Mutex<Option<String>>,
    seen: Mutex<Option<Seen>>,
}

/// The online key, looked for at some moment, and what lies beside it.
#[derive(Debug, Clone)]
struct Seen {
    at: Timestamp,
    root: u64,
    keys: Keys,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Keys {
    online: OnlineKey,
    /// Whether keys that sign releases lie there too.
    has_publishers: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum OnlineKey {
    Here,
    Missing,
    /// Why it is of no use.
    Unusable(String),
}

impl Vitals {
    /// Remembers how a renewal went.
    pub(super) fn note(&self, renewed: &Result<bool, Error>) {
        let failure = renewed.as_ref().err().map(ToString::to_string);
        if failure.is_some() {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
        *self.last_failure.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    }

    fn last_failure(&self) -> Option<String> {
        self.last_failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Depot {
    /// Reads every app of `store` and changes nothing, but for what a crash left half done: to look at a store that no
    /// server has open. Nothing is renewed.
    ///
    /// # Errors
    /// When the store cannot be listed.
    pub async fn look(store: Store, keys: OnlineKeys, options: Options) -> Result<Self, Error> {
        let names = app_names(&store).await?;
        let depot = Self::over(store, keys, options);
        for name in names {
            let slot = depot.slot_or_new(&name);
            let _turn = slot.turn.lock().await;
            // What is wrong with it is kept with it.
            let _ = depot.load_in_turn(&slot).await;
        }
        Ok(depot)
    }

    /// How every app is, with everything that was found, also what is for the operator's eyes only.
    pub async fn health(&self, now: Timestamp) -> Health {
        let slots: Vec<_> = self.inner.apps.load().values().cloned().collect();
        let (mut apps, mut findings) = (Vec::new(), Vec::new());
        for slot in slots {
            let (app, mut found) = match (slot.view(), slot.trouble()) {
                (Some(view), _) => {
                    let keys = self.seen_keys(&slot, &view, now).await;
                    // Where the store does not answer, others say so.
                    let patches = self.given_up_patches(&slot, &view, now).await.unwrap_or_default();
                    self.facts(&slot, &view, keys, patches).judge(now)
                }
                (None, Some(reason)) => broken(&slot, reason),
                (None, None) => continue,
            };
            apps.push(app);
            findings.append(&mut found);
        }
        Health::new(now, apps, findings)
    }

    /// Says in the log what a person has to do before something ends, and what is not as it should be.
    pub async fn remind(&self, now: Timestamp, round: Round) {
        for finding in self.health(now).await.findings {
            let Finding { level, kind, app, role, what, remedy, detail } = finding;
            let is_news = match round {
                Round::First => matches!(kind, Matter::Ends | Matter::Late),
                // That keys lie here was decided by somebody.
                Round::Daily => kind != Matter::PublisherKeys,
            };
            if !is_news {
                continue;
            }
            let (app, role, detail) = (app.map(display), role.map(display), detail.map(display));
            let (word, remedy) = (level.word(), display(remedy));
            match level {
                Level::Ok | Level::Notice => tracing::info!(app, role, level = word, remedy, detail, "{what}"),
                Level::Warning => tracing::warn!(app, role, level = word, remedy, detail, "{what}"),
                _ => tracing::error!(app, role, level = word, remedy, detail, "{what}"),
            }
        }
    }

    async fn seen_keys(&self, slot: &Slot, view: &View, now: Timestamp) -> Keys {
        let root = view.root.version;
        let still_counts = |seen: &Seen| {
            let age = now.duration_since(seen.at).as_secs();
            seen.root == root && (0..KEY_SEEN_SECS).contains(&age)
        };
        let seen = slot.vitals.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(seen) = seen.filter(still_counts) {
            return seen.keys;
        }
        let online = match self.signing_key(&slot.name, &view.root).await {
            Ok(_) => OnlineKey::Here,
            Err(Error::NoKey(_)) => OnlineKey::Missing,
            Err(error) => OnlineKey::Unusable(error.to_string()),
        };
        let (keys, name) = (self.inner.keys.clone(), slot.name.clone());
        // A directory that cannot be read is told of above.
        let has_publishers = blocking(move || keys.has_publishers(&name)).await.unwrap_or_default();
        let keys = Keys { online, has_publishers };
        let seen = Seen { at: now, root, keys: keys.clone() };
        *slot.vitals.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen);
        keys
    }

    fn facts(&self, slot: &Slot, view: &View, keys: Keys, patches: GivenUp) -> Facts {
        let life_secs = |role: &str| match role {
            "timestamp" => Some(self.inner.options.timestamp_life_secs),
            "root" | "targets" => None,
            _ => Some(self.inner.options.online_life_secs),
        };
        // From the ground up: who is named by whom.
        let roles = [Role::Root, Role::Targets, Role::channels(), Role::Snapshot, Role::Timestamp];
        let expires = view.expires();
        let ends = roles.iter().filter_map(|role| {
            let (name, at) = expires.get_key_value(role.name())?;
            Some(Ends { role: name.clone(), at: *at, life_secs: life_secs(name) })
        });
        Facts {
            app: slot.name.clone(),
            ends: ends.collect(),
            keys,
            failures: slot.vitals.failures.load(Ordering::Relaxed),
            last_failure: slot.vitals.last_failure(),
            owed: slot.owed(),
            patches,
        }
    }
}

/// What is known of an app, before anything is made of it.
#[derive(Debug)]
struct Facts {
    app: AppName,
    ends: Vec<Ends>,
    keys: Keys,
    failures: u64,
    last_failure: Option<String>,
    /// Why a rotation that was announced is not complete.
    owed: Option<String>,
    patches: GivenUp,
}

#[derive(Debug)]
struct Ends {
    role: String,
    at: Timestamp,
    /// How long the server lets it live; none for what a person signs.
    life_secs: Option<i64>,
}

impl Facts {
    fn judge(&self, now: Timestamp) -> (AppHealth, Vec<Finding>) {
        let roles: Vec<RoleHealth> = self.ends.iter().map(|ends| ends.judge(now)).collect();
        let mut findings: Vec<Finding> = roles.iter().filter_map(|role| self.of_role(role)).collect();
        findings.extend(self.of_online_key());
        findings.extend(self.of_rotation());
        let level = findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok);
        // Where an app's own keys lie is no fault of the app, and it can do without patches.
        findings.extend(self.of_publisher_keys());
        findings.extend(self.of_patches());
        let is_over = |role: &&RoleHealth| role.level == Level::Expired;
        let is_fresh = !roles.iter().filter(|role| role.renewed_by == Renewer::Server).any(|role| is_over(&role));
        let health = AppHealth {
            app: self.app.clone(),
            state: if roles.iter().any(|role| is_over(&role)) { AppState::Stale } else { AppState::Fresh },
            ready: is_fresh,
            level,
            online_key: Some(self.keys.online == OnlineKey::Here),
            renewal_failures: self.failures,
            roles,
        };
        (health, findings)
    }

    fn finding(&self, level: Level, kind: Matter, what: String, remedy: String) -> Finding {
        Finding { level, kind, app: Some(self.app.clone()), role: None, what, remedy, detail: None }
    }

    fn of_role(&self, role: &RoleHealth) -> Option<Finding> {
        if role.level == Level::Ok {
            return None;
        }
        let RoleHealth { role: name, expires, seconds_left, .. } = role;
        let (app, on) = (&self.app, expires.strftime("%Y-%m-%d %H:%M UTC"));
        let left = span(seconds_left.unsigned_abs());
        let finding = match role.renewed_by {
            Renewer::Person => {
                let what = match role.level {
                    Level::Expired => {
                        format!("{name} ended {left} ago, on {on}: devices take nothing new until it is renewed")
                    }
                    _ => format!("{name} ends in {left}, on {on}: after that devices take nothing new"),
                };
                let renew = format!("run `updraft keys renew {name} --app {app}`");
                // A publisher builds on nothing that has ended.
                let publish = name == Role::Targets.name() && role.level != Level::Expired;
                let remedy = if publish { format!("publish anything, or {renew}") } else { renew };
                self.finding(role.level, Matter::Ends, what, remedy)
            }
            Renewer::Server => {
                let what = match role.level {
                    Level::Expired => {
                        format!("{name} ended {left} ago, on {on}: devices take nothing new until the server renews it")
                    }
                    _ => format!("{name} ends in {left}, on {on}, and the server is late to renew it"),
                };
                let remedy = "the server goes on trying; its log says what is in its way".to_owned();
                Finding { detail: self.last_failure.clone(), ..self.finding(role.level, Matter::Late, what, remedy) }
            }
        };
        Some(Finding { role: Some(name.clone()), ..finding })
    }

    fn of_online_key(&self) -> Option<Finding> {
        let (what, detail) = match &self.keys.online {
            OnlineKey::Here => return None,
            OnlineKey::Missing => ("the online key that its root names is not on this server", None),
            OnlineKey::Unusable(reason) => ("its online key cannot be used", Some(reason.clone())),
        };
        let what =
            format!("{what}: nothing can be signed for it, and when its timestamp ends devices take nothing new");
        let remedy =
            format!("restore the key directory from a backup, or run `updraft keys replace-online --app {}`", self.app);
        Some(Finding { detail, ..self.finding(Level::Urgent, Matter::OnlineKey, what, remedy) })
    }

    fn of_rotation(&self) -> Option<Finding> {
        let detail = Some(self.owed.clone()?);
        let what = "the next root is announced and could not be completed yet: it will take place".to_owned();
        let remedy = "the server goes on trying; its log says what is in its way".to_owned();
        Some(Finding { detail, ..self.finding(Level::Urgent, Matter::Rotation, what, remedy) })
    }

    fn of_publisher_keys(&self) -> Option<Finding> {
        let what = "the keys that sign its releases lie on the server: whoever owns this machine can make releases";
        let remedy =
            format!("stop the server and run `updraft keys move --app {} --data DATA` to take them off it", self.app);
        let finding = || self.finding(Level::Notice, Matter::PublisherKeys, what.to_owned(), remedy);
        self.keys.has_publishers.then(finding)
    }

    fn of_patches(&self) -> Option<Finding> {
        let detail = Some(self.patches.last_reason.clone()?);
        let what = match self.patches.count {
            1 => "a patch could not be made, and was given up: updates from one release are larger".to_owned(),
            n => format!("{n} patches could not be made, and were given up: updates from {n} releases are larger"),
        };
        let remedy =
            "see what `updraft release show` says of them; more patch_memory may help, and a restart tries again \
                      with it; or make them with `updraft publish --make-patches`"
                .to_owned();
        Some(Finding { detail, ..self.finding(Level::Notice, Matter::Patches, what, remedy) })
    }
}

impl Ends {
    fn judge(&self, now: Timestamp) -> RoleHealth {
        let left = self.at.duration_since(now);
        let seconds_left = left.as_secs();
        let (renewed_by, level) = match self.life_secs {
            None => (Renewer::Person, Level::of_time_left(if left.is_positive() { seconds_left.max(1) } else { 0 })),
            Some(life_secs) => (Renewer::Server, self.lateness(life_secs, left, now)),
        };
        RoleHealth { role: self.role.clone(), renewed_by, expires: self.at, seconds_left, level }
    }

    /// How pressing it is that the server signs anew: it does so when half of the life is over.
    fn lateness(&self, life_secs: i64, left: SignedDuration, now: Timestamp) -> Level {
        if !left.is_positive() {
            return Level::Expired;
        }
        let due = later(self.at, -life_secs / 2);
        match now.duration_since(due).as_secs() {
            ..=LATE_SECS => Level::Ok,
            _ if left.as_secs() < life_secs / 4 => Level::Urgent,
            _ => Level::Warning,
        }
    }
}

fn broken(slot: &Slot, reason: String) -> (AppHealth, Vec<Finding>) {
    let app = slot.name.clone();
    let finding = Finding {
        level: Level::Broken,
        kind: Matter::Broken,
        app: Some(app.clone()),
        role: None,
        what: "it cannot be served".to_owned(),
        remedy: "run `updraft fsck`, and restore what it names from a backup; the server's log says more".to_owned(),
        detail: Some(reason),
    };
    let health = AppHealth {
        app,
        state: AppState::Broken,
        ready: false,
        level: Level::Broken,
        online_key: None,
        renewal_failures: slot.vitals.failures.load(Ordering::Relaxed),
        roles: Vec::new(),
    };
    (health, vec![finding])
}
