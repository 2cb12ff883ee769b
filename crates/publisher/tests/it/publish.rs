//! Publishing: what is sent, what is live after it, and what happens when somebody is faster or the line dies.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use updraft_core::channel::Yanked;
use updraft_core::digest::Digest;
use updraft_core::layout;
use updraft_core::name::Platform;
use updraft_core::release::{Notes, ReleaseName, Terms};
use updraft_core::tree::stored::Encoding;
use updraft_core::trust::{MetadataFile, Role};
use updraft_publisher::keys::{KeyName, Unlocked};
use updraft_publisher::pin::pin;
use updraft_publisher::publish::{Error, Step, Wanted};
use updraft_publisher::{Phase, Progress, base, create};
use updraft_testkit::{TreeFixture, clock, keys, noise};

use crate::server::{Fault, Server};
use crate::{Desk, app, wanted};

/// Some text that compresses, some noise that does not, two files that are one blob, a link and an empty file.
fn build() -> TreeFixture {
    let text = "compresses well ".repeat(1_000);
    TreeFixture::of(&[
        ("bin/app*", "hello"),
        ("bin/copy*", "hello"),
        ("latest@", "bin/app"),
        ("empty", ""),
        ("dir/", ""),
    ])
    .with("text", text)
    .with("noise", noise(1, 30_000))
}

#[test]
fn what_is_published_is_what_a_device_gets() {
    let server = Server::new("demo");
    let desk = Desk::with_app(&server);
    let published = desk.publish(&server, &build(), &wanted("1.0.0", "stable")).unwrap();

    let (tree, contents) = server.fetch("1.0.0");
    assert_eq!(tree, build().tree());
    assert_eq!(contents, *build().contents());
    assert_eq!(server.current("stable").as_deref(), Some("1.0.0"));
    let release = server.release("1.0.0");
    assert_eq!(release.notes, Notes::Text("what is new in 1.0.0".into()));
    assert_eq!((release.tree.files, release.tree.bytes), (5, build().tree().byte_count()));

    // Text travels compressed and noise as it is, each blob once.
    let digest = |path: &str| Digest::of(build().content(path));
    assert_eq!(server.encodings(digest("text")), (false, true));
    assert_eq!(server.encodings(digest("noise")), (true, false));
    assert_eq!(server.uploads().len(), build().contents().len());
    assert_eq!(published.sent_blobs, build().contents().len() as u64);
    let document = release.tree.stored - published.sent_bytes;
    assert!(document > 0 && document < 1_000, "the rest of the price is the tree's document: {document}");
    assert!(published.sent_bytes < 31_000, "{}", published.sent_bytes);
}

#[test]
fn only_what_changed_is_sent() {
    let server = Server::new("demo");
    let desk = Desk::with_app(&server);
    desk.publish(&server, &build(), &wanted("1.0.0", "stable")).unwrap();
    let before = server.uploads().len();
    let next = build().with("bin/app", "hello again").with("moved/noise", noise(1, 30_000)).without("noise");
    let published = desk.publish(&server, &next, &wanted("1.1.0", "stable")).unwrap();
    assert_eq!(published.plan.missing.len(), 1, "a moved file is there already");
    let uploads = server.uploads();
    assert_eq!(uploads[before..], [(Digest::of(b"hello again"), Encoding::Raw)]);
    assert_eq!(server.fetch("1.1.0").0, next.tree());
}

#[test]
fn a_release_says_what_an_update_from_each_live_one_costs() {
    let (server, first) = (Server::new("demo"), build());
    let desk = Desk::with_app(&server);
    desk.publish(&server, &first, &wanted("1.0", "stable")).unwrap();
    let second = first.clone().with("new.bin", noise(5, 40_000));
    desk.publish(&server, &second, &wanted("1.1", "stable")).unwrap();
    let third = second.clone().without("new.bin");
    let sent = desk.publish(&server, &third.with("newer.bin", noise(6, 30_000)), &wanted("1.2", "stable")).unwrap();
    let release = server.release("1.2");
    let trees: Vec<_> = release.from.iter().map(|from| from.tree).collect();
    assert_eq!(trees, [second.tree().digest(), first.tree().digest()], "the newest first");
    // Only the new file travels, and the tree's document.
    let document = release.from[0].bytes - sent.sent_bytes;
    assert!(document > 0 && document < 1_000, "{:?}", release.from);
    assert!(release.tree.stored > release.from[0].bytes);
}

