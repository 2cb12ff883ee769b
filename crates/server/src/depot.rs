//! The depot: the service without a network. Every verb of the domain lives here; HTTP, the dashboard and the command
//! line are doors to this one room.
//!
//! What devices read comes from [`View`]s, which are in memory and change all at once. What changes an app goes one
//! way: verify as a device would, write every immutable object, then swap the head once. A crash before the swap leaves
//! garbage that `gc` finds; a crash after it leaves nothing undone that the next start does not do.
//!
//! It refuses what a device would refuse, and whatever would let a release, a channel or metadata go backwards.

mod accept;
mod blob;
mod channel;
mod commit;
mod create;
mod error;
mod fsck;
mod gc;
mod handover;
mod health;
mod keys;
mod load;
mod parallel;
mod patches;
mod presence;
mod renew;
mod rotate;
mod sign;
mod slot;
mod trees;
mod upload;
mod verify;
mod view;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use updraft_core::Timestamp;
use updraft_core::layout::Key;
use updraft_core::name::AppName;

pub use error::Error;
pub use fsck::Repair;
pub use health::Round;
pub use keys::{Error as KeysError, OnlineKeys};
pub(crate) use patches::{Kept, Prepared};
pub use patches::{Pair, PatchUpload, Tally};
pub use renew::Renewed;
pub use trees::ReleaseTree;
pub use upload::Upload;
pub use view::View;

use crate::store::Store;
use slot::Slot;

/// What an operator may set.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How long a timestamp lives, in seconds: how long a device can be kept from news. 24 hours by default.
    pub timestamp_life_secs: i64,
    /// How long snapshots and channels live, in seconds. 90 days by default.
    pub online_life_secs: i64,
    /// How long `gc` waits between condemning an object and deleting it, in seconds. 7 days by default.
    pub gc_grace_secs: i64,
    /// From how many of the last releases there is to be a patch to a new one; so many stay in the store. 0 by default: that
    /// is for whoever has patches made.
    pub patch_releases: usize,
    /// Whether there is to be a bundle of what newcomers get. No by default, as above.
    pub patch_bundles: bool,
}

impl Default for Options {
    fn default() -> Self {
        const DAY: i64 = 24 * 60 * 60;
        Self {
            timestamp_life_secs: DAY,
            online_life_secs: 90 * DAY,
            gc_grace_secs: 7 * DAY,
            patch_releases: 0,
            patch_bundles: false,
        }
    }
}

struct Inner {
    store: Store,
    keys: OnlineKeys,
    options: Options,
    apps: ArcSwap<BTreeMap<AppName, Arc<Slot>>>,
    uploads: upload::Running,
    trees: trees::Remembered,
    patches: patches::Ear,
    /// One collection at a time.
    collecting: tokio::sync::Mutex<()>,
    /// One check at a time: each reads the whole store.
    checking: tokio::sync::Mutex<()>,
    /// Told when a rotation was announced and could not be completed.
    owing: tokio::sync::Notify,
}

/// Every app of a store. Clones are handles to the same depot.
#[derive(Clone)]
pub struct Depot {
    inner: Arc<Inner>,
}

impl fmt::Debug for Depot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Depot").field("store", &self.inner.store).field("apps", &self.apps()).finish_non_exhaustive()
    }
}

impl Depot {
    /// Opens every app of `store`: finishes what a crash left, and renews what is due.
    ///
    /// An app that does not verify does not keep the others from opening; [`Self::broken`] names it.
    ///
    /// # Errors
    /// When the store cannot be listed.
    pub async fn open(store: Store, keys: OnlineKeys, options: Options, now: Timestamp) -> Result<Self, Error> {
        let names = app_names(&store).await?;
        let depot = Self::over(store, keys, options);
        for name in names {
            let slot = depot.slot_or_new(&name);
            let _turn = slot.turn.lock().await;
            match depot.load_in_turn(&slot).await {
                Ok(view) => {
                    depot.publish_timestamp(&view).await;
                    if let Err(error) = depot.signing_key(&name, &view.root).await {
                        tracing::error!(
                            app = %name, %error, expires = %view.timestamp.expires.at(),
                            "nothing can be signed for this app: when its timestamp expires, devices call it stale and keep what \
                             they have"
                        );
                    }
                }
                // An app whose creation did not come as far as its head is none.
                Err(Error::NotFound(_)) => {}
                Err(error) => tracing::error!(app = %name, %error, "this app cannot be served"),
            }
        }
        for (app, error) in depot.renew(now).await.failed {
            tracing::error!(%app, %error, "the online roles of this app could not be renewed");
        }
        Ok(depot)
    }

