//! A server and devices as a person would start them: the real binary, on loopback, in a temporary folder.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

pub fn updraft() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_updraft"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("UPDRAFT_") {
            command.env_remove(name);
        }
    }
    command.env("NO_COLOR", "1").stdin(Stdio::null());
    command
}

/// What a finished command said.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Said {
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, 0, "exit {}\nstdout: {}\nstderr: {}", self.code, self.out, self.err);
        self
    }

    #[track_caller]
    pub fn fails(self, code: i32, text: &str) -> Self {
        assert_eq!(self.code, code, "exit {}\nstdout: {}\nstderr: {}", self.code, self.out, self.err);
        assert!(self.err.contains(text), "'{text}' is not in:\n{}", self.err);
        self
    }

    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {}\n{}", self.out, self.err))
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        Said { code: output.status.code().unwrap_or(-1), out: text(&output.stdout), err: text(&output.stderr) }
    }
}

/// Runs `command` to its end.
#[track_caller]
pub fn run(command: &mut Command) -> Said {
    command.output().unwrap_or_else(|e| panic!("{command:?}: {e}")).into()
}

/// A running server with a data directory, a key directory and a token.
pub struct Server {
    child: Child,
    pub url: String,
    pub home: PathBuf,
}

impl Server {
    /// Starts one on `home/data`, with `args` behind `serve`.
    #[track_caller]
    pub fn start(home: &Path, args: &[&str]) -> Server {
        Self::try_start_with(home, args, |command| command)
            .unwrap_or_else(|| panic!("the server ended:\n{}", fs::read_to_string(home.join("server.log")).unwrap()))
    }

