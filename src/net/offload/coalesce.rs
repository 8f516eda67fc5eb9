//! Combines packets of one flow into one packet of the device, as the kernel's own GRO would.
//!
//! The kernel does not check the checksum of a combined packet. So packets are combined only if the checksum
//! of each is right; a packet that stays alone is passed on as it came, and the kernel checks it. Packets of
//! one flow keep their order.

use super::{
    Offloads,
    fields::{
        self, IPV4, IPV4_CHECKSUM, IPV6, TCP, TCP_CHECKSUM, TCP_HEADER, UDP, UDP_CHECKSUM, UDP_HEADER, flag,
        put,
    },
    header::{Split, VirtioHeader},
};
use crate::net::checksum::Sum;

/// Longest packet of the device: the length fields have 16 bits.
pub const LARGEST: usize = 65_535;
/// Flows that are combined at a time.
const FLOWS: usize = 8;
/// Most packets in one: the kernel's limit for UDP (UDP_MAX_SEGMENTS of Linux 6.2).
const MOST: u16 = 64;

/// Combines packets until it is flushed.
pub struct Coalescer {
    offloads: Offloads,
    /// Flows with packets come first, the oldest at the front. One place stays free, for a packet that is
    /// passed on alone.
    flows: Vec<Pending>,
    /// How many of them have packets.
    active: usize,
}

/// Packets of one flow that were combined.
struct Pending {
    /// Space for the longest packet, allocated when it is first needed: an idle tunnel needs none of it.
    buffer: Vec<u8>,
    length: usize,
    layout: Layout,
    count: u16,
    /// Payload of each packet but the last.
    size: usize,
    /// The checksums of all packets were found to be right.
    checked: bool,
}

/// Where the parts of a packet are.
#[derive(Clone, Copy)]
struct Layout {
    ipv6: bool,
    protocol: u8,
    /// Offset of the TCP or UDP header.
    transport: usize,
    /// Length of all headers.
    headers: usize,
}

/// What may be done with a packet.
enum Class {
    /// It may be combined with others.
    Candidate(Layout),
    /// Its flow is known, but it is passed on alone.
    Single(Layout),
    /// Its flow is not known.
    Other,
}

impl Coalescer {
    /// Creates a coalescer for these protocols.
    #[must_use]
    pub fn new(offloads: Offloads) -> Self {
        let flows = (0..=FLOWS).map(|_| Pending::new()).collect();
        Self { offloads, flows, active: 0 }
    }

    /// Stops combining packets of this kind; those that were combined are still to be flushed.
    pub fn disable(&mut self, split: Split) {
        match split {
            Split::TcpV4 | Split::TcpV6 => self.offloads.tcp = false,
            Split::Udp => self.offloads.udp = false,
            Split::None => {}
        }
    }

    /// Takes a packet. Passes those packets to `write` that must be written now.
    pub fn push(&mut self, packet: &[u8], write: &mut impl FnMut(&VirtioHeader, &mut [u8])) {
        // A packet that is passed on alone is copied too, because `write` may change it. This costs little:
        // they are short, or rare.
        let (layout, candidate) = match self.classify(packet) {
            Class::Candidate(layout) => (layout, true),
            Class::Single(layout) => (layout, false),
            Class::Other => {
                self.flush(write);
                return self.alone(packet, write);
            }
        };
        let place = self.flows.iter().take(self.active).position(|flow| flow.is_same(&layout, packet));
        if let Some(place) = place {
            if candidate && self.flows.get_mut(place).is_some_and(|flow| flow.append(&layout, packet)) {
                let is_complete = self.flows.get(place).is_some_and(Pending::is_complete);
                if is_complete {
                    self.release(place, write);
                }
                return;
            }
            self.release(place, write);
        }
        if !candidate || layout.ends_run(packet) {
            return self.alone(packet, write);
        }
        if self.active == FLOWS {
            self.release(0, write);
        }
        if let Some(flow) = self.flows.get_mut(self.active) {
            flow.begin(layout, packet);
            self.active += 1;
        }
    }

    /// Passes all packets to `write` that were held back.
    pub fn flush(&mut self, write: &mut impl FnMut(&VirtioHeader, &mut [u8])) {
        let active = std::mem::take(&mut self.active);
        for flow in self.flows.iter_mut().take(active) {
            flow.write(write);
        }
    }

    /// Writes one flow's packets and frees its place.
    fn release(&mut self, place: usize, write: &mut impl FnMut(&VirtioHeader, &mut [u8])) {
        let Some(flow) = self.flows.get_mut(place) else { return };
        flow.write(write);
        if let Some(rest) = self.flows.get_mut(place..self.active) {
            rest.rotate_left(1);
            self.active -= 1;
        }
    }

