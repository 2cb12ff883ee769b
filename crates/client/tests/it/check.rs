//! What a check asks for, what it answers, and what it does not believe.

use updraft_client::{Class, Route, Updater, Verdict};
use updraft_core::channel::Channel;
use updraft_core::layout;
use updraft_core::release::Notes;
use updraft_core::trust::Role;
use updraft_testkit::{SimRepo, TreeFixture, clock, keys};

use crate::support::{Device, Server, demo, publish};

fn small() -> TreeFixture {
    TreeFixture::of(&[("app*", "one")])
}

fn class(device: &Device) -> Class {
    device.check().unwrap_err().class()
}

/// DESIGN 9: nothing new is 1 request and no more than 1 KiB; a release is at most 6 requests and 20 KiB without notes,
/// however many files and past releases there are, and no list of files is fetched.
#[test]
fn the_budget_of_a_check_does_not_grow() {
    for (releases, files) in [(10, 5), (10, 5_000), (1_000, 5)] {
        let tree = (0..files).fold(TreeFixture::default(), |tree, n| tree.with(&format!("d{}/f{n}", n % 100), "same"));
        let server = demo(&tree);
        let device = Device::new(&server);
        drop(device.install().unwrap());
        device.available();
        server.take_asked();
        server.repo(|repo| {
            for n in 1..releases {
                let release = repo.publish(&format!("1.{n}.0"), "any", &tree);
                repo.promote("stable", &release);
                repo.drop_retired("stable");
            }
        });

        assert!(matches!(device.check(), Ok(Verdict::Available(_))));
        let asked = server.take_asked();
        let bytes: u64 = asked.iter().map(|asked| asked.bytes).sum();
        assert!(asked.len() <= 6 && bytes <= 20 << 10, "{releases} releases, {files} files: {bytes} bytes, {asked:?}");
        assert!(asked.iter().all(|asked| !asked.key.contains("/trees/") && !asked.key.contains("/blobs/")));

        assert!(matches!(device.check(), Ok(Verdict::Available(_))));
        let asked = server.take_asked();
        assert_eq!(asked.len(), 1, "{asked:?}");
        assert_eq!(asked[0].bytes, 0, "the tag of the head says that nothing is new");
    }
}

#[test]
fn every_verdict() {
    let server = demo(&small());
    let device = Device::installed(&server);
    let version = |text: &str| text.parse().unwrap();
    assert_eq!(device.check().unwrap(), Verdict::Current { version: version("1.0.0"), passed: None });

    publish(&server, "1.1.0", &small().with("more", "two"));
    let update = device.available();
    assert_eq!(update.version(), &version("1.1.0"));
    assert_eq!(update.notes(), &Notes::Text("Release 1.1.0".into()));
    assert_eq!(update.release().date, clock::now());
    let (price, stored) = (update.price(), update.release().tree.stored);
    assert_eq!((price.exact, price.fetch_bytes, price.route), (false, stored, Route::Blobs));

    let app = Device::installed(&server);
    let other = "freebsd-riscv64".parse().unwrap();
    let mut channel = Channel::default();
    let old = server.repo(|repo| repo.publish("0.9.0", "any", &small()));
    let stable = "stable".parse().unwrap();
    channel = channel.promote(&stable, &old).unwrap();
    server.repo(|repo| repo.set_channel(&stable, &channel));
    assert_eq!(app.check().unwrap(), Verdict::Ahead { version: version("1.1.0"), channel: old, passed: None });

    let foreign = server.repo(|repo| repo.publish("2.0.0", "freebsd-riscv64", &small()));
    let channel = Channel::default().promote(&stable, &foreign).unwrap();
    server.repo(|repo| repo.set_channel(&stable, &channel));
    let platform = "linux-x86_64".parse().unwrap();
    assert_eq!(app.check().unwrap(), Verdict::NotForPlatform { platform, platforms: vec![other] });
}

/// The bar of a check that finds nothing to take: the release, the word and the sentence.
fn barred(device: &Device) -> (String, &'static str, String) {
    let Verdict::Current { passed: Some(passed), .. } = device.check().unwrap() else { panic!("it is said why not") };
    let status = updraft_client::status(&device.dir(), device.now).unwrap();
    assert_eq!(status.passed.as_ref(), Some(&*passed));
    (passed.release.to_string(), passed.bar.word(), passed.to_string())
}

/// A device that was barred from all that is newer heard that it had the newest, and nothing else.
#[test]
fn whoever_is_barred_from_what_is_newer_hears_why() {
    let server = demo(&small());
    let device = Device::installed(&server);
    assert_eq!(updraft_client::status(&device.dir(), device.now).unwrap().passed, None);
    let needs_newer = |release: &mut updraft_core::release::Release| {
        release.terms.min_os.insert("linux".into(), "99".parse().unwrap());
    };
    server.repo(|repo| {
        let release = repo.publish_with("1.1.0", "any", &small(), needs_newer);
        repo.promote("stable", &release);
    });
    let says = "not 1.1.0, which needs version 99 of its operating system, and nobody knows what that is at";
    assert_eq!(barred(&device), ("1.1.0".into(), "not_for_os", says.into()));
}

