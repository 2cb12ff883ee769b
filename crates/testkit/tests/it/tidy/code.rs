//! Rust sources as the rules look at them: with and without comments and strings, with and without tests.
//!
//! This is no parser. It knows where comments, strings and characters begin and end, and that a test module is the last
//! thing in its file; that is enough to ask whether a word is used.

use crate::{files_below, workspace};

/// One `.rs` file of the workspace.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// Where it lies, from the root of the workspace.
    pub(super) path: String,
    /// As it is.
    pub(super) text: String,
    /// With blanks in the place of comments, strings and characters; line by line the same.
    pub(super) code: String,
    /// The code in front of its test module.
    pub(super) program: String,
}

/// Every source of every crate.
pub(super) fn sources() -> Vec<Source> {
    let root = workspace().join("crates");
    let rust = files_below(&root).into_iter().filter(|path| path.ends_with(".rs"));
    let sources: Vec<Source> = rust
        .map(|path| {
            let text = std::fs::read_to_string(root.join(&path)).unwrap();
            Source::new(format!("crates/{path}"), text)
        })
        .collect();
    assert!(sources.len() > 30, "the workspace is found: {} sources", sources.len());
    sources
}

impl Source {
    fn new(path: String, text: String) -> Self {
        let code = blank(&text);
        let program = before_tests(&code).to_owned();
        Self { path, text, code, program }
    }

    /// Whether it is part of a library or a program, tests included.
    pub(super) fn is_src(&self) -> bool {
        self.path.split('/').nth(2) == Some("src")
    }

    /// Whether it is that, and not all of it a test.
    pub(super) fn is_program(&self) -> bool {
        self.is_src() && !self.path.ends_with("/tests.rs") && !self.path.contains("/tests/")
    }

    /// Whether it lies in `room`: the beginning of a path.
    pub(super) fn is_in(&self, room: &str) -> bool {
        self.path.starts_with(room)
    }

    /// Where the lines of `text`, one of its views, are as asked for.
    pub(super) fn lines(&self, text: &str, is_so: impl Fn(&str) -> bool) -> Vec<String> {
        let numbered = text.lines().enumerate().filter(|(_, line)| is_so(line));
        numbered.map(|(n, line)| format!("{}:{}: {}", self.path, n + 1, line.trim())).collect()
    }

    /// Where `word` stands alone in `text`, one of its views.
    pub(super) fn lines_with_word(&self, text: &str, word: &str) -> Vec<String> {
        self.lines(text, |line| has_word(line, word))
    }
}

fn is_word_char(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !before.is_some_and(is_word_char) && !after.is_some_and(is_word_char)
    })
}

/// Whether `line` calls something that begins with `path`: `fs::` and then `read(`, `File::open` and then `(`.
pub(super) fn calls(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let rest = line[at + path.len()..].trim_start_matches(|c| is_word_char(c) && !c.is_uppercase());
        !before.is_some_and(is_word_char) && (rest.starts_with('(') || rest.starts_with("::"))
    })
}

/// Whether `line` declares the module `name`.
pub(super) fn declares_module(line: &str, name: &str) -> bool {
    line.match_indices("mod ").any(|(at, _)| {
        let rest = line[at + 4..].trim_start();
        rest.strip_prefix(name).is_some_and(|rest| !rest.chars().next().is_some_and(is_word_char))
    })
}

/// What stands in front of the last `#[cfg(test)]` that a module follows.
fn before_tests(code: &str) -> &str {
    let is_module = |at: usize| {
        let mut lines = code[at..].lines().skip(1).skip_while(|line| line.trim_start().starts_with("#["));
        lines.next().is_some_and(|line| has_word(line, "mod"))
    };
    let test = code.match_indices("#[cfg(test)]").map(|(at, _)| at).find(|at| is_module(*at));
    &code[..test.unwrap_or(code.len())]
}

/// `text` with blanks in the place of comments, strings and characters.
fn blank(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let len = opaque_len(&chars, at).unwrap_or(0);
        if len == 0 {
            out.push(chars[at]);
            at += 1;
            continue;
        }
        out.extend(chars[at..at + len].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
        at += len;
    }
    out
}

