//! Addresses of interfaces.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::{
    AddressFamily,
    address::{AddressAttribute, AddressFlags, AddressMessage},
};

use super::{Error, Netlink, message::Message, names::Names};
use crate::net::{connected::InterfaceAddress, routes::Address};

/// The kernel gives each network namespace's loopback interface this index.
const LOOPBACK: u32 = 1;

impl Netlink {
    /// Lists the addresses of all interfaces.
    ///
    /// # Errors
    /// Returns an error if the dump fails.
    pub fn addresses(&mut self) -> Result<Vec<InterfaceAddress>, Error> {
        self.list_addresses(0)
    }

    /// Returns whether an interface has this address.
    ///
    /// # Errors
    /// Returns an error if the dump fails.
    pub fn has_address(&mut self, dev: &str, wanted: IpAddr) -> Result<bool, Error> {
        let Some(link) = self.link(dev)? else { return Ok(false) };
        Ok(self.list_addresses(link.index)?.iter().any(|one| one.dev == dev && one.address == wanted))
    }

    /// Lists the addresses of one interface, or of all with index 0. A kernel before 4.20 lists all.
    fn list_addresses(&mut self, index: u32) -> Result<Vec<InterfaceAddress>, Error> {
        let mut names = self.names();
        let mut request = AddressMessage::default();
        request.header.index = index;
        let found = self.last_dump("list addresses", &Message::GetAddress(request), |found, answer| {
            if let Ok(Message::NewAddress(message)) = answer {
                found.extend(read(&message, &mut names));
            }
            Ok(())
        });
        match found {
            // It has disappeared.
            Err(error) if index != 0 && error.is_absent() => Ok(Vec::new()),
            // An address that was added or deleted meanwhile is missing or not; another message of the kernel follows.
            found => found.map(|(found, _consistent)| found),
        }
    }

    /// Adds an address to an interface. Duplicate address detection is off for IPv6: both ends of a PPP link
    /// have negotiated their interface identifiers (RFC 5072 §4.1).
    ///
    /// # Errors
    /// Returns EEXIST if the interface already has the address, ENODEV, EPERM.
    pub fn add_address(&mut self, dev: &str, address: &Address) -> Result<(), Error> {
        let message = self.address_message(dev, address)?;
        let what = format!("add address {} to {dev}", address.local);
        self.change(&what, Message::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Deletes an address from an interface.
    ///
    /// # Errors
    /// Returns EADDRNOTAVAIL if the interface does not have the address, ENODEV, EPERM.
    pub fn delete_address(&mut self, dev: &str, address: &Address) -> Result<(), Error> {
        let message = self.address_message(dev, address)?;
        let what = format!("delete address {} of {dev}", address.local);
        self.change(&what, Message::DelAddress(message), 0)
    }

    fn address_message(&mut self, dev: &str, address: &Address) -> Result<AddressMessage, Error> {
        let mut message = AddressMessage::default();
        message.header.index = self.index(dev)?;
        message.header.prefix_len = address.prefix;
        message.header.family = match address.local {
            IpAddr::V4(_) => AddressFamily::Inet,
            IpAddr::V6(_) => AddressFamily::Inet6,
        };
        message.attributes.push(AddressAttribute::Local(address.local));
        message.attributes.push(AddressAttribute::Address(address.peer.unwrap_or(address.local)));
        if address.local.is_ipv6() {
            message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
        Ok(message)
    }
}

/// Decodes an address; returns `None` if it is neither an IPv4 nor an IPv6 address.
fn read(message: &AddressMessage, names: &mut Names) -> Option<InterfaceAddress> {
    let (mut local, mut end) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(address) => local = Some(*address),
            // The peer's on a point-to-point link; the only one if the kernel has no other for IPv6.
            AddressAttribute::Address(address) => end = Some(*address),
            _ => {}
        }
    }
    let (local, end) = (local.or(end)?, end.or(local)?);
    let network = IpNet::new(end, message.header.prefix_len).ok()?.trunc();
    Some(InterfaceAddress {
        dev: names.of(message.header.index),
        address: local,
        network: (message.header.index != LOOPBACK).then_some(network),
    })
}
