//! Compares the tunnel with the networks of this host, before the dial and on every change of the network, and
//! leaves colliding routes out as long as they collide.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use super::{Steps, facts, network_plan};
use crate::{
    engine::message::LinkUp,
    failure::Failure,
    plan::{self, Collisions, Facts, Plan, Step, Surroundings, Tunnel},
    platform::Platform,
    profile::{DnsServers, Profile},
    supervisor::preview::{address_refusal, refusal},
};

/// What is known about collisions, and the plans as they are without them.
#[derive(Default)]
pub(super) struct CollisionState {
    /// The server that is dialled.
    pub server: Option<Ipv4Addr>,
    /// The collisions that the plans in force take into account.
    pub found: Collisions,
    /// What is known about the addresses of the last link.
    pub addresses: Addresses,
    /// The last link.
    pub link: Option<LinkUp>,
    pub transport: Option<Plan>,
    /// The facts that the network plan is resolved with.
    facts: Option<Facts>,
}

/// How the addresses of a link relate to the networks of this host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Addresses {
    /// Whether the peer's address is one of a network of this host, or of a host that it needs, which keeps it.
    pub peer_is_taken: bool,
    /// Why our address cannot be used.
    pub refusal: Option<String>,
    /// The resolvers of the tunnel that are not asked.
    not_asked: Vec<IpAddr>,
}

impl Addresses {
    /// Returns warnings for the status, one sentence each.
    pub fn warnings(&self) -> Vec<String> {
        let not_asked = self.not_asked.iter().map(|server| {
            format!("the tunnel's resolver {server} is not asked: a network of this host has its address")
        });
        self.refusal.iter().cloned().chain(not_asked).collect()
    }
}

impl CollisionState {
    /// Returns the transport plan without the colliding routes, and keeps the whole for the time without them.
    pub fn around_transport(&mut self, plan: Plan) -> Plan {
        let around = plan.around(&self.found);
        self.transport = Some(plan);
        around
    }

    /// Returns the network plan for a link as it applies now, and keeps the facts for later changes.
    pub fn around_network(&mut self, planned: &Profile, facts: Facts, up: &LinkUp) -> Plan {
        let plan = self.network(planned, &facts, up);
        self.facts = Some(facts);
        plan
    }

    /// Returns the transport plan for the time without a path to the server, which has no host route then.
    fn without_path(&self) -> Option<Plan> {
        let mut plan = self.transport.as_ref()?.around(&self.found);
        plan.steps.retain(|step| !matches!(step, Step::HostRoute(_)));
        Some(plan)
    }

    /// Records the MTU that the path allows, for the next time the network plan is performed.
    pub fn set_mtu(&mut self, mtu: u16) {
        if let Some(link) = &mut self.link {
            link.mtu = mtu;
        }
    }

    /// Returns the network plan without the colliding routes, and without resolvers that are not asked.
    fn network(&self, planned: &Profile, facts: &Facts, up: &LinkUp) -> Plan {
        let Addresses { peer_is_taken, not_asked, .. } = &self.addresses;
        let asked = |address: &IpAddr| !not_asked.contains(address);
        let mut planned = planned.clone();
        if let DnsServers::Fixed(servers) = &mut planned.dns.servers {
            servers.retain(asked);
            if servers.is_empty() {
                planned.dns.servers = DnsServers::None;
            }
        }
        let dns: Vec<Ipv4Addr> = up.dns.iter().copied().filter(|one| asked(&IpAddr::V4(*one))).collect();
        let facts = Facts { peer_is_taken: *peer_is_taken, ..facts.clone() };
        network_plan(&planned, facts, up, &dns).around(&self.found)
    }
}

impl Steps {
    /// Compares the profile with this host before anything is done.
    ///
    /// # Errors
    /// Returns the refusal that the profile asks for (`collision`).
    pub fn refuse_collisions(&mut self) -> Result<(), Failure> {
        self.compare();
        refusal(&self.profile, &self.collisions.found).map_or(Ok(()), Err)
    }

    /// Compares the routes of a first link with those of other tunnels, which may have ended meanwhile.
    fn refuse_taken_routes(&self) -> Result<(), Failure> {
        let Some(changes) = self.changes.as_ref().filter(|_| self.collisions.facts.is_none()) else {
            return Ok(());
        };
        let host = Surroundings { tunnels: changes.other_tunnels(), ..Surroundings::default() };
        let found = plan::collisions(&self.tunnel(&self.profile), &host);
        refusal(&self.profile, &found).map_or(Ok(()), Err)
    }

    /// Compares the routes with this host as it is now, which it returns.
    pub fn compare(&mut self) -> Surroundings {
        let host = self.surroundings();
        let planned = self.offered.as_ref().unwrap_or(&self.profile);
        self.collisions.found = plan::collisions(&self.tunnel(planned), &host);
        host
    }

    /// Compares the addresses of a new link with this host.
    ///
    /// # Errors
    /// Returns a failure if the host needs the address that the server assigns to it, or if another tunnel has one of
    /// the routes.
    pub fn compare_addresses(&mut self, up: &LinkUp, notes: &mut Vec<String>) -> Result<(), Failure> {
        self.refuse_taken_routes()?;
        self.collisions.link = Some(up.clone());
        let host = self.compare();
        notes.extend(self.compare_link(up, &host));
        let Some(words) = &self.collisions.addresses.refusal else { return Ok(()) };
        Err(address_refusal(words.clone()))
    }

