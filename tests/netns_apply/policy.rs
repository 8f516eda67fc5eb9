//! Policy routing (marked transport, one table per tunnel, unchanged main table) and excluded prefixes in
//! every mode.

use std::net::IpAddr;

use pptpctl::testing::{
    apply::{AppliedRouting, Cause, Changes, Disposition, Host},
    net::netlink::Netlink,
    plan::{self, FIRST_TABLE, NextHop, SLOTS},
    platform::Platform,
    profile::{DefaultRoute, Leak},
};

use crate::namespace::{Lab, SERVER, assert_none, ip, split, with_default};

#[test]
fn policy_mode_keeps_main_table_and_passes_marked_packets() {
    Lab::run(|lab| {
        lab.two_uplinks();
        let before = lab.state();
        let main = ip(&["route", "show", "table", "main"]);
        let mut session = lab.session("vpn");
        lab.bring_up(&mut session, &with_default(DefaultRoute::Auto)).unwrap();
        let peer = "10.99.0.1 dev tun0 proto kernel scope link src 10.99.0.2 \n".replace(" \n", "\n");
        assert_eq!(ip(&["route", "show", "table", "main"]).replace(&peer, ""), main);
        let mark = mark(&mut session);
        let run_ip = |arguments: &str| ip(&arguments.split(' ').collect::<Vec<_>>());
        assert!(run_ip("route get 1.1.1.1").contains("dev tun0"));
        assert!(run_ip(&format!("route get 203.0.113.9 mark {mark}")).contains("via 192.0.2.1 dev up0"));
        assert!(
            run_ip("route get 203.0.113.9").contains("dev tun0"),
            "other packets to the server use the tunnel"
        );
        assert!(run_ip("route get 203.0.113.9 ipproto tcp dport 1723").contains("via 192.0.2.1 dev up0"));
        assert!(run_ip("route get 192.0.2.99").contains("dev up0"), "the network of the uplink");
        // Forwarded packets follow the same rules.
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        std::fs::write("/proc/sys/net/ipv4/conf/all/rp_filter", "0").unwrap();
        assert!(run_ip("route get 1.1.1.1 from 198.51.100.77 iif up2").contains("dev tun0"));
        assert_none(session.undo_all_and_close());
        lab.assert_state(&before, "");
    });
}

#[test]
fn policy_mode_avoids_used_tables() {
    Lab::run(|lab| {
        lab.one_uplink();
        let mut session = lab.session("vpn");
        let first = session.facts(SERVER, None).unwrap().table.unwrap();
        assert!((FIRST_TABLE..FIRST_TABLE + SLOTS).contains(&first));
        assert_none(session.undo_all_and_close());
        // In use as a table with a route, as a mark in a rule, and as a table in a rule.
        ip(&["route", "add", "10.1.0.0/16", "dev", "up0", "table", &first.to_string()]);
        ip(&["-6", "rule", "add", "fwmark", &(first + 1).to_string(), "lookup", "main"]);
        ip(&["rule", "add", "lookup", &(first + 2).to_string(), "priority", "30000"]);
        let before = lab.state();
        // As the dry run reads them, which records nothing.
        let host = Host::system().unwrap();
        let mut read_only = Changes::read_only(&lab.directories, "vpn", host).unwrap();
        let shown = read_only.facts(SERVER, None).unwrap();
        lab.bring_up(&mut read_only, &with_default(DefaultRoute::Policy)).unwrap_err();
        lab.assert_state(&before, "");
        let mut session = lab.session("vpn");
        assert_eq!(session.facts(SERVER, None).unwrap(), shown);
        assert_eq!(shown.table, Some(first + 3));
        lab.bring_up(&mut session, &with_default(DefaultRoute::Policy)).unwrap();
        assert_eq!(session.facts(SERVER, None).unwrap().table, Some(first + 3), "the table of the tunnel");
        assert_none(session.undo_all_and_close());
        lab.assert_state(&before, "");
    });
}

