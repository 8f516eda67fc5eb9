//! The networks to which this host is connected, from the addresses of its interfaces.
//!
//! Addresses are read instead of routes, because address managers differ in how they add the route of a
//! network: some leave it to the kernel, others add it as DHCP's.

use std::{io, net::IpAddr};

use ipnet::IpNet;
use nix::{
    ifaddrs::{InterfaceAddress, getifaddrs},
    net::if_::InterfaceFlags,
    sys::socket::SockaddrStorage,
};

/// A connected network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connected {
    /// The interface.
    pub dev: String,
    /// The prefix; that of the peer on a point-to-point link.
    pub network: IpNet,
}

/// Lists the connected networks in the calling thread's namespace; those of loopback interfaces are left out.
///
/// # Errors
/// Returns the kernel's error.
pub fn networks() -> io::Result<Vec<Connected>> {
    Ok(getifaddrs()?.filter_map(|address| connected(&address)).collect())
}

/// Returns whether an interface has this address, in the calling thread's namespace.
///
/// # Errors
/// Returns the kernel's error.
pub fn has_address(dev: &str, wanted: IpAddr) -> io::Result<bool> {
    let wanted = without_scope(wanted);
    let has =
        |one: &InterfaceAddress| one.address.as_ref().and_then(address).map(without_scope) == Some(wanted);
    Ok(getifaddrs()?.any(|one| one.interface_name == dev && has(&one)))
}

/// Returns a link-local IPv6 address without the number of its interface, which OpenBSD and NetBSD embed in it.
fn without_scope(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(found) if found.is_unicast_link_local() => {
            let [first, _, rest @ ..] = found.segments();
            let [c, d, e, f, g, h] = rest;
            IpAddr::V6([first, 0, c, d, e, f, g, h].into())
        }
        other => other,
    }
}

/// Returns the name of the interface with this index, in the calling thread's namespace.
#[must_use]
pub fn link_name(index: u32) -> Option<String> {
    let name = nix::net::if_::if_indextoname(index).ok()?.into_string().ok();
    // nix returns an empty name if there is no such interface.
    name.filter(|name| !name.is_empty())
}

fn connected(interface: &InterfaceAddress) -> Option<Connected> {
    if interface.flags.contains(InterfaceFlags::IFF_LOOPBACK) {
        return None;
    }
    let is_point_to_point = interface.flags.contains(InterfaceFlags::IFF_POINTOPOINT);
    let peer = interface.destination.as_ref().filter(|_| is_point_to_point).and_then(address);
    let end = peer.or_else(|| interface.address.as_ref().and_then(address))?;
    let mask = interface.netmask.as_ref().and_then(address)?;
    let network = IpNet::with_netmask(end, mask).ok()?.trunc();
    Some(Connected { dev: interface.interface_name.clone(), network })
}

/// Returns the IP address in a socket address, if it has one.
#[must_use]
pub fn address(socket: &SockaddrStorage) -> Option<IpAddr> {
    let ipv4 = socket.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
    ipv4.or_else(|| socket.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
}