    /// Passes a packet on as it is.
    fn alone(&mut self, packet: &[u8], write: &mut impl FnMut(&VirtioHeader, &mut [u8])) {
        if let Some(packet) = self.flows.get_mut(self.active).and_then(|flow| flow.copy(packet)) {
            write(&VirtioHeader::PLAIN, packet);
        }
    }

    fn classify(&self, packet: &[u8]) -> Class {
        let Some(layout) = Layout::of(packet) else { return Class::Other };
        let wanted = match layout.protocol {
            TCP => self.offloads.tcp && layout.is_plain_data(packet),
            _ => self.offloads.udp && layout.has_checksum(packet),
        };
        if wanted && packet.len() > layout.headers { Class::Candidate(layout) } else { Class::Single(layout) }
    }
}

impl Layout {
    /// Returns the layout of an unfragmented TCP or UDP packet without IP options whose lengths agree.
    fn of(packet: &[u8]) -> Option<Self> {
        let (ipv6, protocol, transport) = match fields::byte(packet, 0)? {
            0x45 => {
                // Neither more fragments nor an offset.
                let whole = fields::word(packet, 6)? & 0x3fff == 0;
                let fits = usize::from(fields::word(packet, 2)?) == packet.len();
                if !whole || !fits {
                    return None;
                }
                (false, fields::byte(packet, 9)?, IPV4)
            }
            0x60..=0x6f => {
                if usize::from(fields::word(packet, 4)?) + IPV6 != packet.len() {
                    return None;
                }
                (true, fields::byte(packet, 6)?, IPV6)
            }
            _ => return None,
        };
        let own = match protocol {
            TCP => usize::from(fields::byte(packet, transport + 12)? >> 4) * 4,
            UDP => {
                let length = usize::from(fields::word(packet, transport + 4)?);
                if transport + length != packet.len() {
                    return None;
                }
                UDP_HEADER
            }
            _ => return None,
        };
        let least = if protocol == TCP { TCP_HEADER } else { UDP_HEADER };
        let headers = transport + own;
        (own >= least && headers <= packet.len()).then_some(Self { ipv6, protocol, transport, headers })
    }

    /// Returns whether a TCP segment has no flag but those of data in the middle of a stream.
    fn is_plain_data(&self, packet: &[u8]) -> bool {
        let flags = fields::byte(packet, self.transport + 13).unwrap_or_default();
        flags & !(flag::PSH | flag::ECE) == flag::ACK
    }

    /// Returns whether a TCP segment asks for delivery at once, so that none may follow it in a packet.
    fn ends_run(&self, packet: &[u8]) -> bool {
        self.protocol == TCP && fields::byte(packet, self.transport + 13).unwrap_or_default() & flag::PSH != 0
    }

    fn has_checksum(&self, packet: &[u8]) -> bool {
        fields::word(packet, self.transport + UDP_CHECKSUM).is_some_and(|checksum| checksum != 0)
    }

    /// Returns whether the checksums of the packet are right.
    fn is_right(&self, packet: &[u8]) -> bool {
        let ip = self.ipv6
            || packet.get(..IPV4).is_some_and(|header| Sum::default().add(header).folded() == 0xffff);
        ip && fields::has_right_checksum(packet, self.transport, self.ipv6, self.protocol)
    }
}

impl Pending {
    fn new() -> Self {
        Self {
            buffer: Vec::new(),
            length: 0,
            layout: Layout { ipv6: false, protocol: TCP, transport: 0, headers: 0 },
            count: 0,
            size: 0,
            checked: false,
        }
    }

    /// Copies a packet to the front of the buffer and returns it there.
    fn copy(&mut self, packet: &[u8]) -> Option<&mut [u8]> {
        if self.buffer.is_empty() {
            self.buffer = vec![0; LARGEST];
        }
        let space = self.buffer.get_mut(..packet.len())?;
        space.copy_from_slice(packet);
        Some(space)
    }

    fn packet(&self) -> &[u8] {
        self.buffer.get(..self.length).unwrap_or_default()
    }

    fn begin(&mut self, layout: Layout, packet: &[u8]) {
        if self.copy(packet).is_none() {
            return;
        }
        self.length = packet.len();
        self.size = packet.len() - layout.headers;
        self.layout = layout;
        self.count = 1;
        self.checked = false;
    }

    /// Returns whether a packet is of the same flow: addresses, protocol and ports.
    fn is_same(&self, layout: &Layout, packet: &[u8]) -> bool {
        let Layout { ipv6, protocol, transport, .. } = *layout;
        let own = self.packet();
        ipv6 == self.layout.ipv6
            && protocol == self.layout.protocol
            && fields::addresses(packet, ipv6) == fields::addresses(own, ipv6)
            && packet.get(transport..transport + 4) == own.get(transport..transport + 4)
    }

