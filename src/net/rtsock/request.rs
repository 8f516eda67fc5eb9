//! Requests to a kernel: RTM_ADD, RTM_CHANGE, RTM_DELETE, RTM_GET.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{
    Action, Field, Gateway, Layout,
    address::{AddressSlot, Writer},
};

/// RTF_UP, RTF_GATEWAY, RTF_HOST, RTF_STATIC: the same on all systems.
const UP: u32 = 0x1;
const GATEWAY: u32 = 0x2;
const HOST: u32 = 0x4;
/// RTF_CLONING (OpenBSD).
const CLONING: u32 = 0x100;
const STATIC: u32 = 0x800;

/// RTV_MTU, the same on all systems.
const INIT_MTU: u64 = 1;

/// One request about a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The operation.
    pub action: Action,
    /// Sequence number, repeated in the answer.
    pub seq: i32,
    /// Destination of the route; for RTM_GET, the host.
    pub dest: IpNet,
    /// Next hop.
    pub gateway: Option<Gateway>,
    /// Index of the outgoing interface, and the scope of link-local addresses; 0 for none.
    pub index: u16,
    /// RTF_* flags, without those that `encode` derives (RTF_UP, HOST, GATEWAY).
    pub flags: u32,
    /// Source address of packets, an address of this host (RTA_IFA).
    pub source: Option<IpAddr>,
    /// MTU in bytes; 0 for the kernel's default.
    pub mtu: u32,
    /// Routing table (OpenBSD).
    pub table: u16,
    /// Priority (OpenBSD); 0 for the kernel's default.
    pub priority: u8,
    /// Label (OpenBSD), at most 31 bytes.
    pub label: Option<String>,
}

/// Why a request cannot be encoded for a system.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The system does not support an attribute.
    #[error("{system} has no {what}")]
    Unknown {
        /// The system's name.
        system: &'static str,
        /// The attribute.
        what: &'static str,
    },
    /// Too long, or not representable.
    #[error("the {0} does not fit a routing message")]
    TooLong(&'static str),
}

impl Request {
    /// Returns a request with only a destination.
    #[must_use]
    pub const fn new(action: Action, dest: IpNet) -> Self {
        Self {
            action,
            seq: 0,
            dest,
            gateway: None,
            index: 0,
            flags: 0,
            source: None,
            mtu: 0,
            table: 0,
            priority: 0,
            label: None,
        }
    }

    /// Returns a route lookup for a host, whose answer includes the interface.
    #[must_use]
    pub fn get(to: IpAddr) -> Self {
        Self::new(Action::Get, IpNet::from(to))
    }

    /// Returns the flags of this program's static routes.
    #[must_use]
    pub const fn our_flags(layout: &Layout) -> u32 {
        STATIC | layout.flags.own_routes
    }

    /// Encodes the message.
    ///
    /// # Errors
    /// Returns [`Refused`] if the system does not support an attribute or the label is too long.
    pub fn encode(&self, layout: &Layout) -> Result<Vec<u8>, Refused> {
        let header = &layout.route;
        let missing = |what| Refused::Unknown { system: layout.name, what };
        let mut addresses = Writer::default();
        addresses.ip(layout, AddressSlot::Dest, self.dest.network(), self.index);
        match self.gateway {
            Some(Gateway::Address(address) | Gateway::Own(address)) => {
                addresses.ip(layout, AddressSlot::Gateway, address, self.index);
            }
            Some(Gateway::Link(index)) => addresses.link(layout, AddressSlot::Gateway, index),
            None => {}
        }
        let host = self.dest.prefix_len() == self.dest.max_prefix_len();
        if !host {
            addresses.ip(layout, AddressSlot::Netmask, self.dest.netmask(), 0);
        }
        let get = self.action == Action::Get;
        if get || (self.index != 0 && self.gateway.is_some()) {
            addresses.link(layout, AddressSlot::Interface, self.index);
        }
        if let Some(source) = self.source {
            addresses.ip(layout, AddressSlot::InterfaceAddress, source, self.index);
        }
        if let Some(label) = &self.label {
            if !layout.labels {
                return Err(missing("labels of routes"));
            }
            addresses.label(layout, label).ok_or(Refused::TooLong("label"))?;
        }

        let mut bytes = vec![0; header.size];
        bytes.extend_from_slice(&addresses.bytes);
        let length = u16::try_from(bytes.len()).map_err(|_| Refused::TooLong("request"))?;
        set(&mut bytes, Field { at: 0, width: 2 }, u64::from(length));
        set(&mut bytes, Field { at: 2, width: 1 }, u64::from(layout.version));
        set(&mut bytes, Field { at: 3, width: 1 }, u64::from(self.action.number()));
        if let Some(hdrlen) = header.hdrlen {
            set(&mut bytes, hdrlen, header.size as u64);
        }
        set(&mut bytes, header.index, u64::from(self.index));
        match header.tableid {
            Some(tableid) => set(&mut bytes, tableid, u64::from(self.table)),
            None if self.table != 0 => return Err(missing("routing table in its requests")),
            None => {}
        }
        match header.priority {
            Some(priority) => set(&mut bytes, priority, u64::from(self.priority)),
            None if self.priority != 0 => return Err(missing("priorities of routes")),
            None => {}
        }
        let by_gateway = matches!(self.gateway, Some(Gateway::Address(_)));
        // Each host on the link gets a route of its own with its link address, also the one of a host route:
        // without RTF_CLONING OpenBSD sends nothing ("route contains no arp information").
        let clones = matches!(self.gateway, Some(Gateway::Own(_)));
        let when = |condition: bool, flag: u32| if condition { flag } else { 0 };
        let flags = self.flags | UP | when(host, HOST) | when(by_gateway, GATEWAY) | when(clones, CLONING);
        set(&mut bytes, header.flags, u64::from(flags));
        set(&mut bytes, header.addrs, u64::from(addresses.places));
        if let (Some(fmask), Action::Change) = (header.fmask, self.action) {
            // The flags for the kind of a route and for the program that added it.
            set(&mut bytes, fmask, u64::from(changeable(layout)));
        }
        set(&mut bytes, header.seq, u64::from(self.seq.cast_unsigned()));
        if self.mtu != 0 {
            set(&mut bytes, header.inits, INIT_MTU);
            set(&mut bytes, header.mtu, u64::from(self.mtu));
        }
        Ok(bytes)
    }
}

/// RTF_STATIC, RTF_REJECT, RTF_BLACKHOLE and the RTF_PROTO flags: part of every system's RTF_FMASK.
const fn changeable(layout: &Layout) -> u32 {
    STATIC | 0x8 | 0x1000 | 0x4000 | 0x8000 | layout.flags.proto3
}

fn set(bytes: &mut [u8], field: Field, value: u64) {
    let low = value.to_le_bytes();
    let Some(to) = bytes.get_mut(field.at..field.at + field.width) else { return };
    let from = low.iter().take(field.width);
    if cfg!(target_endian = "little") {
        to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
    } else {
        to.iter_mut().rev().zip(from).for_each(|(to, from)| *to = *from);
    }
}
