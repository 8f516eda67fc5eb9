//! `peer-routes`: dnsmasq(8) behind the tunnel answers our DHCPINFORM.

use std::{fs, net::Ipv4Addr, process::Command};

use crate::{
    sound,
    world::{Running, World, in_world, text},
};

/// A network, a host, one that is named already, one that stays outside, the server itself and its network, and what
/// nobody may offer. The routers are of no account.
const OFFERED: &str = "10.50.0.0/16,10.77.0.1,172.16.9.1/32,10.77.0.1,192.168.77.0/24,10.77.0.1,10.60.7.0/24,10.77.0.1,\
    192.0.2.1/32,10.77.0.1,192.0.2.0/25,10.77.0.1,127.0.0.0/8,10.77.0.1";

#[test]
fn the_servers_routes_lead_into_the_tunnel() {
    for option in ["121", "249"] {
        in_world(sound(), move |world| {
            world.profile("peer-routes = true\nexclude = [\"10.60.0.0/16\"]");
            let _dnsmasq = dnsmasq(world, &[&format!("--dhcp-option-force={option},{OFFERED}")]);
            let before = world.state();
            let output = world.run(&["up", "vpn"]);
            let said = text(&output.stdout) + &text(&output.stderr);
            println!("{said}{}", fs::read_to_string("/var/log/dnsmasq.log").unwrap());
            assert!(output.status.success(), "{said}");
            assert!(said.contains("the server offers 6 routes"), "{said}");
            let routes = world.shell("ip route show proto 112");
            for route in ["10.50.0.0/16", "172.16.9.1", "192.0.2.0/25"] {
                let line = routes.lines().find(|line| line.starts_with(&format!("{route} ")));
                let line = line.unwrap_or_else(|| panic!("{route} is missing in\n{routes}"));
                assert!(line.contains("dev tun0") && line.contains("metric 1000000"), "{line}");
            }
            assert!(!routes.contains("10.60.7.0") && !routes.contains("127."), "{routes}");
            assert_eq!(routes.matches("192.168.77.0/24").count(), 1, "{routes}");
            // The tunnel does not go into itself.
            assert!(world.shell("ip route get 192.0.2.1").contains("dev eth0"), "{routes}");
            assert!(world.shell("ip route get 10.50.1.2").contains("dev tun0"));
            crate::download(world.orders.office, 100_000);
            let status = world.run(&["status", "vpn", "--json"]);
            assert!(text(&status.stdout).contains("inform.sent"), "{}", text(&status.stdout));
            world.down(&before);
        });
    }
}

#[test]
fn a_server_that_leaves_it_unanswered_is_as_good() {
    in_world(sound(), |world| {
        world.profile("peer-routes = true");
        let before = world.state();
        let output = world.run(&["up", "vpn"]);
        let said = text(&output.stdout) + &text(&output.stderr);
        assert!(output.status.success(), "{said}");
        assert!(said.contains("the server did not answer (DHCPINFORM)"), "{said}");
        crate::download(world.orders.office, 10_000);
        world.down(&before);
    });
}

// Helpers.

/// Debian's dnsmasq in the server's namespace, ready to be asked. It knows nothing of tunnels: any device will do.
fn dnsmasq(world: &World, more: &[&str]) -> Running {
    let inner: Ipv4Addr = world.orders.inner;
    let log = "/var/log/dnsmasq.log";
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
        assert!(ended.is_none(), "dnsmasq(8) is not installed, or does not like its arguments: {ended:?}");
        fs::read_to_string(log).unwrap_or_default().contains("started")
    });
    dnsmasq
}
