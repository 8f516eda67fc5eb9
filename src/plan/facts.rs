//! Facts that become known while a tunnel comes up.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{ConnectedNetworks, Resolver};

/// The facts known so far; initially none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The server address that is dialled.
    pub server: Option<IpAddr>,
    /// The kernel's next hop to the server.
    pub next_hop: Option<NextHop>,
    /// The tun device's name.
    pub tun: Option<String>,
    /// The MTU that the path and the peer allow, in bytes.
    pub mtu: Option<u16>,
    /// The local address in the tunnel.
    pub local: Option<Ipv4Addr>,
    /// The peer's address in the tunnel.
    pub peer: Option<Ipv4Addr>,
    /// Whether that is also an address of this host, of a network to which it is connected, of a next hop or a
    /// resolver. That host keeps the address.
    pub peer_is_taken: bool,
    /// The outcome of IPV6CP.
    pub ipv6: Ipv6,
    /// The supervisor's process ID.
    pub pid: Option<u32>,
    /// The resolvers that the peer named; an empty list if it named none.
    pub dns: Option<Vec<IpAddr>>,
    /// The service that manages this host's resolvers.
    pub resolver: Option<Resolver>,
    /// Why the default routes of this host cannot be replaced.
    pub keep_default: KeepDefault,
    /// A routing table that nothing else uses; the mark has the same number.
    pub table: Option<u32>,
    /// The next hop of each excluded prefix outside the tunnel; `None` if it has none.
    pub outside: Vec<(IpNet, Option<NextHop>)>,
    /// The networks to which this host is connected, without the tunnel's own.
    pub connected: Option<ConnectedNetworks>,
    /// Whether this host forwards IPv4 packets; `None` if that is not known.
    pub forwarding: Option<bool>,
}

/// The outcome of IPV6CP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ipv6 {
    /// Not known yet.
    #[default]
    Unknown,
    /// The peer has not opened IPV6CP: the IPv6 steps are left out.
    Absent,
    /// IPV6CP is open, with these link-local addresses.
    Open {
        /// The local address.
        local: Ipv6Addr,
        /// The peer's address.
        peer: Ipv6Addr,
    },
}

impl Ipv6 {
    /// Builds the addresses from the interface identifiers of IPV6CP (RFC 5072 §5: fe80::/64 and the
    /// identifier).
    #[must_use]
    pub fn from_identifiers(local: u64, peer: u64) -> Self {
        let address = |identifier: u64| Ipv6Addr::from_bits((0xfe80_u128 << 112) | u128::from(identifier));
        Self::Open { local: address(local), peer: address(peer) }
    }
}

/// Why the default routes of a family cannot be removed and restored exactly; `None` if they can.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeepDefault {
    /// The reason for IPv4.
    pub ipv4: Option<String>,
    /// The reason for IPv6.
    pub ipv6: Option<String>,
}

impl KeepDefault {
    /// Returns the reason for one family.
    #[must_use]
    pub const fn of(&self, ipv6: bool) -> Option<&String> {
        if ipv6 { self.ipv6.as_ref() } else { self.ipv4.as_ref() }
    }
}

/// The kernel's next hop to a destination.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NextHop {
    /// A gateway, or a device if the destination is on its link.
    By {
        /// The gateway; `None` if the destination is on the link.
        gateway: Option<IpAddr>,
        /// The device.
        dev: String,
        /// The source address that the kernel selects.
        source: Option<IpAddr>,
    },
    /// The destination is this host, so no route affects it.
    ThisHost,
}

impl NextHop {
    /// Returns the gateway, if there is one.
    #[must_use]
    pub const fn gateway(&self) -> Option<IpAddr> {
        match self {
            Self::By { gateway, .. } => *gateway,
            Self::ThisHost => None,
        }
    }

    /// Returns whether packets take the same path: the same gateway and device, whatever the source address.
    #[must_use]
    pub fn is_same_path(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::ThisHost, Self::ThisHost) => true,
            (Self::By { gateway, dev, .. }, Self::By { gateway: other_gateway, dev: other_dev, .. }) => {
                gateway == other_gateway && dev == other_dev
            }
            _ => false,
        }
    }
}

impl fmt::Display for NextHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::By { gateway: Some(gateway), dev, .. } => write!(f, "{gateway} dev {dev}"),
            Self::By { gateway: None, dev, .. } => f.write_str(dev),
            Self::ThisHost => f.write_str("lo"),
        }
    }
}
