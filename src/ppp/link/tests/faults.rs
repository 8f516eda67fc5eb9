//! Loss, duplication, reordering and high latency: the link still comes up, and sends nothing in clear.

use std::time::Duration;

use super::pair::{Pair, PathConditions, Side, ip, policy};
use crate::ppp::{auth::AuthProtocol, link::LinkConfig, mppe::Demand};

#[test]
fn link_comes_up_despite_loss_and_reordering() {
    let mut failed = 0;
    for dice in 0..60 {
        for demand in [Demand::Require, Demand::Off] {
            let mut pair = Pair::with_mppe(policy(demand), policy(demand)).seeded(dice);
            pair.path = PathConditions {
                latency: Duration::from_millis(20),
                loss: 100,
                duplication: 100,
                reordering: 100,
            };
            let mut pair = pair.open();
            pair.run(Duration::from_secs(60));
            let is_up = pair.client_up().is_some();
            failed += u32::from(!is_up);
            if demand == Demand::Require {
                assert_eq!(pair.clear_frames(), 0, "{dice}");
            }
        }
    }
    // A loss of 10 % may break a negotiation of twenty frames, but rarely.
    assert!(failed <= 6, "{failed} of 120");
}

#[test]
fn link_comes_up_with_every_frame_duplicated() {
    for auth in AuthProtocol::ALL {
        let mut pair = Pair::with_auth(&[auth], &[auth]);
        pair.path.duplication = 1000;
        let mut pair = pair.open();
        pair.run(Duration::from_secs(30));
        assert!(pair.client_up().is_some(), "{auth}: {:?}", pair.client_events);
    }
}

#[test]
fn link_comes_up_on_high_latency_paths() {
    for latency in [300, 700, 1400] {
        let mut pair = Pair::with_mppe(policy(Demand::Require), policy(Demand::Require));
        pair.path.latency = Duration::from_millis(latency);
        let mut pair = pair.open();
        pair.run(Duration::from_secs(60));
        assert!(pair.client_up().is_some(), "{latency} ms: {:?}", pair.client_events);
        pair.send_ip(Side::Client, &ip(500, 3)).unwrap();
        pair.run(Duration::from_secs(5));
        assert_eq!(pair.server_ip.len(), 1);
    }
}

#[test]
fn late_peer_does_not_wait_for_a_retransmission() {
    // pptpd with a connect delay receives nothing at first.
    let mut pair =
        Pair::new(super::pair::client_config(), LinkConfig { ipv6: true, ..super::pair::server_config() });
    pair.client.open(pair.now);
    pair.collect();
    pair.lose(Side::Client, crate::ppp::wire::protocol::LCP);
    pair.run(Duration::from_millis(900));
    pair.server.open(pair.now);
    pair.collect();
    let opened = pair.now;
    while pair.client_up().is_none() {
        pair.run(Duration::from_millis(1));
    }
    assert!(pair.now - opened < Duration::from_millis(300), "{:?}", pair.now - opened);
}

#[test]
fn encrypted_data_survives_loss_and_duplication() {
    let mut pair = Pair::with_mppe(policy(Demand::Require), policy(Demand::Require)).up();
    pair.path =
        PathConditions { latency: Duration::from_millis(5), loss: 100, duplication: 50, reordering: 0 };
    for number in 0..2000_u16 {
        let [_, fill] = number.to_be_bytes();
        pair.send_ip(Side::Server, &ip(200, fill)).unwrap();
    }
    pair.run(Duration::from_secs(2));
    assert!(pair.client_ip.len() > 1700, "{}", pair.client_ip.len());
    assert!(
        pair.client_ip
            .iter()
            .all(|packet| packet.len() == 200 && packet[4..].iter().all(|b| *b == packet[1]))
    );
}
