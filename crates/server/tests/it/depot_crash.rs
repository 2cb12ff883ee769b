//! A crash between any two writes of anything that changes an app, an answer that is lost, a disk that is full: after
//! the next start the app is exactly as before or exactly as after, what was acknowledged is there, and the next publish
//! works.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use updraft_core::Timestamp;
use updraft_core::layout;
use updraft_server::depot::{Depot, Error, OnlineKeys};
use updraft_server::store::faulty::{Fault, Faulty};
use updraft_server::store::{Kind, Store};
use updraft_testkit::clock;

use super::depot_support::*;

/// What is interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Create,
    Publish,
    PublishAndPromote,
    Promote,
    Renew,
    OpenAfterAMonth,
}

const ALL: [Operation; 6] = [
    Operation::Create,
    Operation::Publish,
    Operation::PublishAndPromote,
    Operation::Promote,
    Operation::Renew,
    Operation::OpenAfterAMonth,
];

impl Operation {
    fn now(self) -> Timestamp {
        match self {
            Self::Renew => clock::hours(20),
            Self::OpenAfterAMonth => clock::days(50),
            _ => clock::now(),
        }
    }

    /// The store as it is before: with 1.0.0 on stable, and 1.1.0 live and on no channel.
    async fn before(self) -> (Store, OnlineKeys) {
        if self == Self::Create {
            return (Store::memory(), OnlineKeys::memory());
        }
        let (store, online) = with_one_release().await;
        let depot = open(&store, &online, clock::now()).await;
        publish(&depot, "1.1.0", "any", None, clock::now()).await.unwrap();
        (store, online)
    }

    async fn run(self, store: &Store, online: &OnlineKeys) -> Result<(), Error> {
        let now = self.now();
        // A month later it is the start itself that writes.
        let opened = if self == Self::Renew { clock::now() } else { now };
        let depot = Depot::open(store.clone(), online.clone(), Default::default(), opened).await?;
        match self {
            Self::Create => create(&depot, now).await.map(drop),
            Self::Publish => publish(&depot, "1.2.0", "any", None, now).await.map(drop),
            Self::PublishAndPromote => publish(&depot, "1.2.0", "any", Some("stable"), now).await.map(drop),
            Self::Promote => depot.promote(&app(), &promotion("stable", &name("1.1.0", "any")), now).await.map(drop),
            Self::Renew => match depot.renew(now).await.failed.pop() {
                Some((_, error)) => Err(error),
                None => Ok(()),
            },
            Self::OpenAfterAMonth => Ok(()),
        }
    }
}

/// What is live, or that nothing is.
async fn state(store: &Store, online: &OnlineKeys, now: Timestamp) -> (Depot, String) {
    let depot = open(store, online, now).await;
    assert!(depot.broken().is_empty(), "{:?}", depot.broken());
    let words = depot.view(&app()).map_or("nothing".to_owned(), |view| words(&view));
    (depot, words)
}

/// How many writes the operation takes, and what is live before and after it.
async fn measured(operation: Operation) -> (u64, String, String) {
    let (store, online) = operation.before().await;
    let before = state(&store, &online, clock::now()).await.1;
    let mut writes = None;
    let counting = store.wrapped(|backend| {
        let faulty = Faulty::new(backend, Fault::None);
        writes = Some(faulty.writes());
        faulty
    });
    operation.run(&counting, &online).await.unwrap();
    let writes: Arc<_> = writes.unwrap();
    let after = state(&store, &online, operation.now()).await.1;
    (writes.load(Ordering::SeqCst), before, after)
}

