//! Plans on a real kernel: each test in a network namespace of its own, with a real tun device, real routes
//! by netlink, and `ip -j` as the witness that everything is byte for byte as before.
//!
//! Needs root (or CAP_NET_ADMIN and CAP_SYS_ADMIN), /dev/net/tun and ip(8); fails where they are missing.

use std::{
    cell::Cell,
    fs,
    net::{IpAddr, Ipv4Addr},
    path::Path,
    process::Command,
    rc::Rc,
    time::{Duration, Instant},
};

use pptpctl::{
    link::{Cause, Host, LinkError, Places, Session, recover},
    net::{
        netlink::Netlink,
        routes::{Address, Error, Filter, Insert, Link, PROTOCOL, Route, RouteTo},
        tun::{self, Tun},
    },
    plan::{self, Facts, Ipv6, Plan, Platform, Way},
    profile::{DefaultRoute, PasswordSource, Profile, Route as SplitRoute, Server},
    secret::Secret,
};

const SERVER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);
const LOCAL: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 2);
const PEER: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);

#[test]
fn split_routes_come_and_go() {
    Lab::run(|lab| {
        lab.one_uplink();
        let before = lab.state();
        let mut profile = profile();
        profile.routes = vec![split("10.42.0.0/16"), split("203.0.113.0/24")];
        profile.routes[0].metric = Some(7);
        let mut session = lab.session("vpn");
        lab.bring_up(&mut session, &profile).unwrap();

        let tun = session.tun().unwrap().name.clone();
        let routes = ip(&["route", "show"]);
        assert!(
            routes.contains(&format!("10.42.0.0/16 dev {tun} proto {PROTOCOL} scope link metric 7")),
            "{routes}"
        );
        assert!(routes.contains(&format!("203.0.113.0/24 dev {tun}")), "{routes}");
        assert!(routes.contains("203.0.113.9 via 192.0.2.1 dev up0"), "host route: {routes}");
        let address = ip(&["addr", "show", "dev", &tun]);
        assert!(
            address.contains("mtu 1400") && address.contains("inet 10.99.0.2 peer 10.99.0.1/32"),
            "{address}"
        );
        assert!(!address.contains("inet6"), "no address of the kernel's own: {address}");
        assert_eq!(
            fs::read_to_string(lab.places.run.join(format!("{tun}.pid"))).unwrap(),
            format!("{}\n", std::process::id())
        );

        assert_none(session.unwind());
        lab.assert_state(&before, "");
    });
}

#[test]
fn no_host_route_when_no_tunnel_route_covers_the_server() {
    Lab::run(|lab| {
        lab.one_uplink();
        let mut profile = profile();
        profile.routes = vec![split("10.42.0.0/16")];
        let mut session = lab.session("vpn");
        lab.bring_up(&mut session, &profile).unwrap();
        assert!(!ip(&["route", "show"]).contains("203.0.113.9"));
        assert_none(session.unwind());
    });
}

#[test]
fn replace_takes_every_default_and_puts_them_back_exactly() {
    Lab::run(|lab| {
        lab.two_uplinks();
        let before = lab.state();
        let mut session = lab.session("vpn");
        lab.bring_up(&mut session, &with_default(DefaultRoute::Replace)).unwrap();
        let defaults = ip(&["route", "show", "default"]);
        assert!(
            defaults.starts_with("default dev tun0") && defaults.trim().lines().count() == 1,
            "{defaults}"
        );
        assert!(ip(&["route", "get", "1.1.1.1"]).contains("dev tun0"));
        assert!(ip(&["route", "get", "203.0.113.9"]).contains("via 192.0.2.1 dev up0"));
        assert_none(session.unwind());
        lab.assert_state(&before, "");
    });
}

#[test]
fn halves_leave_the_default_where_it_is() {
    Lab::run(|lab| {
        lab.two_uplinks();
        let before = lab.state();
        let defaults = ip(&["route", "show", "default"]);
        let mut session = lab.session("vpn");
        lab.bring_up(&mut session, &with_default(DefaultRoute::Halves)).unwrap();
        assert_eq!(ip(&["route", "show", "default"]), defaults);
        for far in ["1.1.1.1", "192.88.99.1"] {
            assert!(ip(&["route", "get", far]).contains("dev tun0"));
        }
        assert!(ip(&["route", "get", "203.0.113.9"]).contains("via 192.0.2.1 dev up0"));
        assert_none(session.unwind());
        lab.assert_state(&before, "");
    });
}

