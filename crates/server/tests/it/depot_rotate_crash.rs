//! A rotation that is interrupted between any two writes: a device that knew the state before goes on without an error
//! while it is interrupted, and after whoever came next has brought it to its end or found that it never began.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use updraft_core::Timestamp;
use updraft_core::api::{Health, Matter, NextRoot};
use updraft_core::key::SigningKey;
use updraft_core::layout;
use updraft_core::trust::MetadataFile;
use updraft_server::depot::{Depot, Error, OnlineKeys};
use updraft_server::store::faulty::{Fault, Faulty};
use updraft_server::store::{Kind, Store};
use updraft_testkit::{clock, keys};

use super::depot_rotate_support::*;
use super::depot_support::*;

/// What is rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rotation {
    /// The publisher's root key. Nothing else is signed anew by anybody but the server.
    Root,
    /// The publisher's targets key, with targets that the old one and the new one signed.
    Targets,
    /// The same where the old key is lost.
    TargetsAlone,
    /// The online key, by a server that has both.
    Online,
    /// The online key, by a server that has lost the old one.
    OnlineLost,
}

const ALL: [Rotation; 5] =
    [Rotation::Root, Rotation::Targets, Rotation::TargetsAlone, Rotation::Online, Rotation::OnlineLost];

/// A store before a rotation, and what its publisher hands in.
struct Scene {
    store: Store,
    online: OnlineKeys,
    next: NextRoot,
}

impl Rotation {
    async fn scene(self) -> Scene {
        let (store, mut online) = with_two_releases().await;
        if self == Self::OnlineLost {
            online = OnlineKeys::memory();
        }
        let depot = open(&store, &online, clock::now()).await;
        let view = depot.view(&app()).unwrap();
        let draft = match self {
            Self::Root => root_rotation(&view),
            Self::Targets => targets_rotation(&view, vec![keys::targets(), new_targets()]),
            Self::TargetsAlone => targets_rotation(&view, vec![new_targets()]),
            Self::Online | Self::OnlineLost => online_rotation(&depot).await,
        };
        Scene { next: draft.signed(), store, online }
    }

    /// Whether there is a state on the way that holds under both roots. Where an old key is lost there cannot be one, and
    /// for a moment a client that reads the plain files finds the new root beside what the old one vouches for.
    fn holds_for_both(self) -> bool {
        !matches!(self, Self::TargetsAlone | Self::OnlineLost)
    }

    /// Who signs releases after it.
    fn publisher(self) -> SigningKey {
        match self {
            Self::Targets | Self::TargetsAlone => new_targets(),
            _ => keys::targets(),
        }
    }
}

async fn rotate(store: &Store, scene: &Scene) -> Result<(), Error> {
    // A store that dies at the first write does not open an app either: the rotation is asked for all the same.
    let depot = Depot::open(store.clone(), scene.online.clone(), Default::default(), clock::now()).await?;
    depot.rotate(&app(), &scene.next, clock::now()).await.map(drop)
}

async fn writes_of(rotation: Rotation) -> u64 {
    let scene = rotation.scene().await;
    let mut writes = None;
    let counting = scene.store.wrapped(|backend| {
        let faulty = Faulty::new(backend, Fault::None);
        writes = Some(faulty.writes());
        faulty
    });
    rotate(&counting, &scene).await.unwrap();
    let writes: Arc<_> = writes.unwrap();
    writes.load(Ordering::SeqCst)
}

async fn read(store: &Store, file: &MetadataFile) -> Option<Bytes> {
    store.read(&layout::metadata(&app(), file), 1 << 20).await.unwrap().map(|(bytes, _)| bytes)
}

/// Who brings an interrupted rotation to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Finisher {
    /// The next start.
    Start,
    /// A start a month later, when everything that the server has signed is over.
    LateStart,
    /// A replica that was running all the time.
    Replica,
}

impl Finisher {
    fn now(self) -> Timestamp {
        if self == Self::LateStart { clock::days(31) } else { clock::now() }
    }
}

