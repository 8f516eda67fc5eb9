//! Packets sent and accepted while encryption is open, pending, lost or refused.

use std::time::Duration;

use super::pair::{Pair, Side, client_config, ip, only, policy, server_config};
use crate::ppp::{
    link::{DownReason, LinkConfig, LinkDrop, LinkEvent, Mppe},
    mppe::{Demand, Policy, Strength},
    wire::{Packet, code, control_frame, protocol},
};

const LONG: Duration = Duration::from_secs(60);

fn required() -> Pair {
    Pair::with_mppe(policy(Demand::Require), policy(Demand::Require)).up()
}

fn ccp(code: u8, id: u8, data: &[u8]) -> Vec<u8> {
    control_frame(protocol::CCP, &Packet { code, id, data }.to_vec())
}

#[test]
fn data_passes_at_each_strength() {
    for strength in Strength::ALL {
        for stateful in [false, true] {
            let policy = Policy { stateful, ..only(strength) };
            let mut pair = Pair::with_mppe(policy, policy).up();
            // Stateless mode is requested first, and the peer accepts it.
            assert_eq!(pair.client_up().unwrap().mppe, Some(Mppe { strength, stateful: false }));
            for number in 0..600_u16 {
                let [_, fill] = number.to_be_bytes();
                pair.send_ip(Side::Client, &ip(100, fill)).unwrap();
                pair.send_ip(Side::Server, &ip(1400, fill)).unwrap();
            }
            pair.run(LONG);
            assert_eq!(pair.server_ip.len(), 600);
            assert_eq!(pair.client_ip.len(), 600);
            assert_eq!(pair.client_ip[299], ip(1400, 43));
            assert_eq!(pair.clear_frames(), 0);
        }
    }
}

#[test]
fn strongest_common_strength_is_chosen() {
    let wide = policy(Demand::Require);
    for strength in Strength::ALL {
        let pair = Pair::with_mppe(wide, only(strength)).up();
        assert_eq!(pair.client_up().unwrap().mppe.unwrap().strength, strength);
        let pair = Pair::with_mppe(only(strength), wide).up();
        assert_eq!(pair.client_up().unwrap().mppe.unwrap().strength, strength);
    }
    assert_eq!(
        Pair::with_mppe(wide, wide).up().client_up().unwrap().mppe.unwrap().strength,
        Strength::Bits128
    );
}

#[test]
fn no_common_strength_names_both_strengths() {
    let mut pair = Pair::with_mppe(only(Strength::Bits128), only(Strength::Bits40)).open();
    pair.run(LONG);
    let words = pair.client_down().unwrap().to_string();
    assert!(matches!(pair.client_down(), Some(DownReason::EncryptionRefused(_))), "{words}");
    assert!(words.contains("MPPE-128") && words.contains("MPPE-40"), "{words}");
    assert_eq!(pair.clear_frames(), 0);
}

#[test]
fn peer_without_ccp_is_refused_or_used_in_clear() {
    let mut pair = Pair::with_mppe(policy(Demand::Require), policy(Demand::Off)).open();
    pair.run(LONG);
    let Some(DownReason::EncryptionRefused(words)) = pair.client_down() else {
        panic!("{:?}", pair.client_events)
    };
    assert!(words.contains("rejects CCP"), "{words}");
    let acks = |(from, frame): &(Side, Vec<u8>)| *from == Side::Client && frame[4] == code::CONFIGURE_ACK;
    assert!(!pair.of_protocol(&[protocol::IPCP]).iter().any(acks), "no address is agreed on");
    assert_eq!(pair.clear_frames(), 0);

    let pair = Pair::with_mppe(policy(Demand::Allow), policy(Demand::Off)).up();
    assert_eq!(pair.client_up().unwrap().mppe, None);
    assert!(pair.client_events.contains(&LinkEvent::Encryption(None)));
    // The refusal arrived with the first answer, without a timeout.
    assert!(pair.tap.len() < 40);
}

#[test]
fn nothing_is_sent_before_encryption_is_open() {
    let mut pair = Pair::with_mppe(policy(Demand::Require), policy(Demand::Require)).open();
    for _ in 0..100 {
        if pair.client_up().is_some() {
            break;
        }
        assert!(pair.send_ip(Side::Client, &ip(60, 1)).is_err());
        // IPCP may be open before MPPE, and takes no effect.
        if !pair.client_events.iter().any(|event| matches!(event, LinkEvent::Encryption(Some(_)))) {
            assert!(pair.client_up().is_none());
        }
        pair.run(Duration::from_millis(5));
    }
    assert!(pair.client_up().is_some());
    pair.send_ip(Side::Client, &ip(60, 1)).unwrap();
    assert_eq!(pair.clear_frames(), 0);
}

