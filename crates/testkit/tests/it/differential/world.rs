//! Valid repositories of many shapes, as documents that can still be edited and signed.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};
use updraft_core::digest::{Sha256, Sha512};
use updraft_core::key::PublicKey;
use updraft_core::signed::{Envelope, RoleKeys};
use updraft_core::trust::{DelegatedRole, Delegations, Role, Root, TargetFile, Targets};
use updraft_testkit::{clock, keys};

use super::rng::Rng;

/// A document and who signs it: keys by the names that [`keys::named`] grows them from.
#[derive(Debug, Clone)]
pub(super) struct Doc {
    pub(super) role: Role,
    pub(super) version: u64,
    pub(super) content: Value,
    pub(super) signers: Vec<String>,
}

impl Doc {
    fn new(role: Role, version: u64, content: &impl serde::Serialize, signers: &[String]) -> Self {
        Self { role, version, content: serde_json::to_value(content).unwrap(), signers: signers.to_vec() }
    }

    /// The document as it is written.
    pub(super) fn wire(&self) -> Value {
        let signed = self.signers.iter().fold(Envelope::new(&self.content), |e, name| e.sign(&keys::named(name)));
        serde_json::from_slice(&signed.to_bytes()).unwrap()
    }
}

/// Keys and a threshold for each top-level role.
type Keys = BTreeMap<&'static str, (Vec<String>, u32)>;

const TOP_LEVEL: [Role; 4] = [Role::Root, Role::Timestamp, Role::Snapshot, Role::Targets];

/// What is said of a file in the metadata above it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    Version,
    Sha256,
    Everything,
}

/// What stands between roots and timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Flat,
    /// As an app of ours.
    Channels,
    /// Delegations by path and by hash, one of them terminating, one under two signatures, one in a circle.
    Tree,
}

/// A repository.
#[derive(Debug, Clone)]
pub(super) struct World {
    shape: Shape,
    said: Said,
    /// The keys of each root, the first of which the device trusts.
    roots: Vec<Keys>,
    /// Target paths to look up.
    pub(super) paths: Vec<String>,
}

fn names(role: &str, generation: usize, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{role} {generation} {n}")).collect()
}

fn publics(names: &[String]) -> Vec<PublicKey> {
    names.iter().map(|name| keys::named(name).public()).collect()
}

fn expires() -> Timestamp {
    clock::days(30)
}

impl World {
    /// Any shape, any number of keys and of roots.
    pub(super) fn any(rng: &mut Rng) -> Self {
        let mut roots = vec![Keys::new()];
        for role in ["root", "timestamp", "snapshot", "targets"] {
            let (count, threshold) = *rng.pick(&[(1, 1), (1, 1), (2, 1), (2, 2), (3, 2)]);
            roots[0].insert(role, (names(role, 0, count), threshold));
        }
        for generation in 1..=rng.below(3) {
            let mut next = roots[generation - 1].clone();
            for (role, keys) in &mut next {
                if rng.once_in(2) {
                    let (count, threshold) = *rng.pick(&[(1, 1), (2, 2), (3, 2)]);
                    *keys = (names(role, generation, count), threshold);
                }
            }
            roots.push(next);
        }
        let shape = *rng.pick(&[Shape::Flat, Shape::Channels, Shape::Tree, Shape::Tree]);
        let said = *rng.pick(&[Said::Version, Said::Sha256, Said::Everything]);
        let paths: &[&str] = match shape {
            Shape::Flat => &["a.txt", "absent"],
            Shape::Channels => &["releases/any/1.0.0.json", "channels/stable", "channels/absent"],
            Shape::Tree => &["a.txt", "docs/x.md", "docs/deep.md", "docs/absent.md", "bins/one", "bins/absent"],
        };
        Self { shape, said, roots, paths: paths.iter().map(|path| (*path).to_owned()).collect() }
    }

    /// Every root from the trusted one on.
    pub(super) fn roots(&self) -> Vec<Doc> {
        let mut docs = Vec::new();
        for (n, keys) in self.roots.iter().enumerate() {
            let version = n as u64 + 1;
            let root = TOP_LEVEL.iter().fold(Root::new(version, expires()), |root, role| {
                let (names, threshold) = &keys[role.name()];
                root.with_role(role, &publics(names), *threshold)
            });
            let mut signers = keys["root"].0.clone();
            if n > 0 {
                signers
                    .extend(self.roots[n - 1]["root"].0.iter().filter(|name| !keys["root"].0.contains(name)).cloned());
            }
            docs.push(Doc::new(Role::Root, version, &root, &signers));
        }
        docs
    }

