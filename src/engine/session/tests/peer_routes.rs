//! The request for routes of a session.

use super::*;

/// The engine sends what is ready, and calls `after` then. A packet that only `after` made ready would wait for the
/// next wake-up.
#[test]
fn request_for_routes_is_repeated_by_a_timeout_alone() {
    let mut world = World::new(ServerFault::None, Spec { peer_routes: true, ..spec() }, "right");
    world.run(LATENCY * 40);
    // The received packets are acknowledged first.
    let (due, _) = world.client.next_timeout().filter(|(_, timer)| *timer == "acknowledgement").unwrap();
    world.run(due - world.now);
    assert!(world.up.is_none() && world.server_got.len() == 1, "{:?}", world.server_got);
    let mut out = vec![0; 2048];
    let (due, timer) = world.client.next_timeout().unwrap();
    assert_eq!(timer, "route request");
    world.client.after(due);
    assert_eq!(world.client.next_timeout(), Some((due, timer)));
    assert_eq!(world.client.gre_output(world.now, &mut out), None);
    world.client.handle_timeout(due, &mut |_| {});
    assert!(world.client.gre_output(due, &mut out).is_some());
    // The same for its time limit, after which the link is up and the path is searched.
    world.client.after(due + Duration::from_secs(10));
    assert!(world.client.poll_event().is_none() && world.client.next_timeout().unwrap().1 == timer);
}
