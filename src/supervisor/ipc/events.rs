//! The events that a subscriber on the control socket receives, one line of JSON each. `docs/CONTROL.md` describes them.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::{carrier::Carrier, messages::Status, progress::Progress};
use crate::failure::{Failure, Phase};

/// Version of the protocol. A change that is no addition increments it.
pub const PROTOCOL: u32 = 1;

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventLine {
    /// When it occurred, in milliseconds since 1970.
    pub time_ms: u64,
    /// Name of the profile.
    pub name: String,
    /// The event.
    #[serde(flatten)]
    pub event: Event,
}

/// An event of a tunnel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum Event {
    /// The first line of a subscription.
    Subscribed {
        /// [`PROTOCOL`].
        protocol: u32,
        /// Version of the supervisor's program.
        version: String,
        /// Seconds from one `statistics` to the next.
        interval: u64,
    },
    /// A phase of an attempt has begun.
    Phase {
        /// The phase that begins.
        phase: Phase,
        /// Result of the previous phase; may be empty.
        detail: String,
    },
    /// Something that the user should know; the attempt continues.
    Note {
        /// One sentence.
        text: String,
    },
    /// A warning that the status has and had not before.
    Warning {
        /// One sentence.
        text: String,
    },
    /// The tunnel carries packets for the first time.
    Up(Carrier),
    /// The tunnel was lost, and carries packets again.
    Reconnected {
        /// Its device and addresses, which may be others than before.
        #[serde(flatten)]
        carrier: Carrier,
        /// How often it has come up again.
        reconnects: u64,
    },
    /// An attempt has failed, or the tunnel was lost.
    Failure {
        /// The cause.
        failure: Failure,
    },
    /// The supervisor waits for the next attempt.
    Waiting {
        /// The wait in milliseconds; absent for the wait for a network.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        wait_ms: Option<u64>,
    },
    /// The status with the engine's counters.
    Statistics {
        /// As `status --json` prints it.
        status: Box<Status>,
    },
    /// The tunnel has ended; the last line.
    Down {
        /// Why, unless the user has ended it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<Failure>,
        /// What could not be undone, one sentence each.
        problems: Vec<String>,
    },
}

impl EventLine {
    /// Returns the line of an event that has just occurred.
    #[must_use]
    pub fn now(name: &str, event: Event) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let time_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        Self { time_ms, name: name.to_owned(), event }
    }
}

impl Event {
    /// Returns the event that a progress report of `up` is.
    #[must_use]
    pub fn of(progress: &Progress) -> Vec<Self> {
        match progress.clone() {
            Progress::Phase { phase, detail, .. } => vec![Self::Phase { phase, detail }],
            Progress::Note(text) => vec![Self::Note { text }],
            Progress::Attempt(failure) => vec![Self::Failure { failure }],
            Progress::Trying { failure, wait_ms } => {
                let failed = failure.map(|failure| Self::Failure { failure });
                failed.into_iter().chain([Self::Waiting { wait_ms }]).collect()
            }
            Progress::Ready { carrier, .. } => vec![Self::Up(carrier)],
            Progress::Failed { failure, problems } => {
                vec![Self::Down { failure: Some(failure), problems }]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{
        failure::FailureKind,
        supervisor::ipc::messages::{Request, Response},
    };

    /// Returns the lines of the blocks of this kind in docs/CONTROL.md.
    fn examples(kind: &str) -> Vec<&'static str> {
        let text = include_str!("../../../docs/CONTROL.md");
        let blocks = text.split("\n```").skip(1).step_by(2);
        blocks.filter_map(|block| block.strip_prefix(kind)).flat_map(|block| block.trim().lines()).collect()
    }

    /// The document is held by the types, and names each message.
    #[test]
    fn messages_of_the_document_are_those_of_the_code() {
        let mut requests = BTreeSet::new();
        for line in examples("request\n") {
            let request: Request = serde_json::from_str(line).unwrap();
            assert_eq!(serde_json::to_string(&request).unwrap(), line);
            requests.insert(line.split('"').nth(3).unwrap());
        }
        assert_eq!(
            requests.into_iter().collect::<Vec<_>>(),
            ["capture", "down", "log", "pause", "redial", "reload", "status", "subscribe"]
        );
        let mut answers = BTreeSet::new();
        for line in examples("answer\n") {
            let answer: Response = serde_json::from_str(line).unwrap();
            assert_eq!(serde_json::to_string(&answer).unwrap(), line);
            answers.insert(line.split('"').nth(1).unwrap());
        }
        assert_eq!(
            answers.into_iter().collect::<Vec<_>>(),
            ["capture", "down", "log", "pause", "redial", "refused", "reload", "status"]
        );
        let mut events = BTreeSet::new();
        for line in examples("event\n") {
            let event: EventLine = serde_json::from_str(line).unwrap();
            assert_eq!(serde_json::to_string(&event).unwrap(), line);
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            events.insert(value["event"].as_str().unwrap().to_owned());
        }
        let known = [
            "down",
            "failure",
            "note",
            "phase",
            "reconnected",
            "statistics",
            "subscribed",
            "up",
            "waiting",
            "warning",
        ];
        // A variant that is missing here is unknown to serde below.
        assert_eq!(events.into_iter().collect::<Vec<_>>(), known);
        let unknown = serde_json::from_str::<EventLine>(r#"{"time_ms":1,"name":"x","event":"?"}"#);
        let words = unknown.unwrap_err().to_string();
        for name in known {
            assert!(words.contains(&format!("`{name}`")), "{words}");
        }
        assert_eq!(words.matches('`').count(), 2 * (known.len() + 1), "{words}");
        let version = format!("This is version {PROTOCOL} of the protocol.");
        assert!(include_str!("../../../docs/CONTROL.md").contains(&version));
    }

    #[test]
    fn progress_of_up_becomes_the_same_events() {
        let failure = Failure::new(Phase::Connect, FailureKind::NoRoute, "");
        let failed = Event::Failure { failure: failure.clone() };
        assert_eq!(Event::of(&Progress::Attempt(failure.clone())), std::slice::from_ref(&failed));
        let trying = Progress::Trying { failure: Some(failure), wait_ms: Some(5) };
        assert_eq!(Event::of(&trying), [failed, Event::Waiting { wait_ms: Some(5) }]);
        let carrier = Carrier { tun: "tun0".into(), mtu: Some(1400), ..Carrier::default() };
        let ready = Event::of(&Progress::Ready { carrier: carrier.clone(), at_ms: 1 });
        assert_eq!(ready, [Event::Up(carrier)]);
    }
}
