//! Conversion of kernel messages to routes, and of routes to requests.

use pptpctl::testing::net::{
    routes::{Hop, Kind, MAIN_TABLE, PROTOCOL, Route},
    rtsock::{
        Action, Gateway, Layout, Message, Request, RouteChange, from_route, is_neighbour, refuses, to_route,
    },
};

use super::{decode_one, hex, vectors};

#[test]
fn route_round_trips_through_request() {
    let index = |name: &str| (name == "tun7").then_some(7_u16);
    let names = |number: u16| (number == 7).then(|| "tun7".to_owned());
    for layout in &Layout::ALL {
        let through = |dest: &str, via: Option<&str>| Route {
            metric: layout.default_priority.into(),
            scope: 0,
            hops: vec![Hop {
                via: via.map(|via| via.parse().unwrap()),
                dev: Some("tun7".to_owned()),
                onlink: false,
                weight: 0,
            }],
            ..Route::through(dest.parse().unwrap(), "tun7")
        };
        let mut with_mtu = through("0.0.0.0/0", Some("192.0.2.1"));
        with_mtu.metrics = vec![(2, 1400)];
        let mut foreign = through("10.0.0.0/8", Some("192.0.2.1"));
        foreign.protocol = 1;
        let mut nowhere = through("198.51.100.0/24", None);
        (nowhere.kind, nowhere.hops) = (Kind::Blackhole, Vec::new());
        for route in [
            through("10.0.0.0/8", Some("192.0.2.1")),
            through("203.0.113.9/32", Some("192.0.2.1")),
            through("2001:db8::/32", None),
            through("2001:db8::/32", Some("fe80::1")),
            with_mtu,
            foreign,
            nowhere,
        ] {
            let request = from_route(layout, Action::Add, &route, 3, &index).unwrap();
            let Message::Route(news) = decode_one(layout, &request.encode(layout).unwrap()) else {
                panic!("not a route")
            };
            assert_eq!(to_route(layout, &news, 3, &names), Some(route), "{}", layout.name);
        }
    }
}

/// On OpenBSD a link address as gateway makes an ARP entry: a route on the link has an address of this host
/// instead, is read as one, and is deleted without it.
#[test]
fn link_route_has_own_address_on_openbsd() {
    let openbsd = &Layout::OPENBSD;
    let names = |number: u16| (number == 2).then(|| "em0".to_owned());
    for dest in ["192.0.2.9/32", "192.0.2.0/24"] {
        let mut route = Route::through(dest.parse().unwrap(), "em0");
        (route.metric, route.scope, route.source) = (8, 0, Some("192.0.2.5".parse().unwrap()));
        let add = from_route(openbsd, Action::Add, &route, 0, &|_| Some(2)).unwrap();
        let Message::Route(news) = decode_one(openbsd, &add.encode(openbsd).unwrap()) else {
            panic!("not a route")
        };
        assert_eq!(news.gateway, Some(Gateway::Address("192.0.2.5".parse().unwrap())));
        assert_eq!(news.flags & 0x102, 0x100, "RTF_CLONING, RTF_GATEWAY");
        // The source is not part of what a dump lists.
        assert_eq!(to_route(openbsd, &news, 0, &names), Some(Route { source: None, ..route.clone() }));
        let delete = from_route(openbsd, Action::Delete, &route, 0, &|_| Some(2)).unwrap();
        let Message::Route(news) = decode_one(openbsd, &delete.encode(openbsd).unwrap()) else {
            panic!("not a route")
        };
        assert_eq!(news.gateway, None);
        let freebsd = from_route(&Layout::FREEBSD, Action::Add, &route, 0, &|_| Some(2)).unwrap();
        assert_eq!(freebsd.gateway, Some(Gateway::Link(2)));
    }
}

