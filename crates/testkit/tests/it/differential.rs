//! Thousands of mutated repositories, shown to our client and to python-tuf's: what python-tuf refuses is refused here.
//!
//! Each case is a valid repository of some shape, a device with some memory of it, and a few mutations: of content that is
//! then signed by the right keys or by others, of signatures, of bytes, of what is served under which name. Metadata above
//! a mutated document names it, mostly, so that it is the rule in question that refuses and not a hash.
//!
//! That we refuse more than python-tuf is wanted (strict JSON, distinct keys, no nulls); the other way round is a hole, or
//! one of [`EXPLAINED`]. Where both believe, they have to believe the same.

mod judge;
mod mutate;
mod rng;
mod world;

use std::collections::BTreeMap;

use judge::{PythonTuf, Set, file_name};
use rng::Rng;
use serde_json::{Value, json};
use updraft_core::key::PublicKey;
use updraft_core::trust::{DelegatedRole, Role};
use world::{Doc, World};

/// Cases in a usual run, and in a long one (`scripts/test --long`).
const CASES: (u64, u64) = (500, 20_000);
/// Questions that are asked at once.
const BATCH: u64 = 250;

/// What python-tuf refuses and we do not, and why that is right.
const EXPLAINED: &[Explained] = &[
    Explained {
        reason: "the keys of timestamp or snapshot are others, so both are forgotten (TUF 5.3.11); it keeps the one whose keys stay",
        is_so: |set, refused| {
            let is_rollback = refused.contains("New timestamp version")
                || refused.contains("New snapshot version")
                || refused.contains(".json version");
            is_rollback && set.replaces_online_keys() && !set.cache.is_empty()
        },
    },
    Explained {
        reason: "a key of a kind that is not known signs nothing and harms nothing; it refuses the document that lists it",
        is_so: |_, refused| refused.contains("Unsupported public key"),
    },
    Explained {
        reason: "a hash of a kind that is not known is passed over where one that is known fits",
        is_so: |_, refused| refused.contains("unsupported hash type"),
    },
    Explained {
        reason: "it has no year 0, and writes years before 1000 another way than it reads them; all of them are over",
        is_so: |set, refused| {
            let said = refused.contains("year 0 is out of range") || refused.contains("UnsignedMetadataError");
            said && set.files.values().any(|bytes| bytes.windows(12).any(|part| part == b"\"expires\":\"0"))
        },
    },
];

struct Explained {
    reason: &'static str,
    /// Whether this is why it refuses a case with this error.
    is_so: fn(&Set, &str) -> bool,
}

/// What is changed in a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mutation {
    Content,
    Signers,
    Envelope,
    Bytes,
    Spelling,
}

/// A case in the making.
struct Forge {
    rng: Rng,
    world: World,
    plan: Vec<(Role, Mutation)>,
    files: BTreeMap<String, Vec<u8>>,
    story: Vec<String>,
}

/// Versions of targets, snapshot and timestamp.
#[derive(Debug, Clone, Copy)]
struct Moment {
    targets: u64,
    snapshot: u64,
    timestamp: u64,
}

const NOW: Moment = Moment { targets: 3, snapshot: 4, timestamp: 6 };
const EARLIER: Moment = Moment { targets: 2, snapshot: 3, timestamp: 5 };
const LATER: Moment = Moment { targets: 4, snapshot: 5, timestamp: 7 };

impl Forge {
    fn new(case: u64) -> Self {
        let mut rng = Rng::new(case);
        let world = World::any(&mut rng);
        let mut roles = vec![Role::Root, Role::Timestamp, Role::Snapshot];
        roles.extend(world.targets(0, 1).into_iter().map(|doc| doc.role));
        let all = [Mutation::Content, Mutation::Signers, Mutation::Envelope, Mutation::Bytes, Mutation::Spelling];
        let common = [Mutation::Content, Mutation::Content, Mutation::Content];
        let mutations = [&all[..], &common[..]].concat();
        let count = *rng.pick(&[0, 1, 1, 1, 1, 2, 2, 3]);
        let plan = (0..count).map(|_| (rng.pick(&roles).clone(), *rng.pick(&mutations))).collect();
        Self { rng, world, plan, files: BTreeMap::new(), story: Vec::new() }
    }

