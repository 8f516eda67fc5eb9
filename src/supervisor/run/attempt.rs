//! One attempt to connect: looks the server's name up, dials it, and configures the link that comes up.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    ops::ControlFlow,
};

use super::{Supervisor, firewall_watch};
use crate::{
    engine::message::LinkUp,
    failure::{Failure, Phase},
    net::transport,
    supervisor::{engine_spec, firewall::DialPath, machine::Input},
};

impl Supervisor {
    pub(super) fn resolve(&mut self, name: &str) {
        if let Some(known) = self.resolvers.instead_of_asking(name, self.steps.prevents_lookups()) {
            return self.handle(Input::Resolved(Ok(known)));
        }
        self.report.phase(Phase::Resolve, "");
        self.ask(name);
    }

    /// Starts to look a name up; [`Supervisor::name_resolved`] receives the result.
    fn ask(&mut self, name: &str) {
        if let Err(failure) = self.children.resolve(name, !self.resolvers.knows(name)) {
            self.name_resolved(name, Err(failure));
        }
    }

    pub(super) fn name_resolved(&mut self, name: &str, answer: Result<Vec<Ipv4Addr>, Failure>) {
        match self.resolvers.resolved(name, answer, &self.profile, self.steps.has_kill_switch()) {
            ControlFlow::Continue(next) => self.ask(&next),
            ControlFlow::Break(input) => self.handle(input),
        }
    }

    /// Sets up route and sockets, and starts the engine.
    pub(super) fn dial(&mut self, server: SocketAddrV4) -> Result<(), Failure> {
        self.report.phase(Phase::Connect, &self.resolvers.take_result());
        let facts = self.steps.facts(*server.ip());
        if let Some(next_hop) = self.network.dials(&facts) {
            self.machine.record_next_hop(next_hop);
        }
        let dev = firewall_watch::device(&facts);
        let mut sockets = self.steps.connect(*server.ip(), facts)?;
        self.network.local = transport::local_address(&sockets.gre);
        let mut spec = engine_spec::spec(&self.profile, server, sockets.path_mtu, &self.machine);
        spec.remembered = self.redial_memory.dial(server);
        self.prepare_kernel_call(&mut spec, &mut sockets)?;
        let (local, options, call_id) = (self.network.local, sockets.options, spec.call_id);
        self.firewall.dials(DialPath { server, local, dev, options, call_id });
        let notes = std::mem::take(&mut sockets.notes);
        self.children.dial(spec, sockets)?;
        self.report.notes(&notes);
        Ok(())
    }

    pub(super) fn configure(&mut self, up: LinkUp) {
        self.end_pause("the tunnel is up");
        let server = self.machine.server().map_or(Ipv4Addr::UNSPECIFIED, |server| *server.ip());
        // Before the steps, some of which run programs: their time belongs to this phase.
        self.report.phase(Phase::Routes, &format!("{} → {}, MTU {}", up.local, up.peer, up.mtu));
        let done = self.steps.configure(server, &up);
        let configured = done.map(|notes| {
            self.report.notes(&notes);
            self.resolvers.watch(self.steps.resolver_files());
            self.check_resolvers();
            self.report.notes(&engine_spec::password_note(&up));
            self.report.link_up(up);
        });
        self.handle(Input::Configured(configured));
    }
}
