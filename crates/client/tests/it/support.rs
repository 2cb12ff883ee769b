//! A server without a network, a clock without time, and devices in temporary directories.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tempfile::TempDir;
use updraft_client::fetch::clock::Clock;
use updraft_client::fetch::{Answer, Error, Request, Sink, Transport};
use updraft_client::install;
use updraft_client::{
    Applied, Cancel, InstallOptions, OpenOptions, Pin, Progress, Source, Staged, Update, Updater, Verdict,
};
use updraft_core::Timestamp;
use updraft_core::digest::Digest;
use updraft_core::layout::{self, Key};
use updraft_core::tree::stored::Encoding;
use updraft_core::tree::{self, codec};
use updraft_differ::Options;
use updraft_testkit::{SimRepo, TreeFixture, clock};

/// A request as the server saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) key: String,
    pub(crate) from: u64,
    /// Bytes of the body that were taken.
    pub(crate) bytes: u64,
}

/// What the server is about to answer. A test may change any of it.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    /// The object, if there is one.
    pub(crate) object: Option<Vec<u8>>,
    /// Another answer than the object: an HTTP status.
    pub(crate) status: Option<u16>,
    /// The connection breaks after so many bytes of the body.
    pub(crate) torn: Option<usize>,
    /// Whether a range is honoured.
    pub(crate) ranges: bool,
    /// After the object come more bytes, without end.
    pub(crate) endless: bool,
}

type Meddle = Box<dyn FnMut(&Asked, &mut Reply) + Send>;

struct Inner {
    repo: SimRepo,
    asked: Vec<Asked>,
    meddle: Option<Meddle>,
    down: bool,
}

/// A [`SimRepo`] behind a transport, with tags and ranges, that counts what it is asked and can be meddled with.
#[derive(Clone)]
pub(crate) struct Server(Arc<Mutex<Inner>>);

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Server")
    }
}

impl Server {
    pub(crate) fn of(repo: SimRepo) -> Self {
        Self(Arc::new(Mutex::new(Inner { repo, asked: Vec::new(), meddle: None, down: false })))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    /// Does something to the repository.
    pub(crate) fn repo<T>(&self, change: impl FnOnce(&mut SimRepo) -> T) -> T {
        change(&mut self.inner().repo)
    }

    /// From now on, `meddle` may change each answer.
    pub(crate) fn meddle(&self, meddle: impl FnMut(&Asked, &mut Reply) + Send + 'static) {
        self.inner().meddle = Some(Box::new(meddle));
    }

    /// From now on, it is honest.
    pub(crate) fn relent(&self) {
        self.inner().meddle = None;
    }

    /// Whether anybody answers.
    pub(crate) fn set_down(&self, down: bool) {
        self.inner().down = down;
    }

    /// What was asked for since the last call.
    pub(crate) fn take_asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.inner().asked)
    }

    fn reply(&self, request: &Request<'_>) -> Result<(usize, Reply), Error> {
        let mut inner = self.inner();
        let asked = Asked { key: request.key.to_string(), from: request.from, bytes: 0 };
        inner.asked.push(asked.clone());
        if inner.down {
            return Err(Error::Unreachable { what: asked.key, reason: "nobody answers".to_owned() });
        }
        let object = inner.repo.objects().get(request.key).cloned();
        let mut reply = Reply { object, status: None, torn: None, ranges: true, endless: false };
        if let Some(mut meddle) = inner.meddle.take() {
            meddle(&asked, &mut reply);
            inner.meddle = Some(meddle);
        }
        Ok((inner.asked.len() - 1, reply))
    }
}

fn etag(object: &[u8]) -> String {
    format!("\"{}\"", Digest::of(object))
}

impl Transport for Server {
    fn get(&self, request: &Request<'_>, sink: &mut dyn Sink) -> Result<Answer, Error> {
        let (number, reply) = self.reply(request)?;
        let what = request.key.to_string();
        if let Some(status) = reply.status {
            return Err(Error::Status { what, status, retry_after: None });
        }
        let Some(object) = reply.object else {
            return Ok(Answer::Missing);
        };
        let tag = etag(&object);
        if request.if_none_match == Some(&tag) {
            return Ok(Answer::NotModified);
        }
        let same = request.if_range.is_none_or(|asked| asked == tag);
        let from = if reply.ranges && same { request.from } else { 0 };
        if from > 0 && from >= object.len() as u64 {
            return Ok(Answer::PastEnd);
        }
        sink.begin(from, Some(&tag))?;
        let body = &object[from as usize..];
        let wanted = request.len.filter(|_| reply.ranges).map_or(body.len(), |len| body.len().min(len as usize));
        let sent = &body[..reply.torn.map_or(wanted, |torn| torn.min(wanted))];
        for piece in sent.chunks(10_000) {
            sink.write(piece)?;
            if let Some(asked) = self.inner().asked.get_mut(number) {
                asked.bytes += piece.len() as u64;
            }
        }
        if reply.endless {
            loop {
                sink.write(&[0; 10_000])?;
            }
        }
        if reply.torn.is_some() {
            return Err(Error::Unreachable { what, reason: "the connection broke".to_owned() });
        }
        Ok(Answer::Body { etag: Some(tag) })
    }
}

