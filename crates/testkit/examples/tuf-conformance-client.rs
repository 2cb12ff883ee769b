//! A TUF client for the conformance suite of TUF, and for anybody's repository: metadata that is laid out as the
//! specification says, over HTTP.
//!
//! It is thin on purpose. What is believed, in which order it is asked for, and what is kept, is [`updraft_core::trust`], the
//! code that devices run; here are only a directory, a socket and a command line.
//!
//! ```text
//! tuf-conformance-client --metadata-dir D init ROOT.json
//! tuf-conformance-client --metadata-dir D --metadata-url U refresh
//! tuf-conformance-client --metadata-dir D --metadata-url U --target-name P [--target-name P2 ...] --target-dir T \
//!     --target-base-url B download
//! ```
//!
//! Exit code 0, or 1 with the reason on standard error.
#![expect(clippy::print_stderr, reason = "a program for people and for a test suite")]

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use updraft_core::Timestamp;
use updraft_core::head::Head;
use updraft_core::layout::role_file_name;
use updraft_core::limits::{METADATA_LEN_MAX, ROOT_LEN_MAX};
use updraft_core::trust::{self, Cache, MetadataFile, RefreshError, Role, Source, TargetFile, Trusted};

/// Largest target that is fetched, in bytes.
const TARGET_LEN_MAX: u64 = 1 << 30;

/// A TUF client over Updraft's trust.
#[derive(Debug, Parser)]
struct Args {
    /// Where trusted metadata is kept
    #[arg(long)]
    metadata_dir: PathBuf,
    /// Where the repository's metadata is
    #[arg(long, default_value = "")]
    metadata_url: String,
    /// A target to download; may be given more than once
    #[arg(long)]
    target_name: Vec<String>,
    /// Where targets go
    #[arg(long)]
    target_dir: Option<PathBuf>,
    /// Where the repository's targets are
    #[arg(long, default_value = "")]
    target_base_url: String,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Trust this root
    Init {
        /// The root
        root: PathBuf,
    },
    /// Bring the metadata up to date
    Refresh,
    /// Bring the metadata up to date, and fetch targets
    Download,
}

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Failure> {
    let mut kept = Kept { dir: args.metadata_dir.clone() };
    if let Verb::Init { root } = &args.verb {
        let bytes = read_bounded(root, ROOT_LEN_MAX)?.ok_or("there is no such root file")?;
        Trusted::new(&bytes, Timestamp::now())?;
        return Ok(kept.store(&Role::Root, &bytes)?);
    }
    let mut served = Served { agent: agent(), base: args.metadata_url.trim_end_matches('/').to_owned() };
    let root = kept.load(&Role::Root).ok_or("there is no trusted root: run init first")?;
    let mut trusted = trust::refresh(&root, Timestamp::now(), &mut served, &mut kept).map_err(text)?.trusted;
    if let Verb::Download = &args.verb {
        let dir = args.target_dir.as_deref().ok_or("--target-dir is missing")?;
        for name in &args.target_name {
            let file = trust::find_target(&mut trusted, name, &mut served, &mut kept).map_err(text)?;
            let file = file.ok_or_else(|| format!("nobody who may speak of target '{name}' does"))?;
            download(&served.agent, args.target_base_url.trim_end_matches('/'), dir, name, &file)?;
        }
    }
    Ok(())
}

fn text(error: RefreshError<io::Error, io::Error>) -> String {
    error.to_string()
}

/// Fetches a target into `dir`, unless it is there.
fn download(agent: &ureq::Agent, base: &str, dir: &Path, name: &str, file: &TargetFile) -> Result<(), Failure> {
    let path = dir.join(percent_encoded(name, |_| false));
    if read_bounded(&path, file.length.min(TARGET_LEN_MAX))?.is_some_and(|bytes| file.matches(&bytes)) {
        return Ok(());
    }
    // TUF 6.2: the hash goes before the base name, wherever the directories are.
    let (folder, base_name) = name.rsplit_once('/').map_or(("", name), |(folder, base_name)| (folder, base_name));
    let hash =
        file.hashes.file_prefix().ok_or_else(|| format!("target '{name}': its hash is of no kind known here"))?;
    let folder = if folder.is_empty() { String::new() } else { format!("{folder}/") };
    let url = format!("{base}/{}", percent_encoded(&format!("{folder}{hash}.{base_name}"), |byte| byte == b'/'));
    let bytes =
        get(agent, &url, file.length.min(TARGET_LEN_MAX))?.ok_or_else(|| format!("{url}: there is no such file"))?;
    if !file.matches(&bytes) {
        return Err(format!("target '{name}': what came is not what was signed").into());
    }
    Ok(write_atomic(dir, &path, &bytes)?)
}

/// Metadata behind a URL.
struct Served {
    agent: ureq::Agent,
    base: String,
}

impl Source for Served {
    type Error = io::Error;

    fn head(&mut self) -> io::Result<Option<Head>> {
        Ok(None)
    }

    fn fetch(&mut self, file: &MetadataFile, max: u64) -> io::Result<Option<Vec<u8>>> {
        let name = match file {
            MetadataFile::Root(version) => format!("{version}.root.json"),
            MetadataFile::Timestamp => "timestamp.json".to_owned(),
            MetadataFile::Versioned(role, version) => format!("{version}.{}", role_file_name(role)),
        };
        get(&self.agent, &format!("{}/{name}", self.base), max)
    }
}

/// Metadata in a directory: `root.json`, `timestamp.json`, and so on, byte for byte as it came.
struct Kept {
    dir: PathBuf,
}

impl Kept {
    fn path(&self, role: &Role) -> PathBuf {
        self.dir.join(role_file_name(role))
    }
}

impl Cache for Kept {
    type Error = io::Error;

    fn load(&mut self, role: &Role) -> Option<Vec<u8>> {
        read_bounded(&self.path(role), METADATA_LEN_MAX).ok().flatten()
    }

    fn store(&mut self, role: &Role, bytes: &[u8]) -> io::Result<()> {
        write_atomic(&self.dir, &self.path(role), bytes)
    }

    fn forget(&mut self, role: &Role) -> io::Result<()> {
        match fs::remove_file(self.path(role)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

fn agent() -> ureq::Agent {
    let timeout = Some(std::time::Duration::from_secs(30));
    ureq::Agent::config_builder().timeout_global(timeout).http_status_as_error(false).build().into()
}

/// The body behind a URL, `max` bytes at most; `None` when there is none.
fn get(agent: &ureq::Agent, url: &str, max: u64) -> io::Result<Option<Vec<u8>>> {
    let response = agent.get(url).call().map_err(|e| io::Error::other(format!("{url}: {e}")))?;
    match response.status().as_u16() {
        200 => {}
        403 | 404 => return Ok(None),
        status => return Err(io::Error::other(format!("{url}: the server answered {status}"))),
    }
    let mut bytes = Vec::new();
    response.into_body().into_reader().take(max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max {
        return Err(io::Error::other(format!("{url}: longer than the {max} bytes that it may have")));
    }
    Ok(Some(bytes))
}

fn read_bounded(path: &Path, max: u64) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    match fs::File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?.take(max + 1).read_to_end(&mut bytes)?,
    };
    Ok((bytes.len() as u64 <= max).then_some(bytes))
}

/// Writes a file that is there whole or not at all, and survives a power cut once this returns.
fn write_atomic(dir: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    fs::File::open(dir)?.sync_all()
}

fn percent_encoded(text: &str, plain: impl Fn(u8) -> bool) -> String {
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let encode = |byte: u8| match unreserved(byte) || plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}
