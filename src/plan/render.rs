//! A step in the words of the platform's own tools: what an administrator would type to the same effect.
//!
//! Nothing of this is run; the deeds go through the kernel's routing sockets. Linux speaks ip(8), the BSDs
//! ifconfig(8) and route(8).

use ipnet::IpNet;

use super::{NextHop, Platform, Step, Symbol, Value, step::pid_file};

/// What is done.
pub(super) fn line(step: &Step, platform: Platform) -> String {
    match (step, platform) {
        (Step::OpenTun { unit: Some(unit) }, _) => format!("open tun{unit}"),
        (Step::OpenTun { unit: None }, _) => "open the first free tun device (tunX)".to_owned(),
        (Step::PidFile { dir, tun, pid }, _) => format!("write {pid} to {}", pid_file(dir, tun).display()),
        (Step::Ppp(step), _) => step.line(platform),
        (Step::AllowGre, _) => "sysctl net.inet.gre.allow=1".to_owned(),
        (Step::Policy(step), _) => step.line(platform),
        (Step::Firewall(step), _) => step.line(platform),
        (Step::Dns(step), _) => step.line(platform),
        (Step::Hook(step), _) => step.line(platform),
        (_, Platform::Linux) => linux(step, "add"),
        (_, Platform::FreeBsd | Platform::OpenBsd | Platform::NetBsd) => bsd(step, "add", platform),
    }
}

/// What undoes it.
pub(super) fn undo_line(step: &Step, platform: Platform) -> Option<String> {
    Some(match (step, platform) {
        (Step::OpenTun { unit: Some(unit) }, _) => format!("close tun{unit}"),
        (Step::OpenTun { unit: None }, _) => "close tunX".to_owned(),
        (Step::PidFile { dir, tun, .. }, _) => format!("remove {}", pid_file(dir, tun).display()),
        (Step::RemoveDefault { ipv6 }, _) => {
            format!("put back the default route{} as it was", if *ipv6 { " for IPv6" } else { "" })
        }
        (Step::Ppp(step), _) => return step.undo_line(platform),
        (Step::AllowGre, _) => {
            "sysctl net.inet.gre.allow=0 (if it was, and no other tunnel needs it)".to_owned()
        }
        (Step::Policy(step), _) => return step.undo_line(platform),
        (Step::Firewall(step), _) => return step.undo_line(platform),
        (Step::Dns(step), _) => return step.undo_line(platform),
        (Step::Hook(step), _) => return step.undo_line(platform),
        // Size and place mean nothing to a device that is about to go.
        (Step::Mtu { .. } | Step::Domain { .. }, _) => return None,
        (Step::Up { tun }, Platform::Linux) => format!("ip link set {tun} down"),
        (Step::Up { tun }, _) => format!("ifconfig {tun} down"),
        (_, Platform::Linux) => linux(step, "del"),
        (_, Platform::FreeBsd | Platform::OpenBsd | Platform::NetBsd) => bsd(step, "delete", platform),
    })
}

fn linux(step: &Step, verb: &str) -> String {
    match step {
        Step::HostRoute { server, way, within } => {
            format!("ip route {verb} {server} {}{}", linux_way(way), condition(server, within))
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
            format!("ip{family} route {verb} {} dev {tun}{metric}{table}", place(dest))
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
            format!("route {verb} -host {server} {}{}", bsd_way(way, platform), condition(server, within))
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
            // A route is found without it.
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

/// When the host route depends on an address that is not known yet.
fn condition(server: &Value<std::net::IpAddr>, within: &[IpNet]) -> String {
    if server.known().is_some() || within.iter().any(|prefix| prefix.prefix_len() == 0) {
        return String::new();
    }
    let list: Vec<String> = within.iter().map(ToString::to_string).collect();
    format!(" (only if {} is in {})", Symbol::Server, list.join(" or "))
}

pub(super) fn linux_way(way: &Value<NextHop>) -> String {
    match way {
        Value::Known(NextHop::By { gateway: Some(gateway), dev, .. }) => format!("via {gateway} dev {dev}"),
        Value::Known(NextHop::By { gateway: None, dev, .. }) => format!("dev {dev}"),
        Value::Known(NextHop::ThisHost) => "dev lo".to_owned(),
        Value::Open(symbol) => format!("via {symbol}"),
    }
}

pub(super) fn bsd_way(way: &Value<NextHop>, platform: Platform) -> String {
    match way {
        Value::Known(NextHop::By { gateway: Some(gateway), .. }) => gateway.to_string(),
        Value::Known(NextHop::By { gateway: None, dev, .. }) => bsd_device(dev, platform),
        Value::Known(NextHop::ThisHost) => bsd_device("lo0", platform),
        Value::Open(symbol) => symbol.to_string(),
    }
}

/// A device in the place of a gateway. `-interface` takes a name on FreeBSD only, elsewhere an address.
fn bsd_device(dev: &str, platform: Platform) -> String {
    match platform {
        Platform::OpenBsd | Platform::NetBsd => format!("-link -iface {dev}"),
        Platform::FreeBsd | Platform::Linux => format!("-interface {dev}"),
    }
}

pub(super) fn place(dest: &IpNet) -> String {
    if dest.prefix_len() == 0 { "default".to_owned() } else { dest.to_string() }
}