/// Returns a pair whose client has been accepted, and has received neither CCP nor IPCP.
fn before_ccp() -> Pair {
    let mut pair = Pair::with_mppe(policy(Demand::Require), policy(Demand::Allow)).open();
    while !pair.client_events.iter().any(|event| matches!(event, LinkEvent::Authenticated { .. })) {
        pair.lose(Side::Server, protocol::CCP);
        pair.lose(Side::Server, protocol::IPCP);
        pair.run(Duration::from_millis(1));
    }
    pair
}

#[test]
fn early_ipcp_request_is_kept_until_mppe_is_open() {
    // A server that only allows encryption may start IPCP before MPPE is open: its first request comes early.
    let mut pair = before_ccp();
    let request = [1, 9, 0, 10, 3, 6, 10, 9, 0, 1];
    pair.deliver(Side::Client, control_frame(protocol::IPCP, &request));
    pair.collect();
    let answers =
        |(from, frame): &(Side, Vec<u8>)| *from == Side::Client && frame[4] != code::CONFIGURE_REQUEST;
    assert!(!pair.of_protocol(&[protocol::IPCP]).iter().any(answers), "not answered yet");
    pair.run(Duration::from_millis(200));
    let answered = pair
        .of_protocol(&[protocol::IPCP])
        .into_iter()
        .any(|(from, frame)| from == Side::Client && frame[4] == code::CONFIGURE_ACK && frame[5] == 9);
    assert!(answered);
    // Anything but a request is dropped and counted.
    let mut pair = before_ccp();
    pair.deliver(Side::Client, control_frame(protocol::IPCP, &[2, 1, 0, 4]));
    assert_eq!(pair.client.counters().dropped(LinkDrop::BeforeEncryption), 1);
}

#[test]
fn request_of_the_peer_brings_our_unanswered_one_again() {
    // A peer answers with Terminate-Ack until its IPCP is open, and sends its own request then.
    let mut pair = Pair::with_mppe(policy(Demand::Off), policy(Demand::Off)).open();
    let requests = |pair: &mut Pair| {
        pair.lose(Side::Server, protocol::IPCP);
        pair.collect();
        let sent = pair.of_protocol(&[protocol::IPCP]);
        sent.iter()
            .filter(|(from, frame)| *from == Side::Client && frame[4] == code::CONFIGURE_REQUEST)
            .count()
    };
    while requests(&mut pair) == 0 {
        pair.run(Duration::from_millis(1));
    }
    let closed = control_frame(protocol::IPCP, &[code::TERMINATE_ACK, 1, 0, 4]);
    for _ in 0..3 {
        pair.deliver(Side::Client, closed.clone());
        pair.collect();
    }
    let before = requests(&mut pair);
    pair.deliver(Side::Client, control_frame(protocol::IPCP, &[1, 9, 0, 10, 3, 6, 10, 9, 0, 1]));
    assert_eq!(requests(&mut pair), before + 1);
}

#[test]
fn keys_are_made_ahead_for_stateless_encryption_only() {
    assert!(required().client.is_sealing_ahead());
    // Of that pair the server alone sends statefully.
    assert!(!stateful_pair().server.is_sealing_ahead());
    assert!(!Pair::with_mppe(policy(Demand::Off), policy(Demand::Off)).up().client.is_sealing_ahead());
}

#[test]
fn offers_of_the_peer_are_kept() {
    let mut pair = Pair::with_mppe(policy(Demand::Require), policy(Demand::Require)).open();
    assert_eq!(pair.client.offers(), (&[][..], None));
    pair.run(Duration::from_secs(5));
    let (auth, mppe) = pair.client.offers();
    assert_eq!((auth, mppe.as_deref()), (&["MS-CHAPv2".to_owned()][..], Some("MPPE-40/MPPE-56/MPPE-128")));
}

