//! Writes a store of today's formats into the directory that it is given: how `testdata/v1` was made, and how the store of
//! a next format will be. What was released is never written again; `tests/it/golden.rs` only reads it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use updraft_core::release::Notes;
use updraft_core::trust::Role;
use updraft_testkit::{SimRepo, TreeFixture, clock, keys, noise};

fn main() {
    let dir: PathBuf = std::env::args_os().nth(1).expect("usage: golden DIRECTORY").into();
    let files = TreeFixture::of(&[
        ("bin/app*", "#!/bin/sh\necho one\n"),
        ("empty", ""),
        ("empty dir/", ""),
        ("latest@", "bin/app"),
        ("share/r\u{e9}sum\u{e9}/\u{540d}\u{524d}.txt", "names from everywhere\n"),
    ]);
    let mut repo = SimRepo::new("demo");
    let first = repo.publish("1.0.0", "any", &files);
    repo.promote("stable", &first);
    repo.now = clock::hours(2);
    repo.rotate(&[Role::Timestamp], &[keys::online(), keys::named("spare")], 2);
    let files = files
        .with("bin/app*", "#!/bin/sh\necho two\n")
        .with("data/compressible", "0123456789".repeat(1_000))
        .with("data/noise", noise(1, 1_000))
        .with_mode("data/private", b"for the owner only", 0o600);
    let second = repo.publish_with("1.1.0-beta.2+build.7", "linux-x86_64", &files, |release| {
        let notes = [("en", "**new**: more data"), ("zh-CN", "**\u{65b0}**: \u{66f4}\u{591a}\u{6570}\u{636e}")];
        release.notes = Notes::Locales(BTreeMap::from(notes.map(|(locale, text)| (locale.into(), text.into()))));
        release.terms.channels = Some(vec!["beta".parse().expect("a name")]);
    });
    repo.promote("beta", &first);
    repo.promote("beta", &second);
    repo.write_to(&dir);
}
