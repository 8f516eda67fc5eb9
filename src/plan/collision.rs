//! Compares a tunnel's routes with the networks to which this host is connected, and with its resolvers.
//!
//! A route collides if it is equal to or inside a connected network, or if it covers a resolver of this host
//! that is neither on a connected network nor one of the tunnel's own. A shorter route than the connected
//! network does not: the kernel prefers the longer prefix. Routes in other routing tables do not count, nor do
//! those of a tunnel in a network namespace, routing domain or FIB of its own.
//!
//! `apply` reads the [`Surroundings`]; [`Plan::around`] takes the result into account. `collision_text` has the
//! sentences.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use super::{
    NextHop, Part, Plan, PolicyStep, Step, Value,
    default_route::{default_mode, is_in_netns, routing_domain},
    kill_switch,
    local_space::is_local,
    route::{HostRouteStep, RouteStep},
};
use crate::{
    platform::Platform,
    profile::{Leak, OnCollision, Profile, Route},
};

/// The networks and addresses of a host that a tunnel must not take over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// The networks to which the host is connected.
    pub connected: Vec<Connected>,
    /// The gateways of all default routes.
    pub gateways: Vec<IpAddr>,
    /// The next hops of all routes by a gateway.
    pub next_hops: Vec<IpAddr>,
    /// The host's own addresses, apart from those of the tunnel's device.
    pub addresses: Vec<IpAddr>,
    /// The resolvers that the host asks, with the next hop to those that need one. None on the host itself.
    pub resolvers: Vec<(IpAddr, Option<NextHop>)>,
    /// The destinations of routes by a gateway or another tunnel that lead to a resolver; no default routes.
    pub ways_to_resolvers: Vec<IpNet>,
    /// The routes of other tunnels of this program.
    pub tunnels: Vec<TunnelRoute>,
}

/// A route without a gateway, on an interface that is not the tunnel's, whichever program added it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connected {
    /// Its destination.
    pub network: IpNet,
    /// The interface.
    pub dev: String,
    /// The route's metric; 0 on systems without metrics.
    pub metric: u32,
}

/// A route into another tunnel of this program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunnelRoute {
    /// The profile of that tunnel.
    pub profile: String,
    /// The destination.
    pub dest: IpNet,
    /// The metric in its profile.
    pub metric: Option<u32>,
}

/// One route of a tunnel that collides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collision {
    /// Its destination.
    pub route: IpNet,
    /// What it collides with.
    pub with: Obstacle,
    /// The kill switch leads packets for it into the tunnel all the same: the network that it collides with has
    /// public addresses, and is not reached instead.
    pub cuts_lan: bool,
}

/// What a route collides with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// A network to which the host is connected.
    Network {
        /// The network.
        network: IpNet,
        /// The interface.
        dev: String,
        /// The gateways and resolvers of the host that the route covers.
        hosts: Vec<IpAddr>,
    },
    /// A resolver that the host asks.
    Resolver(IpAddr),
    /// A route of the tunnel of this profile.
    Tunnel(String),
}

/// The result of a comparison.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collisions {
    /// The routes that collide, in the order of the profile.
    pub found: Vec<Collision>,
    /// The routes of the plan that are left out.
    left_out: Vec<LeftOut>,
    /// Addresses that a route covers and that stay outside, with their next hops.
    outside: Vec<(IpNet, NextHop)>,
}

/// A route that is left out of the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
struct LeftOut {
    dest: IpNet,
    /// The destination of the kill switch's blocking route in its place. The route must not take precedence over
    /// a connected network; it is needed as soon as the host leaves that network.
    block: Option<IpNet>,
}

/// What a comparison is about.
#[derive(Clone, Copy, Debug)]
pub struct Tunnel<'a> {
    /// The profile as the user wrote it.
    pub profile: &'a Profile,
    /// The same with the routes that the server offers.
    pub planned: &'a Profile,
    /// The system.
    pub platform: Platform,
    /// The server that is dialled, if it is known.
    pub server: Option<Ipv4Addr>,
    /// The resolvers that the server named; `None` if it has not been asked yet.
    pub dns: Option<&'a [Ipv4Addr]>,
}

