//! Splits a packet of the device into the packets that it stands for.
//!
//! The packets are made in place: the headers of each overwrite the end of the payload before it, which the
//! caller has used by then. The payload is not copied.

use super::{
    fields::{
        self, IPV4, IPV4_CHECKSUM, IPV6, TCP, TCP_CHECKSUM, TCP_HEADER, UDP, UDP_CHECKSUM, UDP_HEADER, flag,
        put,
    },
    header::{Split, VirtioHeader},
};
use crate::net::checksum::Sum;

/// Longest headers of a packet that is split: IPv4 and TCP with all their options have 120 bytes.
const MOST_HEADERS: usize = 192;

/// The packets in a packet of the device.
pub struct Segments<'a> {
    buffer: &'a mut [u8],
    /// The headers of the first packet; `None` for a packet that is not split.
    plan: Option<Plan>,
    /// Bytes of payload that were returned.
    done: usize,
    /// Packets that were returned.
    count: u16,
}

/// How to make each packet.
struct Plan {
    /// The headers of the first packet, of which `length` bytes are in use.
    headers: [u8; MOST_HEADERS],
    length: usize,
    /// Offset of the TCP or UDP header.
    transport: usize,
    protocol: u8,
    ipv6: bool,
    /// Payload of each packet but the last.
    size: usize,
    /// Sum of the pseudo header without the length.
    pseudo: Sum,
}

/// Returns the packets in a packet of the device; `None` if it contradicts its header.
pub fn split<'a>(header: &VirtioHeader, buffer: &'a mut [u8]) -> Option<Segments<'a>> {
    let plan = match header.split {
        Split::None => {
            if let Some((begin, offset)) = header.checksum {
                complete(buffer, usize::from(begin), usize::from(offset))?;
            }
            None
        }
        Split::TcpV4 => Some(Plan::new(header, buffer, TCP, Some(false))?),
        Split::TcpV6 => Some(Plan::new(header, buffer, TCP, Some(true))?),
        Split::Udp => Some(Plan::new(header, buffer, UDP, None)?),
    };
    Some(Segments { buffer, plan, done: 0, count: 0 })
}

impl Default for Segments<'_> {
    /// No packets.
    fn default() -> Self {
        Self { buffer: &mut [], plan: None, done: 0, count: 1 }
    }
}

impl Segments<'_> {
    /// Returns the lengths of the packets that [`Segments::next_packet`] returns.
    pub fn lengths(&self) -> impl Iterator<Item = usize> + use<> {
        let (headers, size) = self.plan.as_ref().map_or((0, 1), |plan| (plan.length, plan.size));
        let payload = self.buffer.len().saturating_sub(headers + self.done);
        let (alone, mut left) = match &self.plan {
            None => ((self.count == 0).then_some(payload), 0),
            Some(_) => (None, payload),
        };
        let each = std::iter::from_fn(move || {
            let payload = left.min(size);
            left -= payload;
            (payload > 0).then_some(headers + payload)
        });
        alone.into_iter().chain(each)
    }

    /// Returns the next packet, to be used before the one after it.
    pub fn next_packet(&mut self) -> Option<&mut [u8]> {
        let Some(plan) = &self.plan else {
            let first = self.count == 0;
            self.count = 1;
            return first.then_some(&mut *self.buffer);
        };
        let payload = self.buffer.len().checked_sub(plan.length)?;
        let left = payload.checked_sub(self.done).filter(|left| *left > 0)?;
        let size = left.min(plan.size);
        let packet = self.buffer.get_mut(self.done..self.done + plan.length + size)?;
        plan.write(packet, self.done, self.count, left == size)?;
        self.done += size;
        self.count = self.count.wrapping_add(1);
        Some(packet)
    }
}

impl Plan {
    fn new(header: &VirtioHeader, packet: &[u8], protocol: u8, ipv6: Option<bool>) -> Option<Self> {
        let version = fields::byte(packet, 0)? >> 4;
        let is_ipv6 = version == 6;
        if !matches!(version, 4 | 6) || ipv6.is_some_and(|expected| expected != is_ipv6) {
            return None;
        }
        let (begin, offset) = header.checksum?;
        let transport = usize::from(begin);
        let least = if is_ipv6 { IPV6 } else { IPV4 };
        if transport < least || (!is_ipv6 && transport != usize::from(fields::byte(packet, 0)? & 0x0f) * 4) {
            return None;
        }
        let (own, expected) = if protocol == TCP {
            let own = usize::from(fields::byte(packet, transport + 12)? >> 4) * 4;
            (own.max(TCP_HEADER), TCP_CHECKSUM)
        } else {
            (UDP_HEADER, UDP_CHECKSUM)
        };
        let length = transport + own;
        if usize::from(offset) != expected || packet.len() <= length || header.size == 0 {
            return None;
        }
        let mut headers = [0; MOST_HEADERS];
        headers.get_mut(..length)?.copy_from_slice(packet.get(..length)?);
        let pseudo = fields::pseudo_header(fields::addresses(packet, is_ipv6)?, protocol);
        let size = usize::from(header.size);
        // The length fields of each packet have 16 bits.
        u16::try_from(length + size.min(packet.len() - length)).ok()?;
        Some(Self { headers, length, transport, protocol, ipv6: is_ipv6, size, pseudo })
    }

    /// Writes the headers of packet `count`, whose payload is at offset `done` of the whole.
    fn write(&self, packet: &mut [u8], done: usize, count: u16, last: bool) -> Option<()> {
        let total = packet.len();
        let Self { transport, length, .. } = *self;
        packet.get_mut(..length)?.copy_from_slice(self.headers.get(..length)?);
        let body = u16::try_from(total - transport).ok()?;
        if self.ipv6 {
            put(packet, 4, u16::try_from(total - IPV6).ok()?.to_be_bytes())?;
        } else {
            put(packet, 2, u16::try_from(total).ok()?.to_be_bytes())?;
            put(packet, 4, fields::word(packet, 4)?.wrapping_add(count).to_be_bytes())?;
            put(packet, IPV4_CHECKSUM, [0; 2])?;
            let checksum = Sum::default().add(packet.get(..transport)?).checksum();
            put(packet, IPV4_CHECKSUM, checksum.to_be_bytes())?;
        }
        let at = if self.protocol == TCP {
            let sequence = fields::long(packet, transport + 4)?.wrapping_add(u32::try_from(done).ok()?);
            put(packet, transport + 4, sequence.to_be_bytes())?;
            let mut flags = fields::byte(packet, transport + 13)?;
            if !last {
                flags &= !(flag::FIN | flag::PSH);
            }
            if count > 0 {
                flags &= !flag::CWR;
            }
            put(packet, transport + 13, [flags])?;
            transport + TCP_CHECKSUM
        } else {
            put(packet, transport + 4, body.to_be_bytes())?;
            transport + UDP_CHECKSUM
        };
        put(packet, at, [0; 2])?;
        let checksum = self.pseudo.add_word(body).add(packet.get(transport..)?).checksum();
        // A checksum of zero would mean that a datagram has none (RFC 768).
        let is_zero = checksum == 0 && self.protocol == UDP;
        put(packet, at, if is_zero { 0xffff } else { checksum }.to_be_bytes())
    }
}

/// Completes the checksum of a packet, whose field holds the sum of the pseudo header.
fn complete(packet: &mut [u8], begin: usize, offset: usize) -> Option<()> {
    let at = begin.checked_add(offset)?;
    fields::word(packet, at)?;
    let checksum = Sum::default().add(packet.get(begin..)?).checksum();
    put(packet, at, if checksum == 0 { 0xffff } else { checksum }.to_be_bytes())
}