#[test]
fn multipath_onlink_and_route_metrics_survive_replacement() {
    Lab::run(|lab| {
        lab.two_uplinks();
        for line in [
            "route del default",
            "route del default",
            "route add default proto static metric 50 mtu lock 1300 advmss 1200 nexthop via 192.0.2.1 dev up0 weight 3 nexthop via 198.51.100.1 dev up2 weight 2",
            "route add default via 172.31.1.1 dev up0 onlink metric 60 src 192.0.2.2 realms 3/4",
            "route add default dev up2 scope link metric 70",
            "route add unreachable default metric 4000",
            "-6 route del default",
            "-6 route del default",
            "-6 route add default metric 1024 pref high nexthop via 2001:db8::1 dev up0 nexthop via 2001:db8:2::1 dev up2",
            "-6 route add default via 2001:db8::1 dev up0 metric 2000 proto static",
        ] {
            ip(&line.split(' ').collect::<Vec<_>>());
        }
        let before = lab.state();
        let mut profile = with_default(DefaultRoute::Replace);
        profile.ppp.ipv6 = true;
        let mut session = lab.session("vpn");
        lab.bring_up(&mut session, &profile).unwrap();
        assert_eq!(ip(&["route", "show", "default"]).trim().lines().count(), 1);
        assert_eq!(ip(&["-6", "route", "show", "default"]).trim().lines().count(), 1);
        assert_none(session.unwind());
        lab.assert_state(&before, "");
    });
}

#[test]
fn a_default_that_cannot_be_put_back_stays_and_halves_are_used() {
    Lab::run(|lab| {
        lab.one_uplink();
        ip(&["route", "del", "default"]);
        ip(&["nexthop", "add", "id", "7", "via", "192.0.2.1", "dev", "up0"]);
        ip(&["route", "add", "default", "nhid", "7"]);
        let before = lab.state();
        let mut session = lab.session("vpn");
        let plan = lab.bring_up(&mut session, &with_default(DefaultRoute::Replace)).unwrap();
        assert!(plan.notes.iter().any(|note| note.contains("next-hop object 7")), "{:?}", plan.notes);
        assert!(ip(&["route", "show", "default"]).contains("nhid 7"));
        assert!(ip(&["route", "get", "1.1.1.1"]).contains("dev tun0"));
        assert_none(session.unwind());
        lab.assert_state(&before, "");
    });
}

#[test]
fn a_default_made_meanwhile_is_left_alone() {
    Lab::run(|lab| {
        lab.one_uplink();
        let mut session = lab.session("vpn");
        lab.bring_up(&mut session, &with_default(DefaultRoute::Replace)).unwrap();
        // DHCP renews with another gateway.
        ip(&[
            "route",
            "add",
            "default",
            "via",
            "192.0.2.254",
            "dev",
            "up0",
            "proto",
            "dhcp",
            "metric",
            "100",
        ]);
        assert_none(session.unwind());
        let defaults = ip(&["route", "show", "default"]);
        assert_eq!(defaults.trim(), "default via 192.0.2.254 dev up0 proto dhcp metric 100");
    });
}

#[test]
fn a_default_that_replaced_ours_is_left_alone() {
    Lab::run(|lab| {
        lab.one_uplink();
        let mut session = lab.session("vpn");
        lab.bring_up(&mut session, &with_default(DefaultRoute::Replace)).unwrap();
        ip(&["route", "replace", "default", "via", "192.0.2.254", "dev", "up0"]);
        assert_none(session.unwind());
        assert_eq!(ip(&["route", "show", "default"]).trim(), "default via 192.0.2.254 dev up0");
    });
}

#[test]
fn an_uplink_that_is_gone_does_not_hold_the_rest_up() {
    Lab::run(|lab| {
        lab.one_uplink();
        let mut session = lab.session("vpn");
        lab.bring_up(&mut session, &with_default(DefaultRoute::Replace)).unwrap();
        ip(&["link", "del", "up0"]);
        let errors = session.unwind();
        assert_eq!(errors.len(), 1, "the default route has no device to come back to: {errors:?}");
        assert!(errors[0].to_string().starts_with("put back the default route as it was: "), "{}", errors[0]);
        assert!(!lab.places.ledger("vpn").exists(), "trying again could not help");
        assert!(lab.run_files().is_empty());
        assert_eq!(ip(&["route", "show"]), "");
    });
}

#[test]
fn a_server_on_the_link_gets_a_route_by_the_device() {
    Lab::run(|lab| {
        lab.one_uplink();
        let before = lab.state();
        let mut session = lab.session("vpn");
        let neighbour = Ipv4Addr::new(192, 0, 2, 77);
        // More specific than the link's own route: without a host route it would swallow the server.
        let mut profile = profile();
        profile.routes = vec![split("192.0.2.64/26")];
        lab.bring_up_to(&mut session, &profile, neighbour).unwrap();
        let way = ip(&["route", "get", "192.0.2.77"]);
        assert!(way.contains("192.0.2.77 dev up0"), "{way}");
        assert!(ip(&["route", "get", "192.0.2.78"]).contains("dev tun0"));
        assert_none(session.unwind());
        lab.assert_state(&before, "");
    });
}

#[test]
fn a_gateway_outside_every_subnet_is_used_as_the_kernel_does() {
    Lab::run(|lab| {
        lab.one_uplink();
        ip(&["route", "replace", "default", "via", "172.31.1.1", "dev", "up0", "onlink"]);
        let before = lab.state();
        let mut session = lab.session("vpn");
        lab.bring_up(&mut session, &with_default(DefaultRoute::Replace)).unwrap();
        assert!(ip(&["route", "get", "203.0.113.9"]).contains("via 172.31.1.1 dev up0"));
        assert_none(session.unwind());
        lab.assert_state(&before, "");
    });
}