impl Tunnel<'_> {
    /// Returns whether the tunnel's routes are in the same routing table as those of the host.
    #[must_use]
    pub fn shares_routes(&self) -> bool {
        !is_in_netns(self.profile, self.platform) && routing_domain(self.profile, self.platform).is_none()
    }

    /// Returns the routes that can collide.
    pub(super) fn routes(&self) -> impl Iterator<Item = &Route> {
        let speaks = |dest: &IpNet| self.planned.ppp.ipv6 || matches!(dest, IpNet::V4(_));
        let shares = self.shares_routes();
        self.planned.routes.iter().filter(move |one| shares && one.table.is_none() && speaks(&one.prefix))
    }

    /// Returns the destinations of the steps for one route.
    fn parts(&self, route: &Route) -> Vec<IpNet> {
        kill_switch::more_specific_than_block(self.planned, self.platform, route.prefix)
    }

    /// Returns whether the host is meant to ask this resolver through the tunnel.
    fn is_own_resolver(&self, address: IpAddr) -> bool {
        self.profile.dns.servers_of(self.dns.unwrap_or_default()).contains(&address)
    }

    /// Returns whether the tunnel's resolvers take the place of those of the host, for all names.
    fn replaces_resolvers(&self) -> bool {
        let dns = &self.profile.dns;
        let has_some = self.dns.is_none_or(|named| !dns.servers_of(named).is_empty());
        dns.is_wanted() && dns.domains.is_empty() && has_some
    }

    /// Returns whether the rules of the kill switch lead packets for a network of this host into the tunnel's table,
    /// which has a default route: those of local address space pass.
    fn cuts_lan(&self, with: &Obstacle) -> bool {
        let Obstacle::Network { network, .. } = with else { return false };
        self.platform == Platform::Linux
            && kill_switch::is_on(self.planned, self.platform)
            && default_mode(self.planned, self.platform).is_some()
            && !is_local(network)
    }

    /// Returns whether a prefix stays outside because the user says so.
    fn is_excluded(&self, prefix: &IpNet) -> bool {
        self.profile.exclude.iter().any(|outside| outside.contains(prefix))
    }
}

/// Compares the routes of a tunnel with the host that they are added to.
#[must_use]
pub fn find(tunnel: &Tunnel<'_>, host: &Surroundings) -> Collisions {
    let mut result = Collisions::default();
    for route in tunnel.routes() {
        match obstacle(tunnel, route, host) {
            None => {}
            // Of a route that the host already excludes only the part on the connected network is left out.
            Some(with) if tunnel.is_excluded(&route.prefix) => result.leave_out(tunnel, route, &with),
            Some(Obstacle::Network { network, hosts, .. }) if leads_into(tunnel, route, &network, &hosts) => {
                result.keep_outside(tunnel, route, host);
            }
            // The resolver stays outside instead of the route.
            Some(Obstacle::Resolver(address))
                if tunnel.profile.collision == OnCollision::Tunnel
                    && IpNet::from(address) != route.prefix
                    && host.has_ways_to(&route.prefix) =>
            {
                result.keep_outside(tunnel, route, host);
            }
            Some(with) => {
                result.leave_out(tunnel, route, &with);
                if let Obstacle::Resolver(_) = with
                    && tunnel.profile.leak == Leak::Block
                {
                    result.keep_outside(tunnel, route, host);
                }
                let cuts_lan = tunnel.cuts_lan(&with);
                result.found.push(Collision { route: route.prefix, with, cuts_lan });
            }
        }
        // On the BSDs the kill switch makes two routes of one; a half can be a connected network where the whole
        // is not.
        for part in tunnel.parts(route).into_iter().filter(|part| *part != route.prefix) {
            if host.network_with(&part).is_some() && !result.is_left_out(&part) {
                result.left_out.push(LeftOut { dest: part, block: None });
            }
        }
    }
    result
}

