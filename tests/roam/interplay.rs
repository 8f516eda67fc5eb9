//! Collisions, the kill switch, and the path's MTU at the same time: a change that one of them follows leaves the
//! others as they are.

use crate::{
    LITERAL, default_route,
    path_mtu::{device_mtu, drop_long_gre},
    world::{World, in_world},
};

fn is_answered(world: &World, address: &str) -> bool {
    world.laptop(&format!("ping -n -c 1 -W 2 {address} 2>&1 || true")).contains("bytes from")
}

fn passes(world: &World, network: &str) -> bool {
    world.laptop("ip rule").contains(&format!("to {network} lookup main"))
}

/// A network comes and goes; the kill switch follows, and the routes around the gateway stay as they are.
#[track_caller]
fn assert_gateway_is_kept(collision: &'static str) {
    in_world(move |world| {
        world.plug(1, 100);
        let before = world.routes();
        let keys = format!("routes = [\"10.1.0.0/25\"]\ncollision = \"{collision}\"\nleak = \"block\"");
        world.profile(LITERAL, &format!("{keys}\n{}", default_route("policy")));
        world.up();
        let part = || world.laptop("ip route show table main root 10.1.0.0/25");
        let held = part();
        assert!(is_answered(world, "10.1.0.1"), "{held}");
        for (change, there) in [("add", true), ("del", false)] {
            world.laptop(&format!("ip addr {change} 192.168.44.2/24 dev up1"));
            world.wait_for("the rules to follow", || passes(world, "192.168.44.0/24") == there);
            assert!(is_answered(world, "10.1.0.1"), "{collision}, {change}: {}\n{}", part(), world.log());
            assert_eq!(part(), held, "{collision}, {change}");
        }
        world.down();
        assert_eq!(world.routes(), before, "{}", world.log());
    });
}

#[test]
fn kill_switch_follows_networks_around_a_gateway_in_a_colliding_route() {
    assert_gateway_is_kept("tunnel");
    assert_gateway_is_kept("keep-lan");
}

#[test]
fn mtu_of_the_path_stays_when_a_route_collides() {
    in_world(|world| {
        world.plug(1, 100);
        drop_long_gre(world, 1, 1400);
        world.profile(LITERAL, "routes = [\"10.2.0.0/24\", \"192.168.77.0/24\"]");
        world.up();
        world.wait_for("a smaller MTU", || (1344..=1356).contains(&device_mtu(world)));
        let mtu = device_mtu(world);
        let unreachable = || world.status()["unreachable"].to_string();
        world.plug(2, 200);
        world.wait_for("the collision", || unreachable().contains("10.2.0.0/24"));
        assert_eq!(device_mtu(world), mtu, "{}", world.log());
        world.unplug(2);
        world.wait_for("no collision", || unreachable() == "null");
        assert_eq!(device_mtu(world), mtu, "{}", world.log());
        world.down();
    });
}

/// A network without a path to the server: its hosts are reached, although nothing is dialled.
#[test]
fn kill_switch_follows_networks_without_a_path_to_the_server() {
    in_world(|world| {
        world.shell("ip -n r2 addr add 192.168.44.1/24 dev lan");
        world.plug(1, 100);
        let before = world.routes();
        world.profile(LITERAL, &format!("{}\nleak = \"block\"", default_route("policy")));
        world.up();
        world.unplug(1);
        world.wait_state("no network");
        world.laptop("ip link set up2 up; ip addr add 192.168.44.2/24 dev up2");
        world.wait_for("an answer of the network", || is_answered(world, "192.168.44.1"));
        assert!(!passes(world, "10.1.0.0/24"));
        assert_eq!(world.status()["state"], "no network");
        world.laptop("ip addr flush dev up2; ip link set up2 down");
        world.plug(1, 100);
        world.wait_state("up");
        world.down();
        assert_eq!(world.routes(), before, "{}", world.log());
    });
}

/// The gateway of the next network has our address in the tunnel: the tunnel waits until the laptop leaves it.
#[test]
fn redial_in_a_network_that_has_our_address_is_not_the_end() {
    in_world(|world| {
        world.plug(1, 100);
        let before = world.routes();
        world.profile(LITERAL, "routes = [\"192.168.77.0/24\"]");
        world.up();
        // The server still holds the first address for the connection that is lost.
        assert_eq!(world.status()["local"], "10.77.0.100");
        let ours = "10.77.0.101".to_owned();
        world.shell(&format!(
            "ip -n r2 addr add {ours}/24 dev lan; ip route add 10.77.0.0/24 via 203.0.113.6"
        ));
        world.unplug(1);
        world.wait_state("no network");
        world.laptop(&format!(
            "ip link set up2 up; ip addr add 10.77.0.250/24 dev up2; ip route add default via {ours} dev up2"
        ));
        world.wait_for("the refusal", || world.log().contains("which is the address of a gateway"));
        world.wait_for("an answer of the gateway", || is_answered(world, &ours));
        world.wait_state("waiting");
        world.laptop("ip addr flush dev up2; ip link set up2 down");
        world.plug(1, 100);
        world.wait_state("up");
        world.wait_for("the office", || is_answered(world, "192.168.77.1"));
        world.down();
        assert_eq!(world.routes(), before, "{}", world.log());
    });
}

/// The resolver that the last link has set is none that a route of the next one must not cover.
#[test]
fn redial_to_a_server_without_resolvers_keeps_the_routes() {
    in_world(|world| {
        world.private_etc();
        let by_hand = "nameserver 10.1.0.1\n";
        let resolv_conf = || std::fs::read_to_string("/etc/resolv.conf").unwrap();
        std::fs::write("/etc/resolv.conf", by_hand).unwrap();
        world.plug(1, 100);
        let server = world.second_server_naming(&[[192, 168, 77, 53].into()]);
        let keys = "retry.first = \"200ms\"\nroutes = [\"192.168.77.0/24\"]\ndns = { servers = \"peer\", backend = \"file\" }";
        world.profile("\"198.51.100.1\"", keys);
        world.up();
        assert!(resolv_conf().contains("192.168.77.53"), "{}", world.log());
        drop(server);
        let _without = world.second_server();
        world.wait_for("another connection", || {
            world.status()["reconnects"] == 1 && world.status()["state"] == "up"
        });
        assert!(world.laptop("ip route get 192.168.77.1").contains("dev tun0"), "{}", world.log());
        assert!(world.status()["unreachable"].is_null(), "{}", world.status());
        assert_eq!(resolv_conf(), by_hand);
        world.down();
        assert_eq!(resolv_conf(), by_hand);
    });
}
