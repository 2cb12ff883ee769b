//! A server that was taken over whole, with its online key; some keys of the publisher; and what that does to a newcomer.

use updraft_client::{Class, Verdict};
use updraft_core::channel::{Channel, Stream};
use updraft_core::digest::Sha256;
use updraft_core::layout;
use updraft_core::limits::JSON_INT_MAX;
use updraft_core::name::{ChannelName, Platform};
use updraft_core::release::ReleaseName;
use updraft_core::trust::{Role, TargetFile};
use updraft_testkit::{OldKey, SimRepo, keys};

use super::{FORGERY, ROLLBACK, STOLEN, Scene, another_app, catch_up, evil, key_of, refused, refused_on, tree};
use crate::support::{Device, available};

fn point_at(repo: &mut SimRepo, platform: &str, version: &str) {
    let (platform, current): (Platform, _) = (platform.parse().unwrap(), version.parse().unwrap());
    let mut channel = Channel::default();
    channel.platforms.insert(platform, Stream::of(current, None));
    repo.set_channel(&ChannelName::stable(), &channel);
}

#[test]
fn a_stolen_server_makes_no_release() {
    refused("targets that the online key signed", Class::Verification, FORGERY, |repo, _| {
        repo.set_signers(&Role::Targets, &[keys::online()]);
        let release = repo.publish("6.6.6", "any", &evil());
        repo.promote("stable", &release);
    });
    refused("a release that nobody listed", Class::Verification, STOLEN, |repo, _| point_at(repo, "any", "6.6.6"));
    refused("a release that only channels list", Class::Verification, STOLEN, |repo, scene| {
        // Everything that belongs to a release, as its publisher would have made it.
        let mut forged = SimRepo::with_keys("demo", &[keys::thief()], 1, &keys::thief(), &keys::thief());
        let name = forged.publish("6.6.6", "any", &evil());
        for (key, bytes) in forged.objects() {
            if !scene.honest.objects().contains_key(key) && !key.as_str().contains("/tuf/") {
                repo.put(key.clone(), bytes.clone());
            }
        }
        point_at(repo, "any", "6.6.6");
        let document = repo.objects()[&key_of(repo, ".6.6.6.json")].clone();
        repo.tamper(&Role::channels(), |channels| {
            channels["targets"][name.target_path()] = serde_json::to_value(TargetFile::of(&document)).unwrap();
        });
    });
}

#[test]
fn a_stolen_server_leads_to_no_other_platform_and_no_other_channel() {
    refused("another platform's release", Class::Verification, STOLEN, |repo, _| {
        point_at(repo, "linux-x86_64", "2.0.0");
    });
    refused("another platform's release, for all", Class::Verification, STOLEN, |repo, _| {
        point_at(repo, "any", "2.0.0");
    });
    refused("another channel's release", Class::Verification, STOLEN, |repo, _| point_at(repo, "any", "3.0.0"));
    refused("another channel's document", Class::Verification, STOLEN, |repo, _| {
        let beta = repo.channel("beta");
        repo.set_channel(&ChannelName::stable(), &beta);
    });
    refused("a channel of nonsense", Class::Verification, "channel stable: ", |repo, _| {
        repo.tamper(&Role::channels(), |channels| channels["targets"]["channels/stable"]["custom"] = 7.into());
    });
}

