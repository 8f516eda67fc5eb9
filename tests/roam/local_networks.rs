//! The kill switch follows the networks that the host is in: one with private addresses is reachable, of one
//! with public addresses only what the connection to the server needs.

use std::{thread, time::Duration, time::Instant};

use crate::{
    LITERAL, MODES, default_route,
    witness::{Pings, UplinkCapture},
    world::{World, in_world},
};

/// Returns whether a rule lets packets for this network pass the tunnel.
fn passes(world: &World, network: &str) -> bool {
    world.laptop("ip rule").contains(&format!("to {network} lookup main"))
}

fn is_answered(world: &World, address: &str) -> bool {
    world.laptop(&format!("ping -c 1 -W 2 {address} 2>&1 || true")).contains("bytes from")
}

#[test]
fn public_network_is_blocked_after_a_move() {
    for mode in MODES {
        in_world(move |world| {
            world.shell(
                "set -e; ip -n r2 addr add 198.19.0.1/24 dev lan
                 ip route add 198.19.0.0/24 via 203.0.113.6",
            );
            world.plug(1, 100);
            let before = world.routes();
            world.profile(LITERAL, &format!("{}\nleak = \"block\"", default_route(mode)));
            world.up();
            assert!(passes(world, "10.1.0.0/24"), "{mode}: {:?}", world.routes());
            assert!(is_answered(world, "10.1.0.1"), "{mode}: the gateway has a private address");
            // The route to the server stays; nothing but the rules has to change.
            world.laptop("ip addr add 192.168.44.2/24 dev up1");
            world.wait_for("a rule for the new network", || passes(world, "192.168.44.0/24"));
            world.laptop("ip addr del 192.168.44.2/24 dev up1");
            world.wait_for("no rule for the old network", || !passes(world, "192.168.44.0/24"));

            let (capture, pings) = (UplinkCapture::open(), Pings::start());
            pings.time_to_answer(Instant::now(), || world.log());
            world.laptop(
                "ip addr add 198.19.0.10/24 dev up2 && ip link set up2 up && \
                 ip route add default via 198.19.0.1 dev up2 metric 50 && \
                 ip route add 198.18.0.0/15 via 198.19.0.1 dev up2 proto dhcp && \
                 ip addr flush dev up1 && ip link set up1 down",
            );
            world.wait_for("another connection", || world.status()["reconnects"] == 1);
            pings.time_to_answer(Instant::now(), || world.log());
            assert!(!passes(world, "10.1.0.0/24"), "{:?}", world.routes());
            for outside in ["198.19.0.1", "198.18.0.1"] {
                assert!(!is_answered(world, outside), "{mode}: {outside}");
            }
            thread::sleep(Duration::from_millis(200));
            drop(pings);
            capture.assert_only_tunnel_packets(&["up1", "up2"]);
            world.down();
            world.laptop("ip addr flush dev up2; ip link set up2 down");
            world.plug(1, 100);
            assert_eq!(world.routes(), before, "{mode}: {}", world.log());
        });
    }
}