    /// Signs and writes a document, as the plan wants it, and serves it; what it was before is the second answer.
    fn write(&mut self, doc: &Doc) -> Written {
        let honest = serde_json::to_vec(&doc.wire()).unwrap();
        let mut edited = doc.clone();
        let plan: Vec<Mutation> =
            self.plan.iter().filter(|(role, _)| *role == doc.role).map(|(_, what)| *what).collect();
        for mutation in &plan {
            let told = match mutation {
                Mutation::Content => mutate::content(&mut self.rng, &mut edited.content),
                Mutation::Signers => mutate::signers(&mut self.rng, &mut edited.signers),
                _ => continue,
            };
            self.story.push(format!("{} {}: {told}", doc.role, doc.version));
        }
        let mut wire = edited.wire();
        for _ in plan.iter().filter(|mutation| **mutation == Mutation::Envelope) {
            let told = mutate::envelope(&mut self.rng, &mut wire);
            self.story.push(format!("{} {}: {told}", doc.role, doc.version));
        }
        let mut bytes = serde_json::to_vec(&wire).unwrap();
        for mutation in &plan {
            let told = match mutation {
                Mutation::Bytes => mutate::bytes(&mut self.rng, &mut bytes),
                Mutation::Spelling => mutate::spelling(&mut self.rng, &mut bytes),
                _ => continue,
            };
            self.story.push(format!("{} {}: {told}", doc.role, doc.version));
        }
        let version = edited.content["version"].as_u64().unwrap_or(doc.version);
        self.files.insert(file_name(&doc.role, doc.version), bytes.clone());
        self.files.insert(file_name(&doc.role, version), bytes.clone());
        Written { honest, bytes, version }
    }

    /// What is said of a document in the metadata above it: mostly the truth.
    fn said(&mut self, doc: &Doc, written: &Written) -> (String, Value) {
        let is_stale = written.bytes != written.honest && self.rng.once_in(6);
        if is_stale {
            self.story.push(format!("{}: what is above names what it was", doc.role));
        }
        let (version, bytes) = match is_stale {
            true => (doc.version, &written.honest),
            false => (written.version, &written.bytes),
        };
        (doc.role.file_name(), self.world.said(version, bytes))
    }

    /// Targets, snapshot and timestamp of one moment under the root of this index, written as the plan wants it.
    fn moment(&mut self, root: usize, moment: Moment) -> BTreeMap<Role, Vec<u8>> {
        let (mut all, mut meta) = (BTreeMap::new(), BTreeMap::new());
        for doc in self.world.targets(root, moment.targets) {
            let written = self.write(&doc);
            meta.extend([self.said(&doc, &written)]);
            all.insert(doc.role, written.bytes);
        }
        for (role, version) in [(Role::Snapshot, moment.snapshot), (Role::Timestamp, moment.timestamp)] {
            let doc = self.world.over(root, role, version, std::mem::take(&mut meta));
            let written = self.write(&doc);
            meta.extend([self.said(&doc, &written)]);
            all.insert(doc.role, written.bytes);
        }
        all
    }

    /// The same without a single mutation, and without serving it.
    fn honest_moment(&self, root: usize, moment: Moment) -> BTreeMap<Role, Vec<u8>> {
        let (rng, world) = (self.rng.clone(), self.world.clone());
        Self { rng, world, plan: Vec::new(), files: BTreeMap::new(), story: Vec::new() }.moment(root, moment)
    }

    fn finish(mut self) -> Set {
        let roots = self.world.roots();
        let trusts_mutated = self.rng.once_in(4);
        let mut trusted = serde_json::to_vec(&roots[0].wire()).unwrap();
        for doc in &roots {
            let written = self.write(doc);
            if doc.version == 1 && trusts_mutated {
                trusted = written.bytes;
            }
        }
        let newest = self.world.newest();
        self.moment(newest, NOW);
        let cache = match self.rng.below(6) {
            0 | 1 => BTreeMap::new(),
            2 | 3 => self.honest_moment(0, EARLIER),
            4 => self.honest_moment(newest, NOW),
            _ => self.honest_moment(0, LATER),
        };
        if self.rng.once_in(6) {
            self.mix(&roots[0]);
        }
        Set { root: trusted, cache, files: self.files, paths: self.world.paths, story: self.story }
    }

