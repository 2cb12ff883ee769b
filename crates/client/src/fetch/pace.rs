//! How fast bytes may come, and how slow.
//!
//! Pure arithmetic over a clock's reading: whoever asks does the waiting. A limit is shared by all threads of a download.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How far a quiet moment may be made up for afterwards: a longer burst would break the promise that a limit is.
const BURST: Duration = Duration::from_millis(250);

/// How long a body may be slower than [`TRICKLE_BYTES_PER_SEC`]. A source that keeps a connection open with a byte now and
/// then could otherwise hold a device back for ever (the slow retrieval attack of TUF 1.5.2).
const TRICKLE_WINDOW: Duration = Duration::from_secs(60);

/// Less than any link that is of use.
const TRICKLE_BYTES_PER_SEC: u64 = 100;

/// A bandwidth limit.
#[derive(Debug)]
pub struct Pace {
    bytes_per_sec: u64,
    /// The moment at which all bytes that were taken are paid for.
    paid_until: Mutex<Duration>,
}

impl Pace {
    /// At most `bytes_per_sec`, and at least one byte.
    pub fn new(bytes_per_sec: u64) -> Self {
        Self { bytes_per_sec: bytes_per_sec.max(1), paid_until: Mutex::new(Duration::ZERO) }
    }

    /// Takes `bytes` at the moment `now`; says how long to wait before taking more.
    pub fn take(&self, now: Duration, bytes: u64) -> Duration {
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_sec);
        let price = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let mut paid_until = self.paid_until.lock().unwrap_or_else(PoisonError::into_inner);
        let start = (*paid_until).max(now.saturating_sub(BURST));
        *paid_until = start.saturating_add(price);
        paid_until.saturating_sub(now)
    }
}

/// Watches that a body does not trickle.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Trickle {
    since: Duration,
    bytes: u64,
}

impl Trickle {
    /// A body that begins at the moment `now`.
    pub(crate) fn new(now: Duration) -> Self {
        Self { since: now, bytes: 0 }
    }

    /// `bytes` came at the moment `now`: whether that is fast enough to go on.
    pub(crate) fn is_fast_enough(&mut self, now: Duration, bytes: u64) -> bool {
        self.bytes += bytes;
        let passed = now.saturating_sub(self.since);
        if passed < TRICKLE_WINDOW {
            return true;
        }
        let enough = self.bytes >= passed.as_secs() * TRICKLE_BYTES_PER_SEC;
        *self = Self::new(now);
        enough
    }

    /// We waited for reasons of our own; it does not count against the source.
    pub(crate) fn forgive(&mut self, waited: Duration) {
        self.since += waited;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_limit_holds_over_time_whatever_the_pieces() {
        for pieces in [[100, 100, 100], [1, 298, 1], [300, 0, 0]] {
            let pace = Pace::new(100);
            let mut now = SECOND;
            for bytes in pieces {
                now += pace.take(now, bytes);
            }
            // 300 bytes at 100 a second, less the burst.
            assert_eq!(now - SECOND, 3 * SECOND - BURST, "{pieces:?}");
        }
    }

    #[test]
    fn threads_share_one_limit() {
        let pace = Pace::new(1_000);
        assert_eq!(pace.take(SECOND, 1_000), SECOND - BURST);
        assert_eq!(pace.take(SECOND, 1_000), 2 * SECOND - BURST);
    }

    #[test]
    fn a_pause_is_not_saved_up() {
        let pace = Pace::new(1_000);
        pace.take(SECOND, 100);
        assert_eq!(pace.take(100 * SECOND, 1_000), SECOND - BURST);
        assert_eq!(Pace::new(0).take(SECOND, 1), SECOND - BURST, "a limit of nothing is one byte a second");
        assert!(Pace::new(1).take(SECOND, u64::MAX) > SECOND, "no overflow");
    }

    #[test]
    fn a_trickle_is_noticed_and_our_own_waiting_is_not() {
        let mut body = Trickle::new(Duration::ZERO);
        assert!(body.is_fast_enough(59 * SECOND, 10), "the window is not over");
        assert!(!body.is_fast_enough(60 * SECOND, 10));

        let mut body = Trickle::new(Duration::ZERO);
        body.forgive(30 * SECOND);
        assert!(body.is_fast_enough(60 * SECOND, 10));
        assert!(!body.is_fast_enough(90 * SECOND, 10));

        let mut body = Trickle::new(Duration::ZERO);
        assert!(body.is_fast_enough(60 * SECOND, 6_000));
        assert!(!body.is_fast_enough(120 * SECOND, 5_999), "each window counts for itself");
        assert!(!body.is_fast_enough(320 * SECOND, 10_000), "a piece after a long silence is slow, too");
    }
}
