//! The tunnel beside the rules, routes and tables that other programs put on a host, made by hand as these
//! programs make them: each mode of the default route comes up, carries, goes away, and leaves theirs
//! untouched.

use std::{io::Read, net::SocketAddr, time::Duration};

use pptpctl::testing::profile::{DefaultRoute, Leak};

use crate::{
    leaks::send,
    namespace::{Lab, assert_none, ip, nft, uplink, with_default},
};

/// What one program puts on a host.
struct Neighbour {
    name: &'static str,
    /// Its devices: name and address.
    devices: &'static [(&'static str, &'static str)],
    /// Lines of ip(8).
    lines: &'static str,
    /// Input of nft(8).
    rules: &'static str,
    /// Destinations that stay with the program, and the arguments of the route lookup that shows it.
    keeps: &'static [(&'static str, &'static str)],
}

const NEIGHBOURS: &[Neighbour] = &[
    Neighbour {
        name: "Tailscale",
        devices: &[("tailscale0", "100.101.102.103/32")],
        lines: "rule add pref 5210 fwmark 0x80000/0xff0000 table main\n\
                rule add pref 5230 fwmark 0x80000/0xff0000 table default\n\
                rule add pref 5250 fwmark 0x80000/0xff0000 unreachable\n\
                rule add pref 5270 table 52\n\
                -6 rule add pref 5210 fwmark 0x80000/0xff0000 table main\n\
                -6 rule add pref 5230 fwmark 0x80000/0xff0000 table default\n\
                -6 rule add pref 5250 fwmark 0x80000/0xff0000 unreachable\n\
                -6 rule add pref 5270 table 52\n\
                route add 100.100.100.100 dev tailscale0 table 52\n\
                route add 100.64.7.7 dev tailscale0 table 52\n",
        rules: "table ip filter {\n chain ts-input { }\n \
                chain INPUT { type filter hook input priority filter; policy accept; jump ts-input; }\n}\n",
        keeps: &[("100.64.7.7", "dev tailscale0"), ("100.100.100.100", "dev tailscale0")],
    },
    Neighbour {
        name: "Docker",
        devices: &[("docker0", "172.17.0.1/16"), ("br-3f9ac1d", "172.18.0.1/16")],
        lines: "",
        rules: "table ip nat {\n chain DOCKER { }\n \
                chain POSTROUTING { type nat hook postrouting priority srcnat; policy accept; \
                ip saddr 172.17.0.0/16 oifname != \"docker0\" masquerade; }\n}\n\
                table ip filter {\n chain DOCKER-USER { return; }\n \
                chain FORWARD { type filter hook forward priority filter; policy drop; jump DOCKER-USER; }\n}\n",
        keeps: &[("172.17.0.5", "dev docker0"), ("172.18.0.5", "dev br-3f9ac1d")],
    },
    Neighbour {
        name: "firewalld",
        devices: &[],
        lines: "",
        rules: "table inet firewalld {\n \
                chain filter_INPUT { type filter hook input priority filter + 10; policy accept; \
                iifname \"lo\" accept; reject with icmpx admin-prohibited; }\n \
                chain filter_OUTPUT { type filter hook output priority filter + 10; policy accept; }\n}\n",
        keeps: &[],
    },
    // A second uplink with rules by source, and the routes of a lease.
    Neighbour {
        name: "systemd-networkd",
        devices: &[("en1", "192.168.5.2/24")],
        lines: "rule add pref 1000 from 192.168.5.2 table 100 proto static\n\
                route add default via 192.168.5.1 dev en1 table 100 proto static\n\
                route add default via 192.168.5.1 dev en1 proto dhcp src 192.168.5.2 metric 1024\n\
                route add 192.168.5.1 dev en1 proto dhcp scope link src 192.168.5.2 metric 1024\n",
        rules: "",
        keeps: &[("192.168.5.9", "dev en1"), ("8.8.8.8 from 192.168.5.2", "via 192.168.5.1 dev en1")],
    },
    // AllowedIPs of some networks: a route for each.
    Neighbour {
        name: "wg-quick for one network",
        devices: &[("wg0", "10.8.0.2/24")],
        lines: "route add 10.9.0.0/16 dev wg0\n",
        rules: "table ip wg-quick-wg0 {\n \
                chain premangle { type filter hook prerouting priority mangle; policy accept; \
                meta l4proto udp meta mark set ct mark; }\n}\n",
        keeps: &[("10.8.0.7", "dev wg0"), ("10.9.1.1", "dev wg0")],
    },
];