#[test]
fn the_same_again_is_success_and_sends_nothing() {
    let server = Server::new("demo");
    let desk = Desk::with_app(&server);
    desk.publish(&server, &build(), &wanted("1.0.0", "")).unwrap();
    assert_eq!(server.current("stable"), None, "without a channel it is promoted nowhere");
    let uploads = server.uploads();

    let again = desk.publish(&server, &build(), &wanted("1.0.0", "")).unwrap();
    assert_eq!((again.plan.step, again.committed, again.sent_bytes), (Step::Nothing, None, 0));

    // Now with a channel: promoted, nothing sent, nothing signed.
    let promoted = desk.publish(&server, &build(), &wanted("1.0.0", "stable")).unwrap();
    assert!(matches!(promoted.plan.step, Step::Promote(_)));
    assert_eq!((server.current("stable").as_deref(), server.promotions()), (Some("1.0.0"), 1));
    let again = desk.publish(&server, &build(), &wanted("1.0.0", "stable")).unwrap();
    assert_eq!((again.plan.step, server.promotions()), (Step::Nothing, 1));
    assert_eq!(server.uploads(), uploads);
}

#[test]
fn a_dry_run_changes_nothing_and_needs_no_passphrase() {
    let server = Server::new("demo");
    let desk = Desk::with_app(&server);
    desk.publish(&server, &build(), &wanted("1.0.0", "stable")).unwrap();
    desk.publish(&server, &build(), &wanted("1.1.0", "stable")).unwrap();
    std::fs::remove_file(desk.keys.key_path(KeyName::Targets)).unwrap();
    let (_dir, tree) = desk.lay(&build().with("new", "12345"));
    let before = (server.versions(), server.uploads());
    let plan = desk.publisher(&server).plan(&tree, &wanted("1.2.0", "stable"), clock::now()).unwrap();
    assert_eq!((&plan.step, plan.missing_bytes()), (&Step::Publish, 5));
    assert_eq!(plan.missing[0].path.as_str(), "new");
    assert_eq!(plan.promote.unwrap().as_str(), "stable");
    assert_eq!(plan.dropped.iter().map(|name| name.version.as_str()).collect::<Vec<_>>(), ["1.0.0"]);
    assert_eq!((server.versions(), server.uploads()), before);
}

#[test]
fn a_version_that_is_not_newer_is_refused_before_anything_is_sent() {
    let server = Server::new("demo");
    let desk = Desk::with_app(&server);
    desk.publish(&server, &build(), &wanted("1.1.0", "stable")).unwrap();
    let sent = server.uploads().len();
    let other = build().with("new", "content");
    let refused = |version: &str, channel: &str| desk.publish(&server, &other, &wanted(version, channel)).unwrap_err();

    assert!(matches!(refused("1.0.0", "stable"), Error::NotNewer { .. }));
    assert!(matches!(refused("1.0.0", ""), Error::NotNewer { .. }), "no channel could ever take it");
    assert!(matches!(refused("1.1.0", "stable"), Error::OtherContent { .. }));
    // The same version, written differently.
    assert!(matches!(refused("1.1", "stable"), Error::OtherContent { .. }));
    let message = refused("1.0.0", "stable").to_string();
    assert!(message.contains("1.0.0") && message.contains("1.1.0") && message.contains("stable"), "{message}");
    assert_eq!(server.uploads().len(), sent);

    // Another channel, and another platform, have numbers of their own.
    desk.publish(&server, &other, &wanted("1.0.0", "lts")).unwrap();
    let mut mac = wanted("1.1.0", "stable");
    mac.platform = "macos-aarch64".parse().unwrap();
    desk.publish(&server, &other, &mac).unwrap();
    assert_eq!(server.versions(), ["1.0.0", "1.1.0", "1.1.0"]);
}

#[test]
fn a_release_may_name_the_only_channels_that_it_is_for() {
    let server = Server::new("demo");
    let desk = Desk::with_app(&server);
    let mut beta_only = wanted("1.0.0", "stable");
    beta_only.terms.channels = Some(vec!["beta".parse().unwrap()]);
    let error = desk.publish(&server, &build(), &beta_only).unwrap_err();
    assert!(matches!(error, Error::ChannelNotAllowed { .. }), "{error}");
    beta_only.channel = None;
    desk.publish(&server, &build(), &beta_only).unwrap();
    let error = desk.publish(&server, &build(), &wanted("1.0.0", "stable")).unwrap_err();
    assert!(matches!(error, Error::ChannelNotAllowed { .. }), "{error}");
}

