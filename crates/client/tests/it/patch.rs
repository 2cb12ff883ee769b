//! Updates by patch: what they cost, and every way in which a patch can be no good. None of them is an error, and none
//! leaves anything behind.

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;
use updraft_client::install::Options;
use updraft_client::{Cancel, Class, FellBack, Fetched, Phase, Progress, Route};
use updraft_core::release::FromTree;
use updraft_delta::Patch;
use updraft_testkit::{TreeFixture, noise};

use crate::support::{
    Asked, CancelAt, Device, Server, demo, files_below, patch_between, patch_key, patch_named, publish,
};

/// Text that is alike in all versions, and does not compress to nothing.
fn text(version: u64, lines: u64) -> String {
    (0..lines)
        .map(|n| format!("line {} of many, {}\n", n * 7_919 % 10_007, if n % 97 == version { "new" } else { "old" }))
        .collect()
}

/// Large enough to be worth a patch: three files that a patch reads or makes, and one that nobody touches.
fn old() -> TreeFixture {
    TreeFixture::of(&[
        ("app*", &text(0, 4_000)),
        ("lib/a", &text(1, 4_000)),
        ("lib/moved", &text(2, 3_000)),
        ("gone", "x"),
    ])
    .with("same", noise(1, 50_000))
}

fn new() -> TreeFixture {
    TreeFixture::of(&[
        ("app*", &text(3, 4_000)),
        ("lib/a", &text(4, 4_000)),
        ("moved here", &text(2, 3_000)),
        ("empty", ""),
    ])
    .with("same", noise(1, 50_000))
    .with("twin", text(3, 4_000))
    .with("fresh", noise(2, 40_000))
}

/// A device that has `old`, and a server that has `new` and a patch between the two.
fn scene() -> (Server, Device, u64) {
    let server = demo(&old());
    let device = Device::installed(&server);
    publish(&server, "1.1.0", &new());
    static PATCH: LazyLock<Vec<u8>> = LazyLock::new(|| patch_between(&old(), &new()));
    server.repo(|repo| repo.put(patch_key(&old(), &new()), PATCH.clone()));
    (server, device, PATCH.len() as u64)
}

fn keys(asked: &[Asked], part: &str) -> usize {
    asked.iter().filter(|asked| asked.key.contains(part)).count()
}

/// Takes the update, and says how it got here.
fn taken(device: &Device) -> Fetched {
    device.update().unwrap();
    assert_eq!(device.tree(), new());
    assert_eq!(files_below(&device.own("downloads")), Vec::<std::path::PathBuf>::new(), "nothing is left over");
    updraft_client::status(&device.dir(), device.now).unwrap().fetched.unwrap()
}

fn fell_back(device: &Device) -> FellBack {
    let fetched = taken(device);
    assert_ne!(fetched.by, Route::Patch);
    fetched.fell_back.unwrap()
}

#[test]
fn a_device_fetches_the_head_the_metadata_the_release_and_the_patch() {
    let (server, device, patch) = scene();
    let price = device.available().price();
    assert_eq!((price.route, price.fetch_bytes, price.exact), (Route::Patch, patch, true));
    assert!(patch < price.full_bytes / 2, "{price:?}");
    let asked = server.take_asked();
    assert_eq!(asked.last().unwrap().bytes, 20, "{asked:?}");
    let bytes: u64 = asked.iter().map(|asked| asked.bytes).sum();
    assert!(asked.len() <= 6 && bytes <= 20 << 10, "the budget of a check: {bytes} bytes, {asked:?}");

    let fetched = taken(&device);
    let asked = server.take_asked();
    assert_eq!(
        fetched,
        Fetched { by: Route::Patch, fetch_bytes: patch, full_bytes: price.full_bytes, fell_back: None }
    );
    let bodies: u64 = asked.iter().filter(|asked| asked.key.contains("/patches/")).map(|asked| asked.bytes).sum();
    assert_eq!(bodies, patch + 20);
    assert_eq!((keys(&asked, "/trees/"), keys(&asked, "/blobs/")), (0, 0), "{asked:?}");
    // What came by a patch is verified and repaired as what came whole.
    let mut updater = device.open();
    assert!(updater.verify(&()).unwrap().is_sound());
    fs::write(device.dir().join("twin"), "edited").unwrap();
    updater.repair(&()).unwrap();
    updater.rollback(&Options::default()).unwrap();
    assert_eq!(device.tree(), old());
}

