//! A new release, from a directory to the server.
//!
//! First a plan, which is a value that can be printed: what the server lacks, what the channel will point at, what is no
//! longer live. Then the doing: compress and send what is lacking, sign, hand in. All of it appears at once or not at
//! all. Another publisher who is faster costs another round, not an error; an interrupted publish is finished by doing
//! it again; a release that is there already is success, and what the server has lost of it is sent again.

pub(crate) mod commit;
mod patches;
mod plan;
mod price;
mod upload;

use std::path::PathBuf;
use std::time::Duration;

use updraft_core::Timestamp;
use updraft_core::api::Committed;
use updraft_core::channel;
use updraft_core::limits::{LIVE_RELEASES_MAX, RELEASE_LEN_MAX};
use updraft_core::name::{AppName, ChannelName, Platform};
use updraft_core::release::{self, FromTree, Notes, Release, ReleaseName, Terms, TreeRef};
use updraft_core::tree::stored::{Hint, pack};
use updraft_core::tree::{Tree, codec};
use updraft_core::trust::TargetFile;
use updraft_core::version::Version;
use updraft_files::Dir;

use crate::base::{self, Base};
use crate::keys::{self, Keystore, Passphrases};
use crate::progress::{Phase, Progress};
use crate::remote::{Remote, RemoteError};
use crate::sign::{Change, Next, next};
use commit::{Attempt, Session};
pub use patches::{Outcome, Patched};
pub use plan::{Missing, Plan, Step};

/// Why nothing was published.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The app as it is cannot be built on.
    #[error(transparent)]
    Base(#[from] base::Error),
    /// The keys cannot be used.
    #[error(transparent)]
    Keys(#[from] keys::Error),
    /// The server cannot be asked, or says no.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// The version exists, and is something else.
    #[error("version {release} is published already with other content; give this one a greater version")]
    OtherContent {
        /// The release that exists.
        release: Box<ReleaseName>,
    },
    /// The version exists, and says something else of who may get it.
    #[error(
        "version {release} is published already, and what was to be said now of who may get it was not signed then; \
         give this one a greater version"
    )]
    OtherTerms {
        /// The release that exists.
        release: Box<ReleaseName>,
    },
    /// What was to be said of who may get it cannot be said.
    #[error(transparent)]
    Terms(release::Error),
    /// The version would go back.
    #[error("version {wanted} is not newer than {current}, which channel {channel} has; give it a greater version")]
    NotNewer {
        /// What was to be published.
        wanted: Box<ReleaseName>,
        /// The channel.
        channel: ChannelName,
        /// What it has.
        current: Box<ReleaseName>,
    },
    /// The release says itself that it is not for this channel.
    #[error("version {release} is not allowed on channel {channel}; allow it, or name another channel")]
    ChannelNotAllowed {
        /// The release.
        release: Box<ReleaseName>,
        /// The channel.
        channel: ChannelName,
    },
    /// The channel cannot point at it.
    #[error(transparent)]
    Channel(Box<channel::Error>),
    /// There is no such release to pin.
    #[error("app {app} has no live release {release}; `release list` shows those that are live")]
    NoRelease {
        /// The app.
        app: AppName,
        /// What was asked for.
        release: Box<ReleaseName>,
    },
    /// The keys beside the root are not those that sign.
    #[error(
        "{dir}: {found} of the {needed} keys that must sign releases of app {app} are here; its root names {names}: \
         use the directory that has them"
    )]
    WrongKeys {
        /// The key directory.
        dir: PathBuf,
        /// The app.
        app: AppName,
        /// How many of them are here.
        found: usize,
        /// How many must sign.
        needed: usize,
        /// Those that may.
        names: String,
    },
    /// The release document is too long.
    #[error("the notes make the release document {len} bytes long; {RELEASE_LEN_MAX} are allowed; shorten them")]
    NotesTooLong {
        /// Its length.
        len: usize,
    },
    /// Too many releases are live.
    #[error(
        "{live} releases would be live; {LIVE_RELEASES_MAX} are allowed; \
         unpin some, or promote: what a channel leaves behind is dropped"
    )]
    TooManyLive {
        /// How many there would be.
        live: usize,
    },
    /// A file is not any more what it was when the directory was scanned.
    #[error("{path}: it changed while it was being published; publish again when nothing writes there")]
    Changed {
        /// The file.
        path: String,
    },
    /// A file cannot be opened any more.
    #[error(transparent)]
    Files(#[from] updraft_files::Error),
    /// A temporary file for compressing cannot be written.
    #[error("{dir}: temporary file: {source}; free some room there, or name another directory for temporary files")]
    Scratch {
        /// Where.
        dir: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Others were faster each time.
    #[error("app {app}: it changed in between {rounds} times ({reason}); try again in a while")]
    Crowded {
        /// The app.
        app: AppName,
        /// How often it was tried.
        rounds: u32,
        /// What the server said at last.
        reason: String,
    },
}

/// What is to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The app.
    pub app: AppName,
    /// The version.
    pub version: Version,
    /// What it runs on.
    pub platform: Platform,
    /// What is new.
    pub notes: Notes,
    /// The channel to put it on in the same step; none to publish it and promote it nowhere.
    pub channel: Option<ChannelName>,
    /// What only its publisher may say of who gets it.
    pub terms: Terms,
}

