//! Messages from a kernel: answers to requests, and notifications to all routing sockets.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{
    Field, Gateway, Layout,
    address::{AddressSlot, split_addresses},
};

/// RTF_HOST, the same on all systems.
const HOST: u32 = 0x4;

/// IFF_UP, the same on all systems.
const IFF_UP: u64 = 0x1;

/// An operation on a route; the numbers are the same on all systems.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// RTM_ADD.
    Add,
    /// RTM_DELETE.
    Delete,
    /// RTM_CHANGE.
    Change,
    /// RTM_GET.
    Get,
}

impl Action {
    /// Returns the `rtm_type`.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Add => 1,
            Self::Delete => 2,
            Self::Change => 3,
            Self::Get => 4,
        }
    }

    const fn of(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Add),
            2 => Some(Self::Delete),
            3 => Some(Self::Change),
            4 => Some(Self::Get),
            _ => None,
        }
    }
}

/// One message from a kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A route: an answer to a request, or a notification.
    Route(Box<RouteChange>),
    /// A change of an interface's state, carrier or MTU (RTM_IFINFO).
    Interface(InterfaceChange),
    /// An address was added to an interface or deleted (RTM_NEWADDR, RTM_DELADDR).
    Address(AddressChange),
    /// An interface was created or destroyed (RTM_IFANNOUNCE).
    Announce {
        /// The interface.
        interface: Interface,
        /// Whether it was created.
        arrived: bool,
    },
    /// Messages were lost: the current state must be read again (RTM_DESYNC).
    Desync,
    /// A message of another type or protocol version.
    Other {
        /// `rtm_type`.
        kind: u8,
        /// `rtm_version`.
        version: u8,
    },
}

impl Message {
    /// Returns whether the message reports a possible change: no answer to RTM_GET, no error.
    #[must_use]
    pub fn is_change(&self) -> bool {
        match self {
            Self::Route(news) => news.action != Action::Get && news.errno == 0,
            Self::Interface(_) | Self::Address(_) | Self::Announce { .. } | Self::Desync => true,
            Self::Other { .. } => false,
        }
    }
}

/// An interface, as far as a message identifies it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// Interface index; 0 if the message has none.
    pub index: u16,
    /// Interface name; empty if the message has none.
    pub name: String,
}

/// A route, as a message describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteChange {
    /// The operation that happened or was requested.
    pub action: Action,
    /// Process id of the requester; 0 for the kernel itself.
    pub pid: i32,
    /// Sequence number of the request.
    pub seq: i32,
    /// Error number of the request; 0 for success.
    pub errno: i32,
    /// RTF_*.
    pub flags: u32,
    /// Routing table (OpenBSD).
    pub table: u16,
    /// Priority (OpenBSD), without its RTP_DOWN bit.
    pub priority: u8,
    /// Destination; `None` for another family or a netmask that is not contiguous.
    pub dest: Option<IpNet>,
    /// Next hop.
    pub gateway: Option<Gateway>,
    /// Outgoing interface.
    pub interface: Interface,
    /// Source address of packets (RTA_IFA).
    pub source: Option<IpAddr>,
    /// MTU in bytes; 0 if the route has none.
    pub mtu: u64,
    /// Expiration time, in seconds; 0 is never.
    pub expire: u64,
    /// Label (OpenBSD).
    pub label: Option<String>,
}

impl RouteChange {
    /// Returns whether this answers the request of a process with a sequence number.
    #[must_use]
    pub const fn answers(&self, pid: i32, seq: i32) -> bool {
        self.pid == pid && self.seq == seq
    }
}

/// Carrier state of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// Not reported by the driver.
    Unknown,
    /// No carrier.
    Down,
    /// Carrier present.
    Up,
}

/// An interface, as RTM_IFINFO describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterfaceChange {
    /// Interface index.
    pub index: u16,
    /// Whether it is administratively up.
    pub up: bool,
    /// Carrier state.
    pub link: LinkState,
    /// MTU in bytes.
    pub mtu: u64,
}

/// An interface address, as RTM_NEWADDR and RTM_DELADDR describe it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressChange {
    /// Whether it was added, not deleted.
    pub added: bool,
    /// Interface index.
    pub index: u16,
    /// This host's address; `None` for another family.
    pub local: Option<IpAddr>,
    /// The peer of a point-to-point link, or the broadcast address.
    pub peer: Option<IpAddr>,
    /// Prefix length.
    pub prefix: Option<u8>,
}

/// A message that cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the kernel's message is garbled at byte {at}: {why}")]
pub struct MalformedMessage {
    /// Offset of the message in the input, in bytes.
    pub at: usize,
    /// The reason.
    pub why: &'static str,
}

/// Decodes consecutive messages: the result of one read(2), or a table from sysctl(3). Iteration ends after
/// an error if the length of the message is unknown.
pub fn read<'a>(
    layout: &'a Layout,
    bytes: &'a [u8],
) -> impl Iterator<Item = Result<Message, MalformedMessage>> + 'a {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = bytes.get(at..).filter(|rest| !rest.is_empty())?;
        let from = at;
        let (length, message) = decode_one(layout, rest);
        at = length.map_or(bytes.len(), |length| at + length);
        Some(message.map_err(|why| MalformedMessage { at: from, why }))
    })
}

