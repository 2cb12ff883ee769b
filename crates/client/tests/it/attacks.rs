//! Attacks on a whole device: metadata, trees and blobs, from the first question to the installed directory.
//!
//! `core/tests/it/trust_*.rs` has every rule of trust by itself. Here each attack has to end in the same three ways, whatever
//! stops it: nothing is installed that the publisher did not sign for this app, platform and channel; nothing older than
//! what the device has; and what is said names the attack. Afterwards an honest server is believed as if nothing had been.

mod stolen;
mod wire;

use updraft_client::{Class, Error, Verdict};
use updraft_core::layout::Key;
use updraft_core::name::ChannelName;
use updraft_testkit::{SimRepo, TreeFixture, keys};

use crate::support::{Device, Server};

/// What the publisher signed for this device: the content of each release names its version.
fn tree(version: &str) -> TreeFixture {
    TreeFixture::of(&[("bin/app*", version), ("data", "the same in all"), ("version", version)])
}

fn evil() -> TreeFixture {
    TreeFixture::of(&[("bin/app*", "evil"), ("version", "6.6.6")])
}

/// A device that has `1.1.0`, and a server that has `1.2.0` for it; and beside that `2.0.0` for another platform and `3.0.0`
/// for another channel.
struct Scene {
    server: Server,
    device: Device,
    /// The server as it was when the device asked last.
    past: SimRepo,
    /// The server before it is attacked.
    honest: SimRepo,
}

impl Scene {
    fn new() -> Self {
        Self::of(SimRepo::new("demo"))
    }

    fn of(mut repo: SimRepo) -> Self {
        for version in ["1.0.0", "1.1.0"] {
            let release = repo.publish(version, "any", &tree(version));
            repo.promote("stable", &release);
        }
        repo.publish("2.0.0", "freebsd-riscv64", &tree("2.0.0"));
        let beta: ChannelName = "beta".parse().unwrap();
        let edit = |release: &mut updraft_core::release::Release| release.terms.channels = Some(vec![beta]);
        let release = repo.publish_with("3.0.0", "any", &tree("3.0.0"), edit);
        repo.promote("beta", &release);
        let server = Server::of(repo);
        let device = Device::installed(&server);
        let past = server.repo(|repo| repo.clone());
        let honest = server.repo(|repo| {
            let release = repo.publish("1.2.0", "any", &tree("1.2.0"));
            repo.promote("stable", &release);
            repo.clone()
        });
        Self { server, device, past, honest }
    }

    /// The version that the device takes; `None` when it finds nothing for itself.
    fn update(&self) -> Result<Option<String>, Error> {
        let Verdict::Available(_) = self.device.check()? else { return Ok(None) };
        Ok(Some(self.device.update()?.to.version.to_string()))
    }

    /// Nothing is installed but what the publisher signed for this device, and nothing older than what it had.
    #[track_caller]
    fn has_only_what_was_signed(&self, story: &str) -> String {
        let version = updraft_client::status(&self.device.dir(), self.device.now).unwrap().version.unwrap().to_string();
        assert!(["1.1.0", "1.2.0"].contains(&version.as_str()), "{story}: {version} is installed");
        assert_eq!(self.device.tree(), tree(&version), "{story}");
        version
    }

    /// The attack is over, and the server went on meanwhile.
    #[track_caller]
    fn is_believed_again(&self, story: &str) {
        self.server.relent();
        self.server.repo(|repo| {
            *repo = self.honest.clone();
            catch_up(repo);
        });
        let taken = self.update().unwrap_or_else(|error| panic!("{story}, afterwards: {error}"));
        assert!(taken.as_deref().is_none_or(|version| version == "1.2.0"), "{story}: {taken:?}");
        assert_eq!(self.has_only_what_was_signed(story), "1.2.0");
    }
}

/// What an attack burned of version numbers, an honest server leaves behind in time.
fn catch_up(repo: &mut SimRepo) {
    for _ in 0..16 {
        repo.renew();
        repo.renew_targets();
    }
}

/// Lets `attack` loose on a device; it has to end with an error of this class that has these words.
#[track_caller]
fn refused(story: &str, class: Class, words: &str, attack: impl FnOnce(&mut SimRepo, &Scene)) {
    refused_on(Scene::new(), story, class, words, attack);
}

#[track_caller]
fn refused_on(scene: Scene, story: &str, class: Class, words: &str, attack: impl FnOnce(&mut SimRepo, &Scene)) {
    let mut repo = scene.honest.clone();
    attack(&mut repo, &scene);
    scene.server.repo(|served| *served = repo);
    let error = scene.update().map(|taken| panic!("{story}: it ended with {taken:?}")).unwrap_err();
    assert_eq!(error.class(), class, "{story}: {error}");
    assert!(error.to_string().contains(words), "{story}: {error}");
    assert_eq!(scene.has_only_what_was_signed(story), "1.1.0", "{story}");
    scene.is_believed_again(story);
}

const FORGERY: &str = "a forgery looks like this";
const ROLLBACK: &str = "a rollback attack looks like this";
const MIX: &str = "a mix-and-match attack looks like this";
const STOLEN: &str = "a stolen server looks like this";

fn key_of(repo: &SimRepo, part: &str) -> Key {
    repo.objects().keys().find(|key| key.as_str().contains(part)).unwrap_or_else(|| panic!("no {part}")).clone()
}

/// An app of somebody else, under the same name, that has gone on for longer.
fn another_app() -> SimRepo {
    let [root, targets, online] = ["other root", "other targets", "other online"].map(keys::named);
    let mut other = SimRepo::with_keys("demo", &[root], 1, &targets, &online);
    let release = other.publish("9.0.0", "any", &tree("9.0.0"));
    other.promote("stable", &release);
    catch_up(&mut other);
    other
}
