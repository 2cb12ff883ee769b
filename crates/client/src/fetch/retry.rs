//! When to ask again, and when to stop.
//!
//! Pure arithmetic: the waiting is done by whoever asks. Devices that failed together must not come back together, so
//! half of each wait is random.

use std::time::Duration;

/// The longest that a server's `Retry-After` is followed. One that asks for more is busy for today: the next check asks again.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// An attempt that brought this many bytes was no failure, only an end: the count begins anew. Less does not, or a source
/// that gives a byte at a time could keep a device for ever.
const PROGRESS_BYTES_MIN: u64 = 64 << 10;

/// How often to ask, and how long to wait in between.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Retry {
    /// Attempts in a row that bring nothing; at least 1.
    attempts_max: u32,
    /// The wait after the first; it doubles from there.
    wait: Duration,
    wait_max: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts_max: 4, wait: Duration::from_millis(500), wait_max: Duration::from_secs(20) }
    }
}

impl Retry {
    /// The count of the attempts at one object.
    pub(crate) fn attempts(self) -> Attempts {
        Attempts { retry: self, failed: 0 }
    }
}

/// How often one object was asked for.
#[derive(Debug)]
pub(crate) struct Attempts {
    retry: Retry,
    failed: u32,
}

impl Attempts {
    /// The attempt that just failed brought `bytes` before it did.
    pub(crate) fn progressed(&mut self, bytes: u64) {
        if bytes >= PROGRESS_BYTES_MIN {
            self.failed = 0;
        }
    }

    /// An attempt failed: how long to wait before the next one; `None` when there should be none. `random` is any number.
    pub(crate) fn next(&mut self, retry_after: Option<Duration>, random: u32) -> Option<Duration> {
        self.failed += 1;
        if self.failed >= self.retry.attempts_max {
            return None;
        }
        let Retry { wait, wait_max, .. } = self.retry;
        let wait = wait.saturating_mul(1 << (self.failed - 1).min(16)).min(wait_max);
        let jittered = wait / 2 + (wait / 2).mul_f64(f64::from(random) / f64::from(u32::MAX));
        match retry_after {
            Some(asked) if asked > RETRY_AFTER_MAX => None,
            Some(asked) => Some(asked.max(jittered)),
            None => Some(jittered),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_end() {
        let waits = |random: u32| {
            let mut attempts = Retry::default().attempts();
            std::iter::from_fn(|| attempts.next(None, random)).map(|wait| wait.as_millis()).collect::<Vec<_>>()
        };
        assert_eq!(waits(u32::MAX), [500, 1_000, 2_000]);
        assert_eq!(waits(0), [250, 500, 1_000]);
    }

    #[test]
    fn only_real_progress_begins_anew() {
        let mut attempts = Retry::default().attempts();
        for _ in 0..100 {
            attempts.progressed(PROGRESS_BYTES_MIN);
            assert!(attempts.next(None, 0).is_some());
        }
        let mut attempts = Retry::default().attempts();
        let mut count = 0;
        while attempts.next(None, 0).is_some() {
            attempts.progressed(PROGRESS_BYTES_MIN - 1);
            count += 1;
        }
        assert_eq!(count, 3);
    }

    #[test]
    fn retry_after_is_followed_within_reason() {
        let secs = Duration::from_secs;
        assert_eq!(Retry::default().attempts().next(Some(secs(30)), 0), Some(secs(30)));
        assert_eq!(Retry::default().attempts().next(Some(secs(0)), 0), Some(Duration::from_millis(250)));
        assert_eq!(Retry::default().attempts().next(Some(secs(61)), 0), None);
    }
}
