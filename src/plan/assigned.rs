//! Compares the addresses that a server assigns with the host that they are added to.
//!
//! An address of ours that the host needs otherwise cannot be used: the kernel would deliver to itself what is
//! meant for a next hop, the resolver or the server. One that it has already, or that stands for all hosts of a
//! connected network, cannot be used either. An end of the tunnel on a connected network gets no route
//! (`resolve`); a resolver there is not asked, as its queries would not go through the tunnel.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use super::{
    collision::{Collisions, Surroundings, Tunnel},
    default_route::default_mode,
    kill_switch,
};
use crate::{platform::Platform, profile::DnsServers};

/// The result of a comparison.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assigned {
    /// Why the address that the server assigns to this host cannot be used.
    pub refusal: Option<String>,
    /// The resolvers of the tunnel that are not asked, because a network of this host has their addresses.
    pub not_asked: Vec<IpAddr>,
    /// Remarks for the user, one sentence each.
    pub notes: Vec<String>,
}

/// Whose address a server assigns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    Server,
    Gateway,
    NextHop,
    Resolver,
}

impl Holder {
    const fn words(self) -> &'static str {
        match self {
            Self::Server => "the server's own address on the Internet",
            Self::Gateway => "the address of a gateway of this host",
            Self::NextHop => "the address of a next hop of this host's routes",
            Self::Resolver => "the address of a resolver of this host",
        }
    }
}

/// Returns which other host that this one needs has an address.
fn needed_otherwise(tunnel: &Tunnel<'_>, host: &Surroundings, address: Ipv4Addr) -> Option<Holder> {
    let one = IpAddr::V4(address);
    if tunnel.server == Some(address) {
        Some(Holder::Server)
    } else if host.gateways.contains(&one) {
        Some(Holder::Gateway)
    } else if host.next_hops.contains(&one) {
        Some(Holder::NextHop)
    } else if host.resolvers.iter().any(|(resolver, _)| *resolver == one) {
        Some(Holder::Resolver)
    } else {
        None
    }
}

/// Returns whether a route into the tunnel to the peer's address would take over a host that this one needs, one of
/// its own addresses, or a part of a connected network.
#[must_use]
pub fn peer_is_taken(tunnel: &Tunnel<'_>, host: &Surroundings, peer: Ipv4Addr) -> bool {
    let one = IpAddr::V4(peer);
    let is_on_link = |network: &IpNet| network.prefix_len() < 32 && network.contains(&one);
    tunnel.shares_routes()
        && (needed_otherwise(tunnel, host, peer).is_some()
            || host.addresses.contains(&one)
            || host.connected.iter().any(|connected| is_on_link(&connected.network)))
}

/// Compares the local address and the resolvers of a tunnel with the host. `collisions` are those of its routes.
#[must_use]
pub fn assigned(
    tunnel: &Tunnel<'_>,
    host: &Surroundings,
    local: Ipv4Addr,
    collisions: &Collisions,
) -> Assigned {
    let mut result = Assigned::default();
    if !tunnel.shares_routes() {
        return result;
    }
    let ours = IpAddr::V4(local);
    let on_link = |address: IpAddr| {
        let around = host.connected.iter().filter(|one| one.network.contains(&address));
        around.max_by_key(|one| one.network.prefix_len())
    };
    // Of a network of one or two hosts every address is one of a host.
    let stands_for_all = |network: IpNet| {
        network.prefix_len() < 31 && (network.network() == ours || network.broadcast() == ours)
    };
    result.refusal = if let Some(other) = needed_otherwise(tunnel, host, local) {
        Some(format!(
            "the server assigns {local} to this host, which is {}: it could no longer be reached",
            other.words()
        ))
    } else if host.addresses.contains(&ours) {
        Some(format!("the server assigns {local} to this host, which has it already, outside the tunnel"))
    } else {
        let network = on_link(ours).filter(|found| stands_for_all(found.network));
        network.map(|found| {
            format!(
                "the server assigns {local} to this host, which stands for all hosts of {} on {}",
                found.network, found.dev
            )
        })
    };
    if let Some(found) = on_link(ours).filter(|found| found.network.prefix_len() < 32) {
        result.notes.push(format!(
            "our address in the tunnel, {local}, is one of {} on {}: a host there with the same address is not reached",
            found.network, found.dev
        ));
    }
    // Behind the kill switch every query goes through the tunnel, wherever the resolver is (Linux).
    let by_rule = tunnel.platform == Platform::Linux
        && kill_switch::is_on(tunnel.planned, tunnel.platform)
        && default_mode(tunnel.planned, tunnel.platform).is_some();
    let left_out = collisions.unreachable();
    let through = |address: IpAddr, network: &IpNet| {
        let mut routes = tunnel.routes().map(|route| route.prefix).filter(|route| !left_out.contains(route));
        routes.any(|route| route.prefix_len() > network.prefix_len() && route.contains(&address))
    };
    let outside = |address: IpAddr| {
        let found = on_link(address)?;
        (!by_rule && !through(address, &found.network)).then_some(found)
    };
    let is_fixed = matches!(tunnel.profile.dns.servers, DnsServers::Fixed(_));
    for server in tunnel.profile.dns.servers_of(tunnel.dns.unwrap_or_default()) {
        let Some(found) = outside(server) else { continue };
        let (network, dev) = (found.network, &found.dev);
        // Without a route of the tunnel to it, a resolver that the user names may well be meant to be there.
        if is_fixed && !left_out.iter().any(|route| route.contains(&server)) {
            let note = format!(
                "dns.servers: {server} is one of {network} on {dev}: it is asked there, outside the tunnel"
            );
            result.notes.push(note);
            continue;
        }
        result.notes.push(format!(
            "the tunnel's resolver {server} is not used: its address is one of {network} on {dev}, so queries would not go \
             through the tunnel"
        ));
        result.not_asked.push(server);
    }
    result
}

#[cfg(test)]
mod tests;