impl Wanted {
    /// Which release that is.
    pub fn name(&self) -> ReleaseName {
        ReleaseName { platform: self.platform.clone(), version: self.version.clone() }
    }

    /// What will be signed of who gets it: what is wanted, and what it takes over from the live releases before it.
    fn terms(&self, base: &Base) -> Terms {
        self.terms.clone().following(&self.name(), &base.terms())
    }
}

/// How blobs are to lie in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encodings {
    /// As they are or compressed, whichever is smaller.
    Smaller,
    /// As they are, for whoever downloads single files from the server; and compressed too where that saves much.
    RawAndSmaller,
}

/// How to publish.
#[derive(Debug, Clone)]
pub struct Options {
    /// How blobs are to lie in the store.
    pub encodings: Encodings,
    /// Where compressed files lie until they are sent, at most one per thread.
    pub scratch: PathBuf,
    /// How many threads compress and send.
    pub threads: usize,
    /// The first pause after another publisher was faster; it doubles.
    pub first_pause: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            encodings: Encodings::Smaller,
            scratch: std::env::temp_dir(),
            // Two are busy compressing on a small machine, and two wait for the network. Each takes up to 60 MB.
            threads: 4,
            first_pause: Duration::from_millis(50),
        }
    }
}

/// Who publishes, and where to.
#[derive(Clone, Copy)]
pub struct Publisher<'a> {
    /// The server.
    pub remote: &'a dyn Remote,
    /// The app's keys.
    pub keys: &'a Keystore,
    /// Whoever knows their passphrases.
    pub passphrases: &'a dyn Passphrases,
    /// Whoever watches.
    pub progress: &'a dyn Progress,
    /// How.
    pub options: &'a Options,
}

/// A release that is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// What there was to do.
    pub plan: Plan,
    /// What the app is now; `None` when there was nothing to do.
    pub committed: Option<Committed>,
    /// Blobs that were sent, over all rounds.
    pub sent_blobs: u64,
    /// Bytes that were sent for them, as they travelled.
    pub sent_bytes: u64,
}

