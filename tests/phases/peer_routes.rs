//! `peer-routes`: dnsmasq(8) behind the tunnel answers the client's DHCPINFORM.

use std::{fs, net::Ipv4Addr, process::Command};

use crate::{
    working_server,
    world::{Running, World, in_world, text},
};

/// A network, a host, a prefix that `routes` has already, an excluded one, the server itself and its network,
/// and a prefix that is never accepted. The routers are ignored.
const OFFERED: &str = "10.50.0.0/16,10.77.0.1,172.16.9.1/32,10.77.0.1,192.168.77.0/24,10.77.0.1,10.60.7.0/24,10.77.0.1,\
    192.0.2.1/32,10.77.0.1,192.0.2.0/25,10.77.0.1,127.0.0.0/8,10.77.0.1";

#[test]
fn peer_routes_are_added() {
    for option in ["121", "249"] {
        in_world(working_server(), move |world| {
            // One of the offered routes is a part of the client's own network.
            world.profile("peer-routes = true\nexclude = [\"10.60.0.0/16\"]\ncollision = \"tunnel\"");
            let _dnsmasq = dnsmasq(world, &[&format!("--dhcp-option-force={option},{OFFERED}")]);
            let before = world.state();
            let output = world.run(&["up", "vpn"]);
            let printed = text(&output.stdout) + &text(&output.stderr);
            println!("{printed}{}", fs::read_to_string("/var/log/dnsmasq.log").unwrap());
            assert!(output.status.success(), "{printed}");
            assert!(printed.contains("the server offers 6 routes"), "{printed}");
            let routes = world.shell("ip route show proto 112");
            for route in ["10.50.0.0/16", "172.16.9.1", "192.0.2.0/25"] {
                let line = routes.lines().find(|line| line.starts_with(&format!("{route} ")));
                let line = line.unwrap_or_else(|| panic!("{route} is missing in\n{routes}"));
                assert!(line.contains("dev tun0") && line.contains("metric 1000000"), "{line}");
            }
            assert!(!routes.contains("10.60.7.0") && !routes.contains("127."), "{routes}");
            assert_eq!(routes.matches("192.168.77.0/24").count(), 1, "{routes}");
            // The connection to the server is not routed into the tunnel.
            assert!(world.shell("ip route get 192.0.2.1").contains("dev eth0"), "{routes}");
            assert!(world.shell("ip route get 10.50.1.2").contains("dev tun0"));
            crate::download(world.server_config.office, 100_000);
            let status = world.status_with_counters();
            assert!(status["counters"]["inform.sent"].is_u64(), "{status}");
            world.down(&before);
        });
    }
}

#[test]
fn peer_routes_are_optional() {
    in_world(working_server(), |world| {
        world.profile("peer-routes = true");
        let before = world.state();
        let output = world.run(&["up", "vpn"]);
        let printed = text(&output.stdout) + &text(&output.stderr);
        assert!(output.status.success(), "{printed}");
        assert!(printed.contains("the server did not answer (DHCPINFORM)"), "{printed}");
        crate::download(world.server_config.office, 10_000);
        world.down(&before);
    });
}