#[test]
fn policy_mode_is_refused_to_second_tunnel() {
    Lab::run(|lab| {
        lab.one_uplink();
        let before = lab.state();
        let mut first = lab.session("first");
        lab.bring_up(&mut first, &with_default(DefaultRoute::Policy)).unwrap();
        let mut second = lab.session("second");
        let error = lab.bring_up(&mut second, &with_default(DefaultRoute::Policy)).unwrap_err();
        assert!(matches!(&error.cause, Cause::Taken(words) if words.contains("another tunnel")), "{error}");
        assert_none(second.undo_all_and_close());
        assert!(ip(&["route", "get", "1.1.1.1"]).contains("dev tun0"), "the first tunnel is unchanged");
        assert_none(first.undo_all_and_close());
        lab.assert_state(&before, "");
    });
}

#[test]
fn deleted_rule_is_restored_by_next_dial() {
    Lab::run(|lab| {
        lab.one_uplink();
        let before = lab.state();
        let mut profile = with_default(DefaultRoute::Policy);
        profile.leak = Leak::Block;
        let mut session = lab.session("vpn");
        lab.bring_up(&mut session, &profile).unwrap();
        let up = lab.state();
        let table = mark(&mut session).to_string();
        ip(&["rule", "flush"]);
        ip(&["rule", "add", "priority", "32766", "lookup", "main", "proto", "kernel"]);
        ip(&["rule", "add", "priority", "32767", "lookup", "default", "proto", "kernel"]);
        ip(&["-6", "route", "flush", "table", &table]);
        lab.bring_up(&mut session, &profile).unwrap();
        lab.assert_state(&up, "after the next dial");
        assert_none(session.undo_all_and_close());
        lab.assert_state(&before, "");
    });
}

#[test]
fn excluded_prefix_stays_outside_and_follows_the_host() {
    for mode in [DefaultRoute::Policy, DefaultRoute::Halves, DefaultRoute::Replace] {
        for leak in [Leak::Allow, Leak::Block] {
            Lab::run(|lab| {
                let when = format!("{} {leak:?}", mode.name());
                lab.one_uplink();
                let before = lab.state();
                let mut profile = with_default(mode);
                profile.leak = leak;
                profile.ppp.ipv6 = true;
                profile.routes = vec![split("10.42.0.0/16")];
                profile.exclude = ["198.18.0.0/15", "10.42.7.0/24", "2001:db8:99::/48"]
                    .map(|prefix| prefix.parse().unwrap())
                    .to_vec();
                let mut session = lab.session("vpn");
                lab.bring_up(&mut session, &profile).unwrap();
                let route_to = |to: &str| ip(&["route", "get", to]);
                for (to, wanted) in [
                    ("198.18.7.7", "via 192.0.2.1 dev up0"),
                    ("10.42.7.7", "via 192.0.2.1 dev up0"),
                    ("10.42.8.8", "dev tun0"),
                    ("8.8.8.8", "dev tun0"),
                    ("2001:db8:99::7", "via 2001:db8::1 dev up0"),
                    ("2001:db8:98::7", "dev tun0"),
                ] {
                    assert!(route_to(to).contains(wanted), "{when}: {to}: {}", route_to(to));
                }
                // The host moves to another network: its default route is replaced (with `replace`, which has
                // removed it already, DHCP only adds one beside ours).
                if mode != DefaultRoute::Replace {
                    ip(&["route", "del", "default"]);
                }
                crate::namespace::uplink("up2", "198.51.100.2/24", "2001:db8:2::2/64");
                ip(&["route", "add", "default", "via", "198.51.100.1", "dev", "up2", "metric", "100"]);
                let facts = session.facts(SERVER, None).unwrap();
                let gateway: IpAddr = "198.51.100.1".parse().unwrap();
                assert!(
                    matches!(&facts.next_hop, Some(NextHop::By { gateway: Some(found), .. }) if *found == gateway),
                    "{when}: next hop to the server: {:?}",
                    facts.next_hop
                );
                let facts = plan::Facts { outside: session.next_hops_outside(&profile.exclude), ..facts };
                session.perform(&plan::transport(&profile, Platform::Linux).resolve(&facts)).unwrap();
                for to in ["198.18.7.7", "10.42.7.7"] {
                    assert!(
                        route_to(to).contains("via 198.51.100.1 dev up2"),
                        "{when}: {to}: {}",
                        route_to(to)
                    );
                }
                assert!(route_to("8.8.8.8").contains("dev tun0"), "{when}");
                assert_none(session.undo_all_and_close());
                ip(&["link", "del", "up2"]);
                if mode != DefaultRoute::Replace {
                    let old = "route add default via 192.0.2.1 dev up0 proto dhcp src 192.0.2.2 metric 100";
                    ip(&old.split(' ').collect::<Vec<_>>());
                    lab.assert_state(&before, &when);
                }
            });
        }
    }
}

