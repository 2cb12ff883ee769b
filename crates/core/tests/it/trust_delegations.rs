//! The search for a target through delegations (TUF 5.6.7), over graphs of every kind: whom it asks, in which order, and
//! when it ends.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::convert::Infallible;

use updraft_core::Timestamp;
use updraft_core::head::Head;
use updraft_core::key::SigningKey;
use updraft_core::limits::DELEGATIONS_VISITED_MAX;
use updraft_core::signed::{Envelope, RoleKeys};
use updraft_core::trust::{
    Cache, DelegatedRole, Delegations, Error, Meta, MetadataFile, RefreshError, Role, Root, Snapshot, Source,
    TargetFile, Targets, TimestampMeta, Trusted, find_target, refresh,
};
use updraft_testkit::clock;

fn key(n: u8) -> SigningKey {
    SigningKey::from_seed([n; 32])
}

fn expires() -> Timestamp {
    clock::now() + jiff::SignedDuration::from_hours(24)
}

/// `from` trusts `to` with what `paths` fit, signed by key `signer`.
struct Edge {
    from: &'static str,
    to: String,
    paths: &'static str,
    terminating: bool,
    signer: u8,
}

fn edge(from: &'static str, to: &str) -> Edge {
    Edge { from, to: to.to_owned(), paths: "*", terminating: false, signer: 1 }
}

/// A repository of one target, `wanted`, which the role `holder` lists, and of roles that delegate as `edges` say. Every
/// role is signed by key 1.
struct Graph {
    files: BTreeMap<String, Vec<u8>>,
    asked: RefCell<Vec<String>>,
}

const WANTED: &[u8] = b"the target";

impl Graph {
    fn new(edges: &[Edge], holder: Option<&str>) -> Self {
        let mut roles: BTreeMap<String, Targets> = BTreeMap::new();
        let empty = || Targets::new(1, expires());
        roles.insert("targets".to_owned(), empty());
        for Edge { from, to, paths, terminating, signer } in edges {
            roles.entry(to.clone()).or_insert_with(empty);
            let of = roles.entry((*from).to_owned()).or_insert_with(empty);
            let none = || Delegations { keys: BTreeMap::new(), roles: vec![] };
            let delegations = of.delegations.get_or_insert_with(none);
            let signer = key(*signer).public();
            delegations.keys.insert(signer.id(), signer.clone());
            delegations.roles.push(DelegatedRole {
                name: to.clone(),
                keys: RoleKeys { keyids: vec![signer.id()], threshold: 1 },
                paths: Some(vec![(*paths).to_owned()]),
                path_hash_prefixes: None,
                terminating: *terminating,
            });
        }
        if let Some(holder) = holder {
            roles.get_mut(holder).unwrap().targets.insert("wanted".to_owned(), TargetFile::of(WANTED));
        }
        Self::signed(&roles)
    }

    fn signed(roles: &BTreeMap<String, Targets>) -> Self {
        let public = [key(1).public()];
        let all = [Role::Root, Role::Timestamp, Role::Snapshot, Role::Targets];
        let root = all.iter().fold(Root::new(1, expires()), |root, role| root.with_role(role, &public, 1));
        let signed = |content: Envelope| content.sign(&key(1)).to_bytes();
        let mut files: BTreeMap<String, Vec<u8>> =
            roles.iter().map(|(name, role)| (format!("1.{name}"), signed(Envelope::new(role)))).collect();
        let meta = roles.keys().map(|name| (Role::from_name(name), Meta::of(&files[&format!("1.{name}")], 1)));
        let snapshot = signed(Envelope::new(&Snapshot::new(1, expires(), meta)));
        let timestamp = TimestampMeta::new(1, expires(), Meta::of(&snapshot, 1));
        files.insert("timestamp".to_owned(), signed(Envelope::new(&timestamp)));
        files.insert("1.snapshot".to_owned(), snapshot);
        files.insert("1.root".to_owned(), signed(Envelope::new(&root)));
        Self { files, asked: RefCell::default() }
    }

    /// What a search finds, and the delegated roles that it asked for, in order.
    fn search(&mut self) -> (Result<Option<TargetFile>, Error>, Vec<String>) {
        let mut trusted = self.trusted();
        self.asked.borrow_mut().clear();
        let found = find_target(&mut trusted, "wanted", self, &mut Nothing).map_err(distrust);
        (found, self.asked.borrow().clone())
    }

    fn trusted(&mut self) -> Trusted {
        let root = self.files["1.root"].clone();
        refresh(&root, clock::now(), self, &mut Nothing).unwrap().trusted
    }
}

#[track_caller]
fn distrust(error: RefreshError<Infallible, Infallible>) -> Error {
    match error {
        RefreshError::Trust(error) => error,
        other => panic!("not refused for want of trust: {other}"),
    }
}

impl Source for Graph {
    type Error = Infallible;

    fn head(&mut self) -> Result<Option<Head>, Infallible> {
        Ok(None)
    }

    fn fetch(&mut self, file: &MetadataFile, _max: u64) -> Result<Option<Vec<u8>>, Infallible> {
        let name = match file {
            MetadataFile::Root(version) => format!("{version}.root"),
            MetadataFile::Timestamp => "timestamp".to_owned(),
            MetadataFile::Versioned(role, version) => format!("{version}.{role}"),
        };
        self.asked.borrow_mut().push(name.trim_start_matches("1.").to_owned());
        Ok(self.files.get(&name).cloned())
    }
}

/// A cache that keeps nothing.
struct Nothing;

impl Cache for Nothing {
    type Error = Infallible;

    fn load(&mut self, _role: &Role) -> Option<Vec<u8>> {
        None
    }