    /// Appends a packet of the same flow, if it continues the others and nothing would be lost by it.
    fn append(&mut self, layout: &Layout, packet: &[u8]) -> bool {
        let Some(payload) = packet.get(layout.headers..) else { return false };
        let (begin, end) = (self.length, self.length + payload.len());
        let fits = end <= LARGEST && payload.len() <= self.size && self.count < MOST;
        if !fits || self.is_complete() || !self.continues(layout, packet) {
            return false;
        }
        if !self.checked {
            // Of a single packet nothing was checked yet.
            self.checked = self.layout.is_right(self.packet());
        }
        if !self.checked || !layout.is_right(packet) {
            return false;
        }
        let Some(space) = self.buffer.get_mut(begin..end) else { return false };
        space.copy_from_slice(payload);
        self.length = end;
        self.count += 1;
        if layout.protocol == TCP {
            // The last one may have PSH set.
            let at = layout.transport + 13;
            if let Some(flags) = fields::byte(packet, at) {
                put(&mut self.buffer, at, [flags]);
            }
        }
        true
    }

    /// Returns whether none may follow: the last packet was shorter, or has PSH set.
    fn is_complete(&self) -> bool {
        let payload = self.length.saturating_sub(self.layout.headers);
        payload < self.size * usize::from(self.count)
            || self.count >= MOST
            || self.layout.ends_run(self.packet())
    }

    /// Returns whether a packet differs from the first one only in what splitting restores.
    fn continues(&self, layout: &Layout, packet: &[u8]) -> bool {
        let own = self.packet();
        let Layout { ipv6, protocol, transport, headers } = *layout;
        let same = |from: usize, to: usize| packet.get(from..to) == own.get(from..to);
        let ip = if ipv6 {
            same(0, 4) && same(6, 8)
        } else {
            // With DF set the identification means nothing (RFC 6864 §4.1), else it counts up.
            let expected = fields::word(own, 4).map(|first| first.wrapping_add(self.count));
            let fixed = fields::byte(own, 6).unwrap_or_default() & 0x40 != 0;
            same(0, 2) && same(6, 10) && (fixed || fields::word(packet, 4) == expected)
        };
        if !ip || headers != self.layout.headers {
            return false;
        }
        if protocol == UDP {
            return true;
        }
        let payload = u32::try_from(self.length - headers).unwrap_or_default();
        let expected = fields::long(own, transport + 4).map(|first| first.wrapping_add(payload));
        let flags = |packet| fields::byte(packet, transport + 13).map(|flags| flags & !flag::PSH);
        fields::long(packet, transport + 4) == expected
            && same(transport + 8, transport + 13)
            && flags(packet) == flags(own)
            && same(transport + 14, transport + TCP_CHECKSUM)
            && same(transport + 18, headers)
    }

    /// Passes what was combined to `write` and forgets it.
    fn write(&mut self, write: &mut impl FnMut(&VirtioHeader, &mut [u8])) {
        let header = if self.count > 1 { self.finish() } else { Some(VirtioHeader::PLAIN) };
        let length = std::mem::take(&mut self.length);
        if let (Some(header), Some(packet)) = (header, self.buffer.get_mut(..length)) {
            write(&header, packet);
        }
    }

    /// Writes the headers of the whole, and returns the header for the device.
    fn finish(&mut self) -> Option<VirtioHeader> {
        let Layout { ipv6, protocol, transport, headers } = self.layout;
        let length = self.length;
        let packet = self.buffer.get_mut(..length)?;
        let body = u16::try_from(length - transport).ok()?;
        if ipv6 {
            put(packet, 4, body.to_be_bytes())?;
        } else {
            put(packet, 2, u16::try_from(length).ok()?.to_be_bytes())?;
            put(packet, IPV4_CHECKSUM, [0; 2])?;
            let checksum = Sum::default().add(packet.get(..IPV4)?).checksum();
            put(packet, IPV4_CHECKSUM, checksum.to_be_bytes())?;
        }
        let offset = if protocol == UDP {
            put(packet, transport + 4, body.to_be_bytes())?;
            UDP_CHECKSUM
        } else {
            TCP_CHECKSUM
        };
        let pseudo = fields::pseudo_header(fields::addresses(packet, ipv6)?, protocol).add_word(body);
        put(packet, transport + offset, pseudo.folded().to_be_bytes())?;
        let split = match (protocol, ipv6) {
            (UDP, _) => Split::Udp,
            (_, true) => Split::TcpV6,
            (_, false) => Split::TcpV4,
        };
        Some(VirtioHeader {
            checksum: Some((u16::try_from(transport).ok()?, u16::try_from(offset).ok()?)),
            split,
            headers: u16::try_from(headers).ok()?,
            size: u16::try_from(self.size).ok()?,
        })
    }
}
