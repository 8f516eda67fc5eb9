//! What `watch` knows of the tunnels: the last status of each, the rates of the last minutes, and what has changed.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::keys::Key;
use crate::{
    cli::status_table::Rates,
    supervisor::{Failure, Status, ipc::messages::LogLine},
};

/// Rates that are kept for the graph, one a second.
const MOST_RATES: usize = 600;

/// Changes that are kept.
const MOST_CHANGES: usize = 100;

/// The answer of a tunnel's supervisor, or the state and the reason why there is none.
pub type Answer = Result<Box<Status>, (&'static str, String)>;

/// One reading of all tunnels.
#[derive(Debug)]
pub struct Reading {
    /// When it was.
    pub at: Instant,
    /// The same in seconds since 1970.
    pub clock: u64,
    /// Names with answers, sorted by name.
    pub answers: Vec<(String, Answer)>,
    /// The log of the tunnel that was chosen, with its name, or why it was not read.
    pub log: Option<(String, Result<Vec<LogLine>, String>)>,
}

/// The last lines of a tunnel's log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Log {
    /// It has not been asked for yet.
    #[default]
    Unread,
    /// The oldest first.
    Lines(Vec<LogLine>),
    /// Why it cannot be read.
    Refused(String),
}

/// A change of a tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// When it was noticed, in seconds since 1970.
    pub clock: u64,
    /// What has changed.
    pub words: String,
    /// Whether it is a failure.
    pub is_failure: bool,
}

/// One tunnel.
#[derive(Debug)]
pub struct Tunnel {
    pub name: String,
    pub answer: Answer,
    /// The last at the end.
    pub rates: VecDeque<Rates>,
    /// The last at the end.
    pub changes: VecDeque<Change>,
    /// Kept when the tunnel ends: it has the reason.
    pub log: Log,
    read_at: Instant,
}

/// What the user is asked, or told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Notice {
    #[default]
    None,
    /// Whether to do this with this tunnel.
    Asks(Request, String),
    /// A remark.
    Says(String),
}

/// What may be done with a tunnel, after a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    TakeDown,
    Redial,
}

/// Everything that is shown.
#[derive(Debug, Default)]
pub struct State {
    /// The tunnels that are asked, until their first answers are there.
    pub asked: Vec<String>,
    /// Whether there was a reading.
    pub has_read: bool,
    pub tunnels: Vec<Tunnel>,
    /// Number of the tunnel that is chosen.
    pub chosen: usize,
    /// Whether only that one is shown.
    pub is_single: bool,
    /// Whether no other can be chosen.
    pub is_fixed: bool,
    pub notice: Notice,
    /// Time of the last reading in seconds since 1970.
    pub clock: u64,
}

/// What the user has asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    Quit,
    /// To do this with this tunnel.
    Do(Request, String),
}

impl State {
    /// Returns the tunnel that is chosen.
    pub fn current(&self) -> Option<&Tunnel> {
        self.tunnels.get(self.chosen)
    }

    /// Takes a reading. Tunnels that it lacks are forgotten.
    pub fn read(&mut self, reading: Reading) {
        let chosen = self.current().map(|tunnel| tunnel.name.clone());
        let mut former = std::mem::take(&mut self.tunnels);
        let (at, clock) = (reading.at, reading.clock);
        (self.has_read, self.clock) = (true, clock);
        for (name, answer) in reading.answers {
            let known = former.iter().position(|tunnel| tunnel.name == name);
            self.tunnels.push(match known.map(|known| former.swap_remove(known)) {
                Some(mut tunnel) => {
                    tunnel.next(answer, at, clock);
                    tunnel
                }
                None => {
                    let (rates, changes) = (VecDeque::new(), VecDeque::new());
                    Tunnel { name, answer, rates, changes, log: Log::Unread, read_at: at }
                }
            });
        }
        let found = self.tunnels.iter().position(|tunnel| Some(&tunnel.name) == chosen.as_ref());
        self.chosen = found.unwrap_or_else(|| self.chosen.min(self.tunnels.len().saturating_sub(1)));
        if let Some((name, log)) = reading.log
            && let Some(tunnel) = self.tunnels.iter_mut().find(|tunnel| tunnel.name == name)
        {
            match (log, &tunnel.log) {
                (Ok(lines), _) => tunnel.log = Log::Lines(lines),
                (Err(_), Log::Lines(_)) => {}
                (Err(why), _) => tunnel.log = Log::Refused(why),
            }
        }
    }