#[test]
fn what_may_not_be_said_is_refused_before_anything_is_sent() {
    let server = Server::new("demo");
    let desk = Desk::with_app(&server);
    desk.publish(&server, &build(), &wanted("1.0.0", "stable")).unwrap();
    let with = |version: &str, stone: &str| {
        let terms = Terms { stepping_stones: vec![stone.parse().unwrap()], ..Terms::default() };
        Wanted { terms, ..wanted(version, "stable") }
    };
    let sent = server.versions();
    let refused = |wanted: &Wanted| desk.publish(&server, &build(), wanted).unwrap_err().to_string();
    assert!(refused(&with("1.1.0", "0.9")).contains("no live release 0.9"));
    assert!(refused(&with("1.1.0", "1.2")).contains("newer than 1.1.0 itself"));
    // What was signed without it cannot say it now; what was signed with it may be said again.
    assert!(matches!(desk.publish(&server, &build(), &with("1.0.0", "1.0.0")), Err(Error::OtherTerms { .. })));
    assert_eq!(server.versions(), sent);
    desk.publish(&server, &build(), &with("1.1.0", "1.1")).unwrap();
    let again = desk.publish(&server, &build(), &with("1.1.0", "1.1.0")).unwrap();
    assert_eq!(again.plan.step, Step::Nothing);
}

/// Whoever had the online key could take away what the publisher had signed, for good: a yank in a channel made the next
/// publish drop the stepping stone, and with it that the update was mandatory.
#[test]
fn what_a_publisher_signed_is_not_taken_away_by_a_channel() {
    let server = Server::new("demo");
    let desk = Desk::with_app(&server);
    let publish = |wanted: &Wanted| desk.publish(&server, &build(), wanted).unwrap();
    publish(&wanted("1.0.0", "stable"));
    let stone: updraft_core::version::Version = "1.1.0".parse().unwrap();
    let terms =
        Terms { stepping_stones: vec![stone.clone()], mandatory_since: Some(stone.clone()), ..Terms::default() };
    publish(&Wanted { terms: terms.clone(), ..wanted("1.1.0", "stable") });
    let release = ReleaseName { platform: Platform::any(), version: stone };
    let yanked = Yanked { release, at: clock::now(), reason: "".into() };
    server.tamper("stable", |channel| channel.yanked.push(yanked));
    for version in ["1.2.0", "1.3.0", "1.4.0"] {
        publish(&wanted(version, "stable"));
        assert_eq!(server.release(version).terms, terms, "{version}");
    }
    assert_eq!(server.versions(), ["1.1.0", "1.3.0", "1.4.0"], "the stone stays where it can be had");
}

#[test]
fn what_a_channel_left_behind_is_dropped_and_what_is_pinned_stays() {
    let server = Server::new("demo");
    let desk = Desk::with_app(&server);
    let publish = |version: &str, channel: &str| {
        desk.publish(&server, &build().with("version", version), &wanted(version, channel)).unwrap()
    };
    publish("1.0", "stable");
    publish("1.1", "stable");
    publish("1.2-rc.1", "");
    let release = |version: &str| ReleaseName { platform: Platform::any(), version: version.parse().unwrap() };
    let set = |version: &str, pinned| pin(&desk.publisher(&server), &app(), &release(version), pinned, clock::now());
    assert!(set("1.1", true).unwrap().is_some());
    assert!(set("1.1", true).unwrap().is_none(), "it is so already");

    let dropped = |published: updraft_publisher::publish::Published| -> Vec<String> {
        published.plan.dropped.iter().map(|name| name.version.as_str().to_owned()).collect()
    };
    assert_eq!(dropped(publish("1.2", "stable")), ["1.0"]);
    // 1.1 would go now, were it not pinned; what was never promoted stays.
    assert_eq!(dropped(publish("1.3", "stable")), [""; 0]);
    assert_eq!(server.versions(), ["1.1", "1.2", "1.2-rc.1", "1.3"]);
    // Let go, it goes in the same step.
    set("1.1", false).unwrap();
    assert_eq!(server.versions(), ["1.2", "1.2-rc.1", "1.3"]);
    assert!(matches!(set("1.1", true), Err(Error::NoRelease { .. })));
}

