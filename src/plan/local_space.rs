//! The address space in which a connected network may be reached past the tunnel despite the kill switch.
//!
//! The network's DHCP server chooses the prefix of a connected network. In other space it would choose which
//! hosts of the internet are reached without encryption (TunnelCrack, "LocalNet").

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// fe80::/10 (RFC 4291 §2.4).
pub const LINK_LOCAL_IPV6: IpNet =
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10));

/// Private space (RFC 1918, RFC 4193) and link-local space (RFC 3927, RFC 4291).
const LOCAL_SPACE: [IpNet; 6] = [
    ipv4([10, 0, 0, 0], 8),
    ipv4([172, 16, 0, 0], 12),
    ipv4([192, 168, 0, 0], 16),
    ipv4([169, 254, 0, 0], 16),
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7)),
    LINK_LOCAL_IPV6,
];

const fn ipv4([a, b, c, d]: [u8; 4], length: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length))
}

/// Returns whether a prefix lies in local address space as a whole.
#[must_use]
pub fn is_local(prefix: &IpNet) -> bool {
    LOCAL_SPACE.iter().any(|space| space.contains(prefix))
}

/// The networks to which this host is connected, each once, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectedNetworks {
    /// Those that lie in local address space as a whole. fe80::/10 is left out, as the kill switch always has
    /// a rule for it.
    pub local: Vec<IpNet>,
    /// The other IPv4 networks.
    pub others: Vec<IpNet>,
}

impl ConnectedNetworks {
    /// Sorts networks by their address space.
    #[must_use]
    pub fn of(connected: impl IntoIterator<Item = IpNet>) -> Self {
        let mut connected: Vec<IpNet> = connected.into_iter().map(|network| network.trunc()).collect();
        connected.sort_unstable();
        connected.dedup();
        let (mut local, mut others): (Vec<_>, Vec<_>) = connected.into_iter().partition(is_local);
        local.retain(|network| !LINK_LOCAL_IPV6.contains(network));
        others.retain(|network| matches!(network, IpNet::V4(_)));
        Self { local, others }
    }

    /// Returns whether one of the networks contains the address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.local.iter().chain(&self.others).any(|network| network.contains(&address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_sorted_by_address_space() {
        let connected = [
            "192.168.1.7/24",
            "192.168.1.9/24",
            "10.0.0.0/8",
            "172.31.0.0/16",
            "172.32.0.0/16",
            "172.16.0.0/11",
            "169.254.0.0/16",
            "100.64.0.0/10",
            "192.0.2.0/24",
            "8.8.8.8/32",
            "8.0.0.0/5",
            "0.0.0.0/0",
            "fd12:3456::1/64",
            "2001:db8::/64",
            "fe80::1/64",
            "f000::/4",
            "::/0",
        ];
        let sorted = ConnectedNetworks::of(connected.iter().map(|network| network.parse().unwrap()));
        let shown = |networks: &[IpNet]| networks.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            shown(&sorted.local),
            ["10.0.0.0/8", "169.254.0.0/16", "172.31.0.0/16", "192.168.1.0/24", "fd12:3456::/64"]
        );
        assert_eq!(
            shown(&sorted.others),
            [
                "0.0.0.0/0",
                "8.0.0.0/5",
                "8.8.8.8/32",
                "100.64.0.0/10",
                "172.0.0.0/11",
                "172.32.0.0/16",
                "192.0.2.0/24"
            ]
        );
    }
}
