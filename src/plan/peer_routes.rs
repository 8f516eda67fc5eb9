//! The routes that a server offers (`peer-routes`): which of them are followed, and how.
//!
//! They are planned like `routes` of the profile, so that what holds for those (the host route that keeps the server
//! outside, the kill switch, resolvers) holds for them. On Linux their metric is worse than what anyone else sets: they
//! replace nothing. Does not own the question, nor what a server may offer at all; both are the engine's.

use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Net};

use super::{Platform, default_route::inside};
use crate::profile::{Profile, Route};

/// Linux: behind the routes of NetworkManager (up to 20600 for what has no connectivity) and dhcpcd (up to 4003), in
/// front of what the kill switch refuses with.
pub const OFFERED_METRIC: u32 = 1_000_000;

/// The profile as if it had named these routes itself. Left out are: those it names already, what is to stay outside,
/// and the tunnel's own ends, which have their routes. `server` is the address that is called, `peer` the far end of
/// the tunnel.
#[must_use]
pub fn with_offered(
    profile: &Profile,
    platform: Platform,
    server: Ipv4Addr,
    peer: Ipv4Addr,
    offered: &[Ipv4Net],
) -> Profile {
    let mut with = profile.clone();
    with.peer_routes = false;
    // The other systems know no metrics, or others.
    let metric = (platform == Platform::Linux).then_some(OFFERED_METRIC);
    // In a namespace of its own the tunnel cannot swallow its transport.
    let own_end = |prefix: &Ipv4Net| {
        (*prefix == Ipv4Net::from(server) && !inside(profile, platform)) || *prefix == Ipv4Net::from(peer)
    };
    for offered in offered.iter().filter(|prefix| !own_end(prefix)) {
        let prefix = IpNet::V4(*offered);
        let named = with.routes.iter().any(|route| route.prefix == prefix && route.table.is_none());
        if !named && !profile.exclude.iter().any(|outside| outside.contains(&prefix)) {
            with.routes.push(Route { metric, ..Route::to(prefix) });
        }
    }
    with
}

/// What a plan that is made before the server was asked says about it.
pub(super) fn note(profile: &Profile, platform: Platform) -> Option<String> {
    let behind =
        if platform == Platform::Linux { format!(", with metric {OFFERED_METRIC}") } else { String::new() };
    profile.peer_routes.then(|| {
        format!("peer-routes: routes that the server offers are added{behind}; and one to <server> alone, if it is in one")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::profile;

    #[test]
    fn what_is_named_outside_or_an_end_of_the_tunnel_is_left_out() {
        let mut profile = profile("192.0.2.1");
        profile.peer_routes = true;
        profile.routes = vec![Route::to("10.1.0.0/16".parse().unwrap())];
        profile.exclude = vec!["10.2.0.0/16".parse().unwrap()];
        let offered =
            ["10.1.0.0/16", "10.2.3.0/24", "10.0.0.0/8", "192.0.2.1/32", "10.9.0.1/32", "192.0.2.0/24"];
        let offered = offered.map(|prefix| prefix.parse().unwrap());
        let (server, peer) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(10, 9, 0, 1));
        for platform in Platform::ALL {
            let with = with_offered(&profile, platform, server, peer, &offered);
            let (own, new) = with.routes.split_at(1);
            assert_eq!(own, profile.routes);
            let prefixes: Vec<String> = new.iter().map(|route| route.prefix.to_string()).collect();
            assert_eq!(prefixes, ["10.0.0.0/8", "192.0.2.0/24"]);
            let metric = (platform == Platform::Linux).then_some(1_000_000);
            assert!(new.iter().all(|route| route.metric == metric));
            assert!(note(&profile, platform).is_some() && note(&with, platform).is_none());
        }
    }
}
