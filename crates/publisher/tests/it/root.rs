//! Changes of keys: alone, in company, interrupted, and after the server's keys were lost.

use std::time::Duration;

use updraft_core::Timestamp;
use updraft_core::key::PublicKey;
use updraft_core::signed::Envelope;
use updraft_core::trust::Role;
use updraft_publisher::create::{RootKeys, create};
use updraft_publisher::keys::{KeyName, Keystore, Known, Passphrases, Ring, Unlocked};
use updraft_publisher::root::{
    Ceremony, Change, Done, Error, Online, Outcome, Pinned, Proposal, ProposalError, RoleChange, Signers, Standing,
    Wish,
};
use updraft_testkit::{TreeFixture, clock, keys};

use crate::server::{Fault, Server};
use crate::{Desk, app, wanted};

fn ceremony<'a>(server: &'a Server, desk: &'a Desk) -> Ceremony<'a> {
    Ceremony { remote: server, keys: &desk.keys, passphrases: &Unlocked, first_pause: Duration::ZERO, arrived: &|_| () }
}

fn build() -> TreeFixture {
    TreeFixture::of(&[("bin/app", "an app"), ("data", "some data")])
}

fn both() -> Wish {
    Wish::Rotate(vec![KeyName::Root, KeyName::Targets])
}

#[track_caller]
fn done(outcome: Result<Outcome, Error>) -> Done {
    match outcome.unwrap() {
        Outcome::Done(done) => done,
        Outcome::Wanting(proposal) => panic!("signatures are lacking: {:?}", proposal.missing_signers()),
    }
}

#[track_caller]
fn wanting(outcome: Result<Outcome, Error>) -> Proposal {
    match outcome.unwrap() {
        Outcome::Done(done) => panic!("it was done: {done:?}"),
        Outcome::Wanting(proposal) => *proposal,
    }
}

fn signers(server: &Server, role: &Role) -> Signers {
    Signers::of(&server.root(), role)
}

fn files(desk: &Desk) -> Vec<String> {
    let names = std::fs::read_dir(desk.keys.dir()).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
    names.retain(|name| name.ends_with(".pem"));
    names.sort();
    names
}

#[test]
fn keys_rotate_and_the_new_ones_publish() {
    let server = Server::new("demo");
    let desk = Desk::with_app(&server);
    desk.publish(&server, &build(), &wanted("1.0", "stable")).unwrap();
    let (root, targets) = (signers(&server, &Role::Root), signers(&server, &Role::Targets));
    let rotated = done(ceremony(&server, &desk).carry_out(&app(), &both(), clock::now()));
    assert_eq!((rotated.version, rotated.earlier), (2, false));
    let words = rotated.lines.join("\n");
    for part in ["root: version 2 follows 1", "may not sign any more", "targets: version 3 follows 2, with the same 1"]
    {
        assert!(words.contains(part), "{part} is not in:\n{words}");
    }
    assert!(!signers(&server, &Role::Root).has(&root.keys[0]));
    assert!(!signers(&server, &Role::Targets).has(&targets.keys[0]));
    // Nothing was thrown away: an old key may still be needed to show that it is the old one.
    assert_eq!(files(&desk).len(), 4, "{:?}", files(&desk));

    desk.publish(&server, &build().with("more", "x"), &wanted("1.1", "stable")).unwrap();
    assert_eq!(server.current("stable").as_deref(), Some("1.1"));
    // Whoever has the old keys alone publishes no more.
    let colleague = desk.colleague();
    let error = colleague.publish(&server, &build(), &wanted("1.2", "stable")).unwrap_err();
    assert!(error.to_string().contains("0 of the 1 keys that must sign releases"), "{error}");
    // And again, from the new ones.
    assert_eq!(done(ceremony(&server, &desk).carry_out(&app(), &both(), clock::now())).version, 3);
    assert_eq!(files(&desk).len(), 6);
}

