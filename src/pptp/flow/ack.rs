//! Acknowledgements sent and received (RFC 2637 §4.3, §4.4).
//!
//! Outgoing data always carries a pending acknowledgement. A standalone acknowledgement is sent at once when
//! it covers a quarter of the window that we offered (at least two packets, as pptp(8) does), so that a peer
//! that enforces its window never stalls; after 20 ms for two packets or more; after 500 ms for one, which
//! can usually be piggybacked on data before that.
//!
//! The peer's acknowledgements measure the round trip, and open its window if the profile says that it is obeyed
//! (`window`). By default no data is held back for it, as by every client in use.

use std::time::{Duration, Instant};

const DELAY_ONE: Duration = Duration::from_millis(500);
const DELAY_SEVERAL: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(super) struct Acks {
    /// Unacknowledged packets that require an acknowledgement at once.
    quota: u32,
    /// Packets received since we last sent an acknowledgement.
    pending: u32,
    /// When the first of them was received.
    pending_since: Instant,
    /// The highest sequence number received.
    highest: Option<u32>,
    /// The packet being timed for the round trip: its sequence number and when it was sent.
    sample: Option<(u32, Instant)>,
    /// The highest number acknowledged by the peer.
    acknowledged: u32,
}

impl Acks {
    pub fn new(window: u16, now: Instant) -> Self {
        Self {
            quota: u32::from(window / 4).max(2),
            pending: 0,
            pending_since: now,
            highest: None,
            sample: None,
            acknowledged: 0,
        }
    }

    /// Records that a packet was accepted; `highest` is the highest sequence number so far.
    pub const fn received(&mut self, now: Instant, highest: u32) {
        if self.pending == 0 {
            self.pending_since = now;
        }
        self.pending = self.pending.saturating_add(1);
        self.highest = Some(highest);
    }

    /// Returns the pending acknowledgement, if any, and clears it because the caller sends it.
    pub fn take(&mut self) -> Option<u32> {
        let owed = self.highest.filter(|_| self.pending > 0)?;
        self.pending = 0;
        Some(owed)
    }

    /// Returns the last acknowledgement, pending or already sent, and clears it.
    pub const fn take_last(&mut self) -> Option<u32> {
        self.pending = 0;
        self.highest
    }

    /// Returns the highest number that the peer has acknowledged; 0 if none.
    pub const fn highest_acknowledged(&self) -> u32 {
        self.acknowledged
    }

    /// Returns when the pending acknowledgement must be sent without data.
    pub fn due(&self) -> Option<Instant> {
        match self.pending {
            0 => None,
            1 => Some(self.pending_since + DELAY_ONE),
            owed if owed < self.quota => Some(self.pending_since + DELAY_SEVERAL),
            _ => Some(self.pending_since),
        }
    }

    /// Records that data is sent as `seq`, and times it if no other packet is being timed.
    pub const fn sent(&mut self, now: Instant, seq: u32) {
        if self.sample.is_none() {
            self.sample = Some((seq, now));
        }
    }

    /// Processes the peer's acknowledgement of everything up to `ack`; `last` is the last number that we
    /// sent. Returns the round trip if this completes a measurement, or an error if `ack` was never sent.
    pub fn acknowledged(&mut self, now: Instant, ack: u32, last: u32) -> Result<Option<Duration>, ()> {
        if ack.wrapping_sub(last).cast_signed() > 0 {
            return Err(());
        }
        if ack.wrapping_sub(self.acknowledged).cast_signed() <= 0 {
            return Ok(None);
        }
        self.acknowledged = ack;
        match self.sample {
            Some((seq, at)) if ack.wrapping_sub(seq).cast_signed() >= 0 => {
                self.sample = None;
                Ok(Some(now.saturating_duration_since(at)))
            }
            _ => Ok(None),
        }
    }
}
