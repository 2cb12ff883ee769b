//! The scene of every attack: a repository with a release, and a device that believes it.

use updraft_core::name::ChannelName;
use updraft_core::release::ReleaseName;
use updraft_core::signed;
use updraft_core::trust::{Error, RefreshError, Role};
use updraft_testkit::{SimDevice, SimError, SimRepo, TreeFixture};

/// The roles in the order in which belief comes down.
pub(crate) fn roles() -> [Role; 5] {
    [Role::Root, Role::Timestamp, Role::Snapshot, Role::Targets, Role::channels()]
}

/// The roles whose metadata an update brings: all but root.
pub(crate) fn renewed_roles() -> [Role; 4] {
    [Role::Timestamp, Role::Snapshot, Role::Targets, Role::channels()]
}

/// Whether this is what `by` says when too few of its keys have signed.
pub(crate) fn is_unsigned(error: &Error, by: &Role) -> bool {
    matches!(error, Error::Signed { role, source: signed::Error::Threshold { .. } } if role == by)
}

pub(crate) struct Scene {
    pub(crate) repo: SimRepo,
    pub(crate) device: SimDevice,
    /// The repository as it was before the attack.
    honest: SimRepo,
}

impl Scene {
    /// `1.0.0` is on `stable`, and the device knows it. The repository has signed everything anew since.
    pub(crate) fn new() -> Self {
        Self::of(SimRepo::new("demo"))
    }

    /// The same with a repository of one's own.
    pub(crate) fn of(mut repo: SimRepo) -> Self {
        let release = repo.publish("1.0.0", "any", &TreeFixture::of(&[("app*", "one")]));
        repo.promote("stable", &release);
        let mut device = SimDevice::of(&repo);
        device.refresh(&mut repo).expect("an honest repository is believed");
        let second = repo.publish("1.1.0", "any", &TreeFixture::of(&[("app*", "two")]));
        repo.promote("stable", &second);
        let honest = repo.clone();
        Self { repo, device, honest }
    }

    /// What the honest server has, when it went on after the scene began.
    pub(crate) fn honest_is(&mut self, repo: SimRepo) {
        self.honest = repo;
    }

    /// The device asks, and something that came is not believed.
    #[track_caller]
    pub(crate) fn distrusted(&mut self) -> Error {
        match self.device.refresh(&mut self.repo) {
            Err(RefreshError::Trust(error)) => error,
            Err(error) => panic!("not refused for want of trust: {error}"),
            Ok(_) => panic!("it was believed"),
        }
    }

    /// The device asks, and must not believe `role`: what it believed of it, and of all that hangs on it, still holds,
    /// and an honest repository is believed again afterwards.
    #[track_caller]
    pub(crate) fn refused(&mut self, role: &Role) -> Error {
        let before = self.device.clone();
        let error = self.distrusted();
        self.still_believes(role, &before);
        error
    }

    /// The same for an attack that the transport or a missing file ends.
    #[track_caller]
    pub(crate) fn unanswered(&mut self, role: &Role) -> RefreshError<SimError, std::convert::Infallible> {
        let before = self.device.clone();
        let error = self.device.refresh(&mut self.repo).map(|_| ()).expect_err("not refused");
        assert!(!matches!(error, RefreshError::Trust(_)), "{error}");
        self.still_believes(role, &before);
        error
    }

    #[track_caller]
    fn still_believes(&mut self, role: &Role, before: &SimDevice) {
        for below in roles().iter().skip_while(|r| *r != role) {
            let kept = |device: &SimDevice| device.cache.files.get(below).cloned();
            assert!(kept(&self.device) == kept(before), "what was believed of {below} changed");
        }
        // What the attack has burned of version numbers, an honest server leaves behind in time.
        (0..16).for_each(|_| {
            self.honest.renew();
            self.honest.renew_targets();
        });
        let refreshed = self.device.refresh(&mut self.honest).expect("an honest repository is believed again");
        let targets = refreshed.trusted.targets(&Role::Targets).expect("targets are believed");
        let release = ReleaseName { platform: "any".parse().unwrap(), version: "1.1.0".parse().unwrap() };
        assert!(targets.targets.contains_key(&release.target_path()));
        let channels = refreshed.trusted.targets(&Role::channels()).expect("channels are believed");
        assert!(channels.targets.contains_key(&format!("channels/{}", ChannelName::stable())));
    }
}
