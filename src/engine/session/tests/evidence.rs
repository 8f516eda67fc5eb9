//! Failures state what was seen: GRE packets and control messages, and what the server repeated.

use super::*;
use crate::failure::Evidence;

/// Type of the Outgoing-Call-Reply, at byte 8 of the message (RFC 2637 §2.8).
const OCRP: [u8; 2] = [0, 8];

fn evidence(failure: &Failure) -> Evidence {
    *failure.evidence.clone().unwrap_or_else(|| panic!("no evidence: {failure}"))
}

#[test]
fn gre_dropped_on_the_way_to_the_server_is_an_outbound_block() {
    let world = run_with(ServerFault::DeafGre);
    let (at, failure) = world.failure();
    assert_eq!((failure.kind, failure.phase), (FailureKind::GreFiltered, Phase::Lcp), "{failure}");
    assert_eq!(failure.remedy(), Remedy::AnotherServer);
    let seen = evidence(failure);
    assert!(seen.lcp_requests >= 3 && seen.gre_sent > 3, "{seen:?}");
    assert_eq!((seen.gre_acknowledged, seen.lcp_replies, seen.gre_refused), (0, 0, 0));
    for words in [
        "the server does not hear our GRE".to_owned(),
        format!("{} LCP Configure-Requests", seen.lcp_requests),
        format!("none of the {} packets", seen.gre_sent),
        "the block is outbound".to_owned(),
    ] {
        assert!(failure.detail.contains(&words), "{words}: {failure}");
    }
    assert!(*at < Duration::from_secs(9 + 4), "after the limit of LCP: {at:?}");
}

#[test]
fn call_that_ends_before_any_ppp_points_to_the_servers_daemon() {
    let notified = run_with(ServerFault::EndsCallAtOnce);
    // The server's process dies: TCP ends without a message.
    let mut closed = World::new(ServerFault::NoGre, spec(), "right");
    closed.run(Duration::from_millis(500));
    closed.client.tcp_closed(closed.now);
    closed.run(Duration::from_secs(5));
    for (world, words) in [(notified, "ended by the server"), (closed, "closed the control connection")] {
        let failure = world.failure().1;
        assert_eq!((failure.kind, failure.phase), (FailureKind::PeerEnded, Phase::Lcp), "{failure}");
        assert_eq!(failure.remedy(), Remedy::AnotherServer);
        for words in
            [words, "before it sent any PPP", "no GRE packet of it came", "PPP daemon failed to start"]
        {
            assert!(failure.detail.contains(words), "{words}: {failure}");
        }
        assert!(failure.hints[0].contains("nothing to change on this host"), "{:?}", failure.hints);
        assert_eq!(evidence(failure).frames_received, 0);
    }
}

#[test]
fn silence_states_how_many_packets_were_sent() {
    let world = run_with(ServerFault::NoGre);
    let failure = world.failure().1;
    let seen = evidence(failure);
    assert!(seen.gre_sent > 3 && seen.gre_received == 0 && seen.control_messages == 2, "{seen:?}");
    assert!(failure.detail.contains(&format!("(this host sent {})", seen.gre_sent)), "{failure}");
}

#[test]
fn lost_link_states_when_the_last_packet_came() {
    let echo = Some(crate::ppp::link::Echo { interval: Duration::from_secs(5), failures: 2 });
    let mut world =
        World::new(ServerFault::None, Spec { lcp_echo: echo, idle_wait: None, ..spec() }, "right");
    world.run(Duration::from_secs(3));
    world.cut = true;
    world.run(Duration::from_secs(60));
    let failure = world.failure().1;
    assert_eq!(failure.kind, FailureKind::PeerLost);
    assert!(failure.detail.contains("its last GRE packet came"), "{failure}");
    let seen = evidence(failure);
    assert!(seen.gre_acknowledged > 0 && seen.lcp_replies > 0 && seen.frames_received > 0, "{seen:?}");
}

#[test]
fn failure_without_a_call_counts_control_messages() {
    assert_eq!(run_with(ServerFault::SilentControl).failure().1.evidence, None);
    // The start reply, and the call reply that refuses.
    for (fault, control_messages) in [(ServerFault::RefusesCall, 2), (ServerFault::SilentCall, 1)] {
        let only_control = Evidence { control_messages, ..Evidence::default() };
        assert_eq!(evidence(run_with(fault).failure().1), only_control);
    }
}

/// Runs a session whose call reply arrives 300 ms later than the server's first GRE packets.
fn with_late_reply(call_id: u16) -> World {
    let mut world = World::new(ServerFault::None, spec(), "right");
    let is_reply = |wire: &Wire| matches!(wire, Wire::ToClient(bytes) if bytes.get(8..10) == Some(&OCRP));
    while !world.wire.iter().any(|(_, wire)| is_reply(wire)) {
        world.run(Duration::from_millis(1));
    }
    let at = world.wire.iter().position(|(_, wire)| is_reply(wire)).unwrap();
    let (_, Wire::ToClient(reply)) = world.wire.remove(at).unwrap() else { unreachable!() };
    for (_, wire) in &mut world.wire {
        if let Wire::GreToClient(packet) = wire {
            packet[6..8].copy_from_slice(&call_id.to_be_bytes());
        }
    }
    world.run(Duration::from_millis(300));
    assert_eq!(world.seen, ["control", "call"], "the reply has arrived");
    world.client.tcp_input(world.now, &reply);
    world
}

/// Without the first packets the server's LCP has to send its request again: at once if it is ours, other servers
/// after 1 to 3 s.
#[test]
fn gre_before_the_call_reply_is_kept_if_it_has_the_call_id() {
    let [kept, dropped] = [77, 78].map(|call_id| {
        let mut world = with_late_reply(call_id);
        let replied = world.now - world.start;
        world.run(Duration::from_secs(30));
        let (at, _) = world.up.as_ref().expect("the session is not up");
        (*at - replied, world.client.evidence().unwrap().lcp_requests)
    });
    assert!(kept.0 < dropped.0, "{kept:?} {dropped:?}");
    assert_eq!((kept.1, dropped.1), (2, 1), "requests of the server that were handled");
}

#[test]
fn each_refusal_of_mppe_has_its_own_words_and_hints() {
    let run = |policy: Policy| {
        let mut world = World::new(ServerFault::None, spec(), "right");
        world.server_policy = policy;
        world.run(Duration::from_secs(60));
        let failure = world.failure().1.clone();
        assert_eq!(failure.kind, FailureKind::EncryptionRefused, "{failure}");
        failure
    };
    let no_ccp = run(Policy { demand: Demand::Off, ..Policy::default() });
    assert!(no_ccp.detail.contains("rejects CCP as a whole (LCP Protocol-Reject of 80FD)"), "{no_ccp}");
    assert!(no_ccp.hints[0].contains("no MPPE at all"), "{:?}", no_ccp.hints);
    let weak = run(Policy { min: Strength::Bits40, max: Strength::Bits40, ..Policy::default() });
    assert!(weak.detail.contains("offers MPPE-40"), "{weak}");
    assert!(weak.hints[0].contains("mppe = \"require-40\""), "{:?}", weak.hints);
    assert!(!no_ccp.hints.iter().any(|hint| hint.contains("40")), "{:?}", no_ccp.hints);
}
