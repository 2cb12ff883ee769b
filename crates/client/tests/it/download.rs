//! A download that is torn, altered, refused, slowed down and stopped: every byte that stays is the publisher's.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use updraft_client::fetch::clock::Clock;
use updraft_client::{Cancel, Class, Price, Progress, Route};
use updraft_core::digest::Digest;
use updraft_core::tree::stored::Encoding;
use updraft_testkit::{TreeFixture, noise};

use crate::support::{CancelAt, Device, Server, blob_key, demo, publish};

/// Larger than what is kept in memory, and it does not compress.
fn large() -> Vec<u8> {
    noise(1, 1_000_000)
}

/// Larger than what is kept in memory, also when it is compressed.
fn packable() -> Vec<u8> {
    noise(2, 800_000).iter().flat_map(|byte| [*byte, b'x']).collect()
}

fn small() -> Vec<u8> {
    b"some text, some text, some text, some text, some text, some text".to_vec()
}

/// A device at 1.0.0 and a server with 1.1.0, which has one new file.
fn with_new_file(content: &[u8]) -> (Server, Device) {
    let files = TreeFixture::of(&[("app*", "one")]);
    let server = demo(&files);
    let device = Device::installed(&server);
    publish(&server, "1.1.0", &files.with("new", content));
    (server, device)
}

#[test]
fn what_travels_is_what_was_priced() {
    for content in [large(), packable(), small(), Vec::new()] {
        let (server, device) = with_new_file(&content);
        let staged = device.download().unwrap();
        let asked = server.take_asked();
        let bytes: u64 = asked.iter().map(|asked| asked.bytes).sum();
        assert!(staged.price().exact);
        assert_eq!(staged.price().fetch_bytes, bytes);
        assert_eq!(asked.len(), 1 + usize::from(!content.is_empty()), "a list of files, and a blob: {asked:?}");
        assert!(content.is_empty() || device.has_blob(&content));
        assert_eq!(staged.counts().kept, 1);
    }
}

#[test]
fn several_threads_fetch_the_same_as_one() {
    let tree = TreeFixture::random(7, 60, 400_000);
    for jobs in [1, 4, 100] {
        let server = demo(&TreeFixture::of(&[("app*", "one")]));
        let mut device = Device::installed(&server);
        device.jobs = jobs;
        publish(&server, "1.1.0", &tree);
        device.update().unwrap();
        assert_eq!(device.tree(), tree);
        let mut blobs: Vec<String> = server.take_asked().into_iter().map(|asked| asked.key).collect();
        blobs.retain(|key| key.contains("/blobs/"));
        let count = blobs.len();
        blobs.sort();
        blobs.dedup();
        assert_eq!(count, blobs.len(), "no blob is fetched twice");
    }
}

#[test]
fn a_torn_body_is_gone_on_with() {
    for content in [large(), packable()] {
        let (server, device) = with_new_file(&content);
        let mut tears = 5;
        server.meddle(move |asked, reply| {
            if asked.key.contains("/blobs/") && tears > 0 {
                tears -= 1;
                reply.torn = Some(100_000);
            }
        });
        let price = device.download().unwrap().price();
        assert!(device.has_blob(&content));
        let asked = server.take_asked();
        let blobs: Vec<u64> = asked.iter().filter(|a| a.key.contains("/blobs/")).map(|a| a.from).collect();
        assert_eq!(blobs, [0, 100_000, 200_000, 300_000, 400_000, 500_000]);
        let bytes: u64 = asked.iter().map(|a| a.bytes).sum();
        assert_eq!(bytes, price.fetch_bytes, "no byte travels twice");
    }
}

#[test]
fn a_server_without_ranges_begins_anew_and_is_not_asked_for_ever() {
    let (server, device) = with_new_file(&large());
    let mut tears = 2;
    server.meddle(move |asked, reply| {
        reply.ranges = false;
        if asked.key.contains("/blobs/") && tears > 0 {
            tears -= 1;
            reply.torn = Some(500_000);
        }
    });
    device.download().unwrap();
    assert!(device.has_blob(&large()));

    let (server, device) = with_new_file(&large());
    server.meddle(|asked, reply| {
        reply.ranges = false;
        reply.torn = asked.key.contains("/blobs/").then_some(500_000);
    });
    assert_eq!(device.download().unwrap_err().class(), Class::Unreachable);
    let blobs = server.take_asked().iter().filter(|asked| asked.key.contains("/blobs/")).count();
    assert!((4..=8).contains(&blobs), "{blobs}");
}