/// A redial requests the routes again: routes still offered are not touched, new ones are added, withdrawn
/// ones removed, and without an answer all stay. The connection to the server is never routed into the
/// tunnel.
#[test]
fn redial_applies_changed_peer_routes() {
    for kill_switch in [false, true] {
        in_world(working_server(), move |world| {
            let leak = if kill_switch { "leak = \"block\"\n" } else { "" };
            world.profile(&format!(
                "peer-routes = true\ncollision = \"tunnel\"\n{leak}retry.first = \"100ms\""
            ));
            let before = world.state();
            let option = |routes: &str| format!("--dhcp-option-force=121,{routes}");
            let both = option("10.50.0.0/16,10.77.0.1,192.0.2.0/25,10.77.0.1");
            let first = dnsmasq(world, &[&both]);
            world.up();
            // The routes into the tunnel, those that bypass it, and the `unreachable` ones of the kill
            // switch.
            let assert_routes = |expected: [&str; 3]| {
                let all = world.shell("ip route show proto 112");
                let of = |is: fn(&str) -> bool| {
                    let words = all
                        .lines()
                        .filter(|line| is(line))
                        .map(|line| line.trim_start_matches("unreachable "));
                    let prefixes = words.filter_map(|line| line.split_whitespace().next());
                    let mut prefixes: Vec<&str> = prefixes.collect();
                    prefixes.sort_unstable();
                    prefixes.join(" ")
                };
                let [tunnel, bypass, refused] = expected;
                assert_eq!(of(|line| line.contains("dev tun0")), tunnel, "{all}");
                assert_eq!(of(|line| line.contains("dev eth0")), bypass, "{all}");
                assert_eq!(
                    of(|line| line.starts_with("unreachable")),
                    if kill_switch { refused } else { "" },
                    "{all}"
                );
                assert!(world.shell("ip route get 192.0.2.1").contains("dev eth0"), "{all}");
            };
            let with_both = [
                "10.50.0.0/16 192.0.2.0/25 192.168.77.0/24",
                "192.0.2.1",
                "10.50.0.0/16 192.0.2.0/25 192.168.77.0/24",
            ];
            assert_routes(with_both);

            let monitor_log = "/var/log/routes";
            let mut monitor = Command::new("ip");
            monitor.args(["-o", "monitor", "route"]).stdout(fs::File::create(monitor_log).unwrap());
            let _monitor = world.spawn(&mut monitor);
            let redial = |times: u64| {
                world.shell(&format!("kill -9 {}", world.pid("engine_pid")));
                world.wait_for(|| {
                    let status = text(&world.run(&["status", "vpn", "--json"]).stdout);
                    status.contains(&format!("\"reconnects\":{times},"))
                        && status.contains("\"state\":\"up\"")
                });
            };
            let probe = "198.18.0.0/15";
            let deleted = || -> Vec<String> {
                let monitor_log = fs::read_to_string(monitor_log).unwrap();
                let deleted = monitor_log.lines().filter_map(|line| line.strip_prefix("Deleted "));
                deleted.filter(|line| !line.starts_with(probe)).map(str::to_owned).collect()
            };
            // Waits until the monitor runs, so that an empty log means that nothing was deleted.
            world.wait_for(|| {
                world.shell(&format!("ip route add {probe} dev lo; ip route del {probe} dev lo; sleep 0.02"));
                fs::read_to_string(monitor_log).unwrap().contains(&format!("Deleted {probe}"))
            });

            redial(1);
            assert_routes(with_both);
            assert_eq!(deleted(), Vec::<String>::new());

            drop(first);
            let other = dnsmasq(world, &[&option("10.51.0.0/16,10.77.0.1")]);
            redial(2);
            let with_other = ["10.51.0.0/16 192.168.77.0/24", "", "10.51.0.0/16 192.168.77.0/24"];
            assert_routes(with_other);
            let position_of = |start: &str| {
                let deleted = deleted();
                deleted
                    .iter()
                    .position(|line| line.starts_with(start))
                    .unwrap_or_else(|| panic!("{start}: {deleted:?}"))
            };
            world.wait_for(|| deleted().iter().any(|line| line.starts_with("192.0.2.1 ")));
            assert!(
                position_of("192.0.2.0/25 dev tun0") < position_of("192.0.2.1 dev eth0"),
                "the host route was deleted before the tunnel's route: {:?}",
                deleted()
            );

            drop(other);
            redial(3);
            assert_routes(with_other);
            let log = fs::read_to_string("/var/log/pptpctl/vpn.log").unwrap();
            assert!(log.contains("the server did not answer; its earlier routes stay"), "{log}");

            let nothing = dnsmasq(world, &[]);
            redial(4);
            assert_routes(["192.168.77.0/24", "", "192.168.77.0/24"]);
            drop(nothing);

            let _again = dnsmasq(world, &[&both]);
            redial(5);
            assert_routes(with_both);
            world.down(&before);
        });
    }
}

// Helpers.

/// Starts dnsmasq(8) in the server's namespace and waits until it is ready. It serves requests from any
/// device.
fn dnsmasq(world: &World, more: &[&str]) -> Running {
    let inner: Ipv4Addr = world.server_config.inner;
    let log = "/var/log/dnsmasq.log";
    let _old_log = fs::remove_file(log);
    let mut dnsmasq = world.spawn(
        Command::new("nsenter")
            .args(["-t", "1", "-n", "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0"])
            .args(["--user=root", "--leasefile-ro", "--pid-file=", "--log-dhcp"])
            .arg(format!("--log-facility={log}"))
            .arg(format!("--dhcp-range={inner},static,255.255.255.0"))
            .args(more),
    );
    world.wait_for(|| {
        let ended = dnsmasq.try_wait().unwrap();
        assert!(ended.is_none(), "dnsmasq(8) is not installed, or rejects its arguments: {ended:?}");
        fs::read_to_string(log).unwrap_or_default().contains("started")
    });
    dnsmasq
}
