//! `docs/walkthrough.md`, line by line, as its reader would type it.
//!
//! The document has friendly values: an address, a home directory, dates, digests. Here they become those of a real
//! server, and trycmd runs every `console` block in one shell session and compares what is said. Line numbers stay, so a
//! failure names the line of the document. What trycmd skips it calls a success, so each line that ran is written down
//! and counted as well.

use std::fs;
use std::path::{Path, PathBuf};

use updraft_core::name::Platform;

use crate::docs;
use crate::support::{Server, assert_same_tree, run, updraft};

/// Runs one line of a session: with what earlier lines exported, and nothing else of our own environment. It notes the
/// line and what was said, and leaves out the last line's end, as trycmd does.
const STEP: &str = r#"
[ "${CLEAN-}" ] || exec env -i CLEAN=1 /bin/sh "$0" "$@"
here=${0%/*}
umask 022
. "$here/session"
ROOT_SHA256=$(sed -n 's/.*--root-sha256 \([0-9a-f]\{64\}\) .*/\1/p' "$here/said" | tail -n 1)
{ eval "$*"; } >"$here/now" 2>&1
code=$?
export -p >"$here/session"
printf '%s\n' "$*" >>"$here/steps"
cat "$here/now" >>"$here/said"
printf %s "$(cat "$here/now")"
exit $code
"#;

/// A value of the document, and what it is in a command and in what is said. The first that fits counts.
struct Value {
    friendly: &'static str,
    typed: String,
    said: String,
}

fn value(friendly: &'static str, real: impl Into<String>) -> Value {
    let real = real.into();
    Value { friendly, typed: real.clone(), said: real }
}

/// In what is said, anything; nobody types it.
fn varying(friendly: &'static str) -> Value {
    Value { said: "[..]".to_owned(), ..value(friendly, friendly) }
}

/// A document whose `console` blocks are one session in `home`, made ready to run.
struct Session {
    root: PathBuf,
    lines: Vec<String>,
}

impl Session {
    /// `root` gets a copy of `document` with the real values, and what running it takes.
    fn prepare(root: &Path, document: &str, values: &[Value]) -> Session {
        let (home, step) = (root.join("walkthrough.in"), quoted(&root.join("step.sh").display().to_string()));
        let (mut copy, mut lines) = (String::new(), Vec::<String>::new());
        let mut block = None;
        for (number, line) in document.lines().enumerate() {
            let continued = |part: &str| part.trim().trim_end_matches('\\').trim_end().to_owned();
            if let Some(info) = line.strip_prefix("```") {
                let known = if block.is_some() { info.is_empty() } else { ["console", "text"].contains(&info) };
                assert!(known, "line {}: blocks are console or text: {line}", number + 1);
                block = if block.is_some() { None } else { Some(info) };
                copy.push_str(line);
            } else if block != Some("console") {
                copy.push_str(line);
            } else if let Some(part) = line.strip_prefix("$ ") {
                let part = replace(&continued(part), values, |value| &value.typed);
                copy.push_str(&format!("$ sh {step} {}", quoted(&part)));
                lines.push(part);
            } else if let (Some(part), Some(last)) = (line.strip_prefix("> "), lines.last_mut()) {
                let part = replace(&continued(part), values, |value| &value.typed);
                copy.push_str(&format!("> {}", quoted(&part)));
                last.push_str(&format!(" {part}"));
            } else {
                copy.push_str(&replace(line, values, |value| &value.said));
            }
            copy.push('\n');
        }
        fs::create_dir_all(&home).unwrap();
        fs::create_dir(root.join("bin")).unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_updraft"), root.join("bin/updraft")).unwrap();
        let path = std::env::var("PATH").unwrap();
        let exports = [
            ("HOME", home.display().to_string()),
            ("PATH", format!("{}:{path}", root.join("bin").display())),
            ("LC_ALL", "C".to_owned()),
        ];
        let session: String = exports.iter().map(|(name, text)| format!("export {name}={}\n", quoted(text))).collect();
        for (name, content) in
            [("walkthrough.md", copy.as_str()), ("step.sh", STEP), ("session", &session), ("said", ""), ("steps", "")]
        {
            fs::write(root.join(name), content).unwrap();
        }
        Session { root: root.to_owned(), lines }
    }

    /// Runs it; panics when a line says something else than the document, or did not run.
    fn run(&self) {
        assert!(std::env::var_os("TRYCMD").is_none(), "TRYCMD would have the copy say whatever is said");
        trycmd::TestCases::new().register_bin("sh", Path::new("/bin/sh")).case(self.root.join("walkthrough.md")).run();
        let ran = fs::read_to_string(self.root.join("steps")).unwrap();
        assert_eq!(ran.lines().collect::<Vec<_>>(), self.lines, "every line of the document ran, once, in its order");
    }
}

fn replace(line: &str, values: &[Value], real: fn(&Value) -> &String) -> String {
    values.iter().fold(line.to_owned(), |line, value| line.replace(value.friendly, real(value)))
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn document() -> String {
    fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/walkthrough.md")).unwrap()
}

/// What the document says that a starting server says, in the block that begins with this line.
fn greeting(document: &str) -> impl Iterator<Item = &str> {
    let start = "```text\n$ updraft serve ./updateFiles\n";
    let (_, rest) = document.split_once(start).expect("it shows a server that starts");
    rest.lines().take_while(|line| *line != "```")
}

/// The token is shown on a terminal only; elsewhere the line says where its copy is.
fn off_terminal(line: &str) -> String {
    match (line.split_once("upd_"), line.rsplit_once("a copy is ")) {
        (Some((start, _)), Some((_, copy))) => format!("{start}{}", copy.trim_end_matches(')')),
        _ => line.to_owned(),
    }
}

#[test]
fn the_walk_through_is_true() {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().canonicalize().unwrap();
    let home = root.join("walkthrough.in");
    fs::create_dir(&home).unwrap();
    let server = Server::try_start_with(&home, &["./updateFiles"], |mut command| {
        command.current_dir(&home);
        command
    })
    .expect("the server starts");
    let log = fs::read_to_string(home.join("server.log")).unwrap();
    let folder_root = log.split("--root-sha256 ").nth(1).and_then(|rest| rest.get(..64)).unwrap();

    let text = |path: &Path| path.display().to_string();
    let values = [
        value("5d0c8f0d6f6ab5f4a4f4e1b7d2c39a6e8b90713c2f5e4d6a7b8c9d0e1f2a3b4c", folder_root),
        Value {
            typed: "$ROOT_SHA256".to_owned(), // as it was printed when the app was made
            ..varying("b3a91e7c40d2f6583c19ae7d05f482b6c7e0d9138f2a6b54e1c0d7f39a8b2e65")
        },
        Value { said: "[CWD]/data".into(), ..value("/home/you/.local/share/updraft", text(&home.join("data"))) },
        Value { said: "[CWD]".into(), ..value("/home/you", text(&home)) }, // as trycmd has it
        value("/usr/local/bin/updraft", text(&Path::new(env!("CARGO_BIN_EXE_updraft")).canonicalize().unwrap())),
        value("http://127.0.0.1:8080", server.url.clone()),
        value("Updraft 0.1.0", concat!("Updraft ", env!("CARGO_PKG_VERSION"))),
        value("updraft 0.1.0", concat!("updraft ", env!("CARGO_PKG_VERSION"))),
        value("linux-x86_64", Platform::this().to_string()),
        varying("2026-01-15"),
        varying("2031-01-14"),
        varying("2036-01-13"),
        varying("2036-01-13, as before"), // but not around midnight
        varying("2031-01-14, as before"),
        varying("2036-01-13"),
        varying("2026-04-15"),
        varying("2031-01-14"),
        varying("1f0c7a5e92b4d863"),
        varying("6e2d91b7f4083ca5"),
        varying("b85a03d6c1f7492e"),
        varying("30c9e4f2a86b175d"),
        varying("d7146b8e05f3a92c"),
        varying("9b52f8c0e7d1364a"),
        varying("0d3f-92b6-71ce-e85a-4b09-a7d2-63f1-c840"),
        varying("2026-01-16T09:30:00Z"),
        varying("2026-01-16"),
    ];
    let document = document();

    let mut logged = log.lines();
    for line in greeting(&document) {
        let line = replace(line, &values, |value| &value.typed);
        // The token itself is shown on terminals only.
        assert!(logged.any(|said| said == off_terminal(&line)), "a starting server does not say: {line}\n{log}");
    }

    Session::prepare(&root, &document, &values).run();

    let live = run(server.publisher().args(["release", "list", "--app", "hello", "--json"])).ok().json();
    let versions: Vec<_> =
        live.as_array().unwrap().iter().map(|release| release["version"].as_str().unwrap()).collect();
    assert_eq!(versions, ["1.3.0", "1.2.0"], "what was published is really there");
    let status = run(updraft().args(["agent", "status", "--json"]).arg(home.join("hello-installed"))).ok().json();
    assert_eq!((&status["app"], &status["version"]), (&"hello".into(), &"1.3.0".into()));
    assert_same_tree(&home.join("build"), &home.join("hello-installed"));
    assert_same_tree(&home.join("updateFiles"), &home.join("updateFiles-installed"));

    let (dir, own) = (home.join("hello-installed"), home.join("hello-installed.updraft"));
    let keys = home.join(".config/updraft/keys");
    docs::assert_drawn(&home.join("data"), &keys, &[&own, &home.join("updateFiles-installed.updraft")]);
    docs::assert_readable(&dir, &own);
}

const SMALL: &str = "```console\n$ export WORD=one\n$ echo \"$WORD\" \\\n>     two\none two\n```\n";

#[test]
fn a_session_is_one_shell() {
    let temp = tempfile::tempdir().unwrap();
    Session::prepare(temp.path(), SMALL, &[]).run();
}

#[test]
#[should_panic = "tests failed"]
fn a_line_that_says_something_else_fails() {
    let temp = tempfile::tempdir().unwrap();
    Session::prepare(temp.path(), &SMALL.replace("one two", "one three"), &[]).run();
}

#[test]
#[should_panic = "tests failed"]
fn a_line_that_says_more_than_is_shown_fails() {
    let temp = tempfile::tempdir().unwrap();
    Session::prepare(temp.path(), &SMALL.replace("one two\n", ""), &[]).run();
}

#[test]
#[should_panic = "every line of the document ran"]
fn a_line_that_does_not_run_fails() {
    let temp = tempfile::tempdir().unwrap();
    let mut session = Session::prepare(temp.path(), SMALL, &[]);
    session.lines.push("echo three".to_owned());
    session.run();
}
