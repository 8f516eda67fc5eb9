//! The body of the fuzz target `offload`: any packet of the device is split, and any packets of the tunnel are combined
//! and split again.

use std::collections::BTreeMap;

use super::{
    Coalescer, Offloads, VirtioHeader,
    coalesce::LARGEST,
    fields::{self, IPV4, IPV4_CHECKSUM, IPV6, TCP, TCP_CHECKSUM, UDP, UDP_CHECKSUM, put},
    header::{HEADER, Split},
    split,
};
use crate::net::checksum::Sum;

/// Splits the bytes behind a header, or combines the packets that they describe; the first byte selects which.
///
/// # Errors
/// Returns the property that does not hold.
pub fn packets(data: &[u8]) -> Result<(), String> {
    match data.split_first() {
        Some((choice, rest)) if choice & 1 == 0 => split_any(rest),
        Some((choice, rest)) => combine(*choice, rest),
        None => Ok(()),
    }
}

fn split_any(data: &[u8]) -> Result<(), String> {
    let Some((header, packet)) = data.split_first_chunk::<HEADER>() else { return Ok(()) };
    let Some(header) = VirtioHeader::decode(header) else { return Ok(()) };
    if VirtioHeader::decode(&header.encode()) != Some(header) {
        return Err(format!("{header:?} is encoded as another"));
    }
    let found = parts(&header, packet).unwrap_or_default();
    if found.len() > packet.len().max(1) || found.iter().any(|part| part.len() > packet.len()) {
        return Err(format!("{} packets from {} bytes", found.len(), packet.len()));
    }
    let is_right = |part: &Vec<u8>| {
        let ipv6 = part.first().is_some_and(|first| first >> 4 == 6);
        let protocol = if header.split == Split::Udp { UDP } else { TCP };
        let at = header.checksum.map_or(0, |(begin, _)| usize::from(begin));
        fields::has_right_checksum(part, at, ipv6, protocol)
    };
    if header.split == Split::None || found.iter().all(is_right) {
        Ok(())
    } else {
        Err("a packet has a wrong checksum".to_owned())
    }
}

/// Combines packets described by four bytes each.
fn combine(choice: u8, mut data: &[u8]) -> Result<(), String> {
    let mut coalescer = Coalescer::new(Offloads { tcp: choice & 2 == 0, udp: choice & 4 == 0 });
    let (mut sent, mut written) = (Vec::new(), Vec::new());
    let mut write = |header: &VirtioHeader, packet: &mut [u8]| written.push((*header, packet.to_vec()));
    let mut positions = [[0_u32; 4]; 4];
    while let Some((&[kind, flow, size, more], rest)) = data.split_first_chunk() {
        data = rest;
        match more {
            0xff => coalescer.flush(&mut write),
            0xfe => coalescer.disable(if size & 1 == 0 { Split::TcpV4 } else { Split::Udp }),
            _ => {
                let flows = positions.get_mut(usize::from(kind & 3));
                let Some(position) = flows.and_then(|flows| flows.get_mut(usize::from(flow & 3))) else {
                    continue;
                };
                let mut packet = packet(kind, flow & 3, *position, usize::from(size) * 4);
                *position += 1;
                // Some bytes are others, so that the packet does not continue its flow, or is wrong.
                if more < 0x40
                    && let Some(byte) = packet.get_mut(usize::from(more))
                {
                    *byte ^= flow | 1;
                }
                coalescer.push(&packet, &mut write);
                sent.push(packet);
            }
        }
    }
    coalescer.flush(&mut write);
    let before = written.len();
    coalescer.flush(&mut |_, _| {});
    let mut arrived = Vec::new();
    for (header, packet) in &written {
        if packet.len() > LARGEST || VirtioHeader::decode(&header.encode()) != Some(*header) {
            return Err(format!("{header:?} with {} bytes", packet.len()));
        }
        arrived.extend(parts(header, packet).ok_or_else(|| format!("{header:?} cannot be split"))?);
    }
    if before != written.len() {
        return Err("packets are flushed twice".to_owned());
    }
    let (sent_flows, arrived_flows) = (flows(&sent), flows(&arrived));
    if sent_flows != arrived_flows {
        return Err(format!("{sent_flows:?} became {arrived_flows:?}"));
    }
    if sent.len() == arrived.len() { Ok(()) } else { Err(format!("{} of {}", arrived.len(), sent.len())) }
}

