//! Links that end, renegotiate or receive nothing.

use std::time::Duration;

use super::pair::{Pair, Side, client_config, ip, policy, server_config};
use crate::ppp::{
    link::{DownReason, Echo, LinkConfig, LinkDrop, LinkEvent, Phase, Role, config::Timing},
    mppe::Demand,
    wire::{Packet, code, control_frame, protocol},
};

const LONG: Duration = Duration::from_secs(300);

fn both() -> Pair {
    Pair::new(client_config(), server_config())
}

fn lcp(code: u8, id: u8, data: &[u8]) -> Vec<u8> {
    control_frame(protocol::LCP, &Packet { code, id, data }.to_vec())
}

#[test]
fn graceful_shutdown_is_acknowledged_at_once() {
    let mut pair = both().up();
    let closed = pair.now;
    pair.client.close(pair.now, DownReason::Closed);
    pair.collect();
    assert_eq!(pair.client.phase(), Phase::Terminate);
    assert!(pair.send_ip(Side::Client, &ip(40, 1)).is_err());
    while pair.client_down().is_none() {
        pair.run(Duration::from_millis(1));
    }
    assert!(pair.now - closed < Duration::from_millis(50));
    assert_eq!(pair.client_down(), Some(&DownReason::Closed));
    assert_eq!(pair.server_down(), Some(&DownReason::PeerTerminated("User request".to_owned())));
}

/// Any host can forge a Terminate-Request: what it says of encryption counts only while that is negotiated.
#[test]
fn words_on_encryption_are_no_refusal_before_and_after_its_negotiation() {
    let words = b"MPPE required but not possible";
    let ended = |ready: fn(&Pair) -> bool| {
        let mut pair = Pair::with_mppe(policy(Demand::Require), policy(Demand::Require)).open();
        while !ready(&pair) {
            pair.run(Duration::from_millis(1));
        }
        pair.deliver(Side::Client, lcp(code::TERMINATE_REQUEST, 77, words));
        pair.collect();
        pair.client_down().cloned()
    };
    let authenticates = |pair: &Pair| pair.client.phase() == Phase::Authenticate;
    let negotiates = |pair: &Pair| pair.client.phase() == Phase::Network;
    let is_up = |pair: &Pair| pair.client_up().is_some();
    assert!(matches!(ended(authenticates), Some(DownReason::PeerTerminated(_))));
    assert!(matches!(ended(negotiates), Some(DownReason::EncryptionRefused(_))));
    assert!(matches!(ended(is_up), Some(DownReason::PeerTerminated(_))));
}

#[test]
fn graceful_shutdown_is_bounded_by_the_limit() {
    let mut pair = both().up();
    pair.cut = [true, true];
    pair.client.close(pair.now, DownReason::Closed);
    pair.run(Timing::default().terminate);
    assert_eq!(pair.client_down(), Some(&DownReason::Closed));
    assert_eq!(pair.client.next_timeout(), None);
}

#[test]
fn close_and_lower_down_at_any_time_report_one_end() {
    for millis in 0..150 {
        let mut pair = both().open();
        pair.run(Duration::from_millis(millis));
        pair.client.close(pair.now, DownReason::Closed);
        pair.client.close(pair.now, DownReason::EchoTimeout);
        pair.server.lower_down(pair.now);
        pair.server.lower_down(pair.now);
        pair.run(LONG);
        assert_eq!(pair.client_down(), Some(&DownReason::Closed), "{millis}");
        assert_eq!(pair.server_down(), Some(&DownReason::LowerLayerDown), "{millis}");
    }
    let mut pair = both();
    pair.client.close(pair.now, DownReason::Closed);
    pair.collect();
    assert_eq!(pair.client_down(), Some(&DownReason::Closed));
}

#[test]
fn lcp_timeout_reports_whether_the_peer_sent_anything() {
    let limit = Duration::from_secs(8);
    let config = || LinkConfig { timing: Timing { lcp: limit, ..Timing::default() }, ..client_config() };
    let mut pair = Pair::new(config(), server_config()).open();
    pair.cut = [true, true];
    pair.lose(Side::Server, protocol::LCP);
    pair.run(limit);
    assert_eq!(pair.client_down(), Some(&DownReason::LcpTimeout { heard_anything: false }));
    let times = pair.of_protocol(&[protocol::LCP]).iter().filter(|(from, _)| *from == Side::Client).count();
    assert_eq!(times, 4, "at 0, 1, 3 and 6 seconds");

    let mut pair = Pair::new(config(), server_config()).open();
    pair.cut = [true, false];
    pair.lose(Side::Client, protocol::LCP);
    pair.run(limit);
    assert_eq!(pair.client_down(), Some(&DownReason::LcpTimeout { heard_anything: true }));
}

