//! The crates and the arrows between them, from the manifests and the lock file.

use std::collections::{BTreeMap, BTreeSet};

use toml::{Table, Value};

use crate::workspace;

/// What a crate's `Cargo.toml` says.
#[derive(Debug, Clone)]
pub(super) struct Manifest {
    /// Its directory below `crates/`.
    pub(super) dir: String,
    /// Its name.
    pub(super) name: String,
    /// What it needs on any platform, to be built and to run.
    pub(super) dependencies: BTreeSet<String>,
    /// What its tests need besides.
    pub(super) dev_dependencies: BTreeSet<String>,
    /// Dependencies whose version is not the workspace's.
    pub(super) own_versions: Vec<String>,
    /// Whether it obeys the workspace's lints.
    pub(super) has_workspace_lints: bool,
}

fn read(path: &str) -> Table {
    std::fs::read_to_string(workspace().join(path)).unwrap().parse().unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// The manifests of every crate, by directory.
pub(super) fn manifests() -> Vec<Manifest> {
    let entries = std::fs::read_dir(workspace().join("crates")).unwrap();
    let mut dirs: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    dirs.sort();
    dirs.into_iter().map(manifest).collect()
}

fn manifest(dir: String) -> Manifest {
    let table = read(&format!("crates/{dir}/Cargo.toml"));
    let mut manifest = Manifest {
        name: table["package"]["name"].as_str().unwrap().to_owned(),
        dependencies: BTreeSet::new(),
        dev_dependencies: BTreeSet::new(),
        own_versions: Vec::new(),
        has_workspace_lints: table.get("lints").is_some_and(is_from_workspace),
        dir,
    };
    manifest.take(&table);
    for target in table.get("target").and_then(Value::as_table).into_iter().flat_map(Table::values) {
        manifest.take(target.as_table().unwrap());
    }
    manifest
}

impl Manifest {
    fn take(&mut self, table: &Table) {
        for (kind, list) in [
            ("dependencies", &mut self.dependencies),
            ("build-dependencies", &mut BTreeSet::new()),
            ("dev-dependencies", &mut self.dev_dependencies),
        ] {
            for (name, how) in table.get(kind).and_then(Value::as_table).into_iter().flatten() {
                if !is_from_workspace(how) {
                    self.own_versions.push(name.clone());
                }
                list.insert(name.clone());
            }
        }
    }
}

fn is_from_workspace(value: &Value) -> bool {
    value.get("workspace").and_then(Value::as_bool) == Some(true)
}

/// The names in `[workspace.dependencies]`.
pub(super) fn workspace_dependencies() -> BTreeSet<String> {
    read("Cargo.toml")["workspace"]["dependencies"].as_table().unwrap().keys().cloned().collect()
}

/// `Cargo.lock`: who needs whom.
pub(super) struct Lock {
    /// By name and version: the entries that it needs, each a name with or without a version.
    packages: BTreeMap<(String, String), Vec<String>>,
}

impl Lock {
    pub(super) fn read() -> Self {
        let lock = read("Cargo.lock");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let package = |package: &Value| {
            let needs = package.get("dependencies").and_then(Value::as_array);
            let needs = needs.into_iter().flatten().map(text).collect();
            ((text(&package["name"]), text(&package["version"])), needs)
        };
        Self { packages: lock["package"].as_array().unwrap().iter().map(package).collect() }
    }

    /// The names of what `from` pulls in. The lock file does not tell what only tests need; for our own crates the
    /// manifests do, and of others it lists nothing that only tests need.
    pub(super) fn reachable(&self, from: &str, manifests: &[Manifest]) -> BTreeSet<String> {
        let ours: BTreeMap<&str, &BTreeSet<String>> =
            manifests.iter().map(|manifest| (manifest.name.as_str(), &manifest.dependencies)).collect();
        let mut seen = BTreeSet::new();
        let mut next = vec![from.to_owned()];
        while let Some(entry) = next.pop() {
            let mut words = entry.split(' ');
            let (name, version) = (words.next().unwrap(), words.next());
            let is_meant = |(n, v): &(String, String)| n == name && version.is_none_or(|version| v == version);
            let package = self.packages.iter().find(|(package, _)| is_meant(package));
            let (package, needs) = package.unwrap_or_else(|| panic!("{entry} is not in Cargo.lock"));
            if !seen.insert(package.clone()) {
                continue;
            }
            let counts = |need: &&String| {
                let need = need.split(' ').next().unwrap();
                ours.get(name).is_none_or(|dependencies| dependencies.contains(need))
            };
            next.extend(needs.iter().filter(counts).cloned());
        }
        seen.into_iter().map(|(name, _)| name).filter(|name| name != from).collect()
    }
}
