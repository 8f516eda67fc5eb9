//! Addresses of interfaces.

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::{
    AddressFamily,
    address::{AddressAttribute, AddressFlags, AddressMessage},
};

use super::{Error, Netlink, message::Message};
use crate::net::routes::Address;

impl Netlink {
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
