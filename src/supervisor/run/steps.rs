//! The steps of this tunnel on this host: performs both plans and what changes of the network need, and undoes
//! them.

mod collisions;
mod device;
mod in_force;
mod pause;
mod reload;
mod taken_traffic;

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    rc::Rc,
};

use nix::{ifaddrs::InterfaceAddress, net::if_::InterfaceFlags};

pub(super) use self::reload::NotReloaded;
use self::{collisions::CollisionState, taken_traffic::TakenTraffic};
use super::{internal, kernel_dial::KernelDial};
use crate::{
    apply::{self, ApplyError, Cause, Changes, DeviceLoss, Directories, Operation},
    engine::message::LinkUp,
    failure::{Failure, FailureKind, Phase},
    net::{
        transport,
        tun::{self, Tun},
    },
    plan::{self, Facts, NextHop, Plan, Step},
    platform::Platform,
    profile::Profile,
    supervisor::{data_path::Choice, hints::SHOW_DEVICE, host_files},
};

/// Warning for log and status.
const WITHOUT_ROUTES: &str =
    "retry.keep-routes = false: until the tunnel is up again, packets for it use other routes, unencrypted";

/// An address that stands for the internet while no server's is known: that of a.root-servers.net. Only the
/// routing table is asked; nothing is sent there.
const INTERNET: Ipv4Addr = Ipv4Addr::new(198, 41, 0, 4);

/// Path MTU if the kernel provides no better value, in bytes.
const ETHERNET: u16 = 1500;

/// The sockets of one connection, and what the transport plan found out.
pub(in crate::supervisor) struct Sockets {
    pub tcp: OwnedFd,
    pub gre: OwnedFd,
    /// There is none with an external PPP.
    pub tun: Option<OwnedFd>,
    /// The options of both.
    pub options: transport::Options,
    /// In bytes.
    pub path_mtu: u16,
    /// Notes for the user.
    pub notes: Vec<String>,
    /// The kernel's part in the call, if it has one.
    pub kernel: Option<KernelDial>,
}

/// The changes to this host. Dropping them undoes them.
pub(super) struct Steps {
    /// The tunnel's, with `data-path` as it was decided.
    profile: Rc<Profile>,
    /// Who moves the packets; `None` before the first dial.
    data_path: Option<Choice>,
    /// `None` once they are undone.
    changes: Option<Changes>,
    /// The profile with the routes that the server offered; set with `peer-routes`, after the first answer.
    offered: Option<Profile>,
    /// The steps that lead traffic into the tunnel are undone until it is up again.
    without_routes: bool,
    collisions: CollisionState,
    /// What another program did to the device since the link came up.
    device_changed: Option<String>,
    taken: TakenTraffic,
    /// Why the kill switch by pf does not block every packet, as of the last link or new route past the tunnel.
    leak_problems: Vec<String>,
}

impl Steps {
    /// Opens the ledger of this tunnel.
    pub fn open(profile: Rc<Profile>) -> Result<Self, Failure> {
        let places = Directories::system(Platform::host());
        let changes = apply::Host::system()
            .and_then(|host| match &profile.link.netns {
                Some(netns) => host.enter(netns),
                None => Ok(host),
            })
            .and_then(|host| Changes::open(&places, profile.name.as_str(), host))
            .map_err(|error| step_failure(Phase::Resolve, &error))?;
        Ok(Self {
            profile,
            data_path: None,
            changes: Some(changes),
            offered: None,
            without_routes: false,
            collisions: CollisionState::default(),
            device_changed: None,
            taken: TakenTraffic::default(),
            leak_problems: Vec::new(),
        })
    }

    /// Returns the current next hop to a server, and to the destinations outside the tunnel. Transport plans
    /// are resolved with these facts, at each dial and whenever next hops may have changed.
    pub fn facts(&mut self, server: Ipv4Addr) -> Result<Facts, ApplyError> {
        facts(opened(&mut self.changes)?, &self.profile, server)
    }

