//! One attempt: looks up the name, sets up route and sockets, starts the engine, configures this host.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddrV4},
    os::fd::{AsFd, OwnedFd},
    path::Path,
    time::{Instant, SystemTime},
};

use super::{ActiveLink, Child, Supervisor, external_ppp::External, internal};
use crate::{
    apply::{self, ApplyError, Cause, Directories},
    engine::{
        handle::{Engine, Resolver},
        message::LinkUp,
    },
    failure::{Failure, FailureKind, Phase},
    net::{transport, tun},
    plan::{self, Facts, Plan},
    platform::Platform,
    profile::{Host, Profile, Server},
    secret::Secret,
    supervisor::{engine_spec, machine::Input},
};

/// Path MTU if the kernel provides no better value, in bytes.
const ETHERNET: u16 = 1500;

impl Supervisor {
    pub(super) fn resolve(&mut self, server: &Server) {
        let Host::Name(name) = &server.host else { return };
        if let Some(known) = self.instead_of_asking(name) {
            return self.handle(Input::Resolved(Ok(known)));
        }
        self.say_phase(Phase::Resolve, "");
        self.ask(name);
    }

    /// Starts to look a name up; [`Supervisor::name_resolved`] receives the result.
    pub(super) fn ask(&mut self, name: &str) {
        match Resolver::start(name, 1) {
            Ok(resolver) => {
                self.child = Child::Resolver(resolver);
                self.child_due = Some(Instant::now() + self.profile.timeouts.resolve);
            }
            Err(error) => {
                let failure =
                    Failure::new(Phase::Resolve, FailureKind::Internal, format!("resolver: {error}"));
                self.name_resolved(name, Err(failure));
            }
        }
    }

    /// Sets up host route, sockets and engine, in this order, so that the first packet already takes the
    /// right path.
    pub(super) fn dial(&mut self, server: SocketAddrV4) -> Result<(), Failure> {
        self.say_phase(Phase::Connect, "");
        let localbind = self.profile.localbind;
        let Some(link) = &mut self.changes else { return Err(internal("the link is closed")) };
        let facts = facts(link, &self.profile, *server.ip());
        self.network.dials(&mut self.machine, &facts);
        let facts = facts.map_err(|error| route_failure(&error))?;
        // Routes offered last time stay until there is a new answer: the kill switch covers them, too.
        let planned = self.offered.as_ref().unwrap_or(&self.profile);
        let transport = plan::transport(planned, Platform::host()).resolve(&facts);
        link.perform(&transport).map_err(|error| step_failure(Phase::Connect, &error))?;
        let notes = transport.notes.clone();
        let path_mtu = path_mtu(&facts);
        let options = transport::Options { local: localbind, mark: transport.mark().unwrap_or(0) };
        let tcp =
            transport::tcp_socket(&options).map_err(|error| socket_failure("TCP", localbind, &error))?;
        let gre = transport::gre_socket(*server.ip(), &options)
            .map_err(|error| socket_failure("GRE", localbind, &error))?;
        self.network.connected_from(transport::local_address(&gre));
        let spec = engine_spec::spec(&self.profile, server, path_mtu);
        let (tun, password) = self.device(spec.mtu_limit)?;
        let engine = Engine::start(spec, &password, tcp.as_fd(), gre.as_fd(), tun.as_fd())
            .map_err(|error| internal(&format!("the engine does not start: {error}")))?;
        self.child = Child::Engine(engine);
        self.child_due = None;
        self.notes(&notes);
        Ok(())
    }

    /// Returns the tun device and the password; or the engine's end of a daemon's pty and no password, which
    /// the engine does not need then.
    fn device(&mut self, mtu_limit: u16) -> Result<(OwnedFd, Secret), Failure> {
        let Some(daemon) = plan::Daemon::of(&self.profile) else {
            return Ok((self.tun()?, self.password.clone()));
        };
        let (external, line) = External::prepare(daemon, self.profile.unit, mtu_limit)?;
        self.ppp = Some(external);
        Ok((line, Secret::new(Vec::new())))
    }

    fn tun(&self) -> Result<OwnedFd, Failure> {
        let tun =
            self.changes.as_ref().and_then(apply::Changes::tun).ok_or_else(|| internal("no tun device"))?;
        tun.share().map_err(|error| internal(&error.to_string()))
    }

    pub(super) fn configure(&mut self, up: LinkUp) {
        let server = self.machine.server().map_or(Ipv4Addr::UNSPECIFIED, |server| *server.ip());
        let noted = self.take_offered(server, &up);
        let Some(link) = &mut self.changes else { return };
        let planned = self.offered.as_ref().unwrap_or(&self.profile);
        let done = facts(link, planned, server).and_then(|facts| {
            // The routes offered now may include the server, and so may those offered before: the host route
            // is added first and removed last.
            let transport =
                self.offered.is_some().then(|| plan::transport(planned, Platform::host()).resolve(&facts));
            transport.as_ref().map_or(Ok(()), |transport| link.extend(transport))?;
            let network = network_plan(planned, facts, &up);
            link.perform(&network)?;
            transport.as_ref().map_or(Ok(()), |transport| link.perform(transport))?;
            let notes = [noted, network.notes, link.take_notes()].concat();
            Ok(notes)
        });
        let words = format!("{} → {}, MTU {}", up.local, up.peer, up.mtu);
        self.say_phase(Phase::Routes, &words);
        match done {
            Ok(notes) => {
                self.notes(&notes);
                self.without_routes = false;
                self.watch_resolvers();
                self.active = Some(ActiveLink { link: up, since: SystemTime::now(), began: Instant::now() });
                self.handle(Input::Configured(Ok(())));
            }
            Err(error) => {
                let failure = step_failure(Phase::Routes, &error);
                self.failed(failure, |failure| Input::Configured(Err(failure)));
            }
        }
    }
}

