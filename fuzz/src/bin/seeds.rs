//! Writes real values for every target to begin with: `seeds DIR` fills `DIR/TARGET/`.
//!
//! What a decoder reads in earnest is where the interesting neighbours are; from nothing, a fuzzer finds a signed document
//! never.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use updraft_core::digest::Digest;
use updraft_core::layout;
use updraft_core::tree::codec;
use updraft_core::trust::Role;
use updraft_differ::container::recognise;
use updraft_files::Index;
use updraft_fuzz::device::{FILES, scene};
use updraft_fuzz::roles::repository;
use updraft_publisher::keys::{Keystore, Known, Unlocked, public_text};
use updraft_testkit::{SimRepo, TreeFixture, keys};

struct Seeds(PathBuf);

impl Seeds {
    fn put(&self, target: &str, bytes: impl AsRef<[u8]>) {
        let dir = self.0.join(target);
        fs::create_dir_all(&dir).expect("a folder can be made");
        fs::write(dir.join(Digest::of(bytes.as_ref()).to_string()), bytes).expect("a file can be written");
    }
}

fn main() {
    let dir = std::env::args_os().nth(1).expect("usage: seeds DIR");
    let seeds = Seeds(dir.into());
    metadata(&seeds);
    documents(&seeds);
    words(&seeds);
    publisher(&seeds);
    patches(&seeds);
    containers(&seeds);
    masked_trees(&seeds);
    device(&seeds);
}

fn metadata(seeds: &Seeds) {
    let repo = repository();
    let roles = [
        ("role_root", Role::Root),
        ("role_timestamp", Role::Timestamp),
        ("role_snapshot", Role::Snapshot),
        ("role_targets", Role::Targets),
        ("role_delegated", Role::channels()),
    ];
    for (target, role) in roles {
        let bytes = repo.current(&role);
        let signed = serde_json::from_slice::<Value>(bytes).expect("metadata is JSON")["signed"].take().to_string();
        for target in [target, "json", "envelope"] {
            seeds.put(target, bytes);
        }
        seeds.put(target, signed);
    }
    let mut delegations: Value = serde_json::from_slice(repo.current(&Role::Targets)).expect("metadata is JSON");
    let delegations = &mut delegations["signed"];
    let keyids = delegations["delegations"]["roles"][0]["keyids"].clone();
    let role = |name: &str, scope: Value| {
        let mut role = json!({"name": name, "keyids": keyids, "threshold": 1, "terminating": false});
        role.as_object_mut().expect("an object").extend(scope.as_object().expect("an object").clone());
        role
    };
    delegations["delegations"]["roles"] = json!([
        role("channels", json!({"paths": ["channels/*", "[a-c]?/[!x]*"]})),
        role("../other", json!({"path_hash_prefixes": ["0", "ab", "ffff"]})),
    ]);
    seeds.put("role_targets", delegations.to_string());
    seeds.put("head", &repo.objects()[&layout::head(repo.app())]);
    seeds.put("key", serde_json::to_vec(&keys::root().public()).expect("a key is JSON"));
    for (keytype, scheme, pem) in [
        ("ecdsa", "ecdsa-sha2-nistp256", include_str!("../../../crates/core/tests/data/p256.txt")),
        ("rsa", "rsassa-pss-sha256", include_str!("../../../crates/core/tests/data/rsa-pss.txt")),
    ] {
        let pem = pem.trim().rsplit_once('\n').expect("a key and a signature").0;
        seeds.put("key", json!({"keytype": keytype, "scheme": scheme, "keyval": {"public": pem}}).to_string());
    }
}

