//! Any release to any other, whatever people did in between, both ways.

use proptest::prelude::*;

use super::*;

/// A tree of a few names, so that trees have much in common and much in conflict.
fn any_tree() -> impl Strategy<Value = TreeFixture> {
    let name = "[ab](/[ab]){0,2}";
    let what = prop_oneof![
        5 => ("[xyz]{0,2}", prop_oneof![Just(0o644u32), Just(0o755), Just(0o444)]).prop_map(|(c, m)| What::File(c, m)),
        1 => Just(What::Dir),
        1 => "[ab]".prop_map(What::Link),
    ];
    proptest::collection::vec((name, what), 0..8).prop_map(|entries| {
        let mut tree = TreeFixture::default();
        for (path, what) in entries {
            let taken = tree.tree();
            let path: RelPath = path.parse().unwrap();
            let above = updraft_core::tree::parents([&path]);
            let free = taken.get(&path).is_none()
                && above.iter().all(|above| matches!(taken.get(above), None | Some(Kind::Dir { .. })));
            if free {
                tree = match what {
                    What::File(content, mode) => tree.with_mode(path.as_str(), content.as_bytes(), mode),
                    What::Dir => tree.with(&format!("{path}/"), ""),
                    What::Link(target) => tree.with(&format!("{path}@"), target),
                };
            }
        }
        tree
    })
}

#[derive(Debug, Clone)]
enum What {
    File(String, u32),
    Dir,
    Link(String),
}

/// What somebody does in the directory.
#[derive(Debug, Clone)]
enum Act {
    Write(String, String),
    Delete(String),
    Link(String),
    Chmod(String),
}

fn any_acts() -> impl Strategy<Value = Vec<Act>> {
    let path = "[abc](/[abc]){0,2}";
    let act = prop_oneof![
        4 => (path, "[pqr]{1,4}").prop_map(|(path, content)| Act::Write(path, content)),
        2 => path.prop_map(Act::Delete),
        1 => path.prop_map(Act::Link),
        1 => path.prop_map(Act::Chmod),
    ];
    proptest::collection::vec(act, 0..6)
}

/// Does them; what cannot be done is not done.
fn act(device: &Device, acts: &[Act]) {
    for act in acts {
        match act {
            Act::Write(path, content) => {
                let at = device.path(path);
                let inside =
                    at.parent().unwrap().canonicalize().map(|p| p.starts_with(device.dir().canonicalize().unwrap()));
                if fs::create_dir_all(at.parent().unwrap()).is_ok() && inside.unwrap_or(true) && !at.is_symlink() {
                    // Half of them as a good editor does, half in place.
                    if content.len() % 2 == 0 {
                        let _ = fs::remove_file(&at);
                    }
                    let _ = fs::write(&at, content);
                }
            }
            Act::Delete(path) => {
                let at = device.path(path);
                let _ = fs::remove_file(&at).or_else(|_| fs::remove_dir_all(&at));
            }
            Act::Link(path) => {
                let _ = std::os::unix::fs::symlink("nowhere", device.path(path));
            }
            Act::Chmod(path) => {
                let at = device.path(path);
                if at.symlink_metadata().is_ok_and(|meta| meta.is_file()) {
                    fs::set_permissions(&at, fs::Permissions::from_mode(0o755)).unwrap();
                }
            }
        }
    }
}

/// Contents that people wrote, wherever they are under `dirs`: nothing of theirs may ever be lost.
fn theirs(dirs: &[PathBuf]) -> std::collections::BTreeSet<Vec<u8>> {
    let files = dirs.iter().flat_map(|dir| snapshot(dir).into_values());
    let content = |entry| match entry {
        Entry::File(_, content) if content.iter().any(|b| (b'p'..=b'r').contains(b)) => Some(content),
        _ => None,
    };
    files.filter_map(content).collect()
}

/// The managed part is exactly `tree`, but for `except`.
fn assert_managed(device: &Device, tree: &TreeFixture, others: &[&TreeFixture], except: &[PathBuf]) {
    let found = snapshot(&device.dir());
    let expected = snapshot_of(tree);
    for (path, entry) in &expected {
        if !except.contains(path) {
            assert_eq!(found.get(path), Some(entry), "{}", path.display());
        }
    }
    // What the others have and this one has not, with the content that they have, is gone.
    for (path, entry) in others.iter().flat_map(|other| snapshot_of(other)) {
        if !expected.contains_key(&path) && !matches!(entry, Entry::Dir(_)) {
            assert_ne!(found.get(&path), Some(&entry), "{} is left over", path.display());
        }
    }
}

fn story(in_place: bool, one: &TreeFixture, two: &TreeFixture, acts: [&[Act]; 2], keep_edited: bool) {
    let mut device = Device::with(in_place, "1.0", one);
    let options = Options { keep_edited, ..Options::default() };
    let places = |device: &Device| vec![device.dir(), device.folder("backup")];

    act(&device, acts[0]);
    let before = theirs(&places(&device));
    let applied = device.apply("2.0", two, &options).unwrap();
    let others = if keep_edited { vec![] } else { vec![one] };
    assert_managed(&device, two, &others, &applied.kept);
    assert!(theirs(&places(&device)).is_superset(&before), "something of theirs is lost: {before:?}");
    device.assert_at_rest();

    act(&device, acts[1]);
    let before = theirs(&places(&device));
    let back = rollback(device.home(), &options).unwrap();
    let except: Vec<PathBuf> = back.damaged.iter().chain(&back.kept).cloned().collect();
    assert_managed(&device, one, &[], &except);
    assert!(theirs(&places(&device)).is_superset(&before), "something of theirs is lost: {before:?}");
    device.assert_at_rest();
    if acts[0].is_empty() && acts[1].is_empty() {
        assert!(back.damaged.is_empty() && back.edited.is_empty() && applied.backup.is_none());
        device.assert_holds(one, &[]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn any_release_to_any_other_and_back(one in any_tree(), two in any_tree()) {
        for in_place in WAYS {
            story(in_place, &one, &two, [&[], &[]], false);
        }
    }

    #[test]
    fn whatever_people_do_in_between(
        one in any_tree(), two in any_tree(), first in any_acts(), second in any_acts(), keep_edited: bool,
    ) {
        for in_place in WAYS {
            story(in_place, &one, &two, [&first, &second], keep_edited);
        }
    }
}
