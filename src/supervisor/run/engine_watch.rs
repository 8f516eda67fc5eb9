//! Watches whether the engine runs: an engine that was stopped or hangs answers no question, and one that does not
//! get on with the dial exceeds the limits of all its phases. No I/O.

use std::time::{Duration, Instant};

use crate::profile::Timeouts;

/// Interval between two questions to the engine of a tunnel that is up. Each costs three wake-ups: the supervisor
/// asks, the engine answers, the supervisor reads.
pub(super) const WHILE_UP: Duration = Duration::from_secs(45);

/// Interval between two questions during a dial.
const WHILE_DIALING: Duration = Duration::from_secs(5);

/// How long the engine may take to answer.
const ANSWER: Duration = Duration::from_secs(15);

/// A deadline that is noticed this much later means that this process, and perhaps the engine, was stopped
/// meanwhile: the wait for the answer begins again.
const OVERSLEPT: Duration = Duration::from_secs(5);

/// How much longer than the sum of the phases' limits a dial may take.
const MARGIN: Duration = Duration::from_secs(30);

/// Returns how long a dial may take with these limits of its phases.
pub(super) fn dial_limit(timeouts: &Timeouts) -> Duration {
    let Timeouts { connect, control, call, gre, lcp, auth, network, .. } = timeouts;
    [*connect, *control, *call, *gre, *lcp, *auth, *network, MARGIN].into_iter().sum()
}

/// Returns the warning of the status about an engine that has owed an answer for this long.
pub(super) fn warning(silent: Duration) -> String {
    format!(
        "the engine process has not answered for {} s (stopped, or hanging): if it does not within {} s, it is killed \
         and the tunnel is dialled again",
        silent.as_secs(),
        ANSWER.as_secs()
    )
}

/// What an engine needs at a time.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// A question.
    Question,
    /// Its end, for this reason.
    End(String),
}

/// The questions to one engine.
#[derive(Debug)]
pub(super) struct EngineWatch {
    /// When to ask; when the answer is overdue while `asked` is set.
    next: Instant,
    /// When the question was sent that is not answered yet.
    asked: Option<Instant>,
    /// When the dial must have ended, and its limit; `None` once the link is up.
    dial_end: Option<(Instant, Duration)>,
}

impl EngineWatch {
    /// Begins to watch an engine that starts a dial, which may take until `limit`.
    pub(super) fn new(limit: Duration, now: Instant) -> Self {
        Self { next: now + WHILE_DIALING, asked: None, dial_end: Some((now + limit, limit)) }
    }

    /// Records that the link is up.
    pub(super) fn is_up(&mut self) {
        self.dial_end = None;
    }

    /// Records a message of the engine, each of which shows that it runs.
    pub(super) fn received(&mut self, now: Instant) {
        self.asked = None;
        self.next = now + if self.dial_end.is_some() { WHILE_DIALING } else { WHILE_UP };
    }

    /// Records that a question of another kind has had no answer so far.
    pub(super) fn unanswered(&mut self, now: Instant) {
        if self.asked.is_none() {
            self.ask(now);
        }
    }

    fn ask(&mut self, now: Instant) {
        self.asked = Some(now);
        self.next = now + ANSWER;
    }

    /// Returns for how long the engine has owed an answer.
    pub(super) fn silent_for(&self, now: Instant) -> Option<Duration> {
        self.asked.map(|asked| now.saturating_duration_since(asked))
    }

    /// Returns when [`EngineWatch::expired`] is due, and why.
    pub(super) fn next_timeout(&self) -> (Instant, &'static str) {
        let reason = if self.asked.is_some() { "the engine's answer" } else { "a question to the engine" };
        match self.dial_end {
            Some((end, _)) if end < self.next => (end, "time limit of the dial"),
            _ => (self.next, reason),
        }
    }

