//! Handles what the children report: results of lookups, the progress of the engine, the external PPP.

use std::net::Ipv4Addr;

use super::{Supervisor, children::ChildEvent, external_ppp::Found};
use crate::{
    engine::message::{FromEngine, PathMtu, plain},
    failure::{Failure, FailureKind, Phase},
    supervisor::machine::{Input, TunnelState},
};

/// Returns the warning about an engine without a filter of system calls.
pub(in crate::supervisor) fn unfiltered(why: &str) -> String {
    format!("the engine runs without its filter of system calls, which limits a captured one: {why}")
}

impl Supervisor {
    /// Handles an event of a child.
    pub(super) fn child_reports(&mut self, event: ChildEvent) {
        match event {
            ChildEvent::Resolved(name, answer) => self.name_resolved(&name, answer),
            ChildEvent::Unreadable(files) => {
                let notes = self.resolvers.unreadable(&files);
                self.report.notes(&notes);
            }
            ChildEvent::Engine(FromEngine::Phase { phase, detail }) => {
                self.report.phase(phase, &detail);
                self.firewall.phase(phase, self.profile.timeouts.gre);
                self.handle(Input::Phase(phase));
                if phase == Phase::Lcp {
                    let started = self.children.start_ppp();
                    self.confirmed(started.map(|()| None));
                }
            }
            ChildEvent::Engine(FromEngine::Offers(offers)) => tracing::debug!(?offers, "the server offers"),
            ChildEvent::Engine(FromEngine::Attach(peer_call_id)) => self.attach(peer_call_id),
            ChildEvent::Engine(FromEngine::Up(link)) => {
                self.kernel_link_up();
                let found = self.children.link_up(link);
                self.confirmed(found);
            }
            ChildEvent::Engine(FromEngine::PathMtu(path)) => self.path_found(path),
            ChildEvent::Engine(FromEngine::Unfiltered(why)) => {
                let words = Some(unfiltered(&why));
                // Not again for each redial.
                if self.report.unfiltered != words {
                    tracing::warn!("{}", words.as_deref().unwrap_or_default());
                    self.report.unfiltered = words;
                }
            }
            // For `doctor`; for the watch of `children`.
            ChildEvent::Engine(FromEngine::PathSearched(_) | FromEngine::Alive) => {}
            ChildEvent::Engine(FromEngine::Statistics(mut statistics)) => {
                self.add_kernel_traffic(&mut statistics);
                self.report.statistics(&statistics);
                self.answer_status(Some(&statistics));
            }
            ChildEvent::NoStatistics => self.answer_status(None),
            ChildEvent::Engine(FromEngine::Down(failure)) => {
                self.link_down();
                self.handle(Input::EngineEnded(failure));
            }
        }
    }

    /// Sets the MTU that the engine found for the path.
    fn path_found(&mut self, path: PathMtu) {
        let server = self.machine.server().map_or(Ipv4Addr::UNSPECIFIED, |server| *server.ip());
        if let Some(up) = self.report.path_found(path)
            && let Err(error) = self.steps.set_mtu(server, up)
        {
            tracing::warn!("the MTU of the path: {error}");
        }
    }

    /// Handles a link that is up, or a failure of the external PPP.
    pub(super) fn confirmed(&mut self, found: Result<Found, Failure>) {
        let checked = found.and_then(|found| {
            let Some((up, Some(device))) = found else { return Ok(found.map(|(up, _)| up)) };
            let noted = self.steps.external_device(&device).map_err(|error| error.to_string());
            match noted.and_then(|()| up.check().map_err(str::to_owned)) {
                Ok(()) => Ok(Some(up)),
                Err(words) => Err(Failure::new(Phase::Addresses, FailureKind::LinkStep, plain(&words))),
            }
        });
        match checked {
            Ok(None) => {}
            Ok(Some(up)) => {
                self.redial_memory.link_up(&up);
                self.handle(Input::LinkUp(up));
            }
            Err(failure) => {
                self.children.ppp_failed(failure, self.machine.state() == TunnelState::Stopping);
            }
        }
    }

    /// Records that the link is gone, and with it the engine's counters.
    pub(super) fn link_down(&mut self) {
        self.report.link_down();
        if self.children.take_query() {
            self.answer_status(None);
        }
    }
}
