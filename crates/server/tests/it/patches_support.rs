//! What the tests of patches have in common: builds that are worth a patch, and a workshop in this process.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;
use updraft_core::Timestamp;
use updraft_core::api::{Patch, PatchState};
use updraft_core::digest::Digest;
use updraft_core::layout;
use updraft_core::release::ReleaseName;
use updraft_core::tree::patch::{contents, lacking, mask, nothing};
use updraft_core::tree::stored::{Encoding, unpack_by_digest};
use updraft_core::tree::{Tree, codec};
use updraft_differ::Options;
use updraft_server::depot::{Depot, Error, Pair};
use updraft_server::maker::{self, Job, Unmade, Workshop};
use updraft_server::rescan::BoxFuture;
use updraft_testkit::{TreeFixture, clock, noise};

use super::depot_support::*;

/// A build of which little changes from version to version.
pub(crate) fn large(version: &str) -> TreeFixture {
    let program = [noise(7, 60_000), format!("program {version}").into_bytes(), noise(8, 60_000)].concat();
    TreeFixture::of(&[("lib/shared", "the same in every version")]).with("bin/app", program)
}

/// Publishes a build.
pub(crate) async fn publish_files(
    depot: &Depot,
    version: &str,
    platform: &str,
    channel: Option<&str>,
    files: &TreeFixture,
    now: Timestamp,
) -> Result<(), Error> {
    upload_tree(depot, files).await?;
    let release = document(version, platform, files);
    let view = depot.view(&app()).unwrap();
    let promote = channel.map(|channel| promotion(channel, &release.name()));
    let retired: Vec<ReleaseName> = view.channels.values().flat_map(|channel| channel.retired.clone()).collect();
    let targets = targets_of(&view, view.targets.version + 1, |targets| {
        for name in retired {
            targets.targets.remove(&name.target_path());
        }
        let file = updraft_core::trust::TargetFile::of(&release.encode());
        targets.targets.insert(release.name().target_path(), file);
    });
    let new = signed(&view, &targets, &[release], promote, &updraft_testkit::keys::targets());
    depot.accept(&app(), &new, now).await.map(drop)
}

/// The maker in the background of a test; it ends with this.
pub(crate) struct Making(tokio::task::JoinHandle<()>);

impl Making {
    pub(crate) fn of(depot: &Depot, bench: &Arc<Bench>) -> Self {
        let (depot, bench) = (depot.clone(), Arc::clone(bench));
        Self(tokio::spawn(maker::run(depot, bench, 1)))
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Publishes a large build on stable.
pub(crate) async fn publish_large(depot: &Depot, version: &str, now: Timestamp) {
    publish_files(depot, version, "any", Some("stable"), &large(version), now).await.unwrap();
}

pub(crate) fn pair(from: &TreeFixture, to: &TreeFixture) -> Pair {
    Pair { to: to.tree().digest(), from: from.tree().digest() }
}

/// The patch between two builds.
pub(crate) fn patch(from: &TreeFixture, to: &TreeFixture) -> Vec<u8> {
    let both: BTreeMap<_, _> = from.contents().iter().chain(to.contents()).collect();
    made(&from.tree(), &to.tree(), |digest| both[digest].clone())
}

fn made(old: &Tree, new: &Tree, content: impl Fn(&Digest) -> Vec<u8>) -> Vec<u8> {
    let with = |first, files: Vec<updraft_core::tree::File<'_>>| -> Vec<Vec<u8>> {
        [first].into_iter().chain(files.iter().map(|file| content(&file.digest))).collect()
    };
    let (bases, outputs) = (with(codec::encode(old), contents(old)), with(mask(old, new), lacking(old, new)));
    let options = Options { from: *old.digest().as_bytes(), to: *new.digest().as_bytes(), ..Options::default() };
    let (bases, outputs): (Vec<&[u8]>, Vec<&[u8]>) =
        (bases.iter().map(Vec::as_slice).collect(), outputs.iter().map(Vec::as_slice).collect());
    updraft_differ::make(&bases, &outputs, &options).unwrap().patch
}

/// Hands a patch in.
pub(crate) async fn hand_in(depot: &Depot, pair: Pair, bytes: &[u8], now: Timestamp) -> Result<(), Error> {
    let mut upload = depot.upload_patch(&app(), pair).await?;
    for piece in bytes.chunks(1_000) {
        upload.write(piece.to_vec().into()).await?;
    }
    upload.finish(now).await
}

/// What the depot says of each patch.
pub(crate) async fn listed(depot: &Depot) -> Vec<Patch> {
    depot.patches(&app(), clock::now()).await.unwrap().patches
}

/// What the depot says of this one.
pub(crate) async fn state_of(depot: &Depot, pair: Pair) -> Option<PatchState> {
    listed(depot)
        .await
        .into_iter()
        .find(|patch| (patch.from, patch.to) == (pair.from, pair.to))
        .map(|patch| patch.state)
}

/// Lets the tasks run until `holds`.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !holds().await {
        assert!(std::time::Instant::now() < deadline, "it never came to be: {what}");
        tokio::task::yield_now().await;
        std::thread::yield_now();
    }
}