fn documents(seeds: &Seeds) {
    for (key, bytes) in repository().objects() {
        match key.as_str() {
            text if text.contains("/releases/") => seeds.put("release", bytes),
            text if text.contains("/channels/") => seeds.put("channel", bytes),
            text if text.contains("/trees/") => seeds.put("tree_stored", bytes),
            _ => {}
        }
        seeds.put("layout", key.as_str());
    }
    let tree = TreeFixture::of(&[("bin/app*", "one"), ("data/", ""), ("link@", "bin/app")]).tree();
    seeds.put("tree", codec::encode(&tree));
    // The bytes of a tree, and a hint behind them.
    seeds.put("tree_stored", [codec::encode(&tree).as_slice(), &[7]].concat());
    seeds.put("index", Index::new().encode());
    seeds.put("release", "releases/linux-x86_64/1.0.0-beta.2+7.json");
    let digest = Digest::of(b"x");
    for body in [
        json!({"root": "{}", "targets": "{}"}),
        json!({"base": 3, "targets": "{}", "documents": ["{}"], "promote": {"channel": "stable", "release": {"platform": "any", "version": "1.0"}}}),
        json!({"base": 3, "root": "{}"}),
        json!({"blobs": [digest, digest]}),
        json!({"blobs": [null, {"size": 3, "zstd": true}]}),
        json!({"name": "demo", "root_sha256": digest, "root_version": 1, "channels": {}, "releases": [], "expires": {}}),
        json!({"type": "conflict", "title": "conflict", "status": 409, "detail": "x"}),
    ] {
        seeds.put("api", body.to_string());
    }
}

fn words(seeds: &Seeds) {
    for text in ["1.2.3", "1.2.3-rc.1+build.5", "2026.11.22.1", "v1", "1.0-alpha01.002.x", "0.0.0.0.0.0.0.1"] {
        seeds.put("version", text.repeat(3));
        seeds.put("version", [text.as_bytes(), text.as_bytes(), b"1.2.3", &[5, 0]].concat());
    }
    for text in ["a/b/c.txt", "\u{e9}/e\u{301}", "nul.txt", "a /b.", ".hidden/-x", "\u{1f600}"] {
        seeds.put("path", text);
        seeds.put("layout", format!("apps/demo/targets/{text}"));
    }
    for text in ["https://example.com/x/apps/demo/", "http://[::1]:8080/apps/a-b.c"] {
        seeds.put("app_url", text);
    }
    seeds.put(
        "config",
        "listen = \"127.0.0.1:8080\"\ngc_grace = \"7d\"\ntrusted_proxies = [\"10.0.0.0/8\", \"::1\"]\nwatch = true\n\
         folder = \"x\"\npublic_url = \"https://example.com\"\ntimestamp_lifetime = \"24h\"\n",
    );
    seeds.put("request", "\u{0}apps/demo/tuf/1.root.json\u{0}\u{1}bytes=0-3,5-,-2\u{1}\u{1}");
    seeds.put("request", "\u{2}api/v1/apps/demo/releases\u{9}application/json{\"base\":1}\u{1}\u{1}");
}

fn publisher(seeds: &Seeds) {
    let dir = tempfile::tempdir().expect("a folder can be made");
    Keystore::at(dir.path().join("plain")).create_keys(1, &Unlocked).expect("keys can be made");
    Keystore::at(dir.path().join("locked")).create_keys(1, &Known::new("x")).expect("keys can be made");
    for name in ["plain", "locked"] {
        let path = first_key(&dir.path().join(name));
        seeds.put("keystore", fs::read(path).expect("the key is there"));
    }
    seeds.put("public_key", public_text(&keys::root().public()));
    seeds.put(
        "public_key",
        "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n",
    );
    let mut repo = SimRepo::new("demo");
    let (first, base) = (repo.first_root().to_vec(), repo.current(&Role::Targets).to_vec());
    repo.rotate(&[Role::Targets], &[keys::named("next")], 1);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("metadata is text");
    let proposal = json!({
        "format": 1, "app": "demo", "roots": [text(&first)], "base": text(&base), "root": text(repo.current(&Role::Root)),
        "targets": text(repo.current(&Role::Targets)),
    });
    seeds.put("proposal", proposal.to_string());
}

