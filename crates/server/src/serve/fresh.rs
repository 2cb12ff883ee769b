//! Keeping what the server signs fresh, for as long as it runs.
//!
//! One app that cannot be renewed keeps no other from it. It is tried again after a minute, then after twice as long each
//! time, up to an hour: soon enough for a fault that passes, and seldom enough for a log that somebody reads.

use std::collections::BTreeSet;
use std::time::Duration;

use updraft_core::Timestamp;
use updraft_core::name::AppName;

use crate::depot::Depot;

/// How often to look whether something is to be signed anew, at the least.
const EVERY: Duration = Duration::from_secs(60 * 60);
/// How long to wait before trying again what is overdue, at first.
const PAUSE: Duration = Duration::from_secs(60);

/// Signs anew what is due, for as long as it runs.
pub(super) async fn keep(depot: Depot) {
    let mut failing = Failing::new(depot.broken().into_iter().map(|(app, _)| app));
    loop {
        let due = depot.next_renewal_without(&failing.apps);
        let until = due.map(|due| Duration::try_from(due.duration_since(Timestamp::now())).unwrap_or_default());
        tokio::select! {
            () = tokio::time::sleep(failing.wait(until)) => {}
            () = depot.owes() => tokio::time::sleep(PAUSE).await,
        }
        let renewed = depot.renew(Timestamp::now()).await;
        for app in renewed.apps {
            tracing::info!(%app, "online metadata was renewed");
        }
        for (app, error) in &renewed.failed {
            tracing::error!(%app, %error, "online metadata was not renewed");
        }
        failing.are_now(renewed.failed.into_iter().map(|(app, _)| app));
    }
}

/// The apps that could not be renewed.
#[derive(Debug)]
struct Failing {
    apps: BTreeSet<AppName>,
    pause: Duration,
}

impl Failing {
    fn new(apps: impl IntoIterator<Item = AppName>) -> Self {
        Self { apps: apps.into_iter().collect(), pause: PAUSE }
    }

    /// What a round left. An app that failed for the first time is tried again soon, and the others with it.
    fn are_now(&mut self, apps: impl IntoIterator<Item = AppName>) {
        let apps: BTreeSet<AppName> = apps.into_iter().collect();
        self.pause = if apps.is_subset(&self.apps) { (2 * self.pause).min(EVERY) } else { PAUSE };
        self.apps = apps;
    }

    /// How long to wait for the next round, when the other apps can wait for `until`.
    fn wait(&self, until: Option<Duration>) -> Duration {
        let others = until.unwrap_or(EVERY).clamp(PAUSE, EVERY);
        if self.apps.is_empty() { others } else { others.min(self.pause) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(name: &str) -> AppName {
        name.parse().unwrap()
    }

    /// The story: a server without the online key of one app wrote an error each minute, for ever.
    #[test]
    fn what_goes_on_failing_is_tried_ever_more_seldom() {
        let minutes = |n: u64| Duration::from_secs(60 * n);
        let mut failing = Failing::new([]);
        assert_eq!(failing.wait(Some(minutes(30))), minutes(30));
        assert_eq!(failing.wait(None), minutes(60));
        assert_eq!(failing.wait(Some(Duration::ZERO)), minutes(1), "what is overdue keeps nobody busy");
        let mut waits = Vec::new();
        for _ in 0..8 {
            failing.are_now([app("keyless")]);
            waits.push(failing.wait(None).as_secs() / 60);
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(failing.wait(Some(minutes(5))), minutes(5), "another app is due");
        failing.are_now([app("keyless"), app("new")]);
        assert_eq!(failing.wait(None), minutes(1));
        failing.are_now([]);
        assert_eq!(failing.wait(None), minutes(60));
    }
}