#[test]
fn an_altered_blob_is_fetched_again_and_then_named() {
    for content in [large(), packable(), small()] {
        let flip = |reply: &mut crate::support::Reply| {
            let object = reply.object.as_mut().unwrap();
            let middle = object.len() / 2;
            object[middle] ^= 1;
        };
        // Once: a proxy that had a bad moment.
        let (server, device) = with_new_file(&content);
        let mut first = true;
        server.meddle(move |asked, reply| {
            if asked.key.contains("/blobs/") && std::mem::take(&mut first) {
                flip(reply);
            }
        });
        device.download().unwrap();
        assert!(device.has_blob(&content));

        // Always: a thief.
        let (server, device) = with_new_file(&content);
        server.meddle(move |asked, reply| {
            if asked.key.contains("/blobs/") && reply.object.is_some() {
                flip(reply);
            }
        });
        let error = device.download().unwrap_err();
        assert_eq!(error.class(), Class::Verification);
        let digest = Digest::of(&content).to_string();
        assert!(error.to_string().contains(&digest), "{error}");
        assert_eq!(server.take_asked().iter().filter(|asked| asked.key.contains("/blobs/")).count(), 3);
        assert!(!device.has_blob(&content));
        // Nothing of it is left for the next try, which is honest.
        server.relent();
        device.update().unwrap();
        assert_eq!(std::fs::read(device.dir().join("new")).unwrap(), content);
    }
}

#[test]
fn another_good_blob_in_its_place_is_not_taken() {
    let (server, device) = with_new_file(&large());
    server.repo(|repo| repo.put(blob_key(&large(), Encoding::Raw), noise(9, 1_000_000)));
    assert_eq!(device.download().unwrap_err().class(), Class::Verification);
}

/// A frame that unfolds to far more than was signed: nothing past the signed size is ever written.
#[test]
fn a_frame_that_unfolds_without_end_is_cut_off() {
    let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 1).unwrap();
    for content in [small(), packable()] {
        let (server, device) = with_new_file(&content);
        server.repo(|repo| repo.put(blob_key(&content, Encoding::Zstd), bomb.clone()));
        let error = device.download().unwrap_err();
        assert_eq!(error.class(), Class::Verification);
        let left: u64 = crate::support::files_below(&device.own("downloads"))
            .iter()
            .map(|file| file.metadata().unwrap().len())
            .sum();
        assert!(left < 2 << 20, "{left} bytes are left");
    }
}

/// A frame may ask its decoder for memory. One that asks for more than publishers use is refused before it gets any.
#[test]
fn a_frame_that_wants_much_memory_is_refused() {
    let content = noise(3, 300_000).repeat(60);
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(27).unwrap();
    encoder.include_contentsize(false).unwrap();
    std::io::Write::write_all(&mut encoder, &content).unwrap();
    let frame = encoder.finish().unwrap();

    let (server, device) = with_new_file(&content);
    server.repo(|repo| repo.put(blob_key(&content, Encoding::Zstd), frame));
    let error = device.download().unwrap_err();
    assert_eq!(error.class(), Class::Verification);
    assert!(error.to_string().contains("memory"), "{error}");
}

#[test]
fn an_endless_body_is_cut_off() {
    for content in [large(), packable(), small()] {
        let (server, device) = with_new_file(&content);
        server.meddle(|asked, reply| reply.endless = asked.key.contains("/blobs/"));
        assert_eq!(device.download().unwrap_err().class(), Class::Verification);
        let (server, device) = with_new_file(&content);
        server.meddle(|asked, reply| reply.endless = asked.key.contains("/trees/"));
        assert_eq!(device.download().unwrap_err().class(), Class::Verification);
    }
}

