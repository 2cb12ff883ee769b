//! The page: lines in sections, as a person reads them on a terminal, and as a program does.

use std::fmt::{Display, Write as _};
use std::io::IsTerminal;

use serde::Serialize;
use updraft_agent::ui::{Exit, count, printable, say};
use updraft_core::api::{Health, Level};

/// Columns for the word that says how pressing something is, and for the thing.
const LEVEL_LEN: usize = 8;
const THING_LEN: usize = 13;
/// Where a line is broken on a terminal, which has at least as many; what comes after it is indented under what came before.
const WIDTH: usize = 80;
/// Where a state begins.
const INDENT: usize = 2 + LEVEL_LEN + 1 + THING_LEN + 1;
/// Where what is too long for its place begins.
const INDENT_LEAST: usize = 4;

/// Everything that was found.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    level: Option<Level>,
    /// The server did not answer.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) unreachable: bool,
    sections: Vec<Section>,
    /// What the server says, as `/api/v1/health` or `/readyz` has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) health: Option<Health>,
}

/// What was found of one thing.
#[derive(Debug, Serialize)]
pub(super) struct Section {
    about: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    lines: Vec<Line>,
}

/// A thing, its state, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Line {
    pub(super) level: Level,
    pub(super) thing: String,
    pub(super) state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) remedy: Option<String>,
}

impl Line {
    pub(super) fn new(level: Level, thing: &str, state: impl Into<String>) -> Self {
        Self { level, thing: thing.to_owned(), state: state.into(), remedy: None }
    }

    pub(super) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}

impl Section {
    pub(super) fn new(about: &'static str, name: impl Display, lines: Vec<Line>) -> Self {
        Self { about, name: name.to_string(), lines }
    }
}

impl Report {
    pub(super) fn add(&mut self, section: Section) {
        self.sections.push(section);
    }

    fn lines(&self) -> impl Iterator<Item = &Line> {
        self.sections.iter().flat_map(|section| &section.lines)
    }

    /// Everything is in it.
    pub(super) fn settle(&mut self) {
        self.level = self.lines().map(|line| line.level).max();
    }

    pub(super) fn exit(&self) -> Exit {
        match self.level {
            _ if self.unreachable => Exit::Unreachable,
            Some(level) if level.needs_a_person() => Exit::Error,
            _ => Exit::Done,
        }
    }

    pub(super) fn print(&self) {
        let is_terminal = std::io::stdout().is_terminal();
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let style = Style { is_terminal, is_coloured: is_terminal && !is_set("NO_COLOR") && !is_dumb };
        say(printable_but_colours(&self.text(style), style));
    }

    fn text(&self, style: Style) -> String {
        let mut text = String::new();
        for section in &self.sections {
            let name = if section.name.is_empty() { String::new() } else { format!(" {}", section.name) };
            let title = style.paint(Paint::Bold, &format!("{}{name}", section.about));
            writeln!(text, "{title}").expect(INFALLIBLE);
            section.lines.iter().for_each(|line| style.write(line, &mut text));
            text.push('\n');
        }
        text + &self.verdict(style)
    }

    fn verdict(&self, style: Style) -> String {
        let pressing = self.lines().filter(|line| line.level.needs_a_person()).count() as u64;
        let noticed = self.lines().filter(|line| line.level == Level::Notice).count() as u64;
        let (level, words) = match (pressing, noticed) {
            (0, 0) => (Level::Ok, "all is well".to_owned()),
            (0, _) => (Level::Ok, format!("all is well; {}", count(noticed, "notice"))),
            (1, _) => (Level::Broken, "1 thing needs somebody".to_owned()),
            _ => (Level::Broken, format!("{pressing} things need somebody")),
        };
        style.paint(Paint::Of(level), &words)
    }
}

const INFALLIBLE: &str = "writing to a String cannot fail";

/// What a terminal would take for an order is made harmless, but for the colours that are ours.
fn printable_but_colours(text: &str, style: Style) -> String {
    if style.is_coloured { text.to_owned() } else { printable(text) }
}

/// How a page is written.
#[derive(Debug, Clone, Copy)]
struct Style {
    is_terminal: bool,
    is_coloured: bool,
}

#[derive(Clone, Copy)]
enum Paint {
    Bold,
    Faint,
    Of(Level),
}

