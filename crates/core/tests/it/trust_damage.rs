//! Bytes that are not what they should be: of the wrong kind, torn, altered, without end, or not there at all.

use updraft_core::layout;
use updraft_core::limits::{METADATA_LEN_MAX, ROOT_LEN_MAX, SIGNATURES_MAX, SNAPSHOT_LEN_MAX, TIMESTAMP_LEN_MAX};
use updraft_core::signed;
use updraft_core::trust::{Error, MetadataFile, RefreshError, Role};
use updraft_testkit::{SimError, SimRepo, clock, keys};

use crate::scene::{Scene, is_unsigned, renewed_roles, roles};

// --- the wrong kind of document ---

#[test]
fn one_role_served_as_another() {
    // The key is right and the hash is right: one key signs all three online roles.
    let served = [
        (Role::Snapshot, Role::Timestamp),
        (Role::Timestamp, Role::Snapshot),
        (Role::Root, Role::Targets),
        (Role::Snapshot, Role::channels()),
        (Role::Timestamp, Role::channels()),
    ];
    for (given, role) in served {
        let mut scene = Scene::new();
        let next = scene.repo.version(&role) + 1;
        scene.repo.replace_as(&role, next, scene.repo.current(&given).to_vec());
        let error = scene.refused(&role);
        assert!(matches!(&error, Error::Format { role: found, .. } if *found == role), "{given} as {role}: {error}");
    }
}

#[test]
fn targets_served_as_channels_and_the_other_way_round() {
    for (given, role) in [(Role::Targets, Role::channels()), (Role::channels(), Role::Targets)] {
        let mut scene = Scene::new();
        let next = scene.repo.version(&role) + 1;
        scene.repo.replace_as(&role, next, scene.repo.current(&given).to_vec());
        assert!(is_unsigned(&scene.refused(&role), &role));
    }
}

#[test]
fn a_document_that_says_it_is_something_else() {
    for role in renewed_roles() {
        let mut scene = Scene::new();
        scene.repo.tamper(&role, |signed| signed["_type"] = "root".into());
        assert!(matches!(scene.refused(&role), Error::Format { .. }));
    }
}

#[test]
fn a_document_of_another_major_version_of_tuf() {
    for version in ["2.0.0", "1", "10.0.0", "1.x.0", "", "1.0.0.0"] {
        for role in renewed_roles() {
            let mut scene = Scene::new();
            scene.repo.tamper(&role, |signed| signed["spec_version"] = version.into());
            let error = scene.refused(&role);
            assert!(matches!(&error, Error::Format { role: found, .. } if *found == role), "{version}: {error}");
        }
    }
}

// --- bytes that are no metadata ---

#[test]
fn torn_altered_and_empty_files() {
    type Edit = fn(&mut Vec<u8>);
    let edits: [(&str, Edit); 5] = [
        ("empty", |bytes| bytes.clear()),
        ("torn", |bytes| bytes.truncate(bytes.len() / 2)),
        ("one byte short", |bytes| bytes.truncate(bytes.len() - 1)),
        ("one byte more", |bytes| bytes.push(b'x')),
        ("one bit", |bytes| {
            let at = bytes.windows(9).position(|w| w == b"\"version\"").unwrap();
            bytes[at + 10] ^= 1;
        }),
    ];
    for role in renewed_roles() {
        for (what, edit) in edits {
            let mut scene = Scene::new();
            scene.repo.damage(&role, edit);
            scene.repo.ignore_max();
            let error = scene.refused(&role);
            let is_seen = matches!(error, Error::Signed { .. } | Error::Mismatch { .. } | Error::Rollback { .. });
            assert!(is_seen, "{role} {what}: {error}");
        }
    }
}

