//! Clamps the TCP maximum segment size (RFC 9293 §3.7.1) of packets that cross the tunnel, so that segments
//! fit even where the ICMP messages of path MTU discovery are filtered.
//!
//! Owns the search for the option in SYN packets, its rewriting, and the counters. No I/O; accepts arbitrary
//! bytes; allocates nothing per packet. The MTU is the caller's.

use serde::{Deserialize, Serialize};

/// Limit of the segment size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mss {
    /// Segment sizes are not changed.
    Off,
    /// At most the tunnel's MTU minus the headers.
    Auto,
    /// As `Auto`, and at most this many bytes over IPv4, 20 fewer over IPv6.
    Bytes(u16),
}

/// Connections whose segment size was lowered, by direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClampCounters {
    /// In packets from the tunnel.
    pub lowered_in: u64,
    /// In packets into the tunnel.
    pub lowered_out: u64,
}

/// IPv4 and TCP headers without options, in bytes (RFC 6691 §2).
const HEADERS_V4: u16 = 40;
/// IPv6 and TCP headers without options, in bytes.
const HEADERS_V6: u16 = 60;
/// A packet with more extension headers than this passes unchanged.
const MAX_EXTENSIONS: usize = 8;

const TCP: u8 = 6;
const SYN: u8 = 0x02;
const OPTION_END: u8 = 0;
const OPTION_NOP: u8 = 1;
const OPTION_MSS: u8 = 2;
/// TCP-AO (RFC 5925) signs the options: changing one would break the connection.
const OPTION_AO: u8 = 29;

/// Lowers segment sizes, with a buffer for the rare packet that must be changed.
#[derive(Debug)]
pub struct Clamper {
    /// Largest segment over IPv4 and over IPv6, in bytes; `None` changes nothing.
    limits: Option<(u16, u16)>,
    buffer: Vec<u8>,
    counters: ClampCounters,
}

/// Direction of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the tunnel.
    In,
    /// Into the tunnel.
    Out,
}

impl Clamper {
    /// Creates a clamper that changes nothing until [`Self::set`]. Packets of more than `largest` bytes pass
    /// unchanged.
    #[must_use]
    pub fn new(largest: usize) -> Self {
        Self { limits: None, buffer: Vec::with_capacity(largest), counters: ClampCounters::default() }
    }

    /// Sets the limits for a link with this MTU, in bytes.
    pub fn set(&mut self, clamp: Mss, mtu: u16) {
        let (v4, v6) = (mtu.saturating_sub(HEADERS_V4), mtu.saturating_sub(HEADERS_V6));
        self.limits = match clamp {
            Mss::Off => None,
            Mss::Auto => Some((v4, v6)),
            Mss::Bytes(bytes) => Some((v4.min(bytes), v6.min(bytes.saturating_sub(20)))),
        };
    }

    /// Returns the packet, or a copy of it with a lower segment size.
    pub fn pass<'a>(&'a mut self, way: Direction, packet: &'a [u8]) -> &'a [u8] {
        let Some(limits) = self.limits else { return packet };
        // Fast path: few packets are SYNs.
        if options(packet).is_none() || packet.len() > self.buffer.capacity() {
            return packet;
        }
        self.buffer.clear();
        self.buffer.extend_from_slice(packet);
        if !lower(&mut self.buffer, limits) {
            return packet;
        }
        let counter = match way {
            Direction::In => &mut self.counters.lowered_in,
            Direction::Out => &mut self.counters.lowered_out,
        };
        *counter = counter.saturating_add(1);
        &self.buffer
    }

    /// Returns the counters.
    #[must_use]
    pub const fn counters(&self) -> ClampCounters {
        self.counters
    }
}

/// Lowers the segment size that a SYN announces if it exceeds the limit (over IPv4, over IPv6), and updates
/// the checksum. Returns whether the packet was changed. A missing option is not added: without it no segment
/// is larger than 536 bytes (RFC 9293 §3.7.1), 1220 over IPv6.
pub fn lower(packet: &mut [u8], limits: (u16, u16)) -> bool {
    let Some(Options { tcp, start, end, ipv6 }) = options(packet) else { return false };
    let limit = if ipv6 { limits.1 } else { limits.0 };
    let mut changed = false;
    let mut at = start;
    while let Some(&[kind, length]) = packet.get(at..(at + 2).min(end)) {
        match (kind, length) {
            (OPTION_END, _) => break,
            (OPTION_NOP, _) => {
                at += 1;
                continue;
            }
            (OPTION_MSS, 4) => changed |= lower_at(packet, tcp, at + 2, end, limit),
            // Shorter than its own header: the rest cannot be parsed.
            (_, 0 | 1) => break,
            _ => {}
        }
        at += usize::from(length);
    }
    changed
}