impl Supervisor {
    /// Adds the routes that this link's server offers to those of the profile; returns notes about them.
    fn take_offered(&mut self, server: Ipv4Addr, up: &LinkUp) -> Vec<String> {
        if !self.profile.peer_routes {
            return Vec::new();
        }
        let (routes, words) = match &up.routes {
            Some(routes) => (routes.as_slice(), format!("the server offers {} routes", routes.len())),
            // A lost query must not open what the kill switch closes.
            None if self.offered.is_some() => {
                return vec![
                    "peer-routes: the server did not answer; what it offered before stays".to_owned(),
                ];
            }
            None => {
                (&[][..], "the server did not answer (DHCPINFORM): there are no routes from it".to_owned())
            }
        };
        let with = plan::with_offered_routes(&self.profile, Platform::host(), server, up.peer, routes);
        let left_out = routes.len() + self.profile.routes.len() - with.routes.len();
        let left_out = match left_out {
            0 => String::new(),
            some => format!(", {some} of them for nothing: named already, excluded, or an end of the tunnel"),
        };
        self.offered = Some(with);
        vec![format!("peer-routes: {words}{left_out}")]
    }
}

/// Returns the plan of the network steps for this link.
fn network_plan(profile: &Profile, facts: Facts, up: &LinkUp) -> Plan {
    let facts = Facts {
        mtu: Some(up.mtu),
        local: Some(up.local),
        peer: Some(up.peer),
        dns: Some(up.dns.iter().copied().map(IpAddr::V4).collect()),
        resolver: profile.dns.is_wanted().then(apply::resolver_in_charge),
        ipv6: up.ipv6.map_or(plan::Ipv6::Absent, |(local, peer)| plan::Ipv6::from_identifiers(local, peer)),
        ..facts
    };
    let run = Path::new(Platform::host().run_dir());
    let mut network = plan::network(profile, Platform::host(), run).resolve(&facts);
    network.notes.extend(plan::dns_notes(profile, facts.resolver, &profile.dns.servers_of(&up.dns)));
    network
}

/// Opens the ledger of this tunnel.
pub(super) fn open_link(profile: &Profile) -> Result<apply::Changes, Failure> {
    let places = Directories::system(Platform::host());
    apply::Host::system()
        .and_then(|host| match &profile.link.netns {
            Some(netns) => host.enter(netns),
            None => Ok(host),
        })
        .and_then(|host| apply::Changes::open(&places, profile.name.as_str(), host))
        .map_err(|error| step_failure(Phase::Resolve, &error))
}

/// Returns the current next hop to a server, and to the destinations outside the tunnel. Transport plans are
/// resolved with these facts, at each dial and whenever next hops may have changed.
pub(super) fn facts(
    link: &mut apply::Changes,
    profile: &Profile,
    server: Ipv4Addr,
) -> Result<Facts, ApplyError> {
    let facts = link.facts(server, profile.localbind)?;
    Ok(Facts { outside: link.next_hops_outside(&profile.exclude), ..facts })
}

/// Returns the path MTU, in bytes, as far as this host can tell.
fn path_mtu(facts: &Facts) -> u16 {
    let Some(plan::NextHop::By { dev, .. }) = &facts.next_hop else { return ETHERNET };
    apply::device_mtu(dev).unwrap_or(ETHERNET)
}

fn route_failure(error: &ApplyError) -> Failure {
    let unreachable = matches!(&error.cause, Cause::Kernel(error) if error.is_unreachable());
    let kind = if unreachable { FailureKind::NoRoute } else { FailureKind::LinkStep };
    Failure::new(Phase::Connect, kind, error.to_string())
}

fn step_failure(phase: Phase, error: &ApplyError) -> Failure {
    let words = error.to_string();
    match &error.cause {
        Cause::Tun(tun::Error::InUse(unit)) => Failure::new(phase, FailureKind::NoTun, words)
            .hint(format!("`pptpctl status` shows whether another tunnel has it; `ip -d link show tun{unit}`, what it is"))
            .hint(format!("without unit = {unit} in the profile a free one is taken")),
        Cause::Tun(_) => Failure::new(phase, FailureKind::NoTun, words),
        _ => Failure::new(phase, FailureKind::LinkStep, words),
    }
}

fn socket_failure(which: &str, localbind: Option<Ipv4Addr>, error: &io::Error) -> Failure {
    match (error.kind(), localbind) {
        (io::ErrorKind::AddrNotAvailable, Some(address)) => {
            let words = format!("localbind = \"{address}\" is none of this host's addresses");
            Failure::new(Phase::Connect, FailureKind::NoRoute, words)
        }
        (io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable, _) => {
            Failure::new(Phase::Connect, FailureKind::NoRoute, error.to_string())
        }
        _ => internal(&format!("{which} socket: {error}")),
    }
}
