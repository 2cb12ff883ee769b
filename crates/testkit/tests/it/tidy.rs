//! The nevers of the design, held as text and as arrows between crates.
//!
//! Each test is one rule; its name is the rule, and when it fails it lists every place that breaks it. What the compiler or
//! clippy can hold is held there (`[workspace.lints]`, `crates/core/clippy.toml`); this is the rest.

mod code;
mod graph;

use std::collections::{BTreeMap, BTreeSet};

use code::{Source, sources};
use graph::{Lock, Manifest, manifests};

use crate::workspace;

/// Most lines of a file. Long before that, one asks which noun is hiding.
const LINES_MAX: usize = 600;
/// Most characters of a line.
const COLUMNS_MAX: usize = 140;

#[track_caller]
fn assert_kept(broken: impl IntoIterator<Item = String>) {
    let broken: Vec<String> = broken.into_iter().collect();
    assert!(broken.is_empty(), "this rule is broken {} times:\n{}", broken.len(), broken.join("\n"));
}

/// The places in `sources` whose code has a word of `words`.
fn naming(sources: impl IntoIterator<Item = Source>, words: &[&str]) -> Vec<String> {
    let found = |source: Source| {
        let of = |word: &&str| source.lines_with_word(&source.code, word);
        words.iter().flat_map(of).collect::<Vec<_>>()
    };
    sources.into_iter().flat_map(found).collect()
}

fn programs() -> impl Iterator<Item = Source> {
    sources().into_iter().filter(|source| source.is_program())
}

// --- arrows between crates ---

#[test]
fn arrows_between_crates_only_go_down() {
    let all = ["agent", "client", "core", "delta", "differ", "files", "publisher", "server"];
    let allowed: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("core", &[][..]),
        ("delta", &[]),
        ("differ", &["delta"]),
        ("files", &["core"]),
        ("client", &["core", "delta", "files"]),
        ("publisher", &["core", "differ", "files"]),
        ("server", &["core", "delta"]),
        ("agent", &["client", "core"]),
        ("cli", &all),
        ("testkit", &["core"]),
    ]);
    let broken = manifests().into_iter().flat_map(|manifest| {
        let may =
            allowed.get(manifest.dir.as_str()).unwrap_or_else(|| panic!("crates/{} is not in DESIGN 3", manifest.dir));
        let ours = manifest.dependencies.iter().filter_map(|name| name.strip_prefix("updraft-")).map(str::to_owned);
        let from = manifest.dir.clone();
        ours.filter(|name| !may.contains(&name.as_str()))
            .map(move |name| format!("{from} -> {name}"))
            .collect::<Vec<_>>()
    });
    assert_kept(broken);
}

#[test]
fn the_client_pulls_in_no_async_runtime() {
    let pulled_in = Lock::read().reachable("updraft-client", &manifests());
    assert!(pulled_in.contains("ureq"), "the graph is read right: {pulled_in:?}");
    let runtimes = ["tokio", "async-std", "smol", "async-executor", "hyper", "axum", "reqwest"];
    assert_kept(runtimes.into_iter().filter(|name| pulled_in.contains(*name)).map(str::to_owned));
}

#[test]
fn what_devices_run_is_small() {
    let pulled_in = Lock::read().reachable("updraft-client", &manifests());
    assert!(pulled_in.len() <= 110, "{} crates live inside other people's apps: {pulled_in:?}", pulled_in.len());
}

#[test]
fn every_crate_takes_lints_and_versions_from_the_workspace() {
    let broken = |manifest: Manifest| {
        let no_lints = (!manifest.has_workspace_lints).then(|| format!("{}: no workspace lints", manifest.dir));
        let own =
            manifest.own_versions.into_iter().map(move |name| format!("{}: {name} has its own version", manifest.dir));
        own.chain(no_lints).collect::<Vec<_>>()
    };
    assert_kept(manifests().into_iter().flat_map(broken));
}

#[test]
fn every_dependency_is_used_and_has_a_reason() {
    let wanted: BTreeSet<String> =
        graph::workspace_dependencies().into_iter().filter(|name| !name.starts_with("updraft-")).collect();
    let used: BTreeSet<String> =
        manifests().into_iter().flat_map(|m| m.dependencies.into_iter().chain(m.dev_dependencies)).collect();
    let text = std::fs::read_to_string(workspace().join("docs/decisions/0001-dependencies.md")).unwrap();
    let reasons: Vec<(&str, &str)> =
        text.lines().filter_map(|line| line.strip_prefix("- `")?.split_once("`: ")).collect();
    let named: BTreeSet<String> = reasons.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(named.len(), reasons.len(), "a dependency has two reasons");
    assert_kept(
        wanted
            .difference(&named)
            .map(|name| format!("{name} has no reason"))
            .chain(named.difference(&wanted).map(|name| format!("{name} has a reason and is no dependency")))
            .chain(wanted.difference(&used).map(|name| format!("{name} is used by no crate")))
            .chain(
                reasons.iter().filter(|(_, why)| why.len() < 20).map(|(name, _)| format!("{name}: that is no reason")),
            ),
    );
}

// --- rooms ---

#[test]
fn only_the_http_room_of_the_server_names_axum_or_a_status_code() {
    let is_http =
        |source: &Source| source.is_in("crates/server/src/http/") || source.is_in("crates/server/src/http.rs");
    let (inside, elsewhere): (Vec<_>, Vec<_>) = sources().into_iter().filter(Source::is_src).partition(is_http);
    let words = ["axum", "StatusCode"];
    assert!(!naming(inside, &words).is_empty(), "the room is where it is looked for");
    assert_kept(naming(elsewhere, &words));
}

