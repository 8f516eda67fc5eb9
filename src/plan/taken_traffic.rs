//! Routes of other programs that take packets from the tunnel: more specific than one of its routes, or preferred to it.
//!
//! Without the kill switch the kernel follows them (TunnelVision, CVE-2024-3661): a DHCP server of the local network can
//! add them with the classless static routes of RFC 3442. Those that were there at `up` are the administrator's.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::{kill_switch::has_leak_filter, local_space};
use crate::{
    platform::Platform,
    profile::{Leak, Profile},
};

/// A route of the main table, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MainRoute<T> {
    /// The destination.
    pub dest: IpNet,
    /// Lower is preferred, 0 is none.
    pub metric: u32,
    /// Whether it is one of this tunnel.
    pub is_own: bool,
    /// Whether packets leave by a gateway.
    pub has_gateway: bool,
    /// The route itself.
    pub route: T,
}

/// Returns the routes that take packets from a tunnel with routes to `tunnel`. Not those to `exclude` or the server,
/// nor those of connected networks in local address space, which the kill switch passes too.
#[must_use]
pub fn taken_traffic<'a, T>(
    main: &'a [MainRoute<T>],
    tunnel: &[IpNet],
    outside: &[IpNet],
) -> Vec<&'a MainRoute<T>> {
    let mut best_own = BTreeMap::new();
    for own in main.iter().filter(|route| route.is_own) {
        let best = best_own.entry(own.dest).or_insert(own.metric);
        *best = own.metric.min(*best);
    }
    let is_preferred =
        |route: &MainRoute<T>| best_own.get(&route.dest).is_none_or(|own| *own >= route.metric);
    main.iter()
        .filter(|route| {
            !route.is_own
                && route.dest.prefix_len() > 0
                && tunnel.iter().any(|own| own.contains(&route.dest))
                && !outside.iter().any(|prefix| prefix.contains(&route.dest))
                && (route.has_gateway || !local_space::is_local(&route.dest))
                && !route.dest.addr().is_multicast()
                && is_preferred(route)
        })
        .collect()
}

/// Returns the sentence that says how such routes can be refused.
#[must_use]
pub fn taken_traffic_remedy(profile: &Profile, platform: Platform) -> &'static str {
    match (platform, profile.leak) {
        (Platform::Linux, Leak::Allow) => "With leak = \"block\" they are refused (Linux, with default)",
        (Platform::Linux, Leak::Block) => {
            "leak = \"block\" refuses them only with default, not with routes alone"
        }
        _ if has_leak_filter(profile, platform) => {
            "leak = \"block\": pf blocks its packets by the rules in the anchor below pf.anchor"
        }
        (Platform::OpenBsd | Platform::FreeBsd, Leak::Allow) => {
            "pf can refuse them: leak = \"block\" with pf.anchor (pptpctl.toml(5), \"leak\")"
        }
        (Platform::OpenBsd | Platform::FreeBsd, Leak::Block) => {
            "leak = \"block\" does not refuse them on this system, but pf can: pf.anchor in the profile (pptpctl.toml(5), \"leak\")"
        }
        (Platform::NetBsd, Leak::Allow) => "npf can refuse them",
        (Platform::NetBsd, Leak::Block) => {
            "leak = \"block\" does not refuse them on this system, but npf can"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remedy_exists_on_the_system_and_is_not_in_force_yet() {
        for platform in Platform::ALL {
            let mut profile = crate::plan::tests::profile("203.0.113.9");
            let allowed = taken_traffic_remedy(&profile, platform);
            profile.leak = Leak::Block;
            let blocked = taken_traffic_remedy(&profile, platform);
            assert!(!blocked.starts_with("With leak") && blocked.contains("leak = \"block\""), "{blocked}");
            for words in [allowed, blocked] {
                assert_eq!(words.contains("npf"), platform == Platform::NetBsd, "{words}");
                let is_bsd = platform != Platform::Linux;
                assert_eq!(words.contains("pf can refuse") || words.contains("pf can"), is_bsd, "{words}");
            }
        }
    }

    fn route(dest: &str, metric: u32) -> MainRoute<String> {
        let route = dest.to_owned();
        MainRoute { dest: dest.parse().unwrap(), metric, is_own: false, has_gateway: true, route }
    }

    fn taken(main: &[MainRoute<String>], tunnel: &[&str], outside: &[&str]) -> Vec<String> {
        let prefixes =
            |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<IpNet>>();
        let found = taken_traffic(main, &prefixes(tunnel), &prefixes(outside));
        found.into_iter().map(|route| route.route.clone()).collect()
    }

    #[test]
    fn longer_routes_take_packets_from_a_default_route() {
        let main = [
            route("0.0.0.0/0", 0),
            route("0.0.0.0/1", 0),
            route("8.8.8.8/32", 100),
            route("10.9.0.0/16", 0),
            route("203.0.113.9/32", 0),
            route("2001:db8::/32", 0),
            MainRoute { has_gateway: false, ..route("192.168.1.0/24", 0) },
            MainRoute { has_gateway: false, ..route("198.18.0.0/15", 0) },
            MainRoute { is_own: true, ..route("203.0.113.0/24", 0) },
        ];
        let found = taken(&main, &["0.0.0.0/0"], &["203.0.113.9/32"]);
        assert_eq!(found, ["0.0.0.0/1", "8.8.8.8/32", "10.9.0.0/16", "198.18.0.0/15"]);
        assert_eq!(taken(&main, &["10.0.0.0/8"], &["10.9.0.0/24"]), ["10.9.0.0/16"]);
        assert!(taken(&main, &["10.0.0.0/8"], &["10.9.0.0/16"]).is_empty());
        assert!(taken(&main, &["172.16.0.0/12"], &[]).is_empty());
    }

    #[test]
    fn route_to_the_same_prefix_takes_packets_if_it_is_preferred() {
        let own = |metric| MainRoute { is_own: true, ..route("10.0.0.0/8", metric) };
        let tunnel = ["10.0.0.0/8"];
        assert!(taken(&[route("10.0.0.0/8", 100), own(0)], &tunnel, &[]).is_empty());
        assert_eq!(taken(&[route("10.0.0.0/8", 0), own(5)], &tunnel, &[]).len(), 1);
        assert_eq!(taken(&[route("10.0.0.0/8", 100)], &tunnel, &[]).len(), 1, "in the place of the tunnel's");
    }
}