#[test]
fn a_server_that_is_this_host_needs_no_route() {
    Lab::run(|lab| {
        lab.one_uplink();
        let mut session = lab.session("vpn");
        let facts = session.facts(Ipv4Addr::new(192, 0, 2, 2), None).unwrap();
        assert_eq!(facts.way, Some(Way::ThisHost));
        assert_none(session.unwind());
    });
}

#[test]
fn a_server_without_a_way_is_an_error() {
    Lab::run(|lab| {
        lab.one_uplink();
        ip(&["route", "del", "default"]);
        let mut session = lab.session("vpn");
        let error = session.facts(SERVER, None).unwrap_err();
        assert!(matches!(&error.cause, Cause::Kernel(error) if error.is_unreachable()), "{error}");
        assert_none(session.unwind());
    });
}

#[test]
fn routes_that_were_there_come_back() {
    Lab::run(|lab| {
        lab.one_uplink();
        // One that ours replaces, one with another metric beside it, and the very host route.
        ip(&["route", "add", "10.42.0.0/16", "via", "192.0.2.3", "dev", "up0", "proto", "static"]);
        ip(&["route", "add", "10.42.0.0/16", "via", "192.0.2.4", "dev", "up0", "metric", "9"]);
        ip(&["route", "add", "203.0.113.9", "via", "192.0.2.1", "dev", "up0"]);
        let before = lab.state();
        let mut profile = profile();
        profile.routes = vec![split("10.42.0.0/16"), split("203.0.113.0/24")];
        let mut session = lab.session("vpn");
        lab.bring_up(&mut session, &profile).unwrap();
        assert!(ip(&["route", "get", "10.42.1.1"]).contains("dev tun0"));
        assert_none(session.unwind());
        lab.assert_state(&before, "");

        // The same after a crash.
        let mut session = lab.session("vpn");
        lab.bring_up(&mut session, &profile).unwrap();
        drop(session);
        lab.recover();
        lab.assert_state(&before, "");
    });
}

#[test]
fn a_route_changed_by_another_is_left_alone() {
    Lab::run(|lab| {
        lab.one_uplink();
        let mut profile = profile();
        profile.routes = vec![split("10.42.0.0/16")];
        let mut session = lab.session("vpn");
        lab.bring_up(&mut session, &profile).unwrap();
        ip(&["route", "replace", "10.42.0.0/16", "via", "192.0.2.3", "dev", "up0"]);
        assert_none(session.unwind());
        assert!(ip(&["route", "show"]).contains("10.42.0.0/16 via 192.0.2.3 dev up0"));
    });
}

#[test]
fn ipv6_goes_through_the_tunnel_too() {
    Lab::run(|lab| {
        lab.two_uplinks();
        let before = lab.state();
        let mut profile = with_default(DefaultRoute::Halves);
        profile.ppp.ipv6 = true;
        profile.routes = vec![split("2001:db8:42::/48")];
        let mut session = lab.session("vpn");
        lab.bring_up(&mut session, &profile).unwrap();
        let address = ip(&["-6", "addr", "show", "dev", "tun0"]);
        assert!(address.contains("inet6 fe80::2 peer fe80::1/64 scope link"), "{address}");
        assert!(!address.contains("tentative"), "usable at once: {address}");
        assert!(ip(&["-6", "route", "get", "2001:db8:42::1"]).contains("dev tun0"));
        assert!(ip(&["-6", "route", "get", "2606:4700::1"]).contains("dev tun0"));
        assert!(ip(&["-6", "route", "get", "2001:db8::7"]).contains("dev up0"));
        assert_none(session.unwind());
        lab.assert_state(&before, "");
    });
}

#[test]
fn a_fixed_unit_is_used_or_refused() {
    Lab::run(|lab| {
        lab.one_uplink();
        let before = lab.state();
        let mut profile = profile();
        profile.unit = Some(7);
        let mut session = lab.session("vpn");
        lab.bring_up(&mut session, &profile).unwrap();
        assert_eq!(session.tun().unwrap().name, "tun7");

        let mut second = lab.session("second");
        let error = lab.bring_up(&mut second, &profile).unwrap_err();
        assert!(matches!(error.cause, Cause::Tun(tun::Error::InUse(7))), "{error}");
        assert_none(second.unwind());
        assert_none(session.unwind());

        // A persistent device that nobody has open would not go away with us.
        ip(&["tuntap", "add", "dev", "tun7", "mode", "tun"]);
        let mut third = lab.session("third");
        assert!(lab.bring_up(&mut third, &profile).unwrap_err().is_no_tun());
        assert_none(third.unwind());
        ip(&["link", "del", "tun7"]);
        lab.assert_state(&before, "");
    });
}

