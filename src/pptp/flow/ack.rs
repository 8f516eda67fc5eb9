//! Acknowledgements: what we owe the peer, and what the peer's tell us (RFC 2637 §4.3, §4.4).
//!
//! Data that goes out always carries what is owed. A lone acknowledgement goes at once when a quarter of the
//! window that we offered (at least two packets, as pptp(8) does) waits for it, so that a peer which counts
//! its window never stands still; after 20 ms for two packets or more; after 500 ms for one, which most often
//! finds data to ride on.
//!
//! The peer's acknowledgements measure the round trip and nothing else: like every client in use we do not
//! hold back data for the peer's window, for whoever waits for the acknowledgement of a packet that was lost
//! waits for nothing.

use std::time::{Duration, Instant};

const DELAY_ONE: Duration = Duration::from_millis(500);
const DELAY_SEVERAL: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(super) struct Acks {
    /// Packets after which an acknowledgement cannot wait.
    quota: u32,
    /// Packets received since the last acknowledgement, and when the first of them was.
    owed: u32,
    owed_since: Instant,
    /// The highest number received.
    highest: Option<u32>,
    /// The packet by which the round trip is being measured.
    sample: Option<(u32, Instant)>,
    /// The highest number acknowledged by the peer.
    acknowledged: u32,
}

impl Acks {
    pub fn new(window: u16, now: Instant) -> Self {
        Self {
            quota: u32::from(window / 4).max(2),
            owed: 0,
            owed_since: now,
            highest: None,
            sample: None,
            acknowledged: 0,
        }
    }

    /// A packet has been taken, `highest` being the highest number so far.
    pub const fn received(&mut self, now: Instant, highest: u32) {
        if self.owed == 0 {
            self.owed_since = now;
        }
        self.owed = self.owed.saturating_add(1);
        self.highest = Some(highest);
    }

    /// What is owed, on its way out.
    pub fn take(&mut self) -> Option<u32> {
        let owed = self.highest.filter(|_| self.owed > 0)?;
        self.owed = 0;
        Some(owed)
    }

    /// When what is owed must go alone.
    pub fn due(&self) -> Option<Instant> {
        match self.owed {
            0 => None,
            1 => Some(self.owed_since + DELAY_ONE),
            owed if owed < self.quota => Some(self.owed_since + DELAY_SEVERAL),
            _ => Some(self.owed_since),
        }
    }

    /// Data goes out as `seq`.
    pub const fn sent(&mut self, now: Instant, seq: u32) {
        if self.sample.is_none() {
            self.sample = Some((seq, now));
        }
    }

    /// The peer acknowledges everything up to `ack`, `last` being the last that we sent: the round trip if
    /// this completes a measurement, or an error if we never sent that.
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