/// The first private key in a key directory.
fn first_key(dir: &std::path::Path) -> PathBuf {
    let files =
        fs::read_dir(dir).expect("a folder can be read").map(|entry| entry.expect("an entry can be read").path());
    let mut keys: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|end| end == "pem")).collect();
    keys.sort();
    keys.into_iter().next().expect("there is a key")
}

fn patches(seeds: &Seeds) {
    let old: Vec<u8> = (0..2_000_u32).map(|n| (n * 31 % 251) as u8).collect();
    let mut new = old.clone();
    new.splice(100..120, *b"something else instead");
    new.truncate(1_500);
    for bases in [&[old.as_slice()][..], &[]] {
        let made = updraft_differ::make(bases, &[&new, b"another"], &updraft_differ::Options::default());
        seeds.put("patch", made.expect("a patch can be made").patch);
    }
}

fn masked_trees(seeds: &Seeds) {
    let old = TreeFixture::of(&[("a", "one"), ("b", "two"), ("d/c", "one"), ("d/e", "three"), ("l@", "a")]);
    for new in [
        old.clone(),
        old.clone().with("a", "four").with("f", "four"),
        old.clone().with("g/h*", "four").with("i", "fives"),
    ] {
        seeds.put("tree_masked", updraft_core::tree::patch::mask(&old.tree(), &new.tree()));
    }
}

fn containers(seeds: &Seeds) {
    let real: [&[u8]; 5] = [
        include_bytes!("../../../crates/differ/tests/data/python.zip"),
        include_bytes!("../../../crates/differ/tests/data/streamed.zip"),
        include_bytes!("../../../crates/differ/tests/data/python.gz"),
        include_bytes!("../../../crates/differ/tests/data/lines-new.gz"),
        include_bytes!("../../../crates/differ/tests/data/lines-new.zip"),
    ];
    for container in real {
        let found = recognise(container, 1 << 20).expect("it is a container");
        let params = found.params.encode();
        seeds.put("container", container);
        seeds.put("container", [&params, container].concat());
        seeds.put("container_image", [params, found.image].concat());
    }
}

fn device(seeds: &Seeds) {
    let scene = scene();
    for (choice, name) in FILES.iter().enumerate() {
        let choice = u8::try_from(choice).expect("there are a few");
        if let Ok(bytes) = fs::read(scene.home().join(name)) {
            seeds.put("home", [&[choice], bytes.as_slice()].concat());
        }
    }
    let ending = json!({
        "from": {"platform": "any", "version": "1.0.0"}, "to": {"platform": "any", "version": "1.1.0"},
        "way": {"way": "exchange"}, "rotate": "slot", "confirmation": {"is": "confirmed"}, "rejected": null, "backup": "1.0.0",
        "edited": ["a.txt"], "kept": [], "displaced": [], "damaged": [],
    });
    let was = |path: &str| {
        use std::os::unix::fs::MetadataExt;
        let meta = fs::symlink_metadata(scene.installed().join(path)).expect("it is installed");
        json!({"inode": meta.ino(), "size": meta.len(), "mtime_ns": meta.mtime() * 1_000_000_000 + meta.mtime_nsec()})
    };
    let steps = json!([
        {"aside": {"path": "bin", "inode": 1}},
        {"remove": {"path": "gone", "was": was("gone")}},
        {"remove_dir": {"path": "data"}},
        {"make_dir": {"path": "new", "mode": 493}},
        {"place": {"number": 0, "path": "bin/app", "was": was("bin/app")}},
        {"place": {"number": 1, "mount": "data%FF/..", "path": "bin/app", "was": null}},
    ]);
    for work in
        [json!({"exchange": {"old": 1_572_868, "new": 1_572_990}}), json!({"journal": steps}), json!({"journal": []})]
    {
        for rotate in ["slot", "hold", "undo", "drop"] {
            let mut ending = ending.clone();
            ending["rotate"] = rotate.into();
            seeds.put("journal", json!({"format": 1, "work": work, "ending": ending}).to_string());
        }
    }
}
