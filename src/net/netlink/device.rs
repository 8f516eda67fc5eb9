//! Network interfaces: lookup by name and index, state, MTU, removal; veth pairs for network namespaces.

use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use nix::libc::{
    AF_INET, AF_INET6, IFF_POINTOPOINT, IFF_UP, IFLA_AF_SPEC, IFLA_IFNAME, IFLA_INFO_DATA, IFLA_INFO_KIND,
    IFLA_LINKINFO, IFLA_MTU, IFLA_NET_NS_FD, IFLA_STATS64,
};

use super::{
    Error, Netlink,
    message::{LinkMessage, Message, attribute, text},
};
use crate::net::routes::{Link, Traffic};

const IFLA_INET_CONF: u16 = 1;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const IN6_ADDR_GEN_MODE_NONE: u8 = 1;
const IFLA_PPP_DEV_FD: u16 = 1;
const VETH_INFO_PEER: u16 = 1;
const NLA_F_NESTED: u16 = 0x8000;
const IPV4_DEVCONF_PROMOTE_SECONDARIES: u16 = 20;
const UP: u32 = IFF_UP.cast_unsigned();
const POINT_TO_POINT: u32 = IFF_POINTOPOINT.cast_unsigned();

impl Netlink {
    /// Returns the interface with this name, or `None`.
    ///
    /// # Errors
    /// Returns the kernel's error.
    pub fn link(&mut self, name: &str) -> Result<Option<Link>, Error> {
        let message = named(name);
        let mut found = None;
        let outcome = self.query(&format!("look up {name}"), Message::GetLink(message), &mut |answer| {
            if let Ok(Message::NewLink(link)) = answer {
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

    /// Lists the point-to-point interfaces (tunnels are): index and name.
    ///
    /// # Errors
    /// Returns an error if the dump fails.
    pub fn point_to_points(&mut self) -> Result<Vec<(u32, String)>, Error> {
        let request = Message::GetLink(LinkMessage::default());
        self.dump("list interfaces", &request, |found, answer| {
            if let Ok(Message::NewLink(message)) = answer
                && message.flags & POINT_TO_POINT != 0
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
        let message = self.link_message(name)?.with(IFLA_MTU, &mtu.to_ne_bytes());
        self.change(&format!("set mtu of {name} to {mtu}"), Message::SetLink(message), 0)
    }

    /// Brings the interface up or down.
    ///
    /// # Errors
    /// Returns ENODEV, EPERM.
    pub fn set_up(&mut self, name: &str, up: bool) -> Result<(), Error> {
        let mut message = self.link_message(name)?;
        message.change = UP;
        message.flags = if up { UP } else { 0 };
        let what = format!("bring {name} {}", if up { "up" } else { "down" });
        self.change(&what, Message::SetLink(message), 0)
    }

    /// Disables the automatic IPv6 link-local address of the interface. Succeeds without effect on a host
    /// without IPv6.
    ///
    /// # Errors
    /// Returns ENODEV, EPERM.
    pub fn no_automatic_ipv6(&mut self, name: &str) -> Result<(), Error> {
        let none = attribute(IFLA_INET6_ADDR_GEN_MODE, &[IN6_ADDR_GEN_MODE_NONE]);
        let message = self.link_message(name)?.with(IFLA_AF_SPEC, &of_family(AF_INET6, &none));
        let what = format!("turn automatic IPv6 addresses of {name} off");
        match self.change(&what, Message::SetLink(message), 0) {
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
        // In a request, IFLA_INET_CONF has one attribute per setting, its number as type.
        let setting = attribute(IPV4_DEVCONF_PROMOTE_SECONDARIES, &1_u32.to_ne_bytes());
        let conf = attribute(IFLA_INET_CONF | NLA_F_NESTED, &setting);
        let message = self.link_message(name)?.with(IFLA_AF_SPEC, &of_family(AF_INET, &conf));
        self.change(&format!("set promote_secondaries of {name}"), Message::SetLink(message), 0)
    }

    /// Deletes an interface if the index still has this name.
    ///
    /// # Errors
    /// Returns ENODEV if it has not, EPERM, EOPNOTSUPP if the interface cannot be deleted.
    pub fn delete_link(&mut self, name: &str, index: u32) -> Result<(), Error> {
        let what = format!("delete {name}");
        match self.link(name)? {
            Some(link) if link.index == index => {
                let message = LinkMessage { index, ..LinkMessage::default() };
                self.change(&what, Message::DelLink(message), 0)
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
        let mut peer = named(there);
        if let Some(netns) = netns {
            peer = peer.with(IFLA_NET_NS_FD, &netns.as_raw_fd().to_ne_bytes());
        }
        let peer = attribute(VETH_INFO_PEER, &peer.bytes());
        let message = named(here).with(IFLA_LINKINFO, &of_kind("veth", IFLA_INFO_DATA, &peer));
        let what = format!("create veth pair {here} and {there}");
        self.change(&what, Message::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Makes an open node of the PPP driver a unit, whose device has this name.
    ///
    /// # Errors
    /// Returns EEXIST if the name is in use, EBUSY while the driver is, EOPNOTSUPP without the driver (or before Linux 4.7).
    pub fn create_ppp(&mut self, name: &str, node: BorrowedFd<'_>) -> Result<(), Error> {
        let fd = attribute(IFLA_PPP_DEV_FD, &node.as_raw_fd().to_ne_bytes());
        let message = named(name).with(IFLA_LINKINFO, &of_kind("ppp", IFLA_INFO_DATA | NLA_F_NESTED, &fd));
        let what = format!("create {name} as a PPP device");
        self.change(&what, Message::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Returns the packets and bytes that an interface has received and sent; `None` if there is no such interface.
    ///
    /// # Errors
    /// Returns the kernel's error.
    pub fn traffic(&mut self, name: &str) -> Result<Option<Traffic>, Error> {
        let message = named(name);
        let mut found = None;
        let what = format!("read the counters of {name}");
        let outcome = self.query(&what, Message::GetLink(message), &mut |answer| {
            if let Ok(Message::NewLink(link)) = answer {
                found = link.get(IFLA_STATS64).and_then(counters);
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
        Ok(LinkMessage { index: self.index(name)?, ..LinkMessage::default() })
    }
}

/// Returns the message for the interface of this name.
fn named(name: &str) -> LinkMessage {
    LinkMessage::default().with(IFLA_IFNAME, &text(name))
}

/// Returns the value of IFLA_AF_SPEC with settings of one address family.
fn of_family(family: i32, settings: &[u8]) -> Vec<u8> {
    u16::try_from(family).map_or_else(|_| Vec::new(), |family| attribute(family, settings))
}

/// Returns the value of IFLA_LINKINFO.
fn of_kind(kind: &str, data: u16, value: &[u8]) -> Vec<u8> {
    [attribute(IFLA_INFO_KIND, &text(kind)), attribute(data, value)].concat()
}

/// Reads the counters of an interface (`struct rtnl_link_stats64`).
fn counters(bytes: &[u8]) -> Option<Traffic> {
    let (all, _) = bytes.as_chunks::<8>();
    let all: Vec<_> = all.iter().map(|one| u64::from_ne_bytes(*one)).collect();
    let [rx_packets, tx_packets, rx_bytes, tx_bytes, rx_errors, tx_errors, _, tx_dropped, ..] = all[..]
    else {
        return None;
    };
    Some(Traffic {
        received: (rx_packets, rx_bytes),
        sent: (tx_packets, tx_bytes),
        dropped: tx_dropped.saturating_add(tx_errors),
        errors: rx_errors,
    })
}

pub(super) fn read(message: &LinkMessage) -> Option<Link> {
    let name = message.get(IFLA_IFNAME)?;
    let name = name.strip_suffix(&[0]).unwrap_or(name);
    let mtu =
        message.get(IFLA_MTU).and_then(|mtu| mtu.first_chunk()).map_or(0, |mtu| u32::from_ne_bytes(*mtu));
    let name = std::str::from_utf8(name).ok()?.to_owned();
    Some(Link { index: message.index, name, mtu, up: message.flags & UP != 0 })
}
