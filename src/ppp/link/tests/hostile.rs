//! Arbitrary bytes and operations, against a link in any phase.

use std::time::Duration;

use proptest::{collection::vec, prelude::*};

use super::pair::{Pair, Side, client_config, ip, policy, server_config};
use crate::ppp::{
    link::{LinkConfig, LinkDrop, Received, fuzz},
    mppe::Demand,
    wire::{Packet, control_frame, protocol},
};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn link_accepts_arbitrary_operations(data in vec(any::<u8>(), 0..800)) {
        fuzz::drive(&data);
    }

    #[test]
    fn link_accepts_arbitrary_packets_while_up(role in any::<u8>(), packets in vec((0..12_u8, any::<u8>(), any::<u8>(), vec(any::<u8>(), 0..20)), 0..60)) {
        let mut script = vec![role, 4];
        script.extend([4; 60]);
        for (number, code, id, data) in packets {
            script.extend([1, number, code, id, u8::try_from(data.len()).unwrap()]);
            script.extend(data);
            script.extend([4, 6, 40]);
        }
        fuzz::drive(&script);
    }

    #[test]
    fn link_accepts_arbitrary_frames(frames in vec(vec(any::<u8>(), 0..100), 1..40), required in any::<bool>()) {
        let demand = if required { Demand::Require } else { Demand::Off };
        let mut pair = Pair::with_mppe(policy(demand), policy(demand)).up();
        for mut frame in frames {
            let received = pair.client.handle_input(pair.now, &mut frame);
            if let Received::Ip(packet) = received {
                prop_assert!(matches!(packet.first().map(|first| first >> 4), Some(4)));
            }
        }
        pair.collect();
        pair.run(Duration::from_secs(1));
        prop_assert!(pair.tap.len() < 400);
    }
}

#[test]
fn answers_to_a_flood_of_requests_are_bounded() {
    let mut pair = Pair::new(client_config(), server_config()).up();
    for round in 0..10_000_u32 {
        let [.., high, low] = round.to_be_bytes();
        let number = [protocol::IPCP, protocol::CCP, protocol::LCP, 0x8235][usize::from(low % 4)];
        let packet = Packet { code: high % 16, id: low, data: &[3, 6, 10, 0, high, low] };
        pair.client.handle_input(pair.now, &mut control_frame(number, &packet.to_vec()));
    }
    // Nothing was fetched during the loop.
    let mut waiting = 0;
    while pair.client.poll_output().is_some() {
        waiting += 1;
    }
    assert!(waiting <= 64, "{waiting}");
}

#[test]
fn drops_from_a_full_queue_are_counted() {
    let mut pair = Pair::new(client_config(), server_config()).up();
    for _ in 0..100 {
        pair.client.handle_input(pair.now, &mut control_frame(0x8235, &[0; 8]));
    }
    assert_eq!(pair.client.counters().dropped(LinkDrop::QueueFull), 36);
}

#[test]
fn truncated_and_bit_flipped_frames_do_no_harm() {
    let pair = Pair::with_mppe(policy(Demand::Require), policy(Demand::Require)).up();
    let frames: Vec<_> =
        pair.tap.iter().filter(|(from, _)| *from == Side::Server).map(|(_, f)| f.clone()).collect();
    for (at, frame) in frames.iter().enumerate() {
        for change in 0..frame.len() * 9 {
            let mut pair = Pair::with_mppe(policy(Demand::Require), policy(Demand::Require)).open();
            for _ in 0..at {
                pair.run(Duration::from_millis(10));
            }
            let mut broken = frame.clone();
            if change < frame.len() {
                broken.truncate(change);
            } else {
                let bit = change - frame.len();
                broken[bit / 8] ^= 1 << (bit % 8);
            }
            pair.deliver(Side::Client, broken);
            pair.collect();
            let mut out = [0; 100];
            if let Ok(length) = pair.client.encapsulate(&ip(40, 1), &mut out) {
                assert_eq!(out[0], 0xFD, "{length}");
            }
        }
    }
}

#[test]
fn handle_timeout_does_nothing_before_the_deadline() {
    let mut pair = Pair::new(client_config(), LinkConfig { ipv6: true, ..server_config() }).open();
    for _ in 0..60 {
        let due = pair.client.next_timeout();
        let before = format!("{:?}", pair.client);
        pair.client.handle_timeout(pair.now);
        assert!(pair.client.poll_output().is_none() && pair.client.poll_event().is_none());
        assert_eq!(format!("{:?}", pair.client), before);
        assert_eq!(pair.client.next_timeout(), due);
        pair.run(Duration::from_millis(3));
    }
}