#[test]
fn whoever_is_faster_costs_another_round() {
    let server = Arc::new(Server::new("demo"));
    let desk = Desk::with_app(&server);
    for version in ["2.0-a", "2.0-b", "2.0-c"] {
        let colleague = desk.colleague();
        let version = version.to_owned();
        server.before_next_submit(move |server| {
            colleague.publish(server, &build().with("theirs", &version), &wanted(&version, "")).unwrap();
        });
    }
    let published = desk.publish(&server, &build().with("ours", "x"), &wanted("2.0", "stable")).unwrap();
    assert!(published.committed.is_some());
    assert_eq!(server.versions(), ["2.0", "2.0-a", "2.0-b", "2.0-c"]);
    let mut uploads = server.uploads();
    let all = uploads.len();
    uploads.sort_by_key(|(digest, _)| *digest);
    uploads.dedup();
    assert_eq!(uploads.len(), all, "a round that was lost sends nothing again");
}

#[test]
fn ten_who_publish_at_once_all_succeed() {
    let server = Server::new("demo");
    let desk = Desk::with_app(&server);
    let platforms = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
    std::thread::scope(|scope| {
        for platform in platforms {
            let colleague = desk.colleague();
            let server = &server;
            scope.spawn(move || {
                let mut wanted = wanted("1.0", "stable");
                wanted.platform = platform.parse().unwrap();
                colleague.publish(server, &build().with("platform", platform), &wanted).unwrap();
            });
        }
    });
    assert_eq!(server.targets().len(), platforms.len());
}

#[test]
fn a_version_number_that_a_dead_writer_left_occupied_is_skipped() {
    let server = Server::new("demo");
    let desk = Desk::with_app(&server);
    server.occupy_next_targets(1);
    let published = desk.publish(&server, &build(), &wanted("1.0", "stable")).unwrap();
    assert_eq!(published.committed.unwrap().targets, 3);
}

/// Each round tried the next number only: ten that were occupied, by as many crashes or by nobody knows what, used up all
/// rounds, and the app could never be published to again.
#[test]
fn however_many_numbers_are_occupied_a_free_one_is_found() {
    for occupied in [2, 10, 250] {
        let server = Server::new("demo");
        let desk = Desk::with_app(&server);
        server.occupy_next_targets(occupied);
        let published = desk.publish(&server, &build(), &wanted("1.0", "stable")).unwrap();
        let version = published.committed.unwrap().targets;
        assert!(version > 1 + occupied && version <= 2 + 2 * occupied, "{version} after {occupied}");
        // The next ones follow without a gap.
        let published = desk.publish(&server, &build(), &wanted("1.1", "stable")).unwrap();
        assert_eq!(published.committed.unwrap().targets, version + 1);
    }
}

#[test]
fn what_is_collected_meanwhile_is_sent_again() {
    let server = Server::new("demo");
    let desk = Desk::with_app(&server);
    let text = Digest::of(build().content("text"));
    server.before_next_submit(move |server| server.collect(text));
    desk.publish(&server, &build(), &wanted("1.0", "stable")).unwrap();
    assert_eq!(server.fetch("1.0").1, *build().contents());
    assert_eq!(server.uploads().iter().filter(|(digest, _)| *digest == text).count(), 2);
}

/// `fsck --repair` deleted what was damaged and said to publish the release again, and that did nothing: it was live, so
/// nobody asked which blobs were there. Devices could not install it any more, and a lost tree stopped every collection.
#[test]
fn publishing_again_brings_back_what_the_server_lost() {
    let server = Server::new("demo");
    let desk = Desk::with_app(&server);
    desk.publish(&server, &build(), &wanted("1.0", "")).unwrap();
    // Neither needs the key: it is signed.
    std::fs::remove_file(desk.keys.key_path(KeyName::Targets)).unwrap();
    let text = Digest::of(build().content("text"));
    for (channel, step) in [("", "Nothing"), ("stable", "Promote"), ("stable", "Nothing")] {
        let before = server.uploads().len();
        server.collect(text);
        server.lose_tree(build().tree().digest());
        let (_dir, tree) = desk.lay(&build());
        let plan = desk.publisher(&server).plan(&tree, &wanted("1.0", channel), clock::now()).unwrap();
        assert!(plan.missing.iter().map(|blob| blob.digest).eq([text]) && plan.sends_tree, "a dry run says so");

        let again = desk.publish(&server, &build(), &wanted("1.0", channel)).unwrap();
        assert!(format!("{:?}", again.plan.step).starts_with(step), "{:?}", again.plan.step);
        assert_eq!(server.uploads()[before..], [(text, Encoding::Zstd)], "only what was lost");
        assert_eq!(server.fetch("1.0"), (build().tree(), build().contents().clone()));
    }
    assert_eq!(server.current("stable").as_deref(), Some("1.0"));
}