/// DESIGN 3, never 4, and docs/decisions/0007: where files may be touched, and what for.
const IO_ROOMS: &[(&str, &str)] = &[
    ("crates/files/", "the only walker"),
    ("crates/server/src/store", "objects"),
    ("crates/server/src/config", "the configuration file"),
    ("crates/server/src/depot/keys.rs", "the online keys, which do not lie in the store"),
    ("crates/client/src/install", "the installed directory"),
    ("crates/client/src/fetch", "a folder as a source"),
    ("crates/client/src/home.rs", "where DIR really is"),
    ("crates/publisher/src/keys", "the key store"),
    ("crates/publisher/src/notes.rs", "the notes file that a person named"),
    ("crates/agent/src/commands.rs", "the root file that a person gave"),
    ("crates/cli/", "everything for people"),
    ("crates/testkit/", "fixtures"),
];

#[test]
fn files_are_touched_in_their_rooms_only() {
    let elsewhere = programs().filter(|source| !IO_ROOMS.iter().any(|(room, _)| source.is_in(room)));
    let acts = ["std::fs::", "fs::", "tokio::fs", "File::open", "File::create", "File::options", "DirBuilder"];
    let touching = |source: Source| {
        // To name a type, such as `std::fs::File` in a signature, touches nothing.
        let is_act =
            |line: &str| !line.trim_start().starts_with("use ") && acts.iter().any(|act| code::calls(line, act));
        source.lines(&source.program, is_act)
    };
    assert_kept(elsewhere.flat_map(touching));
    let is_used = |room: &str| programs().any(|source| source.is_in(room));
    assert_kept(IO_ROOMS.iter().filter(|(room, _)| !is_used(room)).map(|(room, _)| format!("there is no {room}")));
}

#[test]
fn core_knows_no_runtime_and_no_log() {
    let core = sources().into_iter().filter(|source| source.is_in("crates/core/src/"));
    let words = ["tokio", "tracing", "log", "async", "await", "println", "eprintln"];
    assert_kept(naming(core, &words));
}

#[test]
fn core_forbids_what_clippy_can_see() {
    let text = std::fs::read_to_string(workspace().join("crates/core/clippy.toml")).unwrap();
    let clippy: toml::Table = text.parse().unwrap();
    let listed: BTreeSet<&str> = ["disallowed-types", "disallowed-methods"]
        .iter()
        .flat_map(|list| clippy[*list].as_array().unwrap())
        .map(|name| name.as_str().unwrap())
        .collect();
    let needed = [
        "std::fs::File",
        "std::fs::read",
        "std::fs::write",
        "std::net::TcpStream",
        "std::process::Command",
        "std::time::SystemTime::now",
        "std::time::Instant::now",
        "jiff::Timestamp::now",
        "std::thread::spawn",
        "std::env::var",
    ];
    assert_kept(needed.into_iter().filter(|name| !listed.contains(name)).map(str::to_owned));
}

#[test]
fn nothing_is_unsafe_but_the_calls_of_zlib() {
    let (zlib, others): (Vec<_>, Vec<_>) =
        sources().into_iter().partition(|source| source.is_in("crates/delta/src/zlib.rs"));
    assert!(!naming(zlib, &[concat!("un", "safe")]).is_empty(), "the file is where it is looked for");
    assert_kept(naming(others, &[concat!("un", "safe")]));
    let forbidding = ["crates/core/src/lib.rs", "crates/files/src/lib.rs"];
    let missing = forbidding.into_iter().filter(|path| {
        let text = std::fs::read_to_string(workspace().join(path)).unwrap();
        !text.contains("#![forbid(unsafe_code)]")
    });
    assert_kept(missing.map(|path| format!("{path} does not forbid it")));
}

// --- files ---

#[test]
fn a_file_begins_with_what_it_is() {
    let silent = sources().into_iter().filter(|source| source.is_src() && !source.text.starts_with("//! "));
    assert_kept(silent.map(|source| source.path));
}

#[test]
fn a_file_is_a_room_and_not_a_hall() {
    let long = |source: Source| {
        let lines = source.text.lines().count();
        (lines > LINES_MAX).then(|| format!("{}: {lines} lines", source.path))
    };
    assert_kept(sources().into_iter().filter_map(long));
}

#[test]
fn a_line_fits_the_eye() {
    let long = |source: Source| source.lines(&source.text, |line| line.chars().count() > COLUMNS_MAX);
    assert_kept(sources().into_iter().flat_map(long));
}

#[test]
fn no_module_is_named_after_nothing() {
    let empty_words = ["utils", "util", "common", "helpers", "helper", "manager", "misc"];
    let segments = |path: &str| path.trim_end_matches(".rs").split('/').map(str::to_owned).collect::<Vec<_>>();
    let by_file =
        sources().into_iter().filter(|s| segments(&s.path).iter().any(|name| empty_words.contains(&name.as_str())));
    let by_mod = sources().into_iter().flat_map(|source| {
        let names_one = |line: &str| empty_words.iter().any(|name| code::declares_module(line, name));
        source.lines(&source.code, names_one)
    });
    assert_kept(by_file.map(|source| source.path).chain(by_mod));
}

#[test]
fn nobody_imports_a_whole_crate() {
    let globs = |source: Source| {
        source.lines(&source.code, |line| {
            let squeezed: String = line.split_whitespace().collect();
            squeezed.contains("usecrate::*") || squeezed.contains("usecrate::{*")
        })
    };
    assert_kept(sources().into_iter().flat_map(globs));
}

#[test]
fn what_is_left_to_do_is_an_issue() {
    let words = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    let left =
        |source: Source| words.iter().flat_map(|word| source.lines_with_word(&source.text, word)).collect::<Vec<_>>();
    assert_kept(sources().into_iter().flat_map(left));
}
