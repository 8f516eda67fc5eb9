//! Packets through a link that is up: sizes, headers, IP versions, and frames that are dropped.

use std::{net::Ipv4Addr, time::Duration};

use super::pair::{CLIENT, DNS, Pair, SERVER, Side, client_config, ip, ipv6, policy, server_config};
use crate::ppp::{
    link::{InterfaceIds, Link, LinkConfig, LinkDrop, LinkEvent, LinkUp, Received, Role},
    mppe::Demand,
    wire::{control_frame, protocol},
};

fn clear() -> Pair {
    Pair::with_mppe(policy(Demand::Off), policy(Demand::Off)).up()
}

#[test]
fn link_up_reports_the_negotiated_parameters() {
    let pair = Pair::with_mppe(policy(Demand::Require), policy(Demand::Allow)).up();
    let LinkUp { local, peer, dns, wins, ipv6, mtu, .. } = pair.client_up().unwrap();
    assert_eq!((*local, *peer), (CLIENT, SERVER));
    assert_eq!((dns.as_slice(), wins.as_slice()), ([DNS].as_slice(), [].as_slice()));
    assert_eq!((*ipv6, *mtu), (None, 1456));
    let order: Vec<_> = pair
        .client_events
        .iter()
        .map(|event| match event {
            LinkEvent::LcpUp { .. } => 0,
            LinkEvent::Authenticated { .. } => 1,
            LinkEvent::Encryption(_) => 2,
            LinkEvent::Up(_) => 3,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(order, [0, 1, 2, 3]);
    // On a path of 10 ms nothing is retransmitted: ten round trips are enough.
    assert!(pair.client.counters().sent_control <= 12, "{:?}", pair.client.counters());
}

#[test]
fn dns_and_wins_servers_are_reported() {
    let four = [53, 54, 137, 138].map(|last| Ipv4Addr::new(10, 9, 0, last));
    let (mut client, mut server) = (client_config(), server_config());
    if let (Role::Client(client), Role::Server(server)) = (&mut client.role, &mut server.role) {
        client.wins = true;
        (server.dns, server.wins) = (four[..2].to_vec(), four[2..].to_vec());
    }
    let pair = Pair::new(client, server).up();
    let LinkUp { dns, wins, .. } = pair.client_up().unwrap();
    assert_eq!((dns.as_slice(), wins.as_slice()), (&four[..2], &four[2..]));
}

#[test]
fn wins_servers_are_requested_only_if_configured() {
    let mut server = server_config();
    if let Role::Server(server) = &mut server.role {
        server.wins = vec![DNS];
    }
    let pair = Pair::new(client_config(), server).up();
    let LinkUp { dns, wins, .. } = pair.client_up().unwrap();
    assert_eq!((dns.as_slice(), wins.as_slice()), ([DNS].as_slice(), [].as_slice()));
}

#[test]
fn mtu_is_the_smaller_of_path_limit_and_peer_mru() {
    for (mru, limit, demand, mtu) in [
        (1500, 1460, Demand::Off, 1460),
        (1500, 1460, Demand::Require, 1456),
        (1400, 1460, Demand::Off, 1400),
        (1400, 1460, Demand::Require, 1396),
        (1500, 1300, Demand::Require, 1296),
    ] {
        let mut pair = Pair::new(
            LinkConfig { mppe: policy(demand), mtu_limit: limit, ..client_config() },
            LinkConfig { mppe: policy(demand), mru, ..server_config() },
        )
        .up();
        assert_eq!(pair.client_up().unwrap().mtu, mtu);
        let largest = usize::from(mtu);
        pair.send_ip(Side::Client, &ip(largest, 1)).unwrap();
        assert_eq!(pair.send_ip(Side::Client, &ip(largest + 1, 1)), Err(LinkDrop::TooBig));
        let frame = &pair.tap.last().unwrap().1;
        assert!(frame.len() <= usize::from(limit.min(mru)) + 4, "{} bytes", frame.len());
    }
}

#[test]
fn packets_and_their_bytes_are_counted() {
    let mut pair = Pair::with_mppe(policy(Demand::Require), policy(Demand::Require)).up();
    for (side, length) in [(Side::Client, 60), (Side::Client, 1000), (Side::Server, 300)] {
        pair.send_ip(side, &ip(length, 1)).unwrap();
    }
    pair.run(Duration::from_millis(50));
    let counters = pair.client.counters();
    assert_eq!((counters.sent_packets, counters.sent_bytes), (2, 1060), "the IP packets, without headers");
    assert_eq!((counters.received_packets, counters.received_bytes), (1, 300));
}

#[test]
fn headers_are_compressed_and_read_in_every_form() {
    let mut pair = clear();
    pair.send_ip(Side::Client, &ip(20, 9)).unwrap();
    assert_eq!(pair.tap.last().unwrap().1[..2], [0x21, 0x45]);
    for header in [&[0xFF, 0x03, 0x00, 0x21][..], &[0x00, 0x21], &[0x21], &[0xFF, 0x03, 0x21]] {
        let mut frame = header.to_vec();
        frame.extend(ip(20, 3));
        let received = pair.client.handle_input(pair.now, &mut frame);
        assert_eq!(received, Received::Ip(&ip(20, 3)));
    }
}

#[test]
fn invalid_frames_are_dropped_with_a_reason() {
    let mut pair = clear();
    let now = pair.now;
    for (frame, reason) in [
        (&[0x21][..], LinkDrop::BadIp),
        (&[0x21, 0x60, 0, 0], LinkDrop::WrongPhase),
        (&[0x21, 0x15], LinkDrop::BadIp),
        (&[0x57, 0x60, 0, 0, 0], LinkDrop::WrongPhase),
        (&[0xFD, 0x90, 0, 1, 2, 3], LinkDrop::EncryptedUnexpected),
        (&[], LinkDrop::ShortFrame),
        (&[0xFF, 0x03], LinkDrop::ShortFrame),
        (&[0x00], LinkDrop::ShortFrame),
        (&[0x00, 0x20, 1], LinkDrop::BadProtocolField),
        (&[0xC0, 0x21, 1, 1, 0, 3], LinkDrop::MalformedPacket),
        (&[0xC0, 0x21, 1, 1, 0, 5, 1], LinkDrop::BadOptions),
        (&[0xC0, 0x21, 2, 200, 0, 4], LinkDrop::UnmatchedReply),
        (&[0xC2, 0x27, 1, 1, 0, 4], LinkDrop::UnknownProtocol),
        (&[0x80, 0xFD, 1, 1, 0, 4], LinkDrop::UnknownProtocol),
    ] {
        let mut copy = frame.to_vec();
        let received = pair.client.handle_input(now, &mut copy);
        assert_eq!(received, Received::Dropped(reason), "{frame:02x?}");
        assert!(pair.client.counters().dropped(reason) > 0);
    }
    assert_eq!(pair.client.encapsulate(&[], &mut [0; 64]), Err(LinkDrop::BadIp));
    assert_eq!(pair.client.encapsulate(&ip(40, 1), &mut [0; 40]), Err(LinkDrop::NoRoom));
    assert_eq!(pair.client.encapsulate(&[0x60; 40], &mut [0; 64]), Err(LinkDrop::NotUp));
}

#[test]
fn too_small_buffer_contains_no_clear_text() {
    let mut pair = Pair::with_mppe(policy(Demand::Require), policy(Demand::Require)).up();
    for room in 0..45 {
        let mut out = vec![0; room];
        assert_eq!(pair.client.encapsulate(&ip(40, 0xEE), &mut out), Err(LinkDrop::NoRoom), "{room}");
        assert!(!out.contains(&0xEE), "{room}");
    }
    // The sealer did not count the failed packets: the next one is the first.
    pair.send_ip(Side::Client, &ip(40, 0xEE)).unwrap();
    pair.run(Duration::from_secs(1));
    assert_eq!(pair.server_ip, [ip(40, 0xEE)]);
}

#[test]
fn unknown_protocol_is_rejected_with_its_packet() {
    let mut pair = clear();
    pair.deliver(Side::Client, control_frame(0x8235, &[1, 1, 0, 4]));
    pair.collect();
    let (from, frame) = pair.tap.last().unwrap();
    assert_eq!(*from, Side::Client);
    assert_eq!(frame[..5], [0xFF, 0x03, 0xC0, 0x21, 8]);
    assert_eq!(frame[6..], [0, 10, 0x82, 0x35, 1, 1, 0, 4]);
}

#[test]
fn protocol_reject_fits_the_peers_mru() {
    let mut pair = Pair::new(client_config(), LinkConfig { mru: 200, ..server_config() }).up();
    pair.deliver(Side::Client, control_frame(0x8235, &[7; 1400]));
    pair.collect();
    assert_eq!(pair.tap.last().unwrap().1.len(), 4 + 200);
}

#[test]
fn ipv6_passes_if_both_sides_enable_it() {
    let mut pair =
        Pair::new(LinkConfig { ipv6: true, ..client_config() }, LinkConfig { ipv6: true, ..server_config() })
            .up();
    let ids = pair
        .client_events
        .iter()
        .find_map(|event| match event {
            LinkEvent::Up(LinkUp { ipv6: Some(ids), .. }) | LinkEvent::Ipv6Up(ids) => Some(*ids),
            _ => None,
        })
        .unwrap();
    let InterfaceIds { local, peer } = ids;
    assert!(local != peer && local != [0; 8] && peer != [0; 8]);
    let packet = ipv6(60, 5);
    pair.send_ip(Side::Client, &packet).unwrap();
    pair.run(Duration::from_secs(1));
    assert_eq!(pair.server_ip, [packet]);
    assert_eq!(pair.clear_frames(), 0);
}

#[test]
fn ipv6_of_one_side_only_is_rejected() {
    let mut pair = Pair::new(LinkConfig { ipv6: true, ..client_config() }, server_config()).up();
    pair.run(Duration::from_secs(60));
    assert!(pair.client_down().is_none());
    assert_eq!(pair.server.counters().dropped(LinkDrop::UnknownProtocol), 1);
    assert!(!pair.tap.iter().any(|(from, frame)| *from == Side::Server && frame[2..4] == [0x80, 0x57]));
}

/// IPV6CP is awaited while the peer may still agree to it, and no longer (RFC 5072 §4).
#[test]
fn ipv6_is_undecided_only_while_the_peer_may_agree() {
    let both = || {
        Pair::new(LinkConfig { ipv6: true, ..client_config() }, LinkConfig { ipv6: true, ..server_config() })
    };
    let decided = |pair: Pair| !pair.client.is_ipv6_undecided();
    let mut settled = both().up();
    settled.run(Duration::from_secs(1));
    assert!(decided(settled), "both have it");
    let mut refused = Pair::new(LinkConfig { ipv6: true, ..client_config() }, server_config()).up();
    refused.run(Duration::from_secs(1));
    assert!(decided(refused), "the peer has rejected it");
    assert!(decided(Pair::new(client_config(), server_config()).up()), "it was not asked for");
    let mut pair = both().open();
    let mut was_undecided = false;
    for _ in 0..20_000 {
        pair.run(Duration::from_millis(1));
        was_undecided |= pair.client.is_ipv6_undecided();
    }
    assert!(was_undecided, "it was never negotiated");
}

#[test]
fn no_packet_passes_before_open_or_after_the_end() {
    let mut pair = Pair::new(client_config(), server_config());
    let mut out = [0; 64];
    assert_eq!(pair.client.encapsulate(&ip(20, 1), &mut out), Err(LinkDrop::NotUp));
    let mut frame = control_frame(protocol::IPV4, &ip(20, 1));
    assert_eq!(pair.client.handle_input(pair.now, &mut frame), Received::Dropped(LinkDrop::WrongPhase));
    assert_eq!(Link::FRAME_OVERHEAD, 8);
    pair.client.lower_down(pair.now);
    assert_eq!(pair.client.handle_input(pair.now, &mut frame), Received::Dropped(LinkDrop::Ended));
    assert_eq!(pair.client.encapsulate(&ip(20, 1), &mut out), Err(LinkDrop::Ended));
}
