//! Whatever honest people and a thief on the wire do in whatever order: no version that a device believes goes back, and
//! nothing that nobody signed is ever believed.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::Value;
use updraft_core::layout::{self, Key};
use updraft_core::signed::Envelope;
use updraft_core::trust::Role;
use updraft_core::{json, limits};
use updraft_testkit::{SimDevice, SimRepo, TreeFixture, keys};

use crate::scene::roles;

/// What honest people do.
#[derive(Debug, Clone)]
enum Step {
    Publish,
    Promote,
    Renew,
    Rotate(Index),
}

/// What a thief does who holds the wire and no key.
#[derive(Debug, Clone)]
enum Trick {
    None,
    /// Serves everything as it was at an earlier moment.
    Replay(Index),
    /// Serves one object as it was at an earlier moment.
    ReplayOne(Index, Index),
    /// Serves one object in the place of another.
    Exchange(Index, Index),
    Alter(Index, Index, u8),
    Truncate(Index, Index),
    Remove(Index),
    /// Signs one role's metadata anew, with a version as high as it gets.
    Forge(Index),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Publish),
        2 => Just(Step::Promote),
        3 => Just(Step::Renew),
        1 => any::<Index>().prop_map(Step::Rotate),
    ]
}

fn trick() -> impl Strategy<Value = Trick> {
    prop_oneof![
        2 => Just(Trick::None),
        1 => any::<Index>().prop_map(Trick::Replay),
        2 => any::<(Index, Index)>().prop_map(|(a, b)| Trick::ReplayOne(a, b)),
        2 => any::<(Index, Index)>().prop_map(|(a, b)| Trick::Exchange(a, b)),
        3 => any::<(Index, Index, u8)>().prop_map(|(a, b, c)| Trick::Alter(a, b, c)),
        1 => any::<(Index, Index)>().prop_map(|(a, b)| Trick::Truncate(a, b)),
        1 => any::<Index>().prop_map(Trick::Remove),
        1 => any::<Index>().prop_map(Trick::Forge),
    ]
}

fn honest(repo: &mut SimRepo, step: &Step, n: usize) {
    match step {
        Step::Publish => {
            repo.publish(&format!("1.{n}"), "any", &TreeFixture::of(&[("app*", &n.to_string())]));
        }
        Step::Promote => {
            let release = repo.publish(&format!("1.{n}"), "any", &TreeFixture::of(&[]));
            repo.promote("stable", &release);
        }
        Step::Renew => repo.renew(),
        Step::Rotate(which) => repo.rotate(&[which.get(&roles()).clone()], &[keys::named(&format!("key {n}"))], 1),
    }
}

/// The metadata objects, the head among them.
fn metadata(repo: &SimRepo) -> Vec<(Key, Vec<u8>)> {
    let is_metadata = |key: &Key| key.as_str().contains("/tuf/") || *key == layout::head(repo.app());
    repo.objects().iter().filter(|(key, _)| is_metadata(key)).map(|(key, bytes)| (key.clone(), bytes.clone())).collect()
}

fn trick_with(now: &SimRepo, past: &[SimRepo], trick: &Trick) -> SimRepo {
    let mut served = now.clone();
    let objects = metadata(now);
    match trick {
        Trick::None => {}
        Trick::Replay(when) => served = when.get(past).clone(),
        Trick::ReplayOne(when, which) => {
            let then = metadata(when.get(past));
            let (key, bytes) = which.get(&then).clone();
            served.put(key, bytes);
        }
        Trick::Exchange(a, b) => served.put(a.get(&objects).0.clone(), b.get(&objects).1.clone()),
        Trick::Alter(which, at, byte) => {
            let (key, mut bytes) = which.get(&objects).clone();
            let at = at.index(bytes.len());
            bytes[at] = *byte;
            served.put(key, bytes);
        }
        Trick::Truncate(which, at) => {
            let (key, mut bytes) = which.get(&objects).clone();
            bytes.truncate(at.index(bytes.len()));
            served.put(key, bytes);
        }
        Trick::Remove(which) => served.remove(&which.get(&objects).0),
        Trick::Forge(which) => {
            let role = which.get(&roles()).clone();
            let mut document: Value = serde_json::from_slice(now.current(&role)).unwrap();
            document["signed"]["version"] = limits::JSON_INT_MAX.into();
            let forged = Envelope::new(&document["signed"]).sign(&keys::thief()).to_bytes();
            served.damage(&role, |bytes| *bytes = forged);
        }
    }
    served
}

/// What a document says, without its signatures: those can be spelled in more than one way.
fn said(bytes: &[u8]) -> Vec<u8> {
    json::canonical(&json::parse(bytes).expect("what is believed is JSON")["signed"])
}

fn version(bytes: &[u8]) -> u64 {
    json::parse(bytes).expect("what is believed is JSON")["signed"]["version"].as_u64().expect("it has a version")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn nothing_goes_back_and_nothing_forged_is_believed(
        script in proptest::collection::vec((proptest::option::of(step()), trick()), 1..16),
    ) {
        let mut repo = SimRepo::new("demo");
        let mut device = SimDevice::of(&repo);
        let mut past = vec![repo.clone()];
        let mut signed: BTreeSet<Vec<u8>> = roles().iter().map(|role| said(repo.current(role))).collect();
        // Of all time: also what a rotation made the device forget does not come back.
        let mut highest: BTreeMap<Role, u64> = BTreeMap::new();
        for (n, (step, trick)) in script.iter().enumerate() {
            if let Some(step) = step {
                honest(&mut repo, step, n);
                // A rotation signs several documents; every one is honest.
                signed.extend(metadata(&repo).iter().filter_map(|(_, bytes)| json::parse(bytes).ok())
                    .map(|document| json::canonical(&document["signed"])));
                past.push(repo.clone());
            }
            let _ = device.refresh(&mut trick_with(&repo, &past, trick));
            for (role, bytes) in &device.cache.files {
                prop_assert!(signed.contains(&said(bytes)), "{role} is believed, and nobody signed it");
                let highest = highest.entry(role.clone()).or_insert(0);
                prop_assert!(version(bytes) >= *highest, "{role} went back");
                *highest = version(bytes);
            }
        }
        // However it was tricked, an honest answer brings it to the present.
        let refreshed = device.refresh(&mut repo).expect("an honest repository is believed");
        prop_assert_eq!(refreshed.trusted.bytes(&Role::channels()), Some(repo.current(&Role::channels())));
    }
}
