//! Two writers at once, through two depots on one store, as two replicas would be, and through one. The backend yields
//! around every call, differently for each seed.

use updraft_core::head::Head;
use updraft_server::depot::{Depot, Error};
use updraft_server::store::Store;
use updraft_testkit::clock;

use super::depot_channel::{change, promote, status};
use super::depot_rotate_support::*;
use super::depot_support::*;

const SEEDS: u64 = 60;

/// Shows a device every head that came to be, in order, and then checks the store.
async fn assert_history(store: &Store, heads: &Heads, depot: &Depot) {
    let all = dump(store).await;
    let heads: Vec<Head> = heads.lock().unwrap().clone();
    let (mut device, mut generation) = (Device::default(), heads[0].generation - 1);
    for head in heads {
        assert_eq!(head.generation, generation + 1, "one swap after the other");
        generation = head.generation;
        device.refresh_from(&all, head, clock::now());
    }
    device.refresh(store, clock::now()).await;
    // fsck also says when timestamp.json is not the newest one.
    assert_sound(depot).await;
}

async fn pair(seed: u64, is_one: bool) -> (Store, Heads, Depot, Depot) {
    let (store, online) = with_one_release().await;
    let (slow, heads) = yielding(&store, seed);
    let one = open(&slow, &online, clock::now()).await;
    let two = if is_one { one.clone() } else { open(&slow, &online, clock::now()).await };
    (store, heads, one, two)
}

#[tokio::test]
async fn two_publishers() {
    for seed in 0..SEEDS {
        let (store, heads, one, two) = pair(seed, seed % 3 == 0).await;
        let (a, b) = tokio::join!(
            publish(&one, "1.1.0", "any", Some("stable"), clock::now()),
            publish(&two, "2.0.0", "linux-x86_64", Some("stable"), clock::now()),
        );
        a.unwrap();
        b.unwrap();
        one.reload(&app()).await.unwrap();
        let view = one.view(&app()).unwrap();
        assert_eq!(view.releases.len(), 3, "{seed}");
        assert_eq!(view.channels["stable"].platforms.len(), 2, "{seed}");
        assert_history(&store, &heads, &one).await;
    }
}

#[tokio::test]
async fn two_publishers_of_one_version() {
    for seed in 0..SEEDS {
        let (store, heads, one, two) = pair(seed, seed % 3 == 0).await;
        let (a, b) = tokio::join!(publish(&one, "1.1.0", "any", None, clock::now()), publish_other(&two, "1.1.0"),);
        let losers = [a, b].into_iter().filter_map(Result::err).collect::<Vec<_>>();
        assert!(matches!(&losers[..], [Error::NotNewer(_)]), "{seed}: {losers:?}");
        one.reload(&app()).await.unwrap();
        assert_history(&store, &heads, &one).await;
    }
}

/// As [`publish`], with other files under the same version.
async fn publish_other(depot: &Depot, version: &str) -> Result<updraft_core::api::Committed, Error> {
    let files = build("another");
    let release = document(version, "any", &files);
    for attempt in 1.. {
        upload_tree(depot, &files).await?;
        let view = depot.view(&app()).unwrap();
        let new = submission(&view, view.targets.version + attempt, std::slice::from_ref(&release), None);
        match depot.accept(&app(), &new, clock::now()).await {
            Err(Error::Conflict(_)) if attempt < 10 => {}
            other => return other,
        }
    }
    unreachable!("ten attempts are enough for two");
}

#[tokio::test]
async fn a_publisher_and_a_promotion() {
    for seed in 0..SEEDS {
        let (store, heads, one, two) = pair(seed, seed % 3 == 0).await;
        let (demo, beta) = (app(), promotion("beta", &name("1.0.0", "any")));
        let (a, b, c) = tokio::join!(
            publish(&one, "1.1.0", "any", Some("stable"), clock::now()),
            two.promote(&demo, &beta, clock::now()),
            async { two.renew(clock::hours(13)).await.failed.pop().map_or(Ok(()), |(_, error)| Err(error)) },
        );
        a.unwrap();
        b.unwrap();
        c.unwrap();
        one.reload(&app()).await.unwrap();
        let view = one.view(&app()).unwrap();
        assert_eq!(view.channels.len(), 2, "{seed}");
        assert_eq!(view.channels["stable"].platforms.values().next().unwrap().current.as_str(), "1.1.0");
        assert_history(&store, &heads, &one).await;
    }
}

#[tokio::test]
async fn two_who_promote_on_the_same_state() {
    let mut first_won = 0;
    for seed in 0..SEEDS {
        let (store, heads, one, two) = pair(seed, seed % 3 == 0).await;
        for version in ["1.1.0", "1.2.0"] {
            publish(&one, version, "any", None, clock::now()).await.unwrap();
        }
        let seen = Some(status(&one, clock::now()).revision);
        let (a, b) = tokio::join!(
            change(&one, seen, promote("1.1.0", "5%"), clock::now()),
            change(&two, seen, promote("1.2.0", "10%"), clock::now()),
        );
        let (won, told) = match (&a, &b) {
            (Ok(won), Err(Error::Conflict(told))) => (won, told),
            (Err(Error::Conflict(told)), Ok(won)) => (won, told),
            neither => panic!("{seed}: {neither:?}"),
        };
        first_won += u32::from(a.is_ok());
        let expected = if a.is_ok() { "1.1.0 for 5% of devices" } else { "1.2.0 for 10% of devices" };
        assert!(told.contains(expected), "{seed}: {told}");
        one.newest(&app()).await.unwrap();
        assert_eq!(status(&one, clock::now()), won.now, "{seed}");
        assert_history(&store, &heads, &one).await;
    }
    assert!(first_won > 0, "the seeds let the first be first");
}