#[test]
fn a_patch_that_costs_more_is_not_taken_and_for_little_none_is_asked_for() {
    let (server, device, _) = scene();
    // The publisher said what whole blobs cost from here.
    let from = FromTree { tree: old().tree().digest(), bytes: 300 };
    server.repo(|repo| {
        let release = repo.publish_with("1.2.0", "any", &new(), |release| release.from = vec![from.clone()]);
        repo.promote("stable", &release);
    });
    let price = device.available().price();
    assert_eq!((price.route, price.fetch_bytes), (Route::Blobs, 300));
    assert_eq!(keys(&server.take_asked(), "/patches/"), 0);

    let large = FromTree { bytes: 9_000, ..from };
    server.repo(|repo| {
        let release = repo.publish_with("1.3.0", "any", &new(), |release| release.from = vec![large]);
        repo.promote("stable", &release);
    });
    let price = device.available().price();
    assert_eq!((price.route, price.fetch_bytes), (Route::Blobs, 9_000));
    assert_eq!(keys(&server.take_asked(), "/patches/"), 1);
}

#[test]
fn without_a_patch_the_next_way_is_taken_without_a_word() {
    let (server, device, _) = scene();
    server.repo(|repo| repo.remove(&patch_key(&old(), &new())));
    assert_ne!(device.available().price().route, Route::Patch);
    let fetched = taken(&device);
    assert_eq!((fetched.by, fetched.fell_back), (Route::Blobs, None));
    // Nor does a source that fails for patches only hold anything up.
    let (server, device, _) = scene();
    server.meddle(|asked, reply| {
        if asked.key.contains("/patches/") {
            reply.status = Some(503);
        }
    });
    assert_eq!(taken(&device).fell_back, None);
    assert_eq!(keys(&server.take_asked(), "/patches/"), 1, "it is asked once");
}

#[test]
fn a_source_without_ranges_is_asked_as_well() {
    let (server, device, patch) = scene();
    server.meddle(|_, reply| reply.ranges = false);
    assert_eq!(device.available().price().fetch_bytes, patch);
    assert_eq!(taken(&device).by, Route::Patch);
}

/// How a patch goes bad between the price and the download.
fn spoiled(spoil: impl Fn(&mut Vec<u8>) + Send + 'static) -> (Server, Device) {
    let (server, device, _) = scene();
    server.meddle(move |asked, reply| {
        if asked.key.contains("/patches/") {
            spoil(reply.object.as_mut().unwrap());
        }
    });
    (server, device)
}

#[test]
fn whatever_is_wrong_with_a_patch_the_next_way_is_taken_and_it_is_not_fetched_again() {
    type Spoil = fn(&mut Vec<u8>);
    let spoils: [(&str, Spoil); 4] = [
        ("ends", |patch| patch.truncate(patch.len() - 10)),
        ("ends", |patch| patch.truncate(30)),
        ("", |patch| *patch.last_mut().unwrap() ^= 0x55),
        ("", |patch| {
            let len = patch.len();
            patch[len / 2..].iter_mut().for_each(|byte| *byte = byte.wrapping_mul(31).wrapping_add(7));
        }),
    ];
    for (reason, spoil) in spoils {
        let (server, device) = spoiled(spoil);
        let fell_back = fell_back(&device);
        assert!(fell_back.reason.contains(reason), "{reason}: {fell_back:?}");
        assert!(fell_back.bytes > 0, "{fell_back:?}");
        // Back, and once more: this very patch was no good.
        device.open().rollback(&Options::default()).unwrap();
        server.take_asked();
        assert_ne!(device.available().price().route, Route::Patch, "{reason}");
        assert_eq!(taken(&device).fell_back, None, "{reason}");
        let asked = server.take_asked();
        assert!(asked.iter().filter(|a| a.key.contains("/patches/")).all(|a| a.bytes <= 20), "{reason}: {asked:?}");
        // Another object in its place is another chance.
        device.open().rollback(&Options::default()).unwrap();
        server.relent();
        assert_eq!(taken(&device).by, Route::Patch, "{reason}");
    }
}

