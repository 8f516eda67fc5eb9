//! Packets are split and combined, and checked by etherparse.

use etherparse::{Ipv4Header, Ipv6Header, NetHeaders, PacketBuilder, PacketHeaders, TransportHeader};
use proptest::{collection::vec, prelude::*, sample::select};

use super::*;
use crate::net::offload::header::Split;

/// A kind of packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sample {
    TcpV4,
    TcpV6,
    UdpV4,
    UdpV6,
}

impl Sample {
    const ALL: [Self; 4] = [Self::TcpV4, Self::TcpV6, Self::UdpV4, Self::UdpV6];

    fn split(self) -> Split {
        match self {
            Self::TcpV4 => Split::TcpV4,
            Self::TcpV6 => Split::TcpV6,
            Self::UdpV4 | Self::UdpV6 => Split::Udp,
        }
    }

    /// Returns packet number `number` of a flow, with a payload of `bytes`, `before` bytes into the stream.
    fn packet(self, flow: u8, number: u16, before: u32, bytes: &[u8]) -> Vec<u8> {
        let mut ipv4 =
            Ipv4Header::new(0, 57, etherparse::IpNumber::TCP, [10, 0, 0, flow], [10, 9, 9, 9]).unwrap();
        ipv4.identification = 0xfffe_u16.wrapping_add(number);
        ipv4.dont_fragment = flow.is_multiple_of(2);
        let ipv6 = Ipv6Header {
            hop_limit: 57,
            source: [flow; 16],
            destination: [9; 16],
            flow_label: 77_u32.try_into().unwrap(),
            ..Ipv6Header::default()
        };
        let ip = match self {
            Self::TcpV4 | Self::UdpV4 => {
                PacketBuilder::ip(etherparse::IpHeaders::Ipv4(ipv4, Default::default()))
            }
            Self::TcpV6 | Self::UdpV6 => {
                PacketBuilder::ip(etherparse::IpHeaders::Ipv6(ipv6, Default::default()))
            }
        };
        let mut packet = Vec::new();
        match self {
            Self::UdpV4 | Self::UdpV6 => ip.udp(4500, 443).write(&mut packet, bytes).unwrap(),
            Self::TcpV4 | Self::TcpV6 => {
                let timestamp = etherparse::TcpOptionElement::Timestamp(7, 8);
                let tcp = ip.tcp(443, 40_000, 0xffff_ff00_u32.wrapping_add(before), 501).ack(99);
                tcp.options(&[timestamp]).unwrap().write(&mut packet, bytes).unwrap();
            }
        }
        packet
    }

    /// Returns `count` packets in order, each with `size` bytes of payload.
    pub fn run(self, count: u16, size: usize) -> Vec<Vec<u8>> {
        let mut before = 0;
        (0..count)
            .map(|number| {
                let bytes: Vec<u8> =
                    (0..size).map(|at| at.to_le_bytes()[0] ^ number.to_le_bytes()[0]).collect();
                let packet = self.packet(3, number, before, &bytes);
                before += u32::try_from(size).unwrap();
                packet
            })
            .collect()
    }
}

const ALL: Offloads = Offloads { tcp: true, udp: true };

/// Returns what the device gets of these packets.
pub fn combined(packets: &[Vec<u8>]) -> Vec<(VirtioHeader, Vec<u8>)> {
    let (mut coalescer, mut written) = (Coalescer::new(ALL), Vec::new());
    let mut write = |header: &VirtioHeader, packet: &mut [u8]| {
        // As the kernel reads it.
        assert_eq!(VirtioHeader::decode(&header.encode()), Some(*header));
        written.push((*header, packet.to_vec()));
    };
    for packet in packets {
        coalescer.push(packet, &mut write);
    }
    coalescer.flush(&mut write);
    coalescer.flush(&mut |_, _| panic!("flushed twice"));
    written
}

fn parts(header: &VirtioHeader, mut packet: Vec<u8>) -> Vec<Vec<u8>> {
    let (mut found, mut segments) = (Vec::new(), split(header, &mut packet).unwrap());
    let lengths: Vec<usize> = segments.lengths().collect();
    while let Some(packet) = segments.next_packet() {
        found.push(packet.to_vec());
    }
    assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), lengths);
    found
}

/// Sets the PSH flag of a TCP segment without options of IP, and corrects the checksum.
fn push_flag(packet: &mut [u8]) {
    let at = if packet[0] >> 4 == 4 { 20 } else { 40 };
    packet[at + 13] |= 8;
    let sum = u16::from_be_bytes([packet[at + 16], packet[at + 17]]);
    // The word with the flags grew by 8, so the complement shrinks by it (RFC 1624).
    let (less, borrow) = sum.overflowing_sub(8);
    packet[at + 16..at + 18].copy_from_slice(&(less - u16::from(borrow)).to_be_bytes());
    assert!(is_right(packet), "the test's own arithmetic");
}

