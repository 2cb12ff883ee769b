//! Two opinions of the same metadata: ours, and python-tuf's.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};
use updraft_core::head::Head;
use updraft_core::layout::role_file_name;
use updraft_core::trust::{MetadataFile, RefreshError, Role, Source, TargetFile, find_target, refresh};
use updraft_testkit::{MemoryCache, clock};

use crate::python;

/// A device, and what it is served.
#[derive(Debug, Clone)]
pub(super) struct Set {
    pub(super) root: Vec<u8>,
    pub(super) cache: BTreeMap<Role, Vec<u8>>,
    pub(super) files: BTreeMap<String, Vec<u8>>,
    pub(super) paths: Vec<String>,
    /// What was done to it.
    pub(super) story: Vec<String>,
}

/// The name of a file in [`Set::files`].
pub(super) fn file_name(role: &Role, version: u64) -> String {
    match role {
        Role::Timestamp => "timestamp.json".to_owned(),
        _ => format!("{version}.{}", role_file_name(role)),
    }
}

impl Set {
    /// The question, as `python/judge.py` reads it.
    pub(super) fn question(&self) -> Value {
        let cache: BTreeMap<_, _> = self.cache.iter().map(|(role, b)| (role_file_name(role), hex::encode(b))).collect();
        let files: BTreeMap<_, _> = self.files.iter().map(|(name, bytes)| (name, hex::encode(bytes))).collect();
        let now = clock::now().as_second();
        json!({"set": {"root": hex::encode(&self.root), "cache": cache, "files": files, "now": now, "paths": self.paths}})
    }

    /// Whether the roots that are served name other keys for timestamp or snapshot than the trusted one.
    pub(super) fn replaces_online_keys(&self) -> bool {
        let named = |bytes: &[u8]| {
            let root = serde_json::from_slice::<Value>(bytes).ok()?;
            let (roles, keys) = (&root["signed"]["roles"], &root["signed"]["keys"]);
            let of_role = |role: &str| -> Vec<Value> {
                let keyids = roles[role]["keyids"].as_array().into_iter().flatten();
                keyids.map(|keyid| keys[keyid.as_str().unwrap_or_default()].clone()).collect()
            };
            Some(["timestamp", "snapshot"].map(|role| (of_role(role), roles[role]["threshold"].clone())))
        };
        let roots = self.files.iter().filter(|(name, _)| name.ends_with(".root.json"));
        let trusted = named(&self.root);
        roots.map(|(_, bytes)| named(bytes)).any(|root| root.is_some() && root != trusted)
    }

    /// What we make of it: the versions that are believed, and what each path led to.
    pub(super) fn ours(&self) -> Result<Value, String> {
        let mut source = Files(&self.files);
        let mut cache = MemoryCache { files: self.cache.clone() };
        let text = |error: RefreshError<Infallible, Infallible>| error.to_string();
        let mut trusted = refresh(&self.root, clock::now(), &mut source, &mut cache).map_err(text)?.trusted;
        let mut found = serde_json::Map::new();
        for path in &self.paths {
            let file = find_target(&mut trusted, path, &mut source, &mut cache).map_err(text)?;
            let told = |file: TargetFile| json!({"length": file.length, "hashes": file.hashes});
            found.insert(path.clone(), file.map_or(Value::Null, told));
        }
        let version = |role: &Role| match role {
            Role::Root => trusted.root().version,
            Role::Timestamp => trusted.timestamp().unwrap().version,
            Role::Snapshot => trusted.snapshot().unwrap().version,
            role => trusted.targets(role).unwrap().version,
        };
        let roles = [Role::Root, Role::Timestamp, Role::Snapshot, Role::Targets];
        let versions: BTreeMap<_, _> = roles.iter().map(|role| (role.name(), version(role))).collect();
        Ok(json!({"versions": versions, "found": found}))
    }
}

struct Files<'a>(&'a BTreeMap<String, Vec<u8>>);

impl Source for Files<'_> {
    type Error = Infallible;

    fn head(&mut self) -> Result<Option<Head>, Infallible> {
        Ok(None)
    }

    fn fetch(&mut self, file: &MetadataFile, _: u64) -> Result<Option<Vec<u8>>, Infallible> {
        let name = match file {
            MetadataFile::Root(version) => file_name(&Role::Root, *version),
            MetadataFile::Timestamp => file_name(&Role::Timestamp, 0),
            MetadataFile::Versioned(role, version) => file_name(role, *version),
        };
        Ok(self.0.get(&name).cloned())
    }
}

/// One process that runs python-tuf.
pub(super) struct PythonTuf {
    child: Child,
    questions: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl PythonTuf {
    pub(super) fn start() -> Self {
        let mut command = Command::new(python());
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/python/judge.py"));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Self { questions: child.stdin.take(), answers, child }
    }

    /// Its answers, one for each question.
    pub(super) fn ask(&mut self, questions: &[Value]) -> Vec<Value> {
        let mut line = serde_json::to_vec(questions).unwrap();
        line.push(b'\n');
        self.questions.as_mut().unwrap().write_all(&line).unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        let answers: Vec<Value> = serde_json::from_str(&answer).unwrap_or_else(|e| panic!("{e}: '{answer}'"));
        assert_eq!(answers.len(), questions.len());
        answers
    }
}

impl Drop for PythonTuf {
    fn drop(&mut self) {
        // Without questions it ends by itself.
        self.questions = None;
        let _ = self.child.wait();
    }
}