/// Interrupts `rotation` and checks all that has to hold; whether it took place.
async fn interrupt(rotation: Rotation, fault: Fault, finisher: Finisher) -> bool {
    let context = format!("{rotation:?}, {fault:?}, {finisher:?}");
    let scene = rotation.scene().await;
    let (store, online) = (&scene.store, &scene.online);
    let replica = open(store, online, clock::now()).await;
    let mut devices = [Device::default(), Device::default()];
    for device in &mut devices {
        device.refresh(store, clock::now()).await;
    }
    let old_timestamp = read(store, &MetadataFile::Timestamp).await;

    let result = rotate(&with_fault(store, fault), &scene).await;

    // As it lies there: a static copy of it, or a server that is not restarted yet.
    let there = devices[0].try_refresh(store, clock::now(), Way::Head).await;
    assert!(there.is_ok(), "{context}: {there:?}");
    if let Err(reason) = devices[1].try_refresh(store, clock::now(), Way::Plain).await {
        let is_between = read(store, &MetadataFile::Root(2)).await.is_some()
            && read(store, &MetadataFile::Timestamp).await == old_timestamp;
        assert!(is_between && !rotation.holds_for_both(), "{context}: {reason}");
    }

    let now = finisher.now();
    let depot = match finisher {
        Finisher::Start | Finisher::LateStart => open(store, online, now).await,
        Finisher::Replica => replica,
    };
    let root = depot.newest(&app()).await.unwrap_or_else(|e| panic!("{context}: {e}")).root.version;
    assert_eq!(read(store, &MetadataFile::Root(2)).await.is_some(), root == 2, "{context}");
    if result.is_ok() {
        assert_eq!(root, 2, "{context}: acknowledged and lost");
    }
    if matches!(fault, Fault::LosesAnswer(_)) && root == 2 {
        assert!(result.is_ok(), "{context}: it was done, and its answer says {result:?}");
    }
    if finisher != Finisher::Replica {
        assert_sound(&depot).await;
    }
    // Nobody has the key to renew what was before, a month later.
    let is_over = (finisher, rotation, root) == (Finisher::LateStart, Rotation::OnlineLost, 1);
    for (device, way) in devices.iter_mut().zip([Way::Head, Way::Plain]) {
        // A replica that finds nothing to do leaves timestamp.json to whoever commits next.
        if finisher != Finisher::Replica || way == Way::Head {
            let there = device.try_refresh(store, now, way).await;
            match there {
                Ok(_) => assert!(!is_over, "{context}, {way:?}"),
                Err(reason) => assert!(is_over && reason.contains("expired"), "{context}, {way:?}: {reason}"),
            }
        }
    }

    // No wedge: the same again, twice, and then the next release.
    for _ in 0..2 {
        depot.rotate(&app(), &scene.next, now).await.unwrap_or_else(|e| panic!("{context}: again: {e}"));
    }
    assert_eq!(depot.view(&app()).unwrap().root.version, 2, "{context}");
    publish_with(&depot, "2.0.0", &rotation.publisher(), now).await.unwrap_or_else(|e| panic!("{context}: {e}"));
    for device in &mut devices {
        device.refresh(store, now).await;
    }
    assert_sound(&depot).await;
    // What an attempt has left in private goes with the next collection after the grace.
    depot.gc(wet(), "2200-01-01T00:00:00Z".parse().unwrap()).await.unwrap();
    assert_eq!(store.list("private/rotations/", None, 10).await.unwrap(), [], "{context}");
    root == 2
}

/// How often of all interruptions the rotation took place, and how often not.
async fn every_fault(kinds: &[fn(u64) -> Fault]) -> [usize; 2] {
    let mut counts = [0, 0];
    for rotation in ALL {
        // Record, announcement, timestamp.json, root, head, and the record again, at the least.
        let writes = writes_of(rotation).await;
        assert!(writes >= 6, "{rotation:?} writes {writes} times");
        for number in 1..=writes {
            for kind in kinds {
                for finisher in [Finisher::Start, Finisher::LateStart, Finisher::Replica] {
                    counts[usize::from(interrupt(rotation, kind(number), finisher).await)] += 1;
                }
            }
        }
    }
    counts
}