    /// Starts one inside another command, such as strace; `None` when it ends before it is ready.
    pub fn try_start_with(home: &Path, args: &[&str], wrap: impl FnOnce(Command) -> Command) -> Option<Server> {
        wait_unlocked(home);
        let _ = fs::remove_file(home.join("data/address"));
        let log = fs::File::create(home.join("server.log")).unwrap();
        let mut command = updraft();
        // Where patches are what a test is about, it says so.
        command.envs([("UPDRAFT_PATCH_JOBS", "0"), ("UPDRAFT_PATCH_BUNDLES", "false")]);
        command.arg("serve").args(args).args(["--listen", "127.0.0.1:0", "--data"]).arg(home.join("data"));
        let mut command = wrap(command);
        let mut child = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            if child.try_wait().unwrap().is_some() {
                return None;
            }
            if let Ok(address) = fs::read_to_string(home.join("data/address")) {
                let url = format!("http://{}", address.trim());
                if get(&format!("{url}/readyz")).is_ok_and(|answer| answer.status == 200) {
                    return Some(Server { child, url, home: home.to_owned() });
                }
            }
            if wakes_no_more(home) {
                kill(&mut child);
                return None;
            }
            if Instant::now() > deadline {
                let _ = child.kill();
                panic!("not ready in time:\n{}", fs::read_to_string(home.join("server.log")).unwrap());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn token(&self) -> String {
        fs::read_to_string(self.home.join("data/admin-token")).unwrap().trim().to_owned()
    }

    /// A publisher's command against this server.
    pub fn publisher(&self) -> Command {
        let mut command = updraft();
        command
            .env("UPDRAFT_SERVER", &self.url)
            .env("UPDRAFT_TOKEN", self.token())
            .env("UPDRAFT_KEYS", self.home.join("keys"));
        command
    }

    /// Creates an app without a passphrase and returns the SHA-256 of its root.
    #[track_caller]
    pub fn create_app(&self, name: &str) -> String {
        let said = run(self.publisher().args(["app", "create", name, "--no-passphrase", "--json"])).ok();
        said.json()["root_sha256"].as_str().unwrap().to_owned()
    }

    /// Publishes `dir` on stable.
    #[track_caller]
    pub fn publish(&self, app: &str, dir: &Path, version: &str) -> Said {
        let command = &mut self.publisher();
        command.arg("publish").arg(dir).args(["--app", app, "--version", version, "--channel", "stable"]);
        run(command.arg("--no-passphrase").arg("--json"))
    }

    /// Installs `app` into `dir`.
    #[track_caller]
    pub fn install(&self, app: &str, root_sha256: &str, dir: &Path) -> Said {
        let url = format!("{}/apps/{app}", self.url);
        run(updraft().args(["agent", "install", "--url", &url, "--root-sha256", root_sha256]).arg(dir))
    }

    /// The same, until the server is gone: nobody answers then, and a publisher would try again for a while.
    pub fn publish_while_up(&mut self, app: &str, dir: &Path, version: &str) -> bool {
        let mut command = self.publisher();
        command.arg("publish").arg(dir).args([
            "--app",
            app,
            "--version",
            version,
            "--channel",
            "stable",
            "--jobs",
            "1",
        ]);
        let mut publisher = command.arg("--no-passphrase").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        loop {
            if let Some(status) = publisher.try_wait().unwrap() {
                return status.success();
            }
            if self.child.try_wait().unwrap().is_some() || wakes_no_more(&self.home) {
                kill(&mut self.child);
                let _ = publisher.kill();
                return publisher.wait().unwrap().success();
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Ends it as an operator would, with SIGTERM.
    pub fn stop(mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        let _ = rustix::process::kill_process(server_of(&self.child), rustix::process::Signal::TERM);
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.child.try_wait().unwrap().is_none() {
            if wakes_no_more(&self.home) {
                return kill(&mut self.child);
            }
            assert!(Instant::now() < deadline, "the server did not stop in time");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends it as a power cut would.
    pub fn kill(mut self) {
        kill(&mut self.child);
    }
}

/// The server's process: the child, or, under strace, the child of the child.
fn server_of(child: &Child) -> rustix::process::Pid {
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id())).unwrap_or_default();
    let inner = children.split_whitespace().next().and_then(|pid| rustix::process::Pid::from_raw(pid.parse().ok()?));
    inner.unwrap_or_else(|| rustix::process::Pid::from_child(child))
}

fn kill(child: &mut Child) {
    if !matches!(child.try_wait(), Ok(None)) {
        return;
    }
    let _ = rustix::process::kill_process(server_of(child), rustix::process::Signal::KILL);
    let _ = child.kill();
    let _ = child.wait();
}

/// Waits until nobody holds the lock of the store in `home`. A killed server holds it until its last thread is gone, and
/// under strace it is not ours to wait for.
fn wait_unlocked(home: &Path) {
    let Ok(lock) = fs::File::open(home.join("data/store/lock")) else { return };
    let deadline = Instant::now() + Duration::from_secs(30);
    while rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err() {
        assert!(Instant::now() < deadline, "a server that should be gone holds its lock");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether an injected fault hit the descriptor by which the runtime wakes itself. No disk is behind that one, so no real
/// disk fault looks like this; the process is as good as killed.
fn wakes_no_more(home: &Path) -> bool {
    fs::read_to_string(home.join("server.log")).is_ok_and(|log| log.contains("failed to wake I/O driver"))
}

impl Drop for Server {
    fn drop(&mut self) {
        kill(&mut self.child);
    }
}

/// `updraft agent VERB DIR`.
#[track_caller]
pub fn agent(verb: &str, dir: &Path, args: &[&str]) -> Said {
    run(updraft().args(["agent", verb]).arg(dir).args(args))
}

/// An answer over HTTP.
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

pub fn get(url: &str) -> Result<Answer, ureq::Error> {
    get_with(url, &[])
}

pub fn get_with(url: &str, headers: &[(&str, &str)]) -> Result<Answer, ureq::Error> {
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let mut request = agent.get(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut response = request.call()?;
    let headers = response
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    let mut body = Vec::new();
    response.body_mut().as_reader().take(1 << 30).read_to_end(&mut body)?;
    Ok(Answer { status: response.status().as_u16(), headers, body })
}

/// Asserts that two directories are the same: names, kinds, contents, modes, link targets.
#[track_caller]
pub fn assert_same_tree(expected: &Path, found: &Path) {
    let (expected, found) = (listing(expected), listing(found));
    for (name, what) in &expected {
        assert_eq!(found.get(name), Some(what), "'{name}' differs");
    }
    let extra: Vec<_> = found.keys().filter(|name| !expected.contains_key(*name)).collect();
    assert!(extra.is_empty(), "not expected: {extra:?}");
}

/// What lies in a directory, by relative path, without looking at the updater's own folder.
pub fn listing(root: &Path) -> std::collections::BTreeMap<String, String> {
    use std::os::unix::fs::PermissionsExt;
    let mut out = std::collections::BTreeMap::new();
    let mut todo = vec![root.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display())) {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
            if name == ".updraft" {
                continue;
            }
            let meta = fs::symlink_metadata(&path).unwrap();
            let mode = meta.permissions().mode() & 0o7777;
            let what = if meta.is_symlink() {
                format!("-> {}", fs::read_link(&path).unwrap().display())
            } else if meta.is_dir() {
                todo.push(path);
                format!("dir {mode:o}")
            } else {
                format!("{mode:o} {} {}", meta.len(), updraft_core::digest::Digest::of(&fs::read(&path).unwrap()))
            };
            out.insert(name, what);
        }
    }
    out
}

/// Writes small files: `("path", "content")`.
pub fn write_tree(root: &Path, files: &[(&str, &str)]) {
    for (path, content) in files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}
