//! `testdata/v1`: a store of format 1 as it was first released. It is read here by whatever the code is now, and never
//! edited: a change that needs it edited is a new format, in a directory of its own. `testdata/patches` is guarded in the same
//! way; the tests of `updraft-differ` apply what is in it.
//!
//! Compressed bytes are only ever decoded: another release of zstd may write others.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use updraft_core::channel::{Channel, Device, pick};
use updraft_core::digest::{Digest, Sha256};
use updraft_core::head::Head;
use updraft_core::layout::{self, Key};
use updraft_core::name::{AppName, ChannelName, Platform};
use updraft_core::release::{Live, Notes, Release, ReleaseName};
use updraft_core::signed::Envelope;
use updraft_core::tree::codec;
use updraft_core::tree::stored::{self, Encoding};
use updraft_core::trust::{MetadataFile, Role, Root, Snapshot, Source, TargetFile, Targets, TimestampMeta, Trusted};
use updraft_testkit::{MemoryCache, SimDevice, clock, keys};

use crate::{files_below, workspace};

/// Every file with its BLAKE3, as `b3sum` writes it: nobody edits one unseen, and none is there by accident.
const GOLDEN: [(&str, &str); 2] = [
    ("testdata/v1", include_str!("../../../../testdata/v1.b3sum")),
    ("testdata/patches", include_str!("../../../../testdata/patches.b3sum")),
];

/// What lies among golden files and is none: a program that reads them.
const PROGRAM: &str = "stranger/";

fn dir() -> PathBuf {
    workspace().join("testdata/v1")
}

fn app() -> AppName {
    "demo".parse().unwrap()
}

fn read(key: &Key) -> Vec<u8> {
    std::fs::read(dir().join(key.as_str())).unwrap_or_else(|e| panic!("{key}: {e}"))
}

/// The store as a device asks it, with its head or as a plain repository.
struct Store {
    with_head: bool,
}

impl Source for Store {
    type Error = io::Error;

    fn head(&mut self) -> io::Result<Option<Head>> {
        Ok(self.with_head.then(|| Head::decode(&read(&layout::head(&app()))).unwrap()))
    }