/// Terms of a later format made every check of an older program fail, and look like the work of a thief.
#[test]
fn what_this_program_does_not_understand_is_passed_over() {
    let server = demo(&small());
    let device = Device::installed(&server);
    publish(&server, "1.1.0", &small().with("more", "one"));
    publish(&server, "1.2.0", &small().with("more", "two"));
    server.repo(|repo| {
        repo.tamper(&Role::Targets, |targets| {
            targets["targets"]["releases/any/1.2.0.json"]["custom"] = serde_json::json!({"terms": {"min_os": 12}});
        });
    });
    assert_eq!(device.available().version().as_str(), "1.1.0");
    device.update().unwrap();
    assert_eq!(barred(&device), ("1.2.0".into(), "newer_program", "not 1.2.0, which needs a newer updraft".into()));
}

#[test]
fn out_of_date_is_said_with_its_date_and_is_no_failure_of_verification() {
    let server = demo(&small());
    let mut device = Device::installed(&server);
    device.now = clock::days(3);
    let error = device.check().unwrap_err();
    assert_eq!((error.class(), error.stale_since()), (Class::Stale, Some(clock::days(1))));
    let status = updraft_client::status(&device.dir(), device.now).unwrap();
    assert_eq!((status.stale_since, status.fresh_until), (Some(clock::days(1)), None));
    // The server looks after it: all is well again.
    server.repo(|repo| {
        repo.now = clock::days(3);
        repo.renew();
    });
    assert!(matches!(device.check(), Ok(Verdict::Current { .. })));
    let status = updraft_client::status(&device.dir(), device.now).unwrap();
    assert_eq!((status.stale_since, status.fresh_until), (None, Some(clock::days(4))));
}

/// Ten years off, both ways. Ahead of time everything looks out of date, and the clock is named among the reasons; behind
/// it nothing does, and only the dates of releases tell.
#[test]
fn a_clock_that_is_ten_years_off() {
    let server = demo(&small());
    let mut device = Device::installed(&server);
    publish(&server, "1.1.0", &small().with("more", "two"));
    device.now = clock::days(3_650);
    let error = device.check().unwrap_err();
    assert_eq!(error.class(), Class::Stale);
    let text = error.to_string();
    assert!(text.contains("this device's clock says 2035-12-30T00:00:00Z (either the clock is wrong, or"), "{text}");
    assert!(text.ends_with("what is installed keeps running"), "{text}");
    assert_eq!(device.tree(), small());

    device.now = clock::days(-3_650);
    let update = device.available();
    let made = Some(clock::now());
    assert_eq!((update.clock_behind(device.now), device.open().clock_behind(device.now).unwrap()), (made, made));
    assert_eq!(updraft_client::status(&device.dir(), device.now).unwrap().clock_behind, made);
    device.update().unwrap();
    // Those of two machines differ a little, and one of them may be set to local time.
    device.now = clock::hours(-20);
    assert_eq!(updraft_client::status(&device.dir(), device.now).unwrap().clock_behind, None);
}

/// What is here, has expired and is not signed anew is not asked for at every check: the answer could only be the same
/// bytes.
#[test]
fn targets_that_expired_are_not_fetched_again() {
    let server = demo(&small());
    let mut device = Device::installed(&server);
    device.now = clock::days(366);
    server.repo(|repo| {
        repo.now = clock::days(366);
        repo.rotate(&[Role::Timestamp], &[keys::online()], 1);
    });
    for round in 0..3 {
        let error = device.check().unwrap_err();
        assert_eq!(error.stale_since(), Some(clock::days(365)), "{error}");
        let asked = server.take_asked();
        assert!(asked.iter().all(|asked| !asked.key.ends_with(".targets.json")), "{round}: {asked:?}");
        assert!(round == 0 || asked.len() == 1, "{round}: {asked:?}");
    }
    server.repo(SimRepo::renew_targets);
    device.check().unwrap();
}

#[test]
fn a_source_that_does_not_answer_is_asked_a_few_times_and_then_called_unreachable() {
    let server = demo(&small());
    let device = Device::installed(&server);
    server.set_down(true);
    assert_eq!(class(&device), Class::Unreachable);
    assert_eq!(server.take_asked().len(), 4);
    server.set_down(false);
    for status in [500, 503, 429] {
        let mut left = 2;
        server.meddle(move |_, reply| {
            reply.status = (left > 0).then_some(status);
            left -= 1;
        });
        assert!(matches!(device.check(), Ok(Verdict::Current { .. })), "{status}");
        assert_eq!(server.take_asked().len(), 3);
    }
    server.meddle(|_, reply| reply.status = Some(403));
    assert_eq!(class(&device), Class::Unreachable);
    assert_eq!(server.take_asked().len(), 1, "a refusal does not change by asking again");
}

