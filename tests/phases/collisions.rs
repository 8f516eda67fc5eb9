//! The client's own network has the addresses of a route of the profile: 192.0.2.0/24, with the gateway, a resolver
//! and the server in it. The network wins, or `up` refuses.

use std::{fs, net::Ipv4Addr, process::Stdio};

use pptpctl::testing::demo::config::ServerConfig;

use crate::{
    working_server,
    world::{World, in_world, text},
};

const GATEWAY: &str = "192.0.2.200";
const RESOLVER: &str = "192.0.2.201";
const ROUTE: &str = "routes = [\"192.0.2.0/24\", \"192.168.77.0/24\"]";

/// Gives the client's network a gateway, a default route by it, and a resolver.
fn furnish(world: &World) {
    world.shell(&format!(
        "set -e; for host in {GATEWAY} {RESOLVER}; do
             nsenter -t 1 -n ip addr add $host/24 dev $(nsenter -t 1 -n ip -o route show 192.0.2.0/24 | sed 's/.* dev \\([^ ]*\\).*/\\1/')
         done
         ip route add default via {GATEWAY} proto dhcp metric 100
         echo nameserver {RESOLVER} > /run/test.resolv; mount --bind /run/test.resolv /etc/resolv.conf"
    ));
}

/// Runs `action` while the gateway and the resolver are pinged; they have to answer throughout.
#[track_caller]
fn while_network_answers(world: &World, action: impl FnOnce()) {
    let pings = [GATEWAY, RESOLVER].map(|host| {
        let mut command = std::process::Command::new("ping");
        command.args(["-n", "-i", "0.1", "-c", "25", "-W", "20", host]).stdout(Stdio::piped());
        world.spawn(&mut command)
    });
    action();
    for ping in pings {
        let output = text(&ping.wait_with_output().stdout);
        assert!(output.contains(" 0% packet loss"), "{output}");
    }
}

/// Returns the prefixes that the status calls unreachable.
#[track_caller]
fn unreachable(world: &World) -> Option<serde_json::Value> {
    let status: serde_json::Value =
        serde_json::from_slice(&world.run(&["status", "vpn", "--json"]).stdout).unwrap();
    status.get("unreachable").cloned()
}

#[test]
fn up_refuses_a_route_to_its_own_network() {
    in_world(working_server(), |world| {
        furnish(world);
        world.profile(ROUTE);
        let words = [
            "192.0.2.0/24 would take over 192.0.2.0/24 on eth0",
            GATEWAY,
            "collision = \"keep-lan\"",
            "exclude",
            "link.netns",
            "renumber",
        ];
        world.assert_up_fails(30, "routes", &words, 10.0);
        let shown = world.run(&["up", "--dry-run", "vpn"]);
        assert_eq!(shown.status.code(), Some(30));
        let shown = text(&shown.stdout);
        assert!(words.iter().all(|word| shown.contains(word)), "{shown}");

        // A whole network is refused in this mode too; a part of it is not.
        world.profile(&format!("{ROUTE}\ncollision = \"tunnel\""));
        world.assert_up_fails(30, "routes", &words[..1], 10.0);

        // A resolver that is reached through the gateway.
        fs::write("/run/test.resolv", "nameserver 10.99.0.53\n").unwrap();
        world.profile("routes = [\"10.0.0.0/8\"]");
        world.assert_up_fails(
            30,
            "routes",
            &["10.99.0.53, a resolver of this host", "exclude = [\"10.99.0.53\"]"],
            10.0,
        );
        // Not one that a longer route leads to.
        world.shell(&format!("ip route add 10.99.0.0/16 via {GATEWAY}"));
        let before = world.state();
        world.up();
        let way = world.shell("ip route get 10.99.0.53");
        assert!(way.contains(&format!("via {GATEWAY} dev eth0")), "{way}");
        world.down(&before);
        world.shell("ip route del 10.99.0.0/16");
        // It stays outside with this mode.
        world.profile("routes = [\"10.0.0.0/8\"]\ncollision = \"tunnel\"");
        let before = world.state();
        world.up();
        let way = |host: &str| world.shell(&format!("ip route get {host}"));
        assert!(way("10.99.0.53").contains(&format!("via {GATEWAY} dev eth0")), "{}", way("10.99.0.53"));
        assert!(way("10.99.0.54").contains("dev tun0"), "{}", way("10.99.0.54"));
        world.down(&before);
    });
}

