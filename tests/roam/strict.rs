//! A host that accepts a packet only from where it sends the answer (`rp_filter`, RFC 3704 §2.2): what works
//! beside a tunnel for all traffic, what does not, and the remedy. Demonstrates pptpctl(8), CAVEATS.

use std::time::Instant;

use crate::{LITERAL, MODES, default_route, witness::Pings, world::World, world::in_world};

/// Returns the number of packets that the reverse path filter has dropped.
fn dropped(world: &World) -> u64 {
    let counters = world.laptop("grep ^TcpExt /proc/net/netstat");
    let mut lines = counters.lines().map(str::split_whitespace);
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let (_, value) = names.zip(values).find(|(name, _)| *name == "IPReversePathFilter").unwrap();
    value.parse().unwrap()
}

fn set(world: &World, device: &str, filter: u8) {
    world.laptop(&format!("echo {filter} >/proc/sys/net/ipv4/conf/{device}/rp_filter"));
}

/// Returns whether the laptop's own address answers hosts beyond the router.
fn answers_far(world: &World) -> bool {
    world.shell("ping -c 3 -i 0.2 -W 1 10.1.0.10 || true").contains("bytes from")
}

fn answers_neighbour(world: &World) -> bool {
    world.shell("nsenter --net=/run/netns/r1 ping -c 1 -W 5 10.1.0.10 || true").contains("bytes from")
}

/// Number of packets too large for a link on the path to the server.
const OVERSIZED_PINGS: u64 = 3;

fn send_oversized_pings(world: &World) {
    world.laptop(&format!("ping -c {OVERSIZED_PINGS} -i 0.2 -W 1 -s 1400 192.168.77.1 || true"));
}

/// Returns whether those errors reached the kernel.
fn has_learned_path_mtu(world: &World) -> bool {
    world.laptop("ip route show cache").contains("mtu 1300")
}

#[test]
fn tunnel_works_with_strict_reverse_path_filtering() {
    for mode in MODES {
        in_world(move |world| {
            world.plug(1, 100);
            for device in ["all", "default", "up1"] {
                set(world, device, 1);
            }
            assert!(answers_far(world) && answers_neighbour(world));
            world.profile(LITERAL, &default_route(mode));
            world.up();
            Pings::start().time_to_answer(Instant::now(), || world.log());
            assert!(answers_neighbour(world), "{mode}");
            assert_eq!(dropped(world), 0, "{mode}: packets of the tunnel were dropped");
            assert!(!answers_far(world), "{mode}");
            let dropped_replies = dropped(world);
            assert!(dropped_replies > 0, "{mode}");
            // ICMP errors are dropped as well.
            world.shell("ip link set eth0 mtu 1300");
            send_oversized_pings(world);
            world.wait_for("a dropped ICMP error for each packet", || {
                dropped(world) >= dropped_replies + OVERSIZED_PINGS
            });
            let dropped_errors = dropped(world);
            assert!(!has_learned_path_mtu(world), "{mode}");
            // The looser of the two settings applies.
            set(world, "up1", 2);
            send_oversized_pings(world);
            world.wait_for("an accepted ICMP error", || has_learned_path_mtu(world));
            assert_eq!(dropped(world), dropped_errors, "{mode}");
            assert!(!answers_far(world), "{mode}: answers are sent into the tunnel");
            world.down();

            set(world, "up1", 1);
            world.profile(LITERAL, &format!("{}\nexclude = [\"203.0.113.0/24\"]", default_route(mode)));
            world.up();
            assert!(answers_far(world), "{mode}: the excluded prefix is not outside the tunnel");
            world.down();
        });
    }
}
