//! Routes that a rogue DHCP server adds after `up` (TunnelVision, CVE-2024-3661): without the kill switch they take packets
//! from the tunnel, which `status` and the log say; with it they lead nowhere.

use std::fs;

use crate::{
    in_world, working_server,
    world::{World, text},
};

/// A route that was there before, as the administrator's.
const AT_UP: &str = "ip route add 198.51.100.0/24 via 192.0.2.201 proto static";

fn warnings(world: &World) -> String {
    let status: serde_json::Value =
        serde_json::from_slice(&world.run(&["status", "vpn", "--json"]).stdout).unwrap();
    status.get("warnings").map(ToString::to_string).unwrap_or_default()
}

#[track_caller]
fn assert_warned(profile: &'static str, rogue: &'static [&'static str]) {
    in_world(working_server(), move |world| {
        world.shell("ip route add default via 192.0.2.200 proto dhcp metric 100");
        world.shell(AT_UP);
        world.profile(profile);
        let before = world.state();
        world.up();
        assert_eq!(warnings(world), "");
        for route in rogue {
            world.shell(&format!("ip route add {route} via 192.0.2.200 proto dhcp"));
            let words =
                format!("the route {route} via 192.0.2.200 dev eth0 (DHCP) takes packets from the tunnel");
            world.wait_for(|| warnings(world).contains(&words));
            assert!(text(&world.run(&["status", "vpn"]).stdout).contains(&words));
            let log = fs::read_to_string("/var/log/pptpctl/vpn.log").unwrap();
            assert_eq!(log.matches(&words).count(), 1, "{log}");
        }
        assert!(!warnings(world).contains("198.51.100.0"), "{}", warnings(world));
        for route in rogue {
            world.shell(&format!("ip route del {route} via 192.0.2.200 proto dhcp"));
        }
        world.wait_for(|| warnings(world).is_empty());
        world.down(&before);
    });
}

#[test]
fn routes_that_take_packets_from_the_tunnel_are_shown() {
    let rogue: &[&str] = &["8.8.8.8/32", "64.0.0.0/2"];
    assert_warned("default = true", rogue);
    assert_warned("default = { mode = \"halves\" }", rogue);
    assert_warned("default = { mode = \"replace\" }", rogue);
    assert_warned("routes = [\"192.168.77.0/24\"]", &["192.168.77.128/25"]);
    // Without default the kill switch has no rules: the main table decides.
    assert_warned("routes = [\"192.168.77.0/24\"]\nleak = \"block\"", &["192.168.77.128/25"]);
}

#[test]
fn routes_that_take_nothing_are_not_shown() {
    in_world(working_server(), |world| {
        world.shell("ip route add default via 192.0.2.200 proto dhcp metric 100");
        world.profile("default = true\nexclude = [\"203.0.113.0/24\"]");
        let before = world.state();
        world.up();
        world.shell("ip route add 203.0.113.128/25 via 192.0.2.200; ip addr add 192.168.44.2/24 dev eth0");
        world.shell("ip route add unreachable 198.18.0.0/15; ip route add 8.8.4.4 via 192.0.2.200");
        world.wait_for(|| warnings(world).contains("8.8.4.4"));
        let found = warnings(world);
        let others = ["203.0.113", "192.168.44", "198.18.0"];
        assert!(!others.iter().any(|other| found.contains(other)), "{found}");
        world.shell("ip route del 203.0.113.128/25 via 192.0.2.200; ip addr del 192.168.44.2/24 dev eth0");
        world.shell("ip route del unreachable 198.18.0.0/15; ip route del 8.8.4.4");
        world.down(&before);
    });
}

#[test]
fn kill_switch_does_not_follow_them() {
    in_world(working_server(), |world| {
        world.shell("ip route add default via 192.0.2.200 proto dhcp metric 100");
        for mode in ["policy", "halves", "replace"] {
            world.profile(&format!("default = {{ mode = \"{mode}\" }}\nleak = \"block\""));
            let before = world.state();
            world.up();
            for route in ["8.8.8.8", "0.0.0.0/2"] {
                world.shell(&format!("ip route add {route} via 192.0.2.200 proto dhcp"));
            }
            let way = world.shell("ip route get 8.8.8.8; ip route get 9.9.9.9");
            assert_eq!(way.matches("dev tun0").count(), 2, "{mode}: {way}");
            for route in ["8.8.8.8", "0.0.0.0/2"] {
                world.shell(&format!("ip route del {route} via 192.0.2.200"));
            }
            assert_eq!(warnings(world), "", "{mode}");
            world.down(&before);
        }
    });
}
