//! `updraft patch`: between files, between directories, and what it says when it cannot.

use std::fs;
use std::path::Path;

use crate::support::{Said, assert_same_tree, run, updraft, write_tree};

fn scene() -> tempfile::TempDir {
    let scene = tempfile::tempdir().unwrap();
    let text = |n: u32| (0..4_000).map(|i| format!("line {} of {n}\n", i * n)).collect::<String>();
    let (one, two) = (text(1), text(2));
    let more = two.clone() + "one line more\n";
    write_tree(&scene.path().join("old"), &[("a.txt", &one), ("sub/b.txt", &two), ("gone", "x")]);
    write_tree(&scene.path().join("new"), &[("renamed.txt", &one), ("sub/b.txt", &more), ("empty", "")]);
    scene
}

fn at(dir: &Path, args: &str) -> Said {
    run(updraft().current_dir(dir).args(args.split_whitespace()))
}

#[test]
fn between_directories() {
    let scene = scene();
    let dir = scene.path();
    let made = at(dir, "patch make old new -o p --json").ok();
    let report = made.json();
    // A line more, a rename, an empty file: a few hundred bytes.
    assert!(report["patch"].as_u64().unwrap() < 500, "{report}");
    assert_eq!(report["patch"], fs::metadata(dir.join("p")).unwrap().len());
    at(dir, "patch apply old p -o out").ok();
    assert_same_tree(&dir.join("new"), &dir.join("out"));
    let explained = at(dir, "patch explain p").ok().out;
    assert!(explained.contains("inserted bytes") && explained.contains("header"), "{explained}");
    let json = at(dir, "patch explain p --json").ok().json();
    let groups = json["groups"].as_array().unwrap().iter();
    let streams = groups.flat_map(|group| group["streams"].as_array().unwrap());
    let streams = streams.map(|stream| stream["coded"].as_u64().unwrap());
    assert_eq!(json["header"].as_u64().unwrap() + streams.sum::<u64>(), json["bytes"].as_u64().unwrap());
}

#[test]
fn between_files() {
    let scene = scene();
    let dir = scene.path();
    at(dir, "patch make old/sub/b.txt new/sub/b.txt -o p").ok();
    at(dir, "patch apply old/sub/b.txt p -o b").ok();
    assert_eq!(fs::read(dir.join("b")).unwrap(), fs::read(dir.join("new/sub/b.txt")).unwrap());
}

#[test]
fn what_cannot_be_done_is_said_and_nothing_is_written() {
    let scene = scene();
    let dir = scene.path();
    at(dir, "patch make old new -o p").ok();
    at(dir, "patch make old/a.txt new/renamed.txt -o q").ok();
    fs::write(dir.join("cut"), &fs::read(dir.join("p")).unwrap()[..60]).unwrap();
    fs::write(dir.join("none"), "hello, this is not a patch at all").unwrap();
    let mut flipped = fs::read(dir.join("p")).unwrap();
    *flipped.last_mut().unwrap() ^= 1;
    fs::write(dir.join("flipped"), flipped).unwrap();
    for (args, says) in [
        ("patch make old new -o p", "is there already"),
        ("patch make old new/renamed.txt -o x", "name two of a kind"),
        ("patch make old nowhere -o x", "nowhere"),
        ("patch apply new p -o x", "was made from"),
        ("patch apply old q -o x", "was made from"),
        ("patch apply old cut -o x", "not a patch that can be used"),
        ("patch apply old none -o x", "does not begin as patches do"),
        ("patch apply old flipped -o x", ""),
        ("patch explain cut", "not a patch that can be used"),
    ] {
        at(dir, args).fails(1, says);
        assert!(!dir.join("x").exists(), "{args}");
    }
    let left: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 7, "nothing is left over: {left:?}");
}

#[test]
fn a_patch_that_says_much_makes_nothing() {
    use updraft_core::digest::Digest;
    use updraft_delta::header::{Group, Method};
    use updraft_delta::stream::{Coder, Kind, Stream};
    use updraft_delta::{Base, Header, Output, varint};

    let scene = scene();
    let dir = scene.path();
    let old = fs::read(dir.join("old/a.txt")).unwrap();
    let (base, huge) = (old.len() as u64, 1 << 43);
    // It copies the file over and over: a few bytes for each round, and fewer when they are compressed.
    let header = Header {
        from: *Digest::of(&old).as_bytes(),
        to: [0; 32],
        bases: vec![Base { index: 0, len: base, image: None }],
        groups: Vec::new(),
        outputs: vec![Output { group: 0, len: huge, image: None }],
    };
    let mut seek = Vec::new();
    varint::write(&mut seek, 0);
    let coded = [(Kind::InsertLen, seek.clone()), (Kind::CopyLen, vec![base as u8 & 0x7f]), (Kind::Seek, seek)];
    let stream = |(kind, bytes): &(Kind, Vec<u8>)| {
        let len = bytes.len() as u64;
        Stream { kind: *kind, coder: Coder::Raw, len, coded: len }
    };
    let streams = coded.iter().map(stream).collect();
    let groups = vec![Group { method: Method::Same, streams }];
    let mut patch = Header { groups, ..header }.plain();
    coded.iter().for_each(|(_, bytes)| patch.extend_from_slice(bytes));
    fs::write(dir.join("p"), patch).unwrap();
    at(dir, "patch apply old/a.txt p -o x").fails(1, "are free");
    assert!(!dir.join("x").exists());
}

#[cfg(unix)]
#[test]
fn what_is_made_may_be_read_by_whom_the_old_one_could() {
    use std::os::unix::fs::PermissionsExt;
    let scene = scene();
    let dir = scene.path();
    let mode = |path: &str| fs::metadata(dir.join(path)).unwrap().permissions().mode() & 0o777;
    fs::set_permissions(dir.join("old/a.txt"), fs::Permissions::from_mode(0o754)).unwrap();
    at(dir, "patch make old/a.txt new/sub/b.txt -o p").ok();
    at(dir, "patch apply old/a.txt p -o x").ok();
    assert_eq!(mode("x"), 0o754);
    at(dir, "patch make old new -o q").ok();
    at(dir, "patch apply old q -o out").ok();
    assert_eq!(mode("out"), mode("new"));
}

#[cfg(unix)]
#[test]
fn more_files_than_a_process_may_open() {
    let scene = tempfile::tempdir().unwrap();
    let dir = scene.path();
    for side in ["old", "new"] {
        fs::create_dir(dir.join(side)).unwrap();
        for n in 0..400 {
            let text = format!("file {n}, {}", "the same words again and again ".repeat(8));
            let tail = if side == "new" { format!("and {}", n * 7) } else { n.to_string() };
            fs::write(dir.join(side).join(n.to_string()), text + &tail).unwrap();
        }
    }
    at(dir, "patch make old new -o p").ok();
    let program = updraft();
    let program = program.get_program().to_str().unwrap();
    let limited = format!("ulimit -n 64 && exec '{program}' patch apply old p -o out");
    run(std::process::Command::new("sh").current_dir(dir).args(["-c", &limited])).ok();
    assert_same_tree(&dir.join("new"), &dir.join("out"));
}
