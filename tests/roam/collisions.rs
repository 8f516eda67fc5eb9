//! The laptop moves into a network with the addresses of one of the tunnel's routes, and out of it again.

use std::{fs, time::Instant};

use crate::{
    LITERAL, MODES, default_route,
    witness::Pings,
    world::{World, in_world},
};

/// A route that is the second network.
const ROUTES: &str = "routes = [\"10.2.0.0/24\", \"192.168.77.0/24\"]";

/// A second host of the second network, beside its gateway.
const NEIGHBOUR: &str = "10.2.0.53";

fn into_tunnel(world: &World) -> bool {
    world.laptop("ip route show 10.2.0.0/24").contains("dev tun0")
}

fn unreachable(world: &World) -> String {
    world.status()["unreachable"].to_string()
}

/// Checks that the second network is reached directly.
#[track_caller]
fn assert_network_answers(world: &World) {
    for host in ["10.2.0.1", NEIGHBOUR] {
        world.wait_for("an answer of the network", || {
            world.laptop(&format!("ping -n -c 1 -W 1 {host} || true")).contains(" 0% packet loss")
        });
        assert!(world.laptop(&format!("ip route get {host}")).contains("dev up2"));
    }
}

#[track_caller]
fn assert_follows(mode: &str, extra: &str) {
    let keys = format!("{ROUTES}\n{mode}\n{extra}");
    in_world(move |world| {
        world.shell(&format!("ip -n r2 addr add {NEIGHBOUR}/24 dev lan"));
        let unplugged = world.routes();
        world.plug(1, 100);
        let before = world.routes();
        world.profile(LITERAL, &keys);
        world.up();
        let pings = Pings::start();
        assert!(into_tunnel(world) && unreachable(world) == "null", "{}", world.log());

        // Both networks at once: the tunnel stays on the first.
        world.plug(2, 200);
        world.wait_for("the network's own route", || !into_tunnel(world));
        assert_network_answers(world);
        world.wait_for("the status", || unreachable(world) == "[\"10.2.0.0/24\"]");
        pings.time_to_answer(Instant::now(), || world.log());

        // Without the first one: the tunnel comes up again over the colliding network.
        world.unplug(1);
        world.wait_for("another connection", || {
            world.status()["reconnects"] == 1 && world.status()["state"] == "up"
        });
        assert_network_answers(world);
        assert!(!into_tunnel(world) && unreachable(world) == "[\"10.2.0.0/24\"]", "{}", world.log());
        assert!(
            world.status()["warnings"].to_string().contains("this host is connected to 10.2.0.0/24 on up2")
        );
        pings.time_to_answer(Instant::now(), || world.log());

        // Back, with a time without any network between.
        world.unplug(2);
        world.plug(1, 100);
        world.wait_for("another connection", || {
            world.status()["reconnects"] == 2 && world.status()["state"] == "up"
        });
        world.wait_for("the route", || into_tunnel(world));
        assert_eq!(unreachable(world), "null");
        pings.time_to_answer(Instant::now(), || world.log());
        drop(pings);
        world.down();
        assert_eq!(world.routes(), before, "{}", world.log());
        world.unplug(1);
        assert_eq!(world.routes(), unplugged, "{}", world.log());
    });
}

#[test]
fn colliding_network_is_followed_with_split_routes() {
    assert_follows("", "");
}

#[test]
fn colliding_network_is_followed_in_every_mode() {
    for mode in MODES {
        assert_follows(&default_route(mode), "");
    }
}

/// The kill switch refuses what the route would lead into the tunnel, but not the network.
#[test]
fn colliding_network_is_followed_behind_the_kill_switch() {
    assert_follows("", "leak = \"block\"");
}