#[test]
fn going_back_is_refused() {
    let mut repo = SimRepo::new("demo");
    let release = repo.publish("1.0.0", "any", &small());
    repo.promote("stable", &release);
    let before = repo.clone();
    let server = Server::of(repo);
    publish(&server, "1.1.0", &small());
    let device = Device::installed(&server);
    server.repo(|repo| *repo = before);
    assert_eq!(class(&device), Class::Verification);
}

#[test]
fn what_is_not_the_publishers_is_refused() {
    type Edit = fn(&mut SimRepo);
    let edits: [(&str, Edit); 6] = [
        ("a thief's targets", |repo| {
            repo.set_signers(&Role::Targets, &[keys::thief()]);
            repo.publish("6.6.6", "any", &TreeFixture::default());
        }),
        ("a head of nonsense", |repo| repo.put(layout::head(repo.app()), b"<html>sign in</html>".to_vec())),
        ("an altered release document", |repo| {
            let document = repo.objects().keys().find(|key| key.as_str().ends_with(".1.1.0.json")).cloned().unwrap();
            let altered = [&repo.objects()[&document][..], b" "].concat();
            repo.put(document, altered);
        }),
        ("a release that nobody listed", |repo| {
            let release = updraft_core::release::ReleaseName {
                platform: "any".parse().unwrap(),
                version: "6.6.6".parse().unwrap(),
            };
            repo.promote("stable", &release);
        }),
        ("a channel that the server was not let speak of", |repo| {
            let narrow = |signed: &mut serde_json::Value| {
                signed["delegations"]["roles"][0]["paths"] = vec!["channels/beta"].into();
            };
            repo.tamper(&Role::Targets, narrow);
        }),
        ("a release that may not be on this channel", |repo| {
            let edit = |release: &mut updraft_core::release::Release| {
                release.terms.channels = Some(vec!["beta".parse().unwrap()]);
            };
            let release = repo.publish_with("1.2.0", "any", &TreeFixture::default(), edit);
            repo.promote("stable", &release);
        }),
    ];
    for (story, edit) in edits {
        let server = demo(&small());
        let device = Device::installed(&server);
        publish(&server, "1.1.0", &small());
        server.repo(edit);
        assert_eq!(class(&device), Class::Verification, "{story}");
    }
}

#[test]
fn endless_metadata_is_cut_off() {
    let server = demo(&small());
    let device = Device::installed(&server);
    publish(&server, "1.1.0", &small());
    for part in ["/head", ".targets.json", ".channels.json", ".1.1.0.json"] {
        server.meddle(move |asked, reply| reply.endless = asked.key.ends_with(part));
        assert_eq!(class(&device), Class::Verification, "{part}");
    }
    server.relent();
    device.available();
}

#[test]
fn a_copy_that_is_not_whole_is_no_forgery() {
    let server = demo(&small());
    let device = Device::installed(&server);
    publish(&server, "1.1.0", &small());
    for part in [".targets.json", ".channels.json", ".1.1.0.json"] {
        server.meddle(move |asked, reply| {
            if asked.key.ends_with(part) {
                reply.object = None;
            }
        });
        let error = device.check().unwrap_err();
        assert_eq!(error.class(), Class::Unreachable, "{part}: {error}");
    }
    server.relent();
    device.available();
}

#[test]
fn a_plain_tuf_repository_without_a_head_works_too() {
    let server = demo(&small());
    let device = Device::installed(&server);
    publish(&server, "1.1.0", &small());
    server.meddle(|asked, reply| {
        if asked.key.ends_with("/head") {
            reply.object = None;
        }
    });
    device.available();
}

#[test]
fn an_app_that_is_not_there_is_named() {
    let server = Server::of(SimRepo::new("other"));
    let mut options = Device::new(&server).install_options();
    options.source = updraft_client::Source::url("https://example.com/apps/missing").unwrap();
    let device = Device::new(&server);
    let error = Updater::install(&device.dir(), options).unwrap_err();
    assert_eq!(error.class(), Class::Other, "somebody answered: to ask again later changes nothing");
    assert!(error.to_string().starts_with("https://example.com/apps/missing has no app missing"), "{error}");
}

#[test]
fn a_channel_that_does_not_exist_is_named_with_those_that_do() {
    let server = demo(&small());
    let device = Device::new(&server);
    let mut options = device.install_options();
    options.channel = "nightly".parse().unwrap();
    let error = Updater::install(&device.dir(), options).unwrap().check(device.now).unwrap_err();
    assert_eq!(error.class(), Class::Other);
    assert_eq!(error.to_string(), "there is no channel nightly; there are: stable");
}