    /// Runs `work` with the routing tables read once for all its questions.
    pub fn with_route_cache<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        self.changes.iter_mut().for_each(|changes| changes.cache_routes(true));
        let done = work(self);
        self.changes.iter_mut().for_each(|changes| changes.cache_routes(false));
        done
    }

    /// Returns the current next hop to a server.
    pub fn next_hop(&mut self, server: Ipv4Addr) -> Result<NextHop, ApplyError> {
        opened(&mut self.changes)?.next_hop(server, self.profile.localbind)
    }

    /// Returns the current next hop to the internet, or else a link with an address: the server may be there. An
    /// error that is about the route means that there is no network.
    pub fn next_hop_to_internet(&mut self) -> Result<NextHop, ApplyError> {
        match self.next_hop(INTERNET) {
            Err(error) if matches!(&error.cause, Cause::Kernel(error) if error.is_unreachable()) => {
                any_link().ok_or(error)
            }
            found => found,
        }
    }

    /// Sets up host route and sockets, in this order, so that the first packet already takes the right path.
    pub fn connect(
        &mut self,
        server: Ipv4Addr,
        facts: Result<Facts, ApplyError>,
    ) -> Result<Sockets, Failure> {
        let facts = facts.map_err(|error| route_failure(&error))?;
        self.collisions.server = Some(server);
        let _host = self.compare();
        self.prepare_device()?;
        // Routes offered last time stay until there is a new answer: the kill switch covers them, too.
        let planned = self.offered.as_ref().unwrap_or(&self.profile);
        let transport = plan::transport(planned, Platform::host()).resolve(&facts);
        let transport = self.collisions.around_transport(transport);
        let tun = opened(&mut self.changes)
            .and_then(|changes| {
                changes.perform(&transport)?;
                changes.pass_device()?;
                Ok(changes.tun())
            })
            .map_err(|error| step_failure(Phase::Connect, &error))?;
        let local = self.profile.localbind;
        let options = transport::Options { local, mark: transport.mark().unwrap_or(0) };
        let (tcp, gre) = open_sockets(server, &options)?;
        Ok(Sockets {
            options,
            path_mtu: path_mtu(facts.next_hop.as_ref()),
            tcp,
            gre,
            tun: tun.map(Tun::share).transpose().map_err(|error| internal(&error.to_string()))?,
            notes: transport.notes,
            kernel: None,
        })
    }

    /// Records the device that an external PPP has created.
    pub fn external_device(&mut self, name: &str) -> Result<(), ApplyError> {
        opened(&mut self.changes)?.external_device(name)
    }

    /// Performs the network steps for a link; returns notes for the user.
    pub fn configure(&mut self, server: Ipv4Addr, up: &LinkUp) -> Result<Vec<String>, Failure> {
        let mut notes = self.take_offered(server, up);
        self.compare_addresses(up, &mut notes)?;
        let planned = self.offered.as_ref().unwrap_or(&self.profile);
        let collisions = &mut self.collisions;
        let perform = |changes: &mut Changes| {
            // The device of an external PPP is known only now.
            changes.pass_device()?;
            let facts = facts(changes, planned, server)?;
            // The routes offered now may include the server, and so may those offered before: the host route
            // is added first and removed last.
            let transport =
                self.offered.is_some().then(|| plan::transport(planned, Platform::host()).resolve(&facts));
            let transport = transport.map(|transport| collisions.around_transport(transport));
            transport.as_ref().map_or(Ok(()), |transport| changes.extend(transport))?;
            let network = collisions.around_network(planned, facts, up);
            changes.perform(&network)?;
            transport.as_ref().map_or(Ok(()), |transport| changes.perform(transport))?;
            notes.extend(network.notes);
            notes.extend(changes.take_notes());
            // Only a warning: the tunnel is up without it.
            notes.extend(changes.rival_default_routes().unwrap_or_else(|error| {
                tracing::warn!("default routes of other programs: {error}");
                Vec::new()
            }));
            Ok(())
        };
        opened(&mut self.changes).and_then(perform).map_err(|error| step_failure(Phase::Routes, &error))?;
        (self.without_routes, self.device_changed) = (false, None);
        self.leak_problems = self.changes.as_mut().map(Changes::leak_filter_problems).unwrap_or_default();
        self.follow_taken_traffic();
        notes.extend(self.leak_problems.iter().cloned());
        notes.extend(self.collisions.found.warnings());
        Ok(notes)
    }

    /// Changes the MTU of the tunnel device, and of the rules that follow it. Hooks are not run again.
    pub fn set_mtu(&mut self, server: Ipv4Addr, up: &LinkUp) -> Result<(), ApplyError> {
        let changes = opened(&mut self.changes)?;
        let planned = self.offered.as_ref().unwrap_or(&self.profile);
        // No step that depends on the resolvers is performed again.
        let mut plan = network_plan(planned, facts(changes, planned, server)?, up, &[]);
        plan.steps.retain(|step| matches!(step, Step::Mtu(_) | Step::Firewall(_)));
        self.collisions.set_mtu(up.mtu);
        changes.extend(&plan)
    }

    /// Moves what depends on the next hop to the server.
    pub fn repin(&mut self, server: Ipv4Addr) -> Result<(), ApplyError> {
        let changes = opened(&mut self.changes)?;
        let facts = facts(changes, &self.profile, server)?;
        let words = facts.next_hop.as_ref().map(ToString::to_string).unwrap_or_default();
        tracing::info!("the route to {server} is {words} now");
        let planned = self.offered.as_ref().unwrap_or(&self.profile);
        let transport = plan::transport(planned, Platform::host()).resolve(&facts);
        changes.perform(&self.collisions.around_transport(transport))
    }

    /// Lets the kill switch pass the networks to which this host is connected now; returns whether they have changed.
    pub fn follow_networks(&mut self, next_hop: Option<&NextHop>) -> Result<bool, ApplyError> {
        let changes = opened(&mut self.changes)?;
        if !changes.networks_changed(next_hop) {
            return Ok(false);
        }
        tracing::info!("the networks of this host have changed: the rules of the kill switch follow");
        changes.follow_networks(next_hop).map(|()| true)
    }

    /// Restores routes and rules of ours that were deleted; returns how many were.
    pub fn renew_routes(&mut self) -> (usize, Result<(), ApplyError>) {
        let Some(changes) = &mut self.changes else { return (0, Ok(())) };
        // The device first: there are no routes by one that is down.
        // With `link.manage = false` its addresses and state are another program's.
        let (settings, device) =
            if self.profile.link.manage { changes.renew_device() } else { (Vec::new(), Ok(())) };
        let (missing, routes) = changes.renew_routes();
        if let (Some(name), false) = (changes.device_name(), settings.is_empty()) {
            let done = settings.join(", ");
            let words =
                format!("another program took {name} down or removed its addresses; put back: {done}");
            tracing::warn!("{words}");
            self.device_changed = Some(words);
        }
        (missing, device.and(routes))
    }

    /// Returns why the tunnel's device can no longer be used, if so.
    pub fn device_loss(&mut self) -> Option<DeviceLoss> {
        self.changes.as_mut()?.device_loss()
    }

    /// Creates the tunnel's pid file again if another program has removed it.
    pub fn restore_pid_file(&mut self) {
        if let Some(Err(error)) = self.changes.as_mut().map(Changes::renew_pid_file) {
            tracing::warn!("{error}");
        }
    }

    /// Undoes the steps that are in force only while the tunnel is up, so that the host works without it.
    pub fn withdraw_routes(&mut self) {
        tracing::info!("{WITHOUT_ROUTES}");
        for problem in self.changes.as_mut().map(Changes::withdraw_routes).unwrap_or_default() {
            tracing::warn!("{problem}");
        }
        self.without_routes = true;
    }

    /// Returns warnings for the status: while those steps are undone, and while routes are left out.
    pub fn warnings(&self) -> impl Iterator<Item = String> {
        let without = self.without_routes.then(|| WITHOUT_ROUTES.to_owned());
        let found = self.collisions.found.warnings();
        let addresses = self.collisions.addresses.warnings();
        without
            .into_iter()
            .chain(found)
            .chain(addresses)
            .chain(self.device_changed.clone())
            .chain(self.leak_problems.iter().cloned())
            .chain(self.taken.warnings())
    }

    pub fn device_name(&self) -> Option<&str> {
        self.changes.as_ref()?.device_name()
    }

    pub fn has_kill_switch(&self) -> bool {
        self.changes.as_ref().is_some_and(Changes::has_kill_switch)
    }

    /// Returns whether no resolver is reachable without the tunnel.
    pub fn prevents_lookups(&self) -> bool {
        self.has_kill_switch() || self.changes.as_ref().is_some_and(Changes::resolves_all_names)
    }

    pub fn resolver_files(&self) -> Vec<PathBuf> {
        self.changes.as_ref().map(Changes::resolver_files).unwrap_or_default()
    }

    /// Returns which of our resolver settings another program has changed.
    pub fn resolver_problems(&mut self) -> Vec<String> {
        self.changes.as_mut().map(Changes::resolver_problems).unwrap_or_default()
    }

    /// Returns whether the kill switch was on before this supervisor began.
    pub fn continues_kill_switch(&self) -> bool {
        self.changes.as_ref().is_some_and(Changes::is_continued)
    }

    /// Undoes everything, but for the kill switch if the tunnel was `given_up`; returns what could not be
    /// undone.
    pub fn undo(&mut self, given_up: bool) -> Vec<String> {
        let Some(changes) = self.changes.take() else { return Vec::new() };
        // A tunnel that was up and is given up on was not taken down by the user: its traffic must still not
        // leave.
        let guarded = given_up && changes.has_kill_switch();
        let errors = if guarded { changes.undo_all_but_kill_switch() } else { changes.undo_all_and_close() };
        if guarded {
            tracing::warn!(
                "leak = \"block\": packets for the tunnel are blocked until it is up again, or `pptpctl recover`"
            );
        }
        let problems: Vec<String> = errors.iter().map(ToString::to_string).collect();
        for problem in &problems {
            tracing::error!("{problem}");
        }
        problems
    }

    /// Adds the routes that this link's server offers to those of the profile; returns notes about them.
    fn take_offered(&mut self, server: Ipv4Addr, up: &LinkUp) -> Vec<String> {
        let profile = &self.profile;
        if !profile.peer_routes {
            return Vec::new();
        }
        let (routes, words) = match &up.routes {
            Some(routes) => (routes.as_slice(), format!("the server offers {} routes", routes.len())),
            // A lost query must not open what the kill switch closes.
            None if self.offered.is_some() => {
                return vec!["peer-routes: the server did not answer; its earlier routes stay".to_owned()];
            }
            None => (&[][..], "the server did not answer (DHCPINFORM): no routes from it".to_owned()),
        };
        let with = plan::with_offered_routes(profile, Platform::host(), server, up.peer, routes);
        let left_out = routes.len() + profile.routes.len() - with.routes.len();
        let left_out = match left_out {
            0 => String::new(),
            some => format!(
                ", {some} of them not used: in the profile already, excluded, or an end of the tunnel"
            ),
        };
        self.offered = Some(with);
        vec![format!("peer-routes: {words}{left_out}")]
    }
}