/// Returns whether all checksums of a packet are right, computed by etherparse.
fn is_right(packet: &[u8]) -> bool {
    let Ok(PacketHeaders { net: Some(net), transport: Some(transport), payload, .. }) =
        PacketHeaders::from_ip_slice(packet)
    else {
        return false;
    };
    let payload = payload.slice();
    match (net, transport) {
        (NetHeaders::Ipv4(ip, _), TransportHeader::Tcp(tcp)) => {
            ip.calc_header_checksum() == ip.header_checksum
                && tcp.calc_checksum_ipv4(&ip, payload) == Ok(tcp.checksum)
        }
        (NetHeaders::Ipv6(ip, _), TransportHeader::Tcp(tcp)) => {
            tcp.calc_checksum_ipv6(&ip, payload) == Ok(tcp.checksum)
        }
        (NetHeaders::Ipv4(ip, _), TransportHeader::Udp(udp)) => {
            ip.calc_header_checksum() == ip.header_checksum
                && udp.calc_checksum_ipv4(&ip, payload) == Ok(udp.checksum)
        }
        (NetHeaders::Ipv6(ip, _), TransportHeader::Udp(udp)) => {
            udp.calc_checksum_ipv6(&ip, payload) == Ok(udp.checksum)
        }
        _ => false,
    }
}

/// Clears the identification where it means nothing.
fn without_id(mut packet: Vec<u8>) -> Vec<u8> {
    if packet.len() >= 20 && packet[0] >> 4 == 4 && packet[6] & 0x40 != 0 {
        packet[4..6].fill(0);
        packet[10..12].fill(0);
    }
    packet
}

/// Returns what tells flows apart, as the kernel does: addresses, protocol and ports.
fn flow_of(packet: &[u8]) -> Vec<u8> {
    match packet.first().map(|first| first >> 4) {
        Some(4) if packet.len() >= 24 => [&packet[9..10], &packet[12..24]].concat(),
        Some(6) if packet.len() >= 44 => [&packet[6..7], &packet[8..44]].concat(),
        _ => Vec::new(),
    }
}

#[test]
fn runs_of_each_kind_are_combined_and_split_again() {
    for sample in Sample::ALL {
        let run = sample.run(40, 1300);
        let written = combined(&run);
        assert_eq!(written.len(), 1, "{sample:?}");
        let (header, whole) = &written[0];
        assert_eq!((header.split, header.size), (sample.split(), 1300));
        assert_eq!(header.packets(whole.len()), 40);
        assert_eq!(parts(header, whole.clone()), run, "{sample:?}");
        assert!(run.iter().all(|packet| is_right(packet)));
    }
}

#[test]
fn combined_packets_stay_below_the_limits() {
    for sample in Sample::ALL {
        for (count, size) in [(200, 1), (200, 1300), (60, 1440), (3, 30_000)] {
            let run = sample.run(count, size);
            let written = combined(&run);
            assert!(
                written
                    .iter()
                    .all(|(header, packet)| packet.len() <= LARGEST && header.packets(packet.len()) <= 64)
            );
            assert!(written.len() <= usize::from(count) / 40 + 2, "{sample:?} {size}: {}", written.len());
            let again: Vec<_> =
                written.into_iter().flat_map(|(header, packet)| parts(&header, packet)).collect();
            assert_eq!(again, run);
        }
    }
}

#[test]
fn flows_are_combined_separately() {
    let packets: Vec<_> = (0..10_u16)
        .flat_map(|number| {
            Sample::ALL.map(|sample| {
                sample.packet(4, number, u32::from(number) * 100, &[number.to_le_bytes()[0]; 100])
            })
        })
        .collect();
    let written = combined(&packets);
    assert_eq!(written.len(), 4);
    assert!(written.iter().all(|(header, packet)| header.packets(packet.len()) == 10));
}

#[test]
fn more_flows_than_places_lose_nothing() {
    let packets: Vec<_> = (0..60_u8)
        .map(|number| Sample::UdpV4.packet(number % 20, u16::from(number / 20), 0, &[number; 50]))
        .collect();
    let mut sent: Vec<_> =
        combined(&packets).into_iter().flat_map(|(header, packet)| parts(&header, packet)).collect();
    let mut expected = packets;
    sent.sort();
    expected.sort();
    assert_eq!(sent, expected);
}

