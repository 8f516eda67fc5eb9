//! Fields of IP, TCP and UDP headers, read and written with bounds checks.

use crate::net::checksum::Sum;

/// Protocol number of TCP.
pub(super) const TCP: u8 = 6;
/// Protocol number of UDP.
pub(super) const UDP: u8 = 17;
/// Length of an IPv4 header without options.
pub(super) const IPV4: usize = 20;
/// Length of the fixed IPv6 header.
pub(super) const IPV6: usize = 40;
/// Length of a TCP header without options.
pub(super) const TCP_HEADER: usize = 20;
/// Length of a UDP header.
pub(super) const UDP_HEADER: usize = 8;
/// Offset of the checksum in an IPv4 header.
pub(super) const IPV4_CHECKSUM: usize = 10;
/// Offset of the checksum in a TCP header.
pub(super) const TCP_CHECKSUM: usize = 16;
/// Offset of the checksum in a UDP header.
pub(super) const UDP_CHECKSUM: usize = 6;

/// TCP flags, byte 13 of the header.
pub(super) mod flag {
    pub const FIN: u8 = 0x01;
    pub const PSH: u8 = 0x08;
    pub const ACK: u8 = 0x10;
    pub const ECE: u8 = 0x40;
    pub const CWR: u8 = 0x80;
}

pub(super) fn byte(packet: &[u8], at: usize) -> Option<u8> {
    packet.get(at).copied()
}

pub(super) fn word(packet: &[u8], at: usize) -> Option<u16> {
    packet.get(at..at.checked_add(2)?)?.try_into().ok().map(u16::from_be_bytes)
}

pub(super) fn long(packet: &[u8], at: usize) -> Option<u32> {
    packet.get(at..at.checked_add(4)?)?.try_into().ok().map(u32::from_be_bytes)
}

/// Writes bytes at an offset; returns `None` if the packet is too short.
pub(super) fn put<const N: usize>(packet: &mut [u8], at: usize, bytes: [u8; N]) -> Option<()> {
    packet.get_mut(at..at.checked_add(N)?)?.copy_from_slice(&bytes);
    Some(())
}

/// Returns the source and destination address of an IP packet of this version, next to each other.
pub(super) fn addresses(packet: &[u8], ipv6: bool) -> Option<&[u8]> {
    if ipv6 { packet.get(8..40) } else { packet.get(12..20) }
}

/// Returns the sum of the pseudo header (RFC 9293 §3.1, RFC 8200 §8.1) without the length.
pub(super) fn pseudo_header(addresses: &[u8], protocol: u8) -> Sum {
    Sum::default().add(addresses).add_word(u16::from(protocol))
}

/// Returns whether the checksum of a TCP or UDP packet is right; `at` is the offset of the TCP or UDP header.
pub(super) fn has_right_checksum(packet: &[u8], at: usize, ipv6: bool, protocol: u8) -> bool {
    let (Some(addresses), Some(body)) = (addresses(packet, ipv6), packet.get(at..)) else {
        return false;
    };
    let Ok(length) = u16::try_from(body.len()) else { return false };
    pseudo_header(addresses, protocol).add_word(length).add(body).folded() == 0xffff
}
