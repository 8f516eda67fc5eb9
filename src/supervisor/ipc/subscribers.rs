//! The subscribers of a supervisor's events.
//!
//! Nothing is kept for them: a line that does not fit into the socket's buffer ends the subscription, so that a
//! subscriber that does not read costs no memory and delays nothing.

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use nix::sys::socket::{setsockopt, sockopt};

use super::{
    events::{Event, EventLine, PROTOCOL},
    messages::{Response, Status},
};
use crate::deadline::{Deadline, earliest};

/// Maximum number of subscribers. One more is refused.
const MOST: usize = 8;

/// Seconds from one `statistics` to the next, if the subscriber names none, and the longest interval.
pub const DEFAULT_INTERVAL: u32 = 10;
const LONGEST_INTERVAL: u32 = 3600;

/// Size of a subscriber's socket buffer in bytes: some seconds of lines.
const BUFFER: usize = 64 * 1024;

/// All subscribers of one tunnel.
#[derive(Debug)]
pub struct Subscribers {
    name: String,
    all: Vec<Subscriber>,
    /// The warnings of the last status.
    warned: Vec<String>,
}

#[derive(Debug)]
struct Subscriber {
    stream: UnixStream,
    interval: Duration,
    /// When its next `statistics` is due; `None` while the engine is asked for its counters.
    due: Option<Instant>,
}

impl Subscribers {
    /// Returns the subscribers of this profile's tunnel: none.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), all: Vec::new(), warned: Vec::new() }
    }

    /// Adds a subscriber, whose first `statistics` is due at once.
    pub fn add(&mut self, stream: UnixStream, interval: Option<u32>, now: Instant) {
        if self.all.len() >= MOST {
            self.all.retain_mut(Subscriber::is_connected);
        }
        let seconds = interval.unwrap_or(DEFAULT_INTERVAL).clamp(1, LONGEST_INTERVAL);
        // Without it the kernel's default remains, which is smaller on some systems.
        let _smaller = setsockopt(&stream, sockopt::SndBuf, &BUFFER);
        let mut subscriber =
            Subscriber { stream, interval: Duration::from_secs(seconds.into()), due: Some(now) };
        if subscriber.stream.set_nonblocking(true).is_err() {
            return;
        }
        if self.all.len() >= MOST {
            let refused = Response::Refused(format!("there are {MOST} subscribers already"));
            let _gone = serde_json::to_string(&refused).is_ok_and(|line| subscriber.send(&line));
            return;
        }
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let hello = Event::Subscribed { protocol: PROTOCOL, version, interval: seconds.into() };
        if self.line(hello).is_some_and(|line| subscriber.send(&line)) {
            self.all.push(subscriber);
        }
    }

    /// Returns when [`Subscribers::take_due`] is due, and why.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Deadline> {
        earliest(self.all.iter().map(|one| Some((one.due?, "statistics for a subscriber"))))
    }

    /// Returns whether a subscriber waits for `statistics` now; [`Subscribers::status`] has to follow.
    pub fn take_due(&mut self, now: Instant) -> bool {
        let due = self.all.iter_mut().filter_map(|one| one.due.take_if(|due| *due <= now));
        due.count() > 0
    }

    /// Sends an event to all.
    pub fn publish(&mut self, event: impl FnOnce() -> Event) {
        if !self.all.is_empty()
            && let Some(line) = self.line(event())
        {
            self.all.retain_mut(|one| one.send(&line));
        }
    }

    /// Sends the status to those that wait for it, and its new warnings to all.
    pub fn status(&mut self, status: &Status, now: Instant) {
        if self.all.is_empty() {
            // The next subscriber gets all of them.
            self.warned.clear();
            return;
        }
        let fresh: Vec<_> = status.warnings.iter().filter(|text| !self.warned.contains(text)).collect();
        for text in fresh {
            self.publish(|| Event::Warning { text: text.clone() });
        }
        self.warned.clone_from(&status.warnings);
        if self.all.iter().all(|one| one.due.is_some()) {
            return;
        }
        let Some(line) = self.line(Event::Statistics { status: Box::new(status.clone()) }) else { return };
        self.all.retain_mut(|one| {
            if one.due.is_some() {
                return true;
            }
            one.due = now.checked_add(one.interval);
            one.send(&line)
        });
    }

    fn line(&self, event: Event) -> Option<String> {
        serde_json::to_string(&EventLine::now(&self.name, event)).ok()
    }
}

