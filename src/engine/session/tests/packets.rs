//! IP packets between the tun device and GRE: which are sent, and the MSS in them.

use super::*;

#[test]
fn data_is_sent_only_while_the_link_is_up() {
    let ping = [0x45, 0, 0, 20, 0, 0, 0, 0, 64, 1, 0, 0, 10, 0, 0, 2, 10, 0, 0, 1];
    let mut world = World::new(ServerFault::None, spec(), "right");
    let mut out = vec![0; 2048];
    assert!(world.client.tun_input(world.now, &ping, &mut out).is_none());
    world.run(Duration::from_secs(5));
    let range = world.client.tun_input(world.now, &ping, &mut out).unwrap();
    assert!(!out[range.clone()].windows(ping.len()).any(|part| part == ping), "the packet is in clear");
    world.wire.push_back((world.now, Wire::GreToServer(out[range].to_vec())));
    world.run(Duration::from_secs(1));
    assert_eq!(world.server_got, [ping.to_vec()]);
    let stop = Failure::new(Phase::Up, FailureKind::Interrupted, "");
    world.client.fail(world.now, stop);
    assert!(!world.client.is_up());
    world.run(Duration::from_secs(10));
    assert!(world.client.tun_input(world.now, &ping, &mut out).is_none());
}

/// The uplink was down and the route to the server is gone: the tunnel's own packets are routed into it.
#[test]
fn own_packets_are_not_sent_through_the_tunnel() {
    let mut world = World::new(ServerFault::None, spec(), "right");
    world.run(Duration::from_secs(5));
    let server = spec().server.ip().octets();
    let [a, b, c, d] = server;
    let ping = [0x45, 0, 0, 20, 0, 0, 0, 0, 64, 1, 0, 0, 10, 0, 0, 2, a, b, c, d];
    let mut out = vec![0; 2048];
    let range = world.client.tun_input(world.now, &ping, &mut out).expect("a ping to the server was dropped");
    let mut looped = ping.to_vec();
    looped[9] = 47;
    looped.extend(&out[range]);
    let count =
        |world: &World| world.client.counters().into_iter().find(|(name, _)| name == "drop.loop").unwrap().1;
    assert!(world.client.tun_input(world.now, &looped, &mut out).is_none());
    assert!(world.client.tun_input(world.now, &looped[..30], &mut out).is_none(), "the first fragment");
    assert_eq!(count(&world), 2);
    // Packets of another call, and to another server, pass.
    for at in [27, 19] {
        let mut other = looped.clone();
        other[at] ^= 1;
        assert!(world.client.tun_input(world.now, &other, &mut out).is_some(), "byte {at}");
    }
    assert_eq!(count(&world), 2);
}

#[test]
fn mss_is_clamped_in_both_directions() {
    let syn = |from: [u8; 4], to: [u8; 4]| {
        let builder = etherparse::PacketBuilder::ipv4(from, to, 64).tcp(4000, 80, 1, 65_535).syn();
        let builder = builder.options_raw(&[2, 4, 0x05, 0xb4]).unwrap();
        let mut packet = Vec::new();
        builder.write(&mut packet, b"").unwrap();
        packet
    };
    let expected_mss = (1456_u16 - 40).to_be_bytes();
    let mut world = World::new(ServerFault::None, spec(), "right");
    world.run(Duration::from_secs(5));
    let mut out = vec![0; 2048];
    let range = world.client.tun_input(world.now, &syn([10, 0, 0, 2], [10, 0, 0, 1]), &mut out).unwrap();
    world.wire.push_back((world.now, Wire::GreToServer(out[range].to_vec())));
    world.run(Duration::from_secs(1));
    assert_eq!(world.server_got[0][42..44], expected_mss);
    let (flow, link) = world.call.as_mut().unwrap();
    let length = link.encapsulate(&syn([10, 0, 0, 1], [10, 0, 0, 2]), &mut out[MAX_HEADER..]).unwrap();
    let range = flow.put_header(world.now, length, &mut out).unwrap();
    let mut received = Vec::new();
    world.client.gre_input(world.now, &mut out[range], &mut |ip| received.push(ip.to_vec()));
    assert_eq!(received[0][42..44], expected_mss);
    let counters = world.client.counters();
    for name in ["mss.lowered_in", "mss.lowered_out"] {
        assert!(counters.contains(&(name.to_owned(), 1)), "{name}: {counters:?}");
    }
}