impl Publisher<'_> {
    /// What publishing `tree` as `wanted` would do. Nothing is changed, and no key is opened.
    ///
    /// # Errors
    /// When it would fail.
    pub fn plan(&self, tree: &Tree, wanted: &Wanted, now: Timestamp) -> Result<Plan, Error> {
        let base = Base::read(self.remote, &wanted.app, self.keys, now)?;
        plan::make(self.remote, &base, tree, wanted, self.options.encodings)
    }

    /// Publishes `tree`, whose files lie in `dir`, as `wanted`. The same again is success and sends nothing but what the
    /// server has lost since.
    ///
    /// # Errors
    /// When it cannot be published; then nothing of it is visible to anybody, and what was sent need not be sent again.
    pub fn publish(&self, dir: &Dir, tree: &Tree, wanted: &Wanted, now: Timestamp) -> Result<Published, Error> {
        let mut sent = upload::Sent::default();
        let (plan, committed) = Session::new(self, &wanted.app, now).rounds(|session, round| {
            let plan = plan::make(self.remote, round.base, tree, wanted, self.options.encodings)?;
            let committed = match &plan.step {
                Step::Nothing => {
                    self.mend(dir, tree, &plan, &wanted.app, &mut sent)?;
                    None
                }
                Step::Promote(promotion) => {
                    self.mend(dir, tree, &plan, &wanted.app, &mut sent)?;
                    self.progress.begin(Phase::Commit, None);
                    Some(self.remote.promote(&wanted.app, promotion).map_err(Attempt::Again)?)
                }
                Step::Publish => {
                    // Asks for the passphrase before the long work, not after it.
                    session.keys(round.base)?;
                    let hint = self.send(dir, &plan, &wanted.app, &mut sent)?;
                    self.progress.begin(Phase::Commit, None);
                    let packed = pack(tree, &hint);
                    let packed_len = packed.len() as u64;
                    let tree_ref = tree_ref(tree, &plan, &hint, packed_len);
                    self.remote.put_tree(&wanted.app, tree_ref.digest, &packed)?;
                    let from = price::from_live(self.remote, round.base, wanted, tree, &hint, packed_len);
                    let release = release(wanted, tree_ref, from, round.base, now);
                    let document = encode(&release)?;
                    let change = add(&release, &document, wanted.channel.as_ref());
                    Some(session.submit(round, &change, vec![document], wanted.channel.as_ref())?)
                }
            };
            Ok((plan, committed))
        })?;
        // Sees it as a device does, and remembers it: from here on the server cannot go back behind it.
        if committed.is_some() {
            Base::read(self.remote, &wanted.app, self.keys, now)?;
        }
        Ok(Published { plan, committed, sent_blobs: sent.blobs, sent_bytes: sent.bytes })
    }

    /// Sends what the server has lost of a release that is live. No key is needed for that: it is signed already.
    fn mend(&self, dir: &Dir, tree: &Tree, plan: &Plan, app: &AppName, sent: &mut upload::Sent) -> Result<(), Error> {
        let hint = if plan.missing.is_empty() { plan.present.clone() } else { self.send(dir, plan, app, sent)? };
        if plan.sends_tree {
            self.remote.put_tree(app, plan.tree, &pack(tree, &hint))?;
        }
        Ok(())
    }

    /// Sends what is missing: how every blob of the tree is stored after that.
    fn send(&self, dir: &Dir, plan: &Plan, app: &AppName, sent: &mut upload::Sent) -> Result<Hint, Error> {
        self.progress.begin(Phase::Upload, Some(plan.missing_bytes()));
        let job = upload::Job { publisher: self, app, dir };
        let mut hint = plan.present.clone();
        hint.extend(job.run(&plan.missing, sent)?);
        Ok(hint)
    }
}

fn tree_ref(tree: &Tree, plan: &Plan, hint: &Hint, packed_len: u64) -> TreeRef {
    let length = codec::encode(tree).len() as u64;
    let stored = hint.values().map(|stored| stored.size).sum::<u64>() + packed_len;
    TreeRef { digest: plan.tree, length, files: plan.files, bytes: plan.bytes, stored }
}

fn release(wanted: &Wanted, tree: TreeRef, from: Vec<FromTree>, base: &Base, now: Timestamp) -> Release {
    Release {
        format: 1,
        app: wanted.app.clone(),
        version: wanted.version.clone(),
        platform: wanted.platform.clone(),
        date: now,
        notes: wanted.notes.clone(),
        tree,
        terms: wanted.terms(base),
        from,
    }
}

fn encode(release: &Release) -> Result<String, Error> {
    let bytes = release.encode();
    if bytes.len() as u64 > RELEASE_LEN_MAX {
        return Err(Error::NotesTooLong { len: bytes.len() });
    }
    Ok(String::from_utf8(bytes).expect("JSON is text"))
}

/// One more release: its document, and its terms beside it, for devices that pass it over.
fn add(release: &Release, document: &str, promote: Option<&ChannelName>) -> Change {
    let file = TargetFile { custom: release.terms.to_custom(), ..TargetFile::of(document.as_bytes()) };
    Change::Add { release: release.name(), file, promote: promote.cloned() }
}

/// What is live after `change`, unless that is refused.
fn next_of(base: &Base, change: &Change) -> Result<Next, Error> {
    let next = next(&base.targets().targets, base.channels(), change).map_err(|e| match e {
        channel::Error::NotNewer { channel, current, wanted } => Error::NotNewer { wanted, channel, current },
        other => Error::Channel(Box::new(other)),
    })?;
    let live = next.targets.keys().filter(|path| ReleaseName::from_target_path(path).is_some()).count();
    if live > LIVE_RELEASES_MAX { Err(Error::TooManyLive { live }) } else { Ok(next) }
}