/// OpenBSD refuses a route to an address that is another route's gateway: it has an entry of its own there,
/// which leads the same way.
#[test]
fn neighbour_entry_on_openbsd_leads_where_a_link_route_would() {
    let openbsd = &Layout::OPENBSD;
    let names = |number: u16| (number == 2).then(|| "em0".to_owned());
    let mut route = Route::through("192.0.2.1/32".parse().unwrap(), "em0");
    (route.metric, route.source) = (8, Some("192.0.2.5".parse().unwrap()));
    let add = from_route(openbsd, Action::Add, &route, 0, &|_| Some(2)).unwrap();
    let Message::Route(mut news) = decode_one(openbsd, &add.encode(openbsd).unwrap()) else {
        panic!("not a route")
    };
    assert!(!is_neighbour(openbsd, &news, &route, &names), "a route");
    // RTF_UP, RTF_HOST, RTF_LLINFO, RTF_CLONED, RTF_CACHED.
    news.flags = 0x3_0405;
    news.gateway = Some(Gateway::Link(2));
    assert!(is_neighbour(openbsd, &news, &route, &names));
    let through = |dest: &str, dev: &str| Route::through(dest.parse().unwrap(), dev);
    for other in [through("192.0.2.1/32", "em1"), through("192.0.2.2/32", "em0")] {
        assert!(!is_neighbour(openbsd, &news, &other, &names), "{other}");
    }
    let mut by_gateway = route.clone();
    by_gateway.hops[0].via = Some("192.0.2.3".parse().unwrap());
    assert!(!is_neighbour(openbsd, &news, &by_gateway, &names));
    assert!(!is_neighbour(&Layout::FREEBSD, &news, &route, &names));
}

/// On OpenBSD the routes of an interface that is down stay, without RTF_UP; ours would refuse its successor.
#[test]
fn of_the_routes_that_are_down_only_own_ones_are_listed() {
    let openbsd = &Layout::OPENBSD;
    let mut route = Route::through("192.0.2.1/32".parse().unwrap(), "em0");
    (route.metric, route.scope) = (8, 0);
    route.hops[0].via = Some("198.51.100.1".parse().unwrap());
    let names = |number: u16| (number == 2).then(|| "em0".to_owned());
    let add = from_route(openbsd, Action::Add, &route, 0, &|_| Some(2)).unwrap();
    let Message::Route(mut news) = decode_one(openbsd, &add.encode(openbsd).unwrap()) else {
        panic!("not a route")
    };
    news.flags &= !0x1;
    assert_eq!(to_route(openbsd, &news, 0, &names), Some(route));
    // RTF_GATEWAY, RTF_HOST, RTF_STATIC.
    news.flags = 0x806;
    assert_eq!(to_route(openbsd, &news, 0, &names), None);
}

#[test]
fn recognizes_own_routes_by_flags() {
    for layout in &Layout::ALL {
        let Message::Route(mut news) = decode_one(layout, &vectors(layout)["add_net"]) else {
            panic!("not a route")
        };
        let is_own = |news: &RouteChange| to_route(layout, news, 0, &|_| None).unwrap().protocol == PROTOCOL;
        assert!(is_own(&news));
        // Flags set by routing daemons.
        for one in [0x8000, 0x4000, layout.flags.proto3] {
            news.flags = 0x1 | 0x2 | 0x800 | one;
            assert!(!is_own(&news), "{one:#x} alone, on {}", layout.name);
        }
    }
}

#[test]
fn skips_neighbours_clones_and_broadcasts() {
    for layout in &Layout::ALL {
        let Message::Route(mut news) = decode_one(layout, &vectors(layout)["add_net"]) else {
            panic!("not a route")
        };
        for flag in [0x400, layout.flags.broadcast] {
            news.flags = 0x1 | flag;
            assert_eq!(to_route(layout, &news, 0, &|_| None), None);
        }
    }
    let openbsd = &Layout::OPENBSD;
    let Message::Route(mut news) = decode_one(openbsd, &vectors(openbsd)["add_net"]) else {
        panic!("not a route")
    };
    for cloned_or_cached in [0x1_0000, 0x2_0000] {
        news.flags = 0x1 | cloned_or_cached;
        assert_eq!(to_route(openbsd, &news, 0, &|_| None), None);
    }
}

