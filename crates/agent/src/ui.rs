//! What people see: sizes, savings, progress bars and exit codes, the same in both tools.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// How a command ended (DESIGN 8; `updraft help exit-codes`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done, or nothing to do.
    Done = 0,
    /// Something went wrong; the message says what.
    Error = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// `check`: there is an update.
    Available = 10,
    /// The server's metadata is too old to be believed; what is installed keeps running.
    Stale = 20,
    /// The server cannot be reached.
    Unreachable = 30,
    /// Something is not what its publisher signed.
    Verification = 40,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// The exit codes, for the end of `--help`.
pub const EXIT_CODES: &str = "Exit codes: 0 done or current, 1 error, 2 usage, 10 an update is available, \
20 metadata is stale, 30 unreachable, 40 verification failed.";

/// `bytes` as people say it: `987 B`, `2.0 MB`, `28 MB`; powers of 1,000, as disks and networks are sold.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1_000.0;
        unit += 1;
    }
    match unit {
        0 => format!("{bytes} B"),
        _ if value < 9.95 => format!("{value:.1} {}", UNITS[unit]),
        _ => format!("{value:.0} {}", UNITS[unit]),
    }
}

/// What an update costs beside a full download: `2.0 MB instead of 28 MB, 93% less`.
pub fn saving(bytes: u64, full: u64) -> String {
    if bytes >= full {
        return size(bytes);
    }
    let percent = (full - bytes) as f64 * 100.0 / full as f64;
    let percent =
        if percent > 99.0 && bytes > 0 { format!("{:.1}", percent.min(99.9)) } else { format!("{percent:.0}") };
    format!("{} instead of {}, {percent}% less", size(bytes), size(full))
}

/// `1 file`, `2 files`: how many there are of what `noun` names.
pub fn count(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// Text that came from elsewhere, fit for a terminal: control characters could move the cursor or hide a line.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c }).collect()
}

/// Writes a line to standard output; a reader that went away (`| head`) is no error.
pub fn say(line: impl std::fmt::Display) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// Writes a line to standard error.
pub fn warn(line: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Writes `value` as JSON to standard output.
///
/// # Errors
/// When the value has no JSON form, which only a map with odd keys has not.
pub fn say_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    say(serde_json::to_string_pretty(value)?);
    Ok(())
}

/// A bar for bytes on a terminal; silent elsewhere.
pub fn bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(0);
    let style = ProgressStyle::with_template("{msg:14} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}")
        .expect("the template is well formed");
    bar.set_style(style);
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_as_people_say_them() {
        let cases = [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (1_999_000, "2.0 MB"),
            (27_999_000, "28 MB"),
            (999_600, "1.0 MB"),
            (172_350_564, "172 MB"),
            (u64::MAX, "18447 PB"),
        ];
        for (bytes, text) in cases {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn savings() {
        assert_eq!(saving(2_000_000, 28_000_000), "2.0 MB instead of 28 MB, 93% less");
        assert_eq!(saving(0, 28_000_000), "0 B instead of 28 MB, 100% less");
        assert_eq!(saving(1, 28_000_000), "1 B instead of 28 MB, 99.9% less");
        assert_eq!(saving(5, 5), "5 B");
        assert_eq!(saving(0, 0), "0 B");
    }

    #[test]
    fn a_terminal_is_not_driven_by_strangers() {
        assert_eq!(printable("a\u{1b}[2Jb\n"), "a\u{fffd}[2Jb\n");
    }
}