impl Drop for Steps {
    /// Undoes the changes if a bug has ended the loop early.
    fn drop(&mut self) {
        let _logged = self.undo(false);
    }
}

fn opened(changes: &mut Option<Changes>) -> Result<&mut Changes, ApplyError> {
    let cause = || Cause::Taken("the changes are undone".to_owned());
    changes.as_mut().ok_or_else(|| ApplyError { operation: Operation::Observe, cause: cause() })
}

/// Returns the plan of the network steps for this link.
fn network_plan(profile: &Profile, facts: Facts, up: &LinkUp, dns: &[Ipv4Addr]) -> Plan {
    let facts = Facts {
        mtu: Some(up.mtu),
        local: Some(up.local),
        peer: Some(up.peer),
        dns: Some(dns.iter().copied().map(IpAddr::V4).collect()),
        resolver: profile.dns.is_wanted().then(apply::resolver_in_charge),
        ipv6: up.ipv6.map_or(plan::Ipv6::Absent, |(local, peer)| plan::Ipv6::from_identifiers(local, peer)),
        ..facts
    };
    let run = Path::new(Platform::host().run_dir());
    let mut network = plan::network(profile, Platform::host(), run).resolve(&facts);
    network.notes.extend(plan::dns_notes(profile, facts.resolver, &profile.dns.servers_of(dns)));
    network
}