#[test]
fn clear_packets_are_refused_and_counted() {
    let mut pair = required();
    let mut clear = vec![0xFF, 0x03, 0x00, 0x21];
    clear.extend(ip(60, 1));
    pair.deliver(Side::Client, clear);
    assert!(pair.client_ip.is_empty());
    assert_eq!(pair.client.counters().dropped(LinkDrop::ClearRefused), 1);
}

#[test]
fn clear_packets_are_refused_before_encryption_is_decided() {
    let mut pair = Pair::with_mppe(policy(Demand::Require), policy(Demand::Require)).open();
    while !pair.client_events.iter().any(|event| matches!(event, LinkEvent::Authenticated { .. })) {
        pair.run(Duration::from_millis(1));
    }
    let clear = [&[0xFF, 0x03, 0x00, 0x21][..], &ip(60, 1)].concat();
    pair.deliver(Side::Client, clear);
    assert_eq!(pair.client.counters().dropped(LinkDrop::ClearRefused), 1);
}

/// A server that skips CCP has decided; where encryption is required, only its request is a reason to begin.
#[test]
fn address_packets_begin_the_negotiation_of_addresses_unless_encryption_is_required() {
    for (demand, begins) in [(Demand::Require, false), (Demand::Allow, true)] {
        let mut pair = Pair::with_mppe(policy(demand), policy(Demand::Require)).open();
        while !pair.client_events.iter().any(|event| matches!(event, LinkEvent::Authenticated { .. })) {
            pair.run(Duration::from_millis(1));
            pair.lose(Side::Server, protocol::CCP);
            pair.lose(Side::Server, protocol::IPCP);
        }
        pair.cut = [true, true];
        let stray = Packet { code: code::TERMINATE_ACK, id: 1, data: &[] }.to_vec();
        pair.deliver(Side::Client, control_frame(protocol::IPCP, &stray));
        pair.collect();
        let is_ipcp = |frame: &[u8]| frame.get(2..4) == Some(&protocol::IPCP.to_be_bytes()[..]);
        let sent = pair.tap.iter().any(|(from, frame)| *from == Side::Client && is_ipcp(frame));
        assert_eq!(sent, begins, "{demand:?}");
    }
}

#[test]
fn end_of_ccp_ends_a_link_that_requires_mppe() {
    for frame in [
        ccp(code::TERMINATE_REQUEST, 77, b"no more"),
        control_frame(protocol::LCP, &Packet { code: 8, id: 9, data: &[0x80, 0xFD, 1, 1, 0, 4] }.to_vec()),
        ccp(code::CODE_REJECT, 7, &[1, 1, 0, 4]),
    ] {
        let mut pair = required();
        pair.deliver(Side::Client, frame);
        assert!(
            pair.send_ip(Side::Client, &ip(60, 1)).is_err(),
            "a packet was accepted after the end of CCP"
        );
        pair.run(LONG);
        assert_eq!(pair.client_down(), Some(&DownReason::EncryptionLost));
        assert_eq!(pair.clear_frames(), 0);
    }
}

/// While encryption is negotiated, only what names MPPE is a refusal of it.
#[test]
fn end_of_the_negotiation_is_no_refusal() {
    let ended = |demand, text: &[u8]| {
        let mut pair = Pair::with_mppe(policy(demand), policy(demand)).open();
        while !pair.client_events.iter().any(|event| matches!(event, LinkEvent::Authenticated { .. })) {
            pair.run(Duration::from_millis(1));
        }
        pair.deliver(Side::Client, ccp(code::TERMINATE_REQUEST, 77, text));
        pair.run(LONG);
        pair
    };
    for (text, words) in [(&b""[..], "negotiation of encryption"), (b"out of memory", "out of memory")] {
        let pair = ended(Demand::Require, text);
        let Some(reason @ DownReason::EncryptionEnded(_)) = pair.client_down() else {
            panic!("{:?}", pair.client_events)
        };
        assert!(reason.to_string().contains(words), "{reason}");
        assert_eq!(pair.clear_frames(), 0);
    }
    for text in [b"MPPE required but not possible".to_vec(), windows_error(742)] {
        let pair = ended(Demand::Require, &text);
        assert!(
            matches!(pair.client_down(), Some(DownReason::EncryptionRefused(_))),
            "{:?}",
            pair.client_events
        );
    }
    assert!(ended(Demand::Allow, b"").client_up().is_some());
}

