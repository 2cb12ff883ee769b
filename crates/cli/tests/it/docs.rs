//! `docs/format.md` and `docs/operating.md`, where they say something that can be looked up.
//!
//! What they draw is compared with the files that a server, a publisher and a device leave behind after the walk-through
//! (`walkthrough.rs`): a file that is not drawn fails, and so does a drawn one that nobody writes.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use updraft_core::channel::Channel;
use updraft_core::digest::Digest;
use updraft_core::head::Head;
use updraft_core::release::{Release, ReleaseName};
use updraft_core::tree::{Kind, Tree, codec};

use crate::support::{agent, run, updraft};

/// What is drawn and need not be there at the end of the walk-through: things in passing, what is made behind its back,
/// and what it does not need.
const IN_PASSING: &[&str] = &[
    "DATA/store/scratch/partial/{app}@{digest}",
    "DATA/store/scratch/partial/{app}@{digest}.zst",
    "DATA/store/scratch/spool/{number}",
    "HOME/downloads/{digest}",
    "HOME/downloads/{digest}.new",
    "HOME/downloads/{digest}.part",
    "HOME/downloads/{digest}.zst.part",
    "HOME/downloads/patch.images.new",
    "HOME/downloads/patch.{number}.new",
    "HOME/downloads/tree",
    "HOME/downloads/{from}-{to}-{length}.patch",
    "HOME/journal",
    "HOME/older/",
    "HOME/slot/held",
    "HOME/stage/",
    "HOME/stage/backup/{file}",
    "HOME/stage/new/{number}",
    "HOME/stage/record.new",
    "HOME/trash/{number}/",
    "KEYS/{app}/pending.json",
    "KEYS/{app}/rotation.json",
    "apps/{app}/patches/{digest}/{digest}",
    "private/condemned/{app}%20{digest}",
    "private/first/{app}%20{op_id}",
    "private/md5/{app}",
    "private/patches/{app}",
    "private/rotations/{app}%20{op_id}",
];

fn doc(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name)).unwrap()
}

/// The blocks of `document` in this language.
fn blocks<'a>(document: &'a str, language: &str) -> Vec<&'a str> {
    let start = format!("\n```{language}\n");
    document.split(start.as_str()).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

/// The paths that format.md draws, as patterns.
fn drawn(document: &str) -> Vec<&str> {
    let roots = ["DATA/", "KEYS/", "HOME/", "apps/", "private/"];
    let words = blocks(document, "text").into_iter().flat_map(str::lines).filter_map(|line| line.split(' ').next());
    words.filter(|word| roots.iter().any(|root| word.starts_with(root)) && *word != "DATA/store/{key}").collect()
}

/// Whether `path` is of the form `pattern`: `{digest}` and the like are hexadecimal, `{N}` is decimal, `{file}` is a path,
/// other words are one name. A `/` at the end stands for whatever is below.
fn fits(pattern: &str, path: &str) -> bool {
    let Some((fixed, rest)) = pattern.split_once('{') else {
        return pattern == path || (pattern.ends_with('/') && path.starts_with(pattern));
    };
    let (Some(path), Some((word, rest))) = (path.strip_prefix(fixed), rest.split_once('}')) else { return false };
    let allowed = |c: char| match word {
        "digest" | "sha256" | "aa" | "op_id" => c.is_ascii_hexdigit(),
        "N" | "number" => c.is_ascii_digit(),
        "file" => true,
        _ => c != '/',
    };
    let ends = path.char_indices().take_while(|(_, c)| allowed(*c)).map(|(at, c)| at + c.len_utf8());
    ends.into_iter().any(|end| fits(rest, &path[end..]))
}

fn files_below(root: &Path, name: &str, found: &mut Vec<String>) {
    for entry in fs::read_dir(root).unwrap_or_else(|e| panic!("{}: {e}", root.display())) {
        let entry = entry.unwrap();
        let name = format!("{name}/{}", entry.file_name().into_string().unwrap());
        if entry.file_type().unwrap().is_dir() {
            files_below(&entry.path(), &name, found);
        } else {
            found.push(name);
        }
    }
}

/// Compares what format.md draws with what lies in these places.
pub fn assert_drawn(data: &Path, keys: &Path, homes: &[&Path]) {
    let document = doc("format.md");
    let patterns = drawn(&document);
    let mut found = Vec::new();
    files_below(data, "DATA", &mut found);
    files_below(keys, "KEYS", &mut found);
    homes.iter().for_each(|home| files_below(home, "HOME", &mut found));
    let mut missing: BTreeSet<_> = patterns.iter().copied().collect();
    for path in &found {
        let key =
            path.strip_prefix("DATA/store/").filter(|key| key.starts_with("apps/") || key.starts_with("private/"));
        // The keys of a folder's app lie with the online ones.
        let of_folder = path.strip_prefix("DATA/keys/").map(|rest| format!("KEYS/{rest}"));
        let names = [key, Some(path.as_str()), of_folder.as_deref()];
        let fitting: Vec<_> =
            patterns.iter().filter(|pattern| names.iter().flatten().any(|name| fits(pattern, name))).collect();
        assert!(!fitting.is_empty(), "format.md does not draw {path}");
        for pattern in fitting {
            missing.remove(pattern);
        }
    }
    for pattern in IN_PASSING {
        assert!(patterns.contains(pattern), "format.md does not draw {pattern}");
        missing.remove(pattern);
    }
    assert!(missing.is_empty(), "drawn, and written by nobody: {missing:?}");
}