    /// Compares the addresses of a link with this host; returns notes for the user.
    pub(super) fn compare_link(&mut self, up: &LinkUp, host: &Surroundings) -> Vec<String> {
        let planned = self.offered.as_ref().unwrap_or(&self.profile);
        let assigned = plan::assigned(&self.tunnel(planned), host, up.local, &self.collisions.found);
        let peer_is_taken = plan::peer_is_taken(&self.tunnel(planned), host, up.peer);
        self.collisions.addresses =
            Addresses { peer_is_taken, refusal: assigned.refusal, not_asked: assigned.not_asked };
        assigned.notes
    }

    /// Compares again after a change of the network: takes away what collides now, and performs the plans again
    /// when something no longer does. `has_device` is whether the tunnel's device is there. Returns whether anything was
    /// different.
    pub fn follow_collisions(&mut self, has_device: bool) -> bool {
        if self.changes.is_none() || self.collisions.transport.is_none() {
            return false;
        }
        if self.collisions.link.is_some() {
            self.follow_taken_traffic();
        }
        let before = (self.collisions.found.clone(), self.collisions.addresses.clone());
        let host = self.compare();
        if let Some(link) = self.collisions.link.clone() {
            self.compare_link(&link, &host);
        }
        if (&self.collisions.found, &self.collisions.addresses) == (&before.0, &before.1) {
            return false;
        }
        log_difference(&before.0, &self.collisions.found);
        let (left_out, refusal) =
            (self.collisions.found.left_out_prefixes(), self.collisions.addresses.refusal.clone());
        let Some(changes) = &mut self.changes else { return true };
        // First of all the host gets its network back.
        let mut errors = changes.withdraw_routes_to(&left_out);
        if let Some(words) = refusal {
            tracing::warn!("{words}; the tunnel has no address until this host leaves that network");
            errors.extend(changes.withdraw_addresses());
        }
        errors.extend(changes.free_gateways(&host));
        let planned = self.offered.as_ref().unwrap_or(&self.profile);
        let now = self.collisions.server.and_then(|server| facts(changes, planned, server).ok());
        let transport = match now {
            Some(now) => {
                let plan = plan::transport(planned, Platform::host()).resolve(&now);
                Some(self.collisions.around_transport(plan))
            }
            None => self.collisions.without_path(),
        };
        let network = self.network_in_force(has_device);
        let Some(changes) = &mut self.changes else { return true };
        for plan in transport.iter().chain(&network) {
            errors.extend(changes.perform(plan).err());
        }
        for error in errors {
            // Another message of the kernel follows while the network is still changing.
            tracing::warn!("after a change of the network: {error}");
        }
        true
    }

    /// Returns the network plan of the last link as it applies now, if it is in force. `has_device` is whether the
    /// tunnel's device is there.
    pub(super) fn network_in_force(&self, has_device: bool) -> Option<Plan> {
        let planned = self.offered.as_ref().unwrap_or(&self.profile);
        let state = &self.collisions;
        let known = state.facts.as_ref().zip(state.link.as_ref());
        let network = known.map(|(facts, up)| state.network(planned, facts, up));
        network.filter(|_| has_device && !self.without_routes && state.addresses.refusal.is_none())
    }

    /// Returns the prefixes that are not reached through the tunnel.
    pub fn unreachable(&self) -> Vec<String> {
        self.collisions.found.unreachable().iter().map(ToString::to_string).collect()
    }

    fn tunnel<'a>(&'a self, planned: &'a Profile) -> Tunnel<'a> {
        Tunnel {
            profile: &self.profile,
            planned,
            platform: Platform::host(),
            server: self.collisions.server,
            dns: self.collisions.link.as_ref().map(|link| link.dns.as_slice()),
        }
    }

    fn surroundings(&mut self) -> Surroundings {
        let planned = self.offered.as_ref().unwrap_or(&self.profile);
        let (shares, ipv6) = (self.tunnel(planned).shares_routes(), planned.ppp.ipv6);
        let routes = main_routes(planned);
        let changes = self.changes.as_mut().filter(|_| shares);
        changes.map(|changes| changes.surroundings(&routes, ipv6)).unwrap_or_default()
    }
}

/// Logs which routes collide now and did not before, and which no longer do.
fn log_difference(before: &Collisions, now: &Collisions) {
    let fresh = now.found.iter().filter(|one| !before.found.contains(one));
    fresh.for_each(|one| tracing::warn!("{}", one.warning()));
    let still = now.unreachable();
    let gone = before.unreachable().into_iter().filter(|route| !still.contains(route));
    gone.for_each(|route| tracing::info!("{route} is reached through the tunnel again"));
}

/// Returns the destinations of a profile's routes in the main table.
fn main_routes(profile: &Profile) -> Vec<IpNet> {
    profile.routes.iter().filter(|route| route.table.is_none()).map(|route| route.prefix).collect()
}