/// `pptpctl routes` reports what the kernel does, with the rule and the route, for a live and a killed
/// tunnel.
#[test]
fn routes_command_names_next_hop_and_reason() {
    for mode in [DefaultRoute::Policy, DefaultRoute::Halves, DefaultRoute::Replace] {
        Lab::run(|lab| {
            lab.one_uplink();
            ip(&["addr", "add", "172.20.0.2/24", "dev", "up0"]);
            let mut profile = with_default(mode);
            profile.leak = Leak::Block;
            profile.exclude = vec!["198.18.0.0/15".parse().unwrap()];
            assert!(AppliedRouting::of(&lab.directories, "vpn").is_none());
            let mut session = lab.session("vpn");
            lab.bring_up(&mut session, &profile).unwrap();
            let expect = |wanted: &[(&str, Disposition, &str, &str)]| {
                let in_force = AppliedRouting::of(&lab.directories, "vpn").unwrap();
                for (to, goes, route, why) in wanted {
                    let trace = in_force.trace(&mut Host::system().unwrap(), to.parse().unwrap()).unwrap();
                    assert_eq!(trace.disposition, *goes, "{} {trace:?}", mode.name());
                    assert!(trace.why.contains(why), "{} {trace:?}", mode.name());
                    assert!(trace.route.unwrap_or_default().contains(route), "{} {to}", mode.name());
                }
            };
            let outside = [
                ("192.0.2.2", Disposition::Here, "", "this host"),
                ("198.18.7.7", Disposition::Outside, "via 192.0.2.1", "excluded"),
                ("172.20.0.99", Disposition::Outside, "172.20.0.0/24", "more specific"),
                ("2001:db8:5::1", Disposition::Blocked, "unreachable", "block"),
            ];
            expect(&outside);
            expect(&[("1.1.1.1", Disposition::Tunnel, "dev tun0", "tunnel")]);
            // A connected network with public addresses.
            expect(&[("192.0.2.99", Disposition::Tunnel, "dev tun0", "tunnel")]);
            let lines: Vec<String> =
                AppliedRouting::of(&lab.directories, "vpn").unwrap().lines(Platform::Linux).collect();
            assert!(lines.iter().any(|line| line.contains("unreachable")), "{lines:?}");
            if mode == DefaultRoute::Policy {
                let in_force = AppliedRouting::of(&lab.directories, "vpn").unwrap();
                let trace = in_force.trace(&mut Host::system().unwrap(), "1.1.1.1".parse().unwrap()).unwrap();
                assert!(trace.rule.unwrap().contains("not fwmark"));
            }
            drop(session);
            // A child forked by another test may hold the device until it executes its program.
            let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
            while ip(&["-o", "link"]).contains("tun0") {
                assert!(std::time::Instant::now() < deadline, "the device is not deleted");
                std::thread::yield_now();
            }
            expect(&[("1.1.1.1", Disposition::Blocked, "unreachable", "down")]);
            expect(&[("192.0.2.99", Disposition::Blocked, "unreachable", "down")]);
            lab.recover();
            assert!(AppliedRouting::of(&lab.directories, "vpn").is_none());
        });
    }
}

/// Returns the mark of the tunnel that is up.
fn mark(session: &mut pptpctl::testing::apply::Changes) -> u32 {
    let rules = Netlink::open().unwrap().rules(false).unwrap();
    let rule = rules.iter().find(|rule| rule.is_ours() && rule.not).expect("no rule leads into the tunnel");
    assert_eq!(session.facts(SERVER, None).unwrap().table, Some(rule.table));
    rule.mark.unwrap()
}
