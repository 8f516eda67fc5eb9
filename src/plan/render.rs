//! Steps as commands of the platform's tools: what an administrator would type to the same effect.
//!
//! They are only printed; `apply` uses the kernel's routing sockets. Linux has ip(8), the BSDs ifconfig(8)
//! and route(8).

use ipnet::IpNet;

use super::{
    Step, Symbol, Value,
    notation::{bsd_device, bsd_next_hop, linux_next_hop, route_destination},
    step::pid_file,
};
use crate::platform::Platform;

impl Step {
    /// Returns the command in the platform's syntax.
    #[must_use]
    pub fn line(&self, platform: Platform) -> String {
        match (self, platform) {
            (Self::OpenTun { unit: Some(unit) }, _) => format!("open tun{unit}"),
            (Self::OpenTun { unit: None }, _) => "open the first free tun device (tunX)".to_owned(),
            (Self::PidFile { dir, tun, pid }, _) => {
                format!("write {pid} to {}", pid_file(dir, tun).display())
            }
            (Self::Ppp(step), _) => step.line(platform),
            (Self::AllowGre, _) => "sysctl net.inet.gre.allow=1".to_owned(),
            (Self::Policy(step), _) => step.line(platform),
            (Self::Firewall(step), _) => step.line(platform),
            (Self::Dns(step), _) => step.line(platform),
            (Self::Hook(step), _) => step.line(platform),
            (_, Platform::Linux) => linux(self, "add"),
            (_, Platform::FreeBsd | Platform::OpenBsd | Platform::NetBsd) => bsd(self, "add", platform),
        }
    }

    /// Returns the undo command in the platform's syntax; `None` if the step disappears with the tun device.
    #[must_use]
    pub fn undo_line(&self, platform: Platform) -> Option<String> {
        Some(match (self, platform) {
            (Self::OpenTun { unit: Some(unit) }, _) => format!("close tun{unit}"),
            (Self::OpenTun { unit: None }, _) => "close tunX".to_owned(),
            (Self::PidFile { dir, tun, .. }, _) => format!("remove {}", pid_file(dir, tun).display()),
            (Self::RemoveDefault { ipv6 }, _) => {
                format!("put back the default route{} as it was", if *ipv6 { " for IPv6" } else { "" })
            }
            (Self::Ppp(step), _) => return step.undo_line(platform),
            (Self::AllowGre, _) => {
                "sysctl net.inet.gre.allow=0 (if it was, and no other tunnel needs it)".to_owned()
            }
            (Self::Policy(step), _) => return step.undo_line(platform),
            (Self::Firewall(step), _) => return step.undo_line(platform),
            (Self::Dns(step), _) => return step.undo_line(platform),
            (Self::Hook(step), _) => return step.undo_line(platform),
            // MTU and routing domain disappear with the device.
            (Self::Mtu { .. } | Self::Domain { .. }, _) => return None,
            (Self::Up { tun }, Platform::Linux) => format!("ip link set {tun} down"),
            (Self::Up { tun }, _) => format!("ifconfig {tun} down"),
            (_, Platform::Linux) => linux(self, "del"),
            (_, Platform::FreeBsd | Platform::OpenBsd | Platform::NetBsd) => bsd(self, "delete", platform),
        })
    }
}