    /// Handles a key.
    pub fn press(&mut self, key: Key) -> Option<Wish> {
        if !self.has_read {
            return matches!(key, Key::Char('q' | 'Q')).then_some(Wish::Quit);
        }
        if let Notice::Asks(request, name) = std::mem::take(&mut self.notice) {
            if matches!(key, Key::Char('y' | 'Y')) {
                self.notice = Notice::Says(match request {
                    Request::TakeDown => format!("{name} is being taken down"),
                    Request::Redial => format!("{name} is asked to dial again"),
                });
                return Some(Wish::Do(request, name));
            }
            return None;
        }
        match key {
            Key::Char('q' | 'Q') => return Some(Wish::Quit),
            Key::Char('d') => self.notice = self.asks(Request::TakeDown),
            Key::Char('r') => self.notice = self.asks(Request::Redial),
            Key::Up | Key::Char('k') if !self.is_single => self.chosen = self.chosen.saturating_sub(1),
            Key::Down | Key::Char('j') if !self.is_single => {
                self.chosen = (self.chosen + 1).min(self.tunnels.len().saturating_sub(1));
            }
            Key::Enter if !self.tunnels.is_empty() => self.is_single = true,
            Key::Escape if !self.is_fixed => self.is_single = false,
            _ => {}
        }
        None
    }

    /// Returns the question before a request, or why it cannot be made.
    fn asks(&self, request: Request) -> Notice {
        let Some(tunnel) = self.current() else { return Notice::Says("there is no tunnel".to_owned()) };
        let name = tunnel.name.clone();
        match tunnel.answer {
            Err(("down", _)) => Notice::Says(format!("{name} is not up; `pptpctl up {name}` brings it up")),
            _ => Notice::Asks(request, name),
        }
    }
}

impl Tunnel {
    fn next(&mut self, answer: Answer, at: Instant, clock: u64) {
        let elapsed = at.saturating_duration_since(self.read_at);
        let change = |words, is_failure| Change { clock, words, is_failure };
        let mut changes = Vec::new();
        match (&self.answer, &answer) {
            (Ok(before), Ok(now)) => {
                self.rates.extend(rates(before, now, elapsed));
                let failure = fresh_failure(before, now);
                if let Some(failure) = failure {
                    changes.push(change(failure.to_string(), true));
                }
                // It waits after each failure.
                let is_news = now.state != before.state && !(failure.is_some() && now.state == "waiting");
                if now.reconnects > before.reconnects {
                    changes.push(change(format!("up again, reconnect {}", now.reconnects), false));
                } else if is_news {
                    changes.push(change(now.state.clone(), false));
                }
            }
            (_, Ok(now)) => changes.push(change(now.state.clone(), false)),
            (Ok(_), Err((_, why))) => changes.push(change(why.clone(), true)),
            (Err((before, _)), Err((now, why))) if before != now => changes.push(change(why.clone(), true)),
            (Err(_), Err(_)) => {}
        }
        self.changes.extend(changes);
        let too_many = self.changes.len().saturating_sub(MOST_CHANGES);
        self.changes.drain(..too_many);
        let too_many = self.rates.len().saturating_sub(MOST_RATES);
        self.rates.drain(..too_many);
        (self.answer, self.read_at) = (answer, at);
    }
}

/// Returns the rates between two statuses. Without a link there is no traffic.
fn rates(before: &Status, now: &Status, elapsed: Duration) -> Option<Rates> {
    match now.state.as_str() {
        "up" => Rates::between(before, now, elapsed),
        _ => Some(Rates { received: 0, sent: 0 }),
    }
}

