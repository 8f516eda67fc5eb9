//! Reports of the loop, to the log, systemd and the waiting `up`, and what the status says about links.

use std::{
    net::SocketAddrV4,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use super::forgeable::ForgeableEnds;
use crate::{
    engine::message::{LinkUp, PathMtu, Statistics},
    failure::{Failure, FailureKind, Phase},
    os::usage,
    supervisor::{
        ipc::carrier::Carrier,
        ipc::events::Event,
        ipc::messages::Status,
        ipc::progress::{Progress, Reporter},
        ipc::subscribers::Subscribers,
        machine::{Machine, TunnelState},
        systemd,
    },
};

/// A link that is up.
struct ActiveLink {
    link: LinkUp,
    since: SystemTime,
    /// The same time on the monotonic clock.
    began: Instant,
    /// Warning about the size of packets that the path carries; empty if there is none.
    path_warning: String,
}

/// The reports of one tunnel, and the history that they are about.
pub(super) struct Report {
    reporter: Reporter,
    pub subscribers: Subscribers,
    /// When the user called `up`.
    started: Instant,
    /// The phase that was reported last, until it has ended.
    phase: Option<Phase>,
    active: Option<ActiveLink>,
    /// The tunnel was up and has been lost.
    lost: bool,
    reconnects: u64,
    /// How long the last link was up.
    lasted: Duration,
    forgeable: ForgeableEnds,
    /// The last failure, and when it occurred.
    last_failure: Option<(Failure, SystemTime)>,
    /// The notes of the attempts since the tunnel was up last: each server repeats most of them.
    noted: Vec<String>,
    /// systemd has been notified that the service has started.
    announced: bool,
    /// Warning about an engine without a filter of system calls.
    pub unfiltered: Option<String>,
    /// SIGUSR1 was received: the next statistics go to the log.
    log_statistics: bool,
}

impl Report {
    pub fn new(name: &str, reporter: Reporter, started: Instant) -> Self {
        Self {
            reporter,
            subscribers: Subscribers::new(name),
            started,
            phase: None,
            active: None,
            lost: false,
            reconnects: 0,
            lasted: Duration::ZERO,
            forgeable: ForgeableEnds::default(),
            last_failure: None,
            noted: Vec::new(),
            announced: false,
            unfiltered: None,
            log_statistics: false,
        }
    }

    /// Reports that a phase begins. `detail` is the result of the phase before.
    pub fn phase(&mut self, phase: Phase, detail: &str) {
        self.phase_ended(detail);
        self.phase = Some(phase);
        tracing::info!("{phase}");
        systemd::status(phase.word());
        self.subscribers.publish(|| Event::Phase { phase, detail: detail.to_owned() });
        let at_ms = self.elapsed_ms();
        self.reporter.report(&Progress::Phase { phase, detail: detail.to_owned(), at_ms });
    }

    /// Logs the result of the last phase with its name.
    fn phase_ended(&mut self, result: &str) {
        if let Some(ended) = self.phase.take().filter(|_| !result.is_empty()) {
            tracing::info!("finished {ended}: {result}");
        }
    }

    /// Reports notes to log and user, each once until the tunnel is up.
    pub fn notes(&mut self, notes: &[String]) {
        for note in notes {
            if !self.noted.contains(note) {
                self.noted.push(note.clone());
                tracing::info!("{note}");
                self.subscribers.publish(|| Event::Note { text: note.clone() });
                self.reporter.report(&Progress::Note(note.clone()));
            }
        }
    }

    /// Records that a link is up and configured.
    pub fn link_up(&mut self, link: LinkUp) {
        let path_warning = String::new();
        self.active =
            Some(ActiveLink { link, since: SystemTime::now(), began: Instant::now(), path_warning });
    }

    /// Records what the path was found to carry; returns the link if its MTU has changed.
    pub fn path_found(&mut self, path: PathMtu) -> Option<&LinkUp> {
        let PathMtu { mtu, warning } = path;
        let active = self.active.as_mut()?;
        if warning.is_empty() {
            tracing::info!("the path carries all packets: MTU {mtu}");
        } else {
            tracing::warn!("{warning}");
        }
        active.path_warning = warning;
        let changed = std::mem::replace(&mut active.link.mtu, mtu) != mtu;
        changed.then_some(&active.link)
    }

    /// Returns the warning about the path, if there is one.
    pub fn path_warning(&self) -> Option<&str> {
        self.active.as_ref().map(|active| active.path_warning.as_str()).filter(|words| !words.is_empty())
    }

    /// Returns the warning about links that were ended by packets that any host can forge, if there is one.
    pub fn forgery_warning(&self) -> Option<String> {
        self.forgeable.warning()
    }

    /// Records that there is no link any more.
    pub fn link_down(&mut self) {
        if let Some(link) = self.active.take() {
            self.lost = true;
            self.lasted = link.began.elapsed();
        }
    }

    pub fn has_link(&self) -> bool {
        self.active.is_some()
    }

    pub fn ready(&mut self, tun: String, server: Option<SocketAddrV4>) {
        let carrier = self.carrier(tun, server);
        if std::mem::take(&mut self.lost) {
            self.reconnects += 1;
            let reconnects = self.reconnects;
            self.subscribers.publish(|| Event::Reconnected { carrier: carrier.clone(), reconnects });
        } else {
            self.subscribers.publish(|| Event::Up(carrier.clone()));
        }
        self.phase = None;
        self.noted.clear();
        tracing::info!("up on {}", carrier.tun);
        self.announce(&format!("up on {}", carrier.tun));
        let at_ms = self.elapsed_ms();
        self.reporter.report(&Progress::Ready { carrier, at_ms });
    }

    fn carrier(&self, tun: String, server: Option<SocketAddrV4>) -> Carrier {
        let link = self.active.as_ref().map(|active| &active.link);
        Carrier {
            tun,
            server: server.map(|server| server.to_string()),
            local: link.map(|link| link.local),
            peer: link.map(|link| link.peer),
            mtu: link.map(|link| link.mtu),
            dns: link.map(|link| link.dns.clone()).unwrap_or_default(),
        }
    }

    /// Reports that the supervisor goes on until the tunnel is up, which ends the start of the service.
    pub fn trying(&mut self) {
        self.announce("trying");
    }

    fn announce(&mut self, status: &str) {
        if std::mem::replace(&mut self.announced, true) {
            systemd::status(status);
        } else {
            systemd::ready(status);
        }
    }

    /// Reports a wait for the next attempt, or for a network if it is `None`.
    pub fn waiting(&mut self, wait: Option<Duration>) {
        let words = match wait {
            Some(wait) => {
                tracing::info!("next attempt in {:.1} s", wait.as_secs_f32());
                format!("waiting {:.0} s for the next attempt", wait.as_secs_f32())
            }
            None => {
                tracing::info!("no network; waits for one");
                "waiting for a network".to_owned()
            }
        };
        let failure = self.last_failure.as_ref().map(|(failure, _)| failure.clone());
        let why = failure.as_ref().map_or_else(String::new, |failure| format!("; {failure}"));
        systemd::status(&format!("{words}{why}"));
        let wait_ms = wait.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        self.subscribers.publish(|| Event::Waiting { wait_ms });
        self.reporter.report(&Progress::Trying { failure, wait_ms });
    }

    /// Logs a failure, and keeps it for the status.
    pub fn failure(&mut self, failure: &Failure) {
        if failure.kind != FailureKind::Interrupted {
            self.phase = None;
            tracing::warn!("{failure}");
            self.subscribers.publish(|| Event::Failure { failure: failure.clone() });
            self.forgeable.record(failure, self.lasted);
            self.last_failure = Some((failure.clone(), SystemTime::now()));
        }
    }

    /// Returns whether this is the last failure that was reported: its input led to the action that has it, too.
    pub fn has_reported(&self, failure: &Failure) -> bool {
        self.last_failure.as_ref().is_some_and(|(last, _)| last == failure)
    }

    /// Reports a failure that another attempt follows.
    pub fn attempt(&mut self, failure: Failure) {
        self.reporter.report(&Progress::Attempt(failure));
    }

    /// Reports the end of the tunnel, after everything is undone but for `problems`.
    pub fn end(&mut self, outcome: &Result<(), Failure>, problems: &[String]) {
        let failure = outcome.as_ref().err().filter(|failure| failure.kind != FailureKind::Interrupted);
        self.subscribers.publish(|| Event::Down { failure: failure.cloned(), problems: problems.to_owned() });
        match outcome {
            Ok(()) => tracing::info!("down"),
            Err(failure) => {
                // An interruption by the user is no error.
                match failure.kind {
                    FailureKind::Interrupted => tracing::info!("{failure}"),
                    _ => tracing::error!("{failure}"),
                }
                for hint in &failure.hints {
                    tracing::info!("check: {hint}");
                }
                let (failure, problems) = (failure.clone(), problems.to_owned());
                self.reporter.report(&Progress::Failed { failure, problems });
            }
        }
    }

    /// Logs a summary, and the next statistics, for which `query` asks.
    pub fn summary(&mut self, machine: &Machine, query: impl FnOnce() -> bool) {
        let (state, phase) = (machine.state().word(), machine.phase());
        tracing::info!("{state}, phase {phase}, {} reconnects", self.reconnects);
        self.log_statistics |= query();
    }

    pub fn statistics(&mut self, statistics: &Statistics) {
        if std::mem::take(&mut self.log_statistics) {
            for (name, value) in statistics.counters.iter().filter(|(_, value)| *value > 0) {
                tracing::info!("{name} {value}");
            }
        }
    }

    /// Returns the status, except for the profile's name and what other parts know.
    pub fn status(&self, machine: &Machine, statistics: Option<&Statistics>) -> Status {
        let now = Instant::now();
        let live = self.active.as_ref();
        let link = live.map(|live| &live.link);
        let statistics = statistics.cloned().unwrap_or_default();
        Status {
            state: machine.state().word().to_owned(),
            phase: machine.phase().word().to_owned(),
            server: machine.server().map(|server| server.to_string()),
            local: link.map(|link| link.local),
            peer: link.map(|link| link.peer),
            mtu: link.map(|link| link.mtu),
            dns: link.map(|link| link.dns.clone()).unwrap_or_default(),
            mppe: link.map(|link| link.encryption.clone()),
            auth: link.map(|link| link.authentication.clone()),
            since: live.and_then(|live| seconds(live.since)),
            uptime: live.map(|live| live.began.elapsed().as_secs()),
            next_attempt_in: match machine.state() {
                TunnelState::Waiting => {
                    machine.next_timeout().map(|(at, _)| rounded_up(at.saturating_duration_since(now)))
                }
                _ => None,
            },
            reconnects: self.reconnects,
            last_failure: self.last_failure.as_ref().map(|(failure, _)| failure.clone()),
            last_failure_at: self.last_failure.as_ref().and_then(|(_, at)| seconds(*at)),
            supervisor_pid: std::process::id(),
            engine_cpu_micros: (!statistics.counters.is_empty()).then_some(statistics.cpu_micros),
            sleeps: (usage::voluntary_switches(), statistics.sleeps),
            round_trip_micros: statistics.round_trip_micros,
            counters: statistics.counters.into_iter().collect(),
            ..Status::default()
        }
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Returns a time in seconds since 1970.
fn seconds(time: SystemTime) -> Option<u64> {
    Some(time.duration_since(UNIX_EPOCH).ok()?.as_secs())
}

/// Returns whole seconds: a wait that is not over is not shown as 0.
fn rounded_up(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, rc::Rc};

    use super::*;

    #[test]
    fn note_is_shown_once_until_the_tunnel_is_up() {
        let shown = Rc::new(RefCell::new(Vec::new()));
        let sink = shown.clone();
        let reporter = Reporter::call(move |progress| {
            if let Progress::Note(note) = progress {
                sink.borrow_mut().push(note.clone());
            }
        });
        let mut report = Report::new("vpn", reporter, Instant::now());
        let [one, two] = ["one", "two"].map(str::to_owned);
        // Two servers, with the same plan.
        report.notes(std::slice::from_ref(&one));
        report.notes(&[one.clone(), two.clone()]);
        assert_eq!(*shown.borrow(), [one.clone(), two.clone()]);
        report.ready("tun0".to_owned(), None);
        report.notes(std::slice::from_ref(&two));
        assert_eq!(*shown.borrow(), [one, two.clone(), two]);
    }
}
