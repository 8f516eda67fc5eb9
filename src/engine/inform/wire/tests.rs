use proptest::{collection::vec, prelude::*};

use super::*;

const US: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 100);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

fn nets(text: &[&str]) -> Vec<Ipv4Net> {
    text.iter().map(|net| net.parse().unwrap()).collect()
}

/// RFC 3442: the table of encodings under "Classless Route Option Format", each with the router 10.0.0.1.
#[test]
fn parses_the_descriptors_of_rfc_3442() {
    let table: [(&str, &[u8]); 8] = [
        ("0.0.0.0/0", &[0]),
        ("10.0.0.0/8", &[8, 10]),
        ("10.0.0.0/24", &[24, 10, 0, 0]),
        ("10.17.0.0/16", &[16, 10, 17]),
        ("10.27.129.0/24", &[24, 10, 27, 129]),
        ("10.229.0.128/25", &[25, 10, 229, 0, 128]),
        ("10.198.122.47/32", &[32, 10, 198, 122, 47]),
        // "129.210.177.132/25": a host's address, reduced to its subnet by the mask.
        ("129.210.177.128/25", &[25, 129, 210, 177, 132]),
    ];
    let mut all = Vec::new();
    for (net, descriptor) in table {
        let one = [descriptor, &[10, 0, 0, 1]].concat();
        assert_eq!(routes(&one), Some(nets(&[net])));
        for cut in 1..one.len() {
            assert_eq!(routes(&one[..cut]), None, "{net} cut to {cut}");
        }
        all.extend(one);
    }
    assert_eq!(routes(&all), Some(nets(&table.map(|(net, _)| net))));
    assert_eq!(routes(&[33, 1, 2, 3, 4, 5, 10, 0, 0, 1]), None);
    assert_eq!(routes(&[]), Some(Vec::new()));
}

#[test]
fn request_is_a_valid_packet() {
    let packet = encode_inform(US, Ipv4Addr::BROADCAST, 0x0102_0304);
    assert_eq!(Sum::default().add(&packet[..IP_HEADER]).checksum(), 0);
    assert_eq!(udp_checksum(US, Ipv4Addr::BROADCAST, &packet[IP_HEADER..]), 0);
    assert_eq!(usize::from(word(&packet, 2).unwrap()), packet.len());
    let message = &packet[IP_HEADER + UDP_HEADER..];
    assert_eq!(message.len(), MIN_MESSAGE);
    assert_eq!(message[..8], [1, 1, 6, 0, 1, 2, 3, 4]);
    assert_eq!(message[12..16], US.octets());
    let options = &message[FIXED + 4..];
    assert_eq!(option(&[options], MESSAGE_TYPE), [INFORM]);
    assert_eq!(option(&[options], PARAMETERS), [121, 249]);
    // Our own request, sent back, is no answer.
    assert_eq!(to_client(&packet, US), None);
}

#[test]
fn option_parts_are_joined_across_fields() {
    let mut message = acknowledged(&[(OVERLOAD, &[3]), (ROUTES, &[16, 10])]);
    put(&mut message, FILE.start, &[ROUTES, 3, 17, 10, 0, END]);
    put(&mut message, SNAME.start, &[ROUTES, 2, 0, 1, END]);
    assert_eq!(answer(&message, 7), Some(Answer { routes: nets(&["10.17.0.0/16"]) }));
    assert_eq!(answer(&message, 8), None, "another transaction");
    let cut = message.len() - 1;
    assert!(answer(&message[..FIXED + 3], 7).is_none() && answer(&message[..cut], 7).is_some());
}

#[test]
fn standard_option_takes_precedence_over_microsofts() {
    let one: &[u8] = &[8, 10, 0, 0, 0, 0];
    let other: &[u8] = &[16, 172, 16, 0, 0, 0, 0];
    let both = acknowledged(&[(ROUTES_MICROSOFT, other), (ROUTES, one)]);
    assert_eq!(answer(&both, 7).unwrap().routes, nets(&["10.0.0.0/8"]));
    let broken = acknowledged(&[(ROUTES_MICROSOFT, other), (ROUTES, &[40, 1])]);
    assert_eq!(answer(&broken, 7).unwrap().routes, nets(&["172.16.0.0/16"]));
    assert_eq!(answer(&acknowledged(&[]), 7).unwrap().routes, []);
    let mut refused = acknowledged(&[(ROUTES, one)]);
    refused[FIXED + 6] = 6;
    assert_eq!(answer(&refused, 7), None, "a DHCPNAK");
}

#[test]
fn accepts_only_intact_packets_for_the_client() {
    let packet = reply(&acknowledged(&[]));
    assert!(to_client(&packet, US).is_some());
    assert!(to_client(&packet, SERVER).is_none());
    for at in 0..packet.len() {
        let mut broken = packet.clone();
        broken[at] ^= 0x10;
        assert!(to_client(&broken, US).is_none(), "byte {at}");
        assert!(to_client(&packet[..at], US).is_none(), "cut to {at}");
    }
}

proptest! {
    #[test]
    fn parser_accepts_arbitrary_bytes(bytes in vec(any::<u8>(), 0..700)) {
        let _packet = to_client(&bytes, US);
        let _answer = answer(&bytes, 7);
        let mut message = acknowledged(&[]);
        message.truncate(FIXED + 4);
        message.extend([MESSAGE_TYPE, 1, ACK]);
        message.extend(&bytes);
        let _answer = answer(&message, 7);
        if let Some(routes) = routes(&bytes) {
            prop_assert!(routes.len() * 5 <= bytes.len());
            prop_assert!(routes.iter().all(|route| route.trunc() == *route));
        }
    }

    /// Routes are read back from any number of options.
    #[test]
    fn routes_round_trip(wanted in vec((any::<u32>(), 0_u8..=32), 0..60)) {
        let wanted: Vec<Ipv4Net> =
            wanted.into_iter().map(|(bits, width)| Ipv4Net::new(bits.into(), width).unwrap().trunc()).collect();
        let mut bytes = Vec::new();
        for route in &wanted {
            let significant = usize::from(route.prefix_len().div_ceil(8));
            bytes.push(route.prefix_len());
            bytes.extend(&route.network().octets()[..significant]);
            bytes.extend(SERVER.octets());
        }
        let parts: Vec<(u8, &[u8])> = bytes.chunks(255).map(|part| (ROUTES, part)).collect();
        let message = acknowledged(&parts);
        let packet = reply(&message);
        let found = to_client(&packet, US).unwrap();
        prop_assert_eq!(answer(found, 7), Some(Answer { routes: wanted }));
    }
}

// Helpers.

/// Returns a DHCPACK for xid 7 with these options.
pub(in crate::engine::inform) fn acknowledged(options: &[(u8, &[u8])]) -> Vec<u8> {
    let mut message = vec![0; FIXED];
    put(&mut message, 0, &[REPLY, 1, 6, 0, 0, 0, 0, 7]);
    message.extend(COOKIE);
    message.extend([MESSAGE_TYPE, 1, ACK]);
    for (code, value) in options {
        message.extend([*code, u8::try_from(value.len()).unwrap()]);
        message.extend(*value);
    }
    message.push(END);
    message
}

/// Returns an IP packet from the server to us.
pub(in crate::engine::inform) fn reply(message: &[u8]) -> Vec<u8> {
    let mut packet = in_packet(SERVER, US, message);
    // Swap the ports; the checksum stays valid, because only two of its words change places.
    put(&mut packet, IP_HEADER, &[0, 67, 0, 68]);
    packet
}
