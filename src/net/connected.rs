//! The addresses of this host's interfaces, and the networks to which it is connected by them.
//!
//! Addresses are read instead of routes, because address managers differ in how they add the route of a
//! network: some leave it to the kernel, others add it as DHCP's.

use std::net::IpAddr;

use ipnet::IpNet;
use nix::sys::socket::SockaddrStorage;

/// A connected network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connected {
    /// The interface.
    pub dev: String,
    /// The prefix; that of the peer on a point-to-point link.
    pub network: IpNet,
}

/// An address of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceAddress {
    /// The interface.
    pub dev: String,
    /// The address.
    pub address: IpAddr,
    /// The prefix of the connected network; that of the peer on a point-to-point link, `None` on loopback.
    pub network: Option<IpNet>,
}

/// Returns the name of the interface with this index, in the calling thread's namespace.
#[must_use]
pub fn link_name(index: u32) -> Option<String> {
    let name = nix::net::if_::if_indextoname(index).ok()?.into_string().ok();
    // nix returns an empty name if there is no such interface.
    name.filter(|name| !name.is_empty())
}

/// Returns the IP address in a socket address, if it has one.
#[must_use]
pub fn address(socket: &SockaddrStorage) -> Option<IpAddr> {
    let ipv4 = socket.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
    ipv4.or_else(|| socket.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
}