/// The second network has the peer's address as its gateway, and the client that configures it leaves the choice of
/// the interface to the kernel, while the supervisor does not run.
#[test]
fn gateway_with_the_address_of_the_peer_answers() {
    in_world(|world| {
        world.shell("ip -n r2 addr add 10.77.0.1/24 dev lan; ip route add 10.77.0.0/24 via 203.0.113.6");
        world.plug(1, 100);
        let before = world.routes();
        world.profile(LITERAL, "routes = [\"10.77.0.0/24\", \"192.168.77.0/24\"]");
        world.up();
        let peer = || world.laptop("ip route get 10.77.0.1");
        assert!(peer().contains("dev tun0"), "{}", peer());
        let supervisor = world.status()["supervisor_pid"].as_u64().unwrap();
        world.laptop(&format!("kill -STOP {supervisor}"));
        world.laptop(
            "ip link set up2 up; ip addr add 10.77.0.9/24 dev up2; ip route add default via 10.77.0.1 metric 200",
        );
        let default = || world.laptop("ip route show default metric 200");
        assert!(default().contains("dev tun0"), "the kernel has chosen another device: {}", default());
        world.laptop(&format!("kill -CONT {supervisor}"));
        world.wait_for("the default route by the network", || default().contains("via 10.77.0.1 dev up2"));
        world.wait_for("the gateway", || peer().contains("dev up2"));
        world.wait_for("an answer of the gateway", || {
            world.laptop("ping -n -c 1 -W 1 10.77.0.1 || true").contains(" 0% packet loss")
        });
        world.laptop("ip addr flush dev up2; ip link set up2 down");
        world.wait_for("the peer in the tunnel", || peer().contains("dev tun0"));
        assert_eq!(world.status()["reconnects"], 0, "{}", world.log());
        world.down();
        assert_eq!(world.routes(), before, "{}", world.log());
    });
}

/// The second network has our address in the tunnel as its resolver: the address is given up until the laptop leaves.
#[test]
fn resolver_with_our_address_is_reached() {
    in_world(|world| {
        world.private_etc();
        let by_hand = "nameserver 10.1.0.1\n";
        fs::write("/etc/resolv.conf", by_hand).unwrap();
        world.plug(1, 100);
        let before = world.routes();
        world.profile(LITERAL, "routes = [\"192.168.77.0/24\"]");
        world.up();
        let pings = Pings::start();
        pings.time_to_answer(Instant::now(), || world.log());
        let ours = world.status()["local"].as_str().unwrap().to_owned();
        world.shell(&format!("ip -n r2 addr add {ours}/24 dev lan"));
        fs::write("/etc/resolv.conf", format!("nameserver {ours}\n")).unwrap();
        world.laptop("ip link set up2 up; ip addr add 10.77.0.9/24 dev up2");
        let way = || world.laptop(&format!("ip route get {ours}"));
        world.wait_for("the resolver", || way().contains("dev up2"));
        world.wait_for("an answer of the resolver", || {
            world.laptop(&format!("ping -n -c 1 -W 1 {ours} || true")).contains(" 0% packet loss")
        });
        let warnings = world.status()["warnings"].to_string();
        assert!(warnings.contains("a resolver of this host"), "{warnings}");
        fs::write("/etc/resolv.conf", by_hand).unwrap();
        world.laptop("ip addr flush dev up2; ip link set up2 down");
        world.wait_for("our address", || way().contains("local"));
        pings.time_to_answer(Instant::now(), || world.log());
        assert!(world.status()["warnings"].is_null(), "{}", world.status());
        drop(pings);
        world.down();
        assert_eq!(world.routes(), before, "{}", world.log());
    });
}

/// The second network has the address of the tunnel's resolver: this host's own resolvers come back meanwhile.
#[test]
fn resolver_of_the_tunnel_is_not_asked_in_a_colliding_network() {
    in_world(|world| {
        world.private_etc();
        let by_hand = "nameserver 10.1.0.1\n";
        fs::write("/etc/resolv.conf", by_hand).unwrap();
        let resolv_conf = || fs::read_to_string("/etc/resolv.conf").unwrap();
        world.plug(1, 100);
        let dns = format!("dns = {{ servers = [\"{NEIGHBOUR}\"], backend = \"file\" }}");
        world.profile(LITERAL, &format!("{ROUTES}\n{dns}"));
        world.up();
        assert!(resolv_conf().contains(NEIGHBOUR), "{}", world.log());
        world.plug(2, 200);
        world.wait_for("the host's resolver", || resolv_conf() == by_hand);
        let warnings = world.status()["warnings"].to_string();
        assert!(warnings.contains("the tunnel's resolver 10.2.0.53 is not asked"), "{warnings}");
        world.unplug(2);
        world.wait_for("the tunnel's resolver", || resolv_conf().contains(NEIGHBOUR));
        world.down();
        assert_eq!(resolv_conf(), by_hand);
    });
}
