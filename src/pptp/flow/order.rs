//! Handling of packets that arrive out of order, and of the gaps before them.

use std::time::Instant;

use super::{
    BEFORE_FIRST, DEFAULT_WINDOW, DropReason, Flow, RESTART_SILENCE, STRAYS_TO_RESTART, Stage,
    deliver_counted,
    ring::{Mark, SLOT_SIZE, SLOTS},
};

/// Counts packets outside the expected range, each at most 255 numbers after the one before it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OutlierFilter {
    seq: u32,
    count: u8,
}

impl OutlierFilter {
    pub const fn reset(&mut self) {
        self.count = 0;
    }

    /// Records a stray; returns whether there are enough of them to move the flow to their position.
    const fn record_stray(&mut self, seq: u32) -> bool {
        let further = seq.wrapping_sub(self.seq);
        if self.count == 0 || (further >= SLOTS && further.wrapping_neg() >= SLOTS) {
            *self = Self { seq, count: 1 };
        } else if further != 0 && further < SLOTS {
            *self = Self { seq, count: self.count + 1 };
        }
        self.count >= STRAYS_TO_RESTART
    }
}

impl Flow {
    /// Sets the base from the first packet, `seq`; see the documentation of the module.
    pub(super) fn begin(&mut self, now: Instant, seq: u32) {
        let before = match seq {
            _ if self.hold.is_none() => 0,
            0 | 1 => 0,
            // Every known peer starts at 0 or 1: all earlier packets may still arrive.
            2..SLOTS => seq,
            _ => BEFORE_FIRST,
        };
        let before = self.config.missing_window.map_or(before, |window| before.min(window.saturating_sub(1)));
        self.expected = seq.saturating_sub(before);
        self.end = self.expected;
        self.last = now;
        self.stage = Stage::Fresh;
    }

    pub(super) fn take_out_of_order(
        &mut self,
        now: Instant,
        seq: u32,
        payload: &mut [u8],
        deliver: &mut impl FnMut(&mut [u8]),
    ) -> Result<(), DropReason> {
        let mut ahead = seq.wrapping_sub(self.expected);
        if ahead.cast_signed() < 0 {
            self.check_late(now, seq)?;
            self.restart(seq, deliver);
            ahead = 0;
        } else if ahead >= self.config.missing_window.unwrap_or(DEFAULT_WINDOW) {
            if !self.strays.record_stray(seq) {
                return Err(DropReason::OverWindow);
            }
            self.restart(seq, deliver);
            ahead = 0;
        } else if self.ring.mark(seq) == Mark::Waiting {
            return Err(DropReason::Duplicate);
        }
        if self.hold.is_none() || payload.len() > SLOT_SIZE {
            // The packet must not or cannot be buffered: give up the numbers missing before it.
            self.give_up_to(seq, deliver);
        } else if ahead >= SLOTS {
            // Make room in the ring by giving up the numbers that have been missing longest.
            self.give_up_to(seq.wrapping_sub(SLOTS - 1), deliver);
        }
        self.strays.reset();
        self.last = now;
        self.note_arrival(now, seq);
        self.acks.received(now, self.end.wrapping_sub(1));
        if seq == self.expected {
            self.advance();
            self.ring.set(seq, Mark::Delivered);
            deliver_counted(&mut self.counters, payload, deliver);
            self.deliver_waiting(deliver);
        } else {
            self.ring.put(seq, payload);
            self.counters.rx_buffered += 1;
        }
        Ok(())
    }

    /// Gives up every gap whose wait is over.
    pub(super) fn release(&mut self, now: Instant, deliver: &mut impl FnMut(&mut [u8])) {
        while self.gap_deadline().is_some_and(|deadline| deadline <= now) {
            let mut next = self.expected;
            while next != self.end && self.ring.mark(next) != Mark::Waiting {
                next = next.wrapping_add(1);
            }
            self.give_up_to(next, deliver);
        }
    }

