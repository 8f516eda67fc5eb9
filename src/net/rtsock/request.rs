//! What a kernel is asked for: RTM_ADD, RTM_CHANGE, RTM_DELETE, RTM_GET.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{
    Action, Field, Gateway, Layout,
    address::{Place, Writer},
};

/// RTF_UP, RTF_GATEWAY, RTF_HOST, RTF_STATIC: the same everywhere.
const UP: u32 = 0x1;
const GATEWAY: u32 = 0x2;
const HOST: u32 = 0x4;
const STATIC: u32 = 0x800;

/// RTV_MTU, the same everywhere.
const INIT_MTU: u64 = 1;

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What is asked for.
    pub action: Action,
    /// Comes back in the answer.
    pub seq: i32,
    /// Which route; for RTM_GET, which host.
    pub dest: IpNet,
    /// Where its packets go.
    pub gateway: Option<Gateway>,
    /// The interface that a link-local gateway is on, and that the kernel is to use.
    pub index: u16,
    /// RTF_* besides those that follow from the rest (RTF_UP, HOST, GATEWAY).
    pub flags: u32,
    /// Source address of packets, one of this host's (RTA_IFA).
    pub source: Option<IpAddr>,
    /// Largest packet in bytes; 0 leaves it to the kernel.
    pub mtu: u32,
    /// Routing table (OpenBSD).
    pub table: u16,
    /// Priority (OpenBSD); 0 leaves it to the kernel.
    pub priority: u8,
    /// Label (OpenBSD), at most 31 bytes.
    pub label: Option<String>,
}

/// Why a request can't be written for a system.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The system's routes have no such thing.
    #[error("{system} has no {what}")]
    Unknown {
        /// The system's name.
        system: &'static str,
        /// What it lacks.
        what: &'static str,
    },
    /// Too long, or not representable.
    #[error("the {0} does not fit a routing message")]
    TooLong(&'static str),
}

impl Request {
    /// A request for a route, with nothing but its destination.
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

    /// "Which way to this host?" The answer names the interface too.
    #[must_use]
    pub fn get(to: IpAddr) -> Self {
        Self::new(Action::Get, IpNet::from(to))
    }

    /// The flags of a static route that this program makes.
    #[must_use]
    pub const fn our_flags(layout: &Layout) -> u32 {
        STATIC | layout.flags.ours
    }

    /// The message.
    ///
    /// # Errors
    /// [`Refused`]: what the system has no place for.
    pub fn encode(&self, layout: &Layout) -> Result<Vec<u8>, Refused> {
        let header = &layout.route;
        let missing = |what| Refused::Unknown { system: layout.name, what };
        let mut addresses = Writer::default();
        addresses.ip(layout, Place::Dest, self.dest.network(), self.index);
        match self.gateway {
            Some(Gateway::Address(address)) => {
                addresses.ip(layout, Place::Gateway, address, self.index);
            }
            Some(Gateway::Link(index)) => addresses.link(layout, Place::Gateway, index),
            None => {}
        }
        let host = self.dest.prefix_len() == self.dest.max_prefix_len();
        if !host {
            addresses.ip(layout, Place::Netmask, self.dest.netmask(), 0);
        }
        let get = self.action == Action::Get;
        if get || (self.index != 0 && self.gateway.is_some()) {
            addresses.link(layout, Place::Interface, self.index);
        }
        if let Some(source) = self.source {
            addresses.ip(layout, Place::InterfaceAddress, source, self.index);
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
        let flags = self.flags | UP | if host { HOST } else { 0 } | if by_gateway { GATEWAY } else { 0 };
        set(&mut bytes, header.flags, u64::from(flags));
        set(&mut bytes, header.addrs, u64::from(addresses.places));
        if let (Some(fmask), Action::Change) = (header.fmask, self.action) {
            // Those that say what a route does and whose it is.
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

/// RTF_STATIC, RTF_REJECT, RTF_BLACKHOLE and the RTF_PROTO flags: a part of every system's RTF_FMASK.
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