/// The hint behind a tree is not signed. It may say that a blob is stored otherwise than it is.
#[test]
fn a_wrong_hint_costs_a_request() {
    // Said to be raw and is not there so; said to be packed and is not there so.
    for (content, said, is) in [(packable(), Encoding::Zstd, Encoding::Raw), (large(), Encoding::Raw, Encoding::Zstd)] {
        let (server, device) = with_new_file(&content);
        server.repo(|repo| {
            let object = match is {
                Encoding::Raw => content.clone(),
                Encoding::Zstd => zstd::bulk::compress(&content, 3).unwrap(),
            };
            repo.remove(&blob_key(&content, said));
            repo.put(blob_key(&content, is), object);
        });
        device.download().unwrap();
        assert!(device.has_blob(&content));
        assert_eq!(server.take_asked().iter().filter(|asked| asked.key.contains("/blobs/")).count(), 2);
    }
}

/// A hint that says "small" must neither fill the memory nor keep a large blob from coming.
#[test]
fn a_hint_that_lies_about_the_size_costs_a_request() {
    use updraft_core::tree::stored::{Hint, Stored, pack};

    let content = noise(4, 3_000_000);
    let files = TreeFixture::of(&[("app*", "one")]);
    let server = demo(&files);
    let device = Device::installed(&server);
    let files = files.with("new", &content);
    publish(&server, "1.1.0", &files);
    let tree = files.tree();
    let lie = Stored { encoding: Encoding::Raw, size: 10 };
    let hint: Hint = tree.blobs().into_keys().map(|digest| (digest, lie)).collect();
    server.repo(|repo| {
        let key = updraft_core::layout::tree(repo.app(), tree.digest());
        repo.put(key, pack(&tree, &hint));
    });
    device.download().unwrap();
    assert!(device.has_blob(&content));
}

#[test]
fn a_tree_that_is_not_the_signed_one_is_refused() {
    let (server, device) = with_new_file(&small());
    let other = TreeFixture::of(&[("app*", "one"), ("evil*", "x")]).tree();
    server.meddle(move |asked, reply| {
        if asked.key.contains("/trees/") {
            reply.object = Some(updraft_core::tree::stored::pack(&other, &Default::default()));
        }
    });
    let error = device.download().unwrap_err();
    assert_eq!(error.class(), Class::Verification);
    assert_eq!(server.take_asked().len(), 3, "no blob of it is asked for");
    server.relent();
    device.download().unwrap();
}

#[test]
fn a_blob_that_is_nowhere_is_named() {
    let (server, device) = with_new_file(&large());
    server.repo(|repo| repo.remove(&blob_key(&large(), Encoding::Raw)));
    let error = device.download().unwrap_err();
    assert_eq!(error.class(), Class::Unreachable);
    assert!(error.to_string().contains(&blob_key(&large(), Encoding::Raw).to_string()), "{error}");
}

#[test]
fn a_cancelled_download_is_gone_on_with_by_the_next_process() {
    for content in [large(), packable()] {
        let (server, mut device) = with_new_file(&content);
        let error = device.download_watched(&CancelAt(400_000, device.cancel.clone())).unwrap_err();
        assert!(error.is_cancelled() && error.class() == Class::Other, "{error}");
        let first: u64 = server.take_asked().iter().map(|asked| asked.bytes).sum();

        device.cancel = Cancel::default();
        let price = device.download().unwrap().price();
        assert!(device.has_blob(&content));
        let asked = server.take_asked();
        assert!(asked.iter().all(|asked| !asked.key.contains("/trees/")), "the list of files is here already");
        assert_eq!(asked.len(), 1);
        assert!((390_000..=410_000).contains(&asked[0].from), "{asked:?}");
        assert!(asked[0].bytes < price.fetch_bytes - 390_000 && first > 400_000);
    }
}

