//! A root that several people sign: propose, sign, accept. Signing needs no network.

use std::io::{self, IsTerminal, Write};
use std::path::Path;

use anyhow::{Context, bail};
use updraft_agent::ui::{Exit, printable, say};
use updraft_core::Timestamp;
use updraft_core::digest::Sha256;
use updraft_publisher::keys::{Keystore, Ring};
use updraft_publisher::root::{PROPOSAL_LEN_MAX, Pinned, Proposal, RoleChange, Wish};

use super::args::{At, RoleName, RootCommand};
use super::change::{ceremony, for_role, indent, lacking, tell};
use super::{read_public, write_new};
use crate::args::{Keys, Server};
use crate::remote::{self, Usage, read_text};
use crate::secrets::{self, shell_word};

pub(super) fn run(command: RootCommand) -> anyhow::Result<Exit> {
    match command {
        RootCommand::Propose { role, add_key, revoke, threshold, replace_online, out, at } => {
            let add = add_key.iter().map(|file| read_public(file)).collect::<anyhow::Result<Vec<_>>>()?;
            let revoke: Vec<String> = revoke.into_iter().map(|text| text.to_ascii_lowercase()).collect();
            let change = RoleChange { add, revoke, threshold };
            propose(wish(role, change, replace_online)?, out.as_deref(), &at)
        }
        RootCommand::Sign { files, root_sha256, fingerprint, yes, keys } => {
            let consent = match (fingerprint, yes) {
                (Some(fingerprint), _) => Consent::To(fingerprint),
                (None, true) => Consent::ToAll,
                (None, false) => Consent::Ask,
            };
            for file in &files {
                sign(file, root_sha256, &consent, &keys)?;
            }
            Ok(Exit::Done)
        }
        RootCommand::Accept { files, dry_run, keys, server } => accept(&files, dry_run, &keys, &server),
    }
}

fn wish(role: RoleName, change: RoleChange, replace_online: bool) -> anyhow::Result<Wish> {
    match (replace_online, change == RoleChange::default()) {
        (true, true) => Ok(Wish::ReplaceOnline),
        (true, false) => {
            Err(Usage("--replace-online goes alone: propose other changes of keys by themselves, before or after it")
                .into())
        }
        (false, _) => Ok(Wish::Change(for_role(role, change))),
    }
}

fn propose(wish: Wish, out: Option<&Path>, at: &At) -> anyhow::Result<Exit> {
    let At { app, keys, server } = at;
    let http = remote::connect(server)?;
    let keystore = secrets::keystore(keys, app)?;
    let passphrases = secrets::passphrases(keys)?;
    let ceremony = ceremony(&http, &keystore, &*passphrases);
    let proposal = ceremony.propose(app, &wish, Timestamp::now())?;
    let default = || format!("{app}.root-{}.proposal.json", proposal.version()).into();
    let file = out.map_or_else(default, Path::to_owned);
    write_new(&file, &proposal.encode())?;
    say(format_args!("proposed for {app}:"));
    indent(&proposal.lines());
    say(format_args!("its fingerprint, to compare over the phone: {}", proposal.fingerprint()));
    lacking(&proposal);
    let file = shell_word(&file);
    say(format_args!("have {file} signed with `updraft keys root sign {file}`, one after the other or a copy each;"));
    say("then hand in what comes back with `updraft keys root accept FILE...`");
    Ok(Exit::Done)
}

/// Why a person signs.
enum Consent {
    /// They are asked.
    Ask,
    /// They were told this fingerprint.
    To(String),
    /// They said so, whatever it is.
    ToAll,
}

fn read(file: &Path) -> anyhow::Result<Proposal> {
    let text = read_text(file, PROPOSAL_LEN_MAX)?;
    Proposal::decode(text.as_bytes(), Timestamp::now()).with_context(|| file.display().to_string())
}

