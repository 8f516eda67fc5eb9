//! How long a gap in the sequence may hold up what came behind it: measured, not guessed.
//!
//! The idea is RFC 8985's: reordering is a matter of time, so measure how late missing packets really come
//! and wait a little longer than that. Two waits follow from the one measure:
//!
//! * `quiet`: when little follows the gap. 30 ms at first, twice the measure later.
//! * `busy`: when at least [`MANY`] packets have followed. 2 ms at first, a quarter above the measure later.
//!
//! The measure grows at once with each late packet, but to no more than the wait that proved too short (one
//! odd packet must not make every later loss dear); each loss shrinks it by an eighth. Neither wait exceeds
//! what the man page calls `--timeout`.

use std::time::Duration;

/// How many packets behind a gap make it look like a loss. More than what pptp(8)'s own `--test-type 2` and
/// `3` put out of order, which is ten.
pub(super) const MANY: u32 = 16;

/// Wait on a quiet link on which nothing has been measured.
const QUIET: Duration = Duration::from_millis(30);
/// Wait on a busy link on which nothing has been measured.
const BUSY: Duration = Duration::from_millis(2);

#[derive(Debug)]
pub(super) struct Hold {
    max: Duration,
    /// How late missing packets come.
    measure: Duration,
}

impl Hold {
    pub const fn new(max: Duration) -> Self {
        Self { max, measure: Duration::ZERO }
    }

    /// The longest wait of all.
    pub const fn max(&self) -> Duration {
        self.max
    }

    /// The wait behind a gap that `later` packets have followed.
    pub fn wait(&self, later: u32) -> Duration {
        if later >= MANY { self.busy() } else { self.quiet() }
    }

    /// A missing packet has come, `late` after it was missed: in time, or when it had been given up.
    pub fn came(&mut self, late: Duration) {
        self.measure = self.measure.max(late.min(self.quiet()));
    }

    /// A gap has been given up.
    pub fn lost(&mut self) {
        self.measure -= self.measure / 8;
    }

    fn quiet(&self) -> Duration {
        (self.measure * 2).max(QUIET).min(self.max)
    }

    fn busy(&self) -> Duration {
        (self.measure + self.measure / 4).max(BUSY).min(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: Duration = Duration::from_millis(300);
    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn waits_grow_with_what_is_measured_up_to_the_limit() {
        let mut hold = Hold::new(MAX);
        assert_eq!((hold.wait(1), hold.wait(MANY)), (30 * MS, 2 * MS));
        hold.came(20 * MS);
        assert_eq!((hold.wait(1), hold.wait(MANY)), (40 * MS, 25 * MS));
        for _ in 0..10 {
            hold.came(10 * MAX);
        }
        assert_eq!((hold.wait(1), hold.wait(MANY)), (MAX, MAX));
    }

    #[test]
    fn one_odd_packet_only_doubles_the_wait_and_losses_forget_it() {
        let mut hold = Hold::new(MAX);
        hold.came(10 * MAX);
        assert_eq!(hold.wait(1), 60 * MS);
        for _ in 0..20 {
            hold.lost();
        }
        assert_eq!(hold.wait(1), 30 * MS);
    }

    #[test]
    fn a_short_limit_holds_from_the_start() {
        assert_eq!(Hold::new(MS).wait(1), MS);
        assert_eq!(Hold::new(MS).wait(MANY), MS);
    }
}
