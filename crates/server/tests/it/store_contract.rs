//! What every backend of the store promises, asked of each of them.
//!
//! A function here takes a store and knows nothing else of it. `local_without_links` is the local backend on a file
//! system that has no hard links.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use updraft_core::Timestamp;
use updraft_core::layout::Key;
use updraft_server::store::faulty::{Fault, Faulty};
use updraft_server::store::{Body, Created, Kind, READ_LEN, Step, Store, Swap, Tag};

/// Each function of the suite as a test of each backend.
macro_rules! suite {
    ($($name:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $name() {
                super::$name(super::Store::memory()).await;
            })*
        }
        mod local {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $name() {
                let dir = tempfile::tempdir().unwrap();
                super::$name(super::Store::local(dir.path()).unwrap()).await;
            })*
        }
        mod local_without_links {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $name() {
                let dir = tempfile::tempdir().unwrap();
                super::$name(super::without_links(dir.path())).await;
            })*
        }
    };
}

suite! {
    what_was_created_is_read,
    nothing_is_no_error,
    create_never_overwrites,
    one_of_sixteen_creators_wins,
    eight_writers_lose_no_increment,
    swap_wants_the_tag_of_what_is_there,
    put_takes_the_tag_away,
    a_lost_answer_can_be_found_out,
    a_refused_write_changes_nothing,
    an_open_object_outlives_its_key,
    read_keeps_its_bound,
    pieces_end_where_the_object_ends,
    keys_do_not_touch_each_other,
    list_is_in_key_order_and_paged,
    a_spool_becomes_an_object,
    any_sequence_of_calls_does_what_a_map_does,
}

fn without_links(root: &std::path::Path) -> Store {
    let probe = |step: &Step| match step {
        Step::Link(..) => Err(io::ErrorKind::PermissionDenied.into()),
        _ => Ok(()),
    };
    Store::local_probed(root, Arc::new(probe)).unwrap()
}

pub(crate) fn key(text: &str) -> Key {
    Key::parse(text).unwrap()
}

/// The whole object, which a test knows to be small.
pub(crate) async fn content(store: &Store, key: &Key) -> Option<Bytes> {
    store.read(key, 1 << 20).await.unwrap().map(|(bytes, _)| bytes)
}

async fn tag(store: &Store, key: &Key) -> Tag {
    store.read(key, 1 << 20).await.unwrap().unwrap().1
}

pub(crate) async fn keys(store: &Store) -> Vec<String> {
    let all = store.list("", None, 1_000).await.unwrap();
    all.into_iter().map(|(key, _)| key.to_string()).collect()
}

async fn what_was_created_is_read(store: Store) {
    let key = key("apps/demo/trees/x");
    let before = Timestamp::now();
    assert_eq!(store.create(&key, b"hello".to_vec()).await.unwrap(), Created::New);
    assert_eq!(content(&store, &key).await.unwrap(), "hello");
    let object = store.open(&key).await.unwrap().unwrap();
    assert_eq!(object.len(), 5);
    assert_eq!(object.read_at(0, READ_LEN).await.unwrap(), "hello");
    let meta = store.stat(&key).await.unwrap().unwrap();
    assert_eq!(meta.size, 5);
    // A file system's clock may lag behind by a tick.
    assert!((meta.modified.as_second() - before.as_second()).abs() < 60, "{}", meta.modified);
    assert_eq!(store.list("apps/", None, 10).await.unwrap(), [(key, meta)]);
}

async fn nothing_is_no_error(store: Store) {
    let key = key("apps/demo/trees/x");
    assert_eq!(store.read(&key, 10).await.unwrap(), None);
    assert!(store.open(&key).await.unwrap().is_none());
    assert_eq!(store.stat(&key).await.unwrap(), None);
    assert!(store.list("", None, 10).await.unwrap().is_empty());
    store.delete(&key).await.unwrap();

    store.create(&key, Vec::new()).await.unwrap();
    assert_eq!(content(&store, &key).await.unwrap(), "", "an empty object is not nothing");
    assert!(store.open(&key).await.unwrap().unwrap().is_empty());
    store.delete(&key).await.unwrap();
    store.delete(&key).await.unwrap();
    assert_eq!(store.read(&key, 10).await.unwrap(), None);
    assert_eq!(store.stat(&key).await.unwrap(), None);
    assert!(store.list("", None, 10).await.unwrap().is_empty());

    // Neither the folder of an object nor what would lie below one is an object.
    store.create(&key, b"x".to_vec()).await.unwrap();
    for other in ["apps/demo/trees", "apps/demo/trees/x/y"] {
        let other = self::key(other);
        assert_eq!(store.read(&other, 10).await.unwrap(), None, "{other}");
        assert!(store.open(&other).await.unwrap().is_none(), "{other}");
        assert_eq!(store.stat(&other).await.unwrap(), None, "{other}");
    }
}

