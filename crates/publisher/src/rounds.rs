//! How often to try again, and when: read, decide, sign, hand in; and again when somebody else was faster.

use std::time::Duration;

use crate::remote::RemoteError;

/// How often it is tried. Each round that is lost was won by somebody: this is how many may publish at the same time.
const ROUNDS_MAX: u32 = 10;

/// The rounds of one change to one app.
pub(crate) struct Rounds {
    first_pause: Duration,
    round: u32,
    before: Option<u64>,
    skip: u64,
}

/// There will be no other round.
pub(crate) enum Over {
    /// There were too many.
    Crowded {
        /// How many.
        rounds: u32,
        /// What the server said at last.
        reason: String,
    },
    /// Another round would end the same.
    Failed(RemoteError),
}

impl Rounds {
    /// `first_pause` doubles from round to round.
    pub(crate) fn new(first_pause: Duration) -> Self {
        Self { first_pause, round: 0, before: None, skip: 0 }
    }

    /// Begins a round on a base whose targets have this version. Returns how many versions to leave out: a crash or a lost
    /// race can leave a number occupied by other bytes.
    pub(crate) fn begin(&mut self, version: u64) -> u64 {
        if self.before != Some(version) {
            self.skip = 0;
        }
        self.before = Some(version);
        self.skip
    }

    /// The round ended with `error`. Waits, so that two who are in each other's way do not stay in step.
    ///
    /// # Errors
    /// When there is no point in another round.
    pub(crate) fn again(&mut self, error: RemoteError) -> Result<(), Over> {
        self.round += 1;
        let is_last = self.round >= ROUNDS_MAX;
        match error {
            // Where the base did not move, the number must have been the obstacle. Each further one is skipped twice as far,
            // so that the rounds suffice for hundreds of them.
            RemoteError::Conflict { .. } if !is_last => self.skip = (self.skip * 2).max(1),
            RemoteError::Conflict { detail, .. } => return Err(Over::Crowded { rounds: self.round, reason: detail }),
            RemoteError::Missing { .. } | RemoteError::Unreachable { .. } if !is_last => {}
            error => return Err(Over::Failed(error)),
        }
        self.pause();
        Ok(())
    }

    fn pause(&self) {
        let mut random = [0; 1];
        // Without a random number everybody waits the same: worse, and no reason to give up.
        let _ = getrandom::fill(&mut random);
        let longest = self.first_pause.saturating_mul(1 << (self.round - 1).min(6));
        std::thread::sleep(longest.mul_f64(f64::from(random[0]) / 255.0));
    }
}