/// The line dies at every call in turn, before and after its effect. What is live is the old release or the new one,
/// whole; doing it again finishes it and sends nothing twice.
#[test]
fn an_interrupted_publish_is_finished_by_doing_it_again() {
    let prepare = || {
        let server = Server::new("demo");
        let mut desk = Desk::with_app(&server);
        desk.options.threads = 1;
        desk.publish(&server, &build(), &wanted("1.0", "stable")).unwrap();
        (server, desk)
    };
    let next = build().with("bin/app", "new").with("more", "of it".repeat(2_000));
    let whole = {
        let (server, desk) = prepare();
        let before = server.calls();
        desk.publish(&server, &next, &wanted("1.1", "stable")).unwrap();
        server.calls() - before
    };
    assert!(whole >= 6, "{whole}");
    for nth in 0..whole {
        for fault in [Fault::Before, Fault::After] {
            let (server, desk) = prepare();
            server.fail_at(nth, fault);
            desk.publish(&server, &next, &wanted("1.1", "stable")).unwrap_err();
            server.heal();
            let current = server.current("stable").unwrap();
            assert_eq!(server.fetch(&current).0, if current == "1.1" { next.tree() } else { build().tree() });

            desk.publish(&server, &next, &wanted("1.1", "stable")).unwrap();
            assert_eq!(server.current("stable").as_deref(), Some("1.1"), "call {nth}, {fault:?}");
            assert_eq!(server.fetch("1.1").1, *next.contents());
            let mut uploads = server.uploads();
            let all = uploads.len();
            uploads.sort_by_key(|(digest, _)| *digest);
            uploads.dedup();
            assert_eq!(uploads.len(), all, "call {nth}, {fault:?}: a blob was sent twice");
        }
    }
}

#[test]
fn a_server_that_goes_back_in_time_is_not_built_on() {
    let server = Server::new("demo");
    let desk = Desk::with_app(&server);
    desk.publish(&server, &build(), &wanted("1.0", "stable")).unwrap();
    let backup = server.backup();
    desk.publish(&server, &build().with("fix", "1"), &wanted("1.1", "stable")).unwrap();
    server.restore(backup);
    let error = desk.publish(&server, &build().with("fix", "2"), &wanted("1.2", "stable")).unwrap_err();
    assert!(matches!(error, Error::Base(base::Error::Trust { .. })), "{error}");
    assert!(error.to_string().contains("rollback"), "{error}");
    // Whoever has no memory of it is fooled no further than a new device would be.
    desk.colleague().publish(&server, &build().with("fix", "2"), &wanted("1.2", "stable")).unwrap();
}

#[test]
fn metadata_and_documents_that_were_altered_are_not_built_on() {
    let server = Server::new("demo");
    let desk = Desk::with_app(&server);
    desk.publish(&server, &build(), &wanted("1.0", "stable")).unwrap();
    let release = ReleaseName { platform: Platform::any(), version: "1.0".parse().unwrap() };
    let sha256 = server.targets()[&release.target_path()].hashes.sha256.unwrap();
    let whole = server.backup();
    server.damage(&layout::release(&app(), &release, sha256), b"{}");
    let error = desk.publish(&server, &build(), &wanted("1.0", "")).unwrap_err();
    assert!(matches!(error, Error::Base(base::Error::Document { .. })), "{error}");

    server.restore(whole);
    let targets = layout::metadata(&app(), &MetadataFile::Versioned(Role::Targets, 2));
    server.damage(&targets, b"{}");
    let error = desk.colleague().publish(&server, &build(), &wanted("1.1", "")).unwrap_err();
    assert!(matches!(error, Error::Base(base::Error::Trust { .. })), "{error}");
}

