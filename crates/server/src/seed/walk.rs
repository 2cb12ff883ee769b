//! Finding a file in a tree by its path, through the symlinks of that tree and never out of it.

use updraft_core::digest::Digest;
use updraft_core::path::RelPath;
use updraft_core::tree::{Kind, Tree};

/// Most symlinks on the way to one file: what Linux allows.
const LINKS_MAX: usize = 40;

/// The file at `path`: where it really lies, and what it contains. `None` for what is not a file, or not there.
pub(super) fn resolve(tree: &Tree, path: &str) -> Option<(RelPath, Digest)> {
    let mut links = 0;
    // What is still to be walked, the next component last, and where that has led so far.
    let mut ahead: Vec<String> = path.split('/').rev().map(str::to_owned).collect();
    let mut here: Vec<String> = Vec::new();
    while let Some(component) = ahead.pop() {
        match component.as_str() {
            "." | "" if links > 0 => continue,
            ".." if links > 0 => {
                here.pop()?;
                continue;
            }
            _ => here.push(component),
        }
        let at: RelPath = here.join("/").parse().ok()?;
        match tree.get(&at)? {
            Kind::Dir { .. } => {}
            Kind::File { digest, .. } => return ahead.is_empty().then_some((at, *digest)),
            Kind::Symlink { target } => {
                links += 1;
                if links > LINKS_MAX {
                    return None;
                }
                here.pop();
                ahead.extend(target.split('/').rev().map(str::to_owned));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn tree() -> Tree {
        let file = |content: &[u8]| Kind::File { mode: 0o644, size: content.len() as u64, digest: Digest::of(content) };
        let dir = || Kind::Dir { mode: 0o755 };
        let link = |target: &str| Kind::Symlink { target: target.to_owned() };
        let entries = [
            ("a", file(b"a")),
            ("d", dir()),
            ("d/e", dir()),
            ("d/e/f", file(b"f")),
            ("d/up", link("../a")),
            ("current", link("d/e")),
            ("again", link("current/./f")),
            ("loop", link("loop")),
            ("dead", link("nowhere")),
        ];
        let entries: BTreeMap<_, _> = entries.into_iter().map(|(path, kind)| (path.parse().unwrap(), kind)).collect();
        Tree::new(entries).unwrap()
    }

    #[test]
    fn files_nested_and_behind_links() {
        let found = |path: &str| resolve(&tree(), path).map(|(at, digest)| (at.as_str().to_owned(), digest));
        let a = Some(("a".to_owned(), Digest::of(b"a")));
        let f = Some(("d/e/f".to_owned(), Digest::of(b"f")));
        assert_eq!(found("a"), a);
        assert_eq!(found("d/up"), a);
        assert_eq!(found("d/e/f"), f);
        assert_eq!(found("current/f"), f);
        assert_eq!(found("again"), f);
    }

    #[test]
    fn nothing_else() {
        for path in
            ["", "d", "d/e", "current", "loop", "dead", "a/", "a/b", "./a", "d/../a", "/a", "A", "d//e/f", "../a"]
        {
            assert_eq!(resolve(&tree(), path), None, "{path}");
        }
    }
}