#[test]
fn every_mode_works_beside_other_programs() {
    for neighbour in NEIGHBOURS {
        for mode in [DefaultRoute::Policy, DefaultRoute::Halves, DefaultRoute::Replace] {
            for leak in [Leak::Allow, Leak::Block] {
                Lab::run(|lab| {
                    let name = format!("{}, {} {leak:?}", neighbour.name, mode.name());
                    lab.one_uplink();
                    for (device, address) in neighbour.devices {
                        uplink(device, address, &format!("fd00:{}::1/64", neighbour.name.len()));
                    }
                    for line in neighbour.lines.lines() {
                        ip(&line.split_whitespace().collect::<Vec<_>>());
                    }
                    if !neighbour.rules.is_empty() {
                        nft(&[neighbour.rules]);
                    }
                    let before = lab.state();
                    let mut profile = with_default(mode);
                    profile.leak = leak;
                    // With the kill switch, networks that are routed and not connected have to be excluded.
                    profile.exclude = vec!["10.9.0.0/16".parse().unwrap()];
                    let mut session = lab.session("vpn");
                    lab.bring_up(&mut session, &profile).unwrap();
                    assert_carries(&session, &name);
                    for (lookup, wanted) in neighbour.keeps {
                        let words = format!("route get {lookup}");
                        let found = ip(&words.split(' ').collect::<Vec<_>>());
                        assert!(found.contains(wanted), "{name}: {lookup}: {found}");
                    }
                    let control = "route get 203.0.113.9 ipproto tcp dport 1723 mark";
                    let mark = session.facts(crate::namespace::SERVER, None).unwrap().table.unwrap();
                    let words = format!("{control} {mark}");
                    let found = ip(&words.split(' ').collect::<Vec<_>>());
                    assert!(found.contains("via 192.0.2.1 dev up0"), "{name}: {found}");
                    assert_none(session.undo_all_and_close());
                    lab.assert_state(&before, &name);

                    let mut session = lab.session("vpn");
                    lab.bring_up(&mut session, &profile).unwrap();
                    let device = session.tun().unwrap().name.clone();
                    drop(session);
                    lab.wait_until_gone(&device);
                    lab.recover();
                    lab.assert_state(&before, &format!("{name}, killed"));
                });
            }
        }
    }
}

/// wg-quick with all networks in `AllowedIPs`. In mode `policy` the tunnel's rules come first and it carries;
/// the other modes say that the two do not fit together.
#[test]
fn other_default_route_is_reported() {
    for mode in [DefaultRoute::Policy, DefaultRoute::Halves, DefaultRoute::Replace] {
        Lab::run(|lab| {
            lab.one_uplink();
            uplink("wg0", "10.8.0.2/24", "fd00:8::2/64");
            ip(&["route", "add", "0.0.0.0/0", "dev", "wg0", "table", "51820"]);
            ip(&["rule", "add", "not", "fwmark", "51820", "table", "51820"]);
            ip(&["rule", "add", "table", "main", "suppress_prefixlength", "0"]);
            let before = lab.state();
            let mut session = lab.session("vpn");
            lab.bring_up(&mut session, &with_default(mode)).unwrap();
            let warnings = session.rival_default_routes().unwrap();
            let wanted = if mode == DefaultRoute::Policy { "come first" } else { "mode = \"policy\"" };
            assert!(warnings.len() == 1 && warnings[0].contains(wanted), "{}: {warnings:?}", mode.name());
            if mode == DefaultRoute::Policy {
                assert_carries(&session, mode.name());
            }
            assert_none(session.undo_all_and_close());
            lab.assert_state(&before, mode.name());
        });
    }
    // It comes up after the tunnel: the kernel puts its rules first.
    Lab::run(|lab| {
        lab.one_uplink();
        uplink("wg0", "10.8.0.2/24", "fd00:8::2/64");
        let mut session = lab.session("vpn");
        lab.bring_up(&mut session, &with_default(DefaultRoute::Policy)).unwrap();
        assert_eq!(session.rival_default_routes().unwrap(), [""; 0]);
        ip(&["route", "add", "0.0.0.0/0", "dev", "wg0", "table", "51820"]);
        ip(&["rule", "add", "not", "fwmark", "51820", "table", "51820"]);
        let warnings = session.rival_default_routes().unwrap();
        assert!(warnings.len() == 1 && warnings[0].contains("do not enter"), "{warnings:?}");
        assert_none(session.undo_all_and_close());
    });
}

/// OpenVPN with `redirect-gateway def1`: two halves in the main table, which a whole default route does not beat.
#[test]
fn other_halves_are_reported() {
    for mode in [DefaultRoute::Policy, DefaultRoute::Replace] {
        Lab::run(|lab| {
            lab.one_uplink();
            uplink("tun5", "10.8.0.2/24", "fd00:8::2/64");
            ip(&["route", "add", "0.0.0.0/1", "dev", "tun5"]);
            ip(&["route", "add", "128.0.0.0/1", "dev", "tun5"]);
            let before = lab.state();
            let mut session = lab.session("vpn");
            lab.bring_up(&mut session, &with_default(mode)).unwrap();
            let warnings = session.rival_default_routes().unwrap();
            assert!(
                warnings.len() == 1 && warnings[0].contains("do not enter this tunnel"),
                "{}: {warnings:?}",
                mode.name()
            );
            assert!(ip(&["route", "get", "8.8.8.8"]).contains("dev tun5"), "the warning is wrong");
            assert_none(session.undo_all_and_close());
            lab.assert_state(&before, mode.name());
        });
    }
}

/// Sends a datagram to a remote host and reads it from the tunnel's device.
#[track_caller]
fn assert_carries(session: &pptpctl::testing::apply::Changes, name: &str) {
    let mut device = std::fs::File::from(session.tun().unwrap().share().unwrap());
    let to: SocketAddr = "8.8.8.8:4711".parse().unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    let mut packet = [0; 2048];
    loop {
        send(to);
        // The device is non-blocking.
        match device.read(&mut packet) {
            Ok(size) if packet[..size].windows(4).any(|bytes| bytes == [8, 8, 8, 8]) => return,
            _ => std::thread::sleep(Duration::from_millis(5)),
        }
        assert!(std::time::Instant::now() < deadline, "{name}: no packet enters the tunnel");
    }
}