/// The plug is pulled during every call, before and after it had its effect: whoever asks again gets new keys, with the ones
/// that were made first if no root has them yet.
#[test]
fn an_interrupted_rotation_is_finished_by_asking_again() {
    let calls = {
        let server = Server::new("demo");
        let desk = Desk::with_app(&server);
        let before = server.calls();
        done(ceremony(&server, &desk).carry_out(&app(), &both(), clock::now()));
        server.calls() - before
    };
    assert!(calls >= 6, "roots, head, targets, rotate, and a look: {calls}");
    for nth in 0..calls {
        for fault in [Fault::Before, Fault::After] {
            let server = Server::new("demo");
            let desk = Desk::with_app(&server);
            server.fail_at(nth, fault);
            ceremony(&server, &desk).carry_out(&app(), &both(), clock::now()).unwrap_err();
            server.heal();
            let arrived = server.root().version;
            let finished = done(ceremony(&server, &desk).carry_out(&app(), &both(), clock::hours(1)));
            let next = arrived + 1;
            assert_eq!((finished.version, server.root().version), (next, next), "call {nth}, {fault:?}");
            assert_eq!(files(&desk).len() as u64, 2 * next, "call {nth}, {fault:?}: {:?}", files(&desk));
            assert!(!desk.keys.dir().join("rotation.json").exists());
            desk.publish(&server, &build(), &wanted("1.0", "stable")).unwrap();
        }
    }
}

/// A server and a desk whose rotation arrived, and whose answer was lost.
fn rotated_unheard() -> (Server, Desk) {
    for nth in 0.. {
        let server = Server::new("demo");
        let desk = Desk::with_app(&server);
        server.fail_at(nth, Fault::After);
        ceremony(&server, &desk).carry_out(&app(), &both(), clock::now()).unwrap_err();
        server.heal();
        if server.root().version == 2 {
            return (server, desk);
        }
    }
    unreachable!("some call rotates");
}

#[test]
fn another_wish_is_not_taken_for_the_one_that_was_interrupted() {
    let (server, desk) = rotated_unheard();
    let renewed = done(ceremony(&server, &desk).carry_out(&app(), &Wish::Change(Change::default()), clock::now()));
    assert_eq!((renewed.version, renewed.earlier), (3, false));
    assert!(!desk.keys.dir().join("rotation.json").exists());

    // Whoever reads the app sees that it has arrived.
    let (server, desk) = rotated_unheard();
    assert!(desk.keys.dir().join("rotation.json").exists());
    desk.publish(&server, &build(), &wanted("1.0", "stable")).unwrap();
    assert!(!desk.keys.dir().join("rotation.json").exists());
}

/// The answer was lost, and forgotten about. Then a key was stolen, and the command to help said that all had been done.
#[test]
fn an_attempt_that_arrived_long_ago_is_no_answer_to_an_emergency() {
    let (server, desk) = rotated_unheard();
    let before = signers(&server, &Role::Root);
    let told = std::cell::RefCell::new(Vec::new());
    let tell = |arrived: &updraft_publisher::root::Arrived| told.borrow_mut().push(*arrived);
    let again = Ceremony { arrived: &tell, ..ceremony(&server, &desk) };
    let again = done(again.carry_out(&app(), &both(), clock::hours(20)));
    assert_eq!((again.version, again.earlier), (3, false));
    assert!(!signers(&server, &Role::Root).has(&before.keys[0]));
    let told: Vec<_> = told.borrow().iter().map(|arrived| (arrived.version, arrived.begun)).collect();
    assert_eq!(told, [(2, clock::now())]);
}