/// The data of a Terminate-Request of Windows with this error number.
fn windows_error(code: u32) -> Vec<u8> {
    [&[0x0D, 0x43, 0x12, 0x33, 0x00, 0x3C, 0xCD, 0x74][..], &code.to_be_bytes()].concat()
}

fn protocol_reject_of_ccp() -> Vec<u8> {
    control_frame(protocol::LCP, &Packet { code: 8, id: 9, data: &[0x80, 0xFD, 1, 1, 0, 4] }.to_vec())
}

/// Whether or not the profile requires encryption, any host can forge the packets that would end it.
#[test]
fn encrypted_link_does_not_go_on_in_clear() {
    let stateless = [18, 6, 0x01, 0, 0, 0x40];
    for (name, frame, answered) in [
        ("CCP Terminate-Request", ccp(code::TERMINATE_REQUEST, 77, b""), true),
        ("Protocol-Reject of CCP", protocol_reject_of_ccp(), true),
        ("Code-Reject of CCP", ccp(code::CODE_REJECT, 7, &[1, 1, 0, 4]), true),
        ("CCP without MPPE", ccp(code::CONFIGURE_REQUEST, 99, &[]), false),
        ("CCP that is not finished", ccp(code::CONFIGURE_REQUEST, 99, &stateless), false),
    ] {
        let mut pair = Pair::with_mppe(policy(Demand::Allow), policy(Demand::Allow)).up();
        pair.cut = [!answered; 2];
        pair.deliver(Side::Client, frame);
        for _ in 0..40 {
            pair.collect();
            let mut clear = vec![0xFF, 0x03, 0x00, 0x21];
            clear.extend(ip(60, 1));
            pair.deliver(Side::Client, clear);
            assert!(pair.client_ip.is_empty(), "{name}: a clear packet was accepted");
            if let Ok(()) = pair.send_ip(Side::Client, &ip(60, 1)) {
                assert_eq!(pair.clear_frames(), 0, "{name}: a clear packet was sent");
            }
            pair.run(Duration::from_secs(1));
        }
        assert_eq!(pair.client_down(), Some(&DownReason::EncryptionLost), "{name}");
    }
}

#[test]
fn renegotiation_of_lcp_does_not_lead_to_clear_packets() {
    let mut pair = Pair::with_mppe(policy(Demand::Allow), policy(Demand::Allow)).up();
    pair.server.restart_lcp(pair.now);
    let authenticated =
        |pair: &Pair| matches!(pair.client_events.last(), Some(LinkEvent::Authenticated { .. }));
    while !authenticated(&pair) {
        pair.collect();
        pair.run(Duration::from_millis(1));
    }
    pair.deliver(Side::Client, protocol_reject_of_ccp());
    pair.run(LONG);
    assert_eq!(pair.client_down(), Some(&DownReason::EncryptionLost));
    assert_eq!(pair.clear_frames(), 0);
}

/// What an attacker gains by a renegotiation is a lost link, not one that was never encrypted.
#[test]
fn encryption_that_does_not_come_back_after_a_renegotiation_is_lost() {
    let mut pair = required();
    pair.server.restart_lcp(pair.now);
    while !matches!(pair.client_events.last(), Some(LinkEvent::Authenticated { .. })) {
        pair.collect();
        pair.run(Duration::from_millis(1));
    }
    pair.cut = [true, true];
    for _ in 0..60 {
        pair.run(Duration::from_secs(1));
        pair.collect();
    }
    assert_eq!(pair.client_down(), Some(&DownReason::EncryptionLost));
    assert_eq!(pair.clear_frames(), 0);
}

/// A server that starts CCP late: what was reported as clear is reported again with its encryption and MTU.
#[test]
fn encryption_that_begins_late_is_reported() {
    let mut pair = Pair::with_mppe(policy(Demand::Allow), policy(Demand::Allow)).open();
    while pair.client_up().is_none() {
        pair.run(Duration::from_millis(5));
        pair.lose(Side::Client, protocol::CCP);
        pair.lose(Side::Server, protocol::CCP);
    }
    let first = pair.client_up().unwrap().clone();
    assert_eq!(first.mppe, None);
    pair.run(LONG);
    let second = pair.client_up().unwrap();
    assert_eq!(second.mppe, Some(Mppe { strength: Strength::Bits128, stateful: false }));
    assert_eq!(second.mtu, first.mtu - 4);
    assert_eq!(second.mtu, pair.client.mtu());
}

