//! One metadata role at a time: bytes that come in the place of the honest ones.
//!
//! Two questions are asked of the same bytes. As they are, with what is above naming no hash that would stop them early:
//! whatever is believed must be what the role's keys signed. And as a document that the role's keys did sign: no content
//! may make the state machine panic.

use std::sync::OnceLock;

use serde_json::Value;
use updraft_core::signed::Envelope;
use updraft_core::trust::{Role, Trusted, find_target};
use updraft_testkit::{MemoryCache, SimRepo, TreeFixture, clock, keys};

/// A repository whose second root is the newest, and whose metadata names versions without lengths and hashes.
pub fn repository() -> &'static SimRepo {
    static REPOSITORY: OnceLock<SimRepo> = OnceLock::new();
    REPOSITORY.get_or_init(|| {
        let mut repo = SimRepo::new("demo");
        let release = repo.publish("1.0.0", "any", &TreeFixture::of(&[("app*", "one")]));
        repo.promote("stable", &release);
        repo.rotate(&[Role::Root], &["a", "b"].map(keys::named), 2);
        let unhashed = |meta: &mut Value| {
            meta.as_object_mut().into_iter().flat_map(|roles| roles.values_mut()).for_each(|meta| {
                meta.as_object_mut().expect("a role's meta is an object").retain(|name, _| name == "version");
            });
        };
        repo.tamper(&Role::Snapshot, |snapshot| unhashed(&mut snapshot["meta"]));
        repo.tamper(&Role::Timestamp, |timestamp| unhashed(&mut timestamp["meta"]));
        repo
    })
}

/// The keys that sign for a role in [`repository`]; for a root, those of the root before and its own.
fn signers(role: &Role) -> Vec<updraft_core::key::SigningKey> {
    match role {
        Role::Root => vec![keys::root(), keys::named("a"), keys::named("b")],
        Role::Targets => vec![keys::targets()],
        _ => vec![keys::online()],
    }
}

/// What is believed before `role` comes.
fn before(role: &Role) -> Trusted {
    let repo = repository();
    let mut trusted = Trusted::new(repo.first_root(), clock::now()).expect("the first root is one");
    let order = [Role::Root, Role::Timestamp, Role::Snapshot, Role::Targets, Role::channels()];
    for earlier in order.iter().take_while(|earlier| *earlier != role) {
        take(&mut trusted, earlier, repo.current(earlier)).expect("an honest repository is believed");
    }
    trusted
}

fn take(trusted: &mut Trusted, role: &Role, bytes: &[u8]) -> Result<(), updraft_core::trust::Error> {
    match role {
        Role::Root => trusted.update_root(bytes),
        Role::Timestamp => trusted.update_timestamp(bytes),
        Role::Snapshot => trusted.update_snapshot(bytes),
        Role::Targets => trusted.update_targets(role, None, bytes),
        Role::Delegated(_) => trusted.update_targets(role, Some(&Role::Targets), bytes),
    }
}

fn signed_part(bytes: &[u8]) -> Value {
    let mut value: Value = serde_json::from_slice(bytes).expect("what is believed is JSON");
    value["signed"].take()
}

/// Asks both questions.
pub fn ask(role: &Role, bytes: &[u8]) {
    let trusted = before(role);
    let mut believer = trusted.clone();
    if take(&mut believer, role, bytes).is_ok() {
        assert_eq!(signed_part(bytes), signed_part(repository().current(role)), "nobody signed this");
    }
    if *role == Role::Root
        && let Ok(pinned) = Trusted::new(bytes, clock::now())
    {
        assert_eq!(pinned.bytes(&Role::Root), Some(bytes));
    }

    let Ok(content) = updraft_core::json::parse(bytes) else { return };
    let document = signers(role).iter().fold(Envelope::new(&content), Envelope::sign).to_bytes();
    let mut believer = trusted;
    let taken = take(&mut believer, role, &document);
    if taken.is_ok() {
        assert_eq!(
            believer.bytes(role),
            Some(document.as_slice()),
            "the bytes that were verified are the bytes that are used"
        );
    }
    let mut cache = MemoryCache::default();
    let mut source = repository().clone();
    for path in ["releases/any/1.0.0.json", "channels/stable", "a", ""] {
        let _ = find_target(&mut believer, path, &mut source, &mut cache);
    }
}