#[test]
fn two_tunnels_to_one_server_share_the_host_route() {
    Lab::run(|lab| {
        lab.one_uplink();
        let before = lab.state();
        let mut profiles = [profile(), profile()];
        profiles[0].routes = vec![split("10.42.0.0/16"), split("203.0.0.0/16")];
        profiles[1].routes = vec![split("10.43.0.0/16"), split("203.0.113.0/24")];
        for first_down in [0, 1] {
            let mut sessions = [Some(lab.session("a")), Some(lab.session("b"))];
            for (session, profile) in sessions.iter_mut().zip(&profiles) {
                lab.bring_up(session.as_mut().unwrap(), profile).unwrap();
            }
            assert_none(sessions[first_down].take().unwrap().unwind());
            let way = ip(&["route", "get", "203.0.113.9"]);
            assert!(way.contains("via 192.0.2.1 dev up0"), "still needed: {way}");
            assert_none(sessions[1 - first_down].take().unwrap().unwind());
            lab.assert_state(&before, "");
        }
    });
}

#[test]
fn the_default_route_belongs_to_one_tunnel() {
    Lab::run(|lab| {
        lab.one_uplink();
        let before = lab.state();
        for mode in [DefaultRoute::Replace, DefaultRoute::Halves] {
            let mut first = lab.session("first");
            lab.bring_up(&mut first, &with_default(mode)).unwrap();
            let mut second = lab.session("second");
            let error = lab.bring_up(&mut second, &with_default(mode)).unwrap_err();
            assert!(
                matches!(&error.cause, Cause::Taken(words) if words.contains("another tunnel")),
                "{error}"
            );
            assert_none(second.unwind());
            assert!(ip(&["route", "get", "1.1.1.1"]).contains("dev tun0"), "the first is untouched");
            assert_none(first.unwind());
            lab.assert_state(&before, "");
        }
    });
}

#[test]
fn a_reconnect_with_another_address_keeps_the_routes() {
    Lab::run(|lab| {
        lab.two_uplinks();
        let before = lab.state();
        let profile = with_default(DefaultRoute::Replace);
        let mut session = lab.session("vpn");
        lab.bring_up(&mut session, &profile).unwrap();
        let monitor = Monitor::start();

        // Another server, another address, another MTU. The way to the new server is asked while the default
        // route leads into the tunnel.
        let other = Ipv4Addr::new(203, 0, 113, 10);
        let mut facts = session.facts(other, None).unwrap();
        session.perform(&plan::transport(&profile, Platform::Linux).resolve(&facts)).unwrap();
        assert!(ip(&["route", "get", "203.0.113.10"]).contains("via 192.0.2.1 dev up0"));
        assert!(!ip(&["route", "show"]).contains("203.0.113.9"), "the old server's route is gone");
        link_facts(&mut facts, &session);
        facts.local = Some(Ipv4Addr::new(10, 99, 0, 33));
        facts.mtu = Some(1350);
        session.perform(&lab.network(&profile).resolve(&facts)).unwrap();

        let address = ip(&["addr", "show", "dev", "tun0"]);
        assert!(
            address.contains("mtu 1350") && address.contains("inet 10.99.0.33 peer 10.99.0.1/32"),
            "{address}"
        );
        assert!(!address.contains("10.99.0.2 "), "{address}");
        let events = monitor.finish();
        assert!(
            !events.iter().any(|line| line.starts_with("Deleted default")),
            "the default route never left the tunnel: {events:?}"
        );
        assert_none(session.unwind());
        lab.assert_state(&before, "");
    });
}

#[test]
fn performing_the_same_plan_again_puts_back_what_was_lost() {
    Lab::run(|lab| {
        lab.one_uplink();
        let before = lab.state();
        let mut profile = profile();
        profile.routes = vec![split("203.0.0.0/16")];
        let mut session = lab.session("vpn");
        lab.bring_up(&mut session, &profile).unwrap();
        ip(&["route", "del", "203.0.113.9"]);
        let facts = session.facts(SERVER, None).unwrap();
        assert!(
            matches!(&facts.way, Some(Way::By { dev, .. }) if dev == "up0"),
            "past the tunnel: {facts:?}"
        );
        lab.bring_up(&mut session, &profile).unwrap();
        assert!(ip(&["route", "get", "203.0.113.9"]).contains("via 192.0.2.1 dev up0"));
        assert_none(session.unwind());
        lab.assert_state(&before, "");
    });
}

#[test]
fn a_peer_with_the_servers_own_address_makes_no_loop() {
    Lab::run(|lab| {
        lab.one_uplink();
        let before = lab.state();
        let profile = with_default(DefaultRoute::Replace);
        let mut session = lab.session("vpn");
        let mut facts = session.facts(SERVER, None).unwrap();
        session.perform(&plan::transport(&profile, Platform::Linux).resolve(&facts)).unwrap();
        link_facts(&mut facts, &session);
        facts.peer = Some(SERVER);
        session.perform(&lab.network(&profile).resolve(&facts)).unwrap();
        assert!(ip(&["route", "get", "203.0.113.9"]).contains("via 192.0.2.1 dev up0"));
        assert_none(session.unwind());
        lab.assert_state(&before, "");
    });
}