#[test]
fn short_packet_or_push_flag_ends_a_run() {
    let mut run = Sample::TcpV4.run(6, 500);
    push_flag(&mut run[2]);
    let counts = |packets: &[Vec<u8>]| -> Vec<u64> {
        combined(packets).iter().map(|(header, packet)| header.packets(packet.len())).collect()
    };
    assert_eq!(counts(&run), [3, 3]);
    let (header, whole) = combined(&run)[0].clone();
    assert_eq!(parts(&header, whole), run[..3]);
    let mut datagrams = Sample::UdpV6.run(3, 500);
    datagrams.push(Sample::UdpV6.packet(3, 3, 0, &[1; 400]));
    datagrams.extend(Sample::UdpV6.run(3, 500));
    assert_eq!(counts(&datagrams), [4, 3]);
    let longer = [Sample::UdpV4.run(1, 100), Sample::UdpV4.run(1, 200)].concat();
    assert_eq!(counts(&longer), [1, 1]);
}

#[test]
fn packets_that_differ_are_not_combined() {
    let first = Sample::TcpV4.packet(4, 0, 0, &[1; 100]);
    let second = Sample::TcpV4.packet(4, 1, 100, &[2; 100]);
    assert_eq!(combined(&[first.clone(), second.clone()]).len(), 1);
    // TOS, fragments, TTL, sequence, acknowledgement, flags, window, urgent pointer, option.
    for (at, bit) in [
        (1, 4),
        (6, 0x20),
        (7, 1),
        (8, 1),
        (27, 1),
        (31, 1),
        (33, 1),
        (33, 2),
        (33, 4),
        (33, 0x20),
        (33, 0x80),
        (35, 1),
        (39, 1),
        (47, 1),
    ] {
        let mut other = second.clone();
        other[at] ^= bit;
        let mut ip = [0; 20];
        ip.copy_from_slice(&other[..20]);
        let header = Ipv4Header::from_slice(&ip).unwrap().0;
        other[10..12].copy_from_slice(&header.calc_header_checksum().to_be_bytes());
        let tcp = etherparse::TcpHeader::from_slice(&other[20..]).unwrap().0;
        let sum = tcp.calc_checksum_ipv4(&header, &other[usize::from(tcp.header_len_u16()) + 20..]).unwrap();
        other[36..38].copy_from_slice(&sum.to_be_bytes());
        let written = combined(&[first.clone(), other.clone()]);
        assert_eq!(
            written.iter().map(|(_, packet)| packet).collect::<Vec<_>>(),
            [&first, &other],
            "{at} {bit}"
        );
        assert!(written.iter().all(|(header, _)| *header == VirtioHeader::PLAIN));
    }
}

#[test]
fn wrong_checksums_are_passed_on_alone() {
    for sample in Sample::ALL {
        for damaged in [0, 1, 3] {
            let mut run = sample.run(4, 200);
            let at = run[damaged].len() - 1;
            run[damaged][at] ^= 0x55;
            let written = combined(&run);
            assert!(written.contains(&(VirtioHeader::PLAIN, run[damaged].clone())), "{sample:?} {damaged}");
            let again: Vec<_> =
                written.into_iter().flat_map(|(header, packet)| parts(&header, packet)).collect();
            assert_eq!(again, run);
        }
    }
    // A datagram without a checksum is valid over IPv4.
    let mut run = Sample::UdpV4.run(3, 50);
    run.iter_mut().for_each(|packet| packet[26..28].fill(0));
    assert_eq!(
        combined(&run),
        run.into_iter().map(|packet| (VirtioHeader::PLAIN, packet)).collect::<Vec<_>>()
    );
}

#[test]
fn disabled_kind_is_passed_on_at_once() {
    let mut coalescer = Coalescer::new(ALL);
    coalescer.disable(Split::Udp);
    let (mut udp, mut tcp) = (0, 0);
    for packet in Sample::UdpV4.run(5, 10) {
        coalescer.push(&packet, &mut |header, _| udp += u32::from(*header == VirtioHeader::PLAIN));
    }
    for packet in Sample::TcpV6.run(5, 10) {
        coalescer.push(&packet, &mut |_, _| tcp += 1);
    }
    assert_eq!((udp, tcp), (5, 0));
}

#[test]
fn partial_checksum_is_completed() {
    for sample in Sample::ALL {
        let good = sample.run(1, 333).remove(0);
        let (begin, offset): (usize, usize) = match sample {
            Sample::TcpV4 => (20, 16),
            Sample::TcpV6 => (40, 16),
            Sample::UdpV4 => (20, 6),
            Sample::UdpV6 => (40, 6),
        };
        let mut packet = good.clone();
        let length = u16::try_from(packet.len() - begin).unwrap();
        let protocol = if offset == 16 { 6 } else { 17 };
        let addresses = fields::addresses(&packet, begin == 40).unwrap();
        let pseudo = fields::pseudo_header(addresses, protocol).add_word(length).folded();
        packet[begin + offset..begin + offset + 2].copy_from_slice(&pseudo.to_be_bytes());
        let header = VirtioHeader {
            checksum: Some((u16::try_from(begin).unwrap(), u16::try_from(offset).unwrap())),
            ..VirtioHeader::PLAIN
        };
        assert_eq!(parts(&header, packet), [good]);
    }
    let header = VirtioHeader { checksum: Some((60, 16)), ..VirtioHeader::PLAIN };
    assert!(split(&header, &mut [0; 70]).is_none(), "the field is outside the packet");
}

