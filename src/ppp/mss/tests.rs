use etherparse::{
    IpHeaders, Ipv4Header, Ipv6Header, NetSlice, PacketBuilder, SlicedPacket, TcpOptionElement,
    TransportSlice,
};
use proptest::prelude::*;

use super::*;

/// Returns a SYN with these bytes as its options, built by another implementation.
fn syn(ipv6: bool, options: &[u8], payload: &[u8], ack: bool) -> Vec<u8> {
    let ports = |builder: etherparse::PacketBuilderStep<IpHeaders>| {
        let step = builder.tcp(40_000, 443, 7, 64_240).syn();
        let step = if ack { step.ack(9) } else { step };
        let step = step.options_raw(options).unwrap();
        let mut packet = Vec::new();
        step.write(&mut packet, payload).unwrap();
        packet
    };
    let base = if ipv6 {
        let header =
            Ipv6Header { hop_limit: 64, source: [1; 16], destination: [2; 16], ..Ipv6Header::default() };
        IpHeaders::Ipv6(header, Default::default())
    } else {
        let header = Ipv4Header::new(0, 64, etherparse::IpNumber::TCP, [10, 0, 0, 1], [10, 0, 0, 2]).unwrap();
        IpHeaders::Ipv4(header, Default::default())
    };
    ports(PacketBuilder::ip(base))
}

/// Returns the segment size that another implementation reads, after it has verified the checksum.
fn read(packet: &[u8]) -> Option<u16> {
    let sliced = SlicedPacket::from_ip(packet).unwrap();
    let Some(TransportSlice::Tcp(tcp)) = &sliced.transport else { panic!("not TCP") };
    let sum = match sliced.net.as_ref().unwrap() {
        NetSlice::Ipv4(ip) => tcp.calc_checksum_ipv4(ip.header().source(), ip.header().destination()),
        NetSlice::Ipv6(ip) => tcp.calc_checksum_ipv6(ip.header().source(), ip.header().destination()),
        NetSlice::Arp(_) => panic!("not IP"),
    };
    assert_eq!(sum.unwrap(), tcp.checksum(), "wrong checksum");
    tcp.options_iterator().find_map(|option| match option {
        Ok(TcpOptionElement::MaximumSegmentSize(size)) => Some(size),
        _ => None,
    })
}

fn mss(value: u16) -> Vec<u8> {
    [&[2, 4][..], &value.to_be_bytes()].concat()
}

proptest! {
    /// Any value, at an even and at an odd offset, over IPv4 and IPv6: lowered or unchanged, with a valid
    /// checksum.
    #[test]
    fn lowered_option_has_a_valid_checksum(
        value: u16, limit: u16, ipv6: bool, ack: bool, before in 0_usize..5, payload in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let options = [vec![1; before], mss(value), vec![4, 2], vec![3, 3, 7]].concat();
        let mut packet = syn(ipv6, &options, &payload, ack);
        let original = packet.clone();
        let limits = if ipv6 { (0, limit) } else { (limit, 0) };
        prop_assert_eq!(lower(&mut packet, limits), value > limit);
        prop_assert_eq!(read(&packet), Some(value.min(limit)));
        let differing = packet.iter().zip(&original).filter(|(a, b)| a != b).count();
        prop_assert!(differing <= 4, "more than the value and the checksum changed");
        prop_assert!(!lower(&mut packet, limits), "a second call changed the packet");
    }

    /// Arbitrary bytes, including some that resemble a SYN.
    #[test]
    fn lower_accepts_arbitrary_bytes(mut packet in prop::collection::vec(any::<u8>(), 0..120), shape in 0_u8..4) {
        for (at, value) in match shape {
            1 => vec![(0, 0x45), (6, 0), (7, 0), (9, 6), (33, 2)],
            2 => vec![(0, 0x60), (6, 6), (53, 2)],
            3 => vec![(0, 0x60), (6, 0), (40, 60), (41, 0), (48, 6), (49, 0)],
            _ => vec![],
        } {
            if let Some(byte) = packet.get_mut(at) {
                *byte = value;
            }
        }
        let original = packet.clone();
        let changed = lower(&mut packet, (536, 1220));
        prop_assert_eq!(packet.len(), original.len());
        prop_assert_eq!(changed, packet != original);
    }

    /// A real SYN, truncated and with one byte changed.
    #[test]
    fn lower_accepts_damaged_syns(ipv6: bool, cut in 0_usize..90, at in 0_usize..90, value: u8) {
        let mut packet = syn(ipv6, &[mss(1460), vec![4, 2, 1, 1]].concat(), b"data", false);
        if let Some(byte) = packet.get_mut(at) {
            *byte = value;
        }
        packet.truncate(cut);
        lower(&mut packet, (536, 516));
    }
}