    /// `targets` and every delegated role, as signed under the root of this index.
    pub(super) fn targets(&self, root: usize, version: u64) -> Vec<Doc> {
        let signers = &self.roots[root]["targets"].0;
        let with = |paths: &[&str]| {
            let mut targets = Targets::new(version, expires());
            targets.targets = paths.iter().map(|path| ((*path).to_owned(), TargetFile::of(path.as_bytes()))).collect();
            targets
        };
        let channel = || TargetFile::of(b"{}").with_custom(json!({"format": 1, "platforms": {}}));
        match self.shape {
            Shape::Flat => vec![Doc::new(Role::Targets, version, &with(&["a.txt", "dir/b"]), signers)],
            Shape::Channels => {
                let online = names("online", 0, 1);
                let targets = with(&["releases/any/1.0.0.json"]).with_channels_role(&publics(&online)[0]);
                let mut channels = with(&[]);
                channels.targets.insert("channels/stable".to_owned(), channel());
                let channels = Doc::new(Role::channels(), version, &channels, &online);
                vec![Doc::new(Role::Targets, version, &targets, signers), channels]
            }
            Shape::Tree => {
                let [docs, ends, deep] = [names("docs", 0, 3), names("ends", 0, 1), names("deep", 0, 1)];
                let by_path = || Some(vec!["docs/*.md".to_owned(), "docs/[a-c]?.txt".to_owned()]);
                let mut top = with(&["a.txt"]);
                top.delegations = Some(delegations(
                    &[
                        role("docs", &docs, 2, by_path(), None),
                        DelegatedRole {
                            terminating: true,
                            ..role("ends", &ends, 1, None, Some("0123456789abcdef".chars().map(String::from).collect()))
                        },
                        role("behind", &deep, 1, Some(vec!["bins/*".to_owned()]), None),
                    ],
                    &[&docs, &ends, &deep],
                ));
                let mut middle = with(&["docs/x.md", "not/mine"]);
                middle.delegations = Some(delegations(&[role("deep/er", &deep, 1, by_path(), None)], &[&deep]));
                let mut deepest = with(&["docs/deep.md", "docs/x.md"]);
                deepest.delegations = Some(delegations(&[role("docs", &docs, 2, by_path(), None)], &[&docs]));
                vec![
                    Doc::new(Role::Targets, version, &top, signers),
                    Doc::new(Role::Delegated("docs".to_owned()), version, &middle, &docs),
                    Doc::new(Role::Delegated("deep/er".to_owned()), version, &deepest, &deep),
                    Doc::new(Role::Delegated("ends".to_owned()), version, &with(&["bins/one"]), &ends),
                    Doc::new(Role::Delegated("behind".to_owned()), version, &with(&["bins/absent"]), &deep),
                ]
            }
        }
    }

    /// What is said of a file in the metadata above it.
    pub(super) fn said(&self, version: u64, bytes: &[u8]) -> Value {
        match self.said {
            Said::Version => json!({"version": version}),
            Said::Sha256 => json!({"version": version, "length": bytes.len(), "hashes": {"sha256": Sha256::of(bytes)}}),
            Said::Everything => {
                let hashes = json!({"sha256": Sha256::of(bytes), "sha512": Sha512::of(bytes)});
                json!({"version": version, "length": bytes.len(), "hashes": hashes})
            }
        }
    }

    /// A snapshot or a timestamp over `meta`.
    pub(super) fn over(&self, root: usize, role: Role, version: u64, meta: BTreeMap<String, Value>) -> Doc {
        let text = expires().to_string();
        let content =
            json!({"_type": role.name(), "expires": text, "meta": meta, "spec_version": "1.0.34", "version": version});
        let signers = self.roots[root][role.name()].0.clone();
        Doc { role, version, content, signers }
    }

    /// The index of the newest root.
    pub(super) fn newest(&self) -> usize {
        self.roots.len() - 1
    }
}

fn role(
    name: &str,
    signers: &[String],
    threshold: u32,
    paths: Option<Vec<String>>,
    path_hash_prefixes: Option<Vec<String>>,
) -> DelegatedRole {
    let keys = RoleKeys { keyids: publics(signers).iter().map(PublicKey::id).collect(), threshold };
    DelegatedRole { name: name.to_owned(), keys, paths, path_hash_prefixes, terminating: false }
}

fn delegations(roles: &[DelegatedRole], signers: &[&Vec<String>]) -> Delegations {
    let keys = signers.iter().flat_map(|names| publics(names)).map(|key| (key.id(), key)).collect();
    Delegations { keys, roles: roles.to_vec() }
}