#[test]
fn long_lcp_limit_is_kept() {
    let limit = Duration::from_secs(120);
    let config = LinkConfig { timing: Timing { lcp: limit, ..Timing::default() }, ..client_config() };
    let mut pair = Pair::new(config, server_config()).open();
    pair.cut = [true, true];
    pair.run(limit - Duration::from_millis(1));
    assert!(pair.client_down().is_none());
    pair.run(Duration::from_millis(1));
    assert!(pair.client_down().is_some());
}

#[test]
fn dead_peer_is_detected_by_echo() {
    let echo = Some(Echo { interval: Duration::from_secs(10), failures: 3 });
    let mut pair = Pair::new(LinkConfig { echo, ..client_config() }, server_config()).up();
    pair.run(Duration::from_secs(60));
    assert!(pair.client.counters().echoes_answered >= 5);
    pair.cut = [false, true];
    let silent = pair.now;
    while pair.client_down().is_none() {
        pair.run(Duration::from_millis(100));
    }
    assert_eq!(pair.client_down(), Some(&DownReason::EchoTimeout));
    let took = pair.now - silent;
    assert!(took >= Duration::from_secs(30) && took <= Duration::from_secs(51), "{took:?}");
    // The peer, which still receives our frames, gets a Terminate-Request.
    pair.run(Duration::from_secs(1));
    assert!(matches!(pair.server_down(), Some(DownReason::PeerTerminated(_))));
}

#[test]
fn sending_peer_gets_no_echo_request() {
    let echo = Some(Echo { interval: Duration::from_secs(10), failures: 3 });
    let mut pair =
        Pair::new(LinkConfig { echo, ..client_config() }, LinkConfig { echo: None, ..server_config() }).up();
    for number in 0..30 {
        pair.send_ip(Side::Server, &ip(40, number)).unwrap();
        pair.run(Duration::from_secs(5));
    }
    assert_eq!(pair.client.counters().echoes_sent, 0);
}

#[test]
fn code_reject_of_echo_stops_echo() {
    let echo = Some(Echo { interval: Duration::from_secs(10), failures: 3 });
    let mut pair = Pair::new(LinkConfig { echo, ..client_config() }, server_config()).up();
    pair.deliver(Side::Client, lcp(code::CODE_REJECT, 3, &[9, 1, 0, 8, 0, 0, 0, 0]));
    pair.cut = [true, true];
    pair.run(LONG);
    assert_eq!(pair.client.counters().echoes_sent, 0);
    assert!(pair.client_down().is_none());
}

#[test]
fn link_comes_up_again_after_the_peer_restarts_lcp() {
    for demand in [Demand::Require, Demand::Off] {
        let mut pair = Pair::with_mppe(policy(demand), policy(demand)).up();
        // The server restarts its LCP with a new request.
        pair.server.restart_lcp(pair.now);
        pair.collect();
        pair.run(Duration::from_millis(15));
        assert!(pair.client_events.contains(&LinkEvent::Renegotiating));
        assert!(pair.send_ip(Side::Client, &ip(40, 1)).is_err());
        pair.run(Duration::from_secs(10));
        let ups = pair.client_events.iter().filter(|event| matches!(event, LinkEvent::Up(_))).count();
        assert_eq!(ups, 2, "{:?}", pair.client_events);
        pair.send_ip(Side::Client, &ip(40, 2)).unwrap();
        pair.run(Duration::from_secs(1));
        assert_eq!(pair.server_ip, [ip(40, 2)]);
        assert_eq!(pair.clear_frames(), usize::from(demand == Demand::Off));
    }
}

#[test]
fn endless_lcp_restarts_end_the_link() {
    let mut pair = both().open();
    for round in 0..10 {
        let began = |pair: &Pair| {
            pair.client_events.iter().filter(|event| matches!(event, LinkEvent::LcpUp { .. })).count()
        };
        while began(&pair) <= round && pair.client_down().is_none() {
            pair.run(Duration::from_millis(5));
            pair.lose(Side::Client, protocol::CHAP);
            pair.lose(Side::Server, protocol::CHAP);
        }
        pair.server.restart_lcp(pair.now);
        pair.collect();
    }
    let Some(DownReason::LcpRefused(words)) = pair.client_down() else { panic!("{:?}", pair.client_events) };
    assert!(words.contains("keeps restarting"), "{words}");
}