#[test]
fn a_part_that_was_altered_meanwhile_does_no_harm() {
    for content in [large(), packable()] {
        let (_server, mut device) = with_new_file(&content);
        device.download_watched(&CancelAt(400_000, device.cancel.clone())).unwrap_err();
        device.cancel = Cancel::default();
        let parts = crate::support::files_below(&device.own("downloads"));
        let part = parts.iter().find(|file| file.extension().is_some_and(|end| end == "part")).unwrap();
        let mut bytes = std::fs::read(part).unwrap();
        bytes[1_000] ^= 1;
        std::fs::write(part, bytes).unwrap();
        device.download().unwrap();
        assert!(device.has_blob(&content));
    }
}

#[test]
fn a_finished_download_is_hashed_again_and_not_fetched_again() {
    let (server, device) = with_new_file(&large());
    device.download().unwrap();
    server.take_asked();
    device.download().unwrap();
    assert_eq!(server.take_asked(), []);
    let blob = device.own(&format!("downloads/{}", Digest::of(&large())));
    std::fs::write(&blob, noise(5, 1_000_000)).unwrap();
    device.download().unwrap();
    assert_eq!(server.take_asked().len(), 1);
    assert!(device.has_blob(&large()));
}

#[test]
fn what_another_release_left_is_swept() {
    let (server, mut device) = with_new_file(&large());
    device.download_watched(&CancelAt(400_000, device.cancel.clone())).unwrap_err();
    device.cancel = Cancel::default();
    publish(&server, "1.2.0", &TreeFixture::of(&[("app*", "one"), ("other", "two")]));
    device.download().unwrap();
    let left = crate::support::files_below(&device.own("downloads"));
    assert_eq!(left.len(), 2, "the list of files and one blob: {left:?}");
}

#[test]
fn with_the_list_of_files_at_hand_a_check_knows_the_price() {
    let (server, mut device) = with_new_file(&large());
    assert!(!device.available().price().exact);
    device.download_watched(&CancelAt(400_000, device.cancel.clone())).unwrap_err();
    device.cancel = Cancel::default();
    server.take_asked();
    let price = device.available().price();
    assert_eq!(server.take_asked().len(), 3, "the head, and whether there is a patch or a bundle");
    let tree = TreeFixture::of(&[("app*", "one")]).with("new", large()).tree();
    let tree_len = server.repo(|repo| {
        let key = updraft_core::layout::tree(repo.app(), tree.digest());
        repo.objects()[&key].len() as u64
    });
    let (fetch_bytes, full_bytes) = (1_000_000 + tree_len, 1_000_003 + tree_len);
    assert_eq!(price, Price { fetch_bytes, full_bytes, exact: true, route: Route::Blobs });
    assert_eq!(price.saved_percent(), 0);
}

#[test]
fn a_limit_holds_for_all_threads_together() {
    for jobs in [1, 4] {
        let server = demo(&TreeFixture::of(&[("app*", "one")]));
        let mut device = Device::installed(&server);
        device.jobs = jobs;
        device.bytes_per_sec = Some(100_000);
        publish(&server, "1.1.0", &TreeFixture::default().with("a", noise(1, 500_000)).with("b", noise(2, 500_000)));
        let before = device.clock.elapsed();
        device.download().unwrap();
        // Threads that wait at the same time each push the test's clock, so it can only run too far.
        let took = device.clock.elapsed() - before;
        assert!(took >= Duration::from_millis(9_700), "{took:?}");
        assert!(jobs > 1 || took <= Duration::from_millis(10_100), "{took:?}");
    }
}

/// Lets time pass with each piece that arrives.
struct Slow(std::sync::Arc<crate::support::TestClock>, Duration);

impl Progress for Slow {
    fn bytes(&self, _: u64, _: u64) {
        self.0.sleep(self.1);
    }
}

#[test]
fn a_source_that_trickles_is_left() {
    let (server, device) = with_new_file(&large());
    // Pieces of 10,000 bytes: 50 bytes a second.
    let error = device.download_watched(&Slow(device.clock.clone(), Duration::from_secs(200))).unwrap_err();
    assert_eq!(error.class(), Class::Unreachable);
    assert!(error.to_string().contains("trickles"), "{error}");
    assert_eq!(server.take_asked().iter().filter(|asked| asked.key.contains("/blobs/")).count(), 4);
    // 200 bytes a second: slow, and for a limit of ours it would not even count.
    device.download_watched(&Slow(device.clock.clone(), Duration::from_secs(50))).unwrap();
}

