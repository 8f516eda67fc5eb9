//! What this host's network means for a dial that failed: no IPv4, IPv4 behind NAT64, a name that leads to this
//! host itself.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};

use crate::{
    failure::{Failure, FailureKind, Phase},
    profile::{Host, Profile},
};

/// The addresses of a host that translates its IPv4 to IPv6 by itself (RFC 7335, RFC 6877: CLAT).
const CLAT: ([u8; 3], u8) = ([192, 0, 0], 8);

/// The addresses of this host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Addresses {
    /// An IPv4 address that is neither loopback, link-local, nor [`CLAT`].
    ipv4: bool,
    /// An address of [`CLAT`].
    clat: Option<Ipv4Addr>,
    /// A route to the IPv6 internet.
    ipv6: bool,
}

/// Adds what this host's network explains about a failure. `local` is the address of the connection, `server` the
/// server's.
#[must_use]
pub fn amend(
    failure: Failure,
    profile: &Profile,
    server: Option<SocketAddrV4>,
    local: Option<Ipv4Addr>,
) -> Failure {
    let failure = match failure.kind {
        FailureKind::NoRoute => without_ipv4(failure, addresses()),
        FailureKind::GreFiltered => behind_nat64(failure, local),
        _ => failure,
    };
    match server {
        Some(server) if failure.phase <= Phase::Control => to_itself(failure, profile, *server.ip()),
        _ => failure,
    }
}

fn without_ipv4(failure: Failure, addresses: Addresses) -> Failure {
    let Addresses { ipv4: false, clat: None, ipv6: true } = addresses else { return failure };
    let mut failure = failure;
    failure.detail.push_str("; this network has IPv6 only, and PPTP exists over IPv4 only");
    failure
    .hint("seen: a default route of IPv6, and no IPv4 address but loopback and link-local ones")
    .hint("another network is needed, with an IPv4 address of its own (464XLAT gives one, but NAT64 does not carry GRE)")
}

fn behind_nat64(failure: Failure, local: Option<Ipv4Addr>) -> Failure {
    match local.filter(|local| is_clat(*local)) {
        Some(local) => failure
            .hint(format!(
                "this host's IPv4 address {local} belongs to 464XLAT: this network is IPv6-only, and its NAT64 carries \
                 TCP, UDP and ICMP, but no GRE (RFC 6146)"
            ))
            .hint("another network is needed, with IPv4 of its own"),
        None => failure,
    }
}

/// Adds that a name led to this host: a server's name should not.
fn to_itself(failure: Failure, profile: &Profile, server: Ipv4Addr) -> Failure {
    let is_literal = |host: &Host| matches!(host, Host::Address(address) if *address == server);
    let named = profile.servers.iter().find_map(|server| match &server.host {
        Host::Name(name) => Some(name),
        Host::Address(_) => None,
    });
    let localhost = |name: &&String| name.as_str() != "localhost" && !name.ends_with(".localhost");
    match named.filter(localhost) {
        Some(name) if server.is_loopback() && !profile.servers.iter().any(|server| is_literal(&server.host)) => failure
            .hint(format!(
                "the name was resolved to {server}, this host itself: {name} is blocked or redirected in /etc/hosts, by a \
                 DNS blocker, or by a captive portal"
            )),
        _ => failure,
    }
}

fn is_clat(address: Ipv4Addr) -> bool {
    let ([a, b, c], size) = CLAT;
    let octets = address.octets();
    octets.starts_with(&[a, b, c]) && octets[3] < size
}

fn addresses() -> Addresses {
    let mut found = Addresses { ipv6: has_ipv6_route(), ..Addresses::default() };
    for interface in nix::ifaddrs::getifaddrs().into_iter().flatten() {
        let Some(address) = interface.address.and_then(|address| Some(address.as_sockaddr_in()?.ip())) else {
            continue;
        };
        if is_clat(address) {
            found.clat = Some(address);
        } else {
            found.ipv4 |= !address.is_loopback() && !address.is_link_local();
        }
    }
    found
}

/// Returns whether the kernel has a route to the IPv6 internet. Sends nothing.
fn has_ipv6_route() -> bool {
    let outside: SocketAddr = ([0x2001, 0x4860, 0x4860, 0, 0, 0, 0, 0x8888], 53).into();
    UdpSocket::bind("[::]:0").and_then(|socket| socket.connect(outside)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(server: &str) -> Profile {
        let text = format!("[profile.x]\nserver = {server}\nuser = 'u'\npassword.fd = 3\n");
        let profiles = crate::profile::Profiles::from_text(std::path::Path::new("x"), &text, true);
        profiles.get("x").unwrap().clone()
    }

    #[test]
    fn ipv6_only_needs_both_observations() {
        let told = |addresses| {
            let failure = Failure::new(Phase::Connect, FailureKind::NoRoute, "unreachable");
            without_ipv4(failure, addresses).detail.contains("IPv6 only")
        };
        assert!(told(Addresses { ipv4: false, clat: None, ipv6: true }));
        assert!(!told(Addresses { ipv4: false, clat: None, ipv6: false }), "no network at all");
        assert!(!told(Addresses { ipv4: true, clat: None, ipv6: true }), "a LAN without an uplink");
        assert!(!told(Addresses { ipv4: false, clat: Some([192, 0, 0, 4].into()), ipv6: true }));
    }

    #[test]
    fn translated_address_explains_missing_gre() {
        let failure = || Failure::new(Phase::Lcp, FailureKind::GreFiltered, "");
        let hints = behind_nat64(failure(), Some([192, 0, 0, 4].into())).hints;
        assert!(hints[0].contains("192.0.0.4 belongs to 464XLAT"), "{hints:?}");
        for other in [[192, 0, 0, 8], [192, 0, 2, 4]] {
            assert!(behind_nat64(failure(), Some(other.into())).hints.is_empty());
        }
    }

    #[test]
    fn name_of_this_host_is_told_unless_it_was_meant() {
        let hints = |server: &str, address: [u8; 4]| {
            let failure = Failure::new(Phase::Connect, FailureKind::ConnectionRefused, "");
            to_itself(failure, &profile(server), address.into()).hints
        };
        assert!(hints("'vpn.example'", [127, 0, 0, 1])[0].contains("vpn.example is blocked or redirected"));
        assert!(hints("'vpn.example'", [192, 0, 2, 1]).is_empty());
        assert!(hints("'localhost'", [127, 0, 0, 1]).is_empty());
        assert!(hints("['vpn.example', '127.0.0.1']", [127, 0, 0, 1]).is_empty());
    }
}