#[test]
fn another_pairs_patch_is_left_at_its_header() {
    let (server, device, _) = scene();
    let other = patch_between(&old().with("app*", noise(5, 200_000)), &new());
    server.repo(|repo| repo.put(patch_key(&old(), &new()), other.clone()));
    let fell_back = fell_back(&device);
    assert!(fell_back.reason.contains("between two other trees"), "{fell_back:?}");
    assert!(fell_back.bytes <= 10_000, "the rest need not come: {fell_back:?}");
}

/// Patches that a thief made: they say that they are between the two trees, and are not.
#[test]
fn a_lying_patch_makes_nothing() {
    let names = [&old(), &new()];
    let lies = [
        ("and the release has", patch_named(&old(), &new().with("fresh", vec![7; 900_000]), names)),
        ("list of files", patch_named(&old(), &(0..2_000).fold(new(), |t, n| t.with(&format!("f{n}"), "")), names)),
        ("list of files", patch_named(&old(), &new().without("empty"), names)),
        ("not what was signed", patch_named(&old(), &new().with("fresh", noise(3, 40_000)), names)),
        ("not what was signed", patch_named(&old(), &new().with_mode("fresh", &noise(2, 40_000), 0o755), names)),
        ("was made from another", patch_named(&old().with("app*", text(0, 4_001)), &new(), names)),
        (
            "not installed here",
            patch_named(&old().with("extra", noise(7, 70)), &new().with("extra", noise(7, 70)), names),
        ),
        ("list of files", patch_named(&old(), &old(), names)),
    ];
    for (reason, lie) in lies {
        let (server, device, _) = scene();
        server.repo(|repo| repo.put(patch_key(&old(), &new()), lie));
        assert_eq!(device.available().price().route, Route::Patch, "{reason}: too dear to be tried");
        let fell_back = fell_back(&device);
        assert!(fell_back.reason.contains(reason), "{reason}: {fell_back:?}");
    }
}

#[test]
fn a_base_that_was_edited_here_spoils_the_patch_and_another_file_does_not() {
    // Nobody reads `same`: the patch is taken, and that one file is fetched whole.
    let (server, device, patch) = scene();
    fs::write(device.dir().join("same"), "edited").unwrap();
    let price = device.available().price();
    assert_eq!((price.route, price.exact, price.fetch_bytes), (Route::Patch, false, patch + 50_000));
    server.take_asked();
    let fetched = taken(&device);
    assert_eq!((fetched.by, fetched.fetch_bytes, fetched.fell_back), (Route::Patch, patch + 50_000, None));
    let asked = server.take_asked();
    assert_eq!((keys(&asked, "/trees/"), keys(&asked, "/blobs/") > 0), (0, true), "{asked:?}");

    // `app` is what the patch was made from. That it is no good today says nothing of tomorrow.
    for edit in [Some("edited".to_owned()), Some(text(0, 4_000).replace("line 0 of", "LINE 0 of")), None] {
        let (server, device, _) = scene();
        let app = device.dir().join("app");
        match &edit {
            Some(content) => fs::write(&app, content).unwrap(),
            None => fs::remove_file(&app).unwrap(),
        }
        let fell_back = fell_back(&device);
        assert_eq!(fell_back.reason, "'app' was edited or removed here");
        server.take_asked();
        device.open().rollback(&Options::default()).unwrap();
        fs::write(&app, text(0, 4_000)).unwrap();
        assert_eq!(taken(&device).by, Route::Patch);
    }
}

/// Edits a file as soon as something is made from it.
struct EditWhileMade {
    file: PathBuf,
    content: String,
    patching: AtomicBool,
}

impl Progress for EditWhileMade {
    fn phase(&self, phase: Phase) {
        self.patching.store(phase == Phase::Patching, Ordering::Relaxed);
    }

    fn bytes(&self, _: u64, _: u64) {
        if self.patching.swap(false, Ordering::Relaxed) {
            fs::write(&self.file, &self.content).unwrap();
        }
    }
}

#[test]
fn a_base_that_is_edited_while_it_is_read_is_not_the_patchs_fault() {
    let (_server, device, _) = scene();
    let edit = EditWhileMade {
        file: device.dir().join("app"),
        content: text(0, 4_000).replace("old", "odd"),
        patching: AtomicBool::new(false),
    };
    let mut updater = device.open();
    let update = crate::support::available(updater.check(device.now).unwrap());
    let staged = updater.download(&update, &edit).unwrap();
    assert_eq!(staged.fetched().fell_back.unwrap().reason, "'app' was edited or removed here");
    updater.apply(staged, &Options::default(), device.now).unwrap();
    updater.rollback(&Options::default()).unwrap();
    drop(updater);
    fs::write(&edit.file, text(0, 4_000)).unwrap();
    assert_eq!(taken(&device).by, Route::Patch);
}

