//! Waiting, as a parameter: tests wait without time passing.

use std::fmt;
use std::time::{Duration, Instant};

/// A clock that only goes forward, and can be waited by. It does not know what day it is.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The time since some fixed moment.
    fn elapsed(&self) -> Duration;

    /// Comes back when `wait` is over.
    fn sleep(&self, wait: Duration);
}

/// The system's monotonic clock.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { start: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    fn sleep(&self, wait: Duration) {
        std::thread::sleep(wait);
    }
}