#[test]
fn a_foreign_key_is_found_out_before_the_upload() {
    let server = Server::new("demo");
    let desk = Desk::with_app(&server);
    let other = Server::with_online("demo", keys::named("other"));
    let stranger = Desk::with_app(&other);
    std::fs::copy(stranger.keys.key_path(KeyName::Targets), desk.keys.key_path(KeyName::Targets)).unwrap();
    let error = desk.publish(&server, &build(), &wanted("1.0", "stable")).unwrap_err();
    assert!(matches!(error, Error::WrongKeys { .. }), "{error}");
    assert_eq!(server.uploads(), []);
}

#[test]
fn an_app_that_is_not_there_says_so() {
    let server = Server::new("demo");
    let desk = Desk::new();
    let error = desk.publish(&server, &build(), &wanted("1.0", "stable")).unwrap_err();
    assert!(matches!(error, Error::Base(base::Error::NoRoot { .. })), "{error}");
    create::create(&Server::new("demo"), &app(), &desk.keys, create::RootKeys::default(), &Unlocked, clock::now())
        .unwrap();
    // The keys know an app; this server does not.
    let error = desk.publish(&server, &build(), &wanted("1.0", "stable")).unwrap_err();
    assert!(matches!(error, Error::Base(base::Error::NoApp { .. })), "{error}");
}

#[test]
fn a_file_that_changes_after_the_scan_is_named() {
    let server = Server::new("demo");
    let desk = Desk::with_app(&server);
    for changed in [noise(2, 30_000), noise(1, 29_999), noise(1, 30_001), Vec::new()] {
        let (dir, tree) = desk.lay(&build());
        std::fs::write(desk.temp.path().join("build/noise"), &changed).unwrap();
        let error = desk.publisher(&server).publish(&dir, &tree, &wanted("1.0", "stable"), clock::now()).unwrap_err();
        assert!(matches!(&error, Error::Changed { path } if path == "noise"), "{error}");
    }
    assert_eq!(server.versions(), [""; 0]);
}

#[test]
fn a_large_file_asks_no_more_memory_of_a_device_than_is_allowed() {
    let server = Server::new("demo");
    let desk = Desk::with_app(&server);
    // Longer than the largest window, so that the frame must choose one.
    let large = [noise(3, 9 << 20), b"compresses well ".repeat(10_000)].concat();
    desk.publish(&server, &TreeFixture::of(&[]).with("large", &large), &wanted("1.0", "stable")).unwrap();
    let digest = Digest::of(&large);
    assert_eq!(server.encodings(digest), (false, true));
    assert_eq!(server.fetch("1.0").1[&digest], large);
}

#[test]
fn notes_that_do_not_fit_are_refused() {
    let server = Server::new("demo");
    let desk = Desk::with_app(&server);
    let mut long = wanted("1.0", "stable");
    let locale = |n: u32| (format!("x{n}"), "n".repeat(60 << 10));
    long.notes = Notes::Locales((0..20).map(locale).collect());
    let error = desk.publish(&server, &build(), &long).unwrap_err();
    assert!(matches!(error, Error::NotesTooLong { .. }), "{error}");
}

#[test]
fn progress_counts_every_byte_once() {
    #[derive(Default)]
    struct Counter {
        phases: Mutex<Vec<(Phase, Option<u64>)>>,
        bytes: AtomicU64,
    }
    impl Progress for Counter {
        fn begin(&self, phase: Phase, total: Option<u64>) {
            self.phases.lock().unwrap().push((phase, total));
        }
        fn advance(&self, bytes: u64) {
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
    }
    let server = Server::new("demo");
    let desk = Desk::with_app(&server);
    let counter = Counter::default();
    let (dir, tree) = desk.lay(&build());
    let mut publisher = desk.publisher(&server);
    publisher.progress = &counter;
    publisher.publish(&dir, &tree, &wanted("1.0", "stable"), clock::now()).unwrap();
    let total = build().contents().values().map(|content| content.len() as u64).sum();
    assert_eq!(*counter.phases.lock().unwrap(), [(Phase::Upload, Some(total)), (Phase::Commit, None)]);
    assert_eq!(counter.bytes.into_inner(), total);
}
