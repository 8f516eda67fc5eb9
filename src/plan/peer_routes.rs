//! Decides which of the routes that a server offers (`peer-routes`) are added, and with which metric.
//!
//! They are planned like `routes` of the profile, so that the host route to the server, the kill switch and
//! the resolvers take them into account. On Linux their metric is worse than that of other programs, so they
//! replace no route. The engine sends the request and limits what a server may offer.

use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Net};

use super::default_route::is_in_netns;
use crate::{
    platform::Platform,
    profile::{Profile, Route},
};

/// The metric of offered routes on Linux: worse than NetworkManager's (up to 20600 for devices without
/// connectivity) and dhcpcd's (up to 4003), better than that of the kill switch's blocking routes.
const OFFERED_METRIC: u32 = 1_000_000;

/// Returns the profile with the offered routes added to its own. Leaves out routes that the profile has
/// already, excluded prefixes, and the tunnel's end points, which have their routes. `server` is the address
/// that is dialled, `peer` the peer's address in the tunnel.
#[must_use]
pub fn with_offered_routes(
    profile: &Profile,
    platform: Platform,
    server: Ipv4Addr,
    peer: Ipv4Addr,
    offered: &[Ipv4Net],
) -> Profile {
    let mut with = profile.clone();
    with.peer_routes = false;
    // The BSDs have no metrics or a different scale.
    let metric = (platform == Platform::Linux).then_some(OFFERED_METRIC);
    // In a separate namespace the tunnel's routes do not affect its transport.
    let own_end = |prefix: &Ipv4Net| {
        (*prefix == Ipv4Net::from(server) && !is_in_netns(profile, platform))
            || *prefix == Ipv4Net::from(peer)
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

/// Returns the note on `peer-routes` for a plan that is made before the server has offered its routes.
pub(super) fn note(profile: &Profile, platform: Platform) -> Option<String> {
    let behind =
        if platform == Platform::Linux { format!(", with metric {OFFERED_METRIC}") } else { String::new() };
    profile.peer_routes.then(|| {
        format!("peer-routes: routes that the server offers are added{behind}; and a host route to <server>, if one of them covers it")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::profile;

    #[test]
    fn omits_configured_excluded_and_end_point_prefixes() {
        let mut profile = profile("192.0.2.1");
        profile.peer_routes = true;
        profile.routes = vec![Route::to("10.1.0.0/16".parse().unwrap())];
        profile.exclude = vec!["10.2.0.0/16".parse().unwrap()];
        let offered =
            ["10.1.0.0/16", "10.2.3.0/24", "10.0.0.0/8", "192.0.2.1/32", "10.9.0.1/32", "192.0.2.0/24"];
        let offered = offered.map(|prefix| prefix.parse().unwrap());
        let (server, peer) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(10, 9, 0, 1));
        for platform in Platform::ALL {
            let with = with_offered_routes(&profile, platform, server, peer, &offered);
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
