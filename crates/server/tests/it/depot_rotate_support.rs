//! A publisher who rotates keys, for the tests of rotations.

use updraft_core::api::{NextRoot, Promotion};
use updraft_core::key::{PublicKey, SigningKey};
use updraft_core::limits::METADATA_LEN_MAX;
use updraft_core::release::Release;
use updraft_core::signed::Envelope;
use updraft_core::trust::{Role, Root, Targets};
use updraft_core::{Timestamp, api};
use updraft_server::depot::{Depot, Error, OnlineKeys, View};
use updraft_server::store::Store;
use updraft_testkit::{clock, keys};

use super::depot_support::*;

/// The publisher's next keys.
pub(crate) fn new_root() -> SigningKey {
    keys::named("the next root key")
}

pub(crate) fn new_targets() -> SigningKey {
    keys::named("the next targets key")
}

/// A rotation in the making: what a publisher would sign, and with which keys.
pub(crate) struct Draft {
    pub(crate) base: u64,
    pub(crate) root: Root,
    pub(crate) root_signers: Vec<SigningKey>,
    pub(crate) targets: Option<Targets>,
    pub(crate) targets_signers: Vec<SigningKey>,
}

impl Draft {
    /// The next root with the keys of `view`, without new targets.
    pub(crate) fn of(view: &View) -> Self {
        let mut root = view.root.clone();
        root.version += 1;
        Self {
            base: view.targets.version,
            root,
            root_signers: vec![keys::root()],
            targets: None,
            targets_signers: vec![keys::targets()],
        }
    }

    /// The same with this one key for `role`.
    pub(crate) fn with_key(mut self, role: &Role, key: &PublicKey) -> Self {
        self.root = self.root.with_role(role, std::slice::from_ref(key), 1);
        self
    }

    /// The same with this key for the server's roles, and new targets that delegate to it.
    pub(crate) fn with_online(self, view: &View, key: &PublicKey) -> Self {
        let targets = next_targets(view).with_channels_role(key);
        let draft = self.with_key(&Role::Timestamp, key).with_key(&Role::Snapshot, key);
        Self { targets: Some(targets), ..draft }
    }

    pub(crate) fn signed(&self) -> NextRoot {
        let sign = |envelope: Envelope, keys: &[SigningKey]| text(keys.iter().fold(envelope, |e, key| e.sign(key)));
        NextRoot {
            base: self.base,
            root: sign(Envelope::new(&self.root), &self.root_signers),
            targets: self.targets.as_ref().map(|targets| sign(Envelope::new(targets), &self.targets_signers)),
        }
    }
}

/// The targets of `view` under the next version.
pub(crate) fn next_targets(view: &View) -> Targets {
    let mut targets = view.targets.clone();
    targets.version += 1;
    targets
}

/// Another key for the publisher's root role, signed by the old one and the new one.
pub(crate) fn root_rotation(view: &View) -> Draft {
    let draft = Draft::of(view).with_key(&Role::Root, &new_root().public());
    Draft { root_signers: vec![keys::root(), new_root()], ..draft }
}

/// Another key for the publisher's targets, signed by these.
pub(crate) fn targets_rotation(view: &View, signers: Vec<SigningKey>) -> Draft {
    let draft = Draft::of(view).with_key(&Role::Targets, &new_targets().public());
    Draft { targets: Some(next_targets(view)), targets_signers: signers, ..draft }
}

/// Another online key, the one that the server proposes.
pub(crate) async fn online_rotation(depot: &Depot) -> Draft {
    let key = depot.next_online_key(&app()).await.unwrap();
    let view = depot.view(&app()).unwrap();
    Draft::of(&view).with_online(&view, &key)
}

/// A store whose 1.0.0 is on stable, and whose 1.1.0 is live and on no channel.
pub(crate) async fn with_two_releases() -> (Store, OnlineKeys) {
    let (store, online) = with_one_release().await;
    let depot = open(&store, &online, clock::now()).await;
    publish(&depot, "1.1.0", "any", None, clock::now()).await.unwrap();
    (store, online)
}

/// Publishes as [`publish`] does, with this key.
pub(crate) async fn publish_with(
    depot: &Depot,
    version: &str,
    key: &SigningKey,
    now: Timestamp,
) -> Result<api::Committed, Error> {
    let release = document(version, "any", &build(version));
    let promote: Option<Promotion> = Some(promotion("stable", &release.name()));
    upload_tree(depot, &build(version)).await?;
    let view = depot.newest(&app()).await?;
    depot.accept(&app(), &release_of(&view, &release, promote, key), now).await
}

fn release_of(view: &View, release: &Release, promote: Option<Promotion>, key: &SigningKey) -> api::NewTargets {
    let unsigned = submission(view, view.targets.version + 1, std::slice::from_ref(release), promote);
    let targets: Targets = Envelope::parse(unsigned.targets.as_bytes(), METADATA_LEN_MAX).unwrap().content().unwrap();
    signed(view, &targets, std::slice::from_ref(release), unsigned.promote, key)
}