/// How many characters from `at` on are a comment, a string or a character, if one of them begins there.
fn opaque_len(chars: &[char], at: usize) -> Option<usize> {
    let here = &chars[at..];
    let follows_word = at > 0 && is_word_char(chars[at - 1]);
    match (here[0], here.get(1)) {
        ('/', Some('/')) => Some(here.iter().position(|c| *c == '\n').unwrap_or(here.len())),
        ('/', Some('*')) => Some(block_comment_len(here)),
        ('"', _) => Some(string_len(here)),
        ('r' | 'b' | 'c', _) if !follows_word => prefixed_string_len(here),
        ('\'', Some('\\')) => here.iter().skip(3).position(|c| *c == '\'').map(|end| end + 4),
        ('\'', Some(_)) if here.get(2) == Some(&'\'') => Some(3),
        _ => None,
    }
}

fn block_comment_len(here: &[char]) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at + 1 < here.len() {
        match (here[at], here[at + 1]) {
            ('/', '*') => (depth, at) = (depth + 1, at + 2),
            ('*', '/') => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    here.len()
}

fn string_len(here: &[char]) -> usize {
    let mut at = 1;
    while at < here.len() {
        match here[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    here.len()
}

/// `r"..."`, `r#"..."#`, `b"..."`, `br"..."`, `b'x'`.
fn prefixed_string_len(here: &[char]) -> Option<usize> {
    let prefix = here.iter().take(2).take_while(|c| matches!(c, 'r' | 'b' | 'c')).count();
    let is_raw = here[..prefix].contains(&'r');
    let hashes = here[prefix..].iter().take_while(|c| **c == '#').count();
    let open = prefix + hashes;
    match here.get(open) {
        Some('"') if is_raw => {
            let mut end = open + 1;
            while end < here.len() {
                let closes = here[end] == '"' && here[end + 1..].iter().take_while(|c| **c == '#').count() >= hashes;
                end += 1;
                if closes {
                    return Some(end + hashes);
                }
            }
            Some(here.len())
        }
        Some('"') if hashes == 0 => Some(prefix + string_len(&here[prefix..])),
        Some('\'') if hashes == 0 && here[0] == 'b' => Some(prefix + opaque_len(&here[prefix..], 0)?),
        _ => None,
    }
}

#[test]
fn comments_and_strings_are_blanked_and_code_is_not() {
    let text = r##"
fn f<'a>(x: &'a str) { // word
    let s = "word \" word"; let c = '"'; let d = '\''; let e = 'w';
    /* word /* word */ word */ word();
    let r = r#"word " word"#; let b = b"word"; let n = b'\\';
}
#[cfg(test)]
#[allow(x)]
mod tests { word }
"##;
    let source = Source::new("crates/x/src/lib.rs".into(), text.into());
    assert_eq!(
        source.lines_with_word(&source.code, "word"),
        ["crates/x/src/lib.rs:4: word();", "crates/x/src/lib.rs:9: mod tests { word }"]
    );
    assert_eq!(source.lines_with_word(&source.program, "word").len(), 1);
    assert_eq!(source.code.lines().count(), text.lines().count());
    assert!(source.code.contains("fn f<'a>(x: &'a str) {"));
}

#[test]
fn a_call_is_told_from_a_type() {
    for act in ["std::fs::read(x)", "let f = fs::rename(a, b);", "File::open(p)?", "std::os::unix::fs::symlink(a, b)"] {
        assert!(["std::fs::", "fs::", "File::open"].iter().any(|path| calls(act, path)), "{act}");
    }
    for none in ["file: &mut std::fs::File,", "fn f(file: File)", "MyFile::open(x)", "offset::read(x)"] {
        assert!(!["std::fs::", "fs::", "File::open"].iter().any(|path| calls(none, path)), "{none}");
    }
    assert!(declares_module("pub mod utils;", "utils") && !declares_module("mod utilstore;", "utils"));
}
