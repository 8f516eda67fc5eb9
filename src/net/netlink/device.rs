//! Network interfaces: lookup by name and index, state, MTU, removal; veth pairs for network namespaces.

use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_packet_core::{DefaultNla, Emitable, NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{
        AfSpecInet, AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoData, InfoKind, InfoVeth, LinkAttribute,
        LinkFlags, LinkInfo, LinkMessage,
    },
};

use super::{Error, Netlink};
use crate::net::routes::{Link, Traffic};

const IFLA_INET_CONF: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_PPP_DEV_FD: u16 = 1;
const NLA_F_NESTED: u16 = 0x8000;
const IPV4_DEVCONF_PROMOTE_SECONDARIES: u16 = 20;

impl Netlink {
    /// Returns the interface with this name, or `None`.
    ///
    /// # Errors
    /// Returns the kernel's error.
    pub fn link(&mut self, name: &str) -> Result<Option<Link>, Error> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        let mut found = None;
        let outcome =
            self.query(&format!("look up {name}"), RouteNetlinkMessage::GetLink(message), &mut |answer| {
                if let Ok(RouteNetlinkMessage::NewLink(link)) = answer {
                    found = read(&link);
                }
                Ok(())
            });
        match outcome {
            Ok(()) => Ok(found),
            Err(error) if error.is_absent() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Lists all interfaces.
    ///
    /// # Errors
    /// Returns an error if the dump fails.
    pub fn links(&mut self) -> Result<Vec<Link>, Error> {
        let request = RouteNetlinkMessage::GetLink(LinkMessage::default());
        self.dump("list interfaces", &request, |links, answer| {
            if let Ok(RouteNetlinkMessage::NewLink(link)) = answer {
                links.extend(read(&link));
            }
            Ok(())
        })
    }

    /// Lists the point-to-point interfaces (tunnels are): index and name.
    ///
    /// # Errors
    /// Returns an error if the dump fails.
    pub fn point_to_points(&mut self) -> Result<Vec<(u32, String)>, Error> {
        let request = RouteNetlinkMessage::GetLink(LinkMessage::default());
        self.dump("list interfaces", &request, |found, answer| {
            if let Ok(RouteNetlinkMessage::NewLink(message)) = answer
                && message.header.flags.contains(LinkFlags::Pointopoint)
                && let Some(link) = read(&message)
            {
                found.push((link.index, link.name));
            }
            Ok(())
        })
    }

    /// Returns the index of the interface with this name.
    ///
    /// # Errors
    /// Returns ENODEV if there is none.
    pub fn index(&mut self, name: &str) -> Result<u32, Error> {
        self.link(name)?
            .map(|link| link.index)
            .ok_or_else(|| Error::errno(format!("look up {name}"), nix::errno::Errno::ENODEV))
    }

    /// Sets the MTU, in bytes.
    ///
    /// # Errors
    /// Returns ENODEV, EINVAL if the device does not support the size, EPERM.
    pub fn set_mtu(&mut self, name: &str, mtu: u32) -> Result<(), Error> {
        let mut message = self.link_message(name)?;
        message.attributes.push(LinkAttribute::Mtu(mtu));
        self.change(&format!("set mtu of {name} to {mtu}"), RouteNetlinkMessage::SetLink(message), 0)
    }

    /// Brings the interface up or down.
    ///
    /// # Errors
    /// Returns ENODEV, EPERM.
    pub fn set_up(&mut self, name: &str, up: bool) -> Result<(), Error> {
        let mut message = self.link_message(name)?;
        message.header.change_mask = LinkFlags::Up;
        message.header.flags = if up { LinkFlags::Up } else { LinkFlags::empty() };
        let what = format!("bring {name} {}", if up { "up" } else { "down" });
        self.change(&what, RouteNetlinkMessage::SetLink(message), 0)
    }

    /// Disables the automatic IPv6 link-local address of the interface. Succeeds without effect on a host
    /// without IPv6.
    ///
    /// # Errors
    /// Returns ENODEV, EPERM.
    pub fn no_automatic_ipv6(&mut self, name: &str) -> Result<(), Error> {
        let mut message = self.link_message(name)?;
        let none = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
        message.attributes.push(LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![none])]));
        let what = format!("turn automatic IPv6 addresses of {name} off");
        match self.change(&what, RouteNetlinkMessage::SetLink(message), 0) {
            Err(error) if error.errno == Some(nix::errno::Errno::EAFNOSUPPORT) => Ok(()),
            outcome => outcome,
        }
    }

    /// Sets `promote_secondaries`: deleting an IPv4 address keeps a second one of the same prefix. Otherwise
    /// the kernel deletes both, and with the last address all routes of the interface.
    ///
    /// # Errors
    /// Returns ENODEV, EPERM.
    pub fn keep_second_address(&mut self, name: &str) -> Result<(), Error> {
        let mut message = self.link_message(name)?;
        // In a request, IFLA_INET_CONF has one attribute per setting, its number as type.
        let mut setting = 8_u16.to_ne_bytes().to_vec();
        setting.extend(IPV4_DEVCONF_PROMOTE_SECONDARIES.to_ne_bytes());
        setting.extend(1_u32.to_ne_bytes());
        let conf = AfSpecInet::Other(DefaultNla::new(IFLA_INET_CONF | NLA_F_NESTED, setting));
        message.attributes.push(LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet(vec![conf])]));
        self.change(&format!("set promote_secondaries of {name}"), RouteNetlinkMessage::SetLink(message), 0)
    }

    /// Deletes an interface if the index still has this name.
    ///
    /// # Errors
    /// Returns ENODEV if it has not, EPERM, EOPNOTSUPP if the interface cannot be deleted.
    pub fn delete_link(&mut self, name: &str, index: u32) -> Result<(), Error> {
        let what = format!("delete {name}");
        match self.link(name)? {
            Some(link) if link.index == index => {
                let mut message = LinkMessage::default();
                message.header.index = index;
                self.change(&what, RouteNetlinkMessage::DelLink(message), 0)
            }
            _ => Err(Error::errno(what, nix::errno::Errno::ENODEV)),
        }
    }

    /// Creates a veth pair: `here` in this network namespace, `there` in the namespace of the descriptor (or
    /// in this one for `None`).
    ///
    /// # Errors
    /// Returns EEXIST if a name is in use, EPERM.
    pub fn create_veth(
        &mut self,
        here: &str,
        there: &str,
        netns: Option<BorrowedFd<'_>>,
    ) -> Result<(), Error> {
        let mut peer = LinkMessage::default();
        peer.attributes.push(LinkAttribute::IfName(there.to_owned()));
        if let Some(netns) = netns {
            peer.attributes.push(LinkAttribute::NetNsFd(netns.as_raw_fd()));
        }
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(here.to_owned()));
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
        ]));
        let what = format!("create veth pair {here} and {there}");
        self.change(&what, RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Makes an open node of the PPP driver a unit, whose device has this name.
    ///
    /// # Errors
    /// Returns EEXIST if the name is in use, EBUSY while the driver is, EOPNOTSUPP without the driver (or before Linux 4.7).
    pub fn create_ppp(&mut self, name: &str, node: BorrowedFd<'_>) -> Result<(), Error> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        let fd = DefaultNla::new(IFLA_PPP_DEV_FD, node.as_raw_fd().to_ne_bytes().to_vec());
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Other("ppp".to_owned())),
            LinkInfo::Other(DefaultNla::new(IFLA_INFO_DATA | NLA_F_NESTED, emitted(&fd))),
        ]));
        let what = format!("create {name} as a PPP device");
        self.change(&what, RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Returns the packets and bytes that an interface has received and sent; `None` if there is no such interface.
    ///
    /// # Errors
    /// Returns the kernel's error.
    pub fn traffic(&mut self, name: &str) -> Result<Option<Traffic>, Error> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        let mut found = None;
        let what = format!("read the counters of {name}");
        let outcome = self.query(&what, RouteNetlinkMessage::GetLink(message), &mut |answer| {
            if let Ok(RouteNetlinkMessage::NewLink(link)) = answer {
                found = link.attributes.iter().find_map(|attribute| match attribute {
                    LinkAttribute::Stats64(all) => Some(Traffic {
                        received: (all.rx_packets, all.rx_bytes),
                        sent: (all.tx_packets, all.tx_bytes),
                        dropped: all.tx_dropped.saturating_add(all.tx_errors),
                        errors: all.rx_errors,
                    }),
                    _ => None,
                });
            }
            Ok(())
        });
        match outcome {
            Ok(()) => Ok(found),
            Err(error) if error.is_absent() => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn link_message(&mut self, name: &str) -> Result<LinkMessage, Error> {
        let mut message = LinkMessage::default();
        message.header.index = self.index(name)?;
        Ok(message)
    }
}

/// Returns an attribute with its header.
fn emitted(attribute: &DefaultNla) -> Vec<u8> {
    let mut bytes = vec![0; attribute.buffer_len()];
    attribute.emit(&mut bytes);
    bytes
}

pub(super) fn read(message: &LinkMessage) -> Option<Link> {
    let mut name = None;
    let mut mtu = 0;
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(text) => name = Some(text.clone()),
            LinkAttribute::Mtu(bytes) => mtu = *bytes,
            _ => {}
        }
    }
    let up = message.header.flags.contains(LinkFlags::Up);
    name.map(|name| Link { index: message.header.index, name, mtu, up })
}
