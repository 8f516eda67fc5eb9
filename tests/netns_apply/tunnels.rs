//! Split routes, host routes, addresses, units, pid files, several tunnels, reconnects.

use std::{
    fs,
    net::Ipv4Addr,
    process::{Child, Command, Stdio},
};

use pptpctl::testing::{
    apply::Cause,
    net::{routes::PROTOCOL, tun},
    plan::{self, NextHop},
    platform::Platform,
    profile::DefaultRoute,
};

use crate::namespace::{Lab, SERVER, assert_none, ip, link_facts, profile, split, with_default};

#[test]
fn split_routes_are_added_and_removed() {
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
        assert!(!address.contains("inet6"), "the kernel has added an IPv6 address: {address}");
        assert_eq!(
            fs::read_to_string(lab.directories.run.join(format!("{tun}.pid"))).unwrap(),
            format!("{}\n", std::process::id())
        );

        assert_none(session.undo_all_and_close());
        lab.assert_state(&before, "");
    });
}

#[test]
fn host_route_is_omitted_when_no_route_covers_server() {
    Lab::run(|lab| {
        lab.one_uplink();
        let mut profile = profile();
        profile.routes = vec![split("10.42.0.0/16")];
        let mut session = lab.session("vpn");
        lab.bring_up(&mut session, &profile).unwrap();
        assert!(!ip(&["route", "show"]).contains("203.0.113.9"));
        assert_none(session.undo_all_and_close());
    });
}

#[test]
fn on_link_server_gets_device_route() {
    Lab::run(|lab| {
        lab.one_uplink();
        let before = lab.state();
        let mut session = lab.session("vpn");
        let on_link_server = Ipv4Addr::new(192, 0, 2, 77);
        // More specific than the route of the link: without a host route it captures packets to the server.
        let mut profile = profile();
        profile.routes = vec![split("192.0.2.64/26")];
        lab.bring_up_to(&mut session, &profile, on_link_server).unwrap();
        let route = ip(&["route", "get", "192.0.2.77"]);
        assert!(route.contains("192.0.2.77 dev up0"), "{route}");
        assert!(ip(&["route", "get", "192.0.2.78"]).contains("dev tun0"));
        assert_none(session.undo_all_and_close());
        lab.assert_state(&before, "");
    });
}

#[test]
fn local_server_needs_no_host_route() {
    Lab::run(|lab| {
        lab.one_uplink();
        let mut session = lab.session("vpn");
        let facts = session.facts(Ipv4Addr::new(192, 0, 2, 2), None).unwrap();
        assert_eq!(facts.next_hop, Some(NextHop::ThisHost));
        assert_none(session.undo_all_and_close());
    });
}

#[test]
fn unreachable_server_is_an_error() {
    Lab::run(|lab| {
        lab.one_uplink();
        ip(&["route", "del", "default"]);
        let mut session = lab.session("vpn");
        let error = session.facts(SERVER, None).unwrap_err();
        assert!(matches!(&error.cause, Cause::Kernel(error) if error.is_unreachable()), "{error}");
        assert_none(session.undo_all_and_close());
    });
}

#[test]
fn replaced_routes_are_restored() {
    Lab::run(|lab| {
        lab.one_uplink();
        // A route that ours replaces, one with another metric beside it, and the host route to the server.
        ip(&["route", "add", "10.42.0.0/16", "via", "192.0.2.3", "dev", "up0", "proto", "static"]);
        ip(&["route", "add", "10.42.0.0/16", "via", "192.0.2.4", "dev", "up0", "metric", "9"]);
        ip(&["route", "add", "203.0.113.9", "via", "192.0.2.1", "dev", "up0"]);
        let before = lab.state();
        let mut profile = profile();
        profile.routes = vec![split("10.42.0.0/16"), split("203.0.113.0/24")];
        let mut session = lab.session("vpn");
        lab.bring_up(&mut session, &profile).unwrap();
        assert!(ip(&["route", "get", "10.42.1.1"]).contains("dev tun0"));
        assert_none(session.undo_all_and_close());
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
fn down_keeps_route_changed_by_other_program() {
    Lab::run(|lab| {
        lab.one_uplink();
        let mut profile = profile();
        profile.routes = vec![split("10.42.0.0/16")];
        let mut session = lab.session("vpn");
        lab.bring_up(&mut session, &profile).unwrap();
        ip(&["route", "replace", "10.42.0.0/16", "via", "192.0.2.3", "dev", "up0"]);
        assert_none(session.undo_all_and_close());
        assert!(ip(&["route", "show"]).contains("10.42.0.0/16 via 192.0.2.3 dev up0"));
    });
}

#[test]
fn ipv6_passes_through_tunnel() {
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
        assert!(!address.contains("tentative"), "the address is tentative: {address}");
        assert!(ip(&["-6", "route", "get", "2001:db8:42::1"]).contains("dev tun0"));
        assert!(ip(&["-6", "route", "get", "2606:4700::1"]).contains("dev tun0"));
        assert!(ip(&["-6", "route", "get", "2001:db8::7"]).contains("dev up0"));
        assert_none(session.undo_all_and_close());
        lab.assert_state(&before, "");
    });
}

#[test]
fn fixed_unit_is_used_or_refused() {
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
        assert_none(second.undo_all_and_close());
        assert_none(session.undo_all_and_close());

        // A persistent device would outlive the supervisor.
        ip(&["tuntap", "add", "dev", "tun7", "mode", "tun"]);
        let mut third = lab.session("third");
        let refused = lab.bring_up(&mut third, &profile).unwrap_err();
        assert!(matches!(refused.cause, Cause::Tun(_)), "{refused}");
        assert_none(third.undo_all_and_close());
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
            assert_none(sessions[first_down].take().unwrap().undo_all_and_close());
            let route = ip(&["route", "get", "203.0.113.9"]);
            assert!(
                route.contains("via 192.0.2.1 dev up0"),
                "the other tunnel needs the host route: {route}"
            );
            assert_none(sessions[1 - first_down].take().unwrap().undo_all_and_close());
            lab.assert_state(&before, "");
        }
    });
}