fn fresh_failure<'a>(before: &Status, now: &'a Status) -> Option<&'a Failure> {
    let is_fresh = now.last_failure_at != before.last_failure_at;
    now.last_failure.as_ref().filter(|_| is_fresh)
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::supervisor::{FailureKind, Phase, ipc::messages::Resolvers};

    /// Returns the status of a tunnel that is up and has received so many bytes.
    pub fn up(name: &str, received: u64) -> Status {
        let counters = [
            ("ppp.received_bytes", received),
            ("ppp.received_packets", received / 1000),
            ("ppp.sent_bytes", received / 10),
            ("ppp.sent_packets", received / 10_000),
            ("gre.rx_lost", 12),
            ("gre.rx_accepted", 988),
            ("gre.rx_repaired", 7),
            ("gre.rx_duplicate", 1),
            ("drop.loop", 2),
            ("drop.short frame", 0),
        ];
        Status {
            name: name.into(),
            state: "up".into(),
            phase: "up".into(),
            server: Some("198.51.100.5:1723".into()),
            tun: Some("tun0".into()),
            local: Some("10.77.0.100".parse().unwrap()),
            peer: Some("10.77.0.1".parse().unwrap()),
            mtu: Some(1396),
            dns: vec!["10.77.0.53".parse().unwrap()],
            resolvers: Some(Resolvers {
                by: "systemd-resolved".into(),
                servers: vec!["10.77.0.53".parse().unwrap()],
                domains: vec!["corp.example".into()],
            }),
            routes: (0..40).map(|number| format!("10.{number}.0.0/16")).collect(),
            more_routes: 5,
            mppe: Some("MPPE 128-bit stateless".into()),
            auth: Some("MS-CHAPv2".into()),
            since: Some(1_764_000_000),
            uptime: Some(3725),
            round_trip_micros: Some(35_400),
            counters: counters.into_iter().map(|(name, count)| (name.to_owned(), count)).collect(),
            ..Status::default()
        }
    }

    /// Returns a log of as many lines; the last but one is long, and a warning.
    fn log(count: u64) -> Vec<LogLine> {
        let line = |number: u64| {
            let (level, text) = match count - number {
                2 => ("WARN", "office: up: ".to_owned() + &"the server does not answer ".repeat(8)),
                _ => ("INFO", format!("office: line {number}")),
            };
            LogLine { time_ms: (1_764_000_000 + number) * 1000, level: level.into(), text }
        };
        (0..count).map(line).collect()
    }

    pub fn down(name: &str) -> (String, Answer) {
        (name.to_owned(), Err(("down", format!("{name}: down"))))
    }

    /// Returns a state with a tunnel that was lost once, a waiting one and one that is down, after a minute.
    pub fn example() -> State {
        let (mut state, start) = (State::default(), Instant::now());
        let failure = Failure::new(Phase::Up, FailureKind::PeerLost, "no answer to 4 LCP echoes");
        for second in 0..60 {
            let mut office = up("office", second * second * 5000);
            if second >= 30 {
                office.reconnects = 1;
                office.last_failure = Some(failure.clone());
                office.last_failure_at = Some(1_764_000_028);
            }
            if second == 50 {
                office.warnings.push("another program took tun0 down".into());
            }
            let home = Status {
                state: "waiting".into(),
                phase: "connect".into(),
                next_attempt_in: Some(8),
                ..Status { name: "home".into(), ..Status::default() }
            };
            state.read(Reading {
                at: start + Duration::from_secs(second),
                clock: 1_764_000_000 + second,
                answers: vec![
                    ("home".into(), Ok(Box::new(home))),
                    down("lab"),
                    ("office".into(), Ok(Box::new(office))),
                ],
                log: (second == 59).then(|| ("office".into(), Ok(log(100)))),
            });
        }
        state
    }

    #[test]
    fn readings_become_rates_and_changes() {
        let mut state = example();
        let office = state.tunnels.get(2).unwrap();
        assert_eq!(office.rates.len(), 59);
        assert_eq!(office.rates.back(), Some(&Rates { received: 585_000, sent: 58_500 }));
        let words: Vec<_> = office.changes.iter().map(|change| change.words.as_str()).collect();
        assert_eq!(words.len(), 2, "{words:?}");
        assert!(words[0].contains("no answer to 4 LCP echoes"), "{words:?}");
        assert_eq!(words[1], "up again, reconnect 1");
        // It ends: it stays chosen by its name, and the history is kept.
        state.chosen = 2;
        let (at, clock) = (Instant::now() + Duration::from_secs(61), 1_764_000_061);
        state.read(Reading { at, clock, answers: vec![down("office")], log: None });
        assert_eq!((state.chosen, state.tunnels.len()), (0, 1));
        let last = state.current().unwrap().changes.back().unwrap();
        assert_eq!((last.words.as_str(), last.clock), ("office: down", clock));
        state.read(Reading { at, clock, answers: Vec::new(), log: None });
        assert!(state.current().is_none());
        assert_eq!(state.press(Key::Enter), None);
        assert!(!state.is_single);
    }

    #[test]
    fn history_is_bounded() {
        let (mut state, start) = (State::default(), Instant::now());
        for second in 0..2000 {
            let mut status = up("office", second);
            status.reconnects = second;
            let at = start + Duration::from_secs(second);
            let answers = vec![("office".to_owned(), Ok(Box::new(status)) as Answer)];
            state.read(Reading { at, clock: second, answers, log: None });
        }
        let tunnel = state.current().unwrap();
        assert_eq!((tunnel.rates.len(), tunnel.changes.len()), (MOST_RATES, MOST_CHANGES));
    }

    #[test]
    fn down_asks_first() {
        let mut state = example();
        state.chosen = 2;
        assert_eq!(state.press(Key::Char('d')), None);
        assert_eq!(state.notice, Notice::Asks(Request::TakeDown, "office".into()));
        // Everything but y is no, also q.
        assert_eq!(state.press(Key::Char('q')), None);
        assert_eq!(state.notice, Notice::None);
        state.press(Key::Char('d'));
        assert_eq!(state.press(Key::Char('y')), Some(Wish::Do(Request::TakeDown, "office".into())));
        state.chosen = 1;
        state.press(Key::Char('d'));
        let why = "lab is not up; `pptpctl up lab` brings it up";
        assert_eq!(state.notice, Notice::Says(why.into()));
        state.press(Key::Char('r'));
        assert_eq!(state.notice, Notice::Says(why.into()));
        assert_eq!(state.press(Key::Char('q')), Some(Wish::Quit));
    }

    #[test]
    fn redial_asks_first() {
        let mut state = example();
        assert_eq!(state.press(Key::Char('r')), None);
        assert_eq!(state.notice, Notice::Asks(Request::Redial, "home".into()), "also while it waits");
        assert_eq!(state.press(Key::Char('n')), None);
        state.press(Key::Char('r'));
        assert_eq!(state.press(Key::Char('Y')), Some(Wish::Do(Request::Redial, "home".into())));
        assert_eq!(state.notice, Notice::Says("home is asked to dial again".into()));
        let mut state = State { has_read: true, ..State::default() };
        state.press(Key::Char('r'));
        assert_eq!(state.notice, Notice::Says("there is no tunnel".into()));
    }

    #[test]
    fn before_the_first_answer_only_the_end_can_be_asked_for() {
        let mut state = State { is_fixed: true, is_single: true, ..State::default() };
        for key in [Key::Char('r'), Key::Char('d'), Key::Enter, Key::Escape, Key::Down] {
            assert_eq!((state.press(key), &state.notice), (None, &Notice::None), "{key:?}");
        }
        assert_eq!(state.press(Key::Char('q')), Some(Wish::Quit));
    }

    #[test]
    fn log_stays_when_the_tunnel_has_ended() {
        let mut state = example();
        let log = |state: &State| state.tunnels.last().unwrap().log.clone();
        let lines = log(&state);
        assert!(matches!(&lines, Log::Lines(lines) if lines.len() == 100));
        let reading = |why: &str| Reading {
            at: Instant::now(),
            clock: 1_764_000_061,
            answers: vec![down("lab"), down("office")],
            log: Some(("office".into(), Err(why.into()))),
        };
        state.read(reading("not up"));
        assert_eq!(log(&state), lines);
        let mut fresh = State::default();
        fresh.read(reading("no"));
        assert_eq!(log(&fresh), Log::Refused("no".into()));
    }

    #[test]
    fn keys_move_and_choose() {
        let mut state = example();
        let down = [Key::Down, Key::Down, Key::Char('j'), Key::Char('j')];
        for key in down.into_iter().chain([Key::Up, Key::Enter]) {
            assert_eq!(state.press(key), None);
        }
        assert_eq!((state.chosen, state.is_single), (1, true));
        state.press(Key::Up);
        assert_eq!(state.chosen, 1, "one tunnel is shown");
        state.is_fixed = true;
        state.press(Key::Escape);
        assert!(state.is_single, "only one is watched");
        state.is_fixed = false;
        state.press(Key::Escape);
        assert!(!state.is_single);
    }
}