    /// Returns when the wait for the first gap is over.
    pub(super) fn gap_deadline(&self) -> Option<Instant> {
        if self.expected == self.end {
            return None;
        }
        let Mark::Missing { since, advances } = self.ring.mark(self.expected) else { return None };
        let later = self.advances.wrapping_sub(advances);
        let Some(hold) = &self.hold else { return Some(since) };
        // A packet that fills part of the gap restarts the wait: the rest is likely to follow. It may also be
        // that this process was descheduled and now reads the packets queued meanwhile all at once.
        let from = match self.partly_filled {
            Some((gap, at)) if gap == since => at,
            _ => since,
        };
        Some((from + hold.wait(later)).min(since + hold.max()))
    }

    /// Checks a packet behind the delivered ones. Returns why to drop it, or `Ok` if it completes the
    /// evidence that the peer has restarted.
    fn check_late(&mut self, now: Instant, seq: u32) -> Result<(), DropReason> {
        match self.ring.mark(seq) {
            Mark::Delivered => return Err(DropReason::Duplicate),
            Mark::Missing { since, .. } => {
                // The number was given up too early: wait a little longer from now on.
                if let Some(hold) = &mut self.hold {
                    hold.record_late(now.saturating_duration_since(since));
                }
                self.ring.set(seq, Mark::Delivered);
            }
            Mark::Waiting | Mark::Unknown => {}
        }
        let silence = now.saturating_duration_since(self.last);
        if silence < RESTART_SILENCE || !self.strays.record_stray(seq) {
            return Err(DropReason::UnderWindow);
        }
        Ok(())
    }

    /// Moves the flow to `seq`, whatever its position was.
    fn restart(&mut self, seq: u32, deliver: &mut impl FnMut(&mut [u8])) {
        self.give_up_to(self.end, deliver);
        let skipped = seq.wrapping_sub(self.end);
        if skipped < DEFAULT_WINDOW {
            self.counters.rx_lost += u64::from(skipped);
        }
        self.ring.clear();
        self.expected = seq;
        self.end = seq;
        self.counters.rx_restarts += 1;
    }

    /// Advances to `target`: delivers the packets that wait before it, counts the missing ones as lost, and
    /// delivers the packets that wait from there on without a gap.
    fn give_up_to(&mut self, target: u32, deliver: &mut impl FnMut(&mut [u8])) {
        let mut lost = 0;
        while self.expected != target && self.expected != self.end {
            if self.ring.mark(self.expected) == Mark::Waiting {
                self.deliver_waiting_until(target, deliver);
            } else {
                lost += u64::from(self.stage == Stage::Running);
                self.expected = self.expected.wrapping_add(1);
            }
        }
        let beyond = target.wrapping_sub(self.expected);
        if self.expected == self.end && beyond.cast_signed() > 0 {
            lost += if self.stage == Stage::Running { u64::from(beyond) } else { 0 };
            self.expected = target;
            self.end = target;
        }
        self.counters.rx_lost += lost;
        if let Some(hold) = &mut self.hold
            && lost > 0
        {
            hold.record_loss();
        }
        self.deliver_waiting(deliver);
    }

    /// Marks the numbers that `seq` shows to be missing, or records that `seq` itself was missing.
    fn note_arrival(&mut self, now: Instant, seq: u32) {
        if seq.wrapping_sub(self.end).cast_signed() < 0 {
            if let Mark::Missing { since, .. } = self.ring.mark(seq) {
                self.counters.rx_repaired += 1;
                self.partly_filled = Some((since, now));
                if let Some(hold) = &mut self.hold {
                    hold.record_late(now.saturating_duration_since(since));
                }
            }
            return;
        }
        while self.end != seq {
            self.ring.set(self.end, Mark::Missing { since: now, advances: self.advances });
            self.end = self.end.wrapping_add(1);
        }
        self.end = seq.wrapping_add(1);
        self.advances = self.advances.wrapping_add(1);
    }

    fn deliver_waiting(&mut self, deliver: &mut impl FnMut(&mut [u8])) {
        self.deliver_waiting_until(self.end, deliver);
    }

    fn deliver_waiting_until(&mut self, target: u32, deliver: &mut impl FnMut(&mut [u8])) {
        while self.expected != self.end && self.expected != target {
            let counters = &mut self.counters;
            if !self.ring.take(self.expected, |payload| deliver_counted(counters, payload, deliver)) {
                break;
            }
            self.advance();
        }
    }

    /// Advances past the number that is being delivered.
    const fn advance(&mut self) {
        self.expected = self.expected.wrapping_add(1);
        self.stage = Stage::Running;
    }
}
