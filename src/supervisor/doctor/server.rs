//! The servers of a profile: names, routes, source address. Looks names up and queries the kernel's routes as `up`
//! does, and sends nothing to the servers.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddrV4, UdpSocket},
    rc::Rc,
};

use super::finding::Finding;
use crate::{
    apply,
    failure::Failure,
    plan::NextHop,
    profile::{Host, Profile},
    supervisor::{
        engine_spec::{inner_mtu, mppe_overhead},
        hints,
        run::steps::{path_mtu, route_failure, socket_failure},
    },
};

/// Beginnings of the names of devices that lead into another tunnel.
const TUNNEL_DEVICES: [&str; 9] = ["tun", "tap", "wg", "ppp", "ipsec", "gif", "gre", "tailscale", "zt"];

/// What came out for the servers of a profile.
pub(super) struct Servers {
    /// Names, routes and source address.
    pub findings: Vec<Finding>,
    /// The addresses that have a route, in the order in which `up` dials them.
    pub reached: Vec<(SocketAddrV4, NextHop)>,
}

/// The outcome for one name or address.
enum Step {
    Fine(Finding),
    Failed(Failure),
}

/// Turns outcomes into findings. `up` goes on after a failure, so only the last one counts, and only if no address
/// can be dialled.
fn judge(steps: Vec<Step>, can_dial: bool) -> Vec<Finding> {
    let last = steps.iter().rposition(|step| matches!(step, Step::Failed(_))).filter(|_| !can_dial);
    let finding = |(at, step)| match step {
        Step::Fine(finding) => finding,
        Step::Failed(failure) if Some(at) == last => Finding::failure(&failure),
        Step::Failed(failure) => Finding::overcome(&failure),
    };
    steps.into_iter().enumerate().map(finding).collect()
}

/// Returns whether a device leads into a tunnel, by its name.
fn is_tunnel(dev: &str) -> bool {
    TUNNEL_DEVICES.iter().any(|start| {
        dev.strip_prefix(start).is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_alphanumeric()))
    })
}

/// Returns the finding for an address with a route.
fn route(server: Ipv4Addr, next_hop: &NextHop) -> Finding {
    let NextHop::By { gateway, dev, source } = next_hop else {
        return Finding::warning("route", format!("{server} is an address of this host itself"))
            .next("check the server in the profile");
    };
    let via = gateway.map_or_else(|| ", on its own network".to_owned(), |gateway| format!(" via {gateway}"));
    let source = source.map_or_else(String::new, |source| format!(", from {source}"));
    let words = format!("{server} by {dev}{via}{source}");
    if is_tunnel(dev) {
        return Finding::warning("route", format!("{words}: {dev} looks like another tunnel")).next(format!(
            "if that is not intended, end the other tunnel, or add a route to {server} past it"
        ));
    }
    Finding::ok("route", words)
}

/// Returns the finding for the MTU of the uplink. The path may have a smaller one, which only packets show.
fn mtu(dev: &str, bytes: u16, profile: &Profile) -> Finding {
    let inside = inner_mtu(bytes).saturating_sub(mppe_overhead(profile));
    let words = format!("{dev} carries {bytes} bytes, the tunnel at most {inside}");
    if inside < 1280 {
        return Finding::warning("mtu", format!("{words}: too few for IPv6"))
            .next(format!("if the device can do more: ip link set {dev} mtu 1500"));
    }
    Finding::ok("mtu", words)
}

/// Checks names, routes and the source address of a profile.
pub(super) fn check(profile: &Rc<Profile>) -> Servers {
    let mut steps = Vec::new();
    let mut reached: Vec<(SocketAddrV4, NextHop)> = Vec::new();
    for server in &profile.servers {
        let addresses = match &server.host {
            Host::Address(address) => {
                steps.push(Step::Fine(Finding::ok("name", format!("{address} is an address"))));
                vec![*address]
            }
            Host::Name(name) => match crate::supervisor::look_up(name, profile.timeouts.resolve) {
                Ok(addresses) => {
                    steps.push(Step::Fine(Finding::ok("name", format!("{name} is {}", list(&addresses)))));
                    addresses
                }
                Err(failure) => {
                    steps.push(Step::Failed(hints::add(failure, profile, None)));
                    continue;
                }
            },
        };
        for address in addresses {
            match next_hop(address, profile.localbind) {
                Ok(next_hop) => {
                    steps.push(Step::Fine(route(address, &next_hop)));
                    reached.push((SocketAddrV4::new(address, server.port), next_hop));
                }
                Err(failure) => {
                    let server = SocketAddrV4::new(address, server.port);
                    steps.push(Step::Failed(hints::add(failure, profile, Some(server))));
                }
            }
        }
    }
    let mut findings = judge(steps, !reached.is_empty());
    if let Some((_, next_hop @ NextHop::By { dev, .. })) = reached.first() {
        findings.push(mtu(dev, path_mtu(Some(next_hop)), profile));
    }
    Servers { findings, reached }
}