#[test]
fn letting_a_key_in_twice_is_once_when_the_answer_was_lost() {
    let add = |n: u8| {
        let add = vec![updraft_core::key::SigningKey::from_seed([n; 32]).public()];
        Wish::Change(Change { root: RoleChange { add, ..RoleChange::default() }, ..Change::default() })
    };
    for nth in 0.. {
        let server = Server::new("demo");
        let desk = Desk::with_app(&server);
        server.fail_at(nth, Fault::After);
        ceremony(&server, &desk).carry_out(&app(), &add(1), clock::now()).unwrap_err();
        server.heal();
        if server.root().version == 1 {
            continue;
        }
        let again = done(ceremony(&server, &desk).carry_out(&app(), &add(1), clock::now()));
        assert_eq!((again.version, again.earlier), (2, true));
        assert_eq!(done(ceremony(&server, &desk).carry_out(&app(), &add(2), clock::now())).version, 3);
        return;
    }
}

/// A key that lay in the directory and that no root had named was taken for what an interrupted rotation had left.
#[test]
fn a_stray_key_is_nobodys_new_key() {
    let server = Server::new("demo");
    let desk = Desk::with_app(&server);
    let stray = Ring::new(&desk.keys, &Unlocked).make(KeyName::Root).unwrap().public();
    done(ceremony(&server, &desk).carry_out(&app(), &both(), clock::now()));
    assert!(!signers(&server, &Role::Root).has(&stray));

    // One that was made for a rotation is, for that rotation, and for a day.
    let server = Server::new("demo");
    let [one, ..] = committee(&server);
    let root = Wish::Rotate(vec![KeyName::Root]);
    for (wish, now, made) in [
        (&root, clock::hours(-20), 1),
        (&root, clock::hours(3), 1),
        (&root, clock::hours(4), 2),
        (&both(), clock::hours(4), 4),
        (&root, clock::hours(4), 5),
    ] {
        wanting(ceremony(&server, &one).carry_out(&app(), wish, now));
        assert_eq!(files(&one).len(), 2 + made, "{wish:?} at {now}");
    }
}

#[test]
fn somebody_who_publishes_in_between_costs_a_round() {
    let server = Server::new("demo");
    let desk = Desk::with_app(&server);
    let colleague = desk.colleague();
    server.before_next_submit(move |server| {
        colleague.publish(server, &build(), &wanted("1.0", "stable")).unwrap();
    });
    let rotated = done(ceremony(&server, &desk).carry_out(&app(), &both(), clock::now()));
    assert_eq!(rotated.version, 2);
    assert_eq!(server.versions(), ["1.0"], "what was published meanwhile is still there");
    assert_eq!(files(&desk).len(), 4, "one new key each, however many rounds");
}

/// An app with 3 root keys of which 2 must sign: one key stays, the others are carried to two more desks.
fn committee(server: &Server) -> [Desk; 3] {
    let desks = [Desk::new(), Desk::new(), Desk::new()];
    let three = RootKeys { count: 3, threshold: 2 };
    let made = create(server, &app(), &desks[0].keys, three, &Unlocked, clock::now()).unwrap();
    assert_eq!((made.root.keys.len(), made.root.threshold), (3, 2));
    for (key, desk) in made.root.keys[1..].iter().zip(&desks[1..]) {
        std::fs::create_dir_all(desk.keys.dir()).unwrap();
        let file = format!("root-{}.pem", key.fingerprint());
        std::fs::rename(desks[0].keys.dir().join(&file), desk.keys.dir().join(&file)).unwrap();
        std::fs::copy(desks[0].keys.root_path(), desk.keys.root_path()).unwrap();
    }
    desks
}

fn sign(bytes: &[u8], desk: &Desk) -> Result<Vec<u8>, ProposalError> {
    let mut proposal = Proposal::decode(bytes, clock::now())?;
    assert_eq!(proposal.check_pinned(&desk.keys, None)?, Pinned::Here);
    proposal.sign(&Ring::new(&desk.keys, &Unlocked))?;
    Ok(proposal.encode())
}