fn linux(step: &Step, verb: &str) -> String {
    match step {
        Step::HostRoute { server, way, within } => {
            format!("ip route {verb} {server} {}{}", linux_next_hop(way), condition(server, within))
        }
        Step::Mtu { tun, mtu } => format!("ip link set {tun} mtu {mtu}"),
        Step::Address { tun, local, peer: Some(peer) } => {
            format!("ip address {verb} {local} peer {peer} dev {tun}")
        }
        Step::Address { tun, local, peer: None } => format!("ip address {verb} {local}/32 dev {tun}"),
        Step::Address6 { tun, local, peer } => {
            format!("ip -6 address {verb} {local} peer {peer}/64 dev {tun}")
        }
        Step::Up { tun } => format!("ip link set {tun} up"),
        Step::Route { tun, dest, metric, table, .. } => {
            let family = if matches!(dest, IpNet::V6(_)) { " -6" } else { "" };
            let metric = metric.map_or(String::new(), |metric| format!(" metric {metric}"));
            let table = table.as_ref().map_or(String::new(), |table| format!(" table {table}"));
            format!("ip{family} route {verb} {} dev {tun}{metric}{table}", route_destination(dest))
        }
        Step::RemoveDefault { ipv6 } => {
            format!("ip{} route del default (remembered, put back on down)", if *ipv6 { " -6" } else { "" })
        }
        Step::OpenTun { .. }
        | Step::Domain { .. }
        | Step::PidFile { .. }
        | Step::Ppp(_)
        | Step::AllowGre
        | Step::Policy(_)
        | Step::Firewall(_)
        | Step::Dns(_)
        | Step::Hook(_) => String::new(),
    }
}

fn bsd(step: &Step, verb: &str, platform: Platform) -> String {
    match step {
        Step::HostRoute { server, way, within } => {
            format!(
                "route {verb} -host {server} {}{}",
                bsd_next_hop(way, platform),
                condition(server, within)
            )
        }
        Step::Mtu { tun, mtu } => format!("ifconfig {tun} mtu {mtu}"),
        Step::Address { tun, local, peer } => match (peer, verb) {
            (_, "delete") => format!("ifconfig {tun} inet {local} delete"),
            (Some(peer), _) => format!("ifconfig {tun} inet {local} {peer} netmask 255.255.255.255"),
            (None, _) => format!("ifconfig {tun} inet {local} {local} netmask 255.255.255.255"),
        },
        Step::Address6 { tun, local, .. } if verb == "delete" => {
            format!("ifconfig {tun} inet6 {local} delete")
        }
        Step::Address6 { tun, local, .. } => format!("ifconfig {tun} inet6 {local} prefixlen 64"),
        Step::Up { tun } => format!("ifconfig {tun} up"),
        Step::Domain { tun, number } => match platform {
            Platform::FreeBsd => format!("ifconfig {tun} fib {number}"),
            _ => format!("ifconfig {tun} rdomain {number}"),
        },
        Step::Route { tun, dest, metric, table, peer, label } => {
            let family = if matches!(dest, IpNet::V6(_)) { " -inet6" } else { "" };
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
            // The label is not needed to find the route that is deleted.
            let label = label.as_ref().filter(|_| verb == "add");
            let label = label.map_or(String::new(), |label| format!(" -label {label}"));
            match peer {
                Some(peer) => format!("route{before} {verb}{family} {to} {peer}{behind}{label}"),
                None => {
                    let by = bsd_device(&tun.to_string(), platform);
                    format!("route{before} {verb}{family} {to} {by}{behind}{label}")
                }
            }
        }
        Step::RemoveDefault { ipv6 } => {
            format!(
                "route delete{} default (remembered, put back on down)",
                if *ipv6 { " -inet6" } else { "" }
            )
        }
        Step::OpenTun { .. }
        | Step::PidFile { .. }
        | Step::Ppp(_)
        | Step::AllowGre
        | Step::Policy(_)
        | Step::Firewall(_)
        | Step::Dns(_)
        | Step::Hook(_) => String::new(),
    }
}

/// Returns the condition of a host route while the server's address is not known.
fn condition(server: &Value<std::net::IpAddr>, within: &[IpNet]) -> String {
    if server.known().is_some() || within.iter().any(|prefix| prefix.prefix_len() == 0) {
        return String::new();
    }
    let list: Vec<String> = within.iter().map(ToString::to_string).collect();
    format!(" (only if {} is in {})", Symbol::Server, list.join(" or "))
}