async fn create_never_overwrites(store: Store) {
    let key = key("apps/demo/tuf/1.root.json");
    assert_eq!(store.create(&key, b"first".to_vec()).await.unwrap(), Created::New);
    let tag_before = tag(&store, &key).await;
    assert_eq!(store.create(&key, b"second".to_vec()).await.unwrap(), Created::Exists);
    let mut spool = store.spool().unwrap();
    spool.append(b"third").unwrap();
    assert_eq!(store.create(&key, spool.finish().unwrap()).await.unwrap(), Created::Exists);
    assert_eq!(store.swap(&key, None, "fourth".into()).await.unwrap(), Swap::Conflict);
    assert_eq!(content(&store, &key).await.unwrap(), "first");
    assert_eq!(tag(&store, &key).await, tag_before);
    store.delete(&key).await.unwrap();
    assert_eq!(store.create(&key, b"fifth".to_vec()).await.unwrap(), Created::New);
    assert_eq!(content(&store, &key).await.unwrap(), "fifth");
}

/// As DESIGN 4 asks a foreign engine: 16 at once, 3 times. Half of them come by swap, half by create.
async fn one_of_sixteen_creators_wins(store: Store) {
    for round in 0..3 {
        let key = key(&format!("apps/demo/race/{round}"));
        let start = Arc::new(tokio::sync::Barrier::new(16));
        let creators = (0..16_u8).map(|n| {
            let (store, key, start) = (store.clone(), key.clone(), Arc::clone(&start));
            tokio::spawn(async move {
                start.wait().await;
                let bytes = Bytes::from(vec![n; 1_000]);
                let won = match n % 2 {
                    0 => store.create(&key, bytes).await.unwrap() == Created::New,
                    _ => store.swap(&key, None, bytes).await.unwrap() != Swap::Conflict,
                };
                // Whoever lost sees the winner's bytes at once, and all of them.
                let seen = content(&store, &key).await.unwrap();
                assert_eq!(seen.len(), 1_000);
                (n, won, seen[0])
            })
        });
        let mut outcomes = Vec::new();
        for creator in creators.collect::<Vec<_>>() {
            outcomes.push(creator.await.unwrap());
        }
        let winners: Vec<u8> = outcomes.iter().filter(|(_, won, _)| *won).map(|(n, ..)| *n).collect();
        assert_eq!(winners.len(), 1, "{outcomes:?}");
        assert!(outcomes.iter().all(|(_, _, seen)| *seen == winners[0]), "{outcomes:?}");
    }
}