#[test]
fn two_of_three_change_keys_with_a_file_carried_each_way() {
    let server = Server::new("demo");
    let [one, two, three] = committee(&server);
    assert_eq!(files(&one).len(), 2);
    // The key that publishes is here; one root key alone changes nothing.
    one.publish(&server, &build(), &wanted("1.0", "stable")).unwrap();
    let proposal =
        wanting(ceremony(&server, &one).carry_out(&app(), &Wish::Rotate(vec![KeyName::Targets]), clock::now()));
    assert_eq!(server.root().version, 1);
    let missing = proposal.missing_signers();
    assert_eq!(missing.len(), 2, "{missing:?}");
    let sent = proposal.encode();

    let back = sign(&sent, &two).unwrap();
    let signed = Proposal::decode(&back, clock::now()).unwrap();
    assert_eq!(signed.fingerprint(), proposal.fingerprint(), "a signature does not change what is compared");
    assert_eq!(signed.lines(), proposal.lines());
    let accepted = ceremony(&server, &one).accept(&signed, clock::now()).unwrap();
    assert_eq!((accepted.version, accepted.earlier, server.root().version), (2, false, 2));
    // Twice is once; what the third one signed meanwhile changes nothing any more.
    let late = Proposal::decode(&sign(&sent, &three).unwrap(), clock::now()).unwrap();
    for proposal in [&signed, &late] {
        assert!(ceremony(&server, &one).accept(proposal, clock::now()).unwrap().earlier);
    }
    one.publish(&server, &build().with("more", "x"), &wanted("1.1", "stable")).unwrap();
}

#[test]
fn copies_that_were_signed_apart_are_accepted_together() {
    let server = Server::new("demo");
    let [one, two, three] = committee(&server);
    let raise = RoleChange { threshold: Some(3), ..RoleChange::default() };
    let wish = Wish::Change(Change { root: raise, ..Change::default() });
    let proposed = ceremony(&server, &one).propose(&app(), &wish, clock::now()).unwrap().encode();
    let copies =
        [&one, &two, &three].map(|desk| Proposal::decode(&sign(&proposed, desk).unwrap(), clock::now()).unwrap());
    let [mut whole, second, third] = copies;
    whole.merge(&second).unwrap();
    let error = ceremony(&server, &one).accept(&whole, clock::now()).unwrap_err().to_string();
    assert!(error.contains("1 more on root as the next root asks"), "{error}");
    assert_eq!(server.root().version, 1);
    whole.merge(&third).unwrap();
    assert_eq!(ceremony(&server, &one).accept(&whole, clock::now()).unwrap().version, 2);
    assert_eq!(signers(&server, &Role::Root).threshold, 3);

    let other = ceremony(&server, &one).propose(&app(), &Wish::Change(Change::default()), clock::now()).unwrap();
    assert!(matches!(whole.merge(&other), Err(ProposalError::Different { .. })));
}

#[test]
fn what_was_published_meanwhile_makes_a_proposal_of_targets_old() {
    let server = Server::new("demo");
    let [one, two, _] = committee(&server);
    let wish = Wish::Rotate(vec![KeyName::Targets]);
    let proposal = wanting(ceremony(&server, &one).carry_out(&app(), &wish, clock::now()));
    one.publish(&server, &build(), &wanted("1.0", "stable")).unwrap();
    let signed = Proposal::decode(&sign(&proposal.encode(), &two).unwrap(), clock::now()).unwrap();
    let error = ceremony(&server, &one).accept(&signed, clock::now()).unwrap_err();
    assert!(matches!(error, Error::Moved { .. }), "{error}");

    // One that leaves targets alone does not grow old by that.
    let wish = Wish::Change(Change::default());
    let renewal = wanting(ceremony(&server, &one).carry_out(&app(), &wish, clock::now()));
    one.publish(&server, &build(), &wanted("1.1", "stable")).unwrap();
    let signed = Proposal::decode(&sign(&renewal.encode(), &two).unwrap(), clock::now()).unwrap();
    assert_eq!(ceremony(&server, &one).accept(&signed, clock::now()).unwrap().version, 2);
    // But by another root.
    let error =
        ceremony(&server, &one).accept(&Proposal::decode(&proposal.encode(), clock::now()).unwrap(), clock::now());
    assert!(matches!(error, Err(Error::Moved { .. })), "{error:?}");
}