#[test]
fn other_packets_pass_unchanged() {
    let mut data = syn(false, &mss(9000), b"", false);
    data[33] &= !SYN;
    let mut fragment = syn(false, &mss(9000), b"", false);
    fragment[7] = 1;
    let mut udp = syn(false, &mss(9000), b"", false);
    udp[9] = 17;
    // TCP-AO, which signs the options, behind the one to change.
    let signed = syn(false, &[mss(9000), vec![29, 4, 0, 0]].concat(), b"", false);
    let bare = syn(false, &[], b"", false);
    // An option that is longer than the header.
    let long = syn(false, &[vec![8, 60], mss(9000)].concat(), b"", false);
    for packet in [data, fragment, udp, signed, bare, long, vec![], vec![0x45], vec![0x60; 41]] {
        let mut clamper = Clamper::new(2048);
        clamper.set(Mss::Auto, 1400);
        assert_eq!(clamper.pass(Direction::In, &packet), packet);
        assert_eq!(clamper.counters(), ClampCounters::default());
    }
}

/// The length in the header decides: bytes behind the packet do not matter, and of a cut one nothing is changed.
#[test]
fn packet_shorter_than_its_header_says_passes_unchanged() {
    let whole = syn(false, &mss(1460), &[7; 8], false);
    let mut padded = [&whole[..], &[0; 6]].concat();
    assert!(lower(&mut padded, (1400, 0)));
    let mut cut = whole[..whole.len() - 1].to_vec();
    assert!(!lower(&mut cut, (1400, 0)));
    assert_eq!(cut, whole[..whole.len() - 1]);
}

#[test]
fn option_is_found_behind_extension_headers() {
    let tcp = syn(true, &mss(1440), b"", false)[40..].to_vec();
    let mut packet = syn(true, &mss(1440), b"", false)[..40].to_vec();
    // Hop-by-hop options, then destination options of 16 bytes, then a first fragment.
    packet[6] = 0;
    packet.extend([60, 0, 1, 4, 0, 0, 0, 0]);
    packet.extend([44, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    packet.extend([6, 0, 0, 1, 0, 0, 0, 5]);
    packet.extend(&tcp);
    let length = u16::try_from(packet.len() - 40).unwrap();
    packet[4..6].copy_from_slice(&length.to_be_bytes());
    assert!(lower(&mut packet, (1, 1220)));
    assert_eq!(packet[packet.len() - 2..], 1220_u16.to_be_bytes());
    // A later fragment: these bytes are data.
    packet[40 + 24 + 3] = 0x08;
    assert!(!lower(&mut packet, (1, 100)));
}

#[test]
fn limit_follows_mtu_and_directions_are_counted() {
    let mut clamper = Clamper::new(2048);
    let (v4, v6) = (syn(false, &mss(1460), b"", false), syn(true, &mss(1440), b"", true));
    assert_eq!(clamper.pass(Direction::Out, &v4), v4, "not up yet");
    clamper.set(Mss::Auto, 1400);
    assert_eq!(read(clamper.pass(Direction::Out, &v4)), Some(1360));
    assert_eq!(read(clamper.pass(Direction::In, &v6)), Some(1340));
    clamper.set(Mss::Bytes(1200), 1400);
    assert_eq!(read(clamper.pass(Direction::Out, &v4)), Some(1200));
    assert_eq!(read(clamper.pass(Direction::Out, &v6)), Some(1180));
    clamper.set(Mss::Bytes(1500), 1400);
    assert_eq!(read(clamper.pass(Direction::In, &v4)), Some(1360), "the MTU limits the segment size");
    assert_eq!(clamper.counters(), ClampCounters { lowered_in: 2, lowered_out: 3 });
    clamper.set(Mss::Off, 1400);
    assert_eq!(clamper.pass(Direction::Out, &v4), v4);
    // A packet larger than `largest` passes unchanged and allocates nothing.
    let mut small = Clamper::new(8);
    small.set(Mss::Auto, 1400);
    assert_eq!(small.pass(Direction::Out, &v4), v4);
}

#[test]
fn checksum_follows_one_word_as_in_rfc_1624() {
    // The example of §4, and a sum that carries twice.
    assert_eq!(updated(0xdd2f, 0x5555, 0x3285), 0x0000);
    assert_eq!(updated(0, 0, 1), 0xfffe);
}
