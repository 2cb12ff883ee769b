//! A thief with hands on the wire, or a mirror: everything may be exchanged, and nothing can be signed.

use updraft_client::Class;
use updraft_core::layout;
use updraft_core::trust::{MetadataFile, Role};
use updraft_testkit::{SimRepo, TreeFixture, clock, keys};

use super::{FORGERY, MIX, ROLLBACK, Scene, another_app, evil, key_of, refused, refused_on, tree};
use crate::support::Reply;

#[test]
fn metadata_that_a_thief_signed() {
    for role in [Role::Timestamp, Role::Snapshot, Role::Targets, Role::channels()] {
        refused(&format!("{role} by a thief"), Class::Verification, FORGERY, |repo, _| {
            repo.set_signers(&role, &[keys::thief()]);
            repo.tamper(&role, |_| {});
        });
    }
    refused("a release by a thief", Class::Verification, FORGERY, |repo, _| {
        repo.set_signers(&Role::Targets, &[keys::thief()]);
        let release = repo.publish("6.6.6", "any", &evil());
        repo.promote("stable", &release);
    });
    refused("a root by a thief", Class::Verification, FORGERY, |repo, _| {
        repo.forge_root(&[keys::thief()], |root| {
            let thief = keys::thief().public();
            root["keys"][thief.id().as_str()] = serde_json::to_value(&thief).unwrap();
            for role in ["root", "targets", "snapshot", "timestamp"] {
                root["roles"][role]["keyids"] = vec![thief.id().as_str()].into();
            }
        });
    });
}

#[test]
fn objects_that_were_exchanged() {
    let release = ".1.2.0.json";
    refused("another release's document", Class::Verification, FORGERY, |repo, _| {
        let older = repo.objects()[&key_of(repo, ".1.0.0.json")].clone();
        repo.put(key_of(repo, release), older);
    });
    refused("a document of thieves", Class::Verification, FORGERY, |repo, _| {
        let text = String::from_utf8(repo.objects()[&key_of(repo, release)].clone()).unwrap();
        // As long as the honest one.
        repo.put(key_of(repo, release), text.replace("Release 1.2.0", "Release 6.6.6").into_bytes());
    });
    let tree_of = |repo: &SimRepo, files: &TreeFixture| layout::tree(repo.app(), files.tree().digest());
    for files in [tree("1.0.0"), tree("1.1.0")] {
        refused("another release's tree", Class::Verification, FORGERY, |repo, _| {
            let older = repo.objects()[&tree_of(repo, &files)].clone();
            repo.put(tree_of(repo, &tree("1.2.0")), older);
        });
    }
    refused("a tree of thieves", Class::Verification, FORGERY, |repo, _| {
        repo.publish("6.6.6", "any", &evil());
        let theirs = repo.objects()[&tree_of(repo, &evil())].clone();
        repo.put(tree_of(repo, &tree("1.2.0")), theirs);
    });
    for content in [&b"evil!"[..], b"evil! and longer", b"", b"1.1.0"] {
        refused("another blob", Class::Verification, FORGERY, |repo, _| {
            let digest = updraft_core::digest::Digest::of(b"1.2.0").to_string();
            repo.put(key_of(repo, &digest), content.to_vec());
        });
    }
}

#[test]
fn everything_as_it_was() {
    let mut scene = Scene::new();
    let past = scene.past.clone();
    scene.server.repo(|repo| (0..3).for_each(|_| repo.renew()));
    scene.device.check().unwrap();
    scene.honest = scene.server.repo(|repo| repo.clone());
    refused_on(scene, "a server of yesterday", Class::Verification, ROLLBACK, |repo, _| *repo = past);
}

#[test]
fn one_role_as_it_was() {
    for role in [Role::Targets, Role::channels(), Role::Snapshot] {
        // The thief has the online key here; with hands on the wire only, it is the mix and match below.
        let mut scene = Scene::new();
        let older = scene.past.current(&role).to_vec();
        scene.device.check().unwrap();
        scene.server.repo(SimRepo::renew);
        scene.honest = scene.server.repo(|repo| repo.clone());
        let story = format!("{role} of yesterday under a new snapshot");
        refused_on(scene, &story, Class::Verification, ROLLBACK, |repo, _| repo.replace(&role, older));
    }
    refused("the first root as the second", Class::Verification, ROLLBACK, |repo, _| {
        repo.forge_root(&[keys::root()], |root| root["version"] = 1.into());
    });
}

