//! What happens to a packet that is not the next one, and to the gap in front of it.

use std::time::Instant;

use super::{
    BEFORE_FIRST, BELIEVABLE, CONVINCING, DropReason, Flow, RESTART_SILENCE, Stage, hand_over,
    ring::{Mark, SLOT_SIZE, SLOTS},
};

/// Packets that are not where we are, each near the one before it and behind it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OutlierFilter {
    seq: u32,
    count: u8,
}

impl OutlierFilter {
    pub const fn forget(&mut self) {
        self.count = 0;
    }

    /// One more; whether they convince us now that the peer is there.
    const fn convince(&mut self, seq: u32) -> bool {
        let further = seq.wrapping_sub(self.seq);
        if self.count == 0 || (further >= SLOTS && further.wrapping_neg() >= SLOTS) {
            *self = Self { seq, count: 1 };
        } else if further != 0 && further < SLOTS {
            *self = Self { seq, count: self.count + 1 };
        }
        self.count >= CONVINCING
    }
}

impl Flow {
    /// The first packet is `seq`: see the module's words on the base.
    pub(super) fn begin(&mut self, now: Instant, seq: u32) {
        let before = match seq {
            _ if self.hold.is_none() => 0,
            0 | 1 => 0,
            // Every peer known begins at 0 or 1: all that is in front of it may yet come.
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
        } else if ahead >= self.config.missing_window.unwrap_or(BELIEVABLE) {
            if !self.strays.convince(seq) {
                return Err(DropReason::OverWindow);
            }
            self.restart(seq, deliver);
            ahead = 0;
        } else if self.ring.mark(seq) == Mark::Waiting {
            return Err(DropReason::Duplicate);
        }
        if self.hold.is_none() || payload.len() > SLOT_SIZE {
            // It does not wait, or cannot: what is missing in front of it is given up instead.
            self.give_up_to(seq, deliver);
        } else if ahead >= SLOTS {
            // Room for it in the ring, at the cost of what has been missing longest.
            self.give_up_to(seq.wrapping_sub(SLOTS - 1), deliver);
        }
        self.strays.forget();
        self.last = now;
        self.note_arrival(now, seq);
        self.acks.received(now, self.end.wrapping_sub(1));
        if seq == self.expected {
            self.step();
            self.ring.set(seq, Mark::Delivered);
            hand_over(&mut self.counters, payload, deliver);
            self.deliver_waiting(deliver);
        } else {
            self.ring.put(seq, payload);
            self.counters.rx_buffered += 1;
        }
        Ok(())
    }

    /// Gives up every gap that has held up what follows it for long enough.
    pub(super) fn release(&mut self, now: Instant, deliver: &mut impl FnMut(&mut [u8])) {
        while self.gap_deadline().is_some_and(|deadline| deadline <= now) {
            let mut next = self.expected;
            while next != self.end && self.ring.mark(next) != Mark::Waiting {
                next = next.wrapping_add(1);
            }
            self.give_up_to(next, deliver);
        }
    }

    /// When the first gap has held up what follows it for long enough.
    pub(super) fn gap_deadline(&self) -> Option<Instant> {
        if self.expected == self.end {
            return None;
        }
        let Mark::Missing { since, advances } = self.ring.mark(self.expected) else { return None };
        let later = self.advances.wrapping_sub(advances);
        let Some(hold) = &self.hold else { return Some(since) };
        // A gap of which a part has come lately is being filled. Whoever receives may also have been away from the
        // processor for a while, and finds what came meanwhile all at once.
        let from = match self.filled {
            Some((gap, at)) if gap == since => at,
            _ => since,
        };
        Some((from + hold.wait(later)).min(since + hold.max()))
    }

    /// A packet behind what was delivered: dropped by its name, unless it is the one that convinces us that
    /// the peer has begun anew.
    fn check_late(&mut self, now: Instant, seq: u32) -> Result<(), DropReason> {
        match self.ring.mark(seq) {
            Mark::Delivered => return Err(DropReason::Duplicate),
            Mark::Missing { since, .. } => {
                // Given up too early: a little more patience from now on.
                if let Some(hold) = &mut self.hold {
                    hold.came(now.saturating_duration_since(since));
                }
                self.ring.set(seq, Mark::Delivered);
            }
            Mark::Waiting | Mark::Unknown => {}
        }
        let silence = now.saturating_duration_since(self.last);
        if silence < RESTART_SILENCE || !self.strays.convince(seq) {
            return Err(DropReason::UnderWindow);
        }
        Ok(())
    }

    /// The peer is at `seq` now, wherever we were.
    fn restart(&mut self, seq: u32, deliver: &mut impl FnMut(&mut [u8])) {
        self.give_up_to(self.end, deliver);
        let skipped = seq.wrapping_sub(self.end);
        if skipped < BELIEVABLE {
            self.counters.rx_lost += u64::from(skipped);
        }
        self.ring.clear();
        self.expected = seq;
        self.end = seq;
        self.counters.rx_restarts += 1;
    }

    /// Moves on to `target`: what waits before it is delivered, what is missing before it is lost, and what
    /// waits from there on without a gap is delivered too.
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
            hold.lost();
        }
        self.deliver_waiting(deliver);
    }

    /// Notes which numbers `seq` shows to be missing; or that it was itself missing.
    fn note_arrival(&mut self, now: Instant, seq: u32) {
        if seq.wrapping_sub(self.end).cast_signed() < 0 {
            if let Mark::Missing { since, .. } = self.ring.mark(seq) {
                self.counters.rx_repaired += 1;
                self.filled = Some((since, now));
                if let Some(hold) = &mut self.hold {
                    hold.came(now.saturating_duration_since(since));
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
            if !self.ring.take(self.expected, |payload| hand_over(counters, payload, deliver)) {
                break;
            }
            self.step();
        }
    }

    /// The next number has been delivered.
    const fn step(&mut self) {
        self.expected = self.expected.wrapping_add(1);
        self.stage = Stage::Running;
    }
}
