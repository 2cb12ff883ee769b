//! A list that is no longer than a person reads.

use std::fmt;

/// The first lines of a list, and how many more there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Few {
    shown: Vec<String>,
    more: usize,
}

impl Few {
    /// How many lines are kept.
    pub const SHOWN_MAX: usize = 20;

    /// Adds a line, or counts it.
    pub fn push(&mut self, line: String) {
        if self.shown.len() < Self::SHOWN_MAX { self.shown.push(line) } else { self.more += 1 }
    }

    /// How many were added.
    pub fn len(&self) -> usize {
        self.shown.len() + self.more
    }

    /// Whether none was.
    pub fn is_empty(&self) -> bool {
        self.shown.is_empty()
    }

    /// The lines, with a last one that says how many more there are.
    pub fn into_lines(self) -> Vec<String> {
        let more = (self.more > 0).then(|| format!("and {} more", self.more));
        self.shown.into_iter().chain(more).collect()
    }
}

impl Extend<String> for Few {
    fn extend<I: IntoIterator<Item = String>>(&mut self, lines: I) {
        lines.into_iter().for_each(|line| self.push(line));
    }
}

impl FromIterator<String> for Few {
    fn from_iter<I: IntoIterator<Item = String>>(lines: I) -> Self {
        let mut few = Self::default();
        few.extend(lines);
        few
    }
}

/// Each line on a line of its own, behind a line break.
impl fmt::Display for Few {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.clone().into_lines() {
            write!(f, "\n  {line}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_is_cut_and_says_so() {
        let few: Few = (0..25).map(|n| n.to_string()).collect();
        assert_eq!(few.len(), 25);
        let text = few.to_string();
        assert_eq!(text.lines().count(), 1 + Few::SHOWN_MAX + 1);
        assert!(text.starts_with("\n  0\n  1\n") && text.ends_with("\n  19\n  and 5 more"), "{text}");
    }
}
