//! The mode of the default route on each platform, and the prefixes that lead into the tunnel as a result.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{Symbol, Value};
use crate::{
    platform::Platform,
    profile::{DefaultRoute, Profile},
};

/// Returns whether the tunnel is in a network namespace other than the transport's.
pub(super) fn is_in_netns(profile: &Profile, platform: Platform) -> bool {
    platform == Platform::Linux && profile.link.netns.is_some()
}

/// Returns the routing domain (OpenBSD) or FIB (FreeBSD) that the tunnel is placed in.
pub(super) fn routing_domain(profile: &Profile, platform: Platform) -> Option<u32> {
    match platform {
        Platform::OpenBsd => profile.link.rdomain,
        Platform::FreeBsd => profile.link.fib,
        Platform::Linux | Platform::NetBsd => None,
    }
}

/// Returns the mode of the default route on this platform; `None` if the profile wants none, and never
/// `Auto`.
///
/// Linux uses policy rules: the main table stays unchanged, so there is nothing to update when the host roams
/// and nothing to restore. In a separate namespace the tunnel is the only path out and becomes the default
/// route. The BSDs have no policy rules; there two halves leave the default route of dhclient in place, and
/// disappear with the device even if this program is killed.
pub(super) fn default_mode(profile: &Profile, platform: Platform) -> Option<DefaultRoute> {
    match (profile.default_route?, platform) {
        _ if is_in_netns(profile, platform) => Some(DefaultRoute::Replace),
        (DefaultRoute::Auto | DefaultRoute::Policy, Platform::Linux) => Some(DefaultRoute::Policy),
        (DefaultRoute::Auto | DefaultRoute::Policy, _) => Some(DefaultRoute::Halves),
        // The tunnel's table does not contain the default routes that `replace` removes.
        (DefaultRoute::Replace, _) if routing_domain(profile, platform).is_some() => {
            Some(DefaultRoute::Halves)
        }
        (mode, _) => Some(mode),
    }
}

/// Returns 0/1 and 128/1, or ::/1 and 8000::/1, which together cover all addresses and are more specific than
/// a default route.
pub(super) fn halves(ipv6: bool) -> [IpNet; 2] {
    if ipv6 {
        [0, 1_u128 << 127].map(|bits| IpNet::V6(Ipv6Net::new_assert(bits.into(), 1)))
    } else {
        [0, 1_u32 << 31].map(|bits| IpNet::V4(Ipv4Net::new_assert(bits.into(), 1)))
    }
}

pub(super) fn default_prefix(ipv6: bool) -> IpNet {
    if ipv6 { IpNet::V6(Ipv6Net::default()) } else { IpNet::V4(Ipv4Net::default()) }
}

/// Returns the prefixes that will lead into the tunnel for the transport too. Routes in other tables count,
/// because a rule may direct the transport there. With policy rules only the split routes count, because the
/// tunnel's table is not used for marked packets.
pub(super) fn tunnel_prefixes(profile: &Profile, platform: Platform) -> Vec<IpNet> {
    match default_mode(profile, platform) {
        Some(DefaultRoute::Halves | DefaultRoute::Replace) => vec![default_prefix(false)],
        None | Some(DefaultRoute::Policy | DefaultRoute::Auto) => {
            profile.routes.iter().map(|route| route.prefix).collect()
        }
    }
}

/// Returns the server's address, if the profile has one server and gives its address instead of a name.
pub(super) fn literal_server(profile: &Profile) -> Value<IpAddr> {
    match profile.servers.as_slice() {
        [only] => only
            .literal()
            .map_or(Value::Open(Symbol::Server), |address| Value::Known(IpAddr::V4(*address.ip()))),
        _ => Value::Open(Symbol::Server),
    }
}
