//! A call whose packets the kernel moves: frames instead of packets, once the kernel has the call.

use super::*;
use crate::pptp::gre;

impl World {
    /// Runs with a kernel that has the call at once, and does no more than the flow would.
    fn run_with_kernel(&mut self, limit: Duration) {
        let end = self.now + limit;
        while self.now < end && self.down.is_none() {
            self.run(Duration::from_millis(5));
            if self.attach.is_some() {
                self.client.attached(self.now);
            }
            while let Some(frame) = self.client.frame_output(self.now) {
                let Some((_, link)) = &mut self.call else { continue };
                link.handle_input(self.now, &mut frame.clone());
                self.sent += 1;
            }
            let Some((_, link)) = &mut self.call else { continue };
            let frames: Vec<_> = std::iter::from_fn(|| link.poll_output()).collect();
            for mut frame in frames {
                self.client.frame_input(self.now, &mut frame);
            }
        }
    }
}

fn world() -> World {
    let spec = Spec { kernel: true, lcp_echo: None, ..spec() };
    World { server_policy: spec.mppe, ..World::new(ServerFault::None, spec, "right") }
}

#[test]
fn link_comes_up_by_frames_without_a_gre_packet() {
    let mut world = world();
    world.run_with_kernel(Duration::from_secs(20));
    assert!(world.attach.is_some_and(|call| call > 0), "the server's call id");
    assert!(world.up.is_some(), "{:?} {:?}", world.seen, world.down);
    assert!(world.sent > 5, "{}", world.sent);
    let unit = world.client.unit();
    assert!(unit.ipv4 && (unit.ccp_up || !unit.must_encrypt), "{unit:?}");
    // The flow has counted along: acknowledgements are of these numbers.
    let counters = world.client.counters();
    let sent = counters.iter().find(|(name, _)| name == "gre.tx_sent").unwrap().1;
    assert_eq!(sent, world.sent);
    assert!(world.client.gre_output(world.now, &mut [0; 2048]).is_none());
}

#[test]
fn frames_wait_until_the_kernel_has_the_call() {
    let mut world = world();
    world.run(Duration::from_secs(2));
    assert!(world.attach.is_some() && world.client.frame_output(world.now).is_none());
    assert!(world.client.gre_output(world.now, &mut [0; 2048]).is_none());
    world.client.attached(world.now);
    let first = world.client.frame_output(world.now).unwrap();
    assert_eq!(first[..5], [0xff, 3, 0xc0, 0x21, 1], "an LCP Configure-Request");
}

#[test]
fn copies_of_the_raw_socket_are_only_counted() {
    let mut world = world();
    world.run_with_kernel(Duration::from_secs(20));
    let control = |world: &World| {
        let counters = world.client.counters();
        counters.iter().find(|(name, _)| name == "ppp.received_control").unwrap().1
    };
    let before = control(&world);
    let (received, mut packet) = (world.client.evidence().unwrap().gre_received, vec![0; 64]);
    let frame = [0xff, 3, 0xc0, 0x21, 9, 1, 0, 8, 0, 0, 0, 0];
    let next = world.client.call.as_ref().unwrap().flow.expected();
    let header = gre::Header { call_id: 77, seq: Some(next), ack: None };
    let mut head = [0; gre::MAX_HEADER];
    let size = gre::emit(header, u16::try_from(frame.len()).unwrap(), &mut head);
    packet[..size].copy_from_slice(&head[..size]);
    packet[size..size + frame.len()].copy_from_slice(&frame);
    world.client.gre_input(world.now, &mut packet[..size + frame.len()], &mut |_| {});
    assert_eq!(control(&world), before, "the frame also came by the channel");
    assert_eq!(world.client.evidence().unwrap().gre_received, received + 1);
}

#[test]
fn malformed_request_that_stops_the_kernels_encryption_ends_the_session() {
    let mut world = world();
    world.run_with_kernel(Duration::from_secs(20));
    assert!(world.client.unit().ccp_up, "{:?}", world.up);
    // An option longer than the packet: the link drops it, the kernel looks at the code alone.
    let mut frame = [0x80, 0xfd, 1, 7, 0, 6, 18, 6];
    world.client.frame_input(world.now, &mut frame);
    assert!(!world.client.unit().ipv4);
    world.run_with_kernel(Duration::from_secs(20));
    let (_, failure) = world.failure();
    assert_eq!(failure.phase, Phase::Up, "{failure}");
}