/// Returns what a route collides with; the routes of other tunnels first, as nothing can be done about them.
fn obstacle(tunnel: &Tunnel<'_>, route: &Route, host: &Surroundings) -> Option<Obstacle> {
    let same = |other: &&TunnelRoute| other.dest == route.prefix && other.metric == route.metric;
    if let Some(other) = host.tunnels.iter().find(same) {
        return Some(Obstacle::Tunnel(other.profile.clone()));
    }
    let is_offered = !tunnel.profile.routes.contains(route);
    if let Some(found) = host.network_with(&route.prefix) {
        // A route of the profile with a worse metric than the network's: the kernel uses the network.
        let yields = tunnel.platform == Platform::Linux
            && found.network == route.prefix
            && !is_offered
            && route.metric.is_some_and(|metric| metric > found.metric);
        let hosts = host.hosts_in(&route.prefix);
        return (!yields).then(|| Obstacle::Network {
            network: found.network,
            dev: found.dev.clone(),
            hosts,
        });
    }
    // With a default route every resolver is reached through the tunnel anyway.
    if default_mode(tunnel.planned, tunnel.platform).is_some() || tunnel.replaces_resolvers() {
        return None;
    }
    let asked = |address: &IpAddr| {
        route.prefix.contains(address)
            && host.network_with(&IpNet::from(*address)).is_none()
            && !host.keeps_way_to(address, &route.prefix)
            && !tunnel.is_own_resolver(*address)
            && !tunnel.is_excluded(&IpNet::from(*address))
    };
    host.resolvers.iter().map(|(address, _)| *address).find(asked).map(Obstacle::Resolver)
}

/// Returns whether a part of a connected network goes through the tunnel (`collision = "tunnel"`).
fn leads_into(tunnel: &Tunnel<'_>, route: &Route, network: &IpNet, hosts: &[IpAddr]) -> bool {
    let is_host = |address: IpAddr| IpNet::from(address) == route.prefix;
    tunnel.profile.collision == OnCollision::Tunnel
        && route.prefix.prefix_len() > network.prefix_len()
        && !hosts.iter().copied().any(is_host)
        && !tunnel.server.is_some_and(|server| is_host(IpAddr::V4(server)))
}

impl Surroundings {
    /// Returns the smallest connected network that is equal to a prefix or contains it.
    fn network_with(&self, prefix: &IpNet) -> Option<&Connected> {
        let around = self.connected.iter().filter(|one| one.network.contains(prefix));
        around.max_by_key(|one| (one.network.prefix_len(), std::cmp::Reverse(one.metric)))
    }

    /// Returns the gateways and resolvers in a prefix, each once.
    fn hosts_in(&self, prefix: &IpNet) -> Vec<IpAddr> {
        let mut hosts: Vec<IpAddr> = Vec::new();
        for host in self.gateways.iter().copied().chain(self.resolvers.iter().map(|(address, _)| *address)) {
            if prefix.contains(&host) && !hosts.contains(&host) {
                hosts.push(host);
            }
        }
        hosts
    }

    /// Returns whether a route more specific than this prefix leads to a resolver.
    fn keeps_way_to(&self, resolver: &IpAddr, prefix: &IpNet) -> bool {
        let longer = |one: &&IpNet| one.prefix_len() > prefix.prefix_len();
        self.ways_to_resolvers.iter().filter(longer).any(|one| one.contains(resolver))
    }

    /// Returns whether the next hops to all gateways and resolvers in a prefix are known.
    fn has_ways_to(&self, prefix: &IpNet) -> bool {
        self.hosts_in(prefix).into_iter().all(|host| self.way_to(host).is_some())
    }

    /// Returns the next hop to a gateway or resolver without the tunnel, as far as it is known.
    fn way_to(&self, address: IpAddr) -> Option<NextHop> {
        if let Some(found) = self.network_with(&IpNet::from(address)) {
            return Some(NextHop::By { gateway: None, dev: found.dev.clone(), source: None });
        }
        self.resolvers.iter().find(|(one, _)| *one == address)?.1.clone()
    }
}