    fn fetch(&mut self, file: &MetadataFile, max: u64) -> io::Result<Option<Vec<u8>>> {
        match std::fs::read(dir().join(layout::metadata(&app(), file).as_str())) {
            Ok(bytes) => Ok(Some(bytes).filter(|bytes| bytes.len() as u64 <= max)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn believed(with_head: bool) -> Trusted {
    let pinned = read(&layout::first_root(&app()));
    let mut device = SimDevice { pinned, cache: MemoryCache::default(), now: clock::hours(3) };
    device.refresh(&mut Store { with_head }).unwrap().trusted
}

/// The releases that the store has, with their documents.
fn releases(trusted: &Trusted) -> BTreeMap<ReleaseName, Vec<u8>> {
    let document = |(path, target): (&String, &TargetFile)| {
        let name = ReleaseName::from_target_path(path).expect("targets list releases");
        let bytes = read(&layout::release(&app(), &name, target.hashes.sha256.unwrap()));
        assert!(target.matches(&bytes), "{path}");
        (name, bytes)
    };
    trusted.targets(&Role::Targets).unwrap().targets.iter().map(document).collect()
}

fn channel(trusted: &Trusted, name: &ChannelName) -> Channel {
    let target = &trusted.targets(&Role::channels()).unwrap().targets[&Channel::target_path(name)];
    let file = read(&layout::channel(&app(), name, target.hashes.sha256.unwrap()));
    assert!(target.matches(&file));
    let custom = target.custom.clone().unwrap();
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&file).unwrap(), custom, "the file and custom are the same");
    let channel: Channel = serde_json::from_value(custom).unwrap();
    assert_eq!(serde_json::to_vec(&channel).unwrap(), file, "{name} is written the same today");
    channel
}

#[test]
fn the_list_of_files_is_complete_and_none_was_edited() {
    for (dir, files) in GOLDEN {
        let dir = workspace().join(dir);
        let line = |path: &String| format!("{}  {path}\n", Digest::of(&std::fs::read(dir.join(path)).unwrap()));
        let found: String = files_below(&dir).iter().filter(|path| !path.starts_with(PROGRAM)).map(line).collect();
        assert_eq!(found, files, "{}", dir.display());
    }
}

#[test]
fn a_device_believes_it() {
    let root_sha256 = Sha256::of(&read(&layout::first_root(&app()))).to_string();
    assert_eq!(root_sha256, "62de76b372ebd38c17323f3078d674a10cdeda990401409bc8218298fd65a124", "what a newcomer pins");
    for with_head in [true, false] {
        let trusted = believed(with_head);
        assert_eq!(trusted.root().version, 2);
        assert_eq!(releases(&trusted).len(), 2);
    }
}

#[test]
fn metadata_is_signed_the_same_today() {
    let trusted = believed(true);
    let resign = |role: &Role, signers: &[&str]| {
        let bytes = trusted.bytes(role).unwrap();
        let parsed = Envelope::parse(bytes, u64::MAX).unwrap();
        assert_eq!(parsed.to_bytes(), bytes, "{role} keeps its bytes");
        // Through its own type: no field is lost, none is written in another way.
        let typed = match role {
            Role::Root => Envelope::new(&parsed.content::<Root>().unwrap()),
            Role::Timestamp => Envelope::new(&parsed.content::<TimestampMeta>().unwrap()),
            Role::Snapshot => Envelope::new(&parsed.content::<Snapshot>().unwrap()),
            _ => Envelope::new(&parsed.content::<Targets>().unwrap()),
        };
        let signed = signers.iter().fold(typed, |envelope, name| envelope.sign(&keys::named(name)));
        assert_eq!(signed.to_bytes(), bytes, "{role} is signed the same today");
    };
    resign(&Role::Root, &["root"]);
    resign(&Role::Timestamp, &["online", "spare"]);
    resign(&Role::Snapshot, &["online"]);
    resign(&Role::Targets, &["targets"]);
    resign(&Role::channels(), &["online"]);
}

#[test]
fn the_head_is_written_the_same_today() {
    let bytes = read(&layout::head(&app()));
    let head = Head::decode(&bytes).unwrap();
    assert_eq!(head.encode(), bytes);
    assert_eq!(head.timestamp, read(&layout::metadata(&app(), &MetadataFile::Timestamp)), "timestamp.json is derived");
}

#[test]
fn release_documents_are_written_the_same_today() {
    for (name, document) in releases(&believed(true)) {
        let release = Release::decode(&document, &app(), &name).unwrap();
        assert_eq!(release.encode(), document, "{name}");
        match &release.notes {
            Notes::Text(text) => assert_eq!(text, "Release 1.0.0"),
            notes => assert_eq!(notes.for_locales(["zh"]), "**\u{65b0}**: \u{66f4}\u{591a}\u{6570}\u{636e}"),
        }
    }
}

#[test]
fn channels_pick_the_same_today() {
    let trusted = believed(true);
    let platform: Platform = "linux-x86_64".parse().unwrap();
    let terms = |(name, document): (ReleaseName, Vec<u8>)| {
        let release = Release::decode(&document, &app(), &name).unwrap();
        (name, release.terms)
    };
    let live: Live = releases(&trusted).into_iter().map(terms).collect();
    let picked = |name: &str| {
        let name = name.parse().unwrap();
        let pick = pick(&channel(&trusted, &name), &live, &Device::new(&name, &platform, None), clock::now());
        pick.take.expect("there is something for everybody").to_string()
    };
    assert_eq!(picked("stable"), "1.0.0");
    assert_eq!(picked("beta"), "1.1.0-beta.2+build.7 for linux-x86_64");
}

#[test]
fn trees_and_blobs_are_read_the_same_today() {
    let mut seen = Vec::new();
    for (name, document) in releases(&believed(true)) {
        let signed = Release::decode(&document, &app(), &name).unwrap().tree;
        let packed = read(&layout::tree(&app(), signed.digest));
        let (tree, hint) = stored::unpack(&packed, signed.digest, signed.length).unwrap();
        assert_eq!(Digest::of(&codec::encode(&tree)), signed.digest, "{name} is encoded the same today");
        assert_eq!((tree.file_count(), tree.byte_count()), (signed.files, signed.bytes));
        // An empty file is stored and never asked for, so there is no hint of it.
        for (digest, size) in tree.blobs().into_iter().filter(|(_, size)| *size > 0) {
            let how = hint[&digest];
            let bytes = read(&layout::blob(&app(), digest, how.encoding));
            assert_eq!(bytes.len() as u64, how.size, "the hint is right");
            let raw = match how.encoding {
                Encoding::Raw => bytes,
                Encoding::Zstd => zstd::bulk::decompress(&bytes, size as usize).unwrap(),
            };
            assert_eq!((Digest::of(&raw), raw.len() as u64), (digest, size));
            seen.push(how.encoding);
        }
    }
    assert!(seen.contains(&Encoding::Raw) && seen.contains(&Encoding::Zstd), "both ways of storing are in it");
}