/// Interrupts `operation` and checks everything that has to hold afterwards; whether it was done.
async fn interrupt(operation: Operation, fault: Fault, before: &str, after: &str) -> bool {
    let context = format!("{operation:?}, {fault:?}");
    let (store, online) = operation.before().await;
    let mut device = Device::default();
    if operation != Operation::Create {
        device.refresh(&store, clock::now()).await;
    }
    let result = operation.run(&with_fault(&store, fault), &online).await;

    let (depot, found) = state(&store, &online, operation.now()).await;
    assert!(found == before || found == after, "{context}: {found}\nis neither {before}\nnor {after}");
    if result.is_ok() {
        assert_eq!(found, after, "{context}: acknowledged and lost");
    }
    if found != "nothing" {
        device.refresh(&store, operation.now()).await;
        assert_sound(&depot).await;
        let view = depot.view(&app()).unwrap();
        assert_eq!(timestamp_version(&store).await, version_in(&view.head.timestamp), "{context}");
    }
    // No wedge: the same again, and then the next one, through the depot that was opened after the crash.
    if matches!(fault, Fault::LosesAnswer(_)) && found == after && before != after {
        assert!(result.is_ok(), "{context}: it was done, and its answer says {result:?}");
    }
    match operation.run(&store, &online).await {
        Ok(()) => {}
        Err(Error::Exists(_)) if operation == Operation::Create && found == after => {}
        Err(error) => panic!("{context}: again: {error}"),
    }
    let depot = open(&store, &online, operation.now()).await;
    assert_eq!(words(&depot.view(&app()).unwrap()).contains("1.2.0"), after.contains("1.2.0"), "{context}");
    publish(&depot, "2.0.0", "any", Some("stable"), operation.now()).await.unwrap();
    device.refresh(&store, operation.now()).await;
    assert_sound(&depot).await;
    result.is_ok()
}

fn version_in(timestamp: &[u8]) -> u64 {
    let envelope = updraft_core::signed::Envelope::parse(timestamp, 100_000).unwrap();
    envelope.content::<serde_json::Value>().unwrap()["version"].as_u64().unwrap()
}

async fn every_fault(kinds: &[fn(u64) -> Fault]) -> u64 {
    let mut done = 0;
    for operation in ALL {
        let (writes, before, after) = measured(operation).await;
        assert!(writes >= 2, "{operation:?} writes {writes} times");
        for number in 1..=writes {
            for kind in kinds {
                done += u64::from(interrupt(operation, kind(number), &before, &after).await);
            }
        }
    }
    done
}

#[tokio::test]
async fn a_crash_between_any_two_writes() {
    let acknowledged = every_fault(&[Fault::DiesBefore, Fault::DiesAfter]).await;
    assert!(acknowledged > 0, "a crash after the commit is not the publisher's trouble");
}

#[tokio::test]
async fn an_answer_that_is_lost() {
    assert!(every_fault(&[Fault::LosesAnswer]).await >= ALL.len() as u64);
}

#[tokio::test]
async fn a_write_that_is_refused() {
    every_fault(&[|number| Fault::Refuses(number, Kind::Full), |number| Fault::Refuses(number, Kind::NotPermitted)])
        .await;
}

#[tokio::test]
async fn an_app_whose_creation_was_cut_short_is_finished_by_whoever_comes() {
    let (writes, ..) = measured(Operation::Create).await;
    let mut finished = 0;
    for number in 1..=writes {
        let (store, online) = Operation::Create.before().await;
        let depot = open(&store, &online, clock::now()).await;
        let key = depot.propose_app(&app()).await.unwrap();
        let faulty = open(&with_fault(&store, Fault::DiesAfter(number)), &online, clock::now()).await;
        let _ = faulty.create_app(&app(), &first(&key), clock::now()).await;
        // Another process, which was running all the time, is asked by the publisher's second try.
        let has_head = store.stat(&layout::head(&app())).await.unwrap().is_some();
        finished += u64::from(has_head);
        let again = depot.create_app(&app(), &first(&key), clock::now()).await.unwrap();
        assert_eq!((again.generation, again.targets), (1, 1));
        publish(&depot, "1.0.0", "any", Some("stable"), clock::now()).await.unwrap();
        Device::default().refresh(&store, clock::now()).await;
        assert_sound(&depot).await;
        depot.gc(wet(), clock::now()).await.unwrap();
        assert_eq!(store.list("private/first/", None, 10).await.unwrap(), []);
    }
    assert!(finished > 0 && finished < writes);
}

#[tokio::test]
async fn whoever_lost_an_answer_knows_its_own_head_again() {
    let (store, online) = with_one_release().await;
    // The first write of a renewal of the timestamp alone is the swap of the head.
    let depot = open(&with_fault(&store, Fault::LosesAnswer(1)), &online, clock::now()).await;
    let renewed = depot.renew(clock::hours(20)).await;
    assert!(renewed.failed.is_empty(), "{renewed:?}");
    assert_eq!(renewed.apps, [app()], "it was this process that did it");
}
