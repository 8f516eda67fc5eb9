//! Routes into the tunnel, the route to the server, and the default routes that the tunnel replaces.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{
    Facts, NextHop, Symbol, Value,
    kind::{Key, StepKind, StepTraits},
    notation::{bsd_device, bsd_next_hop, dash_6, dash_inet6, delete, linux_next_hop, route_destination},
};
use crate::platform::Platform;

/// A route to the server alone, through the next hop that the kernel uses now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRouteStep {
    /// The server address that is dialled.
    pub server: Value<IpAddr>,
    /// The next hop.
    pub way: Value<NextHop>,
    /// The prefixes that will lead into the tunnel: the step is needed only if the server is in one.
    pub within: Vec<IpNet>,
}

/// A route into the tunnel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteStep {
    /// The tun device.
    pub tun: Value<String>,
    /// The destination prefix.
    pub dest: IpNet,
    /// Lower is preferred; `None` leaves it to the platform.
    pub metric: Option<u32>,
    /// Number of the routing table; `None` is the main table.
    pub table: Option<Value<u32>>,
    /// The next hop, for platforms whose routes name the peer instead of the device.
    pub peer: Option<Value<Ipv4Addr>>,
    /// The label by which pf(4) and bgpd(8) refer to it (OpenBSD).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

/// Removes the default routes of the main table. Undone by restoring each of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveDefaultStep {
    /// IPv6 instead of IPv4.
    pub ipv6: bool,
}

impl StepKind for HostRouteStep {
    fn key(&self) -> Key {
        Key::of("host-route", &self.server)
    }

    fn fill(&mut self, facts: &Facts) -> Vec<Option<Symbol>> {
        vec![self.server.fill(&facts.server), self.way.fill(&facts.next_hop)]
    }

    fn line(&self, platform: Platform) -> String {
        self.words(platform, "add")
    }

    fn undo_line(&self, platform: Platform) -> Option<String> {
        Some(self.words(platform, delete(platform)))
    }

    fn traits(&self) -> StepTraits {
        StepTraits { is_routing: true, is_shared: true, ..StepTraits::OF_HOST }
    }
}

impl HostRouteStep {
    fn words(&self, platform: Platform, verb: &str) -> String {
        let Self { server, way, .. } = self;
        match platform {
            Platform::Linux => {
                format!("ip route {verb} {server} {}{}", linux_next_hop(way), self.condition())
            }
            _ => {
                format!("route {verb} -host {server} {}{}", bsd_next_hop(way, platform), self.condition())
            }
        }
    }

    /// Returns the condition of the route while the server's address is not known.
    fn condition(&self) -> String {
        if self.server.known().is_some() || self.within.iter().any(|prefix| prefix.prefix_len() == 0) {
            return String::new();
        }
        let list: Vec<String> = self.within.iter().map(ToString::to_string).collect();
        format!(" (only if {} is in {})", Symbol::Server, list.join(" or "))
    }
}

impl StepKind for RouteStep {
    fn key(&self) -> Key {
        Key::of("route", (&self.dest, &self.table, self.metric))
    }

    fn fill(&mut self, facts: &Facts) -> Vec<Option<Symbol>> {
        let peer = self.peer.as_mut().and_then(|peer| peer.fill(&facts.peer));
        let table = self.table.as_mut().and_then(|table| table.fill(&facts.table));
        vec![self.tun.fill(&facts.tun), peer, table]
    }

    fn line(&self, platform: Platform) -> String {
        let line = self.words(platform, "add");
        match &self.label {
            // The label is not needed to find the route that is deleted.
            Some(label) if platform != Platform::Linux => format!("{line} -label {label}"),
            _ => line,
        }
    }

    fn undo_line(&self, platform: Platform) -> Option<String> {
        Some(self.words(platform, delete(platform)))
    }

    fn traits(&self) -> StepTraits {
        StepTraits { only_while_up: true, is_routing: true, ..StepTraits::OF_DEVICE }
    }
}

impl RouteStep {
    fn words(&self, platform: Platform, verb: &str) -> String {
        let Self { tun, dest, metric, table, peer, .. } = self;
        if platform == Platform::Linux {
            let metric = metric.map_or(String::new(), |metric| format!(" metric {metric}"));
            let table = table.as_ref().map_or(String::new(), |table| format!(" table {table}"));
            let to = route_destination(dest);
            return format!("ip{} route {verb} {to} dev {tun}{metric}{table}", dash_6(dest));
        }
        let to = match dest.prefix_len() {
            0 => "default".to_owned(),
            _ => format!("-net {dest}"),
        };
        // OpenBSD's tables and priorities, FreeBSD's tables (FIBs); NetBSD has neither.
        let (before, behind) = match (platform, table, metric) {
            (Platform::OpenBsd, table, metric) => (
                table.as_ref().map_or(String::new(), |table| format!(" -T {table}")),
                metric.map_or(String::new(), |metric| format!(" -priority {metric}")),
            ),
            (Platform::FreeBsd, Some(table), _) => (String::new(), format!(" -fib {table}")),
            _ => (String::new(), String::new()),
        };
        let by = match peer {
            Some(peer) => peer.to_string(),
            None => bsd_device(&tun.to_string(), platform),
        };
        format!("route{before} {verb}{} {to} {by}{behind}", dash_inet6(dest))
    }
}

impl StepKind for RemoveDefaultStep {
    fn key(&self) -> Key {
        Key::of("default", self.ipv6)
    }

    fn line(&self, platform: Platform) -> String {
        let command = match (platform, self.ipv6) {
            (Platform::Linux, false) => "ip route del default",
            (Platform::Linux, true) => "ip -6 route del default",
            (_, false) => "route delete default",
            (_, true) => "route delete -inet6 default",
        };
        format!("{command} (saved, restored on down)")
    }

    fn undo_line(&self, _platform: Platform) -> Option<String> {
        Some(format!("restore the default route{} as it was", if self.ipv6 { " for IPv6" } else { "" }))
    }

    fn traits(&self) -> StepTraits {
        StepTraits { only_while_up: true, is_routing: true, ..StepTraits::OF_HOST }
    }
}
