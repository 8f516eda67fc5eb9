//! The network under the tunnel has changed: is the server still there?

use super::*;

/// A tunnel that has been up for a while.
fn up(trouble: Trouble) -> World {
    let mut world = World::new(trouble, spec(), "right");
    world.run(Duration::from_secs(5));
    assert!(world.client.is_up());
    world
}

/// How long after the probe it was given up on.
fn given_up(world: &World, probed: Instant) -> Duration {
    let (at, failure) = world.failure();
    assert_eq!((failure.kind, failure.phase), (FailureKind::PeerLost, Phase::Up), "{failure}");
    assert!(failure.detail.contains("no answer came"), "{failure}");
    *at - (probed - world.start)
}

#[test]
fn a_server_that_answers_keeps_its_tunnel() {
    let mut world = up(Trouble::None);
    for _ in 0..3 {
        world.client.probe(world.now);
        world.run(Duration::from_secs(20));
        assert!(world.down.is_none() && world.client.is_up());
    }
    assert_eq!(world.client.doubt.as_ref().map(LivenessCheck::next_timeout), None);
}

#[test]
fn a_dead_path_is_left_within_a_second_and_without_a_polite_end() {
    let mut world = up(Trouble::None);
    let probed = world.now;
    // Nothing arrives any more, in either direction.
    world.cut = true;
    world.client.probe(probed);
    world.run(Duration::from_secs(60));
    let took = given_up(&world, probed);
    assert!((Duration::from_millis(500)..Duration::from_secs(1)).contains(&took), "{took:?}");
}

#[test]
fn a_path_that_passes_tcp_alone_is_no_path() {
    let mut world = up(Trouble::None);
    let probed = world.now;
    world.deaf_for = Duration::from_secs(3600);
    world.client.probe(probed);
    world.run(Duration::from_secs(60));
    let took = given_up(&world, probed);
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[test]
fn a_server_that_answers_no_lcp_echo_shows_itself_on_the_control_connection() {
    let mut world = up(Trouble::NoEchoReply);
    world.client.probe(world.now);
    world.run(Duration::from_secs(20));
    assert!(world.down.is_none() && world.client.is_up());
    let probed = world.now;
    world.cut = true;
    world.client.probe(probed);
    world.run(Duration::from_secs(60));
    assert!(given_up(&world, probed) < Duration::from_secs(1));
}

#[test]
fn a_slow_path_has_more_time() {
    let mut world = up(Trouble::None);
    let second = Duration::from_secs(1);
    world.client.round_trip = Some(second);
    let probed = world.now;
    world.cut = true;
    world.client.probe(probed);
    world.run(60 * second);
    let took = given_up(&world, probed);
    assert!((4 * second..5 * second).contains(&took), "{took:?}");
}

#[test]
fn before_the_link_is_up_a_probe_is_nothing() {
    let mut world = World::new(Trouble::SilentCall, spec(), "right");
    world.run(Duration::from_secs(1));
    world.client.probe(world.now);
    assert!(world.client.doubt.is_none());
    world.run(Duration::from_secs(60));
    assert_eq!(world.failure().1.kind, FailureKind::CallTimeout);
}
