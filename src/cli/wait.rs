//! `up --wait` for a tunnel that another `up` has begun, and `redial --wait`: waits until it is up, or has ended.

use std::time::{Duration, Instant};

use super::{
    events,
    exit::{self, Code},
    output::{error, line},
    status,
};
use crate::{
    failure::Failure,
    supervisor::{
        ClientError, Signals, Status,
        ipc::{client, events::Event},
        wait::{self, Interest},
    },
};

/// Poll interval for the state.
const POLL_INTERVAL: Duration = Duration::from_millis(300);

/// Waits for the tunnel of this name, and prints each of its states, or its events as JSON lines. A signal ends only the
/// wait.
pub fn until_up(name: &str, json: bool, signals: &mut Signals) -> Code {
    until(name, json, signals, |_| true)
}

/// Does the same for a tunnel that is dialled again, after that many reconnects if it was up.
pub fn until_up_again(name: &str, json: bool, reconnects: Option<u64>, signals: &mut Signals) -> Code {
    until(name, json, signals, |status| reconnects.is_none_or(|before| status.reconnects > before))
}

fn until(name: &str, json: bool, signals: &mut Signals, is_right: impl Fn(&Status) -> bool) -> Code {
    let mut shown = String::new();
    let mut failure: Option<Failure> = None;
    loop {
        match client::status(name) {
            Ok(status) if status.state == "up" && is_right(&status) => {
                if json {
                    events::print(name, Event::Up(status.carrier()));
                } else {
                    line(status::headline(&status));
                }
                return exit::OK;
            }
            Ok(status) => {
                let words = match &status.last_failure {
                    Some(failure) => format!("{name}: {}; {failure}", status.state),
                    None => format!("{name}: {}", status.state),
                };
                // The states of an attempt follow each other within a second.
                if words != shown && matches!(status.state.as_str(), "waiting" | "no network" | "stopping") {
                    if json {
                        let news = news(&status, failure.as_ref()).into_iter();
                        news.for_each(|event| events::print(name, event));
                    } else {
                        line(&words);
                    }
                    shown = words;
                }
                failure = status.last_failure;
            }
            Err(ClientError::NotYet(_)) => {}
            Err(ClientError::NotUp) => {
                if json {
                    events::print(name, Event::Down { failure: failure.clone(), problems: Vec::new() });
                }
                return match failure {
                    Some(failure) => {
                        error(format_args!("{name}: it has ended; its last failure: {failure}"));
                        Code::of(&failure)
                    }
                    None => {
                        error(format_args!("{name}: it was taken down"));
                        exit::NOT_UP
                    }
                };
            }
            Err(wrong) => {
                error(format_args!("{name}: {wrong}"));
                return exit::INTERNAL;
            }
        }
        if is_interrupted(signals) {
            error(format_args!(
                "{name}: not up yet; its supervisor continues, `pptpctl down {name}` ends it"
            ));
            return exit::ALREADY_UP;
        }
    }
}

/// Returns the events of a tunnel that waits; `before` is its failure that was printed last.
fn news(status: &Status, before: Option<&Failure>) -> Vec<Event> {
    let failure = status.last_failure.as_ref().filter(|last| before != Some(*last));
    let waiting = match status.state.as_str() {
        "waiting" => {
            Some(Event::Waiting { wait_ms: Some(status.next_attempt_in.unwrap_or(0).saturating_mul(1000)) })
        }
        "no network" => Some(Event::Waiting { wait_ms: None }),
        _ => None,
    };
    failure.cloned().map(|failure| Event::Failure { failure }).into_iter().chain(waiting).collect()
}

/// Waits for the poll interval; returns whether a signal has asked this process to end.
fn is_interrupted(signals: &mut Signals) -> bool {
    let deadline = Instant::now() + POLL_INTERVAL;
    while Instant::now() < deadline {
        let ready = wait::until([Some((signals.end(), Interest::Readable))], Some(deadline));
        if !matches!(ready, Ok([false])) {
            return signals.take().is_some();
        }
    }
    false
}
