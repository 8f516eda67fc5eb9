//! What stays and what goes while a tunnel is lost.

use super::{
    working_server,
    world::{World, in_world, text},
};
use pptpctl::testing::demo::config::ServerConfig;

/// `retry.keep-routes = false` takes the nftables table too, and no packet passes the device before it is loaded
/// again.
#[test]
fn packet_filter_of_a_lost_tunnel_is_removed_until_it_is_back() {
    in_world(ServerConfig { ipv6: true, ..working_server() }, |world| {
        world.profile(
            "nat = true\nppp.ipv6 = true\nroutes = [\"192.168.77.0/24\", \"2001:db8:42::/48\"]\n\
             retry = { first = \"6s\", keep-routes = false }",
        );
        let before = world.state();
        let tables = || world.shell("nft list tables");
        world.up();
        let during = network(world);
        assert!(tables().contains("table inet pptpctl_vpn"), "{}", tables());
        world.shell(&format!("kill -9 {}", world.pid("engine_pid")));
        world.wait_for(|| text(&world.run(&["list"]).stdout).contains("waiting"));
        assert!(!tables().contains("pptpctl"), "{}", tables());
        let link = world.shell("ip -o link show dev tun0");
        assert!(!link.contains(",UP"), "the device is up without its filter: {link}");
        world.wait_for(|| text(&world.run(&["status", "vpn"]).stdout).contains("vpn: up on tun0"));
        assert_eq!(network(world), during);
        let log = std::fs::read_to_string("/var/log/pptpctl/vpn.log").unwrap();
        assert!(log.contains("retry.keep-routes = false: until"), "{log}");
        world.down(&before);
        assert!(!tables().contains("pptpctl"));
    });
}

/// A redial asks for the address that the server gave before; the first dial of a supervisor does not.
#[test]
fn redial_asks_for_the_same_address() {
    in_world(working_server(), |world| {
        world.profile("retry = { first = \"300ms\", max = \"300ms\" }");
        let before = world.state();
        world.up();
        let address = || world.shell("ip -o -4 addr show dev tun0");
        let first = address();
        let inside = first.split("inet ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap().to_owned();
        let log = || std::fs::read_to_string("/var/log/pptpctl/vpn.log").unwrap();
        assert!(!log().contains("is asked for"), "{}", log());
        world.shell(&format!("kill -9 {}", world.pid("engine_pid")));
        world.wait_for(|| log().contains(&format!("the server is asked for {inside} again")));
        world.wait_for(|| text(&world.run(&["status", "vpn"]).stdout).contains("vpn: up on tun0"));
        world.down(&before);
    });
}

/// A step that fails on a redial, as while another program changes the host, does not end a tunnel that was up.
#[test]
fn tunnel_comes_back_after_a_step_of_a_redial_has_failed() {
    in_world(working_server(), |world| {
        let rules = "/run/rules.nft";
        let write = |text: &str| std::fs::write(rules, text).unwrap();
        write("");
        world.profile(&format!(
            "nftables.file = \"{rules}\"\nretry = {{ first = \"300ms\", max = \"300ms\", keep-routes = false }}"
        ));
        let before = world.state();
        world.up();
        let during = network(world);
        write("no rule\n");
        world.shell(&format!("kill -9 {}", world.pid("engine_pid")));
        let status = || text(&world.run(&["status", "vpn"]).stdout);
        world.wait_for(|| status().contains("a step on this host failed"));
        let link = world.shell("ip -o link show dev tun0");
        assert!(!link.contains(",UP"), "the device is up without its filter: {link}");
        world.wait_for(|| {
            status().contains("have failed 2 times in a row (last failure), so the server is dialled less")
        });
        write("");
        world.wait_for(|| status().contains("vpn: up on tun0"));
        assert_eq!(network(world), during);
        assert!(!status().contains("in a row"), "{}", status());
        world.down(&before);
    });
}

/// Returns what the tunnel has configured, without its new IPv6 interface identifiers.
fn network(world: &World) -> Vec<String> {
    let all = world.shell(
        "nft list ruleset; ip route show dev tun0; ip -6 route show dev tun0; ip -o addr show dev tun0; ip -o link show dev tun0",
    );
    all.lines().map(|line| line.split("fe80").next().unwrap_or_default().trim().to_owned()).collect()
}