#[test]
fn the_online_key_is_replaced_after_it_was_lost() {
    let server = Server::new("demo");
    let desk = Desk::with_app(&server);
    desk.publish(&server, &build(), &wanted("1.0", "stable")).unwrap();
    // What this desk saw later is gone with the server's disk: its numbers are higher than those of the backup.
    let backup = server.backup();
    for n in 1..6 {
        let files = build().with("n", n.to_string());
        desk.publish(&server, &files, &wanted(&format!("1.{n}"), "stable")).unwrap();
    }
    server.restore(backup);
    let replaced = ceremony(&server, &desk).carry_out(&app(), &Wish::ReplaceOnline, clock::now());
    let error = replaced.unwrap_err().to_string();
    assert!(error.contains("version 2 is older than 7"), "releases that were published are not forgotten: {error}");

    let server = Server::new("demo");
    let desk = Desk::with_app(&server);
    desk.publish(&server, &build(), &wanted("1.0", "stable")).unwrap();
    let old = signers(&server, &Role::Timestamp).keys;
    server.lose_online_keys();
    let error = desk.publish(&server, &build().with("a", "b"), &wanted("1.1", "")).unwrap_err();
    assert!(error.to_string().contains("read-only"), "{error}");
    let replaced = done(ceremony(&server, &desk).carry_out(&app(), &Wish::ReplaceOnline, clock::now()));
    assert!(replaced.lines.iter().any(|line| line.contains("in the place of key")), "{:?}", replaced.lines);
    for role in [Role::Timestamp, Role::Snapshot] {
        assert_ne!(signers(&server, &role).keys, old);
    }
    desk.publish(&server, &build().with("a", "b"), &wanted("1.1", "stable")).unwrap();
}

/// The thief's numbers are in the memory beside the keys, higher than anything honest will be. The server was restored since.
#[test]
fn a_thief_of_the_online_key_is_forgotten() {
    let server = Server::new("demo");
    let desk = Desk::with_app(&server);
    let backup = server.backup();
    (0..5).for_each(|_| server.renew());
    Standing::read(&server, &app(), &desk.keys, Online::Believed, clock::now()).unwrap();
    server.restore(backup);
    let error = Standing::read(&server, &app(), &desk.keys, Online::Believed, clock::now()).unwrap_err();
    assert!(error.to_string().contains("rollback"), "{error}");
    done(ceremony(&server, &desk).carry_out(&app(), &Wish::ReplaceOnline, clock::now()));
    desk.publish(&server, &build(), &wanted("1.0", "stable")).unwrap();
}