#[tokio::test]
async fn a_crash_between_any_two_writes() {
    let [never, done] = every_fault(&[Fault::DiesBefore, Fault::DiesAfter]).await;
    assert!(never > 0 && done > 0, "{never}, {done}");
}

#[tokio::test]
async fn an_answer_that_is_lost() {
    let [never, done] = every_fault(&[Fault::LosesAnswer]).await;
    assert!(never > 0 && done > 0, "{never}, {done}");
}

#[tokio::test]
async fn a_write_that_is_refused() {
    let refusals: [fn(u64) -> Fault; 2] =
        [|number| Fault::Refuses(number, Kind::Full), |number| Fault::Refuses(number, Kind::NotPermitted)];
    let [never, done] = every_fault(&refusals).await;
    assert!(never > 0 && done > 0, "{never}, {done}");
}

/// The story: the disk was full right after the announcement. The publisher heard of an error, and until somebody else
/// published the old root went on counting, perhaps with the key that a thief had.
#[tokio::test]
async fn what_was_announced_is_completed_by_the_next_renewal() {
    let mut announced = 0;
    for rotation in ALL {
        for number in 1..=writes_of(rotation).await {
            let scene = rotation.scene().await;
            let store = with_fault(&scene.store, Fault::RefusesMany(number, 4, Kind::Full));
            let depot = open(&store, &scene.online, clock::now()).await;
            let Err(error @ Error::Announced { .. }) = depot.rotate(&app(), &scene.next, clock::now()).await else {
                continue;
            };
            announced += 1;
            let context = format!("{rotation:?}, {number}");
            assert!(error.to_string().contains("is announced and will take place"), "{context}: {error}");
            assert_eq!(depot.view(&app()).unwrap().root.version, 1, "{context}");
            let told = |health: Health| health.findings.into_iter().find(|found| found.kind == Matter::Rotation);
            let finding =
                told(depot.health(clock::now()).await).unwrap_or_else(|| panic!("{context}: nothing is said"));
            assert!(finding.detail.unwrap().contains("on purpose"), "{context}");

            tokio::time::timeout(std::time::Duration::from_secs(60), depot.owes())
                .await
                .expect("renewal is called for");
            let first = depot.renew(clock::now()).await;
            if let [(_, error)] = &first.failed[..] {
                assert!(matches!(error, Error::Announced { .. }), "{context}: {error}");
                assert_eq!(depot.renew(clock::now()).await.failed.len(), 0, "{context}");
            }
            assert_eq!(depot.view(&app()).unwrap().root.version, 2, "{context}");
            assert!(told(depot.health(clock::now()).await).is_none(), "{context}");
            Device::default().refresh(&scene.store, clock::now()).await;
            assert_sound(&depot).await;
        }
    }
    assert!(announced >= ALL.len(), "{announced}");
}

#[tokio::test]
async fn a_collection_between_two_tries() {
    for rotation in ALL {
        for number in 1..=writes_of(rotation).await {
            let scene = rotation.scene().await;
            let (store, online) = (&scene.store, &scene.online);
            let _ = rotate(&with_fault(store, Fault::DiesBefore(number)), &scene).await;
            let depot = open(store, online, clock::now()).await;
            // What the first try has left is condemned, and needed again before its grace is over.
            depot.gc(wet(), clock::now()).await.unwrap();
            depot.rotate(&app(), &scene.next, clock::days(1)).await.unwrap();
            depot.gc(wet(), clock::days(8)).await.unwrap();
            let depot = open(store, online, clock::days(8)).await;
            assert_sound(&depot).await;
            Device::default().refresh(store, clock::days(8)).await;
        }
    }
}
