//! `replace`, and a DHCP client without metrics that puts its own default route into the very place of ours, again and
//! again: with the kill switch nothing of it leaves in clear, without it what leaves until the route is noticed.

use std::{
    fs,
    time::{Duration, Instant},
};

use crate::{
    LITERAL, everything,
    witness::{Eyes, Pings},
    world::{World, in_world},
};

/// Both networks, the first with a default route as a DHCP client makes it that knows no metrics.
fn plug_both(world: &World) {
    for uplink in [1, 2] {
        world.laptop(&format!("ip link set up{uplink} up; ip addr add 10.{uplink}.0.10/24 dev up{uplink}"));
    }
    world.laptop("ip route add default via 10.1.0.1");
}

fn replaced_by(world: &World, way: &str) {
    world.laptop(&format!("ip route replace default {way}"));
}

/// Ours stands alone again.
#[track_caller]
fn wait_for_ours(world: &World) {
    world.wait_for("our default route", || {
        let default = world.laptop("ip route show default");
        default.lines().count() == 1 && default.contains("tun0")
    });
}

#[test]
fn a_default_route_in_the_place_of_ours_leaks_nothing_with_the_kill_switch() {
    in_world(|world| {
        plug_both(world);
        world.profile(LITERAL, &format!("{}\nleak = \"block\"", everything("replace")));
        world.up();
        let (eyes, pings) = (Eyes::open(), Pings::start());
        pings.carries_after(Instant::now(), || world.log());
        let engine = world.status()["engine_pid"].clone();
        // Fewer than are put back in a minute, each of the two counted.
        for _lease in 0..3 {
            replaced_by(world, "via 10.1.0.1");
            // The next one in the middle of the quiet that is waited for.
            std::thread::sleep(Duration::from_millis(70));
            replaced_by(world, "via 10.1.0.1 src 10.1.0.10");
            wait_for_ours(world);
            pings.carries_after(Instant::now(), || world.log());
        }
        assert_eq!(
            world.status()["engine_pid"],
            engine,
            "the way to the server was the same\n{}",
            world.log()
        );
        // Another network has the place: with another address of ours, which the old connection does not survive.
        replaced_by(world, "via 10.2.0.1");
        world.wait_for("another connection", || {
            let status = world.status();
            status["reconnects"] == 1 && status["state"] == "up"
        });
        wait_for_ours(world);
        pings.carries_after(Instant::now(), || world.log());
        eyes.saw_only_the_tunnel_by(&["up1", "up2"]);
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

/// What pptpctl.toml(5) says of it: for the moment until it is noticed.
#[test]
fn without_the_kill_switch_it_is_noticed_soon() {
    in_world(|world| {
        plug_both(world);
        world.profile(LITERAL, &everything("replace"));
        world.up();
        let (eyes, pings) = (Eyes::open(), Pings::start());
        pings.carries_after(Instant::now(), || world.log());
        let replaced = Instant::now();
        replaced_by(world, "via 10.1.0.1");
        wait_for_ours(world);
        pings.carries_after(Instant::now(), || world.log());
        let silent = pings.longest_silence(replaced);
        let left = eyes.in_clear();
        println!("replaced: {left} pings in clear, silent for {} ms", silent.as_millis());
        assert!(silent < Duration::from_secs(5), "{silent:?}\n{}", world.log());
        drop(pings);
        world.down();
        assert_eq!(world.laptop("ip route show default").trim(), "default via 10.1.0.1 dev up1");
    });
}
