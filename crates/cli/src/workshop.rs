//! Where a server's patches are made: in a child process, which is this program again.
//!
//! The child may take much memory and all that the processor has to spare, and it reads what others have published. So it
//! is another process: it works at the lowest priority, under limits of its own, and is the first to go when the machine
//! is short of memory. It lives no longer than the server: its standard input is a pipe that nobody writes to, and that
//! ends with the server, however that ends. The patch goes to its standard output, which is a file of the store.

pub(crate) mod child;
mod memory;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};
use updraft_agent::ui::size;
use updraft_publisher::patch::refused;
use updraft_server::config;
use updraft_server::maker::{Job, Unmade, Workshop};
use updraft_server::rescan::BoxFuture;

/// How much of what a child says at its end is kept, in bytes.
const SAID_LEN_MAX: u64 = 4 << 10;

/// What Linux says where there is no space or no quota left, or a disk can only be read: `ENOSPC`, `EDQUOT`, `EROFS`.
const FULL: [u32; 3] = [28, 122, 30];

/// How much memory making a patch may take where somebody waits for it, in this very process.
pub(crate) fn memory_max() -> u64 {
    memory::half_of_all()
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Workbench {
    program: PathBuf,
    memory: u64,
    timeout: Duration,
}

impl Workbench {
    /// One that runs this very program, also when another was put in its place since.
    pub(crate) fn new(config: &config::Patches) -> std::io::Result<Self> {
        let this = PathBuf::from("/proc/self/exe");
        let program = if this.exists() { this } else { std::env::current_exe()? };
        let memory = config.memory.unwrap_or_else(|| memory::default_max(config.jobs));
        Ok(Self { program, memory, timeout: config.timeout })
    }

    fn command(&self, job: Job) -> std::io::Result<Command> {
        let mut command = Command::new(&self.program);
        let root = std::path::absolute(job.root)?;
        let words: [OsString; 12] = [
            "internal".into(),
            "make-patch".into(),
            "--root".into(),
            root.into(),
            "--app".into(),
            job.app.as_str().into(),
            "--from".into(),
            job.from.to_string().into(),
            "--to".into(),
            job.to.to_string().into(),
            "--memory".into(),
            self.memory.to_string().into(),
        ];
        // The child needs nothing of it, and secrets may be in it.
        #[cfg(unix)]
        command.arg0("updraft").env_clear();
        command
            .args(words)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(job.output)
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        Ok(command)
    }

    async fn run(&self, job: Job) -> Result<(), Unmade> {
        let spawned = self.command(job).and_then(|mut command| command.spawn());
        let cannot = |e| Unmade::Place(format!("{}: it cannot be started: {e}", self.program.display()));
        let mut child = spawned.map_err(cannot)?;
        match tokio::time::timeout(self.timeout, ended(&mut child)).await {
            Ok(ended) => {
                let (status, said) = ended.map_err(|e| Unmade::Pair(format!("it cannot be waited for: {e}")))?;
                verdict(status, &said, self.memory)
            }
            Err(_) => {
                let cannot = |e| Unmade::Pair(format!("it took too long, and cannot be stopped: {e}"));
                child.kill().await.map_err(cannot)?;
                let secs = self.timeout.as_secs();
                Err(Unmade::Pair(format!("it took more than {secs} s, the limit that patch_timeout sets")))
            }
        }
    }
}

impl Workshop for Workbench {
    fn describe(&self) -> String {
        format!("{}, {} bytes, {} s", env!("CARGO_PKG_VERSION"), self.memory, self.timeout.as_secs())
    }

    fn refuses(&self, old_len: u64, new_len: u64) -> Option<String> {
        refused((old_len, new_len), self.memory).map(|reason| format!("{reason} (patch_memory)"))
    }

    fn make(&self, job: Job) -> BoxFuture<'_, Result<(), Unmade>> {
        Box::pin(self.run(job))
    }
}

/// How a child ended, and what it said.
async fn ended(child: &mut Child) -> std::io::Result<(ExitStatus, String)> {
    let mut said = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        stderr.take(SAID_LEN_MAX).read_to_end(&mut said).await?;
    }
    // `wait` closes the child's standard input first, which ends it: so that stays in our hand until then.
    let lifeline = child.stdin.take();
    let status = child.wait().await?;
    drop(lifeline);
    Ok((status, String::from_utf8_lossy(&said).trim().to_owned()))
}

/// What the end of a child means.
fn verdict(status: ExitStatus, said: &str, memory: u64) -> Result<(), Unmade> {
    if status.success() {
        return Ok(());
    }
    if said.contains("memory allocation of") || said.contains("out of memory") {
        let reason = format!("it takes more memory than the {} that patch_memory allows", size(memory));
        return Err(Unmade::Pair(reason));
    }
    #[cfg(unix)]
    if std::os::unix::process::ExitStatusExt::signal(&status) == Some(9) {
        return Err(Unmade::Pair("it was killed, perhaps because the machine is short of memory".to_owned()));
    }
    let last = said.lines().last().unwrap_or_default();
    let last = last.strip_prefix("error: ").unwrap_or(last);
    if last.is_empty() {
        return Err(Unmade::Pair(format!("the process that makes it ended: {status}")));
    }
    let is_full = FULL.iter().any(|number| last.contains(&format!("(os error {number})")));
    Err(if is_full { Unmade::Place(last.to_owned()) } else { Unmade::Pair(last.to_owned()) })
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn the_end_of_a_child_has_a_reason() {
        let verdict_of = |raw, text| verdict(ExitStatus::from_raw(raw), text, 1 << 30).unwrap_err();
        let said = |raw, text| match verdict_of(raw, text) {
            Unmade::Pair(reason) => reason,
            Unmade::Place(reason) => panic!("{reason}"),
        };
        assert_eq!(verdict(ExitStatus::from_raw(0), "whatever", 1), Ok(()));
        assert!(said(6, "memory allocation of 4096 bytes failed").contains("patch_memory allows"));
        assert!(said(9, "").contains("short of memory"));
        assert!(said(1 << 8, "one\ntwo").ends_with("two"));
        assert!(said(11, "").contains("signal"));
        let full = "error: the patch cannot be written: No space left on device (os error 28)";
        assert!(matches!(verdict_of(4 << 8, full), Unmade::Place(reason) if reason.starts_with("the patch")));
    }

    #[test]
    fn a_pair_that_will_not_fit_is_not_begun() {
        let bench = |memory| {
            let timeout = Duration::from_secs(1);
            let limits = config::Patches { releases: 5, jobs: 1, bundles: true, memory: Some(memory), timeout };
            Workbench::new(&limits).unwrap()
        };
        assert_eq!(bench(256 << 20).refuses(50 << 30, 50 << 30), None, "it is made in parts");
        assert_eq!(bench(200 << 20).refuses(1 << 20, 1 << 20), None, "it fits");
        let said = bench(200 << 20).refuses(50 << 20, 50 << 20).unwrap();
        assert!(said.ends_with("200 MiB are allowed for it (patch_memory)"), "{said}");
        assert!(bench(4 << 30).refuses(1, 17 << 40).unwrap().contains("at most"));
        assert_eq!(bench(4 << 30).refuses(0, 900 << 20), None);
        assert!(bench(4 << 30).refuses(0, 5 << 30).unwrap().contains("to make it takes 20736 MiB"), "a bundle");
    }
}