/// Lets an agent read the examples of what an installed directory has in its home.
pub fn assert_readable(dir: &Path, home: &Path) {
    let document = doc("format.md");
    let examples = blocks(&document, "json");
    let example = |word: &str| *examples.iter().find(|text| text.contains(word)).unwrap();
    let files = [("settings.json", "\"device\""), ("state.json", "\"awaited\""), ("fetched.json", "\"fell_back\"")];
    for (name, word) in files {
        let real = fs::read_to_string(home.join(name)).unwrap();
        assert_eq!(fields(example(word)), fields(&real), "{name}");
    }
    fs::write(home.join("state.json"), example("\"awaited\"")).unwrap();
    let status = run(updraft().args(["agent", "status", "--json"]).arg(dir)).ok().json();
    assert_eq!(status["confirmation"]["is"], "awaited");
    assert_eq!(status["rejected"][0]["version"], "1.2.0");

    let installed = format!("\"{}\"", status["version"].as_str().unwrap());
    fs::write(home.join("fetched.json"), example("\"fell_back\"").replace("\"1.1.0\"", &installed)).unwrap();
    let status = run(updraft().args(["agent", "status", "--json"]).arg(dir)).ok().json();
    assert_eq!(
        (&status["fetched"]["by"], &status["fetched"]["fell_back"]["bytes"]),
        (&"blobs".into(), &1_094_897.into())
    );

    let inode = fs::metadata(dir).unwrap().ino();
    fs::write(home.join("journal"), example("\"exchange\":").replace("1572868", &inode.to_string())).unwrap();
    let said = agent("verify", dir, &[]).ok();
    assert!(said.err.contains("interrupted before it took effect"), "{}", said.err);

    fs::write(home.join("settings.json"), example("\"device\"")).unwrap();
    let status = run(updraft().args(["agent", "status", "--json"]).arg(dir)).ok().json();
    assert_eq!(status["source"], "https://updates.example.com/apps/demo");
}

fn fields(object: &str) -> Vec<String> {
    serde_json::from_str::<serde_json::Map<_, _>>(object).unwrap().keys().cloned().collect()
}

#[test]
fn the_documents_of_format_md_are_documents() {
    let document = doc("format.md");
    let examples = blocks(&document, "json");
    let name = ReleaseName { platform: "any".parse().unwrap(), version: "1.2.0".parse().unwrap() };
    let release = Release::decode(examples[0].as_bytes(), &"demo".parse().unwrap(), &name).unwrap();
    assert_eq!(release.from.len(), 1);
    assert_eq!(release.notes.for_locales(["en"]), "Faster start.");
    // Whatever was not understood would be missing here.
    let (written, shown): (serde_json::Value, serde_json::Value) =
        (serde_json::from_slice(&release.encode()).unwrap(), serde_json::from_str(examples[0]).unwrap());
    assert_eq!(written, shown);
    let channel: Channel = serde_json::from_str(examples[1]).unwrap();
    assert_eq!(serde_json::to_string(&channel).unwrap(), examples[1].replace("\n ", "").trim_end());
}

#[test]
fn the_head_of_format_md_is_a_head() {
    let document = doc("format.md");
    let line = document.lines().find(|line| line.starts_with("{\"format\":1,\"gen\":")).unwrap();
    let bytes = [line.replace('\u{23ce}', "\n").as_bytes(), &[b'x'; 412 + 398]].concat();
    let head = Head::decode(&bytes).unwrap();
    assert_eq!((head.timestamp.len(), head.snapshot.len(), head.generation), (412, 398, 7));
    assert_eq!(head.encode(), bytes);
}

#[test]
fn the_tree_of_format_md_is_a_tree() {
    let document = doc("format.md");
    let text = *blocks(&document, "text").iter().find(|text| text.starts_with("75706472")).unwrap();
    let digest = Digest::of(b"x");
    let digits: String = text.replace("<32 bytes>", &digest.to_string()).split_whitespace().collect();
    let entries = [
        ("bin".parse().unwrap(), Kind::Dir { mode: 0o755 }),
        ("bin/app".parse().unwrap(), Kind::File { mode: 0o755, size: 300, digest }),
        ("link".parse().unwrap(), Kind::Symlink { target: "bin/app".to_owned() }),
    ];
    let tree = Tree::new(entries.into()).unwrap();
    assert_eq!(hex::encode(codec::encode(&tree)), digits);
}

#[test]
fn operating_md_lists_the_settings_that_there_are() {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../server/src/config/layer.rs");
    let source = fs::read_to_string(source).unwrap();
    let (_, keys) = source.split_once("\nkeys! {\n").unwrap();
    let name = |line: &str| line.split('"').nth(1).map(str::to_owned);
    let there: BTreeSet<_> = keys
        .lines()
        .take_while(|line| *line != "}")
        .map(|line| name(line).unwrap())
        .filter(|key| key != "config")
        .collect();
    assert!(there.len() > 5, "the source is read: {there:?}");
    let document = doc("operating.md");
    let (_, table) = document.split_once("| in a file | flag |").unwrap();
    let rows: Vec<Vec<&str>> = table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|row| row.split('|').map(str::trim).collect())
        .collect();
    let listed: BTreeSet<_> = rows.iter().map(|row| row[1].trim_matches('`').to_owned()).collect();
    assert_eq!(listed, there);

    let help = run(updraft().args(["serve", "--help"])).ok().out;
    for row in &rows {
        let flag = format!("--{}", row[1].trim_matches('`').replace('_', "-"));
        assert_eq!(help.contains(&flag), row[2] == "yes", "{flag}");
    }
}