/// Lowers the option value at offset `at`, before `end`; the TCP header is at `tcp`.
fn lower_at(packet: &mut [u8], tcp: usize, at: usize, end: usize, limit: u16) -> bool {
    if at + 2 > end {
        return false;
    }
    let Some(old) = word(packet, at).filter(|old| *old > limit) else { return false };
    let Some(checksum) = word(packet, tcp + 16) else { return false };
    // At an odd offset the value spans two words of the sum, with its bytes swapped.
    let of_sum = |value: u16| if (at - tcp).is_multiple_of(2) { value } else { value.swap_bytes() };
    put(packet, at, limit);
    put(packet, tcp + 16, updated(checksum, of_sum(old), of_sum(limit)));
    true
}

/// Returns the checksum after one covered word has changed (RFC 1624 §3, equation 3).
fn updated(checksum: u16, old: u16, new: u16) -> u16 {
    let sum = u32::from(!checksum) + u32::from(!old) + u32::from(new);
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    !u16::try_from(folded).unwrap_or(u16::MAX)
}

/// Offsets of the options of a SYN.
struct Options {
    tcp: usize,
    start: usize,
    end: usize,
    ipv6: bool,
}

/// Locates the options of a TCP segment with SYN whose header is complete and not signed.
fn options(packet: &[u8]) -> Option<Options> {
    let (tcp, length, ipv6) = match packet.first()? >> 4 {
        4 => {
            if *packet.get(9)? != TCP {
                return None;
            }
            // A later fragment has no TCP header.
            if word(packet, 6)? & 0x1fff != 0 {
                return None;
            }
            (usize::from(packet.first()? & 0x0f) * 4, usize::from(word(packet, 2)?), false)
        }
        6 => (after_extensions(packet)?, 40 + usize::from(word(packet, 4)?), true),
        _ => return None,
    };
    if tcp < 20 || length > packet.len() || packet.get(tcp + 13)? & SYN == 0 {
        return None;
    }
    let end = tcp + usize::from(packet.get(tcp + 12)? >> 4) * 4;
    let start = tcp + 20;
    let found = Options { tcp, start, end, ipv6 };
    (start < end && end <= length && !is_signed(packet.get(start..end)?)).then_some(found)
}

/// Returns the offset of the TCP header of an IPv6 packet (RFC 8200 §4).
fn after_extensions(packet: &[u8]) -> Option<usize> {
    let mut next = *packet.get(6)?;
    let mut at = 40;
    for _ in 0..MAX_EXTENSIONS {
        match next {
            TCP => return Some(at),
            // Hop-by-hop options, routing, destination options.
            0 | 43 | 60 => {
                next = *packet.get(at)?;
                at += (usize::from(*packet.get(at + 1)?) + 1) * 8;
            }
            // The first fragment.
            44 if word(packet, at + 2)? & 0xfff8 == 0 => {
                next = *packet.get(at)?;
                at += 8;
            }
            _ => return None,
        }
    }
    None
}

fn is_signed(mut options: &[u8]) -> bool {
    loop {
        match options {
            [OPTION_NOP, rest @ ..] => options = rest,
            [OPTION_AO, ..] => return true,
            [OPTION_END, ..] | [] | [_] => return false,
            [_, length, ..] => match options.get(usize::from(*length).max(2)..) {
                Some(rest) => options = rest,
                None => return false,
            },
        }
    }
}

fn word(packet: &[u8], at: usize) -> Option<u16> {
    let bytes = packet.get(at..at.checked_add(2)?)?;
    bytes.try_into().ok().map(u16::from_be_bytes)
}

fn put(packet: &mut [u8], at: usize, value: u16) {
    if let Some(place) = packet.get_mut(at..at + 2) {
        place.copy_from_slice(&value.to_be_bytes());
    }
}

#[cfg(test)]
mod tests;
