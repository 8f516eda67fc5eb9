//! How long a gap in the sequence may delay the packets behind it, adapted to measured reordering.
//!
//! The idea is RFC 8985's: reordering is a matter of time, so measure how late missing packets arrive and
//! wait a little longer than that. Two waits follow from the one measurement:
//!
//! * `quiet`: when few packets follow the gap. Twice the measured delay, but at least 30 ms.
//! * `busy`: when at least [`BUSY_PACKETS`] packets have followed. 1.25 times the measured delay, but at least 2 ms.
//!   After [`ORDERLY_LOSSES`] losses in a row without a late packet, [`ORDERLY_PACKETS`] suffice: this path loses
//!   packets and does not reorder them. A TCP stream with a small window has no more than that behind a loss, and would
//!   wait for `quiet` with each.
//!
//! The measured delay rises at once with each late packet, but to no more than the wait that proved too short
//! (one odd packet must not make every later loss expensive); each loss lowers it by an eighth. Neither wait
//! exceeds pptp(8)'s `--timeout`.

use std::time::Duration;

/// Packets behind a gap that make it look like a loss. More than the ten packets that pptp(8)'s own
/// `--test-type 2` and `3` put out of order.
pub(super) const BUSY_PACKETS: u32 = 16;

/// Losses in a row, with no late packet among them, after which a path counts as one that keeps the order.
const ORDERLY_LOSSES: u32 = 16;

/// Packets behind a gap that make it look like a loss on such a path, as duplicate acknowledgements do for TCP
/// (RFC 5681 §3.2).
const ORDERLY_PACKETS: u32 = 3;

/// Initial and shortest wait on a quiet link.
const QUIET: Duration = Duration::from_millis(30);
/// Initial and shortest wait on a busy link.
const BUSY: Duration = Duration::from_millis(2);

#[derive(Debug)]
pub(super) struct Hold {
    max: Duration,
    /// How late missing packets arrive.
    delay: Duration,
    /// Losses since a packet was late.
    losses: u32,
}

impl Hold {
    pub const fn new(max: Duration) -> Self {
        Self { max, delay: Duration::ZERO, losses: 0 }
    }

    /// Returns the upper limit of every wait.
    pub const fn max(&self) -> Duration {
        self.max
    }

    /// Returns the wait for a gap that `later` packets have followed.
    pub fn wait(&self, later: u32) -> Duration {
        let busy = if self.losses >= ORDERLY_LOSSES { ORDERLY_PACKETS } else { BUSY_PACKETS };
        if later >= busy { self.busy() } else { self.quiet() }
    }

    /// Records that a packet arrived `late` after it was noticed missing, given up or not.
    pub fn record_late(&mut self, late: Duration) {
        self.delay = self.delay.max(late.min(self.quiet()));
        self.losses = 0;
    }

    /// Records that a gap was given up.
    pub fn record_loss(&mut self) {
        self.delay -= self.delay / 8;
        self.losses = self.losses.saturating_add(1);
    }

    fn quiet(&self) -> Duration {
        (self.delay * 2).max(QUIET).min(self.max)
    }

    fn busy(&self) -> Duration {
        (self.delay + self.delay / 4).max(BUSY).min(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: Duration = Duration::from_millis(300);
    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn waits_grow_with_the_measured_delay_up_to_the_limit() {
        let mut hold = Hold::new(MAX);
        assert_eq!((hold.wait(1), hold.wait(BUSY_PACKETS)), (30 * MS, 2 * MS));
        hold.record_late(20 * MS);
        assert_eq!((hold.wait(1), hold.wait(BUSY_PACKETS)), (40 * MS, 25 * MS));
        for _ in 0..10 {
            hold.record_late(10 * MAX);
        }
        assert_eq!((hold.wait(1), hold.wait(BUSY_PACKETS)), (MAX, MAX));
    }

    #[test]
    fn one_late_packet_doubles_the_wait_and_losses_shrink_it() {
        let mut hold = Hold::new(MAX);
        hold.record_late(10 * MAX);
        assert_eq!(hold.wait(1), 60 * MS);
        for _ in 0..20 {
            hold.record_loss();
        }
        assert_eq!(hold.wait(1), 30 * MS);
    }

    #[test]
    fn losses_without_a_late_packet_shorten_the_wait_behind_three_packets() {
        let mut hold = Hold::new(MAX);
        for _ in 1..ORDERLY_LOSSES {
            hold.record_loss();
        }
        assert_eq!(hold.wait(ORDERLY_PACKETS), 30 * MS);
        hold.record_loss();
        assert_eq!((hold.wait(ORDERLY_PACKETS - 1), hold.wait(ORDERLY_PACKETS)), (30 * MS, 2 * MS));
        hold.record_late(8 * MS);
        assert_eq!((hold.wait(ORDERLY_PACKETS), hold.wait(BUSY_PACKETS)), (30 * MS, 10 * MS));
    }

    #[test]
    fn short_limit_applies_from_the_start() {
        assert_eq!(Hold::new(MS).wait(1), MS);
        assert_eq!(Hold::new(MS).wait(BUSY_PACKETS), MS);
    }
}