#[test]
fn a_version_that_is_no_version() {
    use serde_json::json;
    for version in [json!(0), json!(-1), json!(1.5), json!("2"), json!(null), json!(9_007_199_254_740_992_u64)] {
        for role in renewed_roles() {
            let mut scene = Scene::new();
            scene.repo.tamper(&role, |signed| signed["version"] = version.clone());
            let error = scene.refused(&role);
            assert!(matches!(error, Error::Signed { .. } | Error::Format { .. }), "{role} {version}: {error}");
        }
    }
}

#[test]
fn a_date_that_is_no_date() {
    let other_calendars =
        ["2027-01-01", "2027-01-01T00:00:00+01:00", "2027-01-01 00:00:00Z", "2027-13-01T00:00:00Z", "never"];
    // Dates that some readers take and others do not.
    let other_spellings = ["2027-01-01T23:59:60Z", "2027-01-01T24:00:00Z", "2027-01-01T000000.0Z", "2027-1-1T0:0:0Z"];
    for date in other_calendars.into_iter().chain(other_spellings) {
        for role in renewed_roles() {
            let mut scene = Scene::new();
            scene.repo.tamper(&role, |signed| signed["expires"] = date.into());
            assert!(matches!(scene.refused(&role), Error::Signed { .. }), "{role} {date}");
        }
    }
}

#[test]
fn keys_twice_and_nesting_without_end() {
    for role in renewed_roles() {
        let mut scene = Scene::new();
        let text = String::from_utf8(scene.repo.current(&role).to_vec()).unwrap();
        // The first `version` is the honest one: a reader that keeps the last would see the other.
        let twice = text.replacen("\"version\"", "\"version\":1,\"version\"", 1);
        scene.repo.replace(&role, twice.into_bytes());
        assert!(matches!(scene.refused(&role), Error::Signed { source: signed::Error::Format(_), .. }));

        let mut scene = Scene::new();
        let deep = format!("{{\"signatures\":{}{}}}", "[".repeat(5_000), "]".repeat(5_000));
        scene.repo.replace(&role, deep.into_bytes());
        assert!(matches!(scene.refused(&role), Error::Signed { source: signed::Error::Format(_), .. }));
    }
}

#[test]
fn more_signatures_than_anybody_needs() {
    let mut scene = Scene::new();
    let mut document: serde_json::Value = serde_json::from_slice(scene.repo.current(&Role::Timestamp)).unwrap();
    let signatures = document["signatures"].as_array_mut().unwrap();
    signatures.extend(vec![serde_json::json!({"keyid": "", "sig": ""}); SIGNATURES_MAX]);
    scene.repo.replace(&Role::Timestamp, serde_json::to_vec(&document).unwrap());
    let error = scene.refused(&Role::Timestamp);
    assert!(matches!(error, Error::Signed { source: signed::Error::Format(_), .. }), "{error}");
}

#[test]
fn a_delegation_to_two_roles_of_one_name() {
    let mut scene = Scene::new();
    scene.repo.tamper(&Role::Targets, |targets| {
        let roles = targets["delegations"]["roles"].as_array_mut().unwrap();
        roles.push(roles[0].clone());
    });
    assert!(matches!(scene.refused(&Role::Targets), Error::Format { role: Role::Targets, .. }));
}

#[test]
fn a_delegation_that_takes_a_top_level_name() {
    for name in ["root", "timestamp", "snapshot", "targets", ""] {
        let mut scene = Scene::new();
        scene.repo.tamper(&Role::Targets, |targets| targets["delegations"]["roles"][0]["name"] = name.into());
        assert!(matches!(scene.refused(&Role::Targets), Error::Format { role: Role::Targets, .. }), "{name}");
    }
}

// --- endless data ---

fn len_max(role: &Role) -> u64 {
    match role {
        Role::Root => ROOT_LEN_MAX,
        Role::Timestamp => TIMESTAMP_LEN_MAX,
        Role::Snapshot => SNAPSHOT_LEN_MAX,
        _ => METADATA_LEN_MAX,
    }
}