#[test]
fn a_foreign_pid_file_is_respected() {
    Lab::run(|lab| {
        lab.one_uplink();
        let file = lab.places.run.join("tun0.pid");
        fs::write(&file, "1\n").unwrap();
        let mut session = lab.session("vpn");
        let error = lab.bring_up(&mut session, &profile()).unwrap_err();
        assert!(matches!(&error.cause, Cause::Taken(words) if words.contains("process 1")), "{error}");
        assert_none(session.unwind());
        assert_eq!(fs::read_to_string(&file).unwrap(), "1\n");

        // One that someone else has taken over meanwhile.
        fs::remove_file(&file).unwrap();
        let mut session = lab.session("vpn");
        lab.bring_up(&mut session, &profile()).unwrap();
        fs::write(&file, "1\n").unwrap();
        assert_none(session.unwind());
        assert_eq!(fs::read_to_string(&file).unwrap(), "1\n");
    });
}

#[test]
fn a_live_supervisors_ledger_is_left_alone() {
    Lab::run(|lab| {
        lab.one_uplink();
        let mut session = lab.session("vpn");
        lab.bring_up(&mut session, &with_default(DefaultRoute::Halves)).unwrap();
        let up = lab.state();
        let recovery = recover(&lab.places, &mut Netlink::open().unwrap(), &|header| header.process_lives());
        assert_eq!(recovery.alive, ["vpn"]);
        assert!(recovery.recovered.is_empty() && recovery.errors.is_empty());
        lab.assert_state(&up, "");
        assert!(matches!(
            Session::open(&lab.places, "vpn", Box::new(Netlink::open().unwrap())).unwrap_err().cause,
            Cause::LedgerExists
        ));
        assert_none(session.unwind());
    });
}

/// kill -9 of the supervisor after each kernel request and each step of `up`: before the deed that is in the
/// ledger already, and after it; with the engine (a second descriptor of the device) dead or alive.
#[test]
fn killed_at_every_point_of_up() {
    for (name, profile) in everything() {
        let all = Lab::run(|lab| lab.requests_of_up(&profile));
        assert!(all > 8, "{name}: only {all} requests");
        for point in 0..=all {
            for engine_alive in [false, true] {
                Lab::run(|lab| {
                    lab.two_uplinks();
                    let before = lab.state();
                    let budget = Budget::of(point);
                    let mut session = lab.session_with("vpn", budget.host());
                    let outcome = lab.bring_up(&mut session, &profile);
                    assert_eq!(outcome.is_ok(), point >= all, "{name} at {point}: {outcome:?}");
                    let engine = engine_alive.then(|| session.tun().map(|tun| tun.share().unwrap()));
                    drop(session);
                    lab.recover();
                    drop(engine);
                    lab.assert_state(
                        &before,
                        &format!("{name}: killed at request {point}, engine {engine_alive}"),
                    );
                });
            }
        }
    }
}

/// kill -9 in the middle of `down`, or of `recover`; then `recover`, twice.
#[test]
fn killed_at_every_point_of_down() {
    for (name, profile) in everything() {
        for point in 0.. {
            let finished = Lab::run(|lab| {
                lab.two_uplinks();
                let before = lab.state();
                let mut session = lab.session("vpn");
                lab.bring_up(&mut session, &profile).unwrap();
                let engine = session.tun().unwrap().share().unwrap();
                drop(session);
                let budget = Budget::of(point);
                let interrupted = recover(&lab.places, budget.host().as_mut(), &|_| false);
                drop(engine);
                lab.recover();
                lab.assert_state(&before, &format!("{name}: killed at request {point} of down"));
                lab.recover();
                interrupted.errors.is_empty()
            });
            if finished {
                assert!(point > 5, "{name}: only {point} requests");
                break;
            }
        }
    }
}

#[test]
fn the_way_to_a_host_as_the_kernel_knows_it() {
    Lab::run(|lab| {
        lab.two_uplinks();
        ip(&[
            "route",
            "add",
            "198.18.0.0/15",
            "via",
            "192.0.2.9",
            "dev",
            "up0",
            "src",
            "192.0.2.2",
            "mtu",
            "1280",
        ]);
        let mut netlink = Netlink::open().unwrap();
        let way = netlink.route_to("198.18.0.1".parse().unwrap(), None, None).unwrap();
        assert_eq!(way.gateway, Some("192.0.2.9".parse().unwrap()));
        assert_eq!((way.dev.as_str(), way.source), ("up0", Some("192.0.2.2".parse().unwrap())));
        assert_eq!((way.mtu, way.local), (Some(1280), false));
        let on_link = netlink.route_to("192.0.2.7".parse().unwrap(), None, None).unwrap();
        assert_eq!((on_link.gateway, on_link.dev.as_str()), (None, "up0"));
        let six = netlink.route_to("2606:4700::1".parse().unwrap(), None, None).unwrap();
        assert_eq!(six.gateway, Some("2001:db8::1".parse().unwrap()));

        // A rule sends what is marked, and what comes from the second address, another way.
        ip(&["route", "add", "default", "via", "198.51.100.1", "dev", "up2", "table", "77"]);
        ip(&["rule", "add", "fwmark", "5", "table", "77"]);
        ip(&["rule", "add", "from", "198.51.100.2", "table", "77"]);
        let marked = netlink.route_to("198.18.0.1".parse().unwrap(), None, Some(5)).unwrap();
        assert_eq!(marked.dev, "up2");
        let from = netlink
            .route_to("1.1.1.1".parse().unwrap(), Some("198.51.100.2".parse().unwrap()), None)
            .unwrap();
        assert_eq!(from.dev, "up2");
    });
}

