//! Reports of the loop: the status for clients, phases and notes for the log, systemd and the waiting `up`.

use std::time::{Instant, UNIX_EPOCH};

use super::{Child, Supervisor, network_watch::WITHOUT_ROUTES};
use crate::{
    engine::message::Statistics,
    failure::Phase,
    os::usage,
    supervisor::{
        ipc::messages::{Request, Response, Status},
        ipc::progress::Progress,
        machine::TunnelState,
        systemd,
    },
};

impl Supervisor {
    pub(super) fn answer_status(&mut self, statistics: Option<&Statistics>) {
        self.query_due = None;
        self.check_resolvers();
        let status = self.status(statistics);
        self.control.answer(Request::Status, &Response::Status(Box::new(status)));
    }

    fn status(&self, statistics: Option<&Statistics>) -> Status {
        let now = Instant::now();
        let live = self.active.as_ref();
        let link = live.map(|live| &live.link);
        let statistics = statistics.cloned().unwrap_or_default();
        Status {
            name: self.profile.name.as_str().to_owned(),
            state: self.machine.state().word().to_owned(),
            phase: self.machine.phase().word().to_owned(),
            server: self.machine.server().map(|server| server.to_string()),
            tun: self.tun_name(),
            local: link.map(|link| link.local),
            peer: link.map(|link| link.peer),
            mtu: link.map(|link| link.mtu),
            dns: link.map(|link| link.dns.clone()).unwrap_or_default(),
            mppe: link.map(|link| link.encryption.clone()),
            auth: link.map(|link| link.authentication.clone()),
            since: live.and_then(|live| Some(live.since.duration_since(UNIX_EPOCH).ok()?.as_secs())),
            uptime: live.map(|live| live.began.elapsed().as_secs()),
            next_attempt_in: match self.machine.state() {
                TunnelState::Waiting => {
                    self.machine.next_timeout().map(|at| at.saturating_duration_since(now).as_secs())
                }
                _ => None,
            },
            reconnects: self.reconnects,
            warnings: self.warnings(),
            last_failure: self.last_failure.clone(),
            supervisor_pid: std::process::id(),
            engine_pid: match &self.child {
                Child::Engine(engine) => Some(engine.process().pid()),
                Child::None | Child::Resolver(_) => None,
            },
            engine_cpu_micros: (!statistics.counters.is_empty()).then_some(statistics.cpu_micros),
            sleeps: (usage::voluntary_switches(), statistics.sleeps),
            counters: statistics.counters.into_iter().collect(),
        }
    }

    fn warnings(&self) -> Vec<String> {
        let without_routes = self.without_routes.then(|| WITHOUT_ROUTES.to_owned());
        let about_routes = without_routes.into_iter().chain(self.contest());
        about_routes.chain(self.resolvers.problems.iter().cloned()).collect()
    }

    pub(super) fn tun_name(&self) -> Option<String> {
        // The device of an external PPP disappears when the daemon exits.
        let there = self.ppp.is_none() || self.active.is_some();
        Some(self.changes.as_ref()?.device_name()?.to_owned()).filter(|_| there)
    }

    pub(super) fn say_phase(&mut self, phase: Phase, detail: &str) {
        let separator = if detail.is_empty() { "" } else { " ◂ " };
        tracing::info!("{phase}{separator}{detail}");
        systemd::status(phase.word());
        let at_ms = self.elapsed_ms();
        self.reporter.report(&Progress::Phase { phase, detail: detail.to_owned(), at_ms });
    }

    pub(super) fn notes(&mut self, notes: &[String]) {
        for note in notes {
            tracing::info!("{note}");
            self.reporter.report(&Progress::Note(note.clone()));
        }
    }

    pub(super) fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