/// A workshop in this process.
#[derive(Default)]
pub(crate) struct Bench {
    /// What it says of itself.
    pub(crate) name: &'static str,
    /// Why it fails, if it does.
    pub(crate) fails: Option<&'static str>,
    /// What trouble there is where it works, as often as this.
    pub(crate) troubles: AtomicUsize,
    /// Never done.
    pub(crate) hangs: bool,
    /// Not done before it is told so.
    pub(crate) waits: Option<Arc<Notify>>,
    /// Breaks down.
    pub(crate) panics: bool,
    /// Old files of more bytes are refused.
    pub(crate) old_len_max: Option<u64>,
    /// What it was asked to make.
    pub(crate) asked: Mutex<Vec<Pair>>,
    pub(crate) calls: AtomicUsize,
}

impl Workshop for Bench {
    fn describe(&self) -> String {
        self.name.to_owned()
    }

    fn refuses(&self, old_len: u64, _: u64) -> Option<String> {
        self.old_len_max.filter(|max| old_len > *max).map(|max| format!("more than {max} bytes"))
    }

    fn make(&self, mut job: Job) -> BoxFuture<'_, Result<(), Unmade>> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.asked.lock().unwrap().push(Pair { to: job.to, from: job.from });
        if self.hangs {
            return Box::pin(std::future::pending());
        }
        assert!(!self.panics, "as the test wants it");
        let fewer = |left: usize| left.checked_sub(1);
        if self.troubles.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fewer).is_ok() {
            return Box::pin(async { Err(Unmade::Place("no space left".to_owned())) });
        }
        let result = match self.fails {
            Some(reason) => Err(Unmade::Pair(reason.to_owned())),
            None => {
                let patch = made(&tree(&job, job.from), &tree(&job, job.to), |digest| blob(&job, *digest));
                job.output.write_all(&patch).map_err(|e| Unmade::Place(e.to_string()))
            }
        };
        let waits = self.waits.clone();
        Box::pin(async move {
            if let Some(told) = waits {
                told.notified().await;
            }
            result
        })
    }
}

fn read(root: &Path, key: &layout::Key) -> Option<Vec<u8>> {
    std::fs::read(root.join(key.as_str())).ok()
}

fn tree(job: &Job, digest: Digest) -> Tree {
    if digest == nothing() {
        return Tree::default();
    }
    let packed = read(&job.root, &layout::tree(&job.app, digest)).expect("the tree was lent");
    unpack_by_digest(&packed, digest).unwrap().0
}

fn blob(job: &Job, digest: Digest) -> Vec<u8> {
    read(&job.root, &layout::blob(&job.app, digest, Encoding::Raw)).expect("the blob was lent")
}