#[test]
fn tables_beyond_255_and_large_dumps() {
    Lab::run(|lab| {
        lab.one_uplink();
        let mut netlink = Netlink::open().unwrap();
        // More than fits one datagram of the kernel.
        for a in 0..8_u8 {
            for b in 0..=255_u8 {
                let dest = format!("100.{a}.{b}.0/24").parse().unwrap();
                let mut route = Route::through(dest, "up0");
                route.table = 70_000;
                netlink.add_route(&route, Insert::New).unwrap();
            }
        }
        let filter = Filter { ipv6: false, table: Some(70_000), dest: None };
        let routes = netlink.routes(&filter).unwrap();
        assert_eq!(routes.len(), 2048);
        assert!(
            routes.iter().all(|route| route.is_ours() && route.leaves_by("up0") && route.beyond.is_empty())
        );
        let again = netlink.add_route(&routes[0], Insert::New).unwrap_err();
        assert!(again.is_present(), "{again}");
        netlink.delete_route(&routes[0]).unwrap();
        assert!(netlink.delete_route(&routes[0]).unwrap_err().is_absent());
        assert_eq!(netlink.routes(&filter).unwrap().len(), 2047);
        let refused = Route::through("10.0.0.0/8".parse().unwrap(), "nowhere");
        assert!(netlink.add_route(&refused, Insert::New).unwrap_err().is_absent());
    });
}

#[test]
fn a_veth_pair_spans_two_namespaces() {
    Lab::run(|_| {
        let (there, stop) = other_namespace();
        let mut netlink = Netlink::open().unwrap();
        netlink.create_veth("here", "there", Some(std::os::fd::AsFd::as_fd(&there))).unwrap();
        assert!(netlink.link("here").unwrap().is_some());
        assert!(netlink.link("there").unwrap().is_none());
        netlink.create_veth("one", "two", None).unwrap();
        let one = netlink.link("one").unwrap().unwrap();
        netlink.set_up("one", true).unwrap();
        netlink.set_mtu("one", 1234).unwrap();
        let changed = netlink.link("one").unwrap().unwrap();
        assert!(changed.up && changed.mtu == 1234 && !one.up);
        netlink.delete_link("one", one.index).unwrap();
        assert!(netlink.delete_link("one", one.index).unwrap_err().is_absent());
        assert!(netlink.link("two").unwrap().is_none());
        drop(stop);
    });
}

// Helpers.