impl Style {
    fn paint(self, paint: Paint, text: &str) -> String {
        // What a server said must not end a colour, or begin something worse.
        let text = printable(text);
        if !self.is_coloured {
            return text;
        }
        let code = match paint {
            Paint::Bold => "1",
            Paint::Faint => "2",
            Paint::Of(Level::Ok) => "32",
            Paint::Of(Level::Notice) => "36",
            Paint::Of(Level::Warning) => "33",
            Paint::Of(_) => "31",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }

    fn write(self, line: &Line, text: &mut String) {
        let Line { level, thing, state, remedy } = line;
        let word = self.paint(Paint::Of(*level), &format!("{:LEVEL_LEN$}", level.word()));
        let thing = printable(&format!("{thing:THING_LEN$}"));
        if !self.is_terminal {
            // One line each, for grep.
            let remedy = remedy.as_ref().map_or(String::new(), |remedy| format!("; {remedy}"));
            let said = printable(&format!("{state}{remedy}"));
            return writeln!(text, "  {word} {thing} {said}").expect(INFALLIBLE);
        }
        let width = WIDTH - INDENT;
        let mut rows = wrap(state, width).into_iter();
        let first = printable(&rows.next().unwrap_or_default());
        writeln!(text, "  {word} {thing} {first}").expect(INFALLIBLE);
        let mut under = |row: &str, painted: String| {
            // A long command would be broken by the terminal, and copied so.
            let indent = if row.chars().count() > width { INDENT_LEAST } else { INDENT };
            writeln!(text, "{:indent$}{painted}", "").expect(INFALLIBLE);
        };
        rows.for_each(|row| under(&row, printable(&row)));
        let paint = if *level == Level::Ok { Paint::Faint } else { Paint::Bold };
        let remedy = remedy.iter().flat_map(|remedy| wrap(remedy, width));
        remedy.for_each(|row| under(&row, self.paint(paint, &row)));
    }
}

/// `text` in rows of `width` columns, broken between words, but never inside of `...`: that is to be copied.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut rows = vec![String::new()];
    let mut is_code = false;
    let mut word = String::new();
    let mut end_word = |word: &mut String| {
        let row = rows.last_mut().expect("there is always a row");
        if !row.is_empty() && row.chars().count() + 1 + word.chars().count() > width {
            rows.push(std::mem::take(word));
            return;
        }
        if !row.is_empty() {
            row.push(' ');
        }
        row.push_str(&std::mem::take(word));
    };
    for c in text.chars() {
        is_code ^= c == '`';
        if c == ' ' && !is_code { end_word(&mut word) } else { word.push(c) }
    }
    end_word(&mut word);
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(lines: Vec<Line>) -> Report {
        let mut report = Report::default();
        report.add(Section::new("app", "demo", lines));
        report.settle();
        report
    }

    fn plain(is_terminal: bool) -> Style {
        Style { is_terminal, is_coloured: false }
    }

    #[test]
    fn the_exit_code_says_whether_a_person_is_needed() {
        let of = |level| report(vec![Line::new(Level::Ok, "a", "b"), Line::new(level, "c", "d")]);
        for (level, exit, verdict) in [
            (Level::Ok, Exit::Done, "all is well"),
            (Level::Notice, Exit::Done, "all is well; 1 notice"),
            (Level::Warning, Exit::Error, "1 thing needs somebody"),
            (Level::Urgent, Exit::Error, "1 thing needs somebody"),
            (Level::Expired, Exit::Error, "1 thing needs somebody"),
            (Level::Broken, Exit::Error, "1 thing needs somebody"),
        ] {
            assert_eq!((of(level).exit(), of(level).verdict(plain(false)).as_str()), (exit, verdict), "{level:?}");
        }
        let gone = Report { unreachable: true, ..of(Level::Broken) };
        assert_eq!(gone.exit(), Exit::Unreachable);
    }

    #[test]
    fn a_line_has_its_remedy_behind_it_or_under_it() {
        let line = Line::new(Level::Warning, "targets", "ends in 12 days").remedy("run `updraft keys renew`");
        let report = report(vec![line]);
        assert_eq!(
            report.text(plain(false)),
            "app demo\n  warning  targets       ends in 12 days; run `updraft keys renew`\n\n1 thing needs somebody"
        );
        assert_eq!(
            report.text(plain(true)),
            "app demo\n  warning  targets       ends in 12 days\n\
             \x20                        run `updraft keys renew`\n\n1 thing needs somebody"
        );
        let coloured = report.text(Style { is_terminal: true, is_coloured: true });
        assert!(coloured.contains("\u{1b}[33mwarning \u{1b}[0m"), "{coloured:?}");
    }

    #[test]
    fn a_long_command_gets_all_the_room_that_there_is() {
        let command = format!("`updraft keys move --data /{}`", "x".repeat(50));
        let line = Line::new(Level::Notice, "keys", "here").remedy(format!("run {command} there"));
        let text = report(vec![line]).text(plain(true));
        let rows: Vec<&str> = text.lines().skip(2).take(3).collect();
        let indent = " ".repeat(INDENT);
        assert_eq!(rows, [format!("{indent}run"), format!("    {command}"), format!("{indent}there")]);
    }

    #[test]
    fn a_server_does_not_drive_the_terminal() {
        for is_coloured in [false, true] {
            let evil = Line::new(Level::Ok, "\u{1b}[2J", "\u{1b}[31mx").remedy("y\u{7}");
            let text = report(vec![evil]).text(Style { is_terminal: true, is_coloured });
            assert!(
                !text.contains("\u{1b}[2J") && !text.contains("\u{1b}[31mx") && !text.contains('\u{7}'),
                "{text:?}"
            );
        }
    }

    #[test]
    fn a_command_stays_in_one_piece() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("do `a b c` now", 6), ["do", "`a b c`", "now"]);
        assert_eq!(wrap("", 5), [""]);
        assert_eq!(wrap("incomprehensible", 5), ["incomprehensible"]);
    }
}