#[test]
fn the_next_process_goes_on_where_this_one_was_stopped() {
    let (server, mut device, patch) = scene();
    let error = device.download_watched(&CancelAt(20_000, device.cancel.clone())).unwrap_err();
    assert!(error.is_cancelled(), "{error}");
    device.cancel = Cancel::default();
    server.take_asked();
    assert_eq!(taken(&device).by, Route::Patch);
    let asked = server.take_asked();
    let body: Vec<_> = asked.iter().filter(|asked| asked.key.contains("/patches/") && asked.bytes != 20).collect();
    assert!(matches!(body[..], [asked] if asked.from == 20_000 && asked.bytes == patch - 20_000), "{asked:?}");
}

#[test]
fn stopped_while_files_are_made_it_makes_them_again_and_fetches_nothing() {
    let (server, mut device, patch) = scene();
    // The patch comes whole, and then a good part of what it makes.
    let error = device.download_watched(&CancelAt(patch + 50_000, device.cancel.clone())).unwrap_err();
    assert!(error.is_cancelled(), "{error}");
    let here = files_below(&device.own("downloads"));
    assert!(matches!(&here[..], [part] if part.extension().is_some_and(|end| end == "patch")), "{here:?}");
    // A process that is killed leaves more.
    for left in ["patch.7.new", "patch.images.new"] {
        fs::write(device.own("downloads").join(left), "half of it").unwrap();
    }
    device.cancel = Cancel::default();
    server.take_asked();
    assert_eq!(taken(&device).by, Route::Patch);
    let asked = server.take_asked();
    assert!(asked.iter().filter(|asked| asked.key.contains("/patches/")).all(|asked| asked.bytes == 20), "{asked:?}");
}

#[test]
fn what_an_earlier_process_left_may_be_of_another_object() {
    let (server, mut device, patch) = scene();
    device.download_watched(&CancelAt(20_000, device.cancel.clone())).unwrap_err();
    device.cancel = Cancel::default();
    let part = files_below(&device.own("downloads")).pop().unwrap();
    let mut bytes = fs::read(&part).unwrap();
    bytes.iter_mut().skip(5_000).for_each(|byte| *byte ^= 0x3c);
    fs::write(&part, bytes).unwrap();
    let fetched = taken(&device);
    assert_eq!((fetched.by, fetched.fell_back), (Route::Patch, None));
    // What was here did not fit, so it was fetched from its start.
    let asked = server.take_asked();
    let body: Vec<_> = asked.iter().filter(|asked| asked.key.contains("/patches/") && asked.bytes != 20).collect();
    assert_eq!(body.last().map(|asked| (asked.from, asked.bytes)), Some((0, patch)), "{asked:?}");
}

#[test]
fn a_disk_without_room_is_an_error_as_ever() {
    let (_server, device, _) = scene();
    let Some(_mount) = crate::support::Mount::new(&device.own("downloads")) else { return };
    _mount.again("size=200k");
    let error = device.download().unwrap_err();
    assert_eq!(error.class(), Class::Other);
    assert!(error.to_string().contains("are free: make room"), "{error}");
}

/// A patch was replaced by a longer one between the price and the download, and then nothing else could be had. What had come
/// was refused at every later try, for it said another length than the source did, and nobody ever asked for the right one.
#[test]
fn what_is_here_of_a_patch_of_another_length_is_left() {
    let (server, device, _) = scene();
    let longer = patch_named(&old(), &new().with("fresh", noise(3, 60_000)), [&old(), &new()]);
    let mut is_priced = false;
    server.meddle(move |asked, reply| {
        if asked.key.contains("/blobs/") {
            reply.status = Some(404);
        } else if asked.key.contains("/patches/") && std::mem::replace(&mut is_priced, true) {
            reply.object = Some(longer.clone());
        }
    });
    device.download().unwrap_err();
    let here = files_below(&device.own("downloads"));
    assert!(here.iter().any(|file| file.extension().is_some_and(|end| end == "patch")), "{here:?}");
    server.relent();
    let fetched = taken(&device);
    assert_eq!((fetched.by, fetched.fell_back), (Route::Patch, None));
}

