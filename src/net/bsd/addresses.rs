//! The addresses of interfaces, by getifaddrs(3).

use std::{io, net::IpAddr};

use ipnet::IpNet;
use nix::{ifaddrs, net::if_::InterfaceFlags};

use crate::net::connected::{InterfaceAddress, address};

/// Lists the addresses of all interfaces.
///
/// # Errors
/// Returns the kernel's error.
pub fn addresses() -> io::Result<Vec<InterfaceAddress>> {
    Ok(ifaddrs::getifaddrs()?.filter_map(|one| read(&one)).collect())
}

/// Returns whether an interface has this address.
///
/// # Errors
/// Returns the kernel's error.
pub fn has_address(dev: &str, wanted: IpAddr) -> io::Result<bool> {
    let wanted = without_scope(wanted);
    Ok(addresses()?.iter().any(|one| one.dev == dev && without_scope(one.address) == wanted))
}

fn read(interface: &ifaddrs::InterfaceAddress) -> Option<InterfaceAddress> {
    let local = interface.address.as_ref().and_then(address)?;
    let is = |flag| interface.flags.contains(flag);
    let peer =
        interface.destination.as_ref().filter(|_| is(InterfaceFlags::IFF_POINTOPOINT)).and_then(address);
    let mask = interface.netmask.as_ref().and_then(address);
    let network = mask.and_then(|mask| IpNet::with_netmask(peer.unwrap_or(local), mask).ok());
    Some(InterfaceAddress {
        dev: interface.interface_name.clone(),
        address: local,
        network: network.map(|network| network.trunc()).filter(|_| !is(InterfaceFlags::IFF_LOOPBACK)),
    })
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
