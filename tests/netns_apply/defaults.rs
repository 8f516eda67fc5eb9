//! The default route: replaced, covered by two halves, restored, kept if another program changed it.

use pptpctl::testing::{apply::Cause, profile::DefaultRoute};

use crate::namespace::{Lab, assert_none, ip, with_default};

#[test]
fn replace_removes_all_defaults_and_restores_them_exactly() {
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
        assert_none(session.undo_all_and_close());
        lab.assert_state(&before, "");
    });
}

#[test]
fn halves_keep_the_default_route() {
    Lab::run(|lab| {
        lab.two_uplinks();
        let before = lab.state();
        let defaults = ip(&["route", "show", "default"]);
        let mut session = lab.session("vpn");
        lab.bring_up(&mut session, &with_default(DefaultRoute::Halves)).unwrap();
        assert_eq!(ip(&["route", "show", "default"]), defaults);
        for remote in ["1.1.1.1", "192.88.99.1"] {
            assert!(ip(&["route", "get", remote]).contains("dev tun0"));
        }
        assert!(ip(&["route", "get", "203.0.113.9"]).contains("via 192.0.2.1 dev up0"));
        assert_none(session.undo_all_and_close());
        lab.assert_state(&before, "");
    });
}

#[test]
fn replace_restores_multipath_onlink_and_metrics() {
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
        assert_none(session.undo_all_and_close());
        lab.assert_state(&before, "");
    });
}

#[test]
fn halves_are_used_when_default_is_unrestorable() {
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
        assert_none(session.undo_all_and_close());
        lab.assert_state(&before, "");
    });
}

#[test]
fn down_keeps_newer_default_route() {
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
        assert_none(session.undo_all_and_close());
        let defaults = ip(&["route", "show", "default"]);
        assert_eq!(defaults.trim(), "default via 192.0.2.254 dev up0 proto dhcp metric 100");
    });
}

#[test]
fn down_keeps_default_that_replaced_ours() {
    Lab::run(|lab| {
        lab.one_uplink();
        let mut session = lab.session("vpn");
        lab.bring_up(&mut session, &with_default(DefaultRoute::Replace)).unwrap();
        ip(&["route", "replace", "default", "via", "192.0.2.254", "dev", "up0"]);
        assert_none(session.undo_all_and_close());
        assert_eq!(ip(&["route", "show", "default"]).trim(), "default via 192.0.2.254 dev up0");
    });
}

#[test]
fn down_continues_without_the_uplink() {
    Lab::run(|lab| {
        lab.one_uplink();
        let mut session = lab.session("vpn");
        lab.bring_up(&mut session, &with_default(DefaultRoute::Replace)).unwrap();
        ip(&["link", "del", "up0"]);
        let errors = session.undo_all_and_close();
        assert_eq!(errors.len(), 1, "only the default route cannot be restored: {errors:?}");
        assert!(errors[0].to_string().starts_with("restore the default route as it was: "), "{}", errors[0]);
        assert!(
            !lab.directories.ledger("vpn").exists(),
            "the ledger is kept although a retry cannot succeed"
        );
        assert!(lab.run_files().is_empty());
        assert_eq!(ip(&["route", "show"]), "");
    });
}

#[test]
fn host_route_accepts_gateway_outside_every_subnet() {
    Lab::run(|lab| {
        lab.one_uplink();
        ip(&["route", "replace", "default", "via", "172.31.1.1", "dev", "up0", "onlink"]);
        let before = lab.state();
        let mut session = lab.session("vpn");
        lab.bring_up(&mut session, &with_default(DefaultRoute::Replace)).unwrap();
        assert!(ip(&["route", "get", "203.0.113.9"]).contains("via 172.31.1.1 dev up0"));
        assert_none(session.undo_all_and_close());
        lab.assert_state(&before, "");
    });
}

#[test]
fn default_route_is_refused_to_second_tunnel() {
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
            assert_none(second.undo_all_and_close());
            assert!(ip(&["route", "get", "1.1.1.1"]).contains("dev tun0"), "the first tunnel is unchanged");
            assert_none(first.undo_all_and_close());
            lab.assert_state(&before, "");
        }
    });
}