fn everything() -> [(&'static str, Profile); 2] {
    [DefaultRoute::Replace, DefaultRoute::Halves].map(|mode| {
        let mut profile = with_default(mode);
        profile.ppp.ipv6 = true;
        profile.routes = vec![split("10.42.0.0/16"), split("192.0.2.128/25"), split("2001:db8:42::/48")];
        (mode.name(), profile)
    })
}

fn profile() -> Profile {
    let server =
        Server { host: pptpctl::profile::Host::Name("vpn.example.net".to_owned()), port: Server::PORT };
    Profile::new("vpn".parse().unwrap(), server, "user", PasswordSource::Inline(Secret::from("secret")))
}

fn with_default(mode: DefaultRoute) -> Profile {
    Profile { default_route: Some(mode), ..profile() }
}

fn split(prefix: &str) -> SplitRoute {
    SplitRoute::to(prefix.parse().unwrap())
}

fn link_facts(facts: &mut Facts, session: &Session) {
    facts.tun = session.tun().map(|tun| tun.name.clone());
    facts.mtu = Some(1400);
    facts.local = Some(LOCAL);
    facts.peer = Some(PEER);
    facts.ipv6 = Ipv6::from_identifiers(2, 1);
}

#[track_caller]
fn assert_none(errors: Vec<LinkError>) {
    let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

/// A network namespace and its directories, for one test, on a thread of its own.
struct Lab {
    places: Places,
    _dir: tempfile::TempDir,
}

impl Lab {
    fn run<T: Send>(test: impl FnOnce(&Lab) -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                enter_new_namespace();
                let dir = tempfile::tempdir().unwrap();
                let places = Places { run: dir.path().join("run"), state: dir.path().join("state") };
                fs::create_dir(&places.run).unwrap();
                test(&Lab { places, _dir: dir })
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn one_uplink(&self) {
        uplink("up0", "192.0.2.2/24", "2001:db8::2/64");
        ip(&[
            "route",
            "add",
            "default",
            "via",
            "192.0.2.1",
            "dev",
            "up0",
            "proto",
            "dhcp",
            "src",
            "192.0.2.2",
            "metric",
            "100",
        ]);
        ip(&["-6", "route", "add", "default", "via", "2001:db8::1", "dev", "up0", "metric", "1024"]);
    }

    fn two_uplinks(&self) {
        self.one_uplink();
        uplink("up2", "198.51.100.2/24", "2001:db8:2::2/64");
        ip(&["route", "add", "default", "via", "198.51.100.1", "dev", "up2", "metric", "600"]);
        ip(&["-6", "route", "add", "default", "via", "2001:db8:2::1", "dev", "up2", "metric", "2048"]);
    }

    fn session(&self, profile: &str) -> Session {
        self.session_with(profile, Box::new(Netlink::open().unwrap()))
    }

    fn session_with(&self, profile: &str, host: Box<dyn Host>) -> Session {
        Session::open(&self.places, profile, host).unwrap()
    }

    fn network(&self, profile: &Profile) -> Plan {
        plan::network(profile, Platform::Linux, &self.places.run)
    }

    /// Both plans, as the supervisor performs them. The resolved network plan.
    fn bring_up(&self, session: &mut Session, profile: &Profile) -> Result<Plan, LinkError> {
        self.bring_up_to(session, profile, SERVER)
    }

    fn bring_up_to(
        &self,
        session: &mut Session,
        profile: &Profile,
        server: Ipv4Addr,
    ) -> Result<Plan, LinkError> {
        let mut facts = session.facts(server, None)?;
        session.perform(&plan::transport(profile, Platform::Linux).resolve(&facts))?;
        link_facts(&mut facts, session);
        let network = self.network(profile).resolve(&facts);
        session.perform(&network)?;
        Ok(network)
    }

    fn requests_of_up(&self, profile: &Profile) -> usize {
        self.two_uplinks();
        let budget = Budget::of(usize::MAX);
        let mut session = self.session_with("vpn", budget.host());
        self.bring_up(&mut session, profile).unwrap();
        let used = usize::MAX - budget.0.get();
        assert_none(session.unwind());
        used
    }

    fn recover(&self) {
        let recovery = recover(&self.places, &mut Netlink::open().unwrap(), &|_| false);
        assert_none(recovery.errors);
        assert!(recovery.alive.is_empty());
        assert!(!self.places.ledger("vpn").exists());
    }

    fn run_files(&self) -> Vec<String> {
        list(&self.places.run)
    }

    #[track_caller]
    fn assert_state(&self, before: &str, when: &str) {
        let after = self.state();
        let only = |a: &str, b: &str| -> Vec<String> {
            a.lines().filter(|line| !b.lines().any(|other| other == *line)).map(str::to_owned).collect()
        };
        let (lost, left) = (only(before, &after), only(&after, before));
        assert!(before == after, "{when}: not as before\nlost: {lost:#?}\nleft: {left:#?}");
    }

    /// Everything that a plan can touch.
    fn state(&self) -> String {
        settle();
        let mut text = String::new();
        for arguments in [
            "-d -j route show table all",
            "-d -6 -j route show table all",
            "-d -j rule",
            "-d -6 -j rule",
            "-j addr",
            "-d -j link",
        ] {
            // One object per line makes the difference readable.
            let json = ip(&arguments.split(' ').collect::<Vec<_>>()).replace("},{", "},\n{");
            text.push_str(&format!("{arguments}\n{json}\n"));
        }
        text.push_str(&format!("run: {:?}\n", self.run_files()));
        text
    }
}

fn enter_new_namespace() {
    if let Err(errno) = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET) {
        panic!("these tests make network namespaces and need root: run them as root (unshare: {errno})");
    }
    // Addresses of our own making only, usable at once: what is compared must not change by itself.
    fs::write("/proc/sys/net/ipv6/conf/default/addr_gen_mode", "1").unwrap();
    fs::write("/proc/sys/net/ipv6/conf/default/accept_dad", "0").unwrap();
    ip(&["link", "set", "lo", "up"]);
}

/// A veth pair whose far end stands for the network.
fn uplink(name: &str, ipv4: &str, ipv6: &str) {
    let far = format!("{name}-far");
    ip(&["link", "add", name, "type", "veth", "peer", "name", &far]);
    ip(&["link", "set", &far, "up"]);
    ip(&["link", "set", name, "up"]);
    ip(&["addr", "add", ipv4, "dev", name]);
    ip(&["addr", "add", ipv6, "dev", name, "nodad"]);
    settle();
}

/// Waits until every interface that is up is running and every IPv6 address has its local route: the kernel
/// sees to both a moment later.
fn settle() {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let running = !ip(&["-j", "link", "show", "up"]).contains("LOWERLAYERDOWN");
        let local = ip(&["-6", "route", "show", "table", "local"]);
        let addressed = ip(&["-6", "-o", "addr"]).lines().all(|line| {
            let address = line.split_whitespace().nth(3).and_then(|text| text.split('/').next()).unwrap();
            local.contains(&format!("local {address} dev"))
        });
        if running && addressed {
            return;
        }
        assert!(Instant::now() < deadline, "the namespace does not come to rest");
        std::thread::yield_now();
    }
}

#[track_caller]
fn ip(arguments: &[&str]) -> String {
    let output = Command::new("ip").args(arguments).output().expect("ip(8) of iproute2 is needed");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {}: {errors}", arguments.join(" "));
    String::from_utf8(output.stdout).unwrap().replace(" \n", "\n")
}

fn list(dir: &Path) -> Vec<String> {
    let mut files: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            format!("{}={}", path.display(), fs::read_to_string(&path).unwrap_or_default())
        })
        .collect();
    files.sort();
    files
}