    /// A depot that knows of no app yet.
    fn over(store: Store, keys: OnlineKeys, options: Options) -> Self {
        let inner = Inner {
            store,
            keys,
            options,
            apps: ArcSwap::default(),
            uploads: upload::Running::default(),
            trees: trees::Remembered::default(),
            patches: patches::Ear::default(),
            collecting: tokio::sync::Mutex::new(()),
            checking: tokio::sync::Mutex::new(()),
            owing: tokio::sync::Notify::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The store behind it.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// Every app that can be served, by name.
    pub fn apps(&self) -> Vec<AppName> {
        let apps = self.inner.apps.load();
        apps.values().filter(|slot| slot.view().is_some()).map(|slot| slot.name.clone()).collect()
    }

    /// Apps that are in the store and cannot be served, and why.
    pub fn broken(&self) -> Vec<(AppName, String)> {
        let apps = self.inner.apps.load();
        apps.values().filter_map(|slot| Some((slot.name.clone(), slot.trouble()?))).collect()
    }

    /// What is live of `app` now. Never waits, never touches the store.
    pub fn view(&self, app: &AppName) -> Option<Arc<View>> {
        self.inner.apps.load().get(app)?.view()
    }

    /// Whether the server can sign for `app`: the online key that its newest root names is here.
    ///
    /// # Errors
    /// [`Error::NoKey`] when it is not, [`Error::Keys`] when it cannot be read: the sentence names the remedy.
    pub async fn can_sign(&self, app: &AppName) -> Result<(), Error> {
        let view = self.slot(app)?.live()?;
        self.signing_key(app, &view.root).await.map(drop)
    }

    /// The newest view of `app`: what another process changed, or is changing, is in it.
    ///
    /// # Errors
    /// When it is not there, or cannot be read; the view of before stays.
    pub async fn newest(&self, app: &AppName) -> Result<Arc<View>, Error> {
        let slot = self.slot(app)?;
        let _turn = slot.turn.lock().await;
        self.newest_in_turn(&slot).await
    }

    /// Reads the app anew: another process may have changed it.
    ///
    /// # Errors
    /// When it is not there, or does not verify; the view of before stays.
    pub async fn reload(&self, app: &AppName) -> Result<(), Error> {
        let slot = self.slot_or_new(app);
        let _turn = slot.turn.lock().await;
        self.load_in_turn(&slot).await.map(drop)
    }

    /// The slot of an app that exists.
    fn slot(&self, app: &AppName) -> Result<Arc<Slot>, Error> {
        let slot = self.inner.apps.load().get(app).cloned().ok_or_else(|| Error::no_app(app))?;
        slot.live()?;
        Ok(slot)
    }

    fn slot_or_new(&self, app: &AppName) -> Arc<Slot> {
        if let Some(slot) = self.inner.apps.load().get(app) {
            return Arc::clone(slot);
        }
        let new = Arc::new(Slot::new(app.clone()));
        self.inner.apps.rcu(|apps| {
            let mut apps = BTreeMap::clone(apps);
            apps.entry(app.clone()).or_insert_with(|| Arc::clone(&new));
            apps
        });
        // Another caller may have been first: everybody has to use the same one.
        self.inner.apps.load().get(app).map_or(new, Arc::clone)
    }
}

/// The apps in `store`, by one short listing for each.
async fn app_names(store: &Store) -> Result<Vec<AppName>, Error> {
    let mut names = Vec::new();
    let mut after: Option<Key> = None;
    while let Some((key, _)) = store.list("apps/", after.as_ref(), 1).await?.pop() {
        let name = key.as_str().split('/').nth(1).unwrap_or_default();
        // No room of an app sorts after this, so that the next key is another app's.
        after = Key::parse(&format!("apps/{name}/zzzz"));
        match name.parse() {
            Ok(name) => names.push(name),
            Err(error) => tracing::warn!(%key, %error, "something in the store is not of an app"),
        }
        if after.is_none() {
            break;
        }
    }
    Ok(names)
}

/// Runs `work` to its end, also when the caller goes away in the middle: a change that was begun is finished.
async fn detached<T: Send + 'static>(
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    match tokio::spawn(work).await {
        Ok(result) => result,
        Err(stopped) if stopped.is_panic() => std::panic::resume_unwind(stopped.into_panic()),
        Err(_) => Err(Error::Stopping),
    }
}

/// Runs `work`, which hashes or decodes much or waits for a disk, where it holds nobody up.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => Ok(value),
        Err(stopped) if stopped.is_panic() => std::panic::resume_unwind(stopped.into_panic()),
        Err(_) => Err(Error::Stopping),
    }
}