/// A document of `role` that is well signed and too long by far.
fn bloat(repo: &mut SimRepo, role: &Role) {
    let padding = " ".repeat(len_max(role) as usize);
    match role {
        Role::Root => repo.forge_root(&[keys::root()], |root| root["padding"] = padding.into()),
        _ => repo.tamper(role, |signed| signed["padding"] = padding.into()),
    }
}

#[test]
fn endless_data_from_a_transport_that_stops_it() {
    for role in roles() {
        let mut scene = Scene::of(SimRepo::new("demo").without_head());
        bloat(&mut scene.repo, &role);
        let error = scene.unanswered(&role);
        assert!(matches!(error, RefreshError::Source(SimError::TooLong { .. })), "{role}: {error}");
    }
}

#[test]
fn endless_data_from_a_transport_that_does_not() {
    for role in roles() {
        let mut scene = Scene::of(SimRepo::new("demo").without_head());
        bloat(&mut scene.repo, &role);
        scene.repo.ignore_max();
        let error = scene.refused(&role);
        assert!(matches!(error, Error::Signed { source: signed::Error::TooLong { .. }, .. }), "{role}: {error}");
    }
}

#[test]
fn more_data_than_was_named() {
    for role in [Role::Snapshot, Role::Targets, Role::channels()] {
        let mut scene = Scene::of(SimRepo::new("demo").without_head());
        scene.repo.damage(&role, |bytes| bytes.extend_from_slice(&[b' '; 100]));
        let error = scene.unanswered(&role);
        assert!(matches!(error, RefreshError::Source(SimError::TooLong { .. })), "{role}: {error}");
    }
}

// --- what is not there ---

#[test]
fn a_file_that_is_named_and_not_there() {
    for role in renewed_roles() {
        let mut scene = Scene::of(SimRepo::new("demo").without_head());
        scene.repo.remove(&scene.repo.key_of(&role));
        assert!(matches!(scene.unanswered(&role), RefreshError::Missing(_)), "{role}");
    }
}

#[test]
fn a_server_that_fails_at_any_moment() {
    for requests in 0..3 {
        let mut scene = Scene::new();
        scene.repo.fail_after(requests);
        let error = scene.device.refresh(&mut scene.repo).unwrap_err();
        assert!(matches!(error, RefreshError::Source(SimError::Unreachable)), "after {requests}: {error}");
        scene.repo.recover();
        assert!(scene.device.refresh(&mut scene.repo).unwrap().changed, "after {requests}");
    }
}

// --- heads that lie ---

#[test]
fn a_head_that_promises_a_root_that_is_not_there() {
    let mut scene = Scene::new();
    scene.repo.forge_root(&[keys::root()], |_| {});
    let key = layout::metadata(scene.repo.app(), &MetadataFile::Root(2));
    scene.repo.remove(&key);
    assert_eq!(scene.device.refresh(&mut scene.repo).unwrap().trusted.root().version, 1);
}

#[test]
fn a_head_that_hides_a_rotation_freezes_and_nothing_more() {
    let mut scene = Scene::new();
    let old_head = scene.repo.objects()[&layout::head(scene.repo.app())].clone();
    scene.repo.rotate(&[Role::Timestamp, Role::Snapshot], &[keys::named("new online")], 1);
    scene.repo.put(layout::head(&"demo".parse().unwrap()), old_head);
    let refreshed = scene.device.refresh(&mut scene.repo).unwrap();
    assert_eq!(refreshed.trusted.root().version, 1);
    scene.device.now = clock::hours(25);
    let error = scene.distrusted();
    assert!(matches!(error, Error::Expired { role: Role::Timestamp, .. }));
}

#[test]
fn a_head_that_is_none() {
    for bytes in [&b""[..], b"{}\n", b"<html>not found</html>", &[0xff; 100]] {
        let mut scene = Scene::new();
        scene.repo.put(layout::head(&"demo".parse().unwrap()), bytes.to_vec());
        assert!(matches!(scene.unanswered(&Role::Root), RefreshError::Source(SimError::Head(_))));
    }
}
