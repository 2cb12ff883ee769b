//! How long to wait for the other side to take or send bytes.
//!
//! Waiting uses patience up, and every byte gives some back, up to the full measure. So a connection may be slow, or
//! stop for a while, but not be slower than the minimum for long. Only time spent waiting for the other side counts.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// A measure of patience.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measure {
    /// How long the other side may do nothing at all.
    pub full: Duration,
    /// The least it must do over a longer time, in bytes per second; above 0.
    pub bytes_per_sec_min: u32,
}

/// Patience with one connection, in one direction.
#[derive(Debug)]
pub(super) struct Patience {
    left: Left,
    waiting: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl Patience {
    pub(super) fn new(measure: Measure) -> Self {
        Self { left: Left::new(measure), waiting: None }
    }

    /// The other side does nothing. Ready when patience is at its end; the task is woken for that.
    pub(super) fn poll_spent(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let left = self.left.time;
        let (_, end) = self.waiting.get_or_insert_with(|| {
            let now = Instant::now();
            (now, Box::pin(tokio::time::sleep_until(now + left)))
        });
        end.as_mut().poll(context)
    }

    /// The other side took or sent so many bytes.
    pub(super) fn restore(&mut self, bytes: usize) {
        if let Some((since, _)) = self.waiting.take() {
            self.left.spend(since.elapsed());
        }
        self.left.earn(bytes);
    }

    /// Whether somebody is being waited for.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }
}

/// What is left of a measure.
#[derive(Debug)]
struct Left {
    measure: Measure,
    time: Duration,
}

impl Left {
    fn new(measure: Measure) -> Self {
        Self { measure, time: measure.full }
    }

    fn spend(&mut self, waited: Duration) {
        self.time = self.time.saturating_sub(waited);
    }

    fn earn(&mut self, bytes: usize) {
        // A gigabyte earns no more than a measure is: the sum stays small.
        let bytes = bytes.min(1 << 30) as f64;
        let earned = Duration::from_secs_f64(bytes / f64::from(self.measure.bytes_per_sec_min.max(1)));
        self.time = (self.time + earned).min(self.measure.full);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEASURE: Measure = Measure { full: Duration::from_secs(30), bytes_per_sec_min: 1_000 };
    const SECS_20: Duration = Duration::from_secs(20);

    #[test]
    fn the_slowest_that_is_allowed_goes_on_for_ever() {
        let mut left = Left::new(MEASURE);
        for _ in 0..1_000 {
            left.spend(SECS_20);
            assert!(left.time >= Duration::from_secs(10));
            left.earn(20_000);
        }
    }

    #[test]
    fn slower_than_that_comes_to_an_end() {
        let mut left = Left::new(MEASURE);
        for _ in 0..10 {
            left.spend(SECS_20);
            left.earn(15_000);
        }
        assert!(left.time < SECS_20);
    }

    #[test]
    fn a_byte_now_and_then_is_not_enough() {
        let mut left = Left::new(MEASURE);
        for _ in 0..3 {
            left.spend(Duration::from_secs(10));
            left.earn(1);
        }
        assert!(left.time < Duration::from_millis(10));
    }

    #[test]
    fn much_at_once_gives_no_more_than_the_full_measure() {
        let mut left = Left::new(MEASURE);
        left.earn(usize::MAX);
        assert_eq!(left.time, MEASURE.full);
    }
}