/// A clock on which time passes only when somebody waits.
#[derive(Debug, Default)]
pub(crate) struct TestClock(Mutex<Duration>);

impl Clock for TestClock {
    fn elapsed(&self) -> Duration {
        *self.0.lock().unwrap()
    }

    fn sleep(&self, wait: Duration) {
        *self.0.lock().unwrap() += wait;
    }
}

/// A device in a temporary directory.
pub(crate) struct Device {
    pub(crate) server: Server,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) cancel: Cancel,
    pub(crate) jobs: usize,
    pub(crate) bytes_per_sec: Option<u64>,
    pub(crate) now: Timestamp,
    folder: TempDir,
}

impl Device {
    /// A device that nothing is installed on yet.
    pub(crate) fn new(server: &Server) -> Self {
        Self {
            server: server.clone(),
            clock: Arc::new(TestClock::default()),
            cancel: Cancel::default(),
            jobs: 1,
            bytes_per_sec: None,
            now: clock::now(),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// A device that has the current release of `server`'s channel `stable`.
    pub(crate) fn installed(server: &Server) -> Self {
        let device = Self::new(server);
        device.update_with(&mut device.install().unwrap()).unwrap();
        server.take_asked();
        device
    }

    /// The installed directory.
    pub(crate) fn dir(&self) -> PathBuf {
        self.folder.path().join("app")
    }

    /// A file of the updater's own.
    pub(crate) fn own(&self, path: &str) -> PathBuf {
        self.folder.path().join("app.updraft").join(path)
    }

    pub(crate) fn options(&self) -> OpenOptions {
        OpenOptions {
            jobs: self.jobs,
            bytes_per_sec: self.bytes_per_sec,
            cancel: self.cancel.clone(),
            transport: Some(Arc::new(self.server.clone())),
            clock: Some(self.clock.clone()),
            ..OpenOptions::default()
        }
    }

    pub(crate) fn install_options(&self) -> InstallOptions {
        let pin = Pin::Sha256(self.server.repo(|repo| repo.root_sha256()));
        let source = Source::url(&format!("https://example.com/apps/{}", self.server.repo(|repo| repo.app().clone())));
        let mut options = InstallOptions::new(source.unwrap(), pin);
        options.platform = "linux-x86_64".parse().unwrap();
        options.open = self.options();
        options
    }

    pub(crate) fn install(&self) -> Result<Updater, updraft_client::Error> {
        Updater::install(&self.dir(), self.install_options())
    }

    pub(crate) fn open(&self) -> Updater {
        Updater::open(&self.dir(), self.options()).unwrap()
    }

    pub(crate) fn check(&self) -> Result<Verdict, updraft_client::Error> {
        self.open().check(self.now)
    }

    /// The update that there must be.
    pub(crate) fn available(&self) -> Update {
        available(self.check().unwrap())
    }

    /// Downloads what is new.
    pub(crate) fn download(&self) -> Result<Staged, updraft_client::Error> {
        self.download_watched(&())
    }

    pub(crate) fn download_watched(&self, progress: &dyn Progress) -> Result<Staged, updraft_client::Error> {
        let mut updater = self.open();
        let update = available(updater.check(self.now)?);
        self.server.take_asked();
        updater.download(&update, progress)
    }

    /// Takes what is new.
    pub(crate) fn update(&self) -> Result<Applied, updraft_client::Error> {
        self.update_with(&mut self.open())
    }

    fn update_with(&self, updater: &mut Updater) -> Result<Applied, updraft_client::Error> {
        let update = available(updater.check(self.now)?);
        let staged = updater.download(&update, &())?;
        updater.apply(staged, &install::Options::default(), self.now)
    }

    /// What lies in the installed directory.
    pub(crate) fn tree(&self) -> TreeFixture {
        TreeFixture::read_from(&self.dir())
    }

    /// Whether the verified blob of this content lies ready.
    pub(crate) fn has_blob(&self, content: &[u8]) -> bool {
        std::fs::read(self.own(&format!("downloads/{}", Digest::of(content)))).is_ok_and(|found| found == content)
    }
}

/// Cancels when so many bytes have come.
pub(crate) struct CancelAt(pub(crate) u64, pub(crate) Cancel);

impl Progress for CancelAt {
    fn bytes(&self, done: u64, _: u64) {
        if done >= self.0 {
            self.1.cancel();
        }
    }
}

pub(crate) fn available(verdict: Verdict) -> Update {
    match verdict {
        Verdict::Available(update) => update,
        other => panic!("there should be an update: {other:?}"),
    }
}

/// The key of a blob of the app `demo`.
pub(crate) fn blob_key(content: &[u8], encoding: Encoding) -> Key {
    layout::blob(&"demo".parse().unwrap(), Digest::of(content), encoding)
}

/// An app `demo` whose release 1.0.0 is these files, on channel `stable`.
pub(crate) fn demo(files: &TreeFixture) -> Server {
    let mut repo = SimRepo::new("demo");
    let release = repo.publish("1.0.0", "any", files);
    repo.promote("stable", &release);
    Server::of(repo)
}

/// Publishes and promotes one more release.
pub(crate) fn publish(server: &Server, version: &str, files: &TreeFixture) {
    server.repo(|repo| {
        let release = repo.publish(version, "any", files);
        repo.promote("stable", &release);
    });
}

/// The patch that turns one tree into another, made as a server does.
pub(crate) fn patch_between(old: &TreeFixture, new: &TreeFixture) -> Vec<u8> {
    patch_named(old, new, [old, new])
}

/// The patch that turns one tree into another, and says that it is between two others.
pub(crate) fn patch_named(old: &TreeFixture, new: &TreeFixture, [from, to]: [&TreeFixture; 2]) -> Vec<u8> {
    let (old_tree, new_tree) = (old.tree(), new.tree());
    let name = |fixture: &TreeFixture| *fixture.tree().digest().as_bytes();
    let content = |fixture: &TreeFixture, file: &tree::File<'_>| fixture.contents()[&file.digest].clone();
    let mut bases = vec![codec::encode(&old_tree)];
    bases.extend(tree::patch::contents(&old_tree).iter().map(|file| content(old, file)));
    let mut outputs = vec![tree::patch::mask(&old_tree, &new_tree)];
    outputs.extend(tree::patch::lacking(&old_tree, &new_tree).iter().map(|file| content(new, file)));
    let bases: Vec<&[u8]> = bases.iter().map(Vec::as_slice).collect();
    let outputs: Vec<&[u8]> = outputs.iter().map(Vec::as_slice).collect();
    let options = Options { from: name(from), to: name(to), ..Options::default() };
    updraft_differ::make(&bases, &outputs, &options).unwrap().patch
}

/// The key of the patch between two trees of the app `demo`.
pub(crate) fn patch_key(old: &TreeFixture, new: &TreeFixture) -> Key {
    layout::patch(&"demo".parse().unwrap(), old.tree().digest(), new.tree().digest())
}

/// Every file below `dir`.
pub(crate) fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files_below(&path)) } else { found.push(path) }
    }
    found
}

/// Says why a test did not run: past the runner, which shows nothing of a test that passes.
pub(crate) fn skipped(reason: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "skipped: {reason}");
}

/// A mount that ends with the test.
pub(crate) struct Mount(PathBuf);

impl Mount {
    /// An empty file system at `at`, or nothing where that is not allowed.
    pub(crate) fn new(at: &Path) -> Option<Self> {
        Self::try_at(&["-t", "tmpfs", "tmpfs"], at)
    }

    /// `at` as it is, as a mount of its own.
    pub(crate) fn of(at: &Path) -> Option<Self> {
        let path = at.display().to_string();
        Self::try_at(&["--bind", &path], at)
    }

    fn try_at(args: &[&str], at: &Path) -> Option<Self> {
        let done = Command::new("mount").args(args).arg(at).output().is_ok_and(|output| output.status.success());
        if !done {
            skipped("this process may not mount");
        }
        done.then(|| Self(at.to_owned()))
    }

    /// Mounts it once more, with other options.
    pub(crate) fn again(&self, options: &str) {
        let options = format!("remount,bind,{options}").replace("bind,size", "size");
        assert!(Command::new("mount").args(["-o", &options]).arg(&self.0).status().unwrap().success());
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