fn sign(file: &Path, root_sha256: Option<Sha256>, consent: &Consent, keys: &Keys) -> anyhow::Result<()> {
    let name = || file.display().to_string();
    let mut proposal = read(file)?;
    let keystore = secrets::keystore(keys, proposal.app())?;
    let pinned = proposal.check_pinned(&keystore, root_sha256).with_context(name)?;
    introduce(&proposal, file, pinned, &keystore);
    if !consent.is_given(&proposal)? {
        bail!("{}: not signed", file.display());
    }
    let passphrases = secrets::passphrases(keys)?;
    let signed = proposal.sign(&Ring::new(&keystore, &*passphrases)).with_context(name)?;
    if pinned == Pinned::Told {
        proposal.pin(&keystore).with_context(name)?;
    }
    if signed.is_empty() {
        say("every key here that has a part in it had signed it before");
        return Ok(());
    }
    replace(file, &proposal.encode())?;
    for signed in signed {
        say(format_args!("signed {} with key {}", signed.document, signed.fingerprint));
    }
    lacking(&proposal);
    let next =
        if proposal.is_complete() { "it is complete: `updraft keys root accept` hands it in" } else { "send it back" };
    say(format_args!("the signatures are in {}; {next}", shell_word(file)));
    Ok(())
}

/// What somebody who signs has to know; all of it derived from what is signed.
fn introduce(proposal: &Proposal, file: &Path, pinned: Pinned, keystore: &Keystore) {
    let app = proposal.app();
    say(format_args!("{} changes the keys of {}:", file.display(), printable(app.as_str())));
    indent(&proposal.lines());
    say("then these may sign:");
    indent(&proposal.signers_lines());
    match pinned {
        Pinned::Here => say(format_args!("it was verified from {}", keystore.root_path().display())),
        Pinned::Told => {
            let path = keystore.root_path();
            say(format_args!("it was verified from the root that you said; signing keeps that as {}", path.display()));
        }
    }
    say(format_args!("fingerprint: {}", proposal.fingerprint()));
}

impl Consent {
    fn is_given(&self, proposal: &Proposal) -> anyhow::Result<bool> {
        let bare =
            |text: &str| text.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
        match self {
            Self::ToAll => Ok(true),
            Self::To(told) if bare(told) == bare(&proposal.fingerprint()) => Ok(true),
            Self::To(_) => {
                bail!("that is not the fingerprint that you were told: this is another proposal; not signed")
            }
            Self::Ask if !io::stdin().is_terminal() => {
                Err(Usage("there is no terminal to ask on; compare the fingerprint, and say it with --fingerprint")
                    .into())
            }
            Self::Ask => {
                let mut stderr = io::stderr().lock();
                write!(stderr, "Is that the fingerprint that you were told, and do you want this? Sign it? [y/N] ")?;
                stderr.flush()?;
                let mut answer = String::new();
                io::stdin().read_line(&mut answer)?;
                Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
            }
        }
    }
}

/// Puts the signed proposal in the place of the one that came, whole or not at all.
fn replace(file: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let new = file.with_extension("json.new");
    let cannot = || format!("cannot write {}", file.display());
    let written = std::fs::File::create(&new).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.and_then(|()| std::fs::rename(&new, file)).with_context(cannot)
}

fn accept(files: &[std::path::PathBuf], dry_run: bool, keys: &Keys, server: &Server) -> anyhow::Result<Exit> {
    let (first, others) = files.split_first().expect("clap asks for one at least");
    let mut proposal = read(first)?;
    for file in others {
        proposal.merge(&read(file)?).with_context(|| file.display().to_string())?;
    }
    let app = proposal.app().clone();
    if dry_run {
        say(format_args!("this would change the keys of {app}:"));
        indent(&proposal.lines());
        say("then these may sign:");
        indent(&proposal.signers_lines());
        say(format_args!("fingerprint: {}", proposal.fingerprint()));
        lacking(&proposal);
        return Ok(if proposal.is_complete() { Exit::Done } else { Exit::Error });
    }
    let http = remote::connect(server)?;
    let keystore = secrets::keystore(keys, &app)?;
    let passphrases = secrets::passphrases(keys)?;
    let ceremony = ceremony(&http, &keystore, &*passphrases);
    let done = ceremony.accept(&proposal, Timestamp::now())?;
    tell(&app, &done);
    Ok(Exit::Done)
}