#[test]
fn loop_is_detected_by_magic_number_and_by_echo() {
    let mut pair = both();
    pair.client.open(pair.now);
    for _ in 0..50 {
        while let Some(mut frame) = pair.client.poll_output() {
            pair.client.handle_input(pair.now, &mut frame);
        }
        pair.now += Duration::from_millis(20);
    }
    pair.collect();
    assert_eq!(pair.client_down(), Some(&DownReason::Looped));

    let echo = Some(Echo { interval: Duration::from_secs(10), failures: 3 });
    let mut pair =
        Pair::new(LinkConfig { echo, ..client_config() }, LinkConfig { echo: None, ..server_config() }).up();
    let quiet = pair.tap.len();
    pair.run(Duration::from_secs(11));
    let (_, echo) = pair.tap[quiet].clone();
    pair.deliver(Side::Client, echo);
    pair.collect();
    assert_eq!(pair.client_down(), Some(&DownReason::Looped));
}

#[test]
fn text_of_the_peers_terminate_request_is_reported() {
    let mut pair = both().up();
    pair.deliver(Side::Client, lcp(code::TERMINATE_REQUEST, 1, b"Link inactive\x07"));
    pair.collect();
    assert_eq!(pair.client_down(), Some(&DownReason::PeerTerminated("Link inactive".to_owned())));
    // The request was acknowledged before the link ended.
    assert_eq!(pair.tap.last().unwrap().1[4], code::TERMINATE_ACK);
}

#[test]
fn stale_terminate_request_is_ignored() {
    let mut pair = both();
    pair.client.open(pair.now);
    pair.deliver(Side::Client, lcp(code::TERMINATE_REQUEST, 1, b""));
    pair.collect();
    assert!(pair.client_down().is_none());
    pair.server.open(pair.now);
    pair.collect();
    pair.run(Duration::from_secs(10));
    assert!(pair.client_up().is_some());
}

#[test]
fn mppe_required_text_of_pppd_is_an_encryption_refusal() {
    let mut pair = Pair::with_mppe(policy(Demand::Off), policy(Demand::Allow)).open();
    while !pair.client_events.iter().any(|event| matches!(event, LinkEvent::Authenticated { .. })) {
        pair.run(Duration::from_millis(1));
    }
    let words = b"MPPE required but peer negotiation failed";
    pair.deliver(Side::Client, lcp(code::TERMINATE_REQUEST, 5, words));
    pair.collect();
    assert!(matches!(pair.client_down(), Some(DownReason::EncryptionRefused(_))));
}

#[test]
fn server_without_an_address_is_reported() {
    let mut config = server_config();
    if let Role::Server(server) = &mut config.role {
        server.peer = std::net::Ipv4Addr::UNSPECIFIED;
    }
    let mut pair = Pair::new(client_config(), config).open();
    pair.run(LONG);
    let Some(DownReason::NoAddress(words)) = pair.client_down() else { panic!("{:?}", pair.client_events) };
    assert!(words.contains("0.0.0.0"), "{words}");
}

#[test]
fn rejected_lcp_is_not_taken_for_an_end_by_this_side() {
    let mut pair = Pair::with_mppe(policy(Demand::Off), policy(Demand::Off)).open();
    while pair.lose(Side::Client, protocol::IPCP).is_empty() {
        pair.run(Duration::from_millis(1));
    }
    pair.deliver(Side::Client, lcp(code::PROTOCOL_REJECT, 9, &[0xC0, 0x21, 1, 1, 0, 4]));
    pair.run(LONG);
    let Some(DownReason::LcpRefused(words)) = pair.client_down() else { panic!("{:?}", pair.client_events) };
    assert!(words.contains("rejects LCP"), "{words}");
}

