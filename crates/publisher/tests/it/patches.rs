//! Patches that a publisher makes: from what the server has, to what lies here.

use updraft_core::api::{Patch, PatchState, Patches};
use updraft_core::digest::Digest;
use updraft_core::layout;
use updraft_publisher::publish::Outcome;
use updraft_testkit::{TreeFixture, noise};

use crate::server::{Fault, Server};
use crate::{Desk, app, wanted};

fn build(version: &str) -> TreeFixture {
    let program = [noise(7, 60_000), format!("program {version}").into_bytes(), noise(8, 60_000)].concat();
    TreeFixture::of(&[("text", &"compresses well ".repeat(1_000))]).with("bin/app", program)
}

fn state(from: Digest, to: Digest, state: PatchState) -> Patch {
    Patch { from, from_release: None, to, state }
}

/// A server with two releases, which wants the patch between them.
fn scene() -> (Server, Desk, Digest, Digest) {
    let server = Server::new("demo");
    let desk = Desk::with_app(&server);
    for version in ["1.0.0", "1.1.0"] {
        desk.publish(&server, &build(version), &wanted(version, "stable")).unwrap();
    }
    let (from, to) = (build("1.0.0").tree().digest(), build("1.1.0").tree().digest());
    server.want(Patches { patches: vec![state(from, to, PatchState::Waiting)] });
    (server, desk, from, to)
}

#[test]
fn what_the_server_lacks_is_made_and_handed_in() {
    let (server, desk, from, to) = scene();
    let (dir, tree) = desk.lay(&build("1.1.0"));
    let patched = desk.publisher(&server).make_patches(&app(), &dir, &tree, u64::MAX).unwrap();
    let patches = server.patches();
    let bytes = &patches[&(from, to)];
    let [one] = patched.as_slice() else { panic!("{patched:?}") };
    let Outcome::Sent { bytes: len, instead } = one.outcome else { panic!("{one:?}") };
    assert_eq!((one.from, len), (from, bytes.len() as u64));
    assert!(len < 1_000 && instead > 120_000, "{len} instead of {instead}");
    let header = updraft_delta::Patch::open(bytes).unwrap().header().clone();
    assert_eq!((header.from, header.to), (*from.as_bytes(), *to.as_bytes()));
}

#[test]
fn what_is_there_or_leads_elsewhere_is_left_alone() {
    let (server, desk, from, to) = scene();
    let (dir, tree) = desk.lay(&build("1.1.0"));
    let made = PatchState::Made { bytes: 1, instead: 2 };
    let not_smaller = PatchState::NotSmaller { bytes: 2, instead: 1 };
    let patches = vec![state(from, to, made), state(to, from, PatchState::Waiting), state(from, to, not_smaller)];
    server.want(Patches { patches });
    assert_eq!(desk.publisher(&server).make_patches(&app(), &dir, &tree, u64::MAX).unwrap(), []);
    assert!(server.patches().is_empty());
}

#[test]
fn one_that_cannot_be_made_keeps_no_other_from_it() {
    let (server, desk, from, to) = scene();
    let unknown = Digest::of(b"a tree that was collected");
    let failed = PatchState::Failed { reason: "too little memory".to_owned(), tries: 3, again: None };
    server.want(Patches { patches: vec![state(unknown, to, PatchState::Waiting), state(from, to, failed)] });
    let (dir, tree) = desk.lay(&build("1.1.0"));
    let patched = desk.publisher(&server).make_patches(&app(), &dir, &tree, u64::MAX).unwrap();
    let outcomes: Vec<_> = patched.into_iter().map(|patched| patched.outcome).collect();
    assert!(matches!(&outcomes[0], Outcome::Failed(reason) if reason.contains("not on the server")), "{outcomes:?}");
    assert!(
        matches!(&outcomes[1], Outcome::Sent { .. }),
        "what the server could not do, this machine can: {outcomes:?}"
    );
}

#[test]
fn a_blob_that_is_gone_is_named() {
    let (server, desk, ..) = scene();
    server.collect(Digest::of(build("1.0.0").content("bin/app")));
    let (dir, tree) = desk.lay(&build("1.1.0"));
    let patched = desk.publisher(&server).make_patches(&app(), &dir, &tree, u64::MAX).unwrap();
    let Outcome::Failed(reason) = &patched[0].outcome else { panic!("{patched:?}") };
    assert!(reason.contains("file 'bin/app'") && reason.contains("not on the server"), "{reason}");
}

#[test]
fn a_line_that_breaks_is_said_to_be_one() {
    let (server, desk, ..) = scene();
    let (dir, tree) = desk.lay(&build("1.1.0"));
    let calls = server.calls();
    desk.publisher(&server).make_patches(&app(), &dir, &tree, u64::MAX).unwrap();
    let calls = server.calls() - calls;
    assert!(calls >= 5, "asks, reads two trees and a blob, hands in: {calls}");
    for nth in 0..calls {
        let (server, desk, ..) = scene();
        let (dir, tree) = desk.lay(&build("1.1.0"));
        server.fail_at(nth, Fault::Before);
        match desk.publisher(&server).make_patches(&app(), &dir, &tree, u64::MAX) {
            Err(_) => assert!(nth < 2, "only where nothing was begun: {nth}"),
            Ok(patched) => assert!(matches!(patched[0].outcome, Outcome::Failed(_)), "{nth}: {patched:?}"),
        }
        assert!(server.patches().is_empty(), "{nth}");
    }
}

#[test]
fn what_takes_too_much_memory_or_is_too_many_is_left_out() {
    let (server, desk, from, to) = scene();
    let (dir, tree) = desk.lay(&build("1.1.0"));
    server.want(Patches { patches: vec![state(from, to, PatchState::Waiting); 20] });
    let patched = desk.publisher(&server).make_patches(&app(), &dir, &tree, 100 << 20).unwrap();
    assert_eq!(patched.len(), 16, "a server may wish for much");
    let left_out = |outcome: &Outcome| matches!(outcome, Outcome::LeftOut(reason) if reason.contains("memory"));
    assert!(patched.iter().all(|patched| left_out(&patched.outcome)), "{patched:?}");
    assert!(server.patches().is_empty());
}

#[test]
fn a_tree_that_the_server_made_up_is_found_out() {
    let (server, desk, from, to) = scene();
    let other = updraft_core::tree::stored::pack(&build("9.9.9").tree(), &Default::default());
    server.replace(&layout::tree(&app(), from), other);
    let (dir, tree) = desk.lay(&build("1.1.0"));
    let patched = desk.publisher(&server).make_patches(&app(), &dir, &tree, u64::MAX).unwrap();
    let Outcome::Failed(reason) = &patched[0].outcome else { panic!("{patched:?}") };
    assert!(reason.contains("digest"), "{reason}");
    assert!(!server.patches().contains_key(&(from, to)));
}
