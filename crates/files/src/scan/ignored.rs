//! What a publisher does not release: `.updraftignore`, in the syntax of `.gitignore`.
//!
//! One file, at the top of the directory; those further down mean nothing.

use std::path::Path;

use ::ignore::gitignore::{Gitignore, GitignoreBuilder};

use super::Error;
use crate::dir::Dir;
use crate::whole::read_bounded;

/// The name of the file that says what to ignore.
pub const IGNORE_FILE: &str = ".updraftignore";

/// Largest such file, in bytes.
const IGNORE_LEN_MAX: u64 = 1 << 20;

/// Patterns of what to ignore.
#[derive(Debug, Clone)]
pub struct Ignore {
    patterns: Gitignore,
}

impl Ignore {
    /// The patterns in `dir`, or `None` when it has no [`IGNORE_FILE`].
    ///
    /// # Errors
    /// When the file cannot be read, has more than 1 MiB or a line that is no pattern.
    pub fn read(dir: &Dir) -> Result<Option<Self>, Error> {
        let Some(bytes) = read_bounded(dir, Path::new(IGNORE_FILE), IGNORE_LEN_MAX)? else { return Ok(None) };
        let text = String::from_utf8(bytes).map_err(|error| Error::Ignore {
            line: error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|b| **b == b'\n').count() + 1,
            reason: "it is not UTF-8".to_owned(),
        })?;
        Self::parse(&text).map(Some)
    }

    /// The patterns in `text`, one on each line.
    ///
    /// # Errors
    /// When a line is no pattern.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut builder = GitignoreBuilder::new("");
        for (line, pattern) in (1..).zip(text.trim_start_matches('\u{feff}').lines()) {
            builder.add_line(None, pattern).map_err(|error| Error::Ignore { line, reason: error.to_string() })?;
        }
        let built = builder.build().map_err(|error| Error::Ignore { line: 1, reason: error.to_string() })?;
        Ok(Self { patterns: built })
    }

    /// Whether `path`, relative to the directory, is ignored. What lies in an ignored directory is not asked for.
    pub fn matches(&self, path: &Path, is_dir: bool) -> bool {
        self.patterns.matched(path, is_dir).is_ignore()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_syntax_of_gitignore() {
        let text = "# a comment\n*.log\n!keep.log\n/top\nbuild/\ndocs/*.tmp\r\n**/deep/x\n";
        let ignore = Ignore::parse(text).unwrap();
        let matches = |path: &str, is_dir| ignore.matches(Path::new(path), is_dir);
        for path in ["a.log", "sub/a.log", "top", "docs/a.tmp", "deep/x", "a/b/deep/x"] {
            assert!(matches(path, false), "{path}");
        }
        for path in ["keep.log", "sub/top", "build", "docs/sub/a.tmp", "a.txt"] {
            assert!(!matches(path, false), "{path}");
        }
        assert!(matches("build", true) && matches("sub/build", true));
    }

    #[test]
    fn a_line_that_is_no_pattern_is_named() {
        let error = Ignore::parse("ok\nbad{\n").unwrap_err();
        assert!(matches!(error, Error::Ignore { line: 2, .. }), "{error}");
    }
}