#[test]
fn reconnect_with_new_address_keeps_routes() {
    Lab::run(|lab| {
        lab.two_uplinks();
        let before = lab.state();
        let profile = with_default(DefaultRoute::Replace);
        let mut session = lab.session("vpn");
        lab.bring_up(&mut session, &profile).unwrap();
        let monitor = Monitor::start();

        // Another server, another address, another MTU. The route to the new server is looked up while the
        // default route leads into the tunnel.
        let other = Ipv4Addr::new(203, 0, 113, 10);
        let mut facts = session.facts(other, None).unwrap();
        session.perform(&plan::transport(&profile, Platform::Linux).resolve(&facts)).unwrap();
        assert!(ip(&["route", "get", "203.0.113.10"]).contains("via 192.0.2.1 dev up0"));
        assert!(!ip(&["route", "show"]).contains("203.0.113.9"), "the host route to the old server is left");
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
            "the default route was deleted: {events:?}"
        );
        assert_none(session.undo_all_and_close());
        lab.assert_state(&before, "");
    });
}

#[test]
fn repeated_plan_restores_lost_routes() {
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
            matches!(&facts.next_hop, Some(NextHop::By { dev, .. }) if dev == "up0"),
            "the next hop is not outside the tunnel: {facts:?}"
        );
        lab.bring_up(&mut session, &profile).unwrap();
        assert!(ip(&["route", "get", "203.0.113.9"]).contains("via 192.0.2.1 dev up0"));
        assert_none(session.undo_all_and_close());
        lab.assert_state(&before, "");
    });
}

#[test]
fn peer_with_server_address_makes_no_loop() {
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
        assert_none(session.undo_all_and_close());
        lab.assert_state(&before, "");
    });
}

#[test]
fn foreign_pid_file_is_kept() {
    Lab::run(|lab| {
        lab.one_uplink();
        let file = lab.directories.run.join("tun0.pid");
        fs::write(&file, "1\n").unwrap();
        let mut session = lab.session("vpn");
        let error = lab.bring_up(&mut session, &profile()).unwrap_err();
        assert!(matches!(&error.cause, Cause::Taken(words) if words.contains("process 1")), "{error}");
        assert_none(session.undo_all_and_close());
        assert_eq!(fs::read_to_string(&file).unwrap(), "1\n");

        // A pid file that another program has rewritten meanwhile.
        fs::remove_file(&file).unwrap();
        let mut session = lab.session("vpn");
        lab.bring_up(&mut session, &profile()).unwrap();
        fs::write(&file, "1\n").unwrap();
        assert_none(session.undo_all_and_close());
        assert_eq!(fs::read_to_string(&file).unwrap(), "1\n");
    });
}

// Helpers.

/// A running `ip monitor route` in this namespace.
struct Monitor {
    child: Child,
    lines: std::io::Lines<std::io::BufReader<std::process::ChildStdout>>,
}

impl Monitor {
    fn start() -> Self {
        use std::io::BufRead;
        let mut child = Command::new("ip").args(["monitor", "route"]).stdout(Stdio::piped()).spawn().unwrap();
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

    /// Adds and deletes a route to `mark` until the monitor reports it; returns the lines before that.
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

/// With a long list, each prefix is still checked for existing routes before it is set and before it is
/// undone.
#[test]
fn thousands_of_routes_are_added_and_removed() {
    Lab::run(|lab| {
        lab.one_uplink();
        // A route that exists already, to one of the prefixes but through another gateway.
        ip(&["route", "add", "10.0.7.0/24", "via", "192.0.2.1", "dev", "up0"]);
        let before = lab.state();
        let mut profile = profile();
        profile.routes = (0..2500).map(|n| split(&format!("10.{}.{}.0/24", n / 250, n % 250))).collect();
        let mut session = lab.session("vpn");
        lab.bring_up(&mut session, &profile).unwrap();
        let tunnel_routes = || {
            let routes = ip(&["route", "show", "proto", PROTOCOL.to_string().as_str()]);
            routes.lines().filter(|route| route.contains("/24 dev tun0")).count()
        };
        assert_eq!(tunnel_routes(), 2500);

        ip(&["route", "del", "10.0.9.0/24", "dev", "tun0"]);
        ip(&["route", "del", "10.9.9.0/24", "dev", "tun0"]);
        let (missing, outcome) = session.renew_routes();
        outcome.unwrap();
        assert_eq!((missing, tunnel_routes()), (2, 2500));
        assert_eq!(session.renew_routes().0, 0);

        // A route that another program replaces while the tunnel is up stays.
        ip(&["route", "replace", "10.0.8.0/24", "via", "192.0.2.1", "dev", "up0"]);
        assert_none(session.undo_all_and_close());
        assert_eq!(tunnel_routes(), 0);
        assert!(ip(&["route", "show", "10.0.8.0/24"]).contains("via 192.0.2.1"));
        ip(&["route", "del", "10.0.8.0/24"]);
        lab.assert_state(&before, "the static route is restored");
    });
}