impl Subscriber {
    /// Sends a line whole; returns whether it could.
    fn send(&mut self, line: &str) -> bool {
        let line = format!("{line}\n");
        let sent = self.stream.write(line.as_bytes());
        let is_whole = sent.as_ref().is_ok_and(|size| *size == line.len());
        if !is_whole {
            tracing::debug!(?sent, "a subscriber has gone, or does not read its events");
        }
        is_whole
    }

    /// Returns whether the subscriber is there. One that sends something is not kept.
    fn is_connected(&mut self) -> bool {
        let received = self.stream.read(&mut [0; 1]);
        received.is_err_and(|error| {
            matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};

    use super::*;

    fn subscribe(all: &mut Subscribers, interval: Option<u32>, now: Instant) -> BufReader<UnixStream> {
        let (ours, theirs) = UnixStream::pair().unwrap();
        all.add(ours, interval, now);
        BufReader::new(theirs)
    }

    fn next(reader: &mut BufReader<UnixStream>) -> String {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        match serde_json::from_str::<EventLine>(&line) {
            Ok(line) => serde_json::to_value(line.event).unwrap()["event"].as_str().unwrap().to_owned(),
            Err(_) => line,
        }
    }

    fn note() -> Event {
        Event::Note { text: "x".repeat(500) }
    }

    #[test]
    fn statistics_come_at_each_subscribers_interval() {
        let now = Instant::now();
        let mut all = Subscribers::new("vpn");
        assert_eq!(all.next_timeout(), None);
        let mut often = subscribe(&mut all, Some(1), now);
        let mut seldom = subscribe(&mut all, None, now);
        assert!(all.take_due(now) && !all.take_due(now), "asked for once");
        let warned = Status { warnings: vec!["a warning".into()], ..Status::default() };
        all.status(&warned, now);
        for reader in [&mut often, &mut seldom] {
            assert_eq!([next(reader), next(reader), next(reader)], ["subscribed", "warning", "statistics"]);
        }
        let later = now + Duration::from_secs(1);
        assert_eq!(all.next_timeout().map(|(at, _)| at), Some(later));
        assert!(all.take_due(later));
        all.status(&warned, later);
        all.publish(note);
        assert_eq!([next(&mut often), next(&mut often)], ["statistics", "note"]);
        assert_eq!(next(&mut seldom), "note", "not due, and the warning is not new");
    }

    #[test]
    fn subscriber_that_does_not_read_is_dropped() {
        let now = Instant::now();
        let mut all = Subscribers::new("vpn");
        let mut silent = subscribe(&mut all, None, now);
        let mut sent = 0;
        while !all.all.is_empty() {
            all.publish(note);
            sent += 1;
            assert!(sent < 10_000, "it is kept");
        }
        // What it had been sent is there, and then the end.
        let mut lines = 0;
        while !next(&mut silent).is_empty() {
            lines += 1;
            assert!(lines <= sent + 1);
        }
        assert!(lines > 10, "{lines}");
    }

    #[test]
    fn number_of_subscribers_is_limited() {
        let now = Instant::now();
        let mut all = Subscribers::new("vpn");
        let mut readers: Vec<_> = (0..MOST).map(|_| subscribe(&mut all, None, now)).collect();
        assert!(next(&mut subscribe(&mut all, None, now)).contains("refused"));
        // One that has gone makes room without an event.
        readers.pop();
        assert_eq!(next(&mut subscribe(&mut all, None, now)), "subscribed");
        assert_eq!(all.all.len(), MOST);
    }
}
