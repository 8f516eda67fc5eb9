//! What a kernel says: answers, and announcements to everyone who listens.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{
    Field, Gateway, Layout,
    address::{Place, split},
};

/// RTF_HOST, the same everywhere.
const HOST: u32 = 0x4;

/// IFF_UP, the same everywhere.
const IFF_UP: u64 = 0x1;

/// What is done to a route: the same numbers everywhere.
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
    /// `rtm_type`.
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

/// One message of a kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// About a route: an answer to a request, or news.
    Route(Box<RouteChange>),
    /// An interface changed: up or down, its carrier, its MTU (RTM_IFINFO).
    Interface(InterfaceChange),
    /// An interface got or lost an address (RTM_NEWADDR, RTM_DELADDR).
    Address(AddressChange),
    /// An interface came or went (RTM_IFANNOUNCE).
    Announce {
        /// Which one.
        interface: Interface,
        /// Whether it came.
        arrived: bool,
    },
    /// Messages were lost: what is known must be asked for anew (RTM_DESYNC).
    Desync,
    /// Another type, or another version of the language.
    Other {
        /// `rtm_type`.
        kind: u8,
        /// `rtm_version`.
        version: u8,
    },
}

impl Message {
    /// Whether something has changed, or may have: all but answers to questions and what is of no concern.
    #[must_use]
    pub fn is_change(&self) -> bool {
        match self {
            Self::Route(news) => news.action != Action::Get && news.errno == 0,
            Self::Interface(_) | Self::Address(_) | Self::Announce { .. } | Self::Desync => true,
            Self::Other { .. } => false,
        }
    }
}

/// An interface, by what the kernel said of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// Its number; 0 when it was not said.
    pub index: u16,
    /// Its name; empty when it was not said.
    pub name: String,
}

/// A route, as a message describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteChange {
    /// What happened, or was asked for.
    pub action: Action,
    /// The process that asked; 0 for the kernel itself.
    pub pid: i32,
    /// The number of its request.
    pub seq: i32,
    /// Why it was refused; 0 when it was not.
    pub errno: i32,
    /// RTF_*.
    pub flags: u32,
    /// Routing table (OpenBSD).
    pub table: u16,
    /// Priority (OpenBSD), without its RTP_DOWN bit.
    pub priority: u8,
    /// Where to; `None` for another family, or a mask with holes.
    pub dest: Option<IpNet>,
    /// Where packets go next.
    pub gateway: Option<Gateway>,
    /// Which interface they leave by.
    pub interface: Interface,
    /// The source address that they get (RTA_IFA).
    pub source: Option<IpAddr>,
    /// Largest packet in bytes; 0 when the route says nothing.
    pub mtu: u64,
    /// When it ends, in seconds; 0 is never.
    pub expire: u64,
    /// Label (OpenBSD).
    pub label: Option<String>,
}

impl RouteChange {
    /// Whether it answers the request with this number of this process.
    #[must_use]
    pub const fn answers(&self, pid: i32, seq: i32) -> bool {
        self.pid == pid && self.seq == seq
    }
}

/// State of a carrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// The driver does not say.
    Unknown,
    /// No carrier.
    Down,
    /// Carrier.
    Up,
}

/// An interface, as RTM_IFINFO describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterfaceChange {
    /// Its number.
    pub index: u16,
    /// Whether it is administratively up.
    pub up: bool,
    /// Its carrier.
    pub link: LinkState,
    /// Largest packet in bytes.
    pub mtu: u64,
}

/// An address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressChange {
    /// Whether it was added.
    pub added: bool,
    /// The interface's number.
    pub index: u16,
    /// Our own; `None` for another family.
    pub local: Option<IpAddr>,
    /// The other end of a point-to-point link, or the broadcast address.
    pub peer: Option<IpAddr>,
    /// Prefix length.
    pub prefix: Option<u8>,
}

/// Bytes that are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the kernel's message is garbled at byte {at}: {why}")]
pub struct MalformedMessage {
    /// Where the message begins that can't be read.
    pub at: usize,
    /// What is wrong with it.
    pub why: &'static str,
}

/// Reads messages, one behind the other: what one read(2) gave, or a table from sysctl(3). After an error, which
/// can't be passed over for want of a length, there is nothing more.
pub fn read<'a>(
    layout: &'a Layout,
    bytes: &'a [u8],
) -> impl Iterator<Item = Result<Message, MalformedMessage>> + 'a {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = bytes.get(at..).filter(|rest| !rest.is_empty())?;
        let from = at;
        let (length, message) = one(layout, rest);
        at = length.map_or(bytes.len(), |length| at + length);
        Some(message.map_err(|why| MalformedMessage { at: from, why }))
    })
}

/// One message and its length, if that is known.
fn one(layout: &Layout, bytes: &[u8]) -> (Option<usize>, Result<Message, &'static str>) {
    let length = usize::try_from(get(bytes, Field { at: 0, width: 2 })).unwrap_or(0);
    // The length, the version and the type.
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
    let rest = body(bytes, header.size, header.hdrlen)?;
    let addresses = split(layout, get32(bytes, header.addrs), rest).ok_or("an address runs past its end")?;
    let flags = get32(bytes, header.flags);
    let (index, name) = addresses.link(Place::Interface).unwrap_or_default();
    let index = if index == 0 { get16(bytes, header.index) } else { index };
    Ok(Message::Route(Box::new(RouteChange {
        action,
        pid: get32(bytes, header.pid).cast_signed(),
        seq: get32(bytes, header.seq).cast_signed(),
        errno: get32(bytes, header.errno).cast_signed(),
        flags,
        table: header.tableid.map_or(0, |field| get16(bytes, field)),
        // RTP_DOWN (0x80) says that its interface is down.
        priority: header.priority.map_or(0, |field| u8::try_from(get(bytes, field) & 0x7f).unwrap_or(0)),
        dest: addresses.prefix(flags & HOST != 0),
        gateway: addresses.gateway(),
        interface: Interface { index, name },
        source: addresses.ip(Place::InterfaceAddress),
        mtu: get(bytes, header.mtu),
        expire: get(bytes, header.expire),
        label: if layout.labels { addresses.label() } else { None },
    })))
}

fn interface(layout: &Layout, bytes: &[u8]) -> Result<Message, &'static str> {
    let header = &layout.interface;
    // Systems let `struct if_data` grow at its end: what we read is in front.
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
    let rest = body(bytes, header.size, layout.route.hdrlen)?;
    let addresses = split(layout, get32(bytes, header.addrs), rest).ok_or("an address runs past its end")?;
    let local = addresses.ip(Place::InterfaceAddress);
    Ok(Message::Address(AddressChange {
        added,
        index: get16(bytes, header.index),
        local,
        peer: addresses.ip(Place::Broadcast),
        prefix: local.and_then(|local| addresses.mask_beside(local)),
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

/// What is behind a header, which may be longer than the one that we know if it says so itself.
fn body(bytes: &[u8], size: usize, hdrlen: Option<Field>) -> Result<&[u8], &'static str> {
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
