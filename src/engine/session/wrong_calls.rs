//! Notices a host that tries call ids: GRE packets of the server's address for many calls that are not ours.
//!
//! On Linux the kernel passes one in 64 of them (`net::transport::filter_call_id`). Those of another tunnel to the
//! same server all have one call id, and are no sign of a forger.

use std::time::{Duration, Instant};

/// Different call ids that make a flood, among the packets that were passed on.
const DIFFERENT: usize = 16;

/// The time within which they must come.
const WITHIN: Duration = Duration::from_secs(10);

/// Time from one report to the next.
const SILENCE: Duration = Duration::from_secs(600);

/// Call ids of packets that are not for our call.
#[derive(Debug, Default)]
pub(super) struct WrongCalls {
    seen: Vec<u16>,
    since: Option<Instant>,
    reported: Option<Instant>,
}

impl WrongCalls {
    /// Records a packet for another call. Returns whether to report a flood.
    pub fn record(&mut self, now: Instant, call_id: u16) -> bool {
        if self.since.is_none_or(|since| now.saturating_duration_since(since) > WITHIN) {
            self.since = Some(now);
            self.seen.clear();
        }
        if self.seen.len() < DIFFERENT && !self.seen.contains(&call_id) {
            self.seen.push(call_id);
        }
        let is_due = self.reported.is_none_or(|at| now.saturating_duration_since(at) >= SILENCE);
        let is_flood = self.seen.len() >= DIFFERENT && is_due;
        if is_flood {
            self.reported = Some(now);
        }
        is_flood
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_many_call_ids_in_a_short_time_are_a_flood() {
        let start = Instant::now();
        let mut other_tunnel = WrongCalls::default();
        assert!((0..10_000).all(|_| !other_tunnel.record(start, 7)), "another tunnel to this server");
        let mut slow = WrongCalls::default();
        let mut now = start;
        for call in 0..100 {
            now += Duration::from_secs(2);
            assert!(!slow.record(now, call), "packets of calls that have ended");
        }
        let mut flood = WrongCalls::default();
        let reports = (0..1000).filter(|call| flood.record(start, *call)).count();
        assert_eq!(reports, 1);
        let later = start + SILENCE;
        assert_eq!((0..1000).filter(|call| flood.record(later, *call)).count(), 1);
    }
}
