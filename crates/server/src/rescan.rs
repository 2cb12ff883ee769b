//! Publishing the folder again, when somebody asks for it.
//!
//! The server reads no folder: whoever starts it hands in a [`Rescan`] that does. [`Coalesced`] keeps the asking cheap:
//! there is never more than one scan at a time, and all who ask while one runs share the next. They do not share the
//! running one, for it may have passed the file that they just changed.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;
use updraft_core::release::ReleaseName;

/// A future in a box, that may move between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Scans the folder and publishes what changed in it.
pub trait Rescan: Send + Sync + 'static {
    /// Scans once. When it returns, what it found is published, whole.
    ///
    /// # Errors
    /// When the folder cannot be read or its release cannot be published: thing, reason and remedy in one sentence.
    fn rescan(&self) -> BoxFuture<'_, Result<Outcome, String>>;
}

/// What a scan came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The folder had changed; this release is out now.
    Published(ReleaseName),
    /// The folder holds what is out already.
    Unchanged,
}

/// A [`Rescan`] that many may ask at once.
#[derive(Clone)]
pub struct Coalesced {
    shared: Arc<Shared>,
}

struct Shared {
    rescan: Arc<dyn Rescan>,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    scanning: bool,
    waiting: Vec<oneshot::Sender<Result<Outcome, String>>>,
}

impl Coalesced {
    /// Lets many share `rescan`.
    pub fn new(rescan: Arc<dyn Rescan>) -> Self {
        Self { shared: Arc::new(Shared { rescan, queue: Mutex::default() }) }
    }

    /// Waits for a scan that begins after this call. Going away does not stop it.
    ///
    /// # Errors
    /// What the scan says, the same for all who waited for it.
    pub async fn rescan(&self) -> Result<Outcome, String> {
        let (sender, receiver) = oneshot::channel();
        let starts = self.shared.join(sender);
        if starts {
            tokio::spawn(Arc::clone(&self.shared).work());
        }
        receiver.await.unwrap_or_else(|_| Err("the scan was stopped before it was done: ask again".to_owned()))
    }
}

/// So that one and the same can be handed to all who may ask, the watcher of the folder and the server alike.
impl Rescan for Coalesced {
    fn rescan(&self) -> BoxFuture<'_, Result<Outcome, String>> {
        Box::pin(Self::rescan(self))
    }
}

impl Shared {
    /// Whether whoever joined is to start the work.
    fn join(&self, sender: oneshot::Sender<Result<Outcome, String>>) -> bool {
        let mut queue = self.lock();
        queue.waiting.push(sender);
        !std::mem::replace(&mut queue.scanning, true)
    }

    async fn work(self: Arc<Self>) {
        while let Some(waiting) = self.next() {
            let rescan = Arc::clone(&self.rescan);
            // In a task of its own, so that a scan that panics answers those who wait and leaves the door open.
            let outcome = tokio::spawn(async move { rescan.rescan().await }).await;
            let outcome = outcome.unwrap_or_else(|e| Err(format!("the scan broke off: {e}")));
            for sender in waiting {
                // Whoever has gone away needs no answer.
                let _ = sender.send(outcome.clone());
            }
        }
    }

    /// Those whom the next scan serves; `None`, and the work is over, when nobody waits.
    fn next(&self) -> Option<Vec<oneshot::Sender<Result<Outcome, String>>>> {
        let mut queue = self.lock();
        queue.scanning = !queue.waiting.is_empty();
        queue.scanning.then(|| std::mem::take(&mut queue.waiting))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Coalesced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coalesced").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Semaphore;

    use super::*;

    /// Counts its scans; each waits for a permit.
    struct Slow {
        begun: AtomicUsize,
        permits: Semaphore,
    }

    impl Rescan for Slow {
        fn rescan(&self) -> BoxFuture<'_, Result<Outcome, String>> {
            Box::pin(async {
                self.begun.fetch_add(1, Ordering::SeqCst);
                self.permits.acquire().await.map_err(|e| e.to_string())?.forget();
                Ok(Outcome::Unchanged)
            })
        }
    }

    #[tokio::test]
    async fn two_scans_at_once_are_one_scan() {
        let slow = Arc::new(Slow { begun: AtomicUsize::new(0), permits: Semaphore::new(9) });
        let shared = Coalesced::new(Arc::clone(&slow) as Arc<dyn Rescan>);
        let (first, second) = tokio::join!(shared.rescan(), shared.rescan());
        assert_eq!((first, second), (Ok(Outcome::Unchanged), Ok(Outcome::Unchanged)));
        assert_eq!(slow.begun.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn all_who_come_while_one_runs_share_the_next() {
        let slow = Arc::new(Slow { begun: AtomicUsize::new(0), permits: Semaphore::new(0) });
        let shared = Coalesced::new(Arc::clone(&slow) as Arc<dyn Rescan>);
        let ask = || {
            tokio::spawn({
                let shared = shared.clone();
                async move { shared.rescan().await }
            })
        };
        let first = ask();
        while slow.begun.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        let late: Vec<_> = (0..10).map(|_| ask()).collect();
        tokio::task::yield_now().await;
        slow.permits.add_permits(2);
        assert_eq!(first.await.unwrap(), Ok(Outcome::Unchanged));
        for one in late {
            assert_eq!(one.await.unwrap(), Ok(Outcome::Unchanged));
        }
        assert_eq!(slow.begun.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_scan_that_panics_does_not_close_the_door() {
        struct Broken;
        impl Rescan for Broken {
            fn rescan(&self) -> BoxFuture<'_, Result<Outcome, String>> {
                panic!("deliberate")
            }
        }
        let shared = Coalesced::new(Arc::new(Broken));
        assert!(shared.rescan().await.unwrap_err().contains("broke off"));
        assert!(shared.rescan().await.unwrap_err().contains("broke off"));
    }
}
