//! Compares the addresses that a server assigns with the host that they are added to.
//!
//! An address of ours that the host needs otherwise cannot be used: the kernel would deliver to itself what is
//! meant for the gateway, the resolver or the server. An end of the tunnel on a connected network gets no route
//! (`resolve`); a resolver there is not asked, as its queries would not go through the tunnel.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use super::{
    collision::{Surroundings, Tunnel},
    default_route::default_mode,
    kill_switch,
};
use crate::{platform::Platform, profile::DnsServers};

/// The result of a comparison.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assigned {
    /// Why the address that the server assigns to this host cannot be used.
    pub refusal: Option<String>,
    /// The resolvers of the server that are asked.
    pub dns: Vec<Ipv4Addr>,
    /// Remarks for the user, one sentence each.
    pub notes: Vec<String>,
}

/// Compares the local address and the resolvers that the server assigns with the host. `routes` are the
/// destinations of the tunnel's routes.
#[must_use]
pub fn assigned(tunnel: &Tunnel<'_>, host: &Surroundings, local: Ipv4Addr, routes: &[IpNet]) -> Assigned {
    let mut result = Assigned { dns: tunnel.dns.unwrap_or_default().to_vec(), ..Assigned::default() };
    if !tunnel.shares_routes() {
        return result;
    }
    let ours = IpAddr::V4(local);
    let needed = if tunnel.server == Some(local) {
        Some("the server's own address on the Internet")
    } else if host.gateways.contains(&ours) {
        Some("the address of a gateway of this host")
    } else if host.resolvers.iter().any(|(address, _)| *address == ours) {
        Some("the address of a resolver of this host")
    } else {
        None
    };
    result.refusal = needed.map(|what| {
        format!("the server assigns {local} to this host, which is {what}: it could no longer be reached")
    });
    let on_link = |address: IpAddr| {
        let around = host.connected.iter().filter(|one| one.network.contains(&address));
        around.max_by_key(|one| one.network.prefix_len())
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
    let through = |address: IpAddr, network: &IpNet| {
        routes.iter().any(|route| route.prefix_len() > network.prefix_len() && route.contains(&address))
    };
    let outside = |address: IpAddr| {
        let found = on_link(address)?;
        (!by_rule && !through(address, &found.network)).then_some(found)
    };
    match &tunnel.profile.dns.servers {
        DnsServers::None => {}
        DnsServers::Peer => result.dns.retain(|server| match outside(IpAddr::V4(*server)) {
            Some(found) => {
                result.notes.push(format!(
                    "the server's resolver {server} is not used: its address is one of {} on {}, so queries would not go \
                     through the tunnel",
                    found.network, found.dev
                ));
                false
            }
            None => true,
        }),
        DnsServers::Fixed(servers) => {
            let on_lan = servers.iter().filter_map(|server| Some((server, outside(*server)?)));
            result.notes.extend(on_lan.map(|(server, found)| {
                format!(
                    "dns.servers: {server} is one of {} on {}: it is asked there, outside the tunnel",
                    found.network, found.dev
                )
            }));
        }
    }
    result
}

#[cfg(test)]
mod tests;