/// Another namespace, as a descriptor; it lives as long as both.
fn other_namespace() -> (fs::File, std::sync::mpsc::Sender<()>) {
    let (send, receive) = std::sync::mpsc::channel();
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    std::thread::spawn(move || {
        enter_new_namespace();
        send.send(fs::File::open("/proc/thread-self/ns/net").unwrap()).unwrap();
        let _ = stopped.recv();
    });
    (receive.recv().unwrap(), stop)
}

/// `ip monitor route`, in this namespace.
struct Monitor {
    child: std::process::Child,
    lines: std::io::Lines<std::io::BufReader<std::process::ChildStdout>>,
}

impl Monitor {
    fn start() -> Self {
        use std::io::BufRead;
        let mut child = Command::new("ip")
            .args(["monitor", "route"])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
        let mut monitor = Self { child, lines };
        monitor.until_mark("192.0.2.201");
        monitor
    }

    fn finish(mut self) -> Vec<String> {
        let lines = self.until_mark("192.0.2.202");
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        lines
    }

    /// Makes a route of its own appear until the monitor tells of it.
    fn until_mark(&mut self, mark: &str) -> Vec<String> {
        let done = std::sync::atomic::AtomicBool::new(false);
        let namespace = fs::File::open("/proc/thread-self/ns/net").unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                nix::sched::setns(&namespace, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    ip(&["route", "add", mark, "dev", "up0"]);
                    ip(&["route", "del", mark, "dev", "up0"]);
                }
            });
            let mut seen = Vec::new();
            for line in self.lines.by_ref() {
                let line = line.unwrap();
                if line.contains(mark) {
                    break;
                }
                seen.push(line);
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
            seen
        })
    }
}

/// A process that dies after so many changes to the kernel: every later request fails.
#[derive(Clone)]
struct Budget(Rc<Cell<usize>>);

impl Budget {
    fn of(requests: usize) -> Self {
        Self(Rc::new(Cell::new(requests)))
    }

    fn host(&self) -> Box<dyn Host> {
        Box::new(Mortal { host: Netlink::open().unwrap(), budget: self.clone() })
    }

    fn spend(&self) -> Result<(), Error> {
        match self.0.get().checked_sub(1) {
            Some(left) => {
                self.0.set(left);
                Ok(())
            }
            None => Err(Error::other("killed", "killed")),
        }
    }
}

struct Mortal {
    host: Netlink,
    budget: Budget,
}

impl Host for Mortal {
    fn route_to(&mut self, to: IpAddr, source: Option<IpAddr>) -> Result<RouteTo, Error> {
        Host::route_to(&mut self.host, to, source)
    }

    fn routes(&mut self, filter: &Filter) -> Result<Vec<Route>, Error> {
        self.host.routes(filter)
    }

    fn add_route(&mut self, route: &Route, insert: Insert) -> Result<(), Error> {
        self.budget.spend()?;
        self.host.add_route(route, insert)
    }

    fn delete_route(&mut self, route: &Route) -> Result<(), Error> {
        self.budget.spend()?;
        self.host.delete_route(route)
    }

    fn link(&mut self, name: &str) -> Result<Option<Link>, Error> {
        self.host.link(name)
    }

    fn set_mtu(&mut self, dev: &str, mtu: u32) -> Result<(), Error> {
        self.budget.spend()?;
        self.host.set_mtu(dev, mtu)
    }

    fn set_up(&mut self, dev: &str, up: bool) -> Result<(), Error> {
        self.budget.spend()?;
        self.host.set_up(dev, up)
    }

    fn delete_link(&mut self, dev: &str, index: u32) -> Result<(), Error> {
        self.budget.spend()?;
        self.host.delete_link(dev, index)
    }

    fn add_address(&mut self, dev: &str, address: &Address) -> Result<(), Error> {
        self.budget.spend()?;
        self.host.add_address(dev, address)
    }

    fn delete_address(&mut self, dev: &str, address: &Address) -> Result<(), Error> {
        self.budget.spend()?;
        self.host.delete_address(dev, address)
    }

    fn open_tun(&mut self, unit: Option<u32>) -> Result<Tun, tun::Error> {
        self.budget.spend().map_err(|error| tun::Error::Other(std::io::Error::other(error)))?;
        self.host.open_tun(unit)
    }
}
