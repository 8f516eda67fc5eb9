//! The next timeout of a state machine: when, and which timer.
//!
//! Every module may import this file; it imports none.

use std::time::Instant;

/// When a timer expires, and its name.
pub type Deadline = (Instant, &'static str);

/// Returns the earliest deadline; of several at the same time, the first.
pub fn earliest(deadlines: impl IntoIterator<Item = Option<Deadline>>) -> Option<Deadline> {
    deadlines.into_iter().flatten().min_by_key(|(at, _)| *at)
}

/// Timer of the acknowledgement of received packets.
pub const ACKNOWLEDGEMENT: &str = "acknowledgement";
/// Timer of the packets that wait for an earlier one.
pub const REORDERING: &str = "reordering";
/// Timers of the data path, which expire up to fifty times a second while packets pass.
const DATA_TIMERS: [&str; 2] = [ACKNOWLEDGEMENT, REORDERING];

/// Returns whether a deadline has come. Logs which timer it is, the reason why the process woke, unless it is one of
/// [`DATA_TIMERS`].
pub fn log_due(deadline: Option<Deadline>, now: Instant) -> bool {
    let due = deadline.filter(|(at, _)| *at <= now);
    if let Some((_, timer)) = due.filter(|(_, timer)| !DATA_TIMERS.contains(timer)) {
        tracing::debug!("timer: {timer}");
    }
    due.is_some()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn earliest_of_equal_deadlines_is_the_first() {
        let now = Instant::now();
        let later = Some((now + Duration::from_secs(1), "later"));
        assert_eq!(earliest([None, later, Some((now, "a")), Some((now, "b"))]), Some((now, "a")));
        assert_eq!(earliest([None, None]), None);
        assert!(log_due(Some((now, "a")), now) && !log_due(later, now) && !log_due(None, now));
    }
}