/// What may happen to one answer.
#[derive(Debug, Clone)]
enum Fault {
    Torn(usize),
    TornWithoutRanges(usize),
    Flipped(usize),
    Status(u16),
    Missing,
    Endless,
    None,
}

fn any_fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        (0..400_000usize).prop_map(Fault::Torn),
        (0..400_000usize).prop_map(Fault::TornWithoutRanges),
        (0..400_000usize).prop_map(Fault::Flipped),
        prop_oneof![Just(404u16), Just(500), Just(429)].prop_map(Fault::Status),
        Just(Fault::Missing),
        Just(Fault::Endless),
        Just(Fault::None),
    ]
}

fn inflict(fault: &Fault, reply: &mut crate::support::Reply) {
    let Some(object) = reply.object.as_mut() else { return };
    match fault {
        Fault::Torn(at) => reply.torn = Some(*at),
        Fault::TornWithoutRanges(at) => (reply.torn, reply.ranges) = (Some(*at), false),
        Fault::Flipped(at) => {
            let len = object.len();
            object[at % len] ^= 0x10;
        }
        Fault::Status(status) => reply.status = Some(*status),
        Fault::Missing => reply.object = None,
        Fault::Endless => reply.endless = true,
        Fault::None => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happens on the way: a file that has a blob's name is that blob, and an honest source ends it.
    #[test]
    fn whatever_happens_no_wrong_byte_gets_a_name(faults in proptest::collection::vec(any_fault(), 1..30), jobs in 1..3usize) {
        let server = demo(&TreeFixture::of(&[("app*", "one")]));
        let mut device = Device::installed(&server);
        device.jobs = jobs;
        let packable: Vec<u8> = noise(2, 300_000).iter().flat_map(|byte| [*byte, b'x']).collect();
        let contents = [noise(1, 400_000), packable, small()];
        let tree = contents.iter().enumerate().fold(TreeFixture::default(), |t, (n, c)| t.with(&n.to_string(), c));
        publish(&server, "1.1.0", &tree);
        let mut left = faults.into_iter();
        server.meddle(move |asked, reply| {
            if asked.key.contains("/blobs/") && let Some(fault) = left.next() {
                inflict(&fault, reply);
            }
        });
        let mut runs = 0;
        while device.download().is_err() {
            runs += 1;
            prop_assert!(runs <= 30, "each run meets at least one fault, and there are no more");
            for file in crate::support::files_below(&device.own("downloads")) {
                let name = file.file_name().unwrap().to_str().unwrap();
                if let Ok(digest) = name.parse::<Digest>() {
                    prop_assert_eq!(digest, Digest::of(&std::fs::read(&file).unwrap()));
                }
            }
        }
        for content in &contents {
            prop_assert!(device.has_blob(content));
        }
    }
}

/// Remembers the last word, and that it was never more than the whole.
#[derive(Default)]
struct Watch {
    done: AtomicU64,
    total: AtomicU64,
}

impl Progress for Watch {
    fn bytes(&self, done: u64, total: u64) {
        assert!(done <= total, "{done} of {total}");
        self.done.store(done, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
    }
}

#[test]
fn progress_ends_at_the_whole_however_it_got_there() {
    let (server, mut device) = with_new_file(&large());
    device.download_watched(&CancelAt(400_000, device.cancel.clone())).unwrap_err();
    device.cancel = Cancel::default();
    let mut first = true;
    server.meddle(move |asked, reply| {
        if asked.key.contains("/blobs/") && std::mem::take(&mut first) {
            reply.ranges = false;
            let object = reply.object.as_mut().unwrap();
            object[0] ^= 1;
        }
    });
    let watch = Watch::default();
    device.download_watched(&watch).unwrap();
    assert_eq!(watch.done.load(Ordering::Relaxed), 1_000_000);
    assert_eq!(watch.total.load(Ordering::Relaxed), 1_000_000);
}