#[test]
fn an_expired_root_is_renewed() {
    let server = Server::new("demo");
    let desk = Desk::with_app(&server);
    let later = clock::days(11 * 365);
    let wish = Wish::Change(Change { renew_targets: true, ..Change::default() });
    let proposal = ceremony(&server, &desk).propose(&app(), &wish, later).unwrap();
    let lines = proposal.lines();
    assert!(lines.iter().any(|line| line.starts_with("root: version 2") && line.contains("before: 2036")), "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("targets: version 2")), "{lines:?}");
}

fn with_text(proposal: &Proposal, change: impl FnOnce(&mut serde_json::Value)) -> Vec<u8> {
    let mut value = serde_json::from_slice(&proposal.encode()).unwrap();
    change(&mut value);
    serde_json::to_vec(&value).unwrap()
}

/// The document in a field of a proposal, changed and signed anew by `keys`.
fn forge(value: &mut serde_json::Value, field: &str, signed_by: &[&str], change: impl FnOnce(&mut serde_json::Value)) {
    let envelope = Envelope::parse(value[field].as_str().unwrap().as_bytes(), 1 << 20).unwrap();
    let mut content: serde_json::Value = envelope.content().unwrap();
    change(&mut content);
    let signed = signed_by.iter().fold(Envelope::new(&content), |signed, name| signed.sign(&keys::named(name)));
    value[field] = String::from_utf8(signed.to_bytes()).unwrap().into();
}

#[test]
fn a_bad_proposal_is_named_and_not_signed() {
    let server = Server::new("demo");
    let desk = Desk::with_app(&server);
    let proposal = ceremony(&server, &desk).propose(&app(), &both(), clock::now()).unwrap();
    let whole = proposal.encode();
    let refused = |bytes: &[u8]| sign(bytes, &desk).unwrap_err().to_string();

    // Cut off anywhere.
    for len in (0..whole.len() - 1).step_by(97) {
        assert!(refused(&whole[..len]).contains("no whole proposal"), "{len}");
    }
    let thief = keys::thief().public().id().to_string();
    let cases: [(Vec<u8>, &str); 9] = [
        (with_text(&proposal, |value| value["format"] = 2.into()), "format 2"),
        (with_text(&proposal, |value| value["more"] = 2.into()), "unknown field"),
        (with_text(&proposal, |value| forge(value, "root", &["thief"], |_| ())), &thief),
        (with_text(&proposal, |value| forge(value, "targets", &["thief"], |_| ())), &thief),
        (with_text(&proposal, |value| forge(value, "base", &["thief"], |_| ())), "does not verify"),
        (with_text(&proposal, |value| value["roots"] = serde_json::json!([])), "does not verify"),
        (
            with_text(&proposal, |value| {
                forge(value, "root", &[], |root| root["expires"] = "2025-01-01T00:00:00Z".into())
            }),
            "expired at 2025",
        ),
        (
            with_text(&proposal, |value| {
                forge(value, "root", &[], |root| root["roles"]["root"]["threshold"] = 2.into())
            }),
            "could never be had",
        ),
        (
            with_text(&proposal, |value| {
                forge(value, "root", &[], |root| root["extra"] = "beside what is shown".into())
            }),
            "more than this program knows",
        ),
    ];
    for (bytes, reason) in &cases {
        let error = refused(bytes);
        assert!(error.contains(reason), "{reason}: {error}");
    }
    // Releases in the luggage.
    let smuggled = with_text(&proposal, |value| {
        forge(value, "targets", &[], |targets| {
            targets["targets"]["releases/any/9.json"] =
                serde_json::json!({"hashes": {"sha256": "0".repeat(64)}, "length": 1});
        });
    });
    assert!(refused(&smuggled).contains("which releases are live"), "{}", refused(&smuggled));
    // A signature that is none.
    let good: serde_json::Value = serde_json::from_slice(&sign(&whole, &desk).unwrap()).unwrap();
    let mut bad = good.clone();
    let text = good["root"].as_str().unwrap();
    let at = text.find("\"sig\":\"").unwrap() + 7;
    let flipped = if text[at..].starts_with('0') { "1" } else { "0" };
    bad["root"] = format!("{}{flipped}{}", &text[..at], &text[at + 1..]).into();
    assert!(refused(&serde_json::to_vec(&bad).unwrap()).contains("does not verify"));

    // Another app's, and one that this machine's keys have no part in.
    let other = Server::with_online("demo", keys::named("other online"));
    let stranger = Desk::with_app(&other);
    assert!(matches!(sign(&whole, &stranger), Err(ProposalError::OtherApp { .. })));
    let mut proposal = Proposal::decode(&whole, clock::now()).unwrap();
    let error = proposal.sign(&Ring::new(&stranger.keys, &Unlocked)).unwrap_err();
    assert!(matches!(error, ProposalError::NoPart { .. }), "{error}");
    // A fresh machine has only the first root in the file to go by, which is whatever its maker chose.
    let fresh = Keystore::at(desk.temp.path().join("fresh"));
    let first = proposal.root_sha256();
    assert!(matches!(proposal.check_pinned(&fresh, None), Err(ProposalError::Unpinned { .. })));
    assert_eq!(proposal.check_pinned(&fresh, Some(first)).unwrap(), Pinned::Told);
    let other = Some(updraft_core::digest::Sha256::of(b"another"));
    for keys in [&fresh, &desk.keys] {
        assert!(matches!(proposal.check_pinned(keys, other), Err(ProposalError::OtherRoot { .. })));
    }
    assert!(Proposal::decode(&vec![b' '; 17 << 20], clock::now()).unwrap_err().to_string().contains("limit"));
}

#[test]
fn a_proposal_from_before_what_was_believed_here_is_out_of_date() {
    let server = Server::new("demo");
    let desk = Desk::with_app(&server);
    let proposal = ceremony(&server, &desk).propose(&app(), &both(), clock::now()).unwrap().encode();
    done(ceremony(&server, &desk).carry_out(&app(), &both(), clock::now()));
    let error = sign(&proposal, &desk).unwrap_err();
    assert!(matches!(error, ProposalError::Outdated(_)), "{error}");
}

/// A person with one passphrase for all keys is asked once.
#[test]
fn new_keys_are_locked_as_the_old_ones_are() {
    struct Once(std::sync::Mutex<u32>);
    impl Passphrases for Once {
        fn choose(&self, _: &std::path::Path) -> std::io::Result<Option<updraft_publisher::keys::Zeroizing<String>>> {
            Err(std::io::Error::other("nobody should be asked for a new one"))
        }
        fn recall(&self, _: &std::path::Path) -> std::io::Result<updraft_publisher::keys::Zeroizing<String>> {
            *self.0.lock().unwrap() += 1;
            Ok("one for all".to_owned().into())
        }
    }
    let server = Server::new("demo");
    let desk = Desk::new();
    create(&server, &app(), &desk.keys, RootKeys::default(), &Known::new("one for all"), clock::now()).unwrap();
    let once = Once(std::sync::Mutex::new(0));
    let ceremony = Ceremony { passphrases: &once, ..ceremony(&server, &desk) };
    done(ceremony.carry_out(&app(), &both(), clock::now()));
    assert_eq!(*once.0.lock().unwrap(), 1);
    let held = desk.keys.held().unwrap();
    assert_eq!(held.len(), 4);
    assert!(held.iter().all(|held| held.locked), "{held:?}");

    let wrong = Known::new("another");
    let ceremony = Ceremony { passphrases: &wrong, ..ceremony };
    let error = ceremony.carry_out(&app(), &both(), clock::now()).unwrap_err().to_string();
    assert!(error.contains("wrong passphrase"), "{error}");
    assert_eq!(server.root().version, 2);
}

#[test]
fn a_threshold_of_targets_is_met_with_the_keys_that_are_here() {
    let server = Server::new("demo");
    let desk = Desk::with_app(&server);
    let ring = Ring::new(&desk.keys, &Unlocked);
    let second = ring.make(KeyName::Targets).unwrap();
    let add: Vec<PublicKey> = vec![second.public()];
    let wish =
        Wish::Change(Change { targets: RoleChange { add, revoke: vec![], threshold: Some(2) }, ..Change::default() });
    done(ceremony(&server, &desk).carry_out(&app(), &wish, clock::now()));
    desk.publish(&server, &build(), &wanted("1.0", "stable")).unwrap();
    let colleague = desk.colleague();
    let error = colleague.publish(&server, &build(), &wanted("1.1", "")).unwrap_err().to_string();
    assert!(error.contains("1 of the 2 keys that must sign releases of app demo"), "{error}");
}

#[test]
fn targets_alone_are_renewed_by_those_who_publish() {
    let server = Server::new("demo");
    let desk = Desk::with_app(&server);
    std::fs::remove_file(desk.keys.key_path(KeyName::Root)).unwrap();
    let now: Timestamp = clock::hours(5);
    let committed = updraft_publisher::pin::renew(&desk.publisher(&server), &app(), now).unwrap();
    assert_eq!((committed.targets, server.root().version), (2, 1));
}