    /// Serves something else under a name: nothing, the file of another name, or an honest one of another moment.
    fn mix(&mut self, root: &Doc) {
        let names: Vec<String> = self.files.keys().cloned().collect();
        let name = self.rng.pick(&names).clone();
        match self.rng.below(3) {
            0 => {
                self.files.remove(&name);
                self.story.push(format!("{name} is not there"));
            }
            1 => {
                let other = self.rng.pick(&names).clone();
                self.files.insert(name.clone(), self.files[&other].clone());
                self.story.push(format!("{name} is {other}"));
            }
            _ => {
                let moment = *self.rng.pick(&[EARLIER, LATER]);
                let root = usize::try_from(root.version - 1).unwrap();
                let others = self.honest_moment(root, moment);
                let roles: Vec<&Role> = others.keys().collect();
                let role = (*self.rng.pick(&roles)).clone();
                let version = match role {
                    Role::Snapshot => NOW.snapshot,
                    _ => NOW.targets,
                };
                self.files.insert(file_name(&role, version), others[&role].clone());
                self.story.push(format!("{role} is that of another moment"));
            }
        }
    }
}

/// What became of a document.
struct Written {
    honest: Vec<u8>,
    bytes: Vec<u8>,
    version: u64,
}

/// How often what happened.
#[derive(Debug, Default)]
struct Tally(BTreeMap<String, u64>);

impl Tally {
    fn count(&mut self, what: impl Into<String>) {
        *self.0.entry(what.into()).or_default() += 1;
    }

    fn sum(&self, beginning: &str) -> u64 {
        self.0.iter().filter(|(what, _)| what.starts_with(beginning)).map(|(_, count)| count).sum()
    }
}

/// An error of ours without what differs from case to case: names in quotes, numbers.
fn kind(error: &str) -> String {
    let mut quoted = false;
    let mut text = String::new();
    for c in error.chars().take(160) {
        match c {
            '\'' => quoted = !quoted,
            _ if quoted => {}
            c if c.is_ascii_digit() => {
                if !text.ends_with('N') {
                    text.push('N');
                }
            }
            c => text.push(c),
        }
    }
    let without_role = text.split_once(": ").map_or(text.as_str(), |(_, reason)| reason);
    without_role.chars().take(60).collect()
}

/// Their answer without hashes of kinds that are not known here.
fn in_our_words(theirs: &Value) -> Value {
    let mut theirs = theirs.clone();
    for file in theirs["found"].as_object_mut().into_iter().flat_map(|found| found.values_mut()) {
        if let Some(hashes) = file.get_mut("hashes").and_then(Value::as_object_mut) {
            hashes.retain(|kind, _| kind == "sha256" || kind == "sha512");
        }
    }
    theirs
}

/// Compares two opinions of one case.
fn compare(set: &Set, theirs: &Value, tally: &mut Tally) -> Result<(), String> {
    let ours = set.ours();
    match (&ours, theirs.get("refused").and_then(Value::as_str)) {
        (Ok(ours), None) if *ours == in_our_words(theirs) => tally.count("both believe"),
        (Ok(ours), None) => return Err(format!("both believe, and not the same: {ours} and {theirs}")),
        (Err(_), Some(_)) => tally.count("both refuse"),
        (Err(error), None) => tally.count(format!("only we refuse: {}", kind(error))),
        (Ok(_), Some(refused)) => match EXPLAINED.iter().find(|explained| (explained.is_so)(set, refused)) {
            Some(explained) => tally.count(format!("only python-tuf refuses: {}", explained.reason)),
            None => return Err(format!("python-tuf refuses, and we believe: {refused}")),
        },
    }
    Ok(())
}

/// Makes and compares the cases of every second batch; the holes that were found.
fn compare_every_second(worker: u64, count: u64) -> (Tally, Vec<String>) {
    let (mut python, mut tally, mut holes) = (PythonTuf::start(), Tally::default(), Vec::new());
    for first in (worker * BATCH..count).step_by(usize::try_from(2 * BATCH).unwrap()) {
        let sets: Vec<Set> = (first..(first + BATCH).min(count)).map(|case| Forge::new(case).finish()).collect();
        let questions: Vec<Value> = sets.iter().map(Set::question).collect();
        for ((case, set), theirs) in (first..).zip(&sets).zip(python.ask(&questions)) {
            if let Err(hole) = compare(set, &theirs, &mut tally) {
                holes.push(format!("case {case}: {hole}\n  {}", set.story.join("\n  ")));
            }
        }
    }
    (tally, holes)
}

fn cases() -> u64 {
    let is_long = std::env::var_os("UPDRAFT_LONG").is_some();
    let usual = if is_long { CASES.1 } else { CASES.0 };
    std::env::var("UPDRAFT_DIFFERENTIAL_CASES").map_or(usual, |count| count.parse().unwrap())
}