impl Collisions {
    /// Returns whether the steps to this destination are left out.
    fn is_left_out(&self, dest: &IpNet) -> bool {
        self.left_out.iter().any(|one| one.dest == *dest)
    }

    fn leave_out(&mut self, tunnel: &Tunnel<'_>, route: &Route, with: &Obstacle) {
        let block = match with {
            Obstacle::Resolver(_) | Obstacle::Tunnel(_) => Some(route.prefix),
            // With the worst metric it has no effect while the host is connected.
            Obstacle::Network { network, .. } => (tunnel.platform == Platform::Linux).then_some(*network),
        };
        for dest in std::iter::once(route.prefix).chain(tunnel.parts(route)) {
            if !self.is_left_out(&dest) {
                self.left_out.push(LeftOut { dest, block });
            }
        }
    }

    /// Keeps the gateways and resolvers that a route covers outside. (The server has a host route.)
    fn keep_outside(&mut self, tunnel: &Tunnel<'_>, route: &Route, host: &Surroundings) {
        for address in host.hosts_in(&route.prefix) {
            let dest = IpNet::from(address);
            let known = self.outside.iter().any(|(one, _)| *one == dest) || tunnel.is_excluded(&dest);
            if let Some(way) = host.way_to(address).filter(|_| !known && !tunnel.is_own_resolver(address)) {
                self.outside.push((dest, way));
            }
        }
    }

    /// Returns the destinations of the steps that are left out.
    #[must_use]
    pub fn left_out_prefixes(&self) -> Vec<IpNet> {
        self.left_out.iter().map(|one| one.dest).collect()
    }

    /// Returns the prefixes that are not reached through the tunnel although the profile says so.
    #[must_use]
    pub fn unreachable(&self) -> Vec<IpNet> {
        self.found.iter().filter(|one| !one.cuts_lan).map(|one| one.route).collect()
    }
}

impl Plan {
    /// Returns the plan without the routes that collide, and with routes for the addresses that stay outside.
    #[must_use]
    pub fn around(&self, collisions: &Collisions) -> Self {
        let mut plan = Self { steps: Vec::with_capacity(self.steps.len()), ..self.clone() };
        for step in &self.steps {
            match step {
                Step::Route(RouteStep { dest, table: None, .. }) if collisions.is_left_out(dest) => {}
                Step::Policy(PolicyStep::Block { dest, table: None }) if collisions.is_left_out(dest) => {
                    let left_out = collisions.left_out.iter().find(|one| one.dest == *dest);
                    let block = left_out.and_then(|one| one.block);
                    let block = block.map(|dest| Step::Policy(PolicyStep::Block { dest, table: None }));
                    plan.steps.extend(block.filter(|step| !plan.steps.contains(step)));
                }
                Step::HostRoute(host_route) => {
                    plan.steps.extend(host_route_around(host_route, collisions).map(Step::HostRoute));
                }
                step => plan.steps.push(step.clone()),
            }
        }
        if plan.part == Part::Transport {
            for step in &mut plan.steps {
                if let Step::LeakFilter(filter) = step {
                    filter.outside.extend(collisions.outside.iter().map(|(dest, _)| *dest));
                }
            }
            for (dest, way) in &collisions.outside {
                let outside =
                    Step::Policy(PolicyStep::Outside { dest: *dest, way: Value::Known(way.clone()) });
                if !plan.steps.iter().any(|step| step.key() == outside.key()) {
                    plan.steps.push(outside);
                }
            }
        }
        plan
    }
}

/// Returns the host route to the server, if a route that is not left out may still cover the server.
fn host_route_around(step: &HostRouteStep, collisions: &Collisions) -> Option<HostRouteStep> {
    let mut step = step.clone();
    step.within.retain(|prefix| !collisions.is_left_out(prefix));
    let covers = |prefix: &IpNet| step.server.known().is_none_or(|server| prefix.contains(server));
    let is_needed = step.within.iter().any(covers);
    is_needed.then_some(step)
}

#[cfg(test)]
mod tests;
