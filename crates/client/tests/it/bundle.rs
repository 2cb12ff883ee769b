//! First installs by bundle, and updates that share nothing with what is installed: what they cost, and every way in which a
//! bundle can be no good.

use std::fs;

use updraft_client::install::Options;
use updraft_client::{Cancel, Fetched, Price, Route};
use updraft_core::release::FromTree;
use updraft_testkit::{TreeFixture, noise};

use crate::support::{
    CancelAt, Device, Server, available, demo, files_below, patch_between, patch_key, patch_named, publish,
};

fn empty() -> TreeFixture {
    TreeFixture::of(&[])
}

/// Files that are alike, so that together they are smaller than one by one.
fn files() -> TreeFixture {
    let alike = |n: u64| [noise(n, 2_000), noise(7, 60_000), noise(n + 100, 2_000)].concat();
    (0..4).fold(TreeFixture::of(&[("dir/empty", "")]), |files, n| files.with(&format!("file {n}*"), alike(n)))
}

/// A server that has `files` and a bundle of them, with the length of that.
fn scene() -> (Server, u64) {
    let server = demo(&files());
    let bundle = patch_between(&empty(), &files());
    let len = bundle.len() as u64;
    server.repo(|repo| repo.put(patch_key(&empty(), &files()), bundle));
    (server, len)
}

/// Installs on a new device, and says how it got there and what that was to cost.
fn installed(server: &Server, device: &Device) -> (Fetched, Price) {
    let mut updater = device.install().unwrap();
    let update = available(updater.check(device.now).unwrap());
    let staged = updater.download(&update, &()).unwrap();
    updater.apply(staged, &Options::default(), device.now).unwrap();
    assert_eq!(device.tree(), files());
    assert!(updater.verify(&()).unwrap().is_sound());
    assert_eq!(files_below(&device.own("downloads")), Vec::<std::path::PathBuf>::new(), "nothing is left over");
    server.relent();
    (updater.status(device.now).unwrap().fetched.unwrap(), update.price())
}

/// How many bytes were asked for of what has `part` in its key, request by request.
fn bytes_of(server: &Server, part: &str) -> Vec<u64> {
    server.take_asked().iter().filter(|asked| asked.key.contains(part)).map(|asked| asked.bytes).collect()
}

#[test]
fn a_first_install_takes_the_bundle() {
    let (server, len) = scene();
    let device = Device::new(&server);
    let (fetched, price) = installed(&server, &device);
    let full_bytes = price.full_bytes;
    assert!(len < full_bytes / 3, "{len} of {full_bytes}");
    assert_eq!(price, Price { fetch_bytes: len, full_bytes, exact: true, route: Route::Bundle });
    assert_eq!(fetched, Fetched { by: Route::Bundle, fetch_bytes: len, full_bytes, fell_back: None });
    let asked = server.take_asked();
    let of = |part: &str| asked.iter().filter(|asked| asked.key.contains(part)).map(|asked| asked.bytes).sum::<u64>();
    assert_eq!((of("/patches/"), of("/trees/"), of("/blobs/")), (len + 20, 0, 0), "{asked:?}");
    // What came by a bundle is repaired as what came whole.
    fs::write(device.dir().join("file 1"), "edited").unwrap();
    device.open().repair(&()).unwrap();
    assert_eq!(device.tree(), files());
}

#[test]
fn without_a_bundle_or_with_one_that_costs_more_whole_files_are_fetched() {
    let server = demo(&files());
    let (fetched, price) = installed(&server, &Device::new(&server));
    assert_eq!((price.route, fetched.by, fetched.fell_back), (Route::Full, Route::Full, None));
    assert_eq!(bytes_of(&server, "/patches/"), [0], "it is asked for once");

    let (server, len) = scene();
    let mut longer = server.repo(|repo| repo.objects()[&patch_key(&empty(), &files())][..20].to_vec());
    longer[12..].copy_from_slice(&price.full_bytes.to_le_bytes());
    longer.resize(price.full_bytes as usize, 0);
    assert!(len < price.full_bytes);
    server.repo(|repo| repo.put(patch_key(&empty(), &files()), longer));
    let (fetched, _) = installed(&server, &Device::new(&server));
    assert_eq!((fetched.by, fetched.fell_back), (Route::Full, None));
    assert_eq!(bytes_of(&server, "/patches/"), [20]);
}

