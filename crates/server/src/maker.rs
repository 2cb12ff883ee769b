//! Makes patches in the background, one after the other, and lets nobody wait for it.
//!
//! What to make is the depot's to say; how it is made is a [`Workshop`]'s, which works outside of this process: whatever it
//! does to memory or processor, devices are answered. The maker only carries from one to the other and notes what became
//! of it. It can be stopped at any moment: the next start finds what is still missing.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
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

/// Where patches are made.
pub trait Workshop: Send + Sync + 'static {
    /// The program and the limits, in a few words: what failed with others is tried again.
    fn describe(&self) -> String;

    /// Why a pair of this size is too large, if it is: bytes of all old files, and of the new ones that they lack.
    fn refuses(&self, old_len: u64, new_len: u64) -> Option<String>;

    /// Makes a patch and applies it to see that it is right. Stops when it is dropped.
    fn make(&self, job: Job) -> BoxFuture<'_, Result<(), String>>;
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
    let mut running = JoinSet::new();
    loop {
        let due = depot.patches_due(Timestamp::now()).await;
        for (app, pair) in due.into_iter().take(jobs.saturating_sub(running.len())) {
            if let Err(error) = depot.mark_patch(&app, pair, true).await {
                tracing::error!(%app, %error, "a patch cannot be begun");
                continue;
            }
            running.spawn(make(depot.clone(), Arc::clone(&workshop), app, pair));
        }
        tokio::select! {
            Some(_) = running.join_next() => {}
            () = depot.stirred() => {}
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

async fn make(depot: Depot, workshop: Arc<dyn Workshop>, app: AppName, pair: Pair) {
    let begun = std::time::Instant::now();
    let (from, to) = (pair.from, pair.to);
    match try_to_make(&depot, &*workshop, &app, pair).await {
        Ok(Outcome::Kept(Kept::There(bytes, instead))) => {
            let secs = begun.elapsed().as_secs();
            tracing::info!(%app, %from, %to, bytes, instead, secs, "a patch was made");
        }
        Ok(Outcome::Kept(Kept::NotSmaller(bytes, instead))) => {
            tracing::info!(%app, %from, %to, bytes, instead, "a patch is not kept: it saves too little");
        }
        Ok(Outcome::Skipped(reason)) => tracing::warn!(%app, %from, %to, %reason, "a patch is not made"),
        Err(reason) => depot.patch_failed(&app, pair, &reason, Timestamp::now()).await,
    }
    if let Err(error) = depot.mark_patch(&app, pair, false).await {
        tracing::error!(%app, %error, "what became of a patch was not written down");
    }
}

enum Outcome {
    Kept(Kept),
    Skipped(String),
}

async fn try_to_make(depot: &Depot, workshop: &dyn Workshop, app: &AppName, pair: Pair) -> Result<Outcome, String> {
    let text = |error: Error| error.to_string();
    let work = match depot.prepare_patch(app, pair, workshop).await.map_err(text)? {
        Prepared::Ready(work) => work,
        Prepared::Skipped(reason) => return Ok(Outcome::Skipped(reason)),
    };
    let output = work.output().map_err(text)?;
    let job = Job { root: work.root().to_owned(), app: app.clone(), from: pair.from, to: pair.to, output };
    workshop.make(job).await?;
    depot.finish_patch(work, Timestamp::now()).await.map(Outcome::Kept).map_err(text)
}