#[test]
fn first_segment_keeps_cwr_and_the_last_fin() {
    let (mut header, mut whole) = combined(&Sample::TcpV4.run(3, 100)).remove(0);
    whole[33] |= 0x80 | 0x08 | 0x01;
    header.size = 150;
    let flags: Vec<u8> = parts(&header, whole).iter().map(|packet| packet[33]).collect();
    assert_eq!(flags, [0x90, 0x19]);
}

proptest! {
    /// Any mixture of packets, some of them damaged: everything arrives as it was sent, in the order of its
    /// flow, and the kernel is told only of packets with right checksums that they need no check.
    #[test]
    fn mixture_arrives_as_it_was_sent(
        choices in vec((select(&Sample::ALL[..]), 0_u8..3, select(&[1_usize, 99, 100, 100, 100][..]), any::<Option<(u16, u8)>>(), any::<bool>()), 1..80),
    ) {
        let mut numbers = std::collections::HashMap::<_, (u16, u32)>::new();
        let packets: Vec<Vec<u8>> = choices.into_iter().enumerate().map(|(at, (sample, flow, size, damage, damaged))| {
            let (number, before) = numbers.entry((sample as u8, flow)).or_default();
            let mut packet = sample.packet(flow, *number, *before, &vec![at.to_le_bytes()[0]; size]);
            *number = number.wrapping_add(1);
            *before += u32::try_from(size).unwrap();
            if let (Some((place, bit)), true) = (damage, damaged && at % 4 == 0) {
                let place = usize::from(place) % packet.len();
                packet[place] ^= bit;
            }
            packet
        }).collect();
        let written = combined(&packets);
        let mut arrived = Vec::new();
        for (header, packet) in written {
            let found = parts(&header, packet);
            prop_assert!(header.split == Split::None || found.iter().all(|packet| is_right(packet)));
            arrived.extend(found);
        }
        prop_assert_eq!(arrived.len(), packets.len());
        // Stable: packets of one flow keep their order.
        let by_flow = |packets: Vec<Vec<u8>>| {
            let mut packets: Vec<_> = packets.into_iter().map(without_id).collect();
            packets.sort_by_key(|packet| flow_of(packet));
            packets
        };
        prop_assert_eq!(by_flow(arrived), by_flow(packets));
    }

    #[test]
    fn splitting_and_combining_is_the_identity(
        sample in select(&Sample::ALL[..]), count in 2_u16..60, size in 1_usize..1000, last in 1_usize..1000,
    ) {
        let mut run = sample.run(count, size);
        let before = u32::try_from(size * usize::from(count)).unwrap();
        run.push(sample.packet(3, count, before, &vec![9; last.min(size)]));
        let written = combined(&run);
        prop_assert_eq!(written.len(), 1);
        let (header, whole) = written[0].clone();
        prop_assert_eq!(combined(&parts(&header, whole)), written);
    }

    #[test]
    fn splitter_accepts_arbitrary_bytes(head: [u8; HEADER], mut packet in vec(any::<u8>(), 0..300), version in select(&[0x45_u8, 0x46, 0x60][..])) {
        if let Some(first) = packet.first_mut() {
            *first = version;
        }
        let Some(mut header) = VirtioHeader::decode(&head) else { return Ok(()) };
        for begin in [0, 20, 24, 40, 60] {
            header.checksum = header.checksum.map(|(_, offset)| (begin, if offset & 1 == 0 { 16 } else { 6 }));
            let mut copy = packet.clone();
            let length = copy.len();
            if let Some(mut segments) = split(&header, &mut copy) {
                let mut count = 0;
                while let Some(packet) = segments.next_packet() {
                    prop_assert!(packet.len() <= length);
                    count += 1;
                }
                prop_assert!(count <= length.max(1));
            }
        }
    }

    #[test]
    fn coalescer_passes_arbitrary_bytes_on(packets in vec(vec(any::<u8>(), 0..120), 0..40), version in select(&[0x45_u8, 0x46, 0x60][..])) {
        let packets: Vec<_> = packets.into_iter().map(|mut packet| {
            if let Some(first) = packet.first_mut() {
                *first = version;
            }
            packet
        }).collect();
        let mut arrived: Vec<_> = combined(&packets).into_iter().flat_map(|(header, packet)| parts(&header, packet)).collect();
        let mut packets = packets;
        arrived.sort();
        packets.sort();
        prop_assert_eq!(arrived, packets);
    }
}
