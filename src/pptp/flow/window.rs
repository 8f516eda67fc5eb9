//! The peer's receive window: how many packets may be sent that it has not acknowledged (RFC 2637 §4.2).
//!
//! No client or server in use obeys it, and many peers acknowledge nothing but on packets of their own, so it is off unless
//! the profile asks for it. It never stalls: a wait for an acknowledgement ends after the adaptive time-out (§4.4); the
//! packets sent by then count as received or lost, and the window is not obeyed for a while, at first 100 ms, then twice
//! as long each time. An acknowledgement that opens a full window proves that the peer sends them, and makes the next
//! such while short again.

use std::time::{Duration, Instant};

/// Bounds of the wait for an acknowledgement, and the wait before a round trip was measured. A peer that delays the
/// acknowledgement of a single packet sends it at once when its window is full.
const WAIT_MIN: Duration = Duration::from_millis(20);
const WAIT_MAX: Duration = Duration::from_millis(500);
const WAIT_FIRST: Duration = Duration::from_millis(100);
/// How long the window is not obeyed after a wait without an acknowledgement: at first, and at most.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Window {
    /// Packets that the peer buffers, at least one.
    size: u32,
    /// Packets up to this number have been acknowledged or given up.
    base: u32,
    /// The last number sent.
    sent: u32,
    /// When the window was found full.
    full_since: Option<Instant>,
    /// The window is not obeyed until then.
    paused: Option<Instant>,
    /// The length of the next pause.
    pause: Duration,
    /// Smoothed round trip and its mean deviation (RFC 2637 §4.4, RFC 6298).
    round_trip: Option<(Duration, Duration)>,
}

impl Window {
    pub fn new(size: u16) -> Self {
        Self {
            size: u32::from(size.max(1)),
            base: 0,
            sent: 0,
            full_since: None,
            paused: None,
            pause: PAUSE_FIRST,
            round_trip: None,
        }
    }

    /// Returns whether a packet may be sent now.
    pub const fn is_open(&self) -> bool {
        self.paused.is_some() || self.outstanding() < self.size
    }

    /// Records that a packet was sent.
    pub fn record_sent(&mut self, now: Instant, seq: u32) {
        if self.paused.is_some_and(|until| until <= now) {
            self.paused = None;
            self.base = self.sent;
        }
        self.sent = seq;
        if !self.is_open() {
            self.full_since.get_or_insert(now);
        }
    }

    /// Records an acknowledgement of all packets up to `ack`, which were sent, and the round trip that it measured.
    pub fn record_ack(&mut self, now: Instant, ack: u32, round_trip: Option<Duration>) {
        if let Some(sample) = round_trip {
            self.round_trip = Some(match self.round_trip {
                None => (sample, sample / 2),
                Some((smoothed, deviation)) => {
                    let error = sample.abs_diff(smoothed);
                    (smoothed * 7 / 8 + sample / 8, deviation * 3 / 4 + error / 4)
                }
            });
        }
        if ack.wrapping_sub(self.base).cast_signed() <= 0 {
            return;
        }
        self.base = ack;
        if self.full_since.is_some() {
            self.pause = PAUSE_FIRST;
            self.full_since = (!self.is_open()).then_some(now);
        }
    }

    /// Returns when [`Self::handle_timeout`] is due.
    pub fn next_timeout(&self) -> Option<Instant> {
        // The end of a pause needs no timer: nothing waits for it.
        self.full_since.map(|since| since + self.wait())
    }

