//! Reads what a tunnel's routes are compared with: the networks to which this host is connected, the gateways of
//! its default routes, and the resolvers that it asks.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
};

use ipnet::IpNet;

use super::{
    ApplyError, Changes, Directories, Host, dns, files,
    ledger::{self, PriorState},
    on_link::{self, SHORTEST},
    others, routes,
};
use crate::{
    net::routes::{Filter, Kind, MAIN_TABLE, Route},
    plan::{Connected, HostRouteStep, PolicyStep, RESOLV_CONF, Step, Surroundings, Value},
};

/// The upstream resolvers of systemd-resolved, when resolv.conf(5) names only its stub.
pub const RESOLVED_UPSTREAM: &str = "/run/systemd/resolve/resolv.conf";

impl Changes {
    /// Returns the networks, gateways and resolvers of this host, apart from what this tunnel has changed. The
    /// next hop is looked up for resolvers that one of the tunnel's `routes` covers.
    pub fn surroundings(&mut self, routes: &[IpNet], ipv6: bool) -> Surroundings {
        let own = self.device_name().map(str::to_owned);
        let mut found = read(&mut self.host, own.as_deref(), ipv6);
        for entry in &self.ledger.record().entries {
            match (&entry.step, &entry.before) {
                // The default routes that this tunnel has removed.
                (Step::RemoveDefault(_), PriorState::Routes(removed)) => {
                    found.gateways.extend(removed.iter().flat_map(gateways));
                }
                // The next hops to the server and to `exclude`.
                (Step::HostRoute(HostRouteStep { way: Value::Known(way), .. }), _)
                | (Step::Policy(PolicyStep::Outside { way: Value::Known(way), .. }), _) => {
                    found.next_hops.extend(way.gateway());
                }
                // The resolvers that the last link has set: the next one may name others.
                (Step::Dns(dns), _) => {
                    let set = dns.servers.known().map(Vec::as_slice).unwrap_or_default();
                    found.resolvers.retain(|(address, _)| !set.contains(address));
                }
                _ => {}
            }
        }
        let on_link = |address: &IpAddr| found.connected.iter().any(|one| one.network.contains(address));
        let asked: Vec<IpNet> = found
            .resolvers
            .iter()
            .map(|(address, _)| *address)
            .filter(|address| routes.iter().any(|route| route.contains(address)) && !on_link(address))
            .map(IpNet::from)
            .collect();
        if !asked.is_empty() {
            found.ways_to_resolvers.extend(self.other_tunnels().into_iter().map(|route| route.dest));
        }
        for (resolver, way) in self.next_hops_outside(&asked) {
            for (_, known) in found.resolvers.iter_mut().filter(|(one, _)| IpNet::from(*one) == resolver) {
                known.clone_from(&way);
            }
        }
        found
    }

    /// Returns the routes of the other tunnels in this network namespace.
    #[must_use]
    pub fn other_tunnels(&self) -> Vec<crate::plan::TunnelRoute> {
        others::routes(&self.directories, self.ledger.path(), self.ledger.record().header.namespace())
    }
}

/// Returns the networks, gateways and resolvers of this host, and the routes of other tunnels as far as this user
/// may read their ledgers, for a profile that is not up.
///
/// # Errors
/// Returns an error if the kernel's routing socket can't be opened.
pub fn surroundings(places: &Directories, profile: &str, ipv6: bool) -> Result<Surroundings, ApplyError> {
    let own = places.ledger(profile);
    let device = ledger::peek(&own).and_then(|record| record.device).map(|device| device.name);
    let mut host = Host::system()?;
    let mut found = read(&mut host, device.as_deref(), ipv6);
    for (resolver, way) in &mut found.resolvers {
        let route =
            host.route_to(*resolver, None, None).ok().filter(|route| device.as_ref() != Some(&route.dev));
        *way = route.map(routes::next_hop);
    }
    found.tunnels = others::routes(places, &own, crate::os::namespace::Namespace::current());
    found.ways_to_resolvers.extend(found.tunnels.iter().map(|route| route.dest));
    Ok(found)
}

fn read(host: &mut Host, own: Option<&str>, ipv6: bool) -> Surroundings {
    let addresses = addresses(host, own);
    let mut found = Surroundings {
        resolvers: resolvers(&addresses).into_iter().map(|address| (address, None)).collect(),
        ..Surroundings::default()
    };
    let families: &[bool] = if ipv6 { &[false, true] } else { &[false] };
    for &ipv6 in families {
        let filter = Filter { ipv6, table: Some(MAIN_TABLE), dest: None };
        match host.routes(&filter) {
            Ok(routes) => {
                found
                    .connected
                    .extend(routes.iter().filter_map(|one| connected_network(one, own, &addresses)));
                let by_own = |one: &&Route| own.is_some_and(|own| one.leaves_by(own));
                let foreign = routes.iter().filter(|one| !one.is_ours() && !by_own(one));
                found.next_hops.extend(foreign.flat_map(gateways).filter(|via| !addresses.contains(via)));
                let defaults = routes.iter().filter(|one| one.dest.prefix_len() == 0 && !one.is_ours());
                found.gateways.extend(defaults.flat_map(gateways));
                let leads_to_resolver = |one: &&Route| {
                    !one.is_ours()
                        && one.kind == Kind::Unicast
                        && one.dest.prefix_len() >= SHORTEST
                        && own.is_none_or(|own| !one.leaves_by(own))
                        && found.resolvers.iter().any(|(address, _)| one.dest.contains(address))
                };
                let ways = routes.iter().filter(leads_to_resolver).map(|one| one.dest);
                found.ways_to_resolvers.extend(ways);
            }
            // Adding a route compares with the kernel's table again.
            Err(error) => tracing::warn!("the networks of this host: {error}"),
        }
    }
    found.addresses = addresses;
    for list in [&mut found.gateways, &mut found.next_hops] {
        list.sort_unstable();
        list.dedup();
    }
    found
}