#[test]
fn ipcp_rejected_ended_or_silent_gives_no_address() {
    let at_network = || {
        let mut pair = Pair::with_mppe(policy(Demand::Off), policy(Demand::Off)).open();
        while pair.lose(Side::Client, protocol::IPCP).is_empty() {
            pair.run(Duration::from_millis(1));
        }
        pair
    };
    let reject = lcp(code::PROTOCOL_REJECT, 9, &[0x80, 0x21, 1, 1, 0, 4]);
    let ended = control_frame(protocol::IPCP, &[5, 9, 0, 4]);
    for (frame, words) in [(reject, "rejects IPCP"), (ended, "ended IPCP")] {
        let mut pair = at_network();
        pair.deliver(Side::Client, frame);
        pair.run(LONG);
        let Some(DownReason::NoAddress(reason)) = pair.client_down() else {
            panic!("{:?}", pair.client_events)
        };
        assert!(reason.contains(words), "{reason}");
    }
    let mut pair = at_network();
    let began = pair.now;
    pair.cut = [true, true];
    while pair.client_down().is_none() {
        pair.run(Duration::from_millis(100));
    }
    assert!(matches!(pair.client_down(), Some(DownReason::NoAddress(_))), "{:?}", pair.client_down());
    assert!(pair.now - began <= Timing::default().network + Timing::default().terminate);
}

#[test]
fn ipcp_termination_ends_a_link_that_is_up() {
    let mut pair = both().up();
    pair.deliver(Side::Client, control_frame(protocol::IPCP, &[5, 9, 0, 4]));
    pair.run(LONG);
    assert!(matches!(pair.client_down(), Some(DownReason::PeerTerminated(_))));
}

#[test]
fn link_comes_up_again_after_ipcp_renegotiation() {
    let mut pair = Pair::with_mppe(policy(Demand::Require), policy(Demand::Require)).up();
    pair.deliver(Side::Client, control_frame(protocol::IPCP, &[1, 99, 0, 10, 3, 6, 10, 9, 0, 1]));
    assert_eq!(pair.send_ip(Side::Client, &ip(40, 1)), Err(LinkDrop::NotUp));
    pair.run(Duration::from_secs(10));
    assert_eq!(pair.client_events.iter().filter(|event| matches!(event, LinkEvent::Up(_))).count(), 2);
    pair.send_ip(Side::Client, &ip(40, 1)).unwrap();
}

#[test]
fn rejected_data_ends_the_link_unless_the_peer_still_sends_data() {
    let reject = || lcp(code::PROTOCOL_REJECT, 9, &[0x00, 0xFD, 0x90, 0x00]);
    for peer_sends in [true, false] {
        let mut pair = Pair::with_mppe(policy(Demand::Require), policy(Demand::Require)).open().up();
        for _ in 0..4 {
            pair.deliver(Side::Client, reject());
            pair.run(Duration::from_secs(1));
            if peer_sends {
                pair.send_ip(Side::Server, &ip(100, 1)).unwrap();
                pair.run(Duration::from_millis(10));
            }
        }
        let wanted = (!peer_sends).then_some(&DownReason::DataRejected);
        assert_eq!(pair.client_down(), wanted, "peer sends: {peer_sends}");
    }
}

#[test]
fn unrelated_rejects_of_data_do_not_end_the_link() {
    let mut pair = Pair::with_mppe(policy(Demand::Require), policy(Demand::Require)).open().up();
    for _ in 0..3 {
        pair.deliver(Side::Client, lcp(code::PROTOCOL_REJECT, 9, &[0x00, 0xFD, 0x90, 0x00]));
        pair.run(Duration::from_secs(60));
    }
    assert_eq!(pair.client_down(), None);
}

#[test]
fn renegotiation_during_authentication_sends_no_second_login() {
    let mut pair = Pair::with_auth(
        &[crate::ppp::auth::AuthProtocol::MsChapV2],
        &[crate::ppp::auth::AuthProtocol::MsChapV2],
    )
    .open();
    while !pair.client.is_login_pending() {
        pair.run(Duration::from_millis(1));
    }
    // Any host can forge this.
    pair.deliver(Side::Client, lcp(code::CONFIGURE_REQUEST, 77, &[]));
    pair.run(LONG);
    assert!(matches!(pair.client_down(), Some(DownReason::LcpRefused(_))), "{:?}", pair.client_down());
    assert!(pair.client.is_login_pending(), "the session counts it as a log-in");
}

#[test]
fn end_without_a_message_of_the_peer_ends_without_a_colon() {
    for (reason, words) in [
        (DownReason::EncryptionEnded(String::new()), "the peer ended the negotiation of encryption"),
        (DownReason::EncryptionEnded("no".to_owned()), "the peer ended the negotiation of encryption: no"),
        (DownReason::PeerTerminated(String::new()), "the peer ended the link"),
        (DownReason::PeerTerminated("bye".to_owned()), "the peer ended the link: bye"),
    ] {
        assert_eq!(reason.to_string(), words);
    }
}