#[test]
fn a_stolen_server_leads_nobody_back() {
    // What is older is nothing to take, and that is said; there is nothing to refuse.
    let scene = Scene::new();
    scene.server.repo(|repo| point_at(repo, "any", "1.0.0"));
    match scene.device.check().unwrap() {
        Verdict::Ahead { version, channel, .. } => {
            assert_eq!((version.as_str(), channel.version.as_str()), ("1.1.0", "1.0.0"))
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(scene.update().unwrap(), None);
    assert_eq!(scene.has_only_what_was_signed("an older release"), "1.1.0");
    scene.is_believed_again("an older release");
    // Under another spelling it is the same version.
    let scene = Scene::new();
    scene.server.repo(|repo| point_at(repo, "any", "1.1"));
    assert_eq!(scene.update().unwrap(), None);
    scene.is_believed_again("another spelling");
    // An old document under the name of a new version is not the one of that name.
    refused("an old document under a new name", Class::Verification, "it is of 1.0.0, not of 9.9.9", |repo, _| {
        let document = repo.objects()[&key_of(repo, ".1.0.0.json")].clone();
        let name = ReleaseName { platform: Platform::any(), version: "9.9.9".parse().unwrap() };
        repo.put(layout::release(repo.app(), &name, Sha256::of(&document)), document.clone());
        // Even of the publisher's own hand, which no thief has.
        repo.tamper(&Role::Targets, |targets| {
            targets["targets"][name.target_path()] = serde_json::to_value(TargetFile::of(&document)).unwrap();
        });
        point_at(repo, "any", "9.9.9");
    });
}

/// A thief with the online key shows one device something else than all others. It is what the publisher signed, too, and
/// the device comes back.
#[test]
fn a_victim_that_is_singled_out() {
    let scene = Scene::new();
    let other = Device::installed(&scene.server);
    let mut fork = scene.past.clone();
    (0..5).for_each(|_| fork.renew());
    scene.server.repo(|repo| *repo = fork);
    assert_eq!(scene.update().unwrap(), None, "it is held at what it has");
    assert_eq!(scene.has_only_what_was_signed("held back"), "1.1.0");
    assert_eq!(other.tree(), tree("1.2.0"), "the others got it long ago");
    scene.is_believed_again("held back");

    // Or it gets one that the publisher signed for all channels and promoted nowhere yet.
    let scene = Scene::new();
    scene.server.repo(|repo| {
        repo.publish("1.3.0", "any", &tree("1.3.0"));
        point_at(repo, "any", "1.3.0");
    });
    assert_eq!(scene.update().unwrap().as_deref(), Some("1.3.0"), "that much a stolen server may choose");
    assert_eq!(scene.device.tree(), tree("1.3.0"));
}

/// Versions that were driven as high as they go hold a device back, until the online keys are replaced: then it recovers at
/// its next check.
#[test]
fn versions_as_high_as_they_go() {
    let scene = Scene::new();
    scene.server.repo(|repo| {
        for role in [Role::channels(), Role::Snapshot, Role::Timestamp] {
            repo.tamper(&role, |signed| signed["version"] = JSON_INT_MAX.into());
        }
    });
    scene.device.check().expect("the thief has the keys");
    scene.server.repo(|repo| {
        *repo = scene.honest.clone();
        (0..16).for_each(|_| repo.renew());
    });
    let error = scene.update().unwrap_err();
    assert_eq!(error.class(), Class::Verification);
    assert!(error.to_string().contains(ROLLBACK), "{error}");
    assert_eq!(scene.has_only_what_was_signed("fast-forward"), "1.1.0");
    // Half of it does not help, and harms nothing.
    scene.server.repo(|repo| repo.rotate(&[Role::channels()], &[keys::named("new channels")], 1));
    assert!(scene.update().unwrap_err().to_string().contains(ROLLBACK));
    scene.server.repo(|repo| drop(repo.replace_online(&keys::named("new online"), OldKey::Lost)));
    assert_eq!(scene.update().unwrap().as_deref(), Some("1.2.0"));
    assert_eq!(scene.has_only_what_was_signed("fast-forward"), "1.2.0");
    // The thief's key opens nothing any more.
    for role in [Role::Timestamp, Role::Snapshot, Role::channels()] {
        scene.server.repo(|repo| {
            repo.set_signers(&role, &[keys::online()]);
            repo.tamper(&role, |_| {});
        });
        assert!(scene.update().unwrap_err().to_string().contains(FORGERY), "{role}");
        scene.server.repo(|repo| {
            repo.set_signers(&role, &[keys::named("new online")]);
            repo.renew();
        });
    }
}

// --- some of the keys ---

#[test]
fn fewer_keys_than_are_needed() {
    let root_keys = ["a", "b", "c"].map(keys::named);
    let of_three = || SimRepo::with_keys("demo", &root_keys, 2, &keys::targets(), &keys::online());
    let words = "1 of the 2 signatures that are needed";
    refused_on(Scene::of(of_three()), "one of three root keys", Class::Verification, words, |repo, _| {
        repo.forge_root(&[keys::named("a"), keys::thief()], |_| {});
    });
    let mut repo = SimRepo::new("demo");
    repo.rotate(&[Role::Targets], &["a", "b"].map(keys::named), 2);
    refused_on(Scene::of(repo), "one of two targets keys", Class::Verification, words, |repo, _| {
        repo.set_signers(&Role::Targets, &[keys::named("a"), keys::thief()]);
        let release = repo.publish("6.6.6", "any", &evil());
        repo.promote("stable", &release);
    });
}

/// One key under two names signs once, though two honest signers of the root wrote it down so.
#[test]
fn one_key_under_two_names() {
    let root_keys = ["a", "b", "c"].map(keys::named);
    let scene = Scene::of(SimRepo::with_keys("demo", &root_keys, 2, &keys::targets(), &keys::online()));
    scene.server.repo(|repo| {
        repo.forge_root(&["a", "b"].map(keys::named), |root| {
            root["keys"]["twin"] = serde_json::to_value(keys::targets().public()).unwrap();
            let twins = vec![keys::targets().public().id().to_string(), "twin".to_owned()];
            root["roles"]["targets"] = serde_json::json!({"keyids": twins, "threshold": 2});
        });
        let release = repo.publish("6.6.6", "any", &evil());
        repo.promote("stable", &release);
        let mut signed: serde_json::Value = serde_json::from_slice(repo.current(&Role::Targets)).unwrap();
        let mut twin = signed["signatures"][0].clone();
        twin["keyid"] = "twin".into();
        signed["signatures"].as_array_mut().unwrap().push(twin);
        repo.replace(&Role::Targets, serde_json::to_vec(&signed).unwrap());
    });
    let error = scene.update().unwrap_err();
    assert_eq!(error.class(), Class::Verification);
    assert!(error.to_string().contains("targets: 1 of the 2 signatures that are needed"), "{error}");
    assert_eq!(scene.has_only_what_was_signed("twins"), "1.1.0");
}

// --- a newcomer, who remembers nothing ---

/// Of a stolen server a newcomer may be shown what the publisher once signed, and nothing else.
#[test]
fn a_newcomer_gets_what_was_signed_or_nothing() {
    let scene = Scene::new();
    let tricks: [fn(&mut SimRepo); 4] = [
        |repo| {
            repo.set_signers(&Role::Targets, &[keys::online()]);
            let release = repo.publish("6.6.6", "any", &evil());
            repo.promote("stable", &release);
        },
        |repo| point_at(repo, "any", "3.0.0"),
        |repo| point_at(repo, "any", "2.0.0"),
        |repo| *repo = another_app(),
    ];
    for (n, trick) in tricks.iter().enumerate() {
        scene.server.repo(|repo| *repo = scene.honest.clone());
        let newcomer = Device::new(&scene.server);
        let mut updater = newcomer.install().unwrap();
        scene.server.repo(trick);
        let error = updater.check(newcomer.now).unwrap_err();
        assert_eq!(error.class(), Class::Verification, "{n}: {error}");
        assert!(!newcomer.dir().join("bin").exists());
        scene.server.repo(|repo| {
            *repo = scene.honest.clone();
            catch_up(repo);
        });
        assert_eq!(available(updater.check(newcomer.now).unwrap()).version().as_str(), "1.2.0", "{n}");
    }
}
