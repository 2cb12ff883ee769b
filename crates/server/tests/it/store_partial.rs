//! Uploads that stop and are continued.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use updraft_core::Timestamp;
use updraft_core::digest::Digest;
use updraft_core::name::AppName;
use updraft_core::tree::stored::Encoding;
use updraft_server::store::{Created, Kind, PARTIAL_AGE_MAX_SECS, PARTIALS_MAX, Partial, Store};

use crate::store_contract::{content, key};

fn app() -> AppName {
    "demo".parse().unwrap()
}

fn digest() -> Digest {
    Digest::of(b"hello world")
}

fn begin(store: &Store) -> Partial {
    store.partial(&app(), digest(), Encoding::Raw).unwrap()
}

fn len(store: &Store) -> u64 {
    store.partial_len(&app(), digest(), Encoding::Raw).unwrap()
}

fn files(root: &Path, below: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(root.join("scratch").join(below)).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[tokio::test]
async fn an_upload_goes_on_where_it_stopped() {
    let dir = tempfile::tempdir().unwrap();
    for store in [Store::memory(), Store::local(dir.path()).unwrap()] {
        assert_eq!(len(&store), 0);
        let mut partial = begin(&store);
        assert!(partial.is_empty());
        partial.append(b"hello ").unwrap();
        drop(partial);
        assert_eq!(len(&store), 6);

        let mut partial = begin(&store);
        assert_eq!(partial.len(), 6);
        partial.append(b"world").unwrap();
        let mut text = String::new();
        partial.reader().unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello world");
        let spool = partial.finish().unwrap();
        assert_eq!((spool.len(), len(&store)), (11, 0), "what is finished is continued by nobody");
        let blob = key("apps/demo/blobs/aa/x");
        assert_eq!(store.create(&blob, spool).await.unwrap(), Created::New);
        assert_eq!(content(&store, &blob).await.unwrap(), "hello world");
    }
    assert!(files(dir.path(), "spool").is_empty() && files(dir.path(), "partial").is_empty());
}

#[test]
fn an_upload_survives_a_restart_and_a_temporary_file_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::local(dir.path()).unwrap();
    begin(&store).append(b"hello").unwrap();
    fs::write(dir.path().join("scratch/spool/left by a crash"), "x").unwrap();
    drop(store);
    let store = Store::local(dir.path()).unwrap();
    assert!(files(dir.path(), "spool").is_empty());
    assert_eq!(len(&store), 5);
}

#[test]
fn uploads_differ_by_app_digest_and_encoding() {
    let store = Store::memory();
    let _one = begin(&store);
    let _encoding = store.partial(&app(), digest(), Encoding::Zstd).unwrap();
    let _digest = store.partial(&app(), Digest::of(b"other"), Encoding::Raw).unwrap();
    let mut other = store.partial(&"demo2".parse().unwrap(), digest(), Encoding::Raw).unwrap();
    other.append(b"x").unwrap();
    assert_eq!(len(&store), 0);
}

#[test]
fn an_upload_has_one_writer() {
    let store = Store::memory();
    let first = begin(&store);
    let error = store.partial(&app(), digest(), Encoding::Raw).unwrap_err();
    assert_eq!(error.kind(), Kind::InUse);
    assert!(error.to_string().contains("somebody else is uploading it"), "{error}");
    drop(first);
    begin(&store).discard().unwrap();
    let finished = begin(&store).finish().unwrap();
    let again = begin(&store);
    assert!(finished.is_empty() && again.is_empty());
}

#[test]
fn what_is_discarded_begins_anew() {
    let store = Store::memory();
    let mut partial = begin(&store);
    partial.append(b"rubbish").unwrap();
    partial.discard().unwrap();
    assert_eq!(len(&store), 0);
    assert!(begin(&store).is_empty());
}

#[test]
fn old_uploads_go_and_those_under_way_stay() {
    let store = Store::memory();
    begin(&store).append(b"hello").unwrap();
    let mut under_way = store.partial(&app(), digest(), Encoding::Zstd).unwrap();
    under_way.append(b"x").unwrap();
    let now = Timestamp::now();
    assert_eq!(store.expire_partials(now).unwrap(), 0);
    let later = Timestamp::from_second(now.as_second() + PARTIAL_AGE_MAX_SECS + 60).unwrap();
    assert_eq!(store.expire_partials(later).unwrap(), 1);
    assert_eq!(len(&store), 0);
    drop(under_way);
    assert_eq!(store.partial_len(&app(), digest(), Encoding::Zstd).unwrap(), 1);
}

#[test]
fn the_oldest_makes_room() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::local(dir.path()).unwrap();
    let partial = dir.path().join("scratch/partial");
    for n in 0..PARTIALS_MAX {
        fs::write(partial.join(format!("demo@{n}")), "x").unwrap();
    }
    let file = File::options().append(true).open(partial.join("demo@77")).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(3_600)).unwrap();
    let _new = begin(&store);
    assert_eq!(files(dir.path(), "partial").len(), PARTIALS_MAX);
    assert!(!partial.join("demo@77").exists());
}

/// A power cut may undo the move of a finished upload out of `partial/`, after the blob got its name: both names then
/// lead to one file, and whoever "continued" the upload would write into the blob.
#[cfg(unix)]
#[tokio::test]
async fn a_stored_blob_is_never_continued() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::local(dir.path()).unwrap();
    begin(&store).append(b"hello").unwrap();
    let [partial] = files(dir.path(), "partial").try_into().unwrap();
    let blob = key("apps/demo/blobs/aa/x");
    fs::create_dir_all(dir.path().join("apps/demo/blobs/aa")).unwrap();
    fs::hard_link(partial, dir.path().join(blob.as_str())).unwrap();
    assert_eq!(len(&store), 0);
    let mut again = begin(&store);
    assert!(again.is_empty());
    again.append(b"something else").unwrap();
    assert_eq!(content(&store, &blob).await.unwrap(), "hello");
}
