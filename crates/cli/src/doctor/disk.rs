//! What can be seen of a data directory from outside: who may read its secrets, and how much room is left.

use std::path::{Path, PathBuf};

use updraft_agent::ui::size;
use updraft_core::api::Level;
use updraft_files::Dir;
use updraft_server::config::operator;

use super::page::Line;
use crate::remote::read_text;
use crate::secrets::{Secret, shell_word};

/// Less than this is soon full, in bytes.
const SPACE_MIN: u64 = 1_000_000_000;
/// Less than this is as good as full: one publish, and nothing can be renewed either.
const SPACE_NEEDED: u64 = 100_000_000;
/// Most entries of a key directory that are looked at.
const ENTRIES_MAX: usize = 10_000;

/// The operator's copy of the admin token.
pub(super) fn token(data: &Path) -> Option<Secret> {
    let text = read_text(&data.join(operator::TOKEN_FILE), 1_024).ok()?;
    Some(Secret::new(text.trim().to_owned()))
}

/// What there is to say of the data directory.
pub(super) fn lines(data: &Path) -> Vec<Line> {
    let mut lines = vec![keys("key files", &data.join("keys"), Some(data)), admin_token(data)];
    lines.extend(free_space(data));
    lines
}

/// Whether the keys in a directory are for their owner only; `like` belongs to who is to read them.
pub(super) fn keys(thing: &str, dir: &Path, like: Option<&Path>) -> Line {
    let here = shell_word(dir);
    let seen = match private_entries(dir) {
        Ok(seen) => seen,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Line::new(Level::Ok, thing, format!("none in {}", dir.display()));
        }
        Err(error) => {
            return Line::new(Level::Warning, thing, format!("{} cannot be looked at: {error}", dir.display()))
                .remedy("run this as the user whom it belongs to");
        }
    };
    let named = |paths: &[&Seen]| {
        let first = paths.first().map(|seen| seen.path.display().to_string()).unwrap_or_default();
        if paths.len() > 1 { format!("{first} and {} more", paths.len() - 1) } else { first }
    };
    let open: Vec<&Seen> = seen.iter().filter(|seen| seen.is_open).collect();
    if !open.is_empty() {
        return Line::new(Level::Warning, thing, format!("others on this machine may look into {}", named(&open)))
            .remedy(format!("`chmod -R go= {here}`; keys that somebody else has read are to be replaced"));
    }
    let owner = like.and_then(owner);
    let foreign: Vec<&Seen> = seen.iter().filter(|seen| owner.is_some() && seen.owner != owner).collect();
    if let (false, Some(like)) = (foreign.is_empty(), like) {
        let state = format!(
            "{} belongs to another user than {}, who may not be able to read it",
            named(&foreign),
            like.display()
        );
        return Line::new(Level::Warning, thing, state)
            .remedy(format!("`chown -R --reference={} {here}`", shell_word(like)));
    }
    Line::new(Level::Ok, thing, "for their owner only")
}

fn admin_token(data: &Path) -> Line {
    let path = data.join(operator::TOKEN_FILE);
    match look(&path) {
        Ok(seen) if seen.is_open => {
            Line::new(Level::Warning, "admin token", format!("others on this machine may read {}", path.display()))
                .remedy(format!("stop the server, `rm {}`, and start it: it makes another", shell_word(&path)))
        }
        Ok(_) => Line::new(Level::Ok, "admin token", "for its owner only"),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Line::new(Level::Ok, "admin token", "no copy here: it is brought along, or the next start makes one")
        }
        Err(error) => {
            Line::new(Level::Warning, "admin token", format!("{} cannot be looked at: {error}", path.display()))
                .remedy("run this as the user whom it belongs to")
        }
    }
}

/// A file or directory, and who may use it.
struct Seen {
    path: PathBuf,
    /// Whether anybody but its owner may.
    is_open: bool,
    owner: Option<u32>,
}

/// The directory, those in it, and their key files.
fn private_entries(dir: &Path) -> std::io::Result<Vec<Seen>> {
    let (mut seen, mut todo) = (vec![look(dir)?], vec![dir.to_owned()]);
    while let Some(dir) = todo.pop() {
        for entry in std::fs::read_dir(dir)?.take(ENTRIES_MAX) {
            let path = entry?.path();
            let is_key = path.extension().is_some_and(|end| end == "pem");
            if path.is_dir() && seen.len() < ENTRIES_MAX {
                todo.push(path.clone());
            } else if !is_key {
                continue;
            }
            seen.push(look(&path)?);
        }
    }
    Ok(seen)
}

#[cfg(unix)]
fn look(path: &Path) -> std::io::Result<Seen> {
    use std::os::unix::fs::MetadataExt;
    let meta = std::fs::metadata(path)?;
    Ok(Seen { path: path.to_owned(), is_open: meta.mode() & 0o077 != 0, owner: Some(meta.uid()) })
}

/// Nobody can tell from modes here.
#[cfg(not(unix))]
fn look(path: &Path) -> std::io::Result<Seen> {
    std::fs::metadata(path)?;
    Ok(Seen { path: path.to_owned(), is_open: false, owner: None })
}

fn owner(path: &Path) -> Option<u32> {
    look(path).ok()?.owner
}

fn free_space(data: &Path) -> Option<Line> {
    let space = Dir::open(&data.join("store")).ok()?.space()?;
    Some(of_space(space.available, space.total))
}

fn of_space(free: u64, all: u64) -> Line {
    let level = match free {
        _ if free < SPACE_NEEDED => Level::Urgent,
        _ if free < SPACE_MIN => Level::Warning,
        _ => Level::Ok,
    };
    let line = Line::new(level, "free space", format!("{} of {}", size(free), size(all)));
    if level == Level::Ok { line } else { line.remedy("make room: `updraft gc` deletes what nothing needs any more") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_on_the_disk() {
        for (free, level) in [
            (0, Level::Urgent),
            (99_999_999, Level::Urgent),
            (100_000_000, Level::Warning),
            (999_999_999, Level::Warning),
            (1_000_000_000, Level::Ok),
            (u64::MAX, Level::Ok),
        ] {
            let line = of_space(free, u64::MAX);
            assert_eq!((line.level, line.remedy.is_some()), (level, level != Level::Ok), "{free}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_key_that_others_may_read_is_named() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let (app, set) = (dir.path().join("keys/demo"), |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        });
        assert_eq!(keys("k", &dir.path().join("keys"), None).level, Level::Ok, "there is none");
        std::fs::create_dir_all(&app).unwrap();
        for (name, mode) in [("online.pem", 0o600), ("root.json", 0o644)] {
            std::fs::write(app.join(name), "").unwrap();
            set(&app.join(name), mode);
        }
        let all = dir.path().join("keys");
        for (mode, level) in [(0o700, Level::Ok), (0o750, Level::Warning), (0o701, Level::Warning)] {
            set(&all, mode);
            set(&app, 0o700);
            assert_eq!(keys("k", &all, Some(dir.path())).level, level, "{mode:o}");
        }
        set(&all, 0o700);
        set(&app.join("online.pem"), 0o640);
        let line = keys("k", &all, Some(dir.path()));
        assert_eq!(line.level, Level::Warning);
        assert!(
            line.state.contains("demo/online.pem") && line.remedy.unwrap().contains("chmod -R go= "),
            "{}",
            line.state
        );
    }
}