    /// Opens a window that has been full for too long.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.paused.is_some_and(|until| until <= now) {
            self.paused = None;
            self.base = self.sent;
        }
        if self.next_timeout().is_some_and(|at| at <= now) {
            self.full_since = None;
            self.paused = Some(now + self.pause);
            self.pause = (self.pause * 2).min(PAUSE_MAX);
        }
    }

    const fn outstanding(&self) -> u32 {
        self.sent.wrapping_sub(self.base)
    }

    fn wait(&self) -> Duration {
        let measured = self.round_trip.map(|(smoothed, deviation)| smoothed + deviation * 4);
        measured.map_or(WAIT_FIRST, |wait| wait.clamp(WAIT_MIN, WAIT_MAX))
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn wait_follows_the_round_trip() {
        let mut window = Window::new(3);
        let now = Instant::now();
        let mut acknowledge = |seqs: std::ops::Range<u32>, round_trip| {
            for seq in seqs {
                window.record_sent(now, seq);
                window.record_ack(now, seq, Some(round_trip));
            }
            window.wait().as_millis()
        };
        // The smoothed round trip and four times its deviation (RFC 6298 §2), which passes.
        assert_eq!(acknowledge(1..2, 100 * MS), 300);
        assert_eq!(acknowledge(2..60, 100 * MS), 100);
        // 93.75 ms, and a deviation of 12.5 ms.
        assert_eq!(acknowledge(60..61, 50 * MS), 143);
        // 88.28 ms, and a deviation of 9.375 + 10.9375 ms.
        assert_eq!(acknowledge(61..62, 50 * MS), 169);
    }

    /// Sends for `length` as fast as the window permits, at most one packet in each `step`; the peer acknowledges each packet
    /// for which `acks` holds, with its number, after `delay`. Returns the packets sent, the time in which none could be
    /// sent, and the largest number of packets that were not acknowledged.
    fn send(
        size: u16,
        (length, step): (Duration, Duration),
        delay: Duration,
        acks: impl Fn(u32) -> bool,
    ) -> (u32, Duration, u32) {
        let start = Instant::now();
        let (mut window, mut seq, mut highest_acked) = (Window::new(size), 0_u32, 0);
        let (mut closed, mut most) = (Duration::ZERO, 0);
        let mut under_way = std::collections::VecDeque::new();
        let mut now = start;
        while now < start + length {
            while let Some((at, ack)) = under_way.front().copied()
                && at <= now
            {
                under_way.pop_front();
                window.record_ack(now, ack, Some(delay));
                highest_acked = ack;
            }
            window.handle_timeout(now);
            assert!(window.next_timeout().is_none_or(|at| at > now), "a timer stays due");
            if window.is_open() {
                seq += 1;
                window.record_sent(now, seq);
                most = most.max(seq - highest_acked);
                if acks(seq) {
                    under_way.push_back((now + delay, seq));
                }
            } else {
                closed += step;
                assert!(window.next_timeout().is_some(), "a full window without a timer");
            }
            now += step;
        }
        (seq, closed, most)
    }

    #[test]
    fn window_of_a_peer_that_acknowledges_is_never_exceeded() {
        for size in [1, 3, 16, 64, 1000] {
            let (sent, _, most) = send(size, (5000 * MS, MS / 10), 5 * MS, |_| true);
            assert!(most <= u32::from(size), "{most} of {size}");
            // One window for each round trip, or one packet for each step.
            let expected = (1000 * u32::from(size)).min(50_000);
            assert!(sent >= expected * 9 / 10, "{sent} with {size}");
        }
    }

    #[test]
    fn peer_that_never_acknowledges_costs_little() {
        for size in [1, 3, 64] {
            let (sent, closed, _) = send(size, (600_000 * MS, MS), MS, |_| false);
            assert!(closed < 2000 * MS, "{closed:?}");
            assert!(sent > 598_000);
            let (_, closed, _) = send(size, (10_000 * MS, MS), MS, |_| false);
            assert!(closed < 900 * MS, "{closed:?}");
        }
    }

    /// As a peer that acknowledges only on its own packets: an LCP echo every 15 s.
    #[test]
    fn peer_that_acknowledges_now_and_then_costs_little() {
        let (sent, closed, _) = send(16, (600_000 * MS, MS), 20 * MS, |seq| seq.is_multiple_of(15_000));
        assert!(closed < 2000 * MS, "{closed:?}");
        assert!(sent > 598_000);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever the peer acknowledges, and however late: the window is not closed for longer than the wait at a time,
        /// and a timer opens it.
        #[test]
        fn window_opens_in_time(
            size in 0_u16..200,
            events in vec((prop_oneof![0_u64..200, 500_u64..600], 0_u32..300, any::<bool>()), 1..200),
            start in any::<u32>(),
        ) {
            let mut now = Instant::now();
            let mut window = Window::new(size);
            (window.sent, window.base) = (start, start);
            for (millis, back, acks) in events {
                let closed = (!window.is_open()).then_some(now);
                let passed = Duration::from_millis(millis);
                now += passed;
                window.handle_timeout(now);
                if closed.is_some() && passed >= WAIT_MAX {
                    prop_assert!(window.is_open());
                }
                prop_assert!(window.next_timeout().is_none_or(|at| at > now));
                if acks {
                    let ack = window.sent.wrapping_sub(back);
                    window.record_ack(now, ack, back.is_multiple_of(2).then_some(passed));
                } else if window.is_open() {
                    window.record_sent(now, window.sent.wrapping_add(1));
                }
                prop_assert_eq!(window.is_open(), window.next_timeout().is_none() || window.paused.is_some());
                prop_assert!(window.pause <= PAUSE_MAX && window.wait() <= WAIT_MAX);
            }
        }
    }
}