/// In every mode of the default route, and after the supervisor was killed.
#[track_caller]
fn assert_network_is_kept(mode: &'static str, extra: &'static str) {
    in_world(working_server(), move |world| {
        furnish(world);
        let default =
            if mode.is_empty() { String::new() } else { format!("\ndefault = {{ mode = \"{mode}\" }}") };
        world.profile(&format!("{ROUTE}{default}\ncollision = \"keep-lan\"{extra}"));
        let before = world.state();
        let shown = text(&world.run(&["up", "--dry-run", "vpn"]).stdout);
        assert!(!shown.contains("192.0.2.0/24 dev tun"), "{shown}");
        assert!(shown.contains("192.0.2.0/24 is not reached through the tunnel"), "{shown}");
        while_network_answers(world, || {
            world.up();
            assert_eq!(unreachable(world), Some(serde_json::json!(["192.0.2.0/24"])));
            let shown = text(&world.run(&["status", "vpn"]).stdout);
            assert!(
                shown.contains("192.0.2.0/24 is not reached through the tunnel: this host is connected"),
                "{shown}"
            );
            let routes = world.shell("ip route show table all");
            assert!(!routes.contains("192.0.2.0/24 dev tun0"), "{routes}");
            crate::download(world.server_config.office, 10_000);
            world.down(&before);
        });
        while_network_answers(world, || {
            world.up();
            world.shell(&format!("kill -9 {}", world.pid("supervisor_pid")));
            // The kernel may still be ending the process.
            world.wait_for(|| {
                world.run(&["recover"]);
                fs::read_dir("/var/lib/pptpctl").unwrap().next().is_none()
            });
        });
        world.assert_state(&before);
    });
}

#[test]
fn network_is_kept_with_split_routes() {
    assert_network_is_kept("", "");
}

#[test]
fn network_is_kept_with_split_routes_and_kill_switch() {
    assert_network_is_kept("", "\nleak = \"block\"");
}

#[test]
fn network_is_kept_in_mode_halves() {
    assert_network_is_kept("halves", "");
}

#[test]
fn network_is_kept_in_mode_replace() {
    assert_network_is_kept("replace", "");
}

#[test]
fn network_is_kept_in_mode_policy() {
    assert_network_is_kept("policy", "");
}

/// Only the file changes, as when a DHCP lease brings another resolver: no message of the kernel follows.
#[test]
fn route_to_a_new_resolver_is_left_out() {
    in_world(working_server(), |world| {
        furnish(world);
        world.profile("routes = [\"10.0.0.0/8\", \"192.168.77.0/24\"]");
        let before = world.state();
        world.up();
        let into_tunnel = || world.shell("ip route show 10.0.0.0/8").contains("dev tun0");
        assert!(into_tunnel() && unreachable(world).is_none());
        fs::write("/run/test.resolv", "nameserver 10.99.0.53\n").unwrap();
        world.wait_for(|| !into_tunnel());
        assert_eq!(unreachable(world), Some(serde_json::json!(["10.0.0.0/8"])));
        fs::write("/run/test.resolv", format!("nameserver {RESOLVER}\n")).unwrap();
        world.wait_for(into_tunnel);
        assert_eq!(unreachable(world), None);
        world.down(&before);
    });
}

/// The kill switch passes connected networks of private space only: this one has public addresses.
#[test]
fn public_network_behind_the_kill_switch_is_reported_as_cut_off() {
    in_world(working_server(), |world| {
        furnish(world);
        for mode in ["policy", "halves", "replace"] {
            world.profile(&format!(
                "{ROUTE}\ndefault = {{ mode = \"{mode}\" }}\ncollision = \"keep-lan\"\nleak = \"block\""
            ));
            let before = world.state();
            world.up();
            let way = world.shell(&format!("ip route get {GATEWAY} ipproto icmp"));
            assert!(way.contains("dev tun0"), "{mode}: {way}");
            assert_eq!(unreachable(world), None, "{mode}");
            let shown = text(&world.run(&["status", "vpn"]).stdout);
            let words = "192.0.2.0/24 on eth0, a network of this host, is not reached";
            assert!(shown.contains(words) && !shown.contains("through the tunnel"), "{mode}: {shown}");
            world.down(&before);
        }
    });
}

#[test]
fn part_of_the_network_goes_through_the_tunnel_but_not_its_gateway() {
    in_world(working_server(), |world| {
        furnish(world);
        // The server is in this part too.
        world.profile("routes = [\"192.0.2.128/25\", \"192.0.2.0/25\"]\ncollision = \"tunnel\"");
        let before = world.state();
        while_network_answers(world, || {
            world.up();
            for (host, device) in [
                (GATEWAY, "eth0"),
                (RESOLVER, "eth0"),
                ("192.0.2.1", "eth0"),
                ("192.0.2.150", "tun0"),
                ("192.0.2.7", "tun0"),
            ] {
                let way = world.shell(&format!("ip route get {host}"));
                assert!(way.contains(&format!("dev {device} ")), "{way}");
            }
            assert_eq!(unreachable(world), None);
            world.down(&before);
        });
    });
}

