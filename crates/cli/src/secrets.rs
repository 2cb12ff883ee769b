//! Tokens and passphrases: from where a person put them, asked on a terminal, never printed.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use anyhow::Context;
use updraft_core::name::AppName;
use updraft_publisher::keys::{Keystore, Passphrases, Zeroizing};

use crate::args::Keys;
use crate::remote::read_text;

/// A text that is wiped from memory when it is no longer needed.
pub(crate) type Secret = Zeroizing<String>;

/// Longest secret in a file, in bytes.
const SECRET_LEN_MAX: u64 = 4_096;

/// The token that the flags name, else the one that the environment does; none is fine for what anybody may read.
pub(crate) fn token(given: Option<&str>, file: Option<&Path>) -> anyhow::Result<Option<Secret>> {
    let from_file = |file: &Path| Ok(Some(Zeroizing::new(read_text(file, SECRET_LEN_MAX)?.trim().to_owned())));
    match (given, file) {
        (Some(token), _) => Ok(Some(Zeroizing::new(token.trim().to_owned()))),
        (None, Some(file)) => from_file(file),
        (None, None) => match (environment("UPDRAFT_TOKEN"), environment("UPDRAFT_TOKEN_FILE")) {
            (Some(token), _) => Ok(Some(Zeroizing::new(token.to_string_lossy().trim().to_owned()))),
            (None, Some(file)) => from_file(Path::new(&file)),
            (None, None) => Ok(None),
        },
    }
}

/// A variable of the environment; an empty one is none.
pub(crate) fn environment(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// Where publishers' keys are, a folder for each app: what `given` says, else the environment, else the XDG folder.
pub(crate) fn keys_root(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(dir) = given {
        return Ok(dir.to_owned());
    }
    if let Some(dir) = environment("UPDRAFT_KEYS") {
        return Ok(dir.into());
    }
    let config = dirs::config_dir().context("no home directory is known: name one for the keys with --keys")?;
    Ok(config.join("updraft/keys"))
}

/// The directory of an app's keys.
pub(crate) fn keystore(keys: &Keys, app: &AppName) -> anyhow::Result<Keystore> {
    Ok(Keystore::at(keys_root(keys.keys.as_deref())?.join(app.as_str())))
}

/// Where passphrases come from, as the arguments say.
pub(crate) fn passphrases(keys: &Keys) -> anyhow::Result<Box<dyn Passphrases>> {
    if keys.no_passphrase {
        return Ok(Box::new(updraft_publisher::keys::Unlocked));
    }
    let file = keys.passphrase_file.clone().or_else(|| environment("UPDRAFT_PASSPHRASE_FILE").map(PathBuf::from));
    match file {
        Some(file) => {
            let text = Zeroizing::new(read_text(&file, SECRET_LEN_MAX)?);
            Ok(Box::new(updraft_publisher::keys::Known::new(text.trim_end_matches(['\r', '\n']))))
        }
        None => Ok(Box::new(Terminal)),
    }
}

/// A person at a terminal.
struct Terminal;

impl Terminal {
    fn ask(prompt: String) -> io::Result<Secret> {
        if !io::stdin().is_terminal() {
            return Err(io::Error::other(
                "there is no terminal to ask on; use --passphrase-file, or --no-passphrase for keys without one",
            ));
        }
        rpassword::prompt_password(prompt).map(Zeroizing::new)
    }
}

impl Passphrases for Terminal {
    fn choose(&self, dir: &Path) -> io::Result<Option<Secret>> {
        let first = Self::ask(format!("New passphrase for the keys in {}: ", dir.display()))?;
        if first.is_empty() {
            return Err(io::Error::other("an empty passphrase protects nothing; say --no-passphrase if that is meant"));
        }
        if Self::ask("The same again: ".to_owned())? != first {
            return Err(io::Error::other("the two are not the same"));
        }
        Ok(Some(first))
    }

    fn recall(&self, file: &Path) -> io::Result<Secret> {
        Self::ask(format!("Passphrase of {}: ", file.display()))
    }
}

/// A path as it can be pasted into a shell.
pub(crate) fn shell_word(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@:=".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// The path of the running program, for lines that people paste.
pub(crate) fn this_program() -> PathBuf {
    std::env::current_exe().unwrap_or_else(|_| PathBuf::from("updraft"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shell_words() {
        assert_eq!(shell_word(Path::new("/opt/updraft")), "/opt/updraft");
        assert_eq!(shell_word(Path::new("/my dir/it's")), r"'/my dir/it'\''s'");
    }
}
