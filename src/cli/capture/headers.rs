//! IP and TCP headers for what an engine sees without them. Pure.

use std::net::{Ipv4Addr, SocketAddrV4};

/// GRE (RFC 2637 §4.1).
pub const GRE: u8 = 47;

const TCP: u8 = 6;

/// Returns a packet with an IPv4 header of 20 bytes.
pub fn with_ip(from: Ipv4Addr, to: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(20 + payload.len()).unwrap_or(u16::MAX).to_be_bytes();
    let mut packet = vec![0x45, 0, length[0], length[1], 0, 0, 0, 0, 64, protocol, 0, 0];
    packet.extend(from.octets());
    packet.extend(to.octets());
    set_checksum(&mut packet, 20);
    packet.extend(payload);
    packet
}

/// Returns a segment of a TCP connection (RFC 9293) with its headers.
pub fn with_tcp(
    from: SocketAddrV4,
    to: SocketAddrV4,
    number: u32,
    acknowledged: u32,
    payload: &[u8],
) -> Vec<u8> {
    let mut segment = Vec::with_capacity(20 + payload.len());
    segment.extend(from.port().to_be_bytes());
    segment.extend(to.port().to_be_bytes());
    segment.extend(number.to_be_bytes());
    segment.extend(acknowledged.to_be_bytes());
    // A header of 5 words, PSH and ACK, the largest window.
    segment.extend([0x50, 0x18, 0xff, 0xff, 0, 0, 0, 0]);
    segment.extend(payload);
    let length = u16::try_from(segment.len()).unwrap_or(u16::MAX).to_be_bytes();
    let pseudo = [&from.ip().octets()[..], &to.ip().octets(), &[0, TCP], &length].concat();
    let sum = checksum([&pseudo[..], &segment].into_iter());
    if let Some(place) = segment.get_mut(16..18) {
        place.copy_from_slice(&sum.to_be_bytes());
    }
    with_ip(*from.ip(), *to.ip(), TCP, &segment)
}

/// Returns a received packet with the length that it has: raw sockets of some systems change that field.
pub fn with_true_length(mut packet: Vec<u8>) -> Vec<u8> {
    let header = packet.first().map_or(0, |first| usize::from(first & 0x0f) * 4);
    let length = u16::try_from(packet.len()).unwrap_or(u16::MAX).to_be_bytes();
    if packet.len() >= 20
        && (20..=packet.len()).contains(&header)
        && let Some(field) = packet.get_mut(2..4)
        && *field != length
    {
        field.copy_from_slice(&length);
        set_checksum(&mut packet, header);
    }
    packet
}

/// Sets the checksum of an IPv4 header of this length.
fn set_checksum(packet: &mut [u8], header: usize) {
    if let Some(field) = packet.get_mut(10..12) {
        field.fill(0);
    }
    let sum = checksum(packet.get(..header).into_iter());
    if let Some(field) = packet.get_mut(10..12) {
        field.copy_from_slice(&sum.to_be_bytes());
    }
}

/// Returns the Internet checksum (RFC 1071) of parts, all of them even but the last.
fn checksum<'a>(parts: impl Iterator<Item = &'a [u8]>) -> u16 {
    let mut sum = 0_u64;
    for pair in parts.flat_map(|part| part.chunks(2)) {
        let high = pair.first().copied().unwrap_or(0);
        let low = pair.get(1).copied().unwrap_or(0);
        sum += u64::from(u16::from_be_bytes([high, low]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use etherparse::{SlicedPacket, TransportSlice};

    use super::*;

    #[test]
    fn tcp_segment_is_valid() {
        let (from, to) = ("192.0.2.7:4711".parse().unwrap(), "198.51.100.1:1723".parse().unwrap());
        for payload in [&b""[..], b"a", b"abcd"] {
            let packet = with_tcp(from, to, 5, 7, payload);
            let sliced = SlicedPacket::from_ip(&packet).unwrap();
            let Some(etherparse::NetSlice::Ipv4(ip)) = &sliced.net else { panic!("no IPv4") };
            let header = ip.header().to_header();
            assert_eq!(header.header_checksum, header.calc_header_checksum());
            let Some(TransportSlice::Tcp(tcp)) = &sliced.transport else { panic!("no TCP") };
            let found = tcp.to_header();
            assert_eq!((found.source_port, found.destination_port, found.sequence_number), (4711, 1723, 5));
            assert_eq!(found.checksum, found.calc_checksum_ipv4(&header, payload).unwrap());
            assert_eq!(tcp.payload(), payload);
        }
    }

    #[test]
    fn wrong_length_is_corrected_and_arbitrary_bytes_stay() {
        let right = with_ip(Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST, GRE, b"abc");
        let mut wrong = right.clone();
        wrong[3] = 3;
        assert_eq!(with_true_length(wrong), right);
        for bytes in [vec![], vec![0x45; 19], vec![0x4f; 30], vec![0x40; 30]] {
            assert_eq!(with_true_length(bytes.clone()), bytes);
        }
    }
}