    /// Returns what the engine needs now.
    pub(super) fn expired(&mut self, now: Instant) -> Option<Due> {
        if let Some((_, limit)) = self.dial_end.filter(|(end, _)| *end <= now) {
            let limit = limit.as_secs();
            return Some(Due::End(format!("the engine has reported no result of the dial for {limit} s")));
        }
        if self.next > now {
            return None;
        }
        let overslept = now.saturating_duration_since(self.next) > OVERSLEPT;
        match self.asked {
            Some(asked) if !overslept => {
                let silent = now.saturating_duration_since(asked).as_secs();
                Some(Due::End(format!(
                    "the engine process has not answered for {silent} s: it was stopped, or it hangs"
                )))
            }
            _ => {
                self.ask(now);
                Some(Due::Question)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(180);

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    fn watch(now: Instant) -> EngineWatch {
        EngineWatch::new(LIMIT, now)
    }

    /// Runs a watch until its engine ends, answering each question while `answers` returns true; returns the number
    /// of questions and when the engine was ended.
    fn ended(
        watch: &mut EngineWatch,
        start: Instant,
        limit: Duration,
        answers: impl Fn(Duration) -> bool,
    ) -> (u32, Option<(Duration, String)>) {
        let mut asked = 0;
        loop {
            let (at, _) = watch.next_timeout();
            if at - start > limit {
                return (asked, None);
            }
            match watch.expired(at) {
                Some(Due::End(why)) => return (asked, Some((at - start, why))),
                Some(Due::Question) => {
                    asked += 1;
                    if answers(at - start) {
                        watch.received(at);
                    }
                }
                None => {}
            }
        }
    }

    #[test]
    fn wakes_at_most_four_times_a_minute_while_up() {
        let now = Instant::now();
        let mut watch = watch(now);
        watch.is_up();
        watch.received(now);
        let (asked, end) = ended(&mut watch, now, seconds(3600), |_| true);
        assert_eq!(end, None);
        // A question, an answer, and the supervisor that reads it.
        assert!(asked * 3 <= 4 * 60, "{asked} questions an hour");
    }

    #[test]
    fn stopped_engine_ends_within_a_minute() {
        let now = Instant::now();
        let mut watch = watch(now);
        watch.is_up();
        watch.received(now);
        let (_, end) = ended(&mut watch, now, seconds(3600), |at| at < seconds(100));
        let (at, why) = end.unwrap();
        assert!(at >= seconds(100) && at <= seconds(100) + WHILE_UP + ANSWER, "{at:?}");
        assert!(why.contains("has not answered for 15 s"), "{why}");
    }

    #[test]
    fn unanswered_status_shortens_the_wait() {
        let now = Instant::now();
        let mut watch = watch(now);
        watch.is_up();
        watch.received(now);
        watch.unanswered(now + seconds(1));
        watch.unanswered(now + seconds(3));
        assert_eq!(watch.silent_for(now + seconds(3)), Some(seconds(2)));
        assert_eq!(watch.next_timeout().0, now + seconds(1) + ANSWER);
        watch.received(now + seconds(4));
        assert_eq!(watch.silent_for(now + seconds(5)), None);
    }

    #[test]
    fn silent_engine_ends_during_the_dial() {
        let now = Instant::now();
        let (_, end) = ended(&mut watch(now), now, seconds(3600), |_| false);
        assert_eq!(end.unwrap().0, WHILE_DIALING + ANSWER);
    }

    #[test]
    fn answering_engine_ends_when_the_dial_takes_too_long() {
        let now = Instant::now();
        let (_, end) = ended(&mut watch(now), now, seconds(3600), |_| true);
        let (at, why) = end.unwrap();
        assert_eq!(at, LIMIT);
        assert!(why.contains("no result of the dial"), "{why}");
    }

    #[test]
    fn engine_may_answer_after_both_processes_were_stopped() {
        let now = Instant::now();
        let mut watch = watch(now);
        watch.is_up();
        watch.received(now);
        assert_eq!(watch.expired(now + WHILE_UP), Some(Due::Question));
        let later = now + seconds(1000);
        assert_eq!(watch.expired(later), Some(Due::Question));
        assert!(matches!(watch.expired(later + ANSWER), Some(Due::End(_))));
    }
}