#[test]
fn a_bundle_that_is_no_good_keeps_nobody_from_a_first_install() {
    type Spoil = fn(&mut Vec<u8>);
    let other = || files().with("file 2", noise(9, 1_000));
    let lie = |old: &TreeFixture, new: &TreeFixture| patch_named(old, new, [&empty(), &files()]);
    let lies: [(&str, Vec<u8>); 4] = [
        (
            "more than the list of files",
            lie(&empty(), &(0..2).fold(other(), |files, n| files.with(&format!("m{n}"), noise(n, 9)))),
        ),
        ("list of files is not the one", lie(&empty(), &other())),
        ("files that are not installed here", lie(&files().without("file 3"), &files())),
        ("and the release has", lie(&empty(), &files().with("file 2", vec![7; 900_000]))),
    ];
    for (reason, lie) in lies {
        let (server, _) = scene();
        server.repo(|repo| repo.put(patch_key(&empty(), &files()), lie));
        let (fetched, price) = installed(&server, &Device::new(&server));
        let fell_back = fetched.fell_back.unwrap();
        assert_eq!((price.route, fetched.by, fell_back.from), (Route::Bundle, Route::Full, Route::Bundle));
        assert!(fell_back.reason.contains(reason), "{reason}: {fell_back:?}");
    }
    let spoils: [Spoil; 4] = [
        |bundle| bundle.truncate(bundle.len() - 10),
        |bundle| bundle.truncate(40),
        |bundle| *bundle.last_mut().unwrap() ^= 0x55,
        |bundle| bundle[100..].fill(0xa7),
    ];
    for spoil in spoils {
        let (server, _) = scene();
        server.meddle(move |asked, reply| {
            if asked.key.contains("/patches/") {
                spoil(reply.object.as_mut().unwrap());
            }
        });
        let (fetched, _) = installed(&server, &Device::new(&server));
        assert_eq!((fetched.by, fetched.fell_back.unwrap().from), (Route::Full, Route::Bundle));
    }
}

#[test]
fn a_bundle_that_was_no_good_is_not_fetched_again() {
    let (server, _) = scene();
    server.meddle(|asked, reply| match &mut reply.object {
        Some(bundle) if asked.key.contains("/patches/") => *bundle.last_mut().unwrap() ^= 0x55,
        // Nor is there anything else.
        _ if asked.key.contains("/blobs/") => reply.status = Some(404),
        _ => {}
    });
    let device = Device::new(&server);
    let mut updater = device.install().unwrap();
    let update = available(updater.check(device.now).unwrap());
    updater.download(&update, &()).unwrap_err();
    drop(updater);
    server.take_asked();
    assert_ne!(device.available().price().route, Route::Bundle);
    device.download().unwrap_err();
    assert!(bytes_of(&server, "/patches/").iter().all(|bytes| *bytes <= 20));
    // Another object in its place is another chance.
    server.relent();
    assert_eq!(device.available().price().route, Route::Bundle);
    device.update().unwrap();
    assert_eq!(device.tree(), files());
}

#[test]
fn a_bundle_is_gone_on_with_by_the_next_process() {
    let (server, len) = scene();
    let mut device = Device::new(&server);
    drop(device.install().unwrap());
    let error = device.download_watched(&CancelAt(20_000, device.cancel.clone())).unwrap_err();
    assert!(error.is_cancelled(), "{error}");
    device.cancel = Cancel::default();
    device.update().unwrap();
    assert_eq!(device.tree(), files());
    let asked = server.take_asked();
    let body: Vec<_> = asked.iter().filter(|asked| asked.key.contains("/patches/") && asked.bytes > 20).collect();
    assert!(matches!(body[..], [.., asked] if asked.from == 20_000 && asked.bytes == len - 20_000), "{asked:?}");
}