#[test]
fn ccp_renegotiation_holds_back_data() {
    for demand in [Demand::Require, Demand::Allow] {
        let mut pair = Pair::with_mppe(policy(demand), policy(demand)).up();
        let request = [18, 6, 0x01, 0, 0, 0x40];
        pair.deliver(Side::Client, ccp(code::CONFIGURE_REQUEST, 99, &request));
        assert_eq!(pair.send_ip(Side::Client, &ip(60, 1)), Err(LinkDrop::EncryptionPending));
        pair.collect();
        // Our request makes the server renegotiate too; the next packet is encrypted with new state.
        pair.run(Duration::from_secs(5));
        pair.send_ip(Side::Client, &ip(60, 2)).unwrap();
        pair.send_ip(Side::Server, &ip(60, 3)).unwrap();
        pair.run(Duration::from_secs(1));
        assert_eq!(pair.server_ip, [ip(60, 2)], "{demand:?}");
        assert_eq!(pair.client_ip, [ip(60, 3)], "{demand:?}");
        assert_eq!(pair.clear_frames(), 0);
    }
}

#[test]
fn unfinished_ccp_renegotiation_ends_the_link() {
    let mut pair = required();
    pair.cut = [true, true];
    pair.deliver(Side::Client, ccp(code::CONFIGURE_REQUEST, 99, &[18, 6, 0x01, 0, 0, 0x40]));
    for _ in 0..40 {
        pair.run(Duration::from_secs(1));
        assert!(pair.send_ip(Side::Client, &ip(60, 1)).is_err());
    }
    assert_eq!(pair.client_down(), Some(&DownReason::EncryptionLost));
    assert_eq!(pair.clear_frames(), 0);
}

#[test]
fn endless_ccp_renegotiation_ends_the_link() {
    let mut pair = required();
    for round in 0..40_u8 {
        pair.deliver(Side::Client, ccp(code::CONFIGURE_REQUEST, 100 + round, &[18, 6, 0x01, 0, 0, 0x40]));
        pair.run(Duration::from_secs(5));
    }
    assert_eq!(pair.client_down(), Some(&DownReason::EncryptionLost));
}

#[test]
fn unanswered_ccp_times_out() {
    for (demand, expected) in [(Demand::Allow, true), (Demand::Require, false)] {
        let mut pair = Pair::new(
            LinkConfig { mppe: policy(demand), ..client_config() },
            LinkConfig { mppe: policy(Demand::Allow), ..server_config() },
        )
        .open();
        // All CCP frames are lost; IPCP frames arrive.
        for _ in 0..8000 {
            pair.run(Duration::from_millis(5));
            pair.lose(Side::Client, protocol::CCP);
            pair.lose(Side::Server, protocol::CCP);
        }
        assert_eq!(pair.client_up().is_some(), expected, "{demand:?}: {:?}", pair.client_events);
        if demand == Demand::Require {
            assert!(matches!(pair.client_down(), Some(DownReason::PeerTerminated(_))));
        }
    }
}

#[test]
fn stateful_mode_recovers_from_loss_by_reset() {
    let mut pair = stateful_pair();
    for number in 0..200_u8 {
        pair.path.loss = if number % 20 == 10 { 1000 } else { 0 };
        pair.send_ip(Side::Server, &ip(100, number)).unwrap_or_else(|reason| {
            panic!("{number} {reason} {:?} {:?}", pair.client_events, pair.server_events)
        });
        pair.path.loss = 0;
        pair.run(Duration::from_millis(100));
    }
    assert_eq!(pair.client.counters().resets_sent, 10, "{:?}", pair.client);
    // For each loss, the lost packet and the one that revealed the loss are missing.
    assert!(pair.client_ip.len() >= 180, "{}", pair.client_ip.len());
    assert!(pair.client_down().is_none());
}

#[test]
fn lost_reset_request_is_repeated() {
    let mut pair = stateful_pair();
    pair.cut = [true, true];
    pair.send_ip(Side::Server, &ip(100, 1)).unwrap();
    pair.cut = [true, false];
    for number in 0..20 {
        pair.send_ip(Side::Server, &ip(100, number)).unwrap();
        pair.run(Duration::from_millis(100));
    }
    assert!(pair.client_ip.is_empty());
    assert!((2..=3).contains(&pair.client.counters().resets_sent), "{}", pair.client.counters().resets_sent);
    pair.cut = [false, false];
    for number in 0..20 {
        pair.send_ip(Side::Server, &ip(100, number)).unwrap();
        pair.run(Duration::from_millis(100));
    }
    assert!(pair.client_ip.len() > 10);
}