/// What was here of a patch that could not be used took the room of the files that were fetched instead, for ever.
#[test]
fn a_patch_makes_room_for_what_is_fetched_instead() {
    let (_server, mut device, patch) = scene();
    let Some(mount) = crate::support::Mount::new(&device.own("downloads")) else { return };
    device.download_watched(&CancelAt(patch, device.cancel.clone())).unwrap_err();
    device.cancel = Cancel::default();
    fs::write(device.dir().join("app"), "edited").unwrap();
    let (app, lib, fresh) = (text(3, 4_000).len(), text(4, 4_000).len(), 40_000);
    let needed = app + lib + fresh + fresh + (1 << 20);
    mount.again(&format!("size={}", needed + (30 << 10)));
    assert!(patch > 30 << 10, "{patch}");
    let staged = device.download().unwrap();
    assert_eq!(staged.fetched().fell_back.unwrap().reason, "'app' was edited or removed here");
}

#[test]
fn a_torn_patch_is_gone_on_with_and_one_that_never_comes_is_left() {
    let (server, device, patch) = scene();
    let mut tears = 2;
    server.meddle(move |asked, reply| {
        if asked.key.contains("/patches/") && tears > 0 && asked.from + 4_000 < patch {
            tears -= 1;
            reply.torn = Some(4_000);
        }
    });
    assert_eq!(taken(&device).by, Route::Patch);

    let (server, device, _) = scene();
    let mut asked_before = false;
    server.meddle(move |asked, reply| {
        if asked.key.contains("/patches/") && std::mem::replace(&mut asked_before, true) {
            reply.torn = Some(0);
        }
    });
    let fell_back = fell_back(&device);
    assert!(fell_back.reason.contains("the connection broke"), "{fell_back:?}");
    // It was not the patch's fault.
    server.relent();
    device.open().rollback(&Options::default()).unwrap();
    assert_eq!(taken(&device).by, Route::Patch);
}

/// A patch with the header of `good`, as long as `len`: what follows the header is nothing.
fn shell(good: &[u8], len: usize) -> Vec<u8> {
    let mut header = Patch::open(&good).unwrap().header().clone();
    for _ in 0..4 {
        let lacking = len as i64 - (header.plain().len() as u64 + header.coded_len()) as i64;
        let last = header.groups.last_mut().unwrap().streams.last_mut().unwrap();
        last.coded = last.coded.checked_add_signed(lacking).unwrap();
    }
    let mut shell = header.plain();
    shell.resize(len, 0);
    Patch::open(&shell.as_slice()).unwrap();
    shell
}

#[test]
fn a_header_that_changes_after_it_was_seen_is_seen_again() {
    let names = [&old(), &new()];
    let large = [noise(3, 41_000), vec![7; 400_000]].concat();
    let lie = patch_named(&old(), &new().with("fresh", large), names);
    let (server, device, _) = scene();
    let shell = shell(&patch_between(&old(), &new()), lie.len());
    server.repo(|repo| repo.put(patch_key(&old(), &new()), shell));
    let mut bodies = 0;
    server.meddle(move |asked, reply| {
        if asked.key.contains("/patches/") {
            bodies += 1;
            match bodies {
                1 => {}
                2 => reply.torn = Some(5_000),
                _ => reply.object = Some(lie.clone()),
            }
        }
    });
    let fell_back = fell_back(&device);
    assert!(fell_back.reason.contains("and the release has"), "{fell_back:?}");
    assert!(fell_back.bytes <= 20_000, "the rest need not come: {fell_back:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is done to the patch on its way: the release is installed, by it or by the next way.
    #[test]
    fn a_damaged_patch_never_keeps_a_device_from_its_update(
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4), cut in any::<Option<prop::sample::Index>>(),
    ) {
        let (server, device, _) = scene();
        server.meddle(move |asked, reply| {
            if let Some(patch) = reply.object.as_mut().filter(|_| asked.key.contains("/patches/")) {
                for (at, byte) in &damage {
                    let at = at.index(patch.len());
                    patch[at] = *byte;
                }
                if let Some(cut) = &cut {
                    patch.truncate(cut.index(patch.len()));
                }
            }
        });
        taken(&device);
    }
}