/// Nor does a bundle that was made meanwhile undo what came of whole files: so much of them is here that the rest costs less.
#[test]
fn whole_files_that_are_nearly_here_are_gone_on_with() {
    let large = noise(1, 700_000);
    let files = TreeFixture::of(&[]).with("large", &large).with("alike", &large[..600_000]);
    for (came, by) in [(650_000, Route::Full), (300_000, Route::Bundle)] {
        let server = demo(&files);
        let mut device = Device::new(&server);
        drop(device.install().unwrap());
        device.download_watched(&CancelAt(came, device.cancel.clone())).unwrap_err();
        device.cancel = Cancel::default();
        server.repo(|repo| repo.put(patch_key(&empty(), &files), patch_between(&empty(), &files)));
        assert_eq!(device.available().price().route, by, "{came}");
        device.update().unwrap();
        assert_eq!(device.tree(), files);
    }
}

/// A device with 1.0.0, which is `old`, and a server with `files` as 1.1.0, a bundle of them, and what the publisher says of
/// what whole blobs cost from there.
fn update_scene(old: &TreeFixture, blobs: u64) -> (Server, Device, u64) {
    let server = demo(old);
    let device = Device::installed(&server);
    let bundle = patch_between(&empty(), &files());
    let len = bundle.len() as u64;
    let from = FromTree { tree: old.tree().digest(), bytes: blobs };
    server.repo(|repo| {
        let release = repo.publish_with("1.1.0", "any", &files(), |release| release.from = vec![from]);
        repo.promote("stable", &release);
        repo.put(patch_key(&empty(), &files()), bundle);
    });
    (server, device, len)
}

#[test]
fn an_update_that_shares_nothing_takes_the_bundle() {
    let old = TreeFixture::of(&[("file 1", "something else")]);
    let (server, device, len) = update_scene(&old, 250_000);
    let price = device.available().price();
    assert_eq!((price.route, price.fetch_bytes, price.exact), (Route::Bundle, len, true));
    let asked = server.take_asked();
    assert_eq!(asked.iter().filter(|asked| asked.key.contains("/patches/")).count(), 2, "{asked:?}");
    let bytes: u64 = asked.iter().map(|asked| asked.bytes).sum();
    assert!(asked.len() <= 6 && bytes <= 20 << 10, "the budget of a check: {bytes} bytes, {asked:?}");
    device.update().unwrap();
    assert_eq!(device.tree(), files());
    device.open().rollback(&Options::default()).unwrap();
    assert_eq!(device.tree(), old);
}

#[test]
fn an_update_that_shares_much_asks_for_no_bundle() {
    let old = files().without("file 3");
    let (server, device, _) = update_scene(&old, 60_000);
    assert_eq!(device.available().price().route, Route::Blobs);
    assert_eq!(bytes_of(&server, "/patches/"), [0], "for a patch");
    // Nor where nobody says how much that is: it may be next to nothing.
    let server = demo(&old);
    let device = Device::installed(&server);
    publish(&server, "1.1.0", &files());
    assert_ne!(device.available().price().route, Route::Bundle);
    assert_eq!(bytes_of(&server, "/patches/"), [0], "for a patch");
}

#[test]
fn what_lies_there_to_be_adopted_is_not_fetched_by_bundle() {
    let (server, _) = scene();
    let device = Device::new(&server);
    files().write_to(&device.dir());
    let mut options = device.install_options();
    options.adopt = true;
    let mut updater = updraft_client::Updater::install(&device.dir(), options).unwrap();
    let update = available(updater.check(device.now).unwrap());
    assert_ne!(update.price().route, Route::Bundle);
    let staged = updater.download(&update, &()).unwrap();
    assert_eq!(bytes_of(&server, "/blobs/"), [0; 0]);
    updater.apply(staged, &Options::default(), device.now).unwrap();
    assert_eq!(device.tree(), files());
}