    fn store(&mut self, _role: &Role, _bytes: &[u8]) -> Result<(), Infallible> {
        Ok(())
    }
}

#[test]
fn the_order_of_the_search() {
    let ending = |from, to: &str| Edge { terminating: true, ..edge(from, to) };
    let elsewhere = |from, to: &str| Edge { paths: "other/*", ..edge(from, to) };
    let t = "targets";
    for (name, edges, order) in [
        ("brothers", vec![edge(t, "a"), edge(t, "b")], "a b"),
        ("children come before brothers", vec![edge(t, "a"), edge(t, "b"), edge("a", "c"), edge("c", "d")], "a c d b"),
        ("a terminating role ends it", vec![edge(t, "a"), edge(t, "b"), ending("a", "c"), edge("a", "d")], "a c"),
        ("but not its own children", vec![edge(t, "a"), ending("a", "c"), edge("c", "d"), edge(t, "b")], "a c d"),
        ("one that may not speak of it is not asked", vec![elsewhere(t, "a"), edge(t, "b"), edge("a", "c")], "b"),
        ("nor ends it", vec![Edge { paths: "x", ..ending(t, "a") }, edge(t, "b")], "b"),
        ("a circle", vec![edge(t, "a"), edge("a", "b"), edge("b", "c"), edge("c", "a")], "a b c"),
        ("a role that delegates to itself", vec![edge(t, "a"), edge("a", "a"), edge(t, "b")], "a b"),
        ("two ways to one role", vec![edge(t, "a"), edge(t, "b"), edge("a", "c"), edge("b", "c")], "a c b"),
    ] {
        let (found, asked) = Graph::new(&edges, None).search();
        assert_eq!((found, asked.join(" ")), (Ok(None), order.to_owned()), "{name}");
    }
}

#[test]
fn the_first_that_knows_it_is_believed_and_nobody_is_asked_after() {
    let edges = [edge("targets", "a"), edge("targets", "b"), edge("a", "c")];
    for (holder, asked) in [("targets", ""), ("a", "a"), ("c", "a c"), ("b", "a c b")] {
        let (found, order) = Graph::new(&edges, Some(holder)).search();
        assert_eq!((found, order.join(" ")), (Ok(Some(TargetFile::of(WANTED))), asked.to_owned()));
    }
}

#[test]
fn a_role_speaks_of_nothing_that_it_was_not_trusted_with() {
    // It lists the target, and whoever delegates to it allows other paths only.
    for paths in ["other", "*/wanted", "wante?/*"] {
        let edges = [Edge { paths, ..edge("targets", "a") }];
        assert_eq!(Graph::new(&edges, Some("a")).search().0, Ok(None), "{paths}");
    }
    // Allowed by the second of two links, not by the first.
    let edges = [Edge { paths: "x*", ..edge("targets", "a") }, edge("a", "b")];
    assert_eq!(Graph::new(&edges, Some("b")).search().0, Ok(None));
}

#[test]
fn a_chain_without_end_is_left() {
    let names: Vec<&'static str> = (0..100).map(|n| &*format!("r{n}").leak()).collect();
    let mut edges = vec![edge("targets", names[0])];
    edges.extend(names.windows(2).map(|pair| edge(pair[0], pair[1])));
    let (found, asked) = Graph::new(&edges, Some("r99")).search();
    assert_eq!((found, asked.len()), (Ok(None), DELEGATIONS_VISITED_MAX));
    let (found, _) = Graph::new(&edges, Some("r31")).search();
    assert_eq!(found, Ok(Some(TargetFile::of(WANTED))));
}

#[test]
fn a_role_is_signed_by_the_keys_that_its_delegator_names() {
    let edges = [Edge { signer: 2, ..edge("targets", "a") }];
    let (found, _) = Graph::new(&edges, Some("a")).search();
    assert!(matches!(found, Err(Error::Signed { role, .. }) if role.name() == "a"));
}

#[test]
fn what_one_delegator_vouched_for_another_has_to_vouch_for_too() {
    // `shared` is signed by the key that `a` names; `b` names another one.
    let by_a = Edge { paths: "wanted", ..edge("a", "shared") };
    let by_b = Edge { signer: 2, ..edge("b", "shared") };
    let edges = [Edge { paths: "wanted", ..edge("targets", "a") }, edge("targets", "b"), by_a, by_b];
    let mut graph = Graph::new(&edges, Some("shared"));
    let mut trusted = graph.trusted();
    assert!(find_target(&mut trusted, "wanted", &mut graph, &mut Nothing).unwrap().is_some());
    // The next search in the same state leads there by way of `b` alone.
    let error = find_target(&mut trusted, "evil", &mut graph, &mut Nothing).map_err(distrust).unwrap_err();
    assert!(matches!(error, Error::Signed { role, .. } if role.name() == "shared"));
}

#[test]
fn a_role_that_the_snapshot_does_not_name_is_not_even_asked_for() {
    let mut graph = Graph::new(&[edge("targets", "a")], Some("a"));
    let only_targets = [(Role::Targets, Meta::of(&graph.files["1.targets"], 1))];
    let sign = |content: Envelope| content.sign(&key(1)).to_bytes();
    let snapshot = sign(Envelope::new(&Snapshot::new(1, expires(), only_targets)));
    let timestamp = TimestampMeta::new(1, expires(), Meta::of(&snapshot, 1));
    graph.files.insert("timestamp".to_owned(), sign(Envelope::new(&timestamp)));
    graph.files.insert("1.snapshot".to_owned(), snapshot);
    let (found, asked) = graph.search();
    assert!(matches!(found, Err(Error::Unnamed { role, .. }) if role.name() == "a"));
    assert!(asked.is_empty());
}
