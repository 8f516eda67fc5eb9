//! How everything goes through the tunnel: the mode of the default route on each platform, and the prefixes that lead
//! into the tunnel by it.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{Platform, Symbol, Value};
use crate::profile::{DefaultRoute, Profile};

/// Whether the tunnel lives in a network namespace other than the transport's.
pub(super) fn inside(profile: &Profile, platform: Platform) -> bool {
    platform == Platform::Linux && profile.link.netns.is_some()
}

/// The routing table that the tunnel is placed in: a routing domain, or a FIB.
pub(super) fn domain(profile: &Profile, platform: Platform) -> Option<u32> {
    match platform {
        Platform::OpenBsd => profile.link.rdomain,
        Platform::FreeBsd => profile.link.fib,
        Platform::Linux | Platform::NetBsd => None,
    }
}

/// How everything goes through the tunnel on this platform; `None` when it does not, and never `Auto`.
///
/// On Linux by policy rules: the main table stays as it is, so there is nothing to follow when the host roams and
/// nothing to put back; in a namespace of the tunnel's own there is no other way out that it could get into conflict
/// with, so it simply is the default route there. The BSDs have no such rules; there two halves leave the old default
/// route where dhclient put it, and are gone with the device whatever becomes of us.
pub(super) fn default_mode(profile: &Profile, platform: Platform) -> Option<DefaultRoute> {
    match (profile.default_route?, platform) {
        _ if inside(profile, platform) => Some(DefaultRoute::Replace),
        (DefaultRoute::Auto | DefaultRoute::Policy, Platform::Linux) => Some(DefaultRoute::Policy),
        (DefaultRoute::Auto | DefaultRoute::Policy, _) => Some(DefaultRoute::Halves),
        // The default routes that would be removed are not in the tunnel's table.
        (DefaultRoute::Replace, _) if domain(profile, platform).is_some() => Some(DefaultRoute::Halves),
        (mode, _) => Some(mode),
    }
}

/// 0/1 and 128/1, or ::/1 and 8000::/1: together everything, each more specific than a default route.
pub(super) fn halves(ipv6: bool) -> [IpNet; 2] {
    if ipv6 {
        [0, 1_u128 << 127].map(|bits| IpNet::V6(Ipv6Net::new_assert(bits.into(), 1)))
    } else {
        [0, 1_u32 << 31].map(|bits| IpNet::V4(Ipv4Net::new_assert(bits.into(), 1)))
    }
}

pub(super) fn everything(ipv6: bool) -> IpNet {
    if ipv6 { IpNet::V6(Ipv6Net::default()) } else { IpNet::V4(Ipv4Net::default()) }
}

/// The prefixes that will lead into the tunnel for the transport too. Routes in tables of their own count: a rule may
/// lead the transport there. By policy rules only the split routes do; the rest is not for marked packets.
pub(super) fn tunnel_prefixes(profile: &Profile, platform: Platform) -> Vec<IpNet> {
    match default_mode(profile, platform) {
        Some(DefaultRoute::Halves | DefaultRoute::Replace) => vec![everything(false)],
        None | Some(DefaultRoute::Policy | DefaultRoute::Auto) => {
            profile.routes.iter().map(|route| route.prefix).collect()
        }
    }
}

/// The server's address, if there is one server and it was written as an address.
pub(super) fn literal_server(profile: &Profile) -> Value<IpAddr> {
    match profile.servers.as_slice() {
        [only] => only
            .literal()
            .map_or(Value::Open(Symbol::Server), |address| Value::Known(IpAddr::V4(*address.ip()))),
        _ => Value::Open(Symbol::Server),
    }
}
