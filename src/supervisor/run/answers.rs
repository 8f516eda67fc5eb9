//! Answers requests on the control sockets: the status, with warnings, `down`, and subscriptions.

use std::time::Instant;

use super::{Supervisor, engine_watch};
use crate::{
    engine::message::Statistics,
    supervisor::{
        ipc::messages::{Request, Response, Status},
        log_tail,
        machine::{Input, TunnelState},
    },
};

impl Supervisor {
    /// Answers the requests that wait on the control sockets.
    pub(super) fn serve(&mut self) {
        for request in self.control.handle() {
            match request {
                Request::Down => self.handle(Input::Stop),
                // One query serves all clients that ask while it is pending.
                Request::Status if self.children.query() => {}
                Request::Status => self.answer_status(None),
                Request::Subscribe { .. } | Request::Capture { .. } => {}
                Request::Redial => {
                    let answer = self.redial();
                    self.control.answer(request, &answer);
                }
                Request::Log { lines } => {
                    let lines = log_tail::last(lines);
                    self.control.answer(request, &Response::Log { lines });
                }
                Request::Pause { seconds, end } => {
                    let answer = self.pause(seconds, end);
                    self.control.answer(request, &answer);
                }
                Request::Reload { redial, dry_run } => {
                    let result = self.reload(redial, dry_run);
                    self.control.answer(request, &Response::Reload(Box::new(result)));
                }
            }
        }
        for (stream, interval) in self.control.take_subscribers() {
            self.report.subscribers.add(stream, interval, Instant::now());
        }
        self.serve_captures();
    }

    /// Dials again because the user asks for it.
    fn redial(&mut self) -> Response {
        match self.machine.state() {
            TunnelState::Stopping | TunnelState::Ended => {
                Response::Refused("the tunnel is being taken down".to_owned())
            }
            TunnelState::NoNetwork => Response::Refused(
                "there is no network with a route to the server; it is dialled as soon as there is one"
                    .to_owned(),
            ),
            _ => {
                tracing::info!("redial: the user asks for it");
                self.handle(Input::Redial);
                Response::Redial {}
            }
        }
    }

    /// Sends `statistics` to the subscribers that are due, as soon as the engine has sent its counters.
    pub(super) fn serve_subscribers(&mut self, now: Instant) {
        if self.report.subscribers.take_due(now) && !self.children.query() {
            self.answer_status(None);
        }
    }

    /// Answers requests for the status, with the engine's counters if it has sent them.
    pub(super) fn answer_status(&mut self, statistics: Option<&Statistics>) {
        self.check_resolvers();
        let in_force = self.steps.in_force();
        let status = Status {
            name: self.profile.name.as_str().to_owned(),
            tun: self.tun_name(),
            data_path: self.steps.data_path().map(ToString::to_string),
            resolvers: in_force.resolvers,
            routes: in_force.routes,
            more_routes: in_force.more_routes,
            unreachable: self.steps.unreachable(),
            pause_left: self.pause_left(),
            warnings: self.warnings().collect(),
            engine_pid: self.children.engine_pid(),
            sandbox: self.restrictions.sandbox.clone(),
            ..self.report.status(&self.machine, statistics)
        };
        self.report.subscribers.status(&status, Instant::now());
        self.control.answer(Request::Status, &Response::Status(Box::new(status)));
    }

    /// Returns what the user should know of the tunnel as it is now.
    fn warnings(&self) -> impl Iterator<Item = String> {
        let silent = self.children.engine_silent_for().map(engine_watch::warning);
        self.steps
            .warnings()
            .chain(self.network.restore_conflict())
            .chain(self.report.path_warning().map(str::to_owned))
            .chain(self.machine.steps_warning())
            .chain(self.report.forgery_warning())
            .chain(self.resolvers.problems().iter().cloned())
            .chain(silent)
            .chain(self.report.unfiltered.clone())
            .chain(self.restrictions.warning.clone())
    }

    /// Returns the name of the device, if there is one.
    pub(super) fn tun_name(&self) -> Option<String> {
        // The device of an external PPP disappears when the daemon exits.
        let there = !self.children.has_ppp() || self.report.has_link();
        self.steps.device_name().filter(|_| there).map(str::to_owned)
    }

    /// Checks whether another program has changed our resolver settings.
    pub(super) fn check_resolvers(&mut self) {
        self.resolvers.check(self.steps.resolver_problems());
    }
}
