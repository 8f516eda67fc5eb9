//! The netlink module alone: route lookups, large tables, veth pairs.

use std::fs;

use pptpctl::testing::net::{
    netlink::Netlink,
    routes::{Filter, Insert, Route},
};

use crate::namespace::{Lab, enter_new_namespace, ip};

#[test]
fn route_lookup_matches_kernel() {
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
        let route = netlink.route_to("198.18.0.1".parse().unwrap(), None, None).unwrap();
        assert_eq!(route.gateway, Some("192.0.2.9".parse().unwrap()));
        assert_eq!((route.dev.as_str(), route.source), ("up0", Some("192.0.2.2".parse().unwrap())));
        assert_eq!((route.mtu, route.local), (Some(1280), false));
        let on_link = netlink.route_to("192.0.2.7".parse().unwrap(), None, None).unwrap();
        assert_eq!((on_link.gateway, on_link.dev.as_str()), (None, "up0"));
        let six = netlink.route_to("2606:4700::1".parse().unwrap(), None, None).unwrap();
        assert_eq!(six.gateway, Some("2001:db8::1".parse().unwrap()));

        // Rules select another route for marked packets and for packets from the second address.
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
fn reader_handles_large_tables_and_dumps() {
    Lab::run(|lab| {
        lab.one_uplink();
        let mut netlink = Netlink::open().unwrap();
        // More routes than fit in one netlink datagram.
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
            routes
                .iter()
                .all(|route| route.is_ours() && route.leaves_by("up0") && route.unrestorable.is_empty())
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
fn veth_pair_spans_two_namespaces() {
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

/// Creates another namespace and returns its descriptor; a thread stays in it until the sender is dropped.
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