fn facts(changes: &mut Changes, profile: &Profile, server: Ipv4Addr) -> Result<Facts, ApplyError> {
    let facts = changes.facts(server, profile.localbind)?;
    Ok(Facts { outside: changes.next_hops_outside(&profile.exclude), ..facts })
}

/// Returns a link that is up and has an IPv4 address, as the next hop to its neighbours.
fn any_link() -> Option<NextHop> {
    let is_usable = |interface: &InterfaceAddress| {
        interface.flags.contains(InterfaceFlags::IFF_UP | InterfaceFlags::IFF_RUNNING)
            && !interface.flags.contains(InterfaceFlags::IFF_LOOPBACK)
            && interface.address.is_some_and(|address| address.as_sockaddr_in().is_some())
    };
    let dev = nix::ifaddrs::getifaddrs().ok()?.find(is_usable)?.interface_name;
    Some(NextHop::By { gateway: None, dev, source: None })
}

/// Returns the path MTU by this next hop, in bytes, as far as this host can tell.
pub(in crate::supervisor) fn path_mtu(next_hop: Option<&NextHop>) -> u16 {
    let Some(NextHop::By { dev, .. }) = next_hop else { return ETHERNET };
    apply::device_mtu(dev).unwrap_or(ETHERNET)
}

/// Returns the failure for an error of looking up the route to the server.
pub(in crate::supervisor) fn route_failure(error: &ApplyError) -> Failure {
    let unreachable = matches!(&error.cause, Cause::Kernel(error) if error.is_unreachable());
    let kind = if unreachable { FailureKind::NoRoute } else { FailureKind::LinkStep };
    Failure::new(Phase::Connect, kind, error.to_string())
}