#[test]
fn route_with_label_is_restorable() {
    let openbsd = &Layout::OPENBSD;
    let vector = vectors(openbsd).remove("add_labelled").unwrap();
    let Message::Route(news) = decode_one(openbsd, &vector) else { panic!("not a route") };
    let route = to_route(openbsd, &news, 0, &|_| Some("tun3".to_owned())).unwrap();
    assert_eq!((route.label.as_deref(), route.unrestorable.as_slice()), (Some("pptpctl"), [].as_slice()));
    assert_eq!((route.table, route.metric), (5, 12));
    assert_eq!(
        to_route(openbsd, &news, 5, &|_| None).unwrap().table,
        MAIN_TABLE,
        "the table of the socket's routing domain"
    );
    let bytes = |action, layout: &Layout| {
        let request = from_route(layout, action, &route, 0, &|_| Some(3)).unwrap();
        Request { seq: 13, ..request }.encode(layout).unwrap()
    };
    assert_eq!(hex(&bytes(Action::Add, openbsd)), hex(&vector));
    let Message::Route(gone) = decode_one(openbsd, &bytes(Action::Delete, openbsd)) else {
        panic!("not a route")
    };
    assert_eq!(gone.label, None, "a delete request has a label");
    // Systems without labels ignore a label in a ledger.
    assert!(!bytes(Action::Add, &Layout::NETBSD).windows(7).any(|part| part == b"pptpctl"));
}

#[test]
fn invalid_label_is_unrestorable() {
    let openbsd = &Layout::OPENBSD;
    let mut vector = vectors(openbsd).remove("add_labelled").unwrap();
    let at = vector.windows(7).position(|part| part == b"pptpctl").unwrap();
    vector[at] = 0xff;
    let Message::Route(mut news) = decode_one(openbsd, &vector) else { panic!("not a route") };
    let label = |news: &RouteChange| {
        let route = to_route(openbsd, news, 0, &|_| None).unwrap();
        (route.label, route.unrestorable)
    };
    let unrestorable = (None, vec!["a label that could not be written again".to_owned()]);
    assert_eq!(label(&news), unrestorable, "not UTF-8");
    news.label = Some("x".repeat(32));
    assert_eq!(label(&news), unrestorable, "longer than 31 bytes");
    news.label = Some("x".repeat(31));
    assert_eq!(label(&news), (news.label.clone(), Vec::new()));
}

#[test]
fn refuses_invalid_priority_and_missing_interface() {
    let mut route = Route::through("10.0.0.0/8".parse().unwrap(), "tun7");
    route.metric = 1024;
    let refused = from_route(&Layout::OPENBSD, Action::Add, &route, 0, &|_| Some(7)).unwrap_err();
    assert_eq!(refused, "a priority of 1024: the greatest is 63");
    assert!(
        from_route(&Layout::FREEBSD, Action::Add, &route, 0, &|_| Some(7)).is_ok(),
        "FreeBSD has no priorities"
    );
    assert_eq!(
        from_route(&Layout::FREEBSD, Action::Add, &route, 0, &|_| None).unwrap_err(),
        "there is no interface tun7"
    );
}

/// The kernel answers a query by a route that refuses packets as by one to this host: with the loopback interface.
#[test]
fn refusal_is_not_this_host() {
    const UP: u32 = 0x1;
    const REJECT: u32 = 0x8;
    const BLACKHOLE: u32 = 0x1000;
    for layout in [Layout::FREEBSD, Layout::OPENBSD, Layout::NETBSD] {
        assert!(refuses(&layout, UP | REJECT) && refuses(&layout, UP | BLACKHOLE));
        assert!(!refuses(&layout, UP) && !refuses(&layout, UP | layout.flags.local));
    }
}