#[test]
fn parts_of_two_days() {
    for role in [Role::Snapshot, Role::Targets, Role::channels()] {
        refused(&format!("{role} of yesterday in the place of today's"), Class::Verification, MIX, |repo, scene| {
            let older = scene.past.current(&role).to_vec();
            repo.damage(&role, |bytes| *bytes = older);
        });
    }
    refused("a snapshot that forgets channels", Class::Verification, MIX, |repo, _| {
        repo.tamper(&Role::Snapshot, |snapshot| {
            snapshot["meta"].as_object_mut().unwrap().remove("channels.json");
        });
    });
}

#[test]
fn a_server_that_stands_still_is_noticed_when_its_word_expires() {
    let mut scene = Scene::new();
    let past = scene.past.clone();
    scene.server.repo(|repo| *repo = past);
    assert_eq!(scene.update().unwrap(), None, "until then there is nothing to notice");
    scene.device.now = clock::hours(25);
    let error = scene.update().unwrap_err();
    assert_eq!((error.class(), error.stale_since()), (Class::Stale, Some(clock::hours(24))));
    assert!(error.to_string().contains("freeze attack"), "{error}");
    assert_eq!(scene.has_only_what_was_signed("freeze"), "1.1.0");
    scene.honest.now = scene.device.now;
    scene.is_believed_again("freeze");
}

#[test]
fn data_without_end() {
    let endless = |part: &'static str| {
        move |scene: &Scene| {
            scene.server.meddle(move |asked, reply| reply.endless = asked.key.contains(part));
        }
    };
    for part in ["/head", ".targets.json", ".channels.json", ".1.2.0.json", "/trees/", "/blobs/"] {
        let words = if part == "/blobs/" { "as endless data does" } else { "an endless-data attack looks like this" };
        refused(part, Class::Verification, words, |_, scene| endless(part)(scene));
    }
}

/// Bodies that break off, and bodies that end too soon and claim to be whole.
#[test]
fn bodies_that_are_torn_or_cut_short() {
    let parts = ["/head", ".targets.json", ".channels.json", ".1.2.0.json", "/trees/", "/blobs/"];
    for part in parts {
        refused(part, Class::Unreachable, "the connection broke", |_, scene| {
            scene.server.meddle(move |asked, reply| {
                // A blob is gone on with where it broke off, so nothing of it may come.
                let after = if part == "/blobs/" { 0 } else { 3 };
                reply.torn = asked.key.contains(part).then_some(after);
            });
        });
        let cut = move |reply: &mut Reply| reply.object = reply.object.take().map(|object| object[..3].to_vec());
        let words = match part {
            "/head" => "head: ",
            ".targets.json" | ".channels.json" => MIX,
            _ => FORGERY,
        };
        refused(part, Class::Verification, words, |_, scene| {
            scene.server.meddle(move |asked, reply| {
                if asked.key.contains(part) {
                    cut(reply);
                }
            });
        });
    }
}

#[test]
fn what_is_named_and_withheld() {
    for part in [".targets.json", ".channels.json", ".1.2.0.json", "/trees/", "/blobs/"] {
        refused(part, Class::Unreachable, "lacks", |_, scene| {
            scene.server.meddle(move |asked, reply| {
                if asked.key.contains(part) {
                    reply.object = None;
                }
            });
        });
    }
}

#[test]
fn what_another_app_has_signed() {
    const OTHER: &str = "so does metadata of another app";
    refused("another app's server", Class::Verification, OTHER, |repo, _| *repo = another_app());
    for role in [Role::Timestamp, Role::Snapshot, Role::Targets, Role::channels()] {
        refused(&format!("another app's newer {role}"), Class::Verification, OTHER, |repo, _| {
            repo.replace(&role, another_app().current(&role).to_vec());
        });
    }
    refused("another app's second root", Class::Verification, OTHER, |repo, _| {
        let mut other = another_app();
        other.rotate(&[Role::Targets], &[keys::targets()], 1);
        repo.forge_root(&[keys::thief()], |_| {});
        let key = layout::metadata(repo.app(), &MetadataFile::Root(2));
        repo.put(key, other.current(&Role::Root).to_vec());
    });
    refused("the same publisher's other app", Class::Verification, "it belongs to app other, not demo", |repo, _| {
        let edit = |release: &mut updraft_core::release::Release| release.app = "other".parse().unwrap();
        let release = repo.publish_with("9.0.0", "any", &tree("9.0.0"), edit);
        repo.promote("stable", &release);
    });
}
