//! Makes patches in the background, one after the other, and lets nobody wait for it.
//!
//! What to make is the depot's to say; how it is made is a [`Workshop`]'s, which works outside of this process: whatever it
//! does to memory or processor, devices are answered. The maker only carries from one to the other and notes what became
//! of it. It can be stopped at any moment: the next start finds what is still missing.

use std::collections::HashMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use updraft_core::Timestamp;
use updraft_core::digest::Digest;
use updraft_core::name::AppName;

use crate::depot::{Depot, Error, Kept, Pair, Prepared};
use crate::rescan::BoxFuture;

/// How often to look for what is to be tried again, and to write down what was used.
const EVERY: Duration = Duration::from_secs(60);

/// What a patch is made of, and where it goes.
#[derive(Debug)]
pub struct Job {
    /// A directory in which both trees and their blobs lie at their keys.
    pub root: PathBuf,
    /// The app.
    pub app: AppName,
    /// The tree that it is made from.
    pub from: Digest,
    /// The tree that it makes.
    pub to: Digest,
    /// Where the patch is written to.
    pub output: File,
}

/// Why a patch was not made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unmade {
    /// Of this pair there is none, as far as can be said: it counts as a try.
    Pair(String),
    /// There is trouble where patches are made, and would be with any other pair: it counts as no try.
    Place(String),
}

/// Where patches are made.
pub trait Workshop: Send + Sync + 'static {
    /// The program and the limits, in a few words: what failed with others is tried again.
    fn describe(&self) -> String;

    /// Why a pair of this size is too large, if it is: bytes of all old files, and of the new ones that they lack.
    fn refuses(&self, old_len: u64, new_len: u64) -> Option<String>;

    /// Makes a patch and applies it to see that it is right. Stops when it is dropped.
    fn make(&self, job: Job) -> BoxFuture<'_, Result<(), Unmade>>;
}

/// Makes what is to be made, `jobs` patches at a time, for as long as it runs. With no job at all it only remembers which
/// releases there are, what devices ask for and what they use.
pub async fn run(depot: Depot, workshop: Arc<dyn Workshop>, jobs: usize) {
    if jobs > 0 {
        depot.made_by(workshop.describe());
    }
    tokio::join!(depot.listen(), keep_making(&depot, workshop, jobs));
}

async fn keep_making(depot: &Depot, workshop: Arc<dyn Workshop>, jobs: usize) {
    let (mut running, mut begun) = (JoinSet::new(), HashMap::new());
    let mut rests_until = Instant::now();
    loop {
        let due = depot.patches_due(Timestamp::now()).await;
        let free = if Instant::now() < rests_until { 0 } else { jobs.saturating_sub(running.len()) };
        for (app, pair) in due.into_iter().take(free) {
            if let Err(error) = depot.begin_patch(&app, pair, Timestamp::now()).await {
                tracing::error!(%app, %error, "a patch cannot be begun");
                depot.end_patch(&app, pair).await;
                rests_until = Instant::now() + EVERY;
                break;
            }
            let task = running.spawn(make(depot.clone(), Arc::clone(&workshop), app.clone(), pair));
            begun.insert(task.id(), (app, pair));
        }
        tokio::select! {
            Some(ended) = running.join_next_with_id() => match ended {
                Ok((task, next)) => {
                    begun.remove(&task);
                    if next == Next::Rest {
                        rests_until = Instant::now() + EVERY;
                    }
                }
                Err(error) => {
                    if let Some((app, pair)) = begun.remove(&error.id()) {
                        depot.patch_failed(&app, pair, &format!("a defect of the server: {error}"), Timestamp::now()).await;
                    }
                }
            },
            () = depot.stirred() => {}
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

/// What the maker does after a patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Goes on with the next one.
    GoesOn,
    /// Waits a while: the next one would fare no better.
    Rest,
}

async fn make(depot: Depot, workshop: Arc<dyn Workshop>, app: AppName, pair: Pair) -> Next {
    let begun = Instant::now();
    let (from, to) = (pair.from, pair.to);
    let mut next = Next::GoesOn;
    match try_to_make(&depot, &*workshop, &app, pair).await {
        Ok(Outcome::Kept(Kept::There(bytes, instead))) => {
            let secs = begun.elapsed().as_secs();
            tracing::info!(%app, %from, %to, bytes, instead, secs, "a patch was made");
        }
        Ok(Outcome::Kept(Kept::NotSmaller(bytes, instead))) => {
            tracing::info!(%app, %from, %to, bytes, instead, "a patch is not kept: it saves too little");
        }
        Ok(Outcome::Kept(Kept::Removed)) => {
            tracing::info!(%app, %from, %to, "a patch is not kept: it was removed while it was made");
        }
        Ok(Outcome::Skipped(reason)) => tracing::warn!(%app, %from, %to, %reason, "a patch is not made"),
        Err(Unmade::Pair(reason)) => depot.patch_failed(&app, pair, &reason, Timestamp::now()).await,
        Err(Unmade::Place(reason)) => {
            tracing::error!(%app, %from, %to, %reason, "no patches can be made now; it is tried again in a minute");
            next = Next::Rest;
        }
    }
    depot.end_patch(&app, pair).await;
    next
}

enum Outcome {
    Kept(Kept),
    Skipped(String),
}

/// Whose trouble `error` is: that of the pair, or of the store, which may be full or away.
fn unmade(error: Error) -> Unmade {
    use crate::store::Kind;
    let reason = error.to_string();
    match error {
        Error::Store(error) if !matches!(error.kind(), Kind::Corrupt | Kind::TooLarge) => Unmade::Place(reason),
        _ => Unmade::Pair(reason),
    }
}

async fn try_to_make(depot: &Depot, workshop: &dyn Workshop, app: &AppName, pair: Pair) -> Result<Outcome, Unmade> {
    let work = match depot.prepare_patch(app, pair, workshop).await.map_err(unmade)? {
        Prepared::Ready(work) => work,
        Prepared::Skipped(reason) => return Ok(Outcome::Skipped(reason)),
    };
    let output = work.output().map_err(unmade)?;
    let job = Job { root: work.root().to_owned(), app: app.clone(), from: pair.from, to: pair.to, output };
    workshop.make(job).await?;
    depot.finish_patch(work, Timestamp::now()).await.map(Outcome::Kept).map_err(unmade)
}
