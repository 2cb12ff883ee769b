//! The command line of `updraft`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use updraft_agent::ui::EXIT_CODES;
use updraft_core::name::{AppName, ChannelName, Platform};
use updraft_core::version::Version;
use updraft_server::config::Amount;

/// A self-hosted software update service in one binary.
#[derive(Debug, Parser)]
#[command(name = "updraft", version, about, after_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the server; with FOLDER, publish what is in it
    Serve(Serve),
    /// Create an app, or look at apps
    #[command(subcommand)]
    App(App),
    /// Publish a directory as a release
    Publish(Publish),
    /// Look at the keys of an app, and change them
    #[command(subcommand)]
    Keys(crate::keys::args::Command),
    /// Look at releases, or keep one
    #[command(subcommand)]
    Release(Release),
    /// Look at a channel, point it at a release, and steer its rollout
    #[command(subcommand)]
    Channel(crate::channel::args::Command),
    /// Make, apply or explain a patch between two files or two directories; or see to those of a server
    #[command(subcommand)]
    Patch(Patch),
    /// Find what nothing needs any more; delete it when its grace is over
    Gc(Gc),
    /// Read every object of the store again and check it
    Fsck(Fsck),
    /// Say whether all is well: the server, clocks, keys, and how long every signature lives
    Doctor(Doctor),
    /// Install and update on a device (the same as updraft-agent)
    #[command(subcommand)]
    Agent(updraft_agent::args::Command),
    /// What this program does for itself, in other processes
    #[command(subcommand, hide = true)]
    Internal(Internal),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Internal {
    /// Make a patch for a server
    MakePatch(crate::workshop::child::MakePatch),
}

/// Values stay text here: the server's configuration reads them, as it reads environment and file.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// A folder to publish as an app on channel stable; created with a hello file when missing
    pub(crate) folder: Option<String>,
    /// Where everything is kept [default: updraft in the XDG data folder]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<String>,
    /// Address and port to listen on [default: 0.0.0.0:8080]
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<String>,
    /// A TOML file with the same settings
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<String>,
    /// The folder's app [default: the folder's name]
    #[arg(long, value_name = "NAME")]
    pub(crate) app: Option<String>,
    /// Publish the folder again whenever it has changed and been quiet for a moment
    #[arg(long)]
    pub(crate) watch: bool,
    /// Let anybody ask for a new scan on /generateNewConfig
    #[arg(long)]
    pub(crate) open_generate: bool,
    /// Answer the publisher and admin API over plain HTTP from anywhere, not only from this machine
    #[arg(long)]
    pub(crate) allow_plain_admin: bool,
    /// Proxies in front, whose forwarding headers are believed: addresses or networks such as 10.0.0.0/8
    #[arg(long, value_name = "NET", value_delimiter = ',')]
    pub(crate) trusted_proxies: Vec<String>,
    /// The URL under which devices reach this server, for the lines that it prints
    #[arg(long, value_name = "URL")]
    pub(crate) public_url: Option<String>,
}

/// Which server, and as whom. Flags win over the environment, which is therefore read where these are used.
#[derive(Debug, Args, Clone)]
pub(crate) struct Server {
    /// The server [env: UPDRAFT_SERVER]
    #[arg(long, value_name = "URL")]
    pub(crate) server: Option<String>,
    /// The token that it knows you by [env: UPDRAFT_TOKEN]
    #[arg(long, value_name = "TOKEN")]
    pub(crate) token: Option<String>,
    /// A file that holds the token [env: UPDRAFT_TOKEN_FILE]
    #[arg(long, value_name = "FILE", conflicts_with = "token")]
    pub(crate) token_file: Option<PathBuf>,
    /// Send the token over plain HTTP beyond this machine, for anybody on the way to read
    #[arg(long)]
    pub(crate) allow_http: bool,
    /// Trust this certificate authority (a file in PEM), and no other, for HTTPS [env: UPDRAFT_CA]
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
}

