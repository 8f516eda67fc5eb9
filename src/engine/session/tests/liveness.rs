//! Liveness check after a change of the network under the tunnel.

use super::*;

/// Returns a tunnel that has been up for several seconds.
fn up(fault: ServerFault) -> World {
    let mut world = World::new(fault, spec(), "right");
    world.run(Duration::from_secs(5));
    assert!(world.client.is_up());
    world
}

/// Returns the time from the probe to the end of the session.
fn time_to_failure(world: &World, probed: Instant) -> Duration {
    let (at, failure) = world.failure();
    assert_eq!((failure.kind, failure.phase), (FailureKind::PeerLost, Phase::Up), "{failure}");
    assert!(failure.detail.contains("no answer came"), "{failure}");
    *at - (probed - world.start)
}

#[test]
fn tunnel_stays_up_if_the_server_answers() {
    let mut world = up(ServerFault::None);
    for _ in 0..3 {
        world.client.probe(world.now);
        world.run(Duration::from_secs(20));
        assert!(world.down.is_none() && world.client.is_up());
    }
    assert_eq!(world.client.liveness.as_ref().and_then(LivenessCheck::next_timeout), None);
}

#[test]
fn dead_path_is_abandoned_within_a_second() {
    let mut world = up(ServerFault::None);
    let probed = world.now;
    // No packet arrives any more, in either direction.
    world.cut = true;
    world.client.probe(probed);
    world.run(Duration::from_secs(60));
    let took = time_to_failure(&world, probed);
    assert!((Duration::from_millis(500)..Duration::from_secs(1)).contains(&took), "{took:?}");
}

/// The kernel sends by the old route for some milliseconds after it has reported the change.
#[test]
fn path_that_dies_after_the_first_answer_is_abandoned() {
    let mut world = up(ServerFault::None);
    let probed = world.now;
    world.client.probe(probed);
    world.run(Duration::from_millis(300));
    assert!(world.client.round_trip.is_some(), "no answer to the first check");
    world.cut = true;
    world.run(Duration::from_secs(60));
    let took = time_to_failure(&world, probed);
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[test]
fn path_that_passes_only_tcp_is_dead() {
    let mut world = up(ServerFault::None);
    let probed = world.now;
    world.ppp_start_delay = Duration::from_secs(3600);
    world.client.probe(probed);
    world.run(Duration::from_secs(60));
    let took = time_to_failure(&world, probed);
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[test]
fn control_echo_suffices_without_lcp_echo() {
    let mut world = up(ServerFault::NoEchoReply);
    world.client.probe(world.now);
    world.run(Duration::from_secs(20));
    assert!(world.down.is_none() && world.client.is_up());
    let probed = world.now;
    world.cut = true;
    world.client.probe(probed);
    world.run(Duration::from_secs(60));
    assert!(time_to_failure(&world, probed) < Duration::from_secs(1));
}

#[test]
fn slow_path_gets_more_time() {
    let mut world = up(ServerFault::None);
    let second = Duration::from_secs(1);
    world.client.round_trip = Some(second);
    let probed = world.now;
    world.cut = true;
    world.client.probe(probed);
    world.run(60 * second);
    let took = time_to_failure(&world, probed);
    assert!((4 * second..5 * second).contains(&took), "{took:?}");
}

#[test]
fn probe_is_ignored_before_the_link_is_up() {
    let mut world = World::new(ServerFault::SilentCall, spec(), "right");
    world.run(Duration::from_secs(1));
    world.client.probe(world.now);
    assert!(world.client.liveness.is_none());
    world.run(Duration::from_secs(60));
    assert_eq!(world.failure().1.kind, FailureKind::CallTimeout);
}

#[test]
fn measured_echo_times_the_path_and_ends_no_session() {
    // So rare that no ordinary echo is sent here.
    let echo = Some(crate::ppp::link::Echo { interval: Duration::from_secs(3600), failures: 1 });
    let up = |fault| {
        let mut world = World::new(fault, Spec { lcp_echo: echo, ..spec() }, "right");
        world.run(Duration::from_secs(5));
        assert!(world.client.is_up());
        world
    };
    let mut world = up(ServerFault::None);
    let echoes = |world: &World| {
        let counters = world.client.counters();
        counters.iter().find(|(name, _)| name == "ppp.echoes_sent").map(|(_, count)| *count).unwrap()
    };
    let before = echoes(&world);
    // As for `status`, twice: the second one comes too early for another echo.
    world.client.measure(world.now);
    world.client.measure(world.now);
    world.run(Duration::from_secs(2));
    assert_eq!(echoes(&world), before + 1);
    let took = world.client.echo_round_trip().expect("no answer to the echo");
    assert!(took > Duration::ZERO && took < Duration::from_millis(500), "{took:?}");
    let mut world = up(ServerFault::NoEchoReply);
    for _ in 0..20 {
        world.client.measure(world.now);
        world.run(Duration::from_secs(6));
    }
    assert!(world.down.is_none() && world.client.is_up(), "the echoes count as those of the detection");
    assert_eq!(world.client.echo_round_trip(), None);
}