fn parts(header: &VirtioHeader, packet: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut packet = packet.to_vec();
    let (mut found, mut segments) = (Vec::new(), split(header, &mut packet)?);
    while let Some(packet) = segments.next_packet() {
        found.push(packet.to_vec());
    }
    Some(found)
}

/// Returns the packets of each flow, in order: those with the same version, protocol, addresses and ports.
fn flows(packets: &[Vec<u8>]) -> BTreeMap<[&[u8]; 3], Vec<Vec<u8>>> {
    let mut flows = BTreeMap::<_, Vec<_>>::new();
    for packet in packets {
        let ipv6 = packet.first().is_some_and(|first| first >> 4 == 6);
        let (protocol, addresses) = if ipv6 { (6..7, 8..44) } else { (9..10, 12..24) };
        let key =
            [packet.get(..1), packet.get(protocol), packet.get(addresses)].map(Option::unwrap_or_default);
        let mut packet = packet.clone();
        // With DF set the identification means nothing (RFC 6864 §4.1), and need not stay.
        if !ipv6 && packet.get(6).is_some_and(|flags| flags & 0x40 != 0) {
            put(&mut packet, 4, [0; 2]);
            put(&mut packet, IPV4_CHECKSUM, [0; 2]);
        }
        flows.entry(key).or_default().push(packet);
    }
    flows
}

/// Returns packet number `position` of a flow, with right checksums: bit 0 of `kind` is UDP, bit 1 IPv6, bit 2 DF, bit 3
/// PSH.
fn packet(kind: u8, flow: u8, position: u32, size: usize) -> Vec<u8> {
    let (udp, ipv6) = (kind & 1 != 0, kind & 2 != 0);
    let transport = if ipv6 { IPV6 } else { IPV4 };
    let headers = transport + if udp { 8 } else { 20 };
    let mut packet = vec![0; headers + size + 1];
    let total = packet.len();
    let word = |number: usize| u16::try_from(number).unwrap_or_default().to_be_bytes();
    let [.., id_high, id_low] = position.to_be_bytes();
    let own = if ipv6 {
        put(&mut packet, 0, [0x60, 0, 0, 0]);
        put(&mut packet, 4, word(total - IPV6));
        put(&mut packet, 6, [if udp { UDP } else { TCP }, 57]);
        put(&mut packet, 23, [flow])
    } else {
        put(&mut packet, 0, [0x45, 0]);
        put(&mut packet, 2, word(total));
        put(
            &mut packet,
            4,
            [id_high, id_low, if kind & 4 != 0 { 0x40 } else { 0 }, 0, 57, if udp { UDP } else { TCP }],
        );
        put(&mut packet, 12, [10, 0, 0, flow, 10, 9, 9, 9])
    };
    let _fits = own;
    put(&mut packet, transport, [1, flow, 2, 0]);
    let protocol = if udp {
        put(&mut packet, transport + 4, word(total - transport));
        UDP
    } else {
        let sequence = position.wrapping_mul(u32::try_from(size + 1).unwrap_or_default());
        put(&mut packet, transport + 4, sequence.to_be_bytes());
        put(&mut packet, transport + 12, [0x50, if kind & 8 != 0 { 0x18 } else { 0x10 }]);
        TCP
    };
    put(&mut packet, headers, [id_low]);
    if !ipv6 {
        let checksum = Sum::default().add(packet.get(..IPV4).unwrap_or_default()).checksum();
        put(&mut packet, IPV4_CHECKSUM, checksum.to_be_bytes());
    }
    let addresses = fields::addresses(&packet, ipv6).unwrap_or_default();
    let pseudo =
        fields::pseudo_header(addresses, protocol).add_word(u16::from_be_bytes(word(total - transport)));
    let checksum = pseudo.add(packet.get(transport..).unwrap_or_default()).checksum();
    let at = transport + if udp { UDP_CHECKSUM } else { TCP_CHECKSUM };
    let checksum = if udp && checksum == 0 { 0xffff } else { checksum };
    put(&mut packet, at, checksum.to_be_bytes());
    packet
}