/// Decodes one message; also returns its length, if that is known.
fn decode_one(layout: &Layout, bytes: &[u8]) -> (Option<usize>, Result<Message, &'static str>) {
    let length = usize::try_from(get(bytes, Field { at: 0, width: 2 })).unwrap_or(0);
    // All headers begin with length, version and type.
    if bytes.len() < 4 || length < 4 {
        return (None, Err("shorter than a header"));
    }
    let Some(whole) = bytes.get(..length) else { return (None, Err("longer than what was read")) };
    (Some(length), decode(layout, whole))
}

fn decode(layout: &Layout, bytes: &[u8]) -> Result<Message, &'static str> {
    let &[_, _, version, kind, ..] = bytes else { return Err("shorter than a header") };
    let other = Message::Other { kind, version };
    if version != layout.version {
        return Ok(other);
    }
    let kinds = &layout.kinds;
    if let Some(action) = Action::of(kind) {
        return route(layout, action, bytes);
    }
    if kind == kinds.interface {
        return interface(layout, bytes);
    }
    if kind == kinds.new_address || kind == kinds.delete_address {
        return address(layout, kind == kinds.new_address, bytes);
    }
    if kind == kinds.announce {
        return announce(layout, bytes);
    }
    Ok(if Some(kind) == kinds.desync { Message::Desync } else { other })
}

fn route(layout: &Layout, action: Action, bytes: &[u8]) -> Result<Message, &'static str> {
    let header = &layout.route;
    let rest = after_header(bytes, header.size, header.hdrlen)?;
    let addresses =
        split_addresses(layout, get32(bytes, header.addrs), rest).ok_or("an address runs past its end")?;
    let flags = get32(bytes, header.flags);
    let (index, name) = addresses.link(AddressSlot::Interface).unwrap_or_default();
    let index = if index == 0 { get16(bytes, header.index) } else { index };
    Ok(Message::Route(Box::new(RouteChange {
        action,
        pid: get32(bytes, header.pid).cast_signed(),
        seq: get32(bytes, header.seq).cast_signed(),
        errno: get32(bytes, header.errno).cast_signed(),
        flags,
        table: header.tableid.map_or(0, |field| get16(bytes, field)),
        // RTP_DOWN (0x80) means that the interface is down.
        priority: header.priority.map_or(0, |field| u8::try_from(get(bytes, field) & 0x7f).unwrap_or(0)),
        dest: addresses.prefix(flags & HOST != 0),
        gateway: addresses.gateway(),
        interface: Interface { index, name },
        source: addresses.ip(AddressSlot::InterfaceAddress),
        mtu: get(bytes, header.mtu),
        expire: get(bytes, header.expire),
        label: if layout.labels { addresses.label() } else { None },
    })))
}

fn interface(layout: &Layout, bytes: &[u8]) -> Result<Message, &'static str> {
    let header = &layout.interface;
    // Systems extend `struct if_data` only at its end.
    if bytes.len() < header.mtu.at + header.mtu.width {
        return Err("shorter than its header");
    }
    let state = get(bytes, header.link_state);
    Ok(Message::Interface(InterfaceChange {
        index: get16(bytes, header.index),
        up: get(bytes, header.flags) & IFF_UP != 0,
        link: match state {
            0 => LinkState::Unknown,
            state if state >= header.link_up_from => LinkState::Up,
            _ => LinkState::Down,
        },
        mtu: get(bytes, header.mtu),
    }))
}

fn address(layout: &Layout, added: bool, bytes: &[u8]) -> Result<Message, &'static str> {
    let header = &layout.address;
    let rest = after_header(bytes, header.size, layout.route.hdrlen)?;
    let addresses =
        split_addresses(layout, get32(bytes, header.addrs), rest).ok_or("an address runs past its end")?;
    let local = addresses.ip(AddressSlot::InterfaceAddress);
    Ok(Message::Address(AddressChange {
        added,
        index: get16(bytes, header.index),
        local,
        peer: addresses.ip(AddressSlot::Broadcast),
        prefix: local.and_then(|local| addresses.netmask_length(local)),
    }))
}

fn announce(layout: &Layout, bytes: &[u8]) -> Result<Message, &'static str> {
    let header = &layout.announce;
    if bytes.len() < header.size {
        return Err("shorter than its header");
    }
    let name = bytes.get(header.name..header.name + 16).unwrap_or_default();
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    let interface =
        Interface { index: get16(bytes, header.index), name: String::from_utf8_lossy(name).into_owned() };
    Ok(Message::Announce { interface, arrived: get(bytes, header.what) == 0 })
}

/// Returns the bytes after a header, which may be longer than `size` if it has a length field.
fn after_header(bytes: &[u8], size: usize, hdrlen: Option<Field>) -> Result<&[u8], &'static str> {
    let said = hdrlen.map_or(size, |field| usize::from(get16(bytes, field)));
    if said < size {
        return Err("shorter than its header");
    }
    bytes.get(said..).ok_or("shorter than its header")
}

fn get(bytes: &[u8], field: Field) -> u64 {
    let Some(from) = bytes.get(field.at..field.at + field.width) else { return 0 };
    let mut low = [0; 8];
    if cfg!(target_endian = "little") {
        low.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
    } else {
        low.iter_mut().zip(from.iter().rev()).for_each(|(to, from)| *to = *from);
    }
    u64::from_le_bytes(low)
}

fn get32(bytes: &[u8], field: Field) -> u32 {
    u32::try_from(get(bytes, field)).unwrap_or(0)
}

fn get16(bytes: &[u8], field: Field) -> u16 {
    u16::try_from(get(bytes, field)).unwrap_or(0)
}