/// Returns a pair with both sides stateful: the stateless request of each is lost, and nakked in the other's
/// name.
fn stateful_pair() -> Pair {
    let policy = Policy { stateful: true, ..only(Strength::Bits128) };
    let mut pair = Pair::with_mppe(policy, policy).open();
    for side in [Side::Client, Side::Server] {
        let request = loop {
            pair.run(Duration::from_millis(1));
            if let Some(request) = pair.lose(side, protocol::CCP).pop() {
                break request;
            }
        };
        let nak = ccp(code::CONFIGURE_NAK, request[5], &[18, 6, 0, 0, 0, 0x40]);
        pair.deliver(side, nak);
        pair.collect();
    }
    pair.run(Duration::from_secs(5));
    assert_eq!(
        pair.client_events.iter().rev().find_map(|event| match event {
            LinkEvent::Encryption(mppe) => Some(*mppe),
            _ => None,
        }),
        Some(Some(Mppe { strength: Strength::Bits128, stateful: true }))
    );
    pair
}

/// IPCP may open before MPPE: nothing is up, and no packet passes in either direction.
#[test]
fn open_ipcp_has_no_effect_before_mppe_is_open() {
    for demand in [Demand::Require, Demand::Allow] {
        let mut pair = Pair::with_mppe(policy(Demand::Require), policy(demand)).open();
        let mut clear = vec![0xFF, 0x03, 0x00, 0x21];
        clear.extend(ip(60, 1));
        for _ in 0..8000 {
            pair.run(Duration::from_millis(5));
            // The peer's CCP requests arrive, so that IPCP goes on; our answers and requests do not.
            pair.lose(Side::Client, protocol::CCP);
            assert!(pair.send_ip(Side::Client, &ip(60, 1)).is_err());
            pair.deliver(Side::Client, clear.clone());
        }
        let acked =
            |(from, frame): &(Side, Vec<u8>)| *from == Side::Server && frame[4] == code::CONFIGURE_ACK;
        assert!(pair.of_protocol(&[protocol::IPCP]).iter().any(acked), "{demand:?}: IPCP did not go on");
        assert!(pair.client_up().is_none() && pair.client_ip.is_empty(), "{demand:?}");
        assert!(!pair.client_events.iter().any(|event| matches!(event, LinkEvent::Encryption(_))));
        assert!(pair.client_down().is_some(), "{demand:?}");
        let from_client = |(from, _): &(Side, Vec<u8>)| *from == Side::Client;
        assert!(!pair.of_protocol(&[protocol::IPV4, protocol::IPV6]).iter().any(from_client), "{demand:?}");
    }
}

/// The end of IPCP and refused addresses are reported once encryption is decided, which has precedence.
#[test]
fn refused_encryption_is_reported_before_a_refused_address() {
    let reject =
        |id| control_frame(protocol::IPCP, &Packet { code: 4, id, data: &[3, 6, 0, 0, 0, 0] }.to_vec());
    let terminate = control_frame(protocol::IPCP, &Packet { code: 5, id: 7, data: b"no" }.to_vec());
    for is_refused in [true, false] {
        for frame in [None, Some(terminate.clone())] {
            let mut pair = Pair::with_mppe(policy(Demand::Require), policy(Demand::Require)).open();
            while pair.of_protocol(&[protocol::IPCP]).iter().all(|(from, _)| *from == Side::Server) {
                pair.run(Duration::from_millis(1));
            }
            let ours = pair.of_protocol(&[protocol::IPCP]);
            let id = ours.iter().find(|(from, _)| *from == Side::Client).unwrap().1[5];
            pair.deliver(Side::Client, frame.unwrap_or_else(|| reject(id)));
            pair.collect();
            assert_eq!(pair.client_down(), None, "before encryption is decided");
            if is_refused {
                pair.deliver(Side::Client, protocol_reject_of_ccp());
            }
            pair.run(LONG);
            match (is_refused, pair.client_down()) {
                (true, Some(DownReason::EncryptionRefused(_))) | (false, Some(DownReason::NoAddress(_))) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}
