//! `replace`, against a DHCP client without metrics that repeatedly replaces our default route with its own.
//! With the kill switch nothing leaves in clear; without it, packets do until the supervisor restores the
//! route.

use std::{
    fs,
    time::{Duration, Instant},
};

use crate::{
    LITERAL, default_route,
    witness::{Pings, UplinkCapture},
    world::{World, in_world},
};

/// Plugs in both networks, the first with a default route as a DHCP client without metrics adds it.
fn plug_both(world: &World) {
    for uplink in [1, 2] {
        world.laptop(&format!("ip link set up{uplink} up; ip addr add 10.{uplink}.0.10/24 dev up{uplink}"));
    }
    world.laptop("ip route add default via 10.1.0.1");
}

fn replace_default(world: &World, next_hop: &str) {
    world.laptop(&format!("ip route replace default {next_hop}"));
}

/// Waits until our default route is the only one.
#[track_caller]
fn wait_for_our_default(world: &World) {
    world.wait_for("our default route", || {
        let default = world.laptop("ip route show default");
        default.lines().count() == 1 && default.contains("tun0")
    });
}

#[test]
fn replaced_default_route_leaks_nothing_with_kill_switch() {
    in_world(|world| {
        plug_both(world);
        world.profile(LITERAL, &format!("{}\nleak = \"block\"", default_route("replace")));
        world.up();
        let (capture, pings) = (UplinkCapture::open(), Pings::start());
        pings.time_to_answer(Instant::now(), || world.log());
        let engine = world.status()["engine_pid"].clone();
        // Stays below the limit of restorations per minute; each iteration needs two.
        for _lease in 0..3 {
            replace_default(world, "via 10.1.0.1");
            // The second replacement falls into the quiet period that the supervisor waits for.
            std::thread::sleep(Duration::from_millis(70));
            replace_default(world, "via 10.1.0.1 src 10.1.0.10");
            wait_for_our_default(world);
            pings.time_to_answer(Instant::now(), || world.log());
        }
        assert_eq!(
            world.status()["engine_pid"],
            engine,
            "the engine was replaced although the next hop is the same\n{}",
            world.log()
        );
        // The other network takes over the default route, with another local address: the old connection does
        // not survive.
        replace_default(world, "via 10.2.0.1");
        world.wait_for("another connection", || {
            let status = world.status();
            status["reconnects"] == 1 && status["state"] == "up"
        });
        wait_for_our_default(world);
        pings.time_to_answer(Instant::now(), || world.log());
        capture.assert_only_tunnel_packets(&["up1", "up2"]);
        drop(pings);
        world.down();
        assert_eq!(
            world.laptop("ip route show default").trim(),
            "default via 10.2.0.1 dev up2",
            "{}",
            world.log()
        );
        assert!(fs::read_dir("/var/lib/pptpctl").unwrap().next().is_none());
    });
}

/// As pptpctl.toml(5) documents: packets leave in clear until the supervisor restores the route.
#[test]
fn replaced_default_route_is_restored_soon() {
    in_world(|world| {
        plug_both(world);
        world.profile(LITERAL, &default_route("replace"));
        world.up();
        let (capture, pings) = (UplinkCapture::open(), Pings::start());
        pings.time_to_answer(Instant::now(), || world.log());
        let replaced = Instant::now();
        replace_default(world, "via 10.1.0.1");
        wait_for_our_default(world);
        pings.time_to_answer(Instant::now(), || world.log());
        let silent = pings.longest_gap(replaced);
        let left = capture.count_in_clear();
        println!("replaced: {left} pings in clear, silent for {} ms", silent.as_millis());
        assert!(silent < Duration::from_secs(5), "{silent:?}\n{}", world.log());
        drop(pings);
        world.down();
        assert_eq!(world.laptop("ip route show default").trim(), "default via 10.1.0.1 dev up1");
    });
}