/// Returns the kernel's next hop to an address, once the source address of the profile is known to be this host's.
fn next_hop(server: Ipv4Addr, local: Option<Ipv4Addr>) -> Result<NextHop, Failure> {
    // First: the kernel has no route from an address that is not this host's.
    if let Some(Err(error)) = local.map(|local| UdpSocket::bind((local, 0)))
        && error.kind() == io::ErrorKind::AddrNotAvailable
    {
        return Err(socket_failure("TCP", local, &error));
    }
    let mut host = apply::Host::system().map_err(|error| route_failure(&error))?;
    host.next_hop(server.into(), local.map(IpAddr::V4)).map_err(|error| route_failure(&error))
}

fn list(addresses: &[Ipv4Addr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::{
        super::finding::{Blocker, Severity},
        *,
    };
    use crate::failure::{FailureKind, Phase};

    fn failed(kind: FailureKind) -> Step {
        Step::Failed(Failure::new(Phase::Resolve, kind, ""))
    }

    #[test]
    fn only_the_last_failure_of_all_servers_stops_up() {
        let severities = |steps, can_dial| {
            judge(steps, can_dial).iter().map(|finding| finding.severity).collect::<Vec<_>>()
        };
        let two = || vec![failed(FailureKind::NameNotResolved), failed(FailureKind::NoRoute)];
        assert_eq!(severities(two(), true), [Severity::Warning, Severity::Warning]);
        assert_eq!(severities(two(), false), [Severity::Warning, Severity::Failure]);
        let last = judge(two(), false).pop().unwrap();
        assert_eq!(last.blocker, Some(Blocker::Failure(Phase::Resolve, FailureKind::NoRoute)));
        let fine = vec![Step::Fine(Finding::ok("name", "")), failed(FailureKind::NoRoute)];
        assert_eq!(severities(fine, false), [Severity::Ok, Severity::Failure]);
    }

    #[test]
    fn route_through_another_tunnel_is_a_warning() {
        let server = Ipv4Addr::new(192, 0, 2, 1);
        let by = |dev: &str, gateway: Option<&str>| NextHop::By {
            gateway: gateway.map(|gateway| gateway.parse().unwrap()),
            dev: dev.to_owned(),
            source: Some("10.0.0.2".parse().unwrap()),
        };
        let fine = route(server, &by("eth0", Some("10.0.0.1")));
        assert_eq!(fine.severity, Severity::Ok);
        assert_eq!(fine.evidence, "192.0.2.1 by eth0 via 10.0.0.1, from 10.0.0.2");
        for dev in ["wg0", "tun1", "tailscale0", "ppp0", "wgvpn"] {
            assert_eq!(route(server, &by(dev, None)).severity, Severity::Warning, "{dev}");
        }
        for dev in ["eth0", "wlan0", "enp3s0", "br-wg", "gateway.1"] {
            assert_eq!(route(server, &by(dev, None)).severity, Severity::Ok, "{dev}");
        }
        assert_eq!(route(server, &NextHop::ThisHost).severity, Severity::Warning);
    }

    #[test]
    fn mtu_of_the_tunnel_follows_from_the_device() {
        let text = "[profile.x]\nserver = '192.0.2.1'\nuser = 'u'\npassword.fd = 3\n";
        let profiles = crate::profile::Profiles::from_text(std::path::Path::new("x"), text, true);
        let profile = profiles.get("x").unwrap();
        assert_eq!(mtu("eth0", 1500, profile).evidence, "eth0 carries 1500 bytes, the tunnel at most 1456");
        assert_eq!(mtu("eth0", 1280, profile).severity, Severity::Warning);
    }
}