#[test]
fn address_of_the_gateway_is_not_accepted() {
    let first = Ipv4Addr::new(192, 0, 2, 200);
    in_world(ServerConfig { first, addresses: 1, ..working_server() }, |world| {
        furnish(world);
        world.profile("");
        while_network_answers(world, || {
            let words = ["the server assigns 192.0.2.200 to this host", "a gateway of this host"];
            world.assert_up_fails(30, "routes", &words, 10.0);
        });
    });
}

/// The server's own address, those of the host, of a next hop and of a resolver, and one that stands for a network.
#[test]
fn addresses_that_the_host_needs_are_not_accepted() {
    let worlds: Vec<_> = [
        ("192.0.2.1", "the server's own address on the Internet"),
        ("192.0.2.2", "which has it already, outside the tunnel"),
        ("198.51.100.7", "which has it already, outside the tunnel"),
        ("192.0.2.202", "a next hop of this host's routes"),
        (RESOLVER, "a resolver of this host"),
        ("192.0.2.255", "stands for all hosts of 192.0.2.0/24 on eth0"),
    ]
    .map(|(first, words)| {
        let first = first.parse().unwrap();
        crate::new_world(ServerConfig { first, addresses: 1, ..working_server() }, move |world| {
            furnish(world);
            world.shell("ip addr add 198.51.100.7/32 dev lo; ip route add 10.90.0.0/16 via 192.0.2.202");
            world.profile("");
            world.assert_up_fails(
                30,
                "routes",
                &[&format!("the server assigns {first} to this host"), words],
                10.0,
            );
        })
    })
    .into_iter()
    .collect();
    worlds.into_iter().for_each(crate::join_world);
}

/// Servers whose pool is in their LAN exist, and so do networks that happen to be the same.
#[test]
fn address_in_the_network_of_the_host_is_accepted() {
    let first = Ipv4Addr::new(192, 0, 2, 77);
    let server = Ipv4Addr::new(192, 0, 2, 1);
    in_world(ServerConfig { first, addresses: 1, inner: server, ..working_server() }, move |world| {
        furnish(world);
        world.profile("");
        let before = world.state();
        while_network_answers(world, || {
            let up = world.run(&["up", "vpn"]);
            let printed = text(&up.stdout) + &text(&up.stderr);
            assert!(up.status.success(), "{printed}");
            assert!(
                printed.contains("our address in the tunnel, 192.0.2.77, is one of 192.0.2.0/24 on eth0"),
                "{printed}"
            );
            assert!(printed.contains("is the server's own: no route to it in the tunnel"), "{printed}");
            let addresses = world.shell("ip -o -4 addr show dev tun0");
            assert!(addresses.contains("192.0.2.77/32"), "{addresses}");
            assert!(world.shell("ip route get 192.0.2.1").contains("dev eth0"));
            crate::download(world.server_config.office, 10_000);
            world.down(&before);
        });
    });
}

/// A peer whose address is that of a resolver elsewhere does not get its queries.
#[test]
fn peer_with_the_address_of_a_resolver_gets_no_route() {
    let resolver = Ipv4Addr::new(198, 51, 100, 53);
    in_world(ServerConfig { inner: resolver, ..working_server() }, move |world| {
        furnish(world);
        fs::write("/run/test.resolv", format!("nameserver {resolver}\n")).unwrap();
        world.profile("");
        let before = world.state();
        world.up();
        let way = world.shell(&format!("ip route get {resolver}"));
        assert!(way.contains(&format!("via {GATEWAY} dev eth0")), "{way}");
        world.down(&before);
    });
}

#[test]
fn route_and_unit_of_another_tunnel_name_its_profile() {
    in_world(working_server(), |world| {
        world.profile("unit = 7");
        let first = fs::read_to_string(World::CONFIG).unwrap();
        let second = first.replace("[profile.vpn]", "[profile.other]");
        let fails = |profile: &str, code: i32, words: &str| {
            fs::write(World::CONFIG, format!("{first}\n{profile}")).unwrap();
            let output = world.run(&["up", "other"]);
            let printed = text(&output.stdout) + &text(&output.stderr);
            assert_eq!(output.status.code(), Some(code), "{printed}");
            assert!(printed.contains(words), "{printed}");
        };
        let before = world.state();
        world.up();
        fails(&second.replace("unit = 7", ""), 30, "the route to 192.168.77.0/24 is that of the tunnel vpn");
        let elsewhere = second.replace("192.168.77.0/24", "10.42.0.0/16");
        fails(&elsewhere, 22, "profile vpn has it");
        fs::write(World::CONFIG, &first).unwrap();
        world.down(&before);
    });
}
