//! The command line of `updraft keys`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use updraft_core::digest::Sha256;
use updraft_core::name::AppName;
use updraft_publisher::keys::KeyName;

use crate::args::{Keys, Server};

/// What a publisher's key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RoleName {
    /// Names the other keys
    Root,
    /// Signs which releases exist
    Targets,
}

impl From<RoleName> for KeyName {
    fn from(role: RoleName) -> Self {
        match role {
            RoleName::Root => Self::Root,
            RoleName::Targets => Self::Targets,
        }
    }
}

/// Which app, with which keys, on which server.
#[derive(Debug, Args)]
pub(crate) struct At {
    /// The app
    #[arg(long, value_name = "NAME")]
    pub(crate) app: AppName,
    #[command(flatten)]
    pub(crate) keys: Keys,
    #[command(flatten)]
    pub(crate) server: Server,
}

/// How to change keys.
#[derive(Debug, Args)]
pub(crate) struct Changing {
    #[command(flatten)]
    pub(crate) at: At,
    /// Only say what would change
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Where to write proposals, where others must sign too [default: the current directory]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show who signs what, where the private keys are, and how long it lasts
    Show {
        #[command(flatten)]
        at: At,
        /// Answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// Make a key pair here, and write its public half to a file to hand over
    New {
        /// What it is to sign
        role: RoleName,
        /// The app
        #[arg(long, value_name = "NAME")]
        app: AppName,
        /// The file for the public half [default: APP-ROLE-FINGERPRINT.public.json]
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        #[command(flatten)]
        keys: Keys,
    },
    /// Put new keys in the place of those that are here
    Rotate {
        /// Which [default: root and targets]
        roles: Vec<RoleName>,
        #[command(flatten)]
        changing: Changing,
    },
    /// Let another key sign
    Add {
        /// What it is to sign
        role: RoleName,
        /// Its public half, as `keys new` or `openssl pkey -pubout` wrote it
        file: PathBuf,
        /// How many of the role's keys must sign from now on
        #[arg(long, value_name = "N")]
        threshold: Option<u32>,
        #[command(flatten)]
        changing: Changing,
    },
    /// Let a key sign no more
    Revoke {
        /// Its fingerprint, as `keys show` says it; 8 digits will do
        fingerprint: String,
        /// The role, where the key has both
        #[arg(long, value_name = "ROLE")]
        role: Option<RoleName>,
        /// How many of the role's keys must sign from now on
        #[arg(long, value_name = "N")]
        threshold: Option<u32>,
        #[command(flatten)]
        changing: Changing,
    },
    /// Give what people sign a later end, and change nothing else
    Renew {
        /// Which [default: root and targets]
        roles: Vec<RoleName>,
        /// Also where the end is more than a year away
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        changing: Changing,
    },
    /// Let the server sign with a new key, because the old one is lost or known to somebody
    ReplaceOnline {
        #[command(flatten)]
        changing: Changing,
    },
    /// Write a root to a file, and say its SHA-256
    ExportRoot {
        /// Which; the first is what devices are installed with
        #[arg(long, value_name = "N", default_value_t = 1)]
        version: u64,
        /// The file [default: APP.root.json, or APP.N.root.json for a later one]
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        #[command(flatten)]
        at: At,
    },
    /// Take the keys of a folder's app off the server, which must not be running
    Move {
        /// The app
        #[arg(long, value_name = "NAME")]
        app: AppName,
        /// The server's data directory
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
        /// Only say what would be done
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        keys: Keys,
    },
    /// Change keys that are in several hands: propose, have it signed, accept
    #[command(subcommand)]
    Root(RootCommand),
}

#[derive(Debug, Subcommand)]
pub(crate) enum RootCommand {
    /// Write a proposal for others to sign; without more, the same keys and a later end of the root
    Propose {
        /// The role that is to change
        #[arg(long, value_name = "ROLE", default_value = "root")]
        role: RoleName,
        /// The public half of a key that is to sign; may be given more than once
        #[arg(long, value_name = "FILE")]
        add_key: Vec<PathBuf>,
        /// The fingerprint of a key that is to sign no more; may be given more than once
        #[arg(long, value_name = "FINGERPRINT")]
        revoke: Vec<String>,
        /// How many of the role's keys must sign from now on
        #[arg(long, value_name = "N")]
        threshold: Option<u32>,
        /// Let the server sign with a new key
        #[arg(long)]
        replace_online: bool,
        /// The file [default: APP.root-N.proposal.json]
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        #[command(flatten)]
        at: At,
    },
    /// Sign a proposal, on a machine that needs no network; the file that goes back is the same one
    Sign {
        /// The proposals
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// The SHA-256 of the app's first root, as its devices were installed with it; needed where no root.json lies here
        #[arg(long, value_name = "HEX")]
        root_sha256: Option<Sha256>,
        /// Sign if this is its fingerprint, as you were told it; nobody is asked then
        #[arg(long, value_name = "FINGERPRINT", conflicts_with = "yes")]
        fingerprint: Option<String>,
        /// Sign without comparing the fingerprint
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        keys: Keys,
    },
    /// Hand in a proposal that enough people have signed
    Accept {
        /// Copies of one proposal, each signed by somebody
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Only say what it changes, and which signatures are lacking
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        keys: Keys,
        #[command(flatten)]
        server: Server,
    },
}