/// Returns the network of a route without a gateway, if its interface is neither the tunnel's nor loopback.
fn connected_network(route: &Route, own: Option<&str>, addresses: &[IpAddr]) -> Option<Connected> {
    let dev = on_link::device(route, addresses)?;
    let is_network = route.dest.prefix_len() >= SHORTEST && !route.dest.addr().is_multicast();
    let is_loopback =
        dev.strip_prefix("lo").is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()));
    let counts = is_network && !is_loopback && !route.is_ours() && own != Some(dev);
    counts.then(|| Connected { network: route.dest, dev: dev.to_owned(), metric: route.metric })
}

fn gateways(route: &Route) -> impl Iterator<Item = IpAddr> + '_ {
    route.hops.iter().filter_map(|hop| hop.via)
}

/// Returns the addresses of this host, apart from those of the tunnel's device.
fn addresses(host: &mut Host, own: Option<&str>) -> Vec<IpAddr> {
    let all = host.addresses().unwrap_or_else(|error| {
        tracing::warn!("cannot list this host's addresses: {error}");
        Vec::new()
    });
    all.into_iter().filter(|one| Some(one.dev.as_str()) != own).map(|one| one.address).collect()
}

/// Returns the files that name the resolvers of this host, as far as their directories exist.
#[must_use]
pub fn resolver_sources() -> Vec<PathBuf> {
    let named = Path::new(RESOLV_CONF);
    let target = files::target(named).ok().filter(|target| target != named);
    let all = [Some(named.to_owned()), target, Some(RESOLVED_UPSTREAM.into())].into_iter().flatten();
    all.filter(|file| file.parent().is_some_and(Path::is_dir)).collect()
}

/// Returns the resolvers on other hosts that this host asks, in order.
fn resolvers(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let named = |path: &str| {
        let file = files::target(Path::new(path)).ok().and_then(|target| files::read(&target).ok().flatten());
        file.map(|file| dns::nameservers(&file.content)).unwrap_or_default()
    };
    let mut servers = named(RESOLV_CONF);
    let stubs = [Ipv4Addr::new(127, 0, 0, 53), Ipv4Addr::new(127, 0, 0, 54)].map(IpAddr::V4);
    if servers.iter().any(|server| stubs.contains(server)) {
        servers.extend(named(RESOLVED_UPSTREAM));
    }
    let mut found: Vec<IpAddr> = Vec::new();
    for server in servers {
        let here = server.is_loopback() || server.is_unspecified() || addresses.contains(&server);
        if !here && !found.contains(&server) {
            found.push(server);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::routes::Hop;

    fn route(dest: &str, dev: &str) -> Route {
        Route { protocol: 2, ..Route::through(dest.parse().unwrap(), dev) }
    }

    #[test]
    fn routes_without_a_gateway_are_connected_networks() {
        let of = |route: &Route| {
            connected_network(route, Some("tun0"), &["192.0.2.2".parse().unwrap()]).map(|one| one.dev)
        };
        assert_eq!(of(&route("192.0.2.0/24", "eth0")).as_deref(), Some("eth0"));
        assert_eq!(of(&route("2001:db8::/64", "eth0")).as_deref(), Some("eth0"));
        for (dest, dev) in
            [("10.42.0.0/16", "tun0"), ("127.0.0.0/8", "lo0"), ("0.0.0.0/0", "ppp0"), ("ff00::/8", "eth0")]
        {
            assert_eq!(of(&route(dest, dev)), None, "{dest}");
        }
        let ours = Route::through("10.42.0.0/16".parse().unwrap(), "tun1");
        assert_eq!(of(&ours), None);
        let via = |gateway: &str| {
            let via = Some(gateway.parse().unwrap());
            let hop = Hop { via, dev: Some("eth0".to_owned()), onlink: false, weight: 0 };
            Route { hops: vec![hop], ..route("10.0.0.0/8", "eth0") }
        };
        assert_eq!(of(&via("192.0.2.1")), None);
        // OpenBSD: the gateway of a connected network is the interface's own address.
        assert_eq!(of(&via("192.0.2.2")).as_deref(), Some("eth0"));
        let refused = Route { kind: Kind::Unreachable, hops: Vec::new(), ..route("10.0.0.0/8", "") };
        assert_eq!(of(&refused), None);
    }
}