#[test]
#[ignore = "needs python-tuf: scripts/test"]
#[expect(clippy::print_stderr, reason = "the counts are for people")]
fn what_python_tuf_refuses_is_refused() {
    let count = cases();
    let mut tally = Tally::default();
    let mut holes = Vec::new();
    // Two processes: python-tuf takes most of the time.
    let shares: Vec<(Tally, Vec<String>)> = std::thread::scope(|scope| {
        let share = |worker: u64| move || compare_every_second(worker, count);
        let workers = [0, 1].map(|worker| scope.spawn(share(worker)));
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    for (of_share, found) in shares {
        of_share.0.into_iter().for_each(|(what, n)| *tally.0.entry(what).or_default() += n);
        holes.extend(found);
    }
    eprintln!("{count} cases: {tally:#?}");
    assert!(holes.is_empty(), "{} holes:\n{}", holes.len(), holes.join("\n"));
    let [both, refused] = ["both believe", "both refuse"].map(|what| tally.sum(what));
    assert!(
        both * 10 > count && refused * 10 > count,
        "too few cases say anything: {both} believed, {refused} refused"
    );
}

/// Keys and signatures of other schemes, by OpenSSL, with their parts altered.
#[test]
#[ignore = "needs python-tuf: scripts/test"]
fn a_key_verifies_what_python_tuf_says_that_it_verifies() {
    let files = [
        ("ecdsa", "ecdsa-sha2-nistp256", include_str!("../../../core/tests/data/p256.txt")),
        ("rsa", "rsassa-pss-sha256", include_str!("../../../core/tests/data/rsa-pss.txt")),
    ];
    let mut rng = Rng::new(7);
    let mut questions = Vec::new();
    for (keytype, scheme, file) in files {
        let (pem, signature) = file.trim().rsplit_once('\n').unwrap();
        let key = |pem: &str| json!({"keytype": keytype, "scheme": scheme, "keyval": {"public": pem}});
        questions.push(json!({"key": {"key": key(pem), "message": "hello", "signature": signature}}));
        for _ in 0..cases() / 4 {
            let (mut pem, mut signature) = (pem.as_bytes().to_vec(), signature.as_bytes().to_vec());
            let altered = if rng.once_in(2) { &mut pem } else { &mut signature };
            mutate::bytes(&mut rng, altered);
            let (Ok(pem), Ok(signature)) = (String::from_utf8(pem), String::from_utf8(signature)) else { continue };
            questions.push(json!({"key": {"key": key(&pem), "message": "hello", "signature": signature}}));
        }
    }
    let mut verified = 0;
    for (question, theirs) in questions.iter().zip(PythonTuf::start().ask(&questions)) {
        let part = &question["key"];
        let key: PublicKey = serde_json::from_value(part["key"].clone()).unwrap();
        let ours = key.verifies(b"hello", part["signature"].as_str().unwrap());
        verified += u64::from(ours);
        assert!(!ours || theirs["verified"] == true, "{theirs}: {question}");
    }
    assert!(verified >= 2, "what is not altered verifies");
}

#[test]
#[ignore = "needs python-tuf: scripts/test"]
fn a_delegated_role_may_speak_of_the_same_targets() {
    let mut rng = Rng::new(11);
    let word = |rng: &mut Rng, letters: &[&str]| -> String { (0..rng.below(7)).map(|_| *rng.pick(letters)).collect() };
    let (of_patterns, of_paths) = (
        ["a", "b", "*", "?", "[", "]", "!", "-", "/", "^", "\\", ".", "\u{e9}"],
        ["a", "b", "c", "/", "-", "]", "[", "!", ".", "\\", "\u{e9}"],
    );
    let questions: Vec<Value> = (0..cases() * 4)
        .map(|_| {
            let path = word(&mut rng, &of_paths);
            match rng.below(4) {
                0 => json!({"pattern": {"path_hash_prefixes": [word(&mut rng, &["0", "a", "F", "7"])], "path": path}}),
                _ => json!({"pattern": {"paths": [word(&mut rng, &of_patterns)], "path": path}}),
            }
        })
        .collect();
    let mut spoken = 0;
    for (question, theirs) in questions.iter().zip(PythonTuf::start().ask(&questions)) {
        let mut role = json!({"name": "role", "keyids": [], "threshold": 1, "terminating": false});
        role.as_object_mut().unwrap().extend(question["pattern"].as_object().unwrap().clone());
        let role: DelegatedRole = serde_json::from_value(role).unwrap();
        let ours = role.may_speak_of(question["pattern"]["path"].as_str().unwrap());
        spoken += u64::from(ours);
        assert_eq!(json!({"may_speak": ours}), theirs, "{question}");
    }
    assert!(spoken > cases() / 20, "too few patterns fit: {spoken}");
}