#[tokio::test]
async fn a_publisher_and_somebody_who_rotates_the_keys() {
    let mut published_first = 0;
    for seed in 0..SEEDS {
        let (store, heads, one, two) = pair(seed, seed % 3 == 0).await;
        upload_tree(&two, &build("1.1.0")).await.unwrap();
        let rotate = async {
            let mut tries = 0;
            loop {
                tries += 1;
                one.newest(&app()).await.unwrap();
                // As one replaces a stolen key: the server's roles get another one.
                let next = online_rotation(&one).await.signed();
                match one.rotate(&app(), &next, clock::now()).await {
                    Err(Error::Conflict(_)) if tries < 10 => {}
                    other => return (other, tries),
                }
            }
        };
        let ((rotated, tries), published) =
            tokio::join!(rotate, publish(&two, "1.1.0", "any", Some("stable"), clock::now()));
        rotated.unwrap();
        published.unwrap();
        published_first += u32::from(tries > 1);
        let view = one.newest(&app()).await.unwrap();
        assert_eq!((view.root.version, view.releases.len()), (2, 2), "{seed}");
        assert_history(&store, &heads, &one).await;
    }
    assert!(published_first > 0, "the seeds let either be first");
}

#[tokio::test]
async fn two_who_rotate_the_keys() {
    for seed in 0..SEEDS {
        let (store, heads, one, two) = pair(seed, seed % 3 == 0).await;
        let view = one.view(&app()).unwrap();
        let root = root_rotation(&view).signed();
        let targets = targets_rotation(&view, vec![new_targets()]).signed();
        let demo = app();
        let (a, b) = tokio::join!(one.rotate(&demo, &root, clock::now()), two.rotate(&demo, &targets, clock::now()));
        let won = match (&a, &b) {
            (Ok(_), Err(Error::Conflict(_))) => root,
            (Err(Error::Conflict(_)), Ok(_)) => targets,
            neither => panic!("{seed}: {neither:?}"),
        };
        let view = one.newest(&app()).await.unwrap();
        let second = updraft_core::layout::metadata(&app(), &updraft_core::trust::MetadataFile::Root(2));
        assert_eq!(view.metadata[&second], won.root.as_bytes(), "{seed}");
        assert_history(&store, &heads, &one).await;
    }
}

#[tokio::test]
async fn a_process_that_is_late_does_not_put_back_timestamp_json() {
    let (store, online) = with_one_release().await;
    let (gated, gate) = Gate::on(&store, "swap", "timestamp.json");
    let (late, quick) = (open(&gated, &online, clock::now()).await, open(&store, &online, clock::now()).await);
    let slow = tokio::spawn(async move { publish(&late, "1.1.0", "any", None, clock::now()).await });
    gate.reached().await;
    quick.promote(&app(), &promotion("beta", &name("1.1.0", "any")), clock::now()).await.unwrap();
    let newest = timestamp_version(&store).await;
    gate.open();
    slow.await.unwrap().unwrap();
    assert_eq!(timestamp_version(&store).await, newest);
    assert_sound(&quick).await;
}

#[tokio::test]
async fn two_creators() {
    for seed in 0..SEEDS {
        let (plain, online) = (Store::memory(), updraft_server::depot::OnlineKeys::memory());
        let (store, heads) = yielding(&plain, seed);
        let one = open(&store, &online, clock::now()).await;
        let two = open(&store, &online, clock::now()).await;
        let key = one.propose_app(&app()).await.unwrap();
        let mine = first(&key);
        let other = other_first(&key);
        let demo = app();
        let (a, b) =
            tokio::join!(one.create_app(&demo, &mine, clock::now()), two.create_app(&demo, &other, clock::now()),);
        let won = match (&a, &b) {
            (Ok(_), Err(Error::Exists(_))) => mine,
            (Err(Error::Exists(_)), Ok(_)) => other,
            neither => panic!("{seed}: {neither:?}"),
        };
        let late = open(&plain, &online, clock::now()).await;
        assert_eq!(late.view(&app()).unwrap().first_root, won.root.as_bytes());
        assert_history(&plain, &heads, &late).await;
    }
}

/// The first metadata of somebody else who wants an app of this name.
fn other_first(online: &updraft_core::key::PublicKey) -> updraft_core::api::FirstMetadata {
    use updraft_core::signed::Envelope;
    use updraft_core::trust::{Role, Root, Targets};
    use updraft_testkit::keys::named;
    let (root, targets) = (named("other root"), named("other targets"));
    let document = Root::new(1, clock::days(100))
        .with_role(&Role::Root, &[root.public()], 1)
        .with_role(&Role::Targets, &[targets.public()], 1)
        .with_role(&Role::Snapshot, std::slice::from_ref(online), 1)
        .with_role(&Role::Timestamp, std::slice::from_ref(online), 1);
    updraft_core::api::FirstMetadata {
        root: text(Envelope::new(&document).sign(&root)),
        targets: text(Envelope::new(&Targets::new(1, clock::days(99)).with_channels_role(online)).sign(&targets)),
    }
}