async fn eight_writers_lose_no_increment(store: Store) {
    let key = key("apps/demo/head");
    assert!(matches!(store.swap(&key, None, "0".into()).await.unwrap(), Swap::Done(_)));
    let writers = (0..8).map(|_| {
        let (store, key) = (store.clone(), key.clone());
        tokio::spawn(async move {
            for _ in 0..10 {
                loop {
                    let (bytes, tag) = store.read(&key, 10).await.unwrap().unwrap();
                    let next = std::str::from_utf8(&bytes).unwrap().parse::<u32>().unwrap() + 1;
                    if let Swap::Done(_) = store.swap(&key, Some(&tag), next.to_string().into()).await.unwrap() {
                        break;
                    }
                }
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    assert_eq!(content(&store, &key).await.unwrap(), "80");
}

async fn swap_wants_the_tag_of_what_is_there(store: Store) {
    let key = key("apps/demo/head");
    let Swap::Done(first) = store.swap(&key, None, "one".into()).await.unwrap() else { panic!("there was nothing") };
    assert_eq!(tag(&store, &key).await, first, "a reader's tag is the writer's");
    let Swap::Done(second) = store.swap(&key, Some(&first), "two".into()).await.unwrap() else {
        panic!("it was there")
    };
    assert_ne!(first, second);
    assert_eq!(store.swap(&key, Some(&first), "three".into()).await.unwrap(), Swap::Conflict);
    assert_eq!(store.swap(&key, None, "three".into()).await.unwrap(), Swap::Conflict);
    assert_eq!(content(&store, &key).await.unwrap(), "two");
    store.delete(&key).await.unwrap();
    assert_eq!(store.swap(&key, Some(&second), "three".into()).await.unwrap(), Swap::Conflict);
    assert_eq!(content(&store, &key).await, None);
}

async fn put_takes_the_tag_away(store: Store) {
    let key = key("apps/demo/tuf/timestamp.json");
    store.put(&key, "one".into()).await.unwrap();
    let seen = tag(&store, &key).await;
    store.put(&key, "two".into()).await.unwrap();
    assert_eq!(content(&store, &key).await.unwrap(), "two");
    assert_eq!(store.swap(&key, Some(&seen), "three".into()).await.unwrap(), Swap::Conflict);
    assert_eq!(store.create(&key, b"four".to_vec()).await.unwrap(), Created::Exists);
}

/// A time-out hides whether a write happened. Asking again must not do it twice, and reading must tell.
async fn a_lost_answer_can_be_found_out(store: Store) {
    let (blob, head) = (key("apps/demo/blobs/aa/x"), key("apps/demo/head"));
    let lossy = |n| store.wrapped(|inner| Faulty::new(inner, Fault::LosesAnswer(n)));

    let network = lossy(1);
    assert_eq!(network.create(&blob, b"x".to_vec()).await.unwrap_err().kind(), Kind::Unavailable);
    assert_eq!(network.create(&blob, b"x".to_vec()).await.unwrap(), Created::Exists);

    let network = lossy(2);
    let Swap::Done(before) = network.swap(&head, None, "gen 1 op a".into()).await.unwrap() else { panic!() };
    network.swap(&head, Some(&before), "gen 2 op b".into()).await.unwrap_err();
    // Trying again looks like a lost race; the random `op` in the body says who won it.
    assert_eq!(network.swap(&head, Some(&before), "gen 2 op b".into()).await.unwrap(), Swap::Conflict);
    assert_eq!(content(&network, &head).await.unwrap(), "gen 2 op b");

    let network = lossy(1);
    network.delete(&blob).await.unwrap_err();
    network.delete(&blob).await.unwrap();
}

async fn a_refused_write_changes_nothing(store: Store) {
    let key = key("apps/demo/head");
    store.put(&key, "before".into()).await.unwrap();
    let full = store.wrapped(|inner| Faulty::new(inner, Fault::Refuses(1, Kind::Full)));
    let error = full.put(&key, "after".into()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Full);
    assert_eq!(content(&full, &key).await.unwrap(), "before");
    full.put(&key, "after".into()).await.unwrap();

    let dead = store.wrapped(|inner| Faulty::new(inner, Fault::DiesBefore(1)));
    assert_eq!(content(&dead, &key).await.unwrap(), "after", "alive until then");
    dead.put(&key, "lost".into()).await.unwrap_err();
    dead.read(&key, 10).await.unwrap_err();
    dead.list("", None, 10).await.unwrap_err();

    let dead = store.wrapped(|inner| Faulty::new(inner, Fault::DiesAfter(1)));
    dead.put(&key, "kept".into()).await.unwrap_err();
    dead.delete(&key).await.unwrap_err();
    dead.open(&key).await.unwrap_err();
    assert_eq!(content(&store, &key).await.unwrap(), "kept");
}

async fn an_open_object_outlives_its_key(store: Store) {
    let (one, two) = (key("apps/demo/blobs/aa/one"), key("apps/demo/head"));
    store.create(&one, b"one".to_vec()).await.unwrap();
    store.put(&two, "old".into()).await.unwrap();
    let (first, second) = (store.open(&one).await.unwrap().unwrap(), store.open(&two).await.unwrap().unwrap());
    store.delete(&one).await.unwrap();
    store.put(&two, "newer".into()).await.unwrap();
    assert_eq!(first.read_at(0, 10).await.unwrap(), "one");
    assert_eq!(second.clone().read_at(0, 10).await.unwrap(), "old");
    assert_eq!(second.len(), 3);
}

async fn read_keeps_its_bound(store: Store) {
    let key = key("apps/demo/head");
    store.put(&key, "12345".into()).await.unwrap();
    assert_eq!(store.read(&key, 5).await.unwrap().unwrap().0, "12345");
    let error = store.read(&key, 4).await.unwrap_err();
    assert_eq!((error.kind(), error.key()), (Kind::TooLarge, Some(&key)));
    assert_eq!(error.to_string(), "apps/demo/head: it has 5 bytes, and no more than 4 are expected there");
    assert!(store.list("", None, 0).await.unwrap().is_empty());
}

async fn pieces_end_where_the_object_ends(store: Store) {
    let key = key("apps/demo/blobs/aa/x");
    let bytes: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
    store.create(&key, bytes.clone()).await.unwrap();
    let object = store.open(&key).await.unwrap().unwrap();
    for (offset, len) in [(0, 0), (0, 1), (1, READ_LEN), (299_999, 10), (300_000, 10), (300_001, 10), (u64::MAX, 10)] {
        let start = (offset as usize).min(bytes.len());
        let end = start.saturating_add(len).min(bytes.len());
        assert_eq!(object.read_at(offset, len).await.unwrap(), bytes[start..end], "{len} from {offset}");
    }
    let mut whole = Vec::new();
    while whole.len() < bytes.len() {
        let piece = object.read_at(whole.len() as u64, READ_LEN).await.unwrap();
        assert!(piece.len() == READ_LEN || whole.len() + piece.len() == bytes.len(), "short only at the end");
        whole.extend(piece);
    }
    assert_eq!(whole, bytes);
}

async fn keys_do_not_touch_each_other(store: Store) {
    let keys = ["apps/a/head", "apps/A/head", "apps/ab/head", "apps/a/heads", "apps/a/tuf/head", "private/a/head"];
    for (n, name) in keys.iter().enumerate() {
        assert_eq!(store.create(&key(name), n.to_string().into_bytes()).await.unwrap(), Created::New, "{name}");
    }
    store.put(&key("apps/a/head"), "changed".into()).await.unwrap();
    store.delete(&key("apps/ab/head")).await.unwrap();
    let mut seen = Vec::new();
    for name in keys {
        seen.push(content(&store, &key(name)).await);
    }
    let expected = [Some("changed"), Some("1"), None, Some("3"), Some("4"), Some("5")];
    assert_eq!(seen, expected.map(|text| text.map(Bytes::from)));
}

/// Names that sort otherwise as paths than as keys, each way of asking compared with a sorted list.
async fn list_is_in_key_order_and_paged(store: Store) {
    let mut all = [
        "apps/a-b/x",
        "apps/a.b/x",
        "apps/a/b-c",
        "apps/a/b.zst",
        "apps/a/b/c",
        "apps/a/b/d/e",
        "apps/a/b0",
        "apps/a0/x",
        "apps/a/c",
        "apps/b/+",
        "apps/b/%2E",
        "apps/b/_",
        "private/a/x",
        "private/a/y",
        "private/b",
    ];
    for name in all {
        store.create(&key(name), name.as_bytes().to_vec()).await.unwrap();
    }
    all.sort_unstable();
    let prefixes =
        ["", "a", "apps/", "apps/a", "apps/a/", "apps/a/b", "apps/a/b/", "apps/a/b/c", "apps/z", "private/", "x"];
    let afters = all.iter().copied().chain(["apps/a", "apps/a/b", "apps/a/b/zz", "apps/zz", "private/z"]);
    for after in afters.map(Some).chain([None]) {
        for prefix in prefixes {
            let matching = all.iter().filter(|name| name.starts_with(prefix) && Some(**name) > after);
            let expected: Vec<String> = matching.map(ToString::to_string).collect();
            for max in [1, 2, 100] {
                let page = store.list(prefix, after.map(key).as_ref(), max).await.unwrap();
                let found: Vec<String> = page.iter().map(|(key, _)| key.to_string()).collect();
                assert_eq!(found, expected[..max.min(expected.len())], "{prefix:?} after {after:?}, at most {max}");
                assert!(page.iter().all(|(key, meta)| meta.size == key.as_str().len() as u64));
            }
        }
    }
    let mut paged = Vec::new();
    loop {
        let page = store.list("", paged.last(), 4).await.unwrap();
        let last_page = page.len() < 4;
        paged.extend(page.into_iter().map(|(key, _)| key));
        if last_page {
            break;
        }
    }
    assert_eq!(paged.iter().map(Key::as_str).collect::<Vec<_>>(), all);
}

async fn a_spool_becomes_an_object(store: Store) {
    let key = key("apps/demo/blobs/aa/x");
    let mut writer = store.spool().unwrap();
    let piece = vec![7; 100_000];
    for _ in 0..10 {
        writer.append(&piece).unwrap();
    }
    assert_eq!(writer.len(), 1_000_000);
    let spool = writer.finish().unwrap();
    let mut back = Vec::new();
    io::Read::read_to_end(&mut spool.reader().unwrap(), &mut back).unwrap();
    assert_eq!(back, vec![7; 1_000_000]);
    let body = Body::from(spool);
    assert_eq!(body.len(), 1_000_000);
    assert_eq!(store.create(&key, body).await.unwrap(), Created::New);
    assert_eq!(content(&store, &key).await.unwrap(), back);

    drop(store.spool().unwrap());
    drop(store.spool().unwrap().finish().unwrap());
    assert_eq!(keys(&store).await, ["apps/demo/blobs/aa/x"]);
}

#[derive(Debug, Clone)]
enum Call {
    Create(usize, u8),
    /// With the tag that the model remembers for the key, or with none.
    Swap(usize, bool, u8),
    Put(usize, u8),
    Delete(usize),
}

const NAMES: [&str; 4] = ["apps/a/head", "apps/a/tuf/1.root.json", "apps/b/head", "private/a/b"];

fn calls() -> impl Strategy<Value = Vec<Call>> {
    let name = 0..NAMES.len();
    let call = prop_oneof![
        (name.clone(), any::<u8>()).prop_map(|(k, b)| Call::Create(k, b)),
        (name.clone(), any::<bool>(), any::<u8>()).prop_map(|(k, t, b)| Call::Swap(k, t, b)),
        (name.clone(), any::<u8>()).prop_map(|(k, b)| Call::Put(k, b)),
        name.prop_map(Call::Delete),
    ];
    prop::collection::vec(call, 1..25)
}

/// The model: a map, and the tag that somebody has seen last for each key, be it current or not.
async fn any_sequence_of_calls_does_what_a_map_does(store: Store) {
    let runtime = tokio::runtime::Handle::current();
    let check = move || {
        let mut runner = TestRunner::new(Config { cases: 32, failure_persistence: None, ..Config::default() });
        runner.run(&calls(), |calls| runtime.block_on(compare_with_a_map(&store, calls)))
    };
    tokio::task::spawn_blocking(check).await.unwrap().unwrap();
}

async fn compare_with_a_map(store: &Store, calls: Vec<Call>) -> Result<(), TestCaseError> {
    let mut model: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
    let mut tags: BTreeMap<&str, (Tag, Vec<u8>)> = BTreeMap::new();
    for name in NAMES {
        store.delete(&key(name)).await.unwrap();
    }
    for call in calls {
        match call {
            Call::Create(n, byte) => {
                let created = store.create(&key(NAMES[n]), vec![byte]).await.unwrap();
                prop_assert_eq!(created == Created::New, !model.contains_key(NAMES[n]));
                model.entry(NAMES[n]).or_insert(vec![byte]);
            }
            Call::Swap(n, tagged, byte) => {
                let seen = tagged.then(|| tags.get(NAMES[n]).cloned()).flatten();
                let swap =
                    store.swap(&key(NAMES[n]), seen.as_ref().map(|(tag, _)| tag), vec![byte].into()).await.unwrap();
                match swap {
                    Swap::Done(_) => {
                        prop_assert_eq!(model.get(NAMES[n]), seen.as_ref().map(|(_, bytes)| bytes));
                        model.insert(NAMES[n], vec![byte]);
                    }
                    // An engine may say conflict where bytes came back to what they were (ABA), but not where they
                    // were never changed: that is `swap_wants_the_tag_of_what_is_there`.
                    Swap::Conflict => prop_assert!(seen.is_some() || model.contains_key(NAMES[n])),
                }
            }
            Call::Put(n, byte) => {
                store.put(&key(NAMES[n]), vec![byte].into()).await.unwrap();
                model.insert(NAMES[n], vec![byte]);
                tags.insert(NAMES[n], (tag(store, &key(NAMES[n])).await, vec![byte]));
            }
            Call::Delete(n) => {
                store.delete(&key(NAMES[n])).await.unwrap();
                model.remove(NAMES[n]);
            }
        }
        for name in NAMES {
            let found = content(store, &key(name)).await.map(|bytes| bytes.to_vec());
            prop_assert_eq!(found.as_ref(), model.get(name), "{}", name);
        }
        prop_assert_eq!(keys(store).await, model.keys().map(ToString::to_string).collect::<Vec<_>>());
    }
    Ok(())
}
