//! Reads the routes of other programs that take packets from the tunnel.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use super::Changes;
use crate::{
    net::routes::{Filter, Kind, MAIN_TABLE, Route},
    plan::{MainRoute, PolicyStep, Step, taken_traffic},
};

impl Changes {
    /// Returns the routes of the main table that take packets from the tunnel: destination and words; none with the rules of a kill
    /// switch, which precede that table (Linux, with a default route), and none in a namespace of its own. `exclude` and
    /// the server are meant to stay outside.
    pub fn taken_traffic(&mut self, exclude: &[IpNet], server: Option<Ipv4Addr>) -> Vec<(IpNet, String)> {
        if (self.has_kill_switch() && self.has_rules()) || self.host.named_netns().is_some() {
            return Vec::new();
        }
        let entries = self.ledger.record().entries.iter();
        let tunnel: Vec<IpNet> = entries
            .filter_map(|entry| match &entry.step {
                Step::Route(route) => Some(route.dest),
                _ => None,
            })
            .collect();
        let own = self.device_name().map(str::to_owned);
        let outside: Vec<IpNet> =
            exclude.iter().copied().chain(server.map(|server| IpAddr::V4(server).into())).collect();
        let mut found = Vec::new();
        for ipv6 in [false, true] {
            if !tunnel.iter().any(|dest| matches!(dest, IpNet::V6(_)) == ipv6) {
                continue;
            }
            let filter = Filter { ipv6, table: Some(MAIN_TABLE), dest: None };
            match self.host.routes(&filter) {
                Ok(routes) => {
                    let main: Vec<MainRoute<&Route>> =
                        routes.iter().filter_map(|route| main_route(route, own.as_deref())).collect();
                    let taken = taken_traffic(&main, &tunnel, &outside);
                    found.extend(
                        taken
                            .into_iter()
                            .map(|one| (one.dest, format!("{}{}", one.route, origin(one.route.protocol)))),
                    );
                }
                // The next message of the kernel leads to another look.
                Err(error) => tracing::debug!(%error, "routes that take packets from the tunnel"),
            }
        }
        found
    }

    fn has_rules(&self) -> bool {
        let entries = &self.ledger.record().entries;
        entries.iter().any(|entry| matches!(entry.step, Step::Policy(PolicyStep::Rule { .. })))
    }
}

/// Returns what matters of a route; `None` if it lets no packet out.
fn main_route<'a>(route: &'a Route, own: Option<&str>) -> Option<MainRoute<&'a Route>> {
    let is_own = route.is_ours() || own.is_some_and(|own| route.leaves_by(own));
    let leaves = route.kind == Kind::Unicast && !route.leaves_by("lo") && !route.leaves_by("lo0");
    (is_own || leaves).then(|| MainRoute {
        dest: route.dest,
        metric: route.metric,
        is_own,
        has_gateway: route.hops.iter().any(|hop| hop.via.is_some()),
        route,
    })
}

/// Returns which program added a route, as far as the kernel says so (Linux, linux/rtnetlink.h).
const fn origin(protocol: u8) -> &'static str {
    match protocol {
        9 => " (router advertisement)",
        16 => " (DHCP)",
        186..=192 => " (routing daemon)",
        _ => "",
    }
}