/// Returns the failure for an error of a step.
pub(in crate::supervisor) fn step_failure(phase: Phase, error: &ApplyError) -> Failure {
    let words = error.to_string();
    if let (Operation::Ledger(path), Cause::File { error, .. }) = (&error.operation, &error.cause)
        && let Some(failure) = host_files::failure(phase, path, error)
    {
        return failure;
    }
    match &error.cause {
        Cause::Tun(tun::Error::InUse(unit)) => {
            let free = format!("without unit = {unit} in the profile a free one is taken");
            let places = Directories::system(Platform::host());
            match apply::device_holder(&places, &format!("tun{unit}")) {
                Some(holder) => {
                    Failure::new(phase, FailureKind::NoTun, format!("{words}: profile {holder} has it"))
                        .hint(format!("`pptpctl down {holder}` frees it"))
                        .hint(free)
                }
                None => Failure::new(phase, FailureKind::NoTun, words)
                    .hint(format!("no tunnel of pptpctl has it; `{SHOW_DEVICE} tun{unit}` shows what it is"))
                    .hint(free),
            }
        }
        Cause::Tun(_) => Failure::new(phase, FailureKind::NoTun, words),
        _ => Failure::new(phase, FailureKind::LinkStep, words),
    }
}

/// Creates the sockets of a connection, TCP and GRE.
pub(in crate::supervisor) fn open_sockets(
    server: Ipv4Addr,
    options: &transport::Options,
) -> Result<(OwnedFd, OwnedFd), Failure> {
    let failed = |which| move |error: io::Error| socket_failure(which, options.local, &error);
    let tcp = transport::tcp_socket(options).map_err(failed("TCP"))?;
    let gre = transport::gre_socket(server, options).map_err(failed("GRE"))?;
    Ok((tcp, gre))
}

/// Returns the failure for a socket that could not be created, bound or connected.
pub(in crate::supervisor) fn socket_failure(
    which: &str,
    localbind: Option<Ipv4Addr>,
    error: &io::Error,
) -> Failure {
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