/// Where the publisher's keys are.
#[derive(Debug, Args, Clone)]
pub(crate) struct Keys {
    /// The publisher's keys, a folder for each app [env: UPDRAFT_KEYS] [default: updraft/keys in the XDG config folder]
    #[arg(long, value_name = "DIR")]
    pub(crate) keys: Option<PathBuf>,
    /// A file that holds the passphrase of the keys; without it a terminal is asked [env: UPDRAFT_PASSPHRASE_FILE]
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// The keys have no passphrase
    #[arg(long, conflicts_with = "passphrase_file")]
    pub(crate) no_passphrase: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum App {
    /// Make an app: root and publisher keys here, online keys on the server
    Create {
        /// Its name: 1 to 64 letters, digits, '.', '_' or '-'
        name: AppName,
        /// How many root keys to make; with several, no one of them alone need be able to change keys
        #[arg(long, value_name = "N", default_value_t = 1)]
        root_keys: usize,
        /// How many of them must sign
        #[arg(long, value_name = "N", default_value_t = 1)]
        threshold: u32,
        #[command(flatten)]
        keys: Keys,
        #[command(flatten)]
        server: Server,
        /// Answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// List the apps of a server
    List {
        #[command(flatten)]
        server: Server,
        /// Answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// Show an app: its root, its channels, how long its metadata lives
    Show {
        /// The app
        name: AppName,
        #[command(flatten)]
        server: Server,
        /// Answer as JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Publish {
    /// The directory to publish
    pub(crate) dir: PathBuf,
    /// The app
    #[arg(long, value_name = "NAME")]
    pub(crate) app: AppName,
    /// The version, such as 1.4.2; read from release.json in DIR when it is not given
    #[arg(long, value_name = "V")]
    pub(crate) version: Option<Version>,
    /// Put it on this channel in the same step; without it, it is published and promoted nowhere
    #[arg(long, value_name = "C")]
    pub(crate) channel: Option<ChannelName>,
    /// What it runs on
    #[arg(long, value_name = "P", default_value = "any")]
    pub(crate) platform: Platform,
    /// What is new: a Markdown file, or the text itself. Without --version, what release.json, notes.md or
    /// notes.LOCALE.md in DIR say; they are not content then
    #[arg(long, value_name = "FILE|TEXT")]
    pub(crate) notes: Option<String>,
    #[command(flatten)]
    pub(crate) terms: crate::terms::Terms,
    /// Make the patches from the last releases here and upload them, instead of leaving that to the server
    #[arg(long)]
    pub(crate) make_patches: bool,
    /// Only say what would be uploaded and signed
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Files to upload at the same time
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=32))]
    pub(crate) jobs: u8,
    #[command(flatten)]
    pub(crate) keys: Keys,
    #[command(flatten)]
    pub(crate) server: Server,
    /// Answer as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which release of which app.
#[derive(Debug, Args)]
pub(crate) struct ReleaseArgs {
    /// Its version
    pub(crate) version: Version,
    /// The app
    #[arg(long, value_name = "NAME")]
    pub(crate) app: AppName,
    /// What it runs on
    #[arg(long, value_name = "P", default_value = "any")]
    pub(crate) platform: Platform,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Release {
    /// List the live releases of an app
    List {
        /// The app
        #[arg(long, value_name = "NAME")]
        app: AppName,
        #[command(flatten)]
        server: Server,
        /// Answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// Show a release and its notes
    Show {
        #[command(flatten)]
        release: ReleaseArgs,
        #[command(flatten)]
        server: Server,
        /// Answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// Keep a release, though no channel points at it
    Pin(Pin),
    /// Let go of a release that was kept
    Unpin(Pin),
}

#[derive(Debug, Args)]
pub(crate) struct Pin {
    #[command(flatten)]
    pub(crate) release: ReleaseArgs,
    #[command(flatten)]
    pub(crate) keys: Keys,
    #[command(flatten)]
    pub(crate) server: Server,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Patch {
    /// Make the patch that turns OLD into NEW; it is applied once to see that it does
    Make {
        /// The old file or directory
        old: PathBuf,
        /// The new file or directory
        new: PathBuf,
        /// Where the patch goes
        #[arg(short, long, value_name = "PATCH")]
        output: PathBuf,
        /// About how much memory it may take, such as 2GiB: what does not fit is compared in parts, and makes a larger patch; half of what
        /// the machine has, if not given
        #[arg(long, value_name = "SIZE")]
        memory: Option<Amount>,
        /// Answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// Make NEW from OLD and a patch
    Apply {
        /// The file or directory that the patch was made from
        old: PathBuf,
        /// The patch
        patch: PathBuf,
        /// Where the new file or directory goes; nothing may be there
        #[arg(short, long, value_name = "NEW")]
        output: PathBuf,
    },
    /// Show where the bytes of a patch go, by stream and by file
    Explain {
        /// The patch
        patch: PathBuf,
        /// Answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// List the patches of a server to the live releases of an app, and what became of each
    List {
        /// The app
        #[arg(long, value_name = "NAME")]
        app: AppName,
        #[command(flatten)]
        server: Server,
        /// Answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// Take a patch off a server, and keep it away: it is not made again
    Remove(PatchPair),
    /// Have a server make a patch anew that is bad, removed, or given up
    Retry(PatchPair),
}

/// Which patch of a server.
#[derive(Debug, Args)]
pub(crate) struct PatchPair {
    /// The version that it is made from, or that one's tree
    pub(crate) from: crate::patch::Side,
    /// The version that it makes, or that one's tree
    pub(crate) to: crate::patch::Side,
    /// The app
    #[arg(long, value_name = "NAME")]
    pub(crate) app: AppName,
    /// What the release runs on that it makes, where several have this version
    #[arg(long, value_name = "P")]
    pub(crate) platform: Option<Platform>,
    #[command(flatten)]
    pub(crate) server: Server,
    /// Only say what would be done
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// A store to look after: a server's, or a data directory that no server uses just now.
#[derive(Debug, Args)]
pub(crate) struct Maintain {
    /// The data directory of a server that is not running
    #[arg(long, value_name = "DIR", conflicts_with = "server")]
    pub(crate) data: Option<PathBuf>,
    /// The server's TOML file, with --data
    #[arg(long, value_name = "FILE", requires = "data")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) server: Server,
    /// Answer as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Gc {
    #[command(flatten)]
    pub(crate) at: Maintain,
    /// Only say what would be done
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Fsck {
    #[command(flatten)]
    pub(crate) at: Maintain,
    /// Write derived files anew and delete what is damaged, so that publishing again replaces it
    #[arg(long)]
    pub(crate) repair: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// The data directory of a server on this machine, running or not
    #[arg(long, value_name = "DIR", conflicts_with = "server")]
    pub(crate) data: Option<PathBuf>,
    /// The server's TOML file, with --data
    #[arg(long, value_name = "FILE", requires = "data")]
    pub(crate) config: Option<PathBuf>,
    /// Only this app
    #[arg(long, value_name = "NAME")]
    pub(crate) app: Option<AppName>,
    /// The publisher's keys, a folder for each app [env: UPDRAFT_KEYS] [default: updraft/keys in the XDG config folder]
    #[arg(long, value_name = "DIR")]
    pub(crate) keys: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) server: Server,
    /// Answer as JSON
    #[arg(long)]
    pub(crate) json: bool,
}
